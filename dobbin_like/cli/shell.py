"""The subcommand that opens a log in a Python console: shell."""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from dobbin_like.cli.common import ALLOW, AT, FOUND, LOG, command, importable, is_given_up, opened
from dobbin_like.cli.text import note
from dobbin_like.database import Database
from dobbin_like.exc import UncommittedChangesWarning
from dobbin_like.processes.refusals import if_possible

_HISTORY_LENGTH: Final = 10_000


@command("dobbin shell shop.log --allow 'shop.*' --readonly")
@LOG
@click.option(
    "--startup",
    type=click.Path(exists=True, dir_okay=False, readable=True),
    metavar="FILE",
    help="Run this Python file first; the console has its names.",
)
@click.option("--readonly", is_flag=True, help="Refuse commits.")
@AT
@click.option("--plain", is_flag=True, help="Python's own console, even if there is IPython.")
@ALLOW
def shell(
    path: str,
    *,
    startup: str | None,
    readonly: bool,
    at: int | datetime | None,
    plain: bool,
    allow: tuple[str, ...],
) -> int:
    """Open PATH in a Python console.

    It has the names db (the database), root, transaction and checkout, completion of names, and
    the history of earlier consoles; it is IPython if that is installed. With --at, it shows the
    past, which can't be changed. Classes that are named by --allow, or imported in the console,
    are loaded; objects of others can be looked at. Without a terminal, it runs the Python
    program on stdin, and the exit code is 1 if that raises.
    """
    importable()
    read_only = readonly or at is not None
    with (
        _told_of_lost_changes(),
        opened(path, at=at, read_only=read_only, allow=allow) as database,
    ):
        names = _names(database)
        if startup is not None and not _run(Path(startup).read_bytes(), startup, names):
            return FOUND
        if not (sys.stdin and sys.stdin.isatty()):
            program = "" if sys.stdin is None else sys.stdin.read()
            return 0 if _run(program, "<stdin>", names) else FOUND
        with contextlib.suppress(SystemExit):
            _interact(_banner(database, read_only=read_only), names, plain=plain)
        return 0


def _names(database: Database[Any]) -> dict[str, Any]:
    import transaction

    from dobbin_like.objects.faces.base import checkout

    return {
        "__name__": "__main__",
        "__builtins__": builtins,
        "db": database,
        "root": database.root,
        "transaction": transaction,
        "checkout": checkout,
    }


def _banner(database: Database[Any], *, read_only: bool) -> str:
    may = "is read-only" if read_only else "can be changed: checkout(obj), transaction.commit()"
    return f"{database!r} {may}\nNames: db, root, transaction, checkout; Ctrl-D ends"


def _run(program: str | bytes, name: str, names: dict[str, Any]) -> bool:
    """Run a program; return whether it has ended without an error, which is printed."""
    try:
        exec(compile(program, name, "exec"), names)
    except SystemExit as end:
        if end.code and not isinstance(end.code, int):
            note(str(end.code))  # As Python itself does.
        return not end.code
    except Exception as error:  # Of whatever kind: as Python itself does.
        # As for all subcommands. A pipe that the program has made itself is another matter.
        if isinstance(error, BrokenPipeError) and is_given_up():
            raise
        shown = error.__traceback__ and error.__traceback__.tb_next  # Without this function.
        traceback.print_exception(type(error), error, shown)
        return False
    return True


def _interact(banner: str, names: dict[str, Any], *, plain: bool) -> None:
    if not plain:
        with contextlib.suppress(ImportError):
            from IPython import start_ipython

            print(banner)
            start_ipython(argv=["--no-banner"], user_ns=names)
            return
    import code

    with _completed(names):
        code.interact(banner, local=names, exitmsg="")


@contextlib.contextmanager
def _completed(names: dict[str, Any]) -> Iterator[None]:
    """Let the lines of a console be edited and completed, and keep them for later ones."""
    try:
        import readline
        import rlcompleter
    except ImportError:  # Python was built without.
        yield
        return

    class Completer(rlcompleter.Completer):
        def _callable_postfix(self, val: Any, word: str) -> str:
            return word  # An object whose class is not loaded may look as if it could be called.

    readline.set_completer(Completer(names).complete)
    readline.parse_and_bind("tab: complete")
    history = os.environ.get("DOBBIN_HISTORY") or str(Path.home() / ".dobbin_history")
    with if_possible():  # There is none yet.
        readline.read_history_file(history)
    readline.set_history_length(_HISTORY_LENGTH)
    try:
        yield
    finally:
        with if_possible():  # It can't be kept, which is no reason to fail.
            readline.write_history_file(history)


@contextlib.contextmanager
def _told_of_lost_changes() -> Iterator[None]:
    """Tell of changes that were not committed in one line; of all else as Python does."""
    as_usual: Any = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any) -> None:
        if issubclass(category, UncommittedChangesWarning):
            note(f"dobbin: {message}")
        else:
            as_usual(message, category, *place)

    told: Any = show
    warnings.showwarning = told
    try:
        yield
    finally:
        warnings.showwarning = as_usual
