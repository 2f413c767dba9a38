"""A gateway in memory and real worker processes: a world, signed models, an engine, and both HTTP applications."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import ClientMiddlewareType, ClientResponse, ClientSession, web
from aiohttp.test_utils import TestServer

from devices.gateway.app import Engine, Terms
from devices.gateway.metrics import GatewayMetrics
from devices.gateway.model import Manifest, package_bytes, sign_model
from devices.gateway.pool import Pools, WorkerPool
from devices.gateway.replica import MIB, Bounds
from devices.gateway.service import admin_app, admin_rules, query_app, query_rules
from devices.gateway.store import ModelStore
from tests.world import DAY, World
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.guard.client import signing
from wave.guard.guard import Guard

SUM = b"def predict(rows):\n    return [sum(row) for row in rows]\n"
QUICK = Bounds(loading=30.0, answering=1.0, memory=64 * MIB)


def says(text: str) -> bytes:
    """Return a model that answers everything with the same value, written in Python."""
    return f"def predict(rows):\n    return [{text}] * len(rows)\n".encode()


class Booth:
    """The gateway of the namespace ``home``; ``ann`` may change its models and applications."""

    def __init__(self, directory: Path, *, bounds: Bounds = QUICK, pools: Pools = WorkerPool) -> None:
        self.world = World()
        self.directory = directory
        self.may_admin = self.world.grant("home", "ann", "admin@home/*")
        self.by_ann = self.world.proof(self.may_admin)
        self.metrics = GatewayMetrics()
        self.pools = pools
        self._nonces = count()
        self.engine = self.another(bounds)

    def another(self, bounds: Bounds = QUICK) -> Engine:
        """Return a further engine over the same directory."""
        return Engine(
            self.world.id("home"),
            ModelStore(self.directory),
            facts=self.facts,
            meter=self.metrics,
            bounds=bounds,
            pools=self.pools,
            clock=lambda: self.world.now,
        )

    async def facts(self) -> Facts:
        return self.world.facts

    def signed(
        self,
        artefact: bytes = SUM,
        version: str = "1",
        *,
        model: str = "sum",
        by: str = "ann",
        proof: Proof | None = None,
        home: str = "home",
        **fields: Any,
    ) -> bytes:
        """Return a model's signed manifest."""
        return sign_model(
            self.world.entity(by),
            self.world.id(home),
            Manifest.of(artefact, model=model, version=version, **{"format": "python", **fields}),
            self.by_ann if proof is None else proof,
            now=self.world.now,
            lifetime=30 * DAY,
            nonce=next(self._nonces).to_bytes(16),
        )

    async def deploy(self, artefact: bytes = SUM, version: str = "1", **fields: Any) -> None:
        await self.engine.deploy(self.signed(artefact, version, **fields), artefact)

    def serve(self, name: str, *models: str, **terms: Any) -> None:
        """Register an application and link models to it."""
        given = {"input_type": "doubles", "default_output": -1, "objective": 5.0, **terms}
        self.engine.register(name, Terms.parse(given))
        for model in models:
            self.engine.link(name, model)


class Front:
    """A booth's two applications, served behind their guards."""

    def __init__(self, booth: Booth, questions: TestServer, changes: TestServer, stack: AsyncExitStack) -> None:
        self.booth = booth
        self.questions = questions
        self.changes = changes
        self._stack = stack

    async def client(self, name: str | None = None, *grants: str, **settings: Any) -> ClientSession:
        """Return a client that signs as ``name``, who holds what ``grants`` say; or one that signs nothing."""
        world = self.booth.world
        middlewares: tuple[ClientMiddlewareType, ...] = ()
        if name is not None:
            proof = settings.pop("proof", None) or world.proof(world.grant("home", name, *grants))
            middlewares = (signing(world.entity(name), proof, clock=lambda: world.now, **settings),)
        return await self._stack.enter_async_context(ClientSession(middlewares=middlewares))

    async def ask(self, client: ClientSession, path: str, body: Any, **more: Any) -> tuple[int, Any]:
        """Return status and JSON of a POST to the port for questions."""
        given = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with client.post(self.questions.make_url(path), **given, **more) as response:
            return await _read(response)

    async def get(self, client: ClientSession, path: str) -> tuple[int, Any]:
        async with client.get(self.questions.make_url(path)) as response:
            return await _read(response)

    async def change(self, client: ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and JSON of a request to the admin API."""
        given: Mapping[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with client.request(method, self.changes.make_url(f"/admin/v1/{path}"), **given) as response:
            return await _read(response)


async def _read(response: ClientResponse) -> tuple[int, Any]:
    return response.status, await response.json(content_type=None)


@asynccontextmanager
async def fronted(booth: Booth, *, origins: Sequence[str] = ()) -> AsyncIterator[Front]:
    """Serve a booth whose engine runs; ``origins`` are of pages that may ask it."""
    async with AsyncExitStack() as stack:
        questions = await _server(stack, booth, query_rules(), partial(query_app, origins=origins))
        changes = await _server(stack, booth, admin_rules(), admin_app, body_bytes=package_bytes())
        yield Front(booth, questions, changes, stack)


async def _server(stack: AsyncExitStack, booth: Booth, rules: Any, build: Any, **settings: Any) -> TestServer:
    authorities: set[str] = set()
    probe = TestServer(web.Application())
    await probe.start_server()
    port = probe.port
    await probe.close()
    authorities.add(f"127.0.0.1:{port}")
    guard = Guard(
        booth.world.id("home"),
        rules,
        facts=booth.facts,
        authorities=authorities,
        clock=lambda: booth.world.now,
        **settings,
    )
    server = TestServer(build(booth.engine, guard), port=port)
    await server.start_server()
    stack.push_async_callback(server.close)
    return server
