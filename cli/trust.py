"""Giving and taking back: ``grant`` and ``revoke``."""

from typing import TYPE_CHECKING, Any, Final

import click

from cli import ui
from cli.options import ENTITY, FILE, secret_options, verb
from cli.session import Session

if TYPE_CHECKING:
    from cli.reference import Found, Sought
    from wave.dots.dot import Dot
    from wave.entities.entity import Entity, EntitySecret
    from wave.errors import WaveError
    from wave.namespace.condition import Condition
    from wave.namespace.name import Name
    from wave.namespace.route import Route


@verb
@secret_options
@click.option("--to", "receiver", type=ENTITY, required=True, metavar="ENTITY", help="Who receives it, or 'everybody'.")
@click.option(
    "--indirections",
    type=click.IntRange(0, 2**31 - 1),
    metavar="N",
    default=0,
    show_default=True,
    help="How many further hops the receiver may hand it on.",
)
@click.option("--ttl", type=click.IntRange(0, 2**31 - 1), default=None, hidden=True)
@click.option("--expires", default="30d", show_default=True, metavar="TIME", help="A duration (12h, 30d) or a time.")
@click.option("--when", multiple=True, metavar="HOURS", help="Only then: 'mon-fri 08:00-22:00 Europe/Berlin'.")
@click.option("--where", multiple=True, metavar="BOUNDS", help="Only with such a value: 'set_point 66..74'.")
@click.option("--rate", multiple=True, metavar="N/TIME", help="Only so often: 10/60s.")
@click.option("--comment", default="", help="Anything. Stands in the DoT for everyone to read.")
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Write the DoT to FILE as well.")
@click.option("--publish/--no-publish", default=None, help="Publish it, or only keep it here. See below.")
@click.argument("texts", nargs=-1, required=True, metavar="GRANT...")
def grant(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    receiver: str,
    indirections: int,
    ttl: int | None,
    expires: str,
    when: tuple[str, ...],
    where: tuple[str, ...],
    rate: tuple[str, ...],
    comment: str,
    output: str | None,
    publish: bool | None,
    texts: tuple[str, ...],
) -> None:
    """Let an entity do things in a namespace, and print the id of the DoT that says so.

    A GRANT is [set:]perm[,perm...]@namespace/pattern, such as publish@home/light0/*; conditions hold for all of them.
    On a chain of one's own (the embedded one, one on this machine, or as 'wave chain use --own' says) the DoT is
    published unless --no-publish is said. What stands on a chain of others stands there for ever, in the clear: there
    it is only kept, and written with -o, unless --publish is said.
    """
    from cli import reference
    from wave.agent.wire import Publish
    from wave.codec import id_text

    conditions = _conditions(when, where, rate)
    reference.check_free(output, over="DOT")
    giver = reference.secret(session, signer, passphrase_file)
    to = reference.receiver(session, receiver)
    sought = reference.grants(session, texts)
    hops = indirections if ttl is None else ttl
    dot = _sign(session, giver, to, sought, conditions, hops=hops, expires=expires, comment=comment)
    own = reference.Found(giver.id, "file", giver.entity)
    reference.introduce(session, own, to, sought.namespace, *(kind for _, kind in sought.grants if kind is not None))
    warnings = [session.with_names(warning) for warning in _warnings(session, own, sought, hops)]
    for warning in warnings:
        ui.warn(warning.message, warning.hint)
    published = _to_publish(session, own, publish)
    (reply,) = session.call(Publish(objects=(dot.to_bytes(),), keep_only=not published)).objects
    if output is not None:
        reference.write_text(output, dot.to_object().to_text(), over="DOT")
    identity = id_text(dot.id)
    ui.show(
        _document(dot, reply.height, output, warnings),
        [identity],
        as_json=session.json,
    )
    if not published and publish is None:
        ui.say("the DoT is kept here and not published: write it with -o FILE to hand it over, or say --publish")


def _conditions(when: tuple[str, ...], where: tuple[str, ...], rate: tuple[str, ...]) -> "tuple[Condition, ...]":
    from wave.namespace import condition

    return (
        *(condition.when(text) for text in when),
        *(condition.where(text) for text in where),
        *(condition.rate(text) for text in rate),
    )


