"""`bei embed`: every way in, every way out, and being killed on the way."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from openbei.cli.embed import CHUNK_TEXTS
from openbei.engine_dir import EngineDir

from ..prose import WORDS
from .conftest import BEI, Run
from .test_serve import assert_clear

NUM_TEXTS = 5 * CHUNK_TEXTS + 17


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A file of texts that takes several chunks."""
    path = tmp_path / "many.txt"
    path.write_text("".join(f"{' '.join(WORDS[i % 997 :][: 1 + i % 30])}\n" for i in range(NUM_TEXTS)))
    return path


def rows(jsonl: str) -> list[list[float]]:
    lines = [json.loads(line) for line in jsonl.splitlines()]
    assert [line["index"] for line in lines] == list(range(len(lines)))
    return [line["embedding"] for line in lines]


def test_arguments_stdin_and_files_say_the_same(bei: Run, tiny_engine_dir: EngineDir, tmp_path: Path) -> None:
    texts = ["one text", "another, longer text", "ein dritter"]
    lines, objects = tmp_path / "texts.txt", tmp_path / "texts.jsonl"
    lines.write_text("\n".join(texts))
    objects.write_text("".join(json.dumps({"body": text, "n": 1}) + "\n" for text in texts))
    engine = tiny_engine_dir.path
    expected = bei("embed", engine, *texts)
    assert expected.returncode == 0
    assert np.shape(rows(expected.stdout)) == (3, 64)
    assert bei("embed", engine, stdin=lines.read_text()).stdout == expected.stdout
    assert bei("embed", engine, "--field", "body", stdin=objects.read_text()).stdout == expected.stdout
    assert bei("embed", engine, "--input", lines).stdout == expected.stdout
    assert bei("embed", engine, "--input", objects, "--field", "body").stdout == expected.stdout
    for name in ("vectors.npy", "vectors.jsonl"):
        assert bei("embed", engine, "--input", lines, "--output", tmp_path / name).returncode == 0
    assert (tmp_path / "vectors.jsonl").read_text() == expected.stdout
    assert np.load(tmp_path / "vectors.npy").tolist() == rows(expected.stdout)
    assert np.shape(rows(bei("embed", engine, "--dimensions", "8", "a text").stdout)) == (1, 8)


def test_no_texts(bei: Run, tiny_engine_dir: EngineDir, tmp_path: Path) -> None:
    assert bei("embed", tiny_engine_dir.path).stdout == ""
    assert bei("embed", tiny_engine_dir.path, "--output", tmp_path / "none.npy").returncode == 0
    assert np.load(tmp_path / "none.npy").shape == (0, 64)


@pytest.mark.parametrize("name", ["vectors.npy", "vectors.jsonl"])
def test_killed_and_resumed_is_the_same(
    name: str, bei: Run, tiny_engine_dir: EngineDir, many: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    whole, output = tmp_path / f"whole-{name}", tmp_path / name
    assert bei("embed", tiny_engine_dir.path, "--input", many, "--output", whole).returncode == 0
    partial = output.with_name(f"{name}.partial")
    command = [*BEI, "embed", str(tiny_engine_dir.path), "--input", str(many), "--output", str(output)]
    one_chunk = whole.stat().st_size / NUM_TEXTS * CHUNK_TEXTS
    with subprocess.Popen(command, env=variables) as process:
        while process.poll() is None and (not partial.exists() or partial.stat().st_size < 1.1 * one_chunk):
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
    assert not output.exists()
    with partial.open("ab") as file:
        file.write(b"torn")
    again = bei("embed", tiny_engine_dir.path, "--input", many, "--output", output)
    assert "resuming after" in again.stderr
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.glob(f"{name}*")) == [name]


