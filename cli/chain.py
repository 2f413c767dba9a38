"""The chain: ``chain run`` an embedded one, ``use`` another, ``show``, ``forget``, ``deploy`` and ``payer``."""

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli import ui
from cli.daemon import tell_ready
from cli.options import FILE, verb
from cli.session import Session

if TYPE_CHECKING:
    from wave.agent.settings import ChainChoice, Settings

_GWEI: Final = 10**9
_STDIN: Final = "-"
_FEE: Final = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?", re.ASCII)
_NO_FILE: Final = "development"


@click.group()
def chain() -> None:
    """Run the embedded chain by itself, or follow another: any Ethereum chain with the registry on it."""


@verb
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8545, show_default=True, help="The port; 0: any.")
@click.option("--socket", type=FILE, metavar="PATH", help="Listen on this Unix socket instead.")
@click.option("--anywhere", is_flag=True, help="Allow a host of others to reach it: the node knows no passwords.")
def chain_run(session: Session, host: str, port: int, socket: str | None, anywhere: bool) -> None:
    """Run until stopped. Agents use it with WAVE_CHAIN set to the address that is printed."""
    with ui.waiting("opening the chain"):
        from wave.chain import serve
        from wave.chain.node import EmbeddedNode

        node = EmbeddedNode.open(session.settings.home / "chain")
    with node:
        serve.run(
            node,
            host=host,
            port=port,
            path=None if socket is None else Path(socket),
            anywhere=anywhere,
            ready=lambda address: tell_ready(session, "chain", address),
        )


# Which chain -------------------------------------------------------------------------------------------------------


@verb
@click.option("--chain-id", type=click.IntRange(1), metavar="N", help="Refuse a chain of another id.")
@click.option("--registry", metavar="ADDRESS", help="Where the registry stands; 'wave chain deploy' prints it.")
@click.option(
    "--from-block", type=click.IntRange(0), metavar="N", default=0, show_default=True,
    help="The block that the registry came with; no earlier one is read.",
)  # fmt: skip
@click.option("--confirmations", type=click.IntRange(0), metavar="N", default=0, show_default=True,
              help="Blocks above a grant before it counts. Revocations count at once.")  # fmt: skip
@click.option(
    "--quorum", type=click.IntRange(1), metavar="N", help="How many endpoints must agree. Default: a majority."
)
@click.option(
    "--payer", metavar="FILE|development", help="Whose account pays: a key file, or one that everybody knows."
)
@click.option(
    "--passphrase-file", type=FILE, metavar="FILE", help="Where the payer's passphrase stands. Default: asks."
)
@click.option("--max-fee", metavar="GWEI", help="Pay no more than this for a unit of gas.")
@click.option("--own/--others", default=None, help="Whether what is granted may be published without asking.")
@click.option("--source", "sources", multiple=True, metavar="DIR|URL", help="Where the objects of batches are found.")
@click.argument("urls", nargs=-1, required=True, metavar="URL...|embedded|-")
def chain_use(session: Session, *, urls: tuple[str, ...], **options: Any) -> None:
    """Follow the chain behind these endpoints from now on, in this WAVE_HOME.

    Several endpoints check one another. '-' reads them from standard input, one on a line: a URL with a key in it is
    then seen by nobody. 'embedded' goes back to the chain of one's own. WAVE_CHAIN, where it is set, goes before.
    """
    from wave.agent.settings import EMBEDDED, Settings, forget_choice, write_choice
    from wave.errors import BadSetting

    settings = Settings.from_environment({**os.environ, "WAVE_CHAIN": EMBEDDED})  # a damaged file is no hindrance
    said = {name for name, value in options.items() if value not in (None, (), 0)}
    if urls == (EMBEDDED,):
        if said:
            raise BadSetting(
                f"the embedded chain takes no --{min(said).replace('_', '-').removesuffix('s')}",
                hint="it has one registry, one node and one payer: 'wave chain use embedded'",
            )
        forget_choice(settings.chain_file)
        document: dict[str, Any] = {"chain": EMBEDDED, "own": True}
    else:
        choice = _choice(urls, options)
        write_choice(settings.chain_file, choice)
        document = _document(settings.with_choice(choice))
    ui.show(document, ui.fields(_fields(document)), as_json=session.json)
    _tell_of_others(settings)


