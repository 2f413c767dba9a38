"""Names: labels, and signed declarations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import DAY, NOW, World, made
from wave.codec import amend, record_bytes, sha256
from wave.entities.entity import EntitySecret
from wave.entities.object import NAME
from wave.errors import BadName, BadSignature, BadTime, InputError, Malformed, UnknownVersion, WrongKind
from wave.limits import LIMITS
from wave.namespace.name import Name, check_label

ALICE = made("alice")
BOB = made("bob")


def declared(giver: EntitySecret = ALICE, label: str = "bob", expires: int = NOW + DAY) -> Name:
    return Name.create(giver, label=label, target=BOB.id, created=NOW, expires=expires)


@pytest.mark.parametrize("label", ["a", "0", "bob", "light-0", "a--b", "x" * LIMITS.label_bytes])
def test_a_label_is_small_letters_digits_and_dashes(label: str) -> None:
    """And is returned as it is."""
    assert check_label(label) == label


@pytest.mark.parametrize(
    "label",
    ["", "-", "-a", "a-", "A", "a_b", "a.b", "a b", "a/b", "é", "a\n", "\u0430", "x" * (LIMITS.label_bytes + 1)],
)
def test_what_is_not_a_label_is_refused(label: str) -> None:
    """No two labels look alike, and none looks like an option, a file or an id."""
    with pytest.raises(BadName) as caught:
        check_label(label)
    assert caught.value.code == "name.bad"
    with pytest.raises(BadName):
        declared(label=label)


def test_a_label_has_a_bound_in_bytes() -> None:
    """At the bound and one past it; an id is longer than any label."""
    assert check_label("x" * LIMITS.label_bytes)
    with pytest.raises(BadName) as caught:
        check_label("x" * (LIMITS.label_bytes + 1))
    assert caught.value.code == "name.bad"
    assert LIMITS.label_bytes < 43


def test_a_name_comes_back_from_its_bytes() -> None:
    """Giver, label, target and times."""
    name = Name.from_bytes(declared().to_object().to_bytes())
    fields = name.fields
    assert (fields.giver, fields.label, fields.target) == (ALICE.id, "bob", BOB.id)
    assert (fields.created, fields.expires) == (NOW, NOW + DAY)
    assert name.id == name.to_object().id
    name.check(ALICE.entity.verify_key)


def test_a_name_signed_by_another_does_not_check() -> None:
    """Nobody names in another's name."""
    name = declared()
    forged = Name(name.body, BOB.sign(NAME, name.body))
    with pytest.raises(BadSignature) as caught:
        forged.check(ALICE.entity.verify_key)
    assert caught.value.code == "signature.bad"


def test_the_preimage_of_a_name_hashes_to_its_commitment() -> None:
    """The giver takes it back, nobody else."""
    name = declared()
    assert sha256(name.preimage(ALICE)) in name.fields.commitments
    assert sha256(name.preimage(BOB)) not in name.fields.commitments
    assert name.preimage(ALICE) != declared(label="rob").preimage(ALICE)


@pytest.mark.parametrize("expires", [NOW, NOW - 1])
def test_a_name_that_ends_before_it_begins_is_not_made(expires: int) -> None:
    """Times are in order."""
    with pytest.raises(BadTime) as caught:
        declared(expires=expires)
    assert caught.value.code == "time.bad"


def test_a_name_with_a_bad_label_is_not_read() -> None:
    """Whoever signed it."""
    body = record_bytes(amend(declared().fields, label="Bob"))
    with pytest.raises(BadName) as caught:
        Name(body, ALICE.sign(NAME, body))
    assert caught.value.code == "name.bad"


def test_a_name_for_what_is_no_id_is_not_made() -> None:
    """A target is 32 bytes."""
    with pytest.raises(Malformed) as caught:
        Name.create(ALICE, label="bob", target=b"bob", created=NOW, expires=NOW + DAY)
    assert caught.value.code == "object.malformed"


def test_a_name_of_another_version_is_named() -> None:
    """Version 2 is not guessed at."""
    body = declared().body
    with pytest.raises(UnknownVersion) as caught:
        Name(body[:1] + b"\2" + body[2:], bytes(64))
    assert caught.value.code == "object.unknown_version"


def test_an_object_of_another_kind_is_no_name(world: World) -> None:
    """And says what it is."""
    with pytest.raises(WrongKind) as caught:
        Name.from_object(ALICE.entity.to_object())
    assert caught.value.code == "object.wrong_kind"
    with pytest.raises(WrongKind):
        Name.from_bytes(world.grant("home", "alice", "publish@home/a").to_bytes())


@given(st.integers(0, 300), st.integers(1, 255))
def test_an_altered_name_does_not_check(place: int, change: int) -> None:
    """Whichever byte it is."""
    name = declared()
    body = bytearray(name.body)
    body[place % len(body)] ^= change
    try:
        altered = Name(bytes(body), name.signature)
    except InputError:
        return
    with pytest.raises(BadSignature):
        altered.check(ALICE.entity.verify_key)


def test_a_name_shows_label_and_target() -> None:
    """For logs."""
    assert repr(declared()).startswith("Name('bob' -> ")
