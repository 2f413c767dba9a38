"""grant, prove, verify and revoke: the way from a key to a no."""

from pathlib import Path

import pytest

from tests.cli.conftest import Shell, identity
from wave.codec import parse_id
from wave.dots.dot import Dot
from wave.dots.proof import Proof
from wave.entities.entity import EVERYBODY
from wave.entities.object import from_text

LIGHT = "publish@home/light/light0"


def dot_in(path: Path) -> Dot:
    return Dot.from_object(from_text(path.read_text()))


# grant -------------------------------------------------------------------------------------------------------------


def test_grant_prints_the_id_of_the_dot_that_it_wrote(wave: Shell) -> None:
    ran = wave.done("grant", "--from", "home.ent", "--to", "bob", "-o", "x.dot", "list,query@home/a", "admin@home/b/*")
    dot = dot_in(wave.directory / "x.dot")
    assert (parse_id(ran.line), ran.err) == (dot.id, "")
    assert [(right.permissions, right.pattern) for right in dot.grants] == [
        (("list", "query"), "a"),
        (("admin",), "b/*"),
    ]
    assert (dot.indirections, dot.expires - dot.created) == (0, 30 * 86_400)
    assert wave.done("inspect", ran.line, "--json").json["height"] is not None


@pytest.mark.parametrize("verb", ["mkdot", "rtgrant"])
def test_the_older_spellings_of_grant_work(wave: Shell, verb: str) -> None:
    wave.done(verb, "--from", "home.ent", "--to", "bob", "--ttl", "2", "-o", "x.dot", "list@home/a")
    assert dot_in(wave.directory / "x.dot").indirections == 2


def test_who_signs_is_the_default_entity(wave: Shell) -> None:
    assert wave("grant", "--to", "bob", "list@home/a").status == 3
    wave.done("grant", "--to", "bob", "list@home/a", WAVE_ENTITY="home.ent")


def test_conditions_hold_for_all_grants(wave: Shell) -> None:
    conditions = ("--when", "mon-fri 08:00-22:00 Europe/Berlin", "--where", "set_point 66..74", "--rate", "10/60s")
    wave.done("grant", "--from", "home.ent", "--to", "bob", *conditions, "-o", "x.dot", "list@home/a", "query@home/b")
    first, second = dot_in(wave.directory / "x.dot").grants
    assert [str(condition) for condition in first.conditions] == [
        "when mon-fri 08:00-22:00 Europe/Berlin",
        "where set_point 66..74",
        "rate 10/60s",
    ]
    assert first.conditions == second.conditions


def test_everybody_can_be_a_receiver(wave: Shell) -> None:
    wave.done("grant", "--from", "home.ent", "--to", "everybody", "-o", "x.dot", "list@home/open")
    assert dot_in(wave.directory / "x.dot").receiver == EVERYBODY
    assert "everybody" in wave.done("who", "list@home/open").out
    wave.done("prove", "--subject", "carol", "-o", "x.proof", "list@home/open")


def test_a_permission_set_of_ones_own(wave: Shell) -> None:
    wave.done("grant", "--from", "home.ent", "--to", "bob", "alice.ent:brew@home/kitchen")
    wave.done("prove", "--subject", "bob", "-o", "x.proof", "alice:brew@home/kitchen")
    wave.done("verify", "x.proof", f"{identity(wave, 'alice')}:brew@home/kitchen")
    assert wave("verify", "x.proof", "bob:brew@home/kitchen").status == 1
    assert "alice:brew@home/kitchen" in wave.done("what", "--subject", "bob").out


def test_a_namespace_may_be_named_by_its_file(wave: Shell) -> None:
    wave.done("verify", "bob.proof", "publish@home.ent/light/light0", f"publish@{wave.directory}/home.ent/light/light0")


def test_giving_more_than_one_holds_warns_and_goes_on(wave: Shell) -> None:
    ran = wave.done("grant", "--from", "alice.ent", "--to", "carol", "publish@home/door", "--no-publish")
    assert "wave: warning: the giver does not hold publish on door itself" in ran.err
    assert "wave: hint: ask home" in ran.err
    assert parse_id(ran.line) is not None


def test_giving_without_a_hop_to_spare_warns(wave: Shell) -> None:
    ran = wave.done("grant", "--from", "bob.ent", "--to", "carol", LIGHT, "--no-publish")
    assert "may use publish on light/light0 and not hand it on" in ran.err
    assert "more indirections" in ran.err


