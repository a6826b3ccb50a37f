"""Packing: what a storage promises whose data may be packed while it is open."""

from __future__ import annotations

import contextlib
import io
import pickle

from dobbin_like.conformance.assertions import equal, raises
from dobbin_like.conformance.harness import need
from dobbin_like.conformance.model import PairHarness, Thing, begin, change, set_root
from dobbin_like.conformance.steps import catch_up, commit, data_of
from dobbin_like.contract import PackedStorage, Storage
from dobbin_like.exc import SnapshotDroppedError, StreamMovedError
from dobbin_like.ids import Oid, Tid
from dobbin_like.persistent import PersistentFile

# Packing may look at what states refer to: these refer to nothing.
OLD, NEW, NEWER = (pickle.dumps({"x": number}, 4) for number in range(3))


class PackedTests(PairHarness):
    """A storage that is packed, as instances see it that have it open. Skipped if it is none."""

    def pack(self, storage: Storage) -> None:
        """Pack the data, as another process would; drop all that is not newest. To be given."""
        need("it is not said how the storage is packed")

    def packed_and_followed(self, storage: Storage) -> None:
        self.pack(storage)
        while storage.has_news():
            catch_up(storage)

    def packed(self, storage: Storage) -> PackedStorage:
        """Return *storage*, or skip the test."""
        if not isinstance(storage, PackedStorage):
            need("the storage is not packed")
        assert isinstance(storage, PackedStorage)
        return storage

    def history(self) -> tuple[PackedStorage, list[Tid]]:
        """Return a storage with two versions of one object, and their tids."""
        storage = self.packed(self.new())
        first = commit(storage, {0: OLD, 1: OLD}, [(1, "shop", "Cart")])
        return storage, [first.tid, commit(storage, {0: NEW}).tid]

    def test_what_was_never_packed_is_whole(self) -> None:
        storage, tids = self.history()

        equal((storage.generation, storage.retired, storage.has_past), (0, False, False))
        equal((storage.complete_since, [storage.reaches(tid) for tid in tids]), (0, [True, True]))
        equal([storage.place_of(Oid(oid)) > 0 for oid in (0, 1, 9)], [True, True, False])
        equal(storage.is_dropped(Oid(1)), False)
        storage.drop_generations(None)
        equal(data_of(storage, 0, tids[0]), OLD)

    def test_an_open_instance_follows_to_the_packed_data(self) -> None:
        storage, tids = self.history()
        self.packed_and_followed(storage)

        equal((storage.generation, storage.retired), (1, False))
        equal((storage.complete_since, data_of(storage, 0)), (tids[1], NEW))
        commit(storage, {0: NEWER})
        equal(data_of(self.another(storage), 0), NEWER)

    def test_a_pin_keeps_what_a_snapshot_needs(self) -> None:
        storage, tids = self.history()
        pin = storage.pin(tids[0])
        self.packed_and_followed(storage)
        storage.drop_generations(None)

        equal((storage.reaches(tids[0]), data_of(storage, 0, tids[0])), (True, OLD))
        storage.unpin(pin)
        storage.unpin(pin)
        storage.drop_generations(tids[0])
        equal(data_of(storage, 0, tids[0]), OLD)
        storage.drop_generations(tids[1])
        self.packed_and_followed(storage)
        storage.drop_generations(None)
        equal((storage.has_past, storage.reaches(tids[0])), (False, False))
        equal((storage.reaches(tids[1]), data_of(storage, 0)), (True, NEW))

    def test_what_was_dropped_is_told(self) -> None:
        storage, tids = self.history()
        other = self.packed(self.another(storage))
        self.packed_and_followed(storage)
        storage.drop_generations(None)

        for each in (storage, other):
            with contextlib.suppress(SnapshotDroppedError):
                equal(data_of(each, 0, tids[0]) in (OLD, None), True)
            catch_up(each)
            each.drop_generations(None)
            equal((each.is_dropped(Oid(0)), each.is_dropped(Oid(1))), (False, True))
            equal((each.has(Oid(1)), data_of(each, 1)), (False, None))
        commit(storage, {1: NEWER})
        catch_up(other)
        for each in (storage, other, self.packed(self.another(storage))):
            equal((each.is_dropped(Oid(1)), data_of(each, 1)), (False, NEWER))

    def test_a_stream_is_read_by_another_key_afterwards_if_it_has_one(self) -> None:
        need(self.lacks_streams)
        storage = self.packed(self.new())
        database = self.database(self.another(storage))
        set_root(database, Thing(file=PersistentFile(io.BytesIO(b"text"))))
        catch_up(storage)
        key, tid = getattr(database.root.file, "_offset"), storage.tid  # noqa: B009  its own business
        equal(storage.stream_is_moved(key), False)
        pin = storage.pin(tid)
        change(database, x=1)
        self.packed_and_followed(storage)

        equal(storage.read_stream(key, 0, 9), b"text")  # As long as the old data are kept.
        storage.unpin(pin)
        storage.drop_generations(None)
        if storage.stream_is_moved(key):
            raises(StreamMovedError, storage.read_stream, key, 0, 9)
        else:
            equal(storage.read_stream(key, 0, 9), b"text")
        begin(database)
        equal(b"".join(database.root.file), b"text")
