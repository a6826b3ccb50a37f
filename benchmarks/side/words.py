"""What the page says beside its tables, in words. Look at them whenever the figures change."""

HEAD = """\
The same work, done by dobbin_like, by what people take instead, and by what limits them all. You
can repeat each figure: ``pip install --group benchmarks``, then ``python -m benchmarks side.``;
the program writes this page. Where another store is faster, it says so, by how much, and why.
"""

CHOOSE = """\
Take something else, if

* **you have values by key, and no objects that refer to each other.** SQLite and LMDB store and
  find them several times as fast, and LMDB is the fastest of all here. You write what turns them
  into objects, and nothing tells you that another thread has changed what you hold.
* **your data does not fit into memory.** Every object that you read stays there. ZODB has a
  cache with a limit, and SQLite reads what you ask for.
* **you want to ask questions in SQL**, or other programs than yours read the data: SQLite, by
  itself or with SQLAlchemy.
* **several machines share the data**: ZEO, RelStorage, a database server; or our log in
  PostgreSQL, which is not measured here.
* **one process commits small changes all the time, and nobody else looks**: Durus is as simple
  and faster there.
* **you want the most durable commits in a second from many processes, whoever gets them**:
  SQLite lets one writer go on while the others wait. Ours take turns.

Take dobbin_like, if threads share many objects that refer to each other: they are read at nearly
the speed of plain Python, once in memory for all threads, from a snapshot that does not change,
and several processes write without a server.

The first figure of each workload in its greatest size. *Ratio* is how many times as good as this
peer dobbin_like is; below 1, the peer is ahead.
"""

AHEAD = """\
All of them, in all sizes, with the factor by which they are ahead. Less than the spread of the
repetitions is not listed.
"""

NOT_HERE = """\
* More than two processors: this machine has none.
* Packing beside writers, opening, safes: they are measured beside themselves by the themes,
  ``python -m benchmarks pack life open safe``.
* PostgreSQL: ``python -m benchmarks.postgres``. The pages of ``examples``: ``python -m
  benchmarks.web``.
* Data that is larger than the memory, and files that the operating system has not in its memory.
* Peers over a network, and peers with caches that are smaller than the data.
"""

AIMS = """\
How many times as good as a peer we want to be, and how many times we are. Where that is less, how
many times as good as the peer a limit is, and what keeps us from there. A limit is a program that
has less to do than any store with transactions; what it does not reach, none can.
"""

REASONS = {
    "commit": "LMDB writes into a file that is mapped, SQLite into a page of its own, both in C, "
    "and what is written is one pickle by a key. Our commit is some 140 calls of Python "
    "functions: it finds what was changed, checks for conflicts, makes the state that "
    "other threads see, and goes through the two phases of ``transaction``, which the "
    "*floor* has, too. Durus has no other threads, and does without ``transaction``.",
    "commit_synced": "All wait for the disk once. What is above *rawlog* is the processor's time "
    "of a commit that is not synced.",
    "load": "The others of the fast ones pickle a tuple in C and give it away. Here each object "
    "is made, frozen so that threads can share it, and known by its id from then on.",
    "cold": "They give a pickle of numbers and texts, which C reads in one go. Here, an object "
    "takes some 17 calls of Python functions: its values are made unchangeable, so that threads "
    "can share them, and the objects that it refers to are found, or made.",
    "scan": "One statement, or one cursor, gives all states in the order of the file. Here "
    "objects are found by following references in any case.",
    "start": "Fewer modules of Python are imported: most of what these stores do is in C.",
    "look": "There is no transaction to begin: they look at a counter in shared memory, or, in a "
    "file that they have alone, at nothing. Here and in ZODB, the ``transaction`` package "
    "begins one, which tells what has to know it.",
    "own": "See *slowest by fastest*: SQLite and diskcache let one process go on, and the others "
    "wait in sleeps that grow. Who gets the lock has all he needs in his caches. Here, processes "
    "take turns, and each turn reads what the others have written.",
    "own_unsynced": "As above, without the disk to hide the processor's time.",
    "one": "As above: their writers lock before they read, so none of them has to try again, and "
    "one of them may do most of it.",
    "threads": "They leave the interpreter lock while they wait, and have less to do in Python.",
    "web": "As where writers are in several threads and processes; gunicorn takes its share of "
    "the processors in all of them. LMDB, SQLite and diskcache let one writer go on.",
    "readers": "Nothing asks whether what was read before is still true.",
    "parts": "Nothing asks whether what was read before is still true.",
    "beside": "They ask for one pickle by its key, in C, or look whether the server has told "
    "something; here each reading is a transaction of the ``transaction`` package.",
    "growth": "As for a small commit.",
    "memory": "With one thread there is nothing to share; what tells threads apart takes some "
    "memory for each object.",
    "oo7": "The trees of ZODB are in C, ours in Python: T3, INSERT, DELETE and Q8 change or ask "
    "an index all the time, and Q1, Q2 and Q4 ask trees as well. T2 changes each object several "
    "times: as long as it is checked out, each access to it runs a function of Python.",
    "stream": "A file beside the store, to which the bytes are copied as they are.",
}
"""Why peers are ahead, where they are."""

WORDS: dict[str, str] = {
    "memory": "Threads share our objects. In the others, each thread has a copy of what it reads; "
    "those of stores of keys belong to the program, which may keep fewer.",
}
"""What is said below the tables of a workload."""
