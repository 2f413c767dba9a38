"""The page's socket: its files, where the gateway is, and proofs for the browser's key. It holds no right itself.

The browser asks the gateway by itself, and signs each request with a key that it made and never gives out.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import hdrs, web

from devices.gateway.model import check_name
from devices.origin import check_origin
from devices.page.local import LocalPage, static_files
from devices.page.visitor import base64_text, from_base64
from devices.pong import field
from wave.agent.client import AgentClient
from wave.agent.wire import Ask, Graph, Names, Prove, Publish, Wanted
from wave.chain.listen import listen_tcp
from wave.codec import id_text
from wave.dots.proof import Proof
from wave.entities import keys
from wave.entities.entity import Entity
from wave.errors import BadRequest, Refused, WrongSender
from wave.guard.signature import HttpRequest, check_age, check_digest, read
from wave.limits import LIMITS

_LONGEST_BODY: Final = 4096
_SHARED: Final = ("codec.js", "key.js", "dom.js", "page.css")  # with the home's page
_UNKNOWN: Final = "unknown"  # the state of an entity that somebody granted something, and whose record is not here
_FIGURES: Final = ("WIDTH", "HEIGHT", "PADDLE_WIDTH", "PADDLE_HEIGHT", "BALL_RADIUS", "STEP", "SCALE", "PADDLE_SPEED",
                   "SERVE_SPEED", "SERVE_RISE", "ACCELERATION", "FASTEST", "SPIN", "SLACK")  # fmt: skip


def figures() -> dict[str, float]:
    """Return the field's figures, by which the page plays the same game."""
    return {name.lower(): getattr(field, name) for name in _FIGURES}


class _Site:
    """The routes of one page."""

    def __init__(self, agent: AgentClient, gateway: str, app: str, clock: Callable[[], float]) -> None:
        self._agent = agent
        self._clock = clock
        self._setup = {"gateway": gateway, "app": app, "figures": figures()}
        self.local: LocalPage

    def routes(self) -> tuple[web.RouteDef, ...]:
        """Return what the page asks of its own server."""
        return web.get("/setup", self.setup), web.post("/prove", self.prove)

    async def setup(self, _: web.Request) -> web.Response:
        """Say which application of which gateway plays, by which figures, and what time it is."""
        return web.json_response({**self._setup, "time": self._clock()})

    async def prove(self, request: web.Request) -> web.Response:
        """Give a proof of what the browser's key may, or the refusal; and what the namespace is called here."""
        given = await self.local.own_object(request)
        entity = Entity.from_bytes(from_base64(given.get("entity")))
        entity.check()
        self._check_signed(request, await request.read(), entity)
        wanted = _wanted(given.get("wanted"))
        ask = Ask(subject=id_text(entity.id), namespace=str(given.get("namespace")), statements=wanted)
        name = (await self._agent.call(Names())).names.get(ask.namespace, "")
        try:
            proof = await self._proof(ask, entity)
        except Refused as error:
            error.details["namespace"] = name
            raise
        return web.json_response({"proof": base64_text(proof.to_bytes()), "id": id_text(proof.id), "namespace": name})

    def _check_signed(self, request: web.Request, body: bytes, entity: Entity) -> None:
        """Raise :class:`Refused` unless a request is signed by ``entity``: whoever else asks learns nothing of it."""
        path, mark, query = request.raw_path.partition("?")
        authority = request.headers.get(hdrs.HOST, "")
        asked = HttpRequest(request.method, request.scheme, authority, path, mark + query, request.headers, body)
        signed = read(asked)
        if signed.key != id_text(entity.id):
            raise WrongSender("the request was signed by another key")
        check_age(signed.created, min(signed.expires, signed.created + LIMITS.message_lifetime), int(self._clock()))
        check_digest(asked)
        keys.verify(entity.verify_key, signed.base, signed.value)

    async def _proof(self, ask: Ask, entity: Entity) -> Proof:
        try:
            reply = await self._agent.call(Prove(ask=ask))
        except Refused:
            if not await self._introduced(ask, entity):
                raise
            reply = await self._agent.call(Prove(ask=ask))
        found = Proof.from_bytes(reply.proof)
        return Proof.build(found.paths, [entity, *found.entities.values()])

    async def _introduced(self, ask: Ask, entity: Entity) -> bool:
        """Let the agent know a key's record once somebody has granted it something; strangers fill no disk."""
        graph = await self._agent.call(Graph(namespace=ask.namespace))
        if not any(node.id == ask.subject and node.state == _UNKNOWN for node in graph.nodes):
            return False
        await self._agent.call(Publish(objects=(entity.to_bytes(),), keep_only=True))
        return True


def _wanted(value: object) -> tuple[Wanted, ...]:
    pairs: list[Any] = value if isinstance(value, list) else [None]
    if not all(isinstance(one, list) and [type(text) for text in one] == [str, str] for one in pairs):
        raise BadRequest("wanted is an array of pairs of a permission and a resource")
    return tuple([Wanted(permission=permission, pattern=resource) for permission, resource in pairs])


@asynccontextmanager
async def serving(
    agent: AgentClient, gateway: str, *, app: str, port: int, clock: Callable[[], float]
) -> AsyncIterator[str]:
    """Serve the page on loopback while the body runs (port 0: any free one); give its URL.

    It plays against ``app`` of the gateway at the URL ``gateway``, by the time of ``clock``.
    :class:`BadSetting`, :class:`BadModel`, :class:`PortInUse`.
    """
    origin = check_origin(gateway)
    site = _Site(agent, origin, check_name(app, "an application"), clock)
    files = static_files("devices.page", _SHARED) | static_files("devices.pong.page")
    listener = listen_tcp("127.0.0.1", port)
    site.local = LocalPage(listener, files, connects=[origin])
    runner = web.AppRunner(site.local.application(*site.routes(), longest_body=_LONGEST_BODY), access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield site.local.url
    finally:
        await runner.cleanup()
