"""What a guard costs: beside bare signatures, and in front of handlers that take the body and answer at once.

Servers run in a process of their own; who asks them runs in another and does so little that it waits for them, never
they for it. Guarded and unguarded take turns in the same run, short ones, one right after the other: each pair has the
machine in the same mood, and the median of their ratios counts.
"""

import asyncio
import json
import selectors
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import count
from multiprocessing import get_context
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from nacl.signing import VerifyKey

from bench.figure import Figure
from bench.verify import DAY, NOW
from wave.codec import id_text
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.entities.object import DOT, signing_input
from wave.guard.aiohttp import middleware
from wave.guard.asgi import Message, Receive, Scope, Send, WaveMiddleware
from wave.guard.guard import Guard
from wave.guard.rules import Rule
from wave.guard.session import SESSION_PATH, Half, parse_half, session_head, session_mac, session_told
from wave.guard.shown import by_id, whole
from wave.guard.signature import PROOF_HEADER, SESSION_HEADER, HttpRequest, beginning, read, sign
from wave.namespace.grant import right

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

HOST = "models.example"
PATH = "/models/alpha/infer"
BODY = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]}'
RULES = [Rule("POST", "/models/{model}/infer", "predict", "models/{model}")]
PROOFS = 1600  # shown for the first time, and then again
TOGETHER = 20  # of a kind, before the next kind has its turn
SIGHT_BOUND = 1.5
THROUGHPUT_BOUND = 1 / 0.8
TURNS = 400
REQUESTS = 100  # in a turn
CONNECTIONS = 8


def figures() -> Iterator[Figure]:
    """Yield what first and further sight cost, and the throughput of each server."""
    first, seen = asyncio.run(_sights())
    yield Figure("guard, proof of 3 DoTs first seen / 4 bare signatures", first, "x", SIGHT_BOUND, "p50")
    yield Figure("guard, proof seen before / 1 bare signature", seen, "x", SIGHT_BOUND, "p50")
    for kind, bound in _servers():
        plain, guarded, ratio = _throughput(kind)
        note = f"{guarded:,.0f} of {plain:,.0f} requests/s"
        yield Figure(f"{kind}, unguarded / guarded with a session", ratio, "x", bound, note)


def _servers() -> list[tuple[str, float | None]]:
    """Return the servers there are, and the bounds for a guard in them.

    An ASGI handler is served by uvicorn as it comes, which reads requests in Python. With httptools, which some extras
    of ours bring along, reading them costs next to nothing: what a guard costs then is shown beside it.
    """
    found: list[tuple[str, float | None]] = [("aiohttp", THROUGHPUT_BOUND), ("asgi", THROUGHPUT_BOUND)]
    if find_spec("httptools") is not None:
        found.append(("asgi with httptools", None))
    return found


# Beside bare signatures -------------------------------------------------------------------------------------------


class Town:
    """A namespace, and proofs of three DoTs by which one sender may predict, as many different ones as wanted."""

    def __init__(self, now: int = NOW) -> None:
        """Make everybody, the same each time."""
        numbers = count()
        self.now = now
        self.people = [
            EntitySecret.create(lambda size: next(numbers).to_bytes(size), created=now - DAY, expires=now + 3650 * DAY)
            for _ in range(4)
        ]
        self.facts = Facts(1, bytes(32), now, {bytes(32): 1})

    @property
    def sender(self) -> EntitySecret:
        """Who asks."""
        return self.people[-1]

    def proof(self, number: int) -> Proof:
        """Return one of the proofs."""
        path = [
            Dot.create(
                giver,
                receiver=receiver.id,
                namespace=self.people[0].id,
                grants=(right(("predict",), "models/*"),),
                created=self.now - DAY,
                expires=self.now + 30 * DAY + number,
                indirections=3,
            )
            for giver, receiver in zip(self.people, self.people[1:], strict=False)
        ]
        return Proof.build((tuple(path),), [person.entity for person in self.people])

    def guard(self, host: str, clock: Callable[[], float] = lambda: NOW) -> Guard:
        """Return a guard of the namespace."""

        async def facts() -> Facts:
            now = int(clock())
            if now != self.facts.time:
                self.facts = replace(self.facts, time=now)
            return self.facts

        return Guard(self.people[0].id, RULES, facts=facts, authorities=[host], clock=clock)


def _signed(town: Town, shown: str, number: int) -> HttpRequest:
    request = HttpRequest(
        "POST", "http", HOST, PATH, "", {"content-type": "application/json", PROOF_HEADER: shown}, BODY
    )
    made = sign(town.sender, request, created=NOW, expires=NOW + 60, nonce=number.to_bytes(16))
    return request._replace(headers={**request.headers, **{name.lower(): value for name, value in made.items()}})


