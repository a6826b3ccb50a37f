"""Streams: bytes beside the objects, stored with the transaction that follows them."""

from __future__ import annotations

import io

from dobbin_like.conformance.assertions import equal, in_threads, raises
from dobbin_like.conformance.harness import Harness
from dobbin_like.conformance.steps import (
    append,
    catch_up,
    commit,
    data_of,
    fail,
    locked,
    record_failure,
)
from dobbin_like.exc import NotHeldError
from dobbin_like.ids import Oid, Tid


class _Breaking(io.BytesIO):
    """A source that can't be read to its end."""

    def __init__(self) -> None:
        super().__init__(bytes(5_000_000))

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 1_000_000:
            text = "the line went dead"
            raise OSError(text)
        return super().read(size)


class StreamTests(Harness):
    """Writing streams. The tests of reading them are in :mod:`.past`."""

    def test_a_stream_is_stored_from_its_position_on(self) -> None:
        storage = self.new(self.lacks_streams)
        source = io.BytesIO(b"0123456789")
        source.seek(4)
        with locked(storage):
            key, size = storage.write_stream(source)
            append(storage, {0: b"root"})

        equal((size, storage.stream_size(key)), (6, 6))
        equal(storage.read_stream(key, 0, 100), b"456789")
        equal(data_of(storage, 0), b"root")

    def test_a_transaction_may_have_many_streams(self) -> None:
        storage = self.new(self.lacks_streams)
        texts = [b"", b"x", bytes(3_000_000), b"last"]
        with locked(storage):
            places = [storage.write_stream(io.BytesIO(text)) for text in texts]
            append(storage, {0: b""})
        commit(storage, {1: b"one"})

        equal(len({key for key, _ in places}), 4)
        for text, (key, size) in zip(texts, places, strict=True):
            equal(size, len(text))
            equal(storage.read_stream(key, 0, size + 1) == text, True)

    def test_others_read_a_stream_when_its_transaction_is_there(self) -> None:
        storage, other = self.two(self.lacks_streams)
        with locked(storage):
            key, size = storage.write_stream(io.BytesIO(b"text"))
            storage.append(Tid(10), [(Oid(0), 1, b"root")])
        equal(len(catch_up(other)), 1)

        for found in in_threads(*[lambda: other.read_stream(key, 0, size)] * 3):
            equal(found, b"text")
        equal(self.another(storage).read_stream(key, 1, 2), b"ex")

    def test_a_stream_without_a_transaction_leaves_nothing(self) -> None:
        storage = self.with_root(self.lacks_streams)
        with locked(storage):
            storage.write_stream(io.BytesIO(b"text" * 100_000))
        equal((catch_up(storage), storage.has_news()), ([], False))
        with locked(storage):
            storage.write_stream(io.BytesIO(b"text"))
            storage.prepare(Tid(100), [(Oid(0), 1, b"lost")])
        equal((catch_up(storage), data_of(storage, 0)), ([], b"root"))
        commit(storage, {1: b"one"})

        equal((data_of(storage, 1), len(storage)), (b"one", 2))

    def test_a_stream_of_a_failed_transaction_leaves_nothing(self) -> None:
        storage = self.with_root(self.lacks_streams, self.lacks_failures)
        with locked(storage):
            storage.write_stream(io.BytesIO(b"text"))
            storage.prepare(Tid(100), [(Oid(0), 1, b"lost")])
            record_failure(storage, "a veto", tid=100)
        fail(storage, "another")

        equal((data_of(storage, 0), len(storage), storage.has_news()), (b"root", 3, False))

    def test_a_source_that_breaks_leaves_nothing(self) -> None:
        storage = self.with_root(self.lacks_streams)
        with locked(storage):
            raises(OSError, storage.write_stream, _Breaking())
            key, _ = storage.write_stream(io.BytesIO(b"whole"))
            append(storage, {1: b"one"})

        equal(storage.read_stream(key, 0, 9), b"whole")
        equal((data_of(storage, 0), data_of(storage, 1)), (b"root", b"one"))

    def test_writing_a_stream_needs_the_lock(self) -> None:
        storage = self.with_root(self.lacks_streams)

        raises(NotHeldError, storage.write_stream, io.BytesIO(b"text"))
