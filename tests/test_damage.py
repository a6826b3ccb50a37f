"""Whatever bytes a file has: what is read of it is right, or a documented error says why not."""

from __future__ import annotations

import contextlib
import io
import logging
import struct
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.check import check_log
from dobbin_like.exc import FormatVersionError, IntegrityError, LogError, NotALogError
from dobbin_like.ids import Oid
from dobbin_like.log import TransactionLog
from dobbin_like.log.format.header import PAGE_SIZE, WORD_COUNT, WORD_SIZE, WORDS_OFFSET
from dobbin_like.repair import repair
from tests.helpers.amount import spread
from tests.helpers.log_files import with_words
from tests.helpers.processes import ROOT, run

if TYPE_CHECKING:
    from pathlib import Path

STREAM = b"stream" * 30
MEMORY = 3 << 20
"""Bytes that reading a log of some kilobytes may take: a buffer of 1 MiB, and what is small."""


# -- a small log with some of everything ---------------------------------------------


def fill(log: TransactionLog) -> None:
    def commit(*entries: tuple[int, bytes], names: Any = ()) -> None:
        log.acquire()
        log.apply(log.read_news())
        stored = [(Oid(oid), 1, data) for oid, data in entries]
        log.append(log.tid + 1, stored, names, user="ann", description="text")
        log.apply(log.read_news())
        log.release()

    commit((0, b"root"), (1, b"one"), names=[(1, "shop", "Cart")])
    log.acquire()
    log.fail(log.tid + 1, "conflict", oids=[0])
    log.release()
    commit((1, b"one again"))
    log.acquire()
    log._writing.writer.save()
    log.write_stream(io.BytesIO(STREAM))
    log.release()
    commit((2, b"two" * 20), (0, b"root again"))
    commit((1, b"the last"))


class Bytes(bytes):
    """The bytes of a log; what a test that fails prints need not have them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes of a log>"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a small log."""
    path = tmp_path_factory.mktemp("whole") / "whole.log"
    with TransactionLog(path) as log:
        fill(log)
    return Bytes(path.read_bytes())


Told = tuple[int, bool, tuple[int, ...], str]


class Known:
    """What there is in a log: its transactions, its versions, its streams."""

    def __init__(self, path: Path) -> None:
        with TransactionLog(path, read_only=True) as log:
            found = list(log.transactions())
            self.transactions = [told(logged) for logged in found]
            self.versions = {
                (oid, stored.tid): stored.data
                for logged in found
                if not logged.failed
                for oid, stored in log.entries(logged)
            }
            self.newest = {oid: log.load(Oid(oid)) for oid in range(log.next_oid)}
        self.stream = path.read_bytes().index(b"STRM") - 8


def told(logged: Any) -> Told:
    return logged.tid, logged.failed, tuple(logged.oids), logged.description


@pytest.fixture(scope="module")
def known(whole: bytes, tmp_path_factory: pytest.TempPathFactory) -> Known:
    path = tmp_path_factory.mktemp("known") / "known.log"
    path.write_bytes(whole)
    return Known(path)


def read_all(path: Path, *, read_only: bool) -> tuple[list[Told], dict[int, Any], int]:
    """Open a log and read what can be read of it, each by itself.

    Returns:
        Its transactions up to the first that is damaged, the newest versions, and how many
        transactions it says there are.
    """
    with TransactionLog(path, read_only=read_only) as log:
        transactions: list[Told] = []
        try:
            for logged in log.transactions():
                list(log.entries(logged))
                transactions.append(told(logged))
        except IntegrityError:
            pass
        versions = {}
        for oid in range(min(log.next_oid, 100)):
            try:
                versions[oid] = log.load(Oid(oid))
            except IntegrityError:
                continue
        return transactions, versions, len(log)


# -- one flipped bit ---------------------------------------------------------------------


