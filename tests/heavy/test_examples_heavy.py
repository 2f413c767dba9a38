"""The examples that lean on larger libraries run, and print what they promise."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMISED = {
    "guarded_lithops.py": [
        r"sums\[1.0, 2.0\] = 3.0",
        r"sums\[1.0, 2.0, 99.0\]: refused \[message.wrong_purpose\] .*",
        r"secret\[1.0\]: refused \[dot.out_of_scope\] .*",
        r"sums\[1.0\]: refused \[message.wrong_sender\] .*",
        r"sums\[3.0\]: refused \[dot.revoked\] .*",
    ],
    "openlineage_events.py": [
        r"START: \[\] of \['play.csv'\], says (\S+)",
        r"COMPLETE: \['slope.json'\] of \['play.csv'\], says \1",
        r"refused \[message.wrong_sender\] .*",
        r"refused \[message.wrong_sender\] .*",
        r"not to be read with this proof: \[dot.out_of_scope\] .*",
        r"START: \[\] of \['play.csv'\], says \1",
        r"refused \[message.wrong_purpose\] the line is not the one that was signed",
        r"refused \[message.wrong_sender\] .*",
        r"refused \[message.wrong_purpose\] .*",
    ],
    "guarded_frame.py": [
        r"ann, by the column, reads",
        r" +action",
        *[rf"{row} +{action}" for row, action in enumerate((1, 0, 2, 2))],
        r"and not",
        *[
            rf"  {player}'s {column}: \[dot.out_of_scope\]"
            for player in ("ada", "max")
            for column in ("step", "ball_y")
        ],
        r"bob, by the player, reads",
        r" +step +ball_y +action",
        r"0 +1 +0.2 +1",
        r"1 +2 +0.3 +0",
        r"and not",
        *[rf"  max's {column}: \[dot.out_of_scope\]" for column in ("step", "ball_y", "action")],
        r"bob, with ann's proof, reads nothing: \[message.wrong_sender\] .*",
    ],
}


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", sorted(PROMISED))
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    """It says what it should, line by line, and leaves nothing in the directory that it was run from."""
    work, home, temporary = tmp_path / "work", tmp_path / "home", tmp_path / "t"
    for folder in (work, home, temporary):
        folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WAVE_", "LITHOPS"))}
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name)],
        cwd=work,
        env={**environment, "HOME": str(home), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=140)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers of one that hangs
    assert process.returncode == 0, err
    assert re.fullmatch("".join(f"{line}\n" for line in PROMISED[name]), out), out
    assert list(work.iterdir()) == []
