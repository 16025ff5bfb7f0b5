"""The threads of a run: the engine does not wait for the writer, and errors of all threads end the run."""

import threading
from collections.abc import Iterator

import pytest

from openbei import Model
from openbei.bulk import tasks
from openbei.bulk.part import Part
from openbei.bulk.run import MAX_UNWRITTEN_PARTS, Totals, run

NUM_PARTS = 8


class Memory:
    """A source of parts with one text each, which remembers how many were read."""

    name, row_name = "memory", "text"

    def __init__(self) -> None:
        self.num_read = 0
        self.third_is_read = threading.Event()

    def digest(self) -> None:
        return None

    def num_rows(self) -> int:
        return NUM_PARTS

    def columns(self) -> dict[str, str]:
        return {}

    def parts(self, first: int) -> Iterator[Part]:
        for number in range(first, NUM_PARTS):
            self.num_read += 1
            if self.num_read == 3:
                self.third_is_read.set()
            yield Part([number], [[f"text {number}"]], [{}])


def embedding(model: Model) -> tasks.Task:
    return tasks.embed(model, prompt="", dimensions=None, precision="float32", truncate=True)


def test_the_engine_does_not_wait_for_the_writer(model: Model) -> None:
    """The third part is read when the second one runs, while the first one is written."""
    source, totals, written, ahead = Memory(), Totals(), list[int](), list[int]()

    def write(part: Part, results: object) -> None:
        if not written:
            assert source.third_is_read.wait(60)
        ahead.append(source.num_read - len(written))
        written.append(part.positions[0])

    run(model, embedding(model), source, write, totals)
    assert written == [*range(NUM_PARTS)]
    assert max(ahead) <= MAX_UNWRITTEN_PARTS + 4  # one that is written, one that runs, and two that are prepared
    assert (totals.num_rows, totals.num_truncated) == (NUM_PARTS, 0)
    assert totals.num_tokens == sum(len(s.token_ids) for s in model.tokenizer.encode([f"text {i}" for i in range(8)]))


def test_errors_of_the_writer_end_the_run(model: Model) -> None:
    def write(part: Part, results: object) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        run(model, embedding(model), Memory(), write, Totals())
