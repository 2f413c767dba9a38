"""Forks: what a dead branch said is forgotten exactly, and no chain is followed that changes too far back."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chain.staged import ALICE, BOB, DOT, NOW, Staged, claimed, contents, entity, forged, revoked
from wave.chain import follower as follower_module
from wave.chain import replica as replica_module
from wave.chain.client import ChainClient
from wave.chain.contract import Anchored, Event
from wave.chain.follower import Follower
from wave.codec import sha256
from wave.errors import ChainReorganised, ChainUnavailable, StateUnwritable, UnknownObject, WrongChain
from wave.limits import LIMITS


@pytest.fixture
def chain() -> Staged:
    return Staged()


@pytest.fixture
def follower(chain: Staged, tmp_path: Path) -> Iterator[Follower]:
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        yield follower


# Reorganisations ---------------------------------------------------------------------------------------------------


def test_a_fork_is_unwound_to_the_last_common_block(follower: Follower, chain: Staged) -> None:
    chain.say(ALICE.entity.to_bytes())
    old = follower.sync()
    chain.say(BOB.entity.to_bytes(), revoked(b"p" * 32), claimed(b"bob", BOB.id))
    gone = follower.sync()
    chain.fork(1, "fork")
    chain.say(claimed(b"carol", ALICE.id))
    chain.say(revoked(b"q" * 32))
    facts = follower.sync()
    assert (facts.height, facts.block_hash) == (3, chain.head().hash)
    assert list(facts.entities) == [ALICE.id]
    assert facts.aliases == {"carol": ALICE.id}
    assert dict(facts.revocations) == {sha256(b"q" * 32): 3}
    assert follower.generation == 1
    assert chain.asked[-1] == (2, 3)
    assert gone.aliases == {"bob": BOB.id}, "facts given out before stay as they were"
    assert old.revoked_at((sha256(b"p" * 32),)) is None


def test_what_a_fork_takes_back_leaves_no_seq_to_anything_else(chain: Staged, tmp_path: Path) -> None:
    seen: list[int] = []
    for name in ("one", "two", "three"):
        with Follower(chain, tmp_path / "replica.sqlite") as follower:
            follower.sync()
            chain.say(ALICE.entity.to_bytes(), BOB.entity.to_bytes())
            follower.sync()
            seen += [entry.seq for entry in follower.objects()]
            chain.fork(0, name)
            chain.say()
            follower.sync()
            assert list(follower.objects()) == []
    assert seen == sorted(set(seen))
    assert len(seen) == 6


def test_a_fork_of_the_same_height_is_noticed(follower: Follower, chain: Staged) -> None:
    chain.say()
    chain.say(BOB.entity.to_bytes())
    follower.sync()
    chain.fork(1, "fork")
    chain.say(ALICE.entity.to_bytes())
    assert list(follower.sync().entities) == [ALICE.id]


def test_a_chain_that_was_reset_is_told_so_and_not_followed(follower: Follower, chain: Staged) -> None:
    chain.say(BOB.entity.to_bytes(), revoked(b"p" * 32))
    before = follower.sync()
    first = chain.blocks[0].hash
    chain.fork(-1, "another world")
    chain.say(time=NOW + 100)
    chain.say(ALICE.entity.to_bytes(), time=NOW + 101)
    with pytest.raises(WrongChain, match="was reset") as caught:
        follower.sync()
    assert "replica.sqlite" in caught.value.hint
    assert follower.facts is before, "what was revoked stays revoked until somebody decides"
    assert follower.genesis == first


def test_the_first_block_is_remembered_for_ever(chain: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "CHECKPOINTS", 3)
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        assert follower.genesis is None
        for _ in range(9):
            chain.say()
            follower.sync()
        assert len(follower.times()) == 4
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        assert follower.genesis == chain.blocks[0].hash


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
    chain.say(revoked(b"p" * 32))
    facts = follower.sync()
    late = Staged(blocks=chain.blocks[:2], said=chain.said[:2])
    late.fork(1, "")
    follower._chain = late
    assert follower.sync() is facts
    assert follower.generation == 0


def test_a_node_that_does_not_know_the_blocks_of_its_own_chain_takes_nothing_back(
    follower: Follower, chain: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind one address, one node may have the newest block and another one lag behind."""
    chain.say()
    follower.sync()
    chain.say(revoked(b"p" * 32))
    before = follower.sync()
    chain.say()
    monkeypatch.setattr(chain, "block", lambda number: chain.blocks[number] if number < 2 else None)
    with pytest.raises(ChainUnavailable):
        follower.sync()
    assert follower.facts is before
    monkeypatch.undo()
    assert follower.sync().height == 3
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