async def _sights() -> tuple[float, float]:
    """Return what it costs to admit at first and at further sight, against bare signatures over the same bytes.

    All requests are made before any is asked: a service has nothing to make between two of them. First sights, further
    ones and bare signatures take turns, some at a time; the median of the turns' ratios counts.
    """
    town, numbers = Town(), count()
    guard = town.guard(HOST)
    proofs = [town.proof(number) for number in range(PROOFS)]
    new = [_signed(town, whole(proof), next(numbers)) for proof in proofs]
    old = [_signed(town, by_id(proof), next(numbers)) for proof in proofs]
    one = [_bare_parts(town, request) for request in old]
    four = [[*_parts_of(town, proof), *_bare_parts(town, request)] for proof, request in zip(proofs, new, strict=True)]
    first, seen = [], []
    for begin in range(0, PROOFS, TOGETHER):
        some = slice(begin, begin + TOGETHER)
        shown = [await _seconds(guard.admit, request) for request in new[some]]
        first.append(median(shown) / median([_bare(parts) for parts in four[some]]))
        again = [await _seconds(guard.admit, request) for request in old[some]]
        seen.append(median(again) / median([_bare(parts) for parts in one[some]]))
    return median(first), median(seen)


def _bare_parts(town: Town, request: HttpRequest) -> list[tuple[bytes, bytes, bytes]]:
    """Return key, message and signature of a request."""
    signed = read(request)
    return [(town.sender.entity.verify_key, signed.base, signed.value)]


def _parts_of(town: Town, proof: Proof) -> list[tuple[bytes, bytes, bytes]]:
    """Return key, message and signature of each DoT of a proof."""
    return [
        (giver.entity.verify_key, signing_input(DOT, dot.body), dot.signature)
        for giver, dot in zip(town.people, proof.dots, strict=False)
    ]


async def _seconds(admit: Callable[[HttpRequest], Awaitable[object]], request: HttpRequest) -> float:
    begun = time.perf_counter()
    await admit(request)
    return time.perf_counter() - begun


def _bare(signed: list[tuple[bytes, bytes, bytes]]) -> float:
    begun = time.perf_counter()
    for key, message, signature in signed:
        VerifyKey(key).verify(message, signature)
    return time.perf_counter() - begun


# In front of handlers ---------------------------------------------------------------------------------------------


def _throughput(kind: str) -> tuple[float, float, float]:
    """Return how many requests a second a server answers, without a guard and with one, and the ratio of both."""
    context = get_context("spawn")
    here, there = context.Pipe()
    now = int(time.time())
    server = context.Process(target=_serve, args=(kind, now, there), daemon=True)
    server.start()
    there.close()  # so that a server that does not start is noticed
    ports = here.recv()
    try:
        return _drive(Town(now), *ports)
    finally:
        server.terminate()
        server.join()


def _serve(kind: str, now: int, pipe: "Connection[Any, Any]") -> None:
    if kind == "aiohttp":
        asyncio.run(_serve_aiohttp(Town(now), pipe))
    else:
        asyncio.run(_serve_asgi(Town(now), pipe, "httptools" if "httptools" in kind else "h11"))


def _listening() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio then sets TCP_NODELAY
    listener.bind(("127.0.0.1", 0))
    return listener


async def _serve_aiohttp(town: Town, pipe: "Connection[Any, Any]") -> None:
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b"{}", content_type="application/json")

    listeners = [_listening() for _ in range(2)]
    ports = [one.getsockname()[1] for one in listeners]
    for listener, guarded in zip(listeners, (False, True), strict=True):
        guards = [middleware(town.guard(f"127.0.0.1:{ports[1]}", time.time))] if guarded else []
        app = web.Application(middlewares=guards)
        app.router.add_post("/models/{model}/infer", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener).start()
    pipe.send(ports)
    await asyncio.Event().wait()


async def _serve_asgi(town: Town, pipe: "Connection[Any, Any]", http: Literal["h11", "httptools"]) -> None:
    import uvicorn

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        message: Message = await receive()
        while message.get("more_body"):
            message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b"{}"})

    listeners = [_listening() for _ in range(2)]
    ports = [one.getsockname()[1] for one in listeners]
    guarded = WaveMiddleware(app, town.guard(f"127.0.0.1:{ports[1]}", time.time))
    servers = [
        uvicorn.Server(uvicorn.Config(one, http=http, log_level="critical", lifespan="off")) for one in (app, guarded)
    ]
    running = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in zip(servers, listeners, strict=True)
    ]
    while not all(server.started for server in servers):  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.01)
    pipe.send(ports)
    await asyncio.gather(*running)


