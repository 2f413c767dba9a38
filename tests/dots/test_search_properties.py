"""The search against brute force: on small graphs with cycles, every walk of up to six DoTs is tried by the rules."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from wave.dots import rules
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.graph import Graph
from wave.dots.holdings import holdings
from wave.dots.request import Request, Statement
from wave.dots.search import find_path, find_proof, holders
from wave.dots.verify import verify
from wave.entities.entity import EVERYBODY, EntitySecret
from wave.errors import ConditionFailed, ConditionMissing, Refused
from wave.namespace import condition
from wave.namespace.grant import Right, right
from wave.namespace.pattern import Pattern, covers

NOW = 1_000_000
LONGEST = 6
DRAW = random.Random(20).randbytes
CAST = [EntitySecret.create(DRAW, created=0, expires=2 * NOW) for _ in range(6)]
EXPIRED = EntitySecret.create(DRAW, created=0, expires=NOW)
PEOPLE = [*CAST, EXPIRED]
NAMESPACE, OTHER = CAST[0], CAST[5]
RIGHTS = (
    right(("publish",), "*"),
    right(("publish", "subscribe"), "*"),
    right(("publish",), "a/*"),
    right(("publish",), "*/b"),
    right(("publish",), "+/b"),
    right(("subscribe",), "*"),
    right(("publish",), "*", permission_set=OTHER.id),
    right(("publish",), "*", (condition.where("x 1..5"),)),
    right(("publish",), "*", (condition.where("y 1.."), condition.rate("3/60s"))),
    right(("publish",), "a/b", (condition.when("mon 00:00-24:00 UTC"),)),  # NOW is a Monday
    right(("publish",), "*", (condition.when("tue 00:00-24:00 UTC"),)),
)
STATEMENTS = (
    Statement("publish", Pattern("a/b")),
    Statement("publish", Pattern("a/*")),
    Statement("publish", Pattern("*")),
    Statement("subscribe", Pattern("c")),
    Statement("publish", Pattern("a/b"), OTHER.id),
)


@cache
def dot(
    giver: int, receiver: int | None, rights: tuple[int, ...], hops: int, expires: int = 2 * NOW, *, namespace: int = 0
) -> Dot:
    return Dot.create(
        PEOPLE[giver],
        receiver=EVERYBODY if receiver is None else PEOPLE[receiver].id,
        namespace=PEOPLE[namespace].id,
        grants=tuple(RIGHTS[index] for index in rights),
        created=0,
        expires=expires,
        indirections=0 if receiver is None else hops,
    )


@dataclass
class World:
    dots: list[Dot]
    facts: Facts
    subject: bytes
    context: dict[str, int]


def make_world(seed: int, *, conditions: bool = True) -> World:
    """Return a small graph: a chain away from the namespace, which may serve, and DoTs here and there around it.

    Drawn by a seed, because hypothesis' own draws seldom make a chain of more than two that holds.
    """
    draw = random.Random(seed)
    people = draw.randint(3, len(PEOPLE))
    choices = range(len(RIGHTS) if conditions else 7)

    def one(giver: int, receiver: int | None, *, good: bool) -> Dot:
        rights = {0, 5} if good else {draw.choice(choices), draw.choice(choices)}
        expires = 2 * NOW if good else draw.choice([NOW, NOW + 1, NOW + 2, 2 * NOW, 2 * NOW, 2 * NOW])
        namespace = 0 if good or draw.random() < 0.9 else 1
        return dot(giver, receiver, tuple(sorted(rights)), draw.randint(0, 5), expires, namespace=namespace)

    spine = [0, *draw.sample(range(1, people), draw.randint(1, people - 1))]
    dots = [one(giver, receiver, good=draw.random() < 0.9) for giver, receiver in pairwise(spine)]
    for _ in range(draw.randint(0, 10)):
        giver, receiver = draw.sample(range(people), 2)
        dots.append(one(giver, draw.choice([None] + [receiver] * 9), good=False))
    draw.shuffle(dots)
    revocable = [dot.commitments for dot in dots] + [person.entity.commitments for person in PEOPLE]
    revoked = draw.sample(revocable, draw.choice([0, 0, 1, 2]))
    unknown = draw.choice([None, None, None, None, draw.choice(PEOPLE)])
    subject = spine[-1] if draw.random() < 0.6 else draw.randrange(people)
    return World(
        list(dict.fromkeys(dots)),
        Facts(
            height=5,
            block_hash=bytes(32),
            time=NOW,
            revocations={commitments[0]: draw.choice([4, 5, 6]) for commitments in revoked},
            entities={person.id: person.entity for person in PEOPLE if person is not unknown},
        ),
        PEOPLE[subject].id,
        {name: draw.choice([0, 3]) for name in ("x", "y") if draw.random() < 0.5},
    )


SEEDS = st.integers(0, 2**32 - 1)
WORLDS = SEEDS.map(make_world)
PLAIN_WORLDS = SEEDS.map(lambda seed: make_world(seed, conditions=False))


def walks(dots: list[Dot], namespace: bytes, before: tuple[Dot, ...] = ()) -> Iterator[tuple[Dot, ...]]:
    """Yield every walk of one to LONGEST DoTs that begins at the namespace, through everything and in circles."""
    end = before[-1].receiver if before else namespace
    for dot in dots:
        if dot.giver == end:
            walk = (*before, dot)
            yield walk
            if len(walk) < LONGEST:
                yield from walks(dots, namespace, walk)


def holds(walk: tuple[Dot, ...], request: Request, facts: Facts, *, doubts: bool) -> bool:
    """Ask the verdict's own rules, all but the signatures."""
    try:
        rules.follows(walk, request)
        rules.within_hops(walk)
        for dot in walk:
            rights = rules.rights_over(dot, request.statements[0])
            if not any(may_hold(right, request, doubts=doubts) for right in rights):
                return False
            rules.dot_alive(dot, facts, NOW)
            rules.living(dot.giver, {}, facts, NOW)
        if dot.receiver != EVERYBODY:
            rules.living(dot.receiver, {}, facts, NOW)
    except Refused:
        return False
    return True


