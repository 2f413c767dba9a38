"""Permission tests: files that say who may do what and who may not, run offline: ``wave test``.

They are TOML, like the plan of a home, for reasons that matter here: the standard library reads it, it knows times,
and it takes neither ``no`` nor ``on`` for a boolean.
"""

import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from cli import ui
from cli.options import FILE, verb
from cli.session import Session
from wave.dots.dot import Dot
from wave.dots.explain import explain
from wave.dots.explanation import Explanation
from wave.dots.facts import Facts
from wave.dots.graph import Graph
from wave.dots.request import Request, Statement
from wave.dots.rules import short
from wave.dots.search import find_proof
from wave.entities.entity import EVERYBODY, Entity
from wave.entities.keyring import read_entity, read_file, read_text
from wave.entities.object import from_text
from wave.errors import BadSetting, Refused, UnknownEntity
from wave.namespace.grant import parse_grant

_FAILED: Final = 1
_SUITE: Final = {"dots", "revoked", "at", "entities", "test"}
_TEST: Final = {"name", "subject", "values", "may", "may_not"}


class Outcome(NamedTuple):
    """One line of a test: what was expected of whom, and the answer with its reasons."""

    test: str
    subject: str
    grant: str
    expected: bool
    answer: Explanation

    @property
    def passed(self) -> bool:
        """Tell whether the answer is the one expected."""
        return self.answer.allowed == self.expected


class Suite:
    """A file of permission tests: entities by name, DoTs, what counts as revoked, and the moment."""

    def __init__(self, path: Path, now: int) -> None:
        """Read ``path``; :class:`BadSetting`, and whatever the files that it names are wrong with."""
        try:
            told = tomllib.loads(read_file(path).decode("utf-8"))
        except ValueError as error:
            raise BadSetting(f"{path} is not TOML: {error}") from None
        _check_keys(told, _SUITE, str(path))
        self._folder = path.parent
        self._now = _moment(told.get("at"), now)
        self._people = {name: read_entity(self._folder / file) for name, file in _table(told, "entities").items()}
        records = {entity.id: entity for entity in self._people.values()}
        dots = [self._dot(file, records) for pattern in _texts(told, "dots") for file in self._files(pattern)]
        self._graph = Graph(dots)
        gone = [commitment for word in _texts(told, "revoked") for commitment in self._commitments(word, records)]
        self._facts = Facts(1, bytes(32), self._now, dict.fromkeys(gone, 1), records)
        self._tests = told.get("test", [])
        if not isinstance(self._tests, list) or not all(isinstance(one, dict) for one in self._tests):
            raise BadSetting(f"{path}: tests are written as [[test]]")

    def run(self) -> Iterator[Outcome]:
        """Yield the outcome of each line; :class:`BadSetting`, :class:`InputError`."""
        for number, test in enumerate(self._tests, 1):
            name = str(test.get("name", f"test {number}"))
            _check_keys(test, _TEST, name)
            subject = test.get("subject")
            if not isinstance(subject, str):
                raise BadSetting(f"{name} does not say whose rights it is about", hint="write subject = NAME")
            for key, expected in (("may", True), ("may_not", False)):
                for text in _texts(test, key):
                    yield Outcome(name, subject, text, expected, self._answer(subject, text, test.get("values", {})))

    def name(self, identity: bytes) -> str:
        """Return what the file calls an entity."""
        names = {entity.id: name for name, entity in self._people.items()}
        return names.get(identity, "everybody" if identity == EVERYBODY else short(identity))

    def _answer(self, subject: str, text: str, values: Any) -> Explanation:
        parts = parse_grant(text)
        kind = None if parts.permission_set is None else self._entity(parts.permission_set).id
        wanted = tuple([Statement(permission, parts.pattern, kind) for permission in parts.permissions])
        if not isinstance(values, Mapping) or not all(type(one) in (int, float) for one in values.values()):
            raise BadSetting("values are named numbers", hint="such as values = { set_point = 70 }")
        who, where = self._entity(subject).id, self._entity(parts.namespace).id
        request = Request(who, where, wanted, values)
        proof = None
        for asked in (request, Request(who, where, wanted)):
            try:
                proof = find_proof(self._graph, asked, self._facts, now=self._now)
                break
            except Refused:
                continue
        return explain(proof, request, self._facts, now=self._now).worded(self.name)

    def _entity(self, name: str) -> Entity:
        if name not in self._people:
            raise UnknownEntity(f"{name[:80]!r} is none of the file's [entities]", hint=f"write {name[:40]} = FILE.pub")
        return self._people[name]

    def _files(self, pattern: str) -> list[Path]:
        found = sorted(self._folder.glob(pattern)) if "*" in pattern else [self._folder / pattern]
        if not found:
            raise BadSetting(f"no file is called {pattern!r}")
        return found

    def _dot(self, file: Path, records: Mapping[bytes, Entity]) -> Dot:
        """Return the DoT in a file, its signature checked."""
        dot = Dot.from_object(from_text(read_text(file)))
        if dot.giver not in records:
            raise UnknownEntity(f"{file} is given by somebody who is none of the file's [entities]")
        dot.check(records[dot.giver].verify_key)
        return dot

    def _commitments(self, word: str, records: Mapping[bytes, Entity]) -> tuple[bytes, ...]:
        if word in self._people:
            return self._people[word].commitments
        return tuple([one for file in self._files(word) for one in self._dot(file, records).commitments])


