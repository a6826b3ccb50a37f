"""The log of one file: what readers and writers may rely on."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import sys
import tempfile
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from typing import TYPE_CHECKING, Any

import pytest

from dobbin_like.check import check_log
from dobbin_like.exc import (
    ClosedError,
    FormatVersionError,
    IntegrityError,
    NotALogError,
    NotHeldError,
    ReadOnlyStorageError,
)
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import ENTRY_SIZE, LoggedTransaction, TransactionLog
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.format.header import DURABLE, PAGE_SIZE, SAVED
from dobbin_like.log.format.meta import encode_names
from dobbin_like.log.format.saved import SavedSlots
from dobbin_like.log.reading import saved_positions
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.log.reading.opening import apply_certain
from dobbin_like.log.reading.reader import ReadBuffer, read_block, saved_slots
from tests.helpers.log_commits import appended, commit, data_of, fail
from tests.helpers.log_files import open_files, word_in
from tests.helpers.power import count_syncs
from tests.helpers.processes import in_child
from tests.helpers.steps import TIMEOUT_SECONDS, Steps, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


def catch_up(log: TransactionLog) -> list[LoggedTransaction]:
    news = log.read_news()
    log.apply(news)
    return news


# -- before and while there is a file -------------------------------------------


def test_nothing_is_created_before_the_first_commit(path: Path) -> None:
    with TransactionLog(path) as log:
        assert len(log) == log.oid_count == log.next_oid == log.tid == 0
        assert log.names.next_number == 1
        assert not log.has_news()
        assert log.read_news() == list(log.transactions()) == []
        assert log.load(Oid(0)) is None
        assert log

    assert not path.exists()


def test_objects_are_read_in_the_order_of_the_file(path: Path) -> None:
    with TransactionLog(path) as log:
        commit(log, {0: b"0", 1: b"1"})
        commit(log, {0: b"2"})
        assert log.place_of(Oid(0)) > log.place_of(Oid(1)) > log.place_of(Oid(9)) == 0


def test_an_instance_opened_before_the_file_sees_what_is_committed(path: Path) -> None:
    with TransactionLog(path) as early, TransactionLog(path) as log:
        commit(log, {0: b"root"})

        assert early.has_news()
        catch_up(early)

        assert not early.has_news()
        assert data_of(early, 0) == b"root"


@pytest.mark.parametrize("content", [b"", bytes(4096), bytes(100)])
def test_a_creation_that_did_not_come_to_its_end_is_begun_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with TransactionLog(path) as log:
        assert catch_up(log) == []
        commit(log, {0: b"root"})
    with TransactionLog(path, read_only=True) as log:
        assert data_of(log, 0) == b"root"


def test_a_reader_of_an_empty_file_sees_an_empty_log(path: Path) -> None:
    path.touch()

    with TransactionLog(path, read_only=True) as log:
        assert len(log) == 0
        assert path.stat().st_size == 0


def test_the_sort_key_is_that_of_the_file_and_not_of_its_path(path: Path, tmp_path: Path) -> None:
    """Two processes that see the same two files by other paths take their locks in one order."""
    link, copy = tmp_path / "link", tmp_path / "copy"
    with TransactionLog(path) as log:
        assert log.path == os.fspath(path)
        commit(log, {0: b"root"})
        link.hardlink_to(path)
        copy.write_bytes(path.read_bytes())
        with TransactionLog(link) as same, TransactionLog(copy) as other:
            assert same.sort_key == log.sort_key != other.sort_key


def test_a_file_to_be_read_only_must_exist(path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        TransactionLog(path, read_only=True)

    assert caught.value.filename == str(path)
    assert not path.exists()


def test_a_directory_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        TransactionLog(tmp_path)

    assert caught.value.filename == str(tmp_path)


def test_a_pipe_is_no_log(path: Path) -> None:
    os.mkfifo(path)

    with pytest.raises(NotALogError, match="no regular file"):
        TransactionLog(path)


@pytest.mark.parametrize("content", [b"text", b"text" * 5000, bytes(5000)])
def test_another_file_is_no_log_and_is_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(NotALogError):
        TransactionLog(path)

    assert path.read_bytes() == content


def test_a_newer_format_is_refused(path: Path) -> None:
    with TransactionLog(path) as log:
        commit(log, {0: b"root"})
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)

    with pytest.raises(FormatVersionError):
        TransactionLog(path)


def test_a_log_opened_for_reading_is_not_written(path: Path) -> None:
    with TransactionLog(path) as log:
        commit(log, {0: b"root"})
    before = path.read_bytes()

    with TransactionLog(path, read_only=True) as log:
        assert data_of(log, 0) == b"root"
        with pytest.raises(ReadOnlyStorageError):
            log.acquire()

    assert path.read_bytes() == before


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that other users can reach, as those of pytest can't."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
@pytest.mark.parametrize(
    ("mode", "read_only", "outcome"),
    [
        (0o644, False, "ReadOnlyStorageErrorTrue"),
        (0o644, True, "root"),
        (0o600, False, "PermissionError"),
        (0o600, True, "PermissionError"),
    ],
)
def test_a_user_without_permission_is_told_what_to_do(
    open_to_all: Path, mode: int, outcome: str, *, read_only: bool
) -> None:
    path = open_to_all / "data.log"
    with TransactionLog(path) as log:
        commit(log, {0: b"root"})
    path.chmod(mode)

    def child() -> str:
        os.setuid(65534)
        try:
            with TransactionLog(path, read_only=read_only) as log:
                return (data_of(log, 0) or b"").decode()
        except Exception as error:
            result = type(error).__name__
            if isinstance(error, ReadOnlyStorageError):
                result += str("open with read_only=True" in str(error))
            return result

    assert in_child(child) == outcome


# -- committing and tailing -------------------------------------------------------


def test_a_commit_is_seen_by_another_instance(path: Path) -> None:
    with TransactionLog(path) as log, TransactionLog(path) as reader:
        logged = commit(log, {0: b"root", 3: b"three"}, [(1, "m", "C")], user="me")

        assert reader.has_news()
        news = reader.read_news()
        assert data_of(reader, 0) is None
        reader.apply(news)

        assert [entry._replace(oids=tuple(entry.oids)) for entry in news] == [logged]
        assert logged.first_entry + ENTRY_SIZE == reader.load(Oid(3)).position  # type: ignore[union-attr]
        assert (len(reader), reader.oid_count, reader.next_oid) == (1, 2, 4)
        assert (reader.tid, news[0].user, list(news[0].oids)) == (logged.tid, "me", [0, 3])
        assert reader.names.class_number("m", "C") == 1
        assert reader.names.class_name(1) == ("m", "C")
        assert reader.names.next_number == 2
        assert [data_of(reader, oid) for oid in (0, 1, 3, 4, -1)] == [
            b"root",
            None,
            b"three",
            None,
            None,
        ]


def test_a_prepared_transaction_is_not_seen(path: Path) -> None:
    with TransactionLog(path) as log, TransactionLog(path) as reader:
        log.acquire()
        log.prepare(Tid(10), [(Oid(0), 1, b"x")])
        assert catch_up(reader) == []
        with TransactionLog(path) as newcomer:
            assert len(newcomer) == 0
        log.release()


def test_of_a_prepared_transaction_that_is_neither_decided_nor_failed_nothing_is_left(
    path: Path,
) -> None:
    with TransactionLog(path) as log:
        commit(log, {0: b"root"})
        log.acquire()
        log.prepare(Tid(100), [(Oid(0), 1, b"x" * 300_000)])
        assert b"x" * 10 not in path.read_bytes()
        log.release()

        assert catch_up(log) == []
        commit(log, {0: b"again"})
    with TransactionLog(path) as log:
        assert len(log) == 2
        assert path.stat().st_size == log._reading.applied.tail.end < 10_000


def test_a_prepared_transaction_that_fails_is_recorded_with_the_reason(path: Path) -> None:
    with TransactionLog(path) as log, TransactionLog(path) as reader:
        commit(log, {0: b"root"})
        log.acquire()
        prepared = log.prepare(Tid(100), [(Oid(0), 1, b"x" * 999)], user="me")
        log.fail(Tid(100), "a veto")
        log.release()
        logged = appended(log)
        catch_up(reader)

        assert (logged.tid, logged.sequence) == (prepared.tid, prepared.sequence)
        assert (logged.failed, logged.reason, logged.user) == (True, "a veto", "me")
        assert list(logged.oids) == [0]
        for each in (log, reader):
            assert (len(each), data_of(each, 0)) == (2, b"root")
        assert logged.end - logged.offset < 200


def test_a_failed_transaction_counts_and_changes_nothing(path: Path) -> None:
    with TransactionLog(path) as log, TransactionLog(path) as reader:
        commit(log, {0: b"root"})
        logged = fail(log, "a conflict")
        commit(log, {0: b"again"})

        assert [entry.failed for entry in catch_up(reader)] == [False, True, False]
        assert logged.reason == "a conflict"
        assert len(log) == len(reader) == 3
        assert data_of(reader, 0, at=logged.tid) == b"root"


def test_nobody_waits_for_the_disk_on_account_of_a_failed_transaction(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TransactionLog(path) as log, TransactionLog(path, sync=False) as loose:
        commit(log, {0: b"root"})
        catch_up(loose)
        syncs = count_syncs(monkeypatch)
        for each in (log, loose):
            each.acquire(settled=False)
            each.fail(Tid(1), "why")
            each.release()

        assert syncs() == 0
        assert catch_up(log) == []  # It is not durable, and of no importance.
        commit(log, {0: b"again"})
        assert syncs() == 2  # acquire() waits for what is not visible, unless told otherwise.
        assert [entry.failed for entry in catch_up(loose)] == [True, True, False]


def test_with_sync_off_a_failed_transaction_is_seen_at_once(path: Path) -> None:
    with TransactionLog(path, sync=False) as log, TransactionLog(path) as reader:
        commit(log, {0: b"root"})
        log.acquire()
        log.fail(Tid(1), "why")

        assert [entry.failed for entry in catch_up(reader)] == [False, True]
        log.release()


def test_a_failure_can_be_recorded_without_having_caught_up(path: Path) -> None:
    with TransactionLog(path) as log, TransactionLog(path) as late:
        commit(log, {0: b"root"})
        late.acquire()
        late.fail(Tid(1), "too old")
        late.release()
        appended(log)

        assert [entry.failed for entry in catch_up(late)] == [False, True]
        assert late.tid > 10


def test_two_transactions_may_follow_each_other_under_one_lock(storage: TransactionLog) -> None:
    storage.acquire()
    for number in range(3):
        logged = storage.append(Tid(number + 1), [(Oid(0), 1, b"%d" % number)])
        storage.apply([logged])
    storage.release()

    assert data_of(storage, 0) == b"2"


def test_news_have_to_be_applied_before_writing(path: Path) -> None:
    with TransactionLog(path) as log, TransactionLog(path) as late:
        commit(log, {0: b"root"})
        late.acquire()
        with pytest.raises(NotHeldError, match="all news applied"):
            late.prepare(Tid(100), [(Oid(0), 1, b"x")])
        catch_up(late)
        late.prepare(Tid(100), [(Oid(0), 1, b"x")])
        with pytest.raises(NotHeldError):
            late.prepare(Tid(101), [(Oid(0), 1, b"x")])
        late.release()


@pytest.mark.parametrize(
    ("tid", "oids"), [(10, [1]), (9, [1]), (2**64, [1]), (11, [1, 1]), (11, [-1]), (11, [2**40])]
)
def test_what_can_not_be_logged_is_refused_before_writing(
    path: Path, tid: int, oids: list[int]
) -> None:
    with TransactionLog(path) as log:
        commit(log, {0: b"root"})
        size = path.stat().st_size
        log.acquire()
        with pytest.raises(ValueError):  # noqa: PT011
            log.prepare(Tid(tid), [(Oid(oid), 1, b"") for oid in oids])

        assert path.stat().st_size == size
        log.release()


def test_news_are_applied_in_order_only(path: Path) -> None:
    with TransactionLog(path) as log, TransactionLog(path) as reader:
        commit(log, {0: b"0"})
        commit(log, {0: b"1"})
        news = reader.read_news()
        with pytest.raises(NotHeldError):
            reader.apply(news[1:])
        reader.apply(news)

        assert data_of(reader, 0) == b"1"


def test_a_transaction_may_be_empty(storage: TransactionLog) -> None:
    commit(storage, {})

    assert (len(storage), storage.oid_count) == (1, 0)


def test_a_class_can_be_renamed(path: Path) -> None:
    with TransactionLog(path) as log, TransactionLog(path) as reader:
        commit(log, {0: b"root"}, [(1, "old", "C")])
        commit(log, {}, [(1, "new", "C")])
        catch_up(reader)

        assert reader.names.class_name(1) == ("new", "C")
        assert reader.names.class_number("old", "C") is None
        assert reader.names.class_name(7) is None


# -- reading ----------------------------------------------------------------------


def test_every_version_can_be_read_as_of_its_tid(storage: TransactionLog) -> None:
    tids = [commit(storage, {0: b"%d" % number, 1: b"other"}).tid for number in range(20)]

    for number, tid in enumerate(tids):
        stored = storage.load(Oid(0), tid)
        assert stored is not None
        assert (stored.data, stored.tid) == (b"%d" % number, tid)
        assert data_of(storage, 0, tid + 1) == b"%d" % number
    assert data_of(storage, 0, tids[0] - 1) is None
    stored = storage.load(Oid(0))
    assert stored is not None
    before = storage.load(Oid(0), Tid(stored.tid - 1))
    assert before is not None
    assert stored.previous == before.position


@pytest.mark.parametrize("size", [0, 30, 3000, 5000, 70_000, 300_000])
def test_states_of_every_size_are_loaded_in_any_order(path: Path, size: int) -> None:
    generator = random.Random(size)
    states = {oid: generator.randbytes(generator.randint(size // 2, size)) for oid in range(60)}
    with TransactionLog(path, sync=False) as log:
        for oid in range(0, 60, 10):
            commit(log, {each: states[each] for each in range(oid, oid + 10)})

        for oids in (range(60), range(59, -1, -1), generator.sample(range(60), 60)):
            assert all(data_of(log, oid) == states[oid] for oid in oids)
        with TransactionLog(path, read_only=True) as reader:
            assert all(data_of(reader, oid) == states[oid] for oid in range(60))


def test_the_transactions_are_listed_from_any_of_them_on(path: Path) -> None:
    with TransactionLog(path) as log:
        logged = [commit(log, {0: b"%d" % number}) for number in range(3)]
        logged.append(fail(log, "why"))
        plain = [(entry.tid, entry.sequence, entry.failed) for entry in logged]

        for number, entry in enumerate(logged):
            listed = list(log.transactions(Tid(entry.tid - 1)))
            assert [(each.tid, each.sequence, each.failed) for each in listed] == plain[number:]
        assert list(log.transactions(logged[-1].tid)) == []


def test_the_entries_of_a_transaction_have_their_states(storage: TransactionLog) -> None:
    states = {oid: b"%d" % oid * 1000 for oid in range(100)}
    logged = commit(storage, states)

    entries = dict(storage.entries(logged))

    assert {oid: stored.data for oid, stored in entries.items()} == states
    assert entries[Oid(7)] == storage.load(Oid(7))


def test_readers_in_threads_see_whole_transactions(path: Path) -> None:
    """Four threads load while one applies; every version is one that was committed."""
    done = False
    steps = Steps()
    with TransactionLog(path, sync=False) as log, TransactionLog(path) as reader:
        commit(log, dict.fromkeys(range(10), b"0"))
        catch_up(reader)

        def read(seed: int) -> None:
            generator = random.Random(seed)
            while not done:
                oid = generator.randrange(3000)
                stored = reader.load(Oid(oid))
                if stored is not None:
                    assert stored.data.startswith(b"%d " % oid) or stored.data == b"0"
                    assert b"%d" % stored.tid in stored.data or stored.data == b"0"

        for seed in range(4):
            steps.thread(lambda seed=seed: read(seed))
        generator = random.Random(0)
        for _ in range(300):
            tid = log.tid + 10
            commit(
                log,
                {
                    oid: b"%d %d" % (oid, tid) + bytes(generator.choice([0, 5000]))
                    for oid in generator.sample(range(3000), 10)
                },
            )
            catch_up(reader)
        done = True
        steps.join()


# -- saved positions -----------------------------------------------------------------


def test_positions_are_saved_at_the_end_if_many_entries_came(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, {oid: b"%d" % oid for oid in range(10_001)}, [(1, "m", "C")])
        assert log._reading.file.words.get(SAVED) == 0  # type: ignore[union-attr]
    with TransactionLog(path, sync=False) as log:
        assert log._reading.file.words.get(SAVED) != 0  # type: ignore[union-attr]
        assert (len(log), log.oid_count, log.names.class_name(1)) == (1, 10_001, ("m", "C"))
        assert not log.has_news()
        commit(log, {5: b"new"})
        assert [data_of(log, oid) for oid in (0, 5, 10_000)] == [b"0", b"new", b"10000"]
    with TransactionLog(path, read_only=True) as log:
        assert (data_of(log, 5), len(log)) == (b"new", 2)
        assert len(list(log.transactions())) == 2


def test_positions_are_saved_now_and_then(path: Path) -> None:
    with TransactionLog(path, sync=False) as log, TransactionLog(path) as reader:
        log._writing.writer.save_after_entries = 10
        saved = set()
        for number in range(60):
            if number % 7 == 6:
                fail(log, "why")
            else:
                commit(log, {number % 11: b"%d" % number, 20: b"x"})
            assert catch_up(log) == []
            catch_up(reader)
            assert not log.has_news()
            assert not reader.has_news()
            saved.add(log._reading.file.words.get(SAVED))  # type: ignore[union-attr]
            with TransactionLog(path, read_only=True) as newcomer:
                assert len(newcomer) == len(log) == len(reader) == number + 1
                for oid in range(22):
                    assert newcomer.load(Oid(oid)) == log.load(Oid(oid)) == reader.load(Oid(oid))
        assert len(saved) > 2


def test_damaged_positions_are_not_used(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, {oid: b"%d" % oid for oid in range(10_001)})
    whole = path.read_bytes()
    saved = word_in(whole, SAVED)
    assert saved
    for at in (saved + 5000, saved + 50_000, len(whole) - 20):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with TransactionLog(path) as log:
            assert (len(log), log.oid_count, data_of(log, 77)) == (1, 10_001, b"77")


def many_saved(path: Path, count: int = 10_001) -> int:
    """Make a log of so many objects, closed; return where the slots of saved positions begin."""
    with TransactionLog(path, sync=False) as log:
        commit(log, {0: b"before"})
        commit(log, {oid: b"%d" % oid for oid in range(count)})
    saved = word_in(path.read_bytes(), SAVED)
    assert saved
    with path.open("rb") as file:
        buffer = ReadBuffer(file.fileno(), str(path))
        return saved_slots(buffer, saved, path.stat().st_size).start


def change(path: Path, at: int) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    path.write_bytes(damaged)


@pytest.fixture
def blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the blocks of saved positions that were read."""
    numbers: list[int] = []

    def noted(buffer: ReadBuffer, saved: SavedSlots, number: int) -> Any:
        numbers.append(number)
        return read_block(buffer, saved, number)

    monkeypatch.setattr(saved_positions, "read_block", noted)
    return numbers


