"""Promises to anchor: what they say, who signed them, and what became of them."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import made
from wave.chain.promise import Promise, judge
from wave.codec import amend, record_bytes
from wave.entities.object import PROMISE, from_text
from wave.errors import BadSignature, BadTime, InputError, Malformed, WrongKind
from wave.limits import LIMITS

AGENT, ELSE = made("agent"), made("somebody else")
REGISTRY = bytes(range(20))
ABOUT = bytes(range(32))


def promise(*, received: int = 10, by: int = 42) -> Promise:
    return Promise.create(AGENT, about=ABOUT, received=received, by=by, chain_id=31337, registry=REGISTRY)


def test_a_promise_comes_back_from_its_bytes_and_its_text() -> None:
    """And says what it was made of."""
    made_one = promise()
    assert Promise.from_bytes(made_one.to_bytes()) == made_one
    assert Promise.from_object(from_text(made_one.to_object().to_text())) == made_one
    fields = made_one.fields
    assert (fields.promiser, fields.object, fields.received, fields.by) == (AGENT.id, ABOUT, 10, 42)
    assert (fields.chain_id, fields.registry) == (31337, REGISTRY)
    assert len({made_one, promise(), promise(by=43)}) == 2
    assert "block 42" in repr(made_one)


def test_only_the_promiser_s_signature_holds() -> None:
    """Under the promiser's key, and over all that it says."""
    signed = promise()
    signed.check(AGENT.entity.verify_key)
    with pytest.raises(BadSignature):
        signed.check(ELSE.entity.verify_key)
    for change in ({"object": bytes(32)}, {"by": 43}, {"received": 9}, {"chain_id": 1}, {"registry": bytes(20)}):
        forged = Promise(record_bytes(amend(signed.fields, **change)), signed.signature)
        with pytest.raises(BadSignature):
            forged.check(AGENT.entity.verify_key)


@pytest.mark.parametrize(("received", "by"), [(10, 10), (10, 9), (-1, 3), (2**53, 2**53 + 1)])
def test_a_promise_is_for_a_later_block(received: int, by: int) -> None:
    """And for one that exists."""
    with pytest.raises(BadTime):
        promise(received=received, by=by)


def test_a_promise_looks_no_further_ahead_than_the_bound_says() -> None:
    """Limits.promise_blocks."""
    assert LIMITS.promise_blocks == 1_024
    assert promise(received=5, by=5 + LIMITS.promise_blocks).fields.by == 1_029
    with pytest.raises(BadTime):
        promise(received=5, by=6 + LIMITS.promise_blocks)


@pytest.mark.parametrize(
    "change", [{"registry": bytes(19)}, {"registry": bytes(21)}, {"object": bytes(31)}, {"version": 2}]
)
def test_what_has_not_the_form_of_a_promise_is_refused(change: dict[str, object]) -> None:
    """Strictly one form."""
    with pytest.raises(Malformed):
        Promise(record_bytes(amend(promise().fields, **change)), bytes(64))


@pytest.mark.parametrize("chain_id", [0, -1, 2**53 + 1])
def test_a_chain_s_id_is_within_reason(chain_id: int) -> None:
    """A number that other programs can read."""
    with pytest.raises(BadTime):
        Promise(record_bytes(amend(promise().fields, chain_id=chain_id)), bytes(64))


def test_another_object_is_no_promise() -> None:
    """Kinds are told apart."""
    with pytest.raises(WrongKind):
        Promise.from_object(AGENT.entity.to_object())
    assert promise().to_object().kind == PROMISE


@given(st.binary(max_size=200))
def test_any_bytes_are_a_promise_or_an_input_error(body: bytes) -> None:
    """No bytes bring a reader down."""
    with suppress(InputError):
        Promise(body, bytes(64))


@pytest.mark.parametrize(
    ("head", "stands", "verdict"),
    [
        (10, None, "pending"),
        (41, None, "pending"),
        (42, None, "broken"),
        (43, None, "broken"),
        (41, 41, "kept"),
        (42, 42, "kept"),
        (99, 1, "kept"),
        (43, 43, "broken"),
        (99, 43, "broken"),
    ],
)
def test_a_promise_is_kept_at_its_block_and_broken_after_it(head: int, stands: int | None, verdict: str) -> None:
    """At the block, and one past it."""
    assert judge(promise().fields, head=head, stands=stands, withheld=()).verdict == verdict


def test_where_data_is_withheld_nobody_can_tell_that_it_was_broken() -> None:
    """The roots in which the object may be are named; what was kept, or is not due, stays so."""
    fields, roots = promise().fields, (bytes(32), ABOUT)
    told = judge(fields, head=50, stands=None, withheld=roots)
    assert (told.verdict, told.withheld) == ("unknown", roots)
    assert judge(fields, head=50, stands=3, withheld=roots).verdict == "kept"
    assert judge(fields, head=41, stands=None, withheld=roots).verdict == "pending"
    assert replace(told, withheld=()).withheld == ()
