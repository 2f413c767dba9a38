"""One device, or controller, as a daemon: ``device run``; and its systemd unit: ``device install``."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import click

from cli import ui
from cli.options import ENTITY, FILE, Kind, secret_options, verb
from cli.running import agent_of, carry_out, print_line, resolve, router_option, say_ready
from cli.service import metrics_option, places, service
from cli.session import Session
from wave.errors import BadRequest, BadSetting, EntityInUse, NotFound, Refused, WaveError

if TYPE_CHECKING:
    from devices.controller import Controller
    from devices.device import Device
    from devices.log import DecisionLog, Entry
    from devices.plan import DevicePlan
    from devices.units import Word
    from wave.agent.client import AgentClient

_Wanted: TypeAlias = tuple[bytes, str, str]  # a namespace, a permission, a pattern
_SLOW: Final = 3.0  # seconds until a device that is not ready says what it waits for
_CONTROLLER: Final = "controller"
_SECRETS: Final = Path("/etc/wave")

F = TypeVar("F", bound=Callable[..., Any])


def _device_options(function: F) -> F:
    """Add what says which device it is, for the verbs that run one and that write its unit."""
    options = [
        click.option("--namespace", type=ENTITY, metavar="ENTITY", help="The home that the device belongs to."),
        click.option("--also", metavar="PATH", help="Answer at PATH/control and PATH/report too."),
        click.option("--rule", metavar="RULE", help="For a controller: mirror, occupied, cloudy or thief."),
        click.option(
            "--on", "sources", multiple=True, metavar="NAME=NS/RESOURCE", help="For a controller: what it hears."
        ),
        click.option("--to", "target", metavar="NS/RESOURCE", help="For a controller: what it commands."),
        click.option("--seed", type=int, default=0, help="For a feed: which random walk it takes."),
        click.option("--file", type=FILE, metavar="FILE", help="For a feed: a file with the number to say."),
    ]
    for option in reversed(options):
        function = option(function)
    return metrics_option(function)


@click.group()
def device() -> None:
    """Run a simulated device, one of your own, or a controller, as a process with an entity of its own."""


@verb
@secret_options
@router_option
@_device_options
@click.option("--log", type=FILE, metavar="FILE", help="The decision log. Default: INSTANCE.log in the logs directory.")
@click.argument("kind", type=Kind())
@click.argument("instance")
def device_run(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    url: str | None,
    namespace: str | None,
    also: str | None,
    rule: str | None,
    sources: tuple[str, ...],
    target: str | None,
    seed: int,
    file: str | None,
    metrics: str | None,
    log: str | None,
    kind: str,
    instance: str,
) -> None:
    """Run a device until it is stopped.

    KIND is light, switch, motion, thermostat, notifier, feed or controller, or FILE.py:CLASS for a machine of your own;
    INSTANCE is its name in the home. Every command is checked before anything changes; who did what, and who was
    refused, is printed a line each. A device needs 'subscribe@NS/s.KIND/INSTANCE/+/slot/+' and
    'publish@NS/s.KIND/INSTANCE/+/signal/+', and 'subscribe@NS/s.KIND/INSTANCE/i.device/signal/presence' to notice
    another with its entity; a controller needs 'subscribe' on what it hears and 'publish' on what it commands.
    """
    from cli import reference

    secret = reference.secret(session, signer, passphrase_file)
    if kind != _CONTROLLER and file is not None:
        _read_once(Path(file))

    async def main() -> None:
        from devices.controller import RULES, Place
        from devices.health import Part
        from devices.log import also_to
        from devices.plan import DevicePlan, address, name
        from devices.site import Site

        name(instance, "INSTANCE")
        tell = also_to(decision_log(session, instance, log), teller(session))
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(agent_of(session))
            site = Site.of(agent, url, time.time, state=places(session).state)

            async def place(text: str) -> Place:
                written = address(text)
                return Place(await resolve(session, agent, written.namespace), written.resource)

            actor: Device[Any] | Controller
            wanted: list[_Wanted]
            what = kind
            if kind == _CONTROLLER:
                acts, commanded = _rule_and_target(rule, sources, target)
                pairs = [one.partition("=") for one in sources]
                heard = {key: await place(text) for key, _, text in pairs}
                aim = await place(commanded)
                acting = site.controller(instance, secret, heard, aim, RULES[acts], tell=tell)
                wanted = [(one.namespace, "subscribe", one.resource) for one in heard.values()]
                wanted.append((aim.namespace, "publish", aim.resource))
                actor = await stack.enter_async_context(acting)
            else:
                if namespace is None:
                    raise BadRequest("the home is not said", hint="name it with --namespace")
                plan = DevicePlan(kind, instance, also, seed, Path(file) if file is not None else None)
                machine = plan.machine()
                what = machine.kind
                home_id = await resolve(session, agent, namespace)
                wanted = [(home_id, permission, pattern) for permission, pattern in plan.rights()]
                running = site.device(machine, instance, secret, home_id, tell=tell, also=also)
                actor = await stack.enter_async_context(running)

            def parts() -> dict[str, Part]:
                return {instance: Part(actor.peer.connected, actor.subscribed, actor.subscriptions)}

            being = service(session, instance, metrics, facts=site.facts, parts=parts)
            await stack.enter_async_context(being)
            await _until_ready(actor, partial(_tell_missing, agent, actor, wanted, url))
            if not actor.displaced.is_set():
                say_ready(session, what, f"the {what} {instance} is there", name=instance)
            await actor.displaced.wait()
            raise EntityInUse(f"another device acts with the entity of {instance}")

    carry_out(main())


device.add_command(device_run, "run")


def _rule_and_target(rule: str | None, sources: tuple[str, ...], target: str | None) -> tuple[str, str]:
    """Return a controller's rule and what it commands; :class:`BadRequest` for what none can begin with."""
    from devices.controller import RULES

    known = f"there are {', '.join(RULES)}"
    if rule is None or target is None or not sources:
        raise BadRequest("a controller needs --rule, --on and --to", hint=f"of rules {known}")
    if rule not in RULES:
        raise BadRequest(f"there is no rule {rule[:40]!r}", hint=known)
    return rule, target


