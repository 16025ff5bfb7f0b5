"""Supported checkpoints, and the messages for unsupported ones."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from openbei.build.inspect import inspect_checkpoint
from openbei.errors import CheckpointError
from openbei.prompts import Prompts
from openbei.spec import EmbeddingHead, Pooling
from tests.checkpoint import build_engine, save_model, update_json, write_json

ST = "sentence_transformers"


def chain(folder: Path, *types: str) -> None:
    paths = ["", "1_Pooling", "2_Normalize", "3_More"]
    write_json(
        folder / "modules.json", [{"path": path, "type": kind} for path, kind in zip(paths, types, strict=False)]
    )


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"embedding_dimension": 64, "pooling_mode": "mean", "include_prompt": True}, ["mean"]),
        ({"embedding_dimension": 64, "pooling_mode": ["lasttoken"]}, ["last_token"]),
        ({"embedding_dimension": 64, "pooling_mode": ["weightedmean", "cls"]}, ["weighted_mean", "cls"]),
        ({"word_embedding_dimension": 64, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ["cls"]),
        ({"word_embedding_dimension": 64, "pooling_mode_lasttoken": True}, ["last_token"]),
        (
            {
                "pooling_mode_mean_tokens": True,
                "pooling_mode_mean_sqrt_len_tokens": True,
                "pooling_mode_max_tokens": True,
            },
            ["max", "mean", "mean_sqrt_len"],
        ),
    ],
)
def test_poolings(pooling: dict[str, object], expected: list[Pooling], checkpoint_copy: Path) -> None:
    write_json(checkpoint_copy / "1_Pooling/config.json", pooling)
    assert inspect_checkpoint(checkpoint_copy, 8192).spec.head == EmbeddingHead(poolings=tuple(expected))


@pytest.mark.parametrize(
    "types",
    [
        (f"{ST}.models.Transformer", f"{ST}.models.Pooling"),
        (
            f"{ST}.base.modules.transformer.Transformer",
            f"{ST}.sentence_transformer.modules.pooling.Pooling",
            f"{ST}.base.modules.normalize.Normalize",
        ),
    ],
)
def test_module_paths_of_all_versions(types: tuple[str, ...], checkpoint_copy: Path) -> None:
    chain(checkpoint_copy, *types)
    assert inspect_checkpoint(checkpoint_copy, 8192).normalize is (len(types) == 3)


def test_a_model_saved_by_sentence_transformers(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(tiny_checkpoint), device="cpu", local_files_only=True).save(str(tmp_path / "saved"))
    original, saved = build_engine(tiny_checkpoint, tmp_path / "a"), build_engine(tmp_path / "saved", tmp_path / "b")
    assert saved.manifest.spec == original.manifest.spec
    assert saved.manifest.normalize
    assert saved.manifest.max_sequence_tokens == 128
    assert (saved.path / "weights.safetensors").read_bytes() == (original.path / "weights.safetensors").read_bytes()


def test_a_transformer_in_a_subfolder(checkpoint_copy: Path, tmp_path: Path) -> None:
    (checkpoint_copy / "0_BERT").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"):
        (checkpoint_copy / name).rename(checkpoint_copy / "0_BERT" / name)
    write_json(
        checkpoint_copy / "modules.json",
        [{"path": "0_BERT", "type": f"{ST}.models.Transformer"}, {"path": "1_Pooling", "type": f"{ST}.models.Pooling"}],
    )
    assert build_engine(checkpoint_copy, tmp_path / "engine").manifest.normalize is False


@pytest.mark.parametrize(
    ("limits", "expected", "source"),
    [
        ({"sentence": 20}, 20, "max_seq_length of sentence_bert_config.json"),
        ({"sentence": 5000}, 128, "max_position_embeddings of config.json"),
        ({"tokenizer": 30}, 30, "model_max_length of tokenizer_config.json"),
        ({"sentence": 40, "tokenizer": 30}, 40, "max_seq_length of sentence_bert_config.json"),
        ({"tokenizer": int(1e30)}, 128, "max_position_embeddings of config.json"),
        ({}, 128, "max_position_embeddings of config.json"),
        ({"budget": 70}, 70, "max_num_tokens, the token budget of a batch"),
    ],
)
def test_sequence_length(limits: dict[str, int], expected: int, source: str, checkpoint_copy: Path) -> None:
    write_json(checkpoint_copy / "sentence_bert_config.json", {"max_seq_length": limits.get("sentence")})
    update_json(checkpoint_copy / "tokenizer_config.json", model_max_length=limits.get("tokenizer"))
    inspection = inspect_checkpoint(checkpoint_copy, limits.get("budget", 8192))
    assert inspection.max_sequence_tokens == expected
    assert {d.subject: d.reason for d in inspection.decisions}["max_sequence_tokens"] == source


@pytest.mark.parametrize(
    ("architecture", "expected"), [("BertForSequenceClassification", 40), ("BertForTokenClassification", 128)]
)
def test_max_seq_len(architecture: str, expected: int, tokenizer_json: Path, tmp_path: Path) -> None:
    """It limits sequence classifiers and rerankers only."""
    save_model(tmp_path, tokenizer_json, architecture, num_labels=3)
    inspection = inspect_checkpoint(tmp_path, 8192, max_seq_len=40)
    assert inspection.max_sequence_tokens == expected
    [source] = [d.reason for d in inspection.decisions if d.subject == "max_sequence_tokens"]
    assert (source == "trt_llm.build.max_seq_len") == (expected == 40)


@pytest.mark.parametrize(("architecture", "budget"), [("BertModel", 8192), ("LlamaModel", 16384)])
def test_budget_without_a_config(architecture: str, budget: int, make_checkpoint: Callable[..., Path]) -> None:
    checkpoint = make_checkpoint(architecture=architecture, max_position_embeddings=20_000, num_key_value_heads=2)
    inspection = inspect_checkpoint(checkpoint, None)
    assert (inspection.max_num_tokens, inspection.max_sequence_tokens) == (budget, budget)
    assert "max_num_tokens" in [decision.subject for decision in inspection.decisions]
    assert "max_num_tokens" not in [decision.subject for decision in inspect_checkpoint(checkpoint, 70).decisions]


def test_prompts(checkpoint_copy: Path) -> None:
    write_json(
        checkpoint_copy / "config_sentence_transformers.json",
        {"prompts": {"query": "Q: ", "document": ""}, "default_prompt_name": "query"},
    )
    inspection = inspect_checkpoint(checkpoint_copy, 8192)
    assert inspection.prompts == Prompts({"query": "Q: ", "document": ""}, "query")
    assert "query; default: query" in [decision.decision for decision in inspection.decisions]


def test_remote_code_is_not_needed(checkpoint_copy: Path) -> None:
    update_json(checkpoint_copy / "config.json", auto_map={"AutoModel": "modeling.BertModel"})
    decisions = {d.subject: d.decision for d in inspect_checkpoint(checkpoint_copy, 8192).decisions}
    assert decisions["repository code"] == "not run"


def put_sep_token_outside_vocabulary(checkpoint: Path) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    last = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": last, "content": "<end>"})
    tokenizer["post_processor"]["sep"] = ["<end>", last]
    write_json(checkpoint / "tokenizer.json", tokenizer)


def change_config(checkpoint: Path, **changes: object) -> None:
    update_json(checkpoint / "config.json", **changes)


CORRUPTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no modules.json": (
        lambda c: (c / "modules.json").unlink(),
        "modules.json does not exist; BertModel needs it\nhint: bei build .* --pooling mean",
    ),
    "no pooling": (lambda c: (c / "1_Pooling/config.json").unlink(), "1_Pooling/config.json cannot be read: No such"),
    "no config": (lambda c: (c / "config.json").unlink(), "config.json cannot be read"),
    "config is not JSON": (lambda c: (c / "config.json").write_text("{"), "config.json: "),
    "config is binary": (lambda c: (c / "config.json").write_bytes(b"\xff\xfe{}"), "config.json is UTF-16, not UTF-8"),
    "no tokenizer": (lambda c: (c / "tokenizer.json").unlink(), "tokenizer.json does not exist; .*\nhint: save it"),
    "special token outside the vocabulary": (
        put_sep_token_outside_vocabulary,
        r"tokenizer.json: a text has the token ids \[.*; the model's vocabulary ends at ",
    ),
    "invalid tokenizer": (
        lambda c: (c / "tokenizer.json").write_text("{}"),
        "tokenizer.json is not a valid tokenizer",
    ),
    "small vocabulary": (lambda c: update_json(c / "config.json", vocab_size=100), "the model's vocabulary ends at 99"),
    "unknown pooling": (
        lambda c: update_json(c / "1_Pooling/config.json", pooling_mode=["mean", "median"]),
        r"the pooling is \['mean', 'median'\]; supported: cls, max, mean, mean_sqrt_len_tokens, weightedmean, last",
    ),
    "pooling of lists": (
        lambda c: update_json(c / "1_Pooling/config.json", pooling_mode=[["mean"]]),
        r"is \[\['mean'\]\]; supported: ",
    ),
    "pooling of numbers": (
        lambda c: update_json(c / "1_Pooling/config.json", pooling_mode=3),
        "the pooling is 3; supported: ",
    ),
    "no pooling mode": (lambda c: write_json(c / "1_Pooling/config.json", {}), r"the pooling is \[\]"),
    "other width": (
        lambda c: update_json(c / "1_Pooling/config.json", embedding_dimension=65),
        "embedding_dimension is 65",
    ),
    "another module": (
        lambda c: chain(c, f"{ST}.models.Transformer", f"{ST}.models.Pooling", f"{ST}.models.CNN"),
        "the chain Transformer, Pooling, CNN; supported: Transformer; Transformer, SpladePooling; ",
    ),
    "foreign module": (lambda c: chain(c, "custom.Transformer", f"{ST}.models.Pooling"), "chain custom.Transformer, "),
    "path upwards": (
        lambda c: write_json(
            c / "modules.json",
            [{"path": "..", "type": f"{ST}.models.Transformer"}, {"path": "", "type": f"{ST}.models.Pooling"}],
        ),
        "the path '..' is outside of the checkpoint",
    ),
    "other architecture": (
        lambda c: update_json(c / "config.json", architectures=["T5ForCausalLM"]),
        "unsupported architecture 'T5ForCausalLM'",
    ),
    "classifier": (
        lambda c: update_json(c / "config.json", architectures=["BertForSequenceClassification"], id2label={"0": "x"}),
        "has the module Pooling; BertForSequenceClassification does not support it",
    ),
    "no module but the transformer": (
        lambda c: chain(c, f"{ST}.models.Transformer"),
        "modules.json has no pooling; BertModel needs it",
    ),
    "SPLADE of a model without vocabulary": (
        lambda c: chain(c, f"{ST}.models.Transformer", f"{ST}.sparse_encoder.models.SpladePooling"),
        "has the module SpladePooling; BertModel does not support it",
    ),
    "no architecture": (
        lambda c: update_json(c / "config.json", architectures=[]),
        r"architectures is \[\]; it must be",
    ),
    "remote code": (
        lambda c: update_json(c / "config.json", auto_map={"AutoModel": "x.Y"}, architectures=["ChatGLMModel"]),
        "unsupported architecture 'ChatGLMModel'",
    ),
    "quantized": (
        lambda c: update_json(c / "config.json", quantization_config={}),
        "quantization_config is set: the weights are already quantized, which",
    ),
    **{
        f"quantized by {method}": (
            partial(change_config, quantization_config={"quant_method": method}),
            f"already quantized by {method}, which is not supported\nhint: build the original checkpoint",
        )
        for method in ("gptq", "awq", "compressed-tensors", "fp8")
    },
    "other task": (
        lambda c: write_json(c / "sentence_bert_config.json", {"transformer_task": "fill-mask"}),
        "is 'fill-mask'",
    ),
}


@pytest.mark.parametrize(("corrupt", "message"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_refuses(corrupt: Callable[[Path], object], message: str, checkpoint_copy: Path, tmp_path: Path) -> None:
    corrupt(checkpoint_copy)
    with pytest.raises(CheckpointError, match=message):
        build_engine(checkpoint_copy, tmp_path / "engine")
    assert not (tmp_path / "engine").exists()
