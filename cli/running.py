"""What verbs that stay share: an ordered stop, lines as things happen, and the agent that they lean on."""

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
from typing import TYPE_CHECKING, Any

import click

from cli import ui
from cli.session import Session
from wave.errors import MissingFile, WaveError

if TYPE_CHECKING:
    from wave.agent.client import AgentClient
    from wave.bus.message import Message
    from wave.bus.port import Bus
    from wave.entities.entity import EntitySecret

router_option = click.option(
    "--router",
    "url",
    envvar="WAVE_ROUTER",
    metavar="URL",
    help="The router (ws://, wss://) or broker (mqtt://, mqtts://) to use. Default: WAVE_ROUTER, or else the one that "
    "each namespace has designated.",
)


def carry_out(main: Coroutine[Any, Any, None]) -> None:
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


def print_line(value: dict[str, Any]) -> None:
    """Print one JSON object on one line, at once."""
    ui.out(json.dumps(value, separators=(",", ":"), ensure_ascii=True, default=str))
    ui.flush()


def say_ready(session: Session, what: str, told: str, **more: Any) -> None:
    """Tell whoever started this that it is up: a program by a line of JSON, a person at a terminal in words."""
    if session.json or not sys.stdout.isatty():
        print_line({"ready": what, **more, "pid": os.getpid()})
    else:
        ui.say(f"{told}; stop it with Ctrl-C")


@asynccontextmanager
async def agent_of(session: Session) -> AsyncIterator["AgentClient"]:
    """Give the agent that runs; with none, this process is the agent of its WAVE_HOME for as long as it runs."""
    from wave.agent.client import AgentClient, BlockingClient

    settings = session.settings
    async with AsyncExitStack() as stack:
        address = settings.agent or str(settings.socket)
        if settings.agent is None and not BlockingClient(address).answers():
            from wave.agent.server import serving

            address = await stack.enter_async_context(serving(settings))
        yield await stack.enter_async_context(AgentClient(address, token=_token(session)))


def bus_of(agent: "AgentClient", secret: "EntitySecret", url: str | None, *, patience: float) -> "Bus":
    """Return the bus of an entity by way of a router or broker, or of each namespace's own; :class:`BadSetting`."""
    from wave.agent.client import FactsFeed
    from wave.bus.connect import open_bus
    from wave.bus.proofs import agent_proofs
    from wave.bus.switchboard import agent_routes

    return open_bus(
        secret,
        url,
        proofs=agent_proofs(agent),
        facts=FactsFeed(agent).facts,
        clock=time.time,
        draw=os.urandom,
        routes=agent_routes(agent),
        patience=patience,
    )


def _token(session: Session) -> str | None:
    from wave.entities.keyring import read_text

    if session.settings.agent is None or not session.settings.agent.startswith("http"):
        return None
    with contextlib.suppress(MissingFile):
        return read_text(session.settings.token_file).strip()
    return None


async def resolve(session: Session, agent: "AgentClient", text: str) -> bytes:
    """Return the id that a name, file or id stands for, without opening an agent of one's own."""
    from cli.reference import is_file
    from wave.agent.wire import Resolve, identity
    from wave.codec import id_text, parse_id
    from wave.entities.keyring import read_entity

    found = parse_id(text)
    if found is not None:
        return found
    path = Path(text) if is_file(text) else session.settings.keyring.find(text)
    if path is not None:
        return read_entity(path).id
    label, dot, giver = text.rpartition(".")  # the giver of a signed name may have a name of one's own
    root = session.settings.keyring.find(giver) if dot else None
    name = text if root is None else f"{label}.{id_text(read_entity(root).id)}"
    return identity((await agent.call(Resolve(name=name))).id)


def warn_refused(what: str, message: "Message | None", error: WaveError) -> None:
    """Tell an operator of a message that did not pass."""
    from wave.dots.rules import short

    where = f" ({message.permission} on {message.resource}, by {short(message.sender)})" if message else ""
    decision = f" [{error.decision}]" if error.decision else ""
    ui.warn(f"{what} was refused{where}: {error.message} ({error.code}){decision}")
