"""Where an agent keeps its state and what it talks to: the environment, XDG's directories, and ``chain.json``.

``WAVE_HOME/chain.json`` says which chain the home follows; ``wave chain use`` writes it. URLs may hold passwords and
API keys, so the file is its owner's alone, and no message repeats more of a URL than its scheme, host and port.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from wave.chain.listen import is_loopback
from wave.entities.keyring import Keyring, read_text, write_file
from wave.errors import BadArmour, BadSetting, MissingFile, StateUnwritable

EMBEDDED: Final = "embedded"
DEVELOPMENT: Final = "development"
"""The payer whose key everybody knows: it has funds on development chains alone."""

SCHEMES: Final = ("http", "https", "ws", "wss")
MOST_ENDPOINTS: Final = 16
MOST_SOURCES: Final = 64
MOST_CONFIRMATIONS: Final = 10_000
HIGHEST_ID: Final = 2**53
HIGHEST_BLOCK: Final = 2**53
ADDRESS_BYTES: Final = 20
_LONGEST_SOCKET_PATH: Final = 100  # the kernel takes 107 bytes
_FORMS: Final = "'embedded', or URLs (http, https, ws, wss, unix:/path) with commas between them"


def shown_url(url: str) -> str:
    """Return as much of a URL as anyone may see: no user, no password, and no path or query with a key in it."""
    if url.startswith("unix:") or "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def chain_urls(text: str, what: str) -> tuple[str, ...]:
    """Return the URLs in ``text``, commas between them; none for ``embedded``. :class:`BadSetting` repeats no URL."""
    found = [one.strip() for one in text.split(",")]
    if found == [EMBEDDED]:
        return ()
    if EMBEDDED in found:
        raise BadSetting(f"{what} names the embedded chain beside others", hint=f"name {_FORMS}")
    for place, url in enumerate(found, 1):
        if not _is_chain_url(url):
            which = f"URL {place} of {what}" if len(found) > 1 else what
            raise BadSetting(f"{which} names no chain", hint=f"name {_FORMS}, such as http://127.0.0.1:8545")
    if len(set(found)) < len(found):
        raise BadSetting(f"{what} names one endpoint twice", hint="endpoints check one another, so each counts once")
    if len(found) > MOST_ENDPOINTS:
        raise BadSetting(f"{what} names {len(found)} endpoints; at most {MOST_ENDPOINTS} are asked")
    return tuple(found)


def _is_chain_url(url: str) -> bool:
    if url.startswith("unix:"):
        return bool(url.removeprefix("unix:").strip("/"))
    parts = _split(url)
    return parts is not None and parts.scheme in SCHEMES and bool(parts.hostname)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        return None
    return parts


def stays_here(urls: Sequence[str]) -> bool:
    """Tell whether every endpoint is on this machine, where others see nothing; without any it is the embedded one."""
    return all(url.startswith("unix:") or is_loopback(urlsplit(url).hostname or "") for url in urls)


@dataclass(frozen=True, slots=True)
class ChainChoice:
    """What ``chain.json`` says. ``own`` None: a chain on this machine is one's own. ``max_fee`` is in wei for one gas.

    ``payer`` is :data:`DEVELOPMENT` or the path of a key file, whose passphrase is asked for, or stands in the first
    line of the file ``passphrase_file``.
    """

    urls: tuple[str, ...]
    chain_id: int | None = None
    registry: bytes | None = None
    from_block: int = 0
    confirmations: int = 0
    quorum: int | None = None
    payer: str | None = None
    passphrase_file: str | None = None
    max_fee: int | None = None
    own: bool | None = None
    sources: tuple[str, ...] = ()

    def check(self) -> Self:
        """Return the choice; :class:`BadSetting` when its parts are none, or contradict one another."""
        chain_urls(",".join(self.urls), "the chain")
        _within(self.chain_id, 1, HIGHEST_ID, "the chain id")
        _within(self.from_block, 0, HIGHEST_BLOCK, "the first block")
        _within(self.confirmations, 0, MOST_CONFIRMATIONS, "the number of confirmations")
        _within(self.quorum, 1, len(self.urls), "the quorum", f"of {len(self.urls)} endpoints")
        _within(self.max_fee, 1, HIGHEST_ID, "the highest fee")
        if self.registry is not None and len(self.registry) != ADDRESS_BYTES:
            raise BadSetting("the registry is no address", hint="write it as 0x and 40 hexadecimal digits")
        if self.passphrase_file is not None and self.payer in (None, DEVELOPMENT):
            raise BadSetting(
                "a passphrase file without a key file opens nothing", hint="say --payer FILE, or leave it out"
            )
        if len(self.sources) > MOST_SOURCES:
            raise BadSetting(f"{len(self.sources)} sources of batches; at most {MOST_SOURCES} are asked")
        for source in self.sources:
            if not source or ("://" in source and not source.startswith(("http://", "https://"))):
                raise BadSetting(
                    "that is no source of batches", hint="name a directory, an http(s) URL or an agent's socket"
                )
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the document that the file holds; what was not said is left out."""
        document: dict[str, Any] = {"chain": list(self.urls)}
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value not in (None, ()) and value != field.default:
                document[field.name] = f"0x{value.hex()}" if isinstance(value, bytes) else value
        return document

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Return what a document says; :class:`BadSetting` names the setting and never repeats its value."""
        if not isinstance(document, dict):
            raise BadSetting("chain.json holds no settings", hint=_AGAIN)
        names = {"chain", *(field.name for field in fields(cls)[1:])}
        if unknown := sorted(set(document) - names):
            raise BadSetting(f"chain.json has an unknown setting {unknown[0][:40]!r}", hint=_AGAIN)
        kinds: dict[str, type] = dict.fromkeys(("chain_id", "from_block", "confirmations", "quorum", "max_fee"), int)
        kinds["own"] = bool
        found: dict[str, Any] = {"urls": _texts(document, "chain"), "sources": _texts(document, "sources")}
        for name in sorted(set(document) - {"chain", "sources"}):
            value = document[name]
            if type(value) is not kinds.get(name, str):
                raise BadSetting(f"the setting {name!r} in chain.json is of the wrong kind", hint=_AGAIN)
            found[name] = parse_address(str(value)) if name == "registry" else value
        if not found["urls"]:
            raise BadSetting("chain.json names no chain", hint=_AGAIN)
        return cls(**found).check()


_AGAIN: Final = "write it anew with 'wave chain use URL…', or go back with 'wave chain use embedded'"


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadSetting(f"the setting {name!r} in chain.json is of the wrong kind", hint=_AGAIN)
    return tuple(value)


def _within(value: int | None, least: int, most: int, what: str, of: str = "") -> None:
    if value is not None and not least <= value <= most:
        raise BadSetting(f"{what} is {least} to {most}{' ' if of else ''}{of}, not {value}")


def parse_address(text: str) -> bytes:
    """Return an account's or contract's address (20 bytes) from its ``0x…``; :class:`BadSetting`."""
    digits = text.removeprefix("0x")
    if len(digits) == 2 * ADDRESS_BYTES and digits.isascii():
        try:
            return bytes.fromhex(digits)
        except ValueError:
            pass
    raise BadSetting("the registry is no address", hint="write it as 0x and 40 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class Settings:
    """``home``: the state directory; ``chain``: ``embedded`` or URLs; ``agent``: a path, a URL or None.

    ``quorum`` None is a majority of the endpoints; ``payer`` and the rest are as in :class:`ChainChoice`. ``own_said``
    is what was said of the chain being one's own, if anything; :attr:`own` what holds.
    """

    home: Path
    chain: str = EMBEDDED
    agent: str | None = None
    entity: str | None = None
    chain_id: int | None = None
    registry: bytes | None = None
    from_block: int = 0
    confirmations: int = 0
    quorum: int | None = None
    payer: str | None = None
    passphrase_file: str | None = None
    max_fee: int | None = None
    own_said: bool | None = None
    sources: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return what ``WAVE_HOME``, ``WAVE_CHAIN``, ``WAVE_AGENT`` and ``WAVE_ENTITY`` and the home's chain.json say.

        ``WAVE_CHAIN`` goes before the file's URLs. Raises :class:`BadSetting`, :class:`SecretFileMode`.
        """
        home = environment.get("WAVE_HOME")
        if not home:
            user = Path(environment.get("HOME") or "~").expanduser()
            home = str(Path(environment.get("XDG_DATA_HOME") or user / ".local/share") / "wave")
        path = Path(home)
        if not path.is_absolute():
            path = Path.cwd() / path
        plain = cls(path, EMBEDDED, environment.get("WAVE_AGENT") or None, environment.get("WAVE_ENTITY") or None)
        said = environment.get("WAVE_CHAIN")
        urls = chain_urls(said, "WAVE_CHAIN") if said else None
        choice = None if urls == () else read_choice(plain.chain_file)
        if choice is None:
            return replace(plain, chain=",".join(urls or ()) or EMBEDDED)
        if urls is not None and set(urls) != set(choice.urls):
            # The file's word that a chain is one's own is about the endpoints that it names.
            choice = replace(choice, urls=urls, own=None if choice.own else choice.own, quorum=None)
        return plain.with_choice(choice)

    def with_choice(self, choice: ChainChoice) -> Self:
        """Return these settings with the chain that ``choice`` names."""
        return replace(
            self,
            chain=",".join(choice.urls),
            chain_id=choice.chain_id,
            registry=choice.registry,
            from_block=choice.from_block,
            confirmations=choice.confirmations,
            quorum=choice.quorum,
            payer=choice.payer,
            passphrase_file=choice.passphrase_file,
            max_fee=choice.max_fee,
            own_said=choice.own,
            sources=choice.sources,
        )

    @property
    def urls(self) -> tuple[str, ...]:
        """The chain's endpoints; none for the embedded chain."""
        return () if self.chain == EMBEDDED else tuple(one.strip() for one in self.chain.split(","))

    @property
    def own(self) -> bool:
        """Whether the chain is one's own, so that what is granted is published unless one says otherwise."""
        return stays_here(self.urls) if self.own_said is None else self.own_said

    @property
    def chain_file(self) -> Path:
        """The file that says which chain this home follows; none for the embedded one."""
        return self.home / "chain.json"

    @property
    def socket(self) -> Path:
        """The Unix socket on which this home's agent listens; :class:`BadSetting` when its path is too long for one."""
        path = self.home / "agent.sock"
        if len(str(path).encode()) > _LONGEST_SOCKET_PATH:
            raise BadSetting(f"{path} is too long for a socket", hint="choose a shorter WAVE_HOME")
        return path

    @property
    def token_file(self) -> Path:
        """The file with the token that callers over TCP must show."""
        return self.home / "agent.token"

    @property
    def keyring(self) -> Keyring:
        """The entities that have a local name."""
        return Keyring(self.home / "keys")


def read_choice(path: Path) -> ChainChoice | None:
    """Return what the file at ``path`` says, None without one; :class:`BadSetting`, :class:`SecretFileMode`."""
    try:
        document = json.loads(read_text(path, private=True))
    except MissingFile:
        return None
    except (ValueError, BadArmour, RecursionError):
        raise BadSetting(f"{path} is not JSON", hint=_AGAIN) from None
    return ChainChoice.from_json(document)


def write_choice(path: Path, choice: ChainChoice) -> None:
    """Write the file, whole or not at all and for its owner alone, over the one before; :class:`StateUnwritable`."""
    text = json.dumps(choice.check().to_json(), indent=2) + "\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateUnwritable(f"cannot create {path.parent}: {error.strerror}") from None
    write_file(path, text.encode("ascii"), mode=0o600, replace=True)


def forget_choice(path: Path) -> None:
    """Remove the file: from now on the home follows the embedded chain; :class:`StateUnwritable`."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StateUnwritable(f"cannot remove {path}: {error.strerror}") from None
