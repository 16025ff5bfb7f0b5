"""Inspect: the model and its settings, from a checkpoint's JSON files. Tensors and tokenizer are handled elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec

from openbei.batch import ScoreActivation, Vectors
from openbei.build.architecture import architecture_of
from openbei.build.cross_encoder import predict_decisions
from openbei.build.decisions import (
    head_decisions,
    model_decisions,
    prompt_decisions,
    unread_file_decisions,
    vector_decisions,
)
from openbei.build.files import Files, read_files
from openbei.build.json_file import read_optional
from openbei.build.labels import read_labels
from openbei.build.late_interaction import LateSettings, late_decisions, module_steps, projected, resolve
from openbei.build.modules import Chain, ModuleStep
from openbei.build.templates import PairFormat, pair_format, text_template
from openbei.build.tokenizer_file import LoadedTokenizer, load_tokenizer
from openbei.config import DEFAULT_MAX_NUM_TOKENS, Decision, PoolingChoice
from openbei.errors import CheckpointError
from openbei.families import Family, HeadKind, find_family
from openbei.families.computed import Computed
from openbei.late_interaction import LateInteraction
from openbei.prompts import Prompts, TextTemplate
from openbei.spec import (
    EmbeddingHead,
    Head,
    ModelSpec,
    SequenceHead,
    Step,
    TermHead,
    TokenEmbeddingHead,
    TokenHead,
    TokenTermHead,
)

GENERATES = "an embedding model of its kind is a {0}Model; for a generative reranker, build with --convert lm-head"
"""The hint for a ForCausalLM without pooling."""

TRANSFORMER_TASKS: dict[HeadKind, str] = {
    "embedding": "feature-extraction",
    "sequence_labels": "sequence-classification",
    "token_labels": "token-classification",
    "term_weights": "fill-mask",
    "token_vectors": "feature-extraction",
}
"""`transformer_task` of sentence_bert_config.json."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The model that the files describe. A classifier has `labels`, and an `activation` of their logits."""

    family: Family
    kind: HeadKind
    spec: ModelSpec
    labels: tuple[str, ...]
    activation: ScoreActivation


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """The JSON files of a checkpoint, and the settings derived from them.

    `pairs` is a reranker's template for queries and documents, `text_template` an embedding model's template for texts,
    `late_interaction` how a model of token vectors reads queries and documents.
    """

    files: Files
    model: Model
    tokenizer: LoadedTokenizer
    prompts: Prompts
    text_template: TextTemplate | None
    late_interaction: LateInteraction | None
    pairs: PairFormat
    max_sequence_tokens: int
    max_num_tokens: int
    decisions: tuple[Decision, ...]

    @property
    def spec(self) -> ModelSpec:
        """The spec of the model."""
        return self.model.spec

    @property
    def normalize(self) -> bool:
        """Whether embeddings have length one."""
        return self.files.chain.normalizes

    @property
    def dimensions(self) -> int | None:
        """The default number of dimensions of embeddings; None for all."""
        cut = None if self.files.late else self.files.settings.truncate_dim
        return cut if self.model.kind == "embedding" and (cut or 0) < self.spec.output_width else None

    @property
    def similarity(self) -> str:
        """The similarity function of embeddings."""
        if self.files.late:
            return "meanmaxsim" if self.files.settings.similarity_fn_name == "meanmaxsim" else "maxsim"
        return self.files.settings.similarity_fn_name or "cosine"

    @property
    def max_terms(self) -> int | None:
        """The number of terms to keep per text; None for all."""
        return self.files.settings.max_active_dims if self.spec.task == "sparse" else None

    @property
    def double_log(self) -> bool:
        """Whether the logarithm of term weights is taken twice. Raises CheckpointError for another activation."""
        return isinstance(self.spec.head, TermHead) and self.files.chain.takes_log_twice()

    @property
    def module_steps(self) -> tuple[ModuleStep, ...]:
        """The steps of an embedding head, whose tensors are in separate folders."""
        return _module_steps(self.files, self.spec.hidden_size) if self.model.kind == "embedding" else ()

    @property
    def computed(self) -> Mapping[str, Computed]:
        """Engine tensors that are computed from several of the checkpoint."""
        family = self.model.family
        return family.computed(self.files.config, self.spec) if hasattr(family, "computed") else {}

    @property
    def adjusted(self) -> Mapping[str, Callable[[Vectors], Vectors]]:
        """Engine tensors whose values are adjusted before they are stored."""
        family = self.model.family
        return family.adjusted(self.files.config, self.spec) if hasattr(family, "adjusted") else {}


