"""Step 11: attention and matrix products with an activation, in the variants that the backend could use."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from openbei.backends.cuda.inputs import fill, host_arrays, inputs_of, places_of
from openbei.backends.cuda.ops import AttentionSwitches, LinearWeights, Ops
from openbei.backends.cuda.ops_torch import TorchOps
from openbei.spec import ModelSpec

from .models import batches_of
from .run import Result, Run, attempt
from .shapes import names_of, spec_of

SECONDS = 0.2


def run(run: Run) -> Result:
    """Milliseconds of one call with 16384 tokens, by shape and variant."""
    result: Result = {}
    for name in names_of(run):
        spec = spec_of(name, run)
        for length in (64,) if run.is_tiny else (64, 512):
            result[f"attention, {name}, {length}"] = _measured(run, attention_variants(run, spec, length))
        if spec.placement == "post":
            result[f"up, {name}"] = _measured(run, _up(run, spec))
    return result


def _measured(run: Run, variants: dict[str, Callable[[], object]]) -> Result:
    return {name: attempt(lambda call=call: 1e3 * run.device_seconds(call, SECONDS)) for name, call in variants.items()}


def _ops(run: Run, dtype: torch.dtype) -> Ops:
    if run.device.type == "cpu":
        return TorchOps(dtype)
    from openbei.backends.cuda.ops_triton import TritonOps

    return TritonOps(dtype)


def attention_variants(run: Run, spec: ModelSpec, length: int) -> dict[str, Callable[[], object]]:
    """Calls of attention over 16384 tokens in sequences of a length: our kernel, and those of torch."""
    dtype = torch.float16 if spec.placement == "post" else torch.bfloat16
    count = 2 if run.is_tiny else 16384 // length
    attention, ops = spec.attention, _ops(run, dtype)
    [batch] = batches_of(spec, [length] * count, 1)
    arrays = host_arrays(spec, batch, ops.query_block)
    places, size = places_of(arrays)
    packed = np.zeros(size, np.int32)
    fill(packed, arrays, places)
    inputs = inputs_of(torch.from_numpy(packed).to(run.device), places, ops.query_block)
    sizes = [spec.query_size, spec.kv_size, spec.kv_size]
    qkv = torch.randn(count * length, sum(sizes), dtype=dtype, device=run.device)
    q, k, v = qkv.split(sizes, dim=1)
    switches = AttentionSwitches(
        num_heads=attention.num_heads,
        num_kv_heads=attention.num_kv_heads,
        head_dim=attention.head_dim,
        scale=attention.head_dim**-0.5,
        is_causal=attention.is_causal,
    )
    heads = [part.view(count, length, -1, attention.head_dim).transpose(1, 2) for part in (q, k, v)]
    packed_heads = [part.view(count * length, -1, attention.head_dim) for part in (q, k, v)]

    def varlen() -> object:
        from torch.nn.attention.varlen import varlen_attn

        window = (-1, 0) if attention.is_causal else (-1, -1)
        repeated = [
            part.repeat_interleave(attention.num_heads // part.shape[1], dim=1) for part in packed_heads
        ]  # its own support of grouped heads is newer than torch 2.11
        return varlen_attn(*repeated, inputs.cu_seqlens, inputs.cu_seqlens, length, length, window_size=window)

    return {
        "ours": lambda: ops.attention(q, k, v, inputs.cu_seqlens, inputs.all_tokens, switches),
        "SDPA, equal lengths": lambda: functional.scaled_dot_product_attention(
            *heads, is_causal=attention.is_causal, enable_gqa=attention.num_heads != attention.num_kv_heads
        ),
        "varlen_attn": varlen,
    }


def _up(run: Run, spec: ModelSpec) -> dict[str, Callable[[], object]]:
    """The first linear layer of an MLP with its GELU."""
    rows, inner, hidden = 64 if run.is_tiny else 16384, spec.mlp.intermediate_size, spec.hidden_size
    x, weight = (torch.randn(n, hidden, dtype=torch.float16, device=run.device) for n in (rows, inner))
    weights = LinearWeights(weight, torch.zeros(inner, dtype=torch.float16, device=run.device))
    ops = _ops(run, torch.float16)

    def fused() -> object:
        from openbei.backends.cuda.kernels import gemm

        return gemm.linear(x, weights, "gelu")

    return {
        "cuBLAS alone": lambda: ops.linear(x, weights),
        "cuBLAS, then GELU": lambda: ops.linear(x, weights, "gelu"),
        "fused": fused,
    }
