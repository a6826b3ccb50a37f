"""What objects take in memory: loaded ones, ghosts, and the same for further threads.

``tracemalloc`` counts every byte that Python asks for; each figure is taken in an
interpreter of its own. Run with ``python -m benchmarks.bench_memory``.
"""

from __future__ import annotations

import json

from benchmarks.measure import RATIO, Bench, Row, child, main

_PLAIN = """
import gc, json, pickle, sys, time, tracemalloc
from benchmarks.model import PlainItem, item_state, plain_item
count = int(sys.argv[1])
data = [pickle.dumps(vars(plain_item(item_state(number)))) for number in range(count)]
kept = [None] * count
tracemalloc.start()
gc.collect()
before = tracemalloc.get_traced_memory()[0]
for number in range(count):
    # As the pickle module makes an instance: its names are interned.
    state = {sys.intern(name): value for name, value in pickle.loads(data[number]).items()}
    kept[number] = plain_item(state)
gc.collect()
print(time.monotonic_ns())
print(json.dumps((tracemalloc.get_traced_memory()[0] - before) / count))
"""

_OURS = """
import gc, json, sys, threading, time, tracemalloc
from benchmarks.model import Item
from dobbin_like.database import Database
count = int(sys.argv[2])
database = Database(sys.argv[1])
# Oids of items, asked one by one: nothing else is in memory with them.
oids = [oid for oid in range(len(database)) if (oid - 1) % 1001]
oids = oids[1:count + 1]
kept = [None] * count
for _ in range(2):  # What is made once, is made now.
    assert database.get(oids[-1] + 1) is not None
tracemalloc.start()

def used():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]

before = used()
for index, oid in enumerate(oids):
    kept[index] = database.get(oid)
ghosts = used()
for item in kept:
    item.number
loaded = used()

def read():
    for item in kept:
        item.number
    inside.append(used())

inside = []
thread = threading.Thread(target=read)
thread.start()
thread.join()
print(time.monotonic_ns())
assert all(type(item) is Item for item in kept)
print(json.dumps([(ghosts - before) / count, (loaded - before) / count,
    max(0, inside[0] - loaded) / count]))
"""


def objects(bench: Bench) -> None:
    """A loaded object and a ghost, beside a plain object with a dict of its own."""
    count = bench.size(50_000, quick=5_000)
    path = bench.filled(2 * count)
    _, out = child(_PLAIN, count)
    plain = json.loads(out)
    _, out = child(_OURS, path, count)
    ghost, loaded, thread = json.loads(out)
    bench.add(Row("memory of a loaded object", "bytes", loaded, plain, limit=1.8, about=RATIO))
    bench.add(Row("memory of a ghost", "bytes", ghost, plain, limit=0.8, about=RATIO))
    # The thread itself takes some kilobytes, by 5,000 objects.
    bench.add(Row("the same objects in one more thread", "bytes", thread, limit=1))


ALL = (objects,)

if __name__ == "__main__":
    main(*ALL)