@pytest.mark.parametrize("at_once", [True, False], ids=["in one sync", "block by block"])
def test_a_reorganisation_as_deep_as_the_bound_is_unwound_and_one_block_deeper_is_not(
    chain: Staged, tmp_path: Path, *, at_once: bool
) -> None:
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        chain.say(BOB.entity.to_bytes())
        follower.sync()
        for number in range(LIMITS.reorg_blocks + 20):
            chain.say(*([revoked(b"p" * 32)] if number == 10 else []))
            if not at_once:
                follower.sync()
        before = follower.sync()
        held = follower.objects()
        keep = before.height - LIMITS.reorg_blocks
        chain.fork(keep - 1, "one too deep")
        for _ in range(LIMITS.reorg_blocks + 3):
            chain.say()
        with pytest.raises(ChainReorganised, match=f"{LIMITS.reorg_blocks + 1} blocks back") as caught:
            follower.sync()
        assert caught.value.code == "chain.reorganised"
        assert "replica.sqlite" in caught.value.hint
        assert follower.facts is before
        assert list(held) == list(follower.objects())


@pytest.mark.parametrize("at_once", [True, False], ids=["in one sync", "block by block"])
def test_a_reorganisation_as_deep_as_the_bound_leaves_what_one_built_anew_has(
    chain: Staged, tmp_path: Path, *, at_once: bool
) -> None:
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        chain.say(BOB.entity.to_bytes(), revoked(b"o" * 32))
        for number in range(LIMITS.reorg_blocks + 20):
            chain.say(revoked(b"p%031d" % number), claimed(b"n%d" % number, BOB.id))
            if not at_once:
                follower.sync()
        height = follower.sync().height
        chain.fork(height - LIMITS.reorg_blocks, "as deep as may be")
        for number in range(LIMITS.reorg_blocks + 3):
            chain.say(revoked(b"q%031d" % number), claimed(b"n%d" % (number + 25), ALICE.id))
        follower.sync()
        assert follower.unwound == [height - LIMITS.reorg_blocks]
        _as_built_anew(follower, chain, tmp_path)


def test_whatever_a_chain_does_the_replica_is_what_one_built_anew_would_be(chain: Staged, tmp_path: Path) -> None:
    """Random blocks, forks and batches: nothing of a dead branch stays, and nothing of the living one is lost."""
    draw = random.Random(3)
    things = [entity(f"somebody {number}").entity.to_bytes() for number in range(40)]
    things += [DOT.to_bytes(), forged(BOB), ALICE.entity.to_bytes(), b"junk"]
    with Follower(chain, tmp_path / "replica.sqlite", confirmations=2) as follower:
        for step in range(300):
            if draw.random() < 0.2:
                height = len(chain.blocks) - 1
                chain.fork(max(0, height - draw.randrange(1, 9)), f"fork {step}")
            for _ in range(draw.randrange(1, 4)):
                chain.say(
                    *draw.sample(things, draw.randrange(3)),
                    *[revoked(draw.randbytes(1) * 32) for _ in range(draw.randrange(2))],
                    *[claimed(b"n%d" % draw.randrange(9), draw.choice((ALICE, BOB)).id)],
                    *[_anchor(draw.randrange(5))] * draw.randrange(2),
                )
            follower.sync()
            if draw.random() < 0.5:
                _fetch(follower, things)
        assert follower.generation > 20
        _fetch(follower, things)
        _as_built_anew(follower, chain, tmp_path, things)


def _anchor(number: int) -> Callable[[int, int], Event]:
    return lambda height, index: Anchored(height, index, sha256(b"%d" % number), 8)


