"""Batches from sources that nobody trusts: checked, fetched in the background, and named when they are withheld."""

import asyncio
import http.server
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from tests.agent.conftest import House, person
from tests.agent.test_kills import chain
from wave.agent import registrar as registrars
from wave.agent import server, wire
from wave.agent.batches import SERVED_AT, Batches, Intake, Source, SourceSilent, source
from wave.agent.client import AgentClient
from wave.agent.engine import Engine
from wave.agent.knowledge import CHECKED_TOGETHER
from wave.agent.registrar import BATCH_AGE
from wave.agent.settings import Settings
from wave.chain.batch import Batch, file_name
from wave.chain.client import ChainClient
from wave.chain.contract import CHAIN_ID, REGISTRY, Anchored
from wave.chain.promise import Promise
from wave.chain.sender import Receipt
from wave.codec import id_text
from wave.dots.dot import Dot
from wave.entities.entity import EntitySecret
from wave.entities.object import SignedObject, decode_object
from wave.errors import BadSetting, BadSignature, Refused, StateUnwritable, UnknownEntity
from wave.limits import LIMITS
from wave.namespace.grant import right

BATCH = Batch.build([b"one", b"two", b"three"])
OTHER = Batch.build([b"four", b"five"])
PATIENCE = 10.0


@dataclass
class Replica:
    """A follower that remembers what it was handed."""

    anchored: list[Anchored] = field(default_factory=list)
    taken: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    generation: int = 0

    def anchors(self) -> list[Anchored]:
        return self.anchored

    def missing_batches(self) -> list[Anchored]:
        first = {anchor.root: anchor for anchor in reversed(self.anchored)}
        return [anchor for anchor in self.anchored if anchor.root not in self.taken and first[anchor.root] is anchor]

    def ingest_batch(self, root: bytes, objects: Sequence[bytes]) -> int:
        self.taken[root] = tuple(objects)
        return len(objects)


def anchored(*batches: Batch, count: int | None = None) -> Replica:
    return Replica(
        [Anchored(height, 0, one.root, len(one) if count is None else count) for height, one in enumerate(batches, 5)]
    )


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Callable[..., Intake]]:
    """Return what makes an intake over sources, closed in the end."""
    with ExitStack() as stack:

        def made(*sources: Source, seconds: float = PATIENCE) -> Intake:
            intake = Intake(Batches(tmp_path / "own"), sources, seconds=seconds)
            stack.callback(intake.close)
            return intake

        yield made


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def web() -> Iterator[Callable[[Answer], str]]:
    """Return what starts a web server that answers as told, and gives its base URL."""
    with ExitStack() as stack:

        def started(answer: Answer) -> str:
            class Handler(http.server.BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    answer(self)

                def log_message(self, *_: object) -> None:
                    pass

            server = stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
            server.daemon_threads = True
            server.block_on_close = False
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}/mirror"

        yield started


def body(data: bytes, status: int = 200) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


# The directory -----------------------------------------------------------------------------------------------------


def test_a_batch_that_is_kept_is_there_under_its_root_and_keeping_it_again_is_harmless(tmp_path: Path) -> None:
    shelf = Batches(tmp_path / "deep" / "batches")
    assert (list(shelf.roots()), shelf.read(BATCH.root)) == ([], None)
    shelf.keep(BATCH)
    shelf.keep(BATCH)
    assert shelf.read(BATCH.root) == BATCH
    assert Batches(shelf.directory).read(BATCH.root) == BATCH
    assert list(shelf.roots()) == [BATCH.root]
    assert [path.name for path in shelf.directory.iterdir()] == [f"{BATCH.root.hex()}.batch"]


def test_a_damaged_file_is_removed_and_counts_as_absent(tmp_path: Path) -> None:
    """So that it is fetched again."""
    shelf = Batches(tmp_path)
    (tmp_path / BATCH.name).write_bytes(OTHER.to_bytes())
    assert BATCH.root in shelf
    assert shelf.read(BATCH.root) is None
    assert BATCH.root not in shelf


