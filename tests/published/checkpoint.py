"""A published embedding model: its folder, its engines, and sentence-transformers' own, by which it is judged."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbei.model import Model
from openbei.spec import DType
from tests.checkpoint import build_engine

Floats = NDArray[np.float32]

EMBEDDERS = (
    "all-MiniLM-L6-v2",
    "all-mpnet-base-v2",
    "paraphrase-MiniLM-L3-v2",
    "multilingual-e5-small-4bit",
    "wordllama-l2-supercat-256",
)

STS_SCORES = {
    "all-MiniLM-L6-v2": 82.03,
    "all-mpnet-base-v2": 83.42,
    "paraphrase-MiniLM-L3-v2": 82.41,
    "multilingual-e5-small-4bit": 83.91,
}
"""100 × Spearman correlation on the test set of the STS benchmark. MTEB publishes the first two. The third is what its
ONNX model reaches in onnxruntime, and the fourth what sentence-transformers reaches in float32."""


@dataclass(frozen=True)
class Checkpoint:
    """`work` is where engines are built."""

    name: str
    folder: Path
    work: Path
    _models: dict[DType, Model] = field(default_factory=dict)

    def embed(self, texts: list[str], dtype: DType) -> Floats:
        """Vectors of texts by its engine in a dtype, which is built for the first texts."""
        if dtype not in self._models:
            self._models[dtype] = Model(build_engine(self.folder, self.work / dtype, dtype=dtype).path)
        return self._models[dtype].embed(texts)

    @cached_property
    def judge(self) -> Any:
        """The model in sentence-transformers, in float32."""
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(self.folder), device="cpu", local_files_only=True).float()
