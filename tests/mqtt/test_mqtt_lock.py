"""The lock on a real Mosquitto: the broker itself refuses who may not, and everybody when nobody can check."""

import asyncio
import contextlib
import getpass
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.mqtt.broker import Mosquitto, locked, until
from tests.mqtt.village import LIGHT, SLOT, Village, granted
from tests.world import HOUR, World
from wave.bus import dynsec
from wave.bus.dynsec import Control, Lock, Setup
from wave.bus.mosquitto import lock_account, prepare
from wave.bus.mqtt_line import Account, Broker, Carried, Line, connected
from wave.bus.mqtt_topic import credentials_topic, denied_topic, filters, message_topic, proof_topic
from wave.codec import decode, id_text
from wave.entities import keys
from wave.errors import BadSetting, BrokerRefused, BrokerUnavailable, Malformed, MissingFile, Revoked, WaveError
from wave.limits import LIMITS
from wave.namespace.condition import where

SLOTS = f"{LIGHT}/slot/*"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that lets nobody in but its lock."""
    with locked(tmp_path) as found:
        yield found


@pytest.fixture
def village(world: World, broker: Mosquitto) -> Village:
    found = granted(world)
    found.url = broker.url
    return found


def lock_of(village: Village, broker: Mosquitto, **more: Any) -> Lock:
    options = {"standing": village, "facts": village.facts, "clock": village.clock, "beat": 0.05, **more}
    return Lock(
        Setup(Broker.parse(broker.url), lock_account(broker.directory), (village.home,), draw=os.urandom, **options)
    )


@asynccontextmanager
async def locking(village: Village, broker: Mosquitto, **more: Any) -> AsyncIterator[Lock]:
    """Keep the broker locked while the body runs, which begins when it is open."""
    lock = lock_of(village, broker, **more)
    running = asyncio.create_task(lock.run())
    try:
        async with asyncio.timeout(10):
            await lock.open.wait()
        yield lock
    finally:
        running.cancel()
        await asyncio.wait([running])


async def account(village: Village, name: str) -> Account:
    """Return the broker's account of an entity, as its own bus finds it: anonymously, and opened with its key."""
    secret = village.world.entity(name)
    async with connected(Broker.parse(village.url), None) as line:
        await line.hear([credentials_topic(secret.id)], kept=True)
        async with asyncio.timeout(1):
            box = (await line.receive()).payload
    match decode(keys.unseal(secret.seed, box)):
        case (_, _, str(password)):
            return Account(id_text(secret.id), password)
    raise AssertionError


@asynccontextmanager
async def line_of(village: Village, name: str | None) -> AsyncIterator[Line]:
    """Connect as an entity that keeps to no rules of ours."""
    who = None if name is None else await account(village, name)
    async with connected(Broker.parse(village.url), who) as line:
        yield line


async def refused(line: Line, topic: str) -> bool:
    """Tell whether the broker refuses a publication (0x87)."""
    try:
        await line.send(Carried(topic, b"x"))
    except BrokerRefused as error:
        return "0x87" in error.message
    return False


async def deaf(line: Line, topic: str) -> bool:
    """Tell whether the broker refuses a subscription."""
    try:
        await line.hear([topic], kept=False)
    except BrokerRefused:
        return True
    return False


# Who may, and who may not --------------------------------------------------------------------------------------------


async def test_the_granted_get_in_by_themselves_and_talk(village: Village, broker: Mosquitto) -> None:
    async with locking(village, broker), village.bus("alice") as alice, village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS)
        assert await alice.publish(village.home, SLOT, b"1", persist=True) == 1
        assert (await asyncio.wait_for(anext(reading), 5)).message.payload == b"1"
        assert await light.list(village.home, SLOTS) == (SLOT,)


async def test_a_device_that_was_there_before_the_lock_gets_in_when_it_comes(
    village: Village, broker: Mosquitto
) -> None:
    async with village.bus("alice") as alice:
        await until(lambda: alice.connected)
        waiting = asyncio.create_task(alice.publish(village.home, SLOT, b"1"))
        async with locking(village, broker):
            assert await waiting == 0


async def test_the_broker_refuses_what_was_not_granted(village: Village, broker: Mosquitto) -> None:
    other = message_topic(village.home, "s.light/light1/i.boolean/slot/state")
    async with locking(village, broker), line_of(village, "alice") as alice, line_of(village, "light") as light:
        assert not await refused(alice, message_topic(village.home, SLOT))
        assert await refused(alice, other)
        assert await refused(light, message_topic(village.home, SLOT))
        assert await deaf(alice, message_topic(village.home, SLOT))
        assert not await deaf(light, filters(village.home, SLOTS)[0])
        assert await refused(alice, "$CONTROL/dynamic-security/v1")
        assert await refused(alice, "wave/lock/gate")
        assert await refused(alice, credentials_topic(village.world.id("light")))


