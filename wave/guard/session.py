"""Sessions: one signed handshake, then a MAC for each request over the same as a signature would cover.

Both sides derive the key (X25519, HKDF-SHA256) from fresh halves and from what was signed in the handshake, so a
session is the signer's and this service's alone. It carries no right: that is asked of each request.

A request carries one header, ``Wave-Session: ID.NUMBER.CREATED.MAC``: the session's id, the request's number in it, the
second (UTC) when it was made, and :func:`session_mac` of :func:`session_head` and the body.
"""

import hashlib
from collections import OrderedDict
from hashlib import blake2b
from hmac import compare_digest
from typing import Final, NamedTuple, TypeAlias

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from wave.codec import id_text, parse_id
from wave.dots.facts import Facts
from wave.dots.verify import Grant
from wave.entities import keys
from wave.errors import BadHttpSignature, BadPayload, BadSignature, MessageStale, Replayed, UnknownSession
from wave.guard.rules import Wanted
from wave.guard.shown import Shown, by_id
from wave.guard.signature import SESSION_HEADER, check_age, nonce_text
from wave.limits import LIMITS

SESSION_PATH: Final = "/.well-known/wave/session"
_WINDOW: Final = (1 << LIMITS.session_window) - 1
_AFTER_TOLD: Final = "\n\n"
_LONGEST: Final = 160  # characters of the header
_MAC_BYTES: Final = 32
_BEFORE_MAC: Final = -1 - 2 * _MAC_BYTES
_COUNTS: Final = LIMITS.session_request


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


def session_told(identity: str, number: int, created: int) -> str:
    """Return what a request's header says before its MAC."""
    return f"{identity}.{number}.{created}"


def session_head(beginning: str, proof: str, told: str) -> bytes:
    """Return what the MAC of a request is over, up to the body; ``beginning`` as a signature base begins.

    That is :func:`wave.guard.signature.beginning`; ``proof`` is :func:`wave.guard.shown.by_id` of the session's.
    """
    return f"{_before_told(beginning, proof)}{told}{_AFTER_TOLD}".encode("ascii")


def _before_told(beginning: str, proof: str) -> str:
    return f'{beginning}"wave-proof": {proof}\n"{SESSION_HEADER}": '


def _unread() -> BadHttpSignature:
    return BadHttpSignature(f"{SESSION_HEADER} is not ID.NUMBER.CREATED.MAC")


def session_mac(key: bytes, message: bytes) -> str:
    """Return the MAC under ``key`` (32 bytes) of a head with its body: keyed BLAKE2b-256 (RFC 7693), in hex."""
    return blake2b(message, key=key, digest_size=_MAC_BYTES).hexdigest()


class Held(NamedTuple):
    """What lets a sender do ``wanted``, by these facts and in this second (UTC)."""

    facts: Facts
    now: int
    wanted: Wanted
    grant: Grant


class Session:
    """What one sender signed once: who it is, by which proof it asks, and which of its requests have come."""

    __slots__ = (
        "_key",
        "_proof",
        "_seen",
        "beginning",
        "begun",
        "held",
        "highest",
        "identity",
        "sender",
        "shown",
        "until",
    )

    def __init__(self, identity: str, sender: bytes, shown: Shown, until: int, key: bytes) -> None:
        """Begin a session that ends at ``until`` (UTC seconds)."""
        self.identity = identity
        self.sender = sender
        self.shown = shown
        self.until = until
        self._key = key
        self._proof = by_id(shown.proof)
        self.turn_to("")
        self.held: Held | None = None  # the right that was asked for last
        self.highest = 0
        self._seen = 1  # bit n: the request n before the highest has come

    def turn_to(self, beginning: str) -> None:
        """Begin the MAC of requests whose signature base would begin so; as in :func:`session_mac`."""
        self.beginning = beginning
        self.begun = blake2b(
            _before_told(beginning, self._proof).encode("ascii"), key=self._key, digest_size=_MAC_BYTES
        )

    def check_new(self, number: int) -> None:
        """Raise :class:`Replayed` or :class:`MessageStale` for the number of a request that came, or may have."""
        behind = self.highest - number
        if number < 1:
            raise BadHttpSignature("the requests of a session are numbered from 1")
        if behind >= LIMITS.session_window:
            raise MessageStale("the request was overtaken by too many others of its session", hint="send it again")
        if behind >= 0 and self._seen >> behind & 1:
            raise Replayed("the request came before", hint="each request in a session has a number of its own")

    def remember(self, number: int) -> None:
        """Count a request as come."""
        ahead = number - self.highest
        if ahead <= 0:
            self._seen |= 1 << -ahead
            return
        self.highest = number
        self._seen = (self._seen << ahead | 1) & _WINDOW if ahead < LIMITS.session_window else 1


Numbered: TypeAlias = tuple[Session, int, bytes]
"""A request whose MAC is good: its session, its number there, and what it told, with its body."""


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

    def check(self, given: str, beginning: str, body: bytes, now: int) -> Numbered:
        """Return the request whose header is ``given``, if its MAC is good and it did not come before; raise Refused.

        ``beginning`` is that of its signature base (:func:`wave.guard.signature.beginning`).
        """
        if len(given) > _LONGEST or not given.isascii():
            raise _unread()
        try:
            identity, number_text, created_text, mac = given.split(".")
            number, created = int(number_text), int(created_text)
        except ValueError:
            raise _unread() from None
        session = self.find(identity, now)
        if not created <= now < created + _COUNTS:
            check_age(created, created + _COUNTS, now)
        if number <= session.highest:
            session.check_new(number)
        if beginning is not session.beginning:
            session.turn_to(beginning)
        rest = f"{given[:_BEFORE_MAC]}{_AFTER_TOLD}".encode() + body
        found = session.begun.copy()
        found.update(rest)
        if not compare_digest(found.hexdigest(), mac):
            raise BadSignature("the request's MAC is not this session's")
        return session, number, rest

    def _drop(self, identity: str) -> None:
        sender = self._sessions.pop(identity).sender
        own = self._of[sender]
        own.remove(identity)
        if not own:
            del self._of[sender]
