"""The named values in a payload, to which conditions such as ``set_point 66..74`` apply. One reading for everybody.

Router and device must not read a payload differently, so it is read strictly: JSON without repeated keys, without
infinities, numbers exact. What cannot be read has no values, and a condition on a missing value refuses.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from wave.errors import BadPayload
from wave.limits import LIMITS
from wave.namespace.condition import Context, Number

ALSO: Final[Mapping[str, str]] = {"hsp": "set_point", "csp": "set_point"}
"""Names of values that bounds on a more general name hold for as well."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_JSON = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json")


def read_json(payload: bytes) -> Any:
    """Return the value in a JSON payload, fractions as :class:`Decimal`; :class:`BadPayload` for anything ambiguous.

    Arrays and objects are at most ``LIMITS.nesting`` deep, so that whoever handles the value may go down into it.
    """
    try:
        value = json.loads(
            payload.decode("utf-8"), object_pairs_hook=_once, parse_float=_decimal, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise BadPayload(f"the payload is not JSON: {error}") from None
    if payload.count(b"[") + payload.count(b"{") > LIMITS.nesting:
        _not_too_deep(value)
    return value


def _not_too_deep(value: Any) -> None:
    depth, layer = 0, [value]
    while layer := [one for one in layer if isinstance(one, dict | list)]:
        depth += 1
        if depth > LIMITS.nesting:
            raise BadPayload(f"the payload has arrays within arrays; at most {LIMITS.nesting} deep are accepted")
        layer = [part for one in layer for part in (one.values() if isinstance(one, dict) else one)]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:  # its exponent is beyond what Decimal counts
        raise ValueError("a number out of all proportion") from None
    if abs(number.adjusted()) > LIMITS.context_values:
        raise ValueError("a number out of all proportion")
    return number


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def contexts(content_type: str, payload: bytes) -> tuple[Context, ...]:
    """Return the sets of named values in a payload, at least one (which may be empty).

    They are the numbers at the top of a JSON object by their keys, or a lone JSON number as ``value``. A name with
    several values (``set_point``, for a payload with ``hsp`` and ``csp``) gets a set for each.
    """
    if not _JSON.fullmatch(content_type):
        return ({},)
    try:
        value = read_json(payload)
    except BadPayload:
        return ({},)
    if _is_number(value):
        return ({"value": value},)
    if not isinstance(value, dict):
        return ({},)
    return spread({name: number for name, number in value.items() if _NAME.fullmatch(name) and _is_number(number)})


def spread(values: Mapping[str, Number]) -> tuple[Context, ...]:
    """Return ``values`` as the sets in which each general name has one value."""
    general: dict[str, list[Number]] = {}
    for name, number in values.items():
        if name in ALSO:
            general.setdefault(ALSO[name], []).append(number)
    for name, numbers in general.items():
        if name in values:
            numbers.append(values[name])
    rounds = max((len(numbers) for numbers in general.values()), default=1)
    return tuple(
        {**values, **{name: numbers[turn % len(numbers)] for name, numbers in general.items()}}
        for turn in range(rounds)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)
