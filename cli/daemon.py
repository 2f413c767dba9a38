"""The daemons and what they say of themselves: ``status``, ``agent run``, ``chain run``; and ``completion``."""

from pathlib import Path

import click

from cli import ui
from cli.options import FILE, verb
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
                ("block", reply.block_hash),
                ("age", f"{span_text(reply.age)} (block of {instant_text(reply.block_time)})"),
                ("peers", reply.peers),
                ("entities", counts.entities),
                ("DoTs", counts.dots),
                ("names", counts.names),
                ("revocations", counts.revocations),
                ("unreadable", counts.unreadable or ""),
            ]
        ),
        as_json=session.json,
    )


@click.group()
def agent() -> None:
    """Run the agent: a daemon that keeps a replica of the registry and answers this machine's programs."""


@verb
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Serve on this port of 127.0.0.1 (0: any) instead of the Unix socket."
)
def agent_run(session: Session, port: int | None) -> None:
    """Run until stopped. Commands that use the same WAVE_HOME find it by themselves.

    With --port they need WAVE_AGENT, set to the address that is printed, and it asks callers for the token in
    agent.token in WAVE_HOME.
    """
    from wave.agent import server

    server.run(session.settings, port=port, ready=lambda address: _ready(session, "agent", address))


agent.add_command(agent_run, "run")


@click.group()
def chain() -> None:
    """Run the embedded chain by itself, for several agents on this machine."""


@verb
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8545, show_default=True, help="The port; 0: any.")
@click.option("--socket", type=FILE, metavar="PATH", help="Listen on this Unix socket instead.")
@click.option("--anywhere", is_flag=True, help="Allow a host of others to reach it: the node knows no passwords.")
def chain_run(session: Session, host: str, port: int, socket: str | None, anywhere: bool) -> None:
    """Run until stopped. Agents use it with WAVE_CHAIN set to the address that is printed."""
    with ui.waiting("opening the chain"):
        from wave.chain import serve
        from wave.chain.node import EmbeddedNode

        node = EmbeddedNode.open(session.settings.home / "chain")
    with node:
        serve.run(
            node,
            host=host,
            port=port,
            path=None if socket is None else Path(socket),
            anywhere=anywhere,
            ready=lambda address: _ready(session, "chain", address),
        )


chain.add_command(chain_run, "run")


def _ready(session: Session, what: str, address: str) -> None:
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
