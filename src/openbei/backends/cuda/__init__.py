"""The CUDA backend: runs packed batches on an NVIDIA GPU with torch and Triton. Needs the extra `cuda`.

Only this package imports torch, and only when it is chosen. Engine directories that were built for CPUs work, too:
their weights are copied to the GPU and converted to row-major order there.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from openbei.backends.cuda import memory
from openbei.backends.cuda.engine import CudaEngine
from openbei.backends.cuda.graphs import Graphs, max_graph_tokens
from openbei.backends.cuda.ops import Ops
from openbei.backends.cuda.ops_torch import TorchOps
from openbei.backends.cuda.precision import Precision, precision_of, warn_of_expansion
from openbei.backends.cuda.program import Program
from openbei.backends.cuda.stored import ToDevice
from openbei.backends.cuda.transfer import WeightUpload
from openbei.backends.cuda.weights import load_weights
from openbei.batch import EngineInfo
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError, EngineError
from openbei.formats.storage import Storage
from openbei.gpus import Capability
from openbei.shapes import TensorKind

BATCH_TOKENS = 16384
"""Tokens of a batch for full throughput: enough to keep the GPU busy, few enough for short waits."""

LARGE_MODEL_BYTES = 6 << 30
"""For models with more bytes of weights, half as many tokens keep the GPU busy."""

FORMATS = frozenset(("bfloat16", "float16", "float32", "float8", "int8", "nvfp4", "smooth_int8"))
LAYOUTS = frozenset(("panels", "row_major"))

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """`index` is the number of the GPU. `kernel_cache` is a folder for compiled kernels, None for Triton's own."""

    index: int = 0
    kernel_cache: Path | None = None


def reads(kind: TensorKind, storage: Storage) -> bool:
    """Whether the backend reads a tensor: any kind, in FORMATS and LAYOUTS."""
    return storage.format in FORMATS and storage.layout in LAYOUTS


def load(engine_dir: EngineDir, options: Options) -> CudaEngine:
    """The engine on a GPU. It has run batches, so kernels are compiled, and the memory of graphs is allocated.

    Raises BackendError if torch cannot use the GPU, if weights and a batch do not fit in its free memory, or if the
    batch fails.
    """
    _check_torch()
    device = torch.device("cuda", options.index)
    try:
        free_bytes, _ = torch.cuda.mem_get_info(device)
        capability = Capability(*torch.cuda.get_device_capability(device))
    except RuntimeError as error:
        raise BackendError(f"{device} cannot be used: {error}", hint="use --device cpu") from error
    if options.kernel_cache:
        from openbei.backends.cuda.kernel_cache import use_folder

        use_folder(options.kernel_cache)
    with torch.cuda.device(device):  # uploads use the current device's stream
        engine = load_on(engine_dir, device, free_bytes=free_bytes, capability=capability)
    warm_up(engine)
    return engine


def warm_up(engine: CudaEngine) -> None:
    """Run its first batches. Raises BackendError if they fail."""
    try:
        engine.warm_up()
    except EngineError as error:
        raise BackendError(f"the GPU cannot run the model: {error.message}", hint="use --device cpu") from error


def compile_kernels(
    engine_dir: EngineDir, capability: Capability, folder: Path, progress: Callable[[int, int], None]
) -> None:
    """Compile the kernels of a model into a folder of the user. The machine need not have such a GPU."""
    from openbei.backends.cuda import kernel_cache

    kernel_cache.use_folder(folder)
    kernel_cache.compile_kernels(engine_dir, capability, progress=progress)


