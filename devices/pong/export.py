"""From a tracked run to a model that a gateway serves: the file, its protection, what is signed about it."""

import hashlib
from pathlib import Path
from typing import Any, Final

from devices.gateway.model import Manifest
from wave.entities.keyring import write_file

MODEL: Final = "pong"  # and the application that uses it
SUFFIX: Final = ".onnx"
TERMS: Final[dict[str, Any]] = {
    "input_type": "floats",
    "default_output": 0,
    "objective": 0.05,
    "policy": "single",
    "threshold": 0.0,
}
"""Of the application: a paddle that is not told anything within a step of the game stops."""


def export(policy: bytes, directory: Path) -> Path:
    """Write a policy to a file that is named for its SHA-256, unless it is there; :class:`StateUnwritable`."""
    path = directory / f"{hashlib.sha256(policy).hexdigest()}{SUFFIX}"
    if not path.exists():
        write_file(path, policy, replace=True)
    return path


def protect(policy: bytes) -> bytes:
    """Return the policy as it is signed, stored and deployed: as it was.

    The place, and the only one, for encrypting it to ``models/pong/VERSION``; nothing is encrypted so far.
    """
    return policy


def manifest_of(artefact: bytes, version: str) -> Manifest:
    """Return what is signed about a policy; :class:`BadModel`."""
    return Manifest.of(artefact, model=MODEL, version=version, format="onnx", input_type=TERMS["input_type"])
