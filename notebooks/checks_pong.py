"""The checks of the notebook about pong: what the models have learnt, who may ask them, and who may not any more."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arcade import Arcade
from camp import Camp
from checks import Checks, NotYet, told

from cli.stage import Outcome
from devices.gateway.model import parse_manifest
from devices.pong.data import DataSet
from devices.pong.evaluate import Batch, evaluate, of_onnx
from devices.pong.imitate import as_policy, imitate
from wave.codec import sha256

EPISODES = 25
CLEARLY = 1.5  # times as long


def survived(policy: Batch) -> float:
    """Return how many steps a policy survives on average."""
    return evaluate(policy, episodes=EPISODES, seeds=(1,)).mean


class PongChecks(Checks):
    """The checks of one arcade."""

    def __init__(self, camp: Camp, arcade: Arcade) -> None:
        """Look at what happens in ``arcade``."""
        super().__init__(camp)
        self._arcade = arcade

    # What was learnt -----------------------------------------------------------------------------------------------

    @told
    def learnt(self, small: Any, large: Any) -> str:
        """Let both models play."""
        if not hasattr(small, "predict") or not hasattr(large, "predict"):
            raise NotYet("'imitate(SET)' makes a model of a set")
        steps = [survived(as_policy(model)) for model in (small, large)]
        if steps[0] < CLEARLY * steps[1]:
            raise NotYet(f"they survive {steps[0]:.0f} and {steps[1]:.0f} steps: is the first one of the small set?")
        return f"of the small set it survives {steps[0]:.0f} steps, and of the larger one {steps[1]:.0f}"

    @told
    def blamed(self, data: DataSet, without: Any, spoiler: Any) -> str:
        """Leave a player out, and see whether that helps."""
        if not isinstance(without, Mapping) or set(without) != set(data.names):
            raise NotYet(f"'without' says for each of {', '.join(data.names)} how long a model survives without them")
        if spoiler not in data.names:
            raise NotYet(f"the players are {', '.join(data.names)}")
        whole, cleaned = (survived(as_policy(imitate(one))) for one in (data, data.without([spoiler])))
        if cleaned < CLEARLY * whole:
            raise NotYet(f"without {spoiler} it survives {cleaned:.0f} steps, and with everybody {whole:.0f}")
        if any(abs(without[name] - cleaned) < abs(without[name] - whole) for name in set(data.names) - {spoiler}):
            raise NotYet("by what 'without' says, somebody else's rows would be to blame as well")
        return f"without {spoiler} it survives {cleaned:.0f} steps instead of {whole:.0f}"

    @told
    def exported(self, first: str, second: str) -> str:
        """Let both files play."""
        for name in (first, second):
            if not Path(name).is_file():
                raise NotYet(f"there is no {name} here")
        steps = [survived(of_onnx(Path(name).read_bytes())) for name in (first, second)]
        if steps[1] < CLEARLY * steps[0]:
            raise NotYet(f"{first} survives {steps[0]:.0f} steps, and {second} {steps[1]:.0f}: the second is the clean")
        return f"{first} survives {steps[0]:.0f} steps, and {second} {steps[1]:.0f}"

    @told
    def signed(self, *names: str) -> str:
        """Look at the manifests beside the files."""
        for version, name in enumerate(names, 1):
            path = Path(f"{name}.wave")
            if not path.is_file():
                raise NotYet(f"there is no {path} here; 'wave gateway sign' writes it")
            about = parse_manifest(path.read_bytes())
            if (about.model, about.version, about.input_type) != ("pong", str(version), "floats"):
                raise NotYet(f"{path} is about {about.model} version {about.version}, which takes {about.input_type}")
            if about.sha256 != sha256(Path(name).read_bytes()).hex():
                raise NotYet(f"{name} is not the file that was signed")
        return f"{' and '.join(names)} are signed, and whoever alters them is found out"

    # Who may ask ---------------------------------------------------------------------------------------------------

    @told
    def plays(self, who: str, version: str) -> str:
        """Ask for a move as somebody."""
        move = self._allowed(self._ask(f"{who}.ent"))
        if move["by"] != f"pong/{version}":
            raise NotYet(f"the move came from {move['by'] or 'no model'}, and version {version} is wanted")
        return f"version {version} answers {who}: {move['output']}"

    @told
    def guarded(self, proof: str) -> str:
        """Ask without a proof, with one for something else, and with the right one."""
        self._running()
        status, problem = self._arcade.ask_unsigned()
        if status != 401:
            raise NotYet(f"without a proof the answer is {status} {problem}")
        if not Path(proof).is_file():
            raise NotYet(f"there is no {proof} here; 'wave prove --subject guest -o {proof} …' writes it")
        wrong = self._ask("guest.ent", "--proof", proof)
        if wrong.field("status") != 403:
            raise NotYet(f"with {proof} the answer is {wrong.seen}; is it the guest's, for something else than pong?")
        self._allowed(self._ask("player.ent"))
        return f"no proof: 401 {problem['code']}; a proof of something else: 403 {wrong.seen}; the player plays"

    @told
    def revoked(self, proof: str) -> str:
        """Ask once more what was asked before, with the proof that was good then."""
        self._running()
        came = self._ask("player.ent", "--proof", proof)
        if came.status == 0:
            raise NotYet("the player may still ask; 'wave revoke --from home.ent --dot ID' takes it back")
        if came.seen != "dot.revoked":
            raise NotYet(f"with {proof} the answer is {came.seen}")
        self._may("trainer", "admin@home/models/pong")
        return f"403 {came.seen}, although the gateway knows the answer by heart; and the trainer's right stands"

    # What they share -----------------------------------------------------------------------------------------------

    def _running(self) -> None:
        if not self._arcade.runs:
            raise NotYet("the gateway does not run; see what 'arcade.start()' said")

    def _ask(self, secret: str, *proof: str) -> Outcome:
        self._running()
        return self._arcade.ask(secret, *proof)

    @staticmethod
    def _allowed(came: Outcome) -> dict[str, Any]:
        """Return the move that was answered, and by whom."""
        if came.status:
            raise NotYet(f"{came.field('detail') or came.seen}")
        answer = json.loads(came.field("body"))
        return {**answer, "by": came.field("headers").get("Wave-Models")}
