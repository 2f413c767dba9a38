"""How a story is told: steps in plain words, the outcome of each command, and the rows of the table at its end."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cli import ui
from cli.stage import Outcome, Person, Process, Stage, log_entries, wait_for_entry
from wave.codec import id_text
from wave.entities.keyring import read_entity
from wave.times import instant_text


class Row(NamedTuple):
    """One thing that was expected and what was seen."""

    what: str
    expected: str
    seen: str

    @property
    def right(self) -> bool:
        """Whether the two are the same."""
        return self.expected == self.seen


class Teller:
    """Tells the story on stdout (``quiet``: not at all) and keeps the rows of its table."""

    def __init__(self, *, quiet: bool, pause: Callable[[], None]) -> None:
        """Call ``pause`` before each step but the first."""
        self.rows: list[Row] = []
        self._quiet = quiet
        self._pause = pause
        self._begun = False

    def line(self, *pieces: str) -> None:
        """Print a line."""
        if not self._quiet:
            ui.out(pieces)
            ui.flush()

    def aloud(self, text: str) -> None:
        """Print a line that somebody has to read, also when a program takes the table."""
        if self._quiet:
            ui.say(text)
        else:
            self.line(text)

    def step(self, title: str, *why: str) -> None:
        """Begin a step of the story."""
        if self._begun:
            self._pause()
        self._begun = True
        self.line("")
        self.line(ui.paint(title, "bold"))
        for sentence in why:
            self.line(f"  {sentence}")

    def row(self, what: str, expected: object, seen: object) -> None:
        """Compare, say so, and keep both for the table."""
        row = Row(what, str(expected), str(seen))
        self.rows.append(row)
        if not row.right:
            self.line("  ", ui.paint(f"expected {row.expected}, saw {row.seen}", "red"))

    def command(self, person: Person, *arguments: str) -> None:
        """Show a command that somebody types."""
        self.line("  ", ui.paint(f"{person.name}$ ", "faint"), shlex.join(["wave", *arguments]))

    def outcome(self, came: Outcome) -> None:
        """Say what a command came to."""
        if came.status == 0:
            self.line("    ", ui.paint("yes", "green"), *(f"  {text}" for text in [_gist(came.result)] if text))
            for warning in came.field("warnings") or ():
                self.line("    ", ui.paint("but", "yellow"), f"  {warning['detail']}")
            return
        problem: dict[str, Any] = came.result if isinstance(came.result, dict) else {"detail": came.result}
        problem = problem.get("refused") or problem
        self.line("    ", ui.paint("no ", "red"), f"  {problem.get('detail')}  [{came.seen}]")
        for key in ("hint", "decision"):
            if problem.get(key):
                self.line(f"         {key}: {problem[key]}")


def _gist(result: Any) -> str:
    """Return the part of a result that a listener wants to hear."""
    if not isinstance(result, dict):
        return ""
    known = ("id", "height", "until", "decision", "delivered")
    kept = {key: result[key] for key in known if result.get(key) not in (None, "")}
    if "until" in kept:
        kept["until"] = instant_text(kept["until"])
    said = [f"{key} {str(value)[:32]}" for key, value in kept.items()]
    paths = result.get("paths")
    if isinstance(paths, list) and paths:
        said.insert(0, f"over {_dots(len(paths[0]))}")
    return "  ".join(said)


def _dots(count: int) -> str:
    return f"{count} DoT" + ("" if count == 1 else "s")


class Tale:
    """What every story does: commands as somebody, homes, devices' logs."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        """Tell on ``teller`` what happens on ``stage``."""
        self.stage = stage
        self.tell = teller

    def do(self, person: Person, *arguments: str, what: str = "", expect: str = "ok") -> Outcome:
        """Run a command as somebody, show it and what it came to; both go into the table.

        :class:`ChainUnavailable` when the chain is not there: nothing after that could come out.
        """
        self.tell.command(person, *arguments)
        came = person.run(*arguments)
        came.check_chain()
        self.tell.outcome(came)
        self.tell.row(what or shlex.join(arguments[:2]), expect, came.seen)
        return came

    def send(self, person: Person, secret: str, resource: str, value: str, **expected: str) -> Outcome:
        """Publish a command to a device as somebody."""
        return self.do(person, "publish", resource, value, "--from", secret, **expected)

    def status(self, person: Person) -> None:
        """Show the chain's height, its age and the peers."""
        came = self.do(person, "status", what="the agent follows the chain")
        if came.status == 0:
            status = came.result
            self.tell.line(f"    block {status['height']}, {status['age']} s old, {status['peers']} peers")
            self.tell.row("the newest block is at most 120 s old", expected=True, seen=status["age"] <= 120)

    def graph_without(self, person: Person, namespace: str, dot: str) -> None:
        """Draw who holds what in a namespace; a DoT should not be there as a valid one any more."""
        edges = person.run("graph", namespace, "--format", "json").field("edges") or ()
        self.tell.command(person, "graph", namespace)
        for line in person.shown("graph", namespace):
            self.tell.line(f"    {line}")
        states = {edge["dot"]: edge["state"] for edge in edges}
        self.tell.row(
            "the graph is drawn, without the edge", expected="gone", seen=states.get(dot, "gone") if states else ""
        )

    def start_home(self, person: Person, plan: str) -> Process:
        """Run a home by the plan in HOME.toml, and wait until it is there."""
        (person.directory / "HOME.toml").write_text(plan, "utf-8")
        command = ("home", "run", "--from", f"{person.name}home.ent", "HOME.toml")
        process = self.stage.start(person, "home", *command, "--json")
        said = process.ready()
        self.tell.command(person, *command)
        self.tell.line(f"    running: {', '.join(said['actors'])}")
        return process

    def log(self, owner: Person, name: str) -> Path:
        """Return a device's decision log."""
        namespace = read_entity(owner.directory / f"{owner.name}home.ent").id
        return owner.home / "homes" / id_text(namespace)[:8] / f"{name}.log"

    def count(self, owner: Person, name: str, *, allowed: bool | None = None) -> int:
        """Return how many decisions a device has made, of one kind if that is said."""
        entries = log_entries(self.log(owner, name))
        return sum(allowed is None or entry["allowed"] == allowed for entry in entries)

    def device(self, owner: Person, name: str, *, before: int, what: str, expect: str) -> dict[str, Any]:
        """Wait for a device's next decision, show the line of its log and compare who and what with ``expect``."""
        entry = wait_for_entry(self.log(owner, name), before)
        if entry is None:
            self.tell.row(what, expect, "nothing happened")
            return {}
        self.show_entry(entry)
        name = self.called(owner, entry, expect.partition(": ")[0])
        self.tell.row(what, expect, f"{name}: {entry['did']}" if entry["allowed"] else entry["code"])
        return entry

    def called(self, owner: Person, entry: dict[str, Any], name: str) -> str:
        """Return ``name`` if it is the sender's for the device's owner, and else what the device called the sender.

        A device asks for names anew only every some seconds, and writes the first characters of an id meanwhile.
        """
        if entry["name"] != name and owner.run("resolve", name).field("id") == entry["who"]:
            return name
        return str(entry["name"])

    def show_entry(self, entry: dict[str, Any]) -> None:
        """Show a line of a device's log."""
        if entry["allowed"]:
            verdict, by = "did", f", by {_dots(len(entry['path']))}" if entry["path"] else ""
        else:
            verdict, by = "refused", f" ({entry['code']})"
        decision = f"  [{entry['decision']}]" if entry["decision"] else ""
        self.tell.line(f"      {entry['device']}'s log: {verdict} {entry['name']}: {entry['did']}{by}{decision}")
