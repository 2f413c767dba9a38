"""Explanations: what was found about a request, rule by rule, for programs as plain dicts and for people as lines."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from wave.codec import id_text
from wave.dots.request import Statement
from wave.dots.rules import short
from wave.times import instant_text

OK: Final = "ok"
NO: Final = "NO"
_TELLING: Final = ("scope", "conditions", "hops", "dot")  # what a line says about a hop at which all is well


@dataclass(frozen=True, slots=True)
class Finding:
    """What asking one rule showed: whether it holds, the code of its refusal (``ok`` when it does) and the reason."""

    rule: str
    ok: bool
    code: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a plain dict."""
        return {"rule": self.rule, "ok": self.ok, "code": self.code, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Hop:
    """One DoT of a path (ids, 32 bytes each) and what was found about it."""

    dot: bytes
    giver: bytes
    receiver: bytes
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True when every rule holds here."""
        return all(finding.ok for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the hop as a plain dict, ids as text."""
        return {
            "dot": id_text(self.dot),
            "giver": id_text(self.giver),
            "receiver": id_text(self.receiver),
            "ok": self.ok,
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Walk:
    """One path gone from its first giver to its last receiver; ``arrival`` is what was found about its end."""

    hops: tuple[Hop, ...]
    arrival: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True when the path carries the statement."""
        return not self.faults

    @property
    def faults(self) -> tuple[Finding, ...]:
        """Every rule that does not hold, in the order of the path."""
        found = [finding for hop in self.hops for finding in hop.findings]
        return tuple(finding for finding in (*found, *self.arrival) if not finding.ok)

    def to_json(self) -> dict[str, Any]:
        """Return the path as a plain dict."""
        return {
            "ok": self.ok,
            "hops": [hop.to_json() for hop in self.hops],
            "arrival": [finding.to_json() for finding in self.arrival],
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """One statement: the paths tried for it, what is missing, and ids of those who could give it.

    At most ``LIMITS.explained_paths`` paths are gone through, the one that carries the statement first; ``untold``
    counts the others.
    """

    statement: Statement
    ok: bool
    paths: tuple[Walk, ...]
    untold: int
    missing: tuple[str, ...]
    could_give: tuple[bytes, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the answer as a plain dict, ids as text."""
        permission_set = self.statement.permission_set
        return {
            "permission_set": None if permission_set is None else id_text(permission_set),
            "permission": self.statement.permission,
            "pattern": str(self.statement.pattern),
            "ok": self.ok,
            "paths": [path.to_json() for path in self.paths],
            "untold": self.untold,
            "missing": list(self.missing),
            "could_give": [id_text(identity) for identity in self.could_give],
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with its reasons.

    ``allowed``, ``code`` (``ok`` for a yes), ``message`` and ``hint`` are the verdict; ``until`` is the UTC second at
    which a yes ends, ``rates`` are what is still to be counted; ``height`` and ``time`` (UTC seconds) name the block
    that it rests on; ``decision`` is the id by which logs and refusals know it.
    """

    decision: str
    subject: bytes
    namespace: bytes
    allowed: bool
    code: str
    message: str
    hint: str
    until: int | None
    rates: tuple[str, ...]
    height: int
    time: int
    now: int
    findings: tuple[Finding, ...]
    answers: tuple[Answer, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as a plain dict, ids as text and times in UTC seconds."""
        return {
            "decision": self.decision,
            "subject": id_text(self.subject),
            "namespace": id_text(self.namespace),
            "allowed": self.allowed,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "until": self.until,
            "rates": list(self.rates),
            "height": self.height,
            "time": self.time,
            "now": self.now,
            "findings": [finding.to_json() for finding in self.findings],
            "statements": [answer.to_json() for answer in self.answers],
        }

    def lines(self, name: Callable[[bytes], str]) -> list[str]:
        """Return the explanation for a person, a line a hop; ``name`` says what an entity is called here."""
        names = {short(identity): name(identity) for identity in self._people()}
        return [_plain(line, names) for line in self._lines()]

    def worded(self, name: Callable[[bytes], str]) -> "Explanation":
        """Return the same explanation with names for ids in its message and its hint."""
        names = {short(identity): name(identity) for identity in self._people()}
        return replace(self, message=_plain(self.message, names), hint=_plain(self.hint, names))

    def _people(self) -> Iterator[bytes]:
        yield self.subject
        yield self.namespace
        for answer in self.answers:
            yield from answer.could_give
            for path in answer.paths:
                for hop in path.hops:
                    yield hop.giver
                    yield hop.receiver

    def _lines(self) -> Iterator[str]:
        yield f"{_word(self.allowed)}  {self.message}" + ("" if self.allowed else f" ({self.code})")
        if self.until is not None:
            yield f"    until {instant_text(self.until)}" + "".join(
                f"; {rate}, still to be counted" for rate in self.rates
            )
        for finding in self.findings:
            yield _finding_line("", finding)
        for answer in self.answers:
            yield from _answer_lines(answer)
        if self.hint:
            yield f"hint: {self.hint}"
        yield f"decision {self.decision}, at {instant_text(self.now)}"


def _word(ok: bool) -> str:  # noqa: FBT001 - the word for a boolean
    return OK if ok else NO


def _finding_line(indent: str, finding: Finding) -> str:
    code = "" if finding.ok else f" ({finding.code})"
    return f"{indent}{_word(finding.ok)}  {finding.rule}: {finding.detail}{code}"


def _answer_lines(answer: Answer) -> Iterator[str]:
    yield f"{_word(answer.ok)}  {answer.statement}"
    for number, path in enumerate(answer.paths, 1):
        yield f"  {_word(path.ok)}  path {number}"
        for hop in path.hops:
            yield f"    {_word(hop.ok)}  {short(hop.giver)} -> {short(hop.receiver)}: {_hop_text(hop)}"
        for finding in path.arrival:
            yield _finding_line("    ", finding)
    if answer.untold:
        yield f"  and {answer.untold} more paths"
    for missing in answer.missing:
        yield f"  missing: {missing}"
    if answer.could_give:
        yield f"  could give it: {', '.join(short(identity) for identity in answer.could_give)}"


def _hop_text(hop: Hop) -> str:
    if hop.ok:
        return "; ".join(finding.detail for finding in hop.findings if finding.rule in _TELLING)
    return "; ".join(f"{finding.detail} ({finding.code})" for finding in hop.findings if not finding.ok)


def _plain(line: str, names: Mapping[str, str]) -> str:
    """Return a line with ids by name, and without what would move a terminal's cursor."""
    line = re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], line)
    return "".join(character if character.isprintable() else "?" for character in line)
