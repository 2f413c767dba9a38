"""A FastAPI service of one's own behind a guard, in a process that follows the chain by itself, without an agent.

Run it with: WAVE_CHAIN=http://127.0.0.1:8545 WAVE_HOME=service python examples/guarded_fastapi.py NAMESPACE-ID 8001
Ask it with: wave curl --from alice.ent -d '[[1, 2], [3, 4]]' http://localhost:8001/models/sums/infer
"""

import os
import sys

import uvicorn
from fastapi import FastAPI, Request

from wave.agent.settings import Settings
from wave.codec import parse_id
from wave.guard import Guard, Rule
from wave.guard.asgi import WaveMiddleware
from wave.guard.facts import ChainFacts

RULES = [Rule("POST", "/models/{model}/infer", "predict", "models/{model}")]  # what no rule maps is refused
app = FastAPI()


@app.post("/models/{model}/infer")
async def infer(model: str, rows: list[list[float]], request: Request) -> dict[str, object]:
    """Answer for whoever may ask this model."""
    return {"model": model, "answers": [sum(row) for row in rows], "for": request.scope["wave"].id}


if __name__ == "__main__":
    namespace, port = parse_id(sys.argv[1]) or sys.exit("name a namespace by its id"), int(sys.argv[2])
    with ChainFacts(Settings.from_environment(os.environ)) as source:
        source.catch_up()
        guard = Guard(namespace, RULES, facts=source.facts, authorities=[f"localhost:{port}"])
        app.add_middleware(WaveMiddleware, guard=guard)  # the line that guards every endpoint
        uvicorn.run(app, port=port, log_level="warning")
