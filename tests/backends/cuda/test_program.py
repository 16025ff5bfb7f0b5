"""The program with plain torch on a CPU, in float32, against the reference backend: every axis, head and task."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from openbei.backends.cuda.inputs import fill, host_arrays, inputs_of, places_of
from openbei.backends.cuda.ops_torch import TorchOps
from openbei.backends.cuda.program import Program
from openbei.backends.cuda.tiles import Bucket, bucket_for
from openbei.backends.cuda.weights import load_weights
from openbei.backends.reference import ReferenceEngine
from openbei.batch import Output, PackedBatch, SparseVectors, Vectors, head_output
from openbei.engine_dir import EngineDir
from openbei.safetensors_file import Array
from openbei.spec import EmbeddingHead, LearnedPositions, Pooling, SequenceHead, TokenEmbeddingHead, UnitNorm
from tests.dense_rows import dense_rows
from tests.random_engine import random_engine_dir
from tests.same_embedding import worst_cosine
from tests.small_models import expanded_batch, random_batch, small_spec
from tests.spec_axes import AXES, HEADS, WITH_UNATTENDED

LENGTHS = ([1, 40, 7, 90], [300], [33, 2, 65])


def to_cpu(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def run(
    engine_dir: EngineDir, batch: PackedBatch, output: Output, *, bucket: Bucket | None = None, block: int = 64
) -> Vectors:
    """The rows of a batch, by the program on a CPU."""
    spec, ops = engine_dir.manifest.spec, TorchOps(torch.float32)
    program = Program(spec, load_weights(engine_dir, torch.float32, to_cpu), ops, torch.float32)
    arrays = host_arrays(spec, batch, block, bucket)
    places, size = places_of(arrays)
    packed = np.zeros(size, np.int32)
    fill(packed, arrays, places)
    rows = program.run(inputs_of(torch.from_numpy(packed), places, block), output).numpy()
    assert rows.dtype == np.float32
    return rows


def expected_rows(engine_dir: EngineDir, batch: PackedBatch, output: Output) -> Vectors:
    rows = ReferenceEngine(engine_dir).run(batch, output)
    return dense_rows(rows) if isinstance(rows, SparseVectors) else rows


def check(engine_dir: EngineDir, batch: PackedBatch, output: Output) -> None:
    actual, expected = run(engine_dir, batch, output), expected_rows(engine_dir, batch, output)
    if expected.shape[1] == 1:
        assert np.abs(actual - expected).max() < 1e-4
    else:
        assert worst_cosine(actual, expected) > 0.99999


def with_prompts(batch: PackedBatch, type_vocab_size: int) -> PackedBatch:
    """The batch with token types, and some tokens of each sequence excluded from pooling."""
    lengths = np.diff(batch.cu_seqlens)
    excluded = np.minimum(lengths - 1, np.resize([0, 3, 5, 60], len(lengths))).astype(np.int32)
    return replace(batch, type_ids=batch.token_ids % max(type_vocab_size, 1), num_excluded=excluded)


@pytest.mark.parametrize("axis", AXES)
def test_every_axis(axis: str) -> None:
    engine_dir = random_engine_dir(small_spec(72, 6, 12, 96, **AXES[axis]))
    for lengths in LENGTHS:
        check(engine_dir, random_batch(lengths), "tokens")


@pytest.mark.parametrize("pooling", ["cls", "last_token", "mean"])
@pytest.mark.parametrize("axis", AXES)
def test_the_last_layer_computes_only_the_rows_that_the_head_reads(axis: str, pooling: Pooling) -> None:
    spec = small_spec(72, 6, 12, 96, head=EmbeddingHead(poolings=(pooling,)), **AXES[axis])
    check(random_engine_dir(spec), with_prompts(random_batch([1, 40, 7, 90]), spec.type_vocab_size), "pooled")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("padding_id", [None, 3])
def test_every_head(head: str, padding_id: int | None) -> None:
    """With learned positions from 2, where padding tokens have none."""
    positions = LearnedPositions(max_positions=1100, first=2, padding_id=padding_id)
    spec = small_spec(36, 3, 12, 50, head=HEADS[head], positions=positions)
    engine_dir = random_engine_dir(spec)
    output = head_output(HEADS[head])
    for lengths in ([1, 40, 7], [300, 5]):
        batch = random_batch(lengths)
        batch.token_ids[::4] = 3
        check(engine_dir, with_prompts(batch, spec.type_vocab_size), output)


def test_trailing_padding_tokens_are_not_pooled() -> None:
    head = SequenceHead(num_labels=5, pooling="last_token", padding_id=3)
    engine_dir = random_engine_dir(small_spec(36, 3, 12, 50, head=head))
    batch = random_batch([12, 30, 1, 6])
    batch.token_ids[8:12] = 3
    batch.token_ids[43:] = 3  # all of the last sequence
    check(engine_dir, batch, "pooled")


@pytest.mark.parametrize("axis", WITH_UNATTENDED)
def test_tokens_that_are_not_attended_to(axis: str) -> None:
    head = TokenEmbeddingHead(steps=(UnitNorm(),), unattended_id=3)
    engine_dir = random_engine_dir(small_spec(72, 6, 12, 96, head=head, **AXES[axis]))
    check(engine_dir, expanded_batch([1, 40, 7, 90], [1, 25, 0, 60], 3), "vectors")


@pytest.mark.parametrize("head", ["mean", "cls", "last_token", "three poolings", "token labels", "terms"])
@pytest.mark.parametrize("axis", ["causal, grouped heads", "disentangled", "ALiBi", "experts", "a convolution"])
def test_padding_to_a_bucket_changes_nothing(head: str, axis: str) -> None:
    spec = small_spec(72, 6, 12, 96, head=HEADS[head], **AXES[axis])
    engine_dir, batch = random_engine_dir(spec), random_batch([1, 40, 7, 90])
    bucket = bucket_for(batch.num_tokens, batch.num_sequences)
    assert bucket is not None
    assert bucket.num_tokens > batch.num_tokens
    output = head_output(HEADS[head])
    exact, padded = run(engine_dir, batch, output), run(engine_dir, batch, output, bucket=bucket)
    assert np.abs(padded[: len(exact)] - exact).max() < 1e-5


def test_bfloat16_weights_in_panels(tiny_engine_dir: EngineDir) -> None:
    """An engine directory that was built for CPUs."""
    assert {storage.layout for storage in tiny_engine_dir.manifest.storage.values()} == {"panels", "row_major"}
    check(tiny_engine_dir, random_batch([5, 60, 1, 17]), "pooled")
