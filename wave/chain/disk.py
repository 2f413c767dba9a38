"""One owner for each state, one SQLite file that survives kill -9, and what the disk says in our own errors."""

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wave.errors import ChainUnavailable, StateLocked, StateUnwritable

_POLL = 0.02  # seconds between two looks at a lock
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNWRITABLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
}


class FileLock:
    """Ownership of a state, held through a lock file by one process until it is closed or dies."""

    def __init__(self, path: Path, *, wait: float = 0.0) -> None:
        """Own what the lock file ``path`` stands for; StateLocked when another still does after ``wait`` seconds."""
        self.path = path
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(time.monotonic() + wait)
        except BaseException:
            os.close(self._fd)
            raise

    def _acquire(self, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise StateUnwritable(f"{self.path} cannot be locked: {error.strerror}") from None
            else:
                with suppress(OSError):  # a full disk takes the note away, not the lock
                    os.ftruncate(self._fd, 0)
                    os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
                return
            if time.monotonic() >= deadline:
                owner = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise StateLocked(f"{self.path.parent} is in use by another process (pid {owner})")
            time.sleep(_POLL)

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the file system or SQLite says about ``path`` into our own errors."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in _UNWRITABLE:
            raise StateUnwritable(f"{path} cannot be written: {error}") from None
        if code in _BUSY:
            raise StateLocked(f"{path} is in use by another process") from None
        if code in _DAMAGED:
            raise ChainUnavailable(
                f"{path} is damaged: {error}", hint="move it away; it is built anew, or restore it from a copy"
            ) from None
        raise
    except OSError as error:
        raise StateUnwritable(f"{path} cannot be written: {error.strerror or error}") from None


def open_database(path: Path, schema: str, *, flushed: bool = True) -> sqlite3.Connection:
    """Open the SQLite file at ``path`` with ``schema`` in it: autocommit, WAL, every commit flushed to the disk.

    With ``flushed`` false a commit survives the death of the process, and a loss of power may take back the newest
    ones, whole: for what can be built anew.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))  # its journals get the same mode
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(f"PRAGMA synchronous={'FULL' if flushed else 'NORMAL'}")
            database.executescript(schema)
        except BaseException:
            database.close()
            raise
    return database


@contextmanager
def transaction(database: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Do what stands inside wholly or not at all; the errors are those of :func:`disk_errors`."""
    with disk_errors(path):
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                with suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
            raise
