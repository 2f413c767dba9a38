"""The engine: what it publishes, proves, checks, takes back and explains, against a real embedded chain."""

from collections.abc import Callable

import pytest

from tests.agent.conftest import House, person
from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.settings import Settings
from wave.codec import id_text
from wave.errors import (
    BadRequest,
    BadSignature,
    ChainUnavailable,
    FactsBehind,
    NameTaken,
    NoProof,
    Revoked,
    StaleFacts,
    StateLocked,
    TooLarge,
    UnknownDecision,
    UnknownEntity,
    UnknownName,
    UnknownObject,
    WrongSubject,
)
from wave.limits import LIMITS
from wave.namespace.name import Name


def test_a_grant_is_proved_and_verified(house: House) -> None:
    """What was given is found, and the proof of it is good."""
    house.publish(house.dot(house.owner, house.guest))
    found = house.engine.call(wire.Prove(ask=house.ask(house.guest)))
    verdict = house.engine.call(wire.Verify(proof=found.proof, ask=house.ask(house.guest)))
    assert verdict.paths == found.paths == ((id_text(house.given[0].id),),)
    assert verdict.until == house.given[0].expires
    assert verdict.height > 0


def test_what_was_not_given_is_refused_with_a_decision_to_look_up(house: House) -> None:
    """A no names a decision, and the decision says what is missing and who could give it."""
    house.publish(house.dot(house.owner, house.guest, hops=1))
    with pytest.raises(NoProof) as caught:
        house.engine.call(wire.Prove(ask=house.ask(house.stranger)))
    assert caught.value.decision
    why = house.engine.call(wire.Why(decision=caught.value.decision))
    assert not why.allowed
    assert why.code == "proof.none"
    assert why.lines
    told = "\n".join(why.lines) + why.hint
    assert id_text(house.guest.id)[:8] in told


def test_somebody_elses_proof_is_refused(house: House) -> None:
    """A proof serves its subject alone."""
    house.publish(house.dot(house.owner, house.guest))
    proof = house.engine.call(wire.Prove(ask=house.ask(house.guest))).proof
    with pytest.raises(WrongSubject) as caught:
        house.engine.call(wire.Verify(proof=proof, ask=house.ask(house.stranger)))
    assert caught.value.code == "proof.wrong_subject"


def test_a_revocation_counts_at_once_and_for_good(house: House, open_house: Callable[[], House]) -> None:
    """After a DoT is taken back the saved proof fails, and it still fails when the agent starts again."""
    dot = house.dot(house.owner, house.guest)
    house.publish(dot)
    proof = house.engine.call(wire.Prove(ask=house.ask(house.guest))).proof
    reply = house.engine.call(wire.Revoke(preimages=(dot.preimage(house.owner),)))
    question = wire.Verify(proof=proof, ask=house.ask(house.guest), at_least=reply.height)
    with pytest.raises(Revoked):
        house.engine.call(question)
    with pytest.raises(NoProof):
        house.engine.call(wire.Prove(ask=house.ask(house.guest)))
    house.engine.close()
    again = open_house()
    with pytest.raises(Revoked) as caught:
        again.engine.call(question)
    assert caught.value.code == "dot.revoked"


def test_revoking_an_entity_ends_every_path_through_it(house: House) -> None:
    """Who stands in the middle takes everything behind down with them."""
    house.publish(house.dot(house.owner, house.guest, hops=1), house.dot(house.guest, house.stranger))
    question = house.ask(house.stranger)
    house.engine.call(wire.Prove(ask=question))
    house.engine.call(wire.Revoke(preimages=(house.guest.preimage(),)))
    with pytest.raises(NoProof):
        house.engine.call(wire.Prove(ask=question))


