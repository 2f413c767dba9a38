"""Batches by their root: the directory that holds them, the sources that others' come from, and what is withheld.

Whatever a source hands over is checked against the anchored root and count before it is kept, so a source need not be
trusted; it can only be silent, and then its neighbour is asked. Fetching has a thread of its own, so that no source,
however slow, keeps a revocation waiting.
"""

import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from wave.chain.batch import SUFFIX, Batch, file_name, parse_root
from wave.chain.contract import Anchored
from wave.entities.keyring import read_file, write_file
from wave.errors import AlreadyExists, BadSetting, InputError, MissingFile, StateUnwritable, TooLarge, WaveError
from wave.limits import LIMITS

_log = logging.getLogger(__name__)

SERVED_AT: Final = "/v1/batches/"
FIRST_PAUSE: Final = 1.0  # seconds until a root that could not be had is asked for again; doubled each time
LONGEST_PAUSE: Final = 300.0
SOURCE_REST: Final = 5.0  # seconds for which a source that does not answer is left alone
_IN_MEMORY: Final = 4  # batches
_CHUNK: Final = 65_536


class Batches:
    """A directory of batches, one file each, named ``<root>.batch``: any static web server may serve it.

    The last few that were kept are in memory too, until they are read: a batch is under its root, whoever holds it.
    """

    def __init__(self, directory: Path) -> None:
        """Use ``directory``, which need not exist until something is kept."""
        self.directory = directory
        self._kept: dict[bytes, Batch] = {}
        self._turn = threading.Lock()

    def keep(self, batch: Batch) -> None:
        """Write a batch, whole or not at all, and see it on the disk; :class:`StateUnwritable`."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateUnwritable(f"cannot create {self.directory}: {error.strerror}") from None
        try:
            write_file(self.directory / batch.name, batch.to_bytes())
        except AlreadyExists:
            return
        with self._turn:
            self._kept[batch.root] = batch
            if len(self._kept) > _IN_MEMORY:
                del self._kept[next(iter(self._kept))]

    def read(self, root: bytes) -> Batch | None:
        """Return the batch of that root, None when it is not here; a damaged file is removed."""
        with self._turn:
            kept = self._kept.pop(root, None)
        if kept is not None:
            return kept
        path = self.directory / file_name(root)
        try:
            return Batch.from_bytes(read_file(path, bound=LIMITS.batch_bytes), expected=root)
        except MissingFile:
            return None
        except InputError as error:
            _log.warning("%s is damaged and removed: %s", path, error.message)
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None

    def __contains__(self, root: bytes) -> bool:
        """Tell whether there is a file for that root; nobody has looked into it."""
        return (self.directory / file_name(root)).exists()

    def roots(self) -> Iterator[bytes]:
        """Yield the roots of the batches that are here, in order of their names."""
        if self.directory.is_dir():
            for path in sorted(self.directory.glob(f"*{SUFFIX}")):
                root = parse_root(path.name)
                if root is not None:
                    yield root

    def export(self, directory: Path) -> int:
        """Copy every batch that is not there yet to ``directory``; return how many those were."""
        there = Batches(directory)
        copied = 0
        for root in self.roots():
            if root not in there and (batch := self.read(root)) is not None:
                there.keep(batch)
                copied += 1
        return copied


# Sources -----------------------------------------------------------------------------------------------------------


class SourceSilent(Exception):
    """A source that did not answer, or answered what no source does."""


class Source(Protocol):
    """Somewhere batches may be had; ``name`` shows no secret."""

    @property
    def name(self) -> str: ...

    def fetch(self, root: bytes, seconds: float) -> bytes | None:
        """Return what it says the batch of ``root`` is, unchecked; None when it has none. :class:`SourceSilent`."""
        ...


def source(text: str, *, home: Path) -> Source:
    """Return the source that ``text`` names: an http(s) base URL, an agent's socket or a directory.

    A path that is not absolute begins at ``home``. :class:`BadSetting`.
    """
    if "://" in text:
        return _Web(text)
    path = home / text.removeprefix("unix:")
    return _Agent(path) if text.startswith("unix:") or path.is_socket() or path.suffix == ".sock" else _Directory(path)


class _Directory:
    """A directory of batches: a mirror, a shared disk, another home's."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def fetch(self, root: bytes, seconds: float) -> bytes | None:  # noqa: ARG002 - a disk is as quick as it is
        try:
            return read_file(self._path / file_name(root), bound=LIMITS.batch_bytes)
        except MissingFile:
            return None
        except TooLarge as error:
            raise SourceSilent(error.message) from None


