"""Staples: that nothing a proof rests on was revoked, as of one named block; checked without a network.

A staple is the block's header and the Merkle-Patricia nodes that lead from its state root into the registry's storage.
Whoever trusts the block's hash (heard from somebody, or from a node of one's own) needs to trust nothing else:
``facts = check(staple, trusted_hash)``, and then :func:`wave.dots.verify.verify`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Protocol, Self

from wave.chain import contract
from wave.chain.header import Block, Header
from wave.chain.stateproof import StateProof, check_answer, check_nodes, revoked_slot
from wave.codec import VERSION, Format, Id, Record, Version, armour, between, dearmour, id_text
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.errors import ChainUnavailable, Malformed, NotStapled, TooLarge, UntrustedBlock, WrongKind
from wave.limits import LIMITS

LABEL: Final = "STAPLE"
SLOTS_ASKED: Final = 128  # storage slots in one question to a node

_Node = Annotated[bytes, between(1, LIMITS.trie_node_bytes)]


class _StapleFields(Record, frozen=True):
    version: Version
    header: Annotated[bytes, between(1, LIMITS.header_bytes)]
    commitments: Annotated[tuple[Id, ...], between(0, LIMITS.staple_commitments)]
    account: tuple[_Node, ...]
    storage: tuple[_Node, ...]


_FORMAT = Format(_StapleFields, "staple", LIMITS.staple_bytes)


class Chain(Protocol):
    """What a staple is made from; :class:`wave.chain.client.ChainClient` answers it. Nothing of it is believed."""

    @property
    def registry(self) -> str:
        """The registry's address, in hexadecimal."""
        ...

    def head(self) -> Block:
        """Return the newest block."""
        ...

    def header(self, number: int) -> Any:
        """Return a block as eth_getBlockByNumber gives it, or None."""
        ...

    def state_proof(self, slots: Sequence[bytes], height: int) -> Any:
        """Return the proofs of the registry's slots as eth_getProof gives them."""
        ...


class Staple:
    """What the registry says of some commitments at the block of ``header``; nothing in it is believed yet."""

    __slots__ = ("_fields", "data", "header")

    def __init__(self, data: bytes) -> None:
        """Parse ``data`` strictly; :class:`TooLarge`, :class:`Malformed`, :class:`BadHeader`."""
        self._fields = _FORMAT.decode(data)
        self.data = data
        self.header = Header.from_rlp(self._fields.header)
        commitments = self._fields.commitments
        if list(commitments) != sorted(set(commitments)):
            raise Malformed("a staple whose commitments do not stand in their order, each once")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the staple in ``data``; :class:`InputError` when it is not one."""
        return cls(data)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the staple in a block of text armour; :class:`InputError`."""
        label, data = dearmour(text)
        if label != LABEL:
            raise WrongKind(f"this is a {label.lower()}, not a staple")
        return cls(data)

    @classmethod
    def build(cls, chain: Chain, proof: Proof) -> Self:
        """Return the staple for all that ``proof`` rests on, at the newest block; what the chain answers is checked.

        :class:`ChainUnavailable` and its leaves, :class:`TooLarge` for a proof with too many commitments.
        """
        commitments = commitments_of(proof)
        if len(commitments) > LIMITS.staple_commitments:
            raise TooLarge(f"a proof that rests on {len(commitments)} commitments; at most {LIMITS.staple_commitments}")
        head = chain.head()
        header = Header.from_json(chain.header(head.number))
        if header.hash != head.hash:
            raise ChainUnavailable("the chain changed while it was asked", hint="ask again in a while")
        registry = bytes.fromhex(chain.registry.removeprefix("0x"))
        account: tuple[bytes, ...] = ()
        storage: dict[bytes, None] = {}
        for start in range(0, len(commitments), SLOTS_ASKED):
            slots = [revoked_slot(commitment) for commitment in commitments[start : start + SLOTS_ASKED]]
            answer = chain.state_proof(slots, header.number)
            found = check_answer(answer, slots, state_root=header.state_root, registry=registry)
            account = found.account
            storage.update(dict.fromkeys(found.storage))
        fields = _StapleFields(VERSION, header.rlp, commitments, account, tuple(storage))
        return cls(_FORMAT.encode(fields))

    @property
    def block_hash(self) -> bytes:
        """The hash of the block that the staple is about, 32 bytes."""
        return self.header.hash

    @property
    def commitments(self) -> tuple[bytes, ...]:
        """The commitments of which the staple tells."""
        return self._fields.commitments

    def state(self, registry: bytes) -> StateProof:
        """Return what the Merkle proofs show under the staple's own header; :class:`BadStateProof`."""
        slots = [revoked_slot(commitment) for commitment in self.commitments]
        return check_nodes(
            self._fields.account, self._fields.storage, slots, state_root=self.header.state_root, registry=registry
        )

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return self.data

    def to_text(self) -> str:
        """Return the staple as text armour; in a file it stands behind its proof."""
        return armour(LABEL, self.data)


def check(staple: Staple | bytes, trusted_hash: bytes, *, registry: bytes = contract.REGISTRY) -> Facts:
    """Return the facts that a staple shows, when its block is the one with the hash ``trusted_hash`` (32 bytes).

    ``registry`` is the address of the registry that counts. The facts' revocations answer for the staple's commitments
    alone and raise :class:`NotStapled` for every other. Raises :class:`UntrustedBlock`, :class:`BadStateProof`, and
    :class:`InputError` for bytes that are no staple.
    """
    if not isinstance(staple, Staple):
        staple = Staple(staple)
    header = staple.header
    if header.hash != trusted_hash:
        raise UntrustedBlock(
            f"the staple is about block {header.number} with hash 0x{header.hash.hex()}, and 0x{trusted_hash.hex()}"
            " is trusted"
        )
    values = staple.state(registry).values.values()
    # Some chains count blocks otherwise inside contracts: whatever stands in storage is not later than the block.
    heights = {
        commitment: min(value, header.number) if value else None
        for commitment, value in zip(staple.commitments, values, strict=True)
    }
    return Facts(header.number, header.hash, header.time, _Stapled(heights))


def commitments_of(proof: Proof) -> tuple[bytes, ...]:
    """Return the commitments of all that a proof rests on, sorted: of its DoTs, and of the entities' records in it."""
    found = {commitment for dot in proof.dots for commitment in dot.commitments}
    found.update(commitment for record in proof.records.values() for commitment in record.commitments)
    return tuple(sorted(found))


def take_apart(text: str) -> tuple[str, str | None]:
    """Return the text of a proof's file without its staple, and the staple's, which stands behind; None without one."""
    start = text.find(f"-----BEGIN WAVE {LABEL}-----\n")
    return (text, None) if start < 1 else (text[:start], text[start:])


class _Stapled(Mapping[bytes, int]):
    """Heights of revocations, for commitments that were looked up at the block; None for one that was not revoked."""

    __slots__ = ("_heights",)

    def __init__(self, heights: dict[bytes, int | None]) -> None:
        self._heights = heights

    def __getitem__(self, commitment: bytes) -> int:
        """Return the height; KeyError when it is not revoked, :class:`NotStapled` when that is not known."""
        try:
            height = self._heights[commitment]
        except KeyError:
            raise NotStapled(f"the staple does not say whether {id_text(commitment)[:8]} is revoked") from None
        if height is None:
            raise KeyError(commitment)
        return height

    def __iter__(self) -> Iterator[bytes]:
        return iter([commitment for commitment, height in self._heights.items() if height is not None])

    def __len__(self) -> int:
        return sum(height is not None for height in self._heights.values())
