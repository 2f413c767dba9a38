"""The fields of a message: its one canonical record, over which its signature goes, lengths included."""

from typing import Annotated, Final

from wave.codec import VERSION, Count, Format, Id, Record, Time, Version, between
from wave.errors import BadTime
from wave.limits import LIMITS

PUBLISH: Final = "publish"
SUBSCRIBE: Final = "subscribe"
QUERY: Final = "query"
LIST: Final = "list"
ROUTE: Final = "route"
OF_PATTERNS: Final = (SUBSCRIBE, QUERY, LIST)
NONCE_BYTES: Final = 16
JSON: Final = "application/json"


class Payload(Record, frozen=True):
    """One payload: what it is, and its bytes."""

    content_type: Annotated[str, between(0, LIMITS.content_type_characters)]
    data: bytes


class MessageFields(Record, frozen=True):
    """The body of a message, in wire order. Times are UTC seconds."""

    version: Version
    sender: Id
    permission: Annotated[str, between(1, LIMITS.permission_characters)]
    namespace: Id
    resource: str
    payloads: Annotated[tuple[Payload, ...], between(1, LIMITS.payloads_per_message)]
    persist: bool
    created: Time
    expires: Time
    sequence: Count
    nonce: Annotated[bytes, between(NONCE_BYTES, NONCE_BYTES)]
    proof: Id | None


FORMAT: Final = Format(MessageFields, "message", LIMITS.message_bytes)


def body_of(
    sender: bytes,
    *,
    permission: str,
    namespace: bytes,
    resource: str,
    created: int,
    expires: int,
    nonce: bytes,
    payload: bytes = b"",
    content_type: str = JSON,
    payloads: tuple[Payload, ...] = (),
    persist: bool = False,
    sequence: int = 0,
    proof: bytes | None = None,
) -> bytes:
    """Return the body of a message; ``nonce`` is 16 bytes never used before, ``proof`` a proof's id.

    ``payloads`` stand in the place of ``payload`` and ``content_type``. Raises :class:`BadTime`, :class:`BadPattern`,
    :class:`TooLarge`, :class:`Malformed`.
    """
    if not 0 < expires - created <= lifetime_allowed(persist=persist):
        most = lifetime_allowed(persist=persist)
        raise BadTime(f"a message is valid for 1 to {most} seconds, not {expires - created}")
    fields = MessageFields(
        VERSION,
        sender,
        permission,
        namespace,
        str(resource),
        payloads or (Payload(content_type, payload),),
        persist,
        created,
        expires,
        sequence,
        nonce,
        proof,
    )
    return FORMAT.encode(fields)


def lifetime_allowed(*, persist: bool) -> int:
    """Return for how many seconds a message may be valid."""
    return LIMITS.persist_lifetime if persist else LIMITS.message_lifetime
