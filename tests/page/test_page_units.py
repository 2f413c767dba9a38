"""What stands behind the page and needs no browser: terms, invitations, the book of decisions, the owner's sessions."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devices.log import DecisionLog, Entry
from devices.origin import check_origin
from devices.page.book import KEPT, Book
from devices.page.invitations import LIFETIME, MOST, Invitations
from devices.page.local import static_files
from devices.page.owner import SESSION, Owner, Sessions
from devices.page.pictures import qr_rows
from devices.page.sharing import Terms, verbs
from devices.page.view import Shown, View
from tests.world import DAY, NOW, World
from wave.agent import wire
from wave.bus.message import Accepted, Inbox, Message
from wave.codec import sha256
from wave.dots.proof import Proof
from wave.entities.keyring import Keyring
from wave.errors import (
    AgentUnavailable,
    BadCondition,
    BadInvitation,
    BadRequest,
    BadSetting,
    BadTime,
    ChainUnavailable,
    OutOfScope,
    OwnerWanted,
    TooLarge,
    WaveError,
)

LIGHT = "s.light/light0"


def terms(**changes: Any) -> Terms:
    return Terms(**{"device": LIGHT, "verb": "switch", "until": NOW + DAY, "name": "Ann", **changes})


def rights(of: Terms) -> list[tuple[str, str]]:
    return [(one.permissions[0], one.pattern) for one in of.rights()]


# Terms -------------------------------------------------------------------------------------------------------------


def test_a_verb_stands_for_one_slot_of_one_device_and_for_seeing_it() -> None:
    seen = ("subscribe", f"{LIGHT}/+/signal/+")
    assert rights(terms()) == [seen, ("publish", f"{LIGHT}/i.boolean/slot/state")]
    assert rights(terms(verb="dim")) == [seen, ("publish", f"{LIGHT}/i.dimmer/slot/brightness")]
    assert rights(terms(verb="see")) == [seen]
    assert rights(terms(verb="use")) == [seen, ("publish", f"{LIGHT}/+/slot/+")]
    whole = terms(device="", verb="use")
    assert rights(whole) == [("subscribe", "+/+/+/signal/+"), ("publish", "+/+/+/slot/+")]


@pytest.mark.parametrize("service", ["", "s.light", "s.switch", "s.thermostat", "s.motion", "s.notifier", "s.other"])
def test_every_verb_that_is_offered_can_be_given(service: str) -> None:
    for one in verbs(service):
        assert terms(device=f"{service}/x0" if service else "", verb=one["verb"]).rights()


@pytest.mark.parametrize(
    "changes",
    [
        {"verb": "burn"},
        {"device": "s.light/*"},
        {"device": "s.light/a/b"},
        {"device": "home"},
        {"device": "", "verb": "switch"},
    ],
)
def test_what_no_device_has_cannot_be_given(changes: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        terms(**changes).rights()


def test_hours_become_a_condition() -> None:
    (seen, _) = terms(hours="mon-sun 08:00-22:00 UTC").rights()
    assert [str(one) for one in seen.conditions] == ["when mon-sun 08:00-22:00 UTC"]
    with pytest.raises(BadCondition):
        terms(hours="always").rights()


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"device": LIGHT}, {**terms().to_json(), "until": True}, {**terms().to_json(), "until": "soon"},
     {**terms().to_json(), "name": 1}, {**terms().to_json(), "name": "x" * 61}, {**terms().to_json(), "hours": 5}],
)  # fmt: skip
def test_terms_that_are_none_are_bad_input(value: object) -> None:
    with pytest.raises(BadRequest):
        Terms.read(value)


def test_terms_are_read_as_they_were_written() -> None:
    assert Terms.read(terms(name="  Ann \n Lee").to_json()) == terms(name="Ann Lee")


# Invitations -------------------------------------------------------------------------------------------------------


class Moving:
    """A clock."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Moving:
    return Moving()


@pytest.fixture
def opened(tmp_path: Path, clock: Moving) -> Callable[[], Invitations]:
    drawn = iter(range(10_000))
    return lambda: Invitations(
        tmp_path / "invitations.json", clock=clock, draw=lambda size: sha256(b"%d" % next(drawn))[:size]
    )


def test_an_invitation_is_good_once(opened: Callable[[], Invitations]) -> None:
    invitations = opened()
    code, invitation = invitations.invite(terms())
    assert len(code) == 22
    assert invitations.take(code) == invitation
    with pytest.raises(BadInvitation):
        invitations.take(code)