def test_a_dot_that_is_kept_works_here_and_stands_on_no_chain(house: House) -> None:
    """A DoT need not be published to be valid."""
    dot = house.dot(house.owner, house.guest)
    reply = house.engine.call(wire.Publish(objects=(dot.to_bytes(),), keep_only=True))
    assert reply.objects[0].height is None
    house.engine.call(wire.Prove(ask=house.ask(house.guest)))
    assert house.engine.call(wire.FindObject(id=id_text(dot.id))).height is None


def test_what_is_kept_survives_a_restart(house: House, settings: Settings) -> None:
    """The store gives back what it took."""
    dot = house.dot(house.owner, house.guest)
    house.engine.call(wire.Publish(objects=(dot.to_bytes(),), keep_only=True))
    house.engine.close()
    with Engine.open(settings) as again:
        assert again.call(wire.FindObject(id=id_text(dot.id))).data == dot.to_bytes()
        again.call(wire.Prove(ask=house.ask(house.guest)))


def test_publishing_twice_costs_one_transaction(house: House) -> None:
    """The second time changes nothing on the chain."""
    dot = house.dot(house.owner, house.guest)
    first = house.publish(dot)
    height = house.engine.call(wire.Status()).height
    assert house.publish(dot) == first
    assert house.engine.call(wire.Status()).height == height


def test_an_object_with_a_wrong_signature_is_not_published(house: House) -> None:
    """Nothing of the call reaches the chain when one object is bad."""
    good = house.dot(house.owner, house.guest)
    bad = house.dot(house.guest, house.stranger).to_object()
    forged = type(bad)(bad.kind, bad.body, good.signature)
    with pytest.raises(BadSignature):
        house.engine.call(wire.Publish(objects=(good.to_bytes(), forged.to_bytes())))
    with pytest.raises(UnknownObject):
        house.engine.call(wire.FindObject(id=id_text(good.id)))


def test_a_dot_of_an_unknown_giver_is_not_published(house: House) -> None:
    """Nobody could ever check it."""
    nobody = person(int(house.clock.now))
    with pytest.raises(UnknownEntity) as caught:
        house.publish(house.dot(nobody, house.guest))
    assert "publish" in caught.value.hint


def test_an_alias_is_first_come_first_served(house: House) -> None:
    """The second who asks is told who has it."""
    house.engine.call(wire.Claim(label="hall", target=id_text(house.owner.id)))
    assert house.engine.call(wire.Resolve(name="hall")).id == id_text(house.owner.id)
    with pytest.raises(NameTaken) as caught:
        house.engine.call(wire.Claim(label="hall", target=id_text(house.guest.id)))
    assert id_text(house.owner.id) in caught.value.message
    assert house.engine.call(wire.Resolve(name="hall")).id == id_text(house.owner.id)


def test_a_signed_name_is_resolved_under_its_giver(house: House) -> None:
    """``label.giver`` means what the giver says, until the giver takes it back."""
    now = int(house.clock.now)
    name = Name.create(house.owner, label="visitor", target=house.guest.id, created=now - 1, expires=now + 99)
    house.engine.call(wire.Claim(label="house", target=id_text(house.owner.id)))
    house.engine.call(wire.Publish(objects=(name.to_object().to_bytes(),)))
    assert house.engine.call(wire.Resolve(name="visitor.house")).id == id_text(house.guest.id)
    house.engine.call(wire.Revoke(preimages=(name.preimage(house.owner),)))
    with pytest.raises(Exception, match="took back") as caught:
        house.engine.call(wire.Resolve(name="visitor.house"))
    assert getattr(caught.value, "code", None) == "name.revoked"


