"""The folder of compiled kernels, and compilation for a GPU that this machine need not have.

Triton stores each kernel under a key made of its source, the types and alignment of its arguments, its constants, the
version of Triton and the compute capability. Kernels are machine code that runs unchecked, so the folder must be the
user's own. An engine directory contains none, because it may come from a bucket.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from openbei.backends.cuda.inputs import host_arrays, inputs_of, places_of
from openbei.backends.cuda.ops_triton import TritonOps
from openbei.backends.cuda.precision import precision_of
from openbei.backends.cuda.program import Program
from openbei.backends.cuda.weights import load_weights
from openbei.batch import Output, PackedBatch, head_output
from openbei.engine_dir import EngineDir
from openbei.gpus import Capability
from openbei.safetensors_file import Array

NUM_TOKENS = (16, 100, 600, 2000, 32768)
"""Tokens of batches whose matrix products use different tiles; see `openbei.backends.cuda.kernels.gemm.BLOCKS`."""

WARP_SIZE = 32


def use_folder(folder: Path) -> None:
    """Store compiled kernels in a folder of the user, which is created if it does not exist."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    knobs.cache.dir = str(folder)


def compile_kernels(
    engine_dir: EngineDir,
    capability: Capability,
    *,
    sizes: Sequence[int] = NUM_TOKENS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Compile the kernels of a model that are not in the folder yet. Models in float32 have none.

    The program runs on meta tensors, which have no memory: kernels are compiled but not launched.
    """
    manifest = engine_dir.manifest
    precision = precision_of(manifest, capability)
    if precision.dtype == torch.float32:
        return
    own = head_output(manifest.spec.head)
    outputs: tuple[Output, ...] = ("pooled", "tokens") if own == "pooled" else (own,)
    with torch.inference_mode(), compiling_for(capability):
        ops = TritonOps(precision.dtype, capability)
        weights = load_weights(engine_dir, precision.dtype, _without_memory, kept=precision.kept)
        program = Program(manifest.spec, weights, ops, precision.dtype)
        for done, num_tokens in enumerate(sizes):
            arrays = host_arrays(manifest.spec, _batch(num_tokens), ops.query_block)
            places, size = places_of(arrays)
            packed = torch.empty(size, dtype=torch.int32, device="meta")
            for output in outputs:
                program.run(inputs_of(packed, places, ops.query_block), output)
            progress(done + 1, len(sizes))


def _without_memory(array: Array) -> Tensor:
    element_type = torch.from_numpy(np.empty(0, array.dtype)).dtype
    return torch.empty(array.shape, dtype=element_type, device="meta")


def _batch(num_tokens: int) -> PackedBatch:
    """Two sequences."""
    bounds = np.array([0, num_tokens // 2, num_tokens], np.int32)
    return PackedBatch(np.zeros(num_tokens, np.int32), bounds)


class _Card:
    """Replaces Triton's driver: what Triton needs to know of a card to compile for it."""

    def __init__(self, capability: Capability) -> None:
        self._architecture = 10 * capability.major + capability.minor

    def get_current_device(self) -> int:
        """A number that no GPU here has: Triton remembers the target of each device."""
        return -self._architecture

    def get_current_stream(self, device: int) -> int:
        """Nothing is launched."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """The card."""
        return GPUTarget("cuda", self._architecture, WARP_SIZE)


@contextmanager
def compiling_for(capability: Capability) -> Iterator[None]:
    """Compile for a card while the context is active."""
    before = driver._active  # `reset_active` needs a GPU
    driver.set_active(_Card(capability))
    try:
        yield
    finally:
        driver.set_active(before)
