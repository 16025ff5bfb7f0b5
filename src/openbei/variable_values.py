"""Parsers of the values of environment variables. They raise ValueError with what the value must be."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args


def one_of(kind: Any) -> Callable[[str], Any]:  # noqa: ANN401
    """A parser for the values of a Literal."""

    def parse(value: str) -> str:
        if value not in get_args(kind):
            raise ValueError(" or ".join(get_args(kind)))
        return value

    return parse


def path(value: str) -> Path:
    """A path, with ~ expanded."""
    return Path(value).expanduser()


def count(value: str) -> int:
    """A positive number of at most five digits."""
    if not re.fullmatch(r"[1-9][0-9]{0,4}", value):
        raise ValueError("a whole number from 1 to 99999")
    return int(value)


def url(value: str) -> str:
    """An http or https URL, without a slash at the end."""
    if not re.fullmatch(r"https?://\S+", value):
        raise ValueError("a URL that starts with http:// or https://")
    return value.rstrip("/")


def switch(value: str) -> bool:
    """A switch, such as 1, true or yes."""
    states = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if value.lower() not in states:
        raise ValueError("one of " + ", ".join(states))
    return states[value.lower()]
