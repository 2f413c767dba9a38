"""Batches: the Merkle tree of RFC 9162 against its definition, and every way to alter a batch."""

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wave.chain import batch as batches
from wave.chain.batch import Batch, check_inclusion, file_name, inclusion_proof, parse_root, root
from wave.codec import encode
from wave.errors import BadBatch, InputError, Malformed, NotCanonical, TooLarge, UnknownVersion
from wave.limits import LIMITS

OBJECTS = tuple(b"object %d" % number for number in range(11))


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def by_definition(leaves: Sequence[bytes]) -> bytes:
    """Return MTH(D[n]) of RFC 9162 §2.1.1, word for word."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return sha(b"\x00" + leaves[0])
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha(b"\x01" + by_definition(leaves[:half]) + by_definition(leaves[half:]))


def path_by_definition(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return PATH(m, D[n]) of RFC 9162 §2.1.3.1, word for word."""
    if len(leaves) == 1:
        return []
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    if index < half:
        return [*path_by_definition(leaves[:half], index), by_definition(leaves[half:])]
    return [*path_by_definition(leaves[half:], index - half), by_definition(leaves[:half])]


@pytest.mark.parametrize("count", [*range(36), 63, 64, 65, 200])
def test_the_root_is_the_one_that_rfc_9162_defines(count: int) -> None:
    """Every shape of tree up to 35 leaves, and the edges of powers of two."""
    leaves = [b"%d" % number for number in range(count)]
    assert root(leaves) == by_definition(leaves)


@pytest.mark.parametrize("count", [*range(1, 34), 64, 65])
def test_every_inclusion_proof_is_the_one_that_rfc_9162_defines_and_holds(count: int) -> None:
    """For every leaf of every tree."""
    leaves = [b"%d" % number for number in range(count)]
    top = root(leaves)
    for index, leaf in enumerate(leaves):
        path = inclusion_proof(leaves, index)
        assert list(path) == path_by_definition(leaves, index)
        check_inclusion(leaf, index, count, path, top)


def test_known_roots() -> None:
    """The first roots of the test tree that Certificate Transparency logs are tried with."""
    leaves = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
    leaves.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
    assert root(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root(leaves[:2]).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert root(leaves[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert root(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_a_doubled_last_object_is_another_root() -> None:
    """The trick that some trees play with odd levels, whereby two lists share a root, is not played here."""
    assert len({root(OBJECTS[:3]), root([*OBJECTS[:3], OBJECTS[2]]), root(OBJECTS[:4])}) == 3


def test_a_node_passes_for_no_leaf() -> None:
    """Leaves and nodes are hashed apart, so the inside of a tree is no object."""
    left, right = (batches.leaf_hash(data) for data in OBJECTS[:2])
    assert root([left + right]) != root(OBJECTS[:2])


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=20, unique=True))
def test_a_batch_comes_back_from_its_bytes(objects: list[bytes]) -> None:
    """Objects, order, root and bytes."""
    made = Batch.build(objects)
    again = Batch.from_bytes(made.to_bytes(), expected=made.root, count=len(objects))
    assert (again, again.objects, again.root) == (made, tuple(objects), by_definition(objects))
    assert (len(again), hash(again), again.to_bytes()) == (len(made), hash(made), made.to_bytes())


ALTERATIONS: dict[str, Callable[[list[bytes]], object]] = {
    "altered": lambda objects: objects.__setitem__(3, b"another"),
    "reordered": lambda objects: objects.reverse(),
    "swapped": lambda objects: objects.insert(1, objects.pop(0)),
    "shortened": lambda objects: objects.pop(),
    "without its first": lambda objects: objects.pop(0),
    "lengthened": lambda objects: objects.append(b"one more"),
    "cut": lambda objects: objects.__setitem__(0, objects[0][:-1]),
    "joined": lambda objects: objects.__setitem__(0, objects.pop(0) + objects[0]),
}


@pytest.mark.parametrize("what", ALTERATIONS)
@pytest.mark.parametrize("count", [2, 3, 4, 7, 8, 11])
def test_an_altered_batch_is_refused(what: str, count: int) -> None:
    """Whatever is done to its objects, the root shows it."""
    if what == "altered" and count < 4:
        count = 4
    original = Batch.build(OBJECTS[:count])
    objects = list(OBJECTS[:count])
    ALTERATIONS[what](objects)
    with pytest.raises(BadBatch) as caught:
        Batch.from_bytes(Batch.build(objects).to_bytes(), expected=original.root, count=count)
    assert caught.value.code == "batch.bad"


def test_a_batch_of_another_count_than_the_anchor_says_is_refused() -> None:
    """Root and count are anchored together."""
    made = Batch.build(OBJECTS)
    with pytest.raises(BadBatch, match="12 were anchored"):
        Batch.from_bytes(made.to_bytes(), expected=made.root, count=12)


def test_an_object_that_comes_twice_is_refused_when_built_and_when_read() -> None:
    """A batch is a set in an order."""
    with pytest.raises(BadBatch):
        Batch.build([b"a", b"b", b"a"])
    with pytest.raises(BadBatch):
        Batch.from_bytes(encode((1, (b"a", b"b", b"a"))))


def test_every_truncation_is_refused() -> None:
    """A download that broke off is noticed."""
    data = Batch.build(OBJECTS).to_bytes()
    for length in range(len(data)):
        with pytest.raises(Malformed):
            Batch.from_bytes(data[:length])


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ((), Malformed),
        ((1,), Malformed),
        ((1, ()), Malformed),
        ((1, (b"",)), Malformed),
        ((1, ("text",)), Malformed),
        ((1, (b"a",), None), Malformed),
        ((2, (b"a",)), UnknownVersion),
        ((True, (b"a",)), Malformed),
    ],
)
def test_what_is_no_batch_is_refused(value: tuple[object, ...], error: type[InputError]) -> None:
    """Strictly one form."""
    with pytest.raises(error):
        Batch.from_bytes(encode(value))  # type: ignore[arg-type]


