"""The follower: blocks become Facts once each, whatever crashes, repeats, lies or changes behind it."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from wave.chain import follower as follower_module
from wave.chain.client import Block, ChainClient
from wave.chain.contract import Anchored, Claimed, Event, Published, Revocation
from wave.chain.follower import Follower
from wave.codec import sha256
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.entities.object import MESSAGE, SignedObject
from wave.errors import ChainUnavailable, FactsAhead, StaleFacts, StateLocked, StateUnwritable
from wave.limits import LIMITS
from wave.namespace.grant import right
from wave.namespace.name import Name

NOW = 1_800_000_000
YEAR = 365 * 86_400


def _draw(name: str) -> Callable[[int], bytes]:
    state = [sha256(name.encode())]

    def draw(size: int) -> bytes:
        state[0] = sha256(state[0])
        return state[0][:size]

    return draw


def _entity(name: str) -> EntitySecret:
    return EntitySecret.create(_draw(name), created=NOW, expires=NOW + YEAR)


ALICE, BOB = _entity("alice"), _entity("bob")
DOT = Dot.create(
    ALICE,
    receiver=BOB.id,
    namespace=ALICE.id,
    grants=(right(("publish",), "home/*"),),
    created=NOW,
    expires=NOW + YEAR,
)


def _forged(giver: EntitySecret) -> bytes:
    """The bytes of DOT with the signature of somebody else."""
    signed = DOT.to_object()
    return SignedObject(signed.kind, signed.body, giver.sign(signed.kind, signed.body)).to_bytes()


@dataclass
class Staged:
    """A chain in memory: ``say`` makes a block, ``fork`` forgets the newest ones."""

    salt: str = ""
    blocks: list[Block] = field(default_factory=list)
    said: list[list[Event]] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)
    on_events: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.say()

    def say(self, *events: Callable[[int, int], Event] | bytes, time: int = 0) -> int:
        height = len(self.blocks)
        parent = self.blocks[-1].hash if self.blocks else bytes(32)
        block_hash = sha256(parent + self.salt.encode())
        self.blocks.append(Block(height, block_hash, parent, time or NOW + height))
        made = [
            Published(height, index, event) if isinstance(event, bytes) else event(height, index)
            for index, event in enumerate(events)
        ]
        self.said.append(made)
        return height

    def fork(self, height: int, salt: str) -> None:
        del self.blocks[height + 1 :], self.said[height + 1 :]
        self.salt = salt

    def head(self) -> Block:
        return self.blocks[-1]

    def block(self, number: int) -> Block | None:
        return self.blocks[number] if number < len(self.blocks) else None

    def events(self, from_height: int, to_height: int) -> Sequence[Event]:
        self.asked.append((from_height, to_height))
        found = [event for block in self.said[from_height : to_height + 1] for event in block]
        self.on_events()
        return found


def _revoked(preimage: bytes) -> Callable[[int, int], Event]:
    return lambda height, index: Revocation(height, index, sha256(preimage))


def _claimed(label: bytes, target: bytes) -> Callable[[int, int], Event]:
    return lambda height, index: Claimed(height, index, label, target)


def _anchored(height: int, index: int) -> Event:
    return Anchored(height, index, b"r" * 32, 2**255)


@pytest.fixture
def chain() -> Staged:
    return Staged()


@pytest.fixture
def follower(chain: Staged, tmp_path: Path) -> Iterator[Follower]:
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        yield follower


def test_what_the_registry_says_becomes_facts(follower: Follower, chain: Staged) -> None:
    chain.say(ALICE.entity.to_bytes(), DOT.to_bytes(), _claimed(b"alice", ALICE.id), _anchored)
    height = chain.say(_revoked(b"p" * 32))
    facts = follower.sync()
    assert (facts.height, facts.block_hash, facts.time) == (height, chain.head().hash, chain.head().time)
    assert facts.entities[ALICE.id].to_bytes() == ALICE.entity.to_bytes()
    assert facts.aliases == {"alice": ALICE.id}
    assert facts.revoked_at((sha256(b"p" * 32),)) == height
    assert [(entry.kind, entry.height, entry.index) for entry in follower.objects()] == [
        ("entity", 1, 0),
        ("dot", 1, 1),
    ]
    assert follower.anchors() == [Anchored(1, 3, b"r" * 32, 2**255)]
    assert follower.counts() == {"entity": 1, "dot": 1, "waiting": 0, "revocations": 1, "aliases": 1}


def test_a_real_chain_is_followed_from_end_to_end(client: ChainClient, tmp_path: Path) -> None:
    with Follower(client, tmp_path / "replica.sqlite") as follower:
        client.publish_many([ALICE.entity.to_bytes(), DOT.to_bytes(), b"junk"])
        client.claim("alice", ALICE.id)
        height = client.revoke([DOT.preimage(ALICE)]).height
        facts = follower.sync()
        assert facts.revoked_at(DOT.commitments) == height
        assert facts.aliases == {"alice": ALICE.id}
        entry = follower.object(DOT.id)
        assert entry is not None
        assert Dot.from_object(entry.object) == DOT
        assert follower.refused() == {"object.malformed": 1}


def test_before_the_first_block_the_facts_are_stale(follower: Follower) -> None:
    assert follower.facts.height == -1
    with pytest.raises(StaleFacts):
        follower.fresh(NOW)


def test_objects_come_once_after_the_last_one_seen(follower: Follower, chain: Staged) -> None:
    chain.say(ALICE.entity.to_bytes())
    follower.sync()
    (first,) = follower.objects()
    chain.say(BOB.entity.to_bytes(), DOT.to_bytes())
    follower.sync()
    assert [entry.id for entry in follower.objects(after=first.seq)] == [BOB.id, DOT.id]
    assert [entry.id for entry in follower.objects("dot")] == [DOT.id]


# What is kept out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "object.malformed"),
        (b"junk", "object.malformed"),
        (b"\xff" * (LIMITS.object_bytes + 1), "limit.exceeded"),
        (SignedObject("entity", ALICE.entity.body, bytes(64)).to_bytes(), "signature.bad"),
        (SignedObject("entity", b"\x90", bytes(64)).to_bytes(), None),
        (SignedObject(MESSAGE, b"\x90", bytes(64)).to_bytes(), "object.wrong_kind"),
    ],
)
def test_what_is_no_object_is_counted_and_kept_out(
    follower: Follower, chain: Staged, data: bytes, code: str | None
) -> None:
    chain.say(data, BOB.entity.to_bytes())
    assert list(follower.sync().entities) == [BOB.id]
    assert sum(follower.refused().values()) == 1
    assert code is None or code in follower.refused()


def test_a_dot_under_a_wrong_signature_is_kept_out_and_the_true_one_taken(follower: Follower, chain: Staged) -> None:
    chain.say(ALICE.entity.to_bytes(), _forged(BOB), DOT.to_bytes())
    follower.sync()
    entry = follower.object(DOT.id)
    assert entry is not None
    assert entry.data == DOT.to_bytes()
    assert follower.refused() == {"signature.bad": 1}


def test_a_dot_waits_for_the_record_of_its_giver(follower: Follower, chain: Staged) -> None:
    chain.say(_forged(BOB), DOT.to_bytes())
    follower.sync()
    assert follower.object(DOT.id) is None
    assert follower.counts()["waiting"] == 2
    chain.say(ALICE.entity.to_bytes())
    follower.sync()
    entry = follower.object(DOT.id)
    assert entry is not None
    assert (entry.data, entry.height, entry.index) == (DOT.to_bytes(), 1, 1)
    assert follower.counts()["waiting"] == 0
    assert follower.refused() == {"signature.bad": 1}


def test_a_name_is_checked_like_a_dot(follower: Follower, chain: Staged) -> None:
    name = Name.create(ALICE, label="bob", target=BOB.id, created=NOW, expires=NOW + YEAR)
    chain.say(name.to_object().to_bytes(), ALICE.entity.to_bytes())
    follower.sync()
    assert [entry.kind for entry in follower.objects()] == ["entity", "name"]


def test_a_second_publication_leaves_the_first_height(follower: Follower, chain: Staged) -> None:
    chain.say(ALICE.entity.to_bytes())
    chain.say(ALICE.entity.to_bytes(), ALICE.entity.to_bytes())
    follower.sync()
    assert [entry.height for entry in follower.objects()] == [1]


@pytest.mark.parametrize("label", [b"", b"Alice", b"a\0b", b"\xff\xfe", b"-a"])
def test_an_alias_that_is_no_label_is_kept_out(follower: Follower, chain: Staged, label: bytes) -> None:
    chain.say(_claimed(label, ALICE.id))
    assert follower.sync().aliases == {}
    assert follower.refused() == {"name.bad": 1}


# Age ---------------------------------------------------------------------------------------------------------------


def test_facts_of_the_allowed_age_are_fresh_and_a_second_more_is_stale(follower: Follower, chain: Staged) -> None:
    chain.say(time=NOW)
    follower.sync()
    assert follower.fresh(NOW + LIMITS.max_staleness) is follower.facts
    with pytest.raises(StaleFacts):
        follower.fresh(NOW + LIMITS.max_staleness + 1)


def test_facts_from_the_future_are_refused_beyond_the_allowed_skew(follower: Follower, chain: Staged) -> None:
    chain.say(time=NOW)
    follower.sync()
    assert follower.fresh(NOW - LIMITS.clock_skew) is follower.facts
    with pytest.raises(FactsAhead):
        follower.fresh(NOW - LIMITS.clock_skew - 1)


# Crashes -----------------------------------------------------------------------------------------------------------


def test_a_reopened_replica_knows_all_without_asking_the_chain(chain: Staged, tmp_path: Path) -> None:
    chain.say(ALICE.entity.to_bytes(), _revoked(b"p" * 32), _claimed(b"alice", ALICE.id))
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        before = follower.sync()
    chain.asked.clear()
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        assert follower.facts == before
        assert follower.sync() == before
    assert chain.asked == []


def test_a_crash_inside_a_step_neither_skips_nor_doubles(
    chain: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "BLOCKS_PER_STEP", 2)
    for number in range(6):
        chain.say(_entity(str(number)).entity.to_bytes(), _anchored)
    path, copy = tmp_path / "replica.sqlite", tmp_path / "copy.sqlite"
    with Follower(chain, path) as follower:
        takes = 0
        take = follower_module._Step.take

        def failing(step: object, event: Event) -> None:
            nonlocal takes
            takes += 1
            if takes == 7:
                for suffix in ("", "-wal"):  # what a kill would leave behind, in the middle of a transaction
                    shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
                raise KeyboardInterrupt
            take(step, event)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(follower_module._Step, "take", failing)
            with pytest.raises(KeyboardInterrupt):
                follower.sync()
        assert follower.facts.height == 3
        assert len(follower.sync().entities) == 6
    with Follower(chain, copy) as follower:
        assert follower.facts.height == 3
        assert len(follower.sync().entities) == len(follower.anchors()) == 6


def test_a_full_disk_leaves_the_facts_as_they_were(follower: Follower, chain: Staged) -> None:
    before = follower.sync()
    (pages,) = follower._database.execute("PRAGMA page_count").fetchone()
    follower._database.execute(f"PRAGMA max_page_count = {pages}")
    chain.say(*(_entity(str(number)).entity.to_bytes() for number in range(60)))
    with pytest.raises(StateUnwritable):
        follower.sync()
    assert follower.facts is before
    assert dict(before.entities) == {}
    follower._database.execute("PRAGMA max_page_count = 100000")
    assert len(follower.sync().entities) == 60


def test_two_followers_of_one_file_are_one_too_many(follower: Follower, chain: Staged, tmp_path: Path) -> None:
    with pytest.raises(StateLocked):
        Follower(chain, tmp_path / "replica.sqlite")


def test_a_replica_of_another_format_is_built_anew(chain: Staged, tmp_path: Path) -> None:
    chain.say(ALICE.entity.to_bytes())
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        follower.sync()
        follower._database.execute("PRAGMA user_version = 99")
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        assert follower.facts.height == -1
        assert list(follower.sync().entities) == [ALICE.id]


# Reorganisations ---------------------------------------------------------------------------------------------------


def test_a_fork_is_unwound_to_the_last_common_block(follower: Follower, chain: Staged) -> None:
    chain.say(ALICE.entity.to_bytes())
    old = follower.sync()
    chain.say(BOB.entity.to_bytes(), _revoked(b"p" * 32), _claimed(b"bob", BOB.id))
    gone = follower.sync()
    chain.fork(1, "fork")
    chain.say(_claimed(b"carol", ALICE.id))
    chain.say(_revoked(b"q" * 32))
    facts = follower.sync()
    assert (facts.height, facts.block_hash) == (3, chain.head().hash)
    assert list(facts.entities) == [ALICE.id]
    assert facts.aliases == {"carol": ALICE.id}
    assert dict(facts.revocations) == {sha256(b"q" * 32): 3}
    assert follower.generation == 1
    assert chain.asked[-1] == (2, 3)
    assert gone.aliases == {"bob": BOB.id}, "facts given out before stay as they were"
    assert old.revoked_at((sha256(b"p" * 32),)) is None


def test_a_fork_of_the_same_height_is_noticed(follower: Follower, chain: Staged) -> None:
    chain.say()
    chain.say(BOB.entity.to_bytes())
    follower.sync()
    chain.fork(1, "fork")
    chain.say(ALICE.entity.to_bytes())
    assert list(follower.sync().entities) == [ALICE.id]


def test_what_a_forgotten_record_let_in_waits_again(follower: Follower, chain: Staged) -> None:
    chain.say(DOT.to_bytes())
    follower.sync()
    chain.say(ALICE.entity.to_bytes())
    follower.sync()
    assert follower.object(DOT.id) is not None
    chain.fork(1, "fork")
    chain.say()
    chain.say()
    follower.sync()
    assert follower.object(DOT.id) is None
    chain.say(ALICE.entity.to_bytes())
    follower.sync()
    assert follower.object(DOT.id) is not None


def test_a_chain_begun_anew_is_followed_from_its_start(follower: Follower, chain: Staged) -> None:
    for _ in range(5):
        chain.say(BOB.entity.to_bytes())
    follower.sync()
    chain.fork(-1, "another world")
    chain.say(time=NOW + 100)
    chain.say(ALICE.entity.to_bytes(), time=NOW + 101)
    facts = follower.sync()
    assert (facts.height, list(facts.entities)) == (1, [ALICE.id])


def test_a_shorter_chain_with_a_younger_head_is_another_chain_and_not_a_late_one(
    follower: Follower, chain: Staged
) -> None:
    follower.sync()
    for _ in range(5):
        chain.say(BOB.entity.to_bytes())
    follower.sync()
    chain.fork(0, "begun anew, on the same first block")
    chain.say(ALICE.entity.to_bytes(), time=NOW + 100)
    assert list(follower.sync().entities) == [ALICE.id]


def test_a_node_that_lags_behind_takes_nothing_back(follower: Follower, chain: Staged) -> None:
    chain.say()
    follower.sync()
    chain.say(_revoked(b"p" * 32))
    facts = follower.sync()
    late = Staged(blocks=chain.blocks[:2], said=chain.said[:2])
    late.fork(1, "")
    follower._chain = late
    assert follower.sync() is facts
    assert follower.generation == 0


def test_a_chain_that_changes_while_it_is_read_is_read_again(follower: Follower, chain: Staged) -> None:
    chain.say()
    follower.sync()

    def change() -> None:
        chain.on_events = lambda: None
        chain.fork(1, "while read")
        chain.say(ALICE.entity.to_bytes())

    chain.say(BOB.entity.to_bytes())
    chain.on_events = change
    assert list(follower.sync().entities) == [ALICE.id]


def test_a_chain_that_never_stops_changing_is_given_up(follower: Follower, chain: Staged) -> None:
    def change() -> None:
        chain.fork(0, chain.salt + "x")
        chain.say()

    chain.say()
    chain.on_events = change
    with pytest.raises(ChainUnavailable, match="keeps changing"):
        follower.sync()


def test_a_fork_deeper_than_the_blocks_remembered_is_followed_from_the_start(
    follower: Follower, chain: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "CHECKPOINTS", 3)
    chain.say(BOB.entity.to_bytes())
    for _ in range(6):
        chain.say()
        follower.sync()
    chain.fork(0, "deep")
    for _ in range(9):
        chain.say()
    chain.say(ALICE.entity.to_bytes())
    assert list(follower.sync().entities) == [ALICE.id]


def test_a_swapped_embedded_chain_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "replica.sqlite"
    with ChainClient.connect("embedded", state=tmp_path / "a") as first, Follower(first, path) as follower:
        first.publish_many([BOB.entity.to_bytes()])
        first.claim("home", BOB.id)
        follower.sync()
    with ChainClient.connect("embedded", state=tmp_path / "b") as second, Follower(second, path) as follower:
        for _ in range(5):
            second.publish(ALICE.entity.to_bytes())
        facts = follower.sync()
    assert list(facts.entities) == [ALICE.id]
    assert facts.aliases == {}


def test_facts_share_their_mappings_from_block_to_block(follower: Follower, chain: Staged) -> None:
    chain.say(ALICE.entity.to_bytes())
    before = follower.sync()
    chain.say(_revoked(b"p" * 32))
    after = follower.sync()
    assert after.entities is before.entities
    assert after.revocations is before.revocations
    assert before.revoked_at((sha256(b"p" * 32),)) is None
    assert after.revoked_at((sha256(b"p" * 32),)) == 2


def test_many_blocks_are_taken_in_steps(follower: Follower, chain: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "BLOCKS_PER_STEP", 4)
    for _ in range(9):
        chain.say()
    follower.sync()
    assert chain.asked == [(0, 3), (4, 7), (8, 9)]
