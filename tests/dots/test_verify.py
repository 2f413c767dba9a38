"""The verdict: every rule of DESIGN §4, one fault at a time."""

from dataclasses import replace

import pytest

from tests.world import DAY, HOUR, NOW, YEAR, World
from wave.codec import amend, record_bytes, sha256
from wave.dots.dot import Dot, DotFields
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.verify import Grant, Rate, SignatureCache
from wave.entities.entity import Entity, EntitySecret
from wave.entities.object import DOT
from wave.errors import (
    BadPattern,
    BadSignature,
    BrokenPath,
    ConditionFailed,
    ConditionMissing,
    ConditionUnknown,
    EntityExpired,
    EntityNotYetValid,
    EntityRevoked,
    Expired,
    FactsAhead,
    FactsBehind,
    Malformed,
    MissingEntity,
    NoProof,
    NotYetValid,
    OutOfScope,
    Refused,
    Revoked,
    StaleFacts,
    TooLarge,
    TooManyHops,
    Unavailable,
    WaveError,
    WrongNamespace,
    WrongRoot,
    WrongSubject,
)
from wave.limits import LIMITS
from wave.namespace.condition import Condition, rate, when, where
from wave.namespace.grant import Right

WANT = "publish@home/light/0"


def signed(signer: EntitySecret, dot: Dot, **changes: object) -> Dot:
    """Return a DoT as ``dot`` with fields changed, signed by ``giver`` without the checks of its creation."""
    body = record_bytes(amend(dot.fields, **changes))
    return Dot(body, signer.sign(DOT, body))


def refused(
    world: World, proof: Proof | bytes, request: Request, error: type[WaveError], code: str, **more: object
) -> str:
    """Assert that the verdict is just this error; return its message."""
    with pytest.raises(error) as caught:
        world.verify(proof, request, **more)
    assert type(caught.value) is error
    assert caught.value.code == code
    return caught.value.message


def three(world: World) -> tuple[Dot, ...]:
    """A path from the home over alice and bob to carol, on exactly as many hops as it needs."""
    return world.chain("home alice bob carol", "publish@home/light/*")


# A yes --------------------------------------------------------------------------------------------------------------


def test_a_path_from_the_namespace_to_the_subject_is_a_yes(world: World) -> None:
    """The grant says on what it rests."""
    path = three(world)
    proof, request = world.proof(path), world.request("carol", WANT)
    grant = world.verify(proof, request)
    assert grant.paths == (path,)
    assert grant.request == request
    assert grant.height == world.height
    assert grant.until == NOW + 30 * DAY
    assert grant.rates == ()
    assert set(grant.records) == {world.id(name) for name in ("home", "alice", "bob", "carol")}


def test_a_proof_may_be_given_as_bytes(world: World) -> None:
    """What came over the wire is checked as it came."""
    proof, request = world.proof(three(world)), world.request("carol", WANT)
    assert world.verify(proof.to_bytes(), request) == world.verify(proof, request)


def test_bytes_that_are_no_proof_are_an_input_error(world: World) -> None:
    """Neither a yes nor a no: nothing was asked."""
    request = world.request("carol", WANT)
    refused(world, b"", request, Malformed, "object.malformed")
    refused(world, bytes(LIMITS.proof_bytes + 1), request, TooLarge, "limit.exceeded")


def test_the_namespace_itself_needs_no_dot(world: World) -> None:
    """It rests on its own record alone, and ends with it."""
    proof = world.proof(also="home")
    grant = world.verify(proof, world.request("home", "publish@home/a", "admin@home/*"))
    home = world.entity("home").entity
    assert grant.paths == ((), ())
    assert grant.records == {home.id: home.fields}
    assert grant.until == home.expires
    assert grant.commitments == frozenset(home.commitments)


def test_the_record_of_an_entity_may_come_from_the_registry(world: World) -> None:
    """Then the proof need not carry it."""
    path = three(world)
    request = world.request("carol", WANT)
    world.publish("home", "alice", "bob", "carol")
    assert world.verify(Proof.build([path], ()), request).paths == (path,)
    assert world.verify(Proof.build((), ()), world.request("home", WANT)).paths == ((),)


