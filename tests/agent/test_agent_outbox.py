"""The outbox: whatever crashes, rivals and nodes do, what was taken in is carried out, and once."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wave.agent import outbox as outboxes
from wave.agent.batches import Batches
from wave.agent.outbox import (
    DONE,
    FAILED,
    PREPARED,
    QUEUED,
    Act,
    Outbox,
    Postman,
    anchor_act,
    claim_act,
    publish_act,
    revoke_act,
)
from wave.chain.batch import Batch
from wave.chain.payer import Prepared
from wave.codec import sha256
from wave.errors import ChainUnavailable, Malformed, NameTaken, StillPending, TooLarge, TransactionFailed
from wave.limits import LIMITS

TARGET, OTHER, SALT = bytes(31) + b"t", bytes(31) + b"o", bytes(31) + b"s"


class Crash(BaseException):
    """The process ends here: nothing catches it."""


@dataclass
class Ledger:
    """A chain in memory with one payer: what was sent waits until :meth:`mine`, and nonces are used once.

    ``steps`` counts every call that comes in; before and after each, ``at`` may crash whoever asks.
    """

    automatic: bool = False
    height: int = 0
    used: int = 0
    pool: dict[int, bytes] = field(default_factory=dict)
    mined: dict[bytes, int] = field(default_factory=dict)
    reverted: set[bytes] = field(default_factory=set)
    done: list[tuple[bytes, int]] = field(default_factory=list)
    refuse: Callable[[bytes], bool] = lambda _: False
    at: Callable[[str], None] = lambda _: None
    silent: bool = False

    def _step(self, name: str) -> None:
        self.at(name)
        if self.silent:
            raise ChainUnavailable("the node is away")

    def nonce(self) -> int:
        self._step("nonce")
        return self.used

    def prepare(self, calls: Sequence[bytes]) -> list[Prepared]:
        self._step("prepare")
        first = self.used
        while first in self.pool:
            first += 1
        signed = []
        for nonce, call in enumerate(calls, first):
            raw = nonce.to_bytes(8, "big") + call
            signed.append(Prepared(hashlib.sha256(raw).digest(), raw, nonce))
        return signed

    def broadcast(self, prepared: Sequence[Prepared]) -> None:
        self._step("broadcast")
        for one in prepared:
            if one.nonce >= self.used:
                self.pool[one.nonce] = max(self.pool.get(one.nonce, b""), one.raw, key=len)  # the dearest
            self.at("sent")
        if self.automatic:
            self.mine()

    def replacing(self, prepared: Sequence[Prepared]) -> list[Prepared]:
        self._step("replacing")
        signed = []
        for one in prepared:
            raw = one.raw[:8] + one.raw[8:].rstrip(b"+")
            raw += b"+" * (len(one.raw) - len(raw) + 1)
            signed.append(Prepared(hashlib.sha256(raw).digest(), raw, one.nonce))
        return signed

    def receipt(self, transaction: bytes) -> "Mined | None":
        self._step("receipt")
        if transaction in self.reverted:
            raise TransactionFailed("reverted")
        height = self.mined.get(transaction)
        return None if height is None else Mined(height)

    def mine(self) -> None:
        """Carry out what waits, in a block."""
        self.height += 1
        while (raw := self.pool.pop(self.used, None)) is not None:
            self.used += 1
            transaction = hashlib.sha256(raw).digest()
            call = raw[8:].rstrip(b"+")
            if self.refuse(call):
                self.reverted.add(transaction)
            else:
                self.mined[transaction] = self.height
                self.done.append((call, self.height))

    def rival(self) -> None:
        """Let somebody else's transaction use the payer's next nonce."""
        self.pool.pop(self.used, None)
        self.used += 1
        self.height += 1

    def calls(self) -> list[bytes]:
        return [call for call, _ in self.done]

    # The registry: what the calls meant ------------------------------------------------------------------------------

    def refresh(self) -> None:
        self._step("refresh")

    def published(self, identity: bytes) -> int | None:
        return next((height for call, height in self.done if call == b"publish" + identity), None)

    def anchored(self, root: bytes, count: int) -> int | None:
        return next((height for call, height in self.done if call == b"anchor%d" % count + root), None)

    def revoked(self, commitment: bytes) -> int | None:
        return next((height for call, height in self.done if call[:6] == b"revoke" and commitment in call), None)

    def alias(self, label: str) -> bytes | None:
        return next((call[-32:] for call, _ in self.done if call[:-32] == b"claim" + label.encode()), None)


@dataclass(frozen=True)
class Mined:
    height: int


@pytest.fixture(autouse=True)
def _plain_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calldata be words that :class:`Ledger` reads, and let nobody wait before sending again."""
    monkeypatch.setattr(outboxes, "_call", plain_call)
    monkeypatch.setattr(outboxes, "AGAIN_AFTER", 0.0)


