"""Options of commands that run a task over files, and the run itself."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NoReturn, get_args

import click

from openbei import __version__
from openbei.bulk import inputs
from openbei.bulk.outputs import output_for
from openbei.bulk.outputs.json_lines import JsonLines
from openbei.bulk.outputs.output import Output
from openbei.bulk.part import PART_ROWS, Blank, Part, Reading, Source
from openbei.bulk.parts_folder import State, folder_of, parts_folder
from openbei.bulk.results import Values
from openbei.bulk.run import Totals, run
from openbei.bulk.tasks import OperationTask, Task, prefixed
from openbei.cli.option_groups import Command, Option, add_grouped
from openbei.model import Model
from openbei.progress import Bar, Rate

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""

LOG_INTERVAL_S = 30.0
"""Seconds between lines about the progress if standard error is not a terminal."""


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Names separated by commas; none for an empty string."""
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


OPTIONS: tuple[Option, ...] = (
    click.argument("target"),
    click.argument("text", nargs=-1),
    click.option(
        "--input",
        "source",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File to read: .parquet, .arrow, .jsonl, .json (an array), .csv, .tsv, or one text per line.  "
        "[default: standard input, if no TEXT is given]",
    ),
    click.option(
        "--input-format",
        type=click.Choice([*inputs.NAMES, inputs.OPENAI_BATCH]),
        help="Format of the input; openai-batch, for embeddings only, has requests for /v1/embeddings.  "
        "[default: by the file's suffix; text from standard input]",
    ),
    click.option("--column", help="Column or JSON field with the texts.  [default: text, or the only column]"),
    click.option(
        "--keep",
        callback=_names,
        help="Columns to copy to the output, separated by commas; '' for none.  [default: all]",
    ),
    click.option("--prefix", default="", help="Prefix of the names of the columns with results.  [default: none]"),
    click.option(
        "--output",
        "destination",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File to write: .parquet, .arrow, .jsonl, .csv, .tsv, .txt or .npy. It appears only when it is complete.  "
        "[default: JSON lines to standard output]",
    ),
    click.option(
        "--resume/--no-resume", default=True, help="Continue an interrupted run with the same input, or start over."
    ),
    click.option(
        "--truncate/--no-truncate", default=True, help="Truncate texts that are too long, or stop with an error."
    ),
)

BLANK: Option = click.option(
    "--blank",
    default="fail",
    type=click.Choice([blank for blank in get_args(Blank) if blank != "allow"]),
    help="Stop with an error if a text is missing or blank, or omit its row.",
)


@dataclass(frozen=True, kw_only=True)
class FileArguments:
    """The values of the options."""

    target: str
    text: tuple[str, ...]
    source: Path | None
    input_format: str | None
    column: str | None
    keep: tuple[str, ...] | None
    prefix: str
    destination: Path | None
    resume: bool
    truncate: bool
    blank: Blank = "allow"
    query: str | None = None
    query_column: str | None = None

    def reading(self) -> Reading:
        """How rows are read: with queries unless there is one for all, or the task has none."""
        if self.query is None and self.query_column is not None:
            return Reading((self.query_column, self.column or "text"), self.keep, self.blank)
        return Reading(None if self.column is None else (self.column,), self.keep, self.blank)

    def open(self) -> Source:
        """The input. Raises InputError, or click.UsageError for options that contradict each other."""
        if self.text and self.source:
            raise click.UsageError("give texts as arguments or by --input, not both")
        if self.text and (self.column or self.input_format):
            raise click.UsageError("--column and --input-format are for files, not for arguments")
        if self.source and self.destination and self.destination.exists() and self.destination.samefile(self.source):
            raise click.UsageError(f"--output {self.destination} is the input, which it would replace")
        if self.source is not None:
            return inputs.from_file(self.source, self.reading(), self.input_format)
        if self.text:
            return inputs.from_arguments(self.text, self.reading())
        return inputs.from_stream(sys.stdin.buffer, self.reading(), self.input_format)


def file_options(command: Command) -> Command:
    """Add OPTIONS, which are passed to the command as `files: FileArguments`."""
    return add_grouped(command, OPTIONS, "files", FileArguments)


