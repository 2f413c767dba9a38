"""Health and metrics as an outsider asks for them, and the words to systemd over a real socket."""

import asyncio
import json
import math
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector
from prometheus_client.parser import text_string_to_metric_families

from devices.health import Health, Part, serving
from devices.notify import Supervisor
from devices.onoff import STATE_SLOT
from tests.bus.town import until
from tests.devices.house import House
from wave.errors import BadSetting, PortInUse, WrongSender
from wave.limits import LIMITS

SLOT = f"s.light/light0/{STATE_SLOT}"
WELL = {"light0": Part(connected=True, subscribed=True, subscriptions=2)}


def health(house: House, parts: Mapping[str, Part] = WELL) -> Health:
    return Health(house.town.facts, house.town.clock, lambda: parts)


async def get(url: str, path: str, **headers: str) -> tuple[int, str]:
    if url.startswith("unix:"):
        session = ClientSession("http://localhost", connector=UnixConnector(url.removeprefix("unix:")))
    else:
        session = ClientSession(url)
    async with session, session.get(path, headers=headers) as response:
        return response.status, await response.text()


def numbers(text: str) -> dict[str, float]:
    """Return the samples of Prometheus's text form, by name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def test_decisions_are_counted_by_what_and_why(house: House) -> None:
    """Each is decided twice: by the router, and by the device."""
    light = await house.device("light", "light0")
    house.town.give("home", "alice", f"publish@home/{SLOT}")
    house.town.world.now += 3
    house.town.block_time = house.town.world.now - 3

    def parts() -> dict[str, Part]:
        return {"light0": Part(light.peer.connected, light.subscribed, light.subscriptions)}

    async with serving("127.0.0.1:0", Health(house.town.facts, house.town.clock, parts)) as url:
        before = numbers((await get(url, "/metrics"))[1])
        assert "wave_decisions_total{code=ok,result=allowed}" not in before
        await house.send("alice", SLOT, b'"on"')
        await house.entry("light0")
        borrowed = house.town.world.request("alice", f"publish@home/{SLOT}")

        async def another(_: object) -> Any:
            return await house.town.prove(borrowed)

        with pytest.raises(WrongSender):
            await house.send("mallory", SLOT, b'"on"', proofs=another)
        status, text = await get(url, "/metrics")
    assert status == 200
    after = numbers(text)
    assert after["wave_decisions_total{code=ok,result=allowed}"] >= 2
    assert after["wave_decisions_total{code=message.wrong_sender,result=refused}"] >= 1
    decided = sum(value for name, value in after.items() if name.startswith("wave_decisions_total"))
    assert after["wave_decision_duration_seconds_count{}"] == decided
    assert after["wave_proof_bytes_count{}"] == decided
    assert after["wave_proof_bytes_sum{}"] > 100 * decided
    assert after["wave_registry_age_seconds{}"] == 3
    assert after["wave_active_subscriptions{}"] == light.subscriptions == 1
    assert after["process_resident_memory_bytes{}"] > 1e6


async def test_nothing_is_counted_once_nobody_counts(house: House) -> None:
    found = health(house)
    async with serving("0", found):
        pass
    await house.device("light", "light0")
    assert b"wave_decisions_total{" not in await found.metrics()


async def test_the_lag_of_a_revocation_is_measured_though_nobody_asks(house: House) -> None:
    house.town.block_time = house.town.world.now - 7
    dot = house.town.give("home", "alice", f"publish@home/{SLOT}")
    found = health(house)
    async with serving("0", found) as url:
        await until(lambda: found._seen is not None)
        house.town.world.revoke(dot)
        async with asyncio.timeout(5):
            while True:
                text = (await get(url, "/metrics"))[1]
                if numbers(text)["wave_revocation_lag_seconds_count{}"]:
                    break
        assert numbers(text)["wave_revocation_lag_seconds_sum{}"] == 7


async def test_a_daemon_that_is_well_says_so(house: House, tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    async with serving(str(path), health(house)) as url:
        assert url == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        status, text = await get(url, "/health")
        assert (await get(url, "/"))[0] == 404
    assert status == 200
    told = {"healthy": True, "connected": True, "subscribed": True, "registry_age": 0, "unwell": []}
    assert json.loads(text) == told
    assert not path.exists()


@pytest.mark.parametrize(
    ("part", "field"),
    [(Part(connected=False, subscribed=True), "connected"), (Part(connected=True, subscribed=False), "subscribed")],
)
async def test_a_daemon_that_cannot_work_answers_503_and_says_which_part(house: House, part: Part, field: str) -> None:
    async with serving("0", health(house, {**WELL, "box0": part})) as url:
        status, text = await get(url, "/health")
    assert status == 503
    told = json.loads(text)
    assert (told["healthy"], told[field], told["unwell"]) == (False, False, ["box0"])


async def test_a_daemon_without_its_registry_is_not_well(house: House) -> None:
    house.town.chain_down = True
    async with serving("0", health(house)) as url:
        status, text = await get(url, "/health")
        assert status == 503
        assert json.loads(text)["registry_age"] is None
        assert json.loads(text)["trouble"] == "the chain is down"
        age = numbers((await get(url, "/metrics"))[1])["wave_registry_age_seconds{}"]
        assert math.isnan(age)
        house.town.chain_down = False
        house.town.block_time = house.town.world.now - LIMITS.max_staleness
        assert (await get(url, "/health"))[0] == 200
        house.town.block_time -= 1
        assert (await get(url, "/health"))[0] == 503


async def test_a_page_in_a_browser_here_learns_nothing(house: House) -> None:
    async with serving("127.0.0.1:0", health(house)) as url:
        assert (await get(url, "/metrics", Host="evil.example"))[0] == 421
        assert (await get(url, "/health", Host="localhost"))[0] == 200


@pytest.mark.parametrize("where", ["", "x", "1.2.3.4:", "localhost:http", "65536", "-1"])
async def test_a_place_that_is_none_is_refused(house: House, where: str) -> None:
    with pytest.raises(BadSetting):
        async with serving(where, health(house)):
            raise AssertionError


async def test_a_place_that_is_taken_is_said(house: House) -> None:
    async with serving("0", health(house)) as url:
        with pytest.raises(PortInUse):
            async with serving(url.removeprefix("http://"), health(house)):
                raise AssertionError


# systemd ------------------------------------------------------------------------------------------------------------


@contextmanager
def listener(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(address)
        found.setblocking(False)
        yield found


async def word(listener: socket.socket) -> str:
    async with asyncio.timeout(5):
        return (await asyncio.get_running_loop().sock_recv(listener, 4096)).decode()


@pytest.mark.parametrize("abstract", [False, True])
async def test_systemd_hears_that_it_is_up_alive_and_stopping(tmp_path: Path, *, abstract: bool) -> None:
    path = f"@wave-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with listener(path.replace("@", "\0", 1) if abstract else path) as heard:
        supervisor = Supervisor({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": str(os.getpid())})
        async with supervisor.watching("light0 is up"):
            assert await word(heard) == "READY=1\nSTATUS=light0 is up"
            begun = asyncio.get_running_loop().time()
            assert [await word(heard), await word(heard), await word(heard)] == ["WATCHDOG=1"] * 3
            assert 0.15 < asyncio.get_running_loop().time() - begun < 0.3
        words = [await word(heard)]
        assert words[-1] == "STOPPING=1"


async def test_a_watchdog_of_another_process_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listener(path) as heard:
        environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
        async with Supervisor(environment).watching("up"):
            assert (await word(heard)).startswith("READY=1")
            await asyncio.sleep(0.05)
        assert await word(heard) == "STOPPING=1"


@pytest.mark.parametrize("path", ["", "/no/such/socket", "relative"])
async def test_without_systemd_a_daemon_runs_all_the_same(path: str) -> None:
    async with Supervisor({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000"}).watching("up"):
        await asyncio.sleep(0.05)
