"""How Ethereum JSON-RPC writes things: hexadecimal texts, and objects of them; and its errors, with their numbers."""

import re
from collections.abc import Sequence
from typing import Any, Final

from wave.chain.records import Call, LogRow, ReceiptRow

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_ERROR: Final = -32000
LIMIT_EXCEEDED: Final = -32005
REVERTED: Final = 3

MAX_ALTERNATIVES: Final = 256  # values that one topic, or the address, may have in a filter
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,64}")


class RpcError(Exception):
    """An error of JSON-RPC, with its number."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


def to_hex(data: bytes) -> str:
    """Return bytes as Ethereum writes them."""
    return "0x" + data.hex()


def to_word(value: int) -> str:
    """Return a number as 32 bytes."""
    return f"0x{value:064x}"


def read_bytes(value: object, size: int | None = None) -> bytes:
    """Return the bytes that a hexadecimal text means; RpcError when it is none, or not of ``size`` bytes."""
    if isinstance(value, str) and _DATA.fullmatch(value):
        raw = bytes.fromhex(value[2:])
        if size is None or len(raw) == size:
            return raw
    raise RpcError(INVALID_PARAMS, f"not {'bytes' if size is None else f'{size} bytes'} in 0x-prefixed hexadecimal")


def read_address(value: object) -> bytes:
    """Return an address."""
    return read_bytes(value, 20)


def read_number(value: object) -> int:
    """Return the number, below 2**256, that a hexadecimal text means; a 32-byte word is one too."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value, 16)
    raise RpcError(INVALID_PARAMS, "not a number in 0x-prefixed hexadecimal")


def read_several(value: object) -> Sequence[object]:
    """Return what stands at one place of a filter: nothing, one value or a list of them."""
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    if len(values) > MAX_ALTERNATIVES:
        raise RpcError(INVALID_PARAMS, f"at most {MAX_ALTERNATIVES} values at one place of a filter")
    return values


def read_call(value: object) -> Call:
    """Return the call that eth_call and eth_estimateGas describe."""
    if not isinstance(value, dict):
        raise RpcError(INVALID_PARAMS, "a call is an object")
    data = value.get("input", value.get("data", "0x"))
    return Call(
        to=read_address(value["to"]) if value.get("to") else b"",
        data=read_bytes(data),
        sender=read_address(value["from"]) if value.get("from") else bytes(20),
        value=read_number(value.get("value", "0x0")),
        gas=read_number(value["gas"]) if value.get("gas") else None,
    )


def log_form(row: LogRow) -> dict[str, Any]:
    """Return a log entry as eth_getLogs gives it."""
    return {
        "address": to_hex(row.address),
        "topics": [to_hex(topic) for topic in row.topics],
        "data": to_hex(row.data),
        "blockNumber": hex(row.block),
        "blockHash": to_hex(row.block_hash),
        "transactionHash": to_hex(row.transaction),
        "transactionIndex": hex(row.transaction_index),
        "logIndex": hex(row.index),
        "removed": False,
    }


def transaction_form(row: ReceiptRow, transaction: Any) -> dict[str, Any]:
    """Return a mined transaction, py-evm's object, as eth_getTransactionByHash gives it."""
    form: dict[str, Any] = {
        "hash": to_hex(row.transaction),
        "blockHash": to_hex(row.block_hash),
        "blockNumber": hex(row.block),
        "transactionIndex": hex(row.index),
        "type": hex(row.kind),
        "from": to_hex(row.sender),
        "to": to_hex(row.to) if row.to else None,
        "nonce": hex(transaction.nonce),
        "gas": hex(transaction.gas),
        "gasPrice": hex(row.price),
        "value": hex(transaction.value),
        "input": to_hex(transaction.data),
        "chainId": hex(transaction.chain_id) if transaction.chain_id else None,
        "r": hex(transaction.r),
        "s": hex(transaction.s),
        "v": hex(transaction.v if row.kind == 0 else transaction.y_parity),
    }
    if row.kind:
        form["yParity"] = hex(transaction.y_parity)
        form["accessList"] = [
            {"address": to_hex(address), "storageKeys": [to_word(key) for key in slots]}
            for address, slots in transaction.access_list
        ]
    if row.kind >= 2:  # EIP-1559
        form["maxFeePerGas"] = hex(transaction.max_fee_per_gas)
        form["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee_per_gas)
    return form