def test_promising_more_hops_than_one_has_warns(wave: Shell) -> None:
    ran = wave.done("grant", "--from", "alice.ent", "--to", "bob", "--indirections", "3", LIGHT, "--json")
    (warning,) = ran.json["warnings"]
    assert "of the 3 further hops for publish on light/light0, the giver's own right leaves 0" in warning["detail"]


def test_a_namespace_that_is_no_more_warns(wave: Shell) -> None:
    wave.done("mkentity", "-o", "short.ent", "--no-passphrase")
    wave.done("revoke", "--from", "short.ent", "--entity")
    ran = wave.done("grant", "--from", "short.ent", "--to", "bob", "list@short/x")
    assert "was revoked in block" in ran.err


def test_giving_what_one_holds_does_not_warn(wave: Shell) -> None:
    assert wave.done("grant", "--from", "alice.ent", "--to", "carol", "publish@home/light/x").err == ""


def test_an_unpublished_dot_is_kept_here(wave: Shell) -> None:
    ran = wave.done("grant", "--from", "home.ent", "--to", "bob", "--no-publish", "list@home/private")
    assert wave.done("inspect", ran.line, "--json").json["height"] is None
    wave.done("prove", "--subject", "bob", "list@home/private")


def test_the_dot_of_a_giver_that_is_not_published_is_kept_and_that_is_said(wave: Shell) -> None:
    ran = wave.done("grant", "--from", "carol.ent", "--to", "bob", "list@carol/x")
    assert "kept here and not published" in ran.err
    wave.done("prove", "--subject", "bob", "list@carol/x")
    ran = wave("grant", "--from", "carol.ent", "--to", "bob", "--publish", "list@carol/x")
    assert (ran.status, ran.out) == (1, "")
    assert "--publish-again" in ran.err


def test_on_a_chain_of_others_a_grant_is_not_published_unless_asked(
    wave: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msgspec.structs import replace

    from wave.agent.engine import Engine
    from wave.agent.wire import StatusReply

    real = Engine.call

    def elsewhere(engine: Engine, call: object) -> object:
        reply: object = real(engine, call)  # type: ignore[arg-type]
        return replace(reply, own=False) if isinstance(reply, StatusReply) else reply

    monkeypatch.setattr(Engine, "call", elsewhere)
    grant = ("grant", "--from", "home.ent", "--to", "bob", "--json")
    assert wave.done(*grant, "list@home/far").json["published"] is False
    assert wave.done(*grant, "--publish", "list@home/far").json["published"] is True


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["list@home"], "names no resource"),
        (["list"], "is not a grant"),
        (["fly@home/x"], "built-in set"),
        (["list@home/a//b"], "is not a pattern"),
        (["list@home/*/b/*"], "more than one '*'"),
        (["list@home/a", "list@alice/a"], "2 namespaces"),
        (["--when", "sunday", "list@home/a"], "time zone"),
        (["--where", "x", "list@home/a"], "not a bound"),
        (["--rate", "often", "list@home/a"], "not a rate"),
        (["--expires", "0d", "list@home/a"], "is not a"),
    ],
)
def test_a_grant_that_cannot_be_read_is_bad_input_and_signs_nothing(
    wave: Shell, arguments: list[str], word: str
) -> None:
    ran = wave("grant", "--from", "home.ent", "--to", "bob", "-o", "x.dot", *arguments)
    assert (ran.status, ran.out) == (3, "")
    assert word in ran.err
    assert "x.dot" not in wave.files()


def test_only_a_secret_can_sign(wave: Shell) -> None:
    ran = wave("grant", "--from", "alice", "--to", "bob", "list@home/a")
    assert ran.status == 1
    assert "only the public part" in ran.err
    assert "--from alice.ent" in ran.err


def test_a_secret_that_others_can_read_is_refused(wave: Shell) -> None:
    (wave.directory / "home.ent").chmod(0o644)
    ran = wave("grant", "--from", "home.ent", "--to", "bob", "list@home/a")
    assert ran.status == 3
    assert "chmod 600 home.ent" in ran.err


def test_a_grant_never_overwrites_a_key(wave: Shell) -> None:
    before = (wave.directory / "alice.ent").read_bytes()
    ran = wave("grant", "--from", "home.ent", "--to", "bob", "-o", "alice.ent", "list@home/a")
    assert ran.status == 3
    assert (wave.directory / "alice.ent").read_bytes() == before


# prove and verify --------------------------------------------------------------------------------------------------


def test_prove_writes_armour_to_stdout_and_tells_the_path_on_stderr(wave: Shell) -> None:
    ran = wave.done("prove", "--subject", "bob", LIGHT)
    (path,) = Proof.from_text(ran.out).paths
    assert len(path) == 2
    assert "wave: home -> alice -> bob" in ran.err