def test_another_input_begins_afresh(bei: Run, tiny_engine_dir: EngineDir, many: Path, tmp_path: Path) -> None:
    output = tmp_path / "vectors.npy"
    bad = tmp_path / "bad.txt"
    bad.write_bytes(many.read_bytes() + b"\xff\n")
    assert_clear(bei("embed", tiny_engine_dir.path, "--input", bad, "--output", output), 1, f"line {NUM_TEXTS + 1}")
    assert not output.exists()
    done = bei("embed", tiny_engine_dir.path, "--input", many, "--output", output)
    assert done.returncode == 0
    assert "going on" not in done.stderr
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
        ("a.parquet", b"PAR1", "is not text"),
        ("a.txt", "a\n".encode("utf-16"), "is UTF-16"),
    ],
)
def test_bad_texts_are_named(
    name: str, content: bytes, what: str, bei: Run, tiny_engine_dir: EngineDir, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert_clear(bei("embed", tiny_engine_dir.path, "--input", tmp_path / name), 1, what)


TABLE = 'id,text,n\r\na-1,one text,1\r\na-2,"two, with\nlines",2\r\n'
ARRAY = json.dumps([{"id": "a-1", "text": "one text"}, {"id": 7, "text": "two, with\nlines"}])
LINES = '{"id": "a-1", "text": "one text"}\n{"id": 7, "text": "two, with\\nlines"}\n'


@pytest.mark.parametrize(
    ("name", "content", "options", "ids"),
    [
        ("a.csv", TABLE, (), ["a-1", "a-2"]),
        ("a.csv", "\ufeff" + TABLE.replace("text,", "body,", 1), ("--column", "body"), ["a-1", "a-2"]),
        (
            "a.tsv",
            'key\tbody\nx\tone text\ny\t"two, with\nlines"\n',
            ("--column", "body", "--id-field", "key"),
            ["x", "y"],
        ),
        ("a.csv", 'anything\none text\n"two, with\nlines"\n', (), None),
        ("a.json", ARRAY, (), ["a-1", 7]),
        ("a.json", json.dumps(["one text", "two, with\nlines"], indent=2), (), None),
        ("a.jsonl", LINES, (), ["a-1", 7]),
        ("a.jsonl", "\ufeff" + LINES.replace('"id"', '"key"'), ("--id-field", "key"), ["a-1", 7]),
    ],
)
def test_tables_and_arrays(
    name: str,
    content: str,
    options: tuple[str, ...],
    ids: list[object] | None,
    bei: Run,
    tiny_engine_dir: EngineDir,
    tmp_path: Path,
) -> None:
    """Ids come back as they were."""
    (tmp_path / name).write_text(content, newline="")
    done = bei("embed", tiny_engine_dir.path, "--input", tmp_path / name, *options)
    assert done.returncode == 0, done.stderr
    assert rows(done.stdout) == rows(bei("embed", tiny_engine_dir.path, "one text", "two, with\nlines").stdout)
    assert [json.loads(line).get("id") for line in done.stdout.splitlines()] == (ids or [None, None])


def test_blank_texts_are_skipped_if_asked_for(bei: Run, tiny_engine_dir: EngineDir, tmp_path: Path) -> None:
    """The others keep their place in the input."""
    contents = {
        "a.txt": "a\n\n \t\nb\n",
        "a.jsonl": '{"text": "a"}\n\n{"text": " "}\n{"text": "b"}\n',
        "a.json": '["a", "", " ", "b"]',
        "a.csv": 'text,n\na,1\n,2\n"\n",3\nb,4\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        arguments = ("embed", tiny_engine_dir.path, "--input", tmp_path / name)
        assert_clear(bei(*arguments), 1, " 2: the text is empty\nhint: an empty text has no embedding")
        done = bei(*arguments, "--blank", "skip")
        assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == [0, 3], name
    to_npy = ("--input", tmp_path / "a.txt", "--output", tmp_path / "a.npy")
    bei("embed", tiny_engine_dir.path, "--blank", "skip", *to_npy)
    assert len(np.load(tmp_path / "a.npy")) == 2


def test_success_is_summed_up(bei: Run, tiny_engine_dir: EngineDir) -> None:
    said = bei("embed", tiny_engine_dir.path, "a", "a").stderr
    assert re.fullmatch(r"2 texts, 6 tokens in [\d.]+ s: [\d,]+ tokens/s\n", said), said


@pytest.mark.parametrize("way", ["file", "stdin", "stdout"])
def test_an_interrupted_run_says_what_is_kept(
    way: str, bei: Run, tiny_engine_dir: EngineDir, many: Path, tmp_path: Path, variables: dict[str, str]
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
        partial, num_bytes = output.with_name("vectors.npy.partial"), 0 if way == "stdin" else 300 * CHUNK_TEXTS
        if way == "stdin":
            process.stdin.write(b"a\n" * CHUNK_TEXTS * 2)
            process.stdin.flush()
        if way == "stdout":
            process.stdout.readline()
        while way != "stdout" and (not partial.exists() or partial.stat().st_size < num_bytes):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    expected = {
        "file": rf"interrupted: \d*[1-9]\d* texts are kept in {partial}\nhint: the same command resumes",
        "stdin": "interrupted: nothing is kept\nhint: .*--input",
        "stdout": r"interrupted: \d+ texts were",
    }
    assert re.search(expected[way], told.decode()), told
    if way == "file":
        assert "resuming after" in bei(*slowly, "--input", many, "--output", output).stderr


def test_usage(bei: Run, tiny_engine_dir: EngineDir, many: Path, tmp_path: Path) -> None:
    engine = tiny_engine_dir.path
    assert bei("embed", engine, "a text", "--input", many).returncode == 2
    assert bei("embed", engine, "a text", "--field", "body").returncode == 2
    assert_clear(bei("embed", engine, "--input", many, "--column", "body"), 1, "--column is for .csv and .tsv")
    assert_clear(bei("embed", engine, ""), 1, "empty")
    assert_clear(bei("embed", engine, "a", "--output", tmp_path / "a.parquet"), 1, "a.parquet")
    assert_clear(bei("embed", engine, "--dimensions", "65", "a"), 1, "65")
