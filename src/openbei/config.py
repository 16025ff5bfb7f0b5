"""Configuration: a Truss config.yaml or a model's name -> Deployment, and the process environment -> Environment.

Every default is in this file, and nothing else reads environment variables; `openbei.variables` has their names.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import msgspec

from openbei import variables as names
from openbei.device import DeviceChoice
from openbei.errors import ConfigError
from openbei.spec import DType
from openbei.truss import CheckpointRepository, Config, Route, read_config
from openbei.yaml_file import read_yaml

DEFAULT_MAX_NUM_TOKENS = {"encoder": 16384, "encoder_bert": 8192}
"""By base_model; a model without a config is an `encoder` if it is causal."""
DEFAULT_DTYPE: DType = "bfloat16"
_T = TypeVar("_T")

Conversion = Literal["lm-head"]
"""What a build can make of a checkpoint first: of a generative reranker a classifier, by the rows of its lm_head."""

PoolingChoice = Literal["cls", "mean", "last-token", "splade"]
"""How to pool a checkpoint without modules.json, in TEI's words."""


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the build report: what was decided about a subject, and why.

    A warning tells what a checkpoint says and nothing follows.
    """

    subject: str
    decision: str
    reason: str
    is_warning: bool = False


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """All that a build and a server need to know of a config, every default applied.

    `base_model` is what the config says that the model is; None where there is no config, and then `max_num_tokens`
    None is the default for what it is. `route` is the route of a Router to build; None for its default. `pooling` is
    that of a checkpoint without modules.json. `needs_key` says that the config has API keys, which are not kept here.
    """

    model_name: str
    base_model: str | None
    repository: CheckpointRepository
    route: str | None = None
    dtype: DType
    max_num_tokens: int | None
    default_route: Route | None
    convert: Conversion | None = None
    pooling: PoolingChoice | None = None
    needs_key: bool = False
    example_input: Any = None
    notes: tuple[Decision, ...] = ()


def load_config(path: Path) -> Deployment:
    """Read a config.yaml. A LOCAL `repo` is relative to the file's folder. Raises ConfigError."""
    return _deployment(read_yaml(path), path.parent)


def load_variables(path: Path) -> dict[str, str]:
    """The environment variables of a config.yaml that count when it is served, secrets included. Raises ConfigError."""
    config, _ = read_config(read_yaml(path))
    return {name: value for name, value in _variables(config).items() if names.is_honoured_when_serving(name)}


def with_dtype(deployment: Deployment, dtype: DType | None) -> Deployment:
    """The deployment with the dtype that the process's environment asks for, if it does."""
    if dtype is None:
        return deployment
    told = Decision("dtype", dtype, "the environment variable DTYPE")
    notes = tuple(told if note.subject == "dtype" else note for note in deployment.notes)
    return msgspec.structs.replace(deployment, dtype=dtype, notes=notes)


def deployment_for_model(model: str) -> Deployment:
    """The deployment of a local folder, or else a Hub id, with a config's defaults. Raises ConfigError."""
    is_folder = model != "" and Path(model).expanduser().is_dir()
    if not is_folder and not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", model):
        raise ConfigError(f"{model!r} is neither a folder nor the id of a model", hint="such as owner/name")
    repository = {"source": "LOCAL" if is_folder else "HF", "repo": model}
    build = {"base_model": "encoder_bert", "checkpoint_repository": repository}
    as_bert = _deployment({"trt_llm": {"build": build}}, Path())
    notes = tuple(note for note in as_bert.notes if note.subject != "max_num_tokens")
    return msgspec.structs.replace(as_bert, base_model=None, max_num_tokens=None, notes=notes)


