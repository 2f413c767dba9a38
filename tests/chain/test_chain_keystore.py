"""Key files of payers: opened by any Ethereum program, and shown by none of ours."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wave.chain import keystore
from wave.chain.keystore import read_address, read_keystore, write_keystore
from wave.chain.payer import Payer
from wave.codec import sha256
from wave.errors import (
    AlreadyExists,
    BadPassphrase,
    BadSetting,
    MissingFile,
    SecretFileCorrupt,
    SecretFileMode,
    TooLarge,
    WaveError,
)

KEY = sha256(b"a payer")
ROUNDS = 1024  # quick to open, and no protection

# The example with scrypt of the format's definition (Web3 Secret Storage), its key and its passphrase.
SCRYPT_EXAMPLE = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 262144,
            "p": 8,
            "r": 1,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
PBKDF2_EXAMPLE = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
EXAMPLE_KEY = bytes.fromhex("7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "payer.json"
    write_keystore(path, KEY, "long enough", rounds=ROUNDS)
    return path


def _put(path: Path, form: object) -> Path:
    path.write_text(form if isinstance(form, str) else json.dumps(form))
    path.chmod(0o600)
    return path


def test_a_key_comes_back_under_its_passphrase(file: Path) -> None:
    assert read_keystore(file, "long enough") == KEY
    assert read_address(file) == bytes.fromhex(Payer(KEY).address[2:])


def test_a_key_file_is_its_owners_and_names_no_key(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert KEY.hex() not in text
    form = json.loads(text)
    assert form["version"] == 3
    assert form["crypto"]["kdf"] == "scrypt"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_new_file_costs_as_much_to_guess_as_those_of_others(tmp_path: Path) -> None:
    path = tmp_path / "payer.json"
    write_keystore(path, KEY, "long enough")
    assert json.loads(path.read_text())["crypto"]["kdfparams"]["n"] == 262_144
    assert read_keystore(path, "long enough") == KEY


@pytest.mark.parametrize("form", [SCRYPT_EXAMPLE, PBKDF2_EXAMPLE], ids=["scrypt", "pbkdf2"])
def test_the_examples_of_the_format_open(tmp_path: Path, form: dict[str, Any]) -> None:
    path = _put(tmp_path / "example.json", form)
    assert read_keystore(path, "testpassword") == EXAMPLE_KEY
    assert read_address(path) is None


def test_upper_case_names_are_read_too(tmp_path: Path) -> None:
    """Files of presales and of some wallets write "Crypto"."""
    form = {"Crypto" if name == "crypto" else name: value for name, value in PBKDF2_EXAMPLE.items()}
    assert read_keystore(_put(tmp_path / "example.json", form), "testpassword") == EXAMPLE_KEY


def test_another_program_opens_ours(file: Path) -> None:
    from eth_account import Account

    assert bytes(Account.decrypt(json.loads(file.read_text()), "long enough")) == KEY


def test_a_wrong_passphrase_is_told_apart_from_a_broken_file(file: Path) -> None:
    with pytest.raises(BadPassphrase):
        read_keystore(file, "wrong")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(SecretFileMode, match="others on this machine"):
        read_keystore(file, "long enough")


def test_a_key_file_is_never_overwritten(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(AlreadyExists):
        write_keystore(file, sha256(b"another"), "long enough", rounds=ROUNDS)
    assert file.read_bytes() == before


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_keystore(tmp_path / "none.json", "x")


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, b"secret" * 6])
def test_a_key_that_is_none_is_not_written(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(BadSetting) as refusal:
        write_keystore(tmp_path / "payer.json", key, "long enough", rounds=ROUNDS)
    assert "secret" not in refusal.value.message
    assert list(tmp_path.iterdir()) == []


def _changed(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda form: {**form, **changes}


def _crypto(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda form: {**form, "crypto": {**form["crypto"], **changes}}


def _work(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda form: _crypto(kdfparams={**form["crypto"]["kdfparams"], **changes})(form)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "",
        lambda _: "{",
        lambda _: "[" * 10_000,
        lambda _: "\xff",
        lambda _: [],
        lambda _: {},
        lambda form: json.dumps(form)[:-20],
        _changed(version=1),
        _changed(version=4),
        _changed(version=None),
        _changed(crypto=None),
        _changed(crypto={}),
        _changed(address="00" * 20),
        _crypto(kdf="none"),
        _crypto(kdfparams=None),
        _crypto(cipher="rot13"),
        _crypto(cipherparams={}),
        _crypto(ciphertext="zz"),
        _crypto(mac=7),
        _work(n="many"),
        _work(n=1023),
        _work(n=0),
        _work(salt=None),
    ],
)
def test_a_broken_file_is_corrupt(file: Path, spoil: Callable[[dict[str, Any]], object]) -> None:
    _put(file, spoil(json.loads(file.read_text())))
    with pytest.raises(SecretFileCorrupt):
        read_keystore(file, "long enough")


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        (SCRYPT_EXAMPLE, {"n": 2 * keystore.SCRYPT_MEMORY // 128}),
        (SCRYPT_EXAMPLE, {"r": 2**40}),
        (SCRYPT_EXAMPLE, {"p": keystore.SCRYPT_LANES + 1}),
        (PBKDF2_EXAMPLE, {"c": keystore.PBKDF2_ROUNDS + 1}),
    ],
)
def test_a_file_that_asks_for_too_much_work_is_not_opened(
    tmp_path: Path, form: dict[str, Any], changes: dict[str, int]
) -> None:
    with pytest.raises(SecretFileCorrupt, match="more work"):
        read_keystore(_put(tmp_path / "example.json", _work(**changes)(form)), "testpassword")


@pytest.mark.parametrize(
    ("kdf", "params"),
    [
        ("scrypt", {"n": keystore.SCRYPT_MEMORY // 128, "r": 1, "p": keystore.SCRYPT_LANES}),
        ("pbkdf2", {"c": keystore.PBKDF2_ROUNDS}),
    ],
)
def test_as_much_work_as_the_bound_allows_is_done(kdf: str, params: dict[str, int]) -> None:
    assert keystore._cost({"kdf": kdf, "kdfparams": params})


def test_a_file_larger_than_the_bound_is_not_read(file: Path) -> None:
    _put(file, file.read_text() + " " * keystore.FILE_BYTES)
    with pytest.raises(TooLarge):
        read_keystore(file, "long enough")


def test_no_fault_shows_the_key_or_the_passphrase(file: Path) -> None:
    form = json.loads(file.read_text())
    for passphrase, changes in (("hunter2", {}), ("long enough", {"address": "11" * 20})):
        _put(file, {**form, **changes})
        with pytest.raises(WaveError) as refusal:
            read_keystore(file, passphrase)
        text = repr(refusal.value) + refusal.value.message + refusal.value.hint
        assert passphrase not in text
        assert KEY.hex() not in text
        assert refusal.value.__context__ is None or refusal.value.__suppress_context__
