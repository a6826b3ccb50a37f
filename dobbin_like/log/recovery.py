"""Where the committed bytes end: what a reader may believe, what a writer puts right.

Between processes that live and die on a running machine there is one rule: COMMITTED is
right, everything before it is whole, and what follows is a torn tail or a transaction
that nobody heard of. A bad frame before COMMITTED is damage: an IntegrityError, never
cut, skipped or guessed at.

After a power cut (BOOT is not of this run of the machine) the words and the frames are
whatever reached the disk: only what is before DURABLE is known to be there. What follows
is believed frame by frame, wholly verified, up to the first bad one.

A word whose check is wrong is not believed, and nothing is cut on its account.

Frames are chained by their checksums, so that remains of an older tail never look like a
continuation of a newer one. Read :mod:`dobbin_like.log.transaction_log` next.
"""

from __future__ import annotations

import logging
import os
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

from dobbin_like.exc import IntegrityError
from dobbin_like.log import disk, record
from dobbin_like.log.header import BOOT, COMMITTED, DURABLE, PAGE_SIZE, SAVED, Words
from dobbin_like.log.meta import NO_NAMES
from dobbin_like.log.reader import Frame, Window, read_frame, stored_entries
from dobbin_like.log.record import DamagedError, Tail
from dobbin_like.log.stream import verify_stream

__all__ = ["certain_end", "committed_frames", "decided_frames", "recover"]

_logger = logging.getLogger(__name__)

_PIECE: Final = 1 << 18
"""Bytes of saved positions that are read at once."""


class _Situation(NamedTuple):
    """What the words say, and whether they may be relied on."""

    committed: int | None
    durable: int | None
    boot: int | None
    power_cut: bool


def _situation(words: Words, present_boot: int) -> _Situation:
    boot = words.get(BOOT)
    power_cut = boot is not None and boot != present_boot
    return _Situation(words.get(COMMITTED), words.get(DURABLE), boot, power_cut)


def certain_end(words: Words, present_boot: int) -> int:
    """Return an offset before which every frame is committed and has to be whole."""
    now = _situation(words, present_boot)
    if now.committed is not None and not now.power_cut:
        return now.committed
    return now.durable or PAGE_SIZE


def committed_frames(window: Window, tail: Tail, words: Words, present_boot: int) -> list[Frame]:
    """Return the committed frames after *tail*, oldest first. Needs no lock.

    Raises:
        IntegrityError: Committed bytes are damaged.

    Cost: Objects changed, not their sizes; after a power cut and before the first commit
    that follows it, all bytes that are not known to be durable.
    """
    while True:
        now = _situation(words, present_boot)
        if now.committed is not None and not now.power_cut:
            _check_not_back(window, tail, now.committed)
            return list(decided_frames(window, tail, now.committed))
        size = os.fstat(window.fd).st_size
        limit = size if now.committed is None else min(size, now.committed)
        believed = _believed(window, tail, limit, now.durable)
        frames = [frame for frame, decided in believed if decided]
        # A writer may have put the tail right meanwhile, and begun a new one.
        if _situation(words, present_boot) == now:
            return frames


def _check_not_back(window: Window, tail: Tail, committed: int) -> None:
    """Raise IntegrityError if what was read as committed no longer is.

    An earlier copy was written over the file, or the file was cut.
    """
    if committed < tail.end:
        found = f"a committed end at {committed}"
        raise IntegrityError(window.path, committed, found, f"{tail.end} or after, as read before")


def decided_frames(window: Window, tail: Tail, limit: int) -> Iterator[Frame]:
    """Yield the frames up to *limit*, all of which must be whole and decided."""
    while tail.end < limit:
        frame = read_frame(window, tail, limit)
        if frame.status == record.PREPARED:
            error = DamagedError("a prepared transaction", "a committed or failed one")
            raise window.damaged(tail.end, error)
        yield frame
        tail = frame.tail


