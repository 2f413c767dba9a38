"""What the registry's storage holds at a block, checked against the block's state root: presence, and absence too.

A Merkle-Patricia proof leads from the state root to the registry's account, whose code must be the registry's own, and
from the account's storage root to each slot (the answer of eth_getProof). Nobody who hands one over has to be trusted.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from eth_hash.auto import keccak

from wave.chain import contract, rlp
from wave.chain.rlp import Item
from wave.errors import BadStateProof, InputError
from wave.limits import LIMITS

EMPTY_ROOT: Final = keccak(rlp.encode(b""))
"""The root of a trie without entries."""

_KEY_NIBBLES: Final = 64
_NODES: Final = _KEY_NIBBLES + 1  # the longest way from a root to a value
_BRANCH, _PAIR = 17, 2  # items in the two kinds of nodes
_BYTES = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_WORD = re.compile(r"0x[0-9a-fA-F]{1,64}")


@dataclass(frozen=True, slots=True)
class StateProof:
    """A proof that was checked, without its repetitions: nodes to the account, nodes of its storage, and the values.

    ``values`` has for each slot the number that stands there, 0 where nothing does. ``storage`` holds each node once,
    in the order of first use.
    """

    account: tuple[bytes, ...]
    storage: tuple[bytes, ...]
    values: Mapping[bytes, int]


def revoked_slot(commitment: bytes) -> bytes:
    """Return the storage slot of a commitment: of the height at which it was revoked."""
    return keccak(contract.REVOKED_SLOT.to_bytes(32, "big") + commitment)


def alias_slot(label: str) -> bytes:
    """Return the storage slot of a global alias: of whom it stands for; ValueError when no label is like that."""
    return keccak(contract.ALIAS_SLOT.to_bytes(32, "big") + contract.pad_label(label))


def check_nodes(
    account: Sequence[bytes], storage: Sequence[bytes], slots: Sequence[bytes], *, state_root: bytes, registry: bytes
) -> StateProof:
    """Return the values of ``slots`` that these nodes prove; :class:`BadStateProof`.

    The nodes must be the ones needed, all of them, in the order of first use, each once.
    """
    storage_root = _account(account, state_root, registry)
    pool = _Pool(storage)
    values = {slot: _value(_walk(storage_root, keccak(slot), pool.node)) for slot in slots}
    pool.close()
    return StateProof(tuple(account), tuple(storage), values)


def check_answer(answer: object, slots: Sequence[bytes], *, state_root: bytes, registry: bytes) -> StateProof:
    """Return the values of ``slots`` that an answer of eth_getProof proves; :class:`BadStateProof`.

    The answer has to hold the proofs of just these slots, in this order, and the values that it names must be the ones
    that it proves.
    """
    account, given = _nodes(answer, "accountProof"), _list(answer, "storageProof")
    if len(given) != len(slots):
        raise BadStateProof(f"{len(given)} storage proofs where {len(slots)} were asked for")
    storage_root = _account(account, state_root, registry)
    kept: dict[bytes, None] = {}
    values: dict[bytes, int] = {}
    for slot, one in zip(slots, given, strict=True):
        nodes = _nodes(one, "proof")
        if storage_root == EMPTY_ROOT and nodes == (rlp.encode(b""),):
            nodes = ()  # some nodes show an empty trie, others show nothing
        pool = _Pool(nodes)
        values[slot] = _value(_walk(storage_root, keccak(slot), pool.node))
        pool.close()
        if _number(one, "value") != values[slot]:
            raise BadStateProof("a proof of another value than the one that was said")
        kept.update(dict.fromkeys(nodes))
    return StateProof(account, tuple(kept), values)


# The trie ----------------------------------------------------------------------------------------------------------


class _Pool:
    """Nodes by hash, which must be used in the order in which they stand."""

    def __init__(self, nodes: Sequence[bytes]) -> None:
        self._waiting: Iterator[bytes] = iter(nodes)
        self._used: dict[bytes, Item] = {}

    def node(self, wanted: bytes) -> Item:
        """Return the node with that hash: one used before, or the next one; :class:`BadStateProof`."""
        known = self._used.get(wanted)
        if known is None:
            data = next(self._waiting, b"")
            if len(data) > LIMITS.trie_node_bytes:
                raise BadStateProof(f"a node of more than {LIMITS.trie_node_bytes} bytes")
            if keccak(data) != wanted:
                raise BadStateProof("a Merkle proof that is cut short, altered, or of something else")
            try:
                known = rlp.decode(data)
            except InputError as error:
                raise BadStateProof(f"a node that does not parse: {error.message}") from None
            self._used[wanted] = known
        return known

    def close(self) -> None:
        """Raise :class:`BadStateProof` when some nodes were not needed."""
        if next(self._waiting, None) is not None:
            raise BadStateProof("a Merkle proof with nodes that nothing needs")


def _walk(root: bytes, key: bytes, node_of: Callable[[bytes], Item]) -> bytes:
    """Return what stands at ``key`` (32 bytes) under ``root``, b"" for nothing; :class:`BadStateProof`."""
    if root == EMPTY_ROOT:
        return b""
    path = key.hex()
    child: Item = root
    while True:
        node = node_of(child) if isinstance(child, bytes) else child  # a short node stands inside its parent
        if isinstance(node, bytes):
            raise _misshapen()
        if len(node) == _BRANCH and path:
            child, path = node[int(path[0], 16)], path[1:]
            if child == b"":
                return b""
        elif len(node) == _PAIR:
            steps, ends = _steps(node[0])
            if not path.startswith(steps):
                return b""
            child, path = node[1], path[len(steps) :]
            if ends:
                return _end(child, path)
        else:
            raise _misshapen()
        if isinstance(child, bytes) and len(child) != 32:
            raise _misshapen()


def _end(value: Item, path: str) -> bytes:
    if path or not isinstance(value, bytes) or not value:
        raise _misshapen()
    return value


def _steps(packed: Item) -> tuple[str, bool]:
    """Return the nibbles that a pair's first item holds, in hexadecimal, and whether the value follows them."""
    text = packed.hex() if isinstance(packed, bytes) else ""
    steps, ends = text[1 if text[:1] in ("1", "3") else 2 :], text[:1] in ("2", "3")
    if (text[:1] not in ("1", "3") and text[:2] not in ("00", "20")) or not (steps or ends):
        raise _misshapen()
    return steps, ends


