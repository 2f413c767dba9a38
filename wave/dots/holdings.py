"""What an entity holds, in all namespaces: backwards from it, by claims that narrow with each DoT before them. Pure."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from wave.dots import rules
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.graph import Budget, Graph, Living, Vertex
from wave.entities.entity import EVERYBODY
from wave.errors import BadGrant, ConditionFailed, ConditionMissing, SearchExhausted
from wave.limits import LIMITS
from wave.namespace import condition
from wave.namespace.condition import Condition, Context
from wave.namespace.grant import Right, check_permission
from wave.namespace.pattern import Pattern, covers, intersect

_NO_VALUES: Final[Context] = {}


class Effective(NamedTuple):
    """A right that a subject has in effect, until a UTC second, under all the conditions along its path."""

    namespace: bytes
    permission_set: bytes | None
    permission: str
    pattern: Pattern
    hops_left: int
    until: int
    conditions: tuple[Condition, ...]


class Holdings(NamedTuple):
    """Rights in effect without those covered by others; ``complete`` is false when the search met its bound."""

    rights: tuple[Effective, ...]
    complete: bool


def holdings(graph: Graph, subject: bytes, facts: Facts, now: int) -> Holdings:
    """Return the rights that ``subject`` has in effect at ``now`` in all namespaces but its own, where it has all.

    Conditions on values count as held and are named in the result. Looks at about ``LIMITS.search_edges`` DoTs and
    pairs of rights; beyond that the result is what was found, and says that it is not complete.
    """
    living = _Claims(facts, now, graph.genuine)
    gathering = _Gathering(graph, living, Budget())
    try:
        for namespace in graph.namespaces():
            if namespace != subject and living.alive(namespace):
                gathering.gather(namespace, subject)
    except SearchExhausted:
        return Holdings(gathering.result(), complete=False)
    return Holdings(gathering.result(), complete=True)


class _Claims(Living):
    """What each DoT gives by itself."""

    __slots__ = ()

    def claims(self, dot: Dot) -> list["_Claim"]:
        """Return what a DoT gives by each of its rights that may hold now, and until when; nothing if it does not."""
        if not self.usable(dot):
            return []
        end = min(
            [dot.expires, *(self._facts.entities[one].expires for one in (dot.giver, dot.receiver) if one != EVERYBODY)]
        )
        hops = 0 if dot.receiver == EVERYBODY else dot.indirections
        found = []
        for right in dot.grants:
            until = self._until(right)
            if until is not None:
                permissions = frozenset(right.permissions)
                found.append(
                    _Claim(1, hops, min(end, until), right.permission_set, permissions, right.pattern, right.conditions)
                )
        return found

    def _until(self, right: Right) -> int | None:
        """Return the UTC second until which a right's conditions may hold; None when they do not."""
        until = rules.FOREVER
        try:
            for one in right.conditions:
                with suppress(ConditionMissing):
                    end = condition.check(one, self._now, _NO_VALUES)
                    until = until if end is None else min(until, end)
        except ConditionFailed:
            return None
        return until


class _Claim(NamedTuple):
    """What the receiver at the end of some DoTs holds if the giver at their beginning holds enough."""

    dots: int
    hops_left: int
    until: int
    permission_set: bytes | None
    permissions: frozenset[str]
    pattern: str
    conditions: tuple[Condition, ...]

    def outdoes(self, other: "_Claim") -> bool:
        """Tell whether this gives all that ``other`` gives, whatever stands before both."""
        return (
            self.dots <= other.dots
            and self.hops_left >= other.hops_left
            and self.until >= other.until
            and self.permission_set == other.permission_set
            and self.permissions >= other.permissions
            and set(self.conditions) <= set(other.conditions)
            and covers(self.pattern, other.pattern)
        )

    def may_precede(self, other: "_Claim") -> bool:
        """Tell whether this claim of one DoT, put before ``other``, leaves any of its permissions."""
        return (
            self.hops_left >= other.dots
            and self.permission_set == other.permission_set
            and not self.permissions.isdisjoint(other.permissions)
        )

    def behind(self, first: "_Claim") -> Iterator["_Claim"]:
        """Yield what is left of this claim with the one DoT of ``first`` before it."""
        for pattern in _common(first.pattern, self.pattern):
            yield _Claim(
                self.dots + 1,
                min(first.hops_left - self.dots, self.hops_left),
                min(first.until, self.until),
                self.permission_set,
                first.permissions & self.permissions,
                pattern,
                tuple(dict.fromkeys(first.conditions + self.conditions)),
            )


