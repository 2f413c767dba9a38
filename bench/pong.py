"""How long players of pong survive: at random, by the plain rule, by imitating clean or spoilt rows, and by PPO."""

from collections.abc import Iterator
from importlib.util import find_spec

from bench.figure import Figure
from devices.pong.data import exercise
from devices.pong.evaluate import EPISODES, RULE, SEEDS, Batch, evaluate, of_onnx, random_moves
from devices.pong.imitate import train

SPOILT_BOUND = 0.5
PPO_STEPS = 600  # mean steps that PPO is to survive, at least
PPO_SECONDS = 900  # that its training may take on two cores
CAMP = {"random": "60", "rule": "1,244", "small": "171 to 215", "large": "76 to 90"}  # mean steps there


def figures() -> Iterator[Figure]:
    """Yield each player's mean steps, and what the spoilt set comes to of the clean one."""
    note = f"{EPISODES} games, {len(SEEDS)} seeds"
    players: dict[str, Batch] = {"random": random_moves(1), "rule": RULE}
    players |= {name: of_onnx(train(exercise(name)).onnx) for name in ("small", "large")}
    means = {}
    for name, policy in players.items():
        found = evaluate(policy)
        means[name] = found.mean
        by_seed = ", ".join(f"{mean:,.0f}" for mean in found.means)
        yield Figure(f"mean steps, {name}", found.mean, "steps", None, f"by seed {by_seed}; the camp's {CAMP[name]}")
    yield Figure("spoilt set / clean set", means["large"] / means["small"], "x", SPOILT_BOUND, note)
    yield from reinforced()


def reinforced() -> Iterator[Figure]:
    """Yield how long PPO survives after a training, and how long that took with Ray's start."""
    names = f"{PPO_STEPS} / mean steps, PPO", "training, PPO"
    if find_spec("ray") is None or find_spec("torch") is None:
        yield from (Figure(name, None, "x", 1.0, "needs make setup-heavy") for name in names)
        return
    from devices.pong.reinforce import train as reinforce

    trained = reinforce(seconds=PPO_SECONDS)
    found, last = evaluate(of_onnx(trained.onnx)), trained.curve[-1]
    by_seed = ", ".join(f"{mean:,.0f}" for mean in found.means)
    yield Figure(names[0], PPO_STEPS / found.mean, "x", 1.0, f"mean {found.mean:,.0f}, by seed {by_seed}")
    yield Figure(names[1], last["seconds"], "s", PPO_SECONDS, f"{last['steps']:,.0f} steps")