def may_hold(right: Right, request: Request, *, doubts: bool) -> bool:
    missing = 0
    for one in right.conditions:
        try:
            condition.check(one, NOW, request.context)
        except ConditionMissing:
            missing += 1
        except ConditionFailed:
            return False
    return doubts or not missing


def shortest(world: World, request: Request, *, doubts: bool) -> int | None:
    if request.subject == request.namespace:
        return 0
    lengths = [
        len(walk)
        for walk in walks(world.dots, request.namespace)
        if walk[-1].receiver in (request.subject, EVERYBODY) and holds(walk, request, world.facts, doubts=doubts)
    ]
    return min(lengths, default=None)


@settings(max_examples=400, deadline=None)
@given(WORLDS, WORLDS, st.sampled_from(STATEMENTS))
def test_a_path_is_found_exactly_when_there_is_one_and_is_a_shortest(
    world: World, gone: World, statement: Statement
) -> None:
    """The graph held other DoTs before, and forgot them."""
    request = Request(world.subject, NAMESPACE.id, (statement,), world.context)
    graph = Graph([*gone.dots, *world.dots])
    for dot in gone.dots:
        if dot not in world.dots:
            graph.discard(dot)
    length, doubts = shortest(world, request, doubts=False), False
    if length is None:
        length, doubts = shortest(world, request, doubts=True), True
    try:
        path = find_path(
            graph,
            statement,
            subject=request.subject,
            namespace=request.namespace,
            facts=world.facts,
            now=NOW,
            context=request.context,
        )
    except Refused:
        if request.subject != request.namespace:
            assert length is None
        return
    event(f"length {length}, {'in doubt' if doubts else 'for certain'}")
    assert len(path) == length
    proof = find_proof(graph, request, world.facts, now=NOW)
    if doubts:
        with pytest.raises(ConditionMissing):
            verify(proof, request, world.facts, now=NOW)
    else:
        assert verify(proof.to_bytes(), request, world.facts, now=NOW).paths == (path,)
        recordless = Facts(5, bytes(32), NOW, world.facts.revocations)
        assert verify(proof.to_bytes(), request, recordless, now=NOW).paths == (path,)


@settings(max_examples=200, deadline=None)
@given(WORLDS, st.sampled_from(STATEMENTS))
def test_holders_are_all_who_have_a_path_and_hand_on_as_far_as_any_lets_them(world: World, wanted: Statement) -> None:
    best: dict[bytes, int] = {}
    for walk in walks(world.dots, NAMESPACE.id):
        end = walk[-1].receiver
        if end != NAMESPACE.id and holds(walk, Request(end, NAMESPACE.id, (wanted,)), world.facts, doubts=True):
            best[end] = max(best.get(end, 0), slack(walk))
    found = holders(Graph(world.dots), wanted, NAMESPACE.id, world.facts, NOW)
    assert {end: holding.hops_left for end, holding in found.items()} == best
    for end, holding in found.items():
        request = Request(end, NAMESPACE.id, (wanted,))
        assert holds(holding.path, request, world.facts, doubts=True)
        assert slack(holding.path) == holding.hops_left


