"""How a JSON-RPC request reaches a node elsewhere: HTTP over TCP, TLS or a Unix socket, or a web socket.

Bounded in time and size, patient with nodes that limit how often they are asked. What dropped is asked again on a new
connection, once: everything that WAVE asks may be asked twice, a signed transaction too. Redirects are not followed,
and neither proxies nor credential files of the environment are used. No text shows user info or path of a URL, which
may hold a key.
"""

import http.client
import io
import socket
import ssl
import threading
import time
from base64 import b64encode
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from wave.chain.answer import plain
from wave.chain.patience import Patience, RateLimited, retry_after
from wave.errors import AnswerTooLarge, BadSetting, ChainUnavailable

TIMEOUT: Final = 10.0  # seconds for each step of one exchange
CALL_WITHIN: Final = 3  # times the timeout, for a whole exchange, however slowly the answer drips
RESPONSE_BYTES: Final = 32 * 1024 * 1024
SCHEMES: Final = ("http", "https", "ws", "wss")
_CHUNK: Final = 256 * 1024
_HTTP_OK: Final = 200


class _Carrier(Protocol):
    def exchange(self, body: bytes, deadline: float) -> bytes:
        """Return the answer to ``body``; OSError, HTTPException, ValueError, RateLimited, ChainUnavailable."""
        ...

    def close(self) -> None: ...


class Wire:
    """A kept connection to one JSON-RPC endpoint; safe for threads, which take turns."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Take ``http(s)://…``, ``ws(s)://…`` or ``unix:/path``, else BadSetting. It connects when first used."""
        self._lock = threading.Lock()
        self._timeout = timeout
        if url.startswith("unix:"):
            path = url.removeprefix("unix:").removeprefix("//")
            self.name = f"unix:{path}"
            self._carrier: _Carrier = _Http(self.name, _UnixConnection(path, timeout), "/", {})
            return
        parts = _parse(url)
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        host = parts.hostname or ""
        if parts.scheme in ("ws", "wss"):
            from wave.chain.websocket import WebSocket

            port = parts.port or (443 if parts.scheme == "wss" else 80)
            self._carrier = WebSocket(
                self.name, self.name + target, (host, port), headers, timeout=timeout, most=RESPONSE_BYTES
            )
        elif parts.scheme == "https":
            context = ssl.create_default_context()
            secure = _SecureConnection(host, parts.port, timeout=timeout, context=context)
            self._carrier = _Http(self.name, secure, target, headers)
        else:
            self._carrier = _Http(self.name, _PlainConnection(host, parts.port, timeout=timeout), target, headers)

    def __call__(self, body: bytes) -> bytes:
        """Return the answer to the request ``body``; ChainUnavailable when there is none."""
        patience = Patience(self.name)
        with self._lock:
            while True:
                try:
                    return self._carrier.exchange(body, time.monotonic() + CALL_WITHIN * self._timeout)
                except RateLimited as limited:
                    patience.wait(limited.after)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    self._carrier.close()
                    raise ChainUnavailable(f"{self.name} {_reason(error)}") from None
                except BaseException:
                    self._carrier.close()
                    raise

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._carrier.close()


class _Http:
    """HTTP/1.1, one POST for each request."""

    def __init__(self, name: str, connection: http.client.HTTPConnection, target: str, headers: dict[str, str]) -> None:
        self._name = name
        self._connection = connection
        self._target = target
        self._headers = {"Content-Type": "application/json", **headers}

    def exchange(self, body: bytes, deadline: float) -> bytes:
        kept = self._connection.sock is not None
        try:
            response = self._request(body, deadline)
        except ConnectionError:
            self._connection.close()
            if not kept:
                raise
            response = self._request(body, deadline)  # a kept connection may have gone while idle
        answer = self._read(response)
        if limited := retry_after(response.status, dict(response.headers)):
            raise limited
        if response.status != _HTTP_OK and not answer.lstrip().startswith((b"{", b"[")):
            raise ChainUnavailable(
                f"{self._name} answers with HTTP status {response.status}", hint="check the URL, and the key in it"
            )
        return answer

    def _request(self, body: bytes, deadline: float) -> http.client.HTTPResponse:
        if self._connection.sock is None:
            self._connection.connect()
        timed: Any = self._connection.sock
        timed.deadline = deadline
        self._connection.request("POST", self._target, body, self._headers)
        return self._connection.getresponse()

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        parts = []
        left = RESPONSE_BYTES + 1
        while left and (part := response.read(min(left, _CHUNK))):
            parts.append(part)
            left -= len(part)
        if not left:
            raise AnswerTooLarge(f"{self._name} answers with more than {RESPONSE_BYTES} bytes")
        if response.length:  # read(n) keeps quiet about an end that comes too early
            raise http.client.IncompleteRead(b"", response.length)
        return b"".join(parts)

    def close(self) -> None:
        self._connection.close()


class _Timed:
    """A connected socket, as far as http.client uses one, of which every step ends by ``deadline``."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self._step = inner.gettimeout() or TIMEOUT
        self.deadline = float("inf")

    def arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._inner.settimeout(min(self._step, left))

    def sendall(self, data: bytes) -> None:
        self.arm()
        self._inner.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedFile(self, self._inner.makefile("rb", buffering=0)))

    def close(self) -> None:
        self._inner.close()


class _TimedFile(io.RawIOBase):
    def __init__(self, timed: _Timed, inner: socket.SocketIO) -> None:
        self._timed = timed
        self._from = inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._timed.arm()
        return self._from.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._from.close()
        super().close()


class _PlainConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        """Connect over TCP."""
        super().connect()
        self.sock: Any = _Timed(self.sock)


class _SecureConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        """Connect over TLS."""
        super().connect()
        self.sock: Any = _Timed(self.sock)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        plain_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            plain_socket.settimeout(self.timeout)
            plain_socket.connect(self._path)
        except BaseException:
            plain_socket.close()
            raise
        self.sock: Any = _Timed(plain_socket)


def _parse(url: str) -> SplitResult:
    """Return the parts of a URL; BadSetting, which does not repeat it: it may hold a key."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        printable = url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        printable, parts = False, SplitResult("", "", "", "", "")
    if not printable or parts.scheme not in SCHEMES or not parts.hostname:
        raise BadSetting(
            "a chain is 'embedded', an http://, https://, ws:// or wss:// URL, or unix:/path/to/socket",
        )
    return parts


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer: timed out"
    if isinstance(error, http.client.IncompleteRead):
        return "cuts its answer short"
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return "does not speak HTTP"
    why = getattr(error, "strerror", None) or (str(error) if isinstance(error, OSError) else "")
    return f"does not answer: {plain(why) or type(error).__name__}"
