"""A small generative reranker."""

from pathlib import Path

import pytest

from tests.generative import save_generative, train_word_tokenizer


@pytest.fixture(scope="session")
def word_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with the tokens "yes" and "no"."""
    return train_word_tokenizer(tmp_path_factory.mktemp("words"))


@pytest.fixture
def generative(word_tokenizer: Path, tmp_path: Path) -> Path:
    """A Qwen3ForCausalLM that a test can change."""
    return save_generative(tmp_path / "generative", word_tokenizer)
