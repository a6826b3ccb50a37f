"""The subcommands of ``dobbin``.

Nothing here writes to a file but ``demo``. Answers go to stdout, everything
else to stderr; errors of the package are one line. Exit codes: 0 fine,
1 found something, 2 usage, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table

from dobbin_like import __version__
from dobbin_like.check import check_log
from dobbin_like.demo import run as demo_run
from dobbin_like.exc import Error, IntegrityError
from dobbin_like.ids import ROOT_OID
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Sequence

FOUND: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

_LOG = click.argument("path", type=click.Path(exists=True, dir_okay=False, readable=True))
_HELP_NAMES: Final = {"help_option_names": ["-h", "--help"]}


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line with *args*, those of the process if not given."""
    try:
        return int(dobbin(args, prog_name="dobbin", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Error as error:
        print(f"dobbin: {error}", file=sys.stderr)
        return FOUND if isinstance(error, IntegrityError) else USAGE
    except OSError as error:
        print(f"dobbin: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return USAGE


@click.group(context_settings=_HELP_NAMES)
@click.version_option(__version__, "-V", "--version", message="dobbin_like %(version)s")
def dobbin() -> None:
    """Look at object databases of dobbin_like, and see one at work.

    Exit codes: 0 fine, 1 found something, 2 wrong usage, 130 stopped by Ctrl-C.
    """


@dobbin.command()
@click.argument("path", default="dobbin-demo.log", type=click.Path(dir_okay=False))
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=demo_run.default_workers,
    metavar="N",
    help="How many processes parse and store; as many as cores if not given.",
)
@click.option(
    "--subclasses-of",
    "class_name",
    default="OSError",
    show_default=True,
    metavar="NAME",
    help="The class whose subclasses are shown at the end.",
)
@click.option(
    "--about",
    "word",
    default="thread",
    show_default=True,
    metavar="WORD",
    help="The word that is looked up in docstrings at the end.",
)
@click.option("--source", type=click.Path(exists=True, file_okay=False), hidden=True)
def demo(path: str, workers: int, class_name: str, word: str, source: str | None) -> int:
    """Parse the Python standard library into one object graph in one file.

    Worker processes share the work and the file PATH; there is no server. Then
    a fresh process asks the graph, and all of it is checked. Stop it at any
    moment: the same command goes on where it stopped.
    """
    directory = demo_run.default_source() if source is None else Path(source).resolve()
    return demo_run.run(path, directory, workers, class_name, word)


@dobbin.command()
@_LOG
@click.option("--subclasses-of", "class_name", default="OSError", show_default=True)
@click.option("--about", "word", default="thread", show_default=True)
def ask(path: str, class_name: str, word: str) -> None:
    """Ask the object graph that the demo has stored in PATH."""
    try:
        demo_run.answer(path, class_name, word)
    except SystemExit as error:
        raise click.exceptions.Exit(int(error.code or 0)) from None


@dobbin.command()
@_LOG
def check(path: str) -> int:
    """Check the log in PATH: every checksum, every reference, every invariant."""
    report = check_log(path)
    print(report)
    return 0 if report.ok else FOUND


@dobbin.command()
@_LOG
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many of the newest transactions; 0: all.",
)
def log(path: str, limit: int) -> None:
    """List the transactions in PATH, the newest last, with those that failed."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(box=None, pad_edge=False)
    for name in ("tid", "time", "user", "objects", "description"):
        table.add_column(name, justify="right" if name == "objects" else "left")
    with TransactionLog(path, read_only=True) as storage:
        newest = deque(storage.transactions(), maxlen=limit or None)
        for logged in newest:
            text = logged.description
            if logged.failed:
                text = f"FAILED ({logged.reason or 'its process died'}) {text}".rstrip()
            count = "-" if logged.failed else str(len(logged.oids))
            table.add_row(str(logged.tid), _time(logged.tid), logged.user, count, text)
        hidden = len(storage) - len(newest)
    if hidden:
        print(f"{hidden} older transactions are not shown; --limit 0 shows all", file=sys.stderr)
    console.print(table, highlight=False, markup=False)


@dobbin.command()
@_LOG
def info(path: str) -> None:
    """Say what is in PATH: how many transactions and objects, the root, the classes."""
    with TransactionLog(path, read_only=True) as storage:
        failed, first, last = 0, 0, 0
        for logged in storage.transactions():
            first, last = first or logged.tid, logged.tid
            failed += logged.failed
        root = storage.load(ROOT_OID)
        names = map(storage.class_name, range(1, storage.next_class_number))
        classes = sorted(map(".".join, names))
        rows = {
            "file": str(Path(path).resolve()),
            "size": f"{Path(path).stat().st_size:,} bytes",
            "transactions": f"{len(storage):,}, of which {failed:,} failed",
            "from": _time(first) if first else "-",
            "to": _time(last) if last else "-",
            "objects": f"{storage.oid_count:,}",
            "root": ".".join(storage.class_name(root.class_number)) if root else "none yet",
            "classes": "\n".ljust(15).join(classes) or "none yet",
        }
    for name, value in rows.items():
        print(f"{name:<13} {value}")


def _time(tid: int) -> str:
    """Return when a transaction was committed, as far as its writer's clock was right."""
    return datetime.fromtimestamp(tid / 1e6).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
