"""The hook, asked over HTTP in the forms that EMQX 5 documents: always 200, and no is said in words."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.mqtt.broker import plain, until
from tests.mqtt.village import LIGHT, SLOT, Village, granted
from tests.world import World
from wave.bus import emqx
from wave.bus.emqx import Hook, Management, emqx_config, serving
from wave.bus.login import LIFETIME, signed_login
from wave.bus.marks import Marks
from wave.bus.message import Message
from wave.bus.mqtt_form import bytes_text
from wave.bus.mqtt_topic import credentials_topic, denied_topic, filters, message_topic, proof_topic
from wave.chain.listen import address_of, listen_tcp
from wave.codec import encode, id_text
from wave.dots.proof import Proof
from wave.limits import LIMITS

NAME = "town"
SLOTS = f"{LIGHT}/slot/*"


@pytest.fixture
def village(world: World) -> Village:
    return granted(world)


class Asked:
    """A hook as EMQX asks it."""

    def __init__(self, village: Village, url: str, session: ClientSession, hook: Hook) -> None:
        self.village = village
        self.hook = hook
        self.url = url
        self._session = session

    async def post(self, path: str, body: Any) -> dict[str, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        async with self._session.post(f"{self.url}/{path}", data=data, headers=headers) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            found: dict[str, Any] = await answer.json()
        assert found["result"] in ("allow", "deny")
        return found

    async def connects(self, username: str, password: str, client: str = "c1") -> bool:
        asked = {"clientid": f"{username}-{client}", "username": username, "password": password}
        found = await self.post("authn", asked)
        assert not found.get("is_superuser")
        return bool(found["result"] == "allow")

    async def may(self, who: str, action: str, topic: str, client: str = "c1", **more: str) -> bool:
        me = id_text(self.village.world.id(who))
        named = {"clientid": f"{me}-{client}", "username": me, "action": action, "topic": topic}
        return bool((await self.post("authz", {"qos": "1", "retain": "false", **named, **more}))["result"] == "allow")

    def login(self, who: str, broker: str = NAME, **more: Any) -> tuple[str, str]:
        options = {"now": self.village.world.now, "draw": _draw, **more}
        found = signed_login(self.village.world.entity(who), broker, **options)
        return found.username, found.password


def _draw(size: int) -> bytes:
    import os

    return os.urandom(size)


@asynccontextmanager
async def asking(village: Village, **more: Any) -> AsyncIterator[Asked]:
    options = {"standing": village, "facts": village.facts, "clock": village.clock, "review_every": 0.02, **more}
    with TemporaryDirectory() as directory, closing(Marks(Path(directory) / "marks")) as marks:
        hook = Hook(NAME, (village.home,), **{"marks": marks, **options})
        async with serving(hook, port=0) as url, ClientSession() as session:
            yield Asked(village, url, session, hook)


# Who connects --------------------------------------------------------------------------------------------------------


async def test_a_signed_login_lets_in_once(village: Village) -> None:
    async with asking(village) as hook:
        login = hook.login("alice")
        assert await hook.connects(*login)
        assert not await hook.connects(*login)
        assert await hook.connects(*hook.login("alice"))


async def test_a_login_is_for_one_broker_one_entity_and_one_minute(village: Village) -> None:
    async with asking(village) as hook:
        now = village.world.now
        assert not await hook.connects(*hook.login("alice", broker="other"))
        assert not await hook.connects(hook.login("bob")[0], hook.login("alice")[1])
        assert not await hook.connects(*hook.login("alice", now=now - LIFETIME))
        assert not await hook.connects(*hook.login("alice", now=now + LIMITS.clock_skew + 1))
        assert await hook.connects(*hook.login("alice", now=now + LIMITS.clock_skew))


async def test_another_message_is_no_login(village: Village) -> None:
    alice = village.world.entity("alice")
    proof = Proof.build((), (alice.entity,))
    other = Message.create(
        alice, permission="publish", namespace=alice.id, resource=f"!login/{NAME}", payload=b"",
        created=village.world.now, expires=village.world.now + 9, nonce=_draw(16), proof=proof.id,
    )  # fmt: skip
    async with asking(village) as hook:
        assert not await hook.connects(id_text(alice.id), bytes_text(encode((other.to_bytes(), proof.to_bytes()))))


async def test_a_revoked_entity_does_not_get_in(village: Village) -> None:
    async with asking(village) as hook:
        village.world.revoke("alice")
        assert not await hook.connects(*hook.login("alice"))


@pytest.mark.parametrize("password", ["", "x", "A" * 9000, "kgEC", "\N{SNOWMAN}"])
async def test_a_password_that_is_no_login_is_refused(village: Village, password: str) -> None:
    async with asking(village) as hook:
        assert not await hook.connects(id_text(village.world.id("alice")), password)
        assert not await hook.connects("alice", password)


# Who acts ------------------------------------------------------------------------------------------------------------


async def test_rights_are_answered_from_the_grants(village: Village) -> None:
    async with asking(village) as hook:
        slot = message_topic(village.home, SLOT)
        assert await hook.may("alice", "publish", slot)
        assert not await hook.may("alice", "subscribe", slot)
        assert not await hook.may("light", "publish", slot)
        assert await hook.may("light", "subscribe", filters(village.home, SLOTS)[0])
        assert await hook.may("home", "subscribe", f"wave/{id_text(village.home)}/#")
        assert not await hook.may("stranger", "publish", slot)
        assert not await hook.may("alice", "publish", message_topic(village.home, "s.light/light1/x"))
        assert not await hook.may("alice", "publish", message_topic(village.world.id("alice"), SLOT))


async def test_a_subscription_wider_than_held_is_denied(village: Village) -> None:
    """DESIGN §8, fault 6."""
    home = id_text(village.home)
    wide = ["#", "wave/#", f"wave/{home}/#", f"wave/+/{LIGHT}/slot/state", f"$share/g/wave/{home}/{LIGHT}/slot/#"]
    async with asking(village) as hook:
        for topic in [*wide, f"wave/{home}/{LIGHT}/#", f"wave/{home}/{LIGHT}/slot/#/x", f"wave/{home}/{LIGHT}/slot/*x"]:
            assert not await hook.may("light", "subscribe", topic)


async def test_nobody_publishes_at_a_wildcard(village: Village) -> None:
    async with asking(village) as hook:
        for last in ("+", "#", "*"):
            assert not await hook.may("home", "publish", f"wave/{id_text(village.home)}/{LIGHT}/slot/{last}")


async def test_proofs_and_notes_have_rules_of_their_own(village: Village) -> None:
    alice, light = village.world.id("alice"), village.world.id("light")
    async with asking(village) as hook:
        assert await hook.may("alice", "publish", proof_topic(alice, bytes(32)))
        assert not await hook.may("alice", "publish", proof_topic(light, bytes(32)))
        assert await hook.may("alice", "subscribe", proof_topic(light, bytes(32)))
        assert not await hook.may("alice", "subscribe", "wave/proof/#")
        assert await hook.may("alice", "publish", denied_topic(light))
        assert await hook.may("alice", "subscribe", denied_topic(alice))
        assert not await hook.may("alice", "subscribe", denied_topic(light))
        assert not await hook.may("alice", "publish", credentials_topic(alice))
        assert not await hook.may("alice", "publish", "wave/lock/gate")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"3", b"null", b'{"action": "publish"}', b'{"username": 5, "topic": {}}', b"\xff", b"{" * 9000],
)
async def test_whatever_cannot_be_read_is_denied_with_200(village: Village, body: bytes) -> None:
    async with asking(village) as hook:
        for path in ("authn", "authz"):
            assert (await hook.post(path, body))["result"] == "deny"


async def test_an_unknown_action_is_denied(village: Village) -> None:
    async with asking(village) as hook:
        assert not await hook.may("alice", "admin", message_topic(village.home, SLOT))


# Nothing fails open --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["agent gone", "chain stopped", "a fault of ours"])
async def test_who_cannot_check_denies(village: Village, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN §8, fault 13."""
    async with asking(village) as hook:
        slot = message_topic(village.home, SLOT)
        assert await hook.may("alice", "publish", slot)
        if fault == "agent gone":
            village.chain_down = True
        elif fault == "chain stopped":
            village.block_time = village.world.now - LIMITS.max_staleness - 1
        else:
            monkeypatch.setattr(village, "held", None)
        assert not await hook.may("alice", "publish", slot)
        if fault != "a fault of ours":
            assert not await hook.connects(*hook.login("alice"))


