"""The subcommands that show objects: find, referrers, show, tree. No class is loaded."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, NamedTuple

import click

from dobbin_like.cli.common import (
    AT,
    FOUND,
    JSON,
    LOG,
    MOMENT,
    Complaint,
    command,
    damaged,
    json_line,
    limit_option,
    limited,
    opened,
    progress_bar,
    reason,
)
from dobbin_like.cli.past import print_diff, print_history, tid_at
from dobbin_like.cli.stored import Damaged, Part, Snapshot, StoredObject
from dobbin_like.cli.text import Styled, class_text, line, local_time, note
from dobbin_like.cli.values import to_json
from dobbin_like.exc import Error
from dobbin_like.ids import Oid
from dobbin_like.objects.codec.policy import VALUE_TYPES
from dobbin_like.objects.codec.state_reader import Reference, references_in, way_to
from dobbin_like.store import Progress
from dobbin_like.texts import counted
from dobbin_like.timestamps import time_of

_WAY = click.argument("target", metavar="[OID|WAY]", required=False)


@command("dobbin show shop.log carts/ann/lines/0")
@LOG
@_WAY
@limit_option("items of a collection")
@AT
@click.option("--history", is_flag=True, help="List its changes, as dobbin history.")
@click.option("--diff", nargs=2, type=MOMENT, metavar="FROM TO", help="Compare two moments.")
@JSON
def show(
    path: str,
    target: str | None,
    *,
    limit: int,
    at: int | datetime | None,
    history: bool,
    diff: tuple[int | datetime, int | datetime] | None,
    as_json: bool,
) -> int:
    """Show an object of PATH: its state, and what it refers to.

    The object is given by its oid, or by the way to it from the root, or from an oid: attributes,
    keys and places in lists, with slashes between. Quote a key that has slashes, as in Python. A
    key of the root that is a number needs a slash before. By default, the root is shown. The way
    may lead into a value.
    """
    with opened(path, at=at) as database, Snapshot(database) as snapshot:
        found = snapshot.find(target)
        if not isinstance(found, StoredObject):
            if history or diff:
                text = f"{target} is a value in an object, and no object"
                raise Complaint(text)
            _show_value(snapshot, found, limit, as_json=as_json)
        elif history:
            return print_history(snapshot, found.oid, limit, as_json=as_json)
        elif diff:
            tids = [tid_at(database, moment) for moment in diff]
            return print_diff(snapshot, [found.oid], *tids, as_json=as_json)
        elif as_json:
            json_line(facts_of(snapshot, found))
        else:
            _show_object(snapshot, found, limit)
        return 0


def facts_of(snapshot: Snapshot, found: StoredObject) -> dict[str, Any]:
    """Return what there is to say about an object, as JSON has it."""
    state, tid = snapshot.state(found), found.stored.tid
    logged = snapshot.storage.transaction_of(found.stored)
    return {
        "oid": found.oid,
        "class": found.class_name,
        "tid": tid,
        "time": time_of(tid).isoformat(),
        "user": logged.user,
        "description": logged.description,
        "bytes": snapshot.size(found),
        "references": sorted(set(snapshot.references(found))),
        "state": {name: to_json(value, snapshot.name_of) for name, value in state.items()},
    }


def _show_object(snapshot: Snapshot, found: StoredObject, limit: int) -> None:
    parts = snapshot.parts(found)  # Before anything is printed: the state may be damaged.
    logged = snapshot.storage.transaction_of(found.stored)
    size = counted(snapshot.size(found), "byte")
    line(Styled(str(found), "bold"), f", {size}")
    user = f" by {logged.user}" if logged.user else ""
    about = f": {logged.description}" if logged.description else ""
    line(f"tid {logged.tid}, {local_time(logged.tid)}{user}{about}")
    _print_parts(snapshot, parts, limit)


def _print_parts(snapshot: Snapshot, parts: Iterator[Part], limit: int) -> None:
    items = 0
    for part in parts:
        items += part.is_item
        if limit and items > limit:
            note("there are more items; use --limit 0 to show all")
            return
        label = f"{part.label}  " if part.label else ""
        line("  ", Styled(label, "cyan"), snapshot.values.short(part.value))


def _show_value(snapshot: Snapshot, value: Any, limit: int, *, as_json: bool) -> None:
    if as_json:
        json_line(to_json(value, snapshot.name_of))
        return
    line(snapshot.values.short(value))
    _print_parts(snapshot, snapshot.parts(value), limit)


@command("dobbin tree shop.log carts --depth 2")
@LOG
@_WAY
@click.option(
    "--depth",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="How many references away from it; 0: all.",
)
@limit_option("references of an object")
@AT
@JSON
def tree(
    path: str,
    target: str | None,
    *,
    depth: int,
    limit: int,
    at: int | datetime | None,
    as_json: bool,
) -> int:
    """Show what an object of PATH leads to, as a tree.

    The object is given as for dobbin show; by default, it is the root. Each reference is shown
    with its place in the state; an object that was shown before is not followed again. With
    --json, prints one JSON object per line.
    """
    with opened(path, at=at) as database, Snapshot(database) as snapshot:
        branches = _Branches(snapshot, depth or sys.maxsize, limit or sys.maxsize)
        code = 0
        for branch in branches.walk(snapshot.oid_of(target)):
            name, oid, how = branch.name, branch.oid, branch.how
            if as_json:
                json_line(branch.as_dict())
            else:
                colour = "red" if branch.is_damaged else "dim"
                label = Styled(branch.label, "cyan")
                line(branch.indent, label, f"{class_text(name)} oid {oid}", Styled(how, colour))
            code |= FOUND if branch.is_damaged else 0
        return code


class _Branch(NamedTuple):
    """A reference in a tree; ``how`` tells what is special about what it leads to."""

    depth: int
    indent: str
    label: str
    oid: int
    name: str
    how: str = ""
    is_damaged: bool = False

    def as_dict(self) -> dict[str, Any]:
        facts = {"depth": self.depth, "way": self.label.rstrip(), "oid": self.oid}
        return {**facts, "class": self.name, "note": self.how.strip(" ()")}


class _Branches:
    """Walks through the graph, depth first; with a stack of its own, however deep it is."""

    def __init__(self, snapshot: Snapshot, depth: int, limit: int) -> None:
        self._snapshot, self._depth, self._limit = snapshot, depth, limit
        self._seen: set[int] = set()

    def walk(self, start: Oid) -> Iterator[_Branch]:
        waiting = [(0, "", "", start, "?", "")]
        while waiting:
            depth, indent, label, oid, name, below = waiting.pop()
            branch = _Branch(depth, indent, label, oid, name)
            if oid in self._seen:
                yield branch._replace(how="  (above)")
                continue
            self._seen.add(oid)
            try:
                found = self._snapshot.get(oid)
                if found is None:
                    yield branch._replace(how="  (not stored)", is_damaged=True)
                    continue
                ways = list(references_in(self._snapshot.state(found)))
            except Error as error:
                yield branch._replace(how=f"  damaged: {reason(error)}", is_damaged=True)
                continue
            more = len(ways) - self._limit
            hidden = len(ways) if depth >= self._depth else more
            how = f"  ({counted(hidden, 'more reference')})" if hidden > 0 else ""
            yield branch._replace(name=found.class_name, how=how)
            if depth < self._depth:
                waiting += self._children(ways[: self._limit], depth + 1, below)[::-1]

    def _children(self, ways: list[tuple[str, Reference]], depth: int, above: str) -> list[Any]:
        children: list[Any] = []
        for number, (way, reference) in enumerate(ways, 1):
            is_last = number == len(ways)
            indent = above + ("`-- " if is_last else "|-- ")
            name = self._snapshot.name_of(reference.class_number)
            below = above + ("    " if is_last else "|   ")
            children.append((depth, indent, f"{way}  ", reference.oid, name, below))
        return children


@command("dobbin find shop.log shop.models.Cart --limit 5")
@LOG
@click.argument("name", metavar="CLASS")
@limit_option("objects")
@AT
@JSON
def find(path: str, name: str, *, limit: int, at: int | datetime | None, as_json: bool) -> int:
    """List the objects of CLASS in PATH, with what is in them.

    CLASS is a full name, such as shop.models.Cart, its last part, or a pattern: 'shop.*'. Classes
    that derive from it are found by their own names. Objects that can't be reached from the root
    are included. With --json, prints one JSON object per line.
    """
    with opened(path, at=at) as database, Snapshot(database) as snapshot:
        names = classes_like(snapshot, name)

        def wanted(progress: Progress | None) -> Iterator[StoredObject | Damaged]:
            for found in snapshot.all(progress):
                if isinstance(found, Damaged) or found.class_name in names:
                    yield found

        with progress_bar("searching") as progress:
            code = 0
            for found in limited(wanted(progress), limit):
                try:
                    if isinstance(found, Damaged):
                        raise found.error
                    if as_json:
                        json_line(facts_of(snapshot, found))
                    else:
                        _print_found(snapshot, found)
                except Error as error:
                    code = FOUND
                    damaged({"oid": found.oid}, f"oid {found.oid}", error, as_json=as_json)
            return code


def _print_found(snapshot: Snapshot, found: StoredObject) -> None:
    state = snapshot.state(found)
    text = "  ".join(
        f"{name} {snapshot.values.short(value, 60)}" for name, value in islice(state.items(), 10)
    )
    line(Styled(f"{found.oid:>7}", "bold"), f"  {found.class_name.rpartition('.')[2]}  {text}")


def classes_like(snapshot: Snapshot, name: str) -> set[str]:
    """Return the names of classes that a user may mean, or raise Complaint."""
    rows = snapshot.storage.names.rows().classes
    known = {f"{module}.{rest}" for _, module, rest in rows if module not in VALUE_TYPES}
    found = {each for each in known if each == name} or {
        each for each in known if each.endswith(f".{name}") or fnmatchcase(each, name)
    }
    if not found:
        # Those of applications come first.
        listed = sorted(known, key=lambda each: (each.startswith("dobbin_like."), each))
        near = difflib.get_close_matches(name, known, 3, 0.5) or listed[:3]
        more = ", ..." if len(near) < len(known) else ""
        text = f"{snapshot.path}: no class {name!r}; there are {', '.join(near) or 'none'}{more}"
        raise Complaint(text)
    return found


@command("dobbin referrers shop.log carts/ann")
@LOG
@_WAY
@limit_option("referrers")
@AT
@JSON
def referrers(
    path: str, target: str | None, *, limit: int, at: int | datetime | None, as_json: bool
) -> int:
    """List the objects of PATH that refer to an object.

    The object is given as for dobbin show. Each referrer comes once, with the first of its
    references. Those that can't be reached from the root are included. With --json, prints one
    JSON object per line.
    """
    with opened(path, at=at) as database, Snapshot(database) as snapshot:
        target_oid = snapshot.oid_of(target)
        with progress_bar("searching") as progress:
            code = 0
            for found in limited(_referrers(snapshot, target_oid, progress), limit):
                if isinstance(found, Damaged):
                    code = FOUND
                    damaged({"oid": found.oid}, f"oid {found.oid}", found.error, as_json=as_json)
                    continue
                referrer, way = found
                if as_json:
                    facts = {"oid": referrer.oid, "class": referrer.class_name, "way": way}
                    json_line(facts)
                else:
                    line(Styled(str(referrer), "bold"), f"  {way}")
            return code


def _referrers(
    snapshot: Snapshot, target: Oid, progress: Progress | None
) -> Iterator[tuple[StoredObject, str] | Damaged]:
    for found in snapshot.all(progress):
        if isinstance(found, Damaged):
            yield found
            continue
        try:
            if target in snapshot.references(found):
                yield found, way_to(snapshot.state(found), target)
        except Error as error:
            yield Damaged(found.oid, error)
