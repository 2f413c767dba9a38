"""The canonical form: one value, one byte string, and nothing else is read."""

import base64
from typing import Annotated, Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wave.codec import (
    Format,
    Id,
    Key,
    Record,
    Text,
    Value,
    Version,
    amend,
    armour,
    between,
    dearmour,
    decode,
    encode,
    from_base64,
    id_text,
    parse_id,
    record_bytes,
    sha256,
)
from wave.errors import BadArmour, InputError, Malformed, NotCanonical, TooLarge, UnknownVersion

BOUND = 300


class Sample(Record, frozen=True):
    """A record with a field of every shape that published ones have."""

    version: Version
    key: Key
    count: int
    words: Annotated[tuple[str, ...], between(1, 3)]
    maybe: Id | None
    text: Text


FORMAT = Format(Sample, "sample", BOUND)
SAMPLE = Sample(1, b"k" * 32, 300, ("a", "b"), None, "hello")
BYTES = FORMAT.encode(SAMPLE)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.binary(max_size=300)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=20).map(tuple), max_leaves=20)
samples = st.builds(
    Sample,
    version=st.just(1),
    key=st.binary(min_size=32, max_size=32),
    count=st.integers(min_value=-(2**63), max_value=2**64 - 1),
    words=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=1, max_size=3).map(tuple),
    maybe=st.none() | st.binary(min_size=32, max_size=32),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)

# The same value in a longer form than the one the writer chooses.
NOT_CANONICAL = {
    "one in a byte": "cc01",
    "one in two bytes": "cd0001",
    "one in four bytes": "ce00000001",
    "one in eight bytes": "cf0000000000000001",
    "one as a signed byte": "d001",
    "one as a signed number of eight bytes": "d30000000000000001",
    "minus one in a byte": "d0ff",
    "minus one in two bytes": "d1ffff",
    "128 in two bytes": "cd0080",
    "a text with a length of one byte": "d90161",
    "a text with a length of two bytes": "da000161",
    "a text with a length of four bytes": "db0000000161",
    "bytes with a length of two bytes": "c5000161",
    "bytes with a length of four bytes": "c60000000161",
    "an array with a length of two bytes": "dc0001c0",
    "an array with a length of four bytes": "dd00000001c0",
    "a long number inside an array": "9201cc01",
}
NEVER = {
    "a float of four bytes": "ca3f800000",
    "a float of eight bytes": "cb3ff0000000000000",
    "a whole float inside an array": "91cb4000000000000000",
    "an empty map": "80",
    "a map": "81a16101",
    "a map with a length of two bytes": "de0000",
    "an extension": "d40500",
    "an empty extension": "c70005",
    "a timestamp": "d6ff00000000",
    "the byte that MessagePack never uses": "c1",
    "a text that is not UTF-8": "a1ff",
    "a text with half a surrogate pair": "a3eda080",
    "nothing": "",
    "two values": "c0c0",
    "an array of four billion": "ddffffffff",
    "a text of four billion": "dbffffffff",
}


@given(values)
def test_a_value_comes_back_from_its_bytes(value: Value) -> None:
    """What is encoded decodes to itself."""
    assert decode(encode(value), bound=10**6) == value


@given(values)
def test_msgpack_and_msgspec_write_the_same_bytes_for_a_value(value: Value) -> None:
    """Records go through one library and untyped values through the other: there is one canonical form."""
    assert encode(value) == msgspec.msgpack.encode(value)


@given(samples)
def test_msgpack_and_msgspec_write_the_same_bytes_for_a_record(sample: Sample) -> None:
    """A record is the array of its fields, whichever library writes it."""
    assert record_bytes(sample) == msgpack.packb(msgspec.structs.astuple(sample), use_bin_type=True)


@given(st.binary(max_size=64))
def test_whatever_decodes_is_what_the_encoder_writes(data: bytes) -> None:
    """Bytes either are refused or are the one form of their value."""
    try:
        value = decode(data)
    except InputError:
        return
    assert encode(value) == data


