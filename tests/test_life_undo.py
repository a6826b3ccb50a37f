"""Undo: what a transaction changed is as it was before, unless it was changed again."""

from __future__ import annotations

import pickle
import sys
import types
import uuid
from typing import Any

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like import (
    ConflictError,
    Database,
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentSet,
    TransactionLog,
    TransactionNotFound,
    UndoConflictError,
    UndoError,
    WriteConflictError,
    checkout,
)
from dobbin_like.exc import (
    CommittingError,
    PastDroppedError,
    ReadOnlyStorageError,
    UnloadedClassError,
)
from dobbin_like.history import undo as undo_module
from dobbin_like.history.undo import _find
from tests.helpers.steps import in_thread
from tests.helpers.things import Thing


class Counter(Persistent):
    """Counts up; the differences are what counts."""

    def __init__(self) -> None:
        self.count = 0

    @staticmethod
    def _p_resolve_conflict(old, saved, new):
        return {**saved, "count": saved["count"] + new["count"] - old["count"]}


class Stubborn(Thing):
    @staticmethod
    def _p_resolve_conflict(old, saved, new):
        raise ConflictError


class Wrong(Thing):
    @staticmethod
    def _p_resolve_conflict(old, saved, new):
        return "merged"


def change(obj: Any, **attributes: Any) -> int:
    """Set attributes in a transaction of their own; return its tid."""
    checkout(obj)
    for name, value in attributes.items():
        setattr(obj, name, value)
    transaction.commit()
    return obj._p_jar.tid


def elect(database: Database, root: Any) -> Any:
    database.set_root(root)
    transaction.commit()
    return root


def undo(database: Database, tid: int) -> int:
    database.undo(tid)
    transaction.commit()
    return database.tid


# -- taking back ------------------------------------------------------------------


def test_what_was_set_is_as_it_was_before(database, again):
    thing = elect(database, Thing(a=1, b=2, c=3))
    checkout(thing)
    thing.a = 10
    thing.new = "new"
    del thing.c
    transaction.commit()

    database.undo(database.tid)

    assert vars(thing) == {"a": 1, "b": 2, "c": 3}
    transaction.commit()
    assert vars(again().root) == {"a": 1, "b": 2, "c": 3}


def test_nothing_is_written_before_the_caller_commits(database):
    thing = elect(database, Thing(a=1))
    tid = change(thing, a=2)
    database.undo(tid)

    assert thing.a == 1
    assert in_thread(lambda: thing.a) == 2
    transaction.abort()
    assert thing.a == 2
    assert database.tid == tid


def test_what_others_changed_since_stays(database):
    thing = elect(database, Thing(a=1, b=1, values=[1]))
    tid = change(thing, a=2)
    change(thing, b=2, new=1)
    undo(database, tid)

    assert vars(thing) == {"a": 1, "b": 2, "values": [1], "new": 1}


def test_what_this_transaction_has_changed_stays(database):
    thing = elect(database, Thing(a=1, b=1, values=[1]))
    tid = change(thing, a=2)
    checkout(thing)
    thing.b = 2
    thing.values.append(2)
    undo(database, tid)

    assert vars(thing) == {"a": 1, "b": 2, "values": [1, 2]}


def test_several_objects_are_taken_back_together(database):
    root = elect(database, Thing(children=[Thing(n=n) for n in range(5)], total=10))
    checkout(root, *root.children)
    for child in root.children:
        child.n += 1
    root.total = 15
    transaction.commit()
    undo(database, database.tid)

    assert [child.n for child in root.children] == list(range(5))
    assert root.total == 10


def test_an_undo_can_be_undone(database):
    thing = elect(database, Thing(a=1))
    tid = change(thing, a=2)
    back = undo(database, tid)
    assert thing.a == 1
    again = undo(database, back)
    assert thing.a == 2
    undo(database, again)
    assert thing.a == 1


def test_what_is_as_it_was_before_needs_no_undoing(database):
    thing = elect(database, Thing(a=1, b=1))
    tid = change(thing, a=2)
    change(thing, a=1)
    before = len(database.storage)
    undo(database, tid)

    assert thing.a == 1
    assert len(database.storage) == before


def test_objects_that_were_made_stay_and_nothing_leads_to_them(database):
    root = elect(database, Thing())
    tid = change(root, child=Thing(x=1))
    child = root.child
    undo(database, tid)

    assert not hasattr(root, "child")
    assert (child.x, len(database)) == (1, 2)
    assert database.get(1) is child


