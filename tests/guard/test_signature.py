"""Signatures of requests, with another implementation of RFC 9421 as the oracle, both ways."""

import base64
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import ED25519
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from tests.guard.gate import HOST, INFER, JSON, Gate, with_headers
from tests.world import NOW, World, made
from wave.codec import id_text
from wave.entities.object import KINDS, signing_input
from wave.errors import BadDigest, BadHttpSignature, BadSignature, HeaderTooLarge, Malformed, NotSigned, WaveError
from wave.guard.shown import whole
from wave.guard.signature import (
    COVERED,
    PROOF_HEADER,
    HttpRequest,
    check_digest,
    content_digest,
    normal_authority,
    read,
    sign,
)
from wave.limits import LIMITS

NONCE = "0123456789abcdef"


@dataclass
class Wire:
    """A request as the other implementation takes it."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, request: HttpRequest) -> "Wire":
        return cls(request.method, f"http://{request.authority}{request.path}{request.query}", dict(request.headers))


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, world: World, name: str) -> None:
        self.entity = world.entity(name)

    def resolve_private_key(self, key_id: str) -> Any:
        assert key_id == id_text(self.entity.id)
        return Ed25519PrivateKey.from_private_bytes(self.entity.seed)

    def resolve_public_key(self, key_id: str) -> Any:
        assert key_id == id_text(self.entity.id)
        return Ed25519PrivateKey.from_private_bytes(self.entity.seed).public_key()


def foreign(gate: Gate, **changes: Any) -> HttpRequest:
    """Return a request signed by the other implementation."""
    request = with_headers(
        gate.request(query=changes.pop("query", "")), {PROOF_HEADER: changes.pop("proof", whole(gate.proof))}
    )
    wire = Wire.of(with_headers(request, {"content-digest": content_digest(request.body)}))
    wire.headers.update(changes.pop("headers", {}))
    HTTPMessageSigner(signature_algorithm=ED25519, key_resolver=Keys(gate.world, "bob")).sign(
        wire,
        **{
            "key_id": id_text(gate.world.id("bob")),
            "created": datetime.fromtimestamp(NOW, UTC),
            "expires": datetime.fromtimestamp(NOW + 60, UTC),
            "nonce": NONCE,
            "tag": "wave",
            "covered_component_ids": COVERED,
            "use_existing_digest": True,
            **changes,
        },
    )
    return with_headers(request, wire.headers)


@pytest.mark.parametrize("query", ["", "?a=1&b=%20x"])
def test_the_oracle_verifies_what_we_sign(query: str) -> None:
    gate = Gate()
    request = gate.signed(query=query, created=int(time.time()))
    verified = HTTPMessageVerifier(signature_algorithm=ED25519, key_resolver=Keys(gate.world, "bob")).verify(
        Wire.of(request), expect_tag="wave", body=request.body
    )[0]
    assert [name.strip('"') for name in verified.covered_components] == [*COVERED, "@signature-params"]
    assert verified.body == request.body


async def test_a_guard_lets_through_what_the_oracle_signed() -> None:
    gate = Gate()
    caller = await gate.admit(foreign(gate, query="?x=1"))
    assert caller.identity == gate.world.id("bob")


async def test_label_order_and_further_components_are_the_writers_choice() -> None:
    gate = Gate()
    names = ("content-type", *reversed(COVERED), "@scheme", "@target-uri", "@request-target")
    assert await gate.admit(foreign(gate, covered_component_ids=names, label="sig1", include_alg=False))


@pytest.mark.parametrize("missing", COVERED)
async def test_a_signature_that_leaves_out_a_component_is_refused(missing: str) -> None:
    gate = Gate()
    names = tuple(name for name in COVERED if name != missing)
    with pytest.raises(BadHttpSignature, match=missing):
        await gate.admit(foreign(gate, covered_component_ids=names))


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": None},
        {"nonce": "short"},
        {"expires": None},
        {"covered_component_ids": (*COVERED, '"content-type";sf')},
    ],
)
async def test_a_signature_without_its_parameters_is_refused(change: dict[str, Any]) -> None:
    gate = Gate()
    headers = {"content-type": "application/json"}
    with pytest.raises(BadHttpSignature):
        await gate.admit(foreign(gate, headers=headers, **change))


async def test_a_signature_with_another_tag_is_none() -> None:
    gate = Gate()
    with pytest.raises(NotSigned):
        await gate.admit(foreign(gate, tag="other"))


async def test_a_covered_header_that_is_not_there_is_refused() -> None:
    gate = Gate()
    request = foreign(gate, headers={"x-further": "1"}, covered_component_ids=(*COVERED, "x-further"))
    with pytest.raises(BadHttpSignature, match="x-further"):
        read(request._replace(headers={name: v for name, v in request.headers.items() if name != "x-further"}))


async def test_a_signature_beside_others_is_found_in_a_field_that_stands_several_times() -> None:
    gate = Gate()
    request = gate.signed()
    fields = CIMultiDict([("Signature-Input", 'proxy=("@method");created=1;keyid="p"'), ("Signature", "proxy=:AAAA:")])
    for name, value in request.headers.items():
        fields.add(name.title(), value)
    assert (await gate.admit(request._replace(headers=CIMultiDictProxy(fields)))).identity == gate.world.id("bob")


@pytest.mark.parametrize("name", ["signature", "signature-input"])
def test_a_request_without_a_signature_is_not_signed(name: str) -> None:
    request = Gate().signed()
    with pytest.raises(NotSigned):
        read(request._replace(headers={key: value for key, value in request.headers.items() if key != name}))


@pytest.mark.parametrize("name", ["content-digest", PROOF_HEADER])
def test_a_request_without_what_must_be_covered_is_refused(name: str) -> None:
    request = Gate().signed()
    with pytest.raises(BadHttpSignature):
        read(request._replace(headers={key: value for key, value in request.headers.items() if key != name}))


@pytest.mark.parametrize("name", ["signature", "signature-input", "content-digest"])
def test_a_header_is_read_up_to_its_bound(name: str) -> None:
    request = Gate().signed()
    padded = request.headers[name] + " " * (LIMITS.http_header_bytes - len(request.headers[name]))
    assert read(with_headers(request, {name: padded}))
    with pytest.raises(HeaderTooLarge):
        read(with_headers(request, {name: padded + " "}))


def test_a_proof_is_read_up_to_its_bound() -> None:
    request = Gate().signed()
    assert read(with_headers(request, {PROOF_HEADER: ":" * LIMITS.http_proof_bytes}))
    with pytest.raises(HeaderTooLarge):
        read(with_headers(request, {PROOF_HEADER: ":" * (LIMITS.http_proof_bytes + 1)}))


@pytest.mark.parametrize("part", ["method", "authority", "path", "query"])
@pytest.mark.parametrize("text", ["é", "a\nb"])
def test_what_no_header_may_hold_cannot_be_signed(part: str, text: str) -> None:
    signed: Any = Gate().signed()
    with pytest.raises(BadHttpSignature):
        read(signed._replace(**{part: text}))


def test_a_signature_of_another_length_is_refused() -> None:
    request = Gate().signed()
    short = base64.b64encode(bytes(32)).decode()
    with pytest.raises(BadHttpSignature):
        read(with_headers(request, {"signature": f"wave=:{short}:"}))


@given(st.sampled_from(["signature", "signature-input", "content-digest", PROOF_HEADER]), st.text(max_size=80))
def test_any_header_at_all_is_read_or_refused(name: str, text: str) -> None:
    request = with_headers(GATE.signed(), {name: text})
    try:
        read(request)
        check_digest(request)
    except WaveError:
        pass


GATE = Gate()


@given(st.data())
async def test_a_signature_altered_anywhere_never_lets_a_request_through(data: st.DataObject) -> None:
    request = GATE.signed()
    name = data.draw(st.sampled_from(["signature", "signature-input", "content-digest", PROOF_HEADER]))
    value = request.headers[name]
    place = data.draw(st.integers(0, len(value) - 1))
    letter = data.draw(st.sampled_from('abcXYZ019+/=:;" ()').filter(lambda one: one != value[place]))
    with pytest.raises(WaveError):
        await GATE.admit(with_headers(request, {name: value[:place] + letter + value[place + 1 :]}))


def test_a_digest_of_other_bytes_is_refused_and_further_digests_are_left_alone() -> None:
    request = Gate().signed()
    check_digest(with_headers(request, {"content-digest": "md5=:AAAA:, " + content_digest(request.body)}))
    with pytest.raises(BadDigest):
        check_digest(request._replace(body=b"other"))
    with pytest.raises(BadDigest):
        check_digest(with_headers(request, {"content-digest": "sha-512=:AAAA:"}))
    with pytest.raises(BadHttpSignature):
        check_digest(with_headers(request, {"content-digest": "sha-256 =:AAAA:"}))


@pytest.mark.parametrize(
    ("scheme", "given_", "normal"),
    [
        ("http", "Models.Example:80", "models.example"),
        ("https", "models.example:443", "models.example"),
        ("http", "models.example:443", "models.example:443"),
        ("http", "[::1]:8080", "[::1]:8080"),
    ],
)
def test_an_authority_is_compared_as_the_standard_says(scheme: str, given_: str, normal: str) -> None:
    assert normal_authority(scheme, given_) == normal


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_a_request_is_signed_as_one(kind: str) -> None:
    bob = made("bob")
    with pytest.raises(Malformed):
        bob.sign_request(signing_input(kind, b"body"))


def test_a_key_signs_the_same_bytes_the_same_way() -> None:
    request = HttpRequest("GET", "https", HOST, INFER, "", {**JSON, PROOF_HEADER: ":AA==:"})
    signed = sign(made("bob"), request, created=1, expires=2, nonce=bytes(16))
    assert signed == sign(made("bob"), request, created=1, expires=2, nonce=bytes(16))
    assert read(with_headers(request, signed)).created == 1
    assert BadSignature.http_status == 403
