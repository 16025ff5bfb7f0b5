"""The test set of the STS benchmark: 1,379 pairs of sentences, and how alike people found them."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tests.same_embedding import unit

Floats = NDArray[np.float32]


def spearman(folder: Path, embed: Callable[[list[str]], Floats], *, sample: int | None = None) -> float:
    """100 × the rank correlation of cosines with what people said, over all pairs or a seeded `sample` of them."""
    rows = [line.split("\t") for line in (folder / "sts-test.csv").read_text(encoding="utf-8").splitlines()]
    if sample:
        rows = random.Random(0).sample(rows, sample)
    texts = sorted({text for row in rows for text in row[5:7]})
    index = {text: i for i, text in enumerate(texts)}
    vectors = unit(embed(texts))
    first, second = (vectors[[index[row[column]] for row in rows]] for column in (5, 6))
    return 100 * float(spearmanr((first * second).sum(axis=1), [float(row[4]) for row in rows]).statistic)
