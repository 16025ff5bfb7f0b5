"""Kinds of values in a Truss config: which values truss accepts, and what is wrong with others."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Problem = tuple[str, str]
"""Dotted path, and what is wrong there."""

Rule = Callable[[Mapping[str, object], str], Iterator[Problem]]
"""Checks the values of a section together."""

_SWITCHES = ("0", "off", "f", "false", "n", "no", "1", "on", "t", "true", "y", "yes")


class Kind(Protocol):
    """A kind of value. null has none: see `Optional`."""

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """What is wrong with a value."""
        ...


@dataclass(frozen=True)
class Anything:
    """Any value."""

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """None."""
        return iter(())


@dataclass(frozen=True)
class Text:
    """Text. `check` returns what is wrong, or None."""

    check: Callable[[str], str | None] = lambda text: None

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """See `Kind`."""
        if not isinstance(value, str):
            yield path, f"it must be text{_quoted(value)}"
        elif problem := self.check(value):
            yield path, problem


@dataclass(frozen=True)
class Choice:
    """One of several texts."""

    values: tuple[str, ...]

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """See `Kind`."""
        if value not in self.values:
            yield path, f"it must be one of {', '.join(self.values)}"


@dataclass(frozen=True)
class Whole:
    """A whole number. Unless it is strict, text and switches are converted."""

    low: int | None = None
    high: int | None = None
    is_strict: bool = False

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """See `Kind`."""
        number = _number(value, is_strict=self.is_strict)
        if number is None or not number.is_integer() or (self.is_strict and isinstance(value, float)):
            yield path, "it must be a whole number"
        elif self.low is not None and number < self.low:
            yield path, f"it must be at least {self.low}"
        elif self.high is not None and number > self.high:
            yield path, f"it must be at most {self.high}"


@dataclass(frozen=True)
class Number:
    """A number. `above` is excluded, `high` is included."""

    above: float | None = None
    high: float | None = None
    is_strict: bool = False

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """See `Kind`."""
        number = _number(value, is_strict=self.is_strict)
        if number is None:
            yield path, "it must be a number"
        elif (self.above is not None and number <= self.above) or (self.high is not None and number > self.high):
            yield path, f"it must be above {self.above} and at most {self.high}"


@dataclass(frozen=True)
class Switch:
    """true or false, also as text or as 0 and 1."""

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """See `Kind`."""
        is_switch = value in (0, 1) if isinstance(value, int | float) else str(value).lower() in _SWITCHES
        if not is_switch or not isinstance(value, int | float | str):
            yield path, "it must be true or false"


@dataclass(frozen=True)
class Optional:
    """A kind of value, or null."""

    kind: Kind

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """See `Kind`."""
        return iter(()) if value is None else self.kind.problems(value, path)


@dataclass(frozen=True)
class Items:
    """A list."""

    kind: Kind
    min_items: int = 0

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """See `Kind`."""
        if not isinstance(value, list):
            yield path, "it must be a list"
            return
        if len(value) < self.min_items:
            yield path, f"it must have at least {self.min_items} items"
        for index, item in enumerate(value):
            yield from self.kind.problems(item, f"{path}[{index}]")


@dataclass(frozen=True)
class Entries:
    """A mapping with any keys."""

    kind: Kind
    check_key: Callable[[str], str | None] = lambda key: None

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """See `Kind`."""
        if not isinstance(value, Mapping):
            yield path, "it must be a mapping"
            return
        for key, item in value.items():
            if problem := self.check_key(str(key)):
                yield f"{path}.{key}", problem
            yield from self.kind.problems(item, f"{path}.{key}")


@dataclass(frozen=True)
class Section:
    """A mapping with known keys; `rules` check several of them together.

    Truss refuses unknown keys when it pushes, except in sections that are open. `or_text` is another form of it.
    """

    keys: Mapping[str, Kind]
    required: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    is_open: bool = False
    or_text: Kind | None = field(default=None)

    def problems(self, value: object, path: str) -> Iterator[Problem]:
        """See `Kind`."""
        if self.or_text and isinstance(value, str):
            yield from self.or_text.problems(value, path)
            return
        if not isinstance(value, Mapping):
            yield path or "the file", "it must be a mapping"
            return
        for key, item in value.items():
            if key in self.keys:
                yield from self.keys[key].problems(item, _joined(path, key))
            elif not self.is_open:
                yield _joined(path, str(key)), "the key is unknown"
        for key in self.required:
            if key not in value:
                yield _joined(path, key), "it is required"
        for rule in self.rules:
            yield from rule(value, path)


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _quoted(value: object) -> str:
    return ": quote it" if isinstance(value, int | float) else ""


def _number(value: object, *, is_strict: bool) -> float | None:
    """The number that truss reads, or None."""
    if isinstance(value, bool):
        return None if is_strict else float(value)
    if isinstance(value, int | float):
        return float(value)
    if is_strict or not isinstance(value, str) or not re.fullmatch(r"\s*[+-]?\d+(\.\d*)?(e[+-]?\d+)?\s*", value, re.I):
        return None
    return float(value)
