"""The tensors of an engine directory on a device: unpacked there, and expanded from any number format.

Weights in float8 may also stay in float8, for the 8-bit matrix units of newer GPUs.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from openbei.engine_dir import EngineDir
from openbei.formats import FORMATS
from openbei.formats.nvfp4 import BLOCK
from openbei.formats.panels import padded
from openbei.formats.smooth_int8 import GROUP
from openbei.safetensors_file import Array
from openbei.shapes import tensor_shapes

ToDevice = Callable[[Array], Tensor]
"""Copies an array to the device. numpy and torch must both have its element type."""

_NIBBLES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The numbers of e2m1, by their bits without the sign."""


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
                return self._expanded_nvfp4(name).to(dtype)
            case "smooth_int8":
                return self._expanded_smooth_int8(name).to(dtype)
            case "int8":
                return (self._bits(name).float() * self._scales(name)[:, None]).to(dtype)
            case "float8":
                weight = self.float8(name)
                return (weight.values.float() * weight.scales[:, None]).to(dtype)
            case element_type:
                return self._bits(name).view(getattr(torch, element_type)).to(dtype)

    def is_float8(self, name: str) -> bool:
        """Whether a weight is stored in float8 and has sizes that 8-bit matrix products take: multiples of 16."""
        return self._storage[name].format == "float8" and not any(size % 16 for size in self._shapes[name])

    def float8(self, name: str) -> Float8Weight:
        """A weight that is stored in float8."""
        return Float8Weight(self._bits(name).view(torch.float8_e4m3fn), self._scales(name))

    def _scales(self, name: str) -> Tensor:
        return self._to_device(self._arrays[f"{name}.scale"])[: self._shapes[name][0]].clone()

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

    def _expanded_nvfp4(self, name: str) -> Tensor:
        """See `openbei.formats.nvfp4`: a byte holds two inputs, the first in its low bits."""
        rows, columns = self._shapes[name]
        codes = self._bits(name).view(torch.uint8)
        table = torch.tensor([sign * number for sign in (1, -1) for number in _NIBBLES], device=codes.device)
        nibbles = torch.stack([codes & 15, codes >> 4], dim=2).flatten(1)[:, :columns]
        blocks = self._to_device(self._arrays[f"{name}.block_scale"].view("i1")).view(torch.float8_e4m3fn)
        by_input = blocks.float().t()[:rows].repeat_interleave(BLOCK, dim=1)[:, :columns]
        return table[nibbles.int()] * by_input * self._scales(name)[:, None]
