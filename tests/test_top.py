"""``dobbin top``: what all processes do to a log, and which have it open."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import cli
from dobbin_like.database import Database
from dobbin_like.log import TransactionLog
from dobbin_like.log.file.lock_table import _parsed
from dobbin_like.testing.steps import TIMEOUT_SECONDS
from dobbin_like.watch.activity import LogUser, LogWatch, users_of
from tests.helpers import processes
from tests.helpers.processes import ROOT, exit_code, forked, python_path
from tests.helpers.terminal import open_terminal
from tests.helpers.transactions import change, fail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITER = """
import sys, transaction
from dobbin_like import Database, PersistentDict, checkout
database = Database(sys.argv[1])
if database.root is None:
    database.set_root(PersistentDict())
number = 0
while True:
    checkout(database.root)
    database.root[sys.argv[2]] = number = number + 1
    transaction.commit()
    if number == 1:
        print(flush=True)
"""
READER = """
import sys
from dobbin_like import TransactionLog
log = TransactionLog(sys.argv[1], read_only=True)
print(flush=True)
sys.stdin.read()
"""
HOLDER = """
import sys
from dobbin_like import TransactionLog
log = TransactionLog(sys.argv[1])
log.acquire()
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def running(program: str, path: Path, *args: str) -> Iterator[subprocess.Popen[Any]]:
    """Run a program until the end of the block; begin when it has printed a line."""
    command = [sys.executable, "-c", program, path, *args]
    process = processes.start(
        command, env=python_path(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        process.stdout.readline()  # type: ignore[union-attr]
        try:
            yield process
        finally:
            process.kill()


def top(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> str:
    assert cli.run(["top", str(path), "--once", "--interval", "0.01", *options]) == 0
    return capsys.readouterr().out


@pytest.fixture
def log_path(path: Path) -> Path:
    """A log with one transaction."""
    with Database(TransactionLog(path, sync=False)) as database:
        change(database, n=0)
        transaction.abort()
    return path


# -- the processes ----------------------------------------------------------------------


def test_a_log_that_nobody_has_open_has_no_users(log_path: Path) -> None:
    assert users_of(str(log_path)) == ()


def test_this_process_is_not_among_the_users(storage: TransactionLog) -> None:
    storage.acquire()

    assert users_of(storage.path) == ()

    storage.release()


@pytest.mark.slow
def test_who_holds_the_commit_lock_and_who_waits_is_told(log_path: Path) -> None:
    def wait() -> None:
        with TransactionLog(log_path, sync=False) as log:
            log.acquire()

    with running(HOLDER, log_path) as holder, running(READER, log_path) as reader:
        waiter = forked(wait)
        end = time.monotonic() + TIMEOUT_SECONDS
        while True:
            users = {user.process: user for user in users_of(str(log_path))}
            if waiter in users and users[waiter].waits_for_lock:
                break
            assert time.monotonic() < end
    assert exit_code(waiter) == 0

    assert {*users} == {holder.pid, reader.pid, waiter}
    assert users[holder.pid].command.startswith(sys.executable)
    states = {process: tuple(user[2:]) for process, user in users.items()}
    assert states == {
        holder.pid: (True, True, False, False),
        reader.pid: (False, False, False, False),
        waiter: (True, False, True, False),
    }


@pytest.mark.slow
def test_a_process_that_was_killed_is_gone(log_path: Path) -> None:
    with running(HOLDER, log_path) as holder:
        before = users_of(str(log_path))
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        after = users_of(str(log_path))

    assert [user.process for user in before] == [holder.pid]
    assert after == ()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "3: FLOCK  ADVISORY  WRITE 8341 fe:00:2311956 0 EOF",
            (False, "FLOCK", True, 8341, "fe:00:2311956", 0),
        ),
        (
            "3: -> FLOCK  ADVISORY  WRITE 8342 fe:00:2311956 0 EOF",
            (True, "FLOCK", True, 8342, "fe:00:2311956", 0),
        ),
        (
            "lock:\t1: OFDLCK ADVISORY  READ -1 00:2d:77 4611686018427387905 4611686018427387905",
            (False, "OFDLCK", False, -1, "00:2d:77", 4611686018427387905),
        ),
        ("flags:\t0100002", None),
        ("pos:\t0", None),
    ],
)
def test_lines_of_the_system_are_understood(line: str, expected: tuple[Any, ...] | None) -> None:
    assert _parsed(line) == expected


