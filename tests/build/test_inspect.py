"""Which checkpoints are read, which are refused, and what the refusal says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from openbei.build.inspect import inspect_checkpoint
from openbei.errors import CheckpointError
from openbei.prompts import Prompts
from openbei.spec import EmbeddingHead, Pooling
from tests.checkpoint import build_engine, write_json

ST = "sentence_transformers"


def chain(folder: Path, *types: str) -> None:
    paths = ["", "1_Pooling", "2_Normalize", "3_More"]
    write_json(
        folder / "modules.json", [{"path": path, "type": kind} for path, kind in zip(paths, types, strict=False)]
    )


def edit(path: Path, **changes: object) -> None:
    write_json(path, json.loads(path.read_text()) | changes)


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
def test_poolings(pooling: dict[str, object], expected: list[Pooling], spoilt_checkpoint: Path) -> None:
    write_json(spoilt_checkpoint / "1_Pooling/config.json", pooling)
    assert inspect_checkpoint(spoilt_checkpoint, 8192).spec.head == EmbeddingHead(poolings=tuple(expected))


@pytest.mark.parametrize(
    "types",
    [
        (f"{ST}.models.Transformer", f"{ST}.models.Pooling"),
        (f"{ST}.base.modules.transformer.Transformer", f"{ST}.sentence_transformer.modules.pooling.Pooling",
         f"{ST}.base.modules.normalize.Normalize"),
    ],
)  # fmt: skip
def test_module_paths_of_all_versions(types: tuple[str, ...], spoilt_checkpoint: Path) -> None:
    chain(spoilt_checkpoint, *types)
    assert inspect_checkpoint(spoilt_checkpoint, 8192).normalize is (len(types) == 3)


def test_what_sentence_transformers_itself_saves(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(tiny_checkpoint), device="cpu", local_files_only=True).save(str(tmp_path / "saved"))
    ours, saved = build_engine(tiny_checkpoint, tmp_path / "a"), build_engine(tmp_path / "saved", tmp_path / "b")
    assert saved.manifest.spec == ours.manifest.spec
    assert saved.manifest.normalize
    assert saved.manifest.max_sequence_tokens == 128
    assert (saved.path / "weights.safetensors").read_bytes() == (ours.path / "weights.safetensors").read_bytes()


def test_a_transformer_in_a_folder_of_its_own(spoilt_checkpoint: Path, tmp_path: Path) -> None:
    (spoilt_checkpoint / "0_BERT").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"):
        (spoilt_checkpoint / name).rename(spoilt_checkpoint / "0_BERT" / name)
    write_json(spoilt_checkpoint / "modules.json", [
        {"path": "0_BERT", "type": f"{ST}.models.Transformer"}, {"path": "1_Pooling", "type": f"{ST}.models.Pooling"}
    ])  # fmt: skip
    assert build_engine(spoilt_checkpoint, tmp_path / "engine").manifest.normalize is False


@pytest.mark.parametrize(
    ("given", "limit", "source"),
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
def test_sequence_length(given: dict[str, int], limit: int, source: str, spoilt_checkpoint: Path) -> None:
    write_json(spoilt_checkpoint / "sentence_bert_config.json", {"max_seq_length": given.get("sentence")})
    edit(spoilt_checkpoint / "tokenizer_config.json", model_max_length=given.get("tokenizer"))
    inspection = inspect_checkpoint(spoilt_checkpoint, given.get("budget", 8192))
    assert inspection.max_sequence_tokens == limit
    assert {d.subject: d.reason for d in inspection.decisions}["max_sequence_tokens"] == source


@pytest.mark.parametrize(("architecture", "budget"), [("BertModel", 8192), ("LlamaModel", 16384)])
def test_budget_without_a_config(architecture: str, budget: int, make_checkpoint: Callable[..., Path]) -> None:
    checkpoint = make_checkpoint(architecture=architecture, max_position_embeddings=20_000, num_key_value_heads=2)
    inspection = inspect_checkpoint(checkpoint, None)
    assert (inspection.max_num_tokens, inspection.max_sequence_tokens) == (budget, budget)
    assert "max_num_tokens" in [decision.subject for decision in inspection.decisions]
    assert "max_num_tokens" not in [decision.subject for decision in inspect_checkpoint(checkpoint, 70).decisions]


def test_prompts(spoilt_checkpoint: Path) -> None:
    write_json(spoilt_checkpoint / "config_sentence_transformers.json",
               {"prompts": {"query": "Q: ", "document": ""}, "default_prompt_name": "query"})  # fmt: skip
    inspection = inspect_checkpoint(spoilt_checkpoint, 8192)
    assert inspection.prompts == Prompts({"query": "Q: ", "document": ""}, "query")
    assert "query; default: query" in [decision.decision for decision in inspection.decisions]


def test_code_of_a_repository_is_not_needed(spoilt_checkpoint: Path) -> None:
    edit(spoilt_checkpoint / "config.json", auto_map={"AutoModel": "modeling.BertModel"})
    decisions = {d.subject: d.decision for d in inspect_checkpoint(spoilt_checkpoint, 8192).decisions}
    assert decisions["code of the repository"] == "not run"


def beyond_the_vocabulary(checkpoint: Path) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    last = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": last, "content": "<end>"})
    tokenizer["post_processor"]["sep"] = ["<end>", last]
    write_json(checkpoint / "tokenizer.json", tokenizer)


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no modules.json": (
        lambda c: (c / "modules.json").unlink(),
        "modules.json does not exist; BertModel needs it\nhint: bei build .* --pooling mean"),
    "no pooling": (lambda c: (c / "1_Pooling/config.json").unlink(), "1_Pooling/config.json cannot be read: No such"),
    "no config": (lambda c: (c / "config.json").unlink(), "config.json cannot be read"),
    "config is no JSON": (lambda c: (c / "config.json").write_text("{"), "config.json: "),
    "config is binary": (lambda c: (c / "config.json").write_bytes(b"\xff\xfe{}"), "config.json is UTF-16, not UTF-8"),
    "no tokenizer": (lambda c: (c / "tokenizer.json").unlink(), "tokenizer.json does not exist; .*\nhint: save it"),
    "closing token beyond the vocabulary": (
        beyond_the_vocabulary, r"tokenizer.json: a text gets the tokens \[.*; the vocabulary ends at "),
    "tokenizer is none": (lambda c: (c / "tokenizer.json").write_text("{}"), "tokenizer.json is not a tokenizer"),
    "small vocabulary": (lambda c: edit(c / "config.json", vocab_size=100), "the model's vocabulary ends at 99"),
    "unknown pooling": (
        lambda c: edit(c / "1_Pooling/config.json", pooling_mode=["mean", "median"]),
        r"the pooling is \['mean', 'median'\]; known: cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken",
    ),
    "pooling of lists": (
        lambda c: edit(c / "1_Pooling/config.json", pooling_mode=[["mean"]]), r"is \[\['mean'\]\]; known: "),
    "pooling of numbers": (lambda c: edit(c / "1_Pooling/config.json", pooling_mode=3), "the pooling is 3; known: "),
    "no pooling mode": (lambda c: write_json(c / "1_Pooling/config.json", {}), r"the pooling is \[\]"),
    "other width": (lambda c: edit(c / "1_Pooling/config.json", embedding_dimension=65), "pools vectors of 65"),
    "another module": (
        lambda c: chain(c, f"{ST}.models.Transformer", f"{ST}.models.Pooling", f"{ST}.models.CNN"),
        "the chain Transformer, Pooling, CNN; implemented are: Transformer; Transformer, SpladePooling; ",
    ),
    "foreign module": (lambda c: chain(c, "custom.Transformer", f"{ST}.models.Pooling"), "chain custom.Transformer, "),
    "path upwards": (
        lambda c: write_json(c / "modules.json", [{"path": "..", "type": f"{ST}.models.Transformer"},
                                                  {"path": "", "type": f"{ST}.models.Pooling"}]),
        "the path '..' leaves the checkpoint",
    ),
    "other architecture": (
        lambda c: edit(c / "config.json", architectures=["T5ForCausalLM"]), "'T5ForCausalLM' is not one that"),
    "classifier": (
        lambda c: edit(c / "config.json", architectures=["BertForSequenceClassification"], id2label={"0": "x"}),
        "has the module Pooling; BertForSequenceClassification cannot be pooled so"),
    "no module but the transformer": (
        lambda c: chain(c, f"{ST}.models.Transformer"), "modules.json has no pooling; BertModel needs it"),
    "SPLADE of a model without vocabulary": (
        lambda c: chain(c, f"{ST}.models.Transformer", f"{ST}.sparse_encoder.models.SpladePooling"),
        "has the module SpladePooling; BertModel cannot be pooled so"),
    "no architecture": (lambda c: edit(c / "config.json", architectures=[]), r"architectures is \[\]; it must name"),
    "remote code": (
        lambda c: edit(c / "config.json", auto_map={"AutoModel": "x.Y"}, architectures=["ChatGLMModel"]),
        "'ChatGLMModel' is not one that openbei builds"),
    "quantized": (lambda c: edit(c / "config.json", quantization_config={}), "quantization_config is set"),
    "other task": (
        lambda c: write_json(c / "sentence_bert_config.json", {"transformer_task": "fill-mask"}), "is 'fill-mask'"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), SPOILERS.values(), ids=SPOILERS)
def test_refuses(spoil: Callable[[Path], object], message: str, spoilt_checkpoint: Path, tmp_path: Path) -> None:
    spoil(spoilt_checkpoint)
    with pytest.raises(CheckpointError, match=message):
        build_engine(spoilt_checkpoint, tmp_path / "engine")
    assert not (tmp_path / "engine").exists()
