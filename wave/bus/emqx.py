"""The hook: answers EMQX 5's HTTP authentication and authorization questions from the grants.

Every answer is a status of 200 and says allow or deny in words, for any other status means "ignore" to EMQX; whatever
goes wrong in here is a deny. EMQX must be set up as :func:`emqx_config` says, so that no answer at all is a no as well.
What it has let in it asks about again with every act, and what loses a right is thrown out through its REST API.
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
        tell: Callable[[str], None] = _log.warning,
        review_every: float = _REVIEW,
    ) -> None:
        """Answer from what ``standing`` says while ``facts`` are fresh; without ``management`` no session is ended."""
        self._name = name
        self._namespaces = frozenset(namespaces)
        self._standing = standing
        self._facts = facts
        self._clock = clock
        self._management = management
        self._tell = tell
        self._review_every = review_every
        self._inbox = Inbox(since=int(clock()))
        self._sessions: dict[str, bytes] = {}
        self._used: dict[str, set[tuple[str, str]]] = {}
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
            asked = json.loads(await request.content.read(_BODY))
            await decide({str(name): str(value) for name, value in asked.items()})
        except WaveError as error:
            _log.info("denied: %s (%s)", error.message, error.code)
            return web.json_response(_DENY)
        except Exception:  # noqa: BLE001 - a fault here is a no, and a status that says so would be a yes
            _log.exception("denied, for a question of EMQX could not be answered")
            return web.json_response(_DENY)
        return web.json_response(_ALLOW)

    async def _let_in(self, asked: dict[str, str]) -> None:
        facts, now = await self._facts(), int(self._clock())
        identity = check_login(
            asked.get("username", ""), asked.get("password", ""), self._name, facts, now=now, inbox=self._inbox
        )
        if len(self._sessions) >= LIMITS.mqtt_entities:
            raise Unavailable("too many clients are known")
        client = asked.get("clientid", "")
        self._sessions[client] = identity
        self._used[client] = set()

    async def _let_act(self, asked: dict[str, str]) -> None:
        identity = parse_id(asked.get("username", ""))
        action, topic = asked.get("action", ""), asked.get("topic", "")
        if identity is None or action not in (PUBLISH, SUBSCRIBE):
            raise BadRequest("a question of EMQX names an entity, and publish or subscribe")
        if not await self._may(identity, action, topic):
            raise BadRequest(f"{rules.short(identity)} may not {action} at {topic[:80]}")
        used = self._used.get(asked.get("clientid", ""))
        if used is not None and len(used) < LIMITS.mqtt_rules:
            used.add((action, topic))

    async def _may(self, identity: bytes, action: str, topic: str) -> bool:
        facts, now = await self._facts(), int(self._clock())
        rules.facts_fresh(facts, now, LIMITS.max_staleness, None)
        parts = topic.split("/")
        if len(parts) > 1 and parts[0] == ROOT and parts[1] in (PROOF, DENIED, CREDENTIALS):
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
        for client, identity in tuple(self._sessions.items()):
            if not await self._still(identity, self._used.get(client, set())):
                await self._end(client, identity)

    async def _still(self, identity: bytes, used: set[tuple[str, str]]) -> bool:
        try:
            for action, topic in used:
                if not await self._may(identity, action, topic):
                    return False
        except WaveError as error:
            _log.warning("cannot check what %s may still do: %s", rules.short(identity), error.message)
            return False
        return True

    async def _end(self, client: str, identity: bytes) -> None:
        """Have EMQX end a session; it is tried again until EMQX says that it is done, or that there is none."""
        if self._management is None:
            self._sessions.pop(client, None)
            self._tell(f"{rules.short(identity)} lost a right, and nobody was named by whom its session could be ended")
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
            self._sessions.pop(client, None)
            self._used.pop(client, None)
        else:
            self._tell(f"EMQX's API would not end a session: it answered {status}")

    async def review_always(self) -> None:
        """Review until cancelled, whatever goes wrong once."""
        while True:
            await asyncio.sleep(self._review_every)
            try:
                await self.review()
            except Exception:  # noqa: BLE001 - sessions that nobody looks at any more would stay for ever
                _log.exception("a review of the sessions failed")


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
