"""Lookup of a route by method and path; the path may have a hosting platform's prefix."""

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

from openbei.api.exchange.refusals import MethodError, NoRouteError

T = TypeVar("T")

_TARGET = r"(?:/environments/[^/]+|/production|/development|/deployment/[^/]+)"
_SYNC = re.compile(rf"{_TARGET}?/sync(/.*)?", re.DOTALL)
_PREDICT = re.compile(rf"{_TARGET}/predict")


def without_prefix(path: str) -> str:
    """`/production/sync/rerank` is `/rerank`, and `/production/predict` is the default route, `/`."""
    if _PREDICT.fullmatch(path):
        return "/"
    sync = _SYNC.fullmatch(path)
    return sync[1] or "/" if sync else path


def has_prefix(path: str) -> bool:
    """Whether a path begins with a platform's prefix."""
    return without_prefix(path) != path


class Paths(Generic[T]):
    """A table of values by method and path."""

    def __init__(self, table: Mapping[tuple[str, str], T]) -> None:
        self._methods: dict[str, dict[str, T]] = {}
        for (method, path), value in table.items():
            self._methods.setdefault(path, {})[method] = value

    def find(self, method: str, path: str) -> T:
        """The value for a request; HEAD is looked up as GET. Raises NoRouteError, MethodError."""
        methods = self._methods.get(path) or self._methods.get(without_prefix(path))
        if methods is None:
            raise NoRouteError(f"{method} {path[:200]}: Not Found", hint="GET / lists the routes")
        value = methods.get("GET" if method == "HEAD" else method)
        if value is None:
            allowed = ", ".join(sorted(methods))
            message = f"{method} {path[:200]}: Method Not Allowed"
            raise MethodError(message, hint=f"use {allowed}", headers=((b"allow", allowed.encode()),))
        return value
