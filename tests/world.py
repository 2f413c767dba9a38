"""A small world in memory for tests: named entities from fixed seeds, DoTs between them, a registry and a clock.

    world = World()
    held = world.grant("home", "alice", "publish@home/light/*", indirections=1)
    handed = world.grant("alice", "bob", "publish@home/light/0")
    world.verify(world.proof((held, handed)), world.request("bob", "publish@home/light/0"))
    world.revoke(handed)

Names become entities when they are first spoken of; ``everybody`` is the receiver that stands for everybody. Nothing
here reads a clock or draws at random, so the same words give the same bytes in every run.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import count, pairwise
from typing import Any

from wave.codec import sha256
from wave.dots.dot import Dot
from wave.dots.explain import explain
from wave.dots.explanation import Explanation
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.verify import Grant, verify
from wave.entities.entity import EVERYBODY, Entity, EntitySecret
from wave.namespace.condition import Condition, Number
from wave.namespace.grant import Right, parse_grant, right

NOW = 1_800_000_000  # 2027-01-15T08:00:00Z, a Friday
HOUR = 3600
DAY = 24 * HOUR
YEAR = 365 * DAY


@cache
def made(name: str, created: int = NOW - YEAR, expires: int = NOW + 9 * YEAR, **more: Any) -> EntitySecret:
    """Return the entity of that name and those times, the same in every run and made once in this one."""
    draws = count()
    return EntitySecret.create(
        lambda _: sha256(f"seed of {name}, draw {next(draws)}".encode()), created=created, expires=expires, **more
    )


class World:
    """Entities by name, what the registry says (``facts``) and the time (``now``). Every change is a new block."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now
        self.height = 1
        self.revocations: dict[bytes, int] = {}
        self.aliases: dict[str, bytes] = {}
        self.published: dict[bytes, Entity] = {}
        self._entities: dict[str, EntitySecret] = {}

    # Who ----------------------------------------------------------------------------------------------------------

    def entity(self, name: str, **fields: Any) -> EntitySecret:
        """Return the entity of that name; with ``created``, ``expires`` or other fields, make it so first."""
        if fields or name not in self._entities:
            self._entities[name] = made(name, **fields)
        return self._entities[name]

    def id(self, name: str) -> bytes:
        """Return the id that a name stands for."""
        return EVERYBODY if name == "everybody" else self.entity(name).id

    def name(self, identity: bytes) -> str:
        """Return the name of an id, as a renderer of explanations wants it."""
        if identity == EVERYBODY:
            return "everybody"
        return next((name for name, one in self._entities.items() if one.id == identity), identity.hex()[:8])

    @property
    def records(self) -> dict[bytes, Entity]:
        """The records of everybody spoken of so far."""
        return {secret.id: secret.entity for secret in self._entities.values()}

    # What ---------------------------------------------------------------------------------------------------------

    def right(self, text: str, *conditions: Condition) -> Right:
        """Return the right in ``[set:]perm[,perm…]@namespace/pattern``, under these conditions."""
        parts = parse_grant(text)
        permission_set = None if parts.permission_set is None else self.id(parts.permission_set)
        return right(parts.permissions, parts.pattern, conditions, permission_set)

    def grant(
        self,
        giver: str,
        receiver: str,
        *texts: str | Right,
        indirections: int = 0,
        created: int | None = None,
        expires: int | None = None,
        conditions: tuple[Condition, ...] = (),
        namespace: str | None = None,
        comment: str = "",
        revokers: tuple[bytes, ...] = (),
    ) -> Dot:
        """Return a DoT; it holds from an hour ago for 30 days, in the namespace of the first text, unless told."""
        spoken = next((parse_grant(text).namespace for text in texts if isinstance(text, str)), giver)
        return Dot.create(
            self.entity(giver),
            receiver=self.id(receiver),
            namespace=self.id(namespace or spoken),
            grants=tuple(text if isinstance(text, Right) else self.right(text, *conditions) for text in texts),
            indirections=indirections,
            created=self.now - HOUR if created is None else created,
            expires=self.now + 30 * DAY if expires is None else expires,
            comment=comment,
            revokers=revokers,
        )

    def chain(self, names: str, text: str, **fields: Any) -> tuple[Dot, ...]:
        """Return the path that hands ``text`` from each of the blank-separated ``names`` to the next, hops to spare."""
        hands = names.split()
        return tuple(
            self.grant(giver, receiver, text, **{"indirections": len(hands) - 2 - place, **fields})
            for place, (giver, receiver) in enumerate(pairwise(hands))
        )

    def proof(self, *paths: Dot | Iterable[Dot], also: str = "", without: str = "") -> Proof:
        """Return the proof made of these paths (a DoT alone is one too), with the records of everybody on them.

        Those named in ``also`` are added, and those in ``without`` left out.
        """
        walks = [(path,) if isinstance(path, Dot) else tuple(path) for path in paths]
        left_out = {self.id(name) for name in without.split()}
        people = [end for walk in walks for dot in walk for end in (dot.giver, dot.receiver)]
        people += [self.id(name) for name in also.split()]
        known = self.records
        return Proof.build(walks, [known[one] for one in people if one in known and one not in left_out])

    def request(
        self, subject: str, *texts: str, namespace: str | None = None, context: Mapping[str, Number] | None = None
    ) -> Request:
        """Return what ``subject`` asks: each text as in :meth:`grant`, one statement for each of its permissions."""
        wanted: list[Statement] = []
        for text in texts:
            parts = parse_grant(text)
            permission_set = None if parts.permission_set is None else self.id(parts.permission_set)
            wanted += [Statement(permission, parts.pattern, permission_set) for permission in parts.permissions]
        place = namespace or parse_grant(texts[0]).namespace
        return Request(self.id(subject), self.id(place), tuple(wanted), {} if context is None else context)

    # When ---------------------------------------------------------------------------------------------------------

    def publish(self, *names: str) -> None:
        """Put the records of these entities into the registry, in one block."""
        self.height += 1
        self.published.update({self.id(name): self.entity(name).entity for name in names})

    def revoke(self, what: Dot | Entity | EntitySecret | str, *, by: str | None = None) -> int:
        """Revoke a DoT, or an entity (a name will do), in a new block; return its height.

        It is done with the preimage of whoever gave it, or of the further revoker named in ``by``.
        """
        if isinstance(what, str):
            what = self.entity(what)
        if isinstance(what, Dot):
            giver = next(one for one in self._entities.values() if one.id == what.giver)
            preimage = what.preimage(giver if by is None else self.entity(by))
        else:
            preimage = next(one for one in self._entities.values() if one.id == what.id).preimage()
        return self.reveal(preimage)

    def reveal(self, preimage: bytes) -> int:
        """Publish a preimage as the contract's ``revoke`` does: the first time counts. Return the block's height."""
        self.height += 1
        self.revocations.setdefault(sha256(preimage), self.height)
        return self.height

    def pass_time(self, seconds: int) -> None:
        """Let time go by, with a new block at its end."""
        self.now += seconds
        self.height += 1

    @property
    def facts(self) -> Facts:
        """What the registry says now; later changes do not reach it."""
        return Facts(
            height=self.height,
            block_hash=sha256(b"block %d" % self.height),
            time=self.now,
            revocations=dict(self.revocations),
            entities=dict(self.published),
            aliases=dict(self.aliases),
        )

    def verify(self, proof: Proof | bytes, request: Request, **more: Any) -> Grant:
        """Return the verdict on a request at this world's time and facts."""
        return verify(proof, request, **{"facts": self.facts, "now": self.now, **more})

    def explain(self, proof: Proof | None, request: Request, **more: Any) -> Explanation:
        """Return the explanation of the verdict at this world's time and facts."""
        return explain(proof, request, **{"facts": self.facts, "now": self.now, **more})
