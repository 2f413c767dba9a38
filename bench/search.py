"""How long it takes to find a proof of nine hops among 100,000 DoTs.

Search looks at no signature, so the DoTs here carry blank ones.
"""

import random
from collections.abc import Iterator
from itertools import chain
from statistics import median

from bench.figure import Action, Figure, seconds
from wave.codec import VERSION, record_bytes
from wave.dots.dot import Dot, DotFields
from wave.dots.facts import Facts
from wave.dots.graph import Graph
from wave.dots.request import Request, Statement
from wave.dots.search import find_proof
from wave.entities.entity import Entity, EntityFields
from wave.namespace.grant import Right, right
from wave.namespace.pattern import Pattern

DOTS = 100_000
HOPS = 9
SEARCHES = 101
BOUND = 10.0  # milliseconds
NOW = 1_800_000_000
YEAR = 365 * 86_400


class World:
    """A graph that grows by blank DoTs between entities that are made up, and the facts that go with it."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.graph = Graph()
        self.entities: dict[bytes, Entity] = {}
        self.revocations = {self.draw.randbytes(32): 1 for _ in range(1000)}

    def entity(self) -> bytes:
        """Make up an entity and return its id."""
        fields = EntityFields(
            VERSION,
            self.draw.randbytes(32),
            bytes(32),
            NOW - YEAR,
            NOW + YEAR,
            (self.draw.randbytes(32),),
            "",
            "",
            None,
        )
        entity = Entity(record_bytes(fields), bytes(64))
        self.entities[entity.id] = entity
        return entity.id

    def grant(self, namespace: bytes, giver: bytes, receiver: bytes, what: Right, hops: int) -> None:
        """Add a DoT, unless it would lead from an entity to itself."""
        if giver != receiver:
            fields = DotFields(
                VERSION,
                giver,
                receiver,
                namespace,
                (what,),
                hops,
                NOW - YEAR,
                NOW + YEAR,
                (self.draw.randbytes(32),),
                "",
            )
            self.graph.add(Dot(record_bytes(fields), bytes(64)))

    def search(self, subject: bytes, namespace: bytes, resource: str) -> Action:
        """Return the search for a proof that ``subject`` may publish to ``resource``."""
        request = Request(subject, namespace, (Statement("publish", Pattern(resource)),))
        facts = Facts(1, bytes(32), NOW, self.revocations, self.entities)

        def action() -> None:
            (path,) = find_proof(self.graph, request, facts, now=NOW).paths
            assert len(path) == HOPS

        return action


def buildings(namespaces: int = 20) -> list[Action]:
    """Organisations of ten buildings, ten floors each, ten rooms each: rights narrow from operator to a phone's app.

    In between, people hand rights to read to others here and there.
    """
    world = World(1)
    leaves: list[tuple[bytes, bytes, str]] = []
    for _ in range(namespaces):
        namespace = world.entity()
        people: list[bytes] = []

        def handed(giver: bytes, pattern: str, *, namespace: bytes = namespace, people: list[bytes] = people) -> bytes:
            receiver = world.entity()
            people.append(receiver)
            world.grant(namespace, giver, receiver, right(("publish", "subscribe"), pattern), HOPS)
            return receiver

        operator = handed(namespace, "*")
        for building in range(10):
            deputy = handed(handed(operator, f"b{building}/*"), f"b{building}/*")
            for floor in range(10):
                place = f"b{building}/f{floor}"
                caretaker = handed(handed(deputy, f"{place}/*"), f"{place}/*")
                for room in range(10):
                    spot = f"{place}/r{room}/*"
                    app = handed(handed(handed(handed(caretaker, spot), spot), spot), spot)
                    leaves.append((app, namespace, f"{place}/r{room}/light/control"))
        for _ in range(DOTS // namespaces - len(people)):
            giver, receiver = world.draw.sample(people, 2)
            pattern = f"b{world.draw.randrange(10)}/f{world.draw.randrange(10)}/*"
            world.grant(namespace, giver, receiver, right(("subscribe",), pattern), 2)
    assert len(world.graph) == DOTS
    return [world.search(*leaf) for leaf in world.draw.sample(leaves, SEARCHES)]


def crowd(width: int, spare: int = 4, *, misled: bool = False) -> list[Action]:
    """One namespace whose DoTs all give everything to anybody, and yet no proof is shorter than nine hops.

    Entities stand in eight rows of ``width``, the namespace before the first and the subjects behind the last. A DoT
    leads to the next row or, as often, back to any row, so that ways run in circles. Up to ``spare`` hops more than
    the shortest way needs are allowed, at random, so that longer ways are worth a look. Is the crowd to be ``misled``,
    the namespace gave something else to each of them too, so that everybody seems to be near it.
    """
    world = World(2)
    namespace = world.entity()
    rows = [[namespace], *([world.entity() for _ in range(width)] for _ in range(HOPS - 1))]
    rows.append([world.entity() for _ in range(SEARCHES)])
    everything, other = right(("publish",), "*"), right(("publish",), "other/*")
    for receiver in chain.from_iterable(rows[2:HOPS]) if misled else ():
        world.grant(namespace, namespace, receiver, other, HOPS)
    shares = [20, *([width] * (HOPS - 2)), 20 * SEARCHES]  # DoTs that leave a row
    for row in world.draw.choices(range(HOPS), weights=shares, k=2 * DOTS):
        onward = row == HOPS - 1 or world.draw.random() < 1 / 2
        receiver = world.draw.choice(rows[row + 1 if onward else world.draw.randint(1, row + 1)])
        hops = HOPS - 1 - row + world.draw.randrange(spare + 1)
        world.grant(namespace, world.draw.choice(rows[row]), receiver, everything, hops)
        if len(world.graph) == DOTS:
            break
    return [world.search(subject, namespace, "a/b") for subject in rows[HOPS]]


def figures() -> Iterator[Figure]:
    """Yield the median time for each kind of graph, each search done once.

    The misled crowds are made against the estimate that the search goes by. They are shown and bound to nothing.
    """
    for kind, searches, bound in (
        ("20 organisations", buildings(), BOUND),
        ("a dense crowd of 960", crowd(120), BOUND),
        ("a wide crowd of 8,000", crowd(1000), BOUND),
        ("a misled crowd of 960", crowd(120, misled=True), None),
        ("a misled crowd of 8,000", crowd(1000, misled=True), None),
    ):
        times = sorted(seconds(search) for search in searches)
        note = f"{len(searches)} subjects, slowest {times[-1] * 1000:.1f} ms"
        yield Figure(f"{HOPS} hops among {DOTS:,} DoTs, {kind}", median(times) * 1000, "ms", bound, note)
