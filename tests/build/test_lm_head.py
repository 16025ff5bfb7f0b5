"""Generative rerankers as classifiers: the scores of CrossEncoder and of transformers, the words, the refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from openbei.backends import load_engine
from openbei.batch import PackedBatch, Vectors
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError
from openbei.prompts import MXBAI_RERANK_V2, QWEN3_RERANKER, ScoreTemplate
from openbei.serving.tokenizer import Frame, Tokenizer
from openbei.tasks.rerank import relevance
from tests.checkpoint import build_engine, save_checkpoint, write_json
from tests.generative import chat_template, save_cross_encoder, save_generative
from tests.prose import texts

QUERY = "what is a class?"
DOCUMENTS = texts(12, longest=60)


def scores(
    engine_dir: EngineDir, backend: str, template: ScoreTemplate, *, raw: bool = False, instruction: str | None = None
) -> Vectors:
    """What /rerank answers to QUERY and DOCUMENTS."""
    assert engine_dir.manifest.score_template is not None
    prefix = engine_dir.manifest.score_template.before(QUERY, instruction)
    frame = Frame(prefix, template.suffix, engine_dir.manifest.score_template.adds_special_tokens)
    sequences = Tokenizer.open(engine_dir).encode_framed(frame, DOCUMENTS)
    logits = load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences))
    assert isinstance(logits, np.ndarray)
    return relevance(logits, engine_dir.manifest.score_template, raw)


def judge(checkpoint: Path, words: tuple[str, str], template: ScoreTemplate) -> Vectors:
    """Of the last logits of transformers' causal model: the softmax of the two words, [n] for the second."""
    import tokenizers
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    ids = [tokenizer.token_to_id(word) for word in words]
    rows = []
    for document in DOCUMENTS:
        prompt = tokenizer.encode(template.before(QUERY) + document + template.suffix).ids
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
    expected = judge(checkpoint, words, template)
    assert expected.std() > 0.003, "the documents must differ, or the next lines say nothing"
    engine_dir = build_engine(checkpoint, tmp_path / "engine", convert="lm-head")
    assert engine_dir.manifest.labels == words
    assert engine_dir.manifest.score_template == template
    for backend in ("reference", "native"):
        assert np.abs(scores(engine_dir, backend, template) - expected).max() < 1e-5, backend


def test_lm_head_counts_where_config_calls_it_tied(word_tokenizer: Path, tmp_path: Path) -> None:
    """As in transformers, if the checkpoint has both and they differ."""
    checkpoint = save_generative(tmp_path / "model", word_tokenizer, tie_word_embeddings=True)
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"][::-1].copy()
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    engine_dir = build_engine(checkpoint, tmp_path / "engine", convert="lm-head")
    expected = judge(checkpoint, ("no", "yes"), QWEN3_RERANKER)
    assert np.abs(scores(engine_dir, "reference", QWEN3_RERANKER) - expected).max() < 1e-5


@pytest.mark.parametrize("prompt", [None, "Find what defines the term"])
def test_a_cross_encoder_converts_by_itself(prompt: str | None, generative: Path, tmp_path: Path) -> None:
    """Its sigmoid of the difference is our softmax, its Identity our raw score, its prompt our instruction."""
    import torch
    from sentence_transformers import CrossEncoder

    saved = save_cross_encoder(tmp_path / "saved", generative, chat_template(QWEN3_RERANKER))
    path = saved / "config_sentence_transformers.json"
    named = {"prompts": {"task": prompt}, "default_prompt_name": "task"} if prompt else {}
    write_json(path, json.loads(path.read_text()) | named)
    model = CrossEncoder(str(saved), device="cpu", local_files_only=True)
    pairs = [(QUERY, document) for document in DOCUMENTS]
    engine_dir = build_engine(saved, tmp_path / "engine")
    for raw, activation in [(False, None), (True, torch.nn.Identity())]:
        expected = model.predict(pairs, activation_fn=activation, batch_size=1)
        assert expected.std() > 0.003, "the documents must differ, or the next lines say nothing"
        for backend in ("reference", "native"):
            found = scores(engine_dir, backend, QWEN3_RERANKER, raw=raw)
            assert np.abs(found - expected).max() < (1e-4 if raw else 1e-5), backend
    decisions = {d.subject: (d.decision, d.reason) for d in engine_dir.manifest.report}
    assert decisions["converted"][1] == "modules.json and 1_LogitScore/config.json"
    assert decisions["labels"] == ("no, yes", decisions["converted"][1])
    assert "'yes'" in decisions["converted"][0]
    assert ("with the default prompt" in decisions["score template"][0]) is bool(prompt)


def test_a_template_of_its_own_is_followed(generative: Path, tmp_path: Path) -> None:
    """Also where the checkpoint shows pairs in a way that no model card does."""
    from sentence_transformers import CrossEncoder

    own = "{% for m in messages %}{% if m.role == 'document' %}D: {% else %}Q: {% endif %}{{ m.content }}{% endfor %}"
    saved = save_cross_encoder(tmp_path / "saved", generative, own)
    engine_dir = build_engine(saved, tmp_path / "engine")
    template = engine_dir.manifest.score_template
    assert template is not None
    pairs = [(QUERY, document) for document in DOCUMENTS]
    expected = CrossEncoder(str(saved), device="cpu", local_files_only=True).predict(pairs, batch_size=1)
    assert np.abs(scores(engine_dir, "native", template) - expected).max() < 1e-4


