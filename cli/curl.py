"""A signed request to a guarded service: ``wave curl``."""

import asyncio
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from cli import ui
from cli.options import FILE, secret_options, verb
from cli.session import Session
from wave.errors import BadRequest, Refused, TooLarge, Unavailable, WaveError, from_problem

if TYPE_CHECKING:
    from aiohttp import ClientMiddlewareType

    from wave.dots.proof import Proof
    from wave.entities.entity import EntitySecret
    from wave.guard.provers import Prover
    from wave.guard.signer import Challenge

_PROBLEM: Final = "application/problem+json"
_ANSWER_BYTES: Final = 64 * 1024 * 1024
_CHUNK: Final = 64 * 1024
_FAILED: Final = 400
_THEIR_FAULT: Final = 500


class _Answer(NamedTuple):
    status: int
    reason: str
    headers: list[tuple[str, str]]
    kind: str
    body: bytes


@verb
@secret_options
@click.option("-X", "--request", "method", metavar="METHOD", help="Default: GET, or POST with --data.")
@click.option("-d", "--data", metavar="DATA", help="The body; @FILE reads it from FILE, '@-' from standard input.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header; repeatable.")
@click.option("--proof", "file", type=FILE, metavar="FILE", help="Show this proof. Default: the agent builds one.")
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Write the answer's body to FILE.")
@click.option("-i", "--include", is_flag=True, help="Print the answer's status and headers first.")
@click.argument("url", metavar="URL")
def curl(
    session: Session,
    *,
    signer: str | None,
    passphrase_file: str | None,
    method: str | None,
    data: str | None,
    headers: tuple[str, ...],
    file: str | None,
    output: str | None,
    include: bool,
    url: str,
) -> None:
    """Send a request to a guarded service, signed and with the proof that the service asks for.

    A body is JSON unless a header says otherwise. A refusal is told with its reason, as of any other verb.
    """
    from cli import reference

    secret = reference.secret(session, signer, passphrase_file)
    body = b"" if data is None else _body(data)
    wanted = dict(_header(one) for one in headers)
    if body and "content-type" not in {name.lower() for name in wanted}:
        wanted["Content-Type"] = "application/json"
    proof: Proof | Prover = partial(_proved, session, secret)
    if file is not None:
        proof, _ = reference.proof_file(file)
    from wave.guard.client import signing

    middleware = signing(secret, proof, sessions=False)
    answer = asyncio.run(_ask(middleware, method or ("GET" if data is None else "POST"), url, body, wanted))
    _raise_problem(answer)
    _show(session, answer, output, include=include)


def _body(data: str) -> bytes:
    from cli import reference

    if not data.startswith("@"):
        return data.encode("utf-8", "surrogateescape")
    if data == "@-":
        return reference.from_stdin()
    from pathlib import Path

    from wave.entities.keyring import read_file

    return read_file(Path(data[1:]), bound=_ANSWER_BYTES)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable():
        raise BadRequest(f"{text[:80]!r} is not a header", hint="write it as 'NAME: VALUE'")
    return name.strip(), value.strip()


def _proved(session: Session, secret: "EntitySecret", challenge: "Challenge") -> "Proof":
    """Return the proof that a service asks for; a refusal says what is missing."""
    from wave.agent.wire import Ask, Prove
    from wave.guard.provers import with_own_record

    reply = session.call(Prove(ask=Ask.of(challenge.asked_by(secret.id))))
    return with_own_record(reply.proof, secret)


async def _ask(
    middleware: "ClientMiddlewareType", method: str, url: str, body: bytes, headers: dict[str, str]
) -> _Answer:
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(middlewares=[middleware]) as http,
            http.request(method, url, data=body or None, headers=headers, allow_redirects=False) as answer,
        ):
            parts, size = [], 0
            async for part in answer.content.iter_chunked(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > _ANSWER_BYTES:
                    raise TooLarge(f"the answer has more than {_ANSWER_BYTES} bytes")
            read = b"".join(parts) or await answer.read()  # of a refusal it was read already
            return _Answer(answer.status, answer.reason or "", list(answer.headers.items()), answer.content_type, read)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise Unavailable(
            f"{url[:200]} does not answer: {type(error).__name__}: {error}", hint="is it running?"
        ) from None


def _raise_problem(answer: _Answer) -> None:
    """Raise what a guard, or anything else that speaks of problems as ours do, refused with."""
    if answer.status < _FAILED or answer.kind != _PROBLEM:
        return
    try:
        details = json.loads(answer.body)
    except ValueError:
        return
    if isinstance(details, dict) and "code" in details:
        raise from_problem(details)


def _show(session: Session, answer: _Answer, output: str | None, *, include: bool) -> None:
    if output is not None:
        from pathlib import Path

        from wave.entities.keyring import write_file

        write_file(Path(output), answer.body, replace=True)
    text = answer.body.decode("utf-8", "replace")
    if session.json:
        told = {"status": answer.status, "headers": dict(answer.headers), "body": None if output else text}
        ui.document(told)
    else:
        if include:
            ui.out(f"{answer.status} {answer.reason}")
            for name, value in answer.headers:
                ui.out(f"{name}: {value}")
            ui.out("")
        if output is None and answer.body:
            if sys.stdout.isatty():
                for line in text.splitlines():
                    ui.out(line)
            else:
                ui.text_file(text)
    _raise_status(session, answer)


def _raise_status(session: Session, answer: _Answer) -> None:
    """Have an answer that is no success end in a status like an error of ours; in JSON it was told already."""
    if answer.status < _FAILED:
        return
    kind: type[WaveError] = Unavailable if answer.status >= _THEIR_FAULT else Refused
    if session.json:
        raise click.exceptions.Exit(kind.exit_status)
    raise kind(f"the service answered {answer.status} {answer.reason}")
