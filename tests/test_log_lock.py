"""The commit lock: threads, instances, processes, forks and deaths."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import Database, PersistentDict
from dobbin_like.exc import (
    ClosedError,
    LatePatchError,
    LockTimeout,
    LogMovedError,
    NotHeldError,
    SelfWaitError,
)
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.file import lock as commit_lock
from dobbin_like.log.file.disk import DiskError
from dobbin_like.log.format.header import WAITING
from dobbin_like.log.writing import writable
from tests.helpers.interrupts import each_step, handled_at_step
from tests.helpers.processes import forked, in_child, outlive_parent, python_path, run, start
from tests.helpers.steps import Steps, in_thread
from tests.helpers.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

fork = multiprocessing.get_context("fork")
WAIT_SECONDS = 30
TRACED = {
    "appended.py",
    "durability.py",
    "lock.py",
    "log_index.py",
    "transaction_log.py",
    "waiting.py",
    "writable.py",
    "writer.py",
}


def commit(log: TransactionLog, oid: int, data: bytes) -> None:
    log.acquire()
    try:
        log.apply(log.read_news())
        logged = log.append(Tid(log.tid + 1), [(Oid(oid), 1, data)])
        log.apply([logged])
    finally:
        log.release()


def flock_raising(error: OSError, operation: int) -> Callable[[int, int], None]:
    """Return a ``flock`` that raises *error* for one operation, and does the others."""
    real = commit_lock._flock

    def flock(fd: int, how: int) -> None:
        if how == operation:
            raise error
        real(fd, how)

    return flock


def is_free(path: Path) -> bool:
    """Return whether another process gets the lock at once."""
    with TransactionLog(path, lock_timeout=0, sync=False) as log:
        try:
            in_thread(acquire_and_release, log)
        except LockTimeout:
            return False
    return True


def acquire_and_release(log: TransactionLog) -> None:
    log.acquire()
    log.release()


def test_a_lock_is_held_from_acquire_to_release(storage: TransactionLog) -> None:
    assert not storage.held

    storage.acquire()
    assert storage.held
    assert not in_thread(lambda: storage.held)
    assert not is_free(Path(storage.path))
    storage.release()

    assert not storage.held
    assert is_free(Path(storage.path))


def test_release_can_be_repeated(storage: TransactionLog) -> None:
    storage.release()
    storage.acquire()
    storage.release()
    storage.release()

    assert is_free(Path(storage.path))


def test_release_by_another_thread_does_nothing(storage: TransactionLog) -> None:
    storage.acquire()

    in_thread(storage.release)

    assert storage.held
    assert not is_free(Path(storage.path))
    storage.release()


def test_two_threads_of_one_instance_exclude_each_other(storage: TransactionLog) -> None:
    def work(oid: int) -> None:
        for number in range(200):
            commit(storage, oid, b"%d" % number)

    steps = Steps()
    for oid in range(2):
        steps.thread(lambda oid=oid: work(oid))
    steps.join()

    assert len(storage) == 400


def test_two_instances_in_two_threads_exclude_each_other(path: Path) -> None:
    def work(oid: int) -> None:
        with TransactionLog(path, sync=False) as log:
            for number in range(200):
                commit(log, oid, b"%d" % number)

    steps = Steps()
    for oid in range(3):
        steps.thread(lambda oid=oid: work(oid))
    steps.join()

    with TransactionLog(path) as log:
        assert len(log) == 600
        assert [log.load(Oid(oid)).data for oid in range(3)] == [b"199"] * 3  # type: ignore[union-attr]


def test_a_thread_that_would_wait_for_itself_gets_an_error_at_once(path: Path) -> None:
    with TransactionLog(path, sync=False) as first, TransactionLog(path, sync=False) as second:
        first.acquire()
        with pytest.raises(SelfWaitError):
            first.acquire()
        with pytest.raises(SelfWaitError):
            second.acquire()
        assert first.held
        first.release()

        second.acquire()
        second.release()


def test_a_signal_handler_of_a_thread_that_takes_the_lock_gets_an_error_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TransactionLog(path, sync=False) as log:
        lock = log._writing.lock
        told = []

        def handler() -> bool:
            with pytest.raises(SelfWaitError):
                log.acquire()
            told.append(log.held)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(lock, "_try", handler)
            with pytest.raises(KeyboardInterrupt):
                log.acquire()
        assert told == [False]
        log.acquire()
        assert log.held
        log.release()


def test_an_instance_opened_by_another_name_is_the_same_file(path: Path) -> None:
    link = path.with_name("link.log")
    link.symlink_to(path)
    with TransactionLog(path, sync=False) as first, TransactionLog(link, sync=False) as second:
        assert first.sort_key == second.sort_key
        first.acquire()
        with pytest.raises(SelfWaitError):
            second.acquire()
        first.release()


def test_a_timeout_names_the_file_and_the_time_and_holds_nothing(path: Path) -> None:
    with TransactionLog(path, sync=False) as holder:
        holder.acquire()
        with TransactionLog(path, sync=False, lock_timeout=0.02) as other:
            with pytest.raises(LockTimeout) as caught:
                in_thread(other.acquire)
            holder.release()
            in_thread(acquire_and_release, other)

    assert (caught.value.path, caught.value.timeout_seconds) == (str(path), 0.02)


def test_a_timeout_counts_for_a_thread_of_the_same_instance(path: Path) -> None:
    with TransactionLog(path, sync=False, lock_timeout=0.02) as log:
        log.acquire()
        with pytest.raises(LockTimeout):
            in_thread(log.acquire)
        assert log.held
        log.release()


def test_a_waiter_gets_the_lock_when_it_is_released(path: Path) -> None:
    steps = Steps()
    with TransactionLog(path, sync=False) as holder, TransactionLog(path, sync=False) as waiter:
        holder.acquire()
        began = threading.Event()

        @steps.thread
        def _wait() -> None:
            began.set()
            waiter.acquire()
            waiter.release()

        began.wait(WAIT_SECONDS)
        holder.release()
        steps.join()


def test_a_failed_acquire_holds_nothing(path: Path) -> None:
    with TransactionLog(path.parent / "missing" / "log", sync=False) as log:
        with pytest.raises(FileNotFoundError):
            log.acquire()
        assert not log.held
        with pytest.raises(FileNotFoundError):
            in_thread(log.acquire)


@pytest.mark.parametrize("step", ["write_stream", "append", "prepare", "decide", "settle", "fail"])
def test_writing_without_the_lock_is_an_error(storage: TransactionLog, step: str) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "write_stream": (None,),
        "append": (1, []),
        "prepare": (1, []),
        "decide": (),
        "settle": (1,),
        "fail": (1, ""),
    }
    commit(storage, 0, b"")

    with pytest.raises(NotHeldError) as caught:
        getattr(storage, step)(*arguments[step])

    assert isinstance(caught.value, RuntimeError)
    assert step in str(caught.value)


# -- interrupts ---------------------------------------------------------------


def test_an_interrupt_after_any_line_leaves_nothing_locked_after_release(path: Path) -> None:
    class Interrupt(BaseException):
        pass

    def run(countdown: int) -> bool:
        """Commit, interrupted after that many lines; return whether it was."""
        left = countdown

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal left
            # The tracer stops between a with and the end of its lock, which an interrupt
            # never does; so only modules without such a place are traced.
            if Path(frame.f_code.co_filename).name not in TRACED:
                return None
            left -= 1
            if left == 0:
                raise Interrupt
            return trace

        log = TransactionLog(path, sync=False)
        try:
            with tracing(trace):
                log.acquire()
                log.apply(log.read_news())
                log.append(Tid(log.tid + 1), [(Oid(0), 1, b"x")])
                log.release()
        except Interrupt:
            return True
        finally:
            log.release()
            assert not log.held
            assert is_free(path)
            log.close()
        return False

    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"first")
    lines = 1
    while run(lines):
        lines += 1

    assert lines > 100
    with TransactionLog(path) as log:
        assert len(list(log.transactions())) == len(log)


# -- forks ----------------------------------------------------------------------


def test_a_lock_held_in_the_parent_is_not_held_in_the_child(storage: TransactionLog) -> None:
    storage.acquire()

    def child() -> tuple[bool, bool]:
        storage.after_fork_in_child()
        held = storage.held
        storage.release()
        return held, True

    assert in_child(child) == (False, True)
    assert storage.held
    assert not is_free(Path(storage.path))
    storage.release()


def test_a_hook_of_others_that_runs_first_in_a_child_frees_nothing(path: Path) -> None:
    code = f"""
