"""The replicas of one version of a model: they share its questions, and one that is lost is replaced unnoticed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from devices.gateway.batching import BatchSize, Question, Waiting, refuse
from devices.gateway.model import Manifest
from devices.gateway.replica import Bounds, Output, Replica
from wave.errors import BadQuery, ModelFault, ModelRaised, ReplicaLost, WaveError
from wave.limits import LIMITS

_ATTEMPTS: Final = 2  # at one question, the second one alone
_PAUSE: Final = 0.05  # seconds before a lost replica is replaced, doubled each time it fails to come back
_LONGEST_PAUSE: Final = 5.0
_DRAINING: Final = 10.0

_log = logging.getLogger(__name__)


class Meter(Protocol):
    """Whoever counts what happens."""

    def predicted(self, application: str, seconds: float, *, default: bool) -> None:
        """Hear of an application's answer."""
        ...

    def batch(self, model: str, version: str, size: int, seconds: float) -> None:
        """Hear of a batch that was answered."""
        ...

    def lost(self, model: str, version: str) -> None:
        """Hear of a replica that was lost."""
        ...


class Pool(Protocol):
    """What answers for one version of a model, wherever its replicas are."""

    manifest: Manifest
    digest: bytes
    objective: float
    """Seconds in which an answer is wanted; batches are held to it."""

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        ...

    @property
    def batch_limits(self) -> list[int]:
        """How large a batch may be now, for each that is under way at once."""
        ...

    @property
    def processes(self) -> list[int]:
        """The processes of the replicas that are there."""
        ...

    async def scale(self, number: int) -> None:
        """Have so many replicas; return when they can answer. Those let go answer what they were asked first.

        Raises :class:`BadModel` when one does not load, with the number as it was.
        """
        ...

    def ask(self, row: Any, deadline: float) -> Question:
        """Return a question that waits for its ``answer`` (an :class:`Output`) until ``deadline``; :class:`ModelBusy`.

        The answer may be :class:`ModelFault` or :class:`ModelLate`.
        """
        ...

    async def close(self) -> None:
        """Answer what waits with the replicas that are there, then let them go."""
        ...

    async def abort(self) -> None:
        """End everything now."""
        ...


class Pools(Protocol):
    """An engine for models: makes their pools."""

    def __call__(
        self, manifest: Manifest, read: Callable[[], bytes], *, objective: float, bounds: Bounds, meter: Meter
    ) -> Pool:
        """Return a pool, still empty, that loads what ``read`` returns: the file that ``manifest`` speaks of."""
        ...


class Worker(Protocol):
    """What a pool sends batches to, one at a time; :class:`Replica` is one."""

    pid: int
    swollen: bool

    @property
    def ended(self) -> bool:
        """Whether it is no more."""
        ...

    def on_end(self, hear: Callable[[], None]) -> None:
        """Call ``hear`` when it is no more."""
        ...

    async def answer(self, rows: Sequence[Any]) -> tuple[list[Output], float]:
        """Return the outputs of a batch, and the model's own seconds; :class:`ModelRaised`, :class:`ReplicaLost`."""
        ...

    async def stop(self) -> None:
        """End it, which has nothing to do any more."""
        ...

    async def kill(self) -> None:
        """End it, whatever it does."""
        ...


