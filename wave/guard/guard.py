"""The guard: stands before an endpoint and lets a request through when its sender may do what the request does."""

import base64
import binascii
import hmac
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Hashable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from wave.bus.fields import MessageFields
from wave.bus.marks import Marks
from wave.bus.message import Accepted, Inbox, Message, authorized
from wave.bus.rate import RateCounter
from wave.bus.replay import ReplayWindow
from wave.bus.values import contexts, read_json
from wave.codec import VERSION, id_text, parse_id, sha256
from wave.dots import rules as verdict
from wave.dots.cache import Verifier
from wave.dots.explain import decision_id, explain
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.verify import Grant
from wave.entities import keys
from wave.entities.entity import EntityFields
from wave.errors import (
    BadHttpSignature,
    BadPayload,
    BadSetting,
    BeforeRestart,
    BodyTooLarge,
    MessageStale,
    Refused,
    WaveError,
    WrongAuthority,
    WrongProof,
    WrongPurpose,
)
from wave.guard.refusal import Answer, refusal
from wave.guard.rules import Rule, Rules, Wanted
from wave.guard.session import SESSION_PATH, Held, Sessions, parse_half
from wave.guard.shown import ProofsShown, Shown, by_id
from wave.guard.signature import (
    NONCE_BYTES,
    PROOF_HEADER,
    SESSION_HEADER,
    HttpRequest,
    Signed,
    beginning,
    check_age,
    check_digest,
    nonce_text,
    normal_authority,
    read,
)
from wave.limits import LIMITS
from wave.namespace.condition import Context
from wave.namespace.pattern import resource

FactsSource: TypeAlias = Callable[[], Awaitable[Facts]]
"""Gives the newest facts; :meth:`wave.agent.client.FactsFeed.facts` is one."""
Recorder: TypeAlias = Callable[[Mapping[str, Any]], None]
"""Hears of each decision; :meth:`wave.guard.log.DecisionLog.write` is one."""

_DRAWN: Final = 6  # bytes of a challenge's nonce; the others show that this process drew it

_log = logging.getLogger(__name__)


class Caller(NamedTuple):
    """Who asks, and by which right: what a handler is told of a request that was let through.

    ``identity`` is the sender's id (32 bytes), ``grant`` the verdict with the DoTs that it rests on and the second
    ``grant.until`` up to which it holds. The rest is what the guard decided by.
    """

    identity: bytes
    grant: Grant
    shown: Shown
    facts: Facts
    now: int
    act: bytes

    @property
    def id(self) -> str:
        """The sender's id as text."""
        return id_text(self.identity)

    @property
    def decision(self) -> str:
        """The decision's id, for the log: the same whenever it is asked for."""
        return decision_id(
            self.shown.proof, self.grant.request, self.facts, now=self.now, outcome=self.grant, act=sha256(self.act)
        )


_caller = tuple.__new__  # as Caller(…) does, without a call of its own


class _Place(NamedTuple):
    """What requests to one place have in common: what they want, and how that begins which they sign."""

    wanted: Wanted
    beginning: str


