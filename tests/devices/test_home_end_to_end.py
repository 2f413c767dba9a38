"""The real thing: `wave home run` with its own agent and chain, commanded and revoked from the command line."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devices.places import Place, place_at

LIGHT = "home/s.light/light0/i.boolean/slot/state"
SWITCH = "home/s.switch/switch0/i.boolean/slot/state"
SET = "home/s.thermostat/thermostat0/i.thermostat/slot/state"
PLAN = """
namespace = "home"
port = 0
[[device]]
kind = "light"
instance = "light0"
[[device]]
kind = "switch"
instance = "switch0"
[[device]]
kind = "thermostat"
instance = "thermostat0"
[[controller]]
name = "controller0"
rule = "mirror"
from = { switch = "home/s.switch/switch0/i.boolean/signal/state" }
to = "home/s.light/light0/i.boolean/slot/state"
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_at(tmp_path) as place:
        (tmp_path / "home.toml").write_text(PLAN)
        yield place


def test_a_home_from_the_first_grant_to_the_last_revocation(place: Place) -> None:
    """SCENARIOS A2 to A6 and B5, in one process with an agent and an embedded chain of its own."""
    for name in ("home", "alice", "bob"):
        place.wave("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    not_its_own = place.wave("home", "run", "home.toml", "--from", "alice.ent", status=3)
    assert (not_its_own["code"], "another entity signs" in not_its_own["detail"]) == ("setting.bad", True)
    assert 'write namespace = "' in not_its_own["hint"]
    assert not (place.folder / "w/homes").exists()
    home = place.start("home", "run", "home.toml", "--from", "home.ent")
    ready = home.wait(ready="home")
    second = place.wave("home", "run", "home.toml", "--from", "home.ent", status=4)
    assert (second["code"], "--state" in second["hint"]) == ("state.locked", False)
    assert ready["actors"] == ["light0", "switch0", "thermostat0", "controller0"]
    assert place.wave("router", "list", "home")["routers"][0]["urls"] == [ready["router"]], "found from the home's name"

    refused = place.wave("publish", "--from", "alice.ent", LIGHT, '"on"', status=1)
    assert refused["code"] == "proof.none"

    dot = place.wave("grant", "--from", "home.ent", "--to", "alice", f"publish@{LIGHT}")["id"]
    assert place.wave("publish", "--from", "alice.ent", LIGHT, '"on"')["delivered"] == 1
    line = home.wait(device="light0", allowed=True)
    assert (line["name"], line["did"], line["path"]) == ("alice", "on", [dot])

    place.wave("publish", "--from", "alice.ent", LIGHT, '"purple"')
    assert home.wait(device="light0", allowed=False)["code"] == "payload.bad"
    told = place.wave("publish", "--from", "home.ent", LIGHT, '"purple"', status=1)
    assert (told["delivered"], told["refused"]["code"]) == (1, "payload.bad")
    assert "on, off or toggle" in told["refused"]["detail"]
    assert "refused" not in place.wave("publish", "--from", "home.ent", "--wait", "0", LIGHT, '"purple"')

    place.wave("grant", "--from", "home.ent", "--to", "bob", f"publish@{SWITCH}")
    place.wave("publish", "--from", "bob.ent", SWITCH, '"on"')
    assert home.wait(device="light0", allowed=True)["name"] == "controller0"

    place.wave("grant", "--from", "home.ent", "--to", "bob", "--where", "set_point 66..74", f"publish@{SET}")
    place.wave("publish", "--from", "bob.ent", SET, '{"hsp":68,"csp":80}', status=1)
    place.wave("publish", "--from", "bob.ent", SET, '{"hsp":68,"csp":72}')
    home.wait(device="thermostat0", allowed=True, did="csp 72, hsp 68")

    reader = place.wave("grant", "--from", "home.ent", "--to", "bob", "subscribe@home/s.thermostat/*")["id"]
    listening = place.start("subscribe", "--from", "bob.ent", "home/s.thermostat/*")
    heard = listening.wait(name="thermostat0")
    assert json.loads(heard["payload"])["csp"] == 72.0

    place.wave("revoke", "--from", "home.ent", "--dot", dot)
    place.wave("publish", "--from", "alice.ent", LIGHT, '"off"', status=1)
    place.wave("revoke", "--from", "home.ent", "--dot", reader)
    assert listening.process.wait(20) == 1
    listening.stop()
    assert json.loads(listening.rest)["code"] == "dot.revoked"

    assert home.stop() == 0
    (log,) = (place.folder / "w").glob("homes/*/light0.log")
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["name"], one["code"]) for one in logged] == [
        ("alice", "ok"),
        ("alice", "payload.bad"),
        ("home", "payload.bad"),
        ("home", "payload.bad"),
        ("controller0", "ok"),
    ]


