"""Anchored batches: ``anchor`` objects, ``audit`` the promises that they will be, and ``batch list`` or ``export``."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cli import ui
from cli.options import ENTITY, FILE, verb
from cli.session import Session
from wave.errors import BadRequest

if TYPE_CHECKING:
    from wave.agent.batches import Batches
    from wave.agent.wire import PromiseView, Withheld

PROMISES: Final = "promises"  # in WAVE_HOME
_PER_CALL: Final = 512 * 1024  # bytes of objects; base64 makes a third more of them
_STATUS: Final = {"kept": 0, "pending": 0, "void": 3, "unknown": 4, "broken": 1}
_WORST_FIRST: Final = ("broken", "unknown", "void", "pending", "kept")


@verb
@click.option("-o", "--output", type=FILE, metavar="DIR", help="Keep promises in DIR instead of WAVE_HOME/promises.")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
def anchor(session: Session, output: str | None, files: tuple[str, ...]) -> None:
    """Put many entities, DoTs or names on the chain together: their Merkle root in one transaction, their bytes beside.

    An agent that runs queues them and may sign a promise, kept in WAVE_HOME/promises for 'wave audit'; without one they
    are anchored at once. The bytes stay in WAVE_HOME/batches: hand them out, or nobody else can see them.
    """
    from cli import reference
    from wave.agent.registrar import keep_promise
    from wave.agent.wire import Anchor, Queued
    from wave.chain.promise import Promise
    from wave.entities.object import from_text

    objects = [from_text(reference.read_any(file)).to_bytes() for file in files]
    found: list[Queued] = []
    roots: list[str] = []
    promises: list[str] = []
    directory = session.settings.home / PROMISES if output is None else Path(output)
    for group in _groups(objects):
        reply = session.call(Anchor(objects=group))
        found += reply.objects
        roots += reply.roots
        signed = [Promise.from_bytes(one.promise) for one in reply.objects if one.promise is not None]
        promises += [str(keep_promise(directory, promise)) for promise in signed]
    document = {
        "objects": [{"id": one.id, "kind": one.kind, "height": one.height} for one in found],
        "roots": roots,
        "promises": promises,
    }
    lines = [f"{one.id}  {one.kind}  {'queued' if one.height is None else f'block {one.height}'}" for one in found]
    ui.show(document, lines, as_json=session.json)
    if promises and not session.json:
        ui.say(f"promised, kept in {directory}: 'wave audit' tells whether it is done")


def _groups(objects: list[bytes]) -> Iterable[tuple[bytes, ...]]:
    group: list[bytes] = []
    size = 0
    for data in objects:
        if group and size + len(data) > _PER_CALL:
            yield tuple(group)
            group, size = [], 0
        group.append(data)
        size += len(data)
    yield tuple(group)


@verb
@click.option("--promiser", "promisers", type=ENTITY, multiple=True, metavar="ENTITY", help="A promiser's public file.")
@click.option("--decisions", "log", type=FILE, metavar="FILE", help="Verify a guard's log of decisions instead.")
@click.option("--head", metavar="NUMBER:HASH", help="With --decisions: a head that was noted, which must be in it.")
@click.argument("files", nargs=-1, type=FILE, metavar="[FILE.promise]...")
def audit(
    session: Session, *, promisers: tuple[str, ...], log: str | None, head: str | None, files: tuple[str, ...]
) -> None:
    """Check promises that objects would be anchored: those in the files, or without any, all in WAVE_HOME/promises.

    A promise is kept when the object stands on the chain by the promised block, pending until then, and broken when
    the block has passed without it: whoever has the promise and the chain can check that too. Without files, batches
    whose objects nobody hands out are named as well. Exit status: 1 for a broken promise, 4 when it cannot be told.
    """
    from wave.agent.wire import Audit

    if log is not None:
        _verify_log(session, log, head)
        return
    paths = [Path(file) for file in files] or _kept(session)
    views: list[PromiseView] = []
    reply = session.call(Audit())
    records = tuple(_record(session, one) for one in promisers)
    promises = [_promise(path) for path in paths]
    for group in _groups(promises) if promises else ():
        reply = session.call(Audit(promises=group, records=records))
        views += reply.promises
    withheld = () if files else reply.withheld
    document = {
        "height": reply.height,
        "promises": [
            {"file": str(path), **{name: getattr(view, name) for name in _FIELDS}}
            for path, view in zip(paths, views, strict=True)
        ],
        "withheld": [{"root": one.root, "count": one.count, "height": one.height} for one in withheld],
    }
    lines = [line for path, view in zip(paths, views, strict=True) for line in _view_lines(path, view)]
    lines += [_withheld_line(one) for one in withheld]
    if not lines:
        lines = ["no promise is kept here, and no batch is withheld"]
    ui.show(document, lines, as_json=session.json)
    worst = next((verdict for verdict in _WORST_FIRST if any(view.verdict == verdict for view in views)), "kept")
    click.get_current_context().exit(_STATUS[worst])


def _verify_log(session: Session, log: str, head: str | None) -> None:
    """Say that a log of decisions is whole, offline; raise what was done to it."""
    from wave.guard.log import verify_log

    found = verify_log(Path(log), head=head)
    line = f"{log} is whole: {found.lines} decisions; to note elsewhere: {found}"
    ui.show({"file": log, "decisions": found.lines, "head": str(found)}, [line], as_json=session.json)


_FIELDS: Final = ("promise", "promiser", "object", "received", "by", "verdict", "reason", "height", "withheld")


def _view_lines(path: Path, view: "PromiseView") -> list[str]:
    return [
        f"{view.verdict}: object {view.object} by block {view.by}: {view.reason} ({path})",
        *(f"  withheld: {root}" for root in view.withheld),
    ]


def _withheld_line(one: "Withheld") -> str:
    return f"withheld: {one.count} objects under {one.root}, anchored in block {one.height}"


def _kept(session: Session) -> list[Path]:
    from wave.chain.promise import SUFFIX

    directory = session.settings.home / PROMISES
    return sorted(directory.glob(f"*{SUFFIX}")) if directory.is_dir() else []


def _promise(path: Path) -> bytes:
    from wave.entities.keyring import read_text
    from wave.entities.object import PROMISE, from_text
    from wave.errors import WrongKind

    found = from_text(read_text(path))
    if found.kind != PROMISE:
        raise WrongKind(f"{path} holds an object of kind {found.kind!r}, not a promise")
    return found.to_bytes()


def _record(session: Session, text: str) -> bytes:
    from cli import reference

    found = reference.entity(session, text)
    if found.record is None:
        raise BadRequest(f"the record of {text!r} is not known here", hint="name its .pub file")
    return found.record.to_bytes()


@click.group()
def batch() -> None:
    """Look after the batches that this home keeps: what it anchored, and what it fetched from others."""


@verb
def batch_list(session: Session) -> None:
    """List the batches kept here: root, and how many objects there are under it."""
    shelf = _shelf(session)
    found = [one for one in map(shelf.read, shelf.roots()) if one is not None]
    document = {"batches": [{"root": one.root.hex(), "objects": len(one)} for one in found]}
    ui.show(document, [f"{one.root.hex()}  {len(one)} objects" for one in found], as_json=session.json)


@verb
@click.argument("directory", type=FILE, metavar="DIR")
def batch_export(session: Session, directory: str) -> None:
    """Copy every batch that is not there yet to DIR, which any web server can serve as it is.

    Others name it as a source: its path, or the URL at which it is served.
    """
    count = _shelf(session).export(Path(directory))
    ui.show({"copied": count, "directory": directory}, [f"{count} copied to {directory}"], as_json=session.json)


batch.add_command(batch_list, "list")
batch.add_command(batch_export, "export")


def _shelf(session: Session) -> "Batches":
    from wave.agent.batches import Batches

    return Batches(session.settings.home / "batches")