def test_an_object_that_was_let_go_is_the_same_object_again(database, again):
    child = Thing(x=1)
    root = elect(database, Thing(child=child))
    tid = change(root, child=None)
    undo(database, tid)

    assert root.child is child
    assert again().root.child.x == 1


def test_mutable_values_are_taken_back_and_are_the_objects_own(database):
    thing = elect(database, Thing(values=[1, [2]], other=0))
    checkout(thing)
    thing.values[1].append(3)
    transaction.commit()
    tid = database.tid
    database.undo(tid)
    thing.values.append(4)
    transaction.commit()

    assert thing.values == [1, [2], 4]
    with pytest.raises(RuntimeError):
        thing.values.append(5)


def test_two_attributes_that_were_one_value_are_one_again(database, again):
    both = [1]
    thing = elect(database, Thing(a=both, b=both))
    checkout(thing)
    thing.b = [*thing.a, 2]
    transaction.commit()
    undo(database, database.tid)
    other = again().root
    checkout(other)

    assert other.a is other.b


def test_volatile_attributes_stay(database):
    thing = elect(database, Thing(a=1))
    tid = change(thing, a=2)
    checkout(thing)
    thing._v_seen = 1
    database.undo(tid)

    assert (thing.a, thing._v_seen) == (1, 1)


# -- dicts and sets -------------------------------------------------------------------


def test_a_key_is_taken_back_and_other_keys_stay(database):
    root = elect(database, PersistentDict(a=1, b=2, c=3))
    checkout(root)
    root.update(a=10, new=1)
    del root["b"]
    transaction.commit()
    tid = database.tid
    checkout(root)
    root.update(c=30, later=1)
    transaction.commit()
    undo(database, tid)

    assert dict(root) == {"a": 1, "b": 2, "c": 30, "later": 1}


def test_a_key_that_was_changed_again_is_a_conflict(database):
    root = elect(database, PersistentDict(a=1, b=[]))
    checkout(root)
    root["a"] = 2
    transaction.commit()
    tid = database.tid
    checkout(root)
    root["a"] = 3
    transaction.commit()

    with pytest.raises(UndoConflictError, match=r"\._items\['a'\] of PersistentDict oid 0"):
        database.undo(tid)


def test_members_of_a_set_are_taken_back_and_others_stay(database):
    root = elect(database, PersistentSet("abc"))
    checkout(root)
    root.add("d")
    root.discard("a")
    transaction.commit()
    tid = database.tid
    checkout(root)
    root.add("e")
    root.discard("b")
    transaction.commit()
    undo(database, tid)

    assert set(root) == set("ace")


def test_the_items_of_a_list_are_one_value(database):
    root = elect(database, PersistentList("a"))
    checkout(root)
    root.append("b")
    transaction.commit()
    tid = database.tid
    checkout(root)
    root.append("c")
    transaction.commit()

    with pytest.raises(UndoConflictError, match="_items of PersistentList"):
        database.undo(tid)
    undo(database, database.tid)
    undo(database, tid)
    assert list(root) == ["a"]


# -- conflicts ------------------------------------------------------------------------


def test_what_was_changed_again_is_a_conflict_and_nothing_changes(database):
    root = elect(database, Thing(first=Thing(a=1), second=Thing(a=1)))
    checkout(root.first, root.second)
    root.first.a = root.second.a = 2
    transaction.commit()
    tid = database.tid
    later = change(root.second, a=3)

    with pytest.raises(UndoConflictError) as caught:
        database.undo(tid)

    error = caught.value
    assert isinstance(error, ConflictError)
    assert (error.class_name, error.oid, error.attribute) == ("Thing", root.second._p_oid, "a")
    assert (error.base_serial, error.serial) == (tid, later)
    assert "run the transaction again" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert root.first.a == 2
    before = len(database.storage)
    transaction.commit()
    assert (root.first.a, len(database.storage)) == (2, before)


def test_an_attribute_that_was_deleted_since_is_a_conflict(database):
    thing = elect(database, Thing(a=1))
    tid = change(thing, a=2)
    checkout(thing)
    del thing.a
    transaction.commit()

    with pytest.raises(UndoConflictError):
        database.undo(tid)


def test_what_this_transaction_has_changed_again_is_a_conflict(database):
    thing = elect(database, Thing(a=1))
    tid = change(thing, a=2)
    checkout(thing)
    thing.a = 3

    with pytest.raises(UndoConflictError, match="by a later transaction, or by this one"):
        database.undo(tid)
    assert thing.a == 3


