"""The documents tell the truth: links lead somewhere, commands exist, versions agree."""

import re
from pathlib import Path

import click
import pytest

import openbei
from openbei.cli import main

from .source import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())


@every_document
def test_links_lead_to_files(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@every_document
def test_named_files_exist(path: Path) -> None:
    for name in re.findall(r"`((?:src|native|docs|tests|benchmarks|examples)/[\w./-]+)`", path.read_text()):
        assert "NAME" in name or (ROOT / name).exists(), name


@every_document
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=`|\s*$|\s+#)", path.read_text(), re.MULTILINE)) <= targets


@every_document
def test_commands_and_options_exist(path: Path) -> None:
    for line in re.findall(r"^(?:\$ )?bei (\w+)(.*)$", path.read_text(), re.MULTILINE):
        command = main.get_command(click.Context(main), line[0])
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(--[\w-]+)", line[1])) <= known, line


def test_readme_starts_with_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"^(?:\$ )?((?:make|bei|pip|curl) ?\w*)", readme, re.MULTILINE)[:2] == ["make demo", "make test"]


def test_changelog_has_this_version() -> None:
    newest = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == openbei.__version__


def test_every_dependency_says_what_it_replaces() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", pyproject, re.MULTILINE | re.DOTALL)
    assert block
    names = re.findall(r'"([\w-]+)', block[1])
    told = (ROOT / "docs/decisions/dependencies.md").read_text()
    assert [name for name in names if name not in told] == []
