"""Nomic BERT (Nussbaum et al., arXiv:2402.01613): BERT's layers with rotary positions and a gated MLP, without biases.

Or with plain MLPs and mixtures of them by turns, and biases (Nussbaum & Duderstadt, arXiv:2502.07972). Tensors as its
own repositories name them, which is also how transformers saves its NomicBertModel; config.json in either's words.
"""

from collections.abc import Mapping

import msgspec

from openbei.families import HeadKind, bert
from openbei.families.fields import Mixture, allow_only, fields_of, rotary, unbiased
from openbei.spec import MLP, GatedMLP, Head, ModelSpec, NoPositions, Step

PREFIX = "nomic_bert."
OLD_SUFFIXES = {f"mlp.fc1.{part}": f"mlp.fc11.{part}" for part in ("weight", "bias")}  # fc1 where there is no gate
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
"""Those of transformers' NomicBertConfig that are not BertConfig's."""

FIELDS = {
    "n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads",
    "n_inner": "intermediate_size", "n_positions": "max_position_embeddings", "layer_norm_epsilon": "layer_norm_eps",
    "activation_function": "hidden_act", "rotary_emb_base": "rope_theta",
}  # fmt: skip
"""Fields of the repositories' config.json -> transformers' names of them."""

GATED = {"swiglu": "silu", "geglu": "gelu"}
"""What the repositories call gated MLPs -> the activation of the gate. transformers' MLPs are all gated."""

BIASES = {
    "qkv_proj_bias": ("attention.qkv", "attention.out"), "mlp_fc1_bias": ("mlp.gate", "mlp.up"),
    "mlp_fc2_bias": ("mlp.down",),
}  # fmt: skip
"""Fields that say whether there are biases: true by default in the repositories' words, and unknown to transformers."""

ONLY = {
    "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "prenorm": False,
    "parallel_block": False, "use_rms_norm": False, "causal": False, "expert_choice_router": False,
    "num_shared_experts": 0, "ffn_div": 1,
}  # fmt: skip


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError."""
    mlp = GatedMLP if str(config.get("activation_function", "swiglu")) in GATED else MLP
    config = _as_bert(config)
    spec = bert.parse(config, head, family="nomic_bert")
    allow_only(config, "nomic_bert", {**ONLY, "head_dim": spec.attention.head_dim})
    turning = rotary(config, spec.attention.head_dim, theta=1000.0)
    return msgspec.structs.replace(
        spec,
        positions=NoPositions(max_positions=spec.positions.max_positions),
        attention=msgspec.structs.replace(spec.attention, rotary=turning),
        mlp=mlp(intermediate_size=spec.mlp.intermediate_size, activation=spec.mlp.activation),
        experts=fields_of(config, Mixture).experts(spec.num_layers),
        unbiased=unbiased({**dict.fromkeys(BIASES, "n_embd" in config), **config}, BIASES),
    )


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """NomicBertPooler for sequences, NomicBertPredictionHeadTransform for the vocabulary: BERT's."""
    return bert.steps(_as_bert(config), kind)


def _as_bert(config: Mapping[str, object]) -> dict[str, object]:
    """The same in transformers' words. A stretch of rotary_scaling_factor begins beyond max_trained_positions."""
    given = {**DEFAULTS, **config, **{ours: config[theirs] for theirs, ours in FIELDS.items() if theirs in config}}
    if config.get("rotary_scaling_factor"):
        given["max_position_embeddings"] = config.get("max_trained_positions", DEFAULTS["max_position_embeddings"])
    return {**given, "hidden_act": GATED.get(str(given["hidden_act"]), given["hidden_act"])}
