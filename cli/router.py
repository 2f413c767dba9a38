"""Routers: ``router run``, the signed words by which a namespace gets one, and the list of who carries what."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cli import ui
from cli.options import ENTITY, FILE, secret_options, verb
from cli.running import Refusals, agent_of, carry_out, say_ready
from cli.service import metrics_option, service
from cli.session import Session
from wave.errors import StateLocked, StateUnwritable

if TYPE_CHECKING:
    from cli.reference import Found
    from wave.agent.client import AgentClient
    from wave.agent.wire import RouterView
    from wave.bus.router import Router
    from wave.bus.store import Store
    from wave.entities.entity import EntitySecret
    from wave.namespace.route import Route

HERE: Final = "here"
_expires = click.option(
    "--expires", default="1y", show_default=True, metavar="TIME", help="A duration (90d, 10y) or a time."
)
_publish = click.option("--publish/--no-publish", default=None, help="Publish it, or only keep it here. See below.")
_output = click.option("-o", "--output", type=FILE, metavar="FILE", help="Write it to FILE as well.")


@click.group()
def router() -> None:
    """Carry messages between those who may publish and those who may subscribe, and say who does for which namespace.

    A namespace's router is found from its name when three things are signed and published: the router's offer
    ('wave router offer'), the namespace's acceptance ('wave router accept') and the router's address ('wave router
    announce').
    """


@verb
@click.option("--as", "signer", type=FILE, metavar="ENTITY", help="The router's own entity: a secret file.")
@click.option(
    "--passphrase-file", type=FILE, metavar="FILE", help="Read the passphrase from FILE; '-' is standard input."
)
@click.option("--state", type=FILE, metavar="DIR", help="Where kept messages go. Default: WAVE_HOME/router.")
@click.option(
    "--announce", "urls", multiple=True, metavar="URL", help="Publish that it is reached at URL, or 'here'; needs --as."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--namespace", "namespaces", multiple=True, type=ENTITY, metavar="NS", help="Carry NS alone, and not any namespace."
)
@click.option("--port", type=click.IntRange(0, 65535), default=4410, show_default=True, help="The port; 0: any.")
@click.option("--anywhere", is_flag=True, help="Allow a host that is not this machine's own.")
@metrics_option
def router_run(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    state: str | None,
    urls: tuple[str, ...],
    host: str,
    namespaces: tuple[str, ...],
    port: int,
    anywhere: bool,
    metrics: str | None,
) -> None:
    """Run until stopped. It is trusted with delivery alone: whoever receives checks everything again.

    Without --namespace it carries, and keeps, what anybody publishes in a namespace of their own; give the option, as
    often as needed, unless strangers cannot reach the router or are meant to use it.

    With --as it shows whoever connects that it is the router that they look for; one that is found from a namespace's
    name has to. Messages that are published with --persist are kept in the state directory.
    """
    from cli import reference

    if urls and signer is None:
        raise click.UsageError("--announce needs --as: an address is signed by the router that has it")
    secret = None if signer is None else reference.secret(session, signer, passphrase_file)
    served = [reference.entity(session, one).id for one in namespaces] or None

    async def main() -> None:
        from devices.health import Part
        from wave.agent.client import FactsFeed

        def parts() -> dict[str, Part]:
            return {"router": Part(connected=True, subscribed=True, subscriptions=carrying.open_subscriptions)}

        directory = Path(state) if state else session.settings.home / "router"
        async with (
            agent_of(session) as agent,
            serving_router(agent, host, port, anywhere=anywhere, secret=secret, state=directory, namespaces=served) as (
                url,
                carrying,
            ),
        ):
            if secret is not None and urls:
                await _announce(agent, secret, tuple(url if one == HERE else one for one in urls))
            async with service(session, "router", metrics, facts=FactsFeed(agent).facts, parts=parts):
                say_ready(session, "router", f"the router answers at {url}", url=url)
                await asyncio.Event().wait()

    carry_out(main())


router.add_command(router_run, "run")


@asynccontextmanager
async def serving_router(
    agent: "AgentClient",
    host: str,
    port: int,
    *,
    anywhere: bool = False,
    secret: "EntitySecret | None" = None,
    state: Path | None = None,
    namespaces: Collection[bytes] | None = None,
) -> "AsyncIterator[tuple[str, Router]]":
    """Run a router while the body runs, and give its URL, and itself.

    ``state`` is the directory of what it keeps, None: nowhere; ``namespaces`` are those it carries, None: any.

    :class:`PortInUse`, :class:`StateLocked` when another router keeps its messages there, :class:`StateUnwritable`.
    """
    from wave.agent.client import FactsFeed
    from wave.bus.router import Router
    from wave.bus.websocket import serving

    with closing(_store(state)) as store:
        told = Refusals("router", FactsFeed(agent).facts)
        carrying = Router(
            told.facts,
            clock=time.time,
            draw=os.urandom,
            refused=told,
            store=store,
            secret=secret,
            namespaces=namespaces,
        )
        async with serving(carrying, host=host, port=port, anywhere=anywhere) as url:
            yield url, carrying


def _store(state: Path | None) -> "Store":
    from wave.bus.store import Store

    if state is None:
        return Store(None)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Store(state / "kept.sqlite")
    except StateLocked as error:
        hint = "does a router run here already? then give this one a directory of its own with --state"
        raise StateLocked(error.message, hint=hint) from None
    except OSError as error:
        raise StateUnwritable(f"cannot create {state}: {error.strerror}") from None


async def _announce(agent: "AgentClient", secret: "EntitySecret", urls: tuple[str, ...]) -> None:
    """Publish where a router is reached, unless that stands on the chain already."""
    from wave.agent.wire import Publish, Routers
    from wave.codec import id_text
    from wave.namespace.route import Route
    from wave.times import parse_expiry

    now = int(time.time())
    soon = parse_expiry("30d", now)
    for known in (await agent.call(Routers())).routers:
        if known.router == id_text(secret.id) and known.urls == urls and (known.until or 0) > soon:
            return
    said = Route.endpoint(secret, urls=urls, created=now, expires=parse_expiry("1y", now))
    await agent.call(Publish(objects=(secret.entity.to_bytes(), said.to_bytes())))


# What is signed ----------------------------------------------------------------------------------------------------


@verb
@secret_options
@_expires
@_publish
@_output
@click.argument("namespace", type=ENTITY, metavar="NS")
def router_offer(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    expires: str,
    publish: bool | None,
    output: str | None,
    namespace: str,
) -> None:
    """Sign, as a router, that it carries NS; print the offer's id. It counts once NS has accepted the router.

    On a chain of one's own it is published unless --no-publish is said, on a chain of others only with --publish.
    `wave revoke --route` takes it back.
    """
    from cli import reference
    from wave.namespace.route import Route
    from wave.times import parse_expiry

    reference.check_free(output, over="ROUTE")
    now = session.now()
    secret = reference.secret(session, signer, passphrase_file)
    found = reference.entity(session, namespace)
    said = Route.offer(secret, namespace=found.id, created=now, expires=parse_expiry(expires, now))
    _declare(session, said, secret, found, publish=publish, output=output)


@verb
@secret_options
@_expires
@_publish
@_output
@click.option("--namespace", type=ENTITY, metavar="NS", help="The namespace, when it is not the signer itself.")
@click.argument("whom", type=ENTITY, metavar="ROUTER")
def router_accept(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    expires: str,
    publish: bool | None,
    output: str | None,
    namespace: str | None,
    whom: str,
) -> None:
    """Sign, as a namespace or as somebody who holds 'route@NS/*', that ROUTER carries it; print the acceptance's id.

    The newest acceptance that holds decides. On a chain of one's own it is published unless --no-publish is said, on a
    chain of others only with --publish. `wave revoke --route` takes it back.
    """
    from cli import reference
    from wave.codec import id_text
    from wave.namespace.route import Route
    from wave.times import parse_expiry

    reference.check_free(output, over="ROUTE")
    now = session.now()
    secret = reference.secret(session, signer, passphrase_file)
    place = reference.Found(secret.id, "file", secret.entity) if namespace is None else _entity(session, namespace)
    found = reference.entity(session, whom)
    said = Route.accept(secret, namespace=place.id, router=found.id, created=now, expires=parse_expiry(expires, now))
    if place.id != secret.id:
        _warn_of_right(session, secret, place)
    _warn_of_offer(session, place, found, whom, namespace or id_text(place.id))
    _declare(session, said, secret, place, found, publish=publish, output=output)


@verb
@secret_options
@_expires
@_publish
@_output
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
def router_announce(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    expires: str,
    publish: bool | None,
    output: str | None,
    urls: tuple[str, ...],
) -> None:
    """Sign, as a router, where it is reached, the best URL first; print the id. The newest announcement counts.

    A URL is ws://, wss://, mqtt:// or mqtts:// with a host, a port and a path. On a chain of one's own it is published
    unless --no-publish is said, on a chain of others only with --publish. `wave revoke --route` takes it back.
    """
    from cli import reference
    from wave.namespace.route import Route
    from wave.times import parse_expiry

    reference.check_free(output, over="ROUTE")
    now = session.now()
    secret = reference.secret(session, signer, passphrase_file)
    said = Route.endpoint(secret, urls=urls, created=now, expires=parse_expiry(expires, now))
    _declare(session, said, secret, publish=publish, output=output)


def _entity(session: Session, text: str) -> "Found":
    from cli import reference

    return reference.entity(session, text)


def _warn_of_right(session: Session, secret: "EntitySecret", place: "Found") -> None:
    """Say when an acceptance counts for nothing, since its signer may not give it."""
    from cli import reference
    from wave.agent.wire import Ask, Prove, Wanted
    from wave.codec import id_text
    from wave.errors import NotFound, Refused

    reference.introduce(session, reference.Found(secret.id, "file", secret.entity), place)
    wanted = Wanted(permission="route", pattern="*")
    try:
        session.call(Prove(ask=Ask(subject=id_text(secret.id), namespace=place.text, statements=(wanted,))))
    except (Refused, NotFound) as error:
        ui.warn(f"this acceptance counts for nothing now: {error.message}", error.hint)


def _warn_of_offer(session: Session, place: "Found", found: "Found", whom: str, namespace: str) -> None:
    """Say when an acceptance counts for nothing yet, since the router has not offered."""
    from wave.agent.wire import Routers

    known = session.call(Routers(namespace=place.text)).routers
    if not any(one.router == found.text and one.offer is not None for one in known):
        told = f"this acceptance counts for nothing yet: {whom} has not offered to carry the namespace"
        ui.warn(told, f"let it sign 'wave router offer --from ROUTER.ent {namespace}'")


def _declare(
    session: Session, said: "Route", secret: "EntitySecret", *about: "Found", publish: bool | None, output: str | None
) -> None:
    """Publish a route or keep it here, and print its id."""
    from cli import reference
    from wave.agent.wire import Publish
    from wave.codec import id_text

    reference.introduce(session, reference.Found(secret.id, "file", secret.entity), *about)
    wanted = reference.is_own_chain(session) if publish is None else publish
    kept = not wanted or not reference.is_published(session, secret.id)
    (reply,) = session.call(Publish(objects=(said.to_bytes(),), keep_only=kept)).objects
    if output is not None:
        reference.write_text(output, said.to_object().to_text(), over="ROUTE")
    fields = said.fields
    ui.show(
        {
            "id": reply.id,
            "act": fields.act,
            "giver": id_text(fields.giver),
            "router": id_text(said.router),
            "namespace": None if fields.namespace is None else id_text(fields.namespace),
            "urls": fields.urls,
            "expires": fields.expires,
            "published": reply.height is not None,
            "height": reply.height,
            "file": output,
        },
        [reply.id],
        as_json=session.json,
    )
    if kept and wanted:
        ui.say("it is kept here: its signer's record is not published, so nobody else could check it")
    elif kept and publish is None:
        ui.say("it is kept here and not published: say --publish to let everyone find the router, for ever")


# Who carries what --------------------------------------------------------------------------------------------------


@verb
@click.argument("namespace", type=ENTITY, metavar="[NS]", required=False)
def router_list(session: Session, namespace: str | None) -> None:
    """List the routers of NS, or of all namespaces: the one that carries it, and of the others what they lack."""
    import json

    from cli import reference
    from wave.agent.wire import Routers, encode
    from wave.times import instant_text

    place = None if namespace is None else reference.entity(session, namespace).text
    reply = session.call(Routers(namespace=place))
    if session.json:
        ui.document(json.loads(encode(reply)))
        return
    names = reference.Names(session)

    def row(one: "RouterView") -> tuple[str, ...]:
        until = "" if one.until is None else instant_text(one.until)
        told = "carries it" if one.designated else one.lacks
        return names.name(one.namespace), names.name(one.router), told, until, " ".join(one.urls)

    for line in ui.table(("namespace", "router", "", "until", "reached at"), map(row, reply.routers)):
        ui.out(line)
    if not reply.complete:
        ui.say("and more, which are not listed")
    if not reply.routers:
        ui.say("no router was offered or accepted" + ("" if namespace is None else f" for {namespace}"))


router.add_command(router_offer, "offer")
router.add_command(router_accept, "accept")
router.add_command(router_announce, "announce")
router.add_command(router_list, "list")
