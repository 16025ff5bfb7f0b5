"""Frequencies of rotary embeddings, against transformers' ROPE_INIT_FUNCTIONS."""

from typing import Any

import pytest

from openbei.errors import CheckpointError
from openbei.rope import frequencies

HEAD_DIM = 64
THETA = {"rope_theta": 500_000.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
CASES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 2.5},
    "linear, partial": {"rope_type": "linear", "factor": 3.0, "partial_rotary_factor": 0.5},
    "llama3": LLAMA3,
    "llama3, other factors": {**LLAMA3, "factor": 32.0, "low_freq_factor": 2.0, "high_freq_factor": 16.0},
    "llama3 without original length": {key: LLAMA3[key] for key in LLAMA3 if not key.startswith("original")},
    "yarn": YARN,
    "yarn, custom ramp": {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False},
    "yarn, attention factor": {**YARN, "attention_factor": 1.25},
    "yarn, mscale": {**YARN, "mscale": 0.7, "mscale_all_dim": 0.9},
    "yarn, small": {**YARN, "factor": 0.5},
    "yarn, factor from lengths": {**YARN, "factor": None},
    "yarn, partial": {**YARN, "partial_rotary_factor": 0.5},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
}


def transformers_frequencies(**config: Any) -> tuple[tuple[float, ...], float]:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    llama = LlamaConfig(head_dim=HEAD_DIM, max_position_embeddings=2048, **config)
    expected, factor = ROPE_INIT_FUNCTIONS[llama.rope_parameters["rope_type"]](llama)
    return tuple(expected.tolist()), factor


def our_frequencies(**config: Any) -> tuple[tuple[float, ...], float]:
    return frequencies({"max_position_embeddings": 2048, **config}, HEAD_DIM)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
def test_types(case: str, key: str) -> None:
    """With the keys of transformers 5, and with those of older files, where theta is a top-level key."""
    newer = {"rope_parameters": CASES[case] | THETA}
    expected, factor = transformers_frequencies(**newer)
    found, found_factor = our_frequencies(**newer if key == "rope_parameters" else {key: CASES[case], **THETA})
    assert found == pytest.approx(expected, rel=1e-5)
    assert found_factor == pytest.approx(factor, rel=1e-6)


def test_unscaled() -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    expected = LlamaRotaryEmbedding(LlamaConfig(head_dim=HEAD_DIM, rope_theta=1234.0)).inv_freq.tolist()
    for config in (
        {"rope_theta": 1234},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1234.0}},
        {"rope_theta": 1234.0, "rope_scaling": None},
    ):
        found, factor = our_frequencies(**config)
        assert found == pytest.approx(expected, rel=1e-5)
        assert factor == 1.0
    assert our_frequencies() == our_frequencies(rope_theta=10_000.0)
    assert frequencies({}, HEAD_DIM, default_theta=7.0) == our_frequencies(rope_theta=7.0)


def test_older_spellings() -> None:
    assert our_frequencies(rope_scaling={"type": "linear", "factor": 2}) == our_frequencies(
        rope_parameters={"rope_type": "linear", "factor": 2.0}
    )
    top_level = {"rope_scaling": {"type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 512}
    assert our_frequencies(**top_level) == our_frequencies(rope_parameters=YARN)


def test_parameters_by_layer_type() -> None:
    config = {"rope_theta": 3.0, "rope_parameters": {"full_attention": {"rope_theta": 5.0}, "sliding_attention": None}}
    assert frequencies(config, HEAD_DIM, layer_type="full_attention") == our_frequencies(rope_theta=5.0)
    assert frequencies(config, HEAD_DIM, layer_type="sliding_attention") == our_frequencies(rope_theta=3.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rope_scaling": {"rope_type": "longrope"}}, "rope type is 'longrope'; supported: default, dynamic"),
        ({"rope_scaling": {"rope_type": "proportional"}}, "'proportional'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope type 'linear' needs a factor"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope type 'llama3' needs a factor"),
        ({"rope_scaling": {**LLAMA3, "high_freq_factor": 1.0}}, "high_freq_factor is 1.0; it must be above"),
        ({"rope_scaling": {**YARN, "beta_fast": -1.0}}, "beta_fast"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}, "max_position_embeddings": None}, "needs original_max"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"rope_theta": "ten"}, "rope_theta"),
        ({"rope_scaling": "yarn"}, "rope_parameters is 'yarn'; it must be a mapping"),
        ({"partial_rotary_factor": 0.02}, "the rotary dimension is 1"),
        ({"rope_scaling": YARN, "rope_theta": 1}, "rope_theta"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        our_frequencies(**config)
