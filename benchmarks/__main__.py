"""``python -m benchmarks``: all figures, one after the other."""

from benchmarks import (
    bench_begin,
    bench_btree,
    bench_bulk,
    bench_collections,
    bench_commit,
    bench_exchange,
    bench_indexes,
    bench_life,
    bench_memory,
    bench_oo7,
    bench_open,
    bench_pack,
    bench_processes,
    bench_read,
    bench_safe,
    bench_streams,
    bench_together,
    bench_users,
    bench_writers,
)
from benchmarks.measure import main

THEMES = (
    bench_read,
    bench_collections,
    bench_memory,
    bench_begin,
    bench_commit,
    bench_bulk,
    bench_btree,
    bench_indexes,
    bench_processes,
    bench_open,
    bench_life,
    bench_pack,
    bench_safe,
    bench_users,
    bench_writers,
    bench_together,
    bench_streams,
    bench_oo7,
    bench_exchange,
)

# The guard is for the processes that are started: they import this module again.
if __name__ == "__main__":
    main(*(measurement for theme in THEMES for measurement in theme.ALL))
