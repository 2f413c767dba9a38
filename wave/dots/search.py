"""Search: which DoTs, out of all that are known, prove a request; who holds a thing; what one holds. Pure and bounded.

The hop rule of the verdict says that the DoT at place ``i`` of ``n`` has at least ``n - 1 - i`` indirections. So, seen
from the subject, how a place is reached does not matter, only after how few DoTs: a breadth-first search backwards
visits every entity once. Seen from the namespace, both the DoTs so far and the hops still allowed (the *slack*) matter:
a longer way counts again when it leaves more slack. :func:`find_path` runs both at once and lets them meet.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias

from wave.dots import rules
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.rules import Path, short
from wave.entities.entity import EVERYBODY, Entity
from wave.errors import BadGrant, ConditionFailed, ConditionMissing, NoProof, SearchExhausted
from wave.limits import LIMITS
from wave.namespace import condition
from wave.namespace.condition import Condition, Context
from wave.namespace.grant import Right, check_permission
from wave.namespace.pattern import Pattern, covers, intersect

_NO_VALUES: Final[Context] = {}


class _Vertex:
    """An entity in one namespace, and the DoTs between it and its neighbours in the order in which they came."""

    __slots__ = ("given", "id", "received")

    def __init__(self, identity: bytes) -> None:
        self.id = identity
        self.given: dict[_Vertex, tuple[Dot, ...]] = {}  # by receiver
        self.received: dict[_Vertex, tuple[Dot, ...]] = {}  # by giver


class Graph:
    """DoTs by namespace, giver and receiver. Whoever adds one has checked its signature."""

    __slots__ = ("_dots", "_vertices")

    def __init__(self, dots: Iterable[Dot] = ()) -> None:
        """Start with ``dots``."""
        self._dots: dict[Dot, Dot] = {}
        self._vertices: dict[bytes, dict[bytes, _Vertex]] = {}
        for dot in dots:
            self.add(dot)

    def add(self, dot: Dot) -> None:
        """Take in a DoT, once; one given by everybody, which nobody can have signed, is left out."""
        if dot not in self._dots and dot.giver != EVERYBODY:
            self._dots[dot] = dot
            giver, receiver = self._grown(dot.namespace, dot.giver), self._grown(dot.namespace, dot.receiver)
            giver.given[receiver] = receiver.received[giver] = (*giver.given.get(receiver, ()), dot)

    def _grown(self, namespace: bytes, identity: bytes) -> _Vertex:
        vertices = self._vertices.setdefault(namespace, {})
        vertex = vertices.get(identity)
        if vertex is None:
            vertex = vertices[identity] = _Vertex(identity)
        return vertex

    def discard(self, dot: Dot) -> None:
        """Forget a DoT; one that is not there changes nothing."""
        known = self._dots.pop(dot, None)
        if known is not None:
            vertices = self._vertices[dot.namespace]
            giver, receiver = vertices[dot.giver], vertices[dot.receiver]
            left = tuple([other for other in giver.given[receiver] if other is not known])
            if left:
                giver.given[receiver] = receiver.received[giver] = left
            else:
                del giver.given[receiver], receiver.received[giver]
            for end in {giver, receiver}:
                if not end.given and not end.received:
                    del vertices[end.id]
            if not vertices:
                del self._vertices[dot.namespace]

    def __contains__(self, dot: Dot) -> bool:
        """Tell whether the DoT is there."""
        return dot in self._dots

    def __len__(self) -> int:
        """Return the number of DoTs."""
        return len(self._dots)

    def namespaces(self) -> tuple[bytes, ...]:
        """Return the namespaces that some DoT speaks of."""
        return tuple(self._vertices)

    def dots(self, namespace: bytes) -> Iterator[Dot]:
        """Yield every DoT about ``namespace``."""
        for vertex in self._vertices.get(namespace, {}).values():
            for dots in vertex.given.values():
                yield from dots

    def vertex(self, namespace: bytes, identity: bytes) -> _Vertex:
        """Return an entity with the DoTs about ``namespace`` around it, none when it has none. For this module."""
        return self._vertices.get(namespace, {}).get(identity) or _Vertex(identity)


class Holding(NamedTuple):
    """That an entity holds a statement: by which path, and how many hops further it may hand it on."""

    hops_left: int
    path: Path


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


def find_proof(graph: Graph, request: Request, facts: Facts, *, now: int) -> Proof:
    """Return a proof of ``request`` at ``now`` (UTC seconds), the records of everybody on its paths with it.

    Each statement has a shortest path, or shares one that another statement needs anyway. Conditions and errors are as
    in :func:`find_path`, with one bound for the whole; :class:`TooLarge` when the proof would be.
    """
    subject, namespace = request.subject, request.namespace
    if subject == namespace:
        root = rules.record_of(namespace, {}, facts)
        rules.entity_alive(root, facts, now)
        return Proof.build((), (root,))
    budget = _Budget()
    paths: list[Path] = []
    for statement in request.statements:
        sieve = _Sieve(statement, facts, now, request.context, budget)
        if not any(all(sieve.admits(dot) for dot in path) for path in paths):
            paths.append(_path(graph, sieve, subject, namespace))
    return Proof.build(paths, _records(paths, facts))


def _records(paths: list[Path], facts: Facts) -> tuple[Entity, ...]:
    people = dict.fromkeys(end for path in paths for dot in path for end in (dot.giver, dot.receiver))
    return tuple(facts.entities[identity] for identity in people if identity != EVERYBODY)


def find_path(
    graph: Graph,
    statement: Statement,
    *,
    subject: bytes,
    namespace: bytes,
    facts: Facts,
    now: int,
    context: Context | None = None,
) -> Path:
    """Return a shortest path that gives ``subject`` the statement at ``now`` (UTC seconds); the namespace needs none.

    Conditions are asked with ``context``; only when no path holds for certain may a value be missing from it. Raises
    :class:`NoProof`, or the refusal that says why subject or namespace cannot take part (:class:`MissingEntity` when
    its record is not in ``facts``), and :class:`SearchExhausted` beyond ``LIMITS.search_edges`` DoTs looked at.
    """
    sieve = _Sieve(statement, facts, now, _NO_VALUES if context is None else context, _Budget())
    return _path(graph, sieve, subject, namespace)


def holders(graph: Graph, statement: Statement, namespace: bytes, facts: Facts, now: int) -> dict[bytes, Holding]:
    """Return everybody who holds ``statement`` at ``now``, with the path that lets them hand it on furthest.

    The namespace, which needs no path, is left out; conditions on values count as held. :class:`SearchExhausted`.
    """
    sieve = _Sieve(statement, facts, now, _NO_VALUES, _Budget())
    sieve.doubts_pass = True
    if not sieve.alive(namespace):
        return {}
    start = graph.vertex(namespace, namespace)
    search = _Search(sieve, start)
    while search.ahead:
        search.forward()
    del search.reached[start]
    return {
        vertex.id: Holding(0 if vertex.id == EVERYBODY else way[0], _walked(way))
        for vertex, way in search.reached.items()
    }


def holdings(graph: Graph, subject: bytes, facts: Facts, now: int) -> Holdings:
    """Return the rights that ``subject`` has in effect at ``now`` in all namespaces but its own, where it has all.

    Conditions on values count as held and are named in the result. Looks at about ``LIMITS.search_edges`` DoTs and
    pairs of rights; beyond that the result is what was found, and says that it is not complete.
    """
    living = _Living(facts, now)
    gathering = _Gathering(graph, living, _Budget())
    try:
        for namespace in graph.namespaces():
            if namespace != subject and living.alive(namespace):
                gathering.gather(namespace, subject)
    except SearchExhausted:
        return Holdings(gathering.result(), complete=False)
    return Holdings(gathering.result(), complete=True)


class _Budget:
    """How many DoTs a search may still look at."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = LIMITS.search_edges

    def spend(self, dots: int) -> None:
        """Count DoTs looked at; :class:`SearchExhausted` when they are too many."""
        self.left -= dots
        if self.left < 0:
            raise SearchExhausted(
                f"gave up after looking at {LIMITS.search_edges} DoTs", hint="ask for fewer statements at once"
            )


