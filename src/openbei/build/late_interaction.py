"""Late interaction (ColBERT): how a checkpoint reads queries and documents, and its projection of tokens.

There are three layouts: PyLate, with its settings in config_sentence_transformers.json; Stanford's ColBERT, with the
architecture HF_ColBERT and artifact.metadata; and MultiVectorEncoder of sentence-transformers, with the settings in
sentence_bert_config.json and the module MultiVectorMask.
"""

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from openbei.attention_bias import Disentangled
from openbei.build.json_file import read_json, read_optional
from openbei.build.modules import (
    MASK,
    SENTENCE_CONFIG,
    Chain,
    ModuleStep,
    TokenDenseConfig,
    TokenNormalizeConfig,
    dense_step,
)
from openbei.build.sentence_config import SentenceConfig, sentence_config_file
from openbei.build.tokenizer_file import LoadedTokenizer
from openbei.build.tokenizer_settings import text_of
from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.families import COLBERT
from openbei.families.fields import Size
from openbei.late_interaction import LateInteraction
from openbei.spec import Dense, ModelSpec, Step, UnitNorm

METADATA = "artifact.metadata"
"""The settings of Stanford's ColBERT."""

PUNCTUATION = tuple(string.punctuation)
"""The default of tokens of documents that have no vector."""


class PyLateConfig(msgspec.Struct, frozen=True):
    """PyLate's keys of config_sentence_transformers.json, with the defaults of pylate.models.ColBERT."""

    query_prefix: str | None = None
    document_prefix: str | None = None
    query_length: Size | None = None
    document_length: Size | None = None
    do_query_expansion: bool | None = None
    attend_to_expansion_tokens: bool | None = None
    skiplist_words: tuple[str, ...] | None = None


class _Metadata(msgspec.Struct, frozen=True):
    """artifact.metadata, with the defaults of ColBERTConfig; other keys are about training and indexing."""

    query_token_id: str = "[unused0]"  # noqa: S105
    doc_token_id: str = "[unused1]"  # noqa: S105
    query_maxlen: Size = 32
    doc_maxlen: Size = 220
    dim: Size = 128
    mask_punctuation: bool = True
    attend_to_mask_tokens: bool = False
    similarity: Literal["cosine"] = "cosine"
    interaction: Literal["colbert"] = "colbert"


class Expansion(msgspec.Struct, frozen=True):
    """Queries are expanded to `length` tokens; `token` None is the mask token. With `fixed`, longer ones are truncated.

    `attend` says whether the other tokens attend to the added ones. It is `query_expansion` of sentence-transformers.
    """

    length: Size
    attend: bool = False
    strategy: Literal["fixed", "min"] = "fixed"
    token: str | None = None


class _TransformerConfig(msgspec.Struct, frozen=True):
    """Keys of sentence_bert_config.json that apply to queries or documents."""

    query_length: Size | None = None
    document_length: Size | None = None
    query_expansion: Expansion | None = None


class MaskConfig(msgspec.Struct, frozen=True):
    """config.json of a MultiVectorMask."""

    skiplist_words: tuple[str, ...] = ()
    skiplist_tasks: tuple[Literal["document"]] | Literal["document"] | None = None
    keep_only_token_ids: tuple[()] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LateSettings:
    """The settings of a checkpoint, which are in the file `source`; lengths None are those of the model.

    `dimensions` is the output size of a projection whose weight is among the checkpoint's tensors.
    """

    source: str
    query_length: int | None = None
    document_length: int | None = None
    query_marker: str = ""
    document_marker: str = ""
    expansion: Expansion | None = None
    skipped_words: tuple[str, ...] = ()
    dimensions: int | None = None

    def length(self, sentence: SentenceConfig) -> int | None:
        """The length of the longest queries and documents; None for the model's."""
        lengths = (self.query_length or sentence.max_seq_length, self.document_length or sentence.max_seq_length)
        return None if None in lengths else max(length or 0 for length in lengths)

    def without_markers(self, prompts: Mapping[str, str | None]) -> dict[str, str | None]:
        """The prompts without markers, which sentence-transformers puts before them."""
        markers = {"query": self.query_marker, "document": self.document_marker}
        return {name: text and text.removeprefix(markers.get(name, "")) for name, text in prompts.items()}


