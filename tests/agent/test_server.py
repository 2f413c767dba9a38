"""The daemon: a private socket, a token over TCP, the same errors at both ends, and a description that holds."""

import asyncio
import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import validate

from tests.agent.conftest import House, person
from wave.agent import openapi, server, wire
from wave.agent.client import AgentClient, BlockingClient, FactsFeed
from wave.agent.engine import Engine
from wave.agent.oneshot import ask
from wave.agent.settings import Settings
from wave.codec import id_text
from wave.errors import (
    AgentUnavailable,
    BadRequest,
    BadSetting,
    PortInUse,
    SecretFileMode,
    StateLocked,
    Unauthorized,
    UnknownName,
    codes,
)
from wave.limits import LIMITS


@pytest.fixture
async def agent(settings: Settings) -> AsyncIterator[AgentClient]:
    """Give a client of a running agent on its socket."""
    async with server.serving(settings) as address, AgentClient(address) as client:
        yield client


async def test_the_socket_is_its_owners_alone(agent: AgentClient, settings: Settings) -> None:
    """Nobody else on the machine can talk to the agent."""
    await agent.call(wire.Status())
    assert stat.S_IMODE(settings.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700


async def test_an_error_is_of_the_same_class_at_both_ends(agent: AgentClient) -> None:
    """Class, code, message and hint travel."""
    with pytest.raises(UnknownName) as caught:
        await agent.call(wire.Resolve(name="nobody"))
    assert caught.value.code == "name.not_found"
    assert "alias" in caught.value.hint


async def test_every_error_code_comes_back_as_its_class() -> None:
    """No code is lost on the wire."""
    for code, kind in codes().items():
        call = wire.Status()
        body = wire.encode(kind("what", hint="next", decision="d").problem())
        with pytest.raises(kind) as caught:
            wire.decode_reply(call, kind.http_status, body)
        assert (caught.value.code, caught.value.hint, caught.value.decision) == (code, "next", "d")


async def test_the_description_is_valid_and_tells_every_call(agent: AgentClient, settings: Settings) -> None:
    """The OpenAPI document is served, valid, and names each call with its body, its reply and its problems."""
    connector = aiohttp.UnixConnector(str(settings.socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/openapi.json") as response,
    ):
        document = await response.json()
    validate(document)
    assert set(document["paths"]) >= {f"/v1/{call.path}" for call in wire.CALLS}
    assert document["paths"]["/v1/watch"]["get"]["responses"]["200"]["content"].keys() == {"text/event-stream"}
    assert set(document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == set(codes())


async def test_every_route_stands_in_the_description(house: House) -> None:
    """With its method; the calls, which share a route, are checked above."""
    with ThreadPoolExecutor(1) as thread:
        app = server.application(house.engine, thread)
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    calls = {f"/v1/{call.path}" for call in wire.CALLS}
    described = {
        (method, "/v1/{call}" if path in calls else path)
        for path, methods in openapi.document()["paths"].items()
        for method in methods
    }
    assert described == served


async def test_a_body_that_is_no_call_is_one_clear_problem(agent: AgentClient, settings: Settings) -> None:
    """Bad JSON, unknown calls, unknown fields and the wrong type: 400 and no traceback."""
    await agent.call(wire.Status())
    tries = [
        ("POST", "/v1/resolve", b"{", "application/json"),
        ("POST", "/v1/resolve", b'{"name": 3}', "application/json"),
        ("POST", "/v1/resolve", b'{"name": "a", "more": 1}', "application/json"),
        ("POST", "/v1/nothing", b"{}", "application/json"),
        ("POST", "/v1/resolve", b'{"name": "a"}', "text/plain"),
        ("POST", "/elsewhere", b"{}", "application/json"),
        ("POST", "/v1/prove", b'{"ask":' * 4000, "application/json"),
        ("POST", "/v1/facts", b'{"height": 9223372036854775808}', "application/json"),
        ("POST", "/v1/facts", b'{"height": -2}', "application/json"),
    ]
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(settings.socket))) as session:
        for method, path, body, kind in tries:
            headers = {"Content-Type": kind}
            async with session.request(method, f"http://localhost{path}", data=body, headers=headers) as response:
                problem = json.loads(await response.read())
                assert (response.status, problem["code"]) == (400, "request.bad"), (path, body[:40])
                assert response.content_type == "application/problem+json"


async def test_a_call_by_another_method_is_told_which_one_is_taken(agent: AgentClient, settings: Settings) -> None:
    """405 with Allow, as HTTP has it, and a problem that says so."""
    await agent.call(wire.Status())
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(settings.socket))) as session:
        for path in ("/v1/resolve", "/v1/status", "/v1/nothing"):
            async with session.get(f"http://localhost{path}") as response:
                problem = json.loads(await response.read())
                assert (response.status, problem["code"]) == (405, "request.method")
                assert response.headers["Allow"] == "POST"


