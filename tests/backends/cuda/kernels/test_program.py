"""Whole programs with Triton's operations, interpreted on a CPU in float16, against the reference backend."""

import numpy as np
import pytest

pytest.importorskip("triton")

import torch

from openbei.backends.cuda.inputs import fill, host_arrays, inputs_of, places_of
from openbei.backends.cuda.ops_triton import TritonOps
from openbei.backends.cuda.program import Program
from openbei.backends.cuda.tiles import bucket_for
from openbei.backends.cuda.transfer import WeightUpload
from openbei.backends.cuda.weights import load_weights
from openbei.backends.reference import ReferenceEngine
from openbei.batch import SparseVectors, head_output
from tests.dense_rows import dense_rows
from tests.random_engine import random_engine_dir
from tests.same_embedding import worst_cosine
from tests.small_models import random_batch, small_spec
from tests.spec_axes import AXES, HEADS

from ..conftest import Interpret

LENGTHS = [1, 17, 6]


def check(axis: str, head: str) -> None:
    """A batch that is padded to a bucket, as a CUDA graph runs it."""
    spec = small_spec(72, 6, 12, 96, head=HEADS[head], **AXES.get(axis, {}))
    engine_dir, batch = random_engine_dir(spec), random_batch(LENGTHS)
    ops = TritonOps(torch.float16)
    program = Program(
        spec, load_weights(engine_dir, torch.float16, WeightUpload(torch.device("cpu"))), ops, torch.float16
    )
    arrays = host_arrays(spec, batch, ops.query_block, bucket_for(batch.num_tokens, batch.num_sequences))
    places, size = places_of(arrays)
    packed = np.zeros(size, np.int32)
    fill(packed, arrays, places)
    output = head_output(HEADS[head])
    rows = program.run(inputs_of(torch.from_numpy(packed), places, ops.query_block), output).numpy()
    expected = ReferenceEngine(engine_dir).run(batch, output)
    expected = dense_rows(expected) if isinstance(expected, SparseVectors) else expected
    assert worst_cosine(rows[: len(expected)], expected) > 0.9999


@pytest.mark.parametrize(
    ("axis", "head"),
    [
        ("causal, grouped heads", "last_token"),
        ("disentangled", "terms"),
        ("local", "three poolings"),
        ("sandwich of RMS norms", "cls"),
        ("experts", "token labels"),
    ],
)
def test_a_model(axis: str, head: str, interpret: Interpret) -> None:
    interpret(check, axis, head)
