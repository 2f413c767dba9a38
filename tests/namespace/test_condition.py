"""Conditions: they hold, or they refuse and say why."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wave.errors import BadCondition, BadTime, ConditionFailed, ConditionMissing, ConditionUnknown
from wave.limits import LIMITS
from wave.namespace.condition import RATE, TIME, VALUE, Condition, Number, check, rate, when, where

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN, *, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp())


def holds(condition: Condition, now: int) -> bool:
    try:
        check(condition, now, {})
    except ConditionFailed:
        return False
    return True


# Hours --------------------------------------------------------------------------------------------------------------

# 2027-01-15 is a Friday.
WORK = when(f"mon-fri 08:00-22:00 {BERLIN}")


@pytest.mark.parametrize(
    ("time", "inside"),
    [
        ("2027-01-15T07:59:59", False),
        ("2027-01-15T08:00:00", True),
        ("2027-01-15T21:59:59", True),
        ("2027-01-15T22:00:00", False),
        ("2027-01-16T12:00:00", False),
        ("2027-01-17T12:00:00", False),
        ("2027-01-18T12:00:00", True),
    ],
)
def test_a_window_holds_from_its_first_minute_until_its_last(time: str, inside: bool) -> None:  # noqa: FBT001 - a table
    """On its days, in its zone; the end is outside."""
    assert holds(WORK, at(time)) == inside


def test_the_hours_are_those_of_the_zone() -> None:
    """The same second is another hour elsewhere."""
    second = at("2027-01-15T07:30", "UTC")
    assert holds(WORK, second)
    assert not holds(when("mon-fri 08:00-22:00 UTC"), second)


def test_a_condition_says_until_when_it_holds() -> None:
    """A grant ends with its window."""
    assert check(WORK, at("2027-01-15T12:00"), {}) == at("2027-01-15T22:00")
    assert check(rate("10/60s"), 0, {}) is None
    assert check(where("x 1..2"), 0, {"x": 1}) is None


NIGHT = when(f"fri 22:00-06:00 {BERLIN}")


@pytest.mark.parametrize(
    ("time", "inside"),
    [
        ("2027-01-15T05:59", False),
        ("2027-01-15T21:59", False),
        ("2027-01-15T22:00", True),
        ("2027-01-16T00:00", True),
        ("2027-01-16T05:59", True),
        ("2027-01-16T06:00", False),
        ("2027-01-16T22:00", False),
    ],
)
def test_a_window_runs_past_midnight_into_the_next_day(time: str, inside: bool) -> None:  # noqa: FBT001 - a table
    """It belongs to the day on which it begins."""
    assert holds(NIGHT, at(time)) == inside


def test_a_window_past_midnight_ends_on_the_next_day() -> None:
    """From before midnight and from after it."""
    for time in ("2027-01-15T23:00", "2027-01-16T03:00"):
        assert check(NIGHT, at(time), {}) == at("2027-01-16T06:00")


def test_a_window_runs_past_the_end_of_the_week() -> None:
    """From Sunday night into Monday."""
    sunday = when(f"sun 23:00-01:00 {BERLIN}")
    assert holds(sunday, at("2027-01-17T23:30"))
    assert holds(sunday, at("2027-01-18T00:30"))
    assert not holds(sunday, at("2027-01-18T23:30"))
    assert not holds(sunday, at("2027-01-17T00:30"))


def test_days_run_past_the_end_of_the_week() -> None:
    """fri-mon is four days."""
    long_weekend = when("fri-mon 12:00-13:00 UTC")
    days = [holds(long_weekend, at(f"2027-01-{day}T12:30", "UTC")) for day in range(11, 18)]  # Monday to Sunday
    assert days == [True, False, False, False, True, True, True]


def test_a_whole_day_is_written_until_24_00() -> None:
    """Day after day without a gap."""
    always = when("mon-sun 00:00-24:00 UTC")
    midnight = at("2027-01-16T00:00", "UTC")
    assert holds(always, midnight - 1)
    assert holds(always, midnight)
    assert check(always, midnight, {}) == midnight + 86_400


def test_several_windows_add_up() -> None:
    """One after the other, with commas."""
    both = when(f"mon-fri 08:00-12:00, sat 10:00-11:00 {BERLIN}")
    assert holds(both, at("2027-01-15T09:00"))
    assert holds(both, at("2027-01-16T10:30"))
    assert not holds(both, at("2027-01-16T09:00"))


# Clocks in Berlin go from 02:00 to 03:00 on 2027-03-28, and from 03:00 back to 02:00 on 2027-10-31, both Sundays.


def test_a_window_over_the_hour_that_is_left_out_is_an_hour_shorter() -> None:
    """00:00 to 06:00 lasts five hours on that day."""
    night = when(f"sun 00:00-06:00 {BERLIN}")
    begin, end = at("2027-03-28T00:00"), at("2027-03-28T06:00")
    assert end - begin == 5 * 3600
    assert [holds(night, second) for second in (begin - 1, begin, end - 1, end)] == [False, True, True, False]
    assert check(night, begin, {}) == end


def test_a_window_over_the_hour_that_comes_twice_is_an_hour_longer() -> None:
    """00:00 to 06:00 lasts seven hours on that day."""
    night = when(f"sun 00:00-06:00 {BERLIN}")
    begin, end = at("2027-10-31T00:00"), at("2027-10-31T06:00")
    assert end - begin == 7 * 3600
    assert [holds(night, second) for second in (begin - 1, begin, end - 1, end)] == [False, True, True, False]
    assert all(holds(night, at("2027-10-31T02:30", fold=fold)) for fold in (0, 1))


def test_a_window_that_ends_in_the_hour_that_comes_twice_ends_the_first_time() -> None:
    """In doubt, sooner."""
    night = when(f"sun 00:00-02:30 {BERLIN}")
    assert holds(night, at("2027-10-31T02:29", fold=0))
    assert not holds(night, at("2027-10-31T02:30", fold=0))
    assert not holds(night, at("2027-10-31T02:29", fold=1))


def test_a_window_within_the_hour_that_comes_twice_is_there_once() -> None:
    """Half an hour lasts half an hour."""
    half = when(f"sun 02:15-02:45 {BERLIN}")
    first = at("2027-10-31T02:15", fold=0)
    inside = [second for second in range(first - 7200, first + 7200, 60) if holds(half, second)]
    assert inside == list(range(first, first + 1800, 60))


def test_a_window_within_the_hour_that_is_left_out_lasts_no_longer_than_written() -> None:
    """It comes with the clock that was not set yet, and gives nobody more time."""
    half = when(f"sun 02:15-02:45 {BERLIN}")
    begin = at("2027-03-28T00:00")
    assert sum(holds(half, second) for second in range(begin, begin + 86_400, 60)) == 30


def test_a_window_past_midnight_over_the_change_ends_by_the_new_clock() -> None:
    """Saturday 22:00 to Sunday 06:00, both ways."""
    night = when(f"sat 22:00-06:00 {BERLIN}")
    assert check(night, at("2027-03-28T00:30"), {}) == at("2027-03-28T06:00")
    assert check(night, at("2027-10-31T00:30"), {}) == at("2027-10-31T06:00")


@given(
    st.integers(0, 2**33), st.sampled_from(["UTC", BERLIN, "America/New_York", "Pacific/Kiritimati", "Asia/Kathmandu"])
)
def test_every_second_is_inside_the_whole_week(now: int, zone: str) -> None:
    """In any zone, at any time, and the end lies ahead and no more than a long day away."""
    end = check(when(f"mon-sun 00:00-24:00 {zone}"), now, {})
    assert end is not None
    assert now < end <= now + 25 * 3600


@pytest.mark.parametrize("zone", ["localtime", "posixrules", "Factory", "right/UTC", "posix/UTC", "../UTC", "Europe"])
def test_a_zone_that_differs_from_machine_to_machine_is_none(zone: str) -> None:
    """Nor is a path; in a DoT that somebody signed all the same it refuses."""
    with pytest.raises(BadCondition):
        when(f"mon-sun 00:00-24:00 {zone}")
    with pytest.raises(ConditionUnknown):
        check(Condition("time", (zone, 127, 0, 1440)), 0, {})


@pytest.mark.parametrize("now", [-1, LIMITS.latest_time])
def test_a_time_outside_the_calendar_refuses(now: int) -> None:
    """And does not fail."""
    for zone in ("UTC", "Pacific/Kiritimati", "America/New_York"):
        with pytest.raises(ConditionFailed) as caught:
            check(when(f"mon-sun 00:00-24:00 {zone}"), now, {})
        assert caught.value.code == "condition.failed"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UTC",
        "mon 08:00-09:00",
        "mon 08:00-09:00 Nowhere/Land",
        "mon 08:00-09:00 ../etc/passwd",
        "mon 8:00-9:00 UTC",
        "mon 08:00-08:00 UTC",
        "mon 24:00-25:00 UTC",
        "mon 08:60-09:00 UTC",
        "mon 08:00-09:60 UTC",
        "mon 08:00-24:01 UTC",
        "day 08:00-09:00 UTC",
        "mon-day 08:00-09:00 UTC",
        "Mon 08:00-09:00 UTC",
        "mon 08:00-09:00,, UTC",
        "mon UTC",
        "mon 08:00-09:00 /etc/localtime",
        "mon 08:00-09:00 Europe",
        "mon 08:00-09:00, UTC",
    ],
)
def test_hours_that_cannot_be_read_are_refused(text: str) -> None:
    """Whoever grants is told at once."""
    with pytest.raises(BadCondition) as caught:
        when(text)
    assert caught.value.code == "condition.bad"
    assert caught.value.hint


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("UTC",),
        ("UTC", 1),
        ("UTC", 1, 0),
        ("UTC", 1, 0, 60, 1),
        ("UTC", "mon", 0, 60),
        ("UTC", 1, None, 60),
        ("UTC", 0, 0, 60),
        ("UTC", 128, 0, 60),
        ("UTC", -1, 0, 60),
        ("UTC", 1, -1, 60),
        ("UTC", 1, 1440, 60),
        ("UTC", 1, 0, 1441),
        ("UTC", 1, 5, 5),
        (None, 1, 0, 60),
        (5, 1, 0, 60),
        ("Mars/Olympus", 1, 0, 60),
        ("../../etc/passwd", 1, 0, 60),
        ("UTC", 127, 0, 1440, "x", "y", "z"),
    ],
)
def test_hours_from_the_wire_that_cannot_be_read_refuse(arguments: tuple[int | str | None, ...]) -> None:
    """Anybody can sign anything: what is not understood is a no."""
    with pytest.raises(ConditionUnknown) as caught:
        check(Condition(TIME, arguments), at("2027-01-18T00:30", "UTC"), {})
    assert caught.value.code == "condition.unknown"


# Values -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [66, 74, 70, 66.0, 73.999, Decimal(66), Decimal("74.0"), 70.5])
def test_a_value_within_its_bounds_holds(value: Number) -> None:
    """The bounds belong to it."""
    check(where("set_point 66..74"), 0, {"set_point": value})


@pytest.mark.parametrize(
    "value",
    [65, 75, 65.999999, 74.000001, Decimal("74.00000000000000000001"), -66, pytest.param(10**5000, id="huge"), 1e300],
)
def test_a_value_out_of_its_bounds_refuses(value: Number) -> None:
    """By however little or much."""
    with pytest.raises(ConditionFailed, match=r"66\.\.74") as caught:
        check(where("set_point 66..74"), 0, {"set_point": value})
    assert caught.value.code == "condition.failed"


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        float("-inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        True,
        False,
        "70",
        b"70",
        [70],
        70j,
    ],
)
def test_what_is_not_a_finite_number_refuses(value: Number) -> None:
    """Within no bounds, not even open ones."""
    for text in ("x 0..100", "x 0..", "x ..100"):
        with pytest.raises(ConditionFailed) as caught:
            check(where(text), 0, {"x": value})
        assert caught.value.code == "condition.failed"


@pytest.mark.parametrize("context", [{}, {"Set_point": 70}, {"x": 70}, {"set_point": None}])
def test_a_missing_value_refuses_and_is_named(context: Mapping[str, Number]) -> None:
    """Whoever asks is told what to say."""
    with pytest.raises(ConditionMissing, match="set_point") as caught:
        check(where("set_point 66..74"), 0, context)
    assert caught.value.code == "condition.missing_value"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("x 18.5..", Decimal("18.5"), Decimal("18.4999999999")),
        ("x ..0.1", 0.1, Decimal("0.10000000000000001")),
        ("x -1..1", -1, Decimal("-1.000000001")),
        ("x -0.5..-0.25", -0.25, -0.2499),
        ("x 0..0", 0.0, 1e-300),
        ("x 999999999999999..", 10**15, 10**15 - 2),
        ("x ..0.000000001", Decimal("1e-9"), Decimal("1.1e-9")),
    ],
)
def test_bounds_are_exact_decimals(text: str, inside: Number, outside: Number) -> None:
    """0.1 is a tenth, not the nearest binary fraction; a float counts as the decimal it prints as."""
    check(where(text), 0, {"x": inside})
    with pytest.raises(ConditionFailed):
        check(where(text), 0, {"x": outside})


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-1100, 1100))
def test_a_value_holds_exactly_between_its_bounds(low: int, high: int, value: int) -> None:
    """Whatever the numbers."""
    if low > high:
        with pytest.raises(BadCondition):
            where(f"x {low}..{high}")
        return
    try:
        check(where(f"x {low}..{high}"), 0, {"x": value})
        held = True
    except ConditionFailed:
        held = False
    assert held == (low <= value <= high)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x 1",
        "x ..",
        "x 1...2",
        "x 2..1",
        "x a..b",
        "x 01..2",
        "x 1.0..2",
        "x 1...",
        "x -0..1",
        "x 1e3..",
        "x +1..",
        "X 1..2",
        "1x 1..2",
        "x-y 1..2",
        "x NaN..",
        "x inf..",
        "x 1,5..2",
        " ..1",
        "x 1.1234567891..2",
        "x " + "9" * 16 + "..",
    ],
)
def test_bounds_that_cannot_be_read_are_refused(text: str) -> None:
    """A number has one way to be written."""
    with pytest.raises(BadCondition) as caught:
        where(text)
    assert caught.value.code == "condition.bad"
    assert caught.value.hint


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("x",),
        ("x", "1"),
        ("x", "1", "2", "3"),
        (None, "1", "2"),
        (5, "1", "2"),
        ("x", 1, 2),
        ("x", "1.0", None),
        ("x", "NaN", None),
        ("x", "", None),
        ("", "1", "2"),
        ("X", "1", "2"),
        ("x\n", "1", "2"),
        ("\x1b[2J", None, None),
    ],
)
def test_bounds_from_the_wire_that_cannot_be_read_refuse(arguments: tuple[int | str | None, ...]) -> None:
    """And put nothing of a stranger's into a terminal."""
    with pytest.raises(ConditionUnknown) as caught:
        check(Condition(VALUE, arguments), 0, {"x": 1, "": 1, "X": 1, "x\n": 1, "\x1b[2J": 1})
    assert caught.value.code == "condition.unknown"
    assert caught.value.message.isprintable()


