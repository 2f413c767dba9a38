"""who, what, why and status."""

import pytest

from tests.cli.conftest import Shell, identity

LIGHT = "publish@home/light/light0"


def test_who_lists_holders_with_hops_and_dots(wave: Shell) -> None:
    lines = wave.done("who", LIGHT).out.splitlines()
    assert lines[0].split() == ["name", "entity", "hops", "left", "DoTs"]
    assert ["alice", identity(wave, "alice"), "1", "1"] in [line.split() for line in lines]
    assert ["bob", identity(wave, "bob"), "0", "2"] in [line.split() for line in lines]
    assert {one["name"] for one in wave.done("who", LIGHT, "--json").json["holders"]} >= {"alice", "bob"}


def test_who_says_when_nobody_may(wave: Shell) -> None:
    ran = wave.done("who", "admin@home/nothing")
    assert ran.out == ""
    assert "nobody but home itself may admin@home/nothing" in ran.err


def test_who_takes_one_permission(wave: Shell) -> None:
    assert wave("who", "publish,list@home/light/light0").status == 3


def test_what_lists_rights(wave: Shell) -> None:
    ran = wave.done("what", "--subject", "alice")
    assert any(line.split()[:2] == ["publish@home/light/*", "1"] for line in ran.out.splitlines())
    assert wave.done("what", WAVE_ENTITY="alice.ent").out == ran.out
    assert wave.done("what", "--subject", "alice", "--json").json["complete"] is True


def test_what_of_somebody_without_rights(fresh: Shell) -> None:
    fresh.done("mkentity", "-o", "mouse.ent", "--no-passphrase", "--no-publish")
    assert "mouse may do nothing" in fresh.done("what", "--subject", "mouse").err


def test_whose_rights_has_to_be_said(wave: Shell) -> None:
    assert wave("what").status == 3


@pytest.mark.parametrize("verb", ["why", "explain"])
def test_why_explains_what_a_request_would_be_answered(wave: Shell, verb: str) -> None:
    ran = wave.done(verb, "--subject", "bob", LIGHT)
    assert "home -> alice" in ran.out
    ran = wave(verb, "--subject", "carol", "admin@home/door")
    assert ran.status == 1
    assert "missing" in ran.out
    assert "could give it: home" in ran.out


def test_why_explains_a_proof(wave: Shell) -> None:
    ran = wave("why", "--subject", "carol", "--proof", "bob.proof", LIGHT, "--json")
    assert ran.status == 1
    assert (ran.json["allowed"], ran.json["code"]) == (False, "proof.wrong_subject")


def test_why_of_an_unknown_decision_is_not_found(wave: Shell) -> None:
    assert wave("why", "0" * 32).status == 1
    assert wave("why", "0" * 32, "1" * 32).status == 2


def test_status_shows_the_chain(wave: Shell) -> None:
    ran = wave.done("status")
    names = [line.split()[0] for line in ran.out.splitlines()]
    assert {"chain", "height", "age", "peers", "entities", "DoTs", "revocations"} <= set(names)
    found = wave.done("status", "--json").json
    assert (found["chain"], found["home"]) == ("embedded", str(wave.home))
    assert found["counts"]["entities"] >= 4
