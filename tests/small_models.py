"""Small specs with any change, and batches of random ids for them: for tests of all backends."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from openbei.batch import PackedBatch, Sequence
from openbei.spec import MLP, Activation, Attention, EmbeddingHead, Head, LayerNorm, LearnedPositions, ModelSpec

MEAN = EmbeddingHead(poolings=("mean",))


def small_spec(
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


def expanded_batch(lengths: Iterable[int], num_unattended: Iterable[int], unattended_id: int) -> PackedBatch:
    """A batch of random ids, followed by tokens that are not attended to."""
    batch = random_batch(lengths)
    for end, count in zip(batch.cu_seqlens[1:], num_unattended, strict=True):
        batch.token_ids[end - count : end] = unattended_id
    return batch


def random_batch(lengths: Iterable[int], seed: int = 1) -> PackedBatch:
    rng = np.random.default_rng(seed)
    return PackedBatch.pack(Sequence(rng.integers(0, 211, n).astype(np.int32), n) for n in lengths)
