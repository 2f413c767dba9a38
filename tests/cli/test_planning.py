"""``wave plan``: who would gain or lose what, and nothing is signed or sent."""

from tests.cli.conftest import Shell, identity


def test_a_grant_is_planned_by_whoever_and_nothing_comes_of_it(wave: Shell) -> None:
    before = wave.done("what", "--subject", "locked", "--json").json
    ran = wave.done("plan", "grant", "--from", "home", "--to", "locked", "subscribe@home/heat/*")
    assert ran.out.startswith("locked gains subscribe@home/heat/* until ")
    assert wave.done("what", "--subject", "locked", "--json").json == before
    told = wave.done("plan", "grant", "--from", "home", "--to", "locked", "subscribe@home/heat/*", "--json").json
    (gain,) = told["gains"]
    assert (gain["id"], gain["right"]["pattern"], gain["instead"]) == (identity(wave, "locked"), "heat/*", [])


def test_what_somebody_has_already_is_no_gain_and_less_of_it_is_told(wave: Shell) -> None:
    ran = wave.done("plan", "grant", "--from", "home", "--to", "alice", "--expires", "1d", "publish@home/light/*")
    assert ran.out == ""
    assert "nobody gains anything" in ran.err
    ran = wave.done("plan", "grant", "--from", "home", "--to", "bob", "publish@home/light/*", "--where", "a 1..2")
    assert "bob gains publish@home/light/* until " in ran.out
    assert "    has already publish@home/light/light0 until " in ran.out


def test_who_holds_nothing_gives_nothing(wave: Shell) -> None:
    ran = wave.done("plan", "grant", "--from", "locked", "--to", "bob", "publish@home/door")
    assert "nobody gains anything" in ran.err


def test_a_revocation_is_planned_with_all_who_hang_on_it(wave: Shell) -> None:
    ran = wave.done("plan", "revoke", "--entity", "alice")
    assert "bob loses publish@home/light/light0" in ran.out
    assert "alice loses publish@home/light/*" in ran.out
    wave.done("mkentity", "-o", "erin.ent", "--no-passphrase")
    wave.done("grant", "--from", "alice.ent", "--to", "erin", "publish@home/light/light0", "-o", "erin.dot")
    ran = wave.done("plan", "revoke", "--dot", "erin.dot")
    assert [line.partition(" until")[0] for line in ran.out.splitlines()] == ["erin loses publish@home/light/light0"]
    assert len(wave.done("plan", "revoke", "--entity", "alice", "--json").json["losses"]) >= 3
    assert wave.done("verify", "--subject", "bob", "bob.proof", "publish@home/light/light0").status == 0


def test_a_plan_that_says_nothing_is_a_usage_error(wave: Shell) -> None:
    assert wave("plan", "revoke").status == 2
    assert wave("plan", "grant", "publish@home/x").status == 2
    assert wave("plan", "grant", "--from", "home", "--to", "nobody", "publish@home/x").status == 1
