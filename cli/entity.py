"""Entities and what files hold: ``mkentity`` and ``inspect``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import ui
from cli.options import ENTITY, FILE, verb
from cli.session import Session

if TYPE_CHECKING:
    from wave.entities.entity import Entity, EntitySecret
    from wave.errors import WaveError


@verb
@click.option("-o", "--output", type=FILE, metavar="FILE", help="The secret file to write, such as alice.ent.")
@click.option("--expires", default="10y", show_default=True, metavar="TIME", help="A duration (90d, 10y) or a time.")
@click.option(
    "--contact", default="", help="How to reach whoever stands behind it. Stands in the record; nobody checks it."
)
@click.option("--comment", default="", help="Anything. Stands in the record.")
@click.option("--no-passphrase", is_flag=True, help="Write the secret readable for whoever can read the file.")
@click.option(
    "--passphrase-file", type=FILE, metavar="FILE", help="Read the passphrase from FILE; '-' is standard input."
)
@click.option(
    "--publish/--no-publish",
    default=None,
    help="Publish the record, or keep it here: who checks proofs gets it with them. See below.",
)
@click.option(
    "--publish-again", type=FILE, metavar="FILE", help="Make nothing; publish the record in FILE (.ent or .pub)."
)
def mkentity(
    session: Session,
    *,
    output: str | None,
    expires: str,
    contact: str,
    comment: str,
    no_passphrase: bool,
    passphrase_file: str | None,
    publish: bool | None,
    publish_again: str | None,
) -> None:
    """Make an entity and print its id.

    The secret goes into FILE, for its owner alone and under a passphrase. The public record, contact and comment and
    all, is published on a chain of one's own, and kept here on a chain of others, unless --publish or --no-publish says
    otherwise. The entity is known here by the file's name without its ending.
    """
    from cli import reference

    if publish_again is not None:
        _publish_again(session, publish_again)
        return
    if output is None or not output.endswith(".ent") or Path(output).name == ".ent":
        raise click.UsageError("say which file to write with -o; its name ends in .ent")
    if no_passphrase and passphrase_file:
        raise click.UsageError("--no-passphrase and --passphrase-file exclude each other")
    reference.check_free(output)
    path = Path(output)
    secret = _create(session, expires, contact, comment)
    if no_passphrase:
        passphrase = None
    elif passphrase_file is not None:
        passphrase = reference.passphrase(passphrase_file, output)
    else:
        passphrase = ui.new_passphrase(output)
    published = _to_publish(session, publish)
    from wave.codec import id_text
    from wave.entities.keyring import write_secret

    write_secret(path, secret, passphrase)
    name = _keep_name(session, path, secret.entity)
    height = _publish(session, path, secret.entity, keep_only=not published)
    identity = id_text(secret.id)
    ui.show(
        {
            "id": identity,
            "file": output,
            "name": name,
            "expires": secret.entity.expires,
            "published": height is not None,
            "height": height,
        },
        [identity],
        as_json=session.json,
    )
    if not published and publish is None:
        ui.say(f"the record is kept here and not published: later, wave mkentity --publish-again {output} does that")


def _create(session: Session, expires: str, contact: str, comment: str) -> "EntitySecret":
    from wave.entities.entity import EntitySecret
    from wave.times import parse_expiry

    now = session.now()
    return EntitySecret.create(
        os.urandom, created=now, expires=parse_expiry(expires, now), contact=contact, comment=comment
    )


def _to_publish(session: Session, wish: bool | None) -> bool:
    """Return whether the record is to be published, as wished, or where the chain is one's own.

    Raises unless the agent, and its chain when that is needed, can be reached: then nothing is written.
    """
    from cli import reference

    if wish is False:
        _ = session.agent
        return False
    own = reference.is_own_chain(session)
    return own if wish is None else wish


def _keep_name(session: Session, path: Path, entity: "Entity") -> str | None:
    """Keep the public part under the file's stem; a name that is taken, or no name, is said and changes nothing."""
    from wave.errors import WaveError

    keyring = session.settings.keyring
    if path.resolve().parent == keyring.directory.resolve():
        return path.stem
    try:
        if keyring.find(path.stem) is not None:
            ui.warn(
                f"the name {path.stem!r} belongs to another entity here",
                f"this one is known by its id and its file; names are files in {keyring.directory}",
            )
            return None
        keyring.add(path.stem, entity)
    except WaveError as error:
        ui.warn(f"no local name was kept: {error.message}", error.hint)
        return None
    return path.stem


def _publish(session: Session, path: Path, entity: "Entity", *, keep_only: bool) -> int | None:
    from wave.agent.wire import Publish
    from wave.errors import WaveError

    try:
        reply = session.call(Publish(objects=(entity.to_bytes(),), keep_only=keep_only))
    except WaveError as error:
        raise _not_published(error, path) from None
    return None if keep_only else reply.objects[0].height


def _not_published(error: "WaveError", path: Path) -> "WaveError":
    return type(error)(
        f"{path} is written and good, but its record is not published: {error.message}",
        hint=f"later, run: wave mkentity --publish-again {path}",
    )


def _publish_again(session: Session, file: str) -> None:
    from wave.agent.wire import Publish
    from wave.codec import id_text
    from wave.entities.keyring import read_entity

    entity = read_entity(Path(file))
    (published,) = session.call(Publish(objects=(entity.to_bytes(),))).objects
    ui.show(published, [id_text(entity.id)], as_json=session.json)
    if not session.json:
        ui.say(f"published in block {published.height}")


@verb
@click.argument("what", type=ENTITY, metavar="FILE|ID|NAME")
def inspect(session: Session, what: str) -> None:
    """Show what a file ('-': standard input), an id or a name stands for, and whether it is valid now.

    Of a secret file only the public part is read and shown; no passphrase is needed.
    """
    from cli.inspection import inspection

    found = inspection(session, what)
    ui.show(found.document, found.lines, as_json=session.json)
