"""The workloads: who takes part, in which sizes, and what is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.oo7.operations import OPERATIONS
from benchmarks.peers.registry import PROCESSES, SYNC, THREADS
from benchmarks.side import runs
from benchmarks.side.workload import MORE, Figure, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

OBJECT_STORES = ("ours", "zodb", "zeo", "relstorage", "durus", "durus_server")
KEY_STORES = ("sqlite", "sqlite_normal", "alchemy", "lmdb", "disk_cache", "shelf")
STORES = (*OBJECT_STORES, *KEY_STORES)
WITH_STREAMS = ("ours", "zodb", "sqlite", "disk_cache", "checked", "rawlog")


def _sentence(function: Callable[..., int]) -> str:
    """Return what a function says of itself, without the period."""
    return (function.__doc__ or "").partition("\n")[0].rstrip(".")


_OO7 = (
    ("t1_cold", "T1, from opening the database"),
    *((each.__name__, f"{each.__name__.upper()}: {_sentence(each)}") for each in OPERATIONS),
)


_RATE = Figure("rate", "commits in a second", "/s", MORE)
_WRITERS = (
    _RATE,
    Figure("wasted", "attempts that failed", "%"),
    Figure("fair", "slowest by fastest", "", MORE),
    Figure("p99", "99 of 100 take at most", "ms"),
)

_REQUESTS = Figure("rate", "requests in a second", "/s", MORE)
_READ = Figure("rate", "objects read in a second, by all together", "/s", MORE)

_THREADS = (
    Workload(
        "readers",
        "Threads that read the same 1,000 objects again and again",
        (_READ,),
        (*STORES, "plain"),
        runs.readers,
        sizes=(1, 2, 4),
        size_is="threads",
        needs=(THREADS,),
        rounds=3,
        text="Nobody writes. Each pass of a thread is a transaction that reads one attribute of "
        "each.",
    ),
    Workload(
        "parts",
        "Threads that read each its own 1,000 objects",
        (_READ,),
        ("ours", "zodb", "plain"),
        runs.readers_of_parts,
        sizes=(1, 2, 4),
        size_is="threads",
        needs=(THREADS,),
        rounds=3,
        text="As before; no object is read by two threads.",
    ),
    Workload(
        "threads",
        "Writers in threads of one process, each with an object of its own, on stable storage",
        _WRITERS,
        (*STORES, "rawlog"),
        runs.own_objects_in_threads,
        sizes=(4,),
        size_is="threads",
        needs=(THREADS, SYNC),
        seconds=1,
        rounds=3,
    ),
)

_FREE = ("ours", "sqlite", "plain", "rawlog")
"""Who takes part on a Python without interpreter lock: those that need no module for it in C."""


def _free(workload: Workload) -> Workload:
    """Return the same workload for a Python without interpreter lock."""
    return replace(
        workload,
        name=f"{workload.name}_free",
        title=f"{workload.title}, free-threaded Python",
        peers=tuple(peer for peer in workload.peers if peer in _FREE),
        sizes=tuple(sorted({1, 2, *workload.sizes})),
        free_threaded=True,
        text=f"{workload.text} Without an interpreter lock, threads run beside one another.",
    )


WORKLOADS = (
    Workload(
        "commit",
        "A small commit, not synced",
        (Figure("us", "one commit", "us"),),
        (*STORES, "floor", "rawlog"),
        runs.commit,
        text="One attribute of one object is set and committed, from ``begin()`` to the return of "
        "``commit()``. The operating system has it then; a power cut may take it.",
    ),
    Workload(
        "commit_synced",
        "A small commit, on stable storage",
        (Figure("us", "one commit", "us"),),
        (*STORES, "floor", "rawlog"),
        runs.commit_synced,
        needs=(SYNC,),
        text="The same, and a power cut does not take it.",
    ),
    Workload(
        "load",
        "Objects made and committed",
        (Figure("us", "one object", "us"),),
        (*STORES, "floor", "plain"),
        runs.load,
        sizes=(20_000,),
        size_is="objects",
        rounds=3,
        text="A thousand in a transaction, not synced.",
    ),
    Workload(
        "cold",
        "Every object read, from starting Python, by reference",
        (Figure("ms", "all of it", "ms"),),
        (*STORES, "floor"),
        runs.cold_by_reference,
        sizes=(20_000,),
        size_is="objects",
        rounds=3,
        text="One object leads to the next; stores of keys are asked for one key after the other. "
        "SQLAlchemy has a query for all, and one for all references.",
    ),
    Workload(
        "scan",
        "Every object read, from starting Python, in the quickest way",
        (Figure("ms", "all of it", "ms"),),
        (*STORES, "floor"),
        runs.cold_by_scan,
        sizes=(20_000,),
        size_is="objects",
        rounds=3,
        text="SQLite by one ``select``, LMDB by a cursor. Objects and references are made of what "
        "they give.",
    ),
    Workload(
        "start",
        "From starting Python to the first attribute",
        (Figure("ms", "from start to end", "ms"),),
        (*STORES, "floor", "plain"),
        runs.start,
        sizes=(10_000, 100_000),
        size_is="objects",
        text="``plain`` is a Python that opens nothing.",
    ),
    Workload(
        "hot",
        "Every object read once more",
        (Figure("ns", "one object", "ns"),),
        (*STORES, "plain"),
        runs.hot,
        sizes=(20_000,),
        size_is="objects",
        rounds=3,
        text="A new transaction in a process that has read everything before. Objects in a cache "
        "are still true for stores of objects; the others have to be asked again, for what they "
        "give belongs to the program and does not follow the store.",
    ),
    Workload(
        "look",
        "A transaction that reads one attribute, nothing being new",
        (Figure("us", "one transaction", "us"),),
        (*STORES, "floor", "plain"),
        runs.look,
        sizes=(10_000,),
        size_is="objects",
    ),
    Workload(
        "own",
        "Writers in processes, each with an object of its own, on stable storage",
        _WRITERS,
        (*STORES, "rawlog"),
        runs.own_objects,
        sizes=(1, 2, 4, 8),
        size_is="processes",
        needs=(PROCESSES, SYNC),
        seconds=1,
        rounds=3,
        text="A number is read and written one greater. Afterwards all of them are counted.",
    ),
    Workload(
        "own_unsynced",
        "Writers in processes, each with an object of its own, not synced",
        _WRITERS,
        (*STORES, "rawlog"),
        runs.own_objects_unsynced,
        sizes=(1, 2, 4),
        size_is="processes",
        needs=(PROCESSES,),
        seconds=0.5,
        rounds=3,
    ),
    Workload(
        "one",
        "Writers in processes, one counter for all, on stable storage",
        _WRITERS,
        STORES,
        runs.one_counter,
        sizes=(1, 4),
        size_is="processes",
        needs=(PROCESSES, SYNC),
        seconds=1,
        rounds=3,
        text="A number is read and written one greater, and tried again if another writer was "
        "faster. It is exact afterwards, or the run fails.",
    ),
    *_THREADS,
    *(_free(each) for each in _THREADS),
    Workload(
        "web",
        "A page that counts, under gunicorn with two workers of four threads, 16 clients",
        (_REQUESTS, Figure("p99", "99 of 100 take at most", "ms")),
        STORES,
        runs.web,
        sizes=(1, 8),
        size_is="counters",
        needs=(PROCESSES, THREADS, SYNC),
        seconds=2,
        rounds=3,
        text="A POST adds one to a counter of the store, is run again if there is a conflict, and "
        "is answered when that is on stable storage. All clients use one counter, or two use each "
        "of eight. Afterwards the visits are counted.",
    ),
    Workload(
        "beside",
        "A reader beside a writer, in two processes",
        (
            Figure("reads", "transactions that read, in a second", "/s", MORE),
            Figure("writes", "commits in a second", "/s", MORE),
            Figure("age", "age of what is seen new", "us"),
        ),
        STORES,
        runs.reader_beside_writer,
        needs=(PROCESSES,),
        rounds=3,
        text="Neither pauses, and nothing is synced. What is written is the time; the age is how "
        "old that is when it is first seen, in the median.",
    ),
    Workload(
        "growth",
        "A small commit in a large store, not synced",
        (Figure("us", "one commit", "us"),),
        STORES,
        runs.grown,
        sizes=(1_000, 10_000, 100_000),
        size_is="objects",
        seconds=0.3,
        rounds=3,
    ),
    Workload(
        "memory",
        f"Memory for {runs.MEMORY_COUNT:,} objects that each of some threads reads",
        (Figure("mib", "more than before", "MiB"),),
        (*(each for each in STORES if each != "zeo"), "plain"),  # In a client, ZEO is as ZODB.
        runs.memory,
        sizes=(1, 4, 8),
        size_is="threads",
        needs=(THREADS,),
        rounds=3,
        text="What the process takes of the machine's memory, with all caches of the store.",
    ),
    Workload(
        "stream",
        "A stream stored and read, not synced",
        (Figure("store", "stored", "MB/s", MORE), Figure("read", "read", "MB/s", MORE)),
        WITH_STREAMS,
        runs.stream,
        sizes=(64,),
        size_is="MiB",
        rounds=3,
        text="All of it stays in the memory of the operating system. ``rawlog`` is a plain file; "
        "``checked`` computes a checksum of what is written and read, too. diskcache has a file "
        "for it.",
    ),
    Workload(
        "oo7",
        "OO7, small",
        tuple(Figure(name, title, "ms") for name, title in _OO7),
        ("ours", "zodb", "plain"),
        runs.oo7,
        rounds=3,
        text="The classic benchmark of object databases: some 42,000 objects, a module in a tree "
        "of assemblies, composite parts and atomic parts. What is read is in memory before, if it "
        "is not said otherwise. What is changed is committed, and not synced; it is not as before "
        "then, as it is in the original when it is swapped twice. Its integrity is checked before "
        "and after.",
    ),
)
