"""A house for tests: a town's router, devices and controllers on it, and what their logs say."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from devices.controller import Controller, Place, Rule
from devices.device import Device
from devices.log import Entry
from devices.machine import Machine
from devices.site import KINDS, Site
from tests.bus.town import Town, until
from wave.codec import id_text


class House:
    """Devices of the namespace ``home``, each with the rights to its own resources."""

    def __init__(self, town: Town, stack: AsyncExitStack) -> None:
        self.town = town
        self.home = town.home
        self.log: list[Entry] = []
        self.stack = stack

    async def names(self) -> dict[str, str]:
        return {id_text(one): self.town.world.name(one) for one in self.town.world.records}

    @property
    def site(self) -> Site:
        return Site(self.town.url, self.town.prove, self.town.facts, self.names, self.town.clock)

    async def device(self, kind: str | Machine[Any], instance: str, *, also: str | None = None) -> Device[Any]:
        """Return a device that runs, of a kind or with a machine of its own."""
        service = KINDS[kind].service if isinstance(kind, str) else kind.service
        path = f"{service}/{instance}"
        self.town.give("home", instance, f"subscribe@home/{path}/+/slot/+", f"publish@home/{path}/+/signal/+")
        if also is not None:
            self.town.give("home", instance, f"subscribe@home/{also}/control", f"publish@home/{also}/report")
        device: Device[Any] = await self.stack.enter_async_context(
            self.site.device(
                kind, instance, self.town.world.entity(instance), self.home, tell=self.log.append, also=also
            )
        )
        await asyncio.wait_for(device.ready.wait(), 5)
        return device

    async def controller(self, name: str, rule: Rule, target: str, **sources: str) -> Controller:
        """Return a controller that runs, with just the rights that it needs."""
        heard = [f"subscribe@home/{source}" for source in sources.values()]
        self.town.give("home", name, *heard, f"publish@home/{target}")
        controller = await self.stack.enter_async_context(
            self.site.controller(
                name,
                self.town.world.entity(name),
                {key: Place(self.home, source) for key, source in sources.items()},
                Place(self.home, target),
                rule,
                tell=self.log.append,
            )
        )
        await asyncio.wait_for(controller.ready.wait(), 5)
        return controller

    async def send(self, who: str, resource: str, payload: bytes, **more: Any) -> None:
        """Publish as somebody."""
        async with self.town.peer(who, **more) as peer:
            await peer.publish(self.home, resource, payload)

    async def entry(self, device: str, *, code: str = "ok", did: str = "") -> Entry:
        """Return the log's first entry of that device, code and deed, waiting for it."""
        found: list[Entry] = []

        def there() -> bool:
            found[:] = [one for one in self.log if one.device == device and one.code == code and did in one.did]
            return bool(found)

        await until(there)
        return found[0]
