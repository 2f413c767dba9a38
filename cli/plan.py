"""Who would gain or lose what, before anything is signed: ``wave plan grant`` and ``wave plan revoke``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from cli import ui
from cli.options import ENTITY, FILE, verb
from cli.session import Session

if TYPE_CHECKING:
    from cli.reference import Names
    from wave.agent.wire import HoldingView, LossView

_UNSIGNED: Final = bytes(64)


@click.group()
def plan() -> None:
    """Say who would gain or lose what by a grant or a revocation, without signing or sending anything."""


@verb
@click.option("--from", "giver", type=ENTITY, metavar="ENTITY", help="Who would give it. Default: WAVE_ENTITY.")
@click.option("--to", "receiver", type=ENTITY, required=True, metavar="ENTITY", help="Who would receive it.")
@click.option("--indirections", type=click.IntRange(0, 2**31 - 1), default=0, metavar="N", help="Further hops.")
@click.option("--expires", default="30d", show_default=True, metavar="TIME", help="A duration (12h, 30d) or a time.")
@click.option("--when", multiple=True, metavar="HOURS", help="Only then: 'mon-fri 08:00-22:00 Europe/Berlin'.")
@click.option("--where", multiple=True, metavar="BOUNDS", help="Only with such a value: 'set_point 66..74'.")
@click.option("--rate", multiple=True, metavar="N/TIME", help="Only so often: 10/60s.")
@click.argument("texts", nargs=-1, required=True, metavar="GRANT...")
def plan_grant(
    session: Session,
    *,
    giver: str | None,
    receiver: str,
    indirections: int,
    expires: str,
    when: tuple[str, ...],
    where: tuple[str, ...],
    rate: tuple[str, ...],
    texts: tuple[str, ...],
) -> None:
    """List who would gain what if such a DoT were given, receivers further on too; no secret is needed.

    Options and GRANT are those of 'wave grant'.
    """
    from cli import reference
    from wave.agent.wire import Gains
    from wave.codec import VERSION, record_bytes, sha256
    from wave.dots.dot import Dot, DotFields
    from wave.namespace import condition
    from wave.namespace.grant import right
    from wave.times import parse_expiry

    conditions = (*map(condition.when, when), *map(condition.where, where), *map(condition.rate, rate))
    by, to = reference.subject(session, giver), reference.receiver(session, receiver)
    sought = reference.grants(session, texts)
    reference.introduce(session, by, to, sought.namespace)
    now = session.now()
    fields = DotFields(
        VERSION,
        by.id,
        to.id,
        sought.namespace.id,
        tuple(
            right(text.permissions, str(text.pattern), conditions, None if kind is None else kind.id)
            for text, kind in sought.grants
        ),
        indirections,
        now,
        parse_expiry(expires, now),
        (sha256(b"wave/plan/v1"),),  # of no preimage that anybody has
        "",
    )
    reply = session.call(Gains(dots=(Dot(record_bytes(fields), _UNSIGNED).to_bytes(),)))
    _show(session, reply, reply.gains, "gains", "has already")


@verb
@click.option("--dot", "dots", type=FILE, multiple=True, metavar="ID|FILE", help="If this DoT were; repeatable.")
@click.option("--entity", "people", type=ENTITY, multiple=True, metavar="ENTITY", help="If this entity were.")
def plan_revoke(session: Session, *, dots: tuple[str, ...], people: tuple[str, ...]) -> None:
    """List who would lose what if DoTs or entities were revoked, receivers further on too."""
    from cli import reference
    from wave.agent.wire import Losses
    from wave.codec import id_text

    if not dots and not people:
        raise click.UsageError("say --dot or --entity")
    found = [id_text(reference.signed_object(session, one).id) for one in dots]
    known = [reference.entity(session, one) for one in people]
    reference.introduce(session, *known)
    reply = session.call(Losses(objects=(*found, *(one.text for one in known))))
    _show(session, reply, reply.losses, "loses", "keeps")


def _show(session: Session, reply: object, changes: "Sequence[LossView]", verb_of_it: str, instead: str) -> None:
    from cli import reference

    names = reference.Names(session)
    lines: list[str] = []
    for change in changes:
        lines.append(f"{change.name} {verb_of_it} {_text(names, change.right)}")
        lines += [f"    {instead} {_text(names, one)}" for one in change.instead]
    ui.show(reply, lines, as_json=session.json)
    if not lines and not session.json:
        ui.say(f"nobody {verb_of_it} anything")


def _text(names: "Names", right: "HoldingView") -> str:
    from wave.namespace.grant import grant_text
    from wave.times import instant_text

    kind = None if right.permission_set is None else names.name(right.permission_set)
    text = grant_text((right.permission,), names.name(right.namespace), right.pattern, kind)
    hops = f", {right.hops_left} further hops" if right.hops_left else ""
    under = "".join(f", {one}" for one in right.conditions)
    return f"{text} until {instant_text(right.until)}{hops}{under}"


plan.add_command(plan_grant, "grant")
plan.add_command(plan_revoke, "revoke")
