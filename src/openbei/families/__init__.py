"""Families: architectures as data. A file a family; this table says which file an architecture name leads to.

A family file has
    parse(config) -> ModelSpec   from the decoded config.json; raises CheckpointError for what the spec cannot say
    WEIGHTS                      checkpoint tensor name -> engine tensor name, None for what is dropped on purpose;
                                 `{}` is the layer; names that share an engine tensor are stacked by rows, in order
    PREFIX, OLD_SUFFIXES         what may stand before a name, and older spellings of its end
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

from openbei.errors import CheckpointError
from openbei.spec import ModelSpec

FAMILIES: dict[str, str] = {
    "BertModel": "openbei.families.bert",
    "BertForMaskedLM": "openbei.families.bert",
    "BertForPreTraining": "openbei.families.bert",
}


class Family(Protocol):
    """The face of a family file."""

    WEIGHTS: Mapping[str, str | None]
    PREFIX: str
    OLD_SUFFIXES: Mapping[str, str]

    def parse(self, config: Mapping[str, object]) -> ModelSpec:
        """The spec of a decoded config.json. Raises CheckpointError."""
        ...


def find_family(architecture: str) -> Family:
    """The family of an architecture name of config.json. Raises CheckpointError, naming those that exist."""
    module = FAMILIES.get(architecture)
    if module is None:
        raise CheckpointError(
            f"architecture {architecture!r} is not one that openbei builds: {', '.join(FAMILIES)}",
            hint="only bidirectional BERT embedding models are implemented so far",
        )
    return cast(Family, import_module(module))
