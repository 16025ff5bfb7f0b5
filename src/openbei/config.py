"""Configuration: a Truss config.yaml or a model's name -> Deployment; the process environment -> Environment.

Only this file reads environment variables; `openbei.variables` has their names.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec

from openbei import variable_values as values
from openbei import variables as names
from openbei.accelerators import accelerator_notes, parse_accelerator
from openbei.device import Device, DeviceChoice, device_choice
from openbei.errors import ConfigError
from openbei.locations import check_location, is_archive, name_of, store_kind_of
from openbei.quantization import NO_QUANTIZATION, check_quantization
from openbei.secrets import DEFAULT_NAME, PREFIX, Secret, Secrets, cloud_variables, named_secrets
from openbei.spec import DType
from openbei.truss import CheckpointRepository, Config, Route, read_config
from openbei.variables import Variable
from openbei.yaml_file import read_yaml

DEFAULT_MAX_NUM_TOKENS = {"encoder": 16384, "encoder_bert": 8192}
"""By base_model. Without a config, a causal model is an `encoder`, and any other an `encoder_bert`."""
_T = TypeVar("_T")

Conversion = Literal["lm-head"]
"""Conversions before a build. lm-head: a generative reranker to a classifier, by the rows of its lm_head."""

CloudCredentials = Literal["variables", "metadata"]
"""Where credentials for object stores come from. metadata: also from the address of the machine's cloud."""

PoolingChoice = Literal["cls", "mean", "last-token", "splade"]
"""The pooling of a checkpoint without modules.json, with TEI's names."""


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the build report: a decision about a subject, and the reason.

    A warning is about something in the checkpoint that is not honoured.
    """

    subject: str
    decision: str
    reason: str
    is_warning: bool = False


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A config with all defaults applied, and the device to build for.

    Without a config, `base_model` and `max_num_tokens` are None; the build chooses the default of `max_num_tokens`, and
    of `dtype`. `accelerator` is the GPU that the config names.
    `max_seq_len` limits the sequences of classifiers and rerankers.
    `route` is the Router's route to build, None for its default. `pooling` is for a checkpoint without modules.json.
    `answer_tokens`, separated by commas, become the labels of a converted reranker.
    `requires_api_key` says that the config sets API keys, which are not stored here.
    """

    model_name: str
    base_model: str | None
    repository: CheckpointRepository
    target: Device = "cpu"
    accelerator: str | None = None
    route: str | None = None
    dtype: DType | None
    quantization: str = NO_QUANTIZATION
    max_num_tokens: int | None
    max_seq_len: int | None = None
    default_route: Route | None
    convert: Conversion | None = None
    answer_tokens: str | None = None
    pooling: PoolingChoice | None = None
    requires_api_key: bool = False
    example_input: Any = None
    notes: tuple[Decision, ...] = ()


def load_config(path: Path) -> Deployment:
    """Read a config.yaml. A LOCAL `repo` is relative to the file's folder. Raises ConfigError."""
    return _deployment(read_yaml(path), path.parent)


def load_variables(path: Path) -> dict[str, str]:
    """The environment variables of a config.yaml that `bei serve` reads, including secrets. Raises ConfigError."""
    config, _ = read_config(read_yaml(path))
    return {name: value for name, value in _variables(config).items() if names.is_honoured_when_serving(name)}


def load_num_gpus(path: Path) -> int:
    """The number of GPUs that a config.yaml names. Raises ConfigError."""
    config, _ = read_config(read_yaml(path))
    return parse_accelerator(config.resources.accelerator)[1] if config.resources.accelerator else 1


def deployment_for_model(model: str) -> Deployment:
    """The deployment of a local folder, a Hub id or a URL, with default settings. Raises ConfigError."""
    is_folder = model != "" and Path(model).expanduser().is_dir()
    source = store_kind_of(model) or ("REMOTE_URL" if is_archive(model) else None)
    if not source and not is_folder and not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", model):
        raise ConfigError(f"{model!r} is neither a folder nor a Hub id", hint="Hub ids have the form owner/name")
    repository = {"source": source or ("LOCAL" if is_folder else "HF"), "repo": model}
    build = {"base_model": "encoder_bert", "checkpoint_repository": repository}
    as_bert = _deployment({"trt_llm": {"build": build}}, Path())
    notes = tuple(note for note in as_bert.notes if note.subject != "max_num_tokens")
    return msgspec.structs.replace(as_bert, base_model=None, max_num_tokens=None, notes=notes)


