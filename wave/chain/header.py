"""Block headers: from a node's JSON to the bytes whose Keccak-256 is the block's hash, and strictly back.

A header that hashes to a trusted block hash says the truth, whoever handed it over.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from eth_hash.auto import keccak

from wave.chain import rlp
from wave.errors import BadHeader, InputError
from wave.limits import LIMITS

HIGHEST: Final = 2**53  # block
_NUMBER: Final = -1  # in place of a size
_DATA: Final = -2
_WORD: Final = 2**256 - 1

# Name in eth_getBlockByNumber, size in bytes; in the order of the header.
_FIELDS: Final = (
    ("parentHash", 32),
    ("sha3Uncles", 32),
    ("miner", 20),
    ("stateRoot", 32),
    ("transactionsRoot", 32),
    ("receiptsRoot", 32),
    ("logsBloom", 256),
    ("difficulty", _NUMBER),
    ("number", _NUMBER),
    ("gasLimit", _NUMBER),
    ("gasUsed", _NUMBER),
    ("timestamp", _NUMBER),
    ("extraData", _DATA),
    ("mixHash", 32),
    ("nonce", 8),
)
_LATER_FIELDS: Final = (  # of later forks: London, Shanghai, Cancun, Prague
    ("baseFeePerGas", _NUMBER),
    ("withdrawalsRoot", 32),
    ("blobGasUsed", _NUMBER),
    ("excessBlobGas", _NUMBER),
    ("parentBeaconBlockRoot", 32),
    ("requestsHash", 32),
)
_PARENT, _STATE, _HEIGHT, _TIME = 0, 3, 8, 11
_MOST_FIELDS: Final = 32  # forks to come append further ones
_HEX = re.compile(r"0x[0-9a-fA-F]*")


@dataclass(frozen=True, slots=True)
class Block:
    """What names a block: number, hash, its parent's hash, and its time in UNIX seconds."""

    number: int
    hash: bytes
    parent_hash: bytes
    time: int


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header: ``hash`` is the Keccak-256 of ``rlp``, ``time`` in UNIX seconds."""

    number: int
    hash: bytes
    parent_hash: bytes
    time: int
    state_root: bytes
    rlp: bytes

    @classmethod
    def from_rlp(cls, data: bytes) -> Self:
        """Return the header in ``data``, parsed strictly; :class:`BadHeader`. Its hash says which block it is of."""
        if len(data) > LIMITS.header_bytes:
            raise BadHeader(f"a header of {len(data)} bytes; at most {LIMITS.header_bytes} are accepted")
        try:
            fields = rlp.decode(data)
            if isinstance(fields, bytes) or not len(_FIELDS) <= len(fields) <= _MOST_FIELDS:
                raise BadHeader("not as many fields as a header has")
            if not all(isinstance(field, bytes) for field in fields):
                raise BadHeader("a header with a list for a field")
            return cls._of(cast("Sequence[bytes]", fields), data)
        except InputError as error:
            raise BadHeader(f"not a block header: {error.message}") from None

    @classmethod
    def _of(cls, fields: Sequence[bytes], data: bytes) -> Self:
        for (name, size), field in zip((*_FIELDS, *_LATER_FIELDS), fields, strict=False):
            if size == _NUMBER:
                rlp.read_number(field, _WORD)
            elif size not in (_DATA, len(field)):
                raise BadHeader(f"a header whose {name} has {len(field)} bytes")
        return cls(
            rlp.read_number(fields[_HEIGHT], HIGHEST),
            keccak(data),
            fields[_PARENT],
            rlp.read_number(fields[_TIME], LIMITS.latest_time),
            fields[_STATE],
            data,
        )

    @classmethod
    def from_json(cls, form: object) -> Self:
        """Return the header of a block as eth_getBlockByNumber gives it, the hash worked out anew and compared.

        Fields of later forks count when they are there. :class:`BadHeader` for anything but a block's true header.
        """
        if not isinstance(form, Mapping):
            raise BadHeader("a block is a JSON object")
        header = cls.from_rlp(header_bytes(form))
        if header.hash != _field(form, "hash", 32):
            raise BadHeader(f"the header of block {header.number} does not hash to the block's hash")
        return header


def header_bytes(form: Mapping[str, Any]) -> bytes:
    """Return the header that a block's JSON describes, whatever hash it claims; :class:`BadHeader`."""
    fields = [_field(form, name, size) for name, size in _FIELDS]
    fields += [_field(form, name, size) for name, size in _LATER_FIELDS if form.get(name) is not None]
    return rlp.encode(fields)


def _field(form: Mapping[str, Any], name: str, size: int) -> bytes:
    """Return the header's bytes for a field of the JSON."""
    text = form.get(name)
    if isinstance(text, str) and len(text) <= 2 * LIMITS.header_bytes and _HEX.fullmatch(text):
        digits = text[2:]
        if size == _NUMBER:
            if 0 < len(digits) <= 64:
                return rlp.number(int(digits, 16))
        elif len(digits) % 2 == 0 and size in (_DATA, len(digits) // 2):
            return bytes.fromhex(digits)
    raise BadHeader(f"a block without a proper {name}")
