"""The daemon: the engine behind HTTP, on a Unix socket that only its owner can use, or on loopback with a token.

The engine works on one thread of its own, so that calls are carried out one after the other and the server stays quick.
"""

import asyncio
import gc
import hmac
import logging
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Final

from aiohttp import web

from wave.agent import authzen, openapi, wire
from wave.agent.batches import SERVED_AT
from wave.agent.engine import Engine
from wave.agent.outbox import PATIENCE
from wave.agent.settings import Settings
from wave.agent.watch import Watching
from wave.chain.batch import file_name, parse_root
from wave.chain.listen import address_of, host_name, is_local_name, listen_tcp, listen_unix, remove_socket
from wave.entities.entity import EntitySecret
from wave.entities.keyring import read_text, write_file
from wave.errors import BadRequest, StillPending, TooLarge, Unauthorized, UnknownObject, WaveError, WrongMethod
from wave.limits import LIMITS

_log = logging.getLogger(__name__)

TICK: Final = 0.25  # seconds between looks at what is queued
REFRESH_AFTER: Final = 0.02  # seconds after which the chain is asked again before a check
_FIRST_PAUSE: Final = 0.02  # seconds between looks whether what a call wrote is in a block
_LONGEST_PAUSE: Final = 0.5
_TOKEN_BYTES: Final = 32
_COLLECT_AFTER: Final = (20_000, 10, 10)  # new objects; what an agent learns by the thousand is in no cycle
_ENGINE: Final = web.AppKey("engine", Engine)
_THREAD: Final = web.AppKey("thread", ThreadPoolExecutor)
_WATCHING: Final = web.AppKey("watching", Watching)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def token(settings: Settings) -> str:
    """Return the token that callers over TCP must show, made when there is none yet; its file is its owner's alone."""
    if not settings.token_file.exists():
        made = secrets.token_urlsafe(_TOKEN_BYTES)
        write_file(settings.token_file, f"{made}\n".encode(), mode=0o600)
    return read_text(settings.token_file, private=True).strip()


def application(engine: Engine, thread: ThreadPoolExecutor, *, demand: str | None = None) -> web.Application:
    """Return the HTTP application over ``engine``, whose calls run on ``thread``; ``demand`` is the token over TCP."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if demand is not None:
                _check_caller(request, demand)
            return await handler(request)
        except WaveError as error:
            return _problem(error)
        except web.HTTPRequestEntityTooLarge:
            return _problem(TooLarge(f"a call has at most {LIMITS.request_bytes} bytes"))
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            answer = _problem(WrongMethod(f"{request.path} takes {allowed}, not {request.method}"))
            answer.headers["Allow"] = allowed
            return answer
        except web.HTTPException as error:
            return _problem(BadRequest(f"{request.method} {request.path}: {error.reason}", hint="see /openapi.json"))
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets one clear error and the log the rest
            _log.exception("a call failed: %s", request.path)
            return _problem(WaveError("the agent failed inside; its log says more"))

    app = web.Application(client_max_size=LIMITS.request_bytes, middlewares=[guard])
    app[_ENGINE], app[_THREAD] = engine, thread

    async def watching(app: web.Application) -> None:  # once its loop runs
        app[_WATCHING] = Watching(engine, partial(asyncio.get_running_loop().run_in_executor, thread))

    app.on_startup.append(watching)
    app.on_shutdown.append(_stop_watching)
    app.router.add_get("/v1/watch", _watch)
    app.router.add_get(SERVED_AT + "{root}", _batch)
    app.router.add_post("/v1/{call}", _answer)
    app.router.add_routes(
        authzen.routes(lambda call: asyncio.get_running_loop().run_in_executor(thread, engine.call, call))
    )
    app.router.add_get("/openapi.json", _describe)
    app.router.add_get("/healthz", _health)
    return app


def _check_caller(request: web.Request, demand: str) -> None:
    """Raise :class:`Unauthorized` unless the caller shows the token and means this machine (a web page does not)."""
    if not is_local_name(host_name(request.headers.get("Host", ""))):
        raise Unauthorized("the Host header does not name this machine")
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), demand.encode())
    if scheme != "Bearer" or not right:
        raise Unauthorized(
            "this agent wants a token",
            hint="commands find it when their WAVE_HOME is the agent's own; others send the text of its agent.token as"
            " 'Authorization: Bearer …'",
        )


async def _answer(request: web.Request) -> web.Response:
    if request.content_type != "application/json":
        raise BadRequest("the content type is application/json")
    call = wire.decode_call(request.match_info["call"], await request.read())
    engine, thread = request.app[_ENGINE], request.app[_THREAD]
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + PATIENCE, _FIRST_PAUSE
    while True:
        try:
            reply = await loop.run_in_executor(thread, engine.call, call)
        except StillPending:  # the outbox holds it; whoever else asks is answered until a block has it
            if loop.time() > deadline:
                raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return web.Response(body=wire.encode(reply), content_type="application/json")


async def _batch(request: web.Request) -> web.StreamResponse:
    """Answer with a batch's file. Its name is its hash, so it never changes, and whoever gets it checks it."""
    root = parse_root(request.match_info["root"])
    batches = request.app[_ENGINE].registrar.intake.batches
    if root is None or root not in batches:
        raise UnknownObject("no batch of that root is kept here")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Content-Type": "application/octet-stream"}
    return web.FileResponse(batches.directory / file_name(root), headers=headers)


