"""Inspect: what a checkpoint's JSON files say that it is. Tensors and the tokenizer are looked at elsewhere."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from openbei.build.architecture import architecture_of
from openbei.build.cross_encoder import about_predict
from openbei.build.json_file import read_json, read_optional
from openbei.build.lm_head import Words, find_words
from openbei.build.modules import Chain, ModuleStep, read_chain
from openbei.build.score_template import score_template
from openbei.build.table import table_config
from openbei.config import DEFAULT_MAX_NUM_TOKENS, Decision
from openbei.errors import CheckpointError
from openbei.families import Family, HeadKind, find_family
from openbei.families.computed import Computed
from openbei.families.fields import fields_of
from openbei.prompts import Prompts, ScoreTemplate
from openbei.spec import (
    Dense,
    EmbeddingHead,
    Head,
    LayerNorm,
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
    """What the JSON files say. `root` is the folder of config.json, weights and tokenizer.

    `module_steps` are the steps of an embedding head, whose tensors are in folders of their own. `words` make a
    generative model a classifier; `score_template` is how a reranker that was one is shown queries and documents.
    `max_terms` is how many of a text's terms are kept; `logs_twice` says how their weights end. `is_tied` tells whether
    embeddings may stand for the map to words.
    """

    root: Path
    family: Family
    kind: HeadKind
    spec: ModelSpec
    computed: Mapping[str, Computed]
    module_steps: tuple[ModuleStep, ...]
    normalize: bool
    max_sequence_tokens: int
    max_num_tokens: int
    lowercases: bool
    labels: tuple[str, ...]
    is_multi_label: bool
    prompts: Prompts
    words: Words | None
    score_template: ScoreTemplate | None
    max_terms: int | None
    logs_twice: bool
    is_tied: bool
    decisions: tuple[Decision, ...]


class _SentenceConfig(msgspec.Struct, frozen=True):
    """sentence_bert_config.json."""

    max_seq_length: Annotated[int, msgspec.Meta(ge=1)] | None = None
    do_lower_case: bool = False
    transformer_task: str | None = None


class _TokenizerConfig(msgspec.Struct, frozen=True):
    """tokenizer_config.json; an unlimited tokenizer has a length of 1e30."""

    model_max_length: Annotated[float, msgspec.Meta(ge=1)] | None = None


class _Truncation(msgspec.Struct, frozen=True):
    """How much of a text a tokenizer keeps."""

    max_length: Annotated[int, msgspec.Meta(ge=1)]


class _TokenizerFile(msgspec.Struct, frozen=True):
    """tokenizer.json."""

    truncation: _Truncation | None = None


class _ModelConfig(msgspec.Struct, frozen=True):
    """config_sentence_transformers.json."""

    prompts: dict[str, str] = {}
    default_prompt_name: str | None = None
    max_active_dims: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _LabelConfig(msgspec.Struct, frozen=True):
    """What config.json says of a classifier's labels."""

    id2label: dict[str, str] | None = None
    problem_type: str | None = None


