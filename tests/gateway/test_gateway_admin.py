"""The admin API: what it does, and that each change takes its right."""

from typing import Any

import pytest

from devices.gateway.model import package_bytes, packed
from devices.gateway.openinference import PUBLIC
from devices.gateway.service import admin_app, admin_rules, query_app, query_rules
from tests.gateway.booth import SUM, Booth, Front, says
from wave.codec import id_text
from wave.errors import WaveError
from wave.guard.check import open_aiohttp_routes
from wave.guard.guard import Guard

TERMS = {"input_type": "doubles", "default_output": 0, "objective": 1.0}


async def test_a_model_is_deployed_linked_asked_rolled_back_scaled_and_unlinked(front: Front) -> None:
    ann = await front.client("ann", "admin@home/*")
    bob = await front.client("bob", "predict@home/apps/add")
    booth = front.booth
    for version, artefact in (("1", SUM), ("2", says("'two'"))):
        path = f"models/sum/versions/{version}"
        status, told = await front.change(ann, "PUT", path, packed(booth.signed(artefact, version), artefact))
        assert (status, told["current"]) == (200, version)
    told = (await front.change(ann, "GET", "models/sum"))[1]
    assert told["versions"]["2"]["signer"] == id_text(booth.world.id("ann"))
    assert told["versions"]["2"]["processes"]
    status, told = await front.change(ann, "PUT", "apps/add", TERMS)
    assert (status, told["models"], told["policy"]) == (200, [], "single")
    assert (await front.change(ann, "PUT", "apps/add/models/sum"))[1]["models"] == ["sum"]
    assert (await front.ask(bob, "/add/predict", {"input": [1]}))[1]["output"] == "two"
    assert (await front.change(ann, "POST", "models/sum/current", {}))[1]["current"] == "1"
    assert (await front.ask(bob, "/add/predict", {"input": [1]}))[1]["output"] == 1.0
    assert (await front.change(ann, "POST", "models/sum/current", {"version": "2"}))[1]["previous"] == "1"
    status, told = await front.change(ann, "POST", "models/sum/replicas", {"number": 2})
    assert (status, len(told["versions"]["2"]["processes"])) == (200, 2)
    assert (await front.change(ann, "GET", "apps"))[1]["applications"][0]["name"] == "add"
    assert (await front.change(ann, "GET", "models"))[1]["models"][0]["name"] == "sum"
    assert (await front.change(ann, "DELETE", "apps/add/models/sum"))[1]["models"] == []
    assert (await front.change(ann, "DELETE", "apps/add"))[0] == 200
    assert (await front.change(ann, "GET", "apps/add"))[0] == 404


EVERY = [
    ("GET", "apps", "apps"),
    ("GET", "apps/add", "apps/add"),
    ("PUT", "apps/add", "apps/add"),
    ("DELETE", "apps/add", "apps/add"),
    ("PUT", "apps/add/models/sum", "apps/add"),
    ("DELETE", "apps/add/models/sum", "apps/add"),
    ("GET", "models", "models"),
    ("GET", "models/sum", "models/sum"),
    ("PUT", "models/sum/versions/1", "models/sum"),
    ("DELETE", "models/sum/versions/1", "models/sum"),
    ("POST", "models/sum/current", "models/sum"),
    ("POST", "models/sum/replicas", "models/sum"),
]


async def test_every_change_takes_its_right(front: Front) -> None:
    nobody = await front.client()
    asker = await front.client("bob", "predict@home/*", sessions=False)
    other = await front.client("eve", "admin@home/apps/other", sessions=False)
    for method, path, resource in EVERY:
        async with nobody.request(method, front.changes.make_url(f"/admin/v1/{path}")) as response:
            assert response.status == 401, path
            assert f'resource="{resource}", permission="admin"' in response.headers["WWW-Authenticate"]
        for client in (asker, other):
            status, told = await front.change(client, method, path, {})
            assert (status, told["code"]) == (403, "dot.out_of_scope"), path
    assert (await front.get(nobody, "/admin/v1/apps"))[0] == 403, "the port for questions knows no changes"


