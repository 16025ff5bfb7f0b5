"""The generated parts of the documents say what the code says."""

import pytest

from benchmarks.results import HIGHLIGHTS
from openbei import variables
from openbei.api.default_route import DEFAULT_PATHS
from openbei.api.routes import ROUTES
from openbei.families import FAMILIES
from openbei.truss import Config
from tests.house.source import ROOT
from tools.reference import architectures, configuration, environment
from tools.reference.pages import PAGES, updated


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_up_to_date(page: str) -> None:
    text = (ROOT / page).read_text()
    assert text == updated(text, PAGES[page]), "python -m tools.reference writes it"


def test_a_page_without_markers() -> None:
    with pytest.raises(ValueError, match="no markers for 'commands'"):
        updated("# A page", {"commands": str})


def test_every_key_has_its_meaning() -> None:
    paths = {path for path, _, _ in configuration.leaves(Config)}
    assert configuration.MEANING.keys() == paths
    assert configuration.VALUES.keys() <= paths


def test_every_variable_is_described() -> None:
    table = environment.variables()
    assert [name for name in variables.KNOWN if f"`{name}`" not in table] == []


def test_models_are_of_families_that_exist() -> None:
    assert architectures.HUB_IDS.keys() <= FAMILIES.keys()
    listed = {model for models in architectures.HUB_IDS.values() for model in models}
    assert listed >= architectures.RUN


def test_every_route_is_documented() -> None:
    page = (ROOT / "docs/api.md").read_text()
    paths = [*(row.path for row in ROUTES), *DEFAULT_PATHS]
    assert [path for path in paths if f"{path}`" not in page] == []


def test_the_readme_shows_measured_figures() -> None:
    """Each highlight is a line of the table that `make bench` writes."""
    measured, readme = (ROOT / "docs/benchmarks.md").read_text(), (ROOT / "README.md").read_text()
    for what, name in HIGHLIGHTS.items():
        [line] = [line for line in measured.splitlines() if line.startswith(f"| {what} |")]
        assert f"| {name} | {line.split(' | ')[2]} |" in readme
