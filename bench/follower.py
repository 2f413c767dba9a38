"""The follower at a hundred thousand objects: from nothing, its memory, its restart; and an agent's knowledge of them.

Signatures are not looked at on the way in, which is what is measured, so these objects carry none that would verify.
Memory is the growth of the resident set of a process of its own, with the allocator's freed pages given back first.
"""

import ctypes
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from bench.figure import Figure
from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.settings import Settings
from wave.chain.contract import PUBLISHED, REGISTRY, Anchored, Event, Published
from wave.chain.endpoint import Endpoint
from wave.chain.follower import Chain as Followed
from wave.chain.follower import Follower
from wave.codec import amend, record_bytes, sha256
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.entities.object import DOT, ENTITY, SignedObject
from wave.errors import NotFound
from wave.namespace.grant import right

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")
OBJECTS: Final = 100_000
PEOPLE: Final = 10_000  # records among the objects; the others are DoTs
PER_BLOCK: Final = 100
BLOCKS_AT_A_TIME: Final = 100  # of a node's logs
BATCH: Final = 1_000
NOW: Final = 1_800_000_000
YEAR: Final = 365 * 86_400
MICROSECONDS: Final = 50.0  # an object: 20,000 a second
BYTES: Final = 1_000.0  # an object
RESTART: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Block:
    """What names a block."""

    number: int
    hash: bytes
    parent_hash: bytes
    time: int


class Chain:
    """A chain in memory that gives its events ready made: what is measured is the follower, not a node's JSON."""

    def __init__(self, said: Callable[[int], list[Event]], height: int) -> None:
        """Let ``said`` say what stands in each block up to ``height``."""
        self._said = said
        self._height = height

    def head(self) -> Block:
        """Return the newest block."""
        return self.block(self._height)

    def block(self, number: int) -> Block:
        """Return a block."""
        return Block(number, _hash(number), _hash(number - 1), NOW + number)

    def events(self, from_height: int, to_height: int) -> Sequence[Event]:
        """Return what was said."""
        return [event for height in range(from_height, to_height + 1) for event in self._said(height)]


class Node:
    """What a node answers about the same chain, its logs written down beforehand; it takes 100 blocks at a time."""

    def __init__(self, said: list[list[Event]]) -> None:
        """Write down the logs of every block."""
        self._logs = [b",".join(_log(event) for event in events) for events in said]

    def answer(self, request: bytes) -> bytes:
        """Answer a JSON-RPC request."""
        question = json.loads(request)
        result = b"null"
        if question["method"] == "eth_getLogs":
            first, last = (int(question["params"][0][edge], 16) for edge in ("fromBlock", "toBlock"))
            if last - first >= BLOCKS_AT_A_TIME:
                return b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32005,"message":"too many"}}' % question["id"]
            result = b"[%s]" % b",".join(filter(None, self._logs[first : last + 1]))
        else:
            asked = question["params"][0]
            height = len(self._logs) - 1 if asked == "latest" else int(asked, 16)
            result = json.dumps(
                {
                    "number": hex(height),
                    "hash": "0x" + _hash(height).hex(),
                    "parentHash": "0x" + _hash(height - 1).hex(),
                    "timestamp": hex(NOW + height),
                }
            ).encode()
        return b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (question["id"], result)


