"""Explanations: they agree with the verdict, and show the fault where it is."""

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given, settings

from tests.dots.test_verify_properties import NAMES, everyone, path_lists, proof_of, requests
from tests.world import DAY, NOW, World
from wave.codec import id_text
from wave.dots.dot import Dot
from wave.dots.explain import decision_id
from wave.dots.explanation import Explanation, Finding, Walk
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.verify import Grant
from wave.errors import Expired, WaveError
from wave.limits import LIMITS
from wave.namespace.condition import Condition, rate, where
from wave.namespace.grant import Right

WANT = "publish@home/light/0"


def three(world: World, **fields: Any) -> tuple[Dot, ...]:
    return world.chain("home alice bob carol", "publish@home/light/*", **fields)


def faults(explanation: Explanation) -> list[tuple[int, str, str]]:
    """Return place, rule and code of all that failed on the only path; place -1 is the arrival."""
    [answer] = explanation.answers
    [walk] = answer.paths
    hops = [(place, finding) for place, hop in enumerate(walk.hops) for finding in hop.findings]
    found = [*hops, *((-1, finding) for finding in walk.arrival)]
    return [(place, finding.rule, finding.code) for place, finding in found if not finding.ok]


def agrees(world: World, proof: Proof | None, request: Request, explanation: Explanation, **more: Any) -> None:
    """Assert that an explanation's verdict is `verify`'s, and that its findings say the same."""
    facts_ok = all(finding.ok for finding in explanation.findings)
    told = all(answer.ok for answer in explanation.answers) and facts_ok
    outcome: Grant | WaveError
    try:
        outcome = world.verify(Proof.build((), ()) if proof is None else proof, request, **more)
    except WaveError as error:
        outcome = error
    assert explanation.allowed == told == isinstance(outcome, Grant)
    if isinstance(outcome, Grant):
        assert (explanation.code, explanation.until) == ("ok", outcome.until)
        assert explanation.rates == tuple(str(one.condition) for one in outcome.rates)
    else:
        assert (explanation.code, explanation.message) == (outcome.code, outcome.message)
        assert explanation.hint == outcome.hint or (not outcome.hint and explanation.hint.startswith("ask "))
        assert explanation.until is None
        assert [answer for answer in explanation.answers if answer.missing] or not facts_ok


@given(path_lists, requests())
@settings(max_examples=200)
def test_an_explanation_agrees_with_the_verdict(some: list[tuple[Dot, ...]], request: Request) -> None:
    """For whatever proof and request: the same yes, or the same no with its code, message and hint."""
    world = everyone()
    world.revoke(some[0][0]) if len(some) > 2 else None
    for proof in (proof_of(world, *some), world.proof(*some, without="bob"), None):
        agrees(world, proof, request, world.explain(proof, request))
        for changes in ({"time": NOW - 121}, {"time": NOW + 61}):
            facts = replace(world.facts, **changes)  # type: ignore[arg-type]
            agrees(world, proof, request, world.explain(proof, request, facts=facts), facts=facts)
        more = {"at_least": world.height + 1}
        agrees(world, proof, request, world.explain(proof, request, **more), **more)


def test_a_yes_is_explained(world: World) -> None:
    """By whom, on which path, as of which block, until when, and what is still to be counted."""
    path = three(world, conditions=(rate("10/60s"),))
    proof = world.proof(path)
    told = world.explain(proof, world.request("carol", WANT))
    assert told.allowed
    assert (told.height, told.time, told.now, told.until) == (world.height, NOW, NOW, NOW + 30 * DAY)
    assert told.rates == ("rate 10/60s",) * 3
    [answer] = told.answers
    [walk] = answer.paths
    assert [hop.dot for hop in walk.hops] == [dot.id for dot in path]
    assert all(hop.ok for hop in walk.hops)
    rules = {"follows", "hops", "scope", "conditions", "dot", "giver", "signature"}
    assert {finding.rule for hop in walk.hops for finding in hop.findings} == rules
    assert [finding.rule for finding in walk.arrival] == ["subject", "receiver"]
    assert (answer.missing, answer.could_give, told.hint) == ((), (), "")


def test_the_namespace_s_own_act_is_explained(world: World) -> None:
    """Its record is all that it needs."""
    told = world.explain(world.proof(also="home"), world.request("home", WANT))
    assert told.allowed
    assert [finding.rule for finding in told.findings] == ["facts", "namespace"]
    world.revoke("home")
    told = world.explain(world.proof(also="home"), world.request("home", WANT))
    assert (told.allowed, told.code) == (False, "entity.revoked")
    assert told.answers[0].missing
    assert told.answers[0].could_give == ()


