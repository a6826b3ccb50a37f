"""Shapes: names of attributes stand once in the log, and no state is taken for another."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest
import transaction
from transaction import TransactionManager

from dobbin_like import Database, Persistent, PersistentDict, PersistentFile, checkout
from dobbin_like.check import check_log
from dobbin_like.exc import IntegrityError, NotStorableError
from dobbin_like.name_tables import NameTables
from dobbin_like.objects.codec.classes import SHAPE_LIMIT, ClassTable
from dobbin_like.objects.codec.policy import Policy
from dobbin_like.objects.codec.state_reader import StateReader
from dobbin_like.objects.values.shapes import shape_of
from dobbin_like.objects.values.short import ABSENT
from dobbin_like.repair import repair
from dobbin_like.storage import MemoryLog, OverlayLog, TransactionLog
from tests.helpers.processes import python_path, run


class Thing(Persistent):
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Other(Persistent):
    """Another class, whose objects may have the same attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Merging(Thing):
    @staticmethod
    def _p_resolve_conflict(old, saved, new):
        return saved | {name: value for name, value in new.items() if old.get(name) != value}


class Elsewhere(Thing):
    """What a class was moved to."""


def commit(obj: Any, **attributes: Any) -> None:
    checkout(obj)
    vars(obj).update(attributes)
    transaction.commit()


def shapes_of(storage: TransactionLog, cls: type) -> list[tuple[str, ...]]:
    """Return the attributes of the shapes that the log has for a class."""
    number = storage.names.class_number(cls.__module__, cls.__qualname__)
    return [names for _, of, names in storage.names.rows().shapes if of == number]


@pytest.fixture
def thing(database):
    thing = Thing(x=1, y=[2])
    database.set_root(thing)
    transaction.commit()
    return thing


# -- the tables -----------------------------------------------------------------------


def test_a_shape_is_found_by_number_and_by_class_and_names() -> None:
    table = NameTables([(1, "m", "A")], [(2, 1, ("x", "y")), (3, 1, ())])

    assert table.shape(2) == (1, ("x", "y"))
    assert table.shape_number(1, ("x", "y")) == 2
    assert table.shape_number(1, ()) == 3
    assert table.shape(1) is table.shape_number(1, ("y", "x")) is table.shape_number(9, ()) is None
    assert (table.shape_count(1), table.shape_count(2)) == (2, 0)
    assert (table.class_name(1), table.class_name(2)) == (("m", "A"), None)
    assert table.next_number == 4
    again = NameTables(*table.rows())
    assert (again.rows(), again.next_number) == (table.rows(), 4)


def test_shapes_that_are_added_again_change_nothing() -> None:
    table = NameTables([(1, "m", "A")], [(2, 1, ("x",))])
    before = table.rows()

    table.update([], [(2, 1, ("x",))])

    assert table.rows() == before
    assert table.shape_count(1) == 1


def test_a_class_that_is_renamed_keeps_its_shapes() -> None:
    table = NameTables([(1, "old", "A")], [(2, 1, ("x",))])

    table.update([(1, "new", "A")])

    assert table.shape_number(1, ("x",)) == 2
    assert table.class_name(1) == ("new", "A")


@pytest.fixture
def logged():
    return NameTables([(1, __name__, "Thing")])


@pytest.fixture
def classes(logged):
    return ClassTable(Policy(()), logged)


def test_new_shapes_and_classes_get_different_numbers(classes) -> None:
    numbers = [
        classes.shape_number(1, ("x",)),
        classes.number(Other),
        classes.shape_number(1, ("y",)),
        classes.shape_number(3, ("x",)),
        classes.shape_number(1, ("x",)),
    ]

    assert numbers == [2, 3, 4, 5, 2]
    assert classes.new_shapes == [(2, 1, ("x",)), (4, 1, ("y",)), (5, 3, ("x",))]


def test_a_shape_that_did_not_get_into_the_log_is_taken_back(classes) -> None:
    assert classes.shape_number(1, ("x",)) == 2
    classes.discard()

    assert classes.new_shapes == []
    assert classes.shape_number(1, ("y",)) == 2
    assert classes.shape_number(1, ("x",)) == 3


def test_what_was_taken_back_may_be_in_the_log_after_all(classes, logged) -> None:
    number, shape = classes.number(Other), classes.shape_number(1, ("x",))
    logged.update(classes.new, classes.new_shapes)
    classes.discard()

    assert (classes.number(Other), classes.shape_number(1, ("x",))) == (number, shape)
    assert classes.new == classes.new_shapes == []


