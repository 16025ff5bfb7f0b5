"""Builds for CPUs and for GPUs: what differs, what is refused, and which device reads which."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openbei import targets
from openbei.backends import cuda, load_engine
from openbei.batch import Engine
from openbei.build import build, why_stale
from openbei.config import Deployment, Environment, load_config
from openbei.engine_dir import Accuracy, EngineDir, open_engine_dir
from openbei.errors import BackendError, CheckpointError, ConfigError
from openbei.gpus import Capability
from tests.checkpoint import build_engine, deployment, save_model
from tests.same_embedding import worst_cosine
from tests.small_models import random_batch


def on_cuda(engine_dir: EngineDir, *capability: int) -> cuda.CudaEngine:
    shown = Capability(*capability or (9, 0))
    return cuda.load_on(engine_dir, torch.device("cpu"), free_bytes=1 << 30, capability=shown)


PRECISIONS = {
    ("cpu", None): "float16",
    ("cpu", "bfloat16"): "float16",
    ("cpu", "float32"): "float32",
    ("cuda", None): "float16",
    ("cuda", "bfloat16"): "bfloat16",
    ("cuda", "float32"): "float32",
}
"""Of the CUDA backend, for a model that normalizes every sum, by target and dtype."""


def dtype_of(built: EngineDir) -> tuple[str, str]:
    """The decision about the number format, and its reason."""
    [decision] = [decision for decision in built.manifest.report if decision.subject == "dtype"]
    return decision.decision, decision.reason


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float32"])
def test_both_targets(dtype: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The CUDA backend reads directories for both, and agrees with the reference; the native one refuses one."""
    batch = random_batch([5, 30, 2])
    for target in ("cpu", "cuda"):
        built = open_engine_dir(build_engine(tiny_checkpoint, tmp_path / target, dtype=dtype, target=target).path)
        stored = built.manifest.storage["layers.0.mlp.up.weight"]
        assert built.manifest.target == target
        assert stored.layout == {"cpu": "panels", "cuda": "row_major"}[target]
        assert stored.format == (dtype or {"cpu": "bfloat16", "cuda": "float16"}[target])
        engine = on_cuda(built)
        assert engine.info.precision == PRECISIONS[target, dtype]
        rows, expected = engine.run(batch), load_engine(built, backend="reference").run(batch)
        assert worst_cosine(np.asarray(rows), np.asarray(expected)) > 0.999
    with pytest.raises(
        BackendError, match=r"was built for cuda: (.|\n)*hint: build it again with `bei build --device cpu`"
    ):
        load_engine(built, backend="native")


def test_float16_on_each_target(tiny_checkpoint: Path, tmp_path: Path) -> None:
    on_cpu = build_engine(tiny_checkpoint, tmp_path / "cpu", dtype="float16")
    assert dtype_of(on_cpu) == ("bfloat16", "requested is float16; CPUs compute in bfloat16, which has the same size")
    on_gpu = build_engine(tiny_checkpoint, tmp_path / "gpu", dtype="float16", target="cuda")
    assert dtype_of(on_gpu) == ("float16", "requested")


def test_the_default_of_a_pre_norm_model(word_tokenizer: Path, tmp_path: Path) -> None:
    sizes = {"num_key_value_heads": 2, "head_dim": 8}
    save_model(tmp_path / "model", word_tokenizer, "Qwen2Model", **sizes)
    given = deployment(tmp_path / "model", dtype=None, target="cuda", pooling="last-token")
    built = build(given, tmp_path / "engine", environment=Environment.read({}))
    assert dtype_of(built) == ("bfloat16", "the default on a GPU")
    assert on_cuda(built).info.precision == "bfloat16"
    assert on_cuda(built, 7, 5).info.precision == "float16"  # T4


