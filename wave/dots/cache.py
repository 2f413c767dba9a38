"""Verdicts remembered, and never for longer than they are true: the exact cache of signatures and of whole verdicts.

Of verdicts only a yes is remembered. Every time it is asked for again it is compared with the facts given: freshness
and height, each commitment that it rests on, its end time. Whatever does not hold any more is checked from the start.
Of signatures the bad ones are remembered too, which stay bad.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, MutableMapping
from typing import TypeVar, overload

from wave.codec import amend, sha256
from wave.dots import rules
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.verify import Grant, verify
from wave.limits import LIMITS
from wave.namespace.condition import Number

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


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

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | T, /) -> V | T: ...
    def get(self, key: K, default: V | T | None = None, /) -> V | T | None:
        """Return the value, or ``default`` where there is none: without the exception that a mapping's own makes."""
        value = self._entries.get(key)
        if value is None:
            return default
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


class _Remembered:
    """A yes, since when it is known to hold, and what has to be compared with the facts of the day."""

    __slots__ = ("_commitments", "_from_facts", "grant", "since")

    def __init__(self, grant: Grant, since: int, proof: Proof) -> None:
        self.grant = grant
        self.since = since
        self._from_facts = tuple([identity for identity in grant.records if identity not in proof.records])
        self._commitments: tuple[bytes, ...] | None = None  # most verdicts are never asked for again

    def holds(self, facts: Facts, now: int) -> bool:
        """Tell whether rules 2 to 5 and 7 would say yes again; freshness (rule 6) is asked apart."""
        if self._commitments is None:
            self._commitments = tuple(self.grant.commitments)
        return (
            self.since <= now < self.grant.until
            and facts.revoked_at(self._commitments) is None
            and all(identity in facts.entities for identity in self._from_facts)
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
        self._verdicts: LeastRecent[tuple[Hashable, ...], _Remembered] = LeastRecent(verdicts)

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
        self._verdicts[key] = _Remembered(grant, now, proof)
        return grant


def _key(proof: Proof | bytes, request: Request) -> tuple[Hashable, ...]:
    """Return everything that a verdict follows from, facts and time aside; no two cases share one."""
    identity = proof.id if isinstance(proof, Proof) else sha256(proof)
    values = tuple([_value(*named) for named in sorted(request.context.items())]) if request.context else ()
    return identity, request.subject, request.namespace, request.statements, values


def _value(name: str, value: Number) -> tuple[str, str, str]:
    """Return a named value as text, in which 1, True and 1.0 differ."""
    return name, type(value).__name__, f"{value:x}" if isinstance(value, int) else repr(value)  # any number of digits
