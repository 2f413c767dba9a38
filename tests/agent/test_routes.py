"""From a namespace's name to its router: what counts, what does not, and what ends it."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agent.conftest import YEAR, Clock, House
from tests.agent.test_knowledge import ALICE, HOME, MALLORY, PEOPLE, Reader
from tests.chain.staged import NOW
from tests.world import made
from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.routes import LISTED, Routes
from wave.agent.settings import Settings
from wave.codec import id_text, sha256
from wave.entities.entity import EntitySecret
from wave.entities.keyring import Keyring
from wave.entities.object import ROUTE, SignedObject
from wave.errors import BadSignature, Revoked, StaleFacts, UnknownEntity, UnknownName, UnknownRouter
from wave.namespace.route import Route

URL = "ws://127.0.0.1:4410/v1/bus"
ELSEWHERE = "wss://elsewhere.example/v1/bus"
CLOCK = Clock(time.time())
_SERIAL = itertools.count()
ACTS = ("offer", "accept", "announce")


def somebody(clock: Clock) -> EntitySecret:
    """Return an entity that nobody else in these tests is."""
    now = int(clock.now)
    return made(f"somebody {next(_SERIAL)}", created=now - 10, expires=now + YEAR)


@dataclass
class Street:
    """A house with a router beside it, and what each says of the other."""

    house: House
    router: EntitySecret

    def _times(self, later: int, lasts: int) -> dict[str, int]:
        now = int(self.house.clock.now) - 60 + later
        return {"created": now, "expires": now + lasts}

    def offer(self, router: EntitySecret | None = None, *, later: int = 0, lasts: int = YEAR) -> Route:
        one = router or self.router
        return self.say(Route.offer(one, namespace=self.house.owner.id, **self._times(later, lasts)))

    def accept(
        self,
        giver: EntitySecret | None = None,
        router: EntitySecret | None = None,
        *,
        later: int = 0,
        lasts: int = YEAR,
    ) -> Route:
        one = giver or self.house.owner
        times = self._times(later, lasts)
        return self.say(Route.accept(one, namespace=self.house.owner.id, router=(router or self.router).id, **times))

    def announce(self, *urls: str, router: EntitySecret | None = None, later: int = 0, lasts: int = YEAR) -> Route:
        return self.say(Route.endpoint(router or self.router, urls=urls or (URL,), **self._times(later, lasts)))

    def say(self, route: Route) -> Route:
        self.house.engine.call(wire.Publish(objects=(route.to_bytes(),)))
        return route

    def revoke(self, route: Route, giver: EntitySecret) -> None:
        self.house.engine.call(wire.Revoke(preimages=(route.preimage(giver),)))

    def serve(self) -> None:
        """Say all three."""
        self.offer()
        self.accept()
        self.announce()

    def find(self, name: str | None = None) -> wire.RouterReply:
        return self.house.engine.call(wire.FindRouter(namespace=name or id_text(self.house.owner.id)))

    def list(self, namespace: str | None = None) -> tuple[wire.RouterView, ...]:
        return self.house.engine.call(wire.Routers(namespace=namespace)).routers

    def person(self) -> EntitySecret:
        """Return a further entity whose record is published."""
        one = somebody(self.house.clock)
        self.house.engine.call(wire.Publish(objects=(one.entity.to_bytes(),)))
        return one

    def has_none(self, because: str) -> None:
        with pytest.raises(UnknownRouter) as caught:
            self.find()
        assert caught.value.code == "router.not_found"
        assert "wave router list" in caught.value.hint
        assert because in caught.value.message


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all who do not move its clock."""
    with Engine.open(Settings(tmp_path_factory.mktemp("home")), clock=CLOCK, wait=0.0) as engine:
        yield engine


@pytest.fixture
def street(shared: Engine) -> Street:
    """People of its own, and nothing said yet."""
    CLOCK.now = time.time()
    people = [somebody(CLOCK) for _ in range(4)]
    shared.call(wire.Publish(objects=tuple(one.entity.to_bytes() for one in people)))
    owner, guest, stranger, router = people
    return Street(House(shared, CLOCK, owner, guest, stranger), router)


@pytest.fixture
def timed(house: House) -> Street:
    """A street whose clock can be moved."""
    found = Street(house, somebody(house.clock))
    found.router = found.person()
    return found


@pytest.fixture
def served(street: Street) -> Street:
    """A house with its designated router."""
    street.serve()
    return street