def _deployment(raw: dict[str, Any], folder: Path) -> Deployment:
    config, idle = read_config(raw)
    build, repository = config.trt_llm.build, config.trt_llm.build.checkpoint_repository
    base_model = _check_base_model(config)
    if repository.source == "LOCAL":
        path = (folder / Path(repository.repo).expanduser()).resolve()
        repository = msgspec.structs.replace(repository, repo=str(path))
    name = Path(repository.repo).name if repository.source == "LOCAL" else repository.repo
    variables = _variables(config)
    dtype_variable = _chosen(variables, "dtype")
    dtype = _choice(variables, "dtype", DType) or DEFAULT_DTYPE
    max_num_tokens = build.max_num_tokens or DEFAULT_MAX_NUM_TOKENS[base_model]
    dtype_reason = f"environment_variables.{dtype_variable[0]}" if dtype_variable else "the default on a CPU"
    tokens_reason = "trt_llm.build.max_num_tokens" if build.max_num_tokens else f"the default of {base_model}"
    notes = [Decision("dtype", dtype, dtype_reason), Decision("max_num_tokens", str(max_num_tokens), tokens_reason)]
    if "source" not in raw["trt_llm"]["build"]["checkpoint_repository"]:
        notes.append(Decision("checkpoint_repository.source", repository.source, "the default"))
    return Deployment(
        model_name=_printable(config.model_name) or name,
        base_model=base_model,
        repository=repository,
        dtype=dtype,
        max_num_tokens=max_num_tokens,
        default_route=config.trt_llm.runtime.webserver_default_route,
        convert=_choice(variables, "convert", Conversion),
        pooling=_choice(variables, "pooling", PoolingChoice),
        route=_route(config),
        needs_key=any(name in variables for name in names.API_KEYS),
        example_input=config.model_metadata.get("example_model_input"),
        notes=(
            *notes,
            *(Decision(path, "no effect", reason) for path, reason in idle.items()),
            *_about_variables(variables),
        ),
    )


def _printable(model_name: str | None) -> str | None:
    if model_name and not model_name.isprintable():
        raise ConfigError(f"model_name is {model_name[:200]!r}; it must not have control characters")
    return model_name


def _check_base_model(config: Config) -> str:
    stack, base_model = config.trt_llm.inference_stack, config.trt_llm.build.base_model
    quantization = config.trt_llm.build.quantization_type
    allowed = " or ".join(DEFAULT_MAX_NUM_TOKENS)
    if stack != "v1":
        raise ConfigError(
            f"trt_llm.inference_stack is {stack!r}; only 'v1' serves embeddings",
            hint="'v2' is the stack of text generation" if stack == "v2" else None,
        )
    if base_model is None:
        raise ConfigError(f"trt_llm.build.base_model is missing: {allowed}", hint="for BERT models: encoder_bert")
    if base_model not in DEFAULT_MAX_NUM_TOKENS:
        raise ConfigError(
            f"trt_llm.build.base_model is {base_model!r}; it must be {allowed}",
            hint="'decoder' generates text; openbei serves embedding models" if base_model == "decoder" else None,
        )
    if quantization != "no_quant":
        reason = "encoder_bert takes no quantization" if base_model == "encoder_bert" else "not implemented yet"
        raise ConfigError(f"trt_llm.build.quantization_type is {quantization!r}: {reason}", hint="use no_quant")
    return base_model


def _variables(config: Config) -> dict[str, str]:
    """A config's environment variables as a process would have them. Raises ConfigError for a secret that is none."""
    for name, value in config.environment_variables.items():
        if name in names.SECRETS and not (isinstance(value, str) and value.strip(" ,")):
            what = "is empty" if isinstance(value, str) else "is a number or a switch; YAML changes how those look"
            raise ConfigError(f"environment_variables.{name} {what}", hint="put the secret in quotes, or remove it")
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in config.environment_variables.items()
    }


def _chosen(variables: Mapping[str, _T], subject: str) -> tuple[str, _T] | None:
    """Name and value of the variable that decides a subject of the build."""
    return next(((name, variables[name]) for name in names.BUILD[subject] if name in variables), None)


def _choice(variables: Mapping[str, str], subject: str, kind: Any) -> Any:  # noqa: ANN401
    """One of a literal's values, or None."""
    found = _chosen(variables, subject)
    if found is None or found[1] in get_args(kind):
        return found and found[1]
    raise ConfigError(f"environment_variables.{found[0]} is {found[1]!r}; it can be {' or '.join(get_args(kind))}")


def _route(config: Config) -> str | None:
    if (found := _chosen(config.environment_variables, "route")) is None:
        return None
    name, value = found
    if isinstance(value, str) and value:
        return value
    raise ConfigError(f"environment_variables.{name} is {value!r}; it is the name of a Router's route")


def _about_variables(variables: Mapping[str, str]) -> list[Decision]:
    """What becomes of the variables that do not decide the build. No value of a secret is in it."""
    for name, value in variables.items():
        names.refuse(name, value, "environment_variables.")
    told = {name: names.about(name) for name in variables}
    return [Decision(f"environment_variables.{name}", *about) for name, about in told.items() if about]


