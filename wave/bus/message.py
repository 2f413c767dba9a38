"""The message: a signed object with which an entity does something on the bus, and the check that stands before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Self

from wave.agent.metrics import counted
from wave.bus.fields import (
    FORMAT,
    JSON,
    LIST,
    NONCE_BYTES,
    PUBLISH,
    QUERY,
    ROUTE,
    SUBSCRIBE,
    MessageFields,
    Payload,
    body_of,
    lifetime_allowed,
)
from wave.bus.marks import Marks
from wave.bus.order import Newest, Succession, Twins
from wave.bus.rate import RateCounter
from wave.bus.replay import ReplayWindow
from wave.bus.sheaf import KnownRoots, Place, places, sheaf_body
from wave.bus.values import contexts
from wave.codec import Format, Record, Signature, amend, id_text, sha256
from wave.dots import rules
from wave.dots.cache import LeastRecent, Verifier
from wave.dots.explain import decision_id
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.verify import Grant
from wave.entities import keys
from wave.entities.entity import EntityFields, EntitySecret
from wave.entities.object import MESSAGE, SHEAF, Certified, decode_object, signing_input
from wave.errors import MessageStale, WaveError, WrongKind, WrongProof, WrongPurpose, WrongSender, WrongSubject
from wave.limits import LIMITS
from wave.namespace.condition import VALUE, Context
from wave.namespace.grant import check_permission
from wave.namespace.pattern import Pattern, resource
from wave.times import span_text

__all__ = [
    "JSON",
    "LIST",
    "NONCE_BYTES",
    "PUBLISH",
    "QUERY",
    "ROUTE",
    "SUBSCRIBE",
    "Accepted",
    "Inbox",
    "Message",
    "MessageFields",
    "Payload",
    "authorized",
    "body_of",
    "bounds_values",
    "lifetime_allowed",
    "requests",
    "within_time",
]

_OF_PATTERNS: Final = (SUBSCRIBE, QUERY, LIST)


class _Bound(Record, frozen=True):
    """A message of a sheaf as it travels: an object whose signature is the sheaf's, and its place there."""

    kind: Literal["sheaf"]
    body: bytes
    signature: Signature
    place: Place


_BOUND = Format(_Bound, "message of a sheaf", LIMITS.message_bytes)
_BOUND_HEAD = b"\x94\xa5sheaf"
_PREFIX = signing_input(MESSAGE, b"")


class Message(Certified):
    """What ``sender`` did, by a ``permission``, at ``resource`` of ``namespace``. ``Message.from_bytes`` is the way in.

    ``permission`` says which act was signed: a subscription (whose ``resource`` is a pattern) can never be shown as a
    publication. ``persist`` asks whoever carries it to keep it as the resource's last value. ``proof`` is the id of the
    proof that travels beside the message, or None when the records that the receiver has suffice. ``sequence`` counts
    the sender's messages, for whoever wants to see gaps. ``place`` is None when the signature is of the message alone.
    """

    __slots__ = (
        "created",
        "expires",
        "fields",
        "id",
        "namespace",
        "nonce",
        "payloads",
        "permission",
        "persist",
        "place",
        "proof",
        "resource",
        "sender",
        "sequence",
    )

    KIND = MESSAGE

    def __init__(self, body: bytes, signature: bytes, place: Place | None = None) -> None:
        """Parse ``body`` strictly; raises :class:`InputError`. The signature is looked at by :meth:`check` alone."""
        fields = FORMAT.decode(body)
        check_permission(fields.permission, None)
        self.body = body
        self.signature = signature
        self.place = place
        self.id = sha256(_PREFIX + body)
        self.fields = fields
        self.sender = fields.sender
        self.permission = fields.permission
        self.namespace = fields.namespace
        self.resource = Pattern(fields.resource) if fields.permission in _OF_PATTERNS else resource(fields.resource)
        self.payloads = fields.payloads
        self.persist = fields.persist
        self.created = fields.created
        self.expires = fields.expires
        self.sequence = fields.sequence
        self.nonce = fields.nonce
        self.proof = fields.proof

    @classmethod
    def create(cls, sender: EntitySecret, **fields: Any) -> Self:
        """Return a message signed by ``sender``, made of the fields of :func:`body_of`, which says what it raises."""
        return cls.signed(sender, [body_of(sender.id, **fields)])[0]

    @classmethod
    def signed(cls, sender: EntitySecret, bodies: Sequence[bytes]) -> tuple[Self, ...]:
        """Return the messages of these bodies (at most ``LIMITS.sheaf_messages``): one signature for all of them."""
        if len(bodies) == 1:
            return (cls(bodies[0], sender.sign(MESSAGE, bodies[0])),)
        found = places([sha256(_PREFIX + body) for body in bodies])
        signature = sender.sign(SHEAF, sheaf_body(found[0].root, found[0].count))
        return tuple([cls(body, signature, place) for body, place in zip(bodies, found, strict=True)])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the message in ``data``, signed alone or in a sheaf; :class:`InputError` when it is not one."""
        if data.startswith(_BOUND_HEAD):
            bound = _BOUND.decode(data)
            return cls(bound.body, bound.signature, bound.place)
        signed = decode_object(data, bound=LIMITS.message_bytes)
        if signed.kind != MESSAGE:
            raise WrongKind(f"this is an object of kind {signed.kind!r}, not {MESSAGE!r}")
        return cls(signed.body, signed.signature)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes; :class:`TooLarge`."""
        if self.place is None:
            return super().to_bytes()
        return _BOUND.encode(_Bound(SHEAF, self.body, self.signature, self.place))

    def check(self, sender_key: bytes, known: KnownRoots | None = None) -> None:
        """Raise :class:`BadSignature` unless the message is signed under the sender's key (32 bytes).

        ``known`` remembers the good signatures of sheaves; whoever passes it bounds it.
        """
        if self.place is None:
            keys.verify(sender_key, _PREFIX + self.body, self.signature)
        else:
            self.place.check(self.id, sender_key, self.signature, {} if known is None else known)

    @property
    def content_type(self) -> str:
        """The first payload's content type."""
        return self.payloads[0].content_type

    @property
    def payload(self) -> bytes:
        """The first payload's bytes."""
        return self.payloads[0].data

    def requests(self) -> tuple[Request, ...]:
        """Return what the sender asks for: one request, or several when one value name has several values.

        All of them must be granted, so that a payload which sets two set points is held to the bounds with both, and
        so is each of several payloads.
        """
        return requests(self.sender, self.permission, self.namespace, self.resource, values_in(self.payloads))

    def __repr__(self) -> str:
        """Show the id, who and what."""
        return f"Message({id_text(self.id)}: {rules.short(self.sender)} {self.permission} {self.resource})"


