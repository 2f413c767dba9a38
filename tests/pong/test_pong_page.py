"""The page in a real Chromium: refused without a grant, playing with one, by the guarded gateway's answers alone."""

import asyncio
import base64
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from playwright.async_api import Page as Tab

from devices.gateway.app import NO_MODEL
from devices.page.local import static_files
from devices.pong.field import ACTIONS, BALL_RADIUS, HEIGHT, PADDLE_HEIGHT, SERVE_RISE, Field
from devices.pong.page.server import figures, serving
from tests.pong.hall import ANY, PLAY, RISE, Hall, hall
from wave.agent.wire import Status
from wave.codec import id_text, parse_id
from wave.entities.entity import EntitySecret
from wave.errors import BadModel, BadSetting
from wave.guard.guard import SESSION_PATH
from wave.guard.signature import PROOF_HEADER, HttpRequest, read, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAYED_IN_JS = """async ([figures, games]) => {
  const { Field } = await import("/field.js");
  return games.map(({ y, dy, moves }) => {
    const field = new Field(figures, y, dy);
    return moves.map(([left, right]) => {
      const missed = field.step(left, right ?? field.scripted());
      return [missed, field.right_y, ...field.observation()];
    });
  });
}"""
SIGNED_IN_JS = """async ([key, id, requests]) => {
  const { signedHeaders } = await import("/signature.js");
  const { fromBase64, parseId, utf8 } = await import("/codec.js");
  const sign = await crypto.subtle.importKey("pkcs8", fromBase64(key), "Ed25519", false, ["sign"]);
  return Promise.all(requests.map(([method, url, body, proof, now, nonce]) =>
    signedHeaders({ id: parseId(id), sign }, { method, url: new URL(url), body: utf8(body), proof }, now, nonce)));
}"""
PADDLE_IN_JS = """(x) => {
  const canvas = document.getElementById("field");
  const scale = canvas.width / 640;
  const column = canvas.getContext("2d").getImageData(Math.round(x * scale), 0, 1, canvas.height).data;
  for (let row = 0; row < canvas.height; row += 1) if (column[4 * row + 1] > 150) return row / scale;
  return null;
}"""
ASKED_IN_JS = """async ([now]) => {
  const { Gateway } = await import("/gateway.js");
  const { ownKey } = await import("/key.js");
  const setup = await (await fetch("/setup")).json();
  const gateway = new Gateway(setup.gateway, await ownKey(Math.floor(setup.time)), () => now);
  return (await gateway.ask("POST", "/pong/predict", { input: [0, 0, 0, 0, 0, 0, 0, 0] })).status;
}"""
LEFT, RIGHT = 6, 634  # where the paddles are, from the left
START = (HEIGHT - PADDLE_HEIGHT) / 2  # where both begin
PKCS8 = bytes.fromhex("302e020100300506032b657004220420")  # before an Ed25519 seed (RFC 8410)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hall]:
    """A hall, shared by the tests of this file."""
    expect.set_options(timeout=10_000)
    async with hall(tmp_path_factory.mktemp("hall") / "w") as found:
        yield found


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def one_after_the_other(here: Hall) -> AsyncIterator[None]:
    """Close what a test opened, so that nobody else asks the gateway."""
    yield
    while here.contexts:
        await here.contexts.pop().close()


async def key_of(tab: Tab) -> bytes:
    await expect(tab.locator("#key-id")).not_to_be_empty()
    found = parse_id(await tab.locator("#key-id").text_content() or "")
    assert found is not None
    return found


async def paddle_goes(tab: Tab, x: int, where: Callable[[float], bool]) -> None:
    """Wait until the upper edge of a paddle is somewhere, as its pixels show."""
    async with asyncio.timeout(10):
        while not where(await tab.evaluate(PADDLE_IN_JS, x)):  # noqa: ASYNC110 - pixels tell nobody
            await asyncio.sleep(0.02)


def complaints(here: Hall) -> list[str]:
    """Return what consoles said, but that a request was refused, which browsers say by themselves."""
    return [text for text in here.said if not text.startswith("Failed to load resource")]