def load_on(
    engine_dir: EngineDir,
    device: torch.device,
    *,
    free_bytes: int,
    capability: Capability,
    to_device: ToDevice | None = None,
) -> CudaEngine:
    """The engine on a device, which may be the CPU in tests. Raises BackendError if it does not fit in `free_bytes`.

    `to_device` copies weights; that of benchmarks generates random weights on the device instead.
    """
    manifest = engine_dir.manifest
    spec = manifest.spec
    precision = precision_of(manifest, capability)
    warn_of_expansion(manifest, precision)
    dtype = precision.dtype
    is_captured = device.type == "cuda" and dtype != torch.float32
    graph_tokens = max_graph_tokens(spec) if is_captured else 0
    batch_tokens = _fitting_batch(engine_dir, precision, device, free_bytes, graph_tokens)
    try:
        with torch.inference_mode():
            weights = load_weights(engine_dir, dtype, to_device or WeightUpload(device), kept=precision.kept)
    except torch.OutOfMemoryError as error:
        raise BackendError(f"the weights do not fit on {device}: {error}", hint="use another GPU") from error
    ops = _ops(device, dtype, capability)
    program = Program(spec, weights, ops, dtype)
    return CudaEngine(
        spec,
        program,
        ops,
        max_sequence_tokens=manifest.max_sequence_tokens,
        batch_tokens=batch_tokens,
        device=device,
        info=EngineInfo(backend="cuda", device="cuda", precision=str(precision), isa=_name(device), index=device.index),
        graphs=Graphs(program, spec, ops.query_block, device) if is_captured else None,
    )


def _ops(device: torch.device, dtype: torch.dtype, capability: Capability) -> Ops:
    """Triton kernels for 16-bit numbers on a GPU; plain torch for everything else."""
    if device.type != "cuda" or dtype == torch.float32:
        return TorchOps(dtype)
    from openbei.backends.cuda.ops_triton import TritonOps

    return TritonOps(dtype, capability)


def _name(device: torch.device) -> str:
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else "emulated"


def _check_torch() -> None:
    """Raise BackendError if this torch cannot use a GPU: built without CUDA, or for a newer driver."""
    if torch.version.cuda is None:
        raise BackendError(
            f"torch {torch.__version__} was built without CUDA", hint="install torch from PyPI, not from a CPU index"
        )
    try:
        torch.cuda.init()
    except RuntimeError as error:
        raise BackendError(
            f"torch {torch.__version__} was built for CUDA {torch.version.cuda} and cannot use the GPU: {error}",
            hint="update the NVIDIA driver, or install torch for an older CUDA",
        ) from error


def _fitting_batch(
    engine_dir: EngineDir, precision: Precision, device: torch.device, free_bytes: int, graph_tokens: int
) -> int:
    """Tokens of a batch that fits in memory beside the weights. Raises BackendError if the longest text does not.

    Graphs have memory of their own for up to `graph_tokens` tokens.
    """
    manifest = engine_dir.manifest
    spec, element_bytes = manifest.spec, precision.dtype.itemsize
    weights = memory.weight_bytes(manifest, element_bytes, precision.kept)
    per_token = max(memory.token_bytes(spec, element_bytes), 1)
    for_full_speed = BATCH_TOKENS if weights < LARGE_MODEL_BYTES else BATCH_TOKENS // 2
    longest = min(manifest.max_sequence_tokens, manifest.max_num_tokens)
    needed = weights + per_token * (longest + min(longest, graph_tokens)) + memory.sequence_bytes(spec)
    if needed > free_bytes:
        raise BackendError(
            f"{manifest.model_name} needs {_gib(needed)} of GPU memory: {_gib(weights)} for weights and "
            f"{_gib(needed - weights)} for a text of {longest} tokens; {_gib(free_bytes)} are free on {device}",
            hint="lower max_num_tokens" if weights < free_bytes else "use a GPU with more memory, or --device cpu",
        )
    places = (free_bytes - weights) // per_token
    fitting = max(places // 2, places - graph_tokens)
    if fitting < for_full_speed:
        _log.warning("batches are limited to %d tokens: %s of GPU memory are free", fitting, _gib(free_bytes))
    return max(min(for_full_speed, fitting), 1)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
