"""Writers that are killed, thousands of times: what they were told is there, and nothing else.

::

    python -m benchmarks.kills --kills 10000
    python -m benchmarks.kills --kills 500 --writers 6 --seed 7

Each writer is forked from a process that has only imported the package, opens the log, and
counts in an object of its own; each third one without sync. It tells each commit by a pipe. Half
of them kill themselves before or after one of their system calls, whatever they hold then: the
commit lock, the sync of all others; the rest are killed from outside. The next writer with the
same object has to find what was told, and one commit more at the most. Packers are killed as
well, and now and then all stop, and the file is checked. Ends with 1 at the first violation; the
file stays.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transaction
from transaction.interfaces import TransientError

from dobbin_like.check import check_log
from dobbin_like.database import Database
from dobbin_like.exc import PackRunningError
from dobbin_like.log.file import disk
from dobbin_like.persistent import PersistentDict, checkout
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.pack import pack_file

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_CALLS = 120
"""Before or after which of its system calls a writer dies, at the most: some ten commits."""

MOST_COMMITS = 12
BETWEEN_CHECKS = 500
PACKER_EVERY = 40
PATIENCE_SECONDS = 60.0


class Violation(AssertionError):
    """What must not happen."""


# -- what runs in the forked processes ----------------------------------------------------


def die_at(number: int) -> None:
    """Let this process die before or after the call of that number to the system."""
    left = number

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Callable[..., Any], *args: Any) -> Any:
        count()
        result = call(*args)
        count()
        return result

    for module, names in CALLS:
        for name in names:
            setattr(module, name, partial(counted, getattr(module, name)))


CALLS = (os, ("pwrite", "ftruncate", "replace")), (fcntl, ("flock", "fcntl")), (disk, ("sync",))


def write(path: str, key: str, told: int, *, sync: bool) -> None:
    """Count in the object of *key* until somebody kills this process; tell each number."""
    database = Database(TransactionLog(path, sync=sync))
    counter: Any = database.root[key]
    while True:
        transaction.begin()
        os.write(told, b"%d\n" % counter["n"])
        checkout(counter)
        counter["n"] += 1
        try:
            transaction.commit()
        except TransientError:  # The one before had appended a commit, which is seen only now.
            transaction.abort()


def pack(path: str) -> None:
    """Pack until somebody kills this process."""
    while True:
        with contextlib.suppress(PackRunningError):
            pack_file(path)
        time.sleep(0.001)


# -- the driver --------------------------------------------------------------------------------


@dataclass
class Child:
    """A forked process: what it was asked to do, and what it has told."""

    pid: int
    key: str  # Empty for a packer.
    told: int  # The end of its pipe from which is read.
    kill_after: int  # So many numbers; 0: it dies by itself.
    seen: float  # When it has told something.
    count: int = 0
    rest: bytes = b""

    def __str__(self) -> str:
        return f"writer {self.key}" if self.key else "a packer"


class Round:
    """Children on one file."""

    def __init__(self, path: Path, seed: int, writers: int) -> None:
        self.path = path
        self.known = {str(number): 0 for number in range(writers)}
        self.figures: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._children: dict[int, Child] = {}  # By the end of their pipes.
        with Database(TransactionLog(path, sync=False)) as database:
            root = PersistentDict({key: PersistentDict(n=0) for key in self.known})
            database.set_root(root)
            transaction.commit()
        transaction.manager.clearSynchs()

    def run(self, kills: int) -> None:
        """Kill so many, then all; check the file."""
        end = self.figures["kills"] + kills
        try:
            while self.figures["kills"] < end:
                self._fill()
                self._wait_for_death()
            self._stop_all()
        finally:
            for child in self._children.values():
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
        self.check()

    def check(self) -> None:
        """Look at the file when nobody is there."""
        check_log(self.path).raise_if_bad()
        with Database(TransactionLog(self.path, read_only=True)) as database:
            for key in self.known:
                self._see(key, database.root[key]["n"])
        transaction.manager.clearSynchs()
        self.figures["checks"] += 1

    def _see(self, key: str, number: int) -> None:
        if not self.known[key] <= number <= self.known[key] + 1:
            text = f"writer {key} has told {self.known[key]}, and the file has {number}"
            raise Violation(text)
        self.known[key] = number

    def _fill(self) -> None:
        busy = {child.key for child in self._children.values()}
        for key in self.known:
            if key not in busy:
                self._start(key)
        if "" not in busy and self.figures["kills"] % PACKER_EVERY == 0:
            self._start("")

    def _start(self, key: str) -> None:
        chance = self._chance
        dies_at = chance.randrange(1, MOST_CALLS) if not key or chance.random() < 0.5 else 0
        sync = chance.random() < 2 / 3
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(reading)
                if dies_at:
                    die_at(dies_at)
                if key:
                    write(str(self.path), key, writing, sync=sync)
                else:
                    pack(str(self.path))
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)
        os.close(writing)
        kill_after = 0 if dies_at else chance.randrange(1, MOST_COMMITS)
        self._children[reading] = Child(pid, key, reading, kill_after, time.monotonic())

    def _wait_for_death(self) -> None:
        """Read what is told, and kill whose time has come, until one has died."""
        while True:
            ready, _, _ = select.select([*self._children], [], [], 1.0)
            dead = [self._read(self._children[fd]) for fd in ready]
            if True in dead:
                return
            for child in self._children.values():
                if time.monotonic() > child.seen + PATIENCE_SECONDS:
                    text = f"{child} has told nothing for {PATIENCE_SECONDS} seconds"
                    raise Violation(text)

    def _read(self, child: Child) -> bool:
        """Take what a child has told; return whether it is dead."""
        data = os.read(child.told, 1 << 16)
        child.seen = time.monotonic()
        if not data:
            self._bury(child)
            return True
        *lines, child.rest = (child.rest + data).split(b"\n")
        for number in map(int, lines):
            if child.count:  # It has committed since, or seen the last one of who was before.
                self.known[child.key] += 1
                self.figures["commits"] += 1
                if number != self.known[child.key]:
                    text = f"{child} has seen {number} after {self.known[child.key] - 1}"
                    raise Violation(text)
            self._see(child.key, number)
            child.count += 1
        if 0 < child.kill_after <= child.count:
            os.kill(child.pid, signal.SIGKILL)
        return False

    def _bury(self, child: Child) -> None:
        del self._children[child.told]
        os.close(child.told)
        _, status = os.waitpid(child.pid, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            text = f"{child} has ended with an error; see above"
            raise Violation(text)
        self.figures["kills"] += 1
        self.figures["of packers" if not child.key else "of writers"] += 1

    def _stop_all(self) -> None:
        for child in list(self._children.values()):
            os.kill(child.pid, signal.SIGKILL)
            while not self._read(child):
                pass


def run(directory: Path, seed: int, kills: int, writers: int = 3, *, quiet: bool = False) -> Any:
    """Kill so many writers and packers; return the figures. Raises Violation."""
    kept = Round(directory / f"kills-{seed}.log", seed, writers)
    done = 0
    while done < kills:
        kept.run(min(BETWEEN_CHECKS, kills - done))
        done = kept.figures["kills"]
        if not quiet:
            print(", ".join(f"{value} {key}" for key, value in kept.figures.items()), flush=True)
    return kept.figures


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None, help="default: another each time")
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    directory = Path(tempfile.mkdtemp(prefix="kills-"))
    print(f"seed {seed}, {directory}", flush=True)
    try:
        run(directory, seed, options.kills, options.writers)
    except Violation as violation:
        print(f"VIOLATION: {violation}; the file is in {directory}")
        return 1
    shutil.rmtree(directory)
    print("no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
