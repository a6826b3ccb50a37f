"""The past of a database: its transactions, the history of an object, a database as of then."""

from __future__ import annotations

import io
import json
import pickle
import sys
import time
import types
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like import (
    ConflictError,
    Database,
    PersistentDict,
    PersistentFile,
    PersistentList,
    TransactionLog,
    TransactionNotFound,
    checkout,
)
from dobbin_like.check import check_database, check_log
from dobbin_like.exc import (
    ClosedError,
    InvalidObjectReference,
    NotPersistentError,
    ObjectNotFound,
    PastDroppedError,
    ReadOnlyStorageError,
)
from dobbin_like.history import ABSENT
from dobbin_like.storages.as_of import AsOf
from dobbin_like.timestamps import now, tid_of, time_of
from dobbin_like.upkeep.pack import pack_file
from tests.helpers.steps import in_thread
from tests.helpers.things import Thing


def commit(note: str = "", user: str = "") -> None:
    current = transaction.get()
    if note:
        current.note(note)
    if user:
        current.user = user
    transaction.commit()


def change(obj: Any, note: str = "", **attributes: Any) -> int:
    """Set attributes in a transaction of their own; return its tid."""
    checkout(obj)
    for name, value in attributes.items():
        setattr(obj, name, value)
    commit(note)
    return obj._p_serial


@pytest.fixture
def thing(database) -> Thing:
    """The root, as of tid 1 of three: number is 1, 2, 3."""
    thing = Thing(number=1, same="same")
    database.set_root(thing)
    commit("made", "me")
    change(thing, "second", number=2)
    change(thing, "third", number=3, more=[1])
    return thing


def tids(database) -> list[int]:
    return [each.tid for each in database.transactions()]


# -- moments ------------------------------------------------------------------


@given(st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC)))
def test_a_datetime_in_utc_and_its_tid_are_one_moment(moment):
    assert time_of(tid_of(moment)) == moment


def test_a_datetime_of_another_time_zone_is_the_same_moment():
    moment = datetime(2026, 5, 1, 12, tzinfo=UTC)

    assert tid_of(moment.astimezone(timezone(timedelta(hours=5)))) == tid_of(moment)


def test_a_tid_that_is_no_moment_of_a_datetime_is_the_last_one():
    assert time_of(2**62).year == 9999


