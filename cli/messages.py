"""Messages: ``publish`` and ``subscribe``."""

import time
from typing import TYPE_CHECKING, Final

import click

from cli import ui
from cli.options import secret_options, verb
from cli.running import agent_of, carry_out, print_line, resolve, router_option, warn_refused
from cli.session import Session
from wave.errors import BadPayload, WaveError

if TYPE_CHECKING:
    from devices.site import Site
    from wave.bus.message import Message
    from wave.bus.reading import Received

_PATIENCE: Final = 3.0  # seconds for the router to be there


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
    data = reference.from_stdin() if payload in (None, "-") else str(payload).encode("utf-8", "surrogateescape")
    if content_type == "application/json":
        from wave.bus.values import read_json

        try:
            read_json(data)
        except BadPayload as error:
            hint = error.hint or """write it as JSON, quoted for the shell: '{"state": "on"}', '"on"' or 40"""
            raise BadPayload(error.message, hint=hint) from None
    found: list[int] = []

    async def main() -> None:
        from devices.plan import address
        from devices.site import Site

        place = address(where)
        async with agent_of(session) as agent:
            namespace = await resolve(session, agent, place.namespace)
            async with Site.of(agent, url, time.time).peer(secret, patience=_PATIENCE) as peer:
                found.append(await peer.publish(namespace, place.resource, data, content_type=content_type))

    carry_out(main())
    for delivered in found:
        text = f"delivered to {delivered} connection" + ("" if delivered == 1 else "s")
        ui.show({"delivered": delivered}, [text], as_json=session.json)
        if not delivered and not session.json:
            ui.say(f"nobody listens to {where} now")


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
        warn_refused("a message", message, error)

    async def main() -> None:
        from devices.site import Site

        left = count
        async with agent_of(session) as agent:
            namespace = await resolve(session, agent, place.namespace)
            site = Site.of(agent, url, time.time)
            async with site.peer(secret, patience=_PATIENCE) as peer:
                reading = await peer.subscribe(namespace, str(place.pattern), refused=refused)
                ui.say(f"listening to {where}; stop it with Ctrl-C")
                async for received in reading:
                    await _show(session, site, received)
                    left = None if left is None else left - 1
                    if left == 0:
                        return

    carry_out(main())


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
    print_line(
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
