"""Real processes that commit, are killed and start again; nothing may be lost or seen in part.

::

    python -m benchmarks.torture --minutes 10
    python -m benchmarks.torture --minutes 1 --seed 7 --only bank

Prints what was done, and ends with 1 at the first violation; the files are left for a look.
Kills come after a random number of acknowledged commits, not after a time. The tests run
the same scenarios, once each and small.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transaction
from transaction.interfaces import TransientError

from benchmarks.shelf import Shelf
from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import LockTimeout, PackRunningError
from dobbin_like.objects.deltas import layered, overlays
from dobbin_like.persistent import Persistent, PersistentDict, PersistentFile, checkout
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.pack import pack_file

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
WATCHDOG_SECONDS = 120.0
ENDLESS = 1 << 60
BALANCE = 100


class Violation(AssertionError):
    """Something happened that must never happen."""


def require(true: object, text: str) -> None:
    if not true:
        raise Violation(text)


# -- what is stored -----------------------------------------------------------


class Account(Persistent):
    """Holds money."""

    def __init__(self) -> None:
        self.balance = BALANCE


class Tally(Persistent):
    """How many transactions one thread of one process has committed."""

    count = 0
    box: Any = None
    file: Any = None


class Box(Persistent):
    """Out of reach at times, and held in memory meanwhile."""

    count = 0


class Counter(Persistent):
    """Adds up what is counted at the same time."""

    value = 0

    @staticmethod
    def _p_resolve_conflict(old: Any, saved: Any, new: Any) -> Any:
        new["value"] = saved.get("value", 0) + new["value"] - old.get("value", 0)
        return new


class Bank(Persistent):
    """The root: accounts whose sum never changes, and who has committed how often."""

    def __init__(self, accounts: int) -> None:
        self.accounts = [Account() for _ in range(accounts)]
        self.tallies = PersistentDict()
        self.counter = Counter()
        self.shelf = Shelf()


def open_database(path: str, **options: Any) -> Database:
    return Database(TransactionLog(path, sync=False, **options))


def make_bank(path: Path, accounts: int) -> None:
    with open_database(str(path)) as database:
        database.set_root(Bank(accounts))
        transaction.commit()
    transaction.manager.clearSynchs()


# -- workers: what runs in the processes --------------------------------------


def say(*words: object) -> None:
    """Write a line at once, and whole."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def retried(work: Callable[[], Any]) -> int:
    """Run *work* in a transaction until it is committed; return how often it had to be."""
    attempts = 0
    while True:
        attempts += 1
        transaction.begin()
        try:
            work()
            transaction.commit()
        except TransientError:
            transaction.abort()
        else:
            return attempts


def check_total(bank: Bank, order: Callable[[Any], Any] = list) -> None:
    found = sum(account.balance for account in order(bank.accounts))
    expected = BALANCE * len(bank.accounts)
    require(found == expected, f"the sum of all accounts is {found}, expected {expected}")


def make_tally(database: Database, name: str) -> Tally:
    tally = Tally()

    def add() -> None:
        checkout(database.root.tallies)
        database.root.tallies[name] = tally

    retried(add)
    return tally


def transfer(database: Database, name: str, chance: random.Random, count: int) -> None:
    """Move money between accounts; acknowledge each commit by its number."""
    tally = make_tally(database, name)
    for number in range(1, count + 1):
        giver, taker = chance.sample(range(len(database.root.accounts)), 2)
        amount = chance.randrange(1, 10)

        def move(giver: int = giver, taker: int = taker, amount: int = amount) -> None:
            bank = database.root
            check_total(bank)
            one, other = bank.accounts[giver], bank.accounts[taker]
            checkout(one, other, tally)
            one.balance -= amount
            other.balance += amount
            tally.count += 1

        say("ack", name, number, retried(move) - 1)


def increment(database: Database, name: str, _chance: random.Random, count: int) -> None:
    """Count on the counter of all; acknowledge each commit by its number."""
    tally = make_tally(database, name)
    for number in range(1, count + 1):

        def add() -> None:
            counter = database.root.counter
            checkout(counter, tally)
            counter.value += 1
            tally.count += 1

        say("ack", name, number, retried(add) - 1)


