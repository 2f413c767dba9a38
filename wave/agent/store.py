"""What an agent keeps besides its replica: objects that are not published, and the log of decisions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wave.chain.disk import disk_errors, open_database, transaction
from wave.entities.object import SignedObject

DECISIONS_KEPT: Final = 10_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB UNIQUE NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS decisions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, explanation BLOB NOT NULL
);
"""


class Store:
    """One SQLite file; each change is on the disk when its call returns."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it; :class:`StateUnwritable`."""
        self._path = path
        self._database = open_database(path, _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def keep(self, objects: list[SignedObject]) -> None:
        """Keep objects, all or none of them; one that is kept already stays."""
        with transaction(self._database, self._path):
            self._database.executemany(
                "INSERT OR IGNORE INTO objects (id, kind, data) VALUES (?, ?, ?)",
                [(one.id, one.kind, one.to_bytes()) for one in objects],
            )

    def objects(self) -> Iterator[bytes]:
        """Yield the bytes of every object kept, in the order of keeping."""
        with disk_errors(self._path):
            rows = self._database.execute("SELECT data FROM objects ORDER BY seq").fetchall()
        for (data,) in rows:
            yield data

    def object(self, identity: bytes) -> bytes | None:
        """Return the bytes of an object that is kept, or None."""
        with disk_errors(self._path):
            row = self._database.execute("SELECT data FROM objects WHERE id = ?", (identity,)).fetchone()
        return None if row is None else bytes(row[0])

    def log_decision(self, identity: str, explanation: bytes) -> None:
        """Keep an explained decision; the oldest go when there are more than :data:`DECISIONS_KEPT`."""
        with transaction(self._database, self._path):
            self._database.execute(
                "INSERT OR IGNORE INTO decisions (id, explanation) VALUES (?, ?)", (identity, explanation)
            )
            self._database.execute(
                "DELETE FROM decisions WHERE seq <= (SELECT max(seq) FROM decisions) - ?", (DECISIONS_KEPT,)
            )

    def decision(self, identity: str) -> bytes | None:
        """Return an explained decision, or None when it is not in the log."""
        with disk_errors(self._path):
            row = self._database.execute("SELECT explanation FROM decisions WHERE id = ?", (identity,)).fetchone()
        return None if row is None else bytes(row[0])