def _read_once(file: Path) -> None:
    """Raise :class:`BadSetting` for a feed's file that cannot be read, or holds no number, when the feed begins."""
    from devices.feed import FileFeed

    feed = FileFeed(file)
    try:
        feed.pass_time(feed.initial(0), 0)
    except WaveError as error:
        raise BadSetting(error.message, hint="it holds a number from 0 to 100, and whoever writes it begins") from None


async def _until_ready(actor: "Device[Any] | Controller", tell: Callable[[], Awaitable[None]]) -> None:
    """Wait until an actor is ready, or gives up; ``tell`` what it waits for when that takes long."""
    try:
        async with asyncio.timeout(_SLOW):
            await actor.ready.wait()
    except TimeoutError:
        try:
            await tell()
        except WaveError as error:
            ui.warn(f"{actor.name} waits: {error.message}", error.hint)
        await _either(actor.ready, actor.displaced)


async def _tell_missing(
    agent: "AgentClient", actor: "Device[Any] | Controller", wanted: "list[_Wanted]", url: str | None
) -> None:
    """Say what an actor that is not ready waits for: its router, or rights, with the line that grants them."""
    from wave.agent.wire import Ask, Names, Prove, Wanted
    from wave.codec import id_text

    whose = id_text(actor.peer.secret.id)
    names = (await agent.call(Names())).names
    missing: dict[str, list[str]] = {}
    for namespace, permission, pattern in wanted:
        place = names.get(id_text(namespace), id_text(namespace))
        statement = Wanted(permission=permission, pattern=pattern)
        try:
            await agent.call(Prove(ask=Ask(subject=whose, namespace=id_text(namespace), statements=(statement,))))
        except (Refused, NotFound):
            missing.setdefault(place, []).append(f"'{permission}@{place}/{pattern}'")
    name = names.get(whose, whose)
    for place, rights in missing.items():
        told = f"{actor.name} waits for rights: its entity {name} has no {', '.join(rights)}"
        ui.warn(told, f"{place} may sign: wave grant --from {place}.ent --to {name} {' '.join(rights)}")
    if not actor.peer.connected:
        hint = "" if url else "'wave router list NS' shows which one it should be, and where"
        ui.warn(f"{actor.name} waits for {url or 'the router of its namespace'}, which does not answer", hint)


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def decision_log(session: Session, instance: str, file: str | None) -> "DecisionLog":
    """Return the decision log in ``file``, or the one of an instance in the logs directory."""
    from devices.log import DecisionLog

    if file is not None:
        return DecisionLog(Path(file))
    directory = places(session).logs
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return DecisionLog(directory / f"{instance}.log")


def teller(session: Session) -> "Callable[[Entry], None]":
    """Return what prints entries as they come."""

    def tell(entry: "Entry") -> None:
        if session.json:
            print_line(entry.to_json())
        else:
            ui.out(ui.plain(entry))
            ui.flush()

    return tell


