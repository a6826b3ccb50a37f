"""What a fresh process does for one figure: ``python -m benchmarks.side.tasks NAME ARGUMENTS``.

The arguments are JSON, and so is what it prints.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers import REFERENCES
from benchmarks.peers.registry import store_of

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE_KIB = 4


def _each(call: Callable[[int], object], seconds: float, times: int) -> float:
    """Return the seconds of one of the *times* that *call* does, the median of many calls."""
    call(times)
    taken = []
    end = time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        call(times)
        taken.append((time.perf_counter() - start) / times)
    return statistics.median(taken)


def commit(peer: str, path: str, sync: bool, seconds: float) -> dict[str, float]:
    """Commits of one changed attribute, in a store with few objects."""
    store = store_of(peer)(path, sync=sync)
    store.one(REFERENCES)
    each = _each(store.change, seconds, 5 if sync else 50)
    store.close()
    return {"us": each * 1e6}


def fill(peer: str, path: str, count: int) -> dict[str, float]:
    """Make and commit so many things, a thousand to a transaction, not synced."""
    store = store_of(peer)(path)
    start = time.perf_counter()
    store.fill(count)
    taken = time.perf_counter() - start
    store.close()
    return {"us": taken / count * 1e6}


def cold(peer: str, path: str, count: int, since: int, scan: bool) -> dict[str, float]:
    """From starting Python to having read every object."""
    store = store_of(peer)(path)
    total = sum([thing.number for thing in store.everything()]) if scan else store.read()
    taken = time.monotonic_ns() - since
    assert total == count * (count - 1) // 2
    return {"ms": taken / 1e6}


def start(peer: str, path: str, since: int) -> dict[str, float]:
    """From starting Python to the first attribute of the root."""
    if peer != "plain":
        store = store_of(peer)(path)
        assert store.first() == "root"
    return {"ms": (time.monotonic_ns() - since) / 1e6}


def hot(peer: str, path: str, count: int, seconds: float) -> dict[str, float]:
    """A transaction that reads one attribute of each object, when all have been read before."""
    store = _opened(peer, path, count)
    kept = store.everything()
    store.pick(0)

    def read(times: int) -> None:
        for _ in range(times):
            store.get()  # It begins the transaction.
            store.read()

    each = _each(read, seconds, 1)
    assert len(kept) == count
    return {"ns": each / count * 1e9}


def look(peer: str, path: str, count: int, seconds: float) -> dict[str, float]:
    """A transaction that reads one attribute of one object, when nothing is new."""
    store = _opened(peer, path, count)
    store.pick(count // 2)

    def read(times: int) -> None:
        for _ in range(times):
            store.get()

    return {"us": _each(read, seconds, 200) * 1e6}


def grown(peer: str, path: str, count: int, seconds: float) -> dict[str, float]:
    """Commits of one changed attribute, in a store with many objects."""
    store = store_of(peer)(path)
    store.pick(count // 2)
    each = _each(store.change, seconds, 50)
    store.close()
    return {"us": each * 1e6}


def memory(peer: str, path: str, count: int, threads: int) -> dict[str, float]:
    """What a process takes more, when each of some threads has read every object."""
    store = _opened(peer, path, 0)
    before = _resident()
    if peer == "plain":
        store.fill(count)
    kept: list[Any] = []
    done, over = threading.Barrier(threads + 1), threading.Event()

    def read() -> None:
        try:
            mine = store.another()
            kept.append((mine, mine.everything()))
        except BaseException:
            done.abort()
            raise
        done.wait()
        over.wait()

    for _ in range(threads):
        threading.Thread(target=read).start()
    done.wait()
    gc.collect()
    taken = _resident() - before
    over.set()
    assert all(len(things) == count for _, things in kept)
    return {"mib": taken}


def readers(
    peer: str, path: str, count: int, threads: int, seconds: float, own: bool
) -> dict[str, float]:
    """Objects that all threads together read in a second: all of them each, or each its own part.

    A pass of a thread is a transaction that reads one attribute of each.
    """
    store = _opened(peer, path, count)
    passes: list[float] = []
    begun, making = threading.Barrier(threads), threading.Lock()

    def read(index: int) -> None:
        try:
            with making:  # Not all are made to be copied by several threads.
                mine = store.another()
            # Neighbours: what two threads count references to is not in one line of a cache.
            size = count // threads
            part = mine.everything()[index * size : (index + 1) * size] if own else []
            mine.pick(index)
            mine.read()  # What can be in memory is there then.
        except BaseException:
            begun.abort()
            raise
        begun.wait()
        done, begin = 0, time.perf_counter()
        while (took := time.perf_counter() - begin) < seconds or not done:
            mine.get()  # It begins the transaction.
            if own:
                total = 0
                for thing in part:
                    total += thing.number
                done += len(part)
            else:
                mine.read()
                done += count
        passes.append(done / took)

    workers = [threading.Thread(target=read, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(passes) == threads
    return {"rate": sum(passes)}


def stream(peer: str, path: str, source: str) -> dict[str, float]:
    """Store a file and read it, by the mebibyte; all stays in the memory of the system."""
    size = Path(source).stat().st_size
    store = store_of(peer)(path)
    store.open_streams()
    begun = time.perf_counter()
    with Path(source).open("rb") as file:
        store.store_stream(file)
    stored = time.perf_counter()
    read = sum(map(len, store.read_stream()))
    ended = time.perf_counter()
    store.close()
    assert read == size
    return {"store": size / 1e6 / (stored - begun), "read": size / 1e6 / (ended - stored)}


def _opened(peer: str, path: str, count: int) -> Any:
    store = store_of(peer)(path)
    if peer == "plain":
        store.fill(count)
    return store


def _resident() -> float:
    """Return the memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * _PAGE_KIB / 1024


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
