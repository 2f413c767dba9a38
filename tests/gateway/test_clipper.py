"""Clipper's contract, exactly; and that every question is answered by its own asker's right."""

import asyncio

import pytest

from devices.gateway.app import NO_MODEL
from devices.gateway.pool import WorkerPool
from devices.gateway.selection import NO_ANSWER
from tests.gateway.booth import Booth, Front, says
from wave.limits import LIMITS

ADD = "/add/predict"
MAY = "predict@home/apps/add"
EXPECTED = 'Expected JSON schema: {"input" := [double] | [int] | [string] | [byte] | [float]}'


@pytest.fixture
async def adding(front: Front) -> Front:
    """A gateway with a model that adds, as the application ``add``."""
    await front.booth.deploy()
    front.booth.serve("add", "sum")
    return front


async def test_one_input_and_a_batch(adding: Front) -> None:
    bob = await adding.client("bob", MAY)
    assert await adding.ask(bob, ADD, {"input": [1.5, 2]}) == (200, {"query_id": 1, "output": 3.5, "default": False})
    status, told = await adding.ask(bob, ADD, {"input_batch": [[1], [2, 3], [1]]})
    assert (status, [*told]) == (200, ["batch_predictions"])
    assert told["batch_predictions"] == [
        {"query_id": 2, "output": 1.0, "default": False},
        {"query_id": 3, "output": 5.0, "default": False},
        {"query_id": 4, "output": 1.0, "default": False},
    ]
    assert [*(await adding.ask(bob, ADD, {"input_batch": [[7]]}))[1]] == ["batch_predictions"]


async def test_an_answer_names_the_version_that_it_comes_from(adding: Front) -> None:
    bob = await adding.client("bob", MAY)
    async with bob.post(adding.questions.make_url(ADD), json={"input": [1]}) as response:
        assert response.headers["Wave-Models"] == "sum/1"
        assert response.content_type == "application/json"


BAD = [
    b"",
    b"{",
    b"[]",
    b"\xff",
    b'{"input": [1], "input": [2]}',
    b'{"input": [NaN]}',
    b'{"input": [1e999]}',
    {},
    {"inputs": [1]},
    {"input": [1], "input_batch": [[1]]},
    {"input": 1},
    {"input": "1"},
    {"input": []},
    {"input": [True]},
    {"input": [None]},
    {"input": [[1]]},
    {"input": ["1"]},
    {"input": {"0": 1}},
    {"input": [10**400]},
    {"input_batch": []},
    {"input_batch": [1]},
    {"input_batch": [[1], ["a"]]},
    {"input_batch": {"a": [1]}},
    b"[" * 100_000,
]


async def test_bad_json_and_wrong_types_are_a_json_error(adding: Front) -> None:
    bob = await adding.client("bob", MAY, sessions=False)
    for body in BAD:
        status, told = await adding.ask(bob, ADD, body)
        assert (status, set(told), told["error"]) == (400, {"error", "cause"}, "Json error"), str(body)[:30]
        assert told["cause"].startswith("Error parsing JSON: ")
        assert told["cause"].endswith(EXPECTED)


TAKEN = [
    ("integers", [1, -(2**63)], "[1, -9223372036854775808]", [1.5]),
    ("integers", [2**63 - 1], "[9223372036854775807]", [2**63]),
    ("floats", [1, 2.5], "[1.0, 2.5]", ["a"]),
    ("doubles", [1, 2.5], "[1.0, 2.5]", "a"),
    ("strings", "text", "'text'", ["text"]),
    ("bytes", "aGVsbG8=", "b'hello'", "not base64!"),
]


async def test_each_input_type_takes_its_own(front: Front) -> None:
    bob = await front.client("bob", "predict@home/apps/*")
    for number, (input_type, good, seen, bad) in enumerate(TAKEN):
        model = b"def predict(rows):\n    return ['saw ' + repr(row) for row in rows]\n"
        await front.booth.deploy(model, model=f"m{number}", input_type=input_type)
        front.booth.serve(f"a{number}", f"m{number}", input_type=input_type)
        status, told = await front.ask(bob, f"/a{number}/predict", {"input": good})
        assert (status, told["output"]) == (200, f"saw {seen}")
        assert (await front.ask(bob, f"/a{number}/predict", {"input": bad}))[0] == 400


async def test_a_batch_has_as_many_inputs_as_the_bound_says(adding: Front) -> None:
    bob = await adding.client("bob", MAY)
    most = LIMITS.questions_per_request
    status, told = await adding.ask(bob, ADD, {"input_batch": [[1]] * most})
    assert (status, len(told["batch_predictions"])) == (200, most)
    assert (await adding.ask(bob, ADD, {"input_batch": [[1]] * (most + 1)}))[0] == 400


async def test_an_output_that_is_json_in_a_text_is_shown_as_what_it_is(front: Front) -> None:
    await front.booth.deploy(b"def predict(rows):\n    return list(rows)\n", input_type="strings")
    front.booth.serve("add", "sum", input_type="strings")
    bob = await front.client("bob", MAY)
    for said, shown in (("1", 1), ("[1, 2]", [1, 2]), ("up", "up"), ("NaN", "NaN")):
        assert (await front.ask(bob, ADD, {"input": said}))[1]["output"] == shown


async def test_an_unlinked_application_and_a_missed_objective_answer_the_default_and_say_why(front: Front) -> None:
    front.booth.serve("add", default_output="-1.0")
    bob = await front.client("bob", MAY)
    told = {"query_id": 1, "output": -1.0, "default": True, "default_explanation": NO_MODEL}
    assert await front.ask(bob, ADD, {"input": [1]}) == (200, told)
    await front.booth.deploy(b"import time\ndef predict(rows):\n    time.sleep(0.3)\n    return [1] * len(rows)\n")
    front.booth.serve("add", "sum", default_output=0, objective=0.05)
    told = {"query_id": 2, "output": 0, "default": True, "default_explanation": NO_ANSWER}
    assert await front.ask(bob, ADD, {"input": [1]}) == (200, told)


