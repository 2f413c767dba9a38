"""Routes: what each act says and nothing else, addresses, bounds, signatures and taking back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import DAY, NOW, World, made
from wave.codec import amend, record_bytes, sha256
from wave.entities.entity import EntitySecret
from wave.entities.object import ROUTE, from_text
from wave.errors import BadRoute, BadSignature, BadTime, InputError, Malformed, UnknownVersion, WrongKind
from wave.limits import LIMITS
from wave.namespace.route import Route, check_url

HOME = made("home")
ROUTER = made("router")
URL = "wss://router.example:4410/v1/bus"
TIMES = {"created": NOW, "expires": NOW + DAY}


def offered(router: EntitySecret = ROUTER, **times: int) -> Route:
    return Route.offer(router, namespace=HOME.id, **{**TIMES, **times})


def accepted(giver: EntitySecret = HOME, **times: int) -> Route:
    return Route.accept(giver, namespace=HOME.id, router=ROUTER.id, **{**TIMES, **times})


def announced(*urls: str, router: EntitySecret = ROUTER, **times: int) -> Route:
    return Route.endpoint(router, urls=urls or (URL,), **{**TIMES, **times})


ALL = pytest.mark.parametrize("route", [offered(), accepted(), announced()], ids=["offer", "accept", "endpoint"])


def test_an_offer_names_the_namespace_and_its_signer_is_the_router() -> None:
    """Nobody offers another's router."""
    route = Route.from_bytes(offered().to_bytes())
    assert (route.fields.act, route.fields.namespace, route.router) == ("offer", HOME.id, ROUTER.id)
    assert (route.fields.created, route.fields.expires) == (NOW, NOW + DAY)


def test_an_acceptance_names_namespace_and_router() -> None:
    """Its signer is whoever may say so."""
    route = Route.from_bytes(accepted(made("deputy")).to_bytes())
    assert (route.fields.act, route.fields.namespace, route.router) == ("accept", HOME.id, ROUTER.id)
    assert route.fields.giver == made("deputy").id


def test_an_endpoint_names_addresses_in_their_order() -> None:
    """Its signer is the router."""
    urls = ("wss://a:1/v1/bus", "mqtts://b", "ws://[::1]:4410/v1/bus")
    route = Route.from_bytes(announced(*urls).to_bytes())
    assert (route.fields.act, route.fields.urls, route.router) == ("endpoint", urls, ROUTER.id)


@ALL
def test_a_route_travels_as_text(route: Route) -> None:
    """In a file of one's own or a mail."""
    text = route.to_object().to_text()
    assert text.startswith("-----BEGIN WAVE ROUTE-----\n")
    again = Route.from_object(from_text(text))
    assert (again.id, again.fields) == (route.id, route.fields)


@ALL
def test_a_route_signed_by_another_does_not_check(route: Route) -> None:
    """Whatever it says."""
    signer = next(one for one in (HOME, ROUTER) if one.id == route.fields.giver)
    route.check(signer.entity.verify_key)
    forged = Route(route.body, made("mallory").sign(ROUTE, route.body))
    with pytest.raises(BadSignature) as caught:
        forged.check(signer.entity.verify_key)
    assert caught.value.code == "signature.bad"


@ALL
def test_the_preimage_of_a_route_hashes_to_its_commitment(route: Route) -> None:
    """Its signer takes it back, nobody else."""
    signer = next(one for one in (HOME, ROUTER) if one.id == route.fields.giver)
    assert sha256(route.preimage(signer)) in route.fields.commitments
    assert sha256(route.preimage(made("mallory"))) not in route.fields.commitments


def test_two_acts_of_one_signer_have_preimages_of_their_own() -> None:
    """Taking one back leaves the other."""
    assert len({route.preimage(ROUTER) for route in (offered(), announced(), announced("ws://elsewhere"))}) == 3


@pytest.mark.parametrize("expires", [NOW, NOW - 1])
def test_a_route_that_ends_before_it_begins_is_not_made(expires: int) -> None:
    """Times are in order."""
    for make in (offered, accepted):
        with pytest.raises(BadTime) as caught:
            make(expires=expires)
        assert caught.value.code == "time.bad"
    with pytest.raises(BadTime):
        announced(expires=expires)


@pytest.mark.parametrize(
    ("route", "changes"),
    [
        (offered(), {"namespace": None}),
        (offered(), {"router": ROUTER.id}),
        (offered(), {"urls": (URL,)}),
        (accepted(), {"namespace": None}),
        (accepted(), {"router": None}),
        (accepted(), {"urls": (URL,)}),
        (announced(), {"urls": ()}),
        (announced(), {"namespace": HOME.id}),
        (announced(), {"router": ROUTER.id}),
        (announced(), {"urls": (URL, URL)}),
    ],
)
def test_an_act_that_says_too_little_or_too_much_is_not_read(route: Route, changes: dict[str, Any]) -> None:
    """Whoever signed it."""
    body = record_bytes(amend(route.fields, **changes))
    with pytest.raises(BadRoute) as caught:
        Route(body, bytes(64))
    assert caught.value.code == "route.bad"