def _choice(urls: tuple[str, ...], options: dict[str, Any]) -> "ChainChoice":
    from cli import reference
    from wave.agent.settings import ChainChoice, chain_urls, parse_address
    from wave.errors import BadSetting

    if urls == (_STDIN,):
        try:
            urls = tuple(reference.from_stdin().decode("ascii").split())
        except UnicodeDecodeError:
            raise BadSetting("standard input holds no URLs", hint="write one on each line") from None
    found = chain_urls(",".join(urls), "the chain")
    if not found:
        raise BadSetting("standard input names no endpoint of a chain", hint="write one URL on each line")
    payer, file, registry = options["payer"], options["passphrase_file"], options["registry"]
    return ChainChoice(
        urls=found,
        chain_id=options["chain_id"],
        registry=None if registry is None else parse_address(registry),
        from_block=options["from_block"],
        confirmations=options["confirmations"],
        quorum=options["quorum"],
        payer=payer if payer in (None, _NO_FILE) else _key_file(payer),
        passphrase_file=None if file is None else str(Path(file).absolute()),
        max_fee=_wei(options["max_fee"]),
        own=options["own"],
        sources=tuple(one if "://" in one else str(Path(one).absolute()) for one in options["sources"]),
    ).check()


def _key_file(name: str) -> str:
    """Return a key file's whole path; :class:`MissingFile`."""
    from wave.entities.keyring import read_file

    read_file(Path(name))
    return str(Path(name).absolute())


def _wei(text: str | None) -> int | None:
    """Return a fee in gwei, such as 30 or 0.5, in wei; :class:`BadSetting`."""
    from wave.errors import BadSetting

    if text is None:
        return None
    if _FEE.fullmatch(text) is None:
        raise BadSetting(f"{text[:40]!r} is no fee", hint="write it in gwei, such as 30 or 0.5")
    return int(Decimal(text) * _GWEI)


def _tell_of_others(settings: "Settings") -> None:
    """Say what goes before the file, or has not read it."""
    from wave.agent.client import BlockingClient

    if os.environ.get("WAVE_CHAIN"):
        ui.say("WAVE_CHAIN is set and goes before it")
    if settings.socket.exists() and BlockingClient(str(settings.socket)).answers():
        ui.say("the agent that runs here follows the chain from before until it is started again")


@verb
def chain_show(session: Session) -> None:
    """Show which chain this WAVE_HOME follows, without users, passwords and keys in its URLs."""
    from wave.agent.following import remembered

    settings = session.settings
    known = remembered(settings.home)
    document = _document(settings)
    if known is not None:
        document["followed"] = {
            "chain_id": known.chain_id,
            "genesis": known.genesis.hex(),
            "registry": f"0x{known.registry.hex()}",
        }
    pairs = [*_fields(document), ("followed", "" if known is None else str(known))]
    ui.show(document, ui.fields(pairs), as_json=session.json)


def _document(settings: "Settings") -> dict[str, Any]:
    from wave.agent.settings import EMBEDDED, shown_url

    return {
        "chain": [shown_url(url) for url in settings.urls] or EMBEDDED,
        "chain_id": settings.chain_id,
        "registry": None if settings.registry is None else f"0x{settings.registry.hex()}",
        "from_block": settings.from_block,
        "confirmations": settings.confirmations,
        "quorum": settings.quorum if settings.quorum is not None else len(settings.urls) // 2 + 1,
        "payer": settings.payer,
        "max_fee_gwei": None if settings.max_fee is None else str(Decimal(settings.max_fee) / _GWEI),
        "own": settings.own,
        "sources": [shown_url(source) for source in settings.sources],
    }


def _fields(document: dict[str, Any]) -> list[tuple[str, object]]:
    endpoints = document["chain"]
    several = isinstance(endpoints, list) and len(endpoints) > 1
    return [
        ("chain", ", ".join(endpoints) if isinstance(endpoints, list) else endpoints),
        ("chain id", document.get("chain_id")),
        ("registry", document.get("registry")),
        ("from block", document.get("from_block") or ""),
        ("confirmations", document.get("confirmations") or ""),
        ("quorum", f"{document['quorum']} of {len(endpoints)}" if several else ""),
        ("payer", document.get("payer")),
        ("highest fee", f"{document['max_fee_gwei']} gwei" if document.get("max_fee_gwei") else ""),
        ("publishes", "what is granted" if document["own"] else "only when asked"),
        ("batches", ", ".join(document.get("sources", ()))),
    ]


