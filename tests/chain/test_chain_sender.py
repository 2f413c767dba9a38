"""Sending: what is paid, whose nonce it is, what is stuck, and what was sent once only."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chain import nodes
from tests.chain.nodes import Node
from wave.chain import contract, genesis, sender, voices
from wave.chain.client import ChainClient
from wave.chain.contract import Published, Revocation
from wave.chain.fees import HIGHEST_FEE, HIGHEST_TIP, FeeLimits
from wave.chain.node import EmbeddedNode
from wave.chain.payer import Payer, fields_of, paying
from wave.chain.rpc import Rpc
from wave.chain.sender import Sender, anchor_call, claim_call, commit_call, draw_salt, publish_call, revoke_call
from wave.codec import sha256
from wave.errors import (
    BadSetting,
    ChainUnavailable,
    FeesTooHigh,
    Malformed,
    NoQuorum,
    StillPending,
    TooLarge,
    TransactionFailed,
)

# Calls -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, contract.DATA_BYTES])
def test_calls_are_encoded_as_the_abi_asks(size: int) -> None:
    from eth_abi.abi import encode
    from eth_hash.auto import keccak

    word = b"\x07" * 32
    assert publish_call(bytes(size)) == keccak(b"publish(bytes)")[:4] + encode(["bytes"], [bytes(size)])
    assert anchor_call(word, 5) == keccak(b"anchor(bytes32,uint256)")[:4] + encode(["bytes32", "uint256"], [word, 5])
    assert revoke_call([word] * 3) == keccak(b"revoke(bytes32[])")[:4] + encode(["bytes32[]"], [[word] * 3])


@pytest.mark.parametrize(
    "make",
    [
        lambda: revoke_call([bytes(31)]),
        lambda: anchor_call(bytes(33), 1),
        lambda: anchor_call(bytes(32), -1),
        lambda: anchor_call(bytes(32), 2**256),
        lambda: commit_call(bytes(32), b"t" * 32, b"s" * 32),
        lambda: claim_call(b"l" * 32, bytes(32), b"s" * 32),
        lambda: claim_call(b"l" * 32, b"t" * 32, b"s" * 16),
    ],
)
def test_what_is_no_call_is_not_made(make: Callable[[], bytes]) -> None:
    with pytest.raises(Malformed):
        make()


def test_a_call_with_more_than_the_registry_takes_is_not_made() -> None:
    with pytest.raises(TooLarge):
        publish_call(bytes(contract.DATA_BYTES + 1))
    with pytest.raises(TooLarge):
        revoke_call([bytes(32)] * (contract.PREIMAGES + 1))


def test_a_salt_is_drawn_and_cheap() -> None:
    salt = draw_salt()
    assert salt[16:] == bytes(16)
    assert draw_salt() != salt


# Fees --------------------------------------------------------------------------------------------------------------


def test_a_transaction_may_pay_twice_the_base_fee() -> None:
    assert FeeLimits().dynamic(100, 3) == {"maxFeePerGas": 203, "maxPriorityFeePerGas": 3}


def test_limits_cap_what_is_paid() -> None:
    assert FeeLimits(150).dynamic(100, 3) == {"maxFeePerGas": 150, "maxPriorityFeePerGas": 3}
    assert FeeLimits(101).dynamic(100, 3) == {"maxFeePerGas": 101, "maxPriorityFeePerGas": 1}
    assert FeeLimits(None, 2).dynamic(100, 3) == {"maxFeePerGas": 202, "maxPriorityFeePerGas": 2}
    assert FeeLimits(100).legacy(100) == {"gasPrice": 100}


def test_without_limits_a_lying_node_empties_no_account() -> None:
    assert FeeLimits().dynamic(1, 10**18)["maxPriorityFeePerGas"] == HIGHEST_TIP
    FeeLimits().dynamic(HIGHEST_FEE, 0)
    with pytest.raises(FeesTooHigh):
        FeeLimits().dynamic(HIGHEST_FEE + 1, 0)


def test_fees_above_the_limit_are_named_with_it() -> None:
    with pytest.raises(FeesTooHigh, match=r"asks 101 wei .* limit is 100 wei") as refusal:
        FeeLimits(100).dynamic(101, 0)
    assert refusal.value.code == "chain.fees"
    with pytest.raises(FeesTooHigh):
        FeeLimits(100).legacy(101)


def test_a_replacement_pays_an_eighth_more_or_what_is_asked_by_now() -> None:
    old = {"maxFeePerGas": 1000, "maxPriorityFeePerGas": 0}
    assert FeeLimits().raised(old, old) == {"maxFeePerGas": 1125, "maxPriorityFeePerGas": 1}
    asked = {"maxFeePerGas": 5000, "maxPriorityFeePerGas": 9}
    assert FeeLimits().raised(old, asked) == asked
    assert FeeLimits(2000).raised(old, asked) == {"maxFeePerGas": 2000, "maxPriorityFeePerGas": 9}
    assert FeeLimits().raised({"gasPrice": 7}, {}) == {"gasPrice": 8}


@pytest.mark.parametrize("limits", [FeeLimits(1124), FeeLimits(None, 112)])
def test_a_replacement_that_nodes_would_not_take_is_none(limits: FeeLimits) -> None:
    old = {"maxFeePerGas": 1000, "maxPriorityFeePerGas": 100}
    assert limits.raised(old, old) is None
    assert FeeLimits(1125, 113).raised(old, old) == {"maxFeePerGas": 1125, "maxPriorityFeePerGas": 113}


def test_a_chain_that_asks_more_than_the_limit_gets_nothing(tmp_path: Path) -> None:
    limits = FeeLimits(max_fee_per_gas=genesis.BASE_FEE - 1)
    with ChainClient.connect("embedded", state=tmp_path, fees=limits) as client:
        before = client.nonce()
        with pytest.raises(FeesTooHigh, match=r"asks 7 wei .* limit is 6 wei"):
            client.publish(b"x")
        with pytest.raises(FeesTooHigh):
            client.prepare([publish_call(b"x")])
        assert client.nonce() == before


def test_a_chain_that_asks_just_the_limit_is_paid(tmp_path: Path) -> None:
    limits = FeeLimits(max_fee_per_gas=genesis.BASE_FEE)
    with ChainClient.connect("embedded", state=tmp_path, fees=limits) as client:
        client.publish(b"x")


# A node whose answers can be staged --------------------------------------------------------------------------------

Lie = Callable[[dict[str, Any]], dict[str, Any]]


class Mouth:
    """A node that says what a real one says, but for what is staged, method by method."""

    def __init__(self, node: EmbeddedNode, name: str = "mouth") -> None:
        self.name = name
        self.asked: list[str] = []
        self.lies: dict[str, Lie] = {}
        self._rpc = Rpc(node)

    def ask(self, requests: Sequence[tuple[str, Any]]) -> list[Any]:
        answers = []
        for method, params in requests:
            self.asked.append(method)
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            answer = json.loads(self._rpc.answer(body.encode()))
            lie = self.lies.get(method)
            answers.append(answer if lie is None else lie(answer))
        return answers

    def sender(self, *others: "Mouth", need: int = 1, limits: FeeLimits | None = None) -> Sender:
        return Sender(
            [self, *others],
            chain_id=contract.CHAIN_ID,
            registry=contract.REGISTRY,
            payer=Payer(genesis.DEVELOPMENT_PAYER),
            limits=limits,
            need=need,
        )


def _says(value: object) -> Lie:
    return lambda answer: {"jsonrpc": "2.0", "id": answer["id"], "result": value}


def _fails(message: str = "the method does not exist", code: int = -32601) -> Lie:
    return lambda answer: {"jsonrpc": "2.0", "id": answer["id"], "error": {"code": code, "message": message}}


def _without_base_fee(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "result": {k: v for k, v in answer["result"].items() if k != "baseFeePerGas"}}


@pytest.fixture
def mouth(node: EmbeddedNode) -> Mouth:
    return Mouth(node)


def _kind_of(node: EmbeddedNode, transaction: bytes) -> int:
    found = node.receipt(transaction)
    assert found is not None
    return found[0].kind


@pytest.mark.parametrize("history", [_fails(), _says({"baseFeePerGas": ["0x0", "0x0"]})])
def test_a_chain_before_base_fees_is_paid_a_gas_price(mouth: Mouth, node: EmbeddedNode, history: Lie) -> None:
    mouth.lies = {"eth_feeHistory": history, "eth_getBlockByNumber": _without_base_fee}
    receipt = mouth.sender().transact([publish_call(b"old")])[0]
    assert _kind_of(node, receipt.transaction) == 0
    with pytest.raises(FeesTooHigh):
        mouth.sender(limits=FeeLimits(genesis.BASE_FEE - 1)).transact([publish_call(b"old")])


def test_a_chain_with_base_fees_is_paid_by_their_rules(mouth: Mouth, node: EmbeddedNode) -> None:
    receipt = mouth.sender().transact([publish_call(b"new")])[0]
    assert _kind_of(node, receipt.transaction) == 2


def test_a_node_that_suggests_no_tip_is_asked_for_its_price(mouth: Mouth) -> None:
    mouth.lies = {"eth_maxPriorityFeePerGas": _fails(), "eth_gasPrice": _says("0x9")}
    (one,) = mouth.sender().prepare([publish_call(b"x")])
    assert fields_of(one.raw)["maxPriorityFeePerGas"] == 9 - genesis.BASE_FEE


def test_a_node_with_base_fees_that_hides_them_is_not_paid(mouth: Mouth) -> None:
    mouth.lies = {"eth_feeHistory": _fails()}
    with pytest.raises(ChainUnavailable, match="does not tell"):
        mouth.sender().transact([publish_call(b"x")])


def test_a_claim_that_a_node_cannot_estimate_goes_all_the_same(mouth: Mouth) -> None:
    """Some estimate in the newest block, where the commitment is too young."""
    claim = (b"alice".ljust(32, b"\0"), b"t" * 32, draw_salt())
    writing = mouth.sender()
    with pytest.raises(TransactionFailed, match="refuses"):
        writing.transact([claim_call(*claim)])
    writing.transact([commit_call(*claim)])
    mouth.lies = {"eth_estimateGas": _fails("execution reverted", 3)}
    writing.transact([claim_call(*claim)])
    with pytest.raises(TransactionFailed, match="refuses"):
        writing.transact([claim_call(*claim)])


@pytest.mark.parametrize(("words", "rivals"), [("nonce too low", True), ("transaction underpriced", False)])
def test_a_node_that_never_takes_it_is_quoted(
    mouth: Mouth, monkeypatch: pytest.MonkeyPatch, words: str, *, rivals: bool
) -> None:
    monkeypatch.setattr(sender, "ATTEMPTS", 3)
    mouth.lies = {"eth_sendRawTransaction": _fails(words, -32000), "eth_getTransactionReceipt": _says(None)}
    with pytest.raises(TransactionFailed, match=f"3 times over: {words}") as refusal:
        mouth.sender().transact([publish_call(b"x")])
    assert ("same payer" in refusal.value.hint) is rivals


def test_publishing_asks_for_an_estimate_once_for_each_size(mouth: Mouth) -> None:
    writing = mouth.sender()
    for size in (1, 200, 256, 257, 512, 300):
        writing.transact([publish_call(b"\xff" * size)])
    assert mouth.asked.count("eth_estimateGas") == 2


# Nonces ------------------------------------------------------------------------------------------------------------


def _said(client: ChainClient) -> list[bytes]:
    return [event.data for event in client.events(0, client.head().number) if isinstance(event, Published)]


def test_what_is_prepared_goes_out_once_however_often_it_is_sent(tmp_path: Path) -> None:
    with ChainClient.connect("embedded", state=tmp_path) as client:
        calls = [publish_call(b"one"), publish_call(b"two"), revoke_call([b"p" * 32])]
        prepared = client.prepare(calls)
        assert client.prepare(calls) == prepared
        first = client.nonce()
        assert [one.nonce for one in prepared] == [first, first + 1, first + 2]
        assert client.receipt(prepared[0].hash) is None
        for _ in range(3):
            client.broadcast(prepared)
        receipts = [client.receipt(one.hash) for one in prepared]
        assert all(receipt is not None for receipt in receipts)
        assert client.nonce() == first + 3
        assert _said(client) == [b"one", b"two"]
        assert Revocation(client.head().number, 2, sha256(b"p" * 32)) in client.events(0, client.head().number)


def test_what_is_prepared_and_overtaken_is_dead(tmp_path: Path) -> None:
    with ChainClient.connect("embedded", state=tmp_path) as client:
        (late,) = client.prepare([publish_call(b"late")])
        client.publish(b"first")
        client.broadcast([late])
        assert client.receipt(late.hash) is None
        assert client.nonce() == late.nonce + 1
        assert _said(client) == [b"first"]


def test_a_prepared_transaction_that_the_registry_would_refuse_is_not_signed(tmp_path: Path) -> None:
    with ChainClient.connect("embedded", state=tmp_path) as client, pytest.raises(TransactionFailed, match="refuses"):
        client.prepare([claim_call(b"alice".ljust(32, b"\0"), b"t" * 32, draw_salt())])


@pytest.mark.parametrize("fees", [{"gasPrice": 7}, {"maxFeePerGas": 10**12, "maxPriorityFeePerGas": 0}])
@pytest.mark.parametrize("to", [{"to": contract.REGISTRY}, {}], ids=["call", "creation"])
@pytest.mark.parametrize("nonce", [0, 127, 128, 2**40])
@pytest.mark.parametrize("size", [0, 1, 300])
def test_a_transaction_is_signed_as_other_programs_sign_it(
    fees: dict[str, int], to: dict[str, bytes], nonce: int, size: int
) -> None:
    from eth_account import Account

    fields = {"chainId": contract.CHAIN_ID, "gas": 100_000, **to, **fees}
    ours = Payer(genesis.DEVELOPMENT_PAYER).sign(bytes(size), nonce, fields)
    theirs = Account.sign_transaction(
        {**fields, "nonce": nonce, "data": bytes(size), "value": 0}, genesis.DEVELOPMENT_PAYER
    )
    assert ours == (bytes(theirs.hash), bytes(theirs.raw_transaction), nonce)
    assert fields_of(ours.raw) == {**fields, "nonce": nonce, "data": bytes(size), "value": 0}


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x02\xc0", b"\xc0", b"\xff" * 100, b"\x03" + b"\xc1" * 40])
def test_bytes_that_are_no_transaction_are_told_apart(raw: bytes) -> None:
    with pytest.raises(Malformed):
        fields_of(raw)


# Whose key it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payer", ["development", genesis.DEVELOPMENT_PAYER])
def test_the_development_account_pays_on_development_chains_alone(payer: str | bytes) -> None:
    for chain_id in (contract.CHAIN_ID, 31337):
        found = paying(payer, chain_id)
        assert found is not None
        assert found.address.lower() == "0x" + genesis.DEVELOPMENT_ACCOUNTS[0].hex()
    for chain_id in (1, 10, 11155111):
        with pytest.raises(BadSetting, match="everybody knows its key"):
            paying(payer, chain_id)


def test_nobody_pays_unasked_on_a_chain_of_others() -> None:
    assert paying(None, 31337) is None
    assert paying(None, contract.CHAIN_ID) is not None
    with pytest.raises(BadSetting):
        paying("somebody", contract.CHAIN_ID)


# Several nodes -----------------------------------------------------------------------------------------------------


@contextmanager
def _three(node: EmbeddedNode, lies: Mapping[str, Lie]) -> Iterator[Sender]:
    """A sender to three nodes of one chain, the second of which lies."""
    liar = Mouth(node, "liar")
    liar.lies = dict(lies)
    writing = Mouth(node, "first").sender(liar, Mouth(node, "third"), need=2)
    try:
        yield writing
    finally:
        writing.close()


@pytest.mark.parametrize(
    "lies",
    [
        {"eth_getTransactionCount": _says("0x1000")},
        {"eth_getTransactionCount": _says("0x0")},
        {"eth_estimateGas": _says("0x1")},
        {"eth_estimateGas": _fails("execution reverted", 3)},
        {"eth_feeHistory": _says({"baseFeePerGas": [hex(10**15)]}), "eth_maxPriorityFeePerGas": _says(hex(10**15))},
        {"eth_feeHistory": _says("no"), "eth_gasPrice": _says(None)},
        {"eth_sendRawTransaction": _says("0x" + "42" * 32)},
        {"eth_sendRawTransaction": _fails("insufficient funds", -32000)},
        {"eth_sendRawTransaction": _fails("no", -32000)},
        {"eth_getTransactionReceipt": _says(None)},
        {"eth_getTransactionReceipt": _says({"status": "0x0"})},
    ],
)
def test_one_lying_node_of_three_stops_no_publication(node: EmbeddedNode, lies: Mapping[str, Lie]) -> None:
    with _three(node, lies) as writing:
        receipt = writing.transact([publish_call(b"x")])[0]
    found = node.receipt(receipt.transaction)
    assert found is not None
    assert found[0].price == genesis.BASE_FEE
    logs = node.logs(0, node.head().block_number, limit=10)
    assert len(logs) == 1


def test_a_receipt_that_only_one_node_tells_of_is_none(node: EmbeddedNode) -> None:
    made_up = {
        "transactionHash": "0x" + "42" * 32,
        "blockNumber": "0x1",
        "gasUsed": "0x1",
        "status": "0x1",
        "contractAddress": None,
    }
    with _three(node, {"eth_getTransactionReceipt": _says(made_up)}) as writing:
        assert writing.receipt(b"\x42" * 32) is None


def test_too_few_answers_are_no_quorum(node: EmbeddedNode) -> None:
    silent = [Mouth(node, f"silent {n}") for n in range(2)]
    for one in silent:
        one.lies = {"eth_getTransactionCount": _says("none")}
    writing = Mouth(node).sender(*silent, need=2)
    with pytest.raises(NoQuorum, match="2 of 3 endpoints must answer, and 1 did"):
        writing.nonce()
    writing.close()


def test_a_node_that_hangs_is_left_behind(node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "GRACE", 0.05)
    release = threading.Event()
    hanging = Mouth(node, "hanging")

    def hang(answer: dict[str, Any]) -> dict[str, Any]:
        release.wait(30)
        return answer

    hanging.lies = {"eth_feeHistory": hang}
    writing = Mouth(node).sender(hanging, Mouth(node), need=2)
    start = time.monotonic()
    writing.transact([publish_call(b"x")])
    assert time.monotonic() - start < 5
    release.set()
    writing.close()


# Chains that mine when they like -----------------------------------------------------------------------------------


@pytest.fixture
def lazy(tmp_path: Path) -> Iterator[Node]:
    """An anvil that mines when it is told to; the registry is there."""
    with nodes.anvil(tmp_path) as node:
        node.ask("evm_setAutomine", False)
        yield node


@contextmanager
def _publishing(node: Node, state: Path, data: bytes, fees: FeeLimits | None = None) -> Iterator[Future[Any]]:
    """Publish in another thread, and go on once the transaction waits to be mined."""

    def publish() -> Any:
        with ChainClient.connect(node.url, state=state, fees=fees) as client:
            return client.publish(data)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(publish)
        _until(lambda: _pool(node) or future.done())
        yield future


def _pool(node: Node) -> list[dict[str, Any]]:
    """The transactions that wait, in order of their nonces."""
    waiting = node.ask("txpool_content")["pending"]
    return [form for account in waiting.values() for _, form in sorted(account.items(), key=lambda item: int(item[0]))]


def _until(true: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "STUCK_AFTER", 0.3)
    monkeypatch.setattr(sender, "REPLACEMENTS", 2)


@pytest.mark.usefixtures("impatient")
def test_a_stuck_transaction_is_replaced_by_one_that_pays_more(lazy: Node, tmp_path: Path) -> None:
    with _publishing(lazy, tmp_path, b"stuck") as future:
        (first,) = _pool(lazy)
        _until(lambda: _pool(lazy)[0]["hash"] != first["hash"])
        (second,) = _pool(lazy)
        assert second["nonce"] == first["nonce"]
        for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
            assert 8 * int(second[name], 16) >= 9 * int(first[name], 16)
        lazy.mine()
        receipt = future.result(20)
    assert receipt.transaction.hex() != first["hash"][2:]
    with ChainClient.connect(lazy.url, state=tmp_path) as client:
        assert _said(client) == [b"stuck"]


@pytest.mark.usefixtures("impatient")
def test_what_is_never_mined_is_said_to_be_pending(lazy: Node, tmp_path: Path) -> None:
    with _publishing(lazy, tmp_path, b"stuck") as future:
        with pytest.raises(StillPending, match="raised 2 times; it is still pending") as refusal:
            future.result(20)
        (last,) = _pool(lazy)
    assert last["hash"] in refusal.value.message
    assert refusal.value.code == "chain.pending"


@pytest.mark.usefixtures("impatient")
def test_a_fee_at_its_limit_is_not_raised(lazy: Node, tmp_path: Path) -> None:
    asked = int(lazy.ask("eth_gasPrice"), 16)
    with _publishing(lazy, tmp_path, b"stuck", FeeLimits(asked + asked // 10)) as future:
        (first,) = _pool(lazy)
        with pytest.raises(StillPending, match="raised 0 times"):
            future.result(20)
        assert [form["hash"] for form in _pool(lazy)] == [first["hash"]]


@pytest.mark.usefixtures("impatient")
def test_a_transaction_that_the_node_forgot_is_sent_again(lazy: Node, tmp_path: Path) -> None:
    with _publishing(lazy, tmp_path, b"forgotten") as future:
        lazy.ask("anvil_dropAllTransactions")
        _until(lambda: _pool(lazy))
        lazy.mine()
        future.result(20)


@pytest.mark.usefixtures("impatient")
def test_what_an_earlier_transaction_holds_up_names_it(lazy: Node, tmp_path: Path) -> None:
    with ChainClient.connect(lazy.url, state=tmp_path) as client:
        client.broadcast(client.prepare([publish_call(b"earlier")]))
        with pytest.raises(StillPending) as refusal:
            client.publish(b"later")
    assert "with nonce 1, holds it up" in refusal.value.hint


def test_a_nonce_used_by_another_transaction_is_noticed_at_once(lazy: Node, tmp_path: Path) -> None:
    """Another program of the same account takes the nonce; what was meant goes out with the next one, once."""
    with _publishing(lazy, tmp_path, b"mine") as future:
        (waiting,) = _pool(lazy)
        with ChainClient.connect(lazy.url, state=tmp_path) as rival:
            fees = {name: 3 * int(waiting[name], 16) for name in ("maxFeePerGas", "maxPriorityFeePerGas")}
            fields = {"chainId": contract.CHAIN_ID, "gas": 200_000, "to": contract.REGISTRY, **fees}
            payer = Payer(genesis.DEVELOPMENT_PAYER)
            rival.broadcast([payer.sign(publish_call(b"theirs"), int(waiting["nonce"], 16), fields)])
            lazy.ask("evm_setAutomine", True)
            lazy.mine()
            start = time.monotonic()
            receipt = future.result(20)
            assert time.monotonic() - start < 5
            assert _said(rival) == [b"theirs", b"mine"]
    assert receipt.transaction.hex() != waiting["hash"][2:]


def test_a_prepared_transaction_that_pays_too_little_by_now_is_replaced(lazy: Node, tmp_path: Path) -> None:
    with ChainClient.connect(lazy.url, state=tmp_path) as client:
        prepared = client.prepare([publish_call(b"x")])
        most = int(fields_of(prepared[0].raw)["maxFeePerGas"])
        lazy.ask("anvil_setNextBlockBaseFeePerGas", hex(2 * most))
        lazy.mine()
        with pytest.raises(FeesTooHigh, match="asks more by now"):
            client.broadcast(prepared)
        again = client.replacing(prepared)
        assert [one.nonce for one in again] == [one.nonce for one in prepared]
        client.broadcast(again)
        lazy.mine()
        assert client.receipt(prepared[0].hash) is None
        assert client.receipt(again[0].hash) is not None


def test_a_payer_that_runs_out_of_funds_says_what_is_missing(lazy: Node, tmp_path: Path) -> None:
    from wave.errors import OutOfFunds

    key = sha256(b"poor")
    address = Payer(key).address
    lazy.ask("anvil_setBalance", address, hex(10**12))
    with (
        ChainClient.connect(lazy.url, state=tmp_path, payer=key) as client,
        pytest.raises(OutOfFunds, match=rf"{address} has 0\.000001 ether .* may cost 0\.0\d+ ether") as refusal,
    ):
        client.publish(b"x")
    assert refusal.value.code == "chain.funds"


# One payer, many hands ---------------------------------------------------------------------------------------------


def test_threads_share_one_payer(tmp_path: Path) -> None:
    def publish(hand: int) -> None:
        with ChainClient.connect(node.url, state=tmp_path) as client:
            for number in range(5):
                client.publish(b"%d/%d" % (hand, number))

    with nodes.anvil(tmp_path, "--block-time", "1", deployed=False) as node:
        node.deploy()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(publish, range(4)))
        with ChainClient.connect(node.url, state=tmp_path) as client:
            assert sorted(_said(client)) == sorted(b"%d/%d" % (hand, n) for hand in range(4) for n in range(5))


_PROCESS = """
import sys, pathlib
from wave.chain.client import ChainClient
url, hand = sys.argv[1:]
with ChainClient.connect(url, state=pathlib.Path()) as client:
    for number in range(4):
        client.publish_many([f"{hand}/{number}/{part}".encode() for part in "ab"])
"""


def test_processes_share_one_payer(tmp_path: Path) -> None:
    with nodes.anvil(tmp_path, "--block-time", "1", deployed=False) as node:
        node.deploy()
        hands = [subprocess.Popen([sys.executable, "-c", _PROCESS, node.url, str(n)]) for n in range(3)]
        assert [hand.wait(50) for hand in hands] == [0, 0, 0]
        with ChainClient.connect(node.url, state=tmp_path) as client:
            wanted = [f"{hand}/{n}/{part}".encode() for hand in range(3) for n in range(4) for part in "ab"]
            assert sorted(_said(client)) == sorted(wanted)