class Guard:
    """A namespace's rules, and all that is remembered between requests. For one thread."""

    def __init__(
        self,
        namespace: bytes,
        rules: Rules | Sequence[Rule],
        *,
        facts: FactsSource,
        authorities: Collection[str],
        realm: str = "wave",
        clock: Callable[[], float] = time.time,
        draw: Callable[[int], bytes] = os.urandom,
        verifier: Verifier | None = None,
        marks: Marks | None = None,
        record: Recorder | None = None,
        body_bytes: int = LIMITS.http_body_bytes,
        max_staleness: int = LIMITS.max_staleness,
        dry_run: bool = False,
    ) -> None:
        """Guard what stands in ``namespace`` (an id) by ``rules``.

        ``authorities`` are the hosts (with their ports) by which clients name this service: what was signed for another
        one is refused. What was signed before this process began is refused too, unless ``marks`` say what an earlier
        one accepted. ``dry_run`` lets everything through, and logs what it would refuse. :class:`BadSetting`.
        """
        if not authorities:
            raise BadSetting("a guard needs the names by which its service is reached", hint="such as localhost:8000")
        self.namespace = namespace
        self.rules = rules if isinstance(rules, Rules) else Rules(rules)
        self.body_bytes = body_bytes
        self.dry_run = dry_run
        self.sessions = Sessions()
        self._facts = facts
        self._authorities = frozenset(one.lower().removesuffix(":80").removesuffix(":443") for one in authorities)
        self._realm = realm
        self._clock = clock
        self._draw = draw
        self._own = draw(32)
        self._verifier = verifier or Verifier()
        self._window = ReplayWindow(since=int(clock()), marks=marks)
        self._inbox = Inbox(since=int(clock()), verifier=self._verifier, marks=marks)
        self._rates = RateCounter()
        self._shown = ProofsShown()
        self._rights: dict[tuple[bytes, bytes, Wanted], tuple[Grant, EntityFields]] = {}
        self._rights_by: Facts | None = None
        self._rights_at = -1
        self._places: dict[Hashable, _Place] = {}
        self._record = record
        self._max_staleness = max_staleness
        if dry_run:
            _log.warning("the guard refuses nothing: it only says what it would refuse")

    # What adapters call -------------------------------------------------------------------------------------------

    async def again(self, place: Hashable, given: str, body: bytes) -> Caller | None:
        """Return who asks in a session (``given`` is its header), if another request to that place was let through.

        None for all others, good or bad: they are for :meth:`enter`. ``place`` stands for method, authority, path and
        query as an adapter has them at hand, and was given to :meth:`enter` for the other request.
        """
        known = self._places.get(place)
        if known is None or len(body) > self.body_bytes:
            return None
        try:
            facts = await self._facts()
            now, wanted = int(self._clock()), known.wanted
            session, number, act = self.sessions.check(given, known.beginning, body, now)
            held = session.held
            if held is None or held.wanted is not wanted or held.facts is not facts or held.now != now:
                grant, _ = self._held(session.sender, session.shown, wanted, facts, now)
                if grant.rates:  # they are counted there
                    return None
                held = session.held = Held(facts, now, wanted, grant)
        except WaveError:
            return None
        session.remember(number)
        return _caller(Caller, (session.sender, held.grant, session.shown, facts, now, act))

    def enter(self, request: HttpRequest, place: Hashable = None) -> Coroutine[Any, Any, Caller | None]:
        """Return who asks, or None for what anybody may ask (and for what a dry run would refuse); else raise.

        With a ``place``, requests of the same session to it are for :meth:`again`.
        """
        if self.dry_run or (request.method, request.path) in self.rules.public:
            return self._unrefused(request)
        return self.admit(request, place)

    async def _unrefused(self, request: HttpRequest) -> Caller | None:
        """Return who asks in a dry run, where that can be told, and None for what anybody may ask."""
        if (request.method, request.path) in self.rules.public:
            return None
        try:
            return await self.admit(request)
        except WaveError as error:
            _log.warning("would refuse %s %s: %s (%s)", request.method, request.path[:200], error.message, error.code)
            return None

    async def admit(self, request: HttpRequest, place: Hashable = None) -> Caller:
        """Return who asks, or raise what is wrong.

        In this order: a rule maps the request; it is within bounds; its signature has its form and its time; it did not
        come before; its body is the one that was signed; the proof gives its sender the right, for every value in the
        body; the signature is the sender's; the rates along the path are not used up. Only then is it remembered: what
        was refused takes nothing away. Raises :class:`Refused` and :class:`Unavailable` leaves with a decision's id.
        """
        now = int(self._clock())
        wanted = None
        try:
            wanted = self.rules.wanted(request.method, request.path)
            if SESSION_HEADER in request.headers:
                self._check_size(request)
                self._check_meant(request)
                caller = self._continued(request, wanted, await self._facts(), now, place)
            else:
                signed = self._screened(request, now)
                caller = self._judged(request, wanted, signed, await self._facts(), now)
        except WaveError as error:
            self._note(request.method, request.path, wanted, error, now)
            raise
        if self._record is not None:
            self._note(request.method, request.path, wanted, caller, now)
        return caller

    async def begin_session(self, request: HttpRequest) -> Answer:
        """Return the answer to a handshake: a session for whoever may make the request that the body names; or raise.

        The body is a JSON object of ``exchange`` (the sender's half of the key), ``method`` and ``path``, and maybe the
        ``proof`` in the form of the header, for one too long for a header; the header then names it by its id.
        """
        now = int(self._clock())
        wanted = None
        try:
            signed = self._screened(request, now)
            half, wanted, shown = self._opening(request)
            caller = self._judged(request, wanted, signed, await self._facts(), now, shown=shown, opens=True)
            until = min(now + LIMITS.session_lifetime, caller.grant.until)
            drawn = self._draw(NONCE_BYTES)
            identity, ours = self.sessions.begin(
                caller.identity, caller.shown, half, signed.base, until=until, drawn=drawn
            )
        except WaveError as error:
            self._note(request.method, request.path, wanted, error, now)
            raise
        self._note(request.method, request.path, wanted, caller, now)
        body = json.dumps({"session": identity, "exchange": ours, "until": until}).encode("ascii")
        return Answer(200, {"Content-Type": "application/json", "Cache-Control": "no-store"}, body)

    async def admit_call(self, message: Message, proof: Proof, permission: str) -> Accepted:
        """Return a signed call (:mod:`wave.guard.decorator`) of which all holds, or raise as the bus does."""
        now = int(self._clock())
        if message.namespace != self.namespace:
            raise WrongPurpose("the call was signed for another namespace")
        return self._inbox.accept(message, proof, await self._facts(), permission=permission, now=now)

    async def may(self, caller: Caller, permission: str, where: str, permission_set: bytes | None = None) -> Grant:
        """Return what lets ``caller`` do a further thing by the same proof, or raise; for requests about several."""
        grant = await self._ask(caller, Statement(permission, resource(where), permission_set), {})
        self._rates.count(grant, int(self._clock()))
        return grant

    async def still(self, caller: Caller) -> Grant:
        """Return what still lets ``caller`` do what its request was let through for, or raise; for long answers."""
        request = caller.grant.request
        return await self._ask(caller, request.statements[0], request.context)

    def refusal(self, method: str, path: str, error: WaveError) -> Answer:
        """Return the answer to a request that was refused, here or on its way here; ``path`` is as sent."""
        try:
            wanted = self.rules.wanted(method, path)
        except Refused:
            wanted = None
        if error.decision is None:
            with suppress(WaveError):  # it is refused anyway
                self._note(method, path, wanted, error, int(self._clock()))
        return refusal(error, realm=self._realm, namespace=self.namespace, wanted=wanted, nonce=self._challenge())

    # How it decides -----------------------------------------------------------------------------------------------

    def _check_size(self, request: HttpRequest) -> None:
        if len(request.body) > self.body_bytes:
            raise BodyTooLarge(f"a body of {len(request.body)} bytes; at most {self.body_bytes} are accepted")

    def _check_meant(self, request: HttpRequest) -> None:
        if normal_authority(request.scheme, request.authority) not in self._authorities:
            raise WrongAuthority(
                f"this service is not {request.authority[:80]!r}",
                hint=f"name it as {' or '.join(sorted(self._authorities))}",
            )

    def _screened(self, request: HttpRequest, now: int) -> Signed:
        """Return the signature of a request that is worth asking facts for."""
        self._check_size(request)
        signed = read(request)
        if not 0 < signed.expires - signed.created <= LIMITS.message_lifetime:
            raise MessageStale(
                f"a request is valid for 1 to {LIMITS.message_lifetime} seconds, by its created and expires"
            )
        check_age(signed.created, signed.expires, now)
        self._check_meant(request)
        return signed

    def _judged(
        self,
        request: HttpRequest,
        wanted: Wanted,
        signed: Signed,
        facts: Facts,
        now: int,
        *,
        shown: Shown | None = None,
        opens: bool = False,
    ) -> Caller:
        """Return the sender of a request if it may; nothing is awaited between looking and remembering."""
        proof_header = request.headers[PROOF_HEADER]
        sender = _identity(signed.key)
        try:
            fields = _fields(signed, sender, self.namespace)
            self._new(fields, now)
            check_digest(request)
            shown = shown or self._shown.find(proof_header)
            grant, record = self._right(sender, shown, wanted, request, facts, now=now)
            keys.verify(record.verify_key, signed.base, signed.value)
            if grant.rates and not opens:
                self._rates.count(grant, now)
            self._window.remember(fields)
            self._shown.keep(proof_header, shown)
        except WaveError as error:
            if shown is not None:
                asked = _asked(sender, self.namespace, wanted, {})
                self._explain(error, asked, shown.proof, facts, now, act=signed.base, signature=signed.value)
            raise
        return Caller(sender, grant, shown, facts, now, signed.base)

    def _continued(self, request: HttpRequest, wanted: Wanted, facts: Facts, now: int, place: Hashable) -> Caller:
        """Return the sender of a request in a session, if it may; nothing is awaited from looking to remembering."""
        begun = beginning(request)
        session, number, act = self.sessions.check(request.headers[SESSION_HEADER], begun, request.body, now)
        sender, shown = session.sender, session.shown
        try:
            grant, _ = self._right(sender, shown, wanted, request, facts, now=now)
            if grant.rates:
                self._rates.count(grant, now)
        except WaveError as error:
            asked = _asked(sender, self.namespace, wanted, {})
            self._explain(error, asked, shown.proof, facts, now, act=act)
            raise
        session.remember(number)
        if place is not None and self._record is None and not shown.valued:
            if len(self._places) >= LIMITS.routes_known:
                self._places.clear()
            self._places[place] = _Place(wanted, begun)
        return Caller(sender, grant, shown, facts, now, act)

    def _right(
        self, sender: bytes, shown: Shown, wanted: Wanted, request: HttpRequest, facts: Facts, *, now: int
    ) -> tuple[Grant, EntityFields]:
        """Return the sender's grant and record."""
        if not shown.valued:
            return self._held(sender, shown, wanted, facts, now)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        asked = tuple([_asked(sender, self.namespace, wanted, one) for one in contexts(kind, request.body)])
        return self._authorized(asked, shown.proof, facts, now)

    def _held(self, sender: bytes, shown: Shown, wanted: Wanted, facts: Facts, now: int) -> tuple[Grant, EntityFields]:
        """Return the sender's grant and record; looked at once for all requests alike, by the same facts and second."""
        if facts is not self._rights_by or now != self._rights_at or len(self._rights) >= LIMITS.rights_known:
            self._rights_by, self._rights_at = facts, now
            self._rights.clear()
        key = shown.identity, sender, wanted
        known = self._rights.get(key)
        if known is None:
            asked = (_asked(sender, self.namespace, wanted, {}),)
            known = self._rights[key] = self._authorized(asked, shown.proof, facts, now)
        return known

    def _authorized(
        self, asked: tuple[Request, ...], proof: Proof, facts: Facts, now: int
    ) -> tuple[Grant, EntityFields]:
        return authorized(self._verifier, asked, proof, facts, now=now, max_staleness=self._max_staleness)

    async def _ask(self, caller: Caller, statement: Statement, context: Context) -> Grant:
        asked = Request(caller.identity, self.namespace, (statement,), context)
        facts = await self._facts()
        return self._authorized((asked,), caller.shown.proof, facts, int(self._clock()))[0]

    def _opening(self, request: HttpRequest) -> tuple[bytes, Wanted, Shown | None]:
        """Return what a handshake's body says: a half of a key, what is wanted, and the proof if it is there."""
        value = read_json(request.body)
        if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in ("method", "path")):
            raise BadPayload("a handshake is a JSON object of exchange, method and path")
        shown = None
        if "proof" in value:
            shown = self._shown.find(str(value["proof"]))
            if request.headers[PROOF_HEADER] != by_id(shown.proof):
                raise WrongProof("the request names another proof than the one in its body")
        return parse_half(value.get("exchange")), self.rules.wanted(value["method"], value["path"]), shown

    def _new(self, fields: MessageFields, now: int) -> None:
        try:
            self._window.check(fields, now)
        except BeforeRestart:
            if not self._drew(fields.nonce.decode("ascii")):
                raise
            self._window.check(fields, now, challenged=True)

    # What it says -------------------------------------------------------------------------------------------------

    def _challenge(self) -> str:
        """Return a nonce that shows by itself that this process drew it."""
        drawn = self._draw(_DRAWN)
        return nonce_text(drawn + hmac.digest(self._own, drawn, "sha256")[: NONCE_BYTES - _DRAWN])

    def _drew(self, nonce: str) -> bool:
        try:
            data = base64.urlsafe_b64decode(nonce + "==")
        except (binascii.Error, ValueError):
            return False
        proof = hmac.digest(self._own, data[:_DRAWN], "sha256")[: NONCE_BYTES - _DRAWN]
        return hmac.compare_digest(data[_DRAWN:], proof)

    def _explain(
        self,
        error: WaveError,
        asked: Request,
        proof: Proof,
        facts: Facts,
        now: int,
        *,
        act: bytes,
        signature: bytes | None = None,
    ) -> None:
        """Give a refusal its id; and if the request is its sender's, what is missing and who could give it.

        It is if ``signature`` is its sender's over ``act``, or None: then its MAC was good.
        """
        error.decision = decision_id(proof, asked, facts, now=now, outcome=error, act=sha256(act))
        try:
            if signature is not None:
                record = verdict.record_of(asked.subject, proof.records, facts)
                keys.verify(record.verify_key, act, signature)
        except Refused:
            return
        found = explain(proof, asked, facts, now=now, max_staleness=self._max_staleness)
        missing = [text for answer in found.answers for text in answer.missing]
        if missing:
            error.details["missing"] = missing
            error.details["could_give"] = [id_text(one) for answer in found.answers for one in answer.could_give]
            error.hint = error.hint or found.hint

    def _note(self, method: str, path: str, wanted: Wanted | None, outcome: Caller | WaveError, now: int) -> None:
        """Tell the recorder of a decision."""
        if isinstance(outcome, WaveError) and outcome.decision is None:
            outcome.decision = self._draw(NONCE_BYTES).hex()
        if self._record is None:
            return
        entry: dict[str, Any] = {"at": now, "method": method[:40], "path": path[:1024]}
        if wanted is not None:
            entry |= {"permission": wanted.permission, "resource": str(wanted.resource)}
        if isinstance(outcome, Caller):
            entry |= {"code": "ok", "decision": outcome.decision, "sender": outcome.id, "height": outcome.facts.height}
        else:
            entry |= {"code": outcome.code, "decision": outcome.decision, "message": outcome.message}
            entry |= {"hint": outcome.hint, **outcome.details}
        self._record(entry)


@lru_cache(LIMITS.rights_known)
def _identity(text: str) -> bytes:
    found = parse_id(text)
    if found is None:
        raise BadHttpSignature("keyid is not an entity's id")
    return found


@lru_cache(LIMITS.routes_known)
def _statements(wanted: Wanted) -> tuple[Statement, ...]:
    return (Statement(wanted.permission, wanted.resource, wanted.permission_set),)


def _asked(sender: bytes, namespace: bytes, wanted: Wanted, values: Context) -> Request:
    return Request(sender, namespace, _statements(wanted), values)


def _fields(signed: Signed, sender: bytes, namespace: bytes) -> MessageFields:
    """Return of a request what the replay window looks at."""
    return MessageFields(
        VERSION, sender, "", namespace, "", (), False, signed.created, signed.expires, 0, signed.nonce.encode(), None
    )


__all__ = ["SESSION_PATH", "Caller", "Guard"]
