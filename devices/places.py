"""Where daemons keep what is theirs, by the XDG base directories; ``WAVE_HOME``, when it is set, holds everything."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from platformdirs import PlatformDirs


@dataclass(frozen=True, slots=True)
class Places:
    """``state``: what was received, and whose it is; ``logs``; ``runtime``: sockets; ``settings``: HOME.toml files."""

    state: Path
    logs: Path
    runtime: Path
    settings: Path

    @classmethod
    def of(cls, environment: Mapping[str, str], home: Path) -> Self:
        """Return the places for the agent's state directory ``home``; nothing is created.

        A home that has logs from before they had a place of their own goes on with them there.
        """
        if environment.get("WAVE_HOME"):
            return cls(home / "devices", home / "logs", home / "run", home)
        user = PlatformDirs("wave", appauthor=False)
        old = home / "logs"
        logs = old if old.is_dir() else user.user_log_path
        given = environment.get("XDG_RUNTIME_DIR")  # without one there is no directory that is surely private
        runtime = Path(given) / "wave" if given else home / "run"
        return cls(user.user_state_path / "devices", logs, runtime, user.user_config_path)
