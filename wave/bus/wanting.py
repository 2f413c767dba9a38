"""Who wants a message: open subscriptions, found by what their patterns begin with rather than by asking each."""

from typing import TypeAlias

from wave.bus.connection import Connection, Subscription
from wave.namespace.pattern import ANY, ONE, Pattern

_Place: TypeAlias = tuple[bytes, tuple[str, ...]]
"""A namespace, and the cells of a pattern before its first wildcard."""


class Wanting:
    """Open subscriptions by namespace and literal beginning: a resource is asked of as many places as it has cells."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: dict[_Place, dict[tuple[Connection, int], Subscription]] = {}

    def add(self, connection: Connection, number: int, subscription: Subscription) -> None:
        """Add the subscription that a connection opened under ``number``."""
        self._open.setdefault(_place(subscription), {})[connection, number] = subscription

    def remove(self, connection: Connection, number: int, subscription: Subscription) -> None:
        """Remove a subscription."""
        place = _place(subscription)
        here = self._open[place]
        del here[connection, number]
        if not here:
            del self._open[place]

    def of(self, namespace: bytes, resource: Pattern) -> dict[Connection, list[int]]:
        """Return the connections that want a resource, each with the numbers of the subscriptions that do."""
        found: dict[Connection, list[int]] = {}
        cells = tuple(resource.split("/"))
        for length in range(len(cells) + 1):
            here = self._open.get((namespace, cells[:length]))
            if here is not None:
                for (connection, number), subscription in here.items():
                    if subscription.wants(namespace, resource):
                        found.setdefault(connection, []).append(number)
        return found


def _place(subscription: Subscription) -> _Place:
    cells = tuple(subscription.pattern.split("/"))
    length = next((index for index, cell in enumerate(cells) if cell in (ONE, ANY)), len(cells))
    return subscription.namespace, cells[:length]
