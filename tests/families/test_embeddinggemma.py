"""A small EmbeddingGemma (arXiv:2509.20354): bidirectional Gemma 3, two Dense modules, prompts."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.checkpoint import build_engine, save_model, train_unigram_tokenizer, write_json
from tests.families.parity import relative_error
from tests.prose import WORDS
from tests.same_embedding import worst_cosine
from tests.sentence_chain import TEXTS, embed, encode_each, randomize, save, transformer

IMAGE = "<image_soft_token>"
PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "}
OLD_POOLING = {
    "word_embedding_dimension": 64,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
    "pooling_mode_weightedmean_tokens": False,
    "pooling_mode_lasttoken": False,
    "include_prompt": True,
}
"""Its 1_Pooling/config.json."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The checkpoint, and the same model loaded by sentence-transformers. Read only."""
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

    folder = tmp_path_factory.mktemp("gemma")
    tokenizer_json = train_unigram_tokenizer(folder, WORDS[:20_000])
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    vocab_size = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([IMAGE])  # its id is outside the embedding table
    tokenizer.save(str(tokenizer_json))
    layers = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
    checkpoint = save_model(
        folder / "base",
        tokenizer_json,
        "Gemma3TextModel",
        vocab_size=vocab_size,
        num_key_value_heads=1,
        head_dim=16,
        num_hidden_layers=4,
        layer_types=layers,
        sliding_window=24,
        use_bidirectional_attention=True,
        query_pre_attn_scalar=16,
        rms_norm_eps=1e-6,
    )
    up = randomize(Dense(64, 256, bias=False, activation_function=None))
    down = randomize(Dense(256, 64, bias=False, activation_function=None), 1)
    modules = [transformer(checkpoint), Pooling(64), up, down, Normalize()]
    model = save(folder / "model", modules, prompts=PROMPTS)
    write_json(folder / "model/1_Pooling/config.json", OLD_POOLING)
    return folder / "model", model


@pytest.mark.parametrize("name", PROMPTS)
def test_agrees_with_sentence_transformers(name: str, published: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = published
    engine_dir = build_engine(folder, tmp_path / "engine")
    expected = encode_each(model, TEXTS, prompt_name=name)
    assert worst_cosine(expected[1:], expected[:-1]) < 0.9, "texts must differ, or the comparison proves nothing"
    for backend in ("reference", "native"):
        assert worst_cosine(embed(engine_dir, TEXTS, backend=backend, prompt_name=name), expected) >= 0.99999


def test_in_bfloat16(published: tuple[Path, Any], tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder, model = published
    expected = encode_each(model, TEXTS)
    bf16_expected = encode_each(SentenceTransformer(str(folder), device="cpu", local_files_only=True).bfloat16(), TEXTS)
    bf16_found = embed(build_engine(folder, tmp_path / "engine", dtype="bfloat16"), TEXTS)
    assert relative_error(bf16_found, expected) <= 2 * relative_error(bf16_expected, expected) + 1e-3


def test_manifest(published: tuple[Path, Any], tmp_path: Path) -> None:
    manifest = build_engine(published[0], tmp_path / "engine").manifest
    spec = manifest.spec
    assert (spec.family, spec.attention.is_causal, spec.head.poolings) == ("gemma3", False, ("mean",))
    assert spec.attention.local
    assert (spec.attention.local.layers, spec.attention.local.window) == ((0, 1, 3), 12)
    assert [step.out_features for step in spec.head.steps] == [256, 64]
    assert manifest.normalize
    assert manifest.prompts.by_name == PROMPTS


def test_drops_a_token_outside_the_embedding_table(published: tuple[Path, Any], tmp_path: Path) -> None:
    """It is tokenized as ordinary text."""
    engine_dir = build_engine(published[0], tmp_path / "engine")
    decisions = [decision.decision for decision in engine_dir.manifest.report]
    assert f"without {IMAGE}" in decisions
    assert IMAGE not in Tokenizer.from_file(str(engine_dir.tokenizer_path)).get_vocab()
    assert embed(engine_dir, [f"before {IMAGE} after"]).shape == (1, 64)
