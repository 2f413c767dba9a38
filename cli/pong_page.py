"""The page to play pong on: ``wave pong ui``."""

import asyncio
import time
import webbrowser
from contextlib import AsyncExitStack

import click

from cli.options import verb
from cli.running import agent_of, carry_out, say_ready
from cli.session import Session


@verb
@click.option("--gateway", default="http://127.0.0.1:1337", show_default=True, metavar="URL", help="Who plays.")
@click.option("--app", default="pong", show_default=True, metavar="APP", help="The gateway's application that plays.")
@click.option("--port", type=click.IntRange(0, 65535), default=4482, show_default=True, help="The port; 0: any.")
@click.option("--open", "open_it", is_flag=True, help="Open it in this machine's browser.")
def pong_ui(session: Session, *, gateway: str, app: str, port: int, open_it: bool) -> None:
    """Serve a page, on this machine alone, on which a person plays pong against a model.

    The model's moves come from a guarded gateway, which has to let the page ask: 'wave gateway run --origin PAGE'. The
    browser asks with a key that it makes itself. Until that key is granted 'predict@NS/apps/APP' the page shows what to
    run; 'predict@NS/models/MODEL/*' lets one choose among versions as well.
    """

    async def main() -> None:
        from devices.pong.page.server import serving

        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(agent_of(session))
            page = serving(agent, gateway, app=app, port=port, clock=time.time)
            address = await stack.enter_async_context(page)
            origin = address.removesuffix("/")
            told = f"pong is at {address}, for a gateway that runs with --origin {origin}"
            say_ready(session, "page", told, url=address, origin=origin, gateway=gateway)
            if open_it:
                await asyncio.to_thread(webbrowser.open, address)
            await asyncio.Event().wait()

    carry_out(main())
