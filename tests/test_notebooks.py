"""The notebooks: written from their sources, right with their solutions, and patient without."""

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

from cli.stage import wait_until

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
WAITING = ("01-home", "02-pair")
COMPUTING = ("03-pong",)  # run by tests/heavy/test_notebook_pong.py
STOPPING = 60.0  # seconds for a notebook to stop what it started


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", NOTEBOOKS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


async def run(path: Path, sockets: Path) -> list[str]:
    """Return what each check of a notebook prints when all its cells are run in order."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": path.parent}})
    manager = AsyncKernelManager(kernel_name="python3", transport="ipc", connection_file=str(sockets / "kernel.json"))
    manager.shutdown_wait_time = STOPPING
    client.km = manager
    await client.async_execute()
    return [
        "".join(output["text"] for output in cell.outputs if output.output_type == "stream")
        for cell in notebook.cells
        if "check" in cell.metadata.get("tags", ())
    ]


def answers(names: Iterable[str], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[str]]:
    """Return what the checks of each notebook say, by its folder and name; all are run at once."""

    async def run_all() -> list[list[str]]:
        directories = [tmp_path_factory.mktemp("kernel") for _ in paths]
        return await asyncio.gather(*[run(path, at) for path, at in zip(paths.values(), directories, strict=True)])

    paths = {(folder, name): NOTEBOOKS / folder / f"{name}.ipynb" for folder in (".", "solutions") for name in names}
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("WAVE_") and name != "WAVE_CI"]:
            patch.delenv(variable)
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        return dict(zip(paths, asyncio.run(run_all()), strict=True))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[str]]:
    """What the checks of those notebooks say that wait for the clock more than for the machine."""
    return answers(WAITING, tmp_path_factory)


def test_the_notebooks_are_what_the_sources_say() -> None:
    written = builder().written()
    assert sorted(written) == sorted([*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")])
    for path, text in written.items():
        assert path.read_text("utf-8") == text, f"run notebooks/build.py: {path.name}"


@pytest.mark.parametrize("name", [*WAITING, *COMPUTING])
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


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", WAITING)
def test_with_the_solutions_every_check_says_yes(name: str, said: dict[tuple[str, str], list[str]]) -> None:
    answers = said["solutions", name]
    assert len(answers) > 7
    assert [text for text in answers if not text.startswith("yes: ")] == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", WAITING)
def test_unfilled_every_check_says_not_yet(name: str, said: dict[tuple[str, str], list[str]]) -> None:
    """And no cell fails, although its reader has done nothing so far."""
    answers = said[".", name]
    assert len(answers) > 7
    assert [text for text in answers if not text.startswith("not yet: ")] == []


def test_the_camp_leaves_no_directory_behind_when_it_is_killed() -> None:
    """Jupyter kills a kernel that takes its time to end."""
    script = "import os, camp; print(camp.own_directory(), flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script], cwd=NOTEBOOKS, capture_output=True, text=True, check=False)
    directory = Path(done.stdout.strip())
    assert directory.name.startswith("wave-camp-"), done.stderr
    assert wait_until(lambda: not directory.exists(), 10.0)
