"""The prefix and suffix that a chat template adds to a text, found by rendering it with markers."""

from collections.abc import Callable, Mapping, Sequence

from openbei.errors import CheckpointError
from openbei.prompts import fill

MARKERS = {name: f"uvqz{name}" for name in ("prompt", "instruction", "query", "text", "document")}
"""Placeholder -> a text that does not occur in templates."""

PROBES = {name: f"\n {text} {{x}} 'q' \"d\" <b> é東 \\ \t\n" for name, text in MARKERS.items()}
"""Placeholder -> a text that a template could escape or strip."""

Render = Callable[[Sequence[Mapping[str, str]]], list[str]]
"""Renders conversations, each a mapping of placeholder -> text."""


def find_wrapping(render: Render, names: Sequence[str]) -> tuple[str, str, bool]:
    """The text before and after the last placeholder, with `{name}` for the others, and whether texts are stripped.

    Raises CheckpointError if the template does not include the last placeholder exactly once and after the others, or
    changes texts in another way than stripping them.
    """
    *others, last = names
    markers, probes = ({name: texts[name] for name in names} for texts in (MARKERS, PROBES))
    rendered_markers, rendered_probes = render([markers, probes])
    parts = rendered_markers.split(markers[last])
    if len(parts) != 2:
        raise CheckpointError(f"the chat template includes the {last} {len(parts) - 1} times; it must be once")
    before, after = parts
    for name in others:
        if markers[name] in after:
            raise CheckpointError(f"the chat template includes the {name} after the {last}")
        before = before.replace(markers[name], f"{{{name}}}")
    for strips in (False, True):
        texts = {name: text.strip() if strips else text for name, text in probes.items()}
        if rendered_probes == fill(before, texts) + texts[last] + after:
            return before, after, strips
    raise CheckpointError("the chat template modifies texts")
