"""A message as an MQTT publication: there and back, and nothing that can be changed unnoticed."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import NOW, made
from wave.bus.message import Message, Payload, body_of
from wave.bus.mqtt_form import SEVERAL, bytes_text, carried, read, text_bytes
from wave.bus.mqtt_line import Carried
from wave.errors import InputError, Malformed, WaveError

ALICE, HOME = made("alice"), made("home")


def message(**fields: object) -> Message:
    known: dict[str, object] = {
        "permission": "publish",
        "namespace": HOME.id,
        "resource": "light/0",
        "payload": b"{}",
        "created": NOW,
        "expires": NOW + 30,
        "nonce": b"n" * 16,
        "proof": b"p" * 32,
    }
    return Message.create(ALICE, **{**known, **fields})


@given(
    st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=40)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 2**31 - 1),
)
def test_what_was_signed_comes_back_to_the_byte(
    payloads: list[tuple[str, bytes]],
    persist: bool,  # noqa: FBT001 - hypothesis gives it
    sequence: int,
) -> None:
    sent = message(payloads=tuple(Payload(*one) for one in payloads), persist=persist, sequence=sequence)
    got = read(carried(sent))
    assert (got.body, got.signature, got.id) == (sent.body, sent.signature, sent.id)
    got.check(ALICE.entity.verify_key)


def test_one_payload_travels_as_it_is() -> None:
    """Whoever knows nothing of this reads it all the same."""
    found = carried(message(payload=b'{"state": "on"}'))
    assert (found.payload, found.content_type) == (b'{"state": "on"}', "application/json")


def test_a_lone_payload_that_looks_like_several_stays_one() -> None:
    sent = message(payload=b"x", content_type=SEVERAL)
    assert read(carried(sent)).body == sent.body


def test_a_message_of_a_sheaf_keeps_its_place() -> None:
    bodies = [
        body_of(
            ALICE.id,
            permission="publish",
            namespace=HOME.id,
            resource="a",
            created=NOW,
            expires=NOW + 9,
            nonce=os.urandom(16),
        )
        for _ in range(3)
    ]
    for sent in Message.signed(ALICE, bodies):
        got = read(carried(sent))
        assert got.place == sent.place
        got.check(ALICE.entity.verify_key)


@pytest.mark.parametrize("at", range(len(carried(message(sequence=1)).user)))
def test_a_property_that_is_changed_missing_or_twice_is_noticed(at: int) -> None:
    whole = carried(message(sequence=1))
    name, text = whole.user[at]
    rest = whole.user[:at] + whole.user[at + 1 :]
    other = text[:-2] + ("AA" if not text.endswith("AA") else "BB") if len(text) > 9 else "7"
    for user in (rest, (*rest, (name, other)), (*whole.user, (name, text))):
        with pytest.raises(WaveError):
            read(replace(whole, user=user)).check(ALICE.entity.verify_key)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": b'{"state": "off"}'},
        {"content_type": "text/plain"},
        {"topic": carried(message(resource="light/1")).topic},
        {"topic": carried(message(namespace=ALICE.id)).topic},
    ],
)
def test_what_is_not_in_a_property_cannot_be_changed_either(change: dict[str, object]) -> None:
    with pytest.raises(WaveError, match="does not verify"):
        read(replace(carried(message()), **change)).check(ALICE.entity.verify_key)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wave-created", "01"),
        ("wave-created", "+1"),
        ("wave-created", "-1"),
        ("wave-created", "\N{ARABIC-INDIC DIGIT ONE}"),
        ("wave-persist", "true"),
        ("wave-nonce", "not base64!"),
        ("wave-sender", "AAAA"),
        ("wave-permission", "nothing"),
        ("wave-place", "AAAA"),
        ("wave-version", "2"),
        ("wave-else", "1"),
        ("wave-sequence", "99999999999999"),
    ],
)
def test_a_value_has_one_form(name: str, text: str) -> None:
    whole = carried(message())
    user = (*[pair for pair in whole.user if pair[0] != name], (name, text))
    with pytest.raises(InputError):
        read(replace(whole, user=user))


def test_properties_of_others_are_none_of_ours() -> None:
    whole = carried(message())
    assert read(replace(whole, user=(("trace", "1"), *whole.user, ("trace", "2")))).body == message().body


@pytest.mark.parametrize("data", [b"", b"\x90", b"\x91\x92\xa1a\xc4\x01b", b"\x91\x01", b"\xc1"])
def test_several_payloads_are_several(data: bytes) -> None:
    with pytest.raises(InputError):
        read(replace(carried(message()), content_type=SEVERAL, payload=data))


@pytest.mark.parametrize("topic", ["wave/x", "light/0", "wave", "wave/AAAA/light", ""])
def test_a_topic_that_is_no_place_is_refused(topic: str) -> None:
    with pytest.raises(InputError):
        read(replace(carried(message()), topic=topic))


@given(st.binary(max_size=80))
def test_bytes_have_one_text(data: bytes) -> None:
    assert text_bytes(bytes_text(data)) == data
    with pytest.raises(Malformed):
        text_bytes(bytes_text(data) + "=")


def test_an_empty_publication_is_no_message() -> None:
    with pytest.raises(Malformed):
        read(Carried(carried(message()).topic, b""))
