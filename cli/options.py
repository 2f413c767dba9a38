"""What the verbs share: ``--json``, the session, passphrases, and completion of entities' names."""

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


if TYPE_CHECKING:
    Text = click.ParamType[str]
else:
    Text = click.ParamType  # older releases have no brackets


class EntityName(Text):
    """An entity as a person writes it: an id, a file, a local name, an alias or ``label.giver``. Looked up later."""

    name = "entity"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":  # noqa: ARG002 - click's form
        """Offer the local names, and files."""
        from click.shell_completion import CompletionItem

        from wave.agent.settings import Settings

        try:
            names = {path.stem for path in Settings.from_environment(os.environ).keyring.directory.iterdir()}
        except Exception:  # noqa: BLE001 - a completion never fails
            names = set()
        found = [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete) and name.isprintable()]
        return found or [CompletionItem(incomplete, type="file")]


class FileName(Text):
    """A file's name, completed as one; who reads the file says what is wrong with it."""

    name = "file"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":  # noqa: ARG002 - click's form
        """Offer files."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


class Kind(Text):
    """A kind of actor: one of the device kinds, ``controller``, those in ``more``, or ``FILE.py:CLASS``."""

    name = "kind"

    def __init__(self, *more: str) -> None:
        """Offer ``more`` too."""
        self._more = more

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":  # noqa: ARG002 - click's form
        """Offer the kinds, and files."""
        from click.shell_completion import CompletionItem

        from devices.site import KINDS

        found = [one for one in (*KINDS, "controller", *self._more) if one.startswith(incomplete)]
        return [CompletionItem(one) for one in found] or [CompletionItem(incomplete, type="file")]


ENTITY = EntityName()
FILE = FileName()


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).json = True


_DASHED_ID: Final = re.compile("-[0-9A-Za-z_-]{42}")


class IdsAreArguments(click.Command):
    """A command to which an id that begins with '-', as one in 64 does, is an argument and no cluster of options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put such ids behind a '--', unless they are an option's value."""
        taking = {name for one in self.params if isinstance(one, click.Option) and not one.is_flag for name in one.opts}
        before = ["", *args]
        ids = [
            word for last, word in zip(before, args, strict=False) if _DASHED_ID.fullmatch(word) and last not in taking
        ]
        if ids and "--" not in args:
            args = [
                *(word for last, word in zip(before, args, strict=False) if word not in ids or last in taking),
                "--",
                *ids,
            ]
        return super().parse_args(ctx, args)


def verb(function: F) -> click.Command:
    """Make a command of ``function(session, …)``, with ``--json``."""
    command = click.command(cls=IdsAreArguments)(click.pass_obj(function))
    command.params.append(
        click.Option(
            ["--json"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_set_json,
            help="Print one JSON document.",
        )
    )
    return command


def secret_options(function: F) -> F:
    """Add ``--from`` and ``--passphrase-file``, for verbs that sign."""
    passphrase_file = click.option(
        "--passphrase-file", type=FILE, metavar="FILE", help="Read the passphrase from FILE; '-' is standard input."
    )
    signer = click.option(
        "--from", "signer", type=FILE, metavar="ENTITY", help="Who signs: a secret file. Default: WAVE_ENTITY."
    )
    return signer(passphrase_file(function))
