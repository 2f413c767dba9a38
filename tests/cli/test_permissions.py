"""``wave test``: files that say who may do what are held to the DoTs beside them, offline."""

from pathlib import Path

import pytest

from tests.cli.conftest import Shell, make_shell

SUITE = """\
dots = ["*.dot"]
{more}
[entities]
home = "home.ent"
alice = "alice.ent"
bob = "bob.ent"
carol = "carol.ent"
[[test]]
name = "bob has one light"
subject = "bob"
may = ["publish@home/light/light0"]
may_not = ["publish@home/light/light1", "subscribe@home/light/light0"]
[[test]]
subject = "home"
may = ["admin@home/everything"]
[[test]]
subject = "carol"
{carol}
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A home of its own, with the DoTs from the house to alice and bob, and one with bounds for carol."""
    shell = make_shell(tmp_path_factory.mktemp("permissions"))
    for name in ("home", "alice", "bob", "carol"):
        shell.done("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    light, heat = "publish@home/light", "publish@home/heat"
    shell.done("grant", "--from", "home.ent", "--to", "alice", "--indirections", "1", f"{light}/*", "-o", "alice.dot")
    shell.done("grant", "--from", "alice.ent", "--to", "bob", f"{light}/light0", "-o", "bob.dot")
    shell.done("grant", "--from", "home.ent", "--to", "carol", "--where", "set_point 66..74", heat, "-o", "carol.dot")
    return shell


@pytest.fixture
def folder(given: Shell, tmp_path: Path) -> Shell:
    """A folder with those files."""
    for path in given.directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / path.name).chmod(path.stat().st_mode & 0o777)
    return Shell(tmp_path, given.home)


def write(shell: Shell, more: str = "", carol: str = 'may_not = ["publish@home/light/light0"]') -> None:
    (shell.directory / "permissions.toml").write_text(SUITE.format(more=more, carol=carol))


def test_permissions_that_hold_pass_without_an_agent(folder: Shell) -> None:
    write(folder)
    ran = folder.done("test", "permissions.toml", WAVE_HOME="/nonexistent", WAVE_AGENT="/nonexistent")
    assert len(ran.out.splitlines()) == 5
    assert "5 of 5 hold" in ran.err


def test_a_permission_that_does_not_hold_fails_and_says_why(folder: Shell) -> None:
    write(folder, carol='may = ["publish@home/light/light0"]')
    ran = folder("test", "permissions.toml")
    assert ran.status == 1
    assert "FAILED  test 3: carol may publish@home/light/light0" in ran.out
    assert "missing: a path from home to carol" in ran.out.replace("  ", " ")
    assert "4 of 5 hold" in ran.err
    told = folder("test", "permissions.toml", "--json").json
    assert (told["failed"], told["tests"][-1]["code"]) == (1, "proof.none")


def test_a_right_that_should_not_be_there_fails(folder: Shell) -> None:
    write(folder, carol='values = { set_point = 70 }\nmay_not = ["publish@home/heat"]')
    assert folder("test", "permissions.toml", "--json").json["tests"][-1]["allowed"] is True


@pytest.mark.parametrize(
    ("values", "expected"), [("set_point = 70", "may"), ("set_point = 75.5", "may_not"), ("other = 1", "may_not")]
)
def test_values_are_held_to_bounds(folder: Shell, values: str, expected: str) -> None:
    write(folder, carol=f'values = {{ {values} }}\n{expected} = ["publish@home/heat"]')
    folder.done("test", "permissions.toml")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ('revoked = ["alice.dot"]', "proof.none"),
        ('revoked = ["alice"]', "proof.none"),
        ("at = 2099-01-01T00:00:00Z", "entity.expired"),
        ("at = 2020-01-01", "entity.not_yet_valid"),
    ],
)
def test_what_would_be_revoked_and_another_time_count(folder: Shell, more: str, code: str) -> None:
    write(folder, more)
    told = folder("test", "permissions.toml", "--json").json
    assert told["tests"][0]["allowed"] is False
    assert told["tests"][0]["code"] in (code, "proof.none")


@pytest.mark.parametrize(
    ("more", "carol"),
    [
        ("unknown = 1", ""),
        ("at = 5", ""),
        ("revoked = 5", ""),
        ('revoked = ["no*.dot"]', ""),
        ("= broken", ""),
        ("", "may = 5"),
        ("", 'may = ["fly@home/x"]'),
        ("", 'may = ["publish@nobody/x"]'),
        ("", 'may = ["publish@home/x"]\nvalues = { a = true }'),
        ("", 'might = ["publish@home/x"]'),
    ],
)
def test_a_file_that_cannot_be_understood_is_no_pass(folder: Shell, more: str, carol: str) -> None:
    write(folder, more, carol)
    ran = folder("test", "permissions.toml")
    assert ran.status in (1, 3), ran.out + ran.err
    assert "wave: error:" in ran.err


def test_a_dot_whose_signature_is_not_its_givers_is_refused(folder: Shell) -> None:
    write(folder)
    text = (folder.directory / "bob.dot").read_text().splitlines()
    middle = len(text[-2]) // 2
    text[-2] = text[-2][:middle] + ("A" if text[-2][middle] != "A" else "B") + text[-2][middle + 1 :]
    (folder.directory / "bob.dot").write_text("\n".join(text) + "\n")
    ran = folder("test", "permissions.toml", "--json")
    assert ran.status in (1, 3)
    assert ran.json["code"] in ("signature.bad", "object.malformed", "object.not_canonical")


def test_a_file_without_a_test_is_no_pass(folder: Shell) -> None:
    (folder.directory / "empty.toml").write_text("")
    assert folder("test", "empty.toml").status == 3
