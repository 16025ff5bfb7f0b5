"""Unknown keys and files of a checkpoint are warnings, and values with another effect are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from openbei.build import render_report
from openbei.build.keys import MODEL_FILES, SENTENCE_CONFIGS, TRANSFORMER_FILES, check_keys, sentence, tokenizer
from openbei.build.keys.table import AllowedValues, Keys, check_mapping, keys_of, reason_by_key
from openbei.errors import CheckpointError
from openbei.families import FAMILIES
from tests.build.corruption import save_kinds
from tests.checkpoint import build_engine, save_model, write_chain, write_json
from tests.generative import save_cross_encoder, save_generative
from tests.sentence_chain import save, transformer

UNKNOWN = {"unheard_of": 3}
IN_ROOT = {
    "special_tokens_map.json": {"cls_token": "[CLS]"},
    "tokenizer_config.json": {"do_lower_case": True},
    "processor_config.json": {"processor_class": "A"},
    "config_sentence_transformers.json": {"prompts": {"query": "find: "}},
    **{name: {"max_seq_length": 3} for name in SENTENCE_CONFIGS},
}


def warnings_of(folder: Path, route: str | None = None) -> list[str]:
    """The file and the decision of each warning."""
    return [f"{warning.subject}: {warning.decision}" for warning in check_keys(folder, route)]


def chain_of(folder: Path, *kinds: str, architecture: str = "BertModel") -> Path:
    """Write the JSON files of a checkpoint, with a config.json for each module."""
    write_json(folder / "config.json", {"architectures": [architecture]})
    chain = [("" if index == 0 else f"{index}_{kind}", kind) for index, kind in enumerate(kinds)]
    for subfolder, _ in chain[1:]:
        write_json(folder / subfolder / "config.json", {})
    write_chain(folder, chain)
    return folder


@pytest.mark.parametrize("prefix", FAMILIES)
def test_unknown_keys_of_a_family_are_warnings(prefix: str, tmp_path: Path) -> None:
    """In each of the checkpoint's files."""
    write_json(tmp_path / "config.json", {"architectures": [f"{prefix}Model"], **UNKNOWN})
    write_json(tmp_path / "tokenizer.json", {"version": "1.0", "truncation": None, **UNKNOWN})
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": {}, "metadata": {"total_size": 3}, **UNKNOWN})
    for name, content in IN_ROOT.items():
        write_json(tmp_path / name, {**content, **UNKNOWN})
    expected = ["config.json", "tokenizer.json", "model.safetensors.index.json", *IN_ROOT]
    assert warnings_of(tmp_path) == [f"{name}: unheard_of is 3" for name in sorted(expected)]


CHAINS = [
    ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"),
    ("Transformer", "SpladePooling"),
    ("Transformer", "LogitScore"),
]


@pytest.mark.parametrize("kinds", CHAINS, ids=" ".join)
def test_unknown_keys_of_modules_are_warnings(kinds: tuple[str, ...], tmp_path: Path) -> None:
    folder = chain_of(tmp_path, *kinds)
    entries = json.loads((folder / "modules.json").read_text())
    write_json(folder / "modules.json", [{**entry, **UNKNOWN} for entry in entries])
    configs = [f"{index}_{kind}/config.json" for index, kind in enumerate(kinds) if index]
    for config in configs:
        write_json(folder / config, UNKNOWN)
    files = [*["modules.json"] * len(kinds), *configs]
    assert warnings_of(folder) == [f"{file}: unheard_of is 3" for file in files]


@pytest.mark.parametrize("kind", ["StaticEmbedding", "SparseStaticEmbedding"])
def test_unknown_keys_of_static_modules_are_warnings(kind: str, tmp_path: Path) -> None:
    write_chain(tmp_path, [("", kind)])
    for name in ("config.json", "tokenizer.json"):
        write_json(tmp_path / name, UNKNOWN)
    assert warnings_of(tmp_path) == ["config.json: unheard_of is 3", "tokenizer.json: unheard_of is 3"]


