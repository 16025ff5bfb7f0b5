"""The folder written by `bei convert lm-head`, which transformers, sentence-transformers and `bei build` can load."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from openbei.build.classifier_folder import write_classifier
from openbei.errors import CheckpointError
from openbei.prompts import QWEN3_RERANKER
from openbei.safetensors_file import read_tensors
from tests.checkpoint import build_engine, expected_logits, write_json
from tests.generative import chat_template, save_cross_encoder
from tests.prose import texts

from .test_check import shard


def weights(engine: Path) -> bytes:
    return (engine / "weights.safetensors").read_bytes()


def last_logits(checkpoint: Path, texts: list[str]) -> np.ndarray:
    return np.stack([logits[-1] for logits in expected_logits(checkpoint, "ForCausalLM", texts)])


def test_transformers_loads_it(generative: Path, tmp_path: Path) -> None:
    words = write_classifier(generative, tmp_path / "out" / "classifier")
    out = tmp_path / "out" / "classifier"
    assert [path.name for path in out.parent.iterdir()] == ["classifier"]
    given = texts(8, longest=60)
    logits = np.array(expected_logits(out, "ForSequenceClassification", given))
    assert np.abs(logits - last_logits(generative, given)[:, list(words.ids)]).max() < 1e-5
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForSequenceClassification"]
    assert (config["id2label"], config["label2id"], config["num_labels"]) == (
        {"0": "no", "1": "yes"},
        {"no": 0, "yes": 1},
        2,
    )
    assert config["pad_token_id"] == 1


def test_transformers_runs_batches(generative: Path, tmp_path: Path) -> None:
    """If config.json has no pad_token_id, it is added from tokenizer_config.json, because batches need it."""
    import torch
    import transformers

    config = json.loads((generative / "config.json").read_text()) | {"pad_token_id": None}
    write_json(generative / "config.json", config)
    write_classifier(generative, tmp_path / "out")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    given = texts(6, longest=60)
    with torch.no_grad():
        batch = tokenizer(given, padding=True, truncation=True, max_length=128, return_tensors="pt")
        batched = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.numpy()
    single = np.array(expected_logits(tmp_path / "out", "ForSequenceClassification", given))
    assert np.abs(batched - single).max() < 1e-5


@pytest.mark.parametrize("prompt", ["", "Find what defines the term"])
def test_prompts_and_template_are_kept(prompt: str, generative: Path, tmp_path: Path) -> None:
    """The score template is the same as in a build that converts, and sentence-transformers loads the folder."""
    from sentence_transformers import CrossEncoder

    saved = save_cross_encoder(tmp_path / "saved", generative, chat_template(QWEN3_RERANKER))
    path = saved / "config_sentence_transformers.json"
    prompts = {"prompts": {"web": prompt}, "default_prompt_name": "web"} if prompt else {}
    write_json(path, json.loads(path.read_text()) | prompts)
    write_classifier(saved, tmp_path / "out")
    converted_in_build = build_engine(saved, tmp_path / "a").manifest
    template = build_engine(tmp_path / "out", tmp_path / "b").manifest.score_template
    assert template == converted_in_build.score_template
    assert template is not None
    assert template.instruction == prompt
    assert CrossEncoder(str(tmp_path / "out"), device="cpu", local_files_only=True).num_labels == 2


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_tensors_are_unchanged(num_shards: int, dtype: type, generative: Path, tmp_path: Path) -> None:
    path = generative / "model.safetensors"
    before = {name: tensor.astype(dtype) for name, tensor in load_file(path).items()}
    save_file(before, path)
    if num_shards > 1:
        shard(generative, num_shards)
    done: list[tuple[int, int]] = []
    words = write_classifier(generative, tmp_path / "out", progress=lambda *numbers: done.append(numbers))
    after = read_tensors(tmp_path / "out/model.safetensors")
    assert np.array_equal(after["score.weight"], before["lm_head.weight"][list(words.ids)])
    assert after.keys() == before.keys() - {"lm_head.weight"} | {"score.weight"}
    for name in after.keys() - {"score.weight"}:
        assert after[name].dtype == dtype
        assert np.array_equal(after[name], before[name])
    size = (tmp_path / "out/model.safetensors").stat().st_size
    assert done[-1] == (size, size)


def test_engine_equals_that_of_a_build_with_conversion(generative: Path, tmp_path: Path) -> None:
    """The same weights, labels and template, with sentence-transformers' files and without."""
    expected = build_engine(generative, tmp_path / "a", convert="lm-head")
    write_classifier(generative, tmp_path / "classifier")
    saved = save_cross_encoder(tmp_path / "saved", generative, chat_template(QWEN3_RERANKER))
    write_classifier(saved, tmp_path / "cross-encoder")
    for folder in ("classifier", "cross-encoder"):
        engine_dir = build_engine(tmp_path / folder, tmp_path / "engines" / folder)
        assert weights(engine_dir.path) == weights(expected.path)
        assert engine_dir.manifest.labels == expected.manifest.labels == ("no", "yes")
        template = engine_dir.manifest.score_template
        assert template is not None
        for instruction in (None, "judge"):
            prefix = QWEN3_RERANKER.render_prefix("a query", instruction)
            assert template.render_prefix("a query", instruction) == prefix
        assert template.suffix == QWEN3_RERANKER.suffix
        assert engine_dir.manifest.spec == expected.manifest.spec


def test_custom_tokens(generative: Path, tmp_path: Path) -> None:
    words = write_classifier(generative, tmp_path / "out", ["0", "1", "2"])
    assert words.labels == ("0", "1", "2")
    assert build_engine(tmp_path / "out", tmp_path / "engine").manifest.labels == ("0", "1", "2")
    with pytest.raises(CheckpointError, match=r"'perhaps not' is not a token of the vocabulary; .* splits it into 'p"):
        write_classifier(generative, tmp_path / "other", ["no", "perhaps not"])
    with pytest.raises(CheckpointError, match="--tokens: one token is given twice: no, no"):
        write_classifier(generative, tmp_path / "other", ["no", "no"])
    assert not (tmp_path / "other").exists()


def test_refuses_an_existing_folder(generative: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="out already exists"):
        write_classifier(generative, tmp_path / "out")


def test_a_failure_leaves_nothing(generative: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write_classifier(generative, tmp_path / "out" / "classifier", progress=stop)
    assert list((tmp_path / "out").iterdir()) == []
