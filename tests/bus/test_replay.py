"""The replay window and the rate counter: what a receiver remembers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import NOW, World
from wave.bus.rate import RateCounter
from wave.bus.replay import ReplayWindow
from wave.dots.verify import Grant, Rate
from wave.errors import MessageStale, RateExceeded, Replayed, ReplayWindowFull, Unavailable
from wave.limits import LIMITS
from wave.namespace.condition import rate

ALICE, BOB = b"a" * 32, b"b" * 32


def take(window: ReplayWindow, sender: bytes, nonce: int, *, now: int = NOW, expires: int = NOW + 30) -> None:
    window.check(sender, b"%d" % nonce, created=now, expires=expires, now=now)
    window.remember(sender, b"%d" % nonce, expires=expires)


def test_two_senders_may_use_one_nonce() -> None:
    window = ReplayWindow()
    take(window, ALICE, 1)
    take(window, BOB, 1)
    with pytest.raises(Replayed):
        take(window, ALICE, 1)


def test_a_full_window_refuses_and_forgets_nothing() -> None:
    window = ReplayWindow(bound=2, per_sender=2)
    take(window, ALICE, 1)
    take(window, BOB, 1)
    with pytest.raises(ReplayWindowFull):
        take(window, BOB, 2)
    with pytest.raises(Replayed):
        take(window, ALICE, 1)
    take(window, BOB, 2, now=NOW + 30, expires=NOW + 60)
    assert len(window) == 1


def test_one_sender_cannot_shut_the_others_out() -> None:
    window = ReplayWindow(bound=4, per_sender=2)
    take(window, ALICE, 1)
    take(window, ALICE, 2)
    with pytest.raises(ReplayWindowFull):
        take(window, ALICE, 3)
    take(window, BOB, 1)


def test_a_clock_set_back_opens_nothing() -> None:
    window = ReplayWindow()
    take(window, ALICE, 1)
    take(window, ALICE, 2, now=NOW + 100, expires=NOW + 130)  # the first is forgotten here
    with pytest.raises(MessageStale):
        take(window, ALICE, 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(-20, 20)), max_size=60))
def test_no_message_is_ever_taken_twice(events: list[tuple[int, int, int]]) -> None:
    window, now = ReplayWindow(bound=8, per_sender=8), NOW
    taken: set[tuple[int, int]] = set()
    for nonce, life, step in events:
        now += step
        expires = NOW + life
        if now < expires:
            try:
                take(window, ALICE, nonce * 100 + life, now=now, expires=expires)
            except (Replayed, MessageStale, ReplayWindowFull):
                continue
            assert (nonce, life) not in taken
            taken.add((nonce, life))


def grant(world: World, *texts: str, dot: bytes = b"d" * 32) -> Grant:
    request = world.request("alice", "publish@home/a")
    return Grant(request, (), {}, 1, NOW + 99, tuple(Rate(dot, rate(text)) for text in texts))


def test_a_rate_slides(world: World) -> None:
    counter, one = RateCounter(), grant(world, "3/10s")
    for second in (0, 4, 4):
        counter.count(one, NOW + second)
    with pytest.raises(RateExceeded):
        counter.count(one, NOW + 9)
    counter.count(one, NOW + 10)
    with pytest.raises(RateExceeded):
        counter.count(one, NOW + 13)


def test_when_one_rate_is_used_up_none_is_counted(world: World) -> None:
    counter, both = RateCounter(), grant(world, "5/10s", "1/5s")
    counter.count(both, NOW)
    for _ in range(9):
        with pytest.raises(RateExceeded):
            counter.count(both, NOW)
    for second in (5, 10, 15):
        counter.count(both, NOW + second)


def test_handing_a_right_on_does_not_multiply_its_rate(world: World) -> None:
    """One could make any number of entities and give it to each."""
    counter = RateCounter()
    rated = world.grant("home", "alice", "publish@home/a", conditions=(rate("1/10s"),), indirections=1)
    proofs = [
        world.verify(
            world.proof((rated, world.grant("alice", name, "publish@home/a"))),
            world.request(name, "publish@home/a"),
        )
        for name in ("bob", "carol")
    ]
    counter.count(proofs[0], NOW)
    with pytest.raises(RateExceeded):
        counter.count(proofs[1], NOW)


def test_what_everybody_may_do_is_counted_for_each(world: World) -> None:
    """Else anyone could use it up for all."""
    counter = RateCounter()
    rated = world.grant("home", "everybody", "publish@home/a", conditions=(rate("1/10s"),))
    for name in ("alice", "bob"):
        one = world.verify(world.proof(rated), world.request(name, "publish@home/a"))
        counter.count(one, NOW)
        with pytest.raises(RateExceeded):
            counter.count(one, NOW)


def test_counters_are_bounded_and_the_idle_ones_make_room(world: World) -> None:
    counter = RateCounter(bound=2)
    for number in range(2):
        counter.count(grant(world, "5/10s", dot=bytes([number]) * 32), NOW)
    third = grant(world, "5/10s", dot=b"t" * 32)
    with pytest.raises(Unavailable):
        counter.count(third, NOW)
    counter.count(third, NOW + 10)


def test_a_long_rate_counts_exactly_until_its_bound_and_then_refuses_sooner(world: World) -> None:
    most = LIMITS.rate_counter_entries + 50
    counter, one = RateCounter(), grant(world, f"{most}/{10 * most}s")
    for second in range(most):
        counter.count(one, NOW + second)
    with pytest.raises(RateExceeded):
        counter.count(one, NOW + most)


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(1, 4), st.integers(1, 9))
def test_no_window_ever_holds_more_than_the_rate(steps: list[int], most: int, seconds: int) -> None:
    counter, one, now = RateCounter(), grant(World(), f"{most}/{seconds}s"), NOW
    taken: list[int] = []
    for step in steps:
        now += step
        expected = sum(1 for at in taken if at > now - seconds) < most
        try:
            counter.count(one, now)
        except RateExceeded:
            assert not expected
        else:
            assert expected
            taken.append(now)
