"""The plan of a home, its provisioning, and its decision logs."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devices.home import DOT_LIFETIME, RENEW_WITHIN, Home
from devices.log import DecisionLog, Entry
from devices.plan import ControllerPlan, DevicePlan, HomePlan, address
from tests.bus.town import Town, until
from tests.world import DAY, World
from wave.agent.wire import Call, FindObject, ObjectReply, Publish, PublishReply, Status, identity
from wave.codec import id_text
from wave.dots.dot import Dot
from wave.entities.entity import Entity
from wave.entities.keyring import Keyring
from wave.entities.object import DOT, decode_object
from wave.errors import BadSetting, InputError, SecretFileMode, StateUnwritable, UnknownObject

PLAN = """
namespace = "home"
[[device]]
kind = "light"
instance = "light0"
also = "smarthome/light"
[[device]]
kind = "switch"
instance = "switch0"
[[controller]]
name = "controller0"
rule = "mirror"
from = { switch = "home/s.switch/switch0/i.boolean/signal/state" }
to = "home/s.light/light0/i.boolean/slot/state"
"""


class Registry:
    """An agent's answers to what the home server asks, from a world in memory."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.objects: dict[str, bytes] = {}
        self.own = True

    async def call(self, call: Call[Any]) -> Any:
        if isinstance(call, Publish):
            assert call.keep_only is not self.own
            self.objects.update({id_text(decode_object(data).id): data for data in call.objects})
            return PublishReply(objects=())
        if isinstance(call, Status):
            return SimpleNamespace(own=self.own)
        assert isinstance(call, FindObject)
        if call.id not in self.objects:
            raise UnknownObject("not here")
        dot = Dot.from_bytes(self.objects[call.id])
        revoked = self.world.facts.revoked_at(dot.commitments)
        return ObjectReply(id=call.id, kind=DOT, data=dot.to_bytes(), height=1, revoked_at=revoked)

    @property
    def dots(self) -> list[Dot]:
        found = [decode_object(data) for data in self.objects.values()]
        return [Dot.from_object(one) for one in found if one.kind == DOT]


class Provisioned:
    def __init__(self, world: World, directory: Path) -> None:
        self.world, self.registry, self.directory = world, Registry(world), directory
        self.keyring = Keyring(directory / "keys")

    async def __call__(self, text: str = PLAN) -> tuple[list[str], list[str]]:
        home = Home(
            HomePlan.parse(text),
            self.world.entity("home"),
            self.directory / "home",
            agent=self.registry,
            draw=os.urandom,
            keyring=self.keyring,
        )
        members, taken_back = await home.provision(self.world.now)
        return [member.name for member in members], [error.message for error in taken_back]


@pytest.fixture
def provision(world: World, tmp_path: Path) -> Provisioned:
    return Provisioned(world, tmp_path)


async def test_a_home_gives_each_actor_an_entity_and_just_its_rights(provision: Provisioned) -> None:
    names, taken_back = await provision()
    assert names == ["light0", "switch0", "controller0"]
    assert taken_back == []
    known = {one.id: name for name, one in provision.keyring}
    rights = {
        known[dot.receiver]: sorted(f"{right.permissions[0]} {right.pattern}" for right in dot.grants)
        for dot in provision.registry.dots
    }
    assert rights == {
        "light0": [
            "publish s.light/light0/+/signal/+",
            "publish smarthome/light/report",
            "subscribe s.light/light0/+/slot/+",
            "subscribe s.light/light0/i.device/signal/presence",
            "subscribe smarthome/light/control",
        ],
        "switch0": [
            "publish s.switch/switch0/+/signal/+",
            "subscribe s.switch/switch0/+/slot/+",
            "subscribe s.switch/switch0/i.device/signal/presence",
        ],
        "controller0": [
            "publish s.light/light0/i.boolean/slot/state",
            "subscribe s.switch/switch0/i.boolean/signal/state",
        ],
    }
    assert all(dot.indirections == 0 and dot.giver == dot.namespace for dot in provision.registry.dots)
    published = [decode_object(data).kind for data in provision.registry.objects.values()]
    assert sorted(published) == ["dot"] * 3 + ["entity"] * 4