def _drive(town: Town, plain_port: int, guarded_port: int) -> tuple[float, float, float]:
    """Take turns, first the one and then the other; return the requests a second of each, and the ratio."""
    session = _Session.begin(town, guarded_port)
    unguarded = [_bytes(session.request(plain_port))] * REQUESTS
    plain, guarded = [], []
    for number in range(TURNS):
        asked = [_bytes(session.signed()) for _ in range(REQUESTS)]
        if number % 2:
            plain.append(_turn(plain_port, unguarded))
            guarded.append(_turn(guarded_port, asked))
        else:
            guarded.append(_turn(guarded_port, asked))
            plain.append(_turn(plain_port, unguarded))
    return median(plain), median(guarded), median([one / other for one, other in zip(plain, guarded, strict=True)])


class _Session:
    """A session with the guarded server."""

    def __init__(self, port: int, identity: str, key: bytes, proof: Proof) -> None:
        self._port, self._identity, self._key, self._proof = port, identity, key, proof
        self._numbers = count(1)

    @classmethod
    def begin(cls, town: Town, port: int) -> "_Session":
        """Shake hands."""
        half, now = Half(), int(time.time())
        proof = town.proof(0)
        body = json.dumps({"exchange": id_text(half.public), "method": "POST", "path": PATH}).encode()
        headers = {"content-type": "application/json", PROOF_HEADER: whole(proof)}
        request = HttpRequest("POST", "http", f"127.0.0.1:{port}", SESSION_PATH, "", headers, body)
        made = sign(town.sender, request, created=now, expires=now + 60, nonce=now.to_bytes(16))
        request = request._replace(headers={**headers, **{name.lower(): text for name, text in made.items()}})
        line = _Line(port, [_bytes(request)])
        line.ask()
        while (answer := line.hear()) is None:
            pass
        line.socket.close()
        told = json.loads(answer)
        key = half.key(parse_half(told["exchange"]), read(request).base, told["session"])
        return cls(port, told["session"], key, proof)

    def request(self, port: int) -> HttpRequest:
        """Return the request as one sends it to who does not guard."""
        return HttpRequest("POST", "http", f"127.0.0.1:{port}", PATH, "", {"content-type": "application/json"}, BODY)

    def signed(self) -> HttpRequest:
        """Return the next request of the session."""
        request = self.request(self._port)
        told = session_told(self._identity, next(self._numbers), int(time.time()))
        mac = session_mac(self._key, session_head(beginning(request), by_id(self._proof), told) + request.body)
        return request._replace(headers={**request.headers, SESSION_HEADER: f"{told}.{mac}"})


def _bytes(request: HttpRequest) -> bytes:
    headers = {"Host": request.authority, **request.headers, "Content-Length": str(len(request.body))}
    lines = [f"{request.method} {request.path} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + request.body


def _turn(port: int, requests: list[bytes]) -> float:
    """Return the requests a second over a few connections, each of which asks one at a time."""
    lines = [_Line(port, requests[place::CONNECTIONS]) for place in range(CONNECTIONS)]
    with selectors.DefaultSelector() as selector:
        for line in lines:
            selector.register(line.socket, selectors.EVENT_READ, line)
        begun = time.perf_counter()
        waiting = sum([line.ask() for line in lines])
        while waiting:
            for key, _ in selector.select(0):  # never asleep: to wake whoever waits costs the server more than a guard
                if key.data.hear() is not None and not key.data.ask():
                    waiting -= 1
        took = time.perf_counter() - begun
    for line in lines:
        line.socket.close()
    return len(requests) / took


class _Line:
    """A connection that asks one request after the other."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = iter(requests)
        self._heard = b""

    def ask(self) -> bool:
        """Send the next request, if there is one."""
        request = next(self._requests, None)
        if request is not None:
            self.socket.sendall(request)
        return request is not None

    def hear(self) -> bytes | None:
        """Return the body of the answer once all of it has come; raises for one that is not good."""
        part = self.socket.recv(65_536)
        self._heard += part
        head, _, body = self._heard.partition(b"\r\n\r\n")
        if not part or not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server answered {head[:80]!r}")
        lower = head.lower()
        if b"chunked" in lower:
            if not body.endswith(b"0\r\n\r\n"):
                return None
            body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
        elif len(body) < int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"1"):
            return None
        self._heard = b""
        return body


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {head[:80]!r}")
    lower = head.lower()
    if b"chunked" in lower:
        body = await reader.readuntil(b"0\r\n\r\n")
        return body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
    length = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)
