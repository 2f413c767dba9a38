"""Proofs: ``prove`` and ``verify``."""

from typing import TYPE_CHECKING

import click

from cli import ui
from cli.options import ENTITY, FILE, verb
from cli.session import Session

if TYPE_CHECKING:
    from cli.reference import Names
    from wave.agent.wire import VerdictReply
    from wave.dots.proof import Proof


@verb
@click.option("--subject", type=ENTITY, metavar="ENTITY", help="Who is to show it. Default: WAVE_ENTITY.")
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Write the proof to FILE instead of stdout.")
@click.option("--dot", "dots", type=FILE, multiple=True, metavar="FILE", help="Take in this DoT first; repeatable.")
@click.option("--value", "values", multiple=True, metavar="NAME=NUMBER", help="A value that conditions ask about.")
@click.argument("texts", nargs=-1, required=True, metavar="GRANT...")
def prove(
    session: Session,
    *,
    subject: str | None,
    output: str | None,
    dots: tuple[str, ...],
    values: tuple[str, ...],
    texts: tuple[str, ...],
) -> None:
    """Build a shortest proof that an entity may do things, from the DoTs that are known here.

    A GRANT is [set:]perm[,perm...]@namespace/resource. The proof goes to stdout, or with -o to a file.
    """
    from cli import reference
    from wave.agent.wire import Ask, Prove, Publish
    from wave.dots.proof import LABEL, Proof
    from wave.entities.object import from_text

    reference.check_free(output, over=LABEL)
    if dots:
        given = tuple(from_text(reference.read_any(file)).to_bytes() for file in dots)
        session.call(Publish(objects=given, keep_only=True))
    who = reference.subject(session, subject)
    sought = reference.grants(session, texts)
    reference.introduce(session, who, sought.namespace)
    reply = session.call(
        Prove(
            ask=Ask(
                subject=who.text,
                namespace=sought.namespace.text,
                statements=sought.wanted,
                context=reference.values(values),
            )
        )
    )
    proof = Proof.from_bytes(reply.proof)
    if output is not None:
        reference.write_text(output, proof.to_text(), over=LABEL)
    if session.json:
        ui.document(
            {
                "id": reply.id,
                "subject": who.text,
                "namespace": sought.namespace.text,
                "paths": reply.paths,
                "until": reply.until,
                "bytes": len(reply.proof),
                "file": output,
                **({} if output else {"proof": proof.to_text()}),
            }
        )
        return
    lines = _path_lines(proof, reference.Names(session), reply.until)
    if output is None:
        for line in lines:
            ui.say(line)
        ui.text_file(proof.to_text())
    else:
        for line in lines:
            ui.out(line)


def _path_lines(proof: "Proof", names: "Names", until: int) -> list[str]:
    from wave.times import instant_text

    lines = [
        " -> ".join([names.name(path[0].giver), *(names.name(dot.receiver) for dot in path)]) for path in proof.paths
    ]
    return [*(lines or ["the namespace itself: no path is needed"]), f"holds until {instant_text(until)} at most"]


@verb
@click.argument("file", type=FILE, metavar="FILE")
@click.option("--subject", type=ENTITY, metavar="ENTITY", help="Who asks. Default: the last receiver of the proof.")
@click.option("--at", metavar="TIME", help="Ask about this time instead of now.")
@click.option("--at-least", type=click.IntRange(0), metavar="HEIGHT", help="Only by facts of this block or later.")
@click.option("--value", "values", multiple=True, metavar="NAME=NUMBER", help="A value that conditions ask about.")
@click.argument("texts", nargs=-1, required=True, metavar="GRANT...")
def verify(
    session: Session,
    *,
    file: str,
    subject: str | None,
    at: str | None,
    at_least: int | None,
    values: tuple[str, ...],
    texts: tuple[str, ...],
) -> None:
    """Check that the proof in FILE ('-': standard input) lets an entity do things: status 0 for yes, 1 for no.

    A GRANT is [set:]perm[,perm...]@namespace/resource. What could not be checked is status 4, and never a yes.
    """
    from cli import reference
    from wave.agent.wire import Ask, Verify
    from wave.dots.proof import Proof
    from wave.errors import WrongKind
    from wave.times import parse_instant

    try:
        proof = Proof.from_text(reference.read_any(file))
    except WrongKind as error:
        hint = error.hint or "'wave prove -o FILE.proof' makes a proof; 'wave inspect' says what a file is"
        raise WrongKind(error.message, hint=hint) from None
    when = None if at is None else parse_instant(at)
    sought = reference.grants(session, texts)
    who = _ends_at(proof, sought.namespace.id) if subject is None else reference.entity(session, subject).id
    from wave.codec import id_text

    reply = session.call(
        Verify(
            proof=proof.to_bytes(),
            ask=Ask(
                subject=id_text(who),
                namespace=sought.namespace.text,
                statements=sought.wanted,
                context=reference.values(values),
            ),
            at=when,
            at_least=at_least,
        )
    )
    if session.json:
        ui.document(reply)
        return
    _say_yes(reply, reference.Names(session), who, texts)


def _ends_at(proof: "Proof", namespace: bytes) -> bytes:
    """Return whom the proof serves: the one entity at which all of its paths end."""
    ends = {path[-1].receiver for path in proof.paths} or {namespace}
    if len(ends) > 1:
        raise click.UsageError("the proof's paths end at several entities; say which one asks with --subject")
    return ends.pop()


def _say_yes(reply: "VerdictReply", names: "Names", who: bytes, texts: tuple[str, ...]) -> None:
    from wave.times import instant_text

    ui.out((ui.paint("yes", "green"), f": {names.name(who)} may {' '.join(texts)}"))
    for line in ui.fields(
        [
            ("until", instant_text(reply.until)),
            ("block", reply.height),
            ("still to count", ", ".join(reply.rates)),
            ("decision", reply.decision),
        ]
    ):
        ui.out(line)
