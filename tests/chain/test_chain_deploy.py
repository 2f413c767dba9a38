"""Deploying the registry, and what a client says of a chain where it does not stand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chain import nodes
from tests.chain.nodes import Node
from wave.chain import contract, genesis
from wave.chain.client import ChainClient
from wave.chain.deploy import deploy
from wave.chain.fees import FeeLimits
from wave.chain.payer import Payer
from wave.codec import sha256
from wave.errors import BadSetting, FeesTooHigh, OutOfFunds, WrongChain

DEVELOPMENT = genesis.DEVELOPMENT_PAYER


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Node]:
    """An anvil without a registry, of WAVE's chain id."""
    with nodes.anvil(tmp_path, deployed=False) as node:
        yield node


def test_the_first_deployment_of_a_development_chain_has_the_known_address(empty: Node, tmp_path: Path) -> None:
    assert deploy(empty.url, DEVELOPMENT, state=tmp_path) == (contract.REGISTRY, 1)
    with ChainClient.connect(empty.url, state=tmp_path) as client:
        client.claim("alice", b"t" * 32)
        assert client.alias("alice") == b"t" * 32


def test_another_deployment_is_another_registry(empty: Node, tmp_path: Path) -> None:
    first = deploy(empty.url, "development", state=tmp_path, chain_id=contract.CHAIN_ID).address
    second = deploy(empty.url, "development", state=tmp_path).address
    assert first != second
    with ChainClient.connect(empty.url, state=tmp_path, registry=first) as client:
        client.claim("alice", b"t" * 32)
    with ChainClient.connect(empty.url, state=tmp_path, registry=second) as client:
        assert client.alias("alice") is None


def test_deploying_costs_no_more_than_promised_on_another_node(empty: Node, tmp_path: Path) -> None:
    with ChainClient.connect(empty.url, state=tmp_path, deployed=False) as client:
        assert client.create(contract.bytecode()).gas <= 260_000


def test_a_chain_of_others_is_paid_by_an_account_of_ones_own(tmp_path: Path) -> None:
    key = sha256(b"an account")
    with nodes.anvil(tmp_path, chain_id=777, deployed=False) as node:
        with pytest.raises(BadSetting, match="everybody knows its key"):
            deploy(node.url, DEVELOPMENT, state=tmp_path)
        with pytest.raises(BadSetting, match="needs a payer"):
            deploy(node.url, state=tmp_path)
        with pytest.raises(OutOfFunds, match="has 0 wei"):
            deploy(node.url, key, state=tmp_path)
        node.ask("anvil_setBalance", Payer(key).address, hex(10**18))
        with pytest.raises(FeesTooHigh):
            deploy(node.url, key, state=tmp_path, fees=FeeLimits(1))
        address = deploy(node.url, key, state=tmp_path).address
        with ChainClient.connect(node.url, state=tmp_path, registry=address, payer=key) as client:
            assert client.chain_id == 777
            client.publish(b"x")
        with ChainClient.connect(node.url, state=tmp_path, registry=address) as client:
            assert client.head().number >= 1
            with pytest.raises(BadSetting, match="needs a payer"):
                client.publish(b"x")


def test_several_endpoints_deploy_once(empty: Node, tmp_path: Path) -> None:
    urls = f"{empty.url},{empty.url.replace('127.0.0.1', 'localhost')}"
    assert deploy(urls, DEVELOPMENT, state=tmp_path).address == contract.REGISTRY
    assert int(empty.ask("eth_getTransactionCount", "0x" + genesis.DEVELOPMENT_ACCOUNTS[0].hex(), "latest"), 16) == 1


def test_another_chain_than_the_one_named_is_not_deployed_to(empty: Node, tmp_path: Path) -> None:
    with pytest.raises(WrongChain, match="not 5"):
        deploy(empty.url, DEVELOPMENT, state=tmp_path, chain_id=5)
    assert empty.height() == 0


def test_no_code_at_the_address_names_the_way_out(empty: Node, tmp_path: Path) -> None:
    with pytest.raises(WrongChain, match="no registry at 0x5FbDB2315678afecb367f032d93F642f64180aa3") as refusal:
        ChainClient.connect(empty.url, state=tmp_path)
    assert "wave chain deploy" in refusal.value.hint


@pytest.mark.parametrize("change", ["another", "longer", "one byte"])
def test_other_code_at_the_address_is_not_the_registry(empty: Node, tmp_path: Path, change: str) -> None:
    runtime = contract.runtime()
    other = {"another": b"\x00", "longer": runtime + b"\x00", "one byte": runtime[:-1] + bytes([runtime[-1] ^ 1])}
    empty.ask("anvil_setCode", "0x" + contract.REGISTRY.hex(), "0x" + other[change].hex())
    with pytest.raises(WrongChain, match="another contract at 0x5FbDB"):
        ChainClient.connect(empty.url, state=tmp_path)
    empty.ask("anvil_setCode", "0x" + contract.REGISTRY.hex(), "0x" + runtime.hex())
    ChainClient.connect(empty.url, state=tmp_path).close()