import os, fcntl
storages = []
os.register_at_fork(after_in_child=lambda: [storage.release() for storage in storages])
from dobbin_like.log import TransactionLog
storage = TransactionLog({str(path)!r}, sync=False)
storage.acquire()
storages.append(storage)
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
with open({str(path)!r}, "rb") as file:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        print("held")
"""
    done = run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"held\n"


def test_a_child_that_ends_leaves_the_lock_of_its_parent_alone(storage: TransactionLog) -> None:
    storage.acquire()

    in_child(storage.close)

    assert not is_free(Path(storage.path))
    storage.release()


def test_a_child_can_close_a_log_that_another_thread_was_writing_to(
    storage: TransactionLog,
) -> None:
    steps = Steps()

    @steps.thread
    def _commit() -> None:
        with steps[0]:
            storage.acquire()
        with steps[2]:
            storage.release()

    with steps[1]:
        assert in_child(storage.close) is None
        assert not is_free(Path(storage.path))
    steps.join()


def test_a_thread_that_waits_while_the_log_is_closed_is_told_so(path: Path) -> None:
    steps = Steps()
    log = TransactionLog(path, sync=False)
    log.acquire()
    waits = threading.Event()

    @steps.thread
    def _wait() -> None:
        waits.set()
        with pytest.raises(ClosedError):
            log.acquire()

    waits.wait(WAIT_SECONDS)
    log.close()
    steps.join()


@pytest.mark.parametrize("called", [True, False])
def test_a_child_commits_by_itself(storage: TransactionLog, *, called: bool) -> None:
    commit(storage, 0, b"parent")

    def child() -> int:
        if called:
            storage.after_fork_in_child()
        commit(storage, 1, b"child")
        return len(storage)

    assert in_child(child) == 2
    assert storage.has_news()
    commit(storage, 2, b"parent")
    assert len(storage) == 3
    assert [bool(storage.load(Oid(oid))) for oid in range(3)] == [True] * 3


def test_a_child_waits_for_its_parent(storage: TransactionLog) -> None:
    commit(storage, 0, b"")
    storage.acquire()

    def child() -> None:
        storage.after_fork_in_child()
        storage._writing.lock_timeout = 0.01
        storage.acquire()

    assert isinstance(in_child(child), LockTimeout)
    storage.release()


def test_a_child_drops_what_its_parent_was_writing(storage: TransactionLog) -> None:
    commit(storage, 0, b"")
    storage.acquire()
    logged = storage.prepare(Tid(9), [(Oid(1), 1, b"parent")])

    def child() -> None:
        storage.after_fork_in_child()
        storage.release()
        storage.close()

    in_child(child)
    storage.decide()
    storage.apply([logged])
    storage.release()

    assert len(list(storage.transactions())) == 2


def test_a_surviving_child_does_not_keep_the_lock_of_a_dead_parent(path: Path) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"")
    told, tells = os.pipe()

    def holds() -> None:
        log = TransactionLog(path, sync=False)
        log.acquire()

        def survives() -> None:
            outlive_parent()
            log.after_fork_in_child()
            os.write(tells, b"%d\n" % os.getpid())
            signal.pause()

        forked(survives)
        signal.pause()

    parent = forked(holds)
    os.close(tells)
    child = int(os.read(told, 20))
    try:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)

        assert is_free(path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(told)


def test_an_executed_program_does_not_inherit_the_lock(storage: TransactionLog) -> None:
    storage.acquire()
    with start([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        storage.release()
        storage.acquire()
        storage.close()
        try:
            assert is_free(Path(storage.path))
        finally:
            child.communicate(b"\n")


# -- gevent: none of its threads runs while one waits in the system ----------------------

TWO_INSTANCES = """
import sys
from gevent import monkey
if sys.argv[2] == "first":
    monkey.patch_all()
