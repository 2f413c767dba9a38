"""What the page knows of a home: its devices by the graph, their last reports by the bus, each checked."""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from devices.device import DENIED_SIGNAL
from devices.page.sharing import SIGNALS, in_order, is_device
from devices.site import Site
from wave.agent.client import AgentClient
from wave.agent.wire import Graph, GraphReply, Names
from wave.bus.port import Bus
from wave.bus.reading import Received
from wave.bus.values import read_json
from wave.codec import id_text
from wave.errors import WaveError

_OWN_SIGNALS: Final = "/+/signal/+"
_SHORT = re.compile(r"(?<![\w-])[\w-]{8}(?![\w-])", re.ASCII)
_AGAIN_FIRST: Final = 0.5  # seconds before a subscription that ended is tried again
_AGAIN_MOST: Final = 15.0
_LOOK_AGAIN: Final = 5.0  # seconds between looks at the graph when nothing is heard of it
_MOST_SIGNALS: Final = 1024  # remembered
_MOST_OF_ONE: Final = 64  # of one device
_LONGEST_REPORT: Final = 16 * 1024  # bytes of a report that is shown
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shown:
    """The last report of a signal, as JSON, by whom, and when (UTC seconds)."""

    path: str
    signal: str
    value: Any
    by: str
    at: int


class View:
    """The live view. ``said`` hears each report, ``changed`` that rights or devices may have."""

    def __init__(self, agent: AgentClient, site: Site, namespace: bytes) -> None:
        """Look at the home ``namespace``; nothing is known before :meth:`look` and :meth:`listen`."""
        self.agent = agent
        self.site = site
        self.namespace = namespace
        self.graph = GraphReply(namespace=id_text(namespace), nodes=(), edges=())
        self.states: dict[tuple[str, str], Shown] = {}
        self.devices: tuple[str, ...] = ()
        self.trouble = ""
        self.names: dict[str, str] = {}
        self.said: Callable[[Shown], None] = lambda _: None
        self.changed: Callable[[], None] = lambda: None
        self.stirred = asyncio.Event()

    # Rights and devices --------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Ask the agent for names and graph; ``changed`` is told each time, for rights also end by themselves."""
        self.names = (await self.agent.call(Names())).names
        self.graph = await self.agent.call(Graph(namespace=id_text(self.namespace)))
        reporting = {
            grant.pattern.removesuffix(_OWN_SIGNALS)
            for edge in self.graph.edges
            if edge.state == "valid"
            for grant in edge.grants
            if "publish" in grant.permissions and grant.pattern.endswith(_OWN_SIGNALS)
        }
        found = reporting | {path for path, _ in self.states}
        self.devices = tuple(sorted(filter(is_device, found), key=in_order))
        self.changed()

    async def watch(self) -> None:
        """Look again whenever the registry says something of the home, and now and then, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear_of_changes())
            while True:
                self.stirred.clear()
                try:
                    await self.look()
                except WaveError as error:
                    self._tell_trouble(error)
                try:
                    async with asyncio.timeout(_LOOK_AGAIN):
                        await self.stirred.wait()
                except TimeoutError:
                    pass

    async def _hear_of_changes(self) -> None:
        while True:
            try:
                async for _ in self.agent.watch(namespace=id_text(self.namespace)):
                    self.stirred.set()
            except WaveError:
                await asyncio.sleep(_LOOK_AGAIN)

    # Reports -------------------------------------------------------------------------------------------------------

    async def listen(self, bus: Bus) -> None:
        """Take every device's reports until cancelled, also those that were kept from before."""
        again = _AGAIN_FIRST
        while True:
            try:
                reading = await bus.subscribe(self.namespace, SIGNALS, since=0)
                self._tell_trouble(None)
                again = _AGAIN_FIRST
                async for received in reading:
                    try:
                        self._take(received)
                    except Exception:  # noqa: BLE001 - one bad report ends no other
                        _log.exception("a report at %s could not be shown", received.message.resource)
            except WaveError as error:
                self._tell_trouble(error)
            await asyncio.sleep(again)
            again = min(2 * again, _AGAIN_MOST)

    def _take(self, received: Received) -> None:
        message = received.message
        cells = str(message.resource).split("/")
        path, signal = "/".join(cells[:2]), "/".join(cells[2:])
        try:
            if len(message.payload) > _LONGEST_REPORT:
                return
            value = plain(read_json(message.payload))
        except (WaveError, ValueError, ArithmeticError, RecursionError):
            return
        who = id_text(message.sender)
        shown = Shown(path, signal, value, self.names.get(who, who[:8]), message.created)
        if signal != DENIED_SIGNAL:
            if (path, signal) not in self.states and not self._has_room(path):
                return
            self.states[path, signal] = shown
        if path not in self.devices:
            self.stirred.set()
        self.said(shown)

    def _has_room(self, path: str) -> bool:
        """Tell whether one more signal of a device is remembered: none takes the room of the others."""
        return len(self.states) < _MOST_SIGNALS and sum(one == path for one, _ in self.states) < _MOST_OF_ONE

    def _tell_trouble(self, error: WaveError | None) -> None:
        told = "" if error is None else error.message
        if told != self.trouble:
            self.trouble = told
            self.changed()

    # Words ---------------------------------------------------------------------------------------------------------

    def name(self, identity: str) -> str:
        """Return what an entity (its id as text) is called here."""
        return self.names.get(identity, identity[:8])

    def told(self, text: str) -> str:
        """Return a text with names in place of the first characters of ids."""
        short = {identity[:8]: name for identity, name in self.names.items()}
        return _SHORT.sub(lambda match: short.get(match[0], match[0]), text)

    def problem(self, error: WaveError) -> dict[str, Any]:
        """Return an error as the page tells it."""
        return {**error.problem(), "detail": self.told(error.message), "hint": self.told(error.hint)}


def plain(value: Any) -> Any:
    """Return a JSON value with its exact numbers as the ones that travel."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, str | int) else float(value)
