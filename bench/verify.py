"""What a cold verification (from bytes, no cache) costs, against as many bare Ed25519 verifications by PyNaCl."""

import random
from collections.abc import Iterator
from itertools import pairwise

from nacl.signing import VerifyKey

from bench.figure import Figure, ratio
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.verify import verify
from wave.entities.entity import EntitySecret
from wave.entities.object import DOT, signing_input
from wave.namespace.grant import right
from wave.namespace.pattern import Pattern

BOUND = 1.2  # times what the signatures alone cost
LENGTHS = (1, 3, 5, 10)
NOW = 1_800_000_000
DAY = 86_400
PLACE = "building4/floor2/room17"


def chain(length: int) -> tuple[list[EntitySecret], tuple[Dot, ...]]:
    """Return people and the DoTs by which each hands on to the next, from a fixed seed."""
    draw = random.Random(length).randbytes
    people = [EntitySecret.create(draw, created=NOW - DAY, expires=NOW + 3650 * DAY) for _ in range(length + 1)]
    path = tuple(
        Dot.create(
            giver,
            receiver=receiver.id,
            namespace=people[0].id,
            grants=(right(("publish", "subscribe"), f"{PLACE}/*"),),
            created=NOW - DAY,
            expires=NOW + 30 * DAY,
            indirections=length,
        )
        for giver, receiver in pairwise(people)
    )
    return people, path


def overhead(length: int, *, records_in_facts: bool) -> float:
    """Return how many times as long a path's verification takes as its signatures' alone, the same bytes under both."""
    people, path = chain(length)
    records = {person.id: person.entity for person in people}
    data = Proof.build((path,), () if records_in_facts else records.values()).to_bytes()
    facts = Facts(1, bytes(32), NOW, {bytes(32): 1}, records if records_in_facts else {})
    request = Request(people[-1].id, people[0].id, (Statement("publish", Pattern(f"{PLACE}/light/control")),))
    signed = [
        (person.entity.verify_key, signing_input(DOT, dot.body), dot.signature)
        for person, dot in zip(people, path, strict=False)
    ]

    def whole() -> None:
        verify(data, request, facts, now=NOW)

    def bare() -> None:
        for key, message, signature in signed:
            VerifyKey(key).verify(message, signature)

    return ratio(whole, bare)


def figures() -> Iterator[Figure]:
    """Yield the ratio for each length, with the entities' records in a replica's facts and in the proof itself.

    Records in the proof are further objects to parse and hash, one more than there are DoTs, under the same bound.
    """
    for records_in_facts in (True, False):
        where = "facts" if records_in_facts else "proof"
        for length in LENGTHS:
            name = f"cold verify / bare signatures, {length} DoT{'' if length == 1 else 's'}, records in {where}"
            yield Figure(name, overhead(length, records_in_facts=records_in_facts), "x", BOUND)
