"""Sessions: requests numbered, each good once, under a key that only the signer and this service have."""

import asyncio
import hashlib
import json
from typing import Any

import pytest

from tests.guard.gate import INFER, Gate, with_headers
from wave.codec import id_text
from wave.dots.facts import Facts
from wave.errors import (
    BadHttpSignature,
    BadPayload,
    BadSignature,
    BodyTooLarge,
    ConditionMissing,
    MessageStale,
    NotMapped,
    NotSigned,
    OutOfScope,
    RateExceeded,
    Replayed,
    Revoked,
    UnknownSession,
    WrongAuthority,
    WrongProof,
)
from wave.guard.session import SESSION_PATH, Half, Sessions, parse_half, session_head, session_mac, session_told
from wave.guard.shown import Shown, by_id, whole
from wave.guard.signature import SESSION_HEADER, HttpRequest, beginning, read
from wave.limits import LIMITS
from wave.namespace.condition import rate, where


class Open:
    """A session begun with a gate, as a client would."""

    def __init__(self, gate: Gate, identity: str, key: bytes, proof: Any) -> None:
        self.gate, self.identity, self.key, self.proof = gate, identity, key, proof

    @classmethod
    async def begin(cls, gate: Gate, proof: Any = None, **body: Any) -> "Open":
        half = Half()
        shown = proof or gate.proof
        request = handshake(gate, shown, **{"exchange": id_text(half.public), **body})
        answer = await gate.guard.begin_session(request)
        told = json.loads(answer.body)
        key = half.key(parse_half(told["exchange"]), read(request).base, told["session"])
        return cls(gate, told["session"], key, shown)

    def request(self, number: int, *, key: bytes | None = None, told: str | None = None, **parts: Any) -> HttpRequest:
        request = self.gate.request(**parts)
        told = told or session_told(self.identity, number, self.gate.world.now)
        mac = session_mac(key or self.key, session_head(beginning(request), by_id(self.proof), told) + request.body)
        return with_headers(request, {SESSION_HEADER: f"{told}.{mac}"})


def handshake(gate: Gate, shown: Any, name: str = "bob", **body: Any) -> HttpRequest:
    text = json.dumps({"method": "POST", "path": INFER, **body}).encode()
    return gate.signed(name, proof=shown, path=SESSION_PATH, body=text)


async def test_requests_of_a_session_are_good_once_each_in_any_order_within_its_window() -> None:
    gate = Gate()
    session = await Open.begin(gate)
    for number in (1, 3, 2, 1025, 5):
        assert await gate.admit(session.request(number))
    for number in (1025, 5):
        with pytest.raises(Replayed):
            await gate.admit(session.request(number))
    with pytest.raises(MessageStale):
        await gate.admit(session.request(1))
    assert await gate.admit(session.request(100_000))
    with pytest.raises(MessageStale):
        await gate.admit(session.request(100_000 - LIMITS.session_window))
    assert await gate.admit(session.request(100_001 - LIMITS.session_window))


async def test_what_a_mac_is_over_is_written_out() -> None:
    """So that a client in another language can be written from it."""
    gate = Gate()
    session = await Open.begin(gate)
    told = f"{session.identity}.1.{gate.world.now}"
    over = (
        f'"@method": POST\n"@authority": models.example\n"@path": {INFER}\n"@query": ?a=1\n'
        f'"wave-proof": id={id_text(gate.proof.id)}\n"wave-session": {told}\n\n{{"x": 1}}'
    )
    mac = hashlib.blake2b(over.encode(), key=session.key, digest_size=32).hexdigest()
    request = gate.request(query="?a=1", body=b'{"x": 1}')
    assert await gate.admit(with_headers(request, {"wave-session": f"{told}.{mac}"}))