def test_what_everybody_may_any_subject_may(world: World) -> None:
    """Without a record of the subject's, and by a path of several hops too."""
    path = world.chain("home alice everybody", "publish@home/light/*", indirections=0)
    opened = (world.grant("home", "alice", "publish@home/*", indirections=1), path[1])
    for subject in ("carol", "dave", "everybody"):
        assert world.verify(world.proof(opened), world.request(subject, WANT)).paths == (opened,)


def test_a_pattern_can_be_asked_for_as_a_whole(world: World) -> None:
    """All that it matches has to be covered."""
    proof = world.proof(three(world))
    world.verify(proof, world.request("carol", "publish@home/light/+"))
    world.verify(proof, world.request("carol", "publish@home/light/*"))
    refused(world, proof, world.request("carol", "publish@home/*"), OutOfScope, "dot.out_of_scope")


# Several paths ------------------------------------------------------------------------------------------------------


def test_statements_may_use_different_paths(world: World) -> None:
    """Each is carried by one; the grant ends with the first that ends."""
    light = world.grant("home", "bob", "publish@home/light/*", expires=NOW + DAY)
    door = world.grant("home", "bob", "query@home/door/+")
    grant = world.verify(world.proof(light, door), world.request("bob", WANT, "query@home/door/front"))
    assert grant.paths == ((light,), (door,))
    assert grant.until == NOW + DAY
    assert grant.commitments >= {*light.commitments, *door.commitments}


def test_one_statement_without_a_path_refuses_them_all(world: World) -> None:
    """A request is done as a whole or not at all."""
    light = world.grant("home", "bob", "publish@home/light/*")
    request = world.request("bob", WANT, "query@home/door/front")
    refused(world, world.proof(light), request, OutOfScope, "dot.out_of_scope")


def test_two_paths_do_not_make_up_one(world: World) -> None:
    """A statement is covered by one path as a whole: two halves of a pattern are not the pattern."""
    paths = [world.grant("home", "bob", f"publish@home/{side}/*") for side in ("a", "b")]
    refused(world, world.proof(*paths), world.request("bob", "publish@home/+/x"), OutOfScope, "dot.out_of_scope")


def test_two_grants_of_a_dot_do_not_make_up_one(world: World) -> None:
    """Nor do a permission of one and a pattern of another."""
    dot = world.grant("home", "bob", "publish@home/a", "list@home/b")
    refused(world, world.proof(dot), world.request("bob", "publish@home/b"), OutOfScope, "dot.out_of_scope")


@pytest.mark.parametrize("good_first", [True, False])
def test_a_forged_path_beside_a_good_one_takes_nothing_from_it(world: World, *, good_first: bool) -> None:
    """Whichever stands first, the good one carries."""
    good = world.grant("home", "bob", "publish@home/light/*")
    forged = Dot(world.grant("home", "bob", "publish@home/*").body, bytes(64))
    paths = (good, forged) if good_first else (forged, good)
    grant = world.verify(world.proof(*paths), world.request("bob", WANT))
    assert grant.paths == ((good,),)


def test_a_good_path_beside_a_forged_one_lends_it_nothing(world: World) -> None:
    """The forged one carries no statement of its own."""
    good = world.grant("home", "bob", "publish@home/light/*")
    forged = Dot(world.grant("home", "bob", "publish@home/*").body, bytes(64))
    for paths in ((good, forged), (forged, good)):
        request = world.request("bob", WANT, "publish@home/door")
        refused(world, world.proof(*paths), request, BadSignature, "signature.bad")


def test_the_refusal_is_that_of_the_path_that_came_furthest(world: World) -> None:
    """A person is told about the path that nearly carried, not about the last."""
    expired = world.grant("home", "bob", "publish@home/light/*", expires=NOW)
    elsewhere = world.grant("home", "alice", "publish@home/*")
    for paths in ((expired, elsewhere), (elsewhere, expired)):
        refused(world, world.proof(*paths), world.request("bob", WANT), Expired, "dot.expired")


