"""Entities: records that certify themselves, and the secrets that go with them."""

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import DAY, NOW, YEAR, World, made
from wave.codec import amend, id_text, record_bytes, sha256
from wave.entities import keys
from wave.entities.entity import EVERYBODY, Entity, EntitySecret
from wave.entities.object import ENTITY, SignedObject, signing_input
from wave.errors import BadSignature, BadTime, InputError, Malformed, TooLarge, UnknownEntity, WrongKind

ALICE = made("alice")
BOB = made("bob")


def drawing(*seeds: bytes) -> Callable[[int], bytes]:
    left = iter(seeds)
    return lambda _: next(left)


def numbered(number: int) -> bytes:
    return sha256(b"draw %d" % number)


def test_an_entity_comes_back_from_its_bytes() -> None:
    """The record carries all that others need to know."""
    entity = Entity.from_bytes(ALICE.entity.to_bytes())
    assert entity == ALICE.entity
    assert hash(entity) == hash(ALICE.entity)
    assert entity != BOB.entity
    assert (entity.created, entity.expires) == (NOW - YEAR, NOW + 9 * YEAR)
    assert entity.verify_key == keys.public_key(ALICE.seed)
    assert entity.exchange_key == keys.exchange_key(ALICE.seed)
    assert entity.id == entity.to_object().id
    entity.check()


def test_the_same_seed_and_fields_give_the_same_entity() -> None:
    """Nothing but the seed is drawn."""
    again = EntitySecret.create(drawing(ALICE.seed), created=NOW - YEAR, expires=NOW + 9 * YEAR)
    assert again.entity.to_bytes() == ALICE.entity.to_bytes()


@pytest.mark.parametrize("field", ["expires", "commitments", "comment", "contact", "created"])
def test_the_id_binds_every_field(field: str) -> None:
    """A thief of the key who changes a commitment or the end of life has made somebody else."""
    changes: dict[str, object] = {
        "expires": NOW + 10 * YEAR,
        "commitments": (sha256(b"the thief's own"),),
        "comment": "x",
        "contact": "x",
        "created": NOW,
    }
    body = record_bytes(amend(ALICE.entity.fields, **{field: changes[field]}))
    outlived = Entity(body, ALICE.sign(ENTITY, body))
    outlived.check()
    assert outlived.id != ALICE.id


def test_an_id_never_begins_with_a_dash() -> None:
    """An id that looked like an option could not be typed; the seed is drawn again."""
    made_with = {}
    for number in range(2000):
        secret = EntitySecret.create(drawing(numbered(number), b"\1" * 32, b"\2" * 32), created=0, expires=1)
        made_with[secret.seed == numbered(number)] = secret
        if len(made_with) == 2:
            break
    assert not id_text(made_with[True].id).startswith("-")
    assert made_with[False].seed == b"\1" * 32  # the first draw began with '-', the second did not
    assert not id_text(made_with[False].id).startswith("-")


def test_many_ids_begin_with_no_dash() -> None:
    """One in 64 would."""
    draws = count()
    ids = [
        id_text(EntitySecret.create(lambda _: numbered(next(draws)), created=0, expires=1).id)[0] for _ in range(300)
    ]
    assert "-" not in ids
    assert next(draws) > 300


def test_the_preimage_hashes_to_the_commitment() -> None:
    """Publishing it is what revokes the entity; it follows from the secret and is not stored."""
    assert sha256(ALICE.preimage()) in ALICE.entity.commitments
    assert sha256(BOB.preimage()) not in ALICE.entity.commitments
    assert EntitySecret(ALICE.seed, ALICE.entity).preimage() == ALICE.preimage()


def test_two_records_under_one_seed_have_different_preimages() -> None:
    """Revoking one says nothing about the other."""
    other = EntitySecret.create(drawing(ALICE.seed), created=NOW - YEAR, expires=NOW + DAY)
    assert other.preimage() != ALICE.preimage()


def test_a_further_revoker_stands_beside_the_entity_s_own() -> None:
    """Whoever knows the other preimage may revoke it too, and the entity's own still does."""
    theirs = sha256(b"the guardian's preimage")
    child = EntitySecret.create(drawing(numbered(1)), created=0, expires=1, revokers=(theirs,))
    assert child.entity.commitments == (sha256(child.preimage()), theirs)


