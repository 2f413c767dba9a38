"""Endpoints that nobody trusts: whatever a minority of them does, no answer changes; without a quorum there is none."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest

from tests.chain.liar import FAULTS, HUGE, LAG, Fault, Liar, liars
from tests.chain.staging import Clock, call, publish_call, revoke_call, served, signed
from tests.world import NOW, World
from wave.chain import contract
from wave.chain import quorum as quorum_module
from wave.chain.client import ChainClient, Endpoint
from wave.chain.contract import Event, Revocation
from wave.chain.follower import Follower
from wave.chain.header import Block, Header
from wave.chain.node import EmbeddedNode
from wave.chain.quorum import Quorum
from wave.codec import sha256
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.verify import verify
from wave.errors import BadSetting, ChainUnavailable, NoQuorum, Revoked, Unavailable, WrongChain

LABEL = "the-house"
GRACE, PATIENCE = 0.25, 1.5  # seconds; the slow endpoint takes twice as long
IMPATIENCE = 0.3  # where there may be no answer at all


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quorum_module, "GRACE", GRACE)
    monkeypatch.setattr(quorum_module, "EVENTS_PATIENCE", PATIENCE)
    monkeypatch.setattr("wave.chain.wire.RESPONSE_BYTES", HUGE // 2)


@dataclass(frozen=True)
class Town:
    """A chain on which bob may, carol may not any more, and a name was taken."""

    url: str
    proofs: dict[str, Proof]
    requests: dict[str, Request]
    facts: Facts
    revoked: bytes
    free: bytes
    recorded: dict[str, Any] = field(default_factory=dict)
    """What the chain answered, which stands still."""

    @contextmanager
    def asked(self, liars_: Sequence[Liar], *, patience: float = PATIENCE) -> Iterator[Quorum]:
        endpoints = [Endpoint.open(liar.url, state=Path("/nonexistent")) for liar in liars_]
        quorum = Quorum(endpoints, patience=patience)
        try:
            yield quorum
        finally:
            quorum.close()

    def verdict(self, who: str, facts: Facts) -> str:
        try:
            verify(self.proofs[who], self.requests[who], facts, now=NOW)
        except Revoked as error:
            return error.code
        return "yes"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    world = World()
    given = {name: world.grant("home", name, "publish@home/light") for name in ("bob", "carol")}
    people = [world.entity(name).entity.to_bytes() for name in ("home", "bob", "carol")]
    path = tmp_path_factory.mktemp("town")
    preimage = given["carol"].preimage(world.entity("home"))
    house = contract.pad_label(LABEL), world.id("home"), bytes(32)
    calls = [
        *map(publish_call, (*people, *(dot.to_bytes() for dot in given.values()))),
        call("commit(bytes32)", contract.commitment(*house)),
        call("claim(bytes32,bytes32,bytes32)", b"".join(house)),
        revoke_call([preimage]),
        publish_call(world.entity("dave").entity.to_bytes()),
    ]
    with EmbeddedNode.open(path / "chain", clock=Clock(NOW)) as node, served(node) as url:
        for nonce, data in enumerate(calls, 1):
            (outcome,) = node.send([signed(nonce, data)])
            assert isinstance(outcome, bytes)
        with ChainClient.connect(url, state=path) as client, Follower(client, path / "replica.sqlite") as follower:
            facts = follower.sync()
        yield Town(
            url,
            {name: world.proof(dot) for name, dot in given.items()},
            {name: world.request(name, "publish@home/light") for name in given},
            facts,
            sha256(preimage),
            given["bob"].commitments[0],
        )


@pytest.fixture(scope="module")
def four(town: Town) -> Iterator[list[Liar]]:
    with liars(town.url, 4, town.recorded) as found:
        yield found


@pytest.fixture(scope="module")
def five(town: Town) -> Iterator[list[Liar]]:
    with liars(town.url, 5, town.recorded) as found:
        yield found


@pytest.fixture(scope="module")
def seven(town: Town) -> Iterator[list[Liar]]:
    with liars(town.url, 7, town.recorded) as found:
        yield found


def set_faults(town: Town, them: Sequence[Liar], faults: Sequence[Fault]) -> None:
    for liar, fault in zip(them, [*faults, *[Fault.NONE] * len(them)], strict=False):
        liar.fault, liar.victim = fault, town.free


def see(town: Town, quorum: Quorum, path: Path) -> tuple[Facts, dict[str, str]]:
    """Return what a follower makes of the quorum's answers, and the verdicts that follow."""
    quorum.check(None)
    with Follower(quorum, path / f"{time.monotonic_ns()}.sqlite") as follower:
        facts = follower.sync()
    return facts, {who: town.verdict(who, facts) for who in town.proofs}


