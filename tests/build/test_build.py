"""A build from end to end: what is decided, what is refused, and when it has to be done again."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from openbei.build import build, default_engine_path, render_report, why_stale
from openbei.config import Environment
from openbei.engine_dir import open_engine_dir
from openbei.errors import CheckpointError, ConfigError, EngineDirError
from openbei.formats import LAYOUTS
from openbei.formats.storage import Storage
from openbei.shapes import num_parameters, tensor_shapes
from openbei.spec import DType
from tests.checkpoint import build_engine, deployment, write_json


def test_what_is_decided(tiny_checkpoint: Path, tmp_path: Path, environment: Environment) -> None:
    steps: list[tuple[str, int, int]] = []
    engine_dir = build(
        deployment(tiny_checkpoint),
        tmp_path / "engine",
        environment=environment,
        progress=lambda step, done, total: steps.append((step, done, total)),
    )
    manifest = open_engine_dir(engine_dir.path).manifest
    assert (manifest.spec.task, manifest.normalize, manifest.dtype) == ("embedding", True, "float32")
    assert (manifest.max_sequence_tokens, manifest.max_num_tokens) == (128, 8192)
    assert (manifest.model_name, manifest.default_route) == ("tiny-bert", "/v1/embeddings")
    assert manifest.prompts.are_pooled, "unless include_prompt says otherwise"
    assert steps[0] == ("fetch", 0, 1)
    assert steps[-1][0] == "write"
    assert 0 < steps[-1][1] <= steps[-1][2]
    report = render_report(manifest)
    for phrase in ("BertModel", "1_Pooling/config.json", "pooler.dense.weight", "truncation and padding dropped"):
        assert phrase in report


def test_the_real_model(minilm: Path, tmp_path: Path) -> None:
    manifest = build_engine(minilm, tmp_path / "engine").manifest
    assert (manifest.spec.num_layers, manifest.spec.hidden_size, num_parameters(manifest.spec)) == (6, 384, 22_565_376)
    assert (manifest.max_sequence_tokens, manifest.spec.task, manifest.normalize) == (256, "embedding", True)


def test_weights_are_the_checkpoints(tiny_checkpoint: Path, tmp_path: Path) -> None:
    theirs = load_file(tiny_checkpoint / "model.safetensors")
    engine_dir = build_engine(tiny_checkpoint, tmp_path / "engine")
    shapes = tensor_shapes(engine_dir.manifest.spec)
    unpacked = LAYOUTS["panels"].unpack(engine_dir.tensors["layers.1.attention.qkv.weight"], (192, 64))
    assert shapes["layers.1.attention.qkv.weight"] == (192, 64)
    for index, part in enumerate(("query", "key", "value")):
        expected = theirs[f"encoder.layer.1.attention.self.{part}.weight"]
        assert np.array_equal(unpacked[64 * index : 64 * (index + 1)], expected)
    assert engine_dir.tensors["layers.0.mlp.up.bias"].shape == (96,)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_absorbed_keys_are_stored(dtype: DType, make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = make_checkpoint(pooling="cls", num_attention_heads=2)
    engine_dir = build_engine(checkpoint, tmp_path / "engine", dtype=dtype)
    theirs = load_file(checkpoint / "model.safetensors")["encoder.layer.1.attention.self.key.weight"]
    storage = engine_dir.manifest.storage["absorbed_keys.weight"]
    assert storage == Storage(dtype, "panels")
    stored = storage.load("absorbed_keys.weight", engine_dir.tensors, (128, 32)).reshape(2, 64, 32)
    expected = np.stack([theirs[:32].T, theirs[32:].T])
    assert np.abs(stored - expected).max() <= {"float32": 0, "bfloat16": 2**-8}[dtype] * np.abs(expected).max()
    assert not engine_dir.tensors["absorbed_keys.bias"].any()


def test_the_tokenizer_neither_cuts_nor_pads(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    before = Tokenizer.from_file(str(tiny_checkpoint / "tokenizer.json"))
    after = Tokenizer.from_file(str(build_engine(tiny_checkpoint, tmp_path / "engine").tokenizer_path))
    assert before.truncation or before.padding
    assert (after.truncation, after.padding) == (None, None)
    assert after.get_vocab() == before.get_vocab()


def test_lower_case_of_sentence_transformers(spoilt_checkpoint: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, normalizers

    path = spoilt_checkpoint / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.save(str(path))
    plain = Tokenizer.from_file(str(build_engine(spoilt_checkpoint, tmp_path / "plain").tokenizer_path))
    write_json(spoilt_checkpoint / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": True})
    lowered = Tokenizer.from_file(str(build_engine(spoilt_checkpoint, tmp_path / "lowered").tokenizer_path))
    assert lowered.encode("THE CLASS").ids == plain.encode("the class").ids != plain.encode("THE CLASS").ids


def test_a_route_that_the_model_cannot_answer(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is /rerank; this embedding model answers /v1/embeddings"):
        build_engine(tiny_checkpoint, tmp_path / "engine", default_route="/rerank")


def test_a_failed_build_leaves_nothing(spoilt_checkpoint: Path, tmp_path: Path) -> None:
    """Numbers are looked at while they are written, the last check that can fail."""
    weights = load_file(spoilt_checkpoint / "model.safetensors")
    weights["encoder.layer.1.output.LayerNorm.bias"][3] = np.nan
    save_file(weights, spoilt_checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.norm\.bias are not all finite"):
        build_engine(spoilt_checkpoint, tmp_path / "out/engine")
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(EngineDirError):
        open_engine_dir(tmp_path / "out/engine")


def test_staleness(spoilt_checkpoint: Path, tmp_path: Path, environment: Environment) -> None:
    asked = deployment(spoilt_checkpoint)
    engine_dir = build_engine(spoilt_checkpoint, tmp_path / "engine")
    assert why_stale(engine_dir, asked, environment) is None
    assert why_stale(engine_dir, msgspec.structs.replace(asked, notes=()), environment) is None, "spelling is no change"
    for change in ({"dtype": "bfloat16"}, {"max_num_tokens": 100}, {"model_name": "other"}):
        changed = msgspec.structs.replace(asked, **change)
        assert why_stale(engine_dir, changed, environment) == "the config has changed"
    os.utime(spoilt_checkpoint / "model.safetensors", (1, 1))
    assert why_stale(engine_dir, asked, environment) == "the checkpoint has changed"
    rebuilt = build_engine(spoilt_checkpoint, tmp_path / "engine")
    assert why_stale(rebuilt, asked, environment) is None
    (spoilt_checkpoint / "chat_template.jinja").write_text("{{ messages }}")
    assert why_stale(rebuilt, asked, environment) == "the checkpoint has changed"
    (spoilt_checkpoint / "chat_template.jinja").unlink()
    write_json(spoilt_checkpoint / "sentence_bert_config.json", {"max_seq_length": 3})
    assert why_stale(rebuilt, asked, environment) == "the checkpoint has changed"
    shutil.rmtree(spoilt_checkpoint)
    assert why_stale(rebuilt, asked, environment) is None, "the engine is still what was asked for"


def test_where_engines_go(tiny_checkpoint: Path, environment: Environment) -> None:
    asked = deployment(tiny_checkpoint)
    path = default_engine_path(asked, environment)
    assert path.parent == environment.cache
    assert path.name.startswith("tiny-bert-float32-")
    assert default_engine_path(msgspec.structs.replace(asked, max_num_tokens=70), environment) != path
    odd = msgspec.structs.replace(asked, model_name="../../ü/ a")
    assert default_engine_path(odd, environment).parent == environment.cache
