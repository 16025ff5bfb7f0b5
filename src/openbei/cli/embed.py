"""`bei embed`: texts in, vectors out, in this process and without a server."""

import sys
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import click

from openbei import __version__
from openbei.batch import Vectors
from openbei.cli import output, targets, texts
from openbei.cli.logs import log_to_stderr
from openbei.cli.progress import Bar
from openbei.embedder import Embedder

CHUNK_TEXTS = 1024
"""Texts are embedded in chunks that begin at multiples of this, so that a resumed run forms the same batches."""


@click.command
@click.argument("target")
@click.argument("text", nargs=-1)
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read texts from a file: .jsonl, or one text a line.  [default: standard input, if no TEXT is given]",
)
@click.option("--field", help="Field of a JSON line that holds its text.  [default: text, in a .jsonl file]")
@click.option(
    "--output",
    "destination",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a .npy (float32) or .jsonl file, which appears when it is complete.  "
    "[default: JSON lines to standard output]",
)
@click.option("--resume/--no-resume", default=True, help="Go on where an interrupted run of the same input left off.")
@click.option("--dimensions", type=click.IntRange(1), help="Cut vectors to so many dimensions.  [default: all]")
@click.option("--prompt-name", help="Prompt of the model to put in front of each text.  [default: the model's default]")
@click.option("--truncate/--no-truncate", default=True, help="Cut texts that are too long, or fail on them.")
@targets.engine_options
def command(
    target: str,
    text: tuple[str, ...],
    source: Path | None,
    field: str | None,
    destination: Path | None,
    resume: bool,
    dimensions: int | None,
    prompt_name: str | None,
    truncate: bool,
    backend: str | None,
    isa: str | None,
    threads: int | None,
) -> None:
    """Embed each TEXT, or the texts of a file or of standard input, in order."""
    if text and source:
        raise click.UsageError("give texts as arguments or by --input, not both")
    if text and field:
        raise click.UsageError("--field is for lines of JSON, not for arguments")
    log_to_stderr("warning")
    given = _source(text, source, field)
    environment = targets.read_environment(target)
    engine_dir = targets.engine_dir_of(target, environment)
    engine = targets.engine_of(engine_dir, environment, backend=backend, isa=isa, threads=threads)
    embedder = Embedder.open(engine_dir, engine, prompt_name=prompt_name)
    chunks = partial(_chunks, embedder, given, dimensions, truncate)
    if destination is None:
        rows = output.Jsonl()
        for first, vectors in chunks(0):
            rows.append(sys.stdout.buffer, vectors, first)
            sys.stdout.buffer.flush()
        _tell_truncated(embedder)
        return
    made_by = " ".join(
        map(str, [__version__, engine_dir.manifest.content_hash, engine.description, dimensions, truncate, prompt_name])
    )
    state = output.State(source=given.digest, made_by=made_by, chunk_rows=CHUNK_TEXTS) if given.digest else None
    rows_format = output.format_of(destination, dimensions or engine_dir.manifest.spec.output_width)
    with output.complete_or_partial(destination, rows_format, state, resume=resume) as unfinished:
        if unfinished.num_rows:
            click.echo(f"going on after {unfinished.num_rows} texts", err=True)
        for _, vectors in chunks(unfinished.num_rows):
            unfinished.append(vectors)
    _tell_truncated(embedder)


def _tell_truncated(embedder: Embedder) -> None:
    if embedder.num_truncated:
        click.echo(f"{embedder.num_truncated} texts were longer than the model reads and were cut", err=True)


def _source(text: tuple[str, ...], file: Path | None, field: str | None) -> texts.Source:
    if file is not None:
        return texts.from_file(file, field)
    return texts.from_arguments(text) if text else texts.from_stdin(sys.stdin.buffer, field)


def _chunks(
    embedder: Embedder, source: texts.Source, dimensions: int | None, truncate: bool, first: int
) -> Iterator[tuple[int, Vectors]]:
    """Vectors of the texts from number `first` on, each chunk with the number of its first text."""
    num_done = first

    with Bar() as bar:

        def advance(num_texts: int) -> None:
            nonlocal num_done
            num_done += num_texts
            bar.step("embed", num_done, source.num_texts)

        for vectors in embedder.embed_chunks(
            islice(source.texts, first, None),
            dimensions=dimensions,
            truncate=truncate,
            chunk_size=CHUNK_TEXTS,
            progress=advance,
        ):
            yield first, vectors
            first += len(vectors)
