"""``python -m tests.chain.killed FOLDER``: kill a follower at random points, again and again, and look what is left.

Each follower is a fork of this process, so that a kill costs milliseconds. Prints how many kills there were and at how
many different heights they found the replica; exits 1 when the replica is not what one built anew is.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.chain.staged import BOB as SOMEBODY
from tests.chain.staged import Staged, claimed, contents, entity, forged, revoked
from wave.chain import follower as follower_module
from wave.chain.follower import Follower

KILLS = 60
BLOCKS = 240


def main(folder: Path) -> int:
    """Kill and compare; return the exit status."""
    follower_module.BLOCKS_PER_STEP = 2  # type: ignore[misc] # many transactions, many points to die at
    chain = Staged()
    for number in range(BLOCKS):
        people = [entity(f"{number}.{one}").entity.to_bytes() for one in range(2)]
        chain.say(*people, forged(SOMEBODY), b"junk", revoked(b"%032d" % number), claimed(b"n%d" % number, SOMEBODY.id))
    with Follower(chain, folder / "anew.sqlite") as anew:
        started = time.monotonic()
        anew.sync()
        whole = time.monotonic() - started
        expected = contents(anew)
    draw = random.Random(7)
    heights: set[int] = set()
    round_ = kills = 0
    while kills < KILLS:
        path = folder / f"{round_}.sqlite"
        child = os.fork()
        if child == 0:
            with Follower(chain, path) as follower:
                follower.sync()
                signal.pause()
        time.sleep(draw.uniform(0, whole / 3))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        with Follower(chain, path) as follower:
            heights.add(follower.facts.height)
            if follower.facts.height < BLOCKS:
                continue
            follower.sync()
            if contents(follower) != expected:
                return 1
        round_ += 1
    sys.stdout.write(f"{kills} {len(heights)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
