"""The signed login: a password of one use, by which an entity shows a broker's hook that it is who it says.

It is a message of the entity in its own namespace, about that broker and nothing else, inside its time, and with its
own record beside it; whoever saw it cannot use it again, nor at another broker, nor as anything but a login.
"""

from collections.abc import Callable
from typing import Final

from wave.bus.message import NONCE_BYTES, PUBLISH, Inbox, Message
from wave.bus.mqtt_form import bytes_text, text_bytes
from wave.bus.mqtt_line import Account
from wave.codec import decode, encode, id_text, parse_id
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.errors import BadRequest, WrongPurpose, WrongSender

LOGIN: Final = "application/wave-login"
LIFETIME: Final = 60
_BOUND: Final = 8 * 1024


def signed_login(secret: EntitySecret, broker: str, *, now: int, draw: Callable[[int], bytes]) -> Account:
    """Return the account under which ``secret`` connects to the broker of that name within a minute, once."""
    proof = Proof.build((), (secret.entity,))
    message = Message.create(
        secret,
        permission=PUBLISH,
        namespace=secret.id,
        resource=_place(broker),
        payload=b"",
        content_type=LOGIN,
        created=now,
        expires=now + LIFETIME,
        nonce=draw(NONCE_BYTES),
        proof=proof.id,
    )
    return Account(id_text(secret.id), bytes_text(encode((message.to_bytes(), proof.to_bytes()))))


def check_login(username: str, password: str, broker: str, facts: Facts, *, now: int, inbox: Inbox) -> bytes:
    """Return the id of the entity that logs in, or raise what is wrong with it; a login counts once in ``inbox``."""
    identity = parse_id(username)
    if identity is None or len(password) > _BOUND:
        raise BadRequest("a login names an entity's id and carries a message that it signed")
    match decode(text_bytes(password), bound=_BOUND):
        case (bytes(first), bytes(second)):
            message, proof = Message.from_bytes(first), Proof.from_bytes(second)
        case _:
            raise BadRequest("a login carries a signed message")
    if message.sender != identity or message.namespace != identity:
        raise WrongSender("a login that another entity signed")
    if message.content_type != LOGIN or message.resource != _place(broker):
        raise WrongPurpose("a message that was signed for something else than a login here")
    inbox.accept(message, proof, facts, permission=PUBLISH, now=now)
    return identity


def _place(broker: str) -> str:
    return f"!login/{broker}"
