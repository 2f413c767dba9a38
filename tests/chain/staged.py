"""A chain in memory that says what tests let it say, and the people who say it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from wave.chain.client import Block
from wave.chain.contract import Anchored, Claimed, Event, Published, Revocation
from wave.chain.follower import Follower
from wave.codec import amend, record_bytes, sha256
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.entities.object import SignedObject
from wave.namespace.grant import right

NOW = 1_800_000_000
YEAR = 365 * 86_400


def draw_from(name: str) -> Callable[[int], bytes]:
    state = [sha256(name.encode())]

    def draw(size: int) -> bytes:
        state[0] = sha256(state[0])
        return state[0][:size]

    return draw


def entity(name: str) -> EntitySecret:
    return EntitySecret.create(draw_from(name), created=NOW, expires=NOW + YEAR)


ALICE, BOB = entity("alice"), entity("bob")
DOT = Dot.create(
    ALICE,
    receiver=BOB.id,
    namespace=ALICE.id,
    grants=(right(("publish",), "home/*"),),
    created=NOW,
    expires=NOW + YEAR,
)


def backwards() -> bytes:
    """The body of an entity that expires before it begins."""
    return record_bytes(amend(ALICE.entity.fields, expires=NOW, created=NOW))


def forged(giver: EntitySecret, dot: Dot = DOT) -> bytes:
    """The bytes of a DoT with the signature of somebody else."""
    signed = dot.to_object()
    return SignedObject(signed.kind, signed.body, giver.sign(signed.kind, signed.body)).to_bytes()


@dataclass
class Staged:
    """A chain in memory: ``say`` makes a block, ``fork`` forgets the newest ones."""

    salt: str = ""
    blocks: list[Block] = field(default_factory=list)
    said: list[list[Event]] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)
    on_events: Callable[[], None] = lambda: None
    faults: list[Callable[[list[Event]], list[Event]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.say()

    def say(self, *events: Callable[[int, int], Event] | bytes, time: int = 0) -> int:
        height = len(self.blocks)
        parent = self.blocks[-1].hash if self.blocks else bytes(32)
        block_hash = sha256(parent + self.salt.encode())
        self.blocks.append(Block(height, block_hash, parent, time or NOW + height))
        made = [
            Published(height, index, event) if isinstance(event, bytes) else event(height, index)
            for index, event in enumerate(events)
        ]
        self.said.append(made)
        return height

    def fork(self, height: int, salt: str) -> None:
        del self.blocks[height + 1 :], self.said[height + 1 :]
        self.salt = salt

    def head(self) -> Block:
        return self.blocks[-1]

    def block(self, number: int) -> Block | None:
        return self.blocks[number] if number < len(self.blocks) else None

    def events(self, from_height: int, to_height: int) -> Sequence[Event]:
        self.asked.append((from_height, to_height))
        found = [event for block in self.said[from_height : to_height + 1] for event in block]
        found = [replace(event, block_hash=self.blocks[event.height].hash) for event in found]
        self.on_events()
        return self.faults.pop()(found) if self.faults else found


def revoked(preimage: bytes) -> Callable[[int, int], Event]:
    return lambda height, index: Revocation(height, index, sha256(preimage))


def claimed(label: bytes, target: bytes) -> Callable[[int, int], Event]:
    return lambda height, index: Claimed(height, index, label, target)


def anchored(height: int, index: int) -> Event:
    return Anchored(height, index, b"r" * 32, 2**255)


def contents(follower: Follower) -> dict[str, list[tuple[object, ...]]]:
    """All rows of a replica but its checkpoints and counts, in an order that does not depend on how they came in."""
    run = follower._replica.database.execute
    tables = {
        "objects GROUP BY key": "id, signature, kind, body, min(height)",
        "revocations": "*",
        "aliases": "*",
        "anchors": "*",
        "batches": "*",
    }
    return {table: sorted(run(f"SELECT {columns} FROM {table}")) for table, columns in tables.items()}
