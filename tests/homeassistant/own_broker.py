"""A Mosquitto of the test's own, on a free port of loopback."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.ports import free_port

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """Keeps nothing when it stops, so that what is there after a restart was written again."""

    def __init__(self, folder: Path, *, account: tuple[str, str] | None = None, rules: str = "") -> None:
        assert PROGRAM is not None, "mosquitto is not installed"
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.log = folder / "mosquitto.log"
        self._file = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", "user root", "log_dest stdout"]
        if account is None:
            lines.append("allow_anonymous true")
        else:
            passwords = folder / "passwords"
            passwords.touch(mode=0o600)
            subprocess.run(["mosquitto_passwd", "-b", passwords, *account], check=True, capture_output=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        if rules:
            acl = folder / "rules"
            acl.write_text(rules)
            acl.chmod(0o600)
            lines.append(f"acl_file {acl}")
        self._file.write_text("\n".join([*lines, ""]))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(PROGRAM), "-c", str(self._file), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        async with asyncio.timeout(10):
            while True:
                assert self._process.returncode is None, self.log.read_text()
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    await writer.wait_closed()
                    return
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Stop it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        self._process = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Mosquitto"]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()


class Cable:
    """A way to a broker that can be cut; who connects again gets through."""

    def __init__(self, broker: Mosquitto) -> None:
        self.url = ""
        self._broker = broker
        self._writers: list[asyncio.StreamWriter] = []

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._broker.port)
        self._writers += [writer, back]
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Break all connections, without a goodbye."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Cable"]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            self.cut()
            server.close()
            await server.wait_closed()
