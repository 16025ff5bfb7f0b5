"""The command in a process of its own, as a user runs it, and a running server."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openbei.variables import BUILD, OPTIONS

from ..checkpoint import build_engine, save_checkpoint, save_model

LABELS = {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}, "label2id": {"O": 0, "B-PER": 1, "I-PER": 2}}
BEI = (sys.executable, "-m", "openbei")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The environment of a command: ours, with caches of the test's own and no hub."""
    known = {name for names in (*OPTIONS.values(), *BUILD.values()) for name in names}
    ours = {name: os.environ[name] for name in os.environ if name not in known and name[:3] != "HF_"}
    return {**ours, "XDG_CACHE_HOME": str(tmp_path / "caches"), "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def bei(variables: dict[str, str]) -> Run:
    """Run a command to its end; standard input is empty unless given."""

    def run(*arguments: object, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        command = [*BEI, *map(str, arguments)]
        return subprocess.run(command, input=stdin, env=variables, text=True, capture_output=True, timeout=120)

    return run


def run_or_kill(*arguments: object, after_s: float, variables: dict[str, str]) -> None:
    """Run a command, and kill it if it is not done by then."""
    command = [*BEI, *map(str, arguments)]
    with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def serving(*arguments: object, variables: dict[str, str]) -> "Iterator[tuple[subprocess.Popen[str], str, list[str]]]":
    """`bei serve` on a free port; gives the process, its address, and its log up to there. Killed if it still runs."""
    port = () if {"PORT", "OPENBEI_PORT"} & variables.keys() else ("--port", "0")
    command = [*BEI, "serve", *map(str, arguments), *port]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=variables, text=True) as server:
        try:
            assert server.stderr
            log: list[str] = []
            for line in server.stderr:
                log.append(line)
                if ready := re.search(r"ready on (https?://\S+)", line):
                    yield server, ready[1], log
                    return
            raise AssertionError("".join(log))
        finally:
            server.kill()


@pytest.fixture
def config(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """A config.yaml for the small BERT."""
    path = tmp_path / "config.yaml"
    path.write_text(f"""\
trt_llm:
  build:
    base_model: encoder_bert
    checkpoint_repository:
      source: LOCAL
      repo: {tiny_checkpoint}
""")
    return path


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> dict[str, Path]:
    """Engine directories of small models, in the bfloat16 of a default build."""
    folder = tmp_path_factory.mktemp("models")
    checkpoints = {
        "embedder": save_checkpoint(folder / "embedder", tokenizer_json),
        "reranker": save_model(folder / "reranker", tokenizer_json, "BertForSequenceClassification", num_labels=1),
        "tagger": save_model(folder / "tagger", tokenizer_json, "BertForTokenClassification", **LABELS),
    }
    return {
        name: build_engine(checkpoint, folder / f"{name}-engine", dtype="bfloat16").path
        for name, checkpoint in checkpoints.items()
    }
