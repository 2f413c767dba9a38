"""What GATEWAY.toml says of Ray, and what happens where there is none. The cluster itself: heavy/test_ray_engine.py."""

from pathlib import Path

import pytest

from cli.main import main
from devices.gateway.plan import GatewayPlan
from devices.gateway.ray import LOCAL, Autoscaling, RayCluster, RaySettings, keep_to_oneself
from wave.errors import BadSetting, ClusterUnavailable
from wave.limits import LIMITS

PLAN = """
namespace = "home.ent"
engine = "ray"

[ray]
address = "10.0.0.1:6379"
num_cpus = 0.5
autoscaling = { max_replicas = 4 }

[model.sum]
file = "sum.py"

[model.best]
file = "best.py"
autoscaling = { min_replicas = 2, max_replicas = 8, target_ongoing_requests = 1, upscale_delay_s = 0 }
"""


def test_a_plan_says_how_models_scale() -> None:
    plan = GatewayPlan.parse(PLAN)
    assert (plan.engine, plan.ray.address, plan.ray.num_cpus, plan.ray.scales) == ("ray", "10.0.0.1:6379", 0.5, True)
    assert plan.ray.of("sum") == Autoscaling(max_replicas=4)
    assert plan.ray.of("best") == Autoscaling(2, 8, 1, 0)
    assert [one.replicas for one in plan.models] == [1, 2]
    options = Autoscaling(2, 8).options(3)
    assert (options["min_replicas"], options["max_replicas"]) == (3, 8)
    assert Autoscaling(1, 2).options(5)["max_replicas"] == 5, (
        "whoever scales a model up says how many there are at least"
    )


def test_models_run_in_processes_of_the_gateways_own_unless_told() -> None:
    plan = GatewayPlan.parse('namespace = "home.ent"')
    assert (plan.engine, plan.ray, plan.ray.scales) == ("embedded", RaySettings(LOCAL, 1.0), False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"ray"', '"other"'),
        ('"ray"', "1"),
        ('"10.0.0.1:6379"', "1"),
        ("num_cpus = 0.5", "num_cpus = -1"),
        ("num_cpus = 0.5", "num_cpus = inf"),
        ("num_cpus = 0.5", "cpus = 1"),
        ("{ max_replicas = 4 }", "4"),
        ("{ max_replicas = 4 }", "{ min_replicas = 1 }"),
        ("{ max_replicas = 4 }", "{ max_replicas = 4, other = 1 }"),
        ("max_replicas = 8", "max_replicas = 1"),
        ("max_replicas = 8", f"max_replicas = {LIMITS.model_replicas + 1}"),
        ("max_replicas = 8", "max_replicas = 8.0"),
        ("target_ongoing_requests = 1", "target_ongoing_requests = 0"),
        ("target_ongoing_requests = 1", "target_ongoing_requests = inf"),
        ("upscale_delay_s = 0", "upscale_delay_s = nan"),
        ("upscale_delay_s = 0", "upscale_delay_s = -1"),
        ("upscale_delay_s = 0", 'upscale_delay_s = "1"'),
    ],
)
def test_a_plan_that_cannot_be_kept_says_so(old: str, new: str) -> None:
    assert old in PLAN
    with pytest.raises(BadSetting):
        GatewayPlan.parse(PLAN.replace(old, new))


@pytest.mark.parametrize("address", ["somewhere", "host:", ":1", "host:x", "ray://127.0.0.1:10001"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(BadSetting):
        async with RayCluster(RaySettings(address), "none").running():
            pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1"])
async def test_a_cluster_that_is_not_there_is_said_to_be_so(address: str) -> None:
    with pytest.raises(ClusterUnavailable, match="there is no Ray cluster"):
        async with RayCluster(RaySettings(address), "none").running():
            pass


def test_a_cluster_of_ones_own_keeps_to_this_machine_and_to_those_who_know_its_token() -> None:
    one: dict[str, str] = {"RAY_AUTH_MODE": "disabled"}
    other: dict[str, str] = {}
    keep_to_oneself(one)
    keep_to_oneself(other)
    assert one["RAY_AUTH_MODE"] == "token"
    assert one["RAY_USAGE_STATS_ENABLED"] == "0"
    assert len(one["RAY_AUTH_TOKEN"]) == 64
    assert one["RAY_AUTH_TOKEN"] != other["RAY_AUTH_TOKEN"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--engine", "ray", "--ray-address", "127.0.0.1:1"], 4, "there is no Ray cluster at '127.0.0.1:1'"),
        (["--engine", "ray", "--ray-address", "elsewhere"], 3, "no address of a Ray cluster"),
        (["--engine", "embedded", "--ray-address", "auto"], 2, "--ray-address goes with --engine ray"),
        (["--engine", "embedded"], 3, "only the engine ray scales models with their load"),
        (["--engine", "other"], 2, "'other' is not one of"),
    ],
)
def test_a_gateway_that_cannot_run_there_says_why(  # noqa: PLR0917 - fixtures and cases
    arguments: list[str],
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WAVE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["mkentity", "-o", "home.ent", "--no-passphrase"]) == 0
    (tmp_path / "gateway.toml").write_text(PLAN)
    assert main(["gateway", "run", *arguments, "gateway.toml"]) == status
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
