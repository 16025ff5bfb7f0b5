"""In-memory engine directories with random weights, for any spec."""

from pathlib import Path

import numpy as np

from openbei.engine_dir import EngineDir, Manifest
from openbei.quant import SCHEMES
from openbei.quant.scheme import padded
from openbei.shapes import tensor_shapes
from openbei.spec import DType, ModelSpec


def random_engine_dir(spec: ModelSpec, dtype: DType = "float32", seed: int = 0) -> EngineDir:
    """Random weights, packed as in a build."""
    rng = np.random.default_rng(seed)
    scheme = SCHEMES[dtype]
    tensors = {}
    for name, shape in tensor_shapes(spec).items():
        # Scaled to preserve variance through the layers, so that tokens and texts stay distinct.
        values = rng.standard_normal(shape).astype(np.float32)
        if name == "attention.buckets":
            tensors[name] = values
        elif len(shape) == 2 and not name.startswith("embeddings."):
            tensors[name] = scheme.pack(values / np.float32(np.sqrt(shape[1])))
        elif len(shape) == 2:
            tensors[name] = scheme.cast(values)
        elif "norm" in name and name.endswith(".weight"):
            tensors[name] = 1 + values / 4
        else:
            bias = values / 4
            tensors[name] = bias if "norm" in name else np.pad(bias, (0, padded(len(bias)) - len(bias)))
    manifest = Manifest(
        openbei_version="0",
        model_name="random",
        source="seed",
        spec=spec,
        dtype=dtype,
        max_sequence_tokens=spec.positions.max_positions,
        max_num_tokens=8192,
        default_route="/v1/embeddings",
        content_hash="",
        report=(),
    )
    return EngineDir(Path("random"), manifest, tensors)