def test_weights_that_float16_cannot_hold(checkpoint_copy: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(checkpoint_copy / "model.safetensors")
    weights["encoder.layer.0.intermediate.dense.weight"][3, 3] = 70_000
    save_file(weights, checkpoint_copy / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"mlp\.up\.weight are not all finite in float16\nhint: set DTYPE: bfloat16"
    ):
        build_engine(checkpoint_copy, tmp_path / "engine", dtype=None, target="cuda")
    build_engine(checkpoint_copy, tmp_path / "engine", dtype="bfloat16", target="cuda")


@pytest.mark.parametrize("quantization", ["fp8", "fp4"])
def test_quantized_for_gpus(quantization: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    changes = {"dtype": None, "quantization": quantization}
    built = [build_engine(tiny_checkpoint, tmp_path / one, target=one, **changes) for one in ("cpu", "cuda")]
    assert dtype_of(built[1]) == ("bfloat16", "quantized weights are expanded to it")
    batch = random_batch([5, 30, 2])
    rows = [np.asarray(load_engine(one, backend="reference").run(batch)) for one in built]
    assert np.array_equal(*rows)
    assert worst_cosine(np.asarray(on_cuda(built[1]).run(batch)), rows[0]) > 0.99


def refusal(tmp_path: Path, **changes: Any) -> Deployment:
    given = {"base_model": "encoder", "quantization": "fp8", "target": "cuda", **changes}
    return deployment(tmp_path, dtype=None, **given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerator": "A100"}, "A100 has no units for fp8\nhint: use no_quant on A100, or L4"),
        ({"accelerator": "V100", "quantization": "no_quant"}, "V100; its compute capability 7.0 is below 7.5"),
        (
            {"base_model": "encoder_bert"},
            "base_model encoder_bert supports only no_quant(.|\n)*build with --device cpu",
        ),
    ],
)
def test_refusals(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    """Before the checkpoint is read. A build for a CPU is not refused because of the GPU that the config names."""
    with pytest.raises(ConfigError, match=message):
        build(refusal(tmp_path, **changes), tmp_path / "engine", environment=Environment.read({}))
    with pytest.raises(CheckpointError):
        build(refusal(tmp_path, **changes, target="cpu"), tmp_path / "engine", environment=Environment.read({}))


CONFIG = """
resources: {{accelerator: H100:2}}
trt_llm:
  build:
    base_model: encoder
    quantization_type: fp8
    checkpoint_repository: {{source: LOCAL, repo: {repo}}}
"""


def test_the_device_option(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build for GPUs needs none. If there is one, its accuracy is measured; otherwise the report says why not."""
    (tmp_path / "config.yaml").write_text(CONFIG.format(repo=tiny_checkpoint))
    config = str(tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml").accelerator == "H100:2"
    environment = Environment.read({"OPENBEI_CACHE": str(tmp_path / "cache")})
    built = targets.engine_dir_of(config, environment, device="cuda")
    assert (built.manifest.target, built.manifest.accuracy) == ("cuda", None)
    [note] = [note for note in built.manifest.report if note.subject == "accuracy"]
    assert note.is_warning
    assert (note.decision, note.reason) == (
        "not measured",
        "measuring needs a GPU: --device cuda is not available: no NVIDIA driver: libcuda.so.1 is not installed",
    )
    again = targets.engine_dir_of(config, environment, device="cuda")
    assert again.path == built.path
    with pytest.raises(BackendError, match="--device cuda is not available"):
        targets.engine_dir_of(config, environment, tmp_path / "other", device="cuda", min_cosine=0.9)
    assert not (tmp_path / "other").exists()
    monkeypatch.setattr(targets, "_measured", lambda deployment, *rest: (deployment, None))
    on_cpu = targets.engine_dir_of(config, environment)
    assert on_cpu.manifest.target == "cpu"
    assert on_cpu.path != built.path
    by_variable = Environment.read({"OPENBEI_CACHE": str(tmp_path / "cache"), "OPENBEI_DEVICE": "cuda:0,1"})
    assert targets.engine_dir_of(config, by_variable).path == built.path


def test_accuracy_is_measured_on_the_gpu_that_is_named(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.format(repo=tiny_checkpoint))
    devices: list[object] = []

    def measure(original: EngineDir, quantized: EngineDir, *, load: Callable[..., Engine], **rest: object) -> Accuracy:
        load(original)
        return Accuracy(num_documents=1, num_queries=1, figures={})

    def load_engines(engine_dir: EngineDir, *, device: object, **rest: object) -> tuple[None]:
        devices.append(device)
        return (None,)

    monkeypatch.setattr("openbei.backends.device_choice.choose_device", lambda device: None)
    monkeypatch.setattr("openbei.accuracy.measure", measure)
    monkeypatch.setattr("openbei.backends.load_engines", load_engines)
    environment = Environment.read({"OPENBEI_CACHE": str(tmp_path / "cache"), "OPENBEI_DEVICE": "cuda:0"})
    targets.engine_dir_of(str(tmp_path / "config.yaml"), environment, device="cuda:1")
    targets.engine_dir_of(str(tmp_path / "config.yaml"), environment, force=True)
    assert devices == ["cuda:1", "cuda:0"]


def test_another_gpu_makes_a_build_for_gpus_stale(
    tiny_checkpoint: Path, tmp_path: Path, environment: Environment
) -> None:
    def reason(target: str, built_for: str | None, now: str | None) -> str | None:
        for_one, for_other = (deployment(tiny_checkpoint, target=target, accelerator=gpu) for gpu in (built_for, now))
        built = build(for_one, tmp_path / "engine", environment=environment)
        return why_stale(built, for_other, environment)

    assert reason("cuda", "H100", "A100") == "the config has changed"
    assert reason("cuda", "H100", "H100:2") is None
    assert reason("cpu", "H100", "A100:2") is None
