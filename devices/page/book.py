"""The book of decisions: what the logs of a home's actors say, and what was refused in the hearing of the page."""

import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from devices.log import Entry

KEPT: Final = 500  # entries
_CHUNK: Final = 1024 * 1024  # bytes read of a file at once
_LONGEST: Final = 64 * 1024
_FIELDS: Final = frozenset(field.name for field in fields(Entry))


class Book:
    """The newest entries of all decision logs in some directories, each once, and how to read on."""

    def __init__(self, directories: Iterable[Path]) -> None:
        """Read ``*.log`` in ``directories``, which may not exist yet, and one level below."""
        self._directories = tuple(directories)
        self._places: dict[Path, tuple[int, int]] = {}  # a file's inode, and how far it was read
        self._entries: OrderedDict[object, Entry] = OrderedDict()

    @property
    def entries(self) -> list[Entry]:
        """The entries, oldest first."""
        return sorted(self._entries.values(), key=lambda one: one.time)

    def add(self, entry: Entry) -> bool:
        """Take in an entry; False when it is known."""
        key: object = (entry.device, entry.decision) if entry.decision else entry
        if key in self._entries:
            return False
        self._entries[key] = entry
        while len(self._entries) > KEPT:
            self._entries.popitem(last=False)
        return True

    def read_on(self) -> list[Entry]:
        """Return what is new in the files; what cannot be read is left out."""
        found: list[Entry] = []
        for directory in self._directories:
            for path in sorted(directory.glob("*.log")):
                try:
                    found += [entry for entry in self._lines(path) if self.add(entry)]
                except OSError:
                    continue
        return sorted(found, key=lambda one: one.time)

    def _lines(self, path: Path) -> list[Entry]:
        status = path.stat()
        inode, place = self._places.get(path, (status.st_ino, 0))
        entries: list[Entry] = []
        if inode != status.st_ino or place > status.st_size:  # the log began anew, and this is the rest of the old one
            before = path.with_name(f"{path.name}.1")
            if before.is_file() and before.stat().st_ino == inode:
                entries += _read(before, place)[0]
            place = 0
        if place == 0 and status.st_size > _CHUNK:
            place = status.st_size - _CHUNK
        more, place = _read(path, place)
        self._places[path] = status.st_ino, place
        return entries + more


def _read(path: Path, place: int) -> tuple[list[Entry], int]:
    """Return the entries in whole lines from ``place`` on, and where the next begins."""
    with path.open("rb") as file:
        file.seek(place)
        data = file.read(_CHUNK)
    whole, _, rest = data.rpartition(b"\n")
    if not whole and len(rest) >= _LONGEST:
        return [], place + len(data)
    entries = [entry for line in whole.split(b"\n") if (entry := _entry(line)) is not None]
    return entries, place + len(data) - len(rest)


def _entry(line: bytes) -> Entry | None:
    """Return the entry in a line, or None for anything else."""
    if len(line) > _LONGEST:
        return None
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or set(value) != _FIELDS or not isinstance(value["path"], list):
        return None
    texts = ("device", "who", "name", "what", "resource", "code", "did")
    sound = (
        type(value["time"]) is int
        and type(value["allowed"]) is bool
        and all(isinstance(value[one], str) for one in texts)
        and isinstance(value["decision"], str | None)
        and all(isinstance(one, str) for one in value["path"])
    )
    return Entry(**{**value, "path": tuple(value["path"])}) if sound else None
