"""Devices and what they meet on: ``router run``, ``device run`` and ``home run``; and the verbs for messages."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli import ui
from cli.messages import publish, subscribe
from cli.options import ENTITY, FILE, secret_options, verb
from cli.running import agent_of, carry_out, print_line, resolve, router_option, say_ready, warn_refused
from cli.session import Session
from wave.errors import BadRequest, BadSetting, PortInUse, WaveError

if TYPE_CHECKING:
    from devices.home import Home, Member
    from devices.log import DecisionLog, Entry
    from devices.plan import Address
    from wave.agent.client import AgentClient
    from wave.bus.message import Message

__all__ = ["device", "home", "publish", "router", "subscribe"]

_PATIENCE: Final = 30.0  # seconds until a home that is not whole says so
_STOPPING: Final = 10.0
_SLOW: Final = 3.0  # seconds until a device that is not ready says what it waits for
_ENDING: Final = 1.0  # seconds in which Ctrl-C, which a terminal sends to the children too, ends this as well


@click.group()
def router() -> None:
    """Carry messages between those who may publish and those who may subscribe."""


@verb
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=4410, show_default=True, help="The port; 0: any.")
@click.option("--anywhere", is_flag=True, help="Allow a host that is not this machine's own.")
def router_run(session: Session, host: str, port: int, anywhere: bool) -> None:
    """Run until stopped. It is trusted with delivery alone: whoever receives checks everything again."""

    async def main() -> None:
        async with agent_of(session) as agent, _router(agent, host, port, anywhere=anywhere) as url:
            say_ready(session, "router", f"the router answers at {url}", url=url)
            await asyncio.Event().wait()

    carry_out(main())


router.add_command(router_run, "run")


@asynccontextmanager
async def _router(agent: "AgentClient", host: str, port: int, *, anywhere: bool = False) -> AsyncIterator[str]:
    from wave.agent.client import FactsFeed
    from wave.bus.router import Router
    from wave.bus.websocket import serving

    def refused(message: "Message | None", error: WaveError) -> None:
        warn_refused("router: a message", message, error)

    carrying = Router(FactsFeed(agent).facts, clock=time.time, draw=os.urandom, refused=refused)
    async with serving(carrying, host=host, port=port, anywhere=anywhere) as url:
        yield url


# Devices -----------------------------------------------------------------------------------------------------------


@click.group()
def device() -> None:
    """Run a simulated device, or a controller, as a process with an entity of its own."""


@verb
@secret_options
@router_option
@click.option("--namespace", type=ENTITY, metavar="ENTITY", help="The home that the device belongs to.")
@click.option("--also", metavar="PATH", help="Answer at PATH/control and PATH/report too.")
@click.option("--rule", metavar="RULE", help="For a controller: mirror, occupied or cloudy.")
@click.option("--on", "sources", multiple=True, metavar="NAME=NS/RESOURCE", help="For a controller: what it hears.")
@click.option("--to", "target", metavar="NS/RESOURCE", help="For a controller: what it commands.")
@click.option("--log", type=FILE, metavar="FILE", help="The decision log. Default: INSTANCE.log in WAVE_HOME/logs.")
@click.argument("kind")
@click.argument("instance")
def device_run(  # noqa: PLR0917 - one argument an option
    session: Session,
    signer: str | None,
    passphrase_file: str | None,
    url: str,
    namespace: str | None,
    also: str | None,
    rule: str | None,
    sources: tuple[str, ...],
    target: str | None,
    log: str | None,
    kind: str,
    instance: str,
) -> None:
    """Run a device until it is stopped.

    KIND is light, switch, motion, thermostat, notifier or controller, INSTANCE its name in the home. Every command is
    checked before anything changes; who did what, and who was refused, is printed a line each. A device needs
    'subscribe@NS/s.KIND/INSTANCE/+/slot/+' and 'publish@NS/s.KIND/INSTANCE/+/signal/+'; a controller needs 'subscribe'
    on what it hears and 'publish' on what it commands.
    """
    from cli import reference

    secret = reference.secret(session, signer, passphrase_file)

    async def main() -> None:
        from devices.controller import RULES, Place
        from devices.log import also_to
        from devices.plan import address, name
        from devices.site import Site

        name(instance, "INSTANCE")
        tell = also_to(_log(session, instance, log), _teller(session))
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(agent_of(session))
            site = Site.of(agent, url, time.time)

            async def place(text: str) -> Place:
                written = address(text)
                return Place(await resolve(session, agent, written.namespace), written.resource)

            if kind == "controller":
                if rule is None or rule not in RULES or target is None or not sources:
                    raise BadRequest("a controller needs --rule, --on and --to", hint=f"rules: {', '.join(RULES)}")
                pairs = [one.partition("=") for one in sources]
                heard = {key: await place(text) for key, _, text in pairs}
                acting = site.controller(instance, secret, heard, await place(target), RULES[rule], tell=tell)
                actor: Any = await stack.enter_async_context(acting)
            else:
                if namespace is None:
                    raise BadRequest("the home is not said", hint="name it with --namespace")
                home_id = await resolve(session, agent, namespace)
                running = site.device(kind, instance, secret, home_id, tell=tell, also=also)
                actor = await stack.enter_async_context(running)
            try:
                async with asyncio.timeout(_SLOW):
                    await actor.ready.wait()
            except TimeoutError:
                ui.say(f"{instance} waits for the router at {url}, and for the rights that --help names")
                await actor.ready.wait()
            say_ready(session, kind, f"the {kind} {instance} is there", name=instance)
            await asyncio.Event().wait()

    carry_out(main())


device.add_command(device_run, "run")


def _log(session: Session, instance: str, file: str | None) -> "DecisionLog":
    from devices.log import DecisionLog

    if file is not None:
        return DecisionLog(Path(file))
    directory = session.settings.home / "logs"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return DecisionLog(directory / f"{instance}.log")


def _teller(session: Session) -> Any:
    def tell(entry: "Entry") -> None:
        if session.json:
            print_line(entry.to_json())
        else:
            ui.out(ui.plain(entry))
            ui.flush()

    return tell


# The home ----------------------------------------------------------------------------------------------------------


@click.group()
def home() -> None:
    """Run a whole simulated home."""


@verb
@secret_options
@click.option("--processes", is_flag=True, help="Run each device as a process of its own.")
@click.option("--router", "url", envvar="WAVE_ROUTER", metavar="URL", help="Use this router rather than the file's.")
@click.argument("file", type=FILE, metavar="HOME.toml")
def home_run(  # noqa: PLR0917 - one argument an option
    session: Session, signer: str | None, passphrase_file: str | None, processes: bool, url: str | None, file: str
) -> None:
    """Run the home in HOME.toml until it is stopped.

    The home's own secret (--from, or the name in the file) gives each device an entity and the rights to its own
    resources, once; both are kept in WAVE_HOME/homes. A router is run too unless the file names one.
    """
    from cli import reference
    from devices.plan import HomePlan
    from wave.entities.keyring import read_file

    try:
        plan = HomePlan.parse(read_file(Path(file)).decode("utf-8"))
    except UnicodeDecodeError:
        raise BadSetting(f"{file} is not UTF-8 text") from None
    owner = reference.secret(session, signer or plan.namespace, passphrase_file)

    async def main() -> None:
        from devices.home import Home
        from wave.codec import id_text
        from wave.limits import LIMITS

        directory = session.settings.home / "homes" / id_text(owner.id)[:8]
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(agent_of(session))
            found = Home(plan, owner, directory, agent=agent, draw=os.urandom, keyring=session.settings.keyring)
            with ui.waiting("giving each device its key and its rights"):
                members, taken_back = await found.provision(int(time.time()))
            for error in taken_back:
                ui.warn(error.message, error.hint)
            at = url or plan.router
            if at is None:
                port = 4410 if plan.port is None else plan.port
                try:
                    at = await stack.enter_async_context(_router(agent, "127.0.0.1", port))
                except PortInUse as error:
                    hint = f"is that a router? then use it with --router ws://127.0.0.1:{port}/v1/bus"
                    raise PortInUse(error.message, hint=hint) from None
            renewing = asyncio.create_task(found.renew_always(time.time, _warn))
            stack.callback(renewing.cancel)
            assert len(members) <= LIMITS.connections
            run = _in_processes if processes else _in_one_process
            names = await stack.enter_async_context(run(session, agent, found, members, at))
            told = f"the home is there, by the router at {at}: {', '.join(names)}"
            say_ready(session, "home", told, namespace=id_text(owner.id), router=at, actors=names)
            await asyncio.Event().wait()

    carry_out(main())


home.add_command(home_run, "run")


@asynccontextmanager
async def _in_one_process(
    session: Session, agent: "AgentClient", found: "Home", members: "tuple[Member, ...]", url: str
) -> AsyncIterator[list[str]]:
    from devices.site import Site, all_ready

    async def find(text: str) -> bytes:
        return await resolve(session, agent, text)

    site = Site.of(agent, url, time.time)
    async with found.running(members, site, resolve=find, tell=_teller(session)) as actors:
        if not await all_ready(*actors, patience=_PATIENCE):
            ui.warn("some of the home's actors are not ready", "their rights may be missing; see what they say")
        yield [member.name for member in members]


@asynccontextmanager
async def _in_processes(
    session: Session, agent: "AgentClient", found: "Home", members: "tuple[Member, ...]", url: str
) -> AsyncIterator[list[str]]:
    """Run each member as a child that prints for itself; stop them in reverse order."""
    from devices.plan import DevicePlan
    from wave.codec import id_text

    async def full(place: "Address") -> str:
        own = place.namespace == found.plan.namespace
        namespace = found.owner.id if own else await resolve(session, agent, place.namespace)
        return f"{id_text(namespace)}/{place.resource}"

    waiting = {member.name for member in members}
    ready = asyncio.Event()
    async with AsyncExitStack() as stack:
        for member in members:
            base = found.directory / member.name
            words = ["--from", f"{base}.ent", "--log", f"{base}.log", "--router", url]
            words += ["--json"] if session.json else []
            if isinstance(member.plan, DevicePlan):
                words += ["--namespace", id_text(found.owner.id), member.plan.kind, member.name]
                words += ["--also", member.plan.also] if member.plan.also else []
            else:
                for key, source in member.plan.sources:
                    words += ["--on", f"{key}={await full(source)}"]
                words += ["--rule", member.plan.rule, "--to", await full(member.plan.target), "controller", member.name]
            child = await stack.enter_async_context(_child(words))
            watch = asyncio.create_task(_watch(child, member.name, waiting, ready))
            stack.callback(watch.cancel)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await ready.wait()
        if waiting:
            ui.warn(f"not ready: {', '.join(sorted(waiting))}", "their rights may be missing; see what they say")
        yield [member.name for member in members]


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


async def _watch(child: asyncio.subprocess.Process, name: str, waiting: set[str], ready: asyncio.Event) -> None:
    """Pass on what a child prints, its word that it is ready aside, and say when it ends."""
    assert child.stdout is not None
    async for line in child.stdout:
        if line.startswith(b'{"ready":'):
            waiting.discard(name)
            if not waiting:
                ready.set()
        else:
            ui.out(line.decode("utf-8", "replace").rstrip("\n"))
            ui.flush()
    status = await child.wait()
    await asyncio.sleep(_ENDING)
    ui.warn(f"{name} has ended with status {status}")


def _warn(error: WaveError) -> None:
    ui.warn(error.message, error.hint)
