"""What each task computes for the rows of a file: its operation, and the columns of its results.

The functions raise WrongTaskError for a model without the task, and InputError for options that it does not have.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from openbei.batch import Output, Rows, Sequence, Vectors
from openbei.bulk.part import Part
from openbei.bulk.results import Labels, Lists, Scores, Types, Values, empty
from openbei.bulk.results import Vectors as VectorColumn
from openbei.methods import require
from openbei.serving import operations
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.operations import Operation
from openbei.tasks.precision import Precision, quantize
from openbei.tasks.tokens import Entity, Strategy

VectorPrecision = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]
"""The number format of vectors; the formats of integers and bits are those of the HTTP API."""


class Task(Protocol):
    """What is computed for the rows of parts, by the engine's `output`. `types` are the columns of the results."""

    @property
    def name(self) -> str:
        """The step of the progress bar."""

    @property
    def output(self) -> Output:
        """The output of the engine."""

    @property
    def types(self) -> Types:
        """The columns of the results."""

    def encode(self, part: Part) -> list[Sequence]:
        """The sequences of a part. Raises InputError."""

    def results(self, part: Part, rows: list[Rows]) -> dict[str, Values]:
        """The columns of the engine's rows for the sequences of a part."""


@dataclass(frozen=True, slots=True)
class OperationTask:
    """A task that is an operation on texts.

    `inputs` makes its inputs of the texts of the rows, one list for each column; `columns` makes columns, with the
    types `types`, of its results.
    """

    name: str
    operation: Operation[Any, Any]
    types: Types
    columns: Callable[[Any], dict[str, Values]]
    inputs: Callable[[list[list[str]]], list[Any]] = lambda texts: texts[0]

    @property
    def output(self) -> Output:
        """See Task."""
        return self.operation.output

    def encode(self, part: Part) -> list[Sequence]:
        """See Task."""
        return self.operation.encode(self.inputs(part.texts)) if part.positions else []

    def results(self, part: Part, rows: list[Rows]) -> dict[str, Values]:
        """See Task."""
        if not rows:
            return {name: empty(kind) for name, kind in self.types.items()}
        return self.columns(self.operation.finish(rows))


def prefixed(task: OperationTask, prefix: str) -> OperationTask:
    """The task with a prefix before the names of its columns."""
    return replace(
        task,
        types={prefix + name: kind for name, kind in task.types.items()},
        columns=lambda results: {prefix + name: values for name, values in task.columns(results).items()},
    )


def embed(
    model: LoadedModel, *, prompt: str, dimensions: int | None, precision: VectorPrecision, truncate: bool
) -> OperationTask:
    """The column `embedding`."""
    require(model.manifest, "embed")
    operation = operations.embed(model, prompt=prompt, dimensions=dimensions, normalize=None, truncate=truncate)
    width = dimensions or model.manifest.dimensions or model.manifest.spec.output_width
    sample = in_precision(np.zeros((1, width), np.float32), precision)
    types: Types = {"embedding": VectorColumn(sample.shape[1], str(sample.dtype))}
    return OperationTask("embed", operation, types, lambda vectors: {"embedding": in_precision(vectors, precision)})


def in_precision(vectors: Vectors, precision: VectorPrecision) -> NDArray[Any]:
    """Vectors float32 [n, D] in another precision. Raises InputError for bits of a D that 8 does not divide."""
    if precision == "float16":
        return vectors.astype(np.float16)
    quantized: Precision = "float" if precision == "float32" else precision
    return quantize(vectors, quantized)


def rerank(
    model: LoadedModel, *, query: str | None, instruction: str | None, raw_scores: bool, truncate: bool
) -> OperationTask:
    """The column `score`: the relevance to `query`, or to the first of two columns of texts."""
    require(model.manifest, "score")
    operation = operations.score(model, instruction=instruction, raw_scores=raw_scores, truncate=truncate)

    def pairs(texts: list[list[str]]) -> list[tuple[str, str]]:
        return [(query, text) for text in texts[0]] if query is not None else [*zip(*texts, strict=True)]

    return OperationTask("score", operation, {"score": Scores()}, lambda scores: {"score": scores}, pairs)


def classify(model: LoadedModel, *, all_labels: bool, raw_scores: bool, truncate: bool) -> OperationTask:
    """The columns `label` and `score`; with `all_labels` also `scores`, those of all labels in the model's order."""
    require(model.manifest, "classify")
    operation = operations.classify(model, raw_scores=raw_scores, truncate=truncate)
    labels = model.manifest.labels
    types: Types = {"label": Labels(), "score": Scores()}
    if all_labels:
        types["scores"] = Lists((("label", "str"), ("score", "float32")))

    def columns(scores: Vectors) -> dict[str, Values]:
        best = scores.argmax(axis=1)
        found: dict[str, Values] = {
            "label": [labels[i] for i in best],
            "score": scores[np.arange(len(scores)), best],
        }
        if all_labels:
            found["scores"] = [
                [{"label": label, "score": score} for label, score in zip(labels, row, strict=True)]
                for row in scores.tolist()
            ]
        return found

    return OperationTask("classify", operation, types, columns)


MEMBERS = (("text", "str"), ("label", "str"), ("score", "float32"), ("start", "int32"), ("end", "int32"))
"""The members of an entity. `start` and `end` (exclusive) are code points of the text."""


def find_entities(model: LoadedModel, *, aggregation: Strategy, truncate: bool) -> OperationTask:
    """The column `entities`: a list for each row."""
    require(model.manifest, "entities")
    operation = operations.find_entities(model, aggregation=aggregation, raw_scores=False, truncate=truncate)
    types: Types = {"entities": Lists(MEMBERS)}
    return OperationTask(
        "classify", operation, types, lambda rows: {"entities": [[_record(e) for e in row] for row in rows]}
    )


def _record(entity: Entity) -> dict[str, object]:
    values = (entity.token, entity.label, entity.score, entity.start, entity.end)
    return dict(zip((name for name, _ in MEMBERS), values, strict=True))


def sparse(model: LoadedModel, *, prompt: str, truncate: bool) -> OperationTask:
    """The columns `indices`, token ids in ascending order, and `values`, their weights."""
    require(model.manifest, "sparse")
    operation = operations.sparse(model, prompt=prompt, truncate=truncate)
    types: Types = {"indices": Lists("int32"), "values": Lists("float32")}

    def columns(rows: list[list[tuple[int, float]]]) -> dict[str, Values]:
        return {
            "indices": [[index for index, _ in row] for row in rows],
            "values": [[value for _, value in row] for row in rows],
        }

    return OperationTask("embed", operation, types, columns)
