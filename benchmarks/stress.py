"""Readers without locks against publishing writers, for as long as one likes.

    python benchmarks/stress.py --minutes 5

Pairs have two attributes that are equal in every committed state, accounts a
sum that never changes. Threads change them and commit; others read them at
full speed and stop the run when they see anything else. With the shortest
switch interval there is, so that threads meet between any two steps.
Prints the figures of each scenario; exits with 1 on the first violation.
``tests/test_stress.py`` runs the same for seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import importlib.util
import logging
import random
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.modules["stress"] = sys.modules["__main__"]  # whose classes are stored

import transaction

from benchmarks.shelf import Shelf
from dobbin_like.database import Database
from dobbin_like.exc import ConflictError, PackRunningError
from dobbin_like.objects.deltas import layered, overlays
from dobbin_like.persistent import Persistent, PersistentDict, checkout
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Callable

PAIRS = 12
ACCOUNTS = 8
START = 1000
TOTAL = ACCOUNTS * START
SWITCH_INTERVAL_SECONDS = 1e-6
JOIN_TIMEOUT_SECONDS = 60.0


class Pair(Persistent):
    """Two numbers that are equal in every committed state."""

    __module__ = "stress"
    y = -1

    def __init__(self) -> None:
        self.x = 0
        self.y = 0
        self.trail = [0]

    @property
    def difference(self) -> int:
        return self.x - self.y

    def step(self) -> None:
        self.x += 1
        self.trail.append(self.x)
        del self.trail[:-3]
        self.y += 1


class Account(Persistent):
    """What stands on one account; the sum of all never changes."""

    __module__ = "stress"

    def __init__(self) -> None:
        self.n = START


class Root(Persistent):
    """Leads to all objects."""

    __module__ = "stress"

    def __init__(self) -> None:
        self.pairs = [Pair() for _ in range(PAIRS)]
        self.accounts = [Account() for _ in range(ACCOUNTS)]
        self.index = PersistentDict(x=0, y=0)
        self.shelf = Shelf()


class Violation(AssertionError):
    """A reader has seen what no committed state is."""


# -- what is checked ----------------------------------------------------------


def check_pair(pair: Pair) -> int:
    """Read one pair in several ways; return its number."""
    x, y = pair.x, pair.y
    state = vars(pair)
    trail = pair.trail[-1]
    if not x == y == trail == state["x"] == state["y"] == pair.x or pair.difference:
        text = f"x {x}, y {y}, trail {trail}, dict {state}, then x {pair.x}: {type(pair)}"
        raise Violation(text)
    return x


def check_all(root: Root) -> tuple[list[int], int]:
    """Read everything; return the numbers of the pairs, and how many reads it were."""
    numbers = [check_pair(pair) for pair in root.pairs]
    amounts = [account.n for account in root.accounts]
    if sum(amounts) != TOTAL:
        text = f"the accounts {amounts} sum up to {sum(amounts)}"
        raise Violation(text)
    if root.index["x"] != root.index["y"]:
        raise Violation(f"the index is {dict(root.index)}")
    return numbers, 8 * PAIRS + ACCOUNTS + 2 + root.shelf.check()


def assert_nothing_is_left(database: Database) -> None:
    """No object is masked, and no view is older than the newest state."""
    graph = database._store.graph
    shared = graph.shared
    for entry in graph.cache.all():
        obj = entry()
        why = (shared.tid, shared.horizon.snapshots, shared.masked, shared._retired)
        assert entry.mask is None, (entry.oid, entry.mask.chain, entry.mask.holders, why)
        if obj is not None:
            faces = type(obj)._p_faces
            assert type(obj) in (faces.plain, faces.ghost), type(obj).__mro__
    assert len(shared.masked) == 0
    assert set(shared.horizon.snapshots.values()) <= {shared.tid}


# -- a run ----------------------------------------------------------------------


class Team:
    """The databases and threads of one run, and what they have done."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.databases: list[Database] = []
        self.at_end: list[Callable[[], object]] = []
        self._until = time.monotonic() + seconds
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._counting = threading.Lock()

    @property
    def runs(self) -> bool:
        return not self._ended.is_set() and time.monotonic() < self._until

    def open(self) -> Database:
        """Open an instance, in a thread that ends: its view shall not last."""
        storage = TransactionLog(self.path, sync=False, lock_timeout=JOIN_TIMEOUT_SECONDS)
        opened: list[Database] = []

        def run() -> None:
            manager = transaction.ThreadTransactionManager()
            opened.append(Database(storage, transaction_manager=manager))
            if opened[0].root is None:
                opened[0].set_root(Root())
                manager.commit()

        self.elsewhere(run)
        self.databases.append(opened[0])
        return opened[0]

    def elsewhere(self, function: Callable[[], Any]) -> None:
        """Run *function* in a thread of its own to its end."""
        thread = self.thread(function)
        thread.join(JOIN_TIMEOUT_SECONDS)
        self._threads.remove(thread)
        if self.errors:
            raise Violation(self.errors[0])

    def thread(self, function: Callable[..., Any], *arguments: Any) -> threading.Thread:
        """Start a thread; its first exception ends the run."""

        def run() -> None:
            try:
                function(*arguments)
            except BaseException:
                self.errors.append(traceback.format_exc())
                self._ended.set()

        thread = threading.Thread(target=run, name=function.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def count(self, **counts: int) -> None:
        with self._counting:
            self.counts.update({name.replace("_", " "): n for name, n in counts.items()})

    def pause(self, seconds: float) -> None:
        self._ended.wait(seconds)

    def finish(self) -> None:
        """Wait for all, then find out what they have left behind."""
        while self.runs:
            self.pause(0.05)
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_SECONDS)
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        if alive and not self.errors:
            faulthandler.dump_traceback()
            self.errors.append(f"threads that never ended: {alive}")
        if self.errors:
            raise Violation(self.errors[0])
        self._threads.clear()
        gc.collect()
        for database in self.databases:
            self.elsewhere(lambda database=database: self._last_word(database))
        gc.collect()
        for database in self.databases:
            self.elsewhere(lambda database=database: self._look(database))
            gc.collect()
            assert_nothing_is_left(database)
            check_invariants(database)
            database.close()

    def _last_word(self, database: Database) -> None:
        """Nobody holds the lock, and the state is whole."""
        write_once(database, random.Random(0))
        check_all(database.root)

    def _look(self, database: Database) -> None:
        database.transaction_manager.begin()
        check_all(database.root)
        database.transaction_manager.abort()


