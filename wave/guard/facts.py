"""Facts for a guard in a process without an agent: it follows the chain by itself.

with ChainFacts(Settings.from_environment(os.environ)) as source:  # WAVE_CHAIN, and a WAVE_HOME of its own
    guard = Guard(namespace, rules, facts=source.facts, authorities=["localhost:8000"])
"""

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Self

from wave.agent.following import REPLICA, LazyChain
from wave.agent.settings import Settings, stays_here
from wave.chain.follower import Follower
from wave.dots.facts import Facts
from wave.errors import (
    ChainReorganised,
    ChainUnavailable,
    GuardClosed,
    NoQuorum,
    StateUnwritable,
    WaveError,
    WrongChain,
)
from wave.limits import LIMITS

_DOUBTS: Final = (WrongChain, ChainReorganised, NoQuorum)  # what is known may be what the chain took back
_FAR: Final = 1.0  # seconds between two questions to a chain elsewhere, which may count them
_PATIENCE: Final = 2.0  # seconds for which a check waits for the chain, before it goes by what is known


class ChainFacts:
    """The registry's facts, followed in a thread of this process, for any event loop of it.

    What was heard ``kept`` seconds ago is asked for again, once for all who want it; a chain that nobody asks about is
    asked nothing. While the chain does not answer, what was known stands, and whoever checks by it sees its age.
    """

    def __init__(self, settings: Settings, *, kept: float | None = None, wait: float = 0.0) -> None:
        """Follow the chain that ``settings`` name, with a replica in their ``home``, which one process owns at a time.

        The home remembers its chain: another one is refused. ``kept`` is short for a chain on this machine and a second
        for others, unless told. StateLocked after ``wait`` seconds, StateUnwritable, BadSetting.
        """
        near = stays_here(settings.urls)
        self._kept = kept if kept is not None else LIMITS.facts_kept if near else _FAR
        self._chain = LazyChain(settings, wait)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wave-facts")
        self._lock = threading.Lock()
        self._turn: Future[WaveError | None] | None = None
        self._begun = 0.0
        self._asked = float("-inf")
        self._failed: WaveError | None = None
        self._closed = False
        try:
            self._follower = self._thread.submit(self._open, settings, wait).result()
        except BaseException:
            self._thread.shutdown()
            raise
        self._facts = self._follower.facts

    def _open(self, settings: Settings, wait: float) -> Follower:
        try:
            settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateUnwritable(f"cannot create {settings.home}: {error.strerror}") from None
        follower = Follower(
            self._chain,
            settings.home / REPLICA,
            wait=wait,
            confirmations=settings.confirmations,
            start=settings.from_block,
        )
        self._chain.newest = lambda: (follower.facts.height, follower.facts.block_hash)
        return follower

    def catch_up(self) -> None:
        """Take in all that the chain says, however long that takes, or raise what is in the way: for a start."""
        with self._lock:
            self._check_open()
            turn = self._thread.submit(self._sync)
        failed = turn.result()
        if failed is not None:
            raise failed

    async def facts(self) -> Facts:
        """Return the newest facts; what is known when the chain takes long, or does not answer.

        WrongChain, ChainReorganised and NoQuorum are raised, for what is known may be what the chain took back;
        ChainUnavailable while nothing is known yet.
        """
        with self._lock:
            self._check_open()
            age = time.monotonic() - self._asked
            if age >= self._kept and self._turn is None:
                self._begun = time.monotonic()
                self._turn = self._thread.submit(self._sync)
            turn = self._turn
        if turn is not None and (age >= 2 * self._kept or self._failed is not None):
            await _over(turn, self._begun + _PATIENCE - time.monotonic())
        failed = self._failed
        if failed is not None:  # an error of its own for each who asks: guards note their decisions in it
            raise type(failed)(failed.message, hint=failed.hint)
        if self._facts.height < 0:
            raise ChainUnavailable("the chain has not been read yet", hint="ask again in a moment")
        return self._facts

    def _check_open(self) -> None:
        if self._closed:
            raise GuardClosed("the chain is not followed any more")

    def _sync(self) -> WaveError | None:
        """Take in what is new, and return what was in the way."""
        found: WaveError | None = None
        doubted = self._failed if isinstance(self._failed, _DOUBTS) else None  # until the chain has been read again
        try:
            self._facts = self._follower.sync()
            doubted = None
        except WaveError as error:
            found = error
            doubted = error if isinstance(error, _DOUBTS) else doubted
        finally:
            with self._lock:
                self._failed = doubted or (found if self._facts.height < 0 else None)
                self._asked = time.monotonic()
                self._turn = None
        return found

    def close(self) -> None:
        """Follow the chain no more, and let go of the home."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._thread.submit(self._follower.close).result()
        self._thread.submit(self._chain.close).result()
        self._thread.shutdown()

    def __enter__(self) -> Self:
        """Return the source."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


async def _over(turn: "Future[WaveError | None]", seconds: float) -> None:
    """Wait until ``turn`` is over, ``seconds`` at most."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended by now
            loop.call_soon_threadsafe(over.set)

    turn.add_done_callback(tell)
    with suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0.0)):
            await over.wait()
    if turn.done():
        turn.result()
