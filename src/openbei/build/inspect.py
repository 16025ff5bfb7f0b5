"""Inspect: what a checkpoint's JSON files say that it is. Tensors and the tokenizer are looked at elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from openbei.batch import ScoreActivation
from openbei.build.adapters import refuse_adapters
from openbei.build.architecture import architecture_of
from openbei.build.cross_encoder import predict_decisions
from openbei.build.decisions import (
    head_decisions,
    model_decisions,
    prompt_decisions,
    unread_file_decisions,
    vector_decisions,
)
from openbei.build.json_file import read_json, read_optional
from openbei.build.labels import read_labels
from openbei.build.lm_head import Words, find_words
from openbei.build.modules import SENTENCE_CONFIG, Chain, ModuleStep, read_chain
from openbei.build.sentence_config import SentenceConfig, read_sentence_config
from openbei.build.static_config import static_config
from openbei.build.templates import PairFormat, pair_format, text_template
from openbei.build.tokenizer_file import LoadedTokenizer, load_tokenizer
from openbei.config import DEFAULT_MAX_NUM_TOKENS, Decision, PoolingChoice
from openbei.errors import CheckpointError
from openbei.families import Family, HeadKind, find_family
from openbei.families.computed import Computed
from openbei.prompts import Prompts, TextTemplate
from openbei.spec import (
    EmbeddingHead,
    Head,
    ModelSpec,
    SequenceHead,
    Step,
    TermHead,
    TokenHead,
    TokenTermHead,
)

GENERATES = (
    "an embedding model of its kind is a {0}Model; a reranker that answers with a word becomes a "
    "{0}ForSequenceClassification by `bei convert lm-head`, or in a build with --convert lm-head"
)
"""What the user of a ForCausalLM without pooling is told."""

TRANSFORMER_TASKS: dict[HeadKind, str] = {
    "embedding": "feature-extraction",
    "sequence_labels": "sequence-classification",
    "token_labels": "token-classification",
    "term_weights": "fill-mask",
}
"""`transformer_task` of sentence_bert_config.json."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the JSON files say. `root` is the folder of `config`, the decoded config.json, of weights and tokenizer.

    `module_steps` are the steps of an embedding head, whose tensors are in folders of their own. `words` make a
    generative model a classifier. `pairs` says how a reranker is shown queries and documents, `text_template` how an
    embedding model is shown texts. `max_terms` is how many of a text's terms are kept; `logs_twice` says how their
    weights end.
    """

    root: Path
    family: Family
    kind: HeadKind
    spec: ModelSpec
    config: Mapping[str, Any]
    module_steps: tuple[ModuleStep, ...]
    normalize: bool
    dimensions: int | None
    similarity: str
    max_sequence_tokens: int
    max_num_tokens: int
    tokenizer: LoadedTokenizer
    sentence: SentenceConfig
    labels: tuple[str, ...]
    activation: ScoreActivation
    prompts: Prompts
    words: Words | None
    text_template: TextTemplate | None
    pairs: PairFormat
    max_terms: int | None
    logs_twice: bool
    decisions: tuple[Decision, ...]

    @property
    def computed(self) -> Mapping[str, Computed]:
        """Engine tensors that are computed from several of the checkpoint."""
        return self.family.computed(self.config, self.spec) if hasattr(self.family, "computed") else {}


class _Truncation(msgspec.Struct, frozen=True):
    """How much of a text a tokenizer keeps."""

    max_length: Annotated[int, msgspec.Meta(ge=1)]


class _TokenizerFile(msgspec.Struct, frozen=True):
    """tokenizer.json."""

    truncation: _Truncation | None = None


class _ModelConfig(msgspec.Struct, frozen=True):
    """config_sentence_transformers.json, which sentence-transformers reads where there is a modules.json."""

    prompts: dict[str, str | None] = {}
    default_prompt_name: str | None = None
    similarity_fn_name: str | None = None
    truncate_dim: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_active_dims: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def named_prompts(self, *, are_pooled: bool) -> Prompts:
        """The prompts that are texts."""
        named = {name: text for name, text in self.prompts.items() if text is not None}
        return Prompts(named, self.default_prompt_name, are_pooled)


def inspect_checkpoint(
    folder: Path,
    max_num_tokens: int | None,
    route: str | None = None,
    *,
    converts: bool = False,
    pooling: PoolingChoice | None = None,
) -> Inspection:
    """Read a checkpoint: an embedding or SPLADE model of sentence-transformers, or a classifier.

    `max_num_tokens` None is the default for such a model. `converts` makes a generative reranker a classifier, which
    one with a LogitScore is made in any case. `pooling` is for a checkpoint without modules.json. Raises
    CheckpointError, naming the file.
    """
    chain = read_chain(folder, route, pooling)
    root = chain.root
    refuse_adapters(folder, root)
    static = chain.static_module
    sentence = read_sentence_config(root) if chain.has_modules_json and not static else SentenceConfig()
    config = static_config(root, static) if static else read_json(root / "config.json", dict[str, Any])
    config = {**config, **sentence.config}
    named = architecture_of(config)
    words = find_words(chain, config) if converts or chain.pooling_kind == "LogitScore" else None
    if words:
        config = words.config(config)
    family, kind, spec, labels, activation = _model(folder, chain, config)
    if sentence.transformer_task not in (task := "text-generation" if words else TRANSFORMER_TASKS[kind], None):
        raise CheckpointError(
            f"{sentence.name}: transformer_task is {sentence.transformer_task!r}; {named} is built for {task!r}"
        )
    given = read_optional(folder / SENTENCE_CONFIG, _ModelConfig) if chain.has_modules_json else _ModelConfig()
    prompts = given.named_prompts(are_pooled=kind != "embedding" or chain.pools_prompts() or sentence.is_rendered)
    tokenizer = load_tokenizer(root, config, sentence, is_plain=static == "StaticEmbedding")
    budget, about_budget = _budget(spec, max_num_tokens)
    length, about_length = _sequence_length(root, sentence, tokenizer, spec, budget, static)
    template = text_template(root, tokenizer.settings, sentence) if kind in ("embedding", "term_weights") else None
    pairs = pair_format(chain, config, spec, labels, prompts, tokenizer.settings, sentence, words is not None)
    logs_twice = isinstance(spec.head, TermHead) and chain.takes_log_twice()
    max_terms = given.max_active_dims if spec.task == "sparse" else None
    dimensions = given.truncate_dim if kind == "embedding" and (given.truncate_dim or 0) < spec.output_width else None
    decisions = (
        *([words.decision] if words else []),
        *model_decisions(config, spec, chain, named),
        *chain.decisions,
        *head_decisions(spec.head, chain, labels, words.source if words else "id2label of config.json", activation),
        *(predict_decisions(folder, config, labels, pairs, activation) if kind == "sequence_labels" else ()),
        *vector_decisions(max_terms, logs_twice, dimensions, given.similarity_fn_name),
        about_length,
        *about_budget,
        *prompt_decisions(prompts, spec, pairs),
        *([Decision("chat template", "applied to texts", f"modality_config of {sentence.name}")] if template else []),
        *pairs.decisions,
        *unread_file_decisions(folder, chain),
    )
    return Inspection(
        root, family, kind, spec, config, tuple(chain.steps(spec.hidden_size)) if kind == "embedding" else (),
        chain.normalizes, dimensions, given.similarity_fn_name or "cosine", length, budget, tokenizer, sentence, labels,
        activation, prompts, words, template, pairs, max_terms, logs_twice, decisions,
    )  # fmt: skip


def _model(
    folder: Path, chain: Chain, config: Mapping[str, Any]
) -> tuple[Family, HeadKind, ModelSpec, tuple[str, ...], ScoreActivation]:
    """What config.json and modules.json make of the model: its family, head and spec, a classifier's labels."""
    architecture = architecture_of(config)
    family, kinds = find_family(architecture, config)
    kind = _head_kind(folder, chain, architecture, kinds)
    labels, activation = read_labels(config) if kind in ("sequence_labels", "token_labels") else ((), "none")
    spec = family.parse(config, _head(kind, chain, family.steps(config, kind), len(labels)))
    if isinstance(spec.head, EmbeddingHead):
        steps = tuple(module.step for module in chain.steps(spec.hidden_size))
        spec = msgspec.structs.replace(spec, head=msgspec.structs.replace(spec.head, steps=steps or spec.head.steps))
    return family, kind, spec, labels, activation