def check_invariants(database: Database) -> None:
    if importlib.util.find_spec("dobbin_like.check") is not None:
        importlib.import_module("dobbin_like.check").check_database(database).raise_if_bad()


# -- what threads do --------------------------------------------------------------


def change_something(root: Root, rng: random.Random) -> None:
    """Change some objects; what is committed of it keeps the invariants."""
    for pair in rng.sample(list(root.pairs), rng.randrange(1, 4)):
        checkout(pair)
        pair.step()
        if pair.difference:
            raise Violation("a working copy is not what was written to it")
    first, second = rng.sample(list(root.accounts), 2)
    checkout(first, second)
    amount = rng.randrange(50)
    first.n -= amount
    second.n += amount
    if rng.random() < 0.2:
        checkout(root.index)
        root.index["x"] += 1
        root.index["y"] += 1
    if rng.random() < 0.5:
        root.shelf.change(rng)


def write_once(database: Database, rng: random.Random) -> int:
    """Commit one change, again until it works; return how many conflicts there were."""
    manager = database.transaction_manager
    conflicts = 0
    while True:
        manager.begin()
        root = database.root
        change_something(root, rng)
        if rng.random() < 0.1:
            point = manager.savepoint()
            root.accounts[0].__dict__  # noqa: B018  a look at everything
            checkout(root.pairs[0])
            root.pairs[0].x = -1
            point.rollback()
        try:
            manager.commit()
        except ConflictError:
            conflicts += 1
            manager.abort()
        else:
            return conflicts


