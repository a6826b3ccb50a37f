"""The subcommands that move objects in and out: export, import."""

from __future__ import annotations

import sys
from contextlib import closing, nullcontext, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from dobbin_like.cli.common import (
    ANY_FILE,
    AT,
    FOUND,
    JSON,
    LOG,
    Complaint,
    command,
    importable,
    new_file,
    opened,
    pause,
    progress_bar,
    show,
    storage_at,
)
from dobbin_like.cli.stored import Snapshot
from dobbin_like.cli.text import note, put
from dobbin_like.database import Database, store_of
from dobbin_like.exc import SourceError
from dobbin_like.exchange.json_lines import export_json, export_json_file, import_json
from dobbin_like.exchange.new_database import ImportReport
from dobbin_like.exchange.source import Source
from dobbin_like.ids import Oid
from dobbin_like.mistaken.paths import import_kind
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.storages.as_of import AsOf
from dobbin_like.store import Progress
from dobbin_like.texts import shown

_LIBRARIES: Final[dict[str | None, str]] = {"ZODB": "ZODB", "durus": "Durus"}
"""What is read by other packages: their names, by those of their modules."""

_PAUSE_SECONDS: Final = 0.2
"""Between two looks at a log that is followed."""


@command("dobbin export shop.log --to sqlite shop.sqlite --follow")
@LOG
@click.argument("target", metavar="[OID|WAY]", required=False)
@click.option(
    "--to",
    nargs=2,
    type=(click.Choice(["json", "sqlite"]), ANY_FILE),
    metavar="KIND FILE",
    help="Write FILE: json or sqlite. Without, print lines of JSON.",
)
@click.option("-f", "--follow", is_flag=True, help="Keep FILE of sqlite up to date, until Ctrl-C.")
@AT
@JSON
def export(
    path: str,
    target: str | None,
    *,
    to: tuple[str, str] | None,
    follow: bool,
    at: int | datetime | None,
    as_json: bool,
) -> int:
    """Write the objects of PATH as JSON, or to SQLite.

    As JSON, each object is a line with its oid, its class and its state, from which dobbin import
    makes the same objects again; with [OID|WAY], only the object that is given as for dobbin
    show, and what it leads to. To sqlite, each class is a table and each object a row; if FILE
    was written by an earlier call, it gets what was committed since. Other files are not
    overwritten. A new FILE appears when it is complete. No class of the program that wrote PATH
    is needed. Damaged objects are left out and reported; then the exit code is 1.
    """
    if to is not None and to[0] == "sqlite":
        if target is not None or (follow and at is not None):
            text = "sqlite has all objects, and --follow no end; leave out [OID|WAY] and --at"
            raise Complaint(text)
        return _export_sqlite(path, to[1], follow=follow, at=at, as_json=as_json)
    if follow:
        text = "--follow is for sqlite; for lines of what is committed, dobbin log --follow --json"
        raise Complaint(text)
    with opened(path, at=at) as database, progress_bar("exporting") as progress:
        start = None if target is None else _oid_of(database, target)
        with SnapshotScan(store_of(database)) as scan:
            source = Source(scan)
            if to is None:
                report = export_json(source, partial(put, end=""), start, progress)
                if report.damaged:
                    note(f"dobbin: {shown(path)}: {report}")
            else:
                report = export_json_file(source, to[1], start, progress)
                show(f"{to[1]}: {report}", report.as_dict(), as_json=as_json)
    return FOUND if report.damaged else 0


def _export_sqlite(
    path: str, file: str, *, follow: bool, at: int | datetime | None, as_json: bool
) -> int:
    import sqlite3

    from dobbin_like.exchange.sqlite import mirror

    is_new = not (Path(file).exists() and Path(file).stat().st_size)
    try:
        with storage_at(path, read_only=True) as storage:
            with progress_bar("exporting") as progress:
                if is_new or at is not None:
                    with (
                        nullcontext(storage) if at is None else closing(AsOf(storage, at)) as then
                    ):
                        report = mirror.make(then, file, progress)
                else:
                    with mirror.opened(storage, file) as there:
                        there.catch_up(progress)
                        report = there.report()
            show(report, report.as_dict(), as_json=as_json)
            if follow:
                with mirror.opened(storage, file) as there, suppress(KeyboardInterrupt):
                    there.follow(partial(pause, _PAUSE_SECONDS))
    except sqlite3.Error as error:
        text = f"{file}: {error}; all that was written before is there"
        raise Complaint(text) from error
    return FOUND if report.damaged else 0


