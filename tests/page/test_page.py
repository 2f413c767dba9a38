"""The page in a real Chromium, before a home with a real agent, chain, router and devices."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect
from playwright.async_api import Page as Tab

from tests.page.street import Street, street, until
from wave.codec import encode, id_text, parse_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202e&amp;'\""
STATE = "s.light/light0/i.boolean/slot/state"


def tile(tab: Tab, name: str) -> Any:
    return tab.locator(f"article[data-path$='/{name}']")


async def shot(tab: Tab, path: Path, *, whole: bool = False) -> None:
    """Take a picture without the passing notes, once everything stands still."""
    await tab.evaluate("document.getElementById('toasts').replaceChildren()")
    await tab.mouse.move(0, 0)
    if "WAVE_SCREENSHOTS" in os.environ:  # somebody will look at it
        await tab.wait_for_timeout(500)
    await tab.screenshot(path=path, full_page=whole)


async def let_in(owner: Tab, name: str) -> None:
    """Let whoever knocks in to use everything, by the owner's own hand."""
    await owner.get_by_role("button", name="Let in…").click()
    await owner.get_by_label("Which device").select_option("")
    await owner.get_by_label("They may").select_option("use")
    await owner.get_by_label("For whom").fill(name)
    await owner.get_by_role("button", name="Sign and let in").click()


async def let_oneself_in(owner: Tab) -> None:
    await owner.get_by_role("button", name="Let this browser in…").click()
    await owner.get_by_label("They may").select_option("use")
    await owner.get_by_label("For whom").fill("alice")
    await owner.get_by_role("button", name="Sign and let in").click()
    await expect(tile(owner, "light0")).to_be_visible()


async def test_a_key_that_nobody_granted_is_refused_with_the_reason_and_after_a_grant_the_light_glows(
    browser: Browser, tmp_path: Path, pictures: Path
) -> None:
    async with street(tmp_path / "w", "light0", "switch0") as here:
        owner = await here.visit(browser, here.owner_link())
        await let_oneself_in(owner)
        visitor = await here.visit(browser)
        await expect(visitor.locator("#door-reason")).to_contain_text("nothing shows that")
        await expect(visitor.locator("#door-reason")).to_contain_text("proof.none")
        await expect(visitor.locator("article")).to_have_count(0)
        await shot(visitor, pictures / "door.png")

        await visitor.get_by_label("Your name").fill(HOSTILE[:60])
        await visitor.get_by_role("button", name="Ask to be let in").click()
        await expect(owner.locator("#door-list")).to_contain_text(HOSTILE[:60])
        await let_in(owner, "bob")
        light = tile(visitor, "light0")
        await expect(light).to_contain_text("Off")
        assert await light.evaluate("one => getComputedStyle(one).getPropertyValue('--glow')") in ("", "0")
        await light.get_by_role("switch").click()
        await expect(light).to_contain_text("On · 100 %")
        assert await light.evaluate("one => getComputedStyle(one).getPropertyValue('--glow')") == "1"
        await expect(tile(owner, "light0")).to_contain_text("On · 100 %")
        await light.get_by_role("slider").fill("40")
        await expect(tile(owner, "light0")).to_contain_text("On · 40 %")

        await owner.get_by_role("button", name="Decisions").click()
        rows = owner.locator("#log tr")
        await expect(rows.filter(has_text="bob").filter(has_text="light0").first).to_contain_text("allowed")
        refused = rows.filter(has_text="refused").filter(has_text="nothing shows").first
        await refused.click()
        await expect(owner.locator("#decision-lines")).to_contain_text("could give it: home")
        await shot(owner, pictures / "decision.png")
        assert here.said == []


