"""Proofs: bundles that have one form, and believe nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import World, made
from wave.codec import amend, armour, record_bytes, sha256
from wave.dots.dot import Dot
from wave.dots.proof import _FORMAT, Proof
from wave.errors import BadArmour, InputError, Malformed, NotCanonical, UnknownVersion, WrongKind


@pytest.fixture
def path(world: World) -> tuple[Dot, ...]:
    return world.chain("home alice bob", "publish@home/light/*")


def rebuilt(proof: Proof, **changes: object) -> bytes:
    return record_bytes(amend(_FORMAT.decode(proof.data), **changes))


def malformed(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        Proof.from_bytes(data)
    assert caught.value.code == "object.malformed"


def test_a_proof_comes_back_from_its_bytes_and_its_text(world: World, path: tuple[Dot, ...]) -> None:
    """Paths, DoTs and records, in order."""
    other = world.grant("home", "bob", "list@home/*")
    proof = world.proof(path, other)
    for again in (Proof.from_bytes(proof.to_bytes()), Proof.from_text(proof.to_text())):
        assert again.paths == (path, (other,))
        assert again.dots == (*path, other)
        assert set(again.entities) == {world.id(name) for name in ("home", "alice", "bob")}
        assert again.id == proof.id == sha256(proof.to_bytes())


def test_each_object_stands_in_a_proof_once(world: World) -> None:
    """However many paths share it."""
    trunk = world.grant("home", "alice", "publish,list@home/*", indirections=1)
    paths = [(trunk, world.grant("alice", "bob", text)) for text in ("publish@home/a", "list@home/a")]
    fields = _FORMAT.decode(world.proof(*paths, paths[0]).data)
    assert (len(fields.entities), len(fields.dots), fields.paths) == (3, 3, ((0, 1), (0, 2)))


def test_a_proof_may_be_empty() -> None:
    """It is good for what needs no path."""
    empty = Proof.build((), ())
    assert Proof.from_bytes(empty.to_bytes()).paths == ()
    assert Proof.build([()], ()).data == empty.data


def test_every_truncation_of_a_proof_is_refused(world: World, path: tuple[Dot, ...]) -> None:
    """Cut anywhere."""
    data = world.proof(path).data
    for length in range(len(data)):
        with pytest.raises(Malformed):
            Proof.from_bytes(data[:length])


def test_bytes_after_a_proof_are_refused(world: World, path: tuple[Dot, ...]) -> None:
    """Nothing rides along."""
    malformed(world.proof(path).data + b"\0")


def test_an_extra_field_is_refused(world: World, path: tuple[Dot, ...]) -> None:
    """Nothing that is not understood is skipped."""
    data = world.proof(path).data
    malformed(bytes([data[0] + 1]) + data[1:] + b"\xc0")


def test_an_unknown_version_is_refused_by_name(world: World, path: tuple[Dot, ...]) -> None:
    """A newer release's proof."""
    with pytest.raises(UnknownVersion) as caught:
        Proof.from_bytes(rebuilt(world.proof(path), version=2))
    assert caught.value.code == "object.unknown_version"


def test_a_longer_form_is_refused(world: World, path: tuple[Dot, ...]) -> None:
    """One proof, one id."""
    data = world.proof(path).data
    assert data.endswith(b"\x91\x92\x00\x01")
    with pytest.raises(NotCanonical) as caught:
        Proof.from_bytes(data[:-1] + b"\xcc\x01")
    assert caught.value.code == "object.not_canonical"


@pytest.mark.parametrize(
    "paths",
    [((1, 0),), ((0, 2),), ((0, -1),), ((1,), (0,)), ((0, 1), (3,)), ((0, 1, 2),)],
    ids=["backwards", "beyond", "negative", "not in order of use", "a gap", "one too many"],
)
def test_an_index_out_of_order_is_refused(world: World, path: tuple[Dot, ...], paths: object) -> None:
    """DoTs stand in the order of their first use, so that the same proof has the same bytes."""
    malformed(rebuilt(world.proof(path), paths=paths))


@pytest.mark.parametrize("paths", [(), ((0,),), ((),), ((0, 1), ())])
def test_a_dot_that_no_path_uses_and_a_path_without_a_dot_are_refused(
    world: World, path: tuple[Dot, ...], paths: object
) -> None:
    """A proof carries what it needs."""
    malformed(rebuilt(world.proof(path), paths=paths))


def test_an_object_twice_is_refused(world: World, path: tuple[Dot, ...]) -> None:
    """A DoT or a record, under another signature too."""
    fields = _FORMAT.decode(world.proof(path).data)
    resigned = (fields.dots[0][0], bytes(64))
    for dots in ((fields.dots[0],) * 2, (fields.dots[0], resigned)):
        malformed(record_bytes(amend(fields, dots=dots)))
    malformed(record_bytes(amend(fields, entities=(fields.entities[0],) * 2)))


def test_a_part_that_is_no_dot_and_a_record_that_is_no_entity_are_refused(world: World, path: tuple[Dot, ...]) -> None:
    """Everything parses, or nothing does."""
    fields = _FORMAT.decode(world.proof(path).data)
    malformed(record_bytes(amend(fields, dots=(fields.entities[0], fields.dots[1]))))
    malformed(record_bytes(amend(fields, entities=(fields.dots[0],))))
    malformed(record_bytes(amend(fields, dots=((fields.dots[0][0], bytes(63)), fields.dots[1]))))


@given(st.data())
def test_an_altered_proof_is_another_proof_or_none(data: st.DataObject) -> None:
    """No two byte strings have one id."""
    world = World()
    proof = world.proof(world.chain("home alice bob", "publish@home/a"))
    octets = bytearray(proof.data)
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        altered = Proof.from_bytes(bytes(octets))
    except InputError:
        return
    assert altered.id != proof.id
    assert Proof.build(altered.paths, altered.entities.values()).data == altered.data


@given(st.binary(max_size=200))
def test_any_bytes_are_a_proof_or_an_input_error(data: bytes) -> None:
    """No bytes bring the reader down."""
    try:
        proof = Proof.from_bytes(data)
    except InputError:
        return
    assert proof.to_bytes() == data


def test_armour_of_something_else_is_no_proof() -> None:
    """And says what it is."""
    with pytest.raises(WrongKind, match="entity") as caught:
        Proof.from_text(made("alice").entity.to_object().to_text())
    assert caught.value.code == "object.wrong_kind"
    with pytest.raises(BadArmour):
        Proof.from_text("hello")
    with pytest.raises(Malformed):
        Proof.from_text(armour("PROOF", b""))
