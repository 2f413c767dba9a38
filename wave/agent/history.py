"""What happened on the registry, in the chain's order: the log of a namespace, and the pages of the watch stream.

A place is where a happening stands: ``<height>-<index>``, or ``<height>-<index>.<n>`` for the objects of one anchored
batch. Places grow along the chain, so whoever names the last one it saw goes on exactly after it.
"""

import re
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from wave.agent import wire
from wave.agent.knowledge import Knowledge, Thing, parse
from wave.agent.views import grant_view
from wave.chain.contract import Revocation
from wave.chain.disk import disk_errors, open_database, transaction
from wave.codec import id_text, parse_id
from wave.dots.dot import Dot
from wave.entities.entity import EVERYBODY, Entity
from wave.entities.object import DOT, ENTITY, NAME
from wave.errors import BadRequest
from wave.limits import LIMITS

if TYPE_CHECKING:
    from wave.chain.contract import Event
    from wave.chain.follower import Block, Entry, Follower

ENTRIES: Final = 1_000  # of the log in one answer
PAGE: Final = 256  # happenings that one watcher is told before it has to take them
END: Final = 2**32 - 1  # an index after all those in a block
_CONFIRMED: Final = 2**31  # added to the index of what counts some blocks later: it stands behind what counts at once
_HIGHEST: Final = 2**53
_PLACE: Final = re.compile(r"([0-9]{1,16})-([0-9]{1,10})(?:\.([0-9]{1,10}))?")

Place: TypeAlias = tuple[int, int, int]
"""Height, index of the log entry in its block, and number within an anchored batch."""

REVOCATION: Final = "revocation"
ALIAS: Final = "alias"
DELEGATION: Final = "delegation"
_TOLD: Final = (DOT, NAME)


def place_text(place: Place) -> str:
    """Return a place as text."""
    height, index, number = place
    return f"{height}-{index}.{number}" if number else f"{height}-{index}"


def parse_place(text: str) -> Place:
    """Return the place in ``text``; the end of its block for a height alone. :class:`BadRequest`."""
    found = _PLACE.fullmatch(text if "-" in text else f"{text}-{END}")
    if found is None or int(found[1]) > _HIGHEST:
        raise BadRequest(f"{text[:40]!r} is no place on the chain", hint="write it as HEIGHT or HEIGHT-INDEX")
    return int(found[1]), int(found[2]), int(found[3] or 0)


class Blocks(Protocol):
    """Whom the times of blocks are asked of."""

    def block(self, number: int) -> "Block | None":
        """Return a block, or None when the chain is shorter."""
        ...


class BlockTimes:
    """The times of blocks, in UTC seconds: asked for once each, and kept in a file when no fork can change them."""

    def __init__(self, path: Path, chain: Blocks, follower: "Follower") -> None:
        """Open the file when it is first needed."""
        self._path = path
        self._chain = chain
        self._follower = follower
        self._recent: dict[int, int] = {}
        self._generation = 0

    def of(self, heights: Iterable[int]) -> Mapping[int, int]:
        """Return the times of the blocks at ``heights``; :class:`ChainUnavailable`, :class:`StateUnwritable`."""
        follower = self._follower
        if self._generation != follower.generation:
            self._generation, self._recent = follower.generation, {}
        missing = set(heights) - self._recent.keys()
        if not missing:
            return self._recent
        self._recent.update(follower.times())
        missing -= self._recent.keys()
        settled = {height for height in missing if height < follower.facts.height - LIMITS.reorg_blocks}
        if settled:
            self._recent.update(self._kept(settled))
            missing -= self._recent.keys()
        asked = {height: block.time for height in sorted(missing) if (block := self._chain.block(height)) is not None}
        self._recent.update(asked)
        self._keep({height: asked[height] for height in settled & asked.keys()})
        return self._recent

    def _kept(self, heights: set[int]) -> dict[int, int]:
        if not self._path.exists():
            return {}
        database = open_database(self._path, _SCHEMA)
        try:
            with disk_errors(self._path):
                rows = database.execute(
                    "SELECT height, time FROM times WHERE height BETWEEN ? AND ?", (min(heights), max(heights))
                )
                return {height: time for height, time in rows if height in heights}
        finally:
            database.close()

    def _keep(self, times: Mapping[int, int]) -> None:
        if not times:
            return
        database = open_database(self._path, _SCHEMA)
        try:
            with transaction(database, self._path):
                database.executemany("INSERT OR REPLACE INTO times VALUES (?, ?)", sorted(times.items()))
        finally:
            database.close()


