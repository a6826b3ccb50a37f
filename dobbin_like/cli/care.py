"""The subcommands that look after a log: repair, backup, rename-class."""

from __future__ import annotations

import click

from dobbin_like.cli.common import FOUND, JSON, LOG, answer, importable, progress_bar
from dobbin_like.database import Database
from dobbin_like.repair import repair as repair_log
from dobbin_like.storage import TransactionLog

__all__ = ["backup", "rename_class", "repair"]

_NEW = click.argument("to", type=click.Path(dir_okay=False))


@click.command()
@LOG
@_NEW
@JSON
def repair(path: str, to: str, *, as_json: bool) -> int:
    """Write everything that can be read in the damaged log PATH to a new log TO.

    PATH is not written to; TO must not be there. Says what could not be saved. To use the
    new log, stop the programs that use the old one and put it in its place. The exit code
    is 1 if anything was lost.
    """
    with progress_bar("repairing") as progress:
        report = repair_log(path, to, progress)
    if as_json:
        answer(report.as_dict())
    else:
        print(report)
    return 0 if report.complete else FOUND


@click.command()
@LOG
@_NEW
@JSON
def backup(path: str, to: str, *, as_json: bool) -> None:
    """Let TO be a backup of the log PATH, up to what is committed now.

    If TO is a backup already, what is new is appended. To restore, copy it back.
    """
    storage = TransactionLog(path, read_only=True)
    with storage, Database(storage) as database, progress_bar("copying") as progress:
        report = database.backup(to, progress)
    if as_json:
        answer(report._asdict())
    else:
        print(report)


@click.command("rename-class")
@LOG
@click.argument("old")
@click.argument("new")
def rename_class(path: str, old: str, new: str) -> None:
    """Let what is stored in PATH as class OLD be of class NEW.

    Names are as 'shop.models.Cart'. The module of NEW is imported, from the current
    directory too.
    """
    importable()
    with Database(path, allow=[new]) as database:
        database.rename_class(old, new)
    print(f"{old} is {new} now")
