"""Many contexts at once: how they are entered and left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from devices.crowd import Crowd
from wave.errors import EntityInUse


class Door:
    """Writes down who comes and goes; going takes a while."""

    def __init__(self) -> None:
        self.log: list[str] = []

    @asynccontextmanager
    async def __call__(self, name: str) -> AsyncIterator[str]:
        self.log.append(f"+{name}")
        try:
            yield name
            await asyncio.sleep(0.05)
        finally:
            self.log.append(f"-{name}")


async def test_the_last_lot_leaves_first_and_each_lot_together() -> None:
    door = Door()
    async with Crowd[str]() as crowd:
        assert await crowd.enter([door("a"), door("b")]) == ["a", "b"]
        assert await crowd.enter([door("c")]) == ["c"]
        assert await crowd.enter([]) == []
        assert crowd.members == ["a", "b", "c"]
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before < 0.14
    assert door.log == ["+a", "+b", "+c", "-c", "-a", "-b"]


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    raise EntityInUse("taken")
    yield ""


async def test_whoever_cannot_enter_ends_it_for_all_with_one_error() -> None:
    door = Door()

    async def body() -> None:
        async with Crowd[str]() as crowd:
            await crowd.enter([door("a"), refusing()])
            raise AssertionError

    with pytest.raises(EntityInUse):
        await body()
    assert door.log == ["+a", "-a"]


@asynccontextmanager
async def breaking() -> AsyncIterator[str]:
    async with asyncio.timeout(0.02):
        yield "x"


async def test_whoever_breaks_breaks_the_body() -> None:
    door = Door()

    async def body() -> None:
        async with Crowd[str]() as crowd:
            await crowd.enter([door("a")])
            await crowd.enter([breaking()])
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await body()
    assert door.log == ["+a", "-a"]


async def test_a_cancelled_body_leaves_in_order_all_the_same() -> None:
    door = Door()
    there = asyncio.Event()

    async def body() -> None:
        async with Crowd[str]() as crowd:
            await crowd.enter([door("a")])
            await crowd.enter([door("b")])
            there.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await there.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert door.log == ["+a", "+b", "-b", "-a"]
