"""What a gateway keeps on disk: its models' files with their signed manifests, and who links what."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from devices.gateway.model import SignedModel, check_name, check_version
from wave.entities.keyring import read_file, write_file
from wave.errors import AlreadyExists, MissingFile, ModelAltered, SecretFileCorrupt, StateUnwritable
from wave.limits import LIMITS

_PRIVATE = 0o600
_MANIFEST = "manifest"
_FILE = "model"
_STATE = "gateway.json"


class Kept(NamedTuple):
    """One version of a model as it lies here: its signed manifest and its file, neither of them checked yet."""

    model: str
    version: str
    manifest: bytes
    file: Path

    def read(self) -> bytes:
        """Return the file; :class:`WaveError`."""
        return read_file(self.file, bound=LIMITS.model_bytes)


class ModelStore:
    """A directory with ``models/NAME/VERSION`` for each version, and the state beside them."""

    def __init__(self, directory: Path) -> None:
        """Keep everything in ``directory``, which is made if need be; :class:`StateUnwritable`."""
        self._directory = directory
        self._models = directory / "models"
        try:
            self._models.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateUnwritable(f"cannot make {self._models}: {error.strerror}") from None

    def add(self, signed: SignedModel, artefact: bytes) -> Kept:
        """Keep a version; :class:`AlreadyExists` when there is another one of that name."""
        model, version = signed.manifest.model, signed.manifest.version
        place = self._models / check_name(model, "a model") / check_version(version)
        kept = Kept(model, version, signed.data, place / _FILE)
        if (place / _FILE).exists():
            if hashlib.sha256(kept.read()).hexdigest() != signed.manifest.sha256:
                raise AlreadyExists(f"{model} has another version {version} already", hint="give it a new version")
        else:
            try:
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StateUnwritable(f"cannot make {place}: {error.strerror}") from None
            write_file(place / _FILE, artefact, mode=_PRIVATE)
        write_file(place / _MANIFEST, signed.data, mode=_PRIVATE, replace=True)
        return kept

    def remove(self, kept: Kept) -> None:
        """Keep a version no more, its manifest first; :class:`StateUnwritable`."""
        place = kept.file.parent
        try:
            (place / _MANIFEST).unlink()
            kept.file.unlink(missing_ok=True)
            place.rmdir()
        except OSError as error:
            raise StateUnwritable(f"cannot remove {place}: {error.strerror}") from None

    def __iter__(self) -> Iterator[Kept]:
        """Give each version."""
        for manifest in sorted(self._models.glob(f"*/*/{_MANIFEST}")):
            place = manifest.parent
            data = read_file(manifest, bound=LIMITS.model_manifest_bytes)
            yield Kept(place.parent.name, place.name, data, place / _FILE)

    def load(self) -> dict[str, Any]:
        """Return the state that was saved, empty at first; :class:`SecretFileCorrupt` when it cannot be read."""
        path = self._directory / _STATE
        try:
            value = json.loads(read_file(path))
        except MissingFile:
            return {}
        except ValueError:
            raise SecretFileCorrupt(f"{path} cannot be read") from None
        if not isinstance(value, dict):
            raise SecretFileCorrupt(f"{path} cannot be read")
        return value

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep the state."""
        data = json.dumps(state, indent=1, sort_keys=True).encode("utf-8")
        write_file(self._directory / _STATE, data, mode=_PRIVATE, replace=True)


def read_checked(kept: Kept, signed: SignedModel) -> bytes:
    """Return the file of a version if it is still the one that was signed; :class:`ModelAltered`."""
    try:
        data = kept.read()
    except MissingFile:
        raise ModelAltered(f"the file of {kept.model} version {kept.version} is gone") from None
    signed.manifest.check(data)
    return data
