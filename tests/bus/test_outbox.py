"""Bounds on what waits: a slow connection loses deliveries, never answers, and cannot make the router grow."""

import asyncio

import pytest

from tests.bus.town import Town
from tests.world import NOW, World, made
from wave.bus.connection import Connection, Outbox, Shelf
from wave.bus.fields import MessageFields, Payload
from wave.bus.frame import (
    CHALLENGE_BYTES,
    Deliver,
    Denied,
    Done,
    Dropped,
    Found,
    Frame,
    Give,
    Hello,
    Listed,
    ListKept,
    Publish,
    Query,
    Subscribe,
    Unsubscribe,
    Want,
    denied,
    parcel,
    parcels,
    read_parcel,
    write_frame,
)
from wave.bus.message import Message
from wave.bus.proofs import Proofs
from wave.bus.reading import Reading
from wave.bus.recent import Carried, Recent
from wave.bus.replay import ReplayWindow
from wave.bus.websocket import connected
from wave.codec import VERSION, encode, sha256
from wave.dots.proof import Proof
from wave.errors import BadRequest, InputError, ReplayWindowFull, Revoked, TooLarge, Unavailable, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern

FRAMES: list[Frame] = [
    Hello(bytes(16)),
    Hello(bytes(16), b"e", b"g"),
    Give(b"p"),
    Want(bytes(32)),
    Subscribe(1, b"m"),
    Subscribe(1, b"m", 7),
    Unsubscribe(2, 1),
    Publish(3, b"m"),
    Query(4, b"m", 2),
    ListKept(5, b"m"),
    Done(3, 7, 9),
    Deliver(8, b"m", again=True),
    Found(4, 8, b"m"),
    Listed(5, ("a", "b/c")),
    Dropped(9),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_survives_its_bytes(frame: Frame) -> None:
    assert read_parcel(parcel(frame)) == (frame,)


def test_a_parcel_keeps_the_order() -> None:
    assert read_parcel(parcel(*FRAMES)) == tuple(FRAMES)


def test_a_refusal_keeps_its_class_hint_and_decision() -> None:
    (told,) = read_parcel(parcel(denied(4, Revoked("gone", hint="ask", decision="d" * 32))))
    assert isinstance(told, Denied)
    assert type(told.error) is Revoked
    assert (told.error.message, told.error.hint, told.error.decision) == ("gone", "ask", "d" * 32)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode((1, ())),
        encode((2, (("done", 1, 1, 0),))),
        encode((1, (("done", 1, 1, 0),), None)),
        encode((1, (("hello", bytes(CHALLENGE_BYTES - 1), b"", b""),))),
        encode((1, (("publish", 1),))),
        encode((1, (("publish", "1", b"m"),))),
        encode((1, (("shout", 1),))),
        encode((1, tuple(("want", b"") for _ in range(LIMITS.parcel_frames + 1)))),
        encode((1, (("done", 1, 1, 0),))).replace(b"\x94", b"\xdc\x00\x04"),
        encode(7),
        b"\x91" * 100_000,
        b"\x80",
    ],
)
def test_what_is_no_parcel_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_parcel(data)


def test_a_parcel_has_a_largest_size_that_every_message_and_every_proof_fits_in() -> None:
    assert LIMITS.frame_bytes >= LIMITS.parcel_bytes + max(LIMITS.message_bytes, LIMITS.proof_bytes) + 64
    with pytest.raises(TooLarge):
        read_parcel(bytes(LIMITS.frame_bytes + 1))
    with pytest.raises(InputError) as caught:
        read_parcel(bytes(LIMITS.frame_bytes))
    assert not isinstance(caught.value, TooLarge)


