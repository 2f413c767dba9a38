"""The registry contract: the committed artifact, its rules, and what it costs."""

import json
from pathlib import Path

import pytest
from eth_hash.auto import keccak

from tests.chain.staging import PAYER, SALT, claim, claim_call, commit_call, publish_call, revoke_call, served, signed
from wave.chain import contract, genesis
from wave.chain.client import ChainClient
from wave.chain.contract import Anchored, Claimed, Published, Revocation
from wave.chain.follower import Follower
from wave.chain.node import EmbeddedNode, Rejected, Reverted
from wave.chain.records import Call
from wave.codec import sha256
from wave.errors import BadName


def test_the_committed_artifact_is_what_the_pinned_compiler_makes() -> None:
    assert json.loads(contract.ARTIFACT.read_text("utf-8")) == contract.compile_source()


def test_the_topics_are_the_hashes_of_the_events_in_the_abi() -> None:
    topics = {
        entry["name"]: keccak(f"{entry['name']}({','.join(i['type'] for i in entry['inputs'])})".encode()).hex()
        for entry in contract.abi()
        if entry["type"] == "event"
    }
    expected = {
        "Published": contract.PUBLISHED,
        "Anchored": contract.ANCHORED,
        "Revoked": contract.REVOKED,
        "Claimed": contract.CLAIMED,
    }
    assert topics == expected


@pytest.mark.parametrize(("size", "most"), [(240, 32_000), (300, 34_500)])
def test_publishing_costs_no_more_than_promised(client: ChainClient, size: int, most: int) -> None:
    assert client.publish(b"\xff" * size).gas <= most


def test_an_anchor_costs_no_more_than_promised(client: ChainClient) -> None:
    assert client.anchor(b"\xff" * 32, 5_000).gas <= 23_500


def test_a_revocation_costs_no_more_than_promised(client: ChainClient) -> None:
    assert client.revoke([b"\xff" * 32]).gas <= 46_500


def test_fifty_revocations_at_once_cost_half_of_what_they_cost_apart(client: ChainClient) -> None:
    assert client.revoke([sha256(bytes([n])) for n in range(50)]).gas / 50 <= 25_000


@pytest.mark.parametrize("label", ["a", "alice", "a" * 32])
def test_a_claim_costs_no_more_than_promised(client: ChainClient, label: str) -> None:
    """Beside its commitment, which costs as much again. Each further character costs 12 more."""
    assert client.claim(label, b"\xff" * 32).gas <= 46_500


def test_deploying_costs_no_more_than_promised(node: EmbeddedNode) -> None:
    hashes, _ = node.block(1)
    found = node.receipt(hashes[0])
    assert found is not None
    assert found[0].gas_used <= 260_000


def test_a_second_revocation_leaves_the_first_height(client: ChainClient) -> None:
    first = client.revoke([b"p" * 32])
    again = client.revoke([b"p" * 32])
    assert again.height > first.height
    assert client.revoked_at(sha256(b"p" * 32)) == first.height
    assert len(client.events(0, again.height)) == 1


def test_a_preimage_twice_in_one_call_revokes_once(client: ChainClient) -> None:
    height = client.revoke([b"p" * 32, b"p" * 32]).height
    assert client.events(height, height) == [Revocation(height, 0, sha256(b"p" * 32))]


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("a claim that was not announced", claim_call(b"alice", b"t" * 32)),
        ("8193 bytes", publish_call(bytes(contract.DATA_BYTES + 1))),
        ("65 preimages", revoke_call([bytes(32)] * (contract.PREIMAGES + 1))),
        ("a value with the call", publish_call(b"x")),
    ],
)
def test_the_contract_refuses(node: EmbeddedNode, what: str, data: bytes) -> None:
    value = 1 if "value" in what else 0
    with pytest.raises((Reverted, Rejected)):
        node.call(Call(contract.REGISTRY, data, PAYER, value), node.head())


@pytest.mark.parametrize(
    "data", [publish_call(bytes(contract.DATA_BYTES)), revoke_call([bytes(32)] * contract.PREIMAGES), publish_call(b"")]
)
def test_the_contract_takes_what_is_just_within_its_bounds(node: EmbeddedNode, data: bytes) -> None:
    assert node.call(Call(contract.REGISTRY, data, PAYER), node.head()) == b""


