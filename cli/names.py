"""Names: ``alias``, ``name`` and ``resolve``."""

import click

from cli import ui
from cli.options import ENTITY, secret_options, verb
from cli.session import Session


@verb
@click.argument("label")
@click.argument("entity", type=ENTITY)
def alias(session: Session, label: str, entity: str) -> None:
    """Take the global alias LABEL for ENTITY. Who comes first has it, for ever."""
    from cli import reference
    from wave.agent.wire import Claim
    from wave.namespace.name import check_label

    check_label(label)
    found = reference.entity(session, entity)
    height = session.call(Claim(label=label, target=found.text)).height
    ui.show(
        {"label": label, "target": found.text, "height": height},
        [f"{label} means {found.text} from block {height} on"],
        as_json=session.json,
    )


@verb
@secret_options
@click.option("--expires", default="1y", show_default=True, metavar="TIME", help="A duration (90d, 10y) or a time.")
@click.option("--no-publish", is_flag=True, help="For oneself: keep the name here.")
@click.argument("label")
@click.argument("target", type=ENTITY)
def name(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    expires: str,
    no_publish: bool,
    label: str,
    target: str,
) -> None:
    """Sign that LABEL, said of the signer, means TARGET; others write it as LABEL.SIGNER. Prints the declaration's id.

    `wave revoke --name` takes it back.
    """
    from cli import reference
    from wave.agent.wire import Publish
    from wave.codec import id_text
    from wave.namespace.name import Name, check_label
    from wave.times import parse_expiry

    check_label(label)
    now = session.now()
    until = parse_expiry(expires, now)
    giver = reference.secret(session, signer, passphrase_file)
    found = reference.entity(session, target)
    declared = Name.create(giver, label=label, target=found.id, created=now, expires=until)
    reference.introduce(session, reference.Found(giver.id, "file", giver.entity), found)
    kept = no_publish or not reference.is_published(session, giver.id)
    (reply,) = session.call(Publish(objects=(declared.to_object().to_bytes(),), keep_only=kept)).objects
    ui.show(
        {
            "id": reply.id,
            "label": label,
            "giver": id_text(giver.id),
            "target": found.text,
            "expires": until,
            "published": reply.height is not None,
            "height": reply.height,
        },
        [reply.id],
        as_json=session.json,
    )
    if kept and not no_publish:
        ui.say("the name is kept here: its signer's record is not published, so nobody else could check it")


@verb
@click.argument("name", type=ENTITY)
def resolve(session: Session, name: str) -> None:
    """Print the id of the entity that NAME means."""
    from cli import reference
    from wave.agent.wire import Resolve

    found = reference.entity(session, name)
    by, known = found.by, found.record is not None
    if not known:
        reply = session.call(Resolve(name=found.text))
        known = reply.record is not None
    ui.show({"name": name, "id": found.text, "by": by, "record_known": known}, [found.text], as_json=session.json)
    if not session.json:
        ui.say(f"found as {by}" + ("" if known else "; its record is not known here"))
