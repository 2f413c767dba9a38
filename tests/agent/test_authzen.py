"""AuthZEN 1.0: other engines ask the agent, and get a yes, a no with its reason, or a problem."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.agent.conftest import House
from wave.agent import server, wire
from wave.agent.authzen import EVALUATION, EVALUATIONS, METADATA
from wave.codec import id_text
from wave.limits import LIMITS


@pytest.fixture
async def pdp(house: House) -> AsyncIterator[Any]:
    """A client of an agent whose guest may publish at light/*."""
    house.publish(house.dot(house.owner, house.guest))
    with ThreadPoolExecutor(1) as thread:
        async with TestClient(TestServer(server.application(house.engine, thread))) as client:
            yield client


def question(house: House, who: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "subject": {"type": "entity", "id": who or id_text(house.guest.id)},
        "action": {"name": "publish"},
        "resource": {"type": "wave", "id": f"{id_text(house.owner.id)}/light/hall"},
        **changes,
    }


async def asked(pdp: Any, body: Any, where: str = EVALUATION) -> Any:
    async with pdp.post(where, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_a_yes_and_a_no_come_with_an_id_that_the_agent_explains(pdp: Any, house: House) -> None:
    yes = await asked(pdp, question(house))
    assert (yes["decision"], yes["context"]["code"]) == (True, "ok")
    no = await asked(pdp, question(house, id_text(house.stranger.id)))
    assert (no["decision"], no["context"]["code"]) == (False, "proof.none")
    assert "ask" in no["context"]["hint"]


async def test_the_wrong_action_resource_or_name_is_a_no(pdp: Any, house: House) -> None:
    cases: tuple[dict[str, Any], ...] = (
        {"action": {"name": "subscribe"}},
        {"resource": {"type": "wave", "id": f"{id_text(house.owner.id)}/door"}},
        {"resource": {"type": "wave", "id": f"{id_text(house.guest.id)}x/door"}},
        {"subject": {"type": "entity", "id": "nobody"}},
        {"action": {"name": "nobody:publish"}},
    )
    for changes in cases:
        assert (await asked(pdp, question(house, **changes)))["decision"] is False


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": None},
        {"subject": {"id": "x"}},
        {"action": {}},
        {"action": {"name": 5}},
        {"resource": {"type": "wave", "id": "home"}},
        {"resource": {"type": "wave", "id": "home/a b"}},
        {"context": []},
    ],
)
async def test_what_is_no_question_is_a_problem(pdp: Any, house: House, changes: dict[str, Any]) -> None:
    async with pdp.post(EVALUATION, json=question(house, **changes)) as answer:
        assert answer.status == 400
        assert (await answer.json(content_type=None))["code"]
    many = await asked(pdp, {"evaluations": [question(house, **changes)]}, EVALUATIONS)
    assert many["evaluations"][0]["decision"] is False
    assert many["evaluations"][0]["context"]["error"]["status"] == 400


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xff"])
async def test_what_is_no_json_object_is_a_problem(pdp: Any, body: bytes) -> None:
    async with pdp.post(EVALUATION, data=body) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
async def test_several_questions_share_what_they_leave_out(
    pdp: Any, house: House, semantic: str, decisions: list[bool]
) -> None:
    common = question(house)
    places = [{"resource": {"type": "wave", "id": f"{id_text(house.owner.id)}/{one}"}} for one in ("light/a", "door")]
    body = {**common, "evaluations": [*places, {}], "options": {"evaluations_semantic": semantic}}
    found = await asked(pdp, body, EVALUATIONS)
    assert [one["decision"] for one in found["evaluations"]] == decisions
    assert (await asked(pdp, common, EVALUATIONS))["decision"] is True


async def test_evaluations_are_bounded(pdp: Any, house: House) -> None:
    most = {**question(house, "nobody"), "evaluations": [{}] * LIMITS.statements_per_request}
    assert len((await asked(pdp, most, EVALUATIONS))["evaluations"]) == LIMITS.statements_per_request
    bodies: tuple[dict[str, Any], ...] = (
        {**most, "evaluations": [{}] * (LIMITS.statements_per_request + 1)},
        {"evaluations": {}},
        {**most, "options": {"evaluations_semantic": "guess"}},
        {**most, "options": []},
    )
    for body in bodies:
        async with pdp.post(EVALUATIONS, json=body) as answer:
            assert answer.status == 400


async def test_the_id_of_a_request_comes_back_and_the_agent_says_where_to_ask(pdp: Any, house: House) -> None:
    async with pdp.post(EVALUATION, json=question(house), headers={"X-Request-ID": "r-1"}) as answer:
        assert answer.headers["X-Request-ID"] == "r-1"
    async with pdp.get(METADATA) as answer:
        assert (await answer.json())["access_evaluation_endpoint"].endswith(EVALUATION)


async def test_values_are_held_to_bounds_and_a_rate_is_a_no(pdp: Any, house: House) -> None:
    from wave.dots.dot import Dot
    from wave.namespace.condition import rate, where
    from wave.namespace.grant import right

    now = int(house.clock.now)
    for condition, place in ((where("rows 1..10"), "models"), (rate("2/60s"), "slow")):
        dot = Dot.create(
            house.owner,
            receiver=house.guest.id,
            namespace=house.owner.id,
            grants=(right(("predict",), place, (condition,)),),
            created=now - 1,
            expires=now + 60,
        )
        house.engine.call(wire.Publish(objects=(dot.to_bytes(),)))

    def about(place: str, **context: Any) -> dict[str, Any]:
        resource = {"type": "wave", "id": f"{id_text(house.owner.id)}/{place}"}
        return question(house, action={"name": "predict"}, resource=resource, context=context)

    assert (await asked(pdp, about("models", rows=5)))["decision"] is True
    assert (await asked(pdp, about("models", rows=11)))["decision"] is False
    assert (await asked(pdp, about("models", rows=True)))["decision"] is False
    assert (await asked(pdp, about("models")))["decision"] is False
    slow = await asked(pdp, about("slow"))
    assert (slow["decision"], slow["context"]["code"]) == (False, "condition.rate")
