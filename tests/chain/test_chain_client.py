"""The one client: what it says of every chain that is not as it should be."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chain.staging import Clock, served
from wave.chain import contract, genesis, rpc, sender, wire
from wave.chain.client import ChainClient
from wave.chain.contract import Published
from wave.chain.node import EmbeddedNode
from wave.chain.payer import Payer, Verdict, judge
from wave.codec import id_text, sha256
from wave.errors import (
    BadName,
    BadSetting,
    ChainUnavailable,
    NameTaken,
    OutOfFunds,
    StateLocked,
    StateUnwritable,
    TooLarge,
    TransactionFailed,
    WaveError,
    WrongChain,
)


def test_what_was_published_is_read_again_in_order(client: ChainClient) -> None:
    single = client.publish(b"first")
    many = client.publish_many([b"%d" % n for n in range(10)])
    events = client.events(single.height, client.head().number)
    assert [event.data for event in events if isinstance(event, Published)] == [
        b"first",
        *(b"%d" % n for n in range(10)),
    ]
    assert {receipt.height for receipt in many} == {single.height + 1}
    assert len({receipt.transaction for receipt in many}) == 10


def test_more_objects_than_one_request_holds_go_in_several(
    client: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_CALLS", 3)
    assert len(client.publish_many([b"%d" % n for n in range(8)])) == 8
    monkeypatch.setattr(sender, "BATCH_BYTES", 9_000)
    big = [bytes([n]) * contract.DATA_BYTES for n in range(3)]
    client.publish_many(big)
    said = [event.data for event in client.events(0, client.head().number) if isinstance(event, Published)]
    assert said == [*(b"%d" % n for n in range(8)), *big]


def test_publishing_nothing_costs_nothing(client: ChainClient) -> None:
    head = client.head()
    assert client.publish_many([]) == []
    assert client.head() == head


def test_an_object_at_the_bound_is_taken_and_one_byte_more_is_not(client: ChainClient) -> None:
    client.publish(b"\xff" * contract.DATA_BYTES)
    with pytest.raises(TooLarge):
        client.publish(b"\xff" * (contract.DATA_BYTES + 1))


@pytest.mark.parametrize("count", [0, contract.PREIMAGES + 1])
def test_a_revocation_of_none_or_too_many_is_refused(client: ChainClient, count: int) -> None:
    with pytest.raises(TooLarge):
        client.revoke([bytes(32)] * count)


def test_a_preimage_of_another_size_is_not_sent(client: ChainClient) -> None:
    with pytest.raises(WaveError):
        client.revoke([bytes(33)])


def test_what_nobody_said_is_none(client: ChainClient) -> None:
    assert client.alias("alice") is None
    assert client.revoked_at(bytes(32)) is None
    assert client.block(client.head().number + 1) is None
    assert client.events(0, client.head().number) == []


def test_a_taken_name_is_refused_with_its_holder(client: ChainClient) -> None:
    client.claim("alice", b"t" * 32)
    with pytest.raises(NameTaken, match=id_text(b"t" * 32)):
        client.claim("alice", b"u" * 32)
    assert client.alias("alice") == b"t" * 32


def test_a_name_taken_between_look_and_claim_is_refused_too(
    client: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.claim("alice", b"t" * 32)
    monkeypatch.setattr(sender.Sender, "_estimate", lambda *_: 200_000)
    with pytest.raises(NameTaken):
        client.claim("alice", b"u" * 32)


@pytest.mark.parametrize("label", ["", "Alice", "a" * 33, "a\0b", "-a", "ä"])
def test_what_is_no_label_is_not_claimed(client: ChainClient, label: str) -> None:
    with pytest.raises(BadName):
        client.claim(label, b"t" * 32)


def test_blocks_name_their_parents(client: ChainClient) -> None:
    client.publish(b"x")
    head = client.head()
    parent = client.block(head.number - 1)
    assert parent is not None
    assert head.parent_hash == parent.hash


# Payers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, b"secret" * 6])
def test_a_key_that_is_none_is_refused_without_showing_it(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(BadSetting) as refusal:
        ChainClient.connect("embedded", state=tmp_path, payer=key)
    text = repr(refusal.value) + refusal.value.hint
    assert key.hex() not in text or not key
    assert "secret" not in text


def test_no_text_form_shows_the_key() -> None:
    payer = Payer(genesis.DEVELOPMENT_PAYER)
    assert genesis.DEVELOPMENT_PAYER.hex() not in repr(payer) + repr(payer.__dict__) + str(list(vars(payer).values()))


def test_a_payer_without_funds_is_told_so(tmp_path: Path) -> None:
    poor = ChainClient.connect("embedded", state=tmp_path, payer=sha256(b"poor"))
    with poor, pytest.raises(OutOfFunds, match=r"has 0 wei .* may cost \d+ wei") as refusal:
        poor.publish(b"x")
    assert refusal.value.hint.startswith("send funds to 0x")


def test_a_nonce_that_others_used_is_taken_anew(client: ChainClient) -> None:
    client.publish(b"x")
    payer = client._sender.payer
    assert payer is not None
    payer.nonce = 1
    client.publish(b"y")
    payer.nonce = 99
    assert len(client.publish_many([b"z", b"z"])) == 2


def test_a_payer_whose_nonce_others_always_use_gives_up_in_the_end(
    client: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "ATTEMPTS", 3)
    monkeypatch.setattr(EmbeddedNode, "next_nonce", lambda *_: 0)
    with pytest.raises(TransactionFailed, match="3 times"):
        client.publish(b"x")


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("already known", Verdict.TAKEN),
        ("nonce too low: next nonce 5, tx nonce 4", Verdict.NONCE),
        ("Nonce too high. Expected nonce to be 1 but got 2.", Verdict.NONCE),
        ("replacement transaction underpriced", Verdict.NONCE),
        ("max fee per gas less than block base fee: address 0x, maxFeePerGas: 1", Verdict.FEE),
        ("transaction underpriced", Verdict.FEE),
        ("Transaction maxFeePerGas (1) is too low for the next block, which has a baseFeePerGas of 7", Verdict.FEE),
        ("insufficient funds for gas * price + value", Verdict.FUNDS),
        ("Sender doesn't have enough funds to send tx.", Verdict.FUNDS),
        ("upfront cost exceeds account balance", Verdict.FUNDS),
        ("execution reverted", Verdict.REFUSED),
        ("", Verdict.REFUSED),
    ],
)
def test_a_node_is_understood(words: str, verdict: Verdict) -> None:
    assert judge(words) is verdict


# Chains that are not as they should be -----------------------------------------------------------------------------


def test_another_chain_id_is_the_wrong_chain(tmp_path: Path) -> None:
    with pytest.raises(WrongChain, match="1463899717"):
        ChainClient.connect("embedded", state=tmp_path, chain_id=1)


def test_a_chain_without_the_registry_is_the_wrong_chain(tmp_path: Path) -> None:
    with pytest.raises(WrongChain, match="no registry"):
        ChainClient.connect("embedded", state=tmp_path, registry=b"\x42" * 20)


@pytest.mark.parametrize("chain", ["", "elsewhere", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_what_is_no_chain_is_a_bad_setting(tmp_path: Path, chain: str) -> None:
    with pytest.raises(BadSetting):
        ChainClient.connect(chain, state=tmp_path)


@pytest.mark.parametrize("chain", ["http://127.0.0.1:1", "unix:/nowhere/chain.sock"])
def test_a_chain_that_does_not_answer_is_unavailable(tmp_path: Path, chain: str) -> None:
    with pytest.raises(ChainUnavailable, match="does not answer"):
        ChainClient.connect(chain, state=tmp_path)


def test_the_password_and_the_path_of_a_url_are_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ChainUnavailable) as refusal:
        ChainClient.connect("http://user:hunter2@127.0.0.1:1/v3/my-api-key", state=tmp_path)
    assert "hunter2" not in str(refusal.value)
    assert "my-api-key" not in str(refusal.value)


def test_two_clients_on_one_state_directory_are_one_too_many(client: ChainClient, tmp_path: Path) -> None:
    with pytest.raises(StateLocked):
        ChainClient.connect("embedded", state=tmp_path)


@contextmanager
def _speaking(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """A server that reads whatever comes and answers with the bytes of ``answer``, closing the connection then."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    request = b""
                    while b"\r\n\r\n" not in request:
                        request += connection.recv(65_536)
                    head, _, body = request.partition(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                    while len(body) < length:
                        body += connection.recv(65_536)
                    connection.sendall(answer(body))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut",
        _http(b""),
        _http(b"nonsense"),
        _http(b"\xff\xfe"),
        _http(b"[" * 200_000),
        _http(b"null"),
        _http(b"[]"),
        _http(b"{}"),
        _http(b'{"jsonrpc":"2.0","id":0,"result":null}'),
        _http(b'{"jsonrpc":"2.0","id":0,"result":"chain"}'),
        _http(b'{"jsonrpc":"2.0","id":0,"result":{"a":1}}'),
        _http(b'{"jsonrpc":"2.0","id":0,"error":"no"}'),
        _http(b'{"jsonrpc":"2.0","id":0,"error":{"code":"x"}}'),
        _http(b'{"jsonrpc":"2.0","id":0,"error":{"code":-32000,"message":"no"}}'),
        _http(b"<html>", b"502 Bad Gateway"),
        _http(b"", b"302 Found"),
    ],
)
def test_an_answer_that_is_none_makes_the_chain_unavailable(tmp_path: Path, answer: bytes) -> None:
    with _speaking(lambda _: answer) as url, pytest.raises(ChainUnavailable):
        ChainClient.connect(url, state=tmp_path)