class _Living:
    """Which DoTs and entities are inside their time and unrevoked; each entity is looked at once."""

    __slots__ = ("_alive", "_facts", "_now")

    def __init__(self, facts: Facts, now: int) -> None:
        self._facts = facts
        self._now = now
        self._alive = {EVERYBODY: True}

    def holds(self, what: Dot | Entity) -> bool:
        """Tell whether a DoT or an entity is inside its time and unrevoked."""
        return what.created <= self._now < what.expires and self._facts.revoked_at(what.commitments) is None

    def alive(self, identity: bytes) -> bool:
        """Tell whether an entity's record is known and holds."""
        alive = self._alive.get(identity)
        if alive is None:
            record = self._facts.entities.get(identity)
            alive = record is not None and self.holds(record)
            self._alive[identity] = alive
        return alive

    def check(self, identity: bytes) -> None:
        """Raise unless an entity is alive: :class:`MissingEntity`, :class:`EntityRevoked` and its like."""
        if not self.alive(identity):
            rules.entity_alive(rules.record_of(identity, {}, self._facts), self._facts, self._now)

    def claims(self, dot: Dot) -> list["_Claim"]:
        """Return what a DoT gives by each of its rights that may hold now, and until when; nothing if it does not."""
        if not self.holds(dot):
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


