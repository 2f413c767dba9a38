"""The systemd units that are printed, judged by systemd itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.device import device_install
from cli.session import Session
from cli.unit import program_files
from devices.units import Credential, Runtime, Service
from tests.world import made
from wave.codec import id_text
from wave.entities.keyring import write_public

HOME = id_text(made("home").id)
CONTROLLER = ["controller", "c0", "--rule", "mirror", "--on", f"switch={HOME}/s.switch/x", "--to", f"{HOME}/s.light/y"]
UNITS = {
    "light": ["light", "light0", "--namespace", HOME],
    "feed": ["feed", "sky", "--namespace", HOME, "--seed", "3", "--file", "/root/sky feed/cover"],
    "controller": CONTROLLER,
    "hardware": ["light", "lamp0", "--namespace", HOME, "--device", "/dev/gpiochip0"],
    "locked": [
        "light",
        "light0",
        "--namespace",
        HOME,
        "--passphrase-file",
        "p",
        "--router",
        "wss://r.example/v1/bus",
    ],
    "home": ["home", "/home/ann/home.toml"],
    "agent": ["agent", "--from", "/tmp/agent.ent"],
    "router": ["router", "--from", "/etc/wave/router.ent"],
}
RATING = re.compile(r"Overall exposure level for \S+: ([0-9.]+)")
WORST = 2.0


def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None and os.environ.get("WAVE_CI") != "1":
        pytest.skip("systemd-analyze is not installed")
    assert found is not None
    return found


def printed(*words: str) -> str:
    return said(*words)[0]


def said(*words: str) -> tuple[str, str]:
    """Return the unit that is printed, and what is said beside it."""
    with Session() as session:
        result = CliRunner().invoke(device_install, ["--systemd", *words], obj=session, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A printed unit, in a file of the name that stands on its first line."""
    text = printed(*UNITS[request.param])
    path = tmp_path / Path(text.partition("\n")[0]).name
    path.write_text(text)
    return path


def test_a_unit_is_rated_well_by_systemd(unit: Path) -> None:
    done = subprocess.run(
        [systemd_analyze(), "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    rating = RATING.search(done.stdout)
    assert rating is not None, done.stdout
    assert float(rating[1]) <= WORST, done.stdout


def test_a_unit_makes_sense_to_systemd(unit: Path) -> None:
    done = subprocess.run(
        [systemd_analyze(), "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_a_unit_is_told_its_secrets_in_no_argument() -> None:
    text = printed(*UNITS["locked"])
    assert "--from %d/entity --passphrase-file %d/passphrase" in text
    assert "LoadCredential=entity:/etc/wave/light0.ent\n" in text
    assert f"LoadCredential=passphrase:{Path.cwd()}/p\n" in text
    assert "--metrics %t/wave/light0/metrics.sock" in text


@pytest.mark.parametrize(
    ("files", "home", "bound"),
    [
        (["/usr/bin/wave", "/homestead/x"], "yes", []),
        (["/home/ann/.venv/bin/wave", "/home/ann/.venv"], "tmpfs", ["/home/ann/.venv"]),
        (["/root/w", "/tmp/own.py"], "tmpfs", ["/root/w", "/tmp/own.py"]),
        (["/var/tmp/a b%"], "yes", ['"/var/tmp/a b%%"']),
        (["/tmp/a:b"], "yes", ['"/tmp/a\\:b"']),
    ],
)
def test_what_would_be_hidden_is_bound_in(files: list[str], home: str, bound: list[str]) -> None:
    """Only that, each once, and the rest of people's homes stays hidden."""
    words = ("device", Runtime("m"), Credential("entity", Path("/home/e")))
    text = Service("x", "d", ("/usr/bin/wave",), words, files=tuple(map(Path, files))).text()
    assert f"ProtectHome={home}\n" in text
    assert re.findall("BindReadOnlyPaths=(.*)", text) == bound


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that knows a home and its neighbour's by name."""
    monkeypatch.setenv("WAVE_HOME", str(tmp_path / "state"))
    keys = tmp_path / "state" / "keys"
    keys.mkdir(parents=True, mode=0o700)
    for name in ("home", "other"):
        write_public(keys / f"{name}.pub", made(name).entity)
    return tmp_path


def test_names_are_printed_as_ids(kept: Path) -> None:
    """The unit has a WAVE_HOME of its own, in which they mean nothing."""
    assert f" --namespace {HOME} light " in printed("light", "light0", "--namespace", "home")
    told = printed("controller", "c", "--rule", "mirror", "--on", "switch=home/s.switch/x", "--to", "other/s.light/y")
    assert f" --on switch={HOME}/s.switch/x --rule mirror --to {id_text(made('other').id)}/s.light/y " in told


def test_a_homes_file_that_says_a_name_is_told_of(kept: Path) -> None:
    """Its own home's is only a label; another's is looked up where the unit knows nobody."""
    file = kept / "HOME.toml"
    plan = 'namespace = "home"\n[[controller]]\nname = "c"\nrule = "mirror"\n'
    file.write_text(f'{plan}from = {{switch = "home/a"}}\nto = "other/b"\n')
    _, told = said("home", str(file), "--from", "home.ent")
    assert f"{file} says other," in told
    assert f"write {id_text(made('other').id)} there" in told
    assert "says home" not in told


def test_what_the_unit_would_not_see_is_told_of_by_its_whole_path() -> None:
    text, told = said("feed", "sky", "--namespace", HOME, "--file", "/home/ann/x/../cover", "--from", "/tmp/x/../a.ent")
    assert " --file /home/ann/cover " in text
    assert "BindReadOnlyPaths=/home/ann\n" in text
    assert "LoadCredential=entity:/tmp/a.ent\n" in text
    assert "would not see /home/ann," in told
    assert "system-wide" in told
    assert "/tmp/a.ent is a temporary file" in told


def test_the_interpreter_is_bound_in_too() -> None:
    """It may stand in a home where the program that starts it does not."""
    files = program_files(("/usr/bin/wave",))
    assert {Path("/usr/bin/wave"), Path(sys.prefix), Path(sys.base_prefix)} <= set(files)
    assert Path(__file__).parents[2] in files


def test_what_systemd_would_expand_is_left_as_it_is() -> None:
    text = Service("x", "50% $HOME\nUser=root", ("/bin/w",), ("a b", "50%", "$X", 'say "hi"', "back\\slash")).text()
    assert 'ExecStart=/bin/w "a b" 50%% "$$X" "say \\"hi\\"" "back\\\\slash"\n' in text
    assert "Description=50%% $HOMEUser=root\n" in text


@pytest.mark.parametrize(
    "words", [["light", "light0"], ["laser", "light0", "--namespace", HOME], ["light"], ["controller", "c0"],
              ["light", "../x", "--namespace", HOME], ["light", "light0", "--namespace", HOME, "--from", "nobody"]],
)  # fmt: skip
def test_a_unit_that_could_not_run_is_not_printed(words: list[str]) -> None:
    with Session() as session:
        result = CliRunner().invoke(device_install, ["--systemd", *words], obj=session)
    assert result.exception is not None
    assert "[Service]" not in result.output
