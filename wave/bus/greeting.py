"""Who a router is: the word with which it greets, signed for this connection's challenge, and what answers it."""

from collections.abc import Callable
from typing import Final

from wave.bus.frame import Hello
from wave.bus.message import NONCE_BYTES, ROUTE, Message, within_time
from wave.dots import rules
from wave.dots.facts import Facts
from wave.entities.entity import Entity, EntitySecret
from wave.errors import WrongRouter
from wave.limits import LIMITS

CHALLENGE: Final = "application/wave-challenge"
_WHERE: Final = "!hello"
_LIFETIME: Final = 30


def greeting(secret: EntitySecret, challenge: bytes, *, now: int, draw: Callable[[int], bytes]) -> Message:
    """Return the message in which a router signs the challenge that it drew for a connection."""
    return Message.create(
        secret,
        permission=ROUTE,
        namespace=secret.id,
        resource=_WHERE,
        payload=challenge,
        content_type=CHALLENGE,
        created=now,
        expires=now + _LIFETIME,
        nonce=draw(NONCE_BYTES),
    )


def answering(challenge: bytes, router: bytes | None) -> bytes:
    """Return what an act on a connection carries: its challenge, bound to the router's entity (id) if it has one.

    So a router in the middle that passes a challenge on gets acts that are of no use with the other router.
    """
    return challenge + (router or b"")


def greeted_by(hello: Hello, now: int) -> Entity | None:
    """Return the entity that greets, None for a router without one; :class:`WrongRouter`, :class:`MessageStale`."""
    if not hello.entity and not hello.greeting:
        return None
    entity, word = Entity.from_bytes(hello.entity), Message.from_bytes(hello.greeting)
    said = (word.sender, word.namespace, word.permission, word.resource, word.payload)
    if said != (entity.id, entity.id, ROUTE, _WHERE, hello.challenge):
        raise WrongRouter("the router's greeting is about something else than this connection")
    word.check(entity.verify_key)
    within_time(word, now)
    return entity


def expected(entity: Entity | None, router: bytes, facts: Facts, now: int) -> None:
    """Raise :class:`WrongRouter` unless a router is that entity (id), and :class:`Refused` unless that is alive."""
    if entity is None or entity.id != router:
        who = "does not say who it is" if entity is None else f"is {rules.short(entity.id)}"
        raise WrongRouter(f"router {rules.short(router)} is expected, and this one {who}")
    rules.facts_fresh(facts, now, LIMITS.max_staleness, None)
    rules.entity_alive(entity.id, entity.fields, facts, now)
