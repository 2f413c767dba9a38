"""The replay window and the rate counter: what a receiver remembers."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import NOW, World
from wave.bus.fields import MessageFields, Payload
from wave.bus.marks import Marks
from wave.bus.order import Newest, Succession, Twins
from wave.bus.rate import RateCounter
from wave.bus.replay import ReplayWindow
from wave.codec import VERSION, amend
from wave.dots.verify import Grant, Rate
from wave.errors import (
    BeforeRestart,
    MessageStale,
    RateExceeded,
    Replayed,
    ReplayWindowFull,
    RolledBack,
    StateLocked,
    StateUnwritable,
    Unavailable,
)
from wave.limits import LIMITS
from wave.namespace.condition import rate

ALICE, BOB = b"a" * 32, b"b" * 32
HOME, OTHER = b"h" * 32, b"o" * 32


def fields(
    sender: bytes, nonce: int, *, created: int = NOW, life: int = 30, namespace: bytes = HOME, persist: bool = False
) -> MessageFields:
    return MessageFields(
        VERSION, sender, "publish", namespace, "a", (Payload("", b""),), persist, created, created + life, 0,
        b"%016d" % nonce, None,
    )  # fmt: skip


def take(window: ReplayWindow, one: MessageFields, now: int | None = None) -> None:
    window.check(one, one.created if now is None else now)
    window.remember(one)


def test_two_senders_may_use_one_nonce() -> None:
    window = ReplayWindow()
    take(window, fields(ALICE, 1))
    take(window, fields(BOB, 1))
    with pytest.raises(Replayed):
        take(window, fields(ALICE, 1))


def test_what_expired_makes_room() -> None:
    window = ReplayWindow()
    take(window, fields(ALICE, 1))
    take(window, fields(BOB, 2, created=NOW + 30))
    assert len(window) == 2
    with pytest.raises(MessageStale):
        take(window, fields(ALICE, 1), NOW + 30)


def test_a_busy_sender_forgets_its_own_oldest_and_they_count_as_seen() -> None:
    window = ReplayWindow(bound=100, per_sender=4)
    take(window, fields(BOB, 0))
    for second in range(9):
        take(window, fields(ALICE, second, created=NOW + second), NOW + 8)
    with pytest.raises(MessageStale):
        take(window, fields(ALICE, 0), NOW + 8)
    with pytest.raises(MessageStale):
        take(window, fields(ALICE, 77, created=NOW + 4), NOW + 8)
    with pytest.raises(Replayed):
        take(window, fields(ALICE, 8, created=NOW + 8), NOW + 8)
    with pytest.raises(Replayed):
        take(window, fields(BOB, 0), NOW + 8)
    assert len(window) < 9


def test_strangers_together_shut_nobody_out_who_stays_within_its_part() -> None:
    """Each of them in a namespace of its own, or all of them in one."""
    for theirs in ([bytes([number]) * 32 for number in range(10)], [OTHER] * 10):
        window = ReplayWindow(bound=200, per_sender=100, namespaces=20)
        take(window, fields(ALICE, 1))
        for number in range(2000):
            with suppress(MessageStale):  # which they are told when they overdo it
                take(window, fields(b"%032d" % (number % 40), number, namespace=theirs[number % 10]))
        assert len(window) <= 200
        take(window, fields(ALICE, 2))
        for nonce in (1, 2):
            with pytest.raises(Replayed):
                take(window, fields(ALICE, nonce))


def test_so_many_namespaces_that_none_gives_way_fill_the_window() -> None:
    window = ReplayWindow(bound=8, namespaces=4)
    for number in range(4):
        take(window, fields(ALICE, 1, namespace=bytes([number]) * 32))
    with pytest.raises(ReplayWindowFull):
        take(window, fields(ALICE, 1, namespace=HOME))
    with pytest.raises(Replayed):
        take(window, fields(ALICE, 1, namespace=bytes(32)))


@pytest.mark.parametrize("persist", [False, True])
def test_a_clock_set_back_opens_nothing(*, persist: bool) -> None:
    window, life = ReplayWindow(), 10**6 if persist else 30
    take(window, fields(ALICE, 1, life=life, persist=persist))
    later = NOW + LIMITS.message_lifetime + 1
    take(window, fields(ALICE, 2, created=later))  # the first is forgotten here
    with pytest.raises((MessageStale, Replayed)):
        take(window, fields(ALICE, 1, life=life, persist=persist), NOW)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(-20, 20)), max_size=60))
def test_no_message_is_ever_taken_twice(events: list[tuple[int, int, int]]) -> None:
    window, now = ReplayWindow(bound=12, per_sender=4, namespaces=3), NOW
    taken: set[tuple[int, int, int]] = set()
    made: list[MessageFields] = []
    for nonce, life, step in events:
        now += step
        made.append(fields(ALICE, nonce, created=now, life=life))
        for one in (made[-1], made[nonce % len(made)]):
            if one.created - LIMITS.clock_skew <= now < one.expires:
                try:
                    take(window, one, now)
                except (Replayed, MessageStale, ReplayWindowFull):
                    continue
                name = (
                    (nonce, one.created, one.expires) if one is made[-1] else (int(one.nonce), one.created, one.expires)
                )
                assert name not in taken
                taken.add(name)


# Marks --------------------------------------------------------------------------------------------------------------


def test_after_a_restart_what_may_have_been_accepted_is_refused_and_nothing_else(tmp_path: Path) -> None:
    """Also when the sender's clock runs ahead of the receiver's."""
    ahead = NOW + LIMITS.clock_skew
    marks = Marks(tmp_path / "marks")
    take(ReplayWindow(marks=marks), fields(ALICE, 1, created=ahead), NOW)
    marks.close()
    marks = Marks(tmp_path / "marks")
    window = ReplayWindow(marks=marks)
    for one in (fields(ALICE, 1, created=ahead), fields(ALICE, 2, created=ahead), fields(ALICE, 3)):
        with pytest.raises(BeforeRestart):
            take(window, one, NOW)
    take(window, fields(ALICE, 4, created=ahead + 1), NOW + 1)
    take(window, fields(BOB, 5), NOW)
    marks.close()


def test_marks_have_one_owner_and_are_private(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    with pytest.raises(StateLocked):
        Marks(tmp_path / "marks")
    assert (tmp_path / "marks").stat().st_mode & 0o777 == 0o600
    marks.close()
    Marks(tmp_path / "marks").close()


def test_a_mark_that_was_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    marks = Marks(path)
    for second in range(3):
        marks.note(ALICE, NOW + second)
    marks.note(BOB, NOW)
    marks.close()
    path.write_bytes(path.read_bytes()[:-7])
    marks = Marks(path)
    assert (marks.earlier(ALICE), marks.earlier(BOB)) == (NOW + 2, -1)
    marks.close()


def test_marks_are_written_once_a_second_and_their_file_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wave.bus.marks.LIMITS", replace(LIMITS, marks_bytes=4000))
    path = tmp_path / "marks"
    marks = Marks(path)
    for _ in range(50):
        marks.note(ALICE, NOW)
    assert path.stat().st_size == 40
    for second in range(1000):
        marks.note(ALICE, NOW + second)
        assert path.stat().st_size <= 4000
    marks.close()
    marks = Marks(path)
    assert marks.earlier(ALICE) == NOW + 999
    marks.close()


def test_a_disk_that_cannot_be_written_refuses_and_remembers_nothing(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    window = ReplayWindow(marks=marks)
    os.close(marks._fd)
    marks._fd = os.open(tmp_path / "marks", os.O_RDONLY)
    with pytest.raises(StateUnwritable):
        take(window, fields(ALICE, 1))
    assert len(window) == 0
    marks.close()


def test_a_disk_that_takes_half_of_the_marks_leaves_them_all_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "marks", os.write
    marks = Marks(path)
    for sender in (ALICE, BOB):
        marks.note(sender, NOW)
    marks.close()
    with monkeypatch.context() as full:
        full.setattr("wave.bus.marks.os.write", lambda fd, data: write(fd, data[:40]))
        with pytest.raises(StateUnwritable):
            Marks(path)
    marks = Marks(path)
    assert (marks.earlier(ALICE), marks.earlier(BOB)) == (NOW, NOW)
    marks.close()


# The order of kept messages -----------------------------------------------------------------------------------------


def test_an_older_message_is_told_from_a_newer_of_the_same_sender_and_resource() -> None:
    newest = Newest(2)
    newest.remember(fields(ALICE, 1))
    newest.remember(fields(ALICE, 2, created=NOW - 5))
    with pytest.raises(RolledBack):
        newest.check(fields(ALICE, 3, created=NOW - 1))
    newest.check(fields(ALICE, 1))
    newest.check(fields(BOB, 3, created=NOW - 1))


def test_a_reader_is_given_each_kept_message_once_and_none_that_is_older() -> None:
    order = Succession()
    order.take(fields(ALICE, 1))
    order.take(fields(ALICE, 2))
    for nonce in (1, 2):
        with pytest.raises(Replayed):
            order.take(fields(ALICE, nonce))
    order.take(fields(ALICE, 3, created=NOW + 1))
    with pytest.raises(RolledBack):
        order.take(fields(ALICE, 4))


def test_two_devices_that_act_as_one_entity_are_noticed_and_a_restart_is_not(caplog: pytest.LogCaptureFixture) -> None:
    twins, noticed = Twins(), []
    for turn in range(8):
        sequence = turn if turn % 2 else 1000 + turn
        noticed.append(twins.watch(amend(fields(ALICE, turn), sequence=sequence), NOW + turn))
    assert sum(noticed) == 1
    assert "two devices" in caplog.text
    alone = Twins()
    assert not any(alone.watch(amend(fields(BOB, 1), sequence=number % 50), NOW + number) for number in range(100))
    commands = Twins()
    for number, sequence in enumerate((1, 1, 2, 1, 1, 2, 3, 1, 2, 1, 1)):  # of a person, each a process of its own
        assert not commands.watch(amend(fields(BOB, 2), sequence=sequence), NOW + number)


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
