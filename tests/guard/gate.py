"""A guarded service in memory: a world, a guard before three paths of it, and requests signed as anybody."""

from collections.abc import Mapping
from itertools import count
from typing import Any

from tests.world import World
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.errors import Unavailable
from wave.guard.guard import Caller, Guard
from wave.guard.rules import Rule, Rules
from wave.guard.shown import whole
from wave.guard.signature import PROOF_HEADER, SESSION_HEADER, HttpRequest, sign

HOST = "models.example"
INFER = "/models/alpha/infer"
JSON = {"content-type": "application/json"}
RULES = Rules(
    [
        Rule("POST", "/models/{model}/infer", "predict", "models/{model}"),
        Rule("GET", "/models/{model}", "list", "models/{model}"),
        Rule("GET", "/feed", "subscribe", "feed"),
    ],
    public=[("GET", "/healthz")],
)


class Gate:
    """The service of the namespace ``home``; ``bob`` may predict by way of ``alice`` and ``ann``."""

    def __init__(self, **settings: Any) -> None:
        self.world = World()
        self.path = self.world.chain("home alice ann bob", "predict,subscribe@home/*")
        self.proof = self.world.proof(self.path)
        self.entries: list[Mapping[str, Any]] = []
        self.down = False
        self.quick = 0  # requests that took one step
        self._numbers = count()
        self.guard = self.another(**settings)

    def another(self, **settings: Any) -> Guard:
        """Return a further guard of the same service."""
        numbers = count()
        given = {
            "facts": self.facts,
            "authorities": [HOST],
            "clock": lambda: self.world.now,
            "draw": lambda size: next(numbers).to_bytes(size),
            "record": self.entries.append,
            **settings,
        }
        return Guard(self.world.id("home"), given.pop("rules", RULES), **given)

    async def facts(self) -> Facts:
        if self.down:
            raise Unavailable("the chain is away")
        return self.world.facts

    def request(
        self,
        method: str = "POST",
        path: str = INFER,
        *,
        query: str = "",
        body: bytes = b'{"inputs":[]}',
        host: str = HOST,
        headers: Mapping[str, str] = JSON,
    ) -> HttpRequest:
        return HttpRequest(method, "http", host, path, query, dict(headers), body)

    def signed(
        self,
        name: str = "bob",
        *,
        proof: Proof | str | None = None,
        created: int | None = None,
        lifetime: int = 60,
        nonce: bytes | None = None,
        **parts: Any,
    ) -> HttpRequest:
        """Return a request as ``name`` signs it, a new nonce each time."""
        request = self.request(**parts)
        shown = self.proof if proof is None else proof
        request = with_headers(request, {PROOF_HEADER: shown if isinstance(shown, str) else whole(shown)})
        begun = self.world.now if created is None else created
        drawn = next(self._numbers).to_bytes(16) if nonce is None else nonce
        made = sign(self.world.entity(name), request, created=begun, expires=begun + lifetime, nonce=drawn)
        return with_headers(request, made)

    async def admit(self, request: HttpRequest) -> Caller:
        return await self.guard.admit(request)

    async def enter(self, request: HttpRequest) -> Caller | None:
        """Admit a request in the two steps that adapters make."""
        place, session, caller = request[:5], request.headers.get(SESSION_HEADER), None
        if session is not None:
            caller = await self.guard.again(place, session, request.body)
        self.quick += caller is not None
        return caller or await self.guard.enter(request, place)


def with_headers(request: HttpRequest, more: Mapping[str, str]) -> HttpRequest:
    """Return ``request`` with these headers as well."""
    return request._replace(headers={**request.headers, **{name.lower(): value for name, value in more.items()}})