def test_unknown_keys_of_a_router_are_warnings(tmp_path: Path) -> None:
    """Also of the selected route, but not of others."""
    chain_of(tmp_path, "Transformer", "Pooling", "Router")
    types = dict.fromkeys(("q", "d"), "sentence_transformers.models.Dense")
    routes = {"query": ["q"], "document": ["d"]}
    parameters = {"default_route": "query", "allow_empty_key": True, **UNKNOWN}
    write_json(
        tmp_path / "2_Router/router_config.json",
        {"types": types, "structure": routes, "parameters": parameters, "more": {"a": 1}},
    )
    for name in types:
        write_json(tmp_path / f"2_Router/{name}/config.json", {"in_features": 1, name: 1})
    file = "2_Router/router_config.json"
    expected = [f"{file}: more is {{'a': 1}}", f"{file}: parameters.unheard_of is 3"]
    assert sorted(warnings_of(tmp_path)) == ["2_Router/q/config.json: q is 1", *expected]
    assert sorted(warnings_of(tmp_path, "document")) == ["2_Router/d/config.json: d is 1", *expected]


def test_unknown_nested_keys(tmp_path: Path) -> None:
    chain_of(tmp_path, "Transformer", "Pooling")
    token = {"content": "[X]", "lstrip": False, "special": True, "odd": 1}
    write_json(tmp_path / "tokenizer_config.json", {"cls_token": token, "added_tokens_decoder": {"7": token}})
    write_json(tmp_path / "tokenizer.json", {"added_tokens": [{"id": 7, **token}]})
    write_json(
        tmp_path / "sentence_bert_config.json",
        {
            "model_args": {"torch_dtype": "float16"},
            "processing_kwargs": {"text": {"padding": True}, "odd": {"a": 1}},
            "modality_config": {"text": {"method": "forward", "odd": 1}, "image": {"odd": 1}},
        },
    )
    assert warnings_of(tmp_path) == [
        "sentence_bert_config.json: processing_kwargs.odd is {'a': 1}",
        "sentence_bert_config.json: modality_config.text.odd is 1",
        "tokenizer.json: added_tokens.odd is 1",
        "tokenizer_config.json: cls_token.odd is 1",
        "tokenizer_config.json: added_tokens_decoder.7.odd is 1",
    ]


def test_unknown_files_are_warnings(tmp_path: Path) -> None:
    chain_of(tmp_path, "Transformer", "Pooling")
    for name in ("idf.json", "vocab.json", "generation_config.json", "trainer_state.json", "1_Pooling/more.json"):
        write_json(tmp_path / name, {"a": 1})
    (tmp_path / "onnx").mkdir()
    write_json(tmp_path / "onnx/config.json", {"a": 1})
    assert warnings_of(tmp_path) == ["idf.json: not read", "1_Pooling/more.json: not read"]


def test_keys_of_added_tokens_are_tokens(tmp_path: Path) -> None:
    chain_of(tmp_path, "Transformer", "Pooling")
    write_json(tmp_path / "added_tokens.json", {"[MASK]": 7, "[NEW]": 8})
    assert warnings_of(tmp_path) == []


def test_refuses_weights_in_another_file(tmp_path: Path) -> None:
    write_chain(tmp_path, [("", "SparseStaticEmbedding")])
    write_json(tmp_path / "config.json", {"frozen": True, "path": None})
    assert warnings_of(tmp_path) == []
    write_json(tmp_path / "config.json", {"path": "idf.json"})
    with pytest.raises(CheckpointError, match=r"config.json: path is 'idf.json'; it must be empty\nhint: sentence-t"):
        warnings_of(tmp_path)


def test_saved_models_have_no_warnings(tmp_path: Path, tokenizer_json: Path) -> None:
    """Models of many kinds, saved by transformers and sentence-transformers."""
    kinds = save_kinds(tmp_path, tokenizer_json)
    assert len(kinds) > 8
    assert {name: warnings_of(folder, "query" if name == "router" else None) for name, folder in kinds.items()} == {
        name: [] for name in kinds
    }


