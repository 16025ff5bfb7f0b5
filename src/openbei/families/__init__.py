"""Families: architectures as data. A file a family; this table says which file an architecture name leads to.

A family file has
    parse(config, head) -> ModelSpec   from the decoded config.json; raises CheckpointError for what the spec cannot say
    dense(config, kind) -> Dense       what a head of that kind does before its last linear map, or None
    WEIGHTS                            checkpoint tensor name -> engine tensor name, a linear map or norm without its
                                       `.weight` and `.bias`; `{}` is the layer; names that share an engine tensor are
                                       stacked by rows, in order
    HEADS                              the same of each kind of head it can have
    TIED                               checkpoint tensor that may be missing -> the one that it is then the same as
    DROPPED                            tensors that are left out on purpose
    PREFIX, OLD_SUFFIXES               what may stand before a name, and older spellings of its end
"""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Annotated, Literal, Protocol, TypeVar, cast

import msgspec

from openbei.errors import CheckpointError
from openbei.spec import Activation, Dense, Head, ModelSpec

HeadKind = Literal["embedding", "sequence_labels", "token_labels", "term_weights"]

FAMILIES: dict[str, str] = {
    "Bert": "openbei.families.bert",
    "Roberta": "openbei.families.roberta",
    "XLMRoberta": "openbei.families.roberta",
    "Camembert": "openbei.families.roberta",
}
"""Beginning of an architecture's name -> file."""

ARCHITECTURES: dict[str, tuple[HeadKind, ...]] = {
    "Model": ("embedding",),
    "ForPreTraining": ("embedding",),
    "ForMaskedLM": ("embedding", "term_weights"),
    "ForSequenceClassification": ("sequence_labels",),
    "ForTokenClassification": ("token_labels",),
}
"""Its end -> what it can be built as. Where there are two, modules.json decides."""


ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""transformers' names of activations -> ours."""

Size = Annotated[int, msgspec.Meta(ge=1)]
T = TypeVar("T")


class Family(Protocol):
    """The face of a family file."""

    WEIGHTS: Mapping[str, str]
    HEADS: Mapping[HeadKind, Mapping[str, str]]
    TIED: Mapping[str, str]
    DROPPED: Collection[str]
    PREFIX: str
    OLD_SUFFIXES: Mapping[str, str]

    def parse(self, config: Mapping[str, object], head: Head) -> ModelSpec:
        """The spec of a decoded config.json. Raises CheckpointError."""
        ...

    def dense(self, config: Mapping[str, object], kind: HeadKind) -> Dense | None:
        """What comes between the layers and the last linear map of a head."""
        ...


def find_family(architecture: str) -> tuple[Family, tuple[HeadKind, ...]]:
    """The family of an architecture name of config.json, and what it can be. Raises CheckpointError, naming all."""
    for beginning, module in FAMILIES.items():
        kinds = ARCHITECTURES.get(architecture.removeprefix(beginning))
        if architecture.startswith(beginning) and kinds:
            return cast(Family, import_module(module)), kinds
    raise CheckpointError(
        f"architecture {architecture!r} is not one that openbei builds: {', '.join(FAMILIES)}, followed by one of "
        f"{', '.join(ARCHITECTURES)}",
        hint="only BERT and its like are implemented so far",
    )


def fields_of(config: Mapping[str, object], kind: type[T]) -> T:
    """The fields of a config.json that a family wants. Raises CheckpointError, naming one that is wrong."""
    try:
        return msgspec.convert(config, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"config.json: {error}") from error
