"""Chat templates as data: text templates of embedding models, and score templates of rerankers.

As in sentence-transformers, texts are rendered by the chat template if sentence_bert_config.json has the modality
"message". A reranker's template is also used without a modules.json if it mentions a document.
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
from openbei.build.wrapping import find_wrapping
from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.prompts import SCORE_TEMPLATES, TEMPLATE_OF_ARCHITECTURE, Prompts, ScoreTemplate, TextTemplate
from openbei.spec import ModelSpec, SequenceHead

ROLES = {"prompt": "system", "instruction": "system", "query": "query", "document": "document", "text": "user"}
"""Placeholder -> role of its message in sentence-transformers."""

PREDICT_ONLY = "none: send complete prompts to /predict"
PREDICT_OR_RERANK = f"{PREDICT_ONLY}, or to /rerank in two parts, as query and text"


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A checkpoint's chat template, "" if it has none, and the settings for rendering it."""

    source: str
    settings: TokenizerSettings
    sentence: SentenceConfig

    def render(self, texts: Sequence[Mapping[str, str]]) -> list[str]:
        """Render conversations, each a mapping of placeholder -> text of the message. Raises CheckpointError."""
        message_format = self.sentence.message_format or "auto"
        conversations = [
            [message(ROLES[placeholder], text, self.source, message_format) for placeholder, text in messages.items()]
            for messages in texts
        ]
        return render(self.source, conversations, self.settings, self.sentence.chat_template)


def text_template(root: Path, settings: TokenizerSettings, sentence: SentenceConfig) -> TextTemplate | None:
    """The template of an embedding model, or None. Raises CheckpointError if it is not a plain prefix and suffix."""
    if sentence.message_format is None:
        return None
    chat = ChatTemplate(find_chat_template(root, settings), settings, sentence)
    if not chat.source:
        raise CheckpointError(f"{sentence.name}: modality_config has message, but the checkpoint has no chat template")
    before, after, strips = find_wrapping(chat.render, ("text",))
    before_prompted, after_prompted, strips_prompted = find_wrapping(chat.render, ("prompt", "text"))
    if strips != strips_prompted:
        raise CheckpointError("the chat template strips texts with a system message but not without, or vice versa")
    return TextTemplate(before, after, before_prompted, after_prompted, strips)


@dataclass(frozen=True, slots=True)
class PairFormat:
    """A reranker's template for pairs; `is_unsupported` if the checkpoint has one that is not supported."""

    template: ScoreTemplate | None = None
    is_unsupported: bool = False
    decisions: tuple[Decision, ...] = ()


def pair_format(
    chain: Chain,
    config: Mapping[str, Any],
    spec: ModelSpec,
    labels: tuple[str, ...],
    prompts: Prompts,
    settings: TokenizerSettings,
    sentence: SentenceConfig,
    is_converted: bool,
) -> PairFormat:
    """The template for pairs, with the report; `is_converted` if the labels are words of a generative reranker."""
    architecture = architecture_of(config)
    has_one_label, template = spec.task == "reranker", SCORE_TEMPLATES.get((spec.family, labels))
    is_candidate = has_one_label or template or (is_converted and len(labels) == 2)
    if not isinstance(spec.head, SequenceHead) or not is_candidate:
        return PairFormat()
    chat = ChatTemplate(find_chat_template(chain.root, settings), settings, sentence)
    has_document = re.search(r"""["']document["']""", chat.source.replace("\\", "")) is not None
    if sentence.message_format is not None or (has_document and not chain.has_modules_json):
        return _from_chat_template(chat, prompts, has_one_label)
    if template is None and has_one_label:
        template = TEMPLATE_OF_ARCHITECTURE.get(architecture)
    if template is None:
        decision = PREDICT_OR_RERANK if has_one_label else PREDICT_ONLY
        missing = Decision("score template", decision, "the checkpoint does not define one")
        return PairFormat(decisions=(missing,) if has_one_label and spec.attention.is_causal else ())
    if has_one_label:
        reason = f"{architecture} with one label"
    else:
        reason = f"family {spec.family} with the labels {', '.join(labels)}"
    usage = "applied at /rerank"
    if template.is_instructed and (instruction := prompts.find(None)):
        template = msgspec.structs.replace(template, instruction=instruction)
        usage += ", with the default prompt"
    return PairFormat(template, decisions=(Decision("score template", usage, reason),))


def _from_chat_template(chat: ChatTemplate, prompts: Prompts, has_one_label: bool) -> PairFormat:
    try:
        plain, suffix, strips = find_wrapping(chat.render, ("query", "document"))
        prefix, instructed_suffix, _ = find_wrapping(chat.render, ("instruction", "query", "document"))
        if "{query}" not in plain:
            raise CheckpointError("the chat template does not include the query")
        if suffix != instructed_suffix:
            raise CheckpointError("the chat template has a different suffix with a system message")
    except CheckpointError as error:
        refused = Decision("score template", f"{PREDICT_ONLY}; /rerank is refused", error.message, is_warning=True)
        return PairFormat(None, is_unsupported=True, decisions=(refused,))
    instruction = prompts.find(None) if "{instruction}" in prefix else ""
    template = ScoreTemplate(
        prefix,
        suffix,
        positive=0 if has_one_label else 1,
        instruction=instruction,
        plain_prefix=plain,
        strips=strips,
        adds_special_tokens=False,
    )
    usage = "applied at /rerank" + (", with the default prompt" if instruction else "")
    return PairFormat(template, decisions=(Decision("score template", usage, "the checkpoint's chat template"),))
