"""Shapes of real models: an architecture of transformers, and the config values that differ from its defaults.

The largest models are measured with only a few of their layers, to fit smaller machines. These use mean pooling: with
last-token pooling, the last layer computes only one token, which would distort the speed of so few layers.
"""

from dataclasses import dataclass, field
from typing import Any

from openbei.spec import Pooling


@dataclass(frozen=True)
class Shape:
    """The shape of a model.

    `also_prefixes` are the prefixes of other architectures with the same layers. `full_num_layers` is the number of
    layers of the real model if fewer are measured. `pooling` is that of published models with this shape. `limit` is
    the target for the speed ratio. Without `has_peer`, transformers lacks the model, and `config` is its whole
    config.json.
    """

    model: str
    architecture: str
    config: dict[str, Any] = field(default_factory=dict)
    also_prefixes: tuple[str, ...] = ()
    full_num_layers: int | None = None
    pooling: Pooling = "mean"
    limit: float | None = None
    has_peer: bool = True

    @property
    def architecture_prefix(self) -> str:
        """The architecture's name without `Model`."""
        return self.architecture.removesuffix("Model")


def _sizes(vocab: int, hidden: int, inner: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        **more,
    }


ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}

JINA = _sizes(
    30528,
    768,
    3072,
    12,
    12,
    position_embedding_type="alibi",
    feed_forward_type="geglu",
    max_position_embeddings=8192,
    hidden_act="gelu",
)
NOMIC_MOE = {
    "vocab_size": 250048,
    "n_embd": 768,
    "n_inner": 3072,
    "n_layer": 12,
    "n_head": 12,
    "n_positions": 2048,
    "layer_norm_epsilon": 1e-5,
    "activation_function": "gelu",
    "rotary_emb_base": 10000,
    "rotary_emb_fraction": 1.0,
    "type_vocab_size": 1,
    "num_experts": 8,
    "moe_top_k": 2,
    "moe_every_n_layers": 2,
    "prenorm": False,
    "moe_normalize_expert_weights": False,
    "qkv_proj_bias": True,
    "mlp_fc1_bias": True,
    "mlp_fc2_bias": True,
}

SHAPES = [
    Shape("bert-base", "BertModel", pooling="cls", limit=1.5),
    Shape(
        "xlm-roberta-large", "XLMRobertaModel", _sizes(250002, 1024, 4096, 24, 16, **ROBERTA), pooling="cls", limit=1.5
    ),
    Shape("ModernBERT-base", "ModernBertModel", pooling="cls", limit=1.5),
    Shape(
        "Qwen3-0.6B",
        "Qwen3Model",
        _sizes(151936, 1024, 3072, 28, 16, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True),
        ("Qwen3Bidirectional",),
        pooling="last_token",
        limit=1.5,
    ),
    Shape(
        "embeddinggemma-300m",
        "Gemma3TextModel",
        _sizes(
            262144,
            768,
            1152,
            24,
            3,
            num_key_value_heads=1,
            head_dim=256,
            max_position_embeddings=2048,
            sliding_window=512,
            use_bidirectional_attention=True,
        ),
        limit=1.5,
    ),
    Shape("roberta-base", "RobertaModel", {"vocab_size": 50265, **ROBERTA}),
    Shape("camembert-base", "CamembertModel", {"vocab_size": 32005, **ROBERTA}),
    Shape("distilbert-base", "DistilBertModel"),
    Shape("electra-base", "ElectraModel", _sizes(30522, 768, 3072, 12, 12, embedding_size=768)),
    Shape("all-mpnet-base-v2", "MPNetModel", {"max_position_embeddings": 514}),
    Shape(
        "deberta-v3-base",
        "DebertaV2Model",
        _sizes(
            128100,
            768,
            3072,
            12,
            12,
            relative_attention=True,
            position_buckets=256,
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
        ),
    ),
    Shape("nomic-embed-text-v1.5", "NomicBertModel"),
    Shape("nomic-embed-text-v2-moe", "NomicBertModel", NOMIC_MOE, has_peer=False),
    Shape("jina-embeddings-v2-base", "JinaBertModel", JINA, has_peer=False),
    Shape("gte-multilingual-base", "GteModel", also_prefixes=("New",), pooling="cls"),
    Shape("EuroBERT-210m", "EuroBertModel"),
    Shape(
        "Llama-3.2-1B",
        "LlamaModel",
        _sizes(
            128256,
            2048,
            8192,
            16,
            32,
            num_key_value_heads=8,
            head_dim=64,
            tie_word_embeddings=True,
            rope_parameters=LLAMA3_ROPE,
        ),
        ("LlamaBidirectional",),
    ),
    Shape("Mistral-7B", "MistralModel", _sizes(32000, 4096, 14336, 2, 32, num_key_value_heads=8), full_num_layers=32),
    Shape(
        "Qwen2-0.5B",
        "Qwen2Model",
        _sizes(151936, 896, 4864, 24, 14, num_key_value_heads=2, tie_word_embeddings=True),
        ("Qwen2Bidirectional",),
        pooling="last_token",
    ),
    Shape(
        "gemma-2b",
        "GemmaModel",
        _sizes(256000, 2048, 16384, 2, 8, num_key_value_heads=1, head_dim=256),
        full_num_layers=18,
    ),
    Shape("gemma-2-2b", "Gemma2Model", {"num_hidden_layers": 2}, full_num_layers=26),
]
