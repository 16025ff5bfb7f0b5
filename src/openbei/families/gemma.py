"""Gemma (arXiv:2403.08295): Llama with scaled embeddings and norms that multiply by 1 + weight; modeling_gemma.py."""

import math
from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from openbei.batch import Vectors
from openbei.families import llama
from openbei.shapes import norms
from openbei.spec import Head, ModelSpec

PREFIX, TIED, OLD_SUFFIXES = llama.PREFIX, llama.TIED, llama.OLD_SUFFIXES
WEIGHTS, HEADS, DROPPED, steps = llama.WEIGHTS, llama.HEADS, llama.DROPPED, llama.steps

DEFAULTS: dict[str, object] = {"hidden_activation": "gelu_pytorch_tanh", "head_dim": 256, "pad_token_id": 0}
SIGNIFICANT_BITS = {"bfloat16": 8, "float16": 11, "float32": 24}


def parse(config: Mapping[str, object], head: Head, *, family: str = "gemma") -> ModelSpec:
    """Convert a config.json. Raises CheckpointError.

    Only the first Gemma reads hidden_act, and its "gelu" means the tanh approximation.
    """
    activation = config.get("hidden_activation")
    if family == "gemma":
        activation = activation or config.get("hidden_act")
        activation = "gelu_pytorch_tanh" if activation == "gelu" else activation
    activation = activation or DEFAULTS["hidden_activation"]
    spec = llama.parse({**DEFAULTS, **config, "hidden_act": activation}, head, family=family)
    scale = round_to_dtype(spec.hidden_size**0.5, config.get("dtype") or config.get("torch_dtype"))
    return msgspec.structs.replace(spec, embedding_scale=scale)


def adjusted(config: Mapping[str, object], spec: ModelSpec) -> dict[str, Callable[[Vectors], Vectors]]:
    """The norms multiply by 1 + weight; engines store the sum."""
    return {f"{name}.weight": lambda weight: weight + np.float32(1) for name in norms(spec)}


def round_to_dtype(value: float, dtype: object) -> float:
    """Round to the checkpoint's dtype, as transformers rounds the embedding scale."""
    mantissa, exponent = math.frexp(value)
    scale = 2 ** SIGNIFICANT_BITS.get(str(dtype), SIGNIFICANT_BITS["float32"])
    return math.ldexp(round(mantissa * scale) / scale, exponent)
