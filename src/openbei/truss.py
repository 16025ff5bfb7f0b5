"""The Truss config.yaml schema: the keys that are read, and the known keys that have no effect or are refused.

An unknown key is an error. `openbei.config` makes a Deployment of the result.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from openbei.errors import ConfigError, did_you_mean
from openbei.secrets import DEFAULT_NAME

Source = Literal["HF", "LOCAL", "S3", "GCS", "AZURE", "REMOTE_URL", "BASETEN_TRAINING"]
Route = Literal["/v1/embeddings", "/rerank", "/predict", "/predict_tokens"]
Quantization = Literal[
    "no_quant",
    "weights_int8",
    "weights_kv_int8",
    "weights_int4",
    "weights_int4_kv_int8",
    "smooth_quant",
    "fp8",
    "fp8_kv",
    "fp8_mlp_only",
    "fp4",
    "fp4_kv",
    "fp4_mlp_only",
]


class Section(msgspec.Struct, frozen=True):
    """A mapping in the file; its fields are the keys that are read."""


class CheckpointRepository(Section, frozen=True, kw_only=True):
    """Where the checkpoint is: `repo` is a Hub id (HF), a folder (LOCAL), or the URL of a folder or an archive."""

    source: Source = "HF"
    repo: str
    revision: str | None = None
    runtime_secret_name: str = DEFAULT_NAME


class Build(Section, frozen=True, kw_only=True):
    """`trt_llm.build`."""

    base_model: str | None = None
    checkpoint_repository: CheckpointRepository
    max_num_tokens: Annotated[int, msgspec.Meta(ge=65, le=1048576)] | None = None
    max_seq_len: Annotated[int, msgspec.Meta(ge=1, le=1048576)] | None = None
    quantization_type: Quantization = "no_quant"


class Runtime(Section, frozen=True, kw_only=True):
    """`trt_llm.runtime`."""

    webserver_default_route: Route | None = None


class TrtLlm(Section, frozen=True, kw_only=True):
    """`trt_llm`."""

    inference_stack: str = "v1"
    build: Build
    runtime: Runtime = Runtime()


class Resources(Section, frozen=True, kw_only=True):
    """`resources`: the GPU, such as H100 or H100:2."""

    accelerator: str | None = None


class Config(Section, frozen=True, kw_only=True):
    """The whole file. `model_metadata.example_model_input` is the example request in the API's documentation."""

    model_name: str | None = None
    model_metadata: dict[str, Any] = {}
    environment_variables: dict[str, str | int | float | bool] = {}
    resources: Resources = Resources()
    trt_llm: TrtLlm


MAX_SHOWN = 200
"""Maximum characters of an invalid value in a message."""


def _reasons(reason: str, keys: str, prefix: str = "") -> dict[str, str]:
    """Dotted path -> reason, for space-separated keys."""
    return {prefix + key: reason for key in keys.split()}


WITHOUT_EFFECT: dict[str, str] = {
    **_reasons(
        "describes the model",
        "description examples_filename spec_version input_type model_framework model_type",
    ),
    **_reasons(
        "a setting of the hosting platform",
        "bis_llm build_commands build docker_server live_reload runtime training_checkpoints "
        "trt_llm.version_overrides resources.cpu resources.memory resources.use_gpu resources.instance_type "
        "resources.node_count",
    ),
    **_reasons(
        "`bei` runs in the environment it is installed in",
        "apply_library_patches base_image packages_dir bundled_packages_dir external_package_dirs python_version "
        "requirements requirements_file system_packages use_local_src",
    ),
    **_reasons(
        "openbei does not run a model repository's code", "model_class_filename model_class_name model_module_dir"
    ),
    **_reasons(
        "the checkpoint comes from trt_llm.build.checkpoint_repository",
        "bdn cache_internal data_dir external_data hf_cache model_cache weights",
    ),
    "secrets": "the checkpoint's secret is runtime_secret_name, in TRUSS_SECRET_NAME or /secrets/NAME",
    **_reasons(
        "a setting of GPU engine builds",
        "gather_all_token_logits max_prompt_embedding_table_size moe_expert_parallel_option num_builder_gpus "
        "pipeline_parallel_count plugin_configuration quantization_config sequence_parallel_count skip_build_result "
        "strongly_typed tensor_parallel_count",
        prefix="trt_llm.build.",
    ),
    "trt_llm.build.max_batch_size": "batches are limited by max_num_tokens",
    "trt_llm.build.lora_configuration": "LoRA adapters are not supported",
    "trt_llm.build.max_beam_width": "a setting of text generation",
    **_reasons(
        "a setting of text generation",
        "batch_scheduler_policy enable_chunked_context kv_cache_free_gpu_mem_fraction kv_cache_host_memory_bytes "
        "request_default_max_tokens total_token_limit lora_cache_gpu_memory_fraction lora_cache_host_memory_bytes "
        "lora_cache_max_adapter_size lora_cache_optimal_adapter_size",
        prefix="trt_llm.runtime.",
    ),
    "trt_llm.runtime.served_model_name": "the served name is model_name",
}
"""Dotted path of a key without effect -> why. The build report lists those that a file sets."""