def _head_kind(folder: Path, chain: Chain, architecture: str, kinds: tuple[HeadKind, ...]) -> HeadKind:
    """What to build, of what the architecture allows."""
    path = folder / "modules.json"
    if chain.static_module:
        return kinds[0]
    if chain.pooling_kind in (None, "LogitScore"):
        if kinds[0] in ("sequence_labels", "token_labels"):
            return kinds[0]
        if architecture.endswith("ForCausalLM"):
            beginning = architecture.removesuffix("ForCausalLM")
            raise CheckpointError(
                f"{architecture} generates text, and {path} does not say how to pool it",
                hint=GENERATES.format(beginning),
            )
        raise CheckpointError(
            f"{path} {'has no pooling' if path.exists() else 'does not exist'}; {architecture} needs it",
            hint=_pooling_hint(folder, kinds),
        )
    kind: HeadKind = "term_weights" if chain.pooling_kind == "SpladePooling" else "embedding"
    if kind not in kinds:
        raise CheckpointError(f"{path} has the module {chain.pooling_kind}; {architecture} cannot be pooled so")
    return kind


def _pooling_hint(folder: Path, kinds: tuple[HeadKind, ...]) -> str:
    """The command that builds a checkpoint without modules.json."""
    ways = "--pooling mean, cls or last_token: the one it was trained with"
    if "term_weights" in kinds:
        return f"for SPLADE: bei build {folder} --pooling splade; for an embedding model {ways}"
    return f"bei build {folder} {ways}; a reranker's config.json names a …ForSequenceClassification"