def test_the_router_is_found_by_the_namespaces_id_and_by_its_alias(served: Street) -> None:
    """With its address, and the three objects that say so."""
    house = served.house
    house.engine.call(wire.Claim(label="the-street", target=id_text(house.owner.id)))
    found = served.find()
    assert (found.router, found.urls) == (id_text(served.router.id), (URL,))
    assert (found.namespace, found.accepted_by) == (id_text(house.owner.id),) * 2
    assert found.until == int(house.clock.now) - 60 + YEAR
    for identity, act in ((found.offer, "offer"), (found.accept, "accept"), (found.endpoint, "endpoint")):
        data = house.engine.call(wire.FindObject(id=identity)).data
        assert Route.from_bytes(data).fields.act == act
    assert served.find("the-street") == served.find()


def test_a_name_that_nobody_has_is_not_found(served: Street) -> None:
    """And is another error than a namespace without a router."""
    with pytest.raises(UnknownName):
        served.find("no-such-street")


def test_without_one_of_the_three_nothing_counts(street: Street) -> None:
    """An offer without acceptance, an acceptance without offer, both without an address."""
    lacking = {"offer": "not offered", "accept": "nobody who may", "announce": "not announced"}
    for missing, because in lacking.items():
        street.router = street.person()
        said = {act: getattr(street, act)() for act in lacking if act != missing}
        street.has_none(because)
        said[missing] = getattr(street, missing)()
        assert street.find().router == id_text(street.router.id)
        street.revoke(said["accept"], street.house.owner)
        street.revoke(said["offer"], street.router)


def test_with_nothing_said_there_is_no_router(street: Street) -> None:
    """And nothing to list."""
    street.has_none("no router carries")
    assert street.list(id_text(street.house.owner.id)) == ()


def test_a_strangers_acceptance_counts_for_nothing(street: Street) -> None:
    """However new it is, and although the stranger's own router offers and is reached."""
    pirate = street.house.stranger
    street.offer(pirate)
    street.announce(ELSEWHERE, router=pirate)
    street.accept(pirate, pirate, later=30)
    street.has_none("nobody who may")
    street.offer()
    street.accept()
    street.announce()
    assert street.find().urls == (URL,)


def test_who_holds_route_on_all_of_a_namespace_may_accept(served: Street) -> None:
    """As long as the right holds."""
    house, other = served.house, served.person()
    right = house.dot(house.owner, house.guest, "route", "*")
    house.publish(right)
    served.offer(other)
    served.announce(ELSEWHERE, router=other)
    served.accept(house.guest, other, later=30)
    assert served.find().urls == (ELSEWHERE,)
    assert served.find().accepted_by == id_text(house.guest.id)
    house.engine.call(wire.Revoke(preimages=(right.preimage(house.owner),)))
    assert served.find().urls == (URL,)


def test_a_lesser_right_accepts_nobody(served: Street) -> None:
    """Part of the namespace, or another permission."""
    house, other = served.house, served.person()
    for what, where in (("route", "light/*"), ("publish", "*"), ("admin", "*")):
        house.publish(house.dot(house.owner, house.guest, what, where))
    served.offer(other)
    served.announce(ELSEWHERE, router=other)
    served.accept(house.guest, other, later=30)
    assert served.find().urls == (URL,)


def test_the_newest_acceptance_decides(served: Street) -> None:
    """And the older one does again when the newer one is taken back."""
    house, other = served.house, served.person()
    served.offer(other)
    served.announce(ELSEWHERE, router=other)
    newer = served.accept(router=other, later=30)
    assert served.find().urls == (ELSEWHERE,)
    served.revoke(newer, house.owner)
    assert served.find().urls == (URL,)


def test_a_newer_router_that_is_not_reached_anywhere_yet_waits(served: Street) -> None:
    """Accepting one before it is up stops nobody's messages."""
    other = served.person()
    served.accept(router=other, later=30)
    assert served.find().urls == (URL,)
    served.offer(other)
    assert served.find().urls == (URL,)
    served.announce(ELSEWHERE, router=other)
    assert served.find().urls == (ELSEWHERE,)


def test_the_newest_address_counts(served: Street) -> None:
    """Of two made in one second, the one that was published last."""
    served.announce(ELSEWHERE, URL, later=10)
    assert served.find().urls == (ELSEWHERE, URL)
    served.announce(URL, later=10)
    assert served.find().urls == (URL,)
    served.announce(ELSEWHERE, later=10)
    assert served.find().urls == (ELSEWHERE,)


