"""The self-certifying object that every published thing is: kind, body, signature, and an id that is its hash."""

from typing import Final

from wave.codec import Record, Signature, amend, armour, dearmour, record_bytes, sha256
from wave.codec import decode as decode_value
from wave.codec import encode as encode_value
from wave.entities import keys
from wave.errors import Malformed, TooLarge, WrongKind
from wave.limits import LIMITS

ENTITY: Final = "entity"
DOT: Final = "dot"
NAME: Final = "name"
ROUTE: Final = "route"
MESSAGE: Final = "message"
KINDS: Final = (ENTITY, DOT, NAME, ROUTE, MESSAGE)

_PREFIXES: Final = {kind: b"wave/" + kind.encode() + b"/v1\0" for kind in KINDS}
_PARTS: Final = 3


class SignedObject(Record, frozen=True):
    """An object as it travels: its kind, the bytes that were signed and the signature (64 bytes)."""

    kind: str
    body: bytes
    signature: Signature

    @property
    def id(self) -> bytes:
        """The object's id: SHA-256 of the signing input."""
        return sha256(signing_input(self.kind, self.body))

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of the object; :class:`TooLarge` when no reader would take them."""
        data = encode_value((self.kind, self.body, self.signature))
        bound = LIMITS.message_bytes if self.kind == MESSAGE else LIMITS.object_bytes
        if len(data) > bound:
            raise TooLarge(f"an object of {len(data)} bytes; at most {bound} are accepted")
        return data

    def to_text(self) -> str:
        """Return the object as text armour."""
        return armour(self.kind.upper(), self.to_bytes())


def signing_input(kind: str, body: bytes) -> bytes:
    """Return the bytes that a signature over ``body`` covers; :class:`WrongKind` for a kind that does not exist."""
    try:
        return _PREFIXES[kind] + body
    except KeyError:
        raise WrongKind(f"there is no object of kind {kind[:40]!r}") from None


def revocation_preimage(seed: bytes, kind: str, fields: Record) -> bytes:
    """Return the preimage (32 bytes) whose hash commits an object of these fields to a revoker's seed.

    It follows from the seed and every field but the commitments themselves, so that nothing need be stored.
    """
    blank = sha256(signing_input(kind, record_bytes(amend(fields, commitments=()))))
    return keys.derive(seed, b"wave/revocation/v1\0" + blank)


def decode_object(data: bytes, *, bound: int = LIMITS.object_bytes) -> SignedObject:
    """Return the object that ``data`` holds; raises :class:`Malformed` or :class:`TooLarge`. Verifies no signature."""
    if len(data) > bound:
        raise TooLarge(f"an object of {len(data)} bytes; at most {bound} are accepted")
    value = decode_value(data, bound=bound)
    if not isinstance(value, tuple) or len(value) != _PARTS:
        raise Malformed("not an object")
    kind, body, signature = value
    if not isinstance(kind, str) or not isinstance(body, bytes) or not isinstance(signature, bytes):
        raise Malformed("not an object: kind, body and signature are not text, bytes and bytes")
    if len(signature) != keys.SIGNATURE_BYTES:
        raise Malformed("not an object: its signature is not 64 bytes long")
    signing_input(kind, b"")
    return SignedObject(kind, body, signature)


def read_object(data: bytes, kind: str) -> SignedObject:
    """Return the object of ``kind`` in ``data``, which is its bytes; :class:`WrongKind` when it is another."""
    found = decode_object(data)
    if found.kind != kind:
        raise WrongKind(f"this is an object of kind {found.kind!r}, not {kind!r}")
    return found


def from_text(text: str) -> SignedObject:
    """Return the object in a block of text armour; :class:`BadArmour`, :class:`Malformed` or :class:`WrongKind`."""
    label, data = dearmour(text)
    return read_object(data, label.lower())