# Rates --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "arguments"), [("10/60s", (10, 60)), ("1/1d", (1, 86_400)), ("2147483647/1s", (2**31 - 1, 1))]
)
def test_a_rate_is_a_count_and_a_span(text: str, arguments: tuple[int, int]) -> None:
    """It passes here: whoever guards the action counts it."""
    assert rate(text) == Condition(RATE, arguments)
    assert check(rate(text), 0, {}) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/60s",
        "0/60s",
        "-1/60s",
        "+1/60s",
        "1.5/60s",
        "010/60s",
        "2147483648/1s",
        "1" * 40 + "/1s",
        "\u0665/1s",
    ],
)
def test_a_rate_that_cannot_be_read_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadCondition) as caught:
        rate(text)
    assert caught.value.code == "condition.bad"


@pytest.mark.parametrize("text", ["10", "10/", "10/60", "10/0s", "10/1h30m"])
def test_a_rate_over_no_duration_is_refused(text: str) -> None:
    """The span is a duration."""
    with pytest.raises(BadTime) as caught:
        rate(text)
    assert caught.value.code == "time.bad"


@pytest.mark.parametrize(
    "arguments", [(), (1,), (0, 60), (1, 0), (-1, 60), (1, -60), ("1", 60), (1, "60"), (1, None), (1, 2, 3)]
)
def test_a_rate_from_the_wire_that_cannot_be_read_refuses(arguments: tuple[int | str | None, ...]) -> None:
    """A guard could not count it."""
    with pytest.raises(ConditionUnknown) as caught:
        check(Condition(RATE, arguments), 0, {})
    assert caught.value.code == "condition.unknown"


