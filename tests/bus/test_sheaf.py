"""Sheaves: one signature for messages that wait together, and each of them stands alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import NOW, World, made
from wave.bus.message import PUBLISH, Accepted, Inbox, Message, body_of
from wave.bus.sheaf import places, sheaf_body
from wave.chain.batch import inclusion_proof, root
from wave.codec import amend, sha256
from wave.entities.entity import EntitySecret
from wave.entities.object import SHEAF
from wave.errors import BadSignature, InputError, Malformed, Refused, Replayed, WaveError, WrongSender
from wave.limits import LIMITS

ALICE = made("alice")


def bodies(count: int, sender: EntitySecret = ALICE, **changes: Any) -> list[bytes]:
    fields: dict[str, Any] = {"permission": PUBLISH, "namespace": made("home").id, "resource": "a", **changes}
    return [
        body_of(sender.id, created=NOW, expires=NOW + 30, nonce=sha256(b"%d" % number)[:16], **fields)
        for number in range(count)
    ]


class Reader:
    """Somebody who hears what alice may publish in home."""

    def __init__(self) -> None:
        self.world = World()
        self.world.entity("alice")
        self.proof = self.world.proof(self.world.grant("home", "alice", "publish@home/*"))
        self.inbox = Inbox()

    def accept(self, message: Message) -> Accepted:
        return self.inbox.accept(message, self.proof, self.world.facts, permission=PUBLISH, now=NOW)


@pytest.mark.parametrize("count", [2, 3, 5, 8, LIMITS.sheaf_messages])
def test_each_message_of_a_sheaf_is_accepted_alone_once(count: int) -> None:
    messages = Message.signed(ALICE, bodies(count))
    assert len({message.signature for message in messages}) == 1
    for message in messages:
        again = Message.from_bytes(message.to_bytes())
        assert again.id == message.id
        Reader().accept(again)
    reader = Reader()
    for message in reversed(messages):
        reader.accept(message)
        with pytest.raises(Replayed):
            reader.accept(message)


def test_one_message_is_signed_plainly() -> None:
    (message,) = Message.signed(ALICE, bodies(1))
    assert message.place is None
    Reader().accept(message)


@given(st.integers(1, LIMITS.sheaf_messages))
def test_places_are_those_of_the_batches_that_are_anchored(count: int) -> None:
    leaves = [b"%d" % number for number in range(count)]
    for index, place in enumerate(places(leaves)):
        assert (place.root, place.index, place.count) == (root(leaves), index, count)
        assert place.path == inclusion_proof(leaves, index)


def test_a_message_that_was_not_in_the_sheaf_is_refused() -> None:
    reader, messages = Reader(), Message.signed(ALICE, bodies(4))
    (other,) = bodies(1, resource="b")
    with pytest.raises(BadSignature):
        reader.accept(Message(other, messages[0].signature, messages[0].place))
    with pytest.raises(BadSignature):
        reader.accept(Message(messages[1].body, messages[0].signature, messages[0].place))
    reader.accept(messages[1])


def test_a_known_root_lends_its_signature_to_no_other_sender() -> None:
    """The remembered signature belongs to its key."""
    reader = Reader()
    reader.world.entity("mallory")
    for message in Message.signed(ALICE, bodies(2)):
        reader.accept(message)
    theirs = bodies(2, made("mallory"))
    grafted = places([Message(body, bytes(64)).id for body in theirs])
    known = Message.signed(ALICE, bodies(2))[0]
    proof = reader.world.proof(reader.world.grant("home", "mallory", "publish@home/*"))
    for body, place in zip(theirs, grafted, strict=True):
        forged = Message(body, known.signature, amend(place, root=known.place.root if known.place else b""))
        with pytest.raises(BadSignature):
            reader.inbox.accept(forged, proof, reader.world.facts, permission=PUBLISH, now=NOW)
        with pytest.raises(WrongSender):
            reader.accept(forged)


@pytest.mark.parametrize("change", [{"index": 1}, {"count": 3}, {"root": bytes(32)}, {"path": ()}, {"index": 7}])
def test_an_altered_place_is_refused(change: dict[str, Any]) -> None:
    message = Message.signed(ALICE, bodies(4))[0]
    assert message.place is not None
    with pytest.raises(BadSignature):
        Reader().accept(Message(message.body, message.signature, amend(message.place, **change)))


def test_a_sheafs_signature_is_no_messages_and_the_other_way_round() -> None:
    message, _ = Message.signed(ALICE, bodies(2))
    with pytest.raises(BadSignature):
        Reader().accept(Message(message.body, message.signature))
    (alone,) = Message.signed(ALICE, bodies(1))
    with pytest.raises(BadSignature):
        Reader().accept(Message(alone.body, alone.signature, message.place))
    body = sheaf_body(bytes(32), 2)
    with pytest.raises(Malformed):
        Message(body, ALICE.sign(SHEAF, body))


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    encoded = bytearray(Message.signed(ALICE, bodies(3))[1].to_bytes())
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises((Refused, InputError)) as caught:
        Reader().accept(Message.from_bytes(bytes(encoded)))
    assert isinstance(caught.value, WaveError)


def test_a_path_longer_than_any_sheaf_needs_is_no_message() -> None:
    message = Message.signed(ALICE, bodies(2))[0]
    assert message.place is not None
    long = Message(message.body, message.signature, amend(message.place, path=(bytes(32),) * 8))
    with pytest.raises(Malformed):
        long.to_bytes()