_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS times (height INTEGER PRIMARY KEY, time INTEGER NOT NULL);"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a watcher was told: the last place, and what it was told out of turn; ``block`` is the newest one."""

    place: Place
    generation: int
    late: int = 0
    block: bytes | None = None


class Row(NamedTuple):
    """A happening in the order of telling: where it began to count, its kind, what it is about, its block's height.

    ``key`` is an object's id, a commitment or an alias's label.
    """

    place: Place
    kind: str
    key: bytes
    height: int

    @property
    def stands(self) -> Place:
        """Where on the chain it stands."""
        _, index, number = self.place
        return self.height, index % _CONFIRMED, number


def _place(stands: "Entry | Event", number: int, later: int) -> Place:
    """Return where something begins to count that has to wait for ``later`` more blocks."""
    return stands.height + later, stands.index + (_CONFIRMED if later else 0), number


class Timeline:
    """Every happening that counts in the replica, sorted by place; brought up to date before each use.

    What waits for ``confirmations`` has its place in the block that brings the last of them.
    """

    def __init__(self, follower: "Follower", confirmations: int) -> None:
        """Begin with nothing."""
        self._follower = follower
        self._confirmations = confirmations
        self.generation = follower.generation
        self._clear()

    def _clear(self) -> None:
        self.rows: list[Row] = []
        self.late: list[Row] = []
        """Objects that came after the blocks behind theirs were told, in the order of their coming."""
        self._seq = 0
        self._height = -1
        self._seen: set[bytes] = set()
        self._in_batch: dict[tuple[int, int], int] = {}

    def refresh(self) -> None:
        """Take in what is new; all of it again when the chain changed."""
        follower = self._follower
        if self.generation != follower.generation:
            self.generation = follower.generation
            self._clear()
        told = self._height
        fresh = sorted([*self._objects(), *self._marks(told)])
        if told < 0:
            self.rows = fresh
        else:
            for row in fresh:
                insort(self.rows, row)  # at the end, all but the late ones
            self.late += [row for row in fresh if row.place[0] <= told]
        self._height = follower.facts.height

    def _objects(self) -> Iterator[Row]:
        for entry in self._follower.objects(after=self._seq):
            self._seq = entry.seq
            if entry.kind in _TOLD and entry.id not in self._seen:
                self._seen.add(entry.id)
                at = (entry.height, entry.index)
                number = self._in_batch[at] = self._in_batch.get(at, -1) + 1
                yield Row(_place(entry, number, self._confirmations), entry.kind, entry.id, entry.height)

    def _marks(self, told: int) -> Iterator[Row]:
        for event in self._follower.marks(after=max(-1, told - self._confirmations)):
            if isinstance(event, Revocation):
                kind, key, later = REVOCATION, event.commitment, 0
            else:
                kind, key, later = ALIAS, event.label, self._confirmations
            if key not in self._seen:
                self._seen.add(key)
                yield Row(_place(event, 0, later), kind, key, event.height)

    def after(self, place: Place, most: int) -> list[Row]:
        """Return the ``most`` rows that come first after ``place``."""
        start = bisect_right(self.rows, place, key=lambda row: row.place)
        return self.rows[start : start + most]


