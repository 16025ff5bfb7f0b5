"""Calibration: the magnitudes of the inputs of a model's linear layers, on a few texts."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from openbei.accuracy import COMPARISONS, Texts
from openbei.batch import Engine, Vectors
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError
from openbei.open_model import OpenModel
from openbei.progress import Watch


class Recording(Engine, Protocol):
    """An engine that records the largest magnitudes of the inputs of linear layers, by the names of their weights."""

    @property
    def magnitudes(self) -> Mapping[str, Vectors]:
        """float32 [K] for each weight [N, K] that has been used."""
        ...


def calibrate(engine_dir: EngineDir, engine: Recording, texts: Texts, progress: Watch = None) -> Mapping[str, Vectors]:
    """The magnitudes that an engine records for texts. Raises CheckpointError if they are not finite."""
    with OpenModel(engine_dir, engine) as model:
        COMPARISONS[engine_dir.manifest.spec.task].answer(model, texts, progress)
    for name, magnitudes in engine.magnitudes.items():
        if not np.isfinite(magnitudes).all():
            raise CheckpointError(
                f"the inputs of {name} are not all finite for the texts that quantization is calibrated with",
                hint="use weights_int8, which quantizes only weights",
            )
    return engine.magnitudes
