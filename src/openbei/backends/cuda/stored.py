"""The tensors of an engine directory on a device: unpacked there, and expanded from any number format.

Weights in float8 and nvfp4 may also stay in their format, for the matrix units of newer GPUs.
"""

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor

from openbei.backends.cuda.nvfp4 import TILE_BLOCKS, TILE_ROWS, expanded
from openbei.engine_dir import EngineDir
from openbei.formats import FORMATS
from openbei.formats.nvfp4 import BLOCK
from openbei.formats.panels import padded
from openbei.formats.smooth_int8 import GROUP
from openbei.safetensors_file import Array, Shape
from openbei.shapes import tensor_shapes

ToDevice = Callable[[Array], Tensor]
"""Copies an array to the device. numpy and torch must both have its element type."""

_MLP = re.compile(r"layers\.\d+\.mlp\.(gate|up|down)\.weight")


def is_kept(name: str, number_format: str, shape: Shape, kept: Collection[str]) -> bool:
    """Whether a layer's weight stays in its format, one of `kept`. Matrix products must support its sizes.

    In nvfp4, only weights of MLPs are kept, because MLPs have most of the weights and operations.
    """
    if number_format not in kept:
        return False
    if number_format == "nvfp4":
        return _MLP.fullmatch(name) is not None and shape[0] % TILE_ROWS == 0 and shape[1] % (BLOCK * TILE_BLOCKS) == 0
    return not any(size % 16 for size in shape)


class Float8Weight(NamedTuple):
    """A weight [N, K] in float8_e4m3fn, and its scales, float32 [N]."""

    values: Tensor
    scales: Tensor


class StoredTensors:
    """Reads tensors by engine name."""

    def __init__(self, engine_dir: EngineDir, to_device: ToDevice) -> None:
        self._storage, self._arrays = engine_dir.manifest.storage, engine_dir.tensors
        self._shapes = tensor_shapes(engine_dir.manifest.spec)
        self._to_device = to_device

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def expanded(self, name: str, dtype: torch.dtype) -> Tensor:
        """The numbers of a tensor in `dtype`."""
        match self._storage[name].format:
            case "nvfp4":
                numbers = expanded(*self.nvfp4(name))[:, : self._shapes[name][1]]
                return (numbers * self.scales(name)[:, None]).to(dtype)
            case "smooth_int8":
                return self._expanded_smooth_int8(name).to(dtype)
            case "int8":
                return (self._bits(name).float() * self.scales(name)[:, None]).to(dtype)
            case "float8":
                weight = self.float8(name)
                return (weight.values.float() * weight.scales[:, None]).to(dtype)
            case element_type:
                return self._bits(name).view(getattr(torch, element_type)).to(dtype)

    def float8(self, name: str) -> Float8Weight:
        """A weight that is stored in float8."""
        return Float8Weight(self._bits(name).view(torch.float8_e4m3fn), self.scales(name))

    def _bits(self, name: str) -> Tensor:
        """The values of a tensor as integers, without padding and in rows."""
        storage, array = self._storage[name], self._arrays[name]
        shape = FORMATS[storage.format].values(self._shapes[name]).shape
        bits = self._to_device(array.view(f"i{array.itemsize}"))
        if storage.layout != "panels":
            return bits
        if len(shape) == 1:
            return bits[: shape[0]].clone()
        rows, columns = shape
        inputs = bits.shape[3] if bits.dim() == 4 else 1
        panels = bits.view(*bits.shape[:3], inputs).permute(0, 2, 1, 3)
        return panels.reshape(padded(rows), padded(columns))[:rows, :columns].contiguous()

    def _expanded_smooth_int8(self, name: str) -> Tensor:
        """See `openbei.formats.smooth_int8`."""
        rows, columns = self._shapes[name]
        scales = self._to_device(self._arrays[f"{name}.scale"])[:, :rows]
        by_input = scales.t().repeat_interleave(GROUP, dim=1)[:, :columns]
        return self._bits(name).float() * by_input * self._to_device(self._arrays[f"{name}.smoothing"])[:columns]

    def nvfp4(self, name: str) -> tuple[Tensor, Tensor]:
        """The numbers of a weight that is stored in nvfp4, uint8 [N, K / 2], and the e4m3 scales of its blocks."""
        blocks = self._to_device(self._arrays[f"{name}.block_scale"].view("i1")).view(torch.float8_e4m3fn)
        return self._bits(name).view(torch.uint8), blocks.t()[: self._shapes[name][0]].contiguous()

    def scales(self, name: str) -> Tensor:
        """The scales of a quantized weight's rows, float32 [N]."""
        return self._to_device(self._arrays[f"{name}.scale"])[: self._shapes[name][0]].clone()
