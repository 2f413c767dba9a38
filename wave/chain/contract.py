"""The registry contract as Python sees it: ABI, bytecode, addresses, and the typed records of its events.

``registry.vy`` is the source; ``registry.json`` holds what the pinned compiler made of it. Run
``python -m wave.chain.contract`` after a change of the source (needs the development dependencies).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from eth_hash.auto import keccak

SOURCE: Final = Path(__file__).with_name("registry.vy")
ARTIFACT: Final = Path(__file__).with_name("registry.json")

CHAIN_ID: Final = 0x57415645  # "WAVE": the embedded chain
REGISTRY: Final = bytes.fromhex(
    "5fbdb2315678afecb367f032d93f642f64180aa3"
)  # first contract of the first development account

DATA_BYTES: Final = 8192  # publish takes no more
PREIMAGES: Final = 64  # revoke takes no more at once
WORD: Final = 32

REVOKED_SLOT: Final = 0  # storage slot of revoked; an entry stands at keccak256(slot ++ key)
ALIAS_SLOT: Final = 1
COMMITTED_SLOT: Final = 2

# First topics: Keccak-256 of Published(bytes), Anchored(bytes32,uint256), Revoked(bytes32), Claimed(bytes32,bytes32).
PUBLISHED: Final = "b402ee9f3ee34034c165c6cabce27a741a8f7ed132f4ffd453cb3b6e41635b40"
ANCHORED: Final = "fde54488b5523b3abf19b99976dd0e2c531fbcd233d0eb682c96c3a18cf6b3c1"
REVOKED: Final = "e5af7daed5ab2a2dc5f98d53619f05089c0c14d11a6621f6b906a2366c9a7ab3"
CLAIMED: Final = "38d6042dbdae8e73a7f6afbabd3fbe0873f9f5ed3cd71294591c3908c2e65fee"
_PUBLISHED, _ANCHORED, _REVOKED, _CLAIMED = (bytes.fromhex(kind) for kind in (PUBLISHED, ANCHORED, REVOKED, CLAIMED))
_AFTER_ONE_WORD: Final = WORD.to_bytes(WORD, "big")  # where the one argument of a dynamic type begins


@dataclass(frozen=True, slots=True)
class Event:
    """Something the registry said: in the block at ``height``, as its ``index``-th log.

    ``block_hash`` is that block's, or empty when whoever passed the event on did not say.
    """

    height: int
    index: int
    block_hash: bytes = field(default=b"", kw_only=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Published(Event):
    """The bytes of an object, unchecked."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Anchored(Event):
    """A Merkle root over ``count`` objects."""

    root: bytes
    count: int


@dataclass(frozen=True, slots=True)
class Revocation(Event):
    """The preimage of ``commitment`` was shown: whatever carries it is revoked from this height on."""

    commitment: bytes


@dataclass(frozen=True, slots=True)
class Claimed(Event):
    """The global alias ``label`` belongs to ``target``."""

    label: bytes
    target: bytes


def read_event(height: int, index: int, topics: Sequence[bytes], data: bytes, block_hash: bytes = b"") -> Event:
    """Return the event in a log entry of the registry; ValueError when it is none of the registry's."""
    kind, *words = topics
    if kind == _PUBLISHED and not words:
        size = int.from_bytes(data[WORD : 2 * WORD], "big")
        if data[:WORD] != _AFTER_ONE_WORD or len(data) != 2 * WORD + -(-size // WORD) * WORD:
            raise ValueError("not the form of a published object")
        return Published(height, index, data[2 * WORD : 2 * WORD + size], block_hash=block_hash)
    if any(len(word) != WORD for word in words):
        raise ValueError("not the form of a topic")
    if kind == _ANCHORED and len(words) == 1 and len(data) == WORD:
        return Anchored(height, index, words[0], int.from_bytes(data, "big"), block_hash=block_hash)
    if kind == _REVOKED and len(words) == 1 and not data:
        return Revocation(height, index, words[0], block_hash=block_hash)
    if kind == _CLAIMED and not words and len(data) == 2 * WORD:
        return Claimed(height, index, data[:WORD].rstrip(b"\0"), data[WORD:], block_hash=block_hash)
    raise ValueError("not an event of the registry")


def abi() -> list[dict[str, Any]]:
    """Return the contract's ABI."""
    entries: list[dict[str, Any]] = _artifact()["abi"]
    return entries


def bytecode() -> bytes:
    """Return the code that deploys the contract."""
    return bytes.fromhex(_artifact()["bytecode"])


def runtime() -> bytes:
    """Return the code that stands at the contract's address once it is deployed."""
    return bytes.fromhex(_artifact()["runtime"])


def checksum_address(address: bytes) -> str:
    """Return an address (20 bytes) as text with its checksum in the letters' case (ERC-55)."""
    text = address.hex()
    signs = keccak(text.encode("ascii")).hex()
    return "0x" + "".join(one.upper() if sign >= "8" else one for one, sign in zip(text, signs, strict=False))


def pad_label(label: str) -> bytes:
    """Return ``label`` as the contract's key: its ASCII bytes, zeros on the right; ValueError when it does not fit."""
    raw = label.encode("ascii")
    if not 0 < len(raw) <= WORD or b"\0" in raw:
        raise ValueError("a label is 1 to 32 ASCII characters")
    return raw.ljust(WORD, b"\0")


def commitment(label: bytes, target: bytes, salt: bytes) -> bytes:
    """Return what announces a claim of the padded ``label`` for ``target``: Keccak-256 of the three, 32 bytes each."""
    if not len(label) == len(target) == len(salt) == WORD:
        raise ValueError("label, target and salt have 32 bytes each")
    return keccak(label + target + salt)


def compile_source() -> dict[str, Any]:
    """Return what ``registry.json`` should hold, by compiling the source afresh; vyper is a development dependency."""
    import vyper
    from vyper.compiler import compile_code

    made = compile_code(SOURCE.read_text("utf-8"), output_formats=["abi", "bytecode", "bytecode_runtime"])
    return {
        "compiler": f"vyper {vyper.__version__.partition('+')[0]}",
        "abi": made["abi"],
        "bytecode": made["bytecode"].removeprefix("0x"),
        "runtime": made["bytecode_runtime"].removeprefix("0x"),
    }


@cache
def _artifact() -> dict[str, Any]:
    artifact: dict[str, Any] = json.loads(ARTIFACT.read_text("utf-8"))
    return artifact


if __name__ == "__main__":
    ARTIFACT.write_text(json.dumps(compile_source(), indent=1) + "\n", "utf-8")
