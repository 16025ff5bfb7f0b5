"""Credentials for an object store: from a secret, or else from the variables of its cloud, or else none.

The metadata address from which cloud machines get credentials (169.254.169.254) is used only if the environment
allows it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from openbei.errors import ConfigError
from openbei.locations import Location, StoreKind
from openbei.secrets import DEFAULT_NAME, Secrets

SECRET_KEYS: dict[StoreKind, dict[str, str]] = {
    "S3": {
        "access_key_id": "access_key_id",
        "aws_access_key_id": "access_key_id",
        "secret_access_key": "secret_access_key",
        "aws_secret_access_key": "secret_access_key",
        "session_token": "session_token",
        "aws_session_token": "session_token",
        "region": "region",
        "aws_region": "region",
        "aws_default_region": "region",
        "endpoint": "endpoint",
        "endpoint_url": "endpoint",
        "aws_endpoint_url": "endpoint",
        "virtual_hosted_style_request": "virtual_hosted_style_request",
    },
    "AZURE": {
        "account_name": "account_name",
        "account_key": "account_key",
        "sas_token": "sas_key",
        "client_id": "client_id",
        "client_secret": "client_secret",
        "tenant_id": "tenant_id",
        "endpoint": "endpoint",
        "use_emulator": "use_emulator",
    },
}
"""Kind of store → key of the secret's JSON → obstore's option. A secret for GCS is the JSON of a service account."""

REQUIRED: dict[StoreKind, tuple[tuple[str, ...], ...]] = {
    "S3": (("access_key_id", "secret_access_key"),),
    "GCS": (("client_email", "private_key"), ("gcs_base_url",)),
    "AZURE": (("account_key",), ("sas_token",), ("client_id", "client_secret", "tenant_id"), ("use_emulator",)),
}
"""Alternatives of keys that a secret must have."""

SIGNING_VARIABLES: dict[StoreKind, tuple[str, ...]] = {
    "S3": ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    "GCS": (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
    ),
    "AZURE": (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_MASTER_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_STORAGE_CLIENT_SECRET",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_STORAGE_USE_EMULATOR",
    ),
}
"""Variables that carry credentials. One of them is enough to sign requests."""

OPTION_VARIABLES: dict[StoreKind, tuple[str, ...]] = {
    "S3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
        "AWS_REQUEST_PAYER",
        "AWS_METADATA_ENDPOINT",
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_KMS_KEY_ID",
    ),
    "GCS": SIGNING_VARIABLES["GCS"],
    "AZURE": (
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_MASTER_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_STORAGE_CLIENT_ID",
        "AZURE_STORAGE_CLIENT_SECRET",
        "AZURE_STORAGE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_TENANT_ID",
        "AZURE_AUTHORITY_HOST",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_STORAGE_ENDPOINT",
        "AZURE_ENDPOINT",
        "AZURE_STORAGE_USE_EMULATOR",
    ),
}
"""Variables that obstore takes as options; it reads further ones from the process itself. Others have no effect."""

CA_BUNDLE = "AWS_CA_BUNDLE"

_PREFIX: dict[StoreKind, str] = {"S3": "AWS_", "GCS": "GOOGLE_", "AZURE": "AZURE_"}


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to open a store, with obstore's `options`. `described` says in words where the credentials come from.

    `provider` returns the credentials of a secret. As options, the variables of the process would override them.
    `ca_bundle` is the path of additional certificates to trust.
    """

    options: dict[str, Any] = field(repr=False)
    described: str
    hint: str
    provider: Callable[[], dict[str, Any]] | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    hidden: tuple[str, ...] = field(default=(), repr=False)

    @property
    def allows_http(self) -> bool:
        """Whether the endpoint was explicitly given without TLS."""
        given = {name.lower(): str(value) for name, value in self.options.items()}
        uses_emulator = {given.get("use_emulator"), given.get("azure_storage_use_emulator")} & {"true", "1"}
        endpoints = ("endpoint", "endpoint_url", "service_account_key")
        return bool(uses_emulator) or any("http://" in given[name] for name in given if name.endswith(endpoints))

    def without_secrets(self, text: str) -> str:
        """A text in which the values of secrets are replaced."""
        for value in self.hidden:
            text = text.replace(value, "…")
        return text


