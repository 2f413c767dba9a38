"""The short tour: two homes, one chain and a revocation."""

from pathlib import Path
from typing import Final

from cli.stage import Person, Process, Stage, wait_for_entry
from cli.stories.telling import Row, Tale, Teller
from wave.codec import id_text
from wave.entities.keyring import read_entity

ANN_HOME: Final = """\
namespace = "annhome"
[[device]]
kind = "light"
instance = "porch"
[[device]]
kind = "light"
instance = "bedroom"
[[device]]
kind = "thermostat"
instance = "hall"
[[device]]
kind = "motion"
instance = "door"
[[device]]
kind = "notifier"
instance = "box"
"""
BEN_HOME: Final = """\
namespace = "benhome"
[[device]]
kind = "switch"
instance = "wall"
[[controller]]
name = "mirror"
rule = "mirror"
from = {switch = "benhome/s.switch/wall/i.boolean/signal/state"}
to = "ann-home/s.light/porch/i.boolean/slot/state"
"""
PORCH: Final = "s.light/porch/i.boolean/slot/state"
DIMMER: Final = "s.light/porch/i.dimmer/slot/brightness"
BEDROOM: Final = "s.light/bedroom/i.boolean/slot/state"
SET_POINT: Final = "s.thermostat/hall/i.thermostat/slot/state"
WALL: Final = "s.switch/wall/i.boolean/slot/state"
PACKAGE: Final = "s.motion/door/i.motion/slot/package"
NOTE: Final = "s.notifier/box/i.notifier/slot/note"
ENDS_WITHIN: Final = 10.0  # seconds that a subscription may take to end


