"""DoTs as an agent holds a hundred thousand of them: as their bytes, parsed again when they are looked at."""

from collections.abc import MutableMapping
from typing import Final

from wave.dots.dot import Dot, DotFields, parse_dot
from wave.limits import LIMITS

_parsed: Final[dict[bytes, DotFields]] = {}


class HeldDot(Dot):
    """A DoT that keeps its bytes and its ends; of the rest, ``LIMITS.objects_parsed`` DoTs keep it at a time."""

    __slots__ = ()

    def __init__(self, body: bytes, signature: bytes, ids: MutableMapping[bytes, bytes]) -> None:
        """Parse ``body``, which was checked strictly before; equal ids share the bytes that stand in ``ids``."""
        fields = parse_dot(body)
        share = ids.setdefault
        self.body = body
        self.signature = signature
        self._id = None
        self.giver = share(fields.giver, fields.giver)
        self.receiver = share(fields.receiver, fields.receiver)
        self.namespace = share(fields.namespace, fields.namespace)
        self.indirections = fields.indirections

    @property
    def fields(self) -> DotFields:  # type: ignore[override]  # parsed again where Dot has kept it
        """The body."""
        fields = _parsed.get(self.body)
        if fields is None:
            if len(_parsed) >= LIMITS.objects_parsed:
                _parsed.clear()
            fields = _parsed[self.body] = parse_dot(self.body)
        return fields

    grants = property(lambda self: self.fields.grants)
    created = property(lambda self: self.fields.created)
    expires = property(lambda self: self.fields.expires)
    commitments = property(lambda self: self.fields.commitments)
