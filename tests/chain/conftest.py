from collections.abc import Iterator
from pathlib import Path

import pytest

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