def _common(one: str, other: str) -> tuple[str, ...]:
    if covers(one, other):
        return (other,)
    if covers(other, one):
        return (one,)
    return intersect(one, other)


_COMPARISON: Final = 4  # comparing two claims takes about as long as looking at so many DoTs
_MEETING: Final = LIMITS.cells_per_pattern  # and so does meeting their patterns


class _Gathering:
    """The search for all that a subject holds: backwards, by claims that narrow with each DoT before them."""

    __slots__ = ("_budget", "_found", "_graph", "_living")

    def __init__(self, graph: Graph, living: _Claims, budget: Budget) -> None:
        self._graph = graph
        self._living = living
        self._budget = budget
        self._found: dict[tuple[bytes, bytes | None, str], list[_Claim]] = {}

    def gather(self, namespace: bytes, subject: bytes) -> None:
        """Find what ``subject``, or everybody, holds in one namespace; :class:`SearchExhausted`."""
        ends = [self._graph.vertex(namespace, end) for end in (subject, EVERYBODY) if self._living.alive(end)]
        known: dict[tuple[Vertex, bytes | None, frozenset[str], str], list[_Claim]] = {}
        level: dict[Vertex, list[_Claim]] = {end: [] for end in ends}
        while level:
            onward: dict[Vertex, list[_Claim]] = {}
            for vertex, claims in level.items():
                for giver, dots in vertex.received.items():
                    if giver in ends or not self._living.alive(giver.id):
                        continue
                    for claim in self._before(claims, dots, last=vertex in ends):
                        if giver.id == namespace:
                            self._take(namespace, claim)
                            continue
                        alike = known.setdefault((giver, claim.permission_set, claim.permissions, claim.pattern), [])
                        if claim.dots < LIMITS.dots_per_path and self._more(claim, alike):
                            alike.append(claim)
                            onward.setdefault(giver, []).append(claim)
            level = onward

    def _before(self, claims: list[_Claim], dots: Sequence[Dot], *, last: bool) -> Iterator[_Claim]:
        """Yield the claims of the DoTs alone when they are the last ones, else what they leave of ``claims``."""
        for dot in dots:
            self._budget.spend(1)
            for single in self._living.claims(dot):
                if last:
                    yield single
                    continue
                for claim in claims:
                    self._budget.spend(1)
                    if single.may_precede(claim):
                        self._budget.spend(_MEETING)
                        yield from claim.behind(single)

    def _more(self, new: _Claim, claims: list[_Claim]) -> bool:
        """Tell whether ``new`` is more than each of ``claims``."""
        self._budget.spend(_COMPARISON * len(claims))
        return not any(claim.outdoes(new) for claim in claims)

    def _take(self, namespace: bytes, claim: _Claim) -> None:
        """Take a claim that reaches the namespace, and so is a right, once a permission."""
        room = LIMITS.dots_per_path - claim.dots
        right = claim._replace(dots=0, hops_left=min(claim.hops_left, room), permissions=_ALONE)
        for permission in claim.permissions:
            try:
                check_permission(permission, claim.permission_set)
            except BadGrant:  # no request can ask for it
                continue
            self._found.setdefault((namespace, claim.permission_set, permission), []).append(right)

    def result(self) -> tuple[Effective, ...]:
        """Return the rights found so far in a fixed order, without what others cover, as far as the bound allows."""
        self._budget = Budget()
        rights = [
            Effective(
                namespace, permission_set, permission, Pattern(one.pattern), one.hops_left, one.until, one.conditions
            )
            for (namespace, permission_set, permission), claims in self._found.items()
            for one in self._widest(claims)
        ]
        return tuple(sorted(rights, key=lambda it: (it.namespace, it.permission_set or b"", it.permission, it.pattern)))

    def _widest(self, claims: list[_Claim]) -> list[_Claim]:
        kept: list[_Claim] = []
        claims.sort(key=lambda claim: len(claim.pattern))  # the wide ones tend to be short
        for place, claim in enumerate(claims):
            try:
                if self._more(claim, kept):
                    self._budget.spend(_COMPARISON * len(kept))
                    kept = [one for one in kept if not claim.outdoes(one)]
                    kept.append(claim)
            except SearchExhausted:
                return kept + claims[place:]
        return kept


_ALONE: Final[frozenset[str]] = frozenset()
