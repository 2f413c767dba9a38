"""The one way to the bus: whatever an address names, and without an address the routers that namespaces designate."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from wave.bus.connection import Clock, FactsSource
from wave.bus.marks import Marks
from wave.bus.message import Inbox
from wave.bus.peer import Peer
from wave.bus.port import Bus
from wave.bus.proofs import ProofSource
from wave.bus.switchboard import MARKS, MQTT, RouteSource, Switchboard
from wave.bus.websocket import check_url
from wave.entities.entity import EntitySecret
from wave.errors import BadSetting


def open_bus(
    secret: EntitySecret,
    url: str | None,
    *,
    proofs: ProofSource,
    facts: FactsSource,
    clock: Clock,
    draw: Callable[[int], bytes],
    routes: RouteSource | None = None,
    patience: float = 10.0,
    state: Path | None = None,
) -> Bus:
    """Return the bus of ``secret``, not connected yet; :class:`BadSetting` for an address that is none.

    ``url`` is a router (ws://, wss://) or a broker (mqtt://, mqtts://); None finds each namespace's own router by
    ``routes``. ``state`` is a directory that is there, for what was received already, of which one bus at a time is the
    owner: :class:`StateLocked`. Without it, what was made before now is refused.
    """
    if url is None:
        if routes is None:
            raise BadSetting("no router is named, and nobody says which one a namespace has", hint="name a router")
        return Switchboard(
            secret, routes, proofs=proofs, facts=facts, clock=clock, draw=draw, patience=patience, state=state
        )
    if url.startswith(MQTT):
        from wave.bus.mqtt import MqttBus

        return MqttBus(secret, url, proofs=proofs, facts=facts, clock=clock, draw=draw, patience=patience, state=state)
    check_url(url)
    marks = None if state is None else Marks(state / MARKS)
    inbox = Inbox(since=int(clock()), marks=marks)
    peer = _Peer(secret, url, proofs=proofs, facts=facts, clock=clock, draw=draw, patience=patience, inbox=inbox)
    peer.marks = marks
    return peer


class _Peer(Peer):
    """A peer that closes its marks."""

    marks: Marks | None = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await super().__aexit__(kind, error, trace)
        if self.marks is not None:
            self.marks.close()