async def test_the_tiles_live_and_whatever_anybody_wrote_is_text(
    browser: Browser, tmp_path: Path, pictures: Path
) -> None:
    async with street(tmp_path / "w", "light0", "lamp1", "switch0", "thermostat0", "motion0", "box0") as here:
        carol = await here.name(HOSTILE.replace("/", "").replace("\u202e", ""), here.person("carol"))
        await here.give(here.owner, carol.id, ("publish", "+/+/+/slot/+"))
        owner = await here.visit(browser, here.owner_link())
        await let_oneself_in(owner)
        path = "s.thermostat/thermostat0/i.thermostat/slot/state"
        await here.command(carol, path, b'{"hsp": 68, "csp": 75}')
        await expect(tile(owner, "thermostat0")).to_contain_text("75°F")
        await tile(owner, "thermostat0").get_by_role("button", name="heat to: one degree more").click()
        await expect(tile(owner, "thermostat0").locator(".hsp output")).to_have_text("69°F")
        await here.command(carol, "s.motion/motion0/i.motion/slot/package", b'{"package": "delivered"}')
        await expect(tile(owner, "motion0")).to_contain_text("1 so far")
        await expect(tile(owner, "motion0")).to_have_class("tile s-motion moved")
        await tile(owner, "box0").get_by_label("Note for box0").fill("Parcel is with the neighbours")
        await tile(owner, "box0").get_by_role("button", name="Leave").click()
        await expect(tile(owner, "box0")).to_contain_text("1 note")
        await here.command(carol, "s.light/light0/i.dimmer/slot/brightness", b'{"brightness": 85}')
        await here.command(carol, "s.light/lamp1/i.dimmer/slot/brightness", b'{"brightness": 20}')
        await expect(tile(owner, "lamp1")).to_contain_text("On · 20 %")
        await tile(owner, "switch0").get_by_role("switch").click()
        await expect(tile(owner, "switch0")).to_contain_text("On")
        await here.command(carol, "s.light/lamp1/i.dimmer/slot/brightness", b'{"brightness": 1000}')

        await shot(owner, pictures / "home.png", whole=True)
        await owner.emulate_media(color_scheme="dark")
        await shot(owner, pictures / "home-dark.png", whole=True)
        await owner.emulate_media(color_scheme="light")
        await owner.set_viewport_size({"width": 390, "height": 844})
        assert await owner.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing stands out sideways"
        await shot(owner, pictures / "home-phone.png", whole=True)
        await owner.set_viewport_size({"width": 1180, "height": 860})

        await here.command(carol, "s.notifier/box0/i.notifier/slot/note", json.dumps({"text": HOSTILE}).encode())
        await expect(tile(owner, "box0").locator("li span").first).to_have_text(HOSTILE)
        assert await asked(owner, path, {"hsp": 90}) == "done"
        refusal = tile(owner, "thermostat0").get_by_role("alert")
        await expect(refusal).to_contain_text("the heating set point (hsp) may not be above the cooling one")
        await shot(owner, pictures / "refused.png")
        await owner.get_by_role("button", name="Decisions").click()
        await expect(owner.locator("#log")).to_contain_text("a brightness is a whole number from 0 to 100")
        await expect(owner.locator("#log")).to_contain_text(carol_name(here, carol.id))
        await shot(owner, pictures / "decisions.png")
        assert here.said == []


def carol_name(here: Street, identity: bytes) -> str:
    return here.page.view.name(id_text(identity))[:20]


