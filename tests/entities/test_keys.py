"""Strictness of signatures: what a lax Ed25519 verifier accepts and this one refuses. The vectors are arithmetic."""

import hashlib
from collections.abc import Iterator
from functools import cache

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from wave.entities import keys
from wave.errors import BadPassphrase, BadSignature, SecretFileCorrupt

# Edwards25519, RFC 8032 §5.1, in as few lines as it takes -------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
I = pow(2, (P - 1) // 4, P)  # noqa: E741 - the square root of -1, as everybody calls it
Point = tuple[int, int]
ZERO: Point = (0, 1)


def add(a: Point, b: Point) -> Point:
    k = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + k, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - k, -1, P) % P


def times(scalar: int, point: Point) -> Point:
    result = ZERO
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def minus(point: Point) -> Point:
    return -point[0] % P, point[1]


def x_of(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * I % P
    if (x * x - square) % P:
        return None
    return P - x if x % 2 != sign and x else x


def encoded(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def decoded(data: bytes) -> Point:
    """Decode as a lax verifier does: neither y below p nor a sign for x = 0 is asked for."""
    number = int.from_bytes(data, "little")
    y = number % 2**255 % P
    x = x_of(y, number >> 255)
    assert x is not None
    return x, y


def challenge(commitment: bytes, public: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(commitment + public + message).digest(), "little") % L


def lax(public: bytes, message: bytes, signature: bytes, *, cofactor: int = 1) -> bool:
    """Verify as the equation alone would have it: c·S·B = c·R + c·h·A."""
    scalar = int.from_bytes(signature[32:], "little")
    hashed = challenge(signature[:32], public, message)
    right = add(decoded(signature[:32]), times(hashed, decoded(public)))
    return times(cofactor * scalar % (8 * L), BASE) == times(cofactor, right)


BASE = decoded((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


@cache
def torsion() -> tuple[Point, ...]:
    """The eight points of small order."""
    y = 2
    while True:
        x = x_of(y, 0)
        if x is not None:
            point = times(L, (x, y))
            if times(4, point) != ZERO:
                return tuple(times(n, point) for n in range(8))
        y += 1


@cache
def small_encodings() -> tuple[bytes, ...]:
    """Every byte string that a lax decoder takes for a point of small order: 8 canonical ones and the others."""
    found = set()
    for point in torsion():
        for sign in (0, 1) if point[0] == 0 else (point[0] & 1,):
            for y in (point[1], point[1] + P):
                if y < 2**255:
                    found.add((y | sign << 255).to_bytes(32, "little"))
    return tuple(sorted(found))


def scalar_of(seed: bytes) -> int:
    digest = bytearray(hashlib.sha512(seed).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest, "little")


def forged(public: bytes) -> bytes:
    """Return a signature by nobody over MESSAGE that fits the equation under a key of small order."""
    point = decoded(public)
    for r in range(1, 500):
        commitment = encoded(add(times(r, BASE), minus(times(r % 8, point))))
        if times(challenge(commitment, public, MESSAGE), point) == times(r % 8, point):
            return commitment + r.to_bytes(32, "little")
    raise AssertionError("no forgery found")


SEED = bytes(range(32))
MESSAGE = b"open the door"
PUBLIC = keys.public_key(SEED)
GOOD = keys.sign(SEED, MESSAGE)


def refused(public: bytes, message: bytes, signature: bytes) -> None:
    with pytest.raises(BadSignature) as caught:
        keys.verify(public, message, signature)
    assert caught.value.code == "signature.bad"


def test_the_arithmetic_of_these_vectors_is_right() -> None:
    """It agrees with the library about keys and signatures, and the torsion has eight points in 14 encodings."""
    assert encoded(times(scalar_of(SEED), BASE)) == PUBLIC
    assert lax(PUBLIC, MESSAGE, GOOD)
    assert not lax(PUBLIC, MESSAGE + b"!", GOOD)
    assert len(set(torsion())) == 8
    assert times(8, torsion()[1]) == ZERO
    assert len(small_encodings()) == 14
    assert bytes(32) in small_encodings()


def test_the_first_vector_of_rfc_8032_verifies() -> None:
    """RFC 8032 §7.1, TEST 2."""
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert keys.public_key(seed) == public
    assert keys.sign(seed, b"\x72") == signature
    keys.verify(public, b"\x72", signature)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_what_is_signed_verifies(seed: bytes, message: bytes) -> None:
    """Any seed, any message."""
    keys.verify(keys.public_key(seed), message, keys.sign(seed, message))


@given(st.integers(0, 64 * 8 - 1))
def test_a_signature_with_one_bit_changed_is_refused(bit: int) -> None:
    """Every bit counts."""
    altered = bytearray(GOOD)
    altered[bit // 8] ^= 1 << bit % 8
    refused(PUBLIC, MESSAGE, bytes(altered))


def test_a_signature_over_another_message_is_refused() -> None:
    """A signature says one thing."""
    refused(PUBLIC, MESSAGE + b"\0", GOOD)
    refused(PUBLIC, b"", GOOD)


def test_another_key_s_signature_is_refused() -> None:
    """And by one signer."""
    refused(keys.public_key(bytes(32)), MESSAGE, GOOD)


@pytest.mark.parametrize("place", range(14))
def test_a_key_of_small_order_verifies_nothing(place: int) -> None:
    """Under such a key anybody can sign: here is a signature that fits the equation, made without any secret."""
    public = small_encodings()[place]
    signature = forged(public)
    assert lax(public, MESSAGE, signature)
    refused(public, MESSAGE, signature)


@pytest.mark.parametrize("place", range(14))
def test_a_commitment_of_small_order_is_refused(place: int) -> None:
    """R of small order: the signer's own trick, by which a signature fits for some verifiers and not for others."""
    commitment = small_encodings()[place]
    scalar = challenge(commitment, PUBLIC, MESSAGE) * scalar_of(SEED) % L
    signature = commitment + scalar.to_bytes(32, "little")
    assert lax(PUBLIC, MESSAGE, signature, cofactor=8)
    refused(PUBLIC, MESSAGE, signature)


@pytest.mark.parametrize("times_l", range(1, 15))
def test_a_scalar_that_is_not_reduced_is_refused(times_l: int) -> None:
    """S + L fits the equation as well as S does, and would make two signatures of one."""
    scalar = int.from_bytes(GOOD[32:], "little") + times_l * L
    signature = GOOD[:32] + scalar.to_bytes(32, "little")
    assert lax(PUBLIC, MESSAGE, signature)
    refused(PUBLIC, MESSAGE, signature)


def unreduced() -> Iterator[bytes]:
    for y in range(P, 2**255):
        for sign in (0, 1):
            yield (y | sign << 255).to_bytes(32, "little")


def test_a_key_that_is_not_reduced_is_refused() -> None:
    """Every encoding of a y of p or more; those on the curve of small order with a signature that fits."""
    fitting = 0
    for public in unreduced():
        signature = GOOD
        if public in small_encodings():
            signature = forged(public)
            fitting += 1
        refused(public, MESSAGE, signature)
    assert fitting == 4


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    """A key is 32 bytes."""
    refused((PUBLIC * 2)[:length], MESSAGE, GOOD)


@pytest.mark.parametrize("length", [0, 1, 32, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    """A signature is 64 bytes, even where the rest would make up a message."""
    refused(PUBLIC, MESSAGE, (GOOD * 2)[:length])
    refused(PUBLIC, MESSAGE[1:], GOOD + MESSAGE[:1])


def test_no_bytes_cannot_be_a_signature_of_no_message() -> None:
    """The emptiest call is refused like any other."""
    refused(b"", b"", b"")


def test_what_is_derived_depends_on_seed_and_purpose() -> None:
    """One seed serves several purposes, and knowing one output tells nothing of another."""
    assert len({keys.derive(seed, purpose) for seed in (SEED, bytes(32)) for purpose in (b"a", b"b", b"")}) == 6
    assert keys.derive(SEED, b"a") == keys.derive(SEED, b"a")
    assert keys.exchange_key(SEED) != keys.public_key(SEED)


# Locking ------------------------------------------------------------------------------------------------------------

SALT, NONCE = b"s" * 16, b"n" * 24


def boxed(cost: keys.Cost = keys.LEAST_COSTLY) -> bytes:
    return keys.lock(SEED, "pass", salt=SALT, nonce=NONCE, cost=cost, bound_to=b"alice")


def test_what_is_locked_opens_with_its_passphrase() -> None:
    """And it is not there in the clear."""
    box = boxed()
    assert SEED not in box
    assert keys.unlock(box, "pass", salt=SALT, nonce=NONCE, cost=keys.LEAST_COSTLY, bound_to=b"alice") == SEED


@pytest.mark.parametrize(
    "change",
    [
        {"passphrase": "Pass"},
        {"passphrase": ""},
        {"salt": b"t" * 16},
        {"nonce": b"m" * 24},
        {"cost": keys.Cost(2, 8 * 1024)},
        {"cost": keys.Cost(1, 16 * 1024)},
        {"bound_to": b"mallory"},
        {"box": boxed()[:-1] + bytes([boxed()[-1] ^ 1])},
        {"box": boxed()[1:]},
    ],
    ids=["letter", "empty", "salt", "nonce", "passes", "memory", "public part", "tag", "cut"],
)
def test_a_box_opens_with_nothing_else(change: dict[str, object]) -> None:
    """Passphrase, salt, nonce, cost and the public part all have to be the ones that it was locked with."""
    given_: dict[str, object] = {
        "box": boxed(),
        "passphrase": "pass",
        "salt": SALT,
        "nonce": NONCE,
        "cost": keys.LEAST_COSTLY,
        "bound_to": b"alice",
    }
    with pytest.raises(BadPassphrase) as caught:
        keys.unlock(**{**given_, **change})  # type: ignore[arg-type]
    assert caught.value.code == "secret.passphrase"


@pytest.mark.parametrize("length", [0, 1, 15])
def test_a_box_too_short_to_be_one_is_corrupt(length: int) -> None:
    """No passphrase could open it, and none is blamed."""
    with pytest.raises(SecretFileCorrupt) as caught:
        keys.unlock(b"x" * length, "pass", salt=SALT, nonce=NONCE, cost=keys.LEAST_COSTLY, bound_to=b"")
    assert caught.value.code == "secret.corrupt"


@pytest.mark.parametrize(
    ("passes", "memory"),
    [
        (0, 8192),
        (-1, 8192),
        (17, 8192),
        (2**40, 8192),
        (1, 8191),
        (1, 8193),
        (1, 0),
        (1, -1),
        (1, 2**30 + 1),
        (1, 2**63),
    ],
)
def test_a_hostile_cost_is_refused_before_it_is_paid(passes: int, memory: int) -> None:
    """A file from a stranger cannot make this machine work for hours or run out of memory."""
    with pytest.raises(SecretFileCorrupt) as caught:
        boxed(keys.Cost(passes, memory))
    assert caught.value.code == "secret.corrupt"


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_salt_of_another_length_is_refused(length: int) -> None:
    """Argon2id takes 16 bytes here."""
    with pytest.raises(SecretFileCorrupt) as caught:
        keys.lock(SEED, "pass", salt=b"s" * length, nonce=NONCE, cost=keys.LEAST_COSTLY, bound_to=b"")
    assert caught.value.code == "secret.corrupt"


def test_a_passphrase_that_no_encoding_knows_locks_and_unlocks() -> None:
    """A terminal may hand over bytes that are not UTF-8; they are a passphrase like any other."""
    box = keys.lock(SEED, "\udcff", salt=SALT, nonce=NONCE, cost=keys.LEAST_COSTLY, bound_to=b"")
    assert keys.unlock(box, "\udcff", salt=SALT, nonce=NONCE, cost=keys.LEAST_COSTLY, bound_to=b"") == SEED


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_what_is_derived_is_hkdf(seed: bytes, purpose: bytes) -> None:
    """RFC 5869 with SHA-256 and no salt, as another library has it."""
    other = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(seed)
    assert keys.derive(seed, purpose) == other


def test_signing_with_a_key_made_once_gives_the_same_signature() -> None:
    """Ed25519 signatures are deterministic."""
    assert keys.sign_with(keys.signing_key(SEED), b"message") == keys.sign(SEED, b"message")
