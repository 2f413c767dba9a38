"""What answers questions in a worker: one interface over a Python function, scikit-learn, ONNX Runtime and PyTorch.

Each library is imported when a model of its kind is loaded. The bytes are those of a file whose manifest was signed by
an entity with the right to (:mod:`devices.gateway.model`): that is what allows for running or unpickling them.
"""

import base64
import io
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

Rows = Sequence[Any]
"""Questions: each a text, bytes, a number or a list (of lists) of numbers."""


class Answers(NamedTuple):
    """One output for each question, and how sure the model is of each (0 to 1), if it says so."""

    outputs: list[Any]
    confidences: list[float] | None


class Container(Protocol):
    """A loaded model."""

    def predict(self, rows: Rows) -> Answers:
        """Answer all the questions; whatever it raises is the model's fault."""
        ...


NUMBERS: Final = {"integers": "int64", "floats": "float32", "doubles": "float64"}
TENSORS: Final = {
    "tensor(bool)": "bool",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(string)": "object",
}


def load(kind: str, data: bytes, *, entry: str, input_type: str, confidence: bool) -> Container:
    """Return the model in ``data``; raises whatever its library raises."""
    return _KINDS[kind](data, entry, input_type, confidence)


class _Python:
    """A Python file whose function ``entry`` takes the questions and returns as many outputs."""

    def __init__(self, data: bytes, entry: str, input_type: str, confidence: bool) -> None:  # noqa: FBT001
        names: dict[str, Any] = {"__name__": "wave_model"}
        exec(compile(data.decode("utf-8"), "model", "exec"), names)  # noqa: S102 - signed
        self._answer: Callable[[Rows], Any] = names[entry]
        self._input_type = input_type
        self._confidence = confidence

    def predict(self, rows: Rows) -> Answers:
        given = [base64.b64decode(row) for row in rows] if self._input_type == "bytes" else list(rows)
        found = list(self._answer(given))
        if not self._confidence:
            return Answers(plain(found), None)
        return Answers(plain([one for one, _ in found]), [float(sure) for _, sure in found])


class _Sklearn:
    """A pickled estimator with ``predict``, and ``predict_proba`` when it is to say how sure it is."""

    def __init__(self, data: bytes, entry: str, input_type: str, confidence: bool) -> None:  # noqa: ARG002, FBT001
        import joblib

        self._model = joblib.load(io.BytesIO(data))
        self._input_type = input_type
        self._confidence = confidence

    def predict(self, rows: Rows) -> Answers:
        given = _array(rows, self._input_type)
        if not self._confidence:
            return Answers(plain(self._model.predict(given)), None)
        chances = self._model.predict_proba(given)
        return Answers(plain(self._model.classes_[chances.argmax(axis=1)]), plain(chances.max(axis=1)))


class _Onnx:
    """An ONNX graph with one input: the first output is the answer; a second one may hold the classes' chances."""

    def __init__(self, data: bytes, entry: str, input_type: str, confidence: bool) -> None:  # noqa: ARG002, FBT001
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        taken = self._session.get_inputs()
        if len(taken) != 1 or taken[0].type not in TENSORS:
            raise ValueError("a graph with one input, a tensor, is wanted")
        if confidence and len(self._session.get_outputs()) != 2:
            raise ValueError("a graph with two outputs, the classes and their chances, is wanted")
        self._input = taken[0]
        self._confidence = confidence

    def predict(self, rows: Rows) -> Answers:
        import numpy as np

        given = np.asarray(rows, dtype=TENSORS[self._input.type])
        if given.ndim == 1 and len(self._input.shape) == 2:  # a column of lone values
            given = given[:, None]
        found = self._session.run(None, {self._input.name: given})
        if not self._confidence:
            outputs = found[0]
            lone = outputs.ndim == 2 and outputs.shape[1] == 1
            return Answers(plain(outputs[:, 0] if lone else outputs), None)
        chances = found[1]
        sure = [max(one.values()) if isinstance(one, dict) else max(one) for one in chances]
        return Answers(plain(found[0]), [float(one) for one in sure])


class _TorchScript:
    """A TorchScript module; when it is to say how sure it is, its outputs are the classes' scores."""

    def __init__(self, data: bytes, entry: str, input_type: str, confidence: bool) -> None:  # noqa: ARG002, FBT001
        import torch

        self._torch = torch
        self._model = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
        self._input_type = input_type
        self._confidence = confidence

    def predict(self, rows: Rows) -> Answers:
        with self._torch.inference_mode():
            scores = self._model(self._torch.tensor(rows, dtype=getattr(self._torch, NUMBERS[self._input_type])))
            if not self._confidence:
                return Answers(plain(scores), None)
            chances = self._torch.softmax(scores, dim=1).max(dim=1)
        return Answers(plain(chances.indices), plain(chances.values))


_KINDS: Final[dict[str, Callable[[bytes, str, str, bool], Container]]] = {
    "python": _Python,
    "sklearn": _Sklearn,
    "onnx": _Onnx,
    "torchscript": _TorchScript,
}


def _array(rows: Rows, input_type: str) -> Any:
    if input_type not in NUMBERS:
        return list(rows)
    import numpy as np

    given = np.asarray(rows, dtype=NUMBERS[input_type])
    return given.reshape(len(rows), -1) if given.ndim == 1 else given


def plain(values: Any) -> list[Any]:
    """Return arrays and scalars of numerical libraries as the plain values that JSON has."""
    found = values.tolist() if hasattr(values, "tolist") else values
    return [_plain(one) for one in found]


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"the model answered {value}, which is no number")
    return value
