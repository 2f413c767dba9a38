"""Every example runs, from any directory, and prints what it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISED = {"library.py": ["the cellar: yes, over 2 DoTs", "[dot.out_of_scope]", "[dot.revoked]"]}


def test_every_example_is_known_here() -> None:
    """A new example gets its line in this test."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PROMISED)


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    """It ends well and says what it should."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
    assert all(text in ran.stdout for text in PROMISED[name]), ran.stdout