def test_a_chain_that_answers_too_late_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.Wire.__init__, "__kwdefaults__", {"timeout": 0.2})
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ChainUnavailable, match="timed out"):
        ChainClient.connect(f"http://127.0.0.1:{server.getsockname()[1]}", state=tmp_path)


def test_an_answer_larger_than_the_bound_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RESPONSE_BYTES", 100)
    with _speaking(lambda _: _http(b"{" + b" " * 100)) as url, pytest.raises(ChainUnavailable, match="more than"):
        ChainClient.connect(url, state=tmp_path)


@contextmanager
def _lying(node: EmbeddedNode, tmp_path: Path, method: str, result: Callable[[Any], Any]) -> Iterator[ChainClient]:
    """A client of a node that answers truly but for one method, whose result goes through ``result``."""

    def answer(body: bytes) -> bytes:
        request, reply = json.loads(body), json.loads(rpc.Rpc(node).answer(body))
        pairs = zip(request, reply, strict=True) if isinstance(request, list) else [(request, reply)]
        for question, outcome in pairs:
            if question["method"] == method and "result" in outcome:
                outcome["result"] = result(outcome["result"])
        return _http(json.dumps(reply).encode())

    with _speaking(answer) as url, ChainClient.connect(url, state=tmp_path) as client:
        yield client


