"""Beginning a transaction when nobody has committed anything: nearly nothing.

Run with ``python -m benchmarks.bench_begin``.
"""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

from transaction import ThreadTransactionManager

from benchmarks.measure import DIFFERENCE, Bench, Row, child, fresh, in_turn, main, medians
from benchmarks.model import Stamp
from dobbin_like.database import Database
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPS = 2000


def _begin(begin: Callable[[], Any], loops: range) -> None:
    for _ in loops:
        begin()


def _begin_read(begin: Callable[[], Any], stamp: Any, loops: range) -> None:
    for _ in loops:
        begin()
        _ = stamp.value


def no_news(bench: Bench) -> None:
    """``begin()`` with a database that has no news, beside one without a database."""
    loops = range(LOOPS)
    # What transaction.begin() is a method of, once with a database and once without.
    manager, bare_manager = ThreadTransactionManager(), ThreadTransactionManager()
    with Database(
        TransactionLog(bench.path(), sync=False), transaction_manager=manager
    ) as database:
        stamp = Stamp()
        database.set_root(stamp)
        manager.commit()
        ours, bare = fresh(_begin), fresh(_begin)
        taken = in_turn(
            lambda: ours(manager.begin, loops),
            lambda: bare(bare_manager.begin, loops),
            rounds=bench.rounds(41),
        )
        times = medians(taken, 1e6 / len(loops))
        bench.add(Row("begin(), no news", "us", *times, limit=2.0, about=DIFFERENCE))
        ours, bare = fresh(_begin_read), fresh(_begin_read)
        taken = in_turn(
            lambda: ours(manager.begin, stamp, loops),
            lambda: bare(bare_manager.begin, stamp, loops),
            rounds=bench.rounds(41),
        )
        times = medians(taken, 1e6 / len(loops))
        bench.add(Row("begin() and a read, no news", "us", *times, limit=2.0, about=DIFFERENCE))


_TRACED = """
import os, sys, time
import transaction
from benchmarks.model import Stamp
from dobbin_like.database import Database
database = Database(sys.argv[1])
database.set_root(Stamp())
transaction.commit()
for _ in range(10):
    transaction.begin()
os.getppid()
for _ in range(1000):
    transaction.begin()
os.getppid()
print(time.monotonic_ns())
"""

_CALL = re.compile(r"^(?:\d+ +)?(\w+)\(")


def system_calls(bench: Bench) -> None:
    """System calls of a thousand ``begin()`` without news, as ``strace`` sees them."""
    strace = shutil.which("strace")
    if strace is None:
        print("  skipped: there is no strace", file=sys.stderr)
        return
    trace = bench.path()
    child(_TRACED, bench.path(), prefix=(strace, "-f", "-o", str(trace)))
    calls = [match[1] for line in trace.read_text().splitlines() if (match := _CALL.match(line))]
    first = calls.index("getppid")
    count = calls.index("getppid", first + 1) - first - 1
    bench.add(Row("system calls of 1,000 begin(), no news", "calls", count, 0, limit=2000))


ALL = (no_news, system_calls)

if __name__ == "__main__":
    main(*ALL)