def broken(world: World, fault: str) -> tuple[Proof, Request]:
    """Return a proof over three hops with one fault, at its second hop where there is a choice, and what is asked."""
    path = list(three(world, **({"indirections": 0} if fault == "hops" else {})))
    path[1] = second(world, fault, path[1])
    if fault == "dot revoked":
        world.revoke(path[1])
    if fault == "entity revoked":
        world.revoke("alice")
    proof = world.proof(path, without="alice" if fault == "missing" else "")
    return proof, world.request("dave" if fault == "subject" else "carol", WANT)


def second(world: World, fault: str, good: Dot) -> Dot:
    """Return the second DoT of the path, with the fault when it is one of a DoT alone."""
    unknown, odd = Condition("weather", ()), Right(None, ("publish",), "light//0", ())
    made: dict[str, Callable[[], Dot]] = {
        "dot expired": lambda: world.grant("alice", "bob", WANT, indirections=1, expires=NOW),
        "dot early": lambda: world.grant("alice", "bob", WANT, indirections=1, created=NOW + 1),
        "scope": lambda: world.grant("alice", "bob", "publish@home/door/*", indirections=1),
        "value": lambda: world.grant("alice", "bob", WANT, indirections=1, conditions=(where("x 1..2"),)),
        "unknown": lambda: world.grant("alice", "bob", WANT, indirections=1, conditions=(unknown,)),
        "signature": lambda: Dot(good.body, bytes(64)),
        "namespace": lambda: world.grant("alice", "bob", WANT, indirections=1, namespace="office"),
        "pattern": lambda: world.grant("alice", "bob", odd, indirections=1, namespace="home"),
        "giver": lambda: world.grant("mallory", "bob", WANT, indirections=1),
    }
    return made.get(fault, lambda: good)()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("dot expired", [(1, "dot", "dot.expired")]),
        ("dot early", [(1, "dot", "dot.not_yet_valid")]),
        ("dot revoked", [(1, "dot", "dot.revoked")]),
        ("entity revoked", [(1, "giver", "entity.revoked")]),
        ("scope", [(1, "scope", "dot.out_of_scope")]),
        ("value", [(1, "conditions", "condition.missing_value")]),
        ("unknown", [(1, "conditions", "condition.unknown")]),
        ("signature", [(1, "signature", "signature.bad")]),
        ("namespace", [(1, "follows", "proof.wrong_namespace")]),
        ("giver", [(1, "follows", "proof.broken_path")]),
        ("subject", [(-1, "subject", "proof.wrong_subject")]),
        ("missing", [(1, "giver", "proof.missing_entity")]),
        ("hops", [(1, "hops", "dot.too_many_hops"), (2, "hops", "dot.too_many_hops")]),
    ],
)
def test_a_fault_is_shown_at_its_hop_under_its_code(
    world: World, fault: str, expected: list[tuple[int, str, str]]
) -> None:
    """And nowhere else; the rest of the path is shown to hold."""
    proof, request = broken(world, fault)
    told = world.explain(proof, request)
    agrees(world, proof, request, told)
    assert faults(told) == expected
    assert told.code == expected[0][2]
    assert told.answers[0].missing


def test_a_dot_with_a_malformed_pattern_is_explained(world: World) -> None:
    """What cannot be read is a no like any other; the explanation itself never fails."""
    try:
        proof, request = broken(world, "pattern")
    except WaveError:
        return  # refused where it is made or parsed
    told = world.explain(proof, request)
    agrees(world, proof, request, told)
    assert {code for _, _, code in faults(told)} == {"pattern.bad"}


def test_several_faults_are_all_shown(world: World) -> None:
    """The verdict stops at the first; the explanation does not."""
    path = three(world, expires=NOW)
    world.revoke("bob")
    told = world.explain(world.proof(path), world.request("dave", "list@home/light/0"))
    codes = {code for _, _, code in faults(told)}
    assert codes == {"dot.expired", "entity.revoked", "proof.wrong_subject", "dot.out_of_scope"}


def test_without_a_proof_the_path_is_what_is_missing(world: World) -> None:
    """And the namespace could always give it."""
    told = world.explain(None, world.request("carol", WANT, "list@home/a"))
    assert (told.allowed, told.code) == (False, "proof.none")
    for answer in told.answers:
        assert answer.paths == ()
        assert len(answer.missing) == 1
        assert answer.could_give == (world.id("home"),)
    assert told.hint == f"ask {id_text(world.id('home'))[:8]} for it"


