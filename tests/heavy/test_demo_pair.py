"""``wave demo pair``, told by one for both people; tests/cli/test_demo.py has them in a terminal each."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_demo import WAVE

ROWS = 95  # at least


@pytest.mark.timeout(200)
def test_the_pair_comes_out_as_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [*WAVE, "demo", "pair", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    table = json.loads(done.stdout)
    assert [row for row in table["rows"] if row["expected"] != row["seen"]] == []
    assert len(table["rows"]) >= ROWS
    assert done.returncode == table["differences"] == 0
    assert list(tmp_path.iterdir()) == []
