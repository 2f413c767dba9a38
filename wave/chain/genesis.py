"""What every embedded chain starts from: the same first two blocks everywhere.

The accounts are those of the mnemonic "test test test test test test test test test test test junk", which
development nodes (anvil, hardhat) fund too. Their keys are public: they pay for entries on a chain of one's own, and
hold nothing of worth.
"""

from typing import Final

GENESIS_TIME: Final = 1_767_225_600  # 2026-01-01T00:00:00Z; block 1, which holds the registry, is one second later
GAS_LIMIT: Final = 60_000_000  # per block
BASE_FEE: Final = 7  # wei; the least that the fee rule never lowers
BALANCE: Final = 10**24  # wei, of each development account
EXTRA_DATA: Final = b"WAVE"

DEVELOPMENT_ACCOUNTS: Final = tuple(
    bytes.fromhex(address)
    for address in (
        "f39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        "70997970c51812dc3a010c7d01b50e0d17dc79c8",
        "3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
        "90f79bf6eb2c4f870365e785982e1f101e93b906",
        "15d34aaf54267db7d7c367839aaf71a00a2c6a65",
        "9965507d1a55bcc2695c58ba16fb37d819b0a4dc",
        "976ea74026e726554db657fa54763abd0c3a0aa9",
        "14dc79964da2c08b23698b3d3cc7ca32193d9955",
        "23618e81e3f5cdf7f54c3d65f7fbc0abf5b21e8f",
        "a0ee7a142d267c1f36714e4a8f75612f20a79720",
    )
)
DEVELOPMENT_PAYER: Final = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
