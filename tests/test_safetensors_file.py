"""Our reader and writer against the format's own library, and files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from openbei.safetensors_file import DATA_ALIGNMENT_BYTES, DTYPES, LazyTensor, file_bytes, read_tensors, write_tensors


def lazy(array: np.ndarray) -> LazyTensor:
    return LazyTensor(array.shape, array.dtype, lambda: array)


def arrays() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    made = {name: (generator.normal(size=(3, 5)) * 9).astype(dtype) for name, dtype in DTYPES.items()}
    return made | {"scalar": np.array(3, np.float32), "empty": np.empty((0, 4), np.float32)}


def write(path: Path, tensors: dict[str, np.ndarray]) -> int:
    planned = {name: lazy(array) for name, array in tensors.items()}
    with path.open("wb") as file:
        *_, written = write_tensors(file, planned)
    assert written == path.stat().st_size == file_bytes(planned)
    return written


def test_reads_what_it_writes(tmp_path: Path) -> None:
    write(tmp_path / "t", arrays())
    read = read_tensors(tmp_path / "t")
    assert list(read) == list(arrays())
    for name, array in arrays().items():
        assert read[name].dtype == array.dtype
        assert np.array_equal(read[name], array)
        assert not read[name].flags.writeable
    assert read["F64"].ctypes.data % DATA_ALIGNMENT_BYTES == 0


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    plain = {name: array for name, array in arrays().items() if array.dtype.kind != "V"}
    write(tmp_path / "t", plain)
    theirs = safetensors.numpy.load_file(tmp_path / "t")
    assert theirs.keys() == plain.keys()
    assert all(np.array_equal(theirs[name], array) for name, array in plain.items())


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    plain = {name: array for name, array in arrays().items() if array.dtype.kind != "V"}
    safetensors.numpy.save_file(plain, tmp_path / "t", metadata={"format": "np"})
    ours = read_tensors(tmp_path / "t")
    assert ours.keys() == plain.keys()
    assert all(np.array_equal(ours[name], array) for name, array in plain.items())


def encoded(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "shorter than"),
        (b"\xff" * 20, "a header of"),
        (b"\x05" + bytes(7) + b"{nope", "not safetensors"),
        (encoded({"a": {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}}, b"0"), "has dtype F8_E5M2"),
        (encoded({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"0123"), "truncated: tensor a"),
        (encoded({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"0123"), r"a \[2\] F32 has 4 bytes"),
        (encoded({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}, b"0123"), "has -4 bytes"),
        (encoded({"a": {"dtype": "F32"}}), "not safetensors"),
    ],
)
def test_refuses(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_tensors(tmp_path / "t")


def test_a_tensor_must_be_as_planned(tmp_path: Path) -> None:
    wrong = {"a": LazyTensor((2,), np.dtype(np.float32), lambda: np.zeros(3, np.float32))}
    with (tmp_path / "t").open("wb") as file, pytest.raises(ValueError, match="planned as"):
        list(write_tensors(file, wrong))


@pytest.mark.parametrize(
    ("first", "second"), [((0, 8), (4, 12)), ((4, 12), (0, 8)), ((0, 12), (4, 8)), ((0, 8), (0, 8))]
)
def test_overlapping_tensors(first: tuple[int, int], second: tuple[int, int], tmp_path: Path) -> None:
    header = {
        name: {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]}
        for name, (begin, end) in {"a": (0, 8), "b": second}.items()
    }
    header["empty"] = {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]}
    (tmp_path / "t").write_bytes(encoded(header, bytes(12)))
    with pytest.raises(ValueError, match=r"t: tensors [ab] and [ab] overlap"):
        read_tensors(tmp_path / "t")
