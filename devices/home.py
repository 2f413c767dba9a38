"""The home server: with the namespace's secret it gives each device an entity and its rights, and runs them all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from devices.controller import RULES, Controller, Place
from devices.crowd import Crowd
from devices.device import Device
from devices.log import DecisionLog, Tell, also_to
from devices.plan import Address, ControllerPlan, DevicePlan, HomePlan
from devices.site import Site, all_ready
from wave.agent.wire import Call, FindObject, FindRouter, Publish, Status
from wave.codec import id_text
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.entities.keyring import Keyring, read_secret, read_text, write_file, write_secret
from wave.entities.object import from_text
from wave.errors import (
    AlreadyExists,
    BadPassphrase,
    MissingFile,
    Revoked,
    StateUnwritable,
    UnknownObject,
    UnknownRouter,
    WaveError,
)
from wave.namespace.grant import Right, right
from wave.namespace.route import Route

DAY: Final = 86_400
ENTITY_LIFETIME: Final = 10 * 365 * DAY
DOT_LIFETIME: Final = 30 * DAY
RENEW_WITHIN: Final = 10 * DAY
CHECK_EVERY: Final = 3600.0  # seconds between looks for DoTs that near their end
LOT: Final = 50  # actors that begin, and stop, at once: each connects, has two proofs built, and says its state
SETTLE: Final = 10.0  # seconds for a lot to have done so before the next one, or controllers, come

R = TypeVar("R")


class Agent(Protocol):
    """Whoever carries out calls."""

    async def call(self, call: Call[R]) -> R:
        """Return the answer, or raise the agent's error."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """One actor of a home: its plan and its own secret."""

    name: str
    plan: DevicePlan | ControllerPlan
    secret: EntitySecret