def test_an_invitation_outlives_the_process_and_so_does_its_use(opened: Callable[[], Invitations]) -> None:
    code, invitation = opened().invite(terms())
    assert opened().take(code) == invitation
    with pytest.raises(BadInvitation):
        opened().take(code)


def test_no_code_stands_in_the_file_and_none_but_its_owner_reads_it(
    opened: Callable[[], Invitations], tmp_path: Path
) -> None:
    code, _ = opened().invite(terms())
    path = tmp_path / "invitations.json"
    assert code not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert code not in json.dumps(opened().shown())


def test_an_invitation_ends_with_its_terms_or_after_a_week(opened: Callable[[], Invitations], clock: Moving) -> None:
    invitations = opened()
    day, _ = invitations.invite(terms())
    month, invitation = invitations.invite(terms(until=NOW + 30 * DAY))
    assert invitation.expires == NOW + LIFETIME
    clock.now += DAY
    with pytest.raises(BadInvitation, match="past its time"):
        invitations.take(day)
    clock.now = NOW + LIFETIME
    with pytest.raises(BadInvitation):
        invitations.take(month)


def test_one_that_led_to_nothing_can_be_put_back(opened: Callable[[], Invitations]) -> None:
    invitations = opened()
    code, _ = invitations.invite(terms())
    invitations.put_back(code, invitations.take(code))
    assert invitations.take(code).terms == terms()


def test_one_can_be_withdrawn(opened: Callable[[], Invitations]) -> None:
    invitations = opened()
    code, _ = invitations.invite(terms())
    (shown,) = invitations.shown()
    invitations.withdraw(shown["key"])
    for refused in (lambda: invitations.take(code), lambda: invitations.withdraw(shown["key"])):
        with pytest.raises(BadInvitation):
            refused()


@pytest.mark.parametrize("code", ["", "x", "A" * 22, "A" * 4000, "\ud800" * 22])
def test_a_code_that_nobody_made_opens_nothing(opened: Callable[[], Invitations], code: str) -> None:
    invitations = opened()
    invitations.invite(terms())
    with pytest.raises(BadInvitation):
        invitations.take(code)


def test_there_are_so_many_invitations_and_no_more(opened: Callable[[], Invitations], clock: Moving) -> None:
    invitations = opened()
    for _ in range(MOST):
        invitations.invite(terms())
    with pytest.raises(TooLarge):
        invitations.invite(terms())
    clock.now += DAY
    invitations.invite(terms(until=NOW + 2 * DAY))


def test_nobody_is_invited_into_the_past(opened: Callable[[], Invitations]) -> None:
    with pytest.raises(BadTime):
        opened().invite(terms(until=NOW))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1}', '{"a": {"terms": {}, "expires": 1}}', '{"a": {"expires": "x"}}']
)
def test_a_damaged_file_opens_nothing(opened: Callable[[], Invitations], tmp_path: Path, text: str) -> None:
    path = tmp_path / "invitations.json"
    path.write_text(text)
    path.chmod(0o600)
    assert opened().shown() == []


# Sessions ----------------------------------------------------------------------------------------------------------


def test_the_owners_token_is_good_once_and_its_cookie_for_some_hours(clock: Moving) -> None:
    sessions = Sessions(clock)
    token = sessions.token()
    cookie = sessions.exchange(token)
    assert sessions.holds(cookie)
    assert not sessions.holds(token)
    assert not sessions.holds(None)
    with pytest.raises(OwnerWanted):
        sessions.exchange(token)
    clock.now += SESSION
    assert not sessions.holds(cookie)


def test_before_a_token_was_made_none_is_good(clock: Moving) -> None:
    with pytest.raises(OwnerWanted):
        Sessions(clock).exchange("")


def test_a_new_token_voids_the_one_before(clock: Moving) -> None:
    sessions = Sessions(clock)
    first, second = sessions.token(), sessions.token()
    with pytest.raises(OwnerWanted):
        sessions.exchange(first)
    assert sessions.holds(sessions.exchange(second))


# The book ----------------------------------------------------------------------------------------------------------


def entry(number: int, **changes: Any) -> Entry:
    fields = {
        "time": NOW + number, "device": "light0", "who": "w", "name": "ann", "what": "publish", "resource": LIGHT,
        "allowed": True, "code": "ok", "did": "on", "decision": f"d{number}", "path": ("p",),
    }  # fmt: skip
    return Entry(**{**fields, **changes})


def test_the_book_reads_on_in_every_log(tmp_path: Path) -> None:
    book = Book([tmp_path, tmp_path / "missing"])
    assert book.read_on() == []
    light, box = DecisionLog(tmp_path / "light0.log"), DecisionLog(tmp_path / "box0.log")
    light(entry(1))
    box(entry(0, device="box0"))
    assert book.read_on() == [entry(0, device="box0"), entry(1)]
    light(entry(2))
    assert book.read_on() == [entry(2)]
    assert [one.time - NOW for one in book.entries] == [0, 1, 2]


