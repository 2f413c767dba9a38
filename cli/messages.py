"""Messages: ``publish`` and ``subscribe``, and ``query`` and ``list`` for what is kept of them."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from cli import ui
from cli.options import FILE, secret_options, verb
from cli.running import agent_of, bus_of, carry_out, print_line, resolve, router_option, warn_refused
from cli.session import Session
from wave.errors import BadPayload, Refused, RouterUnavailable, WaveError

if TYPE_CHECKING:
    from wave.agent.client import AgentClient
    from wave.bus.message import Accepted, Message
    from wave.bus.port import Bus
    from wave.bus.reading import Reading
    from wave.entities.entity import EntitySecret
    from wave.namespace.pattern import Pattern

F = TypeVar("F", bound=Callable[..., Any])

_PATIENCE: Final = 3.0  # seconds for the router to be there
_NAMES_KEPT: Final = 5  # seconds
_SLOT: Final = re.compile(r"(s\.[^/]+/[^/]+)/i\.[^/]+/slot/[^/]+")
_DENIED: Final = "i.device/signal/denied"
_MOST: Final = 2**53
_LOOK_EVERY: Final = 0.25  # seconds between looks at a connection
_LONGEST_WAIT: Final = 60.0  # seconds
_MEDIA_TYPE: Final = re.compile(
    r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?: *; *[\w!#$&^.+-]+=(?:[\w!#$&^.+-]+|\"[^\"]*\"))*", re.ASCII
)


def reader_options(function: F) -> F:
    """Add ``--from``, also spelt ``--as``, and ``--passphrase-file``, for verbs that ask a router."""
    passphrase_file = click.option(
        "--passphrase-file", type=FILE, metavar="FILE", help="Read the passphrase from FILE; '-' is standard input."
    )
    reader = click.option(
        "--from", "--as", "signer", type=FILE, metavar="ENTITY", help="Who asks: a secret file. Default: WAVE_ENTITY."
    )
    return reader(passphrase_file(function))


@verb
@secret_options
@router_option
@click.option("--type", "content_type", default="application/json", show_default=True, help="The payload's media type.")
@click.option("--persist", is_flag=True, help="Have the router keep it as the resource's last value.")
@click.option(
    "--wait",
    type=click.FloatRange(0, _LONGEST_WAIT),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to listen for a device's refusal; 0: not.",
)
@click.argument("where", metavar="NS/RESOURCE")
@click.argument("payload", required=False)
def publish(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    url: str | None,
    content_type: str,
    persist: bool,
    wait: float,
    where: str,
    payload: str | None,
) -> None:
    """Publish a message, signed and with its proof, and say to how many it went.

    PAYLOAD is JSON, such as '{"state": "on"}'; '-' or none reads it from standard input. With --persist whoever
    queries or subscribes later gets it too. Needs 'publish@NS/RESOURCE'.

    A device that refuses a command says so at i.device/signal/denied, beside its slots. Whoever may subscribe there is
    told here, with status 1; for others, or when the device cannot say it, delivered is all that is known.
    """
    from cli import reference
    from wave.namespace.pattern import resource

    secret = reference.secret(session, signer, passphrase_file)
    data = reference.from_stdin() if payload in (None, "-") else str(payload).encode("utf-8", "surrogateescape")
    if _MEDIA_TYPE.fullmatch(content_type) is None:
        raise BadPayload(
            f"{content_type[:80]!r} is not a media type", hint="write it as type/subtype, such as text/plain"
        )
    if content_type == "application/json":
        _check_json(data)
    namespace, pattern = _place("publish", where)
    resource(str(pattern))
    device = _SLOT.fullmatch(str(pattern))

    async def main() -> None:
        async with _asked(session, secret, url, namespace) as (_, bus, place):
            denied = await _hear_denials(bus, place, device[1]) if device and wait else None
            delivered = await bus.publish(place, str(pattern), data, content_type=content_type, persist=persist)
            refusal = await _refusal(denied, secret.id, wait) if denied and delivered else None
        text = f"delivered to {delivered} connection" + ("" if delivered == 1 else "s")
        told = {} if refusal is None else {"refused": refusal}
        ui.show({"delivered": delivered, "persisted": persist, **told}, [text], as_json=session.json)
        if refusal is not None:
            if session.json:
                raise click.exceptions.Exit(Refused.exit_status)
            raise Refused(f"the device refused it: {refusal['detail']} ({refusal['code']})", hint=refusal["hint"])
        if not delivered and not session.json:
            ui.say(f"nobody listens to {where} now" + ("; it is kept there" if persist else ""))

    carry_out(main(), ends=True)


async def _hear_denials(bus: "Bus", place: bytes, device: str) -> "Reading | None":
    """Listen where a device says what it refuses, if one may; :class:`RouterUnavailable`."""
    try:
        async with asyncio.timeout(2 * _PATIENCE):
            return await bus.subscribe(place, f"{device}/{_DENIED}")
    except RouterUnavailable:
        raise
    except (TimeoutError, WaveError):
        return None


async def _refusal(denied: "Reading", sender: bytes, seconds: float) -> dict[str, str] | None:
    """Return the code, the reason and the hint with which the device refused what ``sender`` said, if it does soon."""
    from wave.bus.values import read_json
    from wave.codec import id_text

    try:
        async with asyncio.timeout(seconds):
            async for received in denied:
                try:
                    said = read_json(received.message.payload)
                except BadPayload:
                    continue
                if isinstance(said, dict) and said.get("sender") == id_text(sender):
                    return {name: str(said.get(name, "")) for name in ("code", "detail", "hint")}
    except (TimeoutError, WaveError):
        pass
    return None


def _check_json(data: bytes) -> None:
    from wave.bus.values import read_json

    try:
        read_json(data)
    except BadPayload as error:
        hint = error.hint or """write it as JSON, quoted for the shell: '{"state": "on"}', '"on"' or 40"""
        raise BadPayload(error.message, hint=hint) from None


@verb
@secret_options
@router_option
@click.option("-n", "--count", type=click.IntRange(1), help="End after so many messages.")
@click.option("--since", type=click.IntRange(0, _MOST), metavar="N", help="Begin after this serial, with what is kept.")
@click.option("--kept", is_flag=True, help="Begin with all that is kept, and with what was carried a moment ago.")
@click.argument("where", metavar="NS/PATTERN")
def subscribe(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    url: str | None,
    count: int | None,
    since: int | None,
    kept: bool,
    where: str,
) -> None:
    """Print messages as they come, one line each, once the right of their sender has been checked here.

    Ends when it is stopped, when the right to read ends, or after --count messages. With --json each tells its serial,
    after which --since goes on. Needs 'subscribe@NS/PATTERN'.
    """
    from cli import reference

    if kept and since is not None:
        raise click.UsageError("--since and --kept exclude each other")
    secret = reference.secret(session, signer, passphrase_file)
    namespace, pattern = _place("subscribe", where)

    async def main() -> None:
        left = count
        async with _asked(session, secret, url, namespace) as (agent, bus, place):
            reading = await bus.subscribe(place, str(pattern), refused=_refused, since=0 if kept else since)
            ui.say(f"listening to {where}; stop it with Ctrl-C")
            names, asked = await _names(agent), session.now()
            async with _watched(bus) as look:
                async for received in reading:
                    look()
                    if session.now() - asked > _NAMES_KEPT:
                        names, asked = await _names(agent), session.now()
                    _show(session, names, received)
                    left = None if left is None else left - 1
                    if left == 0:
                        return

    carry_out(main())


@verb
@reader_options
@router_option
@click.option("--last", type=click.IntRange(1, _MOST), default=1, show_default=True, help="How many of each resource.")
@click.argument("where", metavar="NS/PATTERN")
def query(  # noqa: PLR0917 - one argument an option
    session: Session, signer: str | None, passphrase_file: str | None, url: str | None, last: int, where: str
) -> None:
    """Print the newest kept messages of each resource, once the right of their sender has been checked here.

    Needs 'query@NS/PATTERN'.
    """
    from cli import reference

    secret = reference.secret(session, signer, passphrase_file)
    namespace, pattern = _place("query", where)

    async def main() -> None:
        async with _asked(session, secret, url, namespace) as (agent, bus, place):
            found = await bus.query(place, str(pattern), last=last)
            names = await _names(agent)
            if session.json:
                ui.document({"messages": [_document(names, one) for one in found]})
                return
            for one in found:
                _show(session, names, one)
            if not found:
                ui.say(f"nothing is kept at {where}")

    carry_out(main(), ends=True)


@verb
@reader_options
@router_option
@click.argument("where", metavar="NS/PATTERN")
def list_kept(session: Session, signer: str | None, passphrase_file: str | None, url: str | None, where: str) -> None:
    """List the resources that match and hold a kept message. Needs 'list@NS/PATTERN'."""
    from cli import reference

    secret = reference.secret(session, signer, passphrase_file)
    namespace, pattern = _place("list", where)

    async def main() -> None:
        async with _asked(session, secret, url, namespace) as (_, bus, place):
            found = await bus.list(place, str(pattern))
            ui.show({"resources": found}, [ui.plain(one) for one in found], as_json=session.json)
            if not found and not session.json:
                ui.say(f"nothing is kept at {where}")

    carry_out(main(), ends=True)


# What they share ---------------------------------------------------------------------------------------------------


def _place(permission: str, where: str) -> "tuple[str, Pattern]":
    """Return the namespace's name and the pattern in ``NS/PATTERN``; :class:`BadGrant`, :class:`BadPattern`."""
    from wave.namespace.grant import parse_grant

    found = parse_grant(f"{permission}@{where}")
    return found.namespace, found.pattern