def read_late_settings(folder: Path, chain: Chain, architecture: str) -> LateSettings | None:
    """The settings of a checkpoint for late interaction; None for others. Raises CheckpointError."""
    if chain.is_late_interaction:
        mask = next((module for module in chain.after if module.kind == MASK), None)
        return _multi_vector(chain, read_json(mask.folder / "config.json", MaskConfig)) if mask else _pylate(folder)
    return _stanford(folder) if architecture == COLBERT else None


def _pylate(folder: Path) -> LateSettings:
    config = read_optional(folder / SENTENCE_CONFIG, PyLateConfig)
    length = config.query_length or 32
    expands = config.do_query_expansion is not False
    return LateSettings(
        source=SENTENCE_CONFIG,
        query_length=length,
        document_length=config.document_length or 180,
        query_marker="[Q] " if config.query_prefix is None else config.query_prefix,
        document_marker="[D] " if config.document_prefix is None else config.document_prefix,
        expansion=Expansion(length, bool(config.attend_to_expansion_tokens)) if expands else None,
        skipped_words=PUNCTUATION if config.skiplist_words is None else config.skiplist_words,
    )


def _stanford(folder: Path) -> LateSettings:
    given = read_optional(folder / METADATA, dict[str, Any])
    try:
        metadata = msgspec.convert({key: value for key, value in given.items() if value is not None}, _Metadata)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{folder / METADATA}: {error}") from error
    return LateSettings(
        source=METADATA,
        query_length=metadata.query_maxlen,
        document_length=metadata.doc_maxlen,
        query_marker=metadata.query_token_id,
        document_marker=metadata.doc_token_id,
        expansion=Expansion(metadata.query_maxlen, metadata.attend_to_mask_tokens),
        skipped_words=PUNCTUATION if metadata.mask_punctuation else (),
        dimensions=metadata.dim,
    )


def _multi_vector(chain: Chain, mask: MaskConfig) -> LateSettings:
    path = sentence_config_file(chain.root)
    config = read_json(path, _TransformerConfig) if path else _TransformerConfig()
    expansion, length = config.query_expansion, config.query_length
    if expansion:
        length = expansion.length if expansion.strategy == "fixed" else max(length or 0, expansion.length)
    return LateSettings(
        source=path.name if path else "sentence_bert_config.json",
        query_length=length,
        document_length=config.document_length,
        expansion=expansion,
        skipped_words=mask.skiplist_words,
    )


def module_steps(settings: LateSettings, chain: Chain, hidden_size: int) -> Iterator[ModuleStep]:
    """The steps from a token's row to its vector, with the tensors in the modules' folders. Raises CheckpointError."""
    if settings.dimensions is not None:
        yield ModuleStep(Dense(out_features=settings.dimensions), chain.root, {})
    width = hidden_size
    for module in chain.after:
        path = module.folder / "config.json"
        if module.kind == "Dense":
            step = dense_step(module, read_json(path, TokenDenseConfig), width)
            width = step.step.out_features if isinstance(step.step, Dense) else width
            yield step
        elif module.kind == "Normalize":
            read_json(path, TokenNormalizeConfig)
            yield ModuleStep(UnitNorm(), module.folder, {})
    if not any(module.kind == MASK for module in chain.after):  # PyLate and Stanford's ColBERT always normalize
        yield ModuleStep(UnitNorm(), chain.root, {})


def resolve(
    settings: LateSettings, loaded: LoadedTokenizer, spec: ModelSpec, sentence: SentenceConfig, longest: int
) -> LateInteraction:
    """The settings with token ids, for sequences of at most `longest` tokens. Raises CheckpointError."""
    expansion_id = _expansion_id(settings, loaded)
    expansion = settings.expansion
    if sentence.is_rendered:
        raise CheckpointError(f"{sentence.name}: chat templates are not supported for late interaction")
    if expansion and not expansion.attend and (isinstance(spec.attention.bias, Disentangled) or spec.convolution):
        raise CheckpointError(
            f"{settings.source}: queries are expanded with tokens that are not attended to; {spec.family} does not "
            "support it"
        )
    _check_special_tokens(settings, loaded)
    ids = (loaded.tokenizer.token_to_id(word) for word in settings.skipped_words)
    unknown = _named_id(loaded, "unk_token")
    return LateInteraction(
        query_length=min(settings.query_length or longest, longest),
        document_length=min(settings.document_length or longest, longest),
        query_marker=_marker_id(settings, settings.query_marker, loaded),
        document_marker=_marker_id(settings, settings.document_marker, loaded),
        expansion_id=expansion_id,
        expanded_length=min(expansion.length, longest) if expansion else 0,
        skipped_ids=tuple(sorted({token_id for token_id in ids if token_id is not None and token_id != unknown})),
    )


