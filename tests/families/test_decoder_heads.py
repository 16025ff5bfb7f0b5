"""Embeddings, classifiers and rerankers of decoders, against transformers and sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.batch import PackedBatch
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError, ConfigError
from openbei.prompts import MXBAI_RERANK_V2, NVIDIA_RERANK, QWEN3_RERANKER, ScoreTemplate
from openbei.serving.tokenizer import Frame, Tokenizer
from openbei.spec import DType, SequenceHead
from openbei.tasks.embed import to_embeddings
from openbei.tasks.rerank import relevance
from tests.checkpoint import (
    build_engine,
    expected_logits,
    expected_vectors,
    save_checkpoint,
    save_model,
    train_bpe_tokenizer,
    write_json,
)
from tests.prose import WORDS, texts
from tests.same_embedding import worst_cosine

THREE = {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}}
SMALL = {"num_key_value_heads": 2, "head_dim": 16, "type_vocab_size": 0}
LABELS = {"Qwen3": ("no", "yes"), "Qwen2": ("0", "1")}
every_backend = pytest.mark.parametrize("backend", ["reference", "native"])


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_bpe_tokenizer(tmp_path_factory.mktemp("tokenizer"), WORDS[:20_000])


def run(engine_dir: EngineDir, backend: str, given: list[str], output: Any = "pooled") -> Any:
    sequences = Tokenizer.open(engine_dir).encode(given)
    return load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences), output)


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2", "Gemma3Text"])
def test_sequence_classifiers(family: str, tokenizer_json: Path, tmp_path: Path) -> None:
    """In bfloat16 the error is at most twice that of transformers; truncated texts keep their last token."""
    end = "ForSequenceClassification"
    checkpoint = save_model(tmp_path / "model", tokenizer_json, family + end, **SMALL, **THREE)
    given = texts(12, longest=150)
    expected, bf16_logits = transformers_logits(checkpoint, given), transformers_logits(checkpoint, given, "bfloat16")
    assert expected.std(axis=0).min() > 0.1, "texts must differ, or the comparison proves nothing"
    limits: dict[DType, float] = {"float32": 1e-4, "bfloat16": 2 * np.abs(bf16_logits - expected).max()}
    for dtype, limit in limits.items():
        engine_dir = build_engine(checkpoint, tmp_path / dtype, dtype=dtype)
        assert engine_dir.manifest.spec.head == SequenceHead(num_labels=3, pooling="last_token", padding_id=1)
        assert engine_dir.manifest.labels == ("no", "maybe", "yes")
        assert engine_dir.manifest.score_template is None
        for backend in ("reference", "native"):
            assert np.abs(run(engine_dir, backend, given) - expected).max() < limit, (backend, dtype)


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Gemma2"])
def test_one_label_and_no_padding_token(family: str, tokenizer_json: Path, tmp_path: Path) -> None:
    """A reward model: the logit of the last token."""
    end = "ForSequenceClassification"
    checkpoint = save_model(tmp_path / "model", tokenizer_json, family + end, **SMALL, num_labels=1, pad_token_id=None)
    given = texts(12, longest=60)
    expected = transformers_logits(checkpoint, given)
    assert expected.std() > 0.1, "texts must differ, or the comparison proves nothing"
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert (engine_dir.manifest.spec.task, engine_dir.manifest.score_template) == ("reranker", None)
    decisions = {d.subject: d.decision for d in engine_dir.manifest.report}
    assert decisions["score template"].endswith("or to /rerank in two parts, as query and text")
    for backend in ("reference", "native"):
        assert np.abs(run(engine_dir, backend, given) - expected).max() < 1e-4, backend


@pytest.mark.parametrize(("pooling", "temperature"), [("avg", 0.2), ("cls", 1.0), ("last", 3.0)])
def test_bidirectional_classifiers(pooling: str, temperature: float, tokenizer_json: Path, tmp_path: Path) -> None:
    """NVIDIA's rerankers: bidirectional attention, and the pooling and temperature of their config.json."""
    import torch
    import transformers

    checkpoint = save_model(tmp_path / "model", tokenizer_json, "LlamaForSequenceClassification", **SMALL, num_labels=1)
    model = transformers.LlamaForSequenceClassification.from_pretrained(checkpoint, attn_implementation="eager").eval()
    config = json.loads((checkpoint / "config.json").read_text())
    write_json(
        checkpoint / "config.json",
        config
        | {
            "architectures": ["LlamaBidirectionalForSequenceClassification"],
            "model_type": "llama_bidirec",
            "pooling": pooling,
            "temperature": temperature,
        },
    )
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert engine_dir.manifest.score_template == NVIDIA_RERANK
    given = texts(12, longest=60)
    expected = []
    for sequence in Tokenizer.open(engine_dir).encode(given):
        ids = torch.from_numpy(sequence.token_ids).long()[None]
        with torch.no_grad():
            states = model.model(ids, attention_mask=torch.zeros(1, 1, ids.shape[1], ids.shape[1])).last_hidden_state[0]
            pooled = {"avg": states.mean(dim=0), "cls": states[0], "last": states[-1]}[pooling]
            expected.append((model.score(pooled) / temperature).numpy())
    assert np.std(expected) > 0.1, "texts must differ, or the comparison proves nothing"
    for backend in ("reference", "native"):
        assert np.abs(run(engine_dir, backend, given) - np.stack(expected)).max() < 1e-4 / temperature, backend


