"""The score template of a reranker that was made of a generative model: ours, unless the checkpoint's is another."""

import re
from pathlib import Path

import msgspec

from openbei.build.json_file import read_optional
from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.prompts import SCORE_TEMPLATES, Prompts, ScoreTemplate

CHAT_TEMPLATE = "chat_template.jinja"


class _TokenizerConfig(msgspec.Struct, frozen=True):
    """tokenizer_config.json; several templates are a list of them by name."""

    chat_template: str | list[dict[str, str]] | None = None


def score_template(
    root: Path, family: str, labels: tuple[str, ...], prompts: Prompts
) -> tuple[ScoreTemplate | None, list[Decision]]:
    """The template for a family and its labels, and what was decided about it.

    sentence-transformers renders the checkpoint's chat template for query and document, with the default prompt as
    the instruction. Templates are not run here: ours is used if that one says the same, and otherwise none.
    """
    template = SCORE_TEMPLATES.get((family, labels))
    own = _chat_template(root).replace("\\", "")  # as quotes are written in strings of a template
    if re.search(r"""["']document["']""", own) and not (template and template.gist in own):
        shows = f"{CHAT_TEMPLATE} or tokenizer_config.json shows pairs in a way of its own"
        return None, [Decision("score template", "none: send whole prompts to /predict", shows)]
    if template is None:
        return None, []
    named = f"family {family} with the labels {', '.join(labels)}"
    if instruction := prompts.find(None):
        return msgspec.structs.replace(template, instruction=instruction), [
            Decision("score template", "applied at /rerank, the default prompt as its instruction", named)
        ]
    return template, [Decision("score template", "applied at /rerank", named)]


def _chat_template(root: Path) -> str:
    path = root / CHAT_TEMPLATE
    try:
        if path.is_file():
            return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not text: {error}") from error
    found = read_optional(root / "tokenizer_config.json", _TokenizerConfig).chat_template or ""
    return found if isinstance(found, str) else "\n".join(one.get("template", "") for one in found)
