"""The agent and what it says of itself: ``status`` and ``agent run``; and ``completion``."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from cli import ui
from cli.options import FILE, verb
from cli.service import metrics_option, service
from cli.session import Session


@verb
def status(session: Session) -> None:
    """Show the state of the agent and of the chain that it follows."""
    from wave.agent.wire import Status
    from wave.times import instant_text, span_text

    reply = session.call(Status())
    counts = reply.counts
    ui.show(
        reply,
        ui.fields(
            [
                ("agent", f"wave {reply.version}, process {reply.pid}"),
                ("home", reply.home),
                ("chain", f"{reply.chain}, id {reply.chain_id}"),
                ("registry", reply.registry),
                ("height", reply.height),
                ("confirmed", f"after {reply.confirmations} blocks" if reply.confirmations else ""),
                ("block", reply.block_hash),
                ("age", f"{span_text(reply.age)} (block of {instant_text(reply.block_time)})"),
                ("peers", reply.peers),
                ("entities", counts.entities),
                ("DoTs", counts.dots),
                ("names", counts.names),
                ("aliases", counts.aliases),
                ("revocations", counts.revocations),
                ("unreadable", counts.unreadable or ""),
                ("pending", f"{reply.pending} on the way to the chain" if reply.pending else ""),
                ("withheld", f"{reply.withheld} anchored batches that nobody gives" if reply.withheld else ""),
                ("publishes", "" if reply.own else "only when asked: the chain is not this home's own"),
            ]
        ),
        as_json=session.json,
    )
    if not session.json:
        for told in reply.disagreements:
            ui.warn(told, "answers rest on the other endpoints")


@click.group()
def agent() -> None:
    """Run the agent: a daemon that keeps a replica of the registry and answers this machine's programs."""


@verb
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Serve on this port of 127.0.0.1 (0: any) instead of the Unix socket."
)
@click.option("--promiser", type=FILE, metavar="ENTITY", help="Promise in this one's name that 'wave anchor' is done.")
@click.option("--passphrase-file", type=FILE, metavar="FILE", help="Read the promiser's passphrase from FILE.")
@metrics_option
def agent_run(
    session: Session, port: int | None, promiser: str | None, passphrase_file: str | None, metrics: str | None
) -> None:
    """Run until stopped. Commands that use the same WAVE_HOME find it by themselves.

    With --port they need WAVE_AGENT, set to the address that is printed, and it asks callers for the token in
    agent.token in WAVE_HOME.
    """
    from wave.agent import server
    from wave.agent.settings import DEVELOPMENT

    settings = session.settings
    promising = None
    if promiser is not None:
        from cli import reference

        promising = reference.secret(session, promiser, passphrase_file)
    known: str | None = None
    if settings.payer not in (None, DEVELOPMENT) and settings.passphrase_file is None and sys.stdin.isatty():
        known = ui.ask_passphrase(settings.payer or "")  # now: later nobody may be there

    @asynccontextmanager
    async def beside(address: str) -> AsyncIterator[None]:
        from devices.health import Part
        from wave.agent.client import AgentClient, FactsFeed

        well = {"agent": Part(connected=True, subscribed=True)}
        async with (
            AgentClient(address, token=None if port is None else server.token(settings)) as agent,
            service(session, "agent", metrics, facts=FactsFeed(agent).facts, parts=lambda: well),
        ):
            yield

    server.run(
        settings,
        port=port,
        ready=lambda address: tell_ready(session, "agent", address),
        passphrase=None if known is None else lambda _: known or "",
        promiser=promising,
        beside=beside,
    )


agent.add_command(agent_run, "run")


def tell_ready(session: Session, what: str, address: str) -> None:
    """Tell whoever started a daemon, by its address on stdout, that it answers."""
    if session.json:
        from cli.running import say_ready

        say_ready(session, what, "", address=address)
        return
    ui.out(address)
    ui.say(f"the {what} answers at {address}; stop it with Ctrl-C")
    ui.flush()


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    For bash, from the next shell on:

    \b
      mkdir -p ~/.local/share/bash-completion/completions
      wave completion bash >~/.local/share/bash-completion/completions/wave
    """  # noqa: D301 - click reads the character, not the two
    from click.shell_completion import get_completion_class

    from cli.main import wave

    kind = get_completion_class(shell)
    if kind is not None:
        ui.text_file(kind(wave, {}, "wave", "_WAVE_COMPLETE").source())