def _fetch(follower: Follower, things: list[bytes]) -> None:
    """Take in every batch that is missing; which objects are under a root follows from the root."""
    for anchor in follower.missing_batches():
        number = next(number for number in range(5) if sha256(b"%d" % number) == anchor.root)
        follower.ingest_batch(anchor.root, things[8 * number : 8 * number + 8])


def _as_built_anew(follower: Follower, chain: Staged, folder: Path, things: list[bytes] | None = None) -> None:
    """Compare all that a follower knows with what another one learns of the same chain at once."""
    with Follower(chain, folder / "anew.sqlite", confirmations=follower._confirmations) as anew:
        anew.sync()
        _fetch(anew, things or [])
        assert contents(follower) == contents(anew)
        assert follower.facts == anew.facts


def test_an_object_in_a_batch_counts_from_its_earliest_block_whichever_came_in_first(
    follower: Follower, chain: Staged
) -> None:
    chain.say(_anchor(0))
    chain.say()
    chain.say(BOB.entity.to_bytes())
    follower.sync()
    assert follower.ingest_batch(sha256(b"0"), [BOB.entity.to_bytes(), ALICE.entity.to_bytes(), b"junk"]) == 2
    assert [entry.height for entry in (*follower.variants(BOB.id), *follower.variants(ALICE.id))] == [1, 1]
    assert follower.refused() == {"object.malformed": 1}
    assert follower.missing_batches() == []
    chain.fork(2, "without the publication")
    chain.say()
    chain.say()
    assert set(follower.sync().entities) == {ALICE.id, BOB.id}
    chain.fork(0, "without the anchor")
    for _ in range(5):
        chain.say()
    assert set(follower.sync().entities) == set()
    with pytest.raises(UnknownObject):
        follower.ingest_batch(sha256(b"0"), [BOB.entity.to_bytes()])
    chain.say(_anchor(0))
    follower.sync()
    assert [anchor.height for anchor in follower.missing_batches()] == [6]
    assert follower.ingest_batch(sha256(b"0"), [BOB.entity.to_bytes()]) == 1
    assert follower.ingest_batch(sha256(b"0"), [BOB.entity.to_bytes()]) == 0


# Confirmations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [2, 3, 4, 9])
def test_a_new_replica_begins_where_it_is_told(chain: Staged, tmp_path: Path, start: int) -> None:
    """No block before that is asked for events; one that goes on from there is as any other, and later starts too."""
    chain.say(ALICE.entity.to_bytes())
    chain.say()
    chain.say(BOB.entity.to_bytes())
    with Follower(chain, tmp_path / "replica.sqlite", start=start) as follower:
        follower.sync()
        assert min(first for first, _ in chain.asked) == min(start, chain.head().number)
        assert set(follower.facts.entities) == {BOB.id}
        assert (follower.facts.height, follower.genesis) == (3, chain.blocks[0].hash)
        chain.say(DOT.to_bytes())
        follower.sync()
        assert [entry.id for entry in follower.objects()] == [BOB.id, DOT.id]
    with Follower(chain, tmp_path / "replica.sqlite", start=99) as follower:
        chain.say(ALICE.entity.to_bytes())
        assert set(follower.sync().entities) == {ALICE.id, BOB.id}


def test_grants_and_names_wait_for_their_confirmations_and_revocations_do_not(chain: Staged, tmp_path: Path) -> None:
    path = tmp_path / "replica.sqlite"
    with Follower(chain, path, confirmations=2) as follower:
        chain.say(ALICE.entity.to_bytes(), DOT.to_bytes(), claimed(b"alice", ALICE.id), revoked(b"p" * 32))
        for confirmations in range(2):
            facts = follower.sync()
            assert (dict(facts.entities), dict(facts.aliases), list(follower.objects())) == ({}, {}, [])
            assert facts.revoked_at((sha256(b"p" * 32),)) == 1
            assert facts.height == chain.head().number == confirmations + 1
            assert follower.object(DOT.id) is not None
            chain.say()
        follower.sync()
    with Follower(chain, path, confirmations=2) as follower:
        facts = follower.facts
        assert (set(facts.entities), dict(facts.aliases)) == ({ALICE.id}, {"alice": ALICE.id})
        assert [entry.id for entry in follower.objects()] == [ALICE.id, DOT.id]


