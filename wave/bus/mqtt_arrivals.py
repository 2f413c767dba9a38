"""Messages whose proofs are not known yet: they wait, not too many, while the proof is fetched from its topic."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from wave.bus.connection import Shelf
from wave.bus.message import Message
from wave.bus.mqtt_line import Carried, Line
from wave.bus.mqtt_topic import proof_topic
from wave.codec import parse_id
from wave.dots.proof import Proof
from wave.errors import BrokerRefused, UnknownProof, WaveError
from wave.limits import LIMITS

Check: TypeAlias = Callable[[Message, Carried], Awaitable[None]]
Refuse: TypeAlias = Callable[[Message, WaveError, Carried], None]
Begin: TypeAlias = Callable[[Awaitable[None]], None]

_FETCH: Final = 5.0  # seconds for a proof to come
_log = logging.getLogger(__name__)


class Arrivals:
    """What waits for proofs. ``known`` gets those that come, whose id was checked by their hash."""

    def __init__(self, known: Shelf, *, check: Check, refuse: Refuse, begin: Begin) -> None:
        """Hand what has its proof to ``check``, what gets none to ``refuse``; ``begin`` runs things beside."""
        self._known = known
        self._check = check
        self._refuse = refuse
        self._begin = begin
        self._waiting: dict[tuple[bytes, bytes], list[tuple[Message, Carried]]] = {}

    def __len__(self) -> int:
        """How many messages wait."""
        return sum(map(len, self._waiting.values()))

    def add(self, line: Line, message: Message, publication: Carried, proof: bytes) -> bool:
        """Keep a message until the proof of that id has come; False when there is no room."""
        if len(self) >= LIMITS.mqtt_waiting:
            return False
        key = message.sender, proof
        if key in self._waiting:
            self._waiting[key].append((message, publication))
        else:
            self._waiting[key] = [(message, publication)]
            self._begin(self._fetch(line, key))
        return True

    def clear(self) -> None:
        """Forget what waits: the connection by which it came is gone."""
        self._waiting.clear()

    async def take(self, line: Line, publication: Carried) -> None:
        """Take a proof that is waited for, if it is the one that its topic names, and check what waited for it."""
        parts = publication.topic.split("/")
        sender, identity = (parse_id(parts[2]), parse_id(parts[3])) if len(parts) == 4 else (None, None)
        if sender is None or identity is None or (sender, identity) not in self._waiting:
            return
        try:
            proof = Proof.from_bytes(publication.payload)
        except WaveError as error:
            _log.warning("what is kept as a proof is none: %s", error.message)
            return
        if proof.id != identity:
            _log.warning("what is kept as one proof is another")
            return
        self._known.put(proof, identity)
        for message, waiting in self._waiting.pop((sender, identity)):
            await self._check(message, waiting)
        self._begin(_leave(line, publication.topic))

    async def _fetch(self, line: Line, key: tuple[bytes, bytes]) -> None:
        try:
            await line.hear([proof_topic(*key)], kept=True)
            await asyncio.sleep(_FETCH)
        except BrokerRefused as error:
            _log.warning("a proof cannot be fetched: %s", error.message)
        finally:
            for message, publication in self._waiting.pop(key, []):
                self._refuse(message, UnknownProof("the message's proof is not on the broker"), publication)


async def _leave(line: Line, topic: str) -> None:
    with contextlib.suppress(WaveError):
        await line.forget([topic])
