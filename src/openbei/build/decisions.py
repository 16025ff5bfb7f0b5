"""Lines of the build report about the model, its head, outputs and prompts."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openbei.batch import ScoreActivation
from openbei.build.modules import SENTENCE_CONFIG, Chain
from openbei.build.sentence_config import FILES
from openbei.build.templates import PairFormat
from openbei.config import Decision
from openbei.prompts import Prompts
from openbei.spec import Dense, EmbeddingHead, Head, LayerNorm, ModelSpec, SequenceHead, Step


def model_decisions(config: Mapping[str, Any], spec: ModelSpec, chain: Chain, name: str) -> Iterator[Decision]:
    """Family, attention and task; `name` is the architecture, or the static module."""
    source = "module of modules.json" if chain.static_module else "architecture of config.json"
    yield Decision("family", spec.family, f"{source}: {name}")
    if "auto_map" in config:
        yield Decision("repository code", "not run", f"auto_map of config.json; openbei implements {spec.family}")
    if spec.attention.is_causal:
        yield Decision("attention", "causal", "default of the architecture")
    yield Decision("task", spec.task.replace("_", " "), "architecture, and modules.json if there is one")


def head_decisions(
    head: Head, chain: Chain, labels: tuple[str, ...], labels_source: str, activation: ScoreActivation
) -> Iterator[Decision]:
    """Pooling and the layers after it, or labels and the activation of their logits."""
    if isinstance(head, EmbeddingHead):
        yield Decision("pooling", ", ".join(head.poolings), chain.pooling_source)
        if head.steps:
            yield Decision("after pooling", ", ".join(map(_describe_step, head.steps)), "modules.json")
        decision, presence = ("yes", "with") if chain.normalizes else ("no", "without")
        yield Decision("normalize", decision, f"modules.json {presence} Normalize")
    if labels:
        yield Decision("labels", ", ".join(labels), labels_source)
    if isinstance(head, SequenceHead) and (len(labels) > 1 or activation == "none"):
        scores = {"sigmoid": "sigmoid of each logit", "softmax": "softmax over the labels", "none": "logits"}
        yield Decision("scores", scores[activation], "problem_type of config.json")


def vector_decisions(
    max_terms: int | None, double_log: bool, dimensions: int | None, similarity: str | None
) -> Iterator[Decision]:
    """Post-processing of sparse or dense vectors."""
    if double_log:
        yield Decision("term weights", "log(1 + log(1 + relu))", "activation_function of SpladePooling")
    if max_terms:
        yield Decision("terms", f"{max_terms} with the largest weights", f"max_active_dims of {SENTENCE_CONFIG}")
    if dimensions:
        yield Decision("dimensions", f"{dimensions} by default", f"truncate_dim of {SENTENCE_CONFIG}")
    if similarity not in (None, "cosine"):
        yield Decision("similarity", str(similarity), f"similarity_fn_name of {SENTENCE_CONFIG}; shown at /info")


def unread_file_decisions(folder: Path, chain: Chain) -> Iterator[Decision]:
    """Files of sentence-transformers that have no effect without a modules.json."""
    if chain.has_modules_json:
        return
    for name in (*FILES, SENTENCE_CONFIG):
        if (folder / name).is_file():
            yield Decision(name, "not read", "sentence-transformers reads it only with a modules.json")


def _describe_step(step: Step) -> str:
    if isinstance(step, Dense):
        return f"dense to {step.out_features}" + (f" and {step.activation}" if step.activation else "")
    return "layer norm" if isinstance(step, LayerNorm) else "normalize"


def prompt_decisions(prompts: Prompts, spec: ModelSpec, pairs: PairFormat) -> Iterator[Decision]:
    """The prompts and the default prompt."""
    names = [name for name, text in prompts.by_name.items() if text]
    if spec.task == "reranker" and pairs.template is None and prompts.find(None):
        yield Decision("query prompt", f"{prompts.default}, at /rerank", SENTENCE_CONFIG)
    if names:
        default = f"default: {prompts.default}" if prompts.find(None) else "no default"
        yield Decision("prompts", f"{', '.join(names)}; {default}", SENTENCE_CONFIG)
    if not prompts.are_pooled:
        yield Decision("prompts in pooling", "excluded", "include_prompt of the Pooling's config.json")
