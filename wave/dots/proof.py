"""Proofs: bundles of entity records and DoTs, with the paths that the DoTs form."""

from collections.abc import Iterable
from typing import Annotated, Self, TypeAlias

from wave.codec import VERSION, Format, Record, Signature, Version, armour, between, dearmour, sha256
from wave.dots.dot import Dot
from wave.entities.entity import Entity, EntityFields, entity_id, parse_entity
from wave.errors import Malformed, TooLarge, WrongKind
from wave.limits import LIMITS

LABEL = "PROOF"


_Part: TypeAlias = tuple[bytes, Signature]  # an object's body and its signature


class _ProofFields(Record, frozen=True):
    version: Version
    entities: Annotated[tuple[_Part, ...], between(0, LIMITS.entities_per_proof)]
    dots: Annotated[tuple[_Part, ...], between(0, LIMITS.dots_per_proof)]
    paths: Annotated[
        tuple[Annotated[tuple[int, ...], between(1, LIMITS.dots_per_path)], ...], between(0, LIMITS.paths_per_proof)
    ]


_STRAIGHT = tuple(range(LIMITS.dots_per_path))
_FORMAT = Format(_ProofFields, "proof", LIMITS.proof_bytes)


class Proof:
    """DoTs in one or more paths, each from a namespace to a subject, with the records of the entities on them.

    ``data`` are its bytes, ``paths`` the DoTs that each path leads along, ``records`` what it says of entities, by id:
    the hash of the record itself, so that it is about nobody else. A proof without a path is good for what needs none:
    the namespace's own acts.
    """

    __slots__ = ("_entities", "_id", "data", "paths", "records")

    def __init__(self, data: bytes) -> None:
        """Parse ``data`` strictly; :class:`TooLarge`, :class:`Malformed`. Nothing in it is believed yet."""
        fields = _FORMAT.decode(data)
        self.data = data
        self._id: bytes | None = None
        self._entities = fields.entities
        self.records: dict[bytes, EntityFields] = {}
        for body, _ in fields.entities:
            self.records[entity_id(body)] = parse_entity(body)
        dots = [Dot(body, signature) for body, signature in fields.dots]
        if len(fields.paths) == 1 and fields.paths[0] == _STRAIGHT[: len(dots)]:
            self.paths: tuple[tuple[Dot, ...], ...] = (tuple(dots),)
        else:
            self.paths = _led(fields.paths, dots)
        if len(self.records) != len(fields.entities) or (
            len(dots) > 1 and len({dot.body for dot in dots}) != len(dots)
        ):
            raise Malformed("a proof that holds an object twice")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the proof in ``data``; :class:`InputError` when it is not one."""
        return cls(data)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the proof in a block of text armour; :class:`InputError`."""
        label, data = dearmour(text)
        if label != LABEL:
            raise WrongKind(f"this is a {label.lower()}, not a proof")
        return cls(data)

    @classmethod
    def build(cls, paths: Iterable[tuple[Dot, ...]], entities: Iterable[Entity]) -> Self:
        """Return the proof made of these paths and records, each object once; :class:`TooLarge`, :class:`Malformed`."""
        kept = list(dict.fromkeys(path for path in paths if path))
        dots = list(dict.fromkeys(dot for path in kept for dot in path))
        index = {dot: position for position, dot in enumerate(dots)}
        fields = _ProofFields(
            VERSION,
            tuple((entity.body, entity.signature) for entity in dict.fromkeys(entities)),
            tuple((dot.body, dot.signature) for dot in dots),
            tuple(tuple(index[dot] for dot in path) for path in kept),
        )
        return cls(_FORMAT.encode(fields))

    @property
    def id(self) -> bytes:
        """SHA-256 of the proof's bytes, hashed when it is first asked for."""
        if self._id is None:
            self._id = sha256(self.data)
        return self._id

    @property
    def entities(self) -> dict[bytes, Entity]:
        """The entities whose ``records`` are in the proof, by id, made anew each time."""
        return {entity.id: entity for entity in [Entity(*part) for part in self._entities]}

    @property
    def dots(self) -> tuple[Dot, ...]:
        """Every DoT of the proof, once."""
        return tuple(dict.fromkeys(dot for path in self.paths for dot in path))

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return self.data

    def to_text(self) -> str:
        """Return the proof as text armour."""
        return armour(LABEL, self.data)


def _led(paths: tuple[tuple[int, ...], ...], dots: list[Dot]) -> tuple[tuple[Dot, ...], ...]:
    """Return the DoTs that ``paths`` lead along when they use all of ``dots``, in the order in which those stand."""
    if sum(map(len, paths)) > LIMITS.hops_per_proof:
        raise TooLarge(f"a proof whose paths have more than {LIMITS.hops_per_proof} hops together")
    used = 0
    for path in paths:
        for index in path:
            if index == used:
                used += 1
            elif not 0 <= index < used:
                raise Malformed("a proof whose DoTs do not stand in the order of their use")
    if used != len(dots):
        raise Malformed("a proof with DoTs that no path uses")
    return tuple([tuple(map(dots.__getitem__, path)) for path in paths])
