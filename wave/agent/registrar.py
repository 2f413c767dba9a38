"""The registrar: writes to the registry through the outbox, anchors what is queued, and brings others' batches in."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from wave.agent import wire
from wave.agent.batches import Batches, Intake, Source, source
from wave.agent.outbox import PATIENCE, Act, Chain, Entry, Outbox, Postman, claim_act, publish_act, revoke_act
from wave.chain.contract import Anchored
from wave.chain.promise import SUFFIX, Judgement, Promise, judge
from wave.codec import id_text
from wave.entities.keyring import write_file
from wave.entities.object import SignedObject
from wave.errors import AlreadyExists, BadName, BadSignature, StateUnwritable, UnknownEntity, WaveError
from wave.limits import LIMITS
from wave.namespace.name import check_label

if TYPE_CHECKING:
    from wave.agent.knowledge import Thing
    from wave.chain.follower import Follower
    from wave.entities.entity import Entity, EntitySecret

_log = logging.getLogger(__name__)

BATCH_AGE: Final = 2.0  # seconds that the oldest object in the queue waits for others to share its batch
BATCH_BLOCKS: Final = 32  # from the newest block to the one that a promise names
SOURCE_WAIT: Final = 2.0  # seconds that a command without a daemon waits for sources of batches
CLEAN_EVERY: Final = 256  # blocks
_TURNS: Final = 64  # of one settling


class Client(Chain, Protocol):
    """What the registrar asks of a chain; :class:`wave.chain.client.ChainClient` answers it."""

    @property
    def chain_id(self) -> int: ...
    @property
    def registry(self) -> str: ...

    def alias(self, label: str) -> bytes | None:
        """Return who has the alias, or None."""
        ...


class Registrar:
    """Everything that one home writes to the registry, and the batches that it reads. For one thread.

    ``promiser`` is the entity in whose name objects that are queued are promised to be anchored; None: no promises.
    """

    def __init__(
        self,
        home: Path,
        follower: "Follower",
        *,
        client: Callable[[], Client],
        sync: Callable[[], object],
        height_of: Callable[[bytes], int | None],
        asks_nobody: Callable[[], bool] = lambda: True,
        sources: Sequence[str] = (),
        daemon: bool = False,
    ) -> None:
        """Keep the outbox and the batches under ``home``.

        ``client`` connects to the chain, ``sync`` brings the follower up to it, ``height_of`` says where an object
        stands whose signature holds, ``asks_nobody`` whether something can be written without a passphrase. A
        ``daemon`` lets objects wait for others; a single command has nobody to wait for.
        :class:`StateUnwritable`, :class:`BadSetting`.
        """
        places: list[Source] = [source(text, home=home) for text in sources]
        self.intake = Intake(Batches(home / "batches"), places)
        self.outbox = Outbox(home / "outbox.sqlite")
        self.promiser: EntitySecret | None = None
        self._follower = follower
        self._client = client
        self._sync = sync
        self._height_of = height_of
        self._asks_nobody = asks_nobody
        self._daemon = daemon
        self._generation = follower.generation
        self._looked_at: tuple[int, int] | None = None
        self._cleaned = 0
        self._arrivals: deque[tuple[float, int]] = deque()  # of what waits for its batch: when, and how many
        self._postman: Postman | None = None
        self._wake: Callable[[], None] = lambda: None

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called, on any thread, when :meth:`tick` has something to do that need not wait."""
        self._wake = self.intake.fetcher.arrived = wake

    def close(self) -> None:
        """Close the outbox and stop fetching."""
        self.intake.close()
        self.outbox.close()

    # Writing -------------------------------------------------------------------------------------------------------

    def publish(self, objects: Sequence[SignedObject]) -> dict[bytes, int]:
        """Publish objects, each in a transaction of its own; return the height of each by its id."""
        done = self._carry_out([publish_act(one.id, one.to_bytes()) for one in objects])
        return {entry.act.key: entry.height or 0 for entry in done}

    def revoke(self, preimages: Sequence[bytes]) -> int:
        """Show preimages; return the height from which on they count."""
        return self._carry_out([revoke_act(preimages)])[0].height or 0

    def claim(self, label: str, target: bytes) -> tuple[int, int | None]:
        """Take an alias, by a commitment and then the claim itself; return the heights of claim and commitment.

        None for the commitment when the alias was the target's already. :class:`NameTaken`, :class:`BadName`.
        """
        from wave.chain.sender import draw_salt

        check_label(label)
        if not any(target):
            raise BadName("a name cannot stand for the id of all zeros")
        (entry,) = self._carry_out([claim_act(label, target, draw_salt())])
        receipts = [self._client().receipt(one.hash) for one in self.outbox.attempts(replace(entry, step=0))]
        committed = [receipt.height for receipt in receipts if receipt is not None]
        return entry.height or 0, committed[0] if committed else None

    def _carry_out(self, acts: Sequence[Act]) -> list[Entry]:
        numbers = self.outbox.add(acts)  # on the disk from here on: a crash loses nothing
        # A daemon has others to answer: it is asked again, which finds what was begun, instead of waiting here.
        return self._connected().finish(numbers, patience=0.0 if self._daemon else PATIENCE, refresh=self._sync)

    def _connected(self) -> Postman:
        client = self._client()
        if self._postman is None or self._postman.chain is not client:
            self._postman = Postman(self.outbox, client, self)
        return self._postman

    # What stands on the chain already (outbox.Registry) ------------------------------------------------------------

    def refresh(self) -> None:
        """Take in the newest blocks."""
        self._follower.sync()

    def published(self, identity: bytes) -> int | None:
        """Return the height at which the object stands under a good signature, or None."""
        return self._height_of(identity)

    def anchored(self, root: bytes, count: int) -> int | None:
        """Return the height at which the root stands, or None."""
        found = [one.height for one in self._follower.anchors() if one.root == root and one.count == count]
        return found[0] if found else None

    def revoked(self, commitment: bytes) -> int | None:
        """Return the height at which the commitment was revoked, or None."""
        return self._follower.facts.revocations.get(commitment)

    def alias(self, label: str) -> bytes | None:
        """Return who has the alias, or None, as the chain says now."""
        return self._client().alias(label)

    # Anchoring -----------------------------------------------------------------------------------------------------

    def queue(self, objects: Sequence["SignedObject | Thing"]) -> dict[bytes, Promise]:
        """Take in objects to be anchored; return the promises that they will be, by id. They are on the disk then."""
        new = self.outbox.queue([(one.id, one.to_bytes()) for one in objects])
        if new:
            self._arrivals.append((time.monotonic(), new))
            if self.outbox.waiting >= LIMITS.batch_objects:
                self._wake()
        if self.promiser is None:
            return {}
        client, height = self._client(), self._follower.facts.height
        registry = bytes.fromhex(client.registry.removeprefix("0x"))
        return {
            one.id: Promise.create(
                self.promiser,
                about=one.id,
                received=height,
                by=height + BATCH_BLOCKS,
                chain_id=client.chain_id,
                registry=registry,
            )
            for one in objects
        }

    def flush(self) -> list[Entry]:
        """Put all that is queued into batches and see them anchored, those begun before too."""
        self._form(full_only=False)
        pending = self.outbox.pending()
        return self._connected().finish([entry.seq for entry in pending], refresh=self._sync) if pending else []

    def tick(self) -> None:
        """Carry on without waiting: anchor what is due, send what is pending, hand over what was fetched."""
        waiting = self.outbox.waiting
        if waiting:
            if not self._arrivals:  # they came before this process did, or a batch of theirs failed
                self._arrivals.append((time.monotonic(), waiting))
            self._form(full_only=time.monotonic() - self._arrivals[0][0] < BATCH_AGE)
        if self.has_pending():
            self._sync()
        else:
            self._handed(self.intake.take_fetched)

    def _form(self, *, full_only: bool) -> None:
        """Put what is queued into batches, the whole of it or as many as are full."""
        while self.outbox.waiting >= (LIMITS.batch_objects if full_only else 1):
            batch = self.outbox.form(self.intake.batches.keep)
            self._forget_arrivals(0 if batch is None else len(batch))

    def _forget_arrivals(self, count: int) -> None:
        """Forget when the oldest ``count`` objects came, which wait no more."""
        while count and self._arrivals:
            when, some = self._arrivals.popleft()
            if some > count:
                self._arrivals.appendleft((when, some - count))
            count -= min(some, count)

    def pending(self) -> int:
        """Return how many things are on their way to the chain: queued objects, and what is neither done nor failed."""
        counts = self.outbox.counts()
        return counts["objects"] + counts["unanchored"]

    def has_pending(self) -> bool:
        """Tell whether anything waits to be sent or to be mined."""
        return bool(self.outbox.pending(limit=1))

    # After each look at the chain ----------------------------------------------------------------------------------

    def after_sync(self) -> None:
        """Go on with what the chain's newest blocks make possible; nothing in here keeps facts from being used."""
        follower = self._follower
        if self._generation != follower.generation:
            gone_back = min(follower.unwound[self._generation - follower.generation :], default=-1)
            self._generation = follower.generation
            self.outbox.doubt(gone_back)
            self._postman = None  # one that has sent nothing yet, so that it sends again at once
        height = follower.facts.height
        if height >= self._cleaned + CLEAN_EVERY:
            self._cleaned = height
            self.outbox.clean(height)
        self._settle()
        self.take_in()

    def take_in(self) -> int:
        """Hand the follower what is here of the batches that it lacks; return how many objects were new."""
        return self._handed(partial(self.intake.take_in, patience=0.0 if self._daemon else SOURCE_WAIT))

    def _handed(self, take: Callable[["Follower"], int]) -> int:
        try:
            return take(self._follower)
        except WaveError as error:
            _log.warning("a batch could not be taken in: %s", error.message)
            return 0

    def _settle(self) -> None:
        """Send what is pending and see what was mined, where nobody waits for it; what is in the way is logged."""
        if not self.has_pending() or not self._asks_nobody():
            return
        try:
            postman = self._connected()
            for _ in range(_TURNS):
                if not postman.turn():
                    return
        except WaveError as error:
            _log.warning("the outbox waits: %s (%s)", error.message, error.code)

    def withheld(self) -> list[Anchored]:
        """Return the anchors whose objects nobody has handed out so far, the oldest first."""
        self.take_in()
        return self.intake.withheld()


