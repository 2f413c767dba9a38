"""The outbox: what is to be written to the registry, kept on the disk until it stands there, and written once.

Every signed transaction is on the disk before it is sent. After a crash the very same transaction is sent again while
its nonce is unused, which can carry it out once at most; another one is signed only when somebody else's transaction
has used its nonce, so that it never can be.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from wave.chain.batch import Batch
from wave.chain.disk import disk_errors, open_database, transaction
from wave.codec import decode, encode, id_text, sha256
from wave.errors import (
    FeesTooHigh,
    Malformed,
    NameTaken,
    StillPending,
    TooLarge,
    TransactionFailed,
    Unavailable,
    WaveError,
    codes,
)
from wave.limits import LIMITS

if TYPE_CHECKING:
    from wave.chain.payer import Prepared

PUBLISH: Final = "publish"
ANCHOR: Final = "anchor"
REVOKE: Final = "revoke"
CLAIM: Final = "claim"

QUEUED: Final = "queued"
PREPARED: Final = "prepared"
DONE: Final = "done"
FAILED: Final = "failed"

CALLS_PER_TURN: Final = 200  # transactions signed, stored and sent together
BYTES_PER_TURN: Final = 400_000
AGAIN_AFTER: Final = 2.0  # seconds after which a transaction that is not mined is sent again
REPLACE_AFTER: Final = 60.0  # seconds after which one that no block takes is replaced by one that pays more
LOST_LOOKS: Final = 3  # looks in a row that find the nonce used, and by none of one's own, before signing anew
PATIENCE: Final = 60.0  # seconds to wait for a transaction to be mined
KEPT: Final = 4_096  # blocks for which what is done is remembered; more than any reorganisation takes back
_SALT_BYTES: Final = 32

_SCHEMA = """
CREATE TABLE IF NOT EXISTS acts (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key BLOB NOT NULL, payload BLOB NOT NULL,
  step INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'queued', height INTEGER,
  code TEXT, message TEXT, UNIQUE (kind, key)
);
CREATE INDEX IF NOT EXISTS acts_by_state ON acts (state, seq);
CREATE TABLE IF NOT EXISTS attempts (
  serial INTEGER PRIMARY KEY AUTOINCREMENT, act INTEGER NOT NULL, step INTEGER NOT NULL, nonce INTEGER NOT NULL,
  hash BLOB NOT NULL, raw BLOB NOT NULL, UNIQUE (act, step, hash)
);
CREATE TABLE IF NOT EXISTS queued (seq INTEGER PRIMARY KEY, id BLOB NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS formed (
  root BLOB PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL
) WITHOUT ROWID;
"""
_OLDER_QUEUE: Final = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'queue'"
_FROM_OLDER_QUEUE: Final = (  # it had the root beside each object; a batch's objects have to come together now
    # what an older release queued again after a newer one: once is enough, and its batch is not whole without it
    "UPDATE queue SET root = NULL WHERE root IN (SELECT root FROM queue WHERE id IN (SELECT id FROM queued))",
    "DELETE FROM queue WHERE id IN (SELECT id FROM queued)",
    "INSERT INTO queued (id, data) SELECT id, data FROM queue ORDER BY root IS NULL, root, seq",
    (
        "INSERT INTO formed SELECT root, min(queued.seq), max(queued.seq), count(*) FROM queue JOIN queued USING (id)"
        " WHERE root IS NOT NULL GROUP BY root"
    ),
    "DROP TABLE queue",
)


class Act(NamedTuple):
    """Something to be written: its kind, what it is known by, and what it needs."""

    kind: str
    key: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """An act in the outbox; ``step`` counts the transactions of it that are mined, ``height`` is the last one's."""

    seq: int
    act: Act
    step: int
    state: str
    height: int | None
    code: str | None
    message: str | None

    def error(self) -> WaveError:
        """Return why it failed."""
        return codes().get(self.code or "", TransactionFailed)(self.message or "the chain refused it")


class Mined(Protocol):
    """A receipt; :class:`wave.chain.sender.Receipt` is one."""

    @property
    def height(self) -> int: ...


class Chain(Protocol):
    """What the outbox asks of a chain; :class:`wave.chain.client.ChainClient` answers it."""

    def nonce(self) -> int:
        """Return the payer's next nonce, counting mined transactions alone."""
        ...

    def prepare(self, calls: Sequence[bytes]) -> Sequence["Prepared"]:
        """Return a signed transaction for each of ``calls``, with consecutive unused nonces; nothing is sent."""
        ...

    def broadcast(self, prepared: Sequence["Prepared"]) -> None:
        """Send signed transactions; that the node knows one already, or that its nonce is used, is no error."""
        ...

    def replacing(self, prepared: Sequence["Prepared"]) -> Sequence["Prepared"]:
        """Return for each transaction another one of the same nonce that pays more; none where that is too much."""
        ...

    def receipt(self, transaction: bytes) -> Mined | None:
        """Return the receipt of a transaction, None when it is not mined; TransactionFailed when it was reverted."""
        ...


class Registry(Protocol):
    """What the newest blocks say, for acts that somebody (perhaps an earlier run) has carried out already."""

    def refresh(self) -> None:
        """Take in the newest blocks."""
        ...

    def published(self, identity: bytes) -> int | None:
        """Return the height at which the object stands, or None."""
        ...

    def anchored(self, root: bytes, count: int) -> int | None:
        """Return the height at which the root stands, or None."""
        ...

    def revoked(self, commitment: bytes) -> int | None:
        """Return the height at which the commitment was revoked, or None."""
        ...

    def alias(self, label: str) -> bytes | None:
        """Return who has the alias, or None."""
        ...


# Acts --------------------------------------------------------------------------------------------------------------


def publish_act(identity: bytes, data: bytes) -> Act:
    """Publish an object, known by its id."""
    return Act(PUBLISH, identity, data)


def anchor_act(batch: Batch) -> Act:
    """Anchor a batch, known by its root."""
    return Act(ANCHOR, batch.root, encode(len(batch)))


def revoke_act(preimages: Sequence[bytes]) -> Act:
    """Show preimages."""
    payload = encode(tuple(preimages))
    return Act(REVOKE, sha256(payload), payload)


def claim_act(label: str, target: bytes, salt: bytes) -> Act:
    """Commit to an alias and then claim it; known by label and target, so the salt (32 bytes) kept first stays."""
    if len(salt) != _SALT_BYTES:
        raise Malformed(f"a salt has {_SALT_BYTES} bytes")
    return Act(CLAIM, sha256(encode((label, target))), encode((label, target, salt)))


def _call(act: Act, step: int) -> bytes:
    """Return the calldata of one step of an act."""
    from wave.chain import sender

    if act.kind == PUBLISH:
        return sender.publish_call(act.payload)
    if act.kind == ANCHOR:
        return sender.anchor_call(act.key, _count(act))
    if act.kind == REVOKE:
        return sender.revoke_call(_preimages(act))
    from wave.chain.contract import pad_label

    label, target, salt = _claimed(act)
    if step == 0:
        return sender.commit_call(pad_label(label), target, salt)
    return sender.claim_call(pad_label(label), target, salt)


def _count(act: Act) -> int:
    value = decode(act.payload)
    assert isinstance(value, int)
    return value


def _preimages(act: Act) -> list[bytes]:
    value = decode(act.payload)
    assert isinstance(value, tuple)
    return [item for item in value if isinstance(item, bytes)]


def _claimed(act: Act) -> tuple[str, bytes, bytes]:
    value = decode(act.payload)
    assert isinstance(value, tuple)
    label, target, salt = value
    assert isinstance(label, str)
    assert isinstance(target, bytes)
    assert isinstance(salt, bytes)
    return label, target, salt


def _steps(act: Act) -> int:
    return 2 if act.kind == CLAIM else 1


# On the disk -------------------------------------------------------------------------------------------------------

_ENTRY: Final = "seq, kind, key, payload, step, state, height, code, message"


class Outbox:
    """One SQLite file; each change is on the disk when its call returns.

    The ids of the objects that are queued are in memory as well, so only one at a time may queue objects in a file.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or create it; :class:`StateUnwritable`."""
        self._path = path
        self._database = open_database(path, _SCHEMA)
        try:
            self._load()
        except BaseException:
            self._database.close()
            raise

    def _load(self) -> None:
        run = self._database.execute
        with disk_errors(self._path):
            older = run(_OLDER_QUEUE).fetchone() is not None
        if older:
            with transaction(self._database, self._path):
                for statement in _FROM_OLDER_QUEUE:
                    run(statement)
        with disk_errors(self._path):
            self._queued: dict[bytes, int] = dict(run("SELECT id, seq FROM queued").fetchall())
            self._formed = {row[0]: _Formed(*row[1:]) for row in run("SELECT root, first, last, count FROM formed")}
        self._last = max(self._queued.values(), default=0)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add(self, acts: Iterable[Act]) -> list[int]:
        """Take in acts, all or none; return the number of each. One that is there already is not taken twice.

        One that failed before is tried again from its beginning.
        """
        numbers: list[int] = []
        with transaction(self._database, self._path):
            for act in acts:
                self._database.execute(
                    "INSERT INTO acts (kind, key, payload) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET"
                    " state = 'queued', step = 0, code = NULL, message = NULL WHERE state = 'failed'",
                    act,
                )
                row = self._database.execute("SELECT seq FROM acts WHERE kind = ? AND key = ?", act[:2]).fetchone()
                numbers.append(row[0])
        return numbers

    def entries(self, numbers: Iterable[int]) -> list[Entry]:
        """Return acts by their numbers, in that order; one that is done long since is gone."""
        found: list[Entry] = []
        with disk_errors(self._path):
            for number in numbers:
                sql = f"SELECT {_ENTRY} FROM acts WHERE seq = ?"  # noqa: S608 - names of columns
                found += [_entry(row) for row in self._database.execute(sql, (number,))]
        return found

    def pending(self, limit: int = CALLS_PER_TURN) -> list[Entry]:
        """Return acts that are neither done nor failed, the oldest first."""
        sql = f"SELECT {_ENTRY} FROM acts WHERE state IN ('queued', 'prepared') ORDER BY seq LIMIT ?"  # noqa: S608
        with disk_errors(self._path):
            return [_entry(row) for row in self._database.execute(sql, (limit,))]

    def counts(self) -> dict[str, int]:
        """Return how many acts are in each state, how many of those to be done are no anchors (``unanchored``).

        And how many ``objects`` are queued that are not anchored, and how many of them are in no batch (``waiting``).
        """
        with disk_errors(self._path):
            found = dict(self._database.execute("SELECT state, count(*) FROM acts GROUP BY state").fetchall())
            (found["unanchored"],) = self._database.execute(
                "SELECT count(*) FROM acts WHERE state IN ('queued', 'prepared') AND kind != 'anchor'"
            ).fetchone()
        found["waiting"], found["objects"] = self.waiting, len(self._queued)
        return found

    @property
    def waiting(self) -> int:
        """How many objects are queued and in no batch."""
        return len(self._queued) - sum(batch.size for batch in self._formed.values())

    def attempts(self, entry: Entry) -> list["Prepared"]:
        """Return the signed transactions of an act's current step, the newest last; they share a nonce."""
        from wave.chain.payer import Prepared

        sql = "SELECT hash, raw, nonce FROM attempts WHERE act = ? AND step = ? ORDER BY serial"
        with disk_errors(self._path):
            return [Prepared(*row) for row in self._database.execute(sql, (entry.seq, entry.step))]

    def prepare(self, signed: Iterable[tuple[Entry, "Prepared"]]) -> None:
        """Keep signed transactions, all or none, before they are sent."""
        with transaction(self._database, self._path):
            for entry, one in signed:
                self._database.execute(
                    "INSERT OR IGNORE INTO attempts (act, step, nonce, hash, raw) VALUES (?, ?, ?, ?, ?)",
                    (entry.seq, entry.step, one.nonce, one.hash, one.raw),
                )
                self._database.execute("UPDATE acts SET state = 'prepared' WHERE seq = ?", (entry.seq,))

    def forget(self, entries: Iterable[Entry]) -> None:
        """Let go of acts' transactions, which cannot be carried out any more: they are to be signed again."""
        with transaction(self._database, self._path):
            for entry in entries:
                self._database.execute("DELETE FROM attempts WHERE act = ? AND step = ?", (entry.seq, entry.step))
                self._database.execute("UPDATE acts SET state = 'queued' WHERE seq = ?", (entry.seq,))

    def advance(self, mined: Iterable[tuple[Entry, int]], *, whole: bool = False) -> None:
        """Note that acts' current steps (with ``whole``: the acts) stand in the blocks of these heights."""
        anchored: list[bytes] = []
        gone: list[tuple[bytes]] = []
        with transaction(self._database, self._path):
            for entry, height in mined:
                over = whole or entry.step + 1 >= _steps(entry.act)
                self._database.execute(
                    "UPDATE acts SET state = ?, step = ?, height = ? WHERE seq = ?",
                    (DONE if over else QUEUED, entry.step if over else entry.step + 1, height, entry.seq),
                )
                if over and entry.act.kind == ANCHOR and entry.act.key in self._formed:
                    anchored.append(entry.act.key)
                    batch = self._formed[entry.act.key]
                    gone += self._database.execute(
                        "DELETE FROM queued WHERE seq BETWEEN ? AND ? RETURNING id", (batch.first, batch.last)
                    ).fetchall()
                    self._database.execute("DELETE FROM formed WHERE root = ?", (entry.act.key,))
        for root in anchored:
            self._formed.pop(root, None)
        for (identity,) in gone:
            self._queued.pop(identity, None)

    def fail(self, entry: Entry, error: WaveError) -> None:
        """Note that an act can never be carried out; objects of a batch go back to the queue."""
        with transaction(self._database, self._path):
            self._database.execute("DELETE FROM attempts WHERE act = ?", (entry.seq,))
            self._database.execute(
                "UPDATE acts SET state = 'failed', code = ?, message = ? WHERE seq = ?",
                (error.code, error.message, entry.seq),
            )
            if entry.act.kind == ANCHOR:
                self._database.execute("DELETE FROM formed WHERE root = ?", (entry.act.key,))
        if entry.act.kind == ANCHOR:
            self._formed.pop(entry.act.key, None)

    def doubt(self, above: int) -> int:
        """Look again at what was done above a height, for the chain changed there; return how many acts that are.

        Their transactions are still kept, and are sent again if no block holds them any more.
        """
        with transaction(self._database, self._path):
            return self._database.execute(
                "UPDATE acts SET state = 'prepared', step = 0 WHERE state = 'done' AND height > ?", (above,)
            ).rowcount

    def queued(self, identity: bytes) -> bytes | None:
        """Return the bytes of an object that is queued and not anchored, or None."""
        seq = self._queued.get(identity)
        if seq is None:
            return None
        with disk_errors(self._path):
            (data,) = self._database.execute("SELECT data FROM queued WHERE seq = ?", (seq,)).fetchone()
        return bytes(data)

    def clean(self, height: int) -> None:
        """Forget what was done so long ago that no reorganisation takes it back; ``height`` is the newest block's."""
        with transaction(self._database, self._path):
            run = self._database.execute
            gone = "SELECT seq FROM acts WHERE state = 'done' AND height < ?"
            run(f"DELETE FROM attempts WHERE act IN ({gone})", (height - KEPT,))  # noqa: S608
            run("DELETE FROM acts WHERE state = 'done' AND height < ?", (height - KEPT,))

    # Objects to be anchored ----------------------------------------------------------------------------------------

    def queue(self, objects: Iterable[tuple[bytes, bytes]]) -> int:
        """Take in objects (id and bytes) to be anchored, all or none; return how many were not there yet."""
        new: dict[bytes, bytes] = {}
        for identity, data in objects:
            if identity not in self._queued:
                new.setdefault(identity, data)
        if new:
            rows = [(seq, *one) for seq, one in enumerate(new.items(), self._last + 1)]
            with transaction(self._database, self._path):
                self._database.executemany("INSERT INTO queued VALUES (?, ?, ?)", rows)
            self._queued.update((identity, seq) for seq, identity, _ in rows)
            self._last = rows[-1][0]
        return len(new)

    def form(self, keep: Callable[[Batch], None]) -> Batch | None:
        """Put the oldest objects that wait into a batch, as many as one holds, and have it anchored; None for none.

        ``keep`` puts the batch on the disk, before anything says that it will be anchored.
        """
        chosen: list[tuple[int, bytes]] = []
        size = _BATCH_WORDS
        for number, data in self._oldest():
            size += len(data) + _OBJECT_WORDS
            if size > LIMITS.batch_bytes:
                break
            chosen.append((number, data))
        if not chosen:
            return None
        batch = Batch.build(data for _, data in chosen)
        keep(batch)
        formed = _Formed(chosen[0][0], chosen[-1][0], len(chosen))
        with transaction(self._database, self._path):
            self._database.execute("INSERT INTO formed VALUES (?, ?, ?, ?)", (batch.root, *formed))
            self._database.execute(
                "INSERT INTO acts (kind, key, payload) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET"
                " state = 'queued', step = 0 WHERE state IN ('failed', 'done')",
                anchor_act(batch),
            )
        self._formed[batch.root] = formed
        return batch

    def _oldest(self) -> list[tuple[int, bytes]]:
        """Return the oldest objects that wait, up to the first one behind them that is in a batch."""
        rows: list[tuple[int, bytes]] = []
        after = 0
        for first, last in [*sorted(batch[:2] for batch in self._formed.values()), (self._last + 1, self._last + 1)]:
            if first > after + 1:
                with disk_errors(self._path):
                    rows = self._database.execute(
                        "SELECT seq, data FROM queued WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?",
                        (after, first, LIMITS.batch_objects),
                    ).fetchall()
            if rows:
                break
            after = last
        return rows


class _Formed(NamedTuple):
    """Where the objects of a batch stand in the queue, and how many they are."""

    first: int
    last: int
    size: int


_BATCH_WORDS: Final = 8  # bytes of a batch around its objects, at most
_OBJECT_WORDS: Final = 5


def _entry(row: tuple[int, str, bytes, bytes, int, str, int | None, str | None, str | None]) -> Entry:
    seq, kind, key, payload, step, state, height, code, message = row
    return Entry(seq, Act(kind, key, payload), step, state, height, code, message)


# Sending -----------------------------------------------------------------------------------------------------------


class Postman:
    """Carries what is in an outbox to the registry. For one thread."""

    def __init__(self, outbox: Outbox, chain: Chain, registry: Registry) -> None:
        """Send through ``chain``; ``registry`` says what stands there already and is to be newer than ``chain``."""
        self.chain = chain
        self._outbox = outbox
        self._registry = registry
        self._sent: dict[bytes, float] = {}
        self._waits: dict[int, float] = {}
        self._lost: dict[int, int] = {}

    def finish(
        self, numbers: Sequence[int], *, patience: float = PATIENCE, refresh: Callable[[], object] = lambda: None
    ) -> list[Entry]:
        """Carry acts out and return them done; an act's own error when it failed.

        ``refresh`` brings the registry up to date. :class:`StillPending` when they are not mined within
        ``patience`` seconds, :class:`ChainUnavailable`: they stay in the outbox and are carried out later.
        """
        deadline = time.monotonic() + patience
        pause = 0.005
        try:
            while True:
                moved = self.turn()
                entries = self._outbox.entries(numbers)
                for entry in entries:
                    if entry.state == FAILED:
                        raise entry.error()
                if all(entry.state == DONE for entry in entries):
                    return entries
                if not moved and time.monotonic() >= deadline:
                    raise StillPending(f"no block has taken it in within {patience:.0f} s")
                pause = 0.005 if moved else min(2 * pause, 1.0)
                if not moved:
                    time.sleep(pause)
                    refresh()
        except Unavailable as error:
            raise type(error)(error.message, hint="; ".join(filter(None, (error.hint, _STAYS)))) from None

    def turn(self) -> bool:
        """Go through what is pending once: see what was mined, send again, sign and send; tell whether anything moved.

        Raises :class:`ChainUnavailable`, and :class:`TransactionFailed` when the node refuses to take a transaction
        (it stays, and is sent again: an account without funds can be filled).
        """
        entries = self._outbox.pending()
        if not entries:
            return False
        used = self.chain.nonce()  # before the receipts: a nonce used by then has its receipt by now, if it is ours
        signed = [(entry, self._outbox.attempts(entry)) for entry in entries]
        waiting = self._without_mined(signed)
        moved = len(waiting) < len(signed)
        again: list[tuple[Entry, list[Prepared]]] = []
        fresh: list[Entry] = []
        dead: list[Entry] = []
        for entry, attempts in waiting:
            if any(one.nonce >= used for one in attempts):
                again.append((entry, attempts))
                continue
            if attempts:
                looks = self._lost[entry.seq] = self._lost.get(entry.seq, 0) + 1
                if looks < LOST_LOOKS:
                    continue
                dead.append(entry)
            fresh.append(entry)
        if dead:
            self._registry.refresh()  # so that what stands there is seen, before anything is signed anew
            self._outbox.forget(dead)
            for entry in dead:
                del self._lost[entry.seq]
        self._send_again(again)
        unsent = [entry for entry in fresh if not self._stands(entry)]
        return self._send(unsent) or moved or len(unsent) < len(fresh)

    def _send_again(self, signed: list[tuple[Entry, list["Prepared"]]]) -> None:
        """Send what was signed before and is not mined; pay more for what no block has taken for a while."""
        now = time.monotonic()
        slow: list[tuple[Entry, Prepared]] = []
        for entry, attempts in signed:
            newest = attempts[-1]
            if now - self._waits.setdefault(entry.seq, now) > REPLACE_AFTER:
                slow.append((entry, newest))
            elif now - self._sent.get(newest.hash, -AGAIN_AFTER) >= AGAIN_AFTER:
                try:
                    self._broadcast([newest])
                except FeesTooHigh:
                    slow.append((entry, newest))
                except TransactionFailed as error:  # no node takes it, so it can never be mined
                    self._refused(entry, error)
        for entry, newest in slow:
            self._waits[entry.seq] = now
            dearer = self.chain.replacing([newest])
            if dearer:  # of all that share a nonce, one is mined at most
                self._outbox.prepare([(entry, dearer[0])])
                self._broadcast(dearer)

    def _broadcast(self, signed: Sequence["Prepared"]) -> None:
        self.chain.broadcast(signed)
        now = time.monotonic()
        self._sent.update((one.hash, now) for one in signed)

    def _send(self, entries: list[Entry]) -> bool:
        """Sign, keep, and only then send; see what is mined at once. Tell whether anything moved."""
        chosen: list[tuple[Entry, bytes]] = []
        size = 0
        for entry in entries:
            try:
                call = _call(entry.act, entry.step)
            except (TooLarge, Malformed) as error:
                self._outbox.fail(entry, error)
                continue
            size += len(call) + 200
            if chosen and size > BYTES_PER_TURN:
                break
            chosen.append((entry, call))
        if not chosen:
            return False
        try:
            signed = self.chain.prepare([call for _, call in chosen])
        except TransactionFailed as error:
            if len(chosen) == 1:
                self._refused(chosen[0][0], error)
                return True
            moved = [self._send([entry]) for entry, _ in chosen]  # one of them it is: each by itself
            return any(moved)
        pairs = [(entry, one) for (entry, _), one in zip(chosen, signed, strict=True)]
        self._outbox.prepare(pairs)
        try:
            self._broadcast([one for _, one in pairs])
        except (FeesTooHigh, TransactionFailed):
            if len(pairs) == 1:
                raise
            return True  # the next turn sends each by itself
        return len(self._without_mined((entry, self._outbox.attempts(entry)) for entry, _ in pairs)) < len(pairs)

    def _without_mined(self, signed: Iterable[tuple[Entry, list["Prepared"]]]) -> list[tuple[Entry, list["Prepared"]]]:
        """Note which acts' transactions are in a block, or were refused there, and return the others."""
        mined: list[tuple[Entry, int]] = []
        waiting: list[tuple[Entry, list[Prepared]]] = []
        refused: list[tuple[Entry, TransactionFailed]] = []
        for entry, attempts in signed:
            try:
                receipts = [self.chain.receipt(one.hash) for one in attempts]
            except TransactionFailed as error:
                refused.append((entry, error))
                continue
            heights = [receipt.height for receipt in receipts if receipt is not None]
            if heights:
                mined.append((entry, heights[0]))
            else:
                waiting.append((entry, attempts))
        if mined:
            self._outbox.advance(mined)
        for entry, reason in refused:
            self._refused(entry, reason)
        return waiting

    def _refused(self, entry: Entry, error: TransactionFailed) -> None:
        """Note what the contract refused: carried out already, by whomever, is done; else it failed for ever."""
        if self._stands(entry):
            return
        if entry.act.kind == CLAIM and entry.step == 0:
            self._outbox.advance([(entry, 0)])  # the commitment stands from an earlier attempt
            return
        self._outbox.fail(entry, error)

    def _stands(self, entry: Entry) -> bool:
        """Tell whether an act was carried out (or an alias was lost) before anything is signed for it, and note it."""
        act, found = entry.act, None
        if act.kind == PUBLISH:
            found = self._registry.published(act.key)
        elif act.kind == ANCHOR:
            found = self._registry.anchored(act.key, _count(act))
        elif act.kind == REVOKE:
            heights = [self._registry.revoked(sha256(preimage)) for preimage in _preimages(act)]
            known = [height for height in heights if height is not None]
            found = max(known) if known and len(known) == len(heights) else None
        else:
            label, target, _ = _claimed(act)
            holder = self._registry.alias(label)
            if holder is not None and holder != target:
                self._outbox.fail(entry, NameTaken(f"the name {label!r} belongs to {id_text(holder)} already"))
                return True
            found = entry.height or 0 if holder == target else None
        if found is None:
            return False
        self._outbox.advance([(entry, found)], whole=True)
        return True


_STAYS: Final = "it is kept in the outbox and will be sent again; see 'wave status'"
