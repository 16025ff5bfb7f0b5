"""The messages on the page about troubleshooting are messages of the code."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.house.source import MODULES, ROOT

PAGE = (ROOT / "docs/troubleshooting.md").read_text()
MESSAGES = re.findall(r"^\| (?:\d{3} )?`(.+?)` \|", PAGE, re.MULTILINE)


def texts() -> Iterator[str]:
    """Every string of the package; what is put into it, and what %-formatting puts, is `…`."""
    for module in MODULES:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value.replace("%s", "…").replace("%d", "…")


TEXTS = "\n".join(texts())


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 20


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_exist(message: str) -> None:
    for part in filter(None, (part.strip(" ,:;()'") for part in message.split("…"))):
        assert part in TEXTS, part
