"""Kill the node in the middle of publishing, again and again: nothing acknowledged may be missing afterwards."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from wave.chain.node import EmbeddedNode

KILLS = 12

# For every line that it reads, starts a process that opens the node and publishes a counter, singly and in batches of
# seven, and writes the last number after each acknowledgement.
_PUBLISHERS = """
import os, sys
from pathlib import Path
from tests.chain.staging import publish_call, signed, PAYER
from wave.chain.node import EmbeddedNode

def publish():
    node = EmbeddedNode.open(Path(sys.argv[1]))
    nonce = node.next_nonce(PAYER)
    while True:
        count = 7 if nonce % 3 == 0 else 1
        outcomes = node.send([signed(n, publish_call(b"%d" % n)) for n in range(nonce, nonce + count)])
        assert all(isinstance(outcome, bytes) for outcome in outcomes), outcomes
        nonce += count
        os.write(1, b"%d\\n" % (nonce - 1))

for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        publish()
    os.write(1, b"pid %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"end\\n")
"""


def test_nothing_acknowledged_is_lost_when_the_node_is_killed_in_the_middle(tmp_path: Path) -> None:
    choose = random.Random(2026)
    acknowledged = 0
    run = [sys.executable, "-c", _PUBLISHERS, str(tmp_path)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, env=environment) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for turn in range(KILLS):
            parent.stdin.write(b"go\n")
            parent.stdin.flush()
            while not (line := parent.stdout.readline()).startswith(b"pid "):
                acknowledged = int(line)
            child = int(line[4:])
            if turn % 2:  # after something was acknowledged, however slow the machine is; else at any time
                acknowledged = int(parent.stdout.readline())
            time.sleep(choose.uniform(0, 0.4))
            os.kill(child, signal.SIGKILL)
            while (line := parent.stdout.readline()) != b"end\n":
                acknowledged = int(line)

            with EmbeddedNode.open(tmp_path) as node:
                head = node.head(fresh=False)
                said = [row.data for row in node.logs(0, head.block_number, limit=100_000)]
                assert len(said) >= acknowledged
                assert [int(data[64:].rstrip(b"\0")) for data in said] == list(range(1, len(said) + 1))
                last, _ = node.block(head.block_number)
                assert all(node.transaction(item) is not None for item in last)
        parent.stdin.close()
    assert acknowledged >= KILLS // 2