def _oid_of(database: Database[Any], target: str) -> Oid:
    with Snapshot(database) as snapshot:
        return snapshot.oid_of(target)


@command("dobbin import --from zodb Data.fs new.log --classes names.toml", "import")
@click.argument("source", type=ANY_FILE)
@new_file("path", "PATH")
@click.option(
    "--from",
    "kind",
    type=click.Choice(["json", "zodb", "durus", "shelve"]),
    default="json",
    show_default=True,
    help="What SOURCE is.",
)
@click.option(
    "--classes",
    metavar="FILE|MODULE:FUNCTION",
    help="New names for classes: a TOML or JSON file, or a function; not for json.",
)
@click.option(
    "--blobs",
    type=click.Path(exists=True, file_okay=False),
    metavar="DIRECTORY",
    help="The blobs of a zodb; by default, blobs or blobstorage beside it.",
)
@JSON
def import_(
    source: str, path: str, *, kind: str, classes: str | None, blobs: str | None, as_json: bool
) -> int:
    """Make the database PATH of a file of another kind.

    SOURCE is what dobbin export has written (- is the standard input), a Data.fs of ZODB, a file
    of Durus, or a shelve. PATH must not exist, and appears when it is complete. No class of the
    program that wrote SOURCE is needed; ZODB or Durus has to be installed. Prints which classes
    have other names now, which the program has to allow, and what could not be taken over; if
    anything could not, the exit code is 1. In a file of --classes, "shop.Cart" =
    "shop.models.Cart" gives a new name, "shop.*" = "store.*" all of a package one; {name =
    "store.Folder", as = "dict"} tells what a class of ZODB or Durus derives from: dict, list, set,
    tree, treeset or counter. A function gets the old name.
    """
    if kind == "json" and classes is not None:
        text = "--classes is for zodb, durus and shelve; in lines of JSON, change the names"
        raise Complaint(text)
    if blobs is not None and kind != "zodb":
        text = "--blobs is for zodb"
        raise Complaint(text)
    with progress_bar("importing") as progress:
        if kind == "json":
            report = _import_json(source, path, progress)
        else:
            report = _import_foreign(kind, source, path, classes, blobs, progress)
    show(report, report.as_dict(), as_json=as_json)
    return 0 if report.complete else FOUND


def _import_json(source: str, path: str, progress: Progress | None) -> ImportReport:
    if source == "-":
        return import_json("the standard input", sys.stdin.buffer, path)
    try:
        with Path(source).open("rb") as lines:
            return import_json(source, lines, path, progress, Path(source).stat().st_size)
    except (FileNotFoundError, SourceError):  # A shelf may be given without its suffix.
        kind, name = _kind_of(source)
        if not kind:
            raise
        text = f"{shown(source)} is no export; dobbin import --from {kind} {shown(name)} takes it"
        raise Complaint(text) from None


def _kind_of(source: str) -> tuple[str, str]:
    start = b""
    with suppress(FileNotFoundError), Path(source).open("rb") as file:
        start = file.read(16)
    return import_kind(source, start)


def _import_foreign(
    kind: str,
    source: str,
    path: str,
    classes: str | None,
    blobs: str | None,
    progress: Progress | None,
) -> ImportReport:
    from dobbin_like.exchange.foreign.mapping import mapping_of

    if classes is not None:
        importable()
    mapping = None if classes is None else mapping_of(classes)
    try:
        if kind == "shelve":
            from dobbin_like.exchange.foreign.shelf import import_shelve

            return import_shelve(source, path, mapping, progress)
        with Path(source).open("rb"):  # Else one library or the other would make it.
            pass
        if kind == "zodb":
            from dobbin_like.exchange.foreign.zodb import import_zodb

            return import_zodb(source, path, mapping, progress, blobs=blobs)
        from dobbin_like.exchange.foreign.durus import import_durus

        return import_durus(source, path, mapping, progress)
    except ModuleNotFoundError as error:
        if error.name not in _LIBRARIES:
            raise
        text = (
            f"--from {kind} needs {_LIBRARIES[error.name]}; pip install {_LIBRARIES[error.name]}"
        )
        raise Complaint(text) from None
