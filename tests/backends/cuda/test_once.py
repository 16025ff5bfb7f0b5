"""The script for a GPU, `benchmarks.cuda_once`: each step on a CPU with small shapes, and the script as a process."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import cuda_once
from benchmarks.cuda_once import FILE, STEPS, _shares
from benchmarks.gpu.run import Run


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
        assert all(one["passes"] for one in result["quantized"].values())
    if name == "models":
        assert result["Qwen3-0.6B, peers"]["sentence-transformers"]["mixed"]["tokens_per_s"] > 0


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, object]]:
    """Runs the script with a program instead of each step's process, and returns what it writes."""

    def run(program: str, *options: str) -> dict[str, object]:
        step = tmp_path / "step"
        step.write_text(f"#!/bin/sh\n{program}\n")
        step.chmod(0o755)
        monkeypatch.setattr(cuda_once.sys, "executable", str(step))
        monkeypatch.setattr(cuda_once.sys, "argv", ["cuda_once", "--tiny", "--out", str(tmp_path / "out"), *options])
        cuda_once.main()
        written: dict[str, object] = json.loads((tmp_path / "out" / FILE).read_text())
        return written

    return run


def test_the_script(steps: Callable[..., dict[str, object]], capsys: pytest.CaptureFixture[str]) -> None:
    written = steps("""echo 'a warning'; echo "result: {\\"arguments\\": \\"$*\\"}" """, "--only", "cpu", "start")
    assert written["cpu"] == {"arguments": "-m benchmarks.cuda_once --step cpu --device cuda --tiny"}
    assert json.loads(capsys.readouterr().out.splitlines()[1]) == {"start": written["start"]}


def test_a_step_that_fails_or_takes_too_long(steps: Callable[..., dict[str, object]]) -> None:
    failed = steps("echo 'it broke' >&2; exit 3", "--only", "cpu")["cpu"]
    assert failed == {"error": "status 3", "output": "it broke\n"}
    assert steps("exec sleep 60", "--only", "cpu", "--seconds", "0")["cpu"] == {"error": "not finished in 1 s"}


def test_the_process_of_a_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cuda_once.sys, "argv", ["cuda_once", "--tiny", "--device", "cpu", "--step", "environment"])
    cuda_once.main()
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line.removeprefix(cuda_once.MARK))["torch"] == torch.__version__


def test_shares_of_ceilings() -> None:
    ceilings = {"8B": {"bfloat16": {"sustained_tflops": 500.0}}}
    speeds = {"precision": "bfloat16", **{kind: {"tflops": 400.0} for kind in ("64", "512", "mixed")}}
    shares = _shares({"ceilings": ceilings, "models": {"8B": speeds, "8B, transformers": "an error"}})
    assert shares == {"8B, 64": 0.8, "8B, 512": 0.8, "8B, mixed": 0.8}
