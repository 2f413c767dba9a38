"""Writes the notebooks from their sources: for each one with cells to fill in, and one with the solutions beside it.

A source is Markdown. Text becomes text; a fenced block becomes a cell: ``run`` and ``check`` in both, ``fill`` in the
first alone and ``solution`` in its place in the other.
"""

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).parent
SOURCES = HERE / "source"
SOLUTIONS = HERE / "solutions"
_BLOCK = re.compile(r"^```(run|fill|solution|check)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook(source: str, *, solved: bool) -> str:
    """Return the text of a notebook, with its solutions or with cells to fill in."""
    left_out = "fill" if solved else "solution"
    cells: list[NotebookNode] = []
    for kind, text in _pieces(source):
        if kind == left_out:
            continue
        cell = new_markdown_cell(text) if kind == "text" else new_code_cell(text, metadata={"tags": [kind]})
        cell["id"] = f"cell-{len(cells):02}"
        cells.append(cell)
    found = new_notebook(cells=cells, metadata={"kernelspec": _KERNEL, "language_info": {"name": "python"}})
    nbformat.validate(found)
    return str(nbformat.writes(found)) + "\n"


def _pieces(source: str) -> list[tuple[str, str]]:
    pieces: list[tuple[str, str]] = []
    end = 0
    for block in _BLOCK.finditer(source):
        pieces += [("text", source[end : block.start()].strip()), (block[1], block[2].strip("\n"))]
        end = block.end()
    pieces.append(("text", source[end:].strip()))
    return [piece for piece in pieces if piece[1]]


def written() -> dict[Path, str]:
    """Return the text of each notebook, by its path."""
    texts = {}
    for path in sorted(SOURCES.glob("*.md")):
        source = path.read_text("utf-8")
        texts[HERE / f"{path.stem}.ipynb"] = notebook(source, solved=False)
        texts[SOLUTIONS / f"{path.stem}.ipynb"] = notebook(source, solved=True)
    return texts


if __name__ == "__main__":
    SOLUTIONS.mkdir(exist_ok=True)
    for target, text in written().items():
        target.write_text(text, "utf-8")
