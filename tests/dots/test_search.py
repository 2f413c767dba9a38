"""The search, one promise at a time; test_search_properties.py compares it with brute force."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.world import World
from wave.codec import VERSION, record_bytes
from wave.dots import graph as graphs
from wave.dots.dot import Dot, DotFields
from wave.dots.graph import Graph
from wave.dots.holdings import holdings
from wave.dots.proof import Proof
from wave.dots.request import Statement
from wave.dots.rules import Path
from wave.dots.search import find_path, find_proof, holders
from wave.entities.entity import EVERYBODY
from wave.errors import (
    ConditionMissing,
    EntityExpired,
    EntityRevoked,
    MissingEntity,
    NoProof,
    SearchExhausted,
)
from wave.limits import LIMITS
from wave.namespace.condition import rate, where
from wave.namespace.grant import Right
from wave.namespace.pattern import Pattern

PEOPLE = ("home", "alice", "bob", "carol", "dave")
ASKED = "publish@home/light/0"


@pytest.fixture
def world() -> World:
    world = World()
    world.publish(*PEOPLE)
    return world


def prove(world: World, graph: Graph, subject: str, *texts: str, **context: float) -> Proof:
    return find_proof(graph, world.request(subject, *texts, context=context), world.facts, now=world.now)


def path_of(world: World, graph: Graph, subject: str, text: str = ASKED) -> Path:
    request = world.request(subject, text)
    return find_path(
        graph,
        request.statements[0],
        subject=request.subject,
        namespace=request.namespace,
        facts=world.facts,
        now=world.now,
    )


# The graph ----------------------------------------------------------------------------------------------------------


def test_a_graph_holds_what_was_added_and_not_discarded_once(world: World) -> None:
    dots = world.chain("home alice bob carol", ASKED) + world.chain("home alice bob", "query@home/*")
    graph = Graph(dots)
    graph.add(Dot.from_bytes(dots[0].to_bytes()))
    assert len(graph) == len(dots)
    assert set(graph.dots(world.id("home"))) == set(dots)
    assert graph.namespaces() == (world.id("home"),)
    for gone in dots:
        assert gone in graph
        graph.discard(Dot.from_bytes(gone.to_bytes()))
        graph.discard(gone)
        assert gone not in graph
    assert len(graph) == 0
    assert graph.namespaces() == ()
    assert list(graph.dots(world.id("home"))) == []


def test_a_dot_that_everybody_is_said_to_have_given_is_left_out(world: World) -> None:
    fields = world.grant("home", "bob", ASKED).fields
    forged = Dot(
        record_bytes(DotFields(VERSION, EVERYBODY, *[getattr(fields, name) for name in fields.__struct_fields__[2:]])),
        bytes(64),
    )
    assert len(Graph([forged])) == 0


def test_adding_and_discarding_change_the_next_search(world: World) -> None:
    graph = Graph()
    with pytest.raises(NoProof):
        path_of(world, graph, "bob")
    dot = world.grant("home", "bob", ASKED)
    graph.add(dot)
    assert path_of(world, graph, "bob") == (dot,)
    graph.discard(dot)
    with pytest.raises(NoProof):
        path_of(world, graph, "bob")


# Paths --------------------------------------------------------------------------------------------------------------


def test_the_shorter_of_two_ways_is_taken(world: World) -> None:
    long, short = world.chain("home alice bob carol", ASKED), world.chain("home dave carol", ASKED)
    assert path_of(world, Graph([*long, *short]), "carol") == short


def test_a_longer_way_is_taken_when_the_shorter_may_not_be_handed_on_so_far(world: World) -> None:
    """Bob has the right twice: directly, for himself alone, and by alice, to hand on."""
    direct = world.grant("home", "bob", ASKED)
    longer = world.chain("home alice bob carol", ASKED)
    assert path_of(world, Graph([direct, *longer]), "carol") == longer


def test_of_two_dots_between_the_same_people_the_one_that_reaches_is_taken(world: World) -> None:
    first = world.grant("home", "alice", ASKED)
    wide = world.grant("home", "alice", ASKED, indirections=1)
    second = world.grant("alice", "bob", ASKED)
    assert path_of(world, Graph([first, wide, second]), "bob") == (wide, second)


def test_a_way_on_which_too_few_hops_are_left_is_not_taken(world: World) -> None:
    """Alice may hand on once, and bob is two DoTs away from her."""
    first = world.grant("home", "alice", ASKED, indirections=1)
    others = [world.grant("alice", f"other{number}", ASKED, indirections=1) for number in range(3)]
    onward = world.chain("alice carol bob", ASKED, indirections=1)
    with pytest.raises(NoProof):
        path_of(world, Graph([first, *others, *onward]), "bob")


def test_what_only_the_last_may_hold_does_not_look_like_a_short_cut(world: World) -> None:
    """Everybody on the way also has a DoT of their own from the namespace, to keep or for something else."""
    way = world.chain("home alice bob carol dave", ASKED)
    own = [world.grant("home", name, "publish@home/own") for name in PEOPLE[1:]]
    other = [world.grant("home", name, "query@home/*", indirections=5) for name in PEOPLE[1:]]
    assert path_of(world, Graph([*own, *way]), "dave") == way
    assert path_of(world, Graph([*other, *way]), "dave") == way


@pytest.mark.parametrize("order", [1, -1])
def test_a_dot_that_comes_late_brings_all_behind_it_nearer(world: World, order: int) -> None:
    way = world.chain("home alice bob carol dave", ASKED)
    graph = Graph(way[::order])
    assert path_of(world, graph, "dave") == way
    late = world.grant("home", "carol", ASKED, indirections=1)
    graph.add(late)
    assert path_of(world, graph, "dave") == (late, way[-1])
    graph.discard(late)
    assert path_of(world, graph, "dave") == way


def test_everybody_is_a_last_receiver_for_whoever_asks_known_or_not(world: World) -> None:
    dots = world.chain("home alice everybody", ASKED)
    proof = prove(world, Graph(dots), "a stranger", ASKED)
    assert proof.paths == (dots,)
    assert world.verify(proof, world.request("a stranger", ASKED)).paths == (dots,)


@pytest.mark.parametrize("length", [LIMITS.dots_per_path, LIMITS.dots_per_path + 1])
def test_a_path_has_at_most_as_many_dots_as_the_limit(world: World, length: int) -> None:
    names = ["home", *(f"person{place}" for place in range(length))]
    world.publish(*names)
    dots = world.chain(" ".join(names), ASKED, indirections=LIMITS.dots_per_path + 1)
    if length > LIMITS.dots_per_path:
        with pytest.raises(NoProof):
            path_of(world, Graph(dots), names[-1])
    else:
        assert path_of(world, Graph(dots), names[-1]) == dots
        assert holders(Graph(dots), statement(world), world.id("home"), world.facts, world.now)[
            world.id(names[-1])
        ] == (0, dots)


# Who cannot take part -----------------------------------------------------------------------------------------------


def test_the_message_names_what_is_asked_and_the_hint_says_what_to_do(world: World) -> None:
    with pytest.raises(NoProof, match=r"publish on light/0") as refusal:
        path_of(world, Graph(), "bob")
    assert "wave who" in refusal.value.hint


def test_a_subject_whose_record_is_nowhere_is_told_so(world: World) -> None:
    with pytest.raises(MissingEntity):
        prove(world, Graph([world.grant("home", "stranger", ASKED)]), "stranger", ASKED)


def test_a_namespace_whose_record_is_nowhere_is_told_so(world: World) -> None:
    with pytest.raises(MissingEntity):
        prove(world, Graph([world.grant("elsewhere", "bob", "publish@elsewhere/*")]), "bob", "publish@elsewhere/x")


def test_a_revoked_subject_and_an_expired_namespace_are_told_so(world: World) -> None:
    graph = Graph([world.grant("home", "bob", ASKED)])
    world.revoke("bob")
    with pytest.raises(EntityRevoked):
        path_of(world, graph, "bob")
    world.pass_time(20 * 365 * 86_400)
    with pytest.raises(EntityExpired):
        path_of(world, graph, "alice")


def test_the_namespace_needs_no_dot_but_its_record(world: World) -> None:
    proof = prove(world, Graph(), "home", ASKED)
    assert proof.paths == ()
    assert list(proof.entities) == [world.id("home")]
    unpublished = replace(world.facts, entities={})
    assert world.verify(proof.to_bytes(), world.request("home", ASKED), facts=unpublished).paths == ((),)
    assert path_of(world, Graph(), "home") == ()


# Conditions ---------------------------------------------------------------------------------------------------------


def test_a_longer_path_that_surely_holds_comes_before_a_shorter_that_may(world: World) -> None:
    doubtful = world.grant("home", "carol", ASKED, conditions=(where("x 1..5"),))
    certain = world.chain("home alice bob carol", ASKED)
    graph = Graph([doubtful, *certain])
    assert prove(world, graph, "carol", ASKED).paths == (certain,)
    assert prove(world, graph, "carol", ASKED, x=3).paths == ((doubtful,),)
    assert prove(world, Graph([doubtful]), "carol", ASKED).paths == ((doubtful,),)


def test_a_condition_that_fails_for_sure_is_never_used(world: World) -> None:
    dot = world.grant("home", "bob", ASKED, conditions=(where("y 1.."), where("x 1..5")))
    with pytest.raises(NoProof):
        prove(world, Graph([dot]), "bob", ASKED, x=9)


def test_the_refusal_of_a_proof_in_doubt_names_the_missing_value(world: World) -> None:
    """And not the other right's condition, which nothing can be done about."""
    rights = [
        world.right(ASKED, where("x 1..5")),
        world.right(ASKED, where("y 1..5")),
    ]
    dot = world.grant("home", "bob", *rights, namespace="home")
    request = world.request("bob", ASKED, context={"y": 9})
    with pytest.raises(ConditionMissing, match="does not say what x is"):
        world.verify(find_proof(Graph([dot]), request, world.facts, now=world.now), request)


