"""What the page's server refuses, whatever sends it: other hosts and origins, too much, stale, used and forged."""

import asyncio
import base64
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from devices.page import server
from devices.page.page import page_of
from devices.page.server import serving
from devices.page.sharing import Terms
from devices.page.visitor import CHALLENGE_TYPE, challenge_payload
from tests.page.street import DAY, Street, street, until
from wave.agent.wire import Losses, Revoke
from wave.bus.message import JSON, PUBLISH, SUBSCRIBE, Message
from wave.codec import id_text, parse_id
from wave.entities.entity import EntitySecret
from wave.errors import BadSetting, EntityRevoked, NotFound, codes
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern, resource

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATE = "s.light/light0/i.boolean/slot/state"
SEE = ("subscribe", "s.light/light0/+/signal/+")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Street]:
    """A street with one light, shared by the tests of this file."""
    async with street(tmp_path_factory.mktemp("wire") / "w", "light0") as found:
        yield found


class Knocking:
    """A visitor made of Python: what a browser says, said well or badly."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, hello: dict[str, Any], secret: EntitySecret) -> None:
        self.socket = socket
        self.hello = hello
        self.secret = secret
        self.number = 0
        self.heard: list[dict[str, Any]] = []

    @property
    def challenge(self) -> bytes:
        page = parse_id(self.hello["page"])
        assert page is not None
        return challenge_payload(page, base64.b64decode(self.hello["challenge"]))

    def message(self, **fields: Any) -> Message:
        now = int(time.time())
        whole = {
            "permission": SUBSCRIBE, "namespace": parse_id(self.hello["namespace"]), "resource": Pattern("*"),
            "payload": self.challenge, "content_type": CHALLENGE_TYPE, "created": now, "expires": now + 30,
            "nonce": os.urandom(16),
        }  # fmt: skip
        return Message.create(fields.pop("by", self.secret), **{**whole, **fields})

    async def show(self, entity: bytes | None = None, message: bytes | None = None) -> Self:
        entity = self.secret.entity.to_bytes() if entity is None else entity
        message = self.message().to_bytes() if message is None else message
        await self.socket.send_json({"entity": text(entity), "message": text(message)})
        return self

    async def next(self, kind: str) -> dict[str, Any]:
        """Return the next word of that kind."""
        async with asyncio.timeout(10):
            while True:
                for number, one in enumerate(self.heard):
                    if one["type"] == kind:
                        return self.heard.pop(number)
                self.heard.append(await self.socket.receive_json())

    async def ask(self, what: str, **fields: Any) -> Any:
        """Return the answer, or the code of the refusal."""
        self.number += 1
        await self.socket.send_json({"n": self.number, "do": what, **fields})
        answer = await self.next("answer")
        assert answer["n"] == self.number
        return answer["problem"]["code"] if "problem" in answer else answer["ok"]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def origin(here: Street) -> str:
    return here.url.rstrip("/")


def owners_cookie(here: Street) -> str:
    """Return a cookie of the owner's, as a browser sends it."""
    assert here.page.owner is not None
    sessions = here.page.owner.sessions
    return f"wave_owner_{urlsplit(here.url).port}={sessions.exchange(sessions.token())}"


@asynccontextmanager
async def knocking(here: Street, secret: EntitySecret | None = None, **headers: str) -> AsyncIterator[Knocking]:
    async with aiohttp.ClientSession() as session:
        address = f"{origin(here)}/live"
        async with session.ws_connect(address, headers={"Origin": origin(here), **headers}) as socket:
            yield Knocking(socket, await socket.receive_json(), secret or here.person("visitor"))


@asynccontextmanager
async def let_in(here: Street, *rights: tuple[str, str]) -> AsyncIterator[Knocking]:
    """Let somebody in who holds ``rights``."""
    async with knocking(here) as one:
        await one.show()
        await one.next("you")
        await here.give(here.owner, one.secret.id, *rights)
        async with asyncio.timeout(10):
            while not (await one.next("devices"))["devices"]:
                pass
        yield one


