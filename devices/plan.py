"""The plan of a home, as written in HOME.toml: which devices it has, and which controllers act in it."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from devices.controller import RULES
from devices.device import PRESENCE_SIGNAL
from devices.feed import Feed
from devices.machine import Machine
from devices.site import KINDS, kind_of, machine
from wave.errors import BadSetting, WaveError
from wave.namespace.grant import parse_grant
from wave.namespace.pattern import resource

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_MOST: Final = 1000  # devices, and as many controllers
_EXAMPLES: Final[Mapping[str, str]] = {
    "namespace": "home",
    "kind": "light",
    "instance": "light0",
    "name": "controller0",
    "rule": "mirror",
    "to": "home/s.light/light0/i.boolean/slot/state",
}


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device: its kind, its instance (which is its entity's local name too) and a second path, if any.

    A kind is one of ours or ``FILE.py:CLASS``. ``seed`` and ``file`` are a feed's.
    """

    kind: str
    instance: str
    also: str | None = None
    seed: int = 0
    file: Path | None = None

    def machine(self) -> Machine[Any]:
        """Return a new machine; :class:`BadSetting` when there is none of that kind."""
        return machine(self.kind, seed=self.seed, file=self.file)

    def rights(self) -> tuple[tuple[str, str], ...]:
        """Return the device's rights to its own resources, as permission and pattern."""
        path = f"{kind_of(self.kind).service}/{self.instance}"
        own = (
            ("subscribe", f"{path}/+/slot/+"),
            ("subscribe", f"{path}/{PRESENCE_SIGNAL}"),
            ("publish", f"{path}/+/signal/+"),
        )
        if self.also is None:
            return own
        return (*own, ("subscribe", f"{self.also}/control"), ("publish", f"{self.also}/report"))


@dataclass(frozen=True, slots=True)
class Address:
    """A resource as written: a namespace by any name of it, and the path in it."""

    namespace: str
    resource: str


@dataclass(frozen=True, slots=True)
class ControllerPlan:
    """One controller: what it hears (by the rule's names), what it commands, and its rule."""

    name: str
    rule: str
    sources: tuple[tuple[str, Address], ...]
    target: Address

    def rights(self, namespace: str) -> tuple[tuple[str, str], ...]:
        """Return the rights that the home itself can give: those in its own ``namespace``."""
        heard = [("subscribe", one.resource) for _, one in self.sources if one.namespace == namespace]
        commanded = [("publish", self.target.resource)] if self.target.namespace == namespace else []
        return (*heard, *commanded)


@dataclass(frozen=True, slots=True)
class HomePlan:
    """A whole home. ``router`` is the URL of the router that it uses, or None to run its own on ``port``."""

    namespace: str
    router: str | None
    port: int | None
    devices: tuple[DevicePlan, ...]
    controllers: tuple[ControllerPlan, ...]

    @classmethod
    def parse(cls, text: str, *, base: Path = Path()) -> Self:
        """Return the plan in a TOML text; :class:`BadSetting` that says where it is wrong.

        Files that it names are looked for from the directory ``base``.
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadSetting(f"the home's file is not TOML: {error}") from None
        _known(table, "the home's file", {"namespace", "router", "port", "device", "controller"})
        namespace = _text(table, "namespace", "the home's file")
        devices = tuple(_device(one, f"device {number}", base) for number, one in _tables(table, "device"))
        controllers = tuple(_controller(one, f"controller {number}") for number, one in _tables(table, "controller"))
        names = [one.instance for one in devices] + [one.name for one in controllers]
        if len({namespace, *names}) <= len(names):
            first = next(one for one in [namespace, *names] if [namespace, *names].count(one) > 1)
            who = "the namespace and an actor" if first == namespace else "two actors"
            hint = "each device's instance, each controller's name and the namespace differ"
            raise BadSetting(f"the home's file: {who} have the same name, {first!r}", hint=hint)
        port = table.get("port")
        if port is not None and (type(port) is not int or not 0 <= port < 1 << 16):
            raise BadSetting("the home's file: port is a number from 0 to 65535")
        router = _text(table, "router", "the home's file") if "router" in table else None
        return cls(namespace, router, port, devices, controllers)


def address(text: str) -> Address:
    """Return the resource in ``NAMESPACE/RESOURCE``; :class:`InputError`."""
    parts = parse_grant(f"publish@{text}")
    return Address(parts.namespace, str(resource(parts.pattern)))


def name(text: str, where: str) -> str:
    """Return ``text`` as the name of an actor; :class:`BadSetting`."""
    if _NAME.fullmatch(text) is None:
        raise BadSetting(f"{where}: {text[:40]!r} is not a name", hint="a name is 1 to 32 of a-z, 0-9 and '-'")
    return text


def _device(table: Mapping[str, Any], where: str, base: Path) -> DevicePlan:
    _known(table, where, {"kind", "instance", "also", "seed", "file"})
    kind = _text(table, "kind", where)
    if ":" in kind:
        kind = str(base / kind)
    elif kind not in KINDS:
        hint = f"there are {', '.join(KINDS)}, and FILE.py:CLASS for one of your own"
        raise BadSetting(f"{where}: there is no kind {kind[:40]!r}", hint=hint)
    if kind != Feed.kind and {"seed", "file"} & set(table):
        raise BadSetting(f"{where}: only a feed has a seed or a file")
    seed = table.get("seed", 0)
    if type(seed) is not int:
        raise BadSetting(f"{where}: seed is a whole number")
    file = base / _text(table, "file", where) if "file" in table else None
    also = None
    if "also" in table:
        try:
            also = str(resource(_text(table, "also", where)))
        except WaveError as error:
            raise BadSetting(f"{where}: {error.message}", hint=error.hint) from None
    return DevicePlan(kind, name(_text(table, "instance", where), where), also, seed, file)


def _controller(table: Mapping[str, Any], where: str) -> ControllerPlan:
    _known(table, where, {"name", "rule", "from", "to"})
    rule = _text(table, "rule", where)
    if rule not in RULES:
        raise BadSetting(f"{where}: there is no rule {rule[:40]!r}", hint=f"there are {', '.join(RULES)}")
    sources = table.get("from")
    if not isinstance(sources, dict) or not sources or len(sources) > _MOST:
        raise BadSetting(f"{where}: from is a table of sources", hint='from = {switch = "home/s.switch/…"}')
    try:
        heard = tuple((one, address(_text(sources, one, where))) for one in sources)
        target = address(_text(table, "to", where))
    except BadSetting:
        raise
    except WaveError as error:
        raise BadSetting(f"{where}: {error.message}", hint=error.hint) from None
    return ControllerPlan(name(_text(table, "name", where), where), rule, heard, target)


def _tables(table: Mapping[str, Any], key: str) -> list[tuple[int, Mapping[str, Any]]]:
    found = table.get(key, [])
    if not isinstance(found, list) or len(found) > _MOST or not all(isinstance(one, dict) for one in found):
        raise BadSetting(f"the home's file: [[{key}]] is a list of at most {_MOST} tables")
    return list(enumerate(found, 1))


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise BadSetting(f"{where}: {key} is missing, or not a text", hint=f'write {key} = "{_EXAMPLES.get(key, "…")}"')
    return value


def _known(table: Mapping[str, Any], where: str, keys: set[str]) -> None:
    if unknown := sorted(set(table) - keys):
        raise BadSetting(f"{where}: {unknown[0][:40]!r} is not known", hint=f"there are {', '.join(sorted(keys))}")
