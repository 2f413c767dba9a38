"""The same promises on every node: the embedded one, anvil and hardhat, over HTTP and over web sockets."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.agent.conftest import Clock, House, person
from tests.chain import nodes
from tests.chain.nodes import Node, anvil, hardhat
from tests.chain.staging import served
from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.settings import Settings
from wave.chain import contract, genesis
from wave.chain.client import ChainClient
from wave.chain.contract import Anchored, Claimed, Published, Revocation
from wave.chain.deploy import deploy
from wave.chain.endpoint import Endpoint
from wave.chain.follower import Follower
from wave.chain.header import Header
from wave.chain.node import EmbeddedNode
from wave.chain.stateproof import alias_slot, check_answer, revoked_slot
from wave.chain.wire import Wire
from wave.codec import id_text, sha256
from wave.errors import ChainUnavailable, NameTaken, NoProof, Revoked, WrongChain
from wave.namespace.name import check_label

KINDS = ("embedded", "anvil", "anvil-ws", "hardhat", "hardhat-ws")


@pytest.fixture(params=KINDS)
def chain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a node with the registry on its chain and nothing said."""
    if request.param == "embedded":
        with EmbeddedNode.open(tmp_path / "node") as embedded, served(embedded) as url:
            yield url
        return
    kind, _, socket = request.param.partition("-")
    node: Node = request.getfixturevalue(f"{kind}_node")
    yield node.ws if socket else node.url


@pytest.fixture
def client(chain: str, tmp_path: Path) -> Iterator[ChainClient]:
    with ChainClient.connect(chain, state=tmp_path) as client:
        yield client


def _said(client: ChainClient) -> list[bytes]:
    return [event.data for event in client.events(0, client.head().number) if isinstance(event, Published)]


# Connecting --------------------------------------------------------------------------------------------------------


def test_another_chain_id_is_the_wrong_chain(chain: str, tmp_path: Path) -> None:
    with pytest.raises(WrongChain, match=f"is chain {contract.CHAIN_ID}, not 1"):
        ChainClient.connect(chain, state=tmp_path, chain_id=1)


def test_an_address_without_code_is_the_wrong_chain(chain: str, tmp_path: Path) -> None:
    with pytest.raises(WrongChain, match="no registry"):
        ChainClient.connect(chain, state=tmp_path, registry=b"\x42" * 20)


def test_an_address_with_other_code_is_the_wrong_chain(client: ChainClient, chain: str, tmp_path: Path) -> None:
    """The contract that is deployed there answers everything with nothing."""
    client.create(bytes.fromhex("6001600c60003960016000f300"))
    other = _created(chain)
    with pytest.raises(WrongChain, match="another contract"):
        ChainClient.connect(chain, state=tmp_path, registry=other)


def _created(chain: str) -> bytes:
    """The address of the only contract in the newest block."""
    asked = Wire(chain)
    endpoint = Endpoint(asked, asked.close, asked.name, contract.REGISTRY)
    try:
        block = endpoint.ask([("eth_getBlockByNumber", ["latest", False])])[0]["result"]
        receipt = endpoint.ask([("eth_getTransactionReceipt", [block["transactions"][0]])])[0]["result"]
        return bytes.fromhex(receipt["contractAddress"][2:])
    finally:
        endpoint.close()


def test_a_registry_is_deployed_and_used_at_its_own_address(chain: str, tmp_path: Path) -> None:
    address = deploy(chain, "development", state=tmp_path).address
    assert address != contract.REGISTRY
    with ChainClient.connect(chain, state=tmp_path, registry=address) as client:
        client.publish(b"over there")
        assert _said(client) == [b"over there"]
    with ChainClient.connect(chain, state=tmp_path) as client:
        assert _said(client) == []


# Writing and reading -----------------------------------------------------------------------------------------------


def test_what_is_written_is_read_in_order_with_its_blocks(client: ChainClient) -> None:
    preimage = sha256(b"preimage")
    receipts = [
        client.publish(b"one"),
        *client.publish_many([b"two", b"three", b"four"]),
        client.anchor(b"r" * 32, 1_000),
        client.revoke([preimage, sha256(b"another")]),
        client.claim("alice", b"t" * 32),
    ]
    events = client.events(receipts[0].height, client.head().number)
    assert [(type(event), event.height) for event in events] == [
        (Published, receipts[0].height),
        (Published, receipts[1].height),
        (Published, receipts[2].height),
        (Published, receipts[3].height),
        (Anchored, receipts[4].height),
        (Revocation, receipts[5].height),
        (Revocation, receipts[5].height),
        (Claimed, receipts[6].height),
    ]
    assert _said(client) == [b"one", b"two", b"three", b"four"]
    assert events[4] == Anchored(receipts[4].height, events[4].index, b"r" * 32, 1_000)
    assert events[5] == Revocation(receipts[5].height, events[5].index, sha256(preimage))
    assert events[7] == Claimed(receipts[6].height, events[7].index, b"alice", b"t" * 32)
    for event in events:
        block = client.block(event.height)
        assert block is not None
        assert event.block_hash == block.hash
    assert client.revoked_at(sha256(preimage)) == receipts[5].height
    assert client.revoked_at(preimage) is None
    assert all(receipt.gas > 21_000 for receipt in receipts)


