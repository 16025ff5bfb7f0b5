"""Runs of the compiled encoder, and their comparison with the reference backend."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from openbei import _native
from openbei.backends.native import NativeEngine
from openbei.backends.reference import ReferenceEngine
from openbei.batch import PackedBatch, Rows, SparseVectors, Vectors, head_output
from openbei.engine_dir import EngineDir
from openbei.formats.panels import padded
from openbei.spec import ModelSpec
from tests.dense_rows import dense_rows
from tests.same_embedding import worst_cosine
from tests.small_models import random_batch


def run(encoder: _native.Encoder, batch: PackedBatch, width: int, *, skips_head: bool = True, rows: int = 0) -> Vectors:
    out = np.full((rows or batch.num_tokens, padded(width)), np.nan, np.float32)
    encoder.run(batch.token_ids, batch.cu_seqlens, batch.type_ids, batch.num_excluded, skips_head, out)
    return out[:, :width]


def check_tokens(engine_dir: EngineDir, encoder: _native.Encoder, lengths: list[int]) -> None:
    batch = random_batch(lengths)
    expected = expected_tokens(engine_dir, tuple(lengths))
    manifest = engine_dir.manifest
    actual = run(encoder, batch, manifest.spec.hidden_size)
    is_smooth = manifest.quantization == "smooth_quant"  # small differences round some inputs to other integers
    if manifest.spec.experts and manifest.dtype == "bfloat16":
        # Rounding sends about one token in some hundred to another expert.
        kept = 95 if is_smooth else 98
        order = np.argsort(np.square(actual - expected).sum(axis=1))[: -(-batch.num_tokens * kept // 100)]
        actual, expected = actual[order], expected[order]
    least = 0.99 if is_smooth else {"float32": 0.99999, "bfloat16": 0.999}[manifest.dtype]
    assert worst_cosine(actual, expected) >= least


def check_head(engine_dir: EngineDir, encoder: _native.Encoder, lengths: list[int], at_least: float) -> None:
    spec = engine_dir.manifest.spec
    expected = expected_head_rows(engine_dir, tuple(lengths))
    actual = dense(
        NativeEngine(encoder, spec, engine_dir.manifest.dtype).run(head_batch(spec, lengths), head_output(spec.head))
    )
    if spec.output_width == 1:
        assert np.abs(actual - expected).max() < 100 * (1 - at_least)
    else:
        assert worst_cosine(actual, expected) >= at_least


@lru_cache(maxsize=8)
def expected_tokens(engine_dir: EngineDir, lengths: tuple[int, ...]) -> Vectors:
    return dense(ReferenceEngine(engine_dir).run(random_batch(lengths), "tokens"))


@lru_cache(maxsize=8)
def expected_head_rows(engine_dir: EngineDir, lengths: tuple[int, ...]) -> Vectors:
    spec = engine_dir.manifest.spec
    return dense(ReferenceEngine(engine_dir).run(head_batch(spec, lengths), head_output(spec.head)))


def head_batch(spec: ModelSpec, lengths: Sequence[int]) -> PackedBatch:
    """A batch with type ids, and with tokens that pooling excludes."""
    batch = random_batch(lengths)
    excluded = np.minimum(np.diff(batch.cu_seqlens) - 1, np.resize([0, 3, 5, 60], len(lengths))).astype(np.int32)
    return PackedBatch(batch.token_ids, batch.cu_seqlens, batch.token_ids % max(spec.type_vocab_size, 1), excluded)


def dense(rows: Rows) -> Vectors:
    return dense_rows(rows) if isinstance(rows, SparseVectors) else rows
