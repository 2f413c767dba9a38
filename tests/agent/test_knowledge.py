"""Signatures are looked at when an object is first used, once, and no answer rests on one that was not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import House, person
from tests.chain.staged import NOW, YEAR, Staged, entity, forged, revoked
from wave.agent import wire
from wave.agent.knowledge import Knowledge
from wave.agent.rights import Rights
from wave.chain.follower import Follower
from wave.codec import id_text
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.holdings import holdings
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.verify import verify
from wave.entities import keys
from wave.entities.entity import EntitySecret
from wave.entities.keyring import Keyring
from wave.entities.object import SignedObject, decode_object
from wave.errors import (
    BadSignature,
    ChainReorganised,
    ChainUnavailable,
    NameRevoked,
    NoProof,
    Refused,
    Revoked,
    StaleFacts,
    UnknownName,
    UnknownObject,
    WrongChain,
)
from wave.limits import LIMITS
from wave.namespace.grant import right
from wave.namespace.name import Name
from wave.namespace.pattern import Pattern

HOME, ALICE, BOB, MALLORY = entity("home"), entity("alice"), entity("bob"), entity("mallory")
PEOPLE = tuple(one.entity.to_bytes() for one in (HOME, ALICE, BOB, MALLORY))
LATER = NOW + 1
LIGHT = Statement("publish", Pattern("light/hall"))


def dot(giver: EntitySecret, receiver: EntitySecret, *, hops: int = 0, comment: str = "") -> Dot:
    return Dot.create(
        giver,
        receiver=receiver.id,
        namespace=HOME.id,
        grants=(right(("publish",), "light/*"),),
        indirections=hops,
        created=NOW,
        expires=NOW + YEAR,
        comment=comment,
    )


def name(giver: EntitySecret, target: EntitySecret, created: int = NOW) -> Name:
    return Name.create(giver, label="friend", target=target.id, created=created, expires=NOW + YEAR)


def falsified(thing: Name) -> bytes:
    """The bytes of a name with a signature of Mallory's."""
    return SignedObject("name", thing.body, MALLORY.sign("name", thing.body)).to_bytes()


