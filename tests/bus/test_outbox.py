"""Bounds on what waits: a slow connection loses deliveries, never answers, and cannot make the router grow."""

import asyncio

import pytest

from tests.bus.town import Town
from tests.world import NOW, World, made
from wave.bus.frame import (
    Deliver,
    Denied,
    Done,
    Dropped,
    Frame,
    Hello,
    Publish,
    Subscribe,
    Unsubscribe,
    read_frame,
    write_frame,
)
from wave.bus.message import Message
from wave.bus.reading import Reading
from wave.bus.replay import ReplayWindow
from wave.bus.router import Connection, Outbox
from wave.codec import encode
from wave.errors import BadRequest, InputError, ReplayWindowFull, Revoked, TooLarge, Unavailable, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern

FRAMES: list[Frame] = [
    Hello(bytes(16)),
    Subscribe(1, b"m", b"p"),
    Unsubscribe(2, 1),
    Publish(3, b"m", b""),
    Done(3, 7),
    Deliver(b"m", b"p"),
    Dropped(9),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_survives_its_bytes(frame: Frame) -> None:
    assert read_frame(write_frame(frame)) == frame


def test_a_refusal_keeps_its_class_hint_and_decision() -> None:
    told = read_frame(write_frame(Denied(4, Revoked("gone", hint="ask", decision="d" * 32))))
    assert isinstance(told, Denied)
    assert type(told.error) is Revoked
    assert (told.error.message, told.error.hint, told.error.decision) == ("gone", "ask", "d" * 32)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode(("hello", 2, bytes(16))),
        encode(("hello", 1, bytes(15))),
        encode(("publish", 1, b"m")),
        encode(("publish", "1", b"m", b"p")),
        encode(("shout", 1)),
        encode(7),
        b"\x91" * 100_000,
        b"\x80",
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_frame(data)


def test_a_frame_has_a_largest_size_that_every_message_with_its_proof_fits_in() -> None:
    assert LIMITS.frame_bytes >= LIMITS.message_bytes + LIMITS.proof_bytes + 64
    with pytest.raises(TooLarge):
        read_frame(bytes(LIMITS.frame_bytes + 1))
    with pytest.raises(InputError) as caught:
        read_frame(bytes(LIMITS.frame_bytes))
    assert not isinstance(caught.value, TooLarge)


async def test_deliveries_that_find_no_room_are_counted_and_told() -> None:
    outbox, frame = Outbox(), write_frame(Deliver(b"m", b"p"))
    assert all(outbox.deliver(frame) for _ in range(LIMITS.queue_frames))
    assert not outbox.deliver(frame)
    assert not outbox.deliver(frame)
    outbox.answer(Done(1, 0))
    taken = [read_frame(await outbox.take()) for _ in range(LIMITS.queue_frames + 2)]
    assert taken[-2:] == [Done(1, 0), Dropped(2)]


async def test_large_deliveries_are_bounded_by_their_bytes() -> None:
    outbox, frame = Outbox(), bytes(LIMITS.queue_bytes // 4)
    assert [outbox.deliver(frame) for _ in range(5)] == [True] * 4 + [False]
    await outbox.take()
    assert outbox.deliver(frame)


async def test_whoever_does_not_read_answers_is_not_asked_again() -> None:
    outbox = Outbox()
    for number in range(LIMITS.queue_frames):
        await asyncio.wait_for(outbox.room(), 1)
        outbox.answer(Done(number, 0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outbox.room(), 0.01)
    await outbox.take()
    await asyncio.wait_for(outbox.room(), 1)


async def test_connections_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town(world)
    town.give("home", "alice", "publish@home/a")
    async with town.open() as router:
        monkeypatch.setattr(router, "_connections", {Connection(b"") for _ in range(LIMITS.connections)})
        async with town.peer("alice", patience=0.2) as alice:
            with pytest.raises(Unavailable, match="no room"):
                await alice.publish(town.home, "a", b"1")


async def test_a_reader_that_does_not_read_loses_the_oldest() -> None:
    async def give_up(_: Reading) -> None:
        pass

    def ignore(_: Message | None, error: WaveError) -> None:
        raise error

    reading = Reading(1, bytes(32), Pattern("a"), refused=ignore, give_up=give_up)
    for number in range(LIMITS.queue_frames + 3):
        reading.put(number)  # type: ignore[arg-type] # anything will do
    assert reading.dropped == 3
    assert await anext(reading) == 3  # type: ignore[comparison-overlap]


def test_the_replay_window_holds_what_it_says() -> None:
    window = ReplayWindow(bound=LIMITS.replay_window)
    senders = LIMITS.replay_window // LIMITS.replay_window_per_sender
    for sender in range(senders):
        for number in range(LIMITS.replay_window_per_sender):
            window.check(b"%d" % sender, b"%d" % number, created=NOW, expires=NOW + 30, now=NOW)
            window.remember(b"%d" % sender, b"%d" % number, expires=NOW + 30)
    with pytest.raises(ReplayWindowFull):
        window.check(b"x", b"x", created=NOW, expires=NOW + 30, now=NOW)
    window.check(b"x", b"x", created=NOW + 30, expires=NOW + 60, now=NOW + 30)


def test_a_peer_keeps_a_bounded_number_of_proofs(world: World) -> None:
    from wave.bus.proofs import Proofs

    town = Town(world)
    town.give("home", "alice", "publish@home/*")
    proofs = Proofs(made("alice").entity, town.prove)

    async def ask() -> None:
        for number in range(LIMITS.proofs_kept + 5):
            await proofs.get((world.request("alice", f"publish@home/{number}"),), world.now)

    asyncio.run(ask())
    assert len(proofs._known) == LIMITS.proofs_kept


def test_a_router_tells_a_peer_what_it_may_not_say(world: World) -> None:
    async def main() -> None:
        from wave.bus.websocket import connected

        town = Town(world)
        async with town.open(), connected(town.url) as link:
            await link.receive()
            await link.send(write_frame(Done(1, 1)))
            answer = read_frame(await link.receive() or b"")
            assert isinstance(answer, Denied)
            assert type(answer.error) is BadRequest

    asyncio.run(main())
