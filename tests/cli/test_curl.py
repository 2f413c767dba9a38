"""``wave curl``: a signed request, the proof that the service asks for, and refusals with their reason."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from aiohttp import web

from tests.cli.conftest import Shell, identity
from tests.ports import free_port
from wave.codec import parse_id
from wave.dots.facts import Facts
from wave.guard.aiohttp import CALLER, middleware
from wave.guard.guard import Guard
from wave.guard.rules import Rule, Rules

RULES = Rules(
    [Rule("*", "/lights/{name}", "publish", "light/{name}")], public=[("GET", "/healthz"), ("GET", "/broken")]
)


async def answer(request: web.Request) -> web.Response:
    caller = request[CALLER]
    told = {"who": caller.id if caller else None, "body": await request.text(), "kind": request.content_type}
    return web.json_response(told, headers={"X-Method": request.method})


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=502, text="broken")


@pytest.fixture
def service(wave: Shell) -> Iterator[str]:
    """A guarded service of the namespace ``home``, in a thread of its own; its URL."""
    port = free_port()
    namespace = parse_id(identity(wave, "home")) or b""
    facts = Facts(1, bytes(32), int(time.time()), {})

    async def newest() -> Facts:
        return facts

    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        guard = Guard(namespace, RULES, facts=newest, authorities=[f"127.0.0.1:{port}"])
        app = web.Application(middlewares=[middleware(guard)])
        app.router.add_route("*", "/lights/{name}", answer)
        app.router.add_get("/healthz", answer)
        app.router.add_get("/broken", broken)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        over = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), over))
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    loop, over = started.result(10)
    yield f"http://127.0.0.1:{port}"
    loop.call_soon_threadsafe(over.set)
    thread.join()


def test_a_request_is_signed_and_proved_as_the_service_asks(wave: Shell, service: str) -> None:
    ran = wave.done("curl", "--from", "bob.ent", "-d", '{"on": true}', f"{service}/lights/light0?x=1")
    assert ran.json == {"who": identity(wave, "bob"), "body": '{"on": true}', "kind": "application/json"}


def test_a_proof_of_ones_own_choice_is_shown(wave: Shell, service: str) -> None:
    ran = wave.done("curl", "--from", "bob.ent", "--proof", "bob.proof", "-i", "-X", "PUT", f"{service}/lights/light0")
    assert ran.out.startswith("200 OK\n")
    assert "X-Method: PUT\n" in ran.out


def test_a_body_and_an_answer_may_be_files(wave: Shell, service: str) -> None:
    (wave.directory / "body").write_bytes(b"a body")
    url = f"{service}/lights/light0"
    header = "content-type: text/plain"
    wave.done("curl", "--from", "bob.ent", "-d", "@body", "-H", header, "-o", "answer", url)
    assert b'"body": "a body", "kind": "text/plain"' in (wave.directory / "answer").read_bytes()
    told = wave.done("curl", "--from", "bob.ent", "-d", "@-", "--json", url, stdin="from stdin").json
    assert told["status"] == 200
    assert "from stdin" in told["body"]


def test_a_refusal_says_what_is_missing_and_whom_to_ask(wave: Shell, service: str) -> None:
    ran = wave("curl", "--from", "bob.ent", f"{service}/lights/light1")
    assert ran.status == 1
    assert "publish on light/light1" in ran.err
    assert "ask home" in ran.err or "ask alice" in ran.err
    ran = wave("curl", "--from", "bob.ent", "--proof", "bob.proof", f"{service}/lights/light1", "--json")
    assert (ran.status, ran.json["code"]) == (1, "dot.out_of_scope")
    ran = wave("curl", "--from", "bob.ent", f"{service}/elsewhere", "--json")
    assert (ran.status, ran.json["code"]) == (1, "guard.not_mapped")


def test_what_a_service_answers_otherwise_is_told_by_the_status(wave: Shell, service: str) -> None:
    assert wave.done("curl", "--from", "bob.ent", f"{service}/healthz").json["who"] is None
    ran = wave("curl", "--from", "bob.ent", f"{service}/broken")
    assert (ran.status, ran.out) == (4, "broken\n")
    assert "502" in ran.err
    ran = wave("curl", "--from", "bob.ent", "--json", f"{service}/broken")
    assert (ran.status, ran.json["status"], ran.json["body"]) == (4, 502, "broken")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("http://127.0.0.1:1/",), 4),
        (("not a url",), 4),
        (("-H", "nothing", "http://127.0.0.1:1/"), 3),
        (("-d", "@none", "http://127.0.0.1:1/"), 1),
        ((), 2),
    ],
)
def test_what_cannot_be_sent_is_an_error(wave: Shell, arguments: tuple[str, ...], status: int) -> None:
    ran = wave("curl", "--from", "bob.ent", *arguments)
    assert ran.status == status, ran.err
    assert not Path(wave.directory / "none").exists()
