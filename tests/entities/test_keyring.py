"""Files of entities: whole or not at all, and secret ones for their owner alone."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.world import made
from wave.entities import keyring, keys
from wave.entities.entity import Entity
from wave.entities.keyring import Keyring, read_entity, read_file, read_secret, write_file, write_public, write_secret
from wave.errors import (
    AlreadyExists,
    BadArmour,
    BadName,
    BadPassphrase,
    BadSignature,
    MissingFile,
    NotCanonical,
    SecretFileCorrupt,
    SecretFileMode,
    StateUnwritable,
    TooLarge,
    WrongKind,
)

ALICE = made("alice")
BOB = made("bob")


def never() -> str:
    raise AssertionError("a passphrase was asked for")


def full(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@contextmanager
def nobody() -> Iterator[None]:
    """Go on without the rights of root, which no mode of a directory would stop."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """Yield a directory that can be entered and not be written."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o555)
        yield path
        path.chmod(0o755)


def test_a_secret_file_round_trips(tmp_path: Path) -> None:
    """With a passphrase and without."""
    write_secret(tmp_path / "open.ent", ALICE, None)
    write_secret(tmp_path / "locked.ent", ALICE, "pass", cost=keys.LEAST_COSTLY)
    assert read_secret(tmp_path / "open.ent", never).seed == ALICE.seed
    assert read_secret(tmp_path / "locked.ent", lambda: "pass").seed == ALICE.seed
    assert read_entity(tmp_path / "locked.ent") == ALICE.entity


def test_a_secret_file_does_not_open_with_another_passphrase(tmp_path: Path) -> None:
    """The error is the passphrase's."""
    write_secret(tmp_path / "alice.ent", ALICE, "pass", cost=keys.LEAST_COSTLY)
    with pytest.raises(BadPassphrase) as caught:
        read_secret(tmp_path / "alice.ent", lambda: "word")
    assert caught.value.code == "secret.passphrase"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_a_secret_file_is_its_owner_s_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Mode 0600 from the first byte on."""
    before = os.umask(umask)
    try:
        write_secret(tmp_path / "alice.ent", ALICE, None)
        write_public(tmp_path / "alice.pub", ALICE.entity)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "alice.ent").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "alice.pub").stat().st_mode) == 0o644


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666])
def test_a_secret_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    """Any right of group or others is one too many."""
    path = tmp_path / "alice.ent"
    write_secret(path, ALICE, None)
    path.chmod(mode)
    with pytest.raises(SecretFileMode) as caught:
        read_secret(path, never)
    assert caught.value.code == "secret.mode"
    assert caught.value.hint == f"run: chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_file_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    """Writable or not."""
    path = tmp_path / "alice.ent"
    write_secret(path, ALICE, None)
    path.chmod(mode)
    assert read_secret(path, never).seed == ALICE.seed


def test_a_half_written_secret_file_is_corrupt(tmp_path: Path) -> None:
    """Every length, an empty file too."""
    whole, path = tmp_path / "whole.ent", tmp_path / "half.ent"
    write_secret(whole, ALICE, None)
    data = whole.read_bytes()
    path.touch(mode=0o600)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(SecretFileCorrupt) as caught:
            read_secret(path, never)
        assert caught.value.code == "secret.corrupt"


@pytest.mark.parametrize("octet", [b"\x00", b"\xff", b"\x80", b"~"])
def test_a_secret_file_with_a_byte_altered_is_corrupt(tmp_path: Path, octet: bytes) -> None:
    """A byte that is no ASCII as well as one that is."""
    path = tmp_path / "alice.ent"
    write_secret(path, ALICE, None)
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + octet + data[place + 1 :])
        with pytest.raises(SecretFileCorrupt) as caught:
            read_secret(path, never)
        assert caught.value.code == "secret.corrupt"


def test_a_public_file_where_a_secret_one_is_wanted_is_named(tmp_path: Path) -> None:
    """Whatever its mode: it says which file it is."""
    path = tmp_path / "alice.pub"
    write_public(path, ALICE.entity)
    path.chmod(0o600)
    with pytest.raises(WrongKind) as caught:
        read_secret(path, never)
    assert caught.value.code == "object.wrong_kind"
    assert ".ent" in caught.value.hint


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A secret that is gone is gone for ever."""
    path = tmp_path / "alice.ent"
    write_secret(path, ALICE, None)
    before = path.read_bytes()
    with pytest.raises(AlreadyExists) as caught:
        write_secret(path, BOB, None)
    assert caught.value.code == "exists"
    assert path.read_bytes() == before
    assert names(tmp_path) == ["alice.ent"]


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    """A name that is taken is taken."""
    (tmp_path / "alice.ent").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlreadyExists):
        write_secret(tmp_path / "alice.ent", ALICE, None)
    assert names(tmp_path) == ["alice.ent"]


