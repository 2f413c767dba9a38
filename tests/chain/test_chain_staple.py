"""Staples: a proof with what shows that nothing of it was revoked, checked with nothing but a block's hash."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chain.staging import Clock, revoke_call, signed
from tests.world import DAY, NOW, World
from wave.chain import contract
from wave.chain import staple as staples
from wave.chain.client import ChainClient
from wave.chain.node import EmbeddedNode
from wave.chain.rpc import Rpc
from wave.chain.staple import SLOTS_ASKED, Staple, check, commitments_of, take_apart
from wave.codec import armour, decode, encode, sha256
from wave.dots.cache import Verifier
from wave.dots.dot import Dot
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.verify import verify
from wave.errors import (
    BadHeader,
    BadStateProof,
    EntityRevoked,
    FactsBehind,
    InputError,
    Malformed,
    NotStapled,
    Revoked,
    StaleFacts,
    TooLarge,
    Unavailable,
    UntrustedBlock,
    WrongKind,
)
from wave.limits import LIMITS


@dataclass
class Town:
    """A chain of one's own on which things get revoked, and a path over three DoTs."""

    world: World
    node: EmbeddedNode
    client: ChainClient
    path: tuple[Dot, ...]

    @property
    def proof(self) -> Proof:
        return self.world.proof(self.path)

    @property
    def request(self) -> Request:
        return self.world.request("carol", "publish@home/light")

    def staple(self, proof: Proof | None = None) -> Staple:
        return Staple.build(self.client, proof or self.proof)

    def revoke(self, preimages: Sequence[bytes]) -> None:
        nonce = self.node.next_nonce(contract_payer())
        (outcome,) = self.node.send([signed(nonce, revoke_call(list(preimages)), gas=3_000_000)])
        assert isinstance(outcome, bytes)


def contract_payer() -> bytes:
    from wave.chain.genesis import DEVELOPMENT_ACCOUNTS

    return DEVELOPMENT_ACCOUNTS[0]


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    from wave.chain.client import Endpoint

    world = World()
    with EmbeddedNode.open(tmp_path / "chain", clock=Clock(NOW)) as node:
        endpoint = Endpoint(Rpc(node).answer, lambda: None, "a chain here", contract.REGISTRY)
        path = world.chain("home alice bob carol", "publish@home/*")
        town = Town(world, node, endpoint, path)  # type: ignore[arg-type] # it answers what a staple is made from
        town.revoke([bytes((number,)) * 32 for number in range(40)])
        yield town


def test_a_stapled_proof_is_checked_with_a_block_hash_alone(town: Town) -> None:
    staple = town.staple()
    facts = check(staple.to_bytes(), staple.block_hash)
    head = town.client.head()
    assert (facts.height, facts.block_hash, facts.time) == (head.number, head.hash, head.time)
    grant = verify(town.proof, town.request, facts, now=NOW)
    assert grant.height == head.number
    assert len(grant.paths[0]) == 3


def test_a_staple_speaks_of_all_that_the_proof_rests_on(town: Town) -> None:
    """Of each DoT, and of each entity on the paths, the namespace and the subject among them."""
    wanted = {one for dot in town.path for one in dot.commitments}
    wanted |= {one for name in ("home", "alice", "bob", "carol") for one in town.world.entity(name).entity.commitments}
    assert set(town.staple().commitments) == wanted
    assert commitments_of(town.proof) == tuple(sorted(wanted))
    grant = verify(town.proof, town.request, check(town.staple(), town.staple().block_hash), now=NOW)
    assert grant.commitments == wanted


@pytest.mark.parametrize("place", range(3))
def test_a_revoked_dot_refuses(town: Town, place: int) -> None:
    dot = town.path[place]
    giver = next(town.world.entity(one) for one in ("home", "alice", "bob") if town.world.id(one) == dot.giver)
    town.revoke([dot.preimage(giver)])
    staple = town.staple()
    facts = check(staple, staple.block_hash)
    assert dict(facts.revocations) == {dot.commitments[0]: facts.height}
    with pytest.raises(Revoked):
        verify(town.proof, town.request, facts, now=NOW)


