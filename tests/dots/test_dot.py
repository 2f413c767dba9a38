"""DoTs: what can be made, what can be read, and what they commit to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import DAY, HOUR, NOW, World, made
from wave.codec import amend, id_text, record_bytes, sha256
from wave.dots.dot import Dot, DotFields
from wave.entities.entity import EVERYBODY
from wave.entities.object import DOT, ENTITY, signing_input
from wave.errors import (
    BadGrant,
    BadSignature,
    BadTime,
    InputError,
    Malformed,
    NotCanonical,
    TooLarge,
    UnknownVersion,
    WrongKind,
)
from wave.namespace.condition import Condition, rate, when, where
from wave.namespace.grant import Right, right

HOME, ALICE, BOB = made("home"), made("alice"), made("bob")
LIGHT = right(("publish", "list"), "light/*")
CONDITIONS = (when("mon-fri 08:00-22:00 Europe/Berlin"), where("set_point 66..74"), rate("10/60s"))


def created(**fields: object) -> Dot:
    usual = {
        "receiver": ALICE.id,
        "namespace": HOME.id,
        "grants": (LIGHT,),
        "created": NOW,
        "expires": NOW + DAY,
    }
    return Dot.create(HOME, **{**usual, **fields})  # type: ignore[arg-type]


DOT_MADE = created()


def altered(**changes: object) -> bytes:
    return record_bytes(amend(DOT_MADE.fields, **changes))


def test_a_dot_comes_back_from_its_bytes() -> None:
    """With every field as it was given."""
    grants = (LIGHT, right(("open",), "door/+", CONDITIONS, BOB.id))
    dot = created(grants=grants, indirections=3, comment="for the summer")
    again = Dot.from_bytes(dot.to_bytes())
    assert again == dot
    assert hash(again) == hash(dot)
    assert (again.giver, again.receiver, again.namespace) == (HOME.id, ALICE.id, HOME.id)
    assert (again.grants, again.indirections, again.comment) == (grants, 3, "for the summer")
    assert (again.created, again.expires) == (NOW, NOW + DAY)
    assert again.id == dot.to_object().id == sha256(signing_input(DOT, dot.body))
    again.check(HOME.entity.verify_key)


def test_the_same_fields_give_the_same_dot() -> None:
    """Nothing is drawn: granting twice in the same second makes one DoT."""
    assert created().to_bytes() == DOT_MADE.to_bytes()
    assert created(expires=NOW + DAY + 1) != DOT_MADE


def test_a_dot_lets_nothing_be_handed_on_unless_told() -> None:
    """The receiver may use, and not hand on."""
    assert DOT_MADE.indirections == 0


def test_the_preimage_hashes_to_the_commitment() -> None:
    """The giver's alone, and another one for every DoT."""
    assert DOT_MADE.commitments == (sha256(DOT_MADE.preimage(HOME)),)
    assert sha256(DOT_MADE.preimage(ALICE)) not in DOT_MADE.commitments
    assert created(comment="x").preimage(HOME) != DOT_MADE.preimage(HOME)
    assert DOT_MADE.preimage(HOME) != HOME.preimage()


def test_a_further_revoker_s_preimage_hashes_to_the_further_commitment() -> None:
    """It does not depend on the commitments, so it can be worked out before and after."""
    theirs = sha256(DOT_MADE.preimage(BOB))
    shared = created(revokers=(theirs,))
    assert shared.commitments == (sha256(shared.preimage(HOME)), theirs)
    assert sha256(shared.preimage(BOB)) == theirs


def test_a_dot_that_ends_before_it_begins_is_not_made() -> None:
    """Times are in order."""
    for expires in (NOW, NOW - HOUR):
        with pytest.raises(BadTime) as caught:
            created(expires=expires)
        assert caught.value.code == "time.bad"


def test_a_dot_to_oneself_is_not_made() -> None:
    """It would give what is held already."""
    with pytest.raises(BadGrant) as caught:
        created(receiver=HOME.id)
    assert caught.value.code == "grant.bad"


def test_what_everybody_holds_cannot_be_handed_on() -> None:
    """Nobody could sign for everybody."""
    assert created(receiver=EVERYBODY).receiver == EVERYBODY
    with pytest.raises(BadGrant) as caught:
        created(receiver=EVERYBODY, indirections=1)
    assert caught.value.code == "grant.bad"


@pytest.mark.parametrize(
    "fields",
    [
        {"grants": ()},
        {"receiver": b"bob"},
        {"namespace": bytes(33)},
        {"indirections": -1},
        {"indirections": 2**31},
        {"comment": "\ud800"},
        {"comment": "a" * 1025},
        {"created": -1},
        {"expires": 2**64},
        {"revokers": (b"short",)},
        {"grants": (Right(None, (), "a", ()),)},
        {"grants": (Right(b"set", ("open",), "a", ()),)},
    ],
    ids=" ".join,
)
def test_a_dot_that_nobody_could_read_is_not_made(fields: dict[str, object]) -> None:
    """What cannot be read is refused where it is made."""
    with pytest.raises(Malformed) as caught:
        created(**fields)
    assert caught.value.code == "object.malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1"},
        {"giver": bytes(31)},
        {"giver": None},
        {"receiver": "everybody"},
        {"namespace": None},
        {"grants": ()},
        {"grants": None},
        {"indirections": -1},
        {"indirections": 1.0},
        {"indirections": True},
        {"created": None},
        {"expires": -1},
        {"commitments": ()},
        {"commitments": (bytes(31),)},
        {"comment": b"x"},
        {"comment": None},
    ],
    ids=lambda changes: f"{changes}",
)
def test_a_field_of_another_type_or_size_is_refused(changes: dict[str, object]) -> None:
    """Whoever signed it."""
    with pytest.raises(Malformed) as caught:
        Dot(altered(**changes), bytes(64))
    assert caught.value.code == "object.malformed"


