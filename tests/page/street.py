"""A home with its agent, router and devices in this process, its page on loopback, and browsers before it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext
from playwright.async_api import Page as Tab

from devices.log import DecisionLog
from devices.page.page import Page, page_of
from devices.page.server import serving
from devices.site import KINDS, Site
from wave.agent.client import AgentClient, FactsFeed
from wave.agent.server import serving as serving_agent
from wave.agent.settings import Settings
from wave.agent.wire import Publish, Revoke
from wave.bus.router import Router
from wave.bus.websocket import serving as serving_router
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.namespace.grant import right

DAY = 86_400
DEVICES = {"light0": "light", "lamp1": "light", "switch0": "switch", "thermostat0": "thermostat", "motion0": "motion",
           "box0": "notifier"}  # fmt: skip


class Place:
    """Somebody's namespace with its agent, and browsers before its page at ``url``."""

    def __init__(self, settings: Settings, agent: AgentClient) -> None:
        self.settings = settings
        self.agent = agent
        self.owner = self.person("home")
        self.url = ""
        self.said: list[str] = []
        self.contexts: list[BrowserContext] = []

    @staticmethod
    def person(comment: str) -> EntitySecret:
        now = int(time.time())
        return EntitySecret.create(os.urandom, created=now - 60, expires=now + 365 * DAY, comment=comment)

    async def name(self, name: str, one: EntitySecret) -> EntitySecret:
        """Let the agent know somebody, and call them so."""
        self.settings.keyring.add(name, one.entity)
        await self.agent.call(Publish(objects=(one.entity.to_bytes(),)))
        return one

    async def give(
        self,
        giver: EntitySecret,
        to: bytes,
        *rights: tuple[str, str],
        hops: int = 0,
        days: int = 30,
        comment: str = "",
    ) -> Dot:
        now = int(time.time())
        dot = Dot.create(
            giver,
            receiver=to,
            namespace=self.owner.id,
            grants=tuple(right((permission,), pattern) for permission, pattern in rights),
            created=now,
            expires=now + days * DAY,
            indirections=hops,
            comment=comment,
        )
        await self.agent.call(Publish(objects=(dot.to_bytes(),)))
        return dot

    async def take_back(self, dot: Dot, giver: EntitySecret) -> None:
        await self.agent.call(Revoke(preimages=(dot.preimage(giver),)))

    async def visit(self, browser: Browser, url: str = "", **options: Any) -> Tab:
        """Open the page in a browser of its own; what its console complains about fails the test in the end."""
        settings = {"viewport": {"width": 1180, "height": 860}, "locale": "en-GB", **options}
        context = await browser.new_context(**settings)
        self.contexts.append(context)
        context.set_default_timeout(10_000)
        tab = await context.new_page()
        tab.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("dialog", lambda dialog: self.said.append(f"a script spoke: {dialog.message}"))
        await tab.goto(url or self.url)
        return tab


class Street(Place):
    """One home and whoever walks by."""

    def __init__(self, stack: AsyncExitStack, settings: Settings, agent: AgentClient, site: Site) -> None:
        super().__init__(settings, agent)
        self.stack = stack
        self.site = site
        self.logs = settings.home / "logs"
        self.page: Page

    async def device(self, instance: str) -> None:
        """Run a device with its own entity and the rights to its own resources."""
        kind = DEVICES[instance]
        path = f"{KINDS[kind].service}/{instance}"
        secret = await self.name(instance, self.person(instance))
        await self.give(self.owner, secret.id, ("subscribe", f"{path}/+/slot/+"), ("publish", f"{path}/+/signal/+"))
        tell = DecisionLog(self.logs / f"{instance}.log")
        device = await self.stack.enter_async_context(
            self.site.device(kind, instance, secret, self.owner.id, tell=tell)
        )
        async with asyncio.timeout(10):
            await device.ready.wait()

    async def command(self, who: EntitySecret, where: str, payload: bytes) -> None:
        async with self.site.peer(who) as bus:
            await bus.publish(self.owner.id, where, payload)

    def owner_link(self) -> str:
        assert self.page.owner is not None
        return f"{self.url}#owner={self.page.owner.sessions.token()}"


@asynccontextmanager
async def street(directory: Path, *instances: str, owned: bool = True) -> AsyncIterator[Street]:
    """Open a street: agent, router, the devices named and the page."""
    settings = Settings(directory)
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving_agent(settings))
        agent = await stack.enter_async_context(AgentClient(address))
        router = Router(FactsFeed(agent).facts, clock=time.time, draw=os.urandom, review_every=0.1)
        url = await stack.enter_async_context(serving_router(router, port=0))
        here = Street(stack, settings, agent, Site.of(agent, url, time.time))
        here.logs.mkdir()
        await here.name("home", here.owner)
        for instance in instances:
            await here.device(instance)
        here.page = await stack.enter_async_context(
            page_of(
                agent,
                here.site,
                here.owner.id,
                directory / "pages" / "home",
                owner=here.owner if owned else None,
                keyring=settings.keyring,
                logs=(here.logs,),
            )
        )
        here.url = await stack.enter_async_context(serving(here.page, port=0))
        try:
            yield here
        finally:
            for context in here.contexts:
                await context.close()


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for knows nothing of tests
            await asyncio.sleep(0.02)