# HTTP --------------------------------------------------------------------------------------------------------------


async def code_of(response: aiohttp.ClientResponse) -> str:
    return str(json.loads(await response.read())["code"])


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example"]
)
async def test_another_host_header_gets_nothing(here: Street, host: str) -> None:
    """Whatever a name server says: a page of another name that points here gets nothing of ours."""
    async with aiohttp.ClientSession() as session:
        for path in ("", "main.js", "live"):
            async with session.get(here.url + path, headers={"Host": host}) as response:
                assert (response.status, await code_of(response)) == (403, "page.origin")


async def test_the_page_stays_on_this_machine_unless_told_otherwise(here: Street) -> None:
    for refused in (serving(here.page, host="0.0.0.0", port=0), serving(here.page, port=0, public="home.example")):
        with pytest.raises(BadSetting):
            await refused.__aenter__()
    async with serving(here.page, port=0, public="https://home.example") as url:
        assert url == "https://home.example/"


async def test_what_is_served_says_that_nothing_may_come_from_elsewhere(here: Street) -> None:
    async with aiohttp.ClientSession() as session, session.get(here.url) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["nothing.js", "..%2fpage.py", "%2e%2e/server.py", "static/main.js", "owner"])
async def test_there_are_no_files_but_the_pages_own(here: Street, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(here.url + path) as response:
        assert response.status in (404, 405)
        assert await code_of(response) == "request.bad"


@pytest.mark.parametrize(
    "sent", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}]
)
async def test_another_origin_gets_no_session_and_no_connection(here: Street, sent: dict[str, str]) -> None:
    assert here.page.owner is not None
    token = here.page.owner.sessions.token()
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{here.url}owner", json={"token": token}, headers=sent) as response:
            assert (response.status, await code_of(response)) == (403, "page.origin")
            assert not response.cookies
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{here.url}live", headers=sent)
        assert refused.value.status == 403
    here.page.owner.sessions.exchange(token)  # which nobody used


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"x" * 5000, "application/json", "limit.exceeded"),
        (b"{}", "text/plain", "request.bad"),
        (b"token=1", "application/x-www-form-urlencoded", "request.bad"),
        (b"[" * 4000, "application/json", "request.bad"),
        (b'{"token": 1}', "application/json", "request.bad"),
        (b'{"token": "made up"}', "application/json", "page.owner"),
        (b'{"token": ""}', "application/json", "page.owner"),
    ],
)
async def test_a_body_that_is_no_token_opens_no_session(here: Street, body: bytes, kind: str, code: str) -> None:
    async with aiohttp.ClientSession() as session:
        headers = {"Origin": origin(here), "Content-Type": kind}
        async with session.post(f"{here.url}owner", data=body, headers=headers) as response:
            assert await code_of(response) == code
            assert not response.cookies


async def test_the_owners_cookie_is_out_of_reach_of_scripts_and_other_sites_and_a_stale_one_opens_nothing(
    here: Street,
) -> None:
    assert here.page.owner is not None
    async with aiohttp.ClientSession() as session:
        body, headers = {"token": here.page.owner.sessions.token()}, {"Origin": origin(here)}
        async with session.post(f"{here.url}owner", json=body, headers=headers) as response:
            (cookie,) = response.cookies.values()
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        async with session.post(f"{here.url}owner", json=body, headers=headers) as response:
            assert (response.status, await code_of(response)) == (401, "page.owner")
    async with knocking(here, Cookie=f"{cookie.key}={cookie.value}") as one:
        assert (one.hello["owner"], one.hello["stale"]) == (True, False)
        assert await (await one.show()).ask("losses", dot="A" * 43) == "object.not_found"
        here.page.owner.sessions._open.clear()
        assert await one.ask("losses", dot="A" * 43) == "page.owner"
    async with knocking(here, Cookie=f"{cookie.key}={cookie.value}") as one:
        assert (one.hello["owner"], one.hello["stale"]) == (False, True)
        assert await (await one.show()).ask("losses", dot="A" * 43) == "page.owner"