@asynccontextmanager
async def _asked(
    session: Session, secret: "EntitySecret", url: str | None, namespace: str
) -> "AsyncIterator[tuple[AgentClient, Bus, bytes]]":
    """Give the agent, the bus and the namespace's id."""
    async with agent_of(session) as agent:
        place = await resolve(session, agent, namespace)
        async with bus_of(agent, secret, url, patience=_PATIENCE) as bus:
            yield agent, bus, place


@asynccontextmanager
async def _watched(bus: "Bus") -> AsyncIterator[Callable[[], None]]:
    """Say when the connection is lost, and when it is there again, while the body runs; give what looks at once."""
    before = True

    def look() -> None:
        nonlocal before
        if bus.connected != before:
            before = not before
            ui.say("connected again" if before else "connection lost, trying again")

    async def watch() -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            look()

    watching = asyncio.create_task(watch())
    try:
        yield look
    finally:
        watching.cancel()


def _refused(message: "Message | None", error: WaveError) -> None:
    warn_refused("a message", message, error)


async def _names(agent: "AgentClient") -> dict[str, str]:
    from wave.agent.wire import Names

    return (await agent.call(Names())).names


def _document(names: dict[str, str], received: "Accepted") -> dict[str, Any]:
    from wave.codec import id_text

    message = received.message
    sender = id_text(message.sender)
    return {
        "time": message.created,
        "sender": sender,
        "name": names.get(sender, sender[:8]),
        "namespace": id_text(message.namespace),
        "resource": str(message.resource),
        "type": message.content_type,
        "payload": message.payload.decode("utf-8", "backslashreplace"),
        "further": [
            {"type": one.content_type, "payload": one.data.decode("utf-8", "backslashreplace")}
            for one in message.payloads[1:]
        ],
        "serial": received.serial,
        "kept": received.kept,
        "message": id_text(message.id),
        "decision": received.decision,
        "until": received.grant.until,
    }


def _show(session: Session, names: dict[str, str], received: "Accepted") -> None:
    document = _document(names, received)
    if session.json:
        print_line(document)
        return
    ui.out("  ".join(ui.plain(document[part]) for part in ("resource", "name", "payload")))
    ui.flush()
