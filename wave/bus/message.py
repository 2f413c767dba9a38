"""The message: a signed object with which an entity does something on the bus, and the check that stands before it."""

from dataclasses import dataclass
from typing import Annotated, Final, Self

from wave.bus.rate import RateCounter
from wave.bus.replay import ReplayWindow
from wave.bus.values import contexts
from wave.codec import VERSION, Count, Format, Id, Record, Time, Version, amend, between, id_text, sha256
from wave.dots import rules
from wave.dots.cache import Verifier
from wave.dots.explain import decision_id
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.verify import Grant
from wave.entities import keys
from wave.entities.entity import EntityFields, EntitySecret
from wave.entities.object import MESSAGE, Certified, signing_input
from wave.errors import (
    BadTime,
    MessageStale,
    WaveError,
    WrongProof,
    WrongPurpose,
    WrongSender,
    WrongSubject,
)
from wave.limits import LIMITS
from wave.namespace.condition import Context
from wave.namespace.grant import check_permission
from wave.namespace.pattern import Pattern, resource

PUBLISH: Final = "publish"
SUBSCRIBE: Final = "subscribe"
NONCE_BYTES: Final = 16
JSON: Final = "application/json"


class MessageFields(Record, frozen=True):
    """The body of a message, in wire order. Times are UTC seconds."""

    version: Version
    sender: Id
    permission: Annotated[str, between(1, LIMITS.permission_characters)]
    namespace: Id
    resource: str
    content_type: Annotated[str, between(0, LIMITS.content_type_characters)]
    payload: bytes
    created: Time
    expires: Time
    sequence: Count
    nonce: Annotated[bytes, between(NONCE_BYTES, NONCE_BYTES)]
    proof: Id | None


_FORMAT = Format(MessageFields, "message", LIMITS.message_bytes)
_PREFIX = signing_input(MESSAGE, b"")


class Message(Certified):
    """What ``sender`` did, by a ``permission``, at ``resource`` of ``namespace``. ``Message.from_bytes`` is the way in.

    ``permission`` says which act was signed: a subscription (whose ``resource`` is a pattern) can never be shown as a
    publication. ``proof`` is the id of the proof that travels beside the message, or None when the records that the
    receiver has suffice. ``sequence`` counts the sender's messages, for whoever wants to see gaps.
    """

    __slots__ = (
        "content_type",
        "created",
        "expires",
        "fields",
        "id",
        "namespace",
        "nonce",
        "payload",
        "permission",
        "proof",
        "resource",
        "sender",
        "sequence",
    )

    KIND = MESSAGE

    def __init__(self, body: bytes, signature: bytes) -> None:
        """Parse ``body`` strictly; raises :class:`InputError`. The signature is looked at by :meth:`check` alone."""
        fields = _FORMAT.decode(body)
        check_permission(fields.permission, None)
        self.body = body
        self.signature = signature
        self.id = sha256(_PREFIX + body)
        self.fields = fields
        self.sender = fields.sender
        self.permission = fields.permission
        self.namespace = fields.namespace
        self.resource = Pattern(fields.resource) if fields.permission == SUBSCRIBE else resource(fields.resource)
        self.content_type = fields.content_type
        self.payload = fields.payload
        self.created = fields.created
        self.expires = fields.expires
        self.sequence = fields.sequence
        self.nonce = fields.nonce
        self.proof = fields.proof

    @classmethod
    def create(
        cls,
        sender: EntitySecret,
        *,
        permission: str,
        namespace: bytes,
        resource: str,
        payload: bytes,
        created: int,
        expires: int,
        nonce: bytes,
        content_type: str = JSON,
        sequence: int = 0,
        proof: bytes | None = None,
    ) -> Self:
        """Return a message signed by ``sender``; ``nonce`` is 16 bytes never used before, ``proof`` a proof's id.

        Raises :class:`BadTime`, :class:`BadPattern`, :class:`TooLarge`, :class:`Malformed`.
        """
        if not 0 < expires - created <= LIMITS.message_lifetime:
            raise BadTime(f"a message is valid for 1 to {LIMITS.message_lifetime} seconds, not {expires - created}")
        fields = MessageFields(
            VERSION,
            sender.id,
            permission,
            namespace,
            str(resource),
            content_type,
            payload,
            created,
            expires,
            sequence,
            nonce,
            proof,
        )
        body = _FORMAT.encode(fields)
        return cls(body, sender.sign(MESSAGE, body))

    def check(self, sender_key: bytes) -> None:
        """Raise :class:`BadSignature` unless the message is signed under the sender's key (32 bytes)."""
        keys.verify(sender_key, _PREFIX + self.body, self.signature)

    def requests(self) -> tuple[Request, ...]:
        """Return what the sender asks for: one request, or several when one value name has several values.

        All of them must be granted, so that a payload which sets two set points is held to the bounds with both.
        """
        return requests(
            self.sender, self.permission, self.namespace, self.resource, contexts(self.content_type, self.payload)
        )

    def __repr__(self) -> str:
        """Show the id, who and what."""
        return f"Message({id_text(self.id)}: {rules.short(self.sender)} {self.permission} {self.resource})"


