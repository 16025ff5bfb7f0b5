"""Copies between host and device: one packed array in, one array out. With a GPU, copies are asynchronous."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from openbei.backends.cuda.inputs import Places, fill, places_of
from openbei.batch import Int32s, Vectors
from openbei.safetensors_file import Array

STAGING_BYTES = 64 << 20
"""The size of a pinned buffer through which weights are copied."""


def upload_arrays(
    arrays: Mapping[str, Int32s], device: torch.device, target: Tensor | None = None
) -> tuple[Tensor, Places]:
    """Copy arrays in one transfer, into `target` if it is given: the array on the device, and its parts' places.

    Pinned memory is reused by torch's allocator once the copy is done.
    """
    places, size = places_of(arrays)
    packed = torch.empty(size, dtype=torch.int32, pin_memory=device.type == "cuda")
    fill(packed.numpy(), arrays, places)
    if target is None:
        return packed.to(device, non_blocking=True), places
    return target.copy_(packed, non_blocking=True), places


def download(rows: Tensor) -> Callable[[], Vectors]:
    """Start to copy rows to the host. The result waits for the copy, which comes after all work started before."""
    if rows.device.type != "cuda":
        return lambda: np.asarray(rows)
    pinned = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
    pinned.copy_(rows, non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def wait() -> Vectors:
        done.synchronize()
        copied: Vectors = pinned.numpy()
        return copied

    return wait


class WeightUpload:
    """Copies read-only arrays of a mapped file to a device, alternating between two pinned buffers."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        is_cuda = device.type == "cuda"
        self._buffers = [torch.empty(STAGING_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(2 * is_cuda)]
        self._events = [torch.cuda.Event() for _ in self._buffers]
        self._turn = 0

    def __call__(self, array: Array) -> Tensor:
        """A copy of an array. torch must have its element type."""
        if not self._buffers:
            return torch.from_numpy(np.array(array))
        element_type = torch.from_numpy(np.empty(0, array.dtype)).dtype
        target = torch.empty(array.shape, dtype=element_type, device=self._device)
        source = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        target_bytes = target.view(-1).view(torch.uint8)
        for start in range(0, len(source), STAGING_BYTES):
            self._copy(source[start : start + STAGING_BYTES], target_bytes[start : start + STAGING_BYTES])
        return target

    def _copy(self, source: Array, target: Tensor) -> None:
        self._turn = (self._turn + 1) % len(self._buffers)
        buffer, event = self._buffers[self._turn], self._events[self._turn]
        event.synchronize()  # the last copy out of this buffer; returns at once the first time
        np.copyto(buffer.numpy()[: len(source)], source)
        target.copy_(buffer[: len(source)], non_blocking=True)
        event.record()
