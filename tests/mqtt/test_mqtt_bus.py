"""The bus over a real Mosquitto that checks nothing: what is believed must not depend on it."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mqtt.broker import Mosquitto, until
from tests.mqtt.village import LIGHT, SLOT, Village, overheard
from tests.ports import free_port
from tests.world import HOUR
from wave.bus import mqtt, mqtt_arrivals, mqtt_notes
from wave.bus.message import SUBSCRIBE, Accepted, Message, Payload
from wave.bus.mqtt import MqttBus
from wave.bus.mqtt_form import carried
from wave.bus.mqtt_line import Broker, Carried, connected
from wave.bus.mqtt_topic import denied_topic, message_topic, proof_topic
from wave.bus.reading import Reading
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.errors import (
    BadPattern,
    BadSetting,
    BadSignature,
    BeforeRestart,
    BrokerUnavailable,
    ChainUnavailable,
    ConditionFailed,
    MessageStale,
    NoProof,
    OutOfScope,
    Refused,
    Replayed,
    Revoked,
    RolledBack,
    StaleFacts,
    UnknownEntity,
    UnknownProof,
    WaveError,
    WrongPurpose,
    WrongSender,
)
from wave.limits import LIMITS
from wave.namespace.condition import where

SLOTS = f"{LIGHT}/slot/*"


async def soon(reading: Reading) -> Accepted:
    return await asyncio.wait_for(anext(reading), 5)


class Told:
    """What did not pass, as it is told."""

    def __init__(self) -> None:
        self.errors: list[WaveError] = []

    def __call__(self, _message: Message | None, error: WaveError) -> None:
        self.errors.append(error)

    async def first(self) -> WaveError:
        await until(lambda: self.errors)
        return self.errors[0]


async def say(url: str, *publications: Carried, retain: bool = False) -> None:
    """Publish as anybody may on a plain broker."""
    async with connected(Broker.parse(url), None) as line:
        for one in publications:
            await line.send(one, retain=retain)


# What passes ---------------------------------------------------------------------------------------------------------


async def test_a_granted_message_is_checked_and_given(village: Village) -> None:
    async with village.bus("alice") as alice, village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS)
        assert await alice.publish(village.home, SLOT, b'{"state": "on"}') == 1
        received = await soon(reading)
    assert (received.message.payload, received.message.sender) == (b'{"state": "on"}', village.world.id("alice"))
    assert not received.kept
    assert len(received.decision) == 32


async def test_a_proof_is_published_once_a_connection_and_named_after_that(village: Village) -> None:
    async with village.bus("alice") as alice:

        async def act() -> None:
            for _ in range(3):
                await alice.publish(village.home, SLOT, b"true")

        seen = await overheard(village.url, 4, act)
    assert [one.topic.split("/")[1] == "proof" for one in seen] == [True, False, False, False]
    assert Proof.from_bytes(seen[0].payload).id == Message.from_bytes(_again(seen[1]).to_bytes()).proof


def _again(publication: Carried) -> Message:
    from wave.bus.mqtt_form import read

    return read(publication)


async def test_somebody_who_knows_no_wave_reads_the_payload(village: Village) -> None:
    async with village.bus("alice") as alice:
        seen = await overheard(
            village.url,
            1,
            lambda: alice.publish(village.home, SLOT, b'{"state": "on"}'),
            message_topic(village.home, SLOT),
        )
    assert (seen[0].payload, seen[0].content_type) == (b'{"state": "on"}', "application/json")


async def test_subscriptions_that_overlap_give_each_message_once_to_each(village: Village) -> None:
    told = Told()
    async with village.bus("alice") as alice, village.bus("light") as light:
        patterns = (SLOTS, f"{LIGHT}/slot/+", SLOT, SLOT)
        readings = [await light.subscribe(village.home, one, refused=told) for one in patterns]
        for payload in (b"1", b"2"):
            await alice.publish(village.home, SLOT, payload)
        for reading in readings:
            assert [(await soon(reading)).message.payload for _ in range(2)] == [b"1", b"2"]
        await readings[2].close()
        await alice.publish(village.home, SLOT, b"3")
        assert (await soon(readings[3])).message.payload == b"3"
    assert not told.errors


async def test_a_pattern_with_a_star_inside_hears_what_it_covers(village: Village) -> None:
    village.give("home", "light", "subscribe@home/s.light/*/state")
    async with village.bus("alice") as alice, village.bus("light") as light:
        reading = await light.subscribe(village.home, "s.light/*/state")
        await alice.publish(village.home, f"{LIGHT}/slot/other", b"0")
        await alice.publish(village.home, SLOT, b"1")
        assert (await soon(reading)).message.payload == b"1"


# Who may -------------------------------------------------------------------------------------------------------------


async def test_whoever_has_no_right_is_told_before_anything_is_sent(village: Village) -> None:
    async with village.bus("stranger") as stranger:
        for act in (
            stranger.publish(village.home, SLOT, b"true"),
            stranger.subscribe(village.home, SLOT),
            stranger.query(village.home, SLOT),
            stranger.list(village.home, SLOT),
        ):
            with pytest.raises(NoProof):
                await act


async def test_nobody_publishes_at_a_pattern(village: Village) -> None:
    async with village.bus("alice") as alice:
        for text in (SLOTS, f"{LIGHT}/slot/+", "#", f"{LIGHT}/#"):
            with pytest.raises(BadPattern):
                await alice.publish(village.home, text, b"true")


async def test_a_subscription_wider_than_held_is_not_opened(village: Village) -> None:
    """DESIGN §8, fault 6: the right is checked on the very pattern that is subscribed."""
    async with village.bus("light") as light:
        for wide in (f"{LIGHT}/*", "*", f"+/{LIGHT}/slot/state"):
            with pytest.raises(Refused):
                await light.subscribe(village.home, wide)


async def test_a_subscription_ends_with_the_right_to_it(village: Village) -> None:
    """DESIGN §8, fault 7."""
    async with village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS)
        village.world.revoke(village.read)
        with pytest.raises(Revoked):
            await soon(reading)
        with pytest.raises(Refused):
            await light.subscribe(village.home, SLOTS)


async def test_a_senders_right_ends_in_the_middle_of_a_stream(village: Village) -> None:
    told = Told()
    async with village.bus("alice") as alice, village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS, refused=told)
        await alice.publish(village.home, SLOT, b"1")
        await soon(reading)
        village.world.revoke(village.given)
        await alice.publish(village.home, SLOT, b"2")  # the proof is known here, and good as far as a sender can tell
        assert isinstance(await told.first(), Revoked)


async def test_conditions_are_held_at_the_edge(village: Village) -> None:
    village.give("home", "bob", f"publish@home/{LIGHT}/slot/*", conditions=(where("brightness 0..50"),))
    told = Told()

    async def prove(request: Request) -> tuple[Proof, int]:
        return await village.prove(replace(request, context={"brightness": 10}))

    async with village.bus("bob", proofs=prove) as bob, village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS, refused=told)
        await bob.publish(village.home, SLOT, b'{"brightness": 10}')
        await soon(reading)
        await bob.publish(village.home, SLOT, b'{"brightness": 90}')
        assert isinstance(await told.first(), ConditionFailed)


# What an evil client, or the broker, can do to a receiver ------------------------------------------------------------


async def heard_by_the_light(village: Village, evil: Callable[[Carried], Carried]) -> WaveError:
    """Return what the light says of what an evil client makes of one good message."""
    told = Told()
    async with village.bus("alice") as alice, village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS, refused=told)
        topic = message_topic(village.home, SLOT)
        [seen] = await overheard(village.url, 1, lambda: alice.publish(village.home, SLOT, b"true"), topic)
        await soon(reading)
        await say(village.url, evil(seen))
        error = await told.first()
        assert not reading._waiting
        return error


def changed(publication: Carried, name: str, text: str) -> Carried:
    return replace(publication, user=(*[one for one in publication.user if one[0] != name], (name, text)))


async def test_a_message_repeated_by_another_client_is_refused(village: Village) -> None:
    """DESIGN §8, fault 8."""
    assert isinstance(await heard_by_the_light(village, lambda seen: seen), Replayed)


async def test_a_changed_payload_is_refused(village: Village) -> None:
    """DESIGN §8, fault 10: a proof with another body than the one it came with."""
    error = await heard_by_the_light(
        village, lambda seen: changed(replace(seen, payload=b"false"), "wave-nonce", FRESH)
    )
    assert isinstance(error, BadSignature)


FRESH = "AAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize(
    ("name", "text"),
    [("wave-nonce", FRESH), ("wave-persist", "1"), ("wave-sequence", "77"), ("wave-signature", "A" * 86)],
)
async def test_a_changed_property_is_refused(village: Village, name: str, text: str) -> None:
    error = await heard_by_the_light(village, lambda seen: changed(changed(seen, "wave-nonce", FRESH), name, text))
    assert isinstance(error, BadSignature)


async def test_a_message_moved_to_another_topic_is_refused(village: Village) -> None:
    moved = message_topic(village.home, f"{LIGHT}/slot/other")
    error = await heard_by_the_light(village, lambda seen: changed(replace(seen, topic=moved), "wave-nonce", FRESH))
    assert isinstance(error, BadSignature)


async def test_something_that_is_no_message_is_refused(village: Village) -> None:
    error = await heard_by_the_light(village, lambda seen: replace(seen, user=()))
    assert error.code == "object.malformed"


async def test_a_message_that_nobody_kept_cannot_be_shown_as_kept(village: Village) -> None:
    told, topic = Told(), message_topic(village.home, SLOT)
    async with village.bus("alice") as alice, village.bus("light") as light:
        [seen] = await overheard(village.url, 1, lambda: alice.publish(village.home, SLOT, b"true"), topic)
        await say(village.url, seen, retain=True)
        await light.subscribe(village.home, SLOTS, since=0, refused=told)
        assert isinstance(await told.first(), WrongPurpose)
        assert await light.query(village.home, SLOTS) == ()


async def test_somebody_elses_proof_is_worth_nothing(village: Village) -> None:
    """DESIGN §8, fault 5: the sender is compared with the proof's subject."""

    async def borrowed(request: Request) -> tuple[Proof, int]:
        return await village.prove(replace(request, subject=village.world.id("alice")))

    told = Told()
    async with village.bus("light") as light, village.bus("mallory", proofs=borrowed) as mallory:
        await light.subscribe(village.home, SLOTS, refused=told)
        await mallory.publish(village.home, SLOT, b"true")
        assert isinstance(await told.first(), WrongSender)


