"""The files from which Mosquitto starts locked: nobody in it but the lock, the gate shut, and a bridge to itself.

They are written anew before every start, so that a broker which restarts while no lock runs lets nobody in.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from wave.bus.dynsec import CONTROL, GATE, GATE_TOPIC
from wave.bus.mqtt_line import Account
from wave.bus.mqtt_topic import CREDENTIALS, ROOT
from wave.entities.keyring import read_text, write_file
from wave.errors import BadSetting, MissingFile

LOCK: Final = "wave-lock"
PLUGINS: Final = (
    "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so",
    "/usr/lib/aarch64-linux-gnu/mosquitto_dynamic_security.so",
    "/usr/lib/arm-linux-gnueabihf/mosquitto_dynamic_security.so",
    "/usr/lib/mosquitto_dynamic_security.so",
    "/usr/local/lib/mosquitto_dynamic_security.so",
)
CONFIGURATION: Final = "mosquitto.conf"
_LISTENER: Final = re.compile(r"^listener ([0-9]{1,5}) ", re.MULTILINE)
_ITERATIONS: Final = 101  # Mosquitto's own; the passwords are 24 random bytes
_SALT: Final = 12
_PASSWORD: Final = 24


def prepare(
    directory: Path,
    port: int,
    *,
    draw: Callable[[int], bytes],
    plugin: str | None = None,
    user: str | None = None,
    also: str = "",
) -> tuple[Path, Account]:
    """Write a locked broker's files into ``directory``; return its configuration and the lock's account.

    It listens on ``port`` of loopback; ``also`` are lines of its configuration for further listeners. The lock's
    password is kept from one start to the next. :class:`BadSetting` without Mosquitto's plugin.
    """
    found = plugin or next((one for one in PLUGINS if Path(one).exists()), None)
    if found is None:
        raise BadSetting(
            "Mosquitto's dynamic-security plugin is not where it is looked for",
            hint="install Mosquitto 2, and name the file with --plugin",
        )
    account, bridge = lock_account(directory, draw), _password(draw)
    state = json.dumps(_state(account.password, bridge, draw), indent=1)
    write_file(directory / "dynamic-security.json", state.encode(), mode=0o600, replace=True)
    configuration = directory / CONFIGURATION
    text = _configuration(directory, port=port, plugin=found, bridge=bridge, user=user, also=also)
    write_file(configuration, text.encode(), mode=0o600, replace=True)
    return configuration, account


def lock_account(directory: Path, draw: Callable[[int], bytes] | None = None) -> Account:
    """Return the lock's account with the broker of ``directory``, drawn once; :class:`MissingFile` without ``draw``."""
    path = directory / "lock.password"
    try:
        return Account(LOCK, read_text(path, private=True).strip())
    except MissingFile as error:
        if draw is None:
            raise MissingFile(error.message, hint=_first(directory)) from None
    password = _password(draw)
    write_file(path, f"{password}\n".encode(), mode=0o600)
    return Account(LOCK, password)


def port_of(directory: Path) -> int:
    """Return the port of the broker whose files :func:`prepare` wrote; :class:`MissingFile`, :class:`BadSetting`."""
    path = directory / CONFIGURATION
    try:
        found = _LISTENER.search(read_text(path, private=True))
    except MissingFile as error:
        raise MissingFile(error.message, hint=_first(directory)) from None
    if found is None:
        raise BadSetting(f"{path} names no port", hint=_first(directory))
    return int(found[1])


def _first(directory: Path) -> str:
    return f"'wave mqtt broker {directory}' writes it: run that first"


def _password(draw: Callable[[int], bytes]) -> str:
    return base64.urlsafe_b64encode(draw(_PASSWORD)).decode("ascii")


def _configuration(directory: Path, *, port: int, plugin: str, bridge: str, user: str | None, also: str) -> str:
    """Return Mosquitto's configuration. The bridge carries the lock's will to where the broker takes commands."""
    lines = [
        "per_listener_settings false",
        f"listener {port} 127.0.0.1",
        "allow_anonymous true",
        "persistence false",
        f"plugin {plugin}",
        f"plugin_opt_config_file {directory / 'dynamic-security.json'}",
        *([f"user {user}"] if user else []),
        "connection wave-gate",
        f"address 127.0.0.1:{port}",
        f'topic "" out 1 {GATE_TOPIC} {CONTROL}',
        "bridge_protocol_version mqttv50",
        "notifications false",
        "try_private false",
        "restart_timeout 1",
        f"remote_username {GATE}",
        f"remote_password {bridge}",
        also,
    ]
    return "\n".join(lines) + "\n"


def _state(lock: str, bridge: str, draw: Callable[[int], bytes]) -> dict[str, Any]:
    answers = f"{CONTROL}/response"
    return {
        "defaultACLAccess": {
            "publishClientSend": False,
            "publishClientReceive": False,
            "subscribe": False,
            "unsubscribe": True,
        },
        "clients": [_client(LOCK, lock, draw), _client(GATE, bridge, draw)],
        "groups": [],
        "roles": [
            {
                "rolename": LOCK,
                "acls": [
                    _rule("publishClientSend", CONTROL),
                    _rule("publishClientSend", GATE_TOPIC),
                    _rule("publishClientSend", f"{ROOT}/{CREDENTIALS}/+"),
                    _rule("publishClientReceive", answers),
                    _rule("subscribePattern", answers),
                ],
            },
            {"rolename": f"{GATE}-bridge", "acls": [_rule("publishClientSend", CONTROL)]},
        ],
    }


def _client(name: str, password: str, draw: Callable[[int], bytes]) -> dict[str, Any]:
    salt = draw(_SALT)
    stretched = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS, 64)
    return {
        "username": name,
        "roles": [{"rolename": LOCK if name == LOCK else f"{GATE}-bridge"}],
        "password": base64.b64encode(stretched).decode("ascii"),
        "salt": base64.b64encode(salt).decode("ascii"),
        "iterations": _ITERATIONS,
    }


def _rule(kind: str, topic: str) -> dict[str, Any]:
    return {"acltype": kind, "topic": topic, "priority": 0, "allow": True}
