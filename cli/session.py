"""What one run of the command works with: the environment's settings, the agent once it is asked, and the clock."""

import os
import time
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from cli import ui

if TYPE_CHECKING:
    from wave.agent.oneshot import Caller
    from wave.agent.settings import Settings
    from wave.agent.wire import Call
    from wave.errors import WaveError

R = TypeVar("R")


class Session:
    """One run. What loads slowly is loaded when it is first used, so that ``--help`` needs none of it."""

    def __init__(self) -> None:
        """Begin with nothing open."""
        self.json = False
        self.offline = False
        """Whether no agent may be asked."""
        self._open = ExitStack()

    @cached_property
    def settings(self) -> "Settings":
        """What the environment says; :class:`BadSetting`."""
        from wave.agent.settings import Settings

        ui.tell_of_logs()
        return Settings.from_environment(os.environ)

    @cached_property
    def agent(self) -> "Caller":
        """The agent that runs, or one in this process; opened now, closed at the end. :class:`AgentUnavailable`."""
        if self.offline:
            from wave.errors import AgentUnavailable

            raise AgentUnavailable("no agent is asked offline", hint="name entities by id, file or local name")
        from wave.agent import oneshot

        with ui.waiting("opening the state directory"):
            agent = oneshot.ask(self.settings, passphrase=ui.ask_passphrase, progress=ui.progress)
            return self._open.enter_context(agent)

    def call(self, call: "Call[R]") -> R:
        """Return the agent's answer, or raise its error."""
        agent = self.agent
        with ui.waiting("asking the agent"):
            return agent.call(call)

    def with_names(self, error: "WaveError") -> "WaveError":
        """Return the error with the names of those whose ids begin as its text says, if an agent was asked already."""
        if "agent" not in self.__dict__:
            return error
        from cli.reference import Names

        names = Names(self)
        return type(error)(names.told(error.message), hint=names.told(error.hint), decision=error.decision)

    def now(self) -> int:
        """Return this machine's time in UTC seconds."""
        return int(time.time())

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened."""
        self._open.__exit__(kind, error, trace)
