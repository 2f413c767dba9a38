"""Ann, the client of the pair: she lends the neighbour a light and her door's reports, and takes the light back."""

import json
from collections.abc import Generator, Iterator
from typing import Any, Final

from cli.stage import wait_until
from cli.stories.role import BOX, CLIMATE, MOVED, PORCH, SOON, Role, Wait, values
from devices.thermostat import OCCUPANCY_PERIOD

PLAN: Final = """\
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
"""
PACKAGE: Final = "s.motion/door/i.motion/slot/package"
_FROM: Final = 1.5  # seconds after somebody came or went
_TO: Final = 7.0


class Client(Role):
    """Ann, whose home it is that is shared."""

    name = "client"
    other = "controller"
    person_name = "ann"
    other_name = "ben"

    def steps(self) -> Iterator[Wait]:
        """Play the role to its end."""
        yield from self.meeting()
        yield from self.lending()
        yield from self.weather()
        yield from self.door()
        yield from self.taking_back()

    def meeting(self) -> Iterator[Wait]:
        """B.1."""
        self.tell.step(
            "Client 1. Meeting",
            "Ann and Ben share a chain and a router, and trust neither. Each has keys of their own.",
            "They give one another two ids: who they are, and which namespace is theirs.",
        )  # fmt: skip
        yield from self.exchange()
        self.do(
            self.me, "grant", "--from", "annhome.ent", "--to", "ann", "publish,subscribe@annhome/*",
            what="Ann's home grants Ann everything in it",
        )  # fmt: skip
        self.start_home(self.me, PLAN)

    def lending(self) -> Iterator[Wait]:
        """B.2."""
        self.tell.step(
            "Client 2. Lending a light", "Ann's home lets Ben use the porch light and hand that on three hops further.",
            "Her light checks every command itself, and knows nobody's switch.",
        )  # fmt: skip
        granted = self.do(
            self.me, "grant", "--from", "annhome.ent", "--to", "ben.ann", "--indirections", "3",
            "publish,subscribe@annhome/s.light/porch/*", what="Ann's home grants Ben the porch light",
        )  # fmt: skip
        self.lent = str(granted.field("id"))
        for word in ("on", "off"):
            entry = yield from self.lit(word, f"the light to go {word} by Ben's switch")
            self.tell.row("by a path of two DoTs", expected=2, seen=len(entry.get("path", ())))
            self.tell.row("the first of them Ann's", expected=self.lent, seen=(entry.get("path") or ("",))[0])

    def weather(self) -> Iterator[Wait]:
        """B.3, as the light's owner sees it."""
        self.tell.step(
            "Client 3. The weather joins", "Ben's service listens to a third party's clouds too, which is his affair.",
            "Ann's light asks for his right, and for nothing else.",
        )  # fmt: skip
        for word, why in (("on", "the clouds, or a switch"), ("off", "neither")):
            yield from self.lit(word, f"the light to go {word}: {why}")

    def door(self) -> Iterator[Wait]:
        """B.4, as the owner of the door sees it."""
        tell = self.tell
        tell.step(
            "Client 4. The package thief", "Ann lets Ben hear her door and whether she is in, so that he can watch.",
        )  # fmt: skip
        self.do(
            self.me, "grant", "--from", "annhome.ent", "--to", "ben.ann", "--indirections", "1",
            "subscribe@annhome/s.motion/door/+/signal/+", "subscribe@annhome/s.thermostat/hall/+/signal/+",
            what="Ann's home lets Ben hear the door",
        )  # fmt: skip
        self.reading_box = f"subscribe@benhome.ann/{BOX}"
        yield Wait("Ben to watch, and to let Ann read his box", lambda: self.may("ann", self.reading_box))
        self.climate = self.listen("climate", f"annhome/{CLIMATE}")
        box = self.listen("box", f"benhome.ann/{BOX}")
        tell.row("she listens to his box", expected=True, seen=wait_until(lambda: box.has_said("listening"), 2 * SOON))
        words = {True: "somebody is in", False: "nobody is in"}
        came: dict[bool, int] = {}
        yield Wait("the thermostat to say who is in", lambda: self._occupied() is not None)
        for _ in words:
            yield Wait("the next package", lambda: self._occupied() not in (None, *came))
            occupied = bool(self._occupied())
            before = self.count(self.me, "door")
            self.send(
                self.me, "ann.ent", f"annhome/{PACKAGE}", '{"package": "delivered"}',
                what=f"a package comes: {words[occupied]}",
            )  # fmt: skip
            entry = self.device(self.me, "door", before=before, what="the sensor says so", expect="ann: triggered")
            came[occupied] = entry.get("time", 0)
        yield Wait("a note in Ben's box", lambda: bool(values(box)))
        notes = values(box)[-1]
        tell.line(f"      Ben's box says {json.dumps(notes)}")
        tell.row("one note", expected=1, seen=notes.get("count"))
        at = notes["notes"][0]["time"]
        nearest = min(came, key=lambda occupied: abs(at - came[occupied]))
        tell.row("when it came", expected=words[False], seen=words[nearest])

    def taking_back(self) -> Iterator[Wait]:
        """B.5."""
        tell = self.tell
        tell.step(
            "Client 5. Taking it back",
            "Ben has saved a proof and keeps listening to the light. Ann revokes, by one command.",
        )
        yield from self.lit("on", "the light to go on once more")
        self.do(self.me, "revoke", "--from", "annhome.ent", "--dot", self.lent, what="Ann revokes Ben's DoT")
        obeyed = self.count(self.me, "porch", allowed=True)
        self.graph_without(self.me, "annhome", self.lent)
        self.do(
            self.me, "prove", "--subject", "ben.ann", f"publish@annhome/{PORCH}", what="Ben may not command the light",
            expect="proof.none",
        )  # fmt: skip
        self.do(self.me, "prove", "--subject", "ben.ann", f"subscribe@annhome/{MOVED}", what="his other grant stands")
        yield Wait("Ben to take back what he gave", lambda: not self.may("ann", self.reading_box))
        now = self.count(self.me, "porch", allowed=True)
        tell.row("the light has obeyed nobody since", expected=obeyed, seen=now)

    def lit(self, word: str, what: str) -> Generator[Wait, None, dict[str, Any]]:
        """Wait until Ben's service has switched the light; return the decision."""
        log = self.log(self.me, "porch")
        found: dict[str, Any] = {}

        def seen() -> bool:
            entry = self.next_entry(log, lambda one: one["allowed"] and one["did"] == word)
            found.update(entry or {})
            return entry is not None

        yield Wait(what, seen)
        self.show_entry(found)
        return found

    def _occupied(self) -> bool | None:
        """Return whether somebody is in, when that goes on for some seconds; None when that is not sure."""
        heard = [one for one in self.climate.documents() if "payload" in one]
        if not heard or not _FROM <= heard[-1]["time"] % OCCUPANCY_PERIOD % (OCCUPANCY_PERIOD / 2) <= _TO:
            return None
        return bool(json.loads(heard[-1]["payload"])["occupied"])