@pytest.mark.parametrize("shows", [True, False])
def test_one_label_has_the_template_that_its_own_says(shows: bool, generative: Path, tmp_path: Path) -> None:
    """As CrossEncoder gives scores with the chat template; without one it reads the query and then the document."""
    from sentence_transformers import CrossEncoder

    template = chat_template(QWEN3_RERANKER) if shows else None
    saved = save_cross_encoder(tmp_path / "saved", generative, template, modules={"true_token_id": 300})
    engine_dir = build_engine(saved, tmp_path / "engine")
    manifest = engine_dir.manifest
    shown = manifest.score_template and (manifest.score_template.before(QUERY), manifest.score_template.suffix)
    assert shown == ((QWEN3_RERANKER.before(QUERY), QWEN3_RERANKER.suffix) if shows else None)
    decision = next(d.decision for d in manifest.report if d.subject == "score template")
    assert decision.startswith("applied at /rerank" if shows else "none: send whole prompts to /predict, or the halves")
    if shows:
        pairs = [(QUERY, document) for document in DOCUMENTS]
        expected = CrossEncoder(str(saved), device="cpu", local_files_only=True).predict(pairs, batch_size=1)
        assert np.abs(scores(engine_dir, "reference", QWEN3_RERANKER) - expected).max() < 1e-5


def test_one_word_is_one_label(generative: Path, tmp_path: Path) -> None:
    saved = save_cross_encoder(tmp_path / "saved", generative, modules={"true_token_id": 300})
    manifest = build_engine(saved, tmp_path / "engine").manifest
    assert (len(manifest.labels), manifest.spec.task) == (1, "reranker")


def edit(path: Path, **changes: object) -> None:
    write_json(path, json.loads(path.read_text()) | changes)


def with_a_bias(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.bias": np.zeros(900, np.float32)}, folder / "model.safetensors")


def without_lm_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")


def with_yes_renamed(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["unsaid"] = vocabulary.pop("yes")
    content["model"]["merges"] = [merge for merge in content["model"]["merges"] if "".join(merge) != "yes"]
    path.write_text(json.dumps(content))


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "family without known words": (
        lambda c: edit(c / "config.json", architectures=["LlamaForCausalLM"]), "which words its .*\nhint: .*--tokens"),
    "classifier": (
        lambda c: edit(c / "config.json", architectures=["Qwen3ForSequenceClassification"]), "does not answer with wo"),
    "softcapping": (lambda c: edit(c / "config.json", final_logit_softcapping=30.0), "final_logit_softcapping is 30.0"),
    "Gemma 2, whose default it is": (
        lambda c: edit(c / "config.json", architectures=["Gemma2ForCausalLM"]), "final_logit_softcapping is 30.0"),
    "quantized": (lambda c: edit(c / "config.json", quantization_config={}), "quantization_config is set"),
    "not one token": (with_yes_renamed, "'yes' is not one token of the tokenizer: it becomes 'y' '.*s'"),
    "bias": (with_a_bias, "has lm_head.bias"),
    "no lm_head": (without_lm_head, "has no tensor lm_head.weight$"),
    "no tokenizer": (lambda c: (c / "tokenizer.json").unlink(), "tokenizer.json does not exist"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), SPOILERS.values(), ids=SPOILERS)
def test_refuses(spoil: Callable[[Path], object], message: str, generative: Path, tmp_path: Path) -> None:
    spoil(generative)
    with pytest.raises(CheckpointError, match=message):
        build_engine(generative, tmp_path / "engine", convert="lm-head")
    assert not (tmp_path / "engine").exists()


MODULES: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({}, "missing required field `true_token_id`"),
    "negative": ({"true_token_id": -1}, "1_LogitScore/config.json: .*>= 0"),
    "unknown": ({"true_token_id": 5, "false_token_id": 12345}, "names the token 12345; the tokenizer has none"),
    "the same": ({"true_token_id": 300, "false_token_id": 300}, "name one word twice"),
    "other input": ({"true_token_id": 5, "module_input_name": "x"}, "module_input_name is 'x'"),
}


@pytest.mark.parametrize(("module", "message"), MODULES.values(), ids=MODULES)
def test_refuses_modules(module: dict[str, Any], message: str, generative: Path, tmp_path: Path) -> None:
    saved = save_cross_encoder(tmp_path / "saved", generative)
    write_json(saved / "1_LogitScore/config.json", module)
    with pytest.raises(CheckpointError, match=message):
        build_engine(saved, tmp_path / "engine")


def test_what_is_not_asked_for_is_not_converted(generative: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"generates text.*\nhint: .*`bei convert lm-head`.*--convert lm-head"):
        build_engine(generative, tmp_path / "engine")


def test_an_embedding_model_is_not_converted(word_tokenizer: Path, tmp_path: Path) -> None:
    options = {"pooling": "lasttoken", "num_key_value_heads": 2, "head_dim": 16}
    checkpoint = save_checkpoint(tmp_path / "model", word_tokenizer, architecture="Qwen3ForCausalLM", **options)
    with pytest.raises(CheckpointError, match="Qwen3ForCausalLM with Pooling does not answer with words"):
        build_engine(checkpoint, tmp_path / "engine", convert="lm-head")