def test_a_shape_counts_from_the_moment_it_is_in_the_log(classes, logged) -> None:
    number = classes.shape_number(1, ("x",))
    assert classes.shape(number) is None
    logged.update([], classes.new_shapes)
    classes.confirm()

    assert classes.shape(number)[:2] == (1, ("x",))
    assert classes.shape_number(1, ("x",)) == number
    assert classes.new_shapes == []


def test_names_come_back_as_the_interpreter_keeps_them(classes, logged) -> None:
    name = "".join(["attri", "bute"])
    logged.update([], [(2, 1, (name,))])

    names = classes.shape(2).names

    assert names[0] is sys.intern("attribute")


@pytest.mark.parametrize("logged_first", [0, 10, SHAPE_LIMIT])
def test_a_class_has_so_many_shapes_and_no_more(classes, logged, logged_first) -> None:
    for index in range(100):
        if index == logged_first:
            logged.update([], classes.new_shapes)
            classes.confirm()
        number = classes.shape_number(1, (f"a{index}",))
        assert (number == 1) == (index >= SHAPE_LIMIT)

    logged.update([], classes.new_shapes)
    assert logged.shape_count(1) == SHAPE_LIMIT
    assert classes.shape_number(1, ("a0",)) == 2


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 66, 1000])
def test_values_get_their_names_however_many(count) -> None:
    names = tuple(f"größe {number}" for number in range(count))
    values = tuple(range(count))

    shape = shape_of(7, names)

    assert (shape.class_number, shape.names) == (7, names)
    assert list(shape.state(values).items()) == list(zip(names, values, strict=True))
    assert shape.state(values) is not shape.state(values)


@pytest.mark.parametrize("name", [1, None, Name("x")])
def test_names_of_another_type_make_no_shape(classes, name) -> None:
    assert classes.shape_number(1, (name,)) == 1
    assert classes.new_shapes == []


# -- what is stored -------------------------------------------------------------------


def test_names_of_attributes_stand_in_the_log_once(database, storage, path):
    root = PersistentDict()
    database.set_root(root)
    for start in range(0, 50, 10):
        checkout(root)
        for number in range(start, start + 10):
            root[number] = Thing(conspicuous=number)
        transaction.commit()

    assert path.read_bytes().count(b"conspicuous") == 1
    assert shapes_of(storage, Thing) == [("conspicuous",)]


def test_states_come_back_whatever_their_attributes(database, storage, again):
    """More sets of attributes than a class has shapes, in transactions with several each."""
    root = PersistentDict()
    database.set_root(root)
    transaction.commit()
    for start in range(0, 100, 7):
        checkout(root)
        for number in range(start, start + 7):
            names = {
                f"a{number % (7 + index)}_{number}_{index}": index for index in range(number % 4)
            }
            root[number] = Thing(**names, number=number, values=[number])
        transaction.commit()

    assert len(shapes_of(storage, Thing)) == SHAPE_LIMIT
    there = again().root
    for number, thing in root.items():
        assert list(vars(there[number]).items()) == list(vars(thing).items())
        assert there[number].values == [number]


def test_the_order_of_attributes_is_kept(thing, storage, again):
    checkout(thing)
    thing.one, thing.two = Thing(a=1, b=2), Thing(b=2, a=1)
    transaction.commit()

    root = again().root
    assert list(vars(root.one).items()) == [("a", 1), ("b", 2)]
    assert list(vars(root.two).items()) == [("b", 2), ("a", 1)]
    assert ("b", "a") in shapes_of(storage, Thing)


def test_an_attribute_that_comes_later_and_one_that_goes(thing, storage, again):
    other = again()
    assert other.root.y == [2]
    commit(thing, later="z")
    checkout(thing)
    del thing.x
    transaction.commit()

    other.transaction_manager.begin()
    for root in (other.root, again().root):
        assert vars(root) == {"y": [2], "later": "z"}
    assert shapes_of(storage, Thing) == [("x", "y"), ("x", "y", "later"), ("y", "later")]


def test_older_versions_have_the_attributes_they_had(thing, storage, again):
    other = again()
    ghost = other.root
    commit(thing, later="z")

    assert vars(ghost) == {"x": 1, "y": [2]}
    other.transaction_manager.begin()
    assert vars(ghost) == {"x": 1, "y": [2], "later": "z"}
    assert storage.load(0).number != storage.load(0, storage.load(0).tid - 1).number


