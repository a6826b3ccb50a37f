"""The subcommands that change what is stored: migrate, rename-class, undo."""

from __future__ import annotations

from typing import Any

import click

from dobbin_like.cli.common import (
    ALLOW,
    JSON,
    LOG,
    Complaint,
    Stopped,
    command,
    importable,
    opened,
    progress_bar,
    show,
)
from dobbin_like.exc import UnloadedClassError
from dobbin_like.ids import Tid
from dobbin_like.texts import counted, shown


@command("dobbin undo shop.log 1790000000000000")
@LOG
@click.argument("tid", type=click.IntRange(min=1))
@ALLOW
@JSON
def undo(path: str, tid: int, *, allow: tuple[str, ...], as_json: bool) -> None:
    """Take back what a transaction in PATH has changed.

    What it has changed gets the values from before, in a new transaction, which can be undone as
    well; what else was changed since stays. Refused if the same was changed again since. Classes
    of the changed objects that are not of this package have to be named by --allow; they may be
    in the current directory.
    """
    if allow:
        importable()
    with opened(path, read_only=False, allow=allow) as database:
        if tid > database.tid:
            text = f"{shown(path)}: no transaction {tid}: the last one is {database.tid}"
            raise Complaint(text)
        note = f"undo {tid}"
        try:
            with database.transaction(note=note):
                seen = database.tid
                database.undo(tid)
        except UnloadedClassError as error:
            remedy = error.remedy
            if "allow=" in remedy:
                remedy = f"add --allow '{error.module}.*'"
            name = f"{error.module}.{error.qualname}"
            why = "; ".join(filter(None, (error.reason, remedy)))
            text = f"{shown(path)}: {name} is not loaded: {why}"
            raise Complaint(text) from None
        # The newest tid may be that of another program.
        since = database.storage.transactions(Tid(seen))
        made = (each.tid for each in since if each.description == note and not each.failed)
        undone_by = next(made, None)
    what = "needs no undoing: all is as it was before it"
    if undone_by is not None:
        what = f"is undone, by {undone_by}"
    text = f"{shown(path)}: transaction {tid} {what}"
    show(text, {"undone": tid, "tid": undone_by}, as_json=as_json)


@command("dobbin migrate shop.log shop.models.Cart")
@LOG
@click.argument("name", metavar="CLASS")
@JSON
def migrate(path: str, name: str, *, as_json: bool) -> None:
    """Store the objects of CLASS in their newest version.

    Give the full name, such as shop.models.Cart. Its module is imported; it may be in the current
    directory. Runs _p_migrate for each object of the class and its subclasses that was stored as
    an older version. May be stopped and run again at any time.
    """
    importable()
    cls = _class(name)
    module = name.rpartition(".")[0]
    with (
        opened(path, read_only=False, allow=[f"{module}.*"]) as database,
        progress_bar("migrating") as progress,
    ):
        try:
            count = database.migrate(cls, progress)
        except KeyboardInterrupt:
            text = f"{shown(path)}: what was migrated stays, and the same command goes on"
            raise Stopped(text) from None
    text = f"{shown(path)}: {counted(count, 'object')} of {name} stored in the newest version"
    show(text, {"class": name, "objects": count}, as_json=as_json)


def _class(name: str) -> Any:
    """Import a class by its full name."""
    import importlib

    module, _, qualname = name.rpartition(".")
    if not module:
        text = f"{name} can't be imported: name its module, too, as in 'shop.{name}'"
        raise Complaint(text)
    try:
        return getattr(importlib.import_module(module), qualname)
    except Exception as error:
        text = f"{name} can't be imported: {type(error).__name__}: {error}"
        raise Complaint(text) from error


@command("dobbin rename-class shop.log shop.Cart shop.models.Basket", "rename-class")
@LOG
@click.argument("old")
@click.argument("new")
@JSON
def rename_class(path: str, old: str, new: str, *, as_json: bool) -> None:
    """Rename the class OLD of stored objects to NEW.

    Give full names, such as 'shop.models.Cart'. The module of NEW is imported; it may be in
    the current directory.
    """
    importable()
    # What can name no class is refused by rename_class(), as a name for it.
    with opened(path, read_only=False, allow=[new] if "." in new else []) as database:
        database.rename_class(old, new)
    show(f"{old} is {new} now", {"old": old, "new": new}, as_json=as_json)
