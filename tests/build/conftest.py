"""A small reranker that answers with a word."""

from pathlib import Path

import pytest

from tests.generative import save_generative, train_word_tokenizer


@pytest.fixture(scope="session")
def word_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokenizer, of which yes and no are tokens."""
    return train_word_tokenizer(tmp_path_factory.mktemp("words"))


@pytest.fixture
def generative(word_tokenizer: Path, tmp_path: Path) -> Path:
    """A Qwen3 that generates text. A test may change it."""
    return save_generative(tmp_path / "generative", word_tokenizer)
