"""Messages and the check before them, without any network."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import DAY, NOW, World, made
from wave.bus.message import JSON, PUBLISH, SUBSCRIBE, Accepted, Inbox, Message, MessageFields, Payload
from wave.codec import VERSION, amend, record_bytes
from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.entities.object import MESSAGE
from wave.errors import (
    BadPattern,
    BadSignature,
    BadTime,
    ConditionFailed,
    ConditionMissing,
    EntityRevoked,
    InputError,
    Malformed,
    MessageStale,
    MissingEntity,
    NotCanonical,
    OutOfScope,
    RateExceeded,
    Refused,
    Replayed,
    Revoked,
    StaleFacts,
    TooLarge,
    UnknownVersion,
    WaveError,
    WrongKind,
    WrongProof,
    WrongPurpose,
    WrongSender,
)
from wave.limits import LIMITS
from wave.namespace.condition import rate, where

SLOT = "s.light/light0/i.boolean/slot/state"


def message(secret: EntitySecret, namespace: bytes, proof: Proof | None = None, **changes: Any) -> Message:
    fields: dict[str, Any] = {
        "permission": PUBLISH,
        "resource": SLOT,
        "payload": b'{"state":"on"}',
        "created": NOW,
        "expires": NOW + 30,
        "nonce": bytes(16),
        "proof": None if proof is None else proof.id,
    }
    return Message.create(secret, namespace=namespace, **{**fields, **changes})


class Case:
    """Alice may publish to the light of home, and a receiver has its inbox."""

    def __init__(self, world: World, *conditions: Any) -> None:
        self.world = world
        self.home = world.id("home")
        self.alice = world.entity("alice")
        self.dot = world.grant("home", "alice", f"publish@home/{SLOT}", conditions=conditions)
        self.proof = world.proof(self.dot)
        self.inbox = Inbox()

    def message(self, **changes: Any) -> Message:
        return message(self.alice, self.home, self.proof, **changes)

    def accept(self, one: Message, proof: Proof | None = None, **more: Any) -> Accepted:
        options = {"permission": PUBLISH, "now": self.world.now, "facts": self.world.facts, **more}
        return self.inbox.accept(one, self.proof if proof is None else proof, **options)


@pytest.fixture
def case(world: World) -> Case:
    return Case(world)


# One message, one encoding, one signature (DESIGN §8, fault 8) ------------------------------------------------------


def test_a_message_survives_its_bytes(case: Case) -> None:
    one = case.message(sequence=7, content_type="text/plain")
    again = Message.from_bytes(one.to_bytes())
    assert again.fields == one.fields
    assert again.id == one.id
    assert case.accept(again).message.sender == case.alice.id


def test_a_longer_form_of_the_same_body_is_no_message(case: Case) -> None:
    body = case.message().body
    longer = b"\xdc\x00\x0c" + body[1:]  # array16 in the place of fixarray
    with pytest.raises(Malformed):
        Message(longer, bytes(64))
    number = record_bytes(case.message(sequence=3).fields).replace(b"\x03\xc4\x10", b"\xcc\x03\xc4\x10")
    with pytest.raises(NotCanonical):
        Message(number, bytes(64))


def test_a_further_field_is_refused(case: Case) -> None:
    body = case.message().body
    with pytest.raises(Malformed):
        Message(bytes([body[0] + 1]) + body[1:] + b"\xc0", bytes(64))


def test_another_version_is_named_as_such(case: Case) -> None:
    body = bytearray(case.message().body)
    body[1] = 2
    with pytest.raises(UnknownVersion):
        Message(bytes(body), bytes(64))


def test_an_object_of_another_kind_is_no_message(case: Case) -> None:
    with pytest.raises(WrongKind):
        Message.from_bytes(case.dot.to_bytes())


@given(
    st.tuples(st.text("ab/+", max_size=3), st.binary(max_size=3), st.text("ab", max_size=3)),
    st.tuples(st.text("ab/+", max_size=3), st.binary(max_size=3), st.text("ab", max_size=3)),
)
def test_different_fields_never_have_the_same_bytes(one: tuple[str, bytes, str], other: tuple[str, bytes, str]) -> None:
    def body(parts: tuple[str, bytes, str]) -> bytes:
        where, payload, kind = parts
        return record_bytes(
            MessageFields(
                VERSION,
                bytes(32),
                PUBLISH,
                bytes(32),
                where,
                (Payload(kind, payload),),
                False,
                0,
                1,
                0,
                bytes(16),
                None,
            )
        )

    assert (body(one) == body(other)) == (one == other)


CHANGES: dict[str, object] = {
    "sender": made("mallory").id,
    "permission": "query",
    "namespace": made("elsewhere").id,
    "resource": "s.light/light1/i.boolean/slot/state",
    "payloads": (Payload(JSON, b'{"state":"off"}'),),
    "persist": True,
    "created": NOW - 1,
    "expires": NOW + 31,
    "sequence": 1,
    "nonce": bytes(15) + b"\x01",
    "proof": None,
}


def test_the_table_of_changes_has_every_field() -> None:
    assert set(CHANGES) == set(MessageFields.__struct_fields__) - {"version"}


@pytest.mark.parametrize("field", CHANGES)
def test_a_message_with_one_field_altered_is_refused(case: Case, field: str) -> None:
    one = case.message()
    forged = Message(record_bytes(amend(one.fields, **{field: CHANGES[field]})), one.signature)
    with pytest.raises(Refused):
        case.accept(forged)
    case.accept(one)  # and nothing was remembered of the forgery


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    case = Case(World())
    encoded = bytearray(case.message().to_bytes())
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WaveError):
        case.accept(Message.from_bytes(bytes(encoded)))


def test_a_signature_of_another_key_is_refused(case: Case) -> None:
    one = case.message()
    forged = Message(one.body, case.world.entity("mallory").sign(MESSAGE, one.body))
    with pytest.raises(BadSignature):
        case.accept(forged)


def test_a_signature_for_another_kind_of_object_is_refused(case: Case) -> None:
    one = case.message()
    with pytest.raises(BadSignature):
        case.accept(Message(one.body, case.alice.sign("dot", one.body)))


# Replay and time (fault 8) ------------------------------------------------------------------------------------------


def test_a_message_is_accepted_once(case: Case) -> None:
    one = case.message()
    case.accept(one)
    with pytest.raises(Replayed):
        case.accept(one)
    case.accept(case.message(nonce=b"n" * 16))


def test_a_message_counts_within_its_time_alone(case: Case) -> None:
    one = case.message()
    for now in (NOW - LIMITS.clock_skew - 1, NOW + 30):
        with pytest.raises(MessageStale):
            case.accept(one, now=now)
    case.accept(one, now=NOW - LIMITS.clock_skew)


def test_the_last_second_counts(case: Case) -> None:
    case.accept(case.message(), now=NOW + 29)


def test_a_message_may_not_claim_a_long_life(case: Case) -> None:
    with pytest.raises(BadTime):
        case.message(expires=NOW + LIMITS.message_lifetime + 1)
    case.accept(case.message(expires=NOW + LIMITS.message_lifetime))
    fields = amend(case.message().fields, expires=NOW + LIMITS.message_lifetime + 1, nonce=b"n" * 16)
    body = record_bytes(fields)
    with pytest.raises(MessageStale):
        case.accept(Message(body, case.alice.sign(MESSAGE, body)))


def test_a_message_from_before_its_receiver_started_is_refused(case: Case) -> None:
    case.inbox = Inbox(since=NOW + 1)
    with pytest.raises(MessageStale):
        case.accept(case.message(), now=NOW + 1)


def test_what_was_refused_may_still_be_accepted(case: Case) -> None:
    one = case.message()
    with pytest.raises(StaleFacts):
        case.accept(one, now=NOW, facts=World(NOW - 121).facts)
    case.accept(one)


# Whose proof it is (fault 5), and for what --------------------------------------------------------------------------


def test_somebody_elses_proof_serves_nobody(case: Case) -> None:
    mallory = case.world.entity("mallory")
    proof = Proof.build(case.proof.paths, [*case.proof.entities.values(), mallory.entity])
    with pytest.raises(WrongSender):
        case.accept(message(mallory, case.home, proof), proof)


def test_a_message_names_the_proof_beside_it(case: Case) -> None:
    other = case.world.proof(case.world.grant("home", "alice", "publish@home/*"))
    with pytest.raises(WrongProof):
        case.accept(case.message(), other)


def test_a_proof_of_everybodys_right_needs_the_senders_own_record(case: Case) -> None:
    case.world.entity("carol")
    bare = case.world.proof(case.world.grant("home", "everybody", f"publish@home/{SLOT}"))
    whole = Proof.build(bare.paths, [*bare.entities.values(), case.world.entity("carol").entity])
    carol = case.world.entity("carol")
    with pytest.raises(MissingEntity):
        case.accept(message(carol, case.home, bare), bare)
    case.accept(message(carol, case.home, whole), whole)
    case.world.revoke("carol")
    with pytest.raises(EntityRevoked):
        case.accept(message(carol, case.home, whole, nonce=b"n" * 16), whole)


def test_the_namespace_needs_its_own_record_alone(case: Case) -> None:
    home = case.world.entity("home")
    proof = Proof.build((), [home.entity])
    case.accept(message(home, home.id, proof), proof)


def test_nobody_signs_for_everybody(case: Case) -> None:
    one = case.message()
    body = record_bytes(amend(one.fields, sender=bytes(32)))
    proof = case.world.proof(case.world.grant("home", "everybody", f"publish@home/{SLOT}"))
    body = record_bytes(amend(one.fields, sender=bytes(32), proof=proof.id))
    with pytest.raises(MissingEntity):
        case.accept(Message(body, bytes(64)), proof)


def test_a_wildcard_cannot_be_published_to(case: Case) -> None:
    for pattern in ("s.light/*", "s.light/+/i.boolean/slot/state"):
        with pytest.raises(BadPattern):
            case.message(resource=pattern)
        body = record_bytes(amend(case.message().fields, resource=pattern))
        with pytest.raises(BadPattern):
            Message(body, case.alice.sign(MESSAGE, body))


def test_a_subscription_cannot_be_shown_as_a_publication(case: Case) -> None:
    dot = case.world.grant("home", "alice", f"publish,subscribe@home/{SLOT}")
    proof = case.world.proof(dot)
    subscription = message(case.alice, case.home, proof, permission=SUBSCRIBE)
    with pytest.raises(WrongPurpose):
        case.accept(subscription, proof)
    case.accept(subscription, proof, permission=SUBSCRIBE)


def test_another_resource_than_the_granted_one_is_refused(case: Case) -> None:
    with pytest.raises(OutOfScope):
        case.accept(case.message(resource="s.light/light1/i.boolean/slot/state"))


def test_a_revoked_right_is_refused_at_once(case: Case) -> None:
    case.accept(case.message())
    case.world.revoke(case.dot)
    with pytest.raises(Revoked) as caught:
        case.accept(case.message(nonce=b"n" * 16))
    assert caught.value.decision is not None


def test_stale_facts_refuse_messages_too(case: Case) -> None:
    """DESIGN §8, fault 13."""
    facts = case.world.facts
    late = NOW + LIMITS.max_staleness
    case.accept(case.message(created=late, expires=late + 9), now=late, facts=facts)
    with pytest.raises(StaleFacts):
        case.accept(case.message(created=late, expires=late + 9, nonce=b"n" * 16), now=late + 1, facts=facts)


# Values and rates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b'{"set_point":66}', None),
        (b'{"set_point":74.0}', None),
        (b'{"set_point":80}', ConditionFailed),
        (b'{"hsp":70}', None),
        (b'{"hsp":70,"csp":74}', None),
        (b'{"hsp":70,"csp":80}', ConditionFailed),
        (b'{"hsp":65,"csp":70}', ConditionFailed),
        (b'{"hsp":70,"csp":70,"set_point":80}', ConditionFailed),
        (b'{"hsp":"70"}', ConditionMissing),
        (b'{"set_point":true}', ConditionMissing),
        (b'{"set_point":70,"set_point":80}', ConditionMissing),
        (b'{"set_point":NaN}', ConditionMissing),
        (b'{"set_point":1e999}', ConditionMissing),
        (b'{"set_point":1e9999999999999999999999}', ConditionMissing),
        (b'{"set_point":70,"more":0e-9999999999999999999999}', ConditionMissing),
        (b"[70]", ConditionMissing),
        (b"\xff", ConditionMissing),
        (b"[" * 100_000, ConditionMissing),
    ],
)
def test_every_number_in_a_payload_is_held_to_its_bounds(
    world: World, payload: bytes, fault: type[Exception] | None
) -> None:
    case = Case(world, where("set_point 66..74"))
    if fault is None:
        case.accept(case.message(payload=payload))
    else:
        with pytest.raises(fault):
            case.accept(case.message(payload=payload))


def test_a_number_that_does_not_call_itself_json_is_no_value(world: World) -> None:
    case = Case(world, where("set_point 66..74"))
    with pytest.raises(ConditionMissing):
        case.accept(case.message(payload=b'{"set_point":70}', content_type="text/plain"))


def test_a_rate_is_counted_and_refusals_use_nothing_up(world: World) -> None:
    case = Case(world, rate("2/60s"))
    nonces = [bytes(15) + bytes([number]) for number in range(9)]
    forged = Message(case.message(nonce=nonces[0]).body, bytes(64))
    for _ in range(3):
        with pytest.raises(BadSignature):
            case.accept(forged)
    case.accept(case.message(nonce=nonces[1]))
    case.accept(case.message(nonce=nonces[2]))
    with pytest.raises(RateExceeded):
        case.accept(case.message(nonce=nonces[3]))
    later = NOW + 60
    case.world.pass_time(60)
    case.accept(case.message(nonce=nonces[4], created=later, expires=later + 30))


# Bounds -------------------------------------------------------------------------------------------------------------


def test_a_message_has_a_largest_size(case: Case) -> None:
    def fits(size: int) -> Message:
        return Message.from_bytes(case.message(payload=bytes(size)).to_bytes())

    overhead = len(case.message(payload=bytes(70_000)).to_bytes()) - 70_000
    fits(LIMITS.message_bytes - overhead)
    with pytest.raises(TooLarge):
        fits(LIMITS.message_bytes - overhead + 1)


@pytest.mark.parametrize(
    ("change", "good", "bad"),
    [
        ("nonce", bytes(16), bytes(17)),
        ("nonce", bytes(16), bytes(15)),
        ("content_type", "t" * LIMITS.content_type_characters, "t" * (LIMITS.content_type_characters + 1)),
        ("sequence", 2**31 - 1, 2**31),
    ],
)
def test_a_field_has_its_bounds(case: Case, change: str, good: object, bad: object) -> None:
    case.message(**{change: good})
    with pytest.raises(InputError):
        case.message(**{change: bad})


def test_the_yes_says_until_when(case: Case, world: World) -> None:
    accepted = case.accept(case.message())
    assert accepted.grant.until == world.now + 30 * DAY
    assert accepted.grant.paths == ((case.dot,),)
