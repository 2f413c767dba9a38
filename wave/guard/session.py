"""Sessions: one signed handshake, then a MAC for each request over the same components as a signature would cover.

Both sides derive the key (X25519, HKDF-SHA256) from fresh halves and from what was signed in the handshake, so a
session is the signer's and this service's alone. It carries no right: that is asked of each request.
"""

import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from wave.codec import id_text, parse_id
from wave.entities import keys
from wave.errors import (
    BadHttpSignature,
    BadPayload,
    BadSignature,
    MessageStale,
    Replayed,
    UnknownSession,
    WrongProof,
)
from wave.guard.shown import Shown, by_id
from wave.guard.signature import (
    LABEL,
    PROOF_HEADER,
    SESSION_TAG,
    HttpRequest,
    Signed,
    content_digest,
    nonce_text,
    own_base,
    own_parameters,
)
from wave.limits import LIMITS

SESSION_PATH: Final = "/.well-known/wave/session"
_BLOCK: Final = 64  # bytes that SHA-256 takes at once
_COUNTER: Final = "{:022d}"
_WINDOW: Final = (1 << LIMITS.session_window) - 1
_COUNTER_DIGITS: Final = 22
_BEFORE_NONCE: Final = ';nonce="'
_BEFORE_KEY: Final = '";keyid="'
_ID: Final = slice(_COUNTER_DIGITS + len(_BEFORE_KEY), _COUNTER_DIGITS + len(_BEFORE_KEY) + 22)


class Half:
    """One side's fresh half of a session's key."""

    def __init__(self) -> None:
        """Draw it."""
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def key(self, other: bytes, signed: bytes, session: str) -> bytes:
        """Return the session's key (32 bytes), given the other half and the handshake's signature base.

        Raises :class:`BadPayload` for a half that is no key, or from which everybody could derive the same one.
        """
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(other))
        except ValueError:
            raise BadPayload("that is no half of a session's key") from None
        return keys.derive(shared, b"wave/session/v1\0" + hashlib.sha256(signed).digest() + session.encode("ascii"))


def parse_half(text: object) -> bytes:
    """Return the half (32 bytes) that a handshake's text holds; :class:`BadPayload`."""
    half = parse_id(text) if isinstance(text, str) else None
    if half is None:
        raise BadPayload("a half of a session's key is 32 bytes in URL-safe base64")
    return half


def counter_text(number: int) -> str:
    """Return a request's number in its session, as the nonce that it stands in."""
    return _COUNTER.format(number)


def keyed(key: bytes) -> Callable[[bytes], bytes]:
    """Return what gives the HMAC-SHA256 (32 bytes) of a signature base under ``key`` (32 bytes).

    RFC 2104, with both hashes begun once for all requests: OpenSSL takes longer to begin than to hash one.
    """
    begun = hashlib.sha256(bytes([one ^ 0x36 for one in key.ljust(_BLOCK, b"\0")]))
    ended = hashlib.sha256(bytes([one ^ 0x5C for one in key.ljust(_BLOCK, b"\0")]))

    def mac(base: bytes) -> bytes:
        inner, outer = begun.copy(), ended.copy()
        inner.update(base)
        outer.update(inner.digest())
        return outer.digest()

    return mac


