"""Marks: for each sender the newest second in which a message was made that this receiver accepted, kept on the disk.

A mark is written before its message is acted on, so that a process that was killed in between takes the message in its
next life as seen. One small write for each sender and second; nothing is written for further messages of that second.
"""

import os
import struct
from pathlib import Path
from typing import Final

from wave.chain.disk import FileLock, disk_errors
from wave.limits import LIMITS

_RECORD: Final = struct.Struct(">32sQ")
_SYNC: Final = 10  # seconds of marks that a loss of power may take: a machine needs about as long to start again


class Marks:
    """A file of marks, of which one process at a time is the owner.

    What is written is with the operating system at once (the death of the process takes nothing), and on the disk
    every ten seconds. Receivers in one process may share it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or create it; :class:`StateLocked`, :class:`StateUnwritable`."""
        self._path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        self._fd = -1
        self._size = 0
        self._synced = 0
        try:
            with disk_errors(path):
                self._earlier = _read(path)
                self._marks = dict(self._earlier)
                self._rewrite()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._lock.close()

    def earlier(self, sender: bytes) -> int:
        """Return the mark that a sender had when the file was opened; -1 without one."""
        return self._earlier.get(sender, -1)

    def note(self, sender: bytes, created: int) -> None:
        """Write that a message made at ``created`` is accepted, if none so new was; :class:`StateUnwritable`."""
        if created <= self._marks.get(sender, -1):
            return
        with disk_errors(self._path):
            if self._size + _RECORD.size > LIMITS.marks_bytes:
                self._rewrite(newest=created)
            data = _RECORD.pack(sender, created)
            try:
                _write(self._fd, data)
            except OSError:
                os.ftruncate(self._fd, self._size)
                raise
            self._size += len(data)
            if created >= self._synced + _SYNC:
                os.fdatasync(self._fd)
                self._synced = created
        self._marks[sender] = created

    def _rewrite(self, newest: int = 0) -> None:
        """Write the file anew, without what no message can be as old as."""
        oldest = newest - LIMITS.message_lifetime - LIMITS.clock_skew
        marks = {sender: created for sender, created in self._marks.items() if created >= oldest}
        data = b"".join([_RECORD.pack(sender, created) for sender, created in marks.items()])
        beside = self._path.with_name(self._path.name + ".new")
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, data)
            os.fsync(fd)
            beside.replace(self._path)
        except BaseException:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._marks = marks
        self._size = len(data)
        self._synced = newest


def _write(fd: int, data: bytes) -> None:
    """Write all of it, or raise."""
    if os.write(fd, data) != len(data):
        raise OSError(None, "the disk is full")


def _read(path: Path) -> dict[bytes, int]:
    """Return the marks in a file; a last one that was cut short was never acted on."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    marks: dict[bytes, int] = {}
    for sender, created in _RECORD.iter_unpack(data[: len(data) - len(data) % _RECORD.size]):
        marks[sender] = max(created, marks.get(sender, -1))
    return marks
