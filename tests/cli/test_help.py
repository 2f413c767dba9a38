"""Help, aliases, completion, usage errors, and what a start loads."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from cli.main import ALIASES, SECTIONS, VERBS, wave
from tests.cli.conftest import Shell

ROOT = Path(__file__).parents[2]
HERE = [name for name, verb in VERBS.items() if find_spec(verb.module)]
SLOW = ("msgspec", "msgpack", "nacl", "aiohttp", "web3", "eth", "asyncio", "cryptography", "http.client")


def test_the_help_lists_every_verb_and_no_alias(fresh: Shell) -> None:
    ran = fresh.done("--help")
    listed = [line.split()[0] for line in ran.out.splitlines() if line.startswith("  ") and line.split()]
    assert set(VERBS) <= set(listed)
    assert not set(ALIASES) & set(listed)
    assert all(f"{title}:" in ran.out for title in SECTIONS)


def test_without_a_verb_the_help_is_shown_as_a_usage_error(fresh: Shell) -> None:
    ran = fresh()
    assert ran.status == 2
    assert "mkentity" in ran.out


def test_the_version_is_shown(fresh: Shell) -> None:
    from wave import __version__

    assert fresh.done("--version").line == f"wave {__version__}"


@pytest.mark.parametrize("name", HERE)
def test_every_verb_has_help(fresh: Shell, name: str) -> None:
    ran = fresh.done(name, "--help")
    assert ran.out.startswith(f"Usage: wave {name}")
    for alias in VERBS[name].aliases:
        assert f"also: {', '.join(VERBS[name].aliases)}" in ran.out
        assert alias in ran.out


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_same_command(alias: str, name: str) -> None:
    context = click.Context(wave)
    assert wave.get_command(context, alias) is wave.get_command(context, name)


@pytest.mark.parametrize("name", [name for name in HERE if VERBS[name].module != "cli.home" and name != "demo"])
def test_every_verb_that_answers_takes_json(name: str) -> None:
    command = wave.get_command(click.Context(wave), name)
    assert command is not None
    if not isinstance(command, click.Group) and name != "completion":
        assert "--json" in [option for parameter in command.params for option in parameter.opts]


def test_a_verb_that_does_not_exist_is_a_usage_error_that_names_its_neighbours(fresh: Shell) -> None:
    ran = fresh("grnt")
    assert (ran.status, ran.out) == (2, "")
    assert "there is no verb 'grnt'; did you mean grant" in ran.err


def test_a_wrong_option_is_a_usage_error_that_names_the_help(fresh: Shell) -> None:
    ran = fresh("grant", "--frm", "x")
    assert ran.status == 2
    assert ran.err.splitlines() == [
        "wave: error: No such option '--frm'. Did you mean '--from'?",
        "wave: hint: see 'wave grant --help'",
    ]


def test_a_usage_error_with_json_is_one_document(fresh: Shell) -> None:
    ran = fresh("verify", "--json")
    assert (ran.status, ran.err) == (2, "")
    assert ran.json["code"] == "usage"


def test_control_characters_in_a_usage_error_are_escaped(fresh: Shell) -> None:
    ran = fresh("\x1b[31mgrant")
    assert "\x1b" not in ran.err
    assert "x1b[31mgrant" in ran.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(fresh: Shell, shell: str) -> None:
    assert "_WAVE_COMPLETE" in fresh.done("completion", shell).out


def complete(shell: Shell, words: str, **environment: str) -> list[str]:
    ran = shell(
        _WAVE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1), **environment
    )
    return [line for line in ran.out.splitlines() if line]


def test_verbs_are_completed_without_their_aliases(fresh: Shell) -> None:
    assert complete(fresh, "wave re") == ["plain,revoke", "plain,resolve"]
    assert complete(fresh, "wave rtg") == []


def test_options_and_choices_are_completed(fresh: Shell) -> None:
    assert complete(fresh, "wave grant --ind") == ["plain,--indirections"]
    assert complete(fresh, "wave graph --format s") == ["plain,svg"]


def test_entities_are_completed_by_their_local_names(wave: Shell) -> None:
    assert complete(wave, "wave prove --subject al") == ["plain,alice"]
    assert complete(wave, "wave prove --subject ./x") == ["file,./x"]
    assert complete(wave, "wave prove -o x") == ["file,x"]


@pytest.mark.parametrize("arguments", [["--help"], ["grant", "--help"], ["nothing"]])
def test_help_loads_click_and_little_else(arguments: list[str]) -> None:
    code = f"import sys; from cli.main import main; main({arguments!r}); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(ran.stdout.splitlines()[-1].split()).isdisjoint(SLOW)


def test_an_id_that_begins_with_a_dash_is_an_argument(fresh: Shell) -> None:
    ran = fresh("inspect", "--json", f"-{'h' * 41}A")
    assert (ran.status, ran.json["status"]) == (1, 404)
    assert fresh("inspect", "-hA").status == 2


def test_an_id_that_begins_with_a_dash_is_an_options_value(wave: Shell) -> None:
    ran = wave("revoke", "--from", "home.ent", "--dot", f"-{'h' * 41}A", "--json")
    assert (ran.status, ran.json["status"]) == (1, 404)
