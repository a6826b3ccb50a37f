"""Arguments of a wrong type: refused at the call, by name, with what was found and is expected."""

from __future__ import annotations

from datetime import timedelta

import pytest
import transaction

import dobbin_like
from dobbin_like import (
    Database,
    JobQueue,
    MemoryLog,
    OverlayLog,
    Persistent,
    PersistentDict,
    TransactionLog,
    safe,
)
from dobbin_like.check import check_database, check_log
from dobbin_like.exc import NoSuchAttributeError, NotPersistentError
from dobbin_like.repair import repair
from dobbin_like.upkeep.copy import copy_transactions
from dobbin_like.upkeep.follow import Follower
from dobbin_like.upkeep.restore import restore


class Thing(Persistent):
    def __init__(self, number=0):
        self.number = number


@pytest.fixture
def filled(database):
    with database.transaction():
        database.set_root(PersistentDict(thing=Thing(1), jobs=JobQueue()))
    return database


def nothing():
    pass


FLAGS = {
    "sync of a database": ("sync", lambda path, v: Database(path, sync=v)),
    "read_only of a database": ("read_only", lambda path, v: Database(path, read_only=v)),
    "must_exist of a database": ("must_exist", lambda path, v: Database(path, must_exist=v)),
    "guard of a database": ("guard", lambda path, v: Database(path, guard=v)),
    "sync of open()": ("sync", lambda path, v: dobbin_like.open(path, sync=v)),
    "sync of a log": ("sync", lambda path, v: TransactionLog(path, sync=v)),
    "read_only of a log": ("read_only", lambda path, v: TransactionLog(path, read_only=v)),
    "read_only of a log in memory": (
        "read_only",
        lambda _path, v: MemoryLog().another(read_only=v),
    ),
    "writeback of a safe": ("writeback", lambda path, v: safe.open(path, writeback=v)),
    "prefix of a restore": ("prefix", lambda path, v: restore(path, path, prefix=v)),
}


@pytest.mark.parametrize("value", ["no", "False", None, 2, 0.5, []], ids=repr)
@pytest.mark.parametrize("which", FLAGS)
def test_a_flag_is_true_or_false(tmp_path, which, value):
    name, call = FLAGS[which]
    with pytest.raises(TypeError, match=rf"^{name}=.* is of type \w+, expected True"):
        call(tmp_path / "log", value)


def test_a_misspelt_guard_is_not_taken_as_true(tmp_path):
    with pytest.raises(TypeError, match=r"^guard='chekc' .* expected True, False or 'check'$"):
        Database(tmp_path / "log", guard="chekc")


@pytest.mark.parametrize("value", [0, 1])
def test_a_flag_may_be_a_number_that_is_one(tmp_path, value):
    Database(tmp_path / "log", sync=value, guard=value).close()


TIMES = {
    "lock_timeout of a database": lambda path, v: Database(path, lock_timeout=v),
    "lock_timeout of a log": lambda path, v: TransactionLog(path, lock_timeout=v),
    "lock_timeout of a log in memory": lambda _path, v: MemoryLog(lock_timeout=v),
    "lock_timeout of an overlay": lambda _path, v: OverlayLog(MemoryLog(), lock_timeout=v),
    "lock_timeout of a restore": lambda path, v: restore(path, path, lock_timeout=v),
    "timeout of a safe": lambda path, v: safe.open(path, timeout=v),
}


@pytest.mark.parametrize("which", TIMES)
def test_a_time_to_wait_is_a_number_of_seconds(tmp_path, which):
    name = which.split()[0]
    for value in "5", [1], True:
        with pytest.raises(TypeError, match=rf"^{name} is a \w+, expected seconds as a number$"):
            TIMES[which](tmp_path / "log", value)
    for value in -1, float("nan"):
        with pytest.raises(ValueError, match=rf"^{name} is (-1|nan), expected "):
            TIMES[which](tmp_path / "log", value)
    assert not list(tmp_path.iterdir())


OPENING = {
    "path": TransactionLog,
    "filename": safe.open,
    "base": OverlayLog,
    "transaction_manager": lambda v: Database(MemoryLog(), transaction_manager=v),
    "allow": lambda v: Database(MemoryLog(), allow=v),
}


@pytest.mark.parametrize("name", OPENING)
def test_what_is_opened_is_told_by_name(name):
    with pytest.raises(TypeError, match=rf"^{name}=5 is of type int, expected "):
        OPENING[name](5)


def test_a_share_is_a_number(tmp_path):
    for call in Database, safe.open:
        with pytest.raises(TypeError, match=r"^pack_when='half' is of type str, expected a share"):
            call(tmp_path / "log", pack_when="half")


