"""What a transaction pays for a unit of gas: asked of the chain, and never more than the limits allow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from wave.errors import FeesTooHigh

GWEI: Final = 10**9
HIGHEST_FEE: Final = 1_000 * GWEI
"""The most that a unit of gas may cost where no limit is named: a node that lies about fees empties no account."""

HIGHEST_TIP: Final = 100 * GWEI
BASE_ROOM: Final = 2  # times the base fee that a transaction can pay: it stays payable through six full blocks
RAISE: Final = 8  # a replacement pays an eighth (12.5 %) more; nodes ask for a tenth

Fees = Mapping[str, int]
"""The fields of a transaction that say what it pays: EIP-1559's two, or the one before it."""

_PRICE, _MOST, _TIP = "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas"


@dataclass(frozen=True, slots=True)
class FeeLimits:
    """The most that a payer pays for a unit of gas, in wei; None: :data:`HIGHEST_FEE`, :data:`HIGHEST_TIP`.

    ``max_fee_per_gas`` bounds the whole, ``max_priority_fee`` the part of it that goes to the block's maker.
    """

    max_fee_per_gas: int | None = None
    max_priority_fee: int | None = None

    @property
    def most(self) -> int:
        """The most for the whole."""
        return HIGHEST_FEE if self.max_fee_per_gas is None else self.max_fee_per_gas

    @property
    def most_tip(self) -> int:
        """The most for the block's maker."""
        return HIGHEST_TIP if self.max_priority_fee is None else self.max_priority_fee

    def dynamic(self, base: int, tip: int) -> dict[str, int]:
        """Return the fees (EIP-1559) where the next block asks ``base`` and its maker ``tip``; FeesTooHigh."""
        self._check(base)
        tip = min(tip, self.most_tip, self.most - base)
        return {_MOST: min(BASE_ROOM * base + tip, self.most), _TIP: tip}

    def legacy(self, price: int) -> dict[str, int]:
        """Return the fees for a chain without EIP-1559 that asks ``price``; FeesTooHigh."""
        self._check(price)
        return {_PRICE: price}

    def raised(self, old: Fees, asked: Fees) -> dict[str, int] | None:
        """Return the fees of what replaces a transaction that pays ``old`` where the chain asks for ``asked`` now.

        None when the least that nodes would take for it is above the limits.
        """
        new = {}
        for name, value in old.items():
            most = self.most_tip if name == _TIP else self.most
            least = value + max(1, -(-value // RAISE))
            if least > most:
                return None
            new[name] = min(max(least, asked.get(name, 0)), most)
        if _TIP in new:
            new[_TIP] = min(new[_TIP], new[_MOST])
        return new

    def _check(self, asked: int) -> None:
        if asked > self.most:
            raise FeesTooHigh(f"the chain asks {asked} wei for a unit of gas, and the limit is {self.most} wei")
