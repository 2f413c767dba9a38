"""Tests that need what `make setup-heavy` adds. Where it is missing they are skipped, and fail in CI.

Ray is told to keep to this machine before any test imports it.
"""

import importlib.util
import os
import warnings
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import pytest_asyncio

from devices.gateway.ray import LOCAL, Autoscaling, RayCluster, RaySettings, keep_to_oneself

MISSING = [name for name in ("ray", "torch", "mlflow") if importlib.util.find_spec(name) is None]

keep_to_oneself(os.environ)
os.environ.setdefault("RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "0.5")  # ten seconds else
if not MISSING:
    with warnings.catch_warnings(action="ignore"):  # Ray's own imports are full of what others have deprecated
        importlib.import_module("ray.serve")


STILL_RUNNING = r"subprocess \d+ is still running"  # ray.shutdown kills its processes, and does not wait for them


def pytest_configure(config: pytest.Config) -> None:
    """Let pass what Ray leaves behind, in tests and after the last one."""
    config.addinivalue_line("filterwarnings", f"ignore:{STILL_RUNNING}:ResourceWarning")
    warnings.filterwarnings("ignore", STILL_RUNNING, ResourceWarning)


class Absent(pytest.Module):
    """A module of tests that cannot run here."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        reason = f"{' and '.join(MISSING)} missing: run make setup-heavy"
        if "WAVE_CI" in os.environ:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collect a module only where all is there that it imports."""
    return Absent.from_parent(parent, path=module_path) if MISSING else None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[RayCluster]:
    """A Ray cluster of one's own, in which a replica takes little; the model ``elastic`` scales with its load."""
    elastic = Autoscaling(1, 2, target_ongoing_requests=1.0, upscale_delay_s=0.5)
    settings = RaySettings(LOCAL, num_cpus=0.1, by_model={"elastic": elastic})
    async with RayCluster(settings, "tests").running() as found:
        yield found