def run_files(
    model: Model, task: OperationTask, source: Source, files: FileArguments, options: Mapping[str, object]
) -> None:
    """Run a task over the input and write its results; `options` are those that change them."""
    task = prefixed(task, files.prefix)
    if files.keep and files.source:
        source.columns()  # raises InputError for a column that does not exist
    format_ = JsonLines if files.destination is None else output_for(files.destination)
    run_with(model, task, source, format_(source.name, source.columns, task.types), files, options)


def run_with(
    model: Model, task: Task, source: Source, output: Output, files: FileArguments, options: Mapping[str, object]
) -> None:
    """`run_files`, with a format of the output."""
    if files.destination is None:
        _Run(model, task, source).to_stdout(output)
        return
    digest = source.digest()
    given = asdict(replace(files, source=None, destination=None, resume=True, target=""))
    suffixes = [path.suffix for path in (files.source, files.destination) if path]
    made_by = [__version__, model.manifest.content_hash, str(model.engine.info), suffixes, given, options]
    state = None if digest is None else State(source=digest, made_by=repr(made_by))
    _Run(model, task, source).to_file(files.destination, output, state, resume=files.resume)


@dataclass
class _Run:
    """One run of the command, and what it has computed."""

    model: Model
    task: Task
    source: Source
    totals: Totals = field(default_factory=Totals)
    started: float = field(default_factory=time.perf_counter)

    def to_stdout(self, output: Output) -> None:
        """Write JSON lines to standard output."""

        def write(part: Part, results: Mapping[str, Values]) -> None:
            output.write_part(sys.stdout.buffer, part, results)
            sys.stdout.buffer.flush()

        try:
            self._run(write, 0)
        except KeyboardInterrupt:
            _interrupted(f"{self.totals.num_rows} rows were written", "with --output FILE a run can be resumed")
        self._summarize()

    def to_file(self, path: Path, output: Output, state: State | None, *, resume: bool) -> None:
        """Write a file. It appears when it is complete."""
        num_kept = 0
        try:
            with parts_folder(path, output, state, resume=resume) as folder:
                num_kept = folder.num_parts
                if num_kept:
                    click.echo(f"resuming after {_count(num_kept, 'part')}", err=True)
                try:
                    self._run(folder.append, num_kept)
                finally:
                    num_kept = folder.num_parts
        except KeyboardInterrupt:
            if state is None:
                hint = "a run with --input FILE can be resumed; standard input cannot be read again"
                _interrupted("nothing is kept", hint)
            _interrupted(
                f"kept in {folder_of(path)}: {_count(num_kept, 'part')}",
                "the same command resumes after them; --no-resume starts again",
            )
        self._summarize()

    def _run(self, write: Callable[[Part, Mapping[str, Values]], None], first: int) -> None:
        total = self.source.num_rows()
        num_done = min(first * PART_ROWS, total or 0)
        rate, logged = Rate(num_done), time.monotonic()
        with Bar() as bar:

            def advance(count: int) -> None:
                nonlocal num_done, logged
                num_done += count
                bar.step(self.task.name, num_done, total)
                if not sys.stderr.isatty() and time.monotonic() > logged + LOG_INTERVAL_S:
                    logged = time.monotonic()
                    click.echo(rate.line(num_done, total, "rows"), err=True)

            run(self.model, self.task, self.source, write, self.totals, first=first, progress=advance)

    def _summarize(self) -> None:
        totals, seconds = self.totals, time.perf_counter() - self.started
        if totals.num_truncated:
            click.echo(f"{totals.num_truncated} texts were longer than the model reads and were truncated", err=True)
        speed = totals.num_tokens / seconds if seconds else 0
        counts = f"{_count(totals.num_rows, 'row')}, {_count(totals.num_tokens, 'token')}"
        click.echo(f"{counts} in {seconds:,.1f} s: {speed:,.0f} tokens/s", err=True)


def _interrupted(what: str, hint: str) -> NoReturn:
    click.echo(f"interrupted: {what}\nhint: {hint}", err=True)
    sys.exit(INTERRUPTED)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
