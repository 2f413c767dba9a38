"""What every daemon of the command line shares: its supervisor is told, its health is served, its files have room."""

import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.session import Session

if TYPE_CHECKING:
    from devices.health import Parts
    from devices.places import Places
    from wave.bus.router import FactsSource

SOCKET = "socket"

metrics_option = click.option(
    "--metrics",
    metavar="PLACE",
    help="Serve /health and /metrics (Prometheus) at PLACE: a PORT of this machine, HOST:PORT, a socket's path, or "
    "'socket' for one in the runtime directory.",
)


def places(session: Session) -> "Places":
    """Return where this run's daemons keep what is theirs."""
    from devices.places import Places

    return Places.of(os.environ, session.settings.home)


@asynccontextmanager
async def service(
    session: Session, name: str, metrics: str | None, *, facts: "FactsSource", parts: "Parts"
) -> AsyncIterator[None]:
    """Be a daemon called ``name`` while the body runs, which begins when it can work: to be entered last.

    Tells systemd, if that started it, that it is up, alive and stopping; serves its health where ``metrics`` says.
    """
    from devices.notify import Supervisor

    async with AsyncExitStack() as stack:
        if metrics is not None:
            from devices.health import Health, serving

            if metrics == SOCKET:
                path = places(session).runtime / f"{name}.sock"
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                metrics = str(path)
            await stack.enter_async_context(serving(metrics, Health(facts, time.time, parts)))
        await stack.enter_async_context(Supervisor(os.environ).watching(f"{name} is up"))
        yield


def room_for(files: int) -> None:
    """Let this process open so many files, as far as it is allowed to."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def settings_file(session: Session, file: str) -> Path:
    """Return the file that a person means: as it is written, or of that name in the directory for settings."""
    path = Path(file)
    if path.name == file and not path.exists() and (there := places(session).settings / file).exists():
        return there
    return path
