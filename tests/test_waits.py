"""Waits are counted, and one that takes too long is told of while it goes on."""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from dobbin_like import cli, warn_after
from dobbin_like.exc import LockTimeout
from dobbin_like.ids import Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.file import lock as commit_lock
from dobbin_like.log.file import range_lock
from dobbin_like.warn_after import Waits
from tests.helpers.log_commits import commit
from tests.helpers.processes import exit_code, forked, in_child
from tests.helpers.steps import TIMEOUT_SECONDS, Steps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Heard(logging.Handler):
    """What the package logs, for a thread that waits for it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: queue.Queue[logging.LogRecord] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.put(record)

    def next(self) -> str:
        return self.records.get(timeout=TIMEOUT_SECONDS).getMessage()


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    logger = logging.getLogger("dobbin_like")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warn_after, "lock_seconds", 0.02)
    monkeypatch.setattr(warn_after, "_watcher", warn_after._Watcher())


@contextmanager
def held_by_thread(log: TransactionLog, name: str) -> Iterator[None]:
    """Let a thread hold the commit lock of *log* during the block."""
    got, end = threading.Event(), threading.Event()

    def hold() -> None:
        log.acquire()
        got.set()
        end.wait(TIMEOUT_SECONDS)
        log.release()

    thread = threading.Thread(target=hold, name=name)
    thread.start()
    got.wait(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        end.set()
        thread.join(TIMEOUT_SECONDS)


@contextmanager
def held_by_process(path: Path, which: int | None = None) -> Iterator[int]:
    """Let a process hold the commit lock of *path* during the block, or that of a byte.

    Yields its number.
    """
    got, tell_got = os.pipe()
    end, tell_end = os.pipe()

    def hold() -> None:
        os.close(tell_end)
        with TransactionLog(path, sync=False) as log:
            if which is None:
                log.acquire()
            else:
                range_lock.lock(log.file.fd, log.path, which)
            os.write(tell_got, b"x")
            os.read(end, 1)  # Until the other end is closed.

    child = forked(hold)
    os.close(end)
    try:
        os.read(got, 1)
        yield child
    finally:
        os.close(tell_end)
        assert exit_code(child) == 0
        os.close(got)
        os.close(tell_got)


def wait_in_thread(steps: Steps, log: TransactionLog, name: str = "") -> threading.Thread:
    @steps.thread
    def waiter() -> None:
        threading.current_thread().name = name or threading.current_thread().name
        log.acquire()
        log.release()

    return waiter


def two_waits() -> list[warn_after._Wait]:
    """Return the waits that go on, when there are two."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while len(found := warn_after._going_on()) < 2:
        assert time.monotonic() < end
    return found


# -- counting ---------------------------------------------------------------------------


def test_a_step_that_waits_is_counted_and_its_result_returned() -> None:
    waits = Waits(lambda *_: None)

    assert waits.during(lambda: 7) == 7

    assert waits.count == 1
    assert waits.seconds == waits.longest_seconds > 0


def test_a_wait_that_fails_is_counted_too() -> None:
    waits = Waits(lambda *_: None)

    with pytest.raises(ZeroDivisionError):
        waits.during(lambda: 1 // 0)

    assert waits.count == 1
    assert not warn_after._going_on()


def test_no_wait_of_many_threads_is_lost() -> None:
    waits, steps = Waits(lambda *_: None), Steps()

    @steps.thread
    def one() -> None:
        for _ in range(2000):
            waits.during(lambda: None)

    @steps.thread
    def another() -> None:
        for _ in range(2000):
            waits.during(lambda: None)

    steps.join()

    assert waits.count == 4000


def test_a_lock_that_is_free_is_not_waited_for(storage: TransactionLog) -> None:
    for _ in range(3):
        storage.acquire()
        storage.release()

    counts = storage.counts()
    assert (counts.lock_waits, counts.lock_holds) == (0, 3)
    assert 0 < counts.longest_lock_hold_seconds <= counts.lock_hold_seconds


def test_a_lock_that_is_free_in_a_moment_is_not_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def flock(fd: int, how: int) -> None:
        if how & fcntl.LOCK_EX:
            tries.append(how)
            if len(tries) == 5:
                fcntl.flock(holder, fcntl.LOCK_UN)
        fcntl.flock(fd, how)

    path.touch()
    with TransactionLog(path, sync=False) as log, path.open("rb") as file:
        log.acquire()
        log.release()
        holder = file.fileno()
        fcntl.flock(holder, fcntl.LOCK_EX)
        monkeypatch.setattr(commit_lock, "_flock", flock)
        log.acquire()
        log.release()

        assert tries == [fcntl.LOCK_EX | fcntl.LOCK_NB] * 5
        assert (log.counts().lock_waits, log.counts().lock_holds) == (0, 2)


def test_waiting_for_a_thread_of_the_same_instance_is_counted(path: Path) -> None:
    with TransactionLog(path, sync=False, lock_timeout=0.01) as log:
        with held_by_thread(log, "holder"), pytest.raises(LockTimeout):
            log.acquire()

        counts = log.counts()
        assert (counts.lock_waits, counts.lock_holds) == (1, 1)
        assert counts.longest_lock_wait_seconds == counts.lock_wait_seconds > 0


def test_waiting_for_another_process_is_counted(path: Path) -> None:
    with TransactionLog(path, sync=False, lock_timeout=0.01) as log:
        with held_by_process(path), pytest.raises(LockTimeout):
            log.acquire()
        log.acquire()
        log.release()

        counts = log.counts()
        assert (counts.lock_waits, counts.lock_holds) == (1, 1)
        assert counts.lock_wait_seconds > 0


def test_a_forked_child_counts_from_zero(storage: TransactionLog) -> None:
    storage.acquire()
    storage.release()

    def child() -> tuple[int, int]:
        storage.after_fork_in_child()
        before = storage.counts().lock_holds
        storage.acquire()
        storage.release()
        return before, storage.counts().lock_holds

    assert in_child(child) == (0, 1)
    assert storage.counts().lock_holds == 1


# -- warnings ---------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_a_long_wait_for_a_thread_names_both(storage: TransactionLog, heard: Heard) -> None:
    steps = Steps()
    with held_by_thread(storage, "holder"):
        wait_in_thread(steps, storage, "waiter")
        text = heard.next()
    steps.join()

    assert text.startswith(f"{storage.path}: thread 'waiter' has waited for the commit lock for ")
    assert text.endswith(" seconds; thread 'holder' of this process holds it")


@pytest.mark.usefixtures("impatient")
def test_a_long_wait_for_another_instance_names_its_thread(
    path: Path, storage: TransactionLog, heard: Heard
) -> None:
    steps = Steps()
    with TransactionLog(path, sync=False) as other, held_by_thread(other, "holder"):
        wait_in_thread(steps, storage)
        text = heard.next()
    steps.join()

    assert text.endswith("; thread 'holder' of this process holds it")


@pytest.mark.usefixtures("impatient")
def test_a_long_wait_for_a_process_names_it(
    path: Path, storage: TransactionLog, heard: Heard
) -> None:
    steps = Steps()
    with held_by_process(path) as process:
        wait_in_thread(steps, storage)
        text = heard.next()
    steps.join()

    assert text.endswith(f"; process {process} holds it")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("which", "does"), [(range_lock.SYNC, "syncs"), (range_lock.OPENING, "opens")]
)
def test_a_long_wait_for_who_syncs_or_opens_the_file_names_it(
    path: Path, heard: Heard, which: int, does: str
) -> None:
    """It may have been stopped, or its disk does not answer."""

    def wait() -> None:
        with TransactionLog(path) as other:
            other.acquire()
            other.append(Tid(other.tid + 1), ())
            other.release()

    wait()
    with held_by_process(path, which) as process:
        thread = threading.Thread(target=wait, name="waiter")
        thread.start()
        text = heard.next()
    thread.join(TIMEOUT_SECONDS)

    assert text.startswith(f"{path}: thread 'waiter' has waited for the file for ")
    assert text.endswith(f" seconds; process {process} {does} it")