@every_backend
@pytest.mark.parametrize(("architecture", "pooling"), [("Qwen3Model", "lasttoken"), ("Gemma3TextModel", "mean")])
def test_embeddings(backend: str, architecture: str, pooling: str, tokenizer_json: Path, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(
        tmp_path / "model", tokenizer_json, architecture=architecture, pooling=pooling, **SMALL, sliding_window=30
    )
    given = texts(16, longest=150)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    vectors = to_embeddings(run(engine_dir, backend, given), normalize=engine_dir.manifest.normalize)
    assert worst_cosine(vectors, expected_vectors(checkpoint, given)) > 0.99999


@every_backend
def test_token_classifiers(backend: str, tokenizer_json: Path, tmp_path: Path) -> None:
    end = "ForTokenClassification"
    checkpoint = save_model(tmp_path / "model", tokenizer_json, f"Qwen2{end}", **SMALL, **THREE)
    given = texts(6, longest=100)
    logits = run(build_engine(checkpoint, tmp_path / "engine"), backend, given, "labels")
    assert np.abs(logits - np.concatenate(expected_logits(checkpoint, end, given))).max() < 5e-4


@pytest.mark.parametrize(("family", "template"), [("Qwen3", QWEN3_RERANKER), ("Qwen2", MXBAI_RERANK_V2)])
def test_rerankers_of_generative_models(
    family: str, template: ScoreTemplate, tokenizer_json: Path, tmp_path: Path
) -> None:
    """The score is P(yes) of the whole prompt, although the engine tokenizes its parts separately."""
    names = LABELS[family]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    end = "ForSequenceClassification"
    checkpoint = save_model(
        tmp_path / "model", tokenizer_json, family + end, **SMALL, **labels, max_position_embeddings=1024
    )
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    assert engine_dir.manifest.score_template == template
    query, documents = "what is a class?", texts(8, longest=60)
    prefix = template.render_prefix(query)
    sequences = Tokenizer.open(engine_dir).encode_framed(Frame(prefix, template.suffix), documents)
    logits = transformers_logits(checkpoint, [prefix + document + template.suffix for document in documents])
    expected = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    assert expected.std() > 0.01, "documents must differ, or the comparison proves nothing"
    for backend in ("reference", "native"):
        found = load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences))
        assert isinstance(found, np.ndarray)
        assert np.abs(relevance(found, template, False) - expected).max() < 2e-4, backend


def transformers_logits(
    checkpoint: Path, given: list[str], dtype: str = "float32"
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Logits of each text alone, truncated to the model's length, float32 [n, labels]."""
    import tokenizers
    import torch
    import transformers

    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=getattr(torch, dtype))
    model = loaded.eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_truncation(model.config.max_position_embeddings)
    with torch.no_grad():
        rows = [model(input_ids=torch.tensor([encoding.ids])).logits[0] for encoding in tokenizer.encode_batch(given)]
    return np.stack([row.float().numpy() for row in rows])


def test_base_model_must_match_attention(tokenizer_json: Path, tmp_path: Path) -> None:
    """A causal model with base_model encoder_bert is an error; every other combination builds."""
    end = "ForSequenceClassification"
    causal = save_model(tmp_path / "causal", tokenizer_json, f"Qwen3{end}", **SMALL, **THREE)
    bidirectional = save_model(tmp_path / "both", tokenizer_json, f"Qwen3{end}", **SMALL, **THREE, is_causal=False)
    for checkpoint, base_model in [
        (causal, None),
        (causal, "encoder"),
        (bidirectional, "encoder"),
        (bidirectional, "encoder_bert"),
    ]:
        engine_dir = build_engine(checkpoint, tmp_path / "engine", base_model=base_model)
        assert engine_dir.manifest.spec.attention.is_causal is (checkpoint == causal)
    with pytest.raises(
        ConfigError, match=r"'encoder_bert', for bidirectional models; this qwen3 is causal\nhint: base_model: encoder"
    ):
        build_engine(causal, tmp_path / "engine", base_model="encoder_bert")


def test_a_generative_checkpoint_with_pooling_is_an_embedding_model(tokenizer_json: Path, tmp_path: Path) -> None:
    """Like Qwen3-Embedding: lm_head is dropped. Without a pooling the error suggests conversion to a reranker."""
    options = {"pooling": "lasttoken", **SMALL}
    checkpoint = save_checkpoint(tmp_path / "model", tokenizer_json, architecture="Qwen3ForCausalLM", **options)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    given = texts(10, longest=60)
    vectors = to_embeddings(run(engine_dir, "native", given), normalize=engine_dir.manifest.normalize)
    assert worst_cosine(vectors, expected_vectors(checkpoint, given)) > 0.99999
    (checkpoint / "modules.json").unlink()
    with pytest.raises(CheckpointError, match=r"Qwen3ForCausalLM generates text.*\nhint: .*--convert lm-head"):
        build_engine(checkpoint, tmp_path / "other")
