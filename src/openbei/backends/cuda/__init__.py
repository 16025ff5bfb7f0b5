"""The CUDA backend: runs packed batches on an NVIDIA GPU with torch and Triton. Needs the extra `cuda`.

Only this package imports torch, and only when it is chosen. Engine directories that were built for CPUs work, too:
their weights are copied to the GPU and converted to row-major order there.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass

import torch

from openbei.accelerators import FIRST_WITH, accelerators_with
from openbei.backends.cuda import memory
from openbei.backends.cuda.engine import CudaEngine
from openbei.backends.cuda.graphs import Graphs
from openbei.backends.cuda.ops import Ops
from openbei.backends.cuda.ops_torch import TorchOps
from openbei.backends.cuda.program import Program
from openbei.backends.cuda.stored import ToDevice
from openbei.backends.cuda.transfer import WeightUpload
from openbei.backends.cuda.weights import load_weights
from openbei.batch import EngineInfo
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError
from openbei.formats.storage import Storage
from openbei.gpus import Capability
from openbei.shapes import TensorKind
from openbei.spec import ModelSpec, TokenTermHead

BATCH_TOKENS = 16384
"""Tokens of a batch for full throughput: enough to keep the GPU busy, few enough for short waits."""

LARGE_MODEL_BYTES = 6 << 30
"""For models with more bytes of weights, half as many tokens keep the GPU busy."""

FORMATS = frozenset(("bfloat16", "float32", "float8", "int8", "nvfp4", "smooth_int8"))
QUANTIZED = frozenset(("float8", "int8", "nvfp4", "smooth_int8"))
"""Number formats that are expanded, except float8 where the GPU has units for it; activations are bfloat16 then."""

LAYOUTS = frozenset(("panels", "row_major"))

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """`index` is the number of the GPU."""

    index: int = 0


def reads(kind: TensorKind, storage: Storage) -> bool:
    """Whether the backend reads a tensor: any kind, in FORMATS and LAYOUTS."""
    return storage.format in FORMATS and storage.layout in LAYOUTS


def activation_type(spec: ModelSpec, stored: str, capability: Capability) -> torch.dtype:
    """The element type of activations and weights: float32 if the weights are float32, else a 16-bit type.

    float16 has more significant bits than bfloat16, but overflows above 65504. Post-norm models normalize every sum, so
    their activations are small; those of other models can be large.
    """
    if "float32" in stored or isinstance(spec.head, TokenTermHead):
        return torch.float32
    has_bfloat16 = capability >= FIRST_WITH["bfloat16"]
    return torch.float16 if spec.placement == "post" or not has_bfloat16 else torch.bfloat16


def load(engine_dir: EngineDir, options: Options) -> CudaEngine:
    """The engine on a GPU.

    Raises BackendError if torch cannot use the GPU, or if weights and a batch do not fit in its free memory.
    """
    _check_torch()
    device = torch.device("cuda", options.index)
    try:
        free_bytes, _ = torch.cuda.mem_get_info(device)
        capability = Capability(*torch.cuda.get_device_capability(device))
    except RuntimeError as error:
        raise BackendError(f"the GPU cannot be used: {error}", hint="use --device cpu") from error
    return load_on(engine_dir, device, free_bytes=free_bytes, capability=capability)


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
    quantized = QUANTIZED & {stored.format for stored in manifest.storage.values()}
    has_float8 = "float8" in quantized and capability >= FIRST_WITH["fp8"]
    dtype = torch.bfloat16 if has_float8 else activation_type(spec, manifest.dtype, capability)
    if expanded := quantized - ({"float8"} if has_float8 else set()):
        _warn_of_expansion(expanded, dtype)
    batch_tokens = _fitting_batch(engine_dir, dtype.itemsize, free_bytes, has_float8=has_float8)
    try:
        with torch.inference_mode():
            weights = load_weights(engine_dir, dtype, to_device or WeightUpload(device), has_float8=has_float8)
    except torch.OutOfMemoryError as error:
        raise BackendError(f"the weights do not fit in GPU memory: {error}", hint="use another GPU") from error
    ops = _ops(device, dtype)
    program = Program(spec, weights, ops, dtype)
    precision = "float8" if has_float8 else str(dtype).removeprefix("torch.")
    is_captured = device.type == "cuda" and dtype != torch.float32
    return CudaEngine(
        spec,
        program,
        ops,
        max_sequence_tokens=manifest.max_sequence_tokens,
        batch_tokens=batch_tokens,
        device=device,
        info=EngineInfo(backend="cuda", device="cuda", precision=precision, isa=_name(device)),
        graphs=Graphs(program, spec, ops.query_block, device) if is_captured else None,
    )


def _warn_of_expansion(formats: Collection[str], dtype: torch.dtype) -> None:
    """Warn about quantized weights that are as slow and as large as weights in `dtype` on this GPU."""
    _log.warning(
        "weights in %s are expanded to %s: they are as slow and as large as 16-bit weights; use fp8 on %s",
        " and ".join(sorted(formats)),
        str(dtype).removeprefix("torch."),
        ", ".join(accelerators_with("fp8")),
    )


def _ops(device: torch.device, dtype: torch.dtype) -> Ops:
    """Triton kernels for 16-bit numbers on a GPU; plain torch for everything else."""
    if device.type != "cuda" or dtype == torch.float32:
        return TorchOps(dtype)
    from openbei.backends.cuda.ops_triton import TritonOps

    return TritonOps(dtype)


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


def _fitting_batch(engine_dir: EngineDir, element_bytes: int, free_bytes: int, *, has_float8: bool) -> int:
    """Tokens of a batch that fits in memory beside the weights. Raises BackendError if the longest text does not."""
    manifest = engine_dir.manifest
    spec = manifest.spec
    weights = memory.weight_bytes(spec, element_bytes)
    if has_float8:
        weights = sum(array.nbytes for array in engine_dir.tensors.values())
    per_token = memory.token_bytes(spec, element_bytes)
    for_full_speed = BATCH_TOKENS if weights < LARGE_MODEL_BYTES else BATCH_TOKENS // 2
    longest = min(manifest.max_sequence_tokens, manifest.max_num_tokens)
    needed = weights + per_token * longest + memory.sequence_bytes(spec)
    if needed > free_bytes:
        raise BackendError(
            f"{manifest.model_name} needs {_gib(needed)} of GPU memory: {_gib(weights)} for weights and "
            f"{_gib(needed - weights)} for a text of {longest} tokens; {_gib(free_bytes)} are free",
            hint="lower max_num_tokens" if weights < free_bytes else "use a GPU with more memory, or --device cpu",
        )
    fitting = (free_bytes - weights) // max(per_token, 1)
    if fitting < for_full_speed:
        _log.warning("batches are limited to %d tokens: %s of GPU memory are free", fitting, _gib(free_bytes))
    return max(min(for_full_speed, fitting), 1)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
