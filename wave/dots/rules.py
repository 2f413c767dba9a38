"""The rules of the verdict, one function a rule: each returns what it found or raises the refusal it stands for.

:mod:`wave.dots.verify` asks them in order and stops at the first no; :mod:`wave.dots.explain` asks all of them.
"""

from collections.abc import Mapping
from typing import Final

from wave.codec import id_text
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.request import Request, Statement
from wave.entities.entity import EVERYBODY, EntityFields
from wave.errors import (
    BrokenPath,
    ConditionFailed,
    ConditionMissing,
    EntityExpired,
    EntityNotYetValid,
    EntityRevoked,
    Expired,
    FactsAhead,
    FactsBehind,
    MissingEntity,
    NotYetValid,
    OutOfScope,
    Revoked,
    StaleFacts,
    TooManyHops,
    WrongNamespace,
    WrongRoot,
    WrongSubject,
)
from wave.limits import LIMITS
from wave.namespace import condition
from wave.namespace.condition import RATE, Condition, Context
from wave.namespace.grant import Right
from wave.namespace.pattern import covers
from wave.times import instant_text, span_text

FOREVER: Final = LIMITS.latest_time
_NONE: Final[tuple[Condition, ...]] = ()
Path = tuple[Dot, ...]


def short(identity: bytes) -> str:
    """Return the first characters of an id, enough for a person to tell it from others."""
    return id_text(identity)[:8]


def follows(path: Path, request: Request) -> None:
    """Raise :class:`BrokenPath` (or a leaf) unless the DoTs lead, one after the other, from namespace to subject."""
    namespace = expected = request.namespace
    for dot in path:
        if dot.namespace != namespace:
            raise WrongNamespace(f"DoT {short(dot.id)} speaks of another namespace than the one asked about")
        if dot.giver != expected:
            raise _out_of_line(path, dot, expected, namespace)
        expected = dot.receiver
    if expected not in (request.subject, EVERYBODY):
        raise WrongSubject(
            f"the path ends at {short(expected)}, and {short(request.subject)} asks",
            hint="a proof serves the subject it was built for; build one for this subject",
        )


def _out_of_line(path: Path, dot: Dot, expected: bytes, namespace: bytes) -> BrokenPath:
    if path[0].giver != namespace:
        return WrongRoot(
            f"the path begins with {short(dot.giver)}, not with the namespace {short(namespace)}",
            hint="only the namespace's own key can begin a path; ask its owner for a grant",
        )
    return BrokenPath(
        f"DoT {short(dot.id)} is given by {short(dot.giver)}, and {short(expected)} held the right before it"
    )


def within_hops(path: Path) -> None:
    """Raise :class:`TooManyHops` when a giver before did not let its right travel as far as one of the DoTs."""
    allowed = path[0].indirections
    for dot in path[1:]:
        if allowed < 1:
            raise TooManyHops(
                f"{short(dot.giver)} may use what it holds and not hand it on, but gave DoT {short(dot.id)}",
                hint="ask for a DoT with more indirections",
            )
        allowed = min(allowed - 1, dot.indirections)


def rights_over(dot: Dot, statement: Statement) -> list[Right]:
    """Return the rights in ``dot`` that each cover the whole statement; :class:`OutOfScope` when there is none."""
    permission_set, permission, pattern = statement.permission_set, statement.permission, statement.pattern
    found = []
    for right in dot.grants:
        if (
            permission in right.permissions
            and right.permission_set == permission_set
            and covers(right.pattern, pattern)
        ):
            found.append(right)  # noqa: PERF401 - quicker for the one or two there are
    if not found:
        raise OutOfScope(f"DoT {short(dot.id)} does not give {statement}", hint="ask for a grant that covers it")
    return found


def conditions_hold(rights: list[Right], now: int, context: Context) -> tuple[int, tuple[Condition, ...]]:
    """Return until when one of ``rights`` holds, and its rates; :class:`ConditionFailed` when none does."""
    failure: ConditionFailed | None = None
    if not all(right.conditions for right in rights):
        return FOREVER, _NONE
    for right in rights:
        try:
            ends = [condition.check(one, now, context) for one in right.conditions]
        except ConditionFailed as error:
            if not isinstance(failure, ConditionMissing):  # which says what to add to the request
                failure = error
            continue
        rates = tuple(one for one in right.conditions if one.kind == RATE)
        return min((end for end in ends if end is not None), default=FOREVER), rates
    raise failure or ConditionFailed("no right whose conditions hold")


def dot_alive(dot: Dot, facts: Facts, now: int) -> None:
    """Raise :class:`Expired`, :class:`NotYetValid` or :class:`Revoked` unless the DoT holds at ``now``."""
    if now >= dot.expires:
        raise Expired(
            f"DoT {short(dot.id)} expired {span_text(now - dot.expires)} ago, at {instant_text(dot.expires)}",
            hint=f"ask {short(dot.giver)} for a new one",
        )
    if now < dot.created:
        raise NotYetValid(f"DoT {short(dot.id)} holds from {instant_text(dot.created)} on")
    for commitment in dot.commitments:
        if commitment in facts.revocations and facts.revocations[commitment] <= facts.height:
            raise Revoked(
                f"DoT {short(dot.id)} was revoked in block {facts.revocations[commitment]}",
                hint=f"ask {short(dot.giver)} for a new one",
            )


def entity_alive(identity: bytes, record: EntityFields, facts: Facts, now: int) -> None:
    """Raise unless an entity is inside its time and not revoked: :class:`EntityExpired` and its like."""
    if now >= record.expires:
        raise EntityExpired(f"entity {short(identity)} expired at {instant_text(record.expires)}")
    if now < record.created:
        raise EntityNotYetValid(f"entity {short(identity)} begins at {instant_text(record.created)}")
    for commitment in record.commitments:
        if commitment in facts.revocations and facts.revocations[commitment] <= facts.height:
            raise EntityRevoked(f"entity {short(identity)} was revoked in block {facts.revocations[commitment]}")


def record_of(identity: bytes, records: Mapping[bytes, EntityFields], facts: Facts) -> EntityFields:
    """Return an entity's record from the proof or the facts; :class:`MissingEntity` when neither has it."""
    record = records.get(identity)
    if record is not None:
        return record
    entity = facts.entities.get(identity)
    if entity is not None:
        return entity.fields
    raise MissingEntity(
        f"the record of entity {short(identity)} is neither in the proof nor in the registry",
        hint="publish it, or build the proof where it is known",
    )


def living(identity: bytes, records: Mapping[bytes, EntityFields], facts: Facts, now: int) -> EntityFields:
    """Return an entity's record, from the proof or the facts, when it is alive; raise as those two do."""
    record = records.get(identity) or record_of(identity, records, facts)
    entity_alive(identity, record, facts, now)
    return record


def facts_fresh(facts: Facts, now: int, max_staleness: int, at_least: int | None) -> None:
    """Raise :class:`StaleFacts`, :class:`FactsAhead` or :class:`FactsBehind` unless the facts are recent enough."""
    if now - facts.time > max_staleness:
        raise StaleFacts(f"the newest block seen is {span_text(now - facts.time)} old; {max_staleness} s are accepted")
    if facts.time - now > LIMITS.clock_skew:
        raise FactsAhead(f"the newest block seen is {span_text(facts.time - now)} in the future")
    if at_least is not None and facts.height < at_least:
        raise FactsBehind(f"block {at_least} is asked for, and the newest seen is {facts.height}")
