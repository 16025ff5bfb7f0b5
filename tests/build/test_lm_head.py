"""Conversion of generative rerankers to classifiers, against CrossEncoder and transformers; and refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from safetensors.numpy import load_file, save_file

from openbei.backends import load_engine
from openbei.batch import PackedBatch, Vectors
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError
from openbei.prompts import MXBAI_RERANK_V2, QWEN3_RERANKER, ScoreTemplate
from openbei.serving.tokenizer import Frame, Tokenizer
from openbei.tasks.rerank import relevance
from tests.checkpoint import build_engine, save_checkpoint, update_json, write_json
from tests.generative import chat_template, save_cross_encoder, save_generative
from tests.prose import texts

QUERY = "what is a class?"
DOCUMENTS = texts(12, longest=60)


def scores(
    engine_dir: EngineDir, backend: str, template: ScoreTemplate, *, raw: bool = False, instruction: str | None = None
) -> Vectors:
    """The scores of /rerank for QUERY and DOCUMENTS, float32 [n]."""
    assert engine_dir.manifest.score_template is not None
    prefix = engine_dir.manifest.score_template.render_prefix(QUERY, instruction)
    frame = Frame(prefix, template.suffix, engine_dir.manifest.score_template.adds_special_tokens)
    sequences = Tokenizer.open(engine_dir).encode_framed(frame, DOCUMENTS)
    logits = load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences))
    assert isinstance(logits, np.ndarray)
    return relevance(logits, engine_dir.manifest.score_template, raw)


def transformers_scores(checkpoint: Path, words: tuple[str, str], template: ScoreTemplate) -> Vectors:
    """The probability of the second word against the first, from transformers' last logits, float32 [n]."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    ids = [tokenizer.token_to_id(word) for word in words]
    rows = []
    for document in DOCUMENTS:
        prompt = tokenizer.encode(template.render_prefix(QUERY) + document + template.suffix).ids
        with torch.no_grad():
            rows.append(torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1, ids], -1)[1])
    return np.array(rows, np.float32)


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize(
    ("family", "words", "template"),
    [("Qwen3", ("no", "yes"), QWEN3_RERANKER), ("Qwen2", ("0", "1"), MXBAI_RERANK_V2)],
)
def test_scores_are_those_of_the_words(
    family: str, words: tuple[str, str], template: ScoreTemplate, is_tied: bool, word_tokenizer: Path, tmp_path: Path
) -> None:
    checkpoint = save_generative(tmp_path / "model", word_tokenizer, family, tie_word_embeddings=is_tied)
    assert ("lm_head.weight" in load_file(checkpoint / "model.safetensors")) is not is_tied
    expected = transformers_scores(checkpoint, words, template)
    assert expected.std() > 0.003, "documents must differ, or the comparison proves nothing"
    engine_dir = build_engine(checkpoint, tmp_path / "engine", convert="lm-head")
    assert engine_dir.manifest.labels == words
    assert engine_dir.manifest.score_template == template
    for backend in ("reference", "native"):
        assert np.abs(scores(engine_dir, backend, template) - expected).max() < 1e-5, backend


def test_lm_head_is_used_if_it_differs_from_tied_embeddings(word_tokenizer: Path, tmp_path: Path) -> None:
    """As in transformers, whatever tie_word_embeddings is."""
    checkpoint = save_generative(tmp_path / "model", word_tokenizer, tie_word_embeddings=True)
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"][::-1].copy()
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    engine_dir = build_engine(checkpoint, tmp_path / "engine", convert="lm-head")
    expected = transformers_scores(checkpoint, ("no", "yes"), QWEN3_RERANKER)
    assert np.abs(scores(engine_dir, "reference", QWEN3_RERANKER) - expected).max() < 1e-5


