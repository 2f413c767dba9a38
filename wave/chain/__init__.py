"""The registry on an Ethereum chain: written to and read by one client, kept by a node of our own or by any other."""

import sys

_RECURSION_LIMIT = 12 * 1024  # what py-evm needs for calls nested as deep as the EVM allows


def bound_recursion() -> None:
    """Bring this process's recursion limit back to what the C stack can hold.

    py_ecc, which eth-account and py-evm import, raises it to 100,000; deeply nested JSON from the network would then
    end the process instead of raising RecursionError. Called by whatever imports them (ADR 0012).
    """
    sys.setrecursionlimit(min(sys.getrecursionlimit(), _RECURSION_LIMIT))
