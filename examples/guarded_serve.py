"""A Ray Serve deployment, guarded twice: its HTTP by a middleware, and the method that handles call by a decorator.

Run it with: python examples/guarded_serve.py   (a Ray cluster of its own; wants `pip install 'ray[serve]'`)
"""

import asyncio
import os
import socket
import tempfile
import time
from pathlib import Path

from aiohttp import ClientSession

from devices.gateway.ray import keep_to_oneself
from wave import Dot, EntitySecret, Proof
from wave.agent.settings import Settings
from wave.chain.node import EmbeddedNode
from wave.chain.serve import serving as serving_chain
from wave.guard import Guard, Rule
from wave.guard.asgi import WaveMiddleware
from wave.guard.check import unguarded_methods
from wave.guard.client import signing
from wave.guard.decorator import guarded, sign_call
from wave.guard.facts import ChainFacts
from wave.namespace.grant import right

keep_to_oneself(os.environ)
import ray  # noqa: E402 - it reads some settings when it is imported
from fastapi import FastAPI, Request  # noqa: E402
from ray import serve  # noqa: E402
from ray.exceptions import RayTaskError  # noqa: E402

NOW = int(time.time())
owner, alice, bob = (EntitySecret.create(os.urandom, created=NOW, expires=NOW + 86_400) for _ in range(3))
NAMESPACE = owner.id  # what replicas need of the owner: its id, and no key
RULES = [Rule("POST", "/models/{model}/infer", "predict", "models/{model}")]  # what no rule maps is refused


def guard() -> Guard:
    """Return a replica's guard, which follows the chain by itself."""
    home = Path(tempfile.mkdtemp(dir=os.environ["EXAMPLE_HOME"]))
    source = ChainFacts(Settings(home, os.environ["EXAMPLE_CHAIN"]))
    source.catch_up()
    return Guard(NAMESPACE, RULES, facts=source.facts, authorities=[os.environ["EXAMPLE_PLACE"]])


def web() -> WaveMiddleware:
    """Return the application that Serve is to put before the deployment, with its guard in front."""
    app = FastAPI()

    @app.post("/models/{model}/infer")
    async def infer(model: str, row: list[float], request: Request) -> dict[str, object]:
        return {"model": model, "answer": sum(row), "for": request.scope["wave"].id}

    return WaveMiddleware(app, guard())


class Sums:
    """What other deployments ask by handle. No request passes the middleware then, so the method checks."""

    @guarded(guard, namespace=NAMESPACE, permission="predict", resource="models/{model}")
    async def infer(self, model: str, row: list[float]) -> float:
        """Answer for whoever may ask this model."""
        return sum(row)


async def story(place: str) -> None:
    """Ask as alice, who may ask one model, as bob with her proof, and without any."""
    dot = Dot.create(
        owner,
        receiver=alice.id,
        namespace=NAMESPACE,
        grants=(right(("predict",), "models/sums"),),
        created=NOW,
        expires=NOW + 3600,
    )
    proof = Proof.build([(dot,)], [owner.entity, alice.entity, bob.entity])
    print("methods that a handle could call unguarded:", unguarded_methods(Sums))

    asked = (("alice", alice, "sums"), ("nobody", None, "sums"), ("bob", bob, "sums"), ("alice", alice, "secret"))
    for name, sender, model in asked:
        mine = () if sender is None else (signing(sender, proof),)
        url = f"http://{place}/models/{model}/infer"
        async with ClientSession(middlewares=mine) as http, http.post(url, json=[1.0, 2.0]) as answer:
            told = await answer.json(content_type=None)
            print(f"{name} posts to {model}: {answer.status} {told.get('answer', told.get('code'))}")

    handle = serve.get_app_handle("sums")
    for name, sender, model in asked:
        args, drawn = (model, [3.0, 4.0]), {"created": int(time.time()), "nonce": os.urandom(16)}
        ticket = None if sender is None else sign_call(sender, proof, Sums.infer, *args, **drawn)
        try:
            print(f"{name}'s handle to {model}: {await handle.infer.remote(ticket, *args)}")
        except RayTaskError as error:
            print(f"{name}'s handle to {model}: refused [{getattr(error.cause, 'code', error.cause)}]")


def start(port: int) -> None:
    """Start a cluster, and the deployment in it."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    deployment = serve.deployment(serve.ingress(web)(Sums)).options(name="Sums")
    serve.run(deployment.bind(), name="sums", route_prefix="/")


def free_port() -> int:
    """Return a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def main() -> None:
    """Run a chain and a cluster beside the story."""
    port = free_port()
    place = f"127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as name, EmbeddedNode.open(Path(name) / "chain") as node:
        async with serving_chain(node, port=0) as chain:
            os.environ.update(EXAMPLE_HOME=name, EXAMPLE_CHAIN=chain, EXAMPLE_PLACE=place)
            await asyncio.to_thread(start, port)
            await story(place)
            await asyncio.to_thread(ray.shutdown)


if __name__ == "__main__":
    asyncio.run(main())
