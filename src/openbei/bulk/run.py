"""Running a task over the rows of a source, in parts.

Three threads work at the same time: one reads and tokenizes the next part, one runs the engine, and one computes the
results of the last part and writes them. So the engine does not wait for files.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from openbei.batch import Rows, Sequence
from openbei.bulk.part import Part, Source
from openbei.bulk.results import Values
from openbei.bulk.tasks import Task
from openbei.errors import InputError
from openbei.serving.in_process import run_chunks
from openbei.serving.loaded_model import LoadedModel

MAX_UNWRITTEN_PARTS = 2
"""Parts that wait for the writer, which bounds the memory if writing is slower than the engine."""

Write = Callable[[Part, Mapping[str, Values]], None]


@dataclass
class Totals:
    """What a run has computed. Tokens are those after truncation; equal texts of a part are counted each time."""

    num_rows: int = 0
    num_tokens: int = 0
    num_truncated: int = 0

    def add(self, part: Part, sequences: list[Sequence]) -> None:
        """Count the rows of a part and their sequences."""
        self.num_rows += len(part.positions)
        self.num_tokens += sum(sequence.num_tokens for sequence in sequences)
        self.num_truncated += sum(sequence.is_truncated for sequence in sequences)


def run(
    model: LoadedModel,
    task: Task,
    source: Source,
    write: Write,
    totals: Totals,
    *,
    first: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Compute the parts from number `first` on. `write` is called in their order, by another thread.

    Raises InputError for an invalid row, which it names, EngineError, and what `write` raises.
    """

    def encode(part: Part) -> list[Sequence]:
        try:
            return task.encode(part)
        except InputError as error:
            raise _located(error, source, part) from error

    def finish(part: Part, rows: list[Rows]) -> None:
        write(part, task.results(part, rows))

    unwritten: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1, "writer") as writer:
        parts = source.parts(first)
        ran = run_chunks(model, parts, encode, task.output, count=lambda part: len(part.positions), progress=progress)
        for part, sequences, rows in ran:
            totals.add(part, sequences)
            unwritten.append(writer.submit(finish, part, rows))
            while len(unwritten) > MAX_UNWRITTEN_PARTS or (unwritten and unwritten[0].done()):
                unwritten.popleft().result()
        for future in unwritten:
            future.result()


def _located(error: InputError, source: Source, part: Part) -> InputError:
    """The error of an input, with the place of its row instead of its index in the part."""
    found = re.match(r"\w+\[(\d+)\](\[\d+\])?", error.message)
    if found is None:
        return error
    where = f"{source.name}, {source.row_name} {part.positions[int(found[1])] + 1}"
    return InputError(f"{where}: the text{error.message[found.end() :]}", hint=error.hint)