def test_two_classes_with_the_same_attributes_are_kept_apart(thing, again):
    commit(thing, other=Other(x=2, y=[3]), none=Other(), nothing=Thing())

    root = again().root
    assert [type(root.other).__name__, root.other.y] == ["Other", [3]]
    assert isinstance(root.none, Other)
    assert isinstance(root.nothing, Thing)
    assert vars(root.none) == vars(root.nothing) == {}


def test_a_name_that_is_no_identifier_and_a_lone_surrogate_come_back(thing, again):
    commit(thing, **{"no identifier": 1, "\ud800": 2, "": 3})

    assert list(vars(again().root)) == ["x", "y", "no identifier", "\ud800", ""]


def test_what_is_one_value_stays_one(thing, again):
    shared = [1]
    commit(thing, a=shared, b=shared, me=thing)

    root = again().root
    checkout(root)
    assert root.a is root.b
    assert root.me is root


def test_values_that_are_loaded_while_they_are_stored(thing, again):
    """An arbitrary object can't be guarded: shared state gets the copy that was stored."""
    commit(thing, numbers=Box([1]), again=Thing(box=Box([2])))

    for root in (thing, again().root):
        assert (root.numbers.value, root.again.box.value) == ([1], [2])


class Box:
    def __init__(self, value: Any) -> None:
        self.value = value


@pytest.fixture(autouse=True)
def _boxes_may_be_loaded(monkeypatch):
    resolve = Policy.resolve

    def also_boxes(self, module, qualname):
        return (Box, "") if qualname == "Box" else resolve(self, module, qualname)

    monkeypatch.setattr(Policy, "resolve", also_boxes)


def test_streams_have_shapes_too(thing, storage, again, tmp_path):
    (tmp_path / "source").write_bytes(b"content")
    with (tmp_path / "source").open("rb") as source:
        commit(thing, stream=PersistentFile(source))

    stream = again().root.stream
    stream.open()
    assert stream.read() == b"content"
    stream.close()
    assert len([of for _, of, _ in storage.names.rows().shapes]) == 3


def test_a_savepoint_leaves_no_shape_of_what_was_rolled_back(thing, storage):
    checkout(thing)
    thing.kept = 1
    point = transaction.savepoint()
    thing.dropped = 2
    point.rollback()
    transaction.commit()

    assert shapes_of(storage, Thing) == [("x", "y"), ("x", "y", "kept")]


def test_a_commit_that_fails_leaves_no_shape(thing, storage, again):
    before = storage.names.rows()
    checkout(thing)
    thing.new = Other(a=1)
    thing.bad = lambda: 0
    with pytest.raises(NotStorableError):
        transaction.commit()
    transaction.abort()
    assert storage.names.rows() == before

    # The number is another's now; whoever takes it reads what was written.
    elsewhere = again()
    checkout(elsewhere.root)
    elsewhere.root.theirs = Other(b=2)
    elsewhere.transaction_manager.commit()
    transaction.begin()
    commit(thing, new=Other(a=1))

    assert (vars(thing.new), vars(thing.theirs)) == ({"a": 1}, {"b": 2})
    root = again().root
    assert (vars(root.new), vars(root.theirs)) == ({"a": 1}, {"b": 2})


def test_two_instances_that_find_a_shape_at_once_share_it_or_have_their_own(thing, storage, again):
    commit(thing, one=Thing(), two=Thing())
    other = again()
    checkout(thing.one, other.root.two)
    thing.one.a = 1
    other.root.two.a = 2
    transaction.commit()
    other.transaction_manager.commit()

    transaction.begin()
    other.transaction_manager.begin()
    for root in (thing, other.root, again().root):
        assert (root.one.a, root.two.a) == (1, 2)
    assert shapes_of(storage, Thing).count(("a",)) == 1


def test_a_conflict_between_states_of_different_shapes_is_resolved(database, storage, again):
    root = Merging(x=1)
    database.set_root(root)
    transaction.commit()
    other = again()
    checkout(other.root)
    other.root.theirs = 2
    commit(root, ours=3)
    other.transaction_manager.commit()

    transaction.begin()
    assert vars(root) == vars(again().root) == {"x": 1, "ours": 3, "theirs": 2}
    assert len(shapes_of(storage, Merging)) == 3


