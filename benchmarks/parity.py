"""Accuracy of embeddings: compared with sentence-transformers, and a text alone compared with the text in a batch."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from openbei.model import Model
from openbei.spec import DType
from tests.same_embedding import worst_centred_cosine, worst_plain_cosine

from . import peers
from .results import Row, report
from .setting import Setting

Vectors = NDArray[np.float32]
LIMITS: dict[DType, float] = {"bfloat16": 0.9995, "float32": 0.999999}


def alone(model: Model, texts: Iterable[str]) -> Vectors:
    """Embed every text in a separate batch."""
    return np.concatenate([model.embed([text]) for text in texts])


def run(setting: Setting) -> list[Row]:
    """Worst cosines over 500 texts of 3 to 512 tokens.

    Subtracting the mean reveals errors that a common offset hides.
    """
    texts = setting.corpus.every_length(setting.count(500))
    truth = peers.sentence_transformer(setting.checkpoint, setting.threads)(texts)
    rows = []
    for dtype, limit in LIMITS.items():
        model = setting.model(dtype)
        ours = model.embed(texts)
        against = f"cosine to sentence-transformers float32, {dtype}, worst of {len(texts)}"
        together = f"a text alone compared with the same text in a batch, {dtype}, worst cosine"
        rows += [
            Row(against, worst_plain_cosine(ours, truth), "{:.6f}", limit),
            Row(f"the same after subtracting the mean vector, {dtype}", worst_centred_cosine(ours, truth), "{:.6f}"),
            Row(together, worst_plain_cosine(ours, alone(model, texts)), "{:.6f}", 0.99999),
        ]
    report("parity", setting.about(), {row.name: row.value for row in rows}, rows)
    return rows
