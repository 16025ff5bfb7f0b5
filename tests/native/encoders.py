"""Runs of the compiled encoder, and their comparison with the reference backend."""

import numpy as np

from openbei import _native
from openbei.backends.native import NativeEngine
from openbei.backends.reference import ReferenceEngine
from openbei.batch import Output, PackedBatch, Rows, SparseVectors, Vectors
from openbei.engine_dir import EngineDir
from openbei.formats.panels import padded
from openbei.spec import TokenHead
from tests.dense_rows import dense_rows
from tests.same_embedding import worst_cosine
from tests.small_models import random_batch


def run(encoder: _native.Encoder, batch: PackedBatch, width: int, *, skips_head: bool = True, rows: int = 0) -> Vectors:
    out = np.full((rows or batch.num_tokens, padded(width)), np.nan, np.float32)
    encoder.run(batch.token_ids, batch.cu_seqlens, batch.type_ids, batch.num_excluded, skips_head, out)
    return out[:, :width]


def check_tokens(engine_dir: EngineDir, encoder: _native.Encoder, lengths: list[int]) -> None:
    batch = random_batch(lengths)
    expected = ReferenceEngine(engine_dir).run(batch, "tokens")
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
    batch = random_batch(lengths)
    excluded = np.minimum(np.diff(batch.cu_seqlens) - 1, np.resize([0, 3, 5, 60], len(lengths))).astype(np.int32)
    batch = PackedBatch(batch.token_ids, batch.cu_seqlens, batch.token_ids % max(spec.type_vocab_size, 1), excluded)
    output: Output = "labels" if isinstance(spec.head, TokenHead) else "pooled"
    expected = ReferenceEngine(engine_dir).run(batch, output)
    actual = NativeEngine(encoder, spec, engine_dir.manifest.dtype).run(batch, output)
    if spec.output_width == 1:
        assert np.abs(dense(actual) - dense(expected)).max() < 100 * (1 - at_least)
    else:
        assert worst_cosine(dense(actual), dense(expected)) >= at_least


def dense(rows: Rows) -> Vectors:
    return dense_rows(rows) if isinstance(rows, SparseVectors) else rows