def test_a_longer_form_and_bytes_behind_are_refused() -> None:
    """The bytes are canonical, so that a batch has one file."""
    data = Batch.build([b"a"]).to_bytes()
    with pytest.raises(NotCanonical):
        Batch.from_bytes(b"\xdc\x00\x02" + data[1:])
    with pytest.raises(Malformed):
        Batch.from_bytes(data + b"\0")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_batch_or_an_input_error(data: bytes) -> None:
    """No bytes bring a reader down."""
    try:
        made = Batch.from_bytes(data)
    except InputError:
        return
    assert made.to_bytes() == data


@given(st.data())
def test_no_altered_inclusion_proof_holds(data: st.DataObject) -> None:
    """Another object, place, count, path or root: refused."""
    count = data.draw(st.integers(1, 20))
    index = data.draw(st.integers(0, count - 1))
    leaves = [b"%d" % number for number in range(count)]
    top, path = root(leaves), list(inclusion_proof(leaves, index))
    what = data.draw(st.sampled_from(("object", "place", "longer", "shorter", "flip", "root")))
    leaf, place = leaves[index], index
    if what == "object":
        leaf = b"another"
    elif what == "place":
        place = data.draw(st.integers(-1, count).filter(lambda other: other != index))
    elif what == "longer":
        path.append(bytes(32))
    elif what == "shorter" and path:
        path.pop(data.draw(st.integers(0, len(path) - 1)))
    elif what == "flip" and path:
        at = data.draw(st.integers(0, len(path) - 1))
        path[at] = bytes([path[at][0] ^ 1]) + path[at][1:]
    else:
        top = sha(top)
    with pytest.raises(BadBatch):
        check_inclusion(leaf, place, count, path, top)


def test_a_proof_for_an_object_that_is_not_there_is_refused() -> None:
    """Places begin at 0 and end before the count."""
    for index in (-1, len(OBJECTS)):
        with pytest.raises(BadBatch):
            Batch.build(OBJECTS).proof(index)


def test_a_batch_holds_as_many_objects_as_the_bound_says_and_no_more() -> None:
    """Limits.batch_objects."""
    many = [b"%d" % number for number in range(LIMITS.batch_objects + 1)]
    assert len(Batch.build(many[:-1])) == LIMITS.batch_objects == 4_096
    with pytest.raises(Malformed):
        Batch.build(many)
    with pytest.raises(Malformed):
        Batch.from_bytes(encode((1, tuple(many))))


def test_a_batch_holds_objects_as_large_as_objects_may_be() -> None:
    """Limits.object_bytes, one of them at a time."""
    assert len(Batch.build([bytes(LIMITS.object_bytes)])) == 1
    with pytest.raises(Malformed):
        Batch.build([bytes(LIMITS.object_bytes + 1)])


def test_a_batch_is_as_large_as_the_bound_says_and_no_larger() -> None:
    """Limits.batch_bytes."""
    full = [b"%05d" % number + bytes(LIMITS.object_bytes - 5) for number in range(512)]
    least = len(Batch.build(full[:500]).to_bytes()) - 500 * LIMITS.object_bytes  # the words around them
    objects = full[:511]
    free = LIMITS.batch_bytes - len(Batch.build(objects).to_bytes())
    last = b"x" * (free - 3)
    assert least < LIMITS.object_bytes
    made = Batch.build([*objects, last])
    assert len(made.to_bytes()) == LIMITS.batch_bytes == 4 * 1024 * 1024
    with pytest.raises(TooLarge):
        Batch.build([*objects, last + b"x"])
    with pytest.raises(TooLarge):
        Batch.from_bytes(made.to_bytes() + b"\0")


def test_a_batch_s_name_is_its_root() -> None:
    """In hexadecimal, of 64 small letters and digits, with ``.batch`` or without."""
    made = Batch.build([b"a"])
    assert made.name == file_name(made.root) == f"{made.root.hex()}.batch"
    assert parse_root(made.name) == parse_root(made.root.hex()) == made.root
    for wrong in ("", "a", "0" * 63, "0" * 65, "g" * 64, "A" * 64, "../" + "0" * 61, "0" * 64 + ".batch.batch"):
        assert parse_root(wrong) is None
    assert made.root.hex() in repr(made)