def device_words(plan: "DevicePlan", namespace: str) -> list[str]:
    """Return the words after ``wave device run`` for a device, its secret and its router aside."""
    words = ["--namespace", namespace]
    words += ["--also", plan.also] if plan.also else []
    words += ["--seed", str(plan.seed)] if plan.seed else []
    words += ["--file", str(plan.file)] if plan.file else []
    return [*words, plan.kind, plan.instance]


def controller_words(name: str, rule: str, sources: list[tuple[str, str]], target: str) -> list[str]:
    """Return the words after ``wave device run`` for a controller, its secret and its router aside."""
    heard = [word for key, place in sources for word in ("--on", f"{key}={place}")]
    return [*heard, "--rule", rule, "--to", target, _CONTROLLER, name]


# Units -------------------------------------------------------------------------------------------------------------


@verb
@secret_options
@router_option
@_device_options
@click.option("--systemd", is_flag=True, help="Print a unit for systemd, the one supervisor that is known.")
@click.option("--device", "hardware", multiple=True, metavar="NODE", help="Let it use a node such as /dev/gpiochip0.")
@click.argument("kind", type=Kind("agent", "router", "home"))
@click.argument("instance", required=False)
def device_install(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    url: str | None,
    namespace: str | None,
    also: str | None,
    rule: str | None,
    sources: tuple[str, ...],
    target: str | None,
    seed: int,
    file: str | None,
    metrics: str | None,
    systemd: bool,
    hardware: tuple[str, ...],
    kind: str,
    instance: str | None,
) -> None:
    """Print the systemd unit of a device, with the options of 'wave device run'; nothing is written anywhere.

    KIND may also be agent, router or home (whose INSTANCE is HOME.toml). The unit is shut in, runs as the user wave,
    leans on wave-agent.service and gets its secrets as credentials: --from and --passphrase-file name the files out of
    which systemd takes them. --from is /etc/wave/INSTANCE.ent by default. Without --metrics they are served on a
    socket in the unit's runtime directory. Names are looked up now and printed as ids: the unit knows no names.
    """
    if not systemd:
        raise click.UsageError("say for whom: --systemd")
    from cli import reference, unit
    from devices.plan import DevicePlan, name
    from devices.site import kind_of
    from devices.units import Credential, Runtime, Service

    known = None if signer is None else unit.secret_file(session, signer)
    words: list[Word]
    files: list[Path] = []
    if kind in ("agent", "router"):
        title = instance or kind
        entity = known
        words = [kind, "run"]
    elif instance is None:
        raise BadRequest("INSTANCE is missing")
    elif kind == "home":
        title = Path(instance).stem.lower()
        entity = known or _SECRETS / f"{title}.ent"
        words = [kind, "run", str(unit.whole_path(instance))]
        files += unit.home_files(session, unit.whole_path(instance))
    else:
        title = instance
        entity = known or _SECRETS / f"{title}.ent"
        words = ["device", "run"]
        if kind == _CONTROLLER:
            acts, commanded = _rule_and_target(rule, sources, target)
            pairs = [one.partition("=") for one in sources]
            heard = [(key, unit.full(session, place)) for key, _, place in pairs]
            words += controller_words(instance, acts, heard, unit.full(session, commanded))
        else:
            kind_of(kind)
            if namespace is None:
                raise BadRequest("the home is not said", hint="name it with --namespace")
            number = None if file is None else unit.whole_path(file)
            device_plan = DevicePlan(unit.own_kind(kind), instance, also, seed, number)
            files += unit.device_files(device_plan)
            words += device_words(device_plan, reference.entity(session, namespace).text)
    name(title, "INSTANCE")
    if entity is not None:
        signing = {"router": "--as", "agent": "--promiser"}.get(kind, "--from")
        words += [signing, Credential("entity", entity)]
        if passphrase_file is not None:
            words += ["--passphrase-file", Credential("passphrase", unit.whole_path(passphrase_file))]
    words += ["--router", url] if url is not None and kind not in ("agent", "router") else []
    words += ["--metrics", Runtime("metrics.sock") if metrics is None else metrics]
    program = _program()
    found = Service(
        title,
        f"WAVE {kind} {title}" if title != kind else f"WAVE {kind}",
        program,
        tuple(words),
        hardware=hardware,
        files=(*unit.program_files(program), *files),
    )
    unit.warn_of(found)
    ui.show({"unit": found.unit, "text": found.text()}, found.text().splitlines(), as_json=session.json)


device.add_command(device_install, "install")


def _program() -> tuple[str, ...]:
    """Return the command line that starts this program, whatever the directory."""
    beside = Path(sys.executable).with_name("wave")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("wave")
    return (found,) if found else (sys.executable, "-m", "cli.main")
