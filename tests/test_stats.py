"""``db.stats()``: each figure after real transactions; and the warning of an old snapshot."""

from __future__ import annotations

import json
import logging
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import (
    BTree,
    ConflictError,
    Database,
    MemoryLog,
    PersistentCounter,
    PersistentDict,
    checkout,
    warn_after,
)
from dobbin_like.database import store_of
from dobbin_like.exc import ClosedError
from dobbin_like.watch import OldSnapshot, Stats
from tests.helpers.processes import in_child
from tests.helpers.steps import Steps, in_thread
from tests.helpers.things import Thing
from tests.helpers.transactions import change, commit_elsewhere
from tests.helpers.trees import make_small

if TYPE_CHECKING:
    from collections.abc import Callable


class Other(Thing):
    """What a thing is renamed to."""


def put(database: Database, **items: Any) -> Callable[[], None]:
    """Return what puts *items* into the root, in whichever thread calls it."""

    def step() -> None:
        checkout(database.root)
        database.root.update(items)

    return step


def set_n(thing: Thing, value: int) -> Callable[[], None]:
    def step() -> None:
        checkout(thing)
        thing.n = value

    return step


def conflict(thing: Thing) -> None:
    """Let the calling thread have a conflict over *thing*."""
    before = thing.n
    set_n(thing, -1)()
    commit_elsewhere(set_n(thing, before + 1))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()


# -- transactions -----------------------------------------------------------------------


def test_a_new_database_has_done_nothing(database: Database) -> None:
    figures = database.stats()

    assert (figures.commits, figures.conflicts, figures.merged, figures.replays) == (0, {}, 0, 0)
    assert (figures.retries, figures.loads, figures.objects, figures.masked) == (0, 0, 0, 0)
    assert (figures.old_states, figures.snapshots, figures.oldest) == (0, 1, None)


def test_commits_are_counted_and_what_changes_nothing_is_not(database: Database) -> None:
    for number in range(3):
        change(database, n=number)
    transaction.commit()
    checkout(database.root)
    transaction.abort()

    assert database.stats().commits == 3


def test_commits_of_others_are_not_counted(
    database: Database, again: Callable[..., Database]
) -> None:
    change(database, n=0)
    other = again()
    checkout(other.root)
    other.root["n"] = 1
    other.transaction_manager.commit()
    transaction.begin()

    assert database.root["n"] == 1
    assert (database.stats().commits, other.stats().commits) == (1, 1)


def test_what_the_database_commits_for_itself_is_counted(database: Database) -> None:
    change(database, thing=Thing(n=0))

    database.rename_class(Thing, Other)

    assert database.stats().commits == 2


def test_no_commit_of_many_threads_is_lost(database: Database) -> None:
    change(database, **{str(number): PersistentDict() for number in range(4)})
    steps = Steps()

    def work(name: str) -> None:
        for number in range(50):
            with transaction.manager:
                mine = database.root[name]
                checkout(mine)
                mine["n"] = number

    for number in range(4):
        steps.thread(lambda name=str(number): work(name))  # type: ignore[misc]
    steps.join()

    figures = database.stats()
    assert figures.commits == 1 + 4 * 50
    assert figures.log is not None
    assert figures.log.transactions == 1 + 4 * 50


def test_conflicts_are_counted_by_class(database: Database) -> None:
    thing = Thing(n=0)
    change(database, thing=thing, dict=PersistentDict())
    conflict(thing)
    conflict(thing)
    checkout(database.root, exclusive=True)
    commit_elsewhere(put(database, a=1))
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()

    figures = database.stats()
    assert figures.conflicts == {"Thing": 2, "PersistentDict": 1}
    assert figures.commits == 1 + 3
    assert figures.log is not None
    assert figures.log.failed == 3


def test_conflicts_with_another_process_are_counted(
    database: Database, again: Callable[..., Database]
) -> None:
    change(database, thing=Thing(n=0))
    other = again()
    set_n(database.root["thing"], 1)()
    set_n(other.root["thing"], 2)()
    other.transaction_manager.commit()
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()

    assert database.stats().conflicts == {"Thing": 1}
    assert other.stats().conflicts == {}


def test_what_was_merged_is_counted_by_objects(database: Database) -> None:
    counter = PersistentCounter()
    change(database, counter=counter)

    def mine() -> None:
        put(database, a=1)()
        checkout(counter)
        counter.increment()

    def theirs() -> None:
        put(database, b=1)()
        checkout(counter)
        counter.increment()

    mine()

    commit_elsewhere(theirs)
    transaction.commit()

    figures = database.stats()
    assert counter.value == 2
    assert (figures.merged, figures.conflicts, figures.retries) == (2, {}, 0)


