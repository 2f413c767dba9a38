"""Messages and devices: ``publish``, ``subscribe``, ``router run``, ``device run`` and ``home run``."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli import ui
from cli.options import ENTITY, FILE, secret_options, verb
from cli.session import Session
from wave.errors import BadRequest, BadSetting, MissingFile, WaveError

if TYPE_CHECKING:
    from devices.home import Home, Member
    from devices.log import Entry
    from devices.plan import Address
    from devices.site import Site
    from wave.agent.client import AgentClient
    from wave.bus.message import Message
    from wave.bus.peer import Received

ROUTER: Final = "ws://127.0.0.1:4410/v1/bus"
_PATIENCE: Final = 30.0
_STOPPING: Final = 10.0

router_option = click.option(
    "--router", "url", envvar="WAVE_ROUTER", default=ROUTER, show_default=True, metavar="URL", help="The router to use."
)


# Running -----------------------------------------------------------------------------------------------------------


def _carry_out(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` to its end, or until SIGINT or SIGTERM, when everything that it opened is closed in order."""

    async def supervised() -> None:
        task = asyncio.ensure_future(main)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    try:
        asyncio.run(supervised())
    except* WaveError as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[WaveError]) -> WaveError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, WaveError)
    return found


def _line(value: dict[str, Any]) -> None:
    """Print one JSON object on one line, at once."""
    ui.out(json.dumps(value, separators=(",", ":"), ensure_ascii=True, default=str))
    ui.flush()


def _ready(what: str, **more: Any) -> None:
    _line({"ready": what, **more, "pid": os.getpid()})


@asynccontextmanager
async def _agent(session: Session) -> AsyncIterator["AgentClient"]:
    """Give the agent that runs; with none, this process is the agent of its WAVE_HOME for as long as it runs."""
    from wave.agent.client import AgentClient, BlockingClient

    settings = session.settings
    async with AsyncExitStack() as stack:
        address = settings.agent or str(settings.socket)
        if settings.agent is None and not BlockingClient(address).answers():
            from wave.agent.server import serving

            address = await stack.enter_async_context(serving(settings))
        yield await stack.enter_async_context(AgentClient(address, token=_token(session)))


def _token(session: Session) -> str | None:
    from wave.entities.keyring import read_text

    if session.settings.agent is None or not session.settings.agent.startswith("http"):
        return None
    with contextlib.suppress(MissingFile):
        return read_text(session.settings.token_file).strip()
    return None


async def _resolve(session: Session, agent: "AgentClient", text: str) -> bytes:
    """Return the id that a name, file or id stands for, without opening an agent of one's own."""
    from cli.reference import is_file
    from wave.agent.wire import Resolve, identity
    from wave.codec import parse_id
    from wave.entities.keyring import read_entity

    found = parse_id(text)
    if found is not None:
        return found
    path = Path(text) if is_file(text) else session.settings.keyring.find(text)
    if path is not None:
        return read_entity(path).id
    return identity((await agent.call(Resolve(name=text))).id)


# Messages ----------------------------------------------------------------------------------------------------------


@verb
@secret_options
@router_option
@click.option("--type", "content_type", default="application/json", show_default=True, help="The payload's media type.")
@click.argument("where", metavar="NS/RESOURCE")
@click.argument("payload", required=False)
def publish(  # noqa: PLR0917 - one argument an option
    session: Session,
    signer: str | None,
    passphrase_file: str | None,
    url: str,
    content_type: str,
    where: str,
    payload: str | None,
) -> None:
    """Publish a message, signed and with its proof, and say to how many it went.

    PAYLOAD is JSON, such as '{"state": "on"}'; '-' or none reads it from standard input.
    """
    from cli import reference

    secret = reference.secret(session, signer, passphrase_file)
    data = sys.stdin.buffer.read() if payload in (None, "-") else str(payload).encode("utf-8", "surrogateescape")
    if content_type == "application/json":
        from wave.bus.values import read_json

        read_json(data)
    found: list[int] = []

    async def main() -> None:
        from devices.plan import address
        from devices.site import Site

        place = address(where)
        async with _agent(session) as agent:
            namespace = await _resolve(session, agent, place.namespace)
            async with Site.of(agent, url, time.time).peer(secret) as peer:
                found.append(await peer.publish(namespace, place.resource, data, content_type=content_type))

    _carry_out(main())
    for delivered in found:
        text = f"delivered to {delivered} connection" + ("" if delivered == 1 else "s")
        ui.show({"delivered": delivered}, [text], as_json=session.json)


@verb
@secret_options
@router_option
@click.option("-n", "--count", type=click.IntRange(1), help="End after so many messages.")
@click.argument("where", metavar="NS/PATTERN")
def subscribe(  # noqa: PLR0917 - one argument an option
    session: Session, signer: str | None, passphrase_file: str | None, url: str, count: int | None, where: str
) -> None:
    """Print messages as they come, one line each, once the right of their sender has been checked here.

    Ends when it is stopped, when the right to read ends, or after --count messages.
    """
    from cli import reference
    from wave.namespace.grant import parse_grant

    secret = reference.secret(session, signer, passphrase_file)
    place = parse_grant(f"subscribe@{where}")

    def refused(message: "Message | None", error: WaveError) -> None:
        _warn_refused("a message", message, error)

    async def main() -> None:
        from devices.site import Site

        left = count
        async with _agent(session) as agent:
            namespace = await _resolve(session, agent, place.namespace)
            site = Site.of(agent, url, time.time)
            async with site.peer(secret) as peer:
                reading = await peer.subscribe(namespace, str(place.pattern), refused=refused)
                ui.say(f"listening to {where}; stop it with Ctrl-C")
                async for received in reading:
                    await _show(session, site, received)
                    left = None if left is None else left - 1
                    if left == 0:
                        return

    _carry_out(main())


