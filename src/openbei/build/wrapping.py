"""What a chat template puts around texts, found by rendering it: as data, if a text's place is all that changes."""

from collections.abc import Callable, Mapping, Sequence

from openbei.errors import CheckpointError
from openbei.prompts import fill

PLAIN = {name: f"uvqz{name}" for name in ("prompt", "instruction", "query", "text", "document")}
"""Texts that no template has, by the name of their place."""

ODD = {name: f"\n {text} {{x}} 'q' \"d\" <b> é東 \\ \t\n" for name, text in PLAIN.items()}
"""The same with what a template could escape or strip."""

Render = Callable[[Sequence[Mapping[str, str]]], list[str]]
"""Renders conversations of such texts, each by its place."""


def around(render: Render, places: Sequence[str]) -> tuple[str, str, bool]:
    """What stands before and after the last place, `{place}` for the others in it, and whether ends are stripped.

    Raises CheckpointError for a template that leaves the last place out, has it twice or before another, or changes
    texts in another way.
    """
    *others, last = places
    plain, odd = ({place: texts[place] for place in places} for texts in (PLAIN, ODD))
    shown, found = render([plain, odd])
    pieces = shown.split(plain[last])
    if len(pieces) != 2:
        raise CheckpointError(f"the chat template shows the {last} {len(pieces) - 1} times, which must be once")
    before, after = pieces
    for place in others:
        if plain[place] in after:
            raise CheckpointError(f"the chat template shows the {place} after the {last}")
        before = before.replace(plain[place], f"{{{place}}}")
    for strips in (False, True):
        given = {place: text.strip() if strips else text for place, text in odd.items()}
        if found == fill(before, given) + given[last] + after:
            return before, after, strips
    raise CheckpointError("the chat template changes texts, not only what stands around them")
