"""Formats of texts in a Truss config. Each function returns what is wrong with a text, or None."""

import ipaddress
import re

from openbei.errors import ConfigError
from openbei.locations import check_hub_id

ACCELERATORS = (
    *("B10", "T4", "L4", "A10G", "V100", "A100", "A100_40GB", "H100", "H200", "H100_40GB", "B200", "L40S"),
    *("RTX_PRO_6000", "B300", "GB300"),
)
PYTHON_VERSIONS = ("py39", "py310", "py311", "py312", "py313", "py314")
SCHEMES = ("azure://", "cw://", "gs://", "hf://", "https://", "r2://", "s3://")

_MEMORY_UNITS = ("k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_LABEL = r"[A-Za-z0-9*](?:[A-Za-z0-9*-]{0,61}[A-Za-z0-9*])?"


def accelerator(text: str) -> str | None:
    """H100, or H100:2 for two."""
    name, _, count = text.strip().partition(":")
    if name not in ACCELERATORS:
        return f"the accelerator must be one of {', '.join(ACCELERATORS)}"
    if ":" in text and not (count.isdigit() and int(count) > 0) and text.count(":") == 1:
        return "the number of accelerators must be at least 1"
    return None


def cpu(text: str) -> str | None:
    """A number, or millicpus such as 500m."""
    return None if _is_numeric(text) or re.fullmatch(r"[0-9.]*m", text) else "it must be a number or millicpus: 500m"


def memory(text: str) -> str | None:
    """A number with a unit."""
    match = re.fullmatch(r"[0-9.]*([A-Za-z]+)?", text)
    if _is_numeric(text) or (match and match[1] in _MEMORY_UNITS):
        return None
    return f"it must be a number with a unit: {', '.join(_MEMORY_UNITS)}"


def hub_id(text: str) -> str | None:
    """The name of a repository on the Hub, with or without an owner."""
    try:
        check_hub_id(text)
    except ConfigError:
        return "it must be a Hub id, owner/name"
    return None


def digits_first(text: str) -> str | None:
    """A version, such as 1.8.16."""
    return None if text[:1].isdigit() else "it must start with a digit"


def version(text: str) -> str | None:
    """A version of a Python package."""
    is_version = re.fullmatch(
        r"\s*v?(\d+!)?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview|post|dev)[-_.]?\d*)*\s*", text
    )
    return None if is_version else "it must be a version, such as 0.9.0"


def not_empty(text: str) -> str | None:
    """Any text but an empty one."""
    return None if text else "it must not be empty"


def absolute_path(text: str) -> str | None:
    """A path that starts with /."""
    return None if text.startswith("/") else "it must be an absolute path"


def absolute_or_empty(text: str) -> str | None:
    """An absolute path, or none."""
    return absolute_path(text) if text else None


def not_one_letter(text: str) -> str | None:
    """A revision in model_cache."""
    return "it must be empty or have at least 2 characters" if len(text) == 1 else None


def weights_source(text: str) -> str | None:
    """A URI in `weights`."""
    scheme, separator, rest = text.partition("://")
    if f"{scheme}{separator}" not in SCHEMES:
        return f"it must start with one of {', '.join(SCHEMES)}"
    if not rest or rest.startswith("/"):
        return f"it must be {scheme}:// and a location"
    if "@" in rest and scheme not in ("hf", "https"):
        return "only hf:// has revisions"
    return None


def bdn_source(text: str) -> str | None:
    """A volume of the Baseten Delivery Network."""
    match = re.fullmatch(r"bdn:[^/:@\0]{1,256}/[^/:@\0]{1,256}(:[^/:@\0]{1,256}|@(b3:)?[0-9a-fA-F]{12,64})?", text)
    return None if match and ".." not in text else "it must be bdn:namespace/volume, with :tag or @digest"


def bdn_path(text: str) -> str | None:
    """Where a volume is mounted."""
    is_path = text.startswith("/") and text.strip("/") and ".." not in text.split("/") and "\0" not in text
    return None if is_path else "it must be an absolute path other than /"


def bdn_name(text: str) -> str | None:
    """A namespace."""
    return None if re.fullmatch(r"[^/\0]{1,256}", text) and ".." not in text else "it must be a name without slashes"


def bdn_pattern(text: str) -> str | None:
    """A pattern of files in a volume."""
    parts = text.removesuffix("/").split("/")
    is_pattern = text and text == text.strip() and not re.search(r"[\\\0]", text) and not {"", ".", ".."} & set(parts)
    return None if is_pattern else "it must be a relative pattern"


def build_secret(name: str) -> str | None:
    """The name of a secret that a build may read."""
    is_name = re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", name) and name not in (".", "..")
    return None if is_name or name.startswith("DOCKER_REGISTRY_") else "it is not a valid name of a secret"


def adapter_name(name: str) -> str | None:
    """The name of an adapter."""
    return None if re.fullmatch(r"[a-zA-Z0-9_\-.:]+", name) else "it is not a valid name of an adapter"


def network(text: str) -> str | None:
    """An IPv4 address or range."""
    try:
        ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return "it must be an IPv4 address or range"
    return None


def domain(text: str) -> str | None:
    """A domain name, with wildcards."""
    return None if re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text) else "it must be a domain name"


def _is_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
