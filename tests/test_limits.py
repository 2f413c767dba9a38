"""Every bound that concerns entities, namespace and DoTs: at the bound, and one past it."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from itertools import product

import pytest

from tests.world import DAY, NOW, World, made
from wave.codec import Value, amend, decode, encode, record_bytes, sha256
from wave.dots.dot import Dot
from wave.dots.held import HeldDot
from wave.dots.proof import Proof
from wave.dots.records import Records
from wave.dots.request import Request, Statement
from wave.dots.verify import verify
from wave.entities.entity import Entity, EntitySecret
from wave.entities.object import ENTITY, decode_object
from wave.errors import BadGrant, BadName, BadTime, FactsAhead, Malformed, StaleFacts, TooLarge, WaveError
from wave.limits import LIMITS
from wave.namespace.condition import Condition
from wave.namespace.grant import Right, right
from wave.namespace.name import Name, check_label
from wave.namespace.pattern import Pattern
from wave.times import parse_instant

HOME, ALICE = made("home"), made("alice")
PLAIN = right(("publish",), "a")
DOT_MADE = Dot.create(HOME, receiver=ALICE.id, namespace=HOME.id, grants=(PLAIN,), created=NOW, expires=NOW + DAY)


def dot(**changes: object) -> Dot:
    """Return a DoT with fields changed that nobody signed, for bounds that are looked at before signatures."""
    return Dot(record_bytes(amend(DOT_MADE.fields, **changes)), bytes(64))


def entity(**changes: object) -> Entity:
    return Entity(record_bytes(amend(ALICE.entity.fields, **changes)), bytes(64))


def past(act: Callable[[], object], error: type[WaveError], code: str) -> None:
    with pytest.raises(error) as caught:
        act()
    assert caught.value.code == code


def test_the_limits_are_frozen_and_positive() -> None:
    """One record, the same for everybody."""
    with pytest.raises(FrozenInstanceError):
        LIMITS.object_bytes = 1  # type: ignore[misc]
    assert all(getattr(LIMITS, field.name) > 0 for field in fields(LIMITS))


def test_the_limits_are_the_ones_of_the_design() -> None:
    """DESIGN §2, §4 and §5."""
    assert (LIMITS.object_bytes, LIMITS.proof_bytes) == (8 * 1024, 256 * 1024)
    assert (LIMITS.grants_per_dot, LIMITS.permissions_per_grant, LIMITS.cells_per_pattern) == (32, 64, 32)
    assert (LIMITS.dots_per_path, LIMITS.dots_per_proof) == (32, 256)
    assert (LIMITS.max_staleness, LIMITS.embedded_block_age) == (120, 15)


def of_bytes(count: int) -> str:
    """Return a text of that many bytes in as few characters as it takes."""
    return "\N{GRINNING FACE}" * (count // 4) + "a" * (count % 4)


def test_object_bytes() -> None:
    """An object of 8 KiB is read, one of a byte more is not."""

    def sized(size: int, comment: int = 400) -> bytes:
        fields = amend(
            ALICE.entity.fields, contact=of_bytes(4096), comment=of_bytes(comment), commitments=(bytes(32),) * 8
        )
        data = encode((ENTITY, record_bytes(fields), bytes(64)))
        return data if len(data) == size else sized(size, comment + size - len(data))

    assert len(sized(LIMITS.object_bytes)) == LIMITS.object_bytes
    assert decode_object(sized(LIMITS.object_bytes)).to_bytes() == sized(LIMITS.object_bytes)
    Entity.from_bytes(sized(LIMITS.object_bytes))
    past(lambda: Entity.from_bytes(sized(LIMITS.object_bytes + 1)), TooLarge, "limit.exceeded")


def test_a_body_has_the_same_bound() -> None:
    """A DoT's body inside a proof is no object, and is bounded all the same."""
    grants = tuple(Right(None, ("publish",), "a" * 200, ()) for _ in range(LIMITS.grants_per_dot))
    base = len(dot(grants=grants, comment="\N{GRINNING FACE}" * 200).body)
    fill = LIMITS.object_bytes - base
    assert len(dot(grants=grants, comment="\N{GRINNING FACE}" * 200 + "a" * fill).body) == LIMITS.object_bytes
    past(lambda: dot(grants=grants, comment="\N{GRINNING FACE}" * 200 + "a" * (fill + 1)), TooLarge, "limit.exceeded")


