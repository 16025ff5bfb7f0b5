"""`bei build`: what it prints, and what each kind of bad input is told."""

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from openbei.engine_dir import EngineDir, open_engine_dir
from tests.checkpoint import write_chain
from tests.checkpoints.hub_server import serve_hub

from .conftest import BEI, Run, run_or_kill
from .test_serve import assert_clear


def test_prints_the_path_and_what_was_decided(bei: Run, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "engine"
    done = bei("build", config, "--out", out)
    assert done.returncode == 0
    assert done.stdout == f"{out}\n"
    assert "pooling" in done.stderr
    assert sorted(p.name for p in out.iterdir()) == ["engine.json", "tokenizer.json", "weights.safetensors"]


def test_up_to_date_is_not_built_again_unless_forced(bei: Run, config: Path) -> None:
    path = Path(bei("build", config).stdout.strip())
    first = (path / "engine.json").stat().st_mtime_ns
    assert "up to date" in bei("build", config).stderr
    assert (path / "engine.json").stat().st_mtime_ns == first
    assert bei("build", config, "--force").returncode == 0
    assert (path / "engine.json").stat().st_mtime_ns > first


def test_a_folder_is_enough(bei: Run, tiny_checkpoint: Path) -> None:
    assert bei("build", tiny_checkpoint).returncode == 0


def without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors")


def with_an_extra_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer.0.adapter.weight"] = tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors")


def of_another_architecture(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["T5Model"]}))


@pytest.mark.parametrize(
    ("corrupt", "what"),
    [
        (without_tokenizer, "tokenizer.json"),
        (without_a_tensor, "encoder.layer.1.output.dense.weight"),
        (with_an_extra_tensor, "encoder.layer.0.adapter.weight"),
        (of_another_architecture, "T5Model"),
    ],
)
def test_a_bad_checkpoint(
    corrupt: Callable[[Path], None], what: str, bei: Run, checkpoint_copy: Path, tmp_path: Path
) -> None:
    corrupt(checkpoint_copy)
    out = tmp_path / "engines" / "engine"
    assert_clear(bei("build", checkpoint_copy, "--out", out), 1, what)
    assert not out.exists()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("base_model: encoder_bert", "base_modle: encoder_bert", "base_modle"),
        ("base_model: encoder_bert", "base_model: decoder", "decoder"),
        ("source: LOCAL", "source: FTP", "FTP"),
        ("trt_llm:", "trt_llm: [", "config.yaml"),
    ],
)
def test_a_bad_config(old: str, new: str, what: str, bei: Run, config: Path) -> None:
    config.write_text(config.read_text().replace(old, new))
    assert_clear(bei("build", config), 2, what)


def test_a_route(bei: Run, checkpoint_copy: Path, tmp_path: Path) -> None:
    """Each in a directory of its own, unless one is given."""
    routes = {"query": ["a_Normalize"], "document": ["b_Dropout"]}
    types = {name: f"sentence_transformers.models.{name[2:]}" for [name] in routes.values()}
    (checkpoint_copy / "2_Router").mkdir()
    (checkpoint_copy / "2_Router/router_config.json").write_text(json.dumps({"types": types, "structure": routes}))
    chain = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Router", "Router")]
    write_chain(checkpoint_copy, chain)
    assert_clear(bei("build", checkpoint_copy), 1, "query, document")
    assert_clear(bei("build", checkpoint_copy, "--route", "image"), 1, "image")
    built = {route: bei("build", checkpoint_copy, "--route", route).stdout.strip() for route in routes}
    assert {route: open_engine_dir(Path(path)).manifest.normalize for route, path in built.items()} == {
        "query": True,
        "document": False,
    }


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{}".encode("utf-16"), "config.json is UTF-16, not UTF-8\nhint: save it as UTF-8"),
        (b"\xef\xbb\xbf{}", "config.json starts with a byte order mark"),
        (b'{"a": "\xe9"}', "config.json is not UTF-8, at byte 7"),
    ],
)
def test_a_wrong_encoding(content: bytes, what: str, bei: Run, checkpoint_copy: Path) -> None:
    (checkpoint_copy / "config.json").write_bytes(content)
    assert_clear(bei("build", checkpoint_copy), 1, what)


@pytest.mark.parametrize("watched", [True, False])
def test_a_download_shows_a_bar_and_no_requests(
    watched: bool, checkpoint_copy: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    """A bar where a person watches; a line that says from where in any case."""
    with serve_hub("owner/tiny-bert", checkpoint_copy) as hub:
        ours = {**variables, "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0"}
        reader, writer = pty.openpty() if watched else os.pipe()
        if watched:
            fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
        with subprocess.Popen(
            [*BEI, "build", "owner/tiny-bert"], env=ours, stderr=writer, stdout=subprocess.PIPE
        ) as build:
            os.close(writer)
            told = read_to_end(reader).decode()
    assert build.returncode == 0, told
    assert f"fetching owner/tiny-bert from {hub.endpoint}" in told
    assert "HTTP" not in told
    assert ("Fetching" in told) == watched


def read_to_end(reader: int) -> bytes:
    content = b""
    try:
        while block := os.read(reader, 65536):
            content += block
    except OSError:  # a terminal that has gone
        pass
    os.close(reader)
    return content


def test_a_budget_below_the_model_is_told(bei: Run, config: Path, tmp_path: Path) -> None:
    """In a build and at a start; not where the model is the limit."""
    assert "reads longer texts" not in bei("build", config).stderr
    config.write_text(config.read_text() + "    max_num_tokens: 65\n")
    told = "reads longer texts, but max_num_tokens truncates them to 65 tokens"
    assert told in bei("build", config, "--out", tmp_path / "engine").stderr
    assert told in bei("embed", tmp_path / "engine", "a").stderr


def test_usage(bei: Run, tiny_engine_dir: EngineDir, tmp_path: Path) -> None:
    assert bei("build").returncode == 2
    assert bei("bild").returncode == 2
    assert_clear(bei("build", tiny_engine_dir.path), 2, "already")
    assert_clear(bei("build", tmp_path / "nothing.yaml"), 2, "nothing.yaml")


def test_an_interrupted_build_leaves_nothing_that_loads(
    config: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    """A build that is killed at any moment leaves no engine directory; the next one succeeds."""
    out = tmp_path / "engines" / "engine"
    for delay_s in (0.2, 0.3, 0.35, 0.4):
        run_or_kill("build", config, "--out", out, after_s=delay_s, variables=variables)
        if out.exists():  # then all of it
            subprocess.run([*BEI, "info", out], env=variables, check=True, stdout=subprocess.DEVNULL)
            shutil.rmtree(out)
    subprocess.run([*BEI, "build", config, "--out", out], env=variables, check=True)


def test_nothing_can_be_written(bei: Run, config: Path) -> None:
    assert_clear(bei("build", config, "--out", "/proc/nowhere/engine"), 1, "/proc/nowhere/engine")
