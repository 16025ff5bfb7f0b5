"""A format with scales, added from outside: built, stored, opened and run, and refused by a backend without kernels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from openbei import build as build_module
from openbei.backends import load_engine
from openbei.batch import PackedBatch, Sequence
from openbei.build import storage as storage_module
from openbei.build.storage import choose_storage
from openbei.device import Device
from openbei.engine_dir import EngineDir, open_engine_dir
from openbei.errors import BackendError, CheckpointError, EngineDirError
from openbei.formats import FORMATS
from openbei.formats.format import Encoded, Floats, Part
from openbei.formats.storage import Storage
from openbei.safetensors_file import Shape
from openbei.shapes import kind_of
from openbei.spec import ModelSpec
from tests.checkpoint import build_engine

GROUP = 16


class Nibbles:
    """Four-bit integers, two inputs a byte; a float32 scale for each output and group of 16 inputs."""

    def values(self, shape: Shape) -> Part:
        return Part((shape[0], -(-shape[1] // 2)), np.dtype(np.uint8))

    def scales(self, shape: Shape) -> Mapping[str, Part]:
        return {"scales": Part((-(-shape[1] // GROUP), shape[0]), np.dtype(np.float32))}

    def encode(self, numbers: Floats, input_magnitudes: Floats | None = None) -> Encoded:
        rows, columns = numbers.shape
        groups = np.pad(numbers, [(0, 0), (0, -columns % GROUP)]).reshape(rows, -1, GROUP)
        scales = np.abs(groups).max(axis=2) / 7
        integers = np.round(groups / np.where(scales == 0, 1, scales)[..., None]).astype(np.int8)
        flat = integers.reshape(rows, -1)[:, : columns + columns % 2].view(np.uint8) & 15
        return Encoded(flat[:, ::2] | flat[:, 1::2] << 4, {"scales": np.ascontiguousarray(scales.T)})

    def decode(self, encoded: Encoded, shape: Shape) -> Floats:
        halves = np.stack([encoded.values & 15, encoded.values >> 4], axis=2).reshape(shape[0], -1)[:, : shape[1]]
        integers = (halves ^ 8).astype(np.float32) - 8
        return integers * np.repeat(encoded.scales["scales"].T, GROUP, axis=1)[:, : shape[1]]

    def error_bound(self, numbers: Floats) -> Floats:
        rows, columns = numbers.shape
        groups = np.abs(np.pad(numbers, [(0, 0), (0, -columns % GROUP)])).reshape(rows, -1, GROUP)
        bound: Floats = np.repeat(groups.max(axis=2) / 14 * np.float32(1.0001), GROUP, axis=1)[:, :columns]
        return bound


@pytest.fixture(autouse=True)
def nibbles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The format in its table."""
    monkeypatch.setitem(FORMATS, "nibbles", Nibbles())


def for_mlps(spec: ModelSpec, weight_format: str, target: Device, quantization: None) -> dict[str, Storage]:
    """The weights of MLPs in nibbles, and nothing else."""
    chosen = choose_storage(spec, weight_format, target)
    return {
        name: Storage("nibbles", one.layout) if ".mlp." in name and kind_of(name) == "weight" else one
        for name, one in chosen.items()
    }


NAME, SHAPE = "layers.1.mlp.up.weight", (96, 64)


@pytest.fixture(params=["panels", "row_major"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(storage_module.WEIGHT_LAYOUTS, "cpu", request.param)
    return str(request.param)


@pytest.fixture
def engine_dirs(
    layout: str, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[EngineDir, EngineDir]:
    """One in float32, and one with MLPs in nibbles."""
    exact = build_engine(tiny_checkpoint, tmp_path / "exact", dtype="float32")
    monkeypatch.setattr(build_module, "choose_storage", for_mlps)
    build_engine(tiny_checkpoint, tmp_path / "nibbles", dtype="float32")
    return exact, open_engine_dir(tmp_path / "nibbles")


@pytest.mark.parametrize("shape", [(1, 1), (40, 50), (33, 31), (96, 64)], ids=str)
def test_round_trip(layout: str, shape: Shape) -> None:
    storage, given = Storage("nibbles", layout), np.random.default_rng(0).normal(size=shape).astype(np.float32)
    arrays = storage.store("w", given)
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == storage.parts("w", shape)
    assert list(arrays) == ["w", "w.scales"]
    assert (np.abs(storage.load("w", arrays, shape) - given) <= Nibbles().error_bound(given)).all()
    assert storage.has_zero_padding("w", arrays, shape)


def test_built_and_opened(layout: str, engine_dirs: tuple[EngineDir, EngineDir]) -> None:
    opened = engine_dirs[1]
    assert opened.manifest.dtype == "float32"
    assert opened.manifest.storage[NAME] == Storage("nibbles", layout)
    assert opened.manifest.storage["layers.1.attention.qkv.weight"] == Storage("float32", layout)
    assert opened.tensors[f"{NAME}.scales"].shape == (4, 96)
    weight, stored = (one.manifest.storage[NAME].load(NAME, one.tensors, SHAPE) for one in engine_dirs)
    assert (np.abs(stored - weight) <= Nibbles().error_bound(weight)).all()
    assert not np.array_equal(stored, weight)


def test_run(engine_dirs: tuple[EngineDir, EngineDir]) -> None:
    batch = PackedBatch.pack([Sequence(np.arange(5, 25, dtype=np.int32), 20)])
    expected, rows = (np.asarray(load_engine(one, backend="reference").run(batch)) for one in engine_dirs)
    cosine = (rows * expected).sum() / np.linalg.norm(rows) / np.linalg.norm(expected)
    assert 0.99 < cosine < 0.999999


def test_refused_by_a_backend_without_kernels(layout: str, engine_dirs: tuple[EngineDir, EngineDir]) -> None:
    message = rf"nibbles was built for cpu: its tensor layers\.\d\.\S+ is \w+ in {layout}, which the native backend"
    with pytest.raises(BackendError, match=message):
        load_engine(engine_dirs[1], backend="native")


def test_scales_are_checked_like_all_tensors(
    engine_dirs: tuple[EngineDir, EngineDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine_dirs[1]
    without = {name: tensor for name, tensor in whole.tensors.items() if name != f"{NAME}.scales"}
    with pytest.raises(EngineDirError, match=r"up\.weight\.scales is none; .* requires float32 \[4, 96\]"):
        load_engine(replace(whole, tensors=without), backend="reference")
    monkeypatch.delitem(FORMATS, "nibbles")
    with pytest.raises(EngineDirError, match=r"has the format 'nibbles'; known: bfloat16, float16, float32"):
        load_engine(whole, backend="reference")


@pytest.mark.filterwarnings("ignore:invalid value")
def test_scales_that_are_not_finite(checkpoint_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "choose_storage", for_mlps)
    path = checkpoint_copy / "model.safetensors"
    tensors = load_file(path)
    tensors["encoder.layer.0.intermediate.dense.weight"][3, 4] = np.inf
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"layers\.0\.mlp\.up\.weight are not all finite in nibbles"):
        build_engine(checkpoint_copy, tmp_path / "engine")
