"""Packing a log in PostgreSQL: what is no longer needed is deleted from its tables.

What is kept is what a pack of a file keeps, see :mod:`dobbin_like.upkeep.pack_plan`, and every
object that a later transaction has stored. The steps, while others commit:

1. **Mark** what can be reached as of the cut, the last transaction up to the tid that is kept, and
   what later transactions refer to.
2. **Announce** which objects are left: in turn, so that nobody appends, and after another look at
   what was appended meanwhile. The next commit knows of it.
3. **Delete** these, and versions that no snapshot since the cut sees, then streams, then what the
   log says of transactions of which nothing is left. Nobody waits for that.

See :mod:`dobbin_like.storages.postgres.packs.packing` for why it may end after any of them. Knows
no objects: states are bytes.
"""

from __future__ import annotations

import contextlib
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

from dobbin_like.contract import Storage
from dobbin_like.exc import IntegrityError, PackError, SelfWaitError
from dobbin_like.ids import DELTA, ROOT_OID, Oid, Tid
from dobbin_like.objects.codec.references import Marks, references
from dobbin_like.objects.codec.state_reader import STREAM_CLASS, StateReader
from dobbin_like.objects.codec.stream_keys import stream_key_of
from dobbin_like.objects.deltas.delta import MissingBaseError
from dobbin_like.storages.postgres.log import PostgresLog
from dobbin_like.storages.postgres.packs.packing import Packing, PinnedError
from dobbin_like.storages.postgres.tables import PostgresVersion
from dobbin_like.store import Progress, Store
from dobbin_like.timestamps import now
from dobbin_like.upkeep.packs.report import (
    Keep,
    PackReport,
    PackSize,
    refuse_the_future,
    wanted_tid,
)
from dobbin_like.upkeep.throttle import Throttle

__all__ = ["GRACE", "pack_rows"]

GRACE: Final = timedelta(hours=1)
"""What a pack of a log in PostgreSQL keeps if it is not told: the snapshots of other processes
are not known."""

_AT_ONCE: Final = 500
"""States that are read in one round trip."""

_RANGE: Final = 5000
"""Oids that are looked through in one statement."""

_STREAMS_AT_ONCE: Final = 20

_ROUNDS: Final = 10
"""Looks at what is appended meanwhile; what comes then is seen when objects are dropped."""

_ATTEMPTS: Final = 4
"""Turns that are given back because of what came meanwhile, before others have to wait."""


def pack_rows(
    store: Store, keep: Keep = None, *, dry_run: bool = False, progress: Progress | None = None
) -> PackReport:
    """Pack the log in PostgreSQL of a store, as :func:`dobbin_like.upkeep.pack.pack` tells."""
    began = time.monotonic()
    storage = store.storage
    assert isinstance(storage, PostgresLog)
    if storage.held:
        raise SelfWaitError(storage.path)
    packing = storage.packing()
    with contextlib.closing(packing):
        if dry_run:
            pack = _Pack(store, packing, progress)
            report = pack.plan(keep)
            pack.told.end()
        else:
            with packing.alone():
                report = _run(store, packing, keep, progress)
    return replace(report, seconds=time.monotonic() - began)


def _run(store: Store, packing: Packing, keep: Keep, progress: Progress | None) -> PackReport:
    packing.look_on()
    deque(packing.drop_objects(), maxlen=0)  # Of a pack that was ended.
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(PinnedError):
            return _Pack(store, packing, progress).run(keep)
    reason = "others begin to read what is to be dropped, again and again; give a longer keep"
    raise PackError(store.storage.path, reason)


def _oldest_seen(store: Store) -> Tid:
    """Return the oldest snapshot of this process, now or from now on."""
    store.publisher.catch_up()
    shared = store.graph.shared
    with shared.lock:
        shared.let_idle_lapse()
        tid, oldest = shared.tid, shared.horizon.oldest()
    return tid if oldest is None else min(tid, oldest)


