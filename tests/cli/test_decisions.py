"""A guard's log of decisions on the command line: verified, and asked why, offline."""

from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.guard.gate import Gate
from wave.errors import OutOfScope
from wave.guard.log import DecisionLog


@pytest.fixture
async def refusal(fresh: Shell) -> str:
    """The id of a refusal in decisions.log, which holds it and one request that was let through."""
    log = DecisionLog(fresh.directory / "decisions.log")
    gate = Gate(record=log.write)
    await gate.admit(gate.signed())
    narrow = gate.world.proof(gate.world.grant("home", "bob", "predict@home/models/beta"))
    with pytest.raises(OutOfScope) as caught:
        await gate.admit(gate.signed(proof=narrow))
    log.close()
    assert caught.value.decision
    return caught.value.decision


def test_a_refusal_is_looked_up_with_what_was_missing(fresh: Shell, refusal: str) -> None:
    ran = fresh.done("why", refusal, "--log", "decisions.log")
    assert "dot.out_of_scope" in ran.out
    assert "missing" in ran.out
    assert "could give" in ran.out
    assert fresh.done("why", refusal, "--log", "decisions.log", "--json").json["decision"] == refusal
    assert fresh("why", "0" * 32, "--log", "decisions.log").status == 1


def test_a_log_is_verified_and_what_was_done_to_it_is_an_error(fresh: Shell, refusal: str) -> None:
    told = fresh.done("audit", "--decisions", "decisions.log", "--json").json
    assert told["decisions"] == 2
    assert refusal
    fresh.done("audit", "--decisions", "decisions.log", "--head", told["head"])
    assert fresh("audit", "--decisions", "decisions.log", "--head", f"2:{'0' * 64}").status == 1
    path = Path(fresh.directory / "decisions.log")
    path.write_bytes(path.read_bytes().replace(b'"ok"', b'"no"'))
    ran = fresh("audit", "--decisions", "decisions.log", "--json")
    assert (ran.status, ran.json["code"]) == (1, "log.altered")
    assert fresh("audit", "--decisions", "none.log").status == 1