# Visitors ----------------------------------------------------------------------------------------------------------


async def turned_away(one: Knocking) -> str:
    return str((await one.next("turned_away"))["problem"]["code"])


async def test_whoever_has_not_the_key_is_turned_away(here: Street) -> None:
    """Another's record, a signature by another key, another connection's challenge, another act."""
    async with knocking(here) as other:
        heard_before = other.challenge
    thief = here.person("thief")
    async with knocking(here) as one:
        await one.show(message=one.message(by=thief).to_bytes())
        assert await turned_away(one) == "message.wrong_sender"
    async with knocking(here) as one:
        forged = one.message()
        await one.show(message=Message(forged.body, bytes(64)).to_bytes())
        assert await turned_away(one) == "signature.bad"
    for changes in (
        {"payload": heard_before},
        {"payload": b""},
        {"namespace": thief.id},
        {"permission": PUBLISH, "resource": resource("a")},
    ):
        async with knocking(here) as one:
            await one.show(message=one.message(**changes).to_bytes())
            assert await turned_away(one) == "message.wrong_purpose", changes
    for ago in (-3600, 3600):
        async with knocking(here) as one:
            now = int(time.time()) - ago
            await one.show(message=one.message(created=now, expires=now + 30).to_bytes())
            assert await turned_away(one) == "message.stale"


async def test_a_record_that_is_none_or_not_alive_is_turned_away(here: Street) -> None:
    now = int(time.time())
    dead = EntitySecret.create(os.urandom, created=now - 100, expires=now - 1)
    revoked = await here.name("lost-phone", here.person("lost"))
    await here.agent.call(Revoke(preimages=(revoked.preimage(),)))
    for secret, code in ((dead, "entity.expired"), (revoked, EntityRevoked.code)):
        async with knocking(here, secret) as one:
            await one.show()
            assert await turned_away(one) == code
    async with knocking(here) as one:
        await one.show(entity=one.secret.entity.to_bytes()[:-1])
        assert await turned_away(one) in codes()
    async with knocking(here) as one:
        signed = one.secret.entity.to_object()
        await one.show(entity=type(signed)(signed.kind, signed.body, bytes(64)).to_bytes())
        assert await turned_away(one) == "signature.bad"


@pytest.mark.parametrize("said", ["", "[]", "not json", "[" * 3000, "7", '{"entity": 5}'])
async def test_whoever_says_no_such_thing_is_let_go(here: Street, said: str) -> None:
    async with knocking(here) as one:
        await one.socket.send_str(said)
        answer = await one.socket.receive()
        if answer.type is aiohttp.WSMsgType.TEXT:
            assert json.loads(answer.data)["type"] == "turned_away"
            answer = await one.socket.receive()
        assert answer.type is aiohttp.WSMsgType.CLOSE


