"""Ethereum JSON-RPC over the embedded node: bytes in, bytes out, and never an exception.

The same :meth:`Rpc.answer` serves the client in this process and, through :mod:`wave.chain.serve`, everybody else.
"""

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from typing import Any, Final

from wave.chain.forms import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LIMIT_EXCEEDED,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REVERTED,
    SERVER_ERROR,
    RpcError,
    log_form,
    read_address,
    read_bytes,
    read_call,
    read_number,
    read_several,
    to_hex,
    to_word,
    transaction_form,
)
from wave.chain.node import EmbeddedNode, Rejected, Reverted
from wave.chain.records import Account, bloom
from wave.errors import WaveError

_log = logging.getLogger(__name__)

MAX_BATCH: Final = 1_000  # calls in one batch
MAX_LOGS: Final = 10_000  # logs in one answer
MAX_SLOTS: Final = 256  # storage slots in one proof
MAX_HISTORY: Final = 1_024  # blocks in one fee history
_MAX_TOPICS = 4
_TAGS = frozenset({"latest", "pending", "safe", "finalized"})


class Rpc:
    """The methods, over one node; every call may come from any thread."""

    def __init__(self, node: EmbeddedNode) -> None:
        self.node = node
        self._methods: dict[str, Callable[..., object]] = {
            "web3_clientVersion": lambda: "wave/embedded",
            "net_version": lambda: str(node.chain_id),
            "eth_chainId": lambda: hex(node.chain_id),
            "eth_syncing": lambda: False,
            "eth_accounts": list,
            "eth_blockNumber": lambda: hex(node.head().block_number),
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getLogs": self._logs,
            "eth_getProof": self._proof,
            "eth_getStorageAt": lambda a, slot, at="latest": to_word(
                node.storage(read_address(a), read_number(slot), self._header(at))
            ),
            "eth_getCode": lambda a, at="latest": to_hex(self._account(a, at).code),
            "eth_getBalance": lambda a, at="latest": hex(self._account(a, at).balance),
            "eth_getTransactionCount": self._transaction_count,
            "eth_call": lambda call, at="latest": to_hex(node.call(read_call(call), self._header(at))),
            "eth_estimateGas": lambda call, at="latest": hex(node.estimate(read_call(call), self._header(at))),
            "eth_gasPrice": lambda: hex(node.next_base_fee()),
            "eth_maxPriorityFeePerGas": lambda: "0x0",
            "eth_feeHistory": self._fee_history,
            "eth_sendRawTransaction": self._send,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
        }
        self._arity = {name: _arity(method) for name, method in self._methods.items()}

    def answer(self, body: bytes) -> bytes:
        """Return the answer to a request or a batch; empty when it holds notifications alone."""
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return _dump(_failure(None, RpcError(PARSE_ERROR, "parse error")))
        if not isinstance(request, list):
            answer = self._one(request)
            return b"" if answer is None else _dump(answer)
        if not request or len(request) > MAX_BATCH:
            return _dump(_failure(None, RpcError(INVALID_REQUEST, f"a batch holds 1 to {MAX_BATCH} calls")))
        answers = [answer for answer in self._batch(request) if answer is not None]
        return _dump(answers) if answers else b""

    def _batch(self, requests: Sequence[Any]) -> list[dict[str, Any] | None]:
        """Answer in order, but send transactions that stand next to one another together, so that they share blocks."""
        answers: list[dict[str, Any] | None] = []
        start = 0
        while start < len(requests):
            end = start
            while end < len(requests) and _is_send(requests[end]):
                end += 1
            if end - start > 1:
                group = requests[start:end]
                outcomes = self.node.send([bytes.fromhex(call["params"][0][2:]) for call in group])
                for call, outcome in zip(group, outcomes, strict=True):
                    answers.append(_result(call["id"], partial(_sent, outcome)))
                start = end
            else:
                answers.append(self._one(requests[start]))
                start += 1
        return answers

    def _one(self, request: Any) -> dict[str, Any] | None:
        if not isinstance(request, dict):
            return _failure(None, RpcError(INVALID_REQUEST, "a call is an object"))
        identity = request.get("id")
        name, params = request.get("method"), request.get("params", [])
        wrong_id = isinstance(identity, bool | list | dict)
        if request.get("jsonrpc") != "2.0" or not isinstance(name, str) or wrong_id:
            return _failure(None if wrong_id else identity, RpcError(INVALID_REQUEST, "not a JSON-RPC 2.0 call"))
        answer = _result(identity, lambda: self._run(name, params))
        return answer if "id" in request else None

    def _run(self, name: str, params: Any) -> object:
        method = self._methods.get(name)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, f"the method {name[:64]} does not exist")
        if not isinstance(params, list):
            raise RpcError(INVALID_PARAMS, "parameters are a list")
        fewest, most = self._arity[name]
        if not fewest <= len(params) <= most:
            raise RpcError(INVALID_PARAMS, f"{name} takes {fewest} to {most} parameters")
        return method(*params)

    # Methods -------------------------------------------------------------------------------------------------------

    def _header(self, at: object) -> Any:
        """Return the header that a block parameter means: a number, a tag, or an object with a hash or a number."""
        if isinstance(at, dict):
            if "blockHash" in at:
                header = self.node.header(read_bytes(at["blockHash"], 32))
            else:
                header = self.node.header(read_number(at.get("blockNumber")))
        elif at == "earliest":
            header = self.node.header(0)
        elif isinstance(at, str) and at in _TAGS:
            return self.node.head(fresh=False)
        else:
            header = self.node.header(read_number(at))
        if header is None:
            raise RpcError(SERVER_ERROR, "header not found")
        return header

    def _block_by_number(self, at: object, full: object = None) -> object:
        if isinstance(at, str) and at in _TAGS:
            header: Any = self.node.head()
        else:
            header = self.node.header(0 if at == "earliest" else read_number(at))
        return None if header is None else self._block(header, full)

    def _block_by_hash(self, block_hash: object, full: object = None) -> object:
        header = self.node.header(read_bytes(block_hash, 32))
        return None if header is None else self._block(header, full)

    def _block(self, header: Any, full: object) -> dict[str, Any]:
        if full not in (None, True, False):
            raise RpcError(INVALID_PARAMS, "the second parameter is true or false")
        hashes, size = self.node.block(header.block_number)
        known = [self.node.transaction(transaction) for transaction in hashes] if full else []
        return {
            "number": hex(header.block_number),
            "hash": to_hex(header.hash),
            "parentHash": to_hex(header.parent_hash),
            "timestamp": hex(header.timestamp),
            "miner": to_hex(header.coinbase),
            "difficulty": hex(header.difficulty),
            "extraData": to_hex(header.extra_data),
            "gasLimit": hex(header.gas_limit),
            "gasUsed": hex(header.gas_used),
            "baseFeePerGas": hex(header.base_fee_per_gas),
            "logsBloom": to_hex(header.bloom.to_bytes(256, "big")),
            "mixHash": to_hex(header.mix_hash),
            "nonce": to_hex(header.nonce),
            "receiptsRoot": to_hex(header.receipt_root),
            "sha3Uncles": to_hex(header.uncles_hash),
            "stateRoot": to_hex(header.state_root),
            "transactionsRoot": to_hex(header.transaction_root),
            "withdrawalsRoot": to_hex(header.withdrawals_root),
            "blobGasUsed": hex(header.blob_gas_used),
            "excessBlobGas": hex(header.excess_blob_gas),
            "parentBeaconBlockRoot": to_hex(header.parent_beacon_block_root),
            "requestsHash": to_hex(header.requests_hash),
            "size": hex(size),
            "transactions": (
                [transaction_form(*item) for item in known if item] if full else [to_hex(item) for item in hashes]
            ),
            "withdrawals": [],
            "uncles": [],
        }

    def _logs(self, query: object) -> object:
        if not isinstance(query, dict):
            raise RpcError(INVALID_PARAMS, "a filter is an object")
        if "blockHash" in query:
            header = self.node.header(read_bytes(query["blockHash"], 32))
            if header is None:
                raise RpcError(SERVER_ERROR, "unknown block")
            first = last = int(header.block_number)
        else:
            first = self._header(query.get("fromBlock", "latest")).block_number
            last = self._last_block(query.get("toBlock", "latest"))
        if first > last:
            raise RpcError(INVALID_PARAMS, "invalid block range")
        addresses = [read_address(item) for item in read_several(query.get("address"))]
        wanted = query.get("topics") or []
        if not isinstance(wanted, list) or len(wanted) > _MAX_TOPICS:
            raise RpcError(INVALID_PARAMS, f"topics are a list of at most {_MAX_TOPICS}")
        topics = [[read_bytes(item, 32) for item in read_several(position)] for position in wanted]
        rows = self.node.logs(first, last, addresses=addresses, topics=topics, limit=MAX_LOGS + 1)
        if len(rows) > MAX_LOGS:
            raise RpcError(LIMIT_EXCEEDED, f"query returned more than {MAX_LOGS} results")
        return [log_form(row) for row in rows]

    def _last_block(self, at: object) -> int:
        head = self.node.head(fresh=False).block_number
        return head if isinstance(at, str) and at in _TAGS else min(head, read_number(at))

    def _account(self, address: object, at: object) -> Account:
        return self.node.account(read_address(address), self._header(at))

    def _transaction_count(self, address: object, at: object = "latest") -> str:
        if at == "pending":
            return hex(self.node.next_nonce(read_address(address)))
        return hex(self._account(address, at).nonce)

    def _proof(self, address: object, slots: object, at: object = "latest") -> object:
        if not isinstance(slots, list) or len(slots) > MAX_SLOTS:
            raise RpcError(INVALID_PARAMS, f"storage keys are a list of at most {MAX_SLOTS}")
        raw = read_address(address)
        proof = self.node.proof(raw, [read_number(slot) for slot in slots], self._header(at))
        return {
            "address": to_hex(raw),
            "accountProof": [to_hex(node) for node in proof.nodes],
            "balance": hex(proof.account.balance),
            "codeHash": to_hex(proof.account.code_hash),
            "nonce": hex(proof.account.nonce),
            "storageHash": to_hex(proof.account.storage_root),
            "storageProof": [
                {"key": to_word(slot), "value": hex(value), "proof": [to_hex(node) for node in nodes]}
                for slot, value, nodes in proof.storage
            ],
        }

    def _fee_history(self, count: object, newest: object, percentiles: object = None) -> object:
        number = read_number(count) if isinstance(count, str) else count
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MAX_HISTORY:
            raise RpcError(INVALID_PARAMS, f"block count is 1 to {MAX_HISTORY}")
        if percentiles is not None and (not isinstance(percentiles, list) or len(percentiles) > 100):
            raise RpcError(INVALID_PARAMS, "percentiles are a list of at most 100")
        last = self._header(newest)
        first = max(0, last.block_number - number + 1)
        headers: list[Any] = [self.node.header(height) for height in range(first, last.block_number)]
        headers.append(last)
        history: dict[str, Any] = {
            "oldestBlock": hex(first),
            "baseFeePerGas": [hex(h.base_fee_per_gas) for h in headers] + [hex(self.node.next_base_fee(last))],
            "gasUsedRatio": [h.gas_used / h.gas_limit for h in headers],
        }
        if percentiles:
            history["reward"] = [["0x0"] * len(percentiles) for _ in headers]
        return history

    def _send(self, raw: object) -> str:
        return _sent(self.node.send([read_bytes(raw)])[0])

    def _receipt(self, transaction: object) -> object:
        found = self.node.receipt(read_bytes(transaction, 32))
        if found is None:
            return None
        row, logs = found
        return {
            "transactionHash": to_hex(row.transaction),
            "transactionIndex": hex(row.index),
            "blockHash": to_hex(row.block_hash),
            "blockNumber": hex(row.block),
            "from": to_hex(row.sender),
            "to": to_hex(row.to) if row.to else None,
            "contractAddress": to_hex(row.created) if row.created else None,
            "status": hex(row.status),
            "gasUsed": hex(row.gas_used),
            "cumulativeGasUsed": hex(row.cumulative_gas),
            "effectiveGasPrice": hex(row.price),
            "type": hex(row.kind),
            "logs": [log_form(entry) for entry in logs],
            "logsBloom": to_hex(bloom(logs)),
        }

    def _transaction(self, transaction: object) -> object:
        found = self.node.transaction(read_bytes(transaction, 32))
        return None if found is None else transaction_form(*found)


