"""The log of decisions: what was altered, left out, put in or cut off is noticed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guard.gate import Gate
from wave.errors import BadLog, MissingFile, NotSigned, StateLocked, StateUnwritable, UnknownDecision
from wave.guard.log import DecisionLog, find_decision, read_log, verify_log


@pytest.fixture
async def kept(tmp_path: Path) -> Path:
    """A log of three requests let through and one refused."""
    log = DecisionLog(tmp_path / "decisions.log")
    gate = Gate(record=log.write)
    for _ in range(3):
        await gate.admit(gate.signed())
    with pytest.raises(NotSigned):
        await gate.admit(gate.request())
    log.close()
    return log.path


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_log_holds_every_decision_and_verifies(kept: Path) -> None:
    assert [entry["code"] for entry in read_log(kept)] == ["ok", "ok", "ok", "http.not_signed"]
    assert verify_log(kept).lines == 4
    refused = list(read_log(kept))[3]
    assert find_decision(kept, refused["decision"]) == refused
    with pytest.raises(UnknownDecision):
        find_decision(kept, "0" * 32)
    assert kept.stat().st_mode & 0o077 == 0


ALTERED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a word changed": lambda old: [old[0].replace(b'"ok"', b'"no"'), *old[1:]],
    "the last line changed": lambda old: [*old[:3], old[3].replace(b"http.", b"HTTP.")],
    "a line left out": lambda old: [old[0], *old[2:]],
    "the first line left out": lambda old: old[1:],
    "two lines exchanged": lambda old: [old[1], old[0], *old[2:]],
    "a line put in": lambda old: [*old[:2], old[1], *old[2:]],
    "the last line cut off": lambda old: old[:3],
    "cut within a line": lambda old: [*old[:3], old[3][:-9]],
    "the newline cut off": lambda old: [*old[:3], old[3][:-1]],
    "all of it gone": lambda _: [],
    "no JSON": lambda old: [b"{\n", *old[1:]],
    "no object": lambda old: [b"[]\n", *old[1:]],
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_was_done_to_a_log_is_noticed(kept: Path, what: str) -> None:
    kept.write_bytes(b"".join(ALTERED[what](lines(kept))))
    with pytest.raises(BadLog):
        verify_log(kept)


@pytest.mark.parametrize("data", [b"", b"x", bytes(40), None])
def test_what_was_done_to_the_head_is_noticed(kept: Path, data: bytes | None) -> None:
    head = kept.with_name(kept.name + ".head")
    noted = verify_log(kept)
    if data is None:
        head.unlink()
    else:
        head.write_bytes(data)
        kept.write_bytes(b"".join(lines(kept)[:2]))
    with pytest.raises(BadLog):
        verify_log(kept, head=str(noted))


def test_a_head_noted_elsewhere_tells_a_log_written_anew(kept: Path, tmp_path: Path) -> None:
    noted = str(verify_log(kept))
    again = DecisionLog(tmp_path / "again.log")
    for entry in read_log(kept):
        again.write({**entry, "code": "ok"})
    again.close()
    assert verify_log(again.path).lines == 4
    assert verify_log(kept, head=noted)
    for head in (noted, "9" + noted, "x", "1:zz"):
        with pytest.raises(BadLog):
            verify_log(again.path, head=head)


def test_a_log_goes_on_where_it_ended(kept: Path) -> None:
    log = DecisionLog(kept)
    with pytest.raises(StateLocked):
        DecisionLog(kept)
    log.write({"code": "ok", "decision": "x"})
    log.close()
    assert verify_log(kept).lines == 5


def test_a_process_killed_between_a_line_and_its_head_or_within_a_line_loses_nothing(kept: Path) -> None:
    head = kept.with_name(kept.name + ".head")
    before = head.read_bytes()
    log = DecisionLog(kept)
    log.write({"code": "ok"})
    log.close()
    head.write_bytes(before)
    assert verify_log(kept).lines == 5
    kept.write_bytes(kept.read_bytes() + b'{"number":6,"bef')
    log = DecisionLog(kept)
    log.write({"code": "ok"})
    log.close()
    assert verify_log(kept).lines == 6


def test_a_log_that_was_altered_at_its_end_is_not_gone_on_with(kept: Path) -> None:
    kept.write_bytes(b"".join(lines(kept)[:3]))
    with pytest.raises(BadLog):
        DecisionLog(kept)


def test_a_line_too_long_is_written_short(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log")
    log.write({"code": "no", "decision": "d", "missing": "x" * 70_000})
    log.close()
    assert list(read_log(log.path)) == [{"code": "no", "decision": "d"}]


def test_a_log_that_cannot_be_written_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DecisionLog(tmp_path / "log")
    log.write({"code": "ok"})
    monkeypatch.setattr("os.write", lambda *_: 3)
    with pytest.raises(StateUnwritable):
        log.write({"code": "ok"})
    monkeypatch.undo()
    log.close()
    assert verify_log(log.path).lines == 1


async def test_a_guard_that_cannot_log_lets_nobody_through(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log")
    gate = Gate(record=log.write)
    log.close()
    with pytest.raises(StateUnwritable):
        await gate.admit(gate.signed())


def test_there_is_no_log_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        verify_log(tmp_path / "none")


def test_lines_are_json_that_other_tools_read(kept: Path) -> None:
    first = json.loads(lines(kept)[0])
    assert first["number"] == 1
    assert first["permission"] == "predict"
