"""A value and its one canonical byte string (MessagePack), and that string's text forms.

Records (typed, positional) go through msgspec, which is what makes a cold check cost little more than its signatures;
untyped values go through msgpack. Both write the same bytes, and both readers accept only bytes that the writer would
give back, so a thing has exactly one encoding and one hash.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, Literal, TypeAlias, TypeVar, dataclass_transform

import msgpack
import msgspec

from wave.errors import BadArmour, Malformed, NotCanonical, TooLarge, UnknownVersion
from wave.limits import LIMITS

Value: TypeAlias = "bool | int | bytes | str | tuple[Value, ...] | None"

Id = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Time = Annotated[int, msgspec.Meta(ge=0, le=LIMITS.latest_time)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
ConditionArguments = Annotated[tuple[int | str | None, ...], msgspec.Meta(max_length=LIMITS.condition_arguments)]
Text = Annotated[str, msgspec.Meta(max_length=LIMITS.text_characters)]
Commitments = Annotated[tuple[Id, ...], msgspec.Meta(min_length=1, max_length=LIMITS.commitments_per_object)]
VERSION: Final = 1
Version: TypeAlias = Literal[1]
_FIXARRAY = 0x90
_COLUMNS = 64
_LABEL = re.compile(r"[A-Z]+(?: [A-Z]+)*")


def between(fewest: int, most: int) -> msgspec.Meta:
    """Return the annotation for an array or text of ``fewest`` to ``most`` items."""
    return msgspec.Meta(min_length=fewest, max_length=most)


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A positional record. Subclasses name their fields in wire order; a published one begins with its version."""


R = TypeVar("R", bound=Record)


