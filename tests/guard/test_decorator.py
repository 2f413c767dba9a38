"""Guarded functions: a call without a ticket for itself is refused."""

import inspect
import pickle
from itertools import count
from typing import Any

import pytest

from tests.guard.gate import Gate
from wave.bus.message import Accepted, Message
from wave.dots.proof import Proof
from wave.errors import (
    BadPayload,
    BadSetting,
    BadSignature,
    ConditionFailed,
    NotSigned,
    OutOfScope,
    Replayed,
    Revoked,
    WaveError,
    WrongPurpose,
    WrongSender,
)
from wave.guard.decorator import Ticket, guarded, is_guarded, sign_call
from wave.namespace.condition import where

NUMBERS = count()


def ticket(gate: Gate, function: Any, *args: Any, name: str = "bob", proof: Any = None, **more: Any) -> Ticket:
    return sign_call(
        gate.world.entity(name),
        proof or gate.proof,
        function,
        *args,
        created=gate.world.now,
        nonce=next(NUMBERS).to_bytes(16),
        **more,
    )


def predicting(gate: Gate) -> Any:
    @guarded(gate.guard, permission="predict", resource="models/{model}")
    async def predict(model: str, rows: int = 1, *, caller: Accepted) -> tuple[str, int, bytes]:
        return model, rows, caller.message.sender

    return predict


async def test_a_call_with_its_ticket_is_carried_out_and_told_who_calls() -> None:
    gate = Gate()
    predict = predicting(gate)
    bob = gate.world.id("bob")
    assert await predict(ticket(gate, predict, "alpha"), "alpha") == ("alpha", 1, bob)
    assert await predict(ticket(gate, predict, "alpha", rows=2), model="alpha", rows=2) == ("alpha", 2, bob)
    assert is_guarded(predict)
    assert not is_guarded(print)


def test_a_plain_function_is_guarded_by_a_guard_made_when_it_is_needed() -> None:
    gate = Gate()

    @guarded(lambda: gate.guard, namespace=gate.world.id("home"), permission="predict", resource="models/fixed")
    def predict(row: list[float]) -> float:
        return sum(row)

    shown = pickle.loads(pickle.dumps(ticket(gate, predict, [1.0, 2.0])))
    assert predict(shown, [1.0, 2.0]) == 3.0
    with pytest.raises(Replayed):
        predict(shown, [1.0, 2.0])
    with pytest.raises(NotSigned):
        predict([1.0, 2.0])


def test_the_form_of_a_call_has_the_ticket_and_no_caller() -> None:
    """Ray holds callers to it."""

    class Model:
        @guarded(Gate().guard, permission="predict", resource="models/{model}")
        def ask(self, model: str, rows: int = 1, *, caller: Accepted) -> None: ...

    assert [*inspect.signature(inspect.unwrap(Model.ask)).parameters] == ["self", "wave_ticket", "model", "rows"]
    assert [*inspect.signature(predicting(Gate())).parameters] == ["wave_ticket", "model", "rows"]


async def test_a_call_is_refused_without_a_ticket_of_its_own() -> None:
    gate = Gate()
    predict = predicting(gate)
    other = guarded(gate.guard, permission="predict", resource="models/{model}")(lambda model: model)
    narrow = gate.world.proof(gate.world.grant("home", "bob", "predict@home/models/beta"))
    eve = gate.world.proof(gate.path, also="eve")
    good = ticket(gate, predict, "alpha")
    forged = Ticket(good.message[:-1] + bytes([good.message[-1] ^ 1]), good.proof)
    cases: list[tuple[type[WaveError], Any]] = [
        (NotSigned, None),
        (WrongPurpose, ticket(gate, predict, "beta")),
        (WrongPurpose, ticket(gate, predict, "alpha", rows=2)),
        (WrongPurpose, ticket(gate, other, "alpha")),
        (OutOfScope, ticket(gate, predict, "alpha", proof=narrow)),
        (WrongSender, ticket(gate, predict, "alpha", name="eve", proof=eve)),
        (BadSignature, forged),
    ]
    for kind, shown in cases:
        with pytest.raises(kind):
            await predict(shown, "alpha")
    assert await predict(good, "alpha")
    with pytest.raises(Replayed):
        await predict(good, "alpha")
    with pytest.raises(BadPayload):
        await predict(ticket(gate, predict, "alpha"), "alpha", caller="root")
    gate.world.revoke(gate.path[0])
    with pytest.raises(Revoked):
        await predict(ticket(gate, predict, "alpha"), "alpha")


async def test_a_ticket_for_another_namespace_is_refused() -> None:
    gate = Gate()

    def away(model: str) -> str:
        return model

    elsewhere = guarded(lambda: gate.guard, namespace=gate.world.id("away"), permission="predict", resource="{model}")
    function = elsewhere(away)
    here = guarded(gate.guard, permission="predict", resource="{model}")(away)
    for made, kind in ((function, WrongPurpose), (here, None)):
        shown = ticket(gate, made, "alpha")
        message, proof = Message.from_bytes(shown.message), Proof.from_bytes(shown.proof)
        if kind is None:
            assert (await gate.guard.admit_call(message, proof, "predict")).message is message
        else:
            with pytest.raises(kind):
                await gate.guard.admit_call(message, proof, "predict")


async def test_arguments_are_held_to_the_bounds_of_the_grant() -> None:
    gate = Gate()
    predict = predicting(gate)
    dot = gate.world.grant("home", "bob", "predict@home/*", conditions=(where("rows 1..10"),))
    proof = gate.world.proof(dot)
    assert await predict(ticket(gate, predict, "alpha", rows=10, proof=proof), "alpha", rows=10)
    with pytest.raises(ConditionFailed):
        await predict(ticket(gate, predict, "alpha", rows=11, proof=proof), "alpha", rows=11)


@pytest.mark.parametrize("rows", [object(), float("nan"), {1: 2}, b"bytes"])
def test_arguments_that_are_no_json_cannot_be_signed(rows: Any) -> None:
    gate = Gate()
    with pytest.raises(BadPayload):
        ticket(gate, predicting(gate), "alpha", rows=rows)


def test_a_call_that_does_not_fit_the_function_cannot_be_signed() -> None:
    gate = Gate()
    predict = predicting(gate)
    for args in ((), ("alpha", 1, 2), (1,)):
        with pytest.raises(BadPayload):
            ticket(gate, predict, *args)
    with pytest.raises(BadSetting):
        ticket(gate, print)


def test_a_decorator_that_cannot_be_kept_cannot_be_made() -> None:
    gate = Gate()
    with pytest.raises(BadSetting):
        guarded(lambda: gate.guard, permission="predict", resource="x")
    with pytest.raises(BadSetting):
        guarded(gate.guard, permission="predict", resource="models/{model}")(lambda x: x)
