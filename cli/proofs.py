"""Proofs: ``prove`` and ``verify``."""

from typing import TYPE_CHECKING

import click

from cli import ui
from cli.options import ENTITY, FILE, verb
from cli.session import Session

if TYPE_CHECKING:
    from cli.reference import Names
    from wave.agent.wire import StapleReply, VerdictReply
    from wave.dots.proof import Proof


@verb
@click.option("--subject", type=ENTITY, metavar="ENTITY", help="Who is to show it. Default: WAVE_ENTITY.")
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Write the proof to FILE instead of stdout.")
@click.option("--dot", "dots", type=FILE, multiple=True, metavar="FILE", help="Take in this DoT first; repeatable.")
@click.option("--value", "values", multiple=True, metavar="NAME=NUMBER", help="A value that conditions ask about.")
@click.option("--staple", is_flag=True, help="Add what shows, against a block's hash, that nothing of it is revoked.")
@click.argument("texts", nargs=-1, required=True, metavar="GRANT...")
def prove(
    session: Session,
    *,
    subject: str | None,
    output: str | None,
    dots: tuple[str, ...],
    values: tuple[str, ...],
    staple: bool,
    texts: tuple[str, ...],
) -> None:
    """Build a shortest proof that an entity may do things, from the DoTs that are known here.

    A GRANT is [set:]perm[,perm...]@namespace/resource. The proof goes to stdout, or with -o to a file. A stapled one
    can be checked without a network by whoever trusts the hash of the block that is named.
    """
    from cli import reference
    from wave.agent.wire import Ask, Prove, Publish, Staple
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
    stapled = session.call(Staple(proof=reply.proof)) if staple else None
    text = proof.to_text() if stapled is None else proof.to_text() + _staple_text(stapled)
    if output is not None:
        reference.write_text(output, text, over=LABEL)
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
                **({} if output else {"proof": text}),
                **({} if stapled is None else {"staple": _staple_document(stapled)}),
            }
        )
        return
    lines = _path_lines(proof, reference.Names(session), reply.until)
    if stapled is not None:
        lines.append(f"stapled to block {stapled.height}, hash 0x{stapled.block_hash}")
    if output is None:
        for line in lines:
            ui.say(line)
        ui.text_file(text)
    else:
        for line in lines:
            ui.out(line)


def _staple_text(reply: "StapleReply") -> str:
    from wave.chain.staple import Staple

    return Staple.from_bytes(reply.staple).to_text()


def _staple_document(reply: "StapleReply") -> dict[str, object]:
    return {
        "height": reply.height,
        "block_hash": f"0x{reply.block_hash}",
        "block_time": reply.time,
        "bytes": len(reply.staple),
    }


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
@click.option(
    "--trust-block", type=FILE, metavar="HASH|FILE", help="Check offline, by the staple, trusting this block."
)
@click.option("--max-age", metavar="TIME", help="How old that block may be. Default: 2m.")
@click.option(
    "--registry", metavar="ADDRESS", help="The registry in that block. Default: the one that is followed here."
)
@click.option("--value", "values", multiple=True, metavar="NAME=NUMBER", help="A value that conditions ask about.")
@click.argument("texts", nargs=-1, required=True, metavar="GRANT...")
def verify(
    session: Session,
    *,
    file: str,
    subject: str | None,
    at: str | None,
    at_least: int | None,
    trust_block: str | None,
    max_age: str | None,
    registry: str | None,
    values: tuple[str, ...],
    texts: tuple[str, ...],
) -> None:
    """Check that the proof in FILE ('-': standard input) lets an entity do things: status 0 for yes, 1 for no.

    A GRANT is [set:]perm[,perm...]@namespace/resource. What could not be checked is status 4, and never a yes.

    With --trust-block, a stapled proof is checked without agent or network. The block is named by its hash, or by a
    file with the header as a node of one's own gives it (the JSON of eth_getBlockByNumber).
    """
    from cli import reference
    from wave.agent.wire import Ask, Verify
    from wave.times import parse_instant

    if trust_block is None and (max_age or registry):
        raise click.UsageError("--max-age and --registry say more about --trust-block")
    session.offline = trust_block is not None
    proof, staple = reference.proof_file(file)
    when = None if at is None else parse_instant(at)
    sought = reference.grants(session, texts)
    who = _ends_at(proof, sought.namespace.id) if subject is None else reference.entity(session, subject).id
    from wave.codec import id_text

    ask = Ask(
        subject=id_text(who),
        namespace=sought.namespace.text,
        statements=sought.wanted,
        context=reference.values(values),
    )
    if trust_block is not None:
        from cli import offline

        trust = offline.Trust.read(session, trust_block, max_age=max_age, registry=registry)
        yes = offline.check(
            proof, staple, ask.request(), trust, now=session.now() if when is None else when, at_least=at_least
        )
        ui.show(yes.document(), yes.lines(reference.Names(session).name(who), texts), as_json=session.json)
        return
    reply = session.call(Verify(proof=proof.to_bytes(), ask=ask, at=when, at_least=at_least))
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