OTHER_ROUTES = {"/v1/systemone": "a route that embedding models do not have"}
"""Default routes that truss knows, and that are refused → why."""

REFUSED: dict[str, str] = {
    "trt_llm.build.lora_adapters": "LoRA adapters are not supported",
    "trt_llm.build.speculator": "speculative decoding is for text generation",
}
"""Dotted path of an unsupported key that would change the model's output -> why it is refused."""


def read_config(raw: object) -> tuple[Config, dict[str, str]]:
    """Parse a decoded file. Returns it, and the keys it sets that have no effect: dotted path -> reason.

    Raises ConfigError for an unknown or refused key, a wrong type, or a value out of range.
    """
    unknown, without_effect = [], {}
    for path, known_paths in _keys_outside_schema(raw, Config, ""):
        if path in REFUSED:
            raise ConfigError(f"{path} is set, but {REFUSED[path]}", hint="remove the key")
        if path in WITHOUT_EFFECT:
            without_effect[path] = WITHOUT_EFFECT[path]
        else:
            unknown.append((path, did_you_mean(path, known_paths)))
    _check_values(raw)
    if unknown:
        hints = [hint for _, hint in unknown if hint]
        raise ConfigError(f"unknown key: {', '.join(path for path, _ in unknown)}", hint=" ".join(hints) or None)
    try:
        return msgspec.convert(raw, Config), without_effect
    except msgspec.ValidationError as error:
        raise ConfigError(_describe(str(error), raw)) from error


def _check_values(raw: object) -> None:
    """Raise ConfigError for values that the schema would refuse without saying what they are."""
    variables = raw.get("environment_variables") if isinstance(raw, Mapping) else None
    for name, value in variables.items() if isinstance(variables, Mapping) else ():
        if not isinstance(value, str | int | float):
            problem = "null" if value is None else "a list or a mapping"
            raise ConfigError(f"environment_variables.{name} is {problem}; it must be text, a number, true or false")
    route = raw
    for key in ("trt_llm", "runtime", "webserver_default_route"):
        route = route.get(key) if isinstance(route, Mapping) else None
    if isinstance(route, str) and route in OTHER_ROUTES:
        raise ConfigError(
            f"trt_llm.runtime.webserver_default_route is {route}, {OTHER_ROUTES[route]}",
            hint=f"use one of {', '.join(get_args(Route))}",
        )


def _keys_outside_schema(raw: object, section: type[Section], prefix: str) -> Iterator[tuple[str, list[str]]]:
    """Dotted paths of keys that are not fields, each with the known paths of the same section."""
    if not isinstance(raw, Mapping):
        return
    fields = {prefix + field.name: field.type for field in msgspec.structs.fields(section)}
    others = [path for path in (*WITHOUT_EFFECT, *REFUSED) if path.rpartition(".")[0] == prefix[:-1]]
    for key, value in raw.items():
        path = f"{prefix}{key}"
        if path not in fields:
            if value not in (None, "", [], {}) or path not in others:
                yield path, [*fields, *others]
        elif isinstance(kind := fields[path], type) and issubclass(kind, Section):
            yield from _keys_outside_schema(value, kind, f"{path}.")


def _describe(message: str, raw: object) -> str:
    """Turn msgspec's "Expected `int` - at `$.a.b`" into "a.b is 'x': expected `int`", or the values of an enum."""
    problem, _, location = message.partition(" - at `$")
    path = location.strip("`.")
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
    """The values of a Literal or an optional Literal."""
    return next((get_args(each) for each in [kind, *get_args(kind)] if get_origin(each) is Literal), ())
