"""Lines of the build report about what a checkpoint's JSON files say; the files are read in `openbei.build.inspect`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openbei.batch import ScoreActivation
from openbei.build.modules import SENTENCE_CONFIG, Chain
from openbei.build.sentence_config import FILES
from openbei.build.templates import Pairs
from openbei.config import Decision
from openbei.prompts import Prompts
from openbei.spec import Dense, EmbeddingHead, Head, LayerNorm, ModelSpec, SequenceHead, Step


def about_model(config: Mapping[str, Any], spec: ModelSpec, chain: Chain, named: str) -> Iterator[Decision]:
    """Family, attention and task; `named` is the architecture, or the module that is there instead."""
    says = "modules.json has the module" if chain.table else "config.json names the architecture"
    yield Decision("family", spec.family, f"{says} {named}")
    if "auto_map" in config:
        yield Decision("code of the repository", "not run", f"auto_map asks for it; openbei implements {spec.family}")
    if spec.attention.is_causal:
        yield Decision("attention", "causal", "the architecture; nothing in config.json says otherwise")
    task = spec.task.replace("_", " ")
    yield Decision("task", task, "the architecture, and modules.json where there is one")


def about_head(
    head: Head, chain: Chain, labels: tuple[str, ...], labels_source: str, activation: ScoreActivation
) -> Iterator[Decision]:
    """Pooling and what follows it, or labels and what becomes of their logits."""
    if isinstance(head, EmbeddingHead):
        yield Decision("pooling", ", ".join(head.poolings), chain.pooling_source)
        if head.steps:
            yield Decision("after pooling", ", ".join(map(_in_words, head.steps)), "modules.json")
        does, a = ("yes", "a") if chain.normalizes else ("no", "no")
        yield Decision("normalize", does, f"modules.json has {a} Normalize")
    if labels:
        yield Decision("labels", ", ".join(labels), labels_source)
    if isinstance(head, SequenceHead) and (len(labels) > 1 or activation == "none"):
        which = {"sigmoid": "each label for itself, by sigmoid", "softmax": "one label, by softmax"}
        yield Decision("scores", which.get(activation, "the numbers themselves"), "problem_type of config.json")


def about_vectors(
    max_terms: int | None, logs_twice: bool, dimensions: int | None, similarity: str | None
) -> Iterator[Decision]:
    """What becomes of a sparse or dense vector at the end."""
    if logs_twice:
        yield Decision("term weights", "log(1 + log(1 + relu))", "activation_function of SpladePooling")
    if max_terms:
        yield Decision("terms", f"the {max_terms} of most weight", f"max_active_dims of {SENTENCE_CONFIG}")
    if dimensions:
        yield Decision("dimensions", f"{dimensions} by default", f"truncate_dim of {SENTENCE_CONFIG}")
    if similarity not in (None, "cosine"):
        yield Decision("similarity", str(similarity), f"similarity_fn_name of {SENTENCE_CONFIG}; told at /info")


def about_files(folder: Path, chain: Chain) -> Iterator[Decision]:
    """Files of sentence-transformers that do not count where there is no modules.json."""
    for name in (*FILES, SENTENCE_CONFIG) if not chain.is_listed else ():
        if (folder / name).is_file():
            yield Decision(name, "not read", "sentence-transformers reads it where there is a modules.json")


def _in_words(step: Step) -> str:
    if isinstance(step, Dense):
        return f"dense to {step.out_features}" + (f" and {step.activation}" if step.activation else "")
    return "layer norm" if isinstance(step, LayerNorm) else "length one"


def about_prompts(prompts: Prompts, spec: ModelSpec, pairs: Pairs) -> Iterator[Decision]:
    """The prompts, and when they are used."""
    named = [name for name, text in prompts.by_name.items() if text]
    if spec.task == "reranker" and pairs.template is None and prompts.find(None):
        yield Decision("prompt of queries", f"{prompts.default}, at /rerank", SENTENCE_CONFIG)
    if named:
        default = f"default: {prompts.default}" if prompts.find(None) else "none by default"
        yield Decision("prompts", f"{', '.join(named)}; {default}", "config_sentence_transformers.json")
    if not prompts.are_pooled:
        yield Decision("pooling of prompts", "no", "include_prompt of the Pooling's config.json")
