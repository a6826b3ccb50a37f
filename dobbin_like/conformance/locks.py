"""The commit lock: one thread of one instance at a time, and no thread waits for itself."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable
from functools import partial

from dobbin_like.conformance.assertions import WAIT_SECONDS, equal, in_thread, in_threads, raises
from dobbin_like.conformance.harness import Harness, need
from dobbin_like.conformance.steps import append, catch_up, commit, data_of, locked
from dobbin_like.contract import Storage
from dobbin_like.exc import (
    ClosedError,
    Error,
    LockTimeout,
    NotHeldError,
    ReadOnlyStorageError,
    SelfWaitError,
)
from dobbin_like.ids import Oid, Tid


class LockTests(Harness):
    """Who may write, and which errors the others get."""

    def test_the_lock_belongs_to_a_thread_and_an_instance(self) -> None:
        storage = self.new()
        with locked(storage):
            equal((storage.held, in_thread(lambda: storage.held)), (True, False))
            if not self.lacks_second_instance:
                equal(self.another(storage).held, False)
        equal(storage.held, False)

    def test_giving_back_what_one_has_not_does_nothing(self) -> None:
        storage = self.new()
        storage.release()
        storage.acquire()
        in_thread(storage.release)
        if not self.lacks_second_instance:
            self.another(storage).release()

        equal(storage.held, True)
        storage.prepare(Tid(10), [(Oid(0), 1, b"")])
        storage.release()
        storage.release()
        equal(storage.held, False)

    def test_nobody_waits_for_himself(self) -> None:
        storage = self.with_root()
        storage.acquire()
        raises(SelfWaitError, storage.acquire)
        equal(storage.held, True)
        if not self.lacks_second_instance:
            other = self.another(storage)
            raises(SelfWaitError, other.acquire)
            other.release()
            equal((other.held, storage.held), (False, True))
        storage.release()
        commit(storage, {0: b"again"})

    def test_who_waits_too_long_is_told_so(self) -> None:
        storage = self.with_root()
        for seconds in (0, 0.01):
            hasty = self.another(storage, lock_timeout=seconds)
            storage.acquire()

            def wait(hasty: Storage = hasty) -> None:
                raises(LockTimeout, hasty.acquire)
                equal(hasty.held, False)

            in_thread(wait)
            storage.release()
            in_thread(partial(commit, hasty, {0: b"again"}))
            catch_up(storage)
        equal(len(storage), 3)

    def test_threads_of_one_instance_take_turns(self) -> None:
        self._check_turns([self.new()] * 4)

    def test_threads_of_many_instances_take_turns(self) -> None:
        storage = self.with_root()
        self._check_turns([storage, *[self.another(storage) for _ in range(3)]])

    def _check_turns(self, instances: list[Storage]) -> None:
        inside = [0]
        seen: list[int] = []

        def work(storage: Storage) -> None:
            for _ in range(25):
                with locked(storage):
                    inside[0] += 1
                    seen.append(inside[0])
                    threading.Event().wait(0)  # Let the others run.
                    seen.append(inside[0])
                    inside[0] -= 1

        in_threads(*[partial(work, storage) for storage in instances])

        equal((len(seen), set(seen)), (200, {1}))

    def test_who_waits_gets_the_lock_when_it_is_given_back(self) -> None:
        storage = self.with_root()
        other = self.another(storage)
        held, asking = threading.Event(), threading.Event()

        def give() -> None:
            with locked(storage):
                held.set()
                equal(asking.wait(WAIT_SECONDS), True)
                append(storage, {0: b"mine"})

        def wait() -> int:
            equal(held.wait(WAIT_SECONDS), True)
            asking.set()
            commit(other, {0: b"other"})
            return len(other)

        equal(in_threads(give, wait), [None, 3])
        catch_up(storage)
        equal(data_of(storage, 0), b"other")

    def test_closing_gives_the_lock_back(self) -> None:
        storage = self.with_root()
        other = self.another(storage)
        other.acquire()
        catch_up(other)
        other.prepare(Tid(100), [(Oid(0), 1, b"lost")])
        other.close()
        raises(ClosedError, other.acquire)
        commit(storage, {1: b"one"})

        equal((data_of(storage, 0), data_of(storage, 1)), (b"root", b"one"))

    def test_closing_waits_for_a_commit_of_another_thread(self) -> None:
        storage = self.with_root()
        other = self.another(storage)
        begun, ended = threading.Event(), threading.Event()

        def work() -> None:
            other.acquire()
            catch_up(other)
            other.prepare(Tid(100), [(Oid(0), 1, b"kept")])
            begun.set()
            equal(ended.wait(0.05), False, "closed in the midst of a commit")
            other.decide()
            other.release()

        def close() -> None:
            equal(begun.wait(WAIT_SECONDS), True)
            other.close()
            ended.set()

        in_threads(work, close)
        catch_up(storage)

        equal(data_of(storage, 0), b"kept")

    def test_an_instance_for_reading_is_not_written(self) -> None:
        storage = self.with_root()
        reader = self.another(storage, read_only=True)

        equal((reader.read_only, bool(reader.why_read_only)), (True, True))
        equal((storage.why_read_only, data_of(reader, 0)), ("", b"root"))
        raises(ReadOnlyStorageError, reader.acquire)
        raises(NotHeldError, reader.prepare, Tid(100), [(Oid(0), 1, b"")])
        commit(storage, {0: b"again"})
        equal(len(catch_up(reader)), 1)
        equal(data_of(reader, 0), b"again")

    def test_a_forked_child_reads(self) -> None:
        storage = self.with_root()

        def child() -> bool:
            return data_of(storage, 0) == b"root" and len(storage) == 1

        equal(self._in_child(storage, child), True)
        commit(storage, {0: b"again"})

    def test_a_forked_child_does_not_hold_the_lock_of_its_parent(self) -> None:
        storage = self.with_root()
        storage.acquire()
        logged = storage.prepare(Tid(storage.tid + 1), [(Oid(0), 1, b"mine")])

        def child() -> bool:
            held = storage.held
            storage.release()
            with contextlib.suppress(Error):
                storage.decide()
            storage.close()
            return not held

        equal(self._in_child(storage, child), True)
        equal(storage.held, True)
        storage.decide()
        storage.apply([logged])
        storage.release()
        equal((data_of(storage, 0), len(storage)), (b"mine", 2))

    def _in_child(self, storage: Storage, function: Callable[[], bool]) -> bool:
        """Run *function* in a forked child; return whether it returned true."""
        need(self.lacks_fork)
        need("" if hasattr(os, "fork") else "this system has no fork")
        with warnings.catch_warnings():
            # A thread of the test runner counts, although it holds nothing.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            code = 1
            try:
                storage.after_fork_in_child()
                code = 0 if function() else 2
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