from dobbin_like import safe
if sys.argv[2] == "late":
    monkey.patch_all()
import gevent

one = safe.open(sys.argv[1], pack_when=None)
two = safe.open(sys.argv[1], pack_when=None)

def block():
    with one.transaction():
        number = one.get("n", 0)
        gevent.sleep(0.01)
        one["n"] = number + 1

def more():
    for _ in range(5):
        two.increment("n")

gevent.joinall([gevent.spawn(job) for job in (block, more) * 4], raise_error=True)
print(one["n"])
"""


def run_gevent(path: Path, when: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("gevent")
    command = [sys.executable, "-c", TWO_INSTANCES, path, when]
    return run(command, capture_output=True, text=True, env=python_path(), timeout=WAIT_SECONDS)


@pytest.mark.slow
def test_greenlets_with_instances_of_their_own_wait_for_each_other(path: Path) -> None:
    # The one that waited in flock kept the one from running that had the lock: for ever.
    ended = run_gevent(path, "first")

    assert (ended.stdout, ended.stderr) == ("24\n", "")


@pytest.mark.slow
def test_threads_that_are_patched_after_the_import_are_refused(path: Path) -> None:
    ended = run_gevent(path, "late")

    assert "LatePatchError" in ended.stderr
    assert not path.exists()


def test_threads_that_can_not_be_told_apart_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(threading, "get_ident", lambda: 1)
        with pytest.raises(LatePatchError, match="patch first"):
            TransactionLog(path)
    TransactionLog(path).close()


def test_a_thread_that_may_not_wait_in_the_system_asks_again_and_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = set()

    def flock(fd: int, how: int) -> None:
        asked.add(how)
        fcntl.flock(fd, how)

    monkeypatch.setattr(commit_lock, "_MAY_BLOCK", False)
    monkeypatch.setattr(commit_lock, "_flock", flock)
    steps = Steps()

    def work(log: TransactionLog) -> None:
        for _ in range(50):
            commit(log, 0, b"")

    with TransactionLog(path, sync=False) as one, TransactionLog(path, sync=False) as two:
        for log in (one, two):
            steps.thread(lambda log=log: work(log))  # type: ignore[misc]
        steps.join()
        one.apply(one.read_news())
        assert len(one) == 100
    assert fcntl.LOCK_EX not in asked


# -- the file at the path ---------------------------------------------------------


def test_a_lock_that_the_system_does_not_take_back_says_so_and_is_given_back_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error named no file, and was none of the disk: it was taken for that of a handler."""
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    with TransactionLog(path) as log, TransactionLog(path, lock_timeout=0) as other:
        log.acquire()
        with monkeypatch.context() as patch:
            patch.setattr(commit_lock, "_flock", flock_raising(error, fcntl.LOCK_UN))
            with pytest.raises(DiskError, match="Input/output") as raised:
                log.release()
        assert raised.value.filename == str(path)

        log.release()
        other.acquire()