@pytest.mark.parametrize(
    ("permissions", "pattern", "error"),
    [
        (("publish",), "light//*", BadPattern),
        (("publish",), "*/light/*", BadPattern),
        (("subscribe", "publish"), "light/*", Malformed),
        (("publish", "publish"), "light/*", Malformed),
    ],
)
def test_a_right_that_nobody_could_write_is_refused_when_it_is_parsed(
    world: World, permissions: tuple[str, ...], pattern: str, error: type[WaveError]
) -> None:
    """So it cannot stand in the way of good ones, in whatever order the paths of a proof stand."""
    with pytest.raises(error):
        world.grant("home", "bob", Right(None, permissions, pattern, ()), namespace="home")


# Rule 2: the path ----------------------------------------------------------------------------------------------------


def test_no_path_is_no_proof(world: World) -> None:
    """The emptiest proof proves nothing."""
    refused(world, world.proof(also="home bob"), world.request("bob", WANT), NoProof, "proof.none")


def test_a_path_that_begins_with_another_than_the_namespace_refuses(world: World) -> None:
    """Anybody can grant over a namespace that is not theirs; it counts for nothing."""
    rooted = world.grant("mallory", "bob", "publish@home/*")
    refused(world, world.proof(rooted), world.request("bob", WANT), WrongRoot, "proof.wrong_root")


def test_a_path_cut_off_from_its_root_refuses(world: World) -> None:
    """The first DoT cannot be left out."""
    path = three(world)
    request = world.request("carol", WANT)
    for cut in (path[1:], path[2:]):
        refused(world, world.proof(cut), request, WrongRoot, "proof.wrong_root")


def test_a_path_with_its_middle_left_out_refuses(world: World) -> None:
    """Each receiver is the next giver."""
    path = three(world)
    proof = world.proof((path[0], path[2]))
    refused(world, proof, world.request("carol", WANT), BrokenPath, "proof.broken_path")


@pytest.mark.parametrize(
    ("order", "error", "code"),
    [
        ((1, 0, 2), WrongRoot, "proof.wrong_root"),
        ((0, 2, 1), BrokenPath, "proof.broken_path"),
        ((2, 1, 0), WrongRoot, "proof.wrong_root"),
        ((0, 0, 1, 2), BrokenPath, "proof.broken_path"),
        ((0, 1, 1, 2), BrokenPath, "proof.broken_path"),
    ],
)
def test_a_path_in_another_order_refuses(
    world: World, order: tuple[int, ...], error: type[WaveError], code: str
) -> None:
    """The same DoTs, moved or doubled."""
    path = three(world)
    proof = world.proof(tuple(path[place] for place in order))
    refused(world, proof, world.request("carol", WANT), error, code)


def test_a_dot_about_another_namespace_refuses(world: World) -> None:
    """At the root, and in the middle, where the hand that gives is the right one."""
    root = world.grant("home", "alice", "publish@home/*", indirections=1)
    for path in (
        [world.grant("home", "bob", "publish@office/light/*")],
        [root, world.grant("alice", "bob", "publish@office/light/*")],
        [world.grant("home", "alice", "publish@office/*", indirections=1), world.grant("alice", "bob", WANT)],
    ):
        refused(world, world.proof(path), world.request("bob", WANT), WrongNamespace, "proof.wrong_namespace")


def test_a_proof_for_one_namespace_is_none_for_another(world: World) -> None:
    """Whoever owns both."""
    proof = world.proof(world.grant("home", "bob", "publish@home/*"))
    refused(world, proof, world.request("bob", "publish@office/a"), WrongNamespace, "proof.wrong_namespace")


def test_a_proof_for_one_subject_is_none_for_another(world: World) -> None:
    """Not for a stranger, nor for anybody on the path, nor for everybody."""
    proof = world.proof(three(world))
    for subject in ("mallory", "alice", "bob", "everybody"):
        refused(world, proof, world.request(subject, WANT), WrongSubject, "proof.wrong_subject")


def test_nothing_goes_on_after_everybody(world: World) -> None:
    """Nobody can sign for the id of zero bytes, whatever the DoT before it allows."""
    base = world.grant("home", "alice", "publish@home/*")
    opened = signed(world.entity("home"), base, receiver=bytes(32), indirections=5)
    onward = signed(world.entity("mallory"), world.grant("mallory", "bob", "publish@home/*"), giver=bytes(32))
    refused(world, world.proof((opened, onward)), world.request("bob", WANT), MissingEntity, "proof.missing_entity")