def test_saved_cross_encoders_have_no_warnings(tmp_path: Path, tokenizer_json: Path) -> None:
    from sentence_transformers import CrossEncoder

    plain = save_model(tmp_path / "plain", tokenizer_json, "BertForSequenceClassification", num_labels=1)
    CrossEncoder(str(plain), device="cpu", local_files_only=True).save_pretrained(str(tmp_path / "saved"))
    assert warnings_of(plain) == []
    assert warnings_of(tmp_path / "saved") == []


def test_models_of_older_sentence_transformers_have_no_warnings(tmp_path: Path) -> None:
    folder = chain_of(tmp_path, *CHAINS[0])
    modes = dict.fromkeys(sentence.OLD_POOLING_KEYS, False) | {"pooling_mode_mean_tokens": True}
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": 384, **modes, "include_prompt": True})
    dense = {"in_features": 384, "out_features": 3, "bias": True, "activation_function": "torch.nn.modules.linear.Tanh"}
    write_json(folder / "2_Dense/config.json", dense)
    write_json(folder / "3_LayerNorm/config.json", {"dimension": 3})
    write_json(folder / "5_Dropout/config.json", {"dropout": 0.2})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 256, "do_lower_case": False})
    versions = {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}
    write_json(folder / "config_sentence_transformers.json", {"__version__": versions, "similarity_fn_name": "cosine"})
    assert warnings_of(folder) == []


def test_keys_of_sentence_transformers_are_in_one_table() -> None:
    """Fails if a new version adds a key."""
    from sentence_transformers.cross_encoder.modules import LogitScore
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer import modules as m
    from sentence_transformers.sparse_encoder import modules as sparse

    tables: dict[str, tuple[Any, Keys]] = {
        kind: (getattr(m, kind, getattr(sparse, kind, LogitScore)), sentence.MODULE_CONFIGS[kind])
        for kind in sentence.MODULE_CONFIGS
    }
    tables["Transformer"] = (m.Transformer, sentence.TRANSFORMER)
    tables["MultiVectorMask"] = (MultiVectorMask, sentence.MODULE_CONFIGS["MultiVectorMask"])
    tables["Router"] = (m.Router, sentence.ROUTER.nested["parameters"])
    wrong = {
        kind: [key for key in {*module.config_keys, *module.config_key_renames} if num_tables(key, keys) != 1]
        for kind, (module, keys) in tables.items()
    }
    assert wrong == {kind: [] for kind in tables}


def num_tables(key: str, keys: Keys) -> int:
    return sum(key in table for table in (keys.read, keys.without_effect, keys.refused))


def test_arguments_of_tokenizers_are_in_one_table() -> None:
    import inspect

    import transformers

    names = ("Bert", "Roberta", "XLMRoberta", "Camembert", "MPNet", "DebertaV2", "Gemma", "Llama", "Qwen2")
    classes = [getattr(transformers, f"{name}Tokenizer") for name in names]
    arguments = {name for each in classes for name in inspect.signature(each.__init__).parameters}
    not_settings = {"self", "kwargs", "vocab", "merges", "_spm_precompiled_charsmap"}
    assert {name for name in arguments - not_settings if num_tables(name, tokenizer.TOKENIZER_CONFIG) != 1} == set()


@pytest.mark.parametrize(
    "files", [MODEL_FILES, TRANSFORMER_FILES, sentence.MODULE_CONFIGS], ids=["model", "transformer", "modules"]
)
def test_a_key_is_in_one_table(files: dict[str, Keys]) -> None:
    for name, keys in files.items():
        assert [key for key in {*keys.read, *keys.without_effect, *keys.refused} if num_tables(key, keys) != 1] == [], (
            name
        )


