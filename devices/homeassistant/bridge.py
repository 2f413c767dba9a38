"""The bridge: an entity of its own that shows a home's devices to Home Assistant and passes its commands on.

What it shows was signed by the devices and checked here. What it commands it signs itself, so that Home Assistant, and
whoever else speaks on its broker, can do what the home's owner granted to the bridge's entity, and nothing else.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from devices.device import DENIED_SIGNAL, PRESENCE_SIGNAL, Names, Speaker
from devices.homeassistant.board import Board
from devices.homeassistant.discovery import OFFLINE, ONLINE, PREFIX, SIGNALS, Layout, Named, named
from devices.homeassistant.faces import Order, shortened
from devices.log import OK, Entry, Tell
from devices.machine import write_json
from wave.bus.message import JSON
from wave.bus.mqtt_line import Account, Broker, Carried
from wave.bus.port import Bus
from wave.bus.reading import Received
from wave.bus.values import read_json
from wave.codec import id_text
from wave.errors import BadPayload, BadSetting, MessageStale, StateUnwritable, Unavailable, WaveError
from wave.limits import LIMITS

DAY: Final = 86_400.0
LOOK_EVERY: Final = 30.0  # seconds between looks for devices that came or went
JOINS_WITHIN: Final = 0.15  # seconds in which the second half of a command comes
COMMAND_LASTS: Final = 15.0  # seconds after which a command that waited is not carried out any more
_STALE_PERIODS: Final = 10  # reports that may be missing before a device counts as gone
_WATCH_EVERY: Final = 0.25
_TOLD_PER_SECOND: Final = 10


@dataclass(slots=True, eq=False)
class Twin:
    """A device as the bridge knows it: when it last spoke (UTC seconds), and the commands that wait for it."""

    device: Named
    id: str
    there: bool = True
    heard: float | None = None
    rests_at: float | None = None
    missing_since: float | None = None
    orders: deque[tuple[float, Order]] = field(default_factory=deque)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: tuple[asyncio.Task[None], ...] = ()

    @property
    def pattern(self) -> str:
        """What the device says."""
        return f"{self.device.path}/+/signal/+"

    def stale(self, now: float) -> bool:
        """Tell whether a device that reports of its own accord has not done so for too long."""
        period = self.device.face.machine.period
        return period is not None and (self.heard is None or now - self.heard > max(_STALE_PERIODS * period, 15.0))


class Bridge(Speaker):
    """``ready`` is set once Home Assistant can see every device of the plan, or what a first look has found."""

    def __init__(
        self,
        name: str,
        bus: Bus,
        namespace: bytes,
        broker: Broker,
        *,
        clock: Callable[[], float],
        tell: Tell,
        names: Names,
        account: Account | None = None,
        plan: Iterable[Named] | None = None,
        prefix: str = PREFIX,
        look_every: float = LOOK_EVERY,
        forget: float = DAY,
    ) -> None:
        """Show the devices of ``plan``, or without one those that have a kept state in ``namespace``.

        A device that leaves the plan is deleted in Home Assistant; one that is found no more is unavailable at first
        and deleted after ``forget`` seconds, since with it goes what its owner has set up for it there. Raises
        :class:`BadSetting` for a plan that is too large.
        """
        super().__init__(name, bus, clock=clock, tell=tell, names=names)
        self.namespace = namespace
        self.layout = Layout(bus.secret.id, namespace, prefix)
        self.board = Board(broker, account, self.layout, trouble=self.trouble)
        self._plan = None if plan is None else tuple(sorted(set(plan)))
        if len(self._plan or ()) > LIMITS.subscriptions_per_connection:
            raise BadSetting(f"a bridge shows at most {LIMITS.subscriptions_per_connection} devices")
        self._look_every = look_every
        self._forget = 0.0 if plan is not None else forget
        self._twins: dict[str, Twin] = {}
        self._left: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._looked = asyncio.Event()
        self._told: tuple[int, int] = (0, 0)
        self._needed = 0

    async def run(self) -> None:
        """Show and obey until cancelled."""
        layout = self.layout
        self.board.show(layout.config(layout.bridge_id), layout.introduction(self.name))
        async with asyncio.TaskGroup() as group:
            if self._plan is None:
                group.create_task(self._look_always(group))
            else:
                for device in self._plan:
                    self._add(device, group)
                self._looked.set()
            group.create_task(self.board.run(self._take))
            group.create_task(self.tell_refusals())
            group.create_task(self._watch())
            group.create_task(self._get_ready())

    async def _get_ready(self) -> None:
        await self._looked.wait()
        for twin in tuple(self._twins.values()):
            await twin.opened.wait()
        await self.board.up.wait()
        self.ready.set()

    @property
    def devices(self) -> tuple[Named, ...]:
        """What is shown now."""
        return tuple(sorted(twin.device for twin in self._twins.values()))

    # Which devices -------------------------------------------------------------------------------------------------

    def _add(self, device: Named, group: asyncio.TaskGroup) -> None:
        twin = Twin(device, self.layout.id(device))
        self._twins[twin.id] = twin
        self.board.show(self.layout.config(twin.id), self.layout.announcement(device))
        self._show(twin, device.face.rest)
        hearing = self.listen(
            self.namespace, twin.pattern, lambda received: self._hear(twin, received), opened=twin.opened.set, since=0
        )
        twin.tasks = group.create_task(hearing), group.create_task(self._carry_out(twin))
        self._needed = len(self._twins)

    async def _remove(self, twin: Twin) -> None:
        del self._twins[twin.id]
        self._needed = len(self._twins)
        for task in twin.tasks:
            task.cancel()
        for reading in tuple(self._readings):
            if reading.pattern == twin.pattern:
                await reading.close()
        self.board.clear(self.layout.config(twin.id))
        self.board.clear_below(self.layout.topic(twin.id, ""))

    async def _look_always(self, group: asyncio.TaskGroup) -> None:
        """Look now and then which devices have a state that is kept."""
        while True:
            try:
                found = await self.peer.list(self.namespace, SIGNALS)
            except WaveError as error:
                self.trouble(f"the home's devices could not be listed: {error.message}", error)
            else:
                await self._find({device for one in found if (device := named(one)) is not None}, group)
                self._looked.set()
            await asyncio.sleep(self._look_every)

    async def _find(self, found: set[Named], group: asyncio.TaskGroup) -> None:
        now = self.clock()
        known = {twin.device: twin for twin in self._twins.values()}
        for device, twin in known.items():
            if device in found:
                twin.missing_since = None
            elif twin.missing_since is None:
                twin.missing_since = now
            elif now - twin.missing_since >= self._forget:
                await self._remove(twin)
        new = sorted(found - known.keys())
        room = LIMITS.subscriptions_per_connection - len(self._twins)
        for device in new[:room]:
            self._add(device, group)
        if new[room:]:
            error = Unavailable(f"the home has more devices than the {LIMITS.subscriptions_per_connection} shown")
            self.trouble(error.message, error)

    # From the devices ----------------------------------------------------------------------------------------------

    async def _hear(self, twin: Twin, received: Received) -> None:
        """Show what a device said, whose right to say it has been checked."""
        message = received.message
        signal = str(message.resource).removeprefix(f"{twin.device.path}/")
        try:
            value = _value(received)
            if signal == twin.device.face.signal:
                self._show_state(twin, value, message.created)
                twin.there |= not received.kept
            elif signal == PRESENCE_SIGNAL:
                twin.there = isinstance(value, dict) and value.get("state") == ONLINE
            elif signal == DENIED_SIGNAL and not received.kept:
                self._hear_denial(twin, value)
        except BadPayload as error:
            self.trouble(f"{twin.device.instance} said what cannot be shown: {error.message}", error)
        self._show_availability(twin)

    def _show_state(self, twin: Twin, value: Any, created: int) -> None:
        face = twin.device.face
        shown = face.shown(value)
        twin.heard = max(float(created), twin.heard or 0.0)
        if face.lasts is not None:
            twin.rests_at = created + face.lasts
            if twin.rests_at <= self.clock():
                twin.rests_at, shown = None, face.rest
        self._show(twin, shown)

    def _show(self, twin: Twin, words: Any) -> None:
        for word, payload in words.items():
            self.board.show(self.layout.topic(twin.id, word), payload)

    def _show_availability(self, twin: Twin) -> None:
        heard = self.peer.connected and any(reading.pattern == twin.pattern for reading in self._readings)
        there = heard and twin.there and twin.missing_since is None and not twin.stale(self.clock())
        self.board.show(self.layout.topic(twin.id, "available"), ONLINE if there else OFFLINE)

    def _hear_denial(self, twin: Twin, value: Any) -> None:
        """Pass on that a device refused a command of ours which had passed everybody else."""
        if not isinstance(value, dict) or value.get("sender") != id_text(self.peer.secret.id):
            return
        code, detail = value.get("code"), value.get("detail")
        if isinstance(code, str) and isinstance(detail, str):
            hint = shortened(str(value.get("hint", "")))
            self._refuse_command(twin, twin.device.path, shortened(code), shortened(detail), hint=hint)

    async def _watch(self) -> None:
        """Let motion end, and notice what is gone."""
        while True:
            now = self.clock()
            for twin in self._twins.values():
                if twin.rests_at is not None and twin.rests_at <= now:
                    twin.rests_at = None
                    self._show(twin, twin.device.face.rest)
                self._show_availability(twin)
            if self._looked.is_set():
                for device_id, (since, topics) in tuple(self._left.items()):
                    if device_id in self._twins or now - since >= self._forget:
                        del self._left[device_id]
                        if device_id not in self._twins:
                            self.board.clear(*topics)
            await asyncio.sleep(_WATCH_EVERY)

    # From Home Assistant -------------------------------------------------------------------------------------------

    def _take(self, carried: Carried) -> None:
        layout = self.layout
        if carried.topic == layout.birth:
            if carried.payload == ONLINE.encode():
                self.board.again_all()
        elif carried.topic.startswith(f"{layout.base}/"):
            self._order(carried)
        elif carried.payload and len(self._left) < LIMITS.subscriptions_per_connection:
            found = layout.own(carried.topic, carried.payload)
            if found is not None and found[0] not in {layout.bridge_id, *self._twins, *self._left}:
                self._left[found[0]] = self.clock(), found[1]
                self.board.show(layout.topic(found[0], "available"), OFFLINE)

    def _order(self, carried: Carried) -> None:
        """Read a command and let it wait for its turn; one that makes no sense, or is one too many, is told of."""
        device_id, word = self.layout.command(carried.topic)
        twin = self._twins.get(device_id)
        try:
            order = _read(twin, word, carried)
        except BadPayload as error:
            what = "an unknown device" if twin is None else f"{twin.device.path}, {word}"
            self._refuse_command(twin, what, error.code, error.message, hint=error.hint)
        else:
            assert twin is not None
            twin.orders.append((self.clock(), order))
            twin.stirred.set()

    async def _carry_out(self, twin: Twin) -> None:
        """Sign and publish the commands for a device, one after the other."""
        while True:
            await twin.stirred.wait()
            twin.stirred.clear()
            while twin.orders:
                if twin.orders[0][1].joins:
                    await asyncio.sleep(JOINS_WITHIN)
                await self._command(twin, *self._joined(twin))

    @staticmethod
    def _joined(twin: Twin) -> tuple[float, Order]:
        """Return the next command, made one with its other half and with those that overtook it."""
        at, order = twin.orders.popleft()
        while order.joins and twin.orders and twin.orders[0][1].slot == order.slot:
            at, following = twin.orders.popleft()
            order = Order(order.slot, {**order.value, **following.value}, joins=True)
        return at, order

    async def _command(self, twin: Twin, at: float, order: Order) -> None:
        place = f"{twin.device.path}/{order.slot}"
        try:
            if self.clock() - at > COMMAND_LASTS:
                raise MessageStale(f"the command waited for more than {COMMAND_LASTS:g} s", hint="give it again")
            reached = await self.peer.publish(self.namespace, place, write_json(order.value))
        except WaveError as error:
            self._refuse_command(twin, place, error.code, error.message, hint=error.hint, decision=error.decision)
            return
        if reached:
            did = f"{place} {write_json(order.value).decode()}"
            self._log(twin.device.instance, place, code=OK, did=did, decision=None)
        else:
            twin.there = False
            hint = f"does {twin.device.instance} run?"
            self._refuse_command(twin, place, Unavailable.code, "nobody listens there", hint=hint)
            self._show_availability(twin)

    def _refuse_command(
        self, twin: Twin | None, what: str, code: str, why: str, *, hint: str, decision: str | None = None
    ) -> None:
        """Log a refusal, show it in Home Assistant, and show there again how things really are."""
        if twin is not None:
            self.board.again(self.layout.topic(twin.id, ""))
        now = int(self.clock())
        self._told = now, self._told[1] + 1 if self._told[0] == now else 1
        if self._told[1] > _TOLD_PER_SECOND:
            return
        name = self.name if twin is None else twin.device.instance
        self._log(name, what, code=code, did=why, decision=decision)
        details = {"device": name, "what": what, "code": code, "hint": hint, "decision": decision or "", "time": now}
        key = self.layout.bridge_id
        self.board.show(self.layout.topic(key, "refused"), json.dumps(details))
        self.board.show(self.layout.topic(key, "refusal"), shortened(f"{name}: {why}"))

    def _log(self, device: str, resource: str, *, code: str, did: str, decision: str | None) -> None:
        entry = Entry(
            time=int(self.clock()),
            device=device,
            who=id_text(self.peer.secret.id),
            name=self.name,
            what="publish",
            resource=resource,
            allowed=code == OK,
            code=code,
            did=did,
            decision=decision,
            path=(),
        )
        with contextlib.suppress(StateUnwritable):
            self._tell(entry)


def _value(received: Received) -> Any:
    message = received.message
    if message.content_type != JSON:
        raise BadPayload(f"the payload is {message.content_type[:80]!r}")
    return read_json(message.payload)


def _read(twin: Twin | None, word: str, carried: Carried) -> Order:
    """Return the command that came for a device; :class:`BadPayload` for one that is not carried out."""
    if carried.retained:
        raise BadPayload("a command that was left on the broker is not carried out")
    if twin is None:
        raise BadPayload("there is no such device")
    if len(twin.orders) >= LIMITS.assistant_orders:
        raise BadPayload("too many commands at once")
    return twin.device.face.order(word, carried.payload)