@pytest.mark.parametrize("wrong", [datetime(2026, 5, 1), datetime.max])
def test_a_datetime_without_a_time_zone_is_refused(wrong):
    with pytest.raises(ValueError, match="no time zone"):
        tid_of(wrong)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_the_advice_for_a_datetime_without_a_time_zone_means_the_same_moment(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        before = now()
        moment = datetime.now()
        with pytest.raises(
            ValueError, match=r"call moment\.astimezone\(\), which takes it as loc"
        ):
            tid_of(moment)
        assert before - 1 <= tid_of(moment.astimezone()) <= now() + 1
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("wrong", ["1", 1.0, True, None])
def test_what_is_no_moment_is_refused(wrong):
    with pytest.raises(TypeError, match="a tid or a datetime"):
        tid_of(wrong)


# -- transactions ---------------------------------------------------------------


def test_transactions_say_who_did_what_and_when(database):
    before = datetime.now(UTC)
    database.set_root(Thing())
    transaction.get().setExtendedInfo("source", "test")
    commit("made", "me")

    (found,) = database.transactions()

    assert (found.user, found.description, found.extension) == ("me", "made", {"source": "test"})
    assert (found.failed, found.reason, found.oids) == (False, "", (0,))
    assert before <= found.time <= datetime.now(UTC)
    assert found.time.tzinfo is UTC


def test_failed_transactions_are_among_them_with_their_reason(database, thing):
    def other() -> None:
        change(thing, number=9)
        transaction.abort()

    checkout(thing)
    thing.number = 10
    in_thread(other)
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()

    *_, last = database.transactions()

    assert last.failed
    assert last.reason == "conflict: Thing oid 0"
    assert last.oids == ()


def test_transactions_come_in_both_orders_and_between_moments(database, thing):
    first, second, third = tids(database)

    def between(*args, **options):
        return [each.tid for each in database.transactions(*args, **options)]

    assert between(newest_first=True) == [third, second, first]
    assert between(since=first) == [second, third]
    assert between(until=second) == [first, second]
    assert between(since=first, until=second) == [second]
    assert between(time_of(first), time_of(second), newest_first=True) == [second]
    assert between(since=third) == between(until=first - 1) == []
    assert between(datetime(1980, 1, 1, tzinfo=UTC), datetime(2980, 1, 1, tzinfo=UTC)) == [
        first,
        second,
        third,
    ]


def test_an_extension_that_another_program_wrote_is_given_as_it_is(database, thing):
    storage = database.storage
    storage.acquire()
    storage.append(storage.tid + 1, [], [], extension=b"\xff")
    storage.release()

    assert next(database.transactions(newest_first=True)).extension == b"\xff"


def test_transactions_of_others_are_told_at_once(database, thing, again):
    other = again()
    checkout(other.root)
    other.root.number = 7
    other.transaction_manager.commit()

    assert len(tids(database)) == 4
    assert thing.number == 3


# -- the history of an object ------------------------------------------------------


def test_the_history_of_an_object_tells_what_changed_newest_first(database, thing):
    third, second, first = database.history(thing)

    assert [each.tid for each in (first, second, third)] == tids(database)
    assert (first.user, first.description) == ("me", "made")
    assert first.changed == {"number": (ABSENT, 1), "same": (ABSENT, "same")}
    assert second.changed == {"number": (1, 2)}
    assert third.changed == {"number": (2, 3), "more": (ABSENT, [1])}
    assert third.time == time_of(third.tid)


def test_an_attribute_that_was_deleted_is_absent_now(database, thing):
    checkout(thing)
    del thing.more
    commit()

    assert next(database.history(thing)).changed == {"more": ([1], ABSENT)}


def test_an_object_is_named_by_its_oid_too(database, thing):
    assert list(database.history(0)) == list(database.history(thing))


def test_the_history_of_an_object_that_is_not_loaded_leaves_it_so(database, thing, again):
    change(thing, child=Thing(x=1))
    other = again()
    child = vars(other.root)["child"]
    ghost = type(child)

    assert [each.changed for each in other.history(child)] == [{"x": (ABSENT, 1)}]
    assert type(child) is ghost
    assert ghost is not Thing


def test_values_in_a_history_are_the_callers_own_and_objects_those_of_the_database(
    database, thing
):
    child = Thing()
    change(thing, child=child)
    change(thing, child=None)

    newest, *_ = database.history(thing)
    more = next(each for each in database.history(thing) if "more" in each.changed)
    more.changed["more"][1].append(2)

    assert newest.changed["child"][0] is child
    assert thing.more == [1]


def test_a_history_is_that_of_the_threads_snapshot(database, thing, again):
    other = again()
    checkout(other.root)
    other.root.number = 7
    other.transaction_manager.commit()

    assert len(list(database.history(thing))) == 3
    transaction.begin()
    assert len(list(database.history(thing))) == 4


def test_what_is_not_committed_is_not_in_a_history(database, thing):
    checkout(thing)
    thing.number = 10

    assert next(database.history(thing)).changed["number"] == (2, 3)
    assert list(database.history(Thing())) == []


def test_a_stream_has_a_history(database, thing):
    change(thing, file=PersistentFile(io.BytesIO(b"bytes")))

    (made,) = database.history(thing.file)

    assert set(made.changed) >= {"_offset", "_size"}


def test_the_history_of_what_is_not_in_this_database_is_refused(database, thing, tmp_path):
    with pytest.raises(NotPersistentError):
        database.history("thing")
    with pytest.raises(ObjectNotFound):
        database.history(77)
    manager = transaction.TransactionManager()
    with Database(tmp_path / "other.log", transaction_manager=manager) as other:
        other.set_root(Thing())
        manager.commit()
        with pytest.raises(InvalidObjectReference):
            database.history(other.root)


def test_two_attributes_that_were_one_value_and_are_two_now_have_changed(database):
    both = [1]
    thing = Thing(a=both, b=both)
    database.set_root(thing)
    commit()
    checkout(thing)
    thing.b = list(thing.a)
    commit()

    assert list(next(database.history(thing)).changed) == ["b"]


@pytest.fixture
def module():
    """A module that is there until it is removed, with a persistent class in it."""
    made = types.ModuleType("past_shop")
    sys.modules["past_shop"] = made
    exec("from dobbin_like import Persistent\nclass Cart(Persistent): pass", vars(made))
    yield made
    sys.modules.pop("past_shop", None)


def test_an_object_whose_class_is_gone_has_a_history(database, thing, module, again):
    cart = module.Cart()
    change(thing, cart=cart)
    change(cart, total=1)
    del sys.modules["past_shop"]
    other = again()

    found = list(other.history(vars(other.root)["cart"]))

    assert [each.changed for each in found] == [{"total": (ABSENT, 1)}, {}]


def test_absent_is_one_object_wherever_it_goes():
    assert pickle.loads(pickle.dumps(ABSENT)) is ABSENT
    assert repr(ABSENT) == "<absent>"


# -- as of then -----------------------------------------------------------------------


def test_a_database_as_of_a_tid_shows_what_there_was_then(database, thing):
    first, second, third = tids(database)

    for tid, number in ((first, 1), (second, 2), (third, 3), (third - 1, 2)):
        with database.at(tid) as past:
            assert past.root.number == number
            assert past.root is not thing
            assert past.root._p_oid == 0
            assert past.root._p_jar is past
            assert past.tid == past.root._p_serial
    assert thing.number == 3
    assert not database.closed


def test_a_database_as_of_a_moment_shows_what_there_was_then(database, thing):
    first, second, _ = tids(database)

    with database.at(time_of(second) - timedelta(microseconds=1)) as past:
        assert past.root.number == 1
    with database.at(time_of(second).astimezone(timezone(timedelta(hours=-3)))) as past:
        assert past.root.number == 2
    with database.at(datetime.now(UTC)) as past:
        assert past.root.number == 3
    assert first < second


def test_several_of_them_are_open_at_once_and_share_the_log(database, thing):
    pasts = [database.at(tid) for tid in tids(database)]
    change(thing, number=4)

    assert [past.root.number for past in pasts] == [1, 2, 3]
    assert [len(past.storage) for past in pasts] == [1, 2, 3]
    assert len({id(past.root) for past in pasts}) == 3
    for past in pasts:
        past.close()
    assert thing.number == 4


def test_a_past_does_not_change_whatever_is_committed(database, thing, again):
    past = database.at(tids(database)[1])
    root = past.root
    other = again()
    for number in (7, 8):
        checkout(other.root)
        other.root.number = number
        other.root.new = Thing()
        other.transaction_manager.commit()
        transaction.begin()

        assert (root.number, len(past), past.storage.has_news()) == (2, 1, False)
        assert not hasattr(root, "new")
    assert thing.number == 8
    past.close()


def test_objects_that_were_made_later_are_not_there(database, thing):
    before = tids(database)[-1]
    change(thing, child=Thing(x=1))
    change(thing, other=Thing(x=2))

    with database.at(before) as past:
        assert (len(past), len(database)) == (1, 3)
        assert past.get(1) is None
        assert len(list(past.transactions())) == 3
        with pytest.raises(ObjectNotFound):
            past.history(1)
    with database.at(tids(database)[-2]) as past:
        assert len(past) == 2
        assert past.get(1).x == 1
        assert [each.tid for each in past.history(0)] == tids(database)[3::-1]


def test_failed_transactions_are_no_trouble(database, thing):
    checkout(thing)
    thing.child = Thing()
    in_thread(lambda: change(thing, number=9))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    failed = tids(database)[-1]
    change(thing, child=Thing(x=1))

    with database.at(failed) as past:
        assert (past.root.number, len(past), past.storage.tid) == (9, 1, failed)


def test_the_past_cannot_be_changed(database, thing):
    with database.at(tids(database)[0]) as past:
        with pytest.raises(ReadOnlyStorageError, match="this is the past"):
            checkout(past.root)
        with pytest.raises(ReadOnlyStorageError, match="this is the past"):
            past.undo(tids(database)[0])
        storage = past.storage
        for write in (
            storage.acquire,
            storage.decide,
            lambda: storage.append(1, []),
            lambda: storage.prepare(1, []),
            lambda: storage.fail(1, ""),
            lambda: storage.write_stream(io.BytesIO()),
            lambda: storage.apply([None]),
        ):
            with pytest.raises(ReadOnlyStorageError):
                write()
        storage.release()
        assert not storage.held
    change(thing, number=5)


def test_a_past_sees_what_was_in_its_streams(database, thing):
    change(thing, file=PersistentFile(io.BytesIO(b"first")))
    tid = thing._p_serial
    change(thing, file=PersistentFile(io.BytesIO(b"second")))

    with database.at(tid) as past:
        assert b"".join(past.root.file) == b"first"
    assert b"".join(thing.file) == b"second"


def test_the_future_and_the_time_before_the_log_are_told_apart(database, thing):
    first, _, last = tids(database)

    with pytest.raises(TransactionNotFound, match=f"after the last one, which is {last}"):
        database.at(last + 1)
    with pytest.raises(TransactionNotFound, match="in the future"):
        database.at(datetime.now(UTC) + timedelta(hours=1))
    when = f"{datetime.fromtimestamp(first / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"
    told = f"before the first one, which is {first}, of {when}"
    for moment in (first - 1, 0, -5, datetime(1980, 1, 1, tzinfo=UTC)):
        with pytest.raises(TransactionNotFound, match=told):
            database.at(moment)
    with pytest.raises(ValueError, match="time zone"):
        database.at(datetime(2026, 1, 1))


def test_a_moment_after_which_a_clock_was_ahead_is_refused(database, thing, monkeypatch):
    real = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: real() + 10**18)
        change(thing, number=4)
    change(thing, number=5)

    with pytest.raises(TransactionNotFound, match="a clock was wrong; ask for a tid"):
        database.at(datetime.now(UTC))
    _, second, _, ahead, newest = tids(database)
    assert newest == ahead + 1
    with database.at(newest) as past:
        assert past.root.number == 5
    with database.at(time_of(second)) as past:
        assert past.root.number == 2


