"""Threads: never more than affinity and the container's quota, by control groups of both versions."""

import logging
import os
from pathlib import Path

import pytest

from openbei.backends import effective_threads

CPUS = len(os.sched_getaffinity(0))


def machine(root: Path, cgroup: str, **limits: str) -> Path:
    """A root folder with /proc/self/cgroup and files under /sys/fs/cgroup, `__` for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for path, content in limits.items():
        file = (
            root / "sys/fs/cgroup" / path.replace("__", "/").replace("cpu_max", "cpu.max").replace("cfs_", "cpu.cfs_")
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def test_no_limits(tmp_path: Path) -> None:
    assert effective_threads(root=tmp_path) == CPUS
    assert effective_threads(root=machine(tmp_path, "0::/a\n", a__cpu_max="max 100000\n")) == CPUS


@pytest.mark.parametrize(("quota", "threads"), [("100000", 1), ("150000", 1), ("20000", 1), ("100000000", CPUS)])
def test_version_2(quota: str, threads: int, tmp_path: Path) -> None:
    assert effective_threads(root=machine(tmp_path, "0::/a/b\n", a__b__cpu_max=f"{quota} 100000\n")) == threads


def test_version_2_counts_parents(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/a/b\n", a__b__cpu_max="max 100000\n", a__cpu_max="100000 100000\n")
    assert effective_threads(root=root) == 1


def test_version_2_at_the_top_of_the_mount(tmp_path: Path) -> None:
    assert effective_threads(root=machine(tmp_path, "0::/host/path\n", cpu_max="100000 100000\n")) == 1


@pytest.mark.parametrize(("quota", "threads"), [("100000", 1), ("-1", CPUS)])
def test_version_1(quota: str, threads: int, tmp_path: Path) -> None:
    limits = {"cpu,cpuacct__a__cfs_quota_us": quota, "cpu,cpuacct__a__cfs_period_us": "100000"}
    assert effective_threads(root=machine(tmp_path, "5:memory:/a\n4:cpu,cpuacct:/a\n", **limits)) == threads


def test_asking(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert effective_threads(1, root=tmp_path) == 1
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert effective_threads(1000, root=tmp_path) == CPUS
    assert "1000 threads requested" in caplog.text
