"""RLP, Ethereum's serialisation: byte strings and lists of them, each with exactly one encoding.

The reader takes only what the writer writes, so that whatever was hashed has one meaning. It loads nothing, which keeps
a device that checks a staple quick to start.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from wave.errors import Malformed, NotCanonical, TooLarge

Item: TypeAlias = "bytes | Sequence[Item]"

DEPTH: Final = 4  # lists within lists; a trie's node has two
_STRING, _LIST = 0x80, 0xC0
_SHORT: Final = 55  # bytes of a payload whose length stands in the first byte


def encode(item: Item) -> bytes:
    """Return the bytes of a string or a list."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < _STRING:
            return item
        return _prefix(len(item), _STRING) + item
    body = b"".join([encode(one) for one in item])
    return _prefix(len(body), _LIST) + body


def number(value: int) -> bytes:
    """Return the string that stands for a number: big-endian, without zeros in front."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def read_number(raw: bytes, most: int) -> int:
    """Return the number that a string stands for; :class:`NotCanonical`, :class:`TooLarge` when above ``most``."""
    if raw[:1] == b"\0":
        raise NotCanonical("a number with zeros in front")
    value = int.from_bytes(raw, "big")
    if value > most:
        raise TooLarge(f"a number above {most}")
    return value


def decode(data: bytes) -> Item:
    """Return the one item that ``data`` holds, lists as lists; :class:`Malformed`, :class:`NotCanonical`."""
    item, end = _item(data, 0, len(data), 0)
    if end != len(data):
        raise Malformed("bytes after the end of an RLP item")
    return item


def _prefix(length: int, base: int) -> bytes:
    if length <= _SHORT:
        return bytes((base + length,))
    size = number(length)
    return bytes((base + _SHORT + len(size),)) + size


def _item(data: bytes, at: int, end: int, depth: int) -> tuple[Item, int]:
    """Return the item that begins at ``at``, and where it ends: at ``end`` or before."""
    if at >= end:
        raise Malformed("an RLP item that is cut short")
    first = data[at]
    if first < _STRING:
        return data[at : at + 1], at + 1
    if first < _LIST:
        start, stop = _span(data, at, end, first, _STRING)
        if stop - start == 1 and data[start] < _STRING:
            raise NotCanonical("one byte that RLP writes as itself")
        return data[start:stop], stop
    start, stop = _span(data, at, end, first, _LIST)
    if depth >= DEPTH:
        raise TooLarge(f"lists within lists; at most {DEPTH} deep are accepted")
    items = []
    while start < stop:
        item, start = _item(data, start, stop, depth + 1)
        items.append(item)
    return items, stop


def _span(data: bytes, at: int, end: int, first: int, base: int) -> tuple[int, int]:
    """Return where the payload of the item at ``at`` begins and ends."""
    length, start = first - base, at + 1
    if length > _SHORT:
        width = length - _SHORT
        size = data[start : start + width]
        start += width
        length = int.from_bytes(size, "big")
        if start <= end and (not size[0] or length <= _SHORT):
            raise NotCanonical("a length that RLP writes shorter")
    if start > end or length > end - start:
        raise Malformed("an RLP item that is cut short")
    return start, start + length
