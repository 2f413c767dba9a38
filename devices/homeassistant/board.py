"""The side of Home Assistant's broker: what the bridge shows there, kept true through losses of the connection."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from devices.homeassistant.discovery import OFFLINE, ONLINE, Layout
from wave.bus.mqtt_line import Account, Broker, Carried, Line, Will, connected
from wave.entities.keyring import read_file
from wave.errors import BadSetting, BrokerRefused, BrokerUnavailable, WaveError

Trouble: TypeAlias = Callable[[str, WaveError], None]

_AGAIN_FIRST: Final = 0.5  # seconds before a connection that was lost is tried again
_AGAIN_MOST: Final = 30.0
_GOODBYE: Final = 2.0
_MARKER: Final = "marker"
_LONGEST: Final = 4096  # bytes of a file with a name and a password


def read_account(path: Path) -> Account:
    """Return the broker's name and password for the bridge: the two lines of a file that is its owner's alone."""
    try:
        name, password = read_file(path, bound=_LONGEST, private=True).decode("utf-8").splitlines()[:2]
    except (UnicodeDecodeError, ValueError):
        raise BadSetting(f"{path} does not hold a name and a password", hint="write them as two lines") from None
    return Account(name, password)


class Board:
    """One retained payload for each topic, written when it changes, and all of them after every new connection.

    ``layout.status`` says online as long as the connection lasts, and then, by the broker itself, offline.
    """

    def __init__(self, broker: Broker, account: Account | None, layout: Layout, *, trouble: Trouble) -> None:
        """Show nothing yet; ``trouble`` hears what goes wrong."""
        self.up = asyncio.Event()
        """Set while everything that is shown has been written."""
        self._broker = broker
        self._account = account
        self._layout = layout
        self._trouble = trouble
        self._shown: dict[str, str] = {}
        self._due: dict[str, None] = {}
        self._stirred = asyncio.Event()

    def show(self, topic: str, payload: str) -> None:
        """Show a payload; nothing is written when it stands there already."""
        if self._shown.get(topic) != payload:
            self._shown[topic] = payload
            self._due[topic] = None
            self._stirred.set()

    def again(self, start: str = "") -> None:
        """Write again what is shown on the topics that begin so."""
        self._due |= dict.fromkeys(topic for topic in self._shown if topic.startswith(start))
        self._stirred.set()

    def again_all(self) -> None:
        """Write everything again, and behind it that the bridge is there."""
        self.up.clear()
        self.again()

    def clear(self, *topics: str) -> None:
        """Delete what the broker keeps on these topics."""
        for topic in topics:
            self.show(topic, "")

    def clear_below(self, start: str) -> None:
        """Delete all that is shown on the topics that begin so."""
        self.clear(*[topic for topic in self._shown if topic.startswith(start)])

    async def run(self, take: Callable[[Carried], None]) -> None:
        """Stay connected until cancelled, and give ``take`` what Home Assistant says."""
        again = _AGAIN_FIRST
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                will = Will(self._layout.status, OFFLINE.encode(), retain=True)
                async with connected(self._broker, self._account, will=will) as line:
                    await self._attend(line, take)
            except* WaveError as group:
                error = first(group)
                self._trouble(f"Home Assistant's broker: {error.message}", error)
            if asyncio.get_running_loop().time() - begun > _AGAIN_MOST:
                again = _AGAIN_FIRST
            await asyncio.sleep(again)
            again = min(2 * again, _AGAIN_MOST)

    async def _attend(self, line: Line, take: Callable[[Carried], None]) -> None:
        layout = self._layout
        await line.hear((layout.birth, layout.configs, layout.commands), kept=True)
        self.again_all()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(line))
                while True:
                    take(await line.receive())
                    if line.dropped:
                        lost, line.dropped = line.dropped, 0
                        self._trouble(f"{lost} messages from Home Assistant's broker were lost", BrokerUnavailable(""))
        finally:
            self.up.clear()
            with contextlib.suppress(WaveError, TimeoutError):
                async with asyncio.timeout(_GOODBYE):
                    await line.send(Carried(layout.status, OFFLINE.encode()), retain=True)

    async def _write(self, line: Line) -> None:
        while True:
            self._stirred.clear()
            while self._due:
                topic = next(iter(self._due))
                del self._due[topic]
                if topic in self._shown:  # what was deleted meanwhile is due no more
                    await self._put(line, topic, self._shown[topic])
                    if not self._shown[topic]:
                        del self._shown[topic]
            if not self.up.is_set():
                await self._put(line, self._layout.status, ONLINE)
                self.up.set()
            await self._stirred.wait()

    async def _put(self, line: Line, topic: str, payload: str) -> None:
        try:
            await line.send(Carried(topic, payload.encode()), retain=True)
        except BrokerRefused as error:
            self._trouble(f"{topic}: {error.message}", error)


def first(group: BaseExceptionGroup[WaveError]) -> WaveError:
    """Return one error of a group: one is enough to tell."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, WaveError)
    return found


async def withdraw(broker: Broker, account: Account | None, layout: Layout) -> tuple[str, ...]:
    """Delete everything that a bridge announced, so that Home Assistant forgets it; return the ids of the devices."""
    marker = layout.topic(layout.bridge_id, _MARKER)
    ids: list[str] = []
    topics = [layout.status]
    async with connected(broker, account) as line:
        await line.hear((layout.configs, marker), kept=True)
        await line.send(Carried(marker, b"end"))  # comes behind all that was kept
        while (carried := await line.receive()).topic != marker:
            found = layout.own(carried.topic, carried.payload)
            if found is not None:
                ids.append(found[0])
                topics += found[1]
        for topic in topics:
            await line.send(Carried(topic, b""), retain=True)
    return tuple(sorted(ids))
