"""Several endpoints, none of which is trusted: what counts is what as many as must agree say alike, or can be proved.

All are asked at once, each in a thread of its own. An answer stands as soon as enough endpoints gave it; a slow one is
waited for only while it could still make a difference, and never longer than a named limit. More than half must agree,
so that no two answers can both stand. State (names, revocations) needs one endpoint only: its Merkle proof is checked
against the header of the block that was agreed upon.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from wave.chain.contract import Event
from wave.chain.header import Block, Header
from wave.chain.stateproof import alias_slot, check_answer, revoked_slot
from wave.errors import BadHeader, BadSetting, BadStateProof, ChainUnavailable, NoQuorum, WaveError, WrongChain
from wave.namespace.name import check_label

_log = logging.getLogger(__name__)

PATIENCE: Final = 10.0  # seconds for an endpoint's answer
EVENTS_PATIENCE: Final = 120.0  # seconds for the answer about a range, which a node may give in many parts
GRACE: Final = 1.0  # seconds for a further head, or for an endpoint that still owes the answer before
REACH: Final = 1_024  # blocks below the lowest head at which a common block is looked for
_CLOSING: Final = 0.2  # seconds for the threads to end; one that waits for an answer ends when its connection does

V = TypeVar("V")


class Endpoint(Protocol):
    """One node, asked from one thread; :class:`wave.chain.client.Endpoint` is one. Raises WaveErrors."""

    @property
    def name(self) -> str: ...
    @property
    def chain_id(self) -> int: ...
    @property
    def registry(self) -> str: ...
    def check(self, chain_id: int | None) -> None: ...
    def head(self) -> Block: ...
    def block(self, number: int) -> Block | None: ...
    def events(self, from_height: int, to_height: int) -> Sequence[Event]: ...
    def header(self, number: int, /) -> Any: ...
    def state_proof(self, slots: Sequence[bytes], height: int, /) -> Any: ...
    def close(self) -> None: ...


class Quorum:
    """A chain as its endpoints agree on it, ``need`` of them at least. For one thread.

    Every question may raise :class:`NoQuorum`. ``disagreements`` counts by name how often an endpoint contradicted what
    was agreed upon, or proved something else.
    """

    def __init__(self, endpoints: Sequence[Endpoint], need: int | None = None, *, patience: float = PATIENCE) -> None:
        """Ask ``endpoints``, of which ``need`` must agree (None: a majority); :class:`BadSetting` for half or fewer.

        It owns them. ``patience`` is the seconds for one answer.
        """
        self.need = len(endpoints) // 2 + 1 if need is None else need
        if not len(endpoints) < 2 * self.need <= 2 * len(endpoints):
            raise BadSetting(
                f"a quorum of {self.need} among {len(endpoints)} endpoints",
                hint=f"it is more than half of them: {len(endpoints) // 2 + 1} to {len(endpoints)}",
            )
        self.disagreements: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._patience = patience
        self._registry = endpoints[0].registry
        self._agreed: Block | None = None
        self._header: Header | None = None
        self._chain_id: int | None = None
        self._members = [_Member(endpoint) for endpoint in endpoints]

    def close(self) -> None:
        """Close the endpoints."""
        for member in self._members:
            member.close()
        until = time.monotonic() + _CLOSING
        for member in self._members:
            member.thread.join(max(0.0, until - time.monotonic()))

    @property
    def name(self) -> str:
        """What the endpoints are called; no secrets of their URLs."""
        return ",".join(member.name for member in self._members)

    @property
    def registry(self) -> str:
        """The registry's address."""
        return self._registry

    @property
    def chain_id(self) -> int:
        """The chain's id, agreed upon once."""
        if self._chain_id is None:
            self._chain_id = self._agree("the chain's id", lambda endpoint: endpoint.chain_id)
        return self._chain_id

    def check(self, chain_id: int | None = None) -> None:
        """Raise :class:`WrongChain` when the endpoints agree on another chain, or on there being no registry."""
        if chain_id not in (None, self.chain_id):
            raise WrongChain(f"{self.name} is chain {self.chain_id}, not {chain_id}")

        def fits(endpoint: Endpoint) -> bool:
            try:
                endpoint.check(None)
            except WrongChain:
                return False
            return True

        if not self._agree("the registry's code", fits):
            raise WrongChain(
                f"{self.name} has no registry of this release at {self._registry}",
                hint="put one there with 'wave chain deploy', or name its address: 'wave chain use … --registry'",
            )

    # Blocks --------------------------------------------------------------------------------------------------------

    def head(self) -> Block:
        """Return the highest block that enough endpoints have, with the same hash, parent and time."""
        poll = self._ask(lambda endpoint: endpoint.head())
        poll.wait(self._patience, lambda: self._enough_heads(poll), among=self.need)
        heads = list(poll.answers.values())
        if len(heads) < self.need:
            raise self._none("the newest block", poll)
        block = next((one for one in heads if heads.count(one) >= self.need), None)
        if block is None or block.number < _ranked(heads, self.need):
            block = self._highest_common(sorted({one.number for one in heads}, reverse=True), heads)
        self._count(poll, lambda head: head.number == block.number and head != block)
        self._agreed = block
        return block

    def _enough_heads(self, poll: "_Poll[Block]") -> bool:
        """Tell whether no answer that is still missing could raise the height that enough endpoints have reached."""
        heads, missing = list(poll.answers.values()), poll.missing
        return len(heads) >= self.need > missing and _ranked(heads, self.need) == _ranked(heads, self.need - missing)

    def _highest_common(self, heights: list[int], heads: list[Block]) -> Block:
        """Return the highest block that enough endpoints have: at the heads' heights, or not far below them."""
        reached = _ranked(heads, self.need)
        above = None
        found = None
        lowest = heights[-1]
        further = [max(0, lowest - (1 << step)) for step in range(REACH.bit_length())]
        for height in dict.fromkeys([*(one for one in heights if one <= reached), *further]):
            found = self._common(height)
            if found is not None:
                break
            above = height
        if found is None:
            raise NoQuorum(
                f"{self.need} of {len(self._members)} endpoints must have the same blocks, and do not, down to"
                f" block {further[-1]}"
            )
        while above is not None and above - found.number > 1:
            middle = (above + found.number) // 2
            block = self._common(middle)
            if block is None:
                above = middle
            else:
                found = block
        return found

    def _common(self, height: int) -> Block | None:
        try:
            return self._block(height, hurried=True)
        except NoQuorum:
            return None

    def block(self, number: int) -> Block | None:
        """Return the block of that number, or None when the chain is shorter."""
        return self._block(number)

    def _block(self, number: int, *, hurried: bool = False) -> Block | None:
        return self._agree(f"block {number}", lambda endpoint: endpoint.block(number), hurried=hurried)

    def events(self, from_height: int, to_height: int) -> list[Event]:
        """Return what the registry said in the blocks from ``from_height`` to ``to_height``, both included, in order.

        The last must not lie above the block agreed upon.
        """
        if (self._agreed is None or to_height > self._agreed.number) and to_height > self.head().number:
            raise NoQuorum(f"no block {to_height} is agreed upon")

        def ask(endpoint: Endpoint) -> tuple[tuple[Event, bytes], ...]:
            return tuple([(event, event.block_hash) for event in endpoint.events(from_height, to_height)])

        agreed = self._agree(f"blocks {from_height} to {to_height}", ask, EVENTS_PATIENCE)
        return [event for event, _ in agreed]

    # State ---------------------------------------------------------------------------------------------------------

    def alias(self, label: str) -> bytes | None:
        """Return who holds the global alias ``label``, or None."""
        holder = self._stored(alias_slot(check_label(label)))
        return holder.to_bytes(32, "big") if holder else None

    def revoked_at(self, commitment: bytes) -> int | None:
        """Return the height at which the preimage of ``commitment`` was shown, or None."""
        return self._stored(revoked_slot(commitment)) or None

    def _stored(self, slot: bytes) -> int:
        header = self._header_of(self.head())
        return self._proved([slot], header)[1][slot]

    def header(self, number: int) -> Any:
        """Return a block as eth_getBlockByNumber gives it, once its header has the hash agreed upon; or None."""
        block = self.block(number)
        return None if block is None else self._form_of(block)

    def state_proof(self, slots: Sequence[bytes], height: int) -> Any:
        """Return the proofs of the registry's slots as eth_getProof gives them, once they hold."""
        block = self.block(height)
        if block is None:
            raise NoQuorum(f"no block {height} is agreed upon")
        return self._proved(slots, self._header_of(block))[0]

    def _header_of(self, block: Block) -> Header:
        if self._header is None or self._header.hash != block.hash:
            self._header = Header.from_json(self._form_of(block))
        return self._header

    def _form_of(self, block: Block) -> Any:
        def ask(endpoint: Endpoint) -> Any:
            form = endpoint.header(block.number)
            if form is None:
                raise ChainUnavailable(f"{endpoint.name} does not have block {block.number}")
            if Header.from_json(form).hash != block.hash:
                raise BadHeader(f"{endpoint.name} has another block {block.number} than the one agreed upon")
            return form

        return self._first(f"the header of block {block.number}", ask)

    def _proved(self, slots: Sequence[bytes], header: Header) -> tuple[Any, Mapping[bytes, int]]:
        registry = bytes.fromhex(self._registry.removeprefix("0x"))

        def ask(endpoint: Endpoint) -> tuple[Any, Mapping[bytes, int]]:
            form = endpoint.state_proof(slots, header.number)
            return form, check_answer(form, slots, state_root=header.state_root, registry=registry).values

        return self._first(f"the registry's state in block {header.number}", ask)

    # Asking --------------------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[Endpoint], V], *, counting: bool = True) -> "_Poll[V]":
        poll = _Poll[V](len(self._members), counting=counting)
        for member in self._members:
            member.ask(poll, question)
        return poll

    def _agree(
        self,
        what: str,
        question: Callable[[Endpoint], V],
        patience: float | None = None,
        *,
        hurried: bool = False,
    ) -> V:
        """Return the answer that enough endpoints give; ``hurried``, hardly wait for those that owe one from before."""
        poll = self._ask(question)
        poll.wait(
            patience or self._patience,
            lambda: poll.most >= self.need or poll.most + poll.missing < self.need,
            hurried=hurried,
        )
        if poll.most < self.need:
            raise self._none(what, poll)
        agreed = poll.commonest
        if agreed is not None:
            self._count(poll, lambda answer: answer is not None and answer != agreed)
        return agreed

    def _first(self, what: str, question: Callable[[Endpoint], V]) -> V:
        """Return the first answer; the question itself raises when one does not prove what it says."""
        poll = self._ask(question, counting=False)
        poll.wait(self._patience, lambda: bool(poll.answers))
        self._count(poll, lambda _: False)
        if not poll.answers:
            raise self._none(what, poll)
        return next(iter(poll.answers.values()))

    def _count(self, poll: "_Poll[V]", contradicts: Callable[[V], bool]) -> None:
        def judge(name: str, answer: V | WaveError) -> None:
            wrong = isinstance(answer, BadHeader | BadStateProof)
            if wrong or (not isinstance(answer, WaveError) and contradicts(answer)):
                with self._counting:
                    self.disagreements[name] += 1
                    first = self.disagreements[name] == 1
                if first:
                    _log.warning("%s contradicts what the other endpoints agree upon, or can prove", name)

        poll.settle(judge)

    def _none(self, what: str, poll: "_Poll[V]") -> NoQuorum:
        others = len(poll.answers) - poll.most
        failed = "; ".join(f"{name}: {error.message}" for name, error in poll.failures)
        return NoQuorum(
            f"{self.need} of {len(self._members)} endpoints must agree on {what}: {poll.most} said the same, {others}"
            f" something else, {len(poll.failures)} could not tell, {poll.missing} did not answer in time",
            hint=failed[:600] or None,
        )


