"""A published embedding model: its folder, its engines, and sentence-transformers' own, by which it is judged."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbei.engine_dir import EngineDir, open_engine_dir
from openbei.spec import DType
from tests.checkpoint import build_engine
from tests.sentence_chain import embed

Floats = NDArray[np.float32]

EMBEDDERS = ("all-MiniLM-L6-v2", "all-mpnet-base-v2", "wordllama-l2-supercat-256")

STS_SCORES = {"all-MiniLM-L6-v2": 82.03, "all-mpnet-base-v2": 83.42}
"""What MTEB publishes as Spearman correlation on the test set of the STS benchmark."""


@dataclass(frozen=True)
class Checkpoint:
    """`work` is where engines are built."""

    name: str
    folder: Path
    work: Path

    def engine_dir(self, dtype: DType) -> EngineDir:
        """Its engine directory, built when it is first asked for."""
        path = self.work / dtype
        if path.exists():
            return open_engine_dir(path, verify=False)
        return build_engine(self.folder, path, dtype=dtype)

    def embed(self, texts: list[str], dtype: DType) -> Floats:
        """What this engine makes of texts."""
        return embed(self.engine_dir(dtype), texts)

    @cached_property
    def judge(self) -> Any:
        """The model in sentence-transformers, in float32."""
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(self.folder), device="cpu", local_files_only=True).float()
