"""Who wants a message, found by the beginning of a pattern: the same as asking every subscription."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from wave.bus.connection import Connection, Subscription
from wave.bus.wanting import Wanting
from wave.namespace.pattern import Pattern, covers, resource

CELLS = ("a", "b", "+", "*")
PATTERNS = ["/".join(cells) for length in (1, 2, 3) for cells in product(CELLS, repeat=length) if cells.count("*") <= 1]
RESOURCES = [resource("/".join(cells)) for length in (1, 2, 3, 4) for cells in product("ab", repeat=length)]


class _Held(Subscription):
    """A subscription of which nothing but namespace and pattern is looked at."""

    def __init__(self, namespace: bytes, pattern: str) -> None:
        self._namespace = namespace
        self._pattern = Pattern(pattern)

    @property
    def namespace(self) -> bytes:
        return self._namespace

    @property
    def pattern(self) -> Pattern:
        return self._pattern

    def wants(self, namespace: bytes, resource: Pattern) -> bool:
        return namespace == self._namespace and covers(self._pattern, resource)


PLACES = st.tuples(st.sampled_from((bytes(32), bytes([1] * 32))), st.sampled_from(PATTERNS), st.integers(0, 2))


@given(st.lists(PLACES, max_size=24), st.data())
def test_an_index_finds_just_those_that_want_it(held: list[tuple[bytes, str, int]], data: st.DataObject) -> None:
    """Also after some were closed; nothing is left of what was closed."""
    connections = [Connection(bytes(16)) for _ in range(3)]
    wanting = Wanting()
    opened = {number: (connections[which], _Held(space, text)) for number, (space, text, which) in enumerate(held)}
    for number, (connection, subscription) in opened.items():
        wanting.add(connection, number, subscription)
    for number in data.draw(st.sets(st.sampled_from(sorted(opened)))) if opened else ():
        wanting.remove(opened[number][0], number, opened.pop(number)[1])
    for wanted in RESOURCES:
        expected: dict[Connection, set[int]] = {}
        for number, (connection, subscription) in opened.items():
            if subscription.wants(bytes(32), wanted):
                expected.setdefault(connection, set()).add(number)
        assert {one: set(numbers) for one, numbers in wanting.of(bytes(32), wanted).items()} == expected
    for number, (connection, subscription) in opened.items():
        wanting.remove(connection, number, subscription)
    assert not wanting._open