def values_in(payloads: Sequence[Payload]) -> tuple[Context, ...]:
    """Return the sets of named values in all the payloads, each once."""
    if len(payloads) == 1:
        return contexts(payloads[0].content_type, payloads[0].data)
    found: list[Context] = []
    for payload in payloads:
        found += [one for one in contexts(payload.content_type, payload.data) if one not in found]
    return tuple(found)


def requests(
    subject: bytes, permission: str, namespace: bytes, pattern: Pattern, values: tuple[Context, ...]
) -> tuple[Request, ...]:
    """Return one request for each set of values."""
    statements = (Statement(permission, pattern),)
    return tuple(Request(subject, namespace, statements, context) for context in values)


# The check ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message of which everything held: its grant and the sender's record, and by which facts and when.

    ``serial`` is the carrier's number of it (0 when it has none); ``kept`` tells that it was not heard live.
    """

    message: Message
    proof: Proof
    grant: Grant
    sender: EntityFields
    facts: Facts
    now: int
    serial: int = 0
    kept: bool = False

    @property
    def decision(self) -> str:
        """The decision's id, for the log: the same whenever it is asked for."""
        asked = self.message.requests()[0]
        return decision_id(self.proof, asked, self.facts, now=self.now, outcome=self.grant, act=self.message.id)


def within_time(message: Message, now: int, *, kept: bool = False) -> None:
    """Raise :class:`MessageStale` unless the message is inside its time and, if it is not one that was kept, new."""
    allowed = lifetime_allowed(persist=message.persist)
    if message.expires - message.created > allowed:
        raise MessageStale(f"the message claims to be valid for more than {allowed} seconds")
    behind = now - message.created
    if -behind > LIMITS.clock_skew:
        raise MessageStale(
            f"the message was made {-behind} s in the future: the clocks of its sender and its receiver differ by "
            f"{span_text(-behind)} or more"
        )
    if kept:
        if now >= message.expires:
            raise MessageStale(f"the message expired {now - message.expires} s ago")
        return
    if now >= message.expires or behind > LIMITS.message_lifetime:
        raise MessageStale(
            f"the message was made {span_text(behind)} ago and is no longer valid: it was held back, or the clocks of "
            "its sender and its receiver differ by about as much"
        )


def authorized(
    verifier: Verifier,
    asked: tuple[Request, ...],
    proof: Proof,
    facts: Facts,
    *,
    now: int,
    max_staleness: int = LIMITS.max_staleness,
) -> tuple[Grant, EntityFields]:
    """Return what all of ``asked`` (by one subject) are granted, together, and the subject's living record.

    A path to everybody does not name the subject, whose own record must be alive all the same.
    """
    subject = asked[0].subject
    try:
        grants = [verifier.verify(proof, one, facts, now=now, max_staleness=max_staleness) for one in asked]
    except WrongSubject as error:
        raise WrongSender(error.message, hint=error.hint) from None
    record = rules.living(subject, proof.records, facts, now)
    grant = grants[0]
    if len(grants) > 1:
        grant = amend(
            grant,
            paths=tuple([path for one in grants for path in one.paths]),
            records={identity: record for one in grants for identity, record in one.records.items()},
            until=min(one.until for one in grants),
            rates=tuple(dict.fromkeys(rate for one in grants for rate in one.rates)),
        )
    return grant if grant.until <= record.expires else amend(grant, until=record.expires), record


