"""The chain that a home follows: connected to when it is first asked, and the same one as before or none at all."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from wave.agent.settings import DEVELOPMENT, Settings, parse_address
from wave.chain.contract import REGISTRY
from wave.chain.disk import FileLock, disk_errors
from wave.entities.keyring import read_file, read_text, write_file
from wave.errors import BadPassphrase, BadSetting, ChainUnavailable, MissingFile, WaveError, WrongChain

if TYPE_CHECKING:
    from wave.chain.client import Block, ChainClient
    from wave.chain.contract import Event

REPLICA: Final = "replica.sqlite"
OUTBOX: Final = "outbox.sqlite"
_MEMORY: Final = "followed.json"
EMBEDDED_GENESIS: Final = bytes.fromhex("db1cf5879019c0f908044358b10c4e362dce085479b434aaaebf11033f10daa4")
"""The hash of the block with which every embedded chain begins."""

_FIRST_OWN: Final = 2  # of embedded chains, which share their first two blocks
_SHOWN: Final = 8
_OTHER: Final = (
    "name the right one with WAVE_CHAIN or 'wave chain use', take another WAVE_HOME for this one, or let"
    " 'wave chain forget' drop what was learned from the old one"
)


@dataclass(frozen=True, slots=True)
class Followed:
    """What tells one chain from every other: its id, its genesis block, its registry, and the first block of its own.

    ``first`` is the hash of block 2 of an embedded chain, for those before it are the same in all; None elsewhere, or
    where there is no such block yet.
    """

    chain_id: int
    genesis: bytes
    registry: bytes
    first: bytes | None

    @classmethod
    def seen(cls, client: "ChainClient") -> Self:
        """Return what ``client`` is connected to; :class:`ChainUnavailable`."""
        client.head()  # an embedded chain that was never asked makes its first own block now
        genesis = client.block(0)
        if genesis is None:
            raise ChainUnavailable(f"{client.name} has no first block")
        own = client.block(_FIRST_OWN) if genesis.hash == EMBEDDED_GENESIS else None
        return cls(client.chain_id, genesis.hash, parse_address(client.registry), None if own is None else own.hash)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what the file at ``path`` remembers, None without one; :class:`BadSetting` when it is damaged."""
        try:
            form = json.loads(read_text(path))
            first = form["first"]
            return cls(
                int(form["chain_id"]),
                bytes.fromhex(form["genesis"]),
                bytes.fromhex(form["registry"]),
                None if first is None else bytes.fromhex(first),
            )
        except MissingFile:
            return None
        except (WaveError, ValueError, TypeError, LookupError):
            raise BadSetting(f"{path} is damaged", hint="'wave chain forget' drops it, and what it was about") from None

    def write(self, path: Path) -> None:
        """Remember this in the file at ``path``."""
        form = {
            "chain_id": self.chain_id,
            "genesis": self.genesis.hex(),
            "registry": self.registry.hex(),
            "first": None if self.first is None else self.first.hex(),
        }
        write_file(path, (json.dumps(form) + "\n").encode("ascii"), mode=0o600, replace=True)

    def check(self, now: "Followed", where: str) -> None:
        """Raise :class:`WrongChain` unless ``now``, seen at ``where``, is the chain remembered here."""
        for other, what in (
            (now.chain_id != self.chain_id, f"chain {now.chain_id}, and this home follows chain {self.chain_id}"),
            (now.genesis != self.genesis, "a chain with another beginning than the one that this home follows"),
            (now.registry != self.registry, "asked about another registry than the one that this home follows"),
            (self.first is not None and now.first != self.first, "another chain than the one that this home follows"),
        ):
            if other:
                raise WrongChain(f"{where} is {what}", hint=_OTHER)

    def __str__(self) -> str:
        """Show the chain's id and the beginning of its own first hash."""
        return f"chain {self.chain_id} that begins with {(self.first or self.genesis).hex()[:_SHOWN]}"


def remembered(home: Path) -> Followed | None:
    """Return the chain that a home follows, None while it follows none."""
    return Followed.read(home / _MEMORY)


def forget(home: Path, *, wait: float, pending_too: bool = False) -> bool:
    """Drop what a home learned from its chain, and which one it was; tell whether there was anything.

    Keys, names, batches and objects that are only kept here stay. What was written to the old chain and has not arrived
    would arrive on no other: :class:`BadSetting` unless ``pending_too``. :class:`StateLocked` while an agent runs.
    """
    if not home.is_dir():
        return False
    lock = FileLock(home / f"{REPLICA}.lock", wait=wait)
    try:
        if not pending_too and (waiting := _pending(home / OUTBOX)):
            raise BadSetting(
                f"{waiting} of the things written here did not reach the old chain yet",
                hint="let them arrive ('wave status' says how many are pending), or say --drop-pending",
            )
        found = False
        for name in (_MEMORY, *(f"{base}{end}" for base in (REPLICA, OUTBOX) for end in ("", "-wal", "-shm"))):
            with disk_errors(home / name):
                found = found or (home / name).exists()
                (home / name).unlink(missing_ok=True)
        return found
    finally:
        lock.close()


