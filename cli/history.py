"""What happened on the registry: ``log`` lists it for a namespace, ``watch`` tells it while it happens."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from cli import ui
from cli.options import ENTITY, verb
from cli.session import Session

if TYPE_CHECKING:
    from wave.agent.client import AgentClient
    from wave.agent.wire import Happening

_FIRST_PAUSE: Final = 0.2  # seconds between two looks whether an agent that went away is back
_LONGEST_PAUSE: Final = 5.0

since_option = click.option("--since", metavar="HEIGHT", help="Only what came after this block.")


@verb
@since_option
@click.argument("namespace", type=ENTITY)
def log(session: Session, since: str | None, namespace: str) -> None:
    """List every delegation, revocation and naming that concerns NAMESPACE, with its block and time.

    In the chain's order. Revocations of things that are not known here say nothing of what they take back; they are
    counted.
    """
    from cli import reference
    from wave.agent.wire import Log, encode

    found = reference.entity(session, namespace)
    reply = session.call(Log(namespace=found.text, after=since or ""))
    entries = [*reply.entries]
    while reply.next is not None:
        reply = session.call(Log(namespace=found.text, after=reply.next))
        entries += reply.entries
    if session.json:
        document = {
            "namespace": found.text,
            "height": reply.height,
            "entries": [json.loads(encode(one)) for one in entries],
            "unknown": reply.unknown,
        }
        ui.document(document)
        return
    for line in lines(entries, reference.Names(session).name):
        ui.out(line)
    if not entries:
        ui.say("nothing yet")
    if reply.unknown:
        what = "revocation is" if reply.unknown == 1 else "revocations are"
        ui.say(f"{reply.unknown} further {what} of things not known here")


@verb
@since_option
@click.argument("namespace", type=ENTITY, required=False)
def watch(session: Session, since: str | None, namespace: str | None) -> None:
    """Print delegations, revocations, names and aliases as they come, and each new block, until stopped.

    With NAMESPACE only what concerns it. With --json one line for each; its id, as --since, goes on after it. When the
    agent goes away and comes back, it goes on where it was.
    """
    from cli.running import agent_of, carry_out, print_line, resolve
    from wave.agent.wire import encode

    async def main() -> None:
        from wave.codec import id_text

        async with agent_of(session) as agent:
            place = None if namespace is None else id_text(await resolve(session, agent, namespace))
            async for one, called in _lasting(agent, since, place, named=not session.json):
                if session.json:
                    print_line(json.loads(encode(one)))
                    continue
                for line in lines([one], partial(_called, called)):
                    ui.out(line)
                ui.flush()

    carry_out(main())


async def _lasting(
    agent: "AgentClient", since: str | None, namespace: str | None, *, named: bool
) -> "AsyncIterator[tuple[Happening, Mapping[str, str]]]":
    """Yield what happens and, if ``named``, the names for it, across the agent's absence too.

    :class:`AgentUnavailable` when it is not there to begin with.
    """
    from wave.agent.wire import Names, Status
    from wave.errors import AgentUnavailable

    height = (await agent.call(Status())).height
    since = str(height) if since is None else since
    pause = _FIRST_PAUSE
    while True:
        try:
            async for one in agent.watch(since=since, namespace=namespace):
                called = (await agent.call(Names())).names if named and one.kind != "block" else {}
                if pause != _FIRST_PAUSE:
                    ui.say("the agent is back")
                    pause = _FIRST_PAUSE
                yield one, called
                since = one.id
        except AgentUnavailable as error:
            if pause == _FIRST_PAUSE:
                ui.warn(f"{error.message}; waiting for it")
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _called(names: Mapping[str, str], identity: str) -> str:
    return names.get(identity) or identity[:8]


def lines(entries: "Iterable[Happening]", name: Callable[[str], str]) -> Iterator[ui.Line]:
    """Yield a line for each happening: block, time, and what it was."""
    from wave.times import instant_text

    for one in entries:
        when = "" if one.time is None else instant_text(one.time)
        yield f"{one.height:>6}", "  ", when.ljust(20), "  ", ui.paint(*_kind(one)), "  ", ui.plain(_text(one, name))


def _kind(one: "Happening") -> tuple[str, str]:
    colours = {"revocation": "red", "delegation": "green", "reorg": "yellow"}
    return one.kind.ljust(10), colours.get(one.kind, "faint" if one.kind == "block" else "blue")


def _text(one: "Happening", shown: Callable[[str], str]) -> str:
    def name(identity: str | None) -> str:
        return "?" if identity is None else shown(identity)

    if one.kind == "delegation":
        rights = "; ".join(
            f"{'' if right.permission_set is None else name(right.permission_set) + ':'}"
            + ", ".join([f"{','.join(right.permissions)}@{right.pattern}", *right.conditions])
            for right in one.grants
        )
        hops = f", {one.indirections} hop{'' if one.indirections == 1 else 's'}" if one.indirections else ""
        return f"{name(one.signer)} -> {name(one.receiver)}  {rights}{hops}  {one.object}"
    if one.kind == "name":
        return f"{name(one.signer)} calls {name(one.target)} {one.label}  {one.object}"
    if one.kind == "route":
        return f"{name(one.signer)} {_route(one, name(one.target), name(one.namespace))}  {one.object}"
    if one.kind == "alias":
        return f"{one.label} means {name(one.target)}  {one.target}"
    if one.kind == "revocation":
        return _revocation(one, name)
    gone = f"the chain changed: what came after block {one.height} is void"
    return gone if one.kind == "reorg" else (one.block_hash or "")[:16]


def _route(one: "Happening", router: str, namespace: str) -> str:
    """Return what somebody says by a route."""
    if one.act == "offer":
        return f"offers to carry {namespace}"
    return f"takes {router} as the router of {namespace}" if one.act == "accept" else f"is at {' '.join(one.urls)}"


def _revocation(one: "Happening", name: Callable[[str | None], str]) -> str:
    signer, receiver, target = name(one.signer), name(one.receiver), name(one.target)
    if one.what is None:
        return f"of something not known here  {one.commitment}"
    what = {
        "dot": f"the DoT {signer} -> {receiver}",
        "entity": f"the entity {signer}",
        "name": f"{signer}'s name {one.label} for {target}",
        "route": f"that {signer} {_route(one, target, name(one.namespace))}",
    }[one.what]
    by = signer if one.by_signer else "a further revoker that it names"
    return f"{what}, by {by}  {one.object}"
