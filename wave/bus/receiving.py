"""What a peer hears: every message is checked as if nobody had, and given to the readings that want it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial

from wave.bus.connection import Clock, FactsSource, Shelf
from wave.bus.frame import NO_PROOF, Deliver, Dropped, Found, Frame, Give, Want
from wave.bus.message import PUBLISH, Accepted, Inbox, Message
from wave.bus.reading import Reading
from wave.codec import sha256
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.errors import InputError, Replayed, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern, covers


class _Way(Enum):
    """What a message is shown as: live, or kept for one who asked for history or who was away from an open reading."""

    LIVE = 1
    HISTORY = 2
    MISSED = 3


class Receiving:
    """The readings of one peer, and all that it remembers of what it heard. ``dropped`` counts what was lost."""

    def __init__(self, inbox: Inbox, *, facts: FactsSource, clock: Clock, say: Callable[[Frame], None]) -> None:
        """Check against ``facts``; ``say`` something to the router."""
        self.readings: dict[int, Reading] = {}
        self.dropped = 0
        self._inbox = inbox
        self._facts = facts
        self._clock = clock
        self._say = say
        self._proofs = Shelf()
        self._waiting: dict[bytes, list[Deliver]] = {}  # for a proof, by its id

    def forget(self) -> None:
        """Take it that the connection is gone: what waits for a proof comes again with the next."""
        self._waiting.clear()

    async def take(self, frames: Iterable[Frame]) -> None:
        """Take what came in one parcel, all by the same facts."""
        facts: Facts | WaveError | None = None
        for frame in frames:
            if isinstance(frame, Give):
                for one in self._shelve(frame.proof):
                    facts = await self._take(one, facts)
            elif isinstance(frame, Deliver):
                facts = await self._take(frame, facts)
            elif isinstance(frame, Dropped):
                self.dropped += frame.count

    def _shelve(self, data: bytes) -> list[Deliver]:
        """Hold a proof, and return the messages that waited for it."""
        identity = sha256(data)
        self._proofs.put(Proof.from_bytes(data), identity)
        return self._waiting.pop(identity, [])

    async def _take(self, frame: Deliver, facts: Facts | WaveError | None) -> Facts | WaveError | None:
        """Check a delivered message and give it to whom it belongs; return the facts, once they were asked for."""
        message: Message | None = None
        readings: tuple[Reading, ...] = tuple(self.readings.values())
        try:
            message = Message.from_bytes(frame.message)
            readings = tuple([one for one in readings if one.wants(message) and not (frame.again and one.had(frame))])
            if not readings:
                return facts
            proof = NO_PROOF if message.proof is None else self._proofs.get(message.proof)
            if proof is None:
                self._wait(frame, message)
                return facts
            if facts is None:
                facts = await self._ask_facts()
            if isinstance(facts, WaveError):
                raise facts
        except WaveError as error:
            _refuse(readings, message, error)
            return facts
        now = int(self._clock())
        for some, way in _ways(readings, message, again=frame.again, now=now):
            accept = partial(self._accept, message, proof, facts, serial=frame.serial, way=way, now=now)
            _give(some, message, accept, again=frame.again)
        return facts

    async def kept(self, namespace: bytes, pattern: Pattern, found: Iterable[Found]) -> tuple[Accepted, ...]:
        """Return those of the messages found that belong to what was asked and pass, each resource's oldest first.

        A sender's messages at a resource are left out when the newest of them is older than one that was seen.
        """
        facts, now = await self._facts(), int(self._clock())
        asked: list[tuple[Found, Message]] = []
        newest: dict[tuple[bytes, str], Message] = {}
        for one in found:
            with contextlib.suppress(InputError):
                message = Message.from_bytes(one.message)
                if message.namespace == namespace and covers(pattern, message.resource):
                    asked.append((one, message))
                    known = newest.setdefault((message.sender, message.resource), message)
                    if message.created > known.created:
                        newest[message.sender, message.resource] = message
        accepted: list[Accepted] = []
        for one, message in asked:
            proof = NO_PROOF if message.proof is None else self._proofs.get(message.proof)
            with contextlib.suppress(WaveError):
                self._inbox.newest.check(newest[message.sender, message.resource].fields)
                if proof is not None:
                    accepted.append(self._accept(message, proof, facts, serial=one.serial, way=_Way.HISTORY, now=now))
        return tuple(accepted)

    def _accept(self, message: Message, proof: Proof, facts: Facts, *, serial: int, way: _Way, now: int) -> Accepted:
        received = self._inbox.accept(
            message,
            proof,
            facts,
            permission=PUBLISH,
            now=now,
            kept=way is not _Way.LIVE,
            history=way is _Way.HISTORY,
            missed=way is _Way.MISSED,
            serial=serial,
        )
        if message.persist and way is not _Way.HISTORY:
            self._inbox.given.take(message.fields)
        return received

    async def _ask_facts(self) -> Facts | WaveError:
        try:
            return await self._facts()
        except WaveError as error:
            return error

    def _wait(self, frame: Deliver, message: Message) -> None:
        """Ask for a proof that is not here any more, and let its messages wait, as many as there is room for."""
        identity = message.proof or b""
        if sum(map(len, self._waiting.values())) >= LIMITS.queue_frames:
            self.dropped += 1
            return
        if identity not in self._waiting:
            self._say(Want(identity))
        self._waiting.setdefault(identity, []).append(frame)


def _ways(
    readings: Sequence[Reading], message: Message, *, again: bool, now: int
) -> Iterator[tuple[Sequence[Reading], _Way]]:
    """Say to which readings a message is owed, and as what it has to pass.

    One that was kept is history for those that asked for history. For the others it is a message like any other as
    long as it is new, and later only what they missed: nothing that was made before they began.
    """
    if not (again and message.persist):
        yield readings, _Way.LIVE
        return
    if history := [one for one in readings if one.began is None]:
        yield history, _Way.HISTORY
    others = [one for one in readings if one.began is not None]
    way = _Way.LIVE
    if now - message.created > LIMITS.message_lifetime:
        way = _Way.MISSED
        others = [one for one in others if one.began is not None and one.began <= message.created]
    if others:
        yield others, way


def _give(readings: Sequence[Reading], message: Message, accept: Callable[[], Accepted], *, again: bool) -> None:
    """Give a message to some readings if it is accepted."""
    try:
        received = accept()
    except Replayed as error:
        if message.persist or not again:
            _refuse(readings, message, error)
    except WaveError as error:
        _refuse(readings, message, error)
    else:
        if again and message.persist:
            received = replace(received, kept=True)
        for reading in readings:
            reading.give(received, again=again)


def _refuse(readings: Iterable[Reading], message: Message | None, error: WaveError) -> None:
    for reading in readings:
        reading.refused(message, error)
