"""Quantized weights: products in 8 bit against float64, whole models against the reference backend."""

import logging

import msgspec
import numpy as np
import pytest
import torch

from openbei.backends import cuda
from openbei.backends.cuda.engine import CudaEngine
from openbei.backends.cuda.layers import AttentionWeights, MLPWeights
from openbei.backends.cuda.ops import LinearWeights
from openbei.backends.cuda.ops_torch import TorchOps
from openbei.backends.cuda.transfer import WeightUpload
from openbei.backends.cuda.weights import load_weights
from openbei.backends.reference import ReferenceEngine
from openbei.engine_dir import EngineDir
from openbei.formats.storage import Storage
from openbei.gpus import Capability
from openbei.safetensors_file import Array
from openbei.shapes import linear_shapes, tensor_shapes
from openbei.spec import ModelSpec
from tests.random_engine import random_engine_dir
from tests.same_embedding import worst_cosine
from tests.small_models import random_batch, small_spec
from tests.spec_axes import AXES

CPU = torch.device("cpu")
H100, A100 = Capability(9, 0), Capability(8, 0)


def quantized(spec: ModelSpec, format: str) -> EngineDir:
    """An engine directory whose layers have weights in a format, as a build stores them for CPUs."""
    plain = random_engine_dir(spec, "bfloat16")
    storage, tensors = dict(plain.manifest.storage), dict(plain.tensors)
    for layer in range(spec.num_layers):
        for name in (f"layers.{layer}.{one}.weight" for one in linear_shapes(spec, layer)):
            numbers = storage[name].load(name, tensors, tensor_shapes(spec)[name])
            storage[name] = Storage(format, "panels")
            magnitudes = np.linspace(0.5, 2, numbers.shape[1], dtype=np.float32)
            tensors |= storage[name].store(name, numbers, magnitudes)
    return EngineDir(plain.path, msgspec.structs.replace(plain.manifest, storage=storage), tensors)


def load(engine_dir: EngineDir, capability: Capability = H100) -> CudaEngine:
    return cuda.load_on(engine_dir, CPU, free_bytes=1 << 30, capability=capability)


def float64(tensor: torch.Tensor) -> Array:
    return tensor.double().numpy()


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(5, 64, 48), (33, 256, 16), (1, 16, 128)], ids=str)
def test_a_product_against_float64(shape: tuple[int, int, int], has_bias: bool) -> None:
    """e4m3 numbers times e4m3 numbers, accumulated: only the output is rounded."""
    num_rows, inputs, outputs = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_rows, inputs, generator=generator) * torch.logspace(-3, 3, num_rows)[:, None]
    weight = (torch.randn(outputs, inputs, generator=generator) * 100).to(torch.float8_e4m3fn)
    scales = torch.rand(outputs, generator=generator) + 0.01
    bias = torch.randn(outputs, generator=generator).bfloat16() if has_bias else None
    ops = TorchOps(torch.bfloat16)
    rows = ops.quantize(x.bfloat16())
    y = ops.linear(rows, LinearWeights(weight, bias, scales))
    exact = (float64(rows.values) * float64(rows.scales)) @ (float64(weight) * float64(scales)[:, None]).T
    exact = exact + float64(bias) if bias is not None else exact
    magnitude = (np.abs(float64(rows.values)) * float64(rows.scales)) @ np.abs(float64(weight).T * float64(scales))
    assert y.dtype == torch.bfloat16
    assert (np.abs(float64(y) - exact) <= 2.0**-8 * np.abs(exact) + 2.0**-20 * magnitude).all()


def test_quantized_rows() -> None:
    """Half a step of e4m3 of each number, or of its smallest step; the largest number is exact."""
    x = torch.randn(50, 96, generator=torch.Generator().manual_seed(1)) * torch.logspace(-6, 6, 50)[:, None]
    x[3] = 0
    rows = TorchOps(torch.bfloat16).quantize(x)
    found = float64(rows.values) * float64(rows.scales)
    step = np.maximum(np.abs(float64(x)) * 2.0**-4, float64(rows.scales) * 2.0**-10)
    assert (np.abs(found - float64(x)) <= 1.001 * step).all()
    assert np.isfinite(found).all()
    assert (np.abs(float64(rows.values)).max(axis=1) == np.where(np.arange(50) == 3, 0, 448)).all()


@pytest.mark.parametrize("axis", ["causal, grouped heads", "gated, pre-norm", "sandwich of RMS norms", "gated"])
def test_models_in_8_bit(axis: str) -> None:
    spec = small_spec(96, 6, 16, 128, **AXES[axis] | {"attention": small_spec(96, 6, 16).attention})
    engine_dir, batch = quantized(spec, "float8"), random_batch([40, 3, 65])
    engine = load(engine_dir)
    assert engine.info.precision == "float8"
    expected = np.asarray(ReferenceEngine(engine_dir).run(batch))
    found = np.asarray(engine.run(batch))
    assert worst_cosine(found, expected) > 0.99
    expanded = np.asarray(load(engine_dir, A100).run(batch))
    assert worst_cosine(expanded, expected) > worst_cosine(found, expected)


def test_which_weights_stay_in_8_bit() -> None:
    """Those whose sizes are multiples of 16, in layers."""
    spec = small_spec(96, 6, 16, 72, **AXES["gated, pre-norm"])
    weights = load_weights(quantized(spec, "float8"), torch.bfloat16, WeightUpload(CPU), kept=("float8",))
    for sublayer in weights.sublayers:
        if isinstance(function := sublayer.function, AttentionWeights):
            assert function.qkv.is_quantized
            assert function.out.is_quantized
        elif isinstance(function, MLPWeights):
            assert not function.up.is_quantized  # 72 outputs
            assert not function.down.is_quantized
    assert weights.tables[0].dtype == torch.bfloat16


@pytest.mark.parametrize("format", ["float8", "int8", "nvfp4", "smooth_int8"])
@pytest.mark.parametrize("axis", ["causal, grouped heads", "experts", "buckets", "a convolution"])
def test_expanded_weights(format: str, axis: str, caplog: pytest.LogCaptureFixture) -> None:
    """The same results on a GPU without units for the format, and a warning."""
    engine_dir, batch = quantized(small_spec(72, 6, 12, 50, **AXES[axis]), format), random_batch([20, 3])
    with caplog.at_level(logging.WARNING):
        engine = load(engine_dir, A100)
    assert f"weights in {format} are expanded to {engine.info.precision}" in caplog.text
    assert "use fp8 on L4, L40S, H100" in caplog.text
    least = 0.998 if engine.info.precision == "bfloat16" else 0.9995
    if axis == "experts":
        least = 0.99  # rounding can send a token to another expert
    assert worst_cosine(np.asarray(engine.run(batch)), np.asarray(ReferenceEngine(engine_dir).run(batch))) > least