def test_replays_are_counted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    tree = BTree((number, number) for number in range(0, 40, 2))
    change(database, tree=tree)

    def add(start: int) -> None:  # Nodes are split.
        checkout(tree)
        tree.update((number, number) for number in range(start, start + 20, 2))

    add(1)
    commit_elsewhere(lambda: add(21))
    transaction.commit()

    assert list(tree) == list(range(40))
    assert database.stats().replays == 1


def test_a_commit_after_a_conflict_is_a_retry(database: Database) -> None:
    thing = Thing(n=0)
    change(database, thing=thing)
    tries = 0
    for attempt in transaction.manager.attempts(5):
        with attempt:
            tries += 1
            set_n(thing, 10)()
            if tries < 3:
                commit_elsewhere(set_n(thing, tries))
    set_n(thing, 11)()
    transaction.commit()

    figures = database.stats()
    assert tries == 3
    assert (figures.retries, figures.conflicts) == (2, {"Thing": 2})


# -- objects ----------------------------------------------------------------------------


def test_each_state_that_is_read_is_a_load(
    database: Database, again: Callable[..., Database]
) -> None:
    change(database, a=Thing(n=0), b=Thing(n=1))
    other = again()
    before = other.stats()
    things = [other.root["a"], other.root["b"]]
    only_root = other.stats()
    values = [thing.n + thing.n for thing in things]

    assert values == [0, 2]
    assert [each.loads for each in (before, only_root, other.stats())] == [0, 1, 3]
    assert other.stats().objects == 3
    assert database.stats().loads == 0


def test_no_load_of_many_threads_is_lost(
    database: Database, again: Callable[..., Database]
) -> None:
    change(database, **{str(number): Thing(n=number) for number in range(200)})
    other = again(transaction_manager=transaction.manager)
    things = [list(other.root.values())[start::2] for start in (0, 1)]
    steps = Steps()
    for some in things:
        steps.thread(lambda some=some: [thing.n for thing in some])  # type: ignore[misc]
    steps.join()

    assert other.stats().loads == 1 + 200


def test_what_a_thread_has_checked_out_is_masked(database: Database) -> None:
    change(database, n=0)
    checkout(database.root)

    assert database.stats().masked == 1

    transaction.abort()
    assert database.stats().masked == 0


def test_an_old_snapshot_keeps_old_states_and_its_thread_is_named(database: Database) -> None:
    change(database, n=0)
    tid = database.tid
    steps = Steps()

    def read() -> None:
        threading.current_thread().name = "the reader"
        with steps[0]:
            transaction.begin()
            assert database.root["n"] == 0
        with steps[2]:
            assert database.root["n"] == 0
            transaction.begin()

    steps.thread(read)
    with steps[1]:
        before = database.stats()
        change(database, n=1)
        change(database, n=2)
        during = database.stats()
        later = database.stats()
    with steps[3]:
        after = database.stats()
    steps.join()

    assert (before.snapshots, before.oldest) == (2, None)
    assert during.oldest is not None
    assert later.oldest is not None
    assert (during.oldest.tid, during.oldest.thread) == (tid, "the reader")
    assert later.oldest.seconds > during.oldest.seconds >= 0
    assert (during.masked, during.old_states) == (1, 1)
    assert (after.masked, after.old_states, after.oldest) == (0, 0, None)


def test_asking_begins_no_transaction(database: Database) -> None:
    change(database, n=0)
    figures = in_thread(database.stats)

    assert figures.snapshots == 1
    assert len(store_of(database).views()) == 1


# -- the answer ---------------------------------------------------------------------------


def test_figures_can_be_stored_as_json_and_read_by_people(database: Database) -> None:
    thing = Thing(n=0)
    change(database, thing=thing)
    conflict(thing)
    figures = database.stats()

    again = json.loads(json.dumps(figures.as_dict()))
    lines = {line[:13].rstrip(): line[14:] for line in str(figures).splitlines()[1:]}

    assert again["conflicts"] == {"Thing": 1}
    assert again["log"]["transactions"] == 2
    assert str(figures).splitlines()[0] == database.storage.path
    assert lines["commits"] == "2; 0 of a thread after a conflict"
    assert lines["conflicts"] == "1 (Thing 1)"
    assert lines["syncs"].startswith("0; ")


