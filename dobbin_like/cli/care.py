"""The subcommands that maintain a log, or make another: backup, copy, init, pack and others."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import click

from dobbin_like.check import check_log
from dobbin_like.cli.common import (
    FOUND,
    JSON,
    LOG,
    Complaint,
    Stopped,
    command,
    log_file,
    new_file,
    opened,
    progress_bar,
    show,
    storage_at,
    when,
)
from dobbin_like.exc import ObjectNotFound
from dobbin_like.ids import ROOT_OID
from dobbin_like.repair import repair as repair_log
from dobbin_like.texts import counted, shown
from dobbin_like.upkeep.copy import CopyReport, copy_transactions
from dobbin_like.upkeep.restore import restore as restore_log
from dobbin_like.upkeep.snapshot import SnapshotReport, write_snapshot

_NEW = new_file("to", "TO")


@command("dobbin repair shop.log mended.log")
@log_file("of what a server has lost, restore its backup")
@_NEW
@JSON
def repair(path: str, to: str, *, as_json: bool) -> int:
    """Save what can be read of the damaged log PATH to TO.

    TO is a new log and must not exist. It gets every transaction of which something can be
    read. PATH is not changed. Prints what could not be saved; the exit code is 1 if anything
    was lost. To use the new log, stop the programs that use the old one, and put it in its
    place.
    """
    with progress_bar("repairing") as progress:
        report = repair_log(path, to, progress)
    show(report, report.as_dict(), as_json=as_json)
    return 0 if report.complete else FOUND


@command("dobbin backup shop.log backup.log")
@log_file("use dobbin follow, or pg_dump")
@_NEW
@JSON
def backup(path: str, to: str, *, as_json: bool) -> None:
    """Update the backup TO of the log PATH.

    If TO does not exist, the whole log is copied; otherwise the new transactions are
    appended. Programs may use the log meanwhile. To restore: dobbin restore TO PATH.
    """
    with opened(path) as database, progress_bar("copying") as progress:
        report = database.backup(to, progress)
    show(report, report._asdict(), as_json=as_json)


@command("dobbin init postgresql://ada@db.example/shop")
@click.argument("uri")
@JSON
def init(uri: str, *, as_json: bool) -> None:
    """Create the empty log URI.

    URI is postgresql://user@host/database?schema=name, or a path, where a file appears with the
    first commit. Nothing happens if it is there. Programs do the same when they open it; use
    this to see that the server can be reached, or for programs that are not allowed to create
    tables.
    """
    with storage_at(uri, must_exist=False) as storage:
        facts = {"path": storage.path, "transactions": len(storage)}
        text = f"{storage.path}: {counted(len(storage), 'transaction')}"
        show(text, facts, as_json=as_json)


@command("dobbin copy shop.log postgresql://ada@db.example/shop")
@click.argument("source")
@click.argument("dest")
@click.option("--no-history", is_flag=True, help="Copy only the newest state.")
@JSON
def copy(source: str, dest: str, *, no_history: bool, as_json: bool) -> None:
    """Copy the log SOURCE to DEST, and compare them.

    Both are paths or URIs, of any kind of log. DEST must be empty, or have the first transactions
    of SOURCE: then the rest is copied. Tids and oids stay. With --no-history, DEST gets one
    transaction. Programs may use SOURCE meanwhile.
    """
    with (
        storage_at(source, read_only=True) as old,
        storage_at(dest, must_exist=False, sync=False) as new,
        progress_bar("copying") as progress,
    ):
        report: CopyReport | SnapshotReport
        if no_history:
            report = write_snapshot(old, new, progress)
            new.apply(new.read_news())
            check_log(new).raise_if_bad()
        else:
            try:
                report = copy_transactions(old, new, progress)
            except KeyboardInterrupt:
                new.apply(new.read_news())
                text = (
                    f"{new.path}: {len(new):,} of {len(old):,} transactions; "
                    "the same command goes on, and compares all"
                )
                raise Stopped(text) from None
    show(report, report._asdict(), as_json=as_json)


@command("dobbin pack shop.log --keep 30d")
@LOG
@when("--keep", "Keep every snapshot since a tid, a time (2026-01-31T12:00) or a time ago (30d).")
@click.option("--dry-run", is_flag=True, help="Only print what would be dropped.")
@JSON
def pack(path: str, *, keep: int | datetime | None, dry_run: bool, as_json: bool) -> None:
    """Drop what is no longer needed from the log PATH.

    Drops objects that can't be reached from the root, and versions that no snapshot since
    --keep needs; without --keep, all but the newest, in PostgreSQL all but those of the last
    hour. Programs may use the log meanwhile. If it is stopped, the log is unchanged or packed;
    in PostgreSQL, the next pack drops the rest.
    """
    with opened(path, read_only=dry_run) as database, progress_bar("packing") as progress:
        report = database.pack(keep, dry_run=dry_run, progress=progress)
    show(report, {**asdict(report), "garbage": report.garbage}, as_json=as_json)


@command("dobbin snapshot shop.log new.log --at 2026-01-31T12:00")
@LOG
@_NEW
@when("--at", "The state as of a tid, a time (2026-01-31T12:00) or a time ago (3d, 12h, 5m).")
@JSON
def snapshot(path: str, to: str, *, at: int | datetime | None, as_json: bool) -> None:
    """Write a single state of the log PATH to a new log TO.

    TO gets one transaction, without the past and without objects that can't be reached from
    the root.
    """
    with opened(path) as database, progress_bar("writing") as progress:
        try:
            report = database.snapshot(to, at, progress)
        except ObjectNotFound as error:
            if error.oid != ROOT_OID:
                raise
            text = f"{shown(path)}: there is no root {'yet' if at is None else 'as of then'}"
            raise Complaint(text) from None
    show(report, report._asdict(), as_json=as_json)


@command("dobbin restore backup.log shop.log")
@log_file("use dobbin copy", "backup", "BACKUP")
@new_file("path", "LOG")
@click.option("--prefix", is_flag=True, help="Of a damaged backup, restore what is before that.")
@JSON
def restore(backup: str, path: str, *, prefix: bool, as_json: bool) -> None:
    """Replace LOG by a copy of BACKUP.

    BACKUP may be any log, and is not changed. Every transaction is verified before. Programs
    that have LOG open get an error when they begin or commit a transaction from then on. Prints
    how many later transactions are gone.
    """
    with progress_bar("restoring") as progress:
        report = restore_log(backup, path, progress, prefix=prefix)
    show(report, report._asdict(), as_json=as_json)
