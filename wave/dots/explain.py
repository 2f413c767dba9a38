"""Why a verdict is what it is: per statement, path and hop what held, what failed and who could give what is missing.

The verdict itself is :func:`wave.dots.verify.verify`'s, asked with the same inputs; the findings come from the same
rules and stop at no fault. Pure, like everything here.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from wave.codec import encode
from wave.dots import rules
from wave.dots.dot import Dot
from wave.dots.explanation import OK, Answer, Explanation, Finding, Hop, Walk
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.rules import Path, short
from wave.dots.verify import Grant, verify
from wave.entities.entity import EVERYBODY, EntityFields
from wave.errors import BrokenPath, WaveError
from wave.limits import LIMITS
from wave.namespace.condition import Number
from wave.times import instant_text, span_text

_DECISION_BYTES: Final = 16


def explain(
    proof: Proof | None,
    request: Request,
    facts: Facts,
    *,
    now: int,
    max_staleness: int = LIMITS.max_staleness,
    at_least: int | None = None,
    held: Mapping[Statement, Iterable[bytes]] | None = None,
) -> Explanation:
    """Return why ``verify`` says yes or no to the same inputs; a ``proof`` of None is one without a path.

    ``held`` names, for each statement, entities known to hold it with a hop to spare; they are told to whoever is
    refused, after the namespace itself. Raises nothing.
    """
    proof = _NOTHING if proof is None else proof
    outcome: Grant | WaveError
    try:
        outcome = verify(proof, request, facts, now=now, max_staleness=max_staleness, at_least=at_least)
    except WaveError as error:
        outcome = error
    grant = outcome if isinstance(outcome, Grant) else None
    case = _Case(proof, request, facts, now)
    answers = tuple(
        case.answer(statement, () if grant is None else grant.paths[place], (held or {}).get(statement, ()))
        for place, statement in enumerate(request.statements)
    )
    findings = [_ask("facts", lambda: _fresh(facts, now, max_staleness, at_least))]
    if request.subject == request.namespace:
        findings.append(case.entity("namespace", request.namespace))
    code, message, hint = _verdict(outcome, answers)
    return Explanation(
        decision=decision_id(proof, request, facts, now=now, outcome=outcome),
        subject=request.subject,
        namespace=request.namespace,
        allowed=grant is not None,
        code=code,
        message=message,
        hint=hint,
        until=None if grant is None else grant.until,
        rates=() if grant is None else tuple(str(rate.condition) for rate in grant.rates),
        height=facts.height,
        time=facts.time,
        now=now,
        findings=tuple(findings),
        answers=answers,
    )


def decision_id(
    proof: Proof | None,
    request: Request,
    facts: Facts,
    *,
    now: int,
    outcome: Grant | WaveError,
    act: bytes | None = None,
) -> str:
    """Return the id of a decision, 32 hexadecimal digits: the same inputs and the same outcome give the same id.

    ``act`` is the id of the very message that was decided on, if there is one: two equal commands are two decisions.
    """
    result = (OK, outcome.until) if isinstance(outcome, Grant) else (outcome.code, None)
    named = (
        "wave/decision/v1",
        (_NOTHING if proof is None else proof).id,
        request.subject,
        request.namespace,
        tuple((one.permission_set, one.permission, str(one.pattern)) for one in request.statements),
        tuple(sorted((_octets(key), _octets(_digits(value))) for key, value in request.context.items())),
        (facts.height, facts.block_hash, now),
        result,
        act,
    )
    return hashlib.sha256(encode(named)).digest()[:_DECISION_BYTES].hex()


_NOTHING: Final = Proof.build((), ())


class _Case:
    """The inputs of one call of :func:`explain`; what does not depend on the statement is looked at once."""

    def __init__(self, proof: Proof, request: Request, facts: Facts, now: int) -> None:
        self._proof = proof
        self._request = request
        self._facts = facts
        self._now = now
        self._entities: dict[bytes, Finding] = {}
        self._signatures: dict[tuple[bytes, bytes], Finding] = {}

    def answer(self, statement: Statement, carried: Path, held: Iterable[bytes]) -> Answer:
        request = self._request
        if request.subject == request.namespace:
            root = self.entity("namespace", request.namespace)
            return Answer(statement, root.ok, (), 0, () if root.ok else (root.detail,), ())
        paths = list(dict.fromkeys((carried, *self._proof.paths) if carried else self._proof.paths))
        walks = tuple(self._walk(path, statement) for path in paths[: LIMITS.explained_paths])
        untold = len(paths) - len(walks)
        if any(walk.ok for walk in walks):
            return Answer(statement, True, walks, untold, (), ())
        missing: tuple[str, ...] = (
            f"a path from {short(request.namespace)} to {short(request.subject)} for {statement}",
        )
        if walks:
            nearest = min(walks, key=lambda walk: len(walk.faults))
            missing = tuple(dict.fromkeys(fault.detail for fault in nearest.faults))
        return Answer(statement, False, walks, untold, missing, self._givers(held))

    def _givers(self, held: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return the namespace and whoever else holds it, less the subject and those known to be dead."""
        request, facts = self._request, self._facts
        known = {request.namespace: None, **dict.fromkeys(held)}
        return tuple(
            identity
            for identity in known
            if identity not in (request.subject, EVERYBODY)
            and (identity not in facts.entities or self.entity("giver", identity).ok)
        )

    def _walk(self, path: Path, statement: Statement) -> Walk:
        hops = tuple(
            Hop(dot.id, dot.giver, dot.receiver, tuple(self._hop(path, place, statement)))
            for place, dot in enumerate(path)
        )
        end = path[-1].receiver
        arrival = [_ask("subject", lambda: self._arrives(end))]
        if end != EVERYBODY:
            arrival.append(self.entity("receiver", end))
        return Walk(hops, tuple(arrival))

    def _hop(self, path: Path, place: int, statement: Statement) -> Iterator[Finding]:
        dot = path[place]
        yield _ask("follows", lambda: self._follows(path, place))
        yield _ask("hops", lambda: _hops(path[: place + 1]))
        yield _ask(
            "scope", lambda: ", ".join(dict.fromkeys(_right_text(statement, r.pattern) for r in _over(dot, statement)))
        )
        conditions = _ask("conditions", lambda: self._conditions(dot, statement))
        if conditions.detail:
            yield conditions
        yield _ask("dot", lambda: self._alive(dot))
        yield self.entity("giver", dot.giver)
        signature = self._signature(dot)
        if signature is not None:
            yield signature

    def _follows(self, path: Path, place: int) -> str:
        """Ask of one hop what :func:`rules.follows` asks of a path, whatever the hops before it are like."""
        dot, namespace = path[place], self._request.namespace
        expected = path[place - 1].receiver if place else namespace
        if dot.namespace != namespace or expected == namespace:
            rules.follows((dot,), replace(self._request, subject=dot.receiver))
        elif dot.giver != expected:
            raise BrokenPath(
                f"DoT {short(dot.id)} is given by {short(dot.giver)}, and {short(expected)} held the right before it"
            )
        return f"given by {short(expected)}, who held it"

    def _arrives(self, end: bytes) -> str:
        rules.follows((), replace(self._request, namespace=end))
        return "everybody may" if end == EVERYBODY else f"ends at {short(end)}, who asks"

    def _conditions(self, dot: Dot, statement: Statement) -> str:
        """Return the conditions that held, or nothing where no right covers the statement and none were asked."""
        try:
            rights = _over(dot, statement)
        except WaveError:
            return ""
        rules.conditions_hold(rights, self._now, self._request.context)
        held = dict.fromkeys(str(condition) for right in rights for condition in right.conditions)
        return ", ".join(held)

    def _alive(self, dot: Dot) -> str:
        rules.dot_alive(dot, self._facts, self._now)
        return f"until {instant_text(dot.expires)}"

    def _record(self, identity: bytes) -> EntityFields:
        return rules.record_of(identity, self._proof.records, self._facts)

    def entity(self, role: str, identity: bytes) -> Finding:
        """Return what was found about an entity's record and life, under the name of the ``role`` that it plays."""
        found = self._entities.get(identity)
        if found is None:
            found = self._entities[identity] = _ask(role, lambda: self._lives(identity))
        return replace(found, rule=role)

    def _lives(self, identity: bytes) -> str:
        record = self._record(identity)
        rules.entity_alive(identity, record, self._facts, self._now)
        return f"{short(identity)} lives until {instant_text(record.expires)}"

    def _signature(self, dot: Dot) -> Finding | None:
        """Return what was found about a DoT's signature, or None where the giver's key is not known."""
        known = dot.body, dot.signature
        if known not in self._signatures:
            try:
                record = self._record(dot.giver)
            except WaveError:
                return None
            self._signatures[known] = _ask("signature", lambda: _signed(dot, record))
        return self._signatures[known]