def test_a_public_file_can_be_replaced_when_asked(tmp_path: Path) -> None:
    """It can be cut again from the secret one."""
    path = tmp_path / "a.pub"
    write_public(path, ALICE.entity)
    with pytest.raises(AlreadyExists):
        write_public(path, BOB.entity)
    write_public(path, BOB.entity, replace=True)
    assert read_entity(path) == BOB.entity
    assert names(tmp_path) == ["a.pub"]


@pytest.mark.parametrize("call", ["fsync", "link", "fchmod", "fdopen"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Not half a file, and no temporary one."""
    monkeypatch.setattr(os, call, full)
    with pytest.raises(StateUnwritable, match="No space left") as caught:
        write_secret(tmp_path / "alice.ent", ALICE, None)
    assert caught.value.code == "state.unwritable"
    assert names(tmp_path) == []


def test_a_directory_that_cannot_be_synced_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused is not there, even when the file itself was written."""
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: full() if stat.S_ISDIR(os.fstat(handle).st_mode) else real(handle))
    with pytest.raises(StateUnwritable):
        write_secret(tmp_path / "alice.ent", ALICE, None)
    assert names(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Replacing fails without a trace."""
    write_file(tmp_path / "f", b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(StateUnwritable):
        write_file(tmp_path / "f", b"new", replace=True)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


def test_a_crash_in_the_middle_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the disk is slow."""

    def interrupted(_: int) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_secret(tmp_path / "alice.ent", ALICE, None)
    assert names(tmp_path) == []


def test_a_read_only_directory_is_said_to_be_one(read_only: Path) -> None:
    """Nothing was changed, says the error, and nothing was."""
    with nobody(), pytest.raises(StateUnwritable, match="Permission denied") as caught:
        write_secret(read_only / "alice.ent", ALICE, None)
    assert caught.value.code == "state.unwritable"
    assert names(read_only) == []


def test_a_directory_that_is_not_there_is_missing(tmp_path: Path) -> None:
    """It is not made on the quiet."""
    with pytest.raises(MissingFile) as caught:
        write_secret(tmp_path / "none" / "alice.ent", ALICE, None)
    assert caught.value.code == "file.not_found"
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["none.ent", "none/alice.ent", "file/alice.ent", "."])
def test_a_file_that_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    """Nor is a directory a file."""
    (tmp_path / "file").touch()
    with pytest.raises(MissingFile) as caught:
        read_secret(tmp_path / name, never)
    assert caught.value.code == "file.not_found"


def test_a_file_larger_than_the_bound_is_not_read(tmp_path: Path) -> None:
    """A bound at the bound and one past it."""
    (tmp_path / "f").write_bytes(b"12345")
    assert read_file(tmp_path / "f", bound=5) == b"12345"
    with pytest.raises(TooLarge) as caught:
        read_file(tmp_path / "f", bound=4)
    assert caught.value.code == "limit.exceeded"


def test_a_public_file_round_trips(tmp_path: Path) -> None:
    """Public part in, public part out."""
    write_public(tmp_path / "alice.pub", ALICE.entity)
    assert read_entity(tmp_path / "alice.pub") == ALICE.entity


def test_a_public_file_with_a_bad_signature_is_refused(tmp_path: Path) -> None:
    """A record from a file is believed as far as it is signed."""
    write_public(tmp_path / "alice.pub", Entity(ALICE.entity.body, bytes(64)))
    with pytest.raises(BadSignature) as caught:
        read_entity(tmp_path / "alice.pub")
    assert caught.value.code == "signature.bad"


def test_a_file_that_is_no_entity_is_named(tmp_path: Path) -> None:
    """Of several files, the error says which."""
    path = tmp_path / "notes.pub"
    path.write_text("buy milk\n")
    with pytest.raises(BadArmour, match=r"notes\.pub") as caught:
        read_entity(path)
    assert caught.value.code == "armour.bad"
    assert not issubclass(BadArmour, NotCanonical)


# The ring -----------------------------------------------------------------------------------------------------------


def test_a_keyring_finds_what_was_added(tmp_path: Path) -> None:
    """By name, in the order of names; its directory is made when it is needed and is its owner's alone."""
    ring = Keyring(tmp_path / "ring")
    assert list(ring) == []
    assert ring.find("bob") is None
    ring.add("bob", BOB.entity)
    ring.add("alice", ALICE.entity)
    assert [(name, entity.id) for name, entity in ring] == [("alice", ALICE.id), ("bob", BOB.id)]
    assert ring.find("bob") == tmp_path / "ring" / "bob.pub"
    assert stat.S_IMODE((tmp_path / "ring").stat().st_mode) == 0o700


def test_a_name_too_long_for_a_file_is_nobodys(tmp_path: Path) -> None:
    assert Keyring(tmp_path).find("a" * 300) is None


def test_a_secret_file_comes_before_a_public_one(tmp_path: Path) -> None:
    """Whoever holds the secret acts with it."""
    ring = Keyring(tmp_path)
    ring.add("alice", ALICE.entity)
    write_secret(tmp_path / "alice.ent", ALICE, None)
    assert ring.find("alice") == tmp_path / "alice.ent"


def test_a_name_in_the_ring_is_not_taken_twice(tmp_path: Path) -> None:
    """What a name means does not change on the quiet."""
    ring = Keyring(tmp_path)
    ring.add("alice", ALICE.entity)
    with pytest.raises(AlreadyExists) as caught:
        ring.add("alice", BOB.entity)
    assert caught.value.code == "exists"
    assert dict(ring) == {"alice": ALICE.entity}


@pytest.mark.parametrize("name", ["", ".", "..", "../alice", "a/b", "/etc/passwd", ".hidden", "a\nb", "a\0b"])
def test_a_name_stays_within_the_ring(tmp_path: Path, name: str) -> None:
    """No name leads to another directory."""
    ring = Keyring(tmp_path / "ring")
    with pytest.raises(BadName) as caught:
        ring.add(name, ALICE.entity)
    assert caught.value.code == "name.bad"
    assert ring.find(name) is None
    assert names(tmp_path) == []


def test_a_keyring_that_cannot_be_made_is_said_so(read_only: Path) -> None:
    """As with any file."""
    with nobody(), pytest.raises(StateUnwritable) as caught:
        Keyring(read_only / "ring").add("alice", ALICE.entity)
    assert caught.value.code == "state.unwritable"


def test_the_suffixes_are_what_people_type() -> None:
    """Documentation and completion rest on them."""
    assert (keyring.SECRET_SUFFIX, keyring.PUBLIC_SUFFIX) == (".ent", ".pub")


def test_a_credential_of_systemd_may_look_readable_to_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its access list shows as one; what others can write, or anybody read, is still no secret."""
    path = tmp_path / "entity"
    path.write_text("secret")
    path.chmod(0o440)
    with pytest.raises(SecretFileMode):
        read_file(path, private=True)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_file(path, private=True) == b"secret"
    for mode in (0o460, 0o444, 0o404):
        path.chmod(mode)
        with pytest.raises(SecretFileMode):
            read_file(path, private=True)
