"""Who may publish and subscribe where, for brokers that ask who may before they see what: rules follow from it.

A broker sees topics and no payloads. So a right to publish under bounds on values, or at a rate, is let through and
held to its conditions at the edges, as ever; a right to subscribe under such a condition is left out, for there a
subscription has no values and nobody counts. Hours (``when``) are kept: outside them a right is none at that moment.
"""

from typing import NamedTuple, Protocol

from wave.agent.client import AgentClient
from wave.agent.wire import FindObject, Graph, HoldingView, What
from wave.bus.message import PUBLISH, SUBSCRIBE
from wave.codec import id_text, parse_id
from wave.entities.entity import Entity
from wave.errors import UnknownEntity, WaveError
from wave.namespace.pattern import Pattern, covers


class Held(NamedTuple):
    """A right in effect until a UTC second, on topics alone."""

    permission: str
    pattern: Pattern
    until: int


class Standing(Protocol):
    """What an agent knows of who may what. All raise :class:`Unavailable` when it cannot be told."""

    async def members(self, namespace: bytes) -> tuple[bytes, ...]:
        """Return the entities that some delegation in the namespace speaks of, and the namespace itself."""
        ...

    async def held(self, subject: bytes, namespace: bytes) -> tuple[Held, ...]:
        """Return what ``subject`` may publish and subscribe to."""
        ...

    async def record(self, identity: bytes) -> Entity:
        """Return an entity's record; :class:`NotFound`."""
        ...


def topical(permission: str, conditions: tuple[str, ...]) -> bool:
    """Tell whether a right under ``conditions`` (as text) can stand as a rule about topics."""
    return permission == PUBLISH or (permission == SUBSCRIBE and all(one.startswith("when ") for one in conditions))


def may(held: tuple[Held, ...], permission: str, pattern: Pattern, now: int) -> bool:
    """Tell whether one of the rights covers what is wanted."""
    return any(one.permission == permission and now < one.until and covers(one.pattern, pattern) for one in held)


class AgentStanding:
    """What an agent says."""

    def __init__(self, agent: AgentClient) -> None:
        """Ask ``agent``."""
        self._agent = agent

    async def members(self, namespace: bytes) -> tuple[bytes, ...]:
        reply = await self._agent.call(Graph(namespace=id_text(namespace)))
        found = (parse_id(node.id) for node in reply.nodes if node.state == "valid")
        return tuple(one for one in found if one is not None)

    async def held(self, subject: bytes, namespace: bytes) -> tuple[Held, ...]:
        reply = await self._agent.call(What(subject=id_text(subject)))
        return tuple(_held(one) for one in reply.holdings if one.namespace == id_text(namespace) and _fits(one))

    async def record(self, identity: bytes) -> Entity:
        try:
            reply = await self._agent.call(FindObject(id=id_text(identity)))
            entity = Entity.from_bytes(reply.data)
        except WaveError as error:
            raise UnknownEntity(f"no record of {id_text(identity)} is known: {error.message}") from None
        if entity.id != identity:
            raise UnknownEntity(f"what is known as {id_text(identity)} is another entity")
        return entity


def _fits(view: HoldingView) -> bool:
    return view.permission_set is None and topical(view.permission, view.conditions)


def _held(view: HoldingView) -> Held:
    return Held(view.permission, Pattern(view.pattern), view.until)