class _Truncation(msgspec.Struct, frozen=True):
    """The truncation settings of a tokenizer."""

    max_length: Annotated[int, msgspec.Meta(ge=1)]


class _TokenizerFile(msgspec.Struct, frozen=True):
    """tokenizer.json."""

    truncation: _Truncation | None = None


def inspect_checkpoint(
    folder: Path,
    max_num_tokens: int | None,
    route: str | None = None,
    *,
    converts: bool = False,
    answer_tokens: str | None = None,
    pooling: PoolingChoice | None = None,
    max_seq_len: int | None = None,
) -> Inspection:
    """Read a checkpoint: an embedding or SPLADE model of sentence-transformers, or a classifier.

    `max_num_tokens` None is the default of the task. `converts` converts a generative reranker to a classifier,
    and so do `answer_tokens`; one with a LogitScore is always converted. `pooling` is for a checkpoint without
    modules.json. `max_seq_len` limits the sequences of classifiers and rerankers. Raises CheckpointError, naming the
    file.
    """
    files = read_files(folder, route, pooling, converts=converts, answer_tokens=answer_tokens)
    model = _model(files)
    _check_task(files, model)
    chain, sentence, spec = files.chain, files.sentence, model.spec
    prompts = files.settings.named_prompts(
        are_pooled=model.kind != "embedding" or chain.pools_prompts() or sentence.is_rendered
    )
    tokenizer = load_tokenizer(files.root, files.config, sentence, is_plain=chain.static_module == "StaticEmbedding")
    budget, about_budget = _budget(spec, max_num_tokens)
    limits: dict[str, float] = {"max_num_tokens, the token budget of a batch": budget}
    if max_seq_len is not None and model.kind == "sequence_labels":
        limits["trt_llm.build.max_seq_len"] = max_seq_len
    length, about_length = _sequence_length(files, tokenizer, spec, limits)
    late = resolve(files.late, tokenizer, spec, sentence, length) if files.late else None
    is_converted = files.answer_tokens is not None
    takes_texts = model.kind in ("embedding", "term_weights")
    inspection = Inspection(
        files=files,
        model=_with_unattended(model, files.late, late),
        tokenizer=tokenizer,
        prompts=prompts,
        text_template=text_template(files.root, tokenizer.settings, sentence) if takes_texts else None,
        late_interaction=late,
        pairs=pair_format(chain, files.config, spec, model.labels, prompts, tokenizer.settings, sentence, is_converted),
        max_sequence_tokens=length,
        max_num_tokens=budget,
        decisions=(),
    )
    return replace(inspection, decisions=tuple(_decisions(inspection, (about_length, *about_budget))))


def _check_task(files: Files, model: Model) -> None:
    """Raise CheckpointError where sentence-transformers would load the model for another task."""
    task = "text-generation" if files.answer_tokens else TRANSFORMER_TASKS[model.kind]
    if files.sentence.transformer_task not in (task, None):
        raise CheckpointError(
            f"{files.sentence.name}: transformer_task is {files.sentence.transformer_task!r}; {files.architecture} is "
            f"built for {task!r}"
        )


def _decisions(inspection: Inspection, size_decisions: Iterable[Decision]) -> Iterator[Decision]:
    """The decisions for the build report."""
    files, model, spec = inspection.files, inspection.model, inspection.spec
    labels_source = files.answer_tokens.source if files.answer_tokens else "id2label of config.json"
    if files.answer_tokens:
        yield files.answer_tokens.decision
    yield from model_decisions(files.config, spec, files.chain, files.architecture)
    yield from files.chain.decisions
    yield from head_decisions(spec.head, files.chain, model.labels, labels_source, model.activation)
    if model.kind == "sequence_labels":
        yield from predict_decisions(files.folder, files.config, model.labels, inspection.pairs, model.activation)
    if files.late and inspection.late_interaction:
        yield from late_decisions(files.late, inspection.late_interaction, spec.head.steps, inspection.similarity)
    yield from vector_decisions(
        inspection.max_terms,
        inspection.double_log,
        inspection.dimensions,
        None if files.late else files.settings.similarity_fn_name,
    )
    yield from size_decisions
    yield from prompt_decisions(inspection.prompts, spec, inspection.pairs)
    if inspection.text_template:
        yield Decision("chat template", "applied to texts", f"modality_config of {files.sentence.name}")
    yield from inspection.pairs.decisions
    yield from unread_file_decisions(files.folder, files.chain)


