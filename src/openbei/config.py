"""Configuration: a Truss config.yaml or a model's name -> Deployment, and the process environment -> Environment.

Every default, and every environment variable that openbei honours, is in this file; nothing else reads them.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec

from openbei.errors import ConfigError
from openbei.spec import DType
from openbei.truss import CheckpointRepository, Config, Route, read_config

DEFAULT_MAX_NUM_TOKENS = {"encoder": 16384, "encoder_bert": 8192}
"""By base_model; a model without a config is an `encoder` if it is causal."""
DEFAULT_DTYPE: DType = "bfloat16"
READ_VARIABLES = ("DTYPE", "CONVERT", "ROUTE", "POOLING")
"""Environment variables of a config that decide what is built."""

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
    that of a checkpoint without modules.json.
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
    example_input: Any = None
    notes: tuple[Decision, ...] = ()


def load_config(path: Path) -> Deployment:
    """Read a config.yaml. A LOCAL `repo` is relative to the file's folder. Raises ConfigError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return _deployment(_parse_yaml(text, path), path.parent)


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


def _parse_yaml(text: str, path: Path) -> dict[str, Any]:
    import yaml  # a server started from an engine directory needs no YAML

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path} holds no mapping")
        _refuse_duplicates(node, path)
        return dict(loader.construct_document(node))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    finally:
        loader.dispose()


def _refuse_duplicates(node: object, path: Path) -> None:
    """PyYAML keeps the last of equal keys in silence."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if (name := key.value if isinstance(key, yaml.ScalarNode) else None) in seen:
                raise ConfigError(f"{path} line {key.start_mark.line + 1}: the key {name} is there twice")
            seen.add(name)
            _refuse_duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, path)


def _deployment(raw: dict[str, Any], folder: Path) -> Deployment:
    config, idle = read_config(raw)
    build, repository = config.trt_llm.build, config.trt_llm.build.checkpoint_repository
    base_model = _check_base_model(config)
    if repository.source == "LOCAL":
        path = (folder / Path(repository.repo).expanduser()).resolve()
        repository = msgspec.structs.replace(repository, repo=str(path))
    name = Path(repository.repo).name if repository.source == "LOCAL" else repository.repo
    dtype = _dtype(config)
    max_num_tokens = build.max_num_tokens or DEFAULT_MAX_NUM_TOKENS[base_model]
    dtype_reason = "environment_variables.DTYPE" if "DTYPE" in config.environment_variables else "the default on a CPU"
    tokens_reason = "trt_llm.build.max_num_tokens" if build.max_num_tokens else f"the default of {base_model}"
    notes = [Decision("dtype", dtype, dtype_reason), Decision("max_num_tokens", str(max_num_tokens), tokens_reason)]
    if "source" not in raw["trt_llm"]["build"]["checkpoint_repository"]:
        notes.append(Decision("checkpoint_repository.source", repository.source, "the default"))
    idle |= _idle_variables(config)
    return Deployment(
        model_name=config.model_name or name,
        base_model=base_model,
        repository=repository,
        dtype=dtype,
        max_num_tokens=max_num_tokens,
        default_route=config.trt_llm.runtime.webserver_default_route,
        convert=_choice(config, "CONVERT", Conversion),
        pooling=_choice(config, "POOLING", PoolingChoice),
        route=_route(config),
        example_input=config.model_metadata.get("example_model_input"),
        notes=(*notes, *(Decision(path, "no effect", reason) for path, reason in idle.items())),
    )


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


def _dtype(config: Config) -> DType:
    value = config.environment_variables.get("DTYPE", DEFAULT_DTYPE)
    for dtype in get_args(DType):
        if value == dtype:
            return dtype  # type: ignore[no-any-return]
    raise ConfigError(f"environment_variables.DTYPE is {value!r}; on a CPU it is {' or '.join(get_args(DType))}")


def _choice(config: Config, name: str, kind: Any) -> Any:  # noqa: ANN401
    """One of a literal's values, or None."""
    value = config.environment_variables.get(name)
    if value is None or value in get_args(kind):
        return value
    raise ConfigError(f"environment_variables.{name} is {value!r}; it can be {', '.join(get_args(kind))}")


def _route(config: Config) -> str | None:
    value = config.environment_variables.get("ROUTE")
    if value is None or (isinstance(value, str) and value):
        return value
    raise ConfigError(f"environment_variables.ROUTE is {value!r}; it is the name of a Router's route")


def _idle_variables(config: Config) -> dict[str, str]:
    """Variables that change nothing, with the reason, by dotted path."""
    variables = config.environment_variables
    if str(variables.get("AUTO_TRUNCATE", True)).lower() != "true":
        raise ConfigError(
            f"environment_variables.AUTO_TRUNCATE is {variables['AUTO_TRUNCATE']!r}; texts that are too long are "
            "truncated unless a request says otherwise",
            hint="remove the variable",
        )
    reason = "not read from the config; set it for the process of `bei`"
    return {f"environment_variables.{name}": reason for name in variables if name not in READ_VARIABLES}


class Secret(str):
    """A string that does not show itself in a repr, so in no log."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret()"


_T = TypeVar("_T")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Every environment variable that openbei honours; None where unset. An empty variable is an unset one."""

    isa: str | None
    threads: int | None
    backend: str | None
    cache: Path
    hf_endpoint: str | None
    hf_token: Secret | None
    hf_offline: bool
    hf_cache: Path
    api_keys: tuple[Secret, ...]
    ssl_keyfile_password: Secret | None

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Environment":
        """Parse a process environment. Raises ConfigError, naming the variable."""

        def get(name: str, parse: Callable[[str], _T]) -> _T | None:
            value = variables.get(name, "").strip()
            try:
                return parse(value) if value else None
            except ValueError as error:
                raise ConfigError(f"the environment variable {name} is {value!r}; it must be {error}") from error

        caches = get("XDG_CACHE_HOME", _path) or Path("~/.cache").expanduser()
        hf_home = get("HF_HOME", _path) or caches / "huggingface"
        tokens = (get(name, Secret) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "hf_access_token"))
        return cls(
            isa=get("OPENBEI_ISA", str),
            threads=get("OPENBEI_THREADS", _count),
            backend=get("OPENBEI_BACKEND", str),
            cache=get("OPENBEI_CACHE", _path) or caches / "openbei",
            hf_endpoint=get("HF_ENDPOINT", _url),
            hf_token=next((token for token in tokens if token), None),
            hf_offline=get("HF_HUB_OFFLINE", _switch) or False,
            hf_cache=get("HF_HUB_CACHE", _path) or hf_home / "hub",
            api_keys=(*(get("OPENBEI_API_KEY", _secrets) or ()), *(get("API_KEY", _secrets) or ())),
            ssl_keyfile_password=get("OPENBEI_SSL_KEYFILE_PASSWORD", Secret),
        )


def _path(value: str) -> Path:
    return Path(value).expanduser()


def _secrets(value: str) -> tuple[Secret, ...]:
    if not value.replace(",", "").strip():
        raise ValueError("keys, separated by commas")
    return tuple(Secret(part.strip()) for part in value.split(",") if part.strip())


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
