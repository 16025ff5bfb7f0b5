"""The five shapes that are measured, as specs, and engine directories whose weights are generated on the device."""

from pathlib import Path

import ml_dtypes
import msgspec
import numpy as np
import torch

from openbei.absorbed import reads_one_row
from openbei.backends.cuda import load_on
from openbei.backends.cuda.engine import CudaEngine
from openbei.build.storage import choose_storage
from openbei.engine_dir import EngineDir, Manifest
from openbei.flops import flops_of, visible_pairs
from openbei.formats.storage import Storage
from openbei.safetensors_file import Array
from openbei.shapes import linear_shapes, tensor_shapes
from openbei.spec import (
    MLP,
    Attention,
    EmbeddingHead,
    GatedMLP,
    LayerNorm,
    LearnedPositions,
    ModelSpec,
    NoPositions,
    RMSNorm,
    Rotary,
)

from .run import Run


def _bert(hidden: int, layers: int, heads: int, pooling: str) -> ModelSpec:
    return ModelSpec(
        family="bert",
        vocab_size=30522,
        type_vocab_size=2,
        hidden_size=hidden,
        num_layers=layers,
        positions=LearnedPositions(max_positions=512),
        attention=Attention(num_heads=heads, num_kv_heads=heads, head_dim=hidden // heads),
        mlp=MLP(intermediate_size=4 * hidden, activation="gelu"),
        norm=LayerNorm(eps=1e-12),
        head=EmbeddingHead(poolings=(pooling,)),  # type: ignore[arg-type]
    )


def _qwen3(hidden: int, inner: int, layers: int, heads: int) -> ModelSpec:
    frequencies = tuple(1_000_000.0 ** (-i / 64) for i in range(64))
    return ModelSpec(
        family="qwen3",
        vocab_size=151936,
        type_vocab_size=0,
        hidden_size=hidden,
        num_layers=layers,
        positions=NoPositions(max_positions=32768),
        attention=Attention(
            num_heads=heads,
            num_kv_heads=8,
            head_dim=128,
            is_causal=True,
            rotary=Rotary(frequencies=frequencies),
            norm=RMSNorm(eps=1e-6),
        ),
        mlp=GatedMLP(intermediate_size=inner, activation="silu"),
        norm=RMSNorm(eps=1e-6),
        head=EmbeddingHead(poolings=("last_token",)),
        placement="pre",
        normalizes_embeddings=False,
    )


SHAPES: dict[str, ModelSpec] = {
    "MiniLM": _bert(384, 6, 12, "mean"),
    "bge-base": _bert(768, 12, 12, "cls"),
    "bge-large": _bert(1024, 24, 16, "cls"),
    "Qwen3-0.6B": _qwen3(1024, 3072, 28, 16),
    "8B": _qwen3(4096, 12288, 36, 32),
}


TINY: dict[str, ModelSpec] = {
    "MiniLM": msgspec.structs.replace(_bert(64, 2, 4, "mean"), vocab_size=1000),
    "Qwen3-0.6B": msgspec.structs.replace(_qwen3(64, 128, 2, 8), vocab_size=1000),
}
"""What replaces SHAPES in a tiny run."""


def spec_of(name: str, run: Run) -> ModelSpec:
    """The spec of a shape."""
    return (TINY if run.is_tiny else SHAPES)[name]


def names_of(run: Run) -> list[str]:
    """The shapes that are measured."""
    return list(TINY if run.is_tiny else SHAPES)


def engine_of(spec: ModelSpec, run: Run, *, is_float8: bool = False) -> CudaEngine:
    """An engine with random weights in bfloat16, or float16 for BERT; or with float8 in its layers."""
    return load_on(
        made_up(spec, is_float8=is_float8),
        run.device,
        free_bytes=run.free_bytes,
        capability=run.capability,
        to_device=lambda array: _on_device(array, run),
    )


def made_up(spec: ModelSpec, *, is_float8: bool = False) -> EngineDir:
    """An engine directory whose weights are placeholders that take no memory. Norms have weight 1, biases are 0."""
    stored = choose_storage(spec, "bfloat16", "cpu")
    storage = {name: Storage(stored[name].format, "row_major") for name in tensor_shapes(spec)}
    tensors: dict[str, Array] = {}
    for name, shape in tensor_shapes(spec).items():
        if is_float8 and name.startswith("layers.") and len(shape) == 2:
            storage[name] = Storage("float8", "row_major")
            tensors[name] = np.broadcast_to(np.zeros(1, ml_dtypes.float8_e4m3fn), shape)
            tensors[f"{name}.scale"] = np.full(shape[:1], shape[1] ** -0.5, np.float32)
        elif len(shape) == 2:
            tensors[name] = np.broadcast_to(np.zeros(1, ml_dtypes.bfloat16), shape)
        else:
            tensors[name] = np.full(shape, float(name.endswith("norm.weight")), np.float32)
    manifest = Manifest(
        openbei_version="0",
        model_name=spec.family,
        source="made up",
        spec=spec,
        target="cpu",
        storage=storage,
        max_sequence_tokens=512,
        max_num_tokens=16384,
        default_route="/v1/embeddings",
        content_hash="",
        report=(),
    )
    return EngineDir(Path("made-up"), manifest, tensors)


def _on_device(array: Array, run: Run) -> torch.Tensor:
    """A copy of a vector; for a placeholder of a weight, the bits of random numbers."""
    if array.ndim == 2:
        numbers = torch.randn(array.shape, dtype=torch.bfloat16, device=run.device)
        if array.itemsize == 1:
            return numbers.to(torch.float8_e4m3fn).view(torch.int8)
        return (numbers * array.shape[1] ** -0.5).view(torch.int16)
    return torch.from_numpy(np.array(array)).to(run.device)


def executed_flops(spec: ModelSpec, num_tokens: int) -> int:
    """Floating-point operations for one sequence, without those that the last layer skips."""
    total = flops_of(spec, num_tokens)
    if not reads_one_row(spec):
        return total
    last = spec.num_layers - 1
    shapes = linear_shapes(spec, last)
    per_row = sum(rows * columns for name, (rows, columns) in shapes.items() if name != "attention.qkv")
    skipped = (num_tokens - 1) * (per_row + spec.query_size * spec.hidden_size)
    skipped_pairs = visible_pairs(spec, last, num_tokens) - num_tokens
    return total - 2 * skipped - 4 * spec.query_size * skipped_pairs
