"""Ethereum nodes of others, started for a test: anvil, and hardhat under a Node.js of its own (``make nodes``).

Each runs on a free port of the loopback in a process group of its own, and writes a log that a failure names.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wave.chain import contract, genesis

FOLDER = Path(__file__).parent.parent / "nodes"
MODULES = FOLDER / "node_modules"
START_WITHIN = 30.0  # seconds for a node to listen
STOP_WITHIN = 5.0  # seconds before it is killed
_PLACE = re.compile(r"(?:Listening on |JSON-RPC server at http://)127\.0\.0\.1:(\d+)")
_CALL_WITHIN = 20.0


@dataclass(frozen=True, slots=True)
class Node:
    """A running node; its chain has WAVE's id and the development accounts."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def ask(self, method: str, *params: object) -> Any:
        """The result of one JSON-RPC call; AssertionError when it is an error."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_CALL_WITHIN)
        try:
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert "result" in answer, (method, answer, str(self.log))
        return answer["result"]

    def deploy(self) -> bytes:
        """Put the registry on the chain and return its address: the development one, on a chain that is new."""
        sender = "0x" + genesis.DEVELOPMENT_ACCOUNTS[0].hex()
        transaction = self.ask(
            "eth_sendTransaction", {"from": sender, "data": "0x" + contract.bytecode().hex(), "gas": hex(2_000_000)}
        )
        deadline = time.monotonic() + START_WITHIN
        while (receipt := self.ask("eth_getTransactionReceipt", transaction)) is None:
            assert time.monotonic() < deadline, f"the registry was not mined; see {self.log}"
            time.sleep(0.02)
        assert receipt["status"] == "0x1", (receipt, str(self.log))
        return bytes.fromhex(receipt["contractAddress"][2:])

    def mine(self, blocks: int = 1) -> None:
        self.ask("hardhat_mine", hex(blocks))

    def height(self) -> int:
        return int(self.ask("eth_blockNumber"), 16)


def missing(what: str) -> None:
    """Skip the test for want of ``what``; in CI, where nothing may be missing, fail it."""
    reason = f"{what} is not installed; get it with: make nodes"
    if os.environ.get("CI") or os.environ.get("WAVE_CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@contextmanager
def anvil(
    scratch: Path, *options: str, port: int = 0, chain_id: int = contract.CHAIN_ID, deployed: bool = True
) -> Iterator[Node]:
    """Run anvil, which mines a block for each transaction unless ``options`` say otherwise."""
    found = sorted(MODULES.glob("@foundry-rs/anvil-*/bin/anvil"))
    if not found:
        missing("anvil")
    chosen = ["--chain-id", str(chain_id), "--host", "127.0.0.1", "--port", str(port), *options]
    with _running([str(found[0]), *chosen], scratch / "anvil.log", {}) as node:
        if deployed:
            assert node.deploy() == contract.REGISTRY
        yield node


@contextmanager
def hardhat(scratch: Path) -> Iterator[Node]:
    """Run hardhat, which mines a block for each transaction; the registry is in its first block."""
    runtime = sorted(MODULES.glob("node-linux-*/bin/node"))
    command = MODULES / "hardhat/dist/src/cli.js"
    if not runtime or not command.exists():
        missing("hardhat")
    environment = {
        "HARDHAT_DISABLE_TELEMETRY": "true",
        "HOME": str(scratch),
        "NO_COLOR": "1",
        "WAVE_TEST_SCRATCH": str(scratch),
    }
    arguments = [str(runtime[0]), str(command), "node", "--hostname", "127.0.0.1", "--port", "0"]
    with _running(arguments, scratch / "hardhat.log", environment) as node:
        assert node.deploy() == contract.REGISTRY
        yield node


@contextmanager
def _running(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[Node]:
    with log.open("ab") as output:
        start = output.tell()
        process = subprocess.Popen(
            command,
            cwd=FOLDER,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Node(_port(process, log, start), process, log)
    finally:
        _stop(process)


def _port(process: subprocess.Popen[bytes], log: Path, start: int) -> int:
    """Wait until the node says where it listens."""
    deadline = time.monotonic() + START_WITHIN
    while True:
        said = log.read_bytes()[start:].decode("utf-8", "replace")
        if place := _PLACE.search(said):
            return int(place[1])
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{process.args!r} did not start; {log} ends with:\n{said[-2000:]}", pytrace=False)
        time.sleep(0.01)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            continue
    process.wait(STOP_WITHIN)
