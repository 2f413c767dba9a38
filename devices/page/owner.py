"""What the home's owner does on the page: give, share, take back, and see who would lose what before it is signed."""

import hmac
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from devices.page.invitations import Invitations
from devices.page.sharing import SIGNALS, Terms
from devices.page.view import View
from wave.agent import wire
from wave.codec import id_text, sha256
from wave.dots.dot import Dot
from wave.entities.entity import Entity, EntitySecret
from wave.entities.keyring import Keyring
from wave.errors import AlreadyExists, BadName, BadTime, InputError, NotFound, OwnerWanted, Refused, WaveError
from wave.namespace.grant import Right, right

SESSION: Final = 12 * 3600  # seconds
_TOKEN_BYTES: Final = 24
_MOST_SESSIONS: Final = 16
_DAY: Final = 86_400
_VIEWER_DAYS: Final = 30
_RENEW_WITHIN: Final = 10 * _DAY
_NAMES_ALIKE: Final = 100
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Session:
    """An open session: until when, and of whose key; None before it was shown with one."""

    end: float
    who: bytes | None = None


class Sessions:
    """The owner's sessions: a token that is good once is exchanged for a cookie that is good for some hours.

    A cookie belongs to the key with which it is shown first, and opens nothing with another.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with no token and no session."""
        self._clock = clock
        self._token = b""
        self._open: dict[bytes, _Session] = {}

    def token(self) -> str:
        """Return a new token; one that was not used yet is void."""
        made = secrets.token_urlsafe(_TOKEN_BYTES)
        self._token = sha256(made.encode())
        return made

    def exchange(self, token: str) -> str:
        """Return the cookie for a token, which is used up by it; :class:`OwnerWanted`."""
        shown = sha256(token.encode("utf-8", "surrogatepass"))
        if not self._token or not hmac.compare_digest(shown, self._token):
            raise OwnerWanted("this owner's link was used already, or is not of this run")
        self._token = b""
        cookie = secrets.token_urlsafe(_TOKEN_BYTES)
        while len(self._open) >= _MOST_SESSIONS:
            del self._open[next(iter(self._open))]
        self._open[sha256(cookie.encode())] = _Session(self._clock() + SESSION)
        return cookie

    def holds(self, cookie: str | None) -> bool:
        """Tell whether a cookie is that of an open session, whoever shows it."""
        return self._find(cookie) is not None

    def owns(self, cookie: str | None, who: bytes) -> bool:
        """Tell whether a cookie is that of an open session of the key ``who``, whose possession was shown."""
        found = self._find(cookie)
        if found is None:
            return False
        if found.who is None:
            found.who = who
        return found.who == who

    def _find(self, cookie: str | None) -> _Session | None:
        found = None if cookie is None else self._open.get(sha256(cookie.encode("utf-8", "surrogatepass")))
        return found if found is not None and self._clock() < found.end else None


class Owner:
    """The owner's acts, signed with the owner's secret, which never leaves this process."""

    def __init__(self, secret: EntitySecret, view: View, keyring: Keyring | None, invitations: Invitations) -> None:
        """Act as ``secret``; whom it lets in is called in ``keyring`` as it says."""
        self.secret = secret
        self.view = view
        self.invitations = invitations
        self.sessions = Sessions(view.site.clock)
        self._keyring = keyring

    @property
    def _now(self) -> int:
        return int(self.view.site.clock())

    async def let_page_see(self, viewer: EntitySecret) -> None:
        """Give the page's own entity the right to hear the devices, where it lacks it.

        One that was taken back is not given again by itself: that was meant.
        """
        text = id_text(viewer.id)
        graph = await self.view.agent.call(wire.Graph(namespace=id_text(self.view.namespace)))
        given = [edge for edge in graph.edges if edge.receiver == text]
        enough = [edge for edge in given if edge.state == "valid" and edge.expires - self._now > _RENEW_WITHIN]
        if enough or any(edge.state == "revoked" for edge in given):
            return
        rights = (right(("subscribe",), SIGNALS),)
        until = self._now + _VIEWER_DAYS * _DAY
        await self._grant(viewer.entity, rights, until, "the home's page")

    async def _grant(self, to: Entity, rights: tuple[Right, ...], until: int, comment: str) -> Dot:
        now = self._now
        if until <= now:
            raise BadTime("that time is over already")
        dot = Dot.create(
            self.secret,
            receiver=to.id,
            namespace=self.view.namespace,
            grants=rights,
            created=now,
            expires=until,
            comment=comment,
        )
        own = (await self.view.agent.call(wire.Status())).own  # what stands on a chain of others stands there for ever
        objects = (self.secret.entity.to_bytes(), to.to_bytes(), dot.to_bytes())
        await self.view.agent.call(wire.Publish(objects=objects, keep_only=not own))
        return dot

    async def give(self, to: Entity, terms: Terms) -> Dot:
        """Give an entity what the terms say, and call it by their name here, if that can be written down."""
        dot = await self._grant(to, terms.rights(), terms.until, "given on the home's page")
        try:
            self._call(terms.name, to)
        except (WaveError, OSError) as error:
            _log.warning("whoever came in has no name in the keyring: %s", error)
        return dot

    def _call(self, name: str, entity: Entity) -> None:
        """Remember a name for an entity that has none; a name that is taken gets a number."""
        if self._keyring is None or not name or any(known.id == entity.id for _, known in self._keyring):
            return
        for number in range(1, _NAMES_ALIKE):
            try:
                self._keyring.add(name if number == 1 else f"{name}-{number}", entity)
            except AlreadyExists:
                continue
            except BadName:
                return
            return

    async def join(self, code: str, visitor: Entity) -> Terms:
        """Give a visitor what an invitation says; :class:`BadInvitation`.

        It is used up unless the grant was refused for certain. What could not be told may have been granted.
        """
        invitation = self.invitations.take(code)
        try:
            await self.give(visitor, invitation.terms)
        except (Refused, InputError) as error:
            if not isinstance(error, BadTime):
                self.invitations.put_back(code, invitation)
            raise
        return invitation.terms

    async def losses(self, dot: str) -> list[dict[str, Any]]:
        """Return who would lose what with a DoT."""
        reply = await self.view.agent.call(wire.Losses(objects=(dot,)))
        return [json.loads(wire.encode(loss)) for loss in reply.losses]

    async def revoke(self, dot: str) -> int:
        """Take back a DoT; return the block from which it counts. :class:`Refused` when it is not the owner's."""
        found = Dot.from_bytes((await self.view.agent.call(wire.FindObject(id=dot))).data)
        preimage = found.preimage(self.secret)
        if found.namespace != self.view.namespace or sha256(preimage) not in found.commitments:
            giver = self.view.name(id_text(found.giver))
            raise Refused(f"this is not yours to take back: {giver} gave it", hint=f"ask {giver} to revoke it")
        return (await self.view.agent.call(wire.Revoke(preimages=(preimage,)))).height

    async def why(self, decision: str) -> list[str]:
        """Return the explanation of a decision, a line each; none when this agent did not make it."""
        try:
            reply = await self.view.agent.call(wire.Why(decision=decision))
        except NotFound:
            return []
        return [self.view.told(line) for line in reply.lines]
