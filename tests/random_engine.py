"""In-memory engine directories with random weights, for any spec."""

from pathlib import Path

import numpy as np

from openbei.absorbed import absorb, absorbed_from, absorbs
from openbei.build.storage import choose_storage
from openbei.engine_dir import EngineDir, Manifest
from openbei.formats.format import Floats
from openbei.quantization import NO_QUANTIZATION, QUANTIZATIONS
from openbei.safetensors_file import Array, Shape
from openbei.shapes import tensor_shapes
from openbei.spec import DType, ModelSpec


def random_engine_dir(
    spec: ModelSpec, dtype: DType = "float32", seed: int = 0, quantization: str = NO_QUANTIZATION
) -> EngineDir:
    """Random weights, stored as in a build."""
    rng, inputs_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    numbers = {name: _random(name, shape, rng) for name, shape in tensor_shapes(spec).items()}
    if absorbs(spec):
        numbers["absorbed_keys.weight"] = absorb(spec, numbers[absorbed_from(spec)])
        numbers["absorbed_keys.bias"] = np.zeros(len(numbers["absorbed_keys.weight"]), np.float32)
    storage = choose_storage(spec, dtype, "cpu", QUANTIZATIONS.get(quantization))
    tensors: dict[str, Array] = {}
    for name, stored in storage.items():
        magnitudes = np.exp(inputs_rng.normal(size=numbers[name].shape[-1])).astype(np.float32)
        tensors |= stored.store(name, numbers[name], magnitudes)
    manifest = Manifest(
        openbei_version="0",
        model_name="random",
        source="seed",
        spec=spec,
        target="cpu",
        storage=storage,
        quantization=quantization,
        max_sequence_tokens=spec.positions.max_positions,
        max_num_tokens=8192,
        default_route="/v1/embeddings",
        content_hash="",
        report=(),
    )
    return EngineDir(Path("random"), manifest, tensors)


def _random(name: str, shape: Shape, rng: np.random.Generator) -> Floats:
    """Scaled to preserve variance through the layers, so that tokens and texts stay distinct."""
    values = rng.standard_normal(shape).astype(np.float32)
    if name == "attention.buckets" or (name.startswith("embeddings.") and len(shape) == 2):
        return values
    if len(shape) == 2:
        return values / np.float32(np.sqrt(shape[1]))
    return 1 + values / 4 if "norm" in name and name.endswith(".weight") else values / 4