@given(samples, st.data())
def test_an_altered_record_is_refused_or_canonical(sample: Sample, data: st.DataObject) -> None:
    """The same for records: no two byte strings stand for one."""
    try:
        octets = bytearray(FORMAT.encode(sample))
    except TooLarge:
        return
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        altered = FORMAT.decode(bytes(octets))
    except InputError:
        return
    assert record_bytes(altered) == bytes(octets)


@pytest.mark.parametrize("octets", NOT_CANONICAL.values(), ids=NOT_CANONICAL)
def test_a_longer_form_of_a_value_is_refused(octets: str) -> None:
    """One value has one encoding, and so one hash."""
    with pytest.raises(NotCanonical) as caught:
        decode(bytes.fromhex(octets))
    assert caught.value.code == "object.not_canonical"


@pytest.mark.parametrize("octets", NEVER.values(), ids=NEVER)
def test_what_the_format_has_no_place_for_is_refused(octets: str) -> None:
    """Floats, maps, extensions and broken bytes are no values."""
    with pytest.raises(Malformed) as caught:
        decode(bytes.fromhex(octets))
    assert caught.value.code == "object.malformed"


@pytest.mark.parametrize(
    "value",
    [1.0, {}, [], {1}, 2**64, -(2**63) - 1, "\ud800", (1, (2.5,)), bytearray(b"a"), object()],
    ids=["float", "map", "list", "set", "too big", "too small", "surrogate", "nested float", "bytearray", "object"],
)
def test_a_value_without_a_canonical_form_is_not_written(value: Any) -> None:
    """What no reader would take is not written."""
    with pytest.raises(Malformed) as caught:
        encode(value)
    assert caught.value.code == "object.malformed"


def test_more_bytes_than_the_bound_are_not_looked_at() -> None:
    """The bound counts before anything is decoded."""
    assert decode(encode(b"a" * 10), bound=12) == b"a" * 10
    with pytest.raises(TooLarge) as caught:
        decode(encode(b"a" * 11), bound=12)
    assert caught.value.code == "limit.exceeded"


@pytest.mark.parametrize("depth", [33, 500, 1000, 1023, 1024, 5000])
def test_arrays_nested_too_deeply_are_refused(depth: int) -> None:
    """However deep, no reader runs out of stack."""
    with pytest.raises(Malformed) as caught:
        decode(b"\x91" * depth + b"\xc0")
    assert caught.value.code == "object.malformed"


# Records ------------------------------------------------------------------------------------------------------------


@given(samples)
def test_a_record_comes_back_from_its_bytes(sample: Sample) -> None:
    """What is encoded decodes to an equal record."""
    assert Format(Sample, "sample").decode(record_bytes(sample)) == sample


def test_every_truncation_of_a_record_is_refused() -> None:
    """A record cut short anywhere is malformed."""
    for length in range(len(BYTES)):
        with pytest.raises(Malformed) as caught:
            FORMAT.decode(BYTES[:length])
        assert caught.value.code in {"object.malformed", "object.unknown_version"}, length


def test_bytes_after_a_record_are_refused() -> None:
    """Nothing can be smuggled in behind a record."""
    with pytest.raises(Malformed) as caught:
        FORMAT.decode(BYTES + b"\xc0")
    assert caught.value.code == "object.malformed"


def test_an_extra_field_is_refused() -> None:
    """A reader that skipped a field would not know what it agrees to."""
    with pytest.raises(Malformed) as caught:
        FORMAT.decode(bytes([BYTES[0] + 1]) + BYTES[1:] + b"\xc0")
    assert caught.value.code == "object.malformed"


def test_a_missing_field_is_refused() -> None:
    """Every field stands in every record."""
    with pytest.raises(Malformed) as caught:
        FORMAT.decode(bytes([BYTES[0] - 1]) + BYTES[1 : -1 - len(SAMPLE.text)])
    assert caught.value.code == "object.malformed"


@pytest.mark.parametrize("version", [0, 2, 127])
def test_an_unknown_version_is_refused_by_name(version: int) -> None:
    """Whoever meets a newer object is told so, whatever else is in it."""
    with pytest.raises(UnknownVersion) as caught:
        FORMAT.decode(bytes([0x92, version]) + b"\xc3")
    assert caught.value.code == "object.unknown_version"
    assert "upgrade" in caught.value.hint


