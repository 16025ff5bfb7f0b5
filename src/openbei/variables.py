"""Names of environment variables: those that set options of `bei serve`, and those with another or no effect.

Their values are read in `openbei.config`.
"""

import ipaddress
from typing import NamedTuple

from openbei.errors import ConfigError, did_you_mean
from openbei.secrets import CLOUD_PREFIXES, PREFIX


class Variable(NamedTuple):
    """A variable that is set; `source` is its name with where it is set, for messages."""

    source: str
    name: str
    value: str


OPTIONS: dict[str, tuple[str, ...]] = {
    "--host": ("OPENBEI_HOST", "HOST", "HOSTNAME"),
    "--port": ("OPENBEI_PORT", "PORT"),
    "--out": ("OPENBEI_OUT",),
    "--device": ("OPENBEI_DEVICE",),
    "--backend": ("OPENBEI_BACKEND",),
    "--isa": ("OPENBEI_ISA",),
    "--threads": ("OPENBEI_THREADS",),
    "--served-model-name": ("OPENBEI_SERVED_MODEL_NAME", "SERVED_MODEL_NAME"),
    "--default-prompt": ("OPENBEI_DEFAULT_PROMPT", "DEFAULT_PROMPT"),
    "--default-prompt-name": ("OPENBEI_DEFAULT_PROMPT_NAME", "DEFAULT_PROMPT_NAME"),
    "--max-batch-tokens": ("OPENBEI_MAX_BATCH_TOKENS", "MAX_BATCH_TOKENS"),
    "--max-queue-tokens": ("OPENBEI_MAX_QUEUE_TOKENS",),
    "--max-concurrent-requests": ("OPENBEI_MAX_CONCURRENT_REQUESTS", "MAX_CONCURRENT_REQUESTS"),
    "--engine-timeout-s": ("OPENBEI_ENGINE_TIMEOUT_S",),
    "--cache-mb": ("OPENBEI_CACHE_MB",),
    "--verify": ("OPENBEI_VERIFY",),
    "--front-processes": ("OPENBEI_FRONT_PROCESSES",),
    "--max-client-batch-size": ("OPENBEI_MAX_CLIENT_BATCH_SIZE", "MAX_CLIENT_BATCH_SIZE"),
    "--payload-limit-bytes": ("OPENBEI_PAYLOAD_LIMIT_BYTES", "PAYLOAD_LIMIT"),
    "--max-inflated-bytes": ("OPENBEI_MAX_INFLATED_BYTES",),
    "--max-bodies-bytes": ("OPENBEI_MAX_BODIES_BYTES",),
    "--auto-truncate": ("OPENBEI_AUTO_TRUNCATE", "AUTO_TRUNCATE"),
    "--shutdown-timeout-s": ("OPENBEI_SHUTDOWN_TIMEOUT_S",),
    "--max-connections": ("OPENBEI_MAX_CONNECTIONS",),
    "--max-connections-per-address": ("OPENBEI_MAX_CONNECTIONS_PER_ADDRESS",),
    "--keep-alive-s": ("OPENBEI_KEEP_ALIVE_S",),
    "--max-connection-age-s": ("OPENBEI_MAX_CONNECTION_AGE_S",),
    "--request-timeout-s": ("OPENBEI_REQUEST_TIMEOUT_S",),
    "--body-timeout-s": ("OPENBEI_BODY_TIMEOUT_S",),
    "--drain-s": ("OPENBEI_DRAIN_S",),
    "--log-level": ("OPENBEI_LOG_LEVEL", "LOG_LEVEL"),
    "--log-format": ("OPENBEI_LOG_FORMAT", "JSON_OUTPUT"),
    "--log-to": ("OPENBEI_LOG_TO",),
    "--rerank-order": ("OPENBEI_RERANK_ORDER",),
    "--api-key": ("OPENBEI_API_KEY", "API_KEY"),
    "--api-key-file": ("OPENBEI_API_KEY_FILE",),
    "--guard-health": ("OPENBEI_GUARD_HEALTH",),
    "--open-metrics": ("OPENBEI_OPEN_METRICS",),
    "--cors-allow-origin": ("OPENBEI_CORS_ALLOW_ORIGIN", "CORS_ALLOW_ORIGIN"),
    "--ssl-certfile": ("OPENBEI_SSL_CERTFILE",),
    "--ssl-keyfile": ("OPENBEI_SSL_KEYFILE",),
    "--ssl-ca-certs": ("OPENBEI_SSL_CA_CERTS",),
    "--no-compression": ("OPENBEI_NO_COMPRESSION",),
    "--no-page": ("OPENBEI_NO_PAGE",),
    "--access-log": ("OPENBEI_ACCESS_LOG",),
    "--otlp-endpoint": ("OPENBEI_OTLP_ENDPOINT", "OTLP_ENDPOINT"),
}
"""Option of `bei serve` → variables that set it, in order of precedence. Names without OPENBEI_ are TEI's and BEI's."""

