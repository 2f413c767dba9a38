"""The registry contract as Python sees it: ABI, bytecode, addresses, and the typed records of its events.

``registry.vy`` is the source; ``registry.json`` holds what the pinned compiler made of it. Run
``python -m wave.chain.contract`` after a change of the source (needs the development dependencies).
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

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


@dataclass(frozen=True, slots=True)
class Event:
    """Something the registry said: in the block at ``height``, as its ``index``-th log."""

    height: int
    index: int


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


def pad_label(label: str) -> bytes:
    """Return ``label`` as the contract's key: its ASCII bytes, zeros on the right; ValueError when it does not fit."""
    raw = label.encode("ascii")
    if not 0 < len(raw) <= WORD or b"\0" in raw:
        raise ValueError("a label is 1 to 32 ASCII characters")
    return raw.ljust(WORD, b"\0")


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