@pytest.mark.parametrize("before", [0, 2])
async def test_what_was_changed_on_the_way_is_refused_and_uses_no_number_up(before: int) -> None:
    """Whether another request to the same place was let through before or not."""
    gate = Gate(record=None)
    session = await Open.begin(gate)
    for number in range(before):
        assert await gate.enter(session.request(1 + number))
    assert gate.quick == before // 2
    request, now = session.request(3), gate.world.now
    given = request.headers[SESSION_HEADER]
    mac = given.rpartition(".")[2]
    other = session.request(4).headers[SESSION_HEADER].rpartition(".")[2]
    odd = [
        "",
        ".",
        "...",
        f".{given}",
        f"{given}.",
        given.replace(".3.", ".-3."),
        given.replace(".3.", ".\u0663."),
        f"{session.identity}.3.{'0' * 100}{now}.{mac}",
        f"{session.identity}.x.{now}.{mac}",
        f"{session.identity}.3.x.{mac}",
    ]
    for altered, kind in (
        (request._replace(path="/models/beta/infer"), BadSignature),
        (request._replace(query="?x"), BadSignature),
        (request._replace(query="?\n"), BadHttpSignature),
        (request._replace(method="GET", path="/models/alpha"), BadSignature),
        (request._replace(body=b"other"), BadSignature),
        (request._replace(body=b""), BadSignature),
        (request._replace(body=bytes(LIMITS.http_body_bytes + 1)), BodyTooLarge),
        (request._replace(authority="elsewhere.example"), WrongAuthority),
        (session.request(3, key=bytes(32)), BadSignature),
        (session.request(3, told=f"{session.identity}.3.{now - 60}"), MessageStale),
        (session.request(3, told=f"{session.identity}.3.{now + LIMITS.clock_skew + 1}"), MessageStale),
        (with_headers(request, {SESSION_HEADER: given.replace(".3.", ".4.")}), BadSignature),
        (with_headers(request, {SESSION_HEADER: given.replace(".3.", ". 3.")}), BadSignature),
        (with_headers(request, {SESSION_HEADER: given.replace(".3.", ".03.")}), BadSignature),
        (with_headers(request, {SESSION_HEADER: given.replace(mac, other)}), BadSignature),
        (with_headers(request, {SESSION_HEADER: given.replace(mac, mac.upper())}), BadSignature),
        (with_headers(request, {SESSION_HEADER: given.replace(mac, mac[:-1])}), BadSignature),
        (with_headers(request, {SESSION_HEADER: given.replace(mac, "")}), BadSignature),
        (with_headers(request, {SESSION_HEADER: given.replace(session.identity, "A" * 22)}), UnknownSession),
        *[(with_headers(request, {SESSION_HEADER: one}), BadHttpSignature) for one in odd],
    ):
        with pytest.raises(kind) as caught:
            await gate.enter(altered)
        assert caught.value.decision
    assert await gate.enter(request)
    assert gate.quick == before
    with pytest.raises(Replayed):
        await gate.enter(request)


async def test_after_another_request_the_right_is_asked_anew() -> None:
    gate = Gate(record=None)
    session = await Open.begin(gate)
    assert await gate.enter(session.request(1))
    request = session.request(2)
    gate.world.pass_time(60)
    with pytest.raises(MessageStale):
        await gate.enter(request)
    assert await gate.enter(session.request(3))
    assert gate.quick == 1
    later = session.request(4)
    gate.world.revoke(gate.path[2])
    with pytest.raises(Revoked) as revoked:
        await gate.enter(later)
    assert revoked.value.decision


async def test_what_is_counted_or_written_down_is_so_after_another_request_too() -> None:
    gate = Gate()
    session = await Open.begin(gate)
    for number in (1, 2, 3):
        assert await gate.enter(session.request(number))
    assert [one["code"] for one in gate.entries] == ["ok"] * 4
    gate = Gate(record=None)
    proof = gate.world.proof(gate.world.grant("home", "bob", "predict@home/*", conditions=(rate("2/60s"),)))
    session = await Open.begin(gate, proof)
    for number in (1, 2):
        assert await gate.enter(session.request(number))
    with pytest.raises(RateExceeded):
        await gate.enter(session.request(3))


async def test_of_two_alike_that_come_at_once_one_is_let_through() -> None:
    gate = Gate()
    arrived = asyncio.Event()

    async def slowly() -> Facts:
        await arrived.wait()
        return gate.world.facts

    gate.guard = gate.another(facts=slowly)
    arrived.set()
    session = await Open.begin(gate)
    assert await gate.admit(session.request(1))
    arrived.clear()
    both = [asyncio.create_task(gate.admit(session.request(2))) for _ in range(2)]
    await asyncio.sleep(0)
    arrived.set()
    found = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["Caller", "Replayed"]


