"""``home assistant``: a home's devices in Home Assistant, by way of the MQTT broker that it listens to."""

import asyncio
import os
import shlex
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cli import ui
from cli.options import ENTITY, FILE, verb
from cli.running import agent_of, carry_out, print_line, resolve, router_option, say_ready
from cli.session import Session
from wave.errors import BadSetting, WaveError

if TYPE_CHECKING:
    from devices.homeassistant.discovery import Named
    from devices.log import Entry, Tell

_OWNER: Final = "SECRET-FILE-OF-THE-HOME.ent"
_SLOW: Final = 3.0  # seconds until a bridge that is not ready says what it waits for


@verb
@router_option
@click.option("--as", "signer", type=FILE, required=True, metavar="ENTITY", help="The bridge's own secret file.")
@click.option("--passphrase-file", type=FILE, metavar="FILE", help="Read the passphrase from FILE.")
@click.option("--namespace", type=ENTITY, required=True, metavar="ENTITY", help="The home that is shown.")
@click.option("--broker", metavar="URL", help="Home Assistant's broker: mqtt://HOST[:PORT] or mqtts://….")
@click.option("--credentials", type=FILE, metavar="FILE", help="The broker's user name and password: two lines.")
@click.option("--home", "plan", type=FILE, metavar="HOME.toml", help="Show the devices of this file, and no others.")
@click.option("--prefix", default="homeassistant", show_default=True, help="Home Assistant's discovery prefix.")
@click.option(
    "--log", type=FILE, metavar="FILE", help="The decision log. Default: homeassistant.log in WAVE_HOME/logs."
)
@click.option("--grants", is_flag=True, help="Print the grants that the bridge needs, and end.")
@click.option("--remove", is_flag=True, help="Have Home Assistant forget what this bridge announced, and end.")
def home_assistant(  # noqa: PLR0917 - one argument an option
    session: Session,
    url: str | None,
    signer: str,
    passphrase_file: str | None,
    namespace: str,
    broker: str | None,
    credentials: str | None,
    plan: str | None,
    prefix: str,
    log: str | None,
    grants: bool,
    remove: bool,
) -> None:
    """Show a home's devices in Home Assistant, and pass its commands on, until stopped.

    Commands act with the right of the bridge's entity (--as) and no other, so its grants say what Home Assistant, and
    whoever else can write to its broker, may do in the home. --grants prints them, one 'wave grant' line each: leave
    out what Home Assistant shall not do, or bound it, for example with --where 'set_point 66..74'. What is refused
    shows in Home Assistant too, as the bridge's sensor "Last refusal".

    Without --home, devices are shown once their first state is kept by the router; one that is gone for a day is
    deleted from Home Assistant. The broker's password is read from a file of mode 0600, never from the command line.
    """
    from cli import reference

    devices = None if plan is None else _devices(Path(plan))
    if grants:
        _print_grants(session, signer, namespace, devices)
        return
    if broker is None:
        raise click.UsageError("--broker is missing")
    from wave.bus.mqtt_line import Broker

    at = Broker.parse(broker)
    secret = reference.secret(session, signer, passphrase_file)

    async def main() -> None:
        from devices.homeassistant.board import read_account, withdraw
        from devices.homeassistant.bridge import Bridge
        from devices.homeassistant.discovery import Layout
        from devices.site import Site, running, stopping

        account = None if credentials is None else read_account(Path(credentials))
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(agent_of(session))
            home = await resolve(session, agent, namespace)
            if remove:
                gone = await withdraw(at, account, Layout(secret.id, home, prefix))
                ui.show({"removed": list(gone)}, [f"removed: {one}" for one in gone], as_json=session.json)
                return
            site = Site.of(agent, url, time.time, state=session.settings.home / "bridges")
            bus = await stack.enter_async_context(site.own(secret))
            bridge = Bridge(
                Path(signer).stem,
                bus,
                home,
                at,
                clock=site.clock,
                tell=_tell(session, log),
                names=site.names,
                account=account,
                plan=devices,
                prefix=prefix,
            )
            await stack.enter_async_context(running(bridge))
            await stack.enter_async_context(stopping(bridge))
            try:
                async with asyncio.timeout(_SLOW):
                    await bridge.ready.wait()
            except TimeoutError:
                ui.say(f"waiting for the broker at {broker}, for the router, and for the rights that --grants prints")
                await bridge.ready.wait()
            shown = [one.path for one in bridge.devices]
            told = f"Home Assistant can see {', '.join(shown) or 'the bridge, and devices when they come'}"
            say_ready(session, "homeassistant", told, broker=at.url, devices=shown)
            await asyncio.Event().wait()

    carry_out(main())


def _devices(file: Path) -> "tuple[Named, ...]":
    """Return the devices of a HOME.toml that Home Assistant can show; the others are told of."""
    from devices.homeassistant.discovery import Named
    from devices.homeassistant.faces import FACES
    from devices.plan import HomePlan
    from wave.entities.keyring import read_file

    try:
        plan = HomePlan.parse(read_file(file).decode("utf-8"), base=file.parent)
    except UnicodeDecodeError:
        raise BadSetting(f"{file} is not UTF-8 text") from None
    for one in plan.devices:
        if one.kind not in FACES:
            ui.warn(f"{one.instance} is not shown: Home Assistant knows no {one.kind}")
    return tuple(Named(one.kind, one.instance) for one in plan.devices if one.kind in FACES)


def _print_grants(session: Session, signer: str, namespace: str, devices: "tuple[Named, ...] | None") -> None:
    from devices.homeassistant.discovery import grants

    owner = _secret_of(session, namespace)
    written = str(Path(namespace).absolute()) if os.sep in namespace else namespace
    rights = grants(written, devices)
    lines = [shlex.join(["wave", "grant", "--from", owner or _OWNER, "--to", signer, right]) for right in rights]
    ui.show({"grants": list(rights)}, lines, as_json=session.json)
    if owner is None:
        ui.say(f"the secret file of {namespace} is not here: put its path where {_OWNER} stands, or pass this on")


def _secret_of(session: Session, namespace: str) -> str | None:
    """Return what names, for --from, the secret file of a namespace that stands here or in the keyring, if one does."""
    from cli import reference
    from wave.entities.keyring import SECRET_SUFFIX, read_entity

    named = Path(namespace).with_suffix(SECRET_SUFFIX)
    try:
        wanted = reference.entity(session, namespace).id
    except WaveError:
        return str(named) if named.is_file() else None
    here, kept = Path().glob(f"*{SECRET_SUFFIX}"), session.settings.keyring.directory.glob(f"*{SECRET_SUFFIX}")
    for path in (named, *sorted(here), *sorted(kept)):
        with suppress(WaveError):
            if read_entity(path).id == wanted:
                return str(path)
    return None


def _tell(session: Session, log: str | None) -> "Tell":
    from devices.log import DecisionLog, also_to

    directory = session.settings.home / "logs"
    if log is None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def tell(entry: "Entry") -> None:
        if session.json:
            print_line(entry.to_json())
        else:
            ui.out(ui.plain(entry))
            ui.flush()

    return also_to(DecisionLog(directory / "homeassistant.log" if log is None else Path(log)), tell)
