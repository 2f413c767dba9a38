"""Putting the registry on a chain: the same code everywhere, owned by nobody, and looked at where it stands."""

from pathlib import Path
from typing import NamedTuple

from wave.chain import contract
from wave.chain.client import ChainClient
from wave.chain.fees import FeeLimits
from wave.errors import TransactionFailed


class Deployment(NamedTuple):
    """Where the registry stands: its address, 20 bytes, and the height of the block that it came with."""

    address: bytes
    height: int


def deploy(
    chain: str,
    payer: bytes | str | None = None,
    *,
    state: Path,
    wait: float = 0.0,
    chain_id: int | None = None,
    quorum: int | None = None,
    fees: FeeLimits | None = None,
) -> Deployment:
    """Put the registry on ``chain`` and return where it is, once its code is seen to stand there.

    The arguments are those of :meth:`wave.chain.client.ChainClient.connect`. Raises what connecting and sending raise.
    """
    with ChainClient.connect(
        chain, state=state, payer=payer, wait=wait, chain_id=chain_id, quorum=quorum, fees=fees, deployed=False
    ) as client:
        seen = client.chain_id
        receipt = client.create(contract.bytecode())
    address = receipt.contract
    if address is None:
        raise TransactionFailed(f"{client.name} does not say where transaction {receipt.transaction.hex()} put it")
    ChainClient.connect(chain, state=state, wait=wait, chain_id=seen, registry=address, quorum=quorum).close()
    return Deployment(address, receipt.height)
