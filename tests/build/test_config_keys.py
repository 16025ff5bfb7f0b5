"""The tables of config.json: complete, consistent with what families read, and without warnings for published files."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
import transformers
from transformers.generation import GenerationConfig

from openbei.build.keys.config import ARCHITECTURES, COMMON, config_keys
from openbei.build.keys.table import Keys, check_mapping, keys_of
from openbei.errors import CheckpointError
from openbei.families import FAMILIES, architecture_prefix, find_family
from openbei.rope import RopeParameters
from openbei.spec import EmbeddingHead, Head, SequenceHead, TermHead
from tests.build.published import LEGACY, PUBLISHED

IN_TRANSFORMERS = [name for name in FAMILIES if hasattr(transformers, f"{name}Config")]
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "embedding_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 99,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
OWN: dict[str, dict[str, Any]] = {
    "JinaBert": {"position_embedding_type": "alibi", "feed_forward_type": "geglu"},
    "JinaCodeBert": {"position_embedding_type": "alibi", "feed_forward_type": "geglu"},
    "NomicBert": {"num_experts": 4, "moe_every_n_layers": 2, "max_trained_positions": 64},
    "EuroBert": {"classifier_pooling": "mean"},
    "DebertaV2": {"relative_attention": True, "pos_att_type": "c2p|p2c", "conv_kernel_size": 3},
}
"""Keys that a family needs, or that make it read other keys."""

ROPE_SCALING = {"NomicBert": {"rotary_scaling_factor": 2.0}}
"""Keys that make a family read further keys."""

CODE = {"JinaCodeBert": ("JinaBert", {"_name_or_path": "jinaai/jina-bert-v2-qk-post-norm"})}
HEADS: tuple[Head, ...] = (EmbeddingHead(poolings=("mean",)), SequenceHead(num_labels=2), TermHead())
UNUSUAL: tuple[object, ...] = ({"a": [1]}, "odd", 3, False, True)


def config_of(name: str) -> dict[str, Any]:
    prefix, code = CODE.get(name, (name, {}))
    return {**SIZES, **OWN.get(name, {}), **code, "architectures": [f"{prefix}Model"]}


def warnings_of(name: str, config: dict[str, Any]) -> list[str]:
    return [warning.decision for warning in check_mapping("config.json", config, config_keys(name, config))]


def tables_with(key: str, keys: Keys) -> list[str]:
    """Names of the tables that have a key, or else a pattern that matches it."""
    tables = {"read": keys.read, "without effect": keys.without_effect, "refused": keys.refused}
    exact = [name for name, table in tables.items() if key in table]
    return exact or [name for name, table in tables.items() if any(fnmatchcase(key, pattern) for pattern in table)]


def test_every_architecture_has_a_table() -> None:
    assert set(ARCHITECTURES) == set(FAMILIES)


@pytest.mark.parametrize("name", IN_TRANSFORMERS)
def test_every_key_of_transformers_is_in_one_table(name: str) -> None:
    """Fails if a new version adds a key."""
    config = getattr(transformers, f"{name}Config")()
    keys = {*config.to_dict(), *config.attribute_map, *GenerationConfig._get_default_generation_params()}
    found = {key: tables_with(key, config_keys(name, {})) for key in keys}
    assert {key: tables for key, tables in found.items() if len(tables) != 1} == {}


@pytest.mark.parametrize("name", IN_TRANSFORMERS)
def test_defaults_of_transformers_have_no_warnings(name: str) -> None:
    assert warnings_of(name, getattr(transformers, f"{name}Config")().to_dict()) == []


@pytest.mark.parametrize("name", FAMILIES)
def test_older_files_have_no_warnings(name: str) -> None:
    assert warnings_of(name, LEGACY) == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_have_no_warnings(name: str) -> None:
    config = PUBLISHED[name]
    [architecture] = config["architectures"]
    assert warnings_of(architecture_prefix(architecture, config), config) == []
    family, _ = find_family(architecture, config)
    family.parse(config, HEADS[0])


def outcomes(name: str, config: dict[str, Any]) -> Iterator[object]:
    """The results of parsing a config.json for all heads; None where it is refused."""
    prefix, _ = CODE.get(name, (name, {}))
    family, _ = find_family(f"{prefix}Model", config)
    for head in HEADS:
        try:
            yield family.parse(config, head)
        except CheckpointError:
            yield None
    for kind in family.HEADS:
        try:
            yield family.steps(config, kind)
        except CheckpointError:
            yield None


@pytest.mark.parametrize("name", FAMILIES)
def test_keys_in_read_are_read(name: str) -> None:
    """Some unusual value of each key is refused, or changes the model."""
    keys = ARCHITECTURES[name]
    unread = {*keys.read} - {*keys.without_effect, *keys.refused, *COMMON.read, "final_logit_softcapping"}
    for config in (config_of(name), {**config_of(name), **ROPE_SCALING.get(name, {})}):
        expected = list(outcomes(name, config))
        assert expected[0] is not None
        unread = {
            key for key in unread if all(list(outcomes(name, {**config, key: value})) == expected for value in UNUSUAL)
        }
    assert unread == set()


@pytest.mark.parametrize("key", sorted(keys_of(RopeParameters)))
def test_keys_of_rope_are_read(key: str) -> None:
    config = config_of("Llama")
    with pytest.raises(CheckpointError, match=key):
        find_family("LlamaModel")[0].parse({**config, "rope_scaling": {"rope_type": "linear", key: {"a": 1}}}, HEADS[0])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "unknown",
    [
        {"hidden_scale": 3.0},
        {"hidden_scale": False},
        {"rope_parameters": {"hidden_scale": 2}},
        {"rope_scaling": {"full_attention": {"hidden_scale": "x"}}},
        {"sentence_transformers": {"hidden_scale": 1}},
    ],
    ids=str,
)
def test_unknown_keys_are_warnings(name: str, unknown: dict[str, Any]) -> None:
    """For families without rotary embeddings, rope_parameters is unknown as a whole."""
    [warning] = check_mapping("config.json", unknown, config_keys(name, {}))
    assert (warning.subject, warning.is_warning) == ("config.json", True)
    assert "hidden_scale" in warning.decision


@pytest.mark.parametrize("value", [None, "", [], {}, {"a": {}, "b": [None]}])
def test_empty_values_are_ignored(value: object) -> None:
    assert warnings_of("Bert", {"hidden_scale": value, "pruned_heads": value, "per_layer_config": value}) == []


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "pruned heads": (
        "Bert",
        {"pruned_heads": {"0": [1]}},
        {"pruned_heads": {}},
        "pruned_heads is {'0': .* must be empty\nhint: all layers",
    ),
    "encoder and decoder": (
        "Bert",
        {"is_encoder_decoder": True},
        {"is_encoder_decoder": False},
        "is_encoder_decoder is True; .* be False",
    ),
    "different layers": (
        "Qwen3",
        {"per_layer_config": {"1": {"head_dim": 8}}},
        {"per_layer_config": None},
        "per_layer_config is",
    ),
    "another config": (
        "Bert",
        {"configuration_files": ["config.4.0.json"]},
        {"configuration_files": []},
        "configuration_files is",
    ),
    "other weights": (
        "Bert",
        {"transformers_weights": "b.safetensors"},
        {"transformers_weights": "model.safetensors"},
        "transformers_weights is 'b.safetensors'; it must be 'model.safetensors'",
    ),
    "a nested config": ("Gemma3Text", {"text_config": {"hidden_size": 3}}, {"text_config": {}}, "text_config is"),
    "compressed weights": (
        "Llama",
        {"compression_config": {"bits": 4}},
        {"compression_config": None},
        "compression_config is",
    ),
    "causal": ("Bert", {"is_causal": True}, {"is_causal": False}, "is_causal is True; it must be False"),
    "another model": (
        "Bert",
        {"model_type": "roberta"},
        {"model_type": "bert"},
        "model_type is 'roberta'; it must be 'bert'",
    ),
    "another model of this family": (
        "Roberta",
        {"model_type": "bert"},
        {"model_type": "xlm-roberta"},
        "model_type is 'bert'; it must be 'roberta' or 'xlm-roberta' or 'camembert'",
    ),
    "windows": ("Llama", {"sliding_window": 64}, {"sliding_window": None}, "sliding_window is 64; it must be empty"),
    "windows of EuroBERT": ("EuroBert", {"sliding_window": 64}, {}, "sliding_window is 64"),
    "windows of Gemma": ("Gemma", {"sliding_window": 64}, {}, "sliding_window is 64"),
    "bidirectional": (
        "Qwen3",
        {"use_bidirectional_attention": True},
        {"use_bidirectional_attention": False},
        "reads is_causal",
    ),
    "windows of some layers": ("Mistral", {"max_window_layers": 3}, {"max_window_layers": 0}, "max_window_layers is 3"),
    "windows switched off": ("Mistral", {"use_sliding_window": False}, {"use_sliding_window": True}, "use_sliding"),
    "another pattern": (
        "Gemma2",
        {"sliding_window_pattern": 3},
        {"sliding_window_pattern": 2},
        "sliding_window_pattern is 3; .* be 2",
    ),
    "no bias": (
        "Qwen2",
        {"token_classification_bias": False},
        {"token_classification_bias": True},
        "token_classification",
    ),
    "a norm in the MLP": ("NomicBert", {"norm_mlp": True}, {"norm_mlp": False}, "norm_mlp is True"),
    "partial rotary": (
        "Llama",
        {"partial_rotary_factor": 0.5},
        {"partial_rotary_factor": 1.0},
        "partial_rotary_factor is 0.5",
    ),
    "partial rotary by layer type": (
        "Gemma3Text",
        {"rope_parameters": {"full_attention": {"partial_rotary_factor": 0.5}}},
        {"rope_parameters": {"full_attention": {"partial_rotary_factor": 1.0}}},
        "rope_parameters.full_attention.partial_rotary_factor is 0.5",
    ),
    "a single theta": ("ModernBert", {"rope_theta": 1e4}, {"global_rope_theta": 1e4}, "rope_theta is 10000.0"),
    "grouped-query attention": ("NomicBert", {"num_heads_kv": 2}, {"num_heads_kv": None}, "num_heads_kv is 2"),
    "rotation along heads": (
        "NomicBert",
        {"rotary_head_dim": True},
        {"rotary_head_dim": False},
        "rotary_head_dim is True",
    ),
}


@pytest.mark.parametrize(("name", "given", "default", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(name: str, given: dict[str, Any], default: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=f"^config.json: (?s:.*{message})"):
        warnings_of(name, given)
    assert warnings_of(name, default) == []


def test_the_model_type_of_remote_code_is_not_checked() -> None:
    assert warnings_of("NomicBert", {"model_type": "nomic_bert_2", "auto_map": {"AutoModel": "m.py"}}) == []
    assert warnings_of("JinaBert", {"model_type": "bert"}) == []


REFUSED_BY_FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "heads of GTE": ("Gte", {"head_dim": 32}, {"head_dim": 16}),
    "heads of Nomic BERT": ("NomicBert", {"head_dim": 32}, {"head_dim": 16}),
    "heads of ModernBERT": ("ModernBert", {"head_dim": 32}, {"head_dim": 16}),
    "the window of ModernBERT": ("ModernBert", {"sliding_window": 32}, {"sliding_window": 64}),
    "the pooler of DeBERTa": ("DebertaV2", {"pooler_hidden_size": 32}, {"pooler_hidden_size": 64}),
}


@pytest.mark.parametrize(("name", "given", "default"), REFUSED_BY_FAMILIES.values(), ids=REFUSED_BY_FAMILIES)
def test_families_refuse(name: str, given: dict[str, Any], default: dict[str, Any]) -> None:
    """Values that depend on other keys are refused by the family, not by a table."""
    family, _ = find_family(f"{name}Model")
    [key] = given
    with pytest.raises(
        CheckpointError, match=rf"^config.json: {key} is 32; the family \w+ supports only {default[key]}"
    ):
        family.parse({**config_of(name), **given}, HEADS[0])
    family.parse({**config_of(name), **default}, HEADS[0])


def test_aliases_of_distilbert() -> None:
    family, _ = find_family("DistilBertModel")
    assert family.parse({"num_hidden_layers": 3}, HEADS[0]).num_layers == 3
    assert family.parse({"num_hidden_layers": 3, "n_layers": 3}, HEADS[0]).num_layers == 3
    assert family.parse({}, HEADS[0]).num_layers == 6
    plain = family.parse({"hidden_act": "relu", "intermediate_size": 96}, HEADS[0])
    assert (plain.mlp.activation, plain.mlp.intermediate_size) == ("gelu", 3072), "transformers ignores these"
    with pytest.raises(CheckpointError, match="num_attention_heads is 6; the family distilbert supports only 12"):
        family.parse({"num_attention_heads": 6, "n_heads": 12}, HEADS[0])