class _Web:
    """A web server: a static mirror at any base URL, or an agent at one without a path."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts, self._host, self._port = urlsplit(""), "", None
        if parts.scheme not in ("http", "https") or not self._host or parts.query or parts.fragment or parts.username:
            raise BadSetting(
                "that is no source of batches", hint="name a directory, an agent's socket, or http(s)://HOST/PATH"
            )
        self.name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._secure = parts.scheme == "https"
        base = parts.path.rstrip("/")
        self._bases = (f"{base}/",) if base else ("/", SERVED_AT)

    def fetch(self, root: bytes, seconds: float) -> bytes | None:
        deadline = time.monotonic() + seconds
        for base in self._bases:
            connection: http.client.HTTPConnection
            left = max(0.1, deadline - time.monotonic())
            if self._secure:
                context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(self._host, self._port, timeout=left, context=context)
            else:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=left)
            found = _get(connection, base + file_name(root), left)
            if found is not None:
                return found
        return None


class _Agent:
    """Another agent, on its socket."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def fetch(self, root: bytes, seconds: float) -> bytes | None:
        return _get(_SocketConnection(self._path, seconds), SERVED_AT + file_name(root), seconds)


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _get(connection: http.client.HTTPConnection, path: str, seconds: float) -> bytes | None:
    """Return a body of at most ``Limits.batch_bytes``, None for 404; all within ``seconds``, however it drips."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        if connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    watch = threading.Timer(seconds, cut)
    watch.daemon = True
    watch.start()
    try:
        connection.request("GET", path, headers={"Accept": "application/octet-stream"})
        held = connection.sock  # the response takes it over, and the watch has to reach it
        response = connection.getresponse()
        connection.sock = connection.sock or held
        if response.status == 404:
            return None
        if response.status != 200:
            raise SourceSilent(f"HTTP {response.status}")
        body = bytearray()
        while chunk := response.read(_CHUNK):
            body += chunk
            if len(body) > LIMITS.batch_bytes:
                raise SourceSilent("more bytes than a batch has")
        if late.is_set():
            raise SourceSilent(f"not done within {seconds:.0f} s")
        return bytes(body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceSilent(str(error) or type(error).__name__) from None
    finally:
        watch.cancel()
        connection.close()


# Fetching ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Wanted:
    anchor: Anchored
    due: float = 0.0
    tries: int = 0


class Fetcher:
    """Fetches batches in the background and keeps them in ``batches``; for any thread.

    Roots that were never asked for come first, then those whose pause is over. A source that does not answer rests, so
    that it delays nothing; one that answers with other bytes is told apart from the root, which nobody can fake.
    """

    def __init__(self, batches: Batches, sources: Sequence[Source], *, seconds: float = LIMITS.batch_seconds) -> None:
        """Ask ``sources`` in their order, each for ``seconds`` at most; nothing runs until something is wanted."""
        self._batches = batches
        self._sources = sources
        self._seconds = seconds
        self._wanted: dict[bytes, _Wanted] = {}
        self._got: list[Anchored] = []
        self._resting: dict[str, float] = {}
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._closed = False
        self.arrived: Callable[[], None] = lambda: None
        """Called, on a thread of this one's, when something was fetched."""

    def want(self, anchors: Iterable[Anchored]) -> None:
        """Fetch these too."""
        with self._turn:
            for anchor in anchors:
                self._wanted.setdefault(anchor.root, _Wanted(anchor))
            if self._wanted and self._sources and self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
                self._thread.start()
            self._turn.notify_all()

    def forget(self) -> None:
        """Fetch nothing of what was wanted: the chain changed."""
        with self._turn:
            self._wanted.clear()
            self._got.clear()

    def got(self) -> list[Anchored]:
        """Return what was fetched since the last call; the bytes are in the directory."""
        with self._turn:
            found, self._got = self._got, []
            return found

    def missing(self) -> list[Anchored]:
        """Return what is wanted and was not to be had so far, the oldest anchor first."""
        with self._turn:
            found = [one.anchor for one in self._wanted.values()]
        return sorted(found, key=_by_place)

    def wait(self, seconds: float) -> None:
        """Wait until each wanted root was asked for once everywhere, for ``seconds`` at most."""
        with self._turn:
            if self._thread is not None:
                self._turn.wait_for(lambda: not self._busy and not self._untried(), timeout=seconds)

    def close(self) -> None:
        """Stop; a source that is being asked is left to itself."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def _untried(self) -> bool:
        return any(one.tries == 0 for one in self._wanted.values())

    def _work(self) -> None:
        while (one := self._next()) is not None:
            batch = self._fetch(one.anchor)
            with self._turn:
                self._busy = False
                one.tries += 1
                one.due = time.monotonic() + min(FIRST_PAUSE * 2.0 ** (min(one.tries, 20) - 1), LONGEST_PAUSE)
                arrived = batch is not None and self._wanted.pop(one.anchor.root, None) is not None
                if arrived:
                    self._got.append(one.anchor)
                self._turn.notify_all()
            if arrived:
                self.arrived()

    def _next(self) -> _Wanted | None:
        """Return what to fetch next, once it is due; None when closed."""
        with self._turn:
            while not self._closed:
                now = time.monotonic()
                due = [one for one in self._wanted.values() if one.due <= now]
                if due:
                    self._busy = True
                    return min(due, key=lambda one: (one.tries, one.due))
                soonest = min((one.due for one in self._wanted.values()), default=None)
                self._turn.wait(None if soonest is None else max(0.0, soonest - now))
            return None

    def _fetch(self, anchor: Anchored) -> Batch | None:
        """Return the batch from the first source that has it, checked and kept."""
        for place in self._sources:
            if self._resting.get(place.name, 0.0) > time.monotonic() or self._closed:
                continue
            try:
                data = place.fetch(anchor.root, self._seconds)
                if data is not None:
                    batch = Batch.from_bytes(data, expected=anchor.root)
                    self._batches.keep(batch)
                    return batch
            except SourceSilent as error:
                self._resting[place.name] = time.monotonic() + SOURCE_REST
                _log.warning("%s does not answer for batches: %s", place.name, error)
            except WaveError as error:
                _log.warning("%s has another batch %s: %s", place.name, anchor.root.hex()[:16], error.message)
        return None


def _by_place(anchor: Anchored) -> tuple[int, int]:
    return anchor.height, anchor.index


class Following(Protocol):
    """What batches are taken in by; :class:`wave.chain.follower.Follower` is one."""

    generation: int

    def anchors(self) -> list[Anchored]:
        """Return the anchored roots, in order."""
        ...

    def missing_batches(self) -> list[Anchored]:
        """Return the first anchor of each root whose batch was not taken in, or was taken back since."""
        ...

    def ingest_batch(self, root: bytes, objects: Sequence[bytes]) -> int:
        """Take in the objects of an anchored batch, whose root was checked; return how many were new."""
        ...


class Intake:
    """Brings the objects of anchored batches to a follower, as far as their bytes can be had."""

    def __init__(self, batches: Batches, sources: Sequence[Source], *, seconds: float = LIMITS.batch_seconds) -> None:
        """Look in ``batches`` first, then ask ``sources``."""
        self.batches = batches
        self.fetcher = Fetcher(batches, sources, seconds=seconds)
        self._asks = bool(sources)
        self._known: set[bytes] = set()
        self._miscounted: list[Anchored] = []
        self._generation = -1

    def close(self) -> None:
        """Stop fetching."""
        self.fetcher.close()

    def take_in(self, follower: Following, *, patience: float = 0.0) -> int:
        """Hand the follower what is here of what it lacks; have the rest fetched. Return how many objects were new.

        ``patience`` is how many seconds to wait for sources, when something is asked for the first time.
        """
        if self._generation != follower.generation:
            self._generation = follower.generation
            self._known.clear()
            self._miscounted.clear()
            self.fetcher.forget()
        new = self._hand_over(follower, self._look(follower))
        if patience and self._asks:
            self.fetcher.wait(patience)
        return new + self._hand_over(follower, self.fetcher.got())

    def take_fetched(self, follower: Following) -> int:
        """Hand the follower what was fetched since it was last asked; return how many objects were new."""
        return self._hand_over(follower, self.fetcher.got()) if self._generation == follower.generation else 0

    def _look(self, follower: Following) -> list[Anchored]:
        """Return the anchors whose batches are here; those that are not are asked for."""
        fresh = [anchor for anchor in follower.missing_batches() if anchor.root not in self._known]
        self._known.update(anchor.root for anchor in fresh)
        here = [anchor for anchor in fresh if anchor.root in self.batches]
        self.fetcher.want(anchor for anchor in fresh if anchor.root not in self.batches)
        return here

    def _hand_over(self, follower: Following, anchors: Iterable[Anchored]) -> int:
        new = 0
        for anchor in anchors:
            batch = self.batches.read(anchor.root)
            if batch is None:
                self.fetcher.want([anchor])
            elif len(batch) == anchor.count or _counts(follower, anchor.root, len(batch)):
                new += follower.ingest_batch(anchor.root, batch.objects)
            else:
                self._miscounted.append(anchor)
        return new

    def withheld(self) -> list[Anchored]:
        """Return the anchors whose objects nobody has handed out so far, or not as many, the oldest first."""
        return sorted([*self._miscounted, *self.fetcher.missing()], key=_by_place)


def _counts(follower: Following, root: bytes, count: int) -> bool:
    """Tell whether any anchor of this root says this count: whoever copies a root first may say a wrong one."""
    return any(anchor.root == root and anchor.count == count for anchor in follower.anchors())
