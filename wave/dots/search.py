"""Search: which DoTs, out of all that are known, prove a request, and who holds a thing. Pure and bounded.

The hop rule of the verdict says that the DoT at place ``i`` of ``n`` has at least ``n - 1 - i`` indirections. So, seen
from the subject, how a place is reached does not matter, only after how few DoTs: a breadth-first search backwards
visits every entity once, and :func:`find_path` goes that way. Seen from the namespace, both the DoTs so far and the
hops still allowed (the *slack*) matter: :func:`holders`, which asks for everybody, has to go that one.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from wave.dots import rules
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.graph import Budget, Graph, Living, Vertex
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.rules import Path, short
from wave.entities.entity import EVERYBODY, Entity
from wave.errors import ConditionFailed, ConditionMissing, NoProof
from wave.limits import LIMITS
from wave.namespace import condition
from wave.namespace.condition import Context
from wave.namespace.grant import Right
from wave.namespace.pattern import covers

_NO_VALUES: Final[Context] = {}


class Holding(NamedTuple):
    """That an entity holds a statement: by which path, and how many hops further it may hand it on."""

    hops_left: int
    path: Path


def find_proof(graph: Graph, request: Request, facts: Facts, *, now: int) -> Proof:
    """Return a proof of ``request`` at ``now`` (UTC seconds), the records of everybody on its paths with it.

    Each statement has a shortest path, or shares one that another statement needs anyway. Conditions and errors are as
    in :func:`find_path`, with one bound for the whole; :class:`TooLarge` when the proof would be.
    """
    subject, namespace = request.subject, request.namespace
    if subject == namespace:
        rules.living(namespace, {}, facts, now)
        return Proof.build((), (facts.entities[namespace],))
    budget = Budget()
    paths: list[Path] = []
    for statement in request.statements:
        sieve = _Sieve(statement, facts, now, request.context, budget, genuine=graph.genuine)
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
    sieve = _Sieve(statement, facts, now, _NO_VALUES if context is None else context, Budget(), genuine=graph.genuine)
    return _path(graph, sieve, subject, namespace)


def holders(graph: Graph, statement: Statement, namespace: bytes, facts: Facts, now: int) -> dict[bytes, Holding]:
    """Return everybody who holds ``statement`` at ``now``, with the path that lets them hand it on furthest.

    The namespace, which needs no path, is left out; conditions on values count as held. :class:`SearchExhausted`.
    """
    sieve = _Sieve(statement, facts, now, _NO_VALUES, Budget(), genuine=graph.genuine)
    sieve.doubts_pass = True
    if not sieve.alive(namespace):
        return {}
    start = graph.vertex(namespace, namespace)
    reached = _spread(sieve, start)
    del reached[start]
    return {
        vertex.id: Holding(0 if vertex.id == EVERYBODY else way[0], _walked(way)) for vertex, way in reached.items()
    }


class _Sieve(Living):
    """Which DoTs a search for one statement may use: the rules of the verdict about a single hop."""

    __slots__ = ("_context", "_covers", "budget", "doubted", "doubts_pass", "statement")

    def __init__(
        self,
        statement: Statement,
        facts: Facts,
        now: int,
        context: Context,
        budget: Budget,
        *,
        genuine: Callable[[Dot], bool],
    ) -> None:
        super().__init__(facts, now, genuine)
        self.statement = statement
        self.budget = budget
        self.doubts_pass = False  # whether a condition may lack its value
        self.doubted = False  # whether one did, so that letting doubts pass might find more
        self._context = context
        self._covers: dict[str, bool] = {}

    def widest(self, dots: Sequence[Dot], least: int) -> Dot | None:
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
        """Tell whether the DoT gives the whole statement now: a right, its conditions, time, revocation, signature."""
        wanted, permission = self.statement.permission_set, self.statement.permission
        for right in dot.grants:
            if (
                permission in right.permissions
                and right.permission_set == wanted
                and self._covering(right.pattern)
                and (not right.conditions or self._may_hold(right))
            ):
                return self.usable(dot)
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


def _spread(sieve: _Sieve, start: Vertex) -> dict[Vertex, _Way]:
    """Return everybody that the statement reaches from ``start``, each with the way that has the most slack.

    Level by level, a level being one DoT more; a longer way counts again when it leaves more slack.
    """
    way: _Way = (LIMITS.dots_per_path, None, None)
    reached = {start: way}
    ahead = reached.copy()
    while ahead:
        frontier, ahead = ahead, {}
        for vertex, way in frontier.items():
            slack = way[0]
            sieve.budget.spend(len(vertex.given))
            for receiver, dots in vertex.given.items():
                known = reached.get(receiver)
                better = 0 if known is None else known[0] + 1
                if slack <= better:
                    continue
                dot = sieve.widest(dots, better)
                if dot is None or not sieve.alive(receiver.id):
                    continue
                reached[receiver] = onward = (min(slack - 1, dot.indirections), dot, way)
                if receiver.given:
                    ahead[receiver] = onward
    return reached


def _walked(way: _Way) -> Path:
    """Return the DoTs of a way, from the namespace on."""
    path: list[Dot] = []
    _, dot, before = way
    while dot is not None and before is not None:
        path.append(dot)
        _, dot, before = before
    return tuple(path[::-1])


# A step backwards that is worth a look: who gives, the DoTs it gives, to whom, and how few DoTs lead on from there.
_Step: TypeAlias = tuple[Vertex, Sequence[Dot], Vertex, int]


def _shortest(sieve: _Sieve, start: Vertex, ends: list[Vertex]) -> Path | None:
    """Return a shortest path from the namespace ``start`` to one of ``ends``, or None: A* backwards from the ends.

    Seen from there how a place is reached does not matter, only after how few DoTs (:func:`find_path` says why), so
    each entity is visited once. The graph's ``depth`` is the estimate of the rest: never too high, and no DoT lowers
    it by more than one, so the first usable step to an entity is on a shortest way (Hart, Nilsson and Raphael 1968).
    DoTs are looked at when their step's turn comes, and of two steps with the same promise the later found, which is
    further on, goes first: where the estimate is right, a path of n DoTs takes n steps.
    """
    onward: dict[Vertex, tuple[Dot, Vertex] | None] = dict.fromkeys(ends)
    steps: list[list[_Step]] = [[] for _ in range(LIMITS.dots_per_path + 1)]  # by the length of the path they promise

    def approach(vertex: Vertex, after: int) -> None:
        sieve.budget.spend(len(vertex.received))
        for giver, dots in reversed(vertex.received.items()):  # of several, the oldest is taken first
            promised = after + 1 + giver.depth
            if promised <= LIMITS.dots_per_path and giver not in onward:
                steps[promised].append((giver, dots, vertex, after))

    for end in ends:
        approach(end, 0)
    for waiting in steps:
        while waiting:
            giver, dots, receiver, after = waiting.pop()
            if giver in onward:
                continue
            dot = sieve.widest(dots, after)
            if dot is None or not sieve.alive(giver.id):
                continue
            onward[giver] = dot, receiver
            if giver is start:
                return _followed(onward, start)
            approach(giver, after + 1)
    return None


def _followed(onward: dict[Vertex, tuple[Dot, Vertex] | None], vertex: Vertex) -> Path:
    path: list[Dot] = []
    while (step := onward[vertex]) is not None:
        dot, vertex = step
        path.append(dot)
    return tuple(path)


def _path(graph: Graph, sieve: _Sieve, subject: bytes, namespace: bytes) -> Path:
    """Return the shortest path that ``sieve`` lets through, letting doubts pass when there is none without."""
    sieve.check(namespace)
    if subject == namespace:
        return ()
    start = graph.vertex(namespace, namespace)
    ends = [graph.vertex(namespace, end) for end in (subject, EVERYBODY) if sieve.alive(end)]
    path = _shortest(sieve, start, ends)
    if path is None and sieve.doubted:
        sieve.doubts_pass = True
        path = _shortest(sieve, start, ends)
    if path is None:
        sieve.check(subject)
        raise NoProof(
            f"no DoTs lead from namespace {short(namespace)} to {short(subject)} for {sieve.statement}",
            hint="ask somebody who holds it for a DoT; 'wave who' says who does",
        )
    return path
