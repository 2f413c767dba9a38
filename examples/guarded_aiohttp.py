"""An aiohttp service of one's own behind a guard, with the agent of this machine to tell what was revoked.

Run it with: python examples/guarded_aiohttp.py NAMESPACE-ID 8000     (beside `wave agent run`)
Ask it with: wave curl --from alice.ent -X POST http://localhost:8000/lights/hall
"""

import os
import sys

from aiohttp import web

from wave.agent.client import AgentClient, FactsFeed
from wave.agent.settings import Settings
from wave.codec import parse_id
from wave.guard import Guard, Rule
from wave.guard.aiohttp import CALLER, middleware

RULES = [Rule("POST", "/lights/{name}", "publish", "light/{name}")]  # what no rule maps is refused


async def switch(request: web.Request) -> web.Response:
    """Switch a light, for whoever may."""
    caller = request[CALLER]
    return web.json_response({"light": request.match_info["name"], "by": caller.id if caller else None})


async def service(namespace: bytes, port: int) -> web.Application:
    """Return the service of a namespace, which clients reach at ``port``."""
    agent = AgentClient(str(Settings.from_environment(os.environ).socket))
    guard = Guard(namespace, RULES, facts=FactsFeed(agent).facts, authorities=[f"localhost:{port}"])
    app = web.Application(middlewares=[middleware(guard)])  # the line that guards every endpoint
    app.router.add_post("/lights/{name}", switch)
    app.on_cleanup.append(lambda _: agent.close())
    return app


if __name__ == "__main__":
    home = parse_id(sys.argv[1]) or sys.exit("name a namespace by its id")
    web.run_app(service(home, int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[2]))