class _Sieve(_Living):
    """Which DoTs a search for one statement may use: the rules of the verdict about a single hop."""

    __slots__ = ("_context", "_covers", "budget", "doubted", "doubts_pass", "statement")

    def __init__(self, statement: Statement, facts: Facts, now: int, context: Context, budget: _Budget) -> None:
        super().__init__(facts, now)
        self.statement = statement
        self.budget = budget
        self.doubts_pass = False  # whether a condition may lack its value
        self.doubted = False  # whether one did, so that letting doubts pass might find more
        self._context = context
        self._covers: dict[str, bool] = {}

    def widest(self, dots: Path, least: int) -> Dot | None:
        """Return the usable DoT with the most indirections, which are ``least`` or more."""
        found = None
        if len(dots) > 1:
            self.budget.spend(len(dots) - 1)  # one of them was counted with the neighbour
        for dot in dots:
            if dot.indirections >= least and self.admits(dot):
                found = dot
                least = dot.indirections + 1
        return found

    def admits(self, dot: Dot) -> bool:
        """Tell whether the DoT gives the whole statement now: some right over it, its conditions, time, revocation."""
        wanted, permission = self.statement.permission_set, self.statement.permission
        for right in dot.grants:
            if (
                permission in right.permissions
                and right.permission_set == wanted
                and self._covering(right.pattern)
                and (not right.conditions or self._may_hold(right))
            ):
                return self.holds(dot)
        return False

    def _covering(self, pattern: str) -> bool:
        covering = self._covers.get(pattern)
        if covering is None:
            covering = self._covers[pattern] = covers(pattern, self.statement.pattern)
        return covering

    def _may_hold(self, right: Right) -> bool:
        doubt = False
        for one in right.conditions:
            try:
                condition.check(one, self._now, self._context)
            except ConditionMissing:
                doubt = True
            except ConditionFailed:
                return False
        self.doubted |= doubt
        return self.doubts_pass or not doubt


# A way from the namespace: the slack at its end, its last DoT, and the way before that.
_Way: TypeAlias = "tuple[int, Dot | None, _Way | None]"


