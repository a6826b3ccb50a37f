"""The subcommands of ``dobbin``.

Read :mod:`.common` (shared parts), :mod:`.look` and :mod:`.past` (a log as a whole, and what
happened to it), :mod:`.stored` and :mod:`.objects` (its objects), :mod:`.change`, :mod:`.care`,
:mod:`.outside`, :mod:`.shell`, :mod:`.top` and :mod:`.play`. Results go to stdout, everything
else to stderr; errors of the package are one line. Exit codes: 0 success, 1 problems found, 2
usage error, 130 stopped by Ctrl-C, 143 by SIGTERM. A file that is only read is opened for reading.

The module of a subcommand is imported when it is called, so that help is fast.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import keyword
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from dobbin_like import __version__
from dobbin_like.cli.common import FOUND, INTERRUPTED, USAGE, Stopped, read_no_more
from dobbin_like.cli.text import note, print_any_text, put
from dobbin_like.exc import DivergedError, Error, IntegrityError
from dobbin_like.processes.signals import as_interrupt

_COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Look at a log": {
        "info": ("look", "Show the size of PATH, what it contains, and its classes."),
        "census": ("look", "Count the objects and bytes of each class in PATH."),
        "check": ("look", "Check every byte and every reference of the log PATH."),
        "top": ("top", "Show what all processes do to PATH, live."),
        "log": ("past", "List the transactions in PATH, the newest first."),
        "diff": ("past", "Show what has changed in PATH between two moments."),
    },
    "Look at objects": {
        "show": ("objects", "Show an object of PATH: its state, and what it refers to."),
        "tree": ("objects", "Show what an object of PATH leads to, as a tree."),
        "find": ("objects", "List the objects of CLASS in PATH, with what is in them."),
        "referrers": ("objects", "List the objects of PATH that refer to an object."),
        "history": ("past", "List the changes of an object in PATH."),
        "browse": (".browse.command", "Show PATH in a browser, for looking only."),
        "shell": ("shell", "Open PATH in a Python console."),
    },
    "Change a log": {
        "undo": ("change", "Take back what a transaction in PATH has changed."),
        "migrate": ("change", "Store the objects of CLASS in their newest version."),
        "rename-class": ("change", "Rename the class OLD of stored objects to NEW."),
        "pack": ("care", "Drop what is no longer needed from the log PATH."),
    },
    "Copy a log": {
        "backup": ("care", "Update the backup TO of the log PATH."),
        "restore": ("care", "Replace LOG by a copy of BACKUP."),
        "snapshot": ("care", "Write a single state of the log PATH to a new log TO."),
        "copy": ("care", "Copy the log SOURCE to DEST, and compare them."),
        "follow": (
            "outside.follow",
            "Let the file PATH follow the log SOURCE.",
        ),
        "init": ("care", "Create the empty log URI."),
        "repair": ("care", "Save what can be read of the damaged log PATH to TO."),
    },
    "Move in and out": {
        "export": ("outside.exchange", "Write the objects of PATH as JSON, or to SQLite."),
        "import": ("outside.exchange", "Make the database PATH of a file of another kind."),
        "mcp": ("outside.mcp", "Let an assistant ask about PATH, by the Model Context Protocol."),
    },
    "Play": {
        "demo": ("play", "Parse the standard library into one object graph."),
        "ask": ("play", "Query the object graph that the demo has stored."),
    },
}
"""The subcommands by topic: the module of each, seen from here, and the first line of its help."""

_BY_NAME: Final = {name: about for topic in _COMMANDS.values() for name, about in topic.items()}


class _Commands(click.Group):
    """A group that imports a subcommand when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_BY_NAME)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _BY_NAME:
            return None
        home = importlib.import_module(f".{_BY_NAME[cmd_name][0]}", __name__)
        name = cmd_name.replace("-", "_")
        found: click.Command = getattr(home, f"{name}_" if keyword.iskeyword(name) else name)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0] not in _BY_NAME and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _BY_NAME, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except BrokenPipeError:  # It prints the help.
            read_no_more()
            raise click.exceptions.Exit from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            code = super().invoke(ctx)
            put(end="", flush=True)
        except BrokenPipeError:  # The reader of the results has read enough.
            read_no_more()
            return 0
        return code

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for topic, commands in _COMMANDS.items():
            with formatter.section(topic):
                rows = [(name.ljust(12), text) for name, (_, text) in commands.items()]
                formatter.write_dl(rows)


def run(args: Sequence[str] | None = None, called: str = "dobbin") -> int:
    """Run the command line with *args*, by default those of the process.

    *called* is how the user has called it, for hints that can be typed.
    """
    with as_interrupt() as come, _waits_told():
        code = _run(args, called)
    return 128 + come[0] if come and code == INTERRUPTED else code


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(f"dobbin: {record.getMessage()}")


@contextlib.contextmanager
def _waits_told() -> Iterator[None]:
    """Say who keeps the command waiting for the commit lock or the file: it would seem to hang."""
    logger, notes = logging.getLogger("dobbin_like.log.file"), _Notes(logging.WARNING)
    logger.addHandler(notes)
    try:
        yield
    finally:
        logger.removeHandler(notes)


def _run(args: Sequence[str] | None, called: str) -> int:
    print_any_text()
    try:
        return int(dobbin(args, prog_name=called, standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Stopped as stopped:
        note(f"dobbin: stopped; {stopped.what}")
        return INTERRUPTED
    except (click.Abort, KeyboardInterrupt):
        note("dobbin: stopped; every file is unchanged or complete")
        return INTERRUPTED
    except Error as error:
        note(f"dobbin: {error}".replace("python -m dobbin_like", called))
        return FOUND if isinstance(error, (IntegrityError, DivergedError)) else USAGE
    except FileExistsError as error:
        text = "a file is there already; give another path, or move it away"
        note(f"dobbin: {error.filename}: {text}")
        return USAGE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        note(f"dobbin: {where}{error.strerror or error}")
        return USAGE


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="dobbin_like %(version)s")
def dobbin() -> None:
    """Inspect and maintain object databases of dobbin_like, and run a demo.

    No class of the program that wrote a log is needed to look at it. Exit codes: 0 success, 1
    problems found, 2 usage error, 130 stopped by Ctrl-C before its end.
    """