def test_frames_are_packed_into_parcels_up_to_their_bounds() -> None:
    small = [write_frame(Done(number, 0)) for number in range(LIMITS.parcel_frames + 1)]
    assert [len(read_parcel(one)) for one in parcels(small)] == [LIMITS.parcel_frames, 1]
    large = [write_frame(Give(bytes(LIMITS.parcel_bytes // 2)))] * 3
    assert [len(read_parcel(one)) for one in parcels(large)] == [1, 1, 1]
    assert list(parcels([])) == []


async def taken(outbox: Outbox) -> list[Frame]:
    return [frame for one in await outbox.take() or () for frame in read_parcel(one)]


async def test_a_delivery_has_room_up_to_a_number_of_frames() -> None:
    outbox, frame = Outbox(), write_frame(Deliver(1, b"m"))
    for _ in range(LIMITS.queue_frames):
        assert outbox.has_room(len(frame))
        outbox.put(frame)
    assert not outbox.has_room(len(frame))
    assert len(await taken(outbox)) == LIMITS.parcel_frames
    assert outbox.has_room(len(frame))


async def test_large_deliveries_are_bounded_by_their_bytes() -> None:
    outbox, frame = Outbox(), bytes(LIMITS.queue_bytes // 4)
    for _ in range(4):
        assert outbox.has_room(len(frame))
        outbox.put(frame)
    assert not outbox.has_room(len(frame))


async def test_what_was_lost_is_told_after_what_waits() -> None:
    outbox = Outbox()
    outbox.answer(Done(1, 0))
    outbox.lose(2)
    outbox.lose(3)
    assert await taken(outbox) == [Done(1, 0)]
    assert await taken(outbox) == [Dropped(5)]


async def test_a_closed_outbox_ends_when_it_is_empty() -> None:
    outbox = Outbox()
    outbox.answer(Done(1, 0))
    outbox.close()
    assert await taken(outbox) == [Done(1, 0)]
    assert await outbox.take() is None


async def test_whoever_does_not_read_answers_is_not_asked_again() -> None:
    outbox = Outbox()
    for number in range(LIMITS.queue_frames):
        await asyncio.wait_for(outbox.room(), 1)
        outbox.answer(Done(number, 0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outbox.room(), 0.01)
    await outbox.take()
    await asyncio.wait_for(outbox.room(), 1)


async def test_connections_are_bounded_and_strangers_make_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town(world)
    town.give("home", "alice", "publish@home/a")
    async with town.open() as router:
        full = {Connection(bytes([number % 256, number // 256])): None for number in range(LIMITS.connections)}
        monkeypatch.setattr(router, "_connections", full)
        for connection in full:
            connection.useful = True
        async with town.peer("alice", patience=0.2) as alice:
            with pytest.raises(Unavailable, match="no room"):
                await alice.publish(town.home, "a", b"1")
        oldest = next(iter(full))
        oldest.useful = False
        async with town.peer("alice") as alice:
            await alice.publish(town.home, "a", b"1")
        assert await oldest.outbox.take() is None


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


def test_proofs_are_held_up_to_a_count_and_a_size() -> None:
    proofs = [Proof.build((), [made(f"entity {number}").entity]) for number in range(4)]
    by_count, by_size = Shelf(3, 10**6), Shelf(9, 2 * len(proofs[0].data) + 9)
    for proof in proofs:
        by_count.put(proof, proof.id)
        by_size.put(proof, proof.id)
    assert [by_count.get(proof.id) is not None for proof in proofs] == [False, True, True, True]
    assert [by_size.get(proof.id) is not None for proof in proofs] == [False, False, True, True]


def carried(serial: int, size: int = 1) -> Carried:
    return Carried(serial, bytes(32), Pattern(f"a/{serial}"), NOW, bytes(size), None, b"", kept=serial % 2 == 0)


def test_recent_messages_are_bounded_by_count_and_bytes_and_what_went_is_known() -> None:
    recent = Recent(1, count=3, size=100)
    for serial in range(1, 6):
        recent.add(carried(serial))
    assert [one.serial for one in recent.after(0, most=9)] == [3, 4, 5]
    assert [one.serial for one in recent.after(3, most=1)] == [4]
    assert recent.after(5, most=9) == []
    assert recent.first == 3
    assert [serial for serial, _, _ in recent.gone_after(0)] == [1]
    recent.add(carried(6, 99))
    assert [one.serial for one in recent.after(0, most=9)] == [5, 6]
    assert [serial for serial, _, _ in recent.gone_after(0)] == [3, 1]
    assert list(recent.gone_after(3)) == []


def test_the_replay_window_holds_what_it_says() -> None:
    window = ReplayWindow()
    count = 0
    for place in range(LIMITS.replay_namespaces):
        for number in range(LIMITS.replay_window // LIMITS.replay_namespaces - 1):  # and one for the sender itself
            one = fields(b"%d" % place, number)
            window.check(one, NOW)
            window.remember(one)
            count += 1
    assert len(window) == LIMITS.replay_window
    with pytest.raises(ReplayWindowFull):
        window.check(fields(b"x", 1), NOW)
    late = fields(b"x", 1, created=NOW + 30)
    window.check(late, NOW + 30)
    assert count == LIMITS.replay_window - LIMITS.replay_namespaces
    assert len(window) == 0


def fields(namespace: bytes, number: int, created: int = NOW) -> MessageFields:
    return MessageFields(
        VERSION, sha256(namespace), "publish", sha256(namespace), "a", (Payload("", b""),), False, created,
        created + 30, number, sha256(b"%d" % number)[:16], None,
    )  # fmt: skip


def test_a_peer_keeps_a_bounded_number_of_proofs(world: World) -> None:
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
        town = Town(world)
        async with town.open(), connected(town.url) as link:
            await link.receive()
            await link.send(parcel(Done(1, 1)))
            (answer,) = read_parcel(await link.receive() or b"")
            assert isinstance(answer, Denied)
            assert type(answer.error) is BadRequest

    asyncio.run(main())