def test_each_device_can_be_a_process_of_its_own(place: Place) -> None:
    for name in ("home", "bob"):
        place.wave("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    home = place.start("home", "run", "home.toml", "--from", "home.ent", "--processes")
    ready = home.wait(ready="home")
    place.environment["WAVE_ROUTER"] = ready["router"]
    place.wave("grant", "--from", "home.ent", "--to", "bob", f"publish@{SWITCH}")
    place.wave("publish", "--from", "bob.ent", SWITCH, '"on"')
    assert home.wait(device="light0", allowed=True)["name"] == "controller0"
    assert home.stop(signal.SIGINT) == 0


def test_an_agent_that_dies_is_told_once_and_another_one_is_taken(place: Place) -> None:
    """Though four thermostats go on with their reports."""
    plan = "".join(f'[[device]]\nkind = "thermostat"\ninstance = "t{number}"\n' for number in range(4))
    (place.folder / "home.toml").write_text(f'namespace = "home"\nport = 0\n{plan}')
    place.wave("mkentity", "-o", "home.ent", "--no-passphrase")
    agent = place.start("agent", "run")
    agent.wait(ready="agent")
    home = place.start("home", "run", "home.toml", "--from", "home.ent")
    home.wait(ready="home")
    agent.stop(signal.SIGKILL)
    home.says("no message passes until the agent answers")
    waiting = {f"t{number}" for number in range(4)}
    while waiting:
        waiting.discard(home.wait(allowed=False, code="agent.unavailable")["device"])
    place.start("agent", "run").wait(ready="agent")
    home.says("the agent answers again")
    told = place.wave("publish", "--from", "home.ent", "home/s.thermostat/t0/i.thermostat/slot/state", '"x"', status=1)
    assert told["refused"]["code"] == "payload.bad"
    assert home.stop() == 0
    assert len([line for line in home.talk if "no message passes" in line]) == 1
    assert not [line for line in home.talk if "was refused" in line]


def test_what_cannot_begin_says_what_is_missing(place: Place) -> None:
    """A device its rights, by the line that grants them; a home its namespace."""
    for name in ("home", "bulb"):
        place.wave("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    run = ("device", "run", "--from", "bulb.ent", "--namespace", "home", "--router", "ws://127.0.0.1:1/v1/bus")
    porch = place.start(*run, "light", "porch")
    porch.says("its entity bulb has no 'subscribe@home/s.light/porch/+/slot/+'")
    porch.says("wave grant --from home.ent --to bulb 'subscribe@home/s.light/porch/+/slot/+'")
    porch.says("porch waits for ws://127.0.0.1:1/v1/bus, which does not answer")
    assert porch.stop() == 0
    (place.folder / "home.toml").write_text('namespace = "elsewhere"')
    nobody = place.start("home", "run", "home.toml", "--from", "home.ent")
    nobody.says("names no device")
    assert nobody.process.wait(20) == 3
    nobody.stop()
    assert "elsewhere" in json.loads(nobody.rest)["detail"]
    assert not (place.folder / "w/homes").exists()
