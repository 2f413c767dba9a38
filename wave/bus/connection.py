"""A router's side of one connection: what waits to be sent, what it reads, and which proofs both sides know."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from wave.bus.frame import Dropped, Frame, Give, parcels, write_frame
from wave.bus.message import Accepted, Message
from wave.codec import sha256
from wave.dots.cache import LeastRecent
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.errors import NotRead, TooLarge, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern, covers

FactsSource: TypeAlias = Callable[[], Awaitable[Facts]]
"""Where the registry's newest facts come from; raises :class:`Unavailable` when they cannot be had."""

OnRefused: TypeAlias = Callable[[Message | None, WaveError], None]

Clock: TypeAlias = Callable[[], float]
"""UTC seconds."""


class Link(Protocol):
    """One connection of a carrier: whole parcels of bytes, in order."""

    async def send(self, parcel: bytes) -> None:
        """Send one parcel; :class:`RouterUnavailable` when the other side is gone."""
        ...

    async def receive(self) -> bytes | None:
        """Return the next parcel, or None when there will be none."""
        ...


class Shelf:
    """Proofs known by their id, those last used, bounded by count and bytes."""

    def __init__(self, count: int = LIMITS.proofs_known, size: int = LIMITS.proofs_known_bytes) -> None:
        """Hold at most ``count`` proofs of ``size`` bytes together."""
        self._count = count
        self._size = size
        self._bytes = 0
        self._proofs: LeastRecent[bytes, Proof] = LeastRecent(count + 1)

    def get(self, identity: bytes) -> Proof | None:
        """Return the proof of that id."""
        return self._proofs.get(identity)

    def put(self, proof: Proof, identity: bytes) -> None:
        """Hold a proof; those not used for longest make room."""
        if identity not in self._proofs:
            self._proofs[identity] = proof
            self._bytes += len(proof.data)
        while len(self._proofs) > self._count or (self._bytes > self._size and len(self._proofs) > 1):
            self._bytes -= len(self._proofs.pop(next(iter(self._proofs))).data)