def _expansion_id(settings: LateSettings, loaded: LoadedTokenizer) -> int | None:
    """The id of the token that queries are expanded with: of the settings, or the mask token, or else EOS."""
    if settings.expansion is None:
        return None
    if loaded.settings.get("padding_side", str, "right") != "right":
        raise CheckpointError("tokenizer_config.json: padding_side is 'left'; queries are only expanded on the right")
    given = settings.expansion.token
    named = (_named_id(loaded, name) for name in ("mask_token", "eos_token"))
    found = loaded.tokenizer.token_to_id(given) if given else next((one for one in named if one is not None), None)
    if found is None:
        what = repr(given) if given else "mask_token or eos_token"
        raise CheckpointError(f"{settings.source}: queries are expanded with {what}, but the tokenizer has none")
    return int(found)


def _named_id(loaded: LoadedTokenizer, name: str) -> int | None:
    token = loaded.settings.special.get(name)
    return loaded.tokenizer.token_to_id(text_of(token)) if token else None


def _marker_id(settings: LateSettings, marker: str, loaded: LoadedTokenizer) -> int | None:
    if not marker:
        return None
    ids = (loaded.tokenizer.token_to_id(text) for text in (marker, marker.strip()))
    if (found := next((token_id for token_id in ids if token_id is not None), None)) is None:
        raise CheckpointError(
            f"{settings.source}: the marker {marker!r} is not a token of the tokenizer",
            hint="PyLate would add it with random numbers; save the model with PyLate once",
        )
    return found


def _check_special_tokens(settings: LateSettings, loaded: LoadedTokenizer) -> None:
    """Raise CheckpointError unless a marker follows a special token, and a special token ends the text of a query."""
    is_special = loaded.tokenizer.encode("a").special_tokens_mask
    if (settings.query_marker or settings.document_marker) and is_special[:2] != [1, 0]:
        raise CheckpointError("tokenizer.json: a text must have one special token before it, which a marker can follow")
    if settings.expansion and not settings.expansion.attend and not is_special[-1]:
        raise CheckpointError("tokenizer.json: a query that is expanded must end with a special token")


def late_decisions(
    settings: LateSettings, late: LateInteraction, steps: tuple[Step, ...], similarity: str
) -> Iterator[Decision]:
    """Lines of the build report."""
    dense = " and ".join(f"dense to {step.out_features}" for step in steps if isinstance(step, Dense))
    ends = "normalized" if any(isinstance(step, UnitNorm) for step in steps) else "not normalized"
    yield Decision("vectors of tokens", f"{dense}; {ends}" if dense else ends, settings.source)
    queries = f"{late.query_length} tokens"
    if expansion := settings.expansion:
        attended = "attended to" if expansion.attend else "not attended to"
        queries += f", expanded to {late.expanded_length} with token {late.expansion_id}, {attended}"
    markers = f"{settings.query_marker.strip() or 'none'} and {settings.document_marker.strip() or 'none'}"
    yield Decision("queries", queries, settings.source)
    documents = f"{late.document_length} tokens; {len(late.skipped_ids)} words of the vocabulary have no vector"
    yield Decision("documents", documents, settings.source)
    yield Decision("markers", markers, settings.source)
    yield Decision("scores", similarity, f"similarity_fn_name of {SENTENCE_CONFIG}, or the default")


def projected(spec: ModelSpec, steps: tuple[ModuleStep, ...], settings: LateSettings) -> ModelSpec:
    """The spec of a model with vectors of tokens; a projection among the checkpoint's tensors has no bias.

    Raises CheckpointError without any step.
    """
    if not steps:
        raise CheckpointError("modules.json has neither Dense nor Normalize; vectors of tokens need one of them")
    head = msgspec.structs.replace(spec.head, steps=tuple(module.step for module in steps))
    unbiased: dict[str, Any] = {}
    if settings.dimensions is not None:
        unbiased["linears_without_bias"] = (*spec.linears_without_bias, "head.0.dense")
    return msgspec.structs.replace(spec, head=head, **unbiased)
