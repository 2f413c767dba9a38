"""What the two of a pair share: a line that each gives the other, names for one another, and waiting."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from cli.stage import Meeting, Person, Process, Stage, log_entries
from cli.stories.telling import Tale, Teller
from wave.codec import id_text, parse_id
from wave.entities.keyring import read_entity
from wave.errors import InputError

PORCH: Final = "s.light/porch/i.boolean/slot/state"
PORCH_SIGNALS: Final = "s.light/porch/+/signal/+"
BEDROOM: Final = "s.light/bedroom/i.boolean/slot/state"
MOVED: Final = "s.motion/door/i.motion/signal/triggered"
CLIMATE: Final = "s.thermostat/hall/i.thermostat/signal/state"
BOX: Final = "s.notifier/box/i.notifier/signal/box"
SOON: Final = 15.0  # seconds for a message to arrive; milliseconds unless the machine is very busy
_MARK: Final = "wave-pair"
_ROLES: Final = ("client", "controller")


class BadLine(InputError):
    """What was pasted is no line of a pair."""

    code = "pair.bad_line"


class OwnLine(InputError):
    """What was pasted is one's own."""

    code = "pair.own_line"


class Line(NamedTuple):
    """What one gives the other to paste: who one is in the pair, one's entity and one's namespace (ids as text)."""

    role: str
    entity: str
    namespace: str

    def __str__(self) -> str:
        """Return it as it is pasted."""
        return ":".join((_MARK, *self))


def read_line(text: str, own: Line) -> Line:
    """Return the other one's line; :class:`BadLine`, :class:`OwnLine`."""
    mark, _, rest = text.strip().partition(":")
    parts = rest.split(":")
    if mark != _MARK or len(parts) != 3 or parts[0] not in _ROLES or None in (parse_id(parts[1]), parse_id(parts[2])):
        raise BadLine("that is no line of a pair", hint=f"it begins with {_MARK}: and is pasted whole")
    found = Line(*parts)
    if found.role == own.role or {found.entity, found.namespace} & {own.entity, own.namespace}:
        raise OwnLine("that is your own line", hint=f"paste the one that the other one sees, not the {own.role}'s")
    return found


class Wait(NamedTuple):
    """What one waits for, in words, and whether it has been seen."""

    what: str
    seen: Callable[[], bool]


TURN: Final = Wait("", lambda: True)
"""Waits for nothing, and lets the other one go on when one plays both."""


class Role(Tale):
    """One of the pair. ``steps`` is what it does, and yields whenever it waits for the other one."""

    name: ClassVar[str]
    other: ClassVar[str]
    person_name: ClassVar[str]
    other_name: ClassVar[str]

    def __init__(
        self, stage: Stage, teller: Teller, at: Meeting, person: Person, hear: Callable[[], str | None]
    ) -> None:
        """Play as ``person``; ``hear`` returns the other one's line, None when it is not there yet."""
        super().__init__(stage, teller)
        self.at = at
        self.me = person
        self.line: Line | None = None
        self.theirs: Line | None = None
        self._hear = hear
        self._read: dict[str, int] = {}

    def steps(self) -> Iterator[Wait]:
        """Play the role to its end."""
        raise NotImplementedError

    def exchange(self) -> Iterator[Wait]:
        """Give the other one's line for one's own, and sign names for what it says."""
        tell, me = self.tell, self.person_name
        for name in (f"{me}home", me):
            self.do(self.me, "mkentity", "-o", f"{name}.ent", "--no-passphrase", what=f"{me} makes {name}")
        self.line = own = Line(self.name, self.id_of(me), self.id_of(f"{me}home"))
        tell.aloud(f"Give this line to the {self.other}:")
        tell.aloud(f"  {own}")
        seen = "taken"
        try:
            read_line(str(own), own)
        except InputError as error:
            tell.line(f"    (Nobody has pasted anything yet. Were it pasted back here: {error.message} [{error.code}])")
            seen = error.code
        tell.row(f"{me}'s own line would be caught", OwnLine.code, seen)
        yield Wait(f"the {self.other}'s line", self._has_heard)
        assert self.theirs is not None
        tell.line(f"  {me} signs names for the two ids that came. They mean something to {me} alone.")
        for label, target in ((self.other_name, self.theirs.entity), (f"{self.other_name}home", self.theirs.namespace)):
            self.do(self.me, "name", "--from", f"{me}.ent", label, target, what=f"{me} calls them {label}.{me}")

    def _has_heard(self) -> bool:
        text = self._hear()
        if text is None or self.line is None:
            return False
        try:
            self.theirs = read_line(text, self.line)
        except InputError as error:
            self.tell.aloud(f"{error.message}: {error.hint}")
            return False
        return True

    def id_of(self, name: str) -> str:
        """Return the id of an entity whose secret file stands in this person's directory."""
        return id_text(read_entity(self.me.directory / f"{name}.ent").id)

    def may(self, subject: str, wanted: str) -> bool:
        """Ask, without telling, whether somebody may do a thing now."""
        return self.me.run("prove", "--subject", subject, wanted).status == 0

    def listen(self, name: str, where: str) -> Process:
        """Subscribe in a process of its own."""
        command = ("subscribe", where, "--from", f"{self.person_name}.ent")
        self.tell.command(self.me, *command)
        return self.stage.start(self.me, name, *command, "--json")

    def next_entry(self, log: Path, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """Return the next decision in a log, after the last one that was returned, that fits; None while none does."""
        key = str(log)
        for place, entry in enumerate(log_entries(log)[self._read.get(key, 0) :], self._read.get(key, 0)):
            if fits(entry):
                self._read[key] = place + 1
                return entry
        return None


def values(process: Process) -> list[dict[str, Any]]:
    """Return the values that a listener has heard, oldest first."""
    return [json.loads(one["payload"]) for one in process.documents() if "payload" in one]
