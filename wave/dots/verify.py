"""The verdict: may this subject do this, says this proof, given these facts? Pure: no clock, no I/O, no global."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from wave.codec import Record, amend
from wave.dots import rules
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
ForgedCache: TypeAlias = MutableMapping[tuple[bytes, bytes], str]
"""What was said of signatures that were bad once and so stay bad, by object id and signature. Bounded likewise."""

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
    forged: ForgedCache | None = None,
) -> Grant:
    """Return the :class:`Grant` that ``proof`` gives ``request``, or raise what is wrong.

    ``now`` is in UTC seconds, as is ``facts.time``; facts older than ``max_staleness`` seconds, or below the height
    ``at_least``, raise :class:`Unavailable`. ``signatures`` and ``forged`` remember good and bad ones between calls and
    may be left out.
    Raises :class:`InputError` for bytes that are no proof and :class:`Refused` for a no.
    """
    if not isinstance(proof, Proof):
        proof = Proof(proof)
    if signatures is None and (len(request.statements) > 1 or len(proof.paths) > 1):
        signatures = {}  # statements and paths share DoTs, and each is checked once a call
    if request.subject == request.namespace:
        root = rules.living(request.namespace, proof.records, facts, now)
        rules.facts_fresh(facts, now, max_staleness, at_least)
        return Grant(
            request, ((),) * len(request.statements), {request.namespace: root}, facts.height, root.expires, ()
        )
    carried = []
    if forged is None:
        forged = {}
    for statement in request.statements:
        furthest: Refused | None = None
        for path in proof.paths:
            try:
                found = _unsigned(path, statement, request, proof.records, facts, now=now)
                rules.facts_fresh(facts, now, max_staleness, at_least)
                _signed(path, found.records, signatures, forged)
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


def _unsigned(
    path: Path,
    statement: Statement,
    request: Request,
    records: Mapping[bytes, EntityFields],
    facts: Facts,
    *,
    now: int,
) -> Grant:
    """Return the grant that ``path`` gives ``statement`` when rules 2 to 5 hold for it, signatures aside."""
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
    people: dict[bytes, EntityFields] = {}
    for dot in path:
        rules.dot_alive(dot, facts, now)
        if dot.expires < until:  # noqa: PLR1730 - quicker
            until = dot.expires
        people[dot.giver] = rules.living(dot.giver, records, facts, now)
    if dot.receiver != EVERYBODY:
        people[dot.receiver] = rules.living(dot.receiver, records, facts, now)
    for record in people.values():
        if record.expires < until:  # noqa: PLR1730 - quicker
            until = record.expires
    return Grant(request, (path,), people, facts.height, until, rates)


def _signed(
    path: Path, records: Mapping[bytes, EntityFields], known: SignatureCache | None, forged: ForgedCache
) -> None:
    """Raise :class:`BadSignature` unless each DoT verifies under its giver's key (rule 7), each looked at once."""
    for dot in path:
        if known is None:
            dot.check(records[dot.giver].verify_key)
            continue
        identity, signature = dot.id, dot.signature
        if known.get(identity) != signature:
            said = forged.get((identity, signature))
            if said is not None:
                raise BadSignature(said)
            try:
                dot.check(records[dot.giver].verify_key)
            except BadSignature as refusal:
                forged[identity, signature] = refusal.message
                raise
            known[identity] = signature