@pytest.mark.parametrize("octets", ["", "90", "93", "c0", "a0", "96c0", "96cc01", "dc000601", "8101", "96ff"])
def test_what_does_not_begin_like_a_record_is_malformed(octets: str) -> None:
    """Array, then version 1: anything else is another thing."""
    with pytest.raises(Malformed) as caught:
        FORMAT.decode(bytes.fromhex(octets))
    assert caught.value.code == "object.malformed"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", b"k" * 31),
        ("key", b"k" * 33),
        ("key", "k" * 32),
        ("key", None),
        ("count", 1.0),
        ("count", True),
        ("count", "1"),
        ("words", ()),
        ("words", ("a",) * 4),
        ("words", (b"a",)),
        ("words", "a"),
        ("words", {"a": "b"}),
        ("maybe", b""),
        ("maybe", False),
        ("text", b"hello"),
        ("text", None),
    ],
)
def test_a_field_of_another_type_or_size_is_refused(field: str, value: object) -> None:
    """The class is the schema: types, lengths and counts."""
    with pytest.raises(Malformed) as caught:
        FORMAT.decode(record_bytes(amend(SAMPLE, **{field: value})))
    assert caught.value.code == "object.malformed"


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (b"\xcd\x01\x2c", b"\xce\x00\x00\x01\x2c"),
        (b"\xc4\x20", b"\xc5\x00\x20"),
        (b"\x92\xa1a", b"\xdc\x00\x02\xa1a"),
        (b"\xa5hello", b"\xd9\x05hello"),
    ],
    ids=["number", "bytes", "array", "text"],
)
def test_a_longer_form_inside_a_record_is_refused(short: bytes, long: bytes) -> None:
    """What the typed reader lets pass, writing it again does not."""
    assert BYTES.count(short) == 1
    with pytest.raises(NotCanonical) as caught:
        FORMAT.decode(BYTES.replace(short, long))
    assert caught.value.code == "object.not_canonical"


def test_a_record_has_a_bound_in_bytes() -> None:
    """One byte past the bound is too large, to write and to read."""
    fitting = amend(SAMPLE, text="a" * (BOUND - len(BYTES) + 5 - 1))  # a length of two bytes, not one
    assert len(FORMAT.encode(fitting)) == BOUND
    longer = amend(fitting, text=fitting.text + "a")
    for act in (lambda: FORMAT.encode(longer), lambda: FORMAT.decode(record_bytes(longer))):
        with pytest.raises(TooLarge) as caught:
            act()
        assert caught.value.code == "limit.exceeded"


@pytest.mark.parametrize(
    "change",
    [{"count": 2**64}, {"text": "\ud800"}, {"text": "a" * 1025}, {"words": ()}, {"version": 2}, {"text": object()}],
    ids=["number", "surrogate", "long text", "no words", "version", "object"],
)
def test_a_record_that_no_reader_would_take_is_not_written(change: dict[str, object]) -> None:
    """Writing fails where reading would."""
    with pytest.raises(InputError):
        FORMAT.encode(amend(SAMPLE, **change))


# Text ---------------------------------------------------------------------------------------------------------------

DATA = bytes(range(100))
BLOCK = armour("PROOF", DATA)
LINES = BLOCK.splitlines()


@given(st.binary(max_size=400), st.from_regex(r"[A-Z]{1,9}( [A-Z]{1,9})?", fullmatch=True))
def test_armour_comes_off_again(data: bytes, label: str) -> None:
    """Text armour keeps label and bytes."""
    assert dearmour(armour(label, data)) == (label, data)


