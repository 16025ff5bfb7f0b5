"""The Truss config.yaml schema, as far as an encoder on a CPU needs it: the keys that count, and those that do not.

What is made of them is in `openbei.config`. A key that is in neither place is an error.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from openbei.errors import ConfigError, did_you_mean

Source = Literal["HF", "LOCAL", "S3", "GCS", "AZURE", "REMOTE_URL", "BASETEN_TRAINING"]
Route = Literal["/v1/embeddings", "/rerank", "/predict", "/predict_tokens"]
Quantization = Literal[
    "no_quant", "weights_int8", "weights_kv_int8", "weights_int4", "weights_int4_kv_int8", "smooth_quant",
    "fp8", "fp8_kv", "fp8_mlp_only", "fp4", "fp4_kv", "fp4_mlp_only",
]  # fmt: skip


class Section(msgspec.Struct, frozen=True):
    """A mapping of the file; its fields are the keys that have an effect."""


class CheckpointRepository(Section, frozen=True, kw_only=True):
    """Where the checkpoint is: `repo` is a Hub id (HF) or a folder (LOCAL)."""

    source: Source = "HF"
    repo: str
    revision: str | None = None


class Build(Section, frozen=True, kw_only=True):
    """`trt_llm.build`."""

    base_model: str | None = None
    checkpoint_repository: CheckpointRepository
    max_num_tokens: Annotated[int, msgspec.Meta(ge=65, le=1048576)] | None = None
    quantization_type: Quantization = "no_quant"


class Runtime(Section, frozen=True, kw_only=True):
    """`trt_llm.runtime`."""

    webserver_default_route: Route | None = None


class TrtLlm(Section, frozen=True, kw_only=True):
    """`trt_llm`."""

    inference_stack: str = "v1"
    build: Build
    runtime: Runtime = Runtime()


class Config(Section, frozen=True, kw_only=True):
    """The whole file. Of `model_metadata`, `example_model_input` becomes the example of the API's description."""

    model_name: str | None = None
    model_metadata: dict[str, Any] = {}
    environment_variables: dict[str, str | int | float | bool] = {}
    trt_llm: TrtLlm


MAX_SHOWN = 200
"""Characters of a wrong value that a message repeats."""

_PLATFORM = "read by a hosting platform; the machine that runs `bei` decides"
_MODEL_CODE = "openbei runs no code from a model's repository"
_PACKAGES = "`bei` runs in the environment it is installed in"
_GPU_BUILD = "a setting of GPU engine builds"
_GENERATION = "a setting of text generation; encoders keep no cache"

WITHOUT_EFFECT: dict[str, str] = {
    **dict.fromkeys(
        ("description", "examples_filename", "spec_version", "input_type", "model_framework",
         "model_type"), "describes the model to people and platforms"),
    "bdn": "volumes of a hosting platform; the checkpoint comes from trt_llm.build.checkpoint_repository",
    "bis_llm": "a setting of text generation on a hosting platform",
    **dict.fromkeys(
        ("build_commands", "build", "docker_server", "live_reload", "resources", "runtime", "training_checkpoints",
         "trt_llm.version_overrides"), _PLATFORM),
    **dict.fromkeys(
        ("apply_library_patches", "base_image", "packages_dir", "bundled_packages_dir", "external_package_dirs",
         "python_version", "requirements", "requirements_file", "system_packages", "use_local_src"), _PACKAGES),
    **dict.fromkeys(("model_class_filename", "model_class_name", "model_module_dir"), _MODEL_CODE),
    **dict.fromkeys(
        ("cache_internal", "data_dir", "external_data", "hf_cache", "model_cache", "weights"),
        "the checkpoint comes from trt_llm.build.checkpoint_repository"),
    "secrets": "secrets are read from the environment, such as HF_TOKEN",
    **{f"trt_llm.build.{key}": _GPU_BUILD for key in (
        "gather_all_token_logits", "max_prompt_embedding_table_size", "moe_expert_parallel_option",
        "num_builder_gpus", "pipeline_parallel_count", "plugin_configuration", "quantization_config",
        "sequence_parallel_count", "skip_build_result", "strongly_typed", "tensor_parallel_count")},
    "trt_llm.build.checkpoint_repository.runtime_secret_name": "the Hub's token is read from HF_TOKEN",
    "trt_llm.build.max_batch_size": "batches are bounded by max_num_tokens",
    "trt_llm.build.max_seq_len": "the checkpoint says how long a sequence may be",
    "trt_llm.build.lora_configuration": "there are no LoRA adapters",
    "trt_llm.build.max_beam_width": _GENERATION,
    **{f"trt_llm.runtime.{key}": _GENERATION for key in (
        "batch_scheduler_policy", "enable_chunked_context", "kv_cache_free_gpu_mem_fraction",
        "kv_cache_host_memory_bytes", "request_default_max_tokens", "total_token_limit",
        "lora_cache_gpu_memory_fraction", "lora_cache_host_memory_bytes", "lora_cache_max_adapter_size",
        "lora_cache_optimal_adapter_size")},
    "trt_llm.runtime.served_model_name": "the served name is model_name",
}  # fmt: skip
"""Known keys that change nothing here, by dotted path, and why; each that a file sets goes into the build report."""