@pytest.fixture
def ahead(database, thing, monkeypatch):
    """A database whose clock was 30 years ahead for one commit."""
    real = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: real() + 10**18)
        change(thing, number=4)
    change(thing, number=5)
    return database


def test_a_clock_that_was_ahead_is_told_by_whoever_opens_the_log(ahead, again, path, caplog):
    assert caplog.messages == []

    again()

    assert [f"tid {ahead.tid}" in text for text in caplog.messages] == [True]
    caplog.clear()
    with Database(TransactionLog(path, read_only=True)):
        assert len(caplog.messages) == 1


def test_a_pack_tells_that_a_clock_that_was_ahead_makes_it_keep_more(ahead, caplog):
    for keep in (timedelta(days=1), datetime.now(UTC)):
        assert ahead.pack(keep).dropped.revisions < 3
        assert "since a clock was ahead" in caplog.messages[-1]
    caplog.clear()

    for tid in (ahead.tid, None):
        ahead.pack(tid)
    assert len(list(ahead.history(ahead.root))) == 1
    assert caplog.messages == []


def test_a_snapshot_puts_the_clock_right(ahead, path, tmp_path, caplog):
    target = tmp_path / "right.log"
    before = datetime.now(UTC)

    report = ahead.snapshot(target)

    with Database(target) as right:
        assert before <= time_of(right.tid) <= datetime.now(UTC)
        assert report.tid == right.tid
        assert right.root.number == 5
        with right.at(right.tid) as past:
            assert past.root.number == 5
        transaction.begin()
        checkout(right.root)
        right.root.number = 6
        transaction.commit()
        assert right.tid < report.tid + 10**9
        assert right.at(datetime.now(UTC)).root.number == 6
    check_log(target).raise_if_bad()
    assert caplog.messages == []


