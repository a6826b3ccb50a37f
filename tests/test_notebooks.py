"""What a notebook shows of a database and of its collections."""

from __future__ import annotations

import sys
import types
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import transaction

from dobbin_like.collections import BTree, BTreeSet
from dobbin_like.database import Database
from dobbin_like.persistent import (
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    checkout,
)
from tests.helpers import processes


class Thing(Persistent):
    def __repr__(self) -> str:
        raise AssertionError


class Table(HTMLParser):
    """The caption and the cells of a table, row by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.caption, self.rows, self._cell = "", list[list[str]](), ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in ("table", "caption", "thead", "tbody", "tr", "th", "td")
        if tag == "tr":
            self.rows.append([])
        self._cell = ""

    def handle_data(self, data: str) -> None:
        self._cell += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            self.caption = self._cell
        elif tag in ("td", "th"):
            self.rows[-1].append(self._cell)


@pytest.mark.parametrize(
    ("made", "caption", "rows"),
    [
        (
            PersistentDict({"<b>": 1}),
            "PersistentDict, 1 value",
            [["key", "value"], ["'<b>'", "1"]],
        ),
        (
            PersistentList("ab"),
            "PersistentList, 2 items",
            [["", "item"], ["0", "'a'"], ["1", "'b'"]],
        ),
        (PersistentSet([7]), "PersistentSet, 1 member", [["member"], ["7"]]),
        (PersistentQueue([7]), "PersistentQueue, 1 item", [["item"], ["7"]]),
        (BTree(a=1), "BTree, 1 value", [["key", "value"], ["'a'", "1"]]),
        (BTreeSet([2, 1]), "BTreeSet, 2 members", [["member"], ["1"], ["2"]]),
        (PersistentDict(), "PersistentDict, 0 values", [["key", "value"]]),
    ],
)
def test_a_collection_is_a_table(path: Path, made: Any, caption: str, rows: Any) -> None:
    with Database(path, sync=False) as database:
        database.set_root(PersistentList([made]))
        for _ in range(2):  # New, and in shared state.
            found = Table(database.root[0]._repr_html_())
            assert (found.caption, found.rows) == (caption, rows)
            transaction.commit()


def test_of_a_large_collection_the_beginning_is_shown(path: Path) -> None:
    found = Table(PersistentList(range(1000))._repr_html_())

    assert len(found.rows) == 22
    assert found.rows[-2:] == [["19", "19"], ["...", "..."]]


def test_no_object_is_loaded_to_be_shown(path: Path) -> None:
    with Database(path, sync=False) as database:
        database.set_root(PersistentList([Thing(), PersistentDict(Thing=Thing())]))
        transaction.commit()
    with Database(path, read_only=True) as database:
        rows = Table(database.root._repr_html_()).rows
        database._repr_html_()

        assert rows[1:] == [["0", "Thing oid 1"], ["1", "PersistentDict oid 2"]]
        assert database.stats().loads == 1


def test_a_database_is_a_table(path: Path) -> None:
    database = Database(path, sync=False)

    assert Table(database._repr_html_()).rows[3] == ["snapshot", "empty"]
    database.set_root(PersistentList())
    transaction.commit()
    checkout(database.root)
    found = Table(database._repr_html_())
    assert found.caption == f"Database {path}"
    cells = dict(found.rows)
    assert (cells["root"], cells["objects"]) == ("PersistentList oid 0", "1")
    assert cells["snapshot"].endswith(f"(tid {database.tid})")
    assert cells["changes"] == "1 object checked out, not committed"
    transaction.abort()
    with database.at(database.tid) as past:
        assert dict(Table(past._repr_html_()).rows)["for reading"].startswith("this is the past")
    database.close()
    assert Table(database._repr_html_()).rows == [["closed"]]


def test_the_cell_of_a_class_is_run_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = types.ModuleType("notebook_with_a_class")
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)

    def run_cell(answer: str) -> None:
        cell = f"class Note(Persistent):\n    def answer(self): return {answer!r}"
        exec(cell, vars(notebook) | {"Persistent": Persistent}, vars(notebook))

    run_cell("before")
    with Database(path, sync=False) as database:
        with database.transaction():
            database.set_root(PersistentList([notebook.Note()]))
        run_cell("now")
        with database.transaction() as notes:
            checkout(notes, notes[0])
            notes[0].text = "changed"
            notes.append(notebook.Note())
        assert [note.answer() for note in database.root] == ["before", "now"]
    with Database(path, sync=False) as database:
        assert [note.answer() for note in database.root] == ["now", "now"]
        assert database.root[0].text == "changed"


def test_who_shows_nothing_imports_nothing_for_it(path: Path) -> None:
    program = f"""if True:
        import sys, transaction
        from dobbin_like import Database, PersistentList
        with Database({str(path)!r}) as database:
            database.set_root(PersistentList())
            transaction.commit()
            late = {{"html", "dobbin_like.objects.values.tables"}}
            print(database.root, sys.modules.keys() & late)
    """
    shown = processes.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=processes.python_path(),
    )

    assert shown.stdout == "PersistentList([]) set()\n"
