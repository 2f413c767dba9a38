"""The client's side without a socket: what to send next, given what was answered. Every client library drives this.

conversation = signer.converse(request)
step = next(conversation)
while True:  # a request to send, or a challenge for which a proof is wanted
step = conversation.send(answer_to(step))
"""

import json
import os
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Generator, Mapping
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias

from wave.codec import id_text, parse_id
from wave.dots.cache import LeastRecent
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.entities.entity import EntitySecret
from wave.errors import (
    BadPattern,
    BadPayload,
    BeforeRestart,
    MessageStale,
    ProofWanted,
    UnknownSession,
    WaveError,
    from_problem,
)
from wave.guard.refusal import PROBLEM
from wave.guard.session import (
    SESSION_PATH,
    Half,
    parse_half,
    session_head,
    session_mac,
    session_told,
)
from wave.guard.shown import by_id, whole
from wave.guard.signature import NONCE_BYTES, PROOF_HEADER, SESSION_HEADER, HttpRequest, beginning, read, sign
from wave.limits import LIMITS
from wave.namespace.pattern import resource

_LIFETIME: Final = 60  # seconds for which a request is valid
_ATTEMPTS: Final = 5
_LONGEST_HEADER: Final = 7_000  # characters: most servers take 8 KiB
_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403
_PARAMETER = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


class Heard(NamedTuple):
    """An answer, as far as it matters here; header names in lower case, the body of a refusal alone."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def problem(self) -> WaveError | None:
        """Return the error that a guard refused with, if this is such an answer."""
        if self.status < 400 or not self.headers.get("content-type", "").startswith(PROBLEM):
            return None
        try:
            details = json.loads(self.body)
        except ValueError:
            return None
        return from_problem(details) if isinstance(details, dict) and "code" in details else None


class Challenge(NamedTuple):
    """What a guard says that a request needs."""

    namespace: bytes
    permission: str
    resource: str
    permission_set: bytes | None
    nonce: bytes

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Challenge | None":
        """Return what a ``WWW-Authenticate`` header says, or None when it is not a guard's."""
        scheme, _, rest = headers.get("www-authenticate", "").partition(" ")
        named = dict(_PARAMETER.findall(rest))
        namespace = parse_id(named.get("namespace", ""))
        try:
            nonce = urlsafe_b64decode(named.get("nonce", "") + "==")
        except ValueError:
            return None
        if scheme != "WAVE" or namespace is None or len(nonce) != NONCE_BYTES:
            return None
        permission, where = named.get("permission", ""), named.get("resource", "")
        return cls(namespace, permission, where, parse_id(named.get("set", "")), nonce)

    def asked_by(self, subject: bytes) -> Request:
        """Return what ``subject`` has to prove; raises :class:`InputError`."""
        if not self.resource:
            raise BadPattern("the service does not say what it wants proved")
        return Request(
            subject, self.namespace, (Statement(self.permission, resource(self.resource), self.permission_set),)
        )


Conversation: TypeAlias = Generator[HttpRequest | Challenge, Heard | Proof | None, None]
_Place: TypeAlias = tuple[str, str, str]


class _Session(NamedTuple):
    identity: str
    key: bytes
    until: int
    numbers: "count[int]"


