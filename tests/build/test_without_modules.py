"""Checkpoints without modules.json: --pooling, models saved by SparseEncoder, and adapters, which are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.batch import PackedBatch
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError
from openbei.serving.tokenizer import Tokenizer
from tests.checkpoint import build_engine, save_model, train_bpe_tokenizer, write_chain, write_json
from tests.dense_rows import dense_rows
from tests.prose import WORDS, texts
from tests.same_embedding import worst_cosine
from tests.sentence_chain import embed

TEXTS = texts(8, longest=25)
FAMILIES: dict[str, dict[str, Any]] = {
    "Bert": {},
    "Roberta": {"type_vocab_size": 1, "max_position_embeddings": 130},
    "DistilBert": {"type_vocab_size": 0, "hidden_dim": 96},
    "ModernBert": {"type_vocab_size": 0},
    "MPNet": {"type_vocab_size": 0, "max_position_embeddings": 130},
}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> Callable[..., Path]:
    """Save a small model of a family with a head: `make("Bert", "ForMaskedLM")`."""
    byte_level = train_bpe_tokenizer(tmp_path_factory.mktemp("tokenizer"), WORDS[:20_000])

    def save(family: str, end: str, **config: Any) -> Path:
        tokenizer = byte_level if family == "Roberta" else tokenizer_json
        folder = tmp_path_factory.mktemp(family)
        return save_model(folder, tokenizer, family + end, **FAMILIES[family], **config)

    return save


def weights_of(engine_dir: EngineDir, backend: str = "native") -> np.ndarray[Any, np.dtype[np.float32]]:
    sequences = Tokenizer.open(engine_dir).encode(TEXTS)
    return dense_rows(load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences)))


def expected_weights(checkpoint: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(checkpoint), device="cpu", local_files_only=True)
    return np.stack([row.to_dense().numpy() for row in model.encode(TEXTS, batch_size=1)])


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("family", FAMILIES)
def test_pooling_splade(family: str, backend: str, make: Callable[..., Path], tmp_path: Path) -> None:
    """Term weights match SparseEncoder, and tied weights are stored once."""
    checkpoint = make(family, "ForMaskedLM")
    engine_dir = build_engine(checkpoint, tmp_path / "engine", pooling="splade")
    assert engine_dir.manifest.spec.is_tied
    assert "embeddings.token" not in engine_dir.tensors
    assert np.abs(weights_of(engine_dir, backend) - expected_weights(checkpoint)).max() < 2e-4
    assert any(decision.reason == "--pooling" for decision in engine_dir.manifest.report)


def test_splade_saved_by_sparse_encoder(make: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = make("Bert", "ForMaskedLM")
    write_json(checkpoint / "config_sentence_transformers.json", {"model_type": "SparseEncoder"})
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert np.abs(weights_of(engine_dir) - expected_weights(checkpoint)).max() < 2e-4
    assert any("SparseEncoder" in decision.reason for decision in engine_dir.manifest.report)


def test_the_hint_has_the_command(make: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = make("Bert", "ForMaskedLM")
    with pytest.raises(CheckpointError) as caught:
        build_engine(checkpoint, tmp_path / "engine")
    assert f"bei build {checkpoint} --pooling splade" in str(caught.value)


@pytest.mark.parametrize("copy", ["equal", "different", "missing", "embeddings missing"])
@pytest.mark.parametrize("ties", [True, False])
def test_tied_weights(copy: str, ties: bool, make: Callable[..., Path], tmp_path: Path) -> None:
    """Equal tensors are stored once, different ones separately, and a missing one is an error unless they are tied."""
    from safetensors.numpy import load_file, save_file

    checkpoint = make("Bert", "ForMaskedLM", tie_word_embeddings=ties)
    tensors = load_file(checkpoint / "model.safetensors")
    embeddings, decoder = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
    other = np.random.default_rng(0).standard_normal(tensors[embeddings].shape).astype(np.float32) / 8
    tensors[decoder] = other if copy == "different" else tensors[embeddings].copy()
    if copy.endswith("missing"):
        del tensors[embeddings if "embeddings" in copy else decoder]
    save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    if copy.endswith("missing") and not ties:
        with pytest.raises(CheckpointError, match=r"and tie_word_embeddings of config\.json is false"):
            build_engine(checkpoint, tmp_path / "engine", pooling="splade")
        return
    engine_dir = build_engine(checkpoint, tmp_path / "engine", pooling="splade")
    assert engine_dir.manifest.spec.is_tied is (copy != "different")
    assert np.abs(weights_of(engine_dir) - expected_weights(checkpoint)).max() < 2e-4


@pytest.mark.parametrize(("pooling", "module"), [("mean", "mean"), ("cls", "cls"), ("last-token", "lasttoken")])
def test_pooling_of_embeddings(pooling: str, module: str, make: Callable[..., Path], tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    checkpoint = make("Bert", "Model")
    model = SentenceTransformer(modules=[Transformer(str(checkpoint)), Pooling(64, pooling_mode=module)], device="cpu")
    engine_dir = build_engine(checkpoint, tmp_path / "engine", pooling=pooling)
    expected = np.asarray(model.encode(TEXTS, batch_size=1), np.float32)
    assert worst_cosine(embed(engine_dir, TEXTS), expected) > 0.99999


def test_refuses_pooling_with_modules_json(make: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = make("Bert", "Model")
    write_chain(checkpoint, [("", "Transformer"), ("1_Pooling", "Pooling")])
    write_json(checkpoint / "1_Pooling/config.json", {"pooling_mode": "mean"})
    with pytest.raises(CheckpointError, match=r"modules\.json defines the pooling; --pooling is 'cls'"):
        build_engine(checkpoint, tmp_path / "engine", pooling="cls")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_refuses_adapters(name: str, make: Callable[..., Path], tmp_path: Path) -> None:
    """Even if there are full weights: transformers would load the adapter's base model instead."""
    checkpoint = make("Bert", "ForSequenceClassification")
    write_json(checkpoint / name, {"peft_type": "LORA"})
    with pytest.raises(CheckpointError, match="belongs to a PEFT adapter") as caught:
        build_engine(checkpoint, tmp_path / "engine")
    assert name in str(caught.value)
    assert "merge_and_unload" in str(caught.value)
