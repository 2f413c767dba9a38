"""Questions about rights: ``who``, ``what`` and ``why``."""

from typing import Final

import click

from cli import ui
from cli.options import ENTITY, FILE, verb
from cli.session import Session

_NO: Final = 1


@verb
@click.argument("text", metavar="GRANT")
def who(session: Session, text: str) -> None:
    """List everybody who may do GRANT, [set:]perm@namespace/resource, besides the namespace itself."""
    from cli import reference
    from wave.agent.wire import Who
    from wave.errors import BadGrant

    sought = reference.grants(session, [text])
    if len(sought.wanted) != 1:
        raise BadGrant(f"{text[:80]!r} asks for {len(sought.wanted)} permissions", hint="ask for one at a time")
    reference.introduce(session, sought.namespace)
    reply = session.call(Who(namespace=sought.namespace.text, wanted=sought.wanted[0]))
    names = reference.Names(session)
    rows = [(names.by_id.get(one.id, ""), one.id, str(one.hops_left), str(len(one.path))) for one in reply.holders]
    ui.show(reply, ui.table(("name", "entity", "hops left", "DoTs"), rows) if rows else (), as_json=session.json)
    if not rows and not session.json:
        ui.say(f"nobody but {names.name(sought.namespace.id)} itself may {text}")


@verb
@click.option("--subject", type=ENTITY, metavar="ENTITY", help="Whose rights. Default: WAVE_ENTITY.")
def what(session: Session, subject: str | None) -> None:
    """List what an entity may do, in all namespaces but its own, where it may do everything."""
    from cli import reference
    from wave.agent.wire import What
    from wave.namespace.grant import grant_text
    from wave.times import instant_text

    found = reference.subject(session, subject)
    reference.introduce(session, found)
    reply = session.call(What(subject=found.text))
    names = reference.Names(session)
    rows = [
        (
            grant_text(
                (one.permission,),
                names.name(one.namespace),
                one.pattern,
                None if one.permission_set is None else names.name(one.permission_set),
            ),
            str(one.hops_left),
            instant_text(one.until),
            ", ".join(one.conditions),
        )
        for one in reply.holdings
    ]
    ui.show(reply, ui.table(("right", "hops left", "until", "conditions"), rows) if rows else (), as_json=session.json)
    if not rows and not session.json:
        ui.say(f"{names.name(found.id)} may do nothing in any namespace but its own")
    if not reply.complete:
        ui.warn("the list was cut short by a bound: there may be more")


@verb
@click.argument("texts", nargs=-1, required=True, metavar="DECISION|GRANT...")
@click.option("--subject", type=ENTITY, metavar="ENTITY", help="Who asks. Default: WAVE_ENTITY.")
@click.option("--proof", "file", type=FILE, metavar="FILE", help="Explain what this proof is answered.")
@click.option("--value", "values", multiple=True, metavar="NAME=NUMBER", help="A value that conditions ask about.")
@click.option("--log", type=FILE, metavar="FILE", help="Look for DECISION in this log of a guard's, and verify it.")
def why(
    session: Session,
    *,
    texts: tuple[str, ...],
    subject: str | None,
    file: str | None,
    values: tuple[str, ...],
    log: str | None,
) -> None:
    """Explain a DECISION by its id, or what GRANT, [set:]perm@namespace/resource, would be answered now.

    Says what held and what failed on each hop, what is missing and who could give it. About a GRANT the status is 0
    for a yes and 1 for a no; about a DECISION it is 0 when it was found.
    """
    from cli import reference
    from wave.agent.wire import Ask, Why

    if not any("@" in text for text in texts):
        if len(texts) > 1 or subject or file or values:
            raise click.UsageError("a decision's id stands alone; a grant is perm@namespace/resource")
        if log is not None:
            _show_logged(session, log, texts[0])
            return
        call = Why(decision=texts[0])
    else:
        proof = None if file is None else reference.proof_file(file)[0].to_bytes()
        asker = reference.subject(session, subject)
        sought = reference.grants(session, texts)
        reference.introduce(session, asker, sought.namespace)
        ask = Ask(
            subject=asker.text,
            namespace=sought.namespace.text,
            statements=sought.wanted,
            context=reference.values(values),
        )
        call = Why(ask=ask, proof=proof)
    reply = session.call(call)
    ui.show(reply, reply.lines, as_json=session.json)
    if call.decision is None and not reply.allowed:
        raise click.exceptions.Exit(_NO)


def _show_logged(session: Session, log: str, decision: str) -> None:
    """Print a decision of a guard's log."""
    from pathlib import Path

    from wave.guard.log import find_decision
    from wave.times import instant_text

    found = find_decision(Path(log), decision)
    at = found.get("at")
    told = {**found, "at": instant_text(at) if isinstance(at, int) else at}
    pairs = [
        (name.replace("_", " "), one)
        for name, value in told.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    ui.show(found, ui.fields(pairs), as_json=session.json)