@verb
@click.option("--drop-pending", is_flag=True, help="Also what was written and has not reached the old chain yet.")
def chain_forget(session: Session, drop_pending: bool) -> None:
    """Drop what was learned from the chain followed so far, and which one it was.

    It is built anew from the chain that is named now. Keys, names of one's own and what is only kept here stay.
    """
    from wave.agent.following import forget
    from wave.limits import LIMITS

    dropped = forget(session.settings.home, wait=LIMITS.lock_wait, pending_too=drop_pending)
    ui.show(
        {"forgotten": dropped},
        ["the chain is forgotten" if dropped else "there was nothing to forget"],
        as_json=session.json,
    )


# Paying ------------------------------------------------------------------------------------------------------------


@verb
@click.option("--payer", metavar="FILE|development", help="Whose account pays. Default: the one of 'wave chain use'.")
@click.option(
    "--passphrase-file", type=FILE, metavar="FILE", help="Where the payer's passphrase stands. Default: asks."
)
def chain_deploy(session: Session, payer: str | None, passphrase_file: str | None) -> None:
    """Put the registry on the chain that this WAVE_HOME names, and print its address.

    'wave chain use URL… --registry ADDRESS' then uses it.
    """
    from wave.chain.deploy import deploy
    from wave.chain.fees import FeeLimits
    from wave.errors import BadSetting

    settings = session.settings
    if not settings.urls:
        raise BadSetting("the embedded chain has its registry", hint="name another one: wave chain use URL…")
    key = _payer_key(settings, payer, passphrase_file)
    with ui.waiting("deploying the registry"):
        made = deploy(
            settings.chain,
            key,
            state=settings.home,
            chain_id=settings.chain_id,
            quorum=settings.quorum,
            fees=None if settings.max_fee is None else FeeLimits(max_fee_per_gas=settings.max_fee),
        )
    text = f"0x{made.address.hex()}"
    ui.show({"registry": text, "height": made.height}, [text], as_json=session.json)
    if not session.json:
        ui.say(f"use it with: wave chain use URL… --registry {text} --from-block {made.height}")


def _payer_key(settings: "Settings", name: str | None, passphrase_file: str | None) -> bytes | str:
    from cli import reference
    from wave.chain.keystore import read_keystore
    from wave.errors import BadSetting

    file = passphrase_file or (settings.passphrase_file if name is None else None)
    name = name or settings.payer
    if name is None:
        raise BadSetting("nobody pays", hint="say --payer FILE; 'wave chain payer new FILE' makes an account")
    if name == _NO_FILE:
        return name
    return read_keystore(Path(_key_file(name)), reference.passphrase(file, name))


@click.group()
def payer() -> None:
    """Accounts that pay for what is written to a chain, in key files as other Ethereum programs have them."""


@verb
@click.option(
    "--passphrase-file", type=FILE, metavar="FILE", help="Read the passphrase from FILE; '-' is standard input."
)
@click.argument("file", type=FILE)
def payer_new(session: Session, passphrase_file: str | None, file: str) -> None:
    """Make an account, write its key to FILE under a passphrase, and print its address."""
    import secrets

    from cli import reference
    from wave.chain.keystore import write_keystore

    reference.check_free(file)
    passphrase = ui.new_passphrase(file) if passphrase_file is None else reference.passphrase(passphrase_file, file)
    key = secrets.token_bytes(32)
    write_keystore(Path(file), key, passphrase)
    address = _address(key)
    ui.show({"address": address, "file": file}, [address], as_json=session.json)
    if not session.json:
        ui.say("send it funds, then: wave chain use URL… --payer " + file)


@verb
@click.option(
    "--passphrase-file", type=FILE, metavar="FILE", help="Read the passphrase from FILE; '-' is standard input."
)
@click.argument("file", type=FILE)
def payer_show(session: Session, passphrase_file: str | None, file: str) -> None:
    """Print the address of the account whose key FILE holds, as the file says it, or after a passphrase by its key."""
    from cli import reference
    from wave.chain.keystore import read_address, read_keystore

    said = read_address(Path(file)) if passphrase_file is None else None
    if said is not None:
        address = f"0x{said.hex()}"
    else:
        address = _address(read_keystore(Path(file), reference.passphrase(passphrase_file, file)))
    ui.show({"address": address, "file": file}, [address], as_json=session.json)


def _address(key: bytes) -> str:
    from wave.chain.payer import Payer

    return str(Payer(key).address).lower()


for _group, _command, _name in (
    (chain, chain_run, "run"),
    (chain, chain_use, "use"),
    (chain, chain_show, "show"),
    (chain, chain_forget, "forget"),
    (chain, chain_deploy, "deploy"),
    (payer, payer_new, "new"),
    (payer, payer_show, "show"),
):
    _group.add_command(_command, _name)
chain.add_command(payer, "payer")