def _sign(
    session: Session,
    giver: "EntitySecret",
    to: "Found",
    sought: "Sought",
    conditions: "tuple[Condition, ...]",
    *,
    hops: int,
    expires: str,
    comment: str,
) -> "Dot":
    from wave.dots.dot import Dot
    from wave.namespace.grant import right
    from wave.times import parse_expiry

    now = session.now()
    return Dot.create(
        giver,
        receiver=to.id,
        namespace=sought.namespace.id,
        grants=tuple(
            right(text.permissions, str(text.pattern), conditions, None if kind is None else kind.id)
            for text, kind in sought.grants
        ),
        created=now,
        expires=parse_expiry(expires, now),
        indirections=hops,
        comment=comment,
    )


def _document(dot: "Dot", height: int | None, output: str | None, warnings: "list[WaveError]") -> dict[str, Any]:
    from wave.codec import id_text

    return {
        "id": id_text(dot.id),
        "giver": id_text(dot.giver),
        "receiver": id_text(dot.receiver),
        "namespace": id_text(dot.namespace),
        "indirections": dot.indirections,
        "expires": dot.expires,
        "published": height is not None,
        "height": height,
        "file": output,
        "warnings": [warning.problem() for warning in warnings],
    }


def _warnings(session: Session, giver: "Found", sought: "Sought", indirections: int) -> "list[WaveError]":
    """Return what is odd about the giver's giving: rights that it does not hold, or may not hand on so far.

    Such a DoT is no fault, for what the giver lacks may come later; it is worth nothing until then.
    """
    from wave.errors import NotFound, Refused, TooManyHops, Unavailable, WaveError

    found: list[WaveError] = []
    for wanted in sought.wanted[:1] if giver.id == sought.namespace.id else sought.wanted:
        thing = f"{wanted.permission} on {wanted.pattern}"
        try:
            left = _hops_left(session, giver, sought.namespace, wanted)
        except (Refused, NotFound) as error:
            found.append(Refused(f"the giver does not hold {thing} itself now: {error.message}", hint=error.hint))
        except Unavailable as error:
            found.append(Refused(f"whether the giver holds {thing} itself could not be told: {error.message}", hint=""))
        else:
            if left < 1:
                found.append(
                    TooManyHops(
                        f"the giver may use {thing} and not hand it on, so this DoT proves nothing",
                        hint="ask whoever granted it for more indirections",
                    )
                )
            elif left - 1 < indirections:
                found.append(
                    TooManyHops(
                        f"of the {indirections} further hops for {thing}, the giver's own right leaves {left - 1}",
                        hint="ask whoever granted it for more indirections",
                    )
                )
    return found


def _hops_left(session: Session, giver: "Found", namespace: "Found", wanted: Any) -> int:
    """Return how many hops further the giver may hand a thing on; :class:`NoProof` when it does not hold it."""
    from wave.agent.wire import Ask, Prove, Who
    from wave.limits import LIMITS

    if giver.id == namespace.id:
        session.call(Prove(ask=Ask(subject=giver.text, namespace=giver.text, statements=(wanted,))))
        return LIMITS.dots_per_path
    for holder in session.call(Who(namespace=namespace.text, wanted=wanted)).holders:
        if holder.id == giver.text:
            return holder.hops_left
    session.call(Prove(ask=Ask(subject=giver.text, namespace=namespace.text, statements=(wanted,))))
    return 0  # by what everybody may, which goes no further


def _to_publish(session: Session, giver: "Found", wish: bool | None) -> bool:
    """Return whether the DoT is to be published: as wished, or where that shows others nothing and serves this agent.

    A DoT on the chain is believed by those alone who find its giver's record there too.
    """
    from cli import reference
    from wave.errors import UnknownEntity

    if wish is False or (wish is None and not reference.is_own_chain(session)):
        return False
    if reference.is_published(session, giver.id):
        return True
    if wish is None:
        return False
    raise UnknownEntity(
        "the giver's own record is not published, so nobody could check the DoT",
        hint="publish it with 'wave mkentity --publish-again FILE', or say --no-publish and hand the DoT over",
    )


# Taking back -------------------------------------------------------------------------------------------------------

_ITSELF: Final = "the signer itself"


