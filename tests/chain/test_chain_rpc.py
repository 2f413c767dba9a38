"""Ethereum JSON-RPC over the embedded node: results, errors with their numbers, and bounds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rlp
from eth_hash.auto import keccak

from tests.chain.staging import (
    PAYER,
    Clock,
    ask,
    claim,
    claim_call,
    commit_call,
    error_of,
    publish_call,
    raw_ask,
    revoke_call,
    signed,
)
from wave.chain import contract, forms, genesis, rpc
from wave.chain.node import EmbeddedNode
from wave.codec import sha256
from wave.errors import StateUnwritable

REGISTRY = "0x" + contract.REGISTRY.hex()
ACCOUNT = "0x" + PAYER.hex()


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _filled(header: dict[str, Any], *names: str) -> list[bytes]:
    """The fields of a header as RLP wants them: numbers without leading zeros, the rest as it stands."""
    numbers = {
        "difficulty",
        "number",
        "gasLimit",
        "gasUsed",
        "timestamp",
        "baseFeePerGas",
        "blobGasUsed",
        "excessBlobGas",
    }
    fields = []
    for name in names:
        digits = header[name][2:]
        if name in numbers:
            value = int(digits, 16)
            fields.append(value.to_bytes((value.bit_length() + 7) // 8, "big"))
        else:
            fields.append(bytes.fromhex(digits))
    return fields


def test_every_method_that_a_wallet_or_a_library_asks_first_is_there(node: EmbeddedNode) -> None:
    assert ask(node, "eth_chainId") == hex(contract.CHAIN_ID)
    assert ask(node, "net_version") == str(contract.CHAIN_ID)
    assert ask(node, "web3_clientVersion").startswith("wave/")
    assert ask(node, "eth_syncing") is False
    assert ask(node, "eth_accounts") == []
    assert ask(node, "eth_blockNumber") == "0x2"  # the fixture's clock is later than block 1
    assert ask(node, "eth_gasPrice") == hex(genesis.BASE_FEE)
    assert ask(node, "eth_maxPriorityFeePerGas") == "0x0"
    assert ask(node, "eth_getBalance", "0x" + genesis.DEVELOPMENT_ACCOUNTS[1].hex(), "latest") == hex(genesis.BALANCE)
    assert ask(node, "eth_getCode", REGISTRY) == _hex(contract.runtime())
    assert ask(node, "eth_getCode", ACCOUNT) == "0x"


def test_a_block_hashes_to_its_own_hash(node: EmbeddedNode) -> None:
    node.send([signed(1)])
    block = ask(node, "eth_getBlockByNumber", "latest", False)
    fields = _filled(
        block, "parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom",
        "difficulty", "number", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce", "baseFeePerGas",
        "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot", "requestsHash",
    )  # fmt: skip
    assert _hex(keccak(rlp.encode(fields))) == block["hash"]


def test_a_block_is_found_by_number_by_hash_and_by_tag(node: EmbeddedNode) -> None:
    node.send([signed(1)])
    block = ask(node, "eth_getBlockByNumber", "latest", False)
    assert ask(node, "eth_getBlockByNumber", block["number"], False) == block
    assert ask(node, "eth_getBlockByHash", block["hash"], False) == block
    assert ask(node, "eth_getBlockByNumber", "earliest", False)["number"] == "0x0"
    assert ask(node, "eth_getBlockByNumber", "0xffff", False) is None
    assert ask(node, "eth_getBlockByHash", "0x" + "11" * 32, False) is None
    assert int(block["size"], 16) > 640


def test_a_block_in_full_carries_its_transactions(node: EmbeddedNode) -> None:
    (sent,) = node.send([signed(1, publish_call(b"hello"))])
    assert isinstance(sent, bytes)
    block = ask(node, "eth_getBlockByNumber", "latest", True)
    (transaction,) = block["transactions"]
    assert transaction == ask(node, "eth_getTransactionByHash", _hex(sent))
    assert (transaction["from"], transaction["to"], transaction["nonce"]) == (ACCOUNT, REGISTRY, "0x1")
    assert transaction["input"] == _hex(publish_call(b"hello"))


def test_a_transaction_is_mined_when_it_is_acknowledged(node: EmbeddedNode) -> None:
    sent = ask(node, "eth_sendRawTransaction", _hex(signed(1, publish_call(b"hello"))))
    receipt = ask(node, "eth_getTransactionReceipt", sent)
    assert receipt["status"] == "0x1"
    assert receipt["blockNumber"] == ask(node, "eth_blockNumber")
    assert receipt["logs"] == ask(node, "eth_getLogs", {"fromBlock": "0x0", "address": REGISTRY})
    assert int(receipt["logsBloom"], 16) == int(ask(node, "eth_getBlockByNumber", "latest", False)["logsBloom"], 16)


def test_the_contract_creation_names_the_contract(node: EmbeddedNode) -> None:
    (creation,) = ask(node, "eth_getBlockByNumber", "0x1", False)["transactions"]
    assert ask(node, "eth_getTransactionReceipt", creation)["contractAddress"] == REGISTRY


def test_what_is_not_mined_has_no_receipt(node: EmbeddedNode) -> None:
    assert ask(node, "eth_getTransactionReceipt", "0x" + "11" * 32) is None
    assert ask(node, "eth_getTransactionByHash", "0x" + "11" * 32) is None


def test_state_is_answered_as_of_the_block_asked_for(node: EmbeddedNode) -> None:
    before = ask(node, "eth_blockNumber")
    node.send([signed(1)])
    assert ask(node, "eth_getTransactionCount", ACCOUNT, before) == "0x1"
    assert ask(node, "eth_getTransactionCount", ACCOUNT, "latest") == "0x2"
    assert ask(node, "eth_getTransactionCount", ACCOUNT, "pending") == "0x2"
    assert ask(node, "eth_getTransactionCount", ACCOUNT, {"blockNumber": before}) == "0x1"
    header = node.header(int(before, 16))
    assert header is not None
    assert ask(node, "eth_getTransactionCount", ACCOUNT, {"blockHash": _hex(header.hash)}) == "0x1"


def test_storage_and_proof_agree(node: EmbeddedNode) -> None:
    node.send([signed(1, revoke_call([b"p" * 32]))])
    place = keccak(contract.REVOKED_SLOT.to_bytes(32, "big") + sha256(b"p" * 32))
    height = int(ask(node, "eth_blockNumber"), 16)
    assert ask(node, "eth_getStorageAt", REGISTRY, _hex(place), "latest") == f"0x{height:064x}"
    proof = ask(node, "eth_getProof", REGISTRY, [_hex(place)], "latest")
    assert proof["storageProof"][0]["value"] == hex(height)
    assert proof["codeHash"] == _hex(keccak(contract.runtime()))
    assert keccak(bytes.fromhex(proof["accountProof"][0][2:])) == node.head().state_root
    assert keccak(bytes.fromhex(proof["storageProof"][0]["proof"][0][2:])).hex() == proof["storageHash"][2:]


def test_fee_history_has_one_base_fee_more_than_blocks(node: EmbeddedNode) -> None:
    history = ask(node, "eth_feeHistory", "0x2", "latest", [50])
    assert len(history["baseFeePerGas"]) == 3
    assert len(history["gasUsedRatio"]) == len(history["reward"]) == 2


# Logs --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def spoken(node: EmbeddedNode) -> EmbeddedNode:
    """A node with a publication, a revocation, and a log of another contract with three topics: blocks 3, 4 and 5."""
    node.head()
    for nonce, data in enumerate([publish_call(b"x"), revoke_call([b"p" * 32])], 1):
        node.send([signed(nonce, data)])
    pushed = [bytes.fromhex(topic[2:]) for topic in (SECOND, FIRST, KIND)]
    node.send([signed(3, b"".join(b"\x7f" + topic for topic in pushed) + b"\x5f\x5f\xa3\x00", to=b"")])
    return node


COMMITMENT = _hex(sha256(b"p" * 32))
KIND, FIRST, SECOND = (_hex(bytes([n]) * 32) for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("query", "blocks"),
    [
        ({"fromBlock": "0x0"}, [3, 4, 5]),
        ({"fromBlock": "earliest", "toBlock": "0x4"}, [3, 4]),
        ({"fromBlock": "0x4", "toBlock": "0xffffff"}, [4, 5]),
        ({}, [5]),
        ({"fromBlock": "0x0", "address": REGISTRY}, [3, 4]),
        ({"fromBlock": "0x0", "address": [REGISTRY, ACCOUNT]}, [3, 4]),
        ({"fromBlock": "0x0", "address": ACCOUNT}, []),
        ({"fromBlock": "0x0", "topics": ["0x" + contract.REVOKED]}, [4]),
        ({"fromBlock": "0x0", "topics": [["0x" + contract.REVOKED, KIND]]}, [4, 5]),
        ({"fromBlock": "0x0", "topics": [None, COMMITMENT]}, [4]),
        ({"fromBlock": "0x0", "topics": [None, None, SECOND]}, [5]),
        ({"fromBlock": "0x0", "topics": [None, FIRST, SECOND]}, [5]),
        ({"fromBlock": "0x0", "topics": [None, None]}, [4, 5]),
        ({"fromBlock": "0x0", "topics": []}, [3, 4, 5]),
    ],
)
def test_a_filter_finds_the_logs_that_it_describes(spoken: EmbeddedNode, query: object, blocks: list[int]) -> None:
    assert [int(log["blockNumber"], 16) for log in ask(spoken, "eth_getLogs", query)] == blocks


def test_the_logs_of_one_block_are_found_by_its_hash(spoken: EmbeddedNode) -> None:
    header = spoken.header(4)
    assert header is not None
    (log,) = ask(spoken, "eth_getLogs", {"blockHash": _hex(header.hash)})
    assert log["topics"] == ["0x" + contract.REVOKED, COMMITMENT]


def test_more_logs_than_the_bound_are_refused(spoken: EmbeddedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_LOGS", 3)
    assert len(ask(spoken, "eth_getLogs", {"fromBlock": "0x0"})) == 3
    monkeypatch.setattr(rpc, "MAX_LOGS", 2)
    assert error_of(spoken, "eth_getLogs", {"fromBlock": "0x0"})["code"] == forms.LIMIT_EXCEEDED


# Errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", forms.PARSE_ERROR),
        (b"{", forms.PARSE_ERROR),
        (b"\xff\xfe", forms.PARSE_ERROR),
        (b"[" * 100_000, forms.PARSE_ERROR),
        (b"[]", forms.INVALID_REQUEST),
        (b"7", forms.INVALID_REQUEST),
        (b'{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}', forms.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', forms.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":[],"method":"eth_chainId"}', forms.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_mine"}', forms.METHOD_NOT_FOUND),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{}}', forms.INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[1]}', forms.INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":[]}', forms.INVALID_PARAMS),
    ],
)
def test_a_request_that_is_none_gets_its_number(node: EmbeddedNode, body: bytes, code: int) -> None:
    assert json.loads(rpc.Rpc(node).answer(body))["error"]["code"] == code


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_getBalance", ["0x12"], forms.INVALID_PARAMS),
        ("eth_getBalance", [7], forms.INVALID_PARAMS),
        ("eth_getBalance", [ACCOUNT, "newest"], forms.INVALID_PARAMS),
        ("eth_getBalance", [ACCOUNT, "0x"], forms.INVALID_PARAMS),
        ("eth_getBalance", [ACCOUNT, "0x1_0"], forms.INVALID_PARAMS),
        ("eth_getBalance", [ACCOUNT, "0x" + "1" * 65], forms.INVALID_PARAMS),
        ("eth_getBalance", [ACCOUNT, "0xffff"], forms.SERVER_ERROR),
        ("eth_getBlockByHash", ["0x1234", False], forms.INVALID_PARAMS),
        ("eth_getBlockByNumber", ["0x0", "yes"], forms.INVALID_PARAMS),
        ("eth_getLogs", ["0x0"], forms.INVALID_PARAMS),
        ("eth_getLogs", [{"topics": [None] * 5}], forms.INVALID_PARAMS),
        ("eth_getLogs", [{"topics": ["0x12"]}], forms.INVALID_PARAMS),
        ("eth_getLogs", [{"address": [REGISTRY] * (forms.MAX_ALTERNATIVES + 1)}], forms.INVALID_PARAMS),
        ("eth_getLogs", [{"fromBlock": "0x1", "toBlock": "0x0"}], forms.INVALID_PARAMS),
        ("eth_getLogs", [{"blockHash": "0x" + "11" * 32}], forms.SERVER_ERROR),
        ("eth_getProof", [REGISTRY, ["0x0"] * (rpc.MAX_SLOTS + 1)], forms.INVALID_PARAMS),
        ("eth_getProof", [REGISTRY, "0x0"], forms.INVALID_PARAMS),
        ("eth_feeHistory", ["0x0", "latest"], forms.INVALID_PARAMS),
        ("eth_feeHistory", [hex(rpc.MAX_HISTORY + 1), "latest"], forms.INVALID_PARAMS),
        ("eth_call", ["0x"], forms.INVALID_PARAMS),
        ("eth_call", [{"to": REGISTRY, "data": "0x1"}], forms.INVALID_PARAMS),
        ("eth_estimateGas", [{"to": REGISTRY, "gas": "0x1"}], forms.SERVER_ERROR),
        ("eth_sendRawTransaction", ["0x02"], forms.SERVER_ERROR),
        ("eth_sendRawTransaction", ["02"], forms.INVALID_PARAMS),
        ("eth_sendRawTransaction", ["0x0 2"], forms.INVALID_PARAMS),
    ],
)
def test_a_parameter_that_is_none_gets_its_number(
    node: EmbeddedNode, method: str, params: list[Any], code: int
) -> None:
    assert error_of(node, method, *params)["code"] == code


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
def test_a_call_gets_no_more_gas_than_a_block_holds(
    node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Whatever it asks for: one that never ends would hold everybody else up for ever."""
    monkeypatch.setattr(genesis, "GAS_LIMIT", 200_000)
    error = error_of(node, method, {"data": "0x5b600056", "gas": hex(2**62)})  # a loop
    assert (error["code"], error["message"].partition(":")[0]) == (forms.SERVER_ERROR, "Out of gas")


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
def test_a_revert_gets_number_three_and_the_words_of_the_contract(node: EmbeddedNode, method: str) -> None:
    says_no = "0x6c" + b"not like this".hex() + "5f52" + "600d" + "6013" + "fd"  # MSTORE, then REVERT with these words
    error = error_of(node, method, {"from": ACCOUNT, "data": says_no})
    assert error["code"] == forms.REVERTED
    assert bytes.fromhex(error["data"][2:]) == b"not like this"


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
def test_the_registry_refuses_without_a_word(node: EmbeddedNode, method: str) -> None:
    unannounced = {"from": ACCOUNT, "to": REGISTRY, "data": _hex(claim_call(b"alice", b"u" * 32))}
    error = error_of(node, method, unannounced)
    assert (error["code"], error["data"]) == (forms.REVERTED, "0x")


