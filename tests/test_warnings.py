"""Warnings show a line of the program, however many frames of packages lie between."""

from __future__ import annotations

import ast
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import transaction

import dobbin_like
from dobbin_like import Database, MemoryLog, Persistent, PersistentDict, checkout
from dobbin_like.exc import LostChangeWarning, MainModuleWarning, UncommittedChangesWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

Here = type("Here", (Persistent,), {"__module__": "__main__"})


@pytest.fixture
def db(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(sys.modules["__main__"], "Here", Here, raising=False)
    with Database(MemoryLog()) as database:
        yield database
        transaction.abort()


def in_block(db: Database, change: Callable[[], object]) -> None:
    with db.transaction():
        change()


def in_commit(db: Database, change: Callable[[], object]) -> None:
    change()
    transaction.commit()


def in_manager(db: Database, change: Callable[[], object]) -> None:
    with transaction.manager:
        change()


def in_run(db: Database, change: Callable[[], object]) -> None:
    db.run(change)


def in_savepoint(db: Database, change: Callable[[], object]) -> None:
    with db.transaction():
        change()
        transaction.savepoint()


WAYS = [in_block, in_commit, in_manager, in_run, in_savepoint]


@pytest.mark.parametrize("commit", WAYS)
def test_a_class_of_main_is_told_at_the_commit(db: Database, commit: Callable[..., None]) -> None:
    with pytest.warns(MainModuleWarning) as caught:
        commit(db, lambda: db.set_root(Here()))

    assert [told.filename for told in caught] == [__file__]


@pytest.mark.parametrize("commit", WAYS)
def test_a_lost_change_is_told_at_the_next_commit(
    db: Database, commit: Callable[..., None]
) -> None:
    kept: list[Any] = ["x"]
    in_block(db, lambda: db.set_root(PersistentDict(names=kept)))
    kept.append("lost")

    def change() -> None:
        checkout(db.root)
        db.root["n"] = 1

    with pytest.warns(LostChangeWarning) as caught:
        commit(db, change)

    assert [told.filename for told in caught] == [__file__]


def test_what_is_lost_at_a_close_is_told_there(db: Database) -> None:
    db.set_root(PersistentDict())
    with pytest.warns(UncommittedChangesWarning) as caught:
        db.close()

    assert [told.filename for told in caught] == [__file__]


def test_a_module_of_the_package_is_passed_over_wherever_its_file_is() -> None:
    from dobbin_like.warn_outside import warn_outside

    code = compile("warn_outside('no line', UserWarning)", "inner", "exec")
    namespace = {"__name__": "dobbin_like.inner", "warn_outside": warn_outside}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(code, namespace)

    assert [told.filename for told in caught] == [__file__]


def test_every_warning_is_issued_by_the_one_module() -> None:
    found = [
        path.name
        for path in Path(dobbin_like.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "warn"
        if isinstance(node.value, ast.Name) and node.value.id == "warnings"
    ]

    assert set(found) == {"warn_outside.py"}
