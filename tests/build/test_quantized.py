"""Quantized builds of every task: formats, the measured accuracy, and refusals that leave nothing behind."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from openbei.accuracy import COMPARISONS, Texts, measure
from openbei.backends import load_engine
from openbei.backends.recording import RecordingEngine
from openbei.backends.reference import ReferenceEngine
from openbei.batch import PackedBatch
from openbei.build import build
from openbei.calibration import calibrate
from openbei.config import Environment
from openbei.engine_dir import EngineDir, open_engine_dir
from openbei.errors import CheckpointError, ConfigError
from openbei.formats.format import Floats
from openbei.model import Model
from openbei.open_model import OpenModel
from openbei.quantization import QUANTIZATIONS
from tests.checkpoint import deployment, save_model, tokenize
from tests.prose import texts
from tests.same_embedding import worst_plain_cosine

TEXTS = Texts(texts(40, longest=60), texts(10, longest=12))
measured = partial(measure, load=load_engine, texts=TEXTS, progress=False)


def build_quantized(checkpoint: Path, out: Path, quantization: str = "fp8", **options: float) -> EngineDir:
    given = deployment(checkpoint, dtype="bfloat16", quantization=quantization)
    measure = partial(measured, **options)
    return build(given, out, environment=Environment.read({}), measure=measure, calibrate=calibrated)


def calibrated(engine_dir: EngineDir) -> Mapping[str, Floats]:
    return calibrate(engine_dir, RecordingEngine(engine_dir), TEXTS.sample(), progress=False)


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
        ("weights_int4", "bfloat16", "'weights_int4', which is not implemented"),
        ("fp3", "bfloat16", "quantization is 'fp3'; it must be one of no_quant, smooth_quant, weights_int8"),
    ],
)
def test_refusals(quantization: str, dtype: str, message: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    given = deployment(tiny_checkpoint, dtype=dtype, quantization=quantization)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        build(given, tmp_path / "engine", environment=Environment.read({}), measure=measured)
    assert not (tmp_path / "engine").exists()


def test_calibration_records_the_largest_inputs(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Of each layer, over all batches, against the rows that the reference backend computes."""
    built = build_quantized(tiny_checkpoint, tmp_path / "engine", "no_quant")
    found = calibrated(built)
    assert found["layers.0.mlp.down.weight"].shape == (96,)
    sample = TEXTS.sample()
    sequences = tokenize(built, [*sample.queries, *sample.documents])
    engine = ReferenceEngine(built)
    largest = np.zeros(64, np.float32)
    for sequence in sequences:
        embedded = engine._embed(PackedBatch.pack([sequence]), [(0, sequence.num_tokens)])
        largest = np.maximum(largest, np.abs(embedded).max(axis=0))
    np.testing.assert_allclose(found["layers.0.attention.qkv.weight"], largest, rtol=1e-5)


def test_smoothing_is_stored(tiny_checkpoint: Path, tmp_path: Path) -> None:
    built = build_quantized(tiny_checkpoint, tmp_path / "engine", "smooth_quant")
    original = build_quantized(tiny_checkpoint, tmp_path / "original", "no_quant")
    name = "layers.1.mlp.up.weight"
    weight = original.manifest.storage[name].load(name, original.tensors, (96, 64))
    expected = np.sqrt(np.abs(weight).max(axis=0) / calibrated(original)[name])  # of bfloat16 weights
    np.testing.assert_allclose(built.tensors[f"{name}.smoothing"], expected, rtol=2.0**-8)


def test_inputs_that_are_not_finite(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build_quantized(tiny_checkpoint, tmp_path / "engine", "no_quant")
    engine = RecordingEngine(built)
    engine.magnitudes["layers.0.mlp.up.weight"] = np.full(64, np.inf, np.float32)
    with pytest.raises(CheckpointError, match=r"the inputs of layers\.0\.mlp\.up\.weight are not all finite"):
        calibrate(built, engine, TEXTS.sample(), progress=False)


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_unusual_weights(value: float, checkpoint_copy: Path, tmp_path: Path) -> None:
    """Numbers that are not finite are refused; outputs and inputs that are all zero are not."""
    path = checkpoint_copy / "model.safetensors"
    tensors = load_file(path)
    weight = tensors["encoder.layer.0.intermediate.dense.weight"]
    weight[3] = weight[:, 5] = value
    save_file(tensors, path)
    if value == 0:
        built = build_quantized(checkpoint_copy, tmp_path / "engine", "smooth_quant")
        assert built.manifest.accuracy is not None
        assert built.manifest.accuracy.figures["worst cosine"] > 0.98
        return
    with pytest.raises(CheckpointError, match=r"layers\.0\.mlp\.up\.weight are not all finite"):
        build_quantized(checkpoint_copy, tmp_path / "engine", "smooth_quant")
    assert not (tmp_path / "engine").exists()


def test_smooth_quant_needs_calibration(tiny_checkpoint: Path, tmp_path: Path) -> None:
    given = deployment(tiny_checkpoint, dtype="bfloat16", quantization="smooth_quant")
    with pytest.raises(ValueError, match="smooth_quant needs a function that calibrates it"):
        build(given, tmp_path / "engine", environment=Environment.read({}), measure=measured)