class Format(Generic[R]):
    """The canonical form of one kind of record, whose first field is a ``Version``, at most ``bound`` bytes long.

    ``decode(data)`` returns the record that ``data`` holds, or raises :class:`TooLarge`, :class:`UnknownVersion` or
    :class:`Malformed`. It is a closure, for it stands on the path of every check.
    """

    __slots__ = ("decode",)

    def __init__(self, record: type[R], what: str, bound: int = LIMITS.object_bytes) -> None:
        read = msgspec.msgpack.Decoder(record).decode
        write = msgspec.msgpack.Encoder().encode

        def decode(data: bytes) -> R:
            if len(data) > bound:
                raise TooLarge(f"a {what} of {len(data)} bytes; at most {bound} are accepted")
            try:
                record = read(data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise _fault(data, what, f": {error}") from None
            if write(record) != data:
                raise NotCanonical(f"a {what} that is not in its canonical form")
            return record

        self.decode = decode

    def encode(self, record: R) -> bytes:
        """Return the canonical bytes; :class:`TooLarge` or :class:`Malformed` when no reader would take them."""
        data = record_bytes(record)
        self.decode(data)
        return data


def reader(record: type[R]) -> Callable[[bytes], R | None]:
    """Return what reads a record's canonical bytes quickly, and gives None for any others, without saying why."""
    read = msgspec.msgpack.Decoder(record).decode
    write = msgspec.msgpack.Encoder().encode

    def quick(data: bytes) -> R | None:
        try:
            found = read(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return found if write(found) == data else None

    return quick


_BASE64 = msgspec.json.Decoder(bytes)


def from_base64(text: str) -> bytes:
    """Return the bytes that ``text`` holds in base64, padded and without line ends; :class:`Malformed`.

    msgspec reads it out of a JSON string in a third of the time that the standard library takes.
    """
    try:
        if "\\" not in text:
            return _BASE64.decode(f'"{text}"')
    except (msgspec.MsgspecError, UnicodeEncodeError):
        pass
    raise Malformed("that is not base64")


def _fault(data: bytes, what: str, reason: str = "") -> Malformed:
    """Return what is wrong with ``data``: it is of another version (which may have other fields), or malformed."""
    if len(data) > 1 and _FIXARRAY < data[0] < _FIXARRAY + 16 and VERSION != data[1] < 0x80:  # a small array and int
        return UnknownVersion(f"a {what} of version {data[1]}; this release knows version {VERSION}")
    return Malformed(f"not a {what}{reason}")


def amend(record: R, **changes: object) -> R:
    """Return a copy of ``record`` with some fields changed."""
    return msgspec.structs.replace(record, **changes)


def record_bytes(record: Record) -> bytes:
    """Return a record's MessagePack bytes without asking whether a reader would take them; :class:`Malformed`."""
    try:
        return msgspec.msgpack.encode(record)
    except (msgspec.MsgspecError, OverflowError, TypeError, UnicodeEncodeError) as error:
        raise Malformed(f"cannot be encoded: {error}") from None


def encode(value: Value) -> bytes:
    """Return the canonical bytes of an untyped value; :class:`Malformed` when it has none (a float, a map)."""
    _check(value)
    try:
        data: bytes = msgpack.packb(value, use_bin_type=True)
    except (ValueError, OverflowError, UnicodeEncodeError) as error:
        raise Malformed(f"cannot be encoded: {error}") from None
    return data


def decode(data: bytes, *, bound: int = LIMITS.object_bytes) -> Value:
    """Return the untyped value that ``data`` holds, arrays as tuples; :class:`TooLarge` or :class:`Malformed`."""
    if len(data) > bound:
        raise TooLarge(f"{len(data)} bytes; at most {bound} are accepted")
    try:
        value: Any = msgpack.unpackb(data, use_list=False, raw=False, max_map_len=0, max_ext_len=0)
        _check(value)
        again = msgpack.packb(value, use_bin_type=True)
    except (ValueError, OverflowError, UnicodeError, msgpack.UnpackException) as error:
        raise Malformed(f"not canonical MessagePack: {error}") from None
    if again != data:
        raise NotCanonical("bytes that are not in their canonical form")
    decoded: Value = value
    return decoded


def _check(value: object, depth: int = 0) -> None:
    if type(value) is tuple:  # msgpack hands extensions over as a subclass
        if depth >= LIMITS.nesting:
            raise Malformed(f"arrays within arrays; at most {LIMITS.nesting} deep are accepted")
        for item in value:
            _check(item, depth + 1)
    elif value is not None and type(value) not in (bool, int, bytes, str):
        raise Malformed(f"a value of type {type(value).__name__} has no canonical form")


def sha256(data: bytes) -> bytes:
    """Return the 32 bytes of SHA-256."""
    return hashlib.sha256(data).digest()


def id_text(identity: bytes) -> str:
    """Return an id as text: URL-safe base64 without padding, 43 characters for 32 bytes."""
    return base64.urlsafe_b64encode(identity).rstrip(b"=").decode("ascii")


def parse_id(text: str) -> bytes | None:
    """Return the 32 bytes that ``text`` stands for, or None when it is not the text of an id."""
    if len(text) != 43:
        return None
    try:
        identity = base64.b64decode(text.encode("ascii") + b"=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return identity if id_text(identity) == text else None


def armour(label: str, data: bytes) -> str:
    """Return ``data`` as a block of text between BEGIN and END lines that name it."""
    body = base64.b64encode(data).decode("ascii")
    lines = [body[start : start + _COLUMNS] for start in range(0, len(body), _COLUMNS)]
    return "\n".join([f"-----BEGIN WAVE {label}-----", *lines, f"-----END WAVE {label}-----", ""])


def dearmour(text: str) -> tuple[str, bytes]:
    """Return label and bytes of a block; :class:`BadArmour` unless it is exactly what :func:`armour` writes."""
    first, _, rest = text.partition("\n")
    label = first.removeprefix("-----BEGIN WAVE ").removesuffix("-----")
    if first != f"-----BEGIN WAVE {label}-----" or _LABEL.fullmatch(label) is None:
        raise BadArmour("the text does not begin with a BEGIN WAVE line")
    body, found, after = rest.partition(f"-----END WAVE {label}-----")
    if not found or after != "\n":
        raise BadArmour("the text does not end with its END WAVE line")
    try:
        data = base64.b64decode(body.replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise BadArmour("the text between BEGIN and END is not base64") from None
    if armour(label, data) != text:
        raise BadArmour("the text between BEGIN and END was changed")
    return label, data