def test_prove_with_o_tells_the_path_on_stdout(wave: Shell) -> None:
    ran = wave.done("bc", "--subject", "bob", "-o", "new.proof", LIGHT)
    assert ran.out.startswith("home -> alice -> bob\n")
    assert Proof.from_text((wave.directory / "new.proof").read_text()).paths


def test_prove_replaces_an_older_proof_and_nothing_else(wave: Shell) -> None:
    wave.done("prove", "--subject", "bob", "-o", "bob.proof", LIGHT)
    assert wave("prove", "--subject", "bob", "-o", "bob.ent", LIGHT).status == 3
    assert wave("prove", "--subject", "bob", "-o", "secret.txt", LIGHT).status == 3


@pytest.mark.parametrize("verb", ["buildchain", "bc", "rtprove"])
def test_the_older_spellings_of_prove_work(wave: Shell, verb: str) -> None:
    assert "proof" in wave.done(verb, "--subject", "bob", LIGHT, "--json").json


def test_what_cannot_be_proved_is_refused_with_a_decision_to_look_up(wave: Shell) -> None:
    ran = wave("prove", "--subject", "carol", "-o", "x.proof", "admin@home/door")
    assert (ran.status, ran.out) == (1, "")
    error, hint, decision = ran.err.splitlines()
    assert error.startswith("wave: error: ")
    assert "carol" in error
    assert hint.startswith("wave: hint: ask home")
    assert "x.proof" not in wave.files()
    assert "carol" in wave.done("why", decision.removeprefix("wave: decision: ")).out


def test_a_refusal_with_json_is_the_problem_on_stdout(wave: Shell) -> None:
    ran = wave("prove", "--subject", "carol", "admin@home/door", "--json")
    assert (ran.status, ran.err) == (1, "")
    assert ran.json["code"] == "proof.none"
    assert ran.json["status"] == 403
    assert len(ran.json["decision"]) == 32


def test_a_dot_that_came_by_hand_is_taken_in(wave: Shell, fresh: Shell) -> None:
    from wave.entities.keyring import read_entity, write_public

    for name in ("home", "bob"):
        write_public(fresh.directory / f"{name}.pub", read_entity(wave.directory / f"{name}.ent"))
    wave.done("grant", "--from", "home.ent", "--to", "bob", "--no-publish", "-o", "hand.dot", "list@home/byhand")
    (fresh.directory / "hand.dot").write_bytes((wave.directory / "hand.dot").read_bytes())
    assert fresh("prove", "--subject", "bob.pub", "list@home.pub/byhand").status == 1
    fresh.done("prove", "--subject", "bob.pub", "--dot", "hand.dot", "-o", "x.proof", "list@home.pub/byhand")
    fresh.done("verify", "x.proof", "list@home.pub/byhand")


def test_verify_says_yes_with_status_0(wave: Shell) -> None:
    ran = wave.done("verify", "bob.proof", LIGHT)
    assert ran.out.startswith(f"yes: bob may {LIGHT}\n")
    assert wave.done("verify", "bob.proof", "--subject", "bob", LIGHT, "--json").json["height"] > 0


def test_verify_reads_standard_input(wave: Shell) -> None:
    assert wave("verify", "-", LIGHT, stdin=(wave.directory / "bob.proof").read_text()).status == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["bob.proof", "publish@home/light/light1"], "does not give publish on light/light1"),
        (["bob.proof", "subscribe@home/light/light0"], "does not give"),
        (["bob.proof", "--subject", "carol", LIGHT], "the path ends at bob"),
        (["bob.proof", "publish@alice/light/light0"], "another namespace"),
        (["bob.proof", "--at", "2036-01-01", LIGHT], "expired"),
        (["bob.proof", "--at", "2020-01-01", LIGHT], "holds from"),
    ],
)
def test_verify_says_no_with_status_1(wave: Shell, arguments: list[str], word: str) -> None:
    ran = wave("verify", *arguments)
    assert (ran.status, ran.out) == (1, "")
    assert word in ran.err
    assert "wave: decision: " in ran.err


