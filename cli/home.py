"""A whole home as a daemon: ``home run``."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from cli import ui
from cli.device import controller_words, device_words, teller
from cli.homeassistant import home_assistant
from cli.options import FILE, secret_options, verb
from cli.page import home_ui
from cli.router import serving_router
from cli.running import agent_of, carry_out, resolve, say_ready
from cli.service import metrics_option, places, room_for, service, settings_file
from cli.session import Session
from wave.errors import BadSetting, NotFound, PortInUse, StateLocked, WaveError

if TYPE_CHECKING:
    from devices.controller import Controller
    from devices.device import Device
    from devices.health import Part, Parts
    from devices.home import Home, Member
    from devices.plan import Address
    from wave.agent.client import AgentClient
    from wave.bus.router import FactsSource

Running: TypeAlias = "tuple[FactsSource, Parts]"
"""What a home that runs can be asked: the registry's facts, and how each of its actors fares."""

_PATIENCE: Final = 30.0  # seconds until a home that is not whole says so
_STOPPING: Final = 10.0
_FILES: Final = 64 + 8 * 1024  # for a home of a thousand: each has a lock, its marks, a connection and its other end
_ENDING: Final = 1.0  # seconds in which Ctrl-C, which a terminal sends to the children too, ends this as well


@click.group()
def home() -> None:
    """Run a whole simulated home, show it as a page, and have Home Assistant command it."""


@verb
@secret_options
@click.option("--processes", is_flag=True, help="Run each device as a process of its own.")
@click.option("--router", "url", envvar="WAVE_ROUTER", metavar="URL", help="Use this router rather than the file's.")
@metrics_option
@click.argument("file", type=FILE, metavar="HOME.toml")
def home_run(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    processes: bool,
    url: str | None,
    metrics: str | None,
    file: str,
) -> None:
    """Run the home in HOME.toml until it is stopped.

    The home's own secret (--from, or the name in the file) gives each device an entity and the rights to its own
    resources, once; both are kept in WAVE_HOME/homes. A router is run too unless the file names one. HOME.toml is
    looked for here, and then in the directory for settings (XDG_CONFIG_HOME/wave).
    """
    from cli import reference
    from devices.plan import HomePlan
    from wave.entities.keyring import read_file

    path = settings_file(session, file)
    try:
        plan = HomePlan.parse(read_file(path).decode("utf-8"), base=path.parent)
    except UnicodeDecodeError:
        raise BadSetting(f"{file} is not UTF-8 text") from None
    owner = reference.secret(session, signer or plan.namespace, passphrase_file)
    if not plan.devices and not plan.controllers:
        ui.warn(f"{file} names no device", "each stands in a table of its own: [[device]], with a kind and an instance")

    async def main() -> None:
        from devices.home import Home
        from wave.codec import id_text

        room_for(_FILES)
        directory = session.settings.home / "homes" / id_text(owner.id)[:8]
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(agent_of(session))
            await _check_owner(session, agent, plan.namespace, owner.id)
            found = Home(plan, owner, directory, agent=agent, draw=os.urandom, keyring=session.settings.keyring)
            with ui.waiting("giving each device its key and its rights"):
                members, taken_back = await found.provision(int(time.time()))
            for error in taken_back:
                ui.warn(error.message, error.hint)
            at = url or plan.router or ""
            if not at:
                port = 4410 if plan.port is None else plan.port
                secret = found.router(int(time.time()))
                try:
                    serving = serving_router(agent, "127.0.0.1", port, secret=secret, state=directory / "router")
                    at, _ = await stack.enter_async_context(serving)
                except PortInUse as error:
                    hint = f"is that a router? then use it with --router ws://127.0.0.1:{port}/v1/bus"
                    raise PortInUse(error.message, hint=hint) from None
                except StateLocked:
                    hint = "this home runs already; stop that one first"
                    raise StateLocked(f"another process runs the router of {plan.namespace}", hint=hint) from None
                await found.designate(secret, at, int(time.time()))
            renewing = asyncio.create_task(found.renew_always(time.time, _warn))
            stack.callback(renewing.cancel)
            run = _in_processes if processes else _in_one_process
            facts, parts = await stack.enter_async_context(run(session, agent, found, members, at))
            names = [member.name for member in members]
            being = service(session, path.stem, metrics, facts=facts, parts=parts)
            await stack.enter_async_context(being)
            told = f"the home is there, by the router at {at}: {', '.join(names)}"
            say_ready(session, "home", told, namespace=id_text(owner.id), router=at, actors=names)
            await asyncio.Event().wait()

    carry_out(main())


async def _check_owner(session: Session, agent: "AgentClient", namespace: str, owner: bytes) -> None:
    """Raise :class:`BadSetting` unless the namespace in the file is ``owner``."""
    from wave.codec import id_text

    own = f'the signer of this home is {id_text(owner)}; write namespace = "{id_text(owner)}" if it is meant'
    try:
        found = await resolve(session, agent, namespace)
    except NotFound as error:
        raise BadSetting(f"the home's file: {error.message}", hint=own) from None
    if found != owner:
        told = f"the home's file: namespace {namespace[:60]!r} is {id_text(found)}, and another entity signs"
        raise BadSetting(told, hint=own)


