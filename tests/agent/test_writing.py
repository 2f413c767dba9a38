"""Writing to a chain that changes its mind, and through an account that others use too; anvil plays the chain."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.conftest import person
from tests.chain.nodes import Node, anvil
from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.settings import Settings
from wave.chain.client import ChainClient
from wave.chain.contract import Anchored, Claimed, Published, Revocation
from wave.codec import id_text, sha256
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.namespace.grant import right


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with anvil(tmp_path) as node:
        yield node


def dots(owner: EntitySecret, count: int) -> tuple[bytes, ...]:
    now = int(time.time())
    return tuple(
        Dot.create(
            owner,
            receiver=sha256(b"%d" % number),
            namespace=owner.id,
            grants=(right(("publish",), "light"),),
            created=now - 10,
            expires=now + 1_000,
        ).to_bytes()
        for number in range(count)
    )


def said(node: Node, home: Path) -> Counter[tuple[str, bytes]]:
    """Return what the registry says now, and how often."""
    with ChainClient.connect(node.url, state=home) as client:
        events = client.events(0, client.head().number)
    found: Counter[tuple[str, bytes]] = Counter()
    for event in events:
        match event:
            case Published():
                found["published", event.data] += 1
            case Anchored():
                found["anchored", event.root] += 1
            case Revocation():
                found["revoked", event.commitment] += 1
            case Claimed():
                found["claimed", event.label] += 1
    return found


@pytest.mark.parametrize("depth", [1, 3, 7])
def test_what_a_reorganisation_takes_away_is_written_again_and_nothing_twice(
    node: Node, tmp_path: Path, depth: int
) -> None:
    """Publication, batch, revocation and alias, whatever part of them the new branch left out."""
    owner = person(int(time.time()))
    with Engine.open(Settings(tmp_path / "home", node.url), wait=0.0) as engine:
        node.mine(3)
        engine.call(wire.Publish(objects=(owner.entity.to_bytes(),)))
        engine.call(wire.Anchor(objects=dots(owner, 3)))
        engine.call(wire.Revoke(preimages=(sha256(b"preimage"),)))
        engine.call(wire.Claim(label="owner", target=id_text(owner.id)))
        before = said(node, tmp_path)
        assert len(before) == 4
        node.ask("anvil_reorg", depth, [])
        node.mine()
        for _ in range(4):  # each look at the chain carries on
            engine.call(wire.Status())
        assert said(node, tmp_path) == before
        assert engine.call(wire.Status()).pending == 0
        assert engine.call(wire.Resolve(name="owner")).id == id_text(owner.id)


def test_two_homes_that_share_an_account_each_write_everything_once(node: Node, tmp_path: Path) -> None:
    """Each takes nonces that the other has signed for."""
    people = [person(int(time.time())) for _ in range(12)]
    with (
        Engine.open(Settings(tmp_path / "a", node.url), wait=0.0) as one,
        Engine.open(Settings(tmp_path / "b", node.url), wait=0.0) as other,
    ):
        one.call(wire.Status())
        other.call(wire.Status())
        client = one._chain.writer
        send = ChainClient.broadcast
        rivals = iter(people[6:])

        def slow(*arguments: object) -> None:
            """Let the other home be quicker each time."""
            for rival in rivals:
                other.call(wire.Publish(objects=(rival.entity.to_bytes(),)))
                break
            send(client, arguments[0])  # type: ignore[arg-type]

        client.broadcast = slow  # type: ignore[method-assign,assignment]
        for secret in people[:6]:
            one.call(wire.Publish(objects=(secret.entity.to_bytes(),)))
    assert set(said(node, tmp_path).values()) == {1}
    assert len(said(node, tmp_path)) == len(people)