def test_an_empty_log_has_no_past(database):
    with pytest.raises(TransactionNotFound, match="the log is empty"):
        database.at(datetime.now(UTC))
    assert list(database.transactions()) == []
    assert list(database.changes()) == []
    assert database.tid == 0


def test_when_the_database_is_closed_nothing_more_is_read_from_the_past(database, thing):
    past = database.at(tids(database)[0])
    root = past.root
    database.close()

    with pytest.raises(ClosedError):
        root.number  # noqa: B018
    assert past.storage.closed
    past.close()


def test_a_closed_past_says_so(database, thing):
    past = database.at(tids(database)[0])
    past.close()
    past.close()

    with pytest.raises(ClosedError):
        past.root  # noqa: B018
    with pytest.raises(ClosedError):
        past.storage.load(0)


def test_the_past_of_a_past_reaches_no_further(database, thing):
    first, second, third = tids(database)
    with database.at(second) as past:
        with past.at(first) as older:
            assert older.root.number == 1
        with pytest.raises(TransactionNotFound):
            past.at(third)
        assert [each.tid for each in past.changes()] == [first, second]


def test_threads_read_the_same_past(database, thing):
    with database.at(tids(database)[1]) as past:
        assert in_thread(lambda: past.root.number) == 2
        assert in_thread(lambda: past.root) is past.root


