"""Compare a family's hidden states with transformers on small models.

A family's test saves a few checkpoints and calls `check_family` for each.
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

HiddenStates = Callable[[list[int]], Vectors]
"""Token ids of one sequence -> hidden states, float32 [n, hidden_size]."""

LENGTHS = (1, 2, 3, 17, 31, 33, 64, 90)
"""Sequence lengths to compare, besides the model's maximum."""


def transformers_model(
    checkpoint: Path, auto_class: str = "AutoModel", dtype: str = "float32", **config: Any
) -> HiddenStates:
    """A model of transformers that runs one sequence at a time, without padding."""
    import torch
    import transformers

    model = getattr(transformers, auto_class).from_pretrained(checkpoint, dtype=getattr(torch, dtype), **config).eval()

    def hidden_states(token_ids: list[int]) -> Vectors:
        with torch.no_grad():
            states = model(input_ids=torch.tensor([token_ids])).last_hidden_state[0]
        return np.asarray(states.float().numpy(), np.float32)

    return hidden_states


def check_family(
    checkpoint: Path,
    folder: Path,
    *,
    reference: HiddenStates | None = None,
    bf16_reference: HiddenStates | None = None,
) -> EngineDir:
    """Build a checkpoint and compare both backends with `reference`, by default transformers.

    float32: the worst cosine of hidden states is 0.99999. bfloat16: the native engine's error is at most twice that of
    `bf16_reference`. A sequence alone has the same hidden states as in a batch.
    """
    reference = reference or transformers_model(checkpoint)
    bf16_reference = bf16_reference or transformers_model(checkpoint, dtype="bfloat16")
    engine_dir = build_engine(checkpoint, folder / "float32")
    sequences = cut_sequences(engine_dir)
    expected_rows = [reference(sequence.token_ids.tolist()) for sequence in sequences]
    expected = np.concatenate(expected_rows)
    assert worst_cosine(expected[1:], expected[:-1]) < 0.9, "tokens must differ, or the comparison proves nothing"
    batch = PackedBatch.pack(sequences)
    for backend in ("reference", "native"):
        engine = load_engine(engine_dir, backend=backend)
        found = np.asarray(engine.run(batch, "tokens"))
        assert worst_cosine(found, expected) >= 0.99999, backend
        start = 0
        for sequence, rows in zip(sequences, expected_rows, strict=True):
            alone = np.asarray(engine.run(PackedBatch.pack([sequence]), "tokens"))
            assert worst_cosine(alone, rows) >= 0.99999, (backend, sequence.num_tokens)
            np.testing.assert_allclose(alone, found[start : start + len(alone)], atol=2e-4)
            start += len(alone)
    bf16_engine = load_engine(build_engine(checkpoint, folder / "bfloat16", dtype="bfloat16"), backend="native")
    bf16_expected = np.concatenate([bf16_reference(sequence.token_ids.tolist()) for sequence in sequences])
    bf16_found = np.asarray(bf16_engine.run(batch, "tokens"))
    assert relative_error(bf16_found, expected) <= 2 * relative_error(bf16_expected, expected) + 1e-3
    return engine_dir


def relative_error(found: Vectors, expected: Vectors) -> float:
    """Root mean square of the difference, relative to that of `expected`."""
    return float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))


def cut_sequences(engine_dir: EngineDir) -> list[Sequence]:
    """A text cut to LENGTHS tokens and to the model's maximum sequence length."""
    limit = engine_dir.manifest.max_sequence_tokens
    tokenizer = Tokenizer.open(engine_dir)
    longest = " ".join(texts(3, longest=400, seed=7)) * (1 + limit // 400)
    [encoded] = tokenizer.encode([longest])
    assert encoded.num_tokens == limit
    ids = encoded.token_ids
    return [Sequence(ids[i : i + n], n) for i, n in enumerate(LENGTHS) if n <= limit] + [Sequence(ids, limit)]


def default_config(name: str) -> dict[str, Any]:
    """The default config.json of a model of transformers, such as "Llama"."""
    import transformers

    return {**getattr(transformers, f"{name}Config")().to_dict(), "architectures": [f"{name}Model"]}


def required_fields(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a decoder's config.json that have no defaults in its family."""
    sizes = "architectures vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads"
    return {key: config[key] for key in (*sizes.split(), "max_position_embeddings")}
