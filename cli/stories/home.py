"""One home: a chain, keys, a light, a switch and its controller, the climate, and a light that follows who is in."""

import json
from collections.abc import Iterable
from typing import Any, Final

from cli.stage import Stage, wait_until
from cli.stories.telling import Row, Tale, Teller

PLAN: Final = """\
namespace = "annhome"
[[device]]
kind = "light"
instance = "lamp"
also = "smarthome/light"
[[device]]
kind = "light"
instance = "porch"
[[device]]
kind = "switch"
instance = "wall"
[[device]]
kind = "thermostat"
instance = "hall"
[[device]]
kind = "motion"
instance = "door"
[[device]]
kind = "notifier"
instance = "box"
[[controller]]
name = "mirror"
rule = "mirror"
from = {switch = "annhome/s.switch/wall/i.boolean/signal/state"}
to = "annhome/s.light/lamp/i.boolean/slot/state"
[[controller]]
name = "presence"
rule = "occupied"
from = {home = "annhome/s.thermostat/hall/i.thermostat/signal/state"}
to = "annhome/s.light/porch/i.boolean/slot/state"
"""
LAMP: Final = "s.light/lamp/i.boolean/slot/state"
DIMMER: Final = "s.light/lamp/i.dimmer/slot/brightness"
WALL: Final = "s.switch/wall/i.boolean/slot/state"
PRESSED: Final = "s.switch/wall/i.boolean/signal/state"
SET_POINT: Final = "s.thermostat/hall/i.thermostat/slot/state"
CLIMATE: Final = "s.thermostat/hall/i.thermostat/signal/state"
PORCH: Final = "s.light/porch/i.boolean/signal/state"
PACKAGE: Final = "s.motion/door/i.motion/slot/package"
NOTE: Final = "s.notifier/box/i.notifier/slot/note"
BOX: Final = "s.notifier/box/i.notifier/signal/box"
CONTROL: Final = "smarthome/light/control"
REPORT: Final = "smarthome/light/report"
SOON: Final = 15.0  # seconds for a message to arrive; milliseconds unless the machine is very busy
WAVE: Final = 25.0  # seconds in which somebody comes and goes


