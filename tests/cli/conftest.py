"""A home that the command has filled, once for all tests: loading the embedded chain takes seconds."""

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli.main import main

PASSPHRASE = "correct horse battery staple"


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def line(self) -> str:
        (line,) = self.out.splitlines()
        return line


@dataclass
class Shell:
    """A directory and a WAVE_HOME in which commands are run, in this process."""

    directory: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Ran:
        out, err = _Stream(), _Stream()
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("WAVE_", "_WAVE"))]:
                patch.delenv(name)
            for name, value in {"WAVE_HOME": str(self.home), **self.environment, **environment}.items():
                patch.setenv(name, value)
            patch.chdir(self.directory)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main([*arguments])
        return Ran(status, out.written.getvalue().decode(), err.written.getvalue().decode())

    def done(self, *arguments: str, stdin: str = "", **environment: str) -> Ran:
        """Run a command that must succeed."""
        ran = self(*arguments, stdin=stdin, **environment)
        assert ran.status == 0, ran.out + ran.err
        return ran

    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


class _Stream(io.TextIOWrapper):
    def __init__(self) -> None:
        self.written = io.BytesIO()
        super().__init__(self.written, encoding="utf-8", write_through=True)


def make_shell(directory: Path) -> Shell:
    (directory / "work").mkdir()
    return Shell(directory / "work", directory / "home")


@pytest.fixture
def fresh(tmp_path: Path) -> Shell:
    """An empty home."""
    return make_shell(tmp_path)


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """home -> alice (1 hop) -> bob over home/light; carol has nothing and is not published; locked has a passphrase."""
    shell = make_shell(tmp_path_factory.mktemp("cli"))
    for name in ("home", "alice", "bob"):
        shell.done("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    shell.done("mkentity", "-o", "carol.ent", "--no-passphrase", "--no-publish")
    (shell.directory / "secret.txt").write_text(PASSPHRASE + "\n")
    shell.done("mkentity", "-o", "locked.ent", "--passphrase-file", "secret.txt")
    shell.done("grant", "--from", "home.ent", "--to", "alice", "--indirections", "1", "publish,subscribe@home/light/*")
    shell.done("grant", "--from", "alice.ent", "--to", "bob", "publish@home/light/light0", "-o", "bob.dot")
    shell.done("prove", "--subject", "bob", "-o", "bob.proof", "publish@home/light/light0")
    shell.done("alias", "the-house", "home")
    return shell


@pytest.fixture
def wave(seeded: Shell, tmp_path: Path) -> Shell:
    """The filled home, with a directory of one's own that has its files."""
    directory = tmp_path / "here"
    directory.mkdir()
    for path in seeded.directory.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
        (directory / path.name).chmod(path.stat().st_mode & 0o777)
    return Shell(directory, seeded.home)


def identity(shell: Shell, name: str) -> str:
    return shell.done("resolve", name).line
