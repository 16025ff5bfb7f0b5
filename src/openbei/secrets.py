"""Secrets for checkpoint sources: TRUSS_SECRET_NAME, a file in the folder of secrets, or the variables of a cloud."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from openbei.errors import ConfigError

PREFIX = "TRUSS_SECRET_"
CLOUD_PREFIXES = ("AWS_", "GOOGLE_", "AZURE_")
DEFAULT_NAME = "hf_access_token"
"""The default of runtime_secret_name."""

MAX_SECRET_BYTES = 1 << 20


class Secret(str):
    """A string whose repr does not show it, to keep it out of logs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret()"


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """Where secrets come from; `folder` has a file for each secret.

    `cloud` has the variables of AWS, Google Cloud and Azure. `uses_metadata` allows requests to the metadata address
    from which cloud machines get credentials.
    """

    by_name: dict[str, Secret] = {}
    folder: Path = Path("/secrets")
    cloud: dict[str, Secret] = {}
    uses_metadata: bool = False

    def find(self, name: str) -> Secret | None:
        """The secret of a name, or None. Raises ConfigError for an invalid name or an unreadable file."""
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", name):
            raise ConfigError(f"runtime_secret_name is {name[:200]!r}; it may have only letters, digits, '_', '-', '.'")
        if (secret := self.by_name.get(name)) is not None:
            return secret
        path = self.folder / name
        try:
            if not path.is_file():
                return None
            with path.open("rb") as file:
                content = file.read(MAX_SECRET_BYTES + 1)
            if len(content) > MAX_SECRET_BYTES:
                raise ConfigError(f"the secret {path} is larger than the limit of {MAX_SECRET_BYTES:,} bytes")
            return Secret(content.decode().strip())
        except OSError as error:
            raise ConfigError(f"the secret {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"the secret {path} is not text in UTF-8") from error

    def places(self, name: str) -> str:
        """Where `find` looks, for messages."""
        return f"{PREFIX}{name} and {self.folder / name}"


def named_secrets(variables: Mapping[str, str]) -> dict[str, Secret]:
    """The secrets in variables TRUSS_SECRET_NAME, by name."""
    return {
        name.removeprefix(PREFIX): Secret(value.strip())
        for name, value in variables.items()
        if name.startswith(PREFIX) and value.strip()
    }


def cloud_variables(variables: Mapping[str, str]) -> dict[str, Secret]:
    """The variables of AWS, Google Cloud and Azure that are set."""
    return {
        name: Secret(value.strip())
        for name, value in variables.items()
        if name.startswith(CLOUD_PREFIXES) and value.strip()
    }
