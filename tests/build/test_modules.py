"""Modules after the transformer in modules.json, against sentence-transformers; and chains that are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from openbei.build.modules import ACTIVATIONS, POOLINGS
from openbei.errors import CheckpointError
from openbei.spec import Dense, LayerNorm, UnitNorm
from tests.checkpoint import build_engine, update_json
from tests.families.parity import relative_error
from tests.same_embedding import worst_cosine
from tests.sentence_chain import TEXTS, embed, encode_each, randomize, save, transformer

Modules = Callable[[Any], list[Any]]


def chains() -> dict[str, Modules]:
    """Name -> function from sentence-transformers' `modules` to the modules after a transformer of width 64."""
    poolings: dict[str, Modules] = {mode: lambda m, mode=mode: [m.Pooling(64, mode)] for mode in POOLINGS}  # type: ignore[misc]
    return poolings | {
        "two poolings": lambda m: [m.Pooling(64, ("cls", "max"))],
        "poolings in another order": lambda m: [m.Pooling(64, ("weightedmean", "mean", "lasttoken"))],
        "tanh": lambda m: [m.Pooling(64), randomize(m.Dense(64, 40)), m.Normalize()],
        "wider and narrower": lambda m: [
            m.Pooling(64, ("mean", "max")),
            randomize(m.Dense(128, 200, bias=False, activation_function=None)),
            randomize(m.Dense(200, 33, bias=False, activation_function=None), 1),
            m.Normalize(),
        ],
        "residual connections": lambda m: [
            m.Pooling(64),
            randomize(m.Dense(64, 40, activation_function=None, use_residual=True)),
            randomize(m.Dense(40, 40, bias=False, activation_function=None, use_residual=True), 1),
        ],
        "layer norm": lambda m: [m.Pooling(64), randomize(m.LayerNorm(64))],
        "dropout": lambda m: [m.Pooling(64), m.Dropout(0.5), randomize(m.Dense(64, 20)), m.Normalize(), m.Dropout(0.5)],
        "normalize in the middle": lambda m: [
            m.Pooling(64),
            m.Normalize(),
            randomize(m.Dense(64, 48)),
            randomize(m.LayerNorm(48)),
            m.Normalize(),
            m.Normalize(),
        ],
    }


CHAINS = chains()


@pytest.fixture(scope="module")
def m() -> Any:
    """The modules of sentence-transformers."""
    from sentence_transformers.sentence_transformer import modules

    return modules


