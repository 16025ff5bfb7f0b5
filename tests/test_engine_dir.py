"""Engine directories: written whole or not at all, and opened only if nothing was modified."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from openbei import atomic_folder
from openbei import engine_dir as module
from openbei.engine_dir import (
    MANIFEST,
    TOKENIZER,
    WEIGHTS,
    EngineDir,
    Manifest,
    is_engine_dir,
    open_engine_dir,
    write_engine_dir,
)
from openbei.errors import EngineDirError
from openbei.safetensors_file import LazyTensor
from openbei.shapes import tensor_shapes
from openbei.spec import MLP, Attention, EmbeddingHead, LayerNorm, LearnedPositions, ModelSpec

SPEC = ModelSpec(
    family="bert",
    vocab_size=9,
    type_vocab_size=1,
    hidden_size=4,
    num_layers=1,
    positions=LearnedPositions(max_positions=8),
    attention=Attention(num_heads=2, num_kv_heads=2, head_dim=2),
    mlp=MLP(intermediate_size=6, activation="gelu"),
    norm=LayerNorm(eps=1e-12),
    head=EmbeddingHead(poolings=("mean",)),
)


def manifest(**changes: object) -> Manifest:
    fields: dict[str, Any] = {
        "openbei_version": "0",
        "model_name": "m",
        "source": "LOCAL m",
        "spec": SPEC,
        "normalize": True,
        "target": "cpu",
        "storage": {},
        "max_sequence_tokens": 8,
        "max_num_tokens": 80,
        "default_route": "/v1/embeddings",
        "content_hash": "a-b",
        "report": (),
    }
    return Manifest(**fields | changes)


def numbers(load: Callable[[], Any] | None = None, size: int = 1000) -> dict[str, LazyTensor]:
    made = np.arange(size, dtype=np.float32)
    return {
        "first": LazyTensor((size,), made.dtype, lambda: made),
        "second": LazyTensor((size,), made.dtype, load or (lambda: made)),
    }


def write(path: Path, **changes: object) -> None:
    write_engine_dir(path, manifest(**changes), numbers(), b"{}")


def test_round_trip(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_engine_dir(
        tmp_path / "new/engine", manifest(), numbers(), b"{}", progress=lambda done, total: seen.append((done, total))
    )
    opened = open_engine_dir(tmp_path / "new/engine")
    assert msgspec.structs.replace(opened.manifest, files={}, digest="") == manifest()
    assert np.array_equal(opened.tensors["second"], np.arange(1000))
    assert opened.tokenizer_path.read_bytes() == b"{}"
    assert [done < total for done, total in seen] == [True, True]
    assert [entry.name for entry in opened.path.parent.iterdir()] == ["engine"]


def test_replaces_an_earlier_one(tmp_path: Path) -> None:
    write(tmp_path / "engine")
    earlier = open_engine_dir(tmp_path / "engine")
    write(tmp_path / "engine", model_name="later")
    assert open_engine_dir(tmp_path / "engine").manifest.model_name == "later"
    assert earlier.tensors["first"][999] == 999, "what a running server has mapped stays"
    assert [entry.name for entry in tmp_path.iterdir()] == ["engine"]


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), MemoryError(), OSError(errno.ENOSPC, "No space left")])
def test_interrupted(interruption: BaseException, earlier: bool, tmp_path: Path) -> None:
    def interrupted() -> None:
        raise interruption

    if earlier:
        write(tmp_path / "engine", model_name="earlier")
    with pytest.raises((type(interruption), EngineDirError)):
        write_engine_dir(tmp_path / "engine", manifest(), numbers(interrupted), b"{}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["engine"] * earlier
    if earlier:
        assert open_engine_dir(tmp_path / "engine").manifest.model_name == "earlier"


def test_interrupted_while_renaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "engine", model_name="earlier")
    monkeypatch.setattr(atomic_folder, "exchange", lambda one, other: False)
    rename = Path.rename

    def fails_once(path: Path, target: Path) -> Path:
        if path.suffix == ".partial":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "engine")
    assert open_engine_dir(tmp_path / "engine").manifest.model_name == "earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == ["engine"]


def test_not_enough_space_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=5000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EngineDirError, match=r"5000 bytes are free; the engine needs \d{4} bytes\nhint: free some"):
        write(tmp_path / "engine")
    assert not list(tmp_path.iterdir())


def test_a_full_disk(tmp_path: Path) -> None:
    """The kernel's own limit on file size stands in for the disk's end; it is set for a process of its own."""
    script = f"""
import resource
from pathlib import Path
from openbei.errors import EngineDirError
from tests.test_engine_dir import write
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    write(Path({str(tmp_path / "engine")!r}))
except EngineDirError as error:
    assert "cannot be written" in error.message and "the engine needs" in error.message and error.hint, error
