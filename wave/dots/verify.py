"""The verdict: may this subject do this, says this proof, given these facts? Pure: no clock, no I/O, no global."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Final

from wave.codec import Record, amend
from wave.dots import rules
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.rules import Path
from wave.entities.entity import EVERYBODY, EntityFields
from wave.errors import (
    BadSignature,
    BrokenPath,
    ConditionFailed,
    Expired,
    NoProof,
    NotYetValid,
    OutOfScope,
    Refused,
    Revoked,
    TooManyHops,
)
from wave.limits import LIMITS
from wave.namespace.condition import Condition

SignatureCache = MutableMapping[bytes, bytes]
"""Signatures that were good once and so stay good, by object id. Whoever passes one bounds it."""

_PROGRESS: Final[tuple[type[Refused] | tuple[type[Refused], ...], ...]] = (
    BrokenPath,
    TooManyHops,
    OutOfScope,
    ConditionFailed,
    (Expired, NotYetValid, Revoked),
    BadSignature,
)


@dataclass(frozen=True, slots=True)
class Rate:
    """A ``rate`` condition that whoever guards the action still has to count, for all that come by way of the DoT."""

    dot: bytes
    condition: Condition


class Grant(Record, frozen=True):
    """A yes: ``request`` may be done until the UTC second ``until``, as of block ``height``.

    ``paths`` holds for each statement the DoTs that carry it (none for the namespace's own acts), ``records`` what is
    said of everybody on them, by id.
    """

    request: Request
    paths: tuple[Path, ...]
    records: dict[bytes, EntityFields]
    height: int
    until: int
    rates: tuple[Rate, ...]

    @property
    def commitments(self) -> frozenset[bytes]:
        """All the commitments whose revocation would end the grant."""
        dots = [commitment for path in self.paths for dot in path for commitment in dot.commitments]
        return frozenset(dots + [commitment for record in self.records.values() for commitment in record.commitments])


def verify(
    proof: Proof | bytes,
    request: Request,
    facts: Facts,
    *,
    now: int,
    max_staleness: int = LIMITS.max_staleness,
    at_least: int | None = None,
    signatures: SignatureCache | None = None,
) -> Grant:
    """Return the :class:`Grant` that ``proof`` gives ``request``, or raise what is wrong.

    ``now`` is in UTC seconds, as is ``facts.time``; facts older than ``max_staleness`` seconds, or below the height
    ``at_least``, raise :class:`Unavailable`. ``signatures`` remembers good ones between calls and may be left out.
    Raises :class:`InputError` for bytes that are no proof and :class:`Refused` for a no.
    """
    if not isinstance(proof, Proof):
        proof = Proof(proof)
    if signatures is None and (len(request.statements) > 1 or len(proof.paths) > 1):
        signatures = {}  # statements and paths share DoTs, and each is checked once a call
    case = _Case(proof.records, request, facts, now)
    if request.subject == request.namespace:
        root = case.living(request.namespace)
        rules.facts_fresh(facts, now, max_staleness, at_least)
        return Grant(
            request, ((),) * len(request.statements), {request.namespace: root}, facts.height, root.expires, ()
        )
    carried = []
    for statement in request.statements:
        furthest: Refused | None = None
        for path in proof.paths:
            try:
                found = case.unsigned(path, statement)
                rules.facts_fresh(facts, now, max_staleness, at_least)
                for dot in path:
                    case.signed(dot, signatures)
            except Refused as refusal:
                if furthest is None or _progress(refusal) > _progress(furthest):
                    furthest = refusal
            else:
                carried.append(found)
                break
        else:
            raise furthest or NoProof(f"nothing shows that {rules.short(request.subject)} may {statement}")
    return carried[0] if len(carried) == 1 else _together(carried)


def _progress(refusal: Refused) -> int:
    """Return how far down the rules a path came before it was refused."""
    return next((place for place, kind in enumerate(_PROGRESS) if isinstance(refusal, kind)), len(_PROGRESS))


def _together(grants: list[Grant]) -> Grant:
    """Return the grant for a whole request, given one for each of its statements."""
    first = grants[0]
    return amend(
        first,
        paths=tuple([path for grant in grants for path in grant.paths]),
        records={identity: record for grant in grants for identity, record in grant.records.items()},
        until=min(grant.until for grant in grants),
        rates=tuple(dict.fromkeys(rate for grant in grants for rate in grant.rates)),
    )


class _Case:
    """The inputs of one call of :func:`verify`, and the entities found alive on the way."""

    __slots__ = ("_alive", "_facts", "_forged", "_now", "_records", "_request")

    def __init__(self, records: Mapping[bytes, EntityFields], request: Request, facts: Facts, now: int) -> None:
        self._records = records
        self._request = request
        self._facts = facts
        self._now = now
        self._alive: dict[bytes, EntityFields] = {}
        self._forged: dict[Dot, BadSignature] = {}

    def living(self, identity: bytes) -> EntityFields:
        """Return a living entity's record, each looked at once (rule 5)."""
        record = self._alive.get(identity)
        if record is None:
            record = rules.record_of(identity, self._records, self._facts)
            rules.entity_alive(identity, record, self._facts, self._now)
            self._alive[identity] = record
        return record

    def unsigned(self, path: Path, statement: Statement) -> Grant:
        """Return the grant that ``path`` gives ``statement`` when rules 2 to 5 hold for it, signatures aside."""
        now, facts, request = self._now, self._facts, self._request
        rules.follows(path, request)
        if len(path) > 1:
            rules.within_hops(path)
        until = rules.FOREVER
        conditional = []
        for dot in path:
            rights = rules.rights_over(dot, statement)
            if rights[0].conditions:
                conditional.append((dot, rights))
        rates: tuple[Rate, ...] = ()
        for dot, rights in conditional:
            end, counted = rules.conditions_hold(rights, now, request.context)
            until = min(until, end)
            rates += tuple([Rate(dot.id, condition) for condition in counted])
        people = {}
        for dot in path:
            rules.dot_alive(dot, facts, now)
            if dot.expires < until:  # noqa: PLR1730 - quicker
                until = dot.expires
            people[dot.giver] = self.living(dot.giver)
        if dot.receiver != EVERYBODY:
            people[dot.receiver] = self.living(dot.receiver)
        for record in people.values():
            if record.expires < until:  # noqa: PLR1730 - quicker
                until = record.expires
        return Grant(request, (path,), people, facts.height, until, rates)

    def signed(self, dot: Dot, known: SignatureCache | None) -> None:
        """Raise :class:`BadSignature` unless the DoT verifies under its giver's key (rule 7)."""
        if known is None:
            dot.check(self._alive[dot.giver].verify_key)
        elif known.get(dot.id) != dot.signature:
            self._check_once(dot)
            known[dot.id] = dot.signature

    def _check_once(self, dot: Dot) -> None:
        """Check a signature, and a bad one only once, however many paths it stands on."""
        if dot in self._forged:
            raise self._forged[dot]
        try:
            dot.check(self._alive[dot.giver].verify_key)
        except BadSignature as refusal:
            self._forged[dot] = refusal
            raise
