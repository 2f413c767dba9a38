"""Where an agent keeps its state and what it talks to: from the environment, with the XDG directories as defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from wave.entities.keyring import Keyring
from wave.errors import BadSetting

EMBEDDED: Final = "embedded"
_LONGEST_SOCKET_PATH: Final = 100  # the kernel takes 107 bytes


@dataclass(frozen=True, slots=True)
class Settings:
    """``home``: the state directory; ``chain``: ``embedded`` or an RPC URL; ``agent``: a path, a URL or None."""

    home: Path
    chain: str = EMBEDDED
    agent: str | None = None
    entity: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return what ``WAVE_HOME``, ``WAVE_CHAIN``, ``WAVE_AGENT`` and ``WAVE_ENTITY`` say; :class:`BadSetting`."""
        home = environment.get("WAVE_HOME")
        if not home:
            user = Path(environment.get("HOME") or "~").expanduser()
            home = str(Path(environment.get("XDG_DATA_HOME") or user / ".local/share") / "wave")
        path = Path(home)
        if not path.is_absolute():
            path = Path.cwd() / path
        chain = environment.get("WAVE_CHAIN") or EMBEDDED
        if chain != EMBEDDED and not chain.startswith(("http://", "https://", "unix:")):
            raise BadSetting(
                "WAVE_CHAIN names no chain",  # and may hold a key: it is not repeated
                hint="set it to 'embedded' or to a URL such as http://127.0.0.1:8545",
            )
        return cls(path, chain, environment.get("WAVE_AGENT") or None, environment.get("WAVE_ENTITY") or None)

    @property
    def socket(self) -> Path:
        """The Unix socket on which this home's agent listens; :class:`BadSetting` when its path is too long for one."""
        path = self.home / "agent.sock"
        if len(str(path).encode()) > _LONGEST_SOCKET_PATH:
            raise BadSetting(f"{path} is too long for a socket", hint="choose a shorter WAVE_HOME")
        return path

    @property
    def token_file(self) -> Path:
        """The file with the token that callers over TCP must show."""
        return self.home / "agent.token"

    @property
    def keyring(self) -> Keyring:
        """The entities that have a local name."""
        return Keyring(self.home / "keys")
