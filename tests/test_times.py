"""Instants and durations as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wave.errors import BadTime
from wave.limits import LIMITS
from wave.times import instant_text, parse_duration, parse_expiry, parse_instant, span_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("45s", 45), ("90m", 5400), ("12h", 43_200), ("30d", 2_592_000), ("8w", 4_838_400), ("1y", 31_536_000)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    """A year is 365 days."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "0s", "-5s", "+5s", "05s", "5 s", " 5s", "5s ", "5s\n", "1.5h", "5S", "5sec", "1h30m", "\u0665s"],
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadTime) as caught:
        parse_duration(text)
    assert caught.value.code == "time.bad"
    assert "30d" in caught.value.hint


def test_a_duration_longer_than_time_is_refused() -> None:
    """Nothing lives beyond the year 9999."""
    assert parse_duration(f"{LIMITS.latest_time}s") == LIMITS.latest_time
    for text in (f"{LIMITS.latest_time + 1}s", "999999999999y"):
        with pytest.raises(BadTime) as caught:
            parse_duration(text)
        assert caught.value.code == "time.bad"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1800000000", 1_800_000_000),
        ("1970-01-01", 0),
        ("2027-01-15T08:00Z", 1_800_000_000),
        ("2027-01-15T08:00:00Z", 1_800_000_000),
        ("2028-02-29", 1_835_395_200),
        ("9999-12-31T23:59:59Z", LIMITS.latest_time),
    ],
)
def test_an_instant_is_a_date_a_time_or_unix_seconds(text: str, seconds: int) -> None:
    """All in UTC."""
    assert parse_instant(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "-1",
        "+1",
        "1.5",
        "2027-1-15",
        "2027-01-15 08:00:00Z",
        "2027-01-15T08:00:00",
        "2027-01-15T08:00:00+01:00",
        "2027-02-29",
        "2027-13-01",
        "2027-01-15T24:30Z",
        "2027-01-15T08:60Z",
        "2027-01-15T08:00:60Z",
        "0000-01-01",
        "1969-12-31",
        "\u0662\u0660\u0662\u0667-01-15",
        "2027-01-15\n",
        "1" * 21,
        "0" * 20 + "5",
        str(LIMITS.latest_time + 1),
    ],
)
def test_what_is_not_an_instant_is_refused(text: str) -> None:
    """A wrong time in a grant is worse than an error."""
    with pytest.raises(BadTime) as caught:
        parse_instant(text)
    assert caught.value.code == "time.bad"


def test_an_expiry_is_a_duration_from_now_or_an_instant() -> None:
    """`--expires` takes both."""
    assert parse_expiry("30d", 1000) == 1000 + 30 * 86_400
    assert parse_expiry("2027-01-15", 1000) == parse_instant("2027-01-15")


def test_an_expiry_after_the_end_of_time_is_refused() -> None:
    """The sum is bounded too, not its parts alone."""
    now = 1_800_000_000
    assert parse_expiry(f"{LIMITS.latest_time - now}s", now) == LIMITS.latest_time
    with pytest.raises(BadTime) as caught:
        parse_expiry(f"{LIMITS.latest_time - now + 1}s", now)
    assert caught.value.code == "time.bad"


@given(st.integers(0, LIMITS.latest_time))
def test_an_instant_comes_back_from_its_text(seconds: int) -> None:
    """What is shown can be typed in again, wherever the machine's clock thinks it is."""
    assert parse_instant(instant_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (119, "1 minute"),
        (7200, "2 hours"),
        (86_399, "23 hours"),
        (2 * 86_400, "2 days"),
        (400 * 86_400, "1 year"),
    ],
)
def test_a_span_is_said_in_its_largest_unit(seconds: int, text: str) -> None:
    """Enough for a person."""
    assert span_text(seconds) == text
