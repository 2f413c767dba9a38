"""Key files of payers as other Ethereum programs have them (Web3 Secret Storage, version 3): written whole, mode 0600.

The key stands in the file encrypted under a passphrase, and in no message.
"""

import json
from pathlib import Path
from typing import Any, Final

from eth_account import Account

from wave.chain import bound_recursion
from wave.entities.keyring import read_file, write_file
from wave.errors import BadPassphrase, SecretFileCorrupt

bound_recursion()

VERSION: Final = 3
CIPHER: Final = "aes-128-ctr"
FILE_BYTES: Final = 16 * 1024
SCRYPT_ROUNDS: Final = 262_144  # n, with r = 8 and p = 1: what other programs write, 256 MB and about a second
SCRYPT_MEMORY: Final = 1024 * 1024 * 1024  # bytes that a file may make its reader use: 128 n r
SCRYPT_LANES: Final = 16  # p
PBKDF2_ROUNDS: Final = 10_000_000
_PRIVATE: Final = 0o600
_KEY_BYTES: Final = 32


def write_keystore(path: Path, key: bytes, passphrase: str, *, rounds: int = SCRYPT_ROUNDS) -> None:
    """Write a secp256k1 ``key`` of 32 bytes under ``passphrase``. Never overwrites: AlreadyExists.

    ``rounds`` is scrypt's n, a power of two. Raises BadSetting for a key that is none, StateUnwritable, MissingFile.
    """
    from wave.chain.payer import Payer

    Payer(key)
    form = Account.encrypt(key, passphrase, kdf="scrypt", iterations=rounds)
    write_file(path, json.dumps(form, indent=1).encode() + b"\n", mode=_PRIVATE)


def read_keystore(path: Path, passphrase: str) -> bytes:
    """Return the key in a file; BadPassphrase, SecretFileMode, SecretFileCorrupt, MissingFile."""
    form = _read(path)
    try:
        key = bytes(Account.decrypt(form, passphrase))
    except Exception as error:  # noqa: BLE001 - the libraries raise all sorts, and their words might show the key
        if "MAC mismatch" in str(error):
            raise BadPassphrase(f"that is not the passphrase of {path}") from None
        raise _corrupt(path) from None
    if len(key) != _KEY_BYTES:
        raise _corrupt(path)
    said = address_in(form)
    if said is not None and said != bytes.fromhex(Account.from_key(key).address[2:]):
        raise SecretFileCorrupt(f"{path} holds the key of another account than it says", hint="make sure which it is")
    return key


def read_address(path: Path) -> bytes | None:
    """Return the address, 20 bytes, that a key file says it is for, without its passphrase; None when it says none.

    Raises SecretFileMode, SecretFileCorrupt, MissingFile.
    """
    return address_in(_read(path))


def address_in(form: dict[str, Any]) -> bytes | None:
    """Return the address that the JSON of a key file names, or None."""
    said = form.get("address")
    try:
        address = bytes.fromhex(said.lower().removeprefix("0x")) if isinstance(said, str) else b""
    except ValueError:
        return None
    return address if len(address) == 20 else None


def _read(path: Path) -> dict[str, Any]:
    raw = read_file(path, bound=FILE_BYTES, private=True)
    try:
        form = json.loads(raw)
        form = {key.lower(): value for key, value in form.items()}  # some programs write "Crypto"
        cost = _cost(form["crypto"])
        known = form["version"] == VERSION and form["crypto"]["cipher"] == CIPHER
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise _corrupt(path) from None
    if not known:
        raise SecretFileCorrupt(f"{path} is no key file of version {VERSION} with {CIPHER}", hint="")
    if not cost:
        raise SecretFileCorrupt(f"{path} asks for more work than a key file should", hint="")
    return form


def _cost(crypto: dict[str, Any]) -> bool:
    """Tell whether what opening the file takes is within bounds; a KDF that is not known raises KeyError."""
    known = crypto["kdfparams"]
    match crypto["kdf"]:
        case "scrypt":
            work, block, lanes = (int(known[name]) for name in ("n", "r", "p"))
            return 0 < 128 * work * block <= SCRYPT_MEMORY and 0 < lanes <= SCRYPT_LANES
        case "pbkdf2":
            return 0 < int(known["c"]) <= PBKDF2_ROUNDS
    raise KeyError(crypto["kdf"])


def _corrupt(path: Path) -> SecretFileCorrupt:
    return SecretFileCorrupt(f"{path} is no key file, or is cut short or altered")
