"""What happened on the registry, in the chain's order: the log of a namespace, and the pages of the watch stream.

A place is where a happening stands: ``<height>-<index>``, or ``<height>-<index>.<n>`` for the objects of one anchored
batch. Places grow along the chain. The objects of a batch may come late, when what stands behind them was told already.
So the id of an event of the watch stream says besides its place how far the late ones were told, and whoever names the
last id it saw is told exactly what it was not told before:

    <place>~<epoch>.<reorganisations>.<seq>[~<place>]

``epoch`` names the replica and ``reorganisations`` counts those that it went through. Of what stands up to the place,
all was told that the replica took in up to ``seq``, an object's number in the order of acceptance; while the objects of
``seq`` itself are being told, the second place is that of the last of them.
"""

import re
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
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
from wave.entities.object import DOT, ENTITY, NAME, ROUTE
from wave.errors import BadRequest, WaveError
from wave.limits import LIMITS
from wave.namespace.route import Route

if TYPE_CHECKING:
    from wave.chain.contract import Event
    from wave.chain.follower import Block, Entry, Follower

ENTRIES: Final = 1_000  # of the log in one answer
PAGE: Final = 256  # happenings that one watcher is told before it has to take them
END: Final = 2**32 - 1  # an index after all those in a block
_CONFIRMED: Final = 2**31  # added to the index of what counts some blocks later: it stands behind what counts at once
_HIGHEST: Final = 2**53
_ANEW: Final = -1  # the generation of a watcher of another replica
_PLACE: Final = re.compile(r"([0-9]{1,16})-([0-9]{1,10})(?:\.([0-9]{1,10}))?")
_MARK: Final = re.compile(r"([0-9a-f]{8})\.([0-9]{1,16})\.([0-9]{1,16})")

Place: TypeAlias = tuple[int, int, int]
"""Height, index of the log entry in its block, and number within an anchored batch."""

REVOCATION: Final = "revocation"
ALIAS: Final = "alias"
DELEGATION: Final = "delegation"
_TOLD: Final = (DOT, NAME, ROUTE)


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


Late: TypeAlias = tuple[int, Place]
"""How far the late objects were told: ``seq``, and place among those of the same ``seq``."""

