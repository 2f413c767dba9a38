"""A data set whose reading is guarded by the part: the columns and the players' rows that one may read, and no others.

Run it with: python examples/guarded_frame.py     (wants `pip install pandas`, and takes Modin where that is installed)
"""

import os
import time
from typing import Any

from wave import Dot, EntitySecret, Facts, Pattern, Proof, Request, Statement, WaveError, verify
from wave.bus.message import Accepted
from wave.guard import Guard
from wave.guard.decorator import guarded, sign_call
from wave.namespace.grant import right

os.environ.setdefault("MODIN_ENGINE", "python")  # in this process; "ray" for all cores and machines
try:
    import modin.pandas as pd
except ImportError:
    import pandas as pd

NOW = int(time.time())
lab, data, ann, bob = (EntitySecret.create(os.urandom, created=NOW, expires=NOW + 86_400) for _ in range(4))
FACTS = Facts(height=7, block_hash=bytes(32), time=NOW)  # what an agent, or ChainFacts, says of the newest block
PLAY = pd.DataFrame(
    [("ada", 1, 0.2, 1), ("ada", 2, 0.3, 0), ("max", 1, 0.9, 2), ("max", 2, 0.7, 2)],
    columns=["player", "step", "ball_y", "action"],
)


async def newest() -> Facts:
    """Return the facts that the guard decides by."""
    return FACTS


@guarded(Guard(lab.id, [], facts=newest, authorities=["lab"]), permission="list", resource="data/pong")
def read(columns: list[str], players: list[str], *, caller: Accepted) -> tuple[Any, list[str]]:
    """Return the parts of the set that the caller may read, and what is wrong with the others.

    The part of a column that one player made is the resource ``data/pong/PLAYER/COLUMN``, and to read it the permission
    ``read`` of the permission set ``data``.
    """
    parts, refused = [], []
    for player in players:
        allowed = []
        for column in columns:
            asked = Statement("read", Pattern(f"data/pong/{player}/{column}"), data.id)
            try:
                request = Request(caller.message.sender, lab.id, (asked,))
                verify(caller.proof, request, caller.facts, now=caller.now)
                allowed.append(column)
            except WaveError as error:
                refused.append(f"{player}'s {column}: [{error.code}]")
        if allowed:  # without a column, the number of rows would still be told
            parts.append(PLAY[PLAY["player"] == player][allowed])
    return pd.concat(parts) if parts else None, refused


def proof_for(who: EntitySecret, pattern: str) -> Proof:
    """Return a proof that the lab lets ``who`` know of the set, and read the parts that ``pattern`` matches."""
    grants = right(("list",), "data/pong"), right(("read",), pattern, (), data.id)
    dot = Dot.create(lab, receiver=who.id, namespace=lab.id, grants=grants, created=NOW, expires=NOW + 3600)
    return Proof.build([(dot,)], [lab.entity, ann.entity, bob.entity])


def show(name: str, who: EntitySecret, proof: Proof) -> None:
    """Print what somebody is given who asks for three columns of both players."""
    asked = ["step", "ball_y", "action"], ["ada", "max"]
    try:
        ticket = sign_call(who, proof, read, *asked, created=int(time.time()), nonce=os.urandom(16))
        frame, refused = read(ticket, *asked)
        print(f"{name} reads\n{frame}\nand not", *refused or ["nothing"], sep="\n  ")
    except WaveError as error:
        print(f"{name} reads nothing: [{error.code}] {error.message}")


if __name__ == "__main__":
    show("ann, by the column,", ann, proof_for(ann, "data/pong/+/action"))
    show("bob, by the player,", bob, proof_for(bob, "data/pong/ada/*"))
    show("bob, with ann's proof,", bob, proof_for(ann, "data/pong/*"))
