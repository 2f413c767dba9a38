"""Web pages before the gateway: those of the origins named may ask, and read why they were refused; others may not."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from devices.gateway.openinference import PUBLIC
from devices.gateway.plan import GatewayPlan
from devices.gateway.service import query_app, query_rules
from devices.origin import check_origin
from tests.gateway.booth import Booth, Front, fronted
from wave.errors import BadSetting
from wave.guard.check import open_aiohttp_routes
from wave.guard.guard import Guard

PAGE = "http://127.0.0.1:4482"
ELSEWHERE = ("https://127.0.0.1:4482", "http://127.0.0.1:4483", "http://evil.example", "null", "*", f"{PAGE}/")
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "signature, wave-proof"}
ALLOWED = "Access-Control-Allow-Origin"
PLAN = 'namespace = "home"\norigins = [{}]\n'


@pytest.fixture
async def front(booth: Booth) -> AsyncIterator[Front]:
    """A gateway that adds, which the page at ``PAGE`` may ask."""
    await booth.deploy()
    booth.serve("add", "sum")
    async with fronted(booth, origins=[PAGE]) as found:
        yield found


async def answered(client: ClientSession, front: Front, method: str, **headers: str) -> tuple[int, dict[str, str]]:
    url = front.questions.make_url("/add/predict")
    async with client.request(method, url, headers=headers, data=b'{"input": [1, 2]}') as response:
        return response.status, dict(response.headers)


async def test_the_page_is_told_what_it_may_send(front: Front) -> None:
    status, headers = await answered(await front.client(), front, "OPTIONS", Origin=PAGE, **PREFLIGHT)
    assert (status, headers[ALLOWED], headers["Vary"]) == (204, PAGE, "Origin")
    assert {"signature-input", "wave-session"} <= set(headers["Access-Control-Allow-Headers"].split(", "))
    assert "Access-Control-Allow-Credentials" not in headers


async def test_what_the_page_may_do_is_still_the_guards(front: Front) -> None:
    nobody, bob = await front.client(), await front.client("bob", "predict@home/apps/add", sessions=False)
    eve = await front.client("eve", "predict@home/apps/other", sessions=False)
    for client, expected in ((nobody, 401), (eve, 403), (bob, 200)):
        status, headers = await answered(client, front, "POST", Origin=PAGE)
        assert (status, headers[ALLOWED]) == (expected, PAGE)
        assert "WWW-Authenticate" in headers["Access-Control-Expose-Headers"], "the page reads what it lacks"
    async with bob.get(front.questions.make_url("/v2/nothing"), headers={"Origin": PAGE}) as response:
        assert (response.status, response.headers[ALLOWED]) == (403, PAGE)


@pytest.mark.parametrize("origin", ELSEWHERE)
async def test_other_pages_are_told_nothing(front: Front, origin: str) -> None:
    status, headers = await answered(await front.client(), front, "OPTIONS", Origin=origin, **PREFLIGHT)
    assert (status, ALLOWED in headers, headers["Vary"]) == (403, False, "Origin")
    bob = await front.client("bob", "predict@home/apps/add", sessions=False)
    status, headers = await answered(bob, front, "POST", Origin=origin)
    assert (status, ALLOWED in headers) == (200, False), "an Origin gives nobody a right, and takes none"


async def test_changes_are_asked_by_no_page(front: Front) -> None:
    nobody = await front.client()
    headers = {"Origin": PAGE, **PREFLIGHT}
    async with nobody.options(front.changes.make_url("/admin/v1/apps/add"), headers=headers) as response:
        assert (response.status, ALLOWED in response.headers) == (403, False)


async def test_no_route_is_open_with_origins_either(booth: Booth) -> None:
    guard = Guard(
        booth.world.id("home"),
        query_rules(),
        facts=booth.facts,
        authorities=["gateway"],
        clock=lambda: booth.world.now,
    )
    app = query_app(booth.engine, guard, origins=[PAGE])
    assert await open_aiohttp_routes(app, public=[path for _, path in PUBLIC]) == []


def test_a_plan_names_origins() -> None:
    plan = GatewayPlan.parse(PLAN.format('"https://Play.example:443/", "http://[::1]:80", "http://localhost:4482"'))
    assert plan.origins == ("https://play.example", "http://[::1]", "http://localhost:4482")
    assert GatewayPlan.parse('namespace = "home"').origins == ()


@pytest.mark.parametrize("text", ["*", "null", "play.example", "https://*.example", "https://a/b", "https://a b", ""])
def test_an_origin_is_one_page_address(text: str) -> None:
    with pytest.raises(BadSetting):
        check_origin(text)
    with pytest.raises(BadSetting):
        GatewayPlan.parse(PLAN.format(f'"{text}"'))
