"""A router that is killed in the middle of everything: nothing acknowledged is lost, and nothing is taken twice."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.bus.town import Town
from tests.world import World
from wave.bus.frame import Denied, Done, Give, Hello, Publish, parcel, read_parcel
from wave.bus.message import PUBLISH, Message
from wave.bus.websocket import connected
from wave.errors import BeforeRestart, Replayed, WaveError

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 3
MESSAGES = 200


@asynccontextmanager
async def routing(path: Path, port: int = 0) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run a real router process while the body runs, and kill it at its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bus.routing", path, str(port), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            url = (await process.stdout.readline()).decode().strip()
        yield url, process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


def town_now() -> Town:
    town = Town(World(int(time.time())))
    town.give("home", "alice", "publish@home/*")
    town.give("home", "bob", "query,subscribe@home/*")
    return town


async def test_nothing_that_was_acknowledged_is_lost_when_the_router_is_killed(tmp_path: Path) -> None:
    town, acknowledged = town_now(), set[bytes]()

    async def publish_some(first: int) -> None:
        async with town.peer("alice", clock=time.time) as alice:

            async def one(number: int) -> None:
                payload = b"%d" % number
                with suppress(WaveError):
                    await alice.publish(town.home, f"a/{number}", payload, persist=True)
                    acknowledged.add(payload)

            await asyncio.gather(*[one(first + number) for number in range(MESSAGES)])

    path, port = tmp_path / "router.db", 0
    for turn in range(ROUNDS):
        async with routing(path, port) as (town.url, process):
            port = int(town.url.rpartition(":")[2].partition("/")[0])
            before = len(acknowledged)
            publishing = asyncio.create_task(publish_some(turn * MESSAGES))
            while len(acknowledged) < before + 20 + 30 * turn:  # noqa: ASYNC110 - in the middle of it
                await asyncio.sleep(0.001)
            process.kill()
            await publishing
    async with routing(path, port) as (town.url, _), town.peer("bob", clock=time.time) as bob:
        reading = await bob.subscribe(town.home, "a/*", since=0)
        found = set[bytes]()
        async with asyncio.timeout(10):
            while not acknowledged <= found:
                found.add((await anext(reading)).message.payload)
    assert len(acknowledged) >= ROUNDS * 20


async def test_a_message_is_not_taken_again_by_a_router_that_was_killed(tmp_path: Path) -> None:
    """Also when the clock of its sender runs ahead (ADR 20 left that open)."""
    town = town_now()
    proof, _ = await town.prove(town.world.request("alice", "publish@home/a"))
    for ahead in (0, 50):
        now = int(time.time()) + ahead
        message = Message.create(
            town.world.entity("alice"), permission=PUBLISH, namespace=town.home, resource="a", payload=b"1",
            created=now, expires=now + 60, nonce=os.urandom(16), proof=proof.id,
        )  # fmt: skip
        answers: list[object] = []
        said = parcel(Give(proof.data), Publish(1, message.to_bytes()), Publish(2, message.to_bytes()))
        for known in (0, 2):
            async with routing(tmp_path / f"{ahead}.db") as (url, _process), connected(url) as link:
                assert isinstance(read_parcel(await link.receive() or b"")[0], Hello)
                await link.send(said)
                while len(answers) < known + 2:
                    answers += read_parcel(await link.receive() or b"")
        again, done, late, still_late = answers  # in a parcel, refusals are told first
        assert isinstance(done, Done)
        assert isinstance(again, Denied)
        assert type(again.error) is Replayed
        for answer in (late, still_late):
            assert isinstance(answer, Denied)
            assert type(answer.error) is BeforeRestart
