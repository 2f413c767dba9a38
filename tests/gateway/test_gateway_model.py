"""Who may have a model loaded: a signed manifest, its signer's right, and the very file."""

from pathlib import Path
from typing import Any

import pytest

from devices.gateway.model import (
    INPUT_TYPES,
    Manifest,
    SignedModel,
    check_manifest,
    packed,
    sign_model,
    unpacked,
)
from tests.gateway.booth import SUM, Booth
from tests.world import DAY
from wave.bus.message import Message
from wave.codec import VERSION, encode
from wave.dots.cache import Verifier
from wave.errors import (
    BadModel,
    BadSignature,
    Malformed,
    MessageStale,
    ModelAltered,
    OutOfScope,
    Revoked,
    TooLarge,
    UnsignedModel,
    WaveError,
    WrongSender,
)
from wave.limits import LIMITS


@pytest.fixture
def bench(tmp_path: Path) -> Booth:
    return Booth(tmp_path)


def check(booth: Booth, data: bytes, artefact: bytes = SUM) -> SignedModel:
    world = booth.world
    signed = check_manifest(data, namespace=world.id("home"), facts=world.facts, now=world.now, verifier=Verifier())
    signed.manifest.check(artefact)
    return signed


def test_a_model_that_somebody_with_the_right_signed_is_accepted(bench: Booth) -> None:
    signed = check(bench, bench.signed(input_type="floats", confidence=True))
    assert signed.signer == bench.world.id("ann")
    assert signed.manifest == Manifest.of(
        SUM, model="sum", version="1", format="python", input_type="floats", confidence=True
    )


def test_the_namespace_itself_needs_no_grant(bench: Booth) -> None:
    assert check(bench, bench.signed(by="home", proof=bench.world.proof(also="home"))).manifest.model == "sum"


def test_a_right_to_one_model_is_enough_for_it_and_no_other(bench: Booth) -> None:
    proof = bench.world.proof(bench.world.grant("home", "bob", "admin@home/models/sum"))
    assert check(bench, bench.signed(by="bob", proof=proof)).signer == bench.world.id("bob")
    with pytest.raises(OutOfScope):
        check(bench, bench.signed(by="bob", proof=proof, model="other"))


def test_a_file_that_was_altered_is_refused(bench: Booth) -> None:
    for other in (SUM + b"\n", SUM.replace(b"sum", b"max"), b""):
        with pytest.raises(ModelAltered):
            check(bench, bench.signed(), other)


def test_a_file_that_nobody_signed_is_refused(bench: Booth) -> None:
    with pytest.raises(UnsignedModel):
        check(bench, b"")


def test_a_right_that_was_taken_back_ends_what_its_holder_signed(bench: Booth) -> None:
    data = bench.signed()
    check(bench, data)
    bench.world.revoke(bench.may_admin)
    with pytest.raises(Revoked):
        check(bench, data)


def test_somebody_without_the_right_signs_in_vain(bench: Booth) -> None:
    with pytest.raises(WrongSender):
        check(bench, bench.signed(by="eve"))
    predicting = bench.world.proof(bench.world.grant("home", "eve", "predict@home/*"))
    with pytest.raises(OutOfScope):
        check(bench, bench.signed(by="eve", proof=predicting))


def test_a_manifest_for_another_namespace_is_refused(bench: Booth) -> None:
    theirs = bench.world.proof(bench.world.grant("shop", "ann", "admin@shop/*"))
    with pytest.raises(UnsignedModel):
        check(bench, bench.signed(home="shop", proof=theirs))


def test_a_message_about_something_else_is_no_manifest(bench: Booth) -> None:
    world = bench.world
    fields: dict[str, Any] = {
        "namespace": world.id("home"),
        "created": world.now,
        "expires": world.now + 60,
        "nonce": bytes(16),
        "payload": b'{"model": "sum", "version": "1", "format": "python", "sha256": "%s", "size": 1}' % (b"0" * 64),
        "proof": bench.by_ann.id,
    }
    for permission, resource in (("publish", "models/sum"), ("admin", "models/other"), ("admin", "models")):
        message = Message.create(world.entity("ann"), permission=permission, resource=resource, **fields)
        with pytest.raises(UnsignedModel):
            check(bench, encode((VERSION, message.to_bytes(), bench.by_ann.to_bytes())))


def test_a_signature_past_its_time_is_refused(bench: Booth) -> None:
    data = bench.signed()
    bench.world.pass_time(30 * DAY)
    bench.by_ann = bench.world.proof(bench.world.grant("home", "ann", "admin@home/*"))
    with pytest.raises(MessageStale):
        check(bench, data)


def test_a_manifest_changed_after_signing_is_refused(bench: Booth) -> None:
    data = bench.signed()
    with pytest.raises((BadSignature, BadModel)):
        check(bench, data.replace(b'"version": "1"', b'"version": "2"'))
    for place in range(0, len(data), 97):
        broken = bytearray(data)
        broken[place] ^= 1
        with pytest.raises(WaveError):
            check(bench, bytes(broken))


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "Sum"},
        {"model": "a/b"},
        {"model": "x" * 65},
        {"version": ""},
        {"version": "../1"},
        {"version": "1/2"},
        {"format": "pickle"},
        {"input_type": "images"},
        {"entry": "os.system"},
        {"sha256": "00"},
        {"size": 0},
        {"size": LIMITS.model_bytes + 1},
        {"size": True},
        {"confidence": 1},
    ],
    ids=str,
)
def test_a_manifest_says_only_what_makes_sense(fields: dict[str, Any]) -> None:
    good: dict[str, Any] = {"model": "a", "version": "1", "format": "onnx", "sha256": "0" * 64, "size": 1}
    Manifest(**{**good, "size": LIMITS.model_bytes})
    with pytest.raises(BadModel):
        Manifest(**{**good, **fields})


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"model": "a"}', b'{"model": "a", "model": "b"}'], ids=repr)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(BadModel):
        Manifest.parse(data)


def test_every_input_type_can_be_signed(bench: Booth) -> None:
    for one in INPUT_TYPES:
        assert check(bench, bench.signed(input_type=one)).manifest.input_type == one


def test_a_signed_manifest_is_bounded(bench: Booth) -> None:
    with pytest.raises(TooLarge):
        check(bench, bytes(LIMITS.model_manifest_bytes + 1))
    with pytest.raises(Malformed):
        check(bench, bytes(LIMITS.model_manifest_bytes))


def test_a_model_and_its_manifest_travel_as_one() -> None:
    assert unpacked(packed(b"manifest", b"model")) == (b"manifest", b"model")
    for wrong in (b"", b"\xc0", encode((VERSION, b"a")), encode((2, b"a", b"b")), encode((VERSION, "a", b"b"))):
        with pytest.raises(BadModel):
            unpacked(wrong)


def test_a_manifest_is_good_for_a_year_at_most(bench: Booth) -> None:
    world = bench.world
    manifest = Manifest.of(SUM, model="sum", version="1", format="python")
    settings: dict[str, Any] = {"now": world.now, "nonce": bytes(16)}
    sign_model(world.entity("ann"), world.id("home"), manifest, bench.by_ann, lifetime=365 * DAY, **settings)
    with pytest.raises(WaveError):
        sign_model(world.entity("ann"), world.id("home"), manifest, bench.by_ann, lifetime=365 * DAY + 1, **settings)