@pytest.mark.parametrize("replaced", [True, False])
def test_a_commit_to_a_file_that_is_gone_is_refused(path: Path, *, replaced: bool) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"kept")
        path.rename(path.with_name("moved"))
        if replaced:
            path.write_bytes(b"")

        with pytest.raises(LogMovedError) as caught:
            log.acquire()

        assert str(path) in str(caught.value)
        assert not log.held
        assert log.load(Oid(0)) is not None


@pytest.mark.parametrize("packed", [True, False])
def test_a_commit_to_a_directory_that_is_gone_is_refused(tmp_path: Path, *, packed: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    manager = transaction.TransactionManager()
    with Database(folder / "x.log", transaction_manager=manager) as database:
        database.set_root(PersistentDict())
        manager.commit()
        if packed:  # The next writer brings the name of the new file to stable storage.
            database.pack()
        shutil.rmtree(folder)

        with pytest.raises(LogMovedError, match="the file is gone"):
            database.storage.acquire()


def test_a_child_of_a_log_that_is_gone_can_read_and_not_write(storage: TransactionLog) -> None:
    commit(storage, 0, b"kept")
    Path(storage.path).unlink()

    def child() -> bytes:
        storage.after_fork_in_child()
        with pytest.raises(LogMovedError):
            storage.acquire()
        stored = storage.load(Oid(0))
        assert stored is not None
        return stored.data

    assert in_child(child) == b"kept"


# -- processes ----------------------------------------------------------------------


def test_the_lock_of_a_killed_process_is_free(path: Path) -> None:
    told, tells = os.pipe()

    def holds() -> None:
        log = TransactionLog(path, sync=False)
        log.acquire()
        os.write(tells, b"x")
        signal.pause()

    holder = forked(holds)
    os.close(tells)
    assert os.read(told, 1) == b"x"
    assert not is_free(path)

    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)

    assert is_free(path)
    os.close(told)


