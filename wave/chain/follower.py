"""The follower: what the registry said, block by block, checked and kept, as Facts in memory and rows in SQLite.

Data and cursor move in one SQLite transaction, so a crash neither skips a block nor counts one twice. A chain that
changed behind the cursor is unwound to the last block that both have.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from wave.chain.contract import Anchored, Claimed, Event, Published, Revocation
from wave.chain.disk import FileLock, disk_errors, open_database, transaction
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.entities.entity import Entity
from wave.entities.object import ENTITY, NAME, SignedObject, decode_object
from wave.errors import ChainUnavailable, FactsAhead, StaleFacts, WaveError
from wave.limits import LIMITS
from wave.namespace.name import Name, check_label

_log = logging.getLogger(__name__)

BLOCKS_PER_STEP: Final = 2_000
CHECKPOINTS: Final = 1_024  # block hashes remembered, the newest ones
UNWINDS: Final = 8  # reorganisations met within one sync before giving up on the chain
_FORMAT: Final = 1  # of the file; a file of another format is built anew

_SCHEMA = """
CREATE TABLE IF NOT EXISTS blocks (height INTEGER PRIMARY KEY, hash BLOB NOT NULL, time INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB UNIQUE NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL,
  height INTEGER NOT NULL, idx INTEGER NOT NULL, since INTEGER NOT NULL, giver BLOB
);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, seq);
CREATE TABLE IF NOT EXISTS waiting (
  giver BLOB NOT NULL, data BLOB NOT NULL, height INTEGER NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (height, idx)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_by_giver ON waiting (giver);
CREATE TABLE IF NOT EXISTS revocations (commitment BLOB PRIMARY KEY, height INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS revocations_by_height ON revocations (height);
CREATE TABLE IF NOT EXISTS aliases (
  label TEXT PRIMARY KEY, target BLOB NOT NULL, height INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS anchors (
  height INTEGER, idx INTEGER, root BLOB NOT NULL, count TEXT NOT NULL, PRIMARY KEY (height, idx)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused (code TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""
_TABLES = ("blocks", "objects", "waiting", "revocations", "aliases", "anchors", "refused")


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


@dataclass(frozen=True, slots=True)
class Entry:
    """An object that was published and whose signature holds; ``seq`` grows in the order of acceptance, with gaps."""

    seq: int
    id: bytes
    kind: str
    data: bytes
    height: int
    index: int

    @property
    def object(self) -> SignedObject:
        """The object itself."""
        return decode_object(self.data)


class Follower:
    """A replica of the registry in one file. For one thread, but the Facts it gives may go to any."""

    def __init__(self, chain: Chain, path: Path, *, wait: float = 0.0) -> None:
        """Open the replica at ``path``, without the chain; StateLocked after ``wait`` seconds, StateUnwritable."""
        self._chain = chain
        self._path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"), wait=wait)
        try:
            self._database = open_database(path, _SCHEMA)
            try:
                self._check_format()
                self._load()
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._lock.close()
            raise
        self.generation = 0
        """How many times the chain changed behind the cursor: objects seen before may be gone, so ask for all again."""

    def close(self) -> None:
        """Close the file."""
        self._database.close()
        self._lock.close()

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

    def fresh(self, now: int, max_staleness: int = LIMITS.max_staleness) -> Facts:
        """Return the facts, not older than ``max_staleness`` seconds at ``now``; StaleFacts, FactsAhead."""
        age = now - self._facts.time
        if age > max_staleness:
            raise StaleFacts(f"the newest block seen is {age} s old; at most {max_staleness} s are accepted")
        if age < -LIMITS.clock_skew:
            raise FactsAhead(f"the newest block seen is {-age} s ahead of the clock")
        return self._facts

    def sync(self) -> Facts:
        """Take in every block up to the chain's head and return the facts.

        ChainUnavailable and the like leave what was known; whatever was taken in before stays.
        """
        unwinds = 0
        while True:
            head = self._chain.head()
            if self._behind(head):
                return self._facts
            if head.number <= self._facts.height:
                if self._known_hash(head.number) == head.hash:
                    return self._facts
                consistent = False
            else:
                consistent = self._advance(head)
            if consistent:
                return self._facts
            unwinds += 1
            if unwinds > UNWINDS:
                raise ChainUnavailable("the chain keeps changing under the follower", hint="ask again in a while")
            self._unwind()

    def objects(self, kind: str | None = None, *, after: int = 0) -> Iterator[Entry]:
        """Give the accepted objects (of one kind) whose ``seq`` is above ``after``, in that order."""
        sql = "SELECT seq, id, kind, data, height, idx FROM objects WHERE seq > ?"
        while True:
            with disk_errors(self._path):
                if kind is None:
                    rows = self._database.execute(f"{sql} ORDER BY seq LIMIT 1000", (after,)).fetchall()
                else:
                    rows = self._database.execute(
                        f"{sql} AND kind = ? ORDER BY seq LIMIT 1000", (after, kind)
                    ).fetchall()
            if not rows:
                return
            for row in rows:
                yield Entry(*row)
            after = rows[-1][0]

    def object(self, identity: bytes) -> Entry | None:
        """Return the accepted object of that id, or None."""
        sql = "SELECT seq, id, kind, data, height, idx FROM objects WHERE id = ?"
        with disk_errors(self._path):
            row = self._database.execute(sql, (identity,)).fetchone()
        return None if row is None else Entry(*row)

    def has_block(self, height: int, block_hash: bytes) -> bool:
        """Tell whether the replica went through that block, as far as it remembers its blocks."""
        return self._known_hash(height) == block_hash

    def revocations(self, *, after: int) -> list[tuple[bytes, int]]:
        """Return the commitments revoked above height ``after``, each with its height."""
        with disk_errors(self._path):
            return self._database.execute(
                "SELECT commitment, height FROM revocations WHERE height > ?", (after,)
            ).fetchall()

    def anchors(self) -> list[Anchored]:
        """Return the anchored Merkle roots, in order."""
        with disk_errors(self._path):
            rows = self._database.execute(
                "SELECT height, idx, root, count FROM anchors ORDER BY height, idx"
            ).fetchall()
        return [Anchored(height, index, root, int(count)) for height, index, root, count in rows]

    def counts(self) -> dict[str, int]:
        """Return how many objects are known of each kind, how many wait for their giver's record, and so on."""
        with disk_errors(self._path):
            kinds = dict(self._database.execute("SELECT kind, count(*) FROM objects GROUP BY kind").fetchall())
            (waiting,) = self._database.execute("SELECT count(*) FROM waiting").fetchone()
        return {**kinds, "waiting": waiting, "revocations": len(self._revocations), "aliases": len(self._aliases)}

    def refused(self) -> dict[str, int]:
        """Return how many published things were kept out, by error code."""
        with disk_errors(self._path):
            return dict(self._database.execute("SELECT code, count FROM refused").fetchall())

    # Following -----------------------------------------------------------------------------------------------------

    def _behind(self, head: Block) -> bool:
        """Tell a node that has not caught up with what is known here (its chain, but not its newest block).

        Times never fall along a chain, so a lower head with a later time is another chain.
        """
        if head.number >= self._facts.height or head.time > self._facts.time:
            return False
        below = self._checkpoint_at_most(head.number)
        if below is None:
            return False
        block = self._chain.block(below[0])
        return block is not None and block.hash == below[1]

    def _advance(self, head: Block) -> bool:
        """Take in all blocks up to ``head``, step by step; False when they do not follow what is known."""
        while self._facts.height < head.number:
            known = self._facts
            last = min(head.number, known.height + BLOCKS_PER_STEP)
            end = head if last == head.number else self._chain.block(last)
            if end is None:
                return False
            events = self._chain.events(known.height + 1, last)
            # The hash of the last block is asked for on both sides of the events, and the one at the cursor between:
            # when all agree, everything read belongs to one chain that goes on from what is known.
            if known.height >= 0:
                before = end.parent_hash if last == known.height + 1 else _hash(self._chain.block(known.height))
                if before != known.block_hash:
                    return False
            if _hash(self._chain.block(last)) != end.hash:
                return False
            self._take_in(events, end)
        return True

    def _take_in(self, events: Sequence[Event], end: Block) -> None:
        step = _Step(self)
        with transaction(self._database, self._path):
            for event in events:
                step.take(event)
            run = self._database.execute
            run("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", (end.number, end.hash, end.time))
            run(
                "DELETE FROM blocks WHERE height <= (SELECT height FROM blocks ORDER BY height DESC LIMIT 1 OFFSET ?)",
                (CHECKPOINTS,),
            )
            for code, count in step.refused.items():
                run(
                    "INSERT INTO refused VALUES (?, ?) ON CONFLICT (code) DO UPDATE SET count = count + excluded.count",
                    (code, count),
                )
        # Entries first, height last: facts given out before count nothing above their own height.
        self._revocations.update(step.revocations)
        self._entities.update(step.entities)
        self._aliases.update(step.aliases)
        self._set_facts(end.number, end.hash, end.time)

    def _unwind(self) -> None:
        """Go back to the newest block that is known here and on the chain; to nothing, when there is none."""
        height = -1
        with disk_errors(self._path):
            known = self._database.execute("SELECT height, hash FROM blocks ORDER BY height DESC").fetchall()
        for candidate, block_hash in known:
            if _hash(self._chain.block(candidate)) == block_hash:
                height = candidate
                break
        _log.warning("the chain changed: going back from block %d to %d", self._facts.height, height)
        with transaction(self._database, self._path):
            run = self._database.execute
            run(
                "INSERT OR REPLACE INTO waiting SELECT giver, data, height, idx FROM objects"
                " WHERE since > ? AND height <= ? AND giver IS NOT NULL",
                (height, height),
            )
            run("DELETE FROM objects WHERE since > ?", (height,))
            for table in ("blocks", "waiting", "revocations", "aliases", "anchors"):
                run(f"DELETE FROM {table} WHERE height > ?", (height,))  # noqa: S608 - names of tables
        self.generation += 1
        self._load()

    def _known_hash(self, height: int) -> bytes | None:
        if height == self._facts.height:
            return self._facts.block_hash
        below = self._checkpoint_at_most(height)
        return below[1] if below is not None and below[0] == height else None

    def _checkpoint_at_most(self, height: int) -> tuple[int, bytes] | None:
        sql = "SELECT height, hash FROM blocks WHERE height <= ? ORDER BY height DESC LIMIT 1"
        with disk_errors(self._path):
            row: tuple[int, bytes] | None = self._database.execute(sql, (height,)).fetchone()
        return row

    # Memory --------------------------------------------------------------------------------------------------------

    def _check_format(self) -> None:
        with disk_errors(self._path):
            (found,) = self._database.execute("PRAGMA user_version").fetchone()
            if found not in (0, _FORMAT):
                for table in _TABLES:
                    self._database.execute(f"DROP TABLE {table}")
                self._database.executescript(_SCHEMA)
            if found != _FORMAT:
                self._database.execute(f"PRAGMA user_version = {_FORMAT}")

    def _load(self) -> None:
        """Read everything that Facts need into new mappings; those given out before stay as they were."""
        with disk_errors(self._path):
            run = self._database.execute
            self._revocations: dict[bytes, int] = dict(run("SELECT commitment, height FROM revocations").fetchall())
            self._aliases: dict[str, bytes] = dict(run("SELECT label, target FROM aliases").fetchall())
            records = run("SELECT data FROM objects WHERE kind = ?", (ENTITY,))
            self._entities: dict[bytes, Entity] = {}
            for (data,) in records:
                entity = Entity.from_bytes(data)
                self._entities[entity.id] = entity
            row = run("SELECT height, hash, time FROM blocks ORDER BY height DESC LIMIT 1").fetchone()
        self._set_facts(*(row or (-1, bytes(32), 0)))

    def _set_facts(self, height: int, block_hash: bytes, time: int) -> None:
        self._facts = Facts(height, block_hash, time, self._revocations, self._entities, self._aliases)


class _Step:
    """One batch of events on its way in: rows are written at once, memory changes are kept until the commit."""

    def __init__(self, follower: Follower) -> None:
        self._run = follower._database.execute  # noqa: SLF001 - a part of the follower
        self._known = follower._entities  # noqa: SLF001
        self.entities: dict[bytes, Entity] = {}
        self.revocations: dict[bytes, int] = {}
        self.aliases: dict[str, bytes] = {}
        self.refused: Counter[str] = Counter()

    def take(self, event: Event) -> None:
        """Take in one event; what is not well formed, or not well signed, is counted and kept out."""
        try:
            if isinstance(event, Published):
                self._published(event.data, event.height, event.index, event.height)
            elif isinstance(event, Revocation):
                if self._run(
                    "INSERT OR IGNORE INTO revocations VALUES (?, ?)", (event.commitment, event.height)
                ).rowcount:
                    self.revocations[event.commitment] = event.height
            elif isinstance(event, Claimed):
                label = check_label(event.label.decode("ascii", "replace"))
                row = (label, event.target, event.height)
                if self._run("INSERT OR IGNORE INTO aliases VALUES (?, ?, ?)", row).rowcount:
                    self.aliases[label] = event.target
            elif isinstance(event, Anchored):
                row_of = (event.height, event.index, event.root, str(event.count))
                self._run("INSERT OR IGNORE INTO anchors VALUES (?, ?, ?, ?)", row_of)
        except WaveError as error:
            self.refused[error.code] += 1

    def _published(self, data: bytes, height: int, index: int, since: int) -> None:
        signed = decode_object(data)
        if signed.kind == ENTITY:
            entity = Entity.from_object(signed)
            entity.check()
            if self._add((signed.id, ENTITY, data, height, index, since, None)):
                self.entities[entity.id] = entity
                self._settle(entity, since)
            return
        thing = _read(signed)
        identity = thing.fields.giver
        giver = self._known.get(identity) or self.entities.get(identity)
        if giver is None:
            self._run("INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?)", (identity, data, height, index))
            return
        thing.check(giver.verify_key)
        self._add((signed.id, signed.kind, data, height, index, since, identity))

    def _add(self, row: tuple[bytes, str, bytes, int, int, int, bytes | None]) -> bool:
        sql = "INSERT OR IGNORE INTO objects (id, kind, data, height, idx, since, giver) VALUES (?, ?, ?, ?, ?, ?, ?)"
        return bool(self._run(sql, row).rowcount)

    def _settle(self, giver: Entity, since: int) -> None:
        """Look again at what waited for the record of ``giver``."""
        sql = "SELECT data, height, idx FROM waiting WHERE giver = ? ORDER BY height, idx"
        for data, height, index in self._run(sql, (giver.id,)).fetchall():
            try:
                self._published(data, height, index, since)
            except WaveError as error:
                self.refused[error.code] += 1
        self._run("DELETE FROM waiting WHERE giver = ?", (giver.id,))


def _read(signed: SignedObject) -> Dot | Name:
    """Return the DoT or name in ``signed``; WrongKind for what the registry does not keep."""
    return Name.from_object(signed) if signed.kind == NAME else Dot.from_object(signed)


def _hash(block: Block | None) -> bytes | None:
    return None if block is None else block.hash
