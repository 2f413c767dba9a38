"""A thousand simulated devices in one process on one agent, for ten minutes: memory, and messages that got lost.

Lights, switches and thermostats stand in one process; a router, an agent and a chain in three others. From here
commands go to lights and switches drawn at random, and every report of every thermostat is heard. It takes more than
ten minutes, and so is measured only when it is named; ``WAVE_SOAK_MINUTES`` makes it shorter or longer.
"""

import asyncio
import os
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench.figure import Figure
from cli.stage import Stage
from devices.log import Entry
from devices.machine import write_json
from devices.plan import DevicePlan
from devices.site import KINDS, Site, all_ready
from wave.agent import wire
from wave.agent.client import AgentClient
from wave.codec import sha256
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.errors import WaveError
from wave.namespace.grant import right

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

MINUTES: Final = float(os.environ.get("WAVE_SOAK_MINUTES", "10"))
DEVICES: Final = {"light": 700, "switch": 200, "thermostat": 100}
COMMANDS: Final = 20.0  # a second, to devices drawn at random
GROWTH: Final = 1.05  # most memory at the end, as a ratio to what it was after the warm-up
WARM_UP: Final = 0.3  # of the time
SLOTS: Final = {"light": "i.boolean/slot/state", "switch": "i.boolean/slot/state"}
THERMOSTATS: Final = "s.thermostat/+/i.thermostat/signal/state"
PATIENCE: Final = 300.0  # seconds for all devices to be there
SETTLING: Final = 5.0  # seconds at the end for what is on its way
CHUNK: Final = 100  # objects a call


def person(name: str, now: int) -> EntitySecret:
    """Return somebody, the same in every process."""
    drawn = iter(range(1 << 16))
    return EntitySecret.create(
        lambda size: sha256(f"{name}/{next(drawn)}".encode())[:size], created=now - 60, expires=now + 86_400
    )


def instances() -> list[tuple[str, str]]:
    """Return kind and name of every device."""
    return [(kind, f"{kind}{number}") for kind, count in DEVICES.items() for number in range(count)]


@dataclass
class Seen:
    """What one side of the bus saw: messages by device, and how many were refused."""

    counts: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    memory: list[int] = field(default_factory=list)


