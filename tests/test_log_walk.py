"""Walking over transactions in both directions: the same ones, each of them verified."""

from __future__ import annotations

import io
import os
from itertools import count, islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.exc import ClosedError, IntegrityError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from pathlib import Path

    from dobbin_like.log.reading.reader import LoggedTransaction


def commit(log: TransactionLog, *oids: int, streams: int = 0) -> LoggedTransaction:
    log.acquire()
    try:
        log.apply(log.read_news())
        for number in range(streams):
            log.write_stream(io.BytesIO(b"s" * number))
        entries = [(Oid(oid), 1, b"state of %d" % oid) for oid in oids]
        logged = log.append(Tid(log.tid + 10), entries, [(1, "m", "C")] if not len(log) else [])
        log.apply([logged])
        return logged
    finally:
        log.release()


def fail(log: TransactionLog) -> None:
    log.acquire()
    try:
        log.apply(log.read_news())
        log.fail(Tid(log.tid + 10), "why", oids=[Oid(1)])
        log.apply(log.read_news())
    finally:
        log.release()


def save_positions(log: TransactionLog) -> None:
    log.acquire()
    try:
        log.apply(log.read_news())
        log._writing.writer.save()
    finally:
        log.release()
    log.apply(log.read_news())


STEPS = {
    "change": lambda log: commit(log, 0),
    "changes": lambda log: commit(log, 0, 1, 2),
    "streams": lambda log: commit(log, 3, streams=3),
    "nothing": commit,
    "failed": fail,
    "saved": save_positions,
}


_numbers = count()


def plain(found):
    return [(each.tid, each.sequence, each.failed, list(each.oids), each.offset) for each in found]


@given(steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=7))
def test_both_directions_tell_the_same_transactions_from_any_tid_to_any_tid(tmp_path, steps):
    # Random numbers are the same ones in every example.
    path = tmp_path / f"{next(_numbers)}.log"
    with TransactionLog(path, sync=False) as log:
        for step in steps:
            STEPS[step](log)
        everything = plain(log.transactions())
        assert len(everything) == len(log)
        tids = [each[0] for each in everything]
        bounds = [0, *tids, *(tid - 1 for tid in tids[-2:]), 10**9]
        for since in bounds:
            for until in (None, *bounds):
                wanted = [
                    each for each in everything if since < each[0] and each[0] <= (until or 10**9)
                ]
                if until == 0:
                    wanted = []
                back = log.transactions(Tid(since), until, newest_first=True)
                assert plain(log.transactions(Tid(since), until)) == wanted
                assert plain(back) == wanted[::-1]


def make(path: Path) -> list[LoggedTransaction]:
    with TransactionLog(path, sync=False) as log:
        for step in ("changes", "streams", "failed", "saved", "change", "changes"):
            STEPS[step](log)
        return plain(log.transactions())


def told(found):
    """Return what was told, and whether it ended by itself."""
    listed = []
    try:
        for each in found:
            listed.append(each)
    except IntegrityError:
        return plain(listed), False
    return plain(listed), True


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 16]))


@pytest.mark.parametrize("newest_first", [False, True])
def test_what_is_told_of_a_damaged_log_is_right_and_what_is_not_told_is_an_error(
    path: Path, newest_first
):
    everything = make(path)
    with TransactionLog(path, read_only=True) as log:
        for offset in range(PAGE_SIZE, path.stat().st_size):
            flip(path, offset)
            for since in (0, everything[2][0]):
                wanted = [each for each in everything if each[0] > since]
                wanted = wanted[::-1] if newest_first else wanted
                found = log.transactions(Tid(since), newest_first=newest_first)
                listed, whole = told(found)
                assert listed == wanted[: len(listed)], offset
                assert not whole or listed == wanted, offset
            flip(path, offset)


def test_a_damaged_transaction_hurts_only_those_who_come_to_it(path: Path):
    everything = make(path)
    with TransactionLog(path, read_only=True) as log:
        flip(path, everything[1][4] + 30)

        newest, whole = told(log.transactions(newest_first=True))
        oldest, _ = told(log.transactions())

        assert not whole
        assert newest == everything[:1:-1]
        assert oldest == everything[:1]


def test_the_newest_are_told_without_reading_the_rest(path: Path, monkeypatch):
    with TransactionLog(path, sync=False) as log:
        for _ in range(3000):
            commit(log, 0)
    read = 0
    pread = os.pread

    def counted(fd, size, offset):
        nonlocal read
        data = pread(fd, size, offset)
        read += len(data)
        return data

    with TransactionLog(path, read_only=True) as log:
        monkeypatch.setattr(os, "pread", counted)
        newest = list(islice(log.transactions(newest_first=True), 5))

    assert [each.sequence for each in newest] == [3000, 2999, 2998, 2997, 2996]
    assert read < 100_000 < path.stat().st_size


def test_the_versions_of_an_object_and_their_transactions_are_found_one_after_the_other(
    storage: TransactionLog,
):
    wanted = [commit(storage, number, 7) for number in range(5)][::-1]

    found = []
    stored = storage.load(Oid(7))
    while stored is not None:
        found.append((stored.tid, storage.transaction_of(stored).offset))
        stored = storage.version_before(Oid(7), stored)

    assert found == [(each.tid, each.offset) for each in wanted]


def test_nothing_that_comes_later_is_told(storage: TransactionLog):
    first = commit(storage, 0)
    forward, back = storage.transactions(), storage.transactions(newest_first=True)
    commit(storage, 0)

    assert [each.tid for each in forward] == [each.tid for each in back] == [first.tid]


def test_a_walk_ends_when_the_log_is_closed(path: Path):
    log = TransactionLog(path, sync=False)
    commit(log, 0)
    commit(log, 0)
    walk = log.transactions()
    next(walk)
    log.close()

    with pytest.raises(ClosedError):
        next(walk)