def write_until(path: Path, oid: int, all_together: int, begin: Any, results: Any) -> None:
    with TransactionLog(path, sync=False) as log:
        begin.wait(WAIT_SECONDS)
        count = 0
        while len(log) < all_together:
            commit(log, oid, b"%d" % count)
            count += 1
    results.put((oid, count))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_no_process_starves_another(path: Path, processes: int) -> None:
    results, begin = fork.Queue(), fork.Barrier(processes)
    workers = [
        fork.Process(target=write_until, args=(path, oid, 5000 * processes, begin, results))
        for oid in range(processes)
    ]
    for worker in workers:
        worker.start()
    counts = dict(results.get(timeout=WAIT_SECONDS) for _ in workers)
    for worker in workers:
        worker.join(WAIT_SECONDS)

    # A waiter that the system does not let run for two milliseconds loses its turn; one that
    # starves gets next to none.
    assert min(counts.values()) * 4 >= max(counts.values())
    with TransactionLog(path) as log:
        assert len(log) == sum(counts.values())
        assert {oid: log.load(Oid(oid)).data for oid in counts} == {  # type: ignore[union-attr]
            oid: b"%d" % (count - 1) for oid, count in counts.items()
        }


def test_a_waiter_that_is_gone_is_forgotten(storage: TransactionLog) -> None:
    commit(storage, 0, b"creates the file")
    words = storage._reading.file.words
    assert words is not None
    words.put(WAITING, 12345)

    commit(storage, 0, b"it may have been others that have taken the lock meanwhile")
    commit(storage, 0, b"lets it go first, for a moment")

    assert words.get(WAITING) == 0


def test_who_has_given_up_waiting_is_waited_for_no_more(path: Path) -> None:
    """Each commit took two milliseconds, for as long as the process lived."""
    with (
        TransactionLog(path, sync=False) as log,
        TransactionLog(path, sync=False, lock_timeout=0.01) as hasty,
    ):
        commit(log, 0, b"creates the file")
        log.acquire()
        with pytest.raises(LockTimeout):
            in_thread(hasty.acquire)
        words = log._reading.file.words
        assert words is not None
        assert words.get(WAITING) == 0
        log.release()


def test_whoever_waits_is_let_in_before_the_same_one_gets_the_lock_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writable, "_GIVE_WAY_SECONDS", WAIT_SECONDS)  # However busy the machine.
    steps = Steps()
    with TransactionLog(path, sync=False) as log, TransactionLog(path, sync=False) as other:
        commit(log, 0, b"first")
        log.acquire()
        waits = threading.Event()
        words = log._reading.file.words
        assert words is not None

        @steps.thread
        def _wait() -> None:
            waits.set()
            commit(other, 1, b"has waited")

        waits.wait(WAIT_SECONDS)
        while not words.get(WAITING):
            time.sleep(0)
        log.release()
        commit(log, 0, b"second")
        steps.join()
        assert len(log) == 3
        assert [logged.oids[0] for logged in log.transactions()] == [0, 1, 0]


def test_a_timeout_of_the_program_while_the_lock_is_waited_for_is_no_error_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_handler = TimeoutError()  # Of SIGALRM.
    with TransactionLog(path, sync=False) as log, TransactionLog(path, sync=False) as other:
        log.acquire()
        monkeypatch.setattr(commit_lock, "_flock", flock_raising(by_handler, fcntl.LOCK_EX))
        with pytest.raises(TimeoutError):
            in_thread(other.acquire)
        monkeypatch.undo()
        log.release()


