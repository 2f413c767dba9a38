from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chain.nodes import Node, anvil, hardhat
from tests.chain.staging import Clock
from wave.chain.client import ChainClient
from wave.chain.node import EmbeddedNode


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def node(tmp_path: Path, clock: Clock) -> Iterator[EmbeddedNode]:
    with EmbeddedNode.open(tmp_path / "chain", clock=clock) as node:
        yield node


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ChainClient]:
    with ChainClient.connect("embedded", state=tmp_path) as client:
        yield client


@pytest.fixture(scope="session")
def hardhat_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One hardhat for all tests: it takes a second to start."""
    with hardhat(tmp_path_factory.mktemp("hardhat")) as node:
        yield node


@pytest.fixture
def hardhat_node(hardhat_of_all: Node) -> Iterator[Node]:
    """A hardhat with the registry on it and nothing else; what a test does is taken back."""
    before = hardhat_of_all.ask("evm_snapshot")
    yield hardhat_of_all
    assert hardhat_of_all.ask("evm_revert", before)


@pytest.fixture
def anvil_node(tmp_path: Path) -> Iterator[Node]:
    """A new anvil with the registry on it."""
    with anvil(tmp_path) as node:
        yield node
