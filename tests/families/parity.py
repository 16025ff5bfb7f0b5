"""The one way to judge a family: hidden states of transformers, and what a classifier's logits are, on small models.

A family's test saves a few configs and calls `check_family`; everything that all families must keep is checked here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from openbei.backends import load_engine
from openbei.batch import PackedBatch, Sequence, Vectors
from openbei.engine_dir import EngineDir
from openbei.serving.tokenizer import Tokenizer
from tests.checkpoint import build_engine
from tests.prose import texts
from tests.same_embedding import worst_cosine

Judge = Callable[[list[int]], Vectors]
"""Token ids of one sequence to its hidden states, float32 [n, hidden_size]."""

LENGTHS = (1, 2, 3, 17, 31, 33, 64, 90)
"""Tokens of the sequences that are compared, besides the longest one that the model reads."""


def transformers_judge(checkpoint: Path, auto_class: str = "AutoModel", dtype: str = "float32", **config: Any) -> Judge:
    """The model as transformers loads it; each sequence alone, so without padding."""
    import torch
    import transformers

    model = getattr(transformers, auto_class).from_pretrained(checkpoint, dtype=getattr(torch, dtype), **config).eval()

    def judge(token_ids: list[int]) -> Vectors:
        with torch.no_grad():
            states = model(input_ids=torch.tensor([token_ids])).last_hidden_state[0]
        return np.asarray(states.float().numpy(), np.float32)

    return judge


def check_family(
    checkpoint: Path, folder: Path, *, judge: Judge | None = None, bf16_judge: Judge | None = None
) -> EngineDir:
    """Build a checkpoint, and hold both backends against the judge.

    float32: worst cosine of hidden states 0.99999, plain and centred. bfloat16: the native engine's error is at most
    twice the judge's own in bfloat16. Texts of one token and of the longest length; a text alone as in a batch.
    """
    judge = judge or transformers_judge(checkpoint)
    bf16_judge = bf16_judge or transformers_judge(checkpoint, dtype="bfloat16")
    engine_dir = build_engine(checkpoint, folder / "float32")
    given = sequences(engine_dir)
    expected = [judge(sequence.token_ids.tolist()) for sequence in given]
    whole = np.concatenate(expected)
    assert worst_cosine(whole[1:], whole[:-1]) < 0.9, "tokens must differ, or the next lines say nothing"
    batch = PackedBatch.pack(given)
    for backend in ("reference", "native"):
        engine = load_engine(engine_dir, backend=backend)
        found = np.asarray(engine.run(batch, "tokens"))
        assert worst_cosine(found, whole) >= 0.99999, backend
        start = 0
        for sequence, one in zip(given, expected, strict=True):
            alone = np.asarray(engine.run(PackedBatch.pack([sequence]), "tokens"))
            assert worst_cosine(alone, one) >= 0.99999, (backend, sequence.num_tokens)
            np.testing.assert_allclose(alone, found[start : start + len(alone)], atol=2e-4)
            start += len(alone)
    narrow = load_engine(build_engine(checkpoint, folder / "bfloat16", dtype="bfloat16"), backend="native")
    theirs = np.concatenate([bf16_judge(sequence.token_ids.tolist()) for sequence in given])
    ours = np.asarray(narrow.run(batch, "tokens"))
    assert error(ours, whole) <= 2 * error(theirs, whole) + 1e-3
    return engine_dir


def error(found: Vectors, expected: Vectors) -> float:
    """Root mean square of the difference, relative to what is expected."""
    return float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))


def sequences(engine_dir: EngineDir) -> list[Sequence]:
    """Real texts cut to LENGTHS tokens, and one as long as the model reads."""
    limit = engine_dir.manifest.max_sequence_tokens
    tokenizer = Tokenizer.open(engine_dir)
    longest = " ".join(texts(3, longest=400, seed=7)) * (1 + limit // 400)
    [encoded] = tokenizer.encode([longest])
    assert encoded.num_tokens == limit
    ids = encoded.token_ids
    return [Sequence(ids[i : i + n], n) for i, n in enumerate(LENGTHS) if n <= limit] + [Sequence(ids, limit)]