def test_who_holds_it_with_a_hop_to_spare_could_give_it(world: World) -> None:
    """After the namespace, each once, less the subject, everybody and those known to be dead."""
    request = world.request("carol", WANT, "list@home/a")
    dead = world.id("dead")
    world.publish("alice", "dead")
    world.revoke("dead")
    held = {
        request.statements[0]: [world.id(name) for name in ("alice", "bob", "alice", "home", "carol", "everybody")]
        + [dead]
    }
    told = world.explain(None, request, held=held)
    assert told.answers[0].could_give == (world.id("home"), world.id("alice"), world.id("bob"))
    assert told.answers[1].could_give == (world.id("home"),)
    allowed = world.explain(world.proof(world.grant("home", "carol", "publish@home/*")), world.request("carol", WANT))
    assert allowed.answers[0].could_give == ()


def test_who_holds_it_changes_neither_verdict_nor_decision(world: World) -> None:
    """It is advice."""
    request = world.request("carol", WANT)
    plain = world.explain(None, request)
    advised = world.explain(None, request, held={request.statements[0]: [world.id("alice")]})
    assert (advised.allowed, advised.code, advised.decision) == (plain.allowed, plain.code, plain.decision)


def test_stale_facts_are_found_among_the_facts(world: World) -> None:
    """The path is shown to hold all the same, and no right is said to be missing."""
    proof, request = world.proof(three(world)), world.request("carol", WANT)
    facts = replace(world.facts, time=NOW - 500)
    told = world.explain(proof, request, facts=facts)
    assert (told.allowed, told.code) == (False, "facts.stale")
    assert [finding.code for finding in told.findings] == ["facts.stale"]
    assert told.answers[0].ok
    assert told.answers[0].could_give == ()
    assert world.explain(proof, request, facts=facts, max_staleness=500).allowed
    behind = world.explain(proof, request, at_least=world.height + 1)
    assert [finding.code for finding in behind.findings] == ["facts.behind"]


def test_the_path_that_carries_is_told_first(world: World) -> None:
    """However many others there are; their number is bounded, at the bound and one past it."""
    good = world.grant("home", "carol", "publish@home/light/*")
    others = [world.grant("home", "carol", f"publish@home/door/{number}") for number in range(LIMITS.explained_paths)]
    request = world.request("carol", WANT)
    at_bound = world.explain(world.proof(*others[1:], good), request).answers[0]
    assert (len(at_bound.paths), at_bound.untold) == (LIMITS.explained_paths, 0)
    past = world.explain(world.proof(*others, good), request).answers[0]
    assert (len(past.paths), past.untold) == (LIMITS.explained_paths, 1)
    for answer in (at_bound, past):
        assert answer.ok
        assert answer.paths[0].hops[0].dot == good.id


def test_what_is_missing_is_told_of_the_nearest_path(world: World) -> None:
    """The one with the fewest faults."""
    far = world.grant("mallory", "dave", "list@home/*", expires=NOW)
    near = world.grant("home", "carol", "publish@home/*", expires=NOW)
    for paths in ((far, near), (near, far)):
        [answer] = world.explain(world.proof(*paths), world.request("carol", WANT)).answers
        assert len(answer.missing) == 1
        assert "expired" in answer.missing[0]


# Decisions ------------------------------------------------------------------------------------------------------------


def test_a_decision_s_id_is_the_same_for_the_same_case(world: World) -> None:
    """Logs and refusals share it, although each works it out by itself; it is 16 bytes of text that is no option."""
    proof, request = world.proof(three(world)), world.request("carol", WANT)
    told = world.explain(proof, request)
    assert told.decision == world.explain(Proof.from_bytes(proof.data), request).decision
    grant = world.verify(proof, request)
    assert told.decision == decision_id(proof, request, world.facts, now=world.now, outcome=grant)
    assert len(bytes.fromhex(told.decision)) == 16
    assert not told.decision.startswith("-")


def test_a_refusal_s_decision_can_be_worked_out_from_the_error(world: World) -> None:
    """By whoever raised it, without explaining anything."""
    proof, request = world.proof(three(world, expires=NOW)), world.request("carol", WANT)
    with pytest.raises(Expired) as caught:
        world.verify(proof, request)
    expected = decision_id(proof, request, world.facts, now=world.now, outcome=caught.value)
    assert world.explain(proof, request).decision == expected