async def test_a_subscription_wider_than_held_is_refused(village: Village, broker: Mosquitto) -> None:
    """DESIGN §8, fault 6, by the broker."""
    home = id_text(village.home)
    async with locking(village, broker), line_of(village, "light") as light:
        for wide in ("#", "wave/#", f"wave/{home}/#", f"wave/+/{LIGHT}/slot/state", f"wave/{home}/+/light0/#"):
            assert await deaf(light, wide)
        assert not await deaf(light, f"wave/{home}/{LIGHT}/slot/+")


async def test_nobody_writes_proofs_of_others_nor_hears_notes_for_others(village: Village, broker: Mosquitto) -> None:
    alice_id, light_id = village.world.id("alice"), village.world.id("light")
    async with locking(village, broker), line_of(village, "alice") as alice:
        assert not await refused(alice, proof_topic(alice_id, bytes(32)))
        assert await refused(alice, proof_topic(light_id, bytes(32)))
        assert not await deaf(alice, proof_topic(light_id, bytes(32)))
        assert await deaf(alice, denied_topic(light_id))


async def test_a_stranger_may_do_nothing_but_look_for_a_password(village: Village, broker: Mosquitto) -> None:
    async with locking(village, broker):
        async with line_of(village, None) as stranger:
            assert await refused(stranger, message_topic(village.home, SLOT))
            assert await deaf(stranger, message_topic(village.home, SLOT))
            assert await deaf(stranger, "#")
            await stranger.hear([credentials_topic(village.world.id("alice"))], kept=True)
            box = (await stranger.receive()).payload
        with pytest.raises(Malformed):
            keys.unseal(village.world.entity("mallory").seed, box)
        with pytest.raises(BrokerRefused):
            async with connected(Broker.parse(village.url), Account(id_text(village.world.id("alice")), "guess")):
                pass
        async with village.bus("stranger") as bus:
            village.give("home", "stranger", "publish@home/nowhere/x")
            with pytest.raises(WaveError):
                await bus.publish(village.home, SLOT, b"1")


async def test_a_star_inside_a_pattern_is_exact_at_the_broker(village: Village, broker: Mosquitto) -> None:
    village.give("home", "bob", "publish@home/s.light/*/state")
    async with locking(village, broker), line_of(village, "bob") as bob:
        for good in ("s.light/state", "s.light/a/state", "s.light/a/b/c/d/state"):
            assert not await refused(bob, message_topic(village.home, good))
        for bad in ("s.light/a", "s.light/a/state/b", "s.other/a/state", "state"):
            assert await refused(bob, message_topic(village.home, bad))


async def test_conditions_narrow(village: Village, broker: Mosquitto) -> None:
    """Bounds on values are for the edges; a subscription under such a bound is nothing that the broker could keep."""
    village.give("home", "bob", "publish,subscribe@home/dim/*", conditions=(where("brightness 0..50"),))
    async with locking(village, broker), line_of(village, "bob") as bob:
        assert not await refused(bob, message_topic(village.home, "dim/x"))
        assert await deaf(bob, message_topic(village.home, "dim/x"))


# Rights end, and begin -----------------------------------------------------------------------------------------------


async def test_a_revocation_ends_the_live_session(village: Village, broker: Mosquitto) -> None:
    async with locking(village, broker), line_of(village, "light") as light:
        await light.hear(filters(village.home, SLOTS), kept=False)
        known = await account(village, "light")
        village.world.revoke(village.read)
        async with asyncio.timeout(3):
            with pytest.raises(BrokerUnavailable):
                await light.receive()
        with pytest.raises(BrokerRefused):
            async with connected(Broker.parse(village.url), known):
                pass


async def test_a_bus_is_told_why_its_subscription_ended(village: Village, broker: Mosquitto) -> None:
    async with locking(village, broker), village.bus("light") as light:
        reading = await light.subscribe(village.home, SLOTS)
        village.world.revoke(village.read)
        with pytest.raises(Revoked):
            await asyncio.wait_for(anext(reading), 5)


