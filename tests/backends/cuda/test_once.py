"""The script for a GPU, `benchmarks.cuda_once`: each step on a CPU with small shapes, and the script as a process."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.cuda_once import FILE, STEPS, _shares
from benchmarks.gpu.run import Run
from tests.house.source import ROOT


def failures(result: object) -> list[str]:
    """The texts of failed measurements in a result."""
    if isinstance(result, dict):
        return [text for value in result.values() for text in failures(value)]
    return [result] if isinstance(result, str) and "Error: " in result else []


@pytest.mark.parametrize("name", STEPS)
def test_a_step(name: str) -> None:
    result = importlib.import_module(f"benchmarks.gpu.{name}").run(Run(torch.device("cpu"), is_tiny=True))
    assert json.loads(json.dumps(result))
    only_on_gpus = ("flash_attention", "triton", "active drivers")
    assert [text for text in failures(result) if not any(word in text for word in only_on_gpus)] == []
    if name == "correctness":
        assert result["failed"] == {}


def test_the_script(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.cuda_once", "--tiny", "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run([*command, "--only", "environment"], cwd=ROOT, text=True, capture_output=True, check=True)
    written = json.loads((tmp_path / FILE).read_text())
    assert written["environment"]["torch"] == torch.__version__
    assert json.loads(done.stdout.splitlines()[0]) == {"environment": written["environment"]}


def test_a_step_that_takes_too_long(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.cuda_once", "--tiny", "--device", "cpu", "--out", str(tmp_path)]
    subprocess.run([*command, "--only", "cpu", "start", "--seconds", "0"], cwd=ROOT, capture_output=True, check=True)
    written = json.loads((tmp_path / FILE).read_text())
    assert written["cpu"] == written["start"] == {"error": "not finished in 1 s"}


def test_shares_of_ceilings() -> None:
    ceilings = {"8B": {"bfloat16": {"sustained_tflops": 500.0}}}
    speeds = {"precision": "bfloat16", **{kind: {"tflops": 400.0} for kind in ("64", "512", "mixed")}}
    shares = _shares({"ceilings": ceilings, "models": {"8B": speeds, "8B, transformers": "an error"}})
    assert shares == {"8B, 64": 0.8, "8B, 512": 0.8, "8B, mixed": 0.8}
