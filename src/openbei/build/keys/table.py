"""Tables of the known keys of a JSON mapping, and the check of a mapping against its table."""

import reprlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from openbei.config import Decision
from openbei.errors import CheckpointError

EMPTY: tuple[object, ...] = (None, "", [], {})
UNKNOWN = "unknown key; the model's output may depend on it"


@dataclass(frozen=True, slots=True)
class AllowedValues:
    """The non-empty values that a key may have, and why others are refused."""

    values: tuple[object, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Keys:
    """The known keys of a mapping: those read, those without effect (with the reason), and those with allowed values.

    `nested` has a table for each value that is a mapping or a list of mappings. `*` in a key matches any characters;
    an exact match takes precedence.
    """

    read: Collection[str] = frozenset()
    without_effect: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, AllowedValues] = field(default_factory=dict)
    nested: Mapping[str, "Keys"] = field(default_factory=dict)

    def overridden_by(self, other: "Keys") -> "Keys":
        """Merge two tables; `other` takes precedence.

        In `other`, a key in `without_effect` or `refused` is not in `read`, even if a struct has it.
        """
        not_read = {*other.without_effect, *other.refused}
        known = {*other.read, *not_read}
        return Keys(
            read={*other.read} - not_read | {*self.read} - known,
            without_effect={**_without(self.without_effect, known), **other.without_effect},
            refused={**_without(self.refused, known), **other.refused},
            nested={**self.nested, **other.nested},
        )


def keys_of(*structs: type[msgspec.Struct]) -> frozenset[str]:
    """The keys that structs are parsed from."""
    return frozenset(field.encode_name for struct in structs for field in msgspec.structs.fields(struct))


def split_keys(keys: str) -> frozenset[str]:
    """A set of keys from a space-separated list."""
    return frozenset(keys.split())


def reason_by_key(keys_by_reason: Mapping[str, str]) -> dict[str, str]:
    """Invert reason -> space-separated keys to key -> reason."""
    return {key: reason for reason, keys in keys_by_reason.items() for key in keys.split()}


def check_mapping(file: str, content: object, keys: Keys, prefix: str = "") -> Iterator[Decision]:
    """Yield a warning for each unknown key. Raises CheckpointError for a refused value. Empty values are ignored.

    `file` is the file's name in messages, `prefix` the dotted path of the mapping in the file.
    """
    for mapping in content if isinstance(content, list) else [content]:
        for key, value in mapping.items() if isinstance(mapping, Mapping) else ():
            if not _is_empty(value):
                yield from _check_key(file, f"{prefix}{key}", value, keys, str(key))


def _check_key(file: str, path: str, value: object, keys: Keys, key: str) -> Iterator[Decision]:
    if (refused := _match(key, keys.refused)) is not None:
        allowed = keys.refused[refused]
        if value not in allowed.values:
            expected = " or ".join(map(repr, allowed.values)) or "empty"
            raise CheckpointError(
                f"{file}: {path} is {reprlib.repr(value)}; it must be {expected}", hint=allowed.reason
            )
    if (nested := _match(key, keys.nested)) is not None:
        yield from check_mapping(file, value, keys.nested[nested], f"{path}.")
    elif all(_match(key, table) is None for table in (keys.refused, keys.read, keys.without_effect)):
        yield Decision(file, f"{path} is {reprlib.repr(value)}", UNKNOWN, is_warning=True)


def _match(key: str, table: Collection[str]) -> str | None:
    """The entry of a table for a key: its own name, or the first matching pattern."""
    if key in table:
        return key
    return next((pattern for pattern in table if "*" in pattern and fnmatchcase(key, pattern)), None)


def _is_empty(value: object, depth: int = 8) -> bool:
    """Whether a value has no non-empty leaf."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list) and value:
        return depth > 0 and all(_is_empty(item, depth - 1) for item in value)
    return value in EMPTY


def _without(table: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in known}