def test_a_name_of_a_name_goes_as_far_as_names_are_long(house: House) -> None:
    """Each label is looked up under the entity that the rest means; a text past the bound is not read at all."""
    now = int(house.clock.now)
    name = Name.create(house.owner, label="a", target=house.owner.id, created=now - 1, expires=now + 99)
    house.engine.call(wire.Publish(objects=(name.to_object().to_bytes(),)))
    longest = "a." * ((LIMITS.text_characters - 43) // 2) + id_text(house.owner.id)
    assert house.engine.call(wire.Resolve(name=longest)).id == id_text(house.owner.id)
    with pytest.raises(TooLarge):
        house.engine.call(wire.Resolve(name="a.a." + longest))


def test_nobody_is_shown_under_a_name_that_means_somebody_else_here(house: House, settings: Settings) -> None:
    """Anyone may claim an alias, also one that this home uses for another, or the word for everybody."""
    settings.keyring.add("guest", house.guest.entity)
    for label in ("guest", "everybody", "mallory"):
        house.engine.call(wire.Claim(label=label, target=id_text(house.stranger.id)))
    names = house.engine.call(wire.Names()).names
    assert (names[id_text(house.guest.id)], names[id_text(house.stranger.id)]) == ("guest", "mallory")


@pytest.mark.usefixtures("house")
def test_what_an_agent_keeps_is_its_owners_alone(settings: Settings) -> None:
    """Also in a directory that others may read: DoTs that are not published, and decisions, are private."""
    files = [path for path in settings.home.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if path.stat().st_mode & 0o077]


def test_an_unknown_name_is_not_found(house: House) -> None:
    """And the hint lists what a name may be."""
    with pytest.raises(UnknownName) as caught:
        house.engine.call(wire.Resolve(name="nobody"))
    assert "alias" in caught.value.hint


def test_the_graph_shows_who_holds_what_from_whom(house: House) -> None:
    """Dead delegations stay in the graph, marked."""
    alive, dead = house.dot(house.owner, house.guest), house.dot(house.owner, house.stranger)
    house.publish(alive, dead)
    house.engine.call(wire.Revoke(preimages=(dead.preimage(house.owner),)))
    graph = house.engine.call(wire.Graph(namespace=id_text(house.owner.id)))
    assert {edge.dot: edge.state for edge in graph.edges} == {id_text(alive.id): "valid", id_text(dead.id): "revoked"}
    assert {node.id for node in graph.nodes} == {id_text(one.id) for one in (house.owner, house.guest, house.stranger)}


def test_the_graph_knows_which_delegations_give_nothing(house: House) -> None:
    """Anybody may sign anything; what its giver does not hold, or may not hand on, has no effect."""
    held = house.dot(house.owner, house.guest, hops=1)
    part = house.dot(house.guest, house.stranger, where="*")
    other = house.dot(house.guest, house.stranger, where="door/front")
    onward = house.dot(house.stranger, house.guest, where="light/hall")
    house.publish(held, part, other, onward)
    graph = house.engine.call(wire.Graph(namespace=id_text(house.owner.id)))
    assert {edge.dot: edge.effective for edge in graph.edges} == {
        id_text(held.id): True,
        id_text(part.id): True,
        id_text(other.id): False,
        id_text(onward.id): False,
    }


def test_who_and_what_answer_from_both_ends(house: House) -> None:
    """Who may do a thing, and what one may do."""
    house.publish(house.dot(house.owner, house.guest, hops=2), house.dot(house.guest, house.stranger, where="light/+"))
    wanted = wire.Wanted(permission="publish", pattern="light/hall")
    who = house.engine.call(wire.Who(namespace=id_text(house.owner.id), wanted=wanted))
    assert {(holder.id, holder.hops_left) for holder in who.holders} == {
        (id_text(house.guest.id), 2),
        (id_text(house.stranger.id), 0),
    }
    what = house.engine.call(wire.What(subject=id_text(house.stranger.id)))
    assert [(one.permission, one.pattern, one.hops_left) for one in what.holdings] == [("publish", "light/+", 0)]
    assert what.complete


def test_why_explains_a_yes_hop_by_hop(house: House) -> None:
    """A yes is explained like a no."""
    house.publish(house.dot(house.owner, house.guest, hops=1), house.dot(house.guest, house.stranger))
    why = house.engine.call(wire.Why(ask=house.ask(house.stranger)))
    assert why.allowed
    assert len([line for line in why.lines if "DoT" in line or "hop" in line]) >= 2


def test_a_decision_nobody_made_is_not_found(house: House) -> None:
    """Only this agent's decisions are in its log."""
    with pytest.raises(UnknownDecision):
        house.engine.call(wire.Why(decision="no-such-decision"))


def test_a_stopped_chain_is_not_believed_for_long(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts older than the allowed age are no ground for a yes."""
    house.publish(house.dot(house.owner, house.guest))
    proof = house.engine.call(wire.Prove(ask=house.ask(house.guest))).proof

    def gone(*_: object) -> None:
        raise ChainUnavailable("the chain has stopped")

    monkeypatch.setattr(type(house.engine._follower), "sync", gone)
    house.clock.now += 119
    house.engine.call(wire.Verify(proof=proof, ask=house.ask(house.guest)))
    house.clock.now += 3
    with pytest.raises(StaleFacts):
        house.engine.call(wire.Verify(proof=proof, ask=house.ask(house.guest)))
    with pytest.raises(StaleFacts):
        house.engine.call(wire.Prove(ask=house.ask(house.guest)))


def test_a_height_that_is_not_reached_refuses_to_answer(house: House) -> None:
    """A caller who names a height never gets an answer from before it."""
    house.publish(house.dot(house.owner, house.guest))
    proof = house.engine.call(wire.Prove(ask=house.ask(house.guest))).proof
    with pytest.raises(FactsBehind):
        house.engine.call(wire.Verify(proof=proof, ask=house.ask(house.guest), at_least=10_000))


def test_two_processes_do_not_share_a_state_directory(house: House, settings: Settings) -> None:
    """The second is told whose it is, and the first goes on."""
    with pytest.raises(StateLocked) as caught:
        Engine.open(settings, wait=0.0)
    assert "pid" in caught.value.message
    house.publish(house.dot(house.owner, house.guest))


def test_a_revocation_of_odd_bytes_is_bad_input(house: House) -> None:
    """A preimage has 32 bytes."""
    with pytest.raises(BadRequest):
        house.engine.call(wire.Revoke(preimages=(b"short",)))
    with pytest.raises(BadRequest):
        house.engine.call(wire.Revoke(preimages=()))


def test_facts_for_others_hold_what_was_revoked_since(house: House) -> None:
    """A checker elsewhere asks for what is new to it."""
    first, second = house.dot(house.owner, house.guest), house.dot(house.owner, house.stranger)
    house.publish(first, second)
    house.engine.call(wire.Revoke(preimages=(first.preimage(house.owner),)))
    all_of_it = house.engine.call(wire.FactsSince())
    assert all_of_it.whole
    assert set(all_of_it.revocations) == {id_text(first.commitments[0])}
    house.engine.call(wire.Revoke(preimages=(second.preimage(house.owner),)))
    newer = house.engine.call(wire.FactsSince(height=all_of_it.height, block_hash=all_of_it.block_hash))
    assert not newer.whole
    assert set(newer.revocations) == {id_text(second.commitments[0])}


def test_facts_for_others_begin_anew_when_the_chain_changed(house: House) -> None:
    """A checker that knows another block of that height may have missed a revocation, and gets all of them."""
    dot = house.dot(house.owner, house.guest)
    house.publish(dot)
    height = house.engine.call(wire.Revoke(preimages=(dot.preimage(house.owner),))).height
    reply = house.engine.call(wire.FactsSince(height=height, block_hash=id_text(bytes(range(32)))))
    assert reply.whole
    assert set(reply.revocations) == {id_text(dot.commitments[0])}


def test_what_was_revoked_is_not_published_again(house: House) -> None:
    """The same words signed in the same second are the same DoT, and it stays void: that is said."""
    dot = house.dot(house.owner, house.guest)
    house.publish(dot)
    house.engine.call(wire.Revoke(preimages=(dot.preimage(house.owner),)))
    with pytest.raises(Revoked) as caught:
        house.publish(dot)
    assert "a second later" in caught.value.hint
