"""The check itself: it finds what is wrong, and nothing where nothing is.

Faults of a log are written with the log's own methods, with right checksums: what is
found is found by looking at what the bytes say. Faults in memory are made by hand.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import random
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like.check import (
    INVARIANTS,
    CheckFailedError,
    Problem,
    Report,
    check_database,
    check_log,
)
from dobbin_like.conformance.steps import commit
from dobbin_like.database import Database
from dobbin_like.exc import (
    ClosedError,
    ConflictError,
    IntegrityError,
    LogError,
    UncommittedChangesWarning,
)
from dobbin_like.log.format import record
from dobbin_like.log.format.header import DURABLE, LOOSE, PAGE_SIZE, WORD_NAMES, word_offset
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.values.refs import Mask, native_dict, ref_of, set_native_dict, swap_class
from dobbin_like.persistent import (
    Persistent,
    PersistentDict,
    PersistentFile,
    PersistentList,
    PersistentSet,
    checkout,
)
from dobbin_like.storage import MemoryLog, TransactionLog
from tests.helpers.log_files import with_words, without_word, word_in
from tests.helpers.processes import run, start
from tests.helpers.steps import Steps, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Thing(Persistent):
    def __init__(self, number=0):
        self.number = number
        self.parts = [1, {"two": {3}}, (4, [5])]


class Value:
    """Refuses to be loaded: a check must not try."""

    def __setstate__(self, state):
        raise AssertionError("a check has run code of the application")


def found_by(report: Report) -> list[tuple[int, str]]:
    """Return invariant and text of each problem, without the path."""
    return [
        (problem.invariant, f"{problem.found} | {problem.expected}") for problem in report.problems
    ]


def only_problem(report: Report) -> Problem:
    assert len(report.problems) == 1, report
    return report.problems[0]


# -- logs without a fault -------------------------------------------------------


def test_nothing_is_created_by_checking_a_storage_without_a_file(storage, path):
    report = check_log(storage)

    assert report.ok
    assert not path.exists()


def test_a_path_that_leads_nowhere_is_an_error_of_the_system(path):
    with pytest.raises(FileNotFoundError):
        check_log(path)


def fill(database: Database) -> Thing:
    thing = Thing()
    database.set_root(thing)
    transaction.commit()
    checkout(thing)
    thing.list = PersistentList([1, thing, Thing(2)])
    thing.dict = PersistentDict({"a": thing, 2: [3]})
    thing.set = PersistentSet({1, "b", (2, 3)})
    thing.file = PersistentFile(io.BytesIO(b"bytes" * 30_000))
    transaction.commit()
    checkout(thing)
    thing.number = float("nan")
    thing.text = "text"
    transaction.commit()
    return thing


def fail(thing: Thing) -> None:
    """Let a transaction fail, and be recorded."""
    checkout(thing)
    thing.number = 1

    def other():
        transaction.begin()
        checkout(thing)
        thing.number = 2
        transaction.commit()

    in_thread(other)
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()


def test_everything_is_counted(database, path):
    thing = fill(database)
    fail(thing)

    report = check_database(database)

    assert report.ok, report
    assert (report.transactions, report.failed) == (5, 1)
    assert (report.objects, report.versions) == (6, 1 + 6 + 1 + 1)
    assert (report.streams, report.stream_bytes) == (1, 150_000)
    assert report.bytes == path.stat().st_size
    assert report.loaded == 6
    assert report.masked == 0
    assert str(report).endswith("no problem")


def test_path_storage_and_database_give_the_same_counts(database, storage, path):
    fill(database)

    reports = [check_log(path), check_log(str(path)), check_log(storage), check_database(database)]

    assert all(report.ok for report in reports)
    assert len({(r.transactions, r.objects, r.versions, r.bytes, r.streams) for r in reports}) == 1


def test_the_streams_of_a_storage_without_a_file_are_read():
    with MemoryLog() as storage, Database(storage) as database:
        fill(database)
        report = check_log(storage)
        assert report.ok, report
        assert (report.streams, report.stream_bytes) == (1, 150_000)
        oid = database.root.file._p_oid
        number = storage.load(oid).number
        _, names = storage.names.shape(number)
        commit(storage, {oid: pickle.dumps(("none",) * len(names), 5)}, number=number)
        (problem,) = check_log(storage).problems
        assert problem.found == "a stream of 'none' bytes at 'none'"


def test_checking_changes_no_byte_and_no_memory(database, path):
    thing = fill(database)
    before = path.read_bytes(), path.stat().st_mtime_ns
    state, cached = native_dict(thing), len(database._store.graph.cache.all())

    check_database(database)

    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert native_dict(thing) is state
    assert len(database._store.graph.cache.all()) == cached


def test_progress_rises_to_all_bytes(database, path):
    fill(database)
    calls = []

    check_log(path, lambda done, total: calls.append((done, total)))

    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert calls[-1] == (path.stat().st_size, path.stat().st_size)


def test_views_working_copies_and_older_versions_are_no_problem(database):
    thing = fill(database)
    other = thing.list[2]
    steps = Steps()

    @steps.thread
    def reader():
        with steps[0]:
            assert database.root is thing
            transaction.begin()
        with steps[2]:
            assert other.number == 2
            checkout(thing)
            thing.number = 5
        with steps[4]:
            transaction.abort()

    with steps[1]:
        transaction.begin()
        checkout(other)
        other.number = 3
        transaction.commit()
    with steps[3]:
        checkout(other)
        other.parts.append(9)
        report = check_database(database)
        transaction.abort()
    steps.join()

    assert report.ok, report
    assert report.masked == 2


def test_objects_that_others_have_changed_are_no_problem(database, path):
    thing = fill(database)
    manager = transaction.TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as other:
        for number in range(3):
            manager.begin()
            checkout(other.root, other.root.list)
            other.root.number = number
            other.root.list.append(number)
            manager.commit()
            reports = [check_database(database), check_database(other)]
            transaction.begin()
            reports.append(check_database(database))
            assert thing.number == number
            reports.append(check_database(database))

            assert all(report.ok for report in reports), reports


def test_a_working_copy_of_what_another_has_changed_is_no_problem(database, path):
    thing = fill(database)
    checkout(thing)
    manager = transaction.TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as other:
        checkout(other.root)
        other.root.number = 7
        manager.commit()
    in_thread(lambda: transaction.begin() or database.root.text)

    report = check_database(database)
    transaction.abort()

    assert report.ok, report
    assert check_database(database).ok


def test_a_thread_that_ended_in_the_middle_leaves_nothing_to_find(database):
    thing = fill(database)

    def leave():
        transaction.begin()
        checkout(thing)
        thing.number = 6

    for _ in range(3):
        in_thread(leave)
    gc.collect()
    with pytest.warns(UncommittedChangesWarning, match="has ended with changes"):
        transaction.begin()

    assert check_database(database).ok


def test_explicit_mode_has_no_view_between_transactions(path):
    manager = transaction.TransactionManager(explicit=True)
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as database:
        manager.begin()
        database.set_root(Thing())
        manager.commit()

        report = check_database(database)

        assert report.ok, report
        assert database._store.graph.shared.horizon.oldest() is None


def test_a_live_log_is_checked_while_others_commit(database, path):
    thing = fill(database)
    ended = threading.Event()
    steps = Steps()

    @steps.thread
    def commit():
        for number in range(200):
            with transaction.manager:
                checkout(thing)
                thing.number = number
                thing.new = Thing(number)
        ended.set()

    reports = []
    while not ended.is_set():
        reports += [check_log(path), check_log(database.storage), check_database(database)]
        transaction.begin()
    steps.join()

    assert [str(report) for report in reports if not report.ok] == []
    assert check_database(database).transactions == 3 + 200


def test_a_closed_database_is_refused(path):
    database = Database(path)
    database.close()

    with pytest.raises(ClosedError):
        check_database(database)


def test_classes_that_are_gone_are_no_problem(path):
    program = f"""if True:
        import sys, types, transaction
        module = types.ModuleType("vanished")
        sys.modules["vanished"] = module
        source = "import enum, dataclasses\\n"
        source += "from dobbin_like.persistent import Persistent\\n"
        source += "class Gone(Persistent): pass\\n"
        source += "class Colour(enum.Enum):\\n    RED = 1\\n"
        source += "@dataclasses.dataclass\\nclass Point:\\n    x: int\\n"
        exec(source, vars(module))
        from dobbin_like import Database, checkout
        with Database({str(path)!r}) as database:
            root = module.Gone()
            checkout(root)
            root.colour, root.point, root.next = module.Colour.RED, module.Point(3), module.Gone()
            root.many = {{module.Colour: [module.Colour.RED]}}
            database.set_root(root)
            transaction.commit()
    """
    run([sys.executable, "-c", program], check=True)

    with Database(path) as database:
        ghost = database.root
        report = check_database(database)

        assert report.ok, report
        assert report.objects == 2
        del ghost


def test_a_class_of_values_that_is_gone_is_named_if_it_is_asked_for(storage):
    classes = [THING, (2, __name__, "Value"), (3, "vanished", "Point")]
    values = {"here": Named(2, {}), "gone": [Named(3, {"x": 1}), Named(3, {"x": 2})]}
    write(storage, [(0, 1, state_of(values)), (1, 1, state_of({"a": Named(3, {})}))], classes)

    assert check_log(storage).broken == []
    report = check_log(storage, allow=[f"{__name__}.*", "vanished.*"])

    assert report.ok, report
    [broken] = report.broken
    assert (broken.name, broken.objects) == ("vanished.Point", 2)
    assert broken.reason.startswith("importing vanished raised ModuleNotFoundError")


def test_no_code_of_the_application_runs(storage):
    classes = [THING, (2, __name__, "Value")]
    write(storage, [(0, 1, state_of({"value": Named(2, {"a": 1})}))], classes)

    assert check_log(storage).ok


# -- faults in what is logged -----------------------------------------------------


class Named:
    """An instance of class *number* with a state."""

    def __init__(self, number: int, state: Any) -> None:
        self.number = number
        self.state = state


class Ref:
    """A reference to an object."""

    def __init__(self, oid: int, number: int) -> None:
        self.pid = (oid, number)


class NumberedClass:
    def __init__(self, number: int) -> None:
        self.pid = number

    def __call__(self) -> None:
        """Look like what pickle takes for a class."""


class StatePickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, (Ref, NumberedClass)) else None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Named):
            return NumberedClass(obj.number), (), obj.state
        return NotImplemented


def state_of(state: Any) -> bytes:
    file = io.BytesIO()
    StatePickler(file, 5).dump(state)
    return file.getvalue()


THING = (1, __name__, "Thing")


def write(log: TransactionLog, entries: list[Any], classes: Any = (THING,)) -> None:
    """Append a transaction, whatever is in it."""
    log.acquire()
    logged = log.append(log.tid + 1, entries, classes)
    log.apply([logged])
    log.release()


def test_a_dangling_reference_is_found_with_who_refers(storage):
    write(storage, [(0, 1, state_of({"next": [Ref(7, 1)]}))])

    assert found_by(check_log(storage)) == [
        (
            2,
            f"{__name__}.Thing oid 0 at .next[0] refers to oid 7, which is not stored "
            "| a stored object",
        )
    ]


def test_a_reference_to_what_is_stored_later_is_found(storage):
    write(storage, [(0, 1, state_of({"next": Ref(1, 1)}))])
    write(storage, [(1, 1, state_of({}))], ())

    report = check_log(storage)

    found = f"{__name__}.Thing oid 0 at .next refers to oid 1, which is not stored"
    assert only_problem(report).found == found
    assert report.dangling == []


def test_a_reference_to_another_class_is_found(storage):
    classes = [THING, (2, __name__, "Value")]
    write(storage, [(0, 1, state_of({"next": Ref(1, 2)})), (1, 1, state_of({}))], classes)

    assert found_by(check_log(storage)) == [
        (
            2,
            f"oid 0 refers to oid 1 as one of class {__name__}.Value | class {__name__}.Thing",
        )
    ]


def test_a_class_that_was_never_logged_is_found(storage):
    write(storage, [(0, 5, state_of({}))])

    assert found_by(check_log(storage)) == [
        (8, "oid 0 of class number 5 | a class in the class table")
    ]


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"no pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({1: 2}),
        pickle.dumps({"exit": sys.exit}),
        state_of({"value": Named(9, None)}),
    ],
    ids=["nothing", "noise", "list", "number as name", "global", "unknown class"],
)
def test_a_state_that_cannot_be_decoded_is_found(storage, state):
    write(storage, [(0, 1, state)])

    problem = only_problem(check_log(storage))

    assert problem.invariant == 8
    assert problem.found.startswith("the state of Thing oid 0: ")
    assert problem.expected == "one that can be decoded"


def test_a_gap_in_the_oids_is_found(storage):
    write(storage, [(0, 1, state_of({})), (1, 1, state_of({}))])
    write(storage, [(4, 1, state_of({}))])

    assert found_by(check_log(storage)) == [(10, "3 objects below oid 5 | oid 2 to be stored too")]


def test_the_first_transaction_may_leave_oids_out(storage):
    write(storage, [(0, 1, state_of({})), (3, 1, state_of({}))])  # As a copy without history.
    write(storage, [(4, 1, state_of({}))])

    assert check_log(storage).ok


@pytest.mark.parametrize(
    "values", [{}, {"_offset": 4096, "_size": 9}, {"_offset": [], "_size": 1}]
)
def test_a_stream_object_without_its_stream_is_found(storage, values):
    classes = [(1, "dobbin_like.persistent", "PersistentStream")]
    write(storage, [(0, 1, state_of(values))], classes)

    assert only_problem(check_log(storage)).expected == "an existing stream"


def save_positions(storage: TransactionLog) -> None:
    storage.acquire()
    storage._writing.writer.save()
    storage.release()


def test_saved_positions_are_compared_with_a_scan(storage):
    write(storage, [(0, 1, state_of({})), (1, 1, state_of({}))])
    save_positions(storage)
    assert check_log(storage).ok

    storage._reading.applied.positions.block(0)[1] += 8
    save_positions(storage)

    assert [problem.invariant for problem in check_log(storage.path).problems] == [10]
    assert sorted({problem.invariant for problem in check_log(storage).problems}) == [5, 10]


def test_saved_positions_that_count_otherwise_are_found(storage):
    write(storage, [(0, 1, state_of({})), (1, 1, state_of({}))])
    storage._reading.applied.positions.stored = 1
    save_positions(storage)

    assert only_problem(check_log(storage.path)).expected == "2 below 2"


def test_a_saved_class_table_is_compared_with_the_transactions(storage):
    write(storage, [(0, 1, state_of({}))])
    storage._reading.applied.names.update([(2, "shop", "Cart")])
    save_positions(storage)

    assert only_problem(check_log(storage.path)).found == "saved classes and shapes"


def test_a_storage_that_has_applied_something_else_is_found(storage):
    write(storage, [(0, 1, state_of({"number": 1}))])
    first = storage._reading.applied.positions.get(0)
    write(storage, [(0, 1, state_of({"number": 2}))], ())
    storage._reading.applied.positions.block(0)[0] = first

    assert only_problem(check_log(storage)).found == f"its version at {first}"
    assert check_log(storage.path).ok


def test_a_storage_that_is_behind_the_log_is_no_problem(storage, path):
    write(storage, [(0, 1, state_of({"number": 1}))])
    with TransactionLog(path, sync=False) as other:
        write(other, [(0, 1, state_of({"number": 2})), (1, 1, state_of({}))], ())

        assert check_log(storage).ok
        assert len(storage) == 1


# -- frames that the log would not write ------------------------------------------


def append(
    path: Path,
    entries: Any,
    *,
    previous: int = 0,
    status: int = record.COMMITTED,
    torn: bool = False,
) -> None:
    """Append a transaction with a right checksum, and say that it is committed."""
    with TransactionLog(path, read_only=True) as log:
        tail = list(log.transactions())[-1].tail
    data, _ = record.encode_transaction(
        tail, tail.tid + 1, entries, [previous] * len(entries), record.Meta(), status
    )
    change(path, tail.end, data)
    if not torn:
        put_words(path, DURABLE=tail.end + len(data))


def test_an_oid_that_stands_twice_in_a_transaction_is_found(closed):
    append(closed, [(4, 1, state_of({})), (4, 1, state_of({}))])

    texts = [problem.found for problem in check_log(closed).problems]

    assert texts[0] == "an oid twice in a transaction"


def test_an_entry_that_leads_to_another_version_is_found(closed):
    append(closed, [(0, 1, state_of({}))], previous=4148)

    problem = only_problem(check_log(closed))

    assert problem.invariant == 5
    assert problem.found == "oid 0 after its version at 4148"


@pytest.mark.parametrize("status", [0, 0xA5A5A5A5])
def test_a_frame_that_is_neither_committed_nor_failed_is_found(closed, status):
    append(closed, [(4, 1, state_of({}))], status=status)

    assert only_problem(check_log(closed)).found == f"status {status:#010x}"


def test_whole_frames_behind_what_is_durable_count(closed):
    """Whoever opens the log next adopts them."""
    append(closed, [(4, 1, state_of({}))], torn=True)
    put_words(closed, DURABLE=offsets(closed)[2])

    report = check_log(closed)

    assert (report.ok, report.transactions, report.notes) == (True, 6, [])


def test_what_did_not_reach_the_disk_before_a_power_cut_is_no_problem(closed):
    put_words(closed, DURABLE=offsets(closed)[3])
    change(closed, closed.read_bytes().rindex(b"xxxx"), b"y")

    report = check_log(closed)

    assert (report.ok, report.transactions) == (True, 4)
    assert "belong to none" in report.notes[0]


def test_after_a_gap_only_what_stands_by_itself_is_checked(path):
    with TransactionLog(path, sync=False) as log:
        write(log, [(0, 1, state_of({})), (1, 1, state_of({}))])
        write(log, [(0, 1, state_of({"next": Ref(1, 1)}))], ())
        save_positions(log)
        write(log, [(0, 1, b"noise")], ())
        first = next(log.transactions()).offset
    change(path, first + 56, b"\xff")

    assert offsets_of_damage(check_log(path)) == [first]


def test_behind_a_damaged_frame_nothing_is_taken_for_a_frame_by_its_name(path):
    with TransactionLog(path, sync=False) as log:
        big = b"TRAN" * 10 + bytes(2_500_000) + b"STRM" * 10
        for _ in range(3):
            write(log, [(0, 1, state_of({"big": big}))], [THING] if not len(log) else ())
    place = offsets(path)[1]
    change(path, place + 40, b"\xff")

    report = check_log(path)

    assert offsets_of_damage(report) == [place]
    assert report.transactions == 2


def test_saved_positions_that_are_damaged_are_found(storage, path):
    write(storage, [(0, 1, state_of({}))])
    size = path.stat().st_size
    save_positions(storage)
    slot = path.read_bytes().rindex((PAGE_SIZE + record.TRANSACTION_SIZE).to_bytes(8, "little"))
    change(path, slot, b"\xee")

    assert size < slot
    assert offsets_of_damage(check_log(path)) == [slot]


def test_a_log_that_is_gone_is_an_error_of_the_system(storage, path):
    write(storage, [(0, 1, state_of({}))])
    path.unlink()

    with pytest.raises(FileNotFoundError):
        check_log(storage)


def test_a_file_that_was_never_begun_is_no_problem(path):
    path.write_bytes(b"")

    assert check_log(path).ok
    with TransactionLog(path) as log:
        assert check_log(log).ok


# -- damaged files --------------------------------------------------------------


def change(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def put_words(path: Path, **words: int) -> None:
    path.write_bytes(with_words(path.read_bytes(), **words))


@pytest.fixture
def closed(path: Path) -> Path:
    """A log of five transactions with four objects, which nobody has open."""
    with TransactionLog(path, sync=False) as log:
        write(log, [(0, 1, state_of({"next": Ref(1, 1)})), (1, 1, state_of({}))])
        for oid in range(4):
            write(log, [(oid, 1, state_of({"number": oid, "text": "x" * 50}))], ())
    return path


def offsets(path: Path) -> list[int]:
    with TransactionLog(path, read_only=True) as log:
        return [logged.offset for logged in log.transactions()]


def test_a_damaged_state_is_named_and_the_rest_is_checked(closed):
    at = closed.read_bytes().rindex(b"xxxx")
    change(closed, at, b"y")

    report = check_log(closed)

    problem = only_problem(report)
    assert problem.invariant == 5
    assert problem.place == f"{closed}:{problem.offset}"
    assert (report.transactions, report.objects) == (5, 4)


def test_after_a_damaged_frame_the_walk_goes_on_behind_it(closed):
    change(closed, offsets(closed)[2] + 33, b"\xff\xff")

    report = check_log(closed)

    assert only_problem(report).offset == offsets_of_damage(report)[0]
    assert report.transactions == 4


def offsets_of_damage(report: Report) -> list[int]:
    return [problem.offset for problem in report.problems if problem.offset is not None]


def test_two_damaged_frames_are_both_named(closed):
    places = offsets(closed)
    for place in (places[0], places[3]):
        change(closed, place + 20, b"\xff\xff")

    report = check_log(closed)

    assert offsets_of_damage(report) == [places[0], places[3]]
    assert report.transactions == 3


def test_a_frame_with_a_wrong_length_is_passed_over(closed):
    places = offsets(closed)
    change(closed, places[1] + 16, b"\xff\xff\xff")

    report = check_log(closed)

    assert offsets_of_damage(report) == [places[1]]
    assert report.transactions == 4


def test_a_damaged_last_frame_is_named(closed):
    place = offsets(closed)[-1]
    change(closed, place + 40, b"\xff")

    assert offsets_of_damage(check_log(closed)) == [place]


def test_every_damaged_chunk_of_a_stream_is_named(path):
    with Database(path) as database:
        fill(database)
    start = path.read_bytes().index(b"bytesbytes")
    for at in (start + 10, start + 70_000, start + 149_990):
        change(path, at, b"-")

    report = check_log(path)

    chunks = [start + chunk * (1 << 16) for chunk in range(3)]
    assert offsets_of_damage(report) == chunks
    assert report.transactions == 3


def test_who_refers_to_what_is_in_a_damaged_frame_is_named(path):
    with TransactionLog(path, sync=False) as log:
        write(log, [(0, 1, state_of({}))])
        write(log, [(1, 1, state_of({}))], ())
        write(log, [(0, 1, state_of({"next": [Ref(1, 1)]}))], ())
    places = offsets(path)
    change(path, places[1] + 40, b"\xff")

    report = check_log(path)

    [dangling] = report.dangling
    assert (dangling.oid, dangling.path, dangling.target) == (0, ".next[0]", 1)
    assert str(report.problems[1]).startswith(
        f"{path}:{dangling.offset}: {__name__}.Thing oid 0 at .next[0] refers to oid 1, "
        "which can't be found"
    )
    assert f"(the next intact one is at {places[2]})" in str(report.problems[0])
    assert report.unreachable is None


@pytest.mark.parametrize("field", [0, 4, 16, 33, 41])
def test_a_frame_behind_saved_positions_behind_a_damaged_one_is_read(path, field):
    """What a damaged frame says of itself is not what the next one is measured by."""
    with TransactionLog(path, sync=False) as log:
        for oid in range(3):
            write(log, [(oid, 1, state_of({}))], [THING] if not oid else ())
        save_positions(log)
        write(log, [(3, 1, state_of({}))], ())
    change(path, offsets(path)[2] + field, b"\xff\xee")

    report = check_log(path)

    assert only_problem(report).offset == offsets_of_frames(path)[2]
    assert (report.transactions, report.objects) == (3, 3)


def offsets_of_frames(path: Path) -> list[int]:
    data = path.read_bytes()
    marks = (b"TRAN", b"STRM", b"SAVE")
    return [at for at in range(PAGE_SIZE, len(data), 8) if data[at + 8 : at + 12] in marks]


@pytest.mark.parametrize("name", ["DURABLE", "LOOSE", "APPENDED", "SYNCING"])
def test_an_end_inside_the_header_is_found(closed, name):
    put_words(closed, **{name: 8})

    assert found_by(check_log(closed)) == [(4, f"the word {name} with 8 | at least {PAGE_SIZE}")]


def test_a_durable_end_inside_a_frame_is_found(closed):
    place = offsets(closed)[2]
    put_words(closed, DURABLE=place - 8)

    problem = only_problem(check_log(closed))

    assert (problem.invariant, problem.expected) == (4, f"one at {place}")
    with pytest.raises(IntegrityError):
        TransactionLog(closed, read_only=True)


def test_what_has_no_meaning_in_the_header_is_zero(closed):
    change(closed, 1000, b"\1")

    problem = only_problem(check_log(closed))

    assert (problem.invariant, problem.offset) == (5, 1000)


def test_a_damaged_stream_is_named(path):
    with Database(path) as database:
        fill(database)
    at = path.read_bytes().index(b"bytesbytes")
    change(path, at + 70_000, b"-")

    report = check_log(path)

    assert only_problem(report).invariant == 5
    assert report.transactions == 3


def test_bytes_that_fill_a_frame_are_zero(closed):
    data = closed.read_bytes()
    at = next(end - 1 for end in [*offsets(closed)[1:], len(data)] if data[end - 1] == 0)
    change(closed, at, b"\1")

    assert only_problem(check_log(closed)).found == "bytes after the last part of a frame"


@pytest.mark.parametrize("name", WORD_NAMES)
def test_a_word_of_the_header_that_fails_its_check_is_named(closed, name):
    closed.write_bytes(without_word(closed.read_bytes(), WORD_NAMES.index(name)))
    change(closed, word_offset(WORD_NAMES.index(name)), b"\1")

    report = check_log(closed)

    named = [(4, f"the word {name} fails its check | a whole word")]
    assert found_by(report) == (named if name != "WAITING" else [])  # Anybody stores that.
    assert report.transactions == 5


def test_damage_is_found_though_nothing_says_where_the_log_ends(closed):
    places = offsets(closed)
    change(closed, places[2] + 33, b"\xff\xff")
    change(closed, word_offset(DURABLE), b"\1")

    report = check_log(closed)

    assert offsets_of_damage(report) == [word_offset(DURABLE), places[2]]
    assert report.transactions == 4


def test_words_that_contradict_each_other_are_found(closed):
    size = closed.stat().st_size
    put_words(closed, DURABLE=size + 8, SAVED=offsets(closed)[1])

    assert [problem.invariant for problem in check_log(closed).problems] == [1, 10]


def test_missing_bytes_that_were_durable_are_found(closed):
    data = closed.read_bytes()
    os.truncate(closed, len(data) - 8)

    report = check_log(closed)

    assert [problem.invariant for problem in report.problems] == [1, 5]
    assert report.transactions == 4


# -- logs that are in use, were left by somebody who died, or are copies ------------------


def test_a_sync_that_has_failed_is_told(closed):
    put_words(closed, FAILURES=3)

    report = check_log(closed)

    assert report.ok
    assert "a sync has failed" in str(report)


def test_zeros_that_were_written_ahead_are_no_problem(path):
    with TransactionLog(path) as log:
        write(log, [(0, 1, state_of({}))])
        end = log._reading.applied.tail.end

        reports = [check_log(path), check_log(log)]

        assert path.stat().st_size > end + 50_000
        assert [(report.ok, report.notes, report.bytes) for report in reports] == [
            (True, [], end)
        ] * 2
        killed = path.read_bytes()
    path.write_bytes(killed)
    assert (check_log(path).ok, check_log(path).notes) == (True, [])


def test_what_is_appended_and_not_visible_is_not_looked_at(path):
    with TransactionLog(path) as log:
        write(log, [(0, 1, state_of({}))])
        log.acquire()
        logged = log.append(log.tid + 1, [(0, 1, state_of({"number": 1}))], wait=False)
        change(path, logged.end - 8, b"torn")
        report = check_log(path)
        change(path, logged.offset, bytes(16))
        log.release()

    assert (report.ok, report.notes, report.transactions) == (True, [], 1)


def test_what_is_visible_and_not_durable_is_looked_at_while_it_is_in_use(path):
    with TransactionLog(path, sync=False) as log:
        write(log, [(0, 1, state_of({}))])
        write(log, [(0, 1, state_of({"text": "xxxx"}))], ())
        durable, loose = (word_in(path.read_bytes(), index) for index in (DURABLE, LOOSE))
        assert (durable, loose) == (PAGE_SIZE, path.stat().st_size)
        change(path, path.read_bytes().rindex(b"xxxx"), b"y")

        assert only_problem(check_log(path)).invariant == 5


def test_a_process_that_was_killed_in_an_append_leaves_no_problem(closed):
    with closed.open("ab") as file:
        file.write(b"torn" * 20)

    report = check_log(closed)

    assert (report.ok, report.transactions) == (True, 5)
    [note] = report.notes
    assert note.startswith("behind the last transaction, 80 bytes belong to none: a program")
    assert note in str(report)
    assert report.as_dict()["notes"] == [note]


def test_a_copy_to_which_rsync_has_appended_is_told(path, tmp_path):
    copy = tmp_path / "copy.log"
    with TransactionLog(path) as log:
        write(log, [(0, 1, state_of({}))])
        copy.write_bytes(path.read_bytes())
        for number in range(30):
            write(log, [(0, 1, state_of({"text": str(number) * 3000}))], ())
        size = copy.stat().st_size
        end = log._reading.applied.tail.end
        with copy.open("ab") as file:
            file.write(path.read_bytes()[size:])

    report = check_log(copy)

    assert end > size
    assert (report.ok, report.transactions) == (True, 1)
    assert f"zeros up to {size}, as in a copy to which rsync --append" in report.notes[0]


def test_a_copy_that_was_cut_is_told(closed, tmp_path):
    """As tar makes it: it asks for the size first, and reads the header when it has grown."""
    copy, places = tmp_path / "copy.log", offsets(closed)
    for size in (places[3], places[3] + 8, places[4] - 8, places[4] + 60):
        copy.write_bytes(closed.read_bytes()[:size])

        report = check_log(copy)

        whole = sum(place <= size for place in places) - 1
        assert (report.ok, report.transactions) == (True, whole), report
        assert report.notes[0].startswith(f"this is a copy that was cut at {size}")
        with TransactionLog(copy, read_only=True) as log:
            assert len(log) == whole


def test_damage_before_the_cut_of_a_copy_is_a_problem(closed, tmp_path):
    copy, places = tmp_path / "copy.log", offsets(closed)
    copy.write_bytes(closed.read_bytes()[: places[4] + 8])
    change(copy, places[2] + 40, b"\xff\xff")

    report = check_log(copy)

    assert offsets_of_damage(report) == [places[2]]
    assert report.transactions == 3
    before = copy.read_bytes()
    with pytest.raises(IntegrityError):
        TransactionLog(copy)
    assert copy.read_bytes() == before  # What follows the damage was not given up.


def test_what_is_no_log_is_a_problem(path):
    path.write_bytes(b"something else entirely" * 400)

    assert only_problem(check_log(path)).offset == 0


def test_a_newer_format_is_a_problem(closed):
    change(closed, 8, (99).to_bytes(4, "little"))

    assert only_problem(check_log(closed)).found == "format version 99"


def test_a_damaged_header_is_a_problem(closed):
    change(closed, 20, b"\xff\xfe")

    assert only_problem(check_log(closed)).invariant == 5


@pytest.mark.slow
def test_nothing_is_found_while_processes_write_pack_and_are_killed(path):
    program = f"""if True:
        import io, random, sys, transaction
        from dobbin_like import Database, PersistentDict, PersistentFile, TransactionLog, checkout
        from dobbin_like.exc import ConflictError, PackRunningError, RootError
        choice = random.Random(int(sys.argv[1]))
        while True:
            log = TransactionLog({str(path)!r}, sync=choice.random() < 0.5)
            with Database(log) as database:
                for _ in range(choice.randrange(1, 30)):
                    try:
                        transaction.begin()
                        if database.root is None:
                            database.set_root(PersistentDict())
                        else:
                            checkout(database.root)
                            size = choice.randrange(60_000) * (choice.random() < 0.1)
                            database.root["file"] = PersistentFile(io.BytesIO(bytes(size)))
                        transaction.commit()
                        if choice.random() < 0.01:
                            database.pack()
                    except (ConflictError, PackRunningError, RootError):
                        transaction.abort()
    """
    choice = random.Random(5)
    started = [start([sys.executable, "-c", program, str(seed)]) for seed in range(2)]
    while not path.exists():
        assert [process.poll() for process in started] == [None, None]
    reports, states = [], set()
    for moment in range(10):
        # They have committed beside the checks, however fast this machine is.
        while len(states) < 10 * (moment + 1):
            assert [process.poll() for process in started] == [None, None]
            report = check_log(path)
            reports.append(report)
            states.add((report.transactions, report.bytes))
        for index in choice.choice([[0], [1], [0, 1]]):
            started[index].kill()
            started[index].wait()
            reports.append(check_log(path))
        for index, process in enumerate(started):
            if process.poll() is not None:
                seed = str(2 + 2 * moment + index)
                started[index] = start([sys.executable, "-c", program, seed])
    for process in started:
        process.kill()
        process.wait()

    assert [str(report) for report in reports if not report.ok] == []


# -- faults in memory -----------------------------------------------------------


@pytest.fixture
def faulty(database: Database) -> Thing:
    """The root of a database; the fault that a test makes is mended by the test."""
    thing = Thing(1)
    checkout(thing)
    thing.next = Thing(2)
    database.set_root(thing)
    transaction.commit()
    return thing


def check_with(
    database: Database, make: Callable[[], object], mend: Callable[[], object]
) -> list[int]:
    """Return the invariants that are found broken between *make* and *mend*."""
    make()
    try:
        report = check_database(database)
    finally:
        mend()
    assert check_database(database).ok
    return sorted({problem.invariant for problem in report.problems})


def test_a_mask_that_nobody_needs_is_found(database, faulty):
    entry = ref_of(faulty)
    shared = database._store.graph.shared

    def mend():
        entry.mask = None
        swap_class(faulty, Thing)

    assert check_with(database, lambda: shared.masks.put_on(faulty, entry, None), mend) == [6]


def test_an_older_version_that_nobody_sees_is_found(database, faulty):
    entry = ref_of(faulty)
    chain = ((entry.serial, native_dict(faulty)), (1, {}))

    def mend():
        entry.mask = None
        swap_class(faulty, Thing)

    assert check_with(
        database, lambda: database._store.graph.shared.masks.put_on(faulty, entry, chain), mend
    ) == [6]


def test_a_face_without_its_mask_is_found(database, faulty):
    faces = type(faulty)._p_faces

    assert check_with(
        database,
        lambda: swap_class(faulty, faces.mask or faces.make_mask()),
        lambda: swap_class(faulty, Thing),
    ) == [6]


def test_an_object_left_open_is_found(database, faulty):
    faces = type(faulty)._p_faces

    assert check_with(
        database,
        lambda: swap_class(faulty, faces.open or faces.make_open()),
        lambda: swap_class(faulty, Thing),
    ) == [6]


def test_a_wrong_serial_is_found(database, faulty):
    entry = ref_of(faulty)
    right = entry.serial

    assert check_with(
        database,
        lambda: setattr(entry, "serial", right - 1),
        lambda: setattr(entry, "serial", right),
    ) == [2]


def test_a_serial_from_the_future_is_found(database, faulty):
    entry = ref_of(faulty)
    right = entry.serial

    assert check_with(
        database,
        lambda: setattr(entry, "serial", right + 1),
        lambda: setattr(entry, "serial", right),
    ) == [2]


def test_a_cache_entry_under_another_oid_is_found(database, faulty):
    entry = ref_of(faulty.next)

    found = check_with(
        database, lambda: setattr(entry, "oid", 0), lambda: setattr(entry, "oid", 1)
    )

    assert 7 in found


def test_one_object_for_two_oids_is_found(database, faulty):
    entry = ref_of(faulty.next)
    cache = database._store.graph.cache.refs
    right = cache[0]

    found = check_with(
        database, lambda: cache.update({0: entry}), lambda: cache.update({0: right})
    )

    assert found == [7]


def test_an_object_that_is_not_the_one_of_its_oid_is_found(database, faulty):
    cache = database._store.graph.cache.refs
    right = cache[1]

    assert check_with(database, lambda: cache.pop(1), lambda: cache.update({1: right})) == [2]


@pytest.mark.parametrize(
    "values",
    [
        {"number": 2},
        {"number": True},
        {"more": 1},
        {"parts": [1, {"two": {3}}, (4, [6])]},
        {"parts": [1, {"two": {3, 4}}, (4, [5])]},
        {"parts": [1, {"zwei": {3}}, (4, [5])]},
        {"parts": 1},
        {"next": None},
        {"parts": [1, {"two": {3}}]},
    ],
)
def test_shared_state_that_was_changed_without_a_commit_is_found(database, faulty, values):
    right = native_dict(faulty)

    assert check_with(
        database,
        lambda: set_native_dict(faulty, {**right, **values}),
        lambda: set_native_dict(faulty, right),
    ) == [2]


def test_a_missing_attribute_is_found(database, faulty):
    right = native_dict(faulty)

    assert check_with(
        database,
        lambda: set_native_dict(faulty, {"number": 1}),
        lambda: set_native_dict(faulty, right),
    ) == [2]


def test_a_view_that_was_not_ended_is_found(database, faulty):
    view = View({})
    horizon = database._store.graph.shared.horizon

    def leave():
        del horizon.snapshots[view]

    assert check_with(database, lambda: horizon.enter(view, 5), leave) == [3]


def test_a_view_that_reads_and_is_in_no_horizon_is_found(database, faulty):
    view = database._store.manager().view
    horizon = database._store.graph.shared.horizon
    transaction.begin()

    assert check_with(
        database, lambda: horizon.snapshots.pop(view), lambda: horizon.enter(view, view.tid)
    ) == [3]


def test_the_last_view_that_needs_a_mask_takes_it_off(database, faulty):
    def write():
        with database.transaction() as root:
            checkout(root)
            root.number = 2

    with database.reading():  # It reads nothing that is masked: there is nothing to forget.
        in_thread(write)
        masked = len(database._store.graph.shared.masked)

    assert (masked, len(database._store.graph.shared.masked)) == (1, 0)
    assert check_database(database).ok


def test_views_that_leave_while_others_publish_leave_nothing_behind(database, faulty):
    ended = threading.Event()

    def read():
        while not ended.is_set():
            with database.reading() as root:
                dict(vars(root))

    def write():
        for number in range(300):
            with database.transaction() as root:
                checkout(root)
                root.number = number

    database.release_snapshot()  # That of this thread.
    readers = [threading.Thread(target=read) for _ in range(3)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in readers:
            thread.start()
        in_thread(write)
        while_they_read = check_database(database)
    finally:
        sys.setswitchinterval(before)
        ended.set()
        for thread in readers:
            thread.join()

    assert while_they_read.ok
    assert not database._store.graph.shared.masked.turns
    assert check_database(database).ok


def test_a_tid_ahead_of_the_log_is_found(database, faulty):
    right = database._store.graph.shared.tid

    assert check_with(
        database,
        lambda: setattr(database._store.graph.shared, "tid", right + 1),
        lambda: setattr(database._store.graph.shared, "tid", right),
    ) == [2]


def test_a_view_ahead_of_shared_state_is_found(database, faulty):
    (manager,) = database._store._managers
    right = manager.view.tid

    found = check_with(
        database,
        lambda: setattr(manager.view, "tid", right + 1),
        lambda: setattr(manager.view, "tid", right),
    )

    assert 2 in found


def test_what_an_ended_view_has_left_is_found(path):
    manager = transaction.TransactionManager(explicit=True)
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as database:
        (data_manager,) = database._store._managers

        kept = data_manager.view.kept
        assert check_with(database, lambda: kept.append(None), kept.clear) == [3]


def test_an_object_that_has_forgotten_its_entry_is_found(database, faulty):
    entry = ref_of(faulty)
    right = entry.jar

    found = check_with(
        database, lambda: setattr(entry, "jar", None), lambda: setattr(entry, "jar", right)
    )

    assert 7 in found


def test_a_loaded_object_without_a_serial_is_found(database, faulty):
    entry = ref_of(faulty)
    right = entry.serial

    assert check_with(
        database,
        lambda: setattr(entry, "serial", 0),
        lambda: setattr(entry, "serial", right),
    ) == [2]


def test_a_holder_that_is_gone_is_found(database, faulty):
    entry = ref_of(faulty)

    def mend():
        entry.mask = None
        swap_class(faulty, Thing)

    assert check_with(
        database,
        lambda: database._store.graph.shared.masks.put_on(
            faulty, entry, None, Mask(None, frozenset([1]))
        ),
        mend,
    ) == [6]


@pytest.mark.parametrize("order", [1, -1])
def test_versions_that_contradict_the_shared_state_are_found(database, faulty, order):
    entry = ref_of(faulty)
    chain = ((entry.serial, {}), (entry.serial + 1, {}))[::order]

    def mend():
        entry.mask = None
        swap_class(faulty, Thing)

    found = check_with(
        database, lambda: database._store.graph.shared.masks.put_on(faulty, entry, chain), mend
    )

    assert 2 in found


def test_an_object_that_the_log_does_not_have_is_found(database, faulty):
    entry = ref_of(faulty.next)
    cache = database._store.graph.cache.refs

    def make():
        cache[9] = cache.pop(1)
        entry.oid = 9

    def mend():
        cache[1] = cache.pop(9)
        entry.oid = 1

    assert check_with(database, make, mend) == [2]


def test_damage_is_reported_once_though_memory_is_right(path):
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(Thing())
        transaction.commit()
        change(path, path.read_bytes().index(b"two"), b"T")

        reports = [check_database(database), check_log(path)]

        assert [len(report.problems) for report in reports] == [1, 1]


def test_damage_of_what_is_in_memory_is_no_second_problem(path):
    with Database(TransactionLog(path, sync=False)) as database:
        thing = Thing()
        database.set_root(thing)
        transaction.commit()
        database.storage.load(0)  # The log has these bytes at hand from now on.
        change(path, path.read_bytes().index(b"two"), b"T")

        report = check_database(database)

        assert offsets_of_damage(report) == [PAGE_SIZE + record.TRANSACTION_SIZE]


def test_objects_without_a_root_are_found(path):
    with TransactionLog(path, sync=False) as log:
        write(log, [(1, 1, state_of({}))])
    with Database(TransactionLog(path, sync=False)) as database:
        report = check_database(database)

    assert {(problem.invariant, problem.found) for problem in report.problems} >= {
        (2, "no root"),
        (2, "has_root is False"),
    }


def test_a_root_that_nobody_knows_of_is_found(database, faulty):
    assert check_with(
        database,
        lambda: setattr(database._store.graph.shared, "has_root", False),
        lambda: setattr(database._store.graph.shared, "has_root", True),
    ) == [2]


def test_an_unguarded_list_that_was_changed_is_found(path):
    with Database(TransactionLog(path, sync=False), guard=False) as database:
        thing = Thing()
        database.set_root(thing)
        transaction.commit()
        thing.parts.append(5)

        problem = only_problem(check_database(database))

        assert problem.found == "attribute parts in shared state differs from the log"


# -- reports ----------------------------------------------------------------------


def test_a_good_report_raises_nothing():
    Report("data.log").raise_if_bad()


def test_a_bad_report_raises_an_error_with_its_problems():
    report = Report("data.log")
    report.add(5, 4096, "one", "another")

    with pytest.raises(CheckFailedError) as caught:
        report.raise_if_bad()

    assert isinstance(caught.value, LogError)
    assert caught.value.problems == (Problem(5, "data.log:4096", "one", "another", 4096),)
    assert str(caught.value).splitlines() == [
        "data.log: 1 problem",
        f"  data.log:4096: one, expected another (I5: {INVARIANTS[5]})",
    ]


def test_a_long_list_of_problems_is_cut_short_in_the_text_only():
    report = Report("data.log")
    for number in range(50):
        report.add(7, f"oid {number}", "one", "another")

    with pytest.raises(CheckFailedError) as caught:
        report.raise_if_bad()

    assert len(caught.value.problems) == 50
    assert str(caught.value).endswith("and 40 more")
    assert "50 problems" in str(report)


def test_the_error_survives_pickling():
    error = CheckFailedError("data.log", (Problem(1, "oid 1", "one", "another"),))

    again = pickle.loads(pickle.dumps(error))

    assert (type(again), again.problems, str(again)) == (
        CheckFailedError,
        error.problems,
        str(error),
    )


def test_every_small_log_begins_behind_the_header(closed):
    assert offsets(closed)[0] == PAGE_SIZE