@pytest.mark.parametrize("name", ["home", "alice", "bob", "carol"])
def test_a_revoked_entity_refuses(town: Town, name: str) -> None:
    town.revoke([town.world.entity(name).preimage()])
    staple = town.staple()
    with pytest.raises(EntityRevoked):
        verify(town.proof, town.request, check(staple, staple.block_hash), now=NOW)


def test_a_staple_of_before_the_revocation_does_not_pass_for_a_later_block(town: Town) -> None:
    before = town.staple()
    town.revoke([town.path[1].preimage(town.world.entity("alice"))])
    with pytest.raises(UntrustedBlock):
        check(before, town.client.head().hash)
    with pytest.raises(FactsBehind):
        verify(town.proof, town.request, check(before, before.block_hash), now=NOW, at_least=before.header.number + 1)


def test_an_old_block_is_stale_unless_that_is_accepted(town: Town) -> None:
    staple = town.staple()
    facts = check(staple, staple.block_hash)
    with pytest.raises(StaleFacts):
        verify(town.proof, town.request, facts, now=NOW + DAY)
    verify(town.proof, town.request, facts, now=NOW + DAY, max_staleness=DAY)


def test_what_is_not_stapled_cannot_be_told(town: Town) -> None:
    """Neither a yes nor a no: unsure means no to a device, and something else to an operator."""
    first = town.world.proof(town.world.grant("home", "carol", "publish@home/light"))
    staple = town.staple(first)
    facts = check(staple, staple.block_hash)
    with pytest.raises(NotStapled) as caught:
        verify(town.proof, town.request, facts, now=NOW)
    assert isinstance(caught.value, Unavailable)
    for ask in (facts.revocations.get, facts.revocations.__getitem__, facts.revocations.__contains__):
        with pytest.raises(NotStapled):
            ask(bytes(32))
    assert staple.commitments[0] not in facts.revocations
    assert (len(facts.revocations), list(facts.revocations)) == (0, [])


def test_the_cache_of_verdicts_asks_the_staple_again(town: Town) -> None:
    """A device that keeps verdicts takes a new staple as it takes newer facts."""
    verifier = Verifier()
    staple = town.staple()
    for _ in range(2):
        verifier.verify(town.proof, town.request, check(staple, staple.block_hash), now=NOW)
    town.revoke([town.path[0].preimage(town.world.entity("home"))])
    staple = town.staple()
    with pytest.raises(Revoked):
        verifier.verify(town.proof, town.request, check(staple, staple.block_hash), now=NOW)


# Altered -------------------------------------------------------------------------------------------------------------


def with_field(staple: Staple, place: int, change: Callable[[Any], Any]) -> bytes:
    fields = decode(staple.to_bytes(), bound=LIMITS.staple_bytes)
    assert isinstance(fields, tuple)
    return encode((*fields[:place], change(fields[place]), *fields[place + 1 :]))


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,))


