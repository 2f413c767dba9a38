"""What the registry costs in gas, on the embedded node; and the same acts with the Ethereum Attestation Service.

That contract is deployed beside ours from the artefact that its authors publish on npm, kept in a cache directory.
"""

import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import encode
from eth_hash.auto import keccak

from bench.figure import Figure
from wave.chain import contract, genesis
from wave.chain.fees import GWEI
from wave.chain.node import EmbeddedNode
from wave.chain.payer import Payer
from wave.chain.records import LogRow
from wave.chain.sender import anchor_call, claim_call, commit_call, draw_salt, publish_call, revoke_call
from wave.codec import sha256

OBJECT: Final = b"\xff" * 300
BATCH: Final = 1_000  # objects under one anchored root
TOGETHER: Final = 50  # revocations in one transaction
PUBLISH_BOUND: Final = 34_500
ANCHORED_BOUND: Final = 30
REVOKE_BOUND: Final = 46_500
REVOKE_TOGETHER_BOUND: Final = 25_000
CLAIM_BOUND: Final = 46_500
DEPLOY_BOUND: Final = 260_000

PACKAGE: Final = "@ethereum-attestation-service/eas-contracts@1.9.0"
PACKAGE_HASH: Final = "9b168dcbeea489418df67ed665b830c7919ae6c8d8c44bbd3694fdcf8bbd6f25"
_ARTEFACT: Final = "package/artifacts/contracts/{0}.sol/{0}.json"
_SCHEMA: Final = "bytes object"
_ATTEST: Final = "(bytes32,(address,uint64,bool,bytes32,bytes,uint256))"
_REVOKE: Final = "(bytes32,(bytes32,uint256))"
_MULTI_REVOKE: Final = "(bytes32,(bytes32,uint256)[])[]"


class _Ledger:
    """A fresh chain, and what each transaction on it took."""

    def __init__(self, node: EmbeddedNode) -> None:
        self._node = node
        self._payer = Payer(genesis.DEVELOPMENT_PAYER)
        self._nonce = 1  # the first is the registry's

    def deployed(self) -> int:
        """The gas that deploying the registry took, in block 1."""
        found = self._node.receipt(self._node.block(1)[0][0])
        assert found is not None
        return found[0].gas_used

    def run(self, data: bytes, to: bytes | None = contract.REGISTRY) -> tuple[int, list[LogRow], bytes]:
        """Carry out one transaction; return its gas, its logs, and the address of what it created."""
        fields = {"chainId": contract.CHAIN_ID, "gas": 30_000_000, "gasPrice": GWEI}
        one = self._payer.sign(data, self._nonce, fields if to is None else {**fields, "to": to})
        self._nonce += 1
        (outcome,) = self._node.send([one.raw])
        found = self._node.receipt(one.hash)
        if found is None or not found[0].status:
            raise RuntimeError(f"a transaction was refused: {outcome!r}")
        return found[0].gas_used, found[1], found[0].created