async def test_no_route_of_either_port_answers_without_a_proof(booth: Booth) -> None:
    settings: dict[str, Any] = {"facts": booth.facts, "authorities": ["gateway"], "clock": lambda: booth.world.now}
    home = booth.world.id("home")
    public = [path for _, path in PUBLIC]
    questions = query_app(booth.engine, Guard(home, query_rules(), **settings))
    assert await open_aiohttp_routes(questions, public=public) == []
    changes = admin_app(booth.engine, Guard(home, admin_rules(), **settings))
    assert await open_aiohttp_routes(changes) == []
    without = await open_aiohttp_routes(query_app(booth.engine, None), public=public)
    assert "POST /x/predict" in without, "the check sees an open door"


async def test_linking_a_model_takes_the_right_to_it_as_well(front: Front) -> None:
    await front.booth.deploy()
    front.booth.serve("add")
    only_app = await front.client("bob", "admin@home/apps/*")
    status, told = await front.change(only_app, "PUT", "apps/add/models/sum")
    assert (status, told["code"]) == (403, "dot.out_of_scope")
    both = await front.client("ann", "admin@home/apps/*", "admin@home/models/sum")
    assert (await front.change(both, "PUT", "apps/add/models/sum"))[0] == 200


async def test_who_may_deploy_cannot_deploy_what_nobody_with_the_right_signed(front: Front) -> None:
    world = front.booth.world
    ann = await front.client("ann", "admin@home/*", sessions=False)
    eve = world.proof(world.grant("home", "eve", "predict@home/*"))
    good = front.booth.signed()
    cases: list[tuple[str, bytes, int, str]] = [
        ("sum/versions/1", packed(b"", SUM), 403, "model.unsigned"),
        ("sum/versions/1", packed(good, SUM + b"#"), 403, "model.altered"),
        ("sum/versions/2", packed(good, SUM), 400, "model.bad"),
        ("other/versions/1", packed(good, SUM), 400, "model.bad"),
        ("sum/versions/1", packed(front.booth.signed(by="eve", proof=eve), SUM), 403, "dot.out_of_scope"),
        ("sum/versions/1", packed(b"\x93", SUM), 400, "object.malformed"),
        ("sum/versions/1", b"nothing", 400, "model.bad"),
        ("sum/versions/.", b"", 403, "guard.not_mapped"),
    ]
    for path, body, status, code in cases:
        found, told = await front.change(ann, "PUT", f"models/{path}", body)
        assert (found, told["code"]) == (status, code), path
    assert front.booth.engine.models == {}


NONSENSE: list[tuple[str, str, Any, int]] = [
    ("PUT", "apps/add", {**TERMS, "objective": 0}, 400),
    ("PUT", "apps/add", {**TERMS, "objective": "1"}, 400),
    ("PUT", "apps/add", {**TERMS, "objective": True}, 400),
    ("PUT", "apps/add", {**TERMS, "input_type": "images"}, 400),
    ("PUT", "apps/add", {**TERMS, "policy": "best"}, 400),
    ("PUT", "apps/add", {**TERMS, "threshold": 2}, 400),
    ("PUT", "apps/add", {**TERMS, "more": 1}, 400),
    ("PUT", "apps/add", {}, 400),
    ("PUT", "apps/Add", TERMS, 400),
    ("POST", "models/sum/current", {"version": 1}, 400),
    ("POST", "models/sum/current", {"other": "1"}, 400),
    ("POST", "models/sum/current", {"version": "9"}, 404),
    ("POST", "models/sum/replicas", {}, 400),
    ("POST", "models/sum/replicas", {"number": 0}, 400),
    ("POST", "models/sum/replicas", {"number": "2"}, 400),
    ("POST", "models/other/replicas", {"number": 1}, 404),
    ("DELETE", "apps/other", None, 404),
    ("DELETE", "models/sum/versions/1", None, 400),
    ("DELETE", "models/sum/versions/2", None, 404),
    ("PUT", "apps/other/models/sum", None, 404),
]


async def test_a_change_that_makes_no_sense_is_refused(front: Front) -> None:
    await front.booth.deploy()
    ann = await front.client("ann", "admin@home/*", sessions=False)
    for method, path, body, status in NONSENSE:
        found, told = await front.change(ann, method, path, body)
        assert (found, told["error"]) == (status, told["detail"]), (path, body)
    assert front.booth.engine.applications == {}


def test_a_package_is_bounded() -> None:
    with pytest.raises(WaveError):
        packed(b"", bytearray(1))  # type: ignore[arg-type] # bytes alone travel
    assert len(packed(bytes(10), bytes(100))) <= 10 + 100 + 32 < package_bytes()