def _believed(
    window: Window, tail: Tail, limit: int, durable: int | None
) -> Iterator[tuple[Frame, bool]]:
    """Yield the frames up to the first that is not whole, and whether each is decided.

    What ends before *durable* must be whole. An undecided transaction is the last one.
    """
    while tail.end < limit:
        certain = durable is not None and tail.end < durable
        try:
            frame = read_frame(window, tail, limit)
            if not certain:
                verify(window, tail, frame)
        except IntegrityError:
            if certain:
                raise
            return
        if frame.status == record.PREPARED:
            yield frame, False
            return
        yield frame, True
        tail = frame.tail


def verify(window: Window, tail: Tail, frame: Frame) -> None:
    """Check what reading a frame leaves out: states, streams, saved positions.

    Raises:
        IntegrityError: A part of it is damaged.

    Cost: The bytes of the frame.
    """
    if frame.logged is not None:
        for _ in stored_entries(window, frame.logged):
            pass
        return
    if frame.kind == record.KIND_STREAM:
        verify_stream(window.fd, window.path, tail.end)
        return
    saved_slots(window, tail.end, frame.tail.end)


def saved_slots(window: Window, offset: int, end: int) -> tuple[record.PositionsHead, array[int]]:
    """Return saved positions and their slots, for :meth:`Positions.decode`.

    Raises:
        IntegrityError: They are damaged.
    """
    data = window.read(offset, record.POSITIONS_SIZE, end)
    meta_size = record.FRAME.unpack_from(data)[3]
    head = record.decode_positions_head(data)
    start = offset + record.POSITIONS_SIZE + meta_size
    if start + 8 * head.slots > end:
        error = DamagedError(f"{head.slots} slots", f"slots that end before {end}")
        raise window.damaged(offset, error)
    # In pieces: most of the cost of a big block is that of memory never used before.
    slots = array("Q")
    checksum = 0
    for at in range(start, start + 8 * head.slots, _PIECE):
        size = min(_PIECE, start + 8 * head.slots - at)
        piece = disk.read_exactly(window.fd, window.path, at, size)
        checksum = crc32(piece, checksum)
        slots.frombytes(piece)
    if checksum != head.slots_checksum:
        error = DamagedError("saved positions with a wrong checksum", "the right one")
        raise window.damaged(offset, error)
    return head, slots


# -- under the lock -----------------------------------------------------------


def recover(window: Window, applied: Tail, words: Words, present_boot: int, *, sync: bool) -> None:
    """Put the end of the log right. Afterwards the file ends where COMMITTED says.

    Every step can be repeated: a process killed between two of them leaves what the
    next holder of the lock finds again, because COMMITTED is moved only over frames
    that are whole, and BOOT is set last (I4).

    Requires: The commit lock; *applied* is a place that was read as committed.

    Raises:
        IntegrityError: Committed bytes are damaged. Nothing was cut.
        OSError: Writing failed. The next holder of the lock does it again.
    """
    now = _situation(words, present_boot)
    size = os.fstat(window.fd).st_size
    committed, durable = now.committed, now.durable
    if committed is None:
        end, adopted = _without_committed(window, applied, durable, size)
    elif now.power_cut and durable is not None:
        end, adopted = _after_power_cut(window, applied, committed, durable, size)
    else:
        # Without DURABLE nothing may be cut, so that COMMITTED has to be right.
        end, adopted = _after_death(window, applied, committed, size)
    if end > size:
        raise IntegrityError(window.path, size, "the end of the file", f"{end} bytes")
    _settle(window, words, now, end, size, sync=now.power_cut or (adopted and sync))
    if now.boot != present_boot:
        words.put(BOOT, present_boot)


def _settle(
    window: Window, words: Words, now: _Situation, end: int, size: int, *, sync: bool
) -> None:
    """Let the file end at *end*, and the words say so."""
    if end != size:
        # Before COMMITTED: nobody reads what is cut here, for it was not committed, or
        # after a power cut is not whole.
        disk.cut(window.fd, window.path, end)
    if end != now.committed:
        words.put(COMMITTED, end)
    saved = words.get(SAVED)
    if saved is None or saved >= end:
        words.put(SAVED, 0)
    if sync:
        disk.sync(window.fd, window.path)
        if now.power_cut:
            # Who let this file take its place may have died before its name was safe.
            disk.sync_directory(window.path)
        words.put(DURABLE, end)
    elif now.durable is None:
        words.put(DURABLE, PAGE_SIZE)