async def test_more_than_a_frame_ends_the_connection(here: Street) -> None:
    async with knocking(here) as one:
        await one.show()
        await one.next("you")
        await one.socket.send_str("x" * (LIMITS.frame_bytes + 1))
        async with asyncio.timeout(10):
            while (answer := await one.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        assert answer.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize("what", ["losses", "revoke", "share", "withdraw", "give", "why", "burn", "", None])
async def test_a_visitor_has_no_owners_acts(here: Street, what: str | None) -> None:
    async with knocking(here) as one:
        await one.show()
        fields = {"dot": "A" * 43, "key": "k", "to": "t", "terms": {}, "address": "a", "decision": "d"}
        assert await one.ask(str(what), **fields) == "page.owner"


async def test_a_browser_key_that_was_not_granted_gets_no_proof_and_no_command_through(here: Street) -> None:
    async with knocking(here) as one:
        await one.show()
        payload = text(b'{"state":"on"}')
        assert await one.ask("prove", where=STATE, payload=payload) == "proof.none"
        command = one.message(permission=PUBLISH, resource=resource(STATE), payload=b'{"state":"on"}')
        assert await one.ask("act", message=text(command.to_bytes()), proof="") == "proof.none"
        state = here.page.view.states.get(("s.light/light0", "i.boolean/signal/state"))
        assert state is None or state.value["state"] == "off"
        assert (await one.next("devices"))["devices"] == []


async def test_what_others_signed_or_what_is_no_command_is_not_carried(here: Street) -> None:
    async with let_in(here, SEE, ("publish", STATE)) as one:
        proof = await one.ask("prove", where=STATE, payload=text(b'"on"'))
        fields = {
            "permission": PUBLISH, "resource": resource(STATE), "payload": b'"on"', "content_type": JSON,
            "proof": base64.b64decode(proof["id"]),
        }  # fmt: skip
        other = one.message(by=here.person("other"), **fields)
        assert await one.ask("act", message=text(other.to_bytes()), proof=proof["proof"]) == "message.wrong_sender"
        reading = one.message(**{**fields, "permission": SUBSCRIBE, "resource": Pattern("*")})
        assert await one.ask("act", message=text(reading.to_bytes()), proof=proof["proof"]) == "message.wrong_purpose"
        elsewhere = one.message(**{**fields, "namespace": one.secret.id})
        assert await one.ask("act", message=text(elsewhere.to_bytes()), proof=proof["proof"]) == "message.wrong_purpose"
        good = one.message(**fields)
        altered = bytearray(good.to_bytes())
        altered[good.to_bytes().index(b'"on"') + 1] ^= 1
        assert await one.ask("act", message=text(bytes(altered)), proof=proof["proof"]) == "signature.bad"
        assert await one.ask("act", message=text(good.to_bytes()), proof=proof["proof"]) == {"delivered": 1}
        assert await one.ask("act", message=text(good.to_bytes()), proof=proof["proof"]) == "message.replayed"
        for bad in ({"message": "%", "proof": ""}, {"message": "", "proof": ""}):
            assert await one.ask("act", **bad) in ("request.bad", "object.malformed")
        assert await one.ask("prove", where="a/*", payload="") == "pattern.bad"


# Room --------------------------------------------------------------------------------------------------------------


async def test_strangers_keys_however_many_lock_out_neither_guests_nor_the_owner(
    here: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST_VISITORS", 4)
    await until(lambda: not here.page.visitors)
    cookie = owners_cookie(here)
    async with AsyncExitStack() as stack:
        guest = await stack.enter_async_context(let_in(here, SEE))
        strangers = [await stack.enter_async_context(knocking(here)) for _ in range(3)]
        for one in strangers:
            await (await one.show()).next("you")
        crowd = [await stack.enter_async_context(knocking(here)) for _ in range(6)]
        for one in strangers:
            await closed(one)
        owner = await stack.enter_async_context(knocking(here, Cookie=cookie))
        assert await (await owner.show()).ask("losses", dot="A" * 43) == "object.not_found"
        assert await guest.ask("see") == {}
        assert await (await crowd[-1].show()).ask("see") == "proof.none"


async def test_where_all_places_are_taken_by_guests_some_are_left_for_the_owner(
    here: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST_VISITORS", 2)
    await until(lambda: not here.page.visitors)
    cookie = owners_cookie(here)
    async with let_in(here, SEE) as first, let_in(here, SEE) as second:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with knocking(here):
                pass
        async with knocking(here, Cookie=cookie) as owner:
            assert await (await owner.show()).ask("losses", dot="A" * 43) == "object.not_found"
        for one in (first, second):
            assert await one.ask("see") == {}


async def test_those_who_show_no_key_make_room_as_well(here: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MOST_VISITORS", 2)
    await until(lambda: not here.page.visitors)
    async with knocking(here) as first, knocking(here), knocking(here) as third:
        await closed(first)
        await (await third.show()).next("you")


async def closed(one: Knocking) -> None:
    """Wait until the page ends a connection."""
    async with asyncio.timeout(5):
        while (await one.socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass


async def test_the_owners_cookie_shown_with_another_key_opens_nothing(here: Street) -> None:
    cookie = owners_cookie(here)
    async with knocking(here, Cookie=cookie) as first, knocking(here, Cookie=cookie) as thief:
        assert await (await first.show()).ask("losses", dot="A" * 43) == "object.not_found"
        assert await (await thief.show()).ask("losses", dot="A" * 43) == "page.owner"
        async with knocking(here, first.secret, Cookie=cookie) as again:
            assert await (await again.show()).ask("losses", dot="A" * 43) == "object.not_found"


# Invitations -------------------------------------------------------------------------------------------------------


def terms(**changes: Any) -> Terms:
    fields = {"device": "s.light/light0", "verb": "switch", "until": int(time.time()) + DAY, "name": "gina"}
    return Terms(**{**fields, **changes})


async def test_an_invitation_opens_once_and_an_expired_one_never(here: Street) -> None:
    assert here.page.owner is not None
    invitations = here.page.owner.invitations
    code, _ = invitations.invite(terms())
    short, ending = invitations.invite(terms(until=int(time.time()) + 1))
    async with knocking(here) as one, knocking(here) as late:
        await one.show()
        await late.show()
        assert await one.ask("join", code="A" * 22) == "page.invitation"
        assert (await one.ask("join", code=code))["verb"] == "switch"
        assert await late.ask("join", code=code) == "page.invitation"
        await until(lambda: time.time() > ending.expires, 5)
        assert await late.ask("join", code=short) == "page.invitation"
        assert isinstance(await one.ask("prove", where=STATE, payload=text(b'"on"')), dict)
        assert await one.ask("prove", where="s.light/light0/i.dimmer/slot/brightness", payload="") == "proof.none"
        assert await late.ask("prove", where=STATE, payload=text(b'"on"')) == "proof.none"


async def test_what_the_owner_took_back_from_the_page_itself_is_not_given_again(tmp_path: Path) -> None:
    """A page that is started anew hears nothing then, and says so."""
    async with street(tmp_path / "w", "light0") as here:
        (edge,) = [one for one in here.page.view.graph.edges if one.comment == "the home's page"]
        assert here.page.owner is not None
        await here.page.owner.revoke(edge.dot)
        await until(lambda: bool(here.page.view.trouble))
        again = page_of(here.agent, here.site, here.owner.id, tmp_path / "w" / "pages" / "home", owner=here.owner)
        async with again as page:
            assert [one.state for one in page.view.graph.edges if one.comment == "the home's page"] == ["revoked"]


async def test_the_agent_says_who_would_lose_what_and_knows_nothing_of_what_it_does_not_know(here: Street) -> None:
    bob = await here.name("bob", here.person("bob"))
    carol = await here.name("carol", here.person("carol"))
    first = await here.give(here.owner, bob.id, ("publish", "s.door/*"), hops=1)
    await here.give(bob, carol.id, ("publish", "s.door/front"))
    reply = await here.agent.call(Losses(objects=(id_text(first.id),)))
    assert [(one.name, one.right.permission, one.right.pattern) for one in reply.losses] == [
        ("bob", "publish", "s.door/*"),
        ("carol", "publish", "s.door/front"),
    ]
    reply = await here.agent.call(Losses(objects=(id_text(bob.id),)))
    assert [one.name for one in reply.losses] == ["bob", "carol"]
    with pytest.raises(NotFound):
        await here.agent.call(Losses(objects=("A" * 43,)))
