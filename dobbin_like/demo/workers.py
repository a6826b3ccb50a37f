"""The processes that parse and store: one file, one transaction.

The processes share only the log. Each begins with its own share, and then helps with those of
the others, from their ends. If two store the same file, the second one gets a conflict. So a
killed worker holds nothing up.

A worker ends when all files are stored, on SIGTERM, or when its parent process is gone; it always
finishes the current transaction. Workers ignore Ctrl-C, and their parent handles it.
"""

from __future__ import annotations

import multiprocessing
import platform
import signal
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Final

import transaction

from dobbin_like.database import Database
from dobbin_like.demo.model import Library
from dobbin_like.demo.parse import BUILTINS, ModuleFacts, parse, source_files
from dobbin_like.opening import open_storage
from dobbin_like.persistent import checkout

_SPAWN = multiprocessing.get_context("spawn")  # Works everywhere, and inherits nothing.

_PATIENCE_SECONDS: Final = 5.0
"""For a worker to finish its transaction: a thousand times the usual duration."""

_ATTEMPTS: Final = 1000
"""Per transaction. One of several in conflict always succeeds, so this limit is never reached."""


def prepare(database: Database, source: Path) -> Library:
    """Return the root; if there is none, set one that lists the files of *source*."""
    for attempt in transaction.manager.attempts(_ATTEMPTS):
        with attempt as current:
            if database.get_root() is None:
                current.note("the list of files")
                files = {BUILTINS: "", **source_files(source)}
                database.set_root(Library(str(source), platform.python_version(), files))
    return database.get_root()  # type: ignore[no-any-return]


def shares(names: list[str], number: int, count: int) -> Iterator[str]:
    """Yield all *names* in the order in which worker *number* of *count* goes through them."""
    yield from names[number::count]
    for other in range(1, count):
        yield from reversed(names[(number + other) % count :: count])


def is_stored(library: Library, name: str) -> bool:
    """Return whether the file of the module *name* is in the graph."""
    module = library.modules.get(name)
    return module is not None and module.is_parsed


def store(library: Library, facts: ModuleFacts, user: str) -> bool:
    """Store *facts* in one transaction, run again after each conflict; False: it is stored."""
    count = len(facts.classes)
    for attempt in transaction.manager.attempts(_ATTEMPTS):
        with attempt as current:
            if is_stored(library, facts.name):
                return False
            current.user = user
            content = facts.error or f"{count} class{'es' * (count != 1)}"
            current.note(f"{facts.name}: {content}")
            module = library.module(facts.name)
            checkout(module)
            module.fill(facts, library)
            library.add_words(" ".join([facts.doc, *(cls.doc for cls in facts.classes)]), module)
            library.tally.add(facts)
    return True


def store_missing(
    database: Database, number: int, count: int, is_over: Callable[[], bool]
) -> None:
    """Store the missing files, as worker *number* of *count*, until *is_over* returns true."""
    library = database.get_root()
    source, files = Path(library.source), library.files
    for name in shares(list(files), number, count):
        if is_over():
            return
        transaction.begin()
        if is_stored(library, name):
            continue
        facts = parse(source, name, files[name], files)
        store(library, facts, f"worker {number + 1}")


def work(path: str, number: int, count: int) -> None:
    """Store the missing files in *path*, as worker *number* (from 0) of *count*."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda received, _frame: told.append(received))
    parent = multiprocessing.parent_process()

    def is_over() -> bool:
        return bool(told or (parent and wait([parent.sentinel], 0)))

    with Database(open_storage(path, must_exist=False, sync=False)) as database:
        store_missing(database, number, count, is_over)


class Workers:
    """The worker processes of one run; a context manager that leaves none behind."""

    def __init__(self, path: str, count: int) -> None:
        self._path = path
        self._count = count
        self._processes: list[Any] = []

    def __enter__(self) -> Workers:
        # Workers start with SIGINT blocked, so that none is killed before it can ignore the
        # signal. Starting the first process also starts the resource tracker, which would
        # unblock the signal: start the tracker before.
        resource_tracker.ensure_running()
        try:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                for number in range(self._count):
                    args, name = (self._path, number, self._count), f"worker {number + 1}"
                    process = _SPAWN.Process(target=work, args=args, name=name, daemon=True)
                    process.start()
                    self._processes.append(process)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)  # Ctrl-C arrives here.
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def alive(self) -> int:
        return sum(process.is_alive() for process in self._processes)

    @property
    def lost(self) -> list[str]:
        """The workers that ended other than by finishing, and how they ended."""
        return [f"{each.name} {_how(each.exitcode)}" for each in self._processes if each.exitcode]

    def wait(self, seconds: float) -> None:
        """Wait for this time, or until a worker ends."""
        wait([process.sentinel for process in self._processes if process.is_alive()], seconds)

    def stop(self) -> None:
        """Let all workers finish their transactions and end; kill those that do not."""
        try:
            for process in self._processes:
                process.terminate()
            for process in self._processes:
                process.join(_PATIENCE_SECONDS)
        finally:
            for process in self._processes:
                if process.is_alive():
                    process.kill()
                    process.join()


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"failed with exit code {code}"


def in_fresh_process(function: Callable[..., None], *args: object) -> int:
    """Run *function* in a process that inherits nothing; return its exit code."""
    process = _SPAWN.Process(target=function, args=args)
    process.start()
    process.join()
    return process.exitcode or 0