def test_nothing_is_missed_behind_an_object_that_is_not_confirmed_yet(chain: Staged, tmp_path: Path) -> None:
    with Follower(chain, tmp_path / "replica.sqlite", confirmations=1) as follower:
        chain.say(_anchor(0))
        chain.say()
        chain.say(BOB.entity.to_bytes())
        follower.sync()
        follower.ingest_batch(sha256(b"0"), [ALICE.entity.to_bytes()])
        assert set(follower.facts.entities) == {ALICE.id}
        assert [entry.id for entry in follower.objects()] == [], "the older one came in later"
        chain.say()
        follower.sync()
        assert [entry.id for entry in follower.objects()] == [BOB.id, ALICE.id]


# Answers that do not belong together ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        lambda events: [*events[1:], events[0]],
        lambda events: [events[0], *events],
        lambda events: [*events[:-1], replace(events[-1], height=events[-1].height + 1)],
        lambda events: [*events[:-1], replace(events[-1], block_hash=b"x" * 32)],
        lambda events: [replace(events[0], block_hash=b"x" * 32), *events[1:]],
        lambda events: [replace(events[0], height=0), *events[1:]],
    ],
    ids=["out of order", "twice", "too high", "of another last block", "of another block", "too low"],
)
def test_events_that_do_not_belong_are_asked_for_again(
    follower: Follower, chain: Staged, fault: Callable[[list[Event]], list[Event]]
) -> None:
    follower.sync()
    chain.say(ALICE.entity.to_bytes())
    chain.say(BOB.entity.to_bytes(), DOT.to_bytes())
    chain.faults = [fault, fault]
    assert set(follower.sync().entities) == {ALICE.id, BOB.id}
    assert follower.generation == 0
    assert len(chain.asked) == 4
    chain.say(DOT.to_bytes(), BOB.entity.to_bytes())
    chain.faults = [lambda events: events[::-1]] * 50
    with pytest.raises(ChainUnavailable, match="do not belong together"):
        follower.sync()
    assert follower.facts.height == 2


def test_a_step_that_brings_much_makes_the_next_ones_shorter(
    follower: Follower, chain: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "BLOCKS_PER_STEP", 8)
    monkeypatch.setattr(follower_module, "EVENTS_PER_STEP", 10)
    for number in range(100):
        chain.say(*([claimed(b"n", BOB.id)] * 2 if number < 20 else []))
    follower.sync()
    assert [last - first + 1 for first, last in chain.asked][:8] == [8, 4, 4, 4, 4, 4, 8, 8]


# Death and full disks ----------------------------------------------------------------------------------------------


def test_killed_at_sixty_random_points_a_replica_equals_one_built_anew(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chain.killed", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    kills, heights = done.stdout.split()
    assert int(kills) >= 60
    assert int(heights) > 10, "the kills came at many different heights"


def test_a_disk_that_fills_up_again_and_again_loses_nothing(
    follower: Follower, chain: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "BLOCKS_PER_STEP", 2)
    for number in range(40):
        chain.say(*[entity(f"{number}.{one}").entity.to_bytes() for one in range(5)], revoked(b"%032d" % number))
    full = 0
    while follower.facts.height < 40:
        (pages,) = follower._replica.database.execute("PRAGMA page_count").fetchone()
        follower._replica.database.execute(f"PRAGMA max_page_count = {pages + 2}")
        try:
            follower.sync()
        except StateUnwritable:
            full += 1
            assert len(follower.facts.entities) == 5 * max(0, follower.facts.height)
    assert full > 5
    _as_built_anew(follower, chain, tmp_path)


def test_a_swapped_embedded_chain_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "replica.sqlite"
    with ChainClient.connect("embedded", state=tmp_path / "a") as first, Follower(first, path) as follower:
        first.publish_many([BOB.entity.to_bytes()])
        first.claim("home", BOB.id)
        before = follower.sync()
    with ChainClient.connect("embedded", state=tmp_path / "b") as second, Follower(second, path) as follower:
        for _ in range(5):
            second.publish(ALICE.entity.to_bytes())
        try:
            facts = follower.sync()
        except WrongChain:  # it has another first block
            assert follower.facts == before
        else:
            assert list(facts.entities) == [ALICE.id]
            assert facts.aliases == {}