def test_the_report_has_the_warnings(tiny_checkpoint: Path, checkpoint_copy: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json", "sentence_bert_config.json", "1_Pooling/config.json"):
        path = checkpoint_copy / name
        write_json(path, json.loads(path.read_text()) | {"logit_multiplier": 0.5})
    manifest = build_engine(checkpoint_copy, tmp_path / "engine").manifest
    warnings = [decision for decision in manifest.report if decision.is_warning]
    assert [warning.subject for warning in warnings] == [
        "config.json",
        "sentence_bert_config.json",
        "tokenizer_config.json",
        "1_Pooling/config.json",
    ]
    lines = render_report(manifest).splitlines()
    message = "logit_multiplier is 0.5: unknown key; the model's output may depend on it"
    assert lines[-4:] == [f"  warning: {warning.subject}: {message}" for warning in warnings]
    assert "warning:" not in render_report(build_engine(tiny_checkpoint, tmp_path / "plain").manifest)


def test_a_refused_key_stops_a_build(checkpoint_copy: Path, tmp_path: Path) -> None:
    path = checkpoint_copy / "config.json"
    write_json(path, json.loads(path.read_text()) | {"pruned_heads": {"0": [2]}})
    with pytest.raises(
        CheckpointError, match=r"^config.json: pruned_heads is \{'0': \[2\]\}; it must be empty\nhint: "
    ):
        build_engine(checkpoint_copy, tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_a_generative_reranker_has_no_warnings(word_tokenizer: Path, tmp_path: Path) -> None:
    generative = save_generative(tmp_path / "generative", word_tokenizer)
    assert warnings_of(save_cross_encoder(tmp_path / "reranker", generative)) == []


TABLE = Keys(
    read={"a", "b_*"},
    without_effect=reason_by_key({"training only": "c d_*"}),
    refused={"e": AllowedValues((1, "one"), "only one"), "f": AllowedValues((), "not supported")},
    nested={"g": Keys(read={"a"}), "h": Keys(nested={"*": Keys(read={"a"})})},
)


@pytest.mark.parametrize(
    ("content", "warnings"),
    [
        ({"a": 3, "b_x": 3, "c": 3, "d_x": 3}, []),
        ({"e": 1}, []),
        ({"e": "one", "f": []}, []),
        ({"x": 0, "y": None, "z": ""}, ["x is 0"]),
        ([{"x": 1}, {"a": 1}, 3], ["x is 1"]),
        ({"g": {"a": 1, "b": 2}}, ["g.b is 2"]),
        ({"h": {"one": {"a": 1}, "two": {"b": 2}}}, ["h.two.b is 2"]),
        ({"g": 3}, []),
        ("text", []),
    ],
    ids=str,
)
def test_a_table(content: object, warnings: list[str]) -> None:
    assert [warning.decision for warning in check_mapping("file", content, TABLE)] == warnings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"e": 2}, "file: e is 2; it must be 1 or 'one'\nhint: only one"),
        ({"f": 2}, "file: f is 2; it must be empty\nhint: not supported"),
        ({"f": "x" * 999}, "file: f is 'xxx.*[.]{3}.*xxx'; it must be empty"),
    ],
    ids=str,
)
def test_refused_values(content: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"^{message}"):
        list(check_mapping("file", content, TABLE))


def test_overridden_table() -> None:
    other = Keys(read={"c", "k"}, without_effect={"e": "read elsewhere", "k": "in a shared struct"})
    merged = TABLE.overridden_by(other)
    assert list(check_mapping("file", {"a": 1, "c": 1, "e": 2, "k": 1}, merged)) == []
    assert {key: num_tables(key, merged) for key in ("a", "c", "e", "f", "k")} == dict.fromkeys("acefk", 1)


def test_keys_of_structs() -> None:
    assert keys_of(sentence.LayerNormConfig, sentence.NormalizeConfig) == {
        "dimension",
        "module_input_name",
        "module_output_name",
    }


def test_a_saved_chain_has_no_warnings(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules as m

    modules = [transformer(tiny_checkpoint), m.Pooling(64, "cls"), m.Dropout(0.1), m.Normalize()]
    save(tmp_path, modules, prompts={"a": "b"}, truncate_dim=32)
    assert warnings_of(tmp_path) == []