HEADER, COMMITMENTS, ACCOUNT, STORAGE = 1, 2, 3, 4
LIES: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "another header": (HEADER, flipped),
    "no account": (ACCOUNT, lambda _: ()),
    "account cut": (ACCOUNT, lambda nodes: nodes[:-1]),
    "account altered": (ACCOUNT, lambda nodes: (*nodes[:-1], flipped(nodes[-1]))),
    "account in reverse": (ACCOUNT, lambda nodes: nodes[::-1]),
    "account and more": (ACCOUNT, lambda nodes: (*nodes, nodes[0])),
    "no storage": (STORAGE, lambda _: ()),
    "storage cut": (STORAGE, lambda nodes: nodes[:-1]),
    "storage without its root": (STORAGE, lambda nodes: nodes[1:]),
    "storage altered": (STORAGE, lambda nodes: (flipped(nodes[0]), *nodes[1:])),
    "storage in reverse": (STORAGE, lambda nodes: nodes[::-1]),
    "storage twice": (STORAGE, lambda nodes: (*nodes, nodes[-1])),
    "a commitment changed": (COMMITMENTS, lambda all_: tuple(sorted((*all_[1:], sha256(b"another"))))),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_altered_staple_tells_nothing(town: Town, lie: str) -> None:
    staple = town.staple()
    data = with_field(staple, *LIES[lie])
    with pytest.raises((UntrustedBlock, BadStateProof, BadHeader, NotStapled)) as caught:
        verify(town.proof, town.request, check(data, staple.block_hash), now=NOW)
    assert caught.value.exit_status == 4


def test_no_single_bit_of_a_staple_can_be_changed(town: Town) -> None:
    """Every other byte string is refused, or names another block, or tells nothing of what is asked."""
    staple = town.staple()
    data = staple.to_bytes()
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes((data[place] ^ 0x04,)) + data[place + 1 :]
        with pytest.raises((InputError, Unavailable)):
            verify(town.proof, town.request, check(changed, staple.block_hash), now=NOW)


def test_a_commitment_left_out_is_not_stapled(town: Town) -> None:
    """A staple without the one that is revoked would be a valid one: the verdict asks for it, and so it is missed."""
    town.revoke([town.path[1].preimage(town.world.entity("alice"))])
    other = town.world.proof(town.path[:1])
    staple = town.staple(other)
    with pytest.raises(NotStapled):
        verify(town.proof, town.request, check(staple, staple.block_hash), now=NOW)


def test_another_contract_of_the_same_code_is_not_the_registry(town: Town) -> None:
    """Whoever checks says which address counts: a second registry, in which nothing is revoked, is anybody's."""
    staple = town.staple()
    with pytest.raises(BadStateProof):
        check(staple, staple.block_hash, registry=b"\x01" * 20)


# Form ----------------------------------------------------------------------------------------------------------------


def test_a_staple_comes_back_from_bytes_and_text(town: Town) -> None:
    staple = town.staple()
    for again in (Staple.from_bytes(staple.to_bytes()), Staple.from_text(staple.to_text())):
        assert again.to_bytes() == staple.to_bytes()
        assert again.block_hash == town.client.head().hash
    with pytest.raises(WrongKind):
        Staple.from_text(town.proof.to_text())
    with pytest.raises(WrongKind):
        Proof.from_text(staple.to_text())


def test_a_file_holds_the_proof_and_its_staple_behind(town: Town) -> None:
    proof, staple = town.proof.to_text(), town.staple().to_text()
    assert take_apart(proof + staple) == (proof, staple)
    assert take_apart(proof) == (proof, None)
    assert take_apart(staple) == (staple, None)


@pytest.mark.parametrize("data", [b"", b"\x90", b"\x95\x02", bytes(100), armour("STAPLE", b"").encode()])
def test_what_is_no_staple_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Staple.from_bytes(data)


def test_commitments_stand_in_order_and_once(town: Town) -> None:
    for change in (lambda all_: all_[::-1], lambda all_: (all_[0], *all_)):
        with pytest.raises(Malformed):
            Staple.from_bytes(with_field(town.staple(), COMMITMENTS, change))


def test_nodes_are_shared_and_each_stands_once(town: Town) -> None:
    fields = decode(town.staple().to_bytes())
    assert isinstance(fields, tuple)
    storage = fields[STORAGE]
    assert isinstance(storage, tuple)
    assert len(set(storage)) == len(storage)