@pytest.mark.parametrize("name", ["home", "alice", "bob", "carol"])
def test_a_path_through_an_unknown_entity_refuses(world: World, name: str) -> None:
    """Root, middle and subject: without the record there is no key, no end of life, no revocation."""
    proof = world.proof(three(world), without=name)
    refused(world, proof, world.request("carol", WANT), MissingEntity, "proof.missing_entity")


def test_the_namespace_s_own_act_needs_its_record(world: World) -> None:
    """From the proof or from the registry."""
    refused(world, Proof.build((), ()), world.request("home", WANT), MissingEntity, "proof.missing_entity")


def test_a_record_that_hashes_to_another_id_is_another_entity(world: World) -> None:
    """A thief of alice's key cannot swap her record for one with commitments and an end of the thief's own."""
    path = three(world)
    alice = world.entity("alice")
    swapped = Entity(record_bytes(amend(alice.entity.fields, commitments=(sha256(b"mine"),))), bytes(64))
    records = [world.entity(name).entity for name in ("home", "bob", "carol")] + [swapped]
    proof = Proof.build([path], records)
    refused(world, proof, world.request("carol", WANT), MissingEntity, "proof.missing_entity")


# Rule 3: hops ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("indirections", "allowed"),
    [
        ((0, 0), False),
        ((1, 0), True),
        ((1, 5), True),
        ((1, 0, 0), False),
        ((1, 5, 5), False),
        ((2, 0, 0), False),
        ((2, 1, 0), True),
        ((5, 0, 5), False),
        ((5, 1, 5), True),
        ((5, 1, 5, 5), False),
        ((3, 3, 3, 3), True),
        ((2, 9, 9, 9), False),
    ],
)
def test_a_dot_travels_as_far_as_every_giver_before_allowed(
    world: World,
    indirections: tuple[int, ...],
    allowed: bool,  # noqa: FBT001 - a table
) -> None:
    """A later giver can shorten the way and never lengthen it."""
    names = ["home", *"abcdef"[: len(indirections)]]
    path = [
        world.grant(giver, receiver, "publish@home/*", indirections=hops)
        for giver, receiver, hops in zip(names, names[1:], indirections, strict=False)
    ]
    request = world.request(names[-1], WANT)
    if allowed:
        world.verify(world.proof(path), request)
    else:
        refused(world, world.proof(path), request, TooManyHops, "dot.too_many_hops")


def test_one_dot_needs_no_hop_to_spare(world: World) -> None:
    """Zero indirections: the receiver may use it."""
    world.verify(world.proof(world.grant("home", "bob", "publish@home/*")), world.request("bob", WANT))


# Rule 4: scope and conditions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "narrow", ["publish@home/light/1", "list@home/light/*", "publish@home/light", "publish@home/door/*"]
)
def test_a_path_is_as_narrow_as_its_narrowest_dot(world: World, place: int, narrow: str) -> None:
    """Wherever it stands: a later DoT that says more than its giver held gives no more."""
    texts = ["publish,list@home/*"] * 3
    texts[place] = narrow
    names = ["home", "alice", "bob", "carol"]
    path = [
        world.grant(giver, receiver, text, indirections=5)
        for giver, receiver, text in zip(names, names[1:], texts, strict=False)
    ]
    refused(world, world.proof(path), world.request("carol", WANT), OutOfScope, "dot.out_of_scope")


@pytest.mark.parametrize(
    "want",
    ["list@home/light/0", "publish@home/light/0/x", "publish@home/door", "publish@home/light/*", "publish@home/+/0"],
)
def test_what_no_dot_gives_is_refused(world: World, want: str) -> None:
    """Another permission, a longer resource, another one, a wider pattern."""
    proof = world.proof(world.grant("home", "bob", "publish@home/light/+"))
    refused(world, proof, world.request("bob", want), OutOfScope, "dot.out_of_scope")


