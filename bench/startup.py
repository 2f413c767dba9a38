"""How long whole processes take: ``wave --help``, and ``wave verify FILE …`` on a state directory of its own."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.figure import Figure, median_seconds

WAVE = Path(__file__).parent.parent / ".venv" / "bin" / "wave"
RUNS = 15
HELP_BOUND = 0.2  # seconds
VERIFY_BOUND = 0.4
ASKED = "publish@./home.ent/light/0"
PREPARATION = (
    "mkentity -o home.ent --no-passphrase",
    "mkentity -o bob.ent --no-passphrase",
    "grant --from home.ent --to bob.ent publish@./home.ent/light/*",
    f"prove --subject bob.ent -o bob.proof {ASKED}",
)


def figures() -> Iterator[Figure]:
    """Yield the median of each command, or say that it cannot be run yet."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("WAVE_")}
        environment["WAVE_HOME"] = str(Path(folder) / "state")

        def run(line: str) -> None:
            command = [str(WAVE), *line.split()]
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=60)

        yield _measured("wave --help", HELP_BOUND, run, (), "--help")
        yield _measured(
            "wave verify FILE", VERIFY_BOUND, run, PREPARATION, f"verify bob.proof --subject bob.ent {ASKED}"
        )


def _measured(name: str, bound: float, run: Callable[[str], None], before: tuple[str, ...], line: str) -> Figure:
    try:
        for step in (*before, line):
            run(step)
    except FileNotFoundError:
        return Figure(name, None, "s", bound, f"there is no {WAVE.name} in .venv yet: make setup")
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode().strip().splitlines() or ["without a word"]
        return Figure(name, None, "s", bound, f"'wave {error.cmd[1]}' failed: {said[0]}")
    return Figure(name, median_seconds([lambda: run(line)] * RUNS), "s", bound, f"{RUNS} processes")
