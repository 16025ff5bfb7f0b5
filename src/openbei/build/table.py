"""Modules that are a table instead of a transformer: what a config.json would say of one, by its tensors."""

from pathlib import Path
from typing import Any

from openbei.build.stored import SINGLE_FILE, read_checkpoint
from openbei.errors import CheckpointError
from openbei.families import TABLES

_NAMES: dict[str, tuple[str, ...]] = {
    "StaticEmbedding": ("embedding.weight", "embeddings"),
    "SparseStaticEmbedding": ("weight",),
}
"""Names that the table has in the file of a module; "embeddings" is model2vec's."""

_OF_TOKENS = ("mapping", "weights")
"""What model2vec may have beside it: the row of each token, and the factor of each."""


def table_config(root: Path, kind: str) -> dict[str, Any]:
    """A module of TABLES in the words of a config.json: its class as the architecture, and the shape of its table.

    `num_rows` are those that are stored, and `of_tokens` names what makes of them one for each of `vocab_size` tokens.
    Raises CheckpointError where there is no table, or none of this kind.
    """
    tensors = read_checkpoint(root)
    name = next((name for name in _NAMES[kind] if name in tensors), None)
    if name is None:
        raise CheckpointError(f"{root / SINGLE_FILE} has no tensor {' or '.join(_NAMES[kind])}, a {kind}'s table")
    shape = tensors[name].shape
    if len(shape) != (2 if TABLES[kind] == "embedding" else 1):
        raise CheckpointError(f"{root / SINGLE_FILE}: {name} has the shape {list(shape)}, which is not a {kind}'s")
    of_tokens = [one for one in _OF_TOKENS if one in tensors and TABLES[kind] == "embedding"]
    num_rows, columns = (*shape, 1)[:2]
    vocab_size = tensors[of_tokens[0]].size if of_tokens else num_rows
    sizes = {"vocab_size": vocab_size, "hidden_size": columns, "num_rows": num_rows}
    return {"architectures": [kind], **sizes, "of_tokens": of_tokens}