def test_nesting() -> None:
    """Arrays within arrays."""

    def nested(depth: int) -> Value:
        value: Value = None
        for _ in range(depth):
            value = (value,)
        return value

    assert decode(encode(nested(LIMITS.nesting))) == nested(LIMITS.nesting)
    past(lambda: encode(nested(LIMITS.nesting + 1)), Malformed, "object.malformed")
    past(lambda: decode(b"\x91" * (LIMITS.nesting + 1) + b"\xc0"), Malformed, "object.malformed")


def test_grants_per_dot() -> None:
    """Rights in a DoT."""
    assert len(dot(grants=(PLAIN,) * LIMITS.grants_per_dot).grants) == LIMITS.grants_per_dot
    past(lambda: dot(grants=(PLAIN,) * (LIMITS.grants_per_dot + 1)), Malformed, "object.malformed")


def test_permissions_per_grant() -> None:
    """Where it is written, and on the wire."""
    words = tuple(f"p{number:02}" for number in range(LIMITS.permissions_per_grant + 1))
    dot(grants=(right(words[1:], "a", (), ALICE.id),))
    past(lambda: right(words, "a", (), ALICE.id), TooLarge, "limit.exceeded")
    past(lambda: dot(grants=(Right(ALICE.id, words, "a", ()),)), Malformed, "object.malformed")


def test_permission_characters() -> None:
    """A permission is a word."""
    Statement("p" * LIMITS.permission_characters, Pattern("a"), ALICE.id)
    past(lambda: Statement("p" * (LIMITS.permission_characters + 1), Pattern("a"), ALICE.id), BadGrant, "grant.bad")


def test_conditions_per_grant() -> None:
    """Conditions on one right."""
    one = Condition("rate", (1, 60))
    dot(grants=(right(("publish",), "a", (one,) * LIMITS.conditions_per_grant),))
    crowded = right(("publish",), "a", (one,) * (LIMITS.conditions_per_grant + 1))
    past(lambda: dot(grants=(crowded,)), Malformed, "object.malformed")


def test_condition_arguments() -> None:
    """Arguments of one condition, of whatever kind."""

    def with_arguments(count: int) -> Dot:
        return dot(grants=(right(("publish",), "a", (Condition("any", (1,) * count),)),))

    with_arguments(LIMITS.condition_arguments)
    past(lambda: with_arguments(LIMITS.condition_arguments + 1), Malformed, "object.malformed")


def test_cells_per_pattern_and_pattern_bytes() -> None:
    """A pattern's cells and length, asked about as well as granted."""
    for fitting, longer in (
        ("/".join("a" * LIMITS.cells_per_pattern), "/".join("a" * (LIMITS.cells_per_pattern + 1))),
        ("a" * LIMITS.pattern_bytes, "a" * (LIMITS.pattern_bytes + 1)),
    ):
        right(("publish",), fitting)
        Statement("publish", Pattern(fitting))
        past(lambda text=longer: right(("publish",), text), TooLarge, "limit.exceeded")  # type: ignore[misc]
        past(lambda text=longer: Pattern(text), TooLarge, "limit.exceeded")  # type: ignore[misc]


def test_commitments_per_object() -> None:
    """Of an entity and of a DoT; at least one."""
    many = tuple(sha256(b"%d" % number) for number in range(LIMITS.commitments_per_object))
    dot(commitments=many)
    entity(commitments=many)
    for wrong in ((), (*many, bytes(32))):
        past(lambda some=wrong: dot(commitments=some), Malformed, "object.malformed")  # type: ignore[misc]
        past(lambda some=wrong: entity(commitments=some), Malformed, "object.malformed")  # type: ignore[misc]
    past(
        lambda: EntitySecret.create(lambda _: bytes(32), created=0, expires=1, revokers=many),
        Malformed,
        "object.malformed",
    )


