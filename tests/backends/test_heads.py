"""Classifiers, token classifiers and SPLADE, built of what transformers saved and judged by transformers itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.batch import Output, PackedBatch, SparseVectors
from openbei.engine_dir import EngineDir
from openbei.serving.tokenizer import Tokenizer
from openbei.spec import DType
from openbei.tasks.embed import to_embeddings
from tests.checkpoint import (
    build_engine,
    expected_logits,
    save_checkpoint,
    save_model,
    train_bpe_tokenizer,
    train_deberta_tokenizer,
    train_tokenizer,
    train_unigram_tokenizer,
    write_chain,
    write_json,
)
from tests.dense_rows import dense_rows
from tests.families.parity import relative_error
from tests.prose import WORDS, texts
from tests.same_embedding import worst_cosine

TOKENIZERS: dict[str, Callable[[Path, list[str]], Path]] = {
    "Bert": train_tokenizer,
    "Roberta": train_bpe_tokenizer,
    "XLMRoberta": train_unigram_tokenizer,
    "DebertaV2": train_deberta_tokenizer,
}
"""By the beginning of a family's name; others have BERT's."""

FAMILIES = {
    "Bert": {"hidden_act": "gelu"},
    "Roberta": {"type_vocab_size": 1, "max_position_embeddings": 130},
    "XLMRoberta": {"type_vocab_size": 1, "max_position_embeddings": 130, "layer_norm_eps": 1e-5},
    "DistilBert": {"type_vocab_size": 0, "hidden_dim": 96},
    "Electra": {"embedding_size": 64},
    "MPNet": {"type_vocab_size": 0, "max_position_embeddings": 130},
    "ModernBert": {"type_vocab_size": 0, "num_hidden_layers": 4, "local_attention": 16, "classifier_pooling": "mean"},
    "NomicBert": {"hidden_act": "silu"},
    "JinaEmbeddingsV3": {"type_vocab_size": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
    "Gte": {"hidden_act": "gelu"},
    "DebertaV2": {
        "type_vocab_size": 0,
        "relative_attention": True,
        "pos_att_type": "p2c|c2p",
        "position_buckets": 16,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
    },
}
THREE = {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}}
every_family = pytest.mark.parametrize("family", FAMILIES)
every_backend = pytest.mark.parametrize("backend", ["reference", "native"])


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a small model of a family with a head: `make("Bert", "ForMaskedLM")`."""
    tokenizer_files = {
        family: train(tmp_path_factory.mktemp("tokenizer"), WORDS[:20_000]) for family, train in TOKENIZERS.items()
    }

    def save(family: str, end: str, **config: Any) -> Path:
        folder = tmp_path_factory.mktemp(family)
        return save_model(
            folder, tokenizer_files.get(family, tokenizer_files["Bert"]), family + end, **FAMILIES[family], **config
        )

    return save


def run(engine_dir: EngineDir, backend: str, given: list[Any], output: Output = "pooled") -> Any:
    """Rows of texts or pairs, by the tokenizer that serves."""
    tokenizer = Tokenizer.open(engine_dir)
    sequences = tokenizer.encode_pairs(given) if isinstance(given[0], tuple) else tokenizer.encode(given)
    return load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences), output)


def pairs(count: int) -> list[tuple[str, str]]:
    return list(zip(texts(count, longest=30), texts(count, longest=120, seed=1), strict=True))