def test_a_permission_belongs_to_its_set(world: World) -> None:
    """`publish` of the built-in set, of one's own set and of another's are three permissions."""
    sets = ["", "door:", "gate:"]
    for given in sets:
        proof = world.proof(world.grant("home", "bob", f"{given}publish@home/*"))
        for asked in sets:
            request = world.request("bob", f"{asked}publish@home/light")
            if asked == given:
                world.verify(proof, request)
            else:
                refused(world, proof, request, OutOfScope, "dot.out_of_scope")


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("condition", "error", "code"),
    [
        (when("sat-sun 00:00-24:00 UTC"), ConditionFailed, "condition.failed"),
        (where("set_point 71..74"), ConditionFailed, "condition.failed"),
        (where("brightness ..50"), ConditionMissing, "condition.missing_value"),
        (Condition("weather", ("fine",)), ConditionUnknown, "condition.unknown"),
        (Condition("value", ("set_point",)), ConditionUnknown, "condition.unknown"),
    ],
    ids=["hours", "value", "missing", "unknown kind", "unreadable"],
)
def test_every_condition_along_the_path_has_to_hold(
    world: World, place: int, condition: Condition, error: type[WaveError], code: str
) -> None:
    """At the root, in the middle and at the end; the unknown ones too."""
    conditions = [(where("set_point 66..74"),)] * 3
    conditions[place] += (condition,)  # type: ignore[assignment]
    names = ["home", "alice", "bob", "carol"]
    path = [
        world.grant(giver, receiver, "publish@home/*", indirections=5, conditions=held)
        for giver, receiver, held in zip(names, names[1:], conditions, strict=False)
    ]
    request = world.request("carol", WANT, context={"set_point": 70})
    refused(world, world.proof(path), request, error, code)


def test_a_missing_value_is_named(world: World) -> None:
    """Whoever asks is told what to say."""
    dot = world.grant("home", "bob", "publish@home/*", conditions=(where("set_point 66..74"),))
    message = refused(world, world.proof(dot), world.request("bob", WANT), ConditionMissing, "condition.missing_value")
    assert "set_point" in message


def test_conditions_only_narrow(world: World) -> None:
    """A later DoT without a condition does not lift an earlier one."""
    path = (
        world.grant("home", "alice", "publish@home/*", indirections=1, conditions=(where("x 1..2"),)),
        world.grant("alice", "bob", "publish@home/*", conditions=(where("x 0..5"),)),
    )
    proof = world.proof(path)
    world.verify(proof, world.request("bob", WANT, context={"x": 2}))
    refused(world, proof, world.request("bob", WANT, context={"x": 3}), ConditionFailed, "condition.failed")


def test_another_right_of_the_same_dot_may_hold_where_one_fails(world: World) -> None:
    """Two grants are two chances."""
    dot = world.grant(
        "home",
        "bob",
        world.right("publish@home/*", where("x 1..2")),
        world.right(WANT, where("x 5..6")),
        namespace="home",
    )
    for x in (1, 6):
        world.verify(world.proof(dot), world.request("bob", WANT, context={"x": x}))
    request = world.request("bob", WANT, context={"x": 3})
    refused(world, world.proof(dot), request, ConditionFailed, "condition.failed")


def test_a_grant_ends_with_the_window_that_it_is_in(world: World) -> None:
    """08:00 to 22:00 at the root and 09:00 to 17:00 further on; it is a Friday, 08:00 in UTC."""
    path = (
        world.grant("home", "alice", "publish@home/*", indirections=1, conditions=(when("fri 08:00-22:00 UTC"),)),
        world.grant("alice", "bob", "publish@home/*", conditions=(when("fri 07:00-17:00 UTC"),)),
    )
    assert world.verify(world.proof(path), world.request("bob", WANT)).until == NOW + 9 * HOUR


def test_rates_are_handed_to_whoever_counts_them(world: World) -> None:
    """Each with the DoT that it stands in; several along a path all count."""
    path = (
        world.grant("home", "alice", "publish@home/*", indirections=1, conditions=(rate("10/60s"), where("x ..5"))),
        world.grant("alice", "bob", "publish@home/*", conditions=(rate("1/1s"), rate("100/1d"))),
    )
    grant = world.verify(world.proof(path), world.request("bob", WANT, "publish@home/light/1", context={"x": 1}))
    assert grant.rates == (
        Rate(path[0].id, rate("10/60s")),
        Rate(path[1].id, rate("1/1s")),
        Rate(path[1].id, rate("100/1d")),
    )


