"""Imitation: a policy that does what the players of a set did, learnt by scikit-learn.

By default a decision tree that grows until it agrees with every row. It plays like a person on clean rows, and it
believes spoilt ones just as much, which is what the exercise is about.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from devices.pong.data import DataSet
from devices.pong.evaluate import Batch
from devices.pong.field import OBSERVATION
from devices.pong.runs import Trained
from wave.errors import BadDataSet

KINDS: Final = ("tree", "network")
OPSET: Final = 17


@dataclass(frozen=True, slots=True)
class Imitation:
    """How to learn: the ``kind`` of classifier, and the seed of what it draws.

    ``network`` is a multilayer perceptron with two hidden layers of ``width``, trained for so many ``rounds`` at most.
    """

    kind: str = "tree"
    seed: int = 1
    width: int = 32
    rounds: int = 40

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Self:
        """Return what a tracked run says of itself."""
        return cls(**{field.name: json.loads(parameters[field.name]) for field in fields(cls)})


def imitate(data: DataSet, how: Imitation = Imitation()) -> Any:
    """Return a classifier that was fitted to the rows; :class:`BadDataSet`."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # so many rounds were asked for
        return _classifier(how).fit(data.observations, data.actions)


def as_policy(classifier: Any) -> Batch:
    """Return what the classifier does."""
    checked = {"check_input": False} if hasattr(classifier, "tree_") else {}  # a check takes longer than the answer

    def policy(seen: NDArray[np.float32]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = classifier.predict(seen, **checked)
        return found

    return policy


def as_onnx(classifier: Any) -> bytes:
    """Return the classifier as an ONNX graph: ``input`` (n, 8), the ``action`` (n,), and the actions' ``chances``."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    graph = convert_sklearn(
        classifier,
        "pong",
        [("input", FloatTensorType([None, len(OBSERVATION)]))],
        final_types=[
            ("action", Int64TensorType([None])),
            ("chances", FloatTensorType([None, len(classifier.classes_)])),
        ],
        options={id(classifier): {"zipmap": False}},
        target_opset=OPSET,
    )
    data: bytes = graph.SerializeToString()
    return data


def train(data: DataSet, how: Imitation = Imitation()) -> Trained:
    """Return what learning from the rows gave."""
    return Trained(as_onnx(imitate(data, how)), asdict(how), [])


def _classifier(how: Imitation) -> Any:
    if how.kind == "tree":
        from sklearn.tree import DecisionTreeClassifier

        return DecisionTreeClassifier(random_state=how.seed)
    if how.kind == "network":
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(
            (how.width, how.width), max_iter=how.rounds, n_iter_no_change=how.rounds, tol=0.0, random_state=how.seed
        )
    raise BadDataSet(f"there is no kind of classifier {how.kind[:40]!r}", hint=f"there are {', '.join(KINDS)}")
