"""The registry contract: the committed artifact, its rules, and what it costs."""

import json

import pytest
from eth_hash.auto import keccak

from tests.chain.staging import PAYER, claim_call, publish_call, revoke_call, signed
from wave.chain import contract, genesis
from wave.chain.client import ChainClient
from wave.chain.contract import Anchored, Claimed, Published, Revocation
from wave.chain.node import EmbeddedNode, Rejected, Reverted
from wave.chain.records import Call
from wave.codec import sha256


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


def test_a_claim_costs_no_more_than_promised(client: ChainClient) -> None:
    assert client.claim("alice", b"\xff" * 32).gas <= 46_500


def test_deploying_costs_no_more_than_promised(node: EmbeddedNode) -> None:
    hashes, _ = node.block(1)
    found = node.receipt(hashes[0])
    assert found is not None
    assert found[0].gas_used <= 280_000


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
        ("an empty label", claim_call(b"", b"t" * 32)),
        ("a target of zeros", claim_call(b"alice", bytes(32))),
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


def test_a_second_claim_is_told_that_the_name_is_taken(node: EmbeddedNode) -> None:
    node.send([signed(1, claim_call(b"alice", b"t" * 32))])
    with pytest.raises(Reverted) as refusal:
        node.call(Call(contract.REGISTRY, claim_call(b"alice", b"u" * 32), PAYER), node.head())
    assert b"taken" in refusal.value.data


def test_revocations_and_aliases_stand_in_the_slots_that_are_named(node: EmbeddedNode) -> None:
    node.send([signed(1, claim_call(b"alice", b"t" * 32)), signed(2, revoke_call([b"p" * 32]))])
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
        Published(last - 3, 0, b"data"),
        Anchored(last - 2, 0, b"r" * 32, 7),
        Revocation(last - 1, 0, sha256(b"p" * 32)),
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
        ([bytes.fromhex(contract.CLAIMED), bytes(32)], b""),
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
