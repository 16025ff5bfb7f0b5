"""Every choice is a line in a visible table: a file without one, or a line without a file, fails here."""

import importlib
import re
from collections.abc import Collection

import pytest

from openbei.api.default_route import default
from openbei.api.routes import ROUTES
from openbei.api.shared_paths import PIPELINES, root
from openbei.backends import BACKENDS
from openbei.checkpoints import SOURCES
from openbei.cli import COMMANDS
from openbei.families import FAMILIES, STATIC_FAMILY
from openbei.formats import FORMATS, LAYOUTS
from openbei.variables import OPTIONS

from .source import MODULES, PACKAGE, ROOT


def files(part: str, *, besides: Collection[str] = ()) -> set[str]:
    return {path.stem for path in (PACKAGE / part).glob("*.py")} - {"__init__", *besides}


def module_names(values: Collection[object]) -> set[str]:
    return {str(getattr(value, "__module__", type(value).__module__)).rsplit(".", 1)[-1] for value in values}


def test_backends() -> None:
    folders = {path.parent.name for path in (PACKAGE / "backends").glob("*/__init__.py")}
    helpers = {"threads", "positions", "activations", "validation", "batch_check", "device_choice", "recording"}
    assert files("backends", besides=helpers) | folders == set(BACKENDS)


def test_formats_and_layouts() -> None:
    assert files("formats", besides={"format", "layout", "per_channel", "storage", "unscaled"}) == {*FORMATS, *LAYOUTS}


def test_sources() -> None:
    assert files("checkpoints", besides={"containment", "source", "limits", "archive"}) == module_names(
        SOURCES.values()
    )


def test_families() -> None:
    assert files("families", besides={"fields", "computed"}) == {
        module.rsplit(".", 1)[-1] for module in (*FAMILIES.values(), STATIC_FAMILY)
    }


def test_commands() -> None:
    has_command = {m.path.stem for m in MODULES if m.part == "cli" and "def command(" in m.path.read_text()}
    assert has_command == set(COMMANDS.values())


def test_every_option_of_serve_has_variables() -> None:
    options = {p.opts[0] for p in importlib.import_module("openbei.cli.serve").command.params if p.opts[0][0] == "-"}
    assert options == OPTIONS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_its_tests(name: str) -> None:
    assert f'"{name}"' in "".join(path.read_text() for path in (ROOT / "tests/cli").glob("test_*.py"))
    assert importlib.import_module(f"openbei.cli.{COMMANDS[name]}").command.help


def test_routes() -> None:
    handlers = [*(row.handler for row in ROUTES), root, default, *PIPELINES.values()]
    modules = {handler.__module__ for handler in handlers}
    signature = re.compile(r"^async def [a-z]\w*\(service: Service, call: Call, body: Body\) -> Reply:", re.MULTILINE)
    has_handler = {f"openbei.{m.name.replace('/', '.')}" for m in MODULES if signature.search(m.path.read_text())}
    assert has_handler == modules
