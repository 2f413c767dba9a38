"""The page behind its sockets: who is connected, what each is told, and what each asks."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from devices.device import DENIED_SIGNAL
from devices.log import OK, DecisionLog, Entry
from devices.page.book import Book
from devices.page.invitations import Invitations
from devices.page.owner import Owner
from devices.page.pictures import qr_rows
from devices.page.sharing import Terms, verbs
from devices.page.view import Shown, View
from devices.page.visitor import Visitor, from_base64
from devices.site import Site, running
from wave.agent import wire
from wave.agent.client import AgentClient
from wave.bus.message import PUBLISH, SUBSCRIBE
from wave.bus.port import Bus
from wave.codec import id_text
from wave.entities.entity import EntitySecret
from wave.entities.keyring import Keyring, read_secret, write_secret
from wave.errors import (
    BadPassphrase,
    BadRequest,
    MissingFile,
    OwnerWanted,
    Refused,
    StateUnwritable,
    UnknownEntity,
    WaveError,
)
from wave.limits import LIMITS
from wave.namespace.pattern import resource

R = TypeVar("R")

NAME: Final = "page"
_VIEWER_LIFETIME: Final = 10 * 365 * 86_400
_READ_LOGS: Final = 0.5  # seconds between looks at the logs
_REFUSALS_PER_SECOND: Final = 10
_LONGEST_LINK: Final = 1024


class Page:
    """Everybody who is connected, and what they may be told."""

    def __init__(
        self, view: View, viewer: EntitySecret, bus: Bus, *, owner: Owner | None, book: Book, log: Path
    ) -> None:
        """Serve ``view``, which ``viewer`` has of the home through ``bus``; refusals are written to ``log``."""
        self.view = view
        self.viewer = viewer
        self.owner = owner
        self.ready = asyncio.Event()
        self.visitors: dict[Visitor, str | None] = {}  # with the cookie that the browser showed
        self._bus = bus
        self._book = book
        self._log = DecisionLog(log)
        self._news: asyncio.Queue[Shown | None] = asyncio.Queue(maxsize=LIMITS.queue_frames)
        self._refusals = (0, 0)
        view.said = self._put
        view.changed = lambda: self._put(None)

    # Telling -------------------------------------------------------------------------------------------------------

    def _put(self, news: Shown | None) -> None:
        if not self._news.full():  # what is left out is told with the next look
            self._news.put_nowait(news)

    async def run(self) -> None:
        """Tell everybody what is new until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.view.watch())
            group.create_task(self.view.listen(self._bus))
            group.create_task(self._follow_logs())
            while True:
                await self._tell(await self._news.get())

    async def _tell(self, news: Shown | None) -> None:
        if news is None:
            for visitor in tuple(self.visitors):
                await self.welcome(visitor)
        elif news.signal == DENIED_SIGNAL:
            self._tell_denied(news)
        else:
            for visitor in tuple(self.visitors):
                await visitor.show(news)

    async def welcome(self, visitor: Visitor) -> None:
        """Find out anew what a visitor may, and tell it; the owner is told of everybody."""
        await visitor.look()
        if self.owns(visitor):
            self._tell_owner(visitor)

    def _tell_owner(self, visitor: Visitor) -> None:
        assert self.owner is not None
        view, mine = self.view, id_text(self.owner.secret.id)
        graph = json.loads(wire.encode(view.graph))
        for edge in graph["edges"]:
            edge["yours"] = edge["giver"] == mine
        visitor.send_news("graph", **graph, viewer=id_text(self.viewer.id))
        people = [{"id": one.text, "name": view.names.get(one.text, ""), "asks": one.asks} for one in self.visitors]
        visitor.send_news("people", people=sorted(people, key=lambda one: one["id"]))
        visitor.send_news("invitations", invitations=self.owner.invitations.shown())
        services = sorted({path.partition("/")[0] for path in view.devices})
        shared = [{"path": path, "service": path.partition("/")[0]} for path in view.devices]
        visitor.send_news("sharing", devices=shared, verbs={one: verbs(one) for one in ["", *services]})

    def _tell_denied(self, news: Shown) -> None:
        """Pass a device's refusal on to whom it concerns, and into the book unless its log says it too."""
        value = news.value
        texts = ("sender", "code", "detail")
        if not isinstance(value, dict) or not all(isinstance(value.get(one), str) for one in texts):
            return
        device = news.path.partition("/")[2]
        decision = value.get("decision") if isinstance(value.get("decision"), str) else None
        who, detail = value["sender"], self.view.told(value["detail"])
        for visitor in self.visitors:
            if visitor.text == who:
                visitor.send("denied", device=device, problem={**value, "detail": detail})
        name = self.view.name(who)
        entry = Entry(news.at, device, who, name, "publish", news.path, False, value["code"], detail, decision, ())
        if self._book.add(entry):
            self._tell_entries([entry])

    # The log -------------------------------------------------------------------------------------------------------

    async def _follow_logs(self) -> None:
        while True:
            new = await asyncio.to_thread(self._book.read_on)
            if new:
                self._tell_entries(new)
            await asyncio.sleep(_READ_LOGS)

    def _tell_entries(self, entries: list[Entry]) -> None:
        for visitor in self.visitors:
            if self.owns(visitor):
                visitor.send("log", entries=[self._shown(one) for one in entries])

    def _shown(self, entry: Entry) -> dict[str, Any]:
        return {**entry.to_json(), "name": self.view.names.get(entry.who, entry.name), "did": self.view.told(entry.did)}

    def note(self, who: str, what: str, where: str, error: WaveError | None, did: str) -> None:
        """Write a decision of the page's own into its log; a flood of refusals is written in part."""
        now = int(self.view.site.clock())
        if error is not None:
            second, told = self._refusals
            self._refusals = now, told + 1 if second == now else 1
            if self._refusals[1] > _REFUSALS_PER_SECOND:
                return
        code, decision = (OK, None) if error is None else (error.code, error.decision)
        cells = where.split("/")
        device = cells[1] if len(cells) > 1 else NAME
        with suppress(StateUnwritable):
            self._log(Entry(now, device, who, self.view.name(who), what, where, error is None, code, did, decision, ()))

    # Visitors ------------------------------------------------------------------------------------------------------

    def owns(self, visitor: Visitor) -> bool:
        """Tell whether a visitor's browser has an open session of the owner's."""
        cookie = self.visitors.get(visitor)
        return self.owner is not None and self.owner.sessions.owns(cookie, visitor.entity.id)

    @asynccontextmanager
    async def visited(self, visitor: Visitor, cookie: str | None) -> AsyncIterator[None]:
        """Tell a visitor what is new while the body runs."""
        self.visitors[visitor] = cookie
        try:
            await self.welcome(visitor)
            if self.owns(visitor):
                visitor.send("log", entries=[self._shown(one) for one in self._book.entries])
            self._put(None)
            yield
        finally:
            del self.visitors[visitor]
            self._put(None)

    async def answer(self, visitor: Visitor, asked: dict[str, Any]) -> dict[str, Any]:
        """Carry out what a visitor asks and return the answer; :class:`WaveError`."""
        match asked:
            case {"do": "prove", "where": str(where), "payload": str(payload)}:
                data = from_base64(payload)
                return await self._logged(visitor, PUBLISH, str(resource(where)), visitor.prove(where, data))
            case {"do": "act", "message": str(message), "proof": str(proof)}:
                return await self._act(visitor, from_base64(message), from_base64(proof))
            case {"do": "join", "code": str(code)}:
                return await self._join(visitor, code)
            case {"do": "see"}:
                return await self._logged(visitor, SUBSCRIBE, "", visitor.see())
            case {"do": "knock", "name": str(name)}:
                visitor.asks = " ".join(name.split())[:60] or "somebody"
                self._put(None)
                return {}
        if not self.owns(visitor):
            raise OwnerWanted("that is the owner's alone")
        return await self._own(visitor, asked)

    async def _logged(self, visitor: Visitor, what: str, where: str, act: Awaitable[R]) -> R:
        try:
            return await act
        except Refused as error:
            self.note(visitor.text, what, where, error, error.message)
            raise

    async def _act(self, visitor: Visitor, message: bytes, proof: bytes) -> dict[str, Any]:
        """Carry a visitor's message as it is: router and device check it, and nothing here could change it."""
        found = visitor.read(message)
        carried = self._bus.forward(message, proof)
        delivered = await self._logged(visitor, PUBLISH, str(found.resource), carried)
        return {"delivered": delivered}

    async def _join(self, visitor: Visitor, code: str) -> dict[str, Any]:
        if self.owner is None:
            raise OwnerWanted("this page cannot let anybody in", hint="its owner starts it with --from OWNER.ent")
        try:
            terms = await self.owner.join(code, visitor.entity)
        except WaveError as error:
            self.note(visitor.text, "join", "", error, error.message)
            raise
        await self.view.look()
        self.note(
            visitor.text, "join", "", None, f"came in by an invitation: {terms.verb} {terms.device or 'the home'}"
        )
        await self.welcome(visitor)
        return terms.to_json()

    # The owner -----------------------------------------------------------------------------------------------------

    async def _own(self, visitor: Visitor, asked: dict[str, Any]) -> dict[str, Any]:
        owner = self.owner
        assert owner is not None
        match asked:
            case {"do": "losses", "dot": str(dot)}:
                return {"losses": await owner.losses(dot)}
            case {"do": "revoke", "dot": str(dot)}:
                height = await owner.revoke(dot)
                self.note(id_text(owner.secret.id), "revoke", "", None, f"took DoT {dot[:8]} back in block {height}")
                answer: dict[str, Any] = {"height": height}
            case {"do": "share", "terms": terms, "address": str(address)} if len(address) <= _LONGEST_LINK:
                code, invitation = owner.invitations.invite(Terms.read(terms))
                link = f"{address}#invite={code}"
                answer = {"link": link, "qr": qr_rows(link), "expires": invitation.expires}
            case {"do": "withdraw", "key": str(key)}:
                owner.invitations.withdraw(key)
                answer = {}
            case {"do": "give", "to": str(to), "terms": terms}:
                answer = await self._give(owner, to, Terms.read(terms))
            case {"do": "why", "decision": str(decision)}:
                return {"lines": await owner.why(decision)}
            case _:
                raise BadRequest("the page does not understand that")
        await self.view.look()
        await self.welcome(visitor)
        return answer

    async def _give(self, owner: Owner, to: str, terms: Terms) -> dict[str, Any]:
        entity = next((one.entity for one in self.visitors if one.text == to), None)
        if entity is None:
            raise UnknownEntity("whoever that was is not at the door any more", hint="send an invitation")
        dot = await owner.give(entity, terms)
        self.note(to, "give", "", None, f"was given: {terms.verb} {terms.device or 'the home'}")
        for visitor in self.visitors:
            if visitor.text == to:
                visitor.asks = ""
        return {"dot": id_text(dot.id)}


