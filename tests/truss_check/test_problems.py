"""What Baseten would refuse, compared with truss: recorded verdicts, and truss itself where it is installed."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given, settings

from openbei.truss_check import TRUSS_VERSION, problems
from openbei.truss_check.kinds import Choice, Entries, Items, Kind, Optional, Section
from openbei.truss_check.schema import CONFIG
from tests.truss_check.mutations import mutations

REFUSED = set((Path(__file__).parent / "refused.txt").read_text().splitlines())
"""The mutations that truss refuses."""

MUTATIONS = mutations()


def test_the_record_is_about_these_mutations() -> None:
    assert MUTATIONS.keys() > REFUSED
    assert len(MUTATIONS) > 200


@pytest.mark.parametrize("name", MUTATIONS)
def test_recorded_verdicts(name: str) -> None:
    found = list(problems(MUTATIONS[name]))
    assert bool(found) == (name in REFUSED), found
    assert all(path and problem for path, problem in found)


def test_the_record_is_that_of_truss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("truss") is None:
        pytest.skip("needs truss")
    from importlib.metadata import version

    from truss.base.truss_config import TrussConfig

    if version("truss") != TRUSS_VERSION:
        pytest.skip(f"needs truss {TRUSS_VERSION}")
    monkeypatch.setitem(sys.modules, "transformers", None)  # it would look for the checkpoint on the Hub
    refused = {name for name, config in MUTATIONS.items() if is_refused(TrussConfig, config, tmp_path / "config.yaml")}
    assert refused == REFUSED


def is_refused(kind: Any, config: object, path: Path) -> bool:
    """Whether truss refuses a config when it is read or pushed."""
    path.write_text(yaml.safe_dump(config))
    try:
        kind.from_yaml(path).validate_forbid_extra()
    except Exception:
        return True
    return False


NUMBERS = [{"runtime": {"predict_concurrency": value}} for value in (float("inf"), float("nan"), "1e999", "-")]


@pytest.mark.parametrize(
    "raw", [None, [], "text", 3, {1: 2}, {"trt_llm": {"build": []}}, {"weights": [None]}, *NUMBERS]
)
def test_nonsense(raw: object) -> None:
    """Anything that YAML can express ends in a problem."""
    assert list(problems(raw))


def sections(kind: Kind) -> "st.SearchStrategy[object]":
    """Values that resemble a kind: its keys, with values that are right, nearly right or wrong."""
    wrong: st.SearchStrategy[object] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    if isinstance(kind, Section):
        keys = st.fixed_dictionaries({}, optional={key: sections(inner) for key, inner in kind.keys.items()})
        return keys | wrong
    if isinstance(kind, Items):
        return st.lists(sections(kind.kind), max_size=3) | wrong
    if isinstance(kind, Entries):
        return st.dictionaries(st.text(max_size=4), sections(kind.kind), max_size=3) | wrong
    if isinstance(kind, Optional):
        return sections(kind.kind)
    return st.sampled_from(kind.values) | wrong if isinstance(kind, Choice) else wrong


@given(sections(CONFIG))
@settings(max_examples=200, deadline=None)
def test_anything_has_an_answer(raw: object) -> None:
    """No value makes a check fail, and every problem has a path and a text."""
    for path, problem in problems(raw):
        assert path
        assert problem.isprintable()
