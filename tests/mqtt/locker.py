"""A process that locks a broker for the same world as the tests', to be killed: DIR PORT SILENCE."""

import asyncio
import os
import sys
from pathlib import Path

from tests.mqtt.village import granted
from tests.world import World
from wave.bus.dynsec import Lock, Setup
from wave.bus.mosquitto import lock_account
from wave.bus.mqtt_line import Broker


async def main(directory: str, port: str, silence: str) -> None:
    village = granted(World())
    lock = Lock(
        Setup(
            Broker.parse(f"mqtt://127.0.0.1:{port}"),
            lock_account(Path(directory)),
            (village.home,),
            standing=village,
            facts=village.facts,
            clock=village.clock,
            draw=os.urandom,
            beat=0.1,
            silence=int(silence),
        )
    )
    running = asyncio.create_task(lock.run())
    await lock.open.wait()
    print("open", flush=True)  # noqa: T201 - whoever started this waits for it
    await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
