"""Resumable downloads: files are fetched in parts, several at a time, and each part is kept when it is complete."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from openbei.errors import StoreUnreachableError
from openbei.stores.store import StoredObject

PART_BYTES = 8 << 20
NUM_THREADS = 8
NUM_TRIES, WAIT_S = 4, 0.2

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in total."""

ReadPart = Callable[[StoredObject, int, int], memoryview]
"""Reads bytes from a start to an end of an object. Raises StoreError."""


def download(
    items: Sequence[StoredObject],
    folder: Path,
    read_part: ReadPart,
    progress: Progress,
    *,
    part_bytes: int | None = None,
) -> dict[str, Path]:
    """Download objects into a folder, continuing earlier downloads there. Returns name → path of a complete file.

    The names of files in the folder depend on the objects' versions. `part_bytes` None is PART_BYTES. Raises
    StoreError, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part_bytes = part_bytes or PART_BYTES
    files = {item.name: PartialFile(folder / _file_name(item), item.size, part_bytes) for item in items}
    counter = Counter(sum(item.size for item in items), progress)
    counter.add(sum(file.num_done_bytes for file in files.values()))
    missing = [(item, part) for item in items for part in files[item.name].missing]

    def fetch(item: StoredObject, part: int) -> None:
        file = files[item.name]
        start, end = file.bounds(part)
        file.write(part, _with_retries(lambda: read_part(item, start, end)))
        counter.add(end - start)

    in_threads(partial(fetch, item, part) for item, part in missing)
    return {name: file.path for name, file in files.items()}


def in_threads(calls: Iterable[Callable[[], None]]) -> None:
    """Run calls in NUM_THREADS threads. The first exception is raised, and cancels those that have not started."""
    with ThreadPoolExecutor(NUM_THREADS) as threads:
        futures = [threads.submit(call) for call in calls]
        try:
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            threads.shutdown(cancel_futures=True)


class PartialFile:
    """A file that is written in parts, in any order. A journal beside it lists the parts that are on disk."""

    def __init__(self, path: Path, size: int, part_bytes: int) -> None:
        self.path, self._size, self._part_bytes = path, size, part_bytes
        self._journal = path.with_name(f"{path.name}.parts")
        self._lock = threading.Lock()
        done = self._journal.read_text().split("\n")[:-1] if self._journal.exists() and path.exists() else []
        self._done = {int(line) for line in done if line.isdecimal()}
        if not path.exists() or path.stat().st_size != size:
            self._done.clear()
            self._journal.write_text("")
            with path.open("wb") as file:
                file.truncate(size)

    @property
    def missing(self) -> list[int]:
        """The parts that are not on disk."""
        return [part for part in range(-(-self._size // self._part_bytes)) if part not in self._done]

    @property
    def num_done_bytes(self) -> int:
        """The number of bytes on disk."""
        return self._size - sum(end - start for start, end in map(self.bounds, self.missing))

    def bounds(self, part: int) -> tuple[int, int]:
        """The first byte of a part, and the byte after its last one."""
        return part * self._part_bytes, min(self._size, (part + 1) * self._part_bytes)

    def write(self, part: int, content: memoryview) -> None:
        """Write a part to disk, then to the journal. Raises OSError."""
        view, offset = memoryview(content), self.bounds(part)[0]
        descriptor = os.open(self.path, os.O_WRONLY)
        try:
            while view:
                count = os.pwrite(descriptor, view, offset)
                view, offset = view[count:], offset + count
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        with self._lock, self._journal.open("a") as journal:
            journal.write(f"{part}\n")
            self._done.add(part)


class Counter:
    """Adds up the bytes that several threads have transferred, and reports the sum."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = 0, total, progress
        self._lock = threading.Lock()

    def add(self, num_bytes: int) -> None:
        """Count more bytes, and report the sum."""
        with self._lock:
            self._done += num_bytes
            self._progress(self._done, self._total)


def _with_retries(read: Callable[[], memoryview]) -> memoryview:
    for attempt in range(NUM_TRIES - 1):
        try:
            return read()
        except StoreUnreachableError:
            time.sleep(WAIT_S * 2**attempt)
    return read()


def _file_name(item: StoredObject) -> str:
    return hashlib.sha256(f"{item.name}\0{item.size}\0{item.version}".encode()).hexdigest()[:32]
