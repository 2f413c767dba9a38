"""Facts: what the registry said at one named block."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wave.entities.entity import Entity


@dataclass(frozen=True, slots=True)
class Facts:
    """The registry at one block: ``time`` in UTC seconds, commitments revoked at a height, records and aliases by key.

    The mappings may be shared with a replica that goes on growing: an entry counts when its height is no more than
    ``height``, and an id's record never changes.
    """

    height: int
    block_hash: bytes
    time: int
    revocations: Mapping[bytes, int] = field(default_factory=dict)
    entities: Mapping[bytes, Entity] = field(default_factory=dict)
    aliases: Mapping[str, bytes] = field(default_factory=dict)

    def revoked_at(self, commitments: tuple[bytes, ...]) -> int | None:
        """Return the height at which the first of ``commitments`` was revoked, or None."""
        for commitment in commitments:
            height = self.revocations.get(commitment)
            if height is not None and height <= self.height:
                return height
        return None
