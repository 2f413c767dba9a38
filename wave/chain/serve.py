"""The embedded node for other processes: JSON-RPC over HTTP on loopback, or on a Unix socket of one's own.

A page in a browser must not reach it: the Host header has to name this machine (a defence against DNS rebinding), and
the content type has to be JSON, which a page cannot send elsewhere without being allowed to.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from wave.chain.forms import INVALID_REQUEST
from wave.chain.listen import LOCAL_NAMES, address_of, host_name, listen_tcp, listen_unix, remove_socket
from wave.chain.node import EmbeddedNode
from wave.chain.rpc import Rpc
from wave.limits import LIMITS

PORT: Final = 8545
THREADS: Final = 32  # requests worked on at once; those that bring transactions share blocks


@asynccontextmanager
async def serving(
    node: EmbeddedNode, *, host: str = "127.0.0.1", port: int = PORT, path: Path | None = None, anywhere: bool = False
) -> AsyncIterator[str]:
    """Serve ``node`` on host and port (0: any free one), or on the Unix socket ``path``, and give its address.

    A host that is not this machine's own is refused unless ``anywhere``: the node knows no passwords.
    BadSetting, PortInUse, StateUnwritable.
    """
    listener = listen_unix(path) if path is not None else listen_tcp(host, port, anywhere=anywhere)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="chain-rpc") as threads:
        names = frozenset() if anywhere or path is not None else LOCAL_NAMES | {host.lower()}
        runner = web.AppRunner(_application(Rpc(node), threads, names), access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            yield f"unix:{path}" if path is not None else address_of(listener)
        finally:
            await runner.cleanup()
            if path is not None:
                remove_socket(path)


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
        if names and host_name(request.headers.get("Host", "")) not in names:
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
