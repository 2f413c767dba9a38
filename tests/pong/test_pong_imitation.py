"""Recorded play, what is learnt from it, and whose rows spoil it."""

import csv
import gzip
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.pong.data import ADA, BEN, CLEO, COLUMNS, DOV, MO, SETS, DataSet, Origin, Player, recorded
from devices.pong.evaluate import evaluate, of_onnx, random_moves
from devices.pong.export import MODEL, export, manifest_of, protect
from devices.pong.imitate import Imitation, as_policy, imitate, train
from devices.pong.why import why
from wave.errors import BadDataSet, MissingFile, TooLarge
from wave.limits import LIMITS

CLEAN = {ADA: 6, BEN: 6, DOV: 6}
SHORT = {ADA: 2, CLEO: 2}


@pytest.fixture(scope="module")
def clean() -> DataSet:
    return recorded(CLEAN)


def test_a_set_is_the_same_wherever_it_is_made() -> None:
    assert recorded(SHORT).sha256 == "e2f063e20a2faf5de2dbb4c41a5f71eb923337c76d228a23deaa3cced6d1c3e3"
    assert recorded(SHORT, seed=1).sha256 != recorded(SHORT).sha256


def test_a_file_holds_the_set_and_goes_by_its_name(tmp_path: Path) -> None:
    data = recorded(SHORT)
    path = data.write(tmp_path)
    assert path.name == f"{data.sha256}.csv.gz"
    again = DataSet.read(path)
    assert again.sha256 == data.sha256
    assert np.array_equal(again.observations, data.observations)
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
    assert tuple(rows[0]) == COLUMNS
    assert (rows[-1]["player"], rows[-1]["game"], int(rows[-1]["action"])) == ("cleo", "1", data.actions[-1])


def test_every_row_has_an_origin() -> None:
    data = recorded(SHORT)
    assert [(one.player, one.game) for one in data.origins] == [("ada", 0), ("ada", 1), ("cleo", 0), ("cleo", 1)]
    assert sum(one.rows for one in data.origins) == len(data)
    player, game, first, rows = data.origins[2]
    assert set(data.players[first : first + rows]) == {player}
    assert data.steps[first : first + rows].tolist() == list(range(rows))
    assert Origin(player, game, first, rows) == data.origins[2]


def test_the_large_set_holds_the_small_one() -> None:
    assert SETS["small"].items() <= SETS["large"].items()
    few = recorded({**SHORT, MO: 1})
    assert few.without(["mo"]).sha256 == recorded(SHORT).sha256


def test_a_broken_recorder_notes_random_actions_of_a_real_game() -> None:
    whole, broken = recorded({replace(MO, broken=False): 6}), recorded({MO: 6})
    assert broken.steps[-1] == broken.steps.max(), "the games are long"
    counts = np.bincount(broken.actions) / len(broken)
    assert counts == pytest.approx([1 / 3] * 3, abs=0.03)
    assert np.bincount(whole.actions)[0] / len(whole) > 0.45, "who plays mostly waits"


