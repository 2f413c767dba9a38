"""Topics and filters: what a pattern becomes on a broker, and that it never becomes more."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.world import made
from wave.bus.dynsec import rules_of
from wave.bus.message import PUBLISH, SUBSCRIBE
from wave.bus.mqtt_topic import filters, message_topic, pattern_of, place
from wave.bus.standing import Held
from wave.codec import id_text
from wave.errors import BadPattern
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern, covers

HOME = made("home").id
CELLS = st.sampled_from(["a", "b", "!meta", "s.light"])


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    cells = draw(st.lists(st.one_of(CELLS, st.just("+")), min_size=0, max_size=4))
    if draw(st.booleans()) or not cells:
        cells.insert(draw(st.integers(0, len(cells))), "*")
    return Pattern("/".join(cells))


RESOURCES = st.lists(CELLS, min_size=1, max_size=6).map("/".join)


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether an MQTT topic filter matches a topic: MQTT 5, section 4.7."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for at, one in enumerate(wanted):
        if one == "#":
            return len(levels) >= at  # the parent too
        if at >= len(levels) or one not in ("+", levels[at]):
            return False
    return len(wanted) == len(levels)


@given(patterns(), RESOURCES)
def test_filters_match_just_what_the_pattern_covers_and_each_topic_once(pattern: Pattern, resource: str) -> None:
    found = [one for one in filters(HOME, pattern) if matches(one, message_topic(HOME, resource))]
    assert len(found) == covers(pattern, resource)


@given(patterns())
def test_no_filter_reaches_beyond_its_namespace(pattern: Pattern) -> None:
    for one in filters(HOME, pattern):
        assert one.startswith(f"wave/{id_text(HOME)}/")
        assert not matches(one, f"wave/{id_text(HOME)}")


@given(patterns(), patterns(), RESOURCES)
def test_a_rule_lets_nothing_through_that_the_right_does_not_cover(one: Pattern, other: Pattern, where: str) -> None:
    subject = made("alice").id
    assume(not covers(one, where))
    held = [(HOME, Held(PUBLISH, one, 10**9)), (HOME, Held(SUBSCRIBE, other, 10**9))]
    topic = message_topic(HOME, where)
    rules = rules_of(subject, held)
    assert not any(rule.kind == "publishClientSend" and matches(rule.topic, topic) for rule in rules)
    heard = [rule for rule in rules if rule.kind == "publishClientReceive" and matches(rule.topic, topic)]
    assert bool(heard) == covers(other, where)


@given(patterns())
def test_a_pattern_comes_back_from_its_filters_no_wider(pattern: Pattern) -> None:
    for one in filters(HOME, pattern):
        namespace, back = pattern_of(one)
        assert namespace == HOME
        assert covers(pattern, back)


@given(RESOURCES)
def test_a_topic_says_where_it_is(where: str) -> None:
    assert place(message_topic(HOME, where)) == (HOME, where)


def test_a_pattern_with_a_star_inside_is_written_out_for_every_length() -> None:
    found = filters(HOME, "a/*/b")
    assert len(found) == LIMITS.cells_per_pattern - 1
    assert [one.removeprefix(f"wave/{id_text(HOME)}/") for one in found[:3]] == ["a/b", "a/+/b", "a/+/+/b"]


@pytest.mark.parametrize(
    "text",
    [
        "#",
        "+/+/a",
        "wave/#",
        "wave/+/a",
        "$share/group/wave/x",
        f"wave/{id_text(HOME)}",
        f"wave/{id_text(HOME)}/a*",
        f"wave/{id_text(HOME)}/*",
        f"wave/{id_text(HOME)}/a/#/b",
        f"wave/{id_text(HOME)}/a//b",
        "other/topic",
    ],
)
def test_a_filter_that_is_no_pattern_of_one_namespace_has_none(text: str) -> None:
    with pytest.raises(BadPattern):
        pattern_of(text)


def test_who_holds_nothing_has_no_rules() -> None:
    assert rules_of(made("alice").id, []) == ()
