"""Jina's XLM-RoBERTa against transformers, with both kinds of config.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openbei.errors import CheckpointError
from openbei.families import find_family, jina_xlm_roberta
from openbei.spec import EmbeddingHead

from .parity import check_family, transformers_model

FLASH_CONFIG: dict[str, Any] = {
    "architectures": ["JinaEmbeddingsV3Model"],
    "model_type": "xlm-roberta",
    "auto_map": {"AutoModel": "jinaai/xlm-roberta-flash-implementation--modeling_xlm_roberta.XLMRobertaModel"},
    "hidden_act": "gelu",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-5,
    "position_embedding_type": "rotary",
    "rotary_emb_base": 300.0,
    "use_flash_attn": True,
    "lora_adaptations": None,
    "load_trained_adapters": False,
}
"""The field names of jinaai/xlm-roberta-flash-implementation."""


@pytest.mark.parametrize(
    "config", [{}, {"type_vocab_size": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 30.0}}]
)
def test_hidden_states(config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    check_family(make_checkpoint(architecture="JinaEmbeddingsV3Model", **config), tmp_path)


def test_jinas_repository(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """Its config.json has another name for the base of the rotary embeddings."""
    rope = {"rope_type": "default", "rope_theta": FLASH_CONFIG["rotary_emb_base"]}
    checkpoint = make_checkpoint(architecture="JinaEmbeddingsV3Model", rope_parameters=rope, seed=3)
    references = [transformers_model(checkpoint, dtype=dtype) for dtype in ("float32", "bfloat16")]
    vocab_size = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    (checkpoint / "config.json").write_text(json.dumps(FLASH_CONFIG | {"vocab_size": vocab_size}))
    check_family(checkpoint, tmp_path, reference=references[0], bf16_reference=references[1])


def test_parse() -> None:
    head = EmbeddingHead(poolings=("mean",))
    spec = jina_xlm_roberta.parse({}, head)
    assert (spec.hidden_size, spec.num_layers, spec.type_vocab_size) == (1024, 24, 1)
    assert spec.positions.max_positions == 8194
    assert spec.attention.rotary
    base = spec.attention.rotary.frequencies[1] ** (-32)
    assert base == pytest.approx(20_000)  # of transformers; in Jina's repository 10,000
    own = jina_xlm_roberta.parse({"auto_map": {}}, head).attention.rotary
    assert own
    assert own.frequencies[1] ** (-32) == pytest.approx(10_000)
    with pytest.raises(CheckpointError, match="position_embedding_type is 'alibi'"):
        jina_xlm_roberta.parse({"position_embedding_type": "alibi"}, head)


def test_colberts_of_jina() -> None:
    for repository, family in (
        ("xlm-roberta-flash-implementation", "jina_xlm_roberta"),
        ("jina-bert-implementation", "jina_bert"),
    ):
        config = {"auto_map": {"AutoModel": f"jinaai/{repository}--modeling.Model"}, "model_type": "xlm-roberta"}
        found, kinds = find_family("HF_ColBERT", config)
        assert (found.__name__.rpartition(".")[2], kinds) == (family, ("token_vectors",))  # type: ignore[attr-defined]
