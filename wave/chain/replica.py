"""The replica: rows in SQLite that say what the registry said, moved on and taken back in whole transactions.

It can be built anew from the chain and the batches at any time. So a commit is not flushed to the disk on its own: a
loss of power may take the newest ones back, whole ones and in order, and they are taken in again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from wave.chain.contract import Anchored, Claimed, Event, Published, Revocation
from wave.chain.disk import FileLock, disk_errors, open_database, transaction
from wave.codec import Record, sha256
from wave.dots.dot import Dot
from wave.entities.entity import Entity
from wave.entities.object import DOT, ENTITY, NAME, ROUTE, SignedObject, decode_object
from wave.errors import BadTime, WaveError, WrongKind
from wave.namespace.name import Name, check_label
from wave.namespace.route import Route

CHECKPOINTS: Final = 1_024  # block hashes remembered besides the first one, the newest; LIMITS.reorg_blocks is less
_FORMAT: Final = 6  # of the file; a file of another format is built anew
_PAGE: Final = 1_000  # rows read at a time
_TOGETHER: Final = 256  # rows written at a time
_HALF: Final = 8  # bytes of an object's id, and of its signature's hash: together they are the key it is found by
_SETTINGS: Final = "PRAGMA cache_size = -8000; PRAGMA wal_autocheckpoint = 4000"  # 8 MB, and 16 MB of journal

_TABLES: Final = {
    "blocks": "height INTEGER PRIMARY KEY, hash BLOB NOT NULL, time INTEGER",
    "objects": "seq INTEGER PRIMARY KEY, key BLOB NOT NULL, id BLOB NOT NULL, signature BLOB NOT NULL,"
    " kind TEXT NOT NULL, body BLOB NOT NULL, height INTEGER NOT NULL, idx INTEGER NOT NULL, number INTEGER NOT NULL",
    "revocations": "commitment BLOB PRIMARY KEY, height INTEGER NOT NULL, idx INTEGER NOT NULL",
    "aliases": "label TEXT PRIMARY KEY, target BLOB NOT NULL, height INTEGER NOT NULL, idx INTEGER NOT NULL",
    "anchors": "height INTEGER, idx INTEGER, root BLOB NOT NULL, count TEXT NOT NULL, PRIMARY KEY (height, idx)",
    "batches": "root BLOB PRIMARY KEY, height INTEGER NOT NULL",
    "refused": "code TEXT PRIMARY KEY, count INTEGER NOT NULL",
    "unwound": "turn INTEGER PRIMARY KEY, height INTEGER NOT NULL",
    "epoch": "name TEXT NOT NULL, seq INTEGER NOT NULL",
}
_CLUSTERED: Final = ("revocations", "aliases", "anchors", "batches", "refused")
_SCHEMA: Final = (
    *(
        f"CREATE TABLE IF NOT EXISTS {name} ({columns}){' WITHOUT ROWID' if name in _CLUSTERED else ''}"
        for name, columns in _TABLES.items()
    ),
    "CREATE INDEX IF NOT EXISTS revocations_by_height ON revocations (height)",
    "CREATE INDEX IF NOT EXISTS objects_by_key ON objects (key)",
    "CREATE INDEX IF NOT EXISTS objects_that_are_entities ON objects (height) WHERE kind = 'entity'",
    "INSERT INTO epoch VALUES (lower(hex(randomblob(4))), 0)",
)
_ENTRY: Final = "SELECT seq, id, kind, body, signature, height, idx, number FROM objects"
_INSERT: Final = "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

Row = tuple[bytes, bytes, str, bytes, int, int, int]
"""Id, signature, kind, body, height, index and number of a published object; the number is its place in its batch."""


class Entry(Record, frozen=True):
    """An object that was published and that parses; nobody has looked at its signature.

    ``seq`` grows in the order of acceptance, with gaps, and is never used twice. An object stands here once for each
    signature under which it was published: the id does not cover the signature, so a false one must not keep the true
    one out. It stands here once more when a batch that came late brings it to an earlier height. ``number`` is its
    place in its batch.
    """

    seq: int
    id: bytes
    kind: str
    body: bytes
    signature: bytes
    height: int
    index: int
    number: int = 0

    @property
    def data(self) -> bytes:
        """The bytes that were published."""
        return self.object.to_bytes()

    @property
    def object(self) -> SignedObject:
        """The object itself."""
        return SignedObject(self.kind, self.body, self.signature)


@dataclass(slots=True)
class Step:
    """What some events say, on its way in."""

    revocations: list[tuple[bytes, int, int]] = field(default_factory=list)
    aliases: list[tuple[str, bytes, int, int]] = field(default_factory=list)
    anchors: list[tuple[int, int, bytes, str]] = field(default_factory=list)
    entities: list[Row] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def batch(self, objects: Sequence[bytes], height: int, index: int) -> Iterator[Row]:
        """Yield the objects of a batch that is anchored there; what does not parse is counted and kept out."""
        for number, data in enumerate(objects):
            try:
                row = read_published(data, height, index, number)
            except WaveError as error:
                self.refused[error.code] += 1
                continue
            if row[2] == ENTITY:
                self.entities.append(row)
            yield row

    def rows(self, events: Iterable[Event]) -> Iterator[Row]:
        """Yield the objects among ``events`` and remember the rest; what does not parse is counted and kept out."""
        for event in events:
            try:
                if isinstance(event, Published):
                    row = read_published(event.data, event.height, event.index)
                    if row[2] == ENTITY:
                        self.entities.append(row)
                    yield row
                elif isinstance(event, Revocation):
                    self.revocations.append((event.commitment, event.height, event.index))
                elif isinstance(event, Claimed):
                    label = check_label(event.label.decode("ascii", "replace"))
                    self.aliases.append((label, event.target, event.height, event.index))
                elif isinstance(event, Anchored):
                    self.anchors.append((event.height, event.index, event.root, str(event.count)))
            except WaveError as error:
                self.refused[error.code] += 1


def read_published(data: bytes, height: int, index: int, number: int = 0) -> Row:
    """Return the row of an object of ``data``, parsed strictly, its signature not looked at; :class:`InputError`."""
    signed = decode_object(data)
    kind, body, signature = signed.kind, signed.body, signed.signature
    if kind == DOT:
        return Dot(body, signature).id, signature, kind, body, height, index, number
    if kind == NAME:
        return Name(body, signature).id, signature, kind, body, height, index, number
    if kind == ROUTE:
        return Route(body, signature).id, signature, kind, body, height, index, number
    if kind != ENTITY:
        raise WrongKind(f"objects of kind {kind!r} are not published by themselves")
    entity = Entity(body, signature)
    if entity.created >= entity.expires:
        raise BadTime("the entity expires before it begins")
    return entity.id, signature, kind, body, height, index, number


class Replica:
    """One SQLite file and its lock. Every method is one read, or one transaction."""

    def __init__(self, path: Path, *, wait: float) -> None:
        """Open or create the file; StateLocked after ``wait`` seconds, StateUnwritable."""
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"), wait=wait)
        try:
            self.database = open_database(path, _SETTINGS, flushed=False)
            try:
                self._check_format()
            except BaseException:
                self.database.close()
                raise
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.database.close()
        self._lock.close()

    def _check_format(self) -> None:
        if self._all("PRAGMA user_version") == [(_FORMAT,)]:
            return
        with transaction(self.database, self.path):
            run = self.database.execute
            tables = run("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            for (table,) in tables.fetchall():
                run(f'DROP TABLE "{table}"')
            for statement in _SCHEMA:
                run(statement)
            run(f"PRAGMA user_version = {_FORMAT}")

    # Reading -------------------------------------------------------------------------------------------------------

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with disk_errors(self.path):
            return self.database.execute(sql, values).fetchall()

    def head(self) -> tuple[int, bytes, int]:
        """Return height, hash and time of the last block taken in; -1, zeros and 0 before the first."""
        rows = self._all("SELECT height, hash, time FROM blocks ORDER BY height DESC LIMIT 1")
        return (rows[0][0], rows[0][1], rows[0][2]) if rows else (-1, bytes(32), 0)

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """Return the blocks remembered, the newest first."""
        return [
            (height, block_hash)
            for height, block_hash in self._all("SELECT height, hash FROM blocks ORDER BY height DESC")
        ]

    def times(self) -> dict[int, int]:
        """Return the times of the blocks remembered, by height."""
        return dict(self._all("SELECT height, time FROM blocks WHERE time IS NOT NULL"))

    def checkpoint(self, at_most: int) -> tuple[int, bytes] | None:
        """Return the newest block remembered that is not above a height."""
        rows = self._all("SELECT height, hash FROM blocks WHERE height <= ? ORDER BY height DESC LIMIT 1", at_most)
        return (rows[0][0], rows[0][1]) if rows else None

    def entries(self, kind: str | None, after: int) -> Iterator[Entry]:
        """Yield the objects (of one kind) above ``after``, in the order of ``seq``."""
        chosen = "" if kind is None else " AND kind = ?"
        more = () if kind is None else (kind,)
        while rows := self._all(f"{_ENTRY} WHERE seq > ?{chosen} ORDER BY seq LIMIT {_PAGE}", after, *more):
            for row in rows:
                yield Entry(*row)
            after = rows[-1][0]

    def variants(self, identity: bytes) -> list[Entry]:
        """Return the object of that id, once under each signature, in the order of the chain."""
        found: dict[bytes, Entry] = {}
        for entry in self.appearances(identity):
            found.setdefault(entry.signature, entry)
        return list(found.values())

    def appearances(self, identity: bytes) -> list[Entry]:
        """Return the object of that id wherever it stands, in the order of the chain."""
        first = identity[:_HALF]
        found = self._all(
            f"{_ENTRY} WHERE key BETWEEN ? AND ? AND id = ? ORDER BY height, idx, seq",
            first,
            first + b"\xff" * _HALF,
            identity,
        )
        return [Entry(*row) for row in found]

    def records(self) -> list[tuple[bytes, bytes, bytes, int]]:
        """Return every entity: id, body, signature, height; in the order of the chain."""
        return self._all(
            "SELECT id, body, signature, height FROM objects WHERE kind = 'entity' ORDER BY height, idx, seq"
        )

    def revocations(self, after: int) -> list[tuple[bytes, int, int]]:
        """Return commitment, height and index of what was revoked above a height."""
        return self._all("SELECT commitment, height, idx FROM revocations WHERE height > ?", after)

    def aliases(self, after: int) -> list[tuple[str, bytes, int, int]]:
        """Return label, target, height and index of the names claimed above a height."""
        return self._all("SELECT label, target, height, idx FROM aliases WHERE height > ?", after)

    def anchors(self, *, missing: bool) -> list[Anchored]:
        """Return the anchored roots in order; or the first anchor of each whose batch was not taken in."""
        if missing:
            of = "min(height), idx, root, count FROM anchors WHERE root NOT IN (SELECT root FROM batches) GROUP BY root"
        else:
            of = "height, idx, root, count FROM anchors"
        rows = self._all(f"SELECT {of} ORDER BY 1, 2")
        return [Anchored(height, index, root, int(count)) for height, index, root, count in rows]

    def counts(self) -> dict[str, int]:
        """Return how many objects are held, by kind."""
        return dict(self._all("SELECT kind, count(DISTINCT key) FROM objects GROUP BY kind"))

    def refused(self) -> Counter[str]:
        """Return how many published things were kept out, by error code."""
        return Counter(dict(self._all("SELECT code, count FROM refused")))

    def epoch(self) -> str:
        """Return what tells this replica from one that was built before or after it."""
        return str(self._all("SELECT name FROM epoch")[0][0])

    def unwound(self) -> list[int]:
        """Return the height gone back to, each time that the chain changed."""
        return [height for (height,) in self._all("SELECT height FROM unwound ORDER BY turn")]

    # Writing -------------------------------------------------------------------------------------------------------

    def take_in(self, events: Sequence[Event], blocks: Sequence[tuple[int, bytes, int | None]]) -> Step:
        """Take in what was said up to the last of ``blocks`` (height, hash, time if it is known): all or nothing."""
        step = Step()
        with transaction(self.database, self.path):
            many = self.database.executemany
            self._put(step.rows(events))
            many("INSERT OR IGNORE INTO revocations VALUES (?, ?, ?)", step.revocations)
            many("INSERT OR IGNORE INTO aliases VALUES (?, ?, ?, ?)", step.aliases)
            many("INSERT OR IGNORE INTO anchors VALUES (?, ?, ?, ?)", step.anchors)
            many("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)", blocks)
            self.database.execute(
                "DELETE FROM blocks WHERE height > 0 AND height <="
                " (SELECT height FROM blocks ORDER BY height DESC LIMIT 1 OFFSET ?)",
                (CHECKPOINTS,),
            )
            self._count(step.refused)
        return step

    def take_in_batch(self, root: bytes, objects: Sequence[bytes]) -> tuple[Step, int] | None:
        """Take in the objects under an anchored root, at its first anchor; return also how many rows that added.

        None when there is no such anchor, or its batch was taken in already.
        """
        step = Step()
        with transaction(self.database, self.path):
            run = self.database.execute
            anchor = run(
                "SELECT height, idx FROM anchors WHERE root = ? AND root NOT IN (SELECT root FROM batches)"
                " ORDER BY height, idx LIMIT 1",
                (root,),
            ).fetchone()
            if anchor is None:
                return None
            height, index = anchor
            new = self._put(step.batch(objects, height, index))
            run("INSERT INTO batches VALUES (?, ?)", (root, height))
            self._count(step.refused)
        return step, new

    def _put(self, rows: Iterable[Row]) -> int:
        """Insert objects and return how many; one that stands at its height or earlier already is left out."""
        run, many = self.database.execute, self.database.executemany
        last: int = run("SELECT seq FROM epoch").fetchone()[0]
        seq, rest = last, iter(rows)
        while some := [(row[0][:_HALF] + sha256(row[1])[:_HALF], row) for row in islice(rest, _TOGETHER)]:
            stands: dict[bytes, int] = {}
            marks = ",".join("?" * len(some))
            known = f"SELECT id, signature, height FROM objects WHERE key IN ({marks})"  # noqa: S608 - question marks
            for identity, signature, height in run(known, [key for key, _ in some]):
                name = identity + signature
                stands[name] = min(height, stands.get(name, height))
            fresh = []
            for key, row in some:
                name, height = row[0] + row[1], row[4]
                if name not in stands or height < stands[name]:
                    stands[name] = height
                    seq += 1
                    fresh.append((seq, key, *row))
            many(_INSERT, fresh)
        if seq != last:
            run("UPDATE epoch SET seq = ?", (seq,))
        return seq - last

    def _count(self, refused: Counter[str]) -> None:
        self.database.executemany(
            "INSERT INTO refused VALUES (?, ?) ON CONFLICT (code) DO UPDATE SET count = count + excluded.count",
            refused.items(),
        )

    def unwind(self, height: int, time: int) -> None:
        """Forget what stands above a height, whose block has this time.

        An object that stands below as well counts from there as if it came now: who heard of it, heard of the other.
        """
        with transaction(self.database, self.path):
            run = self.database.execute
            again = run(
                "DELETE FROM objects WHERE height <= ?1"
                " AND EXISTS (SELECT 1 FROM objects AS above WHERE above.key = objects.key AND above.id = objects.id"
                " AND above.signature = objects.signature AND above.height > ?1)"
                " RETURNING id, signature, kind, body, height, idx, number",
                (height,),
            ).fetchall()
            for table in ("blocks", "objects", "revocations", "aliases", "anchors", "batches"):
                run(f"DELETE FROM {table} WHERE height > ?", (height,))  # noqa: S608 - names of tables
            self._put(again)
            run("UPDATE blocks SET time = ? WHERE height = ?", (time, height))
            run("INSERT INTO unwound (height) VALUES (?)", (height,))

    def flush(self) -> None:
        """Have everything taken in so far survive a loss of power."""
        self._all("PRAGMA wal_checkpoint(PASSIVE)")