def check_same(town: Town, quorum: Quorum, path: Path) -> None:
    facts, verdicts = see(town, quorum, path)
    assert (facts.height, facts.block_hash, facts.time) == (town.facts.height, town.facts.block_hash, town.facts.time)
    assert dict(facts.revocations) == dict(town.facts.revocations)
    assert dict(facts.aliases) == dict(town.facts.aliases)
    assert verdicts == {"bob": "yes", "carol": "dot.revoked"}
    assert quorum.alias(LABEL) == town.facts.aliases[LABEL]
    assert quorum.alias("nobodys") is None
    assert quorum.revoked_at(town.revoked) == town.facts.revocations[town.revoked]
    assert quorum.revoked_at(town.free) is None


def test_honest_endpoints_agree(town: Town, four: list[Liar], tmp_path: Path) -> None:
    set_faults(town, four, [])
    with town.asked(four) as quorum:
        check_same(town, quorum, tmp_path)
        assert not quorum.disagreements


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_one_faulty_endpoint_of_four_changes_no_answer(
    fault: Fault, place: int, town: Town, four: list[Liar], tmp_path: Path
) -> None:
    """Three honest ones are the majority, wherever the faulty one stands."""
    set_faults(town, four, [*[Fault.NONE] * place, fault])
    with town.asked(four) as quorum:
        check_same(town, quorum, tmp_path)
        assert set(quorum.disagreements) <= {four[place].url}


ALL = bool(os.environ.get("WAVE_ALL_FAULTS"))
"""Whether everything is run, as ``make faults`` does."""

PAIRS = [*combinations_with_replacement(FAULTS, 2)]


