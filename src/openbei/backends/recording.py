"""A reference backend for calibration, which records the magnitudes of the inputs of linear layers."""

from collections.abc import Iterator, Mapping

import numpy as np

from openbei.backends.reference import ReferenceEngine
from openbei.batch import Vectors
from openbei.engine_dir import EngineDir
from openbei.shapes import tensor_shapes


class RecordingEngine(ReferenceEngine):
    """`magnitudes` has the largest magnitude of each input of each linear layer: float32 [K], by the weight's name."""

    def __init__(self, engine_dir: EngineDir) -> None:
        super().__init__(engine_dir)
        self.magnitudes: dict[str, Vectors] = {}

    def _decoded(self, engine_dir: EngineDir) -> Mapping[str, Vectors]:
        return _DecodedWhenUsed(engine_dir)

    def _linear(self, at: str, x: Vectors) -> Vectors:
        name, largest = f"{at}.weight", np.abs(x).max(axis=0, initial=0)
        self.magnitudes[name] = np.maximum(self.magnitudes.get(name, largest), largest)
        return super()._linear(at, x)


class _DecodedWhenUsed(Mapping[str, Vectors]):
    """The tensors of an engine directory in float32. Each is decoded when it is used, so large models fit in memory."""

    def __init__(self, engine_dir: EngineDir) -> None:
        self._engine_dir, self._shapes = engine_dir, tensor_shapes(engine_dir.manifest.spec)

    def __getitem__(self, name: str) -> Vectors:
        storage = self._engine_dir.manifest.storage[name]
        return storage.load(name, self._engine_dir.tensors, self._shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)