@every_family
@every_backend
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sequence_classifiers(
    family: str, backend: str, dtype: DType, make: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make(family, "ForSequenceClassification", **THREE)
    given = pairs(16)
    engine_dir = build_engine(checkpoint, tmp_path / "engine", dtype=dtype)
    assert engine_dir.manifest.labels == ("no", "maybe", "yes")
    assert engine_dir.manifest.spec.task == "classifier"
    assert engine_dir.manifest.default_route == "/predict"
    logits = run(engine_dir, backend, given)
    expected = np.array(expected_logits(checkpoint, "ForSequenceClassification", given))
    assert expected.std(axis=0).min() > 0.1, "the pairs must differ, or the next line says nothing"
    if dtype == "float32":
        assert np.abs(logits - expected).max() < 2e-4
    else:
        theirs = np.array(expected_logits(checkpoint, "ForSequenceClassification", given, dtype))
        assert relative_error(logits, expected) <= 2 * relative_error(theirs, expected) + 1e-3


@every_backend
def test_a_reranker(backend: str, make: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = make("Bert", "ForSequenceClassification", num_labels=1, seed=3)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert engine_dir.manifest.spec.task == "reranker"
    given = pairs(12)
    scores = run(engine_dir, backend, given)
    assert scores.shape == (12, 1)
    assert np.abs(scores - np.array(expected_logits(checkpoint, "ForSequenceClassification", given))).max() < 2e-4


@every_family
@every_backend
def test_token_classifiers(family: str, backend: str, make: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = make(family, "ForTokenClassification", **THREE)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert engine_dir.manifest.default_route == "/predict_tokens"
    given = texts(12, longest=150)
    logits = run(engine_dir, backend, given, "labels")
    assert np.abs(logits - np.concatenate(expected_logits(checkpoint, "ForTokenClassification", given))).max() < 5e-4


@every_family
@every_backend
def test_splade(family: str, backend: str, make: Callable[..., Path], tmp_path: Path) -> None:
    """Judged by the masked-LM head of transformers and the formula of the paper."""
    checkpoint = make(family, "ForMaskedLM")
    write_chain(checkpoint, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    write_json(checkpoint / "1_SpladePooling/config.json", {"pooling_strategy": "max"})
    write_json(checkpoint / "sentence_bert_config.json", {"max_seq_length": 128})
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert (engine_dir.manifest.spec.task, engine_dir.manifest.default_route) == ("sparse", "/embed_sparse")
    given = texts(70, longest=100)  # more than the native engine holds as dense rows
    weights = run(engine_dir, backend, given)
    assert isinstance(weights, SparseVectors)
    expected = np.stack(
        [np.log1p(np.maximum(x, 0)).max(axis=0) for x in expected_logits(checkpoint, "ForMaskedLM", given)]
    )
    dense = dense_rows(weights)
    assert worst_cosine(dense, expected) > 0.99999
    assert np.abs(dense - expected).max() < 5e-4


def test_splade_as_sentence_transformers_saves_it(make: Callable[..., Path], tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    checkpoint = make("Bert", "ForMaskedLM", seed=5)
    model = SparseEncoder(str(checkpoint), device="cpu", local_files_only=True)
    model.save_pretrained(str(tmp_path / "saved"))
    engine_dir = build_engine(tmp_path / "saved", tmp_path / "engine")
    given = texts(10, longest=60)
    weights = run(engine_dir, "native", given)
    for i, expected in enumerate(model.encode(given, convert_to_sparse_tensor=False, convert_to_tensor=True)):
        row = weights[i : i + 1]
        dense = np.zeros(weights.width, np.float32)
        dense[row.indices] = row.values
        assert np.abs(dense - expected.numpy()).max() < 5e-4


@pytest.mark.parametrize("family", ["Roberta", "XLMRoberta"])
@every_backend
def test_embeddings_of_other_families(family: str, backend: str, make: Callable[..., Path], tmp_path: Path) -> None:
    from tests.checkpoint import expected_vectors

    tokenizer_json = make(family, "Model") / "tokenizer.json"
    checkpoint = save_checkpoint(
        tmp_path / "model", tokenizer_json, architecture=f"{family}Model", pooling="cls", **FAMILIES[family]
    )
    write_json(checkpoint / "sentence_bert_config.json", {"max_seq_length": 128})
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    given = texts(16, longest=150)
    vectors = to_embeddings(run(engine_dir, backend, given), normalize=engine_dir.manifest.normalize)
    assert worst_cosine(vectors, expected_vectors(checkpoint, given)) > 0.99999


def test_labels_are_needed(make: Callable[..., Path], tmp_path: Path) -> None:
    from openbei.errors import CheckpointError

    checkpoint = make("Bert", "ForSequenceClassification", num_labels=2)  # transformers leaves the default names out
    with pytest.raises(CheckpointError, match="no id2label; a classifier needs a name for each label\nhint: add it"):
        build_engine(checkpoint, tmp_path / "engine")
