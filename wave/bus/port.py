"""The port: what an entity can do on the bus, whatever carries its messages. Devices are written against this alone."""

from types import TracebackType
from typing import Protocol, Self

from wave.bus.connection import OnRefused
from wave.bus.message import JSON, Accepted
from wave.bus.reading import Reading
from wave.entities.entity import EntitySecret


class Bus(Protocol):
    """An entity on the bus: ``async with`` keeps it connected, and its subscriptions open, while the body runs."""

    secret: EntitySecret

    @property
    def dropped(self) -> int:
        """How many deliveries were dropped for want of room, as far as the carrier tells."""
        ...

    @property
    def connected(self) -> bool:
        """Whether the carrier can be reached now; what is subscribed is open as long as that holds."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def publish(
        self, namespace: bytes, where: str, payload: bytes, *, content_type: str = JSON, persist: bool = False
    ) -> int:
        """Publish at a resource; return how many connections it went to, as far as the carrier knows.

        With ``persist`` it stays as the resource's last value, for whoever queries or subscribes later.
        """
        ...

    async def forward(self, message: bytes, proof: bytes) -> int:
        """Publish a message that somebody else signed, as it is, with the proof beside it; returns as above."""
        ...

    async def subscribe(
        self,
        namespace: bytes,
        pattern: str,
        *,
        refused: OnRefused = ...,
        since: int | None = None,
        began: int | None = None,
    ) -> Reading:
        """Hear what matches ``pattern`` from now on; with ``since`` also what the carrier kept after that serial.

        0 begins with all that is kept; nothing that was made before ``began`` (UTC second), when a reading goes on
        that did not ask for more. ``refused`` hears of messages that came and did not pass.
        """
        ...

    async def query(self, namespace: bytes, pattern: str, *, last: int = 1) -> tuple[Accepted, ...]:
        """Return the newest ``last`` kept messages of each resource that matches, checked like any other."""
        ...

    async def list(self, namespace: bytes, pattern: str) -> tuple[str, ...]:
        """Return the resources that match and hold a kept message, in order."""
        ...
