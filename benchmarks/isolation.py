"""Random transactions of many processes and threads; what each has read must fit together.

::

    python -m benchmarks.isolation --minutes 10
    python -m benchmarks.isolation --minutes 1 --seed 7 --processes 4 --threads 3 --mixed
    python -m benchmarks.isolation --uri 'postgresql://postgres@localhost/postgres?schema=round'

Some objects have a list to which transactions append, or a value that they write; each
transaction notes what it has read and written. Meanwhile processes are killed, stopped for a while
(often in the middle of a write or a sync, with its lock) and forked, and the log is packed. In
every third round, some syncs fail.
Afterwards :mod:`benchmarks.dependencies` looks for what snapshot isolation rules out; and in
every other round, in which all transactions check out what they read, for whatever is not
serializable. Each round has a file of its own. Ends with 1 at the first anomaly; its file stays.

The guide promises more than snapshot isolation: ``begin()`` sees all that was committed before,
in whatever process. So the order of time counts. It promises less for merged collections: who
appends to one has not read it. Such transactions note no read.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transaction
from transaction.interfaces import TransientError

from benchmarks.dependencies import (
    COMMITTED,
    FAILED,
    NOTHING,
    UNKNOWN,
    Anomaly,
    Done,
    anomalies,
    read_history,
)
from dobbin_like.check import check_log
from dobbin_like.contract import Storage
from dobbin_like.database import Database
from dobbin_like.exc import Error, InDoubtError, PackRunningError
from dobbin_like.log.file import disk
from dobbin_like.opening import open_storage
from dobbin_like.persistent import Persistent, PersistentList, checkout
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.pack import pack_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent

REGISTERS = 4
LISTS = 300
AT_A_TIME = 3  # Lists of each kind that are changed at the same time.
FULL = 16  # A list that is as long is left alone: each read is noted as a whole.
LIVES = 100  # How often a process opens the file, at the most.
END_SECONDS = 60.0
TICK_SECONDS = 0.02


# -- what is stored -----------------------------------------------------------


class Register(Persistent):
    """One value, which is written after it was read."""

    value = NOTHING


class Appended(Persistent):
    """A list of numbers, as a plain attribute: concurrent changes are in conflict."""

    def __init__(self) -> None:
        self.numbers: list[int] = []


class Root(Persistent):
    """All objects. Items appended to *merged* by several transactions are merged."""

    def __init__(self) -> None:
        self.registers = [Register() for _ in range(REGISTERS)]
        self.lists = [Appended() for _ in range(LISTS)]
        self.merged: list[Any] = [PersistentList() for _ in range(LISTS)]

    def find(self, key: str) -> Any:
        kinds: dict[str, list[Any]] = {"r": self.registers, "a": self.lists, "m": self.merged}
        return kinds[key[0]][int(key[1:])]


def value_of(root: Root, key: str) -> Any:
    found = root.find(key)
    if key[0] == "r":
        return found.value
    return list(found.numbers if key[0] == "a" else found)


# -- workers: what runs in the processes --------------------------------------


@dataclass
class Orders:
    """What a process is to do."""

    path: str
    uri: str
    seed: str
    process: int
    threads: int
    sync: bool
    instances: int
    careful: bool  # Check out whatever is read.
    read_only: bool
    perils: bool
    failing: bool  # Let a sync fail now and then.
    mutant: str  # The module and name of a function that breaks the store.


class Notes:
    """What the transactions of one thread have done, in a file: a kill loses none of it."""

    def __init__(self, path: str, thread: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._fd = os.open(f"{path}.{thread}.notes", flags, 0o666)

    def add(self, *what: Any) -> None:
        os.write(self._fd, json.dumps(what).encode() + b"\n")

    def close(self) -> None:
        os.close(self._fd)


class Worker:
    """One thread: transactions, one after the other, until standard input ends."""

    def __init__(self, database: Database, orders: Orders, thread: int) -> None:
        self.database = database
        self.orders = orders
        self.thread = thread
        self.chance = random.Random(f"{orders.seed} {thread}")
        self.notes = Notes(orders.path, thread)
        self.root: Root = database.root  # From here on, begin() reaches the database.
        self._numbers = thread * 1_000_000
        self._full: set[str] = set()

    def run(self, transactions: int) -> None:
        for number in range(transactions):
            if is_over():
                break
            Attempt(self, number).run()
        self.notes.close()

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def some_keys(self) -> list[str]:
        keys = [f"r{at}" for at in range(REGISTERS)] + self.lists("a") + self.lists("m")
        return self.chance.sample(keys, self.chance.randrange(1, 5))

    def lists(self, kind: str) -> list[str]:
        """Return the lists of a kind that are changed now."""
        at = 0
        while f"{kind}{at}" in self._full and at < LISTS - AT_A_TIME:
            at += 1
        return [f"{kind}{at + more}" for more in range(AT_A_TIME)]

    def note_length(self, key: str, value: Any) -> None:
        if key[0] != "r" and len(value) >= FULL:
            self._full.add(key)


class Attempt:
    """One transaction, which is tried once."""

    def __init__(self, worker: Worker, number: int) -> None:
        self.worker = worker
        self.chance = worker.chance
        self.careful = worker.orders.careful
        self.number = number
        self.reads: dict[str, Any] = {}
        self.writes: dict[str, list[int]] = {}
        self.taken_back: list[int] = []

    def run(self) -> None:
        begun = time.monotonic_ns()
        transaction.begin()
        if self.chance.random() < 0.1 and not self.worker.orders.read_only:
            self._append_unseen()
        else:
            for key in self.worker.some_keys():
                self._touch(key)
                if self.chance.random() < 0.2:
                    time.sleep(self.chance.random() * 0.003)
        self._read_again()
        orders, notes = self.worker.orders, self.worker.notes
        process = orders.process * 10 + self.worker.thread % 100 // 10  # Each fork is another one.
        what = self.reads, self.writes, self.taken_back, orders.read_only
        notes.add("tries", process, self.worker.thread, self.number, begun, *what)
        outcome = self._end()
        notes.add("ended", self.number, outcome, time.monotonic_ns())

    def _end(self) -> str:
        if self.chance.random() < 0.1:
            transaction.abort()
            return FAILED
        try:
            transaction.commit()
        except TransientError:
            transaction.abort()
            return FAILED
        except InDoubtError:
            transaction.abort()
            return UNKNOWN
        except OSError as error:
            transaction.abort()
            if not (self.worker.orders.failing and error.errno == errno.EIO):
                raise
            return UNKNOWN
        return COMMITTED

    def _touch(self, key: str) -> None:
        if self.worker.orders.read_only or self.chance.random() < 0.4:
            self._read(key)
        elif self.chance.random() < 0.1:
            savepoint = transaction.savepoint()
            self._write(key)
            self.taken_back += self.writes.pop(key)
            self.reads.pop(key, None)
            savepoint.rollback()
        else:
            self._write(key)
            if self.chance.random() < 0.2:
                time.sleep(self.chance.random() * 0.002)
                self._add(key)

    def _append_unseen(self) -> None:
        """Append to merged lists, whatever is in them: nothing is read, nothing in conflict."""
        keys = self.worker.lists("m")
        for key in self.chance.sample(keys, len(keys)):
            found = self.worker.root.find(key)
            checkout(found)
            self.worker.note_length(key, found)
            self._add(key)

    def _read(self, key: str) -> None:
        root = self.worker.root
        if self.careful and not self.worker.orders.read_only:
            checkout(root.find(key), exclusive=True)
        self.reads[key] = value_of(root, key)
        self.worker.note_length(key, self.reads[key])

    def _write(self, key: str) -> None:
        root = self.worker.root
        blind = key[0] == "m" and self.chance.random() < 0.5
        checkout(root.find(key), exclusive=not blind and (self.careful or key[0] == "m"))
        value = value_of(root, key)
        self.worker.note_length(key, value)
        if not blind:
            self.reads[key] = value
        self._add(key)

    def _add(self, key: str) -> None:
        found, number = self.worker.root.find(key), self.worker.next_number()
        if key[0] == "r":
            found.value = number
        elif key[0] == "a":
            found.numbers.append(number)
        else:
            found.append(number)
        self.writes.setdefault(key, []).append(number)

    def _read_again(self) -> None:
        """Nothing moves inside a transaction, and it sees its own writes."""
        for key, before in self.reads.items():
            own = self.writes.get(key, [])
            expected = (own[-1] if own else before) if key[0] == "r" else [*before, *own]
            found = value_of(self.worker.root, key)
            if found != expected:
                say("ANOMALY", f"moved: {key} is {found}, expected {expected}")


def say(kind: str, text: str) -> None:
    os.write(1, f"{kind} {text}\n".replace("\n", " ").strip().encode() + b"\n")


def is_over() -> bool:
    return bool(select.select([0], [], [], 0)[0])


def run_threads(
    databases: list[Database], orders: Orders, first: int, transactions: int, *, forks: bool
) -> None:
    """Run the workers of this process; their numbers begin with *first*."""

    def run(index: int) -> None:
        try:
            database = databases[index % len(databases)]
            Worker(database, orders, first + index).run(transactions)
        except BaseException as error:
            traceback.print_exc()
            say("ANOMALY", f"error: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=(index,)) for index in range(orders.threads)]
    for thread in threads:
        thread.start()
    # Without the global lock, a dict may belong to a thread that the child does not have: CPython
    # then waits for ever in the child, in dict.get(), without any of this package.
    if forks and not sysconfig.get_config_var("Py_GIL_DISABLED"):
        fork_now_and_then(databases, orders, first, threads)
    for thread in threads:
        thread.join()


def fork_now_and_then(
    databases: list[Database], orders: Orders, first: int, threads: list[threading.Thread]
) -> None:
    """Fork while the threads work; the children work with the same databases for a while."""
    chance = random.Random(f"{orders.seed} {first} forks")
    for fork in range(1, 10):
        until = time.monotonic() + chance.random() * 3
        while time.monotonic() < until:
            if not any(thread.is_alive() for thread in threads):
                return
            time.sleep(TICK_SECONDS)
        child = os.fork()
        if not child:
            try:
                count = chance.randrange(200)
                run_threads(databases, orders, first + fork * 10, count, forks=False)
            finally:
                os._exit(0)
        while not os.waitpid(child, os.WNOHANG)[0]:
            time.sleep(TICK_SECONDS)


def opened(orders: Orders) -> Database:
    """Open the database. A sync that fails while the log is recovered is told: open it again."""
    while True:
        log: Storage
        try:
            if orders.uri:
                log = open_storage(orders.uri, read_only=orders.read_only)
            else:
                log = TransactionLog(orders.path, sync=orders.sync, read_only=orders.read_only)
        except OSError as error:
            if not orders.failing or error.errno != errno.EIO:
                raise
        else:
            return Database(log)


def live(orders: Orders, life: int, transactions: int) -> None:
    """Open the databases, let the threads work with them, and close them."""
    databases = [opened(orders) for _ in range(orders.instances)]
    first = orders.process * LIVES * 100 + life * 100
    run_threads(databases, orders, first, transactions, forks=True)
    for database in databases:
        with suppress(OSError) if orders.failing else nullcontext():
            database.close()
    transaction.manager.clearSynchs()


def meet_perils(seed: str, *, failing: bool) -> None:
    """Let this process be killed or stopped, now and then, before or after it writes or syncs."""
    chance = random.Random(f"{seed} perils")
    sync = disk.sync

    def meet() -> None:
        what = chance.random()
        if what < 0.0002:
            os.kill(os.getpid(), signal.SIGKILL)
        elif what < 0.001:
            os.kill(os.getpid(), signal.SIGSTOP)

    def perilous(function: Any) -> Any:
        def call(*args: Any) -> Any:
            meet()
            result = function(*args)
            meet()
            return result

        return call

    def fail(fd: int, path: str) -> None:
        if failing and chance.random() < 0.02:
            raise OSError(errno.EIO, "a sync that was told to fail", path)
        sync(fd, path)

    os.pwrite = perilous(os.pwrite)
    disk.sync = perilous(fail)


def pack_now_and_then(orders: Orders) -> None:
    chance = random.Random(f"{orders.seed} pack")
    spans = (None, None, timedelta(seconds=0.2))
    # Often, so that threads of one instance write while one of them follows, or seldom.
    pause = chance.choice((0.02, 0.1, 1.0))
    while not select.select([0], [], [], pause * (0.3 + chance.random()))[0]:
        with suppress(PackRunningError, OSError):
            pack_file(orders.path, chance.choice(spans))


def work() -> None:
    """Do what the command line says."""
    orders = Orders(**json.loads(sys.argv[1]))
    # What this imports when it is first called: a child that is forked while another thread
    # imports it would wait for that thread for ever.
    traceback.print_stack(file=io.StringIO())
    try:
        if orders.mutant:
            module, _, name = orders.mutant.partition(":")
            getattr(importlib.import_module(module), name)()
        if orders.perils:
            meet_perils(orders.seed, failing=orders.failing)
        if not orders.threads:
            pack_now_and_then(orders)
            return
        chance = random.Random(f"{orders.seed} lives")
        for life in range(LIVES):
            if is_over():
                break
            live(orders, life, chance.randrange(1, 1000))
    except BaseException as error:
        traceback.print_exc()
        say("ANOMALY", f"error: {type(error).__name__}: {error}")


# -- the driver ---------------------------------------------------------------------------


@dataclass
class Plan:
    """What a round is like. ``sync``: of all instances, or ``None``: of each its own."""

    processes: int = 3
    threads: int = 3
    sync: bool | None = True
    careful: bool = False
    perils: bool = True
    failing: bool = False
    packs: bool = True
    mutant: str = ""
    uri: str = ""  # Of a log that is no file.


class Round:
    """Processes on one file, from its creation to what they have noted."""

    def __init__(self, path: Path, seed: int, plan: Plan) -> None:
        self.path = path
        self.plan = plan
        self.seed = seed
        self.figures: Counter[str] = Counter()
        self.found: list[Anomaly] = []
        self._chance = random.Random(seed)
        self._running: dict[int, subprocess.Popen[bytes]] = {}  # By their places.
        self._ended: list[subprocess.Popen[bytes]] = []
        self._started = 0
        self._said, self._say = os.pipe()
        self._reader = threading.Thread(target=self._read)

    def run(self, seconds: float) -> list[Anomaly]:
        """Return what was wrong."""
        with Database(self._opened()) as database:
            database.set_root(Root())
            transaction.commit()
        transaction.manager.clearSynchs()
        self._reader.start()
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and not self._is_broken:
                self._tick()
                time.sleep(TICK_SECONDS)
        finally:
            self._finish()
        try:
            self.found += self._look()
        except Error as error:
            self.found.append(Anomaly("damage", f"{type(error).__name__}: {error}"))
        return self.found

    def _opened(self) -> Any:
        if self.plan.uri:
            return open_storage(self.plan.uri, must_exist=False)
        return TransactionLog(self.path, sync=False)

    @property
    def _is_broken(self) -> bool:
        """Whether somebody has ended with an error: there is no use in going on."""
        return any(anomaly.kind == "error" for anomaly in self.found)

    def _read(self) -> None:
        with os.fdopen(self._said, "rb") as said:
            for line in said:
                _, _, text = line.decode().strip().partition(" ")
                kind, _, text = text.partition(": ")
                self.found.append(Anomaly(kind, text))

    # -- while it runs ---------------------------------------------------------------

    def _tick(self) -> None:
        plan = self.plan
        for place in range(plan.processes + plan.packs):
            process = self._running.get(place)
            if process is None or process.poll() is not None:
                if process is not None:
                    self.figures["deaths"] += process.returncode < 0
                    self._ended.append(process)
                self._running[place] = self._start(packer=place == plan.processes)
        if plan.perils:
            self._disturb()

    def _disturb(self) -> None:
        """Perhaps kill or stop one of the processes, or let some that are stopped go on."""
        chance = self._chance
        for process in [*self._running.values(), *self._ended]:
            if chance.random() < 0.2:
                tell(process, signal.SIGCONT)
        process = chance.choice(list(self._running.values()))
        what = chance.random()
        if what < 0.003:
            process.kill()
        elif what < 0.05:
            self.figures["stops"] += 1
            process.send_signal(signal.SIGSTOP)

    def _start(self, *, packer: bool) -> subprocess.Popen[bytes]:
        plan, chance = self.plan, self._chance
        self._started += 1
        orders = Orders(
            path=str(self.path),
            uri=plan.uri,
            seed=f"{self.seed} {self._started}",
            process=self._started,
            threads=0 if packer else plan.threads,
            sync=chance.random() < 0.5 if plan.sync is None else plan.sync,
            instances=chance.choice((1, 1, 1, 2)),
            careful=plan.careful,
            read_only=plan.perils and chance.random() < 0.2,
            perils=plan.perils,
            failing=plan.failing,
            mutant=plan.mutant,
        )
        search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from benchmarks import isolation; isolation.work()",
                json.dumps(vars(orders)),
            ],
            stdin=subprocess.PIPE,
            stdout=self._say,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": search, "PYTHONWARNINGS": ""},
        )

    def _finish(self) -> None:
        """Let all come to their end, those that were forked, too: they hold the pipe."""
        processes = [*self._running.values(), *self._ended]
        os.close(self._say)
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        end = time.monotonic() + END_SECONDS
        while self._reader.is_alive() and time.monotonic() < end:
            for process in processes:
                tell(process, signal.SIGCONT)
            self._reader.join(TICK_SECONDS)
        if self._reader.is_alive():
            self.found.append(Anomaly("hang", f"no end after {END_SECONDS} seconds"))
        for process in processes:
            tell(process, signal.SIGKILL)
            process.wait()
        self._reader.join()

    # -- afterwards --------------------------------------------------------------------

    def _look(self) -> list[Anomaly]:
        history = list(self._histories())
        history.append(self._read_everything())
        found = anomalies(history, serializable=self.plan.careful)
        self.figures.update(done.outcome for done in history)
        self.figures["forks"] += len({done.process for done in history if done.process % 10})
        with self._opened() as log:
            self.figures["packs"] += getattr(log, "generation", 0)
        try:
            if self.plan.uri:
                with self._opened() as log:
                    check_log(log).raise_if_bad()
            else:
                check_log(self.path).raise_if_bad()
        except Error as error:
            found.append(Anomaly("damage", str(error)))
        return found

    def _histories(self) -> Iterator[Done]:
        for notes in sorted(self.path.parent.glob(f"{self.path.name}.*.notes")):
            yield from read_history(map(json.loads, whole_lines(notes)))

    def _read_everything(self) -> Done:
        begun = time.monotonic_ns()
        with Database(self._opened()) as database:
            root = database.root
            keys = [f"r{at}" for at in range(REGISTERS)]
            keys += [f"{kind}{at}" for kind in "am" for at in range(LISTS)]
            reads = {key: value_of(root, key) for key in keys}
        transaction.manager.clearSynchs()
        return Done(0, 0, 0, begun, reads, {}, [], COMMITTED, time.monotonic_ns())


def tell(process: subprocess.Popen[bytes], what: int) -> None:
    """Send a signal to a process and those that it has forked."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, what)


