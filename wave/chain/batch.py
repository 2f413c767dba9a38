"""Batches: many objects under one Merkle root, which is all that the chain carries; the bytes travel elsewhere.

The tree has the shape of RFC 9162 §2.1.1 (Certificate Transparency): a leaf is SHA-256(0x00 ++ object bytes), a node
SHA-256(0x01 ++ left ++ right), and the left half is the largest power of two below the number of leaves. No leaf is
ever doubled, so a root together with a count stands for exactly one sequence of objects.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Self

from wave.codec import VERSION, Format, Record, Version, between
from wave.errors import BadBatch
from wave.limits import LIMITS

SUFFIX: Final = ".batch"
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
_ROOT_BYTES: Final = 32


class BatchFields(Record, frozen=True):
    """The form of a batch, in wire order."""

    version: Version
    objects: Annotated[tuple[Annotated[bytes, between(1, LIMITS.object_bytes)], ...], between(1, LIMITS.batch_objects)]


_FORMAT = Format(BatchFields, "batch", LIMITS.batch_bytes)


def leaf_hash(data: bytes) -> bytes:
    """Return the leaf (32 bytes) of one object's bytes."""
    return hashlib.sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the node (32 bytes) over two hashes."""
    return hashlib.sha256(_NODE + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle root (32 bytes) over objects' bytes; of none, SHA-256 of nothing."""
    return _root([leaf_hash(leaf) for leaf in leaves])


def _root(level: list[bytes]) -> bytes:
    """Return the root over leaves' hashes.

    Joining neighbours and carrying an odd last one up gives the shape of RFC 9162, without its recursion.
    """
    if not level:
        return hashlib.sha256().digest()
    while len(level) > 1:
        level = _joined(level)
    return level[0]


def _joined(level: list[bytes]) -> list[bytes]:
    paired = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return paired + level[len(level) & ~1 :]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the hashes that lead from the leaf at ``index`` to the root, the lowest first; :class:`BadBatch`."""
    if not 0 <= index < len(leaves):
        raise BadBatch(f"a batch of {len(leaves)} has no object {index}")
    level = [leaf_hash(leaf) for leaf in leaves]
    path: list[bytes] = []
    while len(level) > 1:
        beside = index ^ 1
        if beside < len(level):
            path.append(level[beside])
        level, index = _joined(level), index >> 1
    return tuple(path)


def check_inclusion(data: bytes, index: int, count: int, path: Sequence[bytes], expected: bytes) -> None:
    """Raise :class:`BadBatch` unless ``data`` is object ``index`` of the ``count`` under the root ``expected``.

    RFC 9162 §2.1.3.2. A path of the wrong length is refused, so that each object has one proof.
    """
    if not 0 <= index < count:
        raise BadBatch(f"a batch of {count} has no object {index}")
    found, last = leaf_hash(data), count - 1
    steps = iter(path)
    try:
        while last:
            if index & 1:
                found = node_hash(next(steps), found)
            elif index < last:
                found = node_hash(found, next(steps))
            index, last = index >> 1, last >> 1
    except StopIteration:
        raise BadBatch("an inclusion proof that is too short") from None
    if next(steps, None) is not None:
        raise BadBatch("an inclusion proof that is too long")
    if found != expected:
        raise BadBatch("the object is not under this root")


class Batch:
    """Objects in an order, and the root over them. ``Batch.build`` and ``Batch.from_bytes`` are the only ways in.

    ``objects`` are the objects' bytes, not looked into; ``root`` (32 bytes) is the batch's address.
    """

    __slots__ = ("_data", "objects", "root")

    def __init__(self, objects: tuple[bytes, ...], data: bytes) -> None:
        """Use :meth:`build` or :meth:`from_bytes`."""
        if len(set(objects)) != len(objects):
            raise BadBatch("a batch that holds an object twice")
        self.objects = objects
        self.root = root(objects)
        self._data = data

    @classmethod
    def build(cls, objects: Iterable[bytes]) -> Self:
        """Return the batch of these objects, in this order.

        :class:`TooLarge` or :class:`Malformed` beyond ``Limits.batch_objects`` or ``Limits.batch_bytes``, and for none
        at all; :class:`BadBatch` for an object that comes twice.
        """
        fields = BatchFields(VERSION, tuple(objects))
        return cls(fields.objects, _FORMAT.encode(fields))

    @classmethod
    def from_bytes(cls, data: bytes, *, expected: bytes | None = None, count: int | None = None) -> Self:
        """Return the batch that ``data`` holds; :class:`InputError`.

        With ``expected`` and ``count``, what an anchor says of it: :class:`BadBatch` when it is another batch.
        """
        batch = cls(_FORMAT.decode(data).objects, data)
        if expected is not None and batch.root != expected:
            raise BadBatch("a batch whose objects are not those under its root")
        if count is not None and len(batch.objects) != count:
            raise BadBatch(f"a batch of {len(batch.objects)} where {count} were anchored")
        return batch

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return self._data

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the proof that object ``index`` is in the batch; see :func:`check_inclusion`."""
        return inclusion_proof(self.objects, index)

    @property
    def name(self) -> str:
        """The name of its file: the root in hexadecimal and ``.batch``."""
        return file_name(self.root)

    def __len__(self) -> int:
        """Return how many objects it holds."""
        return len(self.objects)

    def __eq__(self, other: object) -> bool:
        """Batches are the same when their bytes are."""
        return isinstance(other, Batch) and other._data == self._data

    def __hash__(self) -> int:
        """Hash by root."""
        return hash(self.root)

    def __repr__(self) -> str:
        """Show the root and the count."""
        return f"Batch({self.root.hex()}: {len(self.objects)} objects)"


def file_name(batch_root: bytes) -> str:
    """Return the name of the file that holds the batch of that root."""
    return batch_root.hex() + SUFFIX


def parse_root(text: str) -> bytes | None:
    """Return the root that a batch's name stands for, with ``.batch`` or without; None when it is no such name."""
    digits = text.removesuffix(SUFFIX)
    if len(digits) != 2 * _ROOT_BYTES or not set(digits) <= set("0123456789abcdef"):
        return None
    return bytes.fromhex(digits)
