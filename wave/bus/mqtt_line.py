"""A line to an MQTT 5 broker, and the only importer of aiomqtt and paho in the bus.

What aiomqtt leaves out is added here: the broker's answer to a publication, and bounds on what waits to be read.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import aiomqtt
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from wave.errors import BadSetting, BrokerRefused, BrokerUnavailable
from wave.limits import LIMITS

PORT: Final = 1883
TLS_PORT: Final = 8883
_CONNECT: Final = 5.0
_ANSWER: Final = 10.0
_REFUSED: Final = frozenset({0x80, 0x83, 0x86, 0x87, 0x8F, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9E, 0xA1, 0xA2})
_NOBODY: Final = 0x10  # no matching subscribers
_EACH: Final = 64  # bytes that a short text takes at least
_NEW: Final = 2  # retain handling: do not send what is retained


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is: ``mqtt://host[:port]`` or ``mqtts://…``, and the name under which it knows signed logins."""

    url: str
    host: str
    port: int
    tls: bool
    login: str | None

    @classmethod
    def parse(cls, url: str) -> "Broker":
        """Read a URL; ``?login=NAME`` asks for signed logins to a broker of that name. :class:`BadSetting`."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        else:
            query = parse_qs(parts.query, keep_blank_values=True)
            tls = parts.scheme == "mqtts"
            sound = parts.scheme in ("mqtt", "mqtts") and "@" not in parts.netloc and parts.path in ("", "/")
            if host and port != 0 and sound and set(query) <= {"login"}:
                default = TLS_PORT if tls else PORT
                return cls(url, host, port or default, tls, query.get("login", [None])[0])
        if "@" in url:
            raise BadSetting(
                "a broker's address holds no user name and no password",
                hint="others see a URL; a locked broker knows entities, and 'home assistant' takes --credentials FILE",
            )
        raise BadSetting(
            f"{url[:80]!r} is no broker's address", hint="write it as mqtt://127.0.0.1:1883 or mqtts://host"
        )


STRANGER: Final = (
    "a broker with passwords of its own wants a user name that it knows; a locked one knows whoever holds a right in"
    " its namespaces"
)


@dataclass(frozen=True, slots=True)
class Account:
    """A broker's name and password for a client."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Carried:
    """What travels in one MQTT PUBLISH, as far as it concerns messages."""

    topic: str
    payload: bytes
    content_type: str = ""
    user: tuple[tuple[str, str], ...] = ()
    retained: bool = False
    subscriptions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when the line breaks without a goodbye."""

    topic: str
    payload: bytes
    retain: bool = False


class Line(aiomqtt.Client):
    """One connection. ``dropped`` counts what came while too much waited."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.dropped = 0
        self._waiting = 0
        self._answers: dict[int, int] = {}

    def _on_message(self, client: Any, userdata: Any, message: MQTTMessage) -> None:
        size = _size(message.topic, message.payload, message.properties)
        if self._queue.qsize() >= LIMITS.queue_frames * 4 or self._waiting + size > LIMITS.queue_bytes:
            self.dropped += 1
            return
        with contextlib.suppress(ValueError):  # a topic with wildcards
            super()._on_message(client, userdata, message)
            self._waiting += size

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        self._answers[mid] = reason_code.value
        super()._on_publish(client, userdata, mid, reason_code, properties)

    async def send(self, carried: Carried, *, retain: bool = False, lasts: int | None = None) -> int:
        """Publish, and return how many got it as far as the broker says: 0 or at least 1.

        ``lasts``: seconds until the broker forgets it. :class:`BrokerRefused`, :class:`BrokerUnavailable`.
        """
        properties = _properties(PacketTypes.PUBLISH)
        if carried.content_type:
            properties.ContentType = carried.content_type
        if carried.user:
            properties.UserProperty = list(carried.user)
        if lasts is not None:
            properties.MessageExpiryInterval = max(1, min(lasts, 2**32 - 1))
        with _translated():
            info = self._client.publish(carried.topic, carried.payload, 1, retain, properties)
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise BrokerUnavailable("the connection to the broker is gone")
            if info.mid not in self._answers:
                confirmed = asyncio.Event()
                with self._pending_call(info.mid, confirmed, self._pending_publishes):
                    await self._until(confirmed)
        answer = self._answers.pop(info.mid)
        if answer in _REFUSED:
            raise BrokerRefused(f"the broker refused a message at {carried.topic} (reason 0x{answer:02x})")
        return 0 if answer == _NOBODY else 1

    async def _until(self, confirmed: asyncio.Event) -> None:
        """Wait for an answer, and no longer than the line lasts."""
        answer = asyncio.ensure_future(confirmed.wait())
        both: list[asyncio.Future[Any]] = [answer, self._disconnected]
        try:
            await asyncio.wait(both, timeout=_ANSWER, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answer.cancel()
        if not confirmed.is_set():
            raise BrokerUnavailable("the broker gave no answer, or the connection was lost")

    async def hear(self, filters: Iterable[str], *, number: int | None = None, kept: bool, qos: int = 1) -> None:
        """Subscribe under a number; with ``kept`` also to what is retained now. :class:`BrokerRefused`."""
        options = SubscribeOptions(qos=qos, noLocal=False, retainAsPublished=False, retainHandling=0 if kept else _NEW)
        properties = None
        if number is not None:
            properties = _properties(PacketTypes.SUBSCRIBE)
            properties.SubscriptionIdentifier = number
        wanted = list(filters)
        with _translated():
            codes = await self.subscribe([(one, options) for one in wanted], properties=properties)
        if len(codes) != len(wanted):
            raise BrokerUnavailable("the broker answered to other subscriptions than were asked for")
        for one, code in zip(wanted, codes, strict=True):
            value = int(code.value) if isinstance(code, ReasonCode) else 0x80
            if value >= 0x80:
                raise BrokerRefused(f"the broker refused a subscription to {one} (reason 0x{value:02x})")

    async def forget(self, filters: Iterable[str]) -> None:
        """End subscriptions."""
        with _translated():
            await self.unsubscribe(list(filters))

    async def receive(self) -> Carried:
        """Return what comes next; :class:`BrokerUnavailable` when the line is gone."""
        with _translated():
            message = await anext(self.messages)
        payload = bytes(message.payload)
        properties = message.properties
        self._waiting -= _size(str(message.topic), payload, properties)
        user = getattr(properties, "UserProperty", ())
        numbers = getattr(properties, "SubscriptionIdentifier", ())
        return Carried(
            str(message.topic),
            payload,
            str(getattr(properties, "ContentType", "")),
            tuple((str(name), str(value)) for name, value in user),
            bool(message.retain),
            tuple(numbers),
        )

    @property
    def idle(self) -> bool:
        """True when nothing waits to be read."""
        return self._queue.empty()

    @property
    def broken(self) -> bool:
        """True when the connection is gone."""
        return self._disconnected.done()

    def cut(self) -> None:
        """Close the socket, whatever state the line is in."""
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()  # seen: asyncio warns of those that nobody looks at
        self._client._sock_close()  # noqa: SLF001 - paho closes nothing when nobody answered its CONNECT


class _Handshake(ssl.SSLSocket):
    """A socket that is closed when its handshake fails, which paho leaves open."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the standard library's form
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _tls() -> ssl.SSLContext:
    """Return what checks a broker's certificate by the system's authorities."""
    context = ssl.create_default_context()
    context.sslsocket_class = _Handshake
    return context


def _size(topic: str, payload: object, properties: Properties | None) -> int:
    """Return the bytes, or nearly, that a message takes while it waits; its properties count like its payload."""
    words = [word for pair in getattr(properties, "UserProperty", ()) for word in pair]
    size = len(payload) if isinstance(payload, bytes | bytearray) else 0
    return size + len(topic) + len(getattr(properties, "ContentType", "")) + sum(map(len, words)) + _EACH * len(words)


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call] # paho types this one in parts


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except aiomqtt.MqttError as error:
        cause = error.__cause__
        raise BrokerUnavailable(f"the connection to the broker is gone: {str(cause or error)[:200]}") from None
    except (OSError, ValueError) as error:
        raise BrokerUnavailable(f"the connection to the broker failed: {error}") from None


@asynccontextmanager
async def connected(
    broker: Broker,
    account: Account | None,
    *,
    client: str | None = None,
    keepalive: int = 30,
    will: Will | None = None,
) -> AsyncIterator[Line]:
    """Connect while the body runs, under a ``client`` id; :class:`BrokerRefused` when the broker does not let us in.

    A ``will`` is published whenever the connection ends, from whichever side.
    """
    properties = _properties(PacketTypes.CONNECT)
    properties.MaximumPacketSize = LIMITS.frame_bytes
    line = Line(
        broker.host,
        broker.port,
        identifier=client,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=True,
        username=None if account is None else account.username,
        password=None if account is None else account.password,
        tls_context=_tls() if broker.tls else None,
        properties=properties,
        keepalive=keepalive,
        timeout=_CONNECT,
        will=None if will is None else aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain),
    )
    opening = asyncio.ensure_future(line.__aenter__())
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])  # the thread that connects cannot be stopped, and would leave its socket open
        if not opening.cancelled():
            opening.exception()
        line.cut()
        raise
    except aiomqtt.MqttError as error:
        line.cut()
        code = getattr(error, "rc", None)
        if isinstance(code, ReasonCode) and code.value in _REFUSED:
            raise BrokerRefused(f"the broker at {broker.url} does not let us in ({code})", hint=STRANGER) from None
        raise BrokerUnavailable(
            f"the broker at {broker.url} does not answer: {str(error)[:200]}", hint="does it run, and speak MQTT 5?"
        ) from None
    except (OSError, ValueError) as error:
        line.cut()
        raise BrokerUnavailable(f"the broker at {broker.url} cannot be reached: {error}") from None
    try:
        yield line
    finally:
        if will is None:  # a goodbye would take it back
            with contextlib.suppress(aiomqtt.MqttError, BrokerUnavailable):
                await line.__aexit__(None, None, None)
        line.cut()
