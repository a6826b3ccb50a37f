"""An object as rows: of the table of its class, of its items, of the references inside values."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from itertools import zip_longest
from typing import Any, Final
from uuid import UUID

from dobbin_like.exchange.json_values import ValueWriter
from dobbin_like.exchange.source import Damaged, FoundState, Versions
from dobbin_like.exchange.sqlite.tables import (
    ANY,
    BLOB,
    INTEGER,
    REAL,
    REFERENCE,
    TEXT,
    Table,
    Tables,
)
from dobbin_like.ids import Oid
from dobbin_like.objects.codec.stand_in import StandIn
from dobbin_like.objects.codec.state_reader import Reference, references_in
from dobbin_like.objects.codec.state_writer import ClassName
from dobbin_like.objects.deltas.delta import ITEMS, Delta

_LARGEST: Final = 1 << 63

_LONGEST: Final = 900_000_000
"""Characters or bytes of a value: SQLite has a limit of 1,000,000,000."""

_BATCH: Final = 5000
"""Rows that are written at once."""

_LEAF: Final = ("dobbin_like.collections", "BTreeLeaf")


class _TooLongError(Exception):
    """A value is too long for SQLite."""


class Rows:
    """Writes objects to the tables of a connection. One thread.

    With ``is_new``, no object is there yet, and none is looked for.
    """

    def __init__(self, connection: sqlite3.Connection, tables: Tables, versions: Versions) -> None:
        self._connection, self._tables, self._versions = connection, tables, versions
        self._json = ValueWriter(versions.name_of)
        self._kinds: dict[int, str] = {}  # Of references, by class number.
        self._objects: list[tuple[int, int, int]] = []
        self._items: list[tuple[Any, ...]] = []
        self._links: list[tuple[int, str, int]] = []
        self.is_new = False

    def put(self, found: FoundState | Damaged, tid: int) -> None:
        """Write an object, in the place of what there was of it."""
        if isinstance(found, Damaged):
            self.damage(found, tid)
            return
        if not self.is_new:
            self._remove(found.oid, found.name)
        counts = len(self._items), len(self._links)
        try:
            self._put(found)
        except (RecursionError, _TooLongError) as error:
            del self._items[counts[0] :], self._links[counts[1] :]
            reason = str(error) if isinstance(error, _TooLongError) else "nested too deeply"
            self.damage(Damaged(found.oid, f"a value that is {reason}"), tid)
        if len(self._objects) + len(self._items) + len(self._links) >= _BATCH:
            self.flush()

    def damage(self, found: Damaged, tid: int) -> None:
        """Note that an object can't be read as of *tid*. Its rows stay as they were before."""
        self._connection.execute(
            "INSERT OR REPLACE INTO dobbin_damaged VALUES (?, ?, ?)",
            (found.oid, tid, found.reason),
        )

    def flush(self) -> None:
        """Write all that was gathered."""
        run = self._connection.executemany
        objects, self._objects = self._objects, []
        items, self._items = self._items, []
        links, self._links = self._links, []
        run("INSERT OR REPLACE INTO dobbin_objects VALUES (?, ?, ?)", objects)
        run("INSERT INTO dobbin_items VALUES (?, ?, ?, ?, ?, ?)", items)
        run("INSERT INTO dobbin_links VALUES (?, ?, ?)", links)
        self._tables.flush_all()

    def remove(self, oid: Oid) -> None:
        """Take an object out."""
        self._remove(oid, None)
        self._connection.execute("DELETE FROM dobbin_objects WHERE oid = ?", (oid,))

    def _remove(self, oid: Oid, name: ClassName | None) -> None:
        """Take out what there is of an object; not its row if it is of class *name*."""
        self.flush()
        run = self._connection.execute
        for table in ("dobbin_items", "dobbin_links", "dobbin_damaged"):
            run(f"DELETE FROM {table} WHERE oid = ?", (oid,))
        old = run("SELECT class FROM dobbin_objects WHERE oid = ?", (oid,)).fetchone()
        if old is not None and (name is None or old[0] != self._tables.of(name).number):
            self._tables.remove(self._tables.by_number(old[0]), oid)

    # -- an object --------------------------------------------------------------------

    def _put(self, found: FoundState) -> None:
        oid, tid, name, state = found
        table = self._tables.of(name)
        items = state.get(ITEMS)
        if isinstance(items, (dict, list, set)):
            state = {attribute: v for attribute, v in state.items() if attribute != ITEMS}
            self._put_items(oid, oid, items)
        elif name == _LEAF and isinstance(state.get("tree"), Reference):
            self._put_leaf(oid, state["tree"].oid, *state["items"])
            state = {attribute: v for attribute, v in state.items() if attribute != "items"}
        row: list[Any] = [oid] + [None] * len(table.columns)
        for attribute, value in state.items():
            if value is not None:
                self._put_value(oid, table, row, _taken(attribute), value)
        self._tables.put(table, row)
        self._objects.append((oid, table.number, tid))

    def _put_value(
        self, oid: int, table: Table, row: list[Any], attribute: str, value: Any
    ) -> None:
        kind, cell = self._cell(oid, attribute, value)
        column = table.columns.get(attribute)
        if column is None:
            if table.is_full:
                self._put_item(oid, oid, None, f".{attribute}", value)
                return
            column = self._tables.new_column(table, attribute, kind)
            row.append(None)
        elif column.kind != kind and not column.takes(kind):
            self._tables.widen(table, column, kind)
        if column.kind == ANY and kind.startswith(REFERENCE):
            self._links.append((oid, f".{attribute}", cell))
            cell = f'{{"$ref": {cell}}}'
        row[column.place] = cell

    def _cell(self, oid: int, attribute: str, value: Any) -> tuple[str, Any]:
        """Return what SQLite has for a value, and its kind."""
        cls = type(value)
        simple = _SIMPLE.get(cls)
        if simple is not None:
            return simple(value)
        if cls is int and -_LARGEST <= value < _LARGEST:
            return INTEGER, value
        if cls is Reference:
            return self._kind_of(value.class_number), value.oid
        if isinstance(value, StandIn) and value._p_how == "member":
            return _text(str(value._p_args[0]))
        for way, reference in references_in({attribute: value}):
            self._links.append((oid, way, reference.oid))
        return TEXT, _checked(json.dumps(self._json.value(value)))

    def _kind_of(self, class_number: int) -> str:
        kind = self._kinds.get(class_number)
        if kind is None:
            table = self._tables.of(self._versions.name_of(class_number))
            kind = self._kinds[class_number] = f"{REFERENCE} {table.name}"
        return kind

    # -- items ------------------------------------------------------------------------

    def _put_items(self, oid: int, owner: int, items: Any) -> None:
        if isinstance(items, dict):
            for key, value in items.items():
                self._put_item(oid, owner, None, self._key(oid, key), value)
            return
        for place, value in enumerate(items):
            self._put_item(oid, owner, None if isinstance(items, set) else place, None, value)

    def _put_leaf(self, oid: int, owner: int, keys: list[Any], values: list[Any]) -> None:
        for key, value in zip_longest(keys, values):  # A set has no values.
            self._put_item(oid, owner, None, self._key(oid, key), value)

    def _put_item(self, oid: int, owner: int, place: int | None, key: Any, value: Any) -> None:
        if type(value) is Reference:
            self._items.append((oid, owner, place, key, None, value.oid))
            return
        cell = None if value is None else self._cell(oid, "_items", value)[1]
        self._items.append((oid, owner, place, key, cell, None))

    def _key(self, oid: int, key: Any) -> Any:
        if key is None or type(key) is Reference:
            return json.dumps(self._json.value(key))
        return self._cell(oid, "_items", key)[1]

    def put_delta(self, oid: Oid, tid: int, delta: Delta) -> bool:
        """Change the items of a collection; return whether that could be done.

        It can if the rows are those of the version that the delta changes.
        """
        run = self._connection.execute
        self.flush()
        query = "SELECT tid, class FROM dobbin_objects WHERE oid = ?"
        there = run(query, (oid,)).fetchone()
        is_damaged = run("SELECT 1 FROM dobbin_damaged WHERE oid = ?", (oid,)).fetchone()
        if there is None or there[0] != delta.base or is_damaged:
            return False
        if not isinstance(delta.added, dict):
            return False
        for key in (*delta.removed, *delta.added):
            links = len(self._links)
            gone = self._key(oid, key)
            del self._links[links:]
            run("DELETE FROM dobbin_items WHERE oid = ? AND key IS ?", (oid, gone))
        self._put_items(oid, oid, delta.added)
        self._objects.append((oid, there[1], tid))
        return True


def _checked(value: Any) -> Any:
    if len(value) > _LONGEST:
        text = "too long for SQLite"
        raise _TooLongError(text)
    return value


def _taken(text: str) -> str:
    """Return a text as SQLite takes it, which is not with halves of characters."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _text(value: str) -> tuple[str, str]:
    return TEXT, _checked(_taken(value))


def _time(value: Any) -> tuple[str, str]:
    return TEXT, value.isoformat()


def _digits(value: Any) -> tuple[str, str]:
    return TEXT, str(value)


def _bytes(value: bytes | bytearray) -> tuple[str, bytes]:
    return BLOB, _checked(bytes(value))


_SIMPLE: Final[dict[Any, Callable[[Any], tuple[str, Any]]]] = {
    str: _text,
    bool: lambda value: (INTEGER, int(value)),
    float: lambda value: (REAL, None if math.isnan(value) else value),
    bytes: _bytes,
    bytearray: _bytes,
    date: _time,
    datetime: _time,
    time: _time,
    Decimal: _digits,
    UUID: _digits,
}
