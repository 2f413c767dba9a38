"""What a change would do, and to whom, before anything is signed: rights in effect without it and with it. Pure."""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.graph import Budget, Graph
from wave.dots.holdings import Effective, holdings
from wave.errors import SearchExhausted
from wave.limits import LIMITS
from wave.namespace.pattern import covers, intersect


class Change(NamedTuple):
    """A right that an entity has on one side of a change alone, and what it has ``instead`` of it on the other.

    ``instead`` are the rights of the same permission that meet the pattern: a narrower one, one that ends sooner or may
    not be handed on, or one under more conditions.
    """

    entity: bytes
    right: Effective
    instead: tuple[Effective, ...]


Loss: TypeAlias = Change
Gain: TypeAlias = Change


def losses(graph: Graph, facts: Facts, revoked: Collection[bytes], *, now: int) -> tuple[Loss, ...]:
    """Return who would lose what at ``now`` if these commitments (32 bytes each) were revoked.

    What everybody loses is told once, of :data:`EVERYBODY`; that an entity acts in its own namespace needs no DoT and
    is not told. :class:`SearchExhausted` rather than a part of the answer: beyond ``LIMITS.graph_givers`` entities
    that may be touched, or where the rights of one of them are too many to be listed.
    """
    gone = frozenset(revoked)
    then = replace(facts, revocations={**facts.revocations, **dict.fromkeys(gone, facts.height)})
    Budget().spend(len(graph))
    touched = [(dot.namespace, dot.receiver) for dot in graph if not gone.isdisjoint(dot.commitments)]
    ended = {one for one, record in facts.entities.items() if not gone.isdisjoint(record.commitments)}
    if ended:
        touched += [(dot.namespace, end) for dot in graph for end in (dot.giver, dot.receiver) if end in ended]
    return _changes((graph, then), (graph, facts), _reached(graph, touched), now)


def gains(graph: Graph, facts: Facts, dots: Collection[Dot], *, now: int) -> tuple[Gain, ...]:
    """Return who would gain what at ``now`` by ``dots``, whose signatures are not looked at, if they were given.

    Receivers whose records are not in ``facts`` gain nothing. Bounds and the part of everybody are as in
    :func:`losses`.
    """
    new = frozenset(dots)
    namespaces = {dot.namespace for dot in new}
    Budget().spend(len(graph))
    known = [dot for dot in graph if dot.namespace in namespaces]
    before = Graph(known, genuine=graph.genuine)
    after = Graph([*known, *dots], genuine=lambda dot: dot in new or graph.genuine(dot))
    touched = [(dot.namespace, dot.receiver) for dot in dots]
    return _changes((before, facts), (after, facts), _reached(after, touched), now)


def _reached(graph: Graph, touched: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Return everybody to whom DoTs lead from entities in namespaces, themselves first; :class:`SearchExhausted`."""
    seen = dict.fromkeys(touched)
    ahead = deque(seen)
    while ahead:
        namespace, identity = ahead.popleft()
        for receiver in graph.vertex(namespace, identity).given:
            place = namespace, receiver.id
            if place not in seen:
                seen[place] = None
                ahead.append(place)
        if len(seen) > LIMITS.graph_givers:
            raise SearchExhausted(
                f"more than {LIMITS.graph_givers} entities may be touched by this, which is too many to tell",
                hint="make the change in smaller parts",
            )
    return list(dict.fromkeys(identity for _, identity in seen))


def _changes(less: tuple[Graph, Facts], more: tuple[Graph, Facts], people: list[bytes], now: int) -> tuple[Change, ...]:
    """Return the rights that ``people`` have by ``more`` and not by ``less``."""
    found = []
    for identity in people:
        with_it, without = (_rights(graph, identity, facts, now) for graph, facts in (more, less))
        found += [
            Change(identity, right, tuple(one for one in without if _meets(one, right)))
            for right in with_it
            if not any(_as_much(one, right) for one in without)
        ]
    return tuple(found)


def _rights(graph: Graph, identity: bytes, facts: Facts, now: int) -> tuple[Effective, ...]:
    found = holdings(graph, identity, facts, now)
    if not found.complete:
        raise SearchExhausted("an entity that this touches holds too much to be compared")
    return found.rights


def _alike(one: Effective, other: Effective) -> bool:
    return one[:3] == other[:3]  # namespace, permission set, permission


def _as_much(one: Effective, other: Effective) -> bool:
    """Tell whether ``one`` allows all that ``other`` does."""
    return (
        _alike(one, other)
        and one.hops_left >= other.hops_left
        and one.until >= other.until
        and set(one.conditions) <= set(other.conditions)
        and covers(one.pattern, other.pattern)
    )


def _meets(one: Effective, other: Effective) -> bool:
    return _alike(one, other) and bool(intersect(one.pattern, other.pattern))