def _misshapen() -> BadStateProof:
    return BadStateProof("a node that no Merkle-Patricia trie has")


def _account(nodes: Sequence[bytes], state_root: bytes, registry: bytes) -> bytes:
    """Return the storage root of the registry's account; :class:`BadStateProof` when it is no registry."""
    pool = _Pool(nodes)
    encoded = _walk(state_root, keccak(registry), pool.node)
    pool.close()
    if not encoded:
        raise BadStateProof(f"there was no contract at 0x{registry.hex()} in that block")
    fields = _decoded(encoded)
    if isinstance(fields, bytes) or len(fields) != 4:
        raise BadStateProof("not the form of an account")
    storage_root, code_hash = fields[2:]
    if code_hash != _code_hash():
        raise BadStateProof(f"the contract at 0x{registry.hex()} is another one than WAVE's registry")
    if not isinstance(storage_root, bytes) or len(storage_root) != 32:
        raise BadStateProof("not the form of an account")
    return storage_root


@cache
def _code_hash() -> bytes:
    return keccak(contract.runtime())


def _value(encoded: bytes) -> int:
    """Return the number that a storage slot holds, 0 for nothing."""
    if not encoded:
        return 0
    raw = _decoded(encoded)
    if not isinstance(raw, bytes) or not raw or len(raw) > 32 or not raw[0]:
        raise BadStateProof("a storage slot that holds no number")
    return int.from_bytes(raw, "big")


def _decoded(encoded: bytes) -> Item:
    try:
        return rlp.decode(encoded)
    except InputError as error:
        raise BadStateProof(f"an entry that does not parse: {error.message}") from None


# The answer --------------------------------------------------------------------------------------------------------


def _list(form: object, name: str) -> list[Any]:
    found = form.get(name) if isinstance(form, Mapping) else None
    if not isinstance(found, list) or len(found) > LIMITS.staple_commitments:
        raise BadStateProof(f"an answer without a proper {name}")
    return found


def _nodes(form: object, name: str) -> tuple[bytes, ...]:
    texts = _list(form, name)
    if len(texts) > _NODES:
        raise BadStateProof(f"a Merkle proof of more than {_NODES} nodes")
    return tuple([_bytes(text) for text in texts])


def _bytes(text: object) -> bytes:
    if isinstance(text, str) and len(text) <= 2 + 2 * LIMITS.trie_node_bytes and _BYTES.fullmatch(text):
        return bytes.fromhex(text[2:])
    raise BadStateProof("a node that is not written in hexadecimal, or too long")


def _number(form: object, name: str) -> int:
    text = form.get(name) if isinstance(form, Mapping) else None
    if isinstance(text, str) and _WORD.fullmatch(text):
        return int(text, 0)
    raise BadStateProof(f"an answer without a proper {name}")
