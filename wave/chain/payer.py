"""Who pays for a transaction: the key that signs, the next nonce, and what a node's refusal means for both."""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, cast

from eth_account import Account
from eth_account.signers.local import LocalAccount

from wave.errors import BadSetting


class Signed(NamedTuple):
    """A signed transaction: its hash and its bytes."""

    hash: bytes
    raw: bytes


class Verdict(Enum):
    """What is to be done about a transaction that a node did not take."""

    TAKEN = "the node has it already"
    NONCE = "somebody else used the nonce: sign again with the next one"
    FEE = "it pays too little: ask for the fees again"
    REFUSED = "trying again is no use"


_WORDS: Final = (
    (Verdict.TAKEN, ("already known", "already imported", "known transaction")),
    (Verdict.NONCE, ("nonce", "replacement transaction underpriced")),
    (Verdict.FEE, ("less than block base fee", "transaction underpriced", "fee too low", "feetoolow")),
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
        try:
            self._account: LocalAccount = Account.from_key(key)
        except Exception:  # noqa: BLE001 - the reason would show the key
            raise BadSetting("the payer's key is not a secp256k1 key of 32 bytes") from None
        self.address = self._account.address
        self.nonce: int | None = None
        """The next transaction's nonce; None: ask the chain."""

    def __repr__(self) -> str:
        """Show the address."""
        return f"Payer({self.address})"

    def sign(self, calls: Sequence[bytes], first_nonce: int, **fields: object) -> list[Signed]:
        """Sign one transaction for each of ``calls``, with consecutive nonces and the other ``fields`` in common."""
        signed = []
        for nonce, data in enumerate(calls, first_nonce):
            done = self._account.sign_transaction(cast("Any", {**fields, "nonce": nonce, "data": data, "value": 0}))
            signed.append(Signed(bytes(done.hash), bytes(done.raw_transaction)))
        return signed
