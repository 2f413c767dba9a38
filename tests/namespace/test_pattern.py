"""Patterns: `covers` and `intersect` against brute force, the notation, and its bounds.

The brute force knows nothing of the code under test: a pattern's meaning is worked out cell by cell as a set of
resources, one bit each.
"""

import contextlib
import re
from functools import cache
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wave.errors import BadPattern, InputError, TooLarge
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern, covers, intersect, resource

LETTERS = "abc"  # c stands in no pattern: it is any other cell
LONGEST = 8  # two patterns of four cells differ, if they do, on a resource of at most this many


def resources(length: int) -> list[tuple[str, ...]]:
    return list(product(LETTERS, repeat=length))


@cache
def bits(length: int, place: int, cell: str) -> int:
    """Return the resources of that length (one bit each) that have this cell at that place."""
    return sum(1 << number for number, cells in enumerate(resources(length)) if cells[place] == cell)


@cache
def matches(pattern: str) -> tuple[int, ...]:
    """Return the resources that the pattern matches, one number of bits for each length."""
    found = []
    for length in range(1, LONGEST + 1):
        cells = pattern.split("/")
        if "*" in cells:
            star = cells.index("*")
            inner = length - len(cells) + 1
            cells = cells[:star] + ["+"] * inner + cells[star + 1 :] if inner >= 0 else []
        mask = (1 << len(LETTERS) ** length) - 1 if len(cells) == length else 0
        for place, cell in enumerate(cells if mask else []):
            if cell != "+":
                mask &= bits(length, place, cell)
        found.append(mask)
    return tuple(found)


def small_patterns() -> list[str]:
    return [
        "/".join(cells) for length in range(1, 5) for cells in product("ab+*", repeat=length) if cells.count("*") <= 1
    ]


def as_regex(pattern: str) -> re.Pattern[str]:
    """Say a pattern's meaning another way: over text in which every cell ends with a slash."""
    cells = {"+": "[^/]+/", "*": "(?:[^/]+/)*"}
    return re.compile("".join(cells.get(cell, re.escape(cell) + "/") for cell in pattern.split("/")))


def test_the_brute_force_agrees_with_another_one() -> None:
    """Bits against regular expressions, over every small pattern and every resource of up to four cells."""
    assert len(small_patterns()) == 262
    for pattern in small_patterns():
        regex = as_regex(pattern)
        for length in range(1, 5):
            for number, cells in enumerate(resources(length)):
                matched = regex.fullmatch("".join(cell + "/" for cell in cells)) is not None
                assert matched == bool(matches(pattern)[length - 1] >> number & 1), (pattern, cells)


def test_covers_equals_brute_force_over_every_small_pair() -> None:
    """All 262² pairs of patterns of up to four cells: exact, both ways."""
    patterns = small_patterns()
    for grant in patterns:
        granted = matches(grant)
        for want in patterns:
            expected = not any(wanted & ~given for wanted, given in zip(matches(want), granted, strict=True))
            assert covers(grant, want) == expected, (grant, want)


def test_intersect_equals_brute_force_over_every_small_pair() -> None:
    """The union of what is returned is the intersection, and none of it is superfluous."""
    patterns = small_patterns()
    for a in patterns:
        for b in patterns:
            found = intersect(a, b)
            expected = tuple(one & other for one, other in zip(matches(a), matches(b), strict=True))
            union = [0] * LONGEST
            for pattern in found:
                union = [one | other for one, other in zip(union, matches(pattern), strict=True)]
            assert tuple(union) == expected, (a, b, found)
            assert not [1 for x in found for y in found if x != y and covers(x, y)], (a, b, found)


# Longer ones --------------------------------------------------------------------------------------------------------

cells_of = st.sampled_from(["a", "b", "c", "!meta", "+", "+"])


@st.composite
def patterns_of(draw: st.DrawFn, most: int = 12) -> str:
    cells = draw(st.lists(cells_of, min_size=1, max_size=most))
    if draw(st.booleans()):
        cells[draw(st.integers(0, len(cells) - 1))] = "*"
    return "/".join(cells)


concrete = st.lists(st.sampled_from(["a", "b", "c", "!meta", "z"]), min_size=1, max_size=16).map("/".join)


def matched(pattern: str, name: str) -> bool:
    return as_regex(pattern).fullmatch(name + "/") is not None


@given(patterns_of(), st.data())
def test_what_is_covered_is_matched(pattern: str, data: st.DataObject) -> None:
    """For a concrete resource, covering is matching."""
    name = data.draw(concrete)
    assert covers(pattern, name) == matched(pattern, name)


@given(patterns_of(), patterns_of(), concrete)
def test_a_resource_is_in_the_intersection_when_both_match_it(a: str, b: str, name: str) -> None:
    """Exactly then, whatever the lengths."""
    assert any(matched(pattern, name) for pattern in intersect(a, b)) == (matched(a, name) and matched(b, name))


@given(patterns_of(), patterns_of(), concrete)
def test_a_cover_matches_all_that_is_covered(grant: str, want: str, name: str) -> None:
    """Covering never lets anything more through."""
    if covers(grant, want) and matched(want, name):
        assert matched(grant, name)


@given(patterns_of(), patterns_of(), patterns_of())
def test_covering_is_an_order(a: str, b: str, c: str) -> None:
    """Every pattern covers itself, and a cover's cover covers."""
    assert covers(a, a)
    if covers(a, b) and covers(b, c):
        assert covers(a, c)