class _Right(NamedTuple):
    """What a sender was found to hold by these very facts in that second."""

    facts: Facts
    now: int
    grant: Grant
    sender: EntityFields


class Inbox:
    """All that one receiver remembers between messages: verdicts, nonces, counted uses and what is newest."""

    def __init__(
        self,
        *,
        since: int = 0,
        verifier: Verifier | None = None,
        window: ReplayWindow | None = None,
        marks: Marks | None = None,
    ) -> None:
        """Refuse what an earlier process may have accepted already.

        ``marks`` say what that was, and outlive this process too; without them it is whatever was made before
        ``since`` (UTC seconds).
        """
        self.verifier = verifier or Verifier()
        self.newest = Newest()
        self.given = Succession()
        self._seen = ReplayWindow(since=since, marks=marks) if window is None else window
        self._rates = RateCounter()
        self._twins = Twins()
        self._roots: KnownRoots = LeastRecent(LIMITS.sheaves_known)
        self._valued: LeastRecent[bytes, bool] = LeastRecent(LIMITS.proofs_known)
        self._rights: LeastRecent[tuple[bytes | str, ...], _Right] = LeastRecent(LIMITS.rights_known)

    @counted
    def accept(
        self,
        message: Message,
        proof: Proof,
        facts: Facts,
        *,
        permission: str,
        now: int,
        kept: bool = False,
        history: bool = False,
        missed: bool = False,
        challenged: bool = False,
        serial: int = 0,
    ) -> Accepted:
        """Return the message as :class:`Accepted`, or raise what is wrong with it.

        In this order: it was signed for this act (``permission``), is inside its time, was not seen before, names the
        proof beside it; its sender has the right, for every value in the payloads; its signature is the sender's; the
        rates along the path are not used up. Only then are its nonce and its use remembered: what was refused takes
        nothing away. Raises :class:`Refused` and :class:`Unavailable` leaves, which carry a decision's id.

        A message that is to be kept must not be older than one seen at its resource (:attr:`newest`), unless what is
        looked at is the ``history``. One that is shown as ``kept`` may be old, and may come again: whoever acts on it
        asks :attr:`given`. One that was ``missed`` is refused if an earlier process may have accepted it; one that is
        ``challenged`` carries a challenge that this process drew, so that no earlier process can have.
        """
        try:
            if message.permission != permission:
                raise WrongPurpose(f"the message was signed to {message.permission}, not to {permission}")
            within_time(message, now, kept=kept)
            if message.persist and not history:
                self.newest.check(message.fields)
            if not kept:
                self._seen.check(message.fields, now, challenged=challenged)
            else:
                _to_be_kept(message)
                if missed:
                    self._seen.of_this_life(message.fields)
            if message.proof is not None and message.proof != proof.id:
                raise WrongProof("the message names another proof than the one beside it")
            grant, sender = self._authorized(message, proof, facts, now)
            message.check(sender.verify_key, self._roots)
            if not kept:
                self._rates.count(grant, now)
                self._seen.remember(message.fields, marked=not challenged)
        except WaveError as error:
            error.decision = decision_id(proof, _plainly(message), facts, now=now, outcome=error, act=message.id)
            raise
        if message.persist:
            self.newest.remember(message.fields)
        if not kept:
            self._twins.watch(message.fields, now)
        return Accepted(message, proof, grant, sender, facts, now, serial, kept)

    def _authorized(self, message: Message, proof: Proof, facts: Facts, now: int) -> tuple[Grant, EntityFields]:
        """Return the sender's grant and record; looked at once for all messages alike, by the same facts and second."""
        identity = proof.id
        valued = self._valued.get(identity)
        if valued is None:
            valued = self._valued[identity] = bounds_values(proof)
        if valued:
            return authorized(self.verifier, message.requests(), proof, facts, now=now)
        key = (identity, message.sender, message.namespace, message.permission, message.resource)
        known = self._rights.get(key)
        if known is None or known.facts is not facts or known.now != now:
            known = _Right(facts, now, *authorized(self.verifier, (_plainly(message),), proof, facts, now=now))
            self._rights[key] = known
        return known.grant, known.sender


def bounds_values(proof: Proof) -> bool:
    """Tell whether a condition somewhere in the proof is about values; if not, what a payload says is all the same."""
    conditions = [right.conditions for path in proof.paths for dot in path for right in dot.grants if right.conditions]
    return any(condition.kind == VALUE for several in conditions for condition in several)


def _to_be_kept(message: Message) -> None:
    if not message.persist:
        raise WrongPurpose("the message is shown as one that was kept, and its sender did not ask for that")


def _plainly(message: Message) -> Request:
    """Return what the sender asks for, values aside."""
    return requests(message.sender, message.permission, message.namespace, message.resource, ({},))[0]