else:
    raise SystemExit("it was written")
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[1])
    assert not list(tmp_path.iterdir())


def test_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/precious").touch()
    (tmp_path / "file").touch()
    for other in ("home", "file"):
        with pytest.raises(EngineDirError, match="exists and is not an engine directory"):
            write(tmp_path / other)
    assert (tmp_path / "home/precious").exists()


def flip_a_bit(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights flipped": (lambda path: flip_a_bit(path / WEIGHTS), "weights.safetensors was modified"),
    "weights truncated": (lambda path: truncate(path / WEIGHTS), "weights.safetensors has .* bytes; the manifest says"),
    "weights gone": (lambda path: (path / WEIGHTS).unlink(), "weights.safetensors cannot be read: No such file"),
    "tokenizer changed": (lambda path: (path / TOKENIZER).write_bytes(b"[]"), "tokenizer.json was modified"),
    "tokenizer emptied": (lambda path: (path / TOKENIZER).write_bytes(b""), "tokenizer.json has 0 bytes"),
    "manifest truncated": (lambda path: truncate(path / MANIFEST), "engine.json is not a manifest"),
    "manifest edited": (lambda path: edit(path, max_sequence_tokens=9), "engine.json was modified"),
    "manifest with a new key": (lambda path: edit(path, more=1), "engine.json is not a manifest: .*`more`"),
    "manifest of bytes": (lambda path: (path / MANIFEST).write_bytes(b"\xff\xfe"), "engine.json is not a manifest"),
    "manifest gone": (lambda path: (path / MANIFEST).unlink(), "is not an engine directory: engine.json"),
    "other version": (lambda path: edit(path, format_version=1, more=1), "has engine format 1; this openbei reads 9"),
    "all gone": (shutil.rmtree, "is not an engine directory"),
}


def edit(path: Path, **changes: object) -> None:
    (path / MANIFEST).write_text(json.dumps(json.loads((path / MANIFEST).read_text()) | changes))


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    write(tmp_path / "engine")
    damage(tmp_path / "engine")
    with pytest.raises(EngineDirError, match=message) as found:
        open_engine_dir(tmp_path / "engine")
    assert "bei build" in str(found.value.hint)


def test_the_whole_manifest_counts(tmp_path: Path) -> None:
    write(tmp_path / "engine")
    intact = (tmp_path / "engine" / MANIFEST).read_bytes()
    for at in range(0, len(intact), 3):
        flip_a_bit(tmp_path / "engine" / MANIFEST, at)
        with pytest.raises(EngineDirError):
            open_engine_dir(tmp_path / "engine", verify=False)
        (tmp_path / "engine" / MANIFEST).write_bytes(intact)
    assert open_engine_dir(tmp_path / "engine").manifest.model_name == "m"


def test_verification_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path / "engine")
    flip_a_bit(tmp_path / "engine" / WEIGHTS)
    assert open_engine_dir(tmp_path / "engine", verify=False).manifest.model_name == "m"


def test_kinds_of_folder(tmp_path: Path, tiny_engine_dir: EngineDir) -> None:
    assert is_engine_dir(tiny_engine_dir.path)
    assert not is_engine_dir(tmp_path)
    assert not is_engine_dir(tmp_path / "none")


def test_weights_lie_aligned_and_read_only(tiny_engine_dir: EngineDir) -> None:
    assert list(tiny_engine_dir.tensors) == list(tensor_shapes(tiny_engine_dir.manifest.spec))
    for name, tensor in tiny_engine_dir.tensors.items():
        assert not tensor.flags.writeable
        if name.startswith("layers") and "norm" not in name:
            assert tensor.ctypes.data % 64 == 0
    assert module.FORMAT_VERSION == 9


@pytest.mark.parametrize("name", [".", MANIFEST, WEIGHTS, TOKENIZER])
def test_what_everybody_may_write_to_is_logged(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "engine")
    open_engine_dir(tmp_path / "engine")
    assert not caplog.records
    (tmp_path / "engine" / name).chmod(0o757)
    open_engine_dir(tmp_path / "engine")
    [record] = caplog.records
    assert f"{tmp_path / 'engine' / name} is world-writable" in record.getMessage()


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, TOKENIZER])
def test_special_files_are_not_read(name: str, tmp_path: Path) -> None:
    write(tmp_path / "engine")
    (tmp_path / "engine" / name).unlink()
    os.mkfifo(tmp_path / "engine" / name)
    with pytest.raises(EngineDirError, match=f"{name} is not a regular file"):
        open_engine_dir(tmp_path / "engine")