@pytest.mark.parametrize(("created", "expires"), [(5, 5), (6, 5)])
def test_an_entity_that_ends_before_it_begins_is_not_made(created: int, expires: int) -> None:
    """Times are in order."""
    with pytest.raises(BadTime) as caught:
        EntitySecret.create(numbered, created=created, expires=expires)
    assert caught.value.code == "time.bad"


@pytest.mark.parametrize(
    "fields",
    [{"created": -1}, {"expires": 2**70}, {"comment": "\ud800"}, {"revokers": (b"short",)}, {"contact": "a" * 1025}],
    ids=["negative", "beyond 64 bits", "surrogate", "short commitment", "long contact"],
)
def test_an_entity_that_nobody_could_read_is_not_made(fields: dict[str, object]) -> None:
    """What cannot be read is refused where it is made."""
    with pytest.raises(Malformed) as caught:
        EntitySecret.create(numbered, **{"created": 0, "expires": 1, **fields})  # type: ignore[arg-type]
    assert caught.value.code == "object.malformed"


def test_an_entity_too_large_for_an_object_is_not_made() -> None:
    """Body, kind and signature together have to fit."""
    wide = "\N{GRINNING FACE}"
    EntitySecret.create(numbered, created=0, expires=1, contact=wide * 1000, comment=wide * 970)
    with pytest.raises(TooLarge) as caught:
        EntitySecret.create(numbered, created=0, expires=1, contact=wide * 1000, comment=wide * 1005)
    assert caught.value.code == "limit.exceeded"


@given(st.binary(max_size=40), st.integers(0, 300))
def test_an_altered_record_is_another_entity_or_none(noise: bytes, place: int) -> None:
    """No change keeps the id, and none keeps the signature good."""
    body = ALICE.entity.body
    altered = body[:place] + noise + body[place + len(noise) :]
    try:
        entity = Entity(altered, ALICE.entity.signature)
    except InputError:
        return
    assert (entity.id == ALICE.id) == (altered == body)
    if altered != body:
        with pytest.raises((BadSignature, BadTime)):
            entity.check()


def test_a_record_signed_by_another_key_does_not_check() -> None:
    """Publishing asks for the record's own signature."""
    forged = Entity(ALICE.entity.body, BOB.sign(ENTITY, ALICE.entity.body))
    with pytest.raises(BadSignature) as caught:
        forged.check()
    assert caught.value.code == "signature.bad"


def test_a_record_whose_times_are_out_of_order_does_not_check() -> None:
    """Signed or not."""
    body = record_bytes(amend(ALICE.entity.fields, created=5, expires=5))
    with pytest.raises(BadTime) as caught:
        Entity(body, ALICE.sign(ENTITY, body)).check()
    assert caught.value.code == "time.bad"


def test_a_signature_over_another_kind_is_none_over_an_entity() -> None:
    """The kind is part of what is signed."""
    body = ALICE.entity.body
    signature = keys.sign(ALICE.seed, signing_input("dot", body))
    with pytest.raises(BadSignature):
        Entity(body, signature).check()


def test_an_object_of_another_kind_is_no_entity(world: World) -> None:
    """And says what it is."""
    dot = world.grant("home", "alice", "publish@home/a")
    with pytest.raises(WrongKind) as caught:
        Entity.from_object(dot.to_object())
    assert caught.value.code == "object.wrong_kind"
    with pytest.raises(Malformed):
        Entity.from_object(SignedObject(ENTITY, dot.body, dot.signature))


def test_a_seed_of_somebody_else_makes_no_secret() -> None:
    """Seed and record belong together."""
    with pytest.raises(UnknownEntity) as caught:
        EntitySecret(BOB.seed, ALICE.entity)
    assert caught.value.code == "entity.not_found"


def test_a_secret_s_text_shows_no_secret() -> None:
    """Neither do logs."""
    assert repr(ALICE) == f"EntitySecret({id_text(ALICE.id)})"
    assert repr(ALICE.entity) == f"Entity({id_text(ALICE.id)})"


def test_nobody_is_everybody() -> None:
    """The id of zero bytes has no record: one would need a SHA-256 preimage of it."""
    assert bytes(32) == EVERYBODY
    assert ALICE.id != EVERYBODY