@pytest.mark.parametrize("prompt", [None, "Find what defines the term"])
def test_a_cross_encoder_is_converted_by_default(prompt: str | None, generative: Path, tmp_path: Path) -> None:
    """Scores match its default activation, raw scores match Identity, and its prompt becomes the instruction."""
    import torch
    from sentence_transformers import CrossEncoder

    saved = save_cross_encoder(tmp_path / "saved", generative, chat_template(QWEN3_RERANKER))
    path = saved / "config_sentence_transformers.json"
    prompts = {"prompts": {"task": prompt}, "default_prompt_name": "task"} if prompt else {}
    write_json(path, json.loads(path.read_text()) | prompts)
    model = CrossEncoder(str(saved), device="cpu", local_files_only=True)
    pairs = [(QUERY, document) for document in DOCUMENTS]
    engine_dir = build_engine(saved, tmp_path / "engine")
    for raw, activation in [(False, None), (True, torch.nn.Identity())]:
        expected = model.predict(pairs, activation_fn=activation, batch_size=1)
        assert expected.std() > 0.003, "documents must differ, or the comparison proves nothing"
        for backend in ("reference", "native"):
            found = scores(engine_dir, backend, QWEN3_RERANKER, raw=raw)
            assert np.abs(found - expected).max() < (1e-4 if raw else 1e-5), backend
    decisions = {d.subject: (d.decision, d.reason) for d in engine_dir.manifest.report}
    assert decisions["converted"][1] == "modules.json and 1_LogitScore/config.json"
    assert decisions["labels"] == ("no, yes", decisions["converted"][1])
    assert "'yes'" in decisions["converted"][0]
    assert ("with the default prompt" in decisions["score template"][0]) is bool(prompt)