class _Place:
    """One replica's place: it is taken by one process after the other."""

    def __init__(self, size: BatchSize, replica: Worker) -> None:
        self.size = size
        self.leaving = False
        self.replica = replica
        self.useful = False  # whether that process has answered anything
        self.waiter: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None

    def occupy(self, replica: Worker) -> None:
        """Be taken by a process."""
        if replica is not self.replica:
            self.replica, self.useful = replica, False
        replica.on_end(self.wake)

    def wake(self) -> None:
        """Let it look up, if it waits."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class WorkerPool:
    """Answers questions with the replicas of one model version, each a process of the gateway's own."""

    def __init__(
        self,
        manifest: Manifest,
        read: Callable[[], bytes],
        *,
        objective: float,
        bounds: Bounds,
        meter: Meter,
        start: Callable[[Manifest, bytes, Bounds], Awaitable[Worker]] = Replica.start,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load what ``read`` returns, which is the file that ``manifest`` speaks of, in each replica."""
        self.manifest = manifest
        self.digest = manifest.digest
        self.bounds = bounds
        self._read = read
        self._objective = objective
        self._meter = meter
        self._start = start
        self._clock = clock
        self._waiting = Waiting()
        self._places: list[_Place] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def objective(self) -> float:
        """Seconds in which an answer is wanted; batches are held to it."""
        return self._objective

    @objective.setter
    def objective(self, seconds: float) -> None:
        self._objective = seconds
        for place in self._places:
            place.size.objective = seconds

    @property
    def wanted(self) -> int:
        """How many replicas there are to be."""
        return len(self._places)

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return len(self._waiting)

    @property
    def batch_limits(self) -> list[int]:
        """How large a batch each replica takes now."""
        return [place.size.limit for place in self._places]

    @property
    def processes(self) -> list[int]:
        """The processes that are there."""
        found = [place.replica for place in self._places]
        return [one.pid for one in found if not one.ended]

    # Size -----------------------------------------------------------------------------------------------------------

    async def scale(self, number: int) -> None:
        """Have so many replicas; return when they can answer. Those let go answer what they were asked first.

        Raises :class:`BadModel` when one does not load, with the number as it was.
        """
        if not 0 <= number <= LIMITS.model_replicas:
            raise BadQuery(f"a model has at most {LIMITS.model_replicas} replicas")
        if number > self.wanted:
            await self._grow(number - self.wanted)
        while self.wanted > number:
            lost = [place for place in self._places if place.replica.ended]  # these have nothing to finish
            place = [*self._places, *lost][-1]
            self._places.remove(place)
            place.leaving = True
            place.wake()
            assert place.task is not None
            self._leaving.add(place.task)
            place.task.add_done_callback(self._leaving.discard)

    async def _grow(self, number: int) -> None:
        artefact = await asyncio.to_thread(self._read)
        starts = [asyncio.ensure_future(self._start(self.manifest, artefact, self.bounds)) for _ in range(number)]
        try:
            replicas = await asyncio.gather(*starts)
        except BaseException:
            for one in await asyncio.gather(*map(_given_up, starts)):
                if one is not None:
                    await one.kill()
            raise
        for replica in replicas:
            place = _Place(BatchSize(self._objective), replica)
            place.task = asyncio.create_task(self._run(place, replica))
            self._places.append(place)

    async def close(self) -> None:
        """Answer what waits with the replicas that are there, then let them go."""
        answers = self._waiting.answers()
        if answers and self._places:
            await asyncio.wait(answers, timeout=_DRAINING)
        self._closed = True
        await self.scale(0)
        if self._leaving:
            await asyncio.gather(*self._leaving, return_exceptions=True)
        self._waiting.clear(ModelFault("the model was taken away"))

    async def abort(self) -> None:
        """End everything now."""
        self._closed = True
        tasks = [place.task for place in self._places if place.task is not None] + [*self._leaving]
        self._places.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._waiting.clear(ModelFault("the gateway stops"))

    # Questions ------------------------------------------------------------------------------------------------------

    def ask(self, row: Any, deadline: float) -> Question:
        """Return a question that waits for its ``answer`` (an :class:`Output`) until ``deadline``; :class:`ModelBusy`.

        The answer may be :class:`ModelFault` or :class:`ModelLate`.
        """
        if self._closed or not self._places:
            raise ModelFault(f"{self.manifest.model} version {self.manifest.version} is not loaded")
        question = Question(row, deadline, asyncio.get_running_loop().create_future())
        self._waiting.add(question)
        self._wake_one()
        return question

    def _wake_one(self) -> None:
        for place in self._places:
            if place.waiter is not None and not place.waiter.done():
                place.wake()
                return

    async def _run(self, place: _Place, replica: Worker | None) -> None:
        """Keep a place taken: by another process when the one there is lost, or holds more memory than it may."""
        pause = _PAUSE
        successor: asyncio.Task[Worker | None] | None = None
        try:
            while not place.leaving:
                if replica is None:
                    replica = await self._replaced(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                place.occupy(replica)
                try:
                    await self._serve(place, replica, successor)
                except ReplicaLost as error:
                    _log.warning("a replica of %s: %s", self._name, error.message)
                    self._meter.lost(self.manifest.model, self.manifest.version)
                    pause = _PAUSE if place.useful else pause
                    await replica.kill()
                    replica = None
                else:
                    if successor is None and not place.leaving:
                        successor = asyncio.create_task(self._replaced(0.0))
                        successor.add_done_callback(lambda _: place.wake())
                        continue
                if successor is not None and not place.leaving:
                    old, replica, successor = replica, await successor, None
                    if old is not None:
                        await old.stop()
        finally:
            left = [replica] if successor is None else [replica, await _given_up(successor)]
            for one in left:
                if one is not None:
                    await (one.stop() if place.leaving else one.kill())

    @property
    def _name(self) -> str:
        return f"{self.manifest.model} version {self.manifest.version}"

    async def _replaced(self, pause: float) -> Worker | None:
        await asyncio.sleep(pause)
        try:
            return await self._start(self.manifest, await asyncio.to_thread(self._read), self.bounds)
        except (WaveError, OSError) as error:
            _log.warning("a replica of %s did not come back: %s", self._name, error)
            return None

    async def _serve(self, place: _Place, replica: Worker, successor: "asyncio.Task[Worker | None] | None") -> None:
        """Answer batches until the place is to be left, a successor is wanted or it is there; :class:`ReplicaLost`."""
        while not (place.leaving or (replica.swollen if successor is None else successor.done())):
            batch = self._waiting.take(place.size.limit, self._clock())
            if batch:
                await self._answer(place, replica, batch)
                continue
            if replica.ended:
                raise ReplicaLost("the process died")
            place.waiter = asyncio.get_running_loop().create_future()
            try:
                await place.waiter
            finally:
                place.waiter = None
        self._wake_one()  # what was meant for this one is for another

    async def _answer(self, place: _Place, replica: Worker, batch: Sequence[Question]) -> None:
        try:
            outputs, seconds = await replica.answer([question.row for question in batch])
        except (ModelRaised, ReplicaLost) as error:
            self._failed(batch, error)
            if isinstance(error, ReplicaLost):
                raise
            return
        except asyncio.CancelledError:
            for question in batch:
                refuse(question, ModelFault("the gateway stops"))
            raise
        place.useful = True
        place.size.note(len(batch), seconds)
        self._meter.batch(self.manifest.model, self.manifest.version, len(batch), seconds)
        for question, output in zip(batch, outputs, strict=True):
            if not question.answer.done():
                question.answer.set_result(output)

    def _failed(self, batch: Sequence[Question], error: ModelFault) -> None:
        """Have the questions of a batch asked again, each alone; one that was alone already gets the error."""
        again = []
        for question in batch:
            question.attempts += 1
            if question.attempts < _ATTEMPTS and (len(batch) > 1 or isinstance(error, ReplicaLost)):
                again.append(question)
            else:
                refuse(question, error)
        self._waiting.put_back(again)
        self._wake_one()


async def _given_up(start: "asyncio.Future[Worker] | asyncio.Task[Worker | None]") -> Worker | None:
    start.cancel()
    with suppress(BaseException):
        return await start
    return None
