"""What the embedded node keeps and answers, as plain records: hashes are bytes, gas and wei are integers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import rlp
from eth_bloom import BloomFilter
from eth_hash.auto import keccak

FLOOR_BASE: Final = 21_000
FLOOR_TOKEN: Final = 10
TOKENS_PER_BYTE: Final = 4


@dataclass(frozen=True, slots=True)
class Call:
    """What eth_call and eth_estimateGas try out, for free, without writing anything."""

    to: bytes = b""
    data: bytes = b""
    sender: bytes = bytes(20)
    value: int = 0
    gas: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """An account at one block."""

    balance: int
    nonce: int
    code: bytes
    code_hash: bytes
    storage_root: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """Merkle-Patricia nodes from the block's state root to an account, and from its storage root to some slots."""

    account: Account
    nodes: list[bytes]
    storage: list[tuple[int, int, list[bytes]]]  # slot, value, nodes


@dataclass(frozen=True, slots=True)
class LogRow:
    """One log entry of one mined transaction; ``index`` counts within the block."""

    block: int
    index: int
    block_hash: bytes
    transaction: bytes
    transaction_index: int
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """What became of one mined transaction; gas in units, price in wei a unit."""

    transaction: bytes
    block: int
    index: int
    block_hash: bytes
    status: int
    gas_used: int
    cumulative_gas: int
    price: int
    kind: int
    sender: bytes
    to: bytes
    created: bytes


def floor_gas(data: bytes) -> int:
    """Return the least that a transaction with ``data`` costs (EIP-7623)."""
    zeros = data.count(0)
    return FLOOR_BASE + FLOOR_TOKEN * (zeros + TOKENS_PER_BYTE * (len(data) - zeros))


def index_rows(block: Any, receipts: Sequence[Any]) -> tuple[list[ReceiptRow], list[LogRow]]:
    """Return the receipts and logs of a block and its receipts, which are py-evm's objects."""
    rows: list[ReceiptRow] = []
    logs: list[LogRow] = []
    before = 0
    base_fee = block.header.base_fee_per_gas or 0
    for index, (transaction, receipt) in enumerate(zip(block.transactions, receipts, strict=True)):
        created = b"" if transaction.to else keccak(rlp.encode([transaction.sender, transaction.nonce]))[12:]
        price = min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas + base_fee)
        rows.append(
            ReceiptRow(
                transaction=transaction.hash,
                block=block.number,
                index=index,
                block_hash=block.hash,
                status=int.from_bytes(receipt.state_root, "big"),
                gas_used=receipt.gas_used - before,
                cumulative_gas=receipt.gas_used,
                price=price,
                kind=transaction.type_id or 0,
                sender=transaction.sender,
                to=transaction.to,
                created=created,
            )
        )
        before = receipt.gas_used
        for entry in receipt.logs:
            topics = tuple(topic.to_bytes(32, "big") for topic in entry.topics)
            logs.append(
                LogRow(block.number, len(logs), block.hash, transaction.hash, index, entry.address, topics, entry.data)
            )
    return rows, logs


def bloom(logs: Sequence[LogRow]) -> bytes:
    """Return the Bloom filter of some logs, as receipts carry it."""
    items = [item for entry in logs for item in (entry.address, *entry.topics)]
    return int(BloomFilter.from_iterable(items)).to_bytes(256, "big")