def juggle(database: Database, name: str, chance: random.Random, count: int) -> None:
    """Move money, and let a box and a file be in and out of reach in turn."""
    tally, box = make_tally(database, name), Box()
    for number in range(1, count + 1):
        amount, both = (
            chance.randrange(1, 10),
            chance.sample(range(len(database.root.accounts)), 2),
        )

        def step(number: int = number, amount: int = amount, both: list[int] = both) -> None:
            giver, taker = (database.root.accounts[index] for index in both)
            checkout(giver, taker, tally)
            giver.balance -= amount
            taker.balance += amount
            tally.count += 1
            if tally.box is None:
                checkout(box)
                box.count = tally.count
                tally.box = box
            else:
                tally.box = None
            if number % 5 == 0:
                tally.file = PersistentFile(io.BytesIO(content_of(number)))

        say("ack", name, number, retried(step) - 1)


def shelve(database: Database, name: str, chance: random.Random, count: int) -> None:
    """Change collections, and count in each of them."""
    tally = make_tally(database, name)
    overlays.SMALL = layered._SMALL = chance.choice((-1, 5, 64))
    for number in range(1, count + 1):
        seed = chance.random()

        def step(seed: float = seed) -> None:
            checkout(tally)
            tally.count += 1
            database.root.shelf.change(random.Random(seed), name)

        say("ack", name, number, retried(step) - 1)


def check_shelf(bank: Bank) -> None:
    bank.shelf.check()
    for name, tally in bank.tallies.items():
        if name.startswith("shelver"):
            found = bank.shelf.table.get(("count", name), 0)
            require(found == tally.count, f"{name}: {found} in the table, expected {tally.count}")


def content_of(number: int) -> bytes:
    return number.to_bytes(4, "big") * (number * 997 % 40_000)


def check_box(tally: Tally) -> None:
    count = tally.count
    if tally.box is not None:
        require(tally.box.count == count, f"{tally.box.count} in the box of {count}")
    require((tally.box is None) == (count % 2 == 0), f"a box at {count}")
    if tally.file is not None:
        found = b"".join(tally.file)
        require(found == content_of(count // 5 * 5), f"another file at {count}")


def in_threads(threads: int, work: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]


def work_writer(kind: str, path: str, name: str, seed: str, threads: str, count: str) -> None:
    """Commit in threads until all are done, or killed."""
    step = {"transfer": transfer, "increment": increment, "juggle": juggle, "shelve": shelve}[kind]
    with open_database(path) as database:

        def write(index: int) -> None:
            step(database, f"{name}.{index}", random.Random(f"{seed}.{index}"), int(count))

        in_threads(int(threads), write)


def work_reader(path: str, threads: str) -> None:
    """Read everything in every snapshot until standard input ends."""
    stopped = threading.Event()

    def read(_index: int) -> None:
        snapshots = 0
        newest = 0
        while not stopped.is_set() or not snapshots:
            transaction.begin()
            bank = database.root
            check_total(bank)
            tallies = {name: tally.count for name, tally in bank.tallies.items()}
            check_shelf(bank)
            check_total(bank, reversed)
            for name, tally in bank.tallies.items():
                require(tally.count == tallies[name], f"{name} has moved inside a snapshot")
                if name.startswith("juggler"):
                    check_box(tally)
            require(sum(tallies.values()) >= newest, "a later snapshot shows less")
            newest = sum(tallies.values())
            snapshots += 1
        say("read", snapshots)

    with open_database(path) as database:
        say("ready")
        watcher = threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()))
        watcher.start()
        try:
            in_threads(int(threads), read)
        finally:
            watcher.join()


def die_before(number: int) -> None:
    """Let this process be killed before its *number*-th system call that counts."""
    calls = itertools.count(1)

    def counted(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in COUNTED:
        setattr(os, name, counted(getattr(os, name)))


COUNTED = ("pwrite", "fsync", "ftruncate", "replace", "unlink", "open", "close")


def work_packer(path: str, seed: str, death: str) -> None:
    """Pack again and again until standard input ends, or death comes."""
    chance = random.Random(seed)
    stopped = threading.Event()
    watcher = threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()))
    watcher.start()
    die_before(int(death))
    spans = (None, None, timedelta(seconds=0.2), timedelta(seconds=2))
    try:
        while not stopped.wait(chance.random() * 0.05):
            try:
                report = pack_file(path, chance.choice(spans))
            except PackRunningError:
                continue
            say("packed", report.dropped.revisions, report.dropped.objects)
    finally:
        stopped.wait()
        watcher.join()


