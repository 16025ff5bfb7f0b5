"""Rules of truss about several values of a Truss config together."""

from collections.abc import Iterator, Mapping
from typing import Any

from openbei.truss_check import texts
from openbei.truss_check.kinds import Problem, Rule

Values = Mapping[str, Any]

_WITHOUT_FP8 = ("A10G", "A100", "A100_40GB")
_WITHOUT_FP4 = (*_WITHOUT_FP8, "H100", "H100_40GB", "H200", "L4", "L40S")
_ONLY_BERT = ("T4", "V100")
_DEFAULT_USER = 60000


def hub_id(repository: Values, path: str) -> Iterator[Problem]:
    """The form of a Hub id."""
    repo = repository.get("repo")
    if repository.get("source") == "HF" and isinstance(repo, str) and (problem := texts.hub_id(repo)):
        yield f"{path}.repo", problem


def adapter_sizes(runtime: Values, path: str) -> Iterator[Problem]:
    """Sizes of the adapter cache."""
    optimal, largest = runtime.get("lora_cache_optimal_adapter_size"), runtime.get("lora_cache_max_adapter_size")
    if isinstance(optimal, int) and isinstance(largest, int) and optimal > largest:
        yield f"{path}.lora_cache_optimal_adapter_size", "it must not be above lora_cache_max_adapter_size"


def multiples_of_64(quantization: Values, path: str) -> Iterator[Problem]:
    """Sizes of the calibration."""
    for key in ("calib_size", "calib_max_seq_length"):
        if isinstance(quantization.get(key), int) and quantization[key] % 64:
            yield f"{path}.{key}", "it must be a multiple of 64"


def paged_attention(build: Values, path: str) -> Iterator[Problem]:
    """Paged attention needs a paged cache; truss turns both off for an encoder."""
    plugins = build.get("plugin_configuration")
    if not isinstance(plugins, Mapping) or build.get("base_model") == "encoder":
        return
    if plugins.get("paged_kv_cache", True) is False and plugins.get("use_paged_context_fmha", True) is True:
        yield f"{path}.plugin_configuration.use_paged_context_fmha", "it requires paged_kv_cache"


def adapter_cache(build: Values, path: str) -> Iterator[Problem]:
    """Keys of the section `runtime`."""
    for key in ("max_adapter_size", "optimal_adapter_size", "gpu_memory_fraction", "host_memory_bytes"):
        if f"lora_cache_{key}" in build:
            yield f"{path}.lora_cache_{key}", "it belongs under trt_llm.runtime"


def speculator(build: Values, path: str) -> Iterator[Problem]:
    """An encoder has no cache of keys and values, which a speculator needs."""
    if build.get("speculator") and build.get("base_model") == "encoder":
        yield f"{path}.speculator", "speculative decoding is for text generation"


def checkpoint_of_v1(trt_llm: Values, path: str) -> Iterator[Problem]:
    """What each inference stack requires."""
    build = trt_llm.get("build")
    if not isinstance(build, Mapping):
        return
    if trt_llm.get("inference_stack", "v1") == "v1" and build.get("checkpoint_repository") is None:
        yield f"{path}.build.checkpoint_repository", "it is required"
    if trt_llm.get("inference_stack") == "v2" and build.get("base_model", "decoder") != "decoder":
        yield f"{path}.build.base_model", "it must not be set for inference_stack v2"


def transport_kind(transport: Values, path: str) -> Iterator[Problem]:
    """A transport needs a kind, unless it is empty."""
    if transport and "kind" not in transport:
        yield f"{path}.kind", "it is required"


def auth(methods: tuple[str, ...], secret_key: str) -> Rule:
    """Keys that a method of authentication requires; it excludes those of other methods."""
    keys = {
        "AWS_OIDC": ("aws_oidc_role_arn", "aws_oidc_region"),
        "GCP_OIDC": ("gcp_oidc_service_account", "gcp_oidc_workload_id_provider"),
        "AWS_ASSUME_ROLE": ("aws_assume_role_arn", "aws_assume_role_region"),
        "CUSTOM_SECRET": (secret_key,),
        "GCP_SERVICE_ACCOUNT_JSON": (secret_key,),
    }

    def check(settings: Values, path: str) -> Iterator[Problem]:
        method = str(settings.get("auth_method", "")).upper()
        if "auth_method" in settings and method not in methods:
            yield f"{path}.auth_method", f"it must be one of {', '.join(methods)}"
        if method not in keys:
            return
        for key in {key for group in keys.values() for key in group}:
            is_set = settings.get(key) not in (None, "")
            if key in keys[method] and not is_set:
                yield f"{path}.{key}", f"auth_method {method} requires it"
            if key not in keys[method] and is_set:
                yield f"{path}.{key}", f"it must not be set with auth_method {method}"

    return check


