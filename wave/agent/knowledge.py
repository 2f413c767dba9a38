"""What an agent knows, in memory: records, DoTs and names, published ones and those that are only kept here."""

from collections.abc import Iterable

from wave.codec import id_text, parse_id
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.graph import Graph
from wave.entities.entity import Entity
from wave.entities.object import DOT, ENTITY, NAME, SignedObject
from wave.errors import BadName, NameRevoked, TooLarge, UnknownEntity, UnknownName, WrongKind
from wave.limits import LIMITS
from wave.namespace.name import Name

Thing = Entity | Dot | Name


def parse(signed: SignedObject) -> Thing:
    """Return the entity, DoT or name in an object, its signature not looked at; :class:`InputError`."""
    if signed.kind == ENTITY:
        return Entity.from_object(signed)
    if signed.kind == DOT:
        return Dot.from_object(signed)
    if signed.kind == NAME:
        return Name.from_object(signed)
    raise WrongKind(f"objects of kind {signed.kind!r} are not published by themselves")


class Knowledge:
    """Objects whose signatures hold, by what they are. ``heights`` says in which block an object was published."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.entities: dict[bytes, Entity] = {}
        self.dots: dict[bytes, Dot] = {}
        self.names: dict[bytes, Name] = {}
        self.heights: dict[bytes, int] = {}
        self.graph = Graph()
        self._by_giver: dict[tuple[bytes, str], list[Name]] = {}

    def check(self, signed: SignedObject, also: Iterable[Entity] = ()) -> Thing:
        """Return the object in ``signed`` when its signature holds.

        ``also`` are records that are not known yet. Raises :class:`InputError`, :class:`BadSignature`, or
        :class:`UnknownEntity` when the giver's record is missing.
        """
        thing = parse(signed)
        if isinstance(thing, Entity):
            thing.check()
            return thing
        giver = thing.fields.giver
        record = self.entities.get(giver) or next((entity for entity in also if entity.id == giver), None)
        if record is None:
            raise UnknownEntity(
                f"the record of the giver {id_text(giver)} is not known here", hint="publish the giver's entity first"
            )
        thing.check(record.verify_key)
        return thing

    def learn(self, thing: Thing, height: int | None) -> None:
        """Take in an object that was checked; ``height`` is None for one that is only kept here."""
        if height is not None:
            self.heights[thing.id] = height
        if isinstance(thing, Entity):
            self.entities.setdefault(thing.id, thing)
        elif isinstance(thing, Dot):
            if thing.id not in self.dots:
                self.dots[thing.id] = thing
                self.graph.add(thing)
        elif thing.id not in self.names:
            self.names[thing.id] = thing
            self._by_giver.setdefault((thing.fields.giver, thing.fields.label), []).append(thing)

    def signed_name(self, giver: bytes, label: str, facts: Facts, now: int) -> Name:
        """Return the newest name ``label`` of ``giver``'s that stands at ``now``; :class:`NotFound`."""
        names = self._by_giver.get((giver, label), [])
        living = [name for name in names if name.fields.created <= now < name.fields.expires]
        standing = [name for name in living if facts.revoked_at(name.fields.commitments) is None]
        if standing:
            return max(standing, key=lambda name: (name.fields.created, name.id))
        if living:
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
