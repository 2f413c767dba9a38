"""Runs: what each training was made of and what came of it, tracked with MLflow in a directory, without a server.

A run names its data (the SHA-256 of the set, and of which player and game each of its rows is), the code, the
parameters, the metrics and the model (its SHA-256). It holds no key: nothing that trains is given one.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from wave import __version__
from wave.entities.keyring import read_file, write_file
from wave.errors import MissingLibrary, ModelAltered, StateUnwritable, UnknownRun
from wave.limits import LIMITS

if TYPE_CHECKING:
    from devices.pong.data import DataSet
    from devices.pong.evaluate import Evaluation

MODEL: Final = "model.onnx"
LINEAGE: Final = "lineage.json"

_EXPERIMENT: Final = "pong"
_PREFIX: Final = 6  # characters of an id that name a run, at least
_MOST: Final = 1_000  # runs that are listed
_MILLISECONDS: Final = 1_000
_WHOLE: Final = "attributes.status = 'FINISHED'"  # not those that something interrupted


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training gives: the policy as an ONNX graph, its parameters, and figures in the order of time."""

    onnx: bytes
    parameters: Mapping[str, Any]
    curve: Sequence[Mapping[str, float]] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """A training that was tracked. ``data`` is the set's SHA-256, None where there was none.

    ``origins`` are the players, games and places of its rows (:class:`devices.pong.data.Origin`).
    """

    id: str
    kind: str
    began: int
    data: str | None
    rows: int
    origins: tuple[tuple[str, int, int, int], ...]
    code: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    model: str

    def to_json(self) -> dict[str, Any]:
        """Return the run, without its rows' origins."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "origins"}
        return {**fields, "parameters": dict(self.parameters), "metrics": dict(self.metrics)}


class Journal:
    """The runs in a directory: ``runs.db``, the ``models``, and the ``data`` that they were trained from."""

    def __init__(self, directory: Path) -> None:
        """Track in ``directory``, which is made when something is to be written there."""
        self.directory = directory.absolute()
        self.data = self.directory / "data"

    def record(self, kind: str, trained: Trained, evaluation: "Evaluation", data: "DataSet | None", *, now: int) -> Run:
        """Track a training, and keep its data; :class:`MissingLibrary`, :class:`StateUnwritable`."""
        folder(self.directory)
        if data is not None:
            data.write(folder(self.data))
        lineage = {
            "kind": kind,
            "code": code_version(),
            "model": hashlib.sha256(trained.onnx).hexdigest(),
            "data": None if data is None else data.sha256,
            "rows": 0 if data is None else len(data),
            "origins": [] if data is None else data.origins,
        }
        metrics = {"mean_steps": evaluation.mean, "error": evaluation.error, "games": float(len(evaluation.steps))}
        with self._asking():
            run = self._client.create_run(self._experiment, start_time=now * _MILLISECONDS, run_name=kind).info.run_id
            self._log(run, trained, metrics, lineage, now=now)
            if data is not None:
                self._log_data(run, kind, data)
            self._client.set_terminated(run, end_time=now * _MILLISECONDS)
        return self.find(run)

    def runs(self, kind: str | None = None) -> list[Run]:
        """Return the runs, of one kind or all, newest first; :class:`MissingLibrary`, :class:`StateUnwritable`."""
        if not self._database.exists():
            return []
        with self._asking():
            found = self._client.search_runs([self._experiment], _WHOLE, max_results=_MOST)
        runs = [self._read(one) for one in found]
        return sorted((one for one in runs if kind in (None, one.kind)), key=lambda one: -one.began)

    def find(self, name: str) -> Run:
        """Return a run by its id, the beginning of one, or a kind, of which the newest counts; :class:`UnknownRun`."""
        runs = self.runs()
        found = next((one for one in runs if name in (one.id, one.kind)), None)
        if found is None and len(name) >= _PREFIX:
            alike = [one for one in runs if one.id.startswith(name)]
            found = alike[0] if len(alike) == 1 else None
        if found is None:
            raise UnknownRun(f"no run {name[:40]!r} is tracked in {self.directory}")
        return found

    def model(self, run: Run) -> bytes:
        """Return a run's policy; :class:`MissingFile`, :class:`ModelAltered`."""
        path = self._artefact(run.id, MODEL)
        data = read_file(path, bound=LIMITS.model_bytes)
        if hashlib.sha256(data).hexdigest() != run.model:
            raise ModelAltered(f"{path} is not the model that run {run.id[:8]} made", hint="train it again")
        return data

    def rows(self, run: Run) -> "DataSet":
        """Return what a run was trained from; :class:`UnknownRun` if not from rows, :class:`ModelAltered`."""
        from devices.pong.data import SUFFIX, DataSet

        if run.data is None:
            raise UnknownRun(f"{run.kind} was not trained from recorded play", hint="ask about one that imitates")
        data = DataSet.read(self.data / f"{run.data}{SUFFIX}")
        if data.sha256 != run.data:
            raise ModelAltered(f"the data of run {run.id[:8]} is not what it was", hint="make the data again")
        return data

    # Through MLflow --------------------------------------------------------------------------------------------------

    @property
    def _database(self) -> Path:
        return self.directory / "runs.db"

    @cached_property
    def _client(self) -> Any:
        return _load()(tracking_uri=f"sqlite:///{self._database}")

    @cached_property
    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        if found is None:
            return str(self._client.create_experiment(_EXPERIMENT, artifact_location=str(self.directory / "models")))
        return str(found.experiment_id)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Make what MLflow and its database raise ours; :class:`MissingLibrary`, :class:`StateUnwritable`."""
        _load()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError) as error:
            said = str(error).partition("\n")[0][:200]
            raise StateUnwritable(f"MLflow cannot work with {self._database}: {said}") from None

    def _artefact(self, run: str, name: str) -> Path:
        return self.directory / "models" / run / "artifacts" / name

    def _log(
        self, run: str, trained: Trained, metrics: Mapping[str, float], lineage: Mapping[str, Any], *, now: int
    ) -> None:
        from mlflow.entities import Metric, Param

        stamp = now * _MILLISECONDS
        points = [Metric(name, value, stamp, 0) for name, value in metrics.items()]
        for step, figures in enumerate(trained.curve):
            points += [Metric(f"training.{name}", float(value), stamp, step) for name, value in figures.items()]
        parameters = [Param(name, json.dumps(value)) for name, value in trained.parameters.items()]
        self._client.log_batch(run, params=parameters)
        for first in range(0, len(points), _MOST):
            self._client.log_batch(run, metrics=points[first : first + _MOST])
        folder(self._artefact(run, MODEL).parent)  # where MLflow itself would put them, unless the directory was moved
        write_file(self._artefact(run, LINEAGE), json.dumps(lineage, separators=(",", ":")).encode("ascii"))
        write_file(self._artefact(run, MODEL), trained.onnx)

    def _log_data(self, run: str, kind: str, data: "DataSet") -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name = Dataset(name=kind, digest=data.sha256[:32], source_type="local", source=data.sha256)
        self._client.log_inputs(run, [DatasetInput(name, [InputTag("mlflow.data.context", "training")])])

    def _read(self, found: Any) -> Run:
        """Return a run as it was recorded; :class:`ModelAltered`."""
        path = self._artefact(found.info.run_id, LINEAGE)
        try:
            lineage = json.loads(read_file(path, bound=LIMITS.model_bytes))
            fields = {name: lineage[name] for name in ("kind", "data", "rows", "code", "model")}
            origins = tuple((player, game, first, rows) for player, game, first, rows in lineage["origins"])
        except (ValueError, KeyError, TypeError):
            raise ModelAltered(
                f"{path} is not what was recorded", hint="remove the directory, and train again"
            ) from None
        return Run(
            id=found.info.run_id,
            began=found.info.start_time // _MILLISECONDS,
            origins=origins,
            parameters=MappingProxyType(dict(found.data.params)),
            metrics=MappingProxyType({name: one for name, one in found.data.metrics.items() if "." not in name}),
            **fields,
        )


def folder(path: Path) -> Path:
    """Return a directory, made if need be, its owner's alone; :class:`StateUnwritable`."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateUnwritable(f"cannot make {path}: {error.strerror}") from None
    return path


def code_version() -> str:
    """Return the version of WAVE and a hash of pong's own sources: with another hash a run need not come out alike."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"


def _load() -> Any:
    """Return the class of MLflow's clients; it tells nobody of its use. :class:`MissingLibrary`."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when it is loaded
    try:
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise MissingLibrary("runs are tracked with MLflow, which is not installed", hint="make setup-heavy") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient
