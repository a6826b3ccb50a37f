"""Where the store is meant to stand, and what keeps it from there, where it does not."""

from __future__ import annotations

from dataclasses import dataclass

INTERPRETER = (
    "The processor's time of a commit: some 140 calls of Python functions, a third of them in "
    "``transaction``. What *floor* is ahead by is finding what was changed and what conflicts, "
    "and making the state that other threads see; C does as much in a tenth of that."
)
READ_IN_C = (
    "Each object is some 17 calls of Python functions, for what makes its values unchangeable and "
    "finds what it refers to; the others leave it to C, and make a copy for each thread."
)
TURNS = (
    "Processes take turns, and each turn reads what the others have written; see *slowest by "
    "fastest*. Who lets one go on and the others wait has all he needs in his caches."
)
CHECKSUMS = (
    "Each block has a checksum, which is computed when it is written and compared when it is "
    "read. ``zlib.crc32()`` alone takes longer than the kernel takes to copy a plain file."
)


@dataclass(frozen=True)
class Goal:
    """A figure that is meant to be so many times as good as that of a peer.

    ``size`` 0 is the greatest one; beside "itself" stands a tenth of the size, or one thread. A
    row of a theme is named by its beginning instead of a figure. ``limit`` is the peer that shows
    how far anybody could come: where that is less than what is aimed at, nobody can.
    """

    what: str
    workload: str
    figure: str
    peer: str
    at_least: float
    why: str = ""
    size: int = 0
    limit: str = ""


GOALS = (
    Goal("an attribute read, loaded", "rows", "attribute read, loaded", "plain Python", 0.9),
    Goal("a method call, loaded", "rows", "method call, loaded", "plain Python", 0.9),
    Goal("from object to object, loaded", "rows", "traversal of", "plain Python", 0.9),
    Goal(
        "every object read once more",
        "hot",
        "ns",
        "zodb",
        3,
        "The values of an object are in a dict of its own, which a commit replaces. Plain Python "
        "objects have them beside themselves: one access to memory less.",
        limit="plain",
    ),
    Goal(
        "an item of a dict",
        "rows",
        "d[k]; ref.: ZODB",
        "ZODB",
        2.5,
        "A function of Python runs for it, which asks whether the thread has a copy of its own.",
    ),
    Goal(
        "an item of a dict",
        "rows",
        "d[k]; ref.: Durus",
        "Durus",
        1.2,
        "Both run one function of Python for it, and that of Durus has no other threads.",
    ),
    Goal("memory of 8 threads", "memory", "mib", "zodb", 6, size=8),
    Goal(
        "from starting Python to the first attribute",
        "start",
        "ms",
        "zodb",
        1.5,
        "Two thirds of it are what Python takes to start, and to import ``transaction``.",
        1_000_000,
        limit="floor",
    ),
    Goal("every object read, from the start", "cold", "ms", "zodb", 2.5, READ_IN_C, limit="floor"),
    Goal(
        "every object read, from the start", "scan", "ms", "sqlite", 0.8, READ_IN_C, limit="floor"
    ),
    Goal(
        "objects made and committed",
        "load",
        "us",
        "zodb",
        2.5,
        "A constructor and what freezes the object are functions of Python; see *plain*.",
        limit="floor",
    ),
    Goal("objects made and committed", "load", "us", "sqlite", 0.9, READ_IN_C, limit="floor"),
    Goal("a small commit, not synced", "commit", "us", "zodb", 2, INTERPRETER, limit="floor"),
    Goal("a small commit, not synced", "commit", "us", "durus", 1.5, INTERPRETER, limit="floor"),
    Goal(
        "a small commit, synced", "commit_synced", "us", "rawlog", 0.85, INTERPRETER, limit="floor"
    ),
    Goal("a small commit, synced", "commit_synced", "us", "sqlite", 1, INTERPRETER, limit="floor"),
    Goal(
        "4 processes, synced, own objects", "own", "rate", "sqlite", 1.6, TURNS, 4, limit="rawlog"
    ),
    Goal("8 processes, synced, own objects", "own", "rate", "sqlite", 2, TURNS, 8, limit="rawlog"),
    Goal(
        "8 processes, synced, own objects", "own", "rate", "zeo", 8, INTERPRETER, 8, limit="rawlog"
    ),
    Goal(
        "8 processes, synced, own objects",
        "own",
        "rate",
        "relstorage",
        5,
        INTERPRETER,
        8,
        limit="rawlog",
    ),
    Goal("4 processes, synced, one counter", "one", "rate", "sqlite", 1, TURNS, 4),
    Goal("4 processes, synced, one counter", "one", "rate", "relstorage", 3, TURNS, 4),
    Goal(
        "a transaction that reads, no news",
        "look",
        "us",
        "zodb",
        1.5,
        "What ``transaction`` takes to begin is most of both.",
        limit="floor",
    ),
    Goal(
        "age of what another process sees",
        "beside",
        "age",
        "sqlite",
        0.7,
        "The time is that of a commit, and of the transaction that looks.",
    ),
    Goal(
        "age of what another process sees",
        "beside",
        "age",
        "zeo",
        40,
        "The time is that of a commit, and of the transaction that looks.",
    ),
    Goal(
        "two processes insert into one dict",
        "rows",
        "two processes, a dict of",
        "SQLite",
        0.5,
        TURNS,
    ),
    Goal(
        "a stream stored",
        "stream",
        "store",
        "rawlog",
        0.9,
        CHECKSUMS,
        limit="checked",
    ),
    Goal(
        "a stream read",
        "stream",
        "read",
        "rawlog",
        0.7,
        CHECKSUMS,
        limit="checked",
    ),
    Goal("OO7: T1, all in memory", "oo7", "t1", "zodb", 1.5),
    Goal(
        "OO7: T6, all in memory",
        "oo7",
        "t6",
        "zodb",
        1.5,
        "It reads a tenth of the objects of T1; the rest of the work is that of any program.",
    ),
    Goal("OO7: T2B", "oo7", "t2b", "zodb", 1.5, INTERPRETER),
    Goal(
        "a commit at 10 times the objects",
        "growth",
        "us",
        "itself",
        1 / 1.2,
        "What a processor has in its caches is less of the whole.",
    ),
    Goal(
        "the start at 10 times the objects",
        "start",
        "ms",
        "itself",
        1 / 1.2,
    ),
    Goal(
        "two threads that read, free-threaded Python",
        "readers_free",
        "rate",
        "itself",
        1.8,
        "What all threads read, each of them counts references to: in plain Python, too.",
        2,
        limit="plain",
    ),
    Goal(
        "two threads that read their own parts, free-threaded Python",
        "parts_free",
        "rate",
        "itself",
        1.8,
        "Two threads of plain Python gain little more on this machine; see *plain*.",
        2,
        limit="plain",
    ),
)
