"""Secret files as text: whole and unaltered, or refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import made
from wave.codec import Value, armour, dearmour, decode, encode, sha256
from wave.entities import keys, secret
from wave.entities.entity import EVERYBODY, Entity, EntitySecret
from wave.errors import BadPassphrase, InputError, SecretFileCorrupt, UnknownVersion, WrongKind

ALICE = made("alice")
BOB = made("bob")
OPEN_TEXT = secret.to_text(ALICE, None, sha256_draw := lambda length: sha256(b"draw")[:length])
LOCKED_TEXT = secret.to_text(ALICE, "correct horse", sha256_draw, keys.LEAST_COSTLY)
PARTS = decode(dearmour(LOCKED_TEXT)[1])


def never() -> str:
    raise AssertionError("a passphrase was asked for")


def said(passphrase: str) -> Callable[[], str]:
    return lambda: passphrase


def rewritten(*changes: tuple[int, Value], text: str = LOCKED_TEXT) -> str:
    parts = decode(dearmour(text)[1])
    assert isinstance(parts, tuple)
    changed = list(parts)
    for place, value in changes:
        changed[place] = value
    return armour(secret.LABEL, encode(tuple(changed)))


def test_a_secret_without_a_passphrase_comes_back_unasked() -> None:
    """Nobody is asked for what is not needed."""
    again = secret.from_text(OPEN_TEXT, never)
    assert (again.seed, again.entity) == (ALICE.seed, ALICE.entity)


def test_a_secret_under_a_passphrase_comes_back_with_it() -> None:
    """And the seed does not stand in its text."""
    again = secret.from_text(LOCKED_TEXT, said("correct horse"))
    assert (again.seed, again.entity) == (ALICE.seed, ALICE.entity)
    assert ALICE.seed not in dearmour(LOCKED_TEXT)[1]
    assert ALICE.seed in dearmour(OPEN_TEXT)[1]


@given(st.text(min_size=1, max_size=30))
def test_any_passphrase_locks_and_unlocks(passphrase: str) -> None:
    """Whatever a person types."""
    text = secret.to_text(ALICE, passphrase, sha256_draw, keys.LEAST_COSTLY)
    assert secret.from_text(text, said(passphrase)).seed == ALICE.seed


@pytest.mark.parametrize("passphrase", ["", "Correct horse", "correct horse ", "correct"])
def test_a_wrong_passphrase_is_refused(passphrase: str) -> None:
    """And said to be wrong, not the file to be broken."""
    with pytest.raises(BadPassphrase) as caught:
        secret.from_text(LOCKED_TEXT, said(passphrase))
    assert caught.value.code == "secret.passphrase"


def test_an_empty_passphrase_is_refused_when_it_is_chosen() -> None:
    """No passphrase is asked for with --no-passphrase, and not by pressing Enter."""
    with pytest.raises(BadPassphrase) as caught:
        secret.to_text(ALICE, "", sha256_draw)
    assert caught.value.code == "secret.passphrase"
    assert "--no-passphrase" in caught.value.hint


def test_the_public_part_needs_no_passphrase() -> None:
    """Who it is about can be read by whoever may read the file."""
    assert secret.public_part(LOCKED_TEXT) == ALICE.entity
    assert secret.public_part(OPEN_TEXT) == ALICE.entity


@pytest.mark.parametrize("text", [OPEN_TEXT, LOCKED_TEXT], ids=["open", "locked"])
def test_every_half_written_secret_file_is_refused(text: str) -> None:
    """A file cut short anywhere is corrupt, and says that a copy is wanted."""
    for length in range(len(text)):
        with pytest.raises(SecretFileCorrupt) as caught:
            secret.from_text(text[:length], said("correct horse"))
        assert caught.value.code == "secret.corrupt", length
        assert "copy" in caught.value.hint


@pytest.mark.parametrize("text", [OPEN_TEXT, LOCKED_TEXT], ids=["open", "locked"])
def test_a_secret_file_with_one_character_altered_is_refused(text: str) -> None:
    """Whichever character it is, no other secret comes out, and no error but an input error."""
    for place, character in enumerate(text):
        for other in ("A" if character != "A" else "B", "!", "\n"):
            if other == character:
                continue
            with pytest.raises((SecretFileCorrupt, BadPassphrase, WrongKind, UnknownVersion)):
                secret.from_text(text[:place] + other + text[place + 1 :], said("correct horse"))


def test_a_secret_file_with_one_byte_altered_is_refused() -> None:
    """The same below the armour: seed, public part and lock are bound to one another."""
    for text in (OPEN_TEXT, LOCKED_TEXT):
        data = dearmour(text)[1]
        for place in range(len(data)):
            altered = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            with pytest.raises((SecretFileCorrupt, BadPassphrase, UnknownVersion)):
                secret.from_text(armour(secret.LABEL, altered), said("correct horse"))


def test_another_s_public_part_in_front_of_a_seed_is_refused() -> None:
    """Locked or open: nobody is made to act as somebody else."""
    public = BOB.entity.to_bytes()
    with pytest.raises(SecretFileCorrupt) as corrupt:
        secret.from_text(rewritten((1, public), text=OPEN_TEXT), never)
    assert corrupt.value.code == "secret.corrupt"
    with pytest.raises(BadPassphrase) as bound:
        secret.from_text(rewritten((1, public)), said("correct horse"))
    assert bound.value.code == "secret.passphrase"


def test_a_public_part_with_a_bad_signature_is_corrupt() -> None:
    """The record in a secret file is checked like any other."""
    forged = Entity(ALICE.entity.body, bytes(64)).to_bytes()
    with pytest.raises(SecretFileCorrupt) as caught:
        secret.from_text(rewritten((1, forged)), never)
    assert caught.value.code == "secret.corrupt"


def test_a_public_file_where_a_secret_is_wanted_is_named() -> None:
    """The two files lie side by side; the hint tells them apart."""
    with pytest.raises(WrongKind, match="entity") as caught:
        secret.from_text(ALICE.entity.to_object().to_text(), never)
    assert caught.value.code == "object.wrong_kind"
    assert ".ent" in caught.value.hint


@pytest.mark.parametrize(
    ("passes", "memory"), [(0, 8192), (17, 8192), (2**63, 8192), (1, 8191), (1, 2**30 + 1), (1, 2**63), (-1, -1)]
)
def test_a_hostile_argon2_cost_is_refused_unpaid(passes: int, memory: int) -> None:
    """A file made to exhaust this machine is corrupt."""
    lock = (bytes(16), bytes(24), passes, memory)
    with pytest.raises(SecretFileCorrupt) as caught:
        secret.from_text(rewritten((2, lock)), said("correct horse"))
    assert caught.value.code == "secret.corrupt"


@pytest.mark.parametrize(
    "changes",
    [
        [(1, None)],
        [(1, b"")],
        [(1, "text")],
        [(2, ())],
        [(2, 5)],
        [(2, (bytes(16), bytes(24), 1))],
        [(2, (bytes(16), bytes(23), 1, 8192))],
        [(2, (bytes(15), bytes(24), 1, 8192))],
        [(2, ("salt", bytes(24), 1, 8192))],
        [(2, (bytes(16), bytes(24), True, 8192))],
        [(2, (bytes(16), bytes(24), 1, None))],
        [(3, None)],
        [(3, b"")],
        [(3, bytes(15))],
        [(2, None)],
        [(2, None), (3, bytes(31))],
        [(2, None), (3, bytes(33))],
        [(2, None), (3, EVERYBODY)],
    ],
)
def test_a_secret_file_that_holds_something_else_is_corrupt(changes: list[tuple[int, Value]]) -> None:
    """Every part has its type and length, and the seed its record."""
    with pytest.raises(SecretFileCorrupt) as caught:
        secret.from_text(rewritten(*changes), said("correct horse"))
    assert caught.value.code == "secret.corrupt"


@pytest.mark.parametrize("value", [None, 5, (), (1,), (1, b"", None), (1, b"", None, b"", b"")])
def test_a_secret_file_with_too_few_or_too_many_parts_is_corrupt(value: Value) -> None:
    """Four parts."""
    with pytest.raises(SecretFileCorrupt) as caught:
        secret.from_text(armour(secret.LABEL, encode(value)), never)
    assert caught.value.code == "secret.corrupt"


@pytest.mark.parametrize("version", [0, 2, True, None, "1"])
def test_a_secret_file_of_another_version_is_named(version: Value) -> None:
    """A newer release's file is not broken."""
    with pytest.raises(UnknownVersion) as caught:
        secret.from_text(rewritten((0, version)), never)
    assert caught.value.code == "object.unknown_version"


def test_a_secret_file_larger_than_an_object_is_corrupt() -> None:
    """There is a bound here too."""
    with pytest.raises(SecretFileCorrupt) as caught:
        secret.from_text(armour(secret.LABEL, bytes(9000)), never)
    assert caught.value.code == "secret.corrupt"


@given(st.text(max_size=200))
def test_any_text_is_a_secret_file_or_an_input_error(text: str) -> None:
    """No text brings the reader down."""
    with pytest.raises(InputError):
        secret.from_text(text, said("x"))


def test_the_same_seed_in_another_s_file_is_still_checked() -> None:
    """A seed of 32 bytes that is not the entity's is no secret of it."""
    with pytest.raises(SecretFileCorrupt):
        secret.from_text(rewritten((2, None), (3, BOB.seed)), never)
    assert isinstance(secret.from_text(rewritten((2, None), (3, ALICE.seed)), never), EntitySecret)