class Stall:
    """Another participant of a transaction, which never comes to its end."""

    transaction_manager = None

    def __init__(self, step: str) -> None:
        self._step = step

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("tpc_") and name not in {"abort", "commit"}:
            raise AttributeError(name)
        return lambda _transaction: self._do(name)

    def _do(self, name: str) -> None:
        if name == self._step:
            stall()

    def sortKey(self) -> str:  # noqa: N802
        return "~ after all others"


def stall() -> None:
    """Say so, and wait for the end."""
    say("stalled")
    sys.stdin.read()


def work_stall(path: str, step: str) -> None:
    """Stall while holding the commit lock."""
    log = TransactionLog(path, sync=True)
    if step == "append":  # Between what decides and what lets others know of it.
        log._writing.writer._tell_end = stall
    database = Database(log)
    transaction.begin()
    checkout(database.root.counter)
    database.root.counter.value += 1000
    if step != "append":
        transaction.get().join(Stall(step))
    transaction.commit()


def work_fork(path: str, rounds: str) -> None:
    """Fork with the database open, while another thread commits."""
    database = open_database(path)
    stopped = threading.Event()
    committed = [0]

    def commit_on() -> None:
        tally = make_tally(database, "thread")
        while not stopped.is_set() or not committed[0]:

            def add() -> None:
                checkout(tally)
                tally.count += 1

            retried(add)
            committed[0] += 1

    thread = threading.Thread(target=commit_on)
    thread.start()
    try:
        for number in range(int(rounds)):
            fork_once(database, number)
    finally:
        stopped.set()
        thread.join()
    transaction.begin()
    seen = database.root.tallies["thread"].count
    require(seen == committed[0], f"{seen} commits of the thread, expected {committed[0]}")
    say("forked", rounds, committed[0])


def fork_once(database: Database, number: int) -> None:
    """Let a child commit, see it, commit, and let the child see that."""
    to_parent, to_child = os.pipe(), os.pipe()
    tally = make_tally(database, f"fork {number}")

    def add() -> None:
        checkout(tally)
        tally.count += 1

    child = os.fork()
    if not child:
        status = 1
        try:
            retried(add)
            os.write(to_parent[1], b"c")
            require(os.read(to_child[0], 1) == b"p", "the parent has ended")
            transaction.begin()
            require(tally.count == 2, f"the child sees {tally.count} commits, expected 2")
            require(database.root.tallies[f"fork {number}"] is tally, "another object")
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(to_parent[1])
    answer = os.read(to_parent[0], 1)
    if answer == b"c":
        transaction.begin()
        seen = tally.count
        retried(add)
        os.write(to_child[1], b"p")
    _, status = os.waitpid(child, 0)
    for end in (to_parent[0], *to_child):
        os.close(end)
    require(answer == b"c" and status == 0, f"the child ended with status {status}")
    require(seen == 1, f"the parent sees {seen} commits of the child, expected 1")


WORKERS: dict[str, Callable[..., None]] = {
    "writer": work_writer,
    "reader": work_reader,
    "packer": work_packer,
    "stall": work_stall,
    "fork": work_fork,
}


def work() -> None:
    """Run the worker that the command line names."""
    name, *args = sys.argv[1:]
    try:
        WORKERS[name](*args)
    except BaseException as error:
        say("VIOLATION", type(error).__name__, str(error).replace("\n", " "))
        traceback.print_exc()
        sys.exit(3)


# -- the driver: starts processes, reads their lines, kills them ----------------


class Process:
    """One worker, and the lines it has written."""

    def __init__(self, *args: object) -> None:
        search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from benchmarks import torture; torture.work()",
                *map(str, args),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": search.rstrip(os.pathsep), "PYTHONWARNINGS": ""},
        )
        self.name = " ".join(map(str, args))
        self.hung = False
        self.ended = threading.Event()
        self._watchdog = threading.Timer(WATCHDOG_SECONDS, self._give_up)
        self._watchdog.start()

    def _give_up(self) -> None:
        self.hung = True
        self._process.kill()

    def lines(self) -> Any:
        """Yield the words of each whole line until the process has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith(b"\n"):
                words = line.decode().split()
                require(words[0] != "VIOLATION", f"{self.name}: {line.decode().strip()}")
                yield words

    def wait_for(self, word: str) -> None:
        """Wait for a line that begins with *word*."""
        for words in self.lines():
            if words[0] == word:
                return
        raise Violation(f"{self.name}: ended before it said {word!r}")

    def kill(self) -> None:
        """End it as a crash would: nothing of it runs any more."""
        self._process.send_signal(signal.SIGKILL)

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self, expected: int | None = 0) -> int:
        """Wait for the end, after all lines were read; return the status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        status = self._process.wait()
        self._process.stdout.close()
        self._watchdog.cancel()
        self._watchdog.join()
        require(not self.hung, f"{self.name}: no end after {WATCHDOG_SECONDS} seconds")
        if expected is not None:
            require(status == expected, f"{self.name}: ended with {status}")
        return status


