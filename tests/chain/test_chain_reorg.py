"""Chains that change behind the follower, made by anvil: what it knows then is what one that begins anew would know."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.agent.conftest import Clock, House, person
from tests.chain.nodes import Node, anvil
from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.settings import Settings
from wave.chain import follower as follower_module
from wave.chain import sender
from wave.chain.client import ChainClient
from wave.chain.follower import Follower
from wave.chain.payer import Prepared
from wave.chain.sender import revoke_call
from wave.codec import sha256
from wave.errors import ChainReorganised, ChainUnavailable, Revoked, StaleFacts, StillPending, WrongChain
from wave.limits import LIMITS

PREIMAGE = sha256(b"preimage")
DEEP = LIMITS.reorg_blocks


@pytest.fixture
def client(anvil_node: Node, tmp_path: Path) -> Iterator[ChainClient]:
    with ChainClient.connect(anvil_node.url, state=tmp_path) as client:
        yield client


@pytest.fixture
def follower(client: ChainClient, tmp_path: Path) -> Iterator[Follower]:
    with Follower(client, tmp_path / "replica.sqlite") as follower:
        yield follower


def _say(node: Node, tmp_path: Path, *numbers: int) -> None:
    """Make blocks, some with something in them: objects, names and revocations."""
    with ChainClient.connect(node.url, state=tmp_path) as writer:
        for number in numbers:
            if number % 4 == 0:
                writer.publish(person(int(time.time())).entity.to_bytes())
            elif number % 4 == 1:
                writer.revoke([sha256(b"%d" % number)])
            elif number % 8 == 2:
                writer.claim(f"name-{number}", bytes([number % 256]) * 32)
            else:
                node.mine()


def _assert_as_if_new(follower: Follower, client: ChainClient, tmp_path: Path) -> None:
    """The follower knows what one knows that begins now."""
    path = tmp_path / f"new-{time.monotonic_ns()}.sqlite"
    facts = follower.sync()
    with Follower(client, path) as anew:
        expected = anew.sync()
        assert facts.height == client.head().number
        assert (facts.height, facts.block_hash, facts.time) == (expected.height, expected.block_hash, expected.time)
        assert dict(facts.revocations) == dict(expected.revocations)
        assert dict(facts.aliases) == dict(expected.aliases)
        assert dict(facts.entities) == dict(expected.entities)
        assert [(one.id, one.height, one.index) for one in follower.objects()] == [
            (one.id, one.height, one.index) for one in anew.objects()
        ]
        assert follower.marks(after=-1) == anew.marks(after=-1)
        assert follower.counts() == anew.counts()


@pytest.mark.parametrize("often", [True, False], ids=["followed block by block", "followed in one step"])
@pytest.mark.parametrize("depth", [1, 5, 50])
def test_a_branch_that_died_leaves_nothing_behind(
    anvil_node: Node, client: ChainClient, follower: Follower, tmp_path: Path, *, depth: int, often: bool
) -> None:
    _say(anvil_node, tmp_path, *range(8))
    follower.sync()
    for number in range(100, 100 + depth):
        _say(anvil_node, tmp_path, number)
        if often:
            follower.sync()
    before = follower.sync()
    anvil_node.ask("anvil_reorg", depth, [])
    _assert_as_if_new(follower, client, tmp_path)
    assert follower.facts.block_hash != before.block_hash
    _say(anvil_node, tmp_path, *range(200, 204))
    _assert_as_if_new(follower, client, tmp_path)


@pytest.mark.parametrize("depth", [1, 5, 50])
def test_a_chain_that_became_shorter_and_grew_again_is_followed(
    anvil_node: Node, client: ChainClient, follower: Follower, tmp_path: Path, depth: int
) -> None:
    _say(anvil_node, tmp_path, *range(8))
    _say(anvil_node, tmp_path, *range(100, 100 + depth))
    follower.sync()
    anvil_node.ask("anvil_rollback", anvil_node.height() - 8)
    _say(anvil_node, tmp_path, *range(200, 200 + depth + 3))
    _assert_as_if_new(follower, client, tmp_path)


def test_a_change_within_the_bound_is_followed_and_one_far_beyond_it_is_not(
    anvil_node: Node, client: ChainClient, follower: Follower, tmp_path: Path
) -> None:
    _say(anvil_node, tmp_path, *range(8))
    anvil_node.mine(4 * DEEP)
    follower.sync()
    anvil_node.ask("anvil_reorg", DEEP // 2, [])
    _assert_as_if_new(follower, client, tmp_path)
    anvil_node.mine(DEEP)
    known = follower.sync()
    anvil_node.ask("anvil_reorg", 3 * DEEP, [])
    with pytest.raises(ChainReorganised):
        follower.sync()
    assert follower.facts == known


def test_a_revocation_on_a_dead_branch_alone_is_forgotten(
    anvil_node: Node, client: ChainClient, follower: Follower
) -> None:
    before = anvil_node.ask("evm_snapshot")
    client.revoke([PREIMAGE])
    assert sha256(PREIMAGE) in follower.sync().revocations
    anvil_node.ask("evm_revert", before)
    anvil_node.mine(2)
    assert sha256(PREIMAGE) not in follower.sync().revocations
    assert client.revoked_at(sha256(PREIMAGE)) is None


def _mined(client: ChainClient, prepared: Sequence[Prepared]) -> None:
    """Send what was prepared, and wait for anvil, which answers before it has mined."""
    client.broadcast(prepared)
    deadline = time.monotonic() + 20
    while client.receipt(prepared[0].hash) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_revocation_that_was_mined_again_stays(anvil_node: Node, client: ChainClient, follower: Follower) -> None:
    before = anvil_node.ask("evm_snapshot")
    prepared = client.prepare([revoke_call([PREIMAGE])])
    _mined(client, prepared)
    first = follower.sync()
    anvil_node.ask("evm_revert", before)
    anvil_node.mine(3)
    _mined(client, prepared)
    again = follower.sync()
    height = first.revocations[sha256(PREIMAGE)]
    assert again.revocations[sha256(PREIMAGE)] == height + 3
    assert client.revoked_at(sha256(PREIMAGE)) == height + 3


def test_a_long_first_way_is_told_step_by_step(
    anvil_node: Node, client: ChainClient, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "BLOCKS_PER_STEP", 100)
    anvil_node.mine(500)
    told: list[tuple[int, int]] = []
    facts = follower.sync(lambda height, head: told.append((height, head)))
    assert len(told) >= 3
    assert told == sorted(told)
    assert told[-1] == (facts.height, facts.height)
    assert {head for _, head in told} == {anvil_node.height()}


# Agents over such chains -------------------------------------------------------------------------------------------


def _house(engine: Engine, clock: Clock) -> House:
    owner, guest, stranger = (person(int(clock.now)) for _ in range(3))
    engine.call(wire.Publish(objects=tuple(one.entity.to_bytes() for one in (owner, guest, stranger))))
    return House(engine, clock, owner, guest, stranger)


def _question(house: House) -> wire.Verify:
    dot = house.dot(house.owner, house.guest)
    house.publish(dot)
    proof = house.engine.call(wire.Prove(ask=house.ask(house.guest))).proof
    return wire.Verify(proof=proof, ask=house.ask(house.guest))


def test_a_grant_that_another_revoked_on_a_dead_branch_is_good_again(
    anvil_node: Node, client: ChainClient, tmp_path: Path
) -> None:
    """On the chain that everybody follows nobody took it back."""
    clock = Clock(time.time())
    with Engine.open(Settings(tmp_path / "home", anvil_node.url), clock=clock, wait=0.0) as engine:
        house = _house(engine, clock)
        question = _question(house)
        before = anvil_node.ask("evm_snapshot")
        client.revoke([house.given[0].preimage(house.owner)])
        with pytest.raises(Revoked):
            engine.call(question)
        anvil_node.ask("evm_revert", before)
        anvil_node.mine(2)
        assert engine.call(question).height == anvil_node.height()


def test_what_an_agent_itself_revoked_on_a_dead_branch_it_revokes_again(anvil_node: Node, tmp_path: Path) -> None:
    clock = Clock(time.time())
    with Engine.open(Settings(tmp_path / "home", anvil_node.url), clock=clock, wait=0.0) as engine:
        house = _house(engine, clock)
        question = _question(house)
        before = anvil_node.ask("evm_snapshot")
        engine.call(wire.Revoke(preimages=(house.given[0].preimage(house.owner),)))
        anvil_node.ask("evm_revert", before)
        anvil_node.mine(2)
        height = anvil_node.height()
        engine.call(wire.Status())
        deadline = time.monotonic() + 20.0
        while anvil_node.height() == height:  # anvil says that it took a transaction before it has mined it
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(Revoked, match=f"block {height + 1}"):
            engine.call(question)


def test_a_chain_that_stopped_makes_checks_end_in_could_not_tell(anvil_node: Node, tmp_path: Path) -> None:
    """The node answers as ever, but mines no more: at the bound its facts are fresh, a second later they are not."""
    clock = Clock(time.time())
    with Engine.open(Settings(tmp_path / "home", anvil_node.url), clock=clock, wait=0.0) as engine:
        question = _question(_house(engine, clock))
        anvil_node.ask("evm_setAutomine", False)
        newest = anvil_node.ask("eth_getBlockByNumber", "latest", False)
        clock.now = int(newest["timestamp"], 16) + LIMITS.max_staleness
        engine.call(question)
        clock.now += 1
        with pytest.raises(StaleFacts):
            engine.call(question)
        anvil_node.ask("evm_setNextBlockTimestamp", int(clock.now))
        anvil_node.mine()
        engine.call(question)


def test_a_chain_without_new_blocks_takes_no_revocation(
    anvil_node: Node, client: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "STUCK_AFTER", 0.1)
    anvil_node.ask("evm_setAutomine", False)
    with pytest.raises(StillPending):
        client.revoke([PREIMAGE])
    assert client.revoked_at(sha256(PREIMAGE)) is None


@pytest.mark.parametrize("later", [0, 1_000], ids=["the same beginning", "another beginning"])
def test_a_chain_that_was_reset_is_another_one_or_unwound(tmp_path: Path, later: int) -> None:
    """Same id, same address, same registry; what was said is gone."""
    start = int(time.time()) - 5_000
    with anvil(tmp_path, "--timestamp", str(start)) as node:
        port = node.port
        client = ChainClient.connect(node.url, state=tmp_path)
        follower = Follower(client, tmp_path / "replica.sqlite")
        client.revoke([PREIMAGE])
        node.mine(3)
        known = follower.sync()
    with client, follower:
        with pytest.raises(ChainUnavailable):
            follower.sync()
        with anvil(tmp_path, "--timestamp", str(start + later), port=port) as node:
            node.mine(5)
            if later:
                with pytest.raises(WrongChain):
                    follower.sync()
                assert follower.facts == known
            else:
                _assert_as_if_new(follower, client, tmp_path)
                assert sha256(PREIMAGE) not in follower.facts.revocations
