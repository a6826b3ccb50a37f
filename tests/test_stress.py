"""Readers without locks against publishing writers, and interrupts at every step.

What runs for seconds here runs for minutes in ``benchmarks/stress.py``, which
has the scenarios.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import itertools
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like.database import Database
from dobbin_like.exc import WriteConflictError
from dobbin_like.objects.values.here import here
from dobbin_like.persistent import Persistent, checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.interrupts import ProbedLock, interrupted_at_step
from tests.helpers.processes import run
from tests.helpers.steps import in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def load_stress() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "stress.py"
    spec = importlib.util.spec_from_file_location("stress", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["stress"] = module  # its classes are found there when they are loaded
    spec.loader.exec_module(module)
    return module


stress = load_stress()
SCENARIOS = [scenario for scenario in stress.SCENARIOS if scenario is not stress.interrupts]
SECONDS = 2.0
STRIDE = 7 if os.environ.get("HYPOTHESIS_PROFILE") == "quick" else 1
"""Not every step in a quick run."""

# -- threads at full speed ------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* has ended with changes")  # As threads that die do.
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_no_reader_ever_sees_half_a_transaction(path: Path, scenario: Any) -> None:
    figures = stress.run(scenario, path, SECONDS)

    assert figures["reads checked"] > 0
    assert figures["commits"] > 0


@pytest.mark.slow
def test_interrupts_at_any_moment_leave_everything_whole() -> None:
    # In a process of its own: they would hit what the test runner hangs into this one.
    command = [sys.executable, stress.__file__, "--only", "interrupts"]
    command += ["--minutes", str(SECONDS / 60)]
    done = run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "interrupts: " in done.stdout


# -- interrupts at every step ----------------------------------------------------


class Pair(Persistent):
    """Two of them have the same ``x`` in every committed state."""

    def __init__(self, x: int) -> None:
        self.x = x
        self.values = [x]
        self.fresh: Any = None
        self.n = 0


class Root(Persistent):
    def __init__(self) -> None:
        self.a = Pair(0)
        self.b = Pair(0)
        self.c = Pair(0)


class Reader:
    """A thread with a view that lasts from :meth:`begin` to :meth:`end`.

    Where the thread that starts it holds another lock which a begin needs,
    it gives up waiting: the view then begins later.
    """

    patience = 0.02

    def __init__(self, database: Database) -> None:
        self._database = database
        self._order = threading.Event()
        self._begun = threading.Event()
        self.seen: list[tuple[int, ...]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        self._thread.start()
        self._begun.wait(self.patience)

    def end(self) -> None:
        self._order.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        manager = self._database.transaction_manager
        root = self._database.root
        self.seen.append((root.a.x,))  # of the other one not before the end
        self._begun.set()
        assert self._order.wait(30)
        self.seen.append((root.a.x, root.b.x, root.a.values[0], root.b.values[-1]))
        manager.abort()


class Scene:
    """A database, another instance over its file, and what has to be true at any time."""

    def __init__(self, path: Path) -> None:
        self.manager = transaction.ThreadTransactionManager()
        self.database = self._open(path)
        self.other = self._open(path)
        self.root = Root()
        self.database.set_root(self.root)
        self.manager.commit()
        self.readers: list[Reader] = []
        self.value = 0

    def _open(self, path: Path) -> Database:
        # A lock that is left behind becomes an error.
        storage = TransactionLog(path, sync=False, lock_timeout=5)
        manager = self.manager if not hasattr(self, "database") else None
        return Database(
            storage, transaction_manager=manager or transaction.ThreadTransactionManager()
        )

    def change(self) -> None:
        self.manager.begin()
        a, b = self.root.a, self.root.b
        checkout(a, b)
        a.x = b.x = self.value
        a.values[:] = b.values[:] = [self.value]
        a.fresh = Pair(self.value)
        self.manager.commit()

    def reader(self) -> Reader:
        reader = Reader(self.database)
        reader.begin()
        self.readers.append(reader)
        return reader

    def write_here(self) -> None:
        self.manager.begin()
        checkout(self.root.c)
        self.root.c.n += 1
        self.manager.commit()

    def write_elsewhere(self) -> None:
        """Commit through the other instance, in another thread."""
        manager = self.other.transaction_manager
        manager.begin()
        c = self.other.root.c
        checkout(c)
        c.n += 1
        manager.commit()

    def verify(self, before: int) -> None:
        """Everything is whole, and nothing is left."""
        for reader in self.readers:
            reader.end()
            first, second = reader.seen
            assert {*first, *second} in ({before}, {self.value})
        self.readers.clear()
        a, b = self.root.a, self.root.b
        now = a.x
        assert now in (before, self.value)
        assert (b.x, a.values, b.values) == (now, [now], [now])
        assert a.fresh is None or a.fresh.x == now
        self.write_here()  # the same thread goes on
        in_thread(self.write_elsewhere)  # no lock is held
        in_thread(self.verify_elsewhere, now)
        self.manager.begin()
        gc.collect(0)
        self.manager.begin()
        stress.assert_nothing_is_left(self.database)
        assert here.own_memo == {}

    def verify_elsewhere(self, now: int) -> None:
        root = self.other.root
        assert {root.a.x, root.b.x, *root.a.values, *root.b.values} == {now}
        assert len(self.other) == len(self.database)
        self.other.transaction_manager.abort()

    def close(self) -> None:
        self.manager.abort()
        self.other.close()
        self.database.close()


@contextlib.contextmanager
def scene(path: Path) -> Iterator[Scene]:
    stage = Scene(path)
    yield stage
    stage.close()


# An interrupt that the interpreter can't raise from where it came, it reports.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True], ids=["alone", "beside older views"])
@pytest.mark.parametrize("news", [False, True], ids=["", "with news in the log"])
def test_a_commit_interrupted_at_any_step_is_whole_or_not_at_all(
    path: Path, older: bool, news: bool
) -> None:
    with scene(path) as stage:
        stage.database._store.graph.shared.lock = ProbedLock(  # type: ignore[assignment]
            stage.database._store.graph.shared.lock, lambda: stage.readers or stage.reader()
        )
        for step in itertools.count(0, STRIDE):
            before = stage.root.a.x
            stage.value = step + 1
            if older:
                stage.reader()
            if news:
                in_thread(stage.write_elsewhere)

            came = interrupted_at_step(step, stage.change)

            stage.manager.abort()
            stage.verify(before)
            if not came:
                assert stage.root.a.x == stage.value
                break
        assert step > 100


# A generator that is let go of in the midst can't raise one.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_conflict_interrupted_at_any_step_leaves_nothing(path: Path) -> None:
    with scene(path) as stage:
        for step in itertools.count(0, STRIDE):
            before = stage.root.a.x
            stage.value = before

            def lose() -> None:
                with contextlib.suppress(WriteConflictError):
                    stage.manager.commit()

            stage.manager.begin()
            checkout(stage.root.c, stage.root.a)
            stage.root.a.x = -1
            in_thread(stage.write_here)

            came = interrupted_at_step(step, lose)

            stage.manager.abort()
            stage.verify(before)
            if not came:
                break
        assert step > 100


# As above.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_an_interrupted_beginning_and_reading_leaves_nothing(path: Path) -> None:
    with scene(path) as stage:

        def read() -> None:
            stage.manager.begin()
            assert stage.root.a.x == stage.root.b.x
            checkout(stage.root.a)
            stage.root.a.values.append(-1)
            stage.manager.abort()

        for step in itertools.count(0, STRIDE):
            before = stage.root.a.x
            stage.value = before
            stage.reader()
            in_thread(stage.write_elsewhere)

            came = interrupted_at_step(step, read)

            stage.manager.abort()
            stage.verify(before)
            if not came:
                break
        assert step > 50
