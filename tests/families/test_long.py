"""Sequences of 8,192 tokens in long-context families: local and causal attention, distant rotary positions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.batch import PackedBatch, Sequence
from tests.checkpoint import build_engine
from tests.same_embedding import worst_cosine

from .parity import transformers_model

LENGTH = 8192
CONFIGS: dict[str, dict[str, Any]] = {
    "ModernBertModel": {"num_hidden_layers": 2, "global_attn_every_n_layers": 2, "num_attention_heads": 2},
    "Qwen3Model": {"num_key_value_heads": 1, "num_attention_heads": 2, "head_dim": 16},
    "GteModel": {"num_attention_heads": 2},
}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_longest_text(architecture: str, make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = make_checkpoint(architecture=architecture, max_position_embeddings=LENGTH, **CONFIGS[architecture])
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert engine_dir.manifest.max_sequence_tokens == LENGTH
    ids = np.random.default_rng(0).integers(5, 700, LENGTH).astype(np.int32)
    found = load_engine(engine_dir, backend="native").run(PackedBatch.pack([Sequence(ids, LENGTH)]), "tokens")
    assert worst_cosine(np.asarray(found), transformers_model(checkpoint)(ids.tolist())) >= 0.99999
