"""MQTT: ``mqtt broker`` starts Mosquitto locked, ``lock`` keeps its rules in step, ``hook`` answers EMQX."""

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import ui
from cli.options import ENTITY, FILE, verb
from cli.running import agent_of, carry_out, resolve, say_ready
from cli.session import Session

if TYPE_CHECKING:
    from wave.bus.emqx import Management


@click.group()
def mqtt() -> None:
    """Carry messages over an MQTT broker, and have the broker itself refuse who may not."""


@verb
@click.option("--port", type=click.IntRange(1, 65535), default=1883, show_default=True, help="The port on loopback.")
@click.option("--also", type=FILE, metavar="FILE", help="Lines of configuration for further listeners, such as TLS.")
@click.option("--plugin", type=FILE, metavar="FILE", help="Mosquitto's dynamic-security plugin, if it is elsewhere.")
@click.option("--write-only", is_flag=True, help="Write the files and start nothing.")
@click.argument("directory", type=FILE, metavar="DIR")
def mqtt_broker(
    session: Session, *, port: int, also: str | None, plugin: str | None, write_only: bool, directory: str
) -> None:
    """Start Mosquitto from files in DIR that let nobody in but the lock, and are written anew at every start.

    'wave mqtt lock DIR NAMESPACE' lets in whom the grants allow. While no lock runs, nobody may do anything.
    """
    import getpass

    from wave.bus.mosquitto import prepare
    from wave.entities.keyring import read_text
    from wave.errors import MissingFile

    place = Path(directory).absolute()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    more = "" if also is None else read_text(Path(also))
    configuration, _ = prepare(place, port, draw=os.urandom, plugin=plugin, user=getpass.getuser(), also=more)
    if write_only:
        ui.show({"configuration": str(configuration)}, [str(configuration)], as_json=session.json)
        return
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise MissingFile("mosquitto is not installed", hint="install it: apt install mosquitto")
    say_ready(session, "broker", f"Mosquitto starts on port {port}, locked", url=f"mqtt://127.0.0.1:{port}")
    ui.flush()
    os.execv(program, [program, "-c", str(configuration)])  # noqa: S606 - this process becomes the broker


mqtt.add_command(mqtt_broker, "broker")


@verb
@click.option("--port", type=click.IntRange(1, 65535), help="The broker's port. Default: the one it was started with.")
@click.option("--silence", type=click.IntRange(1, 600), metavar="SECONDS", default=10, show_default=True,
              help="The broker shuts 1.5 times so long after the last word of a lock that hangs.")  # fmt: skip
@click.argument("directory", type=FILE, metavar="DIR")
@click.argument("namespaces", nargs=-1, required=True, type=ENTITY, metavar="NAMESPACE...")
def mqtt_lock(session: Session, *, port: int | None, silence: int, directory: str, namespaces: tuple[str, ...]) -> None:
    """Keep the rules of the broker in DIR in step with the grants in these namespaces, until stopped.

    Each entity with a right becomes a client of the broker; its password is sealed to its key and left at the broker
    for it. Whose rights end is thrown out. When this process ends, hangs or cannot check, the broker refuses everybody.
    """

    async def main() -> None:
        from wave.agent.client import FactsFeed
        from wave.bus.dynsec import Lock, Setup
        from wave.bus.mosquitto import lock_account, port_of
        from wave.bus.mqtt_line import Broker
        from wave.bus.standing import AgentStanding
        from wave.codec import id_text
        from wave.entities.entity import EVERYBODY
        from wave.errors import UnknownEntity

        account = lock_account(Path(directory))
        url = f"mqtt://127.0.0.1:{port_of(Path(directory)) if port is None else port}"
        async with agent_of(session) as agent:
            found = tuple([await resolve(session, agent, one) for one in namespaces])
            if EVERYBODY in found:
                raise UnknownEntity("everybody is no namespace")
            lock = Lock(
                Setup(
                    Broker.parse(url),
                    account,
                    found,
                    standing=AgentStanding(agent),
                    facts=FactsFeed(agent).facts,
                    clock=time.time,
                    draw=os.urandom,
                    tell=ui.warn,
                    silence=silence,
                )
            )
            running = asyncio.create_task(lock.run())
            try:
                opened = asyncio.create_task(lock.open.wait())
                await asyncio.wait([running, opened], return_when=asyncio.FIRST_COMPLETED)
                opened.cancel()
                if not running.done():
                    names = [id_text(one) for one in found]
                    say_ready(session, "lock", f"the broker at {url} is locked", url=url, namespaces=names)
                await running
            finally:
                running.cancel()
                await asyncio.wait([running])

    carry_out(main())