@pytest.mark.parametrize("character", ["a", "\N{GREEK SMALL LETTER ALPHA}"])
def test_text_characters(character: str) -> None:
    """A contact, a comment, a DoT's comment: counted in characters."""
    fitting, longer = character * LIMITS.text_characters, character * (LIMITS.text_characters + 1)
    entity(contact=fitting, comment=fitting)
    dot(comment=fitting)
    past(lambda: entity(contact=longer), Malformed, "object.malformed")
    past(lambda: entity(comment=longer), Malformed, "object.malformed")
    past(lambda: dot(comment=longer), Malformed, "object.malformed")


def test_label_bytes() -> None:
    """A label, and a name with it."""
    Name.create(HOME, label="a" * LIMITS.label_bytes, target=ALICE.id, created=NOW, expires=NOW + 1)
    past(lambda: check_label("a" * (LIMITS.label_bytes + 1)), BadName, "name.bad")


def test_latest_time() -> None:
    """The last second of the year 9999."""
    entity(expires=LIMITS.latest_time)
    dot(expires=LIMITS.latest_time)
    assert parse_instant(str(LIMITS.latest_time)) == LIMITS.latest_time
    past(lambda: entity(expires=LIMITS.latest_time + 1), Malformed, "object.malformed")
    past(lambda: dot(expires=LIMITS.latest_time + 1), Malformed, "object.malformed")
    past(lambda: parse_instant(str(LIMITS.latest_time + 1)), BadTime, "time.bad")


# Proofs ---------------------------------------------------------------------------------------------------------------


def dots(count: int, **changes: object) -> list[Dot]:
    return [dot(indirections=number, **changes) for number in range(count)]


def test_dots_per_path() -> None:
    """The longest path."""
    assert Proof.build([tuple(dots(LIMITS.dots_per_path))], ()).paths[0]
    past(lambda: Proof.build([tuple(dots(LIMITS.dots_per_path + 1))], ()), Malformed, "object.malformed")


def test_the_longest_path_verifies(world: World) -> None:
    """A bound that nothing reaches would be no bound."""
    names = " ".join(["home", *(f"hand{number}" for number in range(LIMITS.dots_per_path))])
    path = world.chain(names, "publish@home/*")
    assert len(path) == LIMITS.dots_per_path
    world.verify(world.proof(path), world.request(names.split()[-1], "publish@home/a"))


def in_paths(some: list[Dot]) -> list[tuple[Dot, ...]]:
    return [tuple(some[start : start + 30]) for start in range(0, len(some), 30)]


def test_dots_per_proof() -> None:
    """The most DoTs."""
    assert len(Proof.build(in_paths(dots(LIMITS.dots_per_proof)), ()).dots) == LIMITS.dots_per_proof
    past(lambda: Proof.build(in_paths(dots(LIMITS.dots_per_proof + 1)), ()), Malformed, "object.malformed")


def test_entities_per_proof() -> None:
    """The most records."""
    records = [entity(created=number) for number in range(LIMITS.entities_per_proof + 1)]
    assert len(Proof.build((), records[1:]).entities) == LIMITS.entities_per_proof
    past(lambda: Proof.build((), records), Malformed, "object.malformed")


def test_paths_per_proof() -> None:
    """The most paths."""
    pairs = list(product(dots(17), repeat=2))[: LIMITS.paths_per_proof + 1]
    assert len(Proof.build(pairs[1:], ()).paths) == LIMITS.paths_per_proof
    past(lambda: Proof.build(pairs, ()), Malformed, "object.malformed")


