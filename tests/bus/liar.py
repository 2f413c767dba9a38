"""Routers that do not keep to the rules. What peers believe must not depend on them."""

from wave.bus.connection import Connection
from wave.bus.frame import Deliver, write_frame
from wave.bus.message import Accepted, Message
from wave.bus.recent import Carried
from wave.bus.router import Router
from wave.codec import amend, record_bytes
from wave.dots.facts import Facts
from wave.errors import WaveError


async def no_facts() -> Facts:
    """What a router needs that asks nobody."""
    return Facts(0, bytes(32), 0)


class Liar(Router):
    """Checks nothing, gives everybody everything, and keeps what it saw."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type] # whatever a router takes
        self.seen: list[Carried] = []
        self._facts = no_facts

    def _accept(self, connection: Connection, data: bytes, facts: Facts | WaveError, permission: str) -> Accepted:  # noqa: ARG002
        message = Message.from_bytes(data)
        return Accepted(message, self._proof_of(connection, message), None, None, facts, 0)  # type: ignore[arg-type]

    def hand_on(self, carried: Carried, facts: Facts) -> int:  # noqa: ARG002
        self.seen.append(carried)
        return self.spread(carried.message)

    def spread(self, message: bytes, *, serial: int = 1, again: bool = False) -> int:
        """Give a message to every connection, with the proof of the last one seen."""
        for connection in self._connections:
            connection.tell(self.seen[-1].proof, self.seen[-1].proof_bytes)
            connection.outbox.put(write_frame(Deliver(serial, message, again)))
        return len(self._connections)

    def replay(self) -> None:
        """Give the last message to everybody once more."""
        self.spread(self.seen[-1].message)

    def alter(self, **fields: object) -> None:
        """Give everybody the last message with some fields changed."""
        known = Message.from_bytes(self.seen[-1].message)
        self.spread(Message(record_bytes(amend(known.fields, **fields)), known.signature, known.place).to_bytes())

    def _still_holds(self, connection: Connection, number: int, facts: Facts) -> bool:  # noqa: ARG002
        return True

    async def review(self) -> None:
        """End nothing."""