def _ask(rule: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(rule, ok=True, code=OK, detail=check())
    except WaveError as error:
        return Finding(rule, ok=False, code=error.code, detail=error.message)


def _fresh(facts: Facts, now: int, max_staleness: int, at_least: int | None) -> str:
    rules.facts_fresh(facts, now, max_staleness, at_least)
    return f"block {facts.height}, {span_text(max(0, now - facts.time))} old"


def _hops(path: Path) -> str:
    rules.within_hops(path)
    left = path[0].indirections
    for dot in path[1:]:
        left = min(left - 1, dot.indirections)
    return f"{left} further hop" + ("" if left == 1 else "s")


def _over(dot: Dot, statement: Statement) -> list[Any]:
    return list(rules.rights_over(dot, statement))


def _right_text(statement: Statement, pattern: str) -> str:
    return f"{statement.permission} on {pattern}"


def _signed(dot: Dot, giver: EntityFields) -> str:
    dot.check(giver.verify_key)
    return f"signed by {short(dot.giver)}"


def _verdict(outcome: Grant | WaveError, answers: tuple[Answer, ...]) -> tuple[str, str, str]:
    """Return code, message and hint: the refusal's own hint, or else whom to ask."""
    if isinstance(outcome, Grant):
        wanted = ", ".join(str(statement) for statement in outcome.request.statements)
        return OK, f"{short(outcome.request.subject)} may {wanted} in {short(outcome.request.namespace)}", ""
    givers = dict.fromkeys(identity for answer in answers if not answer.ok for identity in answer.could_give)
    ask = f"ask {' or '.join(short(identity) for identity in givers)} for it" if givers else ""
    return outcome.code, outcome.message, outcome.hint or ask


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _digits(value: Number) -> str:
    """Return a number's text, the same for the same number of the same type; hexadecimal has no limit on digits."""
    return f"{value:x}" if isinstance(value, int) else repr(value)