ALTERED = {
    "nothing": "",
    "a word": "hello",
    "no BEGIN line": "\n".join(LINES[1:]) + "\n",
    "no END line": "\n".join(LINES[:-1]) + "\n",
    "no last newline": BLOCK[:-1],
    "a newline more": BLOCK + "\n",
    "text before it": "x" + BLOCK,
    "text after it": BLOCK + "x",
    "a newline before it": "\n" + BLOCK,
    "lines that end in CR LF": BLOCK.replace("\n", "\r\n"),
    "a blank at a line's end": BLOCK.replace(LINES[1], LINES[1] + " "),
    "an empty line": BLOCK.replace(LINES[1] + "\n", LINES[1] + "\n\n"),
    "longer lines": BLOCK.replace(LINES[1] + "\n", LINES[1]),
    "shorter lines": BLOCK.replace(LINES[1], LINES[1][:10] + "\n" + LINES[1][10:]),
    "another label at the end": BLOCK.replace("END WAVE PROOF", "END WAVE DOT"),
    "a label in small letters": BLOCK.replace("PROOF", "proof"),
    "an empty label": BLOCK.replace("PROOF", ""),
    "a label of two blanks": BLOCK.replace("PROOF", "A  B"),
    "a label in other letters": BLOCK.replace("PROOF", "ÉTÉ"),
    "a label with digits": BLOCK.replace("PROOF", "P1"),
    "four dashes": BLOCK.replace("-----BEGIN", "----BEGIN"),
    "no padding": BLOCK.replace("=", ""),
    "bits after the last byte": BLOCK.replace(LINES[-2], LINES[-2][:-3] + chr(ord(LINES[-2][-3]) + 1) + "=="),
    "the URL-safe alphabet": armour("PROOF", b"\xff" * 30).replace("/", "_"),
    "a line missing": BLOCK.replace(LINES[1] + "\n", "").replace("=", ""),
    "a letter outside ASCII": BLOCK.replace(LINES[1], "é" + LINES[1][1:]),
    "two blocks": BLOCK + BLOCK,
}


@pytest.mark.parametrize("text", ALTERED.values(), ids=ALTERED)
def test_armour_that_the_writer_would_not_write_is_refused(text: str) -> None:
    """One thing has one text, so a text that was changed on the way is noticed."""
    with pytest.raises(BadArmour) as caught:
        dearmour(text)
    assert caught.value.code == "armour.bad"
    assert "BEGIN" in caught.value.hint


def test_the_vectors_of_altered_armour_are_altered() -> None:
    """A vector that equals the good block would show nothing."""
    assert dearmour(BLOCK) == ("PROOF", DATA)
    assert BLOCK not in ALTERED.values()


@given(st.binary(min_size=32, max_size=32))
def test_an_id_comes_back_from_its_text(identity: bytes) -> None:
    """Ids are 43 characters of URL-safe base64."""
    text = id_text(identity)
    assert len(text) == 43
    assert parse_id(text) == identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 42,
        "A" * 44,
        "A" * 42 + "=",
        "A" * 43 + "=",
        "A" * 42 + "B",
        "+" + "A" * 42,
        "/" + "A" * 42,
        "A" * 42 + "\n",
        " " + "A" * 42,
        "é" + "A" * 42,
        "A" * 21 + "\n" + "A" * 21,
        "A" * 42 + "!",
        "\udcff" + "A" * 42,
    ],
)
def test_what_is_not_exactly_an_ids_text_is_none(text: str) -> None:
    """Names, files and ids stand in the same places, so a text is an id or it is not."""
    assert parse_id(text) is None


def test_sha256_and_id_text_agree_with_their_sources() -> None:
    """FIPS 180-4's first example, and RFC 4648 §5."""
    digest = sha256(b"abc")
    assert digest.hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert id_text(digest) == base64.urlsafe_b64encode(digest).decode().rstrip("=")


@given(st.binary(max_size=300))
def test_base64_is_read_as_it_is_written(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert from_base64(text) == data
    for other in (text + "=", text + "\n", " " + text, "=" + text, text + "A", text + '"', "\\u0041" + text):
        with pytest.raises(Malformed):
            from_base64(other)


@pytest.mark.parametrize("text", ["A", "AA", "AAA", "AA=A", "A=AA", "A A=", "_-__", "\ud800AAA", "\0AAA", "é===", '""'])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        from_base64(text)
