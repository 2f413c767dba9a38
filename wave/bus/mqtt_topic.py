"""Topics: where messages, proofs, notes of denial and credentials are on an MQTT broker, and which filters find them.

A resource has at most ``LIMITS.cells_per_pattern`` cells, so every pattern has filters that match exactly what it
covers: ``+`` is MQTT's, a ``*`` at the end is its ``#``, and any other ``*`` is written out, length by length.
"""

from typing import Final

from wave.codec import id_text, parse_id
from wave.errors import BadPattern, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import ANY, ONE, Pattern, resource

ROOT: Final = "wave"
PROOF: Final = "proof"
DENIED: Final = "denied"
CREDENTIALS: Final = "credentials"
REST: Final = "#"


def message_topic(namespace: bytes, where: str) -> str:
    """Return the topic of the messages at a resource."""
    return f"{ROOT}/{id_text(namespace)}/{where}"


def proof_topic(sender: bytes, proof: bytes) -> str:
    """Return the retained topic of a proof: under its sender, so that rules can let nobody else write there."""
    return f"{ROOT}/{PROOF}/{id_text(sender)}/{id_text(proof)}"


def denied_topic(sender: bytes) -> str:
    """Return the topic on which receivers tell a sender what they refused."""
    return f"{ROOT}/{DENIED}/{id_text(sender)}"


def credentials_topic(entity: bytes) -> str:
    """Return the retained topic of the password, sealed to an entity, under which a broker knows it."""
    return f"{ROOT}/{CREDENTIALS}/{id_text(entity)}"


def place(topic: str) -> tuple[bytes, Pattern]:
    """Return namespace and resource of a message's topic; :class:`BadPattern` when it is not one."""
    root, _, rest = topic.partition("/")
    text, _, where = rest.partition("/")
    namespace = parse_id(text)
    if root != ROOT or namespace is None:
        raise BadPattern(f"{topic[:80]!r} is no message's topic")
    return namespace, resource(where)


def filters(namespace: bytes, pattern: str) -> tuple[str, ...]:
    """Return MQTT topic filters that match, together, the topics of exactly the resources that ``pattern`` matches.

    No topic is matched by two of them. There is one, but for a ``*`` with anything but ``+`` behind it.
    """
    return tuple(message_topic(namespace, text) for text in _written_out(Pattern(pattern)))


def _written_out(pattern: Pattern) -> list[str]:
    cells = pattern.split("/")
    if ANY not in cells:
        return [str(pattern)]
    star = cells.index(ANY)
    head, tail = cells[:star], cells[star + 1 :]
    if all(cell == ONE for cell in tail):
        return ["/".join([*head, *tail, REST] if head or tail else [ONE, REST])]
    longest = LIMITS.cells_per_pattern - len(head) - len(tail)
    return ["/".join([*head, *[ONE] * inner, *tail]) for inner in range(longest + 1)]


def pattern_of(topic_filter: str) -> tuple[bytes, Pattern]:
    """Return the namespace, and the pattern of all resources that a topic filter matches; :class:`BadPattern`.

    A filter over several namespaces has none.
    """
    root, _, rest = topic_filter.partition("/")
    text, _, where = rest.partition("/")
    namespace = parse_id(text)
    if root != ROOT or namespace is None or ANY in where:
        raise BadPattern(f"{topic_filter[:80]!r} is no filter of one namespace's messages")
    cells = where.split("/")
    if cells[-1] == REST:
        cells[-1] = ANY
    try:
        return namespace, Pattern("/".join(cells))
    except WaveError:
        raise BadPattern(f"{topic_filter[:80]!r} is no filter of one namespace's messages") from None
