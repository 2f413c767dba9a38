"""The graph of DoTs that searches go through, and what every search asks of it: who lives, and how far it may look."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from wave.dots import rules
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.entities.entity import EVERYBODY, Entity
from wave.errors import SearchExhausted
from wave.limits import LIMITS


class Vertex:
    """An entity in one namespace, and the DoTs between it and its neighbours in the order in which they came.

    ``depth``: no fewer DoTs than so many lead here from the namespace that may all be handed on, whatever they give.
    """

    __slots__ = ("depth", "given", "id", "received")

    def __init__(self, identity: bytes, depth: int = LIMITS.dots_per_path) -> None:
        self.id = identity
        self.depth = depth
        self.given: dict[Vertex, list[Dot]] = {}  # by receiver
        self.received: dict[Vertex, list[Dot]] = {}  # by giver


def checked(_: Dot) -> bool:
    """Take the signature of a DoT for good, because it was checked before the DoT came here."""
    return True


class Graph:
    """DoTs by namespace, giver and receiver.

    Whoever adds one has checked its signature, or gives ``genuine``, which does. A search asks it of each DoT that it
    would use, last of all and every time, and goes on without the ones that are not; what lies beyond them costs it
    nothing. ``genuine`` must not change the graph: a search may be going through it.
    """

    __slots__ = ("_dots", "_vertices", "genuine")

    def __init__(self, dots: Iterable[Dot] = (), *, genuine: Callable[[Dot], bool] = checked) -> None:
        """Start with ``dots``."""
        self.genuine = genuine
        self._dots: dict[Dot, Dot] = {}
        self._vertices: dict[bytes, dict[bytes, Vertex]] = {}
        for dot in dots:
            self.add(dot)

    def add(self, dot: Dot) -> None:
        """Take in a DoT, once; one given by everybody, which nobody can have signed, is left out."""
        if dot not in self._dots and dot.giver != EVERYBODY:
            self._dots[dot] = dot
            giver, receiver = self._grown(dot.namespace, dot.giver), self._grown(dot.namespace, dot.receiver)
            between = giver.given.get(receiver)
            if between is None:
                giver.given[receiver] = receiver.received[giver] = [dot]
            else:
                between.append(dot)
            if dot.indirections and receiver.depth > giver.depth + 1:
                _draw_near(receiver, giver.depth + 1)

    def _grown(self, namespace: bytes, identity: bytes) -> Vertex:
        vertices = self._vertices.setdefault(namespace, {})
        vertex = vertices.get(identity)
        if vertex is None:
            vertex = vertices[identity] = _vertex(namespace, identity)
        return vertex

    def discard(self, *dots: Dot) -> None:
        """Forget DoTs; one that is not there changes nothing. Depths stay, and may be lower than they need be."""
        gone = {known for dot in dots if (known := self._dots.pop(dot, None)) is not None}
        for namespace, one, other in {(dot.namespace, dot.giver, dot.receiver) for dot in gone}:
            vertices = self._vertices[namespace]
            giver, receiver = vertices[one], vertices[other]
            left = [dot for dot in giver.given[receiver] if dot not in gone]
            if left:
                giver.given[receiver] = receiver.received[giver] = left
            else:
                del giver.given[receiver], receiver.received[giver]
            for end in {giver, receiver}:
                if not end.given and not end.received:
                    del vertices[end.id]
            if not vertices:
                del self._vertices[namespace]

    def __contains__(self, dot: Dot) -> bool:
        """Tell whether the DoT is there."""
        return dot in self._dots

    def __iter__(self) -> Iterator[Dot]:
        """Yield every DoT, its signature not looked at."""
        return iter(self._dots)

    def find(self, dot: Dot) -> Dot | None:
        """Return the DoT here that has the same body, its signature not looked at."""
        return self._dots.get(dot)

    def __len__(self) -> int:
        """Return the number of DoTs."""
        return len(self._dots)

    def namespaces(self) -> tuple[bytes, ...]:
        """Return the namespaces that some DoT speaks of."""
        return tuple(self._vertices)

    def dots(self, namespace: bytes) -> Iterator[Dot]:
        """Yield every DoT about ``namespace`` whose signature is good."""
        for vertex in self._vertices.get(namespace, {}).values():
            for dots in vertex.given.values():
                yield from filter(self.genuine, dots)

    def vertex(self, namespace: bytes, identity: bytes) -> Vertex:
        """Return an entity with the DoTs about ``namespace`` around it, none when it has none. For this module."""
        return self._vertices.get(namespace, {}).get(identity) or _vertex(namespace, identity)


def _vertex(namespace: bytes, identity: bytes) -> Vertex:
    return Vertex(identity, 0) if identity == namespace else Vertex(identity)


def _draw_near(vertex: Vertex, depth: int) -> None:
    """Lower a vertex's depth, and that of all whom it brings nearer."""
    vertex.depth = depth
    nearer = deque([vertex])
    while nearer:
        vertex = nearer.popleft()
        depth = vertex.depth + 1
        for receiver, dots in vertex.given.items():
            if receiver.depth > depth and any(dot.indirections for dot in dots):
                receiver.depth = depth
                nearer.append(receiver)


class Budget:
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


class Living:
    """Which DoTs and entities are inside their time and unrevoked; each entity is looked at once."""

    __slots__ = ("_alive", "_facts", "_genuine", "_now")

    def __init__(self, facts: Facts, now: int, genuine: Callable[[Dot], bool]) -> None:
        self._genuine = genuine
        self._facts = facts
        self._now = now
        self._alive = {EVERYBODY: True}

    def holds(self, what: Dot | Entity) -> bool:
        """Tell whether a DoT or an entity is inside its time and unrevoked."""
        return what.created <= self._now < what.expires and self._facts.revoked_at(what.commitments) is None

    def usable(self, dot: Dot) -> bool:
        """Tell whether a DoT holds and its signature is good."""
        return self.holds(dot) and self._genuine(dot)

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
            rules.living(identity, {}, self._facts, self._now)
