"""Questions as JSON: read strictly, and held to the type that an application or a model takes."""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from wave.errors import BadQuery


def read_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in a body: no key twice, no number that is none; :class:`BadQuery`."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadQuery(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadQuery("the body is no JSON object")
    return value


def check_input(value: Any, input_type: str) -> Any:
    """Return one input of an application, in the form that models take; :class:`BadQuery`.

    ``integers``, ``floats`` and ``doubles`` are arrays of numbers with one at least, ``strings`` a text, ``bytes`` a
    text in base64.
    """
    if input_type in ("strings", "bytes"):
        if not isinstance(value, str):
            raise BadQuery(f"an input of type {input_type} is a text")
        return _base64(value) if input_type == "bytes" else value
    if not isinstance(value, list) or not value:
        raise BadQuery(f"an input of type {input_type} is an array of numbers, one at least")
    return [_NUMBER[input_type](one) for one in value]


def integer(value: Any) -> int:
    """Return a whole number of 64 bits; :class:`BadQuery`."""
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise BadQuery("a whole number is wanted")
    return value


def number(value: Any) -> float:
    """Return a number; :class:`BadQuery`."""
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int and abs(value) < 2**1000:
        return float(value)
    raise BadQuery("a number is wanted")


_NUMBER: Final[Mapping[str, Callable[[Any], float]]] = {"integers": integer, "floats": number, "doubles": number}


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadQuery("an input of type bytes is a text in base64") from None
    return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")