@given(patterns_of(), patterns_of())
def test_an_intersection_is_covered_by_both(a: str, b: str) -> None:
    """And does not depend on the order."""
    found = intersect(a, b)
    assert all(covers(a, pattern) and covers(b, pattern) for pattern in found)
    assert set(found) == set(intersect(b, a))


# Notation -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a", "+", "*", "!meta", "a/+/b/*", "*/b", "Az09_.,()$:-", "!a/b", "home/light0/control", "-", "a/!meta/x"]
)
def test_a_pattern_is_cells_joined_by_slashes(text: str) -> None:
    """And is its own text."""
    assert Pattern(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "*/*",
        "a/*/b/*",
        "a*",
        "+a",
        "a+",
        "**",
        "++",
        "!",
        "!!a",
        "a!b",
        "!+",
        "!*",
        "a b",
        "a\n",
        "\na",
        "é",
        "a#",
        "a@b",
        "a%",
        "a\\b",
        "a\x00",
        "a/ /b",
        "\u0661",
        "a/?",
    ],
)
def test_what_breaks_the_notation_is_refused(text: str) -> None:
    """Nothing is trimmed or guessed, and two stars are one too many."""
    with pytest.raises(BadPattern) as caught:
        Pattern(text)
    assert caught.value.code == "pattern.bad"
    assert caught.value.hint
    for act in (lambda: covers(text, "a"), lambda: covers("a", text), lambda: intersect(text, "a")):
        with pytest.raises(BadPattern):
            act()


@given(st.text(max_size=20))
def test_any_text_is_a_pattern_or_an_input_error(text: str) -> None:
    """And a pattern never changes."""
    with contextlib.suppress(InputError):
        assert Pattern(text) == text


@pytest.mark.parametrize(("text", "concrete_one"), [("a/b", True), ("!m/a", True), ("a/+", False), ("*", False)])
def test_a_resource_is_a_pattern_without_wildcards(text: str, concrete_one: bool) -> None:  # noqa: FBT001 - a table
    """One thing, by name."""
    assert Pattern(text).is_resource == concrete_one
    if concrete_one:
        assert resource(text) == text
    else:
        with pytest.raises(BadPattern) as caught:
            resource(text)
        assert caught.value.code == "pattern.bad"


@pytest.mark.parametrize("pattern", ["*", "+/+", "!meta/*", "!meta/+", "*/kind", "+/kind"])
def test_wildcards_match_metadata(pattern: str) -> None:
    """A leading '!' is a letter to them."""
    assert covers(pattern, "!meta/kind")


def test_metadata_is_another_cell_than_the_one_without_the_mark() -> None:
    """`!a` and `a` are two things."""
    assert not covers("a/*", "!a/b")
    assert not covers("!a/*", "a/b")
    assert intersect("a/+", "!a/+") == ()


def test_a_star_alone_matches_no_empty_resource() -> None:
    """Resources have at least one cell, so `*` and `+/*` match the same."""
    assert covers("+/*", "*")
    assert covers("*", "+/*")
    assert covers("*/+", "+/*")
    assert not covers("+/+/*", "*")


# Bounds -------------------------------------------------------------------------------------------------------------


def test_a_pattern_has_a_bound_in_cells() -> None:
    """At the bound and one past it."""
    assert Pattern("/".join("a" * LIMITS.cells_per_pattern))
    with pytest.raises(TooLarge) as caught:
        Pattern("/".join("a" * (LIMITS.cells_per_pattern + 1)))
    assert caught.value.code == "limit.exceeded"


def test_a_pattern_has_a_bound_in_bytes() -> None:
    """At the bound and one past it; what is longer is not even looked at."""
    assert Pattern("a" * LIMITS.pattern_bytes)
    for text in ("a" * (LIMITS.pattern_bytes + 1), "é" * 10**6):
        with pytest.raises(TooLarge) as caught:
            Pattern(text)
        assert caught.value.code == "limit.exceeded"


def test_the_patterns_remembered_are_bounded() -> None:
    """A stranger's patterns cannot fill this machine's memory."""
    from wave.namespace import pattern

    for number in range(LIMITS.pattern_cache + 10):
        Pattern(f"bounded/{number}")
    assert len(pattern._KNOWN) <= LIMITS.pattern_cache


def test_an_intersection_longer_than_a_pattern_may_be_holds_what_can_be_asked_about() -> None:
    """Two halves that only fit together beyond the bound have nothing in common that a request could name."""
    half = LIMITS.pattern_bytes // 2
    head, tail = "h" * half, "t" * half
    assert intersect(f"{head}/*", f"*/{tail}") == ()
    assert intersect(f"{head[1:]}/*", f"*/{tail}") == (f"{head[1:]}/{tail}",)
    fitting = intersect(f"{head[3:]}/*", f"*/{tail}")
    assert fitting == (f"{head[3:]}/*/{tail}",)


def test_an_intersection_of_more_cells_than_a_pattern_may_have_holds_what_can_be_asked_about() -> None:
    """The same for cells: 16 and 16 meet in one resource, and with a star there would be 33."""
    half = "/".join("a" * (LIMITS.cells_per_pattern // 2))
    other = half.replace("a", "b")
    assert intersect(f"{half}/*", f"*/{other}") == (f"{half}/{other}",)
    assert intersect(f"{half}/a/*", f"*/{other}") == ()
