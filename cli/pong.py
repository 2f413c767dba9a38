"""The guarded model: pong's data, trainings and tracked runs, what spoils a set, and the way to a gateway."""

import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli import ui
from cli.gateway import Asker, admin_options, change, proof_of_right
from cli.options import ENTITY, FILE, verb
from cli.pong_page import pong_ui
from cli.running import agent_of, carry_out, resolve
from cli.session import Session
from wave.errors import MissingLibrary, UnknownApplication

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from devices.pong.data import DataSet, Origin
    from devices.pong.evaluate import Batch, Evaluation
    from devices.pong.imitate import Imitation
    from devices.pong.runs import Journal, Run, Trained
    from devices.pong.why import Answer

RL: Final = "rl"
_RANDOM, _RULE = "random", "rule"
_SECONDS: Final = 600.0
_EXTRA: Final = "install what pong needs: pip install 'wave-auth[pong]', or make setup-heavy"
_SEED: Final = click.IntRange(0, 2**32 - 1)
_HEAD: Final = 2  # the line of a set's first row

_directory = click.option(
    "--dir", "directory", type=FILE, metavar="DIR", help="Where data and runs are kept. Default: WAVE_HOME/pong."
)
_seconds = click.option(
    "--seconds", default=_SECONDS, show_default=True, help="How long reinforcement learning may take."
)


@click.group()
def pong() -> None:
    """Train players of pong, track what each was made of, and deploy one behind a guarded gateway.

    'small' and 'large' imitate recorded play, 'rl' learns by playing. Runs are named by their kind (the newest
    counts), or by their id or its beginning.
    """


# Data and trainings ------------------------------------------------------------------------------------------------


@verb
@_directory
def pong_data(session: Session, *, directory: str | None) -> None:
    """Make the recorded play of the exercise: 'small', and 'large', which one player has spoilt."""
    journal = _journal(session, directory)
    found = [_made(journal, name) for name in _sets()]
    heads = ("set", "rows", "players", "file")
    rows = [(one["set"], f"{one['rows']:,}", ", ".join(one["players"]), one["file"]) for one in found]
    ui.show(found, ui.table(heads, rows), as_json=session.json)


@verb
@_directory
@click.option("--set", "file", type=FILE, metavar="FILE.csv.gz", help="Imitate the recorded play in FILE.")
@click.option("--classifier", default="tree", show_default=True, help="What imitates: tree or network.")
@click.option("--seed", type=_SEED, default=1, show_default=True, help="Of what the training draws.")
@_seconds
@click.argument("kind")
def pong_train(
    session: Session, *, directory: str | None, file: str | None, classifier: str, seed: int, seconds: float, kind: str
) -> None:
    """Train 'small', 'large' or 'rl', or with --set a KIND of your own; track the run."""
    journal = _journal(session, directory)
    if kind == RL:
        run = _reinforced(journal, seconds, seed)
    else:
        from devices.gateway.model import check_name
        from devices.pong.imitate import Imitation

        check_name(kind, "a kind of training")
        if file is None and kind not in _sets():
            raise click.UsageError(f"there are small, large and rl; for {kind!r} say which --set")
        run = _imitated(journal, kind, file, Imitation(classifier, seed))
    ui.show(run.to_json(), [_told(run)], as_json=session.json)


@verb
@_directory
@click.option(
    "--trials", type=click.IntRange(1, 1000), default=8, show_default=True, help="How many settings are tried."
)
@click.option(
    "--steps", type=click.IntRange(min=1), default=200_000, show_default=True, help="That each may play at most."
)
@click.option("--seed", type=_SEED, default=1, show_default=True, help="Of what is drawn.")
def pong_tune(session: Session, *, directory: str | None, trials: int, steps: int, seed: int) -> None:
    """Search for the parameters of reinforcement learning: try some, and drop early those that learn slowly.

    A search that was stopped goes on where it was, with the trials that it was begun with.
    """
    journal = _journal(session, directory)
    try:
        from devices.pong.search import search
    except ImportError as error:
        raise MissingLibrary(f"the search needs {error.name}, which is not installed", hint=_EXTRA) from None
    from devices.pong.runs import folder

    found = search(folder(journal.directory), trials=trials, steps=steps, seed=seed, report=_report("trial"))
    done = [one for one in found if one.error is None]
    for failed in (one for one in found if one.error is not None):
        ui.say(f"a trial failed: {failed.error}")
    names = list(found[0].settings)
    heads = ("mean steps", "steps", *(name.replace("_", " ") for name in names))
    rows = [
        (f"{one.mean_steps:,.0f}", f"{one.steps:,}", *(f"{one.settings[name]:,.4g}" for name in names)) for one in done
    ]
    ui.show([one._asdict() for one in found], ui.table(heads, rows), as_json=session.json)