def drive(
    kind: str, path: Path, name: str, seed: int, *, threads: int, count: int, kill_after: int
):
    """Run one writer; return the last acknowledged number of each thread, and all retries."""
    process = Process("writer", kind, path, name, seed, threads, count)
    acknowledged: dict[str, int] = {}
    retries = seen = 0
    try:
        for _, who, number, again in process.lines():
            acknowledged[who] = int(number)
            retries += int(again)
            seen += 1
            if seen == kill_after:
                process.kill()
    finally:
        process.kill()
        process.close(expected=None)
    if seen < kill_after:
        found = sum(acknowledged.values())
        require(found == threads * count, f"{process.name}: {found} commits, then the end")
    return acknowledged, retries


def verify(path: Path, acknowledged: dict[str, int], *, killed: bool) -> None:
    """Every acknowledged commit is there, and of each killed thread one more at most."""
    check_log(path).raise_if_bad()
    with open_database(str(path)) as database:
        transaction.begin()
        bank = database.root
        check_total(bank)
        # A commit that nobody could see yet is adopted by the next holder of the lock.
        retried(lambda: checkout(bank.counter))
        make_tally(database, f"verifier {len(bank.tallies)}")
        transaction.begin()
        check_total(bank)
        for name, number in acknowledged.items():
            count = bank.tallies[name].count
            require(
                number <= count <= number + killed,
                f"{name}: {count} commits are there, {number} were acknowledged",
            )
    transaction.manager.clearSynchs()
    check_log(path).raise_if_bad()


# -- scenarios ------------------------------------------------------------------


def bank(
    directory: Path,
    seed: int,
    *,
    writers: int = 2,
    threads: int = 2,
    readers: int = 1,
    reader_threads: int = 1,
    kills: int = 3,
    commits: int = 60,
    accounts: int = 10,
) -> dict[str, int]:
    """Writers are killed again and again; the sum of all accounts stays, in every snapshot."""
    path = directory / f"bank-{seed}.log"
    make_bank(path, accounts)
    watching = [Process("reader", path, reader_threads) for _ in range(readers)]
    for reader in watching:
        reader.wait_for("ready")
    acknowledged: dict[str, int] = {}
    retries = 0

    def keep_writing(slot: int) -> int:
        chance = random.Random(f"{seed} {slot}")
        again = 0
        for number in range(kills + 1):
            last = number == kills
            found, more = drive(
                "transfer",
                path,
                f"writer-{slot}-{number}",
                chance.randrange(1 << 30),
                threads=threads,
                count=commits // threads if last else ENDLESS,
                kill_after=ENDLESS if last else chance.randrange(1, commits),
            )
            acknowledged.update(found)
            again += more
        return again

    try:
        with ThreadPoolExecutor(writers) as pool:
            retries = sum(pool.map(keep_writing, range(writers)))
    finally:
        snapshots = finish_readers(watching)
    verify(path, acknowledged, killed=bool(kills))
    return {
        "commits": sum(acknowledged.values()),
        "retries": retries,
        "kills": kills * writers,
        "snapshots": snapshots,
        "bytes": path.stat().st_size,
    }


def finish_readers(readers: list[Process]) -> int:
    snapshots = 0
    for reader in readers:
        reader.end_input()
        snapshots += sum(int(words[1]) for words in reader.lines() if words[0] == "read")
        reader.close()
    return snapshots


