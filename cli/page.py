"""The home's page: ``wave home ui``."""

import asyncio
import time
import webbrowser
from contextlib import AsyncExitStack

import click

from cli import ui
from cli.options import ENTITY, secret_options, verb
from cli.running import agent_of, carry_out, resolve, router_option, say_ready
from cli.service import places
from cli.session import Session
from wave.errors import BadRequest


@verb
@secret_options
@router_option
@click.option("--namespace", type=ENTITY, metavar="ENTITY", help="The home to show. Default: the one named by --from.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=4480, show_default=True, help="The port; 0: any.")
@click.option("--anywhere", is_flag=True, help="Allow a host that is not this machine's own.")
@click.option("--public", metavar="URL", help="The https:// address by which a proxy before the page is reached.")
@click.option("--open", "open_it", is_flag=True, help="Open it in this machine's browser.")
def home_ui(  # noqa: PLR0917 - one argument an option
    session: Session,
    signer: str | None,
    passphrase_file: str | None,
    url: str | None,
    namespace: str | None,
    host: str,
    port: int,
    anywhere: bool,
    public: str | None,
    open_it: bool,
) -> None:
    """Serve a page on which a home lives: its devices as tiles, and for its owner who may do what.

    Whoever opens it acts with a key that their own browser makes, and may what was granted to that key. With --from,
    the home's owner can let people in, share with a link and take rights back: a second link is printed, which is
    good once and opens the owner's session. Without it, grant the page 'subscribe@NS/+/+/+/signal/+', so that it can
    hear the devices; its own id is printed. Browsers make keys only for pages on this machine or behind https.
    """
    from cli import reference

    secret = reference.secret(session, signer, passphrase_file) if signer is not None else None
    if secret is None and namespace is None:
        raise BadRequest("the home is not said", hint="name it with --namespace, or act as it with --from")

    own = b"" if secret is None else secret.id

    async def main() -> None:
        from devices.page.page import page_of
        from devices.page.server import serving
        from devices.site import Site
        from wave.codec import id_text

        settings = session.settings
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(agent_of(session))
            home = own if namespace is None else await resolve(session, agent, namespace)
            short = id_text(home)[:8]
            page = await stack.enter_async_context(
                page_of(
                    agent,
                    Site.of(agent, url, time.time),
                    home,
                    settings.home / "pages" / short,
                    owner=secret,
                    keyring=settings.keyring,
                    logs=(places(session).logs, settings.home / "homes" / short),
                )
            )
            serving_page = serving(page, host=host, port=port, anywhere=anywhere, public=public)
            address = await stack.enter_async_context(serving_page)
            link = None if page.owner is None else f"{address}#owner={page.owner.sessions.token()}"
            ids = {"namespace": id_text(home), "page": id_text(page.viewer.id)}
            say_ready(session, "page", f"the home's page is at {address}", url=address, owner=link, **ids)
            if link is not None:
                ui.say(f"its owner opens it, once, by {link}")
            if open_it:
                await asyncio.to_thread(webbrowser.open, link or address)
            await asyncio.Event().wait()

    carry_out(main())