# Forms -------------------------------------------------------------------------------------------------------------


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _result(identity: object, run: Callable[[], object]) -> dict[str, Any]:
    """Return the answer that ``run`` gives, or the error that it raises."""
    try:
        return {"jsonrpc": "2.0", "id": identity, "result": run()}
    except RpcError as error:
        return _failure(identity, error)
    except Reverted as error:
        return _failure(identity, RpcError(REVERTED, str(error), to_hex(error.data)))
    except Rejected as error:
        return _failure(identity, RpcError(SERVER_ERROR, str(error)))
    except WaveError as error:
        return _failure(identity, RpcError(SERVER_ERROR, error.message, error.code))
    except Exception:  # noqa: BLE001 - a fault of ours must reach the log, and the caller an answer
        _log.exception("JSON-RPC call failed")
        return _failure(identity, RpcError(INTERNAL_ERROR, "internal error"))


def _failure(identity: object, error: RpcError) -> dict[str, Any]:
    details: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.data is not None:
        details["data"] = error.data
    return {"jsonrpc": "2.0", "id": identity, "error": details}


def _arity(method: Callable[..., object]) -> tuple[int, int]:
    """Return the fewest and the most parameters that ``method`` takes."""
    if method is list:
        return 0, 0
    parameters = signature(method).parameters.values()
    return sum(parameter.default is parameter.empty for parameter in parameters), len(parameters)


def _is_send(call: Any) -> bool:
    """Tell a well-formed eth_sendRawTransaction, which may be sent together with its neighbours."""
    if not isinstance(call, dict) or call.get("method") != "eth_sendRawTransaction" or call.get("jsonrpc") != "2.0":
        return False
    params, identity = call.get("params"), call.get("id")
    if not isinstance(identity, str | int) or not isinstance(params, list) or len(params) != 1:
        return False
    try:
        read_bytes(params[0])
    except RpcError:
        return False
    return True


def _sent(outcome: bytes | Exception) -> str:
    if isinstance(outcome, Exception):
        raise outcome
    return to_hex(outcome)