mqtt.add_command(mqtt_lock, "lock")


@verb
@click.option("--name", default="broker", show_default=True, metavar="NAME", help="What signed logins call the broker.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=4412, show_default=True, help="The port; 0: any.")
@click.option("--anywhere", is_flag=True, help="Allow a host that is not this machine's own.")
@click.option("--emqx", "management", metavar="URL", help="EMQX's REST API, by which sessions are ended.")
@click.option("--key-file", type=FILE, metavar="FILE", help="An API key's name and secret, a line each, for --emqx.")
@click.option("--emqx-config", "configuration", is_flag=True, help="Print EMQX's part of the configuration, and end.")
@click.argument("namespaces", nargs=-1, type=ENTITY, metavar="NAMESPACE...")
def mqtt_hook(
    session: Session,
    *,
    name: str,
    host: str,
    port: int,
    anywhere: bool,
    management: str | None,
    key_file: str | None,
    configuration: bool,
    namespaces: tuple[str, ...],
) -> None:
    """Answer EMQX 5, which asks over HTTP who may connect and act, from the grants in these namespaces.

    Clients log in as mqtt://HOST?login=NAME says: their id, and a signed login in the place of a password. EMQX must be
    set up as --emqx-config prints, or what nobody answers would be allowed.
    """
    from wave.bus.emqx import Hook, emqx_config, serving

    if configuration:
        sys.stdout.write(emqx_config(f"http://{host}:{port}"))
        return
    if not namespaces:
        raise click.UsageError("name the namespaces that the broker carries")
    api = _management(management, key_file)

    async def main() -> None:
        from contextlib import closing

        from wave.agent.client import FactsFeed
        from wave.bus.marks import Marks
        from wave.bus.standing import AgentStanding
        from wave.chain.disk import disk_errors
        from wave.codec import sha256

        async with agent_of(session) as agent:
            found = tuple([await resolve(session, agent, one) for one in namespaces])
            place = session.settings.home / "hooks"
            with disk_errors(place):
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
            with closing(Marks(place / f"{sha256(name.encode()).hex()[:16]}.marks")) as marks:
                hook = Hook(
                    name, found, standing=AgentStanding(agent), facts=FactsFeed(agent).facts, clock=time.time,
                    management=api, marks=marks, tell=ui.warn,
                )  # fmt: skip
                async with serving(hook, host=host, port=port, anywhere=anywhere) as url:
                    say_ready(session, "hook", f"the hook answers at {url}", url=url)
                    await asyncio.Event().wait()

    carry_out(main())


mqtt.add_command(mqtt_hook, "hook")


def _management(url: str | None, key_file: str | None) -> "Management | None":
    from wave.bus.emqx import Management
    from wave.entities.keyring import read_text
    from wave.errors import BadSetting

    if url is None and key_file is None:
        return None
    if url is None or key_file is None or not url.startswith(("http://", "https://")):
        raise BadSetting("--emqx is an http:// or https:// URL, and goes with --key-file")
    lines = read_text(Path(key_file), private=True).split()
    if len(lines) != 2:
        raise BadSetting(f"{key_file} does not hold a key's name and its secret, a line each")
    return Management(url, lines[0], lines[1])