def test_everything_of_a_past_can_be_checked(database, thing):
    change(thing, children=PersistentList([Thing(n=n) for n in range(20)]))
    tid = thing._p_serial
    change(thing, children=None)

    with database.at(tid) as past:
        assert [child.n for child in past.root.children] == list(range(20))
        assert len(past) == 22
        assert past.get(5) is not None


@given(data=st.data())
def test_every_state_there_ever_was_is_read_again(tmp_path, data):
    """Against a model: the state of every object after every transaction."""
    path = tmp_path / f"{uuid.uuid4()}.log"
    manager = transaction.TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as database:
        database.set_root(PersistentDict())
        manager.commit()
        model: dict[int, dict[str, int]] = {}
        now: dict[str, int] = {}
        for number in range(data.draw(st.integers(1, 8))):
            name = data.draw(st.sampled_from("abc"))
            if name in database.root:
                checkout(database.root[name])
                database.root[name].number = number
            else:
                checkout(database.root)
                database.root[name] = Thing(number=number)
            manager.commit()
            now = {**now, name: number}
            model[database.tid] = now
        for tid, wanted in model.items():
            with database.at(tid) as past:
                found = {name: thing.number for name, thing in past.root.items()}
                assert found == wanted
                assert len(past) == len(wanted) + 1
        for name, thing in database.root.items():
            numbers = [each.changed["number"][1] for each in database.history(thing)]
            assert numbers == list(
                dict.fromkeys(state[name] for state in reversed(model.values()) if name in state)
            )


# -- packed logs ------------------------------------------------------------------------


class Packed:
    """What a storage says that was packed, over one that was not."""

    def __init__(self, storage, since):
        self._storage = storage
        self.complete_since = since

    def __getattr__(self, name):
        if name in ("pin", "unpin", "reaches"):
            raise AttributeError(name)
        return getattr(self._storage, name)