async def test_a_guest_by_link_may_do_one_thing_with_one_device_and_nothing_else(
    browser: Browser, tmp_path: Path, pictures: Path
) -> None:
    async with street(tmp_path / "w", "light0", "lamp1", "thermostat0") as here:
        owner = await here.visit(browser, here.owner_link())
        await let_oneself_in(owner)
        await owner.get_by_role("button", name="Who may do what").click()
        await owner.get_by_role("button", name="Share…").click()
        await owner.get_by_label("For whom").fill("gina")
        await owner.get_by_label("Which device").select_option("s.light/light0")
        await owner.get_by_label("They may").select_option("switch")
        until_text = await owner.get_by_label("Until", exact=True).input_value()
        assert until_text.endswith("T20:00")
        assert await owner.evaluate(f"new Date('{until_text}').getDay()") == 0
        await shot(owner, pictures / "share.png")
        await owner.get_by_role("button", name="Make the link").click()
        await expect(owner.locator("#share-qr svg")).to_be_visible()
        link = await owner.locator("#share-link").input_value()
        await shot(owner, pictures / "share-link.png")
        await owner.get_by_role("button", name="Done").click()

        guest = await here.visit(browser, link, viewport={"width": 390, "height": 844})
        assert "#" not in guest.url
        light = tile(guest, "light0")
        await expect(light).to_contain_text("Off")
        await expect(guest.locator("article")).to_have_count(1)
        await light.get_by_role("switch").click()
        await expect(light).to_contain_text("On · 100 %")
        await light.get_by_role("slider").fill("10")
        await expect(light.get_by_role("alert")).to_contain_text("Refused. Your key may not dim light0.")
        await expect(light.get_by_role("slider")).to_have_value("100")
        await expect(light.get_by_role("alert")).to_contain_text("i.dimmer/slot/brightness")
        await expect(light).to_contain_text("On · 100 %")
        await shot(guest, pictures / "guest-phone.png")
        for where, value in (
            ("s.light/lamp1/i.boolean/slot/state", {"state": "on"}),
            ("s.thermostat/thermostat0/i.thermostat/slot/state", {"hsp": 60}),
        ):
            assert await asked(guest, where, value) == "proof.none", where

        late = await here.visit(browser, link)
        await expect(late.locator("#toasts .refused")).to_contain_text("used or withdrawn")
        await expect(late.locator("article")).to_have_count(0)
        assert here.said == []


async def asked(tab: Tab, where: str, value: Any) -> str:
    """Command something from a page's own key, past its buttons; return the code of the refusal, or 'done'."""
    return str(
        await tab.evaluate(
            """async ([where, value]) => {
                const { Live } = await import("/live.js");
                return new Promise((resolve) => {
                    const live = new Live((kind) => {
                        if (kind !== "you") return;
                        live.command(where, value).then(() => resolve("done"), (error) => resolve(error.problem.code));
                    });
                });
            }""",
            [where, value],
        )
    )


async def test_taking_back_shows_first_who_would_lose_what_and_then_ends_what_was_open(
    browser: Browser, tmp_path: Path, pictures: Path
) -> None:
    async with street(tmp_path / "w", "light0", "lamp1", "thermostat0") as here:
        people = {name: await here.name(name, here.person(name)) for name in ("bob", "carol", "dave")}
        wide = (("publish", "+/+/+/slot/+"), ("subscribe", "+/+/+/signal/+"))
        narrow = (("publish", STATE), ("subscribe", "s.light/light0/+/signal/+"))
        await here.give(here.owner, people["bob"].id, *wide, hops=2, comment=HOSTILE)
        await here.give(people["bob"], people["carol"].id, *narrow, hops=1, days=5)
        await here.give(people["carol"], people["dave"].id, narrow[0], days=2)
        await here.give(here.owner, people["dave"].id, ("publish", "s.thermostat/thermostat0/+/slot/+"))
        owner = await here.visit(browser, here.owner_link())
        await let_oneself_in(owner)
        visitor = await here.visit(browser)
        await expect(visitor.locator("#door-reason")).to_contain_text("Refused")
        visitor_id = (await visitor.locator("#door-step .code").last.inner_text()).strip()
        identity = parse_id(visitor_id)
        assert identity is not None
        await here.give(people["bob"], identity, *narrow, days=3)
        await expect(tile(visitor, "light0")).to_contain_text("Off")
        await tile(visitor, "light0").get_by_role("switch").click()
        await expect(tile(visitor, "light0")).to_contain_text("On")

        await owner.get_by_role("button", name="Who may do what").click()
        arrow = owner.get_by_role("button", name="home lets bob")
        await expect(arrow).to_be_visible()
        await shot(owner, pictures / "graph.png", whole=True)
        await arrow.press("Enter")
        await expect(owner.locator("#edge-about")).to_contain_text(HOSTILE)
        losses = owner.locator("#edge-losses")
        await expect(losses).to_contain_text("4 would lose something")
        for name, right in (("bob", "use everything"), ("carol", "switch light0"), ("dave", "switch light0")):
            await expect(losses.locator("> ul > li").filter(has_text=name)).to_contain_text(right)
        await expect(losses).not_to_contain_text("thermostat0")
        await shot(owner, pictures / "losses.png")
        await owner.get_by_role("button", name="Sign and take back").click()
        await expect(owner.locator("#toasts")).to_contain_text("Taken back")
        await expect(arrow).to_have_count(0)
        await expect(tile(visitor, "light0")).to_have_count(0)
        await expect(visitor.locator("#door-reason")).to_contain_text("Refused")
        assert await asked(visitor, STATE, {"state": "off"}) == "proof.none"
        await owner.get_by_label("ended").check()
        await expect(owner.get_by_role("button", name="home lets bob")).to_have_class("arrow dead")
        await owner.set_viewport_size({"width": 390, "height": 844})
        assert await owner.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing stands out sideways"
        await shot(owner, pictures / "graph-phone.png", whole=True)
        assert here.said == []


