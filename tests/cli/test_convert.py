"""`bei convert lm-head`: what it prints and writes, what it refuses; a killed run leaves nothing that loads."""

from pathlib import Path

import pytest

from tests.generative import save_generative, train_word_tokenizer

from .conftest import Run, run_or_kill
from .test_serve import assert_clear


@pytest.fixture(scope="module")
def generative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_generative(
        tmp_path_factory.mktemp("model") / "small", train_word_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    )


def test_converts_for_a_build(bei: Run, generative: Path, tmp_path: Path) -> None:
    done = bei("convert", "lm-head", generative, tmp_path / "classifier")
    assert done.returncode == 0
    assert done.stdout == f"{tmp_path / 'classifier'}\n"
    assert "the lm_head rows of 'no' (" in done.stderr
    built = bei("build", tmp_path / "classifier", "--out", tmp_path / "engine")
    assert built.returncode == 0, built.stderr
    assert "no, yes" in built.stderr


def test_a_build_converts(bei: Run, generative: Path, tmp_path: Path) -> None:
    """If the option or the config says so; without either the hint names both ways."""
    assert_clear(bei("build", generative), 1, "bei convert lm-head")
    assert "converted" in bei("build", generative, "--convert", "lm-head").stderr
    config = tmp_path / "config.yaml"
    config.write_text(f"""
environment_variables: {{CONVERT: lm-head}}
trt_llm:
  build:
    base_model: encoder
    checkpoint_repository: {{source: LOCAL, repo: {generative}}}
""")
    assert "converted" in bei("build", config).stderr
    config.write_text(config.read_text().replace("lm-head", "lm_head"))
    assert_clear(bei("build", config), 2, "environment_variables.CONVERT is 'lm_head'")


def test_refuses(bei: Run, generative: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_clear(
        bei("convert", "lm-head", generative, out, "--tokens", "no,perhaps not"), 1, "'perhaps not' is not a token"
    )
    assert_clear(
        bei("convert", "lm-head", tiny_checkpoint, out), 1, "BertModel with Pooling is not a generative reranker"
    )
    assert_clear(bei("convert", "lm-head", tmp_path / "nothing", out), 2, "neither a folder nor a Hub id")
    assert bei("convert", "lm-head", generative, out, "--tokens", "no,").returncode == 2
    assert not out.exists()


def test_a_killed_run_leaves_nothing_that_loads(generative: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    out = tmp_path / "out"
    for delay_s in (0.2, 0.3, 0.4):
        run_or_kill("convert", "lm-head", generative, out, after_s=delay_s, variables=variables)
        if out.exists():  # then all of it
            assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in out.iterdir()}
            break