def test_a_batch_in_memory_hides_no_damaged_file(tmp_path: Path) -> None:
    shelf = Batches(tmp_path)
    (tmp_path / BATCH.name).write_bytes(OTHER.to_bytes())
    shelf.keep(BATCH)
    assert shelf.read(BATCH.root) is None
    shelf.keep(BATCH)
    assert (shelf.read(BATCH.root), shelf.read(BATCH.root)) == (BATCH, BATCH)


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnwritable):
        Batches(tmp_path / "file" / "batches").keep(BATCH)


def test_export_copies_what_is_not_there_yet(tmp_path: Path) -> None:
    shelf, mirror = Batches(tmp_path / "own"), Batches(tmp_path / "mirror")
    shelf.keep(BATCH)
    shelf.keep(OTHER)
    mirror.keep(BATCH)
    assert (shelf.export(mirror.directory), shelf.export(mirror.directory)) == (1, 0)
    assert mirror.read(OTHER.root) == OTHER


# Sources -----------------------------------------------------------------------------------------------------------


def test_what_is_here_already_is_taken_in_without_asking_anybody(taking: Callable[..., Intake]) -> None:
    intake, replica = taking(), anchored(BATCH)
    intake.batches.keep(BATCH)
    assert intake.take_in(replica) == 3
    assert replica.taken == {BATCH.root: BATCH.objects}
    assert intake.take_in(replica) == 0
    assert intake.withheld() == []


def test_a_batch_comes_from_a_directory_and_is_kept(taking: Callable[..., Intake], tmp_path: Path) -> None:
    Batches(tmp_path / "mirror").keep(BATCH)
    intake, replica = taking(source("mirror", home=tmp_path)), anchored(BATCH)
    assert intake.take_in(replica, patience=PATIENCE) == 3
    assert intake.batches.read(BATCH.root) == BATCH


def test_a_batch_comes_from_any_web_server(
    taking: Callable[..., Intake], web: Callable[[Answer], str], tmp_path: Path
) -> None:
    asked: list[str] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        body(BATCH.to_bytes())(handler)

    intake, replica = taking(source(web(answer), home=tmp_path)), anchored(BATCH)
    assert intake.take_in(replica, patience=PATIENCE) == 3
    assert asked == [f"/mirror/{BATCH.name}"]


def test_an_agent_named_by_host_and_port_alone_is_asked_where_agents_serve(
    web: Callable[[Answer], str], tmp_path: Path
) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        there = handler.path == SERVED_AT + BATCH.name
        body(BATCH.to_bytes() if there else b"", 200 if there else 404)(handler)

    place = source(web(answer).removesuffix("/mirror"), home=tmp_path)
    assert place.fetch(BATCH.root, PATIENCE) == BATCH.to_bytes()
    assert place.fetch(OTHER.root, PATIENCE) is None


def dripping(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.02)
    except OSError:
        pass


def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(1_000_000))
    except OSError:
        pass


def hung_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"few")
    handler.close_connection = True


LIARS: dict[str, Answer] = {
    "another batch": body(OTHER.to_bytes()),
    "an altered batch": body(BATCH.to_bytes().replace(b"two", b"owt")),
    "a cut batch": body(BATCH.to_bytes()[:-1]),
    "nothing": body(b""),
    "a page": body(b"<html>"),
    "not found": body(b"", 404),
    "an error": body(BATCH.to_bytes(), 500),
    "a redirection": body(BATCH.to_bytes(), 302),
    "no end": endless,
    "a drip": dripping,
    "half": hung_up,
}


@pytest.mark.parametrize("what", LIARS)
def test_a_bad_source_changes_nothing_and_the_next_one_is_asked(
    what: str, taking: Callable[..., Intake], web: Callable[[Answer], str], tmp_path: Path
) -> None:
    """Lies, silence and drips: alone, the batch is withheld; beside an honest source, it comes."""
    url = web(LIARS[what])
    alone, replica = taking(source(url, home=tmp_path), seconds=0.3), anchored(BATCH)
    assert alone.take_in(replica, patience=PATIENCE) == 0
    assert [anchor.root for anchor in alone.withheld()] == [BATCH.root]
    assert list(alone.batches.roots()) == []
    Batches(tmp_path / "mirror").keep(BATCH)
    both = taking(source(url, home=tmp_path), source("mirror", home=tmp_path), seconds=0.3)
    assert both.take_in(replica, patience=PATIENCE) == 3
    assert both.withheld() == []