async def test_on_a_chain_of_others_a_home_shows_nobody_what_it_has(provision: Provisioned) -> None:
    provision.registry.own = False  # the registry sees to it that nothing is published then
    assert (await provision())[0] == ["light0", "switch0", "controller0"]


async def test_doing_it_again_changes_nothing(provision: Provisioned) -> None:
    await provision()
    before = dict(provision.registry.objects)
    await provision()
    assert provision.registry.objects == before


async def test_what_was_revoked_stays_revoked(provision: Provisioned) -> None:
    await provision()
    light = next(dot for dot in provision.registry.dots if len(dot.grants) == 5)
    provision.world.revoke(light)
    _, taken_back = await provision()
    assert len(taken_back) == 1
    assert "light0" in taken_back[0]
    assert len(provision.registry.dots) == 3
    (provision.directory / "home" / "light0.dot").unlink()
    provision.world.pass_time(1)  # the same DoT of the same second would be the revoked one again
    assert (await provision())[1] == []
    assert len(provision.registry.dots) == 4


async def test_a_dot_is_renewed_before_its_end(provision: Provisioned) -> None:
    await provision()
    provision.world.pass_time(DOT_LIFETIME - RENEW_WITHIN - DAY)
    await provision()
    assert len(provision.registry.dots) == 3
    provision.world.pass_time(DAY)
    await provision()
    assert len(provision.registry.dots) == 6


async def test_a_new_plan_brings_new_rights(provision: Provisioned) -> None:
    await provision()
    await provision(PLAN.replace('also = "smarthome/light"\n', ""))
    assert len(provision.registry.dots) == 4


async def test_an_agent_that_forgot_is_told_again(provision: Provisioned) -> None:
    await provision()
    before = set(provision.registry.objects)
    provision.registry.objects.clear()
    await provision()
    assert set(provision.registry.objects) == before


async def test_devices_secrets_are_their_owners_alone(provision: Provisioned) -> None:
    await provision()
    for path in (provision.directory / "home").glob("*.ent"):
        assert path.stat().st_mode & 0o777 == 0o600
    (provision.directory / "home" / "light0.ent").chmod(0o644)
    with pytest.raises(SecretFileMode):
        await provision()


async def test_a_home_runs_all_that_it_provisioned(world: World, tmp_path: Path) -> None:
    from devices.site import Site, all_ready

    town = Town(world)
    async with town.open():
        registry = Registry(world)
        home = Home(HomePlan.parse(PLAN), world.entity("home"), tmp_path / "home", agent=registry, draw=os.urandom)
        members, _ = await home.provision(world.now)
        for dot in registry.dots:
            town.graph.add(dot)
        records = {member.secret.id: member.secret.entity for member in members}
        objects = [decode_object(data) for data in registry.objects.values()]
        entities = [Entity.from_object(one) for one in objects if one.kind == "entity"]
        world.published.update({entity.id: entity for entity in entities})
        assert set(records) < set(world.published)

        async def names() -> dict[str, str]:
            return {}

        async def resolve(text: str) -> bytes:
            return identity(text)

        log: list[Entry] = []
        site = Site(town.url, town.prove, town.facts, names, town.clock)
        async with home.running(members, site, resolve=resolve, tell=log.append) as actors:
            assert await all_ready(*actors, patience=5)
            town.give("home", "finger", "publish@home/s.switch/*")
            async with town.peer("finger") as finger:
                await finger.publish(town.home, "s.switch/switch0/i.boolean/slot/state", b'"on"')
                await until(lambda: any(one.device == "light0" and one.did == "on" for one in log))
    lines = (tmp_path / "home" / "light0.log").read_text().splitlines()
    assert json.loads(lines[0])["did"] == "on"


