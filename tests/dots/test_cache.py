"""The memory of verdicts: the same answers as without it, and none that is not true any more."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import DAY, HOUR, NOW, World
from wave.codec import amend
from wave.dots.cache import LeastRecent, Verifier
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.verify import Grant, verify
from wave.errors import (
    ConditionFailed,
    Expired,
    FactsBehind,
    MissingEntity,
    NotYetValid,
    Refused,
    Revoked,
    StaleFacts,
    WaveError,
    WrongSubject,
)
from wave.namespace.condition import when, where


class Case:
    def __init__(self, world: World, **fields: Any) -> None:
        self.world = world
        self.verifier = Verifier()
        self.dot = world.grant("home", "alice", "publish@home/light/*", **fields)
        self.proof = world.proof(self.dot)
        self.request = world.request("alice", "publish@home/light/0")

    def ask(self, request: Request | None = None, proof: Proof | bytes | None = None, **more: Any) -> Grant:
        options = {"facts": self.world.facts, "now": self.world.now, **more}
        return self.verifier.verify(proof or self.proof, request or self.request, **options)


@pytest.fixture
def case(world: World) -> Case:
    return Case(world)


def test_a_verdict_is_worked_out_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    first = case.ask()
    monkeypatch.setattr("wave.dots.cache.verify", lambda *_, **__: pytest.fail("asked again"))
    case.world.pass_time(5)
    second = case.ask(proof=case.proof.to_bytes())
    assert second == amend(first, height=case.world.height)


def test_a_revocation_is_seen_at_once(case: Case) -> None:
    """DESIGN §8, fault 3."""
    case.ask()
    case.world.revoke(case.dot)
    with pytest.raises(Revoked):
        case.ask()


@pytest.mark.parametrize("who", ["home", "alice"])
def test_a_revoked_entity_is_seen_at_once(case: Case, who: str) -> None:
    case.ask()
    case.world.revoke(who)
    with pytest.raises(Revoked):
        case.ask()


def test_a_no_is_not_remembered(case: Case) -> None:
    facts = case.world.facts
    case.world.revoke(case.dot)
    with pytest.raises(Revoked):
        case.ask()
    case.ask(facts=facts)  # the block was unwound


def test_freshness_and_height_are_asked_every_time(case: Case) -> None:
    """DESIGN §8, fault 13."""
    case.ask()
    with pytest.raises(StaleFacts):
        case.ask(now=NOW + 121)
    with pytest.raises(FactsBehind):
        case.ask(at_least=case.world.height + 1)
    case.ask(at_least=case.world.height)


def test_a_verdict_ends_with_its_dot(world: World) -> None:
    case = Case(world, expires=NOW + 60)
    assert case.ask().until == NOW + 60
    case.ask(now=NOW + 59)
    with pytest.raises(Expired):
        case.ask(now=NOW + 60)


def test_a_verdict_does_not_reach_back_before_it_was_found(world: World) -> None:
    case = Case(world, created=NOW)
    case.ask()
    with pytest.raises(NotYetValid):
        case.ask(now=NOW - 1)


def test_a_verdict_under_weekly_hours_ends_with_them(world: World) -> None:
    case = Case(world, conditions=(when("fri 08:00-09:00 UTC"),))
    assert case.ask().until == NOW + HOUR
    world.pass_time(HOUR)
    with pytest.raises(ConditionFailed):
        case.ask()


def test_a_proof_is_remembered_for_its_subject_alone(case: Case) -> None:
    """DESIGN §8, fault 9."""
    case.ask()
    with pytest.raises(WrongSubject):
        case.ask(case.world.request("bob", "publish@home/light/0"))


@pytest.mark.parametrize("text", ["subscribe@home/light/0", "publish@home/door", "publish@elsewhere/light/0"])
def test_a_verdict_answers_its_own_question_alone(case: Case, text: str) -> None:
    case.ask()
    with pytest.raises(Refused):
        case.ask(case.world.request("alice", text))


@pytest.mark.parametrize("value", [80, True, Decimal("74.5"), float("nan")])
def test_a_verdict_holds_for_its_own_values_alone(world: World, value: Any) -> None:
    case = Case(world, conditions=(where("level 1..74"),))
    for good in (1, 1.0, Decimal(1)):
        case.ask(world.request("alice", "publish@home/light/0", context={"level": good}))
    with pytest.raises(ConditionFailed):
        case.ask(world.request("alice", "publish@home/light/0", context={"level": value}))


def test_a_record_that_only_the_facts_had_must_still_be_there(world: World) -> None:
    case = Case(world)
    bare = Proof.build([(case.dot,)], [])
    world.publish("home", "alice")
    case.ask(proof=bare)
    with pytest.raises(MissingEntity):
        case.ask(proof=bare, facts=Facts(world.height, b"", world.now))


def test_verdicts_and_signatures_are_bounded(world: World) -> None:
    case = Case(world)
    case.verifier = Verifier(signatures=1, verdicts=2)
    for number in range(5):
        case.ask(world.request("alice", f"publish@home/light/{number}"))
    assert len(case.verifier._verdicts) == 2
    assert len(case.verifier._signatures) == 1


def test_the_least_recently_used_goes_first() -> None:
    known: LeastRecent[str, int] = LeastRecent(2)
    known["a"], known["b"] = 1, 2
    assert known["a"] == 1
    known["c"] = 3
    assert list(known) == ["a", "c"]
    assert "b" not in known
    del known["a"]
    assert len(known) == 1


ACTS = st.sampled_from(["pass 1", "pass 40", "back 30", "revoke 0", "revoke 1", "revoke alice", "unwind", "ask"])


@given(st.lists(ACTS, max_size=12), st.sampled_from([0, 60, 200]), st.sampled_from(["0", "1", "both"]))
def test_with_and_without_memory_the_answer_is_the_same(acts: list[str], life: int, which: str) -> None:
    world = World()
    dots = [
        world.grant("home", "alice", "publish@home/light/*", expires=NOW + 50 + life),
        world.grant("home", "alice", "publish@home/*", created=NOW - 20, expires=NOW + DAY),
    ]
    proof = world.proof(*(dots if which == "both" else [dots[int(which)]]))
    request, verifier = world.request("alice", "publish@home/light/0"), Verifier()
    for act in [*acts, "ask"]:
        word, _, what = act.partition(" ")
        if word == "pass":
            world.pass_time(int(what))
        elif word == "back":
            world.now -= int(what)
        elif word == "revoke":
            world.revoke(what if what == "alice" else dots[int(what)])
        elif word == "unwind":
            world.revocations.clear()
        assert outcome(verifier.verify, proof, request, world) == outcome(verify, proof, request, world)


def outcome(check: Any, proof: Proof, request: Request, world: World) -> object:
    try:
        grant = check(proof, request, world.facts, now=world.now)
    except WaveError as error:
        return type(error), error.message
    return grant.height, grant.request
