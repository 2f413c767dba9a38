"""systemd units for the daemons, shut in as far as they can be: ``systemd-analyze security`` rates them 1.1 or better.

All run as the user ``wave``, so that they reach the agent's private socket. Secrets are credentials: systemd reads them
as root from where the administrator keeps them, and shows them to one unit alone. People's homes and temporary files
are hidden; what a unit needs of them is bound in, to be read, at the path where it stands.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

USER: Final = "wave"
AGENT: Final = "agent"
AGENT_SOCKET: Final = f"%S/{USER}/{AGENT}/agent.sock"
WATCHDOG: Final = 60  # seconds of silence after which a daemon is started anew
STOP: Final = 90  # seconds for an ordered stop, of a home of a thousand

HOMES: Final = tuple(map(Path, ("/home", "/root", "/run/user")))
TEMPORARY: Final = tuple(map(Path, ("/tmp", "/var/tmp")))  # noqa: S108 - nothing is written there

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")

_HARDENING: Final = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome={home}
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateTmp=yes
PrivateUsers=yes
PrivateMounts=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
"""


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret file of the administrator's, under the name by which the unit sees it."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Runtime:
    """A file in the unit's runtime directory."""

    name: str


Word = str | Credential | Runtime


@dataclass(frozen=True, slots=True)
class Service:
    """A daemon as a unit: ``wave-<name>.service`` runs ``program`` with ``words``."""

    name: str
    description: str
    program: tuple[str, ...]
    words: tuple[Word, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    hardware: tuple[str, ...] = ()
    """Device nodes that it may use, such as /dev/gpiochip0; without any it sees none."""
    files: tuple[Path, ...] = ()
    """Files and directories that it reads, its credentials aside: the program, and what the command line names."""
    only_here: bool = False
    """Whether it has nobody to speak to but this machine."""

    @property
    def unit(self) -> str:
        """The unit's file name."""
        return f"wave-{self.name}.service"

    @property
    def bound(self) -> tuple[Path, ...]:
        """Those of its files that would be hidden from it."""
        hidden = sorted({one for one in self.files if _lies_in(one, (*HOMES, *TEMPORARY))})
        return tuple(one for one in hidden if not any(one != two and one.is_relative_to(two) for two in hidden))

    @property
    def fleeting(self) -> tuple[Path, ...]:
        """Those of its files and credentials that a restart of the machine removes."""
        read = {*self.files, *(word.path for word in self.words if isinstance(word, Credential))}
        return tuple(sorted(one for one in read if _lies_in(one, TEMPORARY)))

    def text(self) -> str:
        """Return the unit file."""
        agent = self.name == AGENT
        needs = "network-online.target" if agent else f"network-online.target wave-{AGENT}.service"
        directory = f"{USER}/{self.name}"
        credentials = dict.fromkeys(word for word in self.words if isinstance(word, Credential))
        environment = {"WAVE_HOME": f"%S/{directory}"} | ({} if agent else {"WAVE_AGENT": AGENT_SOCKET})
        environment |= {name: _escape(value) for name, value in self.environment.items()}
        program = [_word(one) for one in self.program]
        words = [self._said(word) for word in self.words]
        lines = [
            f"# /etc/systemd/system/{self.unit}",
            f"# Once: useradd --system --no-create-home {USER}",
            f"# Then: systemctl daemon-reload && systemctl enable --now {self.unit}",
            "[Unit]",
            f"Description={_escape(self.description)}",
            f"After={needs}",
            f"Wants={needs}",
            "",
            "[Service]",
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStart={' '.join((*program, *words))}",
            f"WatchdogSec={WATCHDOG}",
            f"TimeoutStopSec={STOP}",
            "Restart=on-failure",
            "RestartSec=5",
            f"User={USER}",
            f"Group={USER}",
            f"StateDirectory={directory}",
            "StateDirectoryMode=0700",
            f"RuntimeDirectory={directory}",
            "RuntimeDirectoryMode=0700",
            *[f'Environment="{name}={value}"' for name, value in environment.items()],
            *[f"LoadCredential={one.name}:{_escape(str(one.path))}" for one in credentials],
            *[f"BindReadOnlyPaths={_bound(one)}" for one in self.bound],
            "LimitNOFILE=16384",
            *(("DevicePolicy=closed", *(f"DeviceAllow={_escape(one)} rw" for one in self.hardware))),
            *(() if self.hardware else ("PrivateDevices=yes",)),
            *(("IPAddressDeny=any", "IPAddressAllow=localhost") if self.only_here else ()),
            _HARDENING.format(home=self._home()),
            "[Install]",
            "WantedBy=multi-user.target",
        ]
        return "\n".join(lines) + "\n"

    def _home(self) -> str:
        """Return how people's homes are hidden: behind empty ones when something in them is bound in."""
        return "tmpfs" if any(_lies_in(one, HOMES) for one in self.bound) else "yes"

    def _said(self, word: Word) -> str:
        match word:
            case Credential(name):
                return f"%d/{name}"
            case Runtime(name):
                return f"%t/{USER}/{self.name}/{name}"
            case str():
                return _word(word)


def _lies_in(path: Path, places: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(one) for one in places)


def _bound(path: Path) -> str:
    """Return a path as a source that is bound to where it stands."""
    text = _escape(str(path)).replace("\\", "\\\\").replace('"', '\\"').replace(":", "\\:")
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def _escape(text: str) -> str:
    """Return ``text`` with nothing in it that systemd would put something else for."""
    if any(not one.isprintable() for one in text):
        text = "".join(one for one in text if one.isprintable())
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """Return one word of a command line, in quotes where it needs them."""
    text = _escape(text).replace("$", "$$")
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
