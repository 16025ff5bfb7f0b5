"""Reading modules.json, and selecting a route of sentence-transformers' Router (formerly Asym)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from openbei.build.json_file import read_json
from openbei.config import Decision
from openbei.errors import CheckpointError

LIBRARIES = ("sentence_transformers", "pylate")
"""The packages whose modules are identified by their class name."""

ROUTERS = ("Router", "Asym")
ROUTER_FILES = ("router_config.json", "config.json")
"""The file of a Router; the newer name takes precedence."""

DEFAULT_MAPPINGS = ("(None, 'text')", "(None, None)")
"""Keys of route_mappings for a text without a task, in order of precedence."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module of a chain: class name and folder."""

    kind: str
    folder: Path


class _Entry(msgspec.Struct, frozen=True):
    """An entry of modules.json."""

    type: str
    path: str = ""


class _Parameters(msgspec.Struct, frozen=True):
    """The parameters of a Router that define the default route.

    The keys of `route_mappings` are the repr of (task, modality).
    """

    default_route: str | None = None
    route_mappings: dict[str, str] | None = None

    def default(self, routes: Mapping[str, list[str]]) -> tuple[str | None, str]:
        """The route of a text without a task, and the key that defines it, with the Router's order of precedence."""
        for key in DEFAULT_MAPPINGS:
            if route := (self.route_mappings or {}).get(key):
                return route, "route_mappings"
        return ("text", "structure") if {"text"} < {*routes} else (self.default_route, "default_route")


class _Router(msgspec.Struct, frozen=True):
    """The file of a Router: module names of each route, and the class of each module; names are also folders."""

    types: dict[str, str]
    structure: dict[str, list[str]]
    parameters: _Parameters = _Parameters()


def read_modules(folder: Path) -> list[Module]:
    """The modules of modules.json, Routers included; none if the file does not exist. Raises CheckpointError."""
    path = folder / "modules.json"
    entries = read_json(path, list[_Entry]) if path.exists() else []
    return [_module(path, folder, entry.type, entry.path) for entry in entries]


def resolve_routes(folder: Path, route: str | None) -> tuple[list[Module], tuple[Decision, ...]]:
    """The modules of modules.json, with each Router replaced by the modules of one route.

    Raises CheckpointError if a Router does not have `route`, if `route` is None and there is no default, or if there is
    no Router for `route`.
    """
    path, modules = folder / "modules.json", list[Module]()
    decisions = dict[str, Decision]()
    for module in read_modules(folder):
        if module.kind in ROUTERS:
            inner, decision = _select_route(module.folder, route)
            modules += inner
            decisions[decision.decision] = decision
        else:
            modules.append(module)
    if route is not None and not decisions:
        raise CheckpointError(f"{path} has no Router; --route is {route!r}", hint="omit --route")
    return modules, tuple(decisions.values())


def _select_route(folder: Path, route: str | None) -> tuple[list[Module], Decision]:
    """The modules of a Router's route."""
    path = next((folder / name for name in ROUTER_FILES if os.path.exists(folder / name)), folder / ROUTER_FILES[0])
    router = read_json(path, _Router)
    routes = router.structure
    default, key = router.parameters.default(routes)
    selected, source = (route, "--route") if route is not None else (default, f"{key} of {path.name}")
    if selected is None and len(routes) == 1:
        selected, source = next(iter(routes)), f"the only route in {path.name}"
    if selected not in routes:
        problem = "there is no default route" if selected is None else f"there is no route {selected!r}"
        raise CheckpointError(
            f"{path}: {problem}; routes: {', '.join(routes)}",
            hint="bei build --route NAME --out engine; then bei serve engine",
        )
    if missing := [name for name in routes[selected] if name not in router.types]:
        raise CheckpointError(f"{path}: types has no class for {', '.join(missing)}")
    modules = [_module(path, folder, router.types[name], name) for name in routes[selected]]
    others = ", ".join(name for name in routes if name != selected) or "none"
    return modules, Decision("route", selected, f"{source}; other routes: {others}")


def _module(path: Path, folder: Path, class_path: str, subfolder: str) -> Module:
    """A module; classes of LIBRARIES are identified by name, because versions differ in their package."""
    if (relative := PurePosixPath(subfolder)).is_absolute() or ".." in relative.parts:
        raise CheckpointError(f"{path}: the path {subfolder!r} is outside of the checkpoint")
    package, _, name = class_path.rpartition(".")
    return Module(name if package.split(".")[0] in LIBRARIES else class_path, folder / relative)