def writer(team: Team, database: Database, seed: int) -> None:
    rng = random.Random(seed)
    commits = conflicts = 0
    while team.runs:
        conflicts += write_once(database, rng)
        commits += 1
    team.count(commits=commits, conflicts=conflicts)


def reader(team: Team, database: Database) -> None:
    """Short transactions: the newest state, mostly plain."""
    manager = database.transaction_manager
    reads = views = 0
    while team.runs:
        manager.begin()
        views += 1
        root = database.root
        for _ in range(2):
            reads += check_all(root)[1]
    manager.abort()
    team.count(reads_checked=reads, views=views)


def long_reader(team: Team, database: Database, seed: int) -> None:
    """Long transactions: always the same, however old it has become."""
    rng = random.Random(seed)
    manager = database.transaction_manager
    reads = views = 0
    while team.runs:
        manager.begin()
        views += 1
        root = database.root
        first = [check_pair(root.pairs[0])]
        end = time.monotonic() + rng.random() * 0.4
        numbers, _ = check_all(root)
        while time.monotonic() < end and team.runs:
            again, count = check_all(root)
            reads += count
            if again != numbers or numbers[:1] != first:
                raise Violation(f"a view has moved from {numbers} to {again}")
        manager.abort()
        team.pause(rng.random() * 0.1)
    team.count(reads_checked=reads, long_views=views)


def fresh_instance(team: Team, seed: int) -> None:
    """Open an instance; load its ghosts for a newer view first, then for an older one."""
    rng = random.Random(seed)
    reads = rounds = 0
    while team.runs:
        manager = transaction.ThreadTransactionManager()
        storage = TransactionLog(team.path, sync=False)
        database = Database(storage, transaction_manager=manager)
        reads += read_beside_a_newer_view(team, database, rng)
        rounds += 1
        database.close()
    team.count(reads_checked=reads, fresh_instances=rounds)


def read_beside_a_newer_view(team: Team, database: Database, rng: random.Random) -> int:
    database.transaction_manager.begin()  # The snapshot of one that has not begun may lapse.
    root = database.root
    known = rng.randrange(PAIRS)
    first = check_pair(root.pairs[known])
    tid = database._store.graph.local.manager.view.tid
    loaded = threading.Event()

    def newer() -> None:
        write_once(database, random.Random(first))
        database.transaction_manager.begin()
        for _ in range(3):
            check_all(database.root)
        loaded.set()
        database.transaction_manager.abort()

    thread = team.thread(newer)
    serials = [account._p_serial for account in root.accounts]  # while the other one loads
    while not loaded.wait(1) and team.runs:
        pass
    reads = 0
    for _ in range(2):
        numbers, count = check_all(root)
        reads += count
        if numbers[known] != first:
            raise Violation(f"a view has moved from {first} to {numbers[known]}")
    serials += [obj._p_serial for obj in (*root.pairs, *root.accounts)]
    if max(serials) > tid:
        raise Violation(f"tid {max(serials)} in a view of {tid}")
    thread.join(JOIN_TIMEOUT_SECONDS)
    return reads


def mortal(database: Database, seed: int) -> None:
    """End in the middle of a transaction."""
    rng = random.Random(seed)
    manager = database.transaction_manager
    manager.begin()
    root = database.root
    check_all(root)
    change_something(root, rng)
    if rng.random() < 0.3:
        manager.savepoint()
    if rng.random() < 0.2:
        root.pairs[0].__dict__["mine"] = root  # a cycle through a working copy


def mortals(team: Team, database: Database, seed: int) -> None:
    deaths = 0
    while team.runs:
        deaths += 1
        thread = threading.Thread(target=mortal, args=(database, seed + deaths), daemon=True)
        thread.start()
        thread.join(JOIN_TIMEOUT_SECONDS)
    team.count(threads_that_died=deaths)


