"""Promises of the verdict as properties, over worlds drawn at random."""

from dataclasses import replace
from itertools import combinations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.world import NOW, World
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.verify import Grant
from wave.errors import InputError, Refused, WaveError
from wave.namespace.condition import where
from wave.namespace.pattern import covers

NAMES = ("home", "alice", "bob", "carol")
TEXTS = ("publish@home/*", "publish@home/light/*", "publish@home/light/+", "publish,list@home/light/0", "list@home/*")
WANTS = ("publish@home/light/0", "publish@home/light/*", "list@home/light/0", "publish@home/door", "publish@home/*")

dots = st.builds(
    lambda world_, ends, text, hops, created, expires, bounded: world_.grant(
        *ends,
        text,
        indirections=hops,
        created=NOW + created,
        expires=NOW + expires,
        conditions=(where("x 1..2"),) if bounded else (),
    ),
    st.just(World()),
    st.permutations(NAMES).map(lambda names: names[:2]),
    st.sampled_from(TEXTS),
    st.integers(0, 3),
    st.sampled_from([-100, -100, -100, 1]),
    st.sampled_from([100, 100, 100, 2]),
    st.sampled_from([False, False, False, True]),
)


@st.composite
def good_paths(draw: st.DrawFn) -> tuple[Dot, ...]:
    """Draw a path that would do, if nothing else were wrong with it."""
    world = World()
    middle = draw(st.permutations(NAMES[1:]))[: draw(st.integers(1, 3))]
    texts = draw(st.lists(st.sampled_from(TEXTS[:2]), min_size=3, max_size=3))
    hands = ["home", *middle]
    return tuple(
        world.grant(giver, receiver, text, indirections=3 - place)
        for place, (giver, receiver, text) in enumerate(zip(hands, hands[1:], texts, strict=False))
    )