def inspect_checkpoint(
    folder: Path, max_num_tokens: int | None, route: str | None = None, *, converts: bool = False
) -> Inspection:
    """Read a checkpoint: an embedding or SPLADE model of sentence-transformers, or a classifier.

    `max_num_tokens` None is the default for such a model. `converts` makes a generative reranker a classifier, which
    one with a LogitScore is made in any case. Raises CheckpointError, naming the file.
    """
    chain = read_chain(folder, route)
    root = chain.root
    config = table_config(root, chain.table) if chain.table else read_json(root / "config.json", dict[str, Any])
    named = architecture_of(config)
    words = find_words(chain, config) if converts or chain.pooling_kind == "LogitScore" else None
    if words:
        config = words.config(config)
    architecture = architecture_of(config)
    family, kinds = find_family(architecture, config)
    kind = _head_kind(folder, chain, architecture, kinds)
    labels, is_multi_label = _labels(config) if kind in ("sequence_labels", "token_labels") else ((), False)
    spec = family.parse(config, _head(kind, chain, family.steps(config, kind), len(labels)))
    computed = family.computed(config, spec) if hasattr(family, "computed") else {}
    module_steps = tuple(chain.steps(spec.hidden_size)) if isinstance(spec.head, EmbeddingHead) else ()
    if module_steps:
        head = msgspec.structs.replace(spec.head, steps=tuple(module.step for module in module_steps))
        spec = msgspec.structs.replace(spec, head=head)
    head = spec.head
    sentence = read_optional(root / "sentence_bert_config.json", _SentenceConfig)
    if sentence.transformer_task not in (task := "text-generation" if words else TRANSFORMER_TASKS[kind], None):
        raise CheckpointError(
            f"sentence_bert_config.json: transformer_task is {sentence.transformer_task!r}; "
            f"{architecture} is built for {task!r}"
        )
    budget, about_budget = _budget(spec, max_num_tokens)
    length, why = _sequence_length(root, sentence, spec, budget, chain.table)
    given = read_optional(folder / "config_sentence_transformers.json", _ModelConfig)
    prompts = Prompts(
        given.prompts, given.default_prompt_name, not isinstance(head, EmbeddingHead) or chain.pools_prompts()
    )
    template, about_template = score_template(root, architecture, spec, labels, prompts)
    is_reranker = len(labels) == 1 or template is not None
    logs_twice = isinstance(head, TermHead) and chain.check_splade()
    max_terms = given.max_active_dims if spec.task == "sparse" else None
    decisions = [
        *([words.decision] if words else []),
        _about_family(spec, chain, named),
        *_about_attention(config, spec),
        Decision("task", spec.task.replace("_", " "), "the architecture, and modules.json where there is one"),
        *chain.decisions,
        *_about_head(head, chain, folder, labels, words.source if words else "id2label of config.json", is_multi_label),
        *(about_predict(folder, config, is_reranker, is_multi_label) if isinstance(head, SequenceHead) else ()),
        *_about_terms(max_terms, logs_twice),
        Decision("max_sequence_tokens", str(length), why),
        *about_budget,
        *_about_prompts(prompts),
        *about_template,
    ]
    return Inspection(
        root, family, kind, spec, computed, module_steps, chain.normalizes, length, budget, sentence.do_lower_case,
        labels, is_multi_label, prompts, words, template, max_terms, logs_twice, _is_tied(config), tuple(decisions),
    )  # fmt: skip


def _head_kind(folder: Path, chain: Chain, architecture: str, kinds: tuple[HeadKind, ...]) -> HeadKind:
    """What to build, of what the architecture allows."""
    path = folder / "modules.json"
    if chain.table:
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
            hint="save the model once with sentence-transformers: SentenceTransformer, or SparseEncoder for SPLADE, or "
            "CrossEncoder for a reranker, whose config.json then names the architecture that it has",
        )
    kind: HeadKind = "term_weights" if chain.pooling_kind == "SpladePooling" else "embedding"
    if kind not in kinds:
        raise CheckpointError(f"{path} has the module {chain.pooling_kind}; {architecture} cannot be pooled so")
    return kind


def _head(kind: HeadKind, chain: Chain, steps: tuple[Step, ...], num_labels: int) -> Head:
    if kind == "token_labels":
        return TokenHead(num_labels=num_labels, steps=steps)
    if kind == "sequence_labels":
        return SequenceHead(num_labels=num_labels, steps=steps)
    if kind == "embedding":
        return EmbeddingHead(poolings=chain.poolings())
    return TokenTermHead() if chain.table else TermHead(steps=steps)