class Tour(Tale):
    """Two people, Ann and Ben, their homes, and a guest of Ann's called Carol."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        """Set the stage: one chain, one router that nobody trusts, and an agent for each of the two."""
        super().__init__(stage, teller)
        at = stage.meeting()
        self.ann, self.ben = stage.residents(at, "ann", "ben")
        self.tell.line(
            f"One chain at {at.chain}, one router, and an agent each for Ann and Ben: five processes so far."
        )

    def tell_all(self) -> list[Row]:
        """Tell the whole story and return its table."""
        self.one_home()
        self.lights()
        self.climate()
        self.neighbours()
        self.sharing()
        self.bounds()
        self.taking_back()
        return self.tell.rows

    # One home ------------------------------------------------------------------------------------------------------

    def one_home(self) -> None:
        """A.1 to A.3: the chain, entities, nothing without a grant, and the same proof with one."""
        tell, ann = self.tell, self.ann
        tell.step("1. The chain", "It holds what was published, in an order that nobody can change afterwards.")
        self.status(ann)
        tell.step(
            "2. Entities", "A home is a key, and so is a person. A new key may do nothing, and is told why and by whom."
        )
        for name in ("annhome", "ann", "carol"):
            self.do(ann, "mkentity", "-o", f"{name}.ent", "--no-passphrase", what=f"{name} is made")
        wanted = f"publish@annhome/{PORCH}"
        self.do(
            ann, "prove", "--subject", "ann", wanted, what="Ann may not switch the porch light yet", expect="proof.none"
        )
        tell.step(
            "3. A grant", "The home's own key signs a delegation of trust (DoT) to Ann, and the same proof succeeds."
        )
        self.do(
            ann, "grant", "--from", "annhome.ent", "--to", "ann", "--indirections", "2", "publish,subscribe@annhome/*",
            what="the home grants Ann everything in it",
        )  # fmt: skip
        self.do(ann, "prove", "--subject", "ann", "-o", "ann.proof", wanted, what="now she may")
        self.do(ann, "verify", "ann.proof", wanted, what="anybody can check that, without a server")

    def lights(self) -> None:
        """A.4: the light obeys, dims, and its log says who it was."""
        tell, ann = self.tell, self.ann
        tell.step(
            "4. The light", "The home server gives each device a key and the right to its own resources, and no other.",
            "Each device checks every command itself before anything changes, and writes down who it was.",
        )  # fmt: skip
        self.start_home(ann, ANN_HOME)
        for word, shown in (("on", "on"), ("off", "off"), ("toggle", "on")):
            before = self.count(ann, "porch")
            self.send(ann, "ann.ent", f"annhome/{PORCH}", f'{{"state": "{word}"}}', what=f"Ann sends {word}")
            self.device(ann, "porch", before=before, what=f"the porch light goes {shown}", expect=f"ann: {shown}")
        before = self.count(ann, "porch")
        self.send(ann, "ann.ent", f"annhome/{DIMMER}", '{"brightness": 40}', what="Ann sends 40 %")
        self.device(ann, "porch", before=before, what="and dims", expect="ann: brightness 40")
        self.send(
            ann, "carol.ent", f"annhome/{PORCH}", '"off"', what="Carol, who holds nothing, cannot", expect="proof.none"
        )

    def climate(self) -> None:
        """A.6: the thermostat reports, a bounded guest, the door and the message box."""
        tell, ann = self.tell, self.ann
        tell.step(
            "5. A guest within bounds",
            "Carol may set the thermostat, between 66 and 74 °F and no further, for two days.",
        )
        reports = self.stage.start(
            ann, "reports",
            "subscribe", "annhome/s.thermostat/hall/+/signal/+", "--from", "ann.ent", "-n", "2", "--json",
        )  # fmt: skip
        self.do(
            ann, "grant", "--from", "ann.ent", "--to", "carol", "--expires", "2d", "--where", "set_point 66..74",
            f"publish@annhome/{SET_POINT}", what="Ann grants Carol the set point, 66 to 74",
        )  # fmt: skip
        before = self.count(ann, "hall")
        self.send(ann, "carol.ent", f"annhome/{SET_POINT}", '{"hsp": 68}', what="Carol sends 68 °F")
        self.device(ann, "hall", before=before, what="68 is within her bounds", expect="carol: hsp 68")
        self.send(
            ann, "carol.ent", f"annhome/{SET_POINT}", '{"csp": 80}', what="80 is not", expect="condition.failed"
        )  # fmt: skip
        tell.row("and nothing was set", expected=before + 1, seen=self.count(ann, "hall"))
        said = reports.ready()
        tell.line(f"    the thermostat reports: {said.get('payload')}")
        tell.row("the thermostat reports by itself", expected="hall", seen=said.get("name"))
        tell.row("about once a second", expected=0, seen=reports.ended(ENDS_WITHIN))
        tell.step(
            "6. The door and the box", "A courier leaves a package; the motion sensor says so. Ann leaves a note."
        )
        before = self.count(ann, "door")
        self.send(ann, "ann.ent", f"annhome/{PACKAGE}", '{"package": "delivered"}', what="a package is delivered")
        self.device(ann, "door", before=before, what="the sensor at the door is triggered", expect="ann: triggered")
        before = self.count(ann, "box")
        self.send(ann, "ann.ent", f"annhome/{NOTE}", '{"text": "back at six"}', what="Ann writes a note")
        self.device(ann, "box", before=before, what="the note is in the box", expect="ann: note 'back at six'")

    # Two homes -----------------------------------------------------------------------------------------------------

    def neighbours(self) -> None:
        """B.1: the two exchange entities; a paste of one's own values is caught."""
        tell, ann, ben = self.tell, self.ann, self.ben
        tell.step(
            "7. The neighbour", "Ben has a machine, keys and a home of his own. Both share the chain and the router,",
            "and trust neither. They find each other by names on the chain, first come, first served.",
            "Whoever pastes their own id where the neighbour's belongs is told so.",
        )  # fmt: skip
        for name in ("benhome", "ben", "hop2", "hop3", "hop4"):
            self.do(ben, "mkentity", "-o", f"{name}.ent", "--no-passphrase", what=f"{name} is made")
        self.do(ann, "alias", "ann-home", "annhome", what="Ann's home takes a name")
        self.do(ben, "alias", "ben", "ben", what="Ben takes a name")
        self.do(ben, "alias", "ann-home", "benhome", what="which nobody can take again", expect="name.taken")
        found = self.do(ben, "resolve", "ann-home", what="Ben finds Ann's home").field("id")
        mine = id_text(read_entity(ann.directory / "annhome.ent").id)
        tell.row("it is the one that Ann means", expected=mine, seen=found)
        self.do(
            ann, "grant", "--from", "annhome.ent", "--to", "annhome", f"publish@annhome/{PORCH}",
            what="a paste of one's own key is caught", expect="grant.bad",
        )  # fmt: skip

    def sharing(self) -> None:
        """B.2: three further hops; Ben's switch drives Ann's light."""
        tell, ann, ben = self.tell, self.ann, self.ben
        tell.step(
            "8. Sharing a light", "Ann's home lets Ben use the porch light and hand that on three hops further.",
            "Ben hands it on to a controller, which mirrors his own switch to her light.",
        )  # fmt: skip
        granted = self.do(
            ann, "grant", "--from", "annhome.ent", "--to", "ben", "--indirections", "3",
            "publish,subscribe@annhome/s.light/porch/*", what="Ann's home grants Ben the porch light",
        )  # fmt: skip
        self.shared = str(granted.field("id"))
        self.start_home(ben, BEN_HOME)
        self.do(
            ben, "grant", "--from", "ben.ent", "--to", "mirror", "--indirections", "2", f"publish@ann-home/{PORCH}",
            what="Ben hands it on to his controller",
        )  # fmt: skip
        self.do(
            ben, "grant", "--from", "benhome.ent", "--to", "ben", "publish,subscribe@benhome/*",
            what="and takes his own switch",
        )  # fmt: skip
        for word in ("on", "off"):
            before = self.count(ann, "porch")
            self.send(ben, "ben.ent", f"benhome/{WALL}", f'"{word}"', what=f"Ben presses {word}")
            entry = self.device(
                ann, "porch", before=before, what=f"Ben's switch {word}: Ann's light goes {word}",
                expect=f"{self._short(ben, 'mirror')}: {word}",
            )  # fmt: skip
            tell.row("by a path of two DoTs", expected=2, seen=len(entry.get("path", ())))

    def _short(self, person: Person, name: str) -> str:
        """Return what somebody who has no name for an entity calls it: the first characters of its id."""
        path = person.home / "keys" / f"{name}.pub"
        return id_text(read_entity(path).id)[:8]

    def bounds(self) -> None:
        """B.6: whatever was not granted stays refused."""
        tell, ben = self.tell, self.ben
        tell.step(
            "9. No further",
            "What was not granted is refused: another device, one hop more, a wider pattern.",
            "Anybody may sign anything; what the signer does not hold, it gives to nobody.",
        )
        self.send(
            ben, "ben.ent", f"ann-home/{BEDROOM}", '"on"', what="another light of the same home", expect="proof.none"
        )
        for giver, receiver, hops in (("mirror", "hop2", 1), ("hop2", "hop3", 0), ("hop3", "hop4", 0)):
            secret = f"{giver}.ent" if giver != "mirror" else str(self._secret_of(ben, "mirror"))
            self.do(
                ben, "grant", "--from", secret, "--to", receiver, "--indirections", str(hops),
                f"publish@ann-home/{PORCH}", what=f"{giver} signs a DoT to {receiver}",
            )  # fmt: skip
        self.do(ben, "prove", "--subject", "hop3", f"publish@ann-home/{PORCH}", what="three hops further is allowed")
        self.do(
            ben, "prove", "--subject", "hop4", f"publish@ann-home/{PORCH}",
            what="the fourth is not", expect="proof.none",
        )  # fmt: skip
        self.do(
            ben, "grant", "--from", "ben.ent", "--to", "hop4", "publish@ann-home/s.light/*",
            what="Ben signs more than he holds, and is warned",
        )  # fmt: skip
        self.do(
            ben, "prove", "--subject", "hop4", f"publish@ann-home/{BEDROOM}",
            what="which gives nobody anything", expect="proof.none",
        )  # fmt: skip

    def _secret_of(self, owner: Person, name: str) -> Path:
        namespace = read_entity(owner.directory / f"{owner.name}home.ent").id
        return owner.home / "homes" / id_text(namespace)[:8] / f"{name}.ent"

    def taking_back(self) -> None:
        """B.5: one revocation ends the controller, the saved proof, all downstream, the subscription and the edge."""
        tell, ann, ben = self.tell, self.ann, self.ben
        tell.step(
            "10. Taking it back", "Ben saves a proof and keeps listening to the light. Ann revokes, with one command.",
        )  # fmt: skip
        wanted = f"publish@ann-home/{PORCH}"
        self.do(ben, "prove", "--subject", "ben", "-o", "saved.proof", wanted, what="Ben saves a proof")
        self.do(ben, "verify", "saved.proof", wanted, what="which is good")
        listening = self.stage.start(
            ben, "listening", "subscribe", "ann-home/s.light/porch/+/signal/+", "--from", "ben.ent", "--json"
        )
        self._wait_until_heard(listening, ann)
        heard = listening.ready()
        tell.command(ben, "subscribe", "ann-home/s.light/porch/+/signal/+", "--from", "ben.ent")
        tell.line(f"    heard: {heard.get('payload')}")
        tell.row("he hears the light", expected="ann-home", seen="ann-home" if heard else "nothing")
        height = self._revoke()
        self.do(
            ben, "verify", "saved.proof", wanted, "--at-least", str(height), what="the saved proof is void",
            expect="dot.revoked",
        )  # fmt: skip
        obeyed, mirrored = self.count(ann, "porch", allowed=True), self.count(ben, "mirror")
        judged = self.count(ann, "porch")
        self.send(ben, "ben.ent", f"benhome/{WALL}", '"on"', what="Ben's own switch still works")
        # The router refuses the command and tells the controller, or where it has not heard yet, the light refuses.
        entry = wait_for_entry(self.log(ben, "mirror"), mirrored)
        judge, past = ("mirror", mirrored) if entry and not entry["allowed"] else ("porch", judged)
        owner = ben if judge == "mirror" else ann
        self.device(owner, judge, before=past, what="the controller's next is refused", expect="dot.revoked")
        tell.row("and Ann's light stays as it is", expected=obeyed, seen=self.count(ann, "porch", allowed=True))
        self.do(
            ben, "prove", "--subject", "mirror", wanted, what="the controller lost it with Ben", expect="proof.none"
        )
        self.do(ben, "prove", "--subject", "hop3", wanted, what="and so did all further down", expect="proof.none")
        ended = listening.ended(ENDS_WITHIN)
        tell.line(f"  Ben's open subscription has ended by itself, with status {ended}.")
        tell.row("Ben's open subscription ends", expected=1, seen=ended)
        self.graph_without(ann, "annhome", self.shared)
        before = self.count(ann, "hall")
        self.send(ann, "carol.ent", f"annhome/{SET_POINT}", '{"hsp": 70}', what="Carol's grant stands")
        self.device(ann, "hall", before=before, what="and works", expect="carol: hsp 70")

    def _wait_until_heard(self, listening: Process, ann: Person) -> None:
        """Switch the light now and then until the listener has heard it."""
        for _ in range(20):
            ann.run("publish", f"annhome/{PORCH}", '"toggle"', "--from", "ann.ent")
            if listening.spoke(0.5):
                return

    def _revoke(self) -> int:
        came = self.do(self.ann, "revoke", "--from", "annhome.ent", "--dot", self.shared, what="Ann revokes Ben's DoT")
        return int(came.field("height") or 0)