def test_a_class_that_was_moved_takes_its_objects_with_it(database, thing, storage, path, again):
    commit(thing, next=Thing(x=5))
    number = storage.names.class_number(__name__, "Thing")
    with TransactionLog(path, sync=False) as log:
        log.acquire()
        moved = log.append(log.tid + 1, [], [(number, __name__, "Elsewhere")])
        log.apply([moved])
        log.release()

    root = again().root
    assert (type(root.next).__name__, root.next.x) == ("Elsewhere", 5)
    assert type(root) is Elsewhere
    other = again()
    checkout(other.root)
    other.root.x = 6
    other.transaction_manager.commit()
    assert again().root.x == 6
    transaction.begin()


def test_shapes_are_found_again_when_positions_were_saved(thing, storage, path, again):
    commit(thing, later=3)
    storage.acquire()
    storage._writing.writer.save()
    storage.release()

    assert vars(again().root) == {"x": 1, "y": [2], "later": 3}
    with TransactionLog(path, read_only=True) as log:
        assert log.names.rows() == storage.names.rows()
        assert log.names.next_number == storage.names.next_number


def test_another_process_reads_and_writes_states_of_a_shape(thing, path, storage):
    commit(thing, next=Thing(x=2))
    program = (
        f"import sys, transaction, {__name__}\n"
        "from dobbin_like import Database, checkout\n"
        "with Database(sys.argv[1]) as database:\n"
        "    root = database.root\n"
        "    assert (root.x, root.y, root.next.x) == (1, [2], 2)\n"
        "    checkout(root.next)\n"
        "    root.next.x, root.next.z = 3, 4\n"
        "    transaction.commit()\n"
    )
    run(
        [sys.executable, "-c", program, path],
        check=True,
        env=python_path(),
    )

    transaction.begin()
    assert vars(thing.next) == {"x": 3, "z": 4}
    assert shapes_of(storage, Thing) == [("x", "y"), ("x", "y", "next"), ("x",), ("x", "z")]


def test_logs_in_memory_have_shapes_and_overlays_go_on_with_those_below(thing, storage):
    before = storage.names.rows()
    overlay = OverlayLog(storage)
    with Database(overlay, transaction_manager=TransactionManager()) as over:
        root = over.root
        checkout(root)
        root.over = Thing(x=1, y=2)
        root.further = Thing(z=3)
        over.transaction_manager.commit()
        assert shapes_of(overlay, Thing) == [("x", "y"), ("x", "y", "over", "further"), ("z",)]
        assert storage.names.rows() == before
        manager = TransactionManager()
        with Database(overlay.another(), transaction_manager=manager) as another:
            assert (another.root.over.y, another.root.further.z, another.root.y) == (2, 3, [2])


def test_a_state_under_a_version_has_its_shape(database, storage, again):
    database.set_root(Versioned())
    transaction.commit()

    assert [names for _, _, names in storage.names.rows().shapes] == [("x", "_p_version")]
    assert vars(again().root) == {"x": 1}


class Versioned(Persistent):
    _p_version = 3

    def __init__(self) -> None:
        self.x = 1


# -- the log in other files ------------------------------------------------------------


@pytest.fixture
def stream(thing, tmp_path):
    """A stream of the root, in front of which something can be dropped, and its content."""
    content = b"content" * 100
    (tmp_path / "source").write_bytes(content)
    commit(thing, dropped=Thing(dropped=list(range(1000))))
    with (tmp_path / "source").open("rb") as source:
        commit(thing, dropped=None, stream=PersistentFile(source))
    return content


def content_of(database: Database) -> Any:
    stream = database.root.stream
    stream.open()
    try:
        return stream.read()
    finally:
        stream.close()


def test_a_packed_log_has_the_shapes_that_something_has(
    database, thing, stream, storage, path, again
):
    names = storage.names.rows()

    assert database.pack().after.revisions == 2

    left = storage.names.rows()
    assert left.classes == names.classes
    assert set(left.shapes) < set(names.shapes)
    transaction.begin()
    commit(thing, next=Thing(x=3), more=Thing(dropped=4))  # Of the last two, one is known again.
    assert storage.names.next_number > names.shapes[-1][0]
    assert check_log(path).ok
    for opened in (database, again()):
        root = opened.root
        assert (root.y, root.next.x, root.more.dropped) == ([2], 3, 4)
        assert content_of(opened) == stream


def test_a_log_is_packed_again_and_again_with_its_streams(database, thing, stream, again):
    number = database.storage.load(thing.stream._p_oid).number

    keys = set()
    for step in range(3):
        transaction.begin()
        commit(thing, step=step)
        database.pack()
        stored = database.storage.load(thing.stream._p_oid)
        assert stored.number == number
        assert database.storage.names.shape(number)[1][0] == "_offset"
        keys.add(stored.data)
    assert len(keys) == 3

    assert content_of(database) == content_of(again()) == stream


