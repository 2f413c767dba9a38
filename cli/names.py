"""Names: ``alias``, ``name`` and ``resolve``."""

import click

from cli import ui
from cli.options import ENTITY, secret_options, verb
from cli.session import Session


@verb
@click.argument("label")
@click.argument("entity", type=ENTITY)
def alias(session: Session, label: str, entity: str) -> None:
    """Take the global alias LABEL for ENTITY. Who comes first has it, for ever.

    It takes two transactions: the first one commits to the claim and hides the label, so that nobody who sees it coming
    can be quicker; the second one claims.
    """
    from cli import reference
    from wave.agent.wire import Claim
    from wave.namespace.name import check_label

    check_label(label)
    found = reference.entity(session, entity)
    ui.aside("two transactions: one that commits to the claim, and the claim itself in a later block")
    reply = session.call(Claim(label=label, target=found.text))
    ui.show(
        {"label": label, "target": found.text, "height": reply.height, "committed": reply.committed},
        [f"{label} means {found.text} from block {reply.height} on"],
        as_json=session.json,
    )


@verb
@secret_options
@click.option("--expires", default="1y", show_default=True, metavar="TIME", help="A duration (90d, 10y) or a time.")
@click.option("--publish/--no-publish", default=None, help="Publish it, or only keep it here. See below.")
@click.argument("label")
@click.argument("target", type=ENTITY)
def name(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    expires: str,
    publish: bool | None,
    label: str,
    target: str,
) -> None:
    """Sign that LABEL, said of the signer, means TARGET; others write it as LABEL.SIGNER. Prints the declaration's id.

    On a chain of one's own it is published unless --no-publish is said, on a chain of others only with --publish. One
    that is not published means something here alone. `wave revoke --name` takes it back.
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
    wanted = reference.is_own_chain(session) if publish is None else publish
    kept = not wanted or not reference.is_published(session, giver.id)
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
    if kept and wanted:
        ui.say("the name is kept here: its signer's record is not published, so nobody else could check it")
    elif kept and publish is None:
        ui.say("the name is kept here and not published: say --publish to let everyone read it, for ever")


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
