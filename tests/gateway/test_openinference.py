"""The Open Inference Protocol, version 2, over the same models."""

from typing import Any

import pytest

from tests.gateway.booth import SUM, Booth, Front
from wave.limits import LIMITS

SUMS = "/v2/models/sum"
MAY = "predict@home/models/sum"


def tensor(data: Any, shape: list[Any], datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "input", "shape": shape, "datatype": datatype, "data": data}], **more}


@pytest.fixture
async def summing(front: Front) -> Front:
    await front.booth.deploy()
    return front


async def test_what_anybody_may_know(summing: Front) -> None:
    nobody = await summing.client()
    assert (await summing.get(nobody, "/v2"))[1]["name"] == "wave"
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert await summing.get(nobody, path) == (200, {"live": True, "ready": True})
    for path in (SUMS, f"{SUMS}/ready", f"{SUMS}/versions/1"):
        assert (await summing.get(nobody, path))[0] == 401


async def test_a_model_is_described_and_ready(summing: Front) -> None:
    bob = await summing.client("bob", MAY, f"{MAY}/1", "predict@home/models/other")
    status, told = await summing.get(bob, SUMS)
    assert (status, told["name"], told["versions"], told["platform"]) == (200, "sum", ["1"], "wave_python")
    assert told["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, -1]}]
    for path in (f"{SUMS}/ready", f"{SUMS}/versions/1/ready"):
        assert await summing.get(bob, path) == (200, {"live": True, "ready": True})
    status, told = await summing.get(bob, "/v2/models/other")
    assert (status, told["code"], told["error"]) == (404, "model.not_found", "there is no model other")
    assert await summing.get(bob, "/v2/models/other/ready") == (503, {"live": False, "ready": False})


async def test_rows_are_answered(summing: Front) -> None:
    bob = await summing.client("bob", MAY, f"{MAY}/1")
    expected = {
        "model_name": "sum",
        "model_version": "1",
        "id": "q7",
        "outputs": [{"name": "output", "shape": [2], "datatype": "FP64", "data": [3.0, 7.0]}],
    }
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        assert await summing.ask(bob, f"{SUMS}/infer", tensor(data, [2, 2], id="q7")) == (200, expected)
    del expected["id"]
    body = tensor([1, 2, 3, 4], [2, 2], outputs=[{"name": "output"}])
    assert await summing.ask(bob, f"{SUMS}/versions/1/infer", body) == (200, expected)
    status, told = await summing.ask(bob, f"{SUMS}/infer", tensor([1, 2], [2], "INT64"))
    assert (status, told["outputs"][0]["data"]) == (200, [1, 2])


BAD = [
    b"{",
    b"[]",
    {},
    {"inputs": []},
    {"inputs": [1]},
    {"inputs": tensor([1], [1])["inputs"] * 2},
    {"inputs": [{"shape": [1], "datatype": "FP32", "data": [1]}]},
    tensor([1, 2, 3], [2, 2]),
    tensor([1], []),
    tensor([1], [-1]),
    tensor([1], [1.0]),
    tensor([1], [True]),
    tensor([1], [1] * 9),
    tensor([1], [0]),
    tensor([1] * (LIMITS.questions_per_request + 1), [LIMITS.questions_per_request + 1]),
    tensor([1], [1], "FP16"),
    tensor([1], [1], "FP8"),
    tensor(["a"], [1], "BYTES"),
    tensor(["a"], [1]),
    tensor([None], [1]),
    tensor([256], [1], "UINT8"),
    tensor([-1], [1], "UINT64"),
    tensor([128], [1], "INT8"),
    tensor([1.5], [1], "INT32"),
    tensor([1], [1], "BOOL"),
    tensor("a", [1]),
    tensor([[[1]]], [1]),
    tensor([1], [1], id=7),
    tensor([1], [1], outputs=[{"name": "other"}]),
]


async def test_bad_requests_are_problems_with_an_error(summing: Front) -> None:
    bob = await summing.client("bob", MAY, sessions=False)
    for body in BAD:
        given = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with bob.post(summing.questions.make_url(f"{SUMS}/infer"), **given) as response:
            told = await response.json(content_type=None)
            found = response.status, response.content_type, told["code"]
            assert found == (400, "application/problem+json", "query.bad"), str(body)[:60]
            assert told["error"] == told["detail"]


SAID = [
    ("3", [2], "INT64", [3, 3]),
    ("True", [2], "BOOL", [True, True]),
    ("'up'", [2], "BYTES", ["up", "up"]),
    ("[1, 2.5]", [2, 2], "FP64", [1, 2.5, 1, 2.5]),
    ("{'a': 1}", [2], "BYTES", ['{"a": 1}', '{"a": 1}']),
    ("[[1], [2]]", [2], "BYTES", ["[[1], [2]]", "[[1], [2]]"]),
    ("None", [2], "BYTES", ["null", "null"]),
    ("2**70", [2], "FP64", [2**70, 2**70]),
]


async def test_outputs_have_a_datatype(front: Front) -> None:
    model = b"def predict(rows):\n    return [eval(row) for row in rows]\n"
    await front.booth.deploy(model, input_type="strings")
    bob = await front.client("bob", MAY)
    for said, shape, datatype, data in SAID:
        _, told = await front.ask(bob, f"{SUMS}/infer", tensor([said, said], [2], "BYTES"))
        assert told["outputs"] == [{"name": "output", "shape": shape, "datatype": datatype, "data": data}]


async def test_rows_may_have_more_sides_and_texts_none(front: Front) -> None:
    await front.booth.deploy(b"def predict(rows):\n    return [str(row) for row in rows]\n")
    await front.booth.deploy(
        b"def predict(rows):\n    return [row.upper() for row in rows]\n", model="words", input_type="strings"
    )
    bob = await front.client("bob", MAY, "predict@home/models/words")
    _, told = await front.ask(bob, f"{SUMS}/infer", tensor([[[1, 2], [3, 4]]], [1, 2, 2], "INT8"))
    assert told["outputs"][0]["data"] == ["[[1, 2], [3, 4]]"]
    for shape in ([2], [2, 1]):
        _, told = await front.ask(bob, "/v2/models/words/infer", tensor(["a", "b"], shape, "BYTES"))
        assert told["outputs"][0]["data"] == ["A", "B"]
    assert (await front.ask(bob, "/v2/models/words/infer", tensor(["a", "b"], [1, 2], "BYTES")))[0] == 400
    assert (await front.ask(bob, "/v2/models/words/infer", tensor([1], [1])))[0] == 400


async def test_a_models_fault_is_the_services(front: Front) -> None:
    await front.booth.deploy(b"def predict(rows):\n    raise KeyError('x')\n")
    status, told = await front.ask(await front.client("bob", MAY), f"{SUMS}/infer", tensor([1], [1]))
    assert (status, told["code"]) == (503, "model.raised")


async def test_a_wrong_model_or_version_is_refused_and_a_named_version_is_a_right_of_its_own(summing: Front) -> None:
    await summing.booth.deploy(SUM + b"\n", "2")
    body = tensor([1], [1])
    first = await summing.client("bob", f"{MAY}/1")
    assert (await summing.ask(first, f"{SUMS}/versions/1/infer", body))[0] == 200
    for path in (f"{SUMS}/infer", f"{SUMS}/versions/2/infer", "/v2/models/other/infer"):
        status, told = await summing.ask(first, path, body)
        assert (status, told["code"], told["error"]) == (403, "dot.out_of_scope", told["detail"])
    every = await summing.client("ann", f"{MAY}/*")
    for path in (f"{SUMS}/infer", f"{SUMS}/versions/1/infer", f"{SUMS}/versions/2/infer"):
        assert (await summing.ask(every, path, body))[0] == 200
    assert (await summing.ask(every, f"{SUMS}/versions/3/infer", body))[0] == 404


async def test_the_two_interfaces_share_models_and_results(summing: Front, booth: Booth) -> None:
    booth.serve("add", "sum")
    bob = await summing.client("bob", MAY, "predict@home/apps/add")
    await summing.ask(bob, "/add/predict", {"input": [1, 2]})
    await summing.ask(bob, f"{SUMS}/infer", tensor([1, 2], [1, 2], "FP64"))
    assert (booth.engine.cache.hits, booth.engine.cache.misses) == (1, 1)