# Several statements -------------------------------------------------------------------------------------------------


def test_three_statements_that_need_three_paths_are_proved(world: World) -> None:
    """DESIGN §8.12: the published system could not."""
    paths = (
        world.chain("home alice bob", "publish@home/light/*"),
        world.chain("home carol bob", "query@home/*"),
        (world.grant("home", "bob", "subscribe@home/motion"),),
    )
    asked = (ASKED, "query@home/light/0", "subscribe@home/motion")
    proof = prove(world, Graph([dot for path in paths for dot in path]), "bob", *asked)
    assert proof.paths == paths
    assert world.verify(proof.to_bytes(), world.request("bob", *asked), facts=world.facts).paths == paths


def test_statements_share_a_path_and_its_objects(world: World) -> None:
    shared = world.chain("home alice bob", "publish,query@home/*")
    own = world.grant("home", "bob", "query@home/*")
    proof = prove(world, Graph([*shared, own]), "bob", ASKED, "query@home/x", "publish@home/y")
    assert proof.paths == (shared,)
    assert len(world.verify(proof, world.request("bob", ASKED, "query@home/x", "publish@home/y")).paths) == 3


def test_one_statement_without_a_path_is_no_proof(world: World) -> None:
    with pytest.raises(NoProof, match="query on light/0"):
        prove(world, Graph([world.grant("home", "bob", ASKED)]), "bob", ASKED, "query@home/light/0")