def slack(walk: tuple[Dot, ...]) -> int:
    return min(dot.indirections - (len(walk) - 1 - place) for place, dot in enumerate(walk))


@settings(max_examples=200, deadline=None)
@given(WORLDS)
def test_holdings_say_yes_to_exactly_what_some_path_gives(world: World) -> None:
    held = holdings(Graph(world.dots), world.subject, world.facts, NOW)
    assert held.complete
    for statement in STATEMENTS:
        for namespace in (NAMESPACE.id, PEOPLE[1].id):
            request = Request(world.subject, namespace, (statement,))
            expected = shortest(world, request, doubts=True) is not None and world.subject != namespace
            assert expected == any(
                one.namespace == namespace
                and one.permission_set == statement.permission_set
                and one.permission == statement.permission
                and covers(one.pattern, statement.pattern)
                for one in held.rights
            )


@settings(max_examples=100, deadline=None)
@given(PLAIN_WORLDS)
def test_every_holding_has_a_path_that_gives_its_hops_and_lasts_as_long(world: World) -> None:
    for one in holdings(Graph(world.dots), world.subject, world.facts, NOW).rights:
        statement = Statement(one.permission, one.pattern, one.permission_set)
        request = Request(world.subject, one.namespace, (statement,))
        lasting = [
            walk
            for walk in walks(world.dots, one.namespace)
            if walk[-1].receiver in (world.subject, EVERYBODY)
            and slack(walk) == one.hops_left
            and holds(walk, request, world.facts, doubts=True)
        ]
        assert one.until in {lasts(walk, world.facts) for walk in lasting}


@settings(max_examples=150, deadline=None)
@given(PLAIN_WORLDS)
def test_whatever_a_path_gives_some_holding_gives_as_far_and_as_long(world: World) -> None:
    held = holdings(Graph(world.dots), world.subject, world.facts, NOW).rights
    for statement in STATEMENTS:
        request = Request(world.subject, NAMESPACE.id, (statement,))
        for walk in walks(world.dots, NAMESPACE.id):
            ends_here = walk[-1].receiver in (world.subject, EVERYBODY) and world.subject != NAMESPACE.id
            if ends_here and holds(walk, request, world.facts, doubts=True):
                assert any(
                    one.namespace == NAMESPACE.id
                    and one.permission_set == statement.permission_set
                    and one.permission == statement.permission
                    and covers(one.pattern, statement.pattern)
                    and one.hops_left >= slack(walk)
                    and one.until >= lasts(walk, world.facts)
                    for one in held
                )


def lasts(walk: tuple[Dot, ...], facts: Facts) -> int:
    people = {end for dot in walk for end in (dot.giver, dot.receiver)} - {EVERYBODY}
    return min(*(dot.expires for dot in walk), *(facts.entities[end].expires for end in people))


@given(WORLDS, SEEDS, st.sampled_from(STATEMENTS))
@settings(max_examples=300, deadline=None)
def test_dots_that_are_not_genuine_are_as_if_they_were_not_there(world: World, seed: int, statement: Statement) -> None:
    """What a search finds past false DoTs is what it finds without them, but for the choice among equals."""
    false = {one for one in world.dots if random.Random(f"{seed} {one.id.hex()}").random() < 0.3}
    asked: list[Dot] = []

    def genuine(one: Dot) -> bool:
        asked.append(one)
        return one not in false

    mixed, plain = Graph(world.dots, genuine=genuine), Graph(one for one in world.dots if one not in false)
    namespace = NAMESPACE.id

    def length(graph: Graph) -> int | None:
        try:
            path = find_path(
                graph, statement, subject=world.subject, namespace=namespace, facts=world.facts, now=NOW, context={}
            )
        except Refused:
            return None
        assert false.isdisjoint(path)
        return len(path)

    assert length(mixed) == length(plain)
    assert holdings(mixed, world.subject, world.facts, NOW) == holdings(plain, world.subject, world.facts, NOW)
    reached = [
        {who: (held.hops_left, len(held.path)) for who, held in found.items()}
        for found in (holders(graph, statement, namespace, world.facts, NOW) for graph in (mixed, plain))
    ]
    assert reached[0].keys() == reached[1].keys()
    assert [reached[0][who][0] for who in reached[0]] == [reached[1][who][0] for who in reached[0]]
    assert set(mixed.dots(namespace)) == set(plain.dots(namespace))
    event("false ones asked about" if false & set(asked) else "none of them met")