class History:
    """What happened, told from a replica. For one thread, with what is known brought up to date before each call."""

    def __init__(self, home: Path, chain: Blocks, follower: "Follower", confirmations: int) -> None:
        """Read ``follower``, and ask ``chain`` for the times of blocks."""
        self._follower = follower
        self._confirmations = confirmations
        self._times = BlockTimes(home / "times.sqlite", chain, follower)
        self._timeline: Timeline | None = None

    # The log -------------------------------------------------------------------------------------------------------

    def log(self, namespace: bytes, after: str, known: Knowledge) -> wire.LogReply:
        """Return what concerns ``namespace`` after a place; :class:`BadRequest`, :class:`ChainUnavailable`."""
        start = parse_place(after) if after else (-1, 0, 0)
        timeline = self._refreshed()
        dots = {dot.id for dot in known.graph.dots(namespace)}
        people = _people(namespace, known)
        names = {name.id for name in known.names.values() if _names(name.fields.giver, name.fields.target, people)}
        revoked = {row.key for row in timeline.rows if row.kind == REVOCATION}
        owners = known.owners(revoked)
        wanted = {
            commitment: (thing, place)
            for commitment, (thing, place) in owners.items()
            if thing.id in dots or thing.id in names or thing.id in people
        }
        aliases = self._follower.facts.aliases
        found = sorted(
            (
                row
                for row in timeline.rows
                if (row.kind in _TOLD and (row.key in dots or row.key in names))
                or (row.kind == REVOCATION and row.key in wanted)
                or (row.kind == ALIAS and aliases.get(row.key.decode()) in people)
            ),
            key=lambda row: row.stands,
        )
        found = found[bisect_right(found, start, key=lambda row: row.stands) :]
        entries = tuple(_placed(one, place_text(row.stands)) for row, one in self._tell(found[:ENTRIES], known, wanted))
        return wire.LogReply(
            namespace=id_text(namespace),
            height=self._follower.facts.height,
            entries=entries,
            next=place_text(found[ENTRIES - 1].stands) if len(found) > ENTRIES else None,
            unknown=len(revoked - owners.keys()),
        )

    # The stream ----------------------------------------------------------------------------------------------------

    def cursor(self, since: str | None) -> Cursor:
        """Return where a watcher begins: after the place that it names, or now; :class:`BadRequest`."""
        facts = self._follower.facts
        if since is not None:
            return Cursor(parse_place(since), self._follower.generation, len(self._refreshed().late))
        return Cursor((facts.height, END, 0), self._follower.generation, len(self._refreshed().late), facts.block_hash)

    def page(
        self, cursor: Cursor, namespace: bytes | None, known: Knowledge
    ) -> tuple[list[wire.Happening], Cursor, bool]:
        """Return what happened after ``cursor``, how far that goes, and whether there is more of it already."""
        timeline, facts = self._refreshed(), self._follower.facts
        told: list[wire.Happening] = []
        back = facts.height
        if cursor.generation != self._follower.generation:
            back = min([back, *self._follower.unwound[cursor.generation :]])
            cursor = replace(cursor, generation=self._follower.generation, late=0)
        if cursor.place[0] > back:
            cursor = replace(cursor, place=(max(back, 0), END, 0), block=None)
            told.append(wire.Happening(id=place_text(cursor.place), kind="reorg", height=back))
        rows = timeline.after(cursor.place, PAGE)
        late = timeline.late[cursor.late : cursor.late + PAGE]
        told += [
            _placed(one, "")
            for _, one in self._seen([row for row in late if row.place <= cursor.place], namespace, known)
        ]
        told += [one for _, one in self._seen(rows, namespace, known)]
        cursor = replace(cursor, late=cursor.late + len(late), place=rows[-1].place if rows else cursor.place)
        more = len(rows) == PAGE or len(late) == PAGE
        if not more and facts.height >= 0 and cursor.block != facts.block_hash:
            cursor = replace(cursor, place=(facts.height, END, 0), block=facts.block_hash)
            told.append(
                wire.Happening(
                    id=place_text(cursor.place),
                    kind="block",
                    height=facts.height,
                    time=facts.time,
                    block_hash=facts.block_hash.hex(),
                )
            )
        return told, cursor, more

    def _seen(self, rows: list[Row], namespace: bytes | None, known: Knowledge) -> Iterator[tuple[Row, wire.Happening]]:
        """Yield what a watcher of ``namespace`` (None: of everything) is told of these rows."""
        owners = known.owners({row.key for row in rows if row.kind == REVOCATION})
        people = set() if namespace is None or not rows else _people(namespace, known)
        for row, one in self._tell(rows, known, owners):
            if namespace is None or _concerns(one, namespace, people):
                yield row, one

    # Telling -------------------------------------------------------------------------------------------------------

    def _refreshed(self) -> Timeline:
        if self._timeline is None:
            self._timeline = Timeline(self._follower, self._confirmations)
        self._timeline.refresh()
        return self._timeline

    def _tell(
        self, rows: list[Row], known: Knowledge, owners: Mapping[bytes, tuple[Thing, int]]
    ) -> Iterator[tuple[Row, wire.Happening]]:
        """Yield each row as it is told; an object whose signature does not hold is nobody's, and left out."""
        times = self._times.of({row.height for row in rows}) if rows else {}
        for row in rows:
            common: dict[str, Any] = {"id": place_text(row.place), "height": row.height, "time": times.get(row.height)}
            if row.kind == ALIAS:
                label = row.key.decode()
                target = id_text(self._follower.facts.aliases.get(label, b""))
                yield row, wire.Happening(**common, kind=ALIAS, label=label, target=target or None)
            elif row.kind == REVOCATION:
                yield row, _revocation(common, row.key, owners.get(row.key))
            elif (entry := known.published(row.key)) is not None:
                yield row, _signed(common, parse(entry.object))