def test_blocks_name_their_parents_and_there_are_none_beyond_the_head(client: ChainClient) -> None:
    client.publish(b"x")
    head = client.head()
    assert client.block(head.number) == head
    parent = client.block(head.number - 1)
    assert parent is not None
    assert head.parent_hash == parent.hash
    assert head.time >= parent.time
    assert client.block(head.number + 1) is None


def test_a_name_belongs_to_whoever_came_first(client: ChainClient) -> None:
    assert client.alias("alice") is None
    client.claim("alice", b"t" * 32)
    assert client.alias("alice") == b"t" * 32
    with pytest.raises(NameTaken, match=id_text(b"t" * 32)):
        client.claim("alice", b"u" * 32)
    client.claim(check_label("a" * 32), b"u" * 32)
    assert client.alias("alice") == b"t" * 32


def test_objects_at_the_bound_are_published(client: ChainClient) -> None:
    big = [bytes([number]) * contract.DATA_BYTES for number in (0, 1, 255)]
    client.publish_many(big)
    assert _said(client) == big


def test_many_objects_and_many_revocations_go_through(client: ChainClient) -> None:
    objects = [b"object %d" % number for number in range(60)]
    preimages = [sha256(b"%d" % number) for number in range(contract.PREIMAGES)]
    client.publish_many(objects)
    receipt = client.revoke(preimages)
    assert _said(client) == objects
    revoked = [event for event in client.events(receipt.height, receipt.height) if isinstance(event, Revocation)]
    assert [event.commitment for event in revoked] == [sha256(preimage) for preimage in preimages]