def _warn_refused(what: str, message: "Message | None", error: WaveError) -> None:
    from wave.dots.rules import short

    where = f" ({message.permission} on {message.resource}, by {short(message.sender)})" if message else ""
    decision = f" [{error.decision}]" if error.decision else ""
    ui.warn(f"{what} was refused{where}: {error.message} ({error.code}){decision}")


async def _show(session: Session, site: "Site", received: "Received") -> None:
    from wave.codec import id_text

    message = received.message
    sender = id_text(message.sender)
    name = (await site.names()).get(sender, sender[:8])
    if not session.json:
        text = message.payload.decode("utf-8", "backslashreplace")
        ui.out(f"{ui.plain(message.resource)}  {ui.plain(name)}  {ui.plain(text)}")
        ui.flush()
        return
    _line(
        {
            "time": message.created,
            "sender": sender,
            "name": name,
            "namespace": id_text(message.namespace),
            "resource": str(message.resource),
            "type": message.content_type,
            "payload": message.payload.decode("utf-8", "backslashreplace"),
            "message": id_text(message.id),
            "decision": received.decision,
            "until": received.grant.until,
        }
    )


# The router --------------------------------------------------------------------------------------------------------


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
        async with _agent(session) as agent, _router(agent, host, port, anywhere=anywhere) as url:
            _ready("router", url=url)
            await asyncio.Event().wait()

    _carry_out(main())


router.add_command(router_run, "run")


@asynccontextmanager
async def _router(agent: "AgentClient", host: str, port: int, *, anywhere: bool = False) -> AsyncIterator[str]:
    from wave.agent.client import FactsFeed
    from wave.bus.router import Router
    from wave.bus.websocket import serving

    def refused(message: "Message | None", error: WaveError) -> None:
        _warn_refused("router: a message", message, error)

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
    kind: str,
    instance: str,
) -> None:
    """Run a device until it is stopped.

    KIND is light, switch, motion, thermostat, notifier or controller, INSTANCE its name in the home. Every command is
    checked before anything changes; who did what, and who was refused, is printed a line each.
    """
    from cli import reference

    secret = reference.secret(session, signer, passphrase_file)

    async def main() -> None:
        from devices.controller import RULES, Place
        from devices.plan import address, name
        from devices.site import Site

        name(instance, "INSTANCE")
        tell = _teller(session)
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(_agent(session))
            site = Site.of(agent, url, time.time)

            async def place(text: str) -> Place:
                written = address(text)
                return Place(await _resolve(session, agent, written.namespace), written.resource)

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
                home_id = await _resolve(session, agent, namespace)
                running = site.device(kind, instance, secret, home_id, tell=tell, also=also)
                actor = await stack.enter_async_context(running)
            await actor.ready.wait()
            _ready(kind, name=instance)
            await asyncio.Event().wait()

    _carry_out(main())


device.add_command(device_run, "run")


def _teller(session: Session) -> Any:
    def tell(entry: "Entry") -> None:
        if session.json:
            _line(entry.to_json())
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
            agent = await stack.enter_async_context(_agent(session))
            found = Home(plan, owner, directory, agent=agent, draw=os.urandom, keyring=session.settings.keyring)
            members, taken_back = await found.provision(int(time.time()))
            for error in taken_back:
                ui.warn(error.message, error.hint)
            at = url or plan.router
            if at is None:
                port = 4410 if plan.port is None else plan.port
                at = await stack.enter_async_context(_router(agent, "127.0.0.1", port))
            renewing = asyncio.create_task(found.renew_always(time.time))
            stack.callback(renewing.cancel)
            assert len(members) <= LIMITS.connections
            run = _in_processes if processes else _in_one_process
            names = await stack.enter_async_context(run(session, agent, found, members, at))
            _ready("home", namespace=id_text(owner.id), router=at, actors=names)
            await asyncio.Event().wait()

    _carry_out(main())


home.add_command(home_run, "run")


@asynccontextmanager
async def _in_one_process(
    session: Session, agent: "AgentClient", found: "Home", members: "tuple[Member, ...]", url: str
) -> AsyncIterator[list[str]]:
    from devices.site import Site, all_ready

    async def resolve(text: str) -> bytes:
        return await _resolve(session, agent, text)

    site = Site.of(agent, url, time.time)
    async with found.running(members, site, resolve=resolve, tell=_teller(session)) as actors:
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
        namespace = found.owner.id if own else await _resolve(session, agent, place.namespace)
        return f"{id_text(namespace)}/{place.resource}"

    children: list[asyncio.subprocess.Process] = []
    try:
        for member in members:
            words = ["--from", str(found.directory / f"{member.name}.ent"), "--router", url]
            if session.json:
                words.append("--json")
            if isinstance(member.plan, DevicePlan):
                words += ["--namespace", id_text(found.owner.id), member.plan.kind, member.name]
                words += ["--also", member.plan.also] if member.plan.also else []
            else:
                for key, source in member.plan.sources:
                    words += ["--on", f"{key}={await full(source)}"]
                words += ["--rule", member.plan.rule, "--to", await full(member.plan.target), "controller", member.name]
            command = [sys.executable, "-m", "cli.main", "device", "run", *words]
            children.append(await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL))
        yield [member.name for member in members]
    finally:
        for child in reversed(children):
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.terminate()
                try:
                    await asyncio.wait_for(child.wait(), _STOPPING)
                except TimeoutError:
                    child.kill()
                    await child.wait()
