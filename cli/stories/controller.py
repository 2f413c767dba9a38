"""Ben, the controller of the pair: his switch drives the neighbour's light, until she takes it back."""

from collections.abc import Iterator
from typing import Any, Final

from cli.stage import Process, log_entries, wait_until
from cli.stories.forgery import forge
from cli.stories.role import BEDROOM, BOX, CLIMATE, MOVED, PORCH, PORCH_SIGNALS, SOON, TURN, Role, Wait, values
from wave.entities.keyring import write_file

PLAN: Final = """\
namespace = "benhome"
[[device]]
kind = "switch"
instance = "wall"
[[device]]
kind = "notifier"
instance = "box"
"""
WALL: Final = "s.switch/wall/i.boolean/slot/state"
PRESSED: Final = "benhome/s.switch/wall/i.boolean/signal/state"
NOTE: Final = "s.notifier/box/i.notifier/slot/note"
COVER: Final = "s.feed/cover/i.clouds/signal/cover"
CLOUDY: Final = 90
CLEAR: Final = 20
FEED_SAYS: Final = 15.0  # seconds for the next report of a feed


class Controller(Role):
    """Ben, who borrows a light and watches a door."""

    name = "controller"
    other = "client"
    person_name = "ben"
    other_name = "ann"

    def steps(self) -> Iterator[Wait]:
        """Play the role to its end."""
        self.wanted = f"publish@annhome.ben/{PORCH}"
        yield from self.meeting()
        yield from self.borrowing()
        yield TURN
        self.bounds()
        self.weather()
        yield from self.watching()
        yield from self.losing()

    def meeting(self) -> Iterator[Wait]:
        """B.1."""
        self.tell.step(
            "Controller 1. Meeting", "Ben has a machine, keys and a home of his own.",
            "What he gets from Ann is two ids, by whatever way they like. Whoever pastes their own is told so.",
        )  # fmt: skip
        yield from self.exchange()
        self.do(
            self.me, "grant", "--from", "benhome.ent", "--to", "ben", "publish,subscribe@benhome/*",
            what="Ben's home grants Ben everything in it",
        )  # fmt: skip
        self.start_home(self.me, PLAN)

    def borrowing(self) -> Iterator[Wait]:
        """B.2."""
        tell = self.tell
        tell.step(
            "Controller 2. Borrowing a light", "Ben hands what he gets on to a service of his, with a key of its own.",
            "It mirrors his switch to her light. It may hand it on two hops further.",
        )  # fmt: skip
        yield Wait("Ann to lend a light", lambda: self.may("ben", self.wanted))
        self.do(self.me, "prove", "--subject", "ben", self.wanted, what="now it is his to use")
        for name in ("service", "hop2", "hop3", "hop4"):
            self.do(self.me, "mkentity", "-o", f"{name}.ent", "--no-passphrase", what=f"{name} is made")
        self.do(
            self.me, "grant", "--from", "ben.ent", "--to", "service", "--indirections", "2", self.wanted,
            what="Ben hands it on to his service",
        )  # fmt: skip
        self.do(
            self.me, "grant", "--from", "benhome.ent", "--to", "service", f"subscribe@{PRESSED}",
            what="which may hear his switch",
        )  # fmt: skip
        self.service = self.controller("service", "mirror", {"switch": PRESSED}, f"annhome.ben/{PORCH}")
        for word in ("on", "off"):
            self.press(word)
            self.decided("wall", word, f"his service commands {word}")

    def bounds(self) -> None:
        """B.6."""
        self.tell.step(
            "Controller 3. No further",
            "Refused is what was not granted: another device, one hop more, a wider pattern.",
            "Anybody may sign anything; what the signer does not hold, it gives to nobody.",
        )  # fmt: skip
        self.send(
            self.me, "ben.ent", f"annhome.ben/{BEDROOM}", '"on"', what="another light of the same home",
            expect="proof.none",
        )  # fmt: skip
        for giver, receiver, hops in (("service", "hop2", 1), ("hop2", "hop3", 0), ("hop3", "hop4", 0)):
            self.do(
                self.me, "grant", "--from", f"{giver}.ent", "--to", receiver, "--indirections", str(hops), self.wanted,
                what=f"{giver} signs a DoT to {receiver}",
            )  # fmt: skip
        for name, what, expect in (
            ("hop3", "three hops on is allowed", "ok"),
            ("hop4", "a fourth is not", "proof.none"),
        ):
            self.do(self.me, "prove", "--subject", name, self.wanted, what=what, expect=expect)
        self.do(
            self.me, "grant", "--from", "ben.ent", "--to", "hop4", "publish@annhome.ben/s.light/*",
            what="Ben signs more than he holds, and is warned",
        )  # fmt: skip
        self.do(
            self.me, "prove", "--subject", "hop4", f"publish@annhome.ben/{BEDROOM}",
            what="which gives nobody anything", expect="proof.none",
        )  # fmt: skip

    def weather(self) -> None:
        """B.3: on if and only if the sky is covered or the switch is on."""
        tell = self.tell
        tell.step(
            "Controller 4. A third party's weather", "Somebody else's feed says how much of the sky is covered,",
            "to everybody. Ben's service now wants the light on if that is above 70 %, or his switch is on.",
            "It decides again on every message from either.",
        )  # fmt: skip
        sky = self.stage.visitor("sky", self.at)
        cover = sky.directory / "cover.txt"

        def says(value: int) -> None:
            tell.line(f"  The sky: {value} % covered.")
            write_file(cover, str(value).encode("ascii"), replace=True)

        self.do(sky, "mkentity", "-o", "sky.ent", "--no-passphrase", what="the weather service has a key")
        self.do(
            sky, "grant", "--from", "sky.ent", "--to", "everybody", f"subscribe@sky/{COVER}",
            what="and lets everybody hear it",
        )  # fmt: skip
        says(CLOUDY)
        sky_id = str(sky.run("resolve", "sky").field("id"))
        self.do(self.me, "name", "--from", "ben.ent", "sky", sky_id, what="Ben calls it sky.ben")
        self.service.stop()
        sources = {"clouds": f"sky.ben/{COVER}", "switch": PRESSED}
        self.service = self.controller("service", "cloudy", sources, f"annhome.ben/{PORCH}")
        feed = ("device", "run", "feed", "cover", "--from", "sky.ent", "--namespace", "sky", "--file", "cover.txt")
        tell.command(sky, *feed)
        self.stage.start(sky, "feed", *feed, "--json").ready()
        self.decided(sky_id, "on", "covered, switch off: on")
        self.press("on")
        self.decided("wall", "on", "covered, switch on: on")
        says(CLEAR)
        self.decided(sky_id, "on", "clear, switch on: on")
        self.press("off")
        self.decided("wall", "off", "clear, switch off: off")

    def watching(self) -> Iterator[Wait]:
        """B.4."""
        tell, door, inside = self.tell, f"annhome.ben/{MOVED}", f"annhome.ben/{CLIMATE}"
        tell.step(
            "Controller 5. The package thief", "Ben watches Ann's door: if something moves there while nobody is in,",
            "a note goes into his own box. While somebody is in, none; and none for a report that is forged.",
        )  # fmt: skip
        yield Wait("Ann to let him hear the door", lambda: self.may("ben", f"subscribe@{door}"))
        self.do(self.me, "mkentity", "-o", "guard.ent", "--no-passphrase", what="a guard is made")
        self.do(
            self.me, "grant", "--from", "ben.ent", "--to", "guard", f"subscribe@{door}", f"subscribe@{inside}",
            what="who may hear her door",
        )  # fmt: skip
        self.do(
            self.me, "grant", "--from", "benhome.ent", "--to", "guard", f"publish@benhome/{NOTE}",
            what="and write into his box",
        )  # fmt: skip
        self.controller("guard", "thief", {"motion": door, "home": inside}, f"benhome/{NOTE}")
        self.forge(door)
        granted = self.do(
            self.me, "grant", "--from", "benhome.ent", "--to", "ann.ben", f"subscribe@benhome/{BOX}",
            what="Ann may read his box",
        )  # fmt: skip
        self.given = str(granted.field("id"))
        yield Wait("a note in his box", lambda: self.count(self.me, "box") > 0)
        (entry,) = log_entries(self.log(self.me, "box"))[:1]
        self.show_entry(entry)
        tell.row("by his guard", expected="guard", seen=self.called(self.me, entry, "guard"))

    def forge(self, door: str) -> None:
        """Try to make the guard believe in a motion, without a right and with somebody else's."""
        report = '{"triggered": true, "count": 1, "time": 0}'
        self.send(self.me, "ben.ent", door, report, what="a report of one's own making", expect="proof.none")
        who = self.do(self.me, "who", f"publish@{door}", what="whose report would it be?").field("holders") or ()
        sensor = next((one["id"] for one in who if one["id"] != self.theirs_id), "")
        self.do(
            self.me, "prove", "--subject", sensor, "-o", "door.proof", f"publish@{door}",
            what="the sensor's proof is no secret",
        )  # fmt: skip
        self.tell.line("  Ben sends a report with the sensor's proof, and his own signature.")
        seen = forge(
            self.me,
            "ben.ent",
            "door.proof",
            namespace=self.theirs_home,
            resource=MOVED,
            payload=report.encode("ascii"),
        )
        self.tell.line(f"    no   {seen}")
        self.tell.row("a forged report, with a copied proof", expected="message.wrong_sender", seen=seen)

    def losing(self) -> Iterator[Wait]:
        """B.5, as the one from whom it is taken sees it."""
        tell = self.tell
        tell.step(
            "Controller 6. Losing it", "Ben saves a proof and keeps listening to the light, and Ann takes it back.",
        )  # fmt: skip
        self.do(self.me, "prove", "--subject", "ben", "-o", "saved.proof", self.wanted, what="Ben saves a proof")
        self.do(self.me, "verify", "saved.proof", self.wanted, what="which is good")
        listening = self.listen("listening", f"annhome.ben/{PORCH_SIGNALS}")
        wait_until(lambda: listening.has_said("listening"), 2 * SOON)
        self.press("on")
        self.decided("wall", "on", "his service commands on")
        tell.row("he hears her light", expected=True, seen=wait_until(lambda: bool(values(listening)), SOON))
        yield Wait("Ann to take the light back", lambda: not self.may("ben", self.wanted))
        tell.row("of two packages, one note", expected=1, seen=self.count(self.me, "box"))
        self.do(self.me, "verify", "saved.proof", self.wanted, what="the saved proof is void", expect="dot.revoked")
        self.press("off")
        log = self.me.home / "logs" / "service.log"
        found: dict[str, Any] = {}

        def refused() -> bool:
            found.update(self.next_entry(log, lambda one: not one["allowed"]) or {})
            return bool(found)

        wait_until(refused, FEED_SAYS)
        if found:
            self.show_entry(found)
        tell.row("his service's next command is refused", expected="dot.revoked", seen=found.get("code", "nothing"))
        for name, what in (("service", "the service lost it with him"), ("hop3", "and so did all further down")):
            self.do(self.me, "prove", "--subject", name, self.wanted, what=what, expect="proof.none")
        ended = listening.ended(SOON)
        tell.line(f"  Ben's open subscription has ended by itself, with status {ended}.")
        tell.row("his open subscription ends", expected=1, seen=ended)
        door = f"subscribe@annhome.ben/{MOVED}"
        self.do(self.me, "prove", "--subject", "guard", door, what="what his guard holds stands")
        tell.line("  He takes back what he gave, too, and that is the end.")
        self.do(self.me, "revoke", "--from", "benhome.ent", "--dot", self.given, what="Ann may read his box no more")

    # What it is made of --------------------------------------------------------------------------------------------

    @property
    def theirs_id(self) -> str:
        """Ann's id."""
        return "" if self.theirs is None else self.theirs.entity

    @property
    def theirs_home(self) -> str:
        """The id of Ann's home."""
        return "" if self.theirs is None else self.theirs.namespace

    def controller(self, name: str, rule: str, sources: dict[str, str], to: str) -> Process:
        """Run a controller as a process of its own, and wait until it is there."""
        heard = [word for key, place in sources.items() for word in ("--on", f"{key}={place}")]
        command = ("device", "run", "controller", name, "--from", f"{name}.ent", "--rule", rule, *heard, "--to", to)
        self.tell.command(self.me, *command)
        process = self.stage.start(self.me, f"{name} {rule}", *command, "--json")
        process.ready()
        return process

    def press(self, word: str) -> None:
        """Press his own switch."""
        self.send(self.me, "ben.ent", f"benhome/{WALL}", f'"{word}"', what=f"Ben presses {word}")

    def decided(self, by: str, word: str, what: str) -> None:
        """Wait until his service has commanded the light because of what ``by`` said (a name, or an id)."""
        log = self.me.home / "logs" / "service.log"
        found: dict[str, Any] = {}
        command = f'{PORCH} {{"state":"{word}"}}'

        def seen() -> bool:
            entry = self.next_entry(log, lambda one: one["allowed"] and by in (one["name"], one["who"]))
            found.update(entry or {})
            return entry is not None

        wait_until(seen, FEED_SAYS)
        if found:
            self.show_entry(found)
        self.tell.row(what, expected=command, seen=found.get("did", "nothing happened"))
