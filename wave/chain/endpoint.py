"""One node, asked by JSON-RPC: blocks, the registry's events, its state.

What the contract's functions answer is asked through web3 (:mod:`wave.chain.functions`). Blocks, events and proofs are
read here: strictly, for web3 takes a number in any form, and events twenty times as quickly.

An endpoint may limit how often it is asked, how many blocks one question spans, how much one answer holds, and how
many calls one request carries: the question is then repeated later, or asked in parts.
"""

import json
import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from wave.chain import contract
from wave.chain.answer import NodeError, data, number, raise_ours, reading, result, to_hex
from wave.chain.contract import Event
from wave.chain.header import HIGHEST, Block
from wave.chain.patience import Patience, is_limited
from wave.chain.wire import Wire
from wave.errors import AnswerTooLarge, ChainUnavailable, WrongChain
from wave.limits import LIMITS
from wave.namespace.name import check_label

if TYPE_CHECKING:
    from wave.chain.functions import Functions

_log = logging.getLogger(__name__)

EMBEDDED: Final = "embedded"
SPAN_TRUST: Final = 32  # answers at the widest span that works, before a wider one is tried again
_WORD: Final = 32
_TOPICS: Final = [["0x" + kind for kind in (contract.PUBLISHED, contract.ANCHORED, contract.REVOKED, contract.CLAIMED)]]