def test_retry_loops_give_up(database):
    thing = elect(database, Thing(a=1))
    tid = change(thing, a=2)
    change(thing, a=3)
    rounds = 0

    with pytest.raises(UndoConflictError):  # noqa: PT012
        for attempt in transaction.manager.attempts(3):
            with attempt:
                rounds += 1
                database.undo(tid)
    transaction.abort()

    assert rounds == 3


def test_undoing_the_newest_first_never_conflicts(database):
    thing = elect(database, Thing(a=0))
    done = [change(thing, a=number) for number in range(1, 5)]
    for tid in reversed(done):
        undo(database, tid)

    assert thing.a == 0


def test_a_class_that_resolves_conflicts_decides(database):
    counter = elect(database, Counter())
    first = change(counter, count=1)
    change(counter, count=11)
    undo(database, first)

    assert counter.count == 10


def test_a_resolution_that_is_refused_is_a_conflict_and_one_that_is_wrong_an_error(database):
    root = elect(database, Thing(stubborn=Stubborn(a=1), wrong=Wrong(a=1)))
    refused, wrong = change(root.stubborn, a=2), change(root.wrong, a=2)
    change(root.stubborn, a=3)
    change(root.wrong, a=3)

    with pytest.raises(UndoConflictError, match="its resolution was refused"):
        database.undo(refused)
    with pytest.raises(TypeError, match="expected a state dict"):
        database.undo(wrong)


def test_what_others_commit_meanwhile_is_a_conflict_at_commit(database):
    thing = elect(database, Thing(a=1))
    tid = change(thing, a=2)
    database.undo(tid)
    in_thread(change, thing)  # changes nothing
    in_thread(lambda: change(thing, a=3))

    with pytest.raises(WriteConflictError):
        transaction.commit()
    transaction.abort()
    assert thing.a == 3


# -- what can't be undone ----------------------------------------------------------------


def test_the_election_of_the_root_can_not_be_undone(database):
    elect(database, Thing(a=1))

    with pytest.raises(UndoError, match="set the root"):
        database.undo(database.tid)


def test_a_failed_transaction_can_not_be_undone(database):
    thing = elect(database, Thing(a=1))
    checkout(thing)
    in_thread(lambda: change(thing, a=2))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    change(thing, a=3)
    (failed,) = [each.tid for each in database.transactions() if each.failed]

    with pytest.raises(UndoError, match="it failed"):
        database.undo(failed)


def test_a_transaction_that_changed_no_object_can_not_be_undone(database):
    elect(database, Thing(a=1))
    storage = database.storage
    storage.acquire()
    logged = storage.append(storage.tid + 1, [])
    storage.release()
    transaction.begin()
    change(database.root, a=2)

    with pytest.raises(UndoError, match="it changed no object"):
        database.undo(logged.tid)


def test_a_transaction_that_only_made_objects_can_not_be_undone(database):
    thing = elect(database, Thing(a=1))
    storage = database.storage
    number, data = storage.load(0).number, storage.load(0).data
    storage.acquire()
    logged = storage.append(storage.tid + 1, [(storage.next_oid, number, data)])
    storage.release()
    transaction.begin()
    change(thing, a=2)

    with pytest.raises(UndoError, match="it only made objects"):
        database.undo(logged.tid)
    # The object can't be reached, which is what the fixture's check would find.
    change(thing, child=database.get(1))


def test_what_a_pack_has_changed_of_indexes_can_not_be_undone(database):
    root = elect(database, Thing(a=1, child=Thing(a=2)))
    database.index(Thing, "a")
    change(root, child=None)
    database.pack()
    transaction.begin()
    (last,) = list(database.transactions())[-1:]
    assert "indexes" in last.description
    with pytest.raises(UndoError, match="it changed indexes only"):
        database.undo(last.tid)


def test_an_undo_that_is_interrupted_changes_nothing(database, monkeypatch):
    root = elect(database, Thing(things=[Thing(a=1) for _ in range(4)], other=Thing(a=1)))
    checkout(*root.things)
    for thing in root.things:
        thing.a = 2
    transaction.commit()
    tid = database.tid
    checkout(root.other, root.things[1])
    root.other.a = root.things[1].b = 3
    apply, left = undo_module._apply, [2]

    def interrupted(*args):
        left[0] -= 1
        apply(*args)
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(undo_module, "_apply", interrupted)
    with pytest.raises(KeyboardInterrupt):
        database.undo(tid)
    assert [thing.a for thing in root.things] == [2] * 4
    assert (root.other.a, root.things[1].b) == (3, 3)
    monkeypatch.undo()
    database.undo(tid)
    transaction.commit()
    assert [thing.a for thing in root.things] == [1] * 4
    assert (root.other.a, root.things[1].b) == (3, 3)