def _after_death(window: Window, applied: Tail, committed: int, size: int) -> tuple[int, bool]:
    """Return the end and whether frames behind *committed* were adopted."""
    if committed > size:
        raise IntegrityError(window.path, size, "the end of the file", f"{committed} bytes")
    _check_not_back(window, applied, committed)
    tail = applied
    for frame in decided_frames(window, applied, committed):
        tail = frame.tail
    return _adopt(window, tail, size)


def _after_power_cut(
    window: Window, applied: Tail, committed: int, durable: int, size: int
) -> tuple[int, bool]:
    """Return the end and whether frames behind *committed* were adopted."""
    tail = applied
    # The words may have reached the disk in any order; what is durable was committed.
    believed = max(committed, durable)
    for frame, decided in _believed(window, applied, min(size, believed), durable):
        if not decided:
            # Its decision was not synced, nor was anything that follows: the log ends here.
            break
        tail = frame.tail
    if tail.end < durable:
        raise IntegrityError(window.path, size, "the end of the file", f"{durable} bytes")
    if tail.end >= believed:
        return _adopt(window, tail, size)
    _logger.warning(
        "%s: cut from %d to %d bytes: the rest was committed without sync and did not reach "
        "the disk before the machine stopped",
        window.path,
        committed,
        tail.end,
    )
    return tail.end, False


def _without_committed(
    window: Window, applied: Tail, durable: int | None, size: int
) -> tuple[int, bool]:
    """Find the end without the word that says it: the frames have to reach the end of file."""
    tail = applied
    for frame, decided in _believed(window, applied, size, durable):
        if decided:
            tail = frame.tail
    end, adopted = _adopt(window, tail, size)
    if end != size:
        text = "no whole transaction, and a header that does not say where the log ends"
        raise IntegrityError(window.path, end, text, f"whole transactions up to {size}")
    return end, adopted


def _adopt(window: Window, tail: Tail, size: int) -> tuple[int, bool]:
    """Return the end of the whole transactions after *tail*, and whether there are any.

    A prepared one at the end becomes failed: its other participants never heard of success.
    One that is followed by a whole frame was decided, and this is a copy that was made in
    two reads, one before the decision and one behind it: nobody appends behind a prepared
    transaction, and to fail is to take its place with other bytes, so that nothing fits
    behind it. What is behind it and not whole says the same, and not for certain.

    A stream that no transaction follows belongs to none, and is left out.
    """
    end = start = tail.end
    undecided = True
    while undecided:
        undecided = False
        for frame, decided in _believed(window, tail, size, None):
            if not decided:
                after = _decide(window, tail, frame, size)
                if after is None:
                    return end, end > start
                undecided = after == frame.tail
                end, tail = after.end, after
                break
            tail = frame.tail
            if frame.kind != record.KIND_STREAM:
                end = tail.end
    return end, end > start


def _decide(window: Window, tail: Tail, frame: Frame, size: int) -> Tail | None:
    """Decide what is prepared at *tail*; return the place after it, None if it is cut off."""
    logged = frame.logged
    if frame.tail.end < size:
        try:
            read_frame(window, frame.tail, size)
        except IntegrityError:
            return None
        status = record.WORD.pack(record.COMMITTED)
        disk.write(window.fd, window.path, status, tail.end + record.STATUS_OFFSET)
        return frame.tail
    assert logged is not None
    meta = record.Meta(NO_NAMES, logged.user, logged.description, logged.extension)
    entries = [(oid, 0, b"") for oid in logged.oids]
    data, checksum = record.encode_transaction(
        tail, logged.tid, entries, lambda _oid: 0, meta, record.FAILED
    )
    disk.write(window.fd, window.path, data, tail.end)
    return Tail(tail.end + len(data), tail.end, checksum, logged.sequence, logged.tid)
