"""Models of scikit-learn and ONNX Runtime in their replicas: the same questions, the same answers."""

import io
from typing import Any

import pytest

from devices.gateway.containers import load
from tests.gateway.booth import Booth

ROWS = [[0.0, 0.0], [1.0, 0.25], [0.2, 1.0], [0.6, 0.5]]


@pytest.fixture(scope="module")
def classifier() -> Any:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(7)
    points = draw.random((200, 2))
    return LogisticRegression().fit(points, np.where(points[:, 0] > points[:, 1], "right", "left"))


def pickled(model: Any) -> bytes:
    import joblib

    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


def graph(model: Any, columns: int, **options: Any) -> bytes:
    import numpy as np
    from skl2onnx import to_onnx

    made = to_onnx(model, np.zeros((1, columns), dtype=np.float32), options=options or None)
    data: bytes = made.SerializeToString()
    return data


async def test_scikit_learn_and_onnx_answer_alike_and_say_how_sure_they_are(booth: Booth, classifier: Any) -> None:
    chances = [max(row) for row in classifier.predict_proba(ROWS)]
    settings: dict[str, Any] = {"input_type": "floats", "confidence": True}
    await booth.deploy(pickled(classifier), model="pickled", format="sklearn", **settings)
    await booth.deploy(graph(classifier, 2, zipmap=False), model="graph", format="onnx", **settings)
    for model in ("pickled", "graph"):
        found = await booth.engine.infer(booth.engine.pool_of(model), ROWS)
        assert [one.value for one in found] == [*classifier.predict(ROWS)], model
        assert [one.confidence for one in found] == pytest.approx(chances, abs=1e-4)


def test_a_classifier_whose_chances_are_maps_says_how_sure_it_is(classifier: Any) -> None:
    found = load("onnx", graph(classifier, 2), entry="", input_type="floats", confidence=True).predict(ROWS)
    assert found.outputs == [*classifier.predict(ROWS)]
    assert found.confidences == pytest.approx([max(row) for row in classifier.predict_proba(ROWS)], abs=1e-4)


@pytest.mark.parametrize("kind", ["sklearn", "onnx"])
def test_a_regression_answers_numbers(kind: str) -> None:
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    data = pickled(model) if kind == "sklearn" else graph(model, 1)
    found = load(kind, data, entry="", input_type="floats", confidence=False).predict([[3.0], [10.0]])
    assert found.outputs == pytest.approx([7.0, 21.0], abs=1e-4)
    assert found.confidences is None