def counter(
    directory: Path, seed: int, *, writers: int = 2, threads: int = 3, commits: int = 40
) -> dict[str, int]:
    """All count on one counter that resolves its conflicts: nothing is lost."""
    path = directory / f"counter-{seed}.log"
    make_bank(path, 2)
    acknowledged: dict[str, int] = {}

    def write(slot: int) -> int:
        found, retries = drive(
            "increment", path, f"w{slot}", seed, threads=threads, count=commits, kill_after=ENDLESS
        )
        acknowledged.update(found)
        return retries

    with ThreadPoolExecutor(writers) as pool:
        retries = sum(pool.map(write, range(writers)))
    verify(path, acknowledged, killed=False)
    with open_database(str(path)) as database:
        value = database.root.counter.value
        require(value == writers * threads * commits, f"the counter is at {value}")
    transaction.manager.clearSynchs()
    return {"commits": sum(acknowledged.values()), "retries": retries}


STALL_STEPS = {"tpc_begin": False, "commit": False, "tpc_vote": False, "append": True}
"""Where the holder of the commit lock is killed, and whether its commit counts."""


def holder(
    directory: Path, seed: int, *, steps: tuple[str, ...] = tuple(STALL_STEPS)
) -> dict[str, int]:
    """The holder of the commit lock is killed: the lock is free, its commit whole or not there."""
    for step in steps:
        path = directory / f"holder-{seed}-{step}.log"
        make_bank(path, 2)
        process = Process("stall", path, step)
        try:
            process.wait_for("stalled")
            require_locked(path)
        finally:
            process.kill()
            process.close(expected=None)
        with open_database(str(path)) as database:
            make_tally(database, "next")
            transaction.begin()
            value = database.root.counter.value
        transaction.manager.clearSynchs()
        expected = 1000 * STALL_STEPS[step]
        require(value == expected, f"killed in {step}: the counter is {value}, not {expected}")
        check_log(path).raise_if_bad()
    return {"kills": len(steps)}


def require_locked(path: Path) -> None:
    """Nobody else can commit, everybody can read, and nobody sees what is not committed."""
    with open_database(str(path), lock_timeout=0.02) as database:
        transaction.begin()
        require(database.root.counter.value == 0, "an uncommitted state is seen")
        checkout(database.root.counter)
        database.root.counter.value += 1
        try:
            transaction.commit()
        except LockTimeout:
            transaction.abort()
        else:
            raise Violation("a commit went past the lock")
    transaction.manager.clearSynchs()


def fork(directory: Path, seed: int, *, rounds: int = 5) -> dict[str, int]:
    """Children of a process with an open database commit, and see what it commits."""
    path = directory / f"fork-{seed}.log"
    make_bank(path, 2)
    process = Process("fork", path, rounds)
    said: list[str] = []
    try:
        for words in process.lines():
            said = words
    finally:
        process.close(expected=None)
    require(said[:1] == ["forked"], "the forking process has ended without a word")
    check_log(path).raise_if_bad()
    return {"forks": rounds, "commits": int(said[2])}


COPY_TOOLS: tuple[tuple[str, ...], ...] = (
    ("cp", "{0}", "{1}"),
    ("dd", "if={0}", "of={1}", "bs=777"),
    ("dd", "if={0}", "of={1}", "bs=65537"),
    ("cat", "{0}"),
)


def copies(
    directory: Path,
    seed: int,
    *,
    writers: int = 2,
    threads: int = 2,
    copies: int = 6,
    accounts: int = 10,
) -> dict[str, int]:
    """Others copy the log while writers run: each copy has all that was acknowledged before."""
    path = directory / f"copies-{seed}.log"
    make_bank(path, accounts)
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {}
    processes = [
        Process("writer", "transfer", path, f"writer-{slot}", seed + slot, threads, ENDLESS)
        for slot in range(writers)
    ]

    def listen(process: Process) -> None:
        for _, who, number, _ in process.lines():
            acknowledged[who] = int(number)

    begun: list[tuple[Path, dict[str, int]]] = []
    with ThreadPoolExecutor(writers) as pool:
        listening = [pool.submit(listen, process) for process in processes]
        try:
            for number in range(copies):
                wait_for_commits(acknowledged, chance.randrange(1, 40))
                copy = directory / f"copies-{seed}-{number}.log"
                begun.append((copy, dict(acknowledged)))
                copy_by(chance.choice(COPY_TOOLS), path, copy)
        finally:
            for process in processes:
                process.kill()
            wait(listening)  # All lines are read before the pipes are closed.
            for process in processes:
                process.close(expected=None)
        for each in listening:
            each.result()
    for copy, least in begun:
        verify_copy(copy, least)
    return {"commits": sum(acknowledged.values()), "copies": copies}