def test_hops_per_proof() -> None:
    """The most hops over all paths of a proof, and one more."""
    longest = tuple(dots(LIMITS.dots_per_path))
    many = [longest[turn:] + longest[:turn] for turn in range(LIMITS.hops_per_proof // LIMITS.dots_per_path)]
    assert len(Proof.build(many, ()).paths) == len(many)
    past(lambda: Proof.build([*many, longest[:1]], ()), TooLarge, "limit.exceeded")


def test_proof_bytes() -> None:
    """The largest proof: 256 KiB is read, a byte more is not."""
    wide = [*dots(59, comment=of_bytes(4096)), dot(comment=of_bytes(3300))]

    def build(comment: int) -> Proof:
        return Proof.build([(one,) for one in (*wide, dot(comment=of_bytes(comment), expires=NOW + 2))], ())

    room = LIMITS.proof_bytes - len(build(1000).data)
    proof = build(1000 + room)
    assert len(proof.data) == LIMITS.proof_bytes
    assert Proof.from_bytes(proof.data).id == proof.id
    past(lambda: build(1001 + room), TooLarge, "limit.exceeded")
    past(lambda: Proof.from_bytes(bytes(LIMITS.proof_bytes + 1)), TooLarge, "limit.exceeded")


# Requests and facts ---------------------------------------------------------------------------------------------------


def test_statements_per_request() -> None:
    """At least one."""
    wanted = Statement("publish", Pattern("a"))
    Request(ALICE.id, HOME.id, (wanted,) * LIMITS.statements_per_request)
    for count in (0, LIMITS.statements_per_request + 1):
        past(lambda many=count: Request(ALICE.id, HOME.id, (wanted,) * many), TooLarge, "limit.exceeded")  # type: ignore[misc]


def test_context_values() -> None:
    """Named values of a request."""

    def with_values(count: int) -> Request:
        return Request(ALICE.id, HOME.id, (Statement("publish", Pattern("a")),), {f"v{n}": n for n in range(count)})

    with_values(LIMITS.context_values)
    past(lambda: with_values(LIMITS.context_values + 1), TooLarge, "limit.exceeded")


def test_max_staleness_and_clock_skew(world: World) -> None:
    """How far facts may lag behind the clock, and run ahead of it."""
    proof = world.proof(world.grant("home", "bob", "publish@home/*"))
    request, facts = world.request("bob", "publish@home/a"), world.facts

    def at(time: int) -> object:
        return verify(proof, request, replace(facts, time=time), now=NOW)

    at(NOW - LIMITS.max_staleness)
    past(lambda: at(NOW - LIMITS.max_staleness - 1), StaleFacts, "facts.stale")
    at(NOW + LIMITS.clock_skew)
    past(lambda: at(NOW + LIMITS.clock_skew + 1), FactsAhead, "facts.ahead")


@pytest.mark.parametrize("past", [0, 1], ids=["at the bound", "one past it"])
def test_as_many_records_stay_parsed_as_the_bound_says(past: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record kept parsed is the same object when it is asked for again; beyond the bound all are forgotten."""
    monkeypatch.setattr("wave.dots.records.LIMITS", replace(LIMITS, objects_parsed=3))
    people = [made(name).entity for name in ("home", "alice", "bob", "carol")][: 3 + past]
    records = Records()
    for one in people:
        records.add(one.id, one.body, one.signature)
    first = records[people[0].id]
    assert [records[one.id] for one in people] == people
    assert (records[people[0].id] is first) is (past == 0)


@pytest.mark.parametrize("past", [0, 1], ids=["at the bound", "one past it"])
def test_as_many_dots_stay_parsed_as_the_bound_says(past: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the DoTs that an agent holds."""
    monkeypatch.setattr("wave.dots.held.LIMITS", replace(LIMITS, objects_parsed=3))
    monkeypatch.setattr("wave.dots.held._parsed", {})
    bodies = [dot(comment=str(number)).body for number in range(3 + past)]
    held = [HeldDot(body, bytes(64), {}) for body in bodies]
    first = held[0].fields
    assert [one.fields.comment for one in held] == [str(number) for number in range(3 + past)]
    assert (held[0].fields is first) is (past == 0)
    assert held[0] == dot(comment="0")
    assert (held[0].grants, held[0].commitments) == (DOT_MADE.grants, DOT_MADE.commitments)
    assert (held[0].created, held[0].expires, held[0].comment) == (DOT_MADE.created, DOT_MADE.expires, "0")
