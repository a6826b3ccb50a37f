"""Reading frames from the file: forward, one after the other, or a part of one.

Promises to return what was written, or to raise IntegrityError with the offset (I2).
Knows no lock and no words: the caller says where committed bytes end. Read
:mod:`dobbin_like.log.reading.chain` next.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from dobbin_like.contract import NO_NAMES, NewNames
from dobbin_like.exc import IntegrityError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file.disk import read_ahead, read_exactly
from dobbin_like.log.format import record
from dobbin_like.log.format.meta import decode_meta, decode_names
from dobbin_like.log.format.record import DamagedError, LogPlace, TransactionHead
from dobbin_like.log.format.saved import SavedSlots, decode_saved_slots, head_size

_AHEAD: Final = 1 << 16
"""Bytes read at once in a scan: hundreds of small transactions, or one part of a big one."""

_HEAD: Final = record.TRANSACTION_SIZE
_ROW: Final = record.ENTRY_SIZE
_LEAST_WINDOW: Final = _HEAD + _ROW

# What calling a named tuple does, at half the cost: for what every commit makes.
_new: Final = tuple.__new__

# Names of this module cost half as much as attributes of another one.
_unpack: Final = record.TRANSACTION.unpack_from
_unpack_oid: Final = record.LONG.unpack_from
_oids_in: Final = record.oids_in
_CHECKED_FROM: Final = record.CHECKED_FROM
_KIND: Final = record.KIND_TRANSACTION
_COMMITTED: Final = record.COMMITTED


class LoggedTransaction(NamedTuple):
    """One transaction as it stands in the log."""

    tid: Tid
    offset: int  # Of its frame.
    end: int  # Of its frame; the next frame begins here.
    sequence: int  # 1 for the first one; failed ones count.
    failed: bool
    user: str
    description: str
    extension: bytes
    reason: str  # Why it failed; empty for one that did not.
    oids: Sequence[Oid]  # In the order of the table.
    first_entry: int  # Position of entry 0; entry i is ENTRY_SIZE * i further.
    names: NewNames  # Classes and shapes that are new in this transaction.
    checksum: int  # Of its frame; the next one is chained to it.

    @property
    def tail(self) -> LogPlace:
        """The place after it."""
        return _new(LogPlace, (self.end, self.offset, self.checksum, self.sequence, self.tid))


class LoggedVersion(NamedTuple):
    """One version of one object as it lies in the log; its checksum has been verified."""

    tid: Tid
    number: int  # Of its class, or of its shape.
    data: bytes
    position: int  # Of its entry.
    previous: int  # Position of the version before; 0: none.


class Frame(NamedTuple):
    """A frame whose fixed part, table and meta are verified; states and streams are not."""

    kind: int
    tail: LogPlace  # The place after it.
    logged: LoggedTransaction | None  # None for all but transactions.
    names: NewNames  # Of saved positions: all there were.


class ReadBuffer:
    """Reads of one scan, *ahead* bytes at once. One thread; ends with the scan."""

    def __init__(self, fd: int, path: str, ahead: int = _AHEAD) -> None:
        self.fd = fd
        self.path = path
        self.ahead = ahead
        self._start = 0
        self._data = b""

    def read(self, offset: int, size: int, limit: int) -> bytes:
        """Return *size* bytes at *offset*; may read ahead up to *limit*, never past it."""
        at = offset - self._start
        if not 0 <= at <= len(self._data) - size:
            if size > self.ahead:  # Not kept: it may be as large as a transaction has objects.
                return read_exactly(self.fd, self.path, offset, size)
            ahead = min(self.ahead, limit - offset)
            self._data = read_ahead(self.fd, self.path, offset, size, ahead)
            self._start = offset
            at = 0
        return self._data[at : at + size]

    def window(self, offset: int, limit: int) -> tuple[bytes, int]:
        """Return bytes, none past *limit*, and where *offset* is in them.

        At least a transaction of one entry without its state is there, if *limit* is not before.
        """
        at = offset - self._start
        if not 0 <= at <= len(self._data) - _LEAST_WINDOW:
            size = min(_LEAST_WINDOW, limit - offset)
            ahead = min(self.ahead, limit - offset)
            self._data = read_ahead(self.fd, self.path, offset, size, ahead)
            self._start = offset
            at = 0
        return self._data, at

    def beside(self) -> ReadBuffer:
        """Return a buffer over the same bytes, for a second place."""
        return ReadBuffer(self.fd, self.path, self.ahead)

    def damaged(self, offset: int, error: DamagedError) -> IntegrityError:
        """Return *error* with the place."""
        return IntegrityError(self.path, offset, error.found, error.expected)


def read_frame(buffer: ReadBuffer, tail: LogPlace, limit: int) -> Frame:
    """Return the frame that begins at ``tail.end``, and ends before *limit*. Reads no states.

    IntegrityError: There is no whole frame, or it is not the one that follows. Cost: Objects
    changed in it, not their sizes.
    """
    try:
        return _read_frame(buffer, tail, limit)
    except DamagedError as error:
        raise buffer.damaged(tail.end, error) from None


def read_run(
    buffer: ReadBuffer, tail: LogPlace, limit: int
) -> tuple[list[LoggedTransaction], LogPlace]:
    """Return the ordinary transactions that follow *tail*, and the place after them.

    Ordinary ones are committed, small, and without names or notes, as most commits of other
    processes are. The run ends before anything else, and before damage: read_frame() tells what
    that is. *limit* and cost are as there.
    """
    end, frame, seed, sequence, newest = tail
    data, at = buffer.window(end, limit)
    view, stop = memoryview(data), min(len(data), at + limit - end)
    run: list[LoggedTransaction] = []
    while at + _LEAST_WINDOW <= stop:
        checksum, status, kind, meta_size, length, previous, tid, number, rows = _unpack(data, at)
        table = at + _HEAD
        table_end = table + rows * _ROW
        sequence += 1
        if (
            kind != _KIND
            or status != _COMMITTED
            or meta_size
            or not rows
            or previous != frame
            or number != sequence
            or tid <= newest
            or length & 7
            or table_end > stop
            or not table_end - at <= length <= limit - end
            or crc32(view[at + _CHECKED_FROM : table_end], seed) != checksum
        ):
            sequence -= 1
            break
        oids = _unpack_oid(data, table) if rows == 1 else _oids_in(view[table:table_end], rows)
        frame, end, seed, newest = end, end + length, checksum, tid
        known = (
            tid,
            frame,
            end,
            number,
            False,
            "",
            "",
            b"",
            "",
            oids,
            frame + _HEAD,
            NO_NAMES,
            seed,
        )
        run.append(_new(LoggedTransaction, known))
        at += length
    return run, _new(LogPlace, (end, frame, seed, sequence, newest))


def _read_frame(buffer: ReadBuffer, tail: LogPlace, limit: int) -> Frame:
    offset = tail.end
    room = min(record.PREFIX_LIMIT, limit - offset)
    if room < record.LEAST_SIZE:
        text = f"{room} bytes"
        raise DamagedError(text, f"a frame of at least {record.LEAST_SIZE} bytes")
    head = record.any_head(buffer.read(offset, room, limit))
    prefix = record.prefix_size(head)
    checksum, status, kind, _, length, previous = head[:6]
    if status != record.COMMITTED and (kind != record.KIND_TRANSACTION or status != record.FAILED):
        text = f"status {status:#010x}"
        raise DamagedError(text, "committed or failed")
    if previous != tail.frame:
        text = f"a frame after that at {previous}"
        raise DamagedError(text, f"after that at {tail.frame}")
    if length & 7 or not prefix <= length <= limit - offset:
        text = f"a frame of {length} bytes"
        raise DamagedError(text, f"a multiple of 8 between {prefix} and {limit - offset}")
    data = buffer.read(offset, prefix, limit)
    found = crc32(memoryview(data)[record.CHECKED_FROM :], tail.checksum)
    if found != checksum:
        text = f"frame checksum {checksum:08x}"
        raise DamagedError(text, f"{found:08x}")
    if type(head) is TransactionHead:
        return _transaction(head, tail, data)
    after = LogPlace(offset + length, offset, checksum, tail.sequence, tail.tid)
    has_names = kind == record.KIND_POSITIONS
    names = decode_names(data[record.POSITIONS_SIZE :]) if has_names else NO_NAMES
    return Frame(kind, after, None, names)


def _transaction(head: TransactionHead, tail: LogPlace, data: bytes) -> Frame:
    checksum, status, _, meta_size, length, _, tid, sequence, rows = head
    if sequence != tail.sequence + 1 or tid <= tail.tid:
        found = f"transaction {sequence} with tid {tid}"
        raise DamagedError(found, f"{tail.sequence + 1} with a tid above {tail.tid}")
    meta = decode_meta(data[len(data) - meta_size :])
    table = memoryview(data)[record.TRANSACTION_SIZE : len(data) - meta_size]
    offset, end = tail.end, tail.end + length
    logged = LoggedTransaction(
        tid,
        offset,
        end,
        sequence,
        status == record.FAILED,
        meta.user,
        meta.description,
        meta.extension,
        meta.reason,
        record.oids_in(table, rows),
        offset + record.TRANSACTION_SIZE,
        meta.names,
        checksum,
    )
    after = LogPlace(end, offset, checksum, sequence, tid)
    return Frame(record.KIND_TRANSACTION, after, logged, NO_NAMES)


def own_place(buffer: ReadBuffer, tail: LogPlace, limit: int) -> LogPlace:
    """Return *tail* with the sequence number that the frame behind it goes on from.

    For a damaged log, in which transactions may be missing. What is read is not verified.
    """
    with contextlib.suppress(DamagedError):
        start = buffer.read(tail.end, min(record.TRANSACTION_SIZE, limit - tail.end), limit)
        head = record.transaction_head(start)
        if head.kind == record.KIND_TRANSACTION:
            return tail._replace(sequence=head.sequence - 1)
    return tail


def stored_entries(
    buffer: ReadBuffer, logged: LoggedTransaction, chosen: Iterable[int] | None = None
) -> Iterator[tuple[Oid, LoggedVersion]]:
    """Yield the entries of a transaction with their states, in the order of its table.

    *chosen* are the indexes of the entries, increasing; all of them if not given.
    IntegrityError: An entry or its state is damaged; those before were whole.
    """
    seed = record.tid_seed(logged.tid)
    end = logged.end
    # A buffer of its own for the table, if one can't hold all: the scan goes through the
    # states with the other.
    entries = buffer if end - logged.offset <= buffer.ahead else buffer.beside()
    for index in range(len(logged.oids)) if chosen is None else chosen:
        position = logged.first_entry + index * record.ENTRY_SIZE
        entry = entries.read(position, record.ENTRY_SIZE, end)
        oid, previous, own, distance, length, number, checksum = record.entry_head(entry)
        start = position + distance
        if own != index or start + length > end:
            text = f"entry {own} with a state from {start} to {start + length}"
            raise IntegrityError(buffer.path, position, text, f"entry {index}, before {end}")
        data = buffer.read(start, length, end)
        found = record.entry_checksum(seed, entry[: record.ENTRY_HEAD_SIZE], data)
        if found != checksum:
            text = f"checksum {checksum:08x} of oid {oid}"
            raise IntegrityError(buffer.path, position, text, f"{found:08x}")
        number &= record.NUMBER_LIMIT - 1
        yield oid, LoggedVersion(logged.tid, number, data, position, previous)


def saved_slots(buffer: ReadBuffer, offset: int, end: int) -> SavedSlots:
    """Return where the slots of the saved positions at *offset* are. Reads none of them.

    Raises:
        IntegrityError: They are not within the frame, which ends at *end*.
    """
    size = head_size(buffer.read(offset, record.POSITIONS_SIZE, end))
    try:
        return decode_saved_slots(buffer.read(offset, size, end), offset)
    except DamagedError as error:
        raise buffer.damaged(offset, error) from None


def read_block(buffer: ReadBuffer, saved: SavedSlots, number: int) -> array[int]:
    """Return the slots of a block; any thread may call this.

    Raises:
        IntegrityError: It is damaged.
    """
    offset, size = saved.place(number)
    data = read_exactly(buffer.fd, buffer.path, offset, size)
    try:
        return saved.decode(number, data)
    except DamagedError as error:
        raise buffer.damaged(offset, error) from None


def verify_saved(buffer: ReadBuffer, offset: int, end: int) -> None:
    """Read all blocks of the saved positions at *offset*.

    Raises:
        IntegrityError: One is damaged.
    """
    saved = saved_slots(buffer, offset, end)
    for number in range(len(saved.checksums)):
        read_block(buffer, saved, number)
