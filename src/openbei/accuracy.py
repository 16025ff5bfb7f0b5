"""Accuracy of a quantized engine: its results compared with those of the same model in bfloat16."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openbei.batch import Engine, Vectors
from openbei.engine_dir import Accuracy, EngineDir
from openbei.errors import CheckpointError, InputError
from openbei.open_model import OpenModel
from openbei.progress import Watch
from openbei.spec import Task
from openbei.tasks.embed import to_embeddings

Load = Callable[[EngineDir], Engine]
"""Loads an engine directory."""

TEXTS = Path(__file__).with_name("texts")
"""The texts that come with openbei: prose in 21 languages, code, and edge cases. \\n stands for a line break."""

MIN_TEXTS = 20
"""With fewer texts, the figures are not reliable, and rankings mean nothing."""

MAX_QUERIES = 100
RANKED = 10
"""The number of documents compared for each query."""

PAIRED_QUERIES, PAIRED_DOCUMENTS = 25, 20
"""Rerankers score PAIRED_DOCUMENTS documents for each of PAIRED_QUERIES queries."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts that models are compared on: documents, and queries to search them with."""

    documents: list[str]
    queries: list[str]

    @classmethod
    def read(cls, path: Path | None) -> "Texts":
        """The texts that come with openbei, or the lines of a file; every fifth line is then also a query.

        Raises InputError for a file with too few lines, or one that is not UTF-8.
        """
        if path is None:
            documents = [line.replace(r"\n", "\n") for line in _lines(TEXTS / "documents.txt")]
            return cls(documents, _lines(TEXTS / "queries.txt"))
        lines = _lines(path)
        if len(lines) < MIN_TEXTS:
            raise InputError(f"{path} has {len(lines)} texts; at least {MIN_TEXTS} are needed, one per line")
        return cls(lines, lines[::5][:MAX_QUERIES])

    def sample(self) -> "Texts":
        """An eighth of the documents, and a few of the queries."""
        return Texts(self.documents[::8], self.queries[::25])


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from error


def measure(
    original: EngineDir,
    quantized: EngineDir,
    *,
    load: Load,
    texts: Texts,
    min_cosine: float | None = None,
    progress: Watch = None,
) -> Accuracy:
    """Compare a quantized engine directory with the original. Only one of them is loaded at a time.

    Raises CheckpointError if `min_cosine` is given and the mean cosine similarity is lower, or not measured.
    """
    task = original.manifest.spec.task
    if min_cosine is not None and task not in WITH_COSINE:
        raise CheckpointError(
            f"--min-cosine is {min_cosine}, but the cosine similarity of a {task.replace('_', ' ')} is not measured",
            hint="remove --min-cosine",
        )
    answers = []
    for engine_dir in (original, quantized):
        with OpenModel(engine_dir, load(engine_dir)) as model:
            answers.append(COMPARISONS[task].answer(model, texts, progress))
    figures = {name: round(float(figure), 6) for name, figure in COMPARISONS[task].compare(*answers).items()}
    if min_cosine is not None and figures[MEAN_COSINE] < min_cosine:
        raise CheckpointError(
            f"the mean cosine similarity to {original.manifest.dtype} is {figures[MEAN_COSINE]}; "
            f"--min-cosine is {min_cosine}",
            hint="choose a quantization with more bits, or quantize only the MLPs",
        )
    return Accuracy(num_documents=len(texts.documents), num_queries=len(texts.queries), figures=figures)


class Comparison(NamedTuple):
    """How models of a task process texts, and the figures that compare the results of two models."""

    answer: Callable[[OpenModel, Texts, Watch], Any]
    compare: Callable[[Any, Any], dict[str, float]]


MEAN_COSINE, WORST_COSINE = "mean cosine", "worst cosine"


def _embed(model: OpenModel, texts: Texts, progress: Watch) -> tuple[Vectors, Vectors]:
    prompt = model.prompts.for_input_type("search_query")
    queries = model.embed(texts.queries, prompt=prompt, progress=progress)
    return queries, model.embed_documents(texts.documents, progress=progress)


def _compare_embeddings(one: tuple[Vectors, Vectors], other: tuple[Vectors, Vectors]) -> dict[str, float]:
    both, others = np.concatenate(one), np.concatenate(other)
    similarities = cosines(both, others)
    mean = both.mean(axis=0)
    rankings = [_nearest(queries, documents) for queries, documents in (one, other)]
    shared = [len(np.intersect1d(*rows)) / len(rows[0]) for rows in zip(*rankings, strict=True)]
    return {
        MEAN_COSINE: similarities.mean(),
        WORST_COSINE: similarities.min(),
        "mean cosine after subtracting the mean": cosines(both - mean, others - mean).mean(),
        f"top-{RANKED} overlap": float(np.mean(shared)),
    }


