"""Rows and files that cannot be used: an error that names file, row and column, and no output."""

import json
from pathlib import Path
from typing import Any

import pytest

from openbei.bulk.part import PART_ROWS

from ..invoke import Invoke

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

INVALID = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
)
"""Two strings, of which the second is not UTF-8."""


def test_rows_of_a_parquet_file(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    given, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    many = ["a"] * PART_ROWS
    tables: dict[str, dict[str, Any]] = {
        f"{given}, row {PART_ROWS + 2}, column 'text': the text is null": {"text": [*many, "a", None]},
        f"{given}, row 2, column 'text': the text is empty": {"text": ["a", " "]},
        f"{given}, row 2, column 'text': 'utf-8' codec can't decode byte 0xff": {"text": INVALID},
        f"{given}, column 'text': its type is int64; texts must be strings": {"text": [1]},
        f"{given} has no column 'text'; its columns are a, b": {"a": ["a"], "b": ["b"]},
        f"{given} has a column 'embedding' already": {"text": ["a"], "embedding": [1]},
    }
    for message, columns in tables.items():
        parquet.write_table(pa.table(columns), given)
        done = invoke("embed", engine_dir, "--input", given, "--output", output)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {message}")
        assert "hint: " in done.stderr
        assert not output.exists()


def test_columns_are_checked(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.parquet"
    parquet.write_table(pa.table({"text": ["a"], "b": INVALID[:1]}), given)
    done = invoke("embed", engine_dir, "--input", given, "--keep", "id")
    assert "has no column 'id'; its columns are text, b\nhint: choose one with --keep" in done.stderr
    done = invoke("embed", engine_dir, "--input", given, "--column", "body")
    assert "has no column 'body'; its columns are text, b\nhint: choose one with --column" in done.stderr
    parquet.write_table(pa.table({"text": ["a", "b"], "b": INVALID}), given)
    done = invoke("embed", engine_dir, "--input", given)
    assert "rows 1 to 2: a column to copy is not UTF-8" in done.stderr
    parquet.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), given)
    assert f"{given} has several columns 'text'" in invoke("embed", engine_dir, "--input", given).stderr


def test_the_input_is_not_replaced(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    given, link = tmp_path / "in.txt", tmp_path / "link.npy"
    given.write_text("a")
    link.symlink_to(given)
    for output in (given, link):
        done = invoke("embed", engine_dir, "--input", given, "--output", output)
        assert (done.returncode, f"--output {output} is the input" in done.stderr) == (2, True)
    assert given.read_text() == "a"


def test_a_field_that_no_line_has(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.jsonl"
    given.write_text('{"text": "a"}\n{"text": "b", "id": 1}\n')
    assert invoke("embed", engine_dir, "--input", given, "--keep", "id").returncode == 0
    done = invoke("embed", engine_dir, "--input", given, "--keep", "di")
    assert f"no line of {given} has a field 'di'; the fields are text, id" in done.stderr


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_truncated_files(suffix: str, invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    given = tmp_path / f"in{suffix}"
    table = pa.table({"text": ["a"] * 9})
    if suffix == ".parquet":
        parquet.write_table(table, given)
    else:
        with pa.ipc.new_file(given, table.schema) as writer:
            writer.write_table(table)
    whole = given.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        given.write_bytes(whole[:size])
        done = invoke("embed", engine_dir, "--input", given)
        assert (done.returncode, f"{given} cannot be read as" in done.stderr) == (1, True), done.stderr


def test_too_long_texts_are_named(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    """The row in the file, not in its part."""
    given = tmp_path / "in.jsonl"
    given.write_text('{"text": "a"}\n' * PART_ROWS + json.dumps({"text": "word " * 500}) + "\n")
    done = invoke("embed", engine_dir, "--input", given, "--no-truncate", "--output", tmp_path / "out.npy")
    assert done.returncode == 1
    assert f"error: {given}, line {PART_ROWS + 1}: the text has " in done.stderr


def test_repeated_columns_of_a_table(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.csv"
    given.write_text("text,a,a\nb,1,2\n")
    assert f"{given} has several columns 'a'" in invoke("embed", engine_dir, "--input", given).stderr


def test_results_that_do_not_fit_a_format(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a", "embedding": 1}\n')
    given = ("--input", tmp_path / "in.jsonl")
    done = invoke("embed", engine_dir, *given, "--output", tmp_path / "out.jsonl")
    assert "has a column 'embedding' already" in done.stderr
    assert "hint: name the results otherwise with --prefix, or omit this column with --keep" in done.stderr
    for options in (("--keep", "text"), ("--prefix", "new_")):
        assert invoke("embed", engine_dir, *given, *options, "--output", tmp_path / "out.jsonl").returncode == 0
    assert [*json.loads((tmp_path / "out.jsonl").read_text())] == ["text", "embedding", "new_embedding"]
    assert "has no known format" in invoke("embed", engine_dir, "a", "--output", tmp_path / "out.xlsx").stderr
    stdin = invoke("embed", engine_dir, "--input-format", "jsonl", "--output", tmp_path / "out.parquet", stdin="{}")
    assert "the columns of standard input are not known before it is read" in stdin.stderr