def test_taking_one_of_the_three_back_ends_it(street: Street) -> None:
    """At once."""
    said = {act: getattr(street, act)() for act in ACTS}
    for act in ACTS:
        assert street.find().urls == (URL,)
        street.revoke(said[act], street.house.owner if act == "accept" else street.router)
        with pytest.raises(UnknownRouter):
            street.find()
        getattr(street, act)(later=1)


def test_one_of_the_three_that_expires_ends_it(timed: Street) -> None:
    """To the second."""
    for brief in ACTS:
        timed.router = timed.person()
        for act in ACTS:
            getattr(timed, act)(lasts=90 if act == brief else YEAR)
        timed.house.clock.now += 29  # of the 90 seconds, 60 were over when it was said
        assert timed.find().router == id_text(timed.router.id)
        timed.house.clock.now += 1
        with pytest.raises(UnknownRouter):
            timed.find()


def test_what_is_said_for_later_does_not_count_yet(timed: Street) -> None:
    """A future acceptance cannot be the newest for ever."""
    timed.serve()
    other = timed.person()
    timed.offer(other)
    timed.announce(ELSEWHERE, router=other)
    timed.accept(router=other, later=90)
    assert timed.find().urls == (URL,)
    timed.house.clock.now += 31
    assert timed.find().urls == (ELSEWHERE,)


def test_a_router_whose_entity_is_revoked_carries_nothing(served: Street) -> None:
    """Its words go with it."""
    served.house.engine.call(wire.Revoke(preimages=(served.router.preimage(),)))
    served.has_none("revoked")


def test_a_namespace_whose_entity_is_revoked_has_no_router(served: Street) -> None:
    """Nor may it say anything more."""
    served.house.engine.call(wire.Revoke(preimages=(served.house.owner.preimage(),)))
    served.has_none("nobody who may")


def test_a_forged_route_is_not_published(street: Street) -> None:
    """Nor kept."""
    street.offer()
    street.announce()
    times = {"created": int(street.house.clock.now) - 60, "expires": int(street.house.clock.now) + YEAR}
    real = Route.accept(street.house.owner, namespace=street.house.owner.id, router=street.router.id, **times)
    forged = SignedObject(ROUTE, real.body, street.router.sign(ROUTE, real.body)).to_bytes()
    for keep_only in (False, True):
        with pytest.raises(BadSignature):
            street.house.engine.call(wire.Publish(objects=(forged,), keep_only=keep_only))
    with pytest.raises(UnknownRouter):
        street.find()


def test_a_route_of_somebody_unknown_is_not_published(street: Street) -> None:
    """Nobody could check it."""
    unknown = somebody(street.house.clock)
    with pytest.raises(UnknownEntity):
        street.offer(unknown)


def test_a_revoked_route_is_not_published_again(served: Street) -> None:
    """It is void for ever."""
    gone = served.accept(later=20)
    served.revoke(gone, served.house.owner)
    other = served.accept(later=25)
    served.revoke(other, served.house.owner)
    with pytest.raises(Revoked):
        served.say(gone)


def test_routes_are_anchored_like_any_object(street: Street) -> None:
    """Many under one root."""
    house, now = street.house, int(street.house.clock.now)
    times = {"created": now - 60, "expires": now + YEAR}
    routes = (
        Route.offer(street.router, namespace=house.owner.id, **times),
        Route.accept(house.owner, namespace=house.owner.id, router=street.router.id, **times),
        Route.endpoint(street.router, urls=(URL,), **times),
    )
    reply = house.engine.call(wire.Anchor(objects=tuple(route.to_bytes() for route in routes)))
    assert len(reply.roots) == 1
    assert all(one.height is not None for one in reply.objects)
    assert street.find().urls == (URL,)


def test_a_route_that_is_only_kept_counts_here(street: Street) -> None:
    """As other objects do that were handed over."""
    street.offer()
    street.announce()
    now = int(street.house.clock.now)
    kept = Route.accept(
        street.house.owner, namespace=street.house.owner.id, router=street.router.id, created=now, expires=now + YEAR
    )
    street.house.engine.call(wire.Publish(objects=(kept.to_bytes(),), keep_only=True))
    assert street.find().accept == id_text(kept.id)


def test_what_was_said_outlives_the_agent(timed: Street, open_house: Callable[[], House]) -> None:
    """It stands on the chain."""
    timed.offer()
    timed.accept()
    timed.announce()
    namespace = id_text(timed.house.owner.id)
    timed.house.engine.close()
    again = open_house()
    assert again.engine.call(wire.FindRouter(namespace=namespace)).urls == (URL,)


