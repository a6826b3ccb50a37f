"""The subcommands that look after a log: backup, pack, rename-class, repair, snapshot."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import click

from dobbin_like.cli.common import FOUND, JSON, LOG, MOMENT, answer, importable, progress_bar
from dobbin_like.database import Database
from dobbin_like.repair import repair as repair_log
from dobbin_like.storage import TransactionLog

__all__ = ["backup", "pack", "rename_class", "repair", "snapshot"]

_NEW = click.argument("to", type=click.Path(dir_okay=False))


@click.command()
@LOG
@_NEW
@JSON
def repair(path: str, to: str, *, as_json: bool) -> int:
    """Save what can be read of the damaged log PATH in TO.

    TO is a new log, with every transaction of which something can be read; it must not be
    there. PATH is not written to. Says what could not be saved; the exit code is 1 if
    anything was lost. To use the new log, stop the programs that use the old one and put it
    in its place.
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
    """Bring the backup TO of the log PATH up to date.

    If nothing is there, all is copied; else what is new is appended. Programs that use the
    log go on meanwhile. To restore, copy TO back to PATH when no program uses it.
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
    """Let what is stored as class OLD be of class NEW.

    Names are as 'shop.models.Cart'. The module of NEW is imported, from the current
    directory too.
    """
    importable()
    with Database(path, allow=[new]) as database:
        database.rename_class(old, new)
    print(f"{old} is {new} now")


@click.command()
@LOG
@click.option(
    "--keep",
    type=MOMENT,
    metavar="WHEN",
    help="Every snapshot since then stays readable: a tid, a time or a span before now (30d).",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@JSON
def pack(path: str, *, keep: int | datetime | None, dry_run: bool, as_json: bool) -> None:
    """Drop from the log PATH what nobody can see any more.

    Objects that the root does not lead to, and versions older than --keep; without it, all
    but the newest. Programs that use the log go on meanwhile. Stopped at any moment, the
    log is as it was, or packed.
    """
    storage = TransactionLog(path, read_only=dry_run)
    with storage, Database(storage) as database, progress_bar("packing") as progress:
        report = database.pack(keep, dry_run=dry_run, progress=progress)
    if as_json:
        answer({**asdict(report), "garbage": report.garbage})
    else:
        print(report)


@click.command()
@LOG
@_NEW
@click.option(
    "--at", type=MOMENT, metavar="WHEN", help="As of a tid, a time, or a span before now."
)
@JSON
def snapshot(path: str, to: str, *, at: int | datetime | None, as_json: bool) -> None:
    """Write one state of the log PATH to a new log TO.

    As one transaction, without the past and without what the root does not lead to.
    """
    storage = TransactionLog(path, read_only=True)
    with storage, Database(storage) as database, progress_bar("writing") as progress:
        report = database.snapshot(to, at, progress)
    if as_json:
        answer(report._asdict())
    else:
        print(report)