# Bounds -------------------------------------------------------------------------------------------------------------


def bounded(monkeypatch: pytest.MonkeyPatch, edges: int) -> None:
    monkeypatch.setattr(graphs, "LIMITS", replace(LIMITS, search_edges=edges))


def test_a_search_gives_up_one_dot_beyond_its_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    dots = world.chain("home alice bob carol dave", ASKED)
    bounded(monkeypatch, len(dots))
    assert path_of(world, Graph(dots), "dave") == dots
    bounded(monkeypatch, len(dots) - 1)
    with pytest.raises(SearchExhausted):
        path_of(world, Graph(dots), "dave")
    with pytest.raises(SearchExhausted):
        holders(Graph(dots), statement(world), world.id("home"), world.facts, world.now)


def test_dots_between_the_same_people_count_one_by_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    dots = [world.grant("home", "bob", "query@home/*", indirections=place) for place in range(3)]
    bounded(monkeypatch, 3)
    with pytest.raises(NoProof):
        path_of(world, Graph(dots), "bob")
    bounded(monkeypatch, 2)
    with pytest.raises(SearchExhausted):
        path_of(world, Graph(dots), "bob")


def test_the_statements_of_a_proof_share_one_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph([world.grant("home", "bob", ASKED), world.grant("home", "bob", "query@home/*")])
    bounded(monkeypatch, 4)
    assert len(prove(world, graph, "bob", ASKED, "query@home/x").paths) == 2
    bounded(monkeypatch, 3)
    with pytest.raises(SearchExhausted):
        prove(world, graph, "bob", ASKED, "query@home/x")