@verb
@_directory
@click.option("--episodes", type=click.IntRange(min=1), default=200, show_default=True, help="Games for each seed.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="How many seeds.")
@click.argument("players", nargs=-1, required=True, metavar="PLAYER…")
def pong_evaluate(
    session: Session, *, directory: str | None, episodes: int, seeds: int, players: tuple[str, ...]
) -> None:
    """Let each PLAYER play the same games: a run, 'random', 'rule' (which follows the ball), or a FILE.onnx."""
    journal = _journal(session, directory)
    from devices.pong.evaluate import evaluate

    found = {}
    for player in players:
        policy = _policy(journal, player)
        ui.say(f"{player} plays {episodes * seeds:,} games")
        found[player] = evaluate(policy, episodes=episodes, seeds=range(1, seeds + 1))
    _show_evaluations(session, found)


@verb
@_directory
@click.argument("kind", required=False)
def pong_runs(session: Session, *, directory: str | None, kind: str | None) -> None:
    """List the runs that were tracked, newest first."""
    runs = _journal(session, directory).runs(kind)
    heads = ("run", "kind", "made", "mean steps", "rows", "data", "model", "code")
    rows = [
        (
            one.id[:8],
            one.kind,
            time.strftime("%Y-%m-%d %H:%M", time.gmtime(one.began)),
            f"{one.metrics['mean_steps']:,.0f}",
            f"{one.rows:,}" if one.rows else "",
            (one.data or "")[:8],
            one.model[:8],
            one.code,
        )
        for one in runs
    ]
    ui.show([one.to_json() for one in runs], ui.table(heads, rows), as_json=session.json)


@verb
@_directory
@_seconds
def pong_all(session: Session, *, directory: str | None, seconds: float) -> None:
    """Do the whole training: data, three runs, their comparison, why 'large' is worse, and the files to deploy.

    What was done by this version of the code is not done again.
    """
    journal = _journal(session, directory)
    from devices.pong.export import export
    from devices.pong.imitate import Imitation
    from devices.pong.runs import folder

    runs = []
    for kind in _sets():
        made = _made(journal, kind)
        runs.append(_done(journal, kind, made["sha256"]) or _imitated(journal, kind, None, Imitation()))
    runs.append(_done(journal, RL, None) or _reinforced(journal, seconds, 1))
    answer, others = _asked(journal, journal.find("large"))
    files = [str(export(journal.model(one), folder(journal.directory / "export"))) for one in runs]
    result = {
        "runs": [{**one.to_json(), "file": file} for one, file in zip(runs, files, strict=True)],
        "why": _answer_json(journal.find("large"), answer, others),
    }
    rows = [(one.kind, f"{one.metrics['mean_steps']:,.0f}", file) for one, file in zip(runs, files, strict=True)]
    lines = [*ui.table(("run", "mean steps", "file"), rows), "", *_answer_lines(journal.find("large"), answer, others)]
    ui.show(result, lines, as_json=session.json)


# Why ---------------------------------------------------------------------------------------------------------------


@verb
@_directory
@click.argument("run")
def pong_why(session: Session, *, directory: str | None, run: str) -> None:
    """Say whose rows make the policy of RUN worse, which those are, and how much comes back without them.

    Learns again without each player's rows, and compares what was noted of each with what the others do.
    """
    journal = _journal(session, directory)
    found = journal.find(run)
    answer, other = _asked(journal, found)
    ui.show(_answer_json(found, answer, other), _answer_lines(found, answer, other), as_json=session.json)


def _asked(journal: "Journal", run: "Run") -> "tuple[Answer, Run | None]":
    """Return what was found about a run's rows, and the best other run that imitates."""
    from devices.pong.imitate import Imitation
    from devices.pong.why import why

    data = journal.rows(run)
    answer = why(data, Imitation.of(run.parameters), report=lambda what: ui.say(f"learning: {what}"))
    others = [one for one in journal.runs() if one.data not in (None, run.data)]
    return answer, max(others, key=lambda one: one.metrics["mean_steps"], default=None)


def _more(run: "Run", other: "Run") -> dict[str, int]:
    """Return how many rows of each player the one run has of games that the other has not."""
    games = {(player, game) for player, game, _, _ in other.origins}
    found: dict[str, int] = {}
    for player, game, _, rows in run.origins:
        if (player, game) not in games:
            found[player] = found.get(player, 0) + rows
    return found


def _answer_json(run: "Run", answer: "Answer", other: "Run | None") -> dict[str, Any]:
    compared = None
    if other is not None:
        steps = other.metrics["mean_steps"]
        compared = {"run": other.id, "kind": other.kind, "mean_steps": steps, "more": _more(run, other)}
    return {
        "run": run.id,
        "kind": run.kind,
        "data": run.data,
        "rows": run.rows,
        "mean_steps": answer.whole.mean,
        "compared": compared,
        "players": [
            {
                "player": one.player,
                "rows": one.rows,
                "agreement": round(one.agreement, 3),
                "mean_steps_without": one.without.mean,
            }
            for one in answer.suspects
        ],
        "spoilt_by": list(answer.named),
        "spoilt": [
            {
                "player": one.origin.player,
                "game": one.origin.game,
                "first_line": one.origin.first + _HEAD,
                "rows": one.origin.rows,
                "contradicted": one.contradicted,
            }
            for one in answer.games
        ],
        "mean_steps_without_spoilt": answer.restored.mean,
    }


def _answer_lines(run: "Run", answer: "Answer", other: "Run | None") -> Iterator[ui.Line]:
    yield f"{run.kind}: {run.rows:,} rows, {answer.whole.mean:,.0f} mean steps"
    if other is not None:
        more = ", ".join(f"{rows:,} rows of {player}" for player, rows in _more(run, other).items()) or "no row more"
        yield f"{other.kind}: {other.rows:,} rows, {other.metrics['mean_steps']:,.0f} mean steps; {run.kind} has {more}"
    yield ""
    yield from ui.table(
        ("player", "rows", "agrees with others", "mean steps without"),
        [(one.player, f"{one.rows:,}", f"{one.agreement:.2f}", f"{one.without.mean:,.0f}") for one in answer.suspects],
    )
    yield ""
    if not answer.named:
        yield "nobody's rows are at fault"
        return
    for player in answer.named:
        games = [one for one in answer.games if one.origin.player == player]
        rows, wrong = sum(one.origin.rows for one in games), sum(one.contradicted for one in games)
        yield (
            f"{player} spoilt {rows:,} rows of {len(games)} games, {_lines([one.origin for one in games])} of "
            f"{run.data}: in {wrong / rows:.0%} of them the others would have done something else"
        )
    yield f"without them a policy survives {answer.restored.mean:,.0f} mean steps instead of {answer.whole.mean:,.0f}"


def _lines(origins: "list[Origin]") -> str:
    """Return the lines of a set's file that hold these games."""
    ranges: list[tuple[int, int]] = []
    for one in origins:
        first, after = one.first + _HEAD, one.first + _HEAD + one.rows
        if ranges and ranges[-1][1] == first:
            ranges[-1] = ranges[-1][0], after
        else:
            ranges.append((first, after))
    return f"lines {', '.join(f'{first:,} to {after - 1:,}' for first, after in ranges)}"


# To a gateway ------------------------------------------------------------------------------------------------------


@verb
@_directory
@click.option("-o", "--output", type=FILE, default=".", show_default=True, metavar="DIR", help="Where it is written.")
@click.argument("run")
def pong_export(session: Session, *, directory: str | None, output: str, run: str) -> None:
    """Write the policy of RUN to a file (ONNX) that is named for its content."""
    from devices.pong.export import export
    from devices.pong.runs import folder

    journal = _journal(session, directory)
    found = journal.find(run)
    path = export(journal.model(found), folder(Path(output)))
    ui.show({"run": found.id, "sha256": found.model, "file": str(path)}, [str(path)], as_json=session.json)


@verb
@_directory
@admin_options
@click.option("--namespace", required=True, type=ENTITY, metavar="ENTITY", help="The gateway's namespace.")
@click.option("--version", required=True, metavar="VERSION", help="Which version of the model 'pong' it becomes.")
@click.option("--expires", default="90d", show_default=True, metavar="TIME", help="Until when it may be loaded.")
@click.argument("run")
def pong_deploy(
    session: Session,
    *,
    directory: str | None,
    signer: str | None,
    passphrase_file: str | None,
    url: str,
    namespace: str,
    version: str,
    expires: str,
    run: str,
) -> None:
    """Sign the policy of RUN as a version of the model 'pong', and let it answer for the application 'pong'.

    It takes 'admin@NS/models/pong', and 'admin@NS/apps/pong' to make the application or link it.
    """
    from cli import reference
    from devices.gateway.model import ADMIN, packed, resource_of, sign_model
    from devices.pong.export import MODEL, TERMS, manifest_of, protect
    from wave.times import parse_expiry

    journal = _journal(session, directory)
    found = journal.find(run)
    artefact = protect(journal.model(found))
    manifest = manifest_of(artefact, version)
    secret = reference.secret(session, signer, passphrase_file)
    made: list[bytes] = []

    async def sign() -> None:
        async with agent_of(session) as agent:
            home = await resolve(session, agent, namespace)
            proof = await proof_of_right(agent, secret, home, ADMIN, resource_of(MODEL))
        now = session.now()
        lifetime = parse_expiry(expires, now) - now
        made.append(sign_model(secret, home, manifest, proof, now=now, lifetime=lifetime, nonce=os.urandom(16)))

    carry_out(sign())
    asker = Asker(signer, passphrase_file, url)
    model = change(session, asker, "PUT", f"/admin/v1/models/{MODEL}/versions/{version}", packed(made[0], artefact))
    app = f"/admin/v1/apps/{MODEL}"
    try:
        told = change(session, asker, "GET", app)
    except UnknownApplication:
        told = change(session, asker, "PUT", app, TERMS)
    if MODEL not in told["models"]:
        change(session, asker, "PUT", f"{app}/models/{MODEL}")
    lines = [f"run {found.id[:8]} ({found.kind}) answers as {MODEL} version {model['current']}"]
    ui.show({"run": found.id, **manifest.to_json(), "current": model["current"]}, lines, as_json=session.json)


# Parts -------------------------------------------------------------------------------------------------------------


def _journal(session: Session, directory: str | None) -> "Journal":
    """Return the runs in a directory; :class:`MissingLibrary` when what all verbs need is not there."""
    for library in ("numpy", "gymnasium", "sklearn", "skl2onnx", "onnxruntime"):
        if find_spec(library) is None:
            raise MissingLibrary(f"{library} is not installed", hint=_EXTRA)
    from devices.pong.runs import Journal

    return Journal(session.settings.home / "pong" if directory is None else Path(directory))


def _sets() -> tuple[str, ...]:
    from devices.pong.data import SETS

    return tuple(SETS)


def _made(journal: "Journal", name: str) -> dict[str, Any]:
    """Make a set of the exercise, unless it is there, and say what it is."""
    from devices.pong.data import exercise
    from devices.pong.runs import folder

    data = exercise(name)
    file = data.write(folder(journal.data))
    return {"set": name, "rows": len(data), "players": data.names, "sha256": data.sha256, "file": str(file)}


def _done(journal: "Journal", kind: str, data: str | None) -> "Run | None":
    """Return the run of that kind that was made from that data by the code as it is."""
    from devices.pong.runs import code_version

    code = code_version()
    found = next((one for one in journal.runs(kind) if (one.data, one.code) == (data, code)), None)
    if found is not None:
        ui.say(f"{kind} is trained already: run {found.id[:8]}")
    return found


def _imitated(journal: "Journal", kind: str, file: str | None, how: "Imitation") -> "Run":
    from devices.pong.data import DataSet, exercise
    from devices.pong.imitate import train

    data = exercise(kind) if file is None else DataSet.read(Path(file))
    ui.say(f"{kind}: learning from {len(data):,} rows of {', '.join(data.names)}")
    return _tracked(journal, kind, train(data, how), data)


def _reinforced(journal: "Journal", seconds: float, seed: int) -> "Run":
    try:
        from devices.pong.reinforce import train
    except ImportError as error:
        raise MissingLibrary(f"{RL} needs {error.name}, which is not installed", hint=_EXTRA) from None
    ui.say(f"{RL}: learning by playing, for {seconds:,.0f} s at most")
    return _tracked(journal, RL, train(seconds=seconds, seed=seed, report=_report(RL)), None)


def _report(what: str) -> "Callable[[Mapping[str, float]], None]":
    """Return what says how a training is going."""

    def report(figures: "Mapping[str, float]") -> None:
        ui.say(f"{what}: " + ", ".join(f"{name.replace('_', ' ')} {value:,.6g}" for name, value in figures.items()))

    return report


def _tracked(journal: "Journal", kind: str, trained: "Trained", data: "DataSet | None") -> "Run":
    """Let what was trained play, and track the run."""
    from devices.pong.evaluate import evaluate, of_onnx

    ui.say(f"{kind}: playing")
    return journal.record(kind, trained, evaluate(of_onnx(trained.onnx)), data, now=int(time.time()))


def _policy(journal: "Journal", player: str) -> "Batch":
    """Return the policy that a player's name stands for; :class:`UnknownRun`, :class:`BadModel`."""
    import numpy as np

    from devices.pong.evaluate import RULE, of_onnx, random_moves
    from devices.pong.export import SUFFIX
    from devices.pong.field import OBSERVATION
    from wave.entities.keyring import read_file
    from wave.errors import BadModel
    from wave.limits import LIMITS

    if player in (_RANDOM, _RULE):
        return RULE if player == _RULE else random_moves(1)
    if not player.endswith(SUFFIX):
        return of_onnx(journal.model(journal.find(player)))
    data = read_file(Path(player), bound=LIMITS.model_bytes)
    try:
        policy = of_onnx(data)
        policy(np.zeros((2, len(OBSERVATION)), np.float32))
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has a family of its own for each fault
        raise BadModel(f"{player} is no model that plays: {str(error)[:200]}") from None
    return policy


def _told(run: "Run") -> str:
    made = f" from {run.rows:,} rows ({(run.data or '')[:8]})" if run.rows else ""
    return f"run {run.id[:8]}: {run.kind}{made} survives {run.metrics['mean_steps']:,.0f} mean steps"


def _show_evaluations(session: Session, found: "Mapping[str, Evaluation]") -> None:
    result = [
        {"player": player, "mean_steps": one.mean, "error": one.error, "means": one.means, "games": len(one.steps)}
        for player, one in found.items()
    ]
    heads = ("player", "mean steps", "by seed")
    rows = [
        (player, f"{one.mean:,.0f} ± {one.error:,.0f}", ", ".join(f"{mean:,.0f}" for mean in one.means))
        for player, one in found.items()
    ]
    ui.show(result, ui.table(heads, rows), as_json=session.json)


for _name, _command in {
    "all": pong_all,
    "data": pong_data,
    "train": pong_train,
    "tune": pong_tune,
    "evaluate": pong_evaluate,
    "runs": pong_runs,
    "why": pong_why,
    "export": pong_export,
    "deploy": pong_deploy,
    "ui": pong_ui,
}.items():
    pong.add_command(_command, _name)