def test_a_source_is_left_alone_once_its_time_is_over(web: Callable[[Answer], str], tmp_path: Path) -> None:
    """However it drips, it takes no longer than it is given."""
    place = source(web(dripping), home=tmp_path)
    start = time.monotonic()
    with pytest.raises(SourceSilent):
        place.fetch(BATCH.root, 0.3)
    assert time.monotonic() - start < 3.0


def test_a_source_that_accepts_and_says_nothing_is_left_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = source(f"http://127.0.0.1:{listener.getsockname()[1]}/x", home=tmp_path)
        with pytest.raises(SourceSilent):
            place.fetch(BATCH.root, 0.2)


def test_a_dead_source_and_a_missing_directory_are_no_error(taking: Callable[..., Intake], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    dead = [f"http://127.0.0.1:{port}/b", "nowhere", "unix:nobody.sock"]
    intake, replica = taking(*[source(text, home=tmp_path) for text in dead]), anchored(BATCH)
    assert intake.take_in(replica, patience=PATIENCE) == 0
    assert len(intake.withheld()) == 1


@pytest.mark.parametrize(
    "text", ["ftp://host/x", "http://", "http://host:port/", "http://user:pw@host/x", "http://h/?q"]
)
def test_what_is_no_source_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadSetting):
        source(text, home=tmp_path)


# What is withheld --------------------------------------------------------------------------------------------------


def test_withheld_data_is_named_with_its_block_and_keeps_nothing_else_waiting(
    taking: Callable[..., Intake], tmp_path: Path
) -> None:
    Batches(tmp_path / "mirror").keep(OTHER)
    intake, replica = taking(source("mirror", home=tmp_path)), anchored(BATCH, OTHER)
    assert intake.take_in(replica, patience=PATIENCE) == 2
    assert [(anchor.root, anchor.count, anchor.height) for anchor in intake.withheld()] == [(BATCH.root, 3, 5)]


def test_without_any_source_everything_of_others_is_withheld(taking: Callable[..., Intake]) -> None:
    intake, replica = taking(), anchored(BATCH, OTHER)
    assert intake.take_in(replica, patience=PATIENCE) == 0
    assert [anchor.height for anchor in intake.withheld()] == [5, 6]


def test_a_slow_source_does_not_hold_up_whoever_asks(
    taking: Callable[..., Intake], web: Callable[[Answer], str], tmp_path: Path
) -> None:
    """A daemon waits for nothing: revocations come first."""
    intake, replica = taking(source(web(dripping), home=tmp_path)), anchored(BATCH)
    start = time.monotonic()
    for _ in range(50):
        intake.take_in(replica)
    assert time.monotonic() - start < 1.0
    assert len(intake.withheld()) == 1


def test_what_is_handed_out_later_is_taken_in_then(taking: Callable[..., Intake], tmp_path: Path) -> None:
    intake, replica = taking(source("mirror", home=tmp_path)), anchored(BATCH)
    intake.take_in(replica, patience=PATIENCE)
    assert len(intake.withheld()) == 1
    Batches(tmp_path / "mirror").keep(BATCH)
    deadline = time.monotonic() + PATIENCE
    while not intake.take_in(replica) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert replica.taken == {BATCH.root: BATCH.objects}
    assert intake.withheld() == []


