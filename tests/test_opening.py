"""Opening a database: options, paths that are not there, URIs."""

from __future__ import annotations

import dbm.dumb
import importlib
import shelve
import sys
from typing import TYPE_CHECKING

import pytest
import transaction

import dobbin_like
from dobbin_like import Database, MemoryLog, PersistentDict, TransactionLog, safe
from dobbin_like.exc import LockTimeout, NotALogError, ReadOnlyStorageError
from tests.helpers.steps import in_thread

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def stored(path: Path) -> Path:
    with Database(path) as db, db.transaction():
        db.set_root(PersistentDict(n=1))
    return path


# -- a database by its path -----------------------------------------------------------------


def test_a_database_has_the_options_of_a_log(stored):
    with Database(stored, read_only=True) as db:
        assert db.root["n"] == 1
        with pytest.raises(ReadOnlyStorageError):
            dobbin_like.checkout(db.root)
    with Database(stored, sync=False, lock_timeout=0.01) as db:
        assert db.storage._writing.sync is False
        with TransactionLog(stored) as other:
            other.acquire()
            with pytest.raises(LockTimeout):
                in_thread(db.storage.acquire)


@pytest.mark.parametrize(
    "option", [{"sync": False}, {"lock_timeout": 1}, {"read_only": True}, {"must_exist": True}]
)
def test_the_options_of_a_log_are_not_for_a_storage(option):
    with MemoryLog() as storage, pytest.raises(TypeError, match="for a path"):
        Database(storage, **option)


def test_a_file_that_must_exist_does(path, stored):
    Database(stored, must_exist=True).close()
    missing = path.with_name("missing.log")
    with pytest.raises(FileNotFoundError) as caught:
        Database(missing, must_exist=True)
    assert caught.value.filename == str(missing)
    assert not missing.exists()


def test_a_directory_that_is_not_there_is_told_at_once(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        Database(tmp_path / "data" / "shop.log")
    assert caught.value.filename == str(tmp_path / "data")


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with Database("~/shop.log") as db:
        assert db.storage.path == str(tmp_path / "shop.log")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    with Database("./~/shop.log") as db:
        assert db.storage.path.endswith("~/shop.log")


@pytest.mark.parametrize("make", [Database, TransactionLog, safe.open, dobbin_like.open])
def test_the_name_of_a_database_in_memory_is_no_file(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"MemoryLog\(\).*open\('memory:'\)"):
        make(":memory:")
    assert list(tmp_path.iterdir()) == []
    make("./:memory:").close()


@pytest.mark.parametrize("make", [Database, TransactionLog, safe.open, dobbin_like.open])
@pytest.mark.parametrize("path", ["", b""])
def test_an_empty_path_is_told_as_that(make, path, tmp_path, monkeypatch):
    # It was the working directory, of which the error said that it is one.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the path is empty; is the setting or variable set"):
        make(path)


@pytest.mark.parametrize("write", [Database.backup, Database.snapshot])
def test_an_empty_path_of_a_copy_is_told_as_that(write, tmp_path):
    with Database(tmp_path / "shop.log") as database:
        database.set_root(PersistentDict())
        transaction.commit()
        with pytest.raises(ValueError, match="the path is empty; is the setting or variable set"):
            write(database, "")


@pytest.mark.parametrize("make", [Database, TransactionLog, safe.open])
@pytest.mark.parametrize("uri", ["memory:", "file:shop.log", "postgresql://ann:pw@host/db"])
def test_a_uri_is_no_path(make, uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"a URI .*dobbin_like\.open\(uri\)") as caught:
        make(uri)
    assert "pw" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# -- the files of others --------------------------------------------------------------------


def shelf_of(path, kind):
    """Make a shelf by hand or with the module: not every Python has all."""
    if kind == "dbm.dumb":
        with shelve.Shelf(dbm.dumb.open(str(path))) as shelf:
            shelf["a"] = 1
    elif kind == "Berkeley DB":
        path.with_name(f"{path.name}.db").write_bytes(bytes(12) + b"\x61\x15\x06\0" + bytes(500))
    elif kind == "dbm.ndbm":
        for suffix in "pag", "dir":
            path.with_name(f"{path.name}.{suffix}").write_bytes(b"")
    else:
        path.write_bytes(b"\xce\x9a\x57\x13" + bytes(5000))


@pytest.mark.parametrize("kind", ["dbm.dumb", "Berkeley DB", "dbm.ndbm", "dbm.gnu"])
@pytest.mark.parametrize("flag", ["c", "r", "w"])
def test_a_shelf_is_not_shown_as_an_empty_safe(tmp_path, kind, flag):
    path = tmp_path / "shelf"
    shelf_of(path, kind)
    before = sorted(tmp_path.iterdir())

    with pytest.raises(NotALogError, match=r"a shelf of dbm\..*--from shelve .*\.update\("):
        safe.open(path, flag)

    assert sorted(tmp_path.iterdir()) == before


def test_a_safe_that_is_made_anew_may_stand_beside_a_shelf(tmp_path):
    shelf_of(tmp_path / "shelf", "dbm.dumb")
    safe.open(tmp_path / "shelf", "n").close()


def test_a_safe_may_stand_beside_a_file_with_a_suffix_of_shelves(tmp_path):
    for suffix in "db", "dat", "bak":
        (tmp_path / f"shop.{suffix}").write_bytes(b"SQLite format 3\0" * 100)
    with safe.open(tmp_path / "shop") as kept:
        kept["a"] = 1


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a", b"\xce\x9a\x57\x13", "a shelf of dbm.gnu; dobbin import --from shelve"),
        ("Data.fs", b"FS21", "a file of zodb; dobbin import --from zodb"),
        ("x", b"SHELF-1\n", "a file of durus; dobbin import --from durus"),
        ("x.log", b"2026-01-01 started", "is this the right path"),
    ],
)
def test_a_file_of_others_is_told_with_how_to_read_it(tmp_path, name, content, what):
    path = tmp_path / name
    path.write_bytes(content + bytes(5000))
    for make in Database, safe.open:
        with pytest.raises(NotALogError, match=what):
            make(path)