def _head(kind: HeadKind, chain: Chain, steps: tuple[Step, ...], num_labels: int) -> Head:
    if kind == "token_labels":
        return TokenHead(num_labels=num_labels, steps=steps)
    if kind == "sequence_labels":
        return SequenceHead(num_labels=num_labels, steps=steps)
    if kind == "embedding":
        return EmbeddingHead(poolings=chain.poolings())
    return TokenTermHead() if chain.static_module else TermHead(steps=steps)


def _budget(spec: ModelSpec, given: int | None) -> tuple[int, tuple[Decision, ...]]:
    """Tokens of a batch, and what there is to tell where the config does not say."""
    if given is not None:
        return given, ()
    base_model = "encoder" if spec.attention.is_causal else "encoder_bert"
    budget = DEFAULT_MAX_NUM_TOKENS[base_model]
    return budget, (Decision("max_num_tokens", str(budget), f"the default of {base_model}"),)


def _sequence_length(
    root: Path,
    sentence: SentenceConfig,
    tokenizer: LoadedTokenizer,
    spec: ModelSpec,
    max_num_tokens: int,
    table: str | None,
) -> tuple[int, Decision]:
    """The longest sequence, and what limits it."""
    limits: dict[str, float] = {"max_position_embeddings of config.json": spec.positions.max_positions}
    limits["max_num_tokens, the token budget of a batch"] = max_num_tokens
    if sentence.max_seq_length is not None:
        limits[f"max_seq_length of {sentence.name}"] = sentence.max_seq_length
    elif table == "StaticEmbedding":  # which goes by the tokenizer's file alone
        if truncation := read_optional(root / "tokenizer.json", _TokenizerFile).truncation:
            limits["truncation of tokenizer.json"] = truncation.max_length
    elif (length := tokenizer.max_length) is not None:
        limits["model_max_length of tokenizer_config.json"] = length
    source = min(limits, key=lambda name: limits[name])
    return int(limits[source]), Decision("max_sequence_tokens", str(int(limits[source])), source)