REFUSED: dict[str, str] = {
    "trt_llm.build.lora_adapters": "LoRA adapters are not implemented",
    "trt_llm.build.speculator": "encoders generate nothing to speculate on",
}
"""Known keys that would change the answers, and cannot be honoured."""


def read_config(raw: object) -> tuple[Config, dict[str, str]]:
    """Check a decoded file. Returns it, and the set keys that have no effect with the reason, by dotted path.

    Raises ConfigError for a key that is unknown or cannot be honoured, a wrong type, a value out of range.
    """
    unknown, idle = [], {}
    for path, siblings in _foreign_keys(raw, Config, ""):
        if path in REFUSED:
            raise ConfigError(f"{path} is set, but {REFUSED[path]}", hint="remove the key")
        if path in WITHOUT_EFFECT:
            idle[path] = WITHOUT_EFFECT[path]
        else:
            unknown.append((path, did_you_mean(path, siblings)))
    if unknown:
        close = [hint for _, hint in unknown if hint]
        raise ConfigError(f"unknown key: {', '.join(path for path, _ in unknown)}", hint=" ".join(close) or None)
    try:
        return msgspec.convert(raw, Config), idle
    except msgspec.ValidationError as error:
        raise ConfigError(_in_words(str(error), raw)) from error


def _foreign_keys(raw: object, section: type[Section], prefix: str) -> Iterator[tuple[str, list[str]]]:
    """Dotted paths of set keys that are no field, each with the paths that it could have been."""
    if not isinstance(raw, Mapping):
        return
    fields = {prefix + field.name: field.type for field in msgspec.structs.fields(section)}
    tables = [path for path in (*WITHOUT_EFFECT, *REFUSED) if path.rpartition(".")[0] == prefix[:-1]]
    for key, value in raw.items():
        path = f"{prefix}{key}"
        if path not in fields:
            if value not in (None, "", [], {}) or path not in tables:
                yield path, [*fields, *tables]
        elif isinstance(kind := fields[path], type) and issubclass(kind, Section):
            yield from _foreign_keys(value, kind, f"{path}.")


def _in_words(message: str, raw: object) -> str:
    """`Expected `int` - at `$.a.b`` -> `a.b is 'x': expected `int``; of enums with the values that there are."""
    problem, _, place = message.partition(" - at `$")
    path = place.strip("`.")
    value: Any = raw
    kind: Any = Config
    for part in path.split(".") if path else []:
        value = value.get(part) if isinstance(value, Mapping) else None
        kind = get_type_hints(kind).get(part) if isinstance(kind, type) else None
    problem = problem[:1].lower() + problem[1:]
    if allowed := _values(kind):
        problem = f"it must be one of {', '.join(allowed)}"
    shown = repr(value) if len(repr(value)) <= MAX_SHOWN else f"{repr(value)[:MAX_SHOWN]}…"
    is_shown = not isinstance(value, Mapping) and not path.endswith("[...]")
    return f"{path} is {shown}: {problem}" if is_shown else f"{path or 'the file'}: {problem}"


def _values(kind: object) -> tuple[str, ...]:
    """The values of an enum, which may be optional."""
    kinds = [kind, *get_args(kind)]
    return next((get_args(one) for one in kinds if get_origin(one) is Literal), ())
