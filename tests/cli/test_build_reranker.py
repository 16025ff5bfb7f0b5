"""`bei build` converts a generative reranker if an option, the config or the environment says so."""

from pathlib import Path

import pytest

from tests.generative import save_generative, train_word_tokenizer

from .conftest import Run
from .test_serve import assert_clear


@pytest.fixture(scope="module")
def generative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_generative(
        tmp_path_factory.mktemp("model") / "small", train_word_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    )


def test_a_build_converts(bei: Run, generative: Path, tmp_path: Path) -> None:
    assert_clear(bei("build", generative), 1, "--convert lm-head")
    assert "the lm_head rows of 'no' (" in bei("build", generative, "--convert", "lm-head").stderr
    assert "the lm_head rows of '0' (" in bei("build", generative, "--answer-tokens", "0,1").stderr
    config = tmp_path / "config.yaml"
    config.write_text(f"""
environment_variables: {{CONVERT: lm-head}}
trt_llm:
  build:
    base_model: encoder
    checkpoint_repository: {{source: LOCAL, repo: {generative}}}
""")
    assert "the lm_head rows of 'no' (" in bei("build", config).stderr
    config.write_text(config.read_text().replace("CONVERT: lm-head", "ANSWER_TOKENS: '2,1'"))
    assert "the lm_head rows of '2' (" in bei("build", config).stderr
    config.write_text(config.read_text().replace("'2,1'", "21"))
    assert_clear(bei("build", config), 2, "environment_variables.ANSWER_TOKENS is 21")
    config.write_text(config.read_text().replace("ANSWER_TOKENS: 21", "CONVERT: lm_head"))
    assert_clear(bei("build", config), 2, "environment_variables.CONVERT is 'lm_head'")


def test_refuses(bei: Run, generative: Path, tiny_checkpoint: Path) -> None:
    assert_clear(bei("build", generative, "--answer-tokens", "no,perhaps not"), 1, "'perhaps not' is not a token")
    assert_clear(
        bei("build", tiny_checkpoint, "--convert", "lm-head"), 1, "BertModel with Pooling is not a generative reranker"
    )
