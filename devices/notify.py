"""Talking to systemd: up, alive, stopping. One datagram each (sd_notify(3)); without systemd, silence."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

_MICROSECONDS: Final = 1_000_000


class Supervisor:
    """Whoever started this process, when it said so in the environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Take ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``, which systemd sets."""
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        mine = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
        usec = environment.get("WATCHDOG_USEC", "")
        self.patience = int(usec) / _MICROSECONDS if mine and usec.isdecimal() else 0.0
        """Seconds of silence after which this process is taken for dead; 0 for ever."""

    def tell(self, *lines: str) -> None:
        """Send ``NAME=value`` lines; nobody there is no error, since the work goes on without a listener."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.setblocking(False)
            to.sendto("\n".join(lines).encode(), self._address)

    @asynccontextmanager
    async def watching(self, status: str) -> AsyncIterator[None]:
        """Say that the process is up, and as long as its event loop turns that it is alive; at the end, that it stops.

        That a router is away is no reason to be started anew, so nothing but the loop is asked.
        """
        self.tell("READY=1", f"STATUS={status}")
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            self.tell("STOPPING=1")
            beating.cancel()

    async def _beat(self) -> None:
        while self.patience > 0:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.patience / 3)
