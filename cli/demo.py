"""``wave demo``: two homes, one chain and a revocation, in some twenty seconds."""

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from typing import Final

import click

from cli import ui
from cli.options import FILE, verb
from cli.session import Session
from wave.errors import AlreadyExists, BadSetting, StateUnwritable

_CELL: Final = 23  # columns for what was expected, and for what was seen


class Different(click.exceptions.Exit):
    """Ends the command with exit status 1: something came out otherwise than expected."""

    def __init__(self) -> None:
        super().__init__(1)


@verb
@click.option("--pause", is_flag=True, help="Wait for Enter before each step, for a live audience.")
@click.option(
    "--keep", type=FILE, metavar="DIR", help="Keep all state in DIR, which must not exist, to look around in."
)
def demo(session: Session, pause: bool, keep: str | None) -> None:
    """See two neighbours' homes share lights, and take them back.

    Every step is a command that you could type. Ends in a table of what was expected and what was seen; the exit status
    is 1 when the two differ anywhere.
    """
    if pause and not sys.stdin.isatty():
        raise BadSetting("--pause waits for Enter, and nobody is there to press it", hint="leave --pause out")
    from cli.stage import Stage
    from cli.story import Story, Teller

    started = time.monotonic()
    with ExitStack() as stack:
        root = _kept(Path(keep)) if keep else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wave-")))
        teller = Teller(quiet=session.json, pause=_wait_for_enter if pause else lambda: None)
        stage = stack.enter_context(Stage(root))
        rows = Story(stage, teller).tell_all()
    seconds = time.monotonic() - started
    wrong = [row for row in rows if not row.right]
    if session.json:
        ui.document(
            {
                "seconds": round(seconds, 1),
                "differences": len(wrong),
                "rows": [{"what": row.what, "expected": row.expected, "seen": row.seen} for row in rows],
            }
        )
    else:
        ui.out("")
        marks = [(ui.paint("ok", "green") if row.right else ui.paint("NO", "red")) for row in rows]
        cells = [
            (row.what, _short(row.expected), _short(row.seen), mark) for row, mark in zip(rows, marks, strict=True)
        ]
        for line in ui.table(("what", "expected", "seen", ""), cells):
            ui.out(line)
        ui.out("")
        ui.out(f"{len(rows) - len(wrong)} of {len(rows)} as expected, in {seconds:.1f} s.")
        if keep:
            ui.out(f"All state is in {root}. The chain is stopped; run it again, and look around as Ann:")
            ui.out(f"  WAVE_HOME={quote(str(root))}/chain/state wave chain run --port 8545 &")
            ui.out(f"  export WAVE_CHAIN=http://127.0.0.1:8545 WAVE_HOME={quote(str(root))}/ann/state")
            ui.out("  wave graph annhome --all")
    if wrong:
        raise Different


def _short(text: str) -> str:
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"


def _kept(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        raise AlreadyExists(f"{path} exists already", hint="name a directory that does not exist yet") from None
    except OSError as error:
        raise StateUnwritable(
            f"cannot create {path}: {error.strerror}", hint="choose another place for --keep"
        ) from None
    return path.resolve()


def _wait_for_enter() -> None:
    ui.say("press Enter for the next step")
    sys.stdin.readline()