_ALL: Final = (_HIGHEST + 1, 0, 0)  # a place behind all others


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a watcher was told: the last place, and the last late object; ``block`` is the newest one it heard of."""

    place: Place
    generation: int
    late: Late
    block: bytes | None = None

    def after(self, epoch: str) -> str:
        """Return the id of the event that brought a watcher here, from the replica of that name."""
        seq, among = self.late
        rest = "" if among == _ALL else f"~{place_text(among)}"
        return f"{place_text(self.place)}~{epoch}.{self.generation}.{seq}{rest}"


def parse_after(text: str) -> tuple[Cursor, str | None]:
    """Return the cursor in an event's id, and the epoch in it; None for a place or a height alone. :class:`BadRequest`.

    Without an epoch the cursor tells of a place and nothing else.
    """
    first, *rest = text.split("~", 2)
    if not rest:
        return Cursor(parse_place(first), 0, (0, _ALL)), None
    mark = _MARK.fullmatch(rest[0])
    if mark is None:
        raise BadRequest(f"{text[:80]!r} is no event's id", hint="write it as it came, or as HEIGHT")
    among = parse_place(rest[1]) if len(rest) > 1 else _ALL
    return Cursor(parse_place(first), int(mark[2]), (int(mark[3]), among)), mark[1]


class Row(NamedTuple):
    """A happening in the order of telling: where it began to count, its kind, what it is about, its block's height.

    ``key`` is an object's id, a commitment or an alias's label. ``seq`` is an object's own, and ``known`` the one with
    which it could be checked: that of its giver's record when this came later. Both are 0 for what is never late.
    """

    place: Place
    kind: str
    key: bytes
    height: int
    seq: int = 0
    known: int = 0

    @property
    def stands(self) -> Place:
        """Where on the chain it stands."""
        _, index, number = self.place
        return self.height, index % _CONFIRMED, number

    @property
    def came(self) -> Late:
        """Where it stands among all objects in the order of their coming."""
        return self.known, self.place


def _place(stands: "Entry | Event", number: int, later: int) -> Place:
    """Return where something begins to count that has to wait for ``later`` more blocks."""
    return stands.height + later, stands.index + (_CONFIRMED if later else 0), number


class Timeline:
    """Every happening that counts in the replica, sorted by place; brought up to date before each use.

    What waits for ``confirmations`` has its place in the block that brings the last of them. An object has a row for
    each signature that it was published under, and for each place that it stood at: ``several`` are those with more
    than one.
    """

    def __init__(self, follower: "Follower", confirmations: int) -> None:
        """Begin with nothing."""
        self._follower = follower
        self._confirmations = confirmations
        self.generation = follower.generation
        self._clear()

    def _clear(self) -> None:
        self.rows: list[Row] = []
        self.coming: list[Row] = []
        """Objects whose giver's record is known, in the order in which they could be told."""
        self.several: set[bytes] = set()
        self.seq = 0
        """Up to here the replica's objects are in."""
        self._height = -1
        self._seen: set[bytes] = set()
        self._records: dict[bytes, int] = {}
        self._waiting: dict[bytes, list[Row]] = {}
        self._givers: dict[bytes, bytes] = {}

    def refresh(self) -> None:
        """Take in what is new; all of it again when the chain changed."""
        follower = self._follower
        if self.generation != follower.generation:
            self.generation = follower.generation
            self._clear()
        fresh = sorted([*self._objects(), *self._marks(self._height)])
        if self._height < 0:
            self.rows = fresh
        else:
            for row in fresh:
                insort(self.rows, row)  # at the end, all but the late ones
        self._height = follower.facts.height

    def _objects(self) -> Iterator[Row]:
        for entry in self._follower.objects(after=self.seq):
            self.seq = entry.seq
            if entry.kind == ENTITY:
                self._settle(entry)
            elif entry.kind in _TOLD:
                if entry.id in self._seen:
                    self.several.add(entry.id)
                self._seen.add(entry.id)
                yield self._row(entry)

    def _row(self, entry: "Entry") -> Row:
        row = Row(self.place(entry), entry.kind, entry.id, entry.height, entry.seq, entry.seq)
        giver = giver_of(parse(entry.object))
        if giver not in self._records and giver not in self._waiting:
            seqs = [found.seq for found in self._follower.appearances(giver) if _holds(found)]
            before = min(seqs, default=entry.seq)
            if before < entry.seq:
                self._records[giver] = before
        if giver in self._records:
            self.coming.append(row)
        else:
            self._waiting.setdefault(giver, []).append(row)
            self._givers[row.key] = giver
        return row

    def waits(self, row: Row) -> bool:
        """Tell whether an object's time comes with the record of its giver, which is published and does not count yet.

        One that only this agent keeps has no time; what it lets be checked is told at once, and with the published one
        again.
        """
        giver = self._givers.get(row.key)
        return giver is not None and any(map(_holds, self._follower.appearances(giver)))

    def _settle(self, record: "Entry") -> None:
        """Let the objects of a giver come whose record is here now."""
        if record.id in self._waiting and _holds(record):
            self._records[record.id] = record.seq
            for row in self._waiting[record.id]:
                self._givers.pop(row.key, None)
            rows = [row._replace(known=record.seq) for row in self._waiting.pop(record.id)]
            self.coming += sorted(rows)

    def place(self, entry: "Entry") -> Place:
        """Return where an object begins to count."""
        return _place(entry, entry.number, self._confirmations)

    def known(self, entry: "Entry") -> int:
        """Return the ``seq`` with which an object in the timeline could be checked."""
        return max(entry.seq, self._records.get(giver_of(parse(entry.object)), 0))

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

    def late(self, cursor: Cursor, most: int) -> tuple[list[Row], Late]:
        """Return the ``most`` rows up to the cursor's place that came first after the last one told, and how far."""
        found: list[Row] = []
        for at in range(bisect_right(self.coming, cursor.late, key=lambda row: row.came), len(self.coming)):
            row = self.coming[at]
            if row.place <= cursor.place:
                if len(found) == most:
                    return found, found[-1].came
                found.append(row)
        return found, (self.seq, _ALL)


def _holds(entry: "Entry") -> bool:
    """Tell whether an entity's record was signed by its key."""
    with suppress(WaveError):
        Entity(entry.body, entry.signature).check()
        return True
    return False


def giver_of(thing: Thing) -> bytes:
    """Return who signed a DoT, a name or a route."""
    assert not isinstance(thing, Entity)
    return thing.fields.giver


