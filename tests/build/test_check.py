"""Matching of tensors: missing, unexpected and misshapen ones, old names, shards, and 16-bit checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from openbei.errors import CheckpointError
from tests.checkpoint import build_engine, save_model, write_chain, write_json

Weights = dict[str, np.ndarray]
QUERY = "encoder.layer.1.attention.self.query.weight"


def weights_of(engine: Path) -> bytes:
    return (engine / "weights.safetensors").read_bytes()


def save(weights: Weights, path: Path) -> None:
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in weights.items()}, path)


CHANGES: dict[str, tuple[Callable[[Weights], object], str]] = {
    "missing": (lambda w: w.pop(QUERY), f"has no tensor {QUERY}$"),
    "many missing": (lambda w: [w.pop(n) for n in list(w) if "layer.0" in n], "has no tensor .*layer.0.* and 8 more"),
    "extra": (lambda w: w.update(mystery=w[QUERY]), "has tensors that bert has no place for: mystery$"),
    "of another head": (
        lambda w: w.update({"classifier.weight": w[QUERY][:2], "classifier.bias": np.zeros(2, np.float32)}),
        "no place for: classifier.bias, classifier.weight\nhint: they are those of …ForSequenceClassification, "
        "…ForTokenClassification; `architectures` in config.json",
    ),
    "a layer too many": (
        lambda w: w.update({QUERY.replace("1", "2"): w[QUERY]}),
        "no place for: encoder.layer.2.attention",
    ),
    "misshapen": (
        lambda w: w.update({QUERY: w[QUERY][:-1]}),
        rf"{QUERY} has the shape \[63, 64\]; config.json says \[64, 64\]",
    ),
    "transposed": (
        lambda w: w.update({"encoder.layer.0.output.dense.weight": w["encoder.layer.0.output.dense.weight"].T}),
        r"has the shape \[96, 64\]; config.json says \[64, 96\]",
    ),
    "fewer positions": (
        lambda w: w.update({"embeddings.position_embeddings.weight": np.zeros((5, 64), np.float32)}),
        r"\[5, 64\]",
    ),
    "integers": (lambda w: w.update({QUERY: w[QUERY].astype(np.int8)}), "is int8; readable: float32"),
    "twice": (lambda w: w.update({f"bert.{QUERY}": w[QUERY]}), f"has {QUERY} twice: "),
    "not finite": (lambda w: w[QUERY].fill(np.inf), "attention.qkv.weight are not all finite in float32"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_refuses(change: Callable[[Weights], object], message: str, checkpoint_copy: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint_copy / "model.safetensors")
    change(weights)
    save(weights, checkpoint_copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        build_engine(checkpoint_copy, tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def old_names(weights: Weights) -> Weights:
    """The names of early BERT checkpoints: a prefix, gamma and beta, and pre-training heads."""
    renamed = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }
    return renamed | {"cls.predictions.bias": np.zeros(3, np.float32), "bert.embeddings.position_ids": np.arange(128)}


def test_old_names(checkpoint_copy: Path, tmp_path: Path) -> None:
    before = build_engine(checkpoint_copy, tmp_path / "before")
    save(old_names(load_file(checkpoint_copy / "model.safetensors")), checkpoint_copy / "model.safetensors")
    after = build_engine(checkpoint_copy, tmp_path / "after")
    assert weights_of(after.path) == weights_of(before.path)
    dropped = {d.subject: d.decision for d in after.manifest.report}["dropped tensors"]
    assert "cls.predictions.bias" in dropped
    assert "bert.embeddings.position_ids" in dropped


def test_a_missing_decoder_weight(tokenizer_json: Path, tmp_path: Path) -> None:
    """It is tied to the token embeddings unless config.json disables that."""
    folder = save_model(tmp_path / "splade", tokenizer_json, "BertForMaskedLM")
    write_json(folder / "1_SpladePooling/config.json", {"pooling_strategy": "max"})
    write_chain(folder, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    weights = load_file(folder / "model.safetensors")
    assert "cls.predictions.decoder.weight" not in weights
    before = build_engine(folder, tmp_path / "before")
    write_json(
        folder / "config.json", json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    )
    with pytest.raises(CheckpointError, match=r"no tensor cls\.predictions\.decoder\.weight, and tie"):
        build_engine(folder, tmp_path / "engine")
    embeddings = weights["bert.embeddings.word_embeddings.weight"]
    save(weights | {"cls.predictions.decoder.weight": embeddings}, folder / "model.safetensors")
    assert weights_of(build_engine(folder, tmp_path / "after").path) == weights_of(before.path)


def shard(folder: Path, num_shards: int) -> dict[str, str]:
    weights = load_file(folder / "model.safetensors")
    files = [f"model-{index + 1:05}-of-{num_shards:05}.safetensors" for index in range(num_shards)]
    weight_map = {name: files[index % num_shards] for index, name in enumerate(weights)}
    for file in files:
        save({name: weights[name] for name in weights if weight_map[name] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": 1}, "weight_map": weight_map})
    return weight_map


def test_shards(checkpoint_copy: Path, tmp_path: Path) -> None:
    before = build_engine(checkpoint_copy, tmp_path / "before")
    weight_map = shard(checkpoint_copy, 3)
    assert weights_of(build_engine(checkpoint_copy, tmp_path / "after").path) == weights_of(before.path)
    index = checkpoint_copy / "model.safetensors.index.json"
    write_json(index, {"weight_map": weight_map | {"ghost": weight_map[QUERY]}})
    with pytest.raises(CheckpointError, match="and its shards disagree about ghost"):
        build_engine(checkpoint_copy, tmp_path / "engine")
    write_json(index, {"weight_map": {QUERY: "../model.safetensors"}})
    with pytest.raises(CheckpointError, match=r"the shard '../model.safetensors' is not in the same folder"):
        build_engine(checkpoint_copy, tmp_path / "engine")
    write_json(index, {"weight_map": weight_map})
    (checkpoint_copy / weight_map[QUERY]).unlink()
    with pytest.raises(CheckpointError, match="does not exist; only safetensors"):
        build_engine(checkpoint_copy, tmp_path / "engine")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_sixteen_bit_checkpoints(dtype: type, checkpoint_copy: Path, tmp_path: Path) -> None:
    path = checkpoint_copy / "model.safetensors"
    rounded = {name: tensor.astype(dtype) for name, tensor in load_file(path).items()}
    save({name: tensor.astype(np.float32) for name, tensor in rounded.items()}, path)
    before = build_engine(checkpoint_copy, tmp_path / "before")
    save(rounded, path)
    assert weights_of(build_engine(checkpoint_copy, tmp_path / "after").path) == weights_of(before.path)


def test_pickles_are_never_opened(checkpoint_copy: Path, tmp_path: Path) -> None:
    (checkpoint_copy / "model.safetensors").rename(checkpoint_copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"model.safetensors does not exist; .*\nhint: pickled .bin weights"):
        build_engine(checkpoint_copy, tmp_path / "engine")


def test_truncated_weights(checkpoint_copy: Path, tmp_path: Path) -> None:
    path = checkpoint_copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated"):
        build_engine(checkpoint_copy, tmp_path / "engine")
