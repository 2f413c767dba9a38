"""The one web3 client: writes to the registry and reads from it, whatever Ethereum node stands behind.

Importing this module takes a second or more; import it where it is used. Errors of web3 and of the node never escape:
they become ChainUnavailable, WrongChain, TransactionFailed, NameTaken, StateLocked or StateUnwritable.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

from hexbytes import HexBytes
from web3 import Web3
from web3.eth import Eth
from web3.exceptions import BlockNotFound, ContractLogicError, Web3Exception, Web3RPCError
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from wave.chain import bound_recursion, contract, genesis
from wave.chain.contract import Event
from wave.chain.payer import Payer, Verdict, judge
from wave.chain.wire import Wire
from wave.errors import (
    BadName,
    BadSetting,
    ChainUnavailable,
    NameTaken,
    TooLarge,
    TransactionFailed,
    WaveError,
    WrongChain,
    codes,
)
from wave.limits import LIMITS
from wave.namespace.name import check_label

bound_recursion()
_log = logging.getLogger(__name__)

ATTEMPTS: Final = 40  # rounds of one call while others use the same payer
RECEIPT_WAIT: Final = 60.0  # seconds for a transaction to be mined
BATCH_CALLS: Final = 200  # transactions in one request
BATCH_BYTES: Final = 400_000  # raw bytes of transactions in one request; hexadecimal doubles them
FEES_KEPT: Final = 5.0  # seconds for which the fees asked for are used again
_HIGHEST: Final = 2**53  # block or log


@dataclass(frozen=True, slots=True)
class Block:
    """What names a block: number, hash, its parent's hash, and its time in UNIX seconds."""

    number: int
    hash: bytes
    parent_hash: bytes
    time: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that was carried out: its hash, the height of its block, and the gas it took."""

    transaction: bytes
    height: int
    gas: int


class ChainClient:
    """A connection to the registry on one chain. For one thread; open one for each."""

    def __init__(
        self,
        transport: Callable[[bytes], bytes],
        close: Callable[[], None],
        name: str,
        payer: bytes | None,
        registry: bytes,
    ) -> None:
        """Use :meth:`connect`."""
        self.name = name
        self._close = close
        self._provider = _Provider(transport)
        self._w3 = Web3(self._provider, middleware=[], modules={"eth": Eth}, ens=cast("Any", None))
        self._address = Web3.to_checksum_address(registry)
        self._contract = self._w3.eth.contract(address=self._address, abi=contract.abi())
        self._payer = None if payer is None else Payer(payer)
        self._chain_id = 0
        self._fees: tuple[float, dict[str, int]] | None = None
        self._gas: dict[int, int] = {}

    @classmethod
    def connect(
        cls,
        chain: str,
        *,
        state: Path,
        payer: bytes | None = None,
        wait: float = 0.0,
        chain_id: int = contract.CHAIN_ID,
        registry: bytes = contract.REGISTRY,
    ) -> Self:
        """Connect to ``chain``: "embedded" (a node in this process, kept under ``state``), a URL, or unix:/path.

        ``payer`` is the secp256k1 key that pays; None means the development account on a chain of WAVE's own id.
        ``wait`` is how many seconds to wait for another process to let go of ``state``. WrongChain when the chain has
        another id or no registry; ChainUnavailable, StateLocked, StateUnwritable.
        """
        transport: Callable[[bytes], bytes]
        if chain == "embedded":
            from wave.chain.node import EmbeddedNode
            from wave.chain.rpc import Rpc

            node = EmbeddedNode.open(state / "chain", wait=wait)
            transport, close, name = Rpc(node).answer, node.close, "the embedded chain"
        else:
            wire = Wire(chain)
            transport, close, name = wire, wire.close, wire.name
        if payer is None and chain_id == contract.CHAIN_ID:
            payer = genesis.DEVELOPMENT_PAYER
        try:
            client = cls(transport, close, name, payer, registry)
            client._check_chain(chain_id)
        except BaseException:
            close()
            raise
        return client

    def _check_chain(self, chain_id: int) -> None:
        with self._errors():
            seen = self._w3.eth.chain_id
            code = bytes(self._w3.eth.get_code(self._address)) if seen == chain_id else b""
        if seen != chain_id:
            raise WrongChain(f"{self.name} is chain {seen}, not {chain_id}")
        if not code:
            raise WrongChain(f"{self.name} has no registry at {self._address}")
        self._chain_id = chain_id

    def close(self) -> None:
        """Close the connection, and the embedded node with it."""
        self._close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    @property
    def chain_id(self) -> int:
        """The chain's id, as it was checked on connecting."""
        return self._chain_id

    @property
    def registry(self) -> str:
        """The registry's address, with its checksum in the letters' case."""
        return str(self._address)

    # Reading -------------------------------------------------------------------------------------------------------

    def head(self) -> Block:
        """Return the newest block."""
        with self._errors():
            return _block(self._w3.eth.get_block("latest"))

    def block(self, number: int) -> Block | None:
        """Return the block of that number, or None when the chain is shorter."""
        with self._errors():
            try:
                return _block(self._w3.eth.get_block(number))
            except BlockNotFound:
                return None

    def alias(self, label: str) -> bytes | None:
        """Return who holds the global alias ``label``, or None."""
        key = _label(label)
        with self._errors():
            holder = bytes(self._contract.functions.alias(key).call())
        return holder if any(holder) else None

    def revoked_at(self, commitment: bytes) -> int | None:
        """Return the height at which the preimage of ``commitment`` was shown, or None."""
        with self._errors():
            return int(self._contract.functions.revoked(commitment).call()) or None

    def events(self, from_height: int, to_height: int) -> list[Event]:
        """Return what the registry said in the blocks from ``from_height`` to ``to_height``, both included, in order.

        A range that the node finds too long is asked for in halves.
        """
        found: list[Event] = []
        ranges = [(from_height, to_height)]
        while ranges:
            first, last = ranges.pop()
            query: Any = {"address": self._address, "fromBlock": first, "toBlock": last}
            with self._errors():
                try:
                    logs = self._w3.eth.get_logs(query)
                except Web3RPCError:
                    if first >= last:
                        raise
                    middle = (first + last) // 2
                    ranges += [(middle + 1, last), (first, middle)]
                    continue
                for log in logs:
                    event = self._event(log)
                    if not first <= event.height <= last:
                        raise ChainUnavailable(f"{self.name} answers with blocks that were not asked for")
                    found.append(event)
        found.sort(key=lambda event: (event.height, event.index))
        return found

    # Writing -------------------------------------------------------------------------------------------------------

    def publish(self, data: bytes) -> Receipt:
        """Publish the bytes of one object."""
        return self.publish_many([data])[0]

    def publish_many(self, objects: Sequence[bytes]) -> list[Receipt]:
        """Publish many objects, each in a transaction of its own, sent together; return when all are mined."""
        for data in objects:
            if len(data) > contract.DATA_BYTES:
                raise TooLarge(f"an object has at most {contract.DATA_BYTES} bytes, this one {len(data)}")
        return self._transact([self._encode("publish", data) for data in objects], self._publishing_gas(objects))

    def anchor(self, root: bytes, count: int) -> Receipt:
        """Put a time on the ``count`` objects under the Merkle root ``root``."""
        return self._transact([self._encode("anchor", root, count)])[0]

    def revoke(self, preimages: Sequence[bytes]) -> Receipt:
        """Show preimages of commitments, at most 64, which revokes for ever whatever carries them."""
        if not 0 < len(preimages) <= contract.PREIMAGES:
            raise TooLarge(f"one call revokes 1 to {contract.PREIMAGES} commitments, not {len(preimages)}")
        return self._transact([self._encode("revoke", list(preimages))])[0]

    def claim(self, label: str, target: bytes) -> Receipt:
        """Give the global alias ``label`` to ``target``; NameTaken when somebody has it."""
        key = _label(label)
        if not any(target):
            raise BadName("a name cannot stand for the id of all zeros")
        try:
            return self._transact([self._encode("claim", key, target)])[0]
        except TransactionFailed:
            holder = self.alias(label)
            if holder is None:
                raise
            from wave.codec import id_text

            raise NameTaken(f"the name {label!r} belongs to {id_text(holder)} already") from None

    def _encode(self, function: str, *arguments: object) -> bytes:
        with self._errors():
            return bytes.fromhex(self._contract.encode_abi(function, args=list(arguments)).removeprefix("0x"))

    def _transact(self, calls: Sequence[bytes], gas: int | None = None) -> list[Receipt]:
        """Send one transaction for each of ``calls`` and wait for all; in order, unless others use the payer too.

        ``gas`` is the limit of each; None asks the node what the one call needs.
        """
        if not calls:
            return []
        with self._errors():
            gas = gas or self._estimate(calls[0])
            receipts: dict[int, Receipt] = {}
            waiting = list(range(len(calls)))
            failures = 0
            while True:
                sent = self._send(calls, waiting, gas)
                receipts.update(self._receipts(sent))
                waiting = [index for index in waiting if index not in receipts]
                if not waiting:
                    return [receipts[index] for index in range(len(calls))]
                failures = 0 if sent else failures + 1
                if failures >= ATTEMPTS:
                    break
                if failures:
                    time.sleep(random.uniform(0, 0.002 * 2 ** min(failures, 7)))  # noqa: S311 - spreads rivals
        raise TransactionFailed(
            f"{self.name} took none of {len(waiting)} transactions, {ATTEMPTS} times over",
            hint="others use the same payer; give each process a payer of its own",
        )

    def _send(self, calls: Sequence[bytes], waiting: Sequence[int], gas: int) -> dict[bytes, int]:
        """Send as many of the ``waiting`` calls as one request holds; return those taken, by transaction hash."""
        payer = self._paying()
        chosen: list[int] = []
        size = 0
        for index in waiting[:BATCH_CALLS]:
            size += len(calls[index]) + 200
            if chosen and size > BATCH_BYTES:
                break
            chosen.append(index)
        first = payer.nonce
        if first is None:
            first = int(self._w3.eth.get_transaction_count(payer.address, "pending"))
        common = {"chainId": self._chain_id, "to": self._address, "gas": gas, **self._current_fees()}
        signed = payer.sign([calls[index] for index in chosen], first, **common)
        payer.nonce = None  # unknown, should anything go wrong from here on
        answers = self._provider.ask([("eth_sendRawTransaction", [_hex(item.raw)]) for item in signed])
        sent = {
            item.hash: index
            for index, item, answer in zip(chosen, signed, answers, strict=True)
            if self._is_taken(answer, item.hash)
        }
        if len(sent) == len(chosen):
            payer.nonce = first + len(chosen)
        return sent

    def _is_taken(self, answer: RPCResponse, transaction: bytes) -> bool:
        """Tell whether the node took the transaction; False: sign it again. TransactionFailed when that is no use."""
        if "error" not in answer:
            if HexBytes(cast("Any", answer.get("result"))) != transaction:
                raise ChainUnavailable(f"{self.name} answers with the hash of another transaction")
            return True
        _raise_ours(answer)
        error: Any = answer["error"]
        message = str(error.get("message", "") if isinstance(error, dict) else error)
        verdict = judge(message)
        if verdict is Verdict.NONCE:  # used up by this very transaction, if an answer got lost
            found = self._provider.ask([("eth_getTransactionReceipt", [_hex(transaction)])])[0]
            return self._receipt(found) is not None
        if verdict is Verdict.FEE:
            self._fees = None
        if verdict is Verdict.REFUSED:
            raise TransactionFailed(f"{self.name} refused a transaction: {_plain(message)}")
        return verdict is Verdict.TAKEN

    def _receipts(self, sent: dict[bytes, int]) -> dict[int, Receipt]:
        """Wait until every sent transaction is mined."""
        found: dict[int, Receipt] = {}
        missing = list(sent)
        deadline = time.monotonic() + RECEIPT_WAIT
        pause = 0.02
        while missing:
            answers = self._provider.ask([("eth_getTransactionReceipt", [_hex(item)]) for item in missing])
            for transaction, answer in zip(missing, answers, strict=True):
                receipt = self._receipt(answer)
                if receipt is not None:
                    found[sent[transaction]] = receipt
            missing = [item for item in missing if sent[item] not in found]
            if missing:
                if time.monotonic() > deadline:
                    raise TransactionFailed(
                        f"{self.name} took a transaction, but has not mined it in {RECEIPT_WAIT:.0f} s"
                    )
                time.sleep(pause)
                pause = min(2 * pause, 1.0)
        return found

    def _receipt(self, answer: RPCResponse) -> Receipt | None:
        _raise_ours(answer)
        form: Any = answer.get("result")
        if form is None:
            if "error" in answer:
                raise Web3RPCError(str(answer["error"]), rpc_response=answer)
            return None
        receipt = Receipt(
            bytes(HexBytes(form["transactionHash"])), int(form["blockNumber"], 16), int(form["gasUsed"], 16)
        )
        if int(form["status"], 16) != 1:
            raise TransactionFailed(f"the registry refused transaction {receipt.transaction.hex()}")
        return receipt

    def _paying(self) -> Payer:
        if self._payer is None:
            raise BadSetting("writing to this chain needs a payer", hint="name the key file of an account with funds")
        return self._payer

    def _estimate(self, call: bytes) -> int:
        """Return a gas limit for ``call``, with some to spare; TransactionFailed when the registry would refuse."""
        query: Any = {"from": self._paying().address, "to": self._address, "data": HexBytes(call)}
        try:
            need = self._w3.eth.estimate_gas(query)
        except ContractLogicError as error:
            raise TransactionFailed(f"the registry refuses: {_plain(error.message)}") from None
        return need + need // 4 + 5_000

    def _publishing_gas(self, objects: Sequence[bytes]) -> int:
        """Return a gas limit that is enough to publish any of ``objects``.

        It depends on the size alone, so it is asked for once for each power of two.
        """
        size = max(256, 1 << (max(map(len, objects), default=0) - 1).bit_length())
        if size not in self._gas:
            worst = self._encode("publish", b"\xff" * size)
            with self._errors():
                self._gas[size] = self._estimate(worst)
        return self._gas[size]

    def _current_fees(self) -> dict[str, int]:
        now = time.monotonic()
        if self._fees is None or now - self._fees[0] > FEES_KEPT:
            base = int(self._w3.eth.fee_history(1, "latest")["baseFeePerGas"][-1])
            tip = int(self._w3.eth.max_priority_fee)
            self._fees = now, {"maxFeePerGas": 2 * base + tip, "maxPriorityFeePerGas": tip}
        return self._fees[1]

    # Inside --------------------------------------------------------------------------------------------------------

    def _event(self, log: Any) -> Event:
        if log["address"] != self._address:
            raise ChainUnavailable(f"{self.name} answers with events of another contract")
        topics = [bytes(topic) for topic in log["topics"]]
        index = int(log["logIndex"])
        if not 0 <= index <= _HIGHEST:
            raise ValueError("a log out of all proportion")
        return contract.read_event(int(log["blockNumber"]), index, topics, bytes(log["data"]))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn whatever web3 raises, or stumbles over in an answer, into our own errors."""
        try:
            yield
        except WaveError:
            raise
        except Web3RPCError as error:
            _raise_ours(error.rpc_response)
            raise ChainUnavailable(f"{self.name} answers with an error: {_plain(error.message)}") from None
        except Web3Exception as error:
            raise ChainUnavailable(f"{self.name} answers with an error: {_plain(str(error))}") from None
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            _log.debug("unreadable answer of %s: %s", self.name, type(error).__name__)
            raise ChainUnavailable(f"{self.name} answers with something unreadable") from None


class _Provider(JSONBaseProvider):
    """A web3 provider over anything that takes the bytes of a request and returns those of the answer."""

    def __init__(self, transport: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._transport = transport

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Ask one thing."""
        answer = self.decode_rpc_response(self._transport(self.encode_rpc_request(method, params)))
        if not isinstance(answer, dict):
            raise TypeError("not a JSON-RPC answer")
        return answer

    def make_batch_request(self, requests: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse] | RPCResponse:
        """Ask several things in one request; the answers come in the order of the questions."""
        answers: Any = self.decode_rpc_response(self._transport(self.encode_batch_rpc_request(requests)))
        if isinstance(answers, list):
            return sorted(answers, key=lambda answer: int(answer["id"]))
        return cast("RPCResponse", answers)

    def ask(self, requests: Sequence[tuple[str, Any]]) -> list[RPCResponse]:
        """Ask one or several things, without web3's reading of the answers, and return as many answers."""
        questions = [(RPCEndpoint(method), params) for method, params in requests]
        answers = [self.make_request(*questions[0])] if len(questions) == 1 else self.make_batch_request(questions)
        if not isinstance(answers, list):
            raise Web3RPCError(str(answers.get("error")), rpc_response=answers)
        if len(answers) != len(questions):
            raise ValueError("not as many answers as questions")
        return answers


def _block(form: Any) -> Block:
    number, time_ = int(form["number"]), int(form["timestamp"])
    if not (0 <= number <= _HIGHEST and 0 <= time_ <= LIMITS.latest_time):
        raise ValueError("a block out of all proportion")
    return Block(number, bytes(form["hash"]), bytes(form["parentHash"]), time_)


def _label(label: str) -> bytes:
    return contract.pad_label(check_label(label))


def _hex(data: bytes) -> str:
    return "0x" + bytes(data).hex()


def _plain(text: object) -> str:
    """Return a node's own words, cut short and on one line."""
    return " ".join(str(text).split())[:200]


def _raise_ours(answer: Any) -> None:
    """Raise the error that one of our own nodes names by its code."""
    error: Any = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict) and (cls := codes().get(str(error.get("data")))):
        raise cls(_plain(error.get("message")))