def test_a_claim_for_nobody_is_refused(node: EmbeddedNode) -> None:
    node.send([signed(1, commit_call(b"alice", bytes(32)))])
    assert _mined(node, signed(2, claim_call(b"alice", bytes(32)))) == 0


def test_an_empty_label_is_no_name_to_whoever_reads(node: EmbeddedNode, tmp_path: Path) -> None:
    """The contract, which saves the gas of asking, gives it away."""
    node.send([signed(1, commit_call(b"", b"t" * 32))])
    assert _mined(node, signed(2, claim_call(b"", b"t" * 32))) == 1
    with served(node) as url, ChainClient.connect(url, state=tmp_path) as client:
        with Follower(client, tmp_path / "replica.sqlite") as follower:
            assert dict(follower.sync().aliases) == {}
            assert follower.refused() == {"name.bad": 1}
        with pytest.raises(BadName):
            client.claim("", b"t" * 32)


# Names cannot be snatched ------------------------------------------------------------------------------------------


def _mined(node: EmbeddedNode, *transactions: bytes) -> int:
    """The status of the last of ``transactions``, all mined in one block: 1 carried out, 0 refused."""
    outcomes = node.send(list(transactions))
    rows = []
    for outcome in outcomes:
        assert isinstance(outcome, bytes), outcome
        found = node.receipt(outcome)
        assert found is not None
        rows.append(found[0])
    assert len({row.block for row in rows}) == 1
    return rows[-1].status


def _holder(node: EmbeddedNode, label: bytes) -> bytes:
    view = keccak(b"alias(bytes32)")[:4] + label.ljust(32, b"\0")
    return node.call(Call(contract.REGISTRY, view, PAYER), node.head())


MINE, THEIRS = b"t" * 32, b"u" * 32


def test_a_name_belongs_to_the_first_who_claims_it(node: EmbeddedNode) -> None:
    node.send([signed(0, commit_call(b"alice", THEIRS), second=True)])
    claim(node, 1, b"alice", MINE)
    assert _mined(node, signed(1, claim_call(b"alice", THEIRS), second=True)) == 0
    assert _holder(node, b"alice") == MINE


def test_a_claim_in_the_block_of_its_commitment_is_refused(node: EmbeddedNode) -> None:
    """Whoever sees a claim coming can put both before it, in one block: that gains nothing."""
    assert _mined(node, signed(1, commit_call(b"alice", THEIRS)), signed(2, claim_call(b"alice", THEIRS))) == 0
    assert _holder(node, b"alice") == bytes(32)
    assert _mined(node, signed(3, claim_call(b"alice", THEIRS))) == 1


def test_a_watcher_who_sees_the_claim_comes_too_late(node: EmbeddedNode) -> None:
    """Both of the watcher's transactions stand before the claim that is seen, in the claim's own block."""
    node.send([signed(1, commit_call(b"alice", MINE))])
    watcher = [
        signed(0, commit_call(b"alice", THEIRS), second=True),
        signed(1, claim_call(b"alice", THEIRS), second=True),
    ]
    assert _mined(node, *watcher, signed(2, claim_call(b"alice", MINE))) == 1
    assert _holder(node, b"alice") == MINE


@pytest.mark.parametrize(
    ("label", "target", "salt"),
    [(b"alice", THEIRS, SALT), (b"alicf", MINE, SALT), (b"alice", MINE, b"r" * 32)],
    ids=["another target", "another label", "another salt"],
)
def test_a_commitment_opens_nothing_else(node: EmbeddedNode, label: bytes, target: bytes, salt: bytes) -> None:
    node.send([signed(1, commit_call(b"alice", MINE))])
    assert _mined(node, signed(0, claim_call(label, target, salt), second=True)) == 0
    assert _mined(node, signed(2, claim_call(b"alice", MINE))) == 1


def test_nobody_makes_a_commitment_younger(node: EmbeddedNode) -> None:
    """The watcher repeats it before the claim, in the claim's block: the first height stays."""
    node.send([signed(1, commit_call(b"alice", MINE))])
    again = signed(0, commit_call(b"alice", MINE), second=True)
    assert _mined(node, again, signed(2, claim_call(b"alice", MINE))) == 1


