"""Padding tokens inside a text: positions skip them, and classifiers pool the last token that is not padding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.batch import PackedBatch, Sequence, Vectors
from openbei.engine_dir import EngineDir
from openbei.spec import LearnedPositions, SequenceHead
from tests.checkpoint import build_engine, save_checkpoint, save_model, train_bpe_tokenizer
from tests.families.parity import transformers_model
from tests.prose import WORDS
from tests.same_embedding import worst_cosine

DECODER = {"num_key_value_heads": 2, "head_dim": 16, "num_labels": 3}
every_backend = pytest.mark.parametrize("backend", ["reference", "native"])


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_bpe_tokenizer(tmp_path_factory.mktemp("tokenizer"), WORDS[:20_000])


def run(engine_dir: EngineDir, backend: str, ids: list[list[int]], *, tokens: bool = False) -> Vectors:
    batch = PackedBatch.pack(Sequence(np.array(row, np.int32), len(row)) for row in ids)
    return np.asarray(load_engine(engine_dir, backend=backend).run(batch, "tokens" if tokens else "pooled"))


def with_padding(pad: int) -> list[list[int]]:
    """Texts with no padding, and with padding inside, first, last, repeated and alone."""
    plain = [0, 40, 50, 60, 70, 80, 2]
    inside = [[*plain[:3], pad, *plain[3:]], [0, pad, pad, 50, pad, 60, 2]]
    return [plain, *inside, [pad, *plain], [*plain, pad], [*plain, pad, pad, pad], [pad], [pad, pad]]


@pytest.mark.parametrize("pad", [1, 0, 3])
@pytest.mark.parametrize("architecture", ["RobertaModel", "XLMRobertaModel", "CamembertModel", "MPNetModel"])
def test_positions_do_not_count_padding(architecture: str, pad: int, byte_level: Path, tmp_path: Path) -> None:
    """As in transformers' create_position_ids_from_input_ids. MPNet's padding id is always 1."""
    sizes: dict[str, Any] = {"type_vocab_size": 1, "max_position_embeddings": 140, "pad_token_id": pad}
    checkpoint = save_checkpoint(tmp_path / "model", byte_level, architecture=architecture, **sizes)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    positions = engine_dir.manifest.spec.positions
    assert isinstance(positions, LearnedPositions)
    assert positions.padding_id == (1 if architecture == "MPNetModel" else pad)
    hidden_states = transformers_model(checkpoint)
    given = with_padding(positions.padding_id)
    expected = np.concatenate([hidden_states(ids) for ids in given])
    for backend in ("reference", "native"):
        assert worst_cosine(run(engine_dir, backend, given, tokens=True), expected) >= 0.99999, backend


@pytest.fixture(scope="module")
def make_classifier(tmp_path_factory: pytest.TempPathFactory, byte_level: Path) -> Callable[..., Path]:
    """Save a small causal classifier with three labels."""
    return lambda architecture, **config: save_model(
        tmp_path_factory.mktemp("model"), byte_level, architecture, **{**DECODER, **config}
    )


CLASSIFIERS: list[tuple[str, dict[str, Any]]] = [
    *(
        (f"{family}ForSequenceClassification", {"pad_token_id": pad})
        for family in ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2")
        for pad in (None, 2)
    ),
    ("Gemma3TextForSequenceClassification", {"pad_token_id": 2}),
    ("Gemma3TextForSequenceClassification", {"pad_token_id": 2, "use_bidirectional_attention": True}),
]


@every_backend
@pytest.mark.parametrize(("architecture", "config"), CLASSIFIERS, ids=str)
def test_a_classifier_pools_the_last_non_padding_token(
    architecture: str, config: dict[str, Any], backend: str, make_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    """As in transformers' GenericForSequenceClassification. Bidirectional attention still sees later tokens."""
    import torch
    import transformers

    checkpoint = make_classifier(architecture, **config)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    head = engine_dir.manifest.spec.head
    assert isinstance(head, SequenceHead)
    assert head.padding_id == config["pad_token_id"]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    given = with_padding(2)
    with torch.no_grad():
        expected = np.concatenate([model(input_ids=torch.tensor([ids])).logits.numpy() for ids in given])
    assert np.abs(run(engine_dir, backend, given) - expected).max() < 3e-4


def test_default_padding_id_of_gemma(make_classifier: Callable[..., Path], tmp_path: Path) -> None:
    """0, as in transformers' GemmaConfig."""
    import json

    checkpoint = make_classifier("GemmaForSequenceClassification")
    config = json.loads((checkpoint / "config.json").read_text())
    del config["pad_token_id"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    head = build_engine(checkpoint, tmp_path / "engine").manifest.spec.head
    assert isinstance(head, SequenceHead)
    assert head.padding_id == 0
