"""What an entity waits for on a broker: an open subscription, or the answer to a query."""

from wave.bus.message import Accepted, Message
from wave.bus.mqtt_topic import filters
from wave.bus.reading import Reading
from wave.dots.cache import LeastRecent
from wave.dots.proof import Proof
from wave.limits import LIMITS


class Wanted:
    """What somebody waits for: a subscription, or the answer to a query."""

    def __init__(self, reading: Reading, permission: str, *, kept: bool, live: bool) -> None:
        self.reading = reading
        self.permission = permission
        self.kept = kept
        self.live = live
        self.proof: Proof | None = None
        self.heard = False
        self.filters = filters(reading.namespace, reading.pattern)
        self.newest: LeastRecent[str, bytes] = LeastRecent(LIMITS.newest_known)
        self.found: dict[str, Accepted] = {}

    def wants(self, message: Message, *, retained: bool) -> bool:
        """Tell whether a message belongs here, whatever the broker says."""
        return (self.kept if retained else self.live) and self.reading.wants(message)

    def put(self, accepted: Accepted) -> None:
        """Take a message, a kept one only if it was not taken last."""
        message = accepted.message
        where = str(message.resource)
        if accepted.kept and self.newest.get(where) == message.id:
            return
        if message.persist:
            self.newest[where] = message.id
        if self.live:
            self.reading.give(accepted, again=accepted.kept)
        elif len(self.found) < LIMITS.listed_resources or where in self.found:
            self.found[where] = accepted