# -- the log ----------------------------------------------------------------------------


def test_commits_failures_and_conflicts_since_the_last_look_are_told(path: Path) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        change(database, n=0)
        with LogWatch(str(path)) as watch:
            first = watch.look()
            change(database, n=1)
            fail(path, database)
            second = watch.look()
            third = watch.look()
        transaction.abort()

    assert (first.commits, first.failed, first.transactions) == (0, 0, 1)
    # One of the two that were committed is that with which another was in conflict.
    assert (second.commits, second.failed, second.transactions) == (2, 1, 4)
    assert second.bytes > 0
    assert (third.commits, third.failed, third.bytes) == (0, 0, 0)
    assert first.conflicts == {}
    assert second.conflicts == third.conflicts == {"PersistentDict": 1}


def test_a_log_that_is_packed_is_followed(path: Path) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        for number in range(5):
            change(database, n=number)
        with LogWatch(str(path)) as watch:
            assert database.pack().packed
            change(database, n=5)
            activity = watch.look()
            if not activity.commits:  # The first look has followed.
                activity = watch.look()
        transaction.abort()

    assert activity.commits == 1
    assert activity.file_bytes == path.stat().st_size


def test_an_empty_log_can_be_watched(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.touch()

    out = top(capsys, path)

    assert out.splitlines()[0] == f"{path}: 0 transactions, 0 bytes"
    assert out.splitlines()[-1] == "no process has it open"


def test_a_log_to_which_nothing_happens_is_shown(
    log_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = top(capsys, log_path)

    assert "\n0.0 commits/s, 0.0 failed/s, 0.0 bytes/s\n" in out
    assert "\nconflicts since the start: none\n" in out


# -- the command ------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_and_what_they_do_are_shown(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(WRITER, path, "a") as one, running(READER, path) as two:
        out = top(capsys, path, "--interval", "0.3")
        facts = json.loads(top(capsys, path, "--interval", "0.3", "--json"))

    lines = out.splitlines()
    start = next(at for at, line in enumerate(lines) if line.split()[:2] == ["process", "opened"])
    shown = {int(line.split()[0]): line for line in lines[start + 1 :]}
    assert {*shown} == {one.pid, two.pid}
    assert " to write " in shown[one.pid]
    assert " to read " in shown[two.pid]
    assert sys.executable in shown[one.pid]
    assert not lines[1].startswith("0.0 commits/s")
    assert facts["commits"] > 0
    assert [LogUser(**user).process for user in facts["users"]] == sorted((one.pid, two.pid))


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_ctrl_c_ends_it_cleanly(log_path: Path, options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "dobbin_like", "top", log_path, "--interval", "0.05"]
    pipe = subprocess.PIPE
    with processes.start([*command, *options], cwd=ROOT, stdout=pipe, stderr=pipe) as process:
        process.stdout.readline()  # type: ignore[union-attr]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT_SECONDS)

    assert (process.returncode, err) == (0, b"")


@pytest.mark.slow
def test_on_a_terminal_it_is_drawn_anew_until_ctrl_c(log_path: Path) -> None:
    leader, follower = open_terminal()
    command = [sys.executable, "-m", "dobbin_like", "top", log_path, "--interval", "0.05"]
    seen, told = b"", False
    with processes.start(command, cwd=ROOT, stdout=follower, stderr=subprocess.PIPE) as process:
        os.close(follower)
        with contextlib.suppress(OSError):  # The other end is closed.
            while data := os.read(leader, 1000):
                seen += data
                if not told and seen.count(b"commits/s") >= 3:
                    told = True
                    process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=TIMEOUT_SECONDS)[1]
    os.close(leader)

    assert seen.count(b"commits/s") >= 3
    assert (process.returncode, err) == (0, b"")


def test_help_says_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["top", "--help"]) == 0

    assert "each knows its own, by db.stats()" in " ".join(capsys.readouterr().out.split())