class Signer:
    """Signs requests as ``secret`` and remembers which services know which proof, and the sessions with them.

    ``proof`` is shown everywhere; without one, a proof is asked for when a service says what it wants.
    """

    def __init__(
        self,
        secret: EntitySecret,
        proof: Proof | None = None,
        *,
        sessions: bool = True,
        clock: Callable[[], float] = time.time,
        draw: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Act as ``secret``; ``sessions`` allows for handshakes, after which requests carry MACs."""
        self._secret = secret
        self._proof = proof
        self._allowed = sessions
        self._clock = clock
        self._draw = draw
        self._proofs: LeastRecent[_Place, tuple[Proof, Challenge]] = LeastRecent(LIMITS.proofs_kept)
        self._known: LeastRecent[tuple[str, bytes], bool] = LeastRecent(LIMITS.proofs_known)
        self._sessions: LeastRecent[tuple[str, bytes], _Session | None] = LeastRecent(LIMITS.sessions_per_sender)

    def converse(self, request: HttpRequest) -> Conversation:
        """Yield what to send, and challenges for which to send a proof in (or None, when there is none).

        The answer to the last request that was yielded is the one that counts.
        """
        place = request.authority, request.method, request.path
        proof, nonce, renewed = self._proof, None, False
        if proof is None and place in self._proofs:
            proof = self._proofs[place][0]
        for _ in range(_ATTEMPTS):
            ready = request
            if proof is not None:
                yield from self._handshake(request, proof)
                ready = self._ready(request, proof, nonce)
            heard = yield ready
            assert isinstance(heard, Heard)
            problem, challenge = self._heard(request, proof, heard), Challenge.of(heard.headers)
            if isinstance(problem, ProofWanted | UnknownSession):
                continue
            if isinstance(problem, BeforeRestart) and challenge is not None and nonce is None:
                nonce = challenge.nonce
                continue
            if problem is None or renewed or isinstance(problem, MessageStale):
                return
            found = yield from self._renewed(place, proof, challenge)
            if found is None:
                return
            renewed, proof = proof is not None, found

    def _heard(self, request: HttpRequest, proof: Proof | None, heard: Heard) -> WaveError | None:
        """Return what is wrong by an answer; remember what the service knows by now, or has forgotten."""
        refused = heard.status in (_UNAUTHENTICATED, _FORBIDDEN)
        problem = heard.problem() if refused else None
        if proof is not None:
            known = request.authority, proof.id
            if not refused:
                self._known[known] = True
            elif isinstance(problem, ProofWanted | UnknownSession):
                self._known.pop(known, None)
                self._sessions.pop(known, None)
        return problem

    def _renewed(
        self, place: _Place, proof: Proof | None, challenge: Challenge | None
    ) -> Generator[Challenge, Heard | Proof | None, Proof | None]:
        """Return a proof for what a service wants, another than the one that it refused; None when there is none."""
        wanted = self._proofs[place][1] if place in self._proofs else challenge
        if self._proof is not None or wanted is None:
            return None
        found = yield wanted
        if not isinstance(found, Proof) or (proof is not None and found.id == proof.id):
            return None
        self._proofs[place] = found, wanted
        return found

    def _ready(self, request: HttpRequest, proof: Proof, nonce: bytes | None) -> HttpRequest:
        """Return the request with what shows whose it is."""
        now = int(self._clock())
        place = request.authority, proof.id
        session = self._sessions.get(place)
        if session is not None and now < session.until and nonce is None:
            told = session_told(session.identity, next(session.numbers), now)
            mac = session_mac(session.key, session_head(beginning(request), by_id(proof), told) + request.body)
            return _with(request, {SESSION_HEADER: f"{told}.{mac}"})
        return self._signed(
            _with(request, {PROOF_HEADER: by_id(proof) if place in self._known else whole(proof)}), nonce
        )

    def _signed(self, request: HttpRequest, nonce: bytes | None = None) -> HttpRequest:
        now = int(self._clock())
        drawn = self._draw(NONCE_BYTES) if nonce is None else nonce
        return _with(request, sign(self._secret, request, created=now, expires=now + _LIFETIME, nonce=drawn))

    def _handshake(self, request: HttpRequest, proof: Proof) -> Conversation:
        """Begin a session where one is wanted, or needed because the proof is too long for a header."""
        place = request.authority, proof.id
        now = int(self._clock())
        known = self._sessions.get(place)
        long = len(whole(proof)) > _LONGEST_HEADER and place not in self._known
        if place in self._sessions and (known is None or now < known.until):
            return  # there is one, or the service begins none
        if not (self._allowed or long):
            return
        half = Half()
        opening = {"exchange": id_text(half.public), "method": request.method, "path": request.path}
        opening["proof"] = whole(proof)
        body = json.dumps(opening).encode("ascii")
        headers = {"content-type": "application/json", PROOF_HEADER: by_id(proof)}
        signed = self._signed(HttpRequest("POST", request.scheme, request.authority, SESSION_PATH, "", headers, body))
        heard = yield signed
        assert isinstance(heard, Heard)
        if heard.status < 500:
            self._sessions[place] = None
        if heard.status == 200:
            self._sessions[place] = _begun(heard, half, read(signed).base)
            self._known[place] = True


def _begun(heard: Heard, half: Half, base: bytes) -> _Session | None:
    """Return the session that an answer begins, or None where it cannot be read."""
    try:
        told: Any = json.loads(heard.body)
        identity, until = str(told["session"]), int(told["until"])
        key = half.key(parse_half(told["exchange"]), base, identity)
        return _Session(identity, key, until, count(1))
    except (ValueError, KeyError, TypeError, BadPayload):
        return None


def _with(request: HttpRequest, more: Mapping[str, str]) -> HttpRequest:
    return request._replace(headers={**request.headers, **{name.lower(): value for name, value in more.items()}})
