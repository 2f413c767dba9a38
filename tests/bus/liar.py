"""Routers that do not keep to the rules. What peers believe must not depend on them."""

from wave.bus.frame import Deliver, Publish, Subscribe, read_pair, write_frame
from wave.bus.message import Accepted, Message
from wave.bus.router import Connection, Router, Subscription


class Liar(Router):
    """Checks nothing, gives everybody everything, and keeps what it saw."""

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type] # whatever a router takes
        self.seen: list[Publish] = []

    async def subscribe(self, connection: Connection, frame: Subscribe) -> int:
        message, proof = read_pair(frame.message, frame.proof)
        connection.subscriptions[frame.number] = Subscription(Accepted(message, proof, None, None, ""))  # type: ignore[arg-type]
        return 0

    async def publish(self, frame: Publish) -> int:
        self.seen.append(frame)
        return self.spread(Deliver(frame.message, frame.proof))

    def spread(self, deliver: Deliver) -> int:
        """Give a message to every connection."""
        return sum(connection.outbox.deliver(write_frame(deliver)) for connection in self._connections)

    def replay(self) -> None:
        """Give the last message to everybody once more."""
        self.spread(Deliver(self.seen[-1].message, self.seen[-1].proof))

    def alter(self, **fields: object) -> None:
        """Give everybody the last message with some fields changed."""
        from wave.codec import amend, record_bytes

        known = Message.from_bytes(self.seen[-1].message)
        forged = Message(record_bytes(amend(known.fields, **fields)), known.signature)
        self.spread(Deliver(forged.to_bytes(), self.seen[-1].proof))

    async def review(self) -> None:
        """End nothing."""
