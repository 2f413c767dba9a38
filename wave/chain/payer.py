"""Who pays for a transaction: the key that signs, the next nonce, and what a node's refusal means for both."""

from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from wave.chain import bound_recursion, contract, genesis, rlp
from wave.errors import BadSetting, Malformed, WaveError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

DEVELOPMENT: Final = "development"
"""The payer whose key everybody knows, by name."""

DEVELOPMENT_CHAINS: Final = (contract.CHAIN_ID, 31337)
"""Where that account holds nothing of worth: chains of WAVE's own, and those of anvil and hardhat."""

_DYNAMIC: Final = b"\x02"  # EIP-2718's type of EIP-1559's transactions
_HIGHEST: Final = 2**256 - 1
_ORDER: Final = (
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1: keys are below (SEC 2)
)
_LEGACY_FIELDS: Final = ("nonce", "gasPrice", "gas", "to", "value", "data", "v")
_DYNAMIC_FIELDS: Final = (
    "chainId",
    "nonce",
    "maxPriorityFeePerGas",
    "maxFeePerGas",
    "gas",
    "to",
    "value",
    "data",
)
_BYTES: Final = ("to", "data")


class Prepared(NamedTuple):
    """A signed transaction: its hash, its bytes, and its nonce."""

    hash: bytes
    raw: bytes
    nonce: int


class Verdict(Enum):
    """What is to be done about a transaction that a node did not take."""

    TAKEN = "the node has it already"
    NONCE = "somebody else used the nonce: sign again with the next one"
    FEE = "it pays too little: ask for the fees again"
    FUNDS = "the account cannot pay for it"
    REFUSED = "trying again is no use"


_WORDS: Final = (
    (Verdict.TAKEN, ("already known", "already imported", "known transaction")),
    (Verdict.NONCE, ("nonce", "replacement transaction underpriced")),
    (
        Verdict.FEE,
        ("block base fee", "current base fee", "too low for the next block", "underpriced", "fee too low", "feetoolow"),
    ),
    (Verdict.FUNDS, ("insufficient funds", "enough funds", "exceeds account balance", "insufficient balance")),
)


def judge(message: str) -> Verdict:
    """Return what a node's words about a transaction mean; the words are geth's, which other nodes mostly repeat."""
    words = message.lower()
    for verdict, texts in _WORDS:
        if any(text in words for text in texts):
            return verdict
    return Verdict.REFUSED


class Payer:
    """An account with its key; the key shows in no text form and no error."""

    def __init__(self, key: bytes) -> None:
        """Take a secp256k1 key of 32 bytes; BadSetting."""
        if len(key) != 32 or not 0 < int.from_bytes(key, "big") < _ORDER:
            raise BadSetting("the payer's key is not a secp256k1 key of 32 bytes")
        self._key = key
        self.nonce: int | None = None
        """The next transaction's nonce; None: ask the chain."""

    def __repr__(self) -> str:
        """Show the address."""
        return f"Payer({self.address})"

    @cached_property
    def _account(self) -> "LocalAccount":
        from eth_account import Account  # takes a second to import, which those who only read need not wait for

        bound_recursion()
        account: LocalAccount = Account.from_key(self._key)
        return account

    @property
    def address(self) -> str:
        """The account's address, with its checksum in the letters' case."""
        return str(self._account.address)

    def sign(self, data: bytes, nonce: int, fields: Mapping[str, Any]) -> Prepared:
        """Sign one transaction with ``data`` and the other ``fields``; without a "to" it creates a contract.

        It pays by EIP-1559, or with a "gasPrice" as before (EIP-155).
        """
        done = self._account.sign_transaction({**fields, "nonce": nonce, "data": data, "value": 0})
        return Prepared(bytes(done.hash), bytes(done.raw_transaction), nonce)


def paying(payer: bytes | str | None, chain_id: int) -> Payer | None:
    """Return the account that a key or :data:`DEVELOPMENT` means on a chain; BadSetting.

    None is the development account on a chain of WAVE's own id, and nobody elsewhere. However it is named, that account
    pays on :data:`DEVELOPMENT_CHAINS` alone.
    """
    if payer is None and chain_id != contract.CHAIN_ID:
        return None
    if isinstance(payer, str) and payer != DEVELOPMENT:
        raise BadSetting(f"a payer is a key or {DEVELOPMENT!r}", hint="read the key file first")
    if isinstance(payer, bytes) and payer != genesis.DEVELOPMENT_PAYER:
        return Payer(payer)
    if chain_id not in DEVELOPMENT_CHAINS:
        raise BadSetting(
            f"the development account does not pay on chain {chain_id}: everybody knows its key",
            hint="name the key file of an account of your own; 'wave chain payer new' makes one",
        )
    return Payer(genesis.DEVELOPMENT_PAYER)


def fields_of(raw: bytes) -> dict[str, Any]:
    """Return what one of :meth:`Payer.sign`'s transactions says, by the names that it takes; Malformed."""
    try:
        typed = raw[:1] == _DYNAMIC
        values = rlp.decode(raw[1:] if typed else raw)
        names = _DYNAMIC_FIELDS if typed else _LEGACY_FIELDS
        if len(values) != len(names) + (4 if typed else 2):
            raise Malformed("that is no signed transaction")
        said: dict[str, Any] = {
            name: value if name in _BYTES else rlp.read_number(cast("bytes", value), _HIGHEST)
            for name, value in zip(names, values, strict=False)
        }
        if not typed:
            said["chainId"] = (said.pop("v") - 35) // 2
    except (WaveError, TypeError, AttributeError):
        raise Malformed("that is no signed transaction") from None
    if not said["to"]:
        del said["to"]
    return said
