"""The Dockerfile: health check, user and copied files. `make image` builds and runs it."""

import json
import os
import re
import subprocess
import sys

import pytest

from openbei.variables import KNOWN
from tests.api.conftest import Served
from tests.emulators import free_port
from tests.house.source import ROOT

LINES = re.sub(r"^#.*\n|\\\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES if line]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Name → instructions, including those of the stages that it starts from."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for instruction, arguments in INSTRUCTIONS:
        if instruction == "FROM":
            base, _, name = arguments.split()
            found[name] = list(found.get(base, []))
        else:
            found[name].append((instruction, arguments))
    return found


STAGES = stages()
every_image = pytest.mark.parametrize("image", ["cpu", "cuda"])


def last(image: str, instruction: str) -> str:
    """The arguments of the last instruction of a kind."""
    return [arguments for name, arguments in STAGES[image] if name == instruction][-1]


def test_the_image_without_a_target_is_that_for_cpus() -> None:
    assert list(STAGES)[-1] == "cpu"


@every_image
def test_the_user_is_a_number_other_than_0(image: str) -> None:
    """Kubernetes cannot see that a user with a name is not root."""
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last(image, "USER"))


def test_no_compiler_is_installed() -> None:
    installed = " ".join(arguments for name, arguments in STAGES["cpu"] if name == "RUN")
    assert "tini" in installed
    assert not re.search(r"\b(gcc|g\+\+|python3-pip|-dev)\b", installed)


@every_image
def test_variables_are_known(image: str) -> None:
    names = re.findall(r"([A-Z_]+)=", " ".join(arguments for name, arguments in STAGES[image] if name == "ENV"))
    ours = {name for name in names if name.startswith(("OPENBEI_", "HF_"))}
    assert len(ours) == 3
    assert ours <= KNOWN


def test_images_and_the_sdist_have_the_same_files() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    pyproject = (ROOT / "pyproject.toml").read_text()
    copies = [arguments.split() for name, arguments in INSTRUCTIONS if name == "COPY" and "--from" not in arguments]
    sources = [source for *sources, _ in copies for source in sources]
    assert len(sources) >= 6
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
        assert f'"!/{source}"' in pyproject


def test_health_check(served: Served) -> None:
    python, *arguments = json.loads(last("cpu", "HEALTHCHECK").partition(" CMD ")[2])
    assert python == "python3"
    for port, is_healthy in ((served.address[1], True), (free_port(), False)):
        variables = {**os.environ, "OPENBEI_PORT": str(port)}
        done = subprocess.run([sys.executable, *arguments], env=variables, capture_output=True, timeout=30)
        assert (done.returncode == 0) is is_healthy, done.stderr
