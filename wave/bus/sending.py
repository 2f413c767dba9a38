"""What a peer is about to say: messages that wait together are signed together, and sent in few parcels."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from wave.bus.connection import Clock, Link
from wave.bus.frame import Asking, Found, Frame, Give, Publish, Unsubscribe, Want, parcels, write_frame
from wave.bus.message import NONCE_BYTES, Message, Payload, body_of, lifetime_allowed
from wave.codec import Record
from wave.dots.cache import LeastRecent
from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.errors import WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern


@dataclass(slots=True)
class Draft:
    """An act that is not signed yet. ``payloads`` and ``frame`` are asked for when it is."""

    permission: str
    namespace: bytes
    where: Pattern
    payloads: Callable[[], tuple[Payload, ...]]
    persist: bool
    proof: Proof
    frame: Callable[[bytes], Asking]
    answer: "asyncio.Future[Answer]"


class Answer(Record, frozen=True):
    """What a router said to an act, with what it found or listed."""

    count: int
    serial: int
    found: tuple[Found, ...] = ()
    listed: tuple[str, ...] = ()


class Sending:
    """The acts of one entity on one connection after another, in order."""

    def __init__(
        self, secret: EntitySecret, *, clock: Clock, draw: Callable[[int], bytes], lifetime: int, sheaves: bool
    ) -> None:
        """Sign as ``secret``, messages valid for ``lifetime`` seconds, those that wait together at once if ``sheaves``.

        Those that are to be kept are valid for as long as such a message may be.
        """
        self._secret = secret
        self._clock = clock
        self._draw = draw
        self._lifetime = lifetime
        self._together = LIMITS.sheaf_messages if sheaves else 1
        self._drafts: deque[Draft] = deque()
        self._plain: deque[bytes] = deque()
        self._stirred = asyncio.Event()
        self._told: LeastRecent[bytes, None] = LeastRecent(LIMITS.proofs_known)
        self._number = 0
        self._made = 0
        # Within one second a process that was started anew begins above where the last one was.
        self._sequence = int(clock() % 1 * 1_000_000)
        self._asked: dict[int, asyncio.Future[Answer]] = {}

    def next_number(self) -> int:
        """Return a number that was not used before."""
        self._number += 1
        return self._number

    def add(self, draft: Draft) -> None:
        """Send an act, with all that are added before the event loop turns to sending."""
        self._drafts.append(draft)
        self._stirred.set()

    def say(self, frame: Frame, answer: "asyncio.Future[Answer] | None" = None) -> None:
        """Send what needs no signature, or has one. A router that does not read is not asked for more proofs."""
        if isinstance(frame, Want) and len(self._plain) >= LIMITS.queue_frames:
            return
        if isinstance(frame, Unsubscribe | Publish) and answer is not None:
            self._asked[frame.number] = answer
        self._plain.append(write_frame(frame))
        self._stirred.set()

    def settle(self, number: int, outcome: Answer | WaveError) -> bool:
        """Give an answer to whoever waits for it; False when nobody does."""
        answer = self._asked.pop(number, None)
        if answer is None or answer.done():
            return False
        if isinstance(outcome, WaveError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
        return True

    def awaits(self, number: int) -> bool:
        """Tell whether somebody waits for the answer of that number."""
        return number in self._asked

    def forget(self, proof: bytes) -> None:
        """Take it that the other side does not have a proof."""
        self._told.pop(proof, None)

    def lost(self, error: WaveError) -> None:
        """Take it that the connection is gone: nothing that waits will be answered."""
        self._told.clear()
        self._plain.clear()
        waiting = [*self._asked.values(), *[draft.answer for draft in self._drafts]]
        self._asked.clear()
        self._drafts.clear()
        for answer in waiting:
            if not answer.done():
                answer.set_exception(error)

    async def send_always(self, link: Link) -> None:
        """Send over ``link`` until cancelled; :class:`RouterUnavailable` when it is gone."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._drafts or self._plain:
                frames = list(self._plain)
                self._plain.clear()
                batch = [self._drafts.popleft() for _ in range(min(len(self._drafts), LIMITS.sheaf_messages))]
                frames += self._written([draft for draft in batch if not draft.answer.done()])
                for one in parcels(frames):
                    await link.send(one)

    def _written(self, drafts: list[Draft]) -> list[bytes]:
        """Return the frames of these acts, signed, each proof before the first that names it."""
        frames: list[bytes] = []
        bodies: list[tuple[Draft, bytes]] = []
        for draft in drafts:
            try:
                bodies.append((draft, self._body(draft)))
            except WaveError as error:
                draft.answer.set_exception(error)
        for start in range(0, len(bodies), self._together):
            some = bodies[start : start + self._together]
            for (draft, _), message in zip(some, Message.signed(self._secret, [body for _, body in some]), strict=True):
                identity = message.proof
                if identity is not None and identity not in self._told:
                    self._told[identity] = None
                    frames.append(write_frame(Give(draft.proof.data)))
                frame = draft.frame(message.to_bytes())
                self._asked[frame.number] = draft.answer
                frames.append(write_frame(frame))
        return frames

    def _body(self, draft: Draft) -> bytes:
        now = int(self._clock())
        # A clock that is set back a little must not make newer messages look older than those before them.
        self._made = self._made if 0 <= self._made - now <= LIMITS.clock_skew else now
        self._sequence = (self._sequence + 1) % 2**31
        lifetime = lifetime_allowed(persist=True) if draft.persist else self._lifetime
        return body_of(
            self._secret.id,
            permission=draft.permission,
            namespace=draft.namespace,
            resource=draft.where,
            payloads=draft.payloads(),
            persist=draft.persist,
            created=self._made,
            expires=self._made + lifetime,
            sequence=self._sequence,
            nonce=self._draw(NONCE_BYTES),
            proof=draft.proof.id,
        )
