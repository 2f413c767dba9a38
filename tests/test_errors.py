"""Errors: codes that never change meaning, and the form that travels."""

import re
from collections.abc import Mapping

import pytest

from wave.errors import (
    Expired,
    InputError,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
    WaveError,
    codes,
    from_problem,
)

# A code once shipped keeps its meaning for ever: a line may be added here and none changed.
PINNED = {
    "input": "InputError",
    "refused": "Refused",
    "not_found": "NotFound",
    "unavailable": "Unavailable",
    "object.malformed": "Malformed",
    "object.not_canonical": "NotCanonical",
    "object.unknown_version": "UnknownVersion",
    "object.wrong_kind": "WrongKind",
    "batch.bad": "BadBatch",
    "limit.exceeded": "TooLarge",
    "armour.bad": "BadArmour",
    "pattern.bad": "BadPattern",
    "grant.bad": "BadGrant",
    "condition.bad": "BadCondition",
    "time.bad": "BadTime",
    "name.bad": "BadName",
    "secret.passphrase": "BadPassphrase",
    "secret.mode": "SecretFileMode",
    "secret.corrupt": "SecretFileCorrupt",
    "exists": "AlreadyExists",
    "device.fault": "DeviceFault",
    "entity.in_use": "EntityInUse",
    "signature.bad": "BadSignature",
    "proof.none": "NoProof",
    "proof.not_found": "UnknownProof",
    "message.before_restart": "BeforeRestart",
    "message.rolled_back": "RolledBack",
    "router.wrong": "WrongRouter",
    "router.full": "RouterFull",
    "proof.broken_path": "BrokenPath",
    "proof.wrong_root": "WrongRoot",
    "proof.wrong_namespace": "WrongNamespace",
    "proof.wrong_subject": "WrongSubject",
    "proof.missing_entity": "MissingEntity",
    "dot.too_many_hops": "TooManyHops",
    "dot.out_of_scope": "OutOfScope",
    "dot.expired": "Expired",
    "dot.not_yet_valid": "NotYetValid",
    "dot.revoked": "Revoked",
    "entity.expired": "EntityExpired",
    "entity.not_yet_valid": "EntityNotYetValid",
    "entity.revoked": "EntityRevoked",
    "condition.failed": "ConditionFailed",
    "condition.missing_value": "ConditionMissing",
    "condition.unknown": "ConditionUnknown",
    "facts.stale": "StaleFacts",
    "facts.behind": "FactsBehind",
    "facts.ahead": "FactsAhead",
    "facts.not_stapled": "NotStapled",
    "facts.untrusted_block": "UntrustedBlock",
    "chain.reorganised": "ChainReorganised",
    "chain.quorum": "NoQuorum",
    "chain.answer_too_large": "AnswerTooLarge",
    "chain.fees": "FeesTooHigh",
    "chain.funds": "OutOfFunds",
    "chain.pending": "StillPending",
    "request.method": "WrongMethod",
    "http.not_signed": "NotSigned",
    "http.signature": "BadHttpSignature",
    "http.digest": "BadDigest",
    "http.authority": "WrongAuthority",
    "http.header_too_large": "HeaderTooLarge",
    "http.body_too_large": "BodyTooLarge",
    "guard.not_mapped": "NotMapped",
    "proof.unknown": "ProofWanted",
    "session.unknown": "UnknownSession",
    "log.altered": "BadLog",
    "chain.header": "BadHeader",
    "chain.state_proof": "BadStateProof",
    "page.origin": "WrongOrigin",
    "page.owner": "OwnerWanted",
    "page.invitation": "BadInvitation",
    "query.bad": "BadQuery",
    "model.bad": "BadModel",
    "model.unsigned": "UnsignedModel",
    "model.altered": "ModelAltered",
    "model.not_found": "UnknownModel",
    "app.not_found": "UnknownApplication",
    "model.fault": "ModelFault",
    "model.raised": "ModelRaised",
    "model.lost": "ReplicaLost",
    "model.busy": "ModelBusy",
    "model.late": "ModelLate",
}
ALL = sorted(codes().items())


@pytest.mark.parametrize(("code", "name"), PINNED.items())
def test_a_code_keeps_its_meaning(code: str, name: str) -> None:
    """Logs and programs know errors by code."""
    assert codes()[code].__name__ == name


@pytest.mark.parametrize(("code", "cls"), ALL, ids=[code for code, _ in ALL])
def test_every_error_belongs_to_a_family(code: str, cls: type[WaveError]) -> None:
    """Whoever catches the four families misses nothing, and each leaf keeps its family's exit status."""
    families = {InputError: 3, Refused: 1, NotFound: 1, Unavailable: 4}
    [family] = families.keys() & {*cls.__mro__}
    assert cls.exit_status == families[family]
    assert cls.code == code
    assert re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", code)
    assert cls.__doc__


@pytest.mark.parametrize(("code", "cls"), ALL, ids=[code for code, _ in ALL])
def test_an_error_comes_back_from_its_problem_details(code: str, cls: type[WaveError]) -> None:
    """A daemon's client raises what the daemon raised."""
    sent = cls("what is wrong", hint="what to do", decision="d" * 32)
    details = sent.problem()
    raised = from_problem(details)
    assert type(raised) is cls
    assert (raised.message, raised.hint, raised.decision) == (sent.message, sent.hint, sent.decision)
    assert details["status"] == cls.http_status
    assert details["code"] == code
    assert details["type"] == f"urn:wave:error:{code}"


def test_a_family_has_its_http_status() -> None:
    """RFC 9110: bad input is 400, a no 403, nothing there 404, cannot tell 503; only a missing token is 401."""
    statuses = {family: family.http_status for family in (InputError, Refused, NotFound, Unavailable, Unauthorized)}
    assert list(statuses.values()) == [400, 403, 404, 503, 401]


def test_a_code_cannot_be_taken_twice() -> None:
    """A duplicate fails where it is defined, at import."""
    with pytest.raises(TypeError, match=r"dot\.expired"):
        type("Copy", (Refused,), {"code": "dot.expired"})
    assert codes()["dot.expired"] is Expired


def test_a_class_without_a_code_of_its_own_cannot_be_defined() -> None:
    """It would answer with its parent's."""
    with pytest.raises(TypeError, match=r"dot\.expired"):
        type("Nameless", (Expired,), {})


def test_the_table_of_codes_cannot_be_changed_from_outside() -> None:
    """What callers get is a copy."""
    table = codes()
    assert isinstance(table, dict)
    table.clear()
    assert codes()


def test_a_hint_can_be_left_to_the_class_or_said_or_left_out() -> None:
    """The class's hint is for whoever says none."""
    cls = codes()["facts.stale"]
    assert cls("m").hint == cls.default_hint != ""
    assert cls("m", hint="h").hint == "h"
    assert cls("m", hint="").hint == ""
    assert "hint" not in cls("m", hint="").problem()
    assert "decision" not in cls("m").problem()


@pytest.mark.parametrize("details", [{}, {"code": "no.such"}, {"code": None}, {"code": ["x"], "detail": 5}])
def test_a_problem_that_is_not_known_is_unavailable_and_never_a_yes(details: Mapping[str, object]) -> None:
    """An answer that cannot be read is no answer."""
    error = from_problem(details)
    assert type(error) is Unavailable
    assert error.message
    assert error.code == "unavailable"
