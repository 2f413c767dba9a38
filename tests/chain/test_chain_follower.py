"""The follower: blocks become Facts once each, whatever crashes, repeats, lies or changes behind it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chain.staged import ALICE, BOB, DOT, NOW, YEAR, Staged, anchored, backwards, claimed, entity, forged, revoked
from wave.chain import follower as follower_module
from wave.chain import replica as replica_module
from wave.chain.client import ChainClient
from wave.chain.contract import Anchored
from wave.chain.follower import Follower
from wave.codec import sha256
from wave.dots.dot import Dot
from wave.entities.object import MESSAGE, SignedObject
from wave.errors import FactsAhead, StaleFacts, StateLocked, StateUnwritable
from wave.limits import LIMITS
from wave.namespace.name import Name


@pytest.fixture
def chain() -> Staged:
    return Staged()


@pytest.fixture
def follower(chain: Staged, tmp_path: Path) -> Iterator[Follower]:
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        yield follower


def test_what_the_registry_says_becomes_facts(follower: Follower, chain: Staged) -> None:
    chain.say(ALICE.entity.to_bytes(), DOT.to_bytes(), claimed(b"alice", ALICE.id), anchored)
    height = chain.say(revoked(b"p" * 32))
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
    assert follower.counts() == {"entity": 1, "dot": 1, "revocations": 1, "aliases": 1}


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
        (SignedObject("entity", b"\x90", bytes(64)).to_bytes(), None),
        (SignedObject("dot", DOT.body + b"\0", bytes(64)).to_bytes(), None),
        (SignedObject(MESSAGE, b"\x90", bytes(64)).to_bytes(), "object.wrong_kind"),
        (SignedObject("entity", backwards(), bytes(64)).to_bytes(), "time.bad"),
    ],
)
def test_what_is_no_object_is_counted_and_kept_out(
    follower: Follower, chain: Staged, data: bytes, code: str | None
) -> None:
    chain.say(data, BOB.entity.to_bytes())
    assert list(follower.sync().entities) == [BOB.id]
    assert [entry.id for entry in follower.objects()] == [BOB.id]
    assert sum(follower.refused().values()) == 1
    assert code is None or code in follower.refused()


def test_a_record_that_its_key_did_not_sign_counts_for_nothing_from_its_first_use_on(
    follower: Follower, chain: Staged
) -> None:
    chain.say(SignedObject("entity", ALICE.entity.body, bytes(64)).to_bytes(), BOB.entity.to_bytes())
    facts = follower.sync()
    assert follower.refused() == {}
    assert ALICE.id not in facts.entities
    assert facts.entities.get(ALICE.id) is None
    assert list(facts.entities) == [BOB.id]
    assert follower.refused() == {"signature.bad": 1}, "looked at once, however often it is asked for"


def test_a_false_signature_does_not_keep_the_true_one_out(follower: Follower, chain: Staged) -> None:
    chain.say(SignedObject("entity", ALICE.entity.body, bytes(64)).to_bytes(), forged(BOB))
    chain.say(ALICE.entity.to_bytes(), DOT.to_bytes(), DOT.to_bytes())
    facts = follower.sync()
    assert facts.entities[ALICE.id].signature == ALICE.entity.signature
    assert [(entry.data, entry.height) for entry in follower.variants(DOT.id)] == [
        (forged(BOB), 1),
        (DOT.to_bytes(), 2),
    ]
    assert follower.refused() == {"signature.bad": 1}


def test_objects_come_in_the_order_of_the_chain_whoever_gave_them(follower: Follower, chain: Staged) -> None:
    name = Name.create(ALICE, label="bob", target=BOB.id, created=NOW, expires=NOW + YEAR)
    chain.say(name.to_object().to_bytes(), ALICE.entity.to_bytes())
    follower.sync()
    assert [entry.kind for entry in follower.objects()] == ["name", "entity"]


def test_a_second_publication_leaves_the_first_height(follower: Follower, chain: Staged) -> None:
    chain.say(ALICE.entity.to_bytes())
    chain.say(ALICE.entity.to_bytes(), ALICE.entity.to_bytes())
    follower.sync()
    assert [entry.height for entry in follower.objects()] == [1]


def test_what_comes_again_in_one_step_counts_once_wherever_the_step_is_cut(
    chain: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [ALICE.entity.to_bytes(), DOT.to_bytes(), BOB.entity.to_bytes()]
    for data in [said[0], *said, said[1], *said]:
        chain.say(data)
    for together in (1, 2, 3, 256):
        monkeypatch.setattr(replica_module, "_TOGETHER", together)
        with Follower(chain, tmp_path / f"{together}.sqlite") as follower:
            follower.sync()
            assert [(entry.data, entry.height) for entry in follower.objects()] == list(
                zip(said, (1, 3, 4), strict=True)
            )


@pytest.mark.parametrize("label", [b"", b"Alice", b"a\0b", b"\xff\xfe", b"-a"])
def test_an_alias_that_is_no_label_is_kept_out(follower: Follower, chain: Staged, label: bytes) -> None:
    chain.say(claimed(label, ALICE.id))
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
    chain.say(ALICE.entity.to_bytes(), revoked(b"p" * 32), claimed(b"alice", ALICE.id))
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
        chain.say(entity(str(number)).entity.to_bytes(), anchored)
    path, copy = tmp_path / "replica.sqlite", tmp_path / "copy.sqlite"
    with Follower(chain, path) as follower:
        takes = 0
        take = replica_module.read_published

        def failing(data: bytes, height: int, index: int) -> replica_module.Row:
            nonlocal takes
            takes += 1
            if takes == 4:
                for suffix in ("", "-wal"):  # what a kill would leave behind, in the middle of a transaction
                    shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
                raise KeyboardInterrupt
            return take(data, height, index)

        with monkeypatch.context() as patch:
            patch.setattr(replica_module, "read_published", failing)
            with pytest.raises(KeyboardInterrupt):
                follower.sync()
        assert follower.facts.height == 3
        assert len(follower.sync().entities) == 6
    with Follower(chain, copy) as follower:
        assert follower.facts.height == 3
        assert len(follower.sync().entities) == len(follower.anchors()) == 6


def test_a_full_disk_leaves_the_facts_as_they_were(follower: Follower, chain: Staged) -> None:
    before = follower.sync()
    (pages,) = follower._replica.database.execute("PRAGMA page_count").fetchone()
    follower._replica.database.execute(f"PRAGMA max_page_count = {pages}")
    chain.say(*(entity(str(number)).entity.to_bytes() for number in range(60)))
    with pytest.raises(StateUnwritable):
        follower.sync()
    assert follower.facts is before
    assert dict(before.entities) == {}
    follower._replica.database.execute("PRAGMA max_page_count = 100000")
    assert len(follower.sync().entities) == 60


def test_two_followers_of_one_file_are_one_too_many(follower: Follower, chain: Staged, tmp_path: Path) -> None:
    with pytest.raises(StateLocked):
        Follower(chain, tmp_path / "replica.sqlite")


def test_a_replica_of_another_format_is_built_anew(chain: Staged, tmp_path: Path) -> None:
    chain.say(ALICE.entity.to_bytes())
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        follower.sync()
        follower._replica.database.execute("PRAGMA user_version = 99")
    with Follower(chain, tmp_path / "replica.sqlite") as follower:
        assert follower.facts.height == -1
        assert list(follower.sync().entities) == [ALICE.id]


def test_facts_share_their_mappings_from_block_to_block(follower: Follower, chain: Staged) -> None:
    chain.say(ALICE.entity.to_bytes())
    before = follower.sync()
    chain.say(revoked(b"p" * 32))
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