async def test_a_right_ends_on_time(village: Village, broker: Mosquitto) -> None:
    village.give("home", "bob", "publish@home/x/*", expires=village.world.now + HOUR)
    async with locking(village, broker), line_of(village, "bob") as bob:
        assert not await refused(bob, message_topic(village.home, "x/y"))
        village.world.now += HOUR
        async with asyncio.timeout(3):
            with pytest.raises(BrokerUnavailable):
                await bob.receive()


async def test_one_of_two_rights_ends_and_the_other_stands(village: Village, broker: Mosquitto) -> None:
    gone = village.give("home", "alice", "publish@home/x/*")
    async with locking(village, broker), village.bus("alice") as alice:
        await alice.publish(village.home, "x/y", b"1")
        village.world.revoke(gone)
        await asyncio.sleep(0.3)
        async with line_of(village, "alice") as line:
            assert await refused(line, message_topic(village.home, "x/y"))
        assert await alice.publish(village.home, SLOT, b"1") == 0


async def test_whoever_is_granted_something_later_gets_in(village: Village, broker: Mosquitto) -> None:
    async with locking(village, broker), village.bus("late") as late:
        await until(lambda: late.connected)
        village.give("home", "late", "publish@home/x/*")
        village.world.height += 1
        assert await late.publish(village.home, "x/y", b"1") == 0


async def test_whoever_is_granted_something_again_gets_in_again(village: Village, broker: Mosquitto) -> None:
    async with locking(village, broker), village.bus("alice") as alice:
        await alice.publish(village.home, SLOT, b"1")
        village.world.revoke(village.given)
        await until(lambda: not alice.connected)
        village.give("home", "alice", f"publish@home/{SLOTS}", comment="again")
        village.world.height += 1
        await until(lambda: alice._account is not None and alice.connected, 8)
        assert await alice.publish(village.home, SLOT, b"1") == 0


# Nothing fails open --------------------------------------------------------------------------------------------------


async def all_refused(village: Village, broker: Mosquitto, known: Account) -> None:
    """Check that the broker refuses, whatever it is asked: no session, or one in which nothing is let through."""
    try:
        async with connected(Broker.parse(broker.url), known) as line:
            assert await refused(line, message_topic(village.home, SLOT))
            assert await deaf(line, message_topic(village.home, SLOT))
    except (BrokerRefused, BrokerUnavailable):
        pass


async def shut(village: Village, line: Line) -> None:
    """Wait until the broker lets nothing through any more, in a session that was good."""
    async with asyncio.timeout(12):
        while not await refused(line, message_topic(village.home, SLOT)):  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.02)
    assert await deaf(line, denied_topic(village.world.id("alice")))


@pytest.mark.parametrize("fault", ["chain gone", "chain stopped"])
async def test_without_fresh_facts_everybody_is_refused(village: Village, broker: Mosquitto, fault: str) -> None:
    """DESIGN §8, fault 13, by the broker; and it opens again with the facts."""
    async with locking(village, broker) as lock:
        known = await account(village, "alice")
        async with line_of(village, "alice") as alice:
            assert not await refused(alice, message_topic(village.home, SLOT))
            village.block_time = village.world.now
            village.chain_down = fault == "chain gone"
            village.world.now += LIMITS.max_staleness - 1
            await asyncio.sleep(0.3)
            assert lock.open.is_set()
            village.world.now += 1 + (fault == "chain stopped")
            await shut(village, alice)
        assert not lock.open.is_set()
        await all_refused(village, broker, known)
        village.chain_down, village.block_time = False, None
        await asyncio.wait_for(lock.open.wait(), 5)
        async with line_of(village, "alice") as alice:
            assert not await refused(alice, message_topic(village.home, SLOT))


async def test_when_the_lock_is_stopped_everybody_is_refused(village: Village, broker: Mosquitto) -> None:
    async with locking(village, broker):
        known = await account(village, "alice")
    await all_refused(village, broker, known)


async def test_a_lock_that_comes_back_begins_anew_and_lets_in_with_new_passwords(
    village: Village, broker: Mosquitto
) -> None:
    async with village.bus("alice") as alice:
        async with locking(village, broker):
            assert await alice.publish(village.home, SLOT, b"1") == 0
            old = await account(village, "alice")
        with pytest.raises(WaveError):
            await alice.publish(village.home, SLOT, b"2")
        village.world.revoke(village.read)
        async with locking(village, broker):
            assert await alice.publish(village.home, SLOT, b"3") == 0
            with pytest.raises(BrokerRefused):
                async with connected(Broker.parse(village.url), old):
                    pass
            with pytest.raises(TimeoutError):
                await account(village, "light")


