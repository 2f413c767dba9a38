"""The systemd units that are printed, judged by systemd itself."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.device import device_install
from cli.session import Session
from devices.units import Credential, Runtime, Service

CONTROLLER = ["controller", "c0", "--rule", "mirror", "--on", "switch=home/s.switch/x", "--to", "home/s.light/y"]
UNITS = {
    "light": ["light", "light0", "--namespace", "home"],
    "feed": ["feed", "sky", "--namespace", "home", "--seed", "3", "--file", "cover"],
    "controller": CONTROLLER,
    "hardware": ["light", "lamp0", "--namespace", "home", "--device", "/dev/gpiochip0"],
    "locked": [
        "light",
        "light0",
        "--namespace",
        "home",
        "--passphrase-file",
        "p",
        "--router",
        "wss://r.example/v1/bus",
    ],
    "home": ["home", "/etc/wave/home.toml"],
    "agent": ["agent"],
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
    with Session() as session:
        result = CliRunner().invoke(device_install, ["--systemd", *words], obj=session, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


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


def test_a_program_in_somebodys_home_can_be_read_there() -> None:
    words = ("device", Runtime("m"), Credential("entity", Path("/etc/e")))
    here = Service("x", "d", ("/usr/bin/wave",), words)
    there = Service("x", "d", ("/home/ann/.venv/bin/wave",), words)
    assert "ProtectHome=yes\n" in here.text()
    assert "ProtectHome=read-only\n" in there.text()


def test_what_systemd_would_expand_is_left_as_it_is() -> None:
    text = Service("x", "50% $HOME\nUser=root", ("/bin/w",), ("a b", "50%", "$X", 'say "hi"', "back\\slash")).text()
    assert 'ExecStart=/bin/w "a b" 50%% "$$X" "say \\"hi\\"" "back\\\\slash"\n' in text
    assert "Description=50%% $HOMEUser=root\n" in text


@pytest.mark.parametrize(
    "words", [["light", "light0"], ["laser", "light0", "--namespace", "home"], ["light"], ["controller", "c0"],
              ["light", "../x", "--namespace", "home"]],
)  # fmt: skip
def test_a_unit_that_could_not_run_is_not_printed(words: list[str]) -> None:
    with Session() as session:
        result = CliRunner().invoke(device_install, ["--systemd", *words], obj=session)
    assert result.exception is not None
    assert "[Service]" not in result.output