def test_the_configuration_takes_silence_for_a_no() -> None:
    text = emqx_config("http://127.0.0.1:4412")
    assert "no_match = deny" in text
    assert "cache { enable = false }" in text
    assert '"http://127.0.0.1:4412/authn"' in text
    assert '"http://127.0.0.1:4412/authz"' in text
    assert text.count("{") == text.count("}")
    for word in ("clientid", "username", "password", "action", "topic", "qos", "retain"):
        assert f"${{{word}}}" in text


# Sessions end with rights --------------------------------------------------------------------------------------------


class Api:
    """What EMQX's REST API would be asked, and answers with ``status``."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.status = 204

    async def delete(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Basic a2V5OnNlY3JldA=="
        self.ended.append(request.match_info["client"])
        return web.Response(status=self.status)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Management]:
        listener = listen_tcp("127.0.0.1", 0)
        application = web.Application()
        application.router.add_delete("/api/v5/clients/{client}", self.delete)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        try:
            yield Management(address_of(listener, "http"), "key", "secret")
        finally:
            await runner.cleanup()


async def test_a_revocation_ends_the_session_and_no_other(village: Village) -> None:
    api = Api()
    async with api.serving() as management, asking(village, management=management) as hook:
        slot = message_topic(village.home, SLOT)
        for who, client in (("alice", "a 1/%"), ("light", "b")):
            assert await hook.connects(*hook.login(who), client=client)
        assert await hook.may("alice", "publish", slot, client="a 1/%")
        assert await hook.may("light", "subscribe", slot, client="b")
        village.world.revoke(village.given)
        await until(lambda: api.ended)
        assert set(api.ended) == {f"{id_text(village.world.id('alice'))}-a 1/%"}
        assert not await hook.may("alice", "publish", slot, client="a 1/%")


async def test_a_session_is_ended_however_often_it_takes(village: Village) -> None:
    api, told = Api(), list[str]()
    api.status = 500
    async with api.serving() as management, asking(village, management=management, tell=told.append) as hook:
        assert await hook.connects(*hook.login("alice"))
        assert await hook.may("alice", "publish", message_topic(village.home, SLOT))
        village.world.revoke(village.given)
        await until(lambda: len(api.ended) > 2)
        api.status = 204
        count = len(api.ended)
        await until(lambda: len(api.ended) > count)
    assert told
    assert "secret" not in " ".join(told) + repr(management)


async def test_without_fresh_facts_sessions_end_when_the_last_ones_are_stale(village: Village) -> None:
    api = Api()
    async with api.serving() as management, asking(village, management=management) as hook:
        assert await hook.connects(*hook.login("alice"))
        assert await hook.may("alice", "publish", message_topic(village.home, SLOT))
        await _reviews()
        village.block_time = village.world.now
        village.chain_down = True
        await _reviews()
        assert not api.ended
        village.world.now += LIMITS.max_staleness
        await until(lambda: api.ended)


async def _reviews() -> None:
    import asyncio

    await asyncio.sleep(0.1)


def test_a_login_shows_no_password_in_its_text(village: Village) -> None:
    found = signed_login(village.world.entity("alice"), NAME, now=village.world.now, draw=_draw)
    assert found.password not in repr(found)


# Whose session it is -------------------------------------------------------------------------------------------------


async def test_a_client_id_belongs_to_the_entity_that_it_begins_with(village: Village) -> None:
    """EMQX goes on with a session for whoever names its client id."""
    alice, light = id_text(village.world.id("alice")), id_text(village.world.id("light"))
    slot = message_topic(village.home, SLOT)
    async with asking(village) as hook:
        for client in ("", "panel", light, f"{light}-1", alice[:-1], f"{alice}1", f"x{alice}", f"{alice}-{'x' * 128}"):
            username, password = hook.login("alice")
            body = {"clientid": client, "username": username, "password": password}
            assert (await hook.post("authn", body))["result"] == "deny", client
            asked = {"clientid": client, "username": alice, "action": "publish", "topic": slot}
            assert (await hook.post("authz", asked))["result"] == "deny", client
        for client in (alice, f"{alice}-1"):
            username, password = hook.login("alice")
            body = {"clientid": client, "username": username, "password": password}
            assert (await hook.post("authn", body))["result"] == "allow"


async def test_the_bus_connects_under_a_client_id_of_its_entity(village: Village, tmp_path: Path) -> None:
    with plain(tmp_path, "log_type all") as broker:
        village.url = broker.url
        async with village.bus("alice") as alice:
            await alice.publish(village.home, SLOT, b'"on"')
        assert f" as {id_text(alice.secret.id)}-" in broker.log()


async def test_whoever_has_no_right_there_gets_nowhere(village: Village) -> None:
    stranger, alice = village.world.id("stranger"), village.world.id("alice")
    async with asking(village) as hook:
        assert not await hook.connects(*hook.login("stranger"))
        assert not await hook.may("stranger", "subscribe", "wave/proof/+/+")
        assert not await hook.may("stranger", "publish", proof_topic(stranger, bytes(32)))
        assert not await hook.may("stranger", "publish", denied_topic(alice))
        assert hook.hook._known == {}
        village.give("home", "everybody", f"subscribe@home/{SLOTS}")
        assert await hook.connects(*hook.login("stranger"))
        assert await hook.may("stranger", "subscribe", "wave/proof/+/+")


async def test_what_is_no_right_to_lose_leaves_room_for_what_is(village: Village) -> None:
    """However many notes and proofs a session publishes, it ends with the right that it used as well."""
    api = Api()
    async with api.serving() as management, asking(village, management=management) as hook:
        assert await hook.connects(*hook.login("light"))
        light = village.world.id("light")
        for number in range(20):
            assert await hook.may("light", "publish", proof_topic(light, number.to_bytes(32)))
            assert await hook.may("light", "publish", denied_topic(number.to_bytes(32)))
        assert await hook.may("light", "subscribe", filters(village.home, SLOTS)[0])
        ((used,),) = [one.sessions.values() for one in hook.hook._known.values()]
        assert len(used) == 1
        village.world.revoke(village.read)
        await until(lambda: api.ended)


async def test_what_cannot_be_remembered_is_denied(village: Village) -> None:
    async with asking(village) as hook:
        assert await hook.connects(*hook.login("alice"))
        ((used,),) = [one.sessions.values() for one in hook.hook._known.values()]
        used.update(
            ("publish", message_topic(village.home, f"{LIGHT}/slot/a{n}")) for n in range(LIMITS.mqtt_rules - 1)
        )
        assert await hook.may("alice", "publish", message_topic(village.home, SLOT))
        assert await hook.may("alice", "publish", message_topic(village.home, SLOT))
        assert not await hook.may("alice", "publish", message_topic(village.home, f"{LIGHT}/slot/one_more"))
        assert len(used) == LIMITS.mqtt_rules


async def test_the_oldest_session_of_an_entity_makes_room_for_its_newest(village: Village) -> None:
    api = Api()
    async with api.serving() as management, asking(village, management=management) as hook:
        alice = id_text(village.world.id("alice"))
        for number in range(LIMITS.mqtt_sessions):
            assert await hook.connects(*hook.login("alice"), client=str(number))
        assert api.ended == []
        assert await hook.connects(*hook.login("alice"), client="new")
        assert api.ended == [f"{alice}-0"]
        api.status = 500
        assert not await hook.connects(*hook.login("alice"), client="newer")
        assert await hook.connects(*hook.login("light"))
        api.status = 204


async def test_guests_make_room_for_those_with_rights(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys somebody makes, where everybody may hear."""
    monkeypatch.setattr(emqx, "LIMITS", replace(LIMITS, mqtt_entities=3))
    village.give("home", "everybody", "subscribe@home/notes")
    async with asking(village) as hook:
        assert await hook.connects(*hook.login("light"))
        for number in range(4):
            assert await hook.connects(*hook.login(f"guest{number}"))
        assert await hook.connects(*hook.login("alice"))
        assert {village.world.id("light"), village.world.id("alice")} <= set(hook.hook._known)
        assert len(hook.hook._known) == 3
        assert await hook.connects(*hook.login("home"))
        assert not await hook.connects(*hook.login("guest9"))


