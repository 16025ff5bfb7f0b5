"""Models saved by CrossEncoder and SparseEncoder of sentence-transformers: an engine gives the same outputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.batch import PackedBatch, SparseVectors
from openbei.build.inspect import inspect_checkpoint
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError
from openbei.serving.tokenizer import Tokenizer
from openbei.tasks.rerank import relevance
from openbei.tasks.sparse import terms
from tests.checkpoint import build_engine, save_model, train_bpe_tokenizer, update_json, write_json
from tests.prose import WORDS, texts

FAMILIES = {
    "Bert": {},
    "Roberta": {"type_vocab_size": 1, "max_position_embeddings": 130},
    "ModernBert": {"type_vocab_size": 0},
}
PAIRS = list(zip(texts(10, longest=12), texts(10, longest=25, seed=1), strict=True))
MODULES = "torch.nn.modules"
SUBJECT = "CrossEncoder.predict"


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> Callable[..., Path]:
    """Save a small model of a family with a head: `make("Bert", "ForMaskedLM")`."""
    byte_level = train_bpe_tokenizer(tmp_path_factory.mktemp("tokenizer"), WORDS[:20_000])

    def save(family: str, end: str, **config: Any) -> Path:
        tokenizer = byte_level if family == "Roberta" else tokenizer_json
        folder = save_model(tmp_path_factory.mktemp(family), tokenizer, family + end, **FAMILIES[family], **config)
        inputs = ["input_ids", *(["token_type_ids"] if family == "Bert" else []), "attention_mask"]
        update_json(folder / "tokenizer_config.json", model_input_names=inputs, model_max_length=128)
        return folder

    return save


@pytest.mark.parametrize("names", [[], ["input_ids", "attention_mask"], ["input_ids", "token_type_ids"]], ids=len)
def test_token_types_are_used_if_they_are_model_inputs(
    names: list[str], make: Callable[..., Path], tmp_path: Path
) -> None:
    """They are by default for BertTokenizer."""
    from sentence_transformers import CrossEncoder

    checkpoint = make("Bert", "ForSequenceClassification", num_labels=1, seed=3)
    config = json.loads((checkpoint / "tokenizer_config.json").read_text())
    del config["model_input_names"]
    config |= {"model_input_names": names} if names else {"tokenizer_class": "BertTokenizer"}
    write_json(checkpoint / "tokenizer_config.json", config)
    expected = CrossEncoder(str(checkpoint), device="cpu", local_files_only=True).predict(PAIRS, batch_size=1)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert np.abs(relevance(run(engine_dir, PAIRS), None, False) - expected).max() < 2e-4
    has_token_types = "token_type_ids" in names or not names
    assert engine_dir.manifest.has_token_types is has_token_types
    assert ("all token types are 0" in {d.decision for d in engine_dir.manifest.report}) is not has_token_types


def run(engine_dir: EngineDir, given: list[Any], backend: str = "native") -> Any:
    tokenizer = Tokenizer.open(engine_dir)
    sequences = tokenizer.encode_pairs(given) if isinstance(given[0], tuple) else tokenizer.encode(given)
    return load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("num_labels", [1, 3])
def test_cross_encoder(family: str, num_labels: int, make: Callable[..., Path], tmp_path: Path) -> None:
    """`predict` returns probabilities for one label, and logits for three."""
    from sentence_transformers import CrossEncoder

    checkpoint = make(family, "ForSequenceClassification", num_labels=num_labels, seed=3)
    model = CrossEncoder(str(checkpoint), device="cpu", local_files_only=True)
    model.save_pretrained(str(tmp_path / "saved"))
    expected = model.predict(PAIRS, batch_size=1)
    assert expected.std(axis=0).min() > 0.01, "the pairs must differ, or the comparison proves nothing"
    engine_dir = build_engine(tmp_path / "saved", tmp_path / "engine")
    assert len(engine_dir.manifest.labels) == num_labels
    logits = run(engine_dir, PAIRS)
    assert np.abs((relevance(logits, None, False) if num_labels == 1 else logits) - expected).max() < 2e-4
    decision = {decision.subject: decision.decision for decision in engine_dir.manifest.report}[SUBJECT]
    assert decision == ("scores of /rerank" if num_labels == 1 else "scores of /predict with raw_scores: true")


ACTIVATIONS: dict[str, tuple[dict[str, Any], int, str | None, str]] = {
    "none": ({}, 1, "scores of /rerank", "the default, not set in config.json"),
    "Identity": (
        {"sentence_transformers": {"activation_fn": f"{MODULES}.linear.Identity", "version": "5.1.0"}},
        1,
        "scores of /rerank with raw_scores: true",
        f"{MODULES}.linear.Identity in config.json",
    ),
    "older key": (
        {"sbert_ce_default_activation_function": f"{MODULES}.linear.Identity"},
        1,
        "scores of /rerank with raw_scores: true",
        f"{MODULES}.linear.Identity in config.json",
    ),
    "Sigmoid": (
        {"sentence_transformers": {"activation_fn": f"{MODULES}.activation.Sigmoid"}},
        1,
        "scores of /rerank",
        f"{MODULES}.activation.Sigmoid in config.json",
    ),
    "another": (
        {"sentence_transformers": {"activation_fn": f"{MODULES}.activation.Tanh"}},
        1,
        "Tanh of the scores of /rerank with raw_scores: true",
        f"{MODULES}.activation.Tanh in config.json",
    ),
    "code of the repository": (
        {"sentence_transformers": {"activation_fn": "modeling.Scale"}},
        1,
        "scores of /rerank",
        "modeling.Scale in config.json",
    ),
    "a version without": ({"sentence_transformers": {"version": "5.1.0"}}, 1, "scores of /rerank", "the default, "),
    "null": ({"sbert_ce_default_activation_function": None}, 1, "scores of /rerank", "the default, "),
    "classifier": ({}, 3, None, ""),
    "Identity of three": (
        {"sentence_transformers": {"activation_fn": f"{MODULES}.linear.Identity"}},
        3,
        "scores of /predict with raw_scores: true",
        " in config.json",
    ),
    "Softmax of three": (
        {"sentence_transformers": {"activation_fn": f"{MODULES}.activation.Softmax"}},
        3,
        "scores of /predict",
        " in config.json",
    ),
    "Sigmoid of three": (
        {"sentence_transformers": {"activation_fn": f"{MODULES}.activation.Sigmoid"}},
        3,
        "Sigmoid of the scores of /predict with raw_scores: true",
        " in config.json",
    ),
    "Sigmoid of any of three": (
        {
            "sentence_transformers": {"activation_fn": f"{MODULES}.activation.Sigmoid"},
            "problem_type": "multi_label_classification",
        },
        3,
        "scores of /predict",
        " in config.json",
    ),
}


@pytest.mark.parametrize(("keys", "num_labels", "decision", "reason"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations(
    keys: dict[str, Any], num_labels: int, decision: str | None, reason: str, make: Callable[..., Path]
) -> None:
    checkpoint = make("Bert", "ForSequenceClassification", num_labels=num_labels)
    update_json(checkpoint / "config.json", **keys)
    found = {decision.subject: decision for decision in inspect_checkpoint(checkpoint, 8192).decisions}.get(SUBJECT)
    assert (found.decision if found else None) == decision
    assert found is None or reason in found.reason


def test_an_activation_that_is_not_a_string(make: Callable[..., Path]) -> None:
    checkpoint = make("Bert", "ForSequenceClassification", num_labels=1)
    update_json(checkpoint / "config.json", sentence_transformers={"activation_fn": 3})
    with pytest.raises(CheckpointError, match=r"config.json: .*sentence_transformers.activation_fn"):
        inspect_checkpoint(checkpoint, 8192)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("activation", "max_terms"), [("relu", None), ("relu", 20), ("log1p_relu", 20)])
def test_sparse_encoder(
    family: str, activation: str, max_terms: int | None, make: Callable[..., Path], tmp_path: Path
) -> None:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    checkpoint = make(family, "ForMaskedLM")
    modules = [
        Transformer(str(checkpoint), transformer_task="fill-mask"),
        SpladePooling("max", activation_function=activation),  # type: ignore[arg-type]
    ]
    model = SparseEncoder(modules=modules, device="cpu", max_active_dims=max_terms)
    model.save_pretrained(str(tmp_path / "saved"))
    given = texts(8, longest=30)
    expected = np.stack([row.to_dense().numpy() for row in model.encode(given, batch_size=1)])
    engine_dir = build_engine(tmp_path / "saved", tmp_path / "engine")
    manifest = engine_dir.manifest
    assert (manifest.max_terms, manifest.double_log) == (max_terms, activation == "log1p_relu")
    rows = run(engine_dir, given)
    assert isinstance(rows, SparseVectors)
    found = np.zeros_like(expected)
    for row, kept in zip(found, terms(rows, max_terms=max_terms, double_log=manifest.double_log), strict=True):
        for index, weight in kept:
            row[index] = weight
    assert (expected > 0).sum(axis=1).min() >= min(max_terms or 20, 20)
    assert np.abs(found - expected).max() < 2e-4


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ({"pooling_strategy": "sum"}, "pooling_strategy is 'sum'; supported: max"),
        ({"activation_function": "gelu"}, "activation_function is 'gelu'; supported: relu, log1p_relu"),
    ],
)
def test_refuses_other_poolings(pooling: dict[str, str], message: str, make: Callable[..., Path]) -> None:
    from sentence_transformers import SparseEncoder

    checkpoint = make("Bert", "ForMaskedLM")
    SparseEncoder(str(checkpoint), device="cpu", local_files_only=True).save_pretrained(str(checkpoint))
    write_json(checkpoint / "1_SpladePooling/config.json", pooling)
    with pytest.raises(CheckpointError, match=message):
        inspect_checkpoint(checkpoint, 8192)