def _with(**changes: object) -> Callable[[Any], Any]:
    def change(result: Any) -> Any:
        return [{**item, **changes} for item in result] if isinstance(result, list) else {**result, **changes}

    return change


@pytest.mark.parametrize(
    ("method", "lie"),
    [
        ("eth_getLogs", lambda _: "none"),
        ("eth_getLogs", _with(blockNumber="0xffff")),
        ("eth_getLogs", _with(address="0x" + "42" * 20)),
        ("eth_getLogs", _with(topics=[])),
        ("eth_getLogs", _with(topics=["0x" + "42" * 32])),
        ("eth_getLogs", _with(data="0x")),
        ("eth_getLogs", _with(logIndex=None)),
        ("eth_getBlockByNumber", _with(hash=None)),
        ("eth_getBlockByNumber", _with(timestamp="soon")),
        ("eth_getBlockByNumber", _with(timestamp=hex(2**64))),
        ("eth_getBlockByNumber", _with(number=hex(2**64))),
        ("eth_getLogs", _with(logIndex=hex(2**64))),
        ("eth_getBlockByNumber", lambda _: []),
        ("eth_sendRawTransaction", lambda _: "0x" + "42" * 32),
        ("eth_sendRawTransaction", lambda _: None),
        ("eth_getTransactionReceipt", lambda _: {"status": "0x1"}),
        ("eth_getTransactionReceipt", _with(gasUsed="much")),
        ("eth_getTransactionCount", lambda _: "many"),
        ("eth_feeHistory", lambda _: {}),
        ("eth_estimateGas", lambda _: None),
    ],
)
def test_a_node_that_lies_about_one_thing_is_not_believed(
    node: EmbeddedNode, tmp_path: Path, method: str, lie: Callable[[Any], Any]
) -> None:
    def use(client: ChainClient) -> None:
        receipt = client.publish(b"x")
        client.head()
        client.events(0, receipt.height)

    with _lying(node, tmp_path, method, lie) as client, pytest.raises(ChainUnavailable):
        use(client)


def test_a_range_that_the_node_finds_too_long_is_asked_for_in_halves(
    node: EmbeddedNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "MAX_LOGS", 3)
    with served(node) as url, ChainClient.connect(url, state=tmp_path) as client:
        for number in range(10):
            client.publish(b"%d" % number)
        events = client.events(0, client.head().number)
    assert [event.data for event in events if isinstance(event, Published)] == [b"%d" % n for n in range(10)]


def test_a_full_disk_behind_the_node_keeps_its_name(client: ChainClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StateUnwritable("the disk is full")

    monkeypatch.setattr("wave.chain.store.NodeStore.commit", full)
    with pytest.raises(StateUnwritable, match="full"):
        client.publish(b"x")


def test_a_client_outlives_a_restart_of_the_node(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "chain.sock"
    with EmbeddedNode.open(tmp_path / "chain", clock=clock) as node, served(node, path=path) as address:
        client = ChainClient.connect(address, state=tmp_path)
        client.publish(b"before")
    with pytest.raises(ChainUnavailable):
        client.publish(b"between")
    with EmbeddedNode.open(tmp_path / "chain", clock=clock) as node, served(node, path=path):
        client.publish(b"after")
        said = [event.data for event in client.events(0, client.head().number) if isinstance(event, Published)]
    client.close()
    assert said == [b"before", b"after"]