class Interrupter:
    """Raises KeyboardInterrupt in threads that are armed, at any moment."""

    def __init__(self) -> None:
        self._gate = reentrant_lock()  # Interrupts come in its blocks too.
        self._armed: set[int] = set()

    def run(self, team: Team, seed: int) -> None:
        rng = random.Random(seed)
        while team.runs:
            for _ in range(rng.randrange(2000)):
                pass
            with self._gate:
                for ident in list(self._armed):
                    self._armed.discard(ident)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(ident), ctypes.py_object(KeyboardInterrupt)
                    )
            team.pause(rng.random() * 0.001)

    def sparing(self, start: Callable[[threading.Thread], None]) -> Callable[..., None]:
        """Return Thread.start for a victim: before it runs, CPython takes one for the other.

        A thread that is being started has the ident of its parent for a moment. What was meant
        for that would end the new thread before it has told the parent, which waits for ever.
        """

        def started(thread: threading.Thread) -> None:
            me = threading.get_ident()
            armed = me in self._armed
            with self._gate:
                self._armed.discard(me)
            try:
                start(thread)
            finally:
                if armed:
                    self._armed.add(me)

        return started

    def victim(self, team: Team, database: Database, seed: int) -> None:
        rng = random.Random(seed)
        manager = database.transaction_manager
        me = threading.get_ident()
        figures: Counter[str] = Counter()
        while team.runs:
            try:
                while team.runs:
                    manager.abort()
                    manager.begin()
                    self._armed.add(me)
                    self._commit(database, rng, figures)
                    self._disarm(me)
            except KeyboardInterrupt:
                figures["interrupts"] += 1
        with contextlib.suppress(KeyboardInterrupt):
            self._disarm(me)
        manager.abort()
        team.count(**figures)

    def _disarm(self, me: int) -> None:
        with self._gate:
            self._armed.discard(me)
        for _ in range(20):  # what is still to come comes here
            pass

    def _commit(self, database: Database, rng: random.Random, figures: Counter[str]) -> None:
        change_something(database.root, rng)
        try:
            database.transaction_manager.commit()
            figures["commits"] += 1
        except ConflictError:
            figures["conflicts"] += 1


# -- the scenarios -------------------------------------------------------------------


def one_instance(team: Team) -> None:
    database = team.open()
    for seed in range(2):
        team.thread(writer, team, database, seed)
        team.thread(reader, team, database)
        team.thread(long_reader, team, database, seed)


def several_instances(team: Team) -> None:
    first, second, tail = team.open(), team.open(), team.open()
    for seed, database in enumerate((first, second)):
        team.thread(writer, team, database, seed)
        team.thread(long_reader, team, database, seed)
    for database in (first, second, tail):
        team.thread(reader, team, database)
    team.thread(long_reader, team, tail, 3)


def fresh_instances(team: Team) -> None:
    database = team.open()
    team.thread(writer, team, database, 1)
    team.thread(reader, team, database)
    for seed in range(2):
        team.thread(fresh_instance, team, seed)


def dying_threads(team: Team) -> None:
    database, other = team.open(), team.open()
    team.thread(writer, team, database, 1)
    team.thread(reader, team, database)
    team.thread(reader, team, other)
    for seed, used in ((100, database), (10**6, other)):
        team.thread(mortals, team, used, seed)


def packer(team: Team, database: Database, seed: int) -> None:
    """Pack again and again, what nobody sees any more or what is a little older."""
    rng = random.Random(seed)
    packs = running = 0
    while team.runs:
        try:
            packs += database.pack(rng.choice((None, timedelta(seconds=0.1)))).packed
        except PackRunningError:
            running += 1
        team.pause(rng.random() * 0.05)
    team.count(packs=packs)


def packed_meanwhile(team: Team) -> None:
    database, other = team.open(), team.open()
    for seed, used in enumerate((database, other)):
        team.thread(writer, team, used, seed)
        team.thread(reader, team, used)
        team.thread(long_reader, team, used, seed)
    team.thread(packer, team, database, 5)
    team.thread(fresh_instance, team, 1)


