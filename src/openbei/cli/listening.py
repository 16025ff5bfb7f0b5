"""Validation of host and port before a model is built or loaded, and sockets that several processes listen on."""

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
        with _socket(family, kind, protocol) as probe:
            try:
                probe.bind(address)
                probe.listen(1)
            except OSError as error:
                raise ConfigError(f"{host}:{port} {_problem(error)}", hint=_HINTS.get(error.errno or 0)) from error


def shared_sockets(host: str, port: int) -> list[socket.socket]:
    """A bound socket for each address of a host; port 0 takes a free one, the same for all.

    Each process has sockets of its own, and the kernel divides new connections among those that listen. Raises OSError.
    """
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        one = _socket(family, kind, protocol)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((address[0], port, *address[2:]))
        port = one.getsockname()[1]
        sockets.append(one)
    return sockets


def _socket(family: int, kind: int, protocol: int) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return one


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