# Rule 5: time and revocation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_dot_past_its_time_refuses(world: World, place: int) -> None:
    """From its last second on, wherever it stands."""
    path = list(three(world))
    path[place] = signed(world.entity(["home", "alice", "bob"][place]), path[place], expires=NOW + 5)
    proof, request = world.proof(path), world.request("carol", WANT)
    world.now = NOW + 4
    assert world.verify(proof, request).until == NOW + 5
    world.now = NOW + 5
    refused(world, proof, request, Expired, "dot.expired")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_dot_before_its_time_refuses(world: World, place: int) -> None:
    """Until its first second, wherever it stands."""
    path = list(three(world))
    path[place] = signed(world.entity(["home", "alice", "bob"][place]), path[place], created=NOW + 5)
    proof, request = world.proof(path), world.request("carol", WANT)
    world.now = NOW + 4
    refused(world, proof, request, NotYetValid, "dot.not_yet_valid")
    world.now = NOW + 5
    world.verify(proof, request)


def test_a_dot_whose_times_are_out_of_order_never_holds(world: World) -> None:
    """Anybody can sign anything."""
    dot = signed(world.entity("home"), world.grant("home", "bob", "publish@home/*"), created=NOW + 5, expires=NOW - 5)
    for now in (NOW - 6, NOW - 5, NOW, NOW + 5, NOW + 6):
        world.now = now
        with pytest.raises((Expired, NotYetValid)):
            world.verify(world.proof(dot), world.request("bob", WANT))


@pytest.mark.parametrize("name", ["home", "alice", "bob", "carol"])
def test_an_entity_past_its_time_refuses(world: World, name: str) -> None:
    """Namespace, middle and subject."""
    world.entity(name, expires=NOW + 5)
    proof, request = world.proof(three(world)), world.request("carol", WANT)
    assert world.verify(proof, request).until == NOW + 5
    world.now = NOW + 5
    refused(world, proof, request, EntityExpired, "entity.expired")


@pytest.mark.parametrize("name", ["home", "alice", "bob", "carol"])
def test_an_entity_before_its_time_refuses(world: World, name: str) -> None:
    """Namespace, middle and subject."""
    world.entity(name, created=NOW + 5)
    proof, request = world.proof(three(world)), world.request("carol", WANT)
    refused(world, proof, request, EntityNotYetValid, "entity.not_yet_valid")
    world.now = NOW + 5
    world.verify(proof, request)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_revoked_dot_refuses(world: World, place: int) -> None:
    """Root, middle and end; the others stand."""
    path = three(world)
    proof, request = world.proof(path), world.request("carol", WANT)
    world.verify(proof, request)
    height = world.revoke(path[place])
    message = refused(world, proof, request, Revoked, "dot.revoked")
    assert f"block {height}" in message


@pytest.mark.parametrize("name", ["home", "alice", "bob", "carol"])
def test_a_revoked_entity_kills_every_path_through_it(world: World, name: str) -> None:
    """Namespace, middle and subject."""
    proof, request = world.proof(three(world)), world.request("carol", WANT)
    world.verify(proof, request)
    world.revoke(name)
    refused(world, proof, request, EntityRevoked, "entity.revoked")


def test_a_revoked_namespace_can_do_nothing_itself(world: World) -> None:
    """Nor an expired one, nor one that has not begun."""
    proof, request = world.proof(also="home"), world.request("home", WANT)
    world.verify(proof, request)
    world.now = NOW + 10 * YEAR
    refused(world, proof, request, EntityExpired, "entity.expired")
    world.now = NOW - 2 * YEAR
    refused(world, proof, request, EntityNotYetValid, "entity.not_yet_valid")
    world.now = NOW
    world.revoke("home")
    refused(world, proof, request, EntityRevoked, "entity.revoked")


def test_any_one_commitment_revokes(world: World) -> None:
    """The further revoker's as well as the giver's."""
    plain = world.grant("home", "bob", "publish@home/*")
    guard = world.entity("guard")
    dot = world.grant("home", "bob", "publish@home/*", revokers=(sha256(plain.preimage(guard)),))
    proof, request = world.proof(dot), world.request("bob", WANT)
    for preimage in (dot.preimage(world.entity("home")), dot.preimage(guard)):
        facts = world.facts
        world.verify(proof, request, facts=facts)
        revoked = replace(facts, revocations={sha256(preimage): facts.height})
        refused(world, proof, request, Revoked, "dot.revoked", facts=revoked)