home.add_command(home_run, "run")
home.add_command(home_ui, "ui")
home.add_command(home_assistant, "assistant")


@asynccontextmanager
async def _in_one_process(
    session: Session, agent: "AgentClient", found: "Home", members: "tuple[Member, ...]", url: str
) -> AsyncIterator[Running]:
    from devices.site import Site, all_ready

    async def find(text: str) -> bytes:
        return await resolve(session, agent, text)

    site = Site.of(agent, url, time.time, state=places(session).state)
    async with found.running(members, site, resolve=find, tell=teller(session)) as actors:
        if not await all_ready(*actors, patience=_PATIENCE):
            ui.warn("some of the home's actors are not ready", "their rights may be missing; see what they say")
        yield site.facts, lambda: {actor.name: _part(actor) for actor in actors}


def _part(actor: "Device[Any] | Controller") -> "Part":
    from devices.health import Part

    return Part(actor.peer.connected, actor.subscribed, actor.subscriptions)


@asynccontextmanager
async def _in_processes(
    session: Session, agent: "AgentClient", found: "Home", members: "tuple[Member, ...]", url: str
) -> AsyncIterator[Running]:
    """Run each member as a child that prints for itself; stop them in reverse order."""
    from devices.plan import DevicePlan
    from wave.agent.client import FactsFeed
    from wave.codec import id_text

    async def full(place: "Address") -> str:
        own = place.namespace == found.plan.namespace
        namespace = found.owner.id if own else await resolve(session, agent, place.namespace)
        return f"{id_text(namespace)}/{place.resource}"

    devices = [member for member in members if isinstance(member.plan, DevicePlan)]
    children = _Children([member.name for member in members])
    async with AsyncExitStack() as stack:

        async def start(member: "Member", words: list[str]) -> None:
            base = found.directory / member.name
            words = ["--from", f"{base}.ent", "--log", f"{base}.log", "--router", url, *words]
            child = await stack.enter_async_context(_child(words + (["--json"] if session.json else [])))
            watch = asyncio.create_task(_watch(child, member.name, children))
            stack.callback(watch.cancel)

        for member in devices:
            assert isinstance(member.plan, DevicePlan)
            await start(member, device_words(member.plan, id_text(found.owner.id)))
        await children.settled([member.name for member in devices])
        for member in members:
            if not isinstance(member.plan, DevicePlan):
                plan = member.plan
                sources = [(key, await full(source)) for key, source in plan.sources]
                await start(member, controller_words(member.name, plan.rule, sources, await full(plan.target)))
        await children.settled([member.name for member in members])
        if children.waiting:
            names = ", ".join(sorted(children.waiting))
            ui.warn(f"not ready: {names}", "their rights may be missing; see what they say")
        yield FactsFeed(agent).facts, children.parts


class _Children:
    """The actors of a home as processes: which live, and which are not ready yet."""

    def __init__(self, names: list[str]) -> None:
        """Wait for all of them."""
        self.waiting = set(names)
        self.alive = set(names)
        self._names = names
        self._stirred = asyncio.Event()

    def is_ready(self, name: str) -> None:
        """Hear that one is ready."""
        self.waiting.discard(name)
        self._stirred.set()

    def has_ended(self, name: str) -> None:
        """Hear that one is no more."""
        self.alive.discard(name)

    def parts(self) -> "dict[str, Part]":
        """Return how each fares, as far as it can be told from here."""
        from devices.health import Part

        return {name: Part(name in self.alive, name not in self.waiting) for name in self._names}

    async def settled(self, names: list[str]) -> None:
        """Wait until these are ready, but not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while self.waiting & set(names):
                    self._stirred.clear()
                    await self._stirred.wait()


@asynccontextmanager
async def _child(words: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``wave device run`` as a child while the body runs."""
    child = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "cli.main", "device", "run", *words],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            try:
                async with asyncio.timeout(_STOPPING):
                    await child.wait()
            except TimeoutError:
                child.kill()
                await child.wait()


async def _watch(child: asyncio.subprocess.Process, name: str, children: _Children) -> None:
    """Pass on what a child prints, its word that it is ready aside, and say when it ends."""
    assert child.stdout is not None
    async for line in child.stdout:
        if line.startswith(b'{"ready":'):
            children.is_ready(name)
        else:
            ui.out(line.decode("utf-8", "replace").rstrip("\n"))
            ui.flush()
    status = await child.wait()
    children.has_ended(name)
    await asyncio.sleep(_ENDING)
    ui.warn(f"{name} has ended with status {status}")


def _warn(error: WaveError) -> None:
    ui.warn(error.message, error.hint)
