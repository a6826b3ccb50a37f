"""Streams: bytes beside the objects, stored with the transaction that follows them."""

from __future__ import annotations

import io

from dobbin_like.conformance.harness import (
    Harness,
    catch_up,
    commit,
    data_of,
    equal,
    fail,
    in_threads,
    need,
    raises,
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
    """Writing streams. How they are read is among the tests of reading."""

    def test_a_stream_is_stored_from_its_position_on(self) -> None:
        need(self.lacks_streams)
        storage = self.new()
        source = io.BytesIO(b"0123456789")
        source.seek(4)
        storage.acquire()
        key, size = storage.write_stream(source)
        logged = storage.append(Tid(10), [(Oid(0), 1, b"root")])
        storage.apply([logged])
        storage.release()

        equal((size, storage.stream_size(key)), (6, 6))
        equal(storage.read_stream(key, 0, 100), b"456789")
        equal(data_of(storage, 0), b"root")

    def test_a_transaction_may_have_many_streams(self) -> None:
        need(self.lacks_streams)
        storage = self.new()
        texts = [b"", b"x", bytes(3_000_000), b"last"]
        storage.acquire()
        places = [storage.write_stream(io.BytesIO(text)) for text in texts]
        logged = storage.append(Tid(10), [(Oid(0), 1, b"")])
        storage.apply([logged])
        storage.release()
        commit(storage, {1: b"one"})

        equal(len({key for key, _ in places}), 4)
        for text, (key, size) in zip(texts, places, strict=True):
            equal(size, len(text))
            equal(storage.read_stream(key, 0, size + 1) == text, True)

    def test_others_read_a_stream_when_its_transaction_is_there(self) -> None:
        need(self.lacks_streams)
        storage = self.new()
        other = self.another(storage)
        storage.acquire()
        key, size = storage.write_stream(io.BytesIO(b"text"))
        storage.append(Tid(10), [(Oid(0), 1, b"root")])
        storage.release()
        equal(len(catch_up(other)), 1)

        for found in in_threads(*[lambda: other.read_stream(key, 0, size)] * 3):
            equal(found, b"text")
        equal(self.another(storage).read_stream(key, 1, 2), b"ex")

    def test_a_stream_without_a_transaction_leaves_nothing(self) -> None:
        need(self.lacks_streams)
        storage = self.new()
        commit(storage, {0: b"root"})
        storage.acquire()
        storage.write_stream(io.BytesIO(b"text" * 100_000))
        storage.release()
        equal((storage.has_news(), catch_up(storage)), (False, []))
        storage.acquire()
        storage.write_stream(io.BytesIO(b"text"))
        storage.prepare(Tid(100), [(Oid(0), 1, b"lost")])
        storage.release()
        equal((storage.has_news(), data_of(storage, 0)), (False, b"root"))
        commit(storage, {1: b"one"})

        equal((data_of(storage, 1), len(storage)), (b"one", 2))

    def test_a_stream_of_a_failed_transaction_leaves_nothing(self) -> None:
        need(self.lacks_streams)
        need(self.lacks_failures)
        storage = self.new()
        commit(storage, {0: b"root"})
        storage.acquire()
        storage.write_stream(io.BytesIO(b"text"))
        storage.prepare(Tid(100), [(Oid(0), 1, b"lost")])
        record_failure(storage, "a veto", tid=100)
        storage.release()
        fail(storage, "another")

        equal((data_of(storage, 0), len(storage), storage.has_news()), (b"root", 3, False))

    def test_a_source_that_breaks_leaves_nothing(self) -> None:
        need(self.lacks_streams)
        storage = self.new()
        commit(storage, {0: b"root"})
        storage.acquire()
        with raises(OSError):
            storage.write_stream(_Breaking())
        key, _ = storage.write_stream(io.BytesIO(b"whole"))
        logged = storage.append(Tid(100), [(Oid(1), 1, b"one")])
        storage.apply([logged])
        storage.release()

        equal(storage.read_stream(key, 0, 9), b"whole")
        equal((data_of(storage, 0), data_of(storage, 1)), (b"root", b"one"))

    def test_writing_a_stream_needs_the_lock(self) -> None:
        need(self.lacks_streams)
        storage = self.new()
        commit(storage, {0: b"root"})

        with raises(NotHeldError):
            storage.write_stream(io.BytesIO(b"text"))
