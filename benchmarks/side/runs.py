"""How a repetition of each workload is done: in fresh processes, with a server if needed."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from benchmarks.peers.registry import PEERS, served
from benchmarks.side import pages, together

if TYPE_CHECKING:
    from benchmarks.side.workload import Turn


def _commits(turn: Turn, *, sync: bool) -> dict[str, float]:
    with served(turn.peer, turn.path, sync=sync):
        return turn.task("commit", path=turn.path, sync=sync, seconds=turn.seconds)


def commit(turn: Turn) -> dict[str, float]:
    return _commits(turn, sync=False)


def commit_synced(turn: Turn) -> dict[str, float]:
    return _commits(turn, sync=True)


def load(turn: Turn) -> dict[str, float]:
    with served(turn.peer, turn.path, sync=False):
        return turn.task("fill", path=turn.path, count=turn.size)


def _cold(turn: Turn, *, scan: bool) -> dict[str, float]:
    path = turn.filled(turn.size)
    with served(turn.peer, path, sync=False):
        now = time.monotonic_ns()
        return turn.task("cold", path=path, count=turn.size, since=now, scan=scan)


def cold_by_reference(turn: Turn) -> dict[str, float]:
    return _cold(turn, scan=False)


def cold_by_scan(turn: Turn) -> dict[str, float]:
    return _cold(turn, scan=True)


def start(turn: Turn) -> dict[str, float]:
    path = turn.filled(turn.size)
    with served(turn.peer, path, sync=False):
        return turn.task("start", path=path, since=time.monotonic_ns())


def _on_filled(turn: Turn, task: str) -> dict[str, float]:
    path = turn.filled(turn.size)
    with served(turn.peer, path, sync=False):
        return turn.task(task, path=path, count=turn.size, seconds=turn.seconds)


def hot(turn: Turn) -> dict[str, float]:
    return _on_filled(turn, "hot")


def look(turn: Turn) -> dict[str, float]:
    return _on_filled(turn, "look")


def grown(turn: Turn) -> dict[str, float]:
    path = turn.copy_of_filled(turn.size)
    with served(turn.peer, path, sync=False):
        return turn.task("grown", path=path, count=turn.size, seconds=turn.seconds)


MEMORY_COUNT = 20_000


def memory(turn: Turn) -> dict[str, float]:
    path = turn.filled(MEMORY_COUNT)
    with served(turn.peer, path, sync=False):
        return turn.task("memory", path=path, count=MEMORY_COUNT, threads=turn.size)


READ_COUNT = 1000


def _readers(turn: Turn, *, own: bool) -> dict[str, float]:
    # So many for each thread, in any case: a part of its pass is what a transaction costs.
    count = READ_COUNT * turn.size if own else READ_COUNT
    path = turn.filled(count)
    with served(turn.peer, path, sync=False):
        return turn.task(
            "readers",
            path=path,
            count=count,
            threads=turn.size,
            seconds=turn.seconds,
            own=own,
        )


def readers(turn: Turn) -> dict[str, float]:
    return _readers(turn, own=False)


def readers_of_parts(turn: Turn) -> dict[str, float]:
    return _readers(turn, own=True)


def web(turn: Turn) -> dict[str, float]:
    with served(turn.peer, turn.path, sync=True):
        together.prepare(turn.peer, turn.path, sync=True)
        return pages.visited(turn.peer, turn.path, turn.seconds, own=turn.size > 1)


def _writers(turn: Turn, shape: list[list[int]], *, sync: bool = True) -> dict[str, float]:
    with served(turn.peer, turn.path, sync=sync):
        if not PEERS[turn.peer].is_limit:
            together.prepare(turn.peer, turn.path, sync=sync)
        return together.write(turn.peer, turn.path, shape, sync=sync, seconds=turn.seconds)


def own_objects(turn: Turn) -> dict[str, float]:
    return _writers(turn, [[index] for index in range(turn.size)])


def own_objects_unsynced(turn: Turn) -> dict[str, float]:
    return _writers(turn, [[index] for index in range(turn.size)], sync=False)


def one_counter(turn: Turn) -> dict[str, float]:
    return _writers(turn, [[0] for _ in range(turn.size)])


def own_objects_in_threads(turn: Turn) -> dict[str, float]:
    return _writers(turn, [[*range(turn.size)]])


def reader_beside_writer(turn: Turn) -> dict[str, float]:
    with served(turn.peer, turn.path, sync=False):
        together.prepare(turn.peer, turn.path, sync=False)
        return together.read_and_write(turn.peer, turn.path, turn.seconds)


def stream(turn: Turn) -> dict[str, float]:
    source = turn.shared / f"source.{turn.size}"
    if not source.exists():
        source.write_bytes(bytes(range(256)) * (turn.size << 12))
    return turn.task("stream", path=turn.path, source=source)


def oo7(turn: Turn) -> dict[str, float]:
    built = turn.shared / f"oo7.{turn.peer}"
    if turn.peer != "plain":
        if not built.exists():
            turn.oo7("build", built)
        shutil.copyfile(built, turn.path)
    result: dict[str, float] = turn.oo7("measure", turn.path)
    return result
