"""A build from end to end: manifest, report, refusals, and staleness."""

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


def test_manifest_and_report(tiny_checkpoint: Path, tmp_path: Path, environment: Environment) -> None:
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
    assert manifest.prompts.are_pooled, "the default of include_prompt"
    assert steps[-1][0] == "write"
    assert 0 < steps[-1][1] <= steps[-1][2]
    report = render_report(manifest)
    for phrase in ("BertModel", "1_Pooling/config.json", "pooler.dense.weight", "truncation and padding removed"):
        assert phrase in report


def test_minilm(minilm: Path, tmp_path: Path) -> None:
    manifest = build_engine(minilm, tmp_path / "engine").manifest
    assert (manifest.spec.num_layers, manifest.spec.hidden_size, num_parameters(manifest.spec)) == (6, 384, 22_565_376)
    assert (manifest.max_sequence_tokens, manifest.spec.task, manifest.normalize) == (256, "embedding", True)


def test_weights_match_the_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_checkpoint / "model.safetensors")
    engine_dir = build_engine(tiny_checkpoint, tmp_path / "engine")
    shapes = tensor_shapes(engine_dir.manifest.spec)
    unpacked = LAYOUTS["panels"].unpack(engine_dir.tensors["layers.1.attention.qkv.weight"], (192, 64))
    assert shapes["layers.1.attention.qkv.weight"] == (192, 64)
    for index, part in enumerate(("query", "key", "value")):
        expected = weights[f"encoder.layer.1.attention.self.{part}.weight"]
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


def test_truncation_and_padding_are_removed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    before = Tokenizer.from_file(str(tiny_checkpoint / "tokenizer.json"))
    after = Tokenizer.from_file(str(build_engine(tiny_checkpoint, tmp_path / "engine").tokenizer_path))
    assert before.truncation or before.padding
    assert (after.truncation, after.padding) == (None, None)
    assert after.get_vocab() == before.get_vocab()


def test_do_lower_case(checkpoint_copy: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, normalizers

    path = checkpoint_copy / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.save(str(path))
    plain = Tokenizer.from_file(str(build_engine(checkpoint_copy, tmp_path / "plain").tokenizer_path))
    write_json(checkpoint_copy / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": True})
    lowered = Tokenizer.from_file(str(build_engine(checkpoint_copy, tmp_path / "lowered").tokenizer_path))
    assert lowered.encode("THE CLASS").ids == plain.encode("the class").ids != plain.encode("THE CLASS").ids


def test_refuses_a_route_of_another_task(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is /rerank; this embedding model answers /v1/embeddings"):
        build_engine(tiny_checkpoint, tmp_path / "engine", default_route="/rerank")


def test_a_failed_build_leaves_nothing(checkpoint_copy: Path, tmp_path: Path) -> None:
    """Also if the last check fails, that for finite numbers, which runs while tensors are written."""
    weights = load_file(checkpoint_copy / "model.safetensors")
    weights["encoder.layer.1.output.LayerNorm.bias"][3] = np.nan
    save_file(weights, checkpoint_copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.norm\.bias are not all finite"):
        build_engine(checkpoint_copy, tmp_path / "out/engine")
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(EngineDirError):
        open_engine_dir(tmp_path / "out/engine")


def test_staleness(checkpoint_copy: Path, tmp_path: Path, environment: Environment) -> None:
    requested = deployment(checkpoint_copy)
    engine_dir = build_engine(checkpoint_copy, tmp_path / "engine")
    assert why_stale(engine_dir, requested, environment) is None
    without_notes = msgspec.structs.replace(requested, notes=())
    assert why_stale(engine_dir, without_notes, environment) is None, "notes do not affect the engine"
    for change in ({"dtype": "bfloat16"}, {"max_num_tokens": 100}, {"model_name": "other"}):
        changed = msgspec.structs.replace(requested, **change)
        assert why_stale(engine_dir, changed, environment) == "the config has changed"
    os.utime(checkpoint_copy / "model.safetensors", (1, 1))
    assert why_stale(engine_dir, requested, environment) == "the checkpoint has changed"
    rebuilt = build_engine(checkpoint_copy, tmp_path / "engine")
    assert why_stale(rebuilt, requested, environment) is None
    (checkpoint_copy / "chat_template.jinja").write_text("{{ messages }}")
    assert why_stale(rebuilt, requested, environment) == "the checkpoint has changed"
    (checkpoint_copy / "chat_template.jinja").unlink()
    write_json(checkpoint_copy / "sentence_bert_config.json", {"max_seq_length": 3})
    assert why_stale(rebuilt, requested, environment) == "the checkpoint has changed"
    shutil.rmtree(checkpoint_copy)
    assert why_stale(rebuilt, requested, environment) is None, "a missing checkpoint does not make an engine stale"


def test_default_engine_path(tiny_checkpoint: Path, environment: Environment) -> None:
    requested = deployment(tiny_checkpoint)
    path = default_engine_path(requested, environment)
    assert path.parent == environment.cache
    assert path.name.startswith("tiny-bert-float32-")
    assert default_engine_path(msgspec.structs.replace(requested, max_num_tokens=70), environment) != path
    traversal = msgspec.structs.replace(requested, model_name="../../ü/ a")
    assert default_engine_path(traversal, environment).parent == environment.cache
