"""The notebooks: written from their sources. `make test-heavy` runs them (tests/heavy/test_notebooks_run.py)."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

from cli.stage import wait_until

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = ("01-home", "02-pair", "03-pong")


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", NOTEBOOKS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_notebooks_are_what_the_sources_say() -> None:
    written = builder().written()
    assert sorted(written) == sorted([*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")])
    for path, text in written.items():
        assert path.read_text("utf-8") == text, f"run notebooks/build.py: {path.name}"


@pytest.mark.parametrize("name", NAMES)
def test_each_cell_to_fill_in_has_a_solution_and_a_check(name: str) -> None:
    """A check comes before the next cell to fill in, and both kinds of notebook have the same ones."""
    tags = {
        folder: [
            tag
            for cell in nbformat.read(NOTEBOOKS / folder / f"{name}.ipynb", as_version=4).cells
            for tag in cell.metadata.get("tags", ())
            if tag != "run"
        ]
        for folder in (".", "solutions")
    }
    assert [tag.replace("fill", "solution") for tag in tags["."]] == tags["solutions"]
    assert tags["."].count("fill") > 5
    for tag, following in zip(tags["."], [*tags["."][1:], "end"], strict=True):
        assert following == "check" or tag == "check"


def test_the_camp_leaves_no_directory_behind_when_it_is_killed() -> None:
    """Jupyter kills a kernel that takes its time to end."""
    script = "import os, camp; print(camp.own_directory(), flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script], cwd=NOTEBOOKS, capture_output=True, text=True, check=False)
    directory = Path(done.stdout.strip())
    assert directory.name.startswith("wave-camp-"), done.stderr
    assert wait_until(lambda: not directory.exists(), 10.0)