async def test_from_a_refusal_through_a_grant_and_a_new_version_to_a_revocation(
    browser: Browser, here: Hall, pictures: Path
) -> None:
    tab = await here.visit(browser)
    reason = tab.locator("#reason")
    await expect(reason).to_contain_text("may predict on apps/pong")
    await expect(tab.locator("#door")).to_contain_text("401 · http.not_signed")
    key = await key_of(tab)
    granting = f"wave grant --from home.ent --to {id_text(key)} 'predict@home/apps/pong'"
    await expect(tab.locator("#door pre")).to_have_text(granting)
    await expect(tab.locator("#room")).to_be_hidden()
    assert set(here.codes()) == {"http.not_signed"}
    await tab.screenshot(path=pictures / "pong-door.png")

    held = await here.give(here.owner, key, PLAY)
    await expect(tab.locator("#mover")).to_have_text("moved by pong version 1")
    await tab.get_by_label("let the rule play for me").check()
    await tab.get_by_role("button", name="Serve").click()
    await paddle_goes(tab, LEFT, lambda edge: abs(edge - START) > 20)
    assert here.codes()[-1] == "ok"
    assert here.decisions[-1]["sender"] == id_text(key)

    await here.deploy("2", RISE)
    await expect(tab.locator("#mover")).to_have_text("moved by pong version 2")
    await expect(tab.locator("#events")).to_contain_text("version 2 took over from version 1")
    await paddle_goes(tab, LEFT, lambda edge: edge < 2)
    await expect(tab.locator("#version-note")).to_contain_text("'predict@home/models/pong/*'")

    await here.take_back(held, here.owner)
    await expect(tab.locator("#stopped")).to_contain_text("was revoked")
    await expect(tab.locator("#stopped")).to_contain_text("dot.revoked")
    await expect(tab.locator("h2").first).to_have_text("This browser's key may not play here any more")
    await expect(tab.locator("#door pre")).to_have_text(granting)
    codes = here.codes()
    after = codes[codes.index("dot.revoked") :]
    assert "ok" not in after

    await here.give(here.owner, key, PLAY, ANY)
    await expect(tab.locator("#events")).to_contain_text("the key may play again")
    await expect(tab.locator("#stopped")).to_be_hidden()
    await expect(tab.locator("#version option")).to_have_count(3)
    await tab.get_by_label("Play against").select_option("1")
    await expect(tab.locator("#events")).to_contain_text("you chose version 1")
    await tab.get_by_role("button", name="Serve").click()
    await expect(tab.locator("#mover")).to_have_text("moved by pong version 1")
    await tab.screenshot(path=pictures / "pong.png")
    await tab.set_viewport_size({"width": 390, "height": 844})
    assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing stands out sideways"
    assert complaints(here) == []


async def test_a_person_moves_the_right_paddle_by_keys_and_by_a_pointer(browser: Browser, here: Hall) -> None:
    tab = await here.visit(browser)
    await here.give(here.owner, await key_of(tab), PLAY)
    await expect(tab.locator("#room")).to_be_visible()
    await tab.keyboard.press("Space")
    await expect(tab.get_by_role("button", name="Pause")).to_be_visible()
    await tab.keyboard.down("ArrowUp")
    await paddle_goes(tab, RIGHT, lambda edge: edge < START - 40)
    await tab.keyboard.up("ArrowUp")
    await tab.keyboard.down("KeyS")
    await paddle_goes(tab, RIGHT, lambda edge: edge > START)
    await tab.keyboard.up("KeyS")
    await tab.locator("#field").hover(position={"x": 300, "y": 10})
    await paddle_goes(tab, RIGHT, lambda edge: edge < 20)
    here.engine.unlink("pong", "pong")
    await expect(tab.locator("#explanation")).to_contain_text(NO_MODEL)
    here.engine.link("pong", "pong")
    assert complaints(here) == []


async def test_a_proof_too_long_for_a_header_is_shown_in_a_body(browser: Browser, here: Hall) -> None:
    tab = await here.visit(browser)
    hands = [here.owner, *[await here.name(f"hand{one}", here.person("hand")) for one in range(12)]]
    takers = [*[one.id for one in hands[1:]], await key_of(tab)]
    for left, (giver, taker) in enumerate(zip(hands, takers, strict=True)):
        await here.give(giver, taker, PLAY, hops=len(hands) - left)
    await expect(tab.locator("#room")).to_be_visible()
    assert here.codes(SESSION_PATH) == ["ok"]
    assert here.codes()[-1] == "ok"


async def test_a_gateway_that_began_after_a_request_was_signed_gets_it_anew(browser: Browser, here: Hall) -> None:
    tab = await here.visit(browser)
    await here.give(here.owner, await key_of(tab), PLAY)
    await expect(tab.locator("#room")).to_be_visible()
    assert await tab.evaluate(ASKED_IN_JS, [int(here.began) - 1]) == 200
    assert here.codes()[-2:] == ["message.before_restart", "ok"]


async def test_a_gateway_that_lets_no_page_ask_is_named_with_what_to_start(browser: Browser, here: Hall) -> None:
    async with serving(here.agent, here.gateway, app="pong", port=0, clock=here.now) as elsewhere:
        tab = await here.visit(browser, elsewhere)
        await expect(tab.locator("#reason")).to_contain_text(here.gateway)
        await expect(tab.locator("#door pre")).to_contain_text(f"--origin {elsewhere.removesuffix('/')}")
        await tab.context.close()
    assert here.said != []
    here.said.clear()  # the browser says itself why it keeps the answer from the page