def _labels(config: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Label names by index, and whether several may hold at once."""
    given = fields_of(config, _LabelConfig)
    if not given.id2label:
        raise CheckpointError(
            "config.json has no id2label; a classifier needs the name of each label",
            hint='add it, such as "id2label": {"0": "negative", "1": "positive"}',
        )
    indices = [str(index) for index in range(len(given.id2label))]
    if set(given.id2label) != set(indices):
        raise CheckpointError(
            f"config.json: id2label has the keys {', '.join(given.id2label)}; they must be 0, 1, 2, …"
        )
    names = tuple(given.id2label[index] for index in indices)
    if len(set(names)) < len(names):
        raise CheckpointError(f"config.json: id2label gives one name to several labels: {', '.join(names)}")
    return names, given.problem_type == "multi_label_classification"


def _is_tied(config: Mapping[str, Any]) -> bool:
    return config.get("tie_word_embeddings") is not False


def _about_family(spec: ModelSpec, chain: Chain, named: str) -> Decision:
    says = "modules.json has the module" if chain.table else "config.json names the architecture"
    return Decision("family", spec.family, f"{says} {named}")


def _about_attention(config: Mapping[str, Any], spec: ModelSpec) -> Iterator[Decision]:
    if "auto_map" in config:
        yield Decision("code of the repository", "not run", f"auto_map asks for it; openbei implements {spec.family}")
    if spec.attention.is_causal:
        yield Decision("attention", "causal", "the architecture; nothing in config.json says otherwise")


def _about_head(
    head: Head, chain: Chain, folder: Path, labels: tuple[str, ...], labels_source: str, is_multi_label: bool
) -> Iterator[Decision]:
    if isinstance(head, EmbeddingHead):
        yield Decision("pooling", ", ".join(head.poolings), str(chain.pooling_file.relative_to(folder)))
        if head.steps:
            yield Decision("after pooling", ", ".join(map(_in_words, head.steps)), "modules.json")
        does, a = ("yes", "a") if chain.normalizes else ("no", "no")
        yield Decision("normalize", does, f"modules.json has {a} Normalize")
    if labels:
        yield Decision("labels", ", ".join(labels), labels_source)
    if len(labels) > 1 and isinstance(head, SequenceHead):
        which = "each label for itself, by sigmoid" if is_multi_label else "one label, by softmax"
        yield Decision("scores", which, "problem_type of config.json")


def _about_terms(max_terms: int | None, logs_twice: bool) -> Iterator[Decision]:
    if logs_twice:
        yield Decision("term weights", "log(1 + log(1 + relu))", "activation_function of SpladePooling")
    if max_terms:
        why = "max_active_dims of config_sentence_transformers.json"
        yield Decision("terms", f"the {max_terms} of most weight", why)


def _in_words(step: Step) -> str:
    if isinstance(step, Dense):
        return f"dense to {step.out_features}" + (f" and {step.activation}" if step.activation else "")
    return "layer norm" if isinstance(step, LayerNorm) else "length one"


def _about_prompts(prompts: Prompts) -> Iterator[Decision]:
    named = [name for name, text in prompts.by_name.items() if text]
    if named:
        default = f"default: {prompts.default}" if prompts.find(None) else "none by default"
        yield Decision("prompts", f"{', '.join(named)}; {default}", "config_sentence_transformers.json")
    if not prompts.are_pooled:
        yield Decision("pooling of prompts", "no", "include_prompt of the Pooling's config.json")


def _budget(spec: ModelSpec, given: int | None) -> tuple[int, tuple[Decision, ...]]:
    """Tokens of a batch, and what there is to tell where the config does not say."""
    if given is not None:
        return given, ()
    base_model = "encoder" if spec.attention.is_causal else "encoder_bert"
    budget = DEFAULT_MAX_NUM_TOKENS[base_model]
    return budget, (Decision("max_num_tokens", str(budget), f"the default of {base_model}"),)


def _sequence_length(
    root: Path, sentence: _SentenceConfig, spec: ModelSpec, max_num_tokens: int, table: str | None
) -> tuple[int, str]:
    limits: dict[str, float] = {"max_position_embeddings of config.json": spec.positions.max_positions}
    limits["max_num_tokens, the token budget of a batch"] = max_num_tokens
    if sentence.max_seq_length is not None:
        limits["max_seq_length of sentence_bert_config.json"] = sentence.max_seq_length
    elif table == "StaticEmbedding":  # which goes by the tokenizer's file alone
        if truncation := read_optional(root / "tokenizer.json", _TokenizerFile).truncation:
            limits["truncation of tokenizer.json"] = truncation.max_length
    elif (root / "tokenizer_config.json").exists():
        length = read_json(root / "tokenizer_config.json", _TokenizerConfig).model_max_length
        limits["model_max_length of tokenizer_config.json"] = length or math.inf
    source = min(limits, key=lambda name: limits[name])
    return int(limits[source]), source
