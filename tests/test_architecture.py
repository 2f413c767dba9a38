"""Which module may import what: the part that import-linter, which knows no standard library, cannot check."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Everything up to the verdict; the keyring is where entities touch files.
PURE = ("wave/entities/", "wave/namespace/", "wave/dots/", "wave/codec.py", "wave/limits.py", "wave/errors.py")
WITH_FILES = {"wave/entities/keyring.py"}

CLOCK_FILES_NETWORK = {
    "aiohttp",
    "asyncio",
    "click",
    "fcntl",
    "glob",
    "http",
    "io",
    "multiprocessing",
    "os",
    "pathlib",
    "select",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "time",
    "urllib",
    "websockets",
}
READS_A_CLOCK = {"now", "utcnow", "today"}  # of datetime and date, which are fine otherwise

# One library, one importing module (or a few that belong together).
IMPORTERS = {
    "aiomqtt": ["wave/bus/mqtt_line.py", "devices/homeassistant/*.py"],
    "eth": ["wave/chain/node.py", "wave/chain/state*.py"],  # py-evm
    "eth_account": ["wave/chain/keystore.py", "wave/chain/payer.py"],
    "grpc": ["wave/guard/grpc.py"],
    "http_sf": ["wave/guard/signature.py"],
    "httpx": ["wave/guard/httpx.py"],
    "mlflow": ["devices/pong/runs.py"],
    "msgpack": ["wave/codec.py"],
    "msgspec": ["wave/codec.py", "wave/agent/wire.py"],
    "nacl": ["wave/entities/keys.py"],
    "paho": ["wave/bus/mqtt_line.py", "devices/homeassistant/*.py"],
    "platformdirs": ["devices/places.py"],
    "prometheus_client": ["devices/health.py", "devices/gateway/metrics.py"],
    "rlp": ["wave/chain/node.py", "wave/chain/records.py"],
    "segno": ["devices/page/pictures.py"],
    "trie": ["wave/chain/node.py"],
    "web3": ["wave/chain/functions.py"],
    "websockets": ["wave/chain/websocket.py"],
}


@cache
def modules() -> dict[str, ast.Module]:
    paths = [path for room in ("wave", "devices", "cli") for path in sorted((ROOT / room).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"), str(path)) for path in paths}


@cache
def imports() -> dict[str, set[str]]:
    return {name: {what for _, what in imported(tree)} for name, tree in modules().items()}


def pure() -> list[str]:
    """Return the names of pure modules; it is asked while tests are collected, when nothing is to be read yet."""
    paths = (path.relative_to(ROOT).as_posix() for path in (ROOT / "wave").rglob("*.py"))
    return [name for name in paths if name.startswith(PURE)]


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and top-level name of everything that the module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, (node.module or "").partition(".")[0]


def test_there_is_something_to_check() -> None:
    assert {"wave/errors.py", "wave/limits.py", "wave/entities/entity.py"} <= set(pure())


@pytest.mark.parametrize("name", sorted(set(pure()) - WITH_FILES))
def test_a_pure_module_imports_no_clock_files_or_network(name: str) -> None:
    assert [f"line {line}: {what}" for line, what in imported(modules()[name]) if what in CLOCK_FILES_NETWORK] == []


@pytest.mark.parametrize("name", sorted(set(pure()) - WITH_FILES))
def test_a_pure_module_reads_no_clock_and_opens_no_file(name: str) -> None:
    calls = [node.func for node in ast.walk(modules()[name]) if isinstance(node, ast.Call)]
    clocks = [f"line {f.lineno}: {f.attr}" for f in calls if isinstance(f, ast.Attribute) and f.attr in READS_A_CLOCK]
    files = [f"line {f.lineno}: open" for f in calls if isinstance(f, ast.Name) and f.id == "open"]
    assert clocks + files == []


@pytest.mark.parametrize("library", IMPORTERS)
def test_a_library_has_one_importer(library: str) -> None:
    importers = {name for name, libraries in imports().items() if library in libraries}
    allowed = {path.relative_to(ROOT).as_posix() for pattern in IMPORTERS[library] for path in ROOT.glob(pattern)}
    assert importers <= allowed


def test_the_search_for_imports_sees_every_form() -> None:
    tree = ast.parse("import os.path as p, re\ndef f():\n    from time import sleep\nif 1:\n    import eth\n")
    assert {what for _, what in imported(tree)} == {"os", "re", "time", "eth"}
