"""Kill the node in the middle of publishing, again and again: nothing that was acknowledged may be missing afterwards."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from wave.chain.node import EmbeddedNode

KILLS = 10

# Publishes a counter, singly and in batches of seven, and says so on a pipe after each acknowledgement.
_PUBLISHER = """
import os, sys
from pathlib import Path
from tests.chain.staging import publish_call, signed, PAYER
from wave.chain.node import EmbeddedNode

node = EmbeddedNode.open(Path(sys.argv[1]))
print("ready", flush=True)
nonce = node.next_nonce(PAYER)
while True:
    count = 7 if nonce % 3 == 0 else 1
    outcomes = node.send([signed(n, publish_call(b"%d" % n)) for n in range(nonce, nonce + count)])
    assert all(isinstance(outcome, bytes) for outcome in outcomes), outcomes
    nonce += count
    os.write(1, b"%d\\n" % (nonce - 1))
"""


def test_nothing_acknowledged_is_lost_when_the_node_is_killed_in_the_middle(tmp_path: Path) -> None:
    choose = random.Random(2026)
    acknowledged = 0
    for _ in range(KILLS):
        run = [sys.executable, "-c", _PUBLISHER, str(tmp_path)]
        with subprocess.Popen(run, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(choose.uniform(0, 0.3))
            child.send_signal(signal.SIGKILL)
            lines = child.stdout.read().split(b"\n")[:-1]  # what stands after the last line feed was cut short
        acknowledged = max([acknowledged, *map(int, lines)])

        with EmbeddedNode.open(tmp_path) as node:
            head = node.head(fresh=False)
            said = [row.data for row in node.logs(0, head.block_number, limit=100_000)]
            assert len(said) >= acknowledged
            assert [int(data[64:].rstrip(b"\0")) for data in said] == list(range(1, len(said) + 1))
            last, _ = node.block(head.block_number)
            assert all(node.transaction(item) is not None for item in last)
    assert acknowledged > KILLS
