"""Writers who commit to a log in PostgreSQL at the same time, each to an object of its own.

::

    python -m benchmarks.postgres_writers 'host=localhost user=postgres dbname=postgres' [python]

Threads of one process, and processes. With *python*, an interpreter that has RelStorage, the same
is done with ZODB and RelStorage on the same server, in turn. Each commit is durable as the server
is set. Printed are the commits in a second, and the share of the slowest writer in the fastest.
What each has committed last is looked for afterwards.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECONDS = 3.0
SHAPES = ((1, 1), (4, 1), (16, 1), (1, 4), (1, 16))
"""Processes, and threads in each of them."""

ROUNDS = 3
SCHEMA = "dobbin_like_writers"
MOST = 16
PATIENCE_SECONDS = 120


# -- what a process does ------------------------------------------------------------


class Ours:
    """What is measured."""

    def __init__(self, dsn: str) -> None:
        from dobbin_like import Database
        from dobbin_like.storage.postgres import PostgresLog

        self._database: Any = Database(PostgresLog(dsn, schema=SCHEMA))

    def fill(self) -> None:
        from dobbin_like import PersistentDict

        def fill() -> None:
            if self._database.root is None:  # Else it is there since an earlier call.
                things = {n: PersistentDict(n=0) for n in range(MOST)}
                self._database.set_root(PersistentDict(things))

        self._database.run(fill)

    def writer(self, number: int) -> Callable[[int], None]:
        """Return what commits a count, for the calling thread."""
        import transaction

        from dobbin_like import checkout

        def commit(count: int) -> None:
            transaction.begin()
            thing = self._database.root[number]
            checkout(thing)
            thing["n"] = count
            transaction.commit()

        return commit

    def counts(self) -> list[int]:
        with self._database.reading() as root:
            return [root[number]["n"] for number in range(MOST)]


class Theirs:
    """ZODB and RelStorage, in an environment of its own."""

    def __init__(self, dsn: str) -> None:
        from relstorage.adapters.postgresql import PostgreSQLAdapter
        from relstorage.options import Options
        from relstorage.storage import RelStorage
        from ZODB import DB

        options = Options(keep_history=False, commit_lock_timeout=60)
        storage = RelStorage(PostgreSQLAdapter(dsn, options), options=options)
        self._database: Any = DB(storage, pool_size=MOST)

    def fill(self) -> None:
        from persistent.mapping import PersistentMapping

        with self._database.transaction() as connection:
            for n in range(MOST):
                connection.root()[n] = PersistentMapping(n=0)

    def writer(self, number: int) -> Callable[[int], None]:
        import transaction

        manager = transaction.TransactionManager(explicit=False)
        connection = self._database.open(manager)

        def commit(count: int) -> None:
            manager.begin()
            connection.root()[number]["n"] = count
            manager.commit()

        return commit

    def counts(self) -> list[int]:
        with self._database.transaction() as connection:
            return [connection.root()[number]["n"] for number in range(MOST)]


KINDS: dict[str, Any] = {"ours": Ours, "relstorage": Theirs}


def write(store: Any, first: int, threads: int, seconds: float) -> None:
    """Commit in some threads; print how often each has, and how long it took."""
    done = []
    # The main thread first waits for all that they are ready, and then lets them go.
    together = threading.Barrier(threads + 1, timeout=PATIENCE_SECONDS)

    def run(number: int) -> None:
        try:
            commit = store.writer(number)
            commit(0)
            together.wait()
        except BaseException:
            together.abort()  # Nobody waits for who does not come.
            raise
        together.wait()
        count, begin = 0, time.monotonic()
        while (took := time.monotonic() - begin) < seconds or not count:
            count += 1
            commit(count)
        done.append((number, count, took))

    numbers = range(first, first + threads)
    running = [threading.Thread(target=run, args=(n,), daemon=True) for n in numbers]
    for thread in running:
        thread.start()
    try:
        together.wait()
        print("ready", flush=True)
        sys.stdin.readline()
        together.wait()
    except BaseException:
        together.abort()
        raise
    finally:
        for thread in running:
            thread.join()
    assert len(done) == threads, "a thread has failed"
    print(json.dumps(done), flush=True)


def work(kind: str, dsn: str, what: str, *sizes: str) -> None:
    store = KINDS[kind](dsn)
    if what == "fill":
        store.fill()
    elif what == "counts":
        print(json.dumps(store.counts()))
    else:
        first, threads, seconds = sizes
        write(store, int(first), int(threads), float(seconds))


# -- all of them ----------------------------------------------------------------------


def start(python: str, kind: str, dsn: str, *rest: object) -> subprocess.Popen[str]:
    command = [python, __file__, kind, dsn, *map(str, rest)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> Any:
    """Return what a process tells at its end."""
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, f"{process.args} has failed"
    return json.loads(out or "null")


def rates(
    python: str, kind: str, dsn: str, processes: int, threads: int, seconds: float
) -> list[float]:
    """Return the commits in a second of each writer.

    Raises AssertionError: One has failed, or what it has committed last is not there.
    """
    running = [
        start(python, kind, dsn, "write", number * threads, threads, seconds)
        for number in range(processes)
    ]
    try:
        for process in running:
            assert _of(process.stdout).readline() == "ready\n", f"{process.args} has failed"
        for process in running:
            _of(process.stdin).write("go\n")
            _of(process.stdin).flush()
        done = [each for process in running for each in answer(process)]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    compare(done, answer(start(python, kind, dsn, "counts")))
    return [count / took for _, count, took in done]


def compare(done: list[tuple[int, int, float]], there: list[int]) -> None:
    """Raise AssertionError if what was committed last is not there."""
    for number, count, _ in done:
        assert there[number] == count, f"{number}: {there[number]} is there, not {count}"


def _of(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def main(
    dsn: str,
    other: str = "",
    shapes: Sequence[tuple[int, int]] = SHAPES,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
) -> None:
    kinds = {"ours": sys.executable} | ({"relstorage": other} if other else {})
    for kind, python in kinds.items():
        answer(start(python, kind, dsn, "fill"))
    for processes, threads in shapes:
        totals: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, python in kinds.items():
                found = rates(python, kind, dsn, processes, threads, seconds)
                totals[kind].append(sum(found))
                share = min(found) / max(found)
                print(
                    f"{processes:3} processes of {threads:2} threads  {kind:12}"
                    f"{sum(found):8.0f}/s   slowest/fastest {share:.2f}",
                    flush=True,
                )
        if other:
            pairs = zip(totals["ours"], totals["relstorage"], strict=True)
            ratio = sorted(ours / theirs for ours, theirs in pairs)[rounds // 2]
            print(f"{'':32} ours/relstorage {ratio:.2f}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.postgres_writers", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "dsn", help="of the server: 'host=localhost user=postgres dbname=postgres'"
    )
    parser.add_argument("python", nargs="?", default="", help="an interpreter with RelStorage")
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in KINDS:  # One of the processes that this has started.
        work(*sys.argv[1:])
    else:
        options = _parse()
        main(options.dsn, options.python)
