"""Stored streams."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pytest

from dobbin_like.check import check_log
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.format.record import STREAM_SIZE

CHUNK = 65536


def store(path: Path, source: io.BytesIO) -> tuple[int, int]:
    with TransactionLog(path, sync=False) as log:
        log.acquire()
        log.apply(log.read_news())
        offset, size = log.write_stream(source)
        log.append(Tid(log.tid + 1), [(Oid(0), 1, b"refers to it")], [(1, "m", "C")])
        log.release()
    return offset, size


class Trickle(io.BytesIO):
    """Yields fewer bytes than it is asked for, as a pipe does."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 1, 40_000))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5, 2**20 + 9])
def test_every_range_reads_what_was_stored(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    offset, stored_size = store(tmp_path / "log", io.BytesIO(data))

    with TransactionLog(tmp_path / "log", read_only=True) as log:
        assert stored_size == log.stream_size(offset) == size
        assert log.read_stream(offset, 0, size + 10) == data
        for start in (0, 1, CHUNK - 1, CHUNK, max(size - 1, 0), size, size + 1):
            for length in (0, 1, 100, CHUNK, 2 * CHUNK):
                assert log.read_stream(offset, start, length) == data[start : start + length]


def test_a_source_is_stored_from_its_position_on(tmp_path: Path) -> None:
    source = io.BytesIO(b"0123456789")
    source.seek(4)

    offset, size = store(tmp_path / "log", source)

    with TransactionLog(tmp_path / "log") as log:
        assert (size, log.read_stream(offset, 0, 99)) == (6, b"456789")


def test_a_source_that_trickles_is_stored_whole(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(300_001)

    offset, _ = store(tmp_path / "log", Trickle(data))

    with TransactionLog(tmp_path / "log") as log:
        assert log.read_stream(offset, 0, len(data)) == data


def test_a_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Fails(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise RuntimeError("the source is gone")
            return super().read(100_000)

    path = tmp_path / "log"
    store(path, io.BytesIO(b"before"))
    size = path.stat().st_size

    with TransactionLog(path, sync=False) as log:
        log.acquire()
        with pytest.raises(RuntimeError, match="the source is gone"):
            log.write_stream(Fails(bytes(200_000)))
        assert path.stat().st_size == size
        log.append(Tid(9), [(Oid(1), 1, b"after")])
        log.release()
    with TransactionLog(path) as log:
        assert len(log) == 2


def test_a_stream_without_a_transaction_stays_and_is_no_news(tmp_path: Path) -> None:
    path = tmp_path / "log"
    store(path, io.BytesIO(b"before"))
    size = path.stat().st_size

    with TransactionLog(path, sync=False) as log, TransactionLog(path, sync=False) as other:
        log.acquire()
        log.write_stream(io.BytesIO(bytes(10**6)))
        log.release()

        assert path.stat().st_size > size + 10**6
        assert other.read_news() == []
        other.acquire()
        other.append(Tid(9), [(Oid(1), 1, b"after")])
        other.release()
    with TransactionLog(path) as log:
        assert [logged.tid for logged in log.transactions()] == [1, 9]
    assert [problem for problem in check_log(path).problems if "state" not in problem.found] == []


def test_streams_do_not_count_as_transactions(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with TransactionLog(path, sync=False) as log:
        log.acquire()
        offsets = [log.write_stream(io.BytesIO(text))[0] for text in (b"one", b"two")]
        logged = log.append(Tid(1), [(Oid(0), 1, b"refers to both")])
        log.apply([logged])
        log.release()

        assert len(log) == 1
        assert not log.has_news()
        assert [log.read_stream(offset, 0, 9) for offset in offsets] == [b"one", b"two"]


def test_a_damaged_chunk_hurts_only_who_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    offset, _ = store(path, io.BytesIO(bytes(3 * CHUNK)))
    data = bytearray(path.read_bytes())
    data[offset + STREAM_SIZE + CHUNK + 7] ^= 1
    path.write_bytes(data)

    with TransactionLog(path, read_only=True) as log:
        assert log.load(Oid(0)) is not None
        assert log.read_stream(offset, 0, CHUNK) == bytes(CHUNK)
        assert log.read_stream(offset, 2 * CHUNK, CHUNK) == bytes(CHUNK)
        with pytest.raises(IntegrityError):
            log.read_stream(offset, CHUNK - 1, 2)


def test_a_wrong_offset_is_an_error(tmp_path: Path) -> None:
    offset, _ = store(tmp_path / "log", io.BytesIO(b"data"))

    with TransactionLog(tmp_path / "log") as log:
        for wrong in (0, offset + 8, log.transactions().__next__().offset, 10**9):
            with pytest.raises(IntegrityError):
                log.read_stream(wrong, 0, 1)


def test_a_file_that_was_cut_short_is_an_error_and_no_signal(tmp_path: Path) -> None:
    path = tmp_path / "log"
    offset, _ = store(path, io.BytesIO(bytes(10 * CHUNK)))

    with TransactionLog(path, read_only=True) as log:
        log.stream_size(offset)
        os.truncate(path, offset + CHUNK)
        with pytest.raises(IntegrityError):
            log.read_stream(offset, 5 * CHUNK, 1)
        with pytest.raises(IntegrityError):
            log.load(Oid(0))