def test_what_packing_has_dropped_is_not_told_as_if_it_were_there(database, thing):
    first, second, third = tids(database)
    packed = Packed(database.storage, second)

    with pytest.raises(PastDroppedError) as caught:
        AsOf(packed, first)
    assert caught.value.complete_since == second
    assert AsOf(packed, second).tid == second
    assert AsOf(packed, third).complete_since == second


@pytest.fixture
def packed(database, thing, path, again):
    """A database and its past as of the fourth transaction, opened before a pack."""
    change(thing, file=PersistentFile(io.BytesIO(b"first")), child=Thing(x=1))
    tid = thing._p_serial
    change(thing, file=PersistentFile(io.BytesIO(b"second")), child=None)
    database.close()
    other = again()
    past = other.at(tid)
    pack_file(path)
    other.transaction_manager.begin()
    assert other.storage.complete_since > tid
    yield other, past
    past.close()


def test_a_past_goes_on_reading_what_a_pack_has_dropped(packed):
    database, past = packed

    assert (past.root.number, past.root.child.x) == (3, 1)
    assert b"".join(past.root.file) == b"first"
    assert b"".join(database.root.file) == b"second"
    assert (len(past), len(past.storage)) == (3, 4)
    assert [each.sequence for each in past.storage.transactions()] == [1, 2, 3, 4]
    changed = [set(each.changed) for each in past.history(0)]
    assert changed == [{"file", "child"}, {"number", "more"}, {"number"}, {"number", "same"}]


def test_what_was_begun_before_a_pack_comes_to_its_end(database, thing, path):
    done = tids(database)
    told, back = database.transactions(), database.transactions(newest_first=True)
    history, entries = database.history(thing), database.storage.transactions()
    firsts = [next(told).tid, next(back).tid, next(history).tid]
    logged = list(entries)
    pack_file(path)
    transaction.begin()

    assert database.storage.complete_since == done[-1]
    assert firsts == [done[0], done[2], done[2]]
    assert [each.tid for each in told] == done[1:]
    assert [each.tid for each in back] == done[1::-1]
    assert [each.tid for each in history] == done[1::-1]
    transaction.begin()  # lets go of the old file
    assert [oid for oid, _ in database.storage.entries(logged[-1])] == [0]
    with pytest.raises(PastDroppedError):
        list(database.storage.entries(logged[0]))
    assert database.storage.transaction_of(database.storage.load(0)).tid == done[-1]


def test_in_a_packed_log_the_oldest_revision_has_all_attributes(database, thing, path):
    pack_file(path)
    transaction.begin()

    (kept,) = database.history(thing)

    assert kept.changed == {
        "number": (ABSENT, 3),
        "same": (ABSENT, "same"),
        "more": (ABSENT, [1]),
    }
    with pytest.raises(PastDroppedError):
        database.undo(kept.tid)
    change(thing, number=4)
    assert [set(each.changed) for each in database.history(thing)][:1] == [{"number"}]
    database.undo(thing._p_serial)
    assert thing.number == 3
    with pytest.raises(PastDroppedError):
        database.at(kept.tid - 1)
    with database.at(kept.tid) as past:
        assert past.root.number == 3


def test_a_past_is_open_beside_the_checks_of_its_database(database, thing):
    with database.at(tids(database)[0]) as past:
        assert past.root.number == 1
        check_database(database).raise_if_bad()
    assert json.dumps([each.tid for each in database.transactions()])


def test_a_past_snapshot_is_opened_without_reading_an_object(database, monkeypatch):
    """So the rest of a damaged log can be looked at."""
    database.set_root(Thing())
    transaction.commit()
    asked = []
    monkeypatch.setattr(AsOf, "oid_count", property(lambda _: asked.append("oid_count")))

    database.at(database.storage.tid).close()

    assert asked == []