async def test_a_version_can_be_named_by_who_may_ask_that_one(adding: Front) -> None:
    await adding.booth.deploy(says("'two'"), "2")
    may = await adding.client("bob", MAY, "predict@home/models/sum/1")
    assert (await adding.ask(may, ADD, {"input": [1]}))[1]["output"] == "two"
    assert (await adding.ask(may, ADD, {"input": [1], "version": "1"}))[1]["output"] == 1.0
    assert (await adding.ask(may, ADD, {"input": [1], "version": 1}))[1]["output"] == 1.0
    status, told = await adding.ask(may, ADD, {"input": [1], "version": "2"})
    assert (status, told["code"]) == (403, "dot.out_of_scope")
    every = await adding.client("ann", MAY, "predict@home/models/sum/*")
    status, told = await adding.ask(every, ADD, {"input": [1], "version": "3"})
    assert (status, told["default"]) == (200, True)
    wrongs: tuple[object, ...] = ("../1", [], 1.5, "")
    for wrong in wrongs:
        status, told = await adding.ask(every, ADD, {"input": [1], "version": wrong})
        assert (status, told["error"]) == (400, "Query processing error")


async def test_feedback_takes_a_right_of_its_own(adding: Front) -> None:
    bob = await adding.client("bob", MAY)
    body = {"uid": "7", "input": [1], "label": 1.0}
    assert (await adding.ask(bob, "/add/update", body))[0] == 403
    teacher = await adding.client("ann", "publish@home/apps/add/feedback")
    async with teacher.post(adding.questions.make_url("/add/update"), json=body) as response:
        assert (response.status, await response.text()) == (200, "Feedback received? 1")
    for wrong in (b"{", {"input": [1]}, {"label": 1}, {"input": ["a"], "label": 1}):
        status, told = await adding.ask(teacher, "/add/update", wrong)
        assert (status, set(told), told["error"]) == (400, {"error", "cause"}, "Json error")


async def test_an_application_that_is_not_there(adding: Front) -> None:
    bob = await adding.client("bob", "predict,publish@home/apps/*")
    for path in ("/other/predict", "/other/update"):
        status, told = await adding.ask(bob, path, {"input": [1]})
        assert (status, set(told)) == (404, {"error", "cause"})


# Rights ------------------------------------------------------------------------------------------------------------


async def test_nobody_and_whoever_may_something_else_are_refused(adding: Front) -> None:
    body = {"input": [1]}
    nobody = await adding.client()
    async with nobody.post(adding.questions.make_url(ADD), json=body) as response:
        told = await response.json(content_type=None)
        assert (response.status, told["code"]) == (401, "http.not_signed")
        assert 'resource="apps/add", permission="predict"' in response.headers["WWW-Authenticate"]
    for grant in ("predict@home/apps/other", "predict@home/models/sum", "publish@home/apps/add"):
        other = await adding.client("bob", grant)
        status, told = await adding.ask(other, ADD, body)
        assert (status, told["code"]) == (403, "dot.out_of_scope"), grant
    world = adding.booth.world
    foreign = await adding.client("bob", proof=world.proof(world.grant("shop", "bob", "predict@shop/apps/add")))
    assert (await adding.ask(foreign, ADD, body))[0] == 403
    stolen = world.proof(world.grant("home", "bob", MAY))
    thief = await adding.client("eve", proof=stolen)
    status, told = await adding.ask(thief, ADD, body)
    assert (status, told["code"]) == (403, "message.wrong_sender")


async def test_a_revoked_caller_whose_answer_is_in_the_cache_is_refused(adding: Front) -> None:
    world = adding.booth.world
    held = world.grant("home", "bob", MAY)
    body = {"input": [1, 2]}
    clients = [await adding.client("bob", proof=world.proof(held), sessions=sessions) for sessions in (True, False)]
    for bob in clients:
        assert (await adding.ask(bob, ADD, body))[0] == 200
    hits = adding.booth.engine.cache.hits
    world.revoke(held)
    for bob in clients:
        status, told = await adding.ask(bob, ADD, body)
        assert (status, told["code"]) == (403, "dot.revoked")
    assert adding.booth.engine.cache.hits == hits


async def test_questions_answered_in_one_batch_are_each_answered_by_their_askers_right(
    booth: Booth, front: Front
) -> None:
    slow = b"import time\ndef predict(rows):\n    time.sleep(0.2)\n    return [len(rows)] * len(rows)\n"
    await booth.deploy(slow)
    booth.serve("add", "sum")
    clients = {name: await front.client(name, MAY) for name in ("bob", "ann")}
    clients["eve"] = await front.client("eve", "predict@home/apps/other")
    for name in ("bob", "ann"):
        await front.ask(clients[name], ADD, {"input": [0.5]})
    pool = booth.engine.pool_of("sum")
    assert isinstance(pool, WorkerPool)
    for place in pool._places:
        place.size.limit = 8
    first = asyncio.create_task(front.ask(clients["bob"], ADD, {"input": [1]}))
    await asyncio.sleep(0.08)
    asks = [front.ask(clients[name], ADD, {"input": [float(row)]}) for row in range(2, 5) for name in sorted(clients)]
    answers = await asyncio.gather(*asks)
    await first
    by_name = {name: answers[place::3] for place, name in enumerate(sorted(clients))}
    assert {status for status, _ in by_name["eve"]} == {403}
    for name in ("ann", "bob"):
        assert {(status, told["output"]) for status, told in by_name[name]} == {(200, 3)}, "three questions at once"