# Kinds --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["", "Time", "weather", "TIME", "time ", "\x1b[2J", "k" * 5000])
def test_an_unknown_kind_refuses_and_is_named(kind: str) -> None:
    """A newer release's condition still narrows here: it is never skipped."""
    with pytest.raises(ConditionUnknown) as caught:
        check(Condition(kind, ()), 0, {})
    assert caught.value.code == "condition.unknown"
    assert repr(kind[:40]) in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "condition",
    [
        when(f"mon-fri 08:00-22:00, sat 10:00-12:00 {BERLIN}"),
        when("sun 22:00-06:00 UTC"),
        where("set_point 66..74.5"),
        where("x ..5"),
        where("x -1.."),
        rate("10/60s"),
    ],
)
def test_a_condition_says_itself_as_it_is_typed(condition: Condition) -> None:
    """What is shown can be typed in again."""
    word, _, rest = str(condition).partition(" ")
    assert {"when": when, "where": where, "rate": rate}[word](rest) == condition


@pytest.mark.parametrize(
    "condition",
    [
        Condition("weather", ("fine",)),
        Condition(TIME, ("\x1b[2J", 1, 0, 60)),
        Condition(TIME, ()),
        Condition(VALUE, ("\x1b[2J", None, None)),
        Condition(VALUE, ("x", "\n", None)),
        Condition(RATE, ("\x1b[2J", 1)),
        Condition("\x1b[2J", ("\n",)),
    ],
)
def test_a_condition_that_cannot_be_read_says_itself_harmlessly(condition: Condition) -> None:
    """No stranger's bytes reach a terminal as they are."""
    assert str(condition).isprintable()
