"""Whole models with the Triton operations, interpreted in float16, against the reference backend."""

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from openbei.backends.cuda.inputs import fill, host_arrays, inputs_of, places_of
from openbei.backends.cuda.ops_triton import TritonOps
from openbei.backends.cuda.program import Program
from openbei.backends.cuda.tiles import bucket_for
from openbei.backends.cuda.weights import load_weights
from openbei.spec import EmbeddingHead, ModelSpec
from tests.random_engine import random_engine_dir
from tests.same_embedding import worst_cosine
from tests.small_models import random_batch, small_spec
from tests.spec_axes import AXES, HEADS

from .conftest import Interpret
from .test_program import expected_rows, to_cpu

AXES_HERE = (
    *("sandwich of RMS norms", "causal, grouped heads", "gated, pre-norm", "local", "softcap and scale", "ALiBi"),
    *("RMS norm of all heads", "disentangled", "one expert of many, gated, sandwich", "a convolution"),
)
"""Those that reach every kernel and switch; the interpreter is slow."""


def check_model(spec: ModelSpec) -> None:
    """A padded batch, as in CUDA graphs."""
    batch, engine_dir, block = random_batch([1, 6]), random_engine_dir(spec), TritonOps.query_block
    arrays = host_arrays(spec, batch, block, bucket_for(batch.num_tokens, batch.num_sequences))
    places, size = places_of(arrays)
    packed = np.zeros(size, np.int32)
    fill(packed, arrays, places)
    inputs = inputs_of(torch.from_numpy(packed), places, block)
    expected = expected_rows(engine_dir, batch, "pooled")
    weights = load_weights(engine_dir, torch.float16, to_cpu)
    rows = Program(spec, weights, TritonOps(torch.float16), torch.float16).run(inputs, "pooled")
    assert worst_cosine(rows.numpy()[: len(expected)], expected) > 0.9999


@pytest.mark.parametrize("axis", AXES_HERE)
def test_axes(axis: str, interpret: Interpret) -> None:
    pooling = "cls" if AXES_HERE.index(axis) % 2 else "mean"
    interpret(check_model, small_spec(36, 6, 12, 48, head=EmbeddingHead(poolings=(pooling,)), **AXES[axis]))


def test_term_weights(interpret: Interpret) -> None:
    interpret(check_model, small_spec(36, 3, 12, 48, head=HEADS["terms"]))
