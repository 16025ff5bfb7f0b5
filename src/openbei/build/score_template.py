"""The score template of a reranker that was made of a generative model: ours, unless the checkpoint's is another."""

import re
from pathlib import Path

import msgspec

from openbei.build.json_file import read_optional
from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.prompts import OF_ARCHITECTURE, SCORE_TEMPLATES, Prompts, ScoreTemplate
from openbei.spec import ModelSpec

CHAT_TEMPLATE = "chat_template.jinja"
PROMPTS = "none: send whole prompts to /predict"
HALVES = f"{PROMPTS}, or the halves of one to /rerank, which reads the query and then the text"


class _TokenizerConfig(msgspec.Struct, frozen=True):
    """tokenizer_config.json; several templates are a list of them by name."""

    chat_template: str | list[dict[str, str]] | None = None


def score_template(
    root: Path, architecture: str, spec: ModelSpec, labels: tuple[str, ...], prompts: Prompts
) -> tuple[ScoreTemplate | None, list[Decision]]:
    """The template for an architecture and its labels, and what was decided about it.

    sentence-transformers renders the checkpoint's chat template for query and document, with the default prompt as
    the instruction. Templates are not run here: ours is used if that one says the same, and otherwise none.
    """
    own = _chat_template(root).replace("\\", "")  # as quotes are written in strings of a template
    named, has_one = f"family {spec.family} with the labels {', '.join(labels)}", spec.task == "reranker"
    template = SCORE_TEMPLATES.get((spec.family, labels))
    if has_one:
        known = (one for (family, _), one in SCORE_TEMPLATES.items() if family == spec.family and one.gist in own)
        template, named = OF_ARCHITECTURE.get(architecture) or next(known, None), f"{architecture} with one label"
    none = HALVES if has_one else PROMPTS
    if re.search(r"""["']document["']""", own) and not (template and template.gist in own):
        shows = f"{CHAT_TEMPLATE} or tokenizer_config.json shows pairs in a way of its own"
        return None, [Decision("score template", none, shows)]
    if template is None:
        unsaid = [Decision("score template", none, "nothing in the checkpoint says how a pair is shown")]
        return None, unsaid if has_one and spec.attention.is_causal else []
    if template.is_instructed and (instruction := prompts.find(None)):
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