class HomeTale(Tale):
    """Ann, her home, and Carol, who holds nothing there."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        """Set the stage: one chain, one router that nobody trusts, and Ann's agent."""
        super().__init__(stage, teller)
        at = stage.meeting()
        (self.ann,) = stage.residents(at, "ann")
        self.tell.line(f"One chain at {at.chain}, one router, and Ann's agent.")

    def tell_all(self) -> list[Row]:
        """Tell the whole story and return its table."""
        self.chain()
        self.entities()
        self.grant()
        self.light()
        self.switch()
        self.climate()
        self.presence()
        return self.tell.rows

    def chain(self) -> None:
        """A.1."""
        self.tell.step("1. The chain", "It holds what was published, in an order that nobody can change afterwards.")
        self.status(self.ann)

    def entities(self) -> None:
        """A.2."""
        self.tell.step(
            "2. Entities", "A home is a key, and so is a person. A new key may do nothing, and is told why and by whom."
        )
        for name in ("annhome", "ann", "carol"):
            self.do(self.ann, "mkentity", "-o", f"{name}.ent", "--no-passphrase", what=f"{name} is made")
        for permission, resource, what in (
            ("publish", LAMP, "Ann may not switch the lamp yet"),
            ("subscribe", CLIMATE, "nor read the thermostat"),
        ):
            wanted = f"{permission}@annhome/{resource}"
            self.do(self.ann, "prove", "--subject", "ann", wanted, what=what, expect="proof.none")

    def grant(self) -> None:
        """A.3."""
        self.tell.step(
            "3. A grant", "The home's own key signs a delegation of trust (DoT) to Ann, and the same proof succeeds."
        )
        self.do(
            self.ann, "grant", "--from", "annhome.ent", "--to", "ann", "publish,subscribe@annhome/*",
            what="the home grants Ann everything in it",
        )  # fmt: skip
        wanted = f"publish@annhome/{LAMP}"
        self.do(self.ann, "prove", "--subject", "ann", "-o", "ann.proof", wanted, what="the same proof succeeds")
        self.do(self.ann, "verify", "ann.proof", wanted, what="anybody can check that, without a server")

    def light(self) -> None:
        """A.4, and the second spelling."""
        tell, ann = self.tell, self.ann
        tell.step(
            "4. The light", "The home server gives each device a key and the right to its own resources, and no other.",
            "Each device checks every command itself before anything changes, and writes down who it was.",
        )  # fmt: skip
        self.start_home(ann, PLAN)
        self.heard = self.stage.start(ann, "heard", "subscribe", "annhome/*", "--from", "ann.ent", "--json")
        tell.command(ann, "subscribe", "annhome/*", "--from", "ann.ent")
        tell.row("Ann listens to all of it", expected=True, seen=wait_until(self._listening, 2 * SOON))
        for word, shown in (("on", "on"), ("off", "off"), ("toggle", "on")):
            self.obeys("lamp", LAMP, f'{{"state": "{word}"}}', f"ann: {shown}", f"Ann sends {word}")
        self.obeys("lamp", DIMMER, '{"brightness": 40}', "ann: brightness 40", "Ann dims to 40 %")
        before = self.count(ann, "lamp")
        self.send(
            ann, "ann.ent", f"annhome/{DIMMER}", '{"brightness": 400}', what="Ann sends 400 %", expect="payload.bad"
        )
        self.device(ann, "lamp", before=before, what="which makes no sense, and changes nothing", expect="payload.bad")
        self.send(
            ann, "carol.ent", f"annhome/{LAMP}", '"off"', what="Carol, who holds nothing, cannot", expect="proof.none"
        )
        tell.line("  The lamp answers to a second, older spelling too.")
        self.obeys("lamp", CONTROL, '{"state": "off"}', "ann: off", "Ann sends off to smarthome/light/control")
        self.hears(REPORT, "smarthome/light/report says so", {"state": "off", "brightness": 0})

    def switch(self) -> None:
        """A.5."""
        tell, ann = self.tell, self.ann
        tell.step(
            "5. The switch", "The switch says on and off and knows of no light; the light knows of no switch.",
            "Between them stands a controller with just two rights: to hear the one and to command the other.",
        )  # fmt: skip
        held = self.do(ann, "what", "--subject", "mirror", what="what may the controller do?").field("holdings") or ()
        rights = sorted(f"{one['permission']}@annhome/{one['pattern']}" for one in held)
        for one in rights:
            tell.line(f"      {one}")
        tell.row("two rights", expected=f"publish@annhome/{LAMP} subscribe@annhome/{PRESSED}", seen=" ".join(rights))
        for name, resource, what in (
            ("wall", LAMP, "the switch may not command the lamp"),
            ("mirror", SET_POINT, "nor the controller the thermostat"),
        ):
            self.do(ann, "prove", "--subject", name, f"publish@annhome/{resource}", what=what, expect="proof.none")
        for word in ("on", "off"):
            before = self.count(ann, "lamp")
            self.obeys("wall", WALL, f'"{word}"', f"ann: {word}", f"Ann presses {word}")
            self.device(ann, "lamp", before=before, what=f"and the lamp goes {word}", expect=f"mirror: {word}")

    def climate(self) -> None:
        """A.6."""
        tell = self.tell
        tell.step(
            "6. The climate, the door and the box", "The thermostat reports about once a second, and can be set.",
            "It begins one degree beyond a set point, and not before, so that it does not stutter.",
        )  # fmt: skip
        reports = self._reports()
        tell.line(f"      it says {json.dumps(reports[-1][1])}")
        tell.row("a report tells", expected="csp hsp occupied state temperature", seen=" ".join(sorted(reports[-1][1])))
        times = [time for time, _ in reports]
        pace = (times[-1] - times[0]) / max(1, len(times) - 1)
        tell.row("about once a second", expected=True, seen=0.5 < pace < 3)
        for beyond, state, what in (
            (0.3, "off", "a little above the room: not yet"),
            (2.0, "heating", "more than one degree: it heats"),
            (-2.0, "off", "below: it is off again"),
        ):
            hsp = round(float(self._messages(CLIMATE)[-1][1]["temperature"]) + beyond, 1)
            value = json.dumps({"hsp": hsp, "csp": 90})
            self.obeys("hall", SET_POINT, value, f"ann: csp 90, hsp {hsp}", f"Ann sets {beyond:+g} °F")
            self.hears(CLIMATE, what, {"hsp": hsp, "state": state})
        tell.line("  A courier leaves a package; the motion sensor says so. Ann leaves a note.")
        self.obeys("door", PACKAGE, '{"package": "delivered"}', "ann: triggered", "a package is delivered")
        self.obeys("box", NOTE, '{"text": "back at six"}', "ann: note 'back at six'", "Ann leaves a note")
        notes = self.hears(BOX, "which the box holds", {"count": 1}).get("notes") or [{}]
        tell.row("with its time", expected=True, seen=isinstance(notes[0].get("time"), int))

    def presence(self) -> None:
        """A.7."""
        tell, ann = self.tell, self.ann
        tell.step(
            "7. The exercise", "The porch light is on exactly while the thermostat says that somebody is in.",
            "Its controller has acted all the while. Who is in changes every ten seconds; this waits for both.",
        )  # fmt: skip
        self.do(
            ann, "publish", f"annhome/{CLIMATE}", '{"occupied": true}', "--from", "carol.ent",
            what="Carol, who forges a report, is refused", expect="proof.none",
        )  # fmt: skip
        tell.row("somebody came and went", expected=True, seen=wait_until(self._came_and_went, WAVE))
        followed = self._followed()
        tell.line(f"      {len(followed)} reports, {sum(followed)} of them with the porch light as it should be")
        tell.row("the light is on exactly while occupied", expected=len(followed), seen=sum(followed))
        found = [one for one in self.heard.documents() if one["resource"] == CLIMATE]
        checked = [one for one in found if one["name"] == "hall" and one["decision"]]
        tell.row("each report is the thermostat's, by right", expected=len(found), seen=len(checked))
        commands = ann.run("what", "--subject", "presence").field("holdings") or ()
        tell.row("its controller too has two rights", expected=2, seen=len(commands))

    # What it is made of --------------------------------------------------------------------------------------------

    def obeys(self, name: str, resource: str, value: str, did: str, what: str) -> None:
        """Send a device a command as Ann, and compare what its log says with ``did``."""
        before = self.count(self.ann, name)
        self.send(self.ann, "ann.ent", f"annhome/{resource}", value, what=what)
        self.device(self.ann, name, before=before, what=f"and the {name} does it", expect=did)

    def hears(self, resource: str, what: str, expected: dict[str, Any]) -> dict[str, Any]:
        """Wait until the newest message on a resource says what is expected; return it."""
        said: dict[str, Any] = {}

        def right() -> bool:
            nonlocal said
            said = (self._messages(resource) or [(0, said)])[-1][1]
            return all(said.get(key) == value for key, value in expected.items())

        wait_until(right, SOON)
        self.tell.line(f"      heard: {json.dumps(said)}")
        self.tell.row(what, expected, {key: said.get(key) for key in expected})
        return said

    def _listening(self) -> bool:
        return self.heard.has_said("listening")

    def _messages(self, *resources: str) -> list[tuple[int, dict[str, Any]]]:
        """Return the time and the value of each message that was heard on some resources."""
        found = [one for one in self.heard.documents() if one.get("resource") in resources]
        return [(one["time"], json.loads(one["payload"])) for one in found]

    def _reports(self) -> list[tuple[int, dict[str, Any]]]:
        wait_until(lambda: len(self._messages(CLIMATE)) >= 4, SOON)
        return self._messages(CLIMATE)

    def _came_and_went(self) -> bool:
        changes = list(_changes(value["occupied"] for _, value in self._messages(CLIMATE)))
        return {True, False} <= set(changes)

    def _followed(self) -> list[bool]:
        """Return of each report, but the last, whether the light was as it should be when the next one came."""
        right, lit, occupied = [], None, None
        for _, value in self._messages(CLIMATE, PORCH):
            if "occupied" not in value:
                lit = value["state"] == "on"
                continue
            if occupied is not None and lit is not None:
                right.append(lit == occupied)
            occupied = value["occupied"]
        return right


def _changes(values: Iterable[bool]) -> Iterable[bool]:
    """Yield each value that differs from the one before."""
    before = None
    for value in values:
        if before is not None and value != before:
            yield value
        before = value
