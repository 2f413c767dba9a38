"""What a router keeps: the last value and a bounded history of each resource, in one SQLite file, and replay marks."""

import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wave.bus.marks import Marks
from wave.chain.disk import disk_errors, open_database, transaction
from wave.errors import RouterFull
from wave.limits import LIMITS
from wave.namespace.pattern import ANY, ONE, Pattern, covers

_MEMORY: Final = Path(":memory:")
_SERIALS: Final = 10**12  # set aside for one life of a router
_SWEEP: Final = 256  # rows that make room at a time
_SWEEPS: Final = 8  # over all namespaces, for one message

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
  serial INTEGER PRIMARY KEY, namespace BLOB NOT NULL, resource TEXT NOT NULL, expires INTEGER NOT NULL,
  last INTEGER NOT NULL, message BLOB NOT NULL, proof BLOB
);
CREATE INDEX IF NOT EXISTS by_resource ON messages (namespace, resource, serial);
CREATE INDEX IF NOT EXISTS by_namespace ON messages (namespace, serial);
CREATE INDEX IF NOT EXISTS history ON messages (serial) WHERE last = 0;
CREATE INDEX IF NOT EXISTS own_history ON messages (namespace, serial) WHERE last = 0;
CREATE INDEX IF NOT EXISTS by_proof ON messages (proof) WHERE proof IS NOT NULL;
CREATE INDEX IF NOT EXISTS lasting ON messages (expires);
CREATE TABLE IF NOT EXISTS proofs (id BLOB PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS serials (one INTEGER PRIMARY KEY CHECK (one = 1), reserved INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that is kept: the router's number of it, where it belongs, its bytes, and its proof by id."""

    serial: int
    namespace: bytes
    resource: str
    expires: int
    message: bytes
    proof: bytes | None


class Store:
    """One SQLite file (WAL), owned by one process. What :meth:`keep` returned from outlives the death of the process.

    (A loss of power may take what :meth:`flush` did not reach.) A path of None keeps everything in memory.
    ``marks`` are the replay marks of whoever owns the store, beside it.
    """

    def __init__(self, path: Path | None) -> None:
        """Open the file, or create it; :class:`StateLocked`, :class:`StateUnwritable`."""
        self._path = _MEMORY if path is None else path
        self.marks = None if path is None else Marks(path.with_name(path.name + ".marks"))
        self._dirty = False
        try:
            if path is None:
                self._database = sqlite3.connect(":memory:", isolation_level=None)
                self._database.executescript(_SCHEMA)
            else:
                self._database = open_database(path, _SCHEMA, flushed=False)
            with disk_errors(self._path):
                counted = self._database.execute(
                    "SELECT namespace, count(*), sum(length(message)) FROM messages GROUP BY namespace"
                ).fetchall()
                (proven,) = self._database.execute("SELECT coalesce(sum(length(data)), 0) FROM proofs").fetchone()
        except BaseException:
            self._close_marks()
            raise
        self._rows = Counter({namespace: rows for namespace, rows, _ in counted})
        self._bytes: int = proven + sum(size for _, _, size in counted)

    def close(self) -> None:
        """Close the files."""
        self._database.close()
        self._close_marks()

    def _close_marks(self) -> None:
        if self.marks is not None:
            self.marks.close()

    def __len__(self) -> int:
        """How many messages are kept."""
        return self._rows.total()

    def first_serial(self, at_least: int) -> int:
        """Return a number above all that this or an earlier life of the router has given; some are set aside."""
        with transaction(self._database, self._path):
            row = self._database.execute("SELECT reserved FROM serials").fetchone()
            first = max(at_least, row[0] if row else 0)
            self._database.execute("INSERT OR REPLACE INTO serials VALUES (1, ?)", (first + _SERIALS,))
        return first

    def keep(self, messages: Sequence[Kept], proofs: dict[bytes, bytes], now: int) -> dict[int, RouterFull]:
        """Keep all that there is room for, in one transaction; return the others' serials with the reason.

        ``proofs`` are those that the messages name, by id. :class:`StateUnwritable`: nothing was kept.
        """
        refused: dict[int, RouterFull] = {}
        rows, size = self._rows.copy(), self._bytes
        try:
            with transaction(self._database, self._path):
                for message in messages:
                    try:
                        self._keep(message, proofs.get(message.proof) if message.proof else None, now)
                    except RouterFull as error:
                        refused[message.serial] = error
        except BaseException:
            self._rows, self._bytes = rows, size
            raise
        self._dirty = True
        return refused

    def flush(self) -> None:
        """Have what is kept written to the disk itself, if anything is new."""
        if self._dirty and self._path is not _MEMORY:
            self._dirty = False
            with disk_errors(self._path):
                fd = os.open(self._path.with_name(self._path.name + "-wal"), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fdatasync(fd)
                finally:
                    os.close(fd)

    # What is kept ---------------------------------------------------------------------------------------------------

    def newest(self, namespace: bytes, pattern: Pattern, last: int, now: int) -> Iterator[Kept]:
        """Yield the newest ``last`` living messages of each resource that ``pattern`` matches, older ones first."""
        for resource in self.listed(namespace, pattern, now):
            yield from reversed(
                self._select(
                    "namespace = ? AND resource = ? AND expires > ? ORDER BY serial DESC LIMIT ?",
                    (namespace, resource, now, last),
                )
            )

    def listed(self, namespace: bytes, pattern: Pattern, now: int) -> list[str]:
        """Return the resources that ``pattern`` matches and that hold a living message, in order."""
        low, high = _range(pattern)
        with disk_errors(self._path):
            rows = self._database.execute(
                "SELECT DISTINCT resource FROM messages WHERE namespace = ? AND resource >= ? AND resource < ?"
                " AND expires > ? ORDER BY resource",
                (namespace, low, high, now),
            )
            return [resource for (resource,) in rows if covers(pattern, resource)]

    def after(self, serial: int, before: int, namespaces: Collection[bytes], *, most: int) -> list[Kept]:
        """Return the first ``most`` messages of these namespaces with serials between the two, both left out."""
        marks = ",".join("?" * len(namespaces))
        return self._select(
            f"serial > ? AND serial < ? AND namespace IN ({marks}) ORDER BY serial LIMIT ?",
            (serial, before, *namespaces, most),
        )

    def proof(self, identity: bytes) -> bytes | None:
        """Return a proof that a kept message names."""
        with disk_errors(self._path):
            row = self._database.execute("SELECT data FROM proofs WHERE id = ?", (identity,)).fetchone()
        return None if row is None else bytes(row[0])

    def _select(self, where: str, values: tuple[object, ...]) -> list[Kept]:
        query = f"SELECT serial, namespace, resource, expires, message, proof FROM messages WHERE {where}"  # noqa: S608 - `where` stands in this file
        with disk_errors(self._path):
            return [Kept(*row) for row in self._database.execute(query, values)]

    # Making room ----------------------------------------------------------------------------------------------------

    def _keep(self, message: Kept, proof: bytes | None, now: int) -> None:
        where = (message.namespace, message.resource)
        known = self._database.execute(
            "SELECT 1 FROM messages WHERE namespace = ? AND resource = ? LIMIT 1", where
        ).fetchone()
        self._make_room(message, proof, now, replaces=known is not None)
        self._database.execute("UPDATE messages SET last = 0 WHERE namespace = ? AND resource = ? AND last = 1", where)
        self._database.execute(
            "INSERT INTO messages (serial, namespace, resource, expires, last, message, proof)"
            " VALUES (?, ?, ?, ?, 1, ?, ?)",
            (message.serial, *where, message.expires, message.message, message.proof),
        )
        self._count(message.namespace, 1, self._size(message, proof))
        if proof is not None:
            self._database.execute("INSERT OR IGNORE INTO proofs VALUES (?, ?)", (message.proof, proof))
        if known is not None:
            self._delete(
                "namespace = ? AND resource = ? AND serial <= (SELECT serial FROM messages"
                " WHERE namespace = ? AND resource = ? ORDER BY serial DESC LIMIT 1 OFFSET ?)",
                (*where, *where, LIMITS.kept_per_resource),
            )

    def _make_room(self, message: Kept, proof: bytes | None, now: int, *, replaces: bool) -> None:
        """Delete what expired and then the oldest history, when there is no room; :class:`RouterFull`.

        A last value is never deleted for another resource's, nor anything of another namespace's for a message that is
        refused all the same. One that replaces another is kept while the store's reserve of bytes lasts.
        """
        if self._fits(message, proof):
            return
        self._delete("expires <= ?", (now,))
        if not self._fits(message, proof):
            self._delete(
                "serial IN (SELECT serial FROM messages WHERE last = 0 AND namespace = ? ORDER BY serial LIMIT ?)",
                (message.namespace, _SWEEP),
            )
        if replaces and self._fits(message, proof, reserve=LIMITS.kept_reserve_bytes, rows=False):
            return
        if not self._fits(message, proof) and not (self._has_share(message) and self._take_history(message, proof)):
            raise RouterFull(f"{len(self)} messages are kept, and no more can be")

    def _take_history(self, message: Kept, proof: bytes | None) -> bool:
        """Delete the oldest history of all, as much as a message needs; nothing, and False, when that is not enough."""
        rows, size = self._rows.copy(), self._bytes
        self._database.execute("SAVEPOINT history")
        for _ in range(_SWEEPS):
            gone = self._delete(
                "serial IN (SELECT serial FROM messages WHERE last = 0 ORDER BY serial LIMIT ?)", (_SWEEP,)
            )
            if self._fits(message, proof):
                self._database.execute("RELEASE history")
                return True
            if not gone:
                break
        self._database.execute("ROLLBACK TO history")
        self._database.execute("RELEASE history")
        self._rows, self._bytes = rows, size
        return False

    def _has_share(self, message: Kept) -> bool:
        return self._rows[message.namespace] < LIMITS.kept_per_namespace

    def _fits(self, message: Kept, proof: bytes | None, *, reserve: int = 0, rows: bool = True) -> bool:
        """Tell whether there is room, with so many bytes in ``reserve``; ``rows`` says whether those are counted."""
        if rows and not (self._has_share(message) and len(self) < LIMITS.kept_messages):
            return False
        return self._bytes + self._size(message, proof) <= LIMITS.kept_bytes + reserve

    def _size(self, message: Kept, proof: bytes | None) -> int:
        """Return by how many bytes more is kept with a message, and with its proof unless that is here."""
        size = len(message.message)
        if proof is not None:
            known = self._database.execute("SELECT 1 FROM proofs WHERE id = ?", (message.proof,)).fetchone()
            size += 0 if known else len(proof)
        return size

    def _delete(self, where: str, values: tuple[object, ...]) -> int:
        """Delete messages, and the proofs that no other names; return how many messages."""
        query = f"DELETE FROM messages WHERE {where} RETURNING namespace, length(message), proof"  # noqa: S608 - `where` stands in this file
        gone = self._database.execute(query, values).fetchall()
        for namespace, size, _ in gone:
            self._count(namespace, -1, -size)
        for proof in {proof for _, _, proof in gone if proof is not None}:
            unnamed = self._database.execute(
                "DELETE FROM proofs WHERE id = ? AND NOT EXISTS (SELECT 1 FROM messages WHERE proof = ?)"
                " RETURNING length(data)",
                (proof, proof),
            ).fetchone()
            self._bytes -= unnamed[0] if unnamed else 0
        return len(gone)

    def _count(self, namespace: bytes, rows: int, size: int) -> None:
        self._rows[namespace] += rows
        if not self._rows[namespace]:
            del self._rows[namespace]
        self._bytes += size


def _range(pattern: Pattern) -> tuple[str, str]:
    """Return the range of texts in which all resources lie that a pattern matches."""
    cells: list[str] = []
    for cell in pattern.split("/"):
        if cell in (ONE, ANY):
            break
        cells.append(cell)
    head = "/".join(cells)
    if not head:
        return "", "\x7f"
    return head, head + "/\x7f"