def test_figures_do_not_change(database: Database) -> None:
    thing = Thing(n=0)
    change(database, thing=thing)
    before = database.stats()
    conflict(thing)

    assert before.conflicts == {}
    with pytest.raises(AttributeError):
        before.commits = 7  # type: ignore[misc]


def test_figures_can_be_sent_to_another_process(database: Database) -> None:
    thing = Thing(n=0)
    change(database, thing=thing)
    conflict(thing)
    figures = database.stats()

    assert pickle.loads(pickle.dumps(figures)) == figures


def test_a_storage_without_a_file_has_no_figures_of_one() -> None:
    with Database(MemoryLog()) as database:
        change(database, n=0)
        figures = database.stats()
        transaction.abort()

    assert (figures.commits, figures.log) == (1, None)
    assert "commit lock" not in str(figures)


def test_a_database_of_the_past_has_figures_of_its_own(database: Database) -> None:
    change(database, n=0)
    with database.at(database.tid) as past:
        assert past.root["n"] == 0
        assert (past.stats().commits, past.stats().loads, past.stats().log) == (0, 1, None)


def test_a_closed_database_has_none(database: Database) -> None:
    database.close()

    with pytest.raises(ClosedError):
        database.stats()


def test_a_forked_child_counts_from_zero(database: Database) -> None:
    change(database, n=0)

    def child() -> tuple[int, int | None]:
        change(database, n=1)
        figures = database.stats()
        return figures.commits, figures.log and figures.log.transactions

    assert in_child(child) == (1, 1)
    assert database.stats().commits == 1


def test_an_old_snapshot_is_shown() -> None:
    values: Any = dict.fromkeys(Stats.__dataclass_fields__, 0)
    values |= {"path": "x.log", "conflicts": {}, "oldest": OldSnapshot(7, "T", 1.25), "log": None}

    assert "; thread 'T' has one outdated for 1.2 s" in str(Stats(**values))


# -- the warning ----------------------------------------------------------------------------


def outdated(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_snapshot_that_is_kept_too_long_is_told_of_once(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warn_after, "snapshot_seconds", 0)
    change(database, n=0)
    tid = database.tid
    steps = Steps()

    def read() -> None:
        threading.current_thread().name = "the reader"
        with steps[0]:
            assert database.root["n"] == 0
        with steps[2]:
            transaction.begin()
        with steps[4]:
            transaction.abort()

    steps.thread(read)
    with steps[1]:
        for number in range(1, 4):
            change(database, n=number)
        first = outdated(caplog)
    with steps[3]:
        change(database, n=4)
        second = outdated(caplog)
    steps.join()

    assert len(first) == 1
    start = f"{database.storage.path}: thread 'the reader' has kept its snapshot, of tid {tid}, "
    assert first[0].startswith(start)
    assert len(second) == 2
    assert caplog.records[0].name == "dobbin_like.transactions.old_snapshots"


def test_it_is_told_when_another_process_commits(
    database: Database,
    again: Callable[..., Database],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warn_after, "snapshot_seconds", 0)
    change(database, n=0)
    other = again()
    steps = Steps()

    def read() -> None:
        with steps[0]:
            assert database.root["n"] == 0
        with steps[2]:
            transaction.abort()

    steps.thread(read)
    with steps[1]:
        checkout(other.root)
        other.root["n"] = 1
        other.transaction_manager.commit()
        transaction.begin()
        told = outdated(caplog)
    steps.join()

    assert len(told) == 1


@pytest.mark.parametrize("limit", [None, 1e9])
def test_it_is_not_told_before_the_limit(
    database: Database,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    limit: float | None,
) -> None:
    monkeypatch.setattr(warn_after, "snapshot_seconds", limit)
    change(database, n=0)
    steps = Steps()

    def read() -> None:
        with steps[0]:
            assert database.root["n"] == 0
        with steps[2]:
            transaction.abort()

    steps.thread(read)
    with steps[1]:
        change(database, n=1)
        store_of(database).publisher.old_snapshots._look_at = 0
        change(database, n=2)
        kept = database.stats().oldest
    steps.join()

    assert kept is not None
    assert outdated(caplog) == []


def test_a_thread_alone_is_never_told(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warn_after, "snapshot_seconds", 0)
    for number in range(5):
        change(database, n=number)

    assert outdated(caplog) == []
