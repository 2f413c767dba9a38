"""The hook: answers EMQX 5's HTTP authentication and authorization questions from the grants.

Every answer is a status of 200 and says allow or deny in words, for any other status means "ignore" to EMQX; whatever
goes wrong in here is a deny. EMQX must be set up as :func:`emqx_config` says, so that no answer at all is a no as well.
What it has let in it asks about again with every act, and what loses a right is thrown out through its REST API.

EMQX goes on with a session for whoever names its client id. So a client id begins with the entity's own, and nobody
else comes by it: it is the username, or the username, "-" and whatever the client adds.
"""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from yarl import URL

from wave.bus.connection import Clock, FactsSource
from wave.bus.login import check_login
from wave.bus.marks import Marks
from wave.bus.message import PUBLISH, SUBSCRIBE, Inbox
from wave.bus.mqtt_topic import CREDENTIALS, DENIED, PROOF, ROOT, denied_topic, pattern_of, place
from wave.bus.router import end_task
from wave.bus.standing import Held, Standing, may
from wave.chain.listen import address_of, listen_tcp
from wave.codec import id_text, parse_id
from wave.dots import rules
from wave.entities.entity import EVERYBODY
from wave.errors import BadRequest, Unavailable, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern

DEFAULT_PORT: Final = 4412
_BODY: Final = 64 * 1024
_ARRIVAL: Final = 5.0  # seconds for a question to come
_CLIENT: Final = 128  # characters of a client id
_REVIEW: Final = 1.0
_API: Final = ClientTimeout(total=5)
_DENY: Final = {"result": "deny"}
_ALLOW: Final = {"result": "allow", "is_superuser": False}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Management:
    """EMQX's REST API, by which sessions are ended: its address, an API key's name and its secret."""

    url: str
    key: str
    secret: str = field(repr=False)


@dataclass(slots=True)
class _Known:
    """An entity's sessions, the newest last, with what each used. ``guest``: it has only what everybody has."""

    guest: bool
    sessions: dict[str, set[tuple[str, str]]] = field(default_factory=dict)


