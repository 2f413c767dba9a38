"""The search for PPO's parameters: Ray Tune tries some, and gives up early (ASHA) on those that learn slowly."""

import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from devices.gateway.ray import keep_to_oneself

keep_to_oneself(os.environ)
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else it prints a status of its own
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault(
    "TUNE_DISABLE_SIGINT_HANDLER", "1"
)  # by which an interrupted search would look like a finished one

from ray import tune  # noqa: E402 - it reads that when it is loaded
from ray.tune.schedulers import ASHAScheduler  # noqa: E402

from devices.pong.reinforce import RUNNERS, Figures, Settings, cluster, iterate, learner  # noqa: E402
from wave.errors import BadSetting  # noqa: E402

NAME: Final = "search"  # of the directory that a search has
GRACE: Final = 100_000  # steps that each trial may play before it is compared
SPACE: Final[Mapping[str, Any]] = {
    "hidden": tune.choice([32, 64, 128]),
    "learning_rate": tune.loguniform(1e-4, 2e-3),
    "discount": tune.choice([0.98, 0.99, 0.995]),
    "smoothing": tune.choice([0.9, 0.95, 0.98]),
    "entropy": tune.loguniform(1e-4, 1e-2),
    "batch": tune.choice([2_048, 4_096, 8_192]),
    "epochs": tune.choice([4, 6, 10]),
}


class Trial(NamedTuple):
    """What was tried and what came of it: the mean steps of the games while it learnt, at their best."""

    settings: Mapping[str, Any]
    mean_steps: float
    steps: int
    seconds: float
    error: str | None


def _check_own(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        state = path.lstat()
        if state.st_uid != os.getuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise BadSetting(
                f"others may write to {path}", hint="go on only with a search of your own, or name another --dir"
            )


def search(
    directory: Path,
    *,
    trials: int = 8,
    steps: int = 400_000,
    seed: int = 1,
    report: Callable[[Figures], None] = lambda _: None,
    space: Mapping[str, Any] = SPACE,
) -> list[Trial]:
    """Try so many settings, ``steps`` each at most, and return what was found, best first.

    A search that was stopped goes on where it was: its directory holds which trials are done. Ray Tune runs what stands
    there, so one that others may write to is refused: :class:`BadSetting`.
    """
    place = directory.absolute()
    place.mkdir(parents=True, exist_ok=True)
    _Told.report = report
    with cluster():
        kept = str(place / NAME)
        attempt = tune.with_resources(tune.with_parameters(_attempt, seed=seed, steps=steps), {"cpu": 1})
        if tune.Tuner.can_restore(kept):
            _check_own(Path(kept))
            tuner = tune.Tuner.restore(kept, attempt, resume_unfinished=True, restart_errored=True)
        else:
            tuner = tune.Tuner(
                attempt,
                param_space=dict(space),
                tune_config=tune.TuneConfig(
                    metric="mean_steps",
                    mode="max",
                    num_samples=trials,
                    max_concurrent_trials=RUNNERS,
                    search_alg=tune.search.BasicVariantGenerator(random_state=seed),
                    scheduler=ASHAScheduler("steps", max_t=steps, grace_period=min(GRACE, steps), reduction_factor=2),
                ),
                run_config=tune.RunConfig(name=NAME, storage_path=str(place), verbose=0, callbacks=[_Told()]),
            )
        found = tuner.fit()
    return sorted((_trial(result, space) for result in found), key=lambda trial: -trial.mean_steps)


def _attempt(settings: Mapping[str, Any], *, seed: int, steps: int) -> None:
    began = time.monotonic()
    best = 0.0
    with learner(Settings(**settings), seed=seed, runners=0) as algorithm:
        for figures, _ in iterate(algorithm, seed=seed):
            best = max(best, figures["mean_steps"])
            tune.report(figures | {"mean_steps": best, "seconds": round(time.monotonic() - began, 1)})
            if figures["steps"] >= steps:
                return


class _Told(tune.Callback):  # type: ignore[misc] # Ray is not checked
    """Hands each trial's figures on, to the class's ``report``: a search that goes on has its callbacks from a file."""

    report: ClassVar[Callable[[Figures], None]]

    def on_trial_result(self, *_: Any, result: dict[str, Any], **__: Any) -> None:
        type(self).report({name: result[name] for name in ("iteration", "steps", "mean_steps", "seconds")})


def _trial(result: Any, space: Mapping[str, Any]) -> Trial:
    figures = result.metrics or {}
    return Trial(
        {name: figures.get("config", {}).get(name) for name in space},
        float(figures.get("mean_steps", 0.0)),
        int(figures.get("steps", 0)),
        float(figures.get("seconds", 0.0)),
        None if result.error is None else str(result.error).strip().rpartition("\n")[2],
    )