@asynccontextmanager
async def page_of(
    agent: AgentClient,
    site: Site,
    namespace: bytes,
    directory: Path,
    *,
    owner: EntitySecret | None = None,
    keyring: Keyring | None = None,
    logs: Iterable[Path] = (),
) -> AsyncIterator[Page]:
    """Give the running page of a home whose state is kept in ``directory``; ``logs`` are directories of decision logs.

    With ``owner``, who holds the home or a part that may be handed on, it lets people in and takes rights back.
    """
    viewer = await asyncio.to_thread(_viewer, directory, int(site.clock()))
    view = View(agent, site, namespace)
    acting = None
    if owner is not None:
        kept = Invitations(directory / "invitations.json", clock=site.clock, draw=os.urandom)
        acting = Owner(owner, view, keyring, kept)
        await acting.let_page_see(viewer)
    else:
        await agent.call(wire.Publish(objects=(viewer.entity.to_bytes(),), keep_only=True))
    book = Book([directory, *logs])
    await asyncio.to_thread(book.read_on)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(site.peer(viewer))
        page = Page(view, viewer, bus, owner=acting, book=book, log=directory / f"{NAME}.log")
        await view.look()
        page.ready.set()
        await stack.enter_async_context(running(page))
        yield page


def _viewer(directory: Path, now: int) -> EntitySecret:
    """Return the page's own entity, made when there is none yet."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / "page.ent"
    try:
        return read_secret(path, _no_passphrase)
    except MissingFile:
        secret = EntitySecret.create(
            os.urandom, created=now, expires=now + _VIEWER_LIFETIME, comment="the page of a home"
        )
        write_secret(path, secret, None)
        return secret


def _no_passphrase() -> str:
    raise BadPassphrase("the page's secret file has a passphrase, and nobody is there to type it")
