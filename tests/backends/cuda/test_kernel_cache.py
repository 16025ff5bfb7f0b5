"""The cache of compiled kernels: filled for a GPU that is not here, and enough for a start on it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from triton.runtime.jit import JITFunction

from openbei.backends import cuda
from openbei.backends.cuda import kernel_cache
from openbei.backends.cuda.ops_triton import TritonOps
from openbei.gpus import Capability
from tests.house.source import ROOT
from tests.random_engine import random_engine_dir
from tests.small_models import random_batch, small_spec
from tests.spec_axes import AXES, HEADS

from .test_float8 import quantized

NUM_TOKENS, H100 = 16, Capability(9, 0)

QUANTIZED = [
    ("float8", H100, "_quantize_kernel"),
    ("nvfp4", Capability(10, 0), "_rescale_kernel"),
    ("int8", H100, "_linear_kernel"),
]
"""Number format, compute capability, and a kernel that it takes."""


def fill(folder: Path) -> None:
    """As `bei build` does."""
    kernel_cache.use_folder(folder)
    kernel_cache.compile_kernels(random_engine_dir(small_spec(64, 4, 16), "bfloat16"), H100, sizes=(NUM_TOKENS,))


def start(folder: Path) -> None:
    """As on a GPU, where tensors have memory: kernels are looked up, and not launched."""
    kernel_cache.use_folder(folder)
    run = JITFunction.run
    JITFunction.run = lambda self, *args, warmup, **options: run(self, *args, warmup=True, **options)
    cuda._ops = lambda device, dtype: TritonOps(dtype)
    with kernel_cache.compiling_for(H100):
        engine_dir = random_engine_dir(small_spec(64, 4, 16), "bfloat16")
        engine = cuda.load_on(engine_dir, torch.device("cpu"), free_bytes=1 << 30, capability=H100)
        for output in ("pooled", "tokens"):
            engine.run(random_batch([NUM_TOKENS // 2] * 2), output)


def looked_up(function: str, folder: Path) -> dict[str, bool]:
    """The kernels that a function of this module looks up in a process of its own, and whether each was found."""
    program = f"""
import json, sys
from pathlib import Path
from triton import knobs
found = {{}}
def listen(metadata, cache_hit, **rest):
    found[metadata["hash"]] = cache_hit
knobs.compilation.listener = listen
from tests.backends.cuda import test_kernel_cache
test_kernel_cache.{function}(Path({str(folder)!r}))
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True, check=True)
    return dict(json.loads(done.stdout))


def test_a_second_start_compiles_nothing(tmp_path: Path) -> None:
    compiled = looked_up("fill", tmp_path)
    assert len(compiled) >= 5
    assert not any(compiled.values())
    started = looked_up("start", tmp_path)
    assert started == dict.fromkeys(compiled, True)


def test_only_the_user_may_write_into_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache.knobs.cache, "dir", str(tmp_path))
    kernel_cache.use_folder(tmp_path / "kernels")
    assert (tmp_path / "kernels").stat().st_mode & 0o777 == 0o700
    assert kernel_cache.knobs.cache.dir == str(tmp_path / "kernels")


SPECS = {name: small_spec(96, 6, 16, 128, **axis) for name, axis in AXES.items()}
SPECS |= {name: small_spec(64, 2, 32, 96, head=head) for name, head in HEADS.items()}


@pytest.mark.parametrize("name", SPECS)
def test_every_model_has_kernels_to_compile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its program runs on tensors without memory."""
    launched: set[str] = set()
    monkeypatch.setattr(JITFunction, "warmup", lambda self, *arguments, **options: launched.add(self.__name__))
    kernel_cache.compile_kernels(random_engine_dir(SPECS[name], "bfloat16"), H100)
    assert {"_embed_kernel", "_attention_kernel"} <= launched or not SPECS[name].num_layers


@pytest.mark.parametrize(("number_format", "capability", "kernel"), QUANTIZED)
def test_quantized_models(
    number_format: str, capability: Capability, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: set[str] = set()
    monkeypatch.setattr(JITFunction, "warmup", lambda self, *arguments, **options: launched.add(self.__name__))
    engine_dir = quantized(small_spec(128, 4, 32, 256), number_format)
    kernel_cache.compile_kernels(engine_dir, capability)
    assert kernel in launched