async def test_the_page_writes_the_very_bytes_that_the_library_reads(browser: Browser, tmp_path: Path) -> None:
    values: list[Any] = [None, True, False, 0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53 - 1]
    values += ["", "ä" * 15, "x" * 31, "x" * 32, "x" * 255, "x" * 256, "\U0001f4a1" * 16_384, [], [[]] * 15, [1] * 16]
    values += [[0] * 65_536, ["nested", [None, [True, "deep"]]]]
    lengths = [0, 1, 255, 256, 65_535, 65_536]
    async with street(tmp_path / "w") as here:
        tab = await here.visit(browser)
        written = await tab.evaluate(
            """async ([values, lengths]) => {
                const { base64, encode } = await import("/codec.js");
                const all = [...values, ...lengths.map((size) => new Uint8Array(size).fill(7))];
                return all.map((one) => base64(encode(one)));
            }""",
            [values, lengths],
        )
        expected = [encode(tuples(one)) for one in values] + [encode(b"\7" * size) for size in lengths]
        assert [base64.b64decode(one) for one in written] == expected
        refused = await tab.evaluate(
            """async () => {
                const { encode } = await import("/codec.js");
                return [1.5, -1, 2 ** 53, {}, undefined, "\\ud800"].map((one) => {
                    try { encode(one); return "taken" } catch { return "refused" }
                });
            }"""
        )
        assert refused == ["refused"] * 6
        exported = await tab.evaluate(
            """async () => {
                const { ownKey } = await import("/key.js");
                const key = await ownKey(Math.floor(Date.now() / 1000));
                return crypto.subtle.exportKey("pkcs8", key.sign).then(() => "given out", () => "kept");
            }"""
        )
        assert exported == "kept"


def tuples(value: Any) -> Any:
    return tuple(tuples(one) for one in value) if isinstance(value, list) else value


async def test_without_an_owner_the_page_has_no_owners_rooms_and_says_what_it_lacks(
    browser: Browser, tmp_path: Path
) -> None:
    async with street(tmp_path / "w", "light0", owned=False) as here:
        tab = await here.visit(browser, f"{here.url}#owner=made-up")
        await expect(tab.locator("#toasts .refused")).to_contain_text("started without an owner")
        await expect(tab.get_by_role("button", name="Who may do what")).to_be_hidden()
        await until(lambda: bool(here.page.view.trouble))
        assert "nothing shows that" in here.page.view.trouble
        await here.give(here.owner, here.page.viewer.id, ("subscribe", "+/+/+/signal/+"), days=1)
        await until(lambda: not here.page.view.trouble, 20)


async def test_a_revoked_visitor_hears_nothing_more_though_nobody_acts(browser: Browser, tmp_path: Path) -> None:
    async with street(tmp_path / "w", "thermostat0") as here:
        tab = await here.visit(browser)
        text = (await tab.locator("#door-step .code").last.inner_text()).strip()
        identity = parse_id(text)
        assert identity is not None
        dot = await here.give(here.owner, identity, ("subscribe", "s.thermostat/thermostat0/+/signal/+"))
        await expect(tile(tab, "thermostat0")).to_contain_text("°F")
        await here.take_back(dot, here.owner)
        (visitor,) = here.page.visitors
        await expect(tile(tab, "thermostat0")).to_have_count(0)
        assert visitor.seen == {}