# The same in JavaScript as in Python -------------------------------------------------------------------------------


async def test_the_page_plays_the_same_game_to_the_last_bit(browser: Browser, here: Hall) -> None:
    draw = random.Random(1)
    games: list[dict[str, Any]] = []
    expected = []
    for _ in range(12):
        y, dy = draw.uniform(BALL_RADIUS, HEIGHT - BALL_RADIUS), draw.uniform(-SERVE_RISE, SERVE_RISE)
        field, moves, seen = Field(y, dy), [], []
        for _ in range(1500):
            right = draw.choice((None, None, *ACTIONS))
            followed = 1 if field.ball_y > field.left_y + PADDLE_HEIGHT / 2 else 2
            left = draw.choice((followed, followed, *ACTIONS))
            missed = field.step(left, right)
            moves.append((left, right))
            seen.append([missed, field.right_y, *field.observation()])
            if missed is not None:
                break
        games.append({"y": y, "dy": dy, "moves": moves})
        expected.append(seen)
    tab = await here.visit(browser)
    assert await tab.evaluate(PLAYED_IN_JS, [figures(), games]) == expected
    assert sum(map(len, expected)) > 1000, "the games went on for a while"


async def test_the_page_signs_what_the_verifier_reads(browser: Browser, here: Hall) -> None:
    ann = here.person("ann")
    now = int(here.now())
    requests = [
        ("POST", "http://127.0.0.1:1337/pong/predict", '{"input": [0.1, 0]}', "id=abc"),
        ("GET", "http://play.example/v2/models/pong/versions/1", "", ":AAAA:"),
        ("POST", "https://play.example:8443/a%20b?x=1&y=%C3%A9", "\u00e9", "id=def"),
    ]
    tab = await here.visit(browser)
    nonces = [bytes([one]) * 16 for one in range(len(requests))]
    given = [(*one, now, id_text(nonce)) for one, nonce in zip(requests, nonces, strict=True)]
    key = base64.b64encode(PKCS8 + ann.seed).decode()
    made = await tab.evaluate(SIGNED_IN_JS, [key, id_text(ann.id), given])
    for (method, url, body, proof), nonce, headers in zip(requests, nonces, made, strict=True):
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        shown = {PROOF_HEADER: proof}
        request = HttpRequest(method, parts.scheme, parts.netloc, parts.path, query, shown, body.encode())
        wanted = sign(ann, request, created=now, expires=now + 60, nonce=nonce)
        assert headers == {**wanted, "Wave-Proof": proof}
        received = request._replace(headers={name.lower(): text for name, text in headers.items()})
        assert read(received).key == id_text(ann.id)


CHALLENGED_JS = """async (header) => {
  const { Gateway } = await import("/gateway.js");
  const gateway = new Gateway("http://127.0.0.1:1", null, () => 0);
  gateway.plain = async () => new Response("{}", { status: 401, headers: { "WWW-Authenticate": header } });
  return gateway.wanted("POST", "/x", new Uint8Array(), []).then((found) => found.rights, () => null);
}"""


async def test_no_words_of_a_gateway_that_a_shell_would_read_come_near_a_command(here: Hall, browser: Browser) -> None:
    tab = await here.visit(browser)

    async def understood(namespace: str = "A" * 43, permission: str = "predict", resource: str = "apps/pong") -> Any:
        named = f'realm="x", namespace="{namespace}", permission="{permission}", resource="{resource}", nonce="y"'
        return await tab.evaluate(CHALLENGED_JS, f"WAVE {named}")

    assert await understood() == [["predict", "apps/pong"]]
    for words in ("apps/$(id)", "apps/`id`", "apps/a b", "apps/a;b", "apps/*", "apps/a'b", "../apps//x", "", "a\\nb"):
        assert await understood(resource=words) is None, words
        assert await understood(namespace=words) is None, words
    assert await understood(permission="publish") is None


# The page's own server ---------------------------------------------------------------------------------------------


async def prove(here: Hall, signer: EntitySecret | None, value: Any, **headers: str) -> tuple[int, str]:
    """Return status and code of what the page's server answers to what ``signer`` signed, or nobody."""
    body, parts = json.dumps(value).encode(), urlsplit(here.url)
    request = HttpRequest("POST", "http", parts.netloc, "/prove", "", {PROOF_HEADER: "none"}, body)
    now = int(time.time())
    signed = signer and sign(signer, request, created=now, expires=now + 60, nonce=os.urandom(16))
    sent = {"Origin": here.url.removesuffix("/"), "Content-Type": "application/json", "Wave-Proof": "none"}
    return await posted(here, body, {**sent, **(signed or {}), **headers})


