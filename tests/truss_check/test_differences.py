"""Where `bei build` and truss disagree about a config: docs/check.md has a line for each."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from openbei.config import load_config
from openbei.errors import ConfigError
from tests.truss_check.mutations import BASE, TOGETHER, VALUES
from tests.truss_check.test_problems import MUTATIONS, REFUSED

PAGE = (Path(__file__).parents[2] / "docs/check.md").read_text()


def documented(part: str) -> set[str]:
    """The keys in a table."""
    table = PAGE.partition(f"<!-- {part}: begin -->")[2].partition(f"<!-- {part}: end -->")[0]
    return {key for row in table.splitlines() if row.startswith("| `") for key in re.findall(r"`([^`]+)`", row)}


def keys_of(name: str) -> set[str]:
    """The keys that a mutation changes."""
    if name in TOGETHER:
        return {key for path, value in TOGETHER[name].items() for key in (path, *deeper(path, value))}
    return {path for path in VALUES if name.startswith(f"{path} = ")}


def deeper(path: str, value: Any) -> list[str]:
    return [f"{path}.{key}" for key in value] if isinstance(value, dict) else []


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_difference_is_documented(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(MUTATIONS[name]))
    try:
        load_config(tmp_path / "config.yaml")
        is_refused = False
    except ConfigError:
        is_refused = True
    if is_refused != (name in REFUSED):
        assert keys_of(name) & documented("stricter" if is_refused else "looser"), name


def test_the_base_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(BASE))
    assert load_config(tmp_path / "config.yaml").model_name == "embeddings"