def requests(
    subject: bytes, permission: str, namespace: bytes, pattern: Pattern, values: tuple[Context, ...]
) -> tuple[Request, ...]:
    """Return one request for each set of values."""
    statements = (Statement(permission, pattern),)
    return tuple(Request(subject, namespace, statements, context) for context in values)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message of which everything held: its grant, the sender's record and the decision's id, for the log."""

    message: Message
    proof: Proof
    grant: Grant
    sender: EntityFields
    decision: str


def within_time(message: Message, now: int) -> None:
    """Raise :class:`MessageStale` unless the message is inside its time, which is short."""
    if message.expires - message.created > LIMITS.message_lifetime:
        raise MessageStale(f"the message claims to be valid for more than {LIMITS.message_lifetime} seconds")
    if now >= message.expires:
        raise MessageStale(f"the message expired {now - message.expires} s ago")
    if message.created - now > LIMITS.clock_skew:
        raise MessageStale(f"the message was made {message.created - now} s in the future")


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
    return amend(grant, until=min(grant.until, record.expires)), record


def accept(
    message: Message,
    proof: Proof,
    facts: Facts,
    *,
    permission: str,
    now: int,
    seen: ReplayWindow,
    rates: RateCounter,
    verifier: Verifier | None = None,
    max_staleness: int = LIMITS.max_staleness,
) -> Accepted:
    """Return the message as :class:`Accepted`, or raise what is wrong with it; pure but for what it remembers.

    In this order: it was signed for this act (``permission``), is inside its time, was not seen before, names the proof
    beside it; its sender has the right, for every value in the payload; its signature is the sender's; the rates along
    the path are not used up. Only then are its nonce (in ``seen``) and its use (in ``rates``) remembered: what was
    refused takes nothing away. Raises :class:`Refused` and :class:`Unavailable` leaves, which carry a decision's id.
    """
    asked = message.requests()
    try:
        if message.permission != permission:
            raise WrongPurpose(f"the message was signed to {message.permission}, not to {permission}")
        within_time(message, now)
        seen.check(message.sender, message.nonce, created=message.created, expires=message.expires, now=now)
        if message.proof is not None and message.proof != proof.id:
            raise WrongProof("the message names another proof than the one beside it")
        grant, sender = authorized(verifier or Verifier(), asked, proof, facts, now=now, max_staleness=max_staleness)
        message.check(sender.verify_key)
        rates.count(grant, now)
    except WaveError as error:
        error.decision = decision_id(proof, asked[0], facts, now=now, outcome=error, act=message.id)
        raise
    seen.remember(message.sender, message.nonce, expires=message.expires)
    return Accepted(
        message, proof, grant, sender, decision_id(proof, asked[0], facts, now=now, outcome=grant, act=message.id)
    )


class Inbox:
    """All that one receiver remembers between messages: verdicts, nonces and counted uses."""

    def __init__(self, *, since: int = 0, verifier: Verifier | None = None, window: ReplayWindow | None = None) -> None:
        """Refuse what was made before ``since`` (UTC seconds): an earlier process may have accepted it already."""
        self.verifier = verifier or Verifier()
        self._seen = ReplayWindow(since=since) if window is None else window
        self._rates = RateCounter()

    def accept(self, message: Message, proof: Proof, facts: Facts, *, permission: str, now: int) -> Accepted:
        """Return the message as :class:`Accepted`, or raise as :func:`accept` does."""
        return accept(
            message,
            proof,
            facts,
            permission=permission,
            now=now,
            seen=self._seen,
            rates=self._rates,
            verifier=self.verifier,
        )