def test_many_commitments_are_asked_for_in_parts(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = town.staple().to_bytes()
    monkeypatch.setattr(staples, "SLOTS_ASKED", 2)
    assert town.staple().to_bytes() == whole
    assert SLOTS_ASKED <= 256  # what the embedded node answers at once


def test_a_proof_without_paths_is_stapled_too(town: Town) -> None:
    """The namespace's own acts: they end with its own revocation."""
    proof = town.world.proof(also="home")
    request = town.world.request("home", "publish@home/light")
    staple = town.staple(proof)
    verify(proof, request, check(staple, staple.block_hash), now=NOW)
    town.revoke([town.world.entity("home").preimage()])
    staple = town.staple(proof)
    with pytest.raises(EntityRevoked):
        verify(proof, request, check(staple, staple.block_hash), now=NOW)


# Bounds --------------------------------------------------------------------------------------------------------------


def test_staple_commitments(town: Town) -> None:
    """At the bound, and one past it."""

    def made(count: int) -> bytes:
        return with_field(
            town.staple(), COMMITMENTS, lambda _: tuple(number.to_bytes(32, "big") for number in range(count))
        )

    assert len(Staple.from_bytes(made(LIMITS.staple_commitments)).commitments) == LIMITS.staple_commitments
    with pytest.raises(Malformed):
        Staple.from_bytes(made(LIMITS.staple_commitments + 1))
    entities = {
        name: town.world.entity(name, revokers=tuple(sha256(b"%d" % n + name.encode()) for n in range(7)))
        for name in map(str, range(129))
    }
    proof = town.world.proof(also=" ".join(list(entities)[:128]))
    assert len(commitments_of(proof)) == LIMITS.staple_commitments
    with pytest.raises(TooLarge):
        town.staple(town.world.proof(also=" ".join(entities)))


def test_trie_node_bytes(town: Town) -> None:
    """At the bound a node is read (and found to be no part of the trie), one past it is not."""
    staple = town.staple()
    node = bytes(LIMITS.trie_node_bytes)
    with pytest.raises(BadStateProof):
        check(with_field(staple, STORAGE, lambda _: (node,)), staple.block_hash)
    with pytest.raises(Malformed):
        check(with_field(staple, STORAGE, lambda _: (node + b"1",)), staple.block_hash)


def test_staple_bytes(town: Town) -> None:
    """The largest staple, and a byte more."""

    def made(fill: int) -> bytes:
        count = LIMITS.staple_bytes // (LIMITS.trie_node_bytes + 3) - 2
        return with_field(
            staple, STORAGE, lambda _: (*[bytes(LIMITS.trie_node_bytes)] * count, bytes(600), bytes(fill))
        )

    staple = town.staple()
    room = LIMITS.staple_bytes - len(made(300))
    assert len(made(300 + room)) == LIMITS.staple_bytes
    Staple.from_bytes(made(300 + room))
    with pytest.raises(TooLarge):
        Staple.from_bytes(made(301 + room))
    with pytest.raises(TooLarge):
        Staple.from_bytes(bytes(LIMITS.staple_bytes + 1))


# A device ------------------------------------------------------------------------------------------------------------

_DEVICE = """
import socket, sys
socket.socket = None
from wave.chain.staple import check
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.verify import verify
from wave.namespace.pattern import Pattern
proof, staple, block, subject, namespace, now = [bytes.fromhex(line) for line in sys.stdin.read().split()]
request = Request(subject, namespace, (Statement("publish", Pattern("light")),))
verify(proof, request, check(staple, block), now=int.from_bytes(now, "big"))
heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"web3", "eth", "trie", "rlp", "aiohttp", "asyncio"})
print(heavy)
"""


def test_a_device_without_a_network_checks_a_staple(town: Town) -> None:
    """In a process of its own that can open no socket; it loads neither web3 nor a node."""
    staple = town.staple()
    words = [
        town.proof.to_bytes(),
        staple.to_bytes(),
        staple.block_hash,
        town.world.id("carol"),
        town.world.id("home"),
        NOW.to_bytes(8, "big"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", _DEVICE],
        input="\n".join(word.hex() for word in words),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
