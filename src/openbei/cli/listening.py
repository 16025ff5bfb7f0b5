"""Validation of host and port before a model is built or loaded."""

import errno
import socket

from openbei.errors import ConfigError


def check_free(host: str, port: int) -> None:
    """Raise ConfigError for a port that is in use or forbidden, or a host that is not an address of this machine."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(
            f"--host is {host!r}, which is no address: {error.strerror}",
            hint="0.0.0.0 is every address of this machine",
        ) from error
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
                probe.listen(1)
            except OSError as error:
                raise ConfigError(f"{host}:{port} {_problem(error)}", hint=_HINTS.get(error.errno or 0)) from error


_HINTS = {
    errno.EADDRINUSE: "stop what listens there, or choose another --port; 0 takes a free one",
    errno.EACCES: "ports below 1024 are for root; choose a --port above",
    errno.EADDRNOTAVAIL: "0.0.0.0 is every address of this machine, 127.0.0.1 only itself",
}


def _problem(error: OSError) -> str:
    words = {
        errno.EADDRINUSE: "is in use",
        errno.EACCES: "may not be listened on",
        errno.EADDRNOTAVAIL: "is no address of this machine",
    }
    return words.get(error.errno or 0, f"cannot be listened on: {error.strerror}")
