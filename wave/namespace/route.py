"""Routes: the signed objects by which a namespace and a router find each other, and everybody else finds the router.

An ``offer`` says that a router carries a namespace's messages; an ``acceptance`` says that the namespace, or whoever it
gave ``route`` to, takes that router; an ``endpoint`` says where the router is reached. None counts without the others.
"""

import re
from typing import Annotated, Final, Literal, Self, TypeAlias

from wave.codec import VERSION, Commitments, Format, Id, Record, Time, Version, amend, between, id_text, sha256
from wave.entities import keys
from wave.entities.entity import EntitySecret
from wave.entities.object import ROUTE, Certified, revocation_preimage, signing_input
from wave.errors import BadRoute, BadTime
from wave.limits import LIMITS

Act: TypeAlias = Literal["offer", "accept", "endpoint"]
OFFER: Final = "offer"
ACCEPT: Final = "accept"
ENDPOINT: Final = "endpoint"

_LABEL = "[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?"
_URL = re.compile(
    rf"(?:wss?|mqtts?)://(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\])"
    r"(?::([1-9][0-9]{0,4}))?(?:/[0-9A-Za-z._~!$&'()*+,;=:/-]*)?"
)
_HIGHEST_PORT: Final = 65_535


def check_url(url: str) -> str:
    """Return ``url`` when a router may be reached by it; :class:`BadRoute` when not.

    ws://, wss://, mqtt:// or mqtts://, a host, a port and a path. No user, password or query: everyone reads it.
    """
    found = _URL.fullmatch(url) if len(url) <= LIMITS.url_characters else None
    if found is None or int(found[1] or 1) > _HIGHEST_PORT:
        raise BadRoute(f"{url.rpartition('@')[2].partition('?')[0][:80]!r} is no router's address")
    return url


class RouteFields(Record, frozen=True):
    """The body of a route, in wire order; ``namespace`` and ``router`` are nil, and ``urls`` empty, where not said."""

    version: Version
    giver: Id
    act: Act
    namespace: Id | None
    router: Id | None
    urls: Annotated[tuple[str, ...], between(0, LIMITS.urls_per_endpoint)]
    created: Time
    expires: Time
    commitments: Commitments


_FORMAT = Format(RouteFields, "route")
_SAYS: Final = {OFFER: (True, False, False), ACCEPT: (True, True, False), ENDPOINT: (False, False, True)}


class Route(Certified):
    """A signed statement of a router about itself, or of a namespace about its router, for a time."""

    __slots__ = ("fields", "id")

    KIND = ROUTE

    def __init__(self, body: bytes, signature: bytes) -> None:
        """Parse ``body`` strictly; raises :class:`InputError`. The signature is looked at by :meth:`check` alone."""
        self.fields = _FORMAT.decode(body)
        _check(self.fields)
        self.body = body
        self.signature = signature
        self.id = sha256(signing_input(ROUTE, body))

    @classmethod
    def offer(cls, router: EntitySecret, *, namespace: bytes, created: int, expires: int) -> Self:
        """Return a router's word that it carries ``namespace``; :class:`BadTime`."""
        return cls._sign(router, RouteFields(VERSION, router.id, OFFER, namespace, None, (), created, expires, ()))

    @classmethod
    def accept(cls, giver: EntitySecret, *, namespace: bytes, router: bytes, created: int, expires: int) -> Self:
        """Return ``giver``'s word that ``router`` carries ``namespace``; :class:`BadTime`.

        It counts when ``giver`` is the namespace or holds ``route`` on all of it.
        """
        return cls._sign(giver, RouteFields(VERSION, giver.id, ACCEPT, namespace, router, (), created, expires, ()))

    @classmethod
    def endpoint(cls, router: EntitySecret, *, urls: tuple[str, ...], created: int, expires: int) -> Self:
        """Return a router's word where it is reached, the best URL first; :class:`BadRoute`, :class:`BadTime`."""
        return cls._sign(router, RouteFields(VERSION, router.id, ENDPOINT, None, None, urls, created, expires, ()))

    @classmethod
    def _sign(cls, giver: EntitySecret, blank: RouteFields) -> Self:
        if blank.created >= blank.expires:
            raise BadTime("a route must expire after it begins")
        _check(blank)
        own = sha256(revocation_preimage(giver.seed, ROUTE, blank))
        body = _FORMAT.encode(amend(blank, commitments=(own,)))
        route = cls(body, giver.sign(ROUTE, body))
        route.to_bytes()
        return route

    @property
    def router(self) -> bytes:
        """The router that it is about: its signer, unless it is an acceptance."""
        return self.fields.router or self.fields.giver

    @property
    def about(self) -> tuple[str, bytes]:
        """Its act, and the namespace or, of an endpoint, the router that it is about."""
        return self.fields.act, self.fields.namespace or self.fields.giver

    def check(self, giver_key: bytes) -> None:
        """Raise :class:`BadSignature` unless the route is signed under the giver's key (32 bytes)."""
        keys.verify(giver_key, signing_input(ROUTE, self.body), self.signature)

    def preimage(self, giver: EntitySecret) -> bytes:
        """Return the preimage (32 bytes) by which ``giver`` takes the route back."""
        return revocation_preimage(giver.seed, ROUTE, self.fields)

    def __repr__(self) -> str:
        """Show the act and what it is about."""
        about = " ".join(self.fields.urls) if self.fields.namespace is None else id_text(self.fields.namespace)
        return f"Route({self.fields.act} by {id_text(self.fields.giver)}: {about})"


def _check(fields: RouteFields) -> None:
    """Raise :class:`BadRoute` unless the act says what it has to say, and nothing else."""
    said = fields.namespace is not None, fields.router is not None, bool(fields.urls)
    if said != _SAYS[fields.act]:
        raise BadRoute(f"a route {fields.act!r} that says too little or too much")
    if len(fields.urls) > LIMITS.urls_per_endpoint or len(set(fields.urls)) < len(fields.urls):
        raise BadRoute(f"an endpoint names 1 to {LIMITS.urls_per_endpoint} URLs, each once")
    for url in fields.urls:
        check_url(url)
