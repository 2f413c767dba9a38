"""The embedded node: an Ethereum chain in one directory, by py-evm, that mines when a transaction comes.

A transaction that :meth:`EmbeddedNode.send` has answered for is on the disk. Transactions that wait at the same time
share a block. Block times never run ahead of the clock, so several blocks may carry the same second (ADR 0011). This is
the only module that imports py-evm and trie.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, cast

import rlp
from eth.abc import BlockHeaderAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import Chain
from eth.db.backends.base import BaseAtomicDB
from eth.exceptions import CanonicalHeadNotFound, HeaderNotFound, Revert, TransactionNotFound
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.shanghai.constants import MAX_INITCODE_SIZE
from eth.vm.spoof import SpoofTransaction
from eth_hash.auto import keccak
from eth_keys import keys
from eth_utils import ValidationError
from trie import HexaryTrie

from wave.chain import bound_recursion, contract, genesis
from wave.chain.records import Account, Call, LogRow, Proof, ReceiptRow, floor_gas, index_rows
from wave.chain.store import NodeStore
from wave.errors import WaveError
from wave.limits import LIMITS

bound_recursion()
_log = logging.getLogger(__name__)
_BLOB_TYPE = 3


CALL_GAS: Final = 5_000_000
"""The most gas that a call or an estimate may use, some two seconds' work: three times what the registry ever needs."""


class Rejected(Exception):
    """A transaction or call that the node does not carry out; the message is the one that Ethereum nodes use."""


class Reverted(Exception):
    """A call that the contract refused; ``data`` is what it said."""

    def __init__(self, data: bytes) -> None:
        super().__init__("execution reverted")
        self.data = data


@dataclass(slots=True)
class _Waiting:
    transaction: SignedTransactionAPI
    outcome: bytes | Exception | None = field(default=None)


class _Database(BaseAtomicDB):
    """The store, in the shape that py-evm wants; its batches join the one commit of the block."""

    def __init__(self, store: NodeStore) -> None:
        self._store = store

    def __getitem__(self, key: bytes) -> bytes:
        value = self._store.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._store.put(key, value)

    def __delitem__(self, key: bytes) -> None:
        self._store.put(key, None)

    def _exists(self, key: bytes) -> bool:
        return self._store.get(key) is not None

    @contextmanager
    def atomic_batch(self) -> Iterator[Any]:
        yield self


class _VM(PragueVM):
    @classmethod
    def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        """Take a block of the same second as its parent's, which the EVM's rule (strictly later) would refuse."""
        parent: BlockHeaderAPI | None = parent_header
        if parent is not None and header.timestamp == parent.timestamp:
            parent_header = parent_header.copy(timestamp=parent_header.timestamp - 1)
        super().validate_header(header, parent_header)


class _Chain(Chain):
    chain_id = contract.CHAIN_ID
    vm_configuration = ((0, _VM),)  # type: ignore[assignment]


