"""Build: a deployment and its checkpoint -> an engine directory. Never imported while serving.

fetch (openbei.checkpoints) -> inspect -> check -> convert -> write (openbei.engine_dir) -> report
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import msgspec

from openbei import __version__
from openbei.accelerators import check_accelerator
from openbei.build.check import Matched, match_modules, match_tensors
from openbei.build.convert import plan_tensors
from openbei.build.dtype import choose_dtype
from openbei.build.expand import tie
from openbei.build.inspect import Inspection, inspect_checkpoint
from openbei.build.keys import check_keys
from openbei.build.measured import Calibrate, Measure, Planned, write_quantized
from openbei.build.report import render_report
from openbei.build.staleness import content_hash, default_engine_path, why_stale
from openbei.build.storage import choose_storage
from openbei.build.stored import read_checkpoint
from openbei.build.tokenizer_file import ConvertedTokenizer, convert_tokenizer
from openbei.checkpoints import fetch_checkpoint
from openbei.config import Decision, Deployment, Environment
from openbei.engine_dir import EngineDir, Manifest, open_engine_dir, write_engine_dir
from openbei.errors import ConfigError
from openbei.formats.format import Floats
from openbei.formats.storage import Storage
from openbei.locations import public_url
from openbei.quantization import NO_QUANTIZATION, QUANTIZATIONS, check_quantization, is_quantized
from openbei.safetensors_file import Array
from openbei.spec import ModelSpec, SequenceHead, Task

__all__ = ["build", "content_hash", "default_engine_path", "render_report", "why_stale"]

ROUTES: dict[Task, tuple[str, ...]] = {
    "embedding": ("/v1/embeddings",),
    "reranker": ("/predict", "/rerank"),
    "classifier": ("/predict",),
    "token_classifier": ("/predict_tokens",),
    "sparse": ("/embed_sparse",),
    "late_interaction": ("/embed_all", "/rerank"),
}
"""Task -> possible default routes. The first one is used unless webserver_default_route is set."""

Progress = Callable[[str, int, int], None]
"""Called with a step, the amount done and the total, such as ("write", bytes, bytes)."""


def build(
    deployment: Deployment,
    out: Path,
    *,
    environment: Environment,
    progress: Progress = lambda step, done, total: None,
    measure: Measure | None = None,
    calibrate: Calibrate | None = None,
) -> EngineDir:
    """Build the engine directory `out` atomically, and open it.

    `measure` compares a quantized one with the original; `calibrate` is required for types that quantize inputs.
    Raises ConfigError for a config that does not match the checkpoint or the device, CheckpointError, DownloadError,
    and EngineDirError if `out` cannot be written.
    """
    check_quantization(deployment.quantization, deployment.dtype)
    _check_target(deployment)
    folder = fetch_checkpoint(
        deployment.repository, environment, progress=lambda done, total: progress("fetch", done, total)
    )
    inspection = inspect_checkpoint(
        folder,
        deployment.max_num_tokens,
        deployment.route,
        converts=deployment.convert is not None,
        answer_tokens=deployment.answer_tokens,
        pooling=deployment.pooling,
        max_seq_len=deployment.max_seq_len,
    )
    files, model, spec = inspection.files, inspection.model, inspection.spec
    warnings = tuple(check_keys(folder, deployment.route))
    _check_base_model(deployment, spec)
    dtype, dtype_reason = choose_dtype(deployment, spec)
    tokenizer = convert_tokenizer(files.root, spec, inspection.tokenizer, files.sentence)
    tensors: Mapping[str, Array] = read_checkpoint(files.root)
    if files.answer_tokens:
        tensors = files.answer_tokens.tensors(tensors)
    spec, tensors = tie(tensors, model.family, spec, files.config)
    matched = match_tensors(tensors, model.family, model.kind, spec, inspection.computed)
    modules = match_modules(inspection.module_steps, spec)
    parts, computed = {**matched.parts, **modules.parts}, {**matched.computed, **modules.computed}

    def planned(quantization: str, input_magnitudes: Mapping[str, Floats]) -> Planned:
        storage = choose_storage(spec, dtype, deployment.target, QUANTIZATIONS.get(quantization))
        manifest = _manifest(deployment, folder, inspection, tokenizer, spec, storage, quantization)
        decisions = _decisions(deployment, inspection, manifest, matched, tokenizer.decisions)
        report = (*decisions, Decision("dtype", manifest.dtype, dtype_reason), *warnings)
        tensors = plan_tensors(spec, parts, computed, inspection.adjusted, storage, input_magnitudes)
        return msgspec.structs.replace(manifest, report=report), tensors

    def written(done: int, total: int) -> None:
        progress("write", done, total)

    original = planned(NO_QUANTIZATION, {})
    if deployment.quantization == NO_QUANTIZATION:
        write_engine_dir(out, *original, tokenizer.content, progress=written)
        return open_engine_dir(out, verify=False)
    quantized, calibrate = partial(planned, deployment.quantization), _required(calibrate, deployment.quantization)
    write_quantized(out, original, quantized, tokenizer.content, written, calibrate=calibrate, measure=measure)
    return open_engine_dir(out, verify=False)


def _required(calibrate: Calibrate | None, quantization: str) -> Calibrate | None:
    """`calibrate` if a quantization type requires it, or None. Raises ValueError if it is required and missing."""
    if not QUANTIZATIONS[quantization].quantizes_inputs:
        return None
    if calibrate is None:
        raise ValueError(f"{quantization} needs a function that calibrates it")
    return calibrate


def _manifest(
    deployment: Deployment,
    folder: Path,
    inspection: Inspection,
    tokenizer: ConvertedTokenizer,
    spec: ModelSpec,
    storage: dict[str, Storage],
    quantization: str,
) -> Manifest:
    """The manifest, without a report. Raises ConfigError for a default route that the model does not support."""
    return Manifest(
        openbei_version=__version__,
        model_name=deployment.model_name,
        source=_source(deployment, folder),
        spec=spec,
        normalize=inspection.normalize,
        labels=inspection.model.labels,
        activation=inspection.model.activation,
        dimensions=inspection.dimensions,
        similarity=inspection.similarity,
        prompts=inspection.prompts,
        text_template=inspection.text_template,
        late_interaction=inspection.late_interaction,
        score_template=inspection.pairs.template,
        has_unsupported_template=inspection.pairs.is_unsupported,
        max_terms=inspection.max_terms,
        double_log=inspection.double_log,
        unk_token_id=tokenizer.unk_token_id,
        has_token_types=tokenizer.has_token_types,
        truncation_direction=tokenizer.truncation_direction,
        example_input=deployment.example_input,
        requires_api_key=deployment.requires_api_key,
        target=deployment.target,
        storage=storage,
        quantization=quantization,
        max_sequence_tokens=inspection.max_sequence_tokens,
        max_num_tokens=inspection.max_num_tokens,
        default_route=_default_route(deployment, inspection),
        content_hash=content_hash(deployment, folder),
        report=(),
    )


def _check_target(deployment: Deployment) -> None:
    """Raise ConfigError for a build for GPUs that BEI also refuses, or whose GPU does not support the number format."""
    if deployment.target != "cuda":
        return
    if deployment.accelerator:
        check_accelerator(deployment.accelerator, deployment.quantization)
    if deployment.quantization == "smooth_quant":
        raise ConfigError(
            "quantization is 'smooth_quant', which is for CPUs", hint="use fp8, or build with --device cpu"
        )
    if deployment.base_model == "encoder_bert" and deployment.quantization != NO_QUANTIZATION:
        raise ConfigError(
            f"quantization is {deployment.quantization!r}; on GPUs, base_model encoder_bert supports only no_quant",
            hint="use no_quant, or build with --device cpu",
        )


def _check_base_model(deployment: Deployment, spec: ModelSpec) -> None:
    """Raises ConfigError for a causal model if base_model is that of bidirectional ones."""
    if deployment.base_model == "encoder_bert" and spec.attention.is_causal:
        raise ConfigError(
            f"trt_llm.build.base_model is 'encoder_bert', for bidirectional models; this {spec.family} is causal",
            hint="base_model: encoder",
        )


def _default_route(deployment: Deployment, inspection: Inspection) -> str:
    """Raises ConfigError for a route that the model does not support."""
    task = inspection.spec.task
    allowed = ROUTES[task] + ("/rerank",) * (inspection.pairs.template is not None)
    if inspection.pairs.is_unsupported:
        allowed = ("/predict",)
    if deployment.default_route not in (None, *allowed):
        raise ConfigError(
            f"trt_llm.runtime.webserver_default_route is {deployment.default_route}; "
            f"this {task.replace('_', ' ')} model answers {' or '.join(allowed)}"
        )
    return deployment.default_route or allowed[0]


def _decisions(
    deployment: Deployment,
    inspection: Inspection,
    manifest: Manifest,
    matched: Matched,
    tokenizer_decisions: tuple[Decision, ...],
) -> tuple[Decision, ...]:
    dropped = ", ".join(matched.dropped) or "none"
    task = inspection.spec.task.replace("_", " ")
    route_reason = "webserver_default_route" if deployment.default_route else f"default of {task} models"
    return (
        *inspection.decisions,
        *tokenizer_decisions,
        Decision("dropped tensors", dropped, "the answers do not depend on them"),
        *_about_tie(manifest.spec),
        *_about_max_seq_len(deployment, manifest.spec),
        *_about_quantization(manifest),
        Decision("default route", manifest.default_route, route_reason),
        Decision("target", manifest.target, "the device of the build"),
        *(note for note in deployment.notes if note.subject != "dtype"),
    )


def _about_tie(spec: ModelSpec) -> tuple[Decision, ...]:
    if not spec.is_tied:
        return ()
    return (Decision("last map", "the token embeddings, stored once", "tie_word_embeddings, or they are equal"),)


def _about_max_seq_len(deployment: Deployment, spec: ModelSpec) -> tuple[Decision, ...]:
    if deployment.max_seq_len is None or isinstance(spec.head, SequenceHead):
        return ()
    return (Decision("trt_llm.build.max_seq_len", "no effect", "it is for sequence classifiers and rerankers"),)


def _about_quantization(manifest: Manifest) -> Iterator[Decision]:
    """The quantized weights. Raises ConfigError if there are none."""
    if (quantization := QUANTIZATIONS.get(manifest.quantization)) is None:
        return
    count = sum(is_quantized(name, quantization) for name in manifest.storage)
    if count == 0:
        raise ConfigError(
            f"quantization is {manifest.quantization}, but this {manifest.spec.family} model has no layers",
            hint="use no_quant",
        )
    yield Decision("quantization", f"{quantization.format}, {count} weights", manifest.quantization)
    if quantization.note:
        yield Decision("quantization", f"as {manifest.quantization.replace('_kv', '')}", quantization.note)


def _source(deployment: Deployment, folder: Path) -> str:
    """`LOCAL /a/folder`, or `HF owner/name commit`: caches name a folder after its commit or version."""
    repository = deployment.repository
    version = [folder.name] * (repository.source != "LOCAL")
    return " ".join([repository.source, public_url(repository.repo), *version])
