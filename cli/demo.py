"""``wave demo``: two homes, one chain and a revocation; each home in full; and two people in two terminals."""

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

import click

from cli import ui
from cli.options import FILE, verb
from cli.session import Session
from wave.errors import AlreadyExists, BadSetting, StateUnwritable

if TYPE_CHECKING:
    from cli.stage import Stage
    from cli.stories.telling import Row, Teller

_CELL: Final = 23  # columns for what was expected, and for what was seen
TOUR: Final = "tour"
HOME: Final = "home"
PAIR: Final = "pair"


class Different(click.exceptions.Exit):
    """Ends the command with exit status 1: something came out otherwise than expected."""

    def __init__(self) -> None:
        super().__init__(1)


@verb
@click.argument("which", type=click.Choice((TOUR, HOME, PAIR)), default=TOUR, metavar="[tour|home|pair]")
@click.option(
    "--as", "role", type=click.Choice(("client", "controller")), help="Be one of the pair; the other is elsewhere."
)
@click.option("--chain", envvar="WAVE_CHAIN", metavar="URL", help="For --as: the chain that both follow.")
@click.option("--router", envvar="WAVE_ROUTER", metavar="URL", help="For --as: the router that both use.")
@click.option("--pause", is_flag=True, help="Wait for Enter before each step, for a live audience.")
@click.option(
    "--keep", type=FILE, metavar="DIR", help="Keep all state in DIR, which must not exist, to look around in."
)
def demo(
    session: Session,
    *,
    which: str,
    role: str | None,
    chain: str | None,
    router: str | None,
    pause: bool,
    keep: str | None,
) -> None:
    """See two neighbours' homes share lights, and take them back.

    'tour' is the short one, 'home' one home in full, 'pair' two homes in full. Every step is a command that you could
    type. Ends in a table of what was expected and what was seen; the exit status is 1 when the two differ anywhere.

    Two people play the pair in two terminals: one starts 'wave demo pair --as client', which begins a chain and a
    router on this machine and says what the other one types. On two machines both name, with --chain and --router, what
    runs for them ('wave chain run' and 'wave router run', with --host and --anywhere). The client's light is lent to
    the controller. Each gives the other a line to paste; then each waits for what the other one does.
    """
    if pause and not sys.stdin.isatty():
        raise BadSetting("--pause waits for Enter, and nobody is there to press it", hint="leave --pause out")
    if role is not None and which != PAIR:
        raise click.UsageError("--as is for 'wave demo pair'")
    from cli.stage import Stage
    from cli.stories.telling import Teller

    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(_stopped_alike())
        root = _kept(Path(keep)) if keep else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wave-")))
        teller = Teller(quiet=session.json, pause=_wait_for_enter if pause else lambda: None)
        stage = stack.enter_context(Stage(root))
        rows = STORIES[which](stage, teller) if role is None else _play(stage, teller, role, chain, router)
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
        _show_table(rows, seconds)
        if keep:
            _show_way(root, which if role is None else role)
    if wrong:
        raise Different


@contextmanager
def _stopped_alike() -> Iterator[None]:
    """Have SIGTERM end the body as Ctrl-C does, so that what it started is stopped."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tour(stage: "Stage", teller: "Teller") -> "list[Row]":
    from cli.stories.tour import Tour

    return Tour(stage, teller).tell_all()


def _home(stage: "Stage", teller: "Teller") -> "list[Row]":
    from cli.stories.home import HomeTale

    return HomeTale(stage, teller).tell_all()


def _pair(stage: "Stage", teller: "Teller") -> "list[Row]":
    from cli.stories.pair import tell_both

    return tell_both(stage, teller)


STORIES: Final[dict[str, "Callable[[Stage, Teller], list[Row]]"]] = {TOUR: _tour, HOME: _home, PAIR: _pair}


def _play(stage: "Stage", teller: "Teller", role: str, chain: str | None, router: str | None) -> "list[Row]":
    from cli.stories.pair import tell_one

    if chain is None and router is not None:
        raise BadSetting("a router without its chain", hint="name both, or neither to have them started")
    return tell_one(stage, teller, role, chain, router, ask=_ask)


def _ask(what: str) -> str:
    """Return the line that somebody pastes; :class:`BadSetting` when nobody does."""
    ui.say(what)
    line = sys.stdin.readline()
    if not line:
        raise BadSetting("the other one's line is missing, and nobody is there to paste it")
    return line.strip()


def _show_table(rows: "list[Row]", seconds: float) -> None:
    ui.out("")
    marks = [(ui.paint("ok", "green") if row.right else ui.paint("NO", "red")) for row in rows]
    cells = [(row.what, _short(row.expected), _short(row.seen), mark) for row, mark in zip(rows, marks, strict=True)]
    for line in ui.table(("what", "expected", "seen", ""), cells):
        ui.out(line)
    ui.out("")
    ui.out(f"{sum(row.right for row in rows)} of {len(rows)} as expected, in {seconds:.1f} s.")


def _show_way(root: Path, which: str) -> None:
    """Say how to look around in what was kept."""
    who = {"client": "ann", "controller": "ben"}.get(which, "ann")
    if not (root / "chain").is_dir():
        ui.out(f"All state is in {root}; the chain is elsewhere.")
        return
    ui.out(f"All state is in {root}. The chain is stopped; run it again, and look around:")
    ui.out(f"  WAVE_HOME={quote(str(root))}/chain/state wave chain run --port 8545 &")
    ui.out(f"  export WAVE_CHAIN=http://127.0.0.1:8545 WAVE_HOME={quote(str(root))}/{who}/state")
    ui.out(f"  wave graph {who}home --all")


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
