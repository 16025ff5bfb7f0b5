"""How texts are shown to the model: by the checkpoint's chat template where sentence-transformers renders it.

An embedding model's texts go through it if the sentence config has the modality "message"; a reranker's pairs as well,
or where there is no modules.json and the template has places for a query and a document.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from openbei.build.architecture import architecture_of
from openbei.build.chat_template import find_chat_template, message, render
from openbei.build.modules import Chain
from openbei.build.sentence_config import SentenceConfig
from openbei.build.tokenizer_settings import TokenizerSettings
from openbei.build.wrapping import around
from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.prompts import OF_ARCHITECTURE, SCORE_TEMPLATES, Prompts, ScoreTemplate, TextTemplate
from openbei.spec import ModelSpec, SequenceHead

ROLES = {"prompt": "system", "instruction": "system", "query": "query", "document": "document", "text": "user"}
"""Place -> the role of its message, as sentence-transformers names them."""

PROMPTS = "none: send whole prompts to /predict"
HALVES = f"{PROMPTS}, or the halves of one to /rerank, which reads the query and then the text"


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The chat template of a checkpoint, "" if it has none, and how it is rendered."""

    source: str
    settings: TokenizerSettings
    sentence: SentenceConfig

    def render(self, texts: Sequence[Mapping[str, str]]) -> list[str]:
        """Conversations of texts by their place, each a message, as text. Raises CheckpointError."""
        message_format = self.sentence.message_format or "auto"
        conversations = [
            [message(ROLES[place], text, self.source, message_format) for place, text in given.items()]
            for given in texts
        ]
        return render(self.source, conversations, self.settings, self.sentence.chat_template)


def text_template(root: Path, settings: TokenizerSettings, sentence: SentenceConfig) -> TextTemplate | None:
    """What is put around the texts of an embedding model. Raises CheckpointError where that cannot be told."""
    if sentence.message_format is None:
        return None
    chat = ChatTemplate(find_chat_template(root, settings), settings, sentence)
    if not chat.source:
        raise CheckpointError(f"{sentence.name}: modality_config has message; the checkpoint has no chat template")
    before, after, strips = around(chat.render, ("text",))
    before_prompted, after_prompted, strips_prompted = around(chat.render, ("prompt", "text"))
    if strips != strips_prompted:
        raise CheckpointError("the chat template strips texts only with a system message, or only without one")
    return TextTemplate(before, after, before_prompted, after_prompted, strips)


@dataclass(frozen=True, slots=True)
class Pairs:
    """How a reranker is shown pairs; `is_unknown` where it has a template of its own that cannot be followed."""

    template: ScoreTemplate | None = None
    is_unknown: bool = False
    decisions: tuple[Decision, ...] = ()


def pairs_of(
    chain: Chain,
    config: Mapping[str, Any],
    spec: ModelSpec,
    labels: tuple[str, ...],
    prompts: Prompts,
    settings: TokenizerSettings,
    sentence: SentenceConfig,
    is_converted: bool,
) -> Pairs:
    """The template for pairs, and what was decided about it; `is_converted` if labels are words of a generative one."""
    architecture = architecture_of(config)
    has_one, known = spec.task == "reranker", SCORE_TEMPLATES.get((spec.family, labels))
    if not isinstance(spec.head, SequenceHead) or not (has_one or known or (is_converted and len(labels) == 2)):
        return Pairs()
    chat = ChatTemplate(find_chat_template(chain.root, settings), settings, sentence)
    names_document = re.search(r"""["']document["']""", chat.source.replace("\\", "")) is not None
    if sentence.message_format is not None or (names_document and not chain.is_listed):
        return _own(chat, prompts, has_one)
    if known is None and has_one:
        known = OF_ARCHITECTURE.get(architecture)
    if known is None:
        unsaid = Decision(
            "score template", HALVES if has_one else PROMPTS, "nothing in the checkpoint says how a pair is shown"
        )
        return Pairs(decisions=(unsaid,) if has_one and spec.attention.is_causal else ())
    named = f"{architecture} with one label" if has_one else f"family {spec.family} with the labels {', '.join(labels)}"
    if known.is_instructed and (instruction := prompts.find(None)):
        known = msgspec.structs.replace(known, instruction=instruction)
        return Pairs(
            known, decisions=(Decision("score template", "applied at /rerank, with the default prompt", named),)
        )
    return Pairs(known, decisions=(Decision("score template", "applied at /rerank", named),))


def _own(chat: ChatTemplate, prompts: Prompts, has_one: bool) -> Pairs:
    """The checkpoint's own template."""
    try:
        plain, suffix, strips = around(chat.render, ("query", "document"))
        prefix, instructed_suffix, _ = around(chat.render, ("instruction", "query", "document"))
        if "{query}" not in plain:
            raise CheckpointError("the chat template does not show the query")
        if suffix != instructed_suffix:
            raise CheckpointError("the chat template ends in another way where there is a system message")
    except CheckpointError as error:
        refused = Decision("score template", f"{PROMPTS}; /rerank is refused", error.message, is_warning=True)
        return Pairs(None, is_unknown=True, decisions=(refused,))
    instruction = prompts.find(None) if "{instruction}" in prefix else ""
    template = ScoreTemplate(
        prefix, suffix, positive=0 if has_one else 1, instruction=instruction, plain_prefix=plain, strips=strips,
        adds_special_tokens=False,
    )  # fmt: skip
    how = "applied at /rerank" + (", with the default prompt" if instruction else "")
    return Pairs(template, decisions=(Decision("score template", how, "the checkpoint's chat template"),))
