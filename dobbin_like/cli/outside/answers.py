"""What programs that ask get for an answer: the same facts that the subcommands print, bounded.

An assistant reads all of an answer, so long texts and collections are cut, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any, Final

import click

from dobbin_like.cli.common import MOMENT, opened, reason
from dobbin_like.cli.differences import as_json as changes_as_json
from dobbin_like.cli.differences import differences
from dobbin_like.cli.look import census_facts
from dobbin_like.cli.objects import classes_like, facts_of
from dobbin_like.cli.past import changed_oids, commit_facts, revisions, tid_at
from dobbin_like.cli.stored import Damaged, Snapshot, StoredObject
from dobbin_like.cli.values import Values, to_json
from dobbin_like.database import Database
from dobbin_like.exc import Error

TEXT_LIMIT: Final = 2000
"""Characters of a text that are shown."""

MOST: Final = 1000
"""Items, objects or revisions that are given at once, whatever is asked for."""


class Answers:
    """Answers questions about the log at *path*, as of when it is asked. Nothing is written."""

    def __init__(self, path: str) -> None:
        self.path = path

    @contextmanager
    def _snapshot(self, at: str | int | None) -> Iterator[tuple[Database[Any], Snapshot]]:
        with (
            opened(self.path, at=_moment(at)) as database,
            Snapshot(database) as snapshot,
        ):
            yield database, snapshot

    def census(self, at: str | int | None = None) -> dict[str, Any]:
        """Count the objects and bytes of each class. Begin here.

        at: as of a tid, a time (2026-01-31T12:00) or a time ago (3d, 12h, 5m); default: now.
        """
        with self._snapshot(at) as (_, snapshot):
            facts = census_facts(*snapshot.census())
            return facts | {"damaged": facts["damaged"][:MOST]}

    def show(self, way: str = "", at: str | int | None = None, limit: int = 50) -> dict[str, Any]:
        """Show an object: its class, who has written it and when, its state, its references.

        way: the oid, or the way from the root: attributes, keys and places in lists, with slashes
        between (carts/ann/lines/0); empty: the root. It may lead into a value. References in the
        state are {"$ref": oid, "class": name}; show them by their oid.
        at: as of a tid, a time (2026-01-31T12:00) or a time ago (3d, 12h, 5m); default: now.
        limit: the number of items that are shown of each collection.
        """
        with self._snapshot(at) as (_, snapshot):
            found = snapshot.find(way or None)
            if not isinstance(found, StoredObject):
                return {"value": _cut(to_json(found, snapshot.name_of), limit)}
            facts = facts_of(snapshot, found)
            if "_root" in facts["state"]:  # What is in a tree is in its nodes.
                parts = islice(snapshot.parts(found), _most(limit) + 2)
                items = [part for part in parts if part.is_item]
                pairs = [(part.key, part.value) for part in items]
                facts["items"] = [
                    [to_json(part, snapshot.name_of) for part in pair] for pair in pairs
                ]
            return _shown(facts, limit)

    def find(
        self, class_name: str, at: str | int | None = None, limit: int = 20, after: int = -1
    ) -> dict[str, Any]:
        """List the objects of a class, with their states, in the order of their oids.

        class_name: a full name (shop.models.Cart), its last part (Cart), or a pattern (shop.*).
        at: as of a tid, a time (2026-01-31T12:00) or a time ago (3d, 12h, 5m); default: now.
        limit: the number of objects. after: go on behind the object with this oid.
        """
        with self._snapshot(at) as (_, snapshot):
            names = classes_like(snapshot, class_name)
            objects: list[Any] = []
            for found in snapshot.all():
                if found.oid <= after or not (
                    isinstance(found, Damaged) or found.class_name in names
                ):
                    continue
                if len(objects) == _most(limit):
                    return {"objects": objects, "more": True}
                objects.append(_one(snapshot, found))
            return {"objects": objects, "more": False}

    def history(self, way: str = "", limit: int = 20) -> dict[str, Any]:
        """List the changes of an object, newest first: who, when, and what was changed.

        way: as for show. limit: the number of changes.
        """
        with self._snapshot(None) as (_, snapshot):
            oid = snapshot.oid_of(way or None)
            found = revisions(snapshot, oid)
            changes = [_revision(snapshot, *each) for each in islice(found, _most(limit))]
            return {"oid": oid, "changes": changes, "more": next(found, None) is not None}

    def diff(self, since: str | int, until: str | int = "now", limit: int = 50) -> dict[str, Any]:
        """Show which objects were made or changed between two moments, and how.

        since, until: a tid, a time (2026-01-31T12:00), a time ago (3d, 12h, 5m) or now; 0 is
        before all. limit: the number of objects.
        """
        with self._snapshot(None) as (database, snapshot):
            first, last = (tid_at(database, _moment(each) or 0) for each in (since, until))
            oids = changed_oids(snapshot, min(first, last), max(first, last), None)
            shown = [_difference(snapshot, oid, first, last) for oid in oids[: _most(limit)]]
            objects = [each for each in shown if each is not None]
            return {
                "from": first,
                "to": last,
                "objects": objects,
                "more": len(oids) > _most(limit),
            }


def _moment(text: str | int | None) -> int | datetime | None:
    if text is None or text == "":
        return None
    found: int | datetime = MOMENT.convert(str(text), None, None)
    return found


def _most(limit: int) -> int:
    return max(1, min(limit, MOST))


def _one(snapshot: Snapshot, found: StoredObject | Damaged) -> Any:
    try:
        if isinstance(found, Damaged):
            raise found.error
        return _shown(facts_of(snapshot, found), 10)
    except Error as error:
        return {"oid": found.oid, "damaged": reason(error)}


def _revision(snapshot: Snapshot, version: StoredObject, before: Any, after: Any) -> Any:
    facts: dict[str, Any] = {"tid": version.stored.tid}
    try:
        facts |= commit_facts(snapshot, version, as_json=True)
        return facts | {"changed": _changed(snapshot, before, after)}
    except Error as error:
        return facts | {"damaged": reason(error)}


def _changed(snapshot: Snapshot, before: Any, after: Any) -> Any:
    for state in (before, after):
        if isinstance(state, Error):
            raise state
    found = differences(before, after, Values(snapshot.name_of))
    return _cut(changes_as_json(found, snapshot.name_of), 20)


def _difference(snapshot: Snapshot, oid: Any, first: Any, last: Any) -> Any:
    try:
        before, after = snapshot.get(oid, first), snapshot.get(oid, last)
        states = [{} if each is None else snapshot.state(each) for each in (before, after)]
        changed = _changed(snapshot, *states)
    except Error as error:
        return {"oid": oid, "damaged": reason(error)}
    found = after or before
    if found is None or (not changed and before and after):
        return None
    how = "made" if before is None else "changed" if after else "not there yet"
    return {"oid": oid, "class": found.class_name, "how": how, "changed": changed}


def _shown(facts: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return the facts about an object; all attributes, and the beginnings of their values."""
    state = {name: _cut(value, limit) for name, value in facts["state"].items()}
    return {name: _cut(value, limit) for name, value in facts.items()} | {"state": state}


def _cut(value: Any, limit: int) -> Any:
    """Return JSON with the first items of its collections, and the beginning of its texts."""
    if isinstance(value, str) and len(value) > TEXT_LIMIT:
        return f"{value[:TEXT_LIMIT]}... ({len(value):,} characters)"
    if isinstance(value, list):
        shown = [_cut(item, limit) for item in value[: _most(limit)]]
        rest = len(value) - len(shown)
        return [*shown, {"$more": rest}] if rest else shown
    if isinstance(value, dict):
        pairs = {key: _cut(item, limit) for key, item in islice(value.items(), _most(limit))}
        rest = len(value) - len(pairs)
        return {**pairs, "$more": rest} if rest else pairs
    return value


def in_utf_8(value: Any) -> Any:
    """Return JSON with escapes for what UTF-8 can't have: halves of characters, in any text.

    The server would end with an error.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [in_utf_8(item) for item in value]
    if isinstance(value, dict):
        return {in_utf_8(key): in_utf_8(item) for key, item in value.items()}
    return value


def complaint_of(error: Exception) -> str:
    """Return the text of an error that tells what was asked for wrongly."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    return str(error)
