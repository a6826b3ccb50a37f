"""Writers who commit to a log in PostgreSQL at the same time, each to an object of its own.

::

    python -m benchmarks.postgres_writers 'host=localhost user=postgres dbname=postgres' [python]

Threads of one process, and processes. With *python*, an interpreter that has RelStorage, the same
is done with ZODB and RelStorage on the same server, in turn. Each commit is durable as the server
is set. Printed are the commits in a second, and the share of the slowest writer in the fastest.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 3.0
SHAPES = ((1, 1), (4, 1), (16, 1), (1, 4), (1, 16))
"""Processes, and threads in each of them."""

ROUNDS = 3
SCHEMA = "dobbin_like_writers"
MOST = 16


# -- what a process does ------------------------------------------------------------


def ours(dsn: str, what: str) -> Callable[[int], Callable[[int], None]]:
    import transaction

    from dobbin_like import Database, PersistentDict, checkout
    from dobbin_like.storage.postgres import PostgresLog

    manager = transaction.TransactionManager()
    if what == "fill":
        with Database(PostgresLog(dsn, schema=SCHEMA), transaction_manager=manager) as database:
            database.set_root(PersistentDict({n: PersistentDict(n=0) for n in range(MOST)}))
            manager.commit()
        return lambda _: lambda _: None
    database = Database(PostgresLog(dsn, schema=SCHEMA))

    def writer(number: int) -> Callable[[int], None]:
        def commit(count: int) -> None:
            transaction.begin()
            thing = database.root[number]
            checkout(thing)
            thing["n"] = count
            transaction.commit()

        return commit

    return writer


def relstorage(dsn: str, what: str) -> Callable[[int], Callable[[int], None]]:
    # In an environment of its own.
    import transaction
    from persistent.mapping import PersistentMapping
    from relstorage.adapters.postgresql import PostgreSQLAdapter
    from relstorage.options import Options
    from relstorage.storage import RelStorage
    from ZODB import DB

    options = Options(keep_history=False, commit_lock_timeout=60)
    database = DB(RelStorage(PostgreSQLAdapter(dsn, options), options=options), pool_size=MOST)
    if what == "fill":
        connection = database.open()
        for n in range(MOST):
            connection.root()[n] = PersistentMapping(n=0)
        transaction.commit()
        database.close()
        return lambda _: lambda _: None

    def writer(number: int) -> Callable[[int], None]:
        manager = transaction.TransactionManager(explicit=False)
        connection = database.open(manager)

        def commit(count: int) -> None:
            manager.begin()
            connection.root()[number]["n"] = count
            manager.commit()

        return commit

    return writer


def work(kind: str, dsn: str, what: str, first: int, threads: int) -> None:
    """Fill the database, or commit in some threads and print how often each has."""
    made = {"ours": ours, "relstorage": relstorage}[kind](dsn, what)
    if what == "fill":
        return
    counts = [0] * threads
    go = threading.Event()
    ready = threading.Semaphore(0)

    def run(number: int) -> None:
        commit = made(first + number)
        commit(0)
        ready.release()
        go.wait()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            counts[number] += 1
            commit(counts[number])

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for _ in running:
        ready.acquire()
    print("ready", flush=True)
    sys.stdin.readline()
    go.set()
    for thread in running:
        thread.join()
    print(json.dumps(counts), flush=True)


# -- all of them ----------------------------------------------------------------------


def start(python: str, kind: str, dsn: str, *rest: object) -> subprocess.Popen[str]:
    command = [python, __file__, kind, dsn, *map(str, rest)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def rates(python: str, kind: str, dsn: str, processes: int, threads: int) -> list[float]:
    """Return the commits in a second of each writer."""
    running = [
        start(python, kind, dsn, "write", number * threads, threads) for number in range(processes)
    ]
    for process in running:
        assert _of(process.stdout).readline() == "ready\n"
    for process in running:
        _of(process.stdin).write("go\n")
        _of(process.stdin).flush()
    counts = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    return [count / SECONDS for each in counts for count in each]


def _of(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def main(dsn: str, other: str = "") -> None:
    kinds = {"ours": sys.executable} | ({"relstorage": other} if other else {})
    for kind, python in kinds.items():
        assert start(python, kind, dsn, "fill", 0, 0).wait(120) == 0
    for processes, threads in SHAPES:
        totals: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, python in kinds.items():
                found = rates(python, kind, dsn, processes, threads)
                totals[kind].append(sum(found))
                share = min(found) / max(found)
                print(
                    f"{processes:3} processes of {threads:2} threads  {kind:12}"
                    f"{sum(found):8.0f}/s   slowest/fastest {share:.2f}",
                    flush=True,
                )
        if other:
            pairs = zip(totals["ours"], totals["relstorage"], strict=True)
            ratio = sorted(ours / theirs for ours, theirs in pairs)[ROUNDS // 2]
            print(f"{'':32} ours/relstorage {ratio:.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] in ("ours", "relstorage"):
        work(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main(*sys.argv[1:])
