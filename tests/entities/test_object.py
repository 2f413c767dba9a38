"""Objects: kind, body, signature, and an id that is a hash over kind and body."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import made
from wave.codec import armour, encode
from wave.dots.dot import Dot
from wave.entities.object import KINDS, SignedObject, decode_object, from_text, signing_input
from wave.errors import BadArmour, InputError, Malformed, NotCanonical, WrongKind

ALICE = made("alice").entity
DATA = ALICE.to_bytes()


@given(st.sampled_from(KINDS), st.binary(max_size=500), st.binary(min_size=64, max_size=64))
def test_an_object_comes_back_from_its_bytes_and_its_text(kind: str, body: bytes, signature: bytes) -> None:
    """Both ways of travelling keep it whole."""
    signed = SignedObject(kind, body, signature)
    assert decode_object(signed.to_bytes()) == signed
    assert from_text(signed.to_text()) == signed


@pytest.mark.parametrize("kind", KINDS)
def test_the_id_is_the_hash_of_what_is_signed(kind: str) -> None:
    """SHA-256 over "wave/<kind>/v1", a zero byte and the body: the signature is no part of it."""
    expected = hashlib.sha256(b"wave/" + kind.encode() + b"/v1\0body").digest()
    assert SignedObject(kind, b"body", b"s" * 64).id == SignedObject(kind, b"body", b"t" * 64).id == expected


def test_no_signing_input_can_be_read_as_one_of_another_kind() -> None:
    """No kind's prefix begins another's, so a signature over one kind is none over another."""
    prefixes = [signing_input(kind, b"") for kind in KINDS]
    assert not [(a, b) for a in prefixes for b in prefixes if a != b and b.startswith(a)]


@pytest.mark.parametrize("kind", ["", "Entity", "dots", "secret", "entity\0", "dot/v1\0"])
def test_a_kind_that_does_not_exist_is_refused(kind: str) -> None:
    """There are six kinds."""
    with pytest.raises(WrongKind) as caught:
        decode_object(encode((kind, b"", bytes(64))))
    assert caught.value.code == "object.wrong_kind"


def test_an_object_of_another_kind_is_refused_by_name() -> None:
    """Whoever gives an entity where a DoT is wanted is told so."""
    with pytest.raises(WrongKind, match=r"'entity', not 'dot'") as caught:
        Dot.from_bytes(DATA)
    assert caught.value.code == "object.wrong_kind"


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "dot",
        (),
        ("dot", b""),
        ("dot", b"", bytes(64), None),
        (b"dot", b"", bytes(64)),
        ("dot", "", bytes(64)),
        ("dot", b"", "s" * 64),
        ("dot", b"", bytes(63)),
        ("dot", b"", bytes(65)),
        ("dot", b"", b""),
        ("dot", b"", None),
    ],
)
def test_what_has_not_the_shape_of_an_object_is_refused(value: tuple[bytes, ...] | None) -> None:
    """Three parts: text, bytes, and a signature of 64 bytes."""
    with pytest.raises(Malformed) as caught:
        decode_object(encode(value))
    assert caught.value.code == "object.malformed"


def test_every_truncation_of_an_object_is_refused() -> None:
    """A file or a packet that was cut short is noticed."""
    for length in range(len(DATA)):
        with pytest.raises(Malformed):
            decode_object(DATA[:length])


def test_bytes_after_an_object_are_refused() -> None:
    """The whole of the bytes is the object."""
    with pytest.raises(Malformed) as caught:
        decode_object(DATA + b"\0")
    assert caught.value.code == "object.malformed"


def test_an_object_in_a_longer_form_is_refused() -> None:
    """The outer shell is as canonical as the body."""
    with pytest.raises(NotCanonical) as caught:
        decode_object(b"\xdc\x00\x03" + DATA[1:])
    assert caught.value.code == "object.not_canonical"


@given(st.binary(max_size=100))
def test_any_bytes_are_an_object_or_an_input_error(data: bytes) -> None:
    """No bytes bring a reader down."""
    try:
        signed = decode_object(data)
    except InputError:
        return
    assert signed.to_bytes() == data


def test_a_label_that_is_not_the_object_s_kind_is_refused() -> None:
    """The BEGIN line tells the truth."""
    with pytest.raises(WrongKind) as caught:
        from_text(armour("DOT", DATA))
    assert caught.value.code == "object.wrong_kind"


@pytest.mark.parametrize("label", ["entity", "Entity"])
def test_a_label_in_other_letters_is_refused(label: str) -> None:
    """One object has one text."""
    with pytest.raises(BadArmour) as caught:
        from_text(armour(label, DATA))
    assert caught.value.code == "armour.bad"