@pytest.mark.usefixtures("impatient")
def test_of_many_that_wait_for_one_lock_one_is_told_of(
    storage: TransactionLog, heard: Heard
) -> None:
    steps = Steps()
    with held_by_thread(storage, "holder"):
        wait_in_thread(steps, storage, "first")
        wait_in_thread(steps, storage, "second")
        heard.next()
        while not all(wait.since + 0.02 < time.monotonic() for wait in two_waits()):
            pass
        warn_after._watcher._look()
        assert heard.records.empty()
    steps.join()


@pytest.mark.usefixtures("impatient")
def test_the_next_time_it_is_told_again(storage: TransactionLog, heard: Heard) -> None:
    for name in ("first", "second"):
        steps = Steps()
        with held_by_thread(storage, "holder"):
            wait_in_thread(steps, storage, name)
            assert f"thread '{name}' has waited" in heard.next()
        steps.join()


def test_without_a_limit_nobody_looks(
    storage: TransactionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = warn_after._Watcher()
    monkeypatch.setattr(warn_after, "_watcher", watcher)
    monkeypatch.setattr(warn_after, "lock_seconds", None)

    Waits(lambda *_: None).during(lambda: None)

    assert watcher._timer is None


@pytest.mark.usefixtures("impatient")
def test_the_thread_that_looks_ends_when_nobody_waits() -> None:
    Waits(lambda *_: None).during(lambda: None)
    timer = warn_after._watcher._timer
    assert timer is not None
    timer.join(TIMEOUT_SECONDS)

    assert not timer.is_alive()
    assert warn_after._watcher._timer is None


@pytest.mark.usefixtures("impatient")
def test_a_forked_child_is_told_too(path: Path, storage: TransactionLog) -> None:
    """The thread that looks is the parent's."""
    storage.acquire()
    Waits(lambda *_: None).during(lambda: None)

    def child() -> str:
        warn_after._watcher.forget()  # The hook is that of the one that was replaced.
        heard = Heard()
        logging.getLogger("dobbin_like").addHandler(heard)
        log = TransactionLog(path, sync=False)
        threading.Thread(target=log.acquire, daemon=True).start()
        return heard.next()

    text = in_child(child)
    storage.release()

    assert text.endswith(f"; process {os.getpid()} holds it")


@pytest.mark.usefixtures("impatient")
def test_the_command_tells_what_it_waits_for(
    path: Path, heard: Heard, capsys: pytest.CaptureFixture[str]
) -> None:
    got = threading.Event()

    def hold() -> None:
        with TransactionLog(path, sync=False) as log:
            commit(log, {0: b"state"})
            log.acquire()
            got.set()
            heard.next()
            log.release()

    holder = threading.Thread(target=hold, name="holder")
    holder.start()
    assert got.wait(TIMEOUT_SECONDS)
    code = cli.run(["pack", str(path)])
    holder.join(TIMEOUT_SECONDS)

    err = capsys.readouterr().err
    assert code == 0
    assert err.startswith(f"dobbin: {path}: thread 'MainThread' has waited for the commit lock")
    assert err.count("\n") == 1
    assert logging.getLogger("dobbin_like.log.file.lock").handlers == []