def test_a_revocation_above_the_height_of_the_facts_is_not_seen_yet(world: World) -> None:
    """Facts are a named block, although their mappings may go on growing."""
    dot = world.grant("home", "bob", "publish@home/*")
    proof, request = world.proof(dot), world.request("bob", WANT)
    before = world.facts
    world.revoke(dot)
    growing = replace(before, revocations=world.revocations)
    world.verify(proof, request, facts=growing)
    refused(world, proof, request, Revoked, "dot.revoked", facts=replace(growing, height=world.height))


def test_somebody_else_s_preimage_revokes_nothing(world: World) -> None:
    """Only what hashes to a commitment counts."""
    dot = world.grant("home", "bob", "publish@home/*")
    world.reveal(dot.preimage(world.entity("mallory")))
    world.reveal(b"x" * 32)
    world.verify(world.proof(dot), world.request("bob", WANT))


# Rule 6: facts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(world: World) -> tuple[Proof, Request]:
    return world.proof(three(world)), world.request("carol", WANT)


def test_stale_facts_cannot_tell(world: World, asked: tuple[Proof, Request]) -> None:
    """At the bound and one second past it; and never a yes."""
    old = world.facts
    world.verify(*asked, facts=replace(old, time=NOW - LIMITS.max_staleness))
    refused(world, *asked, StaleFacts, "facts.stale", facts=replace(old, time=NOW - LIMITS.max_staleness - 1))
    assert issubclass(StaleFacts, Unavailable)
    assert not issubclass(StaleFacts, Refused)


def test_the_caller_says_how_stale_facts_may_be(world: World, asked: tuple[Proof, Request]) -> None:
    """Down to not at all."""
    facts = replace(world.facts, time=NOW - 1000)
    world.verify(*asked, facts=facts, max_staleness=1000)
    refused(world, *asked, StaleFacts, "facts.stale", facts=facts, max_staleness=999)
    refused(world, *asked, StaleFacts, "facts.stale", facts=replace(facts, time=NOW - 1), max_staleness=0)


def test_facts_behind_the_height_asked_for_cannot_tell(world: World, asked: tuple[Proof, Request]) -> None:
    """A check made after a revocation names its height and never misses it."""
    path = asked[0].paths[0]
    old = world.facts
    height = world.revoke(path[0])
    world.verify(*asked, facts=old)
    refused(world, *asked, FactsBehind, "facts.behind", facts=old, at_least=height)
    refused(world, *asked, Revoked, "dot.revoked", at_least=height)


def test_facts_at_the_height_asked_for_can_tell(world: World, asked: tuple[Proof, Request]) -> None:
    """At the bound."""
    world.verify(*asked, at_least=world.height)
    refused(world, *asked, FactsBehind, "facts.behind", at_least=world.height + 1)


def test_facts_ahead_of_the_clock_cannot_tell(world: World, asked: tuple[Proof, Request]) -> None:
    """A clock that is behind would let what has expired through; at the bound and one second past it."""
    facts = world.facts
    world.verify(*asked, facts=replace(facts, time=NOW + LIMITS.clock_skew))
    refused(world, *asked, FactsAhead, "facts.ahead", facts=replace(facts, time=NOW + LIMITS.clock_skew + 1))


def test_the_namespace_s_own_act_asks_for_fresh_facts_too(world: World) -> None:
    """Its revocation could be missed like any other."""
    proof, request = world.proof(also="home"), world.request("home", WANT)
    facts = world.facts
    refused(world, proof, request, StaleFacts, "facts.stale", facts=replace(facts, time=NOW - 121))
    refused(world, proof, request, FactsAhead, "facts.ahead", facts=replace(facts, time=NOW + 61))
    refused(world, proof, request, FactsBehind, "facts.behind", at_least=facts.height + 1)


# Rule 7: signatures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("signer", ["nobody", "mallory", "carol"])
def test_a_dot_that_its_giver_did_not_sign_refuses(world: World, place: int, signer: str) -> None:
    """Wherever it stands, whoever signed instead."""
    path = list(three(world))
    body = path[place].body
    path[place] = Dot(body, bytes(64) if signer == "nobody" else world.entity(signer).sign(DOT, body))
    refused(world, world.proof(path), world.request("carol", WANT), BadSignature, "signature.bad")


