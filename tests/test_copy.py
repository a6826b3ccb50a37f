"""Copying a storage to another one, with all transactions."""

from __future__ import annotations

import pytest

from dobbin_like import Database, MemoryLog, PersistentDict
from dobbin_like.check import check_log
from dobbin_like.cli import care, run
from dobbin_like.conformance.steps import catch_up, commit, fail
from dobbin_like.exc import CopyError
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.copy import CopyReport, copy_transactions
from dobbin_like.upkeep.pack import pack_file
from tests.helpers.histories import check_copy, written
from tests.helpers.transactions import change


@pytest.fixture
def source(path):
    storage = written(TransactionLog(path, sync=False))
    fail(storage, "a conflict", [0], user="me")
    yield storage
    storage.close()


def test_a_log_is_copied_to_memory_and_back(source, tmp_path):
    with MemoryLog() as memory, TransactionLog(tmp_path / "b.log", sync=False) as back:
        report = copy_transactions(source, memory)
        assert (report.transactions, report.copied) == (len(source), len(source))
        assert (report.streams, report.tid) == (2, source.tid)
        report = copy_transactions(memory, back)
        assert report.streams == 2
        check_copy(source, back)


def test_a_copy_that_was_broken_off_is_continued(source, tmp_path):
    with MemoryLog() as memory:
        done = []

        def stop(*_):
            done.append(1)
            if len(done) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            copy_transactions(source, memory, stop)
        assert len(catch_up(memory)) == 1
        assert len(memory) == 3
        assert copy_transactions(source, memory).copied == len(source) - 3
        assert copy_transactions(source, memory).copied == 0
        commit(source, {50: b"later"})
        assert copy_transactions(source, memory).copied == 1


def test_a_log_is_not_copied_to_itself(source, path):
    with TransactionLog(path, sync=False) as same, pytest.raises(CopyError, match="source itself"):
        copy_transactions(source, same)


def test_ctrl_c_tells_how_much_was_copied(source, path, tmp_path, capsys, monkeypatch):
    """It said that every file is unchanged or complete."""

    def stopped(old, new, _progress):
        def stop(done, _total):
            if done == 3:
                raise KeyboardInterrupt

        copy_transactions(old, new, stop)

    monkeypatch.setattr(care, "copy_transactions", stopped)
    target = str(tmp_path / "b.log")
    assert run(["copy", str(path), target]) == 130
    told = capsys.readouterr().err
    assert told.startswith(f"dobbin: stopped; {target}: 3 of {len(source)} transactions; ")
    monkeypatch.undo()
    assert run(["copy", str(path), target]) == 0
    assert f"({len(source) - 3} of them new)" in capsys.readouterr().out


def test_another_log_is_not_continued(source):
    with MemoryLog() as memory:
        commit(memory, {0: b"mine"})
        with pytest.raises(CopyError, match="other transactions"):
            copy_transactions(source, memory)
        assert len(memory) == 1


def test_a_difference_is_found(source):
    with MemoryLog() as memory:
        copy_transactions(source, memory)
        key = max(memory._shared.streams)
        memory._shared.streams[key] = b"too" * 1_000_000
        with pytest.raises(CopyError, match=r"the stream .* is not the same"):
            copy_transactions(source, memory)
    with MemoryLog() as memory:
        copy_transactions(source, memory)
        logged = memory._shared.transactions[2]
        changed = (logged.versions[0]._replace(data=b"no"), *logged.versions[1:])
        memory._shared.transactions[2] = logged._replace(versions=changed)
        with pytest.raises(CopyError, match=f"of transaction {logged.tid} is not the same"):
            copy_transactions(source, memory)


def test_a_packed_log_is_copied_without_its_history(source, path, tmp_path, capsys):
    pack_file(path)
    catch_up(source)
    target = str(tmp_path / "b.log")
    assert run(["copy", str(path), target]) == 2
    assert "copy it without history" in capsys.readouterr().err
    assert run(["copy", str(path), target, "--no-history"]) == 0
    with TransactionLog(target) as copy:
        assert len(copy) == 1
    assert check_log(target).ok


@pytest.mark.parametrize("packed", [False, True])
def test_the_newest_state_is_copied_without_what_nothing_refers_to(path, tmp_path, packed):
    with Database(path) as database:
        for n in range(3):
            change(database, it=PersistentDict(n=n))
        if packed:
            database.pack()
    target = str(tmp_path / "b.log")
    assert run(["copy", str(path), target, "--no-history"]) == 0
    with Database(target) as copied:
        assert copied.root["it"]["n"] == 2
        change(copied, more=PersistentDict())
    assert check_log(target).ok


def test_one_of_a_kind_is_told_as_one(tmp_path):
    report = CopyReport("b.log", 1, 0, 1, 1, 5)
    assert str(report) == (
        "b.log: 1 transaction (0 of them new) with 1 version and 1 stream, compared up to tid 5"
    )


def test_the_command_copies_and_says_what(source, path, tmp_path, capsys):
    assert run(["copy", str(path), str(tmp_path / "b.log")]) == 0
    assert f"{len(source)} transactions ({len(source)} of them new)" in capsys.readouterr().out
    assert run(["copy", str(tmp_path / "none.log"), str(tmp_path / "c.log")]) == 2
    assert run(["copy", "mysql://host/db", str(tmp_path / "c.log")]) == 2
    assert "unknown scheme mysql" in capsys.readouterr().err
