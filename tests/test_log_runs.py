"""Transactions read many at once: the same, and the same errors, as one frame after the other."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.contract import NO_NAMES, NewNames
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import Tid
from dobbin_like.log.format import record
from dobbin_like.log.format.meta import Meta
from dobbin_like.log.reading.chain import certain_frames, certain_transactions
from dobbin_like.log.reading.reader import LoggedTransaction, ReadBuffer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dobbin_like.log.format.record import LogPlace

START = record.first_place(12345)._replace(tid=Tid(1000))
NO_META = Meta(NO_NAMES, "", "", b"", "")
NOTED = Meta(NO_NAMES, "Ada", "a note", b"", "")
NAMED = Meta(NewNames(((1, "module", "Class"),), ()), "", "", b"", "")

# What follows a place: how far its fields are from the right ones, entries, meta, status.
FRAMES = {
    "one": ({}, 1, NO_META, record.COMMITTED),
    "three": ({}, 3, NO_META, record.COMMITTED),
    "many": ({}, 40, NO_META, record.COMMITTED),
    "none": ({}, 0, NO_META, record.COMMITTED),
    "noted": ({}, 1, NOTED, record.COMMITTED),
    "named": ({}, 2, NAMED, record.COMMITTED),
    "failed": ({}, 1, NO_META, record.FAILED),
    "behind another frame": ({"frame": 8}, 1, NO_META, record.COMMITTED),
    "with a number left out": ({"sequence": 1}, 1, NO_META, record.COMMITTED),
    "with a number again": ({"sequence": -1}, 1, NO_META, record.COMMITTED),
    "with an older tid": ({"tid": -100}, 1, NO_META, record.COMMITTED),
    "with the same tid": ({"tid": -10}, 1, NO_META, record.COMMITTED),
    "with another seed": ({"checksum": 1}, 1, NO_META, record.COMMITTED),
    "of an odd length": ({}, 1, NO_META, record.COMMITTED),
    "neither committed nor failed": ({}, 1, NO_META, 0x11111111),
}


def written(names: list[str]) -> tuple[bytes, int]:
    """Return a file with these frames, and how long it is."""
    parts, place = [bytes(START.end)], START
    for name in names:
        wrong, count, meta, status = FRAMES[name]
        tail = place._replace(
            **{field: getattr(place, field) + change for field, change in wrong.items()}
        )
        entries = [(oid, 1, b"state of %d" % oid) for oid in range(count)]
        tid = Tid(tail.tid + 10)
        data, checksum = record.encode_transaction(tail, tid, entries, [0] * count, meta, status)
        if name == "of an odd length":
            data, checksum = lengthened(tail, data, len(entries))
        parts.append(data)
        end = place.end + len(data)
        place = record.LogPlace(end, place.end, checksum, tail.sequence + 1, tid)
    return b"".join(parts), place.end


def lengthened(tail: LogPlace, data: bytes, count: int) -> tuple[bytes, int]:
    """Return a frame with a byte more, which it says, and its checksum."""
    fields = [*record.TRANSACTION.unpack_from(data)]
    fields[record.TransactionHead._fields.index("length")] += 1
    head = record.TRANSACTION.pack(*fields)[record.CHECKED_FROM :]
    table = data[record.TRANSACTION_SIZE :][: count * record.ENTRY_SIZE]
    checksum = crc32(head + table, tail.checksum)
    return record.WORD.pack(checksum) + head + data[record.TRANSACTION_SIZE :] + b"\0", checksum


def one_by_one(buffer: ReadBuffer, limit: int) -> Iterator[tuple[LoggedTransaction, LogPlace]]:
    for frame in certain_frames(buffer, START, limit):
        assert frame.logged is not None
        yield frame.logged, frame.tail


def at_once(buffer: ReadBuffer, limit: int) -> Iterator[tuple[LoggedTransaction, LogPlace]]:
    for run, place in certain_transactions(buffer, START, limit):
        for logged in run:
            yield logged, logged.tail
        assert logged.tail == place


def outcome(found: Iterator[tuple[LoggedTransaction, LogPlace]]) -> tuple[list[object], str]:
    """Return all that comes, as plain values, and what the error says that ends it."""
    seen: list[object] = []
    try:
        for logged, place in found:
            assert type(logged) is LoggedTransaction
            seen.append(((*logged[:9], list(logged.oids), *logged[10:]), place))
    except IntegrityError as error:
        return seen, str(error)
    return seen, ""


def both(data: bytes, limit: int, ahead: int) -> tuple[list[object], str]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()

        def buffer() -> ReadBuffer:
            return ReadBuffer(file.fileno(), "x.log", ahead)

        expected = outcome(one_by_one(buffer(), limit))
        assert outcome(at_once(buffer(), limit)) == expected
    return expected


AHEAD = st.sampled_from([1, 100, 200, 1000, 1 << 16])


@given(st.lists(st.sampled_from(list(FRAMES)), max_size=12), AHEAD)
def test_they_are_those_that_are_read_one_by_one(names: list[str], ahead: int) -> None:
    both(*written(names), ahead)


@given(
    st.lists(st.sampled_from(["one", "three", "noted"]), min_size=1, max_size=6),
    AHEAD,
    st.data(),
)
def test_damage_ends_them_where_it_ends_the_others(
    names: list[str], ahead: int, data: st.DataObject
) -> None:
    whole, limit = written(names)
    at = data.draw(st.integers(8 * START.end, 8 * limit - 1))
    damaged = bytearray(whole)
    damaged[at // 8] ^= 1 << at % 8

    both(bytes(damaged), limit, ahead)


@given(
    st.lists(st.sampled_from(["one", "three", "many"]), min_size=1, max_size=6), AHEAD, st.data()
)
def test_they_end_at_the_limit(names: list[str], ahead: int, data: st.DataObject) -> None:
    whole, end = written(names)
    limit = data.draw(st.integers(START.end, end))

    both(whole, limit, ahead)
    both(whole[:limit], end, ahead)


@pytest.mark.parametrize("name", [name for name in FRAMES if " " in name])
def test_what_can_not_follow_is_an_error(name: str) -> None:
    seen, error = both(*written(["one", "one", name, "one"]), 1 << 16)

    assert len(seen) == 2
    assert error