async def test_each_request_is_asked_for_its_own_right() -> None:
    gate = Gate()
    session = await Open.begin(gate, gate.world.proof(gate.world.grant("home", "bob", "predict@home/models/alpha")))
    assert await gate.admit(session.request(1))
    with pytest.raises(OutOfScope) as caught:
        await gate.admit(session.request(2, path="/models/beta/infer"))
    assert caught.value.details["missing"]


async def test_a_session_ends_with_a_revocation_and_at_its_end() -> None:
    gate = Gate()
    session = await Open.begin(gate)
    gate.world.pass_time(LIMITS.session_lifetime - 1)
    assert await gate.admit(session.request(1))
    gate.world.pass_time(1)
    with pytest.raises(UnknownSession):
        await gate.admit(session.request(2))
    session = await Open.begin(gate)
    gate.world.revoke(gate.path[2])
    with pytest.raises(Revoked):
        await gate.admit(session.request(1))


async def test_rates_and_bounds_hold_in_a_session_and_its_beginning_uses_none_up() -> None:
    gate = Gate()
    proof = gate.world.proof(gate.world.grant("home", "bob", "predict@home/*", conditions=(rate("1/60s"),)))
    session = await Open.begin(gate, proof)
    assert await gate.admit(session.request(1))
    with pytest.raises(RateExceeded):
        await gate.admit(session.request(2))
    bounded = gate.world.proof(gate.world.grant("home", "bob", "predict@home/*", conditions=(where("rows 1..2"),)))
    with pytest.raises(ConditionMissing):
        await Open.begin(gate, bounded)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"exchange": None}, BadPayload),
        ({"exchange": "short"}, BadPayload),
        ({"exchange": id_text(bytes(32))}, BadPayload),
        ({"exchange": id_text(b"\1" + bytes(31))}, BadPayload),
        ({"exchange": id_text(Half().public), "path": "/nowhere"}, NotMapped),
        ({"exchange": id_text(Half().public), "path": 5}, BadPayload),
        ({"exchange": id_text(Half().public), "proof": "id=x"}, WrongProof),
    ],
)
async def test_a_handshake_that_cannot_be_kept_is_refused(body: dict[str, Any], kind: type[Exception]) -> None:
    gate = Gate()
    if body.get("proof"):
        body = {**body, "proof": whole(gate.world.proof(gate.world.grant("home", "bob", "predict@home/*")))}
    with pytest.raises(kind):
        await gate.guard.begin_session(handshake(gate, gate.proof, **body))
    assert len(gate.guard.sessions) == 0


async def test_a_handshake_is_good_once_and_for_who_holds_the_right() -> None:
    gate = Gate()
    request = handshake(gate, gate.proof, exchange=id_text(Half().public))
    await gate.guard.begin_session(request)
    with pytest.raises(Replayed):
        await gate.guard.begin_session(request)
    eve = gate.world.proof(also="eve")
    with pytest.raises(Exception, match="nothing shows"):
        await gate.guard.begin_session(handshake(gate, eve, "eve", exchange=id_text(Half().public)))


async def test_a_session_does_not_begin_within_another() -> None:
    gate = Gate()
    session = await Open.begin(gate)
    with pytest.raises(NotSigned):
        await gate.guard.begin_session(session.request(1, path=SESSION_PATH))


def test_a_senders_own_sessions_give_way_first_and_then_the_one_longest_unused() -> None:
    gate = Gate()
    shown, half = Shown.of(gate.proof), Half().public
    sessions = Sessions(bound=4, per_sender=2)

    def begin(sender: int, number: int) -> str:
        return sessions.begin(bytes([sender]), shown, half, b"", until=10, drawn=bytes([number]) * 16)[0]

    first, second, third = (begin(1, number) for number in (1, 2, 3))
    with pytest.raises(UnknownSession):
        sessions.find(first, 0)
    others = [begin(sender, sender) for sender in (4, 5)]
    assert sessions.find(second, 0).until == 10
    begin(6, 6)
    assert len(sessions) == 4
    with pytest.raises(UnknownSession):
        sessions.find(third, 0)
    assert sessions.find(second, 9).identity == second
    with pytest.raises(UnknownSession):
        sessions.find(second, 10)
    assert sessions.find(others[0], 0).sender == bytes([4])
