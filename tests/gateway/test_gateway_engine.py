"""The engine with real worker processes: rollout, faults of every kind, and answers in time all the same."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pytest

from devices.gateway.app import NO_MODEL, Prediction
from devices.gateway.batching import Waiting
from devices.gateway.pool import WorkerPool
from devices.gateway.replica import MIB
from devices.gateway.selection import NO_ANSWER
from devices.gateway.store import ModelStore
from tests.gateway.booth import QUICK, SUM, Booth, says
from tests.world import DAY
from wave.errors import (
    AlreadyExists,
    BadModel,
    BadQuery,
    BadSetting,
    ModelAltered,
    ModelRaised,
    ReplicaLost,
    Revoked,
    UnknownApplication,
    UnknownModel,
    UnsignedModel,
)
from wave.limits import LIMITS

FAULTY = b"""
import os, time
kept = []
def predict(rows):
    for row in rows:
        if row == "raise": raise ValueError("no such thing")
        if row == "hang": time.sleep(60)
        if row == "die": os._exit(3)
        if row == "leak": kept.append(bytearray(80 << 20))
        if row == "grab": bytearray(4 << 30)
        if row == "nan": return [float("nan")] * len(rows)
        if row == "short": return []
        if row == "print": print("said by the model")
    return [row.upper() for row in rows]