async def _watch(request: web.Request) -> web.StreamResponse:
    return await request.app[_WATCHING].stream(request)


async def _stop_watching(app: web.Application) -> None:
    await app[_WATCHING].close()


async def _describe(_: web.Request) -> web.Response:
    return web.Response(body=wire.encode(openapi.document()), content_type="application/json")


async def _health(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _problem(error: WaveError) -> web.Response:
    return web.Response(
        status=error.http_status, body=wire.encode(error.problem()), content_type="application/problem+json"
    )


@asynccontextmanager
async def serving(
    settings: Settings,
    *,
    port: int | None = None,
    passphrase: Callable[[str], str] | None = None,
    promiser: EntitySecret | None = None,
) -> AsyncIterator[str]:
    """Serve the agent of ``settings`` on its socket, or with ``port`` (0: any free one) on loopback; give its address.

    ``promiser`` is the entity in whose name queued objects are promised to be anchored.
    Raises :class:`StateLocked` when another process owns the state directory, :class:`PortInUse` when the address is
    taken, and whatever :meth:`Engine.open` raises.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="engine") as thread:
        loop = asyncio.get_running_loop()
        engine = await loop.run_in_executor(
            thread,
            lambda: Engine.open(settings, wait=0.0, refresh_after=REFRESH_AFTER, passphrase=passphrase, daemon=True),
        )
        engine.registrar.promiser = promiser
        due = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody ticks any more
                loop.call_soon_threadsafe(due.set)

        engine.registrar.wake_by(wake)
        ticking = asyncio.create_task(_tick(engine, partial(loop.run_in_executor, thread), due))
        try:
            demand = None if port is None else token(settings)
            listener = _listen(settings, port)
            runner = web.AppRunner(application(engine, thread, demand=demand), access_log=None, shutdown_timeout=2.0)
            await runner.setup()
            try:
                await web.SockSite(runner, listener).start()
                yield str(settings.socket) if port is None else address_of(listener)
            finally:
                await runner.cleanup()
                if port is None:
                    remove_socket(settings.socket)
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
            await loop.run_in_executor(thread, engine.close)


async def _tick(engine: Engine, run: Callable[[Callable[[], None]], Awaitable[None]], due: asyncio.Event) -> None:
    """Have the engine do what is ``due`` though nobody asks; what goes wrong is logged, and tried again."""
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(due.wait(), TICK)
        due.clear()
        try:
            await asyncio.shield(run(engine.tick))
        except WaveError as error:
            _log.warning("what is queued waits: %s", error.message)
        except Exception:  # noqa: BLE001 - the next look may go well
            _log.exception("looking after what is queued failed")


def _listen(settings: Settings, port: int | None) -> socket.socket:
    return listen_unix(settings.socket) if port is None else listen_tcp("127.0.0.1", port)


def run(
    settings: Settings,
    *,
    port: int | None = None,
    ready: Callable[[str], None] = lambda _: None,
    passphrase: Callable[[str], str] | None = None,
    promiser: EntitySecret | None = None,
    beside: Callable[[str], AbstractAsyncContextManager[None]] = lambda _: nullcontext(),
) -> None:
    """Serve until SIGINT or SIGTERM; call ``ready`` with the address once it answers, and have ``beside`` open too."""
    os.umask(0o077)
    gc.freeze()  # what was imported stays, and need not be looked through each time
    gc.set_threshold(*_COLLECT_AFTER)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with serving(settings, port=port, passphrase=passphrase, promiser=promiser) as address, beside(address):
            ready(address)
            await stop.wait()

    asyncio.run(main())