@pytest.mark.parametrize("changes", [{"act": "take"}, {"commitments": ()}, {"giver": b"short"}, {"created": -1}])
def test_a_route_of_another_shape_is_malformed(changes: dict[str, Any]) -> None:
    """An act that nobody knows is not guessed at."""
    with pytest.raises(Malformed) as caught:
        Route(record_bytes(amend(offered().fields, **changes)), bytes(64))
    assert caught.value.code == "object.malformed"


@pytest.mark.parametrize(
    "url",
    [
        "ws://localhost",
        "ws://127.0.0.1:4410/v1/bus",
        "wss://router.example/v1/bus",
        "mqtt://broker.local:1883",
        "mqtts://b-1.example:65535/",
        "ws://[2001:db8::1]:80/a/b",
    ],
)
def test_an_address_by_which_a_router_may_be_reached(url: str) -> None:
    """WebSocket or MQTT, in the clear or not."""
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ws://",
        "http://router.example/v1/bus",
        "WS://router.example",
        "ws:/router.example",
        "ws://user@router.example",
        "ws://user:secret@router.example/v1/bus",
        "ws://router.example?token=secret",
        "ws://router.example/#here",
        "ws://router.example:0",
        "ws://router.example:65536",
        "ws://router.example:4410:1",
        "ws://-router.example",
        "ws://router..example",
        "ws://router example",
        "ws://router.example/a b",
        "ws://router.example/\x1b[31m",
        "ws://router.example/\u202e",
        "ws://r\u00f6uter.example",
        "ws://router.example/v1/bus\n",
        "ws://[::1",
        " ws://router.example",
    ],
)
def test_what_is_no_routers_address_is_refused(url: str) -> None:
    """Neither made nor read, and no password is repeated."""
    with pytest.raises(BadRoute) as caught:
        check_url(url)
    assert caught.value.code == "route.bad"
    assert "user" not in caught.value.message
    with pytest.raises(BadRoute):
        announced(url)
    with pytest.raises(BadRoute):
        Route(record_bytes(amend(announced().fields, urls=(url,))), bytes(64))


def test_urls_per_endpoint() -> None:
    """At the bound and one past it, where it is made and where it is read."""
    urls = tuple(f"ws://router:{port}" for port in range(1, LIMITS.urls_per_endpoint + 2))
    assert len(announced(*urls[1:]).fields.urls) == LIMITS.urls_per_endpoint
    with pytest.raises(BadRoute) as caught:
        announced(*urls)
    assert caught.value.code == "route.bad"
    with pytest.raises(Malformed) as read:
        Route(record_bytes(amend(announced().fields, urls=urls)), bytes(64))
    assert read.value.code == "object.malformed"


def test_url_characters() -> None:
    """At the bound and one past it."""
    longest = "ws://r/" + "a" * (LIMITS.url_characters - 7)
    assert check_url(longest) == longest
    with pytest.raises(BadRoute) as caught:
        check_url(longest + "a")
    assert caught.value.code == "route.bad"


def test_the_largest_endpoint_is_an_object() -> None:
    """All bounds at once stay within an object's bytes."""
    urls = tuple(f"ws://r{at}/".ljust(LIMITS.url_characters, "a") for at in range(LIMITS.urls_per_endpoint))
    assert Route.from_bytes(announced(*urls).to_bytes()).fields.urls == urls


def test_a_route_of_another_version_is_named() -> None:
    """Version 2 is not guessed at."""
    body = offered().body
    with pytest.raises(UnknownVersion) as caught:
        Route(body[:1] + b"\2" + body[2:], bytes(64))
    assert caught.value.code == "object.unknown_version"


def test_an_object_of_another_kind_is_no_route(world: World) -> None:
    """And a route is no DoT."""
    with pytest.raises(WrongKind) as caught:
        Route.from_object(HOME.entity.to_object())
    assert caught.value.code == "object.wrong_kind"
    with pytest.raises(WrongKind):
        Route.from_bytes(world.grant("home", "alice", "publish@home/a").to_bytes())


@given(st.integers(0, 300), st.integers(1, 255))
def test_an_altered_route_does_not_check(place: int, change: int) -> None:
    """Whichever byte it is."""
    route = accepted()
    body = bytearray(route.body)
    body[place % len(body)] ^= change
    try:
        altered = Route(bytes(body), route.signature)
    except InputError:
        return
    with pytest.raises(BadSignature):
        altered.check(HOME.entity.verify_key)


def test_a_route_shows_what_it_says() -> None:
    """For logs."""
    assert repr(offered()).startswith("Route(offer by ")
    assert URL in repr(announced())