def interrupts(team: Team) -> None:
    database, other = team.open(), team.open()
    interrupter = Interrupter()
    start = threading.Thread.start
    team.at_end.append(lambda: setattr(threading.Thread, "start", start))
    threading.Thread.start = interrupter.sparing(start)  # type: ignore[method-assign]
    for seed in range(2):
        team.thread(interrupter.victim, team, database, seed)
    team.thread(interrupter.victim, team, other, 7)
    team.thread(interrupter.run, team, 9)
    for used in (database, other):
        team.thread(reader, team, used)
    team.thread(long_reader, team, database, 2)


def collections(team: Team) -> None:
    """As if every collection were a large one, and merging all there is."""
    small, overlays.SMALL = overlays.SMALL, -1
    small_layers, layered._SMALL = layered._SMALL, -1
    team.at_end.append(lambda: setattr(overlays, "SMALL", small))
    team.at_end.append(lambda: setattr(layered, "_SMALL", small_layers))
    database, other = team.open(), team.open()
    for seed, used in enumerate((database, database, other)):
        team.thread(shelf_writer, team, used, seed)
    for used in (database, other):
        team.thread(shelf_reader, team, used)
    team.thread(packer, team, database, 5)


def shelf_writer(team: Team, database: Database, seed: int) -> None:
    rng = random.Random(seed)
    manager = database.transaction_manager
    commits = conflicts = 0
    while team.runs:
        manager.begin()
        shelf = database.root.shelf
        shelf.change(rng)
        if rng.random() < 0.2:
            point = manager.savepoint()
            shelf.change(rng)
            point.rollback()
            shelf.check()
            shelf.change(rng)
        try:
            manager.commit()
        except ConflictError:
            conflicts += 1
            manager.abort()
        else:
            commits += 1
    team.count(commits=commits, conflicts=conflicts)


def shelf_reader(team: Team, database: Database) -> None:
    reads = 0
    while team.runs:
        database.transaction_manager.begin()
        shelf = database.root.shelf
        steps = iter(shelf.record)
        first = next(steps, None)
        for _ in range(3):
            reads += shelf.check()
        database.transaction_manager.begin()
        numbers = [number for lane, number in steps if first is not None and lane == first[0]]
        if numbers != [*range(first[1] + 1, first[1] + 1 + len(numbers))] if first else numbers:
            raise Violation(f"an iterator went on to {numbers}")
    database.transaction_manager.abort()
    team.count(reads_checked=reads)


class Silent:
    """A logger without a lock.

    Interrupted in ``getLogger``, logging keeps its lock for ever; that is not what is tested.
    """

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_kwargs: None


SCENARIOS = (
    one_instance,
    several_instances,
    fresh_instances,
    dying_threads,
    packed_meanwhile,
    collections,
    interrupts,
)


def run(scenario: Callable[[Team], None], path: Path, seconds: float) -> Counter[str]:
    """Run *scenario*; return its figures, or raise what a thread has seen."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    loggers = transaction._transaction
    loggers._LOGGER = Silent()
    team = Team(path, seconds)
    try:
        scenario(team)
        team.finish()
    finally:
        for restore in team.at_end:
            restore()
        sys.setswitchinterval(interval)
        logging.disable(disabled)
        loggers._LOGGER = None
    return team.counts


def main() -> int:
    parser = argparse.ArgumentParser(description="Readers without locks against writers.")
    parser.add_argument("--minutes", type=float, default=1.0, help="for all scenarios together")
    names = [scenario.__name__ for scenario in SCENARIOS]
    parser.add_argument("--only", choices=names, action="append", help="one scenario")
    arguments = parser.parse_args()
    chosen = [s for s in SCENARIOS if not arguments.only or s.__name__ in arguments.only]
    seconds = arguments.minutes * 60 / len(chosen)
    free = "free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else "with the lock"
    print(f"CPython {sys.version.split()[0]} {free}, {seconds:.0f} s each", flush=True)
    for scenario in chosen:
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            try:
                counts = run(scenario, Path(directory) / "data.log", seconds)
            except Exception:
                print(f"{scenario.__name__}: VIOLATION", flush=True)
                traceback.print_exc()
                return 1
        figures = ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items()))
        print(f"{scenario.__name__}: {figures}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