def test_an_extra_field_is_refused() -> None:
    """Nothing that is not understood is skipped."""
    body = DOT_MADE.body
    with pytest.raises(Malformed) as caught:
        Dot(bytes([body[0] + 1]) + body[1:] + b"\xc0", bytes(64))
    assert caught.value.code == "object.malformed"


def test_an_unknown_version_is_refused_by_name() -> None:
    """A newer release's DoT."""
    with pytest.raises(UnknownVersion) as caught:
        Dot(altered(version=2), bytes(64))
    assert caught.value.code == "object.unknown_version"


def test_every_truncation_of_a_dot_is_refused() -> None:
    """Body and object."""
    for length in range(len(DOT_MADE.body)):
        with pytest.raises(Malformed):
            Dot(DOT_MADE.body[:length], DOT_MADE.signature)
    data = DOT_MADE.to_bytes()
    for length in range(len(data)):
        with pytest.raises(Malformed):
            Dot.from_bytes(data[:length])


def test_bytes_after_a_dot_are_refused() -> None:
    """Body and object."""
    with pytest.raises(Malformed):
        Dot(DOT_MADE.body + b"\0", bytes(64))
    with pytest.raises(Malformed):
        Dot.from_bytes(DOT_MADE.to_bytes() + b"\0")


def test_a_longer_form_of_a_number_is_refused() -> None:
    """No second body, and so no second id, for the same DoT: revoking one would not revoke the other."""
    body = created(indirections=5).body
    place = body.index(b"\x05\xce")
    with pytest.raises(NotCanonical) as caught:
        Dot(body[:place] + b"\xcc\x05" + body[place + 1 :], bytes(64))
    assert caught.value.code == "object.not_canonical"


def test_a_dot_signed_by_another_does_not_check() -> None:
    """Nobody gives in another's name."""
    forged = Dot(DOT_MADE.body, BOB.sign(DOT, DOT_MADE.body))
    with pytest.raises(BadSignature) as caught:
        forged.check(HOME.entity.verify_key)
    assert caught.value.code == "signature.bad"


def test_a_signature_over_another_kind_is_none_over_a_dot() -> None:
    """The kind is part of what is signed."""
    crossed = Dot(DOT_MADE.body, HOME.sign(ENTITY, DOT_MADE.body))
    with pytest.raises(BadSignature):
        crossed.check(HOME.entity.verify_key)


@given(st.data())
def test_an_altered_dot_does_not_check(data: st.DataObject) -> None:
    """Whichever byte of the body it is."""
    body = bytearray(DOT_MADE.body)
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        dot = Dot(bytes(body), DOT_MADE.signature)
    except InputError:
        return
    assert dot.id != DOT_MADE.id
    with pytest.raises(BadSignature):
        dot.check(HOME.entity.verify_key)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_dot_or_an_input_error(data: bytes) -> None:
    """No bytes bring the reader down."""
    with pytest.raises(InputError):
        Dot(data, bytes(64))
    with pytest.raises(InputError):
        Dot.from_bytes(data)


def test_a_condition_of_an_unknown_kind_still_parses() -> None:
    """It refuses when it is asked, and the DoT's other rights go on working."""
    strange = Condition("weather", ("fine", 5, None))
    dot = created(grants=(right(("publish",), "a", (strange,)), LIGHT))
    assert Dot.from_bytes(dot.to_bytes()).grants[0].conditions == (strange,)


def test_an_object_of_another_kind_is_no_dot() -> None:
    """And says what it is."""
    with pytest.raises(WrongKind) as caught:
        Dot.from_object(ALICE.entity.to_object())
    assert caught.value.code == "object.wrong_kind"
    with pytest.raises(WrongKind):
        Dot.from_bytes(ALICE.entity.to_bytes())


def test_a_dot_too_large_for_an_object_is_not_written() -> None:
    """Body, kind and signature together have to fit, for whoever reads it as one."""
    grants = tuple(right(("publish",), f"{number:02}" + "a" * 221) for number in range(32))
    wide = "\N{GRINNING FACE}"
    base = len(created(grants=grants, comment=wide * 64).body)
    with pytest.raises(TooLarge) as caught:
        created(grants=grants, comment=wide * 64 + "a" * (8192 - base))
    assert caught.value.code == "limit.exceeded"


def test_a_dot_shows_from_whom_to_whom(world: World) -> None:
    """For logs."""
    assert repr(DOT_MADE) == f"Dot({id_text(DOT_MADE.id)}: {id_text(HOME.id)[:8]} -> {id_text(ALICE.id)[:8]})"


def test_a_dot_s_fields_stand_in_wire_order() -> None:
    """The table of DESIGN §2."""
    assert DotFields.__struct_fields__ == (
        "version",
        "giver",
        "receiver",
        "namespace",
        "grants",
        "indirections",
        "created",
        "expires",
        "commitments",
        "comment",
    )