class Endpoint:
    """One node, and the registry as that node tells of it. For one thread."""

    def __init__(
        self, transport: Callable[[bytes], bytes], close: Callable[[], None], name: str, registry: bytes
    ) -> None:
        """Use :meth:`open`."""
        self.name = name
        self._close = close
        self._rpc = _Rpc(transport, name)
        self._registry = registry
        self._address = to_hex(registry)
        self._chain_id: int | None = None
        self._span = _Span()

    @classmethod
    def open(cls, chain: str, *, state: Path, wait: float = 0.0, registry: bytes = contract.REGISTRY) -> Self:
        """Open "embedded" (a node in this process, kept under ``state``), a URL, or unix:/path; asks nothing yet.

        ``wait`` is how many seconds to wait for another process to let go of ``state``. BadSetting, StateLocked,
        StateUnwritable.
        """
        if chain == EMBEDDED:
            from wave.chain.node import EmbeddedNode
            from wave.chain.rpc import Rpc

            node = EmbeddedNode.open(state / "chain", wait=wait)
            return cls(Rpc(node).answer, node.close, "the embedded chain", registry)
        wire = Wire(chain)
        return cls(wire, wire.close, wire.name, registry)

    def close(self) -> None:
        """Close the connection, and the embedded node with it."""
        self._close()

    @property
    def chain_id(self) -> int:
        """The chain's id, asked for once."""
        if self._chain_id is None:
            with reading(self.name):
                self._chain_id = number(self._result("eth_chainId"), HIGHEST)
        return self._chain_id

    @property
    def registry(self) -> str:
        """The registry's address, with its checksum in the letters' case."""
        return contract.checksum_address(self._registry)

    def check(self, chain_id: int | None = None) -> None:
        """Raise WrongChain when the chain has another id than ``chain_id``, or no or another code at the address."""
        if chain_id not in (None, self.chain_id):
            raise WrongChain(f"{self.name} is chain {self.chain_id}, not {chain_id}")
        with reading(self.name):
            code = data(self._result("eth_getCode", self._address, "latest"))
        if not code:
            raise WrongChain(
                f"{self.name} has no registry at {self.registry}",
                hint="put one there with 'wave chain deploy', or name its address: 'wave chain use … --registry'",
            )
        if code != contract.runtime():
            raise WrongChain(
                f"{self.name} has another contract at {self.registry}, not the registry of this release",
                hint="name the registry's address, or deploy one with 'wave chain deploy'",
            )

    def ask(self, requests: Sequence[tuple[str, Any]]) -> list[Any]:
        """Ask one or several things and return as many raw JSON-RPC answers, in order; ChainUnavailable."""
        with reading(self.name):
            return self._rpc.ask(requests)

    def head(self) -> Block:
        """Return the newest block."""
        with reading(self.name):
            return _block(self._result("eth_getBlockByNumber", "latest", False))

    def block(self, height: int) -> Block | None:
        """Return the block of that number, or None when the chain is shorter."""
        with reading(self.name):
            form = self._result("eth_getBlockByNumber", hex(height), False)
            if form is None:
                return None
            block = _block(form)
            if block.number != height:
                raise ChainUnavailable(f"{self.name} answers with block {block.number} where {height} was asked for")
            return block

    def alias(self, label: str) -> bytes | None:
        """Return who holds the global alias ``label``, or None."""
        key = contract.pad_label(check_label(label))
        with reading(self.name):
            holder = self._functions.alias(key)
        return holder if any(holder) else None

    def revoked_at(self, commitment: bytes) -> int | None:
        """Return the height at which the preimage of ``commitment`` was shown, or None."""
        with reading(self.name):
            return self._functions.revoked(commitment) or None

    def header(self, height: int) -> dict[str, Any] | None:
        """Return a block as eth_getBlockByNumber gives it, with its transactions' hashes alone, or None; unchecked."""
        with reading(self.name):
            return _object_or_none(self._result("eth_getBlockByNumber", hex(height), False))

    def state_proof(self, slots: Sequence[bytes], height: int) -> dict[str, Any]:
        """Return what eth_getProof says of the registry's storage slots (32 bytes each) at a block; unchecked."""
        with reading(self.name):
            keys = [to_hex(slot) for slot in slots]
            form = _object_or_none(self._result("eth_getProof", self._address, keys, hex(height)))
            if form is None:
                raise ChainUnavailable(f"{self.name} gives no proof of its state at block {height}")
            return form

    # Events --------------------------------------------------------------------------------------------------------

    def events(self, from_height: int, to_height: int) -> list[Event]:
        """Return what the registry said in the blocks from ``from_height`` to ``to_height``, both included, in order.

        A range that the node finds too long, or that holds too much for one answer, is asked for in parts; the size
        that worked is remembered. ChainUnavailable for logs that were removed, are of other blocks or of another
        contract, stand out of order or cannot be read.
        """
        found: list[Event] = []
        first = from_height
        while first <= to_height:
            last = min(to_height, first + self._span.size - 1)
            try:
                with reading(self.name):
                    found += self._events(first, last)
            except _RangeRefused as refusal:
                self._span.refused(last - first + 1)
                if first == last:
                    raise refusal.error from None
                continue
            self._span.worked(last - first + 1)
            first = last + 1
        return found

    def _events(self, first: int, last: int) -> list[Event]:
        """Return the events of one question; _RangeRefused when the node may answer a shorter one."""
        query = {"address": self._address, "fromBlock": hex(first), "toBlock": hex(last), "topics": _TOPICS}
        try:
            logs = self._result("eth_getLogs", query)
        except AnswerTooLarge as error:
            raise _RangeRefused(error) from None
        except NodeError as error:  # nodes have no common code for this, so a shorter range is tried after any error
            raise _RangeRefused(ChainUnavailable(f"{self.name} answers with an error: {error.words}")) from None
        if not isinstance(logs, list):
            raise TypeError("not a list of logs")
        try:
            events = [_event(log, self._address) for log in logs]
        except _WrongLog as wrong:
            raise ChainUnavailable(f"{self.name} answers with {wrong}") from None
        at = (first, -1)
        block_hash = b""
        for event in events:
            place = (event.height, event.index)
            if not first <= event.height <= last:
                raise ChainUnavailable(f"{self.name} answers with blocks that were not asked for")
            if place <= at:
                raise ChainUnavailable(f"{self.name} answers with events out of order")
            if event.height == at[0] and at[1] >= 0 and event.block_hash != block_hash:
                raise ChainUnavailable(f"{self.name} answers with two blocks of one height")
            at, block_hash = place, event.block_hash
        return events

    # Inside --------------------------------------------------------------------------------------------------------

    def _result(self, method: str, *params: object) -> Any:
        """Return the result of one call; NodeError, or an error of ours that a node of ours names."""
        return result(self._rpc.ask([(method, list(params))])[0])

    @cached_property
    def _functions(self) -> "Functions":
        from wave.chain.functions import Functions  # brings web3, which takes more than a second to import

        return Functions(self._rpc.ask, self._registry)


class _RangeRefused(Exception):
    """A question about too many blocks, or so it seems; ``error`` is what to raise when one block is too many."""

    def __init__(self, error: ChainUnavailable) -> None:
        super().__init__(error.message)
        self.error = error


class _WrongLog(Exception):
    """A log that is not one of the registry's as the chain now stands."""


