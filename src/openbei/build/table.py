"""Modules that are a table instead of a transformer: what a config.json would say of one, by its tensors."""

from pathlib import Path
from typing import Any

from openbei.build.check import SINGLE_FILE, read_checkpoint
from openbei.errors import CheckpointError
from openbei.families import TABLES

_NAMES: dict[str, tuple[str, ...]] = {
    "StaticEmbedding": ("embedding.weight", "embeddings"),
    "SparseStaticEmbedding": ("weight",),
}
"""Names that the table has in the file of a module; "embeddings" is model2vec's."""


def table_config(root: Path, kind: str) -> dict[str, Any]:
    """A module of TABLES in the words of a config.json: its class as the architecture, and the shape of its table.

    Raises CheckpointError where there is no table, none of this kind, or more than that.
    """
    tensors = read_checkpoint(root)
    name = next((name for name in _NAMES[kind] if name in tensors), None)
    if name is None:
        raise CheckpointError(f"{root / SINGLE_FILE} has no tensor {' or '.join(_NAMES[kind])}, a {kind}'s table")
    if others := tensors.keys() - {name}:
        raise CheckpointError(
            f"{root / SINGLE_FILE} has {', '.join(sorted(others))} beside {name}; a row for each token is what is read",
            hint="load and save the model once with sentence-transformers, which folds a mapping and weights into rows",
        )
    shape = tensors[name].shape
    if len(shape) != (2 if TABLES[kind] == "embedding" else 1):
        raise CheckpointError(f"{root / SINGLE_FILE}: {name} has the shape {list(shape)}, which is not a {kind}'s")
    rows, columns = (*shape, 1)[:2]
    return {"architectures": [kind], "vocab_size": rows, "hidden_size": columns}
