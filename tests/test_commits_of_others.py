"""A commit behind those of others that came since: it need not see them before it is done.

Two instances over one log stand for two processes.
"""

from __future__ import annotations

import errno
import io
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import ConflictError, NotHeldError
from dobbin_like.ids import Oid
from dobbin_like.persistent import Persistent, PersistentDict, PersistentFile, checkout
from dobbin_like.storage import TransactionLog
from dobbin_like.transactions.commit import conflict_search
from dobbin_like.transactions.data_manager import DataManager
from tests.helpers.amount import step
from tests.helpers.interrupts import Interrupt
from tests.helpers.tracing import tracing

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("own", "theirs")


class Instance:
    """A database over the log, with a transaction manager of its own, and threads."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.manager = transaction.ThreadTransactionManager()
        self.thread = ThreadPoolExecutor(1)
        self.database = Database(TransactionLog(path, **options), transaction_manager=self.manager)

    def put(self, name: str, value: Any, key: str = "n") -> None:
        item = self.database.root[name]
        checkout(item)
        item[key] = value

    def commit(self, name: str, value: Any, key: str = "n") -> None:
        self.manager.begin()
        self.put(name, value, key)
        self.manager.commit()

    def found(self) -> dict[str, int]:
        return {name: self.database.root[name]["n"] for name in NAMES}


@pytest.fixture(params=[True, False], ids=["synced", "loose"])
def instances(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[list[Instance]]:
    path = tmp_path / "data.log"
    first = Instance(path, sync=request.param)
    first.database.set_root(PersistentDict({name: PersistentDict(n=0) for name in NAMES}))
    first.manager.commit()
    second = Instance(path, sync=request.param)
    yield [first, second]
    for each in (first, second):
        each.thread.shutdown()
        each.manager.abort()
        each.database.close()
    check_log(path).raise_if_bad()


def test_what_others_have_committed_is_published_without_the_lock(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, others = instances
    own.manager.begin()
    assert own.found() == {"own": 0, "theirs": 0}
    own.put("own", 1)
    for value in range(1, 4):
        others.commit("theirs", value)
    assert own.found() == {"own": 1, "theirs": 0}

    shared, log = own.database._store.publisher.graph.shared, own.database.storage
    publish, held = shared.publish_foreign, []

    def publish_foreign(*args: Any) -> None:
        held.append(log.held)
        publish(*args)

    monkeypatch.setattr(shared, "publish_foreign", publish_foreign)
    monkeypatch.setattr(log, "read_news", lambda: pytest.fail("they are read a second time"))
    own.manager.commit()

    assert held == [False]
    assert own.found() == {"own": 1, "theirs": 3}
    others.manager.begin()
    assert others.found() == {"own": 1, "theirs": 3}


def test_nothing_is_kept_for_a_snapshot_that_ends(instances: list[Instance]) -> None:
    own, others = instances
    own.manager.begin()
    assert own.found() == {"own": 0, "theirs": 0}
    masks, puts = own.database._store.publisher.graph.shared.masks, []
    put_on = masks.put_on
    masks.put_on = lambda obj, ref, chain: puts.append(obj) or put_on(obj, ref, chain)  # type: ignore[func-returns-value, method-assign]

    others.commit("theirs", 1)
    own.manager.begin()
    assert own.found() == {"own": 0, "theirs": 1}
    own.put("own", 1)
    others.commit("theirs", 2)
    assert own.found() == {"own": 1, "theirs": 1}
    own.manager.commit()
    assert own.found() == {"own": 1, "theirs": 2}
    assert puts == []


def test_the_snapshots_of_other_threads_are_kept(instances: list[Instance]) -> None:
    """Not all snapshots of the instance end with the commit."""
    own, others = instances
    own.manager.begin()
    own.put("own", 1)
    own.thread.submit(own.manager.begin).result()
    assert own.thread.submit(own.found).result() == {"own": 0, "theirs": 0}
    others.commit("theirs", 1)
    own.manager.commit()
    assert own.thread.submit(own.found).result() == {"own": 0, "theirs": 0}
    assert own.found() == {"own": 1, "theirs": 1}
    own.thread.submit(own.manager.begin).result()
    assert own.thread.submit(own.found).result() == {"own": 1, "theirs": 1}


def test_what_both_have_changed_is_found(instances: list[Instance]) -> None:
    own, others = instances
    own.manager.begin()
    checkout(own.database.root["theirs"])
    own.put("own", 1)
    others.commit("theirs", 1)
    with pytest.raises(ConflictError):
        own.manager.commit()
    own.manager.abort()
    assert own.found() == {"own": 0, "theirs": 1}


def test_what_merges_is_merged(instances: list[Instance]) -> None:
    own, others = instances
    own.manager.begin()
    own.put("own", 1, "mine")
    others.commit("theirs", 1)
    others.commit("own", 1)
    own.manager.commit()
    assert own.found() == {"own": 1, "theirs": 1}
    assert own.database.root["own"]["mine"] == 1


def test_a_stream_is_stored_behind_them(instances: list[Instance]) -> None:
    own, others = instances
    own.manager.begin()
    own.put("own", PersistentFile(io.BytesIO(b"data")), "stream")
    own.put("own", 1)
    others.commit("theirs", 1)
    own.manager.commit()
    assert own.found() == {"own": 1, "theirs": 1}
    others.manager.begin()
    with others.database.root["own"]["stream"].open() as stream:
        assert stream.read() == b"data"


def test_a_commit_that_stores_nothing_sees_them_as_well(instances: list[Instance]) -> None:
    own, others = instances
    own.manager.begin()
    checkout(own.database.root["own"])
    others.commit("theirs", 1)
    own.manager.commit()
    assert own.found() == {"own": 0, "theirs": 1}


class Plain(Persistent):
    """A class that the log does not know yet."""


class Other(Persistent):
    """Another one."""


def test_new_classes_and_objects_of_others_keep_their_numbers(instances: list[Instance]) -> None:
    own, others = instances
    own.manager.begin()
    own.put("own", Plain(), "new")
    others.commit("theirs", Other(), "new")
    own.manager.commit()
    own.manager.begin()
    own.put("own", [Plain() for _ in range(3)], "more")
    others.commit("theirs", [Other() for _ in range(5)], "more")
    own.manager.commit()

    for each in (own, others):
        each.manager.begin()
        mine, theirs = (each.database.root[name] for name in NAMES)
        assert all(isinstance(new, Plain) for new in [mine["new"], *mine["more"]])
        assert all(isinstance(new, Other) for new in [theirs["new"], *theirs["more"]])
        oids = {new._p_oid for new in [*mine["more"], *theirs["more"]]}
        assert len(oids) == 8


def fails(*_args: Any) -> Any:
    raise OSError(errno.EIO, "Input/output error")


def test_a_begin_that_fails_leaves_a_snapshot(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, others = instances
    own.manager.begin()
    assert own.found() == {"own": 0, "theirs": 0}
    others.commit("theirs", 1)
    with monkeypatch.context() as patch:
        patch.setattr(own.database.storage, "read_news", fails)
        with pytest.raises(OSError, match="Input/output"):
            own.manager.begin()
    others.commit("theirs", 2)
    own.thread.submit(own.manager.begin).result()
    assert own.thread.submit(own.found).result() == {"own": 0, "theirs": 2}
    assert own.found() == {"own": 0, "theirs": 0}
    own.manager.begin()
    assert own.found() == {"own": 0, "theirs": 2}


@pytest.mark.parametrize(
    "lines", [23, pytest.param(step(5), marks=pytest.mark.slow)], ids=["some", "more"]
)
def test_an_interrupt_anywhere_loses_nothing(instances: list[Instance], lines: int) -> None:
    own, others = instances
    outcomes = set()
    for value, number in enumerate(range(1, 100_000, lines), start=1):
        own.manager.begin()
        before = own.found()["own"]
        own.put("own", value)
        others.commit("theirs", value)
        try:
            with tracing(Interrupt(number, "dobbin_like")):
                own.manager.commit()
            hit = False
        except KeyboardInterrupt:
            hit = True
        own.manager.abort()
        assert not own.database.storage.held

        others.manager.begin()
        found = others.found()
        assert found in ({"own": before, "theirs": value}, {"own": value, "theirs": value}), number
        own.manager.begin()
        assert own.found() == found, number
        outcomes.add(found["own"] == value)
        if not hit:
            break
    assert not hit
    assert outcomes == {True, False}


def test_the_log_refuses_what_would_hide_a_commit(instances: list[Instance]) -> None:
    """Who appends without having looked at what is unseen breaks the chain of versions."""
    own, others = instances
    others.commit("theirs", 1)
    oid = others.database.root["theirs"]._p_oid
    log = own.database.storage
    log.acquire()
    try:
        assert [oid in each.oids for each in log.unseen] == [True]
        for write in (log.append, log.prepare):
            with pytest.raises(NotHeldError, match="all news applied"):
                write(log.last_tid + 1, [(Oid(oid), 1, b"x")])
        log.apply(log.read_news())
        assert log.unseen == []
    finally:
        log.release()


def test_what_another_thread_has_not_published_yet_is_not_passed_over(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has forgotten it by then, and something of others is behind it."""
    own, others = instances
    own.manager.begin()
    own.put("own", 1)
    publisher = own.database._store.publisher
    catch_up_to, reached, go = publisher.catch_up_to, threading.Event(), threading.Event()

    def slowly(*args: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            reached.set()
            assert go.wait(10)
        catch_up_to(*args)

    monkeypatch.setattr(publisher, "catch_up_to", slowly)
    first = own.thread.submit(own.commit, "theirs", 1)
    assert reached.wait(10)
    others.commit("theirs", 2)
    try:
        own.manager.commit()
    finally:
        go.set()
    first.result()
    own.manager.begin()
    assert own.found() == {"own": 1, "theirs": 2}


def test_what_another_thread_is_about_to_publish_is_not_passed_over(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log does not tell of it any more, since it is applied; nor do the objects yet."""
    own, others = instances
    own.thread.submit(own.manager.begin).result()
    assert own.thread.submit(own.found).result() == {"own": 0, "theirs": 0}
    own.manager.begin()
    own.put("own", own.database.root["own"]["n"] + 1)
    others.commit("own", 1)

    log, shared = own.database.storage, own.database._store.publisher.graph.shared
    unseen, publish = TransactionLog.unseen, shared.publish_foreign
    reached, go = threading.Event(), threading.Event()
    begun: list[Future[object]] = []

    def look(self: TransactionLog) -> Any:
        if self is log and not begun:
            begun.append(own.thread.submit(own.manager.begin))
            assert reached.wait(10)
        return unseen.fget(self)  # type: ignore[attr-defined]

    def slowly(*args: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            reached.set()
            go.wait(0.2)  # The main thread waits for this, or goes on without it.
        publish(*args)

    monkeypatch.setattr(TransactionLog, "unseen", property(look))
    monkeypatch.setattr(shared, "publish_foreign", slowly)
    try:
        with pytest.raises(ConflictError):
            own.manager.commit()
    finally:
        go.set()
    begun[0].result()
    own.manager.abort()
    assert own.found() == {"own": 1, "theirs": 0}


@pytest.mark.parametrize("instances", [True], indirect=True, ids=["synced"])
def test_what_another_thread_applies_meanwhile_is_not_waited_for(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not visible, and may be in conflict; then it is no more of what is unseen."""
    own, others = instances
    own.thread.submit(own.manager.begin).result()
    assert own.thread.submit(own.found).result() == {"own": 0, "theirs": 0}
    own.manager.begin()
    own.put("own", 1)

    theirs, reached, go = others.database.storage, threading.Event(), threading.Event()
    confirm, may_conflict = theirs.confirm, conflict_search.may_conflict

    def slowly(made: Any) -> None:
        reached.set()
        assert go.wait(10)
        confirm(made)

    calls = itertools.count(1)

    def look(*args: Any) -> bool:
        found = may_conflict(*args)
        if next(calls) == 2:
            go.set()
            committed.result()
            own.thread.submit(own.manager.begin).result()
        return found

    monkeypatch.setattr(theirs, "confirm", slowly)
    monkeypatch.setattr(conflict_search, "may_conflict", look)
    committed = others.thread.submit(others.commit, "own", 2)
    assert reached.wait(10)
    with pytest.raises(ConflictError):
        own.manager.commit()
    own.manager.abort()
    assert next(calls) == 3
    assert own.found() == {"own": 2, "theirs": 0}


def test_what_another_thread_publishes_meanwhile_is_not_stored_again(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack has dropped it, and others have stored it again; the log does not tell of it then."""
    own, others = instances
    item = PersistentDict(n=0)
    own.commit("own", item, "item")
    others.manager.begin()
    theirs = others.database.root["own"]["item"]
    assert theirs["n"] == 0
    own.commit("own", None, "item")
    own.thread.submit(own.manager.begin).result()
    assert own.thread.submit(own.found).result() == {"own": 0, "theirs": 0}
    others.manager.begin()
    own.database.pack()
    own.thread.submit(own.manager.begin).result()
    for each in (own, others):
        each.manager.begin()
    own.put("own", item, "item")
    checkout(theirs)
    theirs["n"] = 1
    others.put("theirs", theirs, "item")
    others.manager.commit()

    log, vote = own.database.storage, DataManager.tpc_vote

    def tpc_vote(self: DataManager, current: Any) -> None:
        assert log.held
        own.thread.submit(own.manager.begin).result()
        vote(self, current)

    monkeypatch.setattr(DataManager, "tpc_vote", tpc_vote)
    with pytest.raises(ConflictError):
        own.manager.commit()
    own.manager.abort()
    assert item["n"] == 1


def test_new_names_are_known_before_others_may_append(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they could give the same numbers."""
    own, others = instances
    own.manager.begin()
    own.put("own", Plain(), "new")
    others.commit("theirs", 1)
    log, known = own.database.storage, []
    release = log.release

    def look() -> None:
        known.append(log.names.class_number(Plain.__module__, Plain.__qualname__))
        release()

    monkeypatch.setattr(log, "release", look)
    own.manager.commit()
    assert known
    assert None not in known
    assert own.found() == {"own": 0, "theirs": 1}


def test_news_for_the_holder_are_all_that_is_visible(instances: list[Instance]) -> None:
    own, others = instances
    others.commit("theirs", 1)
    log = own.database.storage
    log.acquire()
    try:
        log.fail(log.last_tid, "a reason")
        failed = [each.failed for each in log.read_news()]
        assert failed == ([False] if log._writing.sync else [False, True])
    finally:
        log.release()


def test_what_could_not_be_published_hides_nothing_behind_it(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, others = instances
    own.manager.begin()
    assert own.found() == {"own": 0, "theirs": 0}
    others.commit("theirs", 1)
    with monkeypatch.context() as patch:
        shared = own.database._store.publisher.graph.shared
        patch.setattr(shared, "publish_foreign", fails)
        with pytest.raises(OSError, match="Input/output"):
            own.manager.begin()
    others.commit("theirs", 2)
    own.manager.begin()
    assert own.found() == {"own": 0, "theirs": 2}


class Reader:
    """Another resource of a transaction: calls a function when the databases have committed."""

    def __init__(self, manager: Any, read: Callable[[], object]) -> None:
        self.transaction_manager = manager
        self._read = read

    def sortKey(self) -> str:  # noqa: N802  the interface's name
        return "~"

    def tpc_finish(self, _transaction: Any) -> None:
        self._read()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("tpc_") and name not in ("commit", "abort"):
            raise AttributeError(name)
        return lambda _transaction: None


def test_the_snapshot_of_a_commit_stays_when_another_thread_has_published_it(
    instances: list[Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, others = instances
    own.thread.submit(own.manager.begin).result()
    assert own.thread.submit(own.found).result() == {"own": 0, "theirs": 0}
    own.manager.begin()
    own.put("own", 1)
    others.commit("theirs", 1)
    found = []

    def read() -> None:
        found.append(own.found())
        others.commit("theirs", 2)
        own.thread.submit(own.manager.begin).result()
        found.append(own.found())

    own.manager.get().join(Reader(own.manager, read))
    log = own.database.storage
    confirm = log.confirm

    def slowly(made: Any) -> None:
        confirm(made)
        own.thread.submit(own.manager.begin).result()

    monkeypatch.setattr(log, "confirm", slowly)
    own.manager.commit()
    assert found == [{"own": 1, "theirs": 1}] * 2


def test_a_begin_that_is_interrupted_anywhere_leaves_a_snapshot(
    instances: list[Instance],
) -> None:
    own, others = instances
    own.thread.submit(own.manager.begin).result()
    assert own.thread.submit(own.found).result() == {"own": 0, "theirs": 0}
    for number in range(1, 1000):
        own.manager.begin()
        assert own.found()["theirs"] == 2 * number - 2
        others.commit("theirs", 2 * number - 1)
        try:
            with tracing(Interrupt(number, "dobbin_like.transactions.")):
                own.manager.begin()
            hit = False
        except KeyboardInterrupt:
            hit = True
        found = own.found()
        others.commit("theirs", 2 * number)
        own.thread.submit(own.manager.begin).result()
        assert own.found() == found, number
        if not hit:
            break
    assert not hit
