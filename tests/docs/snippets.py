"""The fenced code blocks of a page, with what its HTML comments say about running them.

<!-- snippet: server=reranker -->    the following blocks use a server of this task, until the next such comment
<!-- snippet: not run: REASON -->    the next block is not run
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = re.compile(
    r"^<!-- snippet: (?P<directive>.+?) -->$|^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
RUN = ("bash", "python", "js")
NOT_RUN = "not run: "
SERVER = "server="


@dataclass(frozen=True)
class Snippet:
    """One block to run. `output` is the ```text block after it, if there is one; `server` the task of its server."""

    language: str
    code: str
    server: str | None
    output: str | None


def snippets(page: str) -> Iterator[Snippet]:
    """The blocks of a page that are run, in order. Raises ValueError for an unknown directive."""
    server, is_run = None, True
    waiting: Snippet | None = None
    for found in FENCE.finditer(page):
        directive, language, code = found["directive"], found["language"], found["code"]
        if language == "text":
            if waiting:
                yield Snippet(waiting.language, waiting.code, waiting.server, code)
            waiting = None
            continue
        if waiting:
            yield waiting
            waiting = None
        if directive is not None:
            if directive.startswith(NOT_RUN):
                is_run = False
            elif directive.startswith(SERVER):
                server = directive.removeprefix(SERVER)
            else:
                raise ValueError(f"unknown directive: {directive}")
        elif language in RUN:
            if is_run:
                waiting = Snippet(language, code, server, None)
            is_run = True
    if waiting:
        yield waiting


def matches(expected: str, actual: str) -> bool:
    """Whether every line of `expected` is in `actual`, in order; `…` stands for anything, a number for any number."""
    lines = (_pattern(line) for line in expected.splitlines() if line.strip() not in ("", "…"))
    rest = iter([" ".join(line.split()) for line in actual.splitlines()])
    return all(any(line.fullmatch(found) for found in rest) for line in lines)


def _pattern(line: str) -> re.Pattern[str]:
    words = re.escape(" ".join(line.split())).replace(r"\ ", " ")
    anything = words.replace("…", ".*")
    return re.compile(re.sub(r"\d[\d,]*(\\\.\d+)?", r"[\\d,.]+", anything))
