"""Files that hold entities: written whole or not at all, secret ones readable by their owner alone."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from wave.codec import dearmour
from wave.entities import keys, secret
from wave.entities.entity import Entity, EntitySecret
from wave.entities.object import from_text
from wave.errors import (
    AlreadyExists,
    BadArmour,
    BadName,
    Malformed,
    MissingFile,
    SecretFileCorrupt,
    SecretFileMode,
    StateUnwritable,
    TooLarge,
    WaveError,
)
from wave.limits import LIMITS

SECRET_SUFFIX: Final = ".ent"  # noqa: S105 - a file name
PUBLIC_SUFFIX: Final = ".pub"
_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_NOT_OURS: Final = _OTHERS & ~stat.S_IRGRP


def write_file(path: Path, data: bytes, *, mode: int = _PUBLIC, replace: bool = False) -> None:
    """Write ``data`` to ``path`` whole or not at all, and see it on the disk before returning.

    Raises :class:`AlreadyExists` unless ``replace``, and :class:`StateUnwritable` with nothing left behind.
    """
    temporary = created = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)
            created = path
        _sync_directory(path.parent)
    except FileExistsError:
        raise AlreadyExists(f"{path} exists already", hint="choose another name; nothing was overwritten") from None
    except FileNotFoundError:
        raise MissingFile(f"there is no directory {path.parent}", hint="create it first") from None
    except OSError as error:
        _remove(created)
        raise StateUnwritable(f"cannot write {path}: {error.strerror}") from None
    finally:
        _remove(temporary)


def _remove(path: Path | None) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_file(path: Path, *, bound: int = LIMITS.request_bytes, private: bool = False) -> bytes:
    """Return a file's bytes, at most ``bound`` of them; :class:`MissingFile`, :class:`TooLarge`.

    One that is ``private`` has to be its owner's alone: :class:`SecretFileMode`.
    """
    try:
        with path.open("rb") as file:
            if private and os.fstat(file.fileno()).st_mode & (_NOT_OURS if _is_credential(path) else _OTHERS):
                raise SecretFileMode(f"others on this machine can read {path}", hint=f"run: chmod 600 {path}")
            data = file.read(bound + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFile(f"there is no file {path}") from None
    except OSError as error:
        raise MissingFile(f"cannot read {path}: {error.strerror}") from None
    if len(data) > bound:
        raise TooLarge(f"{path} holds more than {bound} bytes")
    return data


def _is_credential(path: Path) -> bool:
    """Tell whether systemd shows the file to this service alone, by an access list that looks like a group's right."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(directory) and path.parent == Path(str(directory))


def read_text(path: Path, *, bound: int = LIMITS.request_bytes, private: bool = False) -> str:
    """Return an ASCII file's text; :class:`BadArmour` when it is something else, or as :func:`read_file`."""
    try:
        return read_file(path, bound=bound, private=private).decode("ascii")
    except UnicodeDecodeError:
        raise BadArmour(f"{path} is not a file that WAVE wrote") from None


def write_secret(
    path: Path,
    entity: EntitySecret,
    passphrase: str | None,
    *,
    draw: Callable[[int], bytes] = os.urandom,
    cost: keys.Cost = keys.INTERACTIVE,
) -> None:
    """Write a secret file of mode 0600. Never overwrites: an old secret that is gone is gone for ever."""
    write_file(path, secret.to_text(entity, passphrase, draw, cost).encode("ascii"), mode=_PRIVATE)


def read_secret(path: Path, ask: Callable[[], str]) -> EntitySecret:
    """Return the secret in a file, asking for its passphrase if it has one.

    Raises :class:`MissingFile`, :class:`SecretFileMode`, :class:`SecretFileCorrupt`, :class:`BadPassphrase`.
    """
    try:
        data = read_text(path, private=True)
    except BadArmour as error:
        raise SecretFileCorrupt(error.message) from None
    return secret.from_text(data, ask)


def write_public(path: Path, entity: Entity, *, replace: bool = False) -> None:
    """Write an entity's public part."""
    write_file(path, entity.to_object().to_text().encode("ascii"), replace=replace)


def read_entity(path: Path) -> Entity:
    """Return the entity that a secret or a public file is about, its own signature checked."""
    text = read_text(path)
    try:
        if dearmour(text)[0] == secret.LABEL:
            return secret.public_part(text)
        entity = Entity.from_object(from_text(text))
    except (BadArmour, Malformed) as error:
        raise type(error)(f"{path}: {error.message}") from None
    entity.check()
    return entity


def _is_stem(name: str) -> bool:
    """Tell whether ``name`` stays within its directory."""
    return name.isprintable() and "/" not in name and name[:1] not in ("", ".")


class Keyring:
    """A directory of entity files; each is known by its file's stem."""

    def __init__(self, directory: Path) -> None:
        """Use ``directory``, which need not exist until something is added."""
        self.directory = directory

    def add(self, name: str, entity: Entity) -> None:
        """Keep an entity's public part under a local name; :class:`BadName`, :class:`AlreadyExists`."""
        if not _is_stem(name):
            raise BadName(f"{name[:80]!r} cannot be a file's name", hint="leave '/' out, and do not begin with '.'")
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateUnwritable(f"cannot create {self.directory}: {error.strerror}") from None
        write_public(self.directory / f"{name}{PUBLIC_SUFFIX}", entity)

    def find(self, name: str) -> Path | None:
        """Return the file of a local name, the secret one if both are there."""
        for suffix in (SECRET_SUFFIX, PUBLIC_SUFFIX) if _is_stem(name) else ():
            path = self.directory / f"{name}{suffix}"
            with contextlib.suppress(OSError):  # a name too long for a file is no file's
                if path.is_file():
                    return path
        return None

    def __iter__(self) -> Iterator[tuple[str, Entity]]:
        """Yield every local name with its entity, in the order of the names; files that cannot be read are left out."""
        if self.directory.is_dir():
            for path in sorted(self.directory.iterdir()):
                if path.suffix in (SECRET_SUFFIX, PUBLIC_SUFFIX) and path.is_file():
                    try:
                        entity = read_entity(path)
                    except WaveError:  # one damaged file takes no other entity's name away
                        continue
                    yield path.stem, entity