def test_what_was_fetched_is_announced_and_handed_over_by_itself(taking: Callable[..., Intake], tmp_path: Path) -> None:
    """But not to a follower whose chain changed since it was asked for."""
    Batches(tmp_path / "mirror").keep(BATCH)
    intake, replica = taking(source("mirror", home=tmp_path)), Replica()
    arrived = threading.Event()
    intake.fetcher.arrived = arrived.set
    assert intake.take_in(replica) == 0
    replica.anchored = anchored(BATCH).anchored
    intake.fetcher.want(replica.anchored)
    assert arrived.wait(PATIENCE)
    replica.generation = 1
    assert intake.take_fetched(replica) == 0
    replica.generation = 0
    assert (intake.take_fetched(replica), intake.take_fetched(replica)) == (3, 0)
    assert replica.taken == {BATCH.root: BATCH.objects}


@pytest.mark.parametrize("count", [0, 2, 4, LIMITS.batch_objects + 1, 2**256 - 1])
def test_a_count_that_is_wrong_keeps_the_batch_out(count: int, taking: Callable[..., Intake]) -> None:
    intake, replica = taking(), anchored(BATCH, count=count)
    intake.batches.keep(BATCH)
    assert intake.take_in(replica) == 0
    assert [anchor.count for anchor in intake.withheld()] == [count]


def test_whoever_anchors_a_root_first_with_a_wrong_count_keeps_nobody_out(taking: Callable[..., Intake]) -> None:
    """A watcher may copy a root before its owner's transaction is mined."""
    intake = taking()
    replica = Replica([Anchored(5, 0, BATCH.root, 7), Anchored(5, 1, BATCH.root, 3)])
    intake.batches.keep(BATCH)
    assert intake.take_in(replica) == 3


def test_a_chain_that_changed_is_looked_at_anew(taking: Callable[..., Intake]) -> None:
    """What was unwound is not wanted any more, and what was taken back is taken in again."""
    intake, replica = taking(), anchored(BATCH, OTHER)
    intake.batches.keep(BATCH)
    intake.take_in(replica)
    assert len(intake.withheld()) == 1
    replica.anchored, replica.taken, replica.generation = [replica.anchored[0]], {}, 1
    assert intake.take_in(replica) == 3
    assert intake.withheld() == []


# Agents ------------------------------------------------------------------------------------------------------------


def short(tmp_path: Path) -> Path:
    """Return a directory whose sockets have short names."""
    return Path(tempfile.mkdtemp(prefix="wave", dir=tmp_path.parents[2]))


def several(house: House, count: int) -> tuple[bytes, ...]:
    return tuple(house.dot(house.owner, house.guest, where=f"light/{number}").to_bytes() for number in range(count))


def test_anchored_objects_stand_on_the_chain_like_published_ones(house: House) -> None:
    """One transaction; without a daemon, at once. A right that was anchored is a right."""
    reply = house.engine.call(wire.Anchor(objects=several(house, 5)))
    assert len(reply.roots) == 1
    heights = {one.height for one in reply.objects}
    assert len(heights) == 1
    assert None not in heights
    house.engine.call(wire.Prove(ask=house.ask(house.guest, "light/3")))
    again = house.engine.call(wire.Anchor(objects=several(house, 0) + tuple(dot.to_bytes() for dot in house.given)))
    assert (again.roots, {one.height for one in again.objects}) == ((), heights)


def test_an_anchored_dot_can_be_revoked(house: House) -> None:
    (data,) = several(house, 1)
    house.engine.call(wire.Anchor(objects=(data,)))
    dot = house.given[0]
    house.engine.call(wire.Revoke(preimages=(dot.preimage(house.owner),)))
    with pytest.raises(Refused):
        house.engine.call(wire.Prove(ask=house.ask(house.guest, "light/0")))


