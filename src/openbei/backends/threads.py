"""How many threads this process may use: CPU affinity and the container's quota, whichever is less."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)


def effective_threads(requested: int | None = None, *, root: Path = Path("/")) -> int:
    """The number of threads to start: `requested`, limited to those allowed, at least one.

    `root` is the folder where proc and sys are mounted. Logs a warning if more are requested than allowed.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = max(1, int(min([affinity, *_quotas(root)])))
    if requested is not None and requested > allowed:
        _log.warning("%d threads requested, %d started: the limit of CPU affinity and quota", requested, allowed)
    return min(requested or allowed, allowed)


def _quotas(root: Path) -> Iterator[float]:
    """CPU quota, in CPUs, of each control group that this process is in, version 1 or 2, and of their parents.

    Within a container the group's own path may not be mounted; its limits are then at the mount's top.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        own = mount / group.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(mount):
                yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    limits = _read(folder / "cpu.max") or f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
    match limits.split():
        case [quota, period] if quota.isdecimal() and period.isdecimal():  # unlimited is "max" or -1
            yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
