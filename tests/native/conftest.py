"""Engine directories of random weights, in memory: any shape, no checkpoint, no disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.engine_dir import EngineDir, Manifest
from openbei.quant import SCHEMES
from openbei.quant.scheme import padded
from openbei.shapes import tensor_shapes
from openbei.spec import MLP, Activation, Attention, DType, EmbeddingHead, Head, LayerNorm, LearnedPositions, ModelSpec

MEAN = EmbeddingHead(poolings=("mean",))

MakeSpec = Callable[..., ModelSpec]
MakeEngineDir = Callable[..., EngineDir]


@pytest.fixture
def make_spec() -> MakeSpec:
    def make(
        hidden: int = 64, heads: int = 2, head_dim: int = 32, inner: int = 96, activation: Activation = "gelu",
        layers: int = 2, max_positions: int = 1100, head: Head = MEAN, first_position: int = 0, **others: Any,
    ) -> ModelSpec:  # fmt: skip
        given: dict[str, Any] = {
            "family": "bert",
            "vocab_size": 211,
            "type_vocab_size": 2,
            "hidden_size": hidden,
            "num_layers": layers,
            "positions": LearnedPositions(max_positions=max_positions, first=first_position),
            "attention": Attention(num_heads=heads, num_kv_heads=heads, head_dim=head_dim),
            "mlp": MLP(intermediate_size=inner, activation=activation),
            "norm": LayerNorm(eps=1e-12),
            "head": head,
        }
        return ModelSpec(**given | others)

    return make


@pytest.fixture
def make_engine_dir() -> MakeEngineDir:
    def make(spec: ModelSpec, dtype: DType = "float32", seed: int = 0) -> EngineDir:
        rng = np.random.default_rng(seed)
        scheme = SCHEMES[dtype]
        tensors = {}
        for name, shape in tensor_shapes(spec).items():
            # Variance is kept through the layers, so that tokens and texts stay far apart.
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
            openbei_version="0", model_name="random", source="seed", spec=spec,
            dtype=dtype, max_sequence_tokens=spec.positions.max_positions, max_num_tokens=8192,
            default_route="/v1/embeddings", content_hash="", report=(),
        )  # fmt: skip
        return EngineDir(Path("random"), manifest, tensors)

    return make
