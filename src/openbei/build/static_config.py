"""A config for modules of STATIC_MODULES, which have no config.json, from the shapes of their tensors."""

from pathlib import Path
from typing import Any

from openbei.build.stored import SINGLE_FILE, read_checkpoint
from openbei.errors import CheckpointError
from openbei.families import STATIC_MODULES

_NAMES: dict[str, tuple[str, ...]] = {
    "StaticEmbedding": ("embedding.weight", "embeddings"),
    "SparseStaticEmbedding": ("weight",),
}
"""Module -> possible names of its table; "embeddings" is model2vec's."""

_PER_TOKEN = ("mapping", "weights")
"""Optional tensors of model2vec: for each token the index of its row, and a factor."""


def static_config(root: Path, kind: str) -> dict[str, Any]:
    """The config of a module: its class as the architecture, and the shape of its table.

    The table has `num_rows` rows; `per_token` names the tensors that expand them to one row for each of `vocab_size`
    tokens. Raises CheckpointError if the table is missing or has a wrong rank.
    """
    tensors = read_checkpoint(root)
    name = next((name for name in _NAMES[kind] if name in tensors), None)
    if name is None:
        raise CheckpointError(f"{root / SINGLE_FILE}: {kind} needs a tensor named {' or '.join(_NAMES[kind])}")
    shape = tensors[name].shape
    rank = 2 if STATIC_MODULES[kind] == "embedding" else 1
    if len(shape) != rank:
        raise CheckpointError(
            f"{root / SINGLE_FILE}: {name} has the shape {list(shape)}; {kind} needs {rank} dimension{'s' * (rank > 1)}"
        )
    per_token = [each for each in _PER_TOKEN if each in tensors and STATIC_MODULES[kind] == "embedding"]
    num_rows, hidden_size = (*shape, 1)[:2]
    vocab_size = tensors[per_token[0]].size if per_token else num_rows
    return {
        "architectures": [kind],
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "num_rows": num_rows,
        "per_token": per_token,
    }
