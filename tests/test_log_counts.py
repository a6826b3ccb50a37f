"""What an instance of a log counts, and what it finds out when it is asked."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import transaction

from dobbin_like import Database, PersistentDict, checkout
from dobbin_like.exc import ClosedError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.counts import LogCounts
from dobbin_like.log.format.header import PAGE_SIZE
from tests.helpers.log_commits import commit, fail
from tests.helpers.steps import Steps

if TYPE_CHECKING:
    from pathlib import Path


def test_a_log_that_is_not_there_has_nothing(path: Path) -> None:
    with TransactionLog(path) as log:
        assert log.counts() == LogCounts(*[0] * len(LogCounts._fields))
        assert log.counts().transactions_per_sync is None
        assert not path.exists()


def test_transactions_failed_ones_and_their_bytes_are_counted(storage: TransactionLog) -> None:
    for oid in range(3):
        commit(storage, {oid: b"state"})
    fail(storage, "no")

    counts = storage.counts()
    assert (counts.transactions, counts.failed) == (3, 1)
    assert counts.bytes == counts.end - PAGE_SIZE
    assert counts.syncs == 0


def test_streams_and_saved_positions_are_bytes_too(storage: TransactionLog) -> None:
    storage.acquire()
    storage.write_stream(io.BytesIO(bytes(10_000)))
    storage.release()

    counts = storage.counts()
    assert counts.transactions == 0
    assert counts.bytes == counts.end - PAGE_SIZE > 10_000


def test_what_others_append_is_not_counted(path: Path, storage: TransactionLog) -> None:
    with TransactionLog(path, sync=False) as other:
        commit(other, {0: b"state"})
        commit(storage, {1: b"state"})

        ours, theirs = storage.counts(), other.counts()
        assert ours.transactions == theirs.transactions == 1
        assert ours.bytes + theirs.bytes == ours.end - PAGE_SIZE


def test_each_sync_is_counted(path: Path) -> None:
    with TransactionLog(path) as log:
        for oid in range(3):
            commit(log, {oid: b"state"})

        counts = log.counts()
        assert (counts.transactions, counts.syncs) == (3, 3)
        assert counts.transactions_per_sync == 1


def test_transactions_share_a_sync(path: Path) -> None:
    with TransactionLog(path) as log:
        log.acquire()
        made = [log.append(Tid(tid), [(Oid(tid), 1, b"state")], wait=False) for tid in (1, 2, 3)]
        log.release()
        before = log.counts()
        for each in made:
            log.confirm(each)

        after = log.counts()
        assert (before.syncs, after.syncs) == (0, 1)
        assert before.unsynced_bytes == before.bytes == after.bytes
        assert after.unsynced_bytes == 0
        assert after.transactions_per_sync == 3


def test_a_prepared_transaction_has_a_sync_before(path: Path) -> None:
    with TransactionLog(path) as log:
        log.acquire()
        log.prepare(Tid(1), [(Oid(0), 1, b"state")])
        prepared = log.counts()
        log.decide()
        log.release()

        assert (prepared.transactions, prepared.syncs) == (0, 1)
        assert (log.counts().transactions, log.counts().syncs) == (1, 2)


def test_what_was_not_read_yet_is_behind(path: Path, storage: TransactionLog) -> None:
    commit(storage, {0: b"state"})
    with TransactionLog(path, sync=False) as other:
        place = storage.counts().end
        for oid in range(4):
            commit(other, {oid: b"state"})

        counts = storage.counts()
        assert (counts.behind_transactions, counts.behind_bytes) == (4, counts.end - place)
        assert storage.has_news()

        storage.apply(storage.read_news())
        counts = storage.counts()
        assert (counts.behind_transactions, counts.behind_bytes) == (0, 0)


def test_the_figures_of_a_reader_are_those_of_the_file(
    path: Path, storage: TransactionLog
) -> None:
    commit(storage, {0: b"state"})
    with TransactionLog(path, read_only=True) as reader:
        counts = reader.counts()

    assert (counts.transactions, counts.bytes, counts.lock_holds) == (0, 0, 0)
    assert counts.end == storage.counts().end
    assert counts.file_bytes == path.stat().st_size


def test_a_pack_does_not_begin_anew(path: Path) -> None:
    with TransactionLog(path, sync=False) as log, Database(log) as database:
        database.set_root(PersistentDict())
        transaction.commit()
        assert database.pack().packed
        checkout(database.root)
        database.root["a"] = 1
        transaction.commit()

        counts = log.counts()
        assert counts.transactions == 2
        assert counts.end == path.stat().st_size == counts.file_bytes


def test_no_transaction_of_many_threads_is_lost(path: Path) -> None:
    with TransactionLog(path) as log:
        steps = Steps()

        def work(first: int) -> None:
            for oid in range(first, first + 50):
                log.acquire(settled=False)
                try:
                    log.apply(log.read_news())
                    tid = Tid(log.last_tid + 1)
                    made = log.append(tid, [(Oid(oid), 1, b"state")], wait=False)
                finally:
                    log.release()
                log.confirm(made)

        for thread in range(4):
            steps.thread(lambda thread=thread: work(50 * thread))  # type: ignore[misc]
        steps.join()

        counts = log.counts()
        assert counts.transactions == 200
        assert counts.bytes == counts.end - PAGE_SIZE
        assert 1 <= counts.syncs <= 200


def test_a_closed_log_has_no_figures(storage: TransactionLog) -> None:
    storage.close()

    with pytest.raises(ClosedError):
        storage.counts()