class Reader:
    """A follower over a staged chain, and what an agent makes of it."""

    def __init__(self, path: Path, keyring: Keyring) -> None:
        self.chain = Staged()
        self.follower = Follower(self.chain, path)
        self.follower.sync()
        self.knowledge = Knowledge(self.follower)
        self._keyring = keyring
        self._learned = 0

    def say(self, *objects: bytes) -> None:
        """Publish, follow and learn."""
        self.chain.say(*objects)
        self.follow()

    def follow(self) -> None:
        self.follower.sync()
        for entry in self.follower.objects(after=self._learned):
            self.knowledge.learn(entry)
            self._learned = entry.seq
        self.knowledge.settle()

    @property
    def facts(self) -> Facts:
        return self.follower.facts

    @property
    def rights(self) -> Rights:
        return Rights(self.knowledge, self.facts, LATER, self._keyring)

    def prove(self, subject: EntitySecret = BOB) -> Proof:
        return self.rights.prove(Request(subject.id, HOME.id, (LIGHT,)))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path / "replica.sqlite", Keyring(tmp_path / "keys"))
    yield reader
    reader.follower.close()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The signatures that were looked at, in that order."""
    seen: list[bytes] = []
    check = keys.verify

    def counted(public: bytes, message: bytes, signature: bytes) -> None:
        seen.append(signature)
        check(public, message, signature)

    monkeypatch.setattr(keys, "verify", counted)
    return seen


def test_following_and_learning_look_at_no_signature(reader: Reader, checks: list[bytes]) -> None:
    reader.say(*PEOPLE, dot(HOME, BOB).to_bytes(), forged(MALLORY, dot(HOME, ALICE)), falsified(name(ALICE, BOB)))
    assert checks == []
    assert len(reader.knowledge.graph) == 2


def test_a_signature_is_looked_at_once_however_often_its_object_is_used(reader: Reader, checks: list[bytes]) -> None:
    reader.say(*PEOPLE, dot(HOME, ALICE, hops=1).to_bytes(), dot(ALICE, BOB).to_bytes())
    proofs = {reader.prove().id for _ in range(5)}
    reader.rights.graph(HOME.id)
    reader.rights.who(LIGHT, HOME.id)
    assert len(proofs) == 1
    assert len(checks) == len(set(checks)) == 5, "three records and two DoTs"


def test_a_forged_dot_is_in_no_answer_and_is_counted_once(reader: Reader) -> None:
    reader.say(*PEOPLE, forged(MALLORY, dot(HOME, BOB)))
    with pytest.raises(NoProof):
        reader.prove()
    assert reader.rights.graph(HOME.id).edges == ()
    assert reader.rights.who(LIGHT, HOME.id).holders == ()
    assert reader.rights.what(BOB.id).holdings == ()
    assert holdings(reader.knowledge.graph, BOB.id, reader.facts, LATER).rights == ()
    assert reader.knowledge.published(dot(HOME, BOB).id) is None
    assert reader.follower.refused() == {"signature.bad": 1}
    reader.follow()
    assert len(reader.knowledge.graph) == 0


@pytest.mark.parametrize("ask", ["prove", "graph", "who", "what", "find"])
def test_each_way_of_using_a_forged_dot_first_finds_it_out(reader: Reader, ask: str) -> None:
    reader.say(*PEOPLE, forged(MALLORY, dot(HOME, BOB)))
    if ask == "prove":
        with pytest.raises(NoProof):
            reader.prove()
    elif ask == "graph":
        assert reader.rights.graph(HOME.id).edges == ()
    elif ask == "who":
        assert reader.rights.who(LIGHT, HOME.id).holders == ()
    elif ask == "what":
        assert reader.rights.what(BOB.id).holdings == ()
    else:
        assert reader.knowledge.published(dot(HOME, BOB).id) is None
    assert reader.follower.refused() == {"signature.bad": 1}


def test_a_search_goes_on_past_forged_dots_to_the_true_path(reader: Reader) -> None:
    """The forged ones promise a shorter path, so they are looked at first."""
    true = dot(HOME, ALICE, hops=1), dot(ALICE, BOB)
    lies = [forged(MALLORY, dot(HOME, BOB, hops=hops, comment=str(hops))) for hops in range(5)]
    reader.say(*PEOPLE, *lies, *(one.to_bytes() for one in true))
    proof = reader.prove()
    assert [one.id for one in proof.dots] == [one.id for one in true]
    verify(proof, Request(BOB.id, HOME.id, (LIGHT,)), reader.facts, now=LATER, max_staleness=2 * YEAR)
    assert reader.follower.refused() == {"signature.bad": 5}


def test_the_true_signature_is_used_whichever_was_published_first(reader: Reader) -> None:
    true = dot(HOME, BOB)
    reader.say(*PEOPLE, forged(MALLORY, true), forged(BOB, true), true.to_bytes(), forged(ALICE, true))
    assert reader.prove().dots[0].signature == true.signature
    entry = reader.knowledge.published(true.id)
    assert entry is not None
    assert (entry.data, entry.index) == (true.to_bytes(), 6)
    assert reader.follower.refused() == {"signature.bad": 2}, "the one behind the true one is never looked at"


def test_masses_of_forged_dots_cost_one_check_each_and_no_search_starts_again(
    reader: Reader, checks: list[bytes]
) -> None:
    true = dot(HOME, BOB, comment="true")
    lies = [forged(MALLORY, dot(HOME, BOB, comment=f"lie {number}")) for number in range(300)]
    same = [SignedObject("dot", true.body, bytes([number]) * 64).to_bytes() for number in range(60)]
    reader.say(*PEOPLE, *lies, *same, true.to_bytes())
    assert reader.prove().dots[0].signature == true.signature
    assert len(checks) == len(set(checks)) <= 2 + 300 + 60 + 1
    seen = len(checks)
    reader.follow()
    reader.prove()
    reader.rights.graph(HOME.id)
    assert len(checks) == seen
    assert len(reader.knowledge.graph) == 1
    assert reader.follower.refused() == {"signature.bad": 360}


def test_a_dot_waits_for_the_record_of_its_giver(reader: Reader) -> None:
    reader.say(HOME.entity.to_bytes(), BOB.entity.to_bytes())
    reader.say(dot(HOME, ALICE, hops=1).to_bytes(), forged(MALLORY, dot(ALICE, BOB)), dot(ALICE, BOB).to_bytes())
    with pytest.raises(NoProof):
        reader.prove()
    assert reader.knowledge.published(dot(ALICE, BOB).id) is None
    assert reader.follower.refused() == {}, "nobody can tell yet"
    reader.say(ALICE.entity.to_bytes())
    assert len(reader.prove().dots) == 2
    assert reader.follower.refused() == {"signature.bad": 1}


def test_a_dot_of_a_giver_whose_record_its_key_did_not_sign_stays_out(reader: Reader) -> None:
    record = SignedObject("entity", ALICE.entity.body, bytes(64)).to_bytes()
    reader.say(HOME.entity.to_bytes(), BOB.entity.to_bytes(), record)
    reader.say(dot(HOME, ALICE, hops=1).to_bytes(), dot(ALICE, BOB).to_bytes())
    with pytest.raises(NoProof):
        reader.prove()
    assert reader.knowledge.published(ALICE.id) is None
    assert reader.follower.refused() == {"signature.bad": 1}
    reader.say(ALICE.entity.to_bytes())
    assert len(reader.prove().dots) == 2


def test_a_forged_name_resolves_to_nothing_and_hides_no_true_one(reader: Reader) -> None:
    who = f"friend.{id_text(ALICE.id)}"
    reader.say(*PEOPLE, falsified(name(ALICE, MALLORY, created=NOW + 1)))
    with pytest.raises(UnknownName):
        reader.knowledge.resolve(who, reader.facts, LATER)
    true = name(ALICE, BOB)
    reader.say(true.to_object().to_bytes(), falsified(name(ALICE, HOME, created=NOW - 1)))
    assert reader.knowledge.resolve(who, reader.facts, LATER) == (BOB.id, reader.knowledge.names[true.id])
    assert reader.follower.refused() == {"signature.bad": 1}, "the older one was never used"


def test_a_forged_name_that_was_revoked_says_nothing_of_its_giver(reader: Reader) -> None:
    lie, true = name(MALLORY, BOB), name(ALICE, BOB)
    reader.say(*PEOPLE, SignedObject("name", true.body, bytes(64)).to_bytes(), lie.to_object().to_bytes())
    reader.chain.say(revoked(true.preimage(ALICE)), revoked(lie.preimage(MALLORY)))
    reader.follow()
    with pytest.raises(UnknownName):
        reader.knowledge.resolve(f"friend.{id_text(ALICE.id)}", reader.facts, LATER)
    with pytest.raises(NameRevoked):
        reader.knowledge.resolve(f"friend.{id_text(MALLORY.id)}", reader.facts, LATER)


def test_whose_a_revocation_is_no_forged_object_says(reader: Reader) -> None:
    true, lie = dot(HOME, BOB), dot(HOME, ALICE)
    reader.say(*PEOPLE, true.to_bytes(), forged(MALLORY, lie))
    owners = reader.knowledge.owners({*true.commitments, *lie.commitments, *BOB.entity.commitments})
    assert {commitment: thing.id for commitment, (thing, _) in owners.items()} == {
        true.commitments[0]: true.id,
        BOB.entity.commitments[0]: BOB.id,
    }


def test_published_and_kept_objects_are_checked_alike(reader: Reader) -> None:
    knowledge = reader.knowledge
    for data in PEOPLE:
        knowledge.learn(decode_object(data), kept=True)
    knowledge.learn(decode_object(forged(MALLORY, dot(HOME, BOB))), kept=True)
    assert list(knowledge.graph.dots(HOME.id)) == []
    assert knowledge.entities[BOB.id] == BOB.entity
    assert BOB.id not in knowledge.heights
    with pytest.raises(BadSignature):
        knowledge.check(decode_object(forged(MALLORY, dot(HOME, BOB))))


# Through an engine -------------------------------------------------------------------------------------------------


def _lie(house: House) -> Dot:
    """Put a DoT on the chain that the owner did not sign, and return it."""
    lie = house.dot(house.owner, house.guest)
    stranger = house.stranger.sign("dot", lie.body)
    house.engine._chain.writer.publish_many([SignedObject("dot", lie.body, stranger).to_bytes()])
    return lie


def test_an_engine_answers_as_if_a_forged_dot_had_never_been_published(house: House) -> None:
    lie = _lie(house)
    engine = house.engine
    with pytest.raises(Refused):
        engine.call(wire.Prove(ask=house.ask(house.guest)))
    assert engine.call(wire.Graph(namespace=id_text(house.owner.id))).edges == ()
    assert not engine.call(wire.Why(ask=house.ask(house.guest))).allowed
    with pytest.raises(UnknownObject):
        engine.call(wire.FindObject(id=id_text(lie.id)))
    assert engine.call(wire.Status()).counts.unreadable == 1


def test_a_forged_copy_on_the_chain_does_not_keep_the_true_object_from_being_published(house: House) -> None:
    lie = _lie(house)
    (said,) = house.publish(lie).objects
    assert said.height is not None
    assert house.engine.call(wire.Prove(ask=house.ask(house.guest))).paths == ((id_text(lie.id),),)


def test_a_revocation_seen_changes_the_verdict_of_the_very_next_call(house: House) -> None:
    """The engine has no turn of a loop in between: what it followed counts in whatever it is asked next."""
    given = house.dot(house.owner, house.guest)
    house.publish(given)
    proof = house.engine.call(wire.Prove(ask=house.ask(house.guest))).proof
    question = wire.Verify(proof=proof, ask=house.ask(house.guest))
    assert house.engine.call(question).decision
    house.engine._chain.writer.revoke([given.preimage(house.owner)])
    house.engine._follower.sync()
    with pytest.raises(Revoked):
        house.engine.call(question)


def test_strangers_are_still_people(house: House) -> None:
    """A record under a false signature hides nobody, and shows nobody."""
    somebody = person(int(house.clock.now))
    false = SignedObject("entity", somebody.entity.body, bytes(64)).to_bytes()
    house.engine._chain.writer.publish_many([false])
    assert house.engine.call(wire.Resolve(name=id_text(somebody.id))).record is None
    house.engine.call(wire.Publish(objects=(somebody.entity.to_bytes(),)))
    assert house.engine.call(wire.Resolve(name=id_text(somebody.id))).record == somebody.entity.to_bytes()


@pytest.mark.parametrize("error", [WrongChain, ChainReorganised])
def test_a_chain_that_is_not_the_one_followed_ends_every_check(
    house: House, error: type[ChainUnavailable], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is answered from what the chain said before it was reset or changed too far back."""
    house.publish(house.dot(house.owner, house.guest))
    proof = house.engine.call(wire.Prove(ask=house.ask(house.guest))).proof

    def refuse(*_: object) -> Facts:
        raise error("not the chain that was followed")

    monkeypatch.setattr(house.engine._follower, "sync", refuse)
    house.clock.now += LIMITS.max_staleness / 2
    questions: list[wire.Call[Any]] = [
        wire.Verify(proof=proof, ask=house.ask(house.guest)),
        wire.Prove(ask=house.ask(house.guest)),
        wire.FactsSince(height=-1, block_hash=""),
        wire.Status(),
    ]
    for question in questions:
        with pytest.raises(error):
            house.engine.call(question)

    def be_silent(*_: object) -> Facts:
        raise ChainUnavailable("nothing comes any more")

    with monkeypatch.context() as patch:
        patch.setattr(house.engine._follower, "sync", be_silent)
        house.clock.now += LIMITS.max_staleness / 8
        with pytest.raises(error):
            house.engine.call(questions[0])


