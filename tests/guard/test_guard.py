"""The guard: who is let through, and the code of every refusal."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any

import pytest

from tests.guard.gate import INFER, RULES, Gate, with_headers
from tests.world import DAY, HOUR, NOW
from wave.bus.marks import Marks
from wave.codec import id_text
from wave.errors import (
    BadDigest,
    BadPattern,
    BadSetting,
    BadSignature,
    BeforeRestart,
    BodyTooLarge,
    ConditionFailed,
    ConditionMissing,
    EntityRevoked,
    Expired,
    Malformed,
    MessageStale,
    NoProof,
    NotMapped,
    NotSigned,
    OutOfScope,
    ProofWanted,
    RateExceeded,
    Replayed,
    Revoked,
    StaleFacts,
    Unavailable,
    UnknownSession,
    WaveError,
    WrongAuthority,
    WrongNamespace,
    WrongSender,
)
from wave.guard.guard import Guard
from wave.guard.rules import Rule, Rules
from wave.guard.shown import by_id
from wave.guard.signature import PROOF_HEADER, HttpRequest
from wave.limits import LIMITS
from wave.namespace.condition import rate, where


async def test_who_holds_the_right_is_let_through_and_the_handler_is_told_who_by_which_path_and_until_when() -> None:
    gate = Gate()
    caller = await gate.admit(gate.signed())
    assert caller.identity == gate.world.id("bob")
    assert caller.grant.paths == (gate.path,)
    assert caller.grant.until == NOW + 30 * DAY
    assert [entry["code"] for entry in gate.entries] == ["ok"]
    assert gate.entries[0]["decision"] == caller.decision
    assert gate.entries[0]["sender"] == caller.id == id_text(gate.world.id("bob"))


async def test_the_namespace_itself_needs_no_grant() -> None:
    gate = Gate()
    assert await gate.admit(gate.signed("home", proof=gate.world.proof(also="home")))


CASES: dict[str, tuple[Callable[[Gate], HttpRequest], type[WaveError], int]] = {
    "no signature": (lambda gate: gate.request(), NotSigned, 401),
    "proof sent alone, as if it were a token": (
        lambda gate: with_headers(gate.request(), {PROOF_HEADER: gate.signed().headers[PROOF_HEADER]}),
        NotSigned,
        401,
    ),
    "another's proof": (
        lambda gate: gate.signed("eve", proof=gate.world.proof(gate.path, also="eve")),
        WrongSender,
        403,
    ),
    "another model than granted": (
        lambda gate: gate.signed(proof=gate.world.proof(gate.world.grant("home", "bob", "predict@home/models/beta"))),
        OutOfScope,
        403,
    ),
    "another permission than granted": (
        lambda gate: gate.signed(proof=gate.world.proof(gate.world.grant("home", "bob", "list@home/*"))),
        OutOfScope,
        403,
    ),
    "another namespace": (
        lambda gate: gate.signed(proof=gate.world.proof(gate.world.grant("away", "bob", "predict@away/*"))),
        WrongNamespace,
        403,
    ),
    "a self-made root": (
        lambda gate: gate.signed(
            proof=gate.world.proof(gate.world.grant("eve", "bob", "predict@home/*", namespace="home"))
        ),
        WaveError,
        403,
    ),
    "no path": (lambda gate: gate.signed(proof=gate.world.proof(also="bob")), NoProof, 403),
    "an expired grant": (
        lambda gate: gate.signed(
            proof=gate.world.proof(gate.world.grant("home", "bob", "predict@home/*", expires=NOW))
        ),
        Expired,
        403,
    ),
    "another method": (lambda gate: gate.signed()._replace(method="PUT"), NotMapped, 403),
    "another method of the same path": (lambda gate: gate.signed(method="GET"), NotMapped, 403),
    "a path that no rule has": (lambda gate: gate.signed(path="/admin"), NotMapped, 403),
    "a signed path changed on the way": (
        lambda gate: gate.signed()._replace(path="/models/beta/infer"),
        BadSignature,
        403,
    ),
    "a signed query changed on the way": (lambda gate: gate.signed()._replace(query="?version=2"), BadSignature, 403),
    "another body": (lambda gate: gate.signed()._replace(body=b'{"inputs":[1]}'), BadDigest, 403),
    "another body with its own digest": (
        lambda gate: with_headers(
            gate.signed(), {"content-digest": gate.signed(body=b"other").headers["content-digest"]}
        )._replace(body=b"other"),
        BadSignature,
        403,
    ),
    "another host": (lambda gate: gate.signed(host="other.example"), WrongAuthority, 421),
    "a signature of another key": (
        lambda gate: with_headers(gate.signed(), {"signature": gate.signed().headers["signature"]}),
        BadSignature,
        403,
    ),
    "a proof by an id never shown": (lambda gate: gate.signed(proof=by_id(gate.proof)), ProofWanted, 401),
    "a proof that is none": (lambda gate: gate.signed(proof=":AAAA:"), Malformed, 400),
    "a proof that is not base64": (lambda gate: gate.signed(proof=":?:"), Malformed, 400),
    "a proof in no form": (lambda gate: gate.signed(proof="bearer"), Malformed, 400),
    "a lone colon": (lambda gate: gate.signed(proof=":"), Malformed, 400),
    "a keyid that is no entity": (
        lambda gate: with_headers(
            gate.signed(),
            {
                "signature-input": gate.signed()
                .headers["signature-input"]
                .replace(id_text(gate.world.id("bob")), "_" * 43)
            },
        ),
        WaveError,
        401,
    ),
    "a session never begun": (
        lambda gate: with_headers(gate.signed(), {"wave-session": f"{'A' * 22}.1.{NOW}.{'0' * 64}"}),
        UnknownSession,
        403,
    ),
    "signed an hour ago": (lambda gate: gate.signed(created=NOW - HOUR), MessageStale, 403),
    "signed an hour ahead": (lambda gate: gate.signed(created=NOW + HOUR), MessageStale, 403),
    "valid for too long": (lambda gate: gate.signed(lifetime=LIMITS.message_lifetime + 1), MessageStale, 403),
    "valid for no time": (lambda gate: gate.signed(lifetime=0), MessageStale, 403),
    "a body too long": (lambda gate: gate.signed(body=bytes(LIMITS.http_body_bytes + 1)), BodyTooLarge, 413),
    "a header too long": (lambda gate: gate.signed(proof=":" * (LIMITS.http_proof_bytes + 1)), WaveError, 431),
}


@pytest.mark.parametrize("what", CASES)
async def test_what_is_refused_says_so_by_its_code_and_takes_nothing_away(what: str) -> None:
    make, kind, status = CASES[what]
    gate = Gate()
    request = make(gate)
    with pytest.raises(kind) as caught:
        await gate.admit(request)
    error = caught.value
    assert error.http_status == status
    assert error.decision is not None
    assert gate.entries[-1]["decision"] == error.decision
    answer = gate.guard.refusal(request.method, request.path, error)
    problem = json.loads(answer.body)
    assert (answer.status, problem["code"], problem["decision"]) == (status, error.code, error.decision)
    assert problem["error"] == error.message
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert await gate.admit(gate.signed())


async def test_a_challenge_names_what_to_show_and_what_to_sign() -> None:
    gate = Gate()
    request = gate.request()
    with pytest.raises(NotSigned) as caught:
        await gate.admit(request)
    headers = gate.guard.refusal(request.method, request.path, caught.value).headers
    told = headers["WWW-Authenticate"]
    assert told.startswith('WAVE realm="wave", ')
    assert f'namespace="{id_text(gate.world.id("home"))}", resource="models/alpha", permission="predict"' in told
    assert '"@method" "@authority" "@path" "@query" "content-digest" "wave-proof"' in headers["Accept-Signature"]


async def test_a_refusal_says_what_is_missing_and_who_could_give_it_to_the_sender_alone() -> None:
    gate = Gate()
    narrow = gate.world.proof(gate.world.grant("home", "bob", "predict@home/models/beta"))
    with pytest.raises(OutOfScope) as caught:
        await gate.admit(gate.signed(proof=narrow))
    told = caught.value.problem()
    assert "models/alpha" in told["missing"][0]
    assert told["could_give"] == [id_text(gate.world.id("home"))]
    forged = with_headers(gate.signed(proof=narrow), {"signature": gate.signed().headers["signature"]})
    with pytest.raises(OutOfScope) as caught:
        await gate.admit(forged)
    assert "missing" not in caught.value.problem()


async def test_a_request_is_good_once() -> None:
    gate = Gate()
    request = gate.signed()
    assert await gate.admit(request)
    with pytest.raises(Replayed):
        await gate.admit(request)


async def test_the_same_nonce_of_another_sender_is_another() -> None:
    gate = Gate()
    eve = gate.world.proof(gate.world.grant("home", "eve", "predict@home/*"))
    assert await gate.admit(gate.signed(nonce=bytes(16)))
    assert await gate.admit(gate.signed("eve", proof=eve, nonce=bytes(16)))


async def test_what_was_signed_before_the_guard_began_is_refused() -> None:
    gate = Gate()
    request = gate.signed()
    gate.world.pass_time(1)
    with pytest.raises(BeforeRestart):
        await gate.another().admit(request)


async def test_a_request_that_carries_the_guards_own_nonce_is_not_from_before_it_began() -> None:
    gate = Gate()
    old = gate.world.now
    gate.world.pass_time(1)
    guard = gate.another()
    nonce = urlsafe_b64decode(guard._challenge() + "==")
    request = gate.signed(created=old, nonce=nonce)
    assert await guard.admit(request)
    with pytest.raises(Replayed):
        await guard.admit(request)


async def test_marks_tell_what_an_earlier_process_let_through(tmp_path: Any) -> None:
    gate = Gate()
    marks = Marks(tmp_path / "marks")
    request = gate.signed()
    await gate.another(marks=marks).admit(request)
    marks.close()
    gate.world.pass_time(5)
    again = Marks(tmp_path / "marks")
    with pytest.raises(BeforeRestart):
        await gate.another(marks=again).admit(request)
    again.close()


async def test_a_proof_once_shown_is_known_by_its_id() -> None:
    gate = Gate()
    await gate.admit(gate.signed())
    assert await gate.admit(gate.signed(proof=by_id(gate.proof)))


async def test_a_proof_of_a_refused_request_is_not_kept() -> None:
    gate = Gate()
    with pytest.raises(WrongSender):
        await gate.admit(gate.signed("eve", proof=gate.world.proof(gate.path, also="eve")))
    assert len(gate.guard._shown) == 0


async def test_a_revocation_counts_at_once_though_the_proof_was_good_before() -> None:
    gate = Gate()
    await gate.admit(gate.signed())
    gate.world.revoke(gate.path[1])
    with pytest.raises(Revoked):
        await gate.admit(gate.signed())


async def test_a_revoked_sender_is_refused() -> None:
    gate = Gate()
    everybody = gate.world.proof(gate.world.grant("home", "everybody", "predict@home/*"), also="eve")
    assert await gate.admit(gate.signed("eve", proof=everybody))
    gate.world.revoke("eve")
    with pytest.raises(EntityRevoked):
        await gate.admit(gate.signed("eve", proof=everybody))


async def test_a_grant_ends_at_its_end() -> None:
    gate = Gate()
    gate.world.pass_time(30 * DAY - 1)
    assert await gate.admit(gate.signed())
    gate.world.pass_time(1)
    with pytest.raises(Expired):
        await gate.admit(gate.signed())


async def test_stale_facts_and_none_at_all_let_nobody_through() -> None:
    gate = Gate()
    old = gate.world.facts
    gate.world.pass_time(LIMITS.max_staleness + 1)

    async def stale() -> Any:
        return old

    with pytest.raises(StaleFacts):
        await gate.another(facts=stale).admit(gate.signed())
    gate.down = True
    with pytest.raises(Unavailable) as caught:
        await gate.admit(gate.signed())
    assert caught.value.decision


def conditional(gate: Gate, *conditions: Any) -> Any:
    return gate.world.proof(gate.world.grant("home", "bob", "predict@home/*", conditions=conditions))


@pytest.mark.parametrize(
    ("body", "kind", "error"),
    [
        (b'{"rows": 5}', "application/json", None),
        (b'{"rows": 5}', "application/json; charset=utf-8", None),
        (b'{"rows": 11}', "application/json", ConditionFailed),
        (b'{"rows": 5, "rows": 11}', "application/json", ConditionMissing),
        (b'{"rows": 5}', "text/plain", ConditionMissing),
        (b'{"rows": "5"}', "application/json", ConditionMissing),
        (b"rows=5", "application/x-www-form-urlencoded", ConditionMissing),
    ],
)
async def test_values_in_a_body_are_held_to_the_grants_bounds(body: bytes, kind: str, error: Any) -> None:
    gate = Gate()
    proof = conditional(gate, where("rows 1..10"))
    request = gate.signed(proof=proof, body=body, headers={"content-type": kind})
    if error is None:
        assert await gate.admit(request)
        return
    with pytest.raises(error):
        await gate.admit(request)


async def test_a_rate_is_counted_and_a_refused_request_uses_nothing_up() -> None:
    gate = Gate()
    proof = conditional(gate, rate("2/60s"))
    with pytest.raises(BadDigest):
        await gate.admit(gate.signed(proof=proof)._replace(body=b""))
    await gate.admit(gate.signed(proof=proof))
    await gate.admit(gate.signed(proof=proof))
    with pytest.raises(RateExceeded):
        await gate.admit(gate.signed(proof=proof))
    gate.world.pass_time(60)
    assert await gate.admit(gate.signed(proof=proof))


async def test_what_else_a_caller_may_is_asked_by_the_same_proof() -> None:
    gate = Gate()
    proof = gate.world.proof(gate.world.grant("home", "bob", "predict@home/models/alpha"))
    caller = await gate.admit(gate.signed(proof=proof))
    assert (await gate.guard.may(caller, "predict", "models/alpha")).until > NOW
    with pytest.raises(OutOfScope):
        await gate.guard.may(caller, "predict", "models/beta")
    with pytest.raises(BadPattern):
        await gate.guard.may(caller, "predict", "models/*")


async def test_whether_a_right_still_holds_is_asked_of_the_facts_of_the_moment() -> None:
    gate = Gate()
    caller = await gate.admit(gate.signed())
    assert (await gate.guard.still(caller)).until > NOW
    gate.world.revoke(gate.path[0])
    with pytest.raises(Revoked):
        await gate.guard.still(caller)


async def test_what_is_public_needs_nothing_and_is_the_very_path() -> None:
    gate = Gate()
    assert await gate.guard.enter(gate.request("GET", "/healthz")) is None
    for method, path in (("POST", "/healthz"), ("GET", "/healthz/"), ("GET", "/Healthz"), ("GET", "//healthz")):
        with pytest.raises(NotMapped):
            await gate.guard.enter(gate.request(method, path))


async def test_a_dry_run_lets_through_and_says_what_it_would_refuse(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(dry_run=True)
    assert await gate.guard.enter(gate.request()) is None
    assert await gate.guard.enter(gate.signed()) is not None
    assert [entry["code"] for entry in gate.entries] == ["http.not_signed", "ok"]
    assert "would refuse POST /models/alpha/infer" in caplog.text


def test_a_guard_without_a_name_of_its_service_cannot_be_made() -> None:
    gate = Gate()
    with pytest.raises(BadSetting):
        Guard(gate.world.id("home"), RULES, facts=gate.facts, authorities=[])


# Rules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "",
        "models/alpha/infer",
        "/models//infer",
        "//models/alpha/infer",
        "/models/alpha/infer/",
        "/models/./infer",
        "/models/../infer",
        "/models/%2e%2e/infer",
        "/models/a%2Fb/infer",
        "/models/a%2fb/infer",
        "/models/a%5Cb/infer",
        "/models/a\\b/infer",
        "/models/a%00/infer",
        "/models/%zz/infer",
        "/models/%ff/infer",
        "/models/+/infer",
        "/models/*/infer",
        "/models/%2A/infer",
        "/models/a b/infer",
        "/models/a;v=1/infer",
        "/models/é/infer",
        "/models/alpha/INFER",
    ],
)
def test_a_path_that_could_be_read_in_two_ways_is_mapped_by_none(path: str) -> None:
    with pytest.raises(NotMapped):
        RULES.wanted("POST", path)


def test_a_path_is_mapped_as_the_application_reads_it() -> None:
    assert RULES.wanted("POST", "/models/%61lpha/infer").resource == "models/alpha"
    assert RULES.wanted("POST", INFER) == RULES.wanted("POST", "/models/alpha/infer")


def test_the_first_rule_that_fits_decides_and_a_star_is_any_method() -> None:
    rules = Rules([Rule("GET", "/a/{x}", "list", "first/{x}"), Rule("*", "/a/{x}", "admin", "second/{x}")])
    assert rules.wanted("GET", "/a/1").resource == "first/1"
    assert rules.wanted("DELETE", "/a/1").resource == "second/1"


@pytest.mark.parametrize(
    ("path", "permission", "place"),
    [
        ("models", "predict", "x"),
        ("/models/{Model}", "predict", "x"),
        ("/a/x{b}", "predict", "x"),
        ("/a?b", "predict", "x"),
        ("/a/{b}/{b}", "predict", "x"),
        ("/a", "predict", "{b}"),
        ("/a", "predict", "*"),
        ("/a", "fly", "x"),
    ],
)
def test_a_rule_that_cannot_be_kept_cannot_be_made(path: str, permission: str, place: str) -> None:
    with pytest.raises(BadSetting):
        Rule("GET", path, permission, place)


async def test_a_permission_of_another_set_is_another_permission() -> None:
    gate = Gate()
    rules = [Rule("POST", "/models/{model}/infer", "predict", "models/{model}", gate.world.id("acme"))]
    guard = gate.another(rules=Rules(rules))
    with pytest.raises(OutOfScope):
        await guard.admit(gate.signed())
    own = gate.world.proof(gate.world.grant("home", "bob", gate.world.right("acme:predict@home/*")))
    assert await guard.admit(gate.signed(proof=own))
    assert (
        f'set="{id_text(gate.world.id("acme"))}"'
        in (guard.refusal("POST", INFER, NotSigned("x")).headers["WWW-Authenticate"])
    )