def _model(files: Files) -> Model:
    """The model described by config.json and modules.json."""
    chain, config = files.chain, files.config
    architecture = architecture_of(config)
    family, kinds = find_family(architecture, config)
    kind = _head_kind(files.folder, chain, architecture, kinds)
    labels, activation = read_labels(config) if kind in ("sequence_labels", "token_labels") else ((), "none")
    own_steps = () if files.late else family.steps(config, kind)
    spec = family.parse(config, _head(kind, chain, own_steps, len(labels)))
    if files.late:
        spec = projected(spec, _module_steps(files, spec.hidden_size), files.late)
    elif isinstance(spec.head, EmbeddingHead):
        steps = tuple(module.step for module in _module_steps(files, spec.hidden_size))
        spec = msgspec.structs.replace(spec, head=msgspec.structs.replace(spec.head, steps=steps or spec.head.steps))
    return Model(family=family, kind=kind, spec=spec, labels=labels, activation=activation)


def _module_steps(files: Files, hidden_size: int) -> tuple[ModuleStep, ...]:
    """The steps of the modules after the transformer or the pooling."""
    return tuple(module_steps(files.late, files.chain, hidden_size) if files.late else files.chain.steps(hidden_size))


def _with_unattended(model: Model, settings: LateSettings | None, late: LateInteraction | None) -> Model:
    """The model; its head knows the tokens that queries are expanded with, unless they are attended to."""
    if not (settings and late and settings.expansion) or settings.expansion.attend:
        return model
    head = msgspec.structs.replace(model.spec.head, unattended_id=late.expansion_id)
    return replace(model, spec=msgspec.structs.replace(model.spec, head=head))


def _head_kind(folder: Path, chain: Chain, architecture: str, kinds: tuple[HeadKind, ...]) -> HeadKind:
    """The kind of head to build, among those that the architecture supports."""
    path = folder / "modules.json"
    if chain.static_module:
        return kinds[0]
    if chain.pooling_kind in (None, "LogitScore"):
        if kinds[0] in ("sequence_labels", "token_labels", "token_vectors"):
            return kinds[0]
        if architecture.endswith("ForCausalLM"):
            beginning = architecture.removesuffix("ForCausalLM")
            raise CheckpointError(
                f"{architecture} generates text, and {path} does not define a pooling",
                hint=GENERATES.format(beginning),
            )
        raise CheckpointError(
            f"{path} {'has no pooling' if path.exists() else 'does not exist'}; {architecture} needs it",
            hint=_pooling_hint(folder, kinds),
        )
    kind: HeadKind = "term_weights" if chain.pooling_kind == "SpladePooling" else "embedding"
    if kind not in kinds:
        raise CheckpointError(f"{path} has the module {chain.pooling_kind}; {architecture} does not support it")
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
    if kind == "token_vectors" or chain.is_late_interaction:
        return TokenEmbeddingHead()
    if kind == "embedding":
        return EmbeddingHead(poolings=chain.poolings())
    return TokenTermHead() if chain.static_module else TermHead(steps=steps)


def _budget(spec: ModelSpec, given: int | None) -> tuple[int, tuple[Decision, ...]]:
    """The maximum number of tokens of a batch, and the decision for the report if it is the default."""
    if given is not None:
        return given, ()
    base_model = "encoder" if spec.attention.is_causal else "encoder_bert"
    budget = DEFAULT_MAX_NUM_TOKENS[base_model]
    return budget, (Decision("max_num_tokens", str(budget), f"the default of {base_model}"),)


def _sequence_length(
    files: Files, tokenizer: LoadedTokenizer, spec: ModelSpec, given: Mapping[str, float]
) -> tuple[int, Decision]:
    """The maximum sequence length, and the reason for it; `given` are limits of the config by their names."""
    sentence, table = files.sentence, files.chain.static_module
    limits = {"max_position_embeddings of config.json": spec.positions.max_positions, **given}
    if files.late and (longest := files.late.length(sentence)) is not None:
        limits[f"the longest length of {files.late.source}"] = longest
    elif sentence.max_seq_length is not None:
        limits[f"max_seq_length of {sentence.name}"] = sentence.max_seq_length
    elif table == "StaticEmbedding":  # it only uses the limit of tokenizer.json
        if truncation := read_optional(files.root / "tokenizer.json", _TokenizerFile).truncation:
            limits["truncation of tokenizer.json"] = truncation.max_length
    elif (length := tokenizer.max_length) is not None:
        limits["model_max_length of tokenizer_config.json"] = length
    source = min(limits, key=lambda name: limits[name])
    return int(limits[source]), Decision("max_sequence_tokens", str(int(limits[source])), source)