API_KEYS = OPTIONS["--api-key"]
KEYFILE_PASSWORD = "OPENBEI_SSL_KEYFILE_PASSWORD"  # noqa: S105
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "hf_access_token")
SECRETS = (*API_KEYS, KEYFILE_PASSWORD, *HUB_TOKENS)
"""Variables whose values are never shown or logged."""

BUILD: dict[str, tuple[str, ...]] = {
    "dtype": ("OPENBEI_DTYPE", "DTYPE"),
    "quantization": ("OPENBEI_QUANTIZATION",),
    "convert": ("OPENBEI_CONVERT", "CONVERT"),
    "answer_tokens": ("OPENBEI_ANSWER_TOKENS", "ANSWER_TOKENS"),
    "route": ("OPENBEI_ROUTE", "ROUTE"),
    "pooling": ("OPENBEI_POOLING", "POOLING"),
}
"""Setting of a build → variables. Other programs set CONVERT, ANSWER_TOKENS and ROUTE, so they
are only read from a config."""

VALUE_ALIASES = {
    "JSON_OUTPUT": {"true": "json", "1": "json", "false": "text", "0": "text"},
    "LOG_LEVEL": {"warn": "warning", "trace": "debug"},
}
"""Variable → TEI's value → value of the option."""

_PROCESS = "set it in the environment of the `bei` process"
WITHOUT_EFFECT = {
    **dict.fromkeys(
        (
            "HF_HOME",
            "HF_HUB_CACHE",
            "HUGGINGFACE_HUB_CACHE",
            "XDG_CACHE_HOME",
            "OPENBEI_CACHE",
            "TRITON_CACHE_DIR",
        ),
        f"caches are a setting of the machine; {_PROCESS}",
    ),
    **dict.fromkeys(
        ("HF_ENDPOINT", "HF_HUB_OFFLINE", "OPENBEI_OFFLINE"),
        f"access to the Hub is a setting of the machine; {_PROCESS}",
    ),
    **dict.fromkeys(
        ("OPENBEI_SECRETS", "OPENBEI_SECRET_NAME", "OPENBEI_CLOUD_CREDENTIALS"),
        f"where secrets are is a setting of the machine; {_PROCESS}",
    ),
    "MAX_BATCH_REQUESTS": "batches are limited by tokens: MAX_BATCH_TOKENS",
    "TOKENIZATION_WORKERS": "the number of workers is automatic",
    "PROMETHEUS_PORT": "/metrics uses the server's port",
    "DISABLE_SPANS": "tracing is only enabled by --otlp-endpoint",
    "OTLP_SERVICE_NAME": "the service name is OTEL_SERVICE_NAME in the environment of the `bei` process",
    "MODEL_ID": "the model is checkpoint_repository",
    "REVISION": "the revision is checkpoint_repository.revision",
    "RUST_LOG": "the log level is LOG_LEVEL",
}
"""Known variables without effect in a config -> why."""

REFUSED = {
    "UDS_PATH": "Unix domain sockets are not supported",
    "DENSE_PATH": "the modules after pooling are read from modules.json",
}
"""Unsupported variables of TEI that would change results -> why they are refused."""

KNOWN = frozenset(
    name for names in (*OPTIONS.values(), *BUILD.values(), SECRETS, WITHOUT_EFFECT, REFUSED) for name in names
)


def is_secret(name: str) -> bool:
    """Whether a variable's value is never shown or logged."""
    return name in SECRETS or name.startswith((PREFIX, *CLOUD_PREFIXES))


def is_honoured_when_serving(name: str) -> bool:
    """Whether `bei serve` reads this variable from a config."""
    return is_secret(name) or any(name in names for names in OPTIONS.values())


def is_intended(name: str, value: str) -> bool:
    """Whether an environment variable was set for openbei.

    Shells, containers and compilers set HOST and HOSTNAME to host names; Kubernetes sets …_PORT to tcp://….
    """
    if name.endswith("PORT"):
        return not value.startswith("tcp://")
    return name not in ("HOST", "HOSTNAME") or value == "localhost" or _is_address(value)


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def check_supported(name: str, value: str, prefix: str) -> None:
    """Raise ConfigError for an unsupported variable; `prefix` precedes its name in the message."""
    if name in REFUSED:
        raise ConfigError(f"{prefix}{name} is set, but {REFUSED[name]}", hint="remove the variable")


def effect_of(name: str) -> tuple[str, str] | None:
    """The effect of a config's variable, and the reason; None for settings of the build, which the build report lists.

    Raises ConfigError for an unknown name that resembles a known one.
    """
    if any(name in names for names in BUILD.values()):
        return None
    if is_honoured_when_serving(name):
        return "for `bei serve`", "read when this config is served; not stored in the engine directory"
    if name in WITHOUT_EFFECT:
        return "no effect", WITHOUT_EFFECT[name]
    hint = did_you_mean(name, KNOWN)
    if hint or name.startswith("OPENBEI_"):
        raise ConfigError(f"environment_variables.{name} is unknown", hint=hint or "docs/cli.md lists them")
    return "no effect", f"unknown to openbei; for a library, {_PROCESS}"
