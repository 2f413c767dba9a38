"""`wave mqtt`: broker, lock and hook as processes, with an agent and a chain of their own."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from tests.mqtt.broker import need_mosquitto
from tests.mqtt.test_mqtt_lock import refused
from tests.ports import free_port
from wave.agent.client import AgentClient, FactsFeed
from wave.agent.server import serving
from wave.agent.settings import Settings
from wave.bus.dynsec import Lock, Setup
from wave.bus.mosquitto import lock_account, port_of
from wave.bus.mqtt import MqttBus
from wave.bus.mqtt_line import Account, Broker, connected
from wave.bus.mqtt_topic import message_topic
from wave.bus.proofs import agent_proofs
from wave.bus.standing import AgentStanding
from wave.codec import id_text
from wave.entities.entity import EntitySecret
from wave.entities.keyring import read_secret, write_file
from wave.errors import BadSetting, BrokerRefused, BrokerUnavailable
from wave.limits import LIMITS

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def started(home: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a verb as a process while the body runs, which begins when it says that it is ready."""
    environment = {**os.environ, "WAVE_HOME": str(home)}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *words, "--json"], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert json.loads(line)["ready"], line
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        process.stdout.close()


def secret(home: Path, name: str) -> EntitySecret:
    return read_secret(home / f"{name}.ent", lambda: "")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state directory with a namespace, and a guest who may publish there."""
    need_mosquitto()
    place = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAVE_HOME", str(place))
        patch.chdir(place)
        for name in ("home", "guest"):
            assert main(["mkentity", "-o", f"{name}.ent", "--no-passphrase"]) == 0
        assert main(["grant", "--from", "home.ent", "--to", "guest.ent", "publish@home.ent/light/*"]) == 0
        yield place


async def test_broker_lock_and_bus_work_together_and_shut_with_the_lock(home: Path) -> None:
    port = free_port()
    place, url = str(home / "broker"), f"mqtt://127.0.0.1:{port}"
    guest, owner = secret(home, "guest"), secret(home, "home")
    with (
        started(home, "agent", "run"),
        started(home, "mqtt", "broker", place, "--port", str(port)),
        started(home, "mqtt", "lock", place, str(home / "home.ent")) as lock,
    ):
        async with AgentClient(str(Settings.from_environment({"WAVE_HOME": str(home)}).socket)) as agent:
            bus = MqttBus(
                guest, url, proofs=agent_proofs(agent), facts=FactsFeed(agent).facts, clock=time.time, draw=os.urandom
            )
            async with bus:
                assert await bus.publish(owner.id, "light/0", b"true") == 0
                lock.send_signal(signal.SIGKILL)
                lock.wait()
                async with asyncio.timeout(10):
                    while True:
                        try:
                            await bus.publish(owner.id, "light/0", b"true")
                        except (BrokerRefused, BrokerUnavailable):
                            break


async def test_when_the_agent_is_gone_the_broker_refuses(home: Path) -> None:
    """The lock goes by what it last knew for as long as that is fresh, and no longer."""
    port, ahead = free_port(), 0.0
    place = home / "broker"
    settings = Settings.from_environment({"WAVE_HOME": str(home)})
    owner = secret(home, "home")
    broker = Broker.parse(f"mqtt://127.0.0.1:{port}")
    with started(home, "mqtt", "broker", str(place), "--port", str(port)):
        async with contextlib.AsyncExitStack() as stack:
            address = await stack.enter_async_context(serving(settings))
            agent = AgentClient(address)
            lock = Lock(
                Setup(
                    broker, lock_account(place), (owner.id,), standing=AgentStanding(agent),
                    facts=FactsFeed(agent).facts, clock=lambda: time.time() + ahead, draw=os.urandom, beat=0.05,
                )
            )  # fmt: skip
            running = asyncio.create_task(lock.run())
            await asyncio.wait_for(lock.open.wait(), 15)
            guest = secret(home, "guest")
            bus = MqttBus(
                guest, broker.url, proofs=agent_proofs(agent), facts=FactsFeed(agent).facts, clock=time.time,
                draw=os.urandom,
            )  # fmt: skip
            async with bus:
                assert await bus.publish(owner.id, "light/0", b"true") == 0
                account = bus._account
            async with connected(broker, account) as line:
                topic = message_topic(owner.id, "light/0")
                assert not await refused(line, topic)
                await stack.aclose()  # the agent goes
                await asyncio.sleep(0.3)
                assert lock.open.is_set()
                ahead = LIMITS.max_staleness
                async with asyncio.timeout(10):
                    while not await refused(line, topic):  # noqa: ASYNC110 - the broker tells nobody
                        await asyncio.sleep(0.02)
            assert not lock.open.is_set()
            running.cancel()
            await asyncio.wait([running])
            await agent.close()


def test_the_hook_prints_what_emqx_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mqtt", "hook", "--emqx-config", "--port", "4499"]) == 0
    assert "http://127.0.0.1:4499/authz" in capsys.readouterr().out
    assert main(["mqtt", "hook"]) == 2


def test_the_brokers_files_can_be_written_and_nothing_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_mosquitto()
    assert main(["mqtt", "broker", "--write-only", "--port", "18833", str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "b" / "mosquitto.conf")
    assert "listener 18833 127.0.0.1" in (tmp_path / "b" / "mosquitto.conf").read_text()


@pytest.mark.parametrize("left", [(), ("lock.password",)])
def test_a_lock_without_a_broker_says_what_comes_first(
    left: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in left:
        write_file(tmp_path / name, b"secret", mode=0o600)
    assert main(["mqtt", "lock", str(tmp_path), id_text(bytes(32))]) == 1
    assert f"wave mqtt broker {tmp_path}" in capsys.readouterr().err


def test_a_configuration_without_a_listener_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "mosquitto.conf", b"user nobody", mode=0o600)
    with pytest.raises(BadSetting, match="names no port"):
        port_of(tmp_path)


async def test_a_lock_names_the_broker_that_does_not_answer_once() -> None:
    port, told = free_port(), list[str]()
    stopped = asyncio.Event()

    def tell(text: str) -> None:
        told.append(text)
        stopped.set()

    nobody: Any = None
    account = Account("wave-lock", "x")
    url = Broker.parse(f"mqtt://127.0.0.1:{port}")
    setup = Setup(
        url, account, (), standing=nobody, facts=nobody, clock=time.time, draw=os.urandom, tell=tell, beat=0.01
    )
    running = asyncio.create_task(Lock(setup).run())
    async with asyncio.timeout(10):
        await stopped.wait()
    running.cancel()
    await asyncio.wait([running])
    assert told[0].count(url.url) == 1
    assert told[0].startswith(f"the broker at {url.url} ")


def test_an_api_without_its_key_is_refused(tmp_path: Path) -> None:
    assert main(["mqtt", "hook", "--emqx", "http://127.0.0.1:1", str(tmp_path / "x.pub")]) == 3