@verb
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
def test(session: Session, files: tuple[str, ...]) -> None:
    """Run permission tests, offline: files that say who may do what, by DoTs that lie beside them.

    \b
        dots = ["grants/*.dot"]          # as 'wave grant -o' writes them
        revoked = ["grants/old.dot"]     # as if they were, and entities by name
        at = 2026-12-01T08:00:00Z        # without it: now
        [entities]
        home = "home.pub"
        bob = "bob.pub"
        [[test]]
        name = "bob has the light and not the door"
        subject = "bob"
        values = { set_point = 70 }      # that conditions ask about
        may = ["publish@home/light/light0"]
        may_not = ["publish@home/door"]

    The status is 0 when all hold, and 1 when one does not.
    """  # noqa: D301 - click's mark for a paragraph to be left as it is
    told: list[dict[str, Any]] = []
    failed = 0
    for file in files:
        suite = Suite(Path(file), session.now())
        for outcome in suite.run():
            failed += not outcome.passed
            told.append(_told(file, outcome))
            if not session.json:
                _print(suite, outcome)
    if session.json:
        ui.document({"tests": told, "failed": failed})
    else:
        ui.say(f"{len(told) - failed} of {len(told)} hold")
    if not told:
        raise BadSetting("there is nothing to test", hint="write may or may_not under [[test]]")
    if failed:
        raise click.exceptions.Exit(_FAILED)


def _told(file: str, outcome: Outcome) -> dict[str, Any]:
    answer = outcome.answer
    return {
        "file": file,
        "test": outcome.test,
        "subject": outcome.subject,
        "grant": outcome.grant,
        "expected": outcome.expected,
        "allowed": answer.allowed,
        "code": answer.code,
        "message": answer.message,
    }


def _print(suite: Suite, outcome: Outcome) -> None:
    word = ui.paint("ok", "green") if outcome.passed else ui.paint("FAILED", "red")
    may = "may" if outcome.expected else "may not"
    ui.out((word, f"  {outcome.test}: {outcome.subject} {may} {outcome.grant}"))
    if not outcome.passed:
        for line in outcome.answer.lines(suite.name):
            ui.out(f"    {line}")


def _moment(told: object, now: int) -> int:
    if told is None:
        return now
    if isinstance(told, datetime):
        return int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp())
    if isinstance(told, date):
        return int(datetime(told.year, told.month, told.day, tzinfo=UTC).timestamp())
    raise BadSetting("'at' is a time", hint="such as at = 2026-12-01T08:00:00Z")


def _check_keys(told: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(told) - known):
        raise BadSetting(
            f"{where}: {', '.join(unknown)} means nothing here", hint=f"known are {', '.join(sorted(known))}"
        )


def _texts(told: Mapping[str, Any], key: str) -> list[str]:
    found = told.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadSetting(f"{key} is a list of texts")
    return found


def _table(told: Mapping[str, Any], key: str) -> dict[str, str]:
    found = told.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise BadSetting(f"[{key}] names a file for each")
    return found