@pytest.mark.parametrize("faults", PAIRS if ALL else PAIRS[::2], ids=lambda pair: "-".join(one.name for one in pair))
def test_two_faulty_endpoints_of_four_leave_the_truth_or_no_answer(
    faults: tuple[Fault, Fault], town: Town, four: list[Liar], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a quorum of honest ones an answer may be missing or of an earlier block, and never be wrong.

    Every second pair, which leaves no fault out, is run by the whole suite.
    """
    monkeypatch.setattr(quorum_module, "EVENTS_PATIENCE", IMPATIENCE)
    set_faults(town, four, faults)
    with town.asked(four, patience=IMPATIENCE) as quorum:
        try:
            facts, verdicts = see(town, quorum, tmp_path)
        except Unavailable:
            pass
        else:
            assert facts.height <= town.facts.height
            known = {one: height for one, height in town.facts.revocations.items() if height <= facts.height}
            assert dict(facts.revocations) == known
            assert (verdicts["carol"] == "dot.revoked") == (town.revoked in known)
        for ask, truth in (
            (lambda: quorum.alias(LABEL), town.facts.aliases[LABEL]),
            (lambda: quorum.revoked_at(town.free), None),
        ):
            with suppress(Unavailable):
                assert ask() in (truth, None)


@pytest.mark.parametrize("faults", PAIRS, ids=lambda pair: "-".join(one.name for one in pair))
def test_two_faulty_endpoints_of_five_change_no_answer(
    faults: tuple[Fault, Fault], town: Town, five: list[Liar], tmp_path: Path
) -> None:
    """Also when both tell the same lie."""
    set_faults(town, five, faults)
    with town.asked(five) as quorum:
        check_same(town, quorum, tmp_path)


TRIPLES = [*combinations_with_replacement(FAULTS, 3)]
"""All are run by ``make faults``, and every 67th, which leaves no fault out, by the whole suite."""


@pytest.mark.parametrize(
    "faults",
    TRIPLES if ALL else TRIPLES[::67],
    ids=lambda three: "-".join(one.name for one in three),
)
def test_three_faulty_endpoints_of_seven_change_no_answer(
    faults: tuple[Fault, Fault, Fault], town: Town, seven: list[Liar], tmp_path: Path
) -> None:
    set_faults(town, seven, faults)
    with town.asked(seven) as quorum:
        check_same(town, quorum, tmp_path)


def test_facts_do_not_change_when_an_endpoint_turns(town: Town, four: list[Liar], tmp_path: Path) -> None:
    """A follower goes on with whoever is honest, whichever endpoint is faulty at the time."""
    set_faults(town, four, [])
    with town.asked(four) as quorum, Follower(quorum, tmp_path / "replica.sqlite") as follower:
        for turn, fault in enumerate(fault for fault in FAULTS if fault is not Fault.SLOW):
            set_faults(town, four, [*[Fault.NONE] * (turn % 4), fault])
            assert follower.sync().block_hash == town.facts.block_hash
        assert follower.generation == 0


# How it says so ----------------------------------------------------------------------------------------------------


def test_without_a_quorum_it_says_how_many_said_what(town: Town, four: list[Liar]) -> None:
    """And an endpoint is called by its name, which holds no key."""
    set_faults(town, four, [Fault.FORGED_HASHES, Fault.DEAD])
    with town.asked(four) as quorum, pytest.raises(NoQuorum) as caught:
        quorum.block(1)
    assert caught.value.code == "chain.quorum"
    assert isinstance(caught.value, ChainUnavailable)
    found = re.fullmatch(
        r"3 of 4 endpoints must agree on block 1: (\d) said the same, (\d) something else, (\d) could not tell,"
        r" (\d) did not answer in time",
        caught.value.message,
    )
    assert found is not None
    assert sum(map(int, found.groups())) == 4
    assert four[1].url in caught.value.hint


def test_a_key_in_a_url_is_in_no_message() -> None:
    """Neither in the name, nor in what is said when nobody answers."""
    urls = [f"http://user:hush@127.0.0.1:{port}/v3/hush?key=hush" for port in (1, 2, 3)]
    quorum = Quorum([Endpoint.open(url, state=Path("/nonexistent")) for url in urls])
    try:
        with pytest.raises(NoQuorum) as caught:
            quorum.head()
        assert "hush" not in caught.value.message + caught.value.hint + quorum.name
    finally:
        quorum.close()


@pytest.mark.parametrize(
    "fault", [Fault.FORGED_HASHES, Fault.FORGED_LOGS, Fault.OMITTED_LOGS], ids=lambda fault: fault.name
)
def test_an_endpoint_that_contradicts_is_named(fault: Fault, town: Town, four: list[Liar], tmp_path: Path) -> None:
    """Status shows whom not to ask any more."""
    set_faults(town, four, [Fault.NONE, fault])
    with town.asked(four) as quorum:
        deadline = time.monotonic() + 20
        while not quorum.disagreements and time.monotonic() < deadline:  # its answer may come after the agreement
            see(town, quorum, tmp_path)
        assert set(quorum.disagreements) == {four[1].url}


@pytest.mark.parametrize("fault", [Fault.DEAD, Fault.LAGGING, Fault.HTML, Fault.SLOW], ids=lambda fault: fault.name)
def test_who_is_behind_or_silent_contradicts_nothing(fault: Fault, town: Town, four: list[Liar]) -> None:
    set_faults(town, four, [fault])
    with town.asked(four) as quorum:
        quorum.head()
        quorum.revoked_at(town.free)
        assert not quorum.disagreements


def test_the_slow_are_not_waited_for(town: Town, four: list[Liar]) -> None:
    set_faults(town, four, [Fault.SLOW])
    with town.asked(four) as quorum:
        start = time.monotonic()
        for _ in range(3):
            quorum.block(1)
            quorum.head()
            quorum.revoked_at(town.free)
        assert time.monotonic() - start < PATIENCE


# Of how many -------------------------------------------------------------------------------------------------------


class Fake:
    """An endpoint made of values, for chains that a proxy cannot stage."""

    def __init__(self, blocks: Sequence[Block], *, name: str = "fake", chain_id: int = 1) -> None:
        self.blocks = blocks
        self.name, self.chain_id, self.registry = name, chain_id, "0x" + "11" * 20
        self.delay: Callable[[], None] = lambda: None
        self.said: list[Event] = []
        self.fits = True

    def check(self, chain_id: int | None) -> None:
        if not self.fits or chain_id not in (None, self.chain_id):
            raise WrongChain("no registry")

    def head(self) -> Block:
        self.delay()
        return self.blocks[-1]

    def block(self, number: int) -> Block | None:
        return self.blocks[number] if number < len(self.blocks) else None

    def events(self, from_height: int, to_height: int) -> list[Event]:
        return [event for event in self.said if from_height <= event.height <= to_height]

    def header(self, _: int) -> Any:
        raise ChainUnavailable("no header")

    def state_proof(self, _: Sequence[bytes], __: int) -> Any:
        raise ChainUnavailable("no proof")

    def close(self) -> None:
        pass


def chain(length: int, fork: int | None = None, salt: str = "") -> list[Block]:
    """Return blocks 0 to ``length`` - 1, which are another chain's from height ``fork`` on."""
    blocks: list[Block] = []
    for number in range(length):
        words = f"{number} {salt if fork is not None and number >= fork else ''}"
        parent = blocks[-1].hash if blocks else bytes(32)
        blocks.append(Block(number, sha256(words.encode()), parent, number))
    return blocks


@contextmanager
def made_of(*endpoints: Fake, need: int | None = None) -> Iterator[Quorum]:
    quorum = Quorum(endpoints, need, patience=PATIENCE)
    try:
        yield quorum
    finally:
        quorum.close()


@pytest.mark.parametrize(("count", "need"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_a_quorum_is_a_majority_unless_told(count: int, need: int) -> None:
    with made_of(*[Fake(chain(1))] * count) as quorum:
        assert quorum.need == need


@pytest.mark.parametrize(("count", "need"), [(2, 1), (4, 2), (4, 5), (3, 0), (3, -1), (0, None)])
def test_half_is_no_quorum(count: int, need: int | None) -> None:
    """Two groups could both reach it."""
    with pytest.raises(BadSetting):
        Quorum([Fake(chain(1))] * count, need)


def test_the_same_url_twice_is_one_endpoint(tmp_path: Path) -> None:
    with pytest.raises(BadSetting):
        ChainClient.connect("http://127.0.0.1:1,http://127.0.0.1:1", state=tmp_path)
    with pytest.raises(BadSetting):
        ChainClient.connect("embedded,http://127.0.0.1:1", state=tmp_path)
    with pytest.raises(BadSetting):
        ChainClient.connect("http://127.0.0.1:1", state=tmp_path, quorum=2)


@pytest.mark.parametrize(
    ("lengths", "need", "height"),
    [
        ((10, 10, 10), 2, 9),
        ((10, 10, 8), 2, 9),
        ((10, 9, 8), 2, 8),
        ((10, 9, 8), 3, 7),
        ((10, 9, 8, 2), 3, 7),
        ((10, 10, 10, 2), 3, 9),
        ((3, 10, 10, 10, 2), 3, 9),
    ],
)
def test_the_head_is_the_highest_block_that_enough_have(lengths: tuple[int, ...], need: int, height: int) -> None:
    """One far ahead does not move it, and one behind does not hold it back."""
    with made_of(*[Fake(chain(length)) for length in lengths], need=need) as quorum:
        assert quorum.head() == chain(length=10)[height]


@pytest.mark.parametrize("fork", [1, 50, 90, 98, 99])
def test_on_a_fork_the_head_is_where_they_part(fork: int) -> None:
    """While a reorganisation goes round, two and two may stand on two sides."""
    sides = [Fake(chain(100, fork, salt)) for salt in ("a", "a", "b", "b")]
    with made_of(*sides) as quorum:
        assert quorum.head() == chain(100)[fork - 1]


def test_a_liar_with_a_low_head_does_not_lower_it() -> None:
    """Even when the last honest one takes a while."""
    late = Fake(chain(10))
    late.delay = lambda: time.sleep(GRACE / 2)
    with made_of(Fake(chain(3)), Fake(chain(10)), Fake(chain(10)), late) as quorum:
        assert quorum.head().number == 9


def test_no_common_block_within_reach_is_no_quorum() -> None:
    length = quorum_module.REACH + 100
    with made_of(*[Fake(chain(length, 1, str(salt))) for salt in range(3)]) as quorum, pytest.raises(NoQuorum):
        quorum.head()


def test_events_beyond_the_agreed_block_are_not_asked_for() -> None:
    sides = [Fake(chain(10)) for _ in range(3)]
    for side in sides:
        side.said = [Revocation(4, 0, bytes(32)), Revocation(20, 0, bytes(32))]
    with made_of(*sides) as quorum:
        assert quorum.events(0, 9) == [Revocation(4, 0, bytes(32))]
        with pytest.raises(NoQuorum):
            quorum.events(0, 20)


def test_an_event_in_another_block_is_another_event() -> None:
    """Its block's hash is compared, though events that say the same are otherwise equal."""
    honest, forged = (Revocation(4, 0, bytes(32), block_hash=mark * 32) for mark in (b"a", b"b"))
    sides = [Fake(chain(10)) for _ in range(3)]
    for side, event in zip(sides, (forged, honest, honest), strict=True):
        side.said = [event]
    with made_of(*sides) as quorum:
        (found,) = quorum.events(0, 9)
        assert found.block_hash == honest.block_hash


def test_the_chain_is_the_one_that_enough_follow() -> None:
    with made_of(Fake(chain(1), chain_id=5), Fake(chain(1)), Fake(chain(1))) as quorum:
        assert quorum.chain_id == 1
        quorum.check(1)
        with pytest.raises(WrongChain):
            quorum.check(5)


def test_without_a_registry_it_is_the_wrong_chain() -> None:
    sides = [Fake(chain(1)) for _ in range(3)]
    sides[0].fits = sides[1].fits = False
    with made_of(*sides) as quorum, pytest.raises(WrongChain):
        quorum.check(None)


def test_whatever_an_endpoint_stumbles_over_is_a_failure() -> None:
    """A fault in reading one answer ends no thread."""

    def stumble() -> None:
        raise RecursionError

    broken = Fake(chain(5))
    broken.delay = stumble
    with made_of(broken, Fake(chain(5)), Fake(chain(5))) as quorum:
        assert quorum.head().number == 4
        assert quorum.block(2) == chain(5)[2]


def test_state_that_nobody_proves_is_not_told() -> None:
    with made_of(*[Fake(chain(5)) for _ in range(3)]) as quorum, pytest.raises(NoQuorum):
        quorum.revoked_at(bytes(32))


# Through the client ------------------------------------------------------------------------------------------------


def test_a_client_of_several_urls_reads_by_quorum_and_proves_state(
    town: Town, four: list[Liar], tmp_path: Path
) -> None:
    set_faults(town, four, [Fault.NONE, Fault.NONE, Fault.HIDDEN_REVOCATION])
    urls = ",".join(liar.url for liar in four)
    with ChainClient.connect(urls, state=tmp_path) as client:
        assert client.name == urls
        assert client.head().hash == town.facts.block_hash
        assert client.alias(LABEL) == town.facts.aliases[LABEL]
        assert client.revoked_at(town.revoked) == town.facts.revocations[town.revoked]
        form = client.header(town.facts.height)
        assert form is not None
        assert Header.from_json(form).hash == town.facts.block_hash
        assert client.header(town.facts.height + 1_000) is None
        assert client.state_proof([bytes(32)], town.facts.height)["storageProof"]


def test_a_client_without_a_quorum_does_not_connect(town: Town, four: list[Liar], tmp_path: Path) -> None:
    set_faults(town, four, [Fault.DEAD, Fault.HTML])
    with pytest.raises(NoQuorum):
        ChainClient.connect(",".join(liar.url for liar in four), state=tmp_path)


def test_lagging_endpoints_in_the_majority_show_an_earlier_block(town: Town, four: list[Liar]) -> None:
    """Which is true, and as old as it says: freshness is asked of the block's time."""
    set_faults(town, four, [Fault.LAGGING] * 3)
    with town.asked(four) as quorum:
        assert quorum.head().number == town.facts.height - LAG
