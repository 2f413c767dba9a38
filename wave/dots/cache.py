"""Verdicts remembered, and never for longer than they are true: the exact cache of signatures and of whole verdicts.

Of verdicts only a yes is remembered. Every time it is asked for again it is compared with the facts given: freshness
and height, each commitment that it rests on, its end time. Whatever does not hold any more is checked from the start.
Of signatures the bad ones are remembered too, which stay bad.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, MutableMapping
from typing import NamedTuple, TypeVar

from wave.codec import amend, sha256
from wave.dots import rules
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.verify import Grant, verify
from wave.limits import LIMITS

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LeastRecent(MutableMapping[K, V]):
    """A mapping that keeps the ``bound`` entries last asked for or put in."""

    __slots__ = ("_bound", "_entries")

    def __init__(self, bound: int) -> None:
        """Keep at most ``bound`` entries."""
        self._bound = bound
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        """Tell whether the key is here, which counts as asking for it."""
        if key not in self._entries:
            return False
        self._entries.move_to_end(key)  # type: ignore[arg-type] # it is in there, so it is a key
        return True

    def __getitem__(self, key: K) -> V:
        value = self._entries[key]
        self._entries.move_to_end(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._bound:
            self._entries.popitem(last=False)

    def __delitem__(self, key: K) -> None:
        del self._entries[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class _Remembered(NamedTuple):
    """A yes, since when it is known to hold, and what has to be compared with the facts of the day."""

    grant: Grant
    since: int
    commitments: tuple[bytes, ...]
    from_facts: tuple[bytes, ...]

    def holds(self, facts: Facts, now: int) -> bool:
        """Tell whether rules 2 to 5 and 7 would say yes again; freshness (rule 6) is asked apart."""
        return (
            self.since <= now < self.grant.until
            and facts.revoked_at(self.commitments) is None
            and all(identity in facts.entities for identity in self.from_facts)
        )


class Verifier:
    """:func:`wave.dots.verify.verify` with a memory. Same answers, same errors; for one thread."""

    def __init__(
        self,
        *,
        signatures: int = LIMITS.signature_cache,
        verdicts: int = LIMITS.verdict_cache,
        forged: int = LIMITS.forged_cache,
    ) -> None:
        """Remember that many good signatures, that many verdicts and that many bad signatures."""
        self._signatures: LeastRecent[bytes, bytes] = LeastRecent(signatures)
        self._forged: LeastRecent[tuple[bytes, bytes], str] = LeastRecent(forged)
        self._verdicts: LeastRecent[bytes, _Remembered] = LeastRecent(verdicts)

    def verify(
        self,
        proof: Proof | bytes,
        request: Request,
        facts: Facts,
        *,
        now: int,
        max_staleness: int = LIMITS.max_staleness,
        at_least: int | None = None,
    ) -> Grant:
        """Return the :class:`Grant` that ``proof`` gives ``request``, or raise as ``verify`` does."""
        key = _key(proof, request)
        known = self._verdicts.get(key)
        if known is not None:
            if known.holds(facts, now):
                rules.facts_fresh(facts, now, max_staleness, at_least)
                return amend(known.grant, height=facts.height)
            del self._verdicts[key]
        if not isinstance(proof, Proof):
            proof = Proof.from_bytes(proof)
        grant = verify(
            proof,
            request,
            facts,
            now=now,
            max_staleness=max_staleness,
            at_least=at_least,
            signatures=self._signatures,
            forged=self._forged,
        )
        self._verdicts[key] = _Remembered(
            grant,
            now,
            tuple(grant.commitments),
            tuple(identity for identity in grant.records if identity not in proof.records),
        )
        return grant


def _key(proof: Proof | bytes, request: Request) -> bytes:
    """Return a hash over everything that a verdict follows from, facts and time aside; no two cases share one."""
    parts = [proof.id if isinstance(proof, Proof) else sha256(proof), request.subject, request.namespace]
    parts += [_statement(statement) for statement in request.statements]
    parts.append(b"")  # no statement is empty: here the values begin
    for name, value in sorted(request.context.items()):
        digits = f"{value:x}" if isinstance(value, int) else repr(value)  # hexadecimal has no limit on digits
        parts += [name.encode("utf-8", "surrogatepass"), f"{type(value).__name__} {digits}".encode()]
    return sha256(b"".join([len(part).to_bytes(4) + part for part in parts]))


def _statement(statement: Statement) -> bytes:
    words = f"{statement.permission} {statement.pattern}"  # neither holds a space
    return words.encode() + (b" " + statement.permission_set if statement.permission_set is not None else b"")
