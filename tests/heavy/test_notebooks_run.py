"""The notebooks, run whole: right with their solutions, and patient without."""

import asyncio
import os
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

from tests.test_notebooks import NAMES, NOTEBOOKS

STOPPING = 60.0  # seconds for a notebook to stop what it started


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


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[str]]:
    """What the checks of each notebook say, by its folder and name. All are run at once: they wait most of the time."""

    async def run_all() -> list[list[str]]:
        directories = [tmp_path_factory.mktemp("kernel") for _ in paths]
        return await asyncio.gather(*[run(path, at) for path, at in zip(paths.values(), directories, strict=True)])

    paths = {(folder, name): NOTEBOOKS / folder / f"{name}.ipynb" for folder in (".", "solutions") for name in NAMES}
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("WAVE_") and name != "WAVE_CI"]:
            patch.delenv(variable)
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        return dict(zip(paths, asyncio.run(run_all()), strict=True))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", NAMES)
def test_with_the_solutions_every_check_says_yes(name: str, said: dict[tuple[str, str], list[str]]) -> None:
    answers = said["solutions", name]
    assert len(answers) > 7
    assert [text for text in answers if not text.startswith("yes: ")] == []


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", NAMES)
def test_unfilled_every_check_says_not_yet(name: str, said: dict[tuple[str, str], list[str]]) -> None:
    """And no cell fails, although its reader has done nothing so far."""
    answers = said[".", name]
    assert len(answers) > 7
    assert [text for text in answers if not text.startswith("not yet: ")] == []
