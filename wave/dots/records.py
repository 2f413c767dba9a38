"""Records of entities, held as the bytes they came in; parsed, and their signatures looked at, when first asked for."""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from wave.entities.entity import Entity, parse_entity
from wave.entities.keys import SIGNATURE_BYTES
from wave.errors import WaveError
from wave.limits import LIMITS

_NOBODY: Final[Mapping[bytes, Entity]] = {}


def ignore(code: str) -> None:
    """Count nothing."""


class Records(Mapping[bytes, Entity]):
    """Records by id, none of them under a signature that does not verify; in front of those in ``behind``.

    An id is the hash of the record, and so certifies key, times and commitments without any signature: to check a DoT
    that an entity gave, nothing more is needed, and a proof's own records are held to nothing more. The record's own
    signature says that whoever holds its key made it. It is needed wherever an agent shows, names or serves a record,
    and is asked for everything else as well, so that one rule holds for all: a record that its key did not sign is as
    if it had never been published. Each signature is looked at once; ``refused`` is told the code of a bad one.

    May be asked from several threads. ``LIMITS.objects_parsed`` records are kept parsed, the rest as their bytes.
    """

    __slots__ = ("_behind", "_further", "_good", "_held", "_parsed", "_refused")

    def __init__(self, behind: Mapping[bytes, Entity] = _NOBODY, *, refused: Callable[[str], None] = ignore) -> None:
        """Begin with what is ``behind``."""
        self._behind = behind
        self._refused = refused
        self._held: dict[bytes, bytes] = {}  # signature and body
        self._further: dict[bytes, dict[bytes, None]] = {}  # the same record under other signatures, in order
        self._good: set[bytes] = set()
        self._parsed: dict[bytes, Entity] = {}

    def add(self, identity: bytes, body: bytes, signature: bytes) -> None:
        """Take in a record that parses and whose id (32 bytes) is known; its signature is not looked at."""
        raw = signature + body
        held = self._held.setdefault(identity, raw)
        if held != raw and identity not in self._good:
            self._further.setdefault(identity, {})[raw] = None

    def learn(self, entity: Entity) -> None:
        """Take in a record whose signature was checked."""
        self._held[entity.id] = entity.signature + entity.body
        self._good.add(entity.id)
        self._further.pop(entity.id, None)

    def __getitem__(self, identity: bytes) -> Entity:
        """Return a record; KeyError when it is not known, or not signed by its key."""
        entity = self._parsed.get(identity)
        if entity is None:
            raw = self._held.get(identity)
            entity = None if raw is None else self._read(identity, raw)
            if entity is None:
                return self._behind[identity]
        return entity

    def get(self, identity: bytes, default: Any = None) -> Any:
        """Return a record, or ``default``."""
        try:
            return self[identity]
        except KeyError:
            return default

    def _read(self, identity: bytes, raw: bytes | None) -> Entity | None:
        while raw is not None:
            entity = Entity(raw[SIGNATURE_BYTES:], raw[:SIGNATURE_BYTES])
            if identity in self._good or self._holds(entity):
                if identity not in self._good:
                    self.learn(entity)
                if len(self._parsed) >= LIMITS.objects_parsed:
                    self._parsed.clear()
                self._parsed[identity] = entity
                return entity
            further = self._further.get(identity, {})
            raw = next(iter(further), None)
            if raw is not None:
                del further[raw]
        self._held.pop(identity, None)
        self._further.pop(identity, None)
        return None

    def _holds(self, entity: Entity) -> bool:
        try:
            entity.check()
        except WaveError as error:
            self._refused(error.code)
            return False
        return True

    def carrying(self, commitments: AbstractSet[bytes]) -> Iterator[Entity]:
        """Yield the records that carry one of ``commitments``; the signatures of no others are looked at."""
        for identity, raw in tuple(self._held.items()):
            if not commitments.isdisjoint(parse_entity(raw[SIGNATURE_BYTES:]).commitments):
                entity = self.get(identity)
                if entity is not None:
                    yield entity
        if isinstance(self._behind, Records):
            yield from self._behind.carrying(commitments)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the ids of all records, every one looked at."""
        for identity in tuple(self._held):
            if identity in self:
                yield identity
        yield from (identity for identity in self._behind if identity not in self._held)

    def __len__(self) -> int:
        """Return how many records are held, those included that were not looked at yet."""
        return len(self._held) + len(self._behind) - sum(identity in self._behind for identity in self._held)