def test_a_tid_that_is_not_there_is_told_apart_from_one_that_is_not_seen_yet(database, again):
    thing = elect(database, Thing(a=1))
    tid = change(thing, a=2)
    for unknown in (tid - 1, 5, 0, -1):
        with pytest.raises(TransactionNotFound, match="none has this tid"):
            database.undo(unknown)
    with pytest.raises(TransactionNotFound, match="begin a transaction"):
        database.undo(tid + 1)
    other = again()
    checkout(other.root)
    other.root.a = 3
    other.transaction_manager.commit()
    with pytest.raises(TransactionNotFound, match="begin a transaction"):
        database.undo(other.tid)
    transaction.begin()
    undo(database, other.tid)
    assert thing.a == 2


def test_nothing_is_undone_in_a_database_that_is_only_read(database, path):
    thing = elect(database, Thing(a=1))
    tid = change(thing, a=2)
    manager = transaction.TransactionManager()
    storage = TransactionLog(path, read_only=True)
    reader = Database(storage, transaction_manager=manager)
    with reader, pytest.raises(ReadOnlyStorageError):
        reader.undo(tid)


def test_nothing_is_undone_inside_a_commit(database):
    counter = elect(database, Thing(a=1))
    tid = change(counter, a=2)
    caught = []

    class Value:
        def __reduce__(self):
            try:
                database.undo(tid)
            except CommittingError as error:
                caught.append(error)
            return int, ()

    checkout(counter)
    counter.value = Value()
    transaction.commit()

    assert caught


def test_an_object_whose_class_is_gone_is_not_undone(database, again):
    module = types.ModuleType("undo_shop")
    sys.modules["undo_shop"] = module
    exec("from dobbin_like import Persistent\nclass Cart(Persistent): pass", vars(module))
    cart = module.Cart()
    elect(database, Thing(cart=cart))
    tid = change(cart, total=1)
    del sys.modules["undo_shop"]
    other = again()

    with pytest.raises(UnloadedClassError):
        other.undo(tid)


class Packed:
    def __init__(self, storage, since):
        self._storage = storage
        self.complete_since = since

    def __getattr__(self, name):
        return getattr(self._storage, name)


def test_what_packing_has_dropped_can_not_come_back(database):
    thing = elect(database, Thing(a=1))
    kept = change(thing, a=2)
    after = change(thing, a=3)
    packed = Packed(database.storage, kept)

    with pytest.raises(PastDroppedError) as caught:
        _find(packed, kept, after)
    assert (caught.value.undone, caught.value.tid) == (kept, kept - 1)
    assert f"transaction {kept} can't be undone: what there was before" in str(caught.value)
    assert _find(packed, after, after).tid == after


# -- against a model ------------------------------------------------------------------------


@given(data=st.data())
def test_undo_does_what_a_model_of_attributes_says(tmp_path, data):
    """Each transaction sets or deletes one attribute; undone are any of them, in any order."""
    path = tmp_path / f"{uuid.uuid4()}.log"
    manager = transaction.TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as database:
        things = [Thing() for _ in range(2)]
        database.set_root(Thing(things=things))
        manager.commit()
        model: list[dict[str, int]] = [{}, {}]
        done: list[tuple[int, int, str, Any, Any]] = []
        for number in range(data.draw(st.integers(1, 12))):
            if done and data.draw(st.booleans()):
                tid, which, name, old, new = data.draw(st.sampled_from(done))
                now = model[which].get(name)
                if now not in (old, new):
                    with pytest.raises(UndoConflictError):
                        database.undo(tid)
                    manager.abort()
                    continue
                database.undo(tid)
                old, new = now, old
                if old == new:
                    manager.abort()
                    continue
            else:
                which, name = data.draw(st.integers(0, 1)), data.draw(st.sampled_from("ab"))
                old = model[which].get(name)
                new = number if old is None or data.draw(st.booleans()) else None
                checkout(things[which])
                if new is None:
                    delattr(things[which], name)
                else:
                    setattr(things[which], name, new)
            manager.commit()
            model[which][name] = new
            if new is None:
                del model[which][name]
            done.append((database.tid, which, name, old, new))
            assert [vars(thing) for thing in things] == model
