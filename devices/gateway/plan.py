"""What a gateway serves to begin with, as written in GATEWAY.toml. What is changed while it runs is kept, and wins."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from devices.gateway.app import Terms
from devices.gateway.model import check_name
from devices.gateway.ray import Autoscaling, RaySettings
from devices.gateway.replica import MIB, Bounds
from devices.origin import check_origin
from wave.errors import BadSetting, WaveError
from wave.limits import LIMITS

SIGNED: Final = ".wave"  # after the name of a model's file: its signed manifest
_QUESTIONS: Final = "127.0.0.1:1337"  # Clipper's ports
_CHANGES: Final = "127.0.0.1:1338"
EMBEDDED: Final = "embedded"  # the engines: worker processes of the gateway's own, or a Ray cluster
RAY: Final = "ray"
_KEYS: Final = frozenset(
    ("namespace", "listen", "admin", "authorities", "origins", "state", "engine", "ray", "replica", "app", "model")
)


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A model's file, beside which lies its signed manifest, and how many replicas there are to be.

    With ``autoscaling`` there are as many as its load takes.
    """

    name: str
    file: Path
    replicas: int
    autoscaling: Autoscaling | None

    @property
    def manifest(self) -> Path:
        """The signed manifest's file."""
        return self.file.with_name(self.file.name + SIGNED)


@dataclass(frozen=True, slots=True)
class AppPlan:
    """An application: its terms, and the models linked to it."""

    name: str
    terms: Terms
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """A gateway: the namespace (by any name of it), where it listens and by which further names it is reached.

    ``origins`` are those of the web pages that may ask it from a browser.
    """

    namespace: str
    listen: str
    admin: str
    authorities: tuple[str, ...]
    origins: tuple[str, ...]
    state: Path | None
    engine: str
    ray: RaySettings
    bounds: Bounds
    apps: tuple[AppPlan, ...]
    models: tuple[ModelPlan, ...]

    @classmethod
    def parse(cls, text: str, *, base: Path = Path()) -> Self:
        """Return the plan in a TOML text, whose files lie in ``base``; :class:`BadSetting` says where it is wrong."""
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadSetting(f"the gateway's file is not TOML: {error}") from None
        _known(table, "the gateway's file", _KEYS)
        models = tuple(_model(name, one, base) for name, one in _table(table, "model").items())
        return cls(
            namespace=_text(table, "namespace", "the gateway's file"),
            listen=_text(table, "listen", "the gateway's file", _QUESTIONS),
            admin=_text(table, "admin", "the gateway's file", _CHANGES),
            authorities=_texts(table, "authorities", "HOST:PORT"),
            origins=tuple(map(check_origin, _texts(table, "origins", "https://HOST[:PORT]"))),
            state=base / _text(table, "state", "the gateway's file") if "state" in table else None,
            engine=_engine(table.get("engine", EMBEDDED)),
            ray=_ray(_table(table, "ray"), models),
            bounds=_bounds(_table(table, "replica")),
            apps=tuple(_app(name, one) for name, one in _table(table, "app").items()),
            models=models,
        )


def place(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; :class:`BadSetting`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdecimal()):
        raise BadSetting(f"{text[:80]!r} is no place to listen at", hint="write HOST:PORT, such as 127.0.0.1:1337")
    return host.strip("[]"), int(port)


def _engine(name: object) -> str:
    if name not in (EMBEDDED, RAY):
        raise BadSetting(f"there is no engine {str(name)[:40]!r}", hint=f"there are {EMBEDDED} and {RAY}")
    return str(name)


def _ray(table: Mapping[str, Any], models: Iterable[ModelPlan]) -> RaySettings:
    _known(table, "ray", {"address", "num_cpus", "autoscaling"})
    default = RaySettings()
    num_cpus = table.get("num_cpus", default.num_cpus)
    if type(num_cpus) not in (int, float) or not 0 <= num_cpus < math.inf:
        raise BadSetting("ray: num_cpus is a number that is not below 0")
    return RaySettings(
        _text(table, "address", "ray", default.address),
        float(num_cpus),
        _autoscaling(table, "ray"),
        {one.name: one.autoscaling for one in models if one.autoscaling is not None},
    )


def _autoscaling(table: Mapping[str, Any], where: str) -> Autoscaling | None:
    found = table.get("autoscaling")
    if found is None:
        return None
    if not isinstance(found, dict):
        raise BadSetting(f"{where}: autoscaling is a table")
    try:
        return Autoscaling.parse(found)
    except BadSetting as error:
        raise BadSetting(f"{where}: {error.message}", hint=error.hint) from None


def _bounds(table: Mapping[str, Any]) -> Bounds:
    _known(table, "replica", {"loading", "answering", "memory_mib"})
    default = Bounds()
    numbers = {name: table.get(name, getattr(default, name)) for name in ("loading", "answering")}
    memory = table.get("memory_mib", default.memory // MIB)
    if any(type(one) not in (int, float) or not one > 0 for one in (*numbers.values(), memory)):
        raise BadSetting("replica: loading, answering (seconds) and memory_mib are numbers above 0")
    return Bounds(**numbers, memory=int(memory * MIB))


def _app(name: str, table: Any) -> AppPlan:
    where = f"app {name[:40]}"
    if not isinstance(table, dict):
        raise BadSetting(f"{where} is a table")
    models = table.get("models", [])
    if not isinstance(models, list) or not all(isinstance(one, str) for one in models):
        raise BadSetting(f"{where}: models is an array of names")
    try:
        terms = Terms.parse({key: value for key, value in table.items() if key != "models"})
        return AppPlan(check_name(name, "an application"), terms, tuple(models))
    except WaveError as error:
        raise BadSetting(f"{where}: {error.message}", hint=error.hint) from None


def _model(name: str, table: Any, base: Path) -> ModelPlan:
    where = f"model {name[:40]}"
    if not isinstance(table, dict):
        raise BadSetting(f"{where} is a table")
    _known(table, where, {"file", "replicas", "autoscaling"})
    autoscaling = _autoscaling(table, where)
    replicas = table.get("replicas", 1 if autoscaling is None else autoscaling.min_replicas)
    if type(replicas) is not int or not 1 <= replicas <= LIMITS.model_replicas:
        raise BadSetting(f"{where}: replicas is a number from 1 to {LIMITS.model_replicas}")
    return ModelPlan(name, base / _text(table, "file", where), replicas, autoscaling)


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, dict):
        raise BadSetting(f"the gateway's file: {key} is a table")
    return found


def _texts(table: Mapping[str, Any], key: str, form: str) -> tuple[str, ...]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BadSetting(f"the gateway's file: {key} is an array of {form}")
    return tuple(found)


def _text(table: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    found = table.get(key, default)
    if not isinstance(found, str) or not found:
        raise BadSetting(f"{where}: {key} is a text")
    return found


def _known(table: Mapping[str, Any], where: str, keys: frozenset[str] | set[str]) -> None:
    unknown = set(table) - keys
    if unknown:
        raise BadSetting(f"{where}: {min(unknown)[:40]!r} is not known", hint=f"there are {', '.join(sorted(keys))}")