def whole_lines(path: Path) -> list[bytes]:
    *lines, _torn = path.read_bytes().split(b"\n")
    return lines


def run(
    directory: Path, seed: int, seconds: float, plan: Plan, progress: Callable[[str], None] = print
) -> tuple[list[Anomaly], Counter[str]]:
    """Run one round; return what was wrong, and how much was done."""
    found_round = Round(directory / f"isolation-{seed}.log", seed, plan)
    found = found_round.run(seconds)
    progress(", ".join(f"{value} {key}" for key, value in sorted(found_round.figures.items())))
    return found, found_round.figures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="default: another each time")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=3, help="of each process, 10 at the most")
    parser.add_argument("--round", type=float, default=6.0, help="seconds on one file")
    parser.add_argument("--calm", action="store_true", help="no kills, stops and packs")
    parser.add_argument("--failing", action="store_true", help="syncs fail in each round")
    parser.add_argument("--uri", default="", help="of a log in PostgreSQL, each round has its own")
    parser.add_argument("--mutant", default="", help="module:function that breaks the store")
    syncing = parser.add_mutually_exclusive_group()
    syncing.add_argument("--no-sync", action="store_true", help="all instances with sync=False")
    syncing.add_argument("--mixed", action="store_true", help="instances of both kinds")
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="isolation-"))
    print(f"seed {seed}, {directory}", flush=True)
    end = time.monotonic() + 60 * options.minutes
    totals: Counter[str] = Counter()
    number = 0
    while time.monotonic() < end:
        plan = Plan(
            processes=options.processes,
            threads=options.threads,
            sync=None if options.mixed else not options.no_sync,
            careful=bool(number % 2),
            perils=not options.calm,
            failing=options.failing or (not options.calm and number % 3 == 2),
            packs=not (options.calm or options.uri),
            uri=options.uri and f"{options.uri}{seed + number}",
            mutant=options.mutant,
        )
        found, figures = run(directory, seed + number, options.round, plan, tell_progress)
        totals += figures
        number += 1
        if found:
            tell_anomalies(found)
            print(f"the files are in {directory}; again: --seed {seed + number - 1}")
            return 1
        for left in directory.iterdir():
            left.unlink()
    shutil.rmtree(directory)
    print(
        f"{number} rounds:", ", ".join(f"{value} {key}" for key, value in sorted(totals.items()))
    )
    print("no anomaly")
    return 0


def tell_anomalies(found: list[Anomaly]) -> None:
    """Print one of each kind, and how many there are."""
    counts = Counter(anomaly.kind for anomaly in found)
    for kind, text in {anomaly.kind: anomaly.text for anomaly in reversed(found)}.items():
        print(f"ANOMALY {kind}, {counts[kind]} times: {text}")


def tell_progress(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    # The classes that are stored are those of the module, not of the script.
    sys.path.insert(0, str(ROOT))
    sys.exit(importlib.import_module("benchmarks.isolation").main())
