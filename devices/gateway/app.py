"""The engine: applications over models, models over replicas. Every question is answered by its deadline."""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NamedTuple, Self

from devices.gateway.cache import ResultCache
from devices.gateway.model import INPUT_TYPES, SignedModel, check_manifest, check_name, check_version
from devices.gateway.pool import Meter, Pool, Pools, WorkerPool
from devices.gateway.replica import Bounds, Output
from devices.gateway.selection import POLICIES, Policy, Selected, loss, policy_of
from devices.gateway.store import Kept, ModelStore, read_checked
from wave.dots.cache import LeastRecent, Verifier
from wave.dots.facts import Facts
from wave.errors import AlreadyExists, BadModel, BadQuery, BadSetting, UnknownApplication, UnknownModel, WaveError
from wave.limits import LIMITS

NO_MODEL: Final = "No connected models found for query"
_OBJECTIVE: Final = 0.1  # seconds, of a model that no application uses
_NO_MORE_THAN: Final = 3600.0

FactsSource = Callable[[], Awaitable[Facts]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """What an application promises: its input type, its default output, and seconds until an answer (``objective``).

    ``policy`` is the selection policy's name, ``threshold`` and ``rate`` are its settings.
    """

    input_type: str
    default_output: Any
    objective: float
    policy: str = "single"
    threshold: float = 0.0
    rate: float = 0.1

    def __post_init__(self) -> None:
        """Check every field; :class:`BadSetting`."""
        if self.input_type not in INPUT_TYPES:
            raise BadSetting(
                f"there is no input type {str(self.input_type)[:40]!r}", hint=f"there are {', '.join(INPUT_TYPES)}"
            )
        for value in (self.objective, self.threshold, self.rate):
            if type(value) not in (int, float):
                raise BadSetting("objective, threshold and rate are numbers")
        if not 0.0 < self.objective <= _NO_MORE_THAN:
            raise BadSetting("an objective is more than 0 and at most 3600 seconds")
        if self.policy not in POLICIES:
            raise BadSetting(f"there is no policy {str(self.policy)[:40]!r}", hint=f"there are {', '.join(POLICIES)}")
        try:
            json.dumps(self.default_output, allow_nan=False)
        except (TypeError, ValueError):
            raise BadSetting("the default output is a JSON value") from None

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Self:
        """Return the terms in a table, as an API or a file gives them; :class:`BadSetting`."""
        unknown = set(table) - set(cls.__slots__)
        if unknown or not {"input_type", "default_output", "objective"} <= set(table):
            raise BadSetting(
                "an application has input_type, default_output and objective, and may have policy, threshold and rate"
            )
        return cls(**table)

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return {name: getattr(self, name) for name in self.__slots__}


class Application:
    """A name that questions are put to, and the models linked to it in order."""

    def __init__(self, name: str, terms: Terms, models: Sequence[str] = ()) -> None:
        """Serve ``terms`` with ``models``."""
        self.name = check_name(name, "an application")
        self.terms = terms
        self.models = list(models)
        self.policy: Policy = policy_of(terms.policy, threshold=terms.threshold, rate=terms.rate)


class _Version:
    """One version of a model: its signed manifest, its place on disk, and its replicas while it is loaded."""

    def __init__(self, signed: SignedModel, kept: Kept) -> None:
        self.signed = signed
        self.kept = kept
        self.pool: Pool | None = None


@dataclass(slots=True)
class Model:
    """A model: the versions known, the one that answers and the one that did before, and how many replicas."""

    name: str
    versions: dict[str, _Version] = field(default_factory=dict)
    current: str | None = None
    previous: str | None = None
    replicas: int = 1
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Prediction(NamedTuple):
    """An answer to an application's question; ``models`` are those that it comes from, as ``name/version``."""

    query_id: int
    output: Any
    default: bool
    explanation: str
    models: tuple[str, ...]
    confidence: float | None


class Engine:
    """Applications and models of one namespace. Open it with ``async with Engine(…).running():``."""

    def __init__(
        self,
        namespace: bytes,
        store: ModelStore,
        *,
        facts: FactsSource,
        meter: Meter,
        bounds: Bounds | None = None,
        pools: Pools = WorkerPool,
        verifier: Verifier | None = None,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Load no model but what an entity with ``admin@namespace/models/NAME`` signed, by ``facts``."""
        self.namespace = namespace
        self.applications: dict[str, Application] = {}
        self.models: dict[str, Model] = {}
        self.cache = ResultCache()
        self._store = store
        self._facts = facts
        self._meter = meter
        self._bounds = bounds or Bounds()
        self._pools = pools
        self._verifier = verifier or Verifier()
        self._clock = clock
        self._draw = draw
        self._numbers = count(1)
        self._answered: LeastRecent[tuple[str, str], str] = LeastRecent(LIMITS.results_kept)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Load what the store keeps, serve while the body runs, and end every process."""
        try:
            await self._restore()
            yield self
        finally:
            pools = [one.pool for model in self.models.values() for one in model.versions.values() if one.pool]
            await asyncio.gather(*[pool.abort() for pool in pools])
            self._save()

    async def _restore(self) -> None:
        """Load what was deployed and linked before; a version that may not be loaded any more is left out."""
        state = self._store.load()
        for kept in self._store:
            try:
                signed = await self._checked(kept.manifest, kept.read(), (kept.model, kept.version))
            except WaveError as error:
                _log.warning("%s version %s is not loaded: %s", kept.model, kept.version, error.message)
                continue
            self._model(kept.model).versions[kept.version] = _Version(signed, kept)
        for name, told in state.get("applications", {}).items():
            self.applications[name] = Application(name, Terms.parse(told["terms"]), told["models"])
            self.applications[name].policy.weights = told["weights"]
        for name, told in state.get("models", {}).items():
            model = self.models.get(name)
            if model is not None and told["current"] in model.versions:
                model.replicas = told["replicas"]
                model.previous = told["previous"] if told["previous"] in model.versions else None
                try:
                    await self._load(model, told["current"], model.replicas)
                    model.current = told["current"]
                except WaveError as error:
                    _log.warning("%s version %s is not loaded: %s", name, told["current"], error.message)

    # Who serves what ------------------------------------------------------------------------------------------------

    def register(self, name: str, terms: Terms) -> Application:
        """Serve an application under these terms, with the links it has; :class:`BadModel`, :class:`BadSetting`."""
        if name not in self.applications and len(self.applications) >= LIMITS.models:
            raise BadSetting(f"a gateway serves at most {LIMITS.models} applications")
        old = self.applications.get(name)
        new = Application(name, terms, old.models if old is not None else ())
        if old is not None:
            new.policy.weights = old.policy.weights
        self.applications[name] = new
        self._changed()
        return new

    def remove(self, name: str) -> None:
        """Serve an application no more; :class:`UnknownApplication`."""
        self.application(name)
        del self.applications[name]
        self._changed()

    def link(self, name: str, model: str) -> None:
        """Let an application use a model of its input type; :class:`UnknownModel`, :class:`BadSetting`."""
        application = self.application(name)
        version = self.model(model).versions[self._version(model, None)]
        taken, given = version.signed.manifest.input_type, application.terms.input_type
        if taken != given and {taken, given} != {"floats", "doubles"}:
            raise BadSetting(f"{model} takes {taken}, and {name} gives {given}")
        if model not in application.models:
            application.models.append(model)
        self._changed()

    def unlink(self, name: str, model: str) -> None:
        """Let an application use a model no more; :class:`UnknownModel`."""
        application = self.application(name)
        if model not in application.models:
            raise UnknownModel(f"{name} has no link to {model[:64]}")
        application.models.remove(model)
        self._changed()

    def application(self, name: str) -> Application:
        """Return an application; :class:`UnknownApplication`."""
        found = self.applications.get(name)
        if found is None:
            raise UnknownApplication(f"there is no application {name[:64]}")
        return found

    def model(self, name: str) -> Model:
        """Return a model; :class:`UnknownModel`."""
        found = self.models.get(name)
        if found is None or not found.versions:
            raise UnknownModel(f"there is no model {name[:64]}")
        return found

    # Versions -------------------------------------------------------------------------------------------------------

    async def deploy(self, manifest: bytes, artefact: bytes, *, expected: tuple[str, str] | None = None) -> SignedModel:
        """Keep a version and let it answer, once its replicas are ready; until then, and if it fails, nothing changes.

        ``expected`` is the model and version that it must be. Raises what :func:`check_manifest` does,
        :class:`ModelAltered`, :class:`BadModel`, :class:`AlreadyExists`.
        """
        signed = await self._checked(manifest, artefact, expected)
        name, version = signed.manifest.model, signed.manifest.version
        model = self._model(name)
        async with model.turn:
            known = model.versions.get(version)
            if known is None and len(model.versions) >= LIMITS.model_versions:
                most = LIMITS.model_versions
                raise BadSetting(f"at most {most} versions of a model are kept", hint="forget old ones")
            if known is not None and known.signed.manifest != signed.manifest:
                raise AlreadyExists(f"{name} has another version {version} already", hint="give it a new version")
            kept = await asyncio.to_thread(self._store.add, signed, artefact)
            if known is None:
                known = model.versions[version] = _Version(signed, kept)
            known.signed, known.kept = signed, kept
            try:
                await self._switch(model, version)
            except WaveError:
                if version not in (model.current, model.previous):
                    del model.versions[version]
                raise
        return signed

    async def use(self, name: str, version: str | None = None) -> str:
        """Let a version answer that was deployed, or with None the one before the current; return which it is.

        The right of whoever signed it is asked again. :class:`UnknownModel`, :class:`BadModel`.
        """
        model = self.model(name)
        async with model.turn:
            wanted = model.previous if version is None else check_version(version)
            if wanted is None or wanted not in model.versions:
                raise UnknownModel(f"{name} has no version {wanted[:64] if wanted else 'before this one'}")
            known = model.versions[wanted]
            artefact = await asyncio.to_thread(known.kept.read)
            known.signed = await self._checked(known.kept.manifest, artefact, (name, wanted))
            await self._switch(model, wanted)
        return wanted

    async def forget(self, name: str, version: str) -> None:
        """Keep a version no more, which is neither current nor the one before; :class:`UnknownModel`, BadQuery."""
        model = self.model(name)
        async with model.turn:
            known = model.versions.get(version)
            if known is None:
                raise UnknownModel(f"{name} has no version {version[:64]}")
            if version in (model.current, model.previous):
                raise BadQuery(f"version {version} of {name} answers, or is the one to roll back to")
            self._store.remove(known.kept)
            del model.versions[version]

    async def scale(self, name: str, number: int) -> None:
        """Let so many replicas (at least one) answer for a model; return when they do. BadQuery, BadModel."""
        if type(number) is not int or not 1 <= number <= LIMITS.model_replicas:
            raise BadQuery(f"a model has 1 to {LIMITS.model_replicas} replicas")
        model = self.model(name)
        async with model.turn:
            if model.current is not None:
                pool = model.versions[model.current].pool
                assert pool is not None
                await pool.scale(number)
            model.replicas = number
            self._changed()

    async def _switch(self, model: Model, version: str) -> None:
        """Let ``version`` answer from now on. The one before stays loaded with a replica; older ones are let go."""
        await self._load(model, version, model.replicas)
        if model.current != version:
            model.previous, model.current = model.current, version
        self._changed()
        for name, one in model.versions.items():
            if one.pool is None or name == version:
                continue
            if name == model.previous:
                await one.pool.scale(1)
            else:
                pool, one.pool = one.pool, None
                await pool.close()

    async def _load(self, model: Model, version: str, replicas: int) -> None:
        known = model.versions[version]
        if known.pool is None:
            pool = self._pools(
                known.signed.manifest,
                lambda: read_checked(known.kept, known.signed),
                objective=self._objective(model.name),
                bounds=self._bounds,
                meter=self._meter,
            )
            await pool.scale(replicas)
            known.pool = pool
        else:
            await known.pool.scale(replicas)

    async def _checked(self, manifest: bytes, artefact: bytes, expected: tuple[str, str] | None) -> SignedModel:
        facts = await self._facts()
        signed = check_manifest(
            manifest,
            namespace=self.namespace,
            facts=facts,
            now=int(self._clock()),
            verifier=self._verifier,
        )
        found = signed.manifest.model, signed.manifest.version
        if expected is not None and expected != found:
            raise BadModel(f"the manifest is about {found[0]} version {found[1]}")
        await asyncio.to_thread(signed.manifest.check, artefact)
        return signed

    def _model(self, name: str) -> Model:
        if name not in self.models:
            if len(self.models) >= LIMITS.models:
                raise BadSetting(f"a gateway serves at most {LIMITS.models} models")
            self.models[name] = Model(name)
        return self.models[name]

    def _objective(self, model: str) -> float:
        linked = [one.terms.objective for one in self.applications.values() if model in one.models]
        return min(linked, default=_OBJECTIVE)

    def _changed(self) -> None:
        """Save what is to outlive this process, and let batches follow the objectives."""
        for model in self.models.values():
            for one in model.versions.values():
                if one.pool is not None:
                    one.pool.objective = self._objective(model.name)
        self._save()

    def _save(self) -> None:
        self._store.save(
            {
                "applications": {
                    name: {"terms": one.terms.to_json(), "models": one.models, "weights": one.policy.weights}
                    for name, one in self.applications.items()
                },
                "models": {
                    name: {"current": one.current, "previous": one.previous, "replicas": one.replicas}
                    for name, one in self.models.items()
                },
            }
        )

    def _version(self, name: str, version: str | None) -> str:
        model = self.models.get(name)
        wanted = version if version is not None or model is None else model.current
        if model is None or wanted is None or wanted not in model.versions:
            raise UnknownModel(f"there is no model {name[:64]}" + (f" version {version[:64]}" if version else ""))
        return wanted

    def pool_of(self, name: str, version: str | None = None) -> Pool:
        """Return the replicas of a version (None: the current one) that is loaded; :class:`UnknownModel`."""
        wanted = self._version(name, version)
        pool = self.models[name].versions[wanted].pool
        if pool is None:
            raise UnknownModel(f"{name[:64]} version {wanted[:64]} is not loaded", hint="roll back to it to load it")
        return pool

    # Questions ------------------------------------------------------------------------------------------------------

    async def predict(self, name: str, row: Any, version: str | None = None) -> Prediction:
        """Return an application's answer by its objective: its default with a reason where no model has one.

        ``version`` is that of its one model. :class:`UnknownApplication`, :class:`BadQuery`.
        """
        application = self.application(name)
        number = next(self._numbers)
        began = asyncio.get_running_loop().time()
        deadline = began + application.terms.objective
        models = [one for one in application.models if version is not None or self._answers(one)]
        if version is not None and len(application.models) > 1:
            raise BadQuery(f"{name} has several models: a version names none of them")
        used: dict[str, str] = {}
        selected = Selected(None, (), NO_MODEL)
        if models:
            asked = self._asker(row, version, deadline, used)
            selected = await application.policy.select(models, asked, deadline, self._draw)
        output = selected.output
        by = tuple(f"{model}/{used[model]}" for model in selected.models if model in used)
        seconds = asyncio.get_running_loop().time() - began
        self._meter.predicted(name, seconds, default=output is None)
        if output is None:
            return Prediction(number, application.terms.default_output, True, selected.explanation, by, None)
        if application.policy.learns:
            self._answered[name, repr(row)] = selected.models[0]
        return Prediction(number, output.value, False, "", by, output.confidence)

    def _answers(self, name: str) -> bool:
        model = self.models.get(name)
        return model is not None and model.current is not None

    def _asker(
        self, row: Any, version: str | None, deadline: float, used: dict[str, str]
    ) -> Callable[[str], Awaitable[Output]]:
        async def ask(model: str) -> Output:
            pool = self.pool_of(model, version)
            used[model] = pool.manifest.version
            return await self._ask(pool, row, deadline)

        return ask

    async def _ask(self, pool: Pool, row: Any, deadline: float) -> Output:
        found = self.cache.find(pool.digest, row, deadline, lambda: pool.ask(row, deadline))
        return found if isinstance(found, Output) else await asyncio.shield(found)

    async def infer(self, pool: Pool, rows: Sequence[Any]) -> list[Output]:
        """Return a model's outputs, one for each question, or raise its fault; there is no default."""
        deadline = asyncio.get_running_loop().time() + 2 * self._bounds.answering
        tasks = [asyncio.ensure_future(self._ask(pool, row, deadline)) for row in rows]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def learn(self, name: str, row: Any, label: Any) -> None:
        """Tell an application which output would have been right; :class:`UnknownApplication`."""
        application = self.application(name)
        if not application.policy.learns or not application.models:
            return
        chosen = self._answered.get((name, repr(row)))
        deadline = asyncio.get_running_loop().time() + self._bounds.answering
        ask = self._asker(row, None, deadline, {})
        models = tuple(application.models)
        asked = models if application.policy.name == "exp4" else [one for one in models if one == chosen]
        said = await asyncio.gather(*[ask(model) for model in asked], return_exceptions=True)
        losses = {
            model: loss(output.value, label)
            for model, output in zip(asked, said, strict=True)
            if isinstance(output, Output)
        }
        application.policy.learn(models, chosen, losses)
