"""Writing to the registry: calls made into transactions, signed, sent, replaced when they are stuck, and seen mined."""

import random
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from eth_hash.auto import keccak

from wave.chain import contract
from wave.chain.answer import NodeError, data, number, reading, result, to_hex
from wave.chain.fees import FeeLimits, Fees
from wave.chain.payer import Payer, Prepared, Verdict, fields_of, judge
from wave.chain.voices import Node, Voices
from wave.errors import (
    BadSetting,
    ChainUnavailable,
    FeesTooHigh,
    Malformed,
    OutOfFunds,
    StillPending,
    TooLarge,
    TransactionFailed,
)

ATTEMPTS: Final = 40  # rounds of one call while others use the same payer
STUCK_AFTER: Final = 20.0  # seconds without being mined after which a transaction is replaced by one that pays more
REPLACEMENTS: Final = 3  # of one transaction, before it is left to itself
BATCH_CALLS: Final = 200  # transactions in one request
BATCH_BYTES: Final = 400_000  # raw bytes of transactions in one request; hexadecimal doubles them
FEES_KEPT: Final = 5.0  # seconds for which the fees asked for are used again
GAS_MARGIN: Final = 4  # the limit is the estimate, a quarter of it,
GAS_SPARE: Final = 5_000  # and so much, since state may change until the transaction is mined
CLAIM_GAS: Final = 120_000
"""The limit for a claim that a node cannot estimate: some do as if it were mined in the block of its commitment."""

SALT_BYTES: Final = 8
"""Drawn at random, with zeros behind, which cost little: each guess at a name takes 2**64 tries until it is shown."""

_RIVALS: Final = "others use the same payer; give each process a payer of its own"
_HIGHEST: Final = 2**53
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0

T = TypeVar("T")

Call = bytes
"""The calldata of one call to the registry."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that was carried out: its hash, the height of its block, the gas it took, and what it created."""

    transaction: bytes
    height: int
    gas: int
    contract: bytes | None = None


@dataclass(slots=True)
class _Flight:
    """A call on its way: everything that was signed for it has one nonce, so one of it is carried out at most."""

    index: int
    signed: list[Prepared]
    fees: Fees
    since: float
    replaced: int = 0
    lost: int = 0  # looks in a row that found the nonce used, and by none of ``signed``

    @property
    def nonce(self) -> int:
        return self.signed[0].nonce


_TURNS: defaultdict[tuple[int, str], threading.Lock] = defaultdict(threading.Lock)
"""By chain and account: threads that share both take turns from asking for a nonce to using it."""


# Calls -------------------------------------------------------------------------------------------------------------


