"""The tables of classes: their names and columns, which grow with what is met.

A column has the type of its values as long as they are of one type. SQLite would change values to
that of the column, so a column that gets values of a second type is made anew, without one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from dobbin_like.objects.codec.state_writer import ClassName

SCHEMA: Final = """
CREATE TABLE dobbin_state (name TEXT PRIMARY KEY, value);
CREATE TABLE dobbin_classes (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE, "table" TEXT UNIQUE);
CREATE TABLE dobbin_columns (
    class INTEGER REFERENCES dobbin_classes(id), attribute TEXT, "column" TEXT, kind TEXT,
    PRIMARY KEY (class, attribute));
CREATE TABLE dobbin_objects (
    oid INTEGER PRIMARY KEY, class INTEGER REFERENCES dobbin_classes(id), tid INTEGER);
CREATE TABLE dobbin_items (
    oid INTEGER REFERENCES dobbin_objects(oid), owner INTEGER REFERENCES dobbin_objects(oid),
    place INTEGER, key, value, target INTEGER REFERENCES dobbin_objects(oid));
CREATE TABLE dobbin_links (
    oid INTEGER REFERENCES dobbin_objects(oid), place TEXT,
    target INTEGER REFERENCES dobbin_objects(oid));
CREATE TABLE dobbin_damaged (oid INTEGER PRIMARY KEY, tid INTEGER, reason TEXT);
"""

INDEXES: Final = """
CREATE INDEX dobbin_items_oid ON dobbin_items (oid);
CREATE INDEX dobbin_items_owner ON dobbin_items (owner, key);
CREATE INDEX dobbin_items_target ON dobbin_items (target);
CREATE INDEX dobbin_links_oid ON dobbin_links (oid);
CREATE INDEX dobbin_links_target ON dobbin_links (target);
"""

INTEGER, REAL, TEXT, BLOB, ANY = "INTEGER REAL TEXT BLOB ANY".split()
REFERENCE: Final = "REFERENCE"
"""Begins the kind of a column of references; the table that they lead to follows."""

_TYPES: Final = {INTEGER: "INTEGER", REAL: "REAL", TEXT: "TEXT", BLOB: "BLOB", ANY: ""}
_NUMBERS: Final = {INTEGER, REAL, "NUMERIC"}

_MOST: Final = 1000
"""Columns of a table; SQLite has a limit, and rows get slow before."""

_ROWS: Final = 2000
"""Rows that are written at once."""


class Column:
    """A column of a table: where it is in a row, and what its values are."""

    __slots__ = ("attribute", "kind", "name", "place")

    def __init__(self, attribute: str, name: str, kind: str, place: int) -> None:
        self.attribute: str = attribute
        self.name: str = name
        self.kind: str = kind
        self.place: int = place

    def takes(self, kind: str) -> bool:
        """Return whether values of a kind fit without a change of the column."""
        return _common(self.kind, kind) == self.kind


class Table:
    """The table of a class. ``rows`` are not written yet."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.columns: dict[str, Column] = {}
        self.rows: list[list[Any]] = []
        self.names: set[str] = {"oid"}

    @property
    def is_full(self) -> bool:
        """Whether it may get no more columns."""
        return len(self.columns) >= _MOST


