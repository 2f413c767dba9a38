"""Known faults of the earlier systems (DESIGN §8), one test each: ours refuses."""

import inspect
from dataclasses import replace

import pytest

from tests.world import DAY, NOW, World
from wave.codec import amend, record_bytes
from wave.dots import explain, facts, proof, rules, search, verify
from wave.dots.dot import Dot
from wave.dots.proof import Proof
from wave.dots.verify import SignatureCache
from wave.errors import (
    BadSignature,
    Malformed,
    Refused,
    Revoked,
    StaleFacts,
    Unavailable,
    UnknownVersion,
    WrongRoot,
    WrongSubject,
)
from wave.limits import Limits

WANT = "publish@home/light/0"


def test_fault_1_a_self_signed_chain_over_somebody_else_s_namespace_is_refused(world: World) -> None:
    """The first giver has to be the namespace."""
    forged = world.chain("mallory accomplice bob", "publish@home/*")
    with pytest.raises(WrongRoot) as caught:
        world.verify(world.proof(forged, also="home"), world.request("bob", WANT))
    assert caught.value.code == "proof.wrong_root"


def test_fault_2_every_path_ends_at_the_subject_the_last_too(world: World) -> None:
    """With several paths, each is compared with the subject, wherever it stands."""
    own = world.grant("home", "bob", "list@home/*")
    others = [world.grant("home", name, "publish@home/*") for name in ("carol", "dave")]
    for paths in (others, others[::-1]):
        with pytest.raises(WrongSubject) as caught:
            world.verify(world.proof(*paths), world.request("bob", WANT))
        assert caught.value.code == "proof.wrong_subject"
    for paths in ([own, *others], [*others, own]):
        assert world.verify(world.proof(*paths), world.request("bob", "list@home/a")).paths == ((own,),)
        with pytest.raises(Refused):
            world.verify(world.proof(*paths), world.request("bob", "list@home/a", WANT))


def test_fault_3_not_revoked_is_asked_again_every_time(world: World) -> None:
    """A revocation counts from the next verdict on, whatever was checked and remembered before."""
    dot = world.grant("home", "bob", "publish@home/*")
    cache: SignatureCache = {}
    asked = world.proof(dot), world.request("bob", WANT)
    for _ in range(3):
        world.verify(*asked, signatures=cache)
    world.revoke(dot)
    with pytest.raises(Revoked) as caught:
        world.verify(*asked, signatures=cache)
    assert caught.value.code == "dot.revoked"


def test_fault_4_there_is_no_switch_that_takes_unknown_for_not_revoked(world: World) -> None:
    """Nothing in the verdict's arguments, its modules or the limits turns an error into a yes."""
    parameters = set(inspect.signature(verify.verify).parameters)
    assert parameters == {"proof", "request", "facts", "now", "max_staleness", "at_least", "signatures", "forged"}
    words = ("ignore", "skip", "assume", "lenient", "insecure", "unsafe", "trust_", "allow", "disable", "fallback")
    switches = [
        name
        for module in (verify, rules, facts, proof, search, explain)
        for name in (*vars(module), *(one for part in vars(module).values() for one in _parameters(part)))
        if name.lower().startswith(words)
    ]
    assert switches == []
    assert not [name for name in Limits.__dataclass_fields__ if name.startswith(words)]

    class Broken(dict[bytes, int]):
        def __contains__(self, _: object) -> bool:
            raise Unavailable("the disk is gone")

        def __getitem__(self, _: object) -> int:
            raise Unavailable("the disk is gone")

        def get(self, *_: object) -> int:
            raise Unavailable("the disk is gone")

    dot = world.grant("home", "bob", "publish@home/*")
    broken = replace(world.facts, revocations=Broken())
    with pytest.raises(Unavailable) as caught:
        world.verify(world.proof(dot), world.request("bob", WANT), facts=broken)
    assert caught.value.code == "unavailable"


