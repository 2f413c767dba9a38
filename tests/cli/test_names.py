"""alias, name and resolve, and everything that stands for an entity."""

import pytest

from tests.cli.conftest import Shell, identity


def test_ids_files_local_names_and_aliases_mean_the_same(wave: Shell) -> None:
    home = identity(wave, "home")
    for text in ("home", "home.ent", "./home.ent", str(wave.directory / "home.ent"), "the-house", home):
        assert identity(wave, text) == home


def test_resolve_as_json_says_how_the_name_was_found(wave: Shell) -> None:
    assert wave.done("resolve", "the-house", "--json").json["by"] == "alias"
    assert wave.done("resolve", "home", "--json").json == {
        "name": "home",
        "id": identity(wave, "home"),
        "by": "local name",
        "record_known": True,
    }


def test_a_name_that_nobody_has_lists_what_is_near(wave: Shell) -> None:
    ran = wave("resolve", "alicia")
    assert ran.status == 1
    assert "did you mean alice" in ran.err
    ran = wave("prove", "--subject", "alicia.ent", "list@home/x")
    assert ran.status == 1
    assert "there is no file alicia.ent" in ran.err
    assert "did you mean alice.ent" in ran.err


def test_a_name_that_nothing_is_like_lists_what_there_is(wave: Shell) -> None:
    assert "there are alice" in wave("resolve", "zzzzzz").err


def test_an_alias_is_first_come_first_served(wave: Shell) -> None:
    ran = wave.done("mkalias", "porch", "alice")
    assert "porch means" in ran.out
    again = wave("alias", "porch", "bob")
    assert again.status == 1
    assert "belongs to" in again.err
    assert identity(wave, "porch") == identity(wave, "alice")


@pytest.mark.parametrize("label", ["Porch", "-porch", "a b", "x" * 33, ""])
def test_a_label_that_is_none_is_bad_input(wave: Shell, label: str) -> None:
    assert wave("alias", "--", label, "bob").status == 3


def test_a_signed_name_is_resolved_through_its_giver(wave: Shell) -> None:
    wave.done("name", "--from", "home.ent", "lamp", "bob")
    assert identity(wave, "lamp.the-house") == identity(wave, "bob")


def test_the_giver_of_a_signed_name_may_be_a_local_name(wave: Shell) -> None:
    wave.done("name", "--from", "home.ent", "lamp", "bob")
    assert identity(wave, "lamp.home") == identity(wave, "bob")
    assert identity(wave, f"lamp.{identity(wave, 'home')}") == identity(wave, "bob")


def test_a_name_whose_signer_is_not_published_is_kept_and_that_is_said(wave: Shell) -> None:
    ran = wave.done("name", "--from", "carol.ent", "pal", "bob")
    assert "nobody else could check it" in ran.err
    assert wave.done("inspect", ran.line, "--json").json["state"] == "valid"


def test_a_signed_name_that_its_giver_took_back_is_refused(wave: Shell) -> None:
    declared = wave.done("name", "--from", "home.ent", "gone", "bob").line
    assert wave.done("inspect", declared, "--json").json["label"] == "gone"
    wave.done("revoke", "--from", "home.ent", "--name", declared)
    ran = wave("resolve", "gone.the-house")
    assert ran.status == 1
    assert "took back the name 'gone'" in ran.err


def test_a_name_for_oneself_is_not_published(wave: Shell) -> None:
    ran = wave.done("name", "--from", "home.ent", "--no-publish", "mine", "alice", "--json")
    assert ran.json["published"] is False
    assert identity(wave, "mine.the-house") == identity(wave, "alice")


def test_an_empty_name_is_bad_input(wave: Shell) -> None:
    assert wave("resolve", "").status == 3
