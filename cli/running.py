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
from typing import TYPE_CHECKING, Any, Final

import click

from cli import ui
from cli.session import Session
from wave.errors import AgentUnavailable, MissingFile, WaveError

if TYPE_CHECKING:
    from wave.agent.client import AgentClient
    from wave.bus.message import Message
    from wave.bus.port import Bus
    from wave.bus.router import FactsSource
    from wave.bus.switchboard import Carrier
    from wave.dots.facts import Facts
    from wave.entities.entity import EntitySecret

_SIGNALLED: Final = 128
_SOONER: Final = 0.9  # of one's patience, so that it is told who made one wait

router_option = click.option(
    "--router",
    "url",
    envvar="WAVE_ROUTER",
    metavar="URL",
    help="The router (ws://, wss://) or broker (mqtt://, mqtts://) to use. Default: WAVE_ROUTER, or else the one that "
    "each namespace has designated.",
)


def carry_out(main: Coroutine[Any, Any, None], *, ends: bool = False) -> None:
    """Run ``main`` to its end, or until SIGINT or SIGTERM, when everything that it opened is closed in order.

    For what stays until it is stopped that is success; with ``ends``, which says that ``main`` was to end by itself,
    the exit status is 128 and the signal's number.
    """
    stopped: list[int] = []

    async def supervised() -> None:
        task = asyncio.ensure_future(main)

        def stop(number: int) -> None:
            stopped.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        try:
            await task
        except asyncio.CancelledError:
            if ends and stopped:
                raise click.exceptions.Exit(_SIGNALLED + stopped[0]) from None

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

    find, soon = agent_routes(agent), _SOONER * patience

    async def routes(namespace: bytes) -> "Carrier":
        try:
            async with asyncio.timeout(soon):
                return await find(namespace)
        except TimeoutError:
            raise AgentUnavailable(f"the agent did not say in {soon:g} s which router to use") from None

    return open_bus(
        secret,
        url,
        proofs=agent_proofs(agent),
        facts=FactsFeed(agent).facts,
        clock=time.time,
        draw=os.urandom,
        routes=routes,
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


class Refusals:
    """Tells an operator of messages that did not pass, and once of an agent that is gone, until it answers again.

    ``facts`` are those of the agent, to be asked for in its stead.
    """

    def __init__(self, what: str, facts: "FactsSource") -> None:
        """Speak as ``what``, such as a router."""
        self._what = what
        self._facts = facts
        self._gone = False

    async def facts(self) -> "Facts":
        """Return the newest facts; raises what the agent or its chain raised."""
        try:
            found = await self._facts()
        except AgentUnavailable as error:
            if not self._gone:
                self._gone = True
                told = f"{self._what}: no message passes until the agent answers: {error.message}"
                ui.warn(told, "start it again with 'wave agent run'")
            raise
        if self._gone:
            self._gone = False
            ui.say(f"{self._what}: the agent answers again")
        return found

    def __call__(self, message: "Message | None", error: WaveError) -> None:
        """Hear of a message that did not pass."""
        if not isinstance(error, AgentUnavailable):
            warn_refused(f"{self._what}: a message", message, error)
