"""`bei embed`: embed texts in this process, without a server."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NoReturn, get_args

import click

from openbei import __version__
from openbei.batch import Vectors
from openbei.cli import output, texts
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.logs import log_to_stderr
from openbei.methods import require
from openbei.model import Model
from openbei.progress import Bar

Chunk = tuple[Vectors, list[output.Key]]


@dataclass
class Embedding:
    """Embedding texts with the options of the command, and the number of tokens and truncated texts so far."""

    model: Model
    prompt: str
    dimensions: int | None
    truncate: bool
    num_tokens: int = 0
    num_truncated: int = 0

    def chunks(self, source: texts.Source, first: int) -> Iterator[Chunk]:
        """Chunks of vectors from text `first` on, with the index and id of each text."""
        num_done = first
        taken: deque[output.Key] = deque()

        def take() -> Iterator[str]:
            for record in islice(source.records, first, None):
                taken.append((record.position, record.id))
                yield record.text

        with Bar() as bar:

            def advance(num_texts: int) -> None:
                nonlocal num_done
                num_done += num_texts
                bar.step("embed", num_done, source.num_texts)

            for chunk in self.model.embed_chunks(
                take(),
                prompt=self.prompt,
                dimensions=self.dimensions,
                truncate=self.truncate,
                chunk_size=CHUNK_TEXTS,
                progress=advance,
            ):
                self.num_tokens += chunk.num_tokens
                self.num_truncated += chunk.num_truncated
                yield chunk.vectors, [taken.popleft() for _ in range(len(chunk.vectors))]


INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""

CHUNK_TEXTS = 1024
"""Number of texts in a chunk. Chunks have fixed boundaries, so that a resumed run has the same batches."""


@click.command
@click.argument("target")
@click.argument("text", nargs=-1)
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File to read texts from: .jsonl, .json (an array), .csv, .tsv, or one text per line.  "
    "[default: standard input, if no TEXT is given]",
)
@click.option("--field", help="Field of a JSON object that holds the text.  [default: text, in .jsonl and .json]")
@click.option("--column", help="Column of a .csv or .tsv that holds the texts.  [default: text, or the only one]")
@click.option(
    "--id-field", default="id", help="Field or column to copy to `id` in .jsonl output, if the input has one."
)
@click.option(
    "--blank",
    default="fail",
    type=click.Choice(get_args(texts.Blank)),
    help="What to do with empty or blank texts. Skipped texts still count toward `index` in .jsonl output.",
)
@click.option(
    "--output",
    "destination",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write: .npy (float32) or .jsonl. The file appears only when it is complete.  "
    "[default: JSON lines to standard output]",
)
@click.option(
    "--resume/--no-resume", default=True, help="Continue an interrupted run with the same input, or start over."
)
@click.option("--dimensions", type=click.IntRange(1), help="Truncate vectors to this many dimensions.  [default: all]")
@click.option(
    "--prompt-name", help="Prompt of the model, by name, to put before each text.  [default: the model's default]"
)
@click.option("--truncate/--no-truncate", default=True, help="Truncate texts that are too long, or stop with an error.")
@engine_options
def command(
    target: str,
    text: tuple[str, ...],
    source: Path | None,
    field: str | None,
    column: str | None,
    id_field: str,
    blank: texts.Blank,
    destination: Path | None,
    resume: bool,
    dimensions: int | None,
    prompt_name: str | None,
    truncate: bool,
    engine_arguments: EngineArguments,
) -> None:
    """Embed texts, in order.

    The texts are the arguments TEXT, those of a file, or those of standard input.
    """
    if text and source:
        raise click.UsageError("give texts as arguments or by --input, not both")
    if text and (field or column):
        raise click.UsageError("--field and --column are for files, not for arguments")
    log_to_stderr("warning")
    given = _source(text, source, texts.Reading(field, column, id_field, blank))
    with engine_arguments.open(target) as model:
        require(model.manifest, "embed")
        embedding = Embedding(model, model.prompts.find(prompt_name), dimensions, truncate)
        chunks = partial(embedding.chunks, given)
        started = time.perf_counter()
        if destination is None:
            num_texts = _to_stdout(chunks(0))
        else:
            hash_, info = model.manifest.content_hash, str(model.engine.info)
            made_by = " ".join(map(str, [__version__, hash_, info, dimensions, truncate, prompt_name]))
            width = dimensions or model.manifest.spec.output_width
            num_texts = _to_file(destination, width, given.digest, made_by, chunks, resume=resume)
        _tell(embedding, num_texts, time.perf_counter() - started)


def _to_stdout(chunks: Iterator[Chunk]) -> int:
    """Write JSON lines and return the number of texts."""
    rows, num_texts = output.Jsonl(), 0
    try:
        for vectors, keys in chunks:
            rows.append(sys.stdout.buffer, vectors, keys)
            sys.stdout.buffer.flush()
            num_texts += len(keys)
    except KeyboardInterrupt:
        _interrupted(f"{num_texts} texts were written", "with --output FILE a run can be resumed")
    return num_texts


def _to_file(
    path: Path, width: int, digest: str | None, made_by: str, chunks: Callable[[int], Iterator[Chunk]], *, resume: bool
) -> int:
    """Write a file atomically and return the number of texts that were embedded in this run."""
    state = output.State(source=digest, made_by=made_by, chunk_rows=CHUNK_TEXTS) if digest else None
    kept = 0
    try:
        with output.complete_or_partial(path, output.format_of(path, width), state, resume=resume) as unfinished:
            first = kept = unfinished.num_rows
            if first:
                click.echo(f"resuming after {first} texts", err=True)
            for vectors, keys in chunks(first):
                unfinished.append(vectors, keys)
                kept = unfinished.num_rows
    except KeyboardInterrupt:
        if state is None:
            _interrupted(
                "nothing is kept", "a run with --input FILE can be resumed; standard input cannot be read again"
            )
        _interrupted(
            f"{kept} texts are kept in {output.partial_of(path)}",
            "the same command resumes after them; --no-resume starts again",
        )
    return kept - first


def _interrupted(what: str, hint: str) -> NoReturn:
    click.echo(f"interrupted: {what}\nhint: {hint}", err=True)
    sys.exit(INTERRUPTED)


def _tell(embedding: Embedding, num_texts: int, seconds: float) -> None:
    if embedding.num_truncated:
        click.echo(f"{embedding.num_truncated} texts were longer than the model reads and were truncated", err=True)
    speed = embedding.num_tokens / seconds if seconds else 0
    counts = f"{num_texts:,} texts, {embedding.num_tokens:,} tokens"
    click.echo(f"{counts} in {seconds:,.1f} s: {speed:,.0f} tokens/s", err=True)


def _source(text: tuple[str, ...], file: Path | None, reading: texts.Reading) -> texts.Source:
    if file is not None:
        return texts.from_file(file, reading)
    return texts.from_arguments(text, reading) if text else texts.from_stdin(sys.stdin.buffer, reading)