def _parameters(part: object) -> list[str]:
    if not inspect.isfunction(part) or not part.__module__.startswith("wave."):
        return []
    return list(inspect.signature(part).parameters)


def test_fault_9_a_verdict_is_about_its_subject_and_signatures_are_known_by_a_cryptographic_hash(
    world: World,
) -> None:
    """What is remembered of one subject's proof serves no other, and its keys are SHA-256 ids."""
    cache: SignatureCache = {}
    dot = world.grant("home", "bob", "publish@home/*")
    proof_ = world.proof(dot, also="mallory")
    world.verify(proof_, world.request("bob", WANT), signatures=cache)
    assert list(cache) == [dot.id]
    assert len(dot.id) == 32
    with pytest.raises(WrongSubject) as caught:
        world.verify(proof_, world.request("mallory", WANT), signatures=cache)
    assert caught.value.code == "proof.wrong_subject"


def test_fault_10_a_copied_proof_serves_nobody_but_its_subject(world: World) -> None:
    """As far as the verdict goes: it is about the subject and what is asked, and the proof alone is worth nothing.

    That the asker is the subject, the guard's request signatures show.
    """
    copied = Proof.from_bytes(world.proof(world.chain("home alice bob", "publish@home/light/*")).to_bytes())
    world.verify(copied, world.request("bob", WANT))
    for thief in ("mallory", "alice", "everybody"):
        with pytest.raises(WrongSubject):
            world.verify(copied, world.request(thief, WANT))
    for other in ("publish@home/door", "list@home/light/0", "publish@home/*"):
        with pytest.raises(Refused):
            world.verify(copied, world.request("bob", other))


def test_fault_11_an_unknown_field_is_refused_and_the_format_can_grow(world: World) -> None:
    """Nothing unknown is skipped, by one byte too few or otherwise; a newer version is known for what it is."""
    home, dot = world.entity("home"), world.grant("home", "bob", "publish@home/*")
    more = bytes([dot.body[0] + 1]) + dot.body[1:] + b"\xa6option"
    with pytest.raises(Malformed) as caught:
        Dot(more, home.sign("dot", more))
    assert caught.value.code == "object.malformed"
    newer = record_bytes(amend(dot.fields, version=2))
    for body in (newer, bytes([newer[0] + 1]) + newer[1:] + b"\xa6option"):
        with pytest.raises(UnknownVersion) as grown:
            Dot(body, home.sign("dot", body))
        assert grown.value.code == "object.unknown_version"


def test_fault_12_permissions_that_need_three_or_more_paths_are_proved(world: World) -> None:
    """Any number of paths in one proof, each for what it carries."""
    texts = [f"{permission}@home/{permission}/*" for permission in ("publish", "subscribe", "list", "query", "predict")]
    paths = [world.chain(f"home helper{number} bob", text) for number, text in enumerate(texts)]
    grant = world.verify(world.proof(*paths), world.request("bob", *[text.replace("*", "x") for text in texts]))
    assert grant.paths == tuple(paths)


def test_a_yes_from_a_chain_that_stopped_is_not_a_yes(world: World) -> None:
    """Fault 13's part of the verdict: stale facts are noticed in every check, not in registry reads alone."""
    dot = world.grant("home", "bob", "publish@home/*")
    stopped = world.facts
    world.now = NOW + DAY
    with pytest.raises(StaleFacts) as caught:
        world.verify(world.proof(dot), world.request("bob", WANT), facts=stopped)
    assert caught.value.code == "facts.stale"


def test_a_signature_is_asked_for_on_every_hop(world: World) -> None:
    """A chain that is right in every field and signed by nobody is worth nothing."""
    path = tuple(Dot(dot.body, bytes(64)) for dot in world.chain("home alice bob", "publish@home/*"))
    with pytest.raises(BadSignature) as caught:
        world.verify(world.proof(path), world.request("bob", WANT))
    assert caught.value.code == "signature.bad"