"""


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - processes set no event
            await asyncio.sleep(0.01)


async def test_versions_are_deployed_rolled_back_and_scaled(booth: Booth) -> None:
    engine = booth.engine
    await booth.deploy(says("'one'"), "1")
    booth.serve("app", "sum")
    assert (await engine.predict("app", [1.0]))[1:] == ("one", False, "", ("sum/1",), None)
    await booth.deploy(says("'two'"), "2")
    assert (await engine.predict("app", [1.0])).output == "two", "what the cache knew was of the version before"
    assert (await engine.predict("app", [1.0], "1")).output == "one"
    assert await engine.use("sum") == "1"
    assert (await engine.predict("app", [1.0])).output == "one"
    await booth.deploy(says("'three'"), "3")
    late = await engine.predict("app", [1.0], "2")
    assert late.default, "two versions back is not loaded any more"
    assert await engine.use("sum", "2") == "2"
    assert (await engine.predict("app", [2.0])).output == "two"
    await engine.scale("sum", 3)
    assert len(engine.pool_of("sum").processes) == 3
    await engine.scale("sum", 1)
    assert len(engine.pool_of("sum").processes) == 1
    for number in (0, LIMITS.model_replicas + 1):
        with pytest.raises(BadQuery):
            await engine.scale("sum", number)
    with pytest.raises(UnknownModel):
        await engine.use("sum", "9")
    with pytest.raises(UnknownModel):
        await engine.use("other")


async def test_a_version_that_does_not_load_changes_nothing(booth: Booth) -> None:
    await booth.deploy(says("'one'"), "1")
    booth.serve("app", "sum")
    for number, broken in enumerate(
        (b"def predict(rows:", b"raise OSError('no')", b"import os; os._exit(1)", b"x = 1")
    ):
        with pytest.raises(BadModel):
            await booth.deploy(broken, f"b{number}")
    with pytest.raises(BadModel):
        await booth.deploy(b"not onnx", "c", format="onnx")
    assert (await booth.engine.predict("app", [1.0])).output == "one"
    assert [*booth.engine.models["sum"].versions] == ["1"]


async def test_a_version_is_one_file_for_ever(booth: Booth) -> None:
    await booth.deploy(says("'one'"), "1")
    with pytest.raises(AlreadyExists):
        await booth.deploy(says("'other'"), "1")
    with pytest.raises(AlreadyExists):
        await booth.deploy(says("'one'"), "1", confidence=True)
    await booth.deploy(says("'one'"), "1")


async def test_a_version_that_is_forgotten_leaves_nothing_behind(booth: Booth) -> None:
    for version in ("1", "2", "3"):
        await booth.deploy(says(f"'{version}'"), version)
    for version in ("2", "3"):
        with pytest.raises(BadQuery):
            await booth.engine.forget("sum", version)
    with pytest.raises(UnknownModel):
        await booth.engine.forget("sum", "4")
    await booth.engine.forget("sum", "1")
    assert [one.version for one in ModelStore(booth.directory)] == ["2", "3"]
    booth.serve("app", "sum")
    await booth.deploy(says("'another'"), "1")
    assert (await booth.engine.predict("app", [1.0])).output == "another"


async def test_as_many_versions_are_kept_as_the_bound_says(booth: Booth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.gateway.app.LIMITS", type(LIMITS)(model_versions=2, models=1))
    await booth.deploy(says("1"), "1")
    await booth.deploy(says("2"), "2")
    with pytest.raises(BadSetting):
        await booth.deploy(says("3"), "3")
    with pytest.raises(BadSetting):
        await booth.deploy(says("1"), "1", model="other")
    booth.serve("app", "sum")
    with pytest.raises(BadSetting):
        booth.serve("more")


async def test_what_is_deployed_has_to_be_what_was_announced(booth: Booth) -> None:
    with pytest.raises(BadModel):
        await booth.engine.deploy(booth.signed(), SUM, expected=("sum", "2"))
    with pytest.raises(UnsignedModel):
        await booth.engine.deploy(b"", SUM)
    with pytest.raises(ModelAltered):
        await booth.engine.deploy(booth.signed(), SUM + b"#")
    assert booth.engine.models == {}


async def test_a_model_that_raises_hangs_dies_or_answers_nonsense(booth: Booth) -> None:
    """Each spoils its own question alone: what was asked with it is answered."""
    engine = booth.engine
    await booth.deploy(FAULTY, model="faulty", input_type="strings")
    booth.serve("app", "faulty", input_type="strings", default_output="?", objective=4.0)
    bad = ("raise", "hang", "die", "nan", "short", "grab")
    for one in ("warm", *"abcdefgh"):
        await engine.predict("app", one)
    answers = await asyncio.gather(*[engine.predict("app", one) for one in (*bad, "good", "print")])
    told = dict(zip((*bad, "good", "print"), answers, strict=True))
    assert [told[one].output for one in ("good", "print")] == ["GOOD", "PRINT"]
    assert all(told[one].default and told[one].output == "?" for one in bad)
    assert "no such thing" in told["raise"].explanation
    assert "MemoryError" in told["grab"].explanation
    assert "0 answers" in told["short"].explanation
    pool = engine.pool_of("faulty")
    with pytest.raises(ModelRaised):
        await engine.infer(pool, ["raise"])
    with pytest.raises(ReplicaLost):
        await engine.infer(pool, ["die"])
    assert [one.value for one in await engine.infer(pool, ["after"])] == ["AFTER"]


async def test_a_model_that_leaks_memory_is_replaced_between_batches(booth: Booth) -> None:
    await booth.deploy(FAULTY, model="faulty", input_type="strings")
    booth.serve("app", "faulty", input_type="strings")
    [before] = booth.engine.pool_of("faulty").processes
    assert (await booth.engine.predict("app", "leak")).output == "LEAK"
    assert (await booth.engine.predict("app", "next")).output == "NEXT"
    await until(lambda: booth.engine.pool_of("faulty").processes not in ([], [before]))


async def test_a_hanging_models_callers_get_the_default_in_time(booth: Booth) -> None:
    await booth.deploy(FAULTY, model="faulty", input_type="strings")
    booth.serve("app", "faulty", input_type="strings", default_output="?", objective=0.1)
    began = perf_counter()
    found = await booth.engine.predict("app", "hang")
    assert perf_counter() - began < 0.6
    assert found[1:] == ("?", True, NO_ANSWER, (), None)


async def test_a_replica_that_is_killed_is_missed_by_nobody(booth: Booth) -> None:
    await booth.deploy(
        b"import time\ndef predict(rows):\n    time.sleep(0.02)\n    return [sum(row) for row in rows]\n"
    )
    await booth.engine.scale("sum", 2)
    booth.serve("app", "sum")
    asked = [asyncio.create_task(booth.engine.predict("app", [float(row), 0.5])) for row in range(60)]
    await asyncio.sleep(0.05)
    before = booth.engine.pool_of("sum").processes
    os.kill(before[0], signal.SIGKILL)
    assert [one.output for one in await asyncio.gather(*asked)] == [row + 0.5 for row in range(60)]
    await until(lambda: len(booth.engine.pool_of("sum").processes) == 2)
    assert b"wave_gateway_replicas_lost_total" in booth.metrics.text()


async def test_an_idle_replica_that_dies_comes_back(booth: Booth) -> None:
    await booth.deploy()
    [before] = booth.engine.pool_of("sum").processes
    os.kill(before, signal.SIGKILL)
    await until(lambda: booth.engine.pool_of("sum").processes not in ([], [before]))


async def test_the_same_question_asked_at_once_goes_to_the_model_once(booth: Booth) -> None:
    await booth.deploy(b"n = 0\ndef predict(rows):\n    global n\n    n += len(rows)\n    return [n] * len(rows)\n")
    booth.serve("app", "sum")
    answers = await asyncio.gather(*[booth.engine.predict("app", [1.0]) for _ in range(20)])
    assert {one.output for one in answers} == {1}
    assert len({one.query_id for one in answers}) == 20
    assert (await booth.engine.predict("app", [2.0])).output == 2
    assert (booth.engine.cache.joined, booth.engine.cache.misses) == (19, 2)


async def test_a_full_queue_is_answered_by_the_default_at_once(booth: Booth) -> None:
    await booth.deploy(b"import time\ndef predict(rows):\n    time.sleep(0.5)\n    return [1] * len(rows)\n")
    booth.serve("app", "sum", objective=3.0)
    pool = booth.engine.pool_of("sum")
    assert isinstance(pool, WorkerPool)
    pool._waiting = Waiting(bound=20)
    answers = [asyncio.create_task(booth.engine.predict("app", [float(row)])) for row in range(30)]
    done, rest = await asyncio.wait(answers, timeout=0.2)
    assert {one.result().explanation for one in done} == {"20 questions wait for the model already"}
    assert len(done) in (9, 10), "one may have been taken out of the queue by then"
    assert not any(one.cancel() for one in done)
    for one in rest:
        one.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


async def test_an_application_without_a_model_answers_its_default(booth: Booth) -> None:
    booth.serve("app", default_output={"action": 0})
    assert await booth.engine.predict("app", [1.0]) == Prediction(1, {"action": 0}, True, NO_MODEL, (), None)
    with pytest.raises(UnknownApplication):
        await booth.engine.predict("other", [1.0])


async def test_links_are_of_one_input_type_and_can_be_cut(booth: Booth) -> None:
    await booth.deploy(input_type="strings")
    with pytest.raises(BadSetting):
        booth.serve("app", "sum")
    with pytest.raises(UnknownModel):
        booth.engine.link("app", "other")
    booth.serve("words", "sum", input_type="strings")
    booth.engine.unlink("words", "sum")
    assert (await booth.engine.predict("words", "x")).explanation == NO_MODEL
    with pytest.raises(UnknownModel):
        booth.engine.unlink("words", "sum")
    booth.engine.remove("words")
    with pytest.raises(UnknownApplication):
        booth.engine.application("words")


async def test_feedback_turns_an_application_to_its_better_model(booth: Booth) -> None:
    for name in ("good", "bad"):
        await booth.deploy(says(f"'{name}'"), model=name)
    booth.serve("app", "good", "bad", policy="exp4", rate=1.0)
    for row in range(6):
        await booth.engine.learn("app", [float(row)], "good")
    weights = booth.engine.application("app").policy.weights
    assert weights["good"] == 1.0
    assert weights["bad"] < 0.1
    found = await booth.engine.predict("app", [1.0])
    assert (found.output, found.models) == ("good", ("good/1", "bad/1"))
    assert found.confidence is not None
    assert found.confidence > 0.9
    with pytest.raises(BadQuery):
        await booth.engine.predict("app", [1.0], "1")


async def test_a_gateway_that_starts_again_serves_what_it_did(tmp_path: Path) -> None:
    booth = Booth(tmp_path)
    async with booth.engine.running():
        await booth.deploy(says("'one'"), "1")
        await booth.deploy(says("'two'"), "2")
        booth.serve("app", "sum", policy="exp3")
        booth.engine.application("app").policy.weights = {"sum": 0.5}
        await booth.engine.scale("sum", 2)
    async with booth.another().running() as engine:
        assert (await engine.predict("app", [1.0])).output == "two"
        assert len(engine.pool_of("sum").processes) == 2
        assert engine.application("app").policy.weights == {"sum": 0.5}
        assert await engine.use("sum") == "1"
    assert (tmp_path / "gateway.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("fault", ["altered", "gone", "revoked", "expired"])
async def test_a_gateway_that_starts_again_loads_nothing_that_is_not_signed_still(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    booth = Booth(tmp_path)
    async with booth.engine.running():
        await booth.deploy(says("'one'"), "1")
        booth.serve("app", "sum")
        file = tmp_path / "models" / "sum" / "1" / "model"
        if fault == "altered":
            file.write_bytes(says("'spoilt'"))
            with pytest.raises(ModelAltered):
                await booth.engine.scale("sum", 2)
            assert (await booth.engine.predict("app", [1.0])).output == "one"
        elif fault == "gone":
            file.unlink()
        elif fault == "expired":
            booth.world.pass_time(31 * DAY)
        else:
            booth.world.revoke(booth.may_admin)
            with pytest.raises(Revoked):
                await booth.engine.use("sum", "1")
    with caplog.at_level(logging.WARNING):
        async with booth.another().running() as engine:
            assert (await engine.predict("app", [1.0])).explanation == NO_MODEL
    assert "is not loaded" in caplog.text


async def test_a_model_that_takes_too_long_to_load_is_given_up(tmp_path: Path) -> None:
    booth = Booth(tmp_path, bounds=replace(QUICK, loading=0.3))
    async with booth.engine.running():
        with pytest.raises(BadModel):
            await booth.deploy(b"import time\ntime.sleep(60)\n")


async def test_a_replica_has_nothing_of_the_gateways_environment_and_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVE_PASSPHRASE", "secret")
    booth = Booth(tmp_path, bounds=replace(QUICK, memory=128 * MIB))
    async with booth.engine.running():
        await booth.deploy(
            b"import os\ndef predict(rows):\n    return [[[n for n in os.environ if n.startswith('WAVE')], "
            b"os.listdir('/proc/self/fd')]] * len(rows)\n"
        )
        booth.serve("app", "sum")
        names, descriptors = (await booth.engine.predict("app", [1.0])).output
        assert names == []
        assert len(descriptors) <= 5, "standard streams, the line and the listing itself"


async def test_the_end_of_the_gateway_is_the_end_of_its_processes(tmp_path: Path) -> None:
    booth = Booth(tmp_path)
    async with booth.engine.running():
        await booth.deploy(FAULTY, model="faulty", input_type="strings")
        [process] = booth.engine.pool_of("faulty").processes
        booth.serve("app", "faulty", input_type="strings", objective=0.05)
        await booth.engine.predict("app", "hang")
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


Ask = Callable[[], Awaitable[Prediction]]


async def test_a_cached_answer_takes_less_than_a_millisecond(booth: Booth) -> None:
    await booth.deploy()
    booth.serve("app", "sum")
    row = [float(one) for one in range(8)]
    await booth.engine.predict("app", row)
    times = []
    for _ in range(50):
        began = perf_counter()
        await booth.engine.predict("app", row)
        times.append(perf_counter() - began)
    assert sorted(times)[25] < 0.001
