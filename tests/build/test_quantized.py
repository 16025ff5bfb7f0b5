"""Quantized builds of every task: formats, the measured accuracy, and refusals that leave nothing behind."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from openbei.accuracy import COMPARISONS, Texts, measure
from openbei.backends import load_engine
from openbei.build import build
from openbei.config import Environment
from openbei.engine_dir import EngineDir, open_engine_dir
from openbei.errors import CheckpointError, ConfigError
from openbei.model import Model
from openbei.open_model import OpenModel
from openbei.quantization import QUANTIZATIONS
from tests.checkpoint import deployment, save_model
from tests.prose import texts
from tests.same_embedding import worst_plain_cosine

TEXTS = Texts(texts(40, longest=60), texts(10, longest=12))
measured = partial(measure, load=load_engine, texts=TEXTS, progress=False)


def build_quantized(checkpoint: Path, out: Path, quantization: str = "fp8", **options: float) -> EngineDir:
    given = deployment(checkpoint, dtype="bfloat16", quantization=quantization)
    return build(given, out, environment=Environment.read({}), measure=partial(measured, **options))


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_formats_and_accuracy(quantization: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    built = build_quantized(tiny_checkpoint, tmp_path / "engine", quantization)
    manifest = open_engine_dir(built.path).manifest
    chosen = QUANTIZATIONS[quantization]
    quantized = {name for name, stored in manifest.storage.items() if stored.format == chosen.format}
    parts = ("mlp.up", "mlp.down") if chosen.only_mlp else ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    assert quantized == {f"layers.{i}.{part}.weight" for i in range(manifest.spec.num_layers) for part in parts}
    assert (manifest.dtype, manifest.quantization) == ("bfloat16", quantization)
    accuracy = manifest.accuracy
    assert accuracy is not None
    assert (accuracy.num_documents, accuracy.num_queries) == (40, 10)
    assert 0.9 < accuracy.figures["worst cosine"] <= accuracy.figures["mean cosine"] < 1
    report = {decision.subject: decision for decision in manifest.report}
    assert f"mean cosine {accuracy.figures['mean cosine']:.4f}" in report["accuracy"].decision
    assert report["accuracy"].is_warning == (accuracy.figures["mean cosine"] < 0.99)
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_the_figures_are_those_of_the_answers(tiny_checkpoint: Path, tmp_path: Path) -> None:
    quantized = build_quantized(tiny_checkpoint, tmp_path / "quantized", "fp4")
    original = build_quantized(tiny_checkpoint, tmp_path / "original", "no_quant")
    assert original.manifest.accuracy is None
    every = [*TEXTS.queries, *TEXTS.documents]
    vectors = []
    for engine_dir in (original, quantized):
        with Model(engine_dir.path) as model:
            vectors.append(model.embed(every, progress=False))
    assert quantized.manifest.accuracy is not None
    assert worst_plain_cosine(*vectors) == pytest.approx(quantized.manifest.accuracy.figures["worst cosine"], abs=2e-6)
    assert worst_plain_cosine(*vectors) < 0.9999
    sizes = [(engine_dir.path / "weights.safetensors").stat().st_size for engine_dir in (original, quantized)]
    assert sizes[1] < sizes[0]


def test_min_cosine(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"mean cosine similarity .* is 0\.9\d+; --min-cosine is 0\.99999"):
        build_quantized(tiny_checkpoint, tmp_path / "engine", "fp4", min_cosine=0.99999)
    assert not list(tmp_path.iterdir())
    build_quantized(tiny_checkpoint, tmp_path / "engine", "fp8", min_cosine=0.9)


def test_min_cosine_of_a_task_without_vectors(word_tokenizer: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "model", word_tokenizer, "BertForSequenceClassification", num_labels=3)
    with pytest.raises(CheckpointError, match="the cosine similarity of a classifier is not measured"):
        build_quantized(tmp_path / "model", tmp_path / "engine", min_cosine=0.9)


ARCHITECTURES = {
    "reranker": ("BertForSequenceClassification", {"num_labels": 1}),
    "classifier": ("BertForSequenceClassification", {"num_labels": 3}),
    "token_classifier": ("BertForTokenClassification", {"num_labels": 5}),
}


@pytest.mark.parametrize("task", ARCHITECTURES)
def test_other_tasks(task: str, word_tokenizer: Path, tmp_path: Path) -> None:
    architecture, options = ARCHITECTURES[task]
    checkpoint = tmp_path / "model"
    save_model(checkpoint, word_tokenizer, architecture, **options)
    built = build_quantized(checkpoint, tmp_path / "engine", "fp8")
    assert built.manifest.spec.task == task
    assert built.manifest.accuracy is not None
    with OpenModel(built, load_engine(built)) as model:
        same = COMPARISONS[model.task].answer(model, TEXTS, False)
    assert built.manifest.accuracy.figures.keys() == COMPARISONS[model.task].compare(same, same).keys()
    assert all(np.isfinite(figure) for figure in built.manifest.accuracy.figures.values())


@pytest.mark.parametrize(
    ("quantization", "dtype", "message"),
    [
        ("fp8", "float32", "is 'fp8' and DTYPE is 'float32'"),
        ("smooth_quant", "bfloat16", "'smooth_quant', which is not implemented"),
        ("fp3", "bfloat16", "quantization is 'fp3'; it must be one of no_quant, weights_int8"),
    ],
)
def test_refusals(quantization: str, dtype: str, message: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    given = deployment(tiny_checkpoint, dtype=dtype, quantization=quantization)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        build(given, tmp_path / "engine", environment=Environment.read({}), measure=measured)
    assert not (tmp_path / "engine").exists()
