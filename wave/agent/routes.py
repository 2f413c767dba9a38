"""Which router carries a namespace: read from routes, of which none counts without the others.

A router is designated by an acceptance whose giver is the namespace or holds ``route`` on all of it now, with the
router's own offer for that namespace and its endpoint, all of them living. The newest such acceptance decides.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from wave.agent import wire
from wave.agent.knowledge import Knowledge
from wave.agent.rights import Rights
from wave.codec import id_text
from wave.dots import rules, search
from wave.dots.request import Request, Statement
from wave.entities.entity import EVERYBODY
from wave.errors import SearchExhausted, UnknownRouter, WaveError
from wave.namespace.pattern import Pattern
from wave.namespace.route import ACCEPT, ENDPOINT, OFFER, Route

LISTED: Final = 256
_ALL_OF_IT: Final = Statement("route", Pattern("*"))


class _Way(NamedTuple):
    """What there is of one router for one namespace, and what is missing of it (empty: nothing)."""

    namespace: bytes
    router: bytes
    accept: Route | None
    offer: Route | None
    endpoint: Route | None
    lacks: str

    @property
    def routes(self) -> list[Route]:
        return [one for one in (self.accept, self.offer, self.endpoint) if one is not None]

    @property
    def until(self) -> int:
        return min(one.fields.expires for one in self.routes)


class Routes:
    """The routes known at one moment. For one call, as :class:`Rights` is."""

    def __init__(self, knowledge: Knowledge, rights: Rights) -> None:
        """Read ``knowledge`` as of the facts and the time of ``rights``."""
        self._knowledge = knowledge
        self._rights = rights
        self._givers: dict[tuple[bytes, bytes], bool] = {}
        self._holding: dict[bytes, set[bytes]] = {}

    def find(self, namespace: bytes) -> wire.RouterReply:
        """Return the router that carries ``namespace``; :class:`UnknownRouter` says what is missing."""
        lacking: list[str] = []
        for way in self._ways(namespace):
            if way.lacks or way.accept is None or way.offer is None or way.endpoint is None:
                lacking.append(f"{self._rights.name(way.router)}: {way.lacks}")
                if way.accept is None:
                    break  # and so are all that follow, however many strangers offer and accept
                continue
            return wire.RouterReply(
                namespace=id_text(namespace),
                router=id_text(way.router),
                urls=way.endpoint.fields.urls,
                accepted_by=id_text(way.accept.fields.giver),
                accept=id_text(way.accept.id),
                offer=id_text(way.offer.id),
                endpoint=id_text(way.endpoint.id),
                until=way.until,
            )
        about = f" ({lacking[0]})" if lacking else ""
        raise UnknownRouter(f"no router carries {self._rights.name(namespace)} now{about}")

    def routers(self, namespace: bytes | None) -> wire.RoutersReply:
        """List the routers of ``namespace``, or of all namespaces; at most ``LISTED`` of them."""
        spoken = {about for act, about in self._knowledge.routes_about if act != ENDPOINT}
        wanted = sorted(spoken) if namespace is None else [namespace]
        found = list(islice((view for one in wanted for view in self._views(one)), LISTED + 1))
        return wire.RoutersReply(routers=tuple(found[:LISTED]), complete=len(found) <= LISTED)

    def _views(self, namespace: bytes) -> Iterator[wire.RouterView]:
        found = False
        for way in sorted(islice(self._ways(namespace), LISTED + 1), key=lambda way: bool(way.lacks)):
            accept, offer, endpoint = way.accept, way.offer, way.endpoint
            yield wire.RouterView(
                namespace=id_text(namespace),
                router=id_text(way.router),
                urls=endpoint.fields.urls if endpoint else (),
                accepted_by=id_text(accept.fields.giver) if accept else None,
                accept=id_text(accept.id) if accept else None,
                offer=id_text(offer.id) if offer else None,
                endpoint=id_text(endpoint.id) if endpoint else None,
                until=way.until if way.routes else None,
                designated=not way.lacks and not found,
                lacks=way.lacks or ("another one was accepted later" if found else ""),
            )
            found = found or not way.lacks

    # What counts ---------------------------------------------------------------------------------------------------

    def _newest(self, act: str, about: bytes) -> list[Route]:
        """Return the routes that hold at this time by themselves, newest first."""
        now = self._rights.now
        routes = self._knowledge.routes_about.get((act, about), {}).values()
        living = [route for route in routes if route.fields.created <= now < route.fields.expires]
        living.reverse()  # of several made in one second, the one that was published last comes first
        return sorted(living, key=lambda one: one.fields.created, reverse=True)

    def _ways(self, namespace: bytes) -> Iterator[_Way]:
        """Yield what there is of each router: those accepted by somebody who may, the newest first, then the others."""
        accepts = self._newest(ACCEPT, namespace)
        offers: dict[bytes, list[Route]] = {}
        for offer in self._newest(OFFER, namespace):
            offers.setdefault(offer.router, []).append(offer)
        told: set[bytes] = set()
        for accept in accepts:
            if accept.router not in told and self._may(accept.fields.giver, namespace) and self._stands(accept):
                told.add(accept.router)
                yield self._way(namespace, accept.router, accept, offers)
        for router in dict.fromkeys([*(one.router for one in accepts), *offers]):
            if router not in told:
                yield self._way(namespace, router, None, offers)

    def _way(self, namespace: bytes, router: bytes, accept: Route | None, offers: dict[bytes, list[Route]]) -> _Way:
        offer = self._first(offers.get(router, []))
        endpoint = self._first(self._newest(ENDPOINT, router))
        if accept is None:
            lacks = "nobody who may has accepted it"
        elif fault := self._fault(router):
            lacks = fault
        elif offer is None:
            lacks = "it has not offered to carry this namespace"
        else:
            lacks = "" if endpoint is not None else "it has not announced where it is reached"
        return _Way(namespace, router, accept, offer, endpoint, lacks)

    def _first(self, routes: Iterable[Route]) -> Route | None:
        return next(filter(self._stands, routes), None)

    def _stands(self, route: Route) -> bool:
        """Tell whether a route was not taken back, and was signed by whom it says."""
        revoked = self._rights.facts.revoked_at(route.fields.commitments) is not None
        return not revoked and self._knowledge.genuine(route)

    def _fault(self, router: bytes) -> str:
        try:
            rules.living(router, {}, self._rights.facts, self._rights.now)
        except WaveError as error:
            return error.message
        return ""

    def _may(self, giver: bytes, namespace: bytes) -> bool:
        """Tell whether ``giver`` may say who carries ``namespace``: by a proof, as for anything else."""
        key = giver, namespace
        if key not in self._givers:
            self._givers[key] = self._could(giver, namespace) and self._proves(giver, namespace)
        return self._givers[key]

    def _could(self, giver: bytes, namespace: bytes) -> bool:
        """Tell quickly that somebody cannot: one search for all, whoever else publishes acceptances."""
        if giver == namespace:
            return True
        if namespace not in self._holding:
            rights = self._rights
            try:
                held = search.holders(self._knowledge.graph, _ALL_OF_IT, namespace, rights.facts, rights.now)
            except SearchExhausted:
                held = {}
            self._holding[namespace] = set(held)
        return not self._holding[namespace].isdisjoint((giver, EVERYBODY))

    def _proves(self, giver: bytes, namespace: bytes) -> bool:
        try:
            self._rights.prove(Request(giver, namespace, (_ALL_OF_IT,)))
        except WaveError:
            return False
        return True