class Hook:
    """Answers for one broker, known to its clients by ``name``, and for the namespaces that it carries."""

    def __init__(
        self,
        name: str,
        namespaces: tuple[bytes, ...],
        *,
        standing: Standing,
        facts: FactsSource,
        clock: Clock,
        management: Management | None = None,
        marks: Marks | None = None,
        tell: Callable[[str], None] = _log.warning,
        review_every: float = _REVIEW,
    ) -> None:
        """Answer from what ``standing`` says while ``facts`` are fresh; without ``management`` no session is ended.

        ``marks`` say which logins an earlier process may have taken; without them, all that it could have.
        """
        self._name = name
        self._namespaces = frozenset(namespaces)
        self._standing = standing
        self._facts = facts
        self._clock = clock
        self._management = management
        self._tell = tell
        self._review_every = review_every
        self._inbox = Inbox(since=int(clock()) + LIMITS.clock_skew + 1, marks=marks)
        self._known: dict[bytes, _Known] = {}
        self._holds_until = 0

    # Questions -------------------------------------------------------------------------------------------------------

    async def authn(self, request: web.Request) -> web.Response:
        """Answer who may connect: ``{clientid, username, password}``, the password a signed login."""
        return await self._answer(request, self._let_in)

    async def authz(self, request: web.Request) -> web.Response:
        """Answer who may act: ``{clientid, username, action, topic, qos, retain}``."""
        return await self._answer(request, self._let_act)

    async def _answer(self, request: web.Request, decide: Callable[[dict[str, str]], Any]) -> web.Response:
        """Return 200 with a yes or a no, whatever happens."""
        try:
            asked = json.loads(await _body(request))
            await decide({str(name): str(value) for name, value in asked.items()})
        except WaveError as error:
            _log.info("denied: %s (%s)", error.message, error.code)
            return web.json_response(_DENY)
        except Exception:  # noqa: BLE001 - a fault here is a no, and a status that says so would be a yes
            _log.exception("denied, for a question of EMQX could not be answered")
            return web.json_response(_DENY)
        return web.json_response(_ALLOW)

    async def _let_in(self, asked: dict[str, str]) -> None:
        username, client = asked.get("username", ""), asked.get("clientid", "")
        identity = _owner(username, client)
        facts, now = await self._facts(), int(self._clock())
        guest = await self._is_guest(identity, now)
        check_login(username, asked.get("password", ""), self._name, facts, now=now, inbox=self._inbox)
        await self._admit(identity, client, guest=guest)
        sessions = self._known[identity].sessions
        sessions[client] = set(sessions.pop(client))  # the newest, which no ending of the last one takes along

    async def _let_act(self, asked: dict[str, str]) -> None:
        client = asked.get("clientid", "")
        identity = _owner(asked.get("username", ""), client)
        action, topic = asked.get("action", ""), asked.get("topic", "")
        if action not in (PUBLISH, SUBSCRIBE):
            raise BadRequest("a question of EMQX is about publish or subscribe")
        guest = await self._is_guest(identity, int(self._clock()))
        if not await self._may(identity, action, topic):
            raise BadRequest(f"{rules.short(identity)} may not {action} at {topic[:80]}")
        used = await self._admit(identity, client, guest=guest)
        if _is_common(topic) or (action, topic) in used:
            return
        if len(used) >= LIMITS.mqtt_rules:
            raise Unavailable(f"{rules.short(identity)} uses more in one session than is remembered")
        used.add((action, topic))

    async def _is_guest(self, identity: bytes, now: int) -> bool:
        """Tell whether an entity has only what everybody has; :class:`BadRequest` when that is nothing."""
        if identity in self._namespaces:
            return False
        found = False
        for namespace in self._namespaces:
            common = await self._standing.held(EVERYBODY, namespace)
            for one in await self._standing.held(identity, namespace):
                if now < one.until and not may(common, one.permission, one.pattern, now):
                    return False
            found = found or any(now < one.until for one in common)
        if found:
            return True
        raise BadRequest(f"{rules.short(identity)} has no right in what this broker carries")

    async def _admit(self, identity: bytes, client: str, *, guest: bool) -> set[tuple[str, str]]:
        """Return what a session used so far, counting it among those that are looked after; :class:`Unavailable`.

        Where there is no room, another ends: the oldest of the same entity, or those of the oldest guest.
        """
        known = self._known.get(identity)
        if known is None and len(self._known) >= LIMITS.mqtt_entities:
            await self._end_a_guest()
        elif known is not None and client not in known.sessions and len(known.sessions) >= LIMITS.mqtt_sessions:
            await self._end(next(iter(known.sessions)), identity, "has too many sessions")
        known = self._known.get(identity)
        if known is None:
            if len(self._known) >= LIMITS.mqtt_entities:
                raise Unavailable("too many clients are known")
            known = self._known[identity] = _Known(guest)
        if client not in known.sessions and len(known.sessions) >= LIMITS.mqtt_sessions:
            raise Unavailable(f"{rules.short(identity)} has too many sessions")
        known.guest = guest
        return known.sessions.setdefault(client, set())

    async def _end_a_guest(self) -> None:
        for identity, known in tuple(self._known.items()):
            if known.guest:
                for client in tuple(known.sessions):
                    await self._end(client, identity, "made room for who has rights")
                return

    async def _may(self, identity: bytes, action: str, topic: str) -> bool:
        facts, now = await self._facts(), int(self._clock())
        rules.facts_fresh(facts, now, LIMITS.max_staleness, None)
        if _is_common(topic):
            return _common(identity, action, topic)
        namespace, pattern = place(topic) if action == PUBLISH else pattern_of(topic)
        if namespace not in self._namespaces:
            return False
        return may(await self._held(identity, namespace), action, pattern, now)

    async def _held(self, identity: bytes, namespace: bytes) -> tuple[Held, ...]:
        if identity == namespace:
            return tuple(Held(one, Pattern("*"), rules.FOREVER) for one in (PUBLISH, SUBSCRIBE))
        own = await self._standing.held(identity, namespace)
        return (*own, *await self._standing.held(EVERYBODY, namespace))

    # Sessions end with rights ----------------------------------------------------------------------------------------

    async def review(self) -> None:
        """End the sessions of those who lost a right that they used; all of them when there are no fresh facts."""
        now = int(self._clock())
        try:
            facts = await self._facts()
            rules.facts_fresh(facts, now, LIMITS.max_staleness, None)
            self._holds_until = facts.time + LIMITS.max_staleness
        except WaveError:
            if now < self._holds_until:
                return
        for identity, known in tuple(self._known.items()):
            for client, used in tuple(known.sessions.items()):
                if not await self._still(identity, used):
                    await self._end(client, identity, "lost a right")

    async def _still(self, identity: bytes, used: set[tuple[str, str]]) -> bool:
        try:
            await self._is_guest(identity, int(self._clock()))
            for action, topic in tuple(used):
                if not await self._may(identity, action, topic):
                    return False
        except WaveError as error:
            _log.info("%s may stay no longer: %s", rules.short(identity), error.message)
            return False
        return True

    async def _end(self, client: str, identity: bytes, why: str) -> None:
        """Have EMQX end a session; it is tried again until EMQX says that it is done, or that there is none."""
        known = self._known.get(identity)
        used = None if known is None else known.sessions.get(client)
        if self._management is None:
            self._forget(client, identity, used)
            self._tell(f"{rules.short(identity)} {why}, and nobody was named by whom its session could be ended")
            return
        url = URL(f"{self._management.url.rstrip('/')}/api/v5/clients/{quote(client, safe='')}", encoded=True)
        login = base64.b64encode(f"{self._management.key}:{self._management.secret}".encode()).decode("ascii")
        try:
            async with (
                ClientSession(headers={"Authorization": f"Basic {login}"}, timeout=_API) as session,
                session.delete(url) as answer,
            ):
                status = answer.status
        except (ClientError, OSError, TimeoutError) as error:
            self._tell(f"EMQX's API does not answer: {str(error) or type(error).__name__}")
            return
        if status in (204, 404):
            self._forget(client, identity, used)
        else:
            self._tell(f"EMQX's API would not end a session: it answered {status}")

    def _forget(self, client: str, identity: bytes, used: set[tuple[str, str]] | None) -> None:
        """Forget a session, unless its client acted or came again since ``used`` was looked at."""
        known = self._known.get(identity)
        if known is not None and known.sessions.get(client) is used:
            known.sessions.pop(client, None)
            if not known.sessions:
                del self._known[identity]

    async def review_always(self) -> None:
        """Review until cancelled, whatever goes wrong once."""
        while True:
            await asyncio.sleep(self._review_every)
            try:
                await self.review()
            except Exception:  # noqa: BLE001 - sessions that nobody looks at any more would stay for ever
                _log.exception("a review of the sessions failed")


