"""`bei embed`: every way in, every way out, and being killed on the way."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest

from openbei.bulk.part import PART_ROWS
from openbei.engine_dir import EngineDir

from ..invoke import Invoke
from ..prose import WORDS
from .conftest import BEI, Run
from .test_serve import assert_clear

NUM_TEXTS = 5 * PART_ROWS + 17


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A file of texts that takes several parts."""
    path = tmp_path / "many.txt"
    path.write_text("".join(f"{' '.join(WORDS[i % 197 : i % 197 + 1 + i % 3])}\n" for i in range(NUM_TEXTS)))
    return path


def rows(jsonl: str) -> list[list[float]]:
    lines = [json.loads(line) for line in jsonl.splitlines()]
    assert [line["index"] for line in lines] == list(range(len(lines)))
    return embeddings(jsonl)


def embeddings(jsonl: str) -> list[list[float]]:
    return [json.loads(line)["embedding"] for line in jsonl.splitlines()]


def test_arguments_stdin_and_files_say_the_same(
    bei: Run, invoke: Invoke, tiny_engine_dir: EngineDir, tmp_path: Path
) -> None:
    texts = ["one text", "another, longer text", "ein dritter"]
    lines, objects = tmp_path / "texts.txt", tmp_path / "texts.jsonl"
    lines.write_text("\n".join(texts))
    objects.write_text("".join(json.dumps({"body": text, "n": 1}) + "\n" for text in texts))
    engine = tiny_engine_dir.path
    expected = bei("embed", engine, *texts)
    assert expected.returncode == 0
    assert np.shape(rows(expected.stdout)) == (3, 64)
    assert invoke("embed", engine, stdin=lines.read_text()).stdout == expected.stdout
    as_json = invoke("embed", engine, "--input-format", "jsonl", "--column", "body", stdin=objects.read_text())
    assert [json.loads(line)["n"] for line in as_json.stdout.splitlines()] == [1, 1, 1]
    assert embeddings(as_json.stdout) == rows(expected.stdout)
    assert invoke("embed", engine, "--input", lines).stdout == expected.stdout
    assert invoke("embed", engine, "--input", objects, "--column", "body").stdout == as_json.stdout
    for name in ("vectors.npy", "vectors.jsonl"):
        assert invoke("embed", engine, "--input", lines, "--output", tmp_path / name).returncode == 0
    assert (tmp_path / "vectors.jsonl").read_text() == expected.stdout
    np.testing.assert_array_equal(np.load(tmp_path / "vectors.npy"), np.array(rows(expected.stdout), np.float32))
    assert np.shape(rows(invoke("embed", engine, "--dimensions", "8", "a text").stdout)) == (1, 8)


def test_no_texts(invoke: Invoke, tiny_engine_dir: EngineDir, tmp_path: Path) -> None:
    assert invoke("embed", tiny_engine_dir.path).stdout == ""
    assert invoke("embed", tiny_engine_dir.path, "--output", tmp_path / "none.npy").returncode == 0
    assert np.load(tmp_path / "none.npy").shape == (0, 64)


@pytest.mark.parametrize(("name", "parts"), [("vectors.npy", (2,)), ("vectors.parquet", (1, 4))])
def test_killed_and_resumed_is_the_same(
    name: str,
    parts: tuple[int, ...],
    invoke: Invoke,
    tiny_engine_dir: EngineDir,
    many: Path,
    tmp_path: Path,
    variables: dict[str, str],
) -> None:
    """Killed some milliseconds after each of these parts, at any point of the next."""
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    whole, output = tmp_path / f"whole-{name}", tmp_path / name
    assert invoke("embed", tiny_engine_dir.path, "--input", many, "--output", whole).returncode == 0
    folder = output.with_name(f"{name}.parts")
    command = [*BEI, "embed", str(tiny_engine_dir.path), "--input", str(many), "--output", str(output)]
    random = Random(name)
    for number in parts:
        with subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not (folder / f"{number - 1:08}").exists():
                time.sleep(0.001)
            time.sleep(random.random() / 50)
            os.kill(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    again = invoke("embed", tiny_engine_dir.path, "--input", many, "--output", output)
    assert f"resuming after {parts[-1]} part" in again.stderr
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.glob(f"{name}*")) == [name]


