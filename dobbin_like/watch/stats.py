"""``db.stats()``: a database of this process in figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dobbin_like.log import TransactionLog
from dobbin_like.log.counts import LogCounts
from dobbin_like.store import Store
from dobbin_like.transactions.old_snapshots import OldSnapshot

__all__ = ["Stats", "stats"]


@dataclass(frozen=True)
class Stats:
    """What one database has done since it was opened, and how it is now.

    A figure is right, but not all are of the same moment. ``str()`` shows them for people. A
    forked child counts from zero; what other processes do is shown by ``dobbin top``.
    """

    path: str
    """Of the log."""

    commits: int
    """Transactions of this database that are visible."""

    conflicts: Mapping[str, int]
    """How many of its transactions had a conflict, by the name of the class."""

    merged: int
    """Objects that others had changed, and whose changes were merged with theirs."""

    replays: int
    """Structures, such as trees, in which a transaction did its changes again."""

    retries: int
    """Commits of a thread whose commit before had a conflict: run again, mostly."""

    loads: int
    """States that were read from the storage for objects in memory."""

    objects: int
    """Objects in memory, those included of which no attribute was read yet."""

    masked: int
    """Those of them of which a thread sees another state than the newest: an older one, or its
    own. Reading their attributes takes longer."""

    old_states: int
    """Older states in memory, which a snapshot may need."""

    snapshots: int
    """Threads that have one."""

    oldest: OldSnapshot | None
    """The oldest of these, if there are newer transactions: what it keeps alive ends with it."""

    log: LogCounts | None
    """Of the file: syncs, bytes, the commit lock; None for a storage that is no log."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as values that JSON has."""
        oldest = None if self.oldest is None else self.oldest._asdict()
        log = None if self.log is None else self.log._asdict()
        return {**vars(self), "oldest": oldest, "log": log}

    def __str__(self) -> str:
        return "\n".join([self.path, *(f"{name:<13} {text}" for name, text in self._lines())])

    def _lines(self) -> Iterator[tuple[str, str]]:
        kinds = ", ".join(f"{name} {count:,}" for name, count in sorted(self.conflicts.items()))
        yield "commits", f"{self.commits:,}; {self.retries:,} of a thread after a conflict"
        yield "conflicts", f"{sum(self.conflicts.values()):,}" + (f" ({kinds})" if kinds else "")
        yield "settled", f"{self.merged:,} objects merged, {self.replays:,} structures replayed"
        in_memory = f"{self.objects:,} objects, {self.loads:,} states loaded"
        yield "memory", f"{in_memory}, {self.masked:,} masked, {self.old_states:,} old states"
        old = self.oldest
        kept = f"; thread {old.thread!r} has one outdated for {old.seconds:.1f} s" if old else ""
        yield "snapshots", f"{self.snapshots:,}{kept}"
        if self.log is not None:
            yield from _log_lines(self.log)


def _log_lines(log: LogCounts) -> Iterator[tuple[str, str]]:
    share = log.transactions_per_sync
    of_each = "" if share is None else f", {share:.1f} transactions each"
    yield "syncs", f"{log.syncs:,}{of_each}; {log.unsynced_bytes:,} bytes wait for one"
    yield "appended", f"{log.bytes:,} bytes; the file has {log.file_bytes:,}"
    longest = log.longest_lock_wait_seconds
    waits = f"waited for {log.lock_waits:,} times, {log.lock_wait_seconds:.3f} s"
    yield "commit lock", f"{waits}, at most {longest:.3f} s"
    longest = log.longest_lock_hold_seconds
    holds = f"held {log.lock_holds:,} times, {log.lock_hold_seconds:.3f} s"
    yield "", f"{holds}, at most {longest:.3f} s"
    yield "behind", f"{log.behind_transactions:,} transactions, {log.behind_bytes:,} bytes"


def stats(store: Store) -> Stats:
    """Return what this database has done since it was opened, and how it is now.

    Begins no transaction, changes nothing, and does not catch up with others.

    Raises:
        ClosedError: The database is closed.

    Cost: The objects in memory, and the transactions of others that were not read yet.
    """
    store.check_open()
    graph, storage = store.graph, store.storage
    counts, old_snapshots = graph.shared.counts, store.publisher.old_snapshots
    refs = graph.cache.all()
    masks = [ref.mask for ref in refs]
    chains = [mask.chain for mask in masks if mask is not None]
    return Stats(
        path=storage.path,
        commits=counts.commits,
        conflicts=counts.conflicts.copy(),
        merged=counts.merged,
        replays=counts.replays,
        retries=counts.retries,
        loads=counts.loads,
        objects=len(refs),
        masked=len(chains),
        old_states=sum(len(chain) - 1 for chain in chains if chain is not None),
        snapshots=len(graph.shared.horizon),
        oldest=old_snapshots.oldest(),
        log=storage.counts() if isinstance(storage, TransactionLog) else None,
    )
