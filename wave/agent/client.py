"""Clients of the agent: a typed async one, a blocking one for one-shot commands, and facts kept in step with it."""

import http.client
import socket
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

from wave.agent.wire import Call, FactsSince, Happening, decode_happening, decode_problem, decode_reply, encode
from wave.chain.listen import is_loopback
from wave.codec import parse_id
from wave.dots.facts import Facts
from wave.errors import AgentUnavailable, BadSetting
from wave.limits import LIMITS

R = TypeVar("R")

DEFAULT_TIMEOUT = 60.0
SILENCE = 60.0  # seconds without a word, after which a stream's other end is taken to be gone


class Address:
    """Where an agent listens: ``/path`` or ``unix:/path`` for a socket, or an ``http://`` URL; :class:`BadSetting`."""

    def __init__(self, text: str) -> None:
        """Parse ``text``."""
        path = text.removeprefix("unix:")
        self.text = text
        self.path: str | None = path if path.startswith(("/", "./", "../")) else None
        self.host, self.port = "localhost", 0
        if self.path is None:
            url = urlsplit(text)
            try:
                port = url.port
            except ValueError:
                port = None
            if (
                url.scheme != "http"
                or not url.hostname
                or port is None
                or url.path not in ("", "/")
                or "@" in url.netloc
            ):
                raise BadSetting("that is no agent's address", hint="name a socket's path or http://127.0.0.1:PORT")
            if not is_loopback(url.hostname):
                raise BadSetting(
                    f"{url.hostname[:60]!r} is another machine, and an agent answers its own alone",
                    hint="run an agent here: it follows the same chain",
                )
            self.host, self.port = url.hostname, port

    def gone(self, reason: object) -> AgentUnavailable:
        """Return the error for an agent that did not answer."""
        return AgentUnavailable(f"the agent at {self.text} does not answer: {reason}")


def headers(token: str | None) -> dict[str, str]:
    """Return the headers of a call."""
    found = {"Content-Type": "application/json"}
    if token:
        found["Authorization"] = f"Bearer {token}"
    return found


class AgentClient:
    """An agent, asked asynchronously: ``async with AgentClient(address) as agent: await agent.call(Status())``.

    Raises the same error classes as the agent did, and :class:`AgentUnavailable` when it is not there or goes away.
    """

    def __init__(self, address: str, *, token: str | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Talk to the agent at ``address`` (a socket's path or an http:// URL), ``timeout`` seconds a call at most."""
        import asyncio

        import aiohttp

        self._address = Address(address)
        connector = aiohttp.UnixConnector(self._address.path) if self._address.path else aiohttp.TCPConnector()
        self._errors = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError)
        self._session = aiohttp.ClientSession(
            f"http://{self._address.host}:{self._address.port or 80}",
            connector=connector,
            headers=headers(token),
            timeout=aiohttp.ClientTimeout(total=timeout),
        )

    async def call(self, call: Call[R]) -> R:
        """Return the agent's answer, or raise the error that it raised."""
        try:
            async with self._session.post(f"/v1/{call.path}", data=encode(call)) as response:
                status, body = response.status, await response.read()
        except self._errors as error:
            raise self._address.gone(str(error) or type(error).__name__) from None
        return decode_reply(call, status, body)

    async def watch(self, *, since: str | None = None, namespace: str | None = None) -> AsyncIterator[Happening]:
        """Yield what happens on the registry, for as long as the agent is there.

        ``since`` is a height or the id of the last happening seen, after which it goes on; None is now. ``namespace``
        (an id) leaves out what does not concern it. Raises the error that ended the stream.
        """
        import aiohttp

        places = {name: text for name, text in (("since", since), ("namespace", namespace)) if text is not None}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=DEFAULT_TIMEOUT, sock_read=SILENCE)
        try:
            async with self._session.get("/v1/watch", params=places, timeout=timeout) as response:
                if response.status != 200 or response.content_type != "text/event-stream":
                    raise decode_problem(await response.read())
                kind = ""
                async for line in response.content:
                    name, _, value = line.rstrip(b"\r\n").partition(b": ")
                    if name == b"event":
                        kind = value.decode("ascii", "replace")
                    elif name == b"data" and kind == "problem":
                        raise decode_problem(value)
                    elif name == b"data":
                        yield decode_happening(value)
        except (*self._errors, ValueError) as error:  # ValueError: a line longer than any of ours
            raise self._address.gone(str(error) or type(error).__name__) from None
        raise self._address.gone("it ended the stream")

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class BlockingClient:
    """An agent, asked from code that is not asynchronous. It loads fast: a command asks once and ends."""

    def __init__(self, address: str, *, token: str | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Talk to the agent at ``address`` (a socket's path or an http:// URL), ``timeout`` seconds a call at most."""
        self._address = Address(address)
        self._timeout = timeout
        self._headers = headers(token)

    def _connection(self) -> http.client.HTTPConnection:
        if self._address.path is not None:
            return _SocketConnection(self._address.path, self._timeout)
        return http.client.HTTPConnection(self._address.host, self._address.port, timeout=self._timeout)

    def answers(self) -> bool:
        """Tell whether somebody listens at the address."""
        connection = self._connection()
        try:
            connection.connect()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def call(self, call: Call[R]) -> R:
        """Return the agent's answer, or raise the error that it raised."""
        connection = self._connection()
        try:
            connection.request("POST", f"/v1/{call.path}", body=encode(call), headers=self._headers)
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._address.gone(getattr(error, "strerror", None) or type(error).__name__) from None
        finally:
            connection.close()
        return decode_reply(call, status, body)

    def close(self) -> None:
        """Do nothing: each call has a connection of its own."""


class FactsFeed:
    """The registry's facts for checks made in this process, never older than ``LIMITS.facts_kept`` seconds.

    They hold revocations and the newest block; records of entities come with the proofs. One question to the agent
    serves all who ask meanwhile, so that a process full of devices asks no more often than one device.
    """

    def __init__(self, agent: AgentClient, *, kept: float = LIMITS.facts_kept) -> None:
        """Ask ``agent``, at most every ``kept`` seconds."""
        import asyncio

        self._agent = agent
        self._kept = kept
        self._newest: Facts | None = None
        self._asked = float("-inf")
        self._revocations: dict[bytes, int] = {}
        self._height = -1
        self._block_hash = ""
        self._turn = asyncio.Lock()

    async def facts(self) -> Facts:
        """Return the newest facts; :class:`Unavailable` when the agent or its chain cannot be asked."""
        if self._newest is not None and time.monotonic() - self._asked < self._kept:
            return self._newest
        async with self._turn:
            asked = time.monotonic()
            if self._newest is not None and asked - self._asked < self._kept:  # somebody else's answer has come
                return self._newest
            known = FactsSince(height=self._height, block_hash=self._block_hash)
            reply = await self._agent.call(known)
            if reply.whole:
                self._revocations = {}
            for text, height in reply.revocations.items():
                commitment = parse_id(text)
                if commitment is not None:
                    self._revocations[commitment] = height
            self._height, self._block_hash, self._asked = reply.height, reply.block_hash, asked
            self._newest = Facts(reply.height, parse_id(reply.block_hash) or b"", reply.time, self._revocations)
            return self._newest
