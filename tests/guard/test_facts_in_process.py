"""Facts without an agent: a guard's own process follows the chain."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.chain.staging import served
from tests.guard.gate import Gate
from wave.agent.settings import Settings
from wave.chain.client import ChainClient
from wave.chain.node import EmbeddedNode
from wave.errors import (
    ChainReorganised,
    ChainUnavailable,
    GuardClosed,
    NoQuorum,
    Revoked,
    StaleFacts,
    StateLocked,
    WaveError,
    WrongChain,
)
from wave.guard import facts
from wave.guard.decorator import guarded, sign_call
from wave.guard.facts import ChainFacts
from wave.guard.guard import Guard
from wave.limits import LIMITS


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gate, EmbeddedNode, str]]:
    """A world whose chain is an embedded node, served to others: with its address."""
    gate = Gate()
    with (
        EmbeddedNode.open(tmp_path_factory.mktemp("street"), clock=lambda: gate.world.now) as node,
        served(node) as url,
    ):
        yield gate, node, url


def settings(home: Path, url: str) -> Settings:
    return Settings.from_environment({"WAVE_HOME": str(home), "WAVE_CHAIN": url})


def guard_of(gate: Gate, source: ChainFacts) -> Guard:
    gate.world.now += 1
    return gate.another(facts=source.facts)


async def test_a_revocation_on_the_chain_reaches_the_guard_and_the_next_process(
    street: tuple[Gate, EmbeddedNode, str], tmp_path: Path
) -> None:
    gate, _, url = street
    with ChainFacts(settings(tmp_path / "home", url), kept=0.0) as source:
        guard = guard_of(gate, source)
        caller = await guard.admit(gate.signed())
        assert caller.facts.height >= 1
        with ChainClient.connect(url, state=tmp_path / "other") as client:
            block = client.revoke([gate.path[1].preimage(gate.world.entity("alice"))]).height
        with pytest.raises(Revoked):
            await guard.admit(gate.signed())
        with pytest.raises(Revoked):
            await guard.still(caller)
        assert gate.entries[-1]["code"] == "dot.revoked"
        with pytest.raises(StateLocked):
            ChainFacts(settings(tmp_path / "home", url))
    with ChainFacts(settings(tmp_path / "home", url)) as again:
        again.catch_up()
        assert (await again.facts()).height >= block


async def test_many_who_ask_at_once_cost_one_question_and_those_who_ask_soon_after_none(
    street: tuple[Gate, EmbeddedNode, str], tmp_path: Path
) -> None:
    gate, _, url = street
    with ChainFacts(settings(tmp_path, url), kept=60.0) as source:
        source.catch_up()
        gate.world.now += LIMITS.embedded_block_age + 1  # were the chain asked, it would have a new block
        found = await asyncio.gather(*[source.facts() for _ in range(500)])
        assert len({one.height for one in found}) == 1
    with ChainFacts(settings(tmp_path, url), kept=0.0) as source:
        assert (await source.facts()).height > found[0].height


async def test_while_the_chain_is_away_what_is_known_stands_until_it_is_stale(tmp_path: Path) -> None:
    gate = Gate()
    with EmbeddedNode.open(tmp_path / "chain", clock=lambda: gate.world.now) as node:
        with served(node, path=tmp_path / "c.sock") as url:
            source = ChainFacts(settings(tmp_path / "home", url), kept=0.0)
            guard = guard_of(gate, source)
            assert await guard.admit(gate.signed())
        with source:
            assert await guard.admit(gate.signed())
            gate.world.now += LIMITS.max_staleness + 1
            with pytest.raises(StaleFacts):
                await guard.admit(gate.signed())
            with served(node, path=tmp_path / "c.sock"):
                assert await guard.admit(gate.signed())
    with (
        EmbeddedNode.open(tmp_path / "another", clock=lambda: gate.world.now) as other,
        served(other, path=tmp_path / "c.sock"),
        ChainFacts(settings(tmp_path / "home", url), kept=0.0) as source,
    ):
        guard = guard_of(gate, source)
        for _ in range(2):
            with pytest.raises(WrongChain):
                await guard.admit(gate.signed())
        assert gate.entries[-1]["decision"] != gate.entries[-2]["decision"]


@pytest.mark.parametrize("doubt", [ChainReorganised, NoQuorum, WrongChain])
async def test_what_may_have_been_taken_back_is_not_used_because_the_chain_is_silent_afterwards(
    doubt: type[WaveError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    with (
        EmbeddedNode.open(tmp_path / "chain", clock=lambda: gate.world.now) as node,
        served(node, path=tmp_path / "c.sock") as url,
        ChainFacts(settings(tmp_path / "home", url), kept=0.0) as source,
    ):
        guard = guard_of(gate, source)
        assert await guard.admit(gate.signed())
        for told in (doubt, ChainUnavailable, ChainUnavailable):
            with monkeypatch.context() as patch:
                patch.setattr(source._follower, "sync", Mock(side_effect=told("as told")))
                with pytest.raises(doubt):
                    await guard.admit(gate.signed())
        for _ in range(2):  # the first waits for nobody, if the chain is slow
            with suppress(doubt):
                await guard.admit(gate.signed())
        assert await guard.admit(gate.signed())


def test_a_chain_that_hangs_holds_up_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(facts, "_PATIENCE", 0.2)
    gate = Gate()
    path = tmp_path / "c.sock"
    with (
        EmbeddedNode.open(tmp_path / "chain", clock=lambda: gate.world.now) as node,
        socket.socket(socket.AF_UNIX) as silent,
    ):
        with served(node, path=path) as url:
            source = ChainFacts(settings(tmp_path / "home", url), kept=0.0)
            source.catch_up()
        silent.bind(str(path))
        silent.listen()
        guard = guard_of(gate, source)
        begun = time.monotonic()
        for _ in range(3):  # each in a loop of its own, that is over before the chain's answer
            assert asyncio.run(guard.admit(gate.signed()))
        assert time.monotonic() - begun < LIMITS.lock_wait
        silent.accept()[0].close()
        path.unlink()
        source.close()
    assert not caplog.records


async def test_a_chain_that_was_never_there_lets_nobody_in(tmp_path: Path) -> None:
    gate = Gate()
    source = ChainFacts(settings(tmp_path, "http://127.0.0.1:9"), kept=0.0)
    with pytest.raises(ChainUnavailable):
        source.catch_up()
    with pytest.raises(ChainUnavailable):
        await guard_of(gate, source).admit(gate.signed())
    source.close()
    source.close()
    with pytest.raises(GuardClosed):
        await source.facts()
    with pytest.raises(GuardClosed):
        source.catch_up()
    assert not [one for one in threading.enumerate() if one.name.startswith("wave-facts")]


def test_a_plain_function_is_guarded_by_it_whatever_loop_it_is_called_from(
    street: tuple[Gate, EmbeddedNode, str], tmp_path: Path
) -> None:
    gate, _, url = street
    world = gate.world
    proof = world.proof(world.chain("home ann bob", "predict@home/*"))
    with ChainFacts(settings(tmp_path, url), kept=0.0) as source:
        made = guard_of(gate, source)

        @guarded(made, permission="predict", resource="models/{model}")
        def predict(model: str) -> str:
            return model

        for number in range(2):  # each call runs an event loop of its own
            ticket = sign_call(world.entity("bob"), proof, predict, "a", created=world.now, nonce=b"%016d" % number)
            assert predict(ticket, "a") == "a"