def _log(event: Event) -> bytes:
    """Return a publication as eth_getLogs has it."""
    if not isinstance(event, Published):
        raise TypeError("only publications are written down")
    data = event.data.ljust(-(-len(event.data) // 32) * 32, b"\0")
    return json.dumps(
        {
            "address": "0x" + REGISTRY.hex(),
            "topics": ["0x" + PUBLISHED],
            "data": "0x" + (32).to_bytes(32, "big").hex() + len(event.data).to_bytes(32, "big").hex() + data.hex(),
            "blockNumber": hex(event.height),
            "blockHash": "0x" + _hash(event.height).hex(),
            "transactionHash": "0x" + sha256(event.data).hex(),
            "transactionIndex": hex(event.index),
            "logIndex": hex(event.index),
            "removed": False,
        }
    ).encode()


def figures() -> Iterator[Figure]:
    """Yield the figures, each kind from a process of its own."""
    yield from _apart(_single)
    yield from _apart(_through_json)
    yield from _apart(_batched)
    yield from _apart(_known)


def _single(folder: Path) -> Iterator[Figure]:
    blocks = [_published(height) for height in range(OBJECTS // PER_BLOCK + 1)]
    chain = Chain(blocks.__getitem__, OBJECTS // PER_BLOCK)
    before = _resident()
    spent, follower = _seconds(lambda: _followed(chain, folder))
    grown = _resident() - before
    yield _rate("from nothing, an object in a transaction", spent, lambda: _followed(chain, folder / "again"))
    yield Figure("memory an object, from nothing", grown / OBJECTS, "B", BYTES, "resident set")
    follower.close()
    spent, follower = _seconds(lambda: Follower(chain, folder / "replica.sqlite"))
    yield Figure("restart at 100,000 objects", spent, "s", RESTART)
    if sum(follower.counts().values()) != OBJECTS:
        raise AssertionError("not every object came in")


def _through_json(folder: Path) -> Iterator[Figure]:
    node = Node([_published(height) for height in range(OBJECTS // PER_BLOCK + 1)])
    endpoint = Endpoint(node.answer, lambda: None, "a node", REGISTRY)
    spent, follower = _seconds(lambda: _followed(endpoint, folder))
    yield _rate("the same, out of a node's JSON", spent, lambda: _followed(endpoint, folder / "again"))
    if sum(follower.counts().values()) != OBJECTS:
        raise AssertionError("not every object came in")


def _batched(folder: Path) -> Iterator[Figure]:
    roots = [sha256(b"%d" % number) for number in range(OBJECTS // BATCH)]
    batches = [[_object(number * BATCH + one) for one in range(BATCH)] for number in range(len(roots))]
    chain = Chain(lambda height: [Anchored(height, 0, roots[height - 1], BATCH)] if height else [], len(roots))
    before = _resident()

    def follow(folder: Path = folder) -> Follower:
        follower = _followed(chain, folder)
        for root, batch in zip(roots, batches, strict=True):
            follower.ingest_batch(root, batch)
        return follower

    spent, follower = _seconds(follow)
    grown = _resident() - before
    yield _rate("from nothing, anchored a thousand at a time", spent, lambda: follow(folder / "again"))
    yield Figure("memory an object, anchored", grown / OBJECTS, "B", BYTES, "resident set")
    if sum(follower.counts().values()) != OBJECTS:
        raise AssertionError("not every object came in")


def _known(folder: Path) -> Iterator[Figure]:
    chain = Chain(_published, OBJECTS // PER_BLOCK)
    _followed(chain, folder).close()
    before = _resident()

    def asked() -> Engine:
        engine = Engine.open(Settings(folder), clock=lambda: NOW + chain.head().number)
        with suppress(NotFound):
            engine.call(wire.Resolve(name="nobody"))
        return engine

    spent, engine = _seconds(asked)
    yield Figure("restart of an agent, with its first answer", spent, "s", RESTART, "all of them learned")
    yield Figure(
        "memory an object, in an agent", (_resident() - before) / OBJECTS, "B", BYTES, "resident set, all of it"
    )
    if len(engine.knowledge.graph) != OBJECTS - PEOPLE:
        raise AssertionError("not every DoT is known")
    engine.close()


def _rate(name: str, spent: float, again: Callable[[], Follower]) -> Figure:
    """Return the better of two runs: what else happens on the machine can only make one longer."""
    start = time.process_time()
    other, follower = _seconds(again)
    busy = (time.process_time() - start) / OBJECTS * 1e6
    follower.close()
    best = min(spent, other)
    note = f"{OBJECTS / best:,.0f} objects/s; {busy:.0f} µs of processor time each"
    return Figure(name, best / OBJECTS * 1e6, "µs", MICROSECONDS, note)


def _followed(chain: Followed, folder: Path) -> Follower:
    follower = Follower(chain, folder / "replica.sqlite")
    follower.sync()
    return follower


def _seconds(action: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    made = action()
    return time.perf_counter() - start, made


# The objects -------------------------------------------------------------------------------------------------------


def _published(height: int) -> list[Event]:
    first = (height - 1) * PER_BLOCK
    return [Published(height, index, _object(first + index)) for index in range(PER_BLOCK)] if height else []


_MODEL: Final = EntitySecret.create(lambda size: sha256(b"model")[:size], created=NOW, expires=NOW + YEAR).entity
_DOT: Final = Dot.create(
    EntitySecret.create(lambda size: sha256(b"giver")[:size], created=NOW, expires=NOW + YEAR),
    receiver=_MODEL.id,
    namespace=_MODEL.id,
    grants=(right(("publish", "subscribe"), "building/floor/room/light/*"),),
    created=NOW,
    expires=NOW + YEAR,
)


def _person(number: int) -> bytes:
    """Return the body of a record."""
    return record_bytes(amend(_MODEL.fields, commitments=(sha256(b"person %d" % number),)))


def _object(number: int) -> bytes:
    """Return the bytes of an object: one record, then nine DoTs among the people there are, in twenty namespaces."""
    if number % (OBJECTS // PEOPLE) == 0:
        return SignedObject(ENTITY, _person(number), bytes(64)).to_bytes()
    group = number % 20
    giver, receiver = (sha256(b"%d %d" % (group, number * prime % (PEOPLE // 20))) for prime in (7, 13))
    body = record_bytes(
        amend(
            _DOT.fields,
            giver=giver,
            receiver=receiver,
            namespace=sha256(b"%d %d" % (group, 0)),
            commitments=(sha256(b"dot %d" % number),),
            grants=(right(("publish", "subscribe"), f"building{number % 1000}/floor/room{number % 7}/light/*"),),
        )
    )
    return SignedObject(DOT, body, bytes(64)).to_bytes()


def _hash(number: int) -> bytes:
    return sha256(b"block %d" % number)


# Processes ---------------------------------------------------------------------------------------------------------


def _apart(measure: Callable[[Path], Iterator[Figure]]) -> Iterator[Figure]:
    """Yield what is measured in a process that has done nothing else."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(measure, sender))
    process.start()
    sender.close()
    try:
        while True:
            yield receiver.recv()
    except EOFError:
        process.join()
    if process.exitcode:
        raise RuntimeError("a measurement failed")


def _send(measure: Callable[[Path], Iterator[Figure]], sender: "Connection[Figure, None]") -> None:
    with tempfile.TemporaryDirectory() as folder:
        for figure in measure(Path(folder)):
            sender.send(figure)
    sender.close()


def _resident() -> int:
    """Return the bytes of memory that this process holds, without what its allocator could give back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096
