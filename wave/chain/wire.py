"""How a JSON-RPC request reaches a node elsewhere: HTTP over TCP, TLS or a Unix socket, bounded in time and size.

Redirects are not followed, and neither proxies nor credential files of the environment are used.
"""

import http.client
import socket
import ssl
import threading
from base64 import b64encode
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from wave.errors import BadSetting, ChainUnavailable

TIMEOUT: Final = 10.0  # seconds for each step of one exchange
RESPONSE_BYTES: Final = 64 * 1024 * 1024
_HTTP_OK = 200


class Wire:
    """A kept-alive connection to one JSON-RPC endpoint; safe for threads, which take turns."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Take ``http://…``, ``https://…`` or ``unix:/path``, else BadSetting. It connects when first used."""
        self._lock = threading.Lock()
        self._headers = {"Content-Type": "application/json"}
        if url.startswith("unix:"):
            path = url.removeprefix("unix:").removeprefix("//")
            self.name = f"unix:{path}"
            self._target = "/"
            self._connection: http.client.HTTPConnection = _UnixConnection(path, timeout)
            return
        parts = _parse(url)
        host = parts.hostname or ""
        self.name = (
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # neither user info nor a path with an API key
        )
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)

    def __call__(self, body: bytes) -> bytes:
        """Return the answer to the request ``body``; ChainUnavailable when there is none."""
        with self._lock:
            try:
                return self._exchange(body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._connection.close()
                raise ChainUnavailable(f"{self.name} does not answer: {_reason(error)}") from None
            except BaseException:
                self._connection.close()
                raise

    def _exchange(self, body: bytes) -> bytes:
        kept = self._connection.sock is not None
        try:
            response = self._request(body)
        except ConnectionError:
            self._connection.close()
            if not kept:
                raise
            response = self._request(body)  # a kept connection may have gone while idle
        answer = response.read(RESPONSE_BYTES + 1)
        if len(answer) > RESPONSE_BYTES:
            raise ChainUnavailable(f"{self.name} answers with more than {RESPONSE_BYTES} bytes")
        if response.status != _HTTP_OK and not answer.lstrip().startswith((b"{", b"[")):
            raise ChainUnavailable(f"{self.name} answers with HTTP status {response.status}")
        return answer

    def _request(self, body: bytes) -> http.client.HTTPResponse:
        self._connection.request("POST", self._target, body, self._headers)
        return self._connection.getresponse()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            self.sock = None
            raise


def _parse(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadSetting("a chain is 'embedded', an http:// or https:// URL, or unix:/path/to/socket")
    return parts


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
