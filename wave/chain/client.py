"""The client that agents use: reads the registry, and writes to it, whatever Ethereum nodes stand behind.

Errors of libraries and of nodes never escape: they become ChainUnavailable, WrongChain, TransactionFailed, NameTaken,
StateLocked or StateUnwritable.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from wave.chain import contract
from wave.chain.contract import Event
from wave.chain.endpoint import EMBEDDED, Endpoint
from wave.chain.fees import FeeLimits
from wave.chain.header import Block
from wave.chain.payer import Payer, Prepared, paying
from wave.chain.quorum import Quorum
from wave.chain.sender import (
    Call,
    Receipt,
    Sender,
    anchor_call,
    claim_call,
    commit_call,
    draw_salt,
    publish_call,
    revoke_call,
)
from wave.codec import id_text
from wave.errors import BadName, BadSetting, NameTaken, TransactionFailed, WrongChain
from wave.namespace.name import check_label

__all__ = ["Block", "ChainClient", "Endpoint", "FeeLimits", "Prepared", "Receipt"]


class ChainClient:
    """A connection to the registry on one chain. For one thread; open one for each."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        reader: Endpoint | Quorum,
        payer: Payer | None,
        fees: FeeLimits | None = None,
    ) -> None:
        """Use :meth:`connect`."""
        self._endpoints = endpoints
        self._reader = reader
        self._sender = Sender(
            endpoints,
            chain_id=reader.chain_id,
            registry=bytes.fromhex(reader.registry.removeprefix("0x")),
            payer=payer,
            limits=fees,
            need=reader.need if isinstance(reader, Quorum) else 1,
        )

    @classmethod
    def connect(
        cls,
        chain: str,
        *,
        state: Path,
        payer: bytes | str | None = None,
        wait: float = 0.0,
        chain_id: int | None = None,
        registry: bytes | None = None,
        quorum: int | None = None,
        fees: FeeLimits | None = None,
        deployed: bool = True,
    ) -> Self:
        """Connect to ``chain``: "embedded" (a node in this process, kept under ``state``), a URL, or unix:/path.

        Several URLs stand with commas between them; ``quorum`` of them must agree (None: a majority).

        ``payer`` is the secp256k1 key that pays, or "development" for the account whose key everybody knows, which
        pays on development chains alone; None means that one on a chain of WAVE's own id, and nobody elsewhere.
        ``fees`` limits what it pays. Without ``deployed`` nobody looks for the registry.
        ``wait`` is how many seconds to wait for another process to let go of ``state``. ``chain_id`` None takes
        whatever chain is there, ``registry`` None means the development address. WrongChain when the chain has
        another id or no registry; ChainUnavailable, StateLocked, StateUnwritable.
        """
        urls = [url.strip() for url in chain.split(",")]
        if len(set(urls)) != len(urls) or (len(urls) > 1 and EMBEDDED in urls):
            raise BadSetting("of several endpoints, each is a URL of its own")
        if len(urls) == 1 and quorum not in (None, 1):
            raise BadSetting(f"a quorum of {quorum} with one endpoint", hint="name several URLs, with commas between")

        def endpoints() -> list[Endpoint]:
            return [Endpoint.open(url, state=state, wait=wait, registry=registry or contract.REGISTRY) for url in urls]

        writers = endpoints()
        reader: Endpoint | Quorum = writers[0]
        try:
            if len(urls) > 1:
                reader = Quorum(endpoints(), quorum)
            if deployed:
                reader.check(chain_id)
            else:
                _check_id(reader, chain_id)
            return cls(writers, reader, paying(payer, reader.chain_id), fees)
        except BaseException:
            for one in {reader, *writers}:
                one.close()
            raise

    def close(self) -> None:
        """Close the connections, and the embedded node with them."""
        self._sender.close()
        for one in {self._reader, *self._endpoints}:
            one.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    @property
    def name(self) -> str:
        """What the chain is called in messages; no secret of its URL."""
        return self._reader.name

    @property
    def chain_id(self) -> int:
        """The chain's id, as it was checked on connecting."""
        return self._reader.chain_id

    @property
    def registry(self) -> str:
        """The registry's address, with its checksum in the letters' case."""
        return self._reader.registry

    @property
    def disagreements(self) -> Mapping[str, int]:
        """How often an endpoint contradicted the others, by its name; nothing with one endpoint."""
        return dict(self._reader.disagreements) if isinstance(self._reader, Quorum) else {}

    # Reading -------------------------------------------------------------------------------------------------------

    def head(self) -> Block:
        """Return the newest block."""
        return self._reader.head()

    def block(self, number: int) -> Block | None:
        """Return the block of that number, or None when the chain is shorter."""
        return self._reader.block(number)

    def alias(self, label: str) -> bytes | None:
        """Return who holds the global alias ``label``, or None."""
        return self._reader.alias(label)

    def revoked_at(self, commitment: bytes) -> int | None:
        """Return the height at which the preimage of ``commitment`` was shown, or None."""
        return self._reader.revoked_at(commitment)

    def events(self, from_height: int, to_height: int) -> list[Event]:
        """Return what the registry said in the blocks from ``from_height`` to ``to_height``, both included, in order.

        A range that the node finds too long is asked for in halves.
        """
        return self._reader.events(from_height, to_height)

    def header(self, number: int) -> dict[str, Any] | None:
        """Return a block as eth_getBlockByNumber gives it, or None; with one endpoint, unchecked."""
        return self._reader.header(number)

    def state_proof(self, slots: Sequence[bytes], height: int) -> dict[str, Any]:
        """Return what eth_getProof says of the registry's storage slots; with one endpoint, unchecked."""
        return self._reader.state_proof(slots, height)

    # Writing -------------------------------------------------------------------------------------------------------

    def publish(self, data: bytes) -> Receipt:
        """Publish the bytes of one object."""
        return self.publish_many([data])[0]

    def publish_many(self, objects: Sequence[bytes]) -> list[Receipt]:
        """Publish many objects, each in a transaction of its own, sent together; return when all are mined."""
        return self._sender.transact([publish_call(item) for item in objects])

    def anchor(self, root: bytes, count: int) -> Receipt:
        """Put a time on the ``count`` objects under the Merkle root ``root``."""
        return self._sender.transact([anchor_call(root, count)])[0]

    def revoke(self, preimages: Sequence[bytes]) -> Receipt:
        """Show preimages of commitments, at most 64, which revokes for ever whatever carries them."""
        return self._sender.transact([revoke_call(preimages)])[0]

    def claim(self, label: str, target: bytes) -> Receipt:
        """Give the global alias ``label`` to ``target``; NameTaken when somebody has it.

        Announces it in one block and claims it in a later one, so that whoever sees the claim coming is too late.
        """
        key = _label(label)
        if not any(target):
            raise BadName("a name cannot stand for the id of all zeros")
        salt = draw_salt()
        calls = commit_call(key, target, salt), claim_call(key, target, salt)
        self._refuse_taken(label)
        self._sender.transact(calls[:1])
        try:
            return self._sender.transact(calls[1:])[0]
        except TransactionFailed:
            self._refuse_taken(label)
            raise

    def _refuse_taken(self, label: str) -> None:
        holder = self.alias(label)
        if holder is not None:
            raise NameTaken(f"the name {label!r} belongs to {id_text(holder)} already")

    def create(self, code: bytes) -> Receipt:
        """Create a contract; its address is the receipt's ``contract``."""
        return self._sender.transact([code], create=True)[0]

    # For those who have to survive a crash between signing, sending and seeing it mined ----------------------------

    def prepare(self, calls: Sequence[Call]) -> list[Prepared]:
        """Return a signed transaction for each call, with consecutive unused nonces; nothing is sent."""
        return self._sender.prepare(calls)

    def replacing(self, prepared: Sequence[Prepared]) -> list[Prepared]:
        """Return for each that the limits allow another one of the same nonce that pays an eighth more."""
        return self._sender.replacing(prepared)

    def broadcast(self, prepared: Sequence[Prepared]) -> None:
        """Send signed transactions; that the node knows one already, or that its nonce is used, is no error."""
        self._sender.broadcast(prepared)

    def receipt(self, transaction: bytes) -> Receipt | None:
        """Return the receipt of a transaction, None when it is not mined; TransactionFailed when it was reverted."""
        return self._sender.receipt(transaction)

    def nonce(self) -> int:
        """Return the payer's next nonce, mined transactions alone counted."""
        return self._sender.nonce()


def _check_id(reader: Endpoint | Quorum, chain_id: int | None) -> None:
    if chain_id not in (None, reader.chain_id):
        raise WrongChain(f"{reader.name} is chain {reader.chain_id}, not {chain_id}")


def _label(label: str) -> bytes:
    return contract.pad_label(check_label(label))
