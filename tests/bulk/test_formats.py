"""Every format in and out: values as `Model.embed`, columns and types kept; read back by other libraries."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei import Model
from openbei.bulk.part import PART_ROWS
from openbei.tasks.precision import quantize

from ..invoke import Invoke

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

TEXTS = ["one text", "two, with\nlines", "ein dritter", "one text"]
RECORDS: list[dict[str, Any]] = [
    {"id": f"a-{i}", "text": text, "n": i, "score": i / 2, "flag": i > 1, "tags": ["x"] * i}
    for i, text in enumerate(TEXTS)
]


@pytest.fixture(scope="module")
def expected(model: Model) -> Any:
    return model.embed(TEXTS)


def write(path: Path, records: list[dict[str, Any]] = RECORDS) -> Path:
    """A file with records, by other libraries than the product's."""
    match path.suffix:
        case ".parquet":
            parquet.write_table(pa.Table.from_pylist(records), path, row_group_size=3)
        case ".arrow":
            table = pa.Table.from_pylist(records)
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=3)
        case ".stream":
            table = pa.Table.from_pylist(records)
            with pa.ipc.new_stream(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=3)
        case ".jsonl":
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        case ".json":
            path.write_text(json.dumps(records, indent=1))
        case ".csv" | ".tsv":
            with path.open("w", newline="") as file:
                rows = csv.DictWriter(file, [*records[0]], delimiter="," if path.suffix == ".csv" else "\t")
                rows.writeheader()
                rows.writerows({**r, "tags": json.dumps(r["tags"])} for r in records)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a file, by other libraries than the product's."""
    match path.suffix:
        case ".parquet":
            rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
            return rows
        case ".arrow":
            with pa.ipc.open_file(path) as file:
                return list(file.read_all().to_pylist())
        case ".jsonl":
            return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        found = [*csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t")]
    return [{name: json.loads(v) if name == "embedding" else v for name, v in row.items()} for row in found]


@pytest.mark.parametrize("output", [".parquet", ".arrow", ".jsonl", ".csv", ".tsv"])
@pytest.mark.parametrize("source", [".parquet", ".arrow", ".jsonl", ".json", ".csv"])
def test_columns_and_values_are_kept(
    source: str, output: str, invoke: Invoke, engine_dir: Path, tmp_path: Path, expected: Any
) -> None:
    given, path = write(tmp_path / f"in{source}"), tmp_path / f"out{output}"
    done = invoke("embed", engine_dir, "--input", given, "--output", path)
    assert done.returncode == 0, done.stderr
    rows = read(path)
    np.testing.assert_array_equal(np.array([row.pop("embedding") for row in rows], np.float32), expected)
    assert [row["id"] for row in rows] == [record["id"] for record in RECORDS]
    if {source, output} & {".csv", ".tsv"}:
        assert [row["text"] for row in rows] == TEXTS
        return
    if source in (".json", ".jsonl") and output in (".parquet", ".arrow"):
        rows = [{**row, "tags": json.loads(row["tags"])} for row in rows]
    assert rows == RECORDS


def test_an_arrow_stream_is_read(invoke: Invoke, engine_dir: Path, tmp_path: Path, expected: Any) -> None:
    given, path = write(tmp_path / "in.stream"), tmp_path / "out.npy"
    assert invoke("embed", engine_dir, "--input", given, "--input-format", "arrow", "--output", path).returncode == 0
    np.testing.assert_array_equal(np.load(path), expected)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", "float32"), ("float16", "float16"), ("int8", "int8"), ("ubinary", "uint8")]
)
def test_precisions(
    precision: Any, dtype: str, invoke: Invoke, engine_dir: Path, tmp_path: Path, expected: Any
) -> None:
    given = write(tmp_path / "in.parquet")
    values = expected.astype(dtype) if "float" in dtype else quantize(expected, precision)
    for name in ("out.npy", "out.parquet", "out.jsonl", "out.txt"):
        done = invoke("embed", engine_dir, "--input", given, "--precision", precision, "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
    array = np.load(tmp_path / "out.npy")
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, values)
    column = parquet.read_table(tmp_path / "out.parquet")["embedding"]
    assert column.type == pa.list_(pa.field("element", pa.from_numpy_dtype(dtype), False), values.shape[1])
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    np.testing.assert_array_equal(flat.reshape(values.shape), values)
    rows = [row["embedding"] for row in read(tmp_path / "out.jsonl")]
    np.testing.assert_array_equal(np.array(rows, dtype), values)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "out.txt", dtype), values)