def publish_call(item: bytes) -> Call:
    """Publish the bytes of one object; TooLarge."""
    if len(item) > contract.DATA_BYTES:
        raise TooLarge(f"an object has at most {contract.DATA_BYTES} bytes, this one {len(item)}")
    padded = item.ljust(-(-len(item) // contract.WORD) * contract.WORD, b"\0")
    return _PUBLISH + _word(contract.WORD) + _word(len(item)) + padded


def anchor_call(root: bytes, count: int) -> Call:
    """Put a time on the ``count`` objects under the Merkle root ``root``; Malformed."""
    return _ANCHOR + _word(root) + _word(count)


def revoke_call(preimages: Sequence[bytes]) -> Call:
    """Show preimages of commitments, at most 64; TooLarge, Malformed."""
    if not 0 < len(preimages) <= contract.PREIMAGES:
        raise TooLarge(f"one call revokes 1 to {contract.PREIMAGES} commitments, not {len(preimages)}")
    words = b"".join(map(_word, preimages))
    return _REVOKE + _word(contract.WORD) + _word(len(preimages)) + words


def commit_call(label: bytes, target: bytes, salt: bytes) -> Call:
    """Announce the claim of a padded label without saying which; Malformed."""
    _checked_claim(label, target)
    return _COMMIT + contract.commitment(_word(label), _word(target), _word(salt))


def claim_call(label: bytes, target: bytes, salt: bytes) -> Call:
    """Claim a padded label that :func:`commit_call` announced in an earlier block; Malformed."""
    _checked_claim(label, target)
    return _CLAIM + _word(label) + _word(target) + _word(salt)


def draw_salt(draw: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Return what hides a claim in its commitment, 32 bytes."""
    return draw(SALT_BYTES).ljust(contract.WORD, b"\0")


def _checked_claim(label: bytes, target: bytes) -> None:
    if not any(label) or not any(target):
        raise Malformed("the registry gives neither an empty label nor a name to the id of all zeros")


def _selector(signature: str) -> bytes:
    return keccak(signature.encode())[:4]


_PUBLISH: Final = _selector("publish(bytes)")
_ANCHOR: Final = _selector("anchor(bytes32,uint256)")
_REVOKE: Final = _selector("revoke(bytes32[])")
_COMMIT: Final = _selector("commit(bytes32)")
_CLAIM: Final = _selector("claim(bytes32,bytes32,bytes32)")
_COMMITTED: Final = _selector("committed(bytes32)")
_ALIAS: Final = _selector("alias(bytes32)")


def _word(value: bytes | int) -> bytes:
    if isinstance(value, int):
        try:
            return value.to_bytes(contract.WORD, "big")
        except OverflowError:
            raise Malformed(f"{value} is not a count") from None
    if len(value) != contract.WORD:
        raise Malformed(f"the registry takes {contract.WORD} bytes here, not {len(value)}")
    return value


# Sending -----------------------------------------------------------------------------------------------------------


class Sender:
    """Sends calls to the registry on one chain, paid for by one account. For one thread."""

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        chain_id: int,
        registry: bytes,
        payer: Payer | None,
        limits: FeeLimits | None = None,
        need: int = 1,
    ) -> None:
        """Send through ``nodes``, ``need`` of which have to agree; without a ``payer`` every call raises BadSetting."""
        self._voices = Voices(nodes, need)
        self._chain_id = chain_id
        self._registry = registry
        self._limits = limits or FeeLimits()
        self.payer = payer
        self._fees: tuple[float, Fees] | None = None
        self._gas: dict[bytes | int, int] = {}
        self._refusal = ""

    def close(self) -> None:
        """Let go of the threads, if there are any."""
        self._voices.close()

    def transact(self, calls: Sequence[Call], *, create: bool = False) -> list[Receipt]:
        """Send one transaction for each of ``calls`` and wait for all; in order, unless others use the payer too.

        With ``create`` a call is the code of a new contract. Raises TransactionFailed for what the registry refuses
        or nobody takes, FeesTooHigh, OutOfFunds, StillPending for what was sent and is not mined, ChainUnavailable.
        """
        if not calls:
            return []
        with reading(self._voices.name):
            limits = self._gas_limits(calls, create=create)
            receipts: dict[int, Receipt] = {}
            waiting = list(range(len(calls)))
            failures = 0
            while True:
                before = len(receipts)
                receipts.update(self._wait(self._send(calls, waiting, limits, create=create)))
                waiting = [index for index in waiting if index not in receipts]
                if not waiting:
                    return [receipts[index] for index in range(len(calls))]
                failures = 0 if len(receipts) > before else failures + 1
                if failures >= ATTEMPTS:
                    break
                if failures:
                    time.sleep(random.uniform(0, 0.002 * 2 ** min(failures, 7)))  # noqa: S311 - spreads rivals
        raise TransactionFailed(
            f"{self._voices.name} took none of {len(waiting)} transactions, {ATTEMPTS} times over: {self._refusal}",
            hint=_RIVALS if judge(self._refusal) is Verdict.NONCE else None,
        )

    # In parts, for those who have to survive a crash between them --------------------------------------------------

    def prepare(self, calls: Sequence[Call]) -> list[Prepared]:
        """Return a signed transaction for each of ``calls``, with consecutive nonces that are unused so far.

        Nothing is sent: until something is, the next call returns the same nonces. Raises as :meth:`transact`.
        """
        payer = self._paying()
        with reading(self._voices.name):
            limits = self._gas_limits(calls)
            fees = self._current_fees()
            first = self._pending_nonce()
            return [
                payer.sign(call, nonce, self._fields(limit, fees))
                for nonce, (call, limit) in enumerate(zip(calls, limits, strict=True), first)
            ]

    def replacing(self, prepared: Sequence[Prepared]) -> list[Prepared]:
        """Return for each transaction that is not mined yet another one of the same nonce that pays an eighth more.

        None for those whose fee the limits do not let rise. Of all that share a nonce one is mined at most.
        """
        payer = self._paying()
        with reading(self._voices.name):
            asked = self._asked_fees()
        signed = []
        for one in prepared:
            fields = fields_of(one.raw)
            call, nonce = fields.pop("data"), fields.pop("nonce")
            old = {
                name: fields[name] for name in ("gasPrice", "maxFeePerGas", "maxPriorityFeePerGas") if name in fields
            }
            new = self._limits.raised(cast(Fees, old), asked)
            if new is not None:
                signed.append(payer.sign(bytes(call), nonce, {**fields, **new}))
        return signed

    def broadcast(self, prepared: Sequence[Prepared]) -> None:
        """Send signed transactions; that a node knows one already, or that its nonce is used, is no error.

        Raises TransactionFailed for one that nodes do not take, OutOfFunds, FeesTooHigh for one that pays too little
        by now (:meth:`replacing` makes one that pays more), ChainUnavailable.
        """
        with reading(self._voices.name):
            for group in _groups(prepared, lambda one: len(one.raw)):
                for one, verdict in zip(group, self._offer(group), strict=True):
                    if verdict is Verdict.FEE:
                        raise FeesTooHigh(f"the chain asks more by now than transaction {one.hash.hex()} pays")
                    self._raise_for(verdict, fields_of(one.raw))

    def receipt(self, transaction: bytes) -> Receipt | None:
        """Return the receipt of a transaction, None when it is not mined; TransactionFailed when it was reverted."""
        with reading(self._voices.name):
            request = ("eth_getTransactionReceipt", [to_hex(transaction)])
            return self._carried_out(
                self._counted(self._voices.hear([request], lambda said: _receipt(result(said[0]))))
            )

    def nonce(self) -> int:
        """Return the payer's next nonce, mined transactions alone counted.

        Of several nodes' answers the lowest: whoever finds a nonce used and no receipt then will not be wrong.
        """
        with reading(self._voices.name):
            request = ("eth_getTransactionCount", [self._paying().address, "latest"])
            return min(self._voices.hear([request], lambda said: number(result(said[0]), _HIGHEST)))

    # Inside: one round ---------------------------------------------------------------------------------------------

    def _send(
        self, calls: Sequence[Call], waiting: Sequence[int], limits: Sequence[int], *, create: bool
    ) -> list[_Flight]:
        """Send as many of the ``waiting`` calls as one request holds; return those taken."""
        payer = self._paying()
        chosen = next(iter(_groups(waiting, lambda index: len(calls[index]) + 200)))
        fees = self._current_fees()
        with _TURNS[self._chain_id, payer.address]:
            first = self._pending_nonce() if payer.nonce is None else payer.nonce
            payer.nonce = None  # unknown, should anything go wrong from here on
            signed = [
                payer.sign(calls[index], nonce, self._fields(limits[index], fees, create=create))
                for nonce, index in enumerate(chosen, first)
            ]
            verdicts = self._offer(signed)
        now = time.monotonic()
        flights = [
            _Flight(index, [one], fees, now)
            for index, one, verdict in zip(chosen, signed, verdicts, strict=True)
            if verdict is Verdict.TAKEN
        ]
        if len(flights) == len(chosen):
            payer.nonce = first + len(chosen)
        for index, verdict in zip(chosen, verdicts, strict=True):
            self._raise_for(verdict, {"gas": limits[index], **fees}, sent=len(flights))
        return flights

    def _offer(self, signed: Sequence[Prepared]) -> list[Verdict]:
        """Send transactions to every node and return what is to be done about each."""
        requests = [("eth_sendRawTransaction", [to_hex(one.raw)]) for one in signed]
        heard = self._voices.hear(requests, lambda said: list(map(self._verdict, said, signed)))
        verdicts = []
        for place, one in enumerate(signed):
            said = [each[place] for each in heard]
            verdict = Verdict.TAKEN if Verdict.TAKEN in said else max(said, key=said.count)
            if verdict is Verdict.NONCE and self._is_mined(one):  # the answer got lost, the transaction did not
                verdict = Verdict.TAKEN
            if verdict is Verdict.FEE:
                self._fees = None
            verdicts.append(verdict)
        return verdicts

    def _verdict(self, answer: Any, one: Prepared) -> Verdict:
        try:
            said = result(answer)
        except NodeError as error:
            self._refusal = error.words
            return judge(error.words)
        if data(said) != one.hash:
            raise ChainUnavailable(f"{self._voices.name} answers with the hash of another transaction")
        return Verdict.TAKEN

    def _is_mined(self, one: Prepared) -> bool:
        request = ("eth_getTransactionReceipt", [to_hex(one.hash)])
        return any(self._voices.hear([request], lambda said: _receipt(result(said[0])) is not None))

    def _raise_for(self, verdict: Verdict, fields: Fees, *, sent: int = 0) -> None:
        """Raise what a refused transaction with ``fields`` calls for; ``sent`` others went out beside it."""
        beside = f"; {sent} beside it were sent" if sent else ""
        if verdict is Verdict.FUNDS:
            raise self._out_of_funds(fields, beside)
        if verdict is Verdict.REFUSED:
            raise TransactionFailed(f"{self._voices.name} refused a transaction: {self._refusal}{beside}")

    def _out_of_funds(self, fields: Fees, beside: str = "") -> OutOfFunds:
        address = self._paying().address
        need = fields["gas"] * fields.get("maxFeePerGas", fields.get("gasPrice", 0))
        holds = self._voices.middle([("eth_getBalance", [address, "latest"])], lambda said: number(result(said[0])))
        return OutOfFunds(
            f"{address} has {_money(holds)} on chain {self._chain_id}; a transaction may cost {_money(need)}{beside}",
            hint=f"send funds to {address}, or name another payer",
        )

    # Inside: until it is mined -------------------------------------------------------------------------------------

    def _wait(self, flights: list[_Flight]) -> dict[int, Receipt]:
        """Return the receipts of what was mined; what is left out lost its nonce to another transaction.

        What is not mined within :data:`STUCK_AFTER` is replaced, :data:`REPLACEMENTS` times at most; StillPending.
        """
        found: dict[int, Receipt] = {}
        pause = _FIRST_PAUSE
        count_nonces = False  # not at the first look: most chains of one's own have mined it by now
        while flights:
            self._look(flights, found, count_nonces=count_nonces)
            flights = [one for one in flights if one.index not in found and one.lost < 2]
            if flights:
                self._paying().nonce = None  # it waits among others: ask again which is next
                self._replace_stuck(flights)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                count_nonces = True
        return found

    def _look(self, flights: Sequence[_Flight], found: dict[int, Receipt], *, count_nonces: bool) -> None:
        hashes = [one.hash for flight in flights for one in flight.signed]
        requests: list[tuple[str, Any]] = [("eth_getTransactionReceipt", [to_hex(item)]) for item in hashes]
        if count_nonces:  # before the receipts: a nonce used by then has its receipt by now, if it is one of these
            requests.insert(0, ("eth_getTransactionCount", [self._paying().address, "latest"]))

        def read(said: list[Any]) -> tuple[int, dict[bytes, Receipt]]:
            used = number(result(said[0]), _HIGHEST) if count_nonces else 0
            receipts = [_receipt(result(answer)) for answer in said[-len(hashes) :]]
            return used, {one.transaction: one for one in receipts if one is not None}

        heard = self._voices.hear(requests, read)
        for flight in flights:
            own = [next((known[one.hash] for one in flight.signed if one.hash in known), None) for _, known in heard]
            receipt = self._carried_out(self._counted(own))
            if receipt is not None:
                found[flight.index] = receipt
            gone = all(used > flight.nonce and one is None for (used, _), one in zip(heard, own, strict=True))
            flight.lost = flight.lost + 1 if gone else 0

    def _counted(self, said: Sequence[Receipt | None]) -> Receipt | None:
        """Return the receipt that as many nodes as are needed tell of."""
        return next((one for one in said if one is not None and said.count(one) >= self._voices.need), None)

    @staticmethod
    def _carried_out(receipt: Receipt | None) -> Receipt | None:
        if receipt is not None and receipt.gas < 0:
            raise TransactionFailed(f"the registry refused transaction {receipt.transaction.hex()}")
        return receipt

    def _replace_stuck(self, flights: Sequence[_Flight]) -> None:
        now = time.monotonic()
        stuck = [one for one in flights if now - one.since > STUCK_AFTER and not one.lost]
        if not stuck:
            return
        for flight in stuck:
            if flight.replaced >= REPLACEMENTS:
                raise self._still_pending(flight)
        try:
            asked: Fees | None = self._asked_fees()
        except FeesTooHigh:
            asked = None
        payer = self._paying()
        for flight in stuck:
            flight.since = now
            flight.replaced += 1
            fees = None if asked is None else self._limits.raised(flight.fees, asked)
            if fees is not None:
                fields = fields_of(flight.signed[-1].raw)
                call, nonce = bytes(fields.pop("data")), fields.pop("nonce")
                flight.signed.append(payer.sign(call, nonce, {**fields, **fees}))
                flight.fees = fees
        self._offer([one.signed[-1] for one in stuck])  # where the fee cannot rise, once more as it was

    def _still_pending(self, flight: _Flight) -> StillPending:
        used = self.nonce()
        hint = "it may still be mined: look for it before you send the same again, or allow a higher fee"
        if used < flight.nonce:
            hint = f"an earlier transaction of {self._paying().address}, with nonce {used}, holds it up"
        seconds = STUCK_AFTER * (flight.replaced + 1)
        return StillPending(
            f"{self._voices.name} took transaction {to_hex(flight.signed[-1].hash)} and has not mined it in"
            f" {seconds:.0f} s, its fee raised {len(flight.signed) - 1} times; it is still pending",
            hint=hint,
        )

    # Inside: what a transaction says -------------------------------------------------------------------------------

    def _paying(self) -> Payer:
        if self.payer is None:
            raise BadSetting("writing to this chain needs a payer", hint="name the key file of an account with funds")
        return self.payer

    def _fields(self, gas: int, fees: Fees, *, create: bool = False) -> dict[str, object]:
        to = {} if create else {"to": self._registry}
        return {"chainId": self._chain_id, "gas": gas, **to, **fees}

    def _pending_nonce(self) -> int:
        request = ("eth_getTransactionCount", [self._paying().address, "pending"])
        return self._voices.middle([request], lambda said: number(result(said[0]), _HIGHEST))

    def _gas_limits(self, calls: Sequence[Call], *, create: bool = False) -> list[int]:
        """Return a gas limit for each call, with some to spare; TransactionFailed when the registry would refuse.

        What publishing takes depends on the size alone, so it is asked for once for each power of two.
        """
        kinds = [_kind(call) for call in calls]
        unknown: dict[bytes | int, Call] = {}
        for kind, call in zip(kinds, calls, strict=True):
            if kind not in self._gas:
                unknown[kind] = publish_call(b"\xff" * kind) if isinstance(kind, int) else call
        needs = dict(self._gas)
        for group in _groups(list(unknown.items()), lambda item: len(item[1])):
            estimated = self._estimate([call for _, call in group], create=create)
            needs.update({kind: need for (kind, _), need in zip(group, estimated, strict=True)})
        self._gas = {kind: need for kind, need in needs.items() if isinstance(kind, int)}
        return [needs[kind] for kind in kinds]

    def _estimate(self, calls: Sequence[Call], *, create: bool = False) -> list[int]:
        to = {} if create else {"to": to_hex(self._registry)}
        common = {"from": self._paying().address, **to}
        requests = [("eth_estimateGas", [{**common, "data": to_hex(call)}]) for call in calls]
        heard = self._voices.hear(requests, lambda said: list(map(_estimated, said)))
        limits = []
        for place, call in enumerate(calls):
            said = [each[place] for each in heard]
            needs = sorted(one for one in said if isinstance(one, int))
            if 2 * len(needs) > len(said):
                need = needs[len(needs) // 2]
                limits.append(need + need // GAS_MARGIN + GAS_SPARE)
                continue
            error = next(one for one in said if isinstance(one, NodeError))
            if judge(error.words) is Verdict.FUNDS:
                raise self._out_of_funds({"gas": GAS_SPARE, **self._current_fees()})
            if "revert" not in error.words.lower():
                raise error
            if not self._can_claim(call):
                raise TransactionFailed(f"the registry refuses: {error.words}")
            limits.append(CLAIM_GAS)
        return limits

    def _can_claim(self, call: Call) -> bool:
        """Tell whether ``call`` is a claim that was announced, for a label that is free."""
        if call[:4] != _CLAIM:
            return False
        views = (_COMMITTED + keccak(call[4:]), _ALIAS + call[4 : 4 + contract.WORD])
        requests = [("eth_call", [{"to": to_hex(self._registry), "data": to_hex(view)}, "latest"]) for view in views]
        heard = self._voices.hear(requests, lambda said: [any(data(result(one), contract.WORD)) for one in said])
        return 2 * heard.count([True, False]) > len(heard)

    def _current_fees(self) -> Fees:
        """Return the fees to pay, those of a moment ago if there are; FeesTooHigh."""
        now = time.monotonic()
        if self._fees is None or now - self._fees[0] > FEES_KEPT:
            self._fees = now, self._asked_fees()
        return self._fees[1]

    def _asked_fees(self) -> Fees:
        requests = [
            ("eth_feeHistory", ["0x1", "latest", []]),
            ("eth_maxPriorityFeePerGas", []),
            ("eth_gasPrice", []),
        ]
        heard = self._voices.hear(requests, _asked)
        bases = sorted(base for base, _, _ in heard if base is not None)
        if not any(bases) and not self._has_base_fee():
            return self._limits.legacy(sorted(price for _, _, price in heard)[len(heard) // 2])
        if not bases:
            raise ChainUnavailable(f"{self._voices.name} has base fees, and does not tell them")
        tips = sorted(tip for base, tip, _ in heard if base is not None)
        return self._limits.dynamic(bases[len(bases) // 2], tips[len(tips) // 2])

    def _has_base_fee(self) -> bool:
        """Tell whether the newest block has a base fee, if only of zero: chains before EIP-1559 have none."""
        heard = self._voices.hear(
            [("eth_getBlockByNumber", ["latest", False])], lambda said: "baseFeePerGas" in result(said[0])
        )
        return 2 * heard.count(True) > len(heard)


def _kind(call: Call) -> bytes | int:
    """Return what decides over the gas that a call takes: a size if it publishes, otherwise the call itself."""
    if call[:4] != _PUBLISH:
        return call
    size = len(call) - 4 - 2 * contract.WORD
    return min(contract.DATA_BYTES, max(256, 1 << (size - 1).bit_length())) if size else 256


def _estimated(answer: Any) -> int | NodeError:
    try:
        return number(result(answer), _HIGHEST)
    except NodeError as error:
        return error


def _asked(said: list[Any]) -> tuple[int | None, int, int]:
    """Return what one node asks: base fee (None: it tells none), the tip on top, and the price of old transactions."""
    history, tip, price = said
    gas_price = number(result(price))
    try:
        base = number(result(history)["baseFeePerGas"][-1])
    except NodeError:
        return None, 0, gas_price
    try:
        return base, number(result(tip)), gas_price
    except NodeError:  # some nodes know the one method and not the other
        return base, max(0, gas_price - base), gas_price


def _receipt(form: Any) -> Receipt | None:
    """Return the receipt in an answer, None when there is none; its gas is negative where it was reverted."""
    if form is None:
        return None
    carried_out = number(form["status"], 1)
    gas = number(form["gasUsed"], _HIGHEST)
    created = form.get("contractAddress")
    return Receipt(
        data(form["transactionHash"], 32),
        number(form["blockNumber"], _HIGHEST),
        gas if carried_out else -1,
        None if created is None else data(created, 20),
    )


def _groups(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield ``items`` in groups that one request holds."""
    group: list[T] = []
    total = 0
    for item in items:
        if group and (len(group) >= BATCH_CALLS or total + size(item) > BATCH_BYTES):
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group


def _money(wei: int) -> str:
    """Return an amount for people: in wei, or in units of 10^18 of them when it is large."""
    if wei < 10**12:
        return f"{wei} wei"
    whole, rest = divmod(wei, 10**18)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".") + " ether"
