"""A bridge between a house and a broker, with the rights that a test gives it."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from devices.homeassistant.bridge import Bridge
from devices.homeassistant.discovery import Named, grants
from devices.log import Entry
from devices.site import running, stopping
from tests.bus.town import until
from tests.devices.house import House
from tests.homeassistant.own_broker import Mosquitto
from wave.bus.mqtt_line import Broker
from wave.dots.dot import Dot


class Stage:
    """The entity ``bridge`` shows the namespace ``home``; `log` is what it tells."""

    def __init__(self, house: House, mosquitto: Mosquitto, stack: AsyncExitStack) -> None:
        self.house = house
        self.town = house.town
        self.mosquitto = mosquitto
        self.stack = stack
        self.log: list[Entry] = []

    def allow(self, *devices: Named, **fields: Any) -> list[Dot]:
        """Give the bridge what it needs for these devices, or for all that it may find; one DoT for each right."""
        return [self.town.give("home", "bridge", right, **fields) for right in grants("home", devices or None)]

    async def bridge(self, *plan: Named, wait: bool = True, url: str | None = None, **more: Any) -> Bridge:
        """Run the bridge for the devices of a plan, or for those that it finds."""
        bus = await self.stack.enter_async_context(self.house.site.peer(self.town.world.entity("bridge"), patience=2))
        bridge = Bridge(
            "bridge",
            bus,
            self.house.home,
            Broker.parse(url or self.mosquitto.url),
            clock=self.town.clock,
            tell=self.log.append,
            names=self.house.names,
            plan=plan or None,
            **more,
        )
        await self.stack.enter_async_context(running(bridge))
        await self.stack.enter_async_context(stopping(bridge))
        if wait:
            await asyncio.wait_for(bridge.ready.wait(), 5)
        return bridge

    async def told(self, *, code: str, did: str = "", device: str = "") -> Entry:
        """Wait until the log has such an entry, and return it."""
        found: list[Entry] = []

        def there() -> bool:
            found[:] = [one for one in self.log if one.code == code and did in one.did and device in one.device]
            return bool(found)

        try:
            await until(there)
        except TimeoutError:
            raise AssertionError(f"no {code} with {did!r} in {[str(one) for one in self.log]}") from None
        return found[0]