async def test_a_shut_gate_stops_what_a_live_subscription_would_hear(village: Village, broker: Mosquitto) -> None:
    """Mosquitto asks about deliveries too: here the gate is shut for them alone, so that there is something to hear."""
    async with (
        locking(village, broker),
        line_of(village, "alice") as alice,
        line_of(village, "light") as light,
        connected(Broker.parse(broker.url), lock_account(broker.directory)) as owner,
    ):
        await light.hear(filters(village.home, SLOTS), kept=False)
        control = Control(owner)
        await control.open()
        listening = asyncio.create_task(control.listen())
        shut_for_hearing = dynsec.gate(shut=True)
        shut_for_hearing["acls"] = [one for one in shut_for_hearing["acls"] if one["acltype"] == "publishClientReceive"]
        heard: list[list[bytes]] = []
        for command in (dynsec.gate(shut=False), shut_for_hearing, dynsec.gate(shut=False)):
            await control.must(command)
            await alice.send(Carried(message_topic(village.home, SLOT), str(len(heard)).encode()))
            await asyncio.sleep(0.2)
            heard.append([] if light.idle else [(await light.receive()).payload])
        listening.cancel()
    assert heard == [[b"0"], [], [b"2"]]


@contextlib.contextmanager
def in_a_process(broker: Mosquitto, silence: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a lock in a process of its own while the body runs, which begins when it is open."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.mqtt.locker", str(broker.directory), str(broker.port), str(silence)]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize(("how", "within"), [(signal.SIGKILL, 2.0), (signal.SIGSTOP, 12.0)])
async def test_a_lock_that_is_killed_or_hangs_shuts_the_gate_by_its_silence(
    village: Village, broker: Mosquitto, how: signal.Signals, within: float
) -> None:
    with in_a_process(broker, silence=1) as process:
        known = await account(village, "alice")
        async with line_of(village, "alice") as alice:
            assert not await refused(alice, message_topic(village.home, SLOT))
            begun = time.monotonic()
            process.send_signal(how)
            await shut(village, alice)
            assert time.monotonic() - begun < within
        await all_refused(village, broker, known)


async def test_a_broker_that_starts_again_without_its_lock_lets_nobody_in(village: Village, broker: Mosquitto) -> None:
    with in_a_process(broker, silence=5) as process:
        known = await account(village, "alice")
        process.kill()
        broker.kill()
        broker.start()
        await all_refused(village, broker, known)
        with pytest.raises((BrokerRefused, TimeoutError)):
            await account(village, "alice")


async def test_a_broker_that_starts_again_is_locked_again(village: Village, broker: Mosquitto) -> None:
    async with locking(village, broker) as lock, village.bus("alice") as alice:
        await alice.publish(village.home, SLOT, b"1")
        broker.kill()
        await until(lambda: not lock.open.is_set())
        broker.start()
        await asyncio.wait_for(lock.open.wait(), 8)
        assert await alice.publish(village.home, SLOT, b"2") == 0


async def test_a_broker_that_would_not_shut_by_itself_is_not_opened(
    village: Village, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the bridge, a lock that is killed would leave everything as it is."""
    monkeypatch.setattr(dynsec, "_ANSWER", 0.5)
    broker.kill()
    configuration, _ = prepare(broker.directory, broker.port, draw=os.urandom)
    text = configuration.read_text()
    configuration.write_text(text.partition("connection wave-gate")[0] + f"user {getpass.getuser()}\n")
    Mosquitto.start(broker)
    told: list[str] = []
    lock = lock_of(village, broker, tell=told.append)
    running = asyncio.create_task(lock.run())
    await until(lambda: told, 8)
    assert not lock.open.is_set()
    assert "will" in told[0]
    running.cancel()
    await asyncio.wait([running])
    with pytest.raises((BrokerRefused, TimeoutError)):
        await account(village, "alice")


def test_a_broker_without_the_plugin_is_not_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wave.bus.mosquitto.PLUGINS", ("/nowhere.so",))
    with pytest.raises(BadSetting):
        prepare(tmp_path, 1883, draw=os.urandom)
    with pytest.raises(MissingFile):
        lock_account(tmp_path)


def test_the_brokers_files_are_private_and_hold_no_password_in_clear(tmp_path: Path) -> None:
    _, found = prepare(tmp_path, 1883, draw=os.urandom)
    again = prepare(tmp_path, 1883, draw=os.urandom)[1]
    assert found == again
    assert found.password not in repr(found)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0
        assert path.name == "lock.password" or found.password not in path.read_text()
