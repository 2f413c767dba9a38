"""From a press of one home's switch to the report of another home's light, over the router, as people would run it.

Eight processes: a chain, a router, and for each home an agent and the home itself, whose devices check everything by
themselves; and this one, which presses and hears the light's own report. So a figure holds four journeys over the
router and five checks: press to switch, switch to controller, controller to light, light back to here.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

from bench.figure import Figure
from cli.stage import Person, Stage
from devices.machine import write_json
from devices.site import Site
from wave.agent.client import AgentClient
from wave.agent.wire import Resolve, identity
from wave.entities.keyring import read_entity, read_secret

PRESSES = 400
WARM_UP = 20
MEDIAN = 15.0  # milliseconds
P99 = 60.0
GIVE_UP = 5.0  # seconds
LIGHT = "s.light/porch/i.boolean"
SWITCH = "s.switch/wall/i.boolean"
ANN_HOME = """\
namespace = "annhome"
[[device]]
kind = "light"
instance = "porch"
"""
BEN_HOME = f"""\
namespace = "benhome"
[[device]]
kind = "switch"
instance = "wall"
[[controller]]
name = "mirror"
rule = "mirror"
from = {{switch = "benhome/{SWITCH}/signal/state"}}
to = "annhome/{LIGHT}/slot/state"
"""


def figures() -> Iterator[Figure]:
    """Yield median and 99th percentile."""
    with tempfile.TemporaryDirectory(prefix="wave-") as folder, Stage(Path(folder)) as stage:
        ben = _two_homes(stage)
        times = sorted(1e3 * one for one in asyncio.run(_presses(ben)))
    note = f"{PRESSES} presses, the quickest {times[0]:.1f} ms, the slowest {times[-1]:.1f} ms"
    yield Figure("a switch's press to the light's report, median", median(times), "ms", MEDIAN, note)
    yield Figure("a switch's press to the light's report, 99th percentile", quantiles(times, n=100)[98], "ms", P99)


def _do(person: Person, *arguments: str) -> None:
    came = person.run(*arguments)
    if came.status:
        raise RuntimeError(f"wave {' '.join(arguments)}: {came.result}")


def _two_homes(stage: Stage) -> Person:
    """Start everything and give the neighbours what they need; return Ben."""
    chain = stage.start(stage.person("chain"), "chain", "chain", "run", "--port", "0")
    url = chain.address()
    carrier, ann, ben = (stage.person(name, WAVE_CHAIN=url) for name in ("carrier", "ann", "ben"))
    router = stage.start(carrier, "router", "router", "run", "--port", "0", "--json")
    agents = [stage.start(person, "agent", "agent", "run") for person in (ann, ben)]
    for person in (ann, ben):
        person.environment["WAVE_ROUTER"] = router.ready()["url"]
    for agent in agents:
        agent.address()
    _do(ann, "mkentity", "-o", "annhome.ent", "--no-passphrase")
    _do(ben, "mkentity", "-o", "benhome.ent", "--no-passphrase")
    _do(ben, "mkentity", "-o", "ben.ent", "--no-passphrase")
    _do(ann, "alias", "annhome", "annhome")
    _do(ben, "alias", "ben", "ben")
    shared = (f"publish@annhome/{LIGHT}/slot/state", f"subscribe@annhome/{LIGHT}/signal/state")
    _do(ann, "grant", "--from", "annhome.ent", "--to", "ben", "--indirections", "3", *shared)
    _do(ben, "grant", "--from", "benhome.ent", "--to", "ben", f"publish@benhome/{SWITCH}/slot/state")
    for person, plan in ((ann, ANN_HOME), (ben, BEN_HOME)):
        (person.directory / "HOME.toml").write_text(plan, "utf-8")
        stage.start(person, "home", "home", "run", "--from", f"{person.name}home.ent", "HOME.toml", "--json").ready()
    _do(ben, "grant", "--from", "ben.ent", "--to", "mirror", f"publish@annhome/{LIGHT}/slot/state")
    return ben


async def _presses(ben: Person) -> list[float]:
    """Press the switch again and again; return the seconds until the light has said what it then is."""
    home = read_entity(ben.directory / "benhome.ent").id
    secret = read_secret(ben.directory / "ben.ent", str)
    found = []
    async with AgentClient(str(ben.home / "agent.sock")) as agent:
        site = Site.of(agent, ben.environment["WAVE_ROUTER"], time.time)
        async with site.peer(secret) as peer:
            neighbour = identity((await agent.call(Resolve(name="annhome"))).id)
            reading = await peer.subscribe(neighbour, f"{LIGHT}/signal/state")
            heard = aiter(reading)
            for turn in range(WARM_UP + PRESSES):
                wanted = "on" if turn % 2 == 0 else "off"
                begun = time.perf_counter()
                await peer.publish(home, f"{SWITCH}/slot/state", write_json({"state": wanted}))
                async with asyncio.timeout(GIVE_UP):
                    while json.loads((await anext(heard)).message.payload)["state"] != wanted:
                        pass
                found.append(time.perf_counter() - begun)
    return found[WARM_UP:]