class _Search:
    """A search from both ends, each a level (one DoT more) at a time. Without ``ends`` it goes forward alone.

    A level is done whole before the next, and nothing shorter is left to find when it begins. So the first entity at
    which both searches meet lies on a shortest path, and a way that cannot reach beyond the levels done backwards
    (its slack says so) need not be followed.
    """

    __slots__ = ("_after", "_levels", "_sieve", "_towards", "ahead", "behind", "reached")

    def __init__(self, sieve: _Sieve, start: _Vertex, *ends: _Vertex) -> None:
        self._sieve = sieve
        way: _Way = (LIMITS.dots_per_path, None, None)
        self.reached = {start: way}  # the way with the most slack so far
        self.ahead = {start: way}  # those found in the last level
        self.behind = list(ends)
        self._after = dict.fromkeys(ends, 0)  # how few DoTs lead on to an end
        self._towards: dict[_Vertex, tuple[Dot, _Vertex]] = {}  # the first of them
        self._levels = 0 if ends else -1  # done backwards

    def meet(self) -> Path | None:
        """Return a shortest path from the namespace to one of the ends, or None, by whichever step is the cheaper."""
        while self.ahead and self.behind:
            forward = sum([len(vertex.given) for vertex in self.ahead])
            backward = sum([len(vertex.received) for vertex in self.behind])
            meeting = self.forward() if forward <= backward else self.backward()
            if meeting is not None:
                return self._joined(meeting)
        return None

    def forward(self) -> _Vertex | None:
        """Go one DoT further from the namespace; return where that meets the search backwards."""
        sieve, after, reached, beyond = self._sieve, self._after, self.reached, self._levels + 1
        frontier, self.ahead = self.ahead, {}
        for vertex, way in frontier.items():
            slack = way[0]
            if slack < beyond or vertex in after:
                continue
            sieve.budget.spend(len(vertex.given))
            for receiver, dots in vertex.given.items():
                known = reached.get(receiver)
                better = 0 if known is None else known[0] + 1
                if slack <= better:
                    continue
                least = max(better, after.get(receiver, beyond))  # slack that is of use there
                if slack <= least:
                    continue
                dot = sieve.widest(dots, least)
                if dot is None or not (receiver in after or sieve.alive(receiver.id)):
                    continue
                onward = (min(slack - 1, dot.indirections), dot, way)
                reached[receiver] = onward
                if receiver in after:
                    return receiver
                if receiver.given:
                    self.ahead[receiver] = onward
        return None

    def backward(self) -> _Vertex | None:
        """Go one DoT further from the ends; return where that meets the search forward."""
        sieve, after, reached, done = self._sieve, self._after, self.reached, self._levels
        frontier, self.behind = self.behind, []
        for vertex in frontier:
            sieve.budget.spend(len(vertex.received))
            for giver in [one for one in vertex.received if one not in after]:
                dot = sieve.widest(vertex.received[giver], done)
                if dot is None or not sieve.alive(giver.id):
                    continue
                after[giver] = done + 1
                self._towards[giver] = dot, vertex
                known = reached.get(giver)
                if known is not None and known[0] > done:
                    return giver
                if giver.received:
                    self.behind.append(giver)
        self._levels = done + 1
        return None

    def _joined(self, meeting: _Vertex) -> Path:
        path = list(_walked(self.reached[meeting]))
        while self._after[meeting]:
            dot, meeting = self._towards[meeting]
            path.append(dot)
        return tuple(path)


def _walked(way: _Way) -> Path:
    """Return the DoTs of a way, from the namespace on."""
    path: list[Dot] = []
    _, dot, before = way
    while dot is not None and before is not None:
        path.append(dot)
        _, dot, before = before
    return tuple(path[::-1])


def _path(graph: Graph, sieve: _Sieve, subject: bytes, namespace: bytes) -> Path:
    """Return the shortest path that ``sieve`` lets through, letting doubts pass when there is none without."""
    sieve.check(namespace)
    if subject == namespace:
        return ()
    start = graph.vertex(namespace, namespace)
    ends = [graph.vertex(namespace, end) for end in (subject, EVERYBODY) if sieve.alive(end)]
    path = _Search(sieve, start, *ends).meet()
    if path is None and sieve.doubted:
        sieve.doubts_pass = True
        path = _Search(sieve, start, *ends).meet()
    if path is None:
        sieve.check(subject)
        raise NoProof(
            f"no DoTs lead from namespace {short(namespace)} to {short(subject)} for {sieve.statement}",
            hint="ask somebody who holds it for a DoT; 'wave who' says who does",
        )
    return path


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

    def __init__(self, graph: Graph, living: _Living, budget: _Budget) -> None:
        self._graph = graph
        self._living = living
        self._budget = budget
        self._found: dict[tuple[bytes, bytes | None, str], list[_Claim]] = {}

    def gather(self, namespace: bytes, subject: bytes) -> None:
        """Find what ``subject``, or everybody, holds in one namespace; :class:`SearchExhausted`."""
        ends = [self._graph.vertex(namespace, end) for end in (subject, EVERYBODY) if self._living.alive(end)]
        known: dict[tuple[_Vertex, bytes | None, frozenset[str], str], list[_Claim]] = {}
        level: dict[_Vertex, list[_Claim]] = {end: [] for end in ends}
        while level:
            onward: dict[_Vertex, list[_Claim]] = {}
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

    def _before(self, claims: list[_Claim], dots: Path, *, last: bool) -> Iterator[_Claim]:
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
        self._budget = _Budget()
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