def test_what_was_refused_can_be_opened_then(tmp_path):
    storage = MemoryLog()
    for options in {"guard": "x"}, {"allow": 5}, {"transaction_manager": 5}:
        with pytest.raises(TypeError):
            Database(storage, **options)
    Database(storage).close()


CALLS = {
    "db.run(retry)": ("retry", lambda db, v: db.run(nothing, retry=v)),
    "db.run(note)": ("note", lambda db, v: db.run(nothing, note=v)),
    "db.run(user)": ("user", lambda db, v: db.run(nothing, user=v)),
    "db.run(on_retry)": ("on_retry", lambda db, v: db.run(nothing, on_retry=v)),
    "db.transactional(retry)": ("retry", lambda db, v: db.transactional(retry=v)),
    "db.transactional(note)": ("note", lambda db, v: db.transactional(note=v)),
    "db.transactional(on_retry)": ("on_retry", lambda db, v: db.transactional(on_retry=v)),
    "db.transaction(note)": ("note", lambda db, v: db.transaction(note=v)),
    "db.transaction(user)": ("user", lambda db, v: db.transaction(user=v)),
    "db.transactions(newest_first)": (
        "newest_first",
        lambda db, v: db.transactions(newest_first=v),
    ),
    "db.at(moment)": ("moment", lambda db, v: db.at(v)),
    "db.undo(tid)": ("tid", lambda db, v: db.undo(v)),
    "db.transactions(since)": ("since", lambda db, v: db.transactions(since=v)),
    "db.transactions(until)": ("until", lambda db, v: db.transactions(until=v)),
    "db.changes(since)": ("since", lambda db, v: db.changes(since=v)),
    "db.changes(wait)": ("wait", lambda db, v: db.changes(wait=v)),
    "db.wait(tid)": ("tid", lambda db, v: db.wait(v)),
    "db.wait(timeout)": ("timeout", lambda db, v: db.wait(db.tid, v)),
    "db.outcome(tid)": ("tid", lambda db, v: db.outcome(v)),
    "db.census(progress)": ("progress", lambda db, v: db.census(v)),
    "db.instances(progress)": ("progress", lambda db, v: db.instances(Thing, v)),
    "db.referrers(progress)": ("progress", lambda db, v: db.referrers(1, v)),
    "db.walk(progress)": ("progress", lambda db, v: db.walk(0, v)),
    "db.index(unique)": ("unique", lambda db, v: db.index(Thing, "number", unique=v)),
    "db.index(progress)": ("progress", lambda db, v: db.index(Thing, "number", progress=v)),
    "db.preload(progress)": ("progress", lambda db, v: db.preload(v)),
    "db.migrate(progress)": ("progress", lambda db, v: db.migrate(Thing, v)),
    "db.migrate(batch)": ("batch", lambda db, v: db.migrate(Thing, batch=v)),
    "db.backup(progress)": ("progress", lambda db, v: db.backup(db.storage.path + "2", v)),
    "db.snapshot(target)": ("target", lambda db, v: db.snapshot(v)),
    "db.snapshot(progress)": ("progress", lambda db, v: db.snapshot(MemoryLog(), None, v)),
    "db.pack(dry_run)": ("dry_run", lambda db, v: db.pack(dry_run=v)),
    "db.pack(keep)": ("keep", lambda db, v: db.pack(keep=v)),
    "db.pack(progress)": ("progress", lambda db, v: db.pack(progress=v)),
    "check_database(database)": ("database", lambda _db, v: check_database(v)),
    "check_log(log)": ("log", lambda _db, v: check_log(v)),
    "check_log(progress)": ("progress", lambda db, v: check_log(db.storage, v)),
    "repair(path)": ("path", lambda _db, v: repair(v, "x")),
    "repair(to)": ("to", lambda db, v: repair(db.storage.path, v)),
    "restore(backup)": ("backup", lambda db, v: restore(v, db.storage.path)),
    "restore(path)": ("path", lambda db, v: restore(db.storage.path, v)),
    "copy_transactions(source)": ("source", lambda _db, v: copy_transactions(v, MemoryLog())),
    "copy_transactions(target)": ("target", lambda db, v: copy_transactions(db.storage, v)),
    "Follower(source)": ("source", lambda db, v: Follower(v, db.storage.path + "2")),
    "Follower(path)": ("path", lambda db, v: Follower(db.storage, v)),
}


@pytest.mark.parametrize("which", CALLS)
def test_an_argument_is_told_by_name_with_what_was_found(filled, which):
    name, call = CALLS[which]
    tid = filled.storage.tid
    with pytest.raises(TypeError, match=rf"^{name}(=\[.*\] is of type| is a) list, expected "):
        call(filled, [1])
    assert filled.storage.tid == tid