def figures() -> Iterator[Figure]:
    """Yield the registry's figures, then those of the other contract."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedNode.open(Path(folder)) as node:
        ledger = _Ledger(node)
        yield from _registry(ledger)
        yield from _attestations(ledger)


def _registry(ledger: _Ledger) -> Iterator[Figure]:
    yield Figure("registry: deploy", ledger.deployed(), "gas", DEPLOY_BOUND)
    gas = ledger.run(publish_call(OBJECT))[0]
    yield Figure(f"registry: publish {len(OBJECT)} bytes", gas, "gas", PUBLISH_BOUND)
    gas = ledger.run(anchor_call(b"\xff" * 32, BATCH))[0]
    yield Figure(f"registry: anchor {BATCH} objects, each", gas / BATCH, "gas", ANCHORED_BOUND, f"{gas} together")
    gas = ledger.run(revoke_call([b"\xff" * 32]))[0]
    yield Figure("registry: revoke", gas, "gas", REVOKE_BOUND)
    gas = ledger.run(revoke_call([sha256(bytes([n])) for n in range(TOGETHER)]))[0]
    yield Figure(f"registry: revoke {TOGETHER} together, each", gas / TOGETHER, "gas", REVOKE_TOGETHER_BOUND)
    for label, bound in (("alice", CLAIM_BOUND), ("x" * 32, CLAIM_BOUND)):
        claim = label.encode().ljust(32, b"\0"), b"\xff" * 32, draw_salt(lambda size: b"\xff" * size)
        beside = ledger.run(commit_call(*claim))[0]
        gas = ledger.run(claim_call(*claim))[0]
        yield Figure(
            f"registry: claim a name of {len(label)} characters", gas, "gas", bound, f"its commitment {beside}"
        )


# The Ethereum Attestation Service ----------------------------------------------------------------------------------


def _attestations(ledger: _Ledger) -> Iterator[Figure]:
    try:
        schemas, service = _artefacts()
    except (OSError, subprocess.SubprocessError, KeyError, ValueError) as error:
        yield Figure(f"EAS: attest {len(OBJECT)} bytes", None, "gas", note=f"{PACKAGE} is not to be had: {error}")
        return
    schema_gas, _, registry = ledger.run(schemas, None)
    service_gas, _, address = ledger.run(service + encode(["address"], [registry]), None)
    yield Figure("EAS: deploy", schema_gas + service_gas, "gas", note="schema registry and service")
    none = "0x" + "00" * 20
    _, logs, _ = ledger.run(_call("register(string,address,bool)", [_SCHEMA, none, True]), registry)
    schema = logs[0].topics[1]
    gas, uid = _attest(ledger, address, schema, OBJECT)
    yield Figure(f"EAS: attest {len(OBJECT)} bytes", gas, "gas", note="stored, where ours are in an event")
    yield Figure("EAS: revoke", ledger.run(_call(f"revoke({_REVOKE})", [(schema, (uid, 0))]), address)[0], "gas")
    uids = [_attest(ledger, address, schema, bytes([n]))[1] for n in range(TOGETHER)]
    together = _call(f"multiRevoke({_MULTI_REVOKE})", [[(schema, [(one, 0) for one in uids])]])
    yield Figure(f"EAS: revoke {TOGETHER} together, each", ledger.run(together, address)[0] / TOGETHER, "gas")
    root = _call("timestamp(bytes32)", [b"\xff" * 32])
    yield Figure(f"EAS: timestamp the root of {BATCH}, each", ledger.run(root, address)[0] / BATCH, "gas")


def _attest(ledger: _Ledger, address: bytes, schema: bytes, data: bytes) -> tuple[int, bytes]:
    """Return the gas of one attestation, and its id."""
    request = (schema, ("0x" + "00" * 20, 0, True, bytes(32), encode(["bytes"], [data]), 0))
    gas, logs, _ = ledger.run(_call(f"attest({_ATTEST})", [request]), address)
    return gas, logs[0].data


def _call(signature: str, arguments: Sequence[Any]) -> bytes:
    inside = signature.partition("(")[2][:-1]
    types: list[str] = []
    depth, start = 0, 0
    for place, character in enumerate(inside + ","):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            types.append(inside[start:place])
            start = place + 1
    return keccak(signature.encode())[:4] + encode(types, arguments)


def _artefacts() -> tuple[bytes, bytes]:
    """Return the code that deploys the schema registry, and the one that deploys the service."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wave-bench"
    archive = folder / "eas-contracts.tgz"
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            command = ["npm", "pack", "--silent", PACKAGE]
            subprocess.run(command, cwd=scratch, check=True, capture_output=True, timeout=120)
            next(Path(scratch).glob("*.tgz")).replace(archive)
    if sha256(archive.read_bytes()).hex() != PACKAGE_HASH:
        raise ValueError(f"{archive} is another file than the one known")
    with tarfile.open(archive) as files:
        made = []
        for name in ("SchemaRegistry", "EAS"):
            member = files.extractfile(_ARTEFACT.format(name))
            assert member is not None
            made.append(bytes.fromhex(json.load(member)["bytecode"].removeprefix("0x")))
    return made[0], made[1]
