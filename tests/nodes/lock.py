"""Resolve package.json anew: ``python tests/nodes/lock.py``; needs npm. What it writes, ``make nodes`` installs.

npm's own lock file is tidied: it names no host, and no ``engines``, for npm under an older Node.js would leave out what
hardhat loads, though hardhat runs under the Node.js of this lock. A package for another platform that this
registry does not offer is named all the same, without a digest, since ``npm ci`` demands that the list is complete.
"""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
LOCK = FOLDER / "package-lock.json"
SYSTEMS = ("darwin", "linux", "win32")
LIBRARIES = {"gnu": "glibc", "musl": "musl"}
DROPPED = ("engines", "funding", "license", "resolved")


def for_another_platform(name: str, version: str) -> dict[str, Any]:
    """Return the entry of a package whose name says for which platform it is."""
    words = name.rpartition("/")[2].split("-")
    entry: dict[str, Any] = {"version": version, "cpu": ["arm64" if "arm64" in words else "x64"]}
    if found := [LIBRARIES[word] for word in words if word in LIBRARIES]:
        entry["libc"] = found
    return {**entry, "optional": True, "os": [word for word in words if word in SYSTEMS]}


def tidy(lock: dict[str, Any]) -> dict[str, Any]:
    """Return the lock file complete, and without what it should not say."""
    packages: dict[str, dict[str, Any]] = lock["packages"]
    known = {path.rpartition("node_modules/")[2] for path in packages}
    missing = {
        name: version
        for package in packages.values()
        for kind in ("dependencies", "optionalDependencies")
        for name, version in package.get(kind, {}).items()
        if name not in known
    }
    packages |= {f"node_modules/{name}": for_another_platform(name, version) for name, version in missing.items()}
    kept = {
        path: {key: value for key, value in packages[path].items() if key not in DROPPED} for path in sorted(packages)
    }
    return {**lock, "packages": kept}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:  # beside an installed node_modules, npm would note no digests
        for name in ("package.json", ".npmrc"):
            shutil.copy(FOLDER / name, empty)
        subprocess.run(["npm", "install", "--package-lock-only"], cwd=empty, check=True)
        made = json.loads((Path(empty) / LOCK.name).read_text("utf-8"))
    LOCK.write_text(json.dumps(tidy(made), indent=2) + "\n", "utf-8")
