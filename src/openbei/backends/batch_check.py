"""Checks of a batch before it runs: its lengths, its ids, and the output of the head."""

import numpy as np

from openbei.batch import Int32s, Output, PackedBatch, head_output
from openbei.errors import EngineError
from openbei.spec import ModelSpec


def check_batch(batch: PackedBatch, spec: ModelSpec, max_sequence_tokens: int) -> None:
    """Raise EngineError for lengths, ids, token types or excluded tokens that are not valid for a model."""
    lengths = np.diff(batch.cu_seqlens)
    if not len(lengths) or batch.cu_seqlens[0] != 0 or batch.cu_seqlens[-1] != batch.num_tokens:
        raise EngineError("cu_seqlens must go from 0 to the number of tokens")
    limit = max_sequence_tokens
    if lengths.min() < 1 or lengths.max() > limit:
        raise EngineError(f"a sequence has {lengths.min()} to {lengths.max()} tokens; allowed are 1 to {limit}")
    _check_ids("token ids", batch.token_ids, spec.vocab_size)
    if batch.type_ids is not None:
        if len(batch.type_ids) != batch.num_tokens:
            raise EngineError(f"{len(batch.type_ids)} token types for {batch.num_tokens} tokens")
        _check_ids("token types", batch.type_ids, max(spec.type_vocab_size, 1))
    if (excluded := batch.num_excluded) is not None and (
        len(excluded) != len(lengths) or excluded.min() < 0 or (excluded >= lengths).any()
    ):
        raise EngineError("num_excluded must be at least 0 and less than the length of each sequence")


def check_output(output: Output, spec: ModelSpec) -> None:
    """Raise EngineError for an output that the model's head does not have."""
    if output not in ("tokens", head_output(spec.head)):
        raise EngineError(f"{spec.task} models have no output {output!r}")


def _check_ids(what: str, ids: Int32s, size: int) -> None:
    low, high = ids.min(), ids.max()
    if low < 0 or high >= size:
        raise EngineError(f"{what} from {low} to {high}; the vocabulary is 0 to {size - 1}")
