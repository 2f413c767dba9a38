"""What a replica says that Facts need, in memory: revocations at once, records and aliases when they are confirmed."""

from collections.abc import Callable

from wave.chain.replica import Replica, Step
from wave.dots.facts import Facts
from wave.dots.records import Records


class Memory:
    """The mappings behind the Facts of one replica. They grow; those of a chain that was unwound are left alone."""

    __slots__ = ("_aliases", "_records", "_revocations", "_waiting_aliases", "_waiting_records")

    def __init__(self, replica: Replica, confirmed: int, refused: Callable[[str], None]) -> None:
        """Read the replica; what stands above the height ``confirmed`` waits."""
        self._revocations: dict[bytes, int] = {}
        self._aliases: dict[str, bytes] = {}
        self._records = Records(refused=refused)
        self._waiting_aliases: list[tuple[str, bytes, int]] = []
        self._waiting_records: list[tuple[bytes, bytes, bytes, int]] = []
        self._revocations.update((commitment, height) for commitment, height, _ in replica.revocations(-1))
        self._waiting_aliases += [claim[:3] for claim in replica.aliases(-1)]
        self._settle_aliases(confirmed)
        for record in replica.records():
            self._record(record, confirmed)

    def learn(self, step: Step, confirmed: int) -> None:
        """Take in a step, and let what is confirmed by now count.

        The first to claim a label, like the first to revoke, comes first in every list here.
        """
        for commitment, height, _ in step.revocations:
            self._revocations.setdefault(commitment, height)
        self._waiting_aliases += [claim[:3] for claim in step.aliases]
        if self._waiting_aliases:
            self._settle_aliases(confirmed)
        if self._waiting_records:
            waiting, self._waiting_records = self._waiting_records, []
            for record in waiting:
                self._record(record, confirmed)
        for identity, signature, _, body, height, *_ in step.entities:
            self._record((identity, body, signature, height), confirmed)

    def _settle_aliases(self, confirmed: int) -> None:
        waiting = []
        for claim in self._waiting_aliases:
            if claim[2] <= confirmed:
                self._aliases.setdefault(claim[0], claim[1])
            else:
                waiting.append(claim)
        self._waiting_aliases = waiting

    def _record(self, record: tuple[bytes, bytes, bytes, int], confirmed: int) -> None:
        identity, body, signature, height = record
        if height <= confirmed:
            self._records.add(identity, body, signature)
        else:
            self._waiting_records.append(record)

    def facts(self, height: int, block_hash: bytes, time: int) -> Facts:
        """Return the facts at a block."""
        return Facts(height, block_hash, time, self._revocations, self._records, self._aliases)

    def counts(self) -> dict[str, int]:
        """Return how many revocations and aliases count."""
        return {"revocations": len(self._revocations), "aliases": len(self._aliases)}
