"""One or several nodes of a chain as whoever writes hears them: what a minority says, or does not, changes nothing.

Readers have :mod:`wave.chain.quorum`; writers differ in that an answer need not be the same everywhere to be of use.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from wave.chain.answer import UNREADABLE, NodeError
from wave.errors import NoQuorum, WaveError

GRACE: Final = 1.0  # seconds for the slower nodes once as many as are needed have answered
PATIENCE: Final = 15.0  # seconds for as many as are needed
_CLOSING: Final = 0.2

T = TypeVar("T")
Request = tuple[str, Any]


class Node(Protocol):
    """What sending asks of a node; :class:`wave.chain.client.Endpoint` is one."""

    @property
    def name(self) -> str: ...

    def ask(self, requests: Sequence[Request]) -> list[Any]:
        """Ask one or several things and return as many raw JSON-RPC answers, in order; ChainUnavailable."""
        ...


class Voices:
    """Nodes of one chain, of which ``need`` have to answer. For one thread; several nodes have a thread each."""

    def __init__(self, nodes: Sequence[Node], need: int = 1) -> None:
        """Hear ``nodes``; with one of them, everything happens in the caller's thread."""
        self.need = need
        self.name = ",".join(node.name for node in nodes)
        self._nodes = nodes
        self._threads = [_Voice(node) for node in nodes] if len(nodes) > 1 else []

    def close(self) -> None:
        """End the threads; the nodes are their owner's to close."""
        for one in self._threads:
            one.close()
        until = time.monotonic() + _CLOSING
        for one in self._threads:
            one.thread.join(max(0.0, until - time.monotonic()))

    def hear(self, requests: Sequence[Request], read: Callable[[list[Any]], T]) -> list[T]:
        """Return what ``read`` makes of each node's answers; one that it stumbles over has not answered.

        With one node what ``read`` raises passes. NoQuorum when too few of several answer.
        """
        if not self._threads:
            return [read(self._nodes[0].ask(requests))]
        poll = _Poll(len(self._threads))
        for one in self._threads:
            one.ask(poll, requests)
        poll.wait(self.need)
        heard: list[T] = []
        failures = list(poll.failures)
        for answers in list(poll.answers):
            try:
                heard.append(read(answers))
            except (WaveError, NodeError) as error:
                failures.append(str(error))
            except UNREADABLE:
                failures.append("an unreadable answer")
        if len(heard) < self.need:
            raise NoQuorum(
                f"{self.need} of {len(self._nodes)} endpoints must answer, and {len(heard)} did",
                hint="; ".join(failures)[:600] or None,
            )
        return heard

    def middle(self, requests: Sequence[Request], read: Callable[[list[Any]], int]) -> int:
        """Return the number in the middle of what :meth:`hear` returns: no minority can move it past honest ones."""
        heard = sorted(self.hear(requests, read))
        return heard[len(heard) // 2]


class _Poll:
    """One question to all; answers count as they come, until the asker has stopped waiting."""

    def __init__(self, asked: int) -> None:
        self.answers: list[list[Any]] = []
        self.failures: list[str] = []
        self._missing = asked
        self._changed = threading.Condition()

    def put(self, answers: list[Any] | None, failure: str = "") -> None:
        with self._changed:
            self._missing -= 1
            if answers is None:
                self.failures.append(failure)
            else:
                self.answers.append(answers)
            self._changed.notify_all()

    def wait(self, need: int) -> None:
        end = time.monotonic() + PATIENCE
        grace = False
        with self._changed:
            while self._missing and (left := end - time.monotonic()) > 0:
                if not grace and len(self.answers) >= need:
                    grace = True
                    end = min(end, time.monotonic() + GRACE)
                    continue
                self._changed.wait(left)


class _Voice:
    """A node and the thread that asks it; while one question is unanswered, others are left out."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._next: tuple[_Poll, Sequence[Request]] | None = None
        self._busy = False
        self._closed = False
        self._changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, name=f"writing to {node.name}", daemon=True)
        self.thread.start()

    def ask(self, poll: _Poll, requests: Sequence[Request]) -> None:
        with self._changed:
            if not self._busy:
                self._next, self._busy = (poll, requests), True
                self._changed.notify_all()
                return
        poll.put(None, f"{self._node.name} has not answered the question before")

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._next is None and not self._closed:
                    self._changed.wait()
                if self._next is None:
                    return
                poll, requests = self._next
                self._next = None
            answers: list[Any] | None = None
            failure = ""
            try:
                answers = self._node.ask(requests)
            except WaveError as error:
                failure = error.message
            except Exception as error:  # noqa: BLE001 - whatever a foreign answer made somebody stumble over
                failure = f"{self._node.name} answers with something unreadable: {type(error).__name__}"
            with self._changed:
                self._busy = False
            poll.put(answers, failure)
