"""Gemma (arXiv:2403.08295): Llama's layers; norms are of 1 + weight, embeddings are scaled; modeling_gemma.py."""

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
BITS = {"bfloat16": 8, "float16": 11}
"""Significant bits of a checkpoint's dtype, where they are fewer than float32's."""


def parse(config: Mapping[str, object], head: Head, *, family: str = "gemma") -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError.

    "gelu" is the old spelling of gelu_tanh; only the first Gemma has hidden_act. Sliding windows are not its.
    """
    older = config.get("hidden_act") if family == "gemma" else None
    named = config.get("hidden_activation") or older or DEFAULTS["hidden_activation"]
    named = "gelu_pytorch_tanh" if named == "gelu" and family == "gemma" else named
    spec = llama.parse({**DEFAULTS, **config, "hidden_act": named}, head, family=family)
    scale = rounded(spec.hidden_size**0.5, config.get("dtype") or config.get("torch_dtype"))
    return msgspec.structs.replace(spec, embedding_scale=scale)


def adjusted(config: Mapping[str, object], spec: ModelSpec) -> dict[str, Callable[[Vectors], Vectors]]:
    """Norms, which a checkpoint has without the 1."""
    return {f"{name}.weight": lambda weight: weight + np.float32(1) for name in norms(spec)}


def rounded(value: float, dtype: object) -> float:
    """A number as the checkpoint's dtype holds it, as transformers keeps it."""
    mantissa, exponent = math.frexp(value)
    scale = 2 ** BITS.get(str(dtype), 24)
    return math.ldexp(round(mantissa * scale) / scale, exponent)