@verb
@secret_options
@click.option("--dot", type=FILE, metavar="ID|FILE", help="Take back this DoT.")
@click.option(
    "--entity",
    "whom",
    is_flag=False,
    flag_value=_ITSELF,
    type=ENTITY,
    metavar="[ENTITY]",
    help="Take back this entity, and with it every path through it; without a name, the signer itself.",
)
@click.option("--name", "label", metavar="LABEL|ID|FILE", help="Take back this signed name.")
@click.option("--route", type=FILE, metavar="ID|FILE", help="Take back this offer, acceptance or address of a router.")
def revoke(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    dot: str | None,
    whom: str | None,
    label: str | None,
    route: str | None,
) -> None:
    """Take back a DoT, an entity, a signed name or a route, for everybody and for ever.

    It counts from the block whose height is printed; `wave verify --at-least HEIGHT` cannot miss it.
    """
    from cli import reference
    from wave.agent.wire import Revoke
    from wave.codec import id_text, sha256
    from wave.namespace.route import Route

    if sum(one is not None for one in (dot, whom, label, route)) != 1:
        raise click.UsageError("say one of --dot, --entity, --name and --route")
    secret = reference.secret(session, signer, passphrase_file)
    thing: Dot | Entity | Name | Route
    if dot is not None:
        thing, what = _dot(session, dot), "DoT"
    elif whom is not None:
        thing, what = _entity(session, secret, whom), "entity"
    elif route is not None:
        thing, what = Route.from_object(reference.signed_object(session, route)), "route"
    else:
        thing, what = _name(session, secret, label or ""), "name"
    preimage = _preimage(thing, secret)
    if sha256(preimage) not in thing.fields.commitments:
        raise _not_yours(session, thing, what, secret)
    height = session.call(Revoke(preimages=(preimage,))).height
    ui.show(
        {"id": id_text(thing.id), "kind": what.lower(), "height": height},
        [f"{what} {id_text(thing.id)} is revoked from block {height} on"],
        as_json=session.json,
    )


def _preimage(thing: "Dot | Entity | Name | Route", secret: "EntitySecret") -> bytes:
    from wave.entities.entity import Entity
    from wave.entities.object import ENTITY, revocation_preimage

    if isinstance(thing, Entity):
        return revocation_preimage(secret.seed, ENTITY, thing.fields)
    return thing.preimage(secret)


def _dot(session: Session, text: str) -> "Dot":
    from cli import reference
    from wave.dots.dot import Dot
    from wave.errors import Malformed

    try:
        return Dot.from_object(reference.signed_object(session, text))
    except Malformed as error:
        hint = error.hint or f"name a DoT's id or its file; 'wave inspect {text}' says what this is"
        raise Malformed(error.message, hint=hint) from None


def _entity(session: Session, secret: "EntitySecret", text: str) -> "Entity":
    from cli import reference
    from wave.agent.wire import FindObject
    from wave.entities.entity import Entity

    if text == _ITSELF:
        return secret.entity
    found = reference.entity(session, text)
    if found.id == secret.id:
        return secret.entity
    return found.record or Entity.from_bytes(session.call(FindObject(id=found.text)).data)


def _name(session: Session, secret: "EntitySecret", text: str) -> "Name":
    from pathlib import Path

    from cli import reference
    from wave.agent.wire import Resolve
    from wave.codec import id_text, parse_id
    from wave.errors import UnknownName
    from wave.namespace.name import Name, check_label

    if parse_id(text) is None and not Path(text).is_file():
        check_label(text)
        reply = session.call(Resolve(name=f"{text}.{id_text(secret.id)}"))
        declaration: str | None = getattr(reply, "declaration", None)
        if declaration is None:
            raise UnknownName(f"the declaration of {text!r} is not known here", hint="name it by the id that it has")
        text = declaration
    return Name.from_object(reference.signed_object(session, text))


def _not_yours(
    session: Session, thing: "Dot | Entity | Name | Route", what: str, secret: "EntitySecret"
) -> "WaveError":
    from cli.reference import Names
    from wave.entities.entity import Entity
    from wave.errors import Refused

    names = Names(session)
    owner = thing.id if isinstance(thing, Entity) else thing.fields.giver
    further = len(thing.fields.commitments) - 1
    besides = f", or one of the {further} further revokers it names" if further else ""
    return Refused(
        f"{names.name(secret.id)} cannot take this {what} back",
        hint=f"its signer can{besides}: {names.full(owner)}",
    )