def test_an_entity_whose_key_is_of_small_order_gives_nothing(world: World) -> None:
    """A record may hold any 32 bytes for a key; under this one, anybody's signature would fit a lax verifier."""
    home = world.entity("home").entity
    weak = Entity(record_bytes(amend(home.fields, verify_key=(1).to_bytes(32, "little"))), bytes(64))
    bob = world.entity("bob").entity
    fields = amend(world.grant("home", "bob", "publish@home/*").fields, giver=weak.id, namespace=weak.id)
    assert isinstance(fields, DotFields)
    anybody = (1).to_bytes(32, "little") + bytes(32)  # R is the neutral element and S is 0
    dot = Dot(record_bytes(fields), anybody)
    request = replace(world.request("bob", WANT), namespace=weak.id)
    refused(world, Proof.build([(dot,)], [weak, bob]), request, BadSignature, "signature.bad")


class Bounded(dict[bytes, bytes]):
    """A cache as a caller might bound it: by forgetting what came first."""

    def __setitem__(self, key: bytes, value: bytes) -> None:
        super().__setitem__(key, value)
        if len(self) > 2:
            del self[next(iter(self))]


def test_a_cache_of_signatures_changes_no_verdict_and_is_bounded_by_the_caller(world: World) -> None:
    """A yes stays a yes, cold, warm and half forgotten."""
    cache: SignatureCache = Bounded()
    proof, request = world.proof(three(world)), world.request("carol", WANT)
    expected = world.verify(proof, request)
    for _ in range(3):
        assert world.verify(proof, request, signatures=cache) == expected
        assert len(cache) == 2


def test_a_cache_of_signatures_turns_no_no_into_a_yes(world: World) -> None:
    """What nobody signed, what was revoked since and what has expired since stay refused when all else is known."""
    cache: SignatureCache = {}
    path = three(world)
    proof, request = world.proof(path), world.request("carol", WANT)
    world.verify(proof, request, signatures=cache)
    assert set(cache) == {dot.id for dot in path}
    wider = world.grant("bob", "carol", "publish@home/*", comment="wider")
    forged = (*path[:2], Dot(wider.body, path[2].signature))
    refused(world, world.proof(forged), request, BadSignature, "signature.bad", signatures=cache)
    assert wider.id not in cache
    world.now = NOW + 31 * DAY
    refused(world, proof, request, Expired, "dot.expired", signatures=cache)
    world.now = NOW
    world.revoke(path[1])
    refused(world, proof, request, Revoked, "dot.revoked", signatures=cache)


def test_a_bad_signature_is_not_remembered(world: World) -> None:
    """Only good ones are, and only when the whole path held up to them."""
    cache: SignatureCache = {}
    path = three(world)
    forged = (Dot(path[0].body, bytes(64)), *path[1:])
    for _ in range(2):
        refused(
            world, world.proof(forged), world.request("carol", WANT), BadSignature, "signature.bad", signatures=cache
        )
    assert path[0].id not in cache


def test_a_known_dot_under_another_signature_has_the_same_verdict_cold_and_warm(world: World) -> None:
    """Two verifiers agree about the same bytes, whatever each has seen before."""
    cache: SignatureCache = {}
    path = three(world)
    request = world.request("carol", WANT)
    world.verify(world.proof(path), request, signatures=cache)
    damaged = world.proof((Dot(path[0].body, bytes(64)), *path[1:]))
    refused(world, damaged, request, BadSignature, "signature.bad", signatures=cache)


def test_a_grant_knows_every_commitment_that_would_end_it(world: World) -> None:
    """Of the DoTs and of everybody on the path: revoking any one of them does end it."""
    path = three(world)
    proof, request = world.proof(path), world.request("carol", WANT)
    grant: Grant = world.verify(proof, request)
    assert len(grant.commitments) == 7
    for commitment in grant.commitments:
        facts = replace(world.facts, revocations={commitment: 1})
        with pytest.raises(Revoked):
            world.verify(proof, request, facts=facts)