def one_secret_name(source: Values, path: str) -> Iterator[Problem]:
    """A secret is named in one place."""
    settings = source.get("auth")
    if source.get("auth_secret_name") and isinstance(settings, Mapping) and settings.get("auth_secret_name"):
        yield f"{path}.auth_secret_name", "it must not be set both here and in auth"


def unique(list_key: str, key: str) -> Rule:
    """Items of a list have different values of a key."""

    def check(section: Values, path: str) -> Iterator[Problem]:
        items = section.get(list_key)
        seen: list[object] = []
        for index, item in enumerate(items if isinstance(items, list) else []):
            value = item.get(key) if isinstance(item, Mapping) else None
            if value is not None and value in seen:
                yield f"{path}.{list_key}[{index}].{key}", "it appears twice"
            seen.append(value)

    return check


def volume_folder(model: Values, path: str) -> Iterator[Problem]:
    """A volume has a folder, and for the Hub a revision."""
    if model.get("use_volume"):
        if not model.get("volume_folder"):
            yield f"{path}.volume_folder", "use_volume requires it"
        if model.get("kind") in (None, "hf") and not model.get("revision"):
            yield f"{path}.revision", "use_volume requires it"


def docker_server(server: Values, path: str) -> Iterator[Problem]:
    """A server needs a command, and runs neither as root nor as the default user."""
    if not server.get("no_build") and server.get("start_command") is None:
        yield f"{path}.start_command", "it is required unless no_build is true"
    if server.get("run_as_user_id") in (0, _DEFAULT_USER) and server.get("run_as_user_id") is not False:
        yield f"{path}.run_as_user_id", f"it must not be 0 or {_DEFAULT_USER}"


def no_cache(build: Values, path: str) -> Iterator[Problem]:
    """A key that truss has only as an option of its command line."""
    if build.get("no_cache") is True:
        yield f"{path}.no_cache", "it is the option --no-cache of truss push"


def one_kind_of_checkpoints(checkpoints: Values, path: str) -> Iterator[Problem]:
    """Checkpoints of training jobs, or of loops."""
    if checkpoints.get("artifact_references") and checkpoints.get("loops_checkpoint_ids"):
        yield f"{path}.loops_checkpoint_ids", "it must not be set together with artifact_references"


def one_of_each(config: Values, path: str) -> Iterator[Problem]:
    """Keys that exclude each other, and mount points that are the same."""
    for one, other in (("requirements", "requirements_file"), ("model_cache", "weights")):
        if config.get(one) and config.get(other):
            yield other, f"it must not be set together with {one}"
    mounts: list[object] = []
    weights = config.get("weights")
    for index, source in enumerate(weights if isinstance(weights, list) else []):
        mount = source.get("mount_location") if isinstance(source, Mapping) else None
        if mount is not None and mount in mounts:
            yield f"weights[{index}].mount_location", "it appears twice"
        mounts.append(mount)


def remote_ssh(config: Values, path: str) -> Iterator[Problem]:
    """SSH needs the default user."""
    runtime, server = config.get("runtime"), config.get("docker_server")
    settings = runtime.get("remote_ssh") if isinstance(runtime, Mapping) else None
    if not (isinstance(settings, Mapping) and isinstance(server, Mapping)):
        return
    if settings.get("enabled") is True and server.get("run_as_user_id") is not None:
        yield "runtime.remote_ssh.enabled", "it must not be set together with docker_server.run_as_user_id"


def accelerators(config: Values, path: str) -> Iterator[Problem]:
    """Accelerators for base models and number formats."""
    resources, trt_llm = config.get("resources"), config.get("trt_llm")
    build = trt_llm.get("build") if isinstance(trt_llm, Mapping) else None
    accelerator = resources.get("accelerator") if isinstance(resources, Mapping) else None
    if isinstance(accelerator, Mapping):
        accelerator = accelerator.get("accelerator")
    if not isinstance(accelerator, str) or not isinstance(build, Mapping):
        return
    name, quantization = accelerator.partition(":")[0], str(build.get("quantization_type", ""))
    if name in _ONLY_BERT:
        if build.get("base_model") != "encoder_bert":
            yield "resources.accelerator", f"{name} is only for encoder_bert"
    elif quantization.startswith("fp8") and name in _WITHOUT_FP8:
        yield "resources.accelerator", f"{name} has no fp8: use L4, H100 or newer"
    elif quantization.startswith("fp4") and name in _WITHOUT_FP4:
        yield "resources.accelerator", f"{name} has no fp4: use B200 or newer"
