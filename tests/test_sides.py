"""What conflict errors tell of both sides: who was first, and the values of the two."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import weakref
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import transaction
from transaction.interfaces import TransientError

from dobbin_like import (
    BTree,
    BTreeSet,
    ConflictError,
    Database,
    PersistentCounter,
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    ReadConflictError,
    TransactionLog,
    UndoConflictError,
    WriteConflictError,
    checkout,
)
from dobbin_like.exc import Difference, Sides
from dobbin_like.objects.values.refs import ref_of
from dobbin_like.objects.values.short import short
from dobbin_like.testing.steps import in_thread
from tests.helpers.processes import in_child
from tests.helpers.things import Thing
from tests.helpers.transactions import commit_elsewhere


def set_root(database, root):
    database.set_root(root)
    transaction.commit()
    return root


def conflict_of(database, own, theirs, path=None):
    """Return the error of *own*, while another thread, or with *path* a process, does *theirs*."""
    root = database.root
    checkout(root)
    own(root)

    def change(root):
        transaction.get().user = "ada"
        transaction.get().note("closed for the summer")
        checkout(root)
        theirs(root)

    def in_another_process():
        transaction.manager.manager.clearSynchs()
        transaction.begin()
        with Database(TransactionLog(path, sync=False)) as other:
            change(other.root)
            transaction.commit()

    if path is None:
        commit_elsewhere(lambda: change(root))
    else:
        assert in_child(in_another_process) is None
    with pytest.raises(ConflictError) as caught:
        transaction.commit()
    transaction.abort()
    return caught.value


def set_open(value):
    return lambda root: setattr(root, "open", value)


@pytest.mark.parametrize("by_process", [False, True])
def test_an_error_tells_who_was_first_and_the_values_of_both(database, path, by_process):
    set_root(database, Thing(open=True, name="library"))
    error = conflict_of(database, set_open("half"), set_open(False), path if by_process else None)

    assert type(error) is (ReadConflictError if by_process else WriteConflictError)
    assert isinstance(error, TransientError)
    user, description, time, differences, more, _ = error.sides
    assert (user, description, more) == ("ada", "closed for the summer", 0)
    assert time == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=error.serial)
    assert differences == (Difference(".open", "True", "False", "'half'"),)
    assert str(error).splitlines()[1:] == [
        f"  theirs was committed at {time:%Y-%m-%d %H:%M:%S} UTC by 'ada': "
        "'closed for the summer'",
        "  .open: old True, theirs False, own 'half'",
    ]


@pytest.mark.parametrize("by_process", [False, True])
def test_an_error_tells_that_another_one_has_set_the_root(database, path, by_process):
    def theirs():
        with Database(path) if by_process else contextlib.nullcontext(database) as other:
            other.set_root(Thing())
            transaction.commit()

    database.set_root(Thing())
    in_thread(theirs)
    who = "another process or instance" if by_process else "another thread"
    with pytest.raises(ConflictError) as caught:
        transaction.commit()
    transaction.abort()

    error = caught.value
    assert error.serial == database.tid == database.root._p_serial
    assert str(error).splitlines()[0] == (
        f"the root was set by {who} (tid {error.serial}) after this transaction saw that there "
        "was none; run the transaction again"
    )


@pytest.mark.parametrize("make", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_is_copied_with_its_sides(database, make):
    set_root(database, Thing(open=True))
    error = conflict_of(database, set_open(2), set_open(3))
    made = make(error)

    assert made.sides == error.sides
    assert str(made) == str(error)


def test_an_error_of_another_process_can_be_sent_here(database, path):
    set_root(database, Thing(open=True))

    def lose():
        transaction.manager.manager.clearSynchs()
        transaction.begin()
        with Database(TransactionLog(path, sync=False)) as other:
            return conflict_of(other, set_open(object), set_open(3))

    error = in_child(lose)

    assert error.sides.user == "ada"
    assert error.sides.differences == (Difference(".open", "True", "3", "<class 'object'>"),)


APART = {
    "dict": ({1: 1}, lambda d: d.update(a=1), lambda d: d.update(b=1), "PersistentDict"),
    "dict, one takes out": ({1: 1}, lambda d: d.pop(1), lambda d: d.update(b=1), "PersistentDict"),
    "set": ({1}, lambda s: s.add(2), lambda s: s.add(3), "PersistentSet"),
    "list": ([1], lambda x: x.append(2), lambda x: x.append(3), "PersistentList"),
}


@pytest.mark.parametrize("kind", APART)
@pytest.mark.parametrize("by_process", [False, True])
def test_a_collection_that_would_merge_is_named(database, path, kind, by_process):
    value, own, theirs, expected = APART[kind]
    set_root(database, Thing(x=value))
    error = conflict_of(
        database, lambda r: own(r.x), lambda r: theirs(r.x), path if by_process else None
    )
    assert error.sides.hint == f"a {expected} in the place of .x would merge the two"
    assert str(error).endswith(f"\n  {error.sides.hint}")
    assert pickle.loads(pickle.dumps(error)).sides.hint == error.sides.hint


def test_a_collection_that_would_merge_in_the_place_of_an_item_is_named(database):
    set_root(database, PersistentDict(x={}))
    error = conflict_of(database, lambda r: r["x"].update(a=1), lambda r: r["x"].update(b=1))
    assert error.sides.hint == "a PersistentDict in the place of ['x'] would merge the two"


@pytest.mark.parametrize("kind", APART)
def test_a_collection_that_is_named_merges(database, kind):
    value, own, theirs, expected = APART[kind]
    made = {"PersistentDict": PersistentDict, "PersistentSet": PersistentSet}
    set_root(database, made.get(expected, PersistentList)(value))
    checkout(database.root)
    own(database.root)
    commit_elsewhere(lambda: (checkout(database.root), theirs(database.root)))
    transaction.commit()


@pytest.mark.parametrize(
    ("value", "own", "theirs"),
    [
        ({1: 1}, lambda d: d.update({1: 2}), lambda d: d.update({1: 3, 2: 2})),
        ({1: 1}, lambda d: d.update({2: 2}), lambda d: d.pop(3, None)),
        ([1], lambda x: x.append(2), lambda x: x.insert(0, 2)),
        ([1], lambda x: x.append(2), lambda x: x.clear()),
        ({1}, lambda s: s.discard(1), lambda s: s.discard(1)),
        (deque([1]), lambda x: x.append(2), lambda x: x.append(3)),
    ],
)
def test_where_nothing_would_merge_nothing_is_named(database, value, own, theirs):
    set_root(database, Thing(x=value, n=0))

    def count(r):
        theirs(r.x)
        r.n += 1

    assert conflict_of(database, lambda r: own(r.x), count).sides.hint == ""


def test_what_only_one_has_changed_is_told_after_what_both_have(database, path):
    def own(root):
        root.a, root.both = 1, 1
        root.mine = "new"

    def theirs(root):
        root.b, root.both = 2, 2
        del root.gone

    for other in (None, path):
        if database.root is None:
            set_root(database, Thing(a=0, b=0, both=0, gone=0))
        else:
            checkout(database.root)
            vars(database.root).update(a=0, b=0, both=0, gone=0)
            del database.root.mine
            transaction.commit()
        checkout(database.root)
        database.root.mine = "old"
        transaction.commit()
        error = conflict_of(database, own, theirs, other)
        assert set(error.sides.differences[1:]) == {
            Difference(".a", "0", "0", "1"),
            Difference(".b", "0", "2", "0"),
            Difference(".gone", "0", "<absent>", "0"),
            Difference(".mine", "'old'", "'old'", "'new'"),
        }
        assert error.sides.differences[0] == Difference(".both", "0", "2", "1")
        checkout(database.root)
        database.root.gone = 0
        transaction.commit()


MERGED: dict[str, Any] = {
    "a key that both have set": (
        PersistentDict(tea=1, ink=1),
        lambda root: root.update(tea=2, ink=5),
        lambda root: root.update(tea=3),
        Difference("['tea']", "1", "3", "2"),
    ),
    "a key that both have added": (
        PersistentDict(),
        lambda root: root.update(tea=2),
        lambda root: root.update(tea=3),
        Difference("['tea']", "<absent>", "3", "2"),
    ),
    "a key that one has removed": (
        PersistentDict(tea=1),
        lambda root: root.pop("tea"),
        lambda root: root.update(tea=3),
        Difference("['tea']", "1", "3", "<absent>"),
    ),
    "a key of a large dict": (
        PersistentDict.fromkeys(range(5000), 0),
        lambda root: root.update({4000: 1, 7: 5}),
        lambda root: root.update({4000: 2, 9: 5}),
        Difference("[4000]", "0", "2", "1"),
    ),
    "a key among many that were added": (
        PersistentDict(),
        lambda root: root.update(dict.fromkeys(range(2000), 1)),
        lambda root: root.update({1500: 2}),
        Difference("[1500]", "<absent>", "2", "1"),
    ),
    "a value that was changed in its place": (
        PersistentDict({n: [n] for n in range(500)}),
        lambda root: root[400].append("own"),
        lambda root: root[400].append("theirs"),
        Difference("[400]", "[400]", "[400, 'theirs']", "[400, 'own']"),
    ),
    "an attribute of a dict": (
        PersistentDict(tea=1),
        lambda root: setattr(root, "title", "own"),
        lambda root: setattr(root, "title", "theirs"),
        Difference(".title", "<absent>", "'theirs'", "'own'"),
    ),
    "a member that both have added": (
        PersistentSet(),
        lambda root: root.add("tea"),
        lambda root: root.add("tea"),
        Difference("{'tea'}", "<absent>", "'tea'", "'tea'"),
    ),
    "an item of a list": (
        PersistentList("abc"),
        lambda root: root.__setitem__(1, "own"),
        lambda root: root.__setitem__(1, "theirs"),
        Difference("[1]", "'b'", "'theirs'", "'own'"),
    ),
    "an item of a large list": (
        PersistentList(range(5000)),
        lambda root: root.__setitem__(1, "own"),
        lambda root: root.__setitem__(1, "theirs"),
        Difference("[1]", "1", "'theirs'", "'own'"),
    ),
    "an item of a queue": (
        PersistentQueue(["first", "second"]),
        lambda root: root.get(),
        lambda root: root.get(),
        Difference("[0]", "'first'", "<absent>", "<absent>"),
    ),
    "an attribute of a counter": (
        PersistentCounter(1),
        lambda root: setattr(root, "title", "own"),
        lambda root: setattr(root, "title", "theirs"),
        Difference(".title", "<absent>", "'theirs'", "'own'"),
    ),
    "a key of a tree": (
        BTree(dict.fromkeys(range(500), "old")),
        lambda root: root.update({5: "own", 400: 1}),
        lambda root: root.update({5: "theirs", 300: 1}),
        Difference("[5]", "'old'", "'theirs'", "'own'"),
    ),
    "a member of a tree": (
        BTreeSet(range(500)),
        lambda root: root.remove(5),
        lambda root: root.remove(5),
        Difference("[5]", "None", "<absent>", "<absent>"),
    ),
}


@pytest.mark.parametrize("by_process", [False, True])
@pytest.mark.parametrize("case", MERGED)
def test_what_could_not_be_merged_is_told_by_its_name(database, path, case, by_process):
    root, own, theirs, expected = MERGED[case]
    set_root(database, copy.copy(root))
    error = conflict_of(database, own, theirs, path if by_process else None)

    assert error.sides.differences == (expected,)
    assert error.sides.user == "ada"
    assert f"\n  {expected}" in str(error)


@pytest.mark.parametrize("by_process", [False, True])
def test_who_depends_on_what_it_has_read_is_told_what_has_changed(database, path, by_process):
    set_root(database, Thing(open=True))
    other = path if by_process else None
    error = conflict_of(database, lambda root: root.open, set_open(False), other)

    assert error.sides.differences == (Difference(".open", "True", "False", "True"),)


@pytest.mark.parametrize("by_process", [False, True])
def test_who_depends_on_a_large_dict_is_told_the_key(database, path, by_process):
    set_root(database, PersistentDict.fromkeys(range(5000), 0))
    other = path if by_process else None

    def decide(root):
        checkout(root, exclusive=True)
        root["mine"] = 1

    error = conflict_of(database, decide, lambda root: root.update({4000: 2}), other)

    assert set(error.sides.differences) == {
        Difference("['mine']", "<absent>", "<absent>", "1"),
        Difference("[4000]", "0", "2", "0"),
    }


def test_who_depends_on_a_whole_tree_is_told_who_has_changed_a_part(database):
    set_root(database, BTree(dict.fromkeys(range(500), 0)))
    before = database.tid
    error = conflict_of(
        database,
        lambda root: checkout(root, exclusive=True),
        lambda root: root.update({5: 1}),
    )

    assert (error.class_name, error.base_serial, error.sides.user) == ("BTree", before, "ada")
    assert error.serial == database.tid > before


def test_who_sets_the_root_second_is_told_who_was_first(database, again):
    other = again()
    other.transaction_manager.begin()
    other.set_root(Thing())
    other.transaction_manager.get().user = "ada"
    database.set_root(Thing())
    other.transaction_manager.commit()
    with pytest.raises(ReadConflictError) as caught:
        transaction.commit()

    assert caught.value.sides.user == "ada"
    assert caught.value.sides.differences == ()


def test_an_undo_tells_what_is_there_and_what_it_would_put_back(database):
    root = set_root(database, PersistentDict(shelf="left"))
    for where in ("right", "attic"):
        checkout(root)
        root["shelf"] = where
        transaction.get().user = f"for the {where}"
        transaction.commit()
        if where == "right":
            moved = database.tid
    with pytest.raises(UndoConflictError) as caught:
        database.undo(moved)

    assert caught.value.sides.user == "for the attic"
    assert caught.value.sides.differences == (
        Difference("['shelf']", "'right'", "'attic'", "'left'"),
    )
    assert str(caught.value).endswith("\n  ['shelf']: old 'right', theirs 'attic', own 'left'")


def test_an_undo_of_what_its_transaction_has_changed_names_nobody(database):
    root = set_root(database, Thing(where="left"))
    for where in ("right", "attic"):
        checkout(root)
        root.where = where
        if where == "right":
            transaction.commit()
    with pytest.raises(UndoConflictError) as caught:
        database.undo(database.tid)

    assert caught.value.sides == Sides(
        differences=(Difference(".where", "'right'", "'attic'", "'left'"),)
    )


def test_an_undo_in_a_tree_tells_the_key(database):
    root = set_root(database, BTree(dict.fromkeys(range(500), 0)))
    for value in (1, 2):
        checkout(root)
        root[5] = value
        transaction.commit()
        if value == 1:
            changed = database.tid
    with pytest.raises(UndoConflictError) as caught:
        database.undo(changed)

    assert caught.value.sides.differences == (Difference("[5]", "1", "2", "0"),)


# -- what is told is of the moment of the conflict -------------------------------------


def lose_in_two_phases(database, own, theirs):
    """Return an error that nobody has asked yet: no commit() has formatted it."""
    checkout(database.root)
    own(database.root)
    theirs()
    (manager,) = transaction.get()._resources
    with pytest.raises(ConflictError) as caught:
        manager.tpc_begin(transaction.get())
    manager.tpc_abort(transaction.get())
    transaction.abort()
    return caught.value


def test_later_commits_do_not_change_what_is_told(database, again):
    set_root(database, Thing(open=1))
    other = again()

    def commit(value):
        with other.transaction_manager as current:
            current.user = f"user {value}"
            checkout(other.root)
            other.root.open = value

    error = lose_in_two_phases(database, set_open(2), lambda: commit(3))
    commit(4)
    transaction.begin()
    assert database.root.open == 4

    assert error.sides.user == "user 3"
    assert error.sides.differences == (Difference(".open", "1", "3", "2"),)


def test_what_is_known_is_told_after_the_database_is_closed(database, again):
    set_root(database, Thing(open=1))
    other = again()

    def commit():
        with other.transaction_manager:
            checkout(other.root)
            other.root.open = 3

    error = lose_in_two_phases(database, set_open(2), commit)
    database.close()

    assert error.sides == Sides(differences=(Difference(".open", "1", "<not read>", "2"),))


def test_nothing_is_read_for_it_while_the_lock_is_held(path):
    class Watched(TransactionLog):
        loads: list[bool] = []  # noqa: RUF012  one is made

        def load(self, oid, at=None):
            self.loads.append(self.held)
            return super().load(oid, at)

    with Database(Watched(path, sync=False)) as database:
        set_root(database, Thing(open=1))
        database.storage.loads.clear()
        error = conflict_of(database, set_open(2), set_open(3), path)

        assert error.sides.differences == (Difference(".open", "1", "3", "2"),)
        assert set(database.storage.loads) == {False}


def test_an_error_that_was_asked_keeps_no_state_in_memory(database):
    root = set_root(database, Thing(open=Value(1)))
    error = conflict_of(database, set_open(Value(2)), set_open(Value(3)))
    error.with_traceback(None)
    value = weakref.ref(root.open)
    checkout(root)
    root.open = None
    transaction.commit()
    transaction.begin()
    gc.collect()

    assert value() is None
    assert error.sides.differences == (
        Difference(".open", "Value(number=1)", "Value(number=3)", "Value(number=2)"),
    )


def test_of_an_object_that_was_packed_away_the_own_side_is_told(database, again):
    root = set_root(database, PersistentDict(page=Thing(lines=1)))
    other = again()
    page = root["page"]
    checkout(page)
    page.lines = 2
    with other.transaction_manager as current:
        current.user = "ada"
        checkout(other.root, other.root["page"])
        other.root.pop("page").lines = 3
    other.pack()
    with pytest.raises(ReadConflictError) as caught:
        transaction.commit()

    assert caught.value.sides == Sides(differences=(Difference(".lines", "1", "<not read>", "2"),))


# -- values --------------------------------------------------------------------------------


@dataclass
class Value:
    number: Any


@dataclass(slots=True)
class Slotted:
    inside: Any


@dataclass
class Bad:
    number: int

    def __repr__(self):
        raise KeyError(self.number)


class Plain:
    pass


def test_a_repr_that_fails_does_not_break_the_error(database):
    set_root(database, Thing(open=Bad(1)))
    error = conflict_of(database, set_open(Bad(2)), set_open(Bad(3)))

    told = "<Bad: repr() raised KeyError>"
    assert error.sides.differences == (Difference(".open", told, told, told),)


def test_a_comparison_that_fails_leaves_out_what_it_compares(database):
    class Unequal:
        def __reduce__(self):
            raise KeyError

    set_root(database, Thing(open=1, other=1))

    def own(root):
        root.open = Unequal()
        root.other = Unequal()

    error = conflict_of(database, own, set_open(2))

    assert error.sides.user == "ada"
    assert "run the transaction again" in str(error)


def test_persistent_objects_are_told_by_class_and_oid_and_not_loaded(database, again):
    children = [Thing(number=number) for number in range(3)]
    set_root(database, Thing(child=children[0], rest=[Slotted(child) for child in children]))
    other = again()
    other.transaction_manager.begin()
    root = other.root
    first, last = root.child, root.rest[2].inside
    assert type(last) is type(last)._p_faces.ghost
    checkout(root)
    root.child = last
    root.rest = Value([first, last, Thing()])

    def change():
        checkout(database.root)
        database.root.child = None

    commit_elsewhere(change)
    with pytest.raises(ReadConflictError) as caught:
        other.transaction_manager.commit()
    other.transaction_manager.abort()

    name, oid = "Thing oid", ref_of(last).oid
    child, rest = caught.value.sides.differences
    assert child == Difference(".child", f"{name} {ref_of(first).oid}", "None", f"{name} {oid}")
    assert rest.old.startswith(f"[Slotted(inside={name}")
    assert rest.own == f"Value(number=[{name} {ref_of(first).oid}, {name} {oid}, a new Thing])"
    assert type(first) is type(first)._p_faces.ghost
    assert type(last) is type(last)._p_faces.ghost


def test_only_the_first_differences_are_told_and_the_rest_is_counted(database):
    names = [f"name_{number:02}" for number in range(30)]
    set_root(database, Thing(**dict.fromkeys(names, 0)))

    def change(value):
        return lambda root: [setattr(root, name, value) for name in names]

    error = conflict_of(database, change(1), change(2))

    assert len(error.sides.differences) == 8
    assert error.sides.more == 22
    assert str(error).endswith("\n  and 22 more")


def test_where_a_long_value_differs_is_told_if_it_is_found(database):
    items = list(range(500))
    set_root(database, Thing(items=items, other={n: n for n in items}))

    def change(value):
        def set_all(root):
            root.items.append(value)
            root.other[400] = value

        return set_all

    error = conflict_of(database, change("own"), change("theirs"))

    whole = "{0: 0, 1: 1, 2: 2, 3: 3, ... 500 in all}"
    assert error.sides.differences == (
        Difference(".items[500]", "<absent>", "'theirs'", "'own'"),
        Difference(".other", whole, whole, whole),
    )


def test_a_version_that_is_large_is_not_read(database, path):
    set_root(database, Thing(prices={"tea": 1, "ink": 1}, text="x" * 100_000))
    error = conflict_of(database, lambda root: root.prices.update(tea=2), set_open(3), path)

    assert error.sides.user == "ada"
    assert error.sides.differences == (Difference(".prices['tea']", "1", "<not read>", "2"),)


class Wide:
    def __init__(self):
        self.number = 1

    def __repr__(self):
        return "two\nlines " + "x" * 500


SHORT = [
    (1, "1"),
    ("tea", "'tea'"),
    ("x" * 5000, None),
    (b"x" * 5000, None),
    (bytearray(b"x" * 5000), None),
    (10**5000, "<int of 16610 bits>"),
    ([], "[]"),
    ((1,), "(1)"),
    ([1, [2, [3, [4]]]], "[1, [2, [3, [... 1 in all]]]]"),
    (list(range(9)), "[0, 1, 2, 3, ... 9 in all]"),
    ({"a": {1}}, "{'a': {1}}"),
    (frozenset({1}), "{1}"),
    (Value(1), "Value(number=1)"),
    (Value([1]), "Value(number=[1])"),
    (Slotted(1), "Slotted(inside=1)"),
    (deque([1]), "deque[1]"),
    (Plain(), "Plain()"),
    (Wide(), None),
    (datetime(2026, 1, 2), "datetime.datetime(2026, 1, 2, 0, 0)"),
]


@pytest.mark.parametrize("case", range(len(SHORT)))
def test_a_text_of_a_value_is_short_and_on_one_line(case):
    value, expected = SHORT[case]
    text = short(value)

    assert len(text) <= 80
    assert "\n" not in text
    assert expected in (None, text)


def test_a_value_that_contains_itself_has_a_text():
    value: list[Any] = []
    value.append(value)

    assert short(value) == "[[[[... 1 in all]]]]"


def test_a_conflict_that_a_program_raises_tells_nothing_of_sides():
    error = ConflictError(failed="no")

    assert error.sides == Sides()
    assert str(error).endswith("run the transaction again")