def test_how_long_a_pack_keeps_what_was_may_be_told_by_a_timedelta_as_the_error_says(filled):
    expected = "expected a tid or a datetime with a time zone, or a timedelta$"
    with pytest.raises(TypeError, match=rf"^keep='7d' is of type str, {expected}"):
        filled.pack(keep="7d")
    filled.pack(keep=timedelta(days=7))


def test_an_option_that_is_not_there_is_told_where_the_function_is_decorated(filled):
    with pytest.raises(TypeError, match=r"^retries is no option .* one of retry, note, user, on_"):
        filled.transactional(retries=3)


def test_no_user_and_no_note_may_be_given_as_none(filled):
    with filled.transaction(user=None, note=None):
        pass
    filled.run(nothing, user=None, note=None)


def test_the_class_of_an_index_that_is_dropped_is_asked_for(filled):
    with pytest.raises(NotPersistentError, match=r"a int was given, .*: db\.drop_index\(C.*, 'n"):
        filled.drop_index(5, "number")


def test_what_a_job_has_failed_with_is_a_text(filled):
    filled.run(lambda: filled.root["jobs"].put(1) and None)
    claim = filled.root["jobs"].claim(timeout=0)
    with pytest.raises(TypeError, match=r"^error=ValueError\(5\) is of type ValueError"):
        claim.nack(ValueError(5))
    claim.nack("5")


# -- attributes and items of what a program holds -------------------------------------


@pytest.fixture
def some_safe(tmp_path):
    with safe.open(tmp_path / "safe") as opened:
        yield opened


OPTIONS = "sync", "lock_timeout", "read_only"


@pytest.mark.parametrize("name", [*OPTIONS, "guard", "pack_when", "allow", "must_exist"])
def test_an_option_can_not_be_set_later(filled, name):
    with pytest.raises(NoSuchAttributeError, match=rf"Database has no {name}: .*\(path, {name}="):
        setattr(filled, name, True)
    if name in OPTIONS:
        with pytest.raises(NoSuchAttributeError, match=rf"Log has no .*{name}: .*\(path, {name}="):
            setattr(filled.storage, name, True)
    assert not filled.storage.read_only


def test_an_option_of_a_safe_can_not_be_set_later(some_safe):
    with pytest.raises(NoSuchAttributeError, match=r"open\(path, writeback=\.\.\.\)"):
        some_safe.writeback = True


def test_what_is_no_attribute_is_not_set(filled, some_safe):
    with pytest.raises(NoSuchAttributeError, match=r"Database has no foo: .*; checkout\(db\.root"):
        filled.foo = 1
    with pytest.raises(NoSuchAttributeError, match=r"Database has no query: db\.find\("):
        filled.query = 1
    with pytest.raises(NoSuchAttributeError, match=r"Safe has no foo: .* safe\['foo'\]"):
        some_safe.foo = 1
    with pytest.raises(NoSuchAttributeError, match=r"TransactionLog has no foo: "):
        filled.storage.foo = 1
    assert not any("foo" in vars(each) for each in (filled, filled.storage, some_safe))


def test_a_method_is_replaced_by_a_function_only(filled, monkeypatch):
    with pytest.raises(NoSuchAttributeError, match="Database has no setter of pack: it is a meth"):
        filled.pack = 0.5
    with monkeypatch.context() as patch:
        patch.setattr(filled, "pack", lambda: "packed")
        assert filled.pack() == "packed"
    assert str(filled.pack(dry_run=True)) != "packed"


def test_a_subclass_may_have_attributes():
    class Mine(Database):
        def __init__(self, storage):
            super().__init__(storage)
            self.users = []

    with Mine(MemoryLog()) as mine:
        assert mine.users == []
        mine.more = 1


def test_a_database_with_the_type_of_its_root_is_made():
    with Database[Thing](MemoryLog()) as database:
        assert isinstance(database, Database)


def test_a_database_says_where_its_items_are(filled):
    with pytest.raises(TypeError, match=r"no items; .*: db\.root\['thing'\]$"):
        filled["thing"]
    with pytest.raises(TypeError, match=r"no items; .*: db\.root\['thing'\] = \.\.\.$"):
        filled["thing"] = 1
    with pytest.raises(TypeError, match=r"no items; .*: db\.root\['thing'\]$"):
        del filled["thing"]
    with pytest.raises(TypeError, match=r"nothing is in it; .*: db\.root$"):
        assert "thing" in filled
    with pytest.raises(TypeError, match=r"iterated over; .*: db\.root; db\.walk\(\) yields"):
        list(filled)
    assert filled
    assert len(filled) > 2
    transaction.abort()
