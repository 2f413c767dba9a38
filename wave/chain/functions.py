"""What the registry's functions answer, asked through web3, whose only importer this is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, cast

from web3 import Web3
from web3.eth import Eth
from web3.exceptions import Web3Exception, Web3RPCError
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from wave.chain import bound_recursion, contract
from wave.chain.answer import NodeError, plain, raise_ours

bound_recursion()

Ask: TypeAlias = Callable[[Sequence[tuple[str, Any]]], list[Any]]
"""Takes JSON-RPC calls and returns as many answers, in order."""


class Functions:
    """The registry's functions on one node; what the node answers may raise whatever reading it stumbles over."""

    def __init__(self, ask: Ask, registry: bytes) -> None:
        """Call the contract at ``registry`` (20 bytes)."""
        w3 = Web3(_Provider(ask), middleware=[], modules={"eth": Eth}, ens=cast("Any", None))
        self._functions = w3.eth.contract(address=Web3.to_checksum_address(registry), abi=contract.abi()).functions

    def alias(self, label: bytes) -> bytes:
        """Return who holds a label (32 bytes, padded): an id, or zeros."""
        with _our_errors():
            return bytes(self._functions.alias(label).call())

    def revoked(self, commitment: bytes) -> int:
        """Return the height at which the preimage of ``commitment`` was shown, or 0."""
        with _our_errors():
            return int(self._functions.revoked(commitment).call())


class _Provider(JSONBaseProvider):
    """Asks what web3 wants to know."""

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        return cast("RPCResponse", self._ask([(method, params)])[0])


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except Web3RPCError as error:
        raise_ours(error.rpc_response)
        raise NodeError(0, plain(error.message)) from None
    except Web3Exception as error:
        raise NodeError(0, plain(error)) from None