class EmbeddedNode:
    """The node; every method may be called from any thread."""

    chain_id = contract.CHAIN_ID

    def __init__(self, store: NodeStore, clock: Callable[[], float]) -> None:
        """Use :meth:`open`."""
        self._store = store
        self._clock = clock
        self._lock = threading.RLock()
        self._queue: list[_Waiting] = []
        self._queue_lock = threading.Lock()
        self._chain = _Chain(_Database(store))
        self._load()

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time, wait: float = 0.0) -> Self:
        """Open the chain in directory ``path``, or begin one; StateLocked after ``wait`` seconds, StateUnwritable."""
        store = NodeStore(path, wait=wait)
        try:
            return cls(store, clock)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Close the files. What was acknowledged stays."""
        with self._lock:
            self._store.close()

    def __enter__(self) -> Self:
        """Return the node."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the node."""
        self.close()

    # Reading -------------------------------------------------------------------------------------------------------

    def head(self, *, fresh: bool = True) -> BlockHeaderAPI:
        """Return the newest header; when ``fresh``, make an empty block first if that one is too old."""
        with self._lock:
            head = self._chain.get_canonical_head()
            if fresh and self._clock() - head.timestamp > LIMITS.embedded_block_age:
                self._mine([])
                head = self._chain.get_canonical_head()
            return head

    def header(self, which: int | bytes) -> BlockHeaderAPI | None:
        """Return the header of that number or hash, or None."""
        with self._lock, suppress(HeaderNotFound):
            if isinstance(which, int):
                return self._chain.get_canonical_block_header_by_number(cast("Any", which))
            return self._chain.get_block_header_by_hash(cast("Any", which))
        return None

    def block(self, number: int) -> tuple[list[bytes], int]:
        """Return the hashes of a block's transactions, in order, and its size in bytes."""
        with self._lock:
            return self._store.block(number)

    def logs(
        self,
        first: int,
        last: int,
        *,
        addresses: Sequence[bytes] = (),
        topics: Sequence[Sequence[bytes]] = (),
        limit: int,
    ) -> list[LogRow]:
        """Return the logs of a range of blocks; see :meth:`NodeStore.logs`."""
        with self._lock:
            return self._store.logs(first, last, addresses=addresses, topics=topics, limit=limit)

    def receipt(self, transaction: bytes) -> tuple[ReceiptRow, list[LogRow]] | None:
        """Return the receipt and the logs of a mined transaction, or None."""
        with self._lock:
            row = self._store.receipt(transaction)
            return None if row is None else (row, self._store.logs_of(row))

    def transaction(self, transaction: bytes) -> tuple[ReceiptRow, SignedTransactionAPI] | None:
        """Return a mined transaction with its receipt, or None."""
        with self._lock, suppress(TransactionNotFound):
            row = self._store.receipt(transaction)
            if row is not None:
                return row, self._chain.get_canonical_transaction_by_index(cast("Any", row.block), row.index)
        return None

    def account(self, address: bytes, header: BlockHeaderAPI) -> Account:
        """Return the account at the block of ``header``."""
        with self._lock:
            return self._account(self._chain.get_vm(header).state, address, header)

    def storage(self, address: bytes, slot: int, header: BlockHeaderAPI) -> int:
        """Return one storage slot at the block of ``header``."""
        with self._lock:
            return self._chain.get_vm(header).state.get_storage(cast("Any", address), slot)

    def next_nonce(self, address: bytes) -> int:
        """Return the nonce of the address's next transaction, those that wait counted."""
        with self._lock, self._queue_lock:
            waiting = Counter(item.transaction.sender for item in self._queue)
            head = self._chain.get_canonical_head()
            return self._chain.get_vm(head).state.get_nonce(cast("Any", address)) + waiting[cast("Any", address)]

    def proof(self, address: bytes, slots: Sequence[int], header: BlockHeaderAPI) -> Proof:
        """Return what shows, against the state root of ``header``, the account and its slots, present or absent."""
        with self._lock:
            state = self._chain.get_vm(header).state
            account = self._account(state, address, header)
            storage = [
                (
                    slot,
                    state.get_storage(cast("Any", address), slot),
                    self._nodes(account.storage_root, keccak(slot.to_bytes(32, "big"))),
                )
                for slot in slots
            ]
            return Proof(account, self._nodes(header.state_root, keccak(address)), storage)

    def call(self, call: Call, header: BlockHeaderAPI) -> bytes:
        """Return what the call would return on top of ``header``; Reverted, Rejected."""
        with self._lock, self._trying(header) as state:
            output, _ = self._try(state, call, min(call.gas or CALL_GAS, CALL_GAS))
            return output

    def estimate(self, call: Call, header: BlockHeaderAPI) -> int:
        """Return the least gas limit with which the call goes through in the block after ``header``.

        Raises Reverted, Rejected.
        """
        with self._lock, self._trying(self._chain.create_header_from_parent(header)) as state:
            ceiling = min(call.gas or CALL_GAS, CALL_GAS)
            _, enough = self._try(state, call, ceiling)
            low = enough - 1
            while low < enough:  # one round, unless an inner call holds gas back
                try:
                    self._try(state, call, enough)
                    break
                except (Rejected, Reverted):
                    low, enough = enough, min(ceiling, enough + enough // 8)
            return enough

    def next_base_fee(self, header: BlockHeaderAPI | None = None) -> int:
        """Return the base fee, in wei a unit of gas, of the block after ``header`` (None: after the newest)."""
        with self._lock:
            return calculate_expected_base_fee_per_gas(header or self._chain.get_canonical_head())

    # Writing -------------------------------------------------------------------------------------------------------

    def send(self, transactions: Sequence[bytes]) -> list[bytes | Exception]:
        """Mine signed transactions; return for each its hash, or why not (Rejected, StateUnwritable).

        When this returns, the blocks are on the disk.
        """
        items: list[_Waiting | Exception] = []
        for raw in transactions:
            try:
                items.append(_Waiting(self._decode(raw)))
            except Rejected as error:
                items.append(error)
        waiting = [item for item in items if isinstance(item, _Waiting)]
        with self._queue_lock:
            self._queue.extend(waiting)
        with self._lock:
            while any(item.outcome is None for item in waiting):
                with self._queue_lock:
                    batch, self._queue = self._queue, []
                self._mine_all(batch)
        return [item if isinstance(item, Exception) else cast("bytes | Exception", item.outcome) for item in items]

    def _mine_all(self, batch: list[_Waiting]) -> None:
        batch = sorted(batch, key=lambda item: item.transaction.nonce)
        while batch:
            try:
                batch = self._mine(batch)
            except Exception as error:  # noqa: BLE001 - each waiting thread raises it for itself
                for item in batch:
                    item.outcome = item.outcome if isinstance(item.outcome, Exception) else error
                return

    def _mine(self, batch: list[_Waiting], *, at: float | None = None) -> list[_Waiting]:
        """Put as much of ``batch`` as fits into one block, commit it, and return the rest."""
        parent = self._chain.get_canonical_head()
        header = self._chain.create_header_from_parent(
            parent,
            timestamp=max(parent.timestamp, int(self._clock() if at is None else at)),
            gas_limit=genesis.GAS_LIMIT,
        )
        vm = cast("Any", self._chain.get_vm(header))
        included: list[_Waiting] = []
        receipts: list[Any] = []
        rest: list[_Waiting] = []
        try:
            for item in batch:
                if header.gas_used + item.transaction.gas > genesis.GAS_LIMIT and included:
                    rest.append(item)
                    continue
                snapshot = vm.state.snapshot()
                try:
                    self._check(item.transaction, vm.state)
                    receipt, _ = vm.apply_transaction(header, item.transaction)
                except (ValidationError, Rejected) as error:
                    vm.state.revert(snapshot)
                    item.outcome = error if isinstance(error, Rejected) else Rejected(str(error))
                    continue
                header = vm.add_receipt_to_header(header, receipt)
                included.append(item)
                receipts.append(receipt)
            if batch and not included:
                return rest
            transactions = [item.transaction for item in included]
            filled = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, transactions, receipts)
            block = vm.finalize_block(filled).block
            vm.validate_block(block)
            self._chain.chaindb.persist_block(block)
            self._store.commit(block.number, len(rlp.encode(block)), *index_rows(block, receipts))
        except BaseException:
            self._store.discard()
            raise
        for item in included:
            item.outcome = item.transaction.hash
        return rest

    # Inside --------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Make the first two blocks where they are missing: a process may have died between them."""
        try:
            head = self._chain.get_canonical_head()
        except CanonicalHeadNotFound:
            head = self._begin()
        if head.block_number == 0:
            self._deploy()

    def _begin(self) -> BlockHeaderAPI:
        parameters: Any = {
            "difficulty": 0,
            "extra_data": genesis.EXTRA_DATA,
            "gas_limit": genesis.GAS_LIMIT,
            "timestamp": genesis.GENESIS_TIME,
            "base_fee_per_gas": genesis.BASE_FEE,
        }
        rich = {"balance": genesis.BALANCE, "nonce": 0, "code": b"", "storage": {}}
        accounts: Any = dict.fromkeys(genesis.DEVELOPMENT_ACCOUNTS, rich)
        chain = _Chain.from_genesis(self._chain.chaindb.db, parameters, accounts)
        block = chain.get_canonical_block_by_number(cast("Any", 0))
        self._store.commit(0, len(rlp.encode(block)), [], [])
        return block.header

    def _deploy(self) -> None:
        unsigned = self._chain.create_unsigned_transaction(
            nonce=0,
            gas_price=genesis.BASE_FEE,
            gas=1_000_000,
            to=cast("Any", b""),
            value=0,
            data=contract.bytecode(),
        )
        key = keys.PrivateKey(genesis.DEVELOPMENT_PAYER)
        item = _Waiting(unsigned.as_signed_transaction(key, chain_id=contract.CHAIN_ID))
        self._mine([item], at=genesis.GENESIS_TIME + 1)
        if isinstance(item.outcome, Exception):
            raise item.outcome

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        try:
            transaction = _VM.get_transaction_builder().decode(raw)
            transaction.validate()
            _ = transaction.sender
        except WaveError:
            raise
        except Exception as error:  # noqa: BLE001 - py-evm and rlp raise all sorts over foreign bytes
            raise Rejected(f"invalid transaction: {error}") from None
        if transaction.type_id == _BLOB_TYPE:
            raise Rejected("transaction type not supported")
        if transaction.chain_id not in (None, contract.CHAIN_ID):
            raise Rejected(f"invalid chain id for signer: have {transaction.chain_id} want {contract.CHAIN_ID}")
        if transaction.gas > genesis.GAS_LIMIT:
            raise Rejected("exceeds block gas limit")
        _check_creation(transaction.to, transaction.data)
        if transaction.gas < max(transaction.intrinsic_gas, floor_gas(transaction.data)):
            raise Rejected("intrinsic gas too low")
        return transaction

    def _check(self, transaction: SignedTransactionAPI, state: StateAPI) -> None:
        expected = state.get_nonce(transaction.sender)
        if transaction.nonce != expected:
            if self._store.receipt(transaction.hash) is not None:
                raise Rejected("already known")
            word = "low" if transaction.nonce < expected else "high"
            raise Rejected(f"nonce too {word}: next nonce {expected}, tx nonce {transaction.nonce}")
        if transaction.max_fee_per_gas < state.base_fee:
            raise Rejected("max fee per gas less than block base fee")
        if state.get_balance(transaction.sender) < transaction.value + transaction.gas * transaction.max_fee_per_gas:
            raise Rejected("insufficient funds for gas * price + value")

    @contextmanager
    def _trying(self, header: BlockHeaderAPI) -> Iterator[StateAPI]:
        try:
            with self._chain.get_vm(header).in_costless_state() as state:
                yield state
        finally:
            self._store.discard()

    def _try(self, state: StateAPI, call: Call, gas: int) -> tuple[bytes, int]:
        """Return the call's output and the gas limit it needed, leaving ``state`` as it was."""
        _check_creation(call.to, call.data)
        floor = floor_gas(call.data)
        unsigned = self._chain.create_unsigned_transaction(
            nonce=state.get_nonce(cast("Any", call.sender)),
            gas_price=0,
            gas=gas,
            to=cast("Any", call.to),
            value=call.value,
            data=call.data,
        )
        spoof: Any = SpoofTransaction(unsigned, from_=call.sender)
        if gas < max(spoof.intrinsic_gas, floor):
            raise Rejected("intrinsic gas too low")
        snapshot = state.snapshot()
        try:
            computation = state.apply_transaction(spoof)
        except ValidationError as error:
            raise Rejected(str(error)) from None
        finally:
            state.revert(snapshot)
        if computation.is_error:
            if isinstance(computation.error, Revert):
                raise Reverted(computation.output)
            raise Rejected(str(computation.error) or type(computation.error).__name__)
        return computation.output, max(gas - computation.get_gas_remaining(), floor)

    def _account(self, state: Any, address: bytes, header: BlockHeaderAPI) -> Account:
        encoded = HexaryTrie(self._chain.chaindb.db, header.state_root)[keccak(address)]
        if not encoded:
            return Account(0, 0, b"", keccak(b""), keccak(rlp.encode(b"")))
        nonce, balance, storage_root, code_hash = rlp.decode(encoded)
        number = int.from_bytes
        return Account(number(balance, "big"), number(nonce, "big"), state.get_code(address), code_hash, storage_root)

    def _nodes(self, root: bytes, key: bytes) -> list[bytes]:
        path = [rlp.encode(node) for node in HexaryTrie(self._chain.chaindb.db, cast("Any", root)).get_proof(key)]
        # A node shorter than its hash stands inside its parent, and is no element of the proof.
        return [node for depth, node in enumerate(path) if depth == 0 or len(node) >= 32]


def _check_creation(to: bytes, data: bytes) -> None:
    """Raise Rejected for a contract too large to create (EIP-3860): py-evm fails over one, and its block with it."""
    if not to and len(data) > MAX_INITCODE_SIZE:
        raise Rejected(f"max initcode size exceeded: code size {len(data)}, limit {MAX_INITCODE_SIZE}")