class Session:
    """What one sender signed once: who it is, by which proof it asks, and which of its requests have come."""

    __slots__ = (
        "_highest",
        "_seen",
        "created",
        "expires",
        "head",
        "identity",
        "mac",
        "proof_header",
        "sender",
        "shown",
        "tail",
        "until",
    )

    def __init__(self, identity: str, sender: bytes, shown: Shown, until: int, key: bytes) -> None:
        """Begin a session that ends at ``until`` (UTC seconds)."""
        self.identity = identity
        self.sender = sender
        self.shown = shown
        self.until = until
        self.proof_header = by_id(shown.proof)
        self.mac = keyed(key)
        self.head = ""  # of the Signature-Input of a request that was let through, up to its nonce; and its times:
        self.created = self.expires = 0
        self.tail = f'{_BEFORE_KEY}{identity}";tag="{SESSION_TAG}"'
        self._highest = 0
        self._seen = 1  # bit n: the request n before the highest has come

    def check(self, signed: Signed, proof_header: str) -> int:
        """Return the number of a request whose MAC is good and that did not come before; raise Refused otherwise."""
        if not hmac.compare_digest(self.mac(signed.base), signed.value):
            raise BadSignature("the request's MAC is not this session's")
        if proof_header != self.proof_header:
            raise WrongProof("the request names another proof than its session's")
        if len(signed.nonce) != _COUNTER_DIGITS or not signed.nonce.isdecimal():
            raise BadHttpSignature(f"the nonce in a session is the request's number in {_COUNTER_DIGITS} digits")
        number = int(signed.nonce)
        self.check_new(number)
        return number

    def check_new(self, number: int) -> None:
        """Raise :class:`Replayed` or :class:`MessageStale` for the number of a request that came, or may have."""
        behind = self._highest - number
        if behind >= LIMITS.session_window:
            raise MessageStale("the request was overtaken by too many others of its session", hint="send it again")
        if behind >= 0 and self._seen >> behind & 1:
            raise Replayed("the request came before", hint="each request in a session has a number of its own")

    def learn(self, given: str, signed: Signed) -> None:
        """Know the Signature-Input of a request that was let through again, if it has our own form."""
        parameters = own_parameters(signed.created, signed.expires, signed.nonce, self.identity, SESSION_TAG)
        if given == f"{LABEL}={parameters}":
            self.head = given.partition(_BEFORE_NONCE)[0]
            self.created, self.expires = signed.created, signed.expires

    def remember(self, number: int) -> None:
        """Count a request as come."""
        ahead = number - self._highest
        if ahead <= 0:
            self._seen |= 1 << -ahead
            return
        self._highest = number
        if ahead >= LIMITS.session_window:
            self._seen = 1
        else:
            self._seen = (self._seen << ahead | 1) & _WINDOW


Due: TypeAlias = tuple[Session, int, bytes]
"""A request whose MAC is good: its session, its number there, and what was signed."""


class Sessions:
    """The sessions of one guard; the one longest unused gives way, and a sender's own first."""

    def __init__(self, bound: int = LIMITS.sessions, per_sender: int = LIMITS.sessions_per_sender) -> None:
        """Keep at most ``bound``, ``per_sender`` of them for each sender."""
        self._bound = bound
        self._per_sender = per_sender
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._of: dict[bytes, list[str]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._sessions)

    def begin(
        self, sender: bytes, shown: Shown, half: bytes, base: bytes, *, until: int, drawn: bytes
    ) -> tuple[str, str]:
        """Begin a session of ``sender``, who signed ``base`` with its ``half``; return its id and our half, in text."""
        ours = Half()
        identity = nonce_text(drawn)
        session = Session(identity, sender, shown, until, ours.key(half, base, identity))
        own = self._of.setdefault(sender, [])
        own.append(identity)
        self._sessions[identity] = session
        if len(own) > self._per_sender:
            self._drop(own[0])
        if len(self._sessions) > self._bound:
            self._drop(next(iter(self._sessions)))
        return identity, id_text(ours.public)

    def find(self, identity: str, now: int) -> Session:
        """Return a session that has not ended; :class:`UnknownSession`."""
        session = self._sessions.get(identity)
        if session is None:
            raise UnknownSession("no session of that id is known here")
        if now >= session.until:
            self._drop(identity)
            raise UnknownSession(f"the session ended {now - session.until} s ago")
        self._sessions.move_to_end(identity)
        return session

    def due(self, request: HttpRequest, now: int) -> Due | None:
        """Return a request that is in all but number, path and body the same as one that was let through before.

        Its text is compared with what it has to be, which is quicker than to read it. None for all others, good or
        bad: they have to be read.
        """
        header = request.headers.get
        given = header("signature-input", "")
        head, _, rest = given.partition(_BEFORE_NONCE)
        session = self._sessions.get(rest[_ID])
        if session is None or head != session.head or rest[_COUNTER_DIGITS:] != session.tail:
            return None
        nonce, proof, signature = rest[:_COUNTER_DIGITS], header(PROOF_HEADER), header("signature", "")
        if not (
            session.created - LIMITS.clock_skew <= now < session.expires
            and now < session.until
            and proof == session.proof_header
            and nonce.isdecimal()
            and signature.isascii()
        ):
            return None
        digest = content_digest(request.body)
        if header("content-digest") != digest:
            return None
        base = own_base(request, digest, proof, given[len(LABEL) + 1 :])
        mac = binascii.b2a_base64(session.mac(base), newline=False).decode()
        if not hmac.compare_digest(f"{LABEL}=:{mac}:", signature):
            return None
        self._sessions.move_to_end(session.identity)
        return session, int(nonce), base

    def _drop(self, identity: str) -> None:
        sender = self._sessions.pop(identity).sender
        own = self._of[sender]
        own.remove(identity)
        if not own:
            del self._of[sender]