def _deployment(raw: dict[str, Any], folder: Path) -> Deployment:
    config, without_effect = read_config(raw)
    build, repository = config.trt_llm.build, config.trt_llm.build.checkpoint_repository
    base_model = _check_base_model(config)
    if repository.source == "LOCAL":
        path = (folder / Path(repository.repo).expanduser()).resolve()
        repository = msgspec.structs.replace(repository, repo=str(path))
    name = repository.repo if repository.source == "HF" else name_of(repository.repo)
    check_location(repository.source, repository.repo)
    variables = _variables(config)
    dtype_variable = _find_variable(variables, "dtype")
    dtype = _choice(variables, "dtype", DType)
    quantization = build.quantization_type
    check_quantization(quantization, dtype)
    accelerator = accelerator_notes(config.resources.accelerator, quantization, dtype)
    max_num_tokens = build.max_num_tokens or DEFAULT_MAX_NUM_TOKENS[base_model]
    tokens_reason = "trt_llm.build.max_num_tokens" if build.max_num_tokens else f"the default of {base_model}"
    notes = [Decision("max_num_tokens", str(max_num_tokens), tokens_reason)]
    if dtype_variable:
        notes.insert(0, Decision("dtype", dtype, f"environment_variables.{dtype_variable[0]}"))
    if "source" not in raw["trt_llm"]["build"]["checkpoint_repository"]:
        notes.append(Decision("checkpoint_repository.source", repository.source, "the default"))
    return Deployment(
        model_name=_printable(config.model_name) or name,
        base_model=base_model,
        repository=repository,
        accelerator=config.resources.accelerator,
        dtype=dtype,
        quantization=quantization,
        max_num_tokens=max_num_tokens,
        max_seq_len=build.max_seq_len,
        default_route=config.trt_llm.runtime.webserver_default_route,
        convert=_choice(variables, "convert", Conversion),
        answer_tokens=_text(config, "answer_tokens", "tokens separated by commas"),
        pooling=_choice(variables, "pooling", PoolingChoice),
        route=_text(config, "route", "the name of a Router's route"),
        requires_api_key=any(name in variables for name in names.API_KEYS),
        example_input=config.model_metadata.get("example_model_input"),
        notes=(
            *notes,
            *(Decision("resources.accelerator", *note) for note in accelerator),
            *(Decision(path, "no effect", reason) for path, reason in without_effect.items()),
            *_variable_notes(variables),
        ),
    )


def _printable(model_name: str | None) -> str | None:
    if model_name and not model_name.isprintable():
        raise ConfigError(f"model_name is {model_name[:200]!r}; it must not contain control characters")
    return model_name


def _check_base_model(config: Config) -> str:
    stack, base_model = config.trt_llm.inference_stack, config.trt_llm.build.base_model
    allowed = " or ".join(DEFAULT_MAX_NUM_TOKENS)
    if stack != "v1":
        raise ConfigError(
            f"trt_llm.inference_stack is {stack!r}; only 'v1' serves embeddings",
            hint="'v2' is for text generation" if stack == "v2" else None,
        )
    if base_model is None:
        raise ConfigError(f"trt_llm.build.base_model is missing: {allowed}", hint="for BERT models: encoder_bert")
    if base_model not in DEFAULT_MAX_NUM_TOKENS:
        raise ConfigError(
            f"trt_llm.build.base_model is {base_model!r}; it must be {allowed}",
            hint="'decoder' is for text generation" if base_model == "decoder" else None,
        )
    return base_model


def _variables(config: Config) -> dict[str, str]:
    """A config's environment variables as strings. Raises ConfigError for a secret that is empty or not a string."""
    for name, value in config.environment_variables.items():
        if (name in names.SECRETS or name.startswith(PREFIX)) and not (isinstance(value, str) and value.strip(" ,")):
            problem = "is empty" if isinstance(value, str) else "is not a string, so YAML may have changed it"
            raise ConfigError(f"environment_variables.{name} {problem}", hint="quote the secret, or remove it")
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in config.environment_variables.items()
    }


def _find_variable(variables: Mapping[str, _T], subject: str) -> tuple[str, _T] | None:
    """Name and value of the variable for a setting of the build."""
    return next(((name, variables[name]) for name in names.BUILD[subject] if name in variables), None)


def _choice(variables: Mapping[str, str], subject: str, kind: Any) -> Any:  # noqa: ANN401
    """The value of a setting of the build, one of the Literal `kind`, or None if unset. Raises ConfigError."""
    if (found := _find_variable(variables, subject)) is None:
        return None
    name, value = found
    if value in get_args(kind):
        return value
    raise ConfigError(f"environment_variables.{name} is {value!r}; it must be {' or '.join(get_args(kind))}")


def _text(config: Config, subject: str, required: str) -> str | None:
    """The value of a setting of the build, a string; None if unset. Raises ConfigError."""
    found = _find_variable(config.environment_variables, subject)
    if found is None:
        return None
    name, value = found
    if isinstance(value, str) and value:
        return value
    raise ConfigError(f"environment_variables.{name} is {value!r}; it must be {required}")