def test_a_file_of_a_shelf_is_known_by_the_others(tmp_path):
    shelf_of(tmp_path / "shelf", "dbm.dumb")
    with pytest.raises(NotALogError, match=r"--from shelve \S*/shelf new\.log"):
        Database(tmp_path / "shelf.dir")


# -- by its URI -----------------------------------------------------------------------------


def test_a_path_is_a_path(stored, monkeypatch):
    monkeypatch.chdir(stored.parent)
    for where in (stored, str(stored), stored.name, f"./{stored.name}"):
        with dobbin_like.open(where) as db:
            assert db.root["n"] == 1
    with dobbin_like.open("./memory:") as db:
        assert db.storage.path.endswith("memory:")


def test_a_file_by_its_uri(stored, monkeypatch):
    monkeypatch.chdir(stored.parent)
    for rest in (str(stored), f"//{stored}", f"//localhost{stored}", "data.log"):
        with dobbin_like.open(f"file:{rest}") as db:
            assert db.root["n"] == 1


def test_characters_of_a_path_are_quoted(tmp_path):
    with dobbin_like.open(f"file:{tmp_path}/a%3Fb%20%25.log") as db:
        assert db.storage.path == f"{tmp_path}/a?b %.log"


def test_options_are_in_the_query(stored):
    uri = f"file:{stored}?read_only=yes&guard=0&allow=shop.*&allow=till.*&lock_timeout=1.5"
    with dobbin_like.open(uri, guard=True) as db:
        assert db.storage.read_only
        assert db.storage._writing.lock_timeout == 1.5
        assert db._store.graph.guard
        assert tuple(db._store.graph.classes.policy.allow) == ("shop.*", "till.*")


def test_memory_is_a_new_database(path):
    with dobbin_like.open("memory:") as first, dobbin_like.open("memory:?guard=no") as second:
        first.run(lambda: first.set_root(PersistentDict()))
        assert second.root is None


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("file:", "expected file:///path"),
        ("file:/x.log#1", "quoted"),
        ("file://host/x.log", "a file of the host host"),
        ("file:/x.log?sync=maybe", "sync=maybe, expected yes or no"),
        ("file:/x.log?lock_timeout=soon", "lock_timeout=soon, expected seconds"),
        ("file:/x.log?synch=no", "unknown option synch, expected one of guard, lock_timeout"),
        ("postgresql://host/db?freshness=often", "freshness=often, expected seconds"),
        ("postgresql://host/db?patience=", "patience=, expected seconds"),
        ("postgresql://host/db?prepare=perhaps", "prepare=perhaps, expected yes or no"),
        ("postgresql://host/db?guard=chek", "guard=chek, expected yes, no or check"),
        ("memory:name", "has no name"),
        (
            "memory:?sync=no",
            r"^memory:\?sync=no: unknown option sync, expected one of guard, allow$",
        ),
        ("mysql://host/db", r"unknown scheme mysql, expected one of file, memory.*\./mysql"),
    ],
)
def test_what_is_wrong_is_told(uri, what):
    with pytest.raises((ValueError, TypeError), match=what):
        dobbin_like.open(uri)


def test_another_package_can_bring_a_storage(tmp_path, monkeypatch):
    (tmp_path / "shop_storage.py").write_text(
        "from dobbin_like import MemoryLog\n"
        "uris = []\n"
        "def storage(uri):\n"
        "    uris.append(uri)\n"
        "    return MemoryLog()\n"
    )
    about = tmp_path / "shop_storage-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: shop_storage\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[dobbin_like.storages]\nshop = shop_storage:storage\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()

    with dobbin_like.open("shop://host/db?region=eu&guard=no") as db:
        assert isinstance(db.storage, MemoryLog)
        assert not db._store.graph.guard
    assert sys.modules["shop_storage"].uris == ["shop://host/db?region=eu"]
    del sys.modules["shop_storage"]
