"""Every operation on keys, and the only importer of PyNaCl (libsodium).

OpenSSL's Ed25519 verifier accepts small-order keys; libsodium's refuses them, and non-canonical keys and signatures
with them (RFC 8032 §5.1.7 leaves both to the verifier), which is why there is one verifier and it is this one.
"""

import hmac
from dataclasses import dataclass

from nacl._sodium import ffi, lib
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_ABYTES,
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_box_seal,
    crypto_box_seal_open,
    crypto_scalarmult_base,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import CryptoError

from wave.errors import BadPassphrase, BadSignature, Malformed, SecretFileCorrupt

_OPEN = lib.crypto_sign_open
_SIGN = lib.crypto_sign
_NOWHERE = ffi.NULL
SEED_BYTES = 32
_KIBIBYTE = 1024
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
_SIGNING_KEY_BYTES = 64
SALT_BYTES = 16
NONCE_BYTES = 24
_NO_SALT = bytes(32)


def public_key(seed: bytes) -> bytes:
    """Return the Ed25519 public key (32 bytes) of a 32-byte seed."""
    return crypto_sign_seed_keypair(seed)[0]


def exchange_key(seed: bytes) -> bytes:
    """Return the X25519 public key (32 bytes) that goes with a seed; its secret is derived, never the signing key."""
    return crypto_scalarmult_base(derive(seed, b"wave/exchange/v1"))


def seal(exchange: bytes, content: bytes) -> bytes:
    """Return ``content`` in a sealed box of libsodium's: the exchange key's owner opens it, and nobody signed it."""
    return crypto_box_seal(content, exchange)


def unseal(seed: bytes, box: bytes) -> bytes:
    """Return what was sealed to the exchange key of ``seed``; :class:`Malformed` when it was not."""
    try:
        return crypto_box_seal_open(box, exchange_key(seed), derive(seed, b"wave/exchange/v1"))
    except (CryptoError, ValueError, TypeError):
        raise Malformed("a box that was not sealed to this entity") from None


def signing_key(seed: bytes) -> bytes:
    """Return what :func:`sign_with` takes (64 bytes): computing it once halves the time that a signature takes.

    It is seed and public key together, and they must never be those of two entities: such signatures give the seed
    away. So it comes from here alone.
    """
    return crypto_sign_seed_keypair(seed)[1]


def sign_with(key: bytes, message: bytes) -> bytes:
    """Return the Ed25519 signature (64 bytes) of ``message`` under a :func:`signing_key`."""
    if len(key) != _SIGNING_KEY_BYTES:
        raise ValueError("that is no signing key")
    signed = ffi.new("unsigned char[]", SIGNATURE_BYTES + len(message))
    # PyNaCl's public wrapper of this call also copies message and signature out.
    if _SIGN(signed, _NOWHERE, message, len(message), key) != 0:
        raise RuntimeError("libsodium did not sign")
    made: bytes = ffi.buffer(signed, SIGNATURE_BYTES)[:]
    return made


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the Ed25519 signature (64 bytes) of ``message`` under ``seed``."""
    return sign_with(signing_key(seed), message)


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Raise :class:`BadSignature` unless ``signature`` (64 bytes) is ``public``'s (32 bytes) over ``message``.

    Strict: keys and commitments of small order, keys that are not reduced and signatures whose scalar is not reduced
    are refused, and so are lengths other than these.
    """
    if len(signature) != SIGNATURE_BYTES or len(public) != PUBLIC_BYTES:
        raise BadSignature("the signature does not verify")
    signed = signature + message
    # PyNaCl's public wrapper of this call also copies the message out; libsodium takes NULL for "nowhere" (ADR 3).
    if _OPEN(_NOWHERE, _NOWHERE, signed, len(signed), public) != 0:
        raise BadSignature("the signature does not verify")


def derive(seed: bytes, purpose: bytes) -> bytes:
    """Return 32 bytes derived from ``seed`` for one purpose (HKDF-SHA256, RFC 5869, empty salt)."""
    extracted = hmac.digest(_NO_SALT, seed, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")  # one block is all that 32 bytes take


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess at a passphrase costs: Argon2id passes and memory in bytes."""

    passes: int
    memory: int


INTERACTIVE = Cost(passes=3, memory=64 * 1024 * 1024)
MOST_COSTLY = Cost(passes=16, memory=1024 * 1024 * 1024)
LEAST_COSTLY = Cost(passes=1, memory=8 * 1024)


def lock(secret: bytes, passphrase: str, *, salt: bytes, nonce: bytes, cost: Cost, bound_to: bytes) -> bytes:
    """Return ``secret`` encrypted under a passphrase (Argon2id, XChaCha20-Poly1305) and bound to some public bytes."""
    key = _stretch(passphrase, salt, cost)
    return crypto_aead_xchacha20poly1305_ietf_encrypt(secret, bound_to, nonce, key)


def unlock(box: bytes, passphrase: str, *, salt: bytes, nonce: bytes, cost: Cost, bound_to: bytes) -> bytes:
    """Return what :func:`lock` encrypted; :class:`BadPassphrase` when the passphrase or any of the rest differs."""
    key = _stretch(passphrase, salt, cost)
    if len(box) < crypto_aead_xchacha20poly1305_ietf_ABYTES:
        raise SecretFileCorrupt("the locked seed is cut short")
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(box, bound_to, nonce, key)
    except CryptoError:
        raise BadPassphrase("the passphrase does not open this secret file") from None


def _stretch(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    from nacl.pwhash import argon2id

    within = (
        LEAST_COSTLY.passes <= cost.passes <= MOST_COSTLY.passes
        and LEAST_COSTLY.memory <= cost.memory <= MOST_COSTLY.memory
        and cost.memory % _KIBIBYTE == 0  # the rest would be left out, and so could be altered unnoticed
    )
    if not within or len(salt) != SALT_BYTES:
        raise SecretFileCorrupt("the secret file asks for an Argon2id cost out of bounds")
    return argon2id.kdf(
        32, passphrase.encode("utf-8", "surrogatepass"), salt, opslimit=cost.passes, memlimit=cost.memory
    )
