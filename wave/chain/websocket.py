"""JSON-RPC over a web socket: one request, one answer; a connection that dropped is made again."""

import socket
import ssl
import struct
import time
from contextlib import ExitStack
from typing import Final

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    PayloadTooBig,
    SecurityError,
    WebSocketException,
)
from websockets.sync.client import ClientConnection, connect

from wave.chain.patience import retry_after
from wave.errors import AnswerTooLarge, ChainUnavailable

CLOSE_WITHIN: Final = 1.0  # seconds for the closing words
_TOO_BIG: Final = 1009  # why a connection was closed: a message above the bound
_NOTIFICATION: Final = b'"method"'  # what a node says unasked names a method; an answer names none
_HEAD: Final = 200  # bytes of a message in which that stands


class WebSocket:
    """A connection to one node, made when first used; for one thread at a time."""

    def __init__(
        self, name: str, url: str, address: tuple[str, int], headers: dict[str, str], *, timeout: float, most: int
    ) -> None:
        """Speak to ``address`` as ``url``, which holds no user info; answers have at most ``most`` bytes."""
        self._name = name
        self._url = url
        self._address = address
        self._headers = headers
        self._timeout = timeout
        self._most = most
        self._open: tuple[ClientConnection, ExitStack] | None = None

    def exchange(self, body: bytes, deadline: float) -> bytes:
        """Return the answer to ``body``; OSError, RateLimited, ChainUnavailable. A dropped connection is made anew."""
        kept = self._open is not None
        try:
            return self._ask(body, deadline)
        except ConnectionError:
            if not kept:
                raise
        return self._ask(body, deadline)

    def _ask(self, body: bytes, deadline: float) -> bytes:
        try:
            connection = self._connected()
            connection.send(body.decode())
            while True:
                message = connection.recv(max(0.0, min(self._timeout, deadline - time.monotonic())), decode=False)
                if _NOTIFICATION not in message[:_HEAD]:
                    return message
        except ConnectionClosed as error:
            self.close()
            if isinstance(error.__cause__, PayloadTooBig) or _TOO_BIG in _codes(error):
                raise AnswerTooLarge(f"{self._name} answers with more than {self._most} bytes") from None
            raise ConnectionError("the web socket was closed") from None
        except InvalidStatus as error:
            response = error.response
            if limited := retry_after(response.status_code, dict(response.headers.raw_items())):
                raise limited from None
            raise ChainUnavailable(f"{self._name} answers with HTTP status {response.status_code}") from None
        except SecurityError:
            raise ChainUnavailable(f"{self._name} sends more headers than can be read") from None
        except InvalidHandshake:
            raise ChainUnavailable(f"{self._name} does not speak web sockets", hint="try its http URL") from None
        except WebSocketException as error:
            raise ConnectionError(type(error).__name__) from None

    def _connected(self) -> ClientConnection:
        if self._open is None:
            secure = self._url.startswith("wss:")
            plain = socket.create_connection(self._address, self._timeout)  # ours, so that no redirect is followed
            try:
                # Sending has no time limit in websockets; the kernel keeps one.
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(self._timeout) + 1, 0))
                stack = ExitStack()
                connection = stack.enter_context(
                    connect(
                        self._url,
                        sock=plain,
                        ssl=ssl.create_default_context() if secure else None,
                        additional_headers=self._headers,
                        user_agent_header=None,
                        compression=None,
                        proxy=None,
                        open_timeout=self._timeout,
                        ping_interval=None,
                        close_timeout=CLOSE_WITHIN,
                        max_size=self._most,
                    )
                )
            except BaseException:
                plain.close()
                raise
            self._open = connection, stack
        return self._open[0]

    def close(self) -> None:
        """Close the connection; the next request makes another."""
        if self._open is not None:
            _, stack = self._open
            self._open = None
            stack.close()


def _codes(error: ConnectionClosed) -> set[int]:
    return {int(frame.code) for frame in (error.rcvd, error.sent) if frame is not None}
