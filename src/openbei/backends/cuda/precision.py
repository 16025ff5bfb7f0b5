"""The element types of a model's activations and weights on a GPU."""

import logging
from typing import NamedTuple

import torch

from openbei.accelerators import FIRST_WITH, NumberFormat, accelerators_with
from openbei.engine_dir import Manifest
from openbei.gpus import Capability
from openbei.spec import TokenTermHead

UNITS: dict[str, NumberFormat] = {"float8": "fp8", "nvfp4": "fp4"}
"""Quantized number format of weights → format of the matrix units that multiply it without expansion."""

EXPANDED = frozenset((*UNITS, "int8", "smooth_int8"))
"""Quantized number formats. They are expanded to the type of activations, unless the GPU has units for them."""

_log = logging.getLogger(__name__)


class Precision(NamedTuple):
    """`dtype` is the element type of activations; weights in the formats `kept` are not expanded to it."""

    dtype: torch.dtype
    kept: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return " and ".join(sorted(self.kept)) or str(self.dtype).removeprefix("torch.")


def precision_of(manifest: Manifest, capability: Capability) -> Precision:
    """The element types of a model on a GPU with a compute capability."""
    quantized = EXPANDED & {stored.format for stored in manifest.storage.values()}
    kept = frozenset(name for name in quantized if name in UNITS and capability >= FIRST_WITH[UNITS[name]])
    return Precision(torch.bfloat16 if kept else activation_type(manifest, capability), kept)


def activation_type(manifest: Manifest, capability: Capability) -> torch.dtype:
    """The element type of activations and weights.

    It is that of the stored weights, or float16 on a GPU without bfloat16. Engine directories for CPUs never store
    float16; their models run in float16 if they are post-norm: those normalize every sum, so activations are small.
    """
    stored = manifest.dtype.split(", ")
    if "float32" in stored or isinstance(manifest.spec.head, TokenTermHead):
        return torch.float32
    if capability < FIRST_WITH["bfloat16"]:
        return torch.float16
    is_float16 = "float16" in stored if manifest.target == "cuda" else manifest.spec.placement == "post"
    return torch.float16 if is_float16 else torch.bfloat16


def warn_of_expansion(manifest: Manifest, precision: Precision) -> None:
    """Warn about quantized weights that are as slow and as large as weights in 16 bits on this GPU."""
    if expanded := (EXPANDED & {stored.format for stored in manifest.storage.values()}) - precision.kept:
        _log.warning(
            "weights in %s are expanded to %s: they are as slow and as large as 16-bit weights; use fp8 on %s",
            " and ".join(sorted(expanded)),
            str(precision.dtype).removeprefix("torch."),
            ", ".join(accelerators_with("fp8")),
        )