def _ranked(heads: list[Block], rank: int) -> int:
    """Return the height that ``rank`` of the heads have reached."""
    return sorted((head.number for head in heads), reverse=True)[rank - 1]


class _Poll(Generic[V]):
    """One question to all members: their answers as they come, and afterwards a judge for the late ones too.

    With ``counting``, equal answers are counted: ``commonest`` came ``most`` times.
    """

    def __init__(self, members: int, *, counting: bool) -> None:
        self.answers: dict[int, V] = {}
        self.failures: list[tuple[str, WaveError]] = []
        self.missing = members
        self.owing = 0  # of those that are missing: those that had not answered the question before either
        self.commonest: V = cast("V", None)
        self.most = 0
        self._counts: Counter[V] | None = Counter() if counting else None
        self._given: list[tuple[str, V | WaveError]] = []
        self._judge: Callable[[str, V | WaveError], None] | None = None
        self._changed = threading.Condition()

    def put(self, member: "_Member", answer: V | WaveError, *, owed: bool) -> None:
        """Take in an answer, or why there is none."""
        with self._changed:
            if self._judge is not None:
                self._judge(member.name, answer)
                return
            self.missing -= 1
            self.owing -= owed
            self._given.append((member.name, answer))
            if isinstance(answer, WaveError):
                self.failures.append((member.name, answer))
            else:
                self.answers[id(member)] = answer
                if self._counts is not None:
                    self._counts[answer] += 1
                    if self._counts[answer] > self.most:
                        self.commonest, self.most = answer, self._counts[answer]
            self._changed.notify_all()

    def wait(self, patience: float, enough: Callable[[], bool], *, among: int = 0, hurried: bool = False) -> None:
        """Return when ``enough()``, or nothing more can come; after ``patience`` seconds in any case.

        It waits :data:`GRACE` seconds only once ``among`` answers are there or, ``hurried``, when nobody is left but
        members that owe the answer before as well.
        """
        start = time.monotonic()
        grace: float | None = None
        with self._changed:
            while self.missing and not enough():
                now = time.monotonic()
                slow = hurried and self.missing <= self.owing
                if grace is None and (slow or 0 < among <= len(self.answers)):
                    grace = now + GRACE
                end = start + patience if grace is None else min(start + patience, grace)
                if now >= end:
                    return
                self._changed.wait(end - now)

    def settle(self, judge: Callable[[str, V | WaveError], None]) -> None:
        """Have every answer judged, those that came and those that will."""
        with self._changed:
            for name, answer in self._given:
                judge(name, answer)
            self._judge = judge


class _Member:
    """An endpoint and the thread that asks it; a new question takes the place of one that it did not come to."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = endpoint.name
        self._endpoint = endpoint
        self._next: tuple[_Poll[Any], Callable[[Endpoint], Any], bool] | None = None
        self._busy = False
        self._closed = False
        self._changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, name=f"quorum {self.name}", daemon=True)
        self.thread.start()

    def ask(self, poll: _Poll[V], question: Callable[[Endpoint], V]) -> None:
        with self._changed:
            owed = self._busy
            poll.owing += owed
            self._next = poll, question, owed
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    while self._next is None and not self._closed:
                        self._changed.wait()
                    if self._closed or self._next is None:
                        return
                    poll, question, owed = self._next
                    self._next, self._busy = None, True
                answer = self._answer(question)
                with self._changed:
                    self._busy = False
                poll.put(self, answer, owed=owed)
        finally:
            self._endpoint.close()

    def _answer(self, question: Callable[[Endpoint], V]) -> V | WaveError:
        try:
            return question(self._endpoint)
        except WaveError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever a foreign answer made somebody stumble over
            _log.debug("unreadable answer of %s: %s", self.name, type(error).__name__)
            return ChainUnavailable(f"{self.name} answers with something unreadable")