paths = st.lists(dots, min_size=1, max_size=3).map(tuple) | good_paths()
path_lists = st.lists(paths, min_size=1, max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    texts = draw(st.lists(st.sampled_from(WANTS), min_size=1, max_size=2, unique=True))
    context = draw(st.sampled_from([{}, {"x": 1}, {"x": 3}]))
    return World().request(draw(st.sampled_from(NAMES)), *texts, context=context)


def everyone() -> World:
    world = World()
    for name in NAMES:
        world.entity(name)
    return world


def proof_of(world: World, *some: tuple[Dot, ...]) -> Proof:
    return world.proof(*some, also=" ".join(NAMES))


def verdict(proof: Proof | bytes, request: Request, facts: Facts, now: int = NOW) -> Grant | None:
    """Return the grant, or None for a no or an error."""
    try:
        return everyone().verify(proof, request, facts=facts, now=now)
    except WaveError:
        return None


def naive(path: tuple[Dot, ...], request: Request, permission: str, pattern: str, now: int) -> bool:
    """Decide about one path as DESIGN §4 reads, with no regard to speed and none to signatures and revocations."""
    world = everyone()
    hands = [request.namespace, *(dot.receiver for dot in path)]
    linked = all(dot.giver == hand for dot, hand in zip(path, hands, strict=False))
    x = request.context.get("x")
    return (
        linked
        and hands[-1] in (request.subject, bytes(32))
        and all(dot.namespace == world.id("home") for dot in path)
        and all(len(path) - 1 - place <= dot.indirections for place, dot in enumerate(path))
        and all(dot.created <= now < dot.expires for dot in path)
        and all(
            any(
                permission in right.permissions
                and covers(right.pattern, pattern)
                and (not right.conditions or x in {1, 2})
                for right in dot.grants
            )
            for dot in path
        )
    )


@given(path_lists, requests(), st.sampled_from([NOW, NOW + 3]))
@settings(max_examples=400)
def test_the_verdict_is_what_the_design_says(some: list[tuple[Dot, ...]], request: Request, now: int) -> None:
    """Against a second reading of it, a line a rule."""
    world = everyone()
    expected = request.subject == request.namespace or all(
        any(naive(path, request, one.permission, one.pattern, now) for path in some) for one in request.statements
    )
    grant = verdict(proof_of(world, *some), request, replace(world.facts, time=now), now)
    assert (grant is not None) == expected
    if grant is not None:
        assert now < grant.until


@given(path_lists, requests(), dots)
def test_adding_a_dot_never_widens(some: list[tuple[Dot, ...]], request: Request, more: Dot) -> None:
    """A further DoT at the end, at the front or in the middle of a path lets the path's subject do nothing new."""
    world = everyone()
    facts = world.facts
    for path in some:
        longer = [(*path[:place], more, *path[place:]) for place in range(len(path) + 1)]
        for other in longer:
            grant = verdict(proof_of(world, other), request, facts)
            if grant is None or request.subject == request.namespace:
                continue
            # Whoever gave last held it: every hand before holds it too, by the same path cut short.
            before = replace(request, subject=other[-1].giver)
            assert verdict(proof_of(world, other[:-1]), before, facts) is not None


@given(path_lists, requests(), paths)
def test_adding_a_path_takes_nothing_away(some: list[tuple[Dot, ...]], request: Request, more: tuple[Dot, ...]) -> None:
    """A path more, wherever it stands, leaves a yes a yes."""
    world = everyone()
    facts = world.facts
    assume(verdict(proof_of(world, *some), request, facts) is not None)
    assert verdict(proof_of(world, *some, more), request, facts) is not None
    assert verdict(proof_of(world, more, *some), request, facts) is not None


@given(path_lists, requests())
def test_dropping_parts_of_a_proof_never_gives_a_yes(some: list[tuple[Dot, ...]], request: Request) -> None:
    """Whatever is left out, a no stays a no."""
    world = everyone()
    facts = world.facts
    assume(verdict(proof_of(world, *some), request, facts) is None)
    for count in range(len(some)):
        for fewer in combinations(some, count):
            assert verdict(proof_of(world, *fewer), request, facts) is None
    for name in NAMES:
        assert verdict(world.proof(*some, without=name), request, facts) is None


@given(good_paths(), st.data())
@settings(max_examples=400)
def test_an_altered_proof_never_gives_a_yes_to_another_request(path: tuple[Dot, ...], data: st.DataObject) -> None:
    """Change any byte, drop any run of bytes, double it: who asked in vain before asks in vain still."""
    world = everyone()
    facts = world.facts
    proof = proof_of(world, path)
    octets = proof.data
    start = data.draw(st.integers(0, len(octets) - 1))
    end = data.draw(st.sampled_from([start, start + 1, min(start + 32, len(octets))]))
    changed = octets[:start] + data.draw(st.binary(max_size=2) | st.just(octets[start:end] * 2)) + octets[end:]
    for subject in (*NAMES[1:], "mallory"):
        for want in WANTS:
            request = world.request(subject, want)
            if verdict(proof, request, facts) is None:
                assert verdict(changed, request, facts) is None


@given(good_paths(), requests(), st.data())
def test_every_byte_of_a_signed_dot_counts(path: tuple[Dot, ...], request: Request, data: st.DataObject) -> None:
    """A body altered by one bit, in any DoT of the path, is refused, whatever it now says."""
    world = everyone()
    place = data.draw(st.integers(0, len(path) - 1))
    body = bytearray(path[place].body)
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    body[bit // 8] ^= 1 << bit % 8
    try:
        altered = Dot(bytes(body), path[place].signature)
    except InputError:
        return
    assume(request.subject != request.namespace)
    proof = proof_of(world, (*path[:place], altered, *path[place + 1 :]))
    assert verdict(proof, request, world.facts) is None


@given(path_lists, requests(), st.lists(st.integers(0, 20), max_size=3), st.lists(st.sampled_from(NAMES), max_size=2))
def test_the_verdict_is_monotone_in_revocations(
    some: list[tuple[Dot, ...]], request: Request, places: list[int], names: list[str]
) -> None:
    """Revoking more never turns a no into a yes, and revoking what a yes rests on turns it into a no."""
    world = everyone()
    proof = proof_of(world, *some)
    before = verdict(proof, request, world.facts)
    for place in places:
        if proof.dots:
            world.revoke(proof.dots[place % len(proof.dots)])
    for name in names:
        world.revoke(name)
    after = verdict(proof, request, world.facts)
    if before is None:
        assert after is None
    elif after is None:
        assert before.commitments & world.revocations.keys()
    else:
        assert not after.commitments & world.revocations.keys()


@given(path_lists, requests(), st.integers(0, 200))
def test_a_grant_holds_until_it_says_and_no_longer(some: list[tuple[Dot, ...]], request: Request, later: int) -> None:
    """Nothing changes between now and then by the mere passing of time."""
    world = everyone()
    proof, facts = proof_of(world, *some), world.facts
    grant = verdict(proof, request, facts)
    assume(grant is not None)
    assert grant is not None
    now = NOW + later
    again = verdict(proof, request, replace(facts, time=now), now)
    if now < grant.until:
        assert again is not None
    elif again is not None:
        assert again.paths != grant.paths  # another path took over


@given(path_lists, requests())
def test_the_verdict_is_the_same_twice_and_from_bytes(some: list[tuple[Dot, ...]], request: Request) -> None:
    """Pure: the same inputs, the same answer or the same error."""
    world = everyone()
    proof, facts = proof_of(world, *some), world.facts
    answers: list[object] = []
    for form in (proof, proof, proof.to_bytes()):
        try:
            answers.append(world.verify(form, request, facts=facts))
        except Refused as refusal:
            answers.append((type(refusal), refusal.message, refusal.hint))
    assert answers[0] == answers[1] == answers[2]