class Home:
    """A home in a directory of its own: ``NAME.ent`` and ``NAME.dot`` for each device and controller."""

    def __init__(
        self,
        plan: HomePlan,
        owner: EntitySecret,
        directory: Path,
        *,
        agent: Agent,
        draw: Callable[[int], bytes],
        keyring: Keyring | None = None,
    ) -> None:
        """Keep what belongs to the home of ``owner``, the namespace, in ``directory``; names go into ``keyring``."""
        self.plan = plan
        self.owner = owner
        self.directory = directory
        self._agent = agent
        self._draw = draw
        self._keyring = keyring
        self._carried: tuple[EntitySecret, str] | None = None

    async def provision(self, now: int) -> tuple[tuple[Member, ...], tuple[Revoked, ...]]:
        """Give every actor its entity and its rights, where it lacks them; return all, and what was taken back.

        Doing it again changes nothing. A DoT that somebody revoked is not replaced: that was meant. To grant again,
        delete the file ``NAME.dot``.
        """
        _make(self.directory)
        members, publish, taken_back = [], [self.owner.entity.to_bytes()], []
        for name, plan, rights in self._wanted():
            secret = self._secret(name, now)
            publish.append(secret.entity.to_bytes())
            members.append(Member(name, plan, secret))
            if rights:
                try:
                    publish.append(await self._dot(name, secret, rights, now))
                except Revoked as error:
                    taken_back.append(error)
        own = (await self._agent.call(Status())).own  # on a chain of others, nobody needs to read what a home has
        await self._agent.call(Publish(objects=tuple(publish), keep_only=not own))
        if self._carried is not None:
            await self.designate(*self._carried, now)
        return tuple(members), tuple(taken_back)

    def _wanted(self) -> list[tuple[str, DevicePlan | ControllerPlan, tuple[tuple[str, str], ...]]]:
        devices = [(one.instance, one, one.rights()) for one in self.plan.devices]
        controllers = [(one.name, one, one.rights(self.plan.namespace)) for one in self.plan.controllers]
        return [*devices, *controllers]

    def _secret(self, name: str, now: int) -> EntitySecret:
        secret = _own_secret(self.directory / f"{name}.ent", f"{name} of a home", self._draw, now)
        if self._keyring is not None:
            try:
                if self._keyring.find(name) is None:
                    self._keyring.add(name, secret.entity)
            except AlreadyExists:
                pass
        return secret

    async def _dot(self, name: str, secret: EntitySecret, rights: tuple[tuple[str, str], ...], now: int) -> bytes:
        """Return the bytes of the DoT that an actor acts by, a new one when the plan or the time asks for it."""
        path = self.directory / f"{name}.dot"
        grants = tuple(_rights(rights))
        try:
            known: Dot | None = Dot.from_object(from_text(read_text(path)))
        except MissingFile:
            known = None
        if known is not None and known.receiver == secret.id and known.namespace == self.owner.id:
            try:
                height = (await self._agent.call(FindObject(id=id_text(known.id)))).revoked_at
            except UnknownObject:
                height = None
            if height is not None and known.grants == grants:
                raise Revoked(
                    f"the right of {name} was taken back in block {height}", hint=f"to grant it again, delete {path}"
                )
            if height is None and known.grants == grants and known.expires - now > RENEW_WITHIN:
                return known.to_bytes()
        dot = Dot.create(
            self.owner,
            receiver=secret.id,
            namespace=self.owner.id,
            grants=grants,
            created=now,
            expires=now + DOT_LIFETIME,
            comment=f"{name}, by the home server",
        )
        write_file(path, dot.to_object().to_text().encode("ascii"), replace=True)
        return dot.to_bytes()

    def router(self, now: int) -> EntitySecret:
        """Return the secret of the home's own router, made when there is none; :class:`StateUnwritable`."""
        directory = self.directory / "router"
        _make(directory)
        return _own_secret(directory / "router.ent", "the router of a home", self._draw, now)

    async def designate(self, router: EntitySecret, url: str, now: int) -> None:
        """Let everybody find the home's own router from its name, unless another one carries the home already.

        Three routes say so, for as long as a DoT, and are renewed with the DoTs: the router's offer, the namespace's
        acceptance, and the address.
        """
        self._carried = router, url
        try:
            known = await self._agent.call(FindRouter(namespace=id_text(self.owner.id)))
        except UnknownRouter:
            known = None
        if known is not None:
            other = known.router != id_text(router.id)
            if other or (url in known.urls and known.until - now > RENEW_WITHIN):
                return
        until = now + DOT_LIFETIME
        routes = (
            Route.offer(router, namespace=self.owner.id, created=now, expires=until),
            Route.accept(self.owner, namespace=self.owner.id, router=router.id, created=now, expires=until),
            Route.endpoint(router, urls=(url,), created=now, expires=until),
        )
        said = (self.owner.entity.to_bytes(), router.entity.to_bytes(), *(route.to_bytes() for route in routes))
        own = (await self._agent.call(Status())).own
        await self._agent.call(Publish(objects=said, keep_only=not own))

    @asynccontextmanager
    async def running(
        self,
        members: tuple[Member, ...],
        site: Site,
        *,
        resolve: Callable[[str], Awaitable[bytes]],
        tell: Tell,
    ) -> AsyncIterator[tuple[Device[Any] | Controller, ...]]:
        """Run all ``members`` in this process while the body runs.

        Controllers come once the devices have said their first states, which command nothing then, and go first.
        """
        devices = [(member, member.plan) for member in members if isinstance(member.plan, DevicePlan)]
        controllers = [(member, member.plan) for member in members if isinstance(member.plan, ControllerPlan)]
        async with Crowd[Device[Any] | Controller]() as crowd:
            for start in range(0, len(devices), LOT):
                begun = await crowd.enter(
                    [self._device(site, member, plan, tell) for member, plan in devices[start : start + LOT]]
                )
                await all_ready(*begun, patience=SETTLE)
            for start in range(0, len(controllers), LOT):
                await crowd.enter(
                    [
                        await self._controller(site, member, plan, tell, resolve)
                        for member, plan in controllers[start : start + LOT]
                    ]
                )
            yield tuple(crowd.members)

    def _device(
        self, site: Site, member: Member, plan: DevicePlan, tell: Tell
    ) -> AbstractAsyncContextManager[Device[Any]]:
        note = self._log(member, tell)
        return site.device(plan.machine(), member.name, member.secret, self.owner.id, tell=note, also=plan.also)

    async def _controller(
        self,
        site: Site,
        member: Member,
        plan: ControllerPlan,
        tell: Tell,
        resolve: Callable[[str], Awaitable[bytes]],
    ) -> AbstractAsyncContextManager[Controller]:
        sources = {name: await self._place(one, resolve) for name, one in plan.sources}
        target = await self._place(plan.target, resolve)
        note = self._log(member, tell)
        return site.controller(member.name, member.secret, sources, target, RULES[plan.rule], tell=note)

    def _log(self, member: Member, tell: Tell) -> Tell:
        return also_to(DecisionLog(self.directory / f"{member.name}.log"), tell)

    async def _place(self, address: Address, resolve: Callable[[str], Awaitable[bytes]]) -> Place:
        own = address.namespace == self.plan.namespace
        return Place(self.owner.id if own else await resolve(address.namespace), address.resource)

    async def renew_always(self, clock: Callable[[], float], trouble: Callable[[WaveError], None]) -> None:
        """Look now and then for DoTs that near their end, until cancelled; ``trouble`` hears when that fails."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            try:
                await self.provision(int(clock()))
            except WaveError as error:
                trouble(error)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateUnwritable(f"cannot create {directory}: {error.strerror}") from None


def _own_secret(path: Path, comment: str, draw: Callable[[int], bytes], now: int) -> EntitySecret:
    """Return the secret in a file, made when there is none."""
    try:
        return read_secret(path, _no_passphrase)
    except MissingFile:
        secret = EntitySecret.create(draw, created=now, expires=now + ENTITY_LIFETIME, comment=comment)
        write_secret(path, secret, None)
        return secret


def _rights(wanted: tuple[tuple[str, str], ...]) -> list[Right]:
    return [right((permission,), pattern) for permission, pattern in wanted]


def _no_passphrase() -> str:
    raise BadPassphrase("a device's secret file has a passphrase, and nobody is there to type it")