def test_what_is_wrong_is_not_queued(house: House) -> None:
    """A false signature, and a giver whose record nobody could find."""
    (data,) = several(house, 1)
    with pytest.raises(BadSignature):
        house.engine.call(wire.Anchor(objects=(data[:-1] + bytes([data[-1] ^ 1]),)))
    nobody = person(int(house.clock.now))
    with pytest.raises(UnknownEntity):
        house.engine.call(wire.Anchor(objects=(house.dot(nobody, house.guest).to_bytes(),)))
    assert house.engine.call(wire.Status()).pending == 0


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("place", [0, 2 * CHECKED_TOGETHER, 3 * CHECKED_TOGETHER])
@pytest.mark.parametrize("call", [wire.Anchor, wire.Publish])
def test_one_false_signature_among_many_good_ones_keeps_all_of_them_out(
    house: House, call: Callable[..., wire.Call[Any]], place: int, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it stands, and however many threads look: the error of a single one, and nothing is queued or known."""
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    good = several(house, 3 * CHECKED_TOGETHER)
    forged = house.dot(house.guest, house.stranger).to_object()
    forged = SignedObject(forged.kind, forged.body, house.given[0].signature)
    before = house.engine.call(wire.Status())
    with pytest.raises(BadSignature):
        house.engine.call(call(objects=(*good[:place], forged.to_bytes(), *good[place:])))
    after = house.engine.call(wire.Status())
    assert (after.pending, after.counts) == (before.pending, before.counts)


def test_many_are_anchored_each_once_and_in_their_order(house: House) -> None:
    data = several(house, 3 * CHECKED_TOGETHER)
    reply = house.engine.call(wire.Anchor(objects=(*data, *data[::-1])))
    assert [one.id for one in reply.objects[: len(data)]] == [id_text(dot.id) for dot in house.given]
    assert len({one.height for one in reply.objects} - {None}) == len(reply.roots) == 1
    batch = house.engine.registrar.intake.batches.read(bytes.fromhex(reply.roots[0]))
    assert batch is not None
    assert batch.objects == data


def test_what_waits_for_its_confirmations_is_not_anchored_again(tmp_path: Path) -> None:
    owner, guest = person(int(time.time())), person(int(time.time()))
    with Engine.open(Settings(tmp_path / "home", confirmations=3), wait=0.0) as engine:
        engine.call(wire.Publish(objects=(owner.entity.to_bytes(), guest.entity.to_bytes())))
        call = wire.Anchor(objects=(dot_of(owner, guest, "light/1").to_bytes(),))
        first, again = engine.call(call), engine.call(call)
        assert engine.call(wire.Status()).counts.dots == 0
    assert first.objects[0].height is not None
    assert (again.objects, again.roots) == (first.objects, ())


def test_what_a_full_batch_leaves_over_waits_from_when_it_came(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(registrars, "time", SimpleNamespace(monotonic=lambda: now))
    registrar = house.engine.registrar
    objects = [SignedObject("dot", b"%d" % number, bytes(64)) for number in range(LIMITS.batch_objects + 1)]
    waiting = []
    for later, some in ((0.0, objects[:-2]), (1.9, objects[-2:]), (0.2, []), (1.8, [])):
        now += later * BATCH_AGE / 2.0
        if some:
            registrar.queue(some)
        registrar.tick()
        waiting.append(registrar.outbox.counts()["waiting"])
    assert waiting == [LIMITS.batch_objects - 1, 1, 1, 0]
    roots = list(registrar.intake.batches.roots())
    batches = [registrar.intake.batches.read(root) for root in roots]
    assert sorted(len(batch) for batch in batches if batch) == [1, LIMITS.batch_objects]


def test_a_giver_and_what_it_gives_may_be_anchored_together_and_one_after_the_other(house: House) -> None:
    newcomer, other = person(int(house.clock.now)), person(int(house.clock.now))
    dot = house.dot(newcomer, house.guest)
    reply = house.engine.call(wire.Anchor(objects=(newcomer.entity.to_bytes(), dot.to_bytes())))
    assert [one.kind for one in reply.objects] == ["entity", "dot"]
    house.engine.registrar.queue([other.entity.to_object()])
    later = house.engine.call(wire.Anchor(objects=(house.dot(other, house.guest).to_bytes(),)))
    assert later.objects[0].height is not None


def test_the_outbox_s_file_survives_and_a_new_engine_carries_on(open_house: Callable[[], House]) -> None:
    house = open_house()
    (data,) = several(house, 1)
    house.engine.registrar.queue([decode_object(data)])
    house.engine.registrar.outbox.form(house.engine.registrar.intake.batches.keep)
    settings = house.engine.settings
    house.engine.close()
    with Engine.open(settings, wait=0.0) as engine:
        assert engine.call(wire.Status()).pending == 0  # asking the chain sends what waits
        assert engine.call(wire.FindObject(id=id_text(house.given[0].id))).height is not None


async def test_an_agent_anchors_after_a_while_keeps_its_promise_and_serves_the_bytes_to_another(
    tmp_path: Path,
) -> None:
    """From a queue on one agent to a proof on another, which fetched the batch from the first one's socket."""
    home = short(tmp_path)
    with chain(home) as address:
        owner, guest = person(int(time.time())), person(int(time.time()))
        dots = [dot_of(owner, guest, f"light/{number}") for number in range(20)]
        first = Settings(home / "a", address)
        second = Settings(home / "b", address, sources=(str(first.socket),))
        async with (
            server.serving(first, promiser=owner),
            server.serving(second),
            AgentClient(str(first.socket)) as agent,
            AgentClient(str(second.socket)) as other,
        ):
            people = (owner.entity.to_bytes(), guest.entity.to_bytes())
            await agent.call(wire.Publish(objects=people))
            reply = await agent.call(wire.Anchor(objects=tuple(dot.to_bytes() for dot in dots)))
            assert {one.height for one in reply.objects} == {None}
            promises = tuple(one.promise for one in reply.objects if one.promise is not None)
            assert len(promises) == 20
            assert {view.verdict for view in (await agent.call(wire.Audit(promises=promises))).promises} == {"pending"}
            ask = wire.Ask(
                subject=id_text(guest.id),
                namespace=id_text(owner.id),
                statements=(wire.Wanted(permission="publish", pattern="light/7"),),
            )
            deadline = time.monotonic() + 30
            while True:
                try:
                    await other.call(wire.Prove(ask=ask))
                    break
                except Refused:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.1)
            audit = await other.call(wire.Audit(promises=promises))
            assert {view.verdict for view in audit.promises} == {"kept"}
            assert (audit.withheld, (await agent.call(wire.Status())).pending) == ((), 0)
            (root,) = Batches(second.home / "batches").roots()
            connector = aiohttp.UnixConnector(str(first.socket))
            async with aiohttp.ClientSession(connector=connector) as session:
                for name, status in ((root.hex(), 200), (file_name(root), 200), ("0" * 64, 404), ("x", 404)):
                    async with session.get(f"http://localhost{SERVED_AT}{name}") as response:
                        assert response.status == status, name
                        if status == 200:
                            assert "immutable" in response.headers["Cache-Control"]
                            assert Batch.from_bytes(await response.read(), expected=root).root == root