async def posted(here: Hall, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """Return status and code of what the page's server answers."""
    async with aiohttp.ClientSession() as http, http.post(f"{here.url}prove", data=body, headers=headers) as response:
        told = await response.json(content_type=None)
        return response.status, told.get("code", "")


def asked_of(record: bytes, here: Hall) -> dict[str, Any]:
    """Return how a browser asks for a proof that it may play."""
    entity = base64.b64encode(record).decode()
    return {"entity": entity, "namespace": id_text(here.owner.id), "wanted": [["predict", "apps/pong"]]}


async def test_its_server_proves_for_its_own_page_and_only_what_is_granted(here: Hall) -> None:
    bob = here.person("bob")
    given = asked_of(bob.entity.to_bytes(), here)
    known = (await here.agent.call(Status())).counts.entities
    assert await prove(here, bob, given) == (403, "proof.none")
    assert (await here.agent.call(Status())).counts.entities == known, "a stranger fills no disk"
    await here.give(here.owner, bob.id, PLAY)
    assert await prove(here, bob, given) == (200, "")
    more = [["predict", "apps/pong"], ["predict", "models/pong/1"]]
    assert await prove(here, bob, {**given, "wanted": more}) == (403, "proof.none")
    for origin in ("http://evil.example", "null", here.gateway):
        assert await prove(here, bob, given, Origin=origin) == (403, "page.origin")
    assert await prove(here, bob, given, Host="evil.example") == (403, "page.origin")


async def test_its_server_tells_nobody_else_what_a_key_was_given(here: Hall) -> None:
    bob, eve = here.person("bob"), here.person("eve")
    await here.give(here.owner, bob.id, PLAY)
    given = asked_of(bob.entity.to_bytes(), here)
    assert await prove(here, bob, given) == (200, "")
    assert await prove(here, None, given) == (401, "http.not_signed")
    assert await prove(here, eve, given) == (403, "message.wrong_sender")
    body, parts = json.dumps(given).encode(), urlsplit(here.url)
    now, sent = int(time.time()), {"Origin": here.url.removesuffix("/"), "Content-Type": "application/json"}
    for change, made, code in (
        ({"authority": "127.0.0.1:1"}, now, "signature.bad"),
        ({"path": "/setup"}, now, "signature.bad"),
        ({"body": b"{}"}, now, "http.digest"),
        ({}, now - 3600, "message.stale"),
        ({}, now + 3600, "message.stale"),
    ):
        request = HttpRequest("POST", "http", parts.netloc, "/prove", "", {PROOF_HEADER: "none"}, body)
        headers = sign(bob, request._replace(**change), created=made, expires=made + 60, nonce=bytes(16))
        assert await posted(here, body, {**sent, "Wave-Proof": "none", **headers}) == (403, code), change


async def test_its_server_answers_nonsense_with_a_reason(here: Hall) -> None:
    eve = here.person("eve")
    record = eve.entity.to_bytes()
    given = asked_of(record, here)
    texts = ["?", given["entity"][:40], base64.b64encode(record[:-1] + b"!").decode()]
    wanted = [[], [["predict"]], [["predict", 5]], [["predict", "a//b"]], [["predict", "apps/pong"]] * 1000]
    wrong = [{"entity": one} for one in texts] + [{"wanted": one} for one in wanted]
    for one in ([], {}, *[{**given, **part} for part in (*wrong, {"namespace": 5}, {"more": "x" * 5000})]):
        status, code = await prove(here, eve, one)
        assert 400 <= status < 500, one
        assert code, one


async def test_its_scripts_may_ask_the_gateway_and_nobody_else(here: Hall) -> None:
    async with aiohttp.ClientSession() as http, http.get(here.url) as response:
        policy = response.headers["Content-Security-Policy"]
        assert f"connect-src 'self' {here.gateway};" in policy
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    for name, (data, _) in static_files("devices.pong.page").items():
        text = data.replace(b"http://www.w3.org/2000/svg", b"").replace(b"// ", b"")
        assert b"//" not in text, f"{name} names no other host"
        assert b"innerHTML" not in text, name
        assert b" style=" not in text, name


@pytest.mark.parametrize(
    ("gateway", "app", "expected"),
    [
        ("127.0.0.1:1337", "pong", BadSetting),
        ("http://127.0.0.1:1337/path", "pong", BadSetting),
        ("http://127.0.0.1:1337; script-src *", "pong", BadSetting),
        ("http://127.0.0.1:1337", "../admin", BadModel),
    ],
)
async def test_it_is_not_served_for_what_is_no_gateway(here: Hall, gateway: str, app: str, expected: type) -> None:
    with pytest.raises(expected):
        async with serving(here.agent, gateway, app=app, port=0, clock=here.now):
            raise AssertionError("it is served")