def test_a_log_that_begins_anew_loses_nothing(tmp_path: Path) -> None:
    book, log = Book([tmp_path]), DecisionLog(tmp_path / "light0.log", bound=2000)
    told = []
    for number in range(40):
        log(entry(number))
        if number % 3 == 0:
            told += book.read_on()
    told += book.read_on()
    assert told == [entry(number) for number in range(40)]


def test_a_decision_that_is_heard_twice_stands_once(tmp_path: Path) -> None:
    book = Book([tmp_path])
    assert book.add(entry(1))
    assert not book.add(entry(1, did="otherwise"))
    DecisionLog(tmp_path / "light0.log")(entry(1))
    assert book.read_on() == []


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    book, path = Book([tmp_path]), tmp_path / "light0.log"
    line = json.dumps(entry(1).to_json()) + "\n"
    path.write_text(line[:50])
    assert book.read_on() == []
    path.write_text(line)
    assert book.read_on() == [entry(1)]


@pytest.mark.parametrize(
    "changes",
    [
        {"time": "x"},
        {"time": True},
        {"allowed": 1},
        {"did": 5},
        {"decision": 5},
        {"path": "p"},
        {"path": [1]},
        {"more": 1},
    ],
)
def test_a_line_that_is_no_entry_is_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    lines = [
        "",
        "[]",
        "not json",
        "[" * 5000,
        json.dumps({**entry(1).to_json(), **changes}),
        json.dumps(entry(2).to_json()),
    ]
    (tmp_path / "light0.log").write_text("\n".join(lines) + "\n")
    assert Book([tmp_path]).read_on() == [entry(2)]


def test_the_book_keeps_the_newest(tmp_path: Path) -> None:
    book = Book([tmp_path])
    for number in range(KEPT + 5):
        book.add(entry(number))
    assert len(book.entries) == KEPT
    assert book.entries[0] == entry(5)


# Files and addresses -----------------------------------------------------------------------------------------------


def test_the_page_has_all_its_files_and_names_no_other_host() -> None:
    files = static_files("devices.page")
    assert {"index.html", "page.css", "main.js", "codec.js", "key.js", "icon.svg"} <= set(files)
    namespace = b"http://www.w3.org/2000/svg"  # a name, which nobody opens
    for name, (data, _) in files.items():
        assert b"//" not in data.replace(namespace, b"").replace(b"// ", b"").replace(b"//${", b""), name
        assert b"innerHTML" not in data, name
        assert b"<style" not in data, name
        assert b" style=" not in data, name


def test_a_qr_code_is_square_and_begins_with_its_corner() -> None:
    rows = qr_rows("https://home.example/#invite=" + "A" * 22)
    assert all(len(row) == len(rows) for row in rows)
    assert rows[0].startswith("11111110")


@pytest.mark.parametrize("text", ["home.example", "ftp://home.example", "https://", "https://a@b", "https://a/b", "https://a:0",
                                  "https://a:x", "https://a?b", "https://a#b", ""])  # fmt: skip
def test_a_public_address_that_is_none_is_bad_input(text: str) -> None:
    with pytest.raises(BadSetting):
        check_origin(text)


def test_a_public_address_is_an_origin() -> None:
    assert check_origin("https://Home.example/") == "https://home.example"


# What the page shows -----------------------------------------------------------------------------------------------


class Telling:
    """A bus on which some reports are heard, and nothing after them."""

    def __init__(self, world: World, *reports: tuple[str, bytes]) -> None:
        self.heard = [self._accepted(world, *one) for one in reports]
        self.subscribed = 0

    @staticmethod
    def _accepted(world: World, where: str, payload: bytes) -> Accepted:
        proof = Proof.build((), (world.entity("home").entity,))
        message = Message.create(
            world.entity("home"), permission="publish", namespace=world.id("home"), resource=where, payload=payload,
            created=world.now, expires=world.now + 30, nonce=bytes(16), proof=proof.id,
        )  # fmt: skip
        facts, inbox = world.facts, Inbox()
        return inbox.accept(message, proof, facts, permission="publish", now=world.now)

    async def subscribe(self, *_: object, **__: object) -> AsyncIterator[Accepted]:
        self.subscribed += 1

        async def reading() -> AsyncIterator[Accepted]:
            for one in self.heard:
                yield one
            await asyncio.Event().wait()

        return reading()