class _Survivors:
    """What is kept as of the cut. One thread."""

    def __init__(
        self, storage: Storage, packing: Packing, told: _Told, throttle: Throttle
    ) -> None:
        self._path = storage.path
        self._packing = packing
        self._told = told
        self._throttle = throttle
        self._reader = StateReader(storage.names)
        self._read: dict[Oid, PostgresVersion] = {}  # Ahead.
        self._keys: set[Oid] = set()  # Objects that are keys in versions with deltas.
        self._seen = packing.cut.sequence  # Up to where later transactions were read.
        self._marks = Marks(
            packing.newest.next_oid, self._state, tick=self._tick, ahead=self._read_ahead
        )

    def __contains__(self, oid: int) -> bool:
        return oid >= len(self._marks.flags) or oid in self._marks

    def _tick(self, objects: int, _size: int) -> None:
        self._throttle.rest()
        self._told.add(objects)

    def _read_ahead(self, batch: list[int]) -> Iterator[int]:
        for start in range(0, len(batch), _AT_ONCE):
            oids = batch[start : start + _AT_ONCE]
            self._read = dict(self._packing.states(oids))
            yield from oids

    def _state(self, oid: int) -> bytes | None:
        """Return the whole state of an object as of the cut; None: it refers to nothing."""
        stored = self._read.pop(Oid(oid), None)
        if stored is None or not stored.number & DELTA:
            return None if stored is None else stored.data
        before = self._packing.version_before
        try:
            return self._reader.whole(Oid(oid), stored, before, self._keys)[1]
        except MissingBaseError as error:
            text = "the versions before a delta"
            raise IntegrityError(self._path, stored.tid, str(error), text) from None

    def mark(self) -> None:
        """Mark what can be reached, and what later transactions have stored or refer to."""
        self.follow([ROOT_OID])
        for _ in range(_ROUNDS):
            if self._seen == self._packing.newest.sequence:
                return
            self.catch_up()

    def catch_up(self) -> None:
        """Mark what is needed of what was appended since the last look, while others go on."""
        self.follow(self.later())
        self._packing.look_on()

    def follow(self, oids: Sequence[int]) -> None:
        self._marks.follow(oids)
        while self._keys:
            keys, self._keys = self._keys, set()
            self._marks.follow(keys)

    def later(self) -> list[int]:
        """Return what the transactions that were not read yet have to do with, and is not marked.

        What is returned has to be followed.
        """
        found: set[int] = set()
        until = self._packing.newest.sequence
        self._packing.each_between(self._seen, until, partial(self._note, found))
        self._seen = until
        return sorted(found)

    def _note(self, found: set[int], oid: Oid, _number: int, data: bytes | None) -> None:
        oids = [] if data is None else [target for target, _ in references(data)]
        found.update(each for each in (oid, *oids) if each not in self)
        self._throttle.rest()


class _Told:
    """Reports progress, in objects: each is marked, looked at and perhaps deleted."""

    def __init__(self, progress: Progress | None, objects: int) -> None:
        self._progress = progress
        self._total = 3 * objects
        self._done = 0

    def add(self, objects: int) -> None:
        self.reach(self._done + objects)

    def end(self) -> None:
        self.reach(self._total)

    def reach(self, done: int) -> None:
        self._done = max(self._done, min(done, self._total))
        if self._progress is not None:
            self._progress(self._done, self._total)