def figures() -> Iterator[Figure]:
    """Yield growth of memory, and losses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))  # children inherit it
    context = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="wave-") as folder, Stage(Path(folder)) as stage:
        ground = stage.person("chain")
        url = stage.start(ground, "chain", "chain", "run", "--port", "0").address()
        carrier, home = (stage.person(name, WAVE_CHAIN=url) for name in ("carrier", "home"))
        router = stage.start(carrier, "router", "router", "run", "--port", "0", "--json")
        stage.start(home, "agent", "agent", "run").address()
        socket, carried = str(home.home / "agent.sock"), router.ready()["url"]
        now = int(time.time())
        ours, theirs = context.Pipe()
        process = context.Process(target=_devices, args=(socket, carried, now, theirs), daemon=True)
        process.start()
        try:
            sent, heard, seen, reported = asyncio.run(_drive(socket, carried, now, ours, process.pid or 0))
        finally:
            process.terminate()
            process.join()
    settled = seen.memory[int(WARM_UP * len(seen.memory)) :]
    quarter = max(1, len(settled) // 4)
    growth = median(settled[-quarter:]) / median(settled[:quarter])
    note = f"{sum(DEVICES.values())} devices, {MINUTES:g} minutes, {settled[-1] // 1024:,} MiB at the end"
    yield Figure("memory of 1,000 devices, end / after warm-up", growth, "x", GROWTH, note)
    lost = sum((sent.counts - seen.counts).values())
    yield Figure(
        "commands acknowledged and lost",
        lost,
        "",
        0,
        f"{sum(sent.counts.values()):,} were acknowledged, {sent.refused:,} refused",
    )
    lost = sum((reported.counts - heard.counts).values())
    yield Figure("reports acknowledged and lost", lost, "", 0, f"{sum(reported.counts.values()):,} were acknowledged")


async def _drive(
    socket: str, router: str, now: int, devices: "Connection[Any, Any]", pid: int
) -> tuple[Seen, Seen, Seen, Seen]:
    """Grant, start, command and listen; return what was sent, heard, seen by the devices and reported by them."""
    owner, commander = person("owner", now), person("commander", now)
    draw = random.Random(now)
    sent, heard = Seen(), Seen()
    async with AgentClient(socket) as agent, AsyncExitStack() as stack:
        await _grant_all(agent, owner, commander, now)
        site = Site.of(agent, router, time.time)
        bus = await stack.enter_async_context(site.peer(commander, patience=30.0))
        reading = await bus.subscribe(owner.id, THERMOSTATS)

        async def listen() -> None:
            async for received in reading:
                heard.counts[str(received.message.resource).split("/")[1]] += 1

        listening = asyncio.create_task(listen())
        devices.send("run")
        await asyncio.to_thread(_expect, devices, "ready")
        memory: list[int] = []
        ends = time.monotonic() + 60 * MINUTES
        targets = [(kind, name) for kind, name in instances() if kind in SLOTS]
        looked = 0.0
        while time.monotonic() < ends:
            begun = time.monotonic()
            kind, name = draw.choice(targets)
            place = f"{KINDS[kind].service}/{name}/{SLOTS[kind]}"
            try:
                if await bus.publish(owner.id, place, write_json({"state": draw.choice(("on", "off"))})):
                    sent.counts[name] += 1
            except WaveError:
                sent.refused += 1  # what was not acknowledged may be lost
            if begun - looked > 5:
                looked = begun
                memory.append(_resident(pid))
            await asyncio.sleep(max(0.0, 1 / COMMANDS - (time.monotonic() - begun)))
        devices.send("stop")
        counts, acknowledged = await asyncio.to_thread(devices.recv)
        listening.cancel()
    return sent, heard, Seen(counts, memory=memory), Seen(acknowledged)


def _expect(devices: "Connection[Any, Any]", word: str) -> None:
    if not devices.poll(PATIENCE) or devices.recv() != word:
        raise RuntimeError("the devices did not start")


async def _grant_all(agent: AgentClient, owner: EntitySecret, commander: EntitySecret, now: int) -> None:
    """Let the agent know everybody and every right: each device to its own resources, the commander to all."""
    objects = [owner.entity.to_bytes(), commander.entity.to_bytes()]

    def dot(receiver: EntitySecret, *rights: tuple[str, str]) -> bytes:
        grants = tuple(right((permission,), pattern) for permission, pattern in rights)
        made = Dot.create(
            owner, receiver=receiver.id, namespace=owner.id, grants=grants, created=now - 60, expires=now + 86_400
        )
        return made.to_bytes()

    objects.append(dot(commander, ("publish", "*"), ("subscribe", "*")))
    for kind, name in instances():
        one = person(name, now)
        objects += [one.entity.to_bytes(), dot(one, *DevicePlan(kind, name).rights())]
    for start in range(0, len(objects), CHUNK):
        await agent.call(wire.Publish(objects=tuple(objects[start : start + CHUNK]), keep_only=True))


def _resident(pid: int) -> int:
    """Return a process's resident memory in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("the devices are gone")


# The process of the devices ----------------------------------------------------------------------------------------


def _devices(socket: str, router: str, now: int, parent: "Connection[Any, Any]") -> None:
    asyncio.run(_all_devices(socket, router, now, parent))


async def _all_devices(socket: str, router: str, now: int, parent: "Connection[Any, Any]") -> None:
    done, acknowledged = Counter[str](), Counter[str]()

    def tell(entry: Entry) -> None:
        if entry.allowed:
            done[entry.device] += 1

    await asyncio.to_thread(parent.recv)
    owner = person("owner", now).id
    async with AgentClient(socket) as agent, AsyncExitStack() as stack:
        site = Site.of(agent, router, time.time)
        devices = []
        for kind, name in instances():
            device = await stack.enter_async_context(site.device(kind, name, person(name, now), owner, tell=tell))
            if kind == "thermostat":
                _count(device.peer, name, acknowledged)
            devices.append(device)
        if not await all_ready(*devices, patience=PATIENCE):
            raise RuntimeError("some devices were not ready")
        parent.send("ready")
        await asyncio.to_thread(parent.recv)
        before = Counter(acknowledged)
        await asyncio.sleep(SETTLING)
        parent.send((done, before))
        await asyncio.to_thread(parent.recv)


def _count(bus: Any, name: str, acknowledged: "Counter[str]") -> None:
    """Count what of a device's publications the router acknowledged as handed on."""
    publish = bus.publish

    async def counting(*arguments: Any, **more: Any) -> int:
        reached: int = await publish(*arguments, **more)
        if reached:
            acknowledged[name] += 1
        return reached

    bus.publish = counting
