"""Agents on state directories of their own, over embedded chains, and people who are made quickly."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.settings import Settings
from wave.codec import id_text, sha256
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.namespace.grant import right
from wave.namespace.pattern import Pattern

YEAR = 365 * 86_400
_SERIAL = itertools.count()


@dataclass
class Clock:
    """A clock that tests move; it begins with the real time, as the embedded node's does."""

    now: float

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def person(now: int) -> EntitySecret:
    """Return an entity made from a seed that no other test uses."""

    def draw(size: int) -> bytes:
        return sha256(f"{__name__} {next(_SERIAL)}".encode())[:size]  # pytest's own copy of this module counts too

    return EntitySecret.create(draw, created=now - 10, expires=now + YEAR)


@dataclass
class House:
    """A namespace, a guest and a stranger, with an engine that knows their records."""

    engine: Engine
    clock: Clock
    owner: EntitySecret
    guest: EntitySecret
    stranger: EntitySecret
    given: list[Dot] = field(default_factory=list)

    def dot(
        self,
        giver: EntitySecret,
        receiver: EntitySecret,
        what: str = "publish",
        where: str = "light/*",
        *,
        hops: int = 0,
        lasts: int = 86_400,
    ) -> Dot:
        """Return a DoT over the owner's namespace; each has another creation time, so that no two are the same."""
        now = int(self.clock.now)
        dot = Dot.create(
            giver,
            receiver=receiver.id,
            namespace=self.owner.id,
            grants=(right((what,), where),),
            indirections=hops,
            created=now - 5 - len(self.given),
            expires=now + lasts,
        )
        self.given.append(dot)
        return dot

    def publish(self, *dots: Dot) -> wire.PublishReply:
        """Publish DoTs."""
        return self.engine.call(wire.Publish(objects=tuple(dot.to_bytes() for dot in dots)))

    def ask(self, subject: EntitySecret, where: str = "light/hall", what: str = "publish") -> wire.Ask:
        """Return the question whether ``subject`` may do that."""
        return wire.Ask(
            subject=id_text(subject.id),
            namespace=id_text(self.owner.id),
            statements=(wire.Wanted(permission=what, pattern=Pattern(where)),),
        )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for an empty state directory over its own embedded chain."""
    return Settings(tmp_path / "home")


@pytest.fixture
def open_house(settings: Settings) -> Iterator[Callable[[], House]]:
    """Return what opens a house on the test's state directory."""
    engines: list[Engine] = []

    def opened() -> House:
        clock = Clock(time.time())
        engine = Engine.open(settings, clock=clock, wait=0.0)
        engines.append(engine)
        owner, guest, stranger = (person(int(clock.now)) for _ in range(3))
        engine.call(wire.Publish(objects=tuple(one.entity.to_bytes() for one in (owner, guest, stranger))))
        return House(engine, clock, owner, guest, stranger)

    yield opened
    for engine in engines:
        engine.close()


@pytest.fixture
def house(open_house: Callable[[], House]) -> House:
    """Return a house with its engine open."""
    return open_house()
