"""The examples on Ray run, and print what they promise."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMISED = {
    "guarded_ray.py": [
        "alice's task: 3.0",
        "the same, altered: refused [message.wrong_purpose]",
        "another model: refused [dot.out_of_scope]",
        "bob, with her proof: refused [message.wrong_sender]",
        "alice's actor: 1.0",
        "the same ticket: refused [message.replayed]",
        "without a ticket: refused [http.not_signed]",
        "alice, revoked: refused [dot.revoked]",
    ],
    "guarded_serve.py": [
        "methods that a handle could call unguarded: []",
        "alice posts to sums: 200 3.0",
        "nobody posts to sums: 401 http.not_signed",
        "bob posts to sums: 403 message.wrong_sender",
        "alice posts to secret: 403 dot.out_of_scope",
        "alice's handle to sums: 7.0",
        "nobody's handle to sums: refused [http.not_signed]",
        "bob's handle to sums: refused [message.wrong_sender]",
        "alice's handle to secret: refused [dot.out_of_scope]",
    ],
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", sorted(PROMISED))
def test_an_example_on_ray_runs(name: str, tmp_path: Path) -> None:
    """Every line begins as promised, in this order, and nothing else is said."""
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == len(PROMISED[name]), ran.stdout
    assert all(line.startswith(begin) for line, begin in zip(lines, PROMISED[name], strict=True)), ran.stdout
