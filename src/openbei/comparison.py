"""Comparison of two models of one task on the same texts: how much their results differ."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbei.accuracy import COMPARISONS, RANKED, Texts, cosines
from openbei.batch import Vectors
from openbei.engine_dir import Manifest
from openbei.errors import InputError
from openbei.open_model import OpenModel
from openbei.progress import Watch
from openbei.spec import Task
from openbei.tasks.embed import to_embeddings

Scores = list[NDArray[Any]]
"""For each query, the scores of all its documents."""

NUM_WORST = 3


@dataclass(frozen=True)
class Results:
    """A model's manifest, and its results for some texts, in the form of its task's line in COMPARISONS."""

    manifest: Manifest
    answer: Any


@dataclass(frozen=True)
class Differences:
    """Figures by name, and the texts whose embeddings differ most, with their cosine similarity, lowest first."""

    figures: dict[str, float]
    worst: list[tuple[str, float]]


def results_of(model: OpenModel, texts: Texts, progress: Watch = None) -> Results:
    """Run a model on the texts. Raises what the model raises."""
    return Results(model.manifest, COMPARISONS[model.task].answer(model, texts, progress))


def check_comparable(one: Manifest, other: Manifest) -> None:
    """Raise InputError for models with different tasks, labels or vocabularies of term weights."""
    tasks = [manifest.spec.task.replace("_", " ") for manifest in (one, other)]
    if tasks[0] != tasks[1]:
        raise InputError(f"the models have different tasks: {tasks[0]} and {tasks[1]}", hint="compare models of a task")
    task = one.spec.task
    if task in ("classifier", "token_classifier") and sorted(one.labels) != sorted(other.labels):
        raise InputError(f"the models have different labels: {', '.join(one.labels)} and {', '.join(other.labels)}")
    if task == "sparse" and one.spec.vocab_size != other.spec.vocab_size:
        raise InputError(
            f"the models have vocabularies of {one.spec.vocab_size:,} and {other.spec.vocab_size:,} terms, "
            "so their weights cannot be compared"
        )


def compare(one: Results, other: Results, texts: Texts) -> Differences:
    """The figures of the task, and those of the rankings. Embeddings of different sizes are compared by rankings only.

    Raises InputError for models that cannot be compared.
    """
    check_comparable(one.manifest, other.manifest)
    task = one.manifest.spec.task
    are_dense = task == "embedding"
    have_one_size = not are_dense or one.answer[0].shape[1] == other.answer[0].shape[1]
    figures = COMPARISONS[task].compare(one.answer, other.answer) if have_one_size else {}
    if scores_of := SCORES.get(task):
        figures |= rank_changes(scores_of(one.answer, texts), scores_of(other.answer, texts))
    worst: dict[str, float] = {}
    if are_dense and have_one_size:
        similarities = cosines(np.concatenate(one.answer), np.concatenate(other.answer))
        named = [*texts.queries, *texts.documents]
        for i in np.argsort(similarities, kind="stable"):
            worst.setdefault(named[i], float(similarities[i]))
    return Differences({name: float(figure) for name, figure in figures.items()}, [*worst.items()][:NUM_WORST])


def rank_changes(one: Scores, other: Scores) -> dict[str, float]:
    """How rankings by the scores differ. Equal scores keep the order of the documents.

    A change is the difference between the ranks of a document, for the RANKED best documents of the first model.
    """
    changes, overlaps, are_same = [], [], []
    for scores, others in zip(one, other, strict=True):
        order, other_order = (np.argsort(-each, kind="stable") for each in (scores, others))
        best = order[:RANKED]
        changes.append(np.abs(np.argsort(other_order)[best] - np.arange(len(best))))
        overlaps.append(len(np.intersect1d(best, other_order[:RANKED])) / len(best))
        are_same.append(order[0] == other_order[0])
    return {
        f"top-{RANKED} overlap": float(np.mean(overlaps)),
        "same best document": float(np.mean(are_same)),
        f"mean change of rank, top {RANKED}": float(np.mean(np.concatenate(changes))),
        f"largest change of rank, top {RANKED}": float(np.max(np.concatenate(changes))),
    }


def _by_embeddings(answer: tuple[Vectors, Vectors], texts: Texts) -> Scores:
    queries, documents = (to_embeddings(vectors, normalize=True) for vectors in answer)
    return _without_itself(queries @ documents.T, texts)


def _by_terms(answer: list[dict[int, float]], texts: Texts) -> Scores:
    queries, documents = answer[: len(texts.queries)], answer[len(texts.queries) :]
    scores = ([sum(w * terms.get(i, 0.0) for i, w in query.items()) for terms in documents] for query in queries)
    return _without_itself(np.array([*scores]), texts)


def _without_itself(scores: NDArray[Any], texts: Texts) -> Scores:
    """Scores [queries, documents], with a query last in its own ranking. Queries may be some of the documents."""
    queries, documents = (np.array(each, object) for each in (texts.queries, texts.documents))
    return list(np.where(np.equal.outer(queries, documents).astype(bool), -np.inf, scores))


def _by_relevance(answer: Scores, texts: Texts) -> Scores:
    return answer


SCORES: dict[Task, Callable[[Any, Texts], Scores]] = {
    "embedding": _by_embeddings,
    "sparse": _by_terms,
    "reranker": _by_relevance,
    "late_interaction": _by_relevance,
}
"""Task → the scores that its models rank documents by."""
