"""A file that follows a log."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import transaction

from dobbin_like import Database, MemoryLog, OverlayLog, PersistentDict, PersistentFile, checkout
from dobbin_like.check import check_log
from dobbin_like.cli import run
from dobbin_like.conformance.steps import commit, data_of, fail
from dobbin_like.exc import (
    CopyError,
    DivergedError,
    IntegrityError,
    LogMovedError,
    PastDroppedError,
    ReadOnlyStorageError,
)
from dobbin_like.log.format import header
from dobbin_like.repair import repair
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.follow import Follower
from dobbin_like.upkeep.pack import pack_file
from dobbin_like.upkeep.restore import restore
from tests.helpers.copying import AtLine, killed, raise_interrupt
from tests.helpers.following import followers
from tests.helpers.histories import check_copy, check_same, written
from tests.helpers.processes import exit_code, forked
from tests.helpers.tracing import tracing

PATIENCE_SECONDS = 60.0

FOLLOWS = ("dobbin_like.upkeep.follow", "dobbin_like.upkeep.copy", "dobbin_like.log.writing")


@pytest.fixture
def source(path):
    storage = written(TransactionLog(path, sync=False))
    fail(storage, "a conflict", [0], user="me")
    yield storage
    storage.close()


@pytest.fixture
def replica(tmp_path):
    return tmp_path / "shop.replica"


def follow_to(path, source):
    """Let the file follow once; return what is told."""
    with Follower(source, path) as follower:
        return follower.catch_up()


def check_replica(source, path):
    with TransactionLog(path, read_only=True) as log:
        check_same(source, log)


def test_a_file_gets_everything_and_then_what_is_new(source, replica):
    report = follow_to(replica, source)

    assert (report.transactions, report.copied) == (len(source), len(source))
    check_replica(source, replica)
    check_copy(source, TransactionLog(replica, read_only=True))
    assert follow_to(replica, source).copied == 0
    commit(source, {50: b"later"})
    assert follow_to(replica, source).copied == 1
    check_replica(source, replica)


def test_an_empty_log_is_followed_from_the_beginning(replica):
    with MemoryLog() as source, Follower(source, replica) as follower:
        assert follower.catch_up().transactions == 0
        commit(source, {0: b"root"})
        assert follower.catch_up().transactions == 1
        with TransactionLog(replica, read_only=True) as log:
            assert data_of(log, 0) == b"root"


def test_a_stream_that_was_carried_is_not_carried_again(path, replica):
    with Database(path, transaction_manager=transaction.TransactionManager()) as database:
        with database.transaction():
            stream = PersistentFile(io.BytesIO(b"x" * 1_000_000))
            database.set_root(PersistentDict(file=stream))
        follow_to(replica, database.storage)
        for number in range(3):
            with database.transaction() as root:
                checkout(root["file"])
                root["file"].number = number
            follow_to(replica, database.storage)
        assert replica.stat().st_size < 1_100_000
        check_replica(database.storage, replica)


@pytest.mark.slow
def test_killed_at_any_line_it_goes_on(source, replica):
    number = 1
    while killed(lambda: follow_to(replica, source), number, FOLLOWS):
        if replica.exists():
            with (
                contextlib.suppress(FileNotFoundError),
                TransactionLog(replica, read_only=True) as log,
            ):
                found = [logged.tid for logged in log.transactions()]
                assert found == [logged.tid for logged in source.transactions()][: len(found)]
        number += 1 if number < 50 else 23

    assert number > 500
    check_replica(source, replica)
    check_log(replica).raise_if_bad()


def test_a_kill_leaves_at_most_the_streams_of_one_transaction(path, replica):
    with Database(path) as database, database.transaction():
        file = PersistentFile(io.BytesIO(b"x" * 100_000))
        database.set_root(PersistentDict(file=file))

    def killed_after_a_stream():
        def write(log, source):
            written(log, source)
            os.kill(os.getpid(), signal.SIGKILL)

        written, TransactionLog.write_stream = TransactionLog.write_stream, write
        with TransactionLog(path, read_only=True) as source:
            follow_to(replica, source)

    sizes = []
    for count in (1, 2):
        assert exit_code(forked(killed_after_a_stream)) == -signal.SIGKILL
        assert check_log(replica).streams == count
        sizes.append(replica.stat().st_size)
    with TransactionLog(path, read_only=True) as source:
        assert follow_to(replica, source).copied == 1
        check_replica(source, replica)
    assert check_log(replica).streams == 3
    assert 100_000 < sizes[1] - sizes[0] < 101_000


def test_interrupted_at_any_line_the_same_follower_goes_on(source, replica):
    modules, number = FOLLOWS, 1
    with Follower(source, replica) as follower:
        while True:
            commit(source, {number: b"state", 0: b"again"})
            try:
                with tracing(AtLine(number, raise_interrupt, modules)):
                    follower.catch_up()
            except KeyboardInterrupt:
                follower.catch_up()
            else:
                break
            number += 1
    assert number > 50
    check_replica(source, replica)


def test_who_would_write_to_it_is_refused(source, replica):
    early = TransactionLog(replica)  # Nothing is there yet.
    follow_to(replica, source)

    with pytest.raises(ReadOnlyStorageError, match="follows another log"):
        early.acquire()
    early.close()
    for what in (TransactionLog, Database, pack_file):
        with pytest.raises(ReadOnlyStorageError, match="follows another log"):
            what(replica)
    with TransactionLog(replica, read_only=True) as log:
        assert log.is_follower
        with pytest.raises(ReadOnlyStorageError):
            log.acquire()
    assert not source.is_follower


def test_what_is_restored_from_it_is_a_log_of_its_own(source, replica, tmp_path):
    follow_to(replica, source)
    restore(replica, tmp_path / "new.log")

    with TransactionLog(tmp_path / "new.log") as log:
        assert not log.is_follower
        check_same(source, log)
        commit(log, {60: b"mine"})
    with TransactionLog(replica, read_only=True) as log, Database(log) as database:
        database.backup(tmp_path / "backup.log")
    with TransactionLog(tmp_path / "backup.log") as log:
        assert not log.is_follower
    repair(replica, tmp_path / "mended.log")
    with TransactionLog(tmp_path / "mended.log") as log:
        assert not log.is_follower


def test_nobody_writes_to_a_file_whose_mark_is_damaged(source, replica, tmp_path):
    """It counted as a log of its own."""
    follow_to(replica, source)
    data = bytearray(replica.read_bytes())
    assert data[60:64] == header.FOLLOWS
    data[61] ^= 1
    replica.write_bytes(data)

    for what in (TransactionLog, Database, pack_file, partial(follow_to, source=source)):
        with pytest.raises(IntegrityError, match="FOLL or zeros"):
            what(replica)
    assert [problem.offset for problem in check_log(replica).problems] == [60]
    assert replica.read_bytes() == data
    assert repair(replica, tmp_path / "mended.log").complete
    with TransactionLog(tmp_path / "mended.log") as log:
        check_same(source, log)


def test_a_log_of_its_own_is_not_touched(source, path, replica):
    with TransactionLog(replica) as log:
        commit(log, {0: b"mine"})
    with replica.open("ab") as file:
        file.write(b"of a commit that was killed")  # Who opens it to write cuts that off.
    before = replica.read_bytes()

    with pytest.raises(CopyError, match="a log of its own"):
        Follower(source, replica)
    assert replica.read_bytes() == before
    with pytest.raises(CopyError, match="the source itself"):
        Follower(source, path)
    link = replica.with_suffix(".link")
    link.hardlink_to(path)
    with pytest.raises(CopyError, match="the source itself"):
        Follower(source, link)


@pytest.mark.parametrize("how", ["gone", "another"])
def test_a_source_that_is_not_at_its_path_is_followed_to_its_end(source, path, replica, how):
    with Follower(source, replica) as follower:
        follower.catch_up()
        commit(source, {50: b"later"})
        path.rename(path.with_name("moved.log"))
        if how == "another":
            written(TransactionLog(path, sync=False)).close()

        with pytest.raises(LogMovedError):
            follower.catch_up()

    check_replica(source, replica)


def test_a_source_that_another_has_packed_is_told_to_be_packed(source, path, replica):
    with Follower(source, replica) as follower:
        follower.catch_up()
        pack_file(str(path))

        with pytest.raises(CopyError, match="was packed"):
            follower.catch_up()


def test_a_log_that_is_not_there_yet_does_not_follow_itself(path):
    with TransactionLog(path) as source:
        with pytest.raises(CopyError, match="the source itself"):
            Follower(source, path)
        commit(source, {0: b"mine"})


def test_a_log_that_others_begin_at_the_same_moment_is_not_touched(source, replica):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dobbin_like.upkeep.follow._check_path", lambda *_: None)
        with TransactionLog(replica) as log:
            commit(log, {0: b"mine"})
        with pytest.raises(CopyError, match="a log of its own"):
            Follower(source, replica)
    with TransactionLog(replica, read_only=True) as log:
        assert len(log) == 1


@pytest.mark.parametrize("lost", [1, 2, 7])
@pytest.mark.parametrize("others", [0, 1, 9])
def test_a_source_that_has_lost_transactions_is_told(replica, lost, others):
    with MemoryLog() as source:
        for number in range(8):
            commit(source, {number: b"state"})
        tids = [logged.tid for logged in source.transactions()]
        follow_to(replica, source)
    before = replica.read_bytes()
    with MemoryLog() as source:
        for number in range(8 - lost):
            commit(source, {number: b"state"})
        for number in range(others):
            commit(source, {number: b"other"})
        with pytest.raises(DivergedError, match="not in the source") as caught:
            follow_to(replica, source)

    assert caught.value.common == tids[7 - lost]
    is_one = "its last transaction is" if lost == 1 else f"its last {lost} transactions are"
    assert caught.value.found.startswith(is_one)
    assert replica.read_bytes() == before


def test_another_log_is_told_and_the_exit_code_is_1(source, path, replica, tmp_path, capsys):
    follow_to(replica, source)
    with written(TransactionLog(tmp_path / "other.log", sync=False)) as other:
        commit(other, {50: b"more"})

    assert run(["follow", str(tmp_path / "other.log"), str(replica), "--once"]) == 1
    told = capsys.readouterr().err
    assert f"its last {len(source)} transactions are not in the source; up to tid 0" in told
    assert "follow to another path" in told


def test_a_writer_that_got_in_is_found_out(source, replica):
    follow_to(replica, source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionLog, "_follows", True)
        with TransactionLog(replica) as log:
            commit(log, {0: b"mine"})
    commit(source, {0: b"theirs"})

    with pytest.raises(DivergedError, match="its last transaction is not in the source"):
        Follower(source, replica)


def test_a_difference_in_the_middle_is_found_by_comparing(source, path, replica, tmp_path, capsys):
    follow_to(replica, source)
    with Follower(source, tmp_path / "again.replica") as follower:
        follower.catch_up()
        follower.compare()
    assert run(["follow", str(path), str(replica), "--once", "--compare"]) == 0
    data = replica.read_bytes()
    at = data.index(b"two" * 100)
    replica.write_bytes(data[:at] + b"TWO" + data[at + 3 :])

    capsys.readouterr()
    assert run(["follow", str(path), str(replica), "--once"]) == 0
    assert run(["follow", str(path), str(replica), "--once", "--compare"]) == 1


def test_a_packed_source_is_refused_also_in_the_middle(path, replica, tmp_path):
    source = written(TransactionLog(path, sync=False))
    with source, Follower(source, replica) as follower:
        follower.catch_up()
        pack_file(path)
        with pytest.raises(CopyError, match=r"was packed.*dobbin backup"):
            follower.catch_up()
        with pytest.raises(CopyError, match=r"was packed.*dobbin backup"):
            Follower(source, tmp_path / "new.replica")
    with TransactionLog(path, read_only=True) as packed, pytest.raises(CopyError):
        Follower(packed, replica)


def test_what_is_told_of_a_packed_source_can_be_done(path, replica, tmp_path, capsys):
    written(TransactionLog(path, sync=False)).close()
    assert run(["follow", str(path), str(replica), "--once"]) == 0
    before = replica.read_bytes()
    pack_file(path)
    with TransactionLog(path, sync=False) as source:
        commit(source, {50: b"later"})
    assert run(["follow", str(path), str(replica), "--once"]) == 2
    told = capsys.readouterr().err
    assert "what is in this file stays; to go on, use dobbin backup with another path" in told
    assert run(["backup", str(path), str(replica)]) == 2
    assert replica.read_bytes() == before
    assert run(["backup", str(path), str(tmp_path / "another")]) == 0
    with TransactionLog(tmp_path / "another", read_only=True) as log:
        assert data_of(log, 50) == b"later"


def test_a_source_that_was_replaced_is_told(path, replica, tmp_path):
    source = written(TransactionLog(path, sync=False))
    restore(path, tmp_path / "earlier.log")
    commit(source, {50: b"later"})
    source.close()
    with TransactionLog(path, read_only=True) as log, Follower(log, replica) as follower:
        follower.catch_up()
        restore(tmp_path / "earlier.log", path)
        with pytest.raises(LogMovedError):
            follower.catch_up()
    with TransactionLog(path, read_only=True) as log, pytest.raises(DivergedError):
        Follower(log, replica)


def test_two_who_follow_to_one_file_find_each_other(source, replica):
    with Follower(source, replica) as one, Follower(source, replica) as two:
        two.catch_up()
        with pytest.raises(CopyError, match="another process follows"):
            one.catch_up()
    check_replica(source, replica)


def test_what_can_not_be_recorded_is_told(source, replica):
    with Follower(source, replica) as follower:
        follower.catch_up()
        fail(source, "another conflict", [0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(follower._target), "fail", lambda *_args, **_more: None)
            with pytest.raises(CopyError, match="could not be recorded"):
                follower.catch_up()
        assert follower.catch_up().copied == 1


# -- the command ----------------------------------------------------------------------------


@pytest.fixture
def following(path, replica):
    """Start the command with options."""
    with followers() as begin:
        yield partial(begin, path, replica)


def test_other_processes_see_what_comes(path, replica, following):
    with Database(path, transaction_manager=transaction.TransactionManager()) as database:
        with database.transaction():
            database.set_root(PersistentDict(n=0))
        process = following("--json", "--interval", "0.02")
        first = json.loads(process.stdout.readline())
        assert (first["transactions"], first["copied"]) == (1, 1)
        with Database(replica, read_only=True) as reader:
            for number in range(1, 4):
                with database.transaction() as root:
                    checkout(root)
                    root["n"] = number
                told = json.loads(process.stdout.readline())
                assert (told["transactions"], told["tid"]) == (number + 1, database.tid)
                reader.transaction_manager.begin()
                assert reader.root["n"] == number
                with pytest.raises(ReadOnlyStorageError):
                    TransactionLog(replica)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0
        check_replica(database.storage, replica)


@pytest.mark.slow
def test_killed_again_and_again_while_somebody_commits_it_has_all(path, replica, following):
    with Database(path, sync=False) as database:
        with database.transaction():
            database.set_root(PersistentDict())
        for number in range(6):
            process = following("--interval", "0.01", "--json")
            process.stdout.readline()
            for _ in range(4 * number):
                with database.transaction() as root:
                    checkout(root)
                    root[number] = PersistentFile(io.BytesIO(b"x" * 10_000))
            process.kill()
            process.wait(PATIENCE_SECONDS)
        assert run(["follow", str(path), str(replica), "--once", "--compare"]) == 0
        check_replica(database.storage, replica)


def test_what_it_tells_at_the_end(source, path, replica, following):
    process = following()
    assert f"{len(source)} transactions ({len(source)} of them new)" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (0, "")
    assert f"{replica}: {len(source)} transactions ({len(source)} of them new)" in out


@pytest.mark.parametrize("options", [["--once"], ["--once", "--json"], ["--json"], []])
def test_ctrl_c_before_it_had_all_tells_how_far_it_is(
    options, source, path, replica, capsys, monkeypatch
):
    """It ended without a word and with 0, as if all were there."""
    catch_up = Follower.catch_up

    def stopped(follower, _progress):
        def stop(done, _total):
            if done == 2:
                raise KeyboardInterrupt

        return catch_up(follower, stop)

    monkeypatch.setattr(Follower, "catch_up", stopped)
    for there in (2, 4):
        assert run(["follow", str(path), str(replica), *options]) == 130
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"dobbin: stopped; {replica}: {there} transactions (2 of them new)")
        assert err.count("\n") == 1
    monkeypatch.undo()
    assert run(["follow", str(path), str(replica), "--once"]) == 0
    check_replica(source, replica)


def test_ctrl_c_later_tells_what_is_there(source, path, replica, capsys, monkeypatch):
    """What came in the round that it stopped was not counted."""
    catch_up, rounds = Follower.catch_up, []

    def stopped(follower, progress):
        rounds.append(follower)
        if len(rounds) == 1:
            return catch_up(follower, progress)
        commit(source, {0: b"later"})
        catch_up(follower, progress)
        raise KeyboardInterrupt

    monkeypatch.setattr(Follower, "catch_up", stopped)
    assert run(["follow", str(path), str(replica), "--interval", "0.01"]) == 0
    count = len(source)
    assert f"{replica}: {count} transactions ({count} of them new)" in capsys.readouterr().out


def test_ctrl_c_before_anything_is_there(path, source, replica, capsys, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Follower, "catch_up", stopped)
    assert run(["follow", str(path), str(replica)]) == 130
    assert f"{replica}: 0 transactions (0 of them new)" in capsys.readouterr().err
    monkeypatch.setattr(Follower, "__init__", stopped)
    assert run(["follow", str(path), str(replica)]) == 130
    assert "every file is unchanged" in capsys.readouterr().err


def test_wrong_calls_have_exit_code_2(source, path, replica, tmp_path, capsys):
    for wrong in (
        [str(tmp_path / "none.log"), str(replica)],
        [str(path), str(path)],
        [str(path), "postgresql://host/db"],
        ["mysql://host/db", str(replica)],
        ["postgresql://127.0.0.1:1/db", str(replica)],
    ):
        assert run(["follow", *wrong, "--once"]) == 2, capsys.readouterr()
    assert not Path(replica).exists()


@pytest.fixture
def packed(path, tmp_path):
    """A storage that is no file, the beginning of which a pack has dropped."""
    with Database(path) as database:
        root = PersistentDict(taken=PersistentDict(n=1), file=PersistentFile(io.BytesIO(b"bytes")))
        database.set_root(root)
        transaction.commit()
        for number in range(3):
            with database.transaction():
                checkout(root)
                root["n"] = number
        database.pack()
    with OverlayLog(TransactionLog(path, read_only=True)) as overlay:
        assert overlay.complete_since
        yield overlay


def test_a_file_begins_with_what_is_left_of_a_packed_source(packed, replica):
    with Database(packed) as database:
        root, taken = database.root, database.root["taken"]
        with database.transaction():
            checkout(root)
            del root["taken"]
        before = len(packed)
        with Follower(packed, replica) as follower:
            report = follower.catch_up()
            assert (report.transactions, report.copied, report.tid) == (1, 0, packed.tid)
            with database.transaction():
                checkout(root)
                root["again"] = taken  # Nothing referred to it when the file began.
            assert follower.catch_up().copied == len(packed) - before == 1
            follower.compare()
        with database.transaction():
            checkout(root)
            root["n"] = 4
        with Follower(packed, replica) as follower:
            assert follower.catch_up().copied == 1
            follower.compare()
        with Database(replica, read_only=True) as copy:
            assert copy.root["again"] == {"n": 1}
            assert copy.root["n"] == 4
            assert copy.root["file"].open().read() == b"bytes"
            with pytest.raises(PastDroppedError):
                copy.at(1)
    check_log(replica).raise_if_bad()


def test_a_file_that_has_begun_with_all_belongs_to_its_source(packed, path, replica):
    with Follower(packed, replica) as follower:
        follower.catch_up()
    with OverlayLog(TransactionLog(path, read_only=True)) as other:
        commit(other, {1: b"other"})
        with Follower(other, replica) as follower:  # It is the same up to there.
            assert follower.catch_up().copied == 1
    with pytest.raises(DivergedError, match="its last transaction is not in the source"):
        Follower(packed, replica)
    with MemoryLog() as memory:
        commit(memory, {0: b""})
        with pytest.raises(DivergedError, match="up to tid 0 it is the same"):
            Follower(memory, replica)


def test_an_interrupt_leaves_no_beginning(packed, replica):
    def interrupt(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Follower(packed, replica, interrupt)
    assert not replica.exists()
    with Follower(packed, replica) as follower:
        assert follower.catch_up().transactions == 1
