"""What a node's JSON-RPC answer says: a result, an error of the node's, or one of ours that a WAVE node passed on.

Answers come from strangers: whatever cannot be read as what it should be makes the chain unavailable.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from wave.errors import ChainUnavailable, WaveError, codes

_log = logging.getLogger(__name__)
_WORDS: Final = 200  # characters of a node's own words that are passed on

UNREADABLE: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What reading an answer of the wrong form raises."""


class NodeError(Exception):
    """A JSON-RPC error that a node answers with: its code (0: none that can be read) and its words on one line."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


def result(answer: Any) -> Any:
    """Return the result in an answer, None included; NodeError, or the error of ours that it names."""
    if "error" in answer:
        raise_ours(answer)
        error = answer["error"]
        code = error.get("code") if isinstance(error, dict) else 0
        words = error.get("message", "") if isinstance(error, dict) else error
        raise NodeError(code if isinstance(code, int) else 0, plain(words))
    return answer.get("result")


def number(form: Any, most: int = 2**256 - 1) -> int:
    """Return the integer that ``form`` ("0x1f") stands for; ValueError when it is above ``most`` or negative."""
    if form[:2] != "0x":
        raise ValueError("not in hexadecimal")
    value = int(form, 16)
    if not 0 <= value <= most:
        raise ValueError("a number out of all proportion")
    return value


def data(form: Any, size: int | None = None) -> bytes:
    """Return the bytes that ``form`` ("0xbeef") stands for, ``size`` of them if that is given; ValueError."""
    if form[:2] != "0x":
        raise ValueError("not in hexadecimal")
    value = bytes.fromhex(form[2:])
    if size is not None and len(value) != size:
        raise ValueError("not as many bytes as there should be")
    return value


def to_hex(value: bytes) -> str:
    """Return the form of ``value`` in JSON-RPC."""
    return "0x" + value.hex()


def plain(text: object) -> str:
    """Return a node's own words, cut short and on one line."""
    return " ".join(str(text).split())[:_WORDS]


def raise_ours(answer: Any) -> None:
    """Raise the error that one of our own nodes names by its code, if the answer holds one."""
    error: Any = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict) and (cls := codes().get(str(error.get("data")))):
        raise cls(plain(error.get("message")))


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever an answer of the node ``name`` makes its reader stumble over into ChainUnavailable."""
    try:
        yield
    except WaveError:
        raise
    except NodeError as error:
        raise ChainUnavailable(f"{name} answers with an error: {error.words}") from None
    except UNREADABLE as error:
        _log.debug("unreadable answer of %s: %s", name, type(error).__name__)
        raise ChainUnavailable(f"{name} answers with something unreadable") from None