def test_a_chain_that_stops_is_reported_by_every_check(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was heard stands as long as it is fresh, and then nothing is answered from it."""
    house.publish(house.dot(house.owner, house.guest))
    proof = house.engine.call(wire.Prove(ask=house.ask(house.guest))).proof
    seen = house.engine._follower.facts

    def stopped(*_: object) -> Facts:
        raise ChainUnavailable("nobody answers")

    monkeypatch.setattr(house.engine._follower, "sync", stopped)
    house.clock.now = seen.time + LIMITS.max_staleness
    assert house.engine.call(wire.Verify(proof=proof, ask=house.ask(house.guest))).decision
    house.clock.now += 1
    with pytest.raises(StaleFacts):
        house.engine.call(wire.Verify(proof=proof, ask=house.ask(house.guest)))
    questions: list[wire.Call[Any]] = [
        wire.Prove(ask=house.ask(house.guest)),
        wire.Who(wanted=house.ask(house.guest).statements[0], namespace=id_text(house.owner.id)),
        wire.What(subject=id_text(house.guest.id)),
    ]
    for question in questions:
        with pytest.raises(StaleFacts):
            house.engine.call(question)
    reply = house.engine.call(wire.FactsSince(height=-1, block_hash=""))
    assert reply.time == seen.time, "whoever checks elsewhere sees how old it is"