async def _body(request: web.Request) -> bytes:
    """Return a question, however many pieces it comes in; :class:`BadRequest` for one that is too long."""
    data = bytearray()
    async with asyncio.timeout(_ARRIVAL):
        async for part in request.content.iter_any():
            data += part
            if len(data) > _BODY:
                raise BadRequest("a question of EMQX that is too long")
    return bytes(data)


def _owner(username: str, client: str) -> bytes:
    """Return the id of the entity that a username names and a client id belongs to; :class:`BadRequest`."""
    identity = parse_id(username)
    if identity is None or len(client) > _CLIENT:
        raise BadRequest("a client's username is an entity's id")
    if client != username and not client.startswith(f"{username}-"):
        raise BadRequest("a client id is the entity's id, or begins with it and '-'")
    return identity


def _is_common(topic: str) -> bool:
    parts = topic.split("/", 2)
    return len(parts) > 1 and parts[0] == ROOT and parts[1] in (PROOF, DENIED, CREDENTIALS)


def _common(identity: bytes, action: str, topic: str) -> bool:
    """Tell whether whoever is let in may do this with proofs and notes of denial."""
    own = f"{ROOT}/{PROOF}/{id_text(identity)}/"
    parts = topic.split("/")
    if action == SUBSCRIBE:
        return topic == denied_topic(identity) or (len(parts) == 4 and parts[1] == PROOF and "#" not in topic)
    if parts[1] == DENIED:
        return len(parts) == 3 and parse_id(parts[2]) is not None
    return topic.startswith(own) and parse_id(topic.removeprefix(own)) is not None


@asynccontextmanager
async def serving(
    hook: Hook, *, host: str = "127.0.0.1", port: int = DEFAULT_PORT, anywhere: bool = False
) -> AsyncIterator[str]:
    """Serve the hook (port 0: any free one) while the body runs; give its URL. Only on loopback unless ``anywhere``."""
    listener = listen_tcp(host, port, anywhere=anywhere)
    application = web.Application(client_max_size=_BODY)
    application.router.add_post("/authn", hook.authn)
    application.router.add_post("/authz", hook.authz)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    reviewing = asyncio.create_task(hook.review_always())
    try:
        await web.SockSite(runner, listener).start()
        yield address_of(listener, "http")
    finally:
        await runner.cleanup()
        await end_task(reviewing)


def emqx_config(url: str) -> str:
    """Return the part of EMQX's configuration that makes it ask the hook at ``url``, and takes silence for a no."""
    return f"""# Only who shows a signed login is let in: one authenticator, and no other that could say yes.
# A client id is the username, or the username, "-" and more; the hook refuses any other, for whoever names a client id
# goes on with its session. So nothing else may set client ids either.
authentication = [
  {{
    mechanism = password_based
    backend = http
    method = post
    url = "{url}/authn"
    headers {{ "content-type" = "application/json" }}
    body {{ clientid = "${{clientid}}", username = "${{username}}", password = "${{password}}" }}
    request_timeout = "5s"
    enable = true
  }}
]
# Every act is asked about; nothing is remembered, what nobody answers is denied, and a denial is told (0x87).
authorization {{
  no_match = deny
  deny_action = ignore
  cache {{ enable = false }}
  sources = [
    {{
      type = http
      method = post
      url = "{url}/authz"
      headers {{ "content-type" = "application/json" }}
      body {{
        clientid = "${{clientid}}", username = "${{username}}", action = "${{action}}"
        topic = "${{topic}}", qos = "${{qos}}", retain = "${{retain}}"
      }}
      request_timeout = "5s"
      enable = true
    }}
  ]
}}
"""