def _placed(one: wire.Happening, place: str) -> wire.Happening:
    """Return the same happening under another place; none: no stream goes on after it."""
    return wire.Happening(**{name: getattr(one, name) for name in one.__struct_fields__} | {"id": place})


def _people(namespace: bytes, known: Knowledge) -> set[bytes]:
    """Return the entities on a namespace's paths, itself among them."""
    ends = {end for dot in known.graph.dots(namespace) for end in (dot.giver, dot.receiver)}
    return (ends | {namespace}) - {EVERYBODY}


def _names(giver: bytes, target: bytes, people: set[bytes]) -> bool:
    """Tell whether a signed name concerns ``people``: one of them calls, or is called, something."""
    return giver in people or target in people


def _signed(common: Mapping[str, Any], thing: Thing) -> wire.Happening:
    """Return a published DoT or name as a happening."""
    form: dict[str, Any]
    if isinstance(thing, Dot):
        form = {
            "kind": DELEGATION,
            "signer": id_text(thing.giver),
            "namespace": id_text(thing.namespace),
            "receiver": id_text(thing.receiver),
            "grants": tuple(grant_view(right) for right in thing.grants),
            "indirections": thing.indirections,
            "expires": thing.expires,
        }
    else:
        assert not isinstance(thing, Entity)
        form = {
            "kind": NAME,
            "signer": id_text(thing.fields.giver),
            "label": thing.fields.label,
            "target": id_text(thing.fields.target),
            "expires": thing.fields.expires,
        }
    return wire.Happening(**common, **form, object=id_text(thing.id))


def _revocation(common: Mapping[str, Any], commitment: bytes, owner: tuple[Thing, int] | None) -> wire.Happening:
    """Return a revocation as a happening; of what, only where something known here carries the commitment."""
    form: dict[str, Any] = {"kind": REVOCATION, "commitment": id_text(commitment)}
    if owner is not None:
        thing, place = owner
        giver = thing.id if isinstance(thing, Entity) else thing.fields.giver
        form |= {
            "what": ENTITY if isinstance(thing, Entity) else DOT if isinstance(thing, Dot) else NAME,
            "object": id_text(thing.id),
            "signer": id_text(giver),
            "by_signer": place == 0,
        }
        if isinstance(thing, Dot):
            form |= {"namespace": id_text(thing.namespace), "receiver": id_text(thing.receiver)}
        elif not isinstance(thing, Entity):
            form |= {"label": thing.fields.label, "target": id_text(thing.fields.target)}
    return wire.Happening(**common, **form)


def _concerns(one: wire.Happening, namespace: bytes, people: set[bytes]) -> bool:
    """Tell whether a happening concerns a namespace, on whose paths ``people`` are."""
    if one.namespace is not None:
        return one.namespace == id_text(namespace)
    if one.what == ENTITY:
        return parse_id(one.object or "") in people
    return any(parse_id(end or "") in people for end in (one.signer, one.target))