def access_to(location: Location, secrets: Secrets, secret_name: str | None) -> Access:
    """Credentials for a location. Raises ConfigError for a secret that does not fit the kind of store."""
    kind = location.kind
    cloud = dict(secrets.cloud)
    if endpoint := cloud.get("AWS_ENDPOINT_URL_S3"):
        cloud["AWS_ENDPOINT_URL"] = endpoint
    options: dict[str, Any] = {name: str(cloud[name]) for name in OPTION_VARIABLES[kind] if name in cloud}
    has_variable = any(name in cloud for name in SIGNING_VARIABLES[kind])
    hint = f"set {' or '.join(SIGNING_VARIABLES[kind][:1])} or runtime_secret_name to credentials that can read it"
    if secret := _secret_options(kind, secrets, secret_name):
        options |= secret
        described, hint = f"with the secret {secret_name}", f"check the secret {secret_name}"
    elif has_variable:
        described = f"with the credentials in {_PREFIX[kind]}… variables"
    elif secrets.uses_metadata:
        described = "with the credentials of this machine"
    else:
        options["skip_signature"] = "true"
        described = "without credentials"
        if secret_name not in (None, DEFAULT_NAME):
            described += f": there is no secret in {secrets.places(secret_name or '')}"
    if location.account:
        options["account_name"] = location.account
    elif kind == "AZURE" and not _account(options):
        raise ConfigError(
            f"{location} names no storage account",
            hint="use azure://account/container/path, or set account_name in the secret or AZURE_STORAGE_ACCOUNT_NAME",
        )
    hidden = tuple(str(value) for value in options.values() if len(str(value)) > 5)
    provider = _provider(kind, options) if secret else None
    ca_bundle = cloud.get(CA_BUNDLE) if kind == "S3" else None
    return Access(
        options=options, described=described, hint=hint, provider=provider, ca_bundle=ca_bundle, hidden=hidden
    )


def _provider(kind: StoreKind, options: dict[str, Any]) -> Callable[[], dict[str, Any]] | None:
    """A function that returns the keys of a secret, which are removed from the options; None for other credentials."""
    credential: dict[str, Any] = {}
    if kind == "S3":
        credential = {
            "access_key_id": options.pop("access_key_id"),
            "secret_access_key": options.pop("secret_access_key"),
            "token": options.pop("session_token", None),
        }
    elif "account_key" in options:
        credential = {"access_key": options.pop("account_key")}
    elif "sas_key" in options:
        credential = {"sas_token": options.pop("sas_key")}
    return (lambda: {**credential, "expires_at": None}) if credential else None


def _account(options: dict[str, Any]) -> object:
    return next(
        (options[name] for name in ("account_name", "AZURE_STORAGE_ACCOUNT_NAME", "use_emulator") if name in options),
        None,
    )


def _secret_options(kind: StoreKind, secrets: Secrets, name: str | None) -> dict[str, Any]:
    """obstore's options of the secret, empty if there is none. Messages never show a value."""
    secret = secrets.find(name) if name else None
    if not secret or name is None:
        return {}
    try:
        content = msgspec.json.decode(secret.encode(), type=dict[str, str | bool | None])
    except msgspec.MsgspecError:
        if name == DEFAULT_NAME:
            return {}  # the default name, which usually has a token for the Hub
        raise ConfigError(
            f"the secret {name} is not JSON with text values", hint=f"for {kind}: {_required_keys(kind)}"
        ) from None
    if kind == "GCS":
        given = content
        options: dict[str, Any] = {"service_account_key": str(secret)}
    else:
        unknown = sorted(key for key in content if key not in SECRET_KEYS[kind])
        if unknown:
            known = ", ".join(SECRET_KEYS[kind])
            raise ConfigError(f"the secret {name} has an unknown key {unknown[0][:100]!r}", hint=f"known are {known}")
        options = {SECRET_KEYS[kind][key]: value for key, value in content.items() if value not in (None, "")}
        names = {option: key for key, option in reversed(SECRET_KEYS[kind].items())}
        given = {names[option]: value for option, value in options.items()}
    if not any(all(given.get(key) is not None for key in keys) for keys in REQUIRED[kind]):
        raise ConfigError(f"the secret {name} lacks keys for {kind}", hint=f"it must have {_required_keys(kind)}")
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in options.items()}


def _required_keys(kind: StoreKind) -> str:
    return ", or ".join(" and ".join(keys) for keys in REQUIRED[kind])