def _pending(path: Path) -> int:
    """Return how many things in the outbox at ``path`` are on their way to the chain."""
    if not path.exists():
        return 0
    from wave.agent.outbox import Outbox

    outbox = Outbox(path)
    try:
        counts = outbox.counts()
        return counts["objects"] + counts["unanchored"]
    finally:
        outbox.close()


class LazyChain:
    """A chain that is connected to when it is first asked: web3 and py-evm load slowly, and many acts need neither.

    On connecting it is compared with the chain that the home followed before. ``ask`` returns the passphrase of the
    key file that it is given; None when nobody can be asked.
    """

    def __init__(self, settings: Settings, wait: float, ask: Callable[[str], str] | None = None) -> None:
        """Remember where the chain is; a command waits ``wait`` seconds for the embedded one."""
        self._settings = settings
        self._wait = wait
        self._ask = ask
        self._client: ChainClient | None = None
        self._pays = False
        self.newest: Callable[[], tuple[int, bytes]] = lambda: (-1, b"")
        """Returns height and hash of the newest block that was taken in; height -1 before the first one."""

    @property
    def client(self) -> "ChainClient":
        """The client, connected; :class:`ChainUnavailable`, :class:`WrongChain`, :class:`StateLocked`."""
        if self._client is None:
            self._client = self._connect(self._payer_at_hand())
        return self._client

    @property
    def writer(self) -> "ChainClient":
        """The client, with the payer's key; :class:`BadSetting`, :class:`BadPassphrase`, and as ``client``."""
        client = self.client
        payer = self._settings.payer
        if payer is not None and not self._pays:
            key = self._key(payer)
            client.close()
            self._client = None
            self._client = client = self._connect(key)
        return client

    def _connect(self, payer: bytes | str | None) -> "ChainClient":
        from wave.chain.client import ChainClient
        from wave.chain.fees import FeeLimits

        settings = self._settings
        client = ChainClient.connect(
            settings.chain,
            state=settings.home,
            payer=payer,
            wait=self._wait,
            chain_id=settings.chain_id,
            registry=settings.registry or REGISTRY,
            quorum=settings.quorum,
            fees=None if settings.max_fee is None else FeeLimits(max_fee_per_gas=settings.max_fee),
        )
        try:
            self._compare(client)
        except BaseException:
            client.close()
            raise
        self._pays = payer is not None
        return client

    def _compare(self, client: "ChainClient") -> None:
        path = self._settings.home / _MEMORY
        before, now = Followed.read(path), Followed.seen(client)
        if before is not None:
            before.check(now, client.name)
            if now.genesis == EMBEDDED_GENESIS:
                self._check_newest(client)
        if now != before:
            now.write(path)

    def _check_newest(self, client: "ChainClient") -> None:
        """Raise :class:`WrongChain` when an embedded chain, which never changes, lacks the newest block known."""
        height, block_hash = self.newest()
        if height >= 0:
            block = client.block(height)
            if block is None or block.hash != block_hash:
                raise WrongChain(f"{client.name} is another chain than the one that this home follows", hint=_OTHER)

    def _payer_at_hand(self) -> str | None:
        """Return the payer where nobody need be asked for a key."""
        return DEVELOPMENT if self._settings.payer == DEVELOPMENT else None

    def _key(self, payer: str) -> bytes:
        from wave.chain.keystore import read_keystore

        if self._settings.passphrase_file is not None:
            data = read_file(Path(self._settings.passphrase_file), private=True)
            try:
                passphrase = data.decode("utf-8").partition("\n")[0].removesuffix("\r")
            except UnicodeDecodeError:
                raise BadPassphrase("the payer's passphrase is not UTF-8 text") from None
        elif self._ask is not None:
            passphrase = self._ask(payer)
        else:
            raise BadSetting(
                f"nobody can be asked for the passphrase of the payer {payer}",
                hint="name a file that holds it: wave chain use … --payer FILE --passphrase-file FILE",
            )
        return read_keystore(Path(payer), passphrase)

    @property
    def asks_nobody(self) -> bool:
        """Whether the chain can be written to without asking anybody for a passphrase."""
        settings = self._settings
        return self._pays or settings.payer in (None, DEVELOPMENT) or settings.passphrase_file is not None

    @property
    def connected(self) -> bool:
        """Whether the chain was asked already."""
        return self._client is not None

    def head(self) -> "Block":
        """Return the newest block."""
        return self.client.head()

    def block(self, number: int) -> "Block | None":
        """Return a block, or None when the chain is shorter."""
        return self.client.block(number)

    def events(self, from_height: int, to_height: int) -> "list[Event]":
        """Return what the registry said in these blocks."""
        return self.client.events(from_height, to_height)

    def close(self) -> None:
        """Close the connection if there is one."""
        if self._client is not None:
            self._client.close()
