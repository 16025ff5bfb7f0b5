"""Step 4: small models with every axis and head, compared with the numpy reference, in memory filled with NaN."""

from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from openbei.accelerators import FIRST_WITH, NumberFormat
from openbei.backends.cuda import load_on
from openbei.backends.reference import ReferenceEngine
from openbei.batch import PackedBatch, Rows, SparseVectors, Vectors, head_output
from openbei.spec import GatedMLP, ModelSpec, TokenEmbeddingHead, UnitNorm
from tests.dense_rows import dense_rows
from tests.random_engine import random_engine_dir
from tests.same_embedding import worst_cosine
from tests.small_models import expanded_batch, random_batch, small_spec
from tests.spec_axes import AXES, HEADS, WITH_UNATTENDED

from .run import Result, Run, attempt

BATCHES = ([1, 40, 7, 90], [300, 33, 2, 65])
LARGE = [700] * 8
"""More tokens than CUDA graphs support."""

LEAST = {"post": 0.9995, "pre": 0.998, "sandwich": 0.998}
"""The lowest cosine to expect in 16 bits, by the placement of norms."""

QUANTIZATIONS: dict[str, NumberFormat] = {"fp8": "fp8", "fp4": "fp4"}
"""Quantizations with matrix units of their own, and their number format."""

QUANTIZED_AXES = ("gated, pre-norm", "sandwich of RMS norms")

LEAST_OF_EXPERTS = 0.99
"""The same for a mixture of experts: rounding may change which expert a token is sent to."""

LEAST_OF_SCORES = 0.998
"""The same for one column: 1 - the largest difference."""

POISON_BYTES = 256 << 20


def run(run: Run) -> Result:
    """The worst cosine of each model, and those that are below what is expected."""
    specs = models(run)
    cosines = {name: attempt(lambda spec=spec: _worst(run, spec)) for name, spec in specs.items()}
    failed = {
        name: cosine
        for name, cosine in cosines.items()
        if not isinstance(cosine, float) or not cosine >= _least(specs[name])
    }
    quantized = {
        f"{quantization}, {axis}": attempt(lambda one=quantization, axis=axis: _quantized(run, one, axis))
        for quantization in QUANTIZATIONS
        for axis in QUANTIZED_AXES[: 1 if run.is_tiny else None]
    }
    return {"models": len(cosines), "failed": failed, "worst_cosines": cosines, "quantized": quantized}


def models(run: Run) -> dict[str, ModelSpec]:
    """A model for each axis, for each head, and for tokens that are not attended to."""
    count = 4 if run.is_tiny else None
    expanded = TokenEmbeddingHead(steps=(UnitNorm(),), unattended_id=3)
    specs = {f"axis: {name}": small_spec(96, 6, 16, 128, **AXES[name]) for name in list(AXES)[:count]}
    specs |= {f"head: {name}": small_spec(64, 2, 32, 96, head=HEADS[name]) for name in list(HEADS)[:count]}
    return specs | {
        f"unattended: {name}": small_spec(96, 6, 16, 128, head=expanded, **AXES[name])
        for name in WITH_UNATTENDED[: 1 if run.is_tiny else None]
    }


def _least(spec: ModelSpec) -> float:
    if spec.experts:
        return LEAST_OF_EXPERTS
    return LEAST_OF_SCORES if spec.output_width == 1 else LEAST[spec.placement]


def _quantized(run: Run, quantization: str, axis: str) -> Result:
    """The worst cosine to the reference, which expands the weights: on this card, and emulated on the CPU.

    The card passes if its error is at most twice that of the emulation, which computes the same products and sums them
    in another order. Random weights say nothing about the accuracy of a published model.
    """
    if run.is_cuda and run.capability < FIRST_WITH[QUANTIZATIONS[quantization]]:
        return {"skipped": f"compute capability {run.capability} has no units for {quantization}"}
    axes = AXES[axis] | {"attention": small_spec(128, 4, 32).attention}
    spec = small_spec(128, 4, 32, **axes | {"mlp": GatedMLP(intermediate_size=256, activation="silu")})
    engine_dir = random_engine_dir(spec, "bfloat16", quantization=quantization)
    batch = random_batch(BATCHES[0])
    expected = _dense(ReferenceEngine(engine_dir).run(batch))
    capability = max(run.capability, FIRST_WITH[QUANTIZATIONS[quantization]])
    cosines = {}
    for name, device in (("card", run.device), ("emulated", torch.device("cpu"))):
        engine = load_on(engine_dir, device, free_bytes=run.free_bytes, capability=capability)
        emulates = device.type == "cpu" and run.is_cuda
        with patch.object(torch, "_scaled_mm", _scaled_mm) if emulates else nullcontext():
            cosines[name] = worst_cosine(_dense(engine.run(batch)), expected)
    passes = 1 - cosines["card"] <= max(2 * (1 - cosines["emulated"]), 1 - LEAST["pre"])
    return {"precision": engine.info.precision, "passes": passes, "worst_cosines": cosines}


def _scaled_mm(
    x: Tensor, weight: Tensor, *, scale_a: Tensor, scale_b: Tensor, bias: Tensor | None, out_dtype: torch.dtype
) -> Tensor:
    """As torch's function, which on a CPU supports scales of rows from torch 2.13 on."""
    y = x.float() @ weight.float() * scale_a * scale_b
    return (y if bias is None else y + bias.float()).to(out_dtype)


def _worst(run: Run, spec: ModelSpec) -> float:
    """The worst cosine over batches that run three times each: without a graph, captured, and replayed."""
    engine_dir = random_engine_dir(spec, "bfloat16")
    engine = load_on(engine_dir, run.device, free_bytes=run.free_bytes, capability=run.capability)
    reference = ReferenceEngine(engine_dir)
    output = head_output(spec.head)
    worst = 1.0
    for lengths in BATCHES[:1] if run.is_tiny else (*BATCHES, LARGE):
        batch = _batch(spec, lengths)
        expected = _dense(reference.run(batch, output))
        for _ in range(3):
            _poison(run)
            worst = min(worst, _cosine(_dense(engine.run(batch, output)), expected, batch))
    return worst


def _batch(spec: ModelSpec, lengths: list[int]) -> PackedBatch:
    """A batch of random ids; a third of each sequence is not attended to if the spec has such tokens."""
    if spec.unattended_id is None:
        return random_batch(lengths)
    return expanded_batch(lengths, [length // 3 for length in lengths], spec.unattended_id)


def _poison(run: Run) -> None:
    """Fill memory that the next allocations will reuse with NaN."""
    if run.is_cuda:
        torch.full((POISON_BYTES // 4,), float("nan"), device=run.device)


def _dense(rows: Rows) -> Vectors:
    return dense_rows(rows) if isinstance(rows, SparseVectors) else rows


def _cosine(rows: Vectors, expected: Vectors, batch: PackedBatch) -> float:
    if expected.shape[1] == 1:
        return 1 - float(np.abs(rows - expected).max())
    return worst_cosine(rows, expected)
