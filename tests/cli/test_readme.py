"""README.md does what it shows: every command in its ```console blocks is run, in order, in an empty directory.

A line that begins with ``$ `` is a command; ``> `` or a backslash at the end goes on with it. The lines below a command
are what it shows, stdout and stderr together; a last line ``[exit status 1]`` says which status it has instead of 0. In
them ``…`` stands for any text, and a line ``…`` for any number of lines. A command under which nothing is shown may
print what it likes. All of it runs in one shell, so ``cd``, ``export`` and ``&`` mean what they mean; `wave` is loaded
once for all (:mod:`tests.cli.forks`).
"""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from devices.gateway.plan import GatewayPlan
from tests.cli.forks import command

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SECONDS = 150
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STATUS = re.compile(r"\[exit status ([0-9]+)\]")


@dataclass
class Example:
    """A command, the status that it is to have, and what it is shown to print."""

    command: str
    status: int = 0
    shown: list[str] = field(default_factory=list)


def examples(text: str) -> list[Example]:
    found: list[Example] = []
    for block in _BLOCK.findall(text):
        goes_on = False
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Example(line[2:]))
                goes_on = line.endswith("\\")
            elif found and (goes_on or line.startswith("> ")):
                found[-1].command += "\n" + line.removeprefix("> ")
                goes_on = line.endswith("\\")
            elif found and line.strip():
                found[-1].shown.append(line)
    for example in found:
        if example.shown and (status := _STATUS.fullmatch(example.shown[-1])):
            example.shown.pop()
            example.status = int(status[1])
    return found


def matches(shown: list[str], printed: list[str]) -> bool:
    """Tell whether the lines printed are the ones shown."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"[ \t]*\n" for line in shown
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def run(found: list[Example], directory: Path, *tools: Path) -> list[tuple[int, list[str]]]:
    """Return the status and the lines of each command, run one after the other in one shell in ``directory``."""
    work, log = directory / "work", directory / "log"
    work.mkdir()
    script = "".join(f"{one.command}\nprintf '\\n\\036%d\\n' $?\n" for one in found)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WAVE_", "PYTHON"))}
    environment |= {
        "PATH": ":".join([*map(str, tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(directory),
        "XDG_DATA_HOME": str(directory / "data"),
    }
    with log.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            shell.wait(SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)  # what the README left running in the background
            shell.wait()
    parts = re.split(r"\n?\n\x1e([0-9]+)\n|\A\n\x1e([0-9]+)\n", log.read_text())
    texts, statuses = parts[::3], [one or other for one, other in zip(parts[1::3], parts[2::3], strict=True)]
    return [(int(status), text.splitlines()) for text, status in zip(texts, statuses, strict=False)]


@pytest.mark.timeout(SECONDS + 30)
def test_the_readme_does_what_it_shows() -> None:
    found = examples(README.read_text("utf-8"))
    assert found, "README.md has no ```console block with a command"
    with TemporaryDirectory(prefix="wave-") as folder:  # a short path: sockets lie below it
        tools = Path(folder) / "tools"
        tools.mkdir()
        with command(tools / "wave", tools / "socket"):
            ran = run(found, Path(folder), tools)
    for example, (status, printed) in zip(found, ran, strict=False):
        told = f"$ {example.command}\n" + "\n".join(printed)
        assert status == example.status, told
        assert not example.shown or matches(example.shown, printed), told + "\nis not\n" + "\n".join(example.shown)
    assert len(ran) == len(found), f"the shell ended before: {found[len(ran)].command}"


def test_the_example_of_a_gateway_is_the_one_shown_with_all_that_it_leaves_out() -> None:
    (shown,) = [
        one.command for one in examples(README.read_text("utf-8")) if one.command.startswith("cat > gateway.toml")
    ]
    text = "\n".join(shown.splitlines()[1:-1])
    example = (ROOT / "examples" / "gateway.toml").read_text("utf-8")
    assert GatewayPlan.parse(text) == GatewayPlan.parse(example)
    every = re.sub(r"(?m)^# (?=\[[a-z]+\]|[a-z_]+ = )", "", example)
    assert every != example
    assert GatewayPlan.parse(every) != GatewayPlan.parse(example)


SAMPLE = """
Words.

```console
$ export GREETING=hello
$ echo $GREETING world
hello …
$ printf 'a\\nb\\nc\\n'
a
…
c
$ echo one \\
  two >&2
one two
$ false
[exit status 1]
$ sleep 100 &
```

```sh
not run
```
"""


def test_commands_are_read_from_console_blocks_alone() -> None:
    found = examples(SAMPLE)
    assert [one.command.split()[0] for one in found] == ["export", "echo", "printf", "echo", "false", "sleep"]
    assert found[3].command == "echo one \\\n  two >&2"
    assert [one.status for one in found] == [0, 0, 0, 0, 1, 0]
    assert found[2].shown == ["a", "…", "c"]


def test_commands_are_run_in_one_shell(tmp_path: Path) -> None:
    found = examples(SAMPLE)
    ran = run(found, tmp_path)
    assert ran == [(0, []), (0, ["hello world"]), (0, ["a", "b", "c"]), (0, ["one two"]), (1, []), (0, [])]
    assert all(matches(one.shown, printed) for one, (_, printed) in zip(found, ran, strict=True) if one.shown)


def test_the_command_is_found_there(tmp_path: Path) -> None:
    (status, lines), *_ = run([Example("wave --version")], tmp_path)
    assert (status, lines[0].split()[0]) == (0, "wave")


@pytest.mark.parametrize(
    ("shown", "printed"),
    [(["a"], ["b"]), (["a"], ["a", "b"]), (["a", "b"], ["a"]), (["a…c"], ["a", "c"]), (["a.c"], ["abc"])],
)
def test_what_differs_does_not_match(shown: list[str], printed: list[str]) -> None:
    assert not matches(shown, printed)