def test_two_writers_with_one_payer_both_get_through(chain: str, tmp_path: Path) -> None:
    faults: list[Exception] = []

    def write(name: int) -> None:
        try:
            with ChainClient.connect(chain, state=tmp_path) as client:
                for number in range(4):
                    client.publish(b"%d/%d" % (name, number))
        except Exception as error:  # noqa: BLE001 - looked at below
            faults.append(error)

    writers = [threading.Thread(target=write, args=(name,)) for name in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert faults == []
    with ChainClient.connect(chain, state=tmp_path) as client:
        assert sorted(_said(client)) == sorted(b"%d/%d" % (name, number) for name in range(2) for number in range(4))


def test_a_transaction_offers_a_fee_with_a_limit_and_pays_no_more(client: ChainClient, chain: str) -> None:
    receipt = client.publish(b"x")
    asked = Wire(chain)
    endpoint = Endpoint(asked, asked.close, asked.name, contract.REGISTRY)
    try:
        block = endpoint.header(receipt.height)
        sent = endpoint.ask([("eth_getTransactionByHash", ["0x" + receipt.transaction.hex()])])[0]["result"]
    finally:
        endpoint.close()
    assert block is not None
    assert sent["type"] == "0x2"
    assert sent["from"] == "0x" + genesis.DEVELOPMENT_ACCOUNTS[0].hex()
    base, most, tip = (
        int(text, 16) for text in (block["baseFeePerGas"], sent["maxFeePerGas"], sent["maxPriorityFeePerGas"])
    )
    assert base + tip <= most <= 4 * base + tip


# State and facts ---------------------------------------------------------------------------------------------------


def test_state_is_proved_against_the_header_of_its_block(client: ChainClient) -> None:
    preimage = sha256(b"taken back")
    client.claim("alice", b"t" * 32)
    receipt = client.revoke([preimage])
    slots = [revoked_slot(sha256(preimage)), revoked_slot(sha256(b"never")), alias_slot("alice"), alias_slot("bob")]
    header = Header.from_json(client.header(receipt.height))
    block = client.block(receipt.height)
    assert block is not None
    assert header.hash == block.hash
    answer = client.state_proof(slots, receipt.height)
    proof = check_answer(answer, slots, state_root=header.state_root, registry=contract.REGISTRY)
    assert [proof.values[slot] for slot in slots] == [receipt.height, 0, int.from_bytes(b"t" * 32, "big"), 0]


def test_nothing_said_is_proved_too(client: ChainClient) -> None:
    head = client.head()
    slots = [revoked_slot(sha256(b"never"))]
    header = Header.from_json(client.header(head.number))
    answer = client.state_proof(slots, head.number)
    assert check_answer(answer, slots, state_root=header.state_root, registry=contract.REGISTRY).values == {slots[0]: 0}


def test_a_follower_learns_the_facts(client: ChainClient, tmp_path: Path) -> None:
    someone = person(int(time.time()))
    client.publish_many([someone.entity.to_bytes(), b"not an object"])
    client.claim("alice", someone.id)
    receipt = client.revoke([sha256(b"taken back")])
    with Follower(client, tmp_path / "replica.sqlite") as follower:
        facts = follower.sync()
        head = client.head()
        assert (facts.height, facts.block_hash, facts.time) == (head.number, head.hash, head.time)
        assert facts.aliases == {"alice": someone.id}
        assert dict(facts.revocations) == {sha256(sha256(b"taken back")): receipt.height}
        assert [entry.id for entry in follower.objects()] == [someone.id]
        assert sum(follower.refused().values()) == 1


# Agents ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def house(chain: str, tmp_path: Path) -> Iterator[House]:
    clock = Clock(time.time())
    with Engine.open(Settings(tmp_path / "home", chain), clock=clock, wait=0.0) as engine:
        owner, guest, stranger = (person(int(clock.now)) for _ in range(3))
        engine.call(wire.Publish(objects=tuple(one.entity.to_bytes() for one in (owner, guest, stranger))))
        yield House(engine, clock, owner, guest, stranger)


def test_an_agent_grants_proves_verifies_and_takes_back(house: House) -> None:
    dot = house.dot(house.owner, house.guest)
    house.publish(dot)
    proof = house.engine.call(wire.Prove(ask=house.ask(house.guest))).proof
    question = wire.Verify(proof=proof, ask=house.ask(house.guest))
    assert house.engine.call(question).paths == ((id_text(dot.id),),)
    with pytest.raises(NoProof):
        house.engine.call(wire.Prove(ask=house.ask(house.stranger)))
    house.engine.call(wire.Revoke(preimages=(dot.preimage(house.owner),)))
    with pytest.raises(Revoked):
        house.engine.call(question)


def test_a_second_agent_sees_what_the_first_one_said(house: House, chain: str, tmp_path: Path) -> None:
    dot = house.dot(house.owner, house.guest)
    house.publish(dot)
    house.engine.call(wire.Claim(label="home", target=id_text(house.owner.id)))
    with Engine.open(Settings(tmp_path / "other", chain), clock=house.clock, wait=0.0) as other:
        proof = other.call(wire.Prove(ask=house.ask(house.guest))).proof
        assert other.call(wire.Resolve(name="home")).id == id_text(house.owner.id)
        house.engine.call(wire.Revoke(preimages=(dot.preimage(house.owner),)))
        with pytest.raises(Revoked):
            other.call(wire.Verify(proof=proof, ask=house.ask(house.guest)))


@pytest.mark.parametrize("socket", [False, True], ids=["http", "ws"])
def test_a_client_outlives_a_restart_of_its_node(tmp_path: Path, *, socket: bool) -> None:
    kept = ("--state", str(tmp_path / "anvil.json"))
    with anvil(tmp_path, *kept) as node:
        port = node.port
        client = ChainClient.connect(node.ws if socket else node.url, state=tmp_path)
        client.publish(b"before")
    with client:
        with pytest.raises(ChainUnavailable):
            client.head()
        with anvil(tmp_path, *kept, port=port, deployed=False):
            client.publish(b"after")
            assert _said(client) == [b"before", b"after"]


# The fixtures themselves -------------------------------------------------------------------------------------------


def test_a_node_is_gone_when_its_test_is_over(tmp_path: Path) -> None:
    with anvil(tmp_path) as node:
        assert node.height() == 1
        port = node.port
    assert node.process.poll() is not None
    with pytest.raises(OSError, match="refused"):
        node.height()
    assert f":{port}" in node.log.read_text()


def test_the_lock_of_the_nodes_names_no_host() -> None:
    lock = (Path(__file__).parent.parent / "nodes/package-lock.json").read_text("utf-8")
    assert "://" not in lock
    named = json.loads(lock)["packages"]
    assert {"node_modules/hardhat", "node_modules/@foundry-rs/anvil"} <= set(named)
    assert not any("resolved" in one for one in named.values())
    without = [one for path, one in named.items() if path and not one.get("integrity", "").startswith("sha512-")]
    assert not any("linux" in one["os"] and "x64" in one["cpu"] for one in without)


@pytest.mark.parametrize("node", [anvil, hardhat])
@pytest.mark.parametrize("setting", ["CI", "WAVE_CI", ""])
def test_a_node_that_is_not_installed_fails_in_ci_and_is_skipped_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: Callable[..., AbstractContextManager[Node]], setting: str
) -> None:
    for name in ("CI", "WAVE_CI"):
        monkeypatch.delenv(name, raising=False)
    if setting:
        monkeypatch.setenv(setting, "1")
    monkeypatch.setattr(nodes, "MODULES", tmp_path)
    with pytest.raises(pytest.fail.Exception if setting else pytest.skip.Exception, match="make nodes"), node(tmp_path):
        pass
