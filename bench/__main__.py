"""``python -m bench [NAME …] [--json] [--check]``: measure, print, and with ``--check`` exit 1 for a missed bound."""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from bench.figure import Figure, send_figures

_NOT_BENCHES = {"__init__", "__main__", "figure"}
_WHEN_NAMED = {"pong", "soak"}  # they take minutes


def main(arguments: list[str]) -> int:
    """Measure what ``arguments`` name, or everything; return the exit status."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _NOT_BENCHES)
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and compare with the bounds.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"what to measure ({', '.join(names)}); default: all but {', '.join(sorted(_WHEN_NAMED))}",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound is missed")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.names) - set(names))
    if unknown:
        parser.error(f"there is nothing to measure called {', '.join(unknown)}; there is {', '.join(names)}")
    found: list[tuple[str, Figure]] = []
    for name in chosen.names or [one for one in names if one not in _WHEN_NAMED]:
        for figure in _measured(name):
            found.append((name, figure))
            if not chosen.json:
                print(_line(name, figure), flush=True)
    if chosen.json:
        print(json.dumps(_report(found), indent=2))
    missed = [figure.name for _, figure in found if figure.verdict == "FAIL"]
    if missed:
        print(f"missed: {'; '.join(missed)}", file=sys.stderr)
    return 1 if missed and chosen.check else 0


def _measured(name: str) -> Iterator[Figure]:
    """Yield the figures of one bench, measured in a process of its own: what others left in memory slows none down."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_figures, args=(name, sender))
    process.start()
    sender.close()
    with suppress(EOFError):
        while True:
            yield receiver.recv()
    process.join()
    if process.exitcode:
        sys.exit(f"bench.{name} failed")


def _line(name: str, figure: Figure) -> str:
    value = "-" if figure.value is None else f"{_digits(figure.value)} {figure.unit}".rstrip()
    bound = "" if figure.bound is None else f"<= {_digits(figure.bound)} {figure.unit}".rstrip()
    note = f"  ({figure.note})" if figure.note else ""
    return f"{name:8} {figure.name:54} {value:>12}  {bound:12} {figure.verdict:4}{note}"


def _digits(value: float) -> str:
    return f"{value:.3g}" if value < 1_000 else f"{value:,.0f}"


def _report(found: list[tuple[str, Figure]]) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "figures": [{"bench": name, **figure.to_json()} for name, figure in found],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
