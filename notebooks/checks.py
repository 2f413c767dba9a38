"""The checks after each cell: whether it worked, in words; and if not yet, what is missing."""

import json
import time
from collections.abc import Callable, Iterable
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from camp import CLIMATE, LIGHT, MOVED, PACKAGE, SWITCH, Ben, Camp, act, device_log

from cli.stage import Process, wait_until
from wave.codec import id_text, parse_id
from wave.entities.keyring import read_entity
from wave.errors import WaveError

P = ParamSpec("P")
S = TypeVar("S", bound="Checks")
SOON = 15.0  # seconds
COMES_AND_GOES = 25.0


class NotYet(Exception):
    """What is still missing."""


def told(check: Callable[Concatenate[S, P], str]) -> Callable[Concatenate[S, P], None]:
    """Print what a check says, or what is missing."""

    @wraps(check)
    def tell(self: S, /, *given: P.args, **named: P.kwargs) -> None:
        try:
            print(f"yes: {check(self, *given, **named)}")
        except (NotYet, WaveError) as missing:
            print(f"not yet: {missing}")
        except Exception as error:  # noqa: BLE001 - what was filled in may be anything
            print(f"not yet: {type(error).__name__}: {error}")

    return tell


class Checks:
    """The checks of one camp."""

    def __init__(self, camp: Camp) -> None:
        """Look at what happens in ``camp``."""
        self._camp = camp
        self._you = camp.you

    # Keys and rights -----------------------------------------------------------------------------------------------

    @told
    def status(self, shown: Iterable[str]) -> str:
        """Look at what ``wave status`` has shown."""
        fields = dict(line.split(maxsplit=1) for line in shown if len(line.split(maxsplit=1)) == 2)
        if not {"height", "age", "peers"} <= fields.keys():
            raise NotYet("that is not the state of the chain; the command is 'wave status'")
        return f"the chain is {fields['height']} blocks high, and the newest is {fields['age'].split(' (')[0]} old"

    @told
    def made(self, *names: str) -> str:
        """Look for entities."""
        for name in names:
            if not Path(f"{name}.ent").is_file():
                raise NotYet(f"there is no {name}.ent here; 'wave mkentity -o {name}.ent --no-passphrase' makes it")
            if self._you.run("inspect", f"{name}.ent").status:
                raise NotYet(f"{name}.ent is no entity that holds")
        return f"{' and '.join(names)} can sign, and the chain knows of them"

    @told
    def refused(self, shown: Iterable[str]) -> str:
        """Look at a refusal."""
        text = "\n".join(shown)
        if "nothing shows that" not in text:
            raise NotYet("that is no refusal; 'wave prove --subject WHO publish@NAMESPACE/RESOURCE' asks for a proof")
        return "it was refused, and it says what is missing and whom to ask"

    @told
    def may(self, who: str, wanted: str) -> str:
        """Ask whether somebody may do a thing."""
        self._may(who, wanted)
        return f"{who} may {wanted}"

    @told
    def rights(self, name: str, *wanted: str) -> str:
        """Look whether somebody holds just these rights."""
        came = self._you.run("what", "--subject", name)
        if came.status:
            raise NotYet(f"there is no {name}: is it in HOME.toml, and does the home run?")
        held = sorted(f"{one['permission']}@home/{one['pattern']}" for one in came.field("holdings") or ())
        if held != sorted(wanted):
            raise NotYet(
                f"{name} should hold {' and '.join(sorted(wanted))}, and holds {' and '.join(held) or 'nothing'}"
            )
        return f"{name} holds just these: {' and '.join(held)}"

    # Devices -------------------------------------------------------------------------------------------------------

    @told
    def did(self, device: str, who: str, *deeds: str) -> str:
        """Look in a device's log whether somebody made it do these things, in this order."""
        doer = self._id(who)
        found = [one["did"] for one in self._log(device) if one["allowed"] and one["who"] == doer]
        rest = iter(found)
        if not all(deed in rest for deed in deeds):
            raise NotYet(f"{device} was to do {', '.join(deeds)} for {who}, and did {', '.join(found) or 'nothing'}")
        return f"{device}'s log says so: {who} made it do {', '.join(deeds)}"

    @told
    def follows(self, by: str) -> str:
        """Press the switch, and see whether the light goes with it."""
        self._home()
        controller = self._id(by)
        for word in ("on", "off"):
            before = len(self._log("light0"))
            act(self._you, "publish", f"home/{SWITCH}", f'"{word}"', "--from", "me.ent")
            wait_until(lambda seen=before: len(self._log("light0")) > seen, SOON)  # type: ignore[misc]
            new = self._log("light0")[before:]
            if (controller, word) not in [(one["who"], one["did"]) for one in new]:
                told = [f"{one['did']} by {one['name']}" for one in new]
                raise NotYet(f"the switch says {word}, and the light's log says {', '.join(told) or 'nothing'}")
        return f"the light goes on and off with the switch, by {by}"

    @told
    def reported(self, shown: Iterable[str]) -> str:
        """Look at a report of the thermostat."""
        for line in shown:
            if line.startswith("{") and line.endswith("}") and json.loads(line).get("resource") == CLIMATE:
                value = json.loads(json.loads(line)["payload"])
                return f"it is {value['temperature']} °F, and somebody is {'in' if value['occupied'] else 'out'}"
        raise NotYet(
            "no report of the thermostat; 'wave subscribe home/RESOURCE --from me.ent -n 1 --json' waits for one"
        )

    @told
    def presence(self, light: str) -> str:
        """Listen until somebody came and went, and compare each report with the light."""
        self._home()
        if not self._log("presence"):
            wait_until(lambda: bool(self._log("presence")), SOON)
        if not self._log("presence"):
            raise NotYet("the controller 'presence' has commanded nothing yet")
        heard = self._camp.listen(self._you, "home/*", "me.ent")
        wait_until(lambda: len(set(_occupied(heard))) == 2 and len(_followed(heard, light)) > 3, COMES_AND_GOES)
        heard.stop()
        followed = _followed(heard, light)
        if not followed or not all(followed):
            raise NotYet(f"of {len(followed)} reports only {sum(followed)} found the light as it should be")
        senders = {one["sender"]: one["name"] for one in heard.documents() if one.get("resource") == CLIMATE}
        if set(senders) != {self._id("hall")}:
            raise NotYet(f"reports came from {', '.join(senders.values())}")
        return f"the light is on exactly while somebody is in: {len(followed)} reports, each the thermostat's by right"

    # The neighbour -------------------------------------------------------------------------------------------------

    @told
    def pasted(self, text: object, ben: Ben) -> str:
        """Look whether an id that was pasted is the neighbour's."""
        identity = parse_id(text) if isinstance(text, str) else None
        if identity is None:
            raise NotYet("that is no id; paste the 43 characters that Ben said, in quotes")
        mine = {path.stem: read_entity(path).id for path in Path().glob("*.ent")}
        if identity in mine.values():
            raise NotYet("that is an id of your own; paste the one that Ben said")
        if text != ben.id:
            raise NotYet("that is somebody's id, and not the one that Ben said")
        return "that is Ben"

    @told
    def own_id(self, text: object) -> str:
        """Look whether a variable holds the id of your home."""
        if not Path("home.ent").is_file() or text != id_text(read_entity(Path("home.ent")).id):
            raise NotYet("that is not your home's id; 'wave resolve home.ent' prints it")
        return "that is your home"

    @told
    def lent(self, ben: Ben) -> str:
        """Look whether the neighbour has the light, with three hops, and drives it by his switch."""
        wanted = f"publish@home/{LIGHT}"
        self._may(ben.id, wanted)
        holders = self._you.run("who", wanted).field("holders") or ()
        hops = {one["id"]: one["hops_left"] for one in holders}
        if hops.get(ben.id) != 3:
            raise NotYet(f"Ben may hand it on {hops.get(ben.id)} hops further, and 3 are wanted (--indirections)")
        ben.serves("mirror")
        for word in ("on", "off"):
            before = len(self._log("light0"))
            ben.presses(word)
            wait_until(lambda seen=before: len(self._log("light0")) > seen, SOON)  # type: ignore[misc]
            new = self._log("light0")[before:]
            if not new or new[0]["did"] != word or len(new[0]["path"]) != 2:
                raise NotYet(f"Ben pressed {word}, and your light's log says {[one['did'] for one in new]}")
        return "Ben's service drives your light, by two DoTs: yours to Ben, and Ben's to his service"

    @told
    def cloudy(self, rule: Callable[[int, bool], object], ben: Ben) -> str:
        """Hold a rule to the truth table, and the neighbour's service to the rule."""
        table = {(cover, on): rule(cover, on) for cover in (0, 70, 71, 100) for on in (False, True)}
        wrong = [case for case, said in table.items() if said is not (case[0] > 70 or case[1])]
        if wrong:
            raise NotYet(
                f"the rule says {table[wrong[0]]} for a cover of {wrong[0][0]} % with the switch {wrong[0][1]}"
            )
        if not ben.service:
            raise NotYet("Ben has no light yet")
        ben.joins_weather()
        sky, switch = ben.reads_sky, ben.presses
        changes: list[tuple[Callable[[], None], object]] = [
            (partial(sky, 90), rule(90, False)),
            (partial(sky, 20), rule(20, False)),
            (partial(switch, "on"), rule(20, True)),
            (partial(sky, 80), rule(80, True)),
            (partial(sky, 10), rule(10, True)),
            (partial(switch, "off"), rule(10, False)),
        ]
        for change, expected in changes:
            before = len(self._log("light0"))
            change()
            wait_until(lambda seen=before: len(self._log("light0")) > seen, SOON)  # type: ignore[misc]
            did = [one["did"] for one in self._log("light0")[before:]]
            if did != ["on" if expected else "off"]:
                raise NotYet(f"the light did {did}, and the rule says {expected}")
        return "your light went by your rule, six times over, whichever of the two spoke last"

    @told
    def thief(self, ben: Ben) -> str:
        """Deliver a package while somebody is in and one while nobody is, and look into the neighbour's box."""
        self._home()
        for resource in (MOVED, CLIMATE):
            self._may(ben.id, f"subscribe@home/{resource}")
        ben.watches()
        climate = self._camp.listen(self._you, f"home/{CLIMATE}", "me.ent")
        delivered: dict[bool, float] = {}
        while len(delivered) < 2:
            if not wait_until(lambda: _steady(climate) not in (None, *delivered), COMES_AND_GOES):
                raise NotYet("the thermostat does not report who is in")
            occupied = bool(_steady(climate))
            delivered[occupied] = time.time()
            package = '{"package": "delivered"}'
            if act(self._you, "publish", f"home/{PACKAGE}", package, "--from", "me.ent").status:
                raise NotYet("the courier could not ring: may 'me' publish at the door?")
        climate.stop()
        wait_until(lambda: bool(ben.notes()), SOON)
        notes = [one["time"] for one in ben.notes()]
        if len(notes) != 1:
            raise NotYet(f"two packages came, and Ben's box has {len(notes)} notes instead of one")
        if abs(notes[0] - delivered[False]) > abs(notes[0] - delivered[True]):
            raise NotYet("the note is about the package that came while somebody was in")
        return "two packages came, and one note: for the one that came while nobody was in"

    @told
    def taken_back(self, ben: Ben) -> str:
        """Look whether everything that hung on the neighbour's light is gone, and nothing else."""
        wanted = f"publish@{ben.place}/{LIGHT}"
        if ben.listening is None:
            raise NotYet("Ben has nothing that could be taken back")
        if ben.may("ben", wanted):
            raise NotYet("Ben may still command the light; 'wave revoke --from home.ent --dot ID' takes it back")
        old = ben.does("verify", "saved.proof", wanted)
        if old.seen != "dot.revoked":
            raise NotYet(f"the proof that he saved is answered {old.seen}")
        if ben.may("service", wanted):
            raise NotYet("his service has it still")
        obeyed = len([one for one in self._log("light0") if one["allowed"]])
        ben.presses("on")
        if ben.listening.ended(SOON) is None:
            raise NotYet("he still hears the light")
        if len([one for one in self._log("light0") if one["allowed"]]) != obeyed:
            raise NotYet("the light has obeyed him")
        edges = self._you.run("graph", "home", "--format", "json").field("edges") or ()
        if any(edge["receiver"] == ben.id and "light0" in str(edge) for edge in edges if edge["state"] == "valid"):
            raise NotYet("the graph still shows it")
        if not ben.may("ben", f"subscribe@{ben.place}/{MOVED}"):
            raise NotYet("what you granted at the door is gone as well, and should stand")
        return "his proof is void, his service lost it with him, he hears nothing more, and the door's grant stands"

    # What they share -----------------------------------------------------------------------------------------------

    def _log(self, device: str) -> list[dict[str, Any]]:
        return device_log(self._you, "home.ent", device)

    def _home(self) -> None:
        if self._camp.home is None:
            raise NotYet("the home does not run; see what 'camp.start_home()' said")

    def _id(self, name: str) -> str:
        came = self._you.run("resolve", name)
        if came.status:
            raise NotYet(f"there is no {name}")
        return str(came.field("id"))

    def _may(self, who: str, wanted: str) -> None:
        came = self._you.run("prove", "--subject", who, wanted)
        if came.status:
            raise NotYet(f"{came.field('detail')}")


def _values(heard: Process, resource: str) -> list[dict[str, Any]]:
    return [json.loads(one["payload"]) for one in heard.documents() if one.get("resource") == resource]


def _occupied(heard: Process) -> list[bool]:
    return [bool(value["occupied"]) for value in _values(heard, CLIMATE)]


def _steady(climate: Process) -> bool | None:
    """Return whether somebody is in, when that goes on for some seconds; None when that is not sure."""
    found = [one for one in climate.documents() if "payload" in one]
    if not found or not 1.5 <= found[-1]["time"] % 10 <= 7:
        return None
    return bool(json.loads(found[-1]["payload"])["occupied"])


def _followed(heard: Process, light: str) -> list[bool]:
    """Return of each report, but the last, whether the light was as it should be when the next one came."""
    right: list[bool] = []
    lit: bool | None = None
    occupied: bool | None = None
    for one in heard.documents():
        if one.get("resource") == f"s.light/{light}/i.boolean/signal/state":
            lit = json.loads(one["payload"])["state"] == "on"
        elif one.get("resource") == CLIMATE:
            if occupied is not None and lit is not None:
                right.append(lit == occupied)
            occupied = json.loads(one["payload"])["occupied"]
    return right
