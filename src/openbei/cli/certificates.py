"""Validation of TLS files before a model is built or loaded. Errors name the option."""

import ssl
from pathlib import Path

from openbei.api.connections.tls import Tls
from openbei.errors import ConfigError


def check_certificates(tls: Tls) -> None:
    """Raise ConfigError for files that cannot be read, have other content, or do not match."""
    _check_pem("--ssl-certfile", tls.certfile, b"CERTIFICATE")
    _check_pem("--ssl-keyfile", tls.keyfile or tls.certfile, b"PRIVATE KEY")
    if tls.ca_certs:
        _check_pem("--ssl-ca-certs", tls.ca_certs, b"CERTIFICATE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certfile, tls.keyfile, lambda: tls.keyfile_password or "")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(_problem(tls, error), hint=_hint(error)) from None
    if tls.ca_certs:
        try:
            context.load_verify_locations(tls.ca_certs)
        except ssl.SSLError as error:
            raise ConfigError(f"--ssl-ca-certs {tls.ca_certs} cannot be used: {error.reason or error}") from None


def _check_pem(option: str, path: Path, kind: bytes) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be read: {error.strerror}") from error
    if kind + b"-----" not in content:
        is_der = content[:1] == b"\x30"
        missing = "certificate" if kind == b"CERTIFICATE" else "private key"
        raise ConfigError(
            f"{option} {path} has no {missing} in PEM, the text that begins with -----BEGIN",
            hint="this looks like DER: openssl converts it, with -inform der" if is_der else None,
        )


def _problem(tls: Tls, error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return f"the key in {tls.keyfile or tls.certfile} is not that of the certificate in {tls.certfile}"
    if b"ENCRYPTED" in (tls.keyfile or tls.certfile).read_bytes():
        given = "does not open it" if tls.keyfile_password else "is not set"
        return f"the key in {tls.keyfile or tls.certfile} is encrypted, and OPENBEI_SSL_KEYFILE_PASSWORD {given}"
    return f"the certificates cannot be used: {reason}"


def _hint(error: Exception) -> str:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return "the server's certificate comes first in its file, then those that signed it"
    return "check --ssl-certfile, --ssl-keyfile and OPENBEI_SSL_KEYFILE_PASSWORD"