def test_another_input_begins_afresh(invoke: Invoke, tiny_engine_dir: EngineDir, many: Path, tmp_path: Path) -> None:
    output = tmp_path / "vectors.npy"
    bad = tmp_path / "bad.txt"
    bad.write_bytes(many.read_bytes() + b"\xff\n")
    assert_clear(invoke("embed", tiny_engine_dir.path, "--input", bad, "--output", output), 1, f"line {NUM_TEXTS + 1}")
    assert not output.exists()
    done = invoke("embed", tiny_engine_dir.path, "--input", many, "--output", output)
    assert done.returncode == 0
    assert "resuming" not in done.stderr
    assert len(np.load(output)) == NUM_TEXTS


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.txt", b"a\n\nb\n", "line 2"),
        ("a.txt", b"a\n\xff\xfe\n", "line 2"),
        ("a.jsonl", b'{"text": "a"}\n{"other": "b"}\n', "line 2"),
        ("a.jsonl", b'{"text": 5}\n', "line 1"),
        ("a.jsonl", b"not json\n", "line 1"),
        ("a.jsonl", b'{"text": ""}\n', "empty"),
        ("a.json", b'{"texts": ["a"]}', "a .json file must be an array"),
        ("a.json", b'["a", 5]', "element 2"),
        ("a.csv", b"a,b\n1,2\n", "has no column 'text'; its columns are a, b"),
        ("a.csv", b"text,b\n1,2\n1\n", "row 2 (line 3) has 1 columns"),
        ("a.csv", b"", "none: the file is empty"),
        ("a.csv", b"text\n\xff\n", "utf-8"),
        ("a.xlsx", b"PK", "is not text"),
        ("a.txt", "a\n".encode("utf-16"), "is UTF-16"),
    ],
)
def test_bad_texts_are_named(
    name: str, content: bytes, what: str, invoke: Invoke, tiny_engine_dir: EngineDir, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert_clear(invoke("embed", tiny_engine_dir.path, "--input", tmp_path / name), 1, what)


TABLE = 'id,text,n\r\na-1,one text,1\r\na-2,"two, with\nlines",2\r\n'
ARRAY = json.dumps([{"id": "a-1", "text": "one text"}, {"id": 7, "text": "two, with\nlines"}])
LINES = '{"id": "a-1", "text": "one text"}\n{"id": 7, "text": "two, with\\nlines"}\n'


@pytest.mark.parametrize(
    ("name", "content", "options", "ids"),
    [
        ("a.csv", TABLE, (), ["a-1", "a-2"]),
        ("a.csv", "\ufeff" + TABLE.replace("text,", "body,", 1), ("--column", "body"), ["a-1", "a-2"]),
        ("a.tsv", 'id\tbody\nx\tone text\ny\t"two, with\nlines"\n', ("--column", "body"), ["x", "y"]),
        ("a.csv", 'anything\none text\n"two, with\nlines"\n', (), None),
        ("a.json", ARRAY, (), ["a-1", 7]),
        ("a.json", json.dumps(["one text", "two, with\nlines"], indent=2), (), None),
        ("a.jsonl", LINES, (), ["a-1", 7]),
        ("a.jsonl", "\ufeff" + LINES, ("--keep", "id"), ["a-1", 7]),
    ],
)
def test_tables_and_arrays(
    name: str,
    content: str,
    options: tuple[str, ...],
    ids: list[object] | None,
    invoke: Invoke,
    tiny_engine_dir: EngineDir,
    tmp_path: Path,
) -> None:
    """Ids come back as they were."""
    (tmp_path / name).write_text(content, newline="")
    done = invoke("embed", tiny_engine_dir.path, "--input", tmp_path / name, *options)
    assert done.returncode == 0, done.stderr
    assert embeddings(done.stdout) == rows(invoke("embed", tiny_engine_dir.path, "one text", "two, with\nlines").stdout)
    assert [json.loads(line).get("id") for line in done.stdout.splitlines()] == (ids or [None, None])


def test_blank_texts_are_skipped_if_asked_for(invoke: Invoke, tiny_engine_dir: EngineDir, tmp_path: Path) -> None:
    """The others keep their columns."""
    contents = {
        "a.txt": "a\n\n \t\nb\n",
        "a.jsonl": '{"text": "a"}\n\n{"text": " "}\n{"text": "b"}\n',
        "a.json": '["a", "", " ", "b"]',
        "a.csv": 'text,n\na,1\n,2\n"\n",3\nb,4\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        arguments = ("embed", tiny_engine_dir.path, "--input", tmp_path / name)
        done = invoke(*arguments)
        assert re.search(r" 2, column 'text': the text is (empty|null)\nhint: use --blank skip", done.stderr)
        done = invoke(*arguments, "--blank", "skip")
        kept = [{**json.loads(line), "embedding": 0} for line in done.stdout.splitlines()]
        assert [row["text"] for row in kept] == ["a", "b"], name
        assert [row["index"] for row in kept if "index" in row] in ([], [0, 3]), name
    to_npy = ("--input", tmp_path / "a.txt", "--output", tmp_path / "a.npy")
    invoke("embed", tiny_engine_dir.path, "--blank", "skip", *to_npy)
    assert len(np.load(tmp_path / "a.npy")) == 2


def test_success_is_summed_up(invoke: Invoke, tiny_engine_dir: EngineDir) -> None:
    said = invoke("embed", tiny_engine_dir.path, "a", "a").stderr
    assert re.fullmatch(r"2 rows, 6 tokens in [\d.]+ s: [\d,]+ tokens/s\n", said), said


@pytest.mark.parametrize("way", ["file", "stdin", "stdout"])
def test_an_interrupted_run_says_what_is_kept(
    way: str, invoke: Invoke, tiny_engine_dir: EngineDir, many: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    output = tmp_path / "vectors.npy"
    slowly = ("embed", str(tiny_engine_dir.path), "--backend", "reference")
    command = [*BEI, *slowly, *(() if way == "stdin" else ("--input", str(many)))]
    command += () if way == "stdout" else ("--output", str(output))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    # Shells let processes in the background ignore SIGINT, and their children inherit that.
    def heed() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, env=variables, preexec_fn=heed, **pipes) as process:
        assert process.stdin
        assert process.stdout
        folder = output.with_name("vectors.npy.parts")
        if way == "stdin":
            process.stdin.write(b"a\n" * PART_ROWS * 2)
            process.stdin.flush()
        if way == "stdout":
            process.stdout.readline()
        while way != "stdout" and not (folder / ("complete" if way == "stdin" else "00000000")).exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    expected = {
        "file": rf"interrupted: kept in {folder}: [1-9]\d* parts?\nhint: the same command resumes",
        "stdin": "interrupted: nothing is kept\nhint: .*--input",
        "stdout": r"interrupted: \d+ rows were",
    }
    assert re.search(expected[way], told.decode()), told
    if way == "file":
        assert "resuming after" in invoke(*slowly, "--input", many, "--output", output).stderr


def test_usage(invoke: Invoke, tiny_engine_dir: EngineDir, many: Path, tmp_path: Path) -> None:
    engine = tiny_engine_dir.path
    assert invoke("embed", engine, "a text", "--input", many).returncode == 2
    assert invoke("embed", engine, "a text", "--column", "body").returncode == 2
    assert_clear(invoke("embed", engine, "--input", many, "--column", "body"), 1, "has no column 'body'")
    assert_clear(invoke("embed", engine, "--input", many, "--column", "index"), 1, "has one text per line")
    assert_clear(invoke("embed", engine, ""), 1, "empty")
    assert_clear(invoke("embed", engine, "a", "--output", tmp_path / "a.xlsx"), 1, "a.xlsx has no known format")
    assert_clear(invoke("embed", engine, "--dimensions", "65", "a"), 1, "65")