class Tables:
    """All tables of classes in a connection. One thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._by_class: dict[ClassName, Table] = {}
        self._names: set[str] = set()
        self._numbers: dict[int, Table] = {}

    def create(self) -> None:
        """Make the tables that every file has."""
        for statement in SCHEMA.split(";"):
            self._connection.execute(statement)

    def load(self) -> None:
        """Read what the file says of its tables."""
        self._by_class, self._names, self._numbers = {}, set(), {}
        for number, name, table in self._connection.execute("SELECT * FROM dobbin_classes"):
            self._add(name, Table(number, table))
        query = 'SELECT class, attribute, "column", kind FROM dobbin_columns ORDER BY rowid'
        for number, attribute, name, kind in self._connection.execute(query):
            self._add_column(self._numbers[number], attribute, name, kind)

    def _add(self, name: str, table: Table) -> None:
        module, _, qualname = name.partition(":")
        self._by_class[module, qualname] = table
        self._numbers[table.number] = table
        self._names.add(table.name.lower())

    def _add_column(self, table: Table, attribute: str, name: str, kind: str) -> Column:
        column = Column(attribute, name, kind, len(table.columns) + 1)
        table.columns[attribute] = column
        table.names.add(name.lower())
        return column

    def all(self) -> list[Table]:
        return [*self._numbers.values()]

    def by_number(self, number: int) -> Table:
        return self._numbers[number]

    def of(self, name: ClassName) -> Table:
        """Return the table of a class, a new one if need be."""
        table = self._by_class.get(name)
        return self._new_table(name) if table is None else table

    def _new_table(self, name: ClassName) -> Table:
        module, qualname = name
        wanted = qualname
        if wanted.lower().startswith(("sqlite_", "dobbin_")) or wanted.lower() in self._names:
            wanted = f"{module}.{qualname}"
        table = Table(len(self._numbers) + 1, _free(wanted, self._names))
        text = ":".join(name)
        self._connection.execute(
            "INSERT INTO dobbin_classes VALUES (?, ?, ?)", (table.number, text, table.name)
        )
        self._connection.execute(f"CREATE TABLE {quoted(table.name)} ({_OID})")
        self._add(text, table)
        return table

    def new_column(self, table: Table, attribute: str, kind: str) -> Column:
        """Add a column for an attribute; what is written is as it was."""
        self.flush(table)
        name = _free(attribute or "_", table.names)
        self._connection.execute(
            f"ALTER TABLE {quoted(table.name)} ADD COLUMN {_declared(name, kind)}"
        )
        row = (table.number, attribute, name, kind)
        self._connection.execute("INSERT INTO dobbin_columns VALUES (?, ?, ?, ?)", row)
        return self._add_column(table, attribute, name, kind)

    def widen(self, table: Table, column: Column, kind: str) -> None:
        """Let a column have values of one more kind, by making its table anew."""
        self.flush(table)
        old = column.kind
        column.kind = _common(old, kind)
        if column.kind == ANY and old.startswith(REFERENCE):
            self._mark_references(table, column)
        columns = [_declared(each.name, each.kind) for each in table.columns.values()]
        new = quoted(_free(f"dobbin_new_{table.name}", self._names))
        self._connection.execute(f"CREATE TABLE {new} ({', '.join([_OID, *columns])})")
        self._connection.execute(f"INSERT INTO {new} SELECT * FROM {quoted(table.name)}")
        self._connection.execute(f"DROP TABLE {quoted(table.name)}")
        self._connection.execute(f"ALTER TABLE {new} RENAME TO {quoted(table.name)}")
        where = "WHERE class = ? AND attribute = ?"
        row = (column.kind, table.number, column.attribute)
        self._connection.execute(f"UPDATE dobbin_columns SET kind = ? {where}", row)

    def _mark_references(self, table: Table, column: Column) -> None:
        """Let the references of a column be told from the numbers that it gets."""
        name, of = quoted(column.name), quoted(table.name)
        self._connection.execute(
            f"INSERT INTO dobbin_links SELECT oid, ?, {name} FROM {of} WHERE {name} IS NOT NULL",
            (f".{column.attribute}",),
        )
        self._connection.execute(
            f"UPDATE {of} SET {name} = '{{\"$ref\": ' || {name} || '}}' WHERE {name} IS NOT NULL"
        )

    # -- rows -----------------------------------------------------------------------

    def put(self, table: Table, row: list[Any]) -> None:
        """Add a row, or replace the one with its oid; soon."""
        table.rows.append(row)
        if len(table.rows) >= _ROWS:
            self.flush(table)

    def flush(self, table: Table) -> None:
        """Write the rows of a table."""
        if table.rows:
            rows, table.rows = table.rows, []
            marks = ", ".join("?" * (len(table.columns) + 1))
            self._connection.executemany(
                f"INSERT OR REPLACE INTO {quoted(table.name)} VALUES ({marks})", rows
            )

    def flush_all(self) -> None:
        for table in self._numbers.values():
            self.flush(table)

    def remove(self, table: Table, oid: int) -> None:
        """Remove the row of an object."""
        self.flush(table)
        self._connection.execute(f"DELETE FROM {quoted(table.name)} WHERE oid = ?", (oid,))


_OID: Final = "oid INTEGER PRIMARY KEY REFERENCES dobbin_objects(oid)"


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _declared(name: str, kind: str) -> str:
    if kind.startswith(REFERENCE):
        table = kind[len(REFERENCE) + 1 :] or "dobbin_objects"
        return f"{quoted(name)} INTEGER REFERENCES {quoted(table)}(oid)"
    return f"{quoted(name)} {_TYPES.get(kind, kind)}"


def _common(one: str, other: str) -> str:
    """Return the kind of a column with values of both kinds."""
    if one == other or one == ANY:
        return one
    if {one, other} <= _NUMBERS:
        return "NUMERIC"  # Integers stay exact.
    if one.startswith(REFERENCE) and other.startswith(REFERENCE):
        return REFERENCE
    return ANY


def _free(wanted: str, used: Iterable[str]) -> str:
    """Return a name like *wanted* that is not used: SQLite takes a and A for one."""
    wanted = "".join(c if c.isprintable() else "_" for c in wanted)
    name, number = wanted, 1
    while name.lower() in used:
        number += 1
        name = f"{wanted}_{number}"
    return name