class History:
    """What happened, told from a replica. For one thread, with what is known brought up to date before each call."""

    def __init__(self, home: Path, chain: Blocks, follower: "Follower", confirmations: int) -> None:
        """Read ``follower``, and ask ``chain`` for the times of blocks."""
        self._follower = follower
        self._times = BlockTimes(home / "times.sqlite", chain, follower)
        self._timeline = Timeline(follower, confirmations)
        self._flushed: tuple[int, int] | None = None

    # The log -------------------------------------------------------------------------------------------------------

    def log(self, namespace: bytes, after: str, known: Knowledge) -> wire.LogReply:
        """Return what concerns ``namespace`` after a place; :class:`BadRequest`, :class:`ChainUnavailable`."""
        start = parse_place(after) if after else (-1, 0, 0)
        timeline = self._refreshed()
        dots = {dot.id for dot in known.graph.dots(namespace)}
        people = _people(namespace, known)
        said = {name.id for name in known.names.values() if _names(name.fields.giver, name.fields.target, people)}
        said |= {route.id for route in known.routes.values() if route.fields.namespace == namespace}
        revoked = {row.key for row in timeline.rows if row.kind == REVOCATION}
        owners = known.owners(revoked)
        wanted = {
            commitment: (thing, place)
            for commitment, (thing, place) in owners.items()
            if thing.id in dots or thing.id in said or thing.id in people
        }
        aliases = self._follower.facts.aliases
        found = sorted(
            (
                row
                for row in timeline.rows
                if (row.kind in _TOLD and (row.key in dots or row.key in said) and self._counts(row, known))
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
        """Return where a watcher begins: after the event or the place that it names, or now; :class:`BadRequest`.

        An event of a replica that is not this one, or that this one does not remember, says nothing of how far this one
        was told, so that all is told anew.
        """
        facts, follower = self._follower.facts, self._follower
        end = (self._refreshed().seq, _ALL)
        if since is None:
            return Cursor((facts.height, END, 0), follower.generation, end, facts.block_hash)
        cursor, epoch = parse_after(since)
        if epoch is None:
            return Cursor(cursor.place, follower.generation, end)
        if epoch != follower.epoch or cursor.generation > follower.generation or cursor.late[0] > end[0]:
            return Cursor(_ALL, _ANEW, end)
        return cursor

    def page(
        self, cursor: Cursor, namespace: bytes | None, known: Knowledge
    ) -> tuple[list[wire.Happening], Cursor, bool]:
        """Return what happened after ``cursor``, how far that goes, and whether there is more of it already."""
        timeline, facts = self._refreshed(), self._follower.facts
        told: list[wire.Happening] = []
        back = facts.height
        if cursor.generation != self._follower.generation:
            back = 0 if cursor.generation == _ANEW else min([back, *self._follower.unwound[cursor.generation :]])
            cursor = replace(cursor, generation=self._follower.generation)
        if cursor.place[0] > back:
            cursor = replace(cursor, place=(max(back, 0), END, 0), block=None)
            told.append(wire.Happening(id=self._id(cursor), kind="reorg", height=back))
        late, reached = timeline.late(cursor, PAGE)
        for row, one in self._seen(late, namespace, known, cursor.place):
            told.append(_placed(one, self._id(replace(cursor, late=row.came))))
        cursor = replace(cursor, late=reached)
        if reached[1] != _ALL:
            return told, cursor, True
        rows = timeline.after(cursor.place, PAGE)
        for row, one in self._seen(rows, namespace, known):
            told.append(_placed(one, self._id(replace(cursor, place=row.place))))
        more = len(rows) == PAGE
        if rows:
            cursor = replace(cursor, place=rows[-1].place)
        if not more and facts.height >= 0 and cursor.block != facts.block_hash:
            cursor = replace(cursor, place=(facts.height, END, 0), block=facts.block_hash)
            told.append(
                wire.Happening(
                    id=self._id(cursor),
                    kind="block",
                    height=facts.height,
                    time=facts.time,
                    block_hash=facts.block_hash.hex(),
                )
            )
        if told:
            self._flush()
        return told, cursor, more

    def _id(self, cursor: Cursor) -> str:
        return cursor.after(self._follower.epoch)

    def _flush(self) -> None:
        """Have the replica keep what ids stand for."""
        said = self._follower.generation, self._timeline.seq
        if said != self._flushed:
            self._follower.flush()
            self._flushed = said

    def _seen(
        self, rows: list[Row], namespace: bytes | None, known: Knowledge, end: Place | None = None
    ) -> Iterator[tuple[Row, wire.Happening]]:
        """Yield what a watcher of ``namespace`` (None: of everything) is told of these rows.

        With an ``end`` they come late to somebody who was told everything else up to there.
        """
        rows = [row for row in rows if row.kind not in _TOLD or self._is_new(row, known, end)]
        owners = known.owners({row.key for row in rows if row.kind == REVOCATION})
        people = set() if namespace is None or not rows else _people(namespace, known)
        for row, one in self._tell(rows, known, owners):
            if namespace is None or _concerns(one, namespace, people):
                yield row, one

    def _is_new(self, row: Row, known: Knowledge, end: Place | None) -> bool:
        """Tell whether an object holds under this row's signature, and was not told from another of its places."""
        timeline = self._timeline
        if timeline.waits(row):
            return False
        entry = known.published(row.key)
        if entry is None or (entry.seq == row.seq and row.key not in timeline.several):
            return entry is not None
        others: list[Entry] = []
        found = False
        for entry in self._follower.appearances(row.key):
            if entry.seq <= timeline.seq and _checked(entry, known):
                found = found or entry.seq == row.seq
                if entry.seq != row.seq:
                    others.append(entry)
        if end is None:
            return found and all(timeline.place(other) > row.place for other in others)
        before = [other for other in others if timeline.place(other) <= end]
        return found and all((timeline.known(other), timeline.place(other)) > row.came for other in before)

    def _counts(self, row: Row, known: Knowledge) -> bool:
        """Tell whether an object that may stand at several places counts from this one."""
        if row.key not in self._timeline.several:
            return True
        entry = known.published(row.key)
        return entry is not None and entry.seq == row.seq

    # Telling -------------------------------------------------------------------------------------------------------

    def _refreshed(self) -> Timeline:
        self._timeline.refresh()
        return self._timeline

    def _tell(
        self, rows: list[Row], known: Knowledge, owners: Mapping[bytes, tuple[Thing, int]]
    ) -> Iterator[tuple[Row, wire.Happening]]:
        """Yield each row as it is told; an object whose signature does not hold is nobody's, and left out."""
        times = self._times.of({row.height for row in rows}) if rows else {}
        for row in rows:
            common: dict[str, Any] = {"id": "", "height": row.height, "time": times.get(row.height)}
            if row.kind == ALIAS:
                label = row.key.decode()
                target = id_text(self._follower.facts.aliases.get(label, b""))
                yield row, wire.Happening(**common, kind=ALIAS, label=label, target=target or None)
            elif row.kind == REVOCATION:
                yield row, _revocation(common, row.key, owners.get(row.key))
            elif (entry := known.published(row.key)) is not None:
                yield row, _signed(common, parse(entry.object))


def _checked(entry: "Entry", known: Knowledge) -> bool:
    """Tell whether an object's signature holds."""
    with suppress(WaveError):
        known.check(entry.object)
        return True
    return False


def _placed(one: wire.Happening, place: str) -> wire.Happening:
    """Return the same happening under that place."""
    return wire.Happening(**{name: getattr(one, name) for name in one.__struct_fields__} | {"id": place})


def _people(namespace: bytes, known: Knowledge) -> set[bytes]:
    """Return the entities on a namespace's paths, itself among them."""
    ends = {end for dot in known.graph.dots(namespace) for end in (dot.giver, dot.receiver)}
    return (ends | {namespace}) - {EVERYBODY}


def _names(giver: bytes, target: bytes, people: set[bytes]) -> bool:
    """Tell whether a signed name concerns ``people``: one of them calls, or is called, something."""
    return giver in people or target in people


def _signed(common: Mapping[str, Any], thing: Thing) -> wire.Happening:
    """Return a published DoT, name or route as a happening."""
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
    elif isinstance(thing, Route):
        form = {"kind": ROUTE, "signer": id_text(thing.fields.giver), "expires": thing.fields.expires, **_route(thing)}
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


def _route(route: Route) -> dict[str, Any]:
    """Return what a route says: its act, about which namespace and router, and where the router is reached."""
    fields = route.fields
    form: dict[str, Any] = {"act": fields.act, "target": id_text(route.router), "urls": fields.urls}
    return form if fields.namespace is None else {**form, "namespace": id_text(fields.namespace)}


def _revocation(common: Mapping[str, Any], commitment: bytes, owner: tuple[Thing, int] | None) -> wire.Happening:
    """Return a revocation as a happening; of what, only where something known here carries the commitment."""
    form: dict[str, Any] = {"kind": REVOCATION, "commitment": id_text(commitment)}
    if owner is not None:
        thing, place = owner
        giver = thing.id if isinstance(thing, Entity) else thing.fields.giver
        form |= {
            "what": thing.KIND,
            "object": id_text(thing.id),
            "signer": id_text(giver),
            "by_signer": place == 0,
        }
        if isinstance(thing, Dot):
            form |= {"namespace": id_text(thing.namespace), "receiver": id_text(thing.receiver)}
        elif isinstance(thing, Route):
            form |= _route(thing)
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
