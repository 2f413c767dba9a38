"""Resources, patterns over them, and the two exact relations between patterns.

A resource is one or more cells joined by '/'; in a pattern ``+`` stands for exactly one cell and ``*``, at most once,
for zero or more. Cells that begin with ``!`` (metadata) are matched by wildcards like any other.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple, Self

from wave.errors import BadPattern, TooLarge
from wave.limits import LIMITS

ONE: Final = "+"
ANY: Final = "*"

_PATTERN = re.compile(r"(?:[+*]|!?[0-9A-Za-z_.,()$:-]+)(?:/(?:[+*]|!?[0-9A-Za-z_.,()$:-]+))*")


class _Cells(NamedTuple):
    """A pattern taken apart: the cells before its ``*`` and, backwards, those after it (None without a star).

    ``fewest`` is how many cells the shortest resource has that it matches.
    """

    head: tuple[str, ...]
    tail: tuple[str, ...] | None
    fewest: int


_KNOWN: dict[str, _Cells] = {}


def _cells(text: str) -> _Cells:
    """Return a pattern's cells, each text taken apart once (a plain dict: it takes subclasses of str without a key)."""
    cells = _KNOWN.get(text)
    if cells is None:
        cells = _take_apart(text)
        if len(_KNOWN) >= LIMITS.pattern_cache:
            _KNOWN.clear()
        _KNOWN[str(text)] = cells
    return cells


def _take_apart(text: str) -> _Cells:
    if len(text) > LIMITS.pattern_bytes:
        raise TooLarge(f"a pattern of {len(text)} characters; at most {LIMITS.pattern_bytes} are accepted")
    if _PATTERN.fullmatch(text) is None:
        raise BadPattern(f"{text[:80]!r} is not a pattern")
    cells = tuple(text.split("/"))
    if len(cells) > LIMITS.cells_per_pattern:
        raise TooLarge(f"a pattern of {len(cells)} cells; at most {LIMITS.cells_per_pattern} are accepted")
    if ANY not in cells:
        return _Cells(cells, None, len(cells))
    star = cells.index(ANY)
    if ANY in cells[star + 1 :]:
        raise BadPattern(f"{text[:80]!r} has more than one '*'")
    return _Cells(cells[:star], cells[:star:-1], max(1, len(cells) - 1))


class Pattern(str):
    """A pattern's text, known to be well formed; :class:`BadPattern` or :class:`TooLarge` when it is not."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check ``text`` and return it as a pattern."""
        _cells(text)
        return super().__new__(cls, text)

    @property
    def is_resource(self) -> bool:
        """True when the pattern has no wildcard and so names one resource."""
        head, tail, _ = _cells(self)
        return tail is None and ONE not in head


def check_pattern(text: str) -> None:
    """Raise :class:`BadPattern` or :class:`TooLarge` unless ``text`` is a pattern."""
    if text not in _KNOWN:
        _cells(text)


def resource(text: str) -> Pattern:
    """Return ``text`` as a concrete resource; :class:`BadPattern` when it is malformed or holds a wildcard."""
    pattern = Pattern(text)
    if not pattern.is_resource:
        raise BadPattern(f"{text!r} is a pattern, and one concrete resource is wanted", hint="leave '+' and '*' out")
    return pattern


@lru_cache(LIMITS.pattern_cache)
def covers(grant: str, want: str) -> bool:
    """Tell whether ``grant`` matches every concrete resource that ``want`` matches. Exact."""
    head, tail, _ = _KNOWN.get(grant) or _cells(grant)
    wanted, wanted_tail, fewest = _KNOWN.get(want) or _cells(want)
    if tail is None:
        return wanted_tail is None and len(head) == fewest and (head == wanted or _all_cover(head, wanted))
    if fewest < len(head) + len(tail):
        return False
    if wanted_tail is None:
        return _all_cover(head, wanted) and (not tail or _all_cover(tail, wanted[::-1]))
    # Somewhere within the star of `want` stands any cell at all, so there only '+' covers.
    return _all_cover(head, _reaching(wanted, len(head))) and _all_cover(tail, _reaching(wanted_tail, len(tail)))


def _reaching(cells: tuple[str, ...], length: int) -> tuple[str, ...]:
    return cells + (ONE,) * (length - len(cells))


def _all_cover(grant: tuple[str, ...], want: tuple[str, ...]) -> bool:
    """Tell whether each cell of ``grant`` covers the one of ``want``, which is at least as long, at its place."""
    if grant == want[: len(grant)]:
        return True
    return all([cell in (ONE, other) for cell, other in zip(grant, want, strict=False)])  # noqa: C419 - quicker than a generator


def intersect(a: str, b: str) -> tuple[Pattern, ...]:
    """Return patterns whose union matches exactly the resources that both match; none when there is none.

    "Exactly" is among resources within ``LIMITS.cells_per_pattern`` and ``LIMITS.pattern_bytes``: no others can be
    asked about.
    """
    first, second = _cells(a), _cells(b)
    longest = _longest(first, second)
    found: list[str] = []
    head = _meet_open(first.head, second.head)
    tail = _meet_open(first.tail or (), second.tail or ())
    both_open = first.tail is not None and second.tail is not None
    if both_open and head is not None and tail is not None:
        cells = (*head, ANY, *tail[::-1])
        text = "/".join(cells)
        if len(cells) <= LIMITS.cells_per_pattern and len(text) <= LIMITS.pattern_bytes:
            found.append(text)
            longest = len(cells) - 2
    for length in range(longest, max(first.fewest, second.fewest) - 1, -1):
        cells_here = _meet(_at_length(first, length), _at_length(second, length))
        if cells_here is not None:
            text = "/".join(cells_here)
            if len(text) <= LIMITS.pattern_bytes and not any(covers(pattern, text) for pattern in found):
                found.append(text)
    return tuple(Pattern(text) for text in found)


def _longest(first: _Cells, second: _Cells) -> int:
    fixed = [len(cells.head) for cells in (first, second) if cells.tail is None]
    return min(fixed, default=LIMITS.cells_per_pattern)


def _at_length(cells: _Cells, length: int) -> tuple[str, ...] | None:
    """Return the pattern's cells for resources of just that length, its star written out."""
    if cells.tail is None:
        return cells.head if len(cells.head) == length else None
    inner = length - len(cells.head) - len(cells.tail)
    return None if inner < 0 else cells.head + (ONE,) * inner + cells.tail[::-1]


def _meet(a: tuple[str, ...] | None, b: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if a is None or b is None else _meet_open(a, b)


def _meet_open(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...] | None:
    """Meet cell by cell, the shorter side going on with any cell; None when two cells exclude each other."""
    length = max(len(a), len(b))
    met: list[str] = []
    for one, other in zip(_reaching(a, length), _reaching(b, length), strict=True):
        if ONE in (one, other):
            met.append(other if one == ONE else one)
        elif one == other:
            met.append(one)
        else:
            return None
    return tuple(met)