async def test_sessions_whose_entity_has_nothing_left_are_forgotten(village: Village) -> None:
    async with asking(village) as hook:
        assert await hook.connects(*hook.login("alice"))
        assert await hook.connects(*hook.login("light"))
        village.world.revoke(village.given)
        await until(lambda: set(hook.hook._known) == {village.world.id("light")})


async def test_somebody_who_comes_again_keeps_what_it_used(village: Village) -> None:
    """EMQX goes on with its subscriptions, and asks about none of them again."""
    api = Api()
    async with api.serving() as management, asking(village, management=management) as hook:
        assert await hook.connects(*hook.login("light"))
        assert await hook.may("light", "subscribe", filters(village.home, SLOTS)[0])
        village.give("home", "light", f"publish@home/{SLOT}")
        assert await hook.connects(*hook.login("light"))
        village.world.revoke(village.read)
        await until(lambda: api.ended)


# What was shown before -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", ["marks", "nothing"])
async def test_no_login_is_good_again_when_the_hook_starts_anew(village: Village, tmp_path: Path, kept: str) -> None:
    """Nor one of a client whose clock runs ahead."""
    marked = kept == "marks"
    with ExitStack() as stack:
        marks = stack.enter_context(closing(Marks(tmp_path / "m"))) if marked else None
        async with asking(village, marks=marks) as hook:
            ahead = hook.login("alice", now=village.world.now + LIMITS.clock_skew)
            assert await hook.connects(*ahead) is marked
    village.world.now += 20
    with ExitStack() as stack:
        marks = stack.enter_context(closing(Marks(tmp_path / "m"))) if marked else None
        async with asking(village, marks=marks) as hook:
            assert not await hook.connects(*ahead)
            if marked:
                assert await hook.connects(*hook.login("light"))
            else:
                village.world.now += LIMITS.clock_skew + 1
                assert await hook.connects(*hook.login("light"))


# How it is asked -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_a_question_may_come_in_pieces(village: Village, pieces: int) -> None:
    async with asking(village) as hook:
        username, password = hook.login("alice")
        body = json.dumps({"clientid": username, "username": username, "password": password}).encode()
        host, _, port = hook.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /authn HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode())
        size = len(body) // pieces + 1
        for begin in range(0, len(body), size):
            writer.write(body[begin : begin + size])
            await writer.drain()
            await asyncio.sleep(0.02)
        assert b'"result": "allow"' in await reader.read()
        writer.close()


async def test_a_question_that_is_too_long_is_denied_with_200(village: Village) -> None:
    async with asking(village) as hook:
        username, password = hook.login("alice")
        asked = json.dumps({"clientid": username, "username": username, "password": password}).encode()
        whole = asked + b" " * (emqx._BODY - len(asked))
        assert (await hook.post("authn", whole + b" "))["result"] == "deny"
        assert (await hook.post("authn", whole))["result"] == "allow"
