"""Output files: interrupted at any point, they are completed byte for byte as without the interruption."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.bulk.outputs import output_for
from openbei.bulk.part import Part
from openbei.bulk.parts_folder import State, folder_of, parts_folder
from openbei.bulk.results import Vectors
from openbei.errors import InputError

pytest.importorskip("pyarrow")

NUM_PARTS = 3
STATE = State(source="a", made_by="b")


class KilledError(BaseException):
    """Ends a run where a signal would end the process."""


def write(path: Path, state: State | None = STATE, *, resume: bool = True) -> int:
    """Write a file of NUM_PARTS parts, and return the number of those that were there."""
    output = output_for(path)("input", lambda: {"n": "int64"}, {"embedding": Vectors(4)})
    with parts_folder(path, output, state, resume=resume) as folder:
        first = folder.num_parts
        for number in range(first, NUM_PARTS):
            rows = np.random.default_rng(number).standard_normal((5, 4), np.float32)
            folder.append(Part(range(5), [], [{"n": 5 * number + i} for i in range(5)]), {"embedding": rows})
    return first


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl", ".csv", ".npy"])
def test_interrupted_at_every_step(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    resumed = []
    remaining = 0

    def counted(function: Callable[..., Any], *, torn: bool = False) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal remaining
            remaining -= 1
            if remaining == 0:
                if torn:  # half of the file reached the disk
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                raise KilledError
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(os, "fsync", counted(os.fsync, torn=True))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))
    for step in range(1, 100):
        path, remaining = tmp_path / f"{step}{suffix}", step
        try:
            write(path)
        except KilledError:
            assert not path.exists() or path.read_bytes() == whole
            remaining = 0
            resumed.append(write(path))
        assert path.read_bytes() == whole
        assert not folder_of(path).exists()
        if remaining > 0:
            break
    assert {*resumed} == {0, 1, 2, 3}


def test_another_run_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "out.npy"

    def interrupted() -> None:
        output = output_for(path)("input", dict, {"embedding": Vectors(4)})
        with suppress(KilledError), parts_folder(path, output, STATE, resume=True) as folder:
            folder.append(Part(range(5), [], []), {"embedding": np.full((5, 4), 7, np.float32)})
            raise KilledError

    for state, resume, first in (
        (State(source="c", made_by="b"), True, 0),
        (State(source="a", made_by="c"), True, 0),
        (State(source="a", made_by="b", part_rows=5), True, 0),
        (STATE, False, 0),
        (None, True, 0),
        (STATE, True, 1),
    ):
        interrupted()
        assert write(path, state, resume=resume) == first
        assert (np.load(path)[0, 0] == 7) is np.bool_(first == 1)


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    output = output_for(path)("input", dict, {"embedding": Vectors(4)})
    with (
        parts_folder(path, output, STATE, resume=True),
        pytest.raises(InputError, match="is being written by another process"),
    ):
        write(path)
