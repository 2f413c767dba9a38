"""What an agent knows, in memory: records, DoTs, names and routes, published ones and those that are only kept here.

Nobody has looked at the signature of a published object before it comes here. It is looked at when the object is first
used: when a proof is built from it, when it is shown, when a name is resolved, when it is found by its id. What does
not verify is dropped and counted, and the question is answered without it. So no answer rests on an unchecked
signature, and a signature is checked once at most in a process, however many questions are asked.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Protocol

from wave.chain.replica import Entry
from wave.codec import id_text, parse_id
from wave.dots.cache import LeastRecent
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.graph import Graph
from wave.dots.held import HeldDot
from wave.dots.records import Records
from wave.entities.entity import Entity
from wave.entities.object import DOT, ENTITY, NAME, ROUTE, SignedObject
from wave.errors import BadName, NameRevoked, TooLarge, UnknownEntity, UnknownName, WaveError, WrongKind
from wave.limits import LIMITS
from wave.namespace.name import Name
from wave.namespace.route import Route

Given = Dot | Name | Route
Thing = Entity | Given
Signed = tuple[Thing, bytes]
"""A thing, and the key under which it is to be signed."""

Each = Callable[[Callable[[Sequence[Signed]], None], Iterable[Sequence[Signed]]], Iterable[None]]
"""Does something with each of several, as ``map`` does."""

CHECKED_TOGETHER: Final = 32  # signatures that one thread checks before it takes the next ones


class Source(Protocol):
    """Where published objects come from; :class:`wave.chain.follower.Follower` is one."""

    @property
    def facts(self) -> Facts:
        """What the registry said; its records are checked when they are first asked for."""
        ...

    def variants(self, identity: bytes) -> list[Entry]:
        """Return the object of that id under every signature that it was published with."""
        ...

    def refuse(self, code: str) -> None:
        """Count an object whose signature turned out to be bad."""
        ...


def parse(signed: SignedObject) -> Thing:
    """Return the entity, DoT, name or route in an object, its signature not looked at; :class:`InputError`."""
    if signed.kind == ENTITY:
        return Entity.from_object(signed)
    if signed.kind == DOT:
        return Dot.from_object(signed)
    if signed.kind == NAME:
        return Name.from_object(signed)
    if signed.kind == ROUTE:
        return Route.from_object(signed)
    raise WrongKind(f"objects of kind {signed.kind!r} are not published by themselves")


class Heights:
    """In which block an object was first published, under a signature that holds."""

    __slots__ = ("_knowledge",)

    def __init__(self, knowledge: "Knowledge") -> None:
        self._knowledge = knowledge

    def get(self, identity: bytes) -> int | None:
        """Return the height at which the object of that id was published, or None."""
        entry = self._knowledge.published(identity)
        return None if entry is None else entry.height

    def __contains__(self, identity: bytes) -> bool:
        """Tell whether the object of that id was published."""
        return self._knowledge.published(identity) is not None


class Knowledge:
    """Objects by what they are; ``graph``, ``names`` and ``entities`` give none whose signature does not hold.

    A DoT, name or route whose giver's record is not known yet cannot be checked: it is not used, and waits.
    """

    def __init__(self, source: Source) -> None:
        """Begin with the records of ``source`` and nothing else; what it published has to be learned."""
        self._source = source
        self.entities = Records(source.facts.entities, refused=source.refuse)
        self.graph = Graph(genuine=self.genuine)
        self.names: dict[bytes, Name] = {}
        self.routes: dict[bytes, Route] = {}
        self.routes_about: dict[tuple[str, bytes], dict[bytes, Route]] = {}
        """Routes by act and by the namespace, or of an endpoint the router, concerned; in the order of their coming."""
        self.heights = Heights(self)
        self._ids: dict[bytes, bytes] = {}
        self._by_giver: dict[tuple[bytes, str], list[Name]] = {}
        self._good: set[Given] = set()
        self._bad: set[Given] = set()
        self._further: dict[Given, list[bytes]] = {}
        self._true: LeastRecent[tuple[bytes, bytes], bool] = LeastRecent(LIMITS.signature_cache)
        self._false: LeastRecent[tuple[bytes, bytes], bool] = LeastRecent(LIMITS.signature_cache)

    # Learning ------------------------------------------------------------------------------------------------------

    def learn(self, signed: SignedObject | Entry, *, kept: bool = False) -> None:
        """Take in an object that parses, its signature not looked at; ``kept`` is one that only this agent has."""
        if signed.kind == DOT:
            dot = HeldDot(signed.body, signed.signature, self._ids)
            known = self.graph.find(dot)
            if known is None:
                self.graph.add(dot)
            else:
                self._again(known, signed.signature)
        elif signed.kind == NAME:
            name = Name(signed.body, signed.signature)
            if name.id not in self.names:
                self.names[name.id] = name
                self._by_giver.setdefault((name.fields.giver, name.fields.label), []).append(name)
            else:
                self._again(self.names[name.id], signed.signature)
        elif signed.kind == ROUTE:
            route = Route(signed.body, signed.signature)
            if self.routes.setdefault(route.id, route) is route:
                self.routes_about.setdefault(route.about, {})[route.id] = route
            else:
                self._again(self.routes[route.id], signed.signature)
        elif kept:
            self.entities.add(signed.id, signed.body, signed.signature)

    def _again(self, known: Given, signature: bytes) -> None:
        """Remember a further signature of an object whose first one may turn out to be bad."""
        if known.signature != signature and known not in self._good:
            self._further.setdefault(known, []).append(signature)

    def settle(self) -> None:
        """Forget what turned out to be bad. Not while anything goes through the graph."""
        self.graph.discard(*[thing for thing in self._bad if isinstance(thing, Dot)])
        names = [thing for thing in self._bad if isinstance(thing, Name)]
        for name in names:
            del self.names[name.id]
        for route in [thing for thing in self._bad if isinstance(thing, Route)]:
            del self.routes[route.id], self.routes_about[route.about][route.id]
        for key in {(name.fields.giver, name.fields.label) for name in names}:
            self._by_giver[key] = [name for name in self._by_giver[key] if name not in self._bad]
        self._bad.clear()

    # Signatures ----------------------------------------------------------------------------------------------------

    def genuine(self, thing: Given) -> bool:
        """Tell whether the signature of a DoT, name or route of this knowledge holds, looking at it when that is new.

        Of several signatures that it was published with, it keeps the first that holds. A bad one is counted.
        """
        if thing in self._good:
            return True
        if thing in self._bad:
            return False
        record = self.entities.get(_giver(thing))
        if record is None:
            return False
        further = iter(self._further.pop(thing, ()))
        while not self._verifies(thing, record):
            signature = next(further, None)
            if signature is None:
                self._bad.add(thing)
                return False
            thing.signature = signature  # nobody was given the object with the other one
        self._good.add(thing)
        return True

    def _verifies(self, thing: Given, record: Entity) -> bool:
        """Check a signature; a bad one is counted once, as far as ``LIMITS.signature_cache`` remembers."""
        key = thing.id, thing.signature
        if key in self._false:
            return False
        try:
            thing.check(record.verify_key)
        except WaveError as error:
            self._false[key] = True
            self._source.refuse(error.code)
            return False
        return True

    def published(self, identity: bytes) -> Entry | None:
        """Return the object of that id as it was first published under a signature that holds, confirmed or not."""
        for entry in self._source.variants(identity):
            key = entry.id, entry.signature
            if key in self._true:
                return entry
            if self._stands(parse(entry.object)):
                self._true[key] = True
                return entry
        return None

    def _stands(self, thing: Thing) -> bool:
        if isinstance(thing, Entity):
            record = self._record(thing.id)
            return record is not None and record.signature == thing.signature
        known: Given | None
        if isinstance(thing, Dot):
            known = self.graph.find(thing)
        else:
            known = self.names.get(thing.id) or self.routes.get(thing.id)
        if known is not None and known.signature == thing.signature and known in self._good:
            return True
        record = self._record(_giver(thing))
        return record is not None and self._verifies(thing, record)

    def _record(self, identity: bytes) -> Entity | None:
        """Return the record of an entity, also one that waits for its confirmations."""
        record: Entity | None = self.entities.get(identity)
        if record is None:
            for entry in self._source.variants(identity):
                if entry.kind == ENTITY:
                    unconfirmed = Entity(entry.body, entry.signature)
                    with suppress(WaveError):
                        unconfirmed.check()
                        return unconfirmed
        return record

    def check(self, signed: SignedObject, also: Iterable[Entity] = ()) -> Thing:
        """Return the object in ``signed`` when its signature holds.

        ``also`` are records that are not known yet. Raises :class:`InputError`, :class:`BadSignature`, or
        :class:`UnknownEntity` when the giver's record is missing.
        """
        thing = parse(signed)
        self.check_all([thing], also)
        return thing

    def check_all(self, things: Sequence[Thing], also: Iterable[Entity] = (), each: Each = map) -> None:
        """Raise, for the first that is bad, unless all the signatures hold; the records are looked for before.

        ``each`` goes through the signatures, some at a time: a pool's ``map`` does so on several threads.
        :class:`BadSignature`, :class:`BadTime`, :class:`UnknownEntity`.
        """
        new = {entity.id: entity for entity in also}
        keys: dict[bytes, bytes] = {}
        signed: list[Signed] = []
        for thing in things:
            if isinstance(thing, Entity):
                signed.append((thing, thing.verify_key))
                continue
            giver = _giver(thing)
            key = keys.get(giver)
            if key is None:
                record = self._record(giver) or new.get(giver)
                if record is None:
                    raise UnknownEntity(
                        f"the record of the giver {id_text(giver)} is not known here",
                        hint="publish the giver's entity first",
                    )
                key = keys[giver] = record.verify_key
            signed.append((thing, key))
        some = [signed[at : at + CHECKED_TOGETHER] for at in range(0, len(signed), CHECKED_TOGETHER)]
        for _ in each(_check_signatures, some):
            pass

    # Names ---------------------------------------------------------------------------------------------------------

    def signed_name(self, giver: bytes, label: str, facts: Facts, now: int) -> Name:
        """Return the newest name ``label`` of ``giver``'s that stands at ``now``; :class:`NotFound`."""
        names = self._by_giver.get((giver, label), [])
        living = sorted(
            (name for name in names if name.fields.created <= now < name.fields.expires),
            key=lambda name: (name.fields.created, name.id),
            reverse=True,
        )
        taken_back = False
        for name in living:
            if self.genuine(name):
                if facts.revoked_at(name.fields.commitments) is None:
                    return name
                taken_back = True
        if taken_back:
            raise NameRevoked(f"{id_text(giver)[:8]} took back the name {label!r}")
        raise UnknownName(f"{id_text(giver)[:8]} calls nothing {label!r}")

    def resolve(self, text: str, facts: Facts, now: int) -> tuple[bytes, Name | None]:
        """Return what an id, an alias or ``label.giver`` means, and the signed name if it is one; :class:`NotFound`."""
        if len(text) > LIMITS.text_characters:
            raise TooLarge(f"a name of {len(text)} characters; at most {LIMITS.text_characters} are accepted")
        *labels, root = text.split(".")
        target = parse_id(root) or self._alias(root, facts)
        name: Name | None = None
        for label in reversed(labels):
            name = self.signed_name(target, label, facts, now)
            target = name.fields.target
        return target, name

    def _alias(self, label: str, facts: Facts) -> bytes:
        if not label:
            raise BadName("an empty name")
        target = facts.aliases.get(label)
        if target is None:
            raise UnknownName(
                f"{label[:60]!r} is no alias, no local name and no file",
                hint="a name is an id, a file (.ent, .pub), a name in WAVE_HOME/keys, an alias, or label.giver",
            )
        return target

    # Whose a revocation is -----------------------------------------------------------------------------------------

    def owners(self, commitments: set[bytes]) -> dict[bytes, tuple[Thing, int]]:
        """Return which known thing carries each of these commitments, and which of the thing's own it is."""
        if not commitments:
            return {}
        return {
            commitment: (thing, place)
            for thing in self._carriers(commitments)
            for place, commitment in enumerate(thing.fields.commitments)
            if commitment in commitments
        }

    def _carriers(self, commitments: set[bytes]) -> Iterator[Thing]:
        yield from self.entities.carrying(commitments)
        for thing in (*self.graph, *self.names.values(), *self.routes.values()):
            if not commitments.isdisjoint(thing.fields.commitments) and self.genuine(thing):
                yield thing


def _check_signatures(signed: Sequence[Signed]) -> None:
    for thing, key in signed:
        if isinstance(thing, Entity):
            thing.check()
        else:
            thing.check(key)


def _giver(thing: Given) -> bytes:
    return thing.giver if isinstance(thing, Dot) else thing.fields.giver