def test_what_comes_after_the_kept_moment_brings_its_shapes_later(database, thing, path, again):
    keep = thing._p_serial
    commit(thing, later=Thing(z=1))
    database.rename_class(f"{__name__}.Thing", f"{__name__}.Elsewhere")

    database.pack(keep=keep)

    with TransactionLog(path, read_only=True) as log:
        first, second, third = log.transactions()
    assert [shape for _, _, shape in first.names.shapes] == [("x", "y")]
    assert [shape for _, _, shape in second.names.shapes] == [("x", "y", "later"), ("z",)]
    assert (third.names.shapes, third.names.classes[0][2]) == ((), "Elsewhere")
    root = again().root
    assert (root.__class__, root.later.z, root.y) == (Elsewhere, 1, [2])


def test_a_class_that_was_moved_keeps_its_new_name_in_a_packed_log(database, thing, path, again):
    commit(thing, holder=Thing())
    commit(thing.holder, other=Other(z=1))  # Another transaction than the first that is kept.
    database.rename_class(f"{__name__}.Other", f"{__name__}.Elsewhere")
    transaction.begin()
    commit(thing.holder.other, z=2)

    database.pack()

    check_log(path).raise_if_bad()
    root = again().root
    assert (root.holder.other.z, root.holder.other.__class__) == (2, Elsewhere)


def test_an_instance_that_is_open_follows_to_the_packed_log(database, thing, again):
    other = again()
    assert other.root.x == 1
    commit(thing, next=Thing(z=1))
    database.pack()
    transaction.begin()
    commit(thing, next=Thing(w=2))

    other.transaction_manager.begin()
    assert other.root.next.w == 2
    checkout(other.root)
    other.root.next = Thing(w=3, z=4)
    other.transaction_manager.commit()
    transaction.begin()
    assert (thing.next.w, thing.next.z) == (3, 4)


def test_a_snapshot_has_the_shapes_that_something_has(database, thing, stream, storage, tmp_path):
    names = storage.names.rows()
    in_memory = MemoryLog()

    database.snapshot(tmp_path / "snapshot.log")
    database.snapshot(in_memory)

    for log in (TransactionLog(tmp_path / "snapshot.log"), in_memory):
        with Database(log, transaction_manager=TransactionManager()) as copy:
            left = log.names.rows()
            assert left.classes == names.classes
            assert set(left.shapes) < set(names.shapes)
            assert (copy.root.x, copy.root.y) == (1, [2])
            assert content_of(copy) == stream
            checkout(copy.root)
            copy.root.stream = Thing(new=1)
            copy.transaction_manager.commit()
            assert ("new",) in [row[2] for row in log.names.rows().shapes]
    assert check_log(tmp_path / "snapshot.log").ok


def test_the_past_and_a_snapshot_of_it_have_the_shapes_of_then(database, thing, tmp_path):
    then = thing._p_serial
    commit(thing, z=1)
    del_y(thing)

    with database.at(then) as past:
        assert vars(past.root) == {"x": 1, "y": [2]}
    database.snapshot(tmp_path / "snapshot.log", at=then)

    with Database(tmp_path / "snapshot.log", transaction_manager=TransactionManager()) as copy:
        assert vars(copy.root) == {"x": 1, "y": [2]}
    changed = [revision.changed for revision in database.history(thing)]
    assert changed[:2] == [{"y": ([2], ABSENT)}, {"z": (ABSENT, 1)}]


def del_y(thing: Any) -> None:
    checkout(thing)
    del thing.y
    transaction.commit()


def test_a_change_of_another_shape_is_undone(database, thing, again):
    commit(thing, z=1)
    tid = thing._p_serial
    commit(thing, w=2)

    database.undo(tid)
    transaction.commit()

    assert vars(again().root) == {"x": 1, "y": [2], "w": 2}


def test_a_backup_goes_on_with_the_shapes_that_are_new(database, thing, tmp_path):
    database.backup(tmp_path / "backup.log")
    commit(thing, z=Thing(z=1))
    database.backup(tmp_path / "backup.log")

    with Database(tmp_path / "backup.log", transaction_manager=TransactionManager()) as copy:
        assert copy.storage.names.rows() == database.storage.names.rows()
        assert copy.root.z.z == 1