def wait_for_commits(acknowledged: dict[str, int], more: int) -> None:
    """Wait until the writers have committed so often again."""
    wanted = sum(acknowledged.values()) + more
    end = time.monotonic() + WATCHDOG_SECONDS
    while sum(acknowledged.values()) < wanted:
        require(time.monotonic() < end, "the writers do not get on")
        time.sleep(0.001)


def copy_by(tool: tuple[str, ...], path: Path, copy: Path) -> None:
    command = [word.format(path, copy) for word in tool]
    with copy.open("wb") as out:
        subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, check=True)


def verify_copy(copy: Path, least: dict[str, int]) -> None:
    """The copy is one state, not older than its beginning, and goes on as a database."""
    check_log(copy).raise_if_bad()
    for _ in range(2):
        with open_database(str(copy)) as database:
            transaction.begin()
            bank = database.root
            check_total(bank)
            for name, number in least.items():
                count = bank.tallies[name].count
                require(count >= number, f"{copy}: {name}: {count} commits, not {number}")
            retried(lambda bank=bank: checkout(bank.counter))  # Whole ones are adopted.
        transaction.manager.clearSynchs()
        check_log(copy).raise_if_bad()


def packing(
    directory: Path,
    seed: int,
    *,
    writers: int = 2,
    threads: int = 2,
    readers: int = 1,
    packers: int = 2,
    kills: int = 2,
    commits: int = 60,
    kind: str = "juggle",
) -> dict[str, int]:
    """The log is packed all the time; writers and packers are killed, and nothing is lost."""
    path = directory / f"{kind}-{seed}.log"
    make_bank(path, 10)
    watching = [Process("reader", path, 1) for _ in range(readers)]
    for reader in watching:
        reader.wait_for("ready")
    acknowledged: dict[str, int] = {}
    figures = {"packs": 0, "packers killed": 0, "dropped objects": 0}
    adding = threading.Lock()
    done = threading.Event()

    def keep_writing(slot: int) -> None:
        chance = random.Random(f"{seed} writer {slot}")
        for number in range(kills + 1):
            last = number == kills
            found, _ = drive(
                kind,
                path,
                f"{kind}r-{slot}-{number}",
                chance.randrange(1 << 30),
                threads=threads,
                count=commits // threads if last else ENDLESS,
                kill_after=ENDLESS if last else chance.randrange(1, commits),
            )
            acknowledged.update(found)

    def keep_packing(slot: int) -> None:
        chance = random.Random(f"{seed} packer {slot}")
        while not done.is_set():
            process = Process("packer", path, chance.randrange(1 << 30), chance.randrange(900))
            ender = threading.Thread(target=lambda process=process: end_when(done, process))
            ender.start()
            try:
                for words in process.lines():
                    with adding:
                        figures["packs"] += 1
                        figures["dropped objects"] += int(words[2])
            finally:
                process.ended.set()
                ender.join()
                status = process.close(expected=None)
            require(status in (0, -signal.SIGKILL), f"{process.name}: ended with {status}")
            with adding:
                figures["packers killed"] += status != 0

    try:
        with ThreadPoolExecutor(writers + packers) as pool:
            packing = [pool.submit(keep_packing, slot) for slot in range(packers)]
            try:
                list(pool.map(keep_writing, range(writers)))
            finally:
                done.set()
            for future in packing:
                future.result()
    finally:
        snapshots = finish_readers(watching)
    verify(path, acknowledged, killed=bool(kills))
    check_boxes(path)
    require(sorted(directory.glob(f"{path.name}*")) == [path], "something was left behind")
    return {"commits": sum(acknowledged.values()), "snapshots": snapshots, **figures}


def end_when(done: threading.Event, process: Process) -> None:
    """Let a process end when all is done, unless it has ended."""
    while not process.ended.wait(0.05):
        if done.is_set():
            process.end_input()
            return


def check_boxes(path: Path) -> None:
    with open_database(str(path)) as database:
        transaction.begin()
        for name, tally in database.root.tallies.items():
            if name.startswith("juggler"):
                check_box(tally)
        database.pack()
        transaction.begin()
        check_total(database.root)
        check_shelf(database.root)
    transaction.manager.clearSynchs()
    check_log(path).raise_if_bad()


def collections(directory: Path, seed: int, **sizes: int) -> dict[str, int]:
    """Collections and queues are changed, merged, packed and killed: all of them fit together."""
    return packing(directory, seed, kind="shelve", **sizes)


