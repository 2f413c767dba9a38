"""A home that publishes until it is killed: a process forked for every life, for the test that takes them.

``python -m tests.agent.publisher HOME CHAIN`` forks a child for each line on standard input, which says when the child
kills itself: after so many steps of a publication, or ``-`` never. The child prints a line for what it has
acknowledged: ``object ID``, ``root ROOT``, ``revoked COMMITMENT`` or ``alias LABEL``.
"""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import eth_account  # noqa: F401 - as the next one: loaded before the forks, or each life would load it

import wave.chain.functions  # noqa: F401
from tests.world import made
from wave.agent import wire
from wave.agent.batches import Batches
from wave.agent.engine import Engine
from wave.agent.outbox import Outbox
from wave.agent.settings import Settings
from wave.chain.client import ChainClient
from wave.codec import id_text, sha256
from wave.dots.dot import Dot
from wave.namespace.grant import right

STEPS: dict[type, tuple[str, ...]] = {
    Outbox: ("add", "queue", "form", "prepare", "advance", "forget"),
    Batches: ("keep",),
    ChainClient: ("nonce", "prepare", "broadcast", "receipt"),
}
"""What a publication consists of; before and after each of these the process may end."""

OWNER = made("publisher")
LIGHT = right(("publish",), "light/*")


def dot(serial: int) -> Dot:
    """Return the DoT of that number."""
    return Dot.create(
        OWNER,
        receiver=sha256(b"%d" % serial),
        namespace=OWNER.id,
        grants=(LIGHT,),
        created=1_700_000_000,
        expires=4_000_000_000,
    )


def mortal(steps: int) -> None:
    """Have this process kill itself after so many steps."""
    left = iter(range(steps))

    def step() -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(act)
        def call(*arguments: Any, **named: Any) -> Any:
            step()
            value = act(*arguments, **named)
            step()
            return value

        return call

    for kind, names in STEPS.items():
        for name in names:
            setattr(kind, name, counted(getattr(kind, name)))


def say(*words: str) -> None:
    """Acknowledge something, in one write."""
    os.write(1, (" ".join(words) + "\n").encode())


def live(settings: Settings, life: int) -> None:
    """Publish, anchor, revoke and claim, again and again."""
    with Engine.open(settings, wait=5.0) as engine:
        for serial in itertools.count(life * 1_000_000, 10):
            engine.call(wire.Publish(objects=(dot(serial).to_bytes(),)))
            say("object", dot(serial).id.hex())
            several = [dot(serial + number) for number in (1, 2, 3)]
            reply = engine.call(wire.Anchor(objects=tuple(one.to_bytes() for one in several)))
            for root in reply.roots:
                say("root", root)
            for one in several:
                say("object", one.id.hex())
            preimage = sha256(b"preimage %d" % serial)
            engine.call(wire.Revoke(preimages=(preimage,)))
            say("revoked", sha256(preimage).hex())
            engine.call(wire.Claim(label=f"name{serial}", target=id_text(OWNER.id)))
            say("alias", f"name{serial}")


def main(home: str, chain: str) -> None:
    """Fork a life for each line that is read, and say when it began and when it is over."""
    settings = Settings(Path(home), chain)
    for life, line in enumerate(sys.stdin, 1):
        child = os.fork()
        if child == 0:
            if line.strip() != "-":
                mortal(int(line))
            try:
                live(settings, life)
            finally:
                os._exit(1)
        say("life", str(child), str(time.monotonic()))
        _, status = os.waitpid(child, 0)
        say("over", str(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)))


if __name__ == "__main__":
    main(*sys.argv[1:])
