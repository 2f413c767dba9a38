"""The embedded node for other processes: JSON-RPC over HTTP on loopback, or on a Unix socket of one's own.

A page in a browser must not reach it: the Host header has to name this machine (a defence against DNS rebinding), and
the content type has to be JSON, which a page cannot send elsewhere without being allowed to.
"""

import asyncio
import errno
import ipaddress
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from aiohttp import web

from wave.chain.node import EmbeddedNode
from wave.chain.rpc import INVALID_REQUEST, Rpc
from wave.errors import BadSetting, PortInUse, StateUnwritable
from wave.limits import LIMITS

PORT: Final = 8545
THREADS: Final = 32  # requests worked on at once; those that bring transactions share blocks
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@asynccontextmanager
async def serving(
    node: EmbeddedNode, *, host: str = "127.0.0.1", port: int = PORT, path: Path | None = None, anywhere: bool = False
) -> AsyncIterator[str]:
    """Serve ``node`` on host and port (0: any free one), or on the Unix socket ``path``, and give the address to connect to.

    A host that is not this machine's own is refused unless ``anywhere``: the node knows no passwords.
    BadSetting, PortInUse, StateUnwritable.
    """
    listener = _listen_unix(path) if path is not None else _listen_tcp(host, port, anywhere)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="chain-rpc") as threads:
        names = frozenset() if anywhere or path is not None else _LOOPBACK_NAMES | {host.lower()}
        runner = web.AppRunner(_application(Rpc(node), threads, names), access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            yield f"unix:{path}" if path is not None else _url(listener)
        finally:
            await runner.cleanup()
            if path is not None:
                with suppress(OSError):
                    path.unlink()


def run(
    node: EmbeddedNode,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    path: Path | None = None,
    anywhere: bool = False,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve ``node`` until SIGINT or SIGTERM; call ``ready`` with the address once it answers."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with serving(node, host=host, port=port, path=path, anywhere=anywhere) as url:
            ready(url)
            await stop.wait()

    asyncio.run(main())


def _application(rpc: Rpc, threads: ThreadPoolExecutor, names: frozenset[str]) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        if names and _host_name(request.headers.get("Host", "")) not in names:
            return _refusal(403, "the Host header does not name this machine")
        if request.content_type != "application/json":
            return _refusal(415, "the content type is application/json")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refusal(413, f"a request has at most {LIMITS.request_bytes} bytes")
        reply = await asyncio.get_running_loop().run_in_executor(threads, rpc.answer, body)
        if not reply:
            return web.Response(status=204)
        return web.Response(body=reply, content_type="application/json")

    application = web.Application(client_max_size=LIMITS.request_bytes)
    application.router.add_post("/", answer)
    return application


def _refusal(status: int, message: str) -> web.Response:
    form = {"jsonrpc": "2.0", "id": None, "error": {"code": INVALID_REQUEST, "message": message}}
    return web.json_response(form, status=status)


def _host_name(header: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen_tcp(host: str, port: int, anywhere: bool) -> socket.socket:
    if not anywhere and not _is_loopback(host):
        raise BadSetting(
            f"{host} is not this machine's own address, and the node knows no passwords",
            hint="listen on 127.0.0.1, or say --anywhere when the network keeps strangers out",
        )
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


def _listen_unix(path: Path) -> socket.socket:
    """Listen on a socket file that only its owner can use; one left behind by a dead process is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists():
            if not stat.S_ISSOCK(path.stat().st_mode) or _answers(path):
                raise PortInUse(f"{path} is in use")
            path.unlink()
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
    except BaseException:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True