def test_what_a_watcher_sends_on_of_a_claim_serves_its_target(node: EmbeddedNode) -> None:
    node.send([signed(1, commit_call(b"alice", MINE))])
    assert _mined(node, signed(0, claim_call(b"alice", MINE), second=True)) == 1
    assert _holder(node, b"alice") == MINE


def test_a_commitment_is_used_up(node: EmbeddedNode) -> None:
    claim(node, 1, b"alice", MINE)
    place = keccak(contract.COMMITTED_SLOT.to_bytes(32, "big") + commit_call(b"alice", MINE)[4:])
    assert node.storage(contract.REGISTRY, int.from_bytes(place, "big"), node.head()) == 0


def test_a_commitment_stands_in_the_slot_that_is_named(node: EmbeddedNode) -> None:
    node.send([signed(1, commit_call(b"alice", MINE))])
    made = contract.commitment(b"alice".ljust(32, b"\0"), MINE, SALT)
    place = keccak(contract.COMMITTED_SLOT.to_bytes(32, "big") + made)
    assert node.storage(contract.REGISTRY, int.from_bytes(place, "big"), node.head()) == node.head().block_number


# Storage and events ------------------------------------------------------------------------------------------------


def test_revocations_and_aliases_stand_in_the_slots_that_are_named(node: EmbeddedNode) -> None:
    claim(node, 1, b"alice", b"t" * 32)
    node.send([signed(3, revoke_call([b"p" * 32]))])
    slots = {
        contract.ALIAS_SLOT: (b"alice".ljust(32, b"\0"), int.from_bytes(b"t" * 32, "big")),
        contract.REVOKED_SLOT: (sha256(b"p" * 32), node.head().block_number),
    }
    for slot, (key, value) in slots.items():
        place = int.from_bytes(keccak(slot.to_bytes(32, "big") + key), "big")
        assert node.storage(contract.REGISTRY, place, node.head()) == value


def test_each_event_is_read_as_what_it_is(client: ChainClient) -> None:
    client.publish(b"data")
    client.anchor(b"r" * 32, 7)
    client.revoke([b"p" * 32])
    last = client.claim("alice", b"t" * 32).height
    assert client.events(0, last) == [
        Published(last - 4, 0, b"data"),
        Anchored(last - 3, 0, b"r" * 32, 7),
        Revocation(last - 2, 0, sha256(b"p" * 32)),
        Claimed(last, 0, b"alice", b"t" * 32),
    ]


_WORD = (32).to_bytes(32, "big")


@pytest.mark.parametrize(
    ("topics", "data"),
    [
        ([], b""),
        ([bytes(32)], b""),
        ([bytes.fromhex(contract.PUBLISHED)], b""),
        ([bytes.fromhex(contract.PUBLISHED)], bytes(32) + bytes(32)),
        ([bytes.fromhex(contract.PUBLISHED)], _WORD + _WORD),
        ([bytes.fromhex(contract.PUBLISHED)], _WORD + b"\xff" * 32),
        ([bytes.fromhex(contract.ANCHORED), bytes(32)], b""),
        ([bytes.fromhex(contract.REVOKED)], b""),
        ([bytes.fromhex(contract.CLAIMED)], bytes(32)),
        ([bytes.fromhex(contract.CLAIMED), bytes(32), bytes(32)], b""),
    ],
)
def test_what_is_no_event_of_the_registry_is_refused(topics: list[bytes], data: bytes) -> None:
    with pytest.raises(ValueError, match="not"):
        contract.read_event(1, 0, topics, data)


def test_the_development_accounts_are_those_of_the_well_known_mnemonic() -> None:
    from eth_account import Account
    from eth_account.hdaccount import key_from_seed, seed_from_mnemonic

    seed = seed_from_mnemonic("test " * 11 + "junk", "")
    derived = [key_from_seed(seed, f"m/44'/60'/0'/0/{n}") for n in range(10)]
    assert derived[0] == genesis.DEVELOPMENT_PAYER
    assert [bytes.fromhex(Account.from_key(key).address[2:]) for key in derived] == list(genesis.DEVELOPMENT_ACCOUNTS)
