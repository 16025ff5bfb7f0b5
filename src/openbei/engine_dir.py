"""The engine directory, which a build writes and a server maps: format, manifest, reading and writing.

    engine.json           the manifest: model, build report, sizes and hashes of the other files
    weights.safetensors   encoded and packed weights, memory-mapped
    tokenizer.json        without truncation and padding

Tensor names and layouts are described in docs/engine-format.md.
"""

import contextlib
import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from openbei.atomic_folder import replace_folder, sync_folder, temporary_folder
from openbei.batch import ScoreActivation
from openbei.config import Decision
from openbei.device import Device
from openbei.digests import digest, file_digests
from openbei.errors import EngineDirError
from openbei.formats import FORMATS
from openbei.formats.storage import Storage
from openbei.formats.unscaled import Unscaled
from openbei.late_interaction import LateInteraction
from openbei.prompts import Prompts, ScoreTemplate, TextTemplate
from openbei.quantization import NO_QUANTIZATION
from openbei.safetensors_file import Array, LazyTensor, file_bytes, read_tensors, write_tensors
from openbei.shapes import kind_of
from openbei.spec import ModelSpec, Task

FORMAT_VERSION = 9
MANIFEST = "engine.json"
WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer.json"

_log = logging.getLogger(__name__)

_REBUILD = "build it again with `bei build`"


class _Versioned(msgspec.Struct, frozen=True):
    """The field that every version of the manifest has."""

    format_version: int


class FileRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The size of a file in bytes, and the BLAKE3 digest of each of its chunks, in hex."""

    bytes: int
    chunks: tuple[str, ...]


class Accuracy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Figures that compare a quantized engine with the original, by name, and the number of texts they are from."""

    num_documents: int
    num_queries: int
    figures: dict[str, float]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """engine.json. The fields are described in docs/engine-format.md; the writer sets `files` and `digest`."""

    format_version: int = FORMAT_VERSION
    openbei_version: str
    model_name: str
    source: str
    spec: ModelSpec
    normalize: bool = False
    labels: tuple[str, ...] = ()
    activation: ScoreActivation = "softmax"
    dimensions: int | None = None
    similarity: str = "cosine"
    prompts: Prompts = Prompts()
    text_template: TextTemplate | None = None
    score_template: ScoreTemplate | None = None
    late_interaction: LateInteraction | None = None
    has_unsupported_template: bool = False
    max_terms: int | None = None
    double_log: bool = False
    unk_token_id: int | None = None
    has_token_types: bool = False
    truncation_direction: Literal["left", "right"] = "right"
    example_input: Any = None
    requires_api_key: bool = False
    target: Device
    storage: dict[str, Storage]
    quantization: str = NO_QUANTIZATION
    accuracy: Accuracy | None = None
    max_sequence_tokens: int
    max_num_tokens: int
    default_route: str
    content_hash: str
    report: tuple[Decision, ...]
    files: dict[str, FileRecord] = {}
    digest: str = ""

    @property
    def own_digest(self) -> str:
        """The correct value of `digest`."""
        return digest(msgspec.json.encode(msgspec.structs.replace(self, digest="")))

    @property
    def dtype(self) -> str:
        """The formats of weights and tables that are not quantized, separated by commas if there are several."""
        weights = (stored for name, stored in self.storage.items() if kind_of(name) in ("weight", "table"))
        formats = dict.fromkeys(stored.format for stored in weights)
        return ", ".join(format for format in formats if isinstance(FORMATS[format], Unscaled))

    @property
    def is_reranker(self) -> bool:
        """Whether the model scores pairs of texts: it has one label, or two and a template with the positive label.

        False if the checkpoint has a template for pairs that is not supported.
        """
        has_one = self.spec.task == "reranker" and not self.has_unsupported_template
        return has_one or self.score_template is not None

    @property
    def main_task(self) -> Task:
        """The task of the head, or reranker for a classifier that is one."""
        return "reranker" if self.is_reranker else self.spec.task


@dataclass(frozen=True, slots=True, eq=False)
class EngineDir:
    """An opened engine directory; `tensors` are read-only views of the mapped file."""

    path: Path
    manifest: Manifest
    tensors: dict[str, Array]

    @property
    def tokenizer_path(self) -> Path:
        """The path of tokenizer.json."""
        return self.path / TOKENIZER


def is_engine_dir(path: Path) -> bool:
    """Whether a path has a manifest."""
    return (path / MANIFEST).is_file()