def test_opening_reads_none_of_the_saved_positions(path: Path, blocks_read: list[int]) -> None:
    many_saved(path)

    with TransactionLog(path, sync=False) as log:
        assert (log.oid_count, log.next_oid) == (10_001, 10_001)
        assert blocks_read == []
        assert [data_of(log, oid) for oid in (5000, 5001, 10_000)] == [b"5000", b"5001", b"10000"]
        assert blocks_read == [4, 9]
        commit(log, {3000: b"new", 20_000: b"far"})
        assert blocks_read == [4, 9, 2]
        assert log.oid_count == 10_002
        assert log.load(Oid(20_001)) is log.load(Oid(15_000)) is None


def test_a_damaged_block_is_found_in_the_log(
    path: Path, blocks_read: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    slots = many_saved(path)
    change(path, slots + 8 * 3000)

    with TransactionLog(path, sync=False) as log:
        commit(log, {3001: b"new"})
        commit(log, {3002: b"new"})
        assert (data_of(log, 3000), data_of(log, 3001)) == (b"3000", b"new")
        assert data_of(log, 9000) == b"9000"
        assert blocks_read == [2]
        assert [record.getMessage().split(":")[0] for record in caplog.records] == [
            "saved positions can't be used, reading the whole log"
        ]


def test_what_is_nowhere_else_is_damage_where_it_is_asked_for(path: Path) -> None:
    slots = many_saved(path)
    change(path, slots + 8 * 3000)
    change(path, PAGE_SIZE + 2)

    with TransactionLog(path, sync=False) as log:
        assert data_of(log, 9000) == b"9000"
        for _ in range(2):
            with pytest.raises(IntegrityError) as caught:
                log.load(Oid(3000))
            assert caught.value.offset == PAGE_SIZE
        with pytest.raises(IntegrityError):
            commit(log, {3000: b"new"})
        log.release()
        commit(log, {9000: b"new"})
        assert (data_of(log, 9000), len(log)) == (b"new", 3)


def test_a_new_object_is_not_stored_where_its_position_cannot_be(path: Path) -> None:
    slots = many_saved(path)
    change(path, slots + 8 * 10_000)
    change(path, PAGE_SIZE + 2)

    with TransactionLog(path, sync=False) as log:
        log.acquire()
        with pytest.raises(IntegrityError):
            log.append(Tid(log.tid + 10), [(Oid(10_001), 1, b"new")], [])
        log.release()
        assert not log.has_news()
        assert (len(log), log.next_oid) == (2, 10_001)


def test_a_transaction_whose_positions_cannot_be_set_is_not_applied(path: Path) -> None:
    slots = many_saved(path)
    with TransactionLog(path, sync=False) as log, TransactionLog(path, sync=False) as other:
        commit(other, {5: b"first"})
        commit(other, {6: b"second", 3000: b"second"})
        change(path, slots + 8 * 3001)
        change(path, PAGE_SIZE + 2)

        for _ in range(2):
            news = log.read_news()
            with pytest.raises(IntegrityError):
                log.apply(news)
            assert (len(log), data_of(log, 5), data_of(log, 6)) == (3, b"first", b"6")
        assert [len(news) for news in (log.read_news(),)] == [1]


def test_what_is_damaged_twice_is_looked_for_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slots = many_saved(path)
    change(path, slots + 8 * 3000)
    change(path, PAGE_SIZE + 2)

    with TransactionLog(path, sync=False) as log:
        for oid in (3000, 3001, 3000):
            with pytest.raises(IntegrityError) as caught:
                log.load(Oid(oid))
            assert caught.value.offset == PAGE_SIZE
        assert len(caplog.records) == 1


def test_damaged_positions_are_saved_anew(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    slots = many_saved(path)
    change(path, slots + 8 * 3000)

    for _ in range(2):
        with TransactionLog(path, sync=False) as log:
            assert data_of(log, 3000) == b"3000"

    assert len(caplog.records) == 1


def test_positions_of_oids_that_are_far_apart_are_not_saved(path: Path) -> None:
    """There would be a slot for each oid between."""
    with TransactionLog(path, sync=False) as log:
        log._writing.writer.save_after_entries = 1
        commit(log, dict.fromkeys([*range(10_001), 2**31], b"far"))
        commit(log, {1: b"far"})
        assert (data_of(log, 2**31), log.oid_count) == (b"far", 10_002)

    assert not word_in(path.read_bytes(), SAVED)


def test_positions_are_saved_as_of_one_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread applied what was new between the slots and their number: the log was lost."""
    came = Event()

    class Turn:
        def __enter__(self) -> None:
            if current_thread() is not main_thread():
                came.set()
            turn.acquire()

        def __exit__(self, *_: object) -> None:
            turn.release()

    def encoded(names: Any) -> bytes:
        other.start()
        assert came.wait(TIMEOUT_SECONDS)
        return encode_names(names)

    with TransactionLog(path, sync=False) as log:
        commit(log, {oid: b"%d" % oid for oid in range(1023)})
        log.acquire()
        log.append(Tid(log.tid + 10), [(Oid(oid), 1, b"new") for oid in (5, 1023, 1024)], [])
        other = Thread(target=partial(catch_up, log))
        applied = log._reading.applied
        turn, applied.turn = applied.turn, Turn()  # type: ignore[assignment]
        monkeypatch.setattr(saved_positions, "encode_names", encoded)
        log._writing.writer.save()
        log.release()
        other.join(TIMEOUT_SECONDS)
        assert [data_of(log, oid) for oid in (5, 1023, 1024)] == [b"new"] * 3

    assert not [problem for problem in check_log(path).problems if problem.invariant != 8]
    with TransactionLog(path, sync=False) as log:
        assert (log.oid_count, log.next_oid) == (1025, 1025)
        assert [data_of(log, oid) for oid in (5, 1023, 1024)] == [b"new"] * 3


def test_positions_are_not_saved_while_a_transaction_is_applied_in_part(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, {0: b"0"})
        log._reading.applied.limit += 8
        log.acquire()
        log._writing.writer.save()
        log.release()
        assert not word_in(path.read_bytes(), SAVED)
        commit(log, {0: b"1"})
        log.acquire()
        log._writing.writer.save()
        log.release()
        assert word_in(path.read_bytes(), SAVED)


def test_others_change_what_was_not_read_yet(path: Path, blocks_read: list[int]) -> None:
    many_saved(path)

    with TransactionLog(path, sync=False) as log, TransactionLog(path, sync=False) as other:
        commit(other, {5: b"new", 9000: b"new"})
        catch_up(log)
        assert [data_of(log, oid) for oid in (5, 6, 9000)] == [b"new", b"6", b"new"]
        assert sorted(blocks_read) == [0, 0, 8, 8]


def test_a_child_reads_what_its_parent_has_not(path: Path) -> None:
    many_saved(path)

    with TransactionLog(path, sync=False) as log:
        assert data_of(log, 0) == b"0"
        assert in_child(lambda: data_of(log, 9000)) == b"9000"
        assert data_of(log, 9000) == b"9000"


def test_what_was_not_read_before_closing_is_not_there_after(path: Path) -> None:
    many_saved(path)
    log = TransactionLog(path)
    assert data_of(log, 0) == b"0"
    log.close()

    for read in (log.load, log.has, log.is_dropped, log.place_of):
        with pytest.raises(ClosedError):
            read(Oid(9000))


def test_positions_keep_the_file_that_they_are_read_from(path: Path) -> None:
    """Another thread lets go of a file of before a pack."""
    many_saved(path)
    log = TransactionLog(path, sync=False)
    positions = log._reading.applied.positions
    expected = log.place_of(Oid(0))

    del log
    gc.collect()

    assert positions.get(9000) > positions.get(1) > expected


def test_who_has_the_last_reference_to_what_is_applied_closes_the_file(path: Path) -> None:
    """Not the collector, which may come late: the file of before a pack takes room on the disk."""
    many_saved(path)
    file = LogFile(str(path), read_only=True)
    file.open()
    applied = Applied(file)
    assert file.page is not None
    assert file.words is not None
    applied.attach(file.page)
    apply_certain(str(path), applied, file.words)
    assert applied.positions.get(9000)
    there = weakref.ref(file)

    del file, applied

    assert there() is None


def test_positions_are_saved_again_with_those_that_were_not_read(path: Path) -> None:
    many_saved(path, 30_001)
    first = word_in(path.read_bytes(), SAVED)
    with TransactionLog(path, sync=False) as log:
        commit(log, dict.fromkeys(range(10001), b"new"))

    assert word_in(path.read_bytes(), SAVED) != first
    with TransactionLog(path) as log:
        assert [data_of(log, oid) for oid in (0, 10_001, 30_000)] == [b"new", b"10001", b"30000"]


def test_threads_read_blocks_at_once(path: Path) -> None:
    many_saved(path, 40_001)
    for _ in range(10):
        with TransactionLog(path, sync=False) as log:
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(partial(data_of, log), [*range(0, 40_001, 300)] * 4))
            assert found == [b"%d" % oid for oid in [*range(0, 40_001, 300)] * 4]


def test_saved_positions_are_a_part_of_the_chain(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, {oid: b"%d" % oid for oid in range(10_001)})
    whole = path.read_bytes()
    saved = word_in(whole, SAVED)
    assert saved
    for at in (saved, saved + 9, saved + 60):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError) as caught:
            TransactionLog(path)
        assert caught.value.offset == saved


def test_close_does_not_wait_for_the_lock_to_save_positions(path: Path) -> None:
    with TransactionLog(path, sync=False) as log, TransactionLog(path) as other:
        commit(log, dict.fromkeys(range(10001), b""))
        steps = Steps()
        acquired, release = steps[0], steps[2]

        @steps.thread
        def _hold() -> None:
            with acquired:
                other.acquire()
            with release:
                other.release()

        with steps[1]:
            size = path.stat().st_size
            log.close()
            assert path.stat().st_size == size
        steps.join()


# -- the end -----------------------------------------------------------------------


def test_a_closed_log_says_so(path: Path) -> None:
    log = TransactionLog(path)
    commit(log, {0: b"root"})
    log.close()
    log.close()

    assert log.closed
    for use in (
        log.has_news,
        log.read_news,
        log.acquire,
        log.decide,
        lambda: log.load(Oid(0)),
        lambda: log.read_stream(4096, 0, 1),
        lambda: list(log.transactions()),
    ):
        with pytest.raises(ClosedError, match=str(path)):
            use()


READS = {
    "load": lambda log: log.load(Oid(1)),
    "load at": lambda log: log.load(Oid(1), at=Tid(2)),
    "version_before": lambda log: log.version_before(Oid(1), log.load(Oid(1))),
    "transaction_of": lambda log: log.transaction_of(log.load(Oid(1))),
    "transactions": lambda log: list(log.transactions()),
    "newest first": lambda log: list(log.transactions(newest_first=True)),
    "entries": lambda log: list(log.entries(next(log.transactions()))),
    "streams": lambda log: log.read_stream(log._key, 0, log.stream_size(log._key)),
    "news": lambda log: log.has_news() and log.apply(log.read_news()),
    "retired": lambda log: log.retired,
}


@pytest.mark.parametrize("reads", READS)
def test_a_log_that_is_closed_between_two_lines_of_a_read_says_so(path: Path, reads: str) -> None:
    """Not that a descriptor is bad, nor that the file is damaged whose it is by then."""
    with TransactionLog(path, sync=False) as writer:  # Stays, so that opening does not sync.
        writer.acquire()
        key, _ = writer.write_stream(io.BytesIO(b"stream"))
        writer.release()
        for number in range(3):
            commit(writer, {1: bytes(1000), 2: b"%d" % number})
        closed, line = True, 0
        while closed:
            log = TransactionLog(path, read_only=True)
            log._key = key  # type: ignore[attr-defined]
            if reads == "news":
                commit(writer, {3: b"news"})
            line += 1
            closed = _closed_at(line, log, READS[reads])
            log.close()
        assert line > 1


def _closed_at(line: int, log: TransactionLog, read: Callable[[Any], object]) -> bool:
    """Close *log* before such a line of a read, and open other files; return whether it was."""
    files: list[int] = []

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal line
        if "dobbin_like/log/" not in frame.f_code.co_filename:
            return None
        line -= event == "line"
        if line == 0 and not log.closed:
            sys.settrace(None)
            log.close()
            files.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(3))
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        with contextlib.suppress(ClosedError):
            read(log)
    finally:
        sys.settrace(before)
        for file in files:
            os.close(file)
    return log.closed


def test_close_makes_unsynced_commits_durable(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, {0: b"root"})
        assert log._reading.file.words.get(DURABLE) == 4096  # type: ignore[union-attr]
    with TransactionLog(path) as log:
        assert log._reading.file.words.get(DURABLE) == path.stat().st_size  # type: ignore[union-attr]


def test_no_descriptor_is_left_open(path: Path) -> None:
    for _ in range(3):
        with TransactionLog(path) as log:
            commit(log, {0: b"root"})
            assert str(path) in open_files()
    with pytest.raises(NotALogError):
        TransactionLog(__file__)

    places = str(path.parent), __file__
    assert not [link for link in open_files() if any(place in link for place in places)]


def test_who_reads_news_while_another_thread_closes_the_log_is_told_that(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TransactionLog(path) as writer:
        commit(writer, {0: b"1"})
        reader = TransactionLog(path)
        commit(writer, {0: b"2"})
        attach = reader._reading.attach

        def attach_and_close() -> object:
            attached = attach()
            in_thread(reader.close)
            return attached

        monkeypatch.setattr(reader._reading, "attach", attach_and_close)
        with pytest.raises(ClosedError):
            reader.read_news()