def plain_call(act: Act, step: int) -> bytes:
    if act.kind == outboxes.PUBLISH:
        if len(act.payload) > LIMITS.object_bytes:
            raise TooLarge("an object has at most so many bytes")
        return b"publish" + act.key
    if act.kind == outboxes.ANCHOR:
        return b"anchor%d" % outboxes._count(act) + act.key
    if act.kind == outboxes.REVOKE:
        return b"revoke" + b"".join(map(sha256, outboxes._preimages(act)))
    label, target, salt = outboxes._claimed(act)
    return b"commit" + sha256(label.encode() + target + salt) if step == 0 else b"claim" + label.encode() + target


def acts(count: int) -> list[Act]:
    return [publish_act(sha256(b"%d" % number), b"object %d" % number) for number in range(count)]


@pytest.fixture
def box(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.sqlite")


def test_acts_are_carried_out_in_one_turn_where_the_node_mines_at_once(box: Outbox) -> None:
    ledger = Ledger(automatic=True)
    numbers = box.add(acts(5))
    done = Postman(box, ledger, ledger).finish(numbers)
    assert [entry.act for entry in done] == acts(5)
    assert {(entry.state, entry.height) for entry in done} == {(DONE, 1)}
    assert len(ledger.calls()) == 5
    assert box.counts() == {DONE: 5, "waiting": 0, "objects": 0, "unanchored": 0}


def test_an_act_is_taken_in_once(box: Outbox) -> None:
    ledger = Ledger(automatic=True)
    first = box.add([*acts(2), *acts(2)])
    Postman(box, ledger, ledger).finish(first)
    again = box.add(acts(2))
    Postman(box, ledger, ledger).finish(again)
    assert first == [*again, *again]
    assert len(ledger.calls()) == 2


def test_the_transaction_is_on_the_disk_before_it_is_sent(box: Outbox, tmp_path: Path) -> None:
    ledger = Ledger()
    seen: list[str] = []

    def look(step: str) -> None:
        if step == "broadcast":
            other = Outbox(tmp_path / "outbox.sqlite")
            (entry,) = other.pending()
            seen.append(entry.state)
            assert len(other.attempts(entry)) == 1
            other.close()

    ledger.at = look
    box.add(acts(1))
    Postman(box, ledger, ledger).turn()
    assert seen == [PREPARED]


def test_the_very_same_transaction_is_sent_again_while_its_nonce_is_unused(box: Outbox) -> None:
    ledger = Ledger()
    (number,) = box.add(acts(1))
    postman = Postman(box, ledger, ledger)
    postman.turn()
    first = dict(ledger.pool)
    ledger.pool.clear()  # the node forgot it
    postman.turn()
    assert ledger.pool == first
    ledger.mine()
    postman.turn()
    assert box.entries([number])[0].state == DONE
    assert len(ledger.calls()) == 1


def test_another_is_signed_once_somebody_else_has_used_the_nonce(box: Outbox) -> None:
    ledger = Ledger()
    (number,) = box.add(acts(1))
    postman = Postman(box, ledger, ledger)
    postman.turn()
    ledger.rival()
    for _ in range(outboxes.LOST_LOOKS - 1):
        postman.turn()
        assert ledger.pool == {}  # a node may be slow to show a receipt
    postman.turn()
    ledger.mine()
    postman.turn()
    assert box.entries([number])[0].state == DONE
    assert len(ledger.calls()) == 1


def test_what_no_block_takes_is_replaced_by_one_that_pays_more_and_has_the_same_nonce(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of them is mined, it is mined alone."""
    ledger = Ledger()
    numbers = box.add(acts(2))
    postman = Postman(box, ledger, ledger)
    postman.turn()
    cheap = dict(ledger.pool)
    monkeypatch.setattr(outboxes, "REPLACE_AFTER", -1.0)
    postman.turn()
    assert [raw.rstrip(b"+") for raw in ledger.pool.values()] == list(cheap.values())
    assert all(len(raw) > len(cheap[nonce]) for nonce, raw in ledger.pool.items())
    ledger.pool[0] = cheap[0]  # for one of them, the cheaper was mined after all
    ledger.mine()
    postman.turn()
    assert {entry.state for entry in box.entries(numbers)} == {DONE}
    assert len(ledger.calls()) == 2


def test_what_stands_on_the_chain_already_is_not_written_again(box: Outbox) -> None:
    """By an earlier run, or by anyone."""
    batch = Batch.build([b"a", b"b"])
    ledger = Ledger(automatic=True)
    wanted = [*acts(1), anchor_act(batch), revoke_act([SALT]), claim_act("home", TARGET, SALT)]
    ledger.done = [(plain_call(act, 1), 7) for act in wanted]
    numbers = box.add(wanted)
    done = Postman(box, ledger, ledger).finish(numbers)
    assert [entry.height for entry in done] == [7, 7, 7, 0]
    assert len(ledger.done) == 4


def test_an_alias_is_committed_to_and_then_claimed_in_a_later_block(box: Outbox) -> None:
    ledger = Ledger()
    numbers = box.add([claim_act("home", TARGET, SALT)])
    postman = Postman(box, ledger, ledger)
    for _ in range(5):
        postman.turn()
        ledger.mine()
    (entry,) = box.entries(numbers)
    assert (entry.state, entry.step) == (DONE, 1)
    commit, claim = ledger.done
    assert commit[0].startswith(b"commit")
    assert claim[0].startswith(b"claim")
    assert claim[1] > commit[1]


def test_a_claim_keeps_the_salt_that_it_was_first_given(box: Outbox) -> None:
    """The commitment that was sent has to fit the claim, whatever happened in between."""
    box.add([claim_act("home", TARGET, SALT)])
    box.add([claim_act("home", TARGET, OTHER)])
    (entry,) = box.pending()
    assert entry.act == claim_act("home", TARGET, SALT)


def test_a_lost_alias_fails_and_says_who_has_it(box: Outbox) -> None:
    ledger = Ledger(automatic=True)
    ledger.done = [(b"claimhome" + OTHER, 3)]
    numbers = box.add([claim_act("home", TARGET, SALT)])
    with pytest.raises(NameTaken) as caught:
        Postman(box, ledger, ledger).finish(numbers)
    assert caught.value.code == "name.taken"
    assert box.pending() == []
    with pytest.raises(NameTaken):
        Postman(box, ledger, ledger).finish(box.add([claim_act("home", TARGET, SALT)]))


def test_an_alias_lost_between_commitment_and_claim_fails(box: Outbox) -> None:
    ledger = Ledger(automatic=True, refuse=lambda call: call.startswith(b"claim"))
    numbers = box.add([claim_act("home", TARGET, SALT)])
    postman = Postman(box, ledger, ledger)
    postman.turn()
    ledger.done.append((b"claimhome" + OTHER, 3))
    with pytest.raises(NameTaken):
        postman.finish(numbers)


def test_a_refused_act_fails_and_may_be_tried_again(box: Outbox) -> None:
    ledger = Ledger(automatic=True, refuse=lambda call: call.startswith(b"revoke"))
    wanted = [revoke_act([SALT])]
    with pytest.raises(TransactionFailed):
        Postman(box, ledger, ledger).finish(box.add(wanted))
    assert box.counts()[FAILED] == 1
    ledger.refuse = lambda _: False
    (done,) = Postman(box, ledger, ledger).finish(box.add(wanted))
    assert done.state == DONE


def test_one_object_that_is_too_large_holds_up_no_other(box: Outbox) -> None:
    ledger = Ledger(automatic=True)
    large = publish_act(TARGET, bytes(LIMITS.object_bytes + 1))
    numbers = box.add([large, *acts(2)])
    with pytest.raises(TooLarge):
        Postman(box, ledger, ledger).finish(numbers)
    assert len(ledger.calls()) == 2


def test_nothing_is_lost_while_the_chain_is_away_and_the_error_says_so(box: Outbox) -> None:
    ledger = Ledger(automatic=True, silent=True)
    numbers = box.add(acts(2))
    with pytest.raises(ChainUnavailable) as caught:
        Postman(box, ledger, ledger).finish(numbers)
    assert "outbox" in caught.value.hint
    assert [entry.state for entry in box.pending()] == [QUEUED, QUEUED]
    ledger.silent = False
    assert len(Postman(box, ledger, ledger).finish(numbers)) == 2


def test_waiting_for_a_block_ends_and_what_waits_stays(box: Outbox) -> None:
    ledger = Ledger()
    numbers = box.add(acts(1))
    with pytest.raises(StillPending):
        Postman(box, ledger, ledger).finish(numbers, patience=0.0)
    assert len(box.pending()) == 1


def test_what_a_reorganisation_took_back_is_sent_again_and_what_it_left_is_not(box: Outbox) -> None:
    ledger = Ledger(automatic=True)
    postman = Postman(box, ledger, ledger)
    postman.finish(box.add(acts(1)))
    numbers = box.add([*acts(3)[1:], claim_act("home", TARGET, SALT)])
    postman.finish(numbers)
    before = ledger.calls()
    ledger.done = ledger.done[:1]  # the blocks after the first one are gone, and their transactions with them
    ledger.mined = {key: height for key, height in ledger.mined.items() if height == 1}
    ledger.used, ledger.height = 1, 1
    assert box.doubt(1) == 3
    for _ in range(4):
        postman.turn()
    assert {entry.state for entry in box.entries(numbers)} == {DONE}
    assert sorted(ledger.calls()) == sorted(before)


def test_what_was_done_long_ago_is_forgotten(box: Outbox) -> None:
    ledger = Ledger(automatic=True)
    numbers = box.add(acts(2))
    Postman(box, ledger, ledger).finish(numbers)
    box.clean(outboxes.KEPT + 1)
    assert len(box.entries(numbers)) == 2
    box.clean(outboxes.KEPT + 2)
    assert box.entries(numbers) == []


# Queue and batches -------------------------------------------------------------------------------------------------


def queued(count: int, size: int = 20) -> list[tuple[bytes, bytes]]:
    return [(sha256(b"%d" % number), b"%08d" % number + bytes(size - 8)) for number in range(count)]


def test_queued_objects_become_batches_in_their_order(box: Outbox, tmp_path: Path) -> None:
    shelf, ledger = Batches(tmp_path / "batches"), Ledger(automatic=True)
    objects = queued(LIMITS.batch_objects + 3)
    assert box.queue(objects) == len(objects)
    assert box.queue(objects[:5]) == 0
    first, second = box.form(shelf.keep), box.form(shelf.keep)
    assert first is not None
    assert second is not None
    assert box.form(shelf.keep) is None
    assert [*first.objects, *second.objects] == [data for _, data in objects]
    assert (shelf.read(first.root), shelf.read(second.root)) == (first, second)
    Postman(box, ledger, ledger).finish([entry.seq for entry in box.pending()])
    assert [call[:10] for call in ledger.calls()] == [b"anchor4096", b"anchor3" + second.root[:3]]
    assert box.counts() == {DONE: 2, "waiting": 0, "objects": 0, "unanchored": 0}


def test_a_batch_holds_no_more_bytes_than_its_bound(box: Outbox, tmp_path: Path) -> None:
    shelf = Batches(tmp_path / "batches")
    box.queue(queued(1100, LIMITS.object_bytes))
    batches = [box.form(shelf.keep) for _ in range(3)]
    assert [0 if batch is None else len(batch) for batch in batches] == [511, 511, 78]


def test_objects_of_a_batch_that_failed_go_back_to_the_queue(box: Outbox, tmp_path: Path) -> None:
    shelf = Batches(tmp_path / "batches")
    ledger = Ledger(automatic=True, refuse=lambda _: True)
    box.queue(queued(3))
    box.form(shelf.keep)
    with pytest.raises(TransactionFailed):
        Postman(box, ledger, ledger).finish([entry.seq for entry in box.pending()])
    assert box.counts()["waiting"] == 3
    ledger.refuse = lambda _: False
    assert box.form(shelf.keep) is not None
    Postman(box, ledger, ledger).finish([entry.seq for entry in box.pending()])
    assert box.counts()["objects"] == 0


def test_a_batch_that_failed_is_the_next_one_that_is_formed_whatever_came_behind_it(tmp_path: Path) -> None:
    """And a process that begins then goes on from there."""
    shelf, ledger, objects = Batches(tmp_path / "batches"), Ledger(automatic=True), queued(LIMITS.batch_objects + 4)
    box = Outbox(tmp_path / "outbox.sqlite")
    box.queue(objects[:-2])
    first, second = box.form(shelf.keep), box.form(shelf.keep)
    box.queue(objects[-2:])
    box.fail(box.pending()[0], TransactionFailed("reverted"))
    assert (box.waiting, box.counts()["objects"]) == (LIMITS.batch_objects + 2, len(objects))
    box.close()
    box = Outbox(tmp_path / "outbox.sqlite")
    assert (box.waiting, box.counts()["objects"]) == (LIMITS.batch_objects + 2, len(objects))
    assert box.queue(objects) == 0
    assert box.form(shelf.keep) == first
    third = box.form(shelf.keep)
    assert third is not None
    assert second is not None
    assert [*second.objects, *third.objects] == [data for _, data in objects[-4:]]
    Postman(box, ledger, ledger).finish([entry.seq for entry in box.pending()])
    assert box.counts() == {DONE: 3, "waiting": 0, "objects": 0, "unanchored": 0}


def test_of_one_object_that_comes_twice_the_first_is_queued_and_found_by_its_id(box: Outbox, tmp_path: Path) -> None:
    assert box.queue([(TARGET, b"one"), (TARGET, b"another"), (OTHER, b"two")]) == 2
    assert (box.queued(TARGET), box.queued(OTHER), box.queued(SALT)) == (b"one", b"two", None)
    batch = box.form(Batches(tmp_path / "batches").keep)
    assert batch is not None
    assert batch.objects == (b"one", b"two")
    assert (box.queued(TARGET), box.queue([(TARGET, b"one")])) == (b"one", 0)


def test_a_queue_of_the_older_form_is_carried_over(tmp_path: Path) -> None:
    """Its rows had their roots beside them, and those of one batch did not have to come together."""
    path, ledger, objects = tmp_path / "outbox.sqlite", Ledger(automatic=True), queued(7)
    one, other = (Batch.build(objects[at][1] for at in places) for places in ((0, 1, 5), (2, 3)))
    box = Outbox(path)
    box.add([anchor_act(one), anchor_act(other)])
    box.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            "DROP TABLE queued; DROP TABLE formed; CREATE TABLE queue ("
            "seq INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB UNIQUE NOT NULL, data BLOB NOT NULL, root BLOB);"
            "CREATE INDEX queue_by_root ON queue (root, seq);"
        )
        roots = (one.root, one.root, other.root, other.root, None, one.root, None)
        database.executemany(
            "INSERT INTO queue (id, data, root) VALUES (?, ?, ?)",
            [(*queued, root) for queued, root in zip(objects, roots, strict=True)],
        )
    for _ in range(2):  # it is carried over once
        box = Outbox(path)
        assert box.counts() == {QUEUED: 2, "waiting": 2, "objects": 7, "unanchored": 0}
        assert box.queue(objects) == 0
        box.close()
    box = Outbox(path)
    Postman(box, ledger, ledger).finish([entry.seq for entry in box.pending()])
    assert (box.waiting, box.counts()["objects"]) == (2, 2)
    batch = box.form(Batches(tmp_path / "batches").keep)
    assert batch is not None
    assert batch.objects == (objects[4][1], objects[6][1])


def test_what_an_older_release_queued_again_is_there_once(tmp_path: Path) -> None:
    """Somebody went back to it for a while: one object in a batch of its, another one waiting."""
    path, objects = tmp_path / "outbox.sqlite", queued(5)
    box = Outbox(path)
    assert box.queue(objects[:2]) == 2
    box.close()
    batch = Batch.build(data for _, data in objects[1:3])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE queue (seq INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB UNIQUE NOT NULL, data BLOB, root BLOB)"
        )
        roots = (None, batch.root, batch.root, None, None)
        database.executemany(
            "INSERT INTO queue (id, data, root) VALUES (?, ?, ?)",
            [(*one, root) for one, root in zip(objects, roots, strict=True)],
        )
    box = Outbox(path)
    assert box.counts() == {"waiting": 5, "objects": 5, "unanchored": 0}
    formed = box.form(Batches(tmp_path / "batches").keep)
    assert formed is not None
    assert sorted(formed.objects) == sorted(data for _, data in objects)


def test_a_batch_that_was_anchored_before_is_looked_at_again(tmp_path: Path) -> None:
    """The home forgot that it was, as it does when its copy of the chain is built anew."""
    ledger, batches = Ledger(automatic=True), Batches(tmp_path / "batches")
    box = Outbox(tmp_path / "outbox.sqlite")
    for _ in range(2):
        assert box.queue(queued(3)) == 3
        assert box.form(batches.keep) is not None
        Postman(box, ledger, ledger).finish([entry.seq for entry in box.pending()])
        assert (box.pending(), box.counts()["objects"]) == ([], 0)


def test_the_batch_is_on_the_disk_before_anything_says_that_it_will_be_anchored(box: Outbox) -> None:
    def keep(_: Batch) -> None:
        assert box.pending() == []
        raise Crash

    box.queue(queued(3))
    with pytest.raises(Crash):
        box.form(keep)
    assert box.counts()["waiting"] == 3


def test_a_salt_has_its_length() -> None:
    with pytest.raises(Malformed):
        claim_act("home", TARGET, b"short")


# Anything at any time ----------------------------------------------------------------------------------------------


class Life:
    """An outbox through its process's deaths, and what befalls it; each event has a method of its name."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger()
        self.path = path
        self.wanted: list[Act] = []
        self.begin()

    def begin(self) -> None:
        self.box = Outbox(self.path)
        self.postman = Postman(self.box, self.ledger, self.ledger)

    def turn(self, _: int = 0) -> None:
        with suppress(ChainUnavailable):
            self.postman.turn()

    def silent(self, _: int) -> None:
        self.ledger.silent = True
        self.turn()
        self.ledger.silent = False

    def crash(self, after: int) -> None:
        left = iter(range(after))

        def at(_: str) -> None:
            if next(left, None) is None:
                raise Crash

        self.ledger.at = at
        try:
            self.turn()
        except Crash:
            self.box.close()
            self.begin()
        self.ledger.at = lambda _: None

    def act(self, kind: int) -> None:
        serial = len(self.wanted)
        kinds = (
            publish_act(sha256(b"%d" % serial), b"data"),
            revoke_act([sha256(b"%d" % serial)]),
            claim_act(f"label{serial}", TARGET, SALT),
        )
        self.wanted.append(kinds[kind % 3])
        self.box.add(self.wanted[-1:])

    def mine(self, _: int = 0) -> None:
        self.ledger.mine()

    def rival(self, _: int) -> None:
        self.ledger.rival()

    def forgotten(self, _: int) -> None:
        self.ledger.pool.clear()


EVENTS = ("turn", "turn", "crash", "mine", "rival", "forgotten", "silent", "act")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 12)), max_size=25))
def test_whatever_happens_everything_is_done_and_once(happenings: list[tuple[str, int]]) -> None:
    """Crashes at any step, rivals for the nonce, nodes that forget or are away: each call is carried out once."""
    with TemporaryDirectory() as folder:
        life = Life(Path(folder) / "outbox.sqlite")
        for what, number in happenings:
            getattr(life, what)(number)
        for _ in range(12):
            life.turn()
            life.mine()
        life.turn()
        assert life.box.pending() == []
        life.box.close()
    expected = {plain_call(act, step) for act in life.wanted for step in range(2 if act.kind == outboxes.CLAIM else 1)}
    times = Counter(life.ledger.calls())
    assert set(times) == expected
    assert {call: count for call, count in times.items() if count != 1} == {}