HEAD = ",".join(COLUMNS)
ROW = "ada,0,0,0.4,0,0.6,0.5,-0.3,0.1,0.6,0.5,1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        f"player,{HEAD}\n{ROW}",
        f"{HEAD}\n{ROW},1",
        f"{HEAD}\nada,0,0,0.4,0,0.6,0.5",
        f"{HEAD}\n{ROW[:-1]}3",
        f"{HEAD}\n{ROW.replace('0.4', 'nan')}",
        f"{HEAD}\n{ROW.replace('0.4', 'x')}",
        f"{HEAD}\n{ROW.replace('ada,0', 'ada,99999999999999999999')}",
        f"{HEAD}\n{ROW.replace('ada', 'ädä')}",
        f'{HEAD}\n"{ROW}',
        f"{HEAD}\n{ROW.replace('ada', 'a' * 65)}",
        f"{HEAD}\n{ROW.replace('ada', 'ada' + chr(0))}",
    ],
    ids="empty no_row other_columns more less no_action nan no_number no_game not_ascii quote long nul".split(),  # noqa: SIM905
)
def test_a_file_that_is_no_recorded_play_is_refused(text: str, tmp_path: Path) -> None:
    assert len(DataSet.parse(f"{HEAD}\n{ROW}\n".encode())) == 1
    (path := tmp_path / "data.csv.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(BadDataSet):
        DataSet.read(path)


def test_a_file_that_is_not_compressed_cut_or_absent_is_refused(tmp_path: Path) -> None:
    path = recorded({ADA: 1}).write(tmp_path)
    packed = path.read_bytes()
    for data in (b"player,game", packed[:-20], packed[:200] + bytes(20) + packed[220:]):
        path.write_bytes(data)
        with pytest.raises(BadDataSet):
            DataSet.read(path)
    with pytest.raises(MissingFile):
        DataSet.read(tmp_path / "nothing.csv.gz")


def test_a_file_is_not_read_beyond_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = recorded({ADA: 1})
    path = data.write(tmp_path)
    for text, packed, error in (
        (len(data.text), path.stat().st_size, None),
        (len(data.text) - 1, path.stat().st_size, BadDataSet),
        (len(data.text), path.stat().st_size - 1, TooLarge),
    ):
        bounds = replace(LIMITS, recording_text_bytes=text, recording_bytes=packed)
        monkeypatch.setattr("devices.pong.data.LIMITS", bounds)
        if error is None:
            assert DataSet.read(path).sha256 == data.sha256
        else:
            with pytest.raises(error):
                DataSet.read(path)


def test_a_set_has_no_more_players_than_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.pong.data.LIMITS", replace(LIMITS, recording_players=2))
    assert DataSet.parse(recorded({ADA: 1, CLEO: 1}).text).names == ("ada", "cleo")
    with pytest.raises(BadDataSet, match="more than 2 players"):
        DataSet.parse(recorded({ADA: 1, BEN: 1, CLEO: 1}).text)


def test_imitation_learns(clean: DataSet) -> None:
    learnt = evaluate(as_policy(imitate(clean)), episodes=60, seeds=(1,))
    chance = evaluate(random_moves(1), episodes=60, seeds=(1,))
    assert learnt.mean - 3 * learnt.error > chance.mean + 3 * chance.error
    assert learnt.mean > 1.5 * chance.mean


def test_a_network_learns_too(clean: DataSet) -> None:
    learnt = evaluate(as_policy(imitate(clean, Imitation("network", rounds=8))), episodes=60, seeds=(1,))
    assert learnt.mean - 3 * learnt.error > 60, "which random moves survive"


def test_there_is_no_other_classifier(clean: DataSet) -> None:
    with pytest.raises(BadDataSet, match="no kind of classifier"):
        imitate(clean, Imitation("oracle"))


@pytest.mark.parametrize("kind", ["tree", "network"])
def test_the_model_that_is_served_is_the_one_that_was_trained(kind: str, clean: DataSet) -> None:
    how = Imitation(kind, rounds=2)
    trained = train(clean, how)
    policy = as_policy(imitate(clean, how))
    seen = clean.observations[:2_000]
    assert np.array_equal(of_onnx(trained.onnx)(seen), policy(seen))
    assert trained.parameters["kind"] == kind
    assert train(clean, how).onnx == trained.onnx, "the same rows make the same model"


def test_a_model_is_exported_by_its_content(tmp_path: Path, clean: DataSet) -> None:
    policy = train(clean).onnx
    path = export(policy, tmp_path)
    assert export(policy, tmp_path) == path
    manifest = manifest_of(protect(policy), "1")
    manifest.check(path.read_bytes())
    assert (path.stem, manifest.model, manifest.format) == (manifest.sha256, MODEL, "onnx")


@pytest.mark.parametrize(
    ("culprit", "longer"), [(BEN, 40), (replace(DOV, name="zoe"), 40)], ids=["one of the players", "one who came later"]
)
def test_the_player_who_spoils_a_set_is_named_and_their_rows(culprit: Player, longer: int) -> None:
    players = {**CLEAN, replace(culprit, broken=True): longer}
    data = recorded({player: games for player, games in players.items() if player != culprit})
    told: list[str] = []
    answer = why(data, episodes=45, seeds=(1, 2), report=told.append)
    assert answer.named == (culprit.name,)
    assert {one.origin.player for one in answer.games} == {culprit.name}
    assert sum(one.origin.rows for one in answer.games) == np.count_nonzero(data.players == culprit.name)
    contradicted = sum(one.contradicted for one in answer.games)
    assert 0.6 < contradicted / sum(one.origin.rows for one in answer.games) < 0.75, "two in three, by chance"
    assert answer.restored.mean > 1.3 * answer.whole.mean
    assert told[:2] == ["all rows", f"without {data.names[0]}"]


def test_nobody_is_named_where_nobody_spoils(clean: DataSet) -> None:
    answer = why(clean, episodes=45, seeds=(1, 2))
    assert (answer.named, answer.games) == ((), ())
    assert answer.restored == answer.whole
    assert [one.player for one in answer.suspects] == ["ada", "ben", "dov"]


def test_one_player_alone_is_not_judged() -> None:
    answer = why(recorded({ADA: 2}), episodes=5, seeds=(1,))
    assert (answer.suspects, answer.named) == ((), ())