def test_an_estimate_is_for_the_next_block(node: EmbeddedNode) -> None:
    """A claim may follow its announcement at once, though it must be mined in a later block."""
    node.send([signed(1, commit_call(b"alice", b"t" * 32))])
    ask(node, "eth_estimateGas", {"from": ACCOUNT, "to": REGISTRY, "data": _hex(claim_call(b"alice", b"t" * 32))})


def test_a_call_returns_what_the_contract_says(node: EmbeddedNode) -> None:
    claim(node, 1, b"alice", b"t" * 32)
    selector = keccak(b"alias(bytes32)")[:4]
    assert ask(node, "eth_call", {"to": REGISTRY, "input": _hex(selector + b"alice".ljust(32, b"\0"))}) == _hex(
        b"t" * 32
    )


def test_a_full_disk_is_named_by_its_own_code(node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StateUnwritable("full")

    monkeypatch.setattr(node._store, "commit", full)
    error = error_of(node, "eth_sendRawTransaction", _hex(signed(1)))
    assert (error["code"], error["data"]) == (forms.SERVER_ERROR, "state.unwritable")


def test_a_fault_of_ours_is_an_internal_error_without_details(
    node: EmbeddedNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node, "receipt", lambda _: 1 // 0)
    error = error_of(node, "eth_getTransactionReceipt", "0x" + "11" * 32)
    assert error == {"code": forms.INTERNAL_ERROR, "message": "internal error"}
    assert "ZeroDivisionError" in caplog.text


# Batches -----------------------------------------------------------------------------------------------------------


def _call(identity: object, method: str, *params: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "method": method, "params": list(params)}


def test_a_batch_is_answered_in_order_with_its_errors_in_place(node: EmbeddedNode) -> None:
    batch = [_call("a", "eth_chainId"), 7, _call("c", "eth_nothing"), _call(4, "eth_syncing")]
    answers = raw_ask(node, batch)
    assert [answer["id"] for answer in answers] == ["a", None, "c", 4]
    assert ["error" in answer for answer in answers] == [False, True, True, False]


def test_transactions_of_one_batch_share_a_block(node: EmbeddedNode, clock: Clock) -> None:
    batch = [_call(n, "eth_sendRawTransaction", _hex(signed(n))) for n in (1, 2, 9, 3)]
    answers = raw_ask(node, batch)
    assert ["error" in answer for answer in answers] == [False, False, True, False]
    assert len(ask(node, "eth_getBlockByNumber", "latest", False)["transactions"]) == 3


def test_a_call_without_an_id_gets_no_answer(node: EmbeddedNode) -> None:
    silent = {"jsonrpc": "2.0", "method": "eth_chainId"}
    assert rpc.Rpc(node).answer(json.dumps(silent).encode()) == b""
    assert rpc.Rpc(node).answer(json.dumps([silent]).encode()) == b""


def test_nesting_without_end_is_a_parse_error_although_py_ecc_raised_the_recursion_limit(node: EmbeddedNode) -> None:
    assert json.loads(rpc.Rpc(node).answer(b'{"a":' * 100_000))["error"]["code"] == forms.PARSE_ERROR


@pytest.mark.parametrize("module", ["wave.chain.client", "wave.chain.node"])
def test_importing_leaves_a_recursion_limit_that_the_stack_can_hold(module: str) -> None:
    root = Path(__file__).parents[2]
    program = f"import sys; sys.path.insert(0, {str(root)!r}); import {module}; print(sys.getrecursionlimit())"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert int(run.stdout) <= 12 * 1024


def test_a_batch_at_the_bound_is_taken_and_one_past_it_is_not(node: EmbeddedNode) -> None:
    batch = [_call(n, "eth_chainId") for n in range(rpc.MAX_BATCH)]
    assert len(raw_ask(node, batch)) == rpc.MAX_BATCH
    assert raw_ask(node, [*batch, batch[0]])["error"]["code"] == forms.INVALID_REQUEST