@pytest.mark.parametrize("name", CHAINS)
def test_chains_agree_with_sentence_transformers(name: str, m: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = save(tmp_path / "model", [transformer(tiny_checkpoint), *CHAINS[name](m)])
    expected = encode_each(model, TEXTS)
    assert worst_cosine(expected[1:], expected[:-1]) < 0.9, "texts must differ, or the comparison proves nothing"
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    for backend in ("reference", "native"):
        found = embed(engine_dir, TEXTS, backend=backend)
        assert worst_cosine(found, expected) >= 0.99999
        assert relative_error(found, expected) < 1e-4  # unlike a cosine, includes lengths
    bf16_found = embed(build_engine(tmp_path / "model", tmp_path / "bfloat16", dtype="bfloat16"), TEXTS)
    bf16_expected = encode_each(model.bfloat16(), TEXTS)
    assert relative_error(bf16_found, expected) <= 2 * relative_error(bf16_expected, expected) + 1e-3


@pytest.mark.parametrize("scale", [1e-6, 0.0])
def test_normalize_of_tiny_vectors(scale: float, m: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Vectors of length 1e-6 are normalized, and zero vectors stay zero."""
    import torch

    dense = randomize(m.Dense(64, 24, activation_function=None))
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.mul_(scale)
    after_pooling = [dense, m.Normalize(), randomize(m.Dense(24, 16), 1)]
    model = save(tmp_path / "model", [transformer(tiny_checkpoint), m.Pooling(64), *after_pooling])
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    for backend in ("reference", "native"):
        assert relative_error(embed(engine_dir, TEXTS, backend=backend), encode_each(model, TEXTS)) < 1e-4


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, m: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    from torch import nn

    dense = randomize(m.Dense(64, 24, activation_function=getattr(nn, name)()))
    model = save(tmp_path / "model", [transformer(tiny_checkpoint), m.Pooling(64), dense])
    engine_dir = build_engine(tmp_path / "model", tmp_path / "engine")
    assert worst_cosine(embed(engine_dir, TEXTS), encode_each(model, TEXTS)) >= 0.99999


def test_steps_and_report(m: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    save(tmp_path / "model", [transformer(tiny_checkpoint), *CHAINS["normalize in the middle"](m)])
    manifest = build_engine(tmp_path / "model", tmp_path / "engine").manifest
    dense = Dense(out_features=48, activation="tanh")
    assert manifest.spec.head.steps == (UnitNorm(), dense, LayerNorm(eps=1e-5), UnitNorm())
    assert (manifest.normalize, manifest.spec.output_width) == (True, 48)
    decisions = {decision.subject: decision.decision for decision in manifest.report}
    assert decisions["after pooling"] == "normalize, dense to 48 and tanh, layer norm, normalize"


def test_dropout_is_ignored(m: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    save(tmp_path / "model", [transformer(tiny_checkpoint), *CHAINS["dropout"](m)])
    manifest = build_engine(tmp_path / "model", tmp_path / "engine").manifest
    assert (manifest.normalize, manifest.spec.head.steps) == (True, (Dense(out_features=20, activation="tanh"),))


def change(path: Path, **tensors: Any) -> None:
    """Replace or add tensors in a file; None removes a tensor."""
    weights = {**load_file(path), **tensors}
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in weights.items() if tensor is not None}, path)


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


CORRUPTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "only a pickle": (lambda c: pickle_only(c / "2_Dense"), r"2_Dense/model.safetensors does not exist; .*\nhint: pi"),
    "no config": (lambda c: (c / "2_Dense/config.json").unlink(), "2_Dense/config.json cannot be read"),
    "other width in": (
        lambda c: update_json(c / "2_Dense/config.json", in_features=65),
        "2_Dense/config.json: in_features is 65; it must be the output size of the module before, 64",
    ),
    "other width out": (
        lambda c: update_json(c / "2_Dense/config.json", out_features=32),
        "3_LayerNorm/config.json: dimension is 40; ",
    ),
    "no width": (
        lambda c: update_json(c / "2_Dense/config.json", out_features=0),
        "2_Dense/config.json: .*out_features",
    ),
    "activation": (
        lambda c: update_json(c / "2_Dense/config.json", activation_function="torch.nn.modules.activation.Softplus"),
        "activation_function is 'torch.nn.modules.activation.Softplus'; supported: torch.nn.Identity, torch.nn.Tanh, ",
    ),
    "foreign activation": (
        lambda c: update_json(c / "2_Dense/config.json", activation_function="mine.Tanh"),
        "is 'mine.Tanh'; supported: torch.nn",
    ),
    "residual": (lambda c: update_json(c / "2_Dense/config.json", use_residual=True), "use_residual"),
    "token embeddings as input": (
        lambda c: update_json(c / "2_Dense/config.json", module_input_name="token_embeddings"),
        "module_input_name",
    ),
    "normalizes tokens": (
        lambda c: update_json(c / "4_Normalize/config.json", module_input_name="token_embeddings"),
        "module_input_name",
    ),
    "unexpected bias": (
        lambda c: update_json(c / "2_Dense/config.json", bias=False),
        "2_Dense/model.safetensors has tensors that its config.json has no place for: linear.bias",
    ),
    "missing bias": (
        lambda c: change(c / "2_Dense/model.safetensors", **{"linear.bias": None}),
        "has no tensor linear.bias",
    ),
    "misshapen": (
        lambda c: change(c / "2_Dense/model.safetensors", **{"linear.weight": np.zeros((64, 40), np.float32)}),
        r"linear.weight of .*2_Dense/model.safetensors has the shape \[64, 40\]; config.json says \[40, 64\]",
    ),
    "integers": (
        lambda c: change(c / "3_LayerNorm/model.safetensors", **{"norm.bias": np.zeros(40, np.int8)}),
        "is int8",
    ),
    "not finite": (
        lambda c: change(c / "3_LayerNorm/model.safetensors", **{"norm.bias": np.full(40, np.nan, np.float32)}),
        "the checkpoint's numbers for head.1.norm.bias are not all finite",
    ),
}


@pytest.fixture(scope="module")
def chain(m: Any, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a Dense and a LayerNorm. Read only."""
    folder = tmp_path_factory.mktemp("chain")
    save(folder, [transformer(tiny_checkpoint), m.Pooling(64), m.Dense(64, 40), m.LayerNorm(40), m.Normalize()])
    return folder


@pytest.mark.parametrize(("corrupt", "message"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_refuses(corrupt: Callable[[Path], object], message: str, chain: Path, tmp_path: Path) -> None:
    import shutil

    checkpoint = Path(shutil.copytree(chain, tmp_path / "checkpoint"))
    corrupt(checkpoint)
    with pytest.raises(CheckpointError, match=message):
        build_engine(checkpoint, tmp_path / "engine")
    assert not (tmp_path / "engine").exists()
