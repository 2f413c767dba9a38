"""How large a stapled proof of three DoTs is, and how long it takes to check it offline, from bytes, with nothing kept.

The size grows with the logarithm of what the registry holds: every commitment needs the branches above its place. The
bounds are asked for with a thousand revocations; with more of them, the size is shown and bound to nothing.
"""

import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rlp
from eth_hash.auto import keccak
from trie import HexaryTrie

from bench.figure import Figure, median_seconds
from bench.verify import NOW, PLACE, chain
from wave.chain import contract
from wave.chain.header import Block, Header, header_bytes
from wave.chain.node import EmbeddedNode
from wave.chain.rpc import Rpc
from wave.chain.staple import Staple, check
from wave.chain.stateproof import revoked_slot
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.verify import verify
from wave.namespace.pattern import Pattern

REVOCATIONS = (0, 1_000, 100_000)
BOUND_AT = 1_000
KILOBYTES = 8.0
MILLISECONDS = 5.0
DOTS = 3
TIMES = 300
ACCOUNTS = 10  # besides the registry, as on a chain of one's own


@dataclass
class Registry:
    """A chain of one block whose registry holds so many revocations: real tries under a header of the real form."""

    revocations: int
    registry: str = "0x" + contract.REGISTRY.hex()
    _nodes: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draw = random.Random(self.revocations).randbytes
        storage = HexaryTrie(self._nodes)
        for _ in range(self.revocations):
            storage[keccak(revoked_slot(draw(32)))] = rlp.encode(1)
        self._storage = storage
        self._state = HexaryTrie(self._nodes)
        code = keccak(contract.runtime())
        for address in [contract.REGISTRY, *(draw(20) for _ in range(ACCOUNTS))]:
            self._state[keccak(address)] = rlp.encode([b"\1", b"", storage.root_hash, code])
        form = {**_real_block(), "stateRoot": "0x" + self._state.root_hash.hex(), "timestamp": hex(NOW)}
        form["hash"] = "0x" + keccak(header_bytes(form)).hex()
        self._form = form

    def head(self) -> Block:
        """Return the block."""
        header = Header.from_json(self._form)
        return Block(header.number, header.hash, header.parent_hash, header.time)

    def header(self, _: int) -> Mapping[str, Any]:
        """Return it as a node gives it."""
        return self._form

    def state_proof(self, slots: Sequence[bytes], _: int) -> dict[str, Any]:
        """Return the proofs as a node gives them."""
        return {
            "accountProof": self._proof(self._state, contract.REGISTRY),
            "storageProof": [{"value": "0x0", "proof": self._proof(self._storage, slot)} for slot in slots],
        }

    def _proof(self, trie: Any, key: bytes) -> list[str]:
        return ["0x" + rlp.encode(node).hex() for node in trie.get_proof(keccak(key)) if node]


def _real_block() -> dict[str, Any]:
    """Return a block of the embedded chain, for a header of the usual form."""
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["latest", False]})
    with tempfile.TemporaryDirectory() as folder, EmbeddedNode.open(Path(folder) / "chain") as node:
        form: dict[str, Any] = json.loads(Rpc(node).answer(call.encode()))["result"]
    return form


def figures() -> Iterator[Figure]:
    """Yield size and time for registries of several sizes."""
    people, path = chain(DOTS)
    proof = Proof.build((path,), [person.entity for person in people])
    request = Request(people[-1].id, people[0].id, (Statement("publish", Pattern(f"{PLACE}/light/control")),))
    for revocations in REVOCATIONS:
        staple = Staple.build(Registry(revocations), proof)
        data, stapled, block = proof.to_bytes(), staple.to_bytes(), staple.block_hash

        def whole(data: bytes = data, stapled: bytes = stapled, block: bytes = block) -> None:
            verify(data, request, check(stapled, block), now=NOW)

        bound = revocations == BOUND_AT
        size = (len(data) + len(stapled)) / 1000
        note = f"proof {len(data)} bytes, staple {len(stapled)}; {DOTS} DoTs, {len(staple.commitments)} commitments"
        what = f"{revocations:,} revocations"
        yield Figure(f"stapled proof, {what}", size, "kB", KILOBYTES if bound else None, note)
        milliseconds = median_seconds([whole] * TIMES) * 1000
        yield Figure(f"offline verification, {what}", milliseconds, "ms", MILLISECONDS)