class _Pack:
    """One pack, or a dry run."""

    def __init__(self, store: Store, packing: Packing, progress: Progress | None) -> None:
        self._store = store
        self._packing = packing
        self._progress = progress
        self._throttle = Throttle(lambda: store.storage.tid)
        self.told: _Told = _Told(progress, 0)
        self._garbage = array("q")  # Objects that can't be reached.
        self._ranges: list[int] = []  # The first oids of those with old versions.
        self._had = False  # A stream is unused, or nothing is left of a transaction.

    def plan(self, keep: Keep) -> PackReport:
        """Find what can be dropped; report what there is, and what would be left."""
        packing, store = self._packing, self._store
        began = now()
        wanted = wanted_tid(keep, began)
        if wanted is None:
            wanted = Tid(began - GRACE // timedelta(microseconds=1))
        cut = packing.look(min(wanted, _oldest_seen(store)))
        refuse_the_future(store.storage.path, keep, began, packing.newest.tid)
        self.told = _Told(self._progress, packing.newest.next_oid)
        self._survivors = _Survivors(store.storage, packing, self.told, self._throttle)
        self._survivors.mark()
        self.told.reach(self._objects)
        before, dropped, later = self._versions()
        streams = packing.streams_size()
        unused = self._unused_streams()
        self._had = bool(unused)
        before = replace(before, bytes=before.bytes + streams)
        dropped = replace(
            dropped,
            transactions=self._empty_transactions(),
            bytes=dropped.bytes + packing.streams_size(unused),
        )
        return PackReport(
            store.storage.path, cut.tid, before, _without(before, dropped), later_bytes=later
        )

    @property
    def _objects(self) -> int:
        return self._packing.newest.next_oid

    def _versions(self) -> tuple[PackSize, PackSize, int]:
        """Count what there is, what can be dropped, and the bytes that came later."""
        objects = versions = size = later = 0
        dropped = dropped_size = 0
        for first in range(0, self._objects, _RANGE):
            old = 0
            for there in self._packing.there(first, first + _RANGE):
                objects += 1
                versions += there.versions
                size += there.size
                later += there.later_size
                if there.oid in self._survivors:
                    old += there.old
                    dropped_size += there.old_size
                else:
                    self._garbage.append(there.oid)
                    dropped += there.versions
                    dropped_size += there.size
            dropped += old
            if old:
                self._ranges.append(first)
            self._throttle.rest()
            self.told.reach(self._objects + first)
        before = PackSize(objects, versions, self._packing.transactions(), size)
        return before, PackSize(len(self._garbage), dropped, 0, dropped_size), later

    def _empty_transactions(self) -> int:
        """Return of how many transactions nothing would be left."""
        count, survivors = 0, self._survivors
        for page in self._packing.pages():
            for had, oids in self._packing.left(*page):
                if not any(oid in survivors for oid in oids):
                    count += 1
                    self._had = self._had or had
            self._throttle.rest()
        return count

    def _unused_streams(self) -> list[int]:
        """Return the streams to which nothing refers that is kept, but for young ones."""
        keys = self._packing.stream_keys()
        if not keys:
            return []
        rows = self._store.storage.names.rows()
        names: dict[int, tuple[str, ...] | None] = {
            row[0]: None for row in rows.classes if row[1:] == STREAM_CLASS
        }
        names |= {row[0]: row[2] for row in rows.shapes if row[1] in names}
        used: set[int | None] = set()

        def see(oid: Oid, tid: Tid, number: int, data: bytes) -> None:
            if tid > self._packing.cut.tid or oid in self._survivors:
                used.add(stream_key_of(data, names[number]))

        self._packing.each_stream([*names], see)
        return [key for key in keys if key not in used]

    # -- the steps ---------------------------------------------------------------

    def run(self, keep: Keep) -> PackReport:
        """Drop what can be dropped."""
        packing = self._packing
        report = self.plan(keep)
        if not (self._garbage or self._ranges or self._had):
            self.told.end()
            return replace(report, after=report.before)
        objects = self._announce()
        versions = size = 0
        for more in packing.drop_objects():
            versions, size = versions + more[0], size + more[1]
        for first in self._ranges:
            more = packing.drop_versions(first, first + _RANGE)
            versions, size = versions + more[0], size + more[1]
            self.told.reach(2 * self._objects + first)
        # Not those that were found before: an object may have been taken up since, with its
        # stream. From now on, a commit that takes one up copies the stream.
        streams = self._unused_streams()
        for start in range(0, len(streams), _STREAMS_AT_ONCE):
            size += packing.drop_streams(streams[start : start + _STREAMS_AT_ONCE])
        transactions = sum(packing.thin_out(*page) for page in packing.pages())
        packing.forget()
        self.told.end()
        dropped = PackSize(objects, versions, transactions, size)
        return replace(
            report,
            after=_without(report.before, dropped),
            packed=True,
            locked_seconds=packing.locked_seconds,
        )

    def _announce(self) -> int:
        """Tell of the pack; return how many objects it drops."""
        packing, survivors = self._packing, self._survivors
        attempt = 0
        while True:
            attempt += 1
            survivors.catch_up()
            garbage = [Oid(oid) for oid in self._garbage if oid not in survivors]
            with packing.turn() as line:
                found = survivors.later()
                if not found or attempt == _ATTEMPTS:
                    survivors.follow(found)
                    if found:
                        garbage = [oid for oid in garbage if oid not in survivors]
                    packing.announce(line, garbage)
                    return len(garbage)
            survivors.follow(found)  # While others go on.


def _without(before: PackSize, dropped: PackSize) -> PackSize:
    return PackSize(
        before.objects - dropped.objects,
        before.revisions - dropped.revisions,
        before.transactions - dropped.transactions,
        before.bytes - dropped.bytes,
    )