def test_what_could_not_be_checked_is_status_4(wave: Shell) -> None:
    ran = wave("verify", "bob.proof", "--at-least", "1000000", LIGHT)
    assert (ran.status, ran.out) == (4, "")
    assert "block 1000000 is asked for" in ran.err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["bob.dot", LIGHT], 3),
        (["secret.txt", LIGHT], 3),
        (["missing.proof", LIGHT], 1),
        (["bob.proof", "--at", "later", LIGHT], 3),
        (["bob.proof", "--value", "x", LIGHT], 3),
        (["bob.proof"], 2),
        ([], 2),
    ],
)
def test_verify_tells_bad_input_from_a_no(wave: Shell, arguments: list[str], status: int) -> None:
    ran = wave("verify", *arguments)
    assert (ran.status, ran.out) == (status, "")


def test_values_are_what_conditions_ask_about(wave: Shell) -> None:
    wave.done("grant", "--from", "home.ent", "--to", "bob", "--where", "set_point 66..74.5", "publish@home/heat")
    wave.done("prove", "--subject", "bob", "-o", "heat.proof", "publish@home/heat")
    verify = ("verify", "heat.proof", "publish@home/heat")
    assert wave(*verify, "--value", "set_point=70").status == 0
    assert wave(*verify, "--value", "set_point=74.5").status == 0
    assert wave(*verify, "--value", "set_point=75").status == 1
    assert wave(*verify).status == 1


def test_an_agent_that_is_named_and_does_not_run_is_status_4(wave: Shell) -> None:
    ran = wave("verify", "bob.proof", LIGHT, WAVE_AGENT="/nonexistent/agent.sock")
    assert ran.status == 4
    assert "wave agent run" in ran.err


# revoke ------------------------------------------------------------------------------------------------------------


def test_a_revoked_dot_refuses_the_proof_that_was_saved_before(wave: Shell) -> None:
    wave.done("grant", "--from", "home.ent", "--to", "bob", "-o", "x.dot", "query@home/x")
    wave.done("prove", "--subject", "bob", "-o", "x.proof", "query@home/x")
    height = wave.done("revoke", "--from", "home.ent", "--dot", "x.dot", "--json").json["height"]
    ran = wave("verify", "x.proof", "--at-least", str(height), "query@home/x")
    assert ran.status == 1
    assert f"was revoked in block {height}" in ran.err
    assert wave("prove", "--subject", "bob", "query@home/x").status == 1


def test_a_dot_is_revoked_by_its_id_too(wave: Shell) -> None:
    dot = wave.done("grant", "--from", "home.ent", "--to", "bob", "query@home/y").line
    assert f"DoT {dot} is revoked" in wave.done("revoke", "--from", "home.ent", "--dot", dot).out


def test_an_entity_is_revoked_with_everything_that_it_gave(wave: Shell) -> None:
    wave.done("mkentity", "-o", "eve.ent", "--no-passphrase")
    wave.done("grant", "--from", "home.ent", "--to", "eve", "--indirections", "1", "query@home/z")
    wave.done("grant", "--from", "eve.ent", "--to", "bob", "query@home/z")
    wave.done("prove", "--subject", "bob", "-o", "z.proof", "query@home/z")
    assert "entity" in wave.done("revoke", "--from", "eve.ent", "--entity").out
    ran = wave("verify", "z.proof", "query@home/z")
    assert ran.status == 1
    assert "entity eve" in ran.err
    assert wave.done("inspect", "eve", "--json").json["state"] == "revoked"


@pytest.mark.parametrize("what", [["--dot", "bob.dot"], ["--entity", "alice"]])
def test_who_made_no_commitment_cannot_revoke_and_is_told_who_can(wave: Shell, what: list[str]) -> None:
    ran = wave("revoke", "--from", "bob.ent", *what)
    assert ran.status == 1
    assert "bob cannot take this" in ran.err
    assert f"its signer can: alice ({identity(wave, 'alice')})" in ran.err


def test_revoke_wants_one_thing(wave: Shell) -> None:
    assert wave("revoke", "--from", "bob.ent").status == 2
    assert wave("revoke", "--from", "bob.ent", "--dot", "bob.dot", "--name", "x").status == 2


def test_a_proof_where_a_dot_is_wanted_says_how_to_look_into_it(wave: Shell) -> None:
    ran = wave("revoke", "--from", "home.ent", "--dot", "bob.proof")
    assert ran.status == 3
    assert "wave inspect bob.proof" in ran.err
    assert "wave prove -o" in wave("verify", "bob.dot", "publish@home/light/light0").err


def test_a_passphrase_file_that_is_not_there_is_not_taken_for_an_entity(wave: Shell) -> None:
    ran = wave("grant", "--from", "locked.ent", "--passphrase-file", "nope", "--to", "bob", "list@locked/x")
    assert ran.status == 3
    assert "first line" in ran.err
    assert "home.ent" not in ran.err
