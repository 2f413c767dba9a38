"""Who would lose or gain what, told before anything is signed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import DAY, World
from wave.dots.dot import Dot
from wave.dots.graph import Graph
from wave.dots.holdings import Effective, holdings
from wave.dots.plan import Change, gains, losses
from wave.entities.entity import EVERYBODY
from wave.errors import SearchExhausted
from wave.limits import LIMITS
from wave.namespace.condition import where
from wave.namespace.pattern import covers


def told(world: World, changes: tuple[Change, ...]) -> list[tuple[str, str, list[str]]]:
    return [(world.name(one.entity), text(one.right), [text(right) for right in one.instead]) for one in changes]


def text(right: Effective) -> str:
    return f"{right.permission}@{right.pattern}"


def lost(world: World, graph: Graph, *dots: Dot) -> list[tuple[str, str, list[str]]]:
    world.publish(*(world.name(one) for one in world.records))
    revoked = [commitment for dot in dots for commitment in dot.commitments]
    return told(world, losses(graph, world.facts, revoked, now=world.now))


def test_who_loses_a_dot_is_told_with_all_to_whom_it_was_handed_on(world: World) -> None:
    first, second, third = world.chain("home alice bob carol", "publish@home/light/*")
    beside = world.grant("home", "dave", "publish@home/light/*")
    graph = Graph([first, second, third, beside])
    everything: list[tuple[str, str, list[str]]] = [(name, "publish@light/*", []) for name in ("alice", "bob", "carol")]
    assert lost(world, graph, first) == everything
    assert lost(world, graph, third) == everything[2:]


def test_what_is_held_twice_is_not_lost(world: World) -> None:
    one = world.grant("home", "alice", "publish@home/light/*")
    same = world.grant("home", "alice", "publish@home/light/*", comment="again")
    assert lost(world, Graph([one, same]), one) == []


def test_what_is_left_is_told_beside_the_loss(world: World) -> None:
    wide = world.grant("home", "alice", "publish,subscribe@home/light/*")
    narrow = world.grant("home", "alice", "publish@home/light/hall")
    elsewhere = world.grant("home", "alice", "publish@home/door")
    graph = Graph([wide, narrow, elsewhere])
    assert lost(world, graph, wide) == [
        ("alice", "publish@light/*", ["publish@light/hall"]),
        ("alice", "subscribe@light/*", []),
    ]


@pytest.mark.parametrize(
    "less",
    [{"indirections": 1}, {"indirections": 2, "expires": World().now + DAY}, {"conditions": (where("value 1..2"),)}],
)
def test_the_same_pattern_for_less_is_a_loss(world: World, less: dict[str, object]) -> None:
    """Fewer hops, a shorter time or a condition more."""
    much = world.grant("home", "alice", "publish@home/light", indirections=2)
    little = world.grant("home", "alice", "publish@home/light", **{"indirections": 2, **less})  # type: ignore[arg-type]
    graph = Graph([much, little])
    assert lost(world, graph, much) == [("alice", "publish@light", ["publish@light"])]
    assert lost(world, graph, little) == []


def test_an_entity_taken_back_loses_all_and_so_do_those_behind_it(world: World) -> None:
    dots = world.chain("home alice bob", "publish@home/light")
    world.publish("home", "alice", "bob")
    found = losses(Graph(dots), world.facts, world.entity("alice").entity.commitments, now=world.now)
    assert [name for name, *_ in told(world, found)] == ["alice", "bob"]


def test_what_everybody_loses_is_told_once(world: World) -> None:
    open_door = world.grant("home", "everybody", "subscribe@home/bell")
    other = world.grant("home", "alice", "publish@home/light")
    world.publish("home", "alice")
    found = losses(Graph([open_door, other]), world.facts, open_door.commitments, now=world.now)
    assert told(world, found) == [("everybody", "subscribe@bell", [])]


def test_a_dot_that_gives_nothing_takes_nothing(world: World) -> None:
    """Its giver holds nothing, or it has expired."""
    nothing = world.grant("mallory", "alice", "publish@home/light")
    past = world.grant("home", "alice", "publish@home/door", created=world.now - DAY, expires=world.now)
    assert lost(world, Graph([nothing, past]), nothing, past) == []


def test_a_commitment_of_nothing_known_takes_nothing(world: World) -> None:
    dots = world.chain("home alice", "publish@home/light")
    world.publish("home", "alice")
    assert losses(Graph(dots), world.facts, [bytes(32)], now=world.now) == ()


def test_who_gains_by_a_dot_is_told_with_all_who_wait_behind_it(world: World) -> None:
    onward = world.grant("alice", "bob", "publish@home/light/hall")
    new = world.grant("home", "alice", "publish@home/light/*", indirections=1)
    world.publish("home", "alice", "bob")
    graph = Graph([onward])
    found = gains(graph, world.facts, [new], now=world.now)
    assert told(world, found) == [("alice", "publish@light/*", []), ("bob", "publish@light/hall", [])]
    assert new not in graph


def test_a_gain_needs_no_signature_and_a_receiver_that_is_known(world: World) -> None:
    signed = world.grant("home", "alice", "publish@home/light")
    unsigned = Dot(signed.body, bytes(64))
    graph = Graph(genuine=lambda _: False)
    world.publish("home")
    assert gains(graph, world.facts, [unsigned], now=world.now) == ()
    world.publish("alice")
    assert told(world, gains(graph, world.facts, [unsigned], now=world.now)) == [("alice", "publish@light", [])]


def test_what_was_held_before_is_told_beside_the_gain(world: World) -> None:
    narrow = world.grant("home", "alice", "publish@home/light/hall")
    wide = world.grant("home", "alice", "publish@home/light/*")
    world.publish("home", "alice")
    found = gains(Graph([narrow]), world.facts, [wide, narrow], now=world.now)
    assert told(world, found) == [("alice", "publish@light/*", ["publish@light/hall"])]


def test_more_entities_than_can_be_told_is_an_error_and_not_a_part_of_the_answer(world: World) -> None:
    first = world.grant("home", "hub", "publish@home/light", indirections=1)

    def handed(number: int) -> Dot:
        return Dot.create(
            world.entity("hub"),
            receiver=number.to_bytes(32, "big"),
            namespace=world.id("home"),
            grants=first.grants,
            created=world.now - 5,
            expires=world.now + DAY,
        )

    world.publish("home", "hub")
    graph = Graph([first, *(handed(number) for number in range(1, LIMITS.graph_givers))])  # with the hub, as many
    assert len(losses(graph, world.facts, first.commitments, now=world.now)) == 1  # the others' records are not known
    graph.add(handed(LIMITS.graph_givers))
    with pytest.raises(SearchExhausted):
        losses(graph, world.facts, first.commitments, now=world.now)


NAMES = ("home", "alice", "bob", "carol", "dave")
edges = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from((*NAMES[1:], "everybody")),
        st.sampled_from(("publish@home/a/*", "publish@home/a/b", "publish,subscribe@home/+/b", "subscribe@home/*")),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=7,
)


@given(edges, st.data())
def test_the_losses_are_those_that_a_revocation_then_brings(
    given_edges: list[tuple[str, str, str, int]], data: st.DataObject
) -> None:
    """Looked for among all entities, and not just among those behind the DoT."""
    world = World()
    dots = [
        world.grant(giver, to, right, indirections=0 if to == "everybody" else hops, comment=str(number))
        for number, (giver, to, right, hops) in enumerate(given_edges)
        if giver != to
    ]
    world.publish(*NAMES)
    graph = Graph(dots)
    gone = data.draw(st.sampled_from(dots)) if dots else world.grant("home", "alice", "publish@home/a/b")
    found = losses(graph, world.facts, gone.commitments, now=world.now)
    people = [world.id(name) for name in (*NAMES[1:], "everybody")]
    before = {one: holdings(graph, one, world.facts, world.now).rights for one in people}
    world.revoke(gone)
    after = {one: holdings(graph, one, world.facts, world.now).rights for one in people}
    kept = {
        (one, right)
        for one in people
        for right in before[one]
        if any(
            other[:3] == right[:3]
            and covers(other.pattern, right.pattern)
            and other.hops_left >= right.hops_left
            and other.until >= right.until
            for other in (*after[one], *after[world.id("everybody")])
        )
    }
    found_by_all = {change.right for change in found if change.entity == EVERYBODY}
    missing = {(one, right) for one in people for right in before[one]} - kept
    told_of = {(change.entity, change.right) for change in found}
    assert told_of <= missing
    assert {(one, right) for one, right in missing - told_of if right not in found_by_all} == set()