SCENARIOS: dict[str, Callable[..., dict[str, int]]] = {
    "bank": bank,
    "copies": copies,
    "counter": counter,
    "holder": holder,
    "fork": fork,
    "packing": packing,
    "collections": collections,
}


def sizes(name: str, chance: random.Random) -> dict[str, int]:
    """Return the size of one run, another one each time."""
    if name == "bank":
        return {
            "writers": chance.randrange(1, 5),
            "threads": chance.randrange(1, 4),
            "readers": chance.randrange(0, 3),
            "reader_threads": chance.randrange(1, 3),
            "kills": chance.randrange(0, 8),
            "commits": chance.randrange(20, 400),
            "accounts": chance.randrange(2, 50),
        }
    if name == "counter":
        return {
            "writers": chance.randrange(1, 5),
            "threads": chance.randrange(1, 5),
            "commits": chance.randrange(10, 200),
        }
    if name == "copies":
        return {
            "writers": chance.randrange(1, 4),
            "threads": chance.randrange(1, 4),
            "copies": chance.randrange(1, 20),
            "accounts": chance.randrange(2, 50),
        }
    if name in ("packing", "collections"):
        return {
            "writers": chance.randrange(1, 4),
            "threads": chance.randrange(1, 4),
            "readers": chance.randrange(0, 3),
            "packers": chance.randrange(1, 3),
            "kills": chance.randrange(0, 4),
            "commits": chance.randrange(20, 300),
        }
    return {"rounds": chance.randrange(1, 40)} if name == "fork" else {}


class Run:
    """One call of this script: scenarios on several databases until the time is over."""

    def __init__(self, directory: Path, seed: int, minutes: float, only: str | None) -> None:
        self.directory = directory
        self.seed = seed
        self.names = sorted(SCENARIOS) if only is None else [only]
        if only is None and sysconfig.get_config_var("Py_GIL_DISABLED"):
            # CPython may hang in a child that was forked beside threads: see isolation.py.
            self.names.remove("fork")
        self.end = time.monotonic() + 60 * minutes
        self.failed = False
        # Guarded by _adding.
        self.totals: dict[str, dict[str, int]] = {}
        self._adding = threading.Lock()

    def keep_going(self, slot: int) -> None:
        """Run one scenario after the other; end all at the first violation."""
        chance = random.Random(f"{self.seed} {slot}")
        while time.monotonic() < self.end and not self.failed:
            name = chance.choice(self.names)
            seed = chance.randrange(1 << 30)
            try:
                figures = SCENARIOS[name](self.directory, seed, **sizes(name, chance))
            except BaseException as error:
                self.failed = True
                print(f"VIOLATION in {name} {seed}: {type(error).__name__}: {error}", flush=True)
                return
            for left in self.directory.glob(f"*-{seed}*"):
                left.unlink()
            self._add(name, {"runs": 1, **figures})

    def _add(self, name: str, figures: dict[str, int]) -> None:
        with self._adding:
            total = self.totals.setdefault(name, {})
            for key, value in figures.items():
                total[key] = total.get(key, 0) + value

    def tell(self) -> None:
        """Print what was done by now."""
        with self._adding:
            for name, total in sorted(self.totals.items()):
                print(f"{name:12}", ", ".join(f"{value} {key}" for key, value in total.items()))
        print(flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None, help="default: another each time")
    parser.add_argument("--databases", type=int, default=2, help="at a time")
    parser.add_argument("--only", choices=sorted(SCENARIOS), default=None)
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"seed {seed}, {options.databases} databases at a time, {directory}", flush=True)
    run = Run(directory, seed, options.minutes, options.only)
    with ThreadPoolExecutor(options.databases) as pool:
        running = [pool.submit(run.keep_going, slot) for slot in range(options.databases)]
        try:
            while wait(running, timeout=60).not_done:
                run.tell()
        except KeyboardInterrupt:
            run.end = 0.0
            print("stopping as soon as what is running has ended", flush=True)
    run.tell()
    if run.failed:
        print(f"the files are in {directory}; again: --seed {seed}")
    else:
        shutil.rmtree(directory)
        print("no violation")
    return int(run.failed)


if __name__ == "__main__":
    # The classes that are stored are those of the module, not of the script.
    sys.path.insert(0, str(ROOT))
    sys.exit(importlib.import_module("benchmarks.torture").main())
