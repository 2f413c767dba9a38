"""The entry point: the table of verbs, each loaded when it is used, and the one place where errors become statuses.

Exit status: 0 done or allowed, 1 refused or not found, 2 usage, 3 bad input, 4 could not tell.
"""

import difflib
import importlib
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import click

from cli import ui
from cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_USAGE: Final = 2
_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141  # what a shell reports of a program that SIGPIPE ended


class Verb(NamedTuple):
    """Where a verb's command is, its line in the help, its other spellings.

    The command is the module's ``attribute``, of the verb's own name where that is no other thing's.
    """

    module: str
    summary: str
    aliases: tuple[str, ...] = ()
    attribute: str = ""


SECTIONS: Final[dict[str, dict[str, Verb]]] = {
    "Entities and grants": {
        "mkentity": Verb("cli.entity", "Make an entity: a secret file, and its public record.", ("mke",)),
        "grant": Verb("cli.trust", "Let an entity do things in a namespace (a DoT).", ("mkdot", "rtgrant")),
        "prove": Verb("cli.proofs", "Build a proof that an entity may do things.", ("buildchain", "bc", "rtprove")),
        "verify": Verb("cli.proofs", "Check a proof."),
        "revoke": Verb("cli.trust", "Take back a DoT, an entity, a name or a route, for ever."),
        "anchor": Verb("cli.audit", "Put many objects on the chain under one root."),
        "inspect": Verb("cli.entity", "Show what a file, id or name is, and whether it is valid.", ("i",)),
    },
    "Names": {
        "alias": Verb("cli.names", "Take a global alias for an entity, first come, first served.", ("mkalias",)),
        "name": Verb("cli.names", "Sign a name of one's own for an entity."),
        "resolve": Verb("cli.names", "Say which entity a name means."),
    },
    "Questions": {
        "who": Verb("cli.questions", "List who may do a thing."),
        "what": Verb("cli.questions", "List what an entity may do."),
        "why": Verb("cli.questions", "Explain a decision, or what a request would be answered.", ("explain",)),
        "plan": Verb("cli.plan", "Say who would gain or lose what, before anything is signed."),
        "test": Verb("cli.permissions", "Run tests of who may do what, offline."),
        "graph": Verb("cli.graph", "Draw who holds what in a namespace, and from whom."),
        "log": Verb("cli.history", "List what was granted, taken back and named, with block and time."),
        "watch": Verb("cli.history", "Print grants, revocations and names as they come."),
        "audit": Verb("cli.audit", "Check promises to anchor, and name the batches that nobody hands out."),
    },
    "Messages and devices": {
        "publish": Verb("cli.messages", "Publish a message."),
        "subscribe": Verb("cli.messages", "Print messages as they come."),
        "query": Verb("cli.messages", "Print the messages that a router keeps."),
        "list": Verb("cli.messages", "List the resources at which messages are kept.", attribute="list_kept"),
        "curl": Verb("cli.curl", "Send a signed request to a guarded service."),
        "router": Verb("cli.router", "Carry messages for a namespace, and say who does."),
        "mqtt": Verb("cli.mqtt", "Have an MQTT broker refuse who may not."),
        "device": Verb("cli.device", "Run a simulated device, or one of your own."),
        "home": Verb("cli.home", "Run a simulated home, and show it as a page or to Home Assistant."),
        "gateway": Verb("cli.gateway", "Serve models, each question by its asker's own right."),
        "pong": Verb("cli.pong", "Train players of pong, say what spoils one, and deploy it."),
    },
    "Daemons": {
        "status": Verb("cli.daemon", "Show the state of the agent and of its chain."),
        "agent": Verb("cli.daemon", "Run the agent."),
        "chain": Verb("cli.chain", "Run the embedded chain for several agents, or follow another one."),
        "batch": Verb("cli.audit", "List the batches kept here, or copy them to a directory."),
        "demo": Verb("cli.demo", "See a home, two people and a revocation."),
        "completion": Verb("cli.daemon", "Print the completion script for a shell."),
    },
}
VERBS: Final = {name: verb for section in SECTIONS.values() for name, verb in section.items()}
ALIASES: Final = {alias: name for name, verb in VERBS.items() for alias in verb.aliases}


class Verbs(click.Group):
    """The verbs; help and completion are answered from the table, and a verb's module is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's form
        """Return the verbs, without their aliases."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's form
        """Return a verb's command, by its name or an alias."""
        name = ALIASES.get(cmd_name, cmd_name)
        verb = VERBS.get(name)
        if verb is None:
            return None
        command = cast("click.Command", getattr(importlib.import_module(verb.module), verb.attribute or name))
        command.short_help = verb.summary
        if verb.aliases:
            command.epilog = f"also: {', '.join(verb.aliases)}"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name; for one that does not exist, say which are near."""
        if args[0] not in VERBS and args[0] not in ALIASES and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], [*VERBS, *ALIASES], n=3)
            raise click.UsageError(
                f"there is no verb {args[0]!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""), ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's form
        """Write the table."""
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(10), verb.summary) for name, verb in verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Complete verbs from the table."""
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(name, help=verb.summary) for name, verb in VERBS.items() if name.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from wave import __version__

        ui.out(f"wave {__version__}")
        context.exit()


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Entities are written as an id, a file (alice.ent, alice.pub), a name in WAVE_HOME/keys, an alias or "
    "label.giver. WAVE_HOME, WAVE_AGENT, WAVE_ENTITY and WAVE_CHAIN set the state directory, the agent, the default "
    "entity and the chain. Exit status: 0 done or allowed, 1 refused or not found, 2 usage, 3 bad input, 4 could not "
    "tell.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def wave() -> None:
    """Decide, from signatures and a public registry, who may do what."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv`` (by default the process's) and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    ui.open_streams()
    if instruction := os.environ.get("_WAVE_COMPLETE"):
        from click.shell_completion import shell_complete

        return shell_complete(wave, {}, "wave", "_WAVE_COMPLETE", instruction)
    with Session() as session:
        try:
            status = _run(session, arguments)
            sys.stdout.flush()
        except BrokenPipeError:
            _silence()
            return _PIPE_CLOSED
        return status


def _run(session: Session, arguments: list[str]) -> int:
    try:
        with wave.make_context("wave", list(arguments), obj=session) as context:
            wave.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        return _misused(error, as_json=_wants_json(session, arguments))
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - what is not ours is raised again
        return _failed(session, error, as_json=_wants_json(session, arguments))
    return 0


def _misused(error: click.ClickException, *, as_json: bool) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        ui.text_file(error.format_message())
    else:
        context = error.ctx if isinstance(error, click.UsageError) else None
        command = context.command_path if context else "wave"
        ui.misused(error.format_message(), f"see '{command} --help'", as_json=as_json)
    return _USAGE


def _failed(session: Session, error: Exception, *, as_json: bool) -> int:
    from wave.errors import StateUnwritable, WaveError

    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        error = StateUnwritable(f"{where}{error.strerror or error}", hint="")
    elif not isinstance(error, WaveError):
        raise error
    elif not as_json:
        error = session.with_names(error)
    ui.fault(error, as_json=as_json)
    return error.exit_status


def _wants_json(session: Session, arguments: list[str]) -> bool:
    """Tell whether the caller reads JSON, also when the command line could not be read as far as ``--json``."""
    return session.json or "--json" in arguments


def _silence() -> None:
    """Let the interpreter's last flush of a closed pipe go nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