def _variable_notes(variables: Mapping[str, str]) -> list[Decision]:
    """The effects of variables that are not settings of the build, without their values."""
    for name, value in variables.items():
        names.check_supported(name, value, "environment_variables.")
    effects = {name: names.effect_of(name) for name in variables}
    return [Decision(f"environment_variables.{name}", *effect) for name, effect in effects.items() if effect]


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """All environment variables that openbei reads; None if unset or empty.

    `options` has the variables for options of `bei serve`, by option, except keys and passwords. `num_gpus` is the
    number of GPUs that a config names.
    """

    device: DeviceChoice | None
    num_gpus: int = 1
    isa: str | None
    threads: int | None
    backend: str | None
    dtype: DType | None
    quantization: str | None
    pooling: PoolingChoice | None
    convert: Conversion | None
    answer_tokens: str | None
    route: str | None
    cache: Path
    kernel_cache: Path
    hf_endpoint: str | None
    hf_token: Secret | None
    secrets: Secrets
    secret_name: str
    is_offline: bool
    hf_cache: Path
    api_keys: tuple[Secret, ...]
    config_api_keys: tuple[Secret, ...]
    ssl_keyfile_password: Secret | None
    options: dict[str, Variable]

    @classmethod
    def read(cls, variables: Mapping[str, str], config_variables: Mapping[str, str] | None = None) -> "Environment":
        """Parse a process environment. `config_variables`, from `load_variables`, apply if the process has none.

        Raises ConfigError, naming the variable.
        """
        process = _VariableLookup({}, variables)
        both = _VariableLookup(config_variables or {}, variables)
        for name in names.REFUSED:
            if value := variables.get(name, "").strip():
                names.check_supported(name, value, "the environment variable ")
        caches = process.get(values.path, "XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        cache = process.get(values.path, "OPENBEI_CACHE") or caches / "openbei"
        merged = {**(config_variables or {}), **variables}
        hf_home = process.get(values.path, "HF_HOME") or caches / "huggingface"
        return cls(
            device=both.get(device_choice, "OPENBEI_DEVICE"),
            isa=both.get(str, "OPENBEI_ISA"),
            threads=both.get(values.count, "OPENBEI_THREADS"),
            backend=both.get(str, "OPENBEI_BACKEND"),
            dtype=process.get(values.one_of(DType), *names.BUILD["dtype"]),
            quantization=process.get(str, *names.BUILD["quantization"]),
            pooling=process.get(values.one_of(PoolingChoice), *names.BUILD["pooling"]),
            convert=process.get(values.one_of(Conversion), "OPENBEI_CONVERT"),
            answer_tokens=process.get(str, "OPENBEI_ANSWER_TOKENS"),
            route=process.get(str, "OPENBEI_ROUTE"),
            cache=cache,
            kernel_cache=process.get(values.path, "TRITON_CACHE_DIR") or cache / "kernels",
            hf_endpoint=process.get(values.url, "HF_ENDPOINT"),
            hf_token=both.get(Secret, *names.HUB_TOKENS),
            secret_name=process.get(str, "OPENBEI_SECRET_NAME") or DEFAULT_NAME,
            secrets=Secrets(
                by_name=named_secrets(merged),
                folder=process.get(values.path, "OPENBEI_SECRETS") or Path("/secrets"),
                cloud=cloud_variables(merged),
                uses_metadata=process.get(values.one_of(CloudCredentials), "OPENBEI_CLOUD_CREDENTIALS") == "metadata",
            ),
            is_offline=process.get(values.switch, "OPENBEI_OFFLINE", "HF_HUB_OFFLINE") or False,
            hf_cache=process.get(values.path, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") or hf_home / "hub",
            api_keys=_keys("the environment variable ", variables),
            config_api_keys=_keys("environment_variables.", config_variables or {}),
            ssl_keyfile_password=both.get(Secret, names.KEYFILE_PASSWORD),
            options={
                option: variable
                for option, aliases in names.OPTIONS.items()
                if option != "--api-key" and (variable := both.find(*aliases))
            },
        )


class _VariableLookup:
    """Lookup of variables in the process, then in a config."""

    def __init__(self, config_variables: Mapping[str, str], process_variables: Mapping[str, str]) -> None:
        intended = {name: value for name, value in process_variables.items() if names.is_intended(name, value.strip())}
        self._sources = (("the environment variable ", intended), ("environment_variables.", config_variables))

    def find(self, *aliases: str) -> Variable | None:
        """The first alias that is set, in the process before the config."""
        for prefix, variables in self._sources:
            for name in aliases:
                if (value := variables.get(name, "")).strip():
                    is_prompt = name.endswith("DEFAULT_PROMPT")  # prompts usually end in a space
                    return Variable(prefix + name, name, value if is_prompt else value.strip())
        return None

    def get(self, parse: Callable[[str], _T], *aliases: str) -> _T | None:
        """The parsed value of the first alias that is set. Raises ConfigError; `parse` never fails for secrets."""
        if (variable := self.find(*aliases)) is None:
            return None
        try:
            return parse(variable.value)
        except ValueError as error:
            raise ConfigError(f"{variable.source} is {variable.value!r}; it must be {error}") from error


def _keys(prefix: str, variables: Mapping[str, str]) -> tuple[Secret, ...]:
    """The API keys in all variables, separated by commas. Raises ConfigError; `prefix` precedes the name."""
    keys: list[Secret] = []
    for name in names.API_KEYS:
        parts = [part.strip() for part in variables.get(name, "").split(",")]
        if parts != [""] and not any(parts):
            raise ConfigError(f"{prefix}{name} is {variables[name]!r}; it must be keys, separated by commas")
        keys += (Secret(part) for part in parts if part)
    return tuple(keys)
