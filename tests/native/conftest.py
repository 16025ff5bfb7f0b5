"""Fixtures: specs of any shape, engines with random weights, levels by their kernels, and the AMX emulator."""

import ctypes
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from openbei import _native
from openbei.engine_dir import EngineDir
from openbei.spec import DType, ModelSpec
from tests.native.kernels import STRUCTURES, Level
from tests.random_engine import random_engine_dir
from tests.small_models import small_spec

DTYPES: tuple[DType, ...] = ("bfloat16", "float32")
SUPPORTED = [name for name, compiled, missing in _native.isa_levels() if compiled and not missing]

MakeSpec = Callable[..., ModelSpec]
MakeEngineDir = Callable[..., EngineDir]


@pytest.fixture
def make_spec() -> MakeSpec:
    return small_spec


same_engine_dir = lru_cache(maxsize=2)(random_engine_dir)


@pytest.fixture
def make_engine_dir() -> MakeEngineDir:
    """Engines with random weights. Equal calls return the same one, whose reference rows are computed once."""
    return same_engine_dir


def compiled(source: str, folder: Path) -> ctypes.CDLL:
    """Compiles a C++ file of this folder to a library, with the flags in CXXFLAGS."""
    compiler = shutil.which("c++") or pytest.skip("there is no C++ compiler")
    library, flags = folder / "library.so", shlex.split(os.environ.get("CXXFLAGS", ""))
    source_path = Path(__file__).with_name(source)
    command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", *flags, source_path, "-o", library]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="package")
def amx_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ctypes.CDLL]:
    if "amx_bf16" in SUPPORTED:
        pytest.skip("this CPU has AMX itself")
    if "avx512_bf16" not in SUPPORTED:
        pytest.skip("the AMX level needs AVX512_BF16 besides the emulated tiles")
    emulator = compiled("amx_emulator.cpp", tmp_path_factory.mktemp("amx"))
    emulator.instructions_executed.restype = ctypes.c_uint64
    emulator.install()
    yield emulator
    emulator.uninstall()


@pytest.fixture(scope="package")
def narrow_level(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = compiled("narrow_level.cpp", tmp_path_factory.mktemp("narrow"))
    library.narrow_kernels.restype = ctypes.c_void_p
    sizes = (ctypes.c_size_t * len(STRUCTURES)).in_dll(library, "structure_bytes")
    assert [ctypes.sizeof(structure) for structure in STRUCTURES] == list(sizes), "kernels.hpp and kernels.py differ"
    return library


def levels() -> dict[str, Level]:
    """One level for each table of kernels that this CPU supports; two instruction sets may share a table."""
    found: dict[str, Level] = {}
    for isa in SUPPORTED:
        for dtype in DTYPES:
            level = Level(_native.kernels(isa, dtype), dtype)
            if level not in found.values():
                found[f"{isa} {dtype}"] = level
    return found


LEVELS = levels()


@pytest.fixture(params=[*LEVELS, "narrow", *(["amx_bf16 emulated"] if "amx_bf16" not in SUPPORTED else [])])
def level(request: pytest.FixtureRequest, narrow_level: ctypes.CDLL) -> Level:
    if request.param in LEVELS:
        return LEVELS[request.param]
    if request.param == "narrow":
        return Level(narrow_level.narrow_kernels(), "bfloat16")
    request.getfixturevalue("amx_emulator")
    return Level(_native.kernels("amx_bf16", "bfloat16", assume_supported=True), "bfloat16")