def test_holdings_beyond_the_bound_say_that_they_are_not_complete(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph([world.grant("home", "bob", ASKED), world.grant("home", "bob", "query@home/*")])
    bounded(monkeypatch, 2)
    assert [len(part) for part in [holdings(graph, world.id("bob"), world.facts, world.now).rights]] == [2]
    assert holdings(graph, world.id("bob"), world.facts, world.now).complete
    bounded(monkeypatch, 1)
    found = holdings(graph, world.id("bob"), world.facts, world.now)
    assert len(found.rights) == 1
    assert not found.complete


def test_a_thicket_is_left_in_time(world: World) -> None:
    """Rows of people who hand everybody in the next row ever other patterns: too many ways to go them all."""
    rows = [["home"], *([f"{row}{side}" for side in "ab"] for row in range(12)), ["bob"]]
    world.publish(*(name for row in rows for name in row))
    graph = Graph()
    for place, (givers, receivers) in enumerate(pairwise(rows)):
        for giver in givers:
            for number, receiver in enumerate(receivers):
                cells = ["+"] * place + [f"c{number}", *["+"] * (len(rows) - place)]
                right = Right(None, ("publish",), "/".join(cells), ())
                graph.add(world.grant(giver, receiver, right, namespace="home", indirections=30))
    found = holdings(graph, world.id("bob"), world.facts, world.now)
    assert found.rights or not found.complete


# Who and what -------------------------------------------------------------------------------------------------------


def statement(world: World, text: str = ASKED) -> Statement:
    return world.request("home", text).statements[0]


def test_holders_are_shown_by_the_path_that_lets_them_hand_on_furthest(world: World) -> None:
    direct = world.grant("home", "bob", ASKED)
    first = world.grant("home", "alice", ASKED, indirections=2)
    second = world.grant("alice", "bob", ASKED, indirections=5)
    open_to_all = world.grant("bob", "everybody", ASKED)
    found = holders(
        Graph([direct, first, second, open_to_all]), statement(world), world.id("home"), world.facts, world.now
    )
    assert found == {
        world.id("bob"): (1, (first, second)),
        world.id("alice"): (2, (first,)),
        EVERYBODY: (0, (first, second, open_to_all)),
    }


def test_nobody_holds_anything_of_a_dead_namespace(world: World) -> None:
    graph = Graph([world.grant("home", "bob", ASKED)])
    world.revoke("home")
    assert holders(graph, statement(world), world.id("home"), world.facts, world.now) == {}
    assert holdings(graph, world.id("bob"), world.facts, world.now) == ((), True)


def test_holdings_are_what_is_left_of_a_right_on_its_way(world: World) -> None:
    first = world.grant("home", "alice", "publish,query@home/light/*", indirections=3, conditions=(rate("3/60s"),))
    second = world.grant("alice", "bob", "publish,list@home/*/control", expires=world.now + 60, indirections=1)
    rights, complete = holdings(Graph([first, second]), world.id("bob"), world.facts, world.now)
    assert complete
    assert [tuple(one) for one in rights] == [
        (world.id("home"), None, "publish", "light/*/control", 1, world.now + 60, (rate("3/60s"),))
    ]
    assert isinstance(rights[0].pattern, Pattern)


def test_a_holding_within_another_is_dropped_and_one_that_differs_is_kept(world: World) -> None:
    wide = world.grant("home", "bob", "publish@home/light/*", indirections=1)
    within = world.grant("home", "bob", "publish@home/light/0")
    further = world.grant("home", "bob", "publish@home/light/1", indirections=2)
    other = world.grant("dave", "bob", "dave:run@dave/*")
    found = holdings(Graph([within, wide, further, other]), world.id("bob"), world.facts, world.now)
    assert {(one.namespace, one.permission, str(one.pattern), one.hops_left) for one in found.rights} == {
        (world.id("home"), "publish", "light/*", 1),
        (world.id("home"), "publish", "light/1", 2),
        (world.id("dave"), "run", "*", 0),
    }


def test_a_permission_that_nobody_can_ask_for_is_no_holding(world: World) -> None:
    dot = world.grant("home", "bob", Right(None, ("fly", "publish"), "light/0", ()), namespace="home")
    (only,) = holdings(Graph([dot]), world.id("bob"), world.facts, world.now).rights
    assert only.permission == "publish"


@pytest.mark.parametrize("name", ["home", "nobody in particular"])
def test_who_was_given_nothing_holds_nothing(world: World, name: str) -> None:
    graph = Graph([world.grant("home", "bob", ASKED)])
    assert holdings(graph, world.id(name), world.facts, world.now) == ((), True)


@pytest.mark.parametrize("ask", [holders, None])
def test_the_same_question_has_the_same_answer(world: World, ask: Callable[..., object] | None) -> None:
    ways = [world.chain(f"home {between} bob", ASKED) for between in ("alice", "carol", "dave")]
    dots = [dot for way in ways for dot in way]
    if ask is None:
        assert path_of(world, Graph(dots), "bob") == path_of(world, Graph(dots), "bob") == ways[0]
    else:
        asked = (statement(world), world.id("home"), world.facts, world.now)
        assert list(holders(Graph(dots), *asked).items()) == list(holders(Graph(dots), *asked).items())