def meaningful_bits(data: bytes) -> list[int]:
    words = WORDS_OFFSET + WORD_COUNT * WORD_SIZE
    return [bit for bit in range(len(data) * 8) if bit // 8 < words or bit // 8 >= PAGE_SIZE]


def assert_nothing_wrong_is_read(path: Path, whole: bytes, known: Known, bit: int) -> None:
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    for read_only in (True, False):
        path.write_bytes(damaged)
        try:
            transactions, versions, count = read_all(path, read_only=read_only)
        except LogError:
            continue  # It can't be opened, and says why.
        assert count == len(known.transactions), bit
        assert transactions == known.transactions[: len(transactions)], bit
        for oid, found in versions.items():
            assert found == known.newest[oid], (bit, oid)
        assert read_stream(path, known.stream) in {STREAM, None}, bit


def read_stream(path: Path, key: int) -> bytes | None:
    with TransactionLog(path, read_only=True) as log:
        try:
            return log.read_stream(key, 0, log.stream_size(key))
        except IntegrityError:
            return None


def test_of_a_flipped_bit_nothing_wrong_is_read(path, whole, known):
    for bit in spread(meaningful_bits(whole), 4, seed=11):
        assert_nothing_wrong_is_read(path, whole, known, bit)


@pytest.mark.slow
def test_of_any_flipped_bit_nothing_wrong_is_read(path, whole, known):
    logging.disable(logging.CRITICAL)
    try:
        for bit in meaningful_bits(whole):
            assert_nothing_wrong_is_read(path, whole, known, bit)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.slow
def test_of_flipped_bits_of_a_larger_log_nothing_wrong_is_read():
    command = [sys.executable, "-m", "benchmarks.flip_bits", "--seconds", "3"]

    ended = run(command, cwd=ROOT, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stdout + ended.stderr


# -- any bytes at all ------------------------------------------------------------------------


def assert_only_documented_errors(path: Path, data: bytes, to: Path) -> None:
    """Open, check and repair a file of these bytes, within the memory that it may take."""
    tracemalloc.start()
    try:
        for read_only in (True, False):
            path.write_bytes(data)
            with contextlib.suppress(LogError):
                read_all(path, read_only=read_only)
        path.write_bytes(data)
        str(check_log(path))
        to.unlink(missing_ok=True)
        with contextlib.suppress(NotALogError, FormatVersionError):
            str(repair(path, to))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MEMORY + 40 * len(data), most


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "mended.log"


@given(data=st.binary(max_size=300), headed=st.booleans(), zeros=st.integers(0, 5000))
def test_any_bytes_are_refused_with_a_documented_error(path, to, whole, data, headed, zeros):
    start = whole[:PAGE_SIZE] if headed else b""

    assert_only_documented_errors(path, start + data + bytes(zeros), to)


LENGTHS = st.sampled_from([0, 1, 8, 47, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62])
PLACES = st.integers(0, 1 << 20)


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, int, Any]]:
    """Return what happens to a log: (what, where, by what)."""
    kinds = {
        "bits": st.binary(min_size=1, max_size=4),
        "zeros": st.integers(1, 600),
        "junk": st.binary(min_size=1, max_size=64),
        "length": LENGTHS,
        "cut": st.none(),
        "doubled": st.integers(8, 600),
        "moved": st.integers(8, 600),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=4))
    return [(kind, draw(PLACES), draw(kinds[kind])) for kind in chosen]


def changed(data: bytearray, kind: str, place: int, by: Any) -> bytearray:
    at = place % max(len(data), 1)
    if kind in {"bits", "junk"}:
        old = data[at : at + len(by)]
        new = bytes(one ^ two for one, two in zip(old, by, strict=False))
        data[at : at + len(old)] = new if kind == "bits" else by[: len(old)]
    elif kind == "zeros":
        data[at : at + by] = bytes(len(data[at : at + by]))
    elif kind == "length":
        # Where a frame, an entry or a stream says how long something is.
        at -= at % 4
        if at + 8 <= len(data):
            struct.pack_into("<Q", data, at, by)
    elif kind == "cut":
        del data[at:]
    else:
        at -= at % 8
        part = data[at : at + by - by % 8]
        to = (at * 7) % max(len(data), 1)
        to -= to % 8
        if kind == "doubled":
            data[to:to] = part
        else:
            data[to : to + len(part)] = part
    return data


@given(changes(), st.sampled_from([None, 0, 1 << 40]), st.booleans())
def test_a_log_that_was_changed_in_any_way_is_read_or_refused(
    path, to, whole, happened, end, in_use
):
    data = bytearray(whole + bytes(9000) if in_use else whole)
    if end is not None:
        # Its words allow everything.
        data = bytearray(with_words(data, DURABLE=PAGE_SIZE, LOOSE=end, APPENDED=end))
    for kind, place, by in happened:
        data = changed(data, kind, place, by)

    assert_only_documented_errors(path, bytes(data), to)


@pytest.mark.parametrize("count", [1 << 16, 1 << 24, (1 << 32) - 1])
def test_a_length_takes_no_more_memory_than_the_file_has_bytes(path, whole, count):
    """Even while somebody has it open whose words say that the end is far away."""
    path.write_bytes(whole)
    with TransactionLog(path), TransactionLog(path, read_only=True) as reader:
        end = len(whole)
        rows = struct.pack("<IIIIQQQQI", 0, 0xC3C3C3C3, 0x4E415254, 0, 1 << 40, 0, 0, 0, count)
        head = bytearray(rows)
        struct.pack_into("<Q", head, 24, reader._reading.applied.tail.frame)
        path.write_bytes(with_words(whole, LOOSE=1 << 41) + bytes(head) + bytes(100))
        tracemalloc.start()
        try:
            with pytest.raises(IntegrityError) as caught:
                reader.read_news()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert caught.value.offset >= end
    assert most < MEMORY