def test_a_decision_s_id_depends_on_everything_that_the_decision_does(world: World) -> None:
    """Proof, subject, statements, set, values, block, time and outcome."""
    path = three(world)
    proof, request = world.proof(path), world.request("carol", WANT, context={"x": 1})
    facts = world.facts
    asked = [
        world.explain(proof, request),
        world.explain(None, request),
        world.explain(world.proof(path, also="dave"), request),
        world.explain(proof, world.request("dave", WANT, context={"x": 1})),
        world.explain(proof, world.request("carol", WANT, namespace="office", context={"x": 1})),
        world.explain(proof, world.request("carol", WANT)),
        world.explain(proof, world.request("carol", WANT, context={"x": 2})),
        world.explain(proof, world.request("carol", WANT, context={"x": 1.0})),
        world.explain(proof, world.request("carol", WANT, context={"y": 1})),
        world.explain(proof, world.request("carol", "publish@home/light/1", context={"x": 1})),
        world.explain(proof, world.request("carol", WANT, WANT, context={"x": 1})),
        world.explain(proof, world.request("carol", f"door:{WANT}", context={"x": 1})),
        world.explain(proof, request, facts=replace(facts, height=facts.height + 1)),
        world.explain(proof, request, facts=replace(facts, block_hash=bytes(32))),
        world.explain(proof, request, now=NOW + 1),
        world.explain(proof, request, at_least=facts.height + 1),
    ]
    decisions = [one.decision for one in asked]
    assert len(set(decisions)) == len(decisions)


@pytest.mark.parametrize("value", [pytest.param(10**5000, id="huge"), float("nan"), "text", None, True])
def test_any_value_can_be_explained(world: World, value: Any) -> None:
    """Whatever stands in a request, its decision has an id."""
    dot = world.grant("home", "bob", "publish@home/*", conditions=(where("x 1..2"),))
    told = world.explain(world.proof(dot), world.request("bob", WANT, context={"x": value, "\ud800": 1}))
    assert not told.allowed
    assert told.decision


# Forms ----------------------------------------------------------------------------------------------------------------


def test_an_explanation_is_plain_json(world: World) -> None:
    """Ids as text, times as seconds, and nothing that a program could not read."""
    path = three(world, conditions=(where("x 1..2"),))
    told = world.explain(world.proof(path), world.request("carol", WANT, "door:open@home/door"))
    plain = told.to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["allowed"], plain["code"], plain["decision"]) == (False, told.code, told.decision)
    assert (plain["subject"], plain["namespace"]) == (id_text(world.id("carol")), id_text(world.id("home")))
    first, second = plain["statements"]
    assert (first["permission"], first["pattern"], first["permission_set"]) == ("publish", "light/0", None)
    assert second["permission_set"] == id_text(world.id("door"))
    hops = first["paths"][0]["hops"]
    assert [hop["dot"] for hop in hops] == [id_text(dot.id) for dot in path]
    assert {"rule", "ok", "code", "detail"} == set(hops[0]["findings"][0])


def test_a_person_reads_a_line_a_hop(world: World) -> None:
    """With names for ids and plain words for ticks and crosses."""
    path = three(world)
    world.revoke(path[1])
    lines = world.explain(world.proof(path), world.request("carol", WANT)).lines(world.name)
    assert lines[0].startswith("NO  ")
    assert lines[0].endswith("(dot.revoked)")
    hops = [line.strip() for line in lines if " -> " in line]
    assert [hop.partition(":")[0] for hop in hops] == ["ok  home -> alice", "NO  alice -> bob", "ok  bob -> carol"]
    assert "was revoked in block 2 (dot.revoked)" in hops[1]
    assert "  could give it: home" in lines
    assert lines[-1].startswith("decision ")
    text = "\n".join(lines)
    assert not [name for name in NAMES if id_text(world.id(name))[:8] in text]
    assert "\x1b" not in text


def test_a_yes_reads_as_one(world: World) -> None:
    """Who may do what, until when."""
    lines = world.explain(world.proof(three(world)), world.request("carol", WANT)).lines(world.name)
    assert lines[0] == "ok  carol may publish on light/0 in home"
    assert lines[1] == "    until 2027-02-14T08:00:00Z"
    assert not [line for line in lines if "NO" in line]


@pytest.mark.parametrize(
    "condition",
    [
        Condition("\x1b[2J\n", ()),
        Condition("value", ("\x1b[2J\nok", None, None)),
        Condition("time", ("\x1b[2J\nok", 1, 0, 60)),
        Condition("rate", ("\x1b[2J\nok", 1)),
    ],
)
def test_no_stranger_s_bytes_reach_a_terminal(world: World, condition: Condition) -> None:
    """A condition, or a name, can hold anything; a line stays a line."""
    dot = world.grant("home", "bob", "publish@home/*", conditions=(condition,))
    told = world.explain(world.proof(dot), world.request("bob", WANT))
    lines = told.lines(lambda _: "bo\x1b[2Jb\n")
    assert all(line.isprintable() for line in lines)


def test_what_is_told_cannot_be_changed(world: World) -> None:
    """An explanation is a record of what was."""
    told = world.explain(None, world.request("carol", WANT))
    for part, field in ((told, "allowed"), (told.answers[0], "ok"), (told.findings[0], "ok")):
        with pytest.raises(FrozenInstanceError):
            setattr(part, field, True)
    assert Walk((), (Finding("subject", ok=False, code="x", detail="y"),)).faults