class Gifts:
    """Proofs that peers gave and that proved nothing yet: the last few of each connection, bounded over all of them.

    They are held as bytes, and read when a message names them. Whoever holds most makes room first.
    """

    def __init__(self, *, count: int = LIMITS.proofs_given, size: int = LIMITS.proofs_given_bytes) -> None:
        """Hold at most ``count`` for a connection, and ``size`` bytes over all."""
        self._count = count
        self._size = size
        self._bytes = 0
        self._held: dict[Connection, dict[bytes, bytes]] = {}
        self._sizes: dict[Connection, int] = {}
        self._read = Shelf(count, size // 4)

    def __len__(self) -> int:
        """How many bytes are held."""
        return self._bytes

    def put(self, connection: "Connection", proof: bytes) -> None:
        """Hold a proof for a connection, of which nothing is known yet; :class:`TooLarge`."""
        if len(proof) > LIMITS.proof_bytes:
            raise TooLarge(f"a proof of {len(proof)} bytes; the limit is {LIMITS.proof_bytes}")
        identity = sha256(proof)
        self.drop(connection, identity)
        held = self._held.setdefault(connection, {})
        held[identity] = proof
        self._grow(connection, len(proof))
        if len(held) > self._count:
            self.drop(connection, next(iter(held)))
        while self._bytes > self._size:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            self.drop(largest, next(iter(self._held[largest])))

    def get(self, connection: "Connection", identity: bytes) -> Proof | None:
        """Return a proof that was given over that connection; :class:`InputError` when it is none."""
        data = self._held.get(connection, {}).get(identity)
        if data is None:
            return None
        proof = self._read.get(identity)
        if proof is None:
            proof = Proof.from_bytes(data)
            self._read.put(proof, identity)
        return proof

    def drop(self, connection: "Connection", identity: bytes) -> None:
        """Hold a proof no longer, if it is held at all."""
        held = self._held.get(connection, {})
        if identity in held:
            self._grow(connection, -len(held.pop(identity)))
            if not held:
                self.forget(connection)

    def forget(self, connection: "Connection") -> None:
        """Hold nothing for a connection."""
        if self._held.pop(connection, None) is not None:
            self._bytes -= self._sizes.pop(connection)

    def _grow(self, connection: "Connection", by: int) -> None:
        self._sizes[connection] = self._sizes.get(connection, 0) + by
        self._bytes += by


class Outbox:
    """What waits to be sent over one connection: answers always, deliveries while there is room."""

    def __init__(self) -> None:
        """Begin empty."""
        self.dropped = 0
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._closed = False
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def answer(self, frame: Frame) -> None:
        """Send an answer; whoever asks waits for :meth:`room` first."""
        self.put(write_frame(frame))

    def has_room(self, size: int) -> bool:
        """Tell whether a delivery of that size may be added."""
        return len(self._frames) < LIMITS.queue_frames and self._bytes + size <= LIMITS.queue_bytes

    @property
    def full(self) -> bool:
        """Whether :meth:`room` has to wait."""
        return not self._drained.is_set()

    async def room(self, *, patience: float | None = None) -> None:
        """Wait until more may be added: whoever does not read cannot go on asking.

        :class:`NotRead` after ``patience`` seconds.
        """
        try:
            async with asyncio.timeout(patience):
                await self._drained.wait()
        except TimeoutError:
            raise NotRead(f"nothing was read for {patience:g} s") from None

    def lose(self, count: int) -> None:
        """Tell, when all that waits is sent, that so many messages were not delivered."""
        self.dropped += count
        self._filled.set()

    def close(self) -> None:
        """End the connection once all that waits is sent."""
        self._closed = True
        self._filled.set()

    async def take(self) -> list[bytes] | None:
        """Return the parcels to send now, waiting for something to be sent; None when the connection is to end."""
        while not self._frames:
            if self.dropped:
                self.answer(Dropped(self.dropped))
                self.dropped = 0
                break
            if self._closed:
                return None
            self._filled.clear()
            await self._filled.wait()
        taken: list[bytes] = []
        size = 0
        while self._frames and len(taken) < LIMITS.parcel_frames and size < LIMITS.parcel_bytes:
            taken.append(self._frames.popleft())
            size += len(taken[-1])
        self._bytes -= size
        if self.has_room(0):
            self._drained.set()
        return list(parcels(taken))

    def put(self, frame: bytes) -> None:
        """Send a frame that is written already."""
        self._frames.append(frame)
        self._bytes += len(frame)
        if not self.has_room(0):
            self._drained.clear()
        self._filled.set()


class Subscription:
    """A right to read, held open. Messages are matched with the very pattern that the right was checked on.

    ``cursor`` is None while messages are handed on as they come; else it is the serial up to which all were sent.
    What was lost is counted up to the serial ``counted``.
    """

    def __init__(self, accepted: Accepted, *, cursor: int | None, counted: int) -> None:
        """Begin after ``cursor``."""
        self.accepted = accepted
        self.cursor = cursor
        self.counted = counted
        self.held: tuple[Facts, int] | None = None  # by which facts and in which second it was last seen to hold

    @property
    def namespace(self) -> bytes:
        """The namespace that it reads in."""
        return self.accepted.message.namespace

    @property
    def pattern(self) -> Pattern:
        """The pattern that it reads."""
        return self.accepted.message.resource

    def wants(self, namespace: bytes, resource: Pattern) -> bool:
        """Tell whether a message at ``resource`` belongs here."""
        return self.accepted.message.namespace == namespace and covers(self.pattern, resource)


class Connection:
    """One peer's connection: its challenge, its subscriptions (no other connection can name them) and its outbox."""

    def __init__(self, challenge: bytes) -> None:
        """Begin without subscriptions."""
        self.challenge = challenge
        self.outbox = Outbox()
        self.subscriptions: dict[int, Subscription] = {}
        self.useful = False  # something that was asked over it was granted
        self.catching_up: asyncio.Task[None] | None = None
        self._told: LeastRecent[bytes, None] = LeastRecent(LIMITS.proofs_known)

    def tell(self, identity: bytes | None, proof: bytes | None, *, again: bool = False) -> None:
        """Send a proof, unless the other side has it."""
        if identity is not None and proof and (again or identity not in self._told):
            self._told[identity] = None
            self.outbox.answer(Give(proof))
