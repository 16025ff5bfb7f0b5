"""Measures the CUDA backend on a GPU in six minutes. The results go into docs/benchmarks.md.

python -m benchmarks.cuda_once [--out FOLDER] [--device cuda] [--seconds 360] [--only STEP ...]

Writes cuda_once.json, and prints it, after every step, so that an interrupted run still has results. Each step runs in
a process of its own, so that a kernel that hangs, or leaves the GPU unusable, ends only that step. Nothing is
downloaded. On a machine without a network, bring openbei and its dependencies as wheels. Collect them for its Python,
here 3.12, on a machine with a network:

    python3.12 -m pip wheel --no-deps --wheel-dir .bench/wheels .
    python3.12 -m pip download --dest .bench/wheels --only-binary :all: --python-version 3.12 \\
        ml_dtypes tokenizers msgspec starlette 'uvicorn[standard]' httptools prometheus-client zstandard blake3 \\
        click rich PyYAML jinja2 huggingface_hub transformers sentence-transformers scikit-learn scipy pytest \\
        hypothesis baseten-performance-client

These are about 130 MB, of which numpy is not needed where it is installed already (rm .bench/wheels/numpy-*). Then, on
the machine, where torch, its Triton and numpy are installed:

    python -m venv --system-site-packages .bench/venv
    .bench/venv/bin/pip install --no-index --find-links .bench/wheels openbei sentence-transformers \\
        baseten-performance-client
    .bench/venv/bin/python -m benchmarks.cuda_once --out "$OUT"

`python -m benchmarks.gpu.compile` compiles the kernels in advance, on a machine without a GPU. The wheel of openbei has
the CPU engine compiled. Without it, or without a peer, the steps that need them say so.
`--tiny` uses small shapes and takes no time for measurements: with `--device cpu` it tests the script itself.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

STEPS = (
    *("environment", "ceilings", "cpu", "correctness", "models", "latency", "http", "start"),
    *("profile", "tune", "kernels"),
)
"""Modules of benchmarks.gpu, the most important first."""

FILE = "cuda_once.json"
MARK = "result: "


def main() -> None:
    """Run the steps within the time limit, and write their results."""
    arguments = _arguments()
    if arguments.step:
        _run_step(arguments)
        return
    ends_s = time.monotonic() + arguments.seconds
    results: dict[str, object] = {}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or STEPS:
        start = time.monotonic()
        results[name] = _in_process(name, arguments, max(ends_s - start, 1.0))
        results[f"{name}, seconds"] = round(time.monotonic() - start, 1)
        results["shares of ceilings"] = _shares(results)
        (arguments.out / FILE).write_text(json.dumps(results, indent=1))
        print(json.dumps({name: results[name]}), flush=True)
    print(json.dumps({"shares of ceilings": results["shares of ceilings"]}), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda_once", description="Measure a GPU once.")
    parser.add_argument("--out", type=Path, default=Path(".bench/gpu"), help=f"folder for {FILE}")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to test the script")
    parser.add_argument("--seconds", type=float, default=360.0, help="time for all steps")
    parser.add_argument("--only", nargs="+", choices=STEPS, help="steps to run")
    parser.add_argument("--tiny", action="store_true", help="small shapes, to test the script")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_process(name: str, arguments: argparse.Namespace, seconds: float) -> object:
    """The result of a step in a process of its own, or what went wrong."""
    command = [sys.executable, "-m", "benchmarks.cuda_once", "--step", name, "--device", arguments.device]
    command += ["--tiny"] if arguments.tiny else []
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"error": f"not finished in {seconds:.0f} s"}
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    return {"error": f"status {done.returncode}", "output": (done.stdout + done.stderr)[-3000:]}


def _run_step(arguments: argparse.Namespace) -> None:
    """Run one step and print its result."""
    import torch

    from benchmarks.gpu.run import Run

    step = importlib.import_module(f"benchmarks.gpu.{arguments.step}")
    result = step.run(Run(torch.device(arguments.device), arguments.tiny))
    print(MARK + json.dumps(result, default=str), flush=True)


def _shares(results: dict[str, object]) -> dict[str, float]:
    """The speed of each model as a share of the fastest plain product in its own shapes and number format."""
    shares: dict[str, float] = {}
    ceilings, models = results.get("ceilings"), results.get("models")
    if not isinstance(ceilings, dict) or not isinstance(models, dict):
        return shares
    for name, speeds in models.items():
        if not isinstance(speeds, dict) or "precision" not in speeds:
            continue
        number_format = "fp8" if speeds["precision"] == "float8" else speeds["precision"]
        ceiling = ceilings.get(name.removesuffix(", fp8"), {}).get(number_format)
        for kind in ("64", "512", "mixed"):
            if isinstance(ceiling, dict):
                shares[f"{name}, {kind}"] = speeds[kind]["tflops"] / ceiling["sustained_tflops"]
    return shares


if __name__ == "__main__":
    main()
