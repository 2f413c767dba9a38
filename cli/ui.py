"""The only file that prints. Data goes to stdout, talk to stderr; both in plain words.

Whatever came from outside passes :func:`plain`, so that no name, comment or message can move the cursor, colour the
screen or reverse the text. Colour is for a terminal alone, and not with NO_COLOR. With ``--json`` stdout holds exactly
one JSON document, the result or the problem (RFC 9457).
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, TypeAlias

if TYPE_CHECKING:
    from wave.errors import WaveError

_COLOURS: Final = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "bold": "1", "faint": "2"}
_SOON: Final = 0.7  # seconds of waiting after which a terminal says so
_MANY_BLOCKS: Final = 1_000  # left to be read
_CHAIN_HINT: Final = "if another chain answers than before: is WAVE_CHAIN what it was?"
_BYTES: Final = 256
_PLANE: Final = 0x10000


class Painted(str):
    """Text that is safe to print as it is: escaped already, and perhaps coloured. ``width`` is what one sees of it."""

    __slots__ = ("width",)
    width: int


Line: TypeAlias = "str | tuple[str, ...]"
"""A line in one piece, or in pieces of which some are painted."""


def plain(text: object) -> str:
    """Return ``text`` with every character that does not print (controls, line ends, bidi marks) as an escape."""
    found = str(text)
    return found if found.isprintable() else "".join(one if one.isprintable() else _escape(ord(one)) for one in found)


def _escape(code: int) -> str:
    if code < _BYTES:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _PLANE else f"\\U{code:08x}"


def paint(text: str, colour: str, stream: TextIO | None = None) -> Painted:
    """Return ``text`` in a colour, when ``stream`` (stdout by default) shows colours."""
    shown, code = plain(text), _COLOURS.get(colour)
    coloured = code is not None and _shows_colour(stream or sys.stdout)
    painted = Painted(f"\x1b[{code}m{shown}\x1b[0m" if coloured else shown)
    painted.width = len(shown)
    return painted


def _shows_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _write(stream: TextIO, line: Line) -> None:
    encoding = stream.encoding or "utf-8"
    pieces = (line,) if isinstance(line, str) else line
    text = "".join(piece if isinstance(piece, Painted) else plain(piece) for piece in pieces)
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def out(line: Line) -> None:
    """Print a line of data, all of it escaped but what was painted."""
    _write(sys.stdout, line)


def say(line: str) -> None:
    """Tell whoever is watching something that is not data."""
    _write(sys.stderr, f"wave: {line}")


def aside(line: str) -> None:
    """Tell somebody at a terminal what goes on; programs and files hear nothing of it."""
    if sys.stderr.isatty():
        say(line)


def show(result: object, lines: Iterable[Line], *, as_json: bool) -> None:
    """Print a result: as one JSON document, or as lines for a person."""
    if as_json:
        document(result)
    else:
        for line in lines:
            out(line)


def document(value: object) -> None:
    """Print one JSON document, in ASCII."""
    text_file(json.dumps(_jsonable(value), indent=2, ensure_ascii=True).replace("\x7f", "\\u007f"))


def text_file(text: str) -> None:
    """Print a file's text (armour, JSON, a drawing) as it is; its writer has escaped what is foreign in it."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def _jsonable(value: object) -> object:
    """Return what JSON knows; a message of the agent's becomes what it is on the wire."""
    if hasattr(value, "__struct_fields__"):
        from wave.agent.wire import Message, encode

        if isinstance(value, Message):
            return json.loads(encode(value))
    return value


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Line]:
    """Yield the lines of a table whose columns stand under one another."""
    cells = [tuple(cell if isinstance(cell, Painted) else paint(cell, "none") for cell in row) for row in rows]
    first = tuple(paint(head, "bold") for head in heads)
    widths = [max(cell.width for cell in column) for column in zip(first, *cells, strict=True)]
    for row in (first, *cells):
        line: list[str] = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            line += [cell] if place == len(widths) - 1 else [cell, " " * (width - cell.width + 2)]
        yield tuple(line)