class Secret(str):
    """A string that does not show itself in a repr, so in no log."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret()"


class Given(NamedTuple):
    """What a variable says; `name` tells where it is, too."""

    name: str
    variable: str
    value: str


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Every environment variable that openbei honours; None where unset. An empty variable is an unset one.

    `options` are those of `bei serve`, by the option, in the variable's words; keys and passwords are not among them.
    """

    device: DeviceChoice | None
    isa: str | None
    threads: int | None
    backend: str | None
    dtype: DType | None
    pooling: PoolingChoice | None
    convert: Conversion | None
    route: str | None
    cache: Path
    hf_endpoint: str | None
    hf_token: Secret | None
    is_offline: bool
    hf_cache: Path
    api_keys: tuple[Secret, ...]
    config_api_keys: tuple[Secret, ...]
    ssl_keyfile_password: Secret | None
    options: dict[str, Given]

    @classmethod
    def read(cls, variables: Mapping[str, str], of_config: Mapping[str, str] | None = None) -> "Environment":
        """Parse a process environment. What `load_variables` gives of a config counts where the process says nothing.

        Raises ConfigError, naming the variable.
        """
        own, both = _Layers({}, variables), _Layers(of_config or {}, variables)
        for name in names.REFUSED:
            if value := variables.get(name, "").strip():
                names.refuse(name, value, "the environment variable ")
        caches = own.get(_path, "XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        hf_home = own.get(_path, "HF_HOME") or caches / "huggingface"
        return cls(
            device=both.get(_one_of(DeviceChoice), "OPENBEI_DEVICE"),
            isa=both.get(str, "OPENBEI_ISA"),
            threads=both.get(_count, "OPENBEI_THREADS"),
            backend=both.get(str, "OPENBEI_BACKEND"),
            dtype=own.get(_one_of(DType), *names.BUILD["dtype"]),
            pooling=own.get(_one_of(PoolingChoice), *names.BUILD["pooling"]),
            convert=own.get(_one_of(Conversion), "OPENBEI_CONVERT"),
            route=own.get(str, "OPENBEI_ROUTE"),
            cache=own.get(_path, "OPENBEI_CACHE") or caches / "openbei",
            hf_endpoint=own.get(_url, "HF_ENDPOINT"),
            hf_token=both.get(Secret, *names.HUB_TOKENS),
            is_offline=own.get(_switch, "OPENBEI_OFFLINE", "HF_HUB_OFFLINE") or False,
            hf_cache=own.get(_path, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") or hf_home / "hub",
            api_keys=_keys("the environment variable ", variables),
            config_api_keys=_keys("environment_variables.", of_config or {}),
            ssl_keyfile_password=both.get(Secret, names.KEYFILE_PASSWORD),
            options={
                option: given
                for option, known in names.OPTIONS.items()
                if option != "--api-key" and (given := both.find(*known))
            },
        )


class _Layers:
    """Variables of a process over those of a config."""

    def __init__(self, of_config: Mapping[str, str], of_process: Mapping[str, str]) -> None:
        self._layers = (
            ("the environment variable ", {n: v for n, v in of_process.items() if names.counts(n, v.strip())}),
            ("environment_variables.", of_config),
        )

    def find(self, *known: str) -> Given | None:
        """The first of the names that says something, in the first layer that has one."""
        for where, variables in self._layers:
            for name in known:
                if (value := variables.get(name, "")).strip():  # a prompt ends in a space
                    return Given(where + name, name, value if name.endswith("DEFAULT_PROMPT") else value.strip())
        return None

    def get(self, parse: Callable[[str], _T], *known: str) -> _T | None:
        """The same, parsed. Raises ConfigError, without the value if it is a secret."""
        if (given := self.find(*known)) is None:
            return None
        try:
            return parse(given.value)
        except ValueError as error:
            raise ConfigError(f"{given.name} is {given.value!r}; it must be {error}") from error


def _one_of(kind: Any) -> Callable[[str], Any]:  # noqa: ANN401
    def parse(value: str) -> str:
        if value not in get_args(kind):
            raise ValueError(" or ".join(get_args(kind)))
        return value

    return parse


def _path(value: str) -> Path:
    return Path(value).expanduser()


def _keys(where: str, variables: Mapping[str, str]) -> tuple[Secret, ...]:
    """All keys of all variables that hold some, which are separated by commas."""
    keys: list[Secret] = []
    for name in names.API_KEYS:
        parts = [part.strip() for part in variables.get(name, "").split(",")]
        if parts != [""] and not any(parts):
            raise ConfigError(f"{where}{name} is {variables[name]!r}; it must be keys, separated by commas")
        keys += (Secret(part) for part in parts if part)
    return tuple(keys)


def _count(value: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", value):
        raise ValueError("a whole number from 1 to 99999")
    return int(value)


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://\S+", value):
        raise ValueError("a URL that starts with http:// or https://")
    return value.rstrip("/")


def _switch(value: str) -> bool:
    states = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if value.lower() not in states:
        raise ValueError("one of " + ", ".join(states))
    return states[value.lower()]
