"""Listening on this machine: loopback ports and private socket files, with clear words when one is taken."""

import errno
import ipaddress
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from wave.errors import BadSetting, PortInUse, StateUnwritable

LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HIGHEST_PORT = 65_535


def host_name(header: str) -> str:
    """Return the name in a Host header, without port and brackets; the whole header when something else follows."""
    if header.startswith("["):
        name, _, port = header[1:].partition("]")
        return name if not port or port.startswith(":") else header
    return header.partition(":")[0].lower()


def address_of(listener: socket.socket, scheme: str = "http") -> str:
    """Return the URL of a listening TCP socket."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_local_name(host: str) -> bool:
    """Tell whether a Host header's name means this machine, whatever a name server says of it."""
    return host in LOCAL_NAMES


def is_loopback(host: str) -> bool:
    """Tell whether a host to listen on is this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen_tcp(host: str, port: int, *, anywhere: bool = False) -> socket.socket:
    """Listen on host and port (0: any free one), on loopback only unless ``anywhere``; BadSetting, PortInUse."""
    if not anywhere and not is_loopback(host):
        raise BadSetting(
            f"{host} is not this machine's own address, and nothing here listens beyond it unless told to",
            hint="listen on 127.0.0.1, or say --anywhere when the network keeps strangers out",
        )
    if not 0 <= port <= _HIGHEST_PORT:  # the resolver would take it modulo 65536
        raise BadSetting(f"{port} is not a port; ports are 0 to {_HIGHEST_PORT}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise BadSetting(f"cannot listen on {host} port {port}: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} on {host} is in use") from None
        raise BadSetting(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listener


def listen_unix(path: Path) -> socket.socket:
    """Listen on a socket file that only its owner can use; one left behind by a dead process is replaced."""
    if not _is_free(path):
        raise PortInUse(f"{path} is in use")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_socket(path)
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"{path} is in use") from None
        raise StateUnwritable(f"cannot make the socket {path}: {error.strerror or error}") from None
    return listener


def _is_free(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode) and not _answers(path)
    except OSError:
        return True


def remove_socket(path: Path) -> None:
    """Remove a socket file if it is there."""
    with suppress(FileNotFoundError):
        path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True