def open_engine_dir(path: Path, *, verify: bool = True) -> EngineDir:
    """Map an engine directory. `verify` checks the hashes of all files; without it, only sizes are checked.

    Logs a warning for world-writable files. Raises EngineDirError for a directory that is missing, incomplete,
    modified, or of another version.
    """
    manifest = _read_manifest(path)
    for name, record in manifest.files.items():
        _check_file(path / name, record, verify)
    for each in (path, *(path / name for name in (MANIFEST, *manifest.files))):
        if each.stat().st_mode & stat.S_IWOTH:
            _log.warning("%s is world-writable: any user can change the answers; run chmod o-w on it", each)
    try:
        return EngineDir(path, manifest, read_tensors(path / WEIGHTS))
    except (OSError, ValueError) as error:
        raise EngineDirError(f"{path / WEIGHTS} cannot be read: {error}", hint=_REBUILD) from error


def _read_manifest(path: Path) -> Manifest:
    try:
        if (path / MANIFEST).exists() and not (path / MANIFEST).is_file():
            raise EngineDirError(f"{path / MANIFEST} is not a regular file", hint=_REBUILD)
        content = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise EngineDirError(
            f"{path} is not an engine directory: {MANIFEST}: {error.strerror}", hint=_REBUILD
        ) from error
    return parse_manifest(content, str(path))


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Parse a manifest and check its digest. `where` is its folder or URL. Raises EngineDirError."""
    try:
        version = msgspec.json.decode(content, type=_Versioned).format_version
        if version != FORMAT_VERSION:
            raise EngineDirError(
                f"{where} has engine format {version}; this openbei reads {FORMAT_VERSION}", hint=_REBUILD
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EngineDirError(f"{where}/{MANIFEST} is not a manifest: {error}", hint=_REBUILD) from error
    try:
        own_digest = manifest.own_digest
    except OverflowError as error:
        raise EngineDirError(f"{where}/{MANIFEST} has an integer of more than 64 bits", hint=_REBUILD) from error
    if manifest.digest != own_digest or set(manifest.files) != {WEIGHTS, TOKENIZER}:
        raise EngineDirError(f"{where}/{MANIFEST} was modified: its hash does not match", hint=_REBUILD)
    return manifest


def _check_file(path: Path, record: FileRecord, verify: bool) -> None:
    try:
        if path.exists() and not path.is_file():
            raise EngineDirError(f"{path} is not a regular file", hint=_REBUILD)
        num_bytes = path.stat().st_size
        if num_bytes != record.bytes:
            raise EngineDirError(f"{path} has {num_bytes} bytes; the manifest says {record.bytes}", hint=_REBUILD)
        if verify and file_digests(path) != record.chunks:
            raise EngineDirError(f"{path} was modified: its hash does not match the manifest", hint=_REBUILD)
    except OSError as error:
        raise EngineDirError(f"{path} cannot be read: {error.strerror}", hint=_REBUILD) from error


def write_engine_dir(
    path: Path,
    manifest: Manifest,
    tensors: Mapping[str, LazyTensor],
    tokenizer_json: bytes,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write an engine directory atomically. An earlier one at `path` is only replaced when the new one is complete.

    All files are written and synced in a temporary directory beside `path`, the manifest last. If `path` is a symbolic
    link, its target is replaced. `progress` is called with bytes written and bytes in total. Raises EngineDirError if
    `path` exists and is not an engine directory, or if the disk is full.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    _check_replaceable(path)
    needed = file_bytes(tensors) + len(tokenizer_json)
    with _disk_errors(path, needed):
        path.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(path.parent).free) < needed:
            raise OSError(errno.ENOSPC, f"{free} bytes are free")
        with temporary_folder(path) as partial:
            with _synced(partial / WEIGHTS) as write_to:
                for done in write_tensors(write_to, tensors):
                    progress(done, needed)
            with _synced(partial / TOKENIZER) as write_to:
                write_to.write(tokenizer_json)
            seal(partial, manifest)
            partial.chmod(0o755)  # mkdtemp sets 0700; the server may run as another user
            sync_folder(partial)
            replace_folder(partial, path)


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder that has the other files, with their sizes and digests. Not atomic."""
    files = {
        name: FileRecord(bytes=(folder / name).stat().st_size, chunks=file_digests(folder / name))
        for name in (WEIGHTS, TOKENIZER)
    }
    complete = msgspec.structs.replace(manifest, files=files)
    content = msgspec.json.encode(msgspec.structs.replace(complete, digest=complete.own_digest))
    with _synced(folder / MANIFEST) as write_to:
        write_to.write(msgspec.json.format(content))


def _check_replaceable(path: Path) -> None:
    if not path.exists():
        return
    other_files = {entry.name for entry in path.iterdir()} - {MANIFEST, WEIGHTS, TOKENIZER} if path.is_dir() else {""}
    if other_files:
        raise EngineDirError(f"{path} exists and is not an engine directory", hint="choose another --out")


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _disk_errors(path: Path, needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise EngineDirError(
            f"{path} cannot be written: {error.strerror}; the engine needs {needed} bytes",
            hint="free some space or choose another --out" if is_full else None,
        ) from error