async def test_a_body_past_the_bound_is_refused(agent: AgentClient, settings: Settings) -> None:
    """One byte more than a call may have."""
    await agent.call(wire.Status())
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(settings.socket))) as session:
        headers = {"Content-Type": "application/json"}
        body = io.BytesIO(b" " * (LIMITS.request_bytes + 1))
        async with session.post("http://localhost/v1/status", data=body, headers=headers) as response:
            assert (await response.json(content_type=None))["code"] == "limit.exceeded"


async def test_over_tcp_a_token_is_wanted(settings: Settings) -> None:
    """Without the token 401, whatever bytes stand in its place; with it an answer; its file is private."""
    async with server.serving(settings, port=0) as address:
        port = int(address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\r\n\r\n")
        assert b" 401 " in await reader.readline()
        writer.close()
        async with AgentClient(address) as nobody:
            with pytest.raises(Unauthorized):
                await nobody.call(wire.Status())
        async with AgentClient(address, token=server.token(settings)) as owner:
            assert (await owner.call(wire.Status())).chain == "embedded"
        assert stat.S_IMODE(settings.token_file.stat().st_mode) == 0o600


async def test_over_tcp_a_foreign_host_header_is_refused(settings: Settings) -> None:
    """A web page that points a name of its own at this machine gets nothing, whatever it knows."""
    async with server.serving(settings, port=0) as address, aiohttp.ClientSession() as session:
        headers = {
            "Host": "evil.example",
            "Authorization": f"Bearer {server.token(settings)}",
            "Content-Type": "application/json",
        }
        async with session.post(f"{address}/v1/status", data=b"{}", headers=headers) as response:
            assert response.status == 401


async def test_a_second_agent_on_one_home_is_refused(agent: AgentClient, settings: Settings) -> None:
    """And the first one goes on."""
    with pytest.raises(StateLocked):
        async with server.serving(settings):
            pass
    await agent.call(wire.Status())


async def test_a_socket_or_port_in_use_is_said(settings: Settings, tmp_path: Path) -> None:
    """The second on one port is told so, and leaves its own state unlocked."""
    other = Settings(tmp_path / "other")
    async with server.serving(settings, port=0) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(PortInUse):
            async with server.serving(other, port=port):
                pass
    with Engine.open(other, wait=0.0):
        pass


async def test_an_agent_that_does_not_run_is_said() -> None:
    """Both clients say the same, with what to do."""
    async with AgentClient("/nonexistent/agent.sock") as client:
        with pytest.raises(AgentUnavailable) as caught:
            await client.call(wire.Status())
    assert "wave agent run" in caught.value.hint
    with pytest.raises(AgentUnavailable):
        BlockingClient("http://127.0.0.1:1").call(wire.Status())


def test_an_address_that_is_none_is_a_bad_setting() -> None:
    """What is neither a path nor a URL is not dialled."""
    for address in ("agent", "ftp://127.0.0.1:1", "http://", "http://127.0.0.1", "http://127.0.0.1:x"):
        with pytest.raises(BadSetting):
            BlockingClient(address)


async def test_something_else_at_the_address_is_not_believed(tmp_path: Path) -> None:
    """An answer that is no agent's is an error, not a reply."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        await writer.drain()
        writer.close()

    path = tmp_path / "s"
    async with await asyncio.start_unix_server(other, path), AgentClient(str(path)) as client:
        with pytest.raises(AgentUnavailable):
            await client.call(wire.Status())


async def test_facts_from_an_agent_follow_its_revocations(agent: AgentClient) -> None:
    """A device that checks by itself learns of a revocation with its next question."""
    now = int(time.time())
    one, two = person(now), person(now)
    await agent.call(wire.Publish(objects=(one.entity.to_bytes(), two.entity.to_bytes())))
    feed = FactsFeed(agent)
    before = await feed.facts()
    assert before.revoked_at(one.entity.commitments) is None
    await agent.call(wire.Revoke(preimages=(one.preimage(),)))
    await asyncio.sleep(max(server.REFRESH_AFTER, LIMITS.facts_kept))
    after = await feed.facts()
    assert after.revoked_at(one.entity.commitments) == after.height
    assert after.revoked_at(two.entity.commitments) is None
    assert before.revoked_at(one.entity.commitments) is None, "facts that were given out do not change"


async def test_many_checks_at_once_are_one_question(agent: AgentClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process full of devices asks as often as one; after ``LIMITS.facts_kept`` the answer is asked for again."""
    asked = 0
    ask = agent.call

    async def counting(call: wire.Call[Any]) -> Any:
        nonlocal asked
        asked += 1
        return await ask(call)

    await ask(wire.Status())  # connects to the chain, which takes longer than facts are kept
    monkeypatch.setattr(agent, "call", counting)
    feed = FactsFeed(agent)
    first, *others = await asyncio.gather(*[feed.facts() for _ in range(100)])
    assert asked == 1
    assert all(one is first for one in others)
    await asyncio.sleep(LIMITS.facts_kept)
    await feed.facts()
    assert asked == 2


DAEMON = """
import sys
from pathlib import Path
from wave.agent import server
from wave.agent.settings import Settings
server.run(Settings(Path(sys.argv[1])), ready=lambda address: print(address, flush=True))
"""


def test_an_agent_killed_in_the_middle_loses_nothing_acknowledged(settings: Settings) -> None:
    """Whoever asked gets one clear error; what was acknowledged before is there when it starts again."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(settings.home)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    try:
        assert daemon.stdout is not None
        address = daemon.stdout.readline().strip()
        client = BlockingClient(address)
        now = int(time.time())
        kept = person(now)
        client.call(wire.Publish(objects=(kept.entity.to_bytes(),)))
        many = tuple(person(now).entity.to_bytes() for _ in range(150))

        async def publish_and_kill() -> None:
            async with AgentClient(address) as waiting:
                task = asyncio.create_task(waiting.call(wire.Publish(objects=many)))
                await asyncio.sleep(0.15)
                assert not task.done()
                os.kill(daemon.pid, signal.SIGKILL)
                with pytest.raises(AgentUnavailable):
                    await task

        asyncio.run(publish_and_kill())
    finally:
        daemon.kill()
        daemon.wait()
        if daemon.stdout is not None:
            daemon.stdout.close()
    with ask(settings) as alone:
        assert isinstance(alone, Engine), "a socket left behind by the dead agent is nobody"
        assert alone.call(wire.FindObject(id=id_text(kept.id))).height is not None
        alone.call(wire.Publish(objects=many))


def test_a_named_agent_is_never_replaced_in_silence(settings: Settings, tmp_path: Path) -> None:
    """With WAVE_AGENT set and nobody there, the command fails."""
    named = Settings(settings.home, agent=str(tmp_path / "nobody.sock"))
    with ask(named) as agent, pytest.raises(AgentUnavailable):
        agent.call(wire.Status())


def test_a_bad_request_over_the_wire_names_the_field() -> None:
    """The message says where it is wrong."""
    with pytest.raises(BadRequest, match="name"):
        wire.decode_call("resolve", b'{"name": 3}')


def test_an_agent_on_another_machine_is_not_asked() -> None:
    """Nor is an address with a name and a secret in it, which no error repeats."""
    for address in ("http://192.0.2.1:80", "http://example.org:80", "http://me:secret@127.0.0.1:80"):
        with pytest.raises(BadSetting) as caught:
            BlockingClient(address)
        assert "secret" not in caught.value.message + caught.value.hint


async def test_a_token_that_others_can_read_is_not_used(settings: Settings) -> None:
    """Somebody else may know it already."""
    settings.home.mkdir(mode=0o700)
    settings.token_file.write_text("known\n")
    settings.token_file.chmod(0o644)
    with pytest.raises(SecretFileMode):
        async with server.serving(settings, port=0):
            pass