class Site:
    """What a view asks of a site here: the time."""

    def __init__(self, world: World) -> None:
        self.clock = lambda: float(world.now)


async def _listened(world: World, *reports: tuple[str, bytes]) -> View:
    """Return a view after the last of the reports was heard, in one subscription."""
    bus: Any = Telling(world, *reports, (f"{LIGHT}/i.last/signal/state", b'"end"'))
    agent: Any = None
    site: Any = Site(world)
    view = View(agent, site, world.id("home"))
    listening = asyncio.create_task(view.listen(bus))
    try:
        async with asyncio.timeout(5):
            while not any(one.value == "end" for one in view.states.values()):
                assert not listening.done()
                await asyncio.sleep(0.01)
    finally:
        listening.cancel()
        await asyncio.wait([listening])
    assert bus.subscribed == 1
    return view


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 600 + b"]" * 600,
        b"[" * 33 + b"]" * 33,
        b'{"a":' * 600 + b"1" + b"}" * 600,
        b"9" * 5000,
        b"1".zfill(20_000),
    ],
)
async def test_a_report_that_cannot_be_shown_ends_nothing(world: World, payload: bytes) -> None:
    view = await _listened(world, (f"{LIGHT}/i.boolean/signal/state", payload))
    assert len(view.states) == 1


async def test_whatever_goes_wrong_with_one_report_the_next_is_shown(world: World) -> None:
    view = await _listened(world)
    said: list[str] = []

    def fail(shown: Shown) -> None:
        said.append(shown.signal)
        if len(said) == 1:
            raise RuntimeError("a fault of ours")

    bus: Any = Telling(world, (f"{LIGHT}/a/signal/x", b"1"), (f"{LIGHT}/b/signal/x", b"2"))
    view.said = fail
    listening = asyncio.create_task(view.listen(bus))
    async with asyncio.timeout(5):
        while len(said) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    listening.cancel()
    await asyncio.wait([listening])
    assert bus.subscribed == 1


async def test_one_device_takes_no_room_of_the_others(world: World) -> None:
    many = [(f"s.light/busy/i{number}/signal/x", b"1") for number in range(100)]
    view = await _listened(world, *many)
    assert sum(path == "s.light/busy" for path, _ in view.states) == 64
    assert (LIGHT, "i.last/signal/state") in view.states


# Who comes in by an invitation -------------------------------------------------------------------------------------


class Asked:
    """An agent that takes what is published, or says why not."""

    def __init__(self, answer: Exception | None, *, late: bool) -> None:
        self.published = 0
        self._answer = answer
        self._late = late

    async def call(self, call: object) -> Any:
        if not isinstance(call, wire.Publish):
            return SimpleNamespace(own=True)
        if self._answer is not None and not self._late:
            raise self._answer
        self.published += 1
        if self._answer is not None:
            raise self._answer
        return None


@pytest.mark.parametrize(
    "case",
    [
        (None, 1),
        (OutOfScope("no"), 0),
        (ChainUnavailable("the chain did not answer in time"), 1),
        (AgentUnavailable("gone before it answered"), 1),
    ],
    ids=["given, and the name not kept", "refused", "no answer of the chain", "no answer of the agent"],
)
async def test_an_invitation_opens_again_only_if_nothing_was_granted(
    world: World,
    opened: Callable[[], Invitations],
    tmp_path: Path,
    case: tuple[Exception | None, int],
) -> None:
    """Otherwise one code would let in any number of people."""
    answer, granted = case
    invitations, agent = opened(), Asked(answer, late=granted == 1)
    view: Any = SimpleNamespace(agent=agent, namespace=world.id("home"), site=Site(world))
    keyring = Keyring(tmp_path / "file" / "ring")
    (tmp_path / "file").write_text("no directory can be made here")
    owner = Owner(world.entity("home"), view, keyring, invitations)
    code, _ = invitations.invite(terms())
    for number in range(3):
        with suppress(WaveError):
            await owner.join(code, world.entity(f"visitor{number}").entity)
    assert agent.published == granted
    assert len(invitations.shown()) == 1 - granted


def test_the_owners_cookie_opens_nothing_with_another_key(clock: Moving) -> None:
    sessions = Sessions(clock)
    cookie = sessions.exchange(sessions.token())
    assert not sessions.owns(None, bytes(32))
    assert not sessions.owns("x", bytes(32))
    assert sessions.owns(cookie, b"\1" * 32)
    assert sessions.owns(cookie, b"\1" * 32)
    assert not sessions.owns(cookie, b"\2" * 32)
    clock.now += SESSION
    assert not sessions.owns(cookie, b"\1" * 32)
