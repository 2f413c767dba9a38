"""The agent for one command: the daemon when one runs, else an engine in this process on the same state directory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from wave.agent.client import BlockingClient
from wave.agent.settings import Settings
from wave.agent.wire import Call
from wave.entities.keyring import read_text
from wave.errors import MissingFile

R = TypeVar("R")


class Caller(Protocol):
    """Whoever carries out calls: an engine or a client."""

    def call(self, call: Call[R]) -> R:
        """Return the reply, or raise a :class:`WaveError`."""
        ...


@contextmanager
def ask(
    settings: Settings,
    *,
    passphrase: Callable[[str], str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Caller]:
    """Give the agent named by ``WAVE_AGENT``, the one that runs on this home, or an engine of one's own.

    ``passphrase`` is as in :meth:`Engine.open`; ``progress`` is told how far an engine of one's own has read the chain,
    as :meth:`Follower.sync` says. A named agent that does not run is :class:`AgentUnavailable` when it is called, never
    replaced in silence.
    """
    if settings.agent is not None:
        yield BlockingClient(settings.agent, token=_token(settings))
        return
    local = BlockingClient(str(settings.socket))
    if settings.socket.exists() and local.answers():
        yield local
        return
    from wave.agent.engine import Engine

    with Engine.open(settings, passphrase=passphrase) as engine:
        engine.progress = progress
        yield engine


def _token(settings: Settings) -> str | None:
    """Return the token for an agent over TCP, from the home of whoever asks."""
    if settings.agent is None or urlsplit(settings.agent).scheme != "http":
        return None
    try:
        return read_text(Path(settings.token_file)).strip()
    except MissingFile:
        return None
