"""Environment variables: the table of those that set an option of `bei serve`, and what becomes of a config's others.

Data and questions about it. The variables themselves are read in `openbei.config`.
"""

import ipaddress

from openbei.errors import ConfigError, did_you_mean

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
    "--access-log": ("OPENBEI_ACCESS_LOG",),
    "--otlp-endpoint": ("OPENBEI_OTLP_ENDPOINT", "OTLP_ENDPOINT"),
}
"""Option of `bei serve` → variables that set it; the first that is there counts. Short names are TEI's and BEI's."""

API_KEYS = OPTIONS["--api-key"]
KEYFILE_PASSWORD = "OPENBEI_SSL_KEYFILE_PASSWORD"  # noqa: S105
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "hf_access_token")
SECRETS = (*API_KEYS, KEYFILE_PASSWORD, *HUB_TOKENS)
"""Variables whose values are shown to nobody."""

BUILD: dict[str, tuple[str, ...]] = {
    "dtype": ("OPENBEI_DTYPE", "DTYPE"),
    "convert": ("OPENBEI_CONVERT", "CONVERT"),
    "route": ("OPENBEI_ROUTE", "ROUTE"),
    "pooling": ("OPENBEI_POOLING", "POOLING"),
}
"""What they decide of a build → variables. Of the process CONVERT and ROUTE do not count: any program may have them."""

WORDS = {
    "JSON_OUTPUT": {"true": "json", "1": "json", "false": "text", "0": "text"},
    "LOG_LEVEL": {"warn": "warning", "trace": "debug"},
}
"""Variable → TEI's words for ours."""

_PROCESS = "set it for the process of `bei`"
WITHOUT_EFFECT = {
    **dict.fromkeys(
        ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OPENBEI_CACHE"),
        f"caches belong to the machine; {_PROCESS}",
    ),
    **dict.fromkeys(
        ("HF_ENDPOINT", "HF_HUB_OFFLINE", "OPENBEI_OFFLINE"),
        f"what can be reached is the machine's affair; {_PROCESS}",
    ),
    "MAX_BATCH_REQUESTS": "a batch is bounded by its tokens: MAX_BATCH_TOKENS",
    "TOKENIZATION_WORKERS": "openbei starts as many as it can use",
    "PROMETHEUS_PORT": "/metrics is at the server's own port",
    "DISABLE_SPANS": "there are spans where --otlp-endpoint is given",
    "OTLP_SERVICE_NAME": "the traces' library reads OTEL_SERVICE_NAME of the process",
    "MODEL_ID": "the model is checkpoint_repository",
    "REVISION": "the revision is checkpoint_repository.revision",
    "RUST_LOG": "the level of the log is LOG_LEVEL",
}
"""Known variables of a config that change nothing here, and why."""

REFUSED = {
    "UDS_PATH": "openbei listens on a host and a port",
    "DENSE_PATH": "modules.json says what follows the pooling",
}
"""Variables of TEI that cannot be honoured."""

READ = frozenset(
    name for names in (*OPTIONS.values(), *BUILD.values(), SECRETS, WITHOUT_EFFECT, REFUSED) for name in names
)


def is_honoured_when_serving(name: str) -> bool:
    """Whether `bei serve` reads a config's variable of that name."""
    return name in SECRETS or any(name in names for names in OPTIONS.values())


def counts(name: str, value: str) -> bool:
    """Whether a variable of the process is meant for us.

    Shells, containers and compilers put names into HOST and HOSTNAME; Kubernetes puts tcp://… into …_PORT.
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


def refuse(name: str, value: str, where: str) -> None:
    """Raise ConfigError for a variable that cannot be honoured; `where` begins its name in the message."""
    if name in REFUSED:
        raise ConfigError(f"{where}{name} is set, but {REFUSED[name]}", hint="remove the variable")


def about(name: str) -> tuple[str, str] | None:
    """What becomes of a config's variable, and why; None for one that decides the build, which is told there.

    Raises ConfigError for a name that is a slip of the pen.
    """
    if any(name in names for names in BUILD.values()):
        return None
    if is_honoured_when_serving(name):
        return "for `bei serve`", "read when this config is served; an engine directory does not keep it"
    if name in WITHOUT_EFFECT:
        return "no effect", WITHOUT_EFFECT[name]
    hint = did_you_mean(name, READ)
    if hint or name.startswith("OPENBEI_"):
        raise ConfigError(f"environment_variables.{name} is unknown", hint=hint or "docs/cli.md lists them")
    return "no effect", f"openbei does not know it; for a library, {_PROCESS}"
