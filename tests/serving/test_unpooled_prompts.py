"""Prompts that are left out of pooling (include_prompt: false), against sentence-transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.serving.tokenizer import Tokenizer
from tests.checkpoint import build_engine, save_checkpoint, train_bpe_tokenizer
from tests.prose import WORDS
from tests.same_embedding import worst_cosine
from tests.sentence_chain import TEXTS, embed, encode_each, save, transformer

PROMPTS = {
    "query": "query: ",
    "long": "Represent this sentence, so that others like it are found by it:\n",
    "unspaced": "Instruct",
    "none": "",
}
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


@pytest.fixture(scope="module")
def instructed(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A model that pools all ways without the prompt. Read only."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder = tmp_path_factory.mktemp("instructed")
    modules = [transformer(tiny_checkpoint), Pooling(64, MODES, include_prompt=False)]
    return folder, save(folder, modules, prompts=PROMPTS, default_prompt_name="query")


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_not_pooled(name: str, instructed: tuple[Path, Any], tmp_path: Path) -> None:
    """Texts that are cut to the longest length are among them."""
    folder, model = instructed
    engine_dir = build_engine(folder, tmp_path / "engine")
    assert not engine_dir.manifest.prompts.are_pooled
    expected = encode_each(model, TEXTS, prompt_name=name)
    if PROMPTS[name]:
        model[1].include_prompt = True
        assert worst_cosine(encode_each(model, TEXTS, prompt_name=name), expected) < 0.999, "prompts must matter"
        model[1].include_prompt = False
    for backend in ("reference", "native"):
        assert worst_cosine(embed(engine_dir, TEXTS, backend=backend, prompt_name=name), expected) >= 0.99999


def test_the_default_prompt(instructed: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = instructed
    engine_dir = build_engine(folder, tmp_path / "engine")
    assert worst_cosine(embed(engine_dir, TEXTS), encode_each(model, TEXTS)) >= 0.99999
    decisions = {decision.subject: decision.decision for decision in engine_dir.manifest.report}
    assert decisions["prompts in pooling"] == "excluded"


@pytest.fixture(scope="module")
def without_closing_token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that puts nothing around a text, so that a prompt alone ends with a token of its own."""
    import json

    path = train_bpe_tokenizer(tmp_path_factory.mktemp("tokenizer"), WORDS[:20_000])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    return path


@pytest.mark.parametrize("prompt", ["query: ", "a b c</s>", "a b c </s> "])
def test_tokenizers_without_a_closing_token(prompt: str, without_closing_token: Path, tmp_path: Path) -> None:
    """A special token at the end of the prompt is not counted, whoever wrote it."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    checkpoint = save_checkpoint(tmp_path / "base", without_closing_token)
    model = save(
        tmp_path / "model",
        [transformer(checkpoint), Pooling(64, ("mean", "cls"), include_prompt=False)],
        prompts={"query": prompt},
    )
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    expected = encode_each(model, TEXTS, prompt_name="query")
    assert worst_cosine(embed(engine_dir, TEXTS, prompt_name="query"), expected) >= 0.99999


def tokenizer(path: Path, limit: int) -> Tokenizer:
    return Tokenizer(path, limit, 10_000, pools_prompts=False)


def test_how_many_are_left_out(tokenizer_json: Path, without_closing_token: Path) -> None:
    prompt, text = "the the the ", "the the"
    [sequence] = tokenizer(tokenizer_json, 20).encode([text], prompt=prompt)
    assert (sequence.num_tokens, sequence.num_excluded) == (7, 4)
    [sequence] = tokenizer(tokenizer_json, 20).encode([text])
    assert sequence.num_excluded == 0
    [sequence] = tokenizer(tokenizer_json, 5).encode([text * 9], prompt=prompt, direction="left")
    assert sequence.num_excluded == 1, "[CLS] is kept, the prompt is not"
    [sequence] = tokenizer(tokenizer_json, 4).encode([text], prompt=prompt)
    assert (sequence.num_tokens, sequence.num_excluded) == (4, 3), "[SEP] is left, as in sentence-transformers"


def test_a_prompt_that_leaves_nothing_is_pooled(without_closing_token: Path) -> None:
    [sequence] = tokenizer(without_closing_token, 3).encode(["the"], prompt=" the the the the")
    assert (sequence.num_tokens, sequence.num_excluded) == (3, 0)


def test_a_prompt_that_is_never_read(tokenizer_json: Path) -> None:
    """Far more characters than are looked at, cut on the left: what is left begins within the text."""
    [sequence] = tokenizer(tokenizer_json, 20).encode(["x " * 3000], prompt="the the the the ", direction="left")
    assert sequence.num_tokens == 20
    assert sequence.num_excluded == 0
    assert np.all(sequence.token_ids >= 0)