@pytest.mark.parametrize("step", ["release", "fail", "append"])
@pytest.mark.parametrize("sync", [False, True], ids=["loose", "synced"])
def test_what_a_signal_handler_raises_under_the_lock_is_no_error_of_the_disk(
    tmp_path: Path, step: str, *, sync: bool
) -> None:
    """TimeoutError is an OSError: what writes a record, or saves, logged it, and went on."""

    def interrupt() -> None:
        raise TimeoutError

    for number in each_step():
        with TransactionLog(tmp_path / f"{number}.log", sync=sync) as log:
            commit(log, 0, b"first")
            log.acquire()
            log._writing.writer.save_after_entries = 0
            steps = {
                "release": log.release,
                "fail": partial(log.fail, Tid(2), "why"),
                "append": partial(log.append, Tid(2), [(Oid(0), 1, b"second")]),
            }
            try:
                came = handled_at_step(number, steps[step], interrupt)
                assert not came, number
            except TimeoutError:
                came = True
            log.release()
            commit(log, 0, b"goes on")
        if not came:
            break


def test_a_timeout_of_a_handler_in_the_wait_for_the_lock_is_raised(path: Path) -> None:
    """It was lost where the wait had come to its end, and LockTimeout was raised in its place."""
    came: list[int] = []

    def interrupt() -> None:
        came.append(step)
        raise TimeoutError

    with TransactionLog(path, sync=False, lock_timeout=0.001) as log:
        commit(log, 0, b"first")
        with path.open("r+b") as other:
            fcntl.flock(other, fcntl.LOCK_EX)  # As another process holds it.
            for step in each_step():
                with pytest.raises((LockTimeout, TimeoutError)) as caught:
                    handled_at_step(step, log.acquire, interrupt)
                log.release()
                if step not in came:
                    break
                assert caught.type is TimeoutError, step
        assert step > 20
        commit(log, 0, b"second")


def test_who_lets_others_go_first_waits_for_them_no_longer_than_for_the_lock(path: Path) -> None:
    steps = Steps()
    has_given_up = threading.Event()
    with (
        TransactionLog(path, sync=False, lock_timeout=0.5) as log,
        TransactionLog(path, sync=False) as other,
    ):
        commit(log, 0, b"first")
        log.acquire()
        words = log._reading.file.words
        assert words is not None

        @steps.thread
        def _wait() -> None:
            other.acquire()
            has_given_up.wait(WAIT_SECONDS)
            other.release()

        while not words.get(WAITING):
            time.sleep(0)
        with pytest.raises(LockTimeout):
            log._writing.lock.let_others(lambda: False, WAIT_SECONDS)
        log.release()
        has_given_up.set()
        steps.join()

        commit(log, 0, b"second")


def test_starting_anew_without_a_fork_does_no_harm(storage: TransactionLog) -> None:
    storage.after_fork_in_child()
    commit(storage, 0, b"before")

    storage.after_fork_in_child()

    assert storage.load(Oid(0)) is not None
    commit(storage, 0, b"after")
    assert len(storage) == 2


@pytest.mark.parametrize("replaced", [True, False])
def test_starting_anew_where_the_file_is_gone_leaves_a_log_to_read(
    path: Path, *, replaced: bool
) -> None:
    with TransactionLog(path, sync=False) as log:
        commit(log, 0, b"kept")
        path.rename(path.with_name("moved"))
        if replaced:
            path.write_bytes(b"")

        log.after_fork_in_child()

        assert log.load(Oid(0)) is not None
        with pytest.raises(LogMovedError):
            log.acquire()


def test_a_system_without_locks_of_open_files_is_told(tmp_path, monkeypatch):
    monkeypatch.delattr(fcntl, "F_OFD_SETLK")
    with pytest.raises(OSError, match="F_OFD_SETLK") as caught:
        TransactionLog(tmp_path / "data.log")
    assert caught.value.filename == str(tmp_path / "data.log")