def cosines(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    """The cosine similarity of each pair of rows, float64 [n]; 1 for two zero vectors."""
    rows = [vectors.astype(np.float64) for vectors in (one, other)]
    lengths = np.linalg.norm(rows[0], axis=1) * np.linalg.norm(rows[1], axis=1)
    products = (rows[0] * rows[1]).sum(axis=1)
    is_zero = lengths == 0
    are_equal = (rows[0] == rows[1]).all(axis=1)
    cosines: NDArray[np.float64] = np.where(is_zero, are_equal, products / np.where(is_zero, 1.0, lengths))
    return cosines


def _nearest(queries: Vectors, documents: Vectors) -> NDArray[np.int64]:
    """The indices of the most similar documents of each query."""
    similarities = to_embeddings(queries, normalize=True) @ to_embeddings(documents, normalize=True).T
    return np.argsort(-similarities, axis=1, kind="stable")[:, :RANKED]


def _expand(model: OpenModel, texts: Texts, progress: Watch) -> list[dict[int, float]]:
    return model.sparse([*texts.queries, *texts.documents], progress=progress)


def _compare_terms(one: list[dict[int, float]], other: list[dict[int, float]]) -> dict[str, float]:
    similarities, overlaps = [], []
    for terms, others in zip(one, other, strict=True):
        product = sum(weight * others.get(term, 0.0) for term, weight in terms.items())
        lengths = [np.sqrt(sum(weight**2 for weight in each.values())) for each in (terms, others)]
        similarities.append(product / (lengths[0] * lengths[1]) if all(lengths) else float(terms == others))
        union = terms.keys() | others.keys()
        overlaps.append(len(terms.keys() & others.keys()) / len(union) if union else 1.0)
    return {
        MEAN_COSINE: float(np.mean(similarities)),
        WORST_COSINE: min(similarities),
        "overlap of terms": float(np.mean(overlaps)),
    }


def _score(model: OpenModel, texts: Texts, progress: Watch) -> list[Vectors]:
    """Scores of some documents for each of some queries."""
    documents = iter(texts.documents * PAIRED_QUERIES)
    lists = [(query, list(islice(documents, PAIRED_DOCUMENTS))) for query in texts.queries[:PAIRED_QUERIES]]
    scores = model.score([(query, text) for query, chosen in lists for text in chosen], progress=progress)
    return np.split(scores, len(lists))


def _compare_scores(one: list[Vectors], other: list[Vectors]) -> dict[str, float]:
    pairs = list(zip(one, other, strict=True))
    return {
        "Kendall's tau": float(np.mean([_kendall_tau(*pair) for pair in pairs])),
        "largest change of a score": max(float(np.abs(scores - others).max()) for scores, others in pairs),
    }


def _kendall_tau(one: Vectors, other: Vectors) -> float:
    """Kendall's tau-b of two rankings: 1 if they are equal, -1 if one is the reverse of the other."""
    signs = [np.sign(np.subtract.outer(scores, scores)) for scores in (one, other)]
    norm = np.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum())
    return float((signs[0] * signs[1]).sum() / norm) if norm else float(np.array_equal(signs[0], signs[1]))


def _classify(model: OpenModel, texts: Texts, progress: Watch) -> list[dict[str, float]]:
    """The scores of each text by label."""
    classified = model.classify(texts.documents, progress=progress)
    return [{label.label: label.score for label in labels} for labels in classified]


def _compare_labels(one: list[dict[str, float]], other: list[dict[str, float]]) -> dict[str, float]:
    pairs = list(zip(one, other, strict=True))
    return {
        "same best label": float(np.mean([max(a, key=a.__getitem__) == max(b, key=b.__getitem__) for a, b in pairs])),
        "largest change of a score": max(abs(a[label] - b[label]) for a, b in pairs for label in a),
    }


def _find_entities(model: OpenModel, texts: Texts, progress: Watch) -> list[tuple[int, int, str]]:
    """For each token with a label: the index of its text, its start, and the label."""
    found = model.entities(texts.documents, aggregation="none", progress=progress)
    return [(index, entity.start, entity.label) for index, entities in enumerate(found) for entity in entities]


def _compare_entities(one: list[tuple[int, int, str]], other: list[tuple[int, int, str]]) -> dict[str, float]:
    shared, total = len({*one} & {*other}), len({*one}) + len({*other})
    return {"F1 of labelled tokens": 2 * shared / total if total else 1.0}


COMPARISONS: dict[Task, Comparison] = {
    "embedding": Comparison(_embed, _compare_embeddings),
    "sparse": Comparison(_expand, _compare_terms),
    "reranker": Comparison(_score, _compare_scores),
    "classifier": Comparison(_classify, _compare_labels),
    "late_interaction": Comparison(_score, _compare_scores),
    "token_classifier": Comparison(_find_entities, _compare_entities),
}
"""Task -> how its models are compared."""

WITH_COSINE = ("embedding", "sparse")
"""Tasks whose figures include the mean cosine similarity."""
