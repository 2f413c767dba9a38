"""A message as one MQTT 5 publication: its payload is the payload, and all else that was signed is in user properties.

A client that knows nothing of WAVE reads topic, payload and content type as ever. At the edge exactly the bytes that
were signed are put together again. Each value has one form, and a property that stands twice is refused.
"""

import base64
import binascii
import re
from typing import Final

from wave.bus.message import Message, MessageFields, Payload
from wave.bus.mqtt_line import Carried
from wave.bus.mqtt_topic import message_topic, place
from wave.bus.sheaf import Place
from wave.codec import VERSION, Value, decode, encode, reader, record_bytes
from wave.errors import Malformed
from wave.limits import LIMITS

SEVERAL: Final = "application/wave-payloads"
"""The content type of several payloads in one: the canonical form of (content type, bytes) pairs."""

_MARK: Final = "wave-"
_NAMES: Final = frozenset(
    f"{_MARK}{name}"
    for name in (
        "version",
        "sender",
        "permission",
        "namespace",
        "resource",
        "persist",
        "created",
        "expires",
        "sequence",
        "nonce",
        "proof",
        "signature",
        "place",
    )
)
_read_place = reader(Place)
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")


def carried(message: Message, topic: str | None = None) -> Carried:
    """Return the publication of a message; at another ``topic`` than its own, its resource travels beside it."""
    properties = {
        "version": str(message.fields.version),
        "sender": bytes_text(message.sender),
        "permission": message.permission,
        "persist": "1" if message.persist else "0",
        "created": str(message.created),
        "expires": str(message.expires),
        "sequence": str(message.sequence),
        "nonce": bytes_text(message.nonce),
        "signature": bytes_text(message.signature),
    }
    if message.proof is not None:
        properties["proof"] = bytes_text(message.proof)
    if message.place is not None:
        properties["place"] = bytes_text(record_bytes(message.place))
    if topic is None:
        topic = message_topic(message.namespace, message.resource)
    else:
        properties["namespace"] = bytes_text(message.namespace)
        properties["resource"] = str(message.resource)
    content_type, payload = message.content_type, message.payload
    if len(message.payloads) > 1 or content_type == SEVERAL:
        content_type = SEVERAL
        payload = encode(tuple((one.content_type, one.data) for one in message.payloads))
    return Carried(topic, payload, content_type, tuple((_MARK + name, text) for name, text in properties.items()))


def read(publication: Carried, *, beside: bool = False) -> Message:
    """Return the message in a publication, of which nothing is believed yet; :class:`InputError`.

    ``beside``: where it was published travels beside it, and is not the topic.
    """
    properties = _properties(publication)
    try:
        if properties.pop("version") != str(VERSION):
            raise Malformed("a message of another version")
        if beside:
            namespace, resource = text_bytes(properties.pop("namespace")), properties.pop("resource")
        else:
            namespace, where = place(publication.topic)
            resource = str(where)
        fields = MessageFields(
            VERSION,
            text_bytes(properties.pop("sender")),
            properties.pop("permission"),
            namespace,
            resource,
            _payloads(publication),
            _flag(properties.pop("persist")),
            _number(properties.pop("created")),
            _number(properties.pop("expires")),
            _number(properties.pop("sequence")),
            text_bytes(properties.pop("nonce")),
            text_bytes(properties.pop("proof")) if "proof" in properties else None,
        )
        signature = text_bytes(properties.pop("signature"))
        stands = _place(text_bytes(properties.pop("place"))) if "place" in properties else None
    except KeyError as missing:
        raise Malformed(f"a publication without {_MARK}{missing.args[0]}") from None
    if properties:
        raise Malformed(f"a publication with {_MARK}{min(properties)}, which has no place in it")
    return Message(record_bytes(fields), signature, stands)


def _properties(publication: Carried) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in publication.user:
        if name.startswith(_MARK):
            if name not in _NAMES:
                raise Malformed(f"a publication with {name[:60]!r}, which nobody here understands")
            if name.removeprefix(_MARK) in found:
                raise Malformed(f"{name} stands twice in a publication")
            found[name.removeprefix(_MARK)] = text
    return found


def _payloads(publication: Carried) -> tuple[Payload, ...]:
    if publication.content_type != SEVERAL:
        return (Payload(publication.content_type, publication.payload),)
    found: list[Payload] = []
    value: Value = decode(publication.payload, bound=LIMITS.message_bytes)
    for one in value if isinstance(value, tuple) else ():
        match one:
            case (str(content_type), bytes(data)):
                found.append(Payload(content_type, data))
            case _:
                raise Malformed("several payloads that cannot be told apart")
    if not found or (len(found) == 1 and found[0].content_type != SEVERAL):
        raise Malformed("several payloads that are not several")
    return tuple(found)


def _place(data: bytes) -> Place:
    found = _read_place(data)
    if found is None:
        raise Malformed("a place in a sheaf that cannot be read")
    return found


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise Malformed(f"{text[:20]!r} is no number of a message")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise Malformed("a flag is 0 or 1")
    return text == "1"


def bytes_text(data: bytes) -> str:
    """Return bytes as URL-safe base64 without padding, as ids are written."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def text_bytes(text: str) -> bytes:
    """Return the bytes that a text stands for; :class:`Malformed` unless it is just what :func:`bytes_text` writes."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(f"{text[:20]!r} does not stand for bytes") from None
    if bytes_text(data) != text:
        raise Malformed(f"{text[:20]!r} does not stand for bytes")
    return data
