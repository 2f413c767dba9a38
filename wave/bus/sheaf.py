"""Sheaves: messages that one sender signs together, so that a busy sender signs, and its readers verify, once for many.

The signature is over the root of a Merkle tree (the shape of RFC 9162 §2.1.1) over the messages' ids, and each message
travels with its place under that root, so that it stands alone (Wong and Lam, 1998). A group key would be quicker and
would let every reader, and the router, speak as the sender.
"""

from collections.abc import MutableMapping, Sequence
from typing import Annotated, Final, TypeAlias

from wave.chain.batch import check_inclusion, leaf_hash, node_hash
from wave.codec import VERSION, Count, Id, Record, Version, between, record_bytes
from wave.entities import keys
from wave.entities.object import SHEAF, signing_input
from wave.errors import BadBatch, BadSignature
from wave.limits import LIMITS

_LEVELS: Final = LIMITS.sheaf_messages.bit_length()

KnownRoots: TypeAlias = MutableMapping[tuple[bytes, bytes, bytes, int], None]
"""Roots whose signature was good, by key, signature, root and count."""


class Sheaf(Record, frozen=True):
    """What is signed: the root over so many messages' ids."""

    version: Version
    root: Id
    count: Count


class Place(Record, frozen=True):
    """Where a message stands in its sheaf: the root, its index among so many, and the hashes that lead to the root."""

    root: Id
    index: Count
    count: Count
    path: Annotated[tuple[Id, ...], between(0, _LEVELS)]

    def check(self, leaf: bytes, key: bytes, signature: bytes, known: KnownRoots) -> None:
        """Raise :class:`BadSignature` unless ``leaf`` stands here and ``key`` signed the root."""
        try:
            check_inclusion(leaf, self.index, self.count, self.path, self.root)
        except BadBatch as error:
            raise BadSignature(f"the message is not in the sheaf that was signed: {error.message}") from None
        root = (key, signature, self.root, self.count)
        if root not in known:
            keys.verify(key, signing_input(SHEAF, sheaf_body(self.root, self.count)), signature)
            known[root] = None


def sheaf_body(root: bytes, count: int) -> bytes:
    """Return the body of the sheaf of that root over so many messages."""
    return record_bytes(Sheaf(VERSION, root, count))


def places(leaves: Sequence[bytes]) -> tuple[Place, ...]:
    """Return the place of each of the ``leaves`` (messages' ids) in their sheaf."""
    level = [leaf_hash(leaf) for leaf in leaves]
    levels = [level]
    while len(level) > 1:
        joined = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = joined + level[len(level) & ~1 :]
        levels.append(level)
    root, count = level[0], len(leaves)
    return tuple([Place(root, index, count, _path(levels, index)) for index in range(count)])


def _path(levels: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    path = []
    for level in levels[:-1]:
        beside = index ^ 1
        if beside < len(level):
            path.append(level[beside])
        index >>= 1
    return tuple(path)