def fields(pairs: Iterable[tuple[str, object]]) -> Iterator[Line]:
    """Yield one line for each name and value, the values under one another; what is empty is left out."""
    kept = [(name, value) for name, value in pairs if value not in (None, "", ())]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        yield name.ljust(width), "  ", value if isinstance(value, Painted) else str(value)


def state(word: str) -> Painted:
    """Return the word for a DoT's or entity's state, in its colour."""
    return paint(word, {"valid": "green", "revoked": "red", "expired": "red"}.get(word, "yellow"))


def open_streams() -> None:
    """Give each standard stream that was closed before this program began a place to go, where it is lost."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - it stays open


# Talk --------------------------------------------------------------------------------------------------------------


def warn(message: str, hint: str = "") -> None:
    """Print a warning, and what to do about it."""
    _label("warning", "yellow", message)
    if hint:
        _label("hint", "blue", hint)


def fault(error: "WaveError", *, as_json: bool) -> None:
    """Print an error: message, hint and decision on stderr, or with ``--json`` the problem on stdout."""
    if as_json:
        document(error.problem())
        return
    _label("error", "red", error.message)
    if error.hint:
        _label("hint", "blue", error.hint)
    if error.decision:
        _label("decision", "faint", error.decision)


def misused(message: str, hint: str, *, as_json: bool) -> None:
    """Print what is wrong with the command line."""
    if as_json:
        document({"type": "urn:wave:error:usage", "title": "Usage", "status": 400, "detail": message, "code": "usage",
                  "hint": hint})  # fmt: skip
        return
    _label("error", "red", message)
    _label("hint", "blue", hint)


def _label(word: str, colour: str, text: str) -> None:
    _write(sys.stderr, ("wave: ", paint(word, colour, sys.stderr), ": ", text))


def tell_of_logs() -> None:
    """Say what the library logs from now on, warnings and worse, like any other warning."""
    import logging

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if sys.stderr.isatty():
                sys.stderr.write("\r\x1b[K")  # over what is being waited for
            first, *rest = self.format(record).splitlines()
            warn(first, _CHAIN_HINT if first.startswith("the chain changed") else "")
            for line in rest:
                say(line)

    logger = logging.getLogger("wave")
    if not logger.handlers:
        logger.addHandler(Told(logging.WARNING))


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """While the body runs, say on a terminal what is being waited for, and take it away afterwards."""
    if not sys.stderr.isatty():
        yield
        return
    import threading

    said = threading.Event()

    def tell() -> None:
        said.set()
        sys.stderr.write(f"wave: {plain(what)} …")
        sys.stderr.flush()

    timer = threading.Timer(_SOON, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if said.is_set():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def progress(height: int, head: int) -> None:
    """Say on a terminal how far the blocks of a chain are taken in, while many are left."""
    if not sys.stderr.isatty():
        return
    sys.stderr.write("\r\x1b[K")
    if head - height >= _MANY_BLOCKS:
        sys.stderr.write(f"wave: reading the chain: block {height:,} of {head:,} ({100 * height // head} %) …")
    sys.stderr.flush()


# Asking ------------------------------------------------------------------------------------------------------------


def ask_passphrase(what: str) -> str:
    """Return the passphrase that a person types, unseen; :class:`BadPassphrase` when nobody is there to type it."""
    from wave.errors import BadPassphrase

    if not (sys.stdin.isatty() or sys.stderr.isatty()):
        raise BadPassphrase(
            f"a passphrase is needed for {what}, and there is no terminal to ask for it on",
            hint="name a file that holds it with --passphrase-file ('-' is standard input)",
        )
    import getpass

    try:
        return getpass.getpass(f"Passphrase for {plain(what)}: ", stream=sys.stderr)
    except EOFError:
        raise BadPassphrase(f"no passphrase was given for {what}") from None


def new_passphrase(what: str) -> str:
    """Return a new passphrase, typed twice; :class:`BadPassphrase` when the two differ."""
    from wave.errors import BadPassphrase

    first = ask_passphrase(what)
    if ask_passphrase(f"{what}, again") != first:
        raise BadPassphrase("the two passphrases differ", hint="nothing was written; start again")
    return first


def flush() -> None:
    """Send what was printed so far: a daemon's reader waits for its address."""
    sys.stdout.flush()
