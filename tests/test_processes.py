"""Several real processes on one file: nothing is lost, nothing is seen in part.

The scenarios, and the programs that run in the processes, are those of
``benchmarks/torture.py``, which runs them for as long as one likes; here each is run once
and small. They raise at the first thing that must never happen.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from benchmarks import kills, torture
from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import ClosedError, LockTimeout, SelfWaitError
from dobbin_like.persistent import checkout
from dobbin_like.storage import TransactionLog
from dobbin_like.transactions.fork import claims
from tests.helpers.processes import ROOT, exit_code, forked, forked_in_c, python_path, run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


def test_the_sum_of_all_accounts_is_the_same_in_every_snapshot_of_every_process(tmp_path):
    figures = torture.bank(tmp_path, 1, writers=3, threads=2, readers=2, kills=0, commits=100)

    assert figures["commits"] == 3 * 100
    assert figures["snapshots"] > 0


def test_two_accounts_that_all_want_are_retried_until_all_is_done(tmp_path):
    figures = torture.bank(
        tmp_path, 2, writers=2, threads=2, readers=0, kills=0, commits=100, accounts=2
    )

    assert figures["commits"] == 2 * 100


def test_a_counter_that_resolves_conflicts_loses_nothing(tmp_path):
    figures = torture.counter(tmp_path, 3, writers=2, threads=3, commits=60)

    assert figures["commits"] == 2 * 3 * 60


def test_acknowledged_commits_survive_kill_9_of_their_writers(tmp_path):
    figures = torture.bank(
        tmp_path, 4, writers=2, threads=1, readers=1, kills=4, commits=60, accounts=5
    )

    assert figures["kills"] == 8


def test_threads_of_a_killed_process_lose_no_acknowledged_commit(tmp_path):
    figures = torture.bank(
        tmp_path, 5, writers=1, threads=4, readers=0, kills=3, commits=80, accounts=30
    )

    assert figures["kills"] == 3


@pytest.mark.parametrize("step", torture.STALL_STEPS)
def test_a_holder_of_the_commit_lock_that_is_killed_leaves_no_lock_and_no_half_state(
    tmp_path, step
):
    torture.holder(tmp_path, 6, steps=(step,))


def test_copies_that_others_make_are_whole(tmp_path: Path) -> None:
    figures = torture.copies(tmp_path, 8, writers=2, threads=2, copies=4)

    assert figures["copies"] == 4


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork()")


def test_nothing_is_lost_while_the_log_is_packed_and_packers_and_writers_are_killed(tmp_path):
    figures = torture.packing(
        tmp_path, 8, writers=2, threads=1, readers=1, packers=2, kills=1, commits=40
    )

    assert figures["packs"] > 0
    assert figures["commits"] >= 2 * 40


def test_collections_stay_in_order_while_they_are_changed_packed_and_killed(tmp_path):
    figures = torture.collections(
        tmp_path, 11, writers=2, threads=1, readers=1, packers=1, kills=1, commits=40
    )

    assert figures["commits"] >= 2 * 40


@needs_fork
@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="CPython without the global lock may hang in a child that was forked beside threads",
)
def test_a_forked_child_and_its_parent_see_each_other_while_a_thread_commits(tmp_path):
    figures = torture.fork(tmp_path, 7, rounds=10)

    assert figures["forks"] == 10


# -- what forks in its own process, without other threads -----------------------


def run_forking(name: str, path: Path) -> str:
    """Run one of the programs below; return what it has printed."""
    done = run(
        [sys.executable, "-c", f"from tests import test_processes as t; t.{name}()", str(path)],
        cwd=ROOT,
        env=python_path(),
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    return done.stdout.decode()


def add(database: Database, amount: int) -> None:
    checkout(database.root.counter)
    database.root.counter.value += amount


def program_working_copy() -> None:
    database = torture.open_database(sys.argv[1])
    transaction.begin()
    add(database, 1)

    def child() -> None:
        assert database.root.counter.value == 1
        add(database, 10)
        transaction.commit()

    print(exit_code(forked(child)))
    add(database, 100)
    try:
        transaction.commit()
    except torture.TransientError:
        transaction.abort()
    print(database.root.counter.value)
    database.close()


@needs_fork
def test_a_working_copy_is_inherited_and_only_its_first_committer_wins(bank_path):
    # The counter resolves: 11 by the child, and 101 by the parent on top of it.
    assert run_forking("program_working_copy", bank_path).split() == ["0", "112"]


def program_fork_in_commit() -> None:
    database = torture.open_database(sys.argv[1], lock_timeout=0.05)

    class Forking:
        transaction_manager = None
        status: int | None = None

        def sortKey(self) -> str:  # noqa: N802
            return "~"

        def tpc_vote(self, _transaction: Any) -> None:
            def child() -> None:
                with torture.open_database(sys.argv[1], lock_timeout=0.05) as own:
                    assert own.root.counter.value == 0
                    try:
                        own.storage.acquire()
                    except (LockTimeout, SelfWaitError):
                        return
                    raise AssertionError("the child took the lock of its parent")

            self.status = exit_code(forked(child))

        def nothing(self, _transaction: Any) -> None:
            pass

        tpc_begin = commit = tpc_finish = tpc_abort = abort = nothing

    forking = Forking()
    transaction.begin()
    add(database, 1)
    transaction.get().join(forking)
    transaction.commit()
    print(forking.status, database.root.counter.value)
    database.close()


@needs_fork
def test_a_child_forked_in_the_middle_of_a_commit_has_no_lock_and_the_commit_goes_on(bank_path):
    assert run_forking("program_fork_in_commit", bank_path).split() == ["0", "1"]


def program_child_outlives_holder() -> None:
    database = torture.open_database(sys.argv[1])
    database.storage.acquire()
    ready = os.pipe()
    gone = os.pipe()

    def child() -> None:
        os.close(gone[1])
        os.write(ready[1], b"r")
        os.read(gone[0], 1)  # Ends when the parent has.
        transaction.begin()
        add(database, 1)
        transaction.commit()
        print("committed", flush=True)

    forked(child)
    os.read(ready[0], 1)
    os._exit(0)


@needs_fork
def test_a_child_can_commit_after_its_parent_died_as_holder_of_the_lock(bank_path):
    assert run_forking("program_child_outlives_holder", bank_path).split() == ["committed"]


def program_fork_in_c() -> None:
    database = torture.open_database(sys.argv[1])

    def child() -> None:
        failures: list[Any] = []
        sys.unraisablehook = failures.append
        ctypes.pythonapi.PyOS_AfterFork_Child()  # Without the hooks before the fork.
        assert not failures, failures
        transaction.begin()
        add(database, 10)
        transaction.commit()
        assert exit_code(forked(lambda: commit_one(database))) == 0

    with claims:  # As another thread may.
        status = forked_in_c(child)
    transaction.begin()
    print(status, database.root.counter.value)
    database.close()


def commit_one(database: Database) -> None:
    transaction.begin()
    add(database, 1)
    transaction.commit()


@needs_fork
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="CPython itself ends there")
def test_a_server_may_run_the_hooks_of_the_child_alone(bank_path):
    assert run_forking("program_fork_in_c", bank_path).split() == ["0", "11"]


def program_closed_in_child() -> None:
    database = torture.open_database(sys.argv[1])

    def child() -> None:
        database.close()
        try:
            database.root  # noqa: B018
        except ClosedError:
            return
        raise AssertionError("the child could use a closed database")

    print(exit_code(forked(child)))
    add(database, 5)
    transaction.commit()
    print(database.root.counter.value)
    database.close()


@needs_fork
def test_closing_in_the_child_leaves_the_parent_alone(bank_path):
    assert run_forking("program_closed_in_child", bank_path).split() == ["0", "5"]


@pytest.fixture
def bank_path(path: Path) -> Iterator[Path]:
    """The path of a small bank; its log is checked at the end."""
    torture.make_bank(path, 2)
    yield path
    check_log(path).raise_if_bad()


def test_the_script_prints_figures_and_ends_with_zero(tmp_path):
    done = run(
        [sys.executable, "-m", "benchmarks.torture", "--minutes", "0.001", "--seed", "1"],
        cwd=ROOT,
        env=python_path(TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )

    assert done.stdout.decode().splitlines()[-1] == "no violation"
    assert list(tmp_path.iterdir()) == []


def test_a_violation_is_seen(tmp_path):
    path = tmp_path / "bank.log"
    torture.make_bank(path, 3)
    with Database(TransactionLog(path, sync=False)) as database:
        checkout(database.root.accounts[0])
        database.root.accounts[0].balance += 1
        transaction.commit()
    reader = torture.Process("reader", path, 1)

    with pytest.raises(torture.Violation, match="301, expected 300"):
        torture.finish_readers([reader])

    reader.kill()
    reader.close(expected=None)


@pytest.mark.slow
def test_writers_that_are_killed_anywhere_lose_nothing(tmp_path: Path) -> None:
    figures = kills.run(tmp_path, 1, 60, quiet=True)
    assert figures["kills"] >= 60
    assert figures["commits"] > 60
    assert figures["of packers"]


@pytest.mark.slow
def test_a_commit_that_is_lost_is_found_out(tmp_path: Path, monkeypatch: Any) -> None:
    """Each tells one more than it has committed, for a writer that loses what was told."""
    write = kills.write

    def boasts(path: str, key: str, told: int, *, sync: bool) -> None:
        os.write(told, b"1\n2\n3\n")
        write(path, key, told, sync=sync)

    monkeypatch.setattr(kills, "write", boasts)
    with pytest.raises(kills.Violation):
        kills.run(tmp_path, 1, 60, quiet=True)
