"""Nomic BERT (Nussbaum et al., arXiv:2402.01613): BERT with rotary embeddings and a gated MLP, without biases.

Version 2 has biases, plain MLPs, and a mixture of experts in every other layer (Nussbaum & Duderstadt,
arXiv:2502.07972). config.json may have the field names of Nomic's repositories or of transformers; tensor names are the
same in both.
"""

from collections.abc import Mapping

import msgspec

from openbei.families import HeadKind, bert
from openbei.families.fields import ExpertFields, check_fixed, maps_without_bias, parse_fields, rotary
from openbei.spec import MLP, GatedMLP, Head, ModelSpec, NoPositions, Step

PREFIX = "nomic_bert."
OLD_SUFFIXES = {f"mlp.fc1.{part}": f"mlp.fc11.{part}" for part in ("weight", "bias")}  # without a gate
WEIGHTS = {
    "embeddings.word_embeddings.weight": "embeddings.token",
    "embeddings.token_type_embeddings.weight": "embeddings.type",
    "emb_ln": "embeddings.norm",
    "encoder.layers.{}.attn.Wqkv": "layers.{}.attention.qkv",
    "encoder.layers.{}.attn.out_proj": "layers.{}.attention.out",
    "encoder.layers.{}.norm1": "layers.{}.attention.norm",
    "encoder.layers.{}.mlp.fc12": "layers.{}.mlp.gate",
    "encoder.layers.{}.mlp.fc11": "layers.{}.mlp.up",
    "encoder.layers.{}.mlp.fc2": "layers.{}.mlp.down",
    "encoder.layers.{}.mlp.router.layer.weight": "layers.{}.mlp.router.weight",
    "encoder.layers.{}.mlp.experts.mlp.w1": "layers.{}.mlp.experts.{}.up.weight",
    "encoder.layers.{}.mlp.experts.mlp.w2": "layers.{}.mlp.experts.{}.down.weight.T",
    "encoder.layers.{}.mlp.experts.bias": "layers.{}.mlp.experts.bias",
    "encoder.layers.{}.norm2": "layers.{}.mlp.norm",
}
HEADS: dict[HeadKind, dict[str, str]] = {
    **bert.HEADS,
    "term_weights": {
        "cls.predictions.transform.dense": "head.0.dense",
        "cls.predictions.transform.layer_norm": "head.1.norm",
        "cls.predictions.decoder": "head.out",
    },
}
TIED = bert.TIED
DROPPED = ("cls.predictions.bias", "pooler.dense", *HEADS["term_weights"])

DEFAULTS = {"vocab_size": 30528, "hidden_act": "silu", "max_position_embeddings": 2048}
"""Defaults of transformers' NomicBertConfig that differ from BertConfig's."""

FIELDS = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_positions": "max_position_embeddings",
    "layer_norm_epsilon": "layer_norm_eps",
    "activation_function": "hidden_act",
    "rotary_emb_base": "rope_theta",
}
"""Field in the config.json of Nomic's repositories -> the same field in transformers."""

GATED = {"swiglu": "silu", "geglu": "gelu"}
"""activation_function of a gated MLP in Nomic's repositories -> activation of the gate."""

BIASES = {
    "qkv_proj_bias": ("attention.qkv", "attention.out"),
    "mlp_fc1_bias": ("mlp.gate", "mlp.up"),
    "mlp_fc2_bias": ("mlp.down",),
}
"""Field that enables biases -> linear layers. True by default in Nomic's repositories; transformers has no biases."""

FIXED = {
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "prenorm": False,
    "parallel_block": False,
    "use_rms_norm": False,
    "causal": False,
    "expert_choice_router": False,
    "num_shared_experts": 0,
    "ffn_div": 1,
}


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    mlp = GatedMLP if str(config.get("activation_function", "swiglu")) in GATED else MLP
    config = _as_bert(config)
    spec = bert.parse(config, head, family="nomic_bert")
    check_fixed(config, "nomic_bert", {**FIXED, "head_dim": spec.attention.head_dim})
    rotary_embedding = rotary(config, spec.attention.head_dim, theta=1000.0)
    return msgspec.structs.replace(
        spec,
        positions=NoPositions(max_positions=spec.positions.max_positions),
        attention=msgspec.structs.replace(spec.attention, rotary=rotary_embedding),
        mlp=mlp(intermediate_size=spec.mlp.intermediate_size, activation=spec.mlp.activation),
        experts=parse_fields(config, ExpertFields).experts(spec.num_layers),
        linears_without_bias=maps_without_bias({**dict.fromkeys(BIASES, "n_embd" in config), **config}, BIASES),
    )


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """NomicBertPooler for sequence labels, NomicBertPredictionHeadTransform for term weights."""
    return bert.steps(_as_bert(config), kind)


def _as_bert(config: Mapping[str, object]) -> dict[str, object]:
    """The config with BERT's field names.

    rotary_scaling_factor only affects positions beyond max_trained_positions, so sequences are limited to those.
    """
    renamed = {bert_name: config[name] for name, bert_name in FIELDS.items() if name in config}
    nomic = {**DEFAULTS, **config, **renamed}
    if config.get("rotary_scaling_factor"):
        nomic["max_position_embeddings"] = config.get("max_trained_positions", DEFAULTS["max_position_embeddings"])
    return {**nomic, "hidden_act": GATED.get(str(nomic["hidden_act"]), nomic["hidden_act"])}
