"""The safetensors format with numpy alone: memory-mapped reading, streamed writing. No model knowledge here.

Format: https://github.com/huggingface/safetensors#format. Eight bytes of header length, a JSON header, then the data.
"""

import math
import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "BOOL": np.dtype(np.bool_),
}

DATA_ALIGNMENT_BYTES = 64
_MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own implementation


class _Entry(msgspec.Struct, frozen=True):
    """One tensor in the header; offsets count from the end of the header."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A tensor whose shape is known before its values; `load()` computes them, C-contiguous."""

    shape: Shape
    dtype: np.dtype[Any]
    load: Callable[[], Array]

    @property
    def num_bytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_tensors(path: Path) -> dict[str, Array]:
    """Map a file's tensors, read-only; pages are read when touched.

    Raises ValueError if the file is not safetensors or tensors overlap, OSError if it cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size < 8:
            raise ValueError(f"{path.name} is not safetensors: shorter than its 8-byte header length")
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header_bytes = int.from_bytes(content[:8], "little")
    start = 8 + header_bytes
    if header_bytes > _MAX_HEADER_BYTES or start > len(content):
        raise ValueError(f"{path.name} is not safetensors: a header of {header_bytes} bytes in {len(content)}")
    try:
        header = msgspec.json.decode(content[8:start], type=dict[str, msgspec.Raw])
        entries = {
            name: msgspec.json.decode(raw, type=_Entry) for name, raw in header.items() if name != "__metadata__"
        }
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{path.name} is not safetensors: {error}") from error
    tensors = {name: _view(content, start, name, entry, path) for name, entry in entries.items()}
    _check_apart(entries, path)
    return tensors


def _check_apart(entries: Mapping[str, _Entry], path: Path) -> None:
    """Raise ValueError if two tensors overlap."""
    placed = sorted((*entry.data_offsets, name) for name, entry in entries.items() if len(set(entry.data_offsets)) == 2)
    for (_, end, name), (begin, _, other) in pairwise(placed):
        if begin < end:
            raise ValueError(f"{path.name}: tensors {name} and {other} overlap")


def _view(content: mmap.mmap, start: int, name: str, entry: _Entry, path: Path) -> Array:
    dtype = DTYPES.get(entry.dtype)
    if dtype is None:
        raise ValueError(f"{path.name}: tensor {name} has dtype {entry.dtype}; readable: {', '.join(DTYPES)}")
    first, last = entry.data_offsets
    count = math.prod(entry.shape)
    if min(entry.shape, default=0) < 0 or first < 0 or last - first != count * dtype.itemsize:
        raise ValueError(f"{path.name}: tensor {name} {entry.shape} {entry.dtype} has {last - first} bytes of data")
    if start + last > len(content):
        raise ValueError(f"{path.name} is truncated: tensor {name} ends at {start + last} of {len(content)} bytes")
    return np.frombuffer(content, dtype, count, start + first).reshape(entry.shape)


def write_tensors(file: BinaryIO, tensors: Mapping[str, LazyTensor]) -> Iterator[int]:
    """Write tensors in order, one in memory at a time; yields the bytes written after each.

    The header is padded with spaces so that the data starts 64-byte aligned.
    """
    header = _header(tensors)
    file.write(len(header).to_bytes(8, "little") + header)
    written = 8 + len(header)
    for name, tensor in tensors.items():
        array = np.asarray(tensor.load(), order="C")
        if (array.shape, array.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(f"{name} was planned as {tensor.shape} {tensor.dtype}, and is {array.shape} {array.dtype}")
        file.write(array.reshape(-1).view(np.uint8).data)
        written += array.nbytes
        yield written


def file_bytes(tensors: Mapping[str, LazyTensor]) -> int:
    """Size of the file that `write_tensors` will write."""
    return 8 + len(_header(tensors)) + sum(tensor.num_bytes for tensor in tensors.values())


def _header(tensors: Mapping[str, LazyTensor]) -> bytes:
    names = {dtype: name for name, dtype in DTYPES.items()}
    entries: dict[str, object] = {}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.num_bytes
        entries[name] = _Entry(names[tensor.dtype], list(tensor.shape), (offset, end))
        offset = end
    header = msgspec.json.encode(entries)
    return header + b" " * (-(8 + len(header)) % DATA_ALIGNMENT_BYTES)