def test_the_list_says_of_each_router_what_it_lacks(served: Street) -> None:
    """The one that carries the namespace comes first."""
    house = served.house
    older, idle, pirate = served.person(), served.person(), house.stranger
    served.accept(router=older, later=-10)
    served.offer(older)
    served.announce(ELSEWHERE, router=older)
    served.offer(idle)
    served.accept(pirate, pirate)
    rows = {one.router: one for one in served.list(id_text(house.owner.id))}
    assert next(iter(rows)) == id_text(served.router.id)
    assert {identity: (one.designated, one.lacks) for identity, one in rows.items()} == {
        id_text(served.router.id): (True, ""),
        id_text(older.id): (False, "another one was accepted later"),
        id_text(idle.id): (False, "nobody who may has accepted it"),
        id_text(pirate.id): (False, "nobody who may has accepted it"),
    }
    assert set(served.list()) >= set(served.list(id_text(house.owner.id)))


def test_the_list_has_an_end_however_many_strangers_offer(served: Street) -> None:
    """The router that was accepted is on it, and is found."""
    now, house = int(served.house.clock.now), served.house
    times = {"created": now, "expires": now + YEAR}
    offers = [
        Route.offer(served.router, namespace=sha256(b"%d" % number), **times).to_bytes() for number in range(LISTED)
    ]
    house.engine.call(wire.Publish(objects=tuple(offers), keep_only=True))
    reply = house.engine.call(wire.Routers())
    assert (len(reply.routers), reply.complete) == (LISTED, False)
    reply = house.engine.call(wire.Routers(namespace=id_text(house.owner.id)))
    assert ([one.designated for one in reply.routers], reply.complete) == ([True], True)
    assert served.find().urls == (URL,)


def test_the_log_tells_of_offers_and_acceptances_and_of_their_end(street: Street) -> None:
    """With who said it, about whom, and where it is reached in the stream of all."""
    before = street.house.engine.watcher(None)
    offer = street.offer()
    accept = street.accept()
    street.announce()
    street.revoke(accept, street.house.owner)
    namespace, router = id_text(street.house.owner.id), id_text(street.router.id)
    entries = street.house.engine.call(wire.Log(namespace=namespace)).entries
    assert [(one.kind, one.act, one.signer, one.target) for one in entries] == [
        ("route", "offer", router, router),
        ("route", "accept", namespace, router),
        ("revocation", "accept", namespace, router),
    ]
    assert [one.object for one in entries] == [id_text(offer.id), id_text(accept.id), id_text(accept.id)]
    assert (entries[2].what, entries[2].by_signer) == ("route", True)
    told, _, _ = street.house.engine.watched(before, None)
    assert [one.urls for one in told if one.act == "endpoint"] == [(URL,)]


def test_a_forged_route_on_the_chain_counts_for_nothing_and_hides_no_good_one(tmp_path: Path) -> None:
    """Whoever wrote it there; and the same words well signed count, although they come later."""
    reader = Reader(tmp_path / "replica.sqlite", Keyring(tmp_path / "keys"))
    times = {"created": NOW, "expires": NOW + YEAR}
    accept = Route.accept(HOME, namespace=HOME.id, router=ALICE.id, **times)
    offer, endpoint = Route.offer(ALICE, namespace=HOME.id, **times), Route.endpoint(ALICE, urls=(URL,), **times)
    forged = SignedObject(ROUTE, accept.body, MALLORY.sign(ROUTE, accept.body)).to_bytes()
    reader.say(*PEOPLE, forged, offer.to_bytes(), endpoint.to_bytes())
    try:
        for _ in range(2):
            with pytest.raises(UnknownRouter):
                Routes(reader.knowledge, reader.rights).find(HOME.id)
        assert reader.follower.refused()["signature.bad"] == 1
        reader.follow()
        assert accept.id not in reader.knowledge.routes
        reader.say(accept.to_bytes())
        assert Routes(reader.knowledge, reader.rights).find(HOME.id).accept == id_text(accept.id)
    finally:
        reader.follower.close()


def test_stale_facts_name_no_router(timed: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was true two minutes ago may have been taken back."""
    timed.serve()
    engine = timed.house.engine
    assert timed.find().urls == (URL,)
    timed.house.clock.now += 3600
    facts = engine._follower.facts
    monkeypatch.setattr(engine, "_sync", lambda: facts)
    with pytest.raises(StaleFacts):
        timed.find()
