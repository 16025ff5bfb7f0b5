"""Runs checks in a process in which Triton interprets kernels on the CPU, with numpy."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

Interpret = Callable[..., None]
"""Calls a function of a test module with arguments."""


def set_environment() -> None:
    """Triton reads the variable when it is imported."""
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def interpret() -> Iterator[Interpret]:
    with ProcessPoolExecutor(1, get_context("spawn"), set_environment) as process:
        yield lambda check, *arguments: process.submit(check, *arguments).result()