async def test_a_full_batch_waits_for_no_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TICK", 600.0)
    monkeypatch.setattr(registrars, "LIMITS", replace(LIMITS, batch_objects=4))
    home = short(tmp_path)
    with chain(home) as address:
        owner, guest = person(int(time.time())), person(int(time.time()))
        settings = Settings(home / "a", address)
        async with server.serving(settings), AgentClient(str(settings.socket)) as agent:
            await agent.call(wire.Publish(objects=(owner.entity.to_bytes(), guest.entity.to_bytes())))
            dots = tuple(dot_of(owner, guest, f"light/{number}").to_bytes() for number in range(4))
            await agent.call(wire.Anchor(objects=dots[:3]))
            assert list(Batches(settings.home / "batches").roots()) == []
            await agent.call(wire.Anchor(objects=dots[3:]))
            deadline = time.monotonic() + 30
            with ChainClient.connect(address, state=home) as client:
                while not any(isinstance(one, Anchored) for one in client.events(0, client.head().number)):
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)


async def test_while_a_block_is_awaited_others_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of others may take seconds for a block; checks do not wait for it, and the writer gets its answer."""
    receipt, mined = ChainClient.receipt, asyncio.Event()

    def late(self: ChainClient, transaction: bytes) -> Receipt | None:
        return receipt(self, transaction) if mined.is_set() else None

    monkeypatch.setattr(ChainClient, "receipt", late)
    home = short(tmp_path)
    with chain(home) as address:
        settings = Settings(home / "a", address)
        async with server.serving(settings), AgentClient(str(settings.socket)) as agent:
            owner = person(int(time.time()))
            publishing = asyncio.create_task(agent.call(wire.Publish(objects=(owner.entity.to_bytes(),))))
            claiming = asyncio.create_task(agent.call(wire.Claim(label="late", target=id_text(owner.id))))
            for _ in range(5):
                await asyncio.sleep(0.1)
                await asyncio.wait_for(agent.call(wire.Names()), 5.0)
            mined.set()
            assert (await asyncio.wait_for(publishing, 20.0)).objects[0].height is not None
            assert (await asyncio.wait_for(claiming, 20.0)).height > 0
            assert (await agent.call(wire.Status())).pending == 0


def test_a_promise_is_broken_when_its_block_passes_and_unknown_while_data_is_withheld(house: House) -> None:
    engine = house.engine
    registrar = engine.registrar
    registrar.promiser = house.owner
    (data,) = several(house, 1)
    made = registrar.queue([decode_object(data)])[house.given[0].id]
    registrar.outbox._database.execute("DELETE FROM queued")  # this agent loses its queue
    registrar.outbox._load()

    def verdict() -> str:
        (view,) = engine.call(wire.Audit(promises=(made.to_bytes(),))).promises
        return view.verdict

    assert verdict() == "pending"
    while engine.call(wire.Status()).height < made.fields.by:
        publish_something(engine)
    assert verdict() == "broken"
    engine.call(wire.Anchor(objects=(data,)))
    assert verdict() == "broken"  # too late


def test_a_withheld_batch_is_named_in_status_and_leaves_a_promise_undecided(house: House) -> None:
    engine = house.engine
    registrar = engine.registrar
    registrar.promiser = house.owner
    (data,) = several(house, 1)
    made = registrar.queue([decode_object(data)])[house.given[0].id]
    registrar.outbox.form(lambda _: None)  # the bytes are on no disk
    registrar.flush()
    status = engine.call(wire.Status())
    assert (status.withheld, [(one.count, one.height) for one in status.withheld_batches]) == (
        1,
        [("1", status.height)],
    )
    while engine.call(wire.Status()).height < made.fields.by:
        publish_something(engine)
    (view,) = engine.call(wire.Audit(promises=(made.to_bytes(),))).promises
    assert (view.verdict, view.withheld) == ("unknown", (status.withheld_batches[0].root,))
    registrar.intake.batches.keep(Batch.build([data]))
    engine._follower.generation += 1  # look again, as after a change of the chain
    (view,) = engine.call(wire.Audit(promises=(made.to_bytes(),))).promises
    assert view.verdict == "kept"


def test_a_promise_of_a_stranger_or_for_another_chain_or_unsigned_decides_nothing(house: House) -> None:
    stranger = person(int(house.clock.now))

    def view(signer: EntitySecret, *, chain_id: int = CHAIN_ID, signature: bytes | None = None) -> wire.PromiseView:
        made = Promise.create(signer, about=bytes(32), received=1, by=2, chain_id=chain_id, registry=REGISTRY)
        data = Promise(made.body, signature or made.signature).to_bytes()
        return house.engine.call(wire.Audit(promises=(data,))).promises[0]

    assert view(house.owner).verdict == "broken"
    assert view(stranger).verdict == "unknown"
    assert view(house.owner, chain_id=1).verdict == "unknown"
    assert view(house.owner, signature=bytes(64)).verdict == "void"


def publish_something(engine: Engine) -> None:
    engine.call(wire.Publish(objects=(person(int(time.time())).entity.to_bytes(),)))


def dot_of(giver: EntitySecret, receiver: EntitySecret, where: str) -> Dot:
    now = int(time.time())
    return Dot.create(
        giver,
        receiver=receiver.id,
        namespace=giver.id,
        grants=(right(("publish",), where),),
        created=now - 5,
        expires=now + 86_400,
    )