# -- damage ---------------------------------------------------------------------------


def test_a_repaired_log_has_the_shapes(database, thing, storage, path, tmp_path):
    (tmp_path / "source").write_bytes(b"content")
    with (tmp_path / "source").open("rb") as source:
        commit(thing, next=Thing(z=1), stream=PersistentFile(source))
    commit(thing.next, z=2)
    names = storage.names.rows()
    database.close()

    report = repair(path, tmp_path / "new.log")

    assert report.check.ok
    with Database(TransactionLog(tmp_path / "new.log", read_only=True)) as again:
        assert again.storage.names.rows() == names
        root = again.root
        assert (root.y, root.next.z) == ([2], 2)
        root.stream.open()
        assert root.stream.read() == b"content"


def test_values_whose_names_are_lost_get_names(database, thing, path, tmp_path):
    commit(thing, next=Thing(z=1))
    offset = list(database.storage.transactions())[-1].offset
    database.close()
    data = bytearray(path.read_bytes())
    lost = data.index(b"next", offset)  # the row of the shape
    data[lost - 20 : lost + 4] = bytes(24)
    path.write_bytes(data)

    repair(path, tmp_path / "new.log")

    with TransactionLog(tmp_path / "new.log", read_only=True) as log:
        state = pickle_values(log, 0)
        assert list(state.values())[:2] == [1, [2]]
        assert list(state) == ["lost_0", "lost_1", "lost_2"]


def pickle_values(log: TransactionLog, oid: int) -> Any:
    stored = log.load(oid)
    shape = log.names.shape(stored.number)
    assert shape is None
    return StateReader(log._reading.applied.names).read(stored.number, stored.data)[0]


def write(log: TransactionLog, state: Any, number: int, names: Any) -> None:
    log.acquire()
    classes, shapes = names
    logged = log.append(log.tid + 1, [(0, number, pickle.dumps(state, 5))], classes, shapes)
    log.apply([logged])
    log.release()


THING = (1, __name__, "Thing")
SHAPE = (2, 1, ("x", "y"))


@pytest.mark.parametrize(
    ("state", "number", "text"),
    [
        ((1,), 2, "a state that is a tuple of 1, expected a tuple of 2 values"),
        ((1, 2, 3), 2, "a state that is a tuple of 3, expected a tuple of 2 values"),
        ({"x": 1, "y": 2}, 2, "a state that is a dict, expected a tuple of 2 values"),
        ((1, 2), 1, "a state that is a tuple, expected a dict of attributes"),
        ([1, 2], 2, "a state that is a list, expected a tuple of 2 values"),
    ],
)
def test_a_state_that_does_not_fit_its_shape_is_an_error_with_its_place(
    path, again, state, number, text
):
    with TransactionLog(path, sync=False) as log:
        write(log, state, number, ([THING], [SHAPE]))
        offset = log.load(0).position

    with pytest.raises(IntegrityError, match=text) as caught:
        _ = again().root.x
    assert caught.value.offset == offset
    (problem,) = check_log(path).problems
    assert (problem.invariant, problem.expected) == (8, "one that can be decoded")
    assert text.partition(", ")[2] in problem.found


@pytest.mark.parametrize(
    ("classes", "shapes", "found"),
    [
        ([THING], [(2, 7, ())], "shape 2 of class number 7"),
        ([THING], [SHAPE, (3, 2, ())], "shape 3 of class number 2"),
        ([THING], [(1, 1, ("x", "y"))], "shape 1 of class number 1 with the number of another"),
        ([THING], [SHAPE, (2, 1, ("z",))], "shape 2 of class number 1 with the number of another"),
        ([THING], [SHAPE, (3, 1, ("x", "x"))], "shape 3 of class number 1 with a name twice"),
    ],
)
def test_a_shape_that_means_nothing_or_two_things_is_found(path, classes, shapes, found):
    with TransactionLog(path, sync=False) as log:
        write(log, {"x": 1}, 1, (classes, shapes))

    assert [problem.found for problem in check_log(path).problems if problem.invariant == 5] == [
        found
    ]


def test_a_class_that_takes_the_number_of_a_shape_is_found(path):
    with TransactionLog(path, sync=False) as log:
        write(log, (1, 2), 2, ([THING], [SHAPE]))
        write(log, (1, 2), 2, ([(2, "m", "Other")], []))

    problems = [problem.found for problem in check_log(path).problems]
    assert problems == ["class number 2, which is a shape's"]
