"""A table of keys: what is known of each key of a mapping in a checkpoint's JSON, and what becomes of the others."""

import reprlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from openbei.config import Decision
from openbei.errors import CheckpointError

EMPTY: tuple[object, ...] = (None, "", [], {})
UNKNOWN = "an unknown key; the answers may depend on it"


@dataclass(frozen=True, slots=True)
class Only:
    """The values that a key may have, beside an empty one, and why no other is followed."""

    allowed: tuple[object, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one mapping: read, without effect on inference and why, refused but for some values.

    `nested` has the tables of values that are mappings, or lists of them. In each, `*` stands for any characters, and
    a key's own name goes before a pattern.
    """

    read: Collection[str] = frozenset()
    without_effect: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, Only] = field(default_factory=dict)
    nested: Mapping[str, "Keys"] = field(default_factory=dict)

    def beneath(self, inner: "Keys") -> "Keys":
        """Both in one, each key in one table: that of `inner` where both know it.

        What `inner` says of effect goes before what a struct of it reads: structs are shared.
        """
        said = {*inner.without_effect, *inner.refused}
        known = {*inner.read, *said}
        return Keys(
            read={*(key for key in inner.read if key not in said), *(key for key in self.read if key not in known)},
            without_effect={**_without(self.without_effect, known), **inner.without_effect},
            refused={**_without(self.refused, known), **inner.refused},
            nested={**self.nested, **inner.nested},
        )


def keys_of(*structs: type[msgspec.Struct]) -> frozenset[str]:
    """The keys that are read into structs."""
    return frozenset(field.encode_name for struct in structs for field in msgspec.structs.fields(struct))


def reasons(table: Mapping[str, str]) -> dict[str, str]:
    """Reason -> keys, by spaces, turned into key -> reason."""
    return {key: reason for reason, keys in table.items() for key in keys.split()}


def about_mapping(file: str, content: object, keys: Keys, prefix: str = "") -> Iterator[Decision]:
    """A warning for each set key that is in no table. Raises CheckpointError for a refused value.

    `file` is what messages call the file, `prefix` the dotted path of the mapping in it. Empty values change nothing.
    """
    for one in content if isinstance(content, list) else [content]:
        for key, value in one.items() if isinstance(one, Mapping) else ():
            if not _is_empty(value):
                yield from _about_key(file, f"{prefix}{key}", value, keys, str(key))


def _about_key(file: str, path: str, value: object, keys: Keys, key: str) -> Iterator[Decision]:
    name, only = _find(key, keys.refused)
    if only and value not in only.allowed:
        allowed = " or ".join(map(repr, only.allowed)) or "empty"
        raise CheckpointError(f"{file}: {path} is {reprlib.repr(value)}; it must be {allowed}", hint=only.reason)
    is_known = name or _find(key, dict.fromkeys(keys.read))[0] or _find(key, keys.without_effect)[0]
    nested = _find(key, keys.nested)[1]
    if not (is_known or nested):
        yield Decision(file, f"{path} is {reprlib.repr(value)}", UNKNOWN, is_warning=True)
    elif nested:
        yield from about_mapping(file, value, nested, f"{path}.")


def _find(key: str, table: Mapping[str, Any]) -> tuple[str | None, Any]:
    """A key's line in a table: by its name, or the first pattern."""
    if key in table:
        return key, table[key]
    name = next((one for one in table if "*" in one and fnmatchcase(key, one)), None)
    return (name, table[name]) if name else (None, None)


def _is_empty(value: object, depth: int = 8) -> bool:
    """Whether nothing is set, also in what is nested."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    return value in EMPTY if inner is None else depth > 0 and all(_is_empty(one, depth - 1) for one in inner)


def _without(table: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in known}
