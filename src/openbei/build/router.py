"""modules.json as it stands, and sentence-transformers' Router (older: Asym) in it: one of its routes is built."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from openbei.build.json_file import read_json
from openbei.config import Decision
from openbei.errors import CheckpointError

ROUTERS = ("Router", "Asym")
ROUTER_FILES = ("router_config.json", "config.json")
"""What describes a Router, the newer name first."""

TEXT_WITHOUT_TASK = ("(None, 'text')", "(None, None)")
"""Keys of route_mappings that a text without a task has, the first one first."""


@dataclass(frozen=True, slots=True)
class Module:
    """One step of a chain: the class name, and the folder of its files."""

    kind: str
    folder: Path


class _Listed(msgspec.Struct, frozen=True):
    """One entry of modules.json."""

    type: str
    path: str = ""


class _Parameters(msgspec.Struct, frozen=True):
    """What a Router was made with, as far as it decides what a text without a task takes.

    `route_mappings` has routes by the task and the modality of an input, as Python writes a tuple of them.
    """

    default_route: str | None = None
    route_mappings: dict[str, str] | None = None

    def default(self, routes: Mapping[str, list[str]]) -> tuple[str | None, str]:
        """The route of a text without a task, in the order in which the Router looks, and the key that says so."""
        for key in TEXT_WITHOUT_TASK:
            if chosen := (self.route_mappings or {}).get(key):
                return chosen, "route_mappings"
        return ("text", "structure") if {"text"} < {*routes} else (self.default_route, "default_route")


class _Router(msgspec.Struct, frozen=True):
    """The file of a Router: routes as lists of names, and the class of each name, which is also its folder's."""

    types: dict[str, str]
    structure: dict[str, list[str]]
    parameters: _Parameters = _Parameters()


def listed(folder: Path) -> list[Module]:
    """The modules of modules.json as they stand there, none where it is missing. Raises CheckpointError."""
    path = folder / "modules.json"
    entries = read_json(path, list[_Listed]) if path.exists() else []
    return [_module(path, folder, one.type, one.path) for one in entries]


def routed(folder: Path, route: str | None) -> tuple[list[Module], tuple[Decision, ...]]:
    """The modules of modules.json, with one route in the place of each Router.

    Raises CheckpointError where a Router lacks `route`, has several and none was chosen, or there is no Router for it.
    """
    path, modules = folder / "modules.json", list[Module]()
    decisions = dict[str, Decision]()
    for module in listed(folder):
        if module.kind in ROUTERS:
            inner, decision = _take_route(module.folder, route)
            modules += inner
            decisions[decision.decision] = decision
        else:
            modules.append(module)
    if route is not None and not decisions:
        raise CheckpointError(f"{path} has no Router; the route {route!r} was asked for", hint="leave --route out")
    return modules, tuple(decisions.values())


def _take_route(folder: Path, route: str | None) -> tuple[list[Module], Decision]:
    """The modules of a Router's route."""
    path = next((folder / name for name in ROUTER_FILES if os.path.exists(folder / name)), folder / ROUTER_FILES[0])
    router = read_json(path, _Router)
    routes = router.structure
    default, key = router.parameters.default(routes)
    chosen, why = (route, "asked for by --route") if route is not None else (default, f"{key} of {path.name}")
    if chosen is None and len(routes) == 1:
        chosen, why = next(iter(routes)), f"the only one of {path.name}"
    if chosen not in routes:
        problem = "an engine is one of its routes" if chosen is None else f"{chosen!r} is none of its routes"
        raise CheckpointError(
            f"{path}: {problem}: {', '.join(routes)}", hint="bei build --route NAME --out engine; then bei serve engine"
        )
    if unknown := [name for name in routes[chosen] if name not in router.types]:
        raise CheckpointError(f"{path}: types does not say what {', '.join(unknown)} is")
    modules = [_module(path, folder, router.types[name], name) for name in routes[chosen]]
    others = ", ".join(name for name in routes if name != chosen) or "none"
    return modules, Decision("route", chosen, f"{why}; others: {others}")


def _module(path: Path, folder: Path, dotted: str, inside: str) -> Module:
    """A module by its class, wherever a version of sentence-transformers keeps it, and its place in a folder."""
    if (place := PurePosixPath(inside)).is_absolute() or ".." in place.parts:
        raise CheckpointError(f"{path}: the path {inside!r} leaves the checkpoint")
    package, _, name = dotted.rpartition(".")
    return Module(name if package.split(".")[0] == "sentence_transformers" else dotted, folder / place)