def test_a_custom_chat_template(generative: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    custom = (
        "{% for m in messages %}{% if m.role == 'document' %}D: {% else %}Q: {% endif %}{{ m.content }}{% endfor %}"
    )
    saved = save_cross_encoder(tmp_path / "saved", generative, custom)
    engine_dir = build_engine(saved, tmp_path / "engine")
    template = engine_dir.manifest.score_template
    assert template is not None
    pairs = [(QUERY, document) for document in DOCUMENTS]
    expected = CrossEncoder(str(saved), device="cpu", local_files_only=True).predict(pairs, batch_size=1)
    assert np.abs(scores(engine_dir, "native", template) - expected).max() < 1e-4


@pytest.mark.parametrize("has_template", [True, False])
def test_one_label_with_and_without_template(has_template: bool, generative: Path, tmp_path: Path) -> None:
    """As in CrossEncoder. Without a chat template, the prompt is the query followed by the document."""
    from sentence_transformers import CrossEncoder

    template = chat_template(QWEN3_RERANKER) if has_template else None
    saved = save_cross_encoder(tmp_path / "saved", generative, template, modules={"true_token_id": 300})
    engine_dir = build_engine(saved, tmp_path / "engine")
    manifest = engine_dir.manifest
    decision = next(d.decision for d in manifest.report if d.subject == "score template")
    if not has_template:
        assert manifest.score_template is None
        assert decision.startswith("none: send complete prompts to /predict, or to /rerank in two parts")
    else:
        assert manifest.score_template is not None
        assert manifest.score_template.render_prefix(QUERY) == QWEN3_RERANKER.render_prefix(QUERY)
        assert manifest.score_template.suffix == QWEN3_RERANKER.suffix
        assert decision.startswith("applied at /rerank")
        pairs = [(QUERY, document) for document in DOCUMENTS]
        expected = CrossEncoder(str(saved), device="cpu", local_files_only=True).predict(pairs, batch_size=1)
        assert np.abs(scores(engine_dir, "reference", QWEN3_RERANKER) - expected).max() < 1e-5


def test_one_token_is_one_label(generative: Path, tmp_path: Path) -> None:
    saved = save_cross_encoder(tmp_path / "saved", generative, modules={"true_token_id": 300})
    manifest = build_engine(saved, tmp_path / "engine").manifest
    assert (len(manifest.labels), manifest.spec.task) == (1, "reranker")


def add_bias(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.bias": np.zeros(900, np.float32)}, folder / "model.safetensors")


def remove_lm_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")


def rename_yes(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["unsaid"] = vocabulary.pop("yes")
    content["model"]["merges"] = [merge for merge in content["model"]["merges"] if "".join(merge) != "yes"]
    path.write_text(json.dumps(content))


CORRUPTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "family without known tokens": (
        lambda c: update_json(c / "config.json", architectures=["LlamaForCausalLM"]),
        "the answer tokens are unknown\nhint: .*--answer-tokens",
    ),
    "classifier": (
        lambda c: update_json(c / "config.json", architectures=["Qwen3ForSequenceClassification"]),
        "is not a generative reranker",
    ),
    "softcapping": (
        lambda c: update_json(c / "config.json", final_logit_softcapping=30.0),
        "final_logit_softcapping is 30.0",
    ),
    "softcapping of Gemma 2 by default": (
        lambda c: update_json(c / "config.json", architectures=["Gemma2ForCausalLM"]),
        "final_logit_softcapping is 30.0",
    ),
    "quantized": (lambda c: update_json(c / "config.json", quantization_config={}), "quantization_config is set"),
    "not one token": (rename_yes, "'yes' is not a token of the vocabulary; the tokenizer splits it into 'y' '.*s'"),
    "bias": (add_bias, "has lm_head.bias"),
    "no lm_head": (remove_lm_head, "has no tensor lm_head.weight$"),
    "no tokenizer": (lambda c: (c / "tokenizer.json").unlink(), "tokenizer.json does not exist"),
}


@pytest.mark.parametrize(("corrupt", "message"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_refuses(corrupt: Callable[[Path], object], message: str, generative: Path, tmp_path: Path) -> None:
    corrupt(generative)
    with pytest.raises(CheckpointError, match=message):
        build_engine(generative, tmp_path / "engine", convert="lm-head")
    assert not (tmp_path / "engine").exists()


MODULES: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({}, "missing required field `true_token_id`"),
    "negative": ({"true_token_id": -1}, "1_LogitScore/config.json: .*>= 0"),
    "unknown": (
        {"true_token_id": 5, "false_token_id": 12345},
        "has the token id 12345, which the tokenizer does not have",
    ),
    "the same": ({"true_token_id": 300, "false_token_id": 300}, "one token is given twice"),
    "other input": ({"true_token_id": 5, "module_input_name": "x"}, "module_input_name is 'x'"),
}


@pytest.mark.parametrize(("module", "message"), MODULES.values(), ids=MODULES)
def test_refuses_modules(module: dict[str, Any], message: str, generative: Path, tmp_path: Path) -> None:
    saved = save_cross_encoder(tmp_path / "saved", generative)
    write_json(saved / "1_LogitScore/config.json", module)
    with pytest.raises(CheckpointError, match=message):
        build_engine(saved, tmp_path / "engine")


def test_no_conversion_by_default(generative: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"generates text.*\nhint: .*--convert lm-head"):
        build_engine(generative, tmp_path / "engine")


def test_answer_tokens_become_the_labels(generative: Path, tmp_path: Path) -> None:
    engine_dir = build_engine(generative, tmp_path / "engine", answer_tokens="0, 1,2")
    assert engine_dir.manifest.labels == ("0", "1", "2")
    lm_head = load_file(generative / "model.safetensors")["lm_head.weight"]
    vocabulary = tokenizers.Tokenizer.from_file(str(generative / "tokenizer.json")).get_vocab()
    ids = [vocabulary[label] for label in engine_dir.manifest.labels]
    stored = engine_dir.manifest.storage["head.out.weight"]
    assert np.array_equal(stored.load("head.out.weight", engine_dir.tensors, (3, lm_head.shape[1])), lm_head[ids])


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ("no,perhaps not", "'perhaps not' is not a token of the vocabulary; .* splits it into 'p"),
        ("no,no", "answer_tokens: one token is given twice: no, no"),
        ("no,", "answer_tokens is 'no,'; it must be tokens separated by commas"),
        ("", "answer_tokens is ''"),
    ],
)
def test_refuses_answer_tokens(tokens: str, message: str, generative: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        build_engine(generative, tmp_path / "engine", answer_tokens=tokens)


def test_an_embedding_model_is_not_converted(word_tokenizer: Path, tmp_path: Path) -> None:
    options = {"pooling": "lasttoken", "num_key_value_heads": 2, "head_dim": 16}
    checkpoint = save_checkpoint(tmp_path / "model", word_tokenizer, architecture="Qwen3ForCausalLM", **options)
    with pytest.raises(CheckpointError, match="Qwen3ForCausalLM with Pooling is not a generative reranker"):
        build_engine(checkpoint, tmp_path / "engine", convert="lm-head")