class _Span:
    """How many blocks to ask for at once: half after a refusal, more when answers come, below what was refused."""

    def __init__(self) -> None:
        self.size = HIGHEST
        self._refused = HIGHEST + 1
        self._answers = 0

    def refused(self, size: int) -> None:
        self._refused = size
        self.size = max(1, size // 2)
        self._answers = 0

    def worked(self, size: int) -> None:
        if size < self.size:
            return  # a short rest says nothing
        wider = min(2 * self.size, (self.size + self._refused) // 2)
        if wider - self.size > self.size // 16:
            self.size = wider
            return
        self._answers += 1
        if self._answers >= SPAN_TRUST:
            self._refused = min(2 * self._refused, HIGHEST + 1)
            self._answers = 0


class _Rpc:
    """JSON-RPC 2.0 over anything that takes the bytes of a request and returns those of the answer."""

    def __init__(self, transport: Callable[[bytes], bytes], name: str) -> None:
        self._transport = transport
        self._name = name
        self._asked = 0
        self._most: int | None = None  # calls that one request may carry

    def ask(self, requests: Sequence[tuple[str, Any]]) -> list[Any]:
        """Return the answers, in order; those that ask for fewer requests are asked again, with patience."""
        answers: list[Any] = [None] * len(requests)
        waiting = list(range(len(requests)))
        patience = Patience(self._name)
        while True:
            for index, answer in zip(waiting, self._in_parts([requests[index] for index in waiting]), strict=True):
                answers[index] = answer
            waiting = [index for index in waiting if is_limited(answers[index])]
            if not waiting:
                return answers
            patience.wait()

    def _in_parts(self, requests: Sequence[tuple[str, Any]]) -> list[Any]:
        answers: list[Any] = []
        while len(answers) < len(requests):
            left = len(requests) - len(answers)
            size = min(left, self._most or left)
            part = requests[len(answers) : len(answers) + size]
            said = self._exchange(part)
            if said is None:
                self._most = max(1, size // 2)
            else:
                answers += said
        return answers

    def _exchange(self, requests: Sequence[tuple[str, Any]]) -> list[Any] | None:
        """Return the answers to one request; None when the node wants fewer calls in it."""
        forms = []
        for method, params in requests:
            self._asked += 1
            forms.append({"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params})
        single = len(forms) == 1
        body = self._transport(json.dumps(forms[0] if single else forms).encode())
        if body.lstrip()[:1] == b"<":
            raise ChainUnavailable(f"{self._name} answers with a web page, not JSON-RPC", hint="check the URL")
        said: Any = json.loads(body)
        if single:
            if _is_error(said):
                return [said]  # whatever id it has: the question may not have been read as far as that
            if said["id"] != self._asked:
                raise ValueError("an answer to another question")
            return [_checked(said)]
        if _is_error(said):
            raise_ours(said)
            return [said] * len(forms) if is_limited(said) else None
        if len(said) != len(forms):
            raise ValueError("not as many answers as questions")
        by_id = {answer["id"]: answer for answer in said}
        return [_checked(by_id[form["id"]]) for form in forms]


def _is_error(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.get("error") is not None


def _checked(answer: Any) -> Any:
    if "error" not in answer and "result" not in answer:
        raise ValueError("neither a result nor an error")
    return answer


def _object_or_none(form: Any) -> dict[str, Any] | None:
    if form is not None and not isinstance(form, dict):
        raise TypeError("not an object")
    return cast("dict[str, Any] | None", form)


def _block(form: Any) -> Block:
    return Block(
        number(form["number"], HIGHEST),
        data(form["hash"], _WORD),
        data(form["parentHash"], _WORD),
        number(form["timestamp"], LIMITS.latest_time),
    )


def _event(log: Any, address: str) -> Event:
    """Return the event in one entry of eth_getLogs; _WrongLog, or what reading the wrong types raises."""
    if log.get("removed"):
        raise _WrongLog("an event that was removed")
    if log["address"].lower() != address:
        raise _WrongLog("events of another contract")
    unhex = bytes.fromhex
    block_hash = unhex(log["blockHash"][2:])
    if len(block_hash) != _WORD:
        raise ValueError("not a block hash")
    height, index = int(log["blockNumber"], 16), int(log["logIndex"], 16)
    if not 0 <= index <= HIGHEST:
        raise ValueError("a log out of all proportion")
    topics = [unhex(topic[2:]) for topic in log["topics"]]
    return contract.read_event(height, index, topics, unhex(log["data"][2:]), block_hash)
