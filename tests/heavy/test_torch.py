"""TorchScript models in their replicas: as scikit-learn's and ONNX's in gateway/test_frameworks.py."""

import io
import warnings
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices.gateway.containers import load
from devices.gateway.replica import MIB
from tests.gateway.booth import QUICK, Booth
from wave.errors import BadModel

ROWS = [[0.0, 0.0], [1.0, 0.25], [0.2, 1.0], [0.6, 0.5]]


@pytest.fixture
async def booth(tmp_path: Path) -> AsyncIterator[Booth]:
    """A gateway whose replicas have time to import torch."""
    found = Booth(tmp_path, bounds=replace(QUICK, loading=60.0, answering=10.0, memory=512 * MIB))
    async with found.engine.running():
        yield found


def scripted(module: Any) -> bytes:
    """Return a module as the file that a gateway is given."""
    import torch

    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of writing it: people have such files
        torch.jit.save(torch.jit.script(module), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def linear() -> Any:
    """Two inputs, three outputs, the same in every run."""
    import torch

    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh()).eval()


async def test_a_torchscript_model_answers_in_its_replica_as_it_does_here(booth: Booth, linear: Any) -> None:
    import torch

    data = scripted(linear)
    with torch.inference_mode():
        scores = linear(torch.tensor(ROWS))
    await booth.deploy(data, model="values", format="torchscript", input_type="floats")
    await booth.deploy(data, model="classes", format="torchscript", input_type="floats", confidence=True)
    values = await booth.engine.infer(booth.engine.pool_of("values"), ROWS)
    for found, wanted in zip(values, scores.tolist(), strict=True):
        assert found.value == pytest.approx(wanted, abs=1e-6)
    classes = await booth.engine.infer(booth.engine.pool_of("classes"), ROWS)
    assert [one.value for one in classes] == scores.argmax(dim=1).tolist()
    assert [one.confidence for one in classes] == pytest.approx(
        scores.softmax(dim=1).max(dim=1).values.tolist(), abs=1e-6
    )


async def test_a_file_that_is_no_torchscript_is_not_loaded(booth: Booth) -> None:
    with pytest.raises(BadModel, match="cannot be loaded"):
        await booth.deploy(b"PK\x03\x04 no archive", model="broken", format="torchscript")


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:DeprecationWarning")
def test_numbers_are_of_the_input_type(linear: Any) -> None:
    doubles = load("torchscript", scripted(linear.double()), entry="", input_type="doubles", confidence=False)
    [found] = doubles.predict([[0.1, 0.2]]).outputs
    assert len(found) == 3