# Promises ----------------------------------------------------------------------------------------------------------


def audit_promise(
    data: bytes,
    follower: "Follower",
    check: Callable[[SignedObject], object],
    record_of: Callable[[bytes], "Entity | None"],
    *,
    chain: tuple[int, bytes],
) -> wire.PromiseView:
    """Return what became of a promise (an object's bytes), as far as ``follower`` has seen the chain.

    ``check`` raises when an object's signature does not hold, ``record_of`` finds a promiser, ``chain`` is the id and
    the registry's address of the chain followed. :class:`InputError` for what is no promise at all.
    """
    promise = Promise.from_bytes(data)
    fields = promise.fields
    record = record_of(fields.promiser)
    if record is None:
        reason = f"the record of the promiser {id_text(fields.promiser)} is not known here"
        judged = Judgement("unknown", reason)
    elif not _is_signed(promise, record):
        judged = Judgement("void", "the promiser has not signed it")
    elif (fields.chain_id, fields.registry) != chain:
        judged = Judgement("unknown", f"it is about chain {fields.chain_id}, registry 0x{fields.registry.hex()}")
    else:
        stands = [entry.height for entry in follower.variants(fields.object) if _holds(entry.object, check)]
        judged = judge(
            fields,
            head=follower.facts.height,
            stands=min(stands, default=None),
            withheld=tuple(one.root for one in follower.missing_batches() if one.height <= fields.by),
        )
    return wire.PromiseView(
        promise=id_text(promise.id),
        promiser=id_text(fields.promiser),
        object=id_text(fields.object),
        received=fields.received,
        by=fields.by,
        verdict=judged.verdict,
        reason=judged.reason,
        height=judged.height,
        withheld=tuple(root.hex() for root in judged.withheld),
    )


def _is_signed(promise: Promise, record: "Entity") -> bool:
    try:
        promise.check(record.verify_key)
    except BadSignature:
        return False
    return True


def _holds(signed: SignedObject, check: Callable[[SignedObject], object]) -> bool:
    """Tell whether an object is the one that was promised, not another signature's; one whose giver is unknown is."""
    try:
        check(signed)
    except UnknownEntity:
        return True
    except WaveError:
        return False
    return True


def keep_promise(directory: Path, promise: Promise) -> Path:
    """Write a promise to ``<object id>.promise`` in ``directory``, or beside one that is there already; its path."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateUnwritable(f"cannot create {directory}: {error.strerror}") from None
    path = directory / f"{id_text(promise.id)}{SUFFIX}"
    with suppress(AlreadyExists):  # the id covers all that it says
        write_file(path, promise.to_object().to_text().encode("ascii"))
    return path
