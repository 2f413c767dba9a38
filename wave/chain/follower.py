"""The follower: what the registry said, block by block, as Facts in memory and rows in a replica on the disk.

Data and cursor move in one SQLite transaction, so a crash neither skips a block nor counts one twice. A chain that
changed behind the cursor is unwound to the last block that both have, and no further than ``LIMITS.reorg_blocks``.

Objects are parsed strictly on their way in and their signatures are not looked at: whoever uses one for the first time
does that (:class:`wave.dots.records.Records` for entities, :class:`wave.agent.knowledge.Knowledge` for the rest) and
tells :meth:`Follower.refuse` of a bad one.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

from wave.chain.contract import Anchored, Claimed, Event, Revocation
from wave.chain.memory import Memory
from wave.chain.replica import Entry, Replica
from wave.dots.facts import Facts
from wave.errors import ChainReorganised, ChainUnavailable, FactsAhead, StaleFacts, UnknownObject, WrongChain
from wave.limits import LIMITS

__all__ = ["Block", "Chain", "Entry", "Follower"]

_log = logging.getLogger(__name__)

BLOCKS_PER_STEP: Final = 2_000
EVENTS_PER_STEP: Final = 20_000  # a step that brings more makes the next ones shorter
UNWINDS: Final = 8  # times that a chain may turn out to have changed within one sync before it is given up
_ASKED_AGAIN: Final = 16  # newest blocks whose events are compared, hash by hash, with the blocks themselves
_ANEW: Final = (
    "if it was begun anew on purpose, 'wave chain forget' drops {path} and it is built from the new one; if not, name"
    " another node with WAVE_CHAIN or 'wave chain use'"
)


class Block(Protocol):
    """What names a block; :class:`wave.chain.client.Block` is one."""

    @property
    def number(self) -> int: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def parent_hash(self) -> bytes: ...
    @property
    def time(self) -> int: ...


class Chain(Protocol):
    """What the follower asks of a chain; :class:`wave.chain.client.ChainClient` answers it."""

    def head(self) -> Block:
        """Return the newest block."""
        ...

    def block(self, number: int) -> Block | None:
        """Return a block, or None when the chain is shorter."""
        ...

    def events(self, from_height: int, to_height: int) -> Sequence[Event]:
        """Return what the registry said in these blocks, in order."""
        ...


class Follower:
    """A replica of the registry in one file. For one thread, but the Facts it gives may go to any.

    ``confirmations`` is how many blocks must stand above an object or an alias before it counts. A revocation counts
    from the newest block seen, which is the block that the facts name. A new replica begins at block ``start``, which
    is to be no later than that in which the registry was deployed: what came before it is never seen.
    """

    def __init__(self, chain: Chain, path: Path, *, wait: float = 0.0, confirmations: int = 0, start: int = 0) -> None:
        """Open the replica at ``path``, without the chain; StateLocked after ``wait`` seconds, StateUnwritable."""
        self._chain = chain
        self._path = path
        self._confirmations = confirmations
        self._start = start
        self._halvings = 0  # of the steps, while they bring much
        self._refused: Counter[str] = Counter()
        self._replica = Replica(path, wait=wait)
        try:
            self._load()
        except BaseException:
            self._replica.close()
            raise
        self.unwound = self._replica.unwound()
        """The height gone back to, each time that the chain changed behind the cursor, in earlier processes too."""
        self.generation = len(self.unwound)
        """How many times it changed: objects seen before may be gone, so ask for all again."""
        self.epoch = self._replica.epoch()
        """The replica's own name; one that is built anew has another."""

    def close(self) -> None:
        """Close the file."""
        self._replica.close()

    def __enter__(self) -> Self:
        """Return the follower."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the follower."""
        self.close()

    # Facts ---------------------------------------------------------------------------------------------------------

    @property
    def facts(self) -> Facts:
        """What is known, as of the last block taken in; before the first one, height -1 and time 0."""
        return self._facts

    @property
    def confirmed(self) -> int:
        """The height up to which objects and aliases count."""
        return self._facts.height - self._confirmations

    @property
    def genesis(self) -> bytes | None:
        """The hash of the chain's first block; None before anything was taken in."""
        first = self._replica.checkpoint(0)
        return None if first is None else first[1]

    def fresh(self, now: int, max_staleness: int = LIMITS.max_staleness) -> Facts:
        """Return the facts, not older than ``max_staleness`` seconds at ``now``; StaleFacts, FactsAhead."""
        age = now - self._facts.time
        if age > max_staleness:
            raise StaleFacts(f"the newest block seen is {age} s old; at most {max_staleness} s are accepted")
        if age < -LIMITS.clock_skew:
            raise FactsAhead(f"the newest block seen is {-age} s ahead of the clock")
        return self._facts

    def sync(self, progress: Callable[[int, int], None] | None = None) -> Facts:
        """Take in every block up to the chain's head and return the facts.

        ``progress`` is told after each step the height that was reached, and that of the head.
        ChainUnavailable and the like leave what was known; whatever was taken in before stays. WrongChain when the
        chain has another first block than the one followed so far, ChainReorganised when it changed too far back.
        """
        for _ in range(UNWINDS + 1):
            head = self._chain.head()
            if self._behind(head):
                return self._facts
            if head.number <= self._facts.height:
                if self._known_hash(head.number) == head.hash:
                    return self._facts
            elif self._advance(head, progress):
                return self._facts
            self._unwind(head)
        raise ChainUnavailable(
            "the chain keeps changing under the follower, or its answers do not belong together",
            hint="ask again in a while, or another node",
        )

    def objects(self, kind: str | None = None, *, after: int = 0) -> Iterator[Entry]:
        """Give the objects (of one kind) whose ``seq`` is above ``after``, in that order; signatures are not checked.

        Objects behind one that is not confirmed yet wait for it, so that whoever goes on from the last ``seq`` seen
        misses none.
        """
        confirmed = self.confirmed
        for entry in self._replica.entries(kind, after):
            if entry.height > confirmed:
                return
            yield entry

    def object(self, identity: bytes) -> Entry | None:
        """Return the object of that id, confirmed or not, as it was first published; its signature is not checked."""
        found = self._replica.variants(identity)
        return found[0] if found else None

    def variants(self, identity: bytes) -> list[Entry]:
        """Return the object of that id under every signature that it was published with, confirmed or not."""
        return self._replica.variants(identity)

    def appearances(self, identity: bytes) -> list[Entry]:
        """Return the object of that id wherever it stands: as a variant, and where it stood until a batch came late."""
        return self._replica.appearances(identity)

    def flush(self) -> None:
        """Have what was taken in survive a loss of power, so that no ``seq`` is given to something else after it."""
        self._replica.flush()

    def has_block(self, height: int, block_hash: bytes) -> bool:
        """Tell whether the replica went through that block, as far as it remembers its blocks."""
        return self._known_hash(height) == block_hash

    def revocations(self, *, after: int) -> list[tuple[bytes, int]]:
        """Return the commitments revoked above height ``after``, each with its height."""
        return [(commitment, height) for commitment, height, _ in self._replica.revocations(after)]

    def marks(self, *, after: int) -> list[Revocation | Claimed]:
        """Return the revocations, and the aliases that count, above height ``after``, in the order of the chain."""
        found: list[Revocation | Claimed] = [
            Revocation(height, index, commitment) for commitment, height, index in self._replica.revocations(after)
        ]
        found += [
            Claimed(height, index, label.encode(), target)
            for label, target, height, index in self._replica.aliases(after)
            if height <= self.confirmed
        ]
        return sorted(found, key=lambda event: (event.height, event.index))

    def times(self) -> dict[int, int]:
        """Return the times of the blocks remembered, by height."""
        return self._replica.times()

    def anchors(self) -> list[Anchored]:
        """Return the anchored Merkle roots, in order."""
        return self._replica.anchors(missing=False)

    def missing_batches(self) -> list[Anchored]:
        """Return the first anchor of each root whose batch was not taken in, or was taken back since."""
        return self._replica.anchors(missing=True)

    def ingest_batch(self, root: bytes, objects: Sequence[bytes]) -> int:
        """Take in the objects under an anchored root, which the caller has checked, at its first anchor's height.

        Return how many did not stand there or earlier before; 0 for a batch that was taken in before. What does not
        parse is counted and kept out. When the anchor's block is unwound, the objects go with it, and the root is among
        :meth:`missing_batches` again as soon as it is anchored again. Raises UnknownObject for a root that is not
        anchored on this chain.
        """
        taken = self._replica.take_in_batch(root, objects)
        if taken is None:
            if any(anchor.root == root for anchor in self.anchors()):
                return 0
            raise UnknownObject(f"no batch under the root {root.hex()} is anchored on this chain")
        step, new = taken
        self._memory.learn(step, self.confirmed)
        return new

    def counts(self) -> dict[str, int]:
        """Return how many objects are held of each kind, each once for each signature it came with, and so on."""
        return {**self._replica.counts(), **self._memory.counts()}

    def refuse(self, code: str) -> None:
        """Count an object that turned out, when it was first used, to be one that has to be kept out."""
        self._refused[code] += 1

    def refused(self) -> dict[str, int]:
        """Return how many published things were kept out, by error code.

        What did not parse is counted for ever. A bad signature is counted when the object is first used, and again by
        the next process that uses it: the replica keeps the object, for the chain says that it was published.
        """
        return dict(self._replica.refused() + self._refused)

    # Following -----------------------------------------------------------------------------------------------------

    def _behind(self, head: Block) -> bool:
        """Tell a node that has not caught up with what is known here (its chain, but not its newest block).

        Times never fall along a chain, so a lower head with a later time is another chain.
        """
        if head.number >= self._facts.height or head.time > self._facts.time:
            return False
        below = self._replica.checkpoint(head.number)
        if below is None:
            return False
        block = self._chain.block(below[0])
        return block is not None and block.hash == below[1]

    def _advance(self, head: Block, progress: Callable[[int, int], None] | None) -> bool:
        """Take in all blocks up to ``head``, step by step; False when they do not follow what is known.

        One step ends at the deepest block that a reorganisation may still take away, so that its hash is remembered.
        """
        while self._facts.height < head.number:
            first = min(max(self._facts.height + 1, self._start if self._facts.height < 0 else 0), head.number)
            last = min(head.number, first - 1 + max(1, BLOCKS_PER_STEP >> self._halvings))
            edge = head.number - LIMITS.reorg_blocks
            if first <= edge < last:
                last = edge
            end = head if last == head.number else self._chain.block(last)
            if end is None:
                return False
            # The hash of the last block is asked for on both sides of the events, and the one at the cursor between:
            # when all agree, everything read belongs to one chain that goes on from what is known.
            events = self._chain.events(first, last)
            begun = self._beginning(end)
            if begun is None or _hash(self._chain.block(last)) != end.hash:
                return False
            passed = self._belong(events, end) if _in_order(events, first, last) else None
            if passed is None:
                return False
            self._take_in(events, passed, [*begun, end])
            if progress is not None:
                progress(self._facts.height, head.number)
        return True

    def _beginning(self, end: Block) -> list[Block] | None:
        """Return the first block when it is new, nothing on a chain that goes on from what is known, or None."""
        known = self._facts
        if known.height < 0:
            first = end if end.number == 0 else self._chain.block(0)
            return None if first is None else [first]
        goes_on = end.parent_hash if end.number == known.height + 1 else _hash(self._chain.block(known.height))
        return [] if goes_on == known.block_hash else None

    def _belong(self, events: Sequence[Event], end: Block) -> dict[int, bytes] | None:
        """Return the hashes of the newest blocks by the events in them, or None when these are not of this chain.

        Behind one address there may be several nodes, and one of them on another branch. Only the newest blocks are
        asked for: branches that are longer differ in the last block too, which is always compared.
        """
        named: dict[int, bytes] = {}
        for event in events:
            if event.block_hash and named.setdefault(event.height, event.block_hash) != event.block_hash:
                return None
        for height, block_hash in named.items():
            if height == end.number:
                if block_hash != end.hash:
                    return None
            elif height > end.number - _ASKED_AGAIN and _hash(self._chain.block(height)) != block_hash:
                return None
        oldest = end.number - LIMITS.reorg_blocks
        return {height: block_hash for height, block_hash in named.items() if oldest < height < end.number}

    def _take_in(self, events: Sequence[Event], passed: Mapping[int, bytes], blocks: Sequence[Block]) -> None:
        end = blocks[-1]
        rows: list[tuple[int, bytes, int | None]] = [(height, known, None) for height, known in passed.items()]
        rows += [(block.number, block.hash, block.time) for block in blocks]
        step = self._replica.take_in(events, rows)
        # Entries first, height last: facts given out before count nothing above their own height.
        self._memory.learn(step, end.number - self._confirmations)
        self._facts = self._memory.facts(end.number, end.hash, end.time)
        if len(events) > EVENTS_PER_STEP:
            self._halvings += 1
        elif len(events) < EVENTS_PER_STEP // 4:
            self._halvings = max(0, self._halvings - 1)

    def _unwind(self, head: Block) -> None:
        """Go back to the newest block that is known here and on the chain whose newest block is ``head``.

        A chain that changed further back than ``LIMITS.reorg_blocks`` is not followed, not even by beginning anew:
        revocations and names that were final would be undone without anybody being asked, and whoever can show a
        device such a chain could bring back what was revoked. The facts stay as they are and grow stale, so that
        checks end in "could not tell"; a person decides. The depth counts from the oldest block that the replica stood
        at and that is gone; blocks that it passed without stopping may have gone with it. A node that does not know a
        block of its own chain says nothing about it, and nothing is taken back.
        """
        height, time = -1, 0
        for candidate, block_hash in self._replica.checkpoints():
            block = self._chain.block(candidate)
            if block is not None and block.hash == block_hash:
                height, time = candidate, block.time
                break
            if block is None and candidate <= head.number:
                return
            if candidate <= self._facts.height - LIMITS.reorg_blocks or candidate == 0:
                self._give_up(candidate)
        if height == self._facts.height:
            return  # what was read did not belong together, and what is known still stands
        _log.warning("the chain changed: going back from block %d to %d", self._facts.height, height)
        self._replica.unwind(height, time)
        self.generation += 1
        self.unwound.append(height)
        self._load()

    def _give_up(self, height: int) -> None:
        """Raise what is to be said of a chain that lost its block at ``height``, which is too far back."""
        first = _hash(self._chain.block(0))
        hint = _ANEW.format(path=self._path.name)
        if first is not None and first != self.genesis:
            raise WrongChain(
                "the chain was reset: its first block is not the one of the chain followed here", hint=hint
            )
        raise ChainReorganised(
            f"the chain changed at block {height} or before, {self._facts.height - height + 1} blocks back;"
            f" at most {LIMITS.reorg_blocks} are followed",
            hint=hint,
        )

    def _known_hash(self, height: int) -> bytes | None:
        if height == self._facts.height:
            return self._facts.block_hash
        below = self._replica.checkpoint(height)
        return below[1] if below is not None and below[0] == height else None

    def _load(self) -> None:
        """Read everything that Facts need into new mappings; those given out before stay as they were."""
        height, block_hash, time = self._replica.head()
        self._memory = Memory(self._replica, height - self._confirmations, self.refuse)
        self._facts = self._memory.facts(height, block_hash, time)


def _in_order(events: Sequence[Event], first: int, last: int) -> bool:
    """Tell whether events stand in the blocks from ``first`` to ``last``, each behind the one before it."""
    before = (first, -1)
    for event in events:
        place = (event.height, event.index)
        if place <= before:
            return False
        before = place
    return before[0] <= last


def _hash(block: Block | None) -> bytes | None:
    return None if block is None else block.hash