# The plan -----------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_it_holds() -> None:
    plan = HomePlan.parse(PLAN)
    assert plan.namespace == "home"
    assert plan.devices == (DevicePlan("light", "light0", "smarthome/light"), DevicePlan("switch", "switch0"))
    assert [type(one) for one in plan.controllers] == [ControllerPlan]
    assert plan.controllers[0].target == address("home/s.light/light0/i.boolean/slot/state")


def test_a_controller_in_anothers_home_gets_its_rights_from_there() -> None:
    plan = HomePlan.parse(PLAN.replace('to = "home/', 'to = "neighbour/'))
    assert plan.controllers[0].rights("home") == (("subscribe", "s.switch/switch0/i.boolean/signal/state"),)


def test_the_example_is_a_plan() -> None:
    text = (Path(__file__).parents[2] / "examples" / "home.toml").read_text("utf-8")
    plan = HomePlan.parse(text)
    assert {device.kind for device in plan.devices} == {"light", "switch", "motion", "thermostat", "notifier"}


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "[[[",
        lambda text: text.replace('namespace = "home"', ""),
        lambda text: text.replace('namespace = "home"', "namespace = 7"),
        lambda text: text + "\ncolour = 1",
        lambda text: text.replace('kind = "light"', 'kind = "laser"'),
        lambda text: text.replace('kind = "light"', 'sort = "light"'),
        lambda text: text.replace('"light0"', '"switch0"', 1),
        lambda text: text.replace('"light0"', '"../light"', 1),
        lambda text: text.replace('"light0"', '"Light"', 1),
        lambda text: text.replace('"smarthome/light"', '"smarthome/*"'),
        lambda text: text.replace('"mirror"', '"obey"'),
        lambda text: text.replace("from = {", "from = { } #"),
        lambda text: text.replace('"home/s.light', '"home/*/s.light'),
        lambda text: text.replace('"home/s.light/light0/i.boolean/slot/state"', '"home"'),
        lambda text: "port = 65536\n" + text,
        lambda text: "device = 3\n" + text.replace("[[device]]", "[[device2]]"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change: Callable[[str], str]) -> None:
    with pytest.raises(BadSetting):
        HomePlan.parse(change(PLAN))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('namespace = "home"', "", 'write namespace = "home"'),
        ('instance = "light0"', "", 'write instance = "light0"'),
        ('name = "controller0"', 'name = "light0"', "two actors have the same name, 'light0'"),
        ('instance = "light0"', 'instance = "home"', "the namespace and an actor have the same name, 'home'"),
    ],
)
def test_a_mistake_in_a_plan_is_told_with_its_remedy(old: str, new: str, told: str) -> None:
    assert PLAN.count(old) == 1
    with pytest.raises(BadSetting) as found:
        HomePlan.parse(PLAN.replace(old, new))
    assert told in f"{found.value.message}; {found.value.hint}"
    assert found.value.hint


def test_an_address_is_a_resource() -> None:
    with pytest.raises(InputError):
        address("home/+")


# The log ------------------------------------------------------------------------------------------------------------


def entry(number: int) -> Entry:
    return Entry(number, "light0", "i" * 43, "alice", "publish", "a/b", True, "ok", f"deed {number}", "d" * 32, ())


def test_a_log_keeps_the_newest_and_does_not_grow(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "light0.log", bound=4000)
    for number in range(200):
        log(entry(number))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4000
    lines = (tmp_path / "light0.log.1").read_text() + (tmp_path / "light0.log").read_text()
    numbers = [json.loads(line)["time"] for line in lines.splitlines()]
    assert numbers == list(range(200 - len(numbers), 200))
    assert len(numbers) >= 5


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(StateUnwritable):
        DecisionLog(tmp_path / "missing" / "light0.log")(entry(1))


def test_an_entry_reads_as_a_sentence() -> None:
    assert str(entry(0)) == f"1970-01-01T00:00:00Z  light0: did alice: deed 0  [{'d' * 32}]"
