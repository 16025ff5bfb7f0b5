"""The table of generated parts: page -> name of the part -> function that renders it. And how a page is updated."""

from collections.abc import Callable, Mapping

from tools.reference import architectures, command_line, configuration, environment

Parts = Mapping[str, Callable[[], str]]

PAGES: dict[str, Parts] = {
    "docs/cli.md": {"commands": command_line.commands, "variables": environment.variables},
    "docs/configuration.md": {
        "honoured": configuration.honoured,
        "without effect": configuration.without_effect,
        "refused": configuration.refused,
    },
    "docs/models.md": {"architectures": architectures.architectures},
}


def updated(text: str, parts: Parts) -> str:
    """A page with its generated parts replaced. Raises ValueError if a marker is missing."""
    for name, render in parts.items():
        begin, end = f"<!-- generated: {name}: begin -->\n", f"<!-- generated: {name}: end -->"
        if begin not in text or end not in text:
            raise ValueError(f"the page has no markers for {name!r}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{render()}\n{end}{rest.partition(end)[2]}"
    return text