def test_a_vector_column_is_loaded_by_numpy_and_polars(
    invoke: Invoke, engine_dir: Path, tmp_path: Path, expected: Any
) -> None:
    path = tmp_path / "out.parquet"
    given = write(tmp_path / "in.parquet")
    assert invoke("embed", engine_dir, "--input", given, "--keep", "id", "--output", path).returncode == 0
    table = parquet.read_table(path)
    assert table.column_names == ["id", "embedding"]
    column = table["embedding"].combine_chunks()
    matrix = column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), -1)
    np.testing.assert_array_equal(matrix, expected)
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(path)
    assert frame.schema["embedding"] == polars.Array(polars.Float32, expected.shape[1])
    np.testing.assert_array_equal(frame["embedding"].to_numpy(), expected)


def test_rich_types_survive(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    """Types that JSON does not have, nulls, dictionaries and metadata, in Parquet and Arrow."""
    import datetime

    table = pa.table(
        {
            "when": pa.array([datetime.datetime(2026, 1, 2), None], pa.timestamp("us")),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "text": pa.array(["one", "two"], pa.large_string()),
            "map": pa.array([{"a": 1}, None], pa.struct([("a", pa.int8())])),
        }
    ).replace_schema_metadata({"about": "these tests"})
    parquet.write_table(table, tmp_path / "in.parquet")
    for name, column_type in (("out.parquet", table.schema.field("kind").type), ("out.arrow", pa.string())):
        done = invoke("embed", engine_dir, "--input", tmp_path / "in.parquet", "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
        path = tmp_path / name
        found = parquet.read_table(path) if name == "out.parquet" else pa.ipc.open_file(path).read_all()
        assert found.schema.field("kind").type == column_type
        assert found.drop_columns(["embedding"]).to_pylist() == table.to_pylist()
        assert found.schema.field("text").type == pa.large_string()
        assert found.schema.metadata[b"about"] == b"these tests"
    done = invoke("embed", engine_dir, "--input", tmp_path / "in.parquet", "--keep", "when,map")
    assert [json.loads(line)["when"] for line in done.stdout.splitlines()] == ["2026-01-02T00:00:00", None]


@pytest.mark.parametrize("source", [".parquet", ".jsonl", ".csv"])
def test_no_columns_are_kept(source: str, invoke: Invoke, engine_dir: Path, tmp_path: Path, expected: Any) -> None:
    given = write(tmp_path / f"in{source}")
    for output in (".parquet", ".arrow", ".jsonl", ".csv"):
        path = tmp_path / f"out{output}"
        done = invoke("embed", engine_dir, "--input", given, "--keep", "", "--output", path)
        assert done.returncode == 0, done.stderr
        rows = read(path)
        assert {*rows[0]} == {"embedding"}
        np.testing.assert_array_equal(np.array([row["embedding"] for row in rows], np.float32), expected)


def test_types_that_json_does_not_have(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    columns = {
        "text": ["a"],
        "ns": pa.array([1], pa.timestamp("ns")),
        "times": pa.array([[1]], pa.list_(pa.int64())).cast(pa.list_(pa.time64("ns"))),
        "record": pa.array([{"at": 1}], pa.struct([("at", pa.duration("ns"))])),
        "encoded": pa.array([1], pa.timestamp("ns")).dictionary_encode(),
        "pair": pa.array([[1, 2]], pa.list_(pa.duration("ns"), 2)),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.duration("ns"))),
        "month": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        "decimal": pa.array(["1.50"]).cast(pa.decimal128(5, 2)),
        "bytes": [b"\xff"],
        "nan": [float("nan")],
    }
    with pa.ipc.new_file(tmp_path / "in.arrow", pa.table(columns).schema) as writer:
        writer.write_table(pa.table(columns))
    for name in ("out.jsonl", "out.csv"):
        done = invoke("embed", engine_dir, "--input", tmp_path / "in.arrow", "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
    [row] = read(tmp_path / "out.jsonl")
    assert (row["ns"], row["times"], row["record"]) == (
        "1970-01-01 00:00:00.000000001",
        ["00:00:00.000000001"],
        {"at": "1"},
    )
    assert row["encoded"] == "1970-01-01 00:00:00.000000001"
    assert (row["pair"], row["map"]) == (["1", "2"], [["k", "1"]])
    assert (row["decimal"], row["bytes"], row["nan"]) == ("1.50", "/w==", None)
    assert row["month"]


def test_types_of_json_fields(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    """A field has one type, found by reading the whole file; values of several types become JSON."""
    lines = [
        {"text": "a", "n": 1, "x": 1, "mixed": 1, "late": None, "big": 2**70},
        {"text": "b", "x": 2.5, "mixed": "one", "late": "here"},
        {"text": "c", "n": None, "x": None, "mixed": {"a": 1}},
    ]
    given = write(tmp_path / "in.jsonl", lines)
    done = invoke("embed", engine_dir, "--input", given, "--output", tmp_path / "out.parquet")
    assert done.returncode == 0, done.stderr
    table = parquet.read_table(tmp_path / "out.parquet").drop_columns(["embedding"])
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "text": "string", "n": "int64", "x": "double", "mixed": "string", "late": "string", "big": "double",
    }  # fmt: skip
    assert table["n"].to_pylist() == [1, None, None]
    assert table["x"].to_pylist() == [1.0, 2.5, None]
    assert table["mixed"].to_pylist() == ["1", '"one"', '{"a": 1}']
    assert table["late"].to_pylist() == [None, "here", None]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl", ".csv"])
def test_no_rows(suffix: str, invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    given = tmp_path / f"in{suffix}"
    if suffix in (".parquet", ".arrow"):
        write(given)
        empty = pa.Table.from_pylist(RECORDS).slice(0, 0)
        if suffix == ".parquet":
            parquet.write_table(empty, given)
        else:
            with pa.ipc.new_file(given, empty.schema):
                pass
    else:
        given.write_text("id,text\n" if suffix == ".csv" else "")
    for name in ("out.parquet", "out.npy"):
        done = invoke("embed", engine_dir, "--input", given, "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "out.npy").shape == (0, 64)
    assert parquet.read_table(tmp_path / "out.parquet")["embedding"].type.list_size == 64


def test_blank_rows_are_skipped_on_request(invoke: Invoke, engine_dir: Path, tmp_path: Path) -> None:
    """A part of blank rows only is not the end."""
    texts = ["a", None, " ", *[""] * (2 * PART_ROWS), "b"]
    for suffix in (".parquet", ".jsonl"):
        given = write(tmp_path / f"in{suffix}", [{"n": n, "text": text} for n, text in enumerate(texts)])
        path = tmp_path / "out.parquet"
        done = invoke("embed", engine_dir, "--input", given, "--blank", "skip", "--output", path)
        assert done.returncode == 0, done.stderr
        assert parquet.read_table(path)["n"].to_pylist() == [0, len(texts) - 1]


def test_a_missing_library_is_named(
    invoke: Invoke, engine_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write(tmp_path / "in.parquet")
    lines = write(tmp_path / "in.jsonl")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = invoke("embed", engine_dir, "--input", given)
    assert f"{given} needs pyarrow, which is not installed\nhint: pip install 'openbei[bulk]'" in done.stderr
    done = invoke("embed", engine_dir, "--input", lines, "--output", tmp_path / "out.parquet")
    assert "needs pyarrow" in done.stderr
    assert invoke("embed", engine_dir, "--input", lines, "--output", tmp_path / "out.jsonl").returncode == 0
