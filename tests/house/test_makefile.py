"""The Makefile: what is missing is said before anything is downloaded; a download says how much, and is not silent."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .source import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name not in ("CXX", "MAKEFLAGS", "PYTHON")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env={**environment, **variables}, text=True, capture_output=True, timeout=60
    )


def fake_python(tmp_path: Path) -> Path:
    """A Python that says it is too old."""
    path = tmp_path / "python3.8"
    path.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.8.10\nexit 1\n')
    path.chmod(0o755)
    return path


def test_too_old_a_python(tmp_path: Path) -> None:
    done = make("demo", f"PYTHON={fake_python(tmp_path)}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "is Python 3.8.10; openbei needs 3.10 or later" in done.stderr
    assert "Setting up" not in done.stdout
    assert not (tmp_path / "venv").exists()


def test_no_compiler(tmp_path: Path) -> None:
    done = make("demo", f"CXX={tmp_path}/none", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "apt install g++, or dnf install gcc-c++" in line
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("target", ["demo", "test", "kernels", "check", "bench", "docs"])
def test_downloads_are_told_and_seen(target: str, tmp_path: Path) -> None:
    planned = make("-n", target, f"VENV={tmp_path}/venv").stdout
    assert f"make {target}: " in planned
    assert planned.count("MB") >= 2
    assert "compiled" in planned
    assert " -q" not in planned.replace("-m pytest -q", "")
