"""The log of decisions: a line of JSON each, chained by hashes, which anybody can verify without anything else.

Each line carries the hash of the one before, and a small file beside the log holds the number and the hash of the last.
So what is altered, left out, put in or cut off is noticed. Whoever can write both files can write both anew: note the
head elsewhere now and then (:attr:`DecisionLog.head`), and verify against it.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from wave.chain.disk import FileLock, disk_errors
from wave.errors import BadLog, MissingFile, UnknownDecision

_HEAD: Final = struct.Struct(">Q32s")
_NOTHING: Final = bytes(32)
_LONGEST: Final = 64 * 1024  # bytes of a line
_SHORT: Final = ("at", "code", "decision", "sender")  # what is written of a longer one


class Head(NamedTuple):
    """How many lines a log has, and the hash of the last (32 bytes)."""

    lines: int
    digest: bytes

    def __str__(self) -> str:
        """Return the head as one notes it: ``NUMBER:HASH``."""
        return f"{self.lines}:{self.digest.hex()}"


class DecisionLog:
    """A log that one process at a time adds to. ``write`` takes what a :class:`wave.guard.guard.Guard` records."""

    def __init__(self, path: Path) -> None:
        """Open or create it; :class:`BadLog` when its end is not its head's, :class:`StateLocked`."""
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        self._log = self._beside = -1
        try:
            with disk_errors(path):
                self._log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                self._beside = os.open(_head_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.head = self._continue()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See it on the disk, and close it."""
        for fd in (self._log, self._beside):
            if fd >= 0:
                os.fsync(fd)
                os.close(fd)
        self._log = self._beside = -1
        self._lock.close()

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add a line; :class:`StateUnwritable`, and then nothing is added."""
        line = _line(self.head, entry)
        if len(line) > _LONGEST:
            line = _line(self.head, {name: entry[name] for name in _SHORT if name in entry})
        with disk_errors(self.path):
            size = os.lseek(self._log, 0, os.SEEK_END)
            if os.write(self._log, line) != len(line):
                os.ftruncate(self._log, size)
                raise OSError(None, "the disk is full")
            self.head = Head(self.head.lines + 1, hashlib.sha256(line).digest())
            os.pwrite(self._beside, _HEAD.pack(*self.head), 0)

    def _continue(self) -> Head:
        """Return the head, after a process that may have been killed between a line and its head, or within a line."""
        head = _read_head(self.path)
        size = os.lseek(self._log, 0, os.SEEK_END)
        tail = os.pread(self._log, 2 * _LONGEST, max(0, size - 2 * _LONGEST))
        whole, newline, torn = tail.rpartition(b"\n")
        lines = (whole + newline).splitlines(keepends=True)[-2:]
        hashes = [_NOTHING] * (2 - len(lines)) + [hashlib.sha256(line).digest() for line in lines]
        if hashes[1] != head.digest:
            if hashes[0] != head.digest or not lines or _before(lines[-1]) != head.digest.hex():
                raise BadLog(
                    f"the end of {self.path} is not the one that was written last", hint="keep it, and begin another"
                )
            head = Head(head.lines + 1, hashes[1])
        if torn:
            os.ftruncate(self._log, size - len(torn))
        return head


def read_log(path: Path, *, head: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the decisions of a log, verified as they are read; :class:`BadLog`, :class:`MissingFile`.

    ``head`` is one that was noted elsewhere: the line of that number must be the one that was noted.
    """
    for _, entry in _verified(path, head):
        yield entry


def verify_log(path: Path, *, head: str | None = None) -> Head:
    """Return a log's head when nothing was altered, left out or cut off; raise as :func:`read_log` does."""
    found = Head(0, _NOTHING)
    for found, _ in _verified(path, head):  # noqa: B007 - the last one counts
        pass
    return found


def find_decision(path: Path, decision: str) -> dict[str, Any]:
    """Return the decision of that id; :class:`UnknownDecision`, :class:`BadLog`."""
    for entry in read_log(path):
        if entry.get("decision") == decision:
            return entry
    raise UnknownDecision(f"decision {decision[:60]!r} is not in {path}")


def _verified(path: Path, head: str | None) -> Iterator[tuple[Head, dict[str, Any]]]:
    noted = [_read_head(path)] if head is None else [_parse_head(head), _read_head(path)]
    found = Head(0, _NOTHING)
    with path.open("rb") as file:
        while line := file.readline(_LONGEST + 1):
            entry = _entry(line)
            number, before = found.lines + 1, found.digest.hex()
            if entry is None or entry.pop("number", None) != number or entry.pop("before", None) != before:
                raise BadLog(f"line {number} of {path} does not follow the one before it: one of them was altered")
            found = Head(number, hashlib.sha256(line).digest())
            if any(one.lines == number and one != found for one in noted):
                raise BadLog(f"line {number} of {path} is not the one that was noted")
            yield found, entry
    longest = max(one.lines for one in noted)
    if longest > found.lines:
        raise BadLog(f"{path} has {found.lines} lines, and had {longest}")


def _line(head: Head, entry: Mapping[str, Any]) -> bytes:
    line = {"number": head.lines + 1, "before": head.digest.hex(), **entry}
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return what a whole line holds, None for one that is none."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _before(line: bytes) -> object:
    entry = _entry(line)
    return None if entry is None else entry.get("before")


def _head_path(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def _read_head(path: Path) -> Head:
    try:
        data = _head_path(path).read_bytes()
    except FileNotFoundError:
        if path.exists():
            raise BadLog(f"the head of {path} is gone") from None
        raise MissingFile(f"there is no file {path}") from None
    if not data:
        return Head(0, _NOTHING)
    if len(data) != _HEAD.size:
        raise BadLog(f"the head of {path} was altered")
    return Head(*_HEAD.unpack(data))


def _parse_head(text: str) -> Head:
    lines, _, digest = text.partition(":")
    try:
        return Head(int(lines), bytes.fromhex(digest))
    except ValueError:
        raise BadLog("a head is written NUMBER:HASH") from None
