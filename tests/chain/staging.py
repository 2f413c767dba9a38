"""What the tests of the chain stage: a clock that stands still, calls to a node, a served node, signed transactions."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eth_account import Account

from wave.chain import contract, genesis
from wave.chain.node import EmbeddedNode
from wave.chain.rpc import Rpc
from wave.chain.serve import serving

START = genesis.GENESIS_TIME + 1_000_000
SALT = b"s" * 32
PAYER = genesis.DEVELOPMENT_ACCOUNTS[0]
_SECOND_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"  # the second development account's


class Clock:
    """A clock that moves when told to."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def call(function: str, arguments: bytes) -> bytes:
    from eth_hash.auto import keccak

    return keccak(function.encode())[:4] + arguments


def publish_call(data: bytes) -> bytes:
    words = (32).to_bytes(32, "big") + len(data).to_bytes(32, "big") + data.ljust(-(-len(data) // 32) * 32, b"\0")
    return call("publish(bytes)", words)


def commit_call(label: bytes, target: bytes, salt: bytes = SALT) -> bytes:
    from eth_hash.auto import keccak

    return call("commit(bytes32)", keccak(label.ljust(32, b"\0") + target + salt))


def claim_call(label: bytes, target: bytes, salt: bytes = SALT) -> bytes:
    return call("claim(bytes32,bytes32,bytes32)", label.ljust(32, b"\0") + target + salt)


def claim(node: EmbeddedNode, nonce: int, label: bytes, target: bytes) -> None:
    """Announce a name in one block and claim it in the next; takes two nonces."""
    for place, data in enumerate((commit_call(label, target), claim_call(label, target))):
        (outcome,) = node.send([signed(nonce + place, data)])
        assert isinstance(outcome, bytes), outcome
        found = node.receipt(outcome)
        assert found is not None
        assert found[0].status == 1


def revoke_call(preimages: list[bytes]) -> bytes:
    head = (32).to_bytes(32, "big") + len(preimages).to_bytes(32, "big")
    return call("revoke(bytes32[])", head + b"".join(preimages))


def signed(nonce: int, data: bytes = b"", *, second: bool = False, **changes: Any) -> bytes:
    """A transaction of the first development account (or the second), ready to send."""
    fields = {
        "chainId": contract.CHAIN_ID,
        "nonce": nonce,
        "to": contract.REGISTRY,
        "value": 0,
        "gas": 500_000,
        "maxFeePerGas": 1_000,
        "maxPriorityFeePerGas": 0,
        "data": data or publish_call(b"said"),
        **changes,
    }
    key = _SECOND_KEY if second else genesis.DEVELOPMENT_PAYER
    return bytes(Account.sign_transaction(fields, key).raw_transaction)


def ask(node: EmbeddedNode, method: str, *params: object) -> Any:
    """The result of one JSON-RPC call; AssertionError when it is an error."""
    answer = raw_ask(node, {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
    assert "error" not in answer, answer
    return answer["result"]


def error_of(node: EmbeddedNode, method: str, *params: object) -> dict[str, Any]:
    """The error of one JSON-RPC call."""
    answer = raw_ask(node, {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
    assert "result" not in answer, answer
    error: dict[str, Any] = answer["error"]
    return error


def raw_ask(node: EmbeddedNode, request: object) -> Any:
    return json.loads(Rpc(node).answer(json.dumps(request).encode()))


@contextmanager
def served(node: EmbeddedNode, **options: Any) -> Iterator[str]:
    """Serve ``node`` from another thread and give the address."""
    loop = asyncio.new_event_loop()
    started: list[str | BaseException] = []
    ready = threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        try:
            async with serving(node, **{"port": 0, **options}) as url:
                started.append(url)
                ready.set()
                await stop.wait()
        except BaseException as error:
            started.append(error)
            ready.set()
            raise

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(main())
        except Exception:  # noqa: BLE001 - raised below, in the thread that asked
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(20)
    outcome = started[0]
    try:
        if isinstance(outcome, BaseException):
            raise outcome
        yield outcome
    finally:
        if not loop.is_closed() and not isinstance(outcome, BaseException):
            loop.call_soon_threadsafe(stop.set)
        thread.join(20)