async def test_another_proof_in_the_place_of_one_is_not_taken(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN §8, fault 9: a proof is known by its hash, and checked by it."""
    monkeypatch.setattr(mqtt_arrivals, "_FETCH", 0.3)
    told, alice = Told(), village.world.entity("alice")
    good, _ = await village.prove(village.world.request("alice", f"publish@home/{SLOT}"))
    other, _ = await village.prove(village.world.request("light", f"subscribe@home/{SLOT}"))
    sent = _message(village, proof=good.id)
    async with village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS, refused=told)
        for bad in (other.to_bytes(), b"rubbish"):
            await say(village.url, Carried(proof_topic(alice.id, good.id), bad), retain=True)
        await say(village.url, carried(sent))
        assert isinstance(await told.first(), UnknownProof)
        await say(village.url, Carried(proof_topic(alice.id, good.id), good.to_bytes()), retain=True)
        await say(village.url, carried(sent))
        assert (await soon(reading)).message.id == sent.id


def _message(village: Village, **fields: object) -> Message:
    known: dict[str, object] = {
        "permission": "publish",
        "namespace": village.home,
        "resource": SLOT,
        "payload": b"true",
        "created": village.world.now,
        "expires": village.world.now + 30,
        "nonce": os.urandom(16),
    }
    return Message.create(village.world.entity("alice"), **{**known, **fields})


@pytest.mark.parametrize(
    ("ago", "lifetime", "error"), [(40, 30, MessageStale), (-HOUR, 30, MessageStale), (HOUR, 30, MessageStale)]
)
async def test_a_message_of_another_time_is_refused(
    village: Village, ago: int, lifetime: int, error: type[WaveError]
) -> None:
    """Held back, from the future, and from a clock that is off by an hour, which is said plainly."""
    told = Told()
    proof, _ = await village.prove(village.world.request("alice", f"publish@home/{SLOT}"))
    created = village.world.now - ago
    sent = _message(village, created=created, expires=created + lifetime, proof=proof.id)
    async with village.bus("light", clock=lambda: village.world.now) as light:
        light._inbox._seen._since = 0
        light._known.put(proof, proof.id)
        await light.subscribe(village.home, SLOTS, refused=told)
        await say(village.url, carried(sent))
        found = await told.first()
    assert isinstance(found, error)
    if abs(ago) == HOUR:
        assert "clock" in found.message or "clock" in found.hint


@pytest.mark.parametrize("fault", ["stale", "down"])
async def test_no_message_passes_by_stale_facts(village: Village, fault: str) -> None:
    """DESIGN §8, fault 13."""
    told = Told()
    async with village.bus("alice") as alice, village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS, refused=told)
        if fault == "stale":
            village.block_time = village.world.now - LIMITS.max_staleness - 1
        else:
            village.chain_down = True
        await alice.publish(village.home, SLOT, b"true")
        assert isinstance(await told.first(), StaleFacts if fault == "stale" else ChainUnavailable)
        assert not reading._waiting


async def test_a_receiver_that_starts_anew_takes_nothing_twice(village: Village, tmp_path: Path) -> None:
    """DESIGN §8, fault 8: durable across restarts."""
    told, topic = Told(), message_topic(village.home, SLOT)
    async with village.bus("alice") as alice:
        async with village.bus("light", state=tmp_path) as light:
            reading = await light.subscribe(village.home, SLOTS)
            [seen] = await overheard(village.url, 1, lambda: alice.publish(village.home, SLOT, b"true"), topic)
            await soon(reading)
        async with village.bus("light", state=tmp_path) as light:
            await light.subscribe(village.home, SLOTS, refused=told)
            await say(village.url, seen)
            assert isinstance(await told.first(), BeforeRestart)


# What is kept --------------------------------------------------------------------------------------------------------


async def test_the_last_value_waits_for_whoever_comes_later(village: Village) -> None:
    other = f"{LIGHT}/slot/other"
    async with village.bus("alice") as alice, village.bus("light") as light:
        for payload in (b"1", b"2"):
            await alice.publish(village.home, SLOT, payload, persist=True)
        await alice.publish(village.home, other, b"3", persist=True)
        await alice.publish(village.home, f"{LIGHT}/slot/passing", b"4")
        found = await light.query(village.home, SLOTS, last=5)
        assert [(one.message.resource, one.message.payload, one.kept) for one in found] == [
            (other, b"3", True),
            (SLOT, b"2", True),
        ]
        assert await light.list(village.home, SLOTS) == (other, SLOT)
        assert await light.list(village.home, SLOT) == (SLOT,)
        kept = await light.subscribe(village.home, SLOT, since=0)
        assert (await soon(kept)).message.payload == b"2"
        fresh = await light.subscribe(village.home, SLOT)
        await alice.publish(village.home, SLOT, b"5", persist=True)
        assert [(await soon(one)).message.payload for one in (kept, fresh)] == [b"5", b"5"]


async def test_an_older_value_put_back_is_noticed(village: Village) -> None:
    told, topic = Told(), message_topic(village.home, SLOT)
    async with village.bus("alice") as alice, village.bus("light") as light:
        await light.subscribe(village.home, SLOTS, refused=told, since=0)
        [older] = await overheard(village.url, 1, lambda: alice.publish(village.home, SLOT, b"1", persist=True), topic)
        village.world.pass_time(5)
        await alice.publish(village.home, SLOT, b"2", persist=True)
        await say(village.url, older, retain=True)
        await until(lambda: told.errors)
        assert isinstance(told.errors[0], Replayed | RolledBack)  # it came live, as what it is: an old repetition
        assert await light.query(village.home, SLOTS) == ()


async def test_a_kept_message_whose_senders_right_is_gone_is_not_shown(village: Village) -> None:
    async with village.bus("alice") as alice, village.bus("light") as light:
        await alice.publish(village.home, SLOT, b"1", persist=True)
        assert await light.list(village.home, SLOTS) == (SLOT,)
        village.world.revoke(village.given)
        assert await light.list(village.home, SLOTS) == ()


# The broker comes and goes -------------------------------------------------------------------------------------------


async def test_the_bus_goes_on_when_the_broker_was_killed(village: Village, mosquitto: Mosquitto) -> None:
    async with village.bus("alice") as alice, village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS)
        await alice.publish(village.home, SLOT, b"1")
        await soon(reading)
        mosquitto.kill()
        await until(lambda: not alice.connected and not light.connected)
        mosquitto.start()
        await until(lambda: light.connected)
        assert await alice.publish(village.home, SLOT, b"2") == 1
        assert (await soon(reading)).message.payload == b"2"


async def test_a_broker_that_is_not_there_is_said_so(village: Village) -> None:
    async with village.bus("alice", url=f"mqtt://127.0.0.1:{free_port()}", patience=0.2) as alice:
        assert not alice.connected
        with pytest.raises(BrokerUnavailable):
            await alice.publish(village.home, SLOT, b"1")


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://",
        "mqtt://host:0",
        "mqtt://host:99999",
        "http://host",
        "mqtt://a:b@host",
        "mqtt://host/x",
        "mqtt://h?x=1",
    ],
)
async def test_an_address_that_is_no_brokers_is_refused(village: Village, url: str) -> None:
    with pytest.raises(BadSetting):
        village.bus("alice", url=url)


async def test_whoever_does_not_read_loses_messages_and_knows_how_many(village: Village) -> None:
    broker = Broker.parse(village.url)
    async with connected(broker, None) as reader, connected(broker, None) as writer:
        await reader.hear(["flood"], kept=False)
        many = LIMITS.queue_frames * 4 + 50
        for _ in range(0, many, 50):
            await asyncio.gather(*[writer.send(Carried("flood", b"x")) for _ in range(50)])
        await until(lambda: reader.dropped >= 50)
        assert reader._queue.qsize() == LIMITS.queue_frames * 4


# A refusal is told ---------------------------------------------------------------------------------------------------


async def test_a_sender_is_told_by_who_refused_it(village: Village) -> None:
    told: list[tuple[Message | None, WaveError]] = []
    async with village.bus("alice", denied=lambda *one: told.append(one)) as alice, village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS)
        await alice.publish(village.home, SLOT, b"false")
        await soon(reading)
        village.world.revoke(village.given)
        await alice.publish(village.home, SLOT, b"true")
        await until(lambda: told)
    message, error = told[0]
    assert message is not None
    assert (message.payload, error.code) == (b"true", "dot.revoked")
    assert error.decision


async def test_a_note_of_denial_from_who_may_not_hear_there_is_not_believed(village: Village) -> None:
    told = Told()
    village.give("home", "mallory", "subscribe@home/elsewhere/*")
    proof, _ = await village.prove(village.world.request("mallory", "subscribe@home/elsewhere/x"))
    async with village.bus("alice", denied=told) as alice:
        topic = message_topic(village.home, SLOT)
        [seen] = await overheard(village.url, 1, lambda: alice.publish(village.home, SLOT, b"true"), topic)
        sent = _again(seen)
        for where_ in (SLOT, "elsewhere/x"):
            note = Message.create(
                village.world.entity("mallory"),
                permission=SUBSCRIBE,
                namespace=village.home,
                resource=where_,
                payload=b'{"code": "dot.revoked", "refused": "%s"}' % _text(sent.id),
                content_type=mqtt_notes.NOTE,
                created=village.world.now,
                expires=village.world.now + 30,
                nonce=os.urandom(16),
                proof=proof.id,
            )
            mine = village.world.id("mallory")
            await say(village.url, Carried(proof_topic(mine, proof.id), proof.to_bytes()), retain=True)
            await say(village.url, carried(note, denied_topic(village.world.id("alice"))))
        await asyncio.sleep(0.3)
    assert not told.errors


def _text(identity: bytes) -> bytes:
    from wave.codec import id_text

    return id_text(identity).encode()


async def test_notes_of_denial_are_few_however_much_is_refused(village: Village) -> None:
    async with village.bus("light") as light:
        await light.subscribe(village.home, SLOTS)
        proof, _ = await village.prove(village.world.request("alice", f"publish@home/{SLOT}"))
        light._known.put(proof, proof.id)
        village.world.revoke(village.given)
        many = [carried(_message(village, proof=proof.id)) for _ in range(40)]
        seen: list[Carried] = []
        async with connected(Broker.parse(village.url), None) as line:
            await line.hear([denied_topic(village.world.id("alice"))], kept=False)
            await say(village.url, *many)
            await asyncio.sleep(0.3)
            while not line.idle:
                seen.append(await line.receive())
    assert 1 <= len(seen) <= 2 * mqtt_notes.MOST


def test_the_bus_is_a_bus(village: Village) -> None:
    """Devices are written against the port alone."""
    from wave.bus.port import Bus

    kind: type[Bus] = MqttBus
    assert kind is MqttBus


async def test_out_of_scope_is_told_by_the_edge(village: Village) -> None:
    told = Told()
    proof, _ = await village.prove(village.world.request("alice", f"publish@home/{SLOT}"))
    village.give("home", "light", "subscribe@home/other/*")
    async with village.bus("light") as light:
        light._known.put(proof, proof.id)
        await light.subscribe(village.home, "other/*", refused=told)
        await say(village.url, carried(_message(village, resource="other/x", proof=proof.id)))
        assert isinstance(await told.first(), OutOfScope)


async def test_older_kept_messages_are_refused_to_a_reader_that_saw_newer(village: Village) -> None:
    told = Told()
    proof, _ = await village.prove(village.world.request("alice", f"publish@home/{SLOT}"))
    newer = _message(village, proof=proof.id, persist=True)
    older = _message(village, created=village.world.now - 9, proof=proof.id, persist=True)
    async with village.bus("light") as light:
        light._known.put(proof, proof.id)
        await say(village.url, carried(newer), retain=True)
        reading = await light.subscribe(village.home, SLOTS, since=0, refused=told)
        await soon(reading)
        await say(village.url, carried(older), retain=True)
        again = await light.subscribe(village.home, f"{LIGHT}/slot/+", since=0, refused=told)
        await until(lambda: any(isinstance(one, RolledBack) for one in told.errors))
        assert not again._waiting


# Rights end whatever else goes wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [UnknownEntity("not known just now"), ValueError("a fault of ours")], ids=["ours", "any"]
)
async def test_a_subscription_ends_with_its_right_though_no_proof_can_be_asked_for(
    village: Village, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_REVIEW", 0.02)
    broken = False

    async def prove(request: Request) -> tuple[Proof, int]:
        if broken:
            raise fault
        proof, _ = await village.prove(request)
        return proof, village.world.now  # so that it is asked for at every review

    async with village.bus("light", proofs=prove) as light:
        reading = await light.subscribe(village.home, SLOTS)
        broken = True
        await asyncio.sleep(0.1)
        assert light._wanted
        village.world.revoke(village.read)
        with pytest.raises(Revoked):
            await soon(reading)


async def test_an_answer_of_the_wrong_length_ends_no_review(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a broker says of a subscription may be anything."""
    monkeypatch.setattr(mqtt, "_REVIEW", 0.02)
    async with village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS)
        asked = asyncio.Event()

        async def answer(*_: object, **__: object) -> tuple[object, ...]:
            asked.set()
            return ()

        assert light._line is not None
        monkeypatch.setattr(light._line, "subscribe", answer)
        with pytest.raises(BrokerUnavailable):
            await light._line.hear(["wave/x"], kept=False)
        (wanted,) = light._wanted.values()
        asked.clear()
        async with asyncio.timeout(5):
            while not asked.is_set():  # a subscription that was on its way may still set it
                wanted.heard = False
                await asyncio.sleep(0.01)
        monkeypatch.undo()
        village.world.revoke(village.read)
        with pytest.raises(Revoked):
            await soon(reading)


async def test_several_payloads_are_one_message_and_all_are_held_to_the_bounds(village: Village) -> None:
    village.world.revoke(village.given)
    village.give("home", "alice", f"publish@home/{SLOT}", conditions=(where("x 1..2"),))
    async with village.bus("alice") as alice, village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS)
        await alice.publish(village.home, SLOT, b'{"x":1}', also=(Payload("application/json", b'{"x":2}'),))
        assert [one.data for one in (await soon(reading)).message.payloads] == [b'{"x":1}', b'{"x":2}']
        with pytest.raises(Refused):
            await alice.publish(village.home, SLOT, b'{"x":1}', also=(Payload("application/json", b'{"x":3}'),))
